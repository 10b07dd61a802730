"""What a fact about writing is: what Stripe says of a field and where, and what it says of many alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.catalog import writes

API = "https://docs.stripe.com/api/"
SPECIFICATION = "https://github.com/stripe/openapi/blob/master/latest/openapi.spec3.json"
"""Stripe's own OpenAPI description: its `maxLength` and `format: unix-time` are not in the package."""
_UNSET = "https://github.com/stripe/stripe-dotnet/issues/1954"
""""In the API, if you pass an empty string it will unset the string field", of a customer's e-mail and phone."""
_SUBRESOURCE = "https://github.com/stripe/stripe-python/issues/255"
""""Any parameters not provided will be left unchanged except when updating subresources, where all fields must be
specified"; a customer's shipping without its name is "Missing required param: shipping[name]"."""


@dataclass(frozen=True)
class Fact:
    """What Stripe says about one field, and where."""

    source: str
    clearable: bool = False
    max_length: int = 0
    max_items: int = 0
    pattern: str = ""
    shape: str = ""
    caseless: bool = False
    only_from: str = ""
    least: float | None = None
    most: float | None = None
    positive: bool = False
    time: bool = False
    """Unix seconds, although neither name nor text of the parameter says so."""
    whole: bool = False
    required: bool = False
    """Not to be left out: of a member, whenever its hash or element is sent."""
    why_not: str = ""


@dataclass(frozen=True)
class Facts:
    """What is written of one object, and what its parameters mean."""

    path: str
    """Where it is created; an update or delete adds the id."""
    actions: tuple[writes.Action, ...]
    """Archiving is found by itself: an update that takes `active`."""
    keys: tuple[str, ...]
    object: str
    docs: str
    stream: str = ""
    permission: str = ""
    """Where the stream does not tell it."""
    aliases: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    """Nothing else is written."""
    money: bool = False
    replacement: writes.Replacement | None = None
    note: str = ""
    fields: Mapping[str, tuple[Fact, ...]] = field(default_factory=dict)
    rules: tuple[writes.Rule, ...] = ()
    effects: Mapping[writes.Action, tuple[str, str]] = field(default_factory=dict)
    """What an operation does beside its name, with the source."""


def long(characters: int) -> Fact:
    """Text of so many characters at most."""
    return Fact(SPECIFICATION, max_length=characters)


def refused(sentence: str, source: str) -> tuple[Fact, ...]:
    """Why a field is never written."""
    return (Fact(source, why_not=sentence),)


def address(path: str) -> dict[str, tuple[Fact, ...]]:
    """The fields of an address that stands under a path."""
    parts = ("city", "country", "line1", "line2", "postal_code", "state")
    return {f"{path}.{part}": (long(5000),) for part in parts}


ID = r"[^\s/?#]+"
EMPTIED = Fact(_UNSET, clearable=True)
TIME = Fact(SPECIFICATION, time=True)
WHOLE = Fact(_SUBRESOURCE, whole=True)
CURRENCY = Fact(
    "https://docs.stripe.com/currencies",
    pattern=r"[A-Za-z]{3}",
    shape="a three-letter currency code like eur",
    caseless=True,
)
AMOUNT = Fact("https://docs.stripe.com/currencies#minor-units", least=0)
EMAIL = Fact(
    "https://docs.stripe.com/error-codes#email-invalid",
    pattern=r"[^@\s]+@[^@\s]+\.[^@\s.]+",
    shape="an e-mail address like jane@example.com",
)
STATEMENT = Fact(
    "https://docs.stripe.com/get-started/account/statement-descriptors",
    max_length=22,
    pattern=r"[^<>\\'\"*]*[A-Za-z][^<>\\'\"*]*",
    shape="text with at least one letter and without < > \\ ' \" *",
)
