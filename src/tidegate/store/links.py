"""Which object of Stripe a row of a push is, once that is known.

A row has one object, and within a push an object has one row. Where somebody else deleted the object the link stays
as a tombstone, and the ledger begins no create for its row any more: whoever had a customer erased does not get it
back. What the push itself deleted may be made anew when its row returns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tidegate.store import claims, database, fences, notes, pages

if TYPE_CHECKING:
    import pyarrow

Gone = Literal["", "deleted", "missing"]
"""Whether there is no such object any more: `deleted` by this push, or `missing` since somebody else deleted it."""
STEP = 500
"""Rows that are looked up or changed at one go."""

_COLUMNS = "key, account, livemode, object, target, created, operation, linked_at, gone, gone_at"


@dataclass(frozen=True, slots=True)
class Link:
    """A row's object; times are unix seconds of the database's clock."""

    key: str
    account: str
    livemode: bool
    object: str
    target: str
    created: bool = False
    """By this push."""
    operation: str = ""
    """The one that created or first wrote it; nothing where it was found and had all that the row says."""
    linked_at: float = 0.0
    gone: Gone = ""
    gone_at: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a link that was to be made.

    `shared`: the object is the row `other`'s. `gone`: the row is a tombstone. `kept`: the row is the object
    `other` already.
    """

    key: str
    state: Literal["linked", "shared", "gone", "kept"]
    other: str = ""


def find(store: database.Database, push: str, keys: Collection[str]) -> dict[str, Link]:
    """The links of rows, tombstones too, by key."""
    found: dict[str, Link] = {}
    wanted = list(keys)
    for start in range(0, len(wanted), STEP):

        def work(
            session: database.Session, some: Sequence[str] = wanted[start : start + STEP]
        ) -> dict[str, Link]:
            return of(session, push, some)

        found |= store.transact(work)
    return found


def of(session: database.Session, push: str, keys: Collection[str]) -> dict[str, Link]:
    """The same inside a transaction, for some hundred rows."""
    if not keys:
        return {}
    names, parameters = database.among(keys)
    rows = session.execute(
        f"SELECT {_COLUMNS} FROM links WHERE push = :push AND key IN {names}", {"push": push, **parameters}
    )
    return {row["key"]: _link(row) for row in rows}


def rows_of(
    session: database.Session, push: str, account: str, livemode: bool, object: str, targets: Collection[str]
) -> dict[str, str]:
    """The rows of a push that objects are linked to, by object, inside a transaction; for some hundred."""
    if not targets:
        return {}
    names, parameters = database.among(targets)
    rows = session.execute(
        "SELECT target, key FROM links WHERE push = :push AND account = :account AND livemode = :livemode "
        f"AND object = :object AND target IN {names} AND gone = ''",
        {"push": push, "account": account, "livemode": int(livemode), "object": object, **parameters},
    )
    return {row["target"]: row["key"] for row in rows}


def by_target(
    store: database.Database, account: str, livemode: bool, object: str, target: str
) -> list[tuple[str, Link]]:
    """All links to an object, with the names of their pushes."""
    rows = store.execute(
        f"SELECT push, {_COLUMNS} FROM links WHERE account = :account AND livemode = :livemode "
        "AND object = :object AND target = :target ORDER BY push, key",
        {"account": account, "livemode": int(livemode), "object": object, "target": target},
    )
    return [(row.pop("push"), _link(row)) for row in rows]


def each(store: database.Database, push: str, batch: int = 20_000) -> Iterator[pyarrow.RecordBatch]:
    """All links of a push as Arrow: key, target, created, gone; in the order of their keys."""
    import pyarrow

    names = ["key", "target", "created", "gone"]
    for rows in pages.read(store, "links", names, push, batch):
        key, target, created, gone = zip(*rows, strict=True)
        yield pyarrow.RecordBatch.from_arrays(
            [
                pyarrow.array(key, pyarrow.string()),
                pyarrow.array(target, pyarrow.string()),
                pyarrow.array(map(bool, created), pyarrow.bool_()),
                pyarrow.array(gone, pyarrow.string()),
            ],
            names=names,
        )


def link(
    store: database.Database, fence: fences.Fence, links: Sequence[Link], *, chosen: bool = False
) -> list[Outcome]:
    """Note which objects rows are, that were found at Stripe; linking them again changes nothing.

    A row that has an object, or is a tombstone, gets another one only where a person has `chosen` that, and what
    is gone never. Raises Outdated.
    """
    made = [(each, notes.new_id()) for each in links]
    assert len(links) <= STEP, f"{STEP} links at one go at most."

    def work(session: database.Session) -> list[Outcome]:
        fences.check(session, fence)
        return [_linked(session, fence.push, each, note, chosen) for each, note in made]

    return store.transact(work)


