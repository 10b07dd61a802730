"""What is told next on each channel, and that it was: at least once, and of many processes by one.

A message is noted before it is sent and when it arrived. So of a process that is killed in between, the one message
on its way is told a second time, with the same id. A channel that fails is tried again, ever more rarely, and stops
neither the others nor any run.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Sequence

import msgspec

from tidegate import config, errors
from tidegate.engine import telling
from tidegate.store import database, leases, notices

log = logging.getLogger(__name__)

RESTED = (30.0, 60.0, 300.0, 900.0, 3_600.0)
"""Seconds before a message that did not arrive is sent again: the first time, the second, and so on."""
PAUSED = 20.0
"""Seconds for which a channel that failed is left alone, whatever else there is to tell."""
HELD = 180.0
"""Seconds for which nobody else tells on a channel; longer than a message takes."""
SINGLE = 5
"""Matters of one flow that are told in messages of their own; more become one message."""


def tell(store: database.Database, file: config.Config) -> None:
    """Tell what is new on every channel, side by side; returns when all is told, or failed for now. Never raises.

    Of several processes that do this at once, one tells on each channel.
    """
    threads = [
        threading.Thread(
            target=_tell, args=[store, channel, file], name=f"alerts by {channel.name}", daemon=True
        )
        for channel in telling.channels(file.alerts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test(file: config.Config) -> dict[str, str]:
    """Send a message on every channel; by channel, what went wrong, or nothing."""
    notice = notices.Notice("test", "test", "", "Alerts of Tidegate come here.", time.time(), time.time())
    found = {}
    for channel in telling.channels(file.alerts):
        try:
            found[channel.name] = channel.send(telling.Message("test", (notice,), time.time()))
        except telling.NotTold as error:
            found[channel.name] = str(error)
    return found


def due(
    known: Sequence[notices.Notice], channel: str, now: float, remind: float | None
) -> list[telling.Message]:
    """What a channel is to be told now, what was never tried first.

    A message that may not have arrived is sent again as it was. Nothing is told of what ended before anybody was
    told of it, or of what is gone for less than `notices.CALM` seconds.
    """
    groups: dict[tuple[str, telling.Event, float], list[notices.Notice]] = {}
    for notice in known:
        before = notice.told.get(channel, notices.Telling())
        if before.tries and now - before.tried < PAUSED:
            return []
        event = _event(notice, before, now, remind)
        if event is not None:
            groups.setdefault((notice.flow, event, before.tried if before.tries else 0.0), []).append(notice)
    found = []
    for (_, event, tried), group in sorted(groups.items(), key=lambda each: each[0][2]):
        apart = len(group) <= SINGLE and not tried
        for some in [[each] for each in group] if apart else [group]:
            turn = max((each.told[channel].at for each in some if channel in each.told), default=0.0)
            found.append(telling.Message(event, tuple(some), turn))
    return found


def _tell(store: database.Database, channel: telling.Channel, file: config.Config) -> None:
    assert file.alerts is not None, "A channel comes from there."
    remind, holder, lease = file.alerts.remind, secrets.token_hex(8), f"alerts/{channel.name}"
    try:
        while leases.take(store, lease, holder, HELD):
            known, now = notices.pending(store)
            wait = None if remind is None else remind.total_seconds()
            message = next(iter(due(known, channel.name, now, wait)), None)
            if message is None or not _tell_one(store, channel, message, now):
                break
        leases.leave(store, lease, holder)
    except errors.StoreError as error:
        log.warning("%s Alerts are told by %s when it is back.", error, channel.name)
    except Exception:
        log.exception("Alerts could not be told by %s; it is tried again.", channel.name)


def _tell_one(
    store: database.Database, channel: telling.Channel, message: telling.Message, now: float
) -> bool:
    """Send a message, noted before and after; did it arrive?"""
    before = {each.matter: each.told.get(channel.name, notices.Telling()) for each in message.notices}
    trying = {
        each.matter: _tried(before[each.matter], each.opened_at, now, before[each.matter].error)
        for each in message.notices
    }
    notices.note(store, channel.name, trying)
    try:
        said = channel.send(message)
    except telling.NotTold as error:
        log.warning("Alerts by %s: %s It is tried again.", channel.name, error)
        wait = now + error.wait
        notices.note(
            store,
            channel.name,
            {
                name: msgspec.structs.replace(each, error=str(error), tried=max(each.tried, wait))
                for name, each in trying.items()
            },
        )
        return False
    if said:
        log.warning("Alerts by %s: %s", channel.name, said)
    notices.note(
        store,
        channel.name,
        {
            each.matter: _arrived(before[each.matter], message.event, each, now, said)
            for each in message.notices
        },
    )
    return True


def _tried(telling: notices.Telling, episode: float, now: float, error: str) -> notices.Telling:
    again = telling.tries + 1 if telling.trying == episode else 1
    return msgspec.structs.replace(telling, trying=episode, tried=now, tries=again, error=error)


def _arrived(
    before: notices.Telling, event: telling.Event, notice: notices.Notice, now: float, said: str
) -> notices.Telling:
    ended = notice.opened_at if event == "resolved" else before.resolved
    return notices.Telling(
        opened=notice.opened_at, resolved=ended, at=now, trying=notice.opened_at, error=said
    )


def _event(
    notice: notices.Notice, before: notices.Telling, now: float, remind: float | None
) -> telling.Event | None:
    """What is to be told of a matter, if anything is now."""
    if before.tries and now - before.tried < RESTED[min(before.tries, len(RESTED)) - 1]:
        return None
    if notice.resolved_at is None:
        if before.opened != notice.opened_at:
            return "opened"
        return "reminder" if remind is not None and now - before.at >= remind else None
    perhaps = notice.opened_at in (before.opened, before.trying) and before.resolved != notice.opened_at
    return "resolved" if perhaps and now - notice.resolved_at >= notices.CALM else None
