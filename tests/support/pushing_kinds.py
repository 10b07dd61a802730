"""The kinds of objects that `pushing_model` pushes: how a row says which one it is, and how the truth tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Object = Mapping[str, Any]
Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Kind:
    """One object of Stripe, matched in one way."""

    name: str
    object: str
    stream: str
    path: str
    match: str
    column: str
    """Of the rows, by which they are matched."""
    fields: Mapping[str, str]
    """Columns by what they become, which is compared at the end."""
    once: Mapping[str, str] = field(default_factory=dict)
    """What is written into new objects besides."""
    beside: str = "update_or_create"
    """What the other push, of the same objects, does; nothing: there is none."""
    several: bool = False
    """May several objects have one value?"""
    folded: bool = False
    money: bool = False
    deletes: bool = False
    value: Callable[[Object], str | None] = lambda _: None
    """What an object of the truth is matched by."""
    given: Callable[[str], dict[str, Any]] = lambda _: {}
    """What a merchant makes one with."""

    def fold(self, value: str) -> str:
        """A value of the column, as two of them are compared."""
        return value.lower() if self.folded else value


def _metadata(obj: Object) -> str | None:
    found: str | None = obj["metadata"].get("ext")
    return found


def _email(obj: Object) -> str | None:
    return (obj["email"] or "").lower() or None


OURS = "tidegate/"
"""What our idempotency keys begin with."""
PUSHES = ("first", "second")
USUAL = {"name": "name", "metadata.plan": "plan"}

KINDS: tuple[Kind, ...] = (
    Kind(
        *("by e-mail", "customer", "customers", "/v1/customers", "{email: mail}", "mail"),
        USUAL | {"metadata.ext": "id"},
        several=True,
        folded=True,
        deletes=True,
        value=_email,
        given=lambda value: {"email": value.title(), "name": "Theirs"},
    ),
    Kind(
        *("by metadata", "customer", "customers", "/v1/customers", "{metadata.ext: id}", "id"),
        USUAL | {"email": "mail"},
        several=True,
        deletes=True,
        value=_metadata,
        given=lambda value: {"metadata": {"ext": value}, "name": "Theirs"},
    ),
    Kind(
        *("by its id", "product", "products", "/v1/products", "{id: pid}", "pid"),
        USUAL,
        deletes=True,
        value=lambda obj: str(obj["id"]),
        given=lambda value: {"id": value, "name": "Theirs"},
    ),
    Kind(
        *("by its id", "coupon", "coupons", "/v1/coupons", "{id: pid}", "pid"),
        USUAL,
        {"percent_off": '{value: "10", owner: stripe}', "duration": "{value: once, owner: stripe}"},
        deletes=True,
        value=lambda obj: str(obj["id"]),
        given=lambda value: {"id": value, "name": "Theirs", "percent_off": 10, "duration": "once"},
    ),
    Kind(
        *("by lookup key", "price", "prices", "/v1/prices", "{lookup_key: pid}", "pid"),
        {"nickname": "name", "metadata.plan": "plan"},
        {
            "product": "{value: prod_all, owner: stripe}",
            "currency": "{value: usd, owner: stripe}",
            "unit_amount": '{value: "500", owner: stripe}',
        },
        beside="update_only",
        value=lambda obj: obj["lookup_key"],
        given=lambda value: {
            "lookup_key": value,
            "product": "prod_all",
            "currency": "usd",
            "unit_amount": 500,
        },
    ),
    Kind(
        *("by code", "promotion_code", "promotion_codes", "/v1/promotion_codes", "{code: pid}", "pid"),
        {"metadata.plan": "plan", "metadata.name": "name"},
        {
            "promotion.type": "{value: coupon, owner: stripe}",
            "promotion.coupon": "{value: coupon_all, owner: stripe}",
        },
        beside="update_only",
        value=lambda obj: obj["code"],
        given=lambda value: {"code": value, "promotion": {"type": "coupon", "coupon": "coupon_all"}},
    ),
    Kind(
        *("of money", "invoice_item", "invoice_items", "/v1/invoiceitems", "{metadata.ext: id}", "id"),
        {},
        {
            "customer": "customer",
            "amount": '{value: "700"}',
            "currency": "{value: usd}",
            "description": "name",
        },
        beside="",
        several=True,
        money=True,
        value=_metadata,
        given=lambda value: {"amount": 700, "currency": "usd", "metadata": {"ext": value}},
    ),
)


def shown(obj: Object, path: str) -> str | None:
    """A field of an object, as text."""
    found: Any = obj
    for step in path.split("."):
        found = (found or {}).get(step)
    return None if found in (None, "") else str(found)