def _linked(session: database.Session, push: str, wanted: Link, note: str, chosen: bool) -> Outcome:
    there = of(session, push, [wanted.key]).get(wanted.key)
    place = (wanted.account, wanted.livemode, wanted.object)
    same = there is not None and there.target == wanted.target
    if there is not None and there.gone == "missing" and (same or not chosen):
        return Outcome(wanted.key, "gone")
    if there is not None and not there.gone and not same and not chosen:
        return Outcome(wanted.key, "kept", there.target)
    other = rows_of(session, push, *place, [wanted.target]).get(wanted.target, wanted.key)
    if other != wanted.key:
        return Outcome(wanted.key, "shared", other)
    put(session, push, [wanted])
    if there is None or there.gone or there.target != wanted.target:
        keep_note(session, push, wanted, note, "" if there is None else there.target)
    return Outcome(wanted.key, "linked")


def put(session: database.Session, push: str, links: Sequence[Link]) -> None:
    """Write links inside a transaction that has seen that it may."""
    same = "links.target = excluded.target AND links.gone = ''"
    session.each(
        "INSERT INTO links (push, key, account, livemode, object, target, created, operation, linked_at) "
        "VALUES (:push, :key, :account, :livemode, :object, :target, :created, :operation, {now}) "
        "ON CONFLICT (push, key) DO UPDATE SET account = excluded.account, livemode = excluded.livemode, "
        "object = excluded.object, target = excluded.target, gone = '', gone_at = NULL, "
        f"created = CASE WHEN {same} AND links.created = 1 THEN 1 ELSE excluded.created END, "
        f"operation = CASE WHEN {same} AND links.operation <> '' THEN links.operation ELSE excluded.operation END, "
        f"linked_at = CASE WHEN {same} THEN links.linked_at ELSE excluded.linked_at END",
        [
            {
                "push": push,
                "key": each.key,
                "account": each.account,
                "livemode": int(each.livemode),
                "object": each.object,
                "target": each.target,
                "created": int(each.created),
                "operation": each.operation,
            }
            for each in links
        ],
    )


def keep_note(session: database.Session, push: str, made: Link, note: str, before: str = "") -> None:
    """Note that a row is another object from now on, in the place of the one that it was before."""
    text = f"{made.target} in the place of {before}" if before not in ("", made.target) else made.target
    notes.keep(session, [notes.Note(note, push, made.key, "linked", text, operation=made.operation)])


def unlink(store: database.Database, fence: fences.Fence, keys: Collection[str]) -> None:
    """Note that somebody else deleted the objects of these rows: their links are tombstones.

    Their claims end, and what was acknowledged of them is forgotten. Raises Outdated.
    """
    made = {key: notes.new_id() for key in keys}
    assert len(made) <= STEP, f"{STEP} links at one go at most."

    def work(session: database.Session) -> None:
        fences.check(session, fence)
        bury(session, fence.push, made, "missing")

    store.transact(work)


def bury(
    session: database.Session,
    push: str,
    named: Mapping[str, str],
    gone: Gone,
    targets: Mapping[str, str] | None = None,
) -> None:
    """The same inside a transaction: `named` are names for what is noted, by key.

    With `targets` only the rows whose objects those are.
    """
    there = of(session, push, list(named))
    dead = [
        key
        for key, found in sorted(there.items())
        if not found.gone and (targets is None or targets[key] == found.target)
    ]
    if not dead:
        return
    names, parameters = database.among(dead)
    wanted = {"push": push, "gone": gone, **parameters}
    session.execute(
        f"UPDATE links SET gone = :gone, gone_at = {{now}} WHERE push = :push AND key IN {names}", wanted
    )
    session.execute(f"DELETE FROM pushed WHERE push = :push AND key IN {names}", wanted)
    claims.release_rows(session, push, dead)
    notes.keep(session, [notes.Note(named[key], push, key, gone, there[key].target) for key in dead])


def counts(store: database.Database, push: str) -> Mapping[Gone, int]:
    """How many links a push has that live (by the empty name), and how many of each kind of tombstone."""
    rows = store.execute(
        "SELECT gone, count(*) AS n FROM links WHERE push = :push GROUP BY gone", {"push": push}
    )
    return {row["gone"]: int(row["n"]) for row in rows}


def _link(row: database.Row) -> Link:
    return Link(**{**row, "livemode": bool(row["livemode"]), "created": bool(row["created"])})
