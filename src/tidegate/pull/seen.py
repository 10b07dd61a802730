"""The ledger of events that were seen, so that each is applied once however often it is read or delivered."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.pull import events

DELIVERED = "~"
"""In the ledger, after the id of an event that was delivered and not listed yet: lists may show it otherwise."""


class Ledger:
    """The events that were seen, by the minute in which they were made: `seen/<account>/<minute>` in the state.

    What is not asked for is not parsed: of a busy account it is many thousands.
    """

    def __init__(self, saved: Mapping[str, str], account: str) -> None:
        self._prefix = f"seen/{account}/"
        self._texts = {
            name.removeprefix(self._prefix): text
            for name, text in saved.items()
            if name.startswith(self._prefix)
        }
        self._ids: dict[str, set[str]] = {}
        self._changed: set[str] = set()

    def is_new(self, event: events.Event) -> bool:
        """Was the event not heard before?"""
        ids = self._of(str(event.created // 60))
        return event.id not in ids and event.id + DELIVERED not in ids

    def note(self, event: events.Event, listed: bool) -> bool:
        """Note that an event was heard; is its row to be written, as it was not yet, or not as Stripe lists it?"""
        minute = str(event.created // 60)
        ids, delivered = self._of(minute), event.id + DELIVERED
        if event.id in ids or (delivered in ids and not listed):
            return False
        ids.discard(delivered)
        ids.add(event.id if listed else delivered)
        self._changed.add(minute)
        return True

    def forget(self, before: int) -> None:
        """Empty the minutes that lie a minute or more before a moment, unix seconds."""
        for minute in [each for each in (*self._texts, *self._ids) if (int(each) + 2) * 60 < before]:
            if self._of(minute):
                self._ids[minute] = set()
                self._changed.add(minute)

    def written(self) -> dict[str, str | None]:
        """The state that has changed since this was asked last."""
        found = {
            f"{self._prefix}{minute}": " ".join(sorted(self._ids[minute])) or None for minute in self._changed
        }
        self._changed = set()
        return found

    def _of(self, minute: str) -> set[str]:
        if minute not in self._ids:
            self._ids[minute] = set(self._texts.get(minute, "").split())
        return self._ids[minute]
