"""Ids of a generated business: of its rows, of children and parents, of anything an object may refer to."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from tidegate import catalog
from tidegate.sandbox import census, ids, relations

CHILD = 1 << 10
"""A child's number is its parent's number times this, plus its place."""

EXTERNAL = 1 << 25
"""Beyond every customer: where the numbers of connected accounts' bank accounts and cards begin."""

SHORT = frozenset({"customers", "products", "accounts", "coupons"})
"""Streams whose ids have 14 characters after the prefix, not 24."""

SAME_IDS: Mapping[str, str] = {"plans": "prices", "customer_payment_methods": "payment_methods"}
"""Streams that show the objects of another one: a plan is a recurring price."""

PREFIXES: Mapping[str, str] = {
    "account_persons": "person_",
    "accounts": "acct_",
    "application_fee_refunds": "fr_",
    "application_fees": "fee_",
    "apps_secrets": "appsecret_",
    "balance_transactions": "txn_",
    "bank_accounts": "ba_",
    "billing_alerts": "alrt_",
    "billing_credit_balance_transactions": "cbtxn_",
    "billing_credit_grants": "credgr_",
    "billing_meters": "mtr_",
    "billing_meter_event_summaries": "mtrusg_",
    "billing_portal_configurations": "bpc_",
    "cards": "card_",
    "charges": "ch_",
    "checkout_sessions": "cs_test_",
    "checkout_sessions_line_items": "li_",
    "climate_orders": "climorder_",
    "climate_products": "climsku_",
    "climate_suppliers": "climsup_",
    "coupons": "",
    "credit_note_line_items": "cnli_",
    "credit_notes": "cn_",
    "customer_balance_transactions": "cbtxn_",
    "customer_cash_balance_transactions": "ccsbtxn_",
    "customer_tax_ids": "txi_",
    "customers": "cus_",
    "disputes": "du_",
    "entitlements_active_entitlements": "ent_",
    "entitlements_features": "feat_",
    "events": "evt_",
    "file_links": "link_",
    "files": "file_",
    "financial_connections_account_owners": "fcaowner_",
    "financial_connections_accounts": "fca_",
    "financial_connections_transactions": "fctxn_",
    "forwarding_requests": "fwdreq_",
    "identity_verification_reports": "vr_",
    "identity_verification_sessions": "vs_",
    "invoice_items": "ii_",
    "invoice_line_items": "il_",
    "invoice_payments": "inpay_",
    "invoice_rendering_templates": "inrtem_",
    "invoices": "in_",
    "issuing_authorizations": "iauth_",
    "issuing_cardholders": "ich_",
    "issuing_cards": "ic_",
    "issuing_disputes": "idp_",
    "issuing_personalization_designs": "ipd_",
    "issuing_physical_bundles": "ics_",
    "issuing_tokens": "intok_",
    "issuing_transactions": "ipi_",
    "payment_attempt_records": "par_",
    "payment_intent_amount_details_line_items": "uli_",
    "payment_intents": "pi_",
    "payment_link_line_items": "li_",
    "payment_links": "plink_",
    "payment_method_configurations": "pmc_",
    "payment_method_domains": "pmd_",
    "payment_methods": "pm_",
    "payment_records": "pr_",
    "payouts": "po_",
    "prices": "price_",
    "product_features": "prodft_",
    "products": "prod_",
    "promotion_codes": "promo_",
    "quote_computed_upfront_line_items": "li_",
    "quote_line_items": "li_",
    "quotes": "qt_",
    "radar_early_fraud_warnings": "issfr_",
    "radar_value_list_items": "rsli_",
    "radar_value_lists": "rsl_",
    "refunds": "re_",
    "reporting_report_runs": "frr_",
    "reviews": "prv_",
    "setup_attempts": "setatt_",
    "setup_intents": "seti_",
    "shipping_rates": "shr_",
    "sigma_scheduled_query_runs": "sqr_",
    "source_transactions": "srctxn_",
    "sources": "src_",
    "subscription_items": "si_",
    "subscription_schedules": "sub_sched_",
    "subscriptions": "sub_",
    "tax_ids": "txi_",
    "tax_locations": "taxloc_",
    "tax_rates": "txr_",
    "tax_registrations": "taxreg_",
    "terminal_configurations": "tmc_",
    "terminal_locations": "tml_",
    "terminal_readers": "tmr_",
    "test_helpers_test_clocks": "clock_",
    "topups": "tu_",
    "transfer_reversals": "trr_",
    "transfers": "tr_",
    "treasury_credit_reversals": "credrev_",
    "treasury_debit_reversals": "debrev_",
    "treasury_financial_accounts": "fa_",
    "treasury_inbound_transfers": "ibt_",
    "treasury_outbound_payments": "obp_",
    "treasury_outbound_transfers": "obt_",
    "treasury_received_credits": "rc_",
    "treasury_received_debits": "rd_",
    "treasury_transaction_entries": "trxne_",
    "treasury_transactions": "trxn_",
    "v2_core_account_persons": "person_",
    "v2_core_accounts": "acct_",
    "v2_core_event_destinations": "ed_",
    "v2_core_events": "evt_",
    "webhook_endpoints": "we_",
}


def prefix(stream: str) -> str:
    """What a stream's ids begin with."""
    words = stream.split("_")
    return PREFIXES.get(stream, "".join(word[0] for word in words[:-1]) + words[-1][:3] + "_")


