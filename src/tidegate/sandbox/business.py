"""The books of a generated business: subscriptions, what invoices bill, checkouts, quotes, and when it all was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tidegate.sandbox import ids, money, relations, timeline

DAY = timeline.DAY
PRICE_CURRENCIES = ("usd", "eur", "gbp", "jpy", "kwd", "usd", "usd", "eur")
"""Of every eight prices: six recurring ones, the sixth tiered, then two one-time ones, the first with decimals."""

DELAYS: Mapping[str, int] = {"credit_notes": 7200, "quotes": -DAY, "invoice_items": -600}
"""Seconds after the invoice that it belongs to."""

STATUSES = ("active",) * 10 + ("trialing", "past_due", "unpaid", "paused", "incomplete", "incomplete_expired")
"""Of subscriptions that are not canceled."""

Render = Callable[[int, "int | None"], str]
"""(ordinal, parent) -> an object's JSON text, without nested lists and closing brace."""
Several = Callable[[Sequence[int], str], str]
"""(ordinals, what stands between two) -> the objects' JSON texts, without nested lists."""


def scaled_customer(books: Books, stream: str, ordinal: int) -> int:
    """The customer at the same place as this row of a stream; -1 in a world without any."""
    return relations.scale(ordinal, books.counts[stream], books.customers) if books.customers else -1


