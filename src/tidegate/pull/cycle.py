"""One account brought up to date: follow the events, list what is not known yet or must be listed again, follow on.

The order matters: the tail's place is noted before anything is listed, so that no change falls between; a gap is
found before it can be stepped over; and what changed while lists were read is applied before the account is done.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from tidegate import catalog, errors
from tidegate.pull import backfill, moving, plan, reading, reconcile, refresh, relist, tail, verdict, walks

BETWEEN = 60.0
"""Seconds between two looks at the events while lists are read for long."""
FULL = "everything was asked for again"
UNHEARD = (errors.BadPage, errors.InvalidRequest, errors.Missing, errors.ServerFault)
"""What keeps the events from being read this time, and no list."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is wanted of every account alike."""

    wanted: plan.Plan
    ways: refresh.Ways
    full_refresh: bool = False
    refreshed: frozenset[str] = frozenset()
    """Streams that are read whole each time."""
    shapes: Mapping[str, str] = field(default_factory=dict)
    """By stream: what changes with what is wanted of it."""
    lost: frozenset[str] = frozenset()
    """Streams whose tables were dropped once, or held rows of which no state told."""
    lookback: int = 7 * 86_400
    given: bool = False
    lookbacks: Mapping[str, int] = field(default_factory=dict)
    """Of single streams, in seconds."""
    between: float = BETWEEN


def prefixes(account: str) -> Iterable[str]:
    """The state that belongs to an account."""
    names = (
        "backfill",
        "again",
        "relist",
        "tail",
        "absent",
        "seen",
        "dirty",
        "turns",
        "held",
        "shut",
        "shape",
        "moved",
    )
    return (f"{name}/{account}" for name in names)


async def run(shared: reading.Reading, wishes: Wishes, saved: dict[str, str]) -> int:
    """Bring one account up to date and say how many changes the events told; commits as it goes.

    Raises Unauthorized, Unreachable, RateLimited and WarehouseError; what was committed stays.
    """
    account = shared.account
    shared = dataclasses.replace(shared, done=reconcile.listed(saved, account))
    known = _known(shared, wishes, saved)
    entries = known.entries
    changed, heard, followed, why = 0, 0, True, ""
    placed = tail.place(saved, account) is not None
    if placed:
        _commit(shared, saved, _begun(shared, wishes.wanted, saved))
        cycle = await _catch_up(shared, known, saved)
        changed, heard, followed, why = cycle.changed, cycle.events, not cycle.untold, cycle.gap
    else:
        _note_absent(shared, saved, tail.left_out(shared, saved, 0))
        followed = not await _look(shared)
        if any(known.covered.values()):
            why = "the place in the events was lost"
    now = shared.client.clock.now()
    relist.clamp(entries, now)
    if not placed or why:
        _commit(shared, saved, tail.begin(shared, known, now, why))
    if why:
        shared.screen.note(f"{account}: {why}; listing again what events would have told.")
    await _demand(shared, wishes, known, saved, now, followed, stirred=heard > 0)
    before = shared.client.tally.requests
    changed += await _list(shared, wishes, known, saved, followed)
    if followed and shared.client.tally.requests > before:
        await shared.sink.flush()
        since = {name: since or now for name, since in known.covered.items()}
        known = verdict.Known(wishes.ways, entries, since)
        changed += (await _follow(shared, known, saved)).changed
    _commit(shared, saved, _shut_text(shared, saved))
    return changed


async def hear(
    shared: reading.Reading, wishes: Wishes, saved: dict[str, str], bodies: Sequence[bytes]
) -> int:
    """Apply events that Stripe delivered, between two runs, and say how many changes they told.

    Of an account that was never read, or whose events may have been missed, nothing is heard: its next run sees
    to that. Raises as `run`.
    """
    if tail.place(saved, shared.account) is None:
        return 0
    try:
        return (await tail.hear(shared, _known(shared, wishes, saved), saved, bodies)).changed
    except UNHEARD as error:
        _fall_behind(shared, error)
        return 0


def _known(shared: reading.Reading, wishes: Wishes, saved: Mapping[str, str]) -> verdict.Known:
    """What is known of an account before anything is asked."""
    shared.shut.update(_shut(saved, shared.account))
    entries = relist.entries(saved.get(relist.key(shared.account)))
    return verdict.Known(wishes.ways, entries, tail.covered(shared, wishes.wanted, saved))


