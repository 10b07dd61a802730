"""Reading events by the catalog: whose object it is, what happened to it, and which ids a path leads to."""

from __future__ import annotations

import pytest

from tidegate import catalog

CATALOG = catalog.load()


@pytest.mark.parametrize(
    ("type", "object", "expected"),
    [
        ("customer.created", "customer", [("customers", "created")]),
        ("customer.updated", "customer", [("customers", "updated")]),
        ("customer.deleted", "customer", [("customers", "deleted")]),
        ("charge.succeeded", "charge", [("charges", "created")]),
        ("charge.refunded", "charge", [("charges", "updated")]),
        # Not what their names say.
        ("charge.refund.updated", "refund", [("refunds", "updated")]),
        ("charge.dispute.closed", "dispute", [("disputes", "updated")]),
        ("customer.subscription.deleted", "subscription", [("subscriptions", "updated")]),
        ("invoice_payment.paid", "invoice_payment", [("invoice_payments", "updated")]),
        ("person.deleted", "person", [("account_persons", "deleted")]),
        ("capability.updated", "capability", [("account_capabilities", "updated")]),
        ("application_fee.refund.updated", "fee_refund", [("application_fee_refunds", "updated")]),
        ("source.transaction.created", "source_transaction", [("source_transactions", "created")]),
        # One type, several objects.
        ("customer.source.created", "card", [("cards", "created")]),
        ("customer.source.updated", "bank_account", [("bank_accounts", "updated")]),
        ("customer.source.deleted", "source", [("sources", "deleted")]),
        ("customer.source.created", "account", [("sources", "created")]),
        ("account.external_account.updated", "bank_account", [("bank_accounts", "updated")]),
        ("account.external_account.deleted", "card", [("cards", "deleted")]),
        ("source.chargeable", "source", [("sources", "updated")]),
        # One object, several streams.
        (
            "payment_method.attached",
            "payment_method",
            [("customer_payment_methods", "created"), ("payment_methods", "updated")],
        ),
        (
            "payment_method.detached",
            "payment_method",
            [("customer_payment_methods", "deleted"), ("payment_methods", "updated")],
        ),
        ("customer.tax_id.deleted", "tax_id", [("customer_tax_ids", "deleted")]),
    ],
)
def test_whose_object_an_event_carries(type: str, object: str, expected: list[tuple[str, str]]) -> None:
    assert list(catalog.announced(type, object)) == expected


@pytest.mark.parametrize(
    ("type", "object"),
    [
        ("invoice.upcoming", "invoice"),  # a preview without an id
        ("balance.available", "balance"),
        ("customer.discount.created", "discount"),
        ("billing.alert.triggered", "billing.alert_triggered"),
        ("entitlements.active_entitlement_summary.updated", "entitlements.active_entitlement_summary"),
    ],
)
def test_events_whose_object_is_no_row(type: str, object: str) -> None:
    assert type in CATALOG.strays
    assert catalog.announced(type, object) == ()


@pytest.mark.parametrize(
    ("type", "object", "names"),
    [
        ("invoiceitem.updated", "invoiceitem", ["invoice_items"]),  # withdrawn, and may come back
        ("payment_intent.expired", "payment_intent", ["payment_intents"]),
        ("payment_method.blessed", "payment_method", ["customer_payment_methods", "payment_methods"]),
        ("tax_id.verified", "tax_id", ["customer_tax_ids", "tax_ids"]),
        ("account.closed", "account", ["accounts"]),
    ],
)
def test_an_unknown_type_says_that_its_object_changed(type: str, object: str, names: list[str]) -> None:
    assert type not in CATALOG.event_types
    assert list(catalog.announced(type, object)) == [(name, "updated") for name in names]


def test_an_unknown_deletion_is_not_believed_but_read_again() -> None:
    assert catalog.announced("charge.deleted", "charge") == (("charges", "updated"),)


def test_an_object_that_a_known_type_never_carried_is_read_again() -> None:
    assert catalog.announced("charge.refund.updated", "charge") == (("charges", "updated"),)


def test_what_cannot_be_had_by_id_or_is_of_v2_is_not_guessed() -> None:
    assert catalog.announced("line_item.created", "line_item") == ()
    assert catalog.announced("v2.core.account.changed", "v2.core.account") == ()
    assert catalog.announced("widget.created", "widget") == ()
    assert catalog.announced("widget.created", "") == ()


def test_every_known_type_speaks_of_the_streams_that_list_it() -> None:
    for stream in CATALOG.streams.values():
        for change in ("created", "updated", "deleted"):
            for type in getattr(stream.events, change):
                assert (stream.name, change) in catalog.announced(type, stream.object), type


@pytest.mark.parametrize(
    ("row", "path", "ids"),
    [
        ({"charge": "ch_1"}, "charge", ("ch_1",)),
        ({"charge": {"id": "ch_1", "object": "charge"}}, "charge", ("ch_1",)),
        ({"charge": None}, "charge", ()),
        ({}, "charge", ()),
        ({"payment": {"charge": "ch_1", "type": "charge"}}, "payment.charge", ("ch_1",)),
        ({"payment": "pay_1"}, "payment.charge", ()),
        ({"parent": {"subscription_details": None}}, "parent.subscription_details.subscription", ()),
        # A dispute's balance transactions stand in it as objects.
        (
            {"balance_transactions": [{"id": "txn_1"}, {"id": "txn_2"}]},
            "balance_transactions",
            ("txn_1", "txn_2"),
        ),
        ({"balance_transactions": ["txn_1", "txn_1"]}, "balance_transactions", ("txn_1",)),
        ({"balance_transactions": []}, "balance_transactions", ()),
        ({"refunds": [{"refund": "re_1"}, {"refund": {"id": "re_2"}}]}, "refunds.refund", ("re_1", "re_2")),
        # Neither ids nor objects with one.
        ({"charge": ""}, "charge", ()),
        ({"charge": 7}, "charge", ()),
        ({"charge": {"id": 7}}, "charge", ()),
        ({"charge": {"object": "charge"}}, "charge", ()),
        (None, "charge", ()),
    ],
)
def test_references(row: object, path: str, ids: tuple[str, ...]) -> None:
    assert catalog.references(row, path) == ids
