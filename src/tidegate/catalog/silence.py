"""What Stripe's events do not tell, judged stream by stream; it is covered by listing again.

The judgement follows from the event types where it can; the tables here correct it, and must judge every stream
that has no events at all. Sources, where none is named: the sentence that Stripe gives each type ("Types of
events", docs.stripe.com/api/events/types: `charge.updated` "occurs whenever a charge description or metadata is
updated, or upon an asynchronous capture"), and the routes of the package: what cannot be updated or deleted by
anybody never is. Where neither decides, silence is assumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from tidegate import catalog
from tidegate.catalog import facts

ALL, SOME, NONE, NEVER = "all", "some", "none", "never"

# Created, updated, deleted, and what changes in silence. A copy of another object inside a row (the price of a
# subscription item) is that object's matter, and its own table has it.
TOLD: dict[str, tuple[str, str, str, str]] = {
    # Events of a connected account stand among its own, not among the platform's that lists it: "Those events
    # would live on each of the connected accounts" (github.com/stripe/stripe-go/issues/315).
    "account_capabilities": (SOME, SOME, NEVER, "what events of the connected account itself tell"),
    "account_persons": (SOME, SOME, SOME, "what events of the connected account itself tell"),
    "accounts": (NONE, SOME, NONE, "new and closed accounts, and what events of the connected account tell"),
    "apple_pay_domains": (NONE, NEVER, NONE, "everything"),
    # `application_fee.refunded` carries the fee, and in it the refunds.
    "application_fee_refunds": (ALL, ALL, NEVER, ""),
    # Nothing of a fee changes but what has been refunded.
    "application_fees": (ALL, ALL, NEVER, ""),
    "apps_secrets": (NONE, NONE, NONE, "everything"),
    # See SETTLES. Disputes and refunds make new ones.
    "balance_transactions": (NONE, NONE, NEVER, "everything; of a row only the status changes"),
    # `billing.alert.triggered` does not change the alert.
    "billing_alerts": (NONE, NONE, NONE, "everything"),
    # A ledger: no route changes an entry. So are the other transactions here that are never updated.
    "billing_credit_balance_transactions": (ALL, NEVER, NEVER, ""),
    "billing_feedback_options": (NONE, NONE, NONE, "everything"),
    "billing_meter_event_summaries": (NONE, NONE, NONE, "everything; they are sums over usage"),
    "charges": (
        ALL,
        SOME,
        NEVER,
        "all but description, metadata, capture and refund: receipts, fraud reports",
    ),
    "checkout_sessions": (NONE, SOME, NEVER, "open sessions, until they complete or expire"),
    "checkout_sessions_line_items": (SOME, SOME, SOME, "the items of open sessions"),
    "climate_orders": (ALL, SOME, NEVER, "beneficiary and metadata"),
    "climate_products": (ALL, SOME, NONE, "all but prices, and withdrawn products"),
    "climate_suppliers": (NONE, NONE, NONE, "everything"),
    # Stripe's own hand.
    "country_specs": (NONE, NONE, NONE, "everything"),
    "coupons": (ALL, SOME, ALL, "times_redeemed and valid"),
    # An issued credit note is edited in its memo and metadata, never in its lines.
    "credit_note_line_items": (ALL, NEVER, NEVER, ""),
    # New ones move the customer's balance, and customer.updated says so; unless they cancel each other out.
    "customer_balance_transactions": (SOME, NONE, NEVER, "description and metadata"),
    "customer_cash_balance_transactions": (ALL, NEVER, NEVER, ""),
    # `.updated` is for the update route, `.automatically_updated` for the card networks.
    "customer_payment_methods": (ALL, SOME, ALL, "checks, and the state of bank accounts"),
    # Finalizing an invoice counts `next_invoice_sequence` up; `tax` follows tax settings and payment methods.
    "customers": (ALL, SOME, ALL, "next_invoice_sequence, tax and the settings of the cash balance"),
    # The summary's event names the customer; its entitlements are then listed.
    "entitlements_active_entitlements": (ALL, NEVER, ALL, ""),
    "entitlements_features": (NONE, NONE, NEVER, "everything"),
    # Stripe forgets them after 30 days; that deletes no row.
    "events": (ALL, NEVER, NEVER, ""),
    "exchange_rates": (NONE, NONE, NONE, "everything"),
    "file_links": (NONE, NONE, NEVER, "everything"),
    # "Occurs whenever a new Stripe-generated file is available"; files expire.
    "files": (SOME, NEVER, NONE, "uploads, and files that expire"),
    "financial_connections_account_owners": (SOME, SOME, SOME, "what no refresh event tells"),
    "financial_connections_accounts": (ALL, SOME, NEVER, "subscriptions to refreshes, and permissions"),
    "financial_connections_transactions": (SOME, SOME, NEVER, "what no refresh event tells"),
    "forwarding_requests": (NONE, NEVER, NEVER, "everything"),
    # A session's events name its last report.
    "identity_verification_reports": (SOME, SOME, NEVER, "all but a session's last report"),
    "identity_verification_sessions": (ALL, SOME, NEVER, "metadata and other edits without a new status"),
    # `invoiceitem.updated` was withdrawn. An invoice takes pending items up without an event of the item.
    "invoice_items": (ALL, NONE, ALL, "every edit, and being put on an invoice"),
    # Lines come with every event of their invoice, which has one when its amount changes.
    "invoice_line_items": (ALL, SOME, ALL, "edits that do not change the invoice's amount"),
    "invoice_payments": (NONE, SOME, NEVER, "payments that are open or canceled"),
    "invoice_rendering_templates": (NONE, NONE, NONE, "everything"),
    "issuing_personalization_designs": (NONE, ALL, NEVER, "new designs"),
    "issuing_physical_bundles": (NONE, NONE, NONE, "everything"),
    "payment_attempt_records": (NONE, NONE, NEVER, "everything"),
    # No event shows whether there are any.
    "payment_intent_amount_details_line_items": (NONE, NONE, NONE, "everything"),
    # There is no `payment_intent.updated`.
    "payment_intents": (
        ALL,
        SOME,
        NEVER,
        "metadata, description, amount and other edits without a new status",
    ),
    "payment_link_line_items": (ALL, SOME, ALL, "amounts that follow from prices"),
    "payment_method_configurations": (NONE, NONE, NONE, "everything"),
    "payment_method_domains": (NONE, NONE, NEVER, "everything"),
    # One that was never attached has no event; a detached one can still be retrieved.
    "payment_methods": (SOME, SOME, NEVER, "what was never attached; checks, and the state of bank accounts"),
    "payment_records": (NONE, NONE, NEVER, "everything"),
    "product_catalog_trial_offers": (NONE, NONE, NONE, "everything"),
    "product_features": (NONE, NONE, NONE, "everything"),
    "promotion_codes": (ALL, SOME, NONE, "times_redeemed, expiry and deletion"),
    "quote_computed_upfront_line_items": (SOME, SOME, SOME, "edits of drafts"),
    "quote_line_items": (SOME, SOME, SOME, "edits of drafts"),
    "quotes": (ALL, SOME, NEVER, "edits of drafts, and metadata"),
    "radar_value_list_items": (NONE, NEVER, NONE, "everything"),
    "radar_value_lists": (NONE, NONE, NONE, "everything"),
    # Both ends of a run have an event, its beginning has none.
    "reporting_report_runs": (SOME, ALL, NEVER, "runs that have not ended"),
    # "Typically to indicate that a new day's data has come available".
    "reporting_report_types": (NONE, SOME, NONE, "new and withdrawn types"),
    "reviews": (ALL, SOME, NEVER, "all but its end"),
    # Attempts move from requires_action to their end; the intent's events name the latest.
    "setup_attempts": (SOME, SOME, NEVER, "earlier attempts of an intent"),
    "setup_intents": (ALL, SOME, NEVER, "metadata, description and other edits without a new status"),
    "shipping_rates": (NONE, NONE, NEVER, "everything"),
    # "Occurs whenever a Sigma scheduled query run finishes": it is over then.
    "sigma_scheduled_query_runs": (ALL, NEVER, NEVER, ""),
    # Items come with every event of their subscription.
    "subscription_items": (ALL, SOME, ALL, "metadata"),
    "subscription_schedules": (ALL, SOME, NEVER, "the beginning of a phase"),
    "tax_codes": (NONE, NONE, NONE, "everything"),
    # customer.tax_id.* is for customers' only.
    "tax_ids": (NONE, NONE, NONE, "everything"),
    "tax_locations": (NONE, NONE, NONE, "everything"),
    "tax_registrations": (NONE, NONE, NEVER, "everything"),
    "terminal_configurations": (NONE, NONE, NONE, "everything"),
    "terminal_locations": (NONE, NONE, NONE, "everything"),
    "terminal_readers": (NONE, SOME, NONE, "all but actions"),
    # A clock's only changes are its advances.
    "test_helpers_test_clocks": (ALL, ALL, ALL, ""),
    "three_d_secure_authentications": (NONE, SOME, NEVER, "new ones, and edits without a new status"),
    "topups": (ALL, SOME, NEVER, "description and metadata"),
    # `transfer.reversed` carries the transfer, and in it the reversals.
    "transfer_reversals": (ALL, NONE, NEVER, "metadata"),
    "treasury_credit_reversals": (ALL, SOME, NEVER, "cancellation"),
    "treasury_debit_reversals": (ALL, SOME, NEVER, "failure"),
    "treasury_financial_accounts": (ALL, SOME, NEVER, "balances and metadata"),
    "treasury_inbound_transfers": (ALL, SOME, NEVER, "returns"),
    "treasury_outbound_payments": (ALL, SOME, NEVER, "what is neither a new status, date nor tracking"),
    "treasury_outbound_transfers": (ALL, SOME, NEVER, "what is neither a new status, date nor tracking"),
    "treasury_received_credits": (ALL, SOME, NEVER, "reversals"),
    "treasury_received_debits": (ALL, NONE, NEVER, "reversals"),
    # What moves the money has events, and names the transaction.
    "treasury_transaction_entries": (NONE, NEVER, NEVER, "everything"),
    "treasury_transactions": (SOME, SOME, NEVER, "transactions that no flow names"),
    # v2: thin events, which /v1/events does not list.
    "v2_commerce_product_catalog_imports": (NONE, NONE, NONE, "everything"),
    "v2_core_account_persons": (NONE, NONE, NONE, "everything"),
    "v2_core_accounts": (NONE, NONE, NONE, "everything"),
    "v2_core_event_destinations": (NONE, NONE, NONE, "everything"),
    # Kept for 30 days like those of v1.
    "v2_core_events": (NONE, NEVER, NEVER, "everything"),
    "v2_core_vault_gb_bank_accounts": (NONE, NONE, NONE, "everything"),
    "v2_core_vault_us_bank_accounts": (NONE, NONE, NONE, "everything"),
    "v2_money_management_adjustments": (NONE, NEVER, NEVER, "everything"),
    "v2_money_management_financial_accounts": (NONE, NONE, NEVER, "everything"),
    "v2_money_management_financial_addresses": (NONE, NONE, NONE, "everything"),
    "v2_money_management_inbound_transfers": (NONE, NONE, NEVER, "everything"),
    "v2_money_management_outbound_payments": (NONE, NONE, NEVER, "everything"),
    "v2_money_management_outbound_setup_intents": (NONE, NONE, NEVER, "everything"),
    "v2_money_management_payout_intents": (NONE, NONE, NEVER, "everything"),
    "v2_money_management_payout_methods": (NONE, NONE, NONE, "everything"),
    "v2_money_management_received_credits": (NONE, NONE, NEVER, "everything"),
    "v2_money_management_transaction_entries": (NONE, NEVER, NEVER, "everything"),
    "v2_money_management_transactions": (NONE, NONE, NEVER, "everything"),
    "webhook_endpoints": (NONE, NONE, NONE, "everything"),
}

# Lists of which events tell less than of their stream otherwise: external accounts have the events of the
# connected account that they belong to, customers' cards and bank accounts those of the account itself.
TOLD_OF_LISTS: dict[str, tuple[str, str, str, str]] = {
    "/v1/accounts/{account}/external_accounts": (
        SOME, SOME, SOME, "what events of the connected account itself tell",
    ),
}  # fmt: skip

# A field that moves to its last value without an event, and the values that are not the last. "The transaction's
# net funds status in the Stripe balance, which are either `available` or `pending`"; there is no family
# `balance_transaction.*`, and `balance.available` names no transaction.
SETTLES: dict[str, tuple[str, tuple[str, ...]]] = {"balance_transactions": ("status", ("pending",))}

# Fields that come only by expansion, and what changes them: any of these fields of the row, of which an event says
# that they changed. Only where Stripe's semantics bind the two together. Everything else that is expanded is
# edited by itself (a coupon's `currency_options`, a plan's `tiers`, a financial account's `features`), and whether
# `previous_attributes` names a field that the payload lacks is not documented: those rows are read again.
CARRIED: dict[str, dict[str, tuple[str, ...]]] = {
    "customers": {
        # Money that the customer sent; has events of its own, see STRAYS and the cash balance transactions.
        "cash_balance": ("cash_balance",),
        # The `balance`, in each currency.
        "invoice_credit_balance": ("balance", "currency", "invoice_credit_balance"),
        # `tax.location.source`: billing_address, ip_address, payment_method or shipping_destination.
        "tax": ("address", "default_source", "invoice_settings", "shipping", "tax"),
    },
}

# Lists that cost a request per parent or stand there only when expanded: which fields of the parent, changed,
# mean that the list changed. None: any event of the parent may mean it. Nothing: no event does.
TOUCHED_BY: dict[str, tuple[str, ...] | None] = {
    # `capability.updated` is for what is there; requesting one changes the account.
    "/v1/accounts/{account}/capabilities": ("capabilities",),
    "/v1/accounts/{account}/persons": (),  # person.created, .updated, .deleted
    "/v1/billing/meters/{id}/event_summaries": (),  # usage has no events
    # The items are absent from every payload, and nothing in it says whether they changed.
    "/v1/checkout/sessions/{session}/line_items": None,
    # `invoice_credit_balance` is the same in further currencies.
    "/v1/customers/{customer}/balance_transactions": ("balance", "invoice_credit_balance"),
    "/v1/customers/{customer}/cash_balance_transactions": (),  # customer_cash_balance_transaction.created
    "/v1/customers/{customer}/payment_methods": (),  # payment_method.attached, .updated, .detached
    "/v1/customers/{customer}/sources": (),  # customer.source.created, .updated, .deleted
    "/v1/customers/{customer}/tax_ids": (),  # customer.tax_id.created, .updated, .deleted
    "/v1/entitlements/active_entitlements": (),  # entitlements.active_entitlement_summary.updated
    # Owners are those of one `ownership`, and a refresh makes another.
    "/v1/financial_connections/accounts/{account}/owners": ("ownership",),
    "/v1/financial_connections/transactions": None,  # refreshed_transactions carries the account
    "/v1/issuing/tokens": (),  # issuing_token.created, .updated
    "/v1/payment_attempt_records": ("latest_payment_attempt_record",),
    # Few payments have such items, and no event shows which: each would cost a request. They come when payment
    # intents are listed again.
    "/v1/payment_intents/{intent}/amount_details_line_items": (),
    "/v1/payment_links/{payment_link}/line_items": None,
    "/v1/products/{product}/features": None,
    "/v1/quotes/{quote}/computed_upfront_line_items": None,
    "/v1/quotes/{quote}/line_items": None,
    # An attempt makes itself the intent's latest; most events of an intent do not say what changed.
    "/v1/setup_attempts": ("latest_attempt",),
    "/v1/sources/{source}/source_transactions": (),  # source.transaction.created, .updated
    # Events of the financial account tell its features and its end; money that moves has its own, see RELATIVES.
    "/v1/treasury/credit_reversals": (),
    "/v1/treasury/debit_reversals": (),
    "/v1/treasury/inbound_transfers": (),
    "/v1/treasury/outbound_payments": (),
    "/v1/treasury/outbound_transfers": (),
    "/v1/treasury/received_credits": (),
    "/v1/treasury/received_debits": (),
    "/v1/treasury/transaction_entries": (),
    "/v1/treasury/transactions": (),
    "/v2/core/accounts/{account_id}/persons": (),  # v2 accounts have no events here
}

# Rows that take others with them when they are deleted: the field by which those name them. A test clock takes its
# customers and what belongs to them (docs.stripe.com/billing/testing/test-clocks).
DEPENDENTS: dict[str, str] = {"test_helpers_test_clocks": "test_clock"}


def judge(streams: Mapping[str, catalog.Stream]) -> dict[str, catalog.Stream]:
    """The streams with what is told of them.

    Raises LookupError for a stream or a list that nobody has judged, and for a judgement that judges nothing.
    """
    _check(streams)
    return {
        name: msgspec.structs.replace(
            stream,
            told=_told(stream),
            settles=_settles(name),
            carried=CARRIED.get(name, {}),
            dependents=_dependents(stream, streams.values()),
            origins=tuple(_origin(origin) for origin in stream.origins),
        )
        for name, stream in streams.items()
    }


def _told(stream: catalog.Stream) -> catalog.Told:
    """The judgement, else what the event types say: an `.updated` is for every change, others for one each."""
    if stream.name in TOLD:
        return _judgement(TOLD[stream.name])
    events = stream.events
    whole = any(kind.endswith(".updated") for kind in events.updated)
    # What the delete route of a subscription does is a cancellation.
    stays = stream.delete is None or bool(facts.STILL_THERE & set(events.updated))
    return catalog.Told(
        created="all" if events.created else "none",
        updated="all" if whole else "some" if events.updated else "none",
        deleted="all" if events.deleted else "never" if stays else "none",
    )


def _judgement(words: tuple[str, str, str, str]) -> catalog.Told:
    created, updated, deleted, silent = words
    return msgspec.convert(
        {"created": created, "updated": updated, "deleted": deleted, "silent": silent}, catalog.Told
    )


def _settles(name: str) -> catalog.Settling | None:
    return catalog.Settling(*SETTLES[name]) if name in SETTLES else None


def _dependents(stream: catalog.Stream, others: Iterable[catalog.Stream]) -> dict[str, str]:
    column = DEPENDENTS.get(stream.name)
    return {
        other.name: field.name
        for other in others
        for field in other.fields
        if field.name == column and field.expands == (stream.object,)
    }


def _is_apart(origin: catalog.Origin) -> bool:
    """Do a parent's payloads lack this list?"""
    return origin.route in ("expanded", "per parent")


