"""Rows of a push that are not written for now, and what is to be done with them.

A row that failed waits and is tried again, each time after longer; one that failed often enough, or that only a
person can decide on (see `decisions`), is held until then. Nothing is held for ever unseen: a row is tried anew
once it changes, or its mapping. A row has one hold at most; when it is acknowledged its hold is over.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from tidegate.store import database, fences, notes, pages

if TYPE_CHECKING:
    import pyarrow

Kind = Literal[
    "invalid",  # Stripe would refuse it: found before anything was sent
    "doubled",  # several rows have its key, or the value that it is matched by
    "refused",  # Stripe refused it
    "ambiguous",  # several objects match it
    "shared",  # its object is another row's
    "claimed",  # another row, of whatever push, is creating the object, or has
    "conflict",  # row and object were changed both
    "immutable",  # a field changed that its object has for ever
    "gone",  # somebody deleted its object
    "unknown",  # nobody can tell whether its object was made
    "undone",  # a person undid what it wrote
    "watched",  # left out of a few runs, to see whether it changes by itself
    "looping",  # what is written comes back as another value
]
KINDS: tuple[Kind, ...] = get_args(Kind)
State = Literal["waiting", "held", "skipped", "chosen"]
"""`waiting` is tried again at `next_at`; `skipped` is left as it is until it changes; `chosen` is tried at once."""
STATES: tuple[State, ...] = get_args(State)
FIRST, LONGEST = 60.0, 6 * 3600.0
"""Seconds until a row that failed once is tried again, and at most; twice as long each time."""
STEP = 500
"""Rows of one transaction at most."""
_LIKE = re.compile(r"([!%_])")

COLUMNS = (
    "push, key, kind, state, text, field, code, hash, version, candidates, choice, operation, failures, "
    "opened_at, seen_at, next_at"
)


@dataclass(frozen=True, slots=True)
class Opening:
    """Why a row is not written; `text` is a sentence without personal data."""

    key: str
    kind: Kind
    text: str
    hash: str = ""
    version: str = ""
    """The row and the mapping as they failed: when one of them changes, the row is tried anew."""
    field: str = ""
    code: str = ""
    candidates: tuple[str, ...] = ()
    """What a person may choose from."""
    operation: str = ""
    times: int = 1
    """Failures in a row, this one counted, before it is held; until then it waits."""
    id: str = dataclasses.field(default_factory=lambda: notes.new_id("hold"))


@dataclass(frozen=True, slots=True)
class Hold:
    """A row that is not written for now; times are unix seconds of the database's clock."""

    push: str
    key: str
    kind: Kind
    state: State
    text: str
    field: str
    code: str
    hash: str
    version: str
    candidates: tuple[str, ...]
    choice: str
    operation: str
    failures: int
    opened_at: float
    seen_at: float
    next_at: float | None


def pause(failures: int) -> float:
    """Seconds until a row that failed so often is tried again."""
    return min(LONGEST, FIRST * 2.0 ** min(failures - 1, 20))


def open(store: database.Database, fence: fences.Fence, openings: Sequence[Opening]) -> list[Hold]:
    """Hold rows, or have them wait; doing it again with the same openings changes nothing. Raises Outdated."""
    assert len(openings) <= STEP, f"{STEP} rows at one go at most."

    def work(session: database.Session) -> list[Hold]:
        fences.check(session, fence)
        return opened(session, fence.push, openings)

    return store.transact(work)


def opened(session: database.Session, push: str, openings: Sequence[Opening]) -> list[Hold]:
    """The same inside a transaction."""
    if not openings:
        return []
    there = {row["key"]: row for row in stored(session, push, [each.key for each in openings])}
    now = session.now()
    new: dict[str, Opening] = {}
    for each in openings:
        row = there.get(each.key)
        if row is None or not _told(row, each):
            there[each.key] = _next(push, each, row, now)
            new[each.key] = each
    session.each(
        f"INSERT INTO holds ({COLUMNS}, opening) VALUES (:push, :key, :kind, :state, :text, :field, :code, :hash, "
        ":version, :candidates, :choice, :operation, :failures, :opened_at, :seen_at, :next_at, :opening) "
        "ON CONFLICT (push, key) DO UPDATE SET "
        + ", ".join(
            f"{name} = excluded.{name}"
            for name in (*COLUMNS.split(", "), "opening")
            if name not in ("push", "key")
        ),
        [there[key] for key in sorted(new)],
    )
    notes.keep(
        session,
        [
            notes.Note(each.id, push, key, there[key]["state"], each.text, operation=each.operation)
            for key, each in new.items()
        ],
    )
    return [of_row(there[key]) for key in dict.fromkeys(each.key for each in openings)]


