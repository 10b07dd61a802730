"""The few facts about Stripe that its package does not hold; everything else is derived in `build.py`.

Each table says what it is for and where it is from. A fact that no longer names anything in the package
makes the build fail, so that none outlives its reason.
"""

from __future__ import annotations

# Lists that are no streams, with the reason.
COMPUTED: dict[str, str] = {
    "/v1/credit_notes/preview/lines": "a calculation over the request's parameters; Stripe stores nothing",
    "/v1/tax/calculations/{calculation}/line_items": (
        "tax calculations cannot be listed, and those that a payment intent names expire"
    ),
    "/v1/tax/transactions/{transaction}/line_items": (
        "tax transactions cannot be listed and no listed object names them; Stripe offers them as a report"
    ),
}

# Names that the rule (words of the path, a child's parent in singular) would make otherwise. Frozen.
NAMES: dict[str, str] = {
    "/v1/invoiceitems": "invoice_items",
    "/v1/checkout/sessions/{session}/line_items": "checkout_sessions_line_items",
    "/v1/invoices/{invoice}/lines": "invoice_line_items",
    "/v1/credit_notes/{credit_note}/lines": "credit_note_line_items",
    "/v1/sources/{source}/source_transactions": "source_transactions",
}

# Lists of mixed objects: which `object` belongs to which stream. A stream's first list is its main one.
MIXED: dict[str, dict[str, str]] = {
    "/v1/customers/{customer}/sources": {
        "bank_account": "bank_accounts",
        "card": "cards",
        "source": "sources",
        "account": "sources",
    },
    "/v1/accounts/{account}/external_accounts": {"bank_account": "bank_accounts", "card": "cards"},
}

# Streams that come from a list of which the package gives only the elements' parent by other means:
# a source has no list of its own, but every customer's sources are had.
PARENTS: dict[str, str] = {"/v1/sources/{source}/source_transactions": "sources"}

# Parameters that are not an id: the parent's field that is sent, as (param, field).
PARENT_FIELDS: dict[str, dict[str, str]] = {
    "/v1/financial_connections/accounts/{account}/owners": {"ownership": "ownership"},
}

# A parent's field that is null when the parent cannot have any such child: one request saved per parent.
CHILDLESS: dict[str, str] = {
    "/v1/setup_attempts": "latest_attempt",
    "/v1/payment_attempt_records": "latest_payment_attempt_record",
    "/v1/financial_connections/accounts/{account}/owners": "ownership",
}

# Parameters that are always sent, because the list's default hides some rows or one is required.
# A list with several entries is read once with each.
PARAMS: dict[str, tuple[dict[str, str], ...]] = {
    # "If no value is supplied, all subscriptions that have not been canceled are returned."
    "/v1/subscriptions": ({"status": "all"},),
    # The value `all` exists beside active, expired and scheduled; the default is not documented.
    "/v1/tax/registrations": ({"status": "all"},),
    # "If omitted, returns only Accounts that are not closed."
    "/v2/core/accounts": ({}, {"closed": "true"}),
    # "If omitted, closed FinancialAccounts are not returned."
    "/v2/money_management/financial_accounts": (
        {"statuses[0]": "closed", "statuses[1]": "open", "statuses[2]": "pending"},
    ),
    # Required; secrets scoped to one user cannot be listed without naming each user.
    "/v1/apps/secrets": ({"scope[type]": "account"},),
    # Required, with one possible value.
    "/v1/tax/locations": ({"type": "performance"},),
    "/v1/billing/meters/{id}/event_summaries": ({"value_grouping_window": "day"},),
}

# Required parameters that bound a span of time, which only the caller can choose.
WINDOWS: dict[str, tuple[str, str]] = {
    "/v1/billing/meters/{id}/event_summaries": ("start_time", "end_time"),
}

# Streams that `*` leaves out.
NOT_DEFAULT: dict[str, str] = {
    "billing_meter_event_summaries": "costs one request per meter and customer, most of them for nothing",
    "source_transactions": "costs one request per customer source, and sources have been superseded",
}

# What identifies a row where Stripe's ids repeat: a capability's id is its name (`card_payments`), the same
# in every account. Every listed object has an `id`.
KEYS: dict[str, tuple[str, ...]] = {
    "account_capabilities": ("_parent_id", "id"),
}

