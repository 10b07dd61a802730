"""Rows of pushes: which there are, the whole history of one, and what each write changed."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tidegate import errors, views
from tidegate.push import compare, forms, targets
from tidegate.store import database, holds, links, operations, records

DASHBOARD = "https://dashboard.stripe.com"
PAGES = {
    "customer": "customers",
    "product": "products",
    "price": "prices",
    "coupon": "coupons",
    "promotion_code": "promotion_codes",
    "subscription": "subscriptions",
    "invoice": "invoices",
    "payment_intent": "payments",
    "charge": "payments",
    "dispute": "disputes",
    "payout": "payouts",
    "tax_rate": "tax-rates",
}
"""Where the dashboard shows objects, by their names."""

Change = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Record:
    """A row of a push: its object, why it is not written, and what became of it."""

    push: str
    key: str
    link: links.Link | None
    hold: holds.Hold | None
    entries: tuple[records.Entry, ...]
    changes: Mapping[str, Mapping[str, Change]]
    """What each operation changed, by its id and the field."""

    def told(self, entry: records.Entry) -> Mapping[str, Change]:
        """What stands beside a line of its history: of one that tells how an operation ended, what it changed."""
        return self.changes.get(entry.operation, {}) if ends(entry) else {}

    @property
    def undoable(self) -> bool:
        """Did anything of it come to its end at Stripe?"""
        return any(each.what == "done" for each in self.entries)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a push in the list of all."""

    key: str
    link: links.Link | None
    hold: holds.Hold | None


@dataclass(frozen=True, slots=True)
class Rows:
    """A page of them by key; `next` is the last key where there are more."""

    items: tuple[Row, ...]
    next: str | None


def one(store: database.Database, push: str, key: str) -> Record:
    """All that is known of a row; raises Unknown where that is nothing."""
    found = records.timeline(store, push, key)
    link = links.find(store, push, [key]).get(key)
    hold = holds.find(store, push, key)
    done = operations.listed(store, push=push, key=key, limit=None)
    if not found and link is None and hold is None:
        raise views.Unknown(f"nothing is known of a row {key!r} of {push}; was it pushed before?")
    return Record(push, key, link, hold, tuple(found), {each.id: changes(each) for each in done})


def listed(
    store: database.Database, push: str, *, search: str = "", after: str = "", limit: int = 50
) -> Rows:
    """Rows of a push that have an object or are held, by key; `search` is how a key begins, or an object's id."""
    keys = records.keys(store, push, search=search.strip(), after=after, limit=limit + 1)
    shown = keys[:limit]
    linked = links.find(store, push, shown) if shown else {}
    items = tuple(Row(key, linked.get(key), holds.find(store, push, key)) for key in shown)
    return Rows(items, shown[-1] if len(keys) > limit else None)


def named(store: database.Database, name: str) -> tuple[str, str]:
    """The push and the row that an operation is of, by its id or its idempotency key; raises ConfigError."""
    echo = operations.echo(name)
    if echo is None and not name.startswith("op_"):
        raise errors.ConfigError(f"say which row is meant: tidegate record {name} KEY")
    operation = operations.find(store, name if echo is None else echo.operation)
    if operation is None:
        raise errors.ConfigError(
            f"there is no operation {name} in this metadata database; one that ended is kept for 90 days"
        )
    return operation.push, operation.key


def changes(operation: operations.Operation) -> dict[str, Change]:
    """What a write changed, by field: before, and after it; for one that was not done, what it would have said."""
    sent = dict(_leaves(forms.decode(operation.body.encode())))
    after = dict(_leaves(operation.after or {}))
    if operation.before is None:
        return {
            path: (None, after.get(path, value)) for path, value in sent.items() if targets.MARK not in path
        }
    if operation.method == "DELETE":
        return {}
    found = {
        path: (compare.text(value), after.get(path, sent.get(path)) or None)
        for path, value in operation.before.items()
    }
    if operation.action == "replace":  # before it is another object, of which more is kept than what changed
        found["id"] = (found["id"][0], operation.target or None)
        found = {path: (before, now) for path, (before, now) in found.items() if before != now}
    return found


def page(link: links.Link) -> str | None:
    """Where the dashboard shows an object; None where it has no page for it."""
    return None if link.gone else shown(link.object, link.target, link.account, link.livemode)


def shown(object: str, target: str, account: str, livemode: bool) -> str | None:
    """The same of an object by its id, and the account that it is of."""
    if object not in PAGES:
        return None
    mode = "" if livemode else "test/"
    within = f"{account}/" if account.startswith("acct_") else ""
    return f"{DASHBOARD}/{within}{mode}{PAGES[object]}/{urllib.parse.quote(target, safe='')}"


def ends(entry: records.Entry) -> bool:
    """Does a line tell how an operation ended? What it changed stands there."""
    return entry.what in operations.STATUSES and entry.what != "sent"


def _leaves(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str | None]]:
    """The fields of an object under their dotted names, as text; a list is one value."""
    for name, each in value.items():
        if isinstance(each, Mapping):
            yield from _leaves(each, f"{above}{name}.")
        else:
            yield f"{above}{name}", compare.text(each)


def each(store: database.Database, push: str, *, search: str = "") -> Iterator[Row]:
    """All rows of a push by key, or those that are searched for, for a file."""
    after = ""
    while True:
        page = listed(store, push, search=search, after=after, limit=500)
        yield from page.items
        if page.next is None:
            return
        after = page.next