def _told(there: database.Row, wanted: Opening) -> bool:
    """Is a row held already as this would hold it? Then every plan says so again, and nothing has happened."""
    if there["opening"] == wanted.id:
        return True
    resting = there["state"] in ("held", "skipped") and there["text"] == wanted.text
    again = wanted.operation in ("", there["operation"])
    return resting and again and _same(there, wanted) and _candidates(there) == wanted.candidates


def _same(there: database.Row, wanted: Opening) -> bool:
    """Did the same row and mapping fail in the same way before?"""
    return (there["kind"], there["hash"], there["version"]) == (wanted.kind, wanted.hash, wanted.version)


def _next(push: str, wanted: Opening, there: database.Row | None, now: float) -> database.Row:
    """A row's hold after an opening; what failed in the same way before counts."""
    same = there is not None and _same(there, wanted)
    failures = there["failures"] + 1 if there is not None and same else 1
    skipped = there is not None and same and there["state"] == "skipped"
    state: State = "skipped" if skipped else "held" if failures >= wanted.times else "waiting"
    return {
        "push": push,
        "key": wanted.key,
        "kind": wanted.kind,
        "state": state,
        "text": wanted.text,
        "field": wanted.field,
        "code": wanted.code,
        "hash": wanted.hash,
        "version": wanted.version,
        "candidates": msgspec.json.encode(wanted.candidates).decode(),
        "choice": "",
        "operation": wanted.operation,
        "failures": failures,
        "opened_at": there["opened_at"] if there is not None and same else now,
        "seen_at": now,
        "next_at": now + pause(failures) if state == "waiting" else None,
        "opening": wanted.id,
    }


def reopen(store: database.Database, fence: fences.Fence, rows: Mapping[str, tuple[str, str]]) -> list[str]:
    """Have rows tried at once of which hash or mapping changed; `rows` are both as they are now, by key.

    Says which those are. Rows that are not held, or not changed, stay as they are. Raises Outdated.
    """
    assert len(rows) <= STEP, f"{STEP} rows at one go at most."
    named = {key: notes.new_id() for key in rows}

    def work(session: database.Session) -> list[str]:
        fences.check(session, fence)
        changed = [
            row["key"]
            for row in stored(session, fence.push, list(rows))
            if (row["hash"], row["version"]) != rows[row["key"]] or row["opening"] == named[row["key"]]
        ]
        session.each(
            "UPDATE holds SET state = 'waiting', hash = :hash, version = :version, choice = '', failures = 0, "
            "next_at = {now}, opening = :opening WHERE push = :push AND key = :key",
            [
                {
                    "push": fence.push,
                    "key": key,
                    "hash": rows[key][0],
                    "version": rows[key][1],
                    "opening": named[key],
                }
                for key in changed
            ],
        )
        notes.keep(session, [notes.Note(named[key], fence.push, key, "changed") for key in changed])
        return changed

    return store.transact(work)


def close(store: database.Database, fence: fences.Fence, keys: Collection[str], why: str) -> None:
    """End the holds of rows, since there is nothing to write any more. Raises Outdated."""
    assert len(keys) <= STEP, f"{STEP} rows at one go at most."
    named = {key: notes.new_id() for key in keys}

    def work(session: database.Session) -> None:
        fences.check(session, fence)
        closed(session, fence.push, named, why)

    store.transact(work)


def closed(session: database.Session, push: str, named: Mapping[str, str], why: str) -> None:
    """The same inside a transaction: `named` are names for what is noted, by key."""
    if not named:
        return
    names, parameters = database.among(named)
    rows = session.execute(
        f"DELETE FROM holds WHERE push = :push AND key IN {names} RETURNING key", {"push": push, **parameters}
    )
    notes.keep(session, [notes.Note(named[row["key"]], push, row["key"], "released", why) for row in rows])


def find(store: database.Database, push: str, key: str) -> Hold | None:
    """The hold of a row."""
    row = store.one(
        f"SELECT {COLUMNS} FROM holds WHERE push = :push AND key = :key", {"push": push, "key": key}
    )
    return None if row is None else of_row(row)