# The field that holds a row's creation time, where it is not `created`. A trial offer's row tells none.
CREATED: dict[str, str] = {"invoice_items": "date"}

# Lists that may be null although they are in the plain answer ("only returned for requests where
# controller[is_controller] is true"). Every other nullable list is absent unless expanded.
EMBEDDED: frozenset[str] = frozenset({"account.external_accounts"})

# Lists that are absent and may not be expanded in a list ("This cannot be expanded in any list endpoints").
UNEXPANDABLE: frozenset[str] = frozenset({"treasury.transaction.entries"})

# Fields that are absent unless expanded, and worth having ("Expandable" in the API reference). Left out: secrets
# and identity data (an issued card's number and cvc, a verification's outputs, account numbers), what needs a
# permission of its own (an issuing token's `network_data`), references, and nested lists.
EXPAND: dict[str, tuple[str, ...]] = {
    "coupons": ("applies_to", "currency_options"),
    "customers": ("cash_balance", "invoice_credit_balance", "tax"),
    "issuing_transactions": ("purchase_details",),
    "plans": ("tiers",),
    "prices": ("currency_options", "tiers"),
    "shipping_rates": ("fixed_amount.currency_options",),
    "treasury_financial_accounts": ("features",),
}

# Integers that are unix seconds although neither name nor doc says so.
TIMES: frozenset[str] = frozenset({"coupon.redeem_by", "invoice.next_payment_attempt"})

# Event types whose payload is another object than the package's hints and the type's own words tell.
EVENT_OBJECTS: dict[str, tuple[str, ...]] = {
    "account.external_account.created": ("bank_account", "card"),
    "account.external_account.deleted": ("bank_account", "card"),
    "account.external_account.updated": ("bank_account", "card"),
    "customer.source.created": ("bank_account", "card", "source"),
    "customer.source.deleted": ("bank_account", "card", "source"),
    "customer.source.expiring": ("bank_account", "card", "source"),
    "customer.source.updated": ("bank_account", "card", "source"),
    "source.transaction.created": ("source_transaction",),
    "source.transaction.updated": ("source_transaction",),
    # A preview without an id.
    "invoice.upcoming": (),
    # The payload is a `billing.alert_triggered`.
    "billing.alert.triggered": (),
    "source.mandate_notification": (),
}

# Objects that several streams hold: which of them an event means. Line items have no events at all.
EVENT_STREAMS: dict[str, tuple[str, ...]] = {
    "tax_id": ("customer_tax_ids",),
    "payment_method": ("customer_payment_methods", "payment_methods"),
}

# The first word of an object where none ends in `.created`.
FIRST_EVENTS: dict[str, tuple[str, ...]] = {
    "charges": ("charge.failed", "charge.pending", "charge.succeeded"),
    "customer_payment_methods": ("payment_method.attached",),
    "reviews": ("review.opened",),
}

# `.deleted` where the object stays, and the end of an object in a list under another word.
STILL_THERE: frozenset[str] = frozenset({"customer.subscription.deleted"})
LAST_EVENTS: dict[str, tuple[str, ...]] = {"customer_payment_methods": ("payment_method.detached",)}

# Events whose object has no stream: field of that object -> streams whose rows it touches. What a discount is made
# of moved: `coupon` is an object inside it in API versions before 2025-09-30.clover, `source.coupon` an id since.
DISCOUNT: dict[str, tuple[str, ...]] = {
    "coupon": ("coupons",),
    "customer": ("customers",),
    "promotion_code": ("promotion_codes",),
    "source.coupon": ("coupons",),
    "subscription": ("subscriptions",),
}
STRAYS: dict[str, dict[str, tuple[str, ...]]] = {
    # `balance.available` says that money settled, not which: see silence.SETTLES.
    "billing.alert.triggered": {"alert": ("billing_alerts",)},
    "cash_balance.funds_available": {"customer": ("customers",)},
    # `times_redeemed` of coupon and code, and `discounts` of whom it is for.
    "customer.discount.created": DISCOUNT,
    "customer.discount.deleted": DISCOUNT,
    "customer.discount.updated": DISCOUNT,
    "entitlements.active_entitlement_summary.updated": {"customer": ("entitlements_active_entitlements",)},
}

