"""Forgotten customers, taken out of the customer model: what stood of them in records, identifiers and profiles.

Their records stay as empty marks, so that nothing brings them back, and profiles that they were part of are made
anew of what is left.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence

import pyarrow as pa

from tidegate.customers import inside, records, run
from tidegate.warehouse import base, ddl, scripts

STEP = 200
"""Customers that one statement names."""


def forget(model: run.Model, customers: Sequence[str], *, account: str = "", dry_run: bool = False) -> int:
    """Erase customers, by their Stripe ids; says how many records were, or with `dry_run` would be, emptied.

    Killed anywhere and done again, it ends the same. Nobody else may write the model meanwhile.
    """
    warehouse, named = model.warehouse, model.names
    if not isinstance(warehouse, scripts.Scripted) or not warehouse.columns(named.records().name):
        return 0
    now = dt.datetime.now(dt.UTC)
    found: set[str] = set()
    for start in range(0, len(customers), STEP):
        some = customers[start : start + STEP]
        found |= warehouse.scripted(functools.partial(_theirs, model=model, customers=some, account=account))
    if dry_run or not found:
        return len(found)
    fence = inside.claimed(model, "forget")
    theirs = sorted(found)
    for start in range(0, len(theirs), STEP):
        some = theirs[start : start + STEP]
        warehouse.scripted(functools.partial(_empty, model=model, some=some, now=now, fence=fence))
    run.resolve(model, now, fence)
    return len(found)


def _empty(
    script: scripts.Script, model: run.Model, some: Sequence[str], now: dt.datetime, fence: base.Fence
) -> None:
    """Empty records and every profile that they were ever part of, in one transaction.

    A profile that others are part of, too, is made anew of them by the resolution, this one or the next.
    """
    named, chosen = model.names, ", ".join(map(ddl.literal, some))
    ids = ", ".join(map(ddl.literal, sorted(_profiles(script, model, chosen)))) or "NULL"
    waiting = script.name(records.unresolved(named).name)
    with script.transaction(fence):
        script.execute(
            f"UPDATE {script.name(named.profiles)} SET {_nulls(model)}, _row_hash = '' WHERE profile_id IN ({ids})"
        )
        script.execute(
            f"UPDATE {script.name(named.records().name)} SET {_nulls(model)}, _row_hash = '', "
            f"_deleted_at = coalesce(_deleted_at, {_moment(now)}) WHERE record IN ({chosen})"
        )
        script.execute(f"DELETE FROM {script.name(named.identifiers.name)} WHERE record IN ({chosen})")
        script.execute(f"DELETE FROM {waiting} WHERE record IN ({chosen})")
        script.append(waiting, pa.table({"record": pa.array(some, pa.string())}))


def _theirs(script: scripts.Script, model: run.Model, customers: Sequence[str], account: str) -> set[str]:
    """The records that are customers' rows, or say that they are theirs, and are not empty."""
    chosen = ", ".join(map(ddl.literal, customers))
    own = f" OR customer_id IN ({chosen})" if "customer_id" in model.profile.names else ""
    whose = f" AND _account_id = {ddl.literal(account)}" if account else ""
    rows = script.rows(
        f"SELECT record FROM {script.name(model.names.records().name)} "
        f"WHERE (source_id IN ({chosen}){own}){whose} AND (_row_hash <> '' OR _deleted_at IS NULL)"
    )
    return {str(record) for (record,) in rows}


def _profiles(script: scripts.Script, model: run.Model, records: str) -> set[str]:
    """The profiles of records, those that were theirs before, and those that became part of one of these."""
    named = model.names
    if not script.has(named.members.name):
        return set()
    rows = script.rows(
        f"SELECT profile_id, home FROM {script.name(named.members.name)} WHERE record IN ({records})"
    )
    ids = {str(id) for row in rows for id in row if id is not None}
    if ids and script.has(named.aliases.name):
        known = ", ".join(map(ddl.literal, sorted(ids)))
        rows = script.rows(
            f"SELECT alias FROM {script.name(named.aliases.name)} WHERE profile_id IN ({known})"
        )
        ids |= {str(alias) for (alias,) in rows}
    return ids


def _nulls(model: run.Model) -> str:
    return ", ".join(f"{name} = NULL" for name in model.profile.names)


def _moment(now: dt.datetime) -> str:
    return f"CAST({ddl.literal(now.isoformat(sep=' '))} AS TIMESTAMP WITH TIME ZONE)"
