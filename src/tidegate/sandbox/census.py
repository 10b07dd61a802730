"""How many objects of each stream a generated business has, and how many children each parent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidegate import catalog

FEWEST = 3
"""Every stream has at least so many, whatever the size of the business."""

WEIGHTS: Mapping[str, float] = {
    "charges": 1.0,
    "payment_intents": 1.0,
    "invoices": 0.3,
    "customers": 0.2,
    "payment_methods": 0.2,
    "subscriptions": 0.1,
    "checkout_sessions": 0.1,
    "invoice_items": 0.1,
    "refunds": 0.06,
    "setup_intents": 0.05,
    "credit_notes": 0.03,
    "transfers": 0.03,
    "quotes": 0.02,
    "application_fees": 0.02,
    "disputes": 0.012,
    "prices": 0.012,
    "promotion_codes": 0.01,
    "payouts": 0.01,
    "files": 0.01,
    "topups": 0.005,
    "products": 0.004,
    "coupons": 0.003,
}
"""Top-level streams relative to charges; `balance_transactions`, `plans` and `events` follow from the others."""

WEIGHT = 0.002
"""Of the top-level streams that are not named above."""

FOLLOWING = ("balance_transactions", "plans", "events", "accounts", "invoice_payments")
"""Streams whose number is not a matter of choice."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many children a parent has: a cycle over the parents, and rarer, larger ones."""

    cycle: tuple[int, ...]
    rare: tuple[tuple[int, int, int], ...] = ()
    """(every, at, size): the parents whose ordinal modulo `every` is `at`; the first that fits counts."""

    def of(self, parent: int) -> int:
        """Children of this parent."""
        for every, at, size in self.rare:
            if parent % every == at:
                return size
        return self.cycle[parent * 7 % len(self.cycle)]

    @property
    def mean(self) -> float:
        """Children per parent, over very many parents."""
        rest, found = 1.0, 0.0
        for every, _, size in self.rare:
            found += size / every
            rest -= 1 / every
        return found + rest * sum(self.cycle) / len(self.cycle)


SIZES: Mapping[str, Sizes] = {
    "invoice_line_items": Sizes((1, 2, 3, 1, 1), ((256, 11, 250), (128, 7, 101), (32, 3, 11))),
    "subscription_items": Sizes((1, 1, 2, 1, 3), ((256, 9, 25), (64, 5, 12))),
    "transfer_reversals": Sizes((0, 0, 1, 0, 0, 0, 2), ((64, 6, 12),)),
    "application_fee_refunds": Sizes((0, 0, 1, 0, 0), ((128, 4, 11),)),
    "checkout_sessions_line_items": Sizes((1, 2, 1, 3), ((64, 6, 14), (512, 13, 101))),
    "quote_line_items": Sizes((1, 2, 3), ((32, 4, 12),)),
    "quote_computed_upfront_line_items": Sizes((0, 1, 2), ((32, 4, 12),)),
    "payment_link_line_items": Sizes((1, 2), ((16, 2, 12),)),
    "payment_intent_amount_details_line_items": Sizes((0,), ((64, 9, 2), (256, 19, 12))),
    "credit_note_line_items": Sizes((1, 2, 1), ((32, 4, 12),)),
    "cards": Sizes((1, 0, 0, 1), ((128, 3, 8),)),
    "bank_accounts": Sizes((0, 0, 1, 0, 0, 0, 0), ((128, 3, 4),)),
    "sources": Sizes((0,), ((32, 8, 1), (128, 3, 2))),
    "customer_tax_ids": Sizes((0, 0, 1), ((128, 4, 11),)),
    "customer_balance_transactions": Sizes((1, 0, 0), ((64, 2, 13),)),
    "customer_cash_balance_transactions": Sizes((0,), ((32, 2, 2),)),
    "entitlements_active_entitlements": Sizes((0, 0, 0, 0, 1)),
    "setup_attempts": Sizes((1,)),
    "account_capabilities": Sizes((6,)),
    "account_persons": Sizes((1, 2)),
    "treasury_transactions": Sizes((12, 3)),
    "treasury_transaction_entries": Sizes((12, 3)),
    "radar_value_list_items": Sizes((12, 2, 0)),
    "billing_meter_event_summaries": Sizes((2,)),
    "payment_attempt_records": Sizes((1,)),
}
ANY = Sizes((1, 2, 0, 1), ((16, 1, 12),))

