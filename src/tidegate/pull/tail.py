"""The tail: follow the events, and keep every row what Stripe has.

One cycle reads the events since the last one, with an overlap for those that become visible late and a ledger of
those that were seen. An event's payload is used only where it provably is the row's newest state; otherwise the
object is read again. Rows, the tail's place, the ledger and what could not be read are committed together, so a
cycle that is killed leaves nothing half told, and one that is repeated changes nothing.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tidegate import catalog, errors
from tidegate.pull import backfill, events, load, plan, reading, refresh, relist, seen, verdict
from tidegate.rows import arrow
from tidegate.stripe import client, pages

OVERLAP = 600
"""Seconds read again: an event may become visible that long after it was made."""
RECENT, PROVED = 60, 300
"""Where cycles follow one another: the seconds that each of them reads again, since most of what is late is late by
seconds, and after how many the whole overlap is read again, with all that was only read as recent."""
GAP = 29 * 86_400
"""Seconds after which events may be lost: Stripe keeps them for 30 days."""
AHEAD = 60
"""Seconds by which a saved place may be ahead of Stripe's clock; more, and it is another Stripe's."""
SETTLED = 2
"""Seconds after an event before which no reading is sure to show what it tells."""
PROMPT = 0.25
"""Seconds for which a hearing's rows wait for those that are read meanwhile, to be committed with them."""
EARLY, QUICK = 32, 0.5
"""Objects that one hearing reads at once all the same, to be read once more when they are settled, and the seconds
that it has for that."""
LAST, UNHURRIED = 1_000, 30.0
"""The same of a pull of which nobody knows when it is followed by another."""
TOO_MANY = 1_000
"""Objects of one stream that cannot be read, from which on the whole list is read again instead."""


@dataclass(slots=True)
class Cycle:
    """What one cycle saw; `at` is the tail's new place, None when events cannot be read."""

    at: int | None = None
    events: int = 0
    changed: int = 0
    gap: str = ""
    """What happened where events are lost for good; the streams concerned stand in the entries."""
    untold: str = ""
    """Why events cannot be read at all."""


def key(account: str) -> str:
    """Where the tail's place stands in the state: unix seconds as text."""
    return f"tail/{account}"


def place(saved: Mapping[str, str], account: str) -> int | None:
    """How far the events have been followed; None when that was never noted, or is lost."""
    text = saved.get(key(account), "")
    return int(text) if text.isdigit() else None


def absent(saved: Mapping[str, str], account: str) -> dict[str, int]:
    """The streams that the last pulls left out, and how far the events were followed for each."""
    try:
        return msgspec.json.decode(saved.get(absent_key(account), "{}"), type=dict[str, int])
    except msgspec.DecodeError:
        return {}


def absent_key(account: str) -> str:
    """Where they stand in the state."""
    return f"absent/{account}"


def left_out(shared: reading.Reading, saved: Mapping[str, str], at: int) -> dict[str, int]:
    """The streams that this pull leaves out and earlier ones read; until `at` they were followed."""
    found = absent(saved, shared.account)
    for name, text in saved.items():
        if name.startswith(f"backfill/{shared.account}/") and (progress := backfill.progress(text)):
            for stream in progress.carries:
                if stream not in shared.targets:
                    found.setdefault(stream, at)
    return found


def rewind(saved: dict[str, str], account: str, at: int) -> None:
    """Follow the events from an earlier place on; those that were heard already are heard once more."""
    saved[key(account)] = str(at)
    for name in [name for name in saved if name.startswith(f"seen/{account}/")]:
        del saved[name]


def covered(shared: reading.Reading, wanted: plan.Plan, saved: Mapping[str, str]) -> dict[str, int]:
    """Since when the rows of each stream were read: the beginning of the earliest of its first readings.

    Of lists per parent it is that of the parents: of a parent that came since, nothing may have been read.
    """
    found: dict[str, int] = {}
    for walk in wanted.walks:
        progress = backfill.progress(saved.get(backfill.key(shared.account, walk), ""))
        for name in walk.node.streams():
            since = progress.since if progress is not None and name in progress.carries else 0
            found[name] = min(found.get(name, since), since)
    for walk in (*wanted.walks, *wanted.walks):  # twice, for children of children
        above = [found[name] for name in walk.after if found.get(name)]
        for name in walk.node.streams():
            found[name] = min(found[name], *above) if above else found[name]
    return found