async def _list(
    shared: reading.Reading, wishes: Wishes, known: verdict.Known, saved: dict[str, str], followed: bool
) -> int:
    """Read every list that is due, and look at the events now and then meanwhile."""
    changed = 0
    listing = asyncio.create_task(walks.read(shared, wishes.wanted.walks, saved, known.entries))
    try:
        while True:
            await asyncio.wait({listing}, timeout=wishes.between)
            if listing.done():
                await listing
                return changed
            if followed and _is_heard_further(shared, saved):
                await shared.sink.flush()  # what was read in the second of an event must be known
                # A page may set out while they are read: the last seconds wait until none is on its way.
                cycle = await _follow(dataclasses.replace(shared, ahead=False), known, saved)
                changed, followed = changed + cycle.changed, not cycle.untold
    finally:
        listing.cancel()
        await asyncio.gather(listing, return_exceptions=True)


def _begun(shared: reading.Reading, wanted: plan.Plan, saved: Mapping[str, str]) -> dict[str, str | None]:
    """The state by which lists that were never read know that they are not the first to bring rows."""
    keys = (backfill.key(shared.account, walk) for walk in wanted.walks)
    return {name: backfill.BEGUN for name in keys if name not in saved}


def _is_heard_further(shared: reading.Reading, saved: Mapping[str, str]) -> bool:
    """May events be told beyond the place: is no page on its way that was asked for before?"""
    at = tail.place(saved, shared.account)
    return at is None or all(since > at for since in shared.flying.values())


async def _catch_up(shared: reading.Reading, known: verdict.Known, saved: dict[str, str]) -> tail.Cycle:
    """Follow the events from where the last pull was, or from where streams were left out that are back now.

    Streams that are left out from here on are noted before the place moves on. Killed inside, it is done again.
    """
    account, at = shared.account, tail.place(saved, shared.account)
    assert at is not None, "The tail has no place to go on from."
    noted = tail.left_out(shared, saved, at)
    back = {name: since for name, since in noted.items() if name in shared.targets}
    _note_absent(shared, saved, noted)
    if back:
        heard = {name: text for name, text in saved.items() if name.startswith(f"seen/{account}/")}
        tail.rewind(saved, account, min(back.values()))
        cycle = await _follow(shared, known, saved)
        if not cycle.gap:
            if cycle.at is not None:
                _note_absent(shared, saved, {name: at for name, at in noted.items() if name not in back})
            return cycle
        now = shared.client.clock.now()
        relist.add(
            known.entries, back, relist.Entry(now, "it was left out for longer than Stripe keeps events")
        )
        state = {relist.key(account): relist.text(known.entries)}
        tail.rewind(saved, account, at)
        saved |= heard
        _commit(shared, saved, state)
        _note_absent(shared, saved, {name: at for name, at in noted.items() if name not in back})
    return await _follow(shared, known, saved)


def _note_absent(shared: reading.Reading, saved: dict[str, str], absent: Mapping[str, int]) -> None:
    name = tail.absent_key(shared.account)
    text = msgspec.json.encode(dict(sorted(absent.items()))).decode() if absent else None
    if text != saved.get(name):
        _commit(shared, saved, {name: text})


async def _follow(shared: reading.Reading, known: verdict.Known, saved: dict[str, str]) -> tail.Cycle:
    """Follow the events; where they cannot be had this time, the streams that need them are not current."""
    try:
        return await tail.follow(shared, known, saved)
    except UNHEARD as error:
        _fall_behind(shared, error)
        return tail.Cycle()


async def _look(shared: reading.Reading) -> str:
    """Why there are no events to follow at all, or nothing; events that fail only now are followed from here on."""
    try:
        return await tail.look(shared)
    except UNHEARD as error:
        _fall_behind(shared, error)
        return ""


def _fall_behind(shared: reading.Reading, error: errors.TidegateError) -> None:
    for name, target in shared.targets.items():
        if shared.streams[name].events != catalog.Events():
            target.outcome.fail("partial", f"the events could not be read, so it may be behind: {error}")


