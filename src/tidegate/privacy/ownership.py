"""Whose a row is: the references by which rows belong to customers, as the catalog knows them.

A row belongs to a customer when one of its references says so: to the customer, or to something of theirs (a
dispute to the charge). Which references do is told here; which rows are whose is learnt in `forget`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tidegate import catalog
from tidegate.privacy import personal

CUSTOMERS = personal.CUSTOMERS
PEOPLE = "v2_core_accounts"
"""In API v2 a customer is an account, which `customer_account` names."""

_OWN = {
    "customer": (CUSTOMERS,),
    "related_customer": (CUSTOMERS,),
    "customer_account": (PEOPLE,),
    "related_customer_account": (PEOPLE,),
}
_INSIDE = ("account_holder", "customer_details")
"""JSON columns that name their customer in a member of their own."""

_EFFECTS = frozenset({"balance_transaction"})
"""What follows from an object never says whose the object is; its own `source` says whose it is itself."""

_FOLLOWS = frozenset(
    (
        "application_fee",
        "review",
        "source_transfer",
        "source_transfer_reversal",
        "transfer",
        "transfer_reversal",
    )
)
"""Fields that name what followed from an object; that names the object itself."""

_BUSINESS = frozenset({"payouts", "topups"})
"""The account's own money on its way from and to its own bank: no customer's, whatever is named."""


@dataclass(frozen=True, slots=True)
class Tie:
    """A column that holds the id of a row of one of `streams`, or has it in a JSON member."""

    column: str
    streams: tuple[str, ...]
    member: str = ""

    @property
    def direct(self) -> bool:
        """Does it name the customer, rather than something of theirs?"""
        return set(self.streams) <= {CUSTOMERS, PEOPLE}


@functools.cache
def ties(stream: str) -> tuple[Tie, ...]:
    """What says whose a row of a stream is; nothing where no row is any customer's."""
    return _ties().get(stream, ())


@functools.cache
def tied() -> frozenset[str]:
    """The streams by whose ids the owner of other rows is found."""
    return frozenset(name for each in _ties().values() for tie in each for name in tie.streams)


@functools.cache
def alike(kind: str) -> tuple[str, ...]:
    """The streams of one kind of object, by whose ids owners are found: payment methods are in two lists."""
    return tuple(name for name in tied() if catalog.load().streams[name].object == kind)


@functools.cache
def tells_itself(stream: str) -> bool:
    """Do a stream's rows name their customers?"""
    return any(tie.direct for tie in ties(stream))


def is_event(stream: catalog.Stream) -> bool:
    """Does a row hold another object, whole?"""
    return stream.object.rpartition(".")[2] == "event"


def named(about: Mapping[str, object]) -> str | None:
    """The customer whom an object names, or is."""
    if about.get("object") == "customer":
        found = about.get("id")
    else:
        inside = (each.get("customer") for name in _INSIDE if isinstance(each := about.get(name), dict))
        names = (name for name, streams in _OWN.items() if CUSTOMERS in streams)
        found = next(filter(None, (*(about.get(name) for name in names), *inside)), None)
        found = found.get("id") if isinstance(found, dict) else found
    return found if isinstance(found, str) else None


def words(value: object) -> Iterator[str]:
    """Every text in JSON but what users wrote into metadata."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from words(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key != "metadata":
                yield from words(each)


@functools.cache
def _ties() -> dict[str, tuple[Tie, ...]]:
    """By stream, from the catalog: references to customers, to what refers to customers, and so on."""
    streams = catalog.load().streams
    found: dict[str, dict[str, Tie]] = {PEOPLE: {}}
    owned = {CUSTOMERS, PEOPLE}
    while True:
        before = sum(len(each) for each in found.values()), len(owned)
        for stream in streams.values():
            if stream.name == CUSTOMERS or stream.name in _BUSINESS or is_event(stream):
                continue
            mine = {tie.column: tie for tie in _found(streams, stream, owned)}
            if mine:
                found[stream.name] = mine
                owned.add(stream.name)
        if before == (sum(len(each) for each in found.values()), len(owned)):
            return {name: tuple(each.values()) for name, each in found.items()}


def _found(
    streams: Mapping[str, catalog.Stream], stream: catalog.Stream, owned: Iterable[str]
) -> Iterator[Tie]:
    parents = {origin.parents[0].stream for origin in stream.origins if origin.parents} & set(owned)
    if parents:
        yield Tie("_parent_id", tuple(sorted(parents)))
    names = {field.name for field in stream.fields}
    for field in stream.fields:
        if field.name in _OWN:
            yield Tie(field.name, _OWN[field.name])
        elif field.name in _INSIDE and "customer" not in names:
            yield Tie(field.name, (CUSTOMERS,), "customer")
        elif field.type in ("id", "string") and field.name not in ("id", *_FOLLOWS):
            objects = {*field.expands} if field.type == "id" else {_words_of().get(field.name, "")}
            meant = (name for name in owned if streams[name].object in objects - _EFFECTS)
            if found := tuple(sorted(meant)):
                yield Tie(field.name, found)


@functools.cache
def _words_of() -> Mapping[str, str]:
    """The last word of each object, where no other ends with it, and the object: a reference that is only text
    goes by it (`invoice`, `payment_method`)."""
    objects = {stream.object for stream in catalog.load().streams.values()}
    last = [name.rpartition(".")[2] for name in objects]
    return {name.rpartition(".")[2]: name for name in objects if last.count(name.rpartition(".")[2]) == 1}