async def follow(shared: reading.Reading, known: verdict.Known, saved: dict[str, str]) -> Cycle:
    """One cycle: every event that can be seen, applied or noted as dirty; commits window by window.

    `saved` is the state, and is kept current. The events of the last seconds are left to the next cycle, unless
    it is wished otherwise: then they are applied, too, and the tail's place stays before them.
    Raises Unauthorized, Unreachable, RateLimited and WarehouseError, with the tail's place where it was.
    """
    cycle = Cycle()
    at = place(saved, shared.account)
    assert at is not None, "The tail has no place to go on from."
    ledger = seen.Ledger(saved, shared.account)
    waiting = [each for each in refresh.saved(saved, shared.account) if refresh.can(known.ways, each)]
    target = shared.targets.get("events")
    tally = target.outcome.tally if target is not None else client.Tally()
    walk = plan.Walk(plan.Node(shared.streams["events"], shared.streams["events"].origins[0], False))
    trip = reading.Trip(shared, walk, tally, "")
    low = _low(shared, at)
    try:
        async for window in events.windows(trip, max(0, low)):
            if window.now - at >= GAP or at > window.now + AHEAD:
                cycle.gap = _lost(at, window.now)
                return cycle
            cycle.at = await _window(shared, known, window, ledger, waiting, saved, cycle)
            waiting = []
            await _meanwhile(shared, known, ledger, saved, cycle)
            if window.ahead and shared.ahead:
                ahead = events.Window(cycle.at, cycle.at, window.now, window.ahead)
                await _window(shared, known, ahead, ledger, (), saved, cycle, early=LAST)
    except (errors.PermissionMissing, errors.NotEnabled) as error:
        cycle.untold = str(error)
    else:
        if low < at - RECENT:
            shared.proven[shared.account] = at
    return cycle


def _low(shared: reading.Reading, at: int) -> int:
    """From when on the events are read: with the whole overlap, or a short one where that was not long ago."""
    proven = shared.proven.get(shared.account)
    if not shared.patient or proven is None or not proven <= at <= proven + PROVED:
        return min(at, proven or at) - OVERLAP
    return at - RECENT


async def _meanwhile(
    shared: reading.Reading, known: verdict.Known, ledger: seen.Ledger, saved: dict[str, str], cycle: Cycle
) -> None:
    """Between two windows: apply what Stripe delivered since, so that it does not wait for all that is read."""
    bodies = shared.mail.of(shared.account)
    if not bodies or cycle.at is None:
        return
    window = events.Window(cycle.at, cycle.at, shared.client.clock.now(), (events.delivered(shared, bodies),))
    await _window(shared, known, window, ledger, (), saved, cycle, early=EARLY)
    await shared.sink.flush()
    shared.mail.heard(shared.account)


async def hear(
    shared: reading.Reading, known: verdict.Known, saved: dict[str, str], bodies: Sequence[bytes]
) -> Cycle:
    """Apply events that Stripe delivered by itself, and read what is due; the tail's place stays where it is.

    So the next cycle asks for all of them again, and knows those that were heard by the ledger. What changed less
    than `SETTLED` seconds ago waits in the dirty set; some of it is read at once besides, so that nobody waits for
    an object that changes all the time. Raises as `follow`.
    """
    at = place(saved, shared.account)
    assert at is not None, "The tail has no place to be ahead of."
    cycle, now = Cycle(at), shared.client.clock.now()
    waiting = [
        each
        for each in refresh.saved(saved, shared.account)
        if each.after <= now and refresh.can(known.ways, each)
    ]
    if bodies or waiting:
        answers = (events.delivered(shared, bodies),) if bodies else ()
        window = events.Window(at, at, now, answers)
        ledger = seen.Ledger(saved, shared.account)
        await _window(shared, known, window, ledger, waiting, saved, cycle, early=EARLY)
    return cycle


def _lost(at: int, now: int) -> str:
    if at > now:
        return "the place in the events that this warehouse notes is still to come at this Stripe"
    return f"the last pull was {(now - at) // 86_400} days ago, and Stripe keeps events for 30"