# References whose target changes together with the object while no event of the target says so ("Events that
# occur on subresources like customer.subscription.updated don't trigger a corresponding event for the parent
# resource"); a target that gets its own event (a paid invoice's customer, a reversed transfer) is left out, for
# each one costs a read. A path is one of the stream's fields, or lies inside one.
RELATIVES: dict[str, dict[str, tuple[str, ...]]] = {
    "application_fee_refunds": {
        "balance_transaction": ("balance_transactions",),
        "fee": ("application_fees",),
    },
    "application_fees": {"balance_transaction": ("balance_transactions",)},
    "charges": {
        "balance_transaction": ("balance_transactions",),
        "failure_balance_transaction": ("balance_transactions",),
    },
    # The link's `restrictions.completed_sessions.count`.
    "checkout_sessions": {"payment_link": ("payment_links",)},
    # The invoice's `*_credit_notes_amount`.
    "credit_notes": {
        "customer_balance_transaction": ("customer_balance_transactions",),
        "invoice": ("invoices",),
    },
    # The customer's `cash_balance`.
    "customer_cash_balance_transactions": {"customer": ("customers",)},
    # `disputed`, and the amounts withdrawn, which stand there as objects.
    "disputes": {
        "balance_transactions": ("balance_transactions",),
        "charge": ("charges",),
        "payment_intent": ("payment_intents",),
    },
    # Reports are made, and redacted, without an event.
    "identity_verification_sessions": {"last_verification_report": ("identity_verification_reports",)},
    "invoice_items": {"invoice": ("invoices",)},
    "invoice_payments": {
        "invoice": ("invoices",),
        "payment.charge": ("charges",),
        "payment.payment_intent": ("payment_intents",),
    },
    # A payment may end `past_due`.
    "invoices": {"parent.subscription_details.subscription": ("subscriptions",)},
    "issuing_authorizations": {"balance_transactions": ("balance_transactions",)},
    "issuing_disputes": {
        "balance_transactions": ("balance_transactions",),
        "transaction": ("issuing_transactions",),
    },
    "issuing_transactions": {"balance_transaction": ("balance_transactions",)},
    # A payout that reverses another is the other's `reversed_by`.
    "payouts": {
        "balance_transaction": ("balance_transactions",),
        "failure_balance_transaction": ("balance_transactions",),
        "original_payout": ("payouts",),
    },
    # `times_redeemed` counts with it.
    "promotion_codes": {"promotion.coupon": ("coupons",)},
    "radar_early_fraud_warnings": {"charge": ("charges",)},
    # `amount_refunded` and `refunded`; the money on both sides. A transfer that is reversed with it has an event.
    "refunds": {
        "balance_transaction": ("balance_transactions",),
        "charge": ("charges",),
        "failure_balance_transaction": ("balance_transactions",),
        "payment_intent": ("payment_intents",),
    },
    # `review` and `outcome`.
    "reviews": {"charge": ("charges",), "payment_intent": ("payment_intents",)},
    "subscription_items": {"subscription": ("subscriptions",)},
    # The subscription's `schedule`, which a release clears.
    "subscription_schedules": {
        "released_subscription": ("subscriptions",),
        "subscription": ("subscriptions",),
    },
    "topups": {"balance_transaction": ("balance_transactions",)},
    "transfer_reversals": {"balance_transaction": ("balance_transactions",), "transfer": ("transfers",)},
    # A transfer out of a charge gives the charge its `transfer_group`.
    "transfers": {"balance_transaction": ("balance_transactions",), "source_transaction": ("charges",)},
    # Treasury's transactions have no events; each flow of money names its own.
    "treasury_credit_reversals": {"transaction": ("treasury_transactions",)},
    "treasury_debit_reversals": {"transaction": ("treasury_transactions",)},
    "treasury_inbound_transfers": {"transaction": ("treasury_transactions",)},
    "treasury_outbound_payments": {"transaction": ("treasury_transactions",)},
    "treasury_outbound_transfers": {"transaction": ("treasury_transactions",)},
    "treasury_received_credits": {"transaction": ("treasury_transactions",)},
    "treasury_received_debits": {"transaction": ("treasury_transactions",)},
}

