"""What events do not tell: the judgement of every stream, and what follows from it for lists and payloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidegate import catalog
from tidegate.catalog import facts, silence, streams

CATALOG = catalog.load()

# One line per stream: created, updated, deleted, what is silent. To be read by whoever changes a judgement.
TOLD = Path(__file__).with_name("told.txt").read_text().splitlines()


def stream(name: str) -> catalog.Stream:
    return CATALOG.streams[name]


def told(name: str) -> tuple[str, str, str]:
    found = stream(name).told
    return found.created, found.updated, found.deleted


def line(name: str, told: catalog.Told) -> str:
    return f"{name:<44} {told.created:<5} {told.updated:<6} {told.deleted:<6} {told.silent}".rstrip()


def lists(name: str) -> dict[str, catalog.Origin]:
    """The lists of a stream by their path."""
    return {origin.path: origin for origin in stream(name).origins}


def judged(of: dict[str, catalog.Stream], name: str, **changes: Any) -> dict[str, catalog.Stream]:
    """The streams judged anew, one of them changed before."""
    return silence.judge({**of, name: msgspec.structs.replace(of[name], **changes)})


def test_the_judgements_are_frozen() -> None:
    assert [line(each.name, each.told) for each in CATALOG.streams.values()] == TOLD


def test_whatever_is_not_told_whole_says_what_is_silent() -> None:
    for each in CATALOG.streams.values():
        assert each.told.whole != bool(each.told.silent), each.name


@pytest.mark.parametrize(
    ("name", "part", "judgement"),
    [
        # No event exists for these, one by one; see also the list in test_catalog.
        ("invoice_items", "updated", "none"),
        ("invoice_payments", "created", "none"),
        ("invoice_payments", "updated", "some"),
        ("payment_intents", "updated", "some"),
        ("setup_intents", "updated", "some"),
        ("checkout_sessions", "created", "none"),
        ("checkout_sessions", "updated", "some"),
        ("topups", "updated", "some"),
        ("quotes", "updated", "some"),
        ("reviews", "updated", "some"),
        ("promotion_codes", "deleted", "none"),
        ("balance_transactions", "created", "none"),
        ("balance_transactions", "updated", "none"),
        ("customer_balance_transactions", "updated", "none"),
        ("file_links", "created", "none"),
        ("shipping_rates", "updated", "none"),
        ("tax_codes", "created", "none"),
        ("radar_value_lists", "deleted", "none"),
        ("radar_value_list_items", "deleted", "none"),
        ("payment_method_domains", "created", "none"),
        ("transfer_reversals", "updated", "none"),
        ("country_specs", "updated", "none"),
        # What events do tell.
        ("promotion_codes", "created", "all"),
        ("products", "updated", "all"),
        ("products", "deleted", "all"),
        ("invoices", "deleted", "all"),
        ("refunds", "updated", "all"),
        ("subscriptions", "updated", "all"),
        # What cannot happen.
        ("charges", "deleted", "never"),
        ("refunds", "deleted", "never"),
        ("events", "updated", "never"),
        ("billing_credit_balance_transactions", "updated", "never"),
    ],
)
def test_what_is_told(name: str, part: str, judgement: str) -> None:
    assert getattr(stream(name).told, part) == judgement


def test_a_canceled_subscription_is_never_deleted() -> None:
    """It has a delete route and a `.deleted` event, and stays in the list."""
    assert stream("subscriptions").delete is not None
    assert told("subscriptions") == ("all", "all", "never")


def test_events_that_stripe_forgets_after_30_days_are_not_deleted() -> None:
    assert told("events") == ("all", "never", "never")
    assert stream("v2_core_events").told.deleted == "never"


def test_children_are_told_by_the_events_of_the_parent_that_embeds_them() -> None:
    assert told("invoice_line_items") == ("all", "some", "all")
    assert told("subscription_items") == ("all", "some", "all")
    assert told("transfer_reversals") == ("all", "none", "never")
    assert told("application_fee_refunds") == ("all", "all", "never")
    assert told("credit_note_line_items") == ("all", "never", "never")


def test_nothing_is_told_of_v2() -> None:
    for each in CATALOG.streams.values():
        if each.api == "v2":
            assert {each.told.created, each.told.updated, each.told.deleted} <= {"none", "never"}, each.name


def test_all_deletions_are_told_by_events_of_their_own_or_by_one_that_lists_the_rest() -> None:
    without = [
        each.name
        for each in CATALOG.streams.values()
        if each.told.deleted == "all" and not each.events.deleted
    ]
    assert without == [
        "entitlements_active_entitlements",
        "invoice_line_items",
        "payment_link_line_items",
        "subscription_items",
    ]


def test_external_accounts_are_told_less_than_the_sources_of_customers() -> None:
    """Their events stand among those of the connected account, not of the platform that lists it."""
    sources, external = "/v1/customers/{customer}/sources", "/v1/accounts/{account}/external_accounts"
    for name in ("cards", "bank_accounts"):
        assert told(name) == ("all", "all", "all")
        assert lists(name)[sources].told is None
        less = lists(name)[external].told
        assert less is not None
        assert (less.created, less.updated, less.deleted) == ("some", "some", "some")


def test_balance_transactions_settle_without_an_event() -> None:
    assert stream("balance_transactions").settles == catalog.Settling("status", ("pending",))
    assert [each.name for each in CATALOG.streams.values() if each.settles] == ["balance_transactions"]


def test_what_a_payload_of_a_customer_lacks_stays_unless_its_causes_changed() -> None:
    assert stream("customers").carried == {
        "cash_balance": ("cash_balance",),
        "invoice_credit_balance": ("balance", "currency", "invoice_credit_balance"),
        "tax": ("address", "default_source", "invoice_settings", "shipping", "tax"),
    }
    assert set(stream("customers").carried) == set(stream("customers").expand)


@pytest.mark.parametrize("name", ["coupons", "plans", "prices", "issuing_transactions", "shipping_rates"])
def test_other_expanded_fields_are_edited_by_themselves_and_never_carried(name: str) -> None:
    assert stream(name).expand
    assert stream(name).carried == {}


def test_a_deleted_test_clock_takes_its_customers_with_it() -> None:
    dependents = stream("test_helpers_test_clocks").dependents
    assert dependents["customers"] == "test_clock"
    assert dependents["subscriptions"] == "test_clock"
    assert "charges" not in dependents
    assert [each.name for each in CATALOG.streams.values() if each.dependents] == ["test_helpers_test_clocks"]


@pytest.mark.parametrize(
    ("name", "touched_by"),
    [
        ("account_capabilities", ("capabilities",)),
        ("account_persons", ()),
        ("checkout_sessions_line_items", None),
        ("customer_balance_transactions", ("balance", "invoice_credit_balance")),
        ("customer_cash_balance_transactions", ()),
        ("customer_payment_methods", ()),
        ("customer_tax_ids", ()),
        ("entitlements_active_entitlements", ()),
        ("financial_connections_account_owners", ("ownership",)),
        ("financial_connections_transactions", None),
        ("issuing_tokens", ()),
        ("payment_intent_amount_details_line_items", ()),
        ("quote_line_items", None),
        ("setup_attempts", ("latest_attempt",)),
        ("sources", ()),
        ("treasury_transactions", ()),
    ],
)
def test_what_of_a_parent_touches_its_lists(name: str, touched_by: tuple[str, ...] | None) -> None:
    assert stream(name).origins[0].touched_by == touched_by


def test_embedded_lists_come_with_every_event_of_their_parent() -> None:
    for each in CATALOG.streams.values():
        for origin in each.origins:
            if origin.route in ("list", "embedded"):
                assert origin.touched_by is None


def test_a_list_that_no_event_of_the_parent_touches_is_told_otherwise_or_listed_again() -> None:
    """Either the rows have events (or a stray, or a relative) of their own, or the judgement says that none do."""
    elsewhere = {name for fields in CATALOG.strays.values() for names in fields.values() for name in names}
    elsewhere |= {
        name for each in CATALOG.streams.values() for names in each.relatives.values() for name in names
    }
    for each in CATALOG.streams.values():
        for origin in each.origins:
            if origin.touched_by == () and each.events == catalog.Events() and each.name not in elsewhere:
                assert told(each.name)[0] == "none", each.name


BALANCE = lists("customer_balance_transactions")["/v1/customers/{customer}/balance_transactions"]
PERSONS = lists("account_persons")["/v1/accounts/{account}/persons"]
ITEMS = lists("checkout_sessions_line_items")["/v1/checkout/sessions/{session}/line_items"]
ATTEMPTS = lists("setup_attempts")["/v1/setup_attempts"]


@pytest.mark.parametrize(
    ("origin", "change", "row", "previous", "touched"),
    [
        # A customer whose balance moved, and one whose name changed.
        (BALANCE, "updated", {"balance": 5}, {"balance"}, True),
        (BALANCE, "updated", {"balance": 5}, {"name", "metadata"}, False),
        # A new customer has transactions only if it began with a balance.
        (BALANCE, "created", {"balance": -500}, None, True),
        (BALANCE, "created", {"balance": 0}, None, False),
        (BALANCE, "created", {"balance": 0, "invoice_credit_balance": {}}, None, False),
        (BALANCE, "created", {"balance": 0, "invoice_credit_balance": {"usd": 0}}, None, False),
        (BALANCE, "created", {"balance": 0, "invoice_credit_balance": {"usd": 7}}, None, True),
        (BALANCE, "created", {}, None, False),
        # setup_intent.setup_failed does not say what changed: anything may have.
        (ATTEMPTS, "updated", {"latest_attempt": "setatt_1"}, None, True),
        (ATTEMPTS, "created", {"latest_attempt": None}, None, False),
        # Rows with events of their own need none of the parent's, whatever it says.
        (PERSONS, "updated", {}, None, False),
        (PERSONS, "updated", {}, {"individual"}, False),
        (PERSONS, "created", {"individual": {"id": "person_1"}}, None, False),
        # Where nothing in the parent tells, everything may have changed.
        (ITEMS, "updated", {}, set(), True),
        (ITEMS, "created", {}, None, True),
        # What hangs on a deleted row goes with it.
        (BALANCE, "deleted", {"balance": 5}, {"balance"}, False),
        (ITEMS, "deleted", {}, None, False),
    ],
)
def test_is_touched(
    origin: catalog.Origin,
    change: catalog.Change,
    row: dict[str, object],
    previous: set[str] | None,
    touched: bool,
) -> None:
    assert origin.is_touched(change, row, previous) is touched


def test_a_stream_without_events_must_be_judged_by_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(silence.TOLD, "tax_codes")
    with pytest.raises(LookupError, match=r"no events tell of \['tax_codes'\]: judge them in silence.TOLD"):
        silence.judge(CATALOG.streams)


def test_a_stream_that_is_new_without_events_must_be_judged() -> None:
    one = msgspec.structs.replace(stream("tax_codes"), name="new_things")
    with pytest.raises(LookupError, match="new_things"):
        silence.judge({**CATALOG.streams, "new_things": one})


def test_a_list_that_payloads_lack_must_be_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(silence.TOUCHED_BY, "/v1/issuing/tokens")
    with pytest.raises(LookupError, match=r"which events touch \['/v1/issuing/tokens'\]"):
        silence.judge(CATALOG.streams)


def test_the_event_types_judge_a_stream_that_no_table_names() -> None:
    """One that loses its events of updates, and gets a delete route, is told less of."""
    events = catalog.Events(created=("product.created",))
    found = judged(CATALOG.streams, "products", events=events)["products"].told
    assert (found.created, found.updated, found.deleted) == ("all", "none", "none")
    only_some = catalog.Events(updated=("product.archived",))
    found = judged(CATALOG.streams, "products", events=only_some, delete=None)["products"].told
    assert (found.created, found.updated, found.deleted) == ("none", "some", "never")


@pytest.mark.parametrize(
    ("table", "key", "value", "named"),
    [
        ("TOLD", "no_such_stream", ("all", "all", "all", ""), "no_such_stream"),
        ("SETTLES", "charges", ("no_such_field", ("pending",)), "charges.no_such_field"),
        ("CARRIED", "customers", {"email": ("address",)}, "customers.email"),
        ("CARRIED", "customers", {"tax": ("no_such_field",)}, "customers.no_such_field"),
        ("TOUCHED_BY", "/v1/charges", None, "/v1/charges"),
        ("TOUCHED_BY", "/v1/issuing/tokens", ("no_such_field",), "issuing_cards.no_such_field"),
        ("TOLD_OF_LISTS", "/v1/no_such_list", ("all", "all", "all", ""), "/v1/no_such_list"),
        ("DEPENDENTS", "no_such_stream", "test_clock", "no_such_stream"),
    ],
)
def test_a_judgement_of_something_gone_fails_the_build(
    monkeypatch: pytest.MonkeyPatch, table: str, key: str, value: object, named: str
) -> None:
    monkeypatch.setitem(getattr(silence, table), key, value)
    with pytest.raises(LookupError, match=rf"does not have: \['{named}'\]"):
        silence.judge(CATALOG.streams)


def test_a_misspelled_judgement_fails_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(silence.TOLD, "tax_codes", ("never", "none", "none", "everything"))
    with pytest.raises(msgspec.ValidationError, match="created"):
        silence.judge(CATALOG.streams)


@pytest.mark.parametrize(
    ("name", "path", "names"),
    [
        ("disputes", "charge", ("charges",)),
        ("disputes", "payment_intent", ("payment_intents",)),
        ("disputes", "balance_transactions", ("balance_transactions",)),
        ("refunds", "charge", ("charges",)),
        ("refunds", "payment_intent", ("payment_intents",)),
        ("refunds", "balance_transaction", ("balance_transactions",)),
        ("invoice_payments", "invoice", ("invoices",)),
        ("invoice_payments", "payment.charge", ("charges",)),
        ("invoice_payments", "payment.payment_intent", ("payment_intents",)),
        ("invoice_items", "invoice", ("invoices",)),
        ("credit_notes", "invoice", ("invoices",)),
        ("payouts", "balance_transaction", ("balance_transactions",)),
        ("transfers", "source_transaction", ("charges",)),
        ("subscription_schedules", "released_subscription", ("subscriptions",)),
        ("checkout_sessions", "payment_link", ("payment_links",)),
        ("identity_verification_sessions", "last_verification_report", ("identity_verification_reports",)),
        ("treasury_outbound_payments", "transaction", ("treasury_transactions",)),
        # Old payloads, of accounts on old API versions.
        ("invoices", "parent.subscription_details.subscription", ("subscriptions",)),
        ("invoices", "subscription", ("subscriptions",)),
        ("promotion_codes", "coupon", ("coupons",)),
    ],
)
def test_what_changes_together(name: str, path: str, names: tuple[str, ...]) -> None:
    assert stream(name).relatives[path] == names


def test_a_relative_is_what_its_field_refers_to() -> None:
    """Of top-level references, which say what they may be."""
    for each in CATALOG.streams.values():
        fields = {field.name: field for field in each.fields}
        for path, names in each.relatives.items():
            if path in fields and fields[path].expands:
                assert {stream(name).object for name in names} <= set(fields[path].expands), (each.name, path)


def test_former_paths_are_not_present_ones() -> None:
    for name, paths in facts.FORMER_RELATIVES.items():
        assert not set(paths) & {field.name for field in stream(name).fields}


def test_a_discount_changes_who_has_it_and_what_it_is_made_of() -> None:
    for kind in ("created", "updated", "deleted"):
        touched = CATALOG.strays[f"customer.discount.{kind}"]
        assert touched["customer"] == ("customers",)
        assert touched["subscription"] == ("subscriptions",)
        assert touched["source.coupon"] == touched["coupon"] == ("coupons",)
        assert touched["promotion_code"] == ("promotion_codes",)
    assert CATALOG.strays["cash_balance.funds_available"] == {"customer": ("customers",)}
    assert CATALOG.strays["balance.available"] == {}


def test_the_derived_catalog_is_judged() -> None:
    assert {name: each.told for name, each in streams.derive().streams.items()} == {
        name: each.told for name, each in CATALOG.streams.items()
    }
