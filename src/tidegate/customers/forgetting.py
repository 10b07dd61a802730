"""Forgotten customers, taken out of the customer model: what stood of them in records, identifiers and profiles.

Their records stay as empty marks, so that nothing brings them back, and profiles that they were part of are made
anew of what is left.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pyarrow as pa

from tidegate.customers import merging, records, run
from tidegate.warehouse import ddl, scripts

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
    found = sorted(
        {
            record
            for start in range(0, len(customers), STEP)
            for record in warehouse.scripted(
                lambda script, some=customers[start : start + STEP]: _theirs(script, model, some, account)  # type: ignore[misc]
            )
        }
    )
    if dry_run or not found:
        return len(found)
    tables = [*records.tables(named, model.profile), merging.table(named, model.profile)]
    warehouse.prepare(tables)
    fence = warehouse.claim("forget", [each.name for each in (*tables, *named.kept)])
    before: set[str] = set()
    for start in range(0, len(found), STEP):
        some = found[start : start + STEP]
        keys = pa.table({"record": pa.array(some, pa.string())})

        def empty(script: scripts.Script, some: Sequence[str] = some, keys: pa.Table = keys) -> set[str]:
            chosen = ", ".join(map(ddl.literal, some))
            of = _profiles(script, model, chosen)
            with script.transaction(fence):
                script.execute(
                    f"UPDATE {script.name(named.records().name)} SET {_nulls(model)}, _row_hash = '', "
                    f"_deleted_at = coalesce(_deleted_at, {_moment(now)}) WHERE record IN ({chosen})"
                )
                script.execute(
                    f"DELETE FROM {script.name(named.identifiers.name)} WHERE record IN ({chosen})"
                )
                waiting = script.name(records.unresolved(named).name)
                script.execute(f"DELETE FROM {waiting} WHERE record IN ({chosen})")
                script.append(waiting, keys)
            return of

        before |= warehouse.scripted(empty)
    run.resolve(model, now, fence)
    gone = sorted(before)
    for start in range(0, len(gone), STEP):
        chosen = ", ".join(map(ddl.literal, gone[start : start + STEP]))

        def clear(script: scripts.Script, chosen: str = chosen) -> None:
            with script.transaction(fence):
                script.execute(
                    f"UPDATE {script.name(named.profiles)} SET {_nulls(model)}, _row_hash = '' "
                    f"WHERE _deleted_at IS NOT NULL AND profile_id IN ({chosen})"
                )

        warehouse.scripted(clear)
    return len(found)


def _theirs(script: scripts.Script, model: run.Model, customers: Sequence[str], account: str) -> list[str]:
    """The records that are customers' rows, or say that they are theirs."""
    chosen = ", ".join(map(ddl.literal, customers))
    own = f" OR customer_id IN ({chosen})" if "customer_id" in model.profile.names else ""
    whose = f" AND _account_id = {ddl.literal(account)}" if account else ""
    rows = script.rows(
        f"SELECT record FROM {script.name(model.names.records().name)} "
        f"WHERE (source_id IN ({chosen}){own}){whose} AND (_row_hash <> '' OR _deleted_at IS NULL)"
    )
    return [str(record) for (record,) in rows]


def _profiles(script: scripts.Script, model: run.Model, records: str) -> set[str]:
    if not script.has(model.names.members.name):
        return set()
    rows = script.rows(
        f"SELECT DISTINCT profile_id FROM {script.name(model.names.members.name)} WHERE record IN ({records})"
    )
    return {str(profile) for (profile,) in rows}


def _nulls(model: run.Model) -> str:
    return ", ".join(f"{name} = NULL" for name in model.profile.names)


def _moment(now: dt.datetime) -> str:
    return f"CAST({ddl.literal(now.isoformat(sep=' '))} AS TIMESTAMP WITH TIME ZONE)"