# The same in payloads of older API versions, at paths that the package no longer has.
FORMER_RELATIVES: dict[str, dict[str, tuple[str, ...]]] = {
    "invoices": {"subscription": ("subscriptions",)},  # until 2025-03-31.basil
    "promotion_codes": {"coupon": ("coupons",)},  # until 2025-09-30.clover
}

# Permissions of restricted keys that are not `rak_<object>_read`, by stream or else by the first words of its
# name. From Stripe's "Permissions reference" (docs.stripe.com/stripe-apps/reference/permissions), where one
# switch often grants several objects: "Plan grants access to Plans, Prices", refunds come with charges.
PERMISSIONS: dict[str, str] = {
    "account_capabilities": "rak_connected_account_read",
    "account_persons": "rak_connected_account_read",
    "accounts": "rak_connected_account_read",
    "application_fee_refunds": "rak_application_fee_read",
    "apps_secrets": "rak_secret_read",
    # The dashboard's row for balance transactions; it implies `rak_balance_read`.
    "balance_transactions": "rak_balance_transaction_source_read",
    "bank_accounts": "rak_source_read",
    "billing_meter_event_summaries": "rak_billing_meter_event_read",
    "billing_portal": "rak_customer_portal_read",
    "cards": "rak_source_read",
    "checkout_sessions_line_items": "rak_checkout_session_read",
    "credit_note_line_items": "rak_credit_note_read",
    "customer_balance_transactions": "rak_customer_read",
    "customer_cash_balance_transactions": "rak_customer_read",
    "customer_tax_ids": "rak_customer_read",
    "entitlements": "rak_entitlement_read",
    "file_links": "rak_file_read",
    "financial_connections_account_owners": "rak_financial_connections_account_read",
    "identity": "rak_identity_product_read",
    "invoice_items": "rak_invoice_read",
    "invoice_line_items": "rak_invoice_read",
    "invoice_payments": "rak_invoice_read",
    "invoice_rendering_templates": "rak_invoice_read",
    "issuing_personalization_designs": "rak_issuing_card_read",
    "issuing_physical_bundles": "rak_issuing_card_read",
    "payment_attempt_records": "rak_payment_records_read",
    "payment_intent_amount_details_line_items": "rak_payment_intent_read",
    "payment_link_line_items": "rak_payment_links_read",
    "payment_links": "rak_payment_links_read",
    "payment_method_configurations": "rak_payment_method_configurations_read",
    "payment_records": "rak_payment_records_read",
    "prices": "rak_plan_read",
    "product_features": "rak_product_read",
    "quote_computed_upfront_line_items": "rak_quote_read",
    "quote_line_items": "rak_quote_read",
    "radar_early_fraud_warnings": "rak_charge_read",
    "radar_value_list_items": "rak_radar_value_list_read",
    "refunds": "rak_charge_read",
    "reporting": "rak_report_runs_and_report_types_read",
    "setup_attempts": "rak_setup_intent_read",
    "source_transactions": "rak_source_read",
    "subscription_items": "rak_subscription_read",
    "subscription_schedules": "rak_subscription_read",
    "tax_ids": "rak_customer_read",
    "tax_locations": "rak_tax_locations_read",
    "tax_registrations": "rak_tax_settings_read",
    "test_helpers_test_clocks": "rak_billing_clock_read",
    "topups": "rak_top_up_read",
    "transfer_reversals": "rak_transfer_read",
    "treasury_transaction_entries": "rak_treasury_transaction_read",
    "v2_commerce_product_catalog_imports": "rak_product_catalog_import_read",
    "v2_core_account_persons": "rak_v2_core_account_read",
    "v2_core_event_destinations": "rak_webhook_read",
    "v2_core_events": "rak_event_read",
    "v2_money_management_adjustments": "rak_adjustment_read",
    "v2_money_management_financial_accounts": "rak_financial_account_read",
    "v2_money_management_inbound_transfers": "rak_inbound_transfer_read",
    "v2_money_management_outbound_payments": "rak_outbound_payment_read",
    "v2_money_management_payout_intents": "rak_payout_intent_read",
    "v2_money_management_received_credits": "rak_received_credit_read",
    "v2_money_management_transaction_entries": "rak_transaction_read",
    "v2_money_management_transactions": "rak_transaction_read",
    "webhook_endpoints": "rak_webhook_read",
}
