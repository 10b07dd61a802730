"""Which renderer makes which stream of the core."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from tidegate import catalog
from tidegate.sandbox import billing, business, charges, checkouts, payments, people, statements, templates

HOLDERS: Mapping[str, Callable[[business.Books, int], str]] = {
    "payment_intents.amount_details": lambda _books, _intent: '{"tip":{}}',
    "quotes.computed": checkouts.computed,
}
"""Hashes that have a nested list inside, without it."""
RENDERERS: Mapping[str, Callable[[business.Books], business.Render]] = {
    "balance_transactions": payments.balance_transactions,
    "bank_accounts": people.bank_accounts,
    "cards": people.cards,
    "checkout_sessions": checkouts.checkout_sessions,
    "checkout_sessions_line_items": lambda books: checkouts.line_items(books, "checkout_sessions_line_items"),
    "coupons": billing.coupons,
    "credit_note_line_items": statements.credit_note_line_items,
    "credit_notes": statements.credit_notes,
    "customer_balance_transactions": statements.customer_balance_transactions,
    "customer_payment_methods": people.payment_methods,
    "customers": people.customers,
    "disputes": payments.disputes,
    "invoice_items": statements.invoice_items,
    "invoice_line_items": statements.invoice_line_items,
    "invoice_payments": statements.invoice_payments,
    "invoices": statements.invoices,
    "payment_intents": payments.payment_intents,
    "payment_link_line_items": lambda books: checkouts.line_items(books, "payment_link_line_items"),
    "payment_methods": people.payment_methods,
    "payouts": payments.payouts,
    "plans": billing.plans,
    "prices": billing.prices,
    "products": billing.products,
    "promotion_codes": billing.promotion_codes,
    "quote_computed_upfront_line_items": lambda books: checkouts.line_items(
        books, "quote_computed_upfront_line_items"
    ),
    "quote_line_items": lambda books: checkouts.line_items(books, "quote_line_items"),
    "quotes": checkouts.quotes,
    "refunds": payments.refunds,
    "setup_intents": people.setup_intents,
    "subscription_items": billing.subscription_items,
    "subscriptions": billing.subscriptions,
    "transfer_reversals": payments.transfer_reversals,
    "transfers": payments.transfers,
}
SEVERAL: Mapping[str, Callable[[business.Books], business.Several]] = {"charges": charges.charges}
"""The streams that are rendered by the page."""


def several(books: business.Books, stream: catalog.Stream) -> business.Several | None:
    """The core's renderer of many objects of a stream at once, if there is one."""
    make = SEVERAL.get(stream.name)
    return None if make is None else make(books)


def renderer(books: business.Books, stream: catalog.Stream) -> business.Render | None:
    """The core's renderer of a stream, if it is of the core."""
    together = several(books, stream)
    if together is not None:
        return lambda ordinal, _: together((ordinal,), "")[:-1]
    make = RENDERERS.get(stream.name)
    return None if make is None else make(books)


def extras(books: business.Books, stream: catalog.Stream) -> Mapping[str, Callable[[int], str]]:
    """The fields of a stream that are absent unless expanded, and what they then hold."""
    if not stream.expand:
        return {}
    own = billing.EXTRAS.get(stream.name, {})
    whole = templates.whole_object(stream, books.reference)
    return {
        path: functools.partial(own[path], books)
        if path in own
        else _constant(templates.dump(whole.get(path)))
        for path in stream.expand
        if "." not in path
    }


def holders(books: business.Books, stream: catalog.Stream) -> Mapping[str, tuple[str, str]]:
    """Hashes of which one field is absent unless expanded: path -> the hash without the field, and with it."""
    found: dict[str, tuple[str, str]] = {}
    whole = templates.whole_object(stream, books.reference) if stream.expand else {}
    for path in stream.expand:
        head, dot, rest = path.partition(".")
        hashed = whole.get(head)
        if dot and isinstance(hashed, dict):
            bare = {name: value for name, value in hashed.items() if name != rest}
            found[path] = templates.dump(bare), templates.dump(hashed)
    return found


def _constant(text: str) -> Callable[[int], str]:
    return lambda _: text
