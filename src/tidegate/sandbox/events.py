"""Events: every change writes one, of the types the catalog knows; what has no type there stays silent.

Seconds resolution, kept 30 days, visible at once or late. The payload is rendered at the account's version
when the event is made, with nested lists cut, none expanded.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

from tidegate.sandbox import objects, prefixes, versions

KEPT = 30 * 86400

Deliver = Callable[[objects.Book, objects.Object, objects.Object], int]
"""Book, event, object at the current version -> to how many endpoints it is posted."""


class Journal:
    """Writes the events of all accounts."""

    def __init__(self, current: str, names: prefixes.Names, seed: int = 1) -> None:
        self.current = current
        self.delay = 0.0
        """Seconds until an event can be seen in a list or by id."""
        self.spread = False
        """Each event waits a time of its own, up to `delay`."""
        self._chance = random.Random(f"events {seed}")
        self.deliver: Deliver | None = None
        self._names = names
        self._account_versions: dict[str, str] = {}
        self.first = current
        """The version at which the generated events were made."""
        self._hidden: dict[str, float] = {}

    def version_of(self, account: str) -> str:
        """The account's default API version."""
        return self._account_versions.get(account) or self._account_versions.get("", self.current)

    def set_version(self, version: str, account: str = "") -> None:
        """Give an account (or all) another default version; events made before keep theirs."""
        self._account_versions[account] = version

    def write(
        self,
        book: objects.Book,
        type: str,
        obj: objects.Object,
        previous: objects.Object | None = None,
        *,
        request_id: str | None = None,
        idempotency_key: str | None = None,
        delay: float | None = None,
    ) -> objects.Object | None:
        """Record that something happened; None where Stripe has no such event."""
        if type not in book.facts.event_types:
            return None
        version = self.version_of(book.account)
        data: dict[str, Any] = {"object": versions.render(book, copy.deepcopy(obj), version, self.current)}
        if previous is not None:
            data["previous_attributes"] = previous
        now = book.clock.now()
        event: objects.Object = {
            "id": self._names.make("event"),
            "object": "event",
            "api_version": version,
            "created": now,
            "data": data,
            "livemode": bool(obj.get("livemode", False)),
            "pending_webhooks": 0,
            "request": {"id": request_id, "idempotency_key": idempotency_key},
            "type": type,
        }
        late = self.delay if delay is None else delay
        if delay is None and self.spread:
            late = self._chance.uniform(0, late)
        if late > 0:
            self._hidden[event["id"]] = book.clock.time() + late
        if self.deliver is not None:
            event["pending_webhooks"] = self.deliver(book, event, obj)
        book.put("events", event)
        return event

    def begin(self, version: str) -> None:
        """The default version of all accounts, now and when the generated events were made."""
        self.first = version
        self.set_version(version)

    def aged(self, book: objects.Book, event: objects.Object) -> objects.Object:
        """A generated event as it was made at the version of its time (changed in place)."""
        if self.first != self.current and book.world.find("events", event["id"]) is not None:
            event["api_version"] = self.first
            versions.render(book, event["data"]["object"], self.first, self.current)
        return event

    def visible(self, book: objects.Book) -> Callable[[objects.Object], bool] | None:
        """Which events can be seen now; None when all can."""
        if not self._hidden:
            return None
        now = book.clock.time()
        self._hidden = {id: at for id, at in self._hidden.items() if at > now}
        hidden = self._hidden
        return (lambda event: event["id"] not in hidden) if hidden else None

    def is_visible(self, book: objects.Book, event: objects.Object) -> bool:
        """Can this one be seen now: neither late nor older than 30 days?"""
        if event["created"] < book.clock.now() - KEPT:
            return False
        return self._hidden.get(event["id"], 0.0) <= book.clock.time()


def changes(before: objects.Object, after: objects.Object) -> objects.Object:
    """`previous_attributes`: what the changed fields held before, nested hashes likewise."""
    previous: objects.Object = {}
    for name in before.keys() | after.keys():
        was, is_now = before.get(name), after.get(name)
        if was == is_now:
            continue
        if isinstance(was, dict) and isinstance(is_now, dict) and was.get("object") != "list":
            previous[name] = changes(was, is_now)
        else:
            previous[name] = was
    return previous
