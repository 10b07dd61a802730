"""The life of a business, at random and by seed: every step is something a merchant, a customer or a bank may do.

    POST /_sandbox/traffic {"seed": 7, "steps": 500, "tick": 0.4}

Merchants act through the API's own operations, so that objects, events and refusals are those of the API. Steps
are dealt from a shuffled deck, so that each of some hundred kinds comes once in a while; `kinds` chooses some of
them, by name (`invoices.void`) or by family (`invoices`). `tick` is how far the clock moves before each step: at 0
everything happens within one second.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tidegate.sandbox import forms, objects, operations, refusals, routes, writes

TRIES = 24
"""So many objects are looked at in search of one that fits."""

Params = dict[str, Any]
Fits = Callable[[objects.Object], bool]


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked of the control API."""

    seed: int = 1
    steps: int = 100
    account: str = ""
    kinds: tuple[str, ...] = ()
    tick: float = 0.0
    only_evented: bool = False
    """Leave out what Stripe sends no event for."""


@dataclass(frozen=True)
class Habit:
    """One kind of step."""

    name: str
    act: Callable[[Life], bool]
    """False when there was nothing to do it to."""
    times: int
    """How often it is in the deck."""
    silent: bool
    """Does it change anything that no event tells of?"""


HABITS: dict[str, Habit] = {}


def habit(name: str, times: int = 1, *, silent: bool = False) -> Callable[[Any], Any]:
    """Register a kind of step."""

    def register(act: Callable[[Life], bool | None]) -> Callable[[Life], bool | None]:
        HABITS[name] = Habit(name, lambda life: act(life) is not False, times, silent)
        return act

    return register


@dataclass
class Told:
    """What was done."""

    steps: Counter[str] = field(default_factory=Counter)
    idle: Counter[str] = field(default_factory=Counter)
    """Kinds that found nothing to be done to."""
    refused: Counter[str] = field(default_factory=Counter)
    """Requests that were refused as they should be: declined cards, deleted coupons."""


class Life:
    """One account's business while traffic goes on."""

    def __init__(
        self, open: Callable[[], objects.Book], tree: routes.Tree, call: Callable[[], writes.Call], plan: Plan
    ) -> None:
        self._open = open
        self.chance = random.Random(f"traffic {plan.seed}")
        self.only_evented = plan.only_evented
        self._tree = tree
        self._call = call

    @property
    def book(self) -> objects.Book:
        """The account's objects."""
        return self._open()

    def call(self) -> writes.Call:
        """A writer, as of a request."""
        return self._call()

    def ask(self, method: str, path: str, params: Params | None = None) -> objects.Object:
        """Do what the API does on a request; refused as there."""
        matched = self._tree.match(method, path)
        assert matched is not None, f"{method} {path} is a route"
        tree = forms.parse_form(forms.encode_form(params or {}))
        request = operations.Request(*matched, path, tree, self._call())
        found: objects.Object = msgspec.json.decode(operations.perform(request))
        return found

    def post(self, path: str, **params: Any) -> objects.Object:
        """Create, change or act."""
        return self.ask("POST", path, params)

    def delete(self, path: str) -> objects.Object:
        """Delete."""
        return self.ask("DELETE", path)

    def some(self, stream: str, fits: Fits = lambda _: True) -> objects.Object | None:
        """An object that fits, among the new and the old; None when none was found."""
        new = list(self.book.shelf(stream).objects) if self.book.touched(stream) else []
        old = self.book.world.count(stream)
        for _ in range(TRIES if new or old else 0):
            if new and (not old or self.chance.random() < 0.6):
                id = str(self.book.shelf(stream).objects[self.chance.choice(new)]["id"])
            else:
                id = self.book.world.id(stream, self.chance.randrange(old))
            if self.book.exists(stream, id) and (ref := self.book.locate(stream, id)) is not None:
                obj = self.book.show(stream, ref)
                if fits(obj):
                    return obj
        return None

    def children(self, stream: str, parent: str) -> list[objects.Object]:
        """The children of an object."""
        above = self.book.stream(stream).parent
        return [self.book.show(stream, ref) for ref in self.book.children(stream, above, parent)]

    def with_child(
        self, stream: str, above: str, fits: Fits = lambda _: True
    ) -> tuple[objects.Object, objects.Object] | None:
        """An object that has children in a stream, and one of them that fits."""
        for _ in range(8):
            parent = self.some(above)
            found = (
                [] if parent is None else [one for one in self.children(stream, parent["id"]) if fits(one)]
            )
            if parent is not None and found:
                return parent, self.chance.choice(found)
        return None

    def word(self) -> str:
        """Some text, not all of it harmless."""
        return self.chance.choice(WORDS) + f" {self.chance.randrange(10_000)}"

    def metadata(self) -> Params:
        """Metadata that is not what it was."""
        return {self.chance.choice(("plan", "order_id", "note")): self.word()}

    def amount(self) -> int:
        """An amount."""
        return self.chance.randrange(100, 50_000)


WORDS = (
    "Ada",
    "Größe",
    "日本語 🚀",
    'He said "no\\yes"',
    "a,b;c\td",
    "line\nbreak",
    "O'Brien",
    "null",
    "50% off",
)


def habits(kinds: Sequence[str], *, only_evented: bool) -> list[Habit]:
    """The kinds of steps that are asked for; raises ValueError for one that is not known."""
    names = {part for name in HABITS for part in (name, name.partition(".")[0])}
    if unknown := sorted(set(kinds) - names):
        raise ValueError(f"There is no kind of traffic {unknown[0]!r}.")
    return [
        one
        for name, one in HABITS.items()
        if (not kinds or name in kinds or name.partition(".")[0] in kinds)
        and not (only_evented and one.silent)
    ]


def run(life: Life, plan: Plan, told: Told) -> Iterator[str]:
    """Take the steps, one for each name; `told` is kept up to date."""
    cards = [one for one in habits(plan.kinds, only_evented=plan.only_evented) for _ in range(one.times)]
    deck = list[Habit]()
    for _ in range(plan.steps if cards else 0):
        if not deck:
            deck = life.chance.sample(cards, len(cards))
        if plan.tick:
            life.book.clock.advance(plan.tick)
        one = deck.pop()
        try:
            (told.steps if one.act(life) else told.idle)[one.name] += 1
        except refusals.Refusal as refusal:
            told.steps[one.name] += 1
            told.refused[f"{one.name}: {refusal.code or refusal.status}"] += 1
        yield one.name