async def look(shared: reading.Reading) -> str:
    """Ask for one event, which also tells the clock; returns why events cannot be read, or nothing."""
    origin = shared.streams["events"].origins[0]
    try:
        await shared.client.get(origin.path, pages.list_params(origin, limit=1))
    except (errors.PermissionMissing, errors.NotEnabled) as error:
        return str(error)
    return ""


def begin(shared: reading.Reading, known: verdict.Known, now: int, reason: str) -> dict[str, str | None]:
    """The state in which the tail begins at `now`; with a reason, everything stored is to be listed again.

    Only streams whose rows events keep current are concerned: the others are listed in their turns anyway.
    """
    state: dict[str, str | None] = {key(shared.account): str(now)}
    if reason:
        told = [name for name in shared.targets if _is_told(shared.streams[name])]
        stored = [name for name in told if known.covered.get(name)]
        # In place of what is noted already: a reading that began before the gap knows nothing of what went in it.
        known.entries.update(dict.fromkeys(stored, relist.Entry(now, reason)))
        state[relist.key(shared.account)] = relist.text(known.entries)
    return state


def _is_told(stream: catalog.Stream) -> bool:
    told = stream.events != catalog.Events() or any(origin.parents for origin in stream.origins)
    return told or stream.name == "events"


async def _window(
    shared: reading.Reading,
    known: verdict.Known,
    window: events.Window,
    ledger: seen.Ledger,
    waiting: Sequence[refresh.Dirty],
    saved: dict[str, str],
    cycle: Cycle,
    *,
    early: int = 0,
) -> int:
    """Apply one window and commit it; returns the tail's new place.

    So many objects are read `early`, though they are not settled, while what is known without is committed; their
    rows are left to the next commit.
    """
    account = shared.account
    found = verdict.Verdict()
    rows: dict[tuple[str, str], list[events.Change]] = collections.defaultdict(list)
    for answer in window.answers:
        new, unlisted = [], []
        for i, event in enumerate(answer.events):
            if ledger.is_new(event):
                new.append(i)
            if ledger.note(event, answer.listed):
                unlisted.append(i)
        cycle.events += len(new)
        if unlisted and (target := shared.targets.get("events")) is not None:
            part = arrow.Part(answer.rows.take(unlisted), answer.version)
            found.cargo.append(load.Piece(target, part, answer.weight))
        for i in new:
            for change in events.changes(answer.events[i], catalog.load(), shared.client.api_version):
                if isinstance(change, events.Touched):
                    verdict.touch(shared, known, found, change)
                elif change.stream in known.ways.nodes or verdict.children(known, change.stream):
                    rows[change.stream, change.id].append(change)
    await verdict.judge(shared, known, rows, found)
    for each in waiting:
        found.add(account, each)
    before = {refresh.key(account, each): each for each in waiting}
    fresh = {
        name: refresh.text(each, after=each.at + SETTLED)
        for name, each in found.dirty.items()
        if each.at > window.now - SETTLED
    }
    due = [
        each
        for name, each in found.dirty.items()
        if name not in fresh and (not shared.patient or each.after <= window.now)
    ]
    shared.sink.add(found.cargo)
    unsettled = _early(shared, [found.dirty[name] for name in fresh], window.now, early)
    failed = await _reread(shared, known, due, prompt=bool(early and found.cargo))
    state: dict[str, str | None] = {refresh.key(account, each): None for each in due}
    state = {**{name: None for name in state if name in before}, **fresh}
    for failure in failed:
        if isinstance(failure.error, errors.PermissionMissing):
            found.past.pop(refresh.key(account, failure.dirty), None)
        _keep(shared, known, state, failure)
    # Only now: this window may have reached back to them. After a long cycle the next whole overlap begins earlier.
    kept = min(window.high - PROVED - RECENT, shared.proven.get(account, window.high))
    ledger.forget(kept - OVERLAP)
    state |= ledger.written()
    place = max(window.high, window.low)
    state[key(account)] = str(place)
    if relist.text(known.entries) != saved.get(relist.key(account)):
        state[relist.key(account)] = relist.text(known.entries)
    cycle.changed += len(rows) + len(due)
    shared.sink.add([piece for pieces in found.past.values() for piece in pieces], state=state)
    apply(saved, state)
    try:
        async with asyncio.TaskGroup() as group:
            if unsettled:
                group.create_task(_read_early(shared, known, unsettled))
            if found.cargo or due:
                group.create_task(shared.sink.flush())
    except* errors.TidegateError as failures:
        raise refresh.first(failures) from None
    return place


