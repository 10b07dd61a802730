"""What must be read again, and why: a gap in the events, another choice of columns, changes that no event tells.

Each such reading is noted under `relist/<account>` before it begins and struck out when it has come to its end,
rows that are gone included; so a kill, a refusal or a lost permission leaves it standing for the next pull.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from tidegate.pull import plan

DENIED = "the key could not read it for a while"
"""The reason of a stream that is not followed any more until the key may read it again."""
RETURNED = "the key could not read it for a while, and may again"
"""The reason of such a stream once its list is being read: it is followed again."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stream that is to be listed again, all of it or what was created in `[low, high)`."""

    since: int
    """The Stripe clock when this was found out, unix seconds: an older reading does not count."""
    reason: str
    low: int | None = None
    high: int | None = None
    regular: bool = False
    """It only takes its turn; nothing went wrong."""

    @property
    def whole(self) -> bool:
        """Is the whole list meant?"""
        return self.low is None and self.high is None


Entries = dict[str, Entry]
"""By stream."""


def key(account: str) -> str:
    """Where the entries of an account stand in the state."""
    return f"relist/{account}"


def entries(saved: str | None) -> Entries:
    """Read them from the state."""
    try:
        return msgspec.json.decode(saved or "{}", type=dict[str, Entry])
    except msgspec.DecodeError:
        return {}


def text(entries: Mapping[str, Entry]) -> str | None:
    """As the state keeps them; None when nothing is left."""
    return msgspec.json.encode(entries).decode() if entries else None


def add(entries: Entries, streams: Iterable[str], new: Entry) -> None:
    """Note streams to be listed again; a whole list swallows a part, two parts become one that spans both.

    Where something went wrong, what was begun before does not count: it was read before that was known. A reading
    that only takes its turn goes on where it is.
    """
    for stream in streams:
        old = entries.get(stream)
        if old is None or (new.whole and not (new.regular and old.whole)):
            entries[stream] = new
        elif not old.whole and not new.whole:
            low = None if None in (old.low, new.low) else min(old.low or 0, new.low or 0)
            high = None if None in (old.high, new.high) else max(old.high or 0, new.high or 0)
            if (low, high) != (old.low, old.high) or not new.regular:
                regular = old.regular and new.regular
                entries[stream] = msgspec.structs.replace(new, low=low, high=high, regular=regular)


def clamp(entries: Entries, now: int) -> None:
    """What was found out a moment ago, by a clock that was read more closely than ours so far, was so by now."""
    for stream, entry in entries.items():
        if entry.since > now:
            entries[stream] = msgspec.structs.replace(entry, since=now)


def of(entries: Mapping[str, Entry], walk: plan.Walk) -> Entry | None:
    """What a walk must read again for its streams: the newest demand, over the widest span."""
    wanted = [entries[stream] for stream in walk.node.streams() if stream in entries]
    if not wanted:
        return None
    newest = max(wanted, key=lambda entry: entry.since)
    lows, highs = [entry.low for entry in wanted], [entry.high for entry in wanted]
    low = None if None in lows else min(low for low in lows if low is not None)
    high = None if None in highs else max(high for high in highs if high is not None)
    return msgspec.structs.replace(newest, low=low, high=high)
