"""What pushes wrote to objects of Stripe lately: by whom, how often, and what the last of it was.

A few queries for whatever number of rows, each by an index: plans ask them, and most find nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate.store import database, notes

FEW = 500
"""Objects that are looked up by one statement."""
MOST = 1_000
"""Objects whose writes are read at one go."""
_WRITES = "status IN ('done', 'refused', 'void') AND status = 'done' AND action IN ('create', 'update')"
"""SQLite knows the index of what has ended by its very words."""


@dataclass(frozen=True, slots=True)
class Write:
    """A write that was done; `at` is when that was known, in unix seconds of the database's clock."""

    push: str
    key: str
    target: str
    body: str
    """The bytes that were sent."""
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    fence: int
    at: float


def latest(
    store: database.Database,
    place: tuple[str, bool, str],
    targets: Collection[str],
    within: float,
) -> dict[str, Write]:
    """The last write of each of these objects within so many seconds, of whatever push.

    `place` is the account, whether it is live, and the kind of object.
    """
    found: dict[str, Write] = {}
    wanted = list(dict.fromkeys(targets))
    for start in range(0, len(wanted), FEW):
        names, parameters = database.among(wanted[start : start + FEW])
        values = names[1:-1].replace(", ", "), (")
        rows = store.execute(
            f"WITH wanted (name) AS (VALUES ({values})) {_SELECT} WHERE id IN (SELECT ("
            f"SELECT id FROM operations WHERE {_PLACE} AND target = wanted.name AND status = 'done' "
            "AND decided_at > (SELECT {now}) - :within "
            "ORDER BY decided_at DESC, id DESC LIMIT 1) FROM wanted)",
            {**parameters, **_named(place), "within": within},
        )
        found |= {row["target"]: _write(row) for row in rows}
    return found


def often(
    store: database.Database, place: tuple[str, bool, str], more_than: int, within: float
) -> dict[str, list[Write]]:
    """The writes of objects that were written more often than that within so many seconds, oldest first.

    Of `MOST` of them, by chance.
    """
    rows = store.execute(
        f"SELECT target FROM operations WHERE {_WRITES} AND {_THERE} AND decided_at > (SELECT {{now}}) - :within "
        f"AND target <> '' GROUP BY target HAVING count(*) > :more ORDER BY random() LIMIT {MOST}",
        {**_named(place), "within": within, "more": more_than},
    )
    late = " AND decided_at > (SELECT {now}) - :within"
    return _of(store, [row["target"] for row in rows], _PLACE + late, {**_named(place), "within": within})


def running(
    store: database.Database, push: str, place: tuple[str, bool, str], runs: int, last: int
) -> dict[str, list[Write]]:
    """The writes of objects that this many of the push's `last` runs wrote, oldest first; by its fences.

    Of `MOST` of them, by chance.
    """
    lately = "push = :push AND fence > (SELECT number FROM fences WHERE push = :push) - :last"
    wanted = {"push": push, "last": last, "runs": runs, **_named(place)}
    rows = store.execute(
        f"SELECT target FROM operations WHERE {lately} AND status = 'done' AND action IN ('create', 'update') "
        f"AND {_PLACE} AND target <> '' GROUP BY target HAVING count(DISTINCT fence) >= :runs "
        f"ORDER BY random() LIMIT {MOST}",
        wanted,
    )
    return _of(store, [row["target"] for row in rows], f"{lately} AND {_PLACE}", wanted)


def run(store: database.Database, push: str) -> int:
    """How many runs a push had, this one counted, those that only planned too; by its fences."""
    row = store.one("SELECT number FROM fences WHERE push = :push", {"push": push})
    return 0 if row is None else int(row["number"])


def noted(store: database.Database, push: str, what: str, keys: Sequence[str]) -> dict[str, list[notes.Note]]:
    """What was noted of these rows under one name, oldest first."""
    found: dict[str, list[notes.Note]] = {}
    for start in range(0, len(keys), FEW):
        names, parameters = database.among(keys[start : start + FEW])
        rows = store.execute(
            "SELECT id, push, key, what, text, operation, at FROM row_notes WHERE push = :push "
            f"AND key IN {names} AND what = :what ORDER BY at, id",
            {"push": push, "what": what, **parameters},
        )
        for row in rows:
            found.setdefault(row["key"], []).append(notes.Note(**row))
    return found


_SELECT = "SELECT push, key, target, body, before, after, fence, decided_at FROM operations"
_PLACE = "account = :account AND livemode = :livemode AND object = :object"
_THERE = _PLACE.replace("account =", "account || '' =")
"""The same; SQLite does not take the index of an account's objects, and read all that was ever written to them."""


def _of(
    store: database.Database, targets: Sequence[str], where: str, wanted: Mapping[str, object]
) -> dict[str, list[Write]]:
    found: dict[str, list[Write]] = {}
    for start in range(0, len(targets), FEW):
        names, parameters = database.among(targets[start : start + FEW])
        rows = store.execute(
            f"{_SELECT} WHERE {where} AND target IN {names} AND status = 'done' "
            "AND action IN ('create', 'update') ORDER BY decided_at, id",
            {**parameters, **wanted},
        )
        for row in rows:
            found.setdefault(row["target"], []).append(_write(row))
    return found


def _named(place: tuple[str, bool, str]) -> dict[str, object]:
    account, livemode, object = place
    return {"account": account, "livemode": int(livemode), "object": object}


def _write(row: database.Row) -> Write:
    before, after = (msgspec.json.decode(row[name]) if row[name] else {} for name in ("before", "after"))
    told = {name: row[name] for name in ("push", "key", "target", "body", "fence")}
    return Write(**told, before=before, after=after, at=float(row["decided_at"]))
