"""Matters that need a person: open until they are gone, and on each channel who was told of them, and when.

A matter has a stable name. What opens it again within `CALM` seconds of its end is the same episode, so that
something that comes and goes is told once. What was told is kept per channel and episode: it outlives whoever
tells, so that of a teller that is killed only the one message on its way is told twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from tidegate.store import database

CALM = 300.0
"""Seconds that a matter must be gone for before that is told."""
UNTOLD = 7 * 86_400.0
"""Seconds after its end for which there is still somebody to tell of it."""
MOST = 1_000
"""Matters of one kind and flow that are kept; of more, the first by name."""

_COLUMNS = "matter, kind, flow, text, opened_at, seen_at, resolved_at, told"


@dataclass(frozen=True, slots=True)
class Matter:
    """Something that needs a person; `text` says what, where and what to do next."""

    name: str
    kind: str
    flow: str
    text: str


class Telling(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one channel was told of a matter; episodes are meant by the time at which they were opened."""

    opened: float = 0.0
    """The episode whose opening was told."""
    resolved: float = 0.0
    """The episode whose end was told."""
    at: float = 0.0
    """When something was told last."""
    trying: float = 0.0
    """The episode of which a message is on its way, or was the last time that anybody knows."""
    tried: float = 0.0
    """When that was sent off."""
    tries: int = 0
    """How often it was sent off; nothing when it arrived."""
    error: str = ""
    """Why it did not arrive."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A matter as it stands; times are unix seconds of the database's clock, `seen_at` that of its text."""

    matter: str
    kind: str
    flow: str
    text: str
    opened_at: float
    seen_at: float
    resolved_at: float | None = None
    told: Mapping[str, Telling] = field(default_factory=dict)
    """By channel."""


def settle(
    store: database.Database,
    flow: str,
    matters: Iterable[Matter],
    over: Collection[str] = (),
    *,
    spared: Collection[str] = (),
) -> tuple[list[Notice], list[Notice]]:
    """Open these matters of a flow; of the kinds `over` they are all, and what is open besides is gone.

    But for those that are `spared`, by name: they stay as they are.
    Returns those that this call opened and those that it resolved. Doing it again changes nothing; of several
    that do it at once, one opens each.
    """
    wanted = _bounded(matters)

    def work(session: database.Session) -> tuple[list[Notice], list[Notice]]:
        rows = session.execute(f"SELECT {_COLUMNS} FROM alerts WHERE flow = :flow", {"flow": flow})
        there = {row["matter"]: _notice(row) for row in rows}
        opened = [new for name in sorted(wanted) if (new := _open(session, wanted[name], there.get(name)))]
        resolved = []
        for name, notice in sorted(there.items()):
            gone = notice.kind in over and name not in wanted and name not in spared
            if notice.resolved_at is None and gone:
                row = session.one(
                    "UPDATE alerts SET resolved_at = {now} WHERE matter = :matter AND resolved_at IS NULL "
                    f"RETURNING {_COLUMNS}",
                    {"matter": name},
                )
                resolved += [] if row is None else [_notice(row)]
        return opened, resolved

    return store.transact(work)


def _open(session: database.Session, matter: Matter, there: Notice | None) -> Notice | None:
    """Have a matter open; returns it where this begins an episode."""
    if (
        there is not None
        and there.resolved_at is None
        and (there.kind, there.text) == (matter.kind, matter.text)
    ):
        return None
    values = {"matter": matter.name, "kind": matter.kind, "flow": matter.flow, "text": matter.text}
    if there is None:
        row = session.one(
            "INSERT INTO alerts (matter, kind, flow, text, opened_at, seen_at) "
            f"VALUES (:matter, :kind, :flow, :text, {{now}}, {{now}}) ON CONFLICT (matter) DO NOTHING "
            f"RETURNING {_COLUMNS}",
            values,
        )
        if row is not None:
            return _notice(row)
    if there is None or there.resolved_at is not None:
        row = session.one(
            "UPDATE alerts SET kind = :kind, flow = :flow, text = :text, seen_at = {now}, opened_at = {now}, "
            "resolved_at = NULL WHERE matter = :matter AND resolved_at < {now} - :calm "
            f"RETURNING {_COLUMNS}",
            {**values, "calm": CALM},
        )
        if row is not None:
            return _notice(row)
    session.execute(
        "UPDATE alerts SET kind = :kind, flow = :flow, text = :text, seen_at = {now}, resolved_at = NULL "
        "WHERE matter = :matter",
        values,
    )
    return None


