"""Somebody else at work: between a client's read and its next write, an object is no more what was read.

| kind | between the two |
|---|---|
| `change` | the object that is about to be written gets other `values` |
| `delete` | it is deleted |
| `double` | another customer is made with the e-mail that is about to be used |

They come by chance (`probability`) or by script (`skip`, `times`), and only for what was read since it was last
written: an object by its id or in a list, an e-mail by any list or search of customers. With `when: after` they
come just after the write instead. What they do is done as through the dashboard: its events carry a request and a
key of its own.
"""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from tidegate.sandbox import forms, objects, prefixes, refusals, routes, writes

Kind = Literal["change", "delete", "double"]
_IDS = re.compile(rb'"id":"([^"]+)"')

Open = Callable[[str, str, str], writes.Call]
"""Account, request id, idempotency key -> a writer."""


class Meddle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of meddling, and with what."""

    kind: Kind = "change"
    stream: str = "customers"
    id: str = ""
    """Only this object; empty: any."""
    values: dict[str, Any] = msgspec.field(default_factory=lambda: {"metadata": {"somebody": "else"}})
    """Parameters of the update, or of the other customer beside its e-mail."""
    probability: float = 1.0
    times: int | None = None
    """How often at most; None: for ever."""
    skip: int = 0
    """How many fitting writes pass first."""
    when: Literal["before", "after"] = "before"


class Done(msgspec.Struct, frozen=True):
    """What was done."""

    kind: Kind
    stream: str
    id: str


class Meddler:
    """Those in force; deterministic by seed and the order of requests."""

    def __init__(self, names: prefixes.Names, seed: int = 1) -> None:
        self.done: list[Done] = []
        self._names = names
        self._chance = random.Random(f"meddling {seed}")
        self._meddles: list[Meddle] = []
        self._left: list[int | None] = []
        self._skips: list[int] = []
        self._read: set[tuple[str, str]] = set()
        """Accounts with ids; with an empty id, customers were looked for."""

    def __bool__(self) -> bool:
        return bool(self._meddles)

    def set(self, meddles: Iterable[Meddle]) -> None:
        """Put these in force, in place of all others."""
        self._meddles = list(meddles)
        self._left = [one.times for one in self._meddles]
        self._skips = [one.skip for one in self._meddles]
        self._read.clear()
        self.done.clear()

    def saw(self, account: str, route: routes.Route, body: bytes) -> None:
        """A read was answered."""
        self._read.update((account, id.decode()) for id in _IDS.findall(body))
        if route.template in ("/v1/customers", "/v1/customers/search"):
            self._read.add((account, ""))

    def draw(self, account: str, route: routes.Route, id: str, params: forms.Tree) -> list[Meddle]:
        """What befalls this write."""
        drawn: list[Meddle] = []
        for i, one in enumerate(self._meddles):
            if not self._fits(one, account, route, id, params) or self._left[i] == 0:
                continue
            if self._skips[i]:
                self._skips[i] -= 1
                continue
            if one.probability < 1 and self._chance.random() >= one.probability:
                continue
            left = self._left[i]
            if left is not None:
                self._left[i] = left - 1
            drawn.append(one)
        if id or route.template == "/v1/customers":
            self._read.discard((account, id))
        return drawn

    def _fits(self, one: Meddle, account: str, route: routes.Route, id: str, params: forms.Tree) -> bool:
        if one.kind == "double":
            return route.template == "/v1/customers" and "email" in params and (account, "") in self._read
        streams = {stream.name for stream in route.streams}
        return one.stream in streams and one.id in ("", id) and (account, id) in self._read

    def act(self, one: Meddle, open: Open, account: str, id: str, params: forms.Tree) -> None:
        """Do it; what Stripe would refuse does not happen."""
        call = open(account, self._names.make("request"), str(uuid.UUID(int=self._chance.getrandbits(128))))
        try:
            done = self._act(one, call, id, params)
        except refusals.Refusal:
            return
        self.done.append(done)

    def _act(self, one: Meddle, call: writes.Call, id: str, params: forms.Tree) -> Done:
        values = forms.parse_form(forms.encode_form(one.values))
        stream = call.book.stream("customers" if one.kind == "double" else one.stream)
        if one.kind == "double":
            assert stream.create is not None, "customers can be created"
            given = {**values, "email": params["email"]}
            return Done(one.kind, stream.name, writes.create(call, stream, stream.create, {}, given)[1])
        call.get(stream.name, id)
        if one.kind == "delete" and stream.delete is not None:
            writes.delete(call, stream, stream.delete, id, "", {})
        elif one.kind == "change" and stream.update is not None:
            writes.update(call, stream, stream.update, id, "", values)
        return Done(one.kind, stream.name, id)


def double(call: writes.Call, customers: int, *, upper: bool = False) -> list[objects.Object]:
    """Make a second customer with the e-mail of each of the first customers; upper case is another spelling."""
    book, made = call.book, list[objects.Object]()
    stream = book.stream("customers")
    assert stream.create is not None, "customers can be created"
    for ref in list(book.descending("customers", None, None, None))[::-1]:
        first = book.show("customers", ref)
        if len(made) == customers:
            break
        if email := first.get("email"):
            given = {"email": email.upper() if upper else email, "name": "Doubled"}
            second = writes.create(call, stream, stream.create, {}, given)[1]
            made.append({"email": email, "ids": [first["id"], second]})
    return made