COUNTRIES = (
    "AT", "AU", "BE", "BR", "CA", "CH", "DE", "DK", "ES", "FI", "FR", "GB", "IE", "IT", "JP", "LU", "MX", "NL",
    "NO", "NZ", "PL", "PT", "SE", "SG", "US",
)  # fmt: skip

WORDS: Mapping[str, tuple[str, ...]] = {
    "country_specs": COUNTRIES,
    "exchange_rates": (
        "aud",
        "brl",
        "cad",
        "chf",
        "dkk",
        "eur",
        "gbp",
        "jpy",
        "mxn",
        "nok",
        "pln",
        "sek",
        "usd",
    ),
    "tax_codes": tuple(f"txcd_{number}" for number in range(10000000, 10103000, 4000)),
    "reporting_report_types": (
        "activity.summary.1",
        "balance.summary.1",
        "balance_change_from_activity.summary.1",
        "connected_account_balance_change_from_activity.itemized.3",
        "ending_balance_reconciliation.itemized.5",
        "payouts.itemized.3",
        "payouts.summary.1",
        "tax.transactions.itemized.2",
    ),
    "account_capabilities": (
        "acss_debit_payments",
        "bancontact_payments",
        "card_issuing",
        "card_payments",
        "sepa_debit_payments",
        "transfers",
    ),
}
"""Streams whose ids are words, and so as many as there are."""


def sizes(stream: str) -> Sizes:
    """How the children of a stream are spread over their parents."""
    return SIZES.get(stream, ANY)


def prices_recurring(prices: int) -> int:
    """How many of so many prices recur: six of every eight."""
    return prices // 8 * 6 + min(prices % 8, 6)


def ledger(counts: Mapping[str, int]) -> int:
    """How many balance transactions so many money movements make: one in 16 charges fails."""
    charged = counts.get("charges", 0) - counts.get("charges", 0) // 16
    moved = sum(counts.get(stream, 0) for stream in ("refunds", "disputes", "payouts", "transfers"))
    return charged + moved


def take(objects: int, accounts: int, only: Sequence[str] | None) -> dict[str, int]:
    """Objects per top-level stream so that the whole comes to about `objects`, children included."""
    streams = catalog.load().streams
    chosen = set(streams) if only is None else set(only)
    if unknown := chosen - set(streams):
        raise ValueError(f"There is no stream {sorted(unknown)[0]!r}; `tidegate streams` lists them all.")
    parents = {name: streams[name].parent for name in chosen if streams[name].parent}
    roots = sorted(name for name in chosen if not streams[name].parent)
    if not roots:
        roots = sorted(set(parents.values()))
    low, high = 0.0, float(objects) + 1
    for _ in range(60):
        unit = (low + high) / 2
        if _whole(_counts(unit, roots, accounts, only is None), parents) > objects:
            high = unit
        else:
            low = unit
    counts = _counts(low, roots, accounts, only is None)
    if len(roots) == 1 and not parents and roots[0] not in WORDS:
        counts[roots[0]] = objects
    return counts


def _counts(unit: float, roots: Sequence[str], accounts: int, everything: bool) -> dict[str, int]:
    fewest = FEWEST if everything else 1
    found = {
        name: max(fewest, round(unit * WEIGHTS.get(name, WEIGHT))) for name in roots if name not in FOLLOWING
    }
    for name in found:
        if name in WORDS:
            found[name] = len(WORDS[name])
    if "accounts" in roots:
        found["accounts"] = accounts
    if "balance_transactions" in roots:
        found["balance_transactions"] = ledger(found) or max(fewest, round(unit))
    if "invoice_payments" in roots:
        billed = found.get("invoices", 0)
        found["invoice_payments"] = billed - billed // 8 or max(fewest, round(unit))
    if "plans" in roots:
        found["plans"] = prices_recurring(found.get("prices", 0)) or max(fewest, round(unit))
    return found


def _whole(counts: Mapping[str, int], parents: Mapping[str, str]) -> float:
    """About how many objects these are, children and the events of a month in two years included."""
    roots = sum(counts.values())
    children = sum(counts.get(parent, 0) * sizes(name).mean for name, parent in parents.items())
    return roots + children