def pending(store: database.Database) -> tuple[list[Notice], float]:
    """The matters of which somebody may still have to be told, oldest first, and the database's clock."""

    def work(session: database.Session) -> tuple[list[Notice], float]:
        row = session.one("SELECT {now} AS now")
        assert row is not None, "A SELECT without FROM has a row."
        rows = session.execute(
            f"SELECT {_COLUMNS} FROM alerts WHERE resolved_at IS NULL OR resolved_at > {{now}} - :untold "
            "ORDER BY opened_at, matter",
            {"untold": UNTOLD},
        )
        return [_notice(each) for each in rows], float(row["now"])

    return store.transact(work)


def note(store: database.Database, channel: str, tellings: Mapping[str, Telling]) -> None:
    """Note what a channel was told, by matter; other channels' notes stay."""

    def work(session: database.Session) -> None:
        for name, telling in sorted(tellings.items()):
            row = session.one("SELECT told FROM alerts WHERE matter = :matter {lock}", {"matter": name})
            if row is not None:
                told = {**_told(row["told"]), channel: telling}
                session.execute(
                    "UPDATE alerts SET told = :told WHERE matter = :matter",
                    {"matter": name, "told": msgspec.json.encode(told).decode()},
                )

    store.transact(work)


def listed(store: database.Database, *, ended: bool = False, kinds: Collection[str] = ()) -> list[Notice]:
    """Open matters, oldest first; with those that have `ended`, which stand last. Of these `kinds`, or of all."""
    named = {f"kind{name}": kind for name, kind in zip("abcdefgh", kinds, strict=False)}
    said = ["resolved_at IS NULL"] * (not ended)
    said += [f"kind IN ({', '.join(f':{name}' for name in named)})"] * bool(named)
    where = f" WHERE {' AND '.join(said)}" if said else ""
    rows = store.execute(
        f"SELECT {_COLUMNS} FROM alerts{where} "
        "ORDER BY CASE WHEN resolved_at IS NULL THEN 0 ELSE 1 END, opened_at, matter",
        named,
    )
    return [_notice(row) for row in rows]


def leave(store: database.Database, flows: Collection[str]) -> list[Notice]:
    """Resolve what is open of flows other than these: the configuration does not have them any more."""

    def work(session: database.Session) -> list[Notice]:
        rows = session.execute("SELECT DISTINCT flow FROM alerts WHERE resolved_at IS NULL AND flow <> ''")
        gone = sorted({row["flow"] for row in rows} - set(flows))
        return [
            _notice(row)
            for flow in gone
            for row in session.execute(
                "UPDATE alerts SET resolved_at = {now} WHERE flow = :flow AND resolved_at IS NULL "
                f"RETURNING {_COLUMNS}",
                {"flow": flow},
            )
        ]

    return store.transact(work)


def _bounded(matters: Iterable[Matter]) -> dict[str, Matter]:
    """By name, the first MOST of each kind."""
    found: dict[str, Matter] = {}
    counts: dict[str, int] = {}
    for matter in sorted(matters, key=lambda each: each.name):
        counts[matter.kind] = counts.get(matter.kind, 0) + 1
        if counts[matter.kind] <= MOST:
            found[matter.name] = matter
    return found


def _notice(row: database.Row) -> Notice:
    return Notice(**{**row, "told": _told(row["told"])})


def _told(text: str) -> dict[str, Telling]:
    try:
        return msgspec.json.decode(text, type=dict[str, Telling])
    except msgspec.DecodeError:
        return {}