def listed(
    store: database.Database,
    push: str | None = None,
    *,
    kinds: Collection[str] = (),
    states: Collection[str] = (),
    limit: int = 100,
    after: Hold | None = None,
    search: str = "",
) -> list[Hold]:
    """Holds, oldest first; `after` is the last of the page before, `search` is in the key or in the text."""
    where, parameters = _where(push, kinds, states, search)
    if after is not None:
        where += " AND (opened_at, push, key) > (:at, :after_push, :after_key)"
        parameters |= {"at": after.opened_at, "after_push": after.push, "after_key": after.key}
    rows = store.execute(
        f"SELECT {COLUMNS} FROM holds WHERE {where} ORDER BY opened_at, push, key LIMIT :limit",
        {**parameters, "limit": limit},
    )
    return [of_row(row) for row in rows]


def count(
    store: database.Database,
    push: str | None = None,
    *,
    kinds: Collection[str] = (),
    states: Collection[str] = (),
    search: str = "",
) -> int:
    """How many `listed` would find."""
    where, parameters = _where(push, kinds, states, search)
    row = store.one(f"SELECT count(*) AS n FROM holds WHERE {where}", parameters)
    assert row is not None, "An aggregate has a row."
    return int(row["n"])


def totals(store: database.Database, push: str | None = None) -> dict[str, int]:
    """How many holds there are of each kind, over all pushes or of one."""
    where, parameters = _where(push, (), (), "")
    rows = store.execute(f"SELECT kind, count(*) AS n FROM holds WHERE {where} GROUP BY kind", parameters)
    return {row["kind"]: int(row["n"]) for row in rows}


def at(opened_at: float, push: str, key: str) -> Hold:
    """A place in the list of holds, to go on after."""
    return Hold(push, key, "invalid", "held", "", "", "", "", "", (), "", "", 0, opened_at, opened_at, None)


def _where(
    push: str | None, kinds: Collection[str], states: Collection[str], search: str
) -> tuple[str, dict[str, object]]:
    where = ["1 = 1"]
    parameters: dict[str, object] = {}
    if push is not None:
        where.append("push = :push")
        parameters["push"] = push
    for column, wanted in (("kind", kinds), ("state", states)):
        names = [f":{column}_{each}" for each in sorted(wanted)]
        if names:
            where.append(f"{column} IN ({', '.join(names)})")
            parameters |= {f"{column}_{each}": each for each in wanted}
    if search:
        where.append("(lower(key) LIKE :search ESCAPE '!' OR lower(text) LIKE :search ESCAPE '!')")
        text = _LIKE.sub(r"!\1", search.lower())
        parameters["search"] = f"%{text}%"
    return " AND ".join(where), parameters


def each(store: database.Database, push: str, batch: int = 20_000) -> Iterator[pyarrow.RecordBatch]:
    """All holds of a push as Arrow, by key: key, kind, state, hash, version, choice, next_at."""
    import pyarrow

    names = ["key", "kind", "state", "hash", "version", "choice", "next_at"]
    for rows in pages.read(store, "holds", names, push, batch):
        *texts, next_at = zip(*rows, strict=True)
        columns = [pyarrow.array(text, pyarrow.string()) for text in texts]
        yield pyarrow.RecordBatch.from_arrays(
            [*columns, pyarrow.array(next_at, pyarrow.float64())], names=names
        )


def counts(store: database.Database, push: str) -> Mapping[tuple[Kind, State], int]:
    """How many holds a push has of each kind and state."""
    rows = store.execute(
        "SELECT kind, state, count(*) AS n FROM holds WHERE push = :push GROUP BY kind, state", {"push": push}
    )
    return {(row["kind"], row["state"]): int(row["n"]) for row in rows}


def stored(session: database.Session, push: str, keys: Sequence[str]) -> list[database.Row]:
    """The rows of the table for these keys, locked until the transaction ends."""
    if not keys:
        return []
    names, parameters = database.among(dict.fromkeys(keys))
    return session.execute(
        f"SELECT {COLUMNS}, opening FROM holds WHERE push = :push AND key IN {names} ORDER BY key {{lock}}",
        {"push": push, **parameters},
    )


def of_row(row: database.Row) -> Hold:
    """A row of the table as a hold."""
    found = {each.name: row[each.name] for each in dataclasses.fields(Hold)}
    return Hold(**{**found, "candidates": _candidates(row)})


def _candidates(row: database.Row) -> tuple[str, ...]:
    return tuple(msgspec.json.decode(row["candidates"]))
