"""The money of a generated business: who paid what for which invoice, what was given back, and the ledger of it.

Nothing is stored per object. Every link is arithmetic over ordinals (`relations`), so that a charge knows its
customer, the customer its charges, a balance transaction its source, and all of them agree on amounts and times.
A link that has no other end (in a world of charges alone, say) is -1 and rendered as null.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tidegate.sandbox import ids, naming, relations, timeline

CURRENCIES = ("usd",) * 18 + ("eur",) * 6 + ("gbp",) * 3 + ("jpy",) * 3 + ("kwd",) * 2
"""Of the customers; yen have no decimals, Kuwaiti dinars three."""
LAG = 24
"""A customer's payments come about this many times apart within the span: monthly in two years."""

PARTIAL = 40
"""Of so many refunds the first 12 share one charge and the next two another: a charge refunded in 12 parts."""
PARTIAL_CASES = 28

PER_MILLE, FIXED = 29, 30
"""Stripe's price list: 2.9 % and 30 of the smallest unit."""
LONGEST_PAYOUT = 2_000
"""No payout covers more balance transactions, however few payouts there are."""

DOMAINS = ("example.com", "example.org", "mail.example.net", "b\\u00fccher.example")


RECENT = 128
"""So many invoices are kept in mind: their lines ask the same again and again."""


class Payment(NamedTuple):
    """What is known of a payment."""

    customer: int
    """-1: a guest."""
    person: int
    """64 bits that make the customer, or the guest."""
    currency: str
    amount: int


class Payments(NamedTuple):
    """What is known of several payments, field by field."""

    customers: list[int]
    persons: list[int]
    currencies: list[str]
    amounts: list[int]


class Bill(NamedTuple):
    """Amounts in the currency's minor unit."""

    subtotal: int
    discount: int
    tax: int
    total: int


def total(chance: int, currency: str) -> int:
    """The total of an invoice's `bill` alone, by its 64 bits: every charge of an invoice asks."""
    amount = 500 + chance % 40_000
    if currency == "kwd":
        amount *= 10
    if chance >> 40 & 7 == 0:
        amount -= amount // 100 * 10
    return amount + amount // 1000 * 190 if chance >> 43 & 3 == 0 else amount


def price(chance: int, currency: str) -> int:
    """What a payment without an invoice comes to, by its 64 bits."""
    amount = 300 + chance % 25_000
    return amount * 10 if currency == "kwd" else amount


