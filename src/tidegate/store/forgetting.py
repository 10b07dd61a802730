"""Forgotten customers, taken out of what is kept of pushes: requests, images, acknowledged fields, what was noted.

What stays keeps an object from being made a second time: rows by their keys, ids, digests, and the links of the
customers; those become tombstones, so that no push writes to them any more. What is undecided stays whole until it
is decided, since its exact bytes may have to be sent again.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec

from tidegate.store import database, operations, plans

CUSTOMER = "customer"
STEP = 400
"""Ids that one statement names."""


@dataclass(slots=True)
class Forgotten:
    """Rows that were changed, by table; and how many operations are undecided, by push: those were left."""

    rows: dict[str, int] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)

    def count(self, table: str, some: int) -> None:
        """Note some more rows of a table."""
        if some:
            self.rows[table] = self.rows.get(table, 0) + some


def forget(
    store: database.Database,
    customers: Sequence[str],
    others: Collection[str] = (),
    *,
    account: str = "",
    dry_run: bool = False,
) -> Forgotten:
    """Forget customers, and what else of theirs pushes wrote: `others` are ids of objects that are known as theirs.

    All of it in one transaction for each row of a push; killed in between and done again, it ends the same.
    """
    done = Forgotten()
    for push, key in sorted(_rows(store, customers, others, account)):
        found = store.transact(
            functools.partial(_row, push=push, key=key, customers=customers, dry_run=dry_run)
        )
        for table, some in found.items():
            if table == "open" and some:
                done.open[push] = done.open.get(push, 0) + some
            elif table != "open":
                done.count(table, some)
    done.count("holds", store.transact(lambda session: _candidates(session, customers, dry_run)))
    return done


def _rows(
    store: database.Database, customers: Sequence[str], others: Collection[str], account: str
) -> set[tuple[str, str]]:
    """The rows of pushes that are these customers, or wrote something of theirs."""
    own = "" if not account else " AND account = :account"
    found: set[tuple[str, str]] = set()
    wanted = [*customers, *others]
    for start in range(0, len(wanted), STEP):
        names, parameters = database.among(wanted[start : start + STEP])
        for table in ("operations", "links"):
            rows = store.execute(
                f"SELECT DISTINCT push, key FROM {table} WHERE target IN {names}{own}",
                {"account": account, **parameters},
            )
            found |= {(row["push"], row["key"]) for row in rows}
    for id in customers:
        rows = store.execute(
            "SELECT DISTINCT push, key FROM operations WHERE (body LIKE :like ESCAPE '!' OR path LIKE :like "
            f"ESCAPE '!' OR before LIKE :like ESCAPE '!' OR fields LIKE :like ESCAPE '!'){own}",
            {"account": account, "like": _like(id)},
        )
        found |= {(row["push"], row["key"]) for row in rows}
    return found


def _like(id: str) -> str:
    return f"%{id.replace('!', '!!').replace('_', '!_').replace('%', '!%')}%"


def _row(
    session: database.Session, push: str, key: str, customers: Sequence[str], dry_run: bool
) -> dict[str, int]:
    """Forget a row; how many rows of each table that concerns."""
    wanted: dict[str, object] = {"push": push, "key": key}
    mine = "push = :push AND key = :key"
    names, parameters = database.among(customers)
    dead = f"{mine} AND object = '{CUSTOMER}' AND target IN {names}"
    gone = session.one(f"SELECT 1 AS there FROM links WHERE {dead}", {**wanted, **parameters}) is not None
    told = "body <> '' OR before IS NOT NULL OR after IS NOT NULL OR fields <> '{}'"
    kept = "hash = ''" if gone else "fields = '{}'"
    conditions = {
        "operations": f"{mine} AND NOT {operations.IS_OPEN} AND ({told})",
        "pushed": f"{mine} AND NOT {kept}",
        "holds": f"{mine} AND (candidates <> '[]' OR choice <> '')",
        "row_notes": f"{mine} AND text <> ''",
    }
    found = {table: _count(session, table, where, wanted) for table, where in conditions.items()}
    found["links"] = _count(session, "links", f"{dead} AND gone = ''", {**wanted, **parameters})
    found["open"] = _count(session, "operations", f"{mine} AND {operations.IS_OPEN}", wanted)
    if dry_run:
        return found
    session.execute(
        "UPDATE operations SET body = '', before = NULL, after = NULL, fields = '{}' "
        f"WHERE {mine} AND NOT {operations.IS_OPEN}",
        wanted,
    )
    if gone:
        session.execute(
            f"UPDATE links SET gone = 'missing', gone_at = {{now}} WHERE {dead} AND gone = ''",
            {**wanted, **parameters},
        )
        session.execute(f"DELETE FROM pushed WHERE {mine}", wanted)
    else:
        session.execute(f"UPDATE pushed SET fields = '{{}}' WHERE {mine}", wanted)
    session.execute(f"UPDATE holds SET candidates = '[]', choice = '' WHERE {mine}", wanted)
    session.execute(f"UPDATE row_notes SET text = '' WHERE {mine}", wanted)
    plans.forget(session, push, key)
    return found


def _count(session: database.Session, table: str, where: str, parameters: dict[str, object]) -> int:
    row = session.one(f"SELECT count(*) AS n FROM {table} WHERE {where}", parameters)
    assert row is not None, "An aggregate has a row."
    return int(row["n"])


def _candidates(session: database.Session, customers: Sequence[str], dry_run: bool) -> int:
    """Take them out of what persons may choose from for other rows; says for how many."""
    changed = 0
    for id in customers:
        rows = session.execute(
            "SELECT push, key, candidates, choice FROM holds WHERE candidates LIKE :like ESCAPE '!'",
            {"like": _like(id)},
        )
        for row in rows:
            there = msgspec.json.decode(row["candidates"], type=list[str])
            left = [each for each in there if each != id]
            if len(left) == len(there):
                continue
            changed += 1
            if not dry_run:
                session.execute(
                    "UPDATE holds SET candidates = :left WHERE push = :push AND key = :key",
                    {"left": msgspec.json.encode(left).decode(), "push": row["push"], "key": row["key"]},
                )
    return changed