class Books(money.Money):
    """Counts, ids, times and links of one account's business; a pure function of its arguments."""

    def __init__(
        self,
        seed: int,
        counts: Mapping[str, int],
        now: int,
        spread: timeline.Spread,
        streams: frozenset[str],
    ) -> None:
        super().__init__(seed, counts, now, spread, streams)
        self.subscribed = relations.Thinned(counts.get("subscriptions", 0), 4, self.salt("subscriptions"))
        self.sessions = relations.Thinned(counts.get("checkout_sessions", 0), 5, self.salt("sessions"))
        self.checked_out = relations.Sampled(self.sessions.even, self.paid, self.salt("checked out"))

    def times(self, stream: str) -> Callable[[int], int]:
        """When the rows of a top-level stream were created: those of the core follow the charges."""
        if stream == "charges" or not self.paid:
            return self.charged_at if stream == "charges" else self.own_time(stream)
        if stream == "balance_transactions":
            return self.entry_time
        if stream in ("refunds", "transfers", "disputes", "payouts"):
            return lambda ordinal: self.entry_time(self.entry_of(stream, ordinal))
        if stream == "payment_intents" and self.intents.many == self.paid:
            return lambda intent: self.payment_time(self.intent_payment(intent))
        if stream == "customers" and self.customers <= self.paid:
            return self.customer_time
        if (
            stream in ("subscriptions", "payment_methods", "setup_intents")
            and 0 < self.customers <= self.paid
        ):
            count = self.counts[stream]
            return lambda ordinal: self.customer_time(relations.scale(ordinal, count, self.customers))
        if stream == "invoices" and 0 < self.billed.few <= self.billed.many:
            return lambda invoice: self.payment_time(self.invoice_payment(invoice))
        if stream == "invoice_payments" and 0 < self.billed.few <= self.billed.many:
            return lambda q: self.payment_time(self.billed.target(min(q, self.billed.few - 1)))
        if stream == "checkout_sessions":
            return lambda session: self.payment_time(self.session_payment(session))
        if stream in ("credit_notes", "quotes", "invoice_items") and 0 < self.billed.few <= self.billed.many:
            invoiced = self.times("invoices")
            return lambda ordinal: invoiced(self.invoice_near(stream, ordinal)) + DELAYS[stream]
        return self.own_time(stream)

    def customer_time(self, customer: int) -> int:
        """When a customer signed up: an hour before the first payment could be theirs."""
        return self.payment_time(customer * self.paid // self.customers) - 3600

    def subscription_customer(self, subscription: int) -> int:
        """Whose subscription it is."""
        return (
            relations.scale(subscription, self.counts["subscriptions"], self.customers)
            if self.customers
            else -1
        )

    def subscriptions_of(self, customer: int) -> range:
        """The subscriptions of a customer."""
        total = self.counts.get("subscriptions", 0)
        return relations.scaled(customer, total, self.customers) if total and self.customers else range(0)

    def invoice_subscription(self, invoice: int) -> int:
        """The subscription that an invoice bills; -1 for one made by hand."""
        customer = self.invoice_customer(invoice)
        found = self.subscriptions_of(customer) if customer >= 0 else ()
        return found[0] if found else -1

    def subscription_status(self, subscription: int) -> str:
        """Every fourth is canceled."""
        if self.subscribed.index(subscription) < 0:
            return "canceled"
        return STATUSES[ids.mix(subscription * 8 + 5 ^ self.seed) & 15]

    def subscription_end(self, subscription: int) -> int:
        """When a canceled subscription ended: some time after it began, by now."""
        began = self.times("subscriptions")(subscription)
        return began + ids.mix(subscription * 8 + 6 ^ self.seed) % max(1, self.now - began)

    def period(self, subscription: int) -> tuple[int, int]:
        """The current period of a subscription's items: the last one before it ended."""
        began = self.times("subscriptions")(subscription)
        until = self.now
        if self.subscribed.index(subscription) < 0:
            until = self.subscription_end(subscription)
        start = until - (until - began) % (30 * DAY)
        return start, start + 30 * DAY

    def latest_invoice(self, subscription: int) -> int:
        """The last invoice of a subscription, or -1."""
        found = self.invoices_of_subscription(subscription) if self.counts.get("invoices") else ()
        return found[-1] if found else -1

    def price_in(self, currency: str, near: int, of: int, bits: int) -> int:
        """A recurring price in a currency, one that is older than row `near` of `of`; -1 without prices."""
        total = self.counts.get("prices", 0)
        if not total:
            return -1
        kind = PRICE_CURRENCIES.index(currency)
        if kind == 0 and bits & 3 == 0:
            kind = 5
        price = (bits >> 2) % (total * near // (of * 8) + 1) * 8 + kind
        return price if price < total else kind % total

    def item_price(self, subscription: int, at: int) -> tuple[int, int]:
        """Price and quantity of a subscription's item."""
        bits = ids.mix(subscription << 10 | at ^ self.seed)
        currency = self.currency(max(0, self.subscription_customer(subscription)))
        price = self.price_in(currency, subscription, self.counts["subscriptions"], bits)
        return price, 1 + (bits >> 40) % 5

    def product_id(self, price: int) -> str:
        """The product of a price."""
        total = self.counts.get("products", 0)
        return self.namer("products").name(
            relations.scale(price, self.counts["prices"], total) if total else 0
        )

    def invoice_status(self, invoice: int) -> str:
        """Seven of eight are paid."""
        if self.invoices.index(invoice) >= 0:
            return "paid"
        return ("open", "draft", "void", "uncollectible")[ids.mix(invoice * 8 + 2 ^ self.seed) & 3]

    def line_source(self, invoice: int, line: int) -> tuple[int, int, int]:
        """What a line bills: the subscription and its item's place, or an invoice item; -1 for what it does not."""
        subscription = self.invoice_subscription(invoice)
        items = self.children("subscription_items", subscription) if subscription >= 0 else 0
        if line < items:
            return subscription, line, -1
        extra = self.items_of(invoice)
        if line - items < len(extra):
            return -1, -1, extra[line - items]
        return (subscription, line % items, -1) if items else (-1, -1, -1)

    def items_of(self, invoice: int) -> range:
        """The invoice items near a paid invoice, of which as many are on it as it has lines for."""
        q, total = self.invoices.index(invoice), self.counts.get("invoice_items", 0)
        return relations.scaled(q, total, self.invoices.even) if q >= 0 and total else range(0)

    def item_line(self, item: int) -> tuple[int, int]:
        """The invoice and line that an invoice item is on; -1 while it is pending."""
        invoice = self.invoice_near("invoice_items", item)
        if invoice < 0:
            return -1, -1
        subscription = self.invoice_subscription(invoice)
        line = item - self.items_of(invoice).start
        line += self.children("subscription_items", subscription) if subscription >= 0 else 0
        return (invoice, line) if line < self.children("invoice_line_items", invoice) else (-1, -1)

    def notes_of(self, invoice: int) -> range:
        """The credit notes of an invoice."""
        q, total = self.invoices.index(invoice), self.counts.get("credit_notes", 0)
        return relations.scaled(q, total, self.invoices.even) if q >= 0 and total else range(0)

    def note_amount(self, note: int) -> int:
        """What a credit note gives back: a tenth of its invoice's total."""
        invoice = self.invoice_near("credit_notes", note)
        return self.bill(invoice).total // 10 if invoice >= 0 else 100

    def session_amount(self, session: int) -> int:
        """What a checkout session comes to."""
        j = self.session_payment(session)
        return self.amount(j) if j >= 0 else 1000

    def quote_bill(self, quote: int) -> money.Bill:
        """Subtotal, discount, tax and total of a quote: those of the invoice it led to."""
        invoice = self.invoice_near("quotes", quote)
        return self.bill(invoice) if invoice >= 0 else money.Bill(1000, 0, 0, 1000)

    def items_bill(self, stream: str, parent: int) -> tuple[str, money.Bill]:
        """Currency and bill of what a list of items belongs to."""
        if stream == "checkout_sessions_line_items":
            amount, j = self.session_amount(parent), self.session_payment(parent)
            return self.currency(self.payer(j) if j >= 0 else -1), money.Bill(amount, 0, 0, amount)
        if stream == "payment_link_line_items":
            return "usd", money.Bill(2000, 0, 0, 2000)
        invoice = self.invoice_near("quotes", parent)
        return self.currency(self.invoice_customer(invoice) if invoice >= 0 else -1), self.quote_bill(parent)

    def session_payment(self, session: int) -> int:
        """The payment of a checkout session; of one that was never completed, the payment next to it."""
        sessions = self.sessions
        x = sessions.index(session)
        if x < 0:
            x = min(~x * (sessions.group - 1) + sessions.place(~x), sessions.even - 1)
        j = self.checked_out.target(x)
        return j if j >= 0 else self.paid - 1

    def invoice_near(self, stream: str, ordinal: int) -> int:
        """The paid invoice that a credit note, quote or invoice item belongs to."""
        few = self.counts[stream]
        q = relations.scale(ordinal, few, self.invoices.even) if self.invoices.even else -1
        return self.invoices.ordinal(q) if q >= 0 else -1

    def invoices_of_subscription(self, subscription: int) -> list[int]:
        """The invoices of a subscription: all of its customer's, when it is the customer's first."""
        customer = self.subscription_customer(subscription)
        if customer < 0 or self.subscriptions_of(customer)[0] != subscription:
            return []
        return self.invoices_of(customer)
