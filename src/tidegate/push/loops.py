"""Rows that go round: what is written comes back as another value, which is written, and so on without an end.

A row is planned only when it says something else than what was acknowledged of it, so that our own writes, seen
again in a table that a pull keeps, change nothing: a flow of both ways comes to rest. It does not where a model
makes another value of each value that it reads (`name || '!'`), or where two of them answer each other. A trip is a
write of ours to a field upon which the row said something else of it. A field of an object is suspected

- after more than TRIPS trips within WINDOW seconds, whatever pushes they are of, or after trips in RUNS of the last
  LOOKED runs of its push, however slow these are;
- where it may be our doing: a pull brings what Stripe has into the warehouse of the model, or the value comes back:
  the object had it before one of these writes, or because of one.

A counter that changes by itself looks the same, and so does somebody who types in a hurry. Only one thing tells
them apart: whether the row goes on changing while nothing is written. So a suspected row is watched: it is left out
of the next REST runs. When it changes meanwhile it moves by itself: it is written, and its field is left alone for
four times as long as was looked at, sixteen times after the second time, and so on. When it stays the same it is
written once more. Does it change again at once, or is it suspected for the third time within MEMORY seconds, then
it changes only because it is written: it goes round, and is held until a person has it tried again, or until it
changes. Of many rows that are suspected of the same field FEW are watched at a time, and all once one was found to
go round.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from tidegate.catalog import writes
from tidegate.push import forms, workbook
from tidegate.store import database, fences, holds, notes, rounds

LOOPING: holds.Kind = "looping"
WATCHED: holds.Kind = "watched"
TRIPS, WINDOW = 3, 600.0
"""Trips that are allowed within so many seconds."""
RUNS, LOOKED = 12, 18
"""Runs with a trip, of how many runs of the push in a row."""
REST = 3
"""Runs that a row which is watched is left out of."""
SOON = 2
"""Runs of the push within which a change comes at once."""
MEMORY = 86_400.0
"""Seconds for which it counts that a row was watched."""
FEW = 5
"""Rows that are watched at a time to see about a field."""
ALL = 1_000_000
MOVES = "moves"
"""What is noted, under no row, of a field that moves by itself."""
RESTED = "rested"
"""What is noted of a row that stayed the same while it was watched."""

_LEFT = pa.schema([(name, pa.string()) for name in ("key", "kind", "field", "text")])
_NOTED = pa.schema([(name, pa.string()) for name in ("key", "what", "field")])


@dataclass(frozen=True, slots=True)
class Watch:
    """Where a plan looks for rows that go round."""

    store: database.Database
    push: str
    place: tuple[str, bool, str]
    """The account, whether it is live, and the kind of object."""
    of: writes.Object
    version: str
    """The fingerprint of the mapping."""
    is_fed: bool
    """Does a pull bring what Stripe has into the warehouse of the model?"""


@dataclass(frozen=True, slots=True)
class _Row:
    key: str
    hash: str
    target: str
    changes: Mapping[str, str]
    """What is to be written, by field."""


@dataclass(frozen=True, slots=True)
class _Left:
    """A row that is left out of this run."""

    key: str
    kind: holds.Kind
    field: str
    text: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a row and of fields."""

    now: float
    run: int
    """The push's runs are counted."""
    moves: Mapping[str, Sequence[float]]
    """How many seconds ago fields were found to move by themselves."""
    rested: Sequence[float]
    """When the row had been watched and had stayed the same."""


def suspend(watch: Watch, book: workbook.Workbook) -> None:
    """Hold those updates of a plan that go round, or that are to show whether they do; writes to the workbook only.

    A few queries for all of them, and none where nothing is updated.
    """
    book.execute("CREATE OR REPLACE TABLE watching (key VARCHAR, what VARCHAR, field VARCHAR)")
    if not book.count("SELECT count(*) FROM planned WHERE verdict = 'update'"):
        return
    often = rounds.often(watch.store, watch.place, TRIPS, WINDOW)
    running = rounds.running(watch.store, watch.push, watch.place, RUNS, LOOKED)
    resting = {
        each.key: each
        for each in holds.listed(watch.store, watch.push, kinds=[LOOPING, WATCHED], limit=ALL)
        if each.state == "held" or (each.state == "waiting" and each.failures)
    }
    rows = list(_rows(book, {*often, *running}, set(resting)))
    left, moved, ended = _rested(watch, rows, resting)
    others = [row for row in rows if row.key not in resting]
    suspected = [each for each in _suspects(watch, others, often, running) if each.field not in moved]
    left += _chosen(suspected, left)
    _leave(book, left)
    _note(book, [("", MOVES, each) for each in sorted(moved)])
    _note(book, [(row.key, RESTED, resting[row.key].field) for row in _unnoted(watch, ended)])