def _origin(origin: catalog.Origin) -> catalog.Origin:
    words = TOLD_OF_LISTS.get(origin.path)
    return msgspec.structs.replace(
        origin,
        touched_by=TOUCHED_BY[origin.path] if _is_apart(origin) else None,
        told=_judgement(words) if words else None,
    )


def _check(streams: Mapping[str, catalog.Stream]) -> None:
    silent = {name for name, stream in streams.items() if stream.events == catalog.Events()}
    if unjudged := sorted(silent - set(TOLD)):
        raise LookupError(f"no events tell of {unjudged}: judge them in silence.TOLD")
    origins = [origin for stream in streams.values() for origin in stream.origins]
    apart = {origin.path for origin in origins if _is_apart(origin)}
    if unjudged := sorted(apart - set(TOUCHED_BY)):
        raise LookupError(f"say which events touch {unjudged} in silence.TOUCHED_BY")
    unknown = {*TOLD, *SETTLES, *CARRIED, *DEPENDENTS} - set(streams)
    unknown |= set(TOUCHED_BY) - apart
    unknown |= set(TOLD_OF_LISTS) - {origin.path for origin in origins}
    unknown |= set(_unknown_fields(streams, origins))
    if unknown:
        raise LookupError(f"silence.py names what the package does not have: {sorted(unknown)}")


def _unknown_fields(
    streams: Mapping[str, catalog.Stream], origins: Iterable[catalog.Origin]
) -> Iterator[str]:
    named = [(name, field) for name, (field, _) in SETTLES.items() if name in streams]
    for name, table in CARRIED.items():
        for field, causes in table.items():
            named += [(name, cause) for cause in causes if name in streams]
            if name in streams and field not in streams[name].expand:
                yield f"{name}.{field}"
    for origin in origins:
        fields = TOUCHED_BY.get(origin.path) or () if origin.parents else ()
        named += [(origin.parents[0].stream, field) for field in fields]
    for name, field in named:
        if field not in {each.name for each in streams[name].fields}:
            yield f"{name}.{field}"
