"""Equality filters of lists, answered from the arithmetic of the business instead of by looking at every object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import msgspec

from tidegate.sandbox import business, relations

Find = Callable[[str, str], "int | None"]
"""(stream, id) -> the ordinal of a top-level object that exists."""
Chosen = Callable[[str], "Sequence[int] | None"]
Render = Callable[[str, int], bytes]


def filters(books: business.Books, find: Find) -> Mapping[tuple[str, str], Chosen]:
    """(stream, filter) -> how to answer it; every answer is ascending and exact."""
    count = books.counts.get

    def by(stream: str, rows: Callable[[int], Sequence[int]]) -> Chosen:
        """Of the object of `stream` with the id that is asked for."""

        def chosen(id: str) -> Sequence[int]:
            ordinal = find(stream, id)
            return () if ordinal is None else rows(ordinal)

        return chosen

    def charges_of(j: int) -> list[int]:
        own = books.charges.ordinal(j)
        return [own - 1, own] if own and books.charges.index(own - 1) < 0 else [own]

    def intents_of(customer: int) -> list[int]:
        found = [books.intent_of(j) for j in books.payments_of(customer)]
        near = {at for at in found if at >= 0}
        for at in [*near]:
            step = at + 1
            while step < books.intents.total and books.intents.split(step)[0]:
                near.add(step)
                step += 1
            step = at - 1
            while step >= 0 and books.intents.split(step)[0]:
                near.add(step)
                step -= 1
        return sorted(at for at in near if books.intent_customer(at) == customer)

    def intent_payment(intent: int) -> int:
        few, j, _ = books.intents.split(intent)
        return -1 if few else j

    def one(ordinal: int) -> list[int]:
        return [ordinal] if ordinal >= 0 else []

    def refunds_of(j: int) -> Sequence[int]:
        return books.refunds_of(j) if j >= 0 else ()

    def good(charge: int) -> int:
        return books.charges.index(charge)

    def invoice_rows(stream: str, invoice: int) -> Sequence[int]:
        q = books.invoices.index(invoice)
        return relations.scaled(q, count(stream, 0), books.invoices.even) if q >= 0 and count(stream) else ()

    def of_customer_invoices(stream: str, customer: int) -> list[int]:
        return sorted(row for at in books.invoices_of(customer) for row in invoice_rows(stream, at))

    def items(invoice: int) -> list[int]:
        return [item for item in books.items_of(invoice) if books.item_line(item)[0] == invoice]

    def shown(customer: int) -> object:
        return msgspec.json.decode(f'"{books.email_of(customer)}"')

    def customers_with(email: str) -> list[int]:
        digits = email.removeprefix("customer+").partition("@")[0]
        if not digits.isdecimal():
            return []
        first = int(digits)
        return [at for at in (first, first + 1) if at < books.customers and shown(at) == email]

    def source_row(id: str) -> Sequence[int]:
        for stream in ("charges", "refunds", "transfers", "disputes", "payouts"):
            ordinal = find(stream, id)
            if ordinal is not None and books.paid:
                row = good(ordinal) if stream == "charges" else ordinal
                return [books.entry_of(stream, row)] if row >= 0 else []
        return ()

    def statuses(status: str) -> Sequence[int] | None:
        thinned = books.subscribed
        if status == "canceled":
            return relations.Picked(thinned.odd, lambda at: thinned.ordinal(~at))
        return relations.Picked(thinned.even, thinned.ordinal) if status == "!canceled" else None

    def methods(customer: int) -> Sequence[int]:
        return books.methods_of(customer)

    def prices_of(product: int) -> Sequence[int]:
        return relations.scaled(product, count("prices", 0), count("products", 0)) if count("prices") else ()

    def codes_of(coupon: int) -> Sequence[int]:
        total = count("promotion_codes", 0)
        return relations.scaled(coupon, total, count("coupons", 0)) if total else ()

    def set_up(customer: int) -> Sequence[int]:
        total = count("setup_intents", 0)
        return relations.scaled(customer, total, books.customers) if total else ()

    return {
        ("balance_transactions", "source"): source_row,
        ("charges", "customer"): by(
            "customers",
            lambda customer: sorted({row for j in books.payments_of(customer) for row in charges_of(j)}),
        ),
        ("charges", "payment_intent"): by(
            "payment_intents", lambda at: charges_of(j) if (j := intent_payment(at)) >= 0 else []
        ),
        ("credit_notes", "customer"): by("customers", lambda at: of_customer_invoices("credit_notes", at)),
        ("credit_notes", "invoice"): by("invoices", lambda at: invoice_rows("credit_notes", at)),
        ("customers", "email"): customers_with,
        ("disputes", "charge"): by(
            "charges", lambda at: one(books.dispute_of(good(at))) if good(at) >= 0 else []
        ),
        ("disputes", "payment_intent"): by(
            "payment_intents", lambda at: one(books.dispute_of(j)) if (j := intent_payment(at)) >= 0 else []
        ),
        ("invoice_items", "customer"): by("customers", lambda at: of_customer_invoices("invoice_items", at)),
        ("invoice_items", "invoice"): by("invoices", items),
        ("invoice_payments", "invoice"): by("invoices", lambda at: one(books.invoices.index(at))),
        ("invoices", "customer"): by("customers", books.invoices_of),
        ("invoices", "subscription"): by("subscriptions", books.invoices_of_subscription),
        ("payment_intents", "customer"): by("customers", intents_of),
        ("payment_methods", "customer"): by("customers", methods),
        ("plans", "product"): by(
            "products", lambda at: [row // 8 * 6 + row % 8 for row in prices_of(at) if row % 8 < 6]
        ),
        ("prices", "product"): by("products", prices_of),
        ("promotion_codes", "coupon"): by("coupons", codes_of),
        ("quotes", "customer"): by("customers", lambda at: of_customer_invoices("quotes", at)),
        ("refunds", "charge"): by("charges", lambda at: refunds_of(good(at))),
        ("refunds", "payment_intent"): by("payment_intents", lambda at: refunds_of(intent_payment(at))),
        ("setup_intents", "customer"): by("customers", set_up),
        ("subscriptions", "customer"): by("customers", books.subscriptions_of),
        ("subscriptions", "status"): statuses,
        ("checkout_sessions", "payment_intent"): by(
            "payment_intents", lambda at: sessions_of(books, intent_payment(at))
        ),
    }


def sessions_of(books: business.Books, j: int) -> list[int]:
    """The checkout session that made a payment, where it shows the payment's intent."""
    x = books.checked_out.source(j) if j >= 0 else -1
    if not 0 <= x < books.sessions.even:
        return []
    invoice = books.invoice_of(j)
    billed = invoice >= 0 and books.invoice_subscription(invoice) >= 0
    return [] if billed else [books.sessions.ordinal(x)]


