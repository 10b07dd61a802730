"""The committed catalog: what it promises to everything that reads it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from tidegate import catalog

CATALOG = catalog.load()

# Names are a contract: tables, configurations and queries of users carry them. Only add to this list.
NAMES = Path(__file__).with_name("stream_names.txt").read_text().split()

# Names that published configurations and documentation already use.
PUBLISHED = {
    "balance_transactions",
    "bank_accounts",
    "charges",
    "checkout_sessions",
    "checkout_sessions_line_items",
    "coupons",
    "customer_balance_transactions",
    "customers",
    "disputes",
    "events",
    "invoice_items",
    "invoice_line_items",
    "invoices",
    "issuing_cards",
    "payment_intents",
    "payouts",
    "plans",
    "products",
    "promotion_codes",
    "quote_line_items",
    "radar_value_lists",
    "refunds",
    "subscription_items",
    "subscriptions",
    "transfer_reversals",
    "transfers",
    "v2_core_accounts",
}


def stream(name: str) -> catalog.Stream:
    return CATALOG.streams[name]


def field(name: str, column: str) -> catalog.Field:
    return next(each for each in stream(name).fields if each.name == column)


def test_names_are_frozen() -> None:
    assert list(CATALOG.streams) == NAMES
    assert set(NAMES) >= PUBLISHED


def test_every_list_endpoint_is_here_once() -> None:
    paths = [each.path for each in CATALOG.endpoints]
    v1 = [path for path in paths if path.startswith("/v1/")]
    assert len(set(paths)) == len(paths)
    assert len([path for path in v1 if "{" not in path]) == 97
    assert len([path for path in v1 if "{" in path]) == 23
    assert len([path for path in paths if path.startswith("/v2/")]) == 18


def test_every_endpoint_becomes_a_stream_or_says_why_not() -> None:
    for endpoint in CATALOG.endpoints:
        assert bool(endpoint.streams) != bool(endpoint.reason), endpoint.path
        assert (endpoint.kind == "computed") == bool(endpoint.reason), endpoint.path
        for name in endpoint.streams:
            assert endpoint.path in {origin.path for origin in stream(name).origins}
    assert {each.path for each in CATALOG.endpoints if each.kind == "computed"} == {
        "/v1/credit_notes/preview/lines",
        "/v1/tax/calculations/{calculation}/line_items",
        "/v1/tax/transactions/{transaction}/line_items",
    }


def test_every_stream_reads_catalogued_endpoints() -> None:
    kinds = {each.path: each.kind for each in CATALOG.endpoints}
    for each in CATALOG.streams.values():
        assert each.origins
        for origin in each.origins:
            assert kinds[origin.path] == origin.kind, (each.name, origin.path)


def test_every_stream_is_reached_from_a_list_without_parents() -> None:
    def depth(name: str, above: tuple[str, ...] = ()) -> int:
        assert name not in above, f"{name} hangs on itself"
        parents = [parent.stream for origin in stream(name).origins for parent in origin.parents]
        return 1 + max((depth(parent, (*above, name)) for parent in parents), default=0)

    depths = Counter(depth(name) for name in CATALOG.streams)
    assert set(depths) == {1, 2, 3}
    assert [name for name in CATALOG.streams if depth(name) == 3] == ["source_transactions"]


def test_parents_fill_what_the_list_requires() -> None:
    for each in CATALOG.streams.values():
        for origin in each.origins:
            params = {parent.param for parent in origin.parents}
            assert set(re.findall(r"\{(\w+)\}", origin.path)) <= params
            for parent in origin.parents:
                columns = {column.name for column in stream(parent.stream).fields}
                assert {parent.field} | ({parent.where} - {""}) <= columns
            streams = {parent.stream for parent in origin.parents}
            assert (origin.kind == "walk") == (not streams)


@pytest.mark.parametrize(
    ("name", "parents"),
    [
        ("subscription_items", [("subscriptions", "subscription", "id", "")]),
        ("setup_attempts", [("setup_intents", "setup_intent", "id", "latest_attempt")]),
        ("issuing_tokens", [("issuing_cards", "card", "id", "")]),
        ("treasury_transactions", [("treasury_financial_accounts", "financial_account", "id", "")]),
        ("radar_value_list_items", [("radar_value_lists", "value_list", "id", "")]),
        ("entitlements_active_entitlements", [("customers", "customer", "id", "")]),
        ("financial_connections_transactions", [("financial_connections_accounts", "account", "id", "")]),
        (
            "financial_connections_account_owners",
            [
                ("financial_connections_accounts", "account", "id", "ownership"),
                ("financial_connections_accounts", "ownership", "ownership", ""),
            ],
        ),
        (
            "billing_meter_event_summaries",
            [("billing_meters", "id", "id", ""), ("customers", "customer", "id", "")],
        ),
    ],
)
def test_parents_that_are_not_in_the_path(name: str, parents: list[tuple[str, ...]]) -> None:
    (origin,) = stream(name).origins
    assert [(p.stream, p.param, p.field, p.where) for p in origin.parents] == parents


def test_created_filters() -> None:
    top_level = {
        origin.path: origin.created
        for each in CATALOG.streams.values()
        for origin in each.origins
        if origin.path.startswith("/v1/") and "{" not in origin.path
    }
    assert len([path for path, created in top_level.items() if created]) == 51
    assert stream("charges").created_filter
    assert not stream("customer_tax_ids").created_filter
    assert not stream("payment_records").created_filter  # created_after and created_before are another filter
    assert not any(each.created_filter for each in CATALOG.streams.values() if each.api == "v2")


def test_the_field_behind_the_created_filter() -> None:
    for each in CATALOG.streams.values():
        times = {column.name for column in each.fields if column.type == "timestamp"}
        assert not each.created_field or each.created_field in times
    assert stream("invoice_items").created_field == "date"
    filtered = [each for each in CATALOG.streams.values() if each.created_filter]
    assert [each.name for each in filtered if not each.created_field] == ["product_catalog_trial_offers"]


def test_what_a_list_hides_by_default_is_asked_for() -> None:
    assert stream("subscriptions").origins[0].params == {"status": "all"}
    assert stream("tax_registrations").origins[0].params == {"status": "all"}
    assert [origin.params for origin in stream("v2_core_accounts").origins] == [{}, {"closed": "true"}]
    assert set(stream("v2_money_management_financial_accounts").origins[0].params.values()) == {
        "closed",
        "open",
        "pending",
    }


def test_mixed_lists_are_split_by_object() -> None:
    sources, external = "/v1/customers/{customer}/sources", "/v1/accounts/{account}/external_accounts"

    def origins(name: str) -> list[tuple[str, tuple[str, ...]]]:
        return [(origin.path, origin.objects) for origin in stream(name).origins]

    assert origins("bank_accounts") == [(sources, ("bank_account",)), (external, ("bank_account",))]
    assert origins("cards") == [(sources, ("card",)), (external, ("card",))]
    assert origins("sources") == [(sources, ("source", "account"))]
    assert [origin.retrieve for origin in stream("cards").origins] == ["", external + "/{id}"]


def test_lists_that_do_not_page() -> None:
    unpaged = [
        each.name
        for each in CATALOG.streams.values()
        if any(not origin.paged or not origin.max_limit for origin in each.origins)
    ]
    assert unpaged == ["account_capabilities", "reporting_report_types"]


@pytest.mark.parametrize(
    ("name", "route", "nested"),
    [
        ("charges", "list", ""),
        ("refunds", "list", ""),
        ("invoice_line_items", "embedded", "lines"),
        ("subscription_items", "embedded", "items"),
        ("transfer_reversals", "embedded", "reversals"),
        ("application_fee_refunds", "embedded", "refunds"),
        ("credit_note_line_items", "embedded", "lines"),
        ("radar_value_list_items", "embedded", "list_items"),
        ("bank_accounts", "expanded", "sources"),
        ("customer_tax_ids", "expanded", "tax_ids"),
        ("checkout_sessions_line_items", "expanded", "line_items"),
        ("payment_link_line_items", "expanded", "line_items"),
        ("quote_line_items", "expanded", "line_items"),
        ("quote_computed_upfront_line_items", "expanded", "computed.upfront.line_items"),
        ("payment_intent_amount_details_line_items", "expanded", "amount_details.line_items"),
        ("customer_balance_transactions", "per parent", ""),
        ("customer_payment_methods", "per parent", ""),
        ("account_persons", "per parent", ""),
        ("treasury_transaction_entries", "per parent", ""),
    ],
)
def test_routes(name: str, route: str, nested: str) -> None:
    origin = stream(name).origins[0]
    assert (origin.route, origin.nested) == (route, nested)


def test_external_accounts_are_embedded_in_accounts() -> None:
    origin = stream("bank_accounts").origins[1]
    assert (origin.route, origin.nested) == ("embedded", "external_accounts")


def test_routes_agree_with_the_lists_inside_the_parents() -> None:
    for each in CATALOG.streams.values():
        for origin in each.origins:
            assert (origin.route == "list") == (origin.kind == "walk")
            assert bool(origin.nested) == (origin.route in ("embedded", "expanded"))
            if origin.nested:
                (inside,) = [n for n in stream(origin.parents[0].stream).nested if n.path == origin.nested]
                assert inside.embedded == (origin.route == "embedded")
                assert inside.url.split("?")[0] == origin.path
                assert each.name in inside.streams


def test_no_expansion_is_deeper_than_stripe_allows() -> None:
    for each in CATALOG.streams.values():
        for path in (*each.expand, *(inside.path for inside in each.nested if not inside.embedded)):
            assert len(["data", *path.split(".")]) <= 4


def test_nested_lists_name_their_streams_and_the_list_that_continues_them() -> None:
    assert [(n.path, n.url, n.streams, n.embedded) for n in stream("customers").nested] == [
        ("sources", "/v1/customers/{customer}/sources", ("bank_accounts", "cards", "sources"), False),
        ("subscriptions", "/v1/subscriptions?customer={customer}", ("subscriptions",), False),
        ("tax_ids", "/v1/customers/{customer}/tax_ids", ("customer_tax_ids",), False),
    ]
    assert [(n.path, n.url, n.streams) for n in stream("charges").nested] == [
        ("refunds", "/v1/refunds?charge={charge}", ("refunds",))
    ]
    (entries,) = stream("treasury_transactions").nested  # "This cannot be expanded in any list endpoints."
    assert (entries.url, entries.embedded) == ("", False)


def test_every_object_has_an_id_and_says_what_it_is() -> None:
    for each in CATALOG.streams.values():
        columns = {column.name: column for column in each.fields}
        assert len(columns) == len(each.fields)
        assert columns["id"].type == "string"
        assert columns["object"].values == (each.object,)
        assert "deleted" not in columns
        assert not [name for name in columns if name.startswith("_")]


def test_keys() -> None:
    assert {each.name: each.key for each in CATALOG.streams.values() if each.key != ("id",)} == {
        "account_capabilities": ("_parent_id", "id")
    }


@pytest.mark.parametrize(
    ("name", "column", "type", "nullable"),
    [
        ("charges", "amount", "integer", False),
        ("charges", "created", "timestamp", False),
        ("charges", "captured", "boolean", False),
        ("charges", "metadata", "json", False),
        ("charges", "source", "json", True),
        ("charges", "description", "string", True),
        ("prices", "unit_amount_decimal", "decimal", True),
        ("plans", "amount_decimal", "decimal", True),
        ("coupons", "percent_off", "number", True),
        ("coupons", "redeem_by", "timestamp", True),
        ("invoices", "next_payment_attempt", "timestamp", True),
        ("invoices", "lines", "json", False),
        ("payouts", "arrival_date", "timestamp", False),
        ("balance_transactions", "available_on", "timestamp", False),
        ("subscriptions", "billing_cycle_anchor", "timestamp", False),
        ("subscriptions", "days_until_due", "integer", True),
        ("terminal_readers", "last_seen_at", "integer", True),  # milliseconds
        ("cards", "exp_year", "integer", False),
        ("climate_orders", "expected_delivery_year", "integer", False),
        ("v2_core_accounts", "created", "timestamp", False),
        ("v2_money_management_outbound_payments", "expected_arrival_date", "timestamp", True),
    ],
)
def test_types(name: str, column: str, type: catalog.FieldType, nullable: bool) -> None:
    assert (field(name, column).type, field(name, column).nullable) == (type, nullable)


def test_references_name_what_they_may_be() -> None:
    assert field("charges", "customer") == catalog.Field(
        name="customer",
        type="id",
        nullable=True,
        expands=("customer",),
        doc="ID of the customer this charge is for if one exists.",
    )
    expected = ("account", "bank_account", "card", "source")
    assert field("customers", "default_source").expands == expected
    assert field("customers", "sources").expands == expected
    assert field("customers", "sources").type == "json"
    assert field("charges", "payment_method").type == "string"  # an id that cannot be expanded


def test_enumerations_keep_their_values() -> None:
    assert field("charges", "status").values == ("failed", "pending", "succeeded")


def test_every_event_type_is_a_stream_s_or_astray() -> None:
    spoken_for = [
        kind
        for each in CATALOG.streams.values()
        for kind in (*each.events.created, *each.events.updated, *each.events.deleted)
    ]
    assert len(CATALOG.event_types) == 275
    assert set(spoken_for) | set(CATALOG.strays) == set(CATALOG.event_types)
    assert not set(spoken_for) & set(CATALOG.strays)
    for touched in CATALOG.strays.values():
        assert {name for names in touched.values() for name in names} <= set(CATALOG.streams)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("charge.refund.updated", ["refunds"]),
        ("charge.dispute.created", ["disputes"]),
        ("account.external_account.updated", ["bank_accounts", "cards"]),
        ("customer.source.created", ["bank_accounts", "cards", "sources"]),
        ("customer.subscription.paused", ["subscriptions"]),
        ("customer.tax_id.created", ["customer_tax_ids"]),
        ("issuing_card.updated", ["issuing_cards"]),
        ("capability.updated", ["account_capabilities"]),
        ("source.transaction.created", ["source_transactions"]),
        ("treasury.received_credit.failed", ["treasury_received_credits"]),
        ("apps.install.deleted", ["apps_installs"]),
        ("payment_method.updated", ["customer_payment_methods", "payment_methods"]),
        ("invoice.upcoming", []),
        ("balance.available", []),
    ],
)
def test_an_event_speaks_of_the_object_it_carries(kind: str, names: list[str]) -> None:
    assert names == [
        each.name
        for each in CATALOG.streams.values()
        if kind in (*each.events.created, *each.events.updated, *each.events.deleted)
    ]


def test_what_created_and_deleted_mean() -> None:
    assert stream("charges").events.created == ("charge.failed", "charge.pending", "charge.succeeded")
    assert stream("reviews").events.created == ("review.opened",)
    assert stream("customers").events.deleted == ("customer.deleted",)
    assert stream("bank_accounts").events.deleted == (
        "account.external_account.deleted",
        "customer.source.deleted",
    )
    assert stream("invoices").events.deleted == ("invoice.deleted",)
    # A canceled subscription stays; so does a detached payment method, but not in its customer's list.
    assert stream("subscriptions").events.deleted == ()
    assert "customer.subscription.deleted" in stream("subscriptions").events.updated
    assert "payment_method.detached" in stream("payment_methods").events.updated
    assert stream("customer_payment_methods").events.deleted == ("payment_method.detached",)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("invoice_items", "updated"),
        ("checkout_sessions", "created"),
        ("promotion_codes", "deleted"),
        ("invoice_payments", "created"),
    ],
)
def test_what_no_event_tells(name: str, part: str) -> None:
    assert getattr(stream(name).events, part) == ()


@pytest.mark.parametrize(
    "kind",
    ["payment_intent.updated", "setup_intent.updated", "topup.updated", "quote.updated", "review.updated"],
)
def test_updates_without_an_event_of_their_own(kind: str) -> None:
    assert kind not in CATALOG.event_types


@pytest.mark.parametrize(
    "name",
    [
        "balance_transactions",
        "customer_balance_transactions",
        "file_links",
        "shipping_rates",
        "setup_attempts",
        "invoice_line_items",
        "checkout_sessions_line_items",
        "credit_note_line_items",
        "subscription_items",
        "transfer_reversals",
        "tax_codes",
        "radar_value_lists",
        "radar_value_list_items",
        "payment_method_domains",
    ],
)
def test_streams_without_events(name: str) -> None:
    assert stream(name).events == catalog.Events()


def test_relatives() -> None:
    assert stream("disputes").relatives["charge"] == ("charges",)
    assert stream("refunds").relatives["payment_intent"] == ("payment_intents",)
    assert stream("refunds").relatives["balance_transaction"] == ("balance_transactions",)
    assert stream("invoice_payments").relatives["payment.charge"] == ("charges",)
    for each in CATALOG.streams.values():
        for names in each.relatives.values():
            assert set(names) <= set(CATALOG.streams)


@pytest.mark.parametrize(
    ("name", "permission"),
    [
        ("charges", "rak_charge_read"),
        ("refunds", "rak_charge_read"),
        ("customers", "rak_customer_read"),
        ("customer_balance_transactions", "rak_customer_read"),
        ("prices", "rak_plan_read"),
        ("events", "rak_event_read"),
        ("accounts", "rak_connected_account_read"),
        ("invoice_items", "rak_invoice_read"),
        ("invoice_line_items", "rak_invoice_read"),
        ("subscription_items", "rak_subscription_read"),
        ("issuing_cards", "rak_issuing_card_read"),
        ("entitlements_features", "rak_entitlement_read"),
    ],
)
def test_permissions(name: str, permission: str) -> None:
    assert stream(name).permission == permission


def test_every_permission_is_one_a_restricted_key_can_have() -> None:
    for each in CATALOG.streams.values():
        assert re.fullmatch(r"rak_[a-z0-9_]+_read", each.permission), each.name


def test_routes_to_one_object() -> None:
    customers = stream("customers")
    assert customers.retrieve == "/v1/customers/{customer}"
    assert customers.search == "/v1/customers/search"
    assert stream("accounts").own == "/v1/account"
    assert [each.name for each in CATALOG.streams.values() if each.own] == ["accounts"]
    assert len([each for each in CATALOG.streams.values() if each.search]) == 7


def test_writes() -> None:
    customers, prices = stream("customers"), stream("prices")
    assert customers.create is not None
    assert (customers.create.method, customers.create.path) == ("post", "/v1/customers")
    params = {param.name: param for param in customers.create.params}
    assert "expand" not in params
    assert params["tax_exempt"] == catalog.Param(
        name="tax_exempt", type="string", emptyable=True, values=("exempt", "none", "reverse")
    )
    assert prices.create is not None
    assert [param.name for param in prices.create.params if param.required] == ["currency"]
    assert prices.delete is None
    cancel = stream("subscriptions").delete
    assert cancel is not None
    assert cancel.method == "delete"
    assert cancel.path == stream("subscriptions").retrieve


def test_streams_left_out_of_everything_say_why() -> None:
    left_out = {each.name: each.why for each in CATALOG.streams.values() if not each.default}
    assert set(left_out) == {"billing_meter_event_summaries", "source_transactions"}
    assert all(left_out.values())
    assert {
        each.name for each in CATALOG.streams.values() if each.origins[0].kind == "by parent x parent"
    } == set(left_out)


def test_a_meter_s_summaries_need_a_span_of_days() -> None:
    (origin,) = stream("billing_meter_event_summaries").origins
    assert origin.window == ("start_time", "end_time")
    assert origin.params == {"value_grouping_window": "day"}


def test_secrets_are_never_expanded() -> None:
    assert stream("issuing_cards").expand == ()
    assert stream("identity_verification_reports").expand == ()
    assert stream("prices").expand == ("currency_options", "tiers")


def test_docs_are_one_sentence_on_one_line() -> None:
    for each in CATALOG.streams.values():
        for text in (each.doc, *(column.doc for column in each.fields)):
            assert "\n" not in text
            assert "](" not in text


def test_loading_is_done_once_and_reads_the_committed_file() -> None:
    assert catalog.load() is CATALOG
    assert msgspec.json.decode(msgspec.json.encode(CATALOG), type=catalog.Catalog) == CATALOG