async def _demand(
    shared: reading.Reading,
    wishes: Wishes,
    known: verdict.Known,
    saved: dict[str, str],
    now: int,
    followed: bool,
    *,
    stirred: bool,
) -> None:
    """Note what must be listed again besides what was never listed whole."""
    account, entries = shared.account, known.entries
    stored = {name for name in shared.targets if known.covered.get(name)}
    if wishes.full_refresh:
        entries |= {name: relist.Entry(now, FULL) for name in shared.targets}
    begun = {name for name, entry in entries.items() if entry.whole}
    relist.add(entries, _refreshed(shared, wishes, known, saved, now) - begun, relist.Entry(now, FULL))
    shapes = msgspec.json.decode(saved.get(f"shape/{account}", "{}"), type=dict[str, str])
    other = {name for name in stored if shapes.get(name, wishes.shapes[name]) != wishes.shapes[name]}
    why = "other columns or rows of it are wanted, or its table was gone"
    relist.add(entries, other, relist.Entry(now, why))
    if other:
        shared.screen.note(f"{account}: {', '.join(sorted(other))}: {why}; listing again.")
    unknown = wishes.lost & set(shared.targets) - set(shapes)
    relist.add(entries, unknown, relist.Entry(now, "its table was there before"))
    state = tail.crowded(known, saved, account, now)
    await reconcile.due(
        shared,
        wishes.wanted,
        saved,
        entries,
        now=now,
        followed=followed,
        lookback=wishes.lookback,
        given=wishes.given,
        lookbacks=wishes.lookbacks,
        stirred=stirred,
    )
    for name in set(entries) - set(shared.targets):
        if entries[name].regular:
            del entries[name]
    state |= moving.due(shared, wishes.wanted, saved, entries, stored=stored, now=now)
    state[relist.key(account)] = relist.text(entries)
    state[f"shape/{account}"] = msgspec.json.encode(shapes | dict(wishes.shapes)).decode()
    _commit(shared, saved, {name: text for name, text in state.items() if saved.get(name) != text})


def refreshing(saved: Mapping[str, str], account: str) -> set[relist.Entry]:
    """The readings under way that were asked for by name."""
    noted = relist.entries(saved.get(relist.key(account))).values()
    return {entry for entry in noted if entry.reason == FULL}


def _refreshed(
    shared: reading.Reading, wishes: Wishes, known: verdict.Known, saved: Mapping[str, str], now: int
) -> set[str]:
    """Those that are read whole each time; where pulls follow one another for ever, each quarter of an hour."""
    found = {name for name in wishes.refreshed & set(shared.targets) if known.covered.get(name)}
    if not shared.patient:
        return found
    turns = reconcile.turns(saved, shared.account)
    last = {name: max(known.covered[name], turns.last(name, None)) for name in found}
    return {name for name, at in last.items() if now - at >= reconcile.SHORTEST}


def fingerprint(shape: object) -> str:
    """A short text that changes with what is wanted of a stream, the same in every process."""
    return hashlib.sha256(_spelled(shape).encode()).hexdigest()[:12]


def _spelled(shape: object) -> str:
    """A value as text; sets, whose order differs from process to process, in order."""
    if isinstance(shape, frozenset):
        return f"{{{', '.join(sorted(map(_spelled, shape)))}}}"
    if isinstance(shape, tuple):
        return f"({', '.join(map(_spelled, shape))})"
    return repr(shape)


def _commit(shared: reading.Reading, saved: dict[str, str], state: Mapping[str, str | None]) -> None:
    """Have the loader write state, and know it ourselves."""
    if state:
        shared.sink.add([], state=state)
        tail.apply(saved, state)


def _shut(saved: Mapping[str, str], account: str) -> dict[str, reading.Shut]:
    try:
        return msgspec.json.decode(saved.get(f"shut/{account}", "{}"), type=dict[str, reading.Shut])
    except msgspec.DecodeError:
        return {}


def _shut_text(shared: reading.Reading, saved: Mapping[str, str]) -> dict[str, str | None]:
    """What is to be remembered of refused lists: those that the account does not have."""
    name = f"shut/{shared.account}"
    kept = {walk: shut for walk, shut in shared.shut.items() if shut.status != "no_permission"}
    text = msgspec.json.encode(kept).decode() if kept else None
    return {name: text} if saved.get(name) != text else {}