class Money(naming.Names):
    """Payments, invoices, refunds, disputes, transfers and the ledger."""

    def __init__(
        self,
        seed: int,
        counts: Mapping[str, int],
        now: int,
        spread: timeline.Spread,
        streams: frozenset[str],
    ) -> None:
        super().__init__(seed, counts, streams)
        self.now = now
        self.spread = spread
        count = counts.get
        self.charges = relations.Thinned(count("charges", 0), 16, self.salt("charges"))
        self.paid = self.charges.even
        """Charges that succeeded; `j` below is an index among them, a payment."""
        self.payers = max(1, -(-self.paid // self.customers)) if self.customers else 0
        incomplete = max(0, count("payment_intents", 0) - self.paid)
        self.intents = relations.Interleaved(min(self.paid, count("payment_intents", 0)), incomplete)
        self.invoices = relations.Thinned(count("invoices", 0), 8, self.salt("invoices"))
        self.billed = relations.Sampled(self.invoices.even, self.paid, self.salt("billed"))
        refunds = count("refunds", 0)
        whole = refunds // PARTIAL
        self.cases = whole * PARTIAL_CASES + refunds - whole * PARTIAL
        self.refunded = relations.Sampled(self.cases, self.paid // 2, self.salt("refunds"))
        self.disputed = relations.Sampled(count("disputes", 0), self.paid // 2, self.salt("disputes"))
        self.transferred = relations.Sampled(count("transfers", 0), self.paid, self.salt("transfers"))
        last = relations.Interleaved(count("payouts", 0), count("disputes", 0))
        later = relations.Interleaved(count("transfers", 0), last.total)
        others = relations.Interleaved(count("refunds", 0), later.total)
        self.ledger = (relations.Interleaved(self.paid, others.total), others, later, last)
        self.charged_at = self.own_time("charges")
        self.invoice_customer = functools.lru_cache(maxsize=RECENT)(self._invoice_customer)
        """Whose invoice it is."""
        self.bill = functools.lru_cache(maxsize=RECENT)(self._bill)
        """What an invoice comes to, in its customer's currency."""
        self.payment, self.payments = self._payments()
        """Payment j -> what is known of it; the same of several. Every charge asks for it."""

    def _payments(self) -> tuple[Callable[[int], Payment], Callable[[Sequence[int]], Payments]]:
        customers, payers, seed, mix, mixed = self.customers, self.payers, self.seed, ids.mix, ids.mixed
        billed, invoice_ordinal, invoices = self.billed, self.invoices.ordinal, self.billed.few
        step, currencies = customers // LAG, CURRENCIES

        def payer(j: int, invoice: int) -> int:
            if invoice < 0 and (j * 0x9E3779B1 >> 9) & 15 == 5:
                return -1
            customer = j // payers
            lag = (j - customer * payers) * step
            return customer - lag if customer >= lag else customer

        def payment(j: int) -> Payment:
            q = billed.source(j) if invoices else -1
            invoice = invoice_ordinal(q) if 0 <= q < invoices else -1
            customer = payer(j, invoice) if customers else -1
            person = mix((customer * 4 + 1 if customer >= 0 else j * 4 + 2) ^ seed)
            currency = currencies[person >> 59] if customer >= 0 else "usd"
            chance = mix((invoice * 8 + 5 if invoice >= 0 else j * 8 + 1) ^ seed)
            amount = total(chance, currency) if invoice >= 0 else price(chance, currency)
            return Payment(customer, person, currency, amount)

        def payments(js: Sequence[int]) -> Payments:
            many = len(js)
            if invoices:
                bills = [invoice_ordinal(q) if 0 <= q < invoices else -1 for q in billed.sources(js)]
                chances = mixed(
                    [
                        (invoice * 8 + 5 if invoice >= 0 else j * 8 + 1) ^ seed
                        for j, invoice in zip(js, bills, strict=True)
                    ]
                )
            else:
                bills, chances = [-1] * many, mixed([j * 8 + 1 ^ seed for j in js])
            if customers:
                whose = list(map(payer, js, bills))
                persons = mixed(
                    [
                        (one * 4 + 1 if one >= 0 else j * 4 + 2) ^ seed
                        for j, one in zip(js, whose, strict=True)
                    ]
                )
                paid_in = [
                    currencies[person >> 59] if one >= 0 else "usd"
                    for one, person in zip(whose, persons, strict=True)
                ]
            else:
                whose, persons, paid_in = [-1] * many, mixed([j * 4 + 2 ^ seed for j in js]), ["usd"] * many
            amounts = [
                total(chance, currency) if invoice >= 0 else price(chance, currency)
                for chance, currency, invoice in zip(chances, paid_in, bills, strict=True)
            ]
            return Payments(whose, persons, paid_in, amounts)

        return payment, payments

    def own_time(self, stream: str) -> Callable[[int], int]:
        """Times of a stream that follows no other."""
        return timeline.moments(
            max(1, self.counts.get(stream, 0)), self.now, self.spread, self.salt(stream) & 0xFFFF
        )

    def payment_time(self, j: int) -> int:
        """When a payment was charged; for an index beyond the last, when the last was."""
        return self.charged_at(self.charges.ordinal(min(j, self.paid - 1)))

    def payer(self, j: int) -> int:
        """The customer who made a payment; -1 for a guest."""
        return self.payment(j).customer

    def payments_of(self, customer: int) -> list[int]:
        """All payments of a customer, oldest first."""
        found = set()
        for at in range(self.payers):
            lag = at * (self.customers // LAG)
            found.add((customer + lag) * self.payers + at)
            if customer < lag:
                found.add(customer * self.payers + at)
        return sorted(j for j in found if j < self.paid and self.payer(j) == customer)

    def person(self, customer: int) -> int:
        """The 64 bits that make a customer; of a guest too."""
        return ids.mix(customer * 4 + 1 ^ self.seed)

    def email_of(self, customer: int) -> str:
        """Unique but for one in fifty, who shares the address of the customer before; JSON text."""
        if customer % 50 == 7:
            customer -= 1
        return f"customer+{customer}@{DOMAINS[customer & 3]}"

    def currency(self, customer: int) -> str:
        """The one currency of a customer; guests pay in dollars."""
        return CURRENCIES[self.person(customer) >> 59] if customer >= 0 else "usd"

    def intent_of(self, j: int) -> int:
        """The payment intent of a payment; -1 when there are fewer intents than payments."""
        return self.intents.of_many(j) if j < self.intents.many else -1

    def intent_payment(self, intent: int) -> int:
        """The payment of an intent; of one never paid, the next one."""
        few, index, before = self.intents.split(intent)
        return min(before, self.paid - 1) if few else index

    def intent_customer(self, intent: int) -> int:
        """The customer of a payment intent, also of one that was never paid."""
        few, index, before = self.intents.split(intent)
        if not few:
            return self.payer(index)
        return self.payer(min(before, self.paid - 1)) if self.paid else -1

    def invoice_payment(self, invoice: int) -> int:
        """The payment of a paid invoice, or the payment whose customer owes an unpaid one; -1 without any."""
        q = self.invoices.index(invoice)
        if q < 0:
            q = min(~q * 7 + self.invoices.place(~q), self.invoices.even - 1)
        return self.billed.target(q)

    def _invoice_customer(self, invoice: int) -> int:
        j = self.invoice_payment(invoice)
        if j >= 0:
            return self.payer(j)
        return relations.scale(invoice, self.counts["invoices"], self.customers) if self.customers else -1

    def invoices_of(self, customer: int) -> list[int]:
        """All invoices of a customer, oldest first."""
        if self.billed.few > self.billed.many:
            total = self.counts.get("invoices", 0)
            return [at for at in range(total) if self.invoice_customer(at) == customer]
        found = []
        for j in self.payments_of(customer):
            q = self.billed.source(j)
            if not 0 <= q < self.invoices.even:
                continue
            paid = self.invoices.ordinal(q)
            found.append(paid)
            group = q // 7
            if group < self.invoices.odd and self.invoice_payment(odd := self.invoices.ordinal(~group)) == j:
                found.append(odd)
        return sorted(found)

    def invoice_of(self, j: int) -> int:
        """The invoice that a payment paid; -1 when it paid none."""
        q = self.billed.source(j)
        return self.invoices.ordinal(q) if 0 <= q < self.invoices.even else -1

    def _bill(self, invoice: int) -> Bill:
        chance = ids.mix(invoice * 8 + 5 ^ self.seed)
        subtotal = 500 + chance % 40_000
        if self.currency(self.invoice_customer(invoice)) == "kwd":
            subtotal *= 10
        discount = subtotal // 100 * 10 if chance >> 40 & 7 == 0 else 0
        tax = (subtotal - discount) // 1000 * 190 if chance >> 43 & 3 == 0 else 0
        return Bill(subtotal, discount, tax, subtotal - discount + tax)

    def amount(self, j: int) -> int:
        """What a payment paid: its invoice's total, or a price of its own."""
        return self.payment(j).amount

    def refund_case(self, refund: int) -> tuple[int, int, int]:
        """The case of a refund, its place in the case, and how many refunds the case has."""
        group, at = divmod(refund, PARTIAL)
        if group >= self.counts["refunds"] // PARTIAL:
            whole = self.counts["refunds"] // PARTIAL
            return whole * PARTIAL_CASES + refund - whole * PARTIAL, 0, 1
        if at < 12:
            return group * PARTIAL_CASES, at, 12
        if at < 14:
            return group * PARTIAL_CASES + 1, at - 12, 2
        return group * PARTIAL_CASES + at - 12, 0, 1

    def refunds_of_case(self, case: int) -> range:
        """Inverse of `refund_case`."""
        whole = self.counts["refunds"] // PARTIAL
        group, at = divmod(case, PARTIAL_CASES)
        if group >= whole:
            first = whole * PARTIAL + case - whole * PARTIAL_CASES
            return range(first, first + 1)
        first = group * PARTIAL + (0, 12)[at] if at < 2 else group * PARTIAL + at + 12
        return range(first, first + (12, 2)[at] if at < 2 else first + 1)

    def refund_payment(self, refund: int) -> int:
        """The payment that a refund gives back; -1 without charges."""
        x = self.refunded.target(self.refund_case(refund)[0])
        return x * 2 if x >= 0 else -1

    def refunds_of(self, j: int) -> range:
        """The refunds of a payment."""
        if j & 1 or not self.cases:
            return range(0)
        case = self.refunded.source(j >> 1)
        return self.refunds_of_case(case) if 0 <= case < self.cases else range(0)

    def refund_amount(self, refund: int) -> int:
        """What a refund gives back: a part of a whole refund, all of it, or half."""
        case, at, parts = self.refund_case(refund)
        j = self.refund_payment(refund)
        amount = self.amount(j) if j >= 0 else 1000
        if parts == 1:
            return amount if case & 1 else amount // 20 * 10 or amount
        return amount // parts if at else amount - amount // parts * (parts - 1)

    def dispute_payment(self, dispute: int) -> int:
        """The payment that a dispute is about; -1 without charges."""
        x = self.disputed.target(dispute)
        return x * 2 + 1 if x >= 0 else -1

    def dispute_of(self, j: int) -> int:
        """The dispute about a payment, or -1."""
        if not j & 1:
            return -1
        dispute = self.disputed.source(j >> 1)
        return dispute if dispute < self.disputed.few else -1

    def transfer_payment(self, transfer: int) -> int:
        """The payment that a transfer passes on; -1 without charges."""
        return self.transferred.target(transfer)

    def transfer_amount(self, transfer: int) -> int:
        """Four fifths of the payment."""
        j = self.transfer_payment(transfer)
        return self.amount(j) * 4 // 5 if j >= 0 else 1000

    def reversal_amount(self, transfer: int, at: int) -> int:
        """What one of a transfer's reversals took back; twelve of them all of it."""
        amount, parts = self.transfer_amount(transfer), max(12, self.children("transfer_reversals", transfer))
        return amount // parts if at else amount - amount // parts * (parts - 1)

    def entry(self, at: int) -> tuple[str, int]:
        """The stream and ordinal that a balance transaction is about; -1 when there are more than movements."""
        first, others, later, last = self.ledger
        if at >= first.total:
            return "charges", -1
        few, index, _ = first.split(at)
        if not few:
            return "charges", self.charges.ordinal(index)
        few, index, _ = others.split(index)
        if not few:
            return "refunds", index
        few, index, _ = later.split(index)
        if not few:
            return "transfers", index
        few, index, _ = last.split(index)
        return ("disputes", index) if few else ("payouts", index)

    def entry_of(self, stream: str, ordinal: int) -> int:
        """Inverse of `entry`; for charges, of a payment's index."""
        first, others, later, last = self.ledger
        if stream == "charges":
            return first.of_many(ordinal)
        if stream == "refunds":
            return first.of_few(others.of_many(ordinal))
        if stream == "transfers":
            return first.of_few(others.of_few(later.of_many(ordinal)))
        ordinal = last.of_few(ordinal) if stream == "disputes" else last.of_many(ordinal)
        return first.of_few(others.of_few(later.of_few(ordinal)))

    def entry_time(self, at: int) -> int:
        """When the money moved: with its charge, or just after the charges before it."""
        first = self.ledger[0]
        if not self.paid:
            return self.own_time("balance_transactions")(at)
        few, index, before = first.split(at)
        return self.payment_time(before if few else index)

    def entry_id(self, stream: str, ordinal: int) -> str:
        """The reference to the balance transaction of a refund, transfer, dispute or payout, as JSON."""
        if not self.has("balance_transactions") or not self.paid:
            return "null"
        return f'"{self.namer("balance_transactions").name(self.entry_of(stream, ordinal))}"'

    def movement(self, stream: str, ordinal: int) -> tuple[int, int, str]:
        """Amount, fee and currency of a balance transaction, by what it is about."""
        if stream == "payouts":
            return -self.payout_amount(ordinal), 0, "usd"
        if ordinal < 0:
            return 1000, 59, "usd"
        if stream == "charges":
            payment = self.payment(self.charges.index(ordinal))
            amount = payment.amount
            return amount, amount * PER_MILLE // 1000 + FIXED, payment.currency
        if stream == "refunds":
            j, amount, fee = self.refund_payment(ordinal), -self.refund_amount(ordinal), 0
        elif stream == "transfers":
            j, amount, fee = self.transfer_payment(ordinal), -self.transfer_amount(ordinal), 0
        else:
            j, fee = self.dispute_payment(ordinal), 1500
            amount = -self.amount(j) if j >= 0 else -1000
        return amount, fee, self.currency(self.payer(j)) if j >= 0 else "usd"

    def paid_out(self, payout: int) -> range:
        """The balance transactions since the payout before, of which those in dollars are paid out."""
        at = self.entry_of("payouts", payout)
        before = self.entry_of("payouts", payout - 1) if payout else -1
        return range(max(before + 1, at - LONGEST_PAYOUT), at)

    def payout_amount(self, payout: int) -> int:
        """What the dollars of a payout's balance transactions come to."""
        if not self.paid:
            return 10_000 + ids.mix(payout ^ self.seed) % 1_000_000
        rows = self.paid_out(payout)
        places = [self.ledger[0].split(at) for at in rows]
        charged = self.payments([index for few, index, _ in places if not few])
        total = sum(
            amount - amount * PER_MILLE // 1000 - FIXED
            for amount, currency in zip(charged.amounts, charged.currencies, strict=True)
            if currency == "usd"
        )
        for at, (few, _, _) in zip(rows, places, strict=True):
            if few:
                amount, fee, currency = self.movement(*self.entry(at))
                total += amount - fee if currency == "usd" else 0
        return total