class Names:
    """Counts and ids of one account's business; a pure function of its arguments."""

    def __init__(self, seed: int, counts: Mapping[str, int], streams: frozenset[str]) -> None:
        self.seed = ids.key(seed, "business")
        self.counts = counts
        self.streams = streams
        self.catalog = catalog.load()
        self.customers = counts.get("customers", 0)
        self._namers: dict[str, ids.Namer] = {}

    def has(self, stream: str) -> bool:
        """Does this business have any of a stream, so that others may refer to it?"""
        above = self.catalog.streams[stream].parent
        return stream in self.streams and bool(self.counts.get(above or stream))

    def salt(self, name: str) -> int:
        """A small key for one relation."""
        return ids.key(self.seed, "salt", name) >> 40

    def namer(self, stream: str) -> ids.Namer:
        """Both directions of a stream's ids."""
        stream = SAME_IDS.get(stream, stream)
        if stream not in self._namers:
            if stream in census.WORDS:
                self._namers[stream] = ids.listed(census.WORDS[stream])
            else:
                self._namers[stream] = ids.namer(self.seed, stream, prefix(stream), stream not in SHORT)
        return self._namers[stream]

    @property
    def account_tail(self) -> str:
        """The characters that all long ids of the account share."""
        return ids.tail(self.seed)

    def number(self, stream: str, ordinal: int, parent: int | None) -> int:
        """One number for a row: its ordinal, or for a child its parent's ordinal and its own."""
        if parent is None:
            return ordinal // 6 * 8 + ordinal % 6 if stream == "plans" else ordinal
        if stream == "customer_payment_methods":
            return self.methods_of(parent)[ordinal]
        return (EXTERNAL + ~parent if parent < 0 else parent) * CHILD + ordinal

    def row_id(self, stream: str, ordinal: int, parent: int | None) -> str:
        """The id of a row."""
        return self.child_id(stream, self.number(stream, ordinal, parent))

    def find_row(self, stream: str, id: str) -> tuple[int, int | None] | None:
        """Ordinal and parent of an id, which may still lie beyond the stream's end."""
        number = self.namer(stream).number(id)
        if number is None:
            return None
        if stream == "plans":
            return (number // 8 * 6 + number % 8, None) if number % 8 < 6 else None
        if not self.catalog.streams[stream].parent:
            return number, None
        if stream == "customer_payment_methods":
            if not self.customers or number >= self.counts.get("payment_methods", 0):
                return None
            customer = self.method_customer(number)
            return number - self.methods_of(customer).start, customer
        parent, ordinal = divmod(number, CHILD)
        return ordinal, ~(parent - EXTERNAL) if parent >= EXTERNAL else parent

    def children(self, stream: str, parent: int) -> int:
        """How many rows of a child stream a parent has."""
        if stream == "customer_payment_methods":
            return len(self.methods_of(parent))
        return census.sizes(stream).of(parent)

    def child_id(self, stream: str, number: int) -> str:
        """The id of a row by its number, which for a child holds the parent's ordinal and its own."""
        if stream in census.WORDS and self.catalog.streams[stream].parent:
            number &= CHILD - 1
        return self.namer(stream).name(number)

    def parent_id(self, stream: str, parent: int | None) -> str:
        """The id of a child's parent."""
        assert parent is not None, f"{stream} are listed by parent, but no parent was given."
        origins = self.catalog.streams[stream].origins
        if parent < 0:
            return self.namer(origins[1].parents[0].stream).name(~parent)
        return self.namer(origins[0].parents[0].stream).name(parent)

    @functools.cached_property
    def _by_object(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, stream in self.catalog.streams.items():
            if not stream.parent:
                found.setdefault(stream.object, []).append(name)
        return found

    def streams_of(self, kind: str) -> Sequence[str]:
        """The top-level streams of an object type."""
        return self._by_object.get(kind, ())

    def reference(self, kind: str) -> str | None:
        """The id of some object of a type, for constants; nothing when there is none."""
        for name in self.streams_of(kind):
            if count := self.counts.get(name):
                return self.namer(name).name(self.salt(kind) % count)
        return None

    def held_id(self, stream: str, field: str, ordinal: int) -> str:
        """The id of something that no list shows and every row of a stream has its own of (`ownership`)."""
        name = f"{stream}.{field}"
        if name not in self._namers:
            self._namers[name] = ids.namer(self.seed, name, f"{prefix(stream)[:-1]}{field[:3]}_")
        return self._namers[name].name(ordinal)

    def foreign(self, kind: str) -> str:
        """An id of an object type that no list shows, such as a Connect application."""
        prefix = {"application": "ca_", "mandate": "mandate_"}.get(kind, kind.rpartition(".")[2] + "_")
        return f"{prefix}1{ids.tail(ids.key(self.seed, kind))}"

    def method_customer(self, method: int) -> int:
        """The customer a payment method is attached to."""
        return (
            relations.scale(method, self.counts["payment_methods"], self.customers) if self.customers else -1
        )

    def methods_of(self, customer: int) -> range:
        """The payment methods of a customer; the first is the default."""
        methods = self.counts.get("payment_methods", 0)
        return relations.scaled(customer, methods, self.customers) if methods and self.customers else range(0)

    def method_of(self, customer: int) -> int:
        """The default payment method of a customer, or -1."""
        methods, customers = self.counts.get("payment_methods", 0), self.customers
        if methods == customers:
            return customer
        first = -(-customer * methods // customers)
        return first if first < -(-(customer + 1) * methods // customers) else -1