class Selections:
    """The filters of one world."""

    def __init__(self, books: business.Books, find: Find, render: Render) -> None:
        self._books = books
        self._filters = filters(books, find)
        self._render = render

    def select(self, stream: str, params: Mapping[str, str]) -> Sequence[int] | None:
        """Ordinals that match all filters, ascending; nothing when none of them is known here."""
        known = {name: self._filters[stream, name] for name in params if (stream, name) in self._filters}
        found: Sequence[int] | None = None
        for name, chosen in known.items():
            rows = chosen(params[name])
            if rows is not None and (found is None or len(rows) < len(found)):
                found = rows
        if found is None or len(params) == 1:
            return found
        fields = {field.name for field in self._books.catalog.streams[stream].fields}
        if any(name not in fields and (stream, name) not in self._filters for name in params):
            return None
        return [row for row in found if self._fits(stream, row, params)]

    def _fits(self, stream: str, row: int, params: Mapping[str, str]) -> bool:
        seen = cast("dict[str, object]", msgspec.json.decode(self._render(stream, row)))
        for name, value in params.items():
            if name in seen:
                if value[:1] == "!" and str(seen[name]) != value[1:]:
                    continue
                shown = seen[name]
                if (str(shown).lower() if isinstance(shown, bool) else str(shown)) != value:
                    return False
            else:
                rows = self._filters[stream, name](value)
                if rows is None or row not in rows:
                    return False
        return True