async def _reread(
    shared: reading.Reading, known: verdict.Known, due: Sequence[refresh.Dirty], *, prompt: bool
) -> list[refresh.Failed]:
    """Read again what is dirty; with `prompt`, what is known already is committed when this takes long."""
    if not due:
        return []
    aside = reading.Aside(shared)
    again = refresh.refresh(dataclasses.replace(shared, sink=aside), known.ways, due)
    try:
        async with asyncio.TaskGroup() as group:
            reread = group.create_task(again)
            if prompt:
                await asyncio.wait({reread}, timeout=PROMPT)
                if not reread.done():
                    await shared.sink.flush()
    except* errors.TidegateError as failures:
        raise refresh.first(failures) from None
    await aside.settle()
    return reread.result()


async def _read_early(
    shared: reading.Reading, known: verdict.Known, unsettled: Sequence[refresh.Dirty]
) -> None:
    """Read what will be read once more, as far as that is quickly done."""
    aside = reading.Aside(shared)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(UNHURRIED if shared.ahead else QUICK):
            await refresh.refresh(dataclasses.replace(shared, sink=aside), known.ways, unsettled)
            await aside.settle()


def _early(
    shared: reading.Reading, dirty: Sequence[refresh.Dirty], now: int, most: int
) -> list[refresh.Dirty]:
    """Those of them that are read now, each once in `SETTLED` seconds: the ones that were read longest ago."""
    for name in [name for name, at in shared.early.items() if now - at >= SETTLED]:
        del shared.early[name]
    found = [each for each in dirty if refresh.key(shared.account, each) not in shared.early][:most]
    shared.early.update((refresh.key(shared.account, each), now) for each in found)
    return found


def _keep(
    shared: reading.Reading, known: verdict.Known, state: dict[str, str | None], failed: refresh.Failed
) -> None:
    """What could not be read stays dirty; a stream that the key may not read any more is listed again one day."""
    dirty, error = failed.dirty, failed.error
    now = shared.client.clock.now()
    kept = _kept(known, dirty.stream)
    told = [dirty.stream] if dirty.stream in shared.targets else kept
    outcomes = [shared.targets[name].outcome for name in told]
    if isinstance(error, errors.PermissionMissing):
        # In place of what is noted already: what was read before says nothing of this object.
        known.entries.update(dict.fromkeys(kept, relist.Entry(now, relist.DENIED)))
        for outcome in outcomes:
            outcome.fail("no_permission", str(error))
        return
    state[refresh.key(shared.account, dirty)] = refresh.again(dirty, str(error), now)
    for outcome in outcomes:
        outcome.fail(
            "partial", f"an object of it cannot be read and is tried again in the next pull: {error}"
        )


def _kept(known: verdict.Known, stream: str) -> list[str]:
    """The streams that a reading of this one brings."""
    return list(dict.fromkeys(name for node in known.ways.nodes.get(stream, ()) for name in node.streams()))


def apply(saved: dict[str, str], state: Mapping[str, str | None]) -> None:
    """Bring a copy of the state up to date."""
    for name, text in state.items():
        if text is None:
            saved.pop(name, None)
        else:
            saved[name] = text


def crowded(known: verdict.Known, state: Mapping[str, str], account: str, now: int) -> dict[str, str | None]:
    """Streams of which too many objects cannot be read are listed again instead."""
    counts = collections.Counter(each.stream for each in refresh.saved(state, account))
    found: dict[str, str | None] = {}
    for name, count in counts.items():
        if count > TOO_MANY:
            why = relist.Entry(now, f"{count} objects of it could not be read")
            relist.add(known.entries, _kept(known, name) or [name], why)
            found |= {each: None for each in state if each.startswith(f"dirty/{account}/{name}/")}
    return found


def prefixes(account: str) -> Iterable[str]:
    """The state that a cycle needs."""
    return (key(account), f"seen/{account}/", f"dirty/{account}/")