def settle(store: database.Database, fence: fences.Fence, book: workbook.Workbook) -> None:
    """Note which fields move by themselves, and which rows stayed the same. Raises Outdated."""
    book.execute("CREATE TABLE IF NOT EXISTS watching (key VARCHAR, what VARCHAR, field VARCHAR)")
    found = [
        notes.Note(notes.new_id(), fence.push, str(key), str(what), str(named))
        for key, what, named in book.rows("SELECT key, what, field FROM watching ORDER BY ALL")
    ]

    def work(session: database.Session) -> None:
        fences.check(session, fence)
        notes.keep(session, found)

    if found:
        store.transact(work)


def _rows(book: workbook.Workbook, targets: set[str], keys: set[str]) -> Iterator[_Row]:
    """The updates of a plan whose objects were written that often, or whose rows are left out."""
    named = pa.schema([("name", pa.string())])
    for table, names in (("circling", targets), ("resting", keys)):
        book.execute(f"CREATE OR REPLACE TABLE {table} (name VARCHAR)")
        book.insert(table, pa.table({"name": sorted(names)}, named))
    sql = (
        "SELECT key, hash, target, changes FROM planned WHERE verdict = 'update' AND (target IN "
        "(SELECT name FROM circling) OR key IN (SELECT name FROM resting)) ORDER BY number"
    )
    for batch in book.batches(sql):
        for row in batch.to_pylist():
            changes = {path: pair[1] for path, pair in json.loads(row.pop("changes")).items()}
            yield _Row(**row, changes=changes)


def _is_same(watch: Watch, row: _Row, hold: holds.Hold | None) -> bool:
    return hold is not None and (hold.hash, hold.version) == (row.hash, watch.version)


def _rested(
    watch: Watch, rows: Sequence[_Row], resting: Mapping[str, holds.Hold]
) -> tuple[list[_Left], set[str], list[_Row]]:
    """Of the rows that were left out: who stays so, which fields move by themselves, and who is to be tried."""
    watched = {key: hold for key, hold in resting.items() if hold.kind == WATCHED}
    same = [row for row in rows if _is_same(watch, row, resting.get(row.key))]
    changed = [row for row in rows if row.key in watched and not _is_same(watch, row, watched[row.key])]
    answered = _answered(watch, changed, watched)
    moved = {
        watched[row.key].field
        for row in changed
        if row.key not in answered and watched[row.key].version == watch.version
    }
    ended = [row for row in same if row.key in watched and watched[row.key].failures >= REST]
    stay = {row.key for row in same} - {row.key for row in ended} | answered
    holding = [resting[key] for key in sorted(stay) if resting[key].field not in moved]
    return [_Left(hold.key, hold.kind, hold.field, hold.text) for hold in holding], moved, ended


def _suspects(
    watch: Watch,
    rows: Sequence[_Row],
    often: Mapping[str, Sequence[rounds.Write]],
    running: Mapping[str, Sequence[rounds.Write]],
) -> Iterator[_Left]:
    """Those of the other rows that seem to go round."""
    keys = [row.key for row in rows]
    retried = rounds.noted(watch.store, watch.push, "retried", keys)
    rested = rounds.noted(watch.store, watch.push, RESTED, keys)
    now, run = watch.store.now(), rounds.run(watch.store, watch.push)
    moves: dict[str, list[float]] = {}
    for note in rounds.noted(watch.store, watch.push, MOVES, [""]).get("", []):
        moves.setdefault(note.text, []).append(now - note.at)
    for row in rows:
        since = max((note.at for note in retried.get(row.key, ())), default=0.0)
        times = [note.at for note in rested.get(row.key, ()) if note.at > max(since, now - MEMORY)]
        fast, slow = ([each for each in of.get(row.target, ()) if each.at > since] for of in (often, running))
        found = _suspected(watch, row, fast, slow, _Known(now, run, moves, times))
        if found is not None:
            yield found


def _answered(watch: Watch, changed: Sequence[_Row], watched: Mapping[str, holds.Hold]) -> set[str]:
    """The rows that changed while they were watched, and of which another push wrote that field meanwhile."""
    last = rounds.latest(watch.store, watch.place, [row.target for row in changed], MEMORY)
    return {
        row.key
        for row in changed
        if (write := last.get(row.target)) is not None
        and write.at > watched[row.key].opened_at
        and _has(watch.of, write, watched[row.key].field)
    }


def _unnoted(watch: Watch, ended: Sequence[_Row]) -> list[_Row]:
    """Without those of which it is noted already, and that were not written since: a limit kept them from it."""
    there = rounds.noted(watch.store, watch.push, RESTED, [row.key for row in ended])
    last = rounds.latest(watch.store, watch.place, [row.target for row in ended], MEMORY)
    return [
        row
        for row in ended
        if row.key not in there
        or (row.target in last and last[row.target].at > max(note.at for note in there[row.key]))
    ]


def _suspected(
    watch: Watch,
    row: _Row,
    fast: Sequence[rounds.Write],
    slow: Sequence[rounds.Write],
    known: _Known,
) -> _Left | None:
    """Whether a row is left out because of one of its fields, the first one."""
    rested = known.rested
    for path, wanted in row.changes.items():
        quick, steady = ([each for each in some if _has(watch.of, each, path)] for some in (fast, slow))
        trips = quick if _is_often(quick) else steady if _is_steady(steady) else []
        if not trips or not (watch.is_fed or wanted in _values(watch.of, trips, path)):
            continue
        span = WINDOW if trips is quick else known.now - trips[0].at
        moves = known.moves.get(path, ())
        if moves and min(moves) < span * 4.0 ** len(moves):
            continue
        who = f"{path} of {row.target} {_who(watch, trips, path)}"
        if rested:
            since = [each for each in trips if each.at > max(rested)]
            mine = [each.fence for each in since if each.push == watch.push]
            if mine and max(mine) >= known.run - SOON:
                return _Left(row.key, LOOPING, path, f"{who}, and only then; {AGAIN}")
            if not _is_often(since) and not _is_steady(since):
                continue
            if len(rested) > 1:
                return _Left(row.key, LOOPING, path, f"{who}, again and again; {AGAIN}")
        return _Left(row.key, WATCHED, path, f"{who}; {SEEN}")
    return None


AGAIN = "correct the model so that it settles, and have the row tried again."
SEEN = f"it is left out of {REST} runs, to see whether it changes by itself."


def _is_often(trips: Sequence[rounds.Write]) -> bool:
    return len(trips) > TRIPS


def _is_steady(trips: Sequence[rounds.Write]) -> bool:
    return len({each.fence for each in trips}) >= RUNS


def _chosen(suspected: Sequence[_Left], left: Sequence[_Left]) -> Iterator[_Left]:
    """Those that are left out: who goes round, and of who is to be watched a few of each field, or all."""
    found = {each.field for each in (*left, *suspected) if each.kind == LOOPING}
    watched: dict[str, int] = {}
    for each in left:
        watched[each.field] = watched.get(each.field, 0) + 1
    for each in sorted(suspected, key=lambda each: each.key):
        if each.kind == LOOPING or each.field in found or watched.get(each.field, 0) < FEW:
            watched[each.field] = watched.get(each.field, 0) + 1
            yield each


def _leave(book: workbook.Workbook, left: Sequence[_Left]) -> None:
    rows = [{name: getattr(each, name) for name in _LEFT.names} for each in left]
    book.execute("CREATE OR REPLACE TABLE suspended (key VARCHAR, kind VARCHAR, field VARCHAR, text VARCHAR)")
    book.insert("suspended", pa.Table.from_pylist(rows, _LEFT))
    book.execute(
        "UPDATE planned SET verdict = 'held', action = '', changes = '{}', kind = s.kind, field = s.field, "
        "text = s.text FROM suspended AS s WHERE planned.key = s.key AND verdict = 'update'"
    )


def _note(book: workbook.Workbook, rows: Sequence[tuple[str, str, str]]) -> None:
    told = [dict(zip(_NOTED.names, row, strict=True)) for row in rows]
    book.insert("watching", pa.Table.from_pylist(told, _NOTED))


def _has(of: writes.Object, write: rounds.Write, path: str) -> bool:
    """Did a write change a field, and not only send it along?"""
    return path in write.before if write.before else _told(of, write, path) is not None


def _told(of: writes.Object, write: rounds.Write, path: str) -> str | None:
    """What a write said of a field, as text; the empty text cleared it, None said nothing."""
    value: object = forms.decode(write.body.encode())
    for step in forms.steps(of, path):
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _values(of: writes.Object, trips: Sequence[rounds.Write], path: str) -> set[str | None]:
    """What a field was before writes, and what it was written to."""
    return {value for each in trips for value in (each.before.get(path), _told(of, each, path))}


def _who(watch: Watch, trips: Sequence[rounds.Write], path: str) -> str:
    """Who writes a field, as the rest of a sentence."""
    names = sorted({each.push for each in trips})
    told = [(_told(watch.of, each, path) or "", each.before.get(path) or "") for each in trips]
    others = any(said != before for (said, _), (_, before) in itertools.pairwise(told))
    writers = [*names, "somebody at Stripe"] if others else names
    if len(writers) > 1:
        return f"is written by {', '.join(writers[:-1])} and {writers[-1]} in turns"
    return f"changed each time after {writers[0]} wrote it"
