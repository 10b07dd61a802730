"""What an event says has changed, and how many events are read in windows that fit into memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import double
import ledger
import msgspec
import pytest
import scripted

from tidegate import catalog, errors
from tidegate.pull import events, reading, unpacking

KNOWN = catalog.load()
NOW = ledger.NOW
END = NOW - 1 - events.LAG
"""Up to here events are read: of the second that a request was sent in, it is not known that it has begun."""


def said(type: str, obj: Any, previous: Any = None, *, version: str = KNOWN.api_version) -> list[Any]:
    """What an event of second 7 says."""
    data = {"object": obj} | ({} if previous is None else {"previous_attributes": previous})
    text = json.dumps({"id": "evt_1", "type": type, "created": 7, "api_version": version, "data": data})
    event = msgspec.json.decode(text.encode(), type=events.Event)
    return list(events.changes(event, KNOWN, KNOWN.api_version))


def short(type: str, obj: Any, previous: Any = None) -> set[tuple[str, str, str]]:
    """The same as (kind, stream, id); of a list under a parent, the parent."""
    return {
        (each.kind, each.stream, each.id)
        if isinstance(each, events.Change)
        else ("list", each.stream, each.parent)
        for each in said(type, obj, previous)
    }


# Whose row it is


def test_an_update_tells_its_payload_what_changed_and_when_the_row_was_created() -> None:
    coupon = {"id": "SPRING", "object": "coupon", "created": 3, "name": "Spring"}
    (change,) = said("coupon.updated", coupon, {"name": "Sprung", "metadata": {}})
    assert (change.stream, change.id, change.kind, change.at, change.created) == (
        "coupons",
        "SPRING",
        "updated",
        7,
        3,
    )
    assert json.loads(change.payload) == coupon
    assert change.pinned
    assert change.previous == {"name", "metadata"}


def test_a_payload_of_another_version_is_none_that_is_at_ours() -> None:
    (change,) = said("coupon.updated", {"id": "SPRING", "object": "coupon"}, version=ledger.OLD)
    assert not change.pinned
    assert change.previous is None


def test_the_refund_in_charge_refund_updated_is_no_charge() -> None:
    refund = {
        "id": "re_1",
        "object": "refund",
        "charge": "ch_1",
        "payment_intent": "pi_1",
        "balance_transaction": "txn_1",
    }
    assert short("charge.refund.updated", refund, {"metadata": {}}) == {
        ("updated", "refunds", "re_1"),
        ("touched", "charges", "ch_1"),
        ("touched", "payment_intents", "pi_1"),
        ("touched", "balance_transactions", "txn_1"),
    }


@pytest.mark.parametrize(
    ("id", "object", "stream"),
    [
        ("card_1", "card", "cards"),
        ("ba_1", "bank_account", "bank_accounts"),
        ("src_1", "source", "sources"),
    ],
)
def test_a_source_of_a_customer_lands_where_its_kind_belongs(id: str, object: str, stream: str) -> None:
    (made,) = said("customer.source.created", {"id": id, "object": object, "customer": "cus_1"})
    assert (made.stream, made.kind) == (stream, "created")
    assert made.parent == unpacking.Owner("cus_1", "customer")
    (gone,) = said("customer.source.deleted", {"id": id, "object": object, "customer": "cus_1"})
    assert (gone.stream, gone.kind, gone.parent) == (stream, "deleted", made.parent)


@pytest.mark.parametrize(
    ("object", "stream"), [("card", "cards"), ("bank_account", "bank_accounts")], ids=["card", "bank account"]
)
def test_an_external_account_belongs_to_its_account(object: str, stream: str) -> None:
    (made,) = said("account.external_account.created", {"id": "x_1", "object": object, "account": "acct_9"})
    assert (made.stream, made.kind, made.parent) == (stream, "created", unpacking.Owner("acct_9", "account"))


def test_a_detached_payment_method_leaves_the_customer_that_it_had() -> None:
    """It no longer says whose it was, only the previous attributes do."""
    method = {"id": "pm_1", "object": "payment_method", "customer": None}
    assert short("payment_method.detached", method, {"customer": "cus_1"}) == {
        ("deleted", "customer_payment_methods", "pm_1"),
        ("updated", "payment_methods", "pm_1"),
    }
    left = next(
        each for each in said("payment_method.detached", method, {"customer": "cus_1"}) if each.parent
    )
    assert left.parent == unpacking.Owner("cus_1", "customer")


def test_a_canceled_subscription_is_updated_not_deleted() -> None:
    assert short("customer.subscription.deleted", {"id": "sub_1", "object": "subscription"}) == {
        ("updated", "subscriptions", "sub_1")
    }


# Who changed with it


def test_a_dispute_touches_its_charge_and_the_money_that_it_moved() -> None:
    dispute = {
        "id": "dp_1",
        "object": "dispute",
        "charge": "ch_1",
        "payment_intent": "pi_1",
        "balance_transactions": [{"id": "txn_1"}, {"id": "txn_2"}],
    }
    assert short("charge.dispute.created", dispute) == {
        ("created", "disputes", "dp_1"),
        ("touched", "charges", "ch_1"),
        ("touched", "payment_intents", "pi_1"),
        ("touched", "balance_transactions", "txn_1"),
        ("touched", "balance_transactions", "txn_2"),
    }


def test_a_relative_may_come_expanded() -> None:
    dispute = {"id": "dp_1", "object": "dispute", "charge": {"id": "ch_1", "object": "charge"}}
    assert ("touched", "charges", "ch_1") in short("charge.dispute.created", dispute)


def test_what_an_object_pointed_at_before_is_touched_as_well_as_what_it_points_at_now() -> None:
    item = {"id": "ii_1", "object": "invoiceitem", "invoice": "in_2"}
    assert {("touched", "invoices", "in_1"), ("touched", "invoices", "in_2")} <= short(
        "invoiceitem.created", item, {"invoice": "in_1"}
    )


def test_an_object_of_no_stream_still_touches_its_relatives() -> None:
    discount = {"id": "di_1", "object": "discount", "customer": "cus_1", "subscription": "sub_1"}
    assert short("customer.discount.created", discount) == {
        ("touched", "customers", "cus_1"),
        ("touched", "subscriptions", "sub_1"),
    }


def test_a_summary_without_an_id_touches_the_list_of_its_customer() -> None:
    summary = {"object": "entitlements.active_entitlement_summary", "customer": "cus_1"}
    assert short("entitlements.active_entitlement_summary.updated", summary) == {
        ("list", "entitlements_active_entitlements", "cus_1")
    }


# What nobody knew


def test_a_type_that_stripe_adds_tomorrow_says_that_its_object_changed() -> None:
    """Whatever its last word says: reading again decides."""
    for type in ("customer.mystery.happened", "customer.vanished", "brand_new.deleted"):
        assert short(type, {"id": "cus_1", "object": "customer"}) == {("updated", "customers", "cus_1")}


@pytest.mark.parametrize(
    "obj",
    [
        {"id": "x", "object": "whatnot"},
        {"object": "balance"},
        {"id": 7, "object": "charge"},
        {"id": None, "object": "charge"},
        {"id": "ch_1"},
        {"id": "ch_1", "object": ["charge"]},
        [1],
        "ch_1",
        None,
        {},
    ],
    ids=str,
)
def test_garbage_says_nothing(obj: Any) -> None:
    assert said("charge.updated", obj) == []


@pytest.mark.parametrize("previous", [[], "x", 7])
def test_previous_attributes_of_no_shape_are_none(previous: Any) -> None:
    (change,) = said("coupon.updated", {"id": "c", "object": "coupon"}, previous)
    assert change.previous is None


# Windows


Act = Callable[[ledger.Ledger], object]


def read(made: ledger.Ledger, low: int) -> list[events.Window]:
    """Every window from a moment on."""
    found: list[events.Window] = []

    async def go(trip: reading.Trip) -> None:
        found.extend([window async for window in events.windows(trip, low)])

    with double.serving(made) as url:
        scripted.walked(url, scripted.walk("events"), scripted.Added(), go)
    return found


def seen(windows: list[events.Window]) -> list[str]:
    """The ids of all events, in the order of the windows."""
    return [each.id for window in windows for answer in window.answers for each in answer.events]


def told(made: ledger.Ledger, *moments: int) -> list[str]:
    """Events of one coupon at these moments; their ids."""
    coupon = {"id": "c", "object": "coupon"}
    return [made.tell("coupon.updated", coupon, at=moment)["id"] for moment in moments]


def contiguous(windows: list[events.Window], low: int) -> bool:
    """Does each window begin where the one before ended, from `low` to a few seconds ago?"""
    edges = [low, *(window.high for window in windows)]
    return edges[:-1] == [window.low for window in windows] and edges[-1] == END


def test_little_comes_in_one_window_with_one_request() -> None:
    made = ledger.Ledger()
    expected = told(made, NOW - 300, NOW - 200, NOW - 100)
    (window,) = read(made, NOW - 600)
    assert (window.low, window.high, window.now) == (NOW - 600, END, NOW - 1)
    assert sorted(seen([window])) == expected
    assert made.asked_for("/v1/events") == [f"/v1/events?limit=100&created[gte]={NOW - 600}"]


def test_what_is_younger_than_the_lag_waits_for_the_next_reading() -> None:
    """Rows of their own table too: an event is seen with its payload or not at all."""
    made = ledger.Ledger()
    expected = told(made, END - 1)
    told(made, END, NOW)
    (window,) = read(made, NOW - 600)
    assert seen([window]) == expected
    assert [id for answer in window.answers for id in answer.rows.ids] == expected


def test_no_events_are_one_empty_window() -> None:
    (window,) = read(ledger.Ledger(), NOW - 600)
    assert seen([window]) == []
    assert window.high == END


@pytest.fixture
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of about a hundred events."""
    monkeypatch.setattr(events, "CROWD", 100)
    monkeypatch.setattr(events, "CROWDED", 500)


@pytest.mark.usefixtures("_narrow")
def test_a_month_of_events_comes_oldest_first_in_windows_that_fit() -> None:
    made = ledger.Ledger()
    month = 28 * 86_400
    expected = told(made, *range(NOW - month, NOW - 10, month // 3_000))
    windows = read(made, NOW - month - 600)
    assert contiguous(windows, NOW - month - 600)
    assert sorted(seen(windows)) == sorted(expected)
    assert max(len(seen([window])) for window in windows) <= events.CROWDED
    for window in windows:
        moments = [each.created for answer in window.answers for each in answer.events]
        assert all(window.low <= moment < window.high for moment in moments)


@pytest.mark.usefixtures("_narrow")
def test_a_quiet_month_after_a_loud_minute_takes_few_requests() -> None:
    made = ledger.Ledger()
    month = 28 * 86_400
    expected = told(made, *(NOW - month + n // 20 for n in range(600)), NOW - 3 * 86_400)
    windows = read(made, NOW - month - 600)
    assert contiguous(windows, NOW - month - 600)
    assert sorted(seen(windows)) == sorted(expected)
    assert len(made.requests) <= 30


@pytest.mark.usefixtures("_narrow")
def test_a_crowd_within_one_second_is_read_whole() -> None:
    """No window can be narrower than a second."""
    made = ledger.Ledger()
    expected = told(made, *[NOW - 50] * 1_250, *range(NOW - 49, NOW - 10))
    windows = read(made, NOW - 600)
    assert contiguous(windows, NOW - 600)
    assert sorted(seen(windows)) == sorted(expected)


@pytest.mark.usefixtures("_narrow")
def test_a_window_that_turns_out_too_full_is_cut() -> None:
    """The newest hundred events said little of how many lie before."""
    made = ledger.Ledger()
    expected = told(made, *(NOW - 5_000 + n // 10 for n in range(2_000)), *range(NOW - 1_000, NOW - 10, 10))
    windows = read(made, NOW - 5_600)
    assert contiguous(windows, NOW - 5_600)
    assert sorted(seen(windows)) == sorted(expected)
    assert max(len(seen([window])) for window in windows) <= events.CROWDED + 100


class Endless(ledger.Ledger):
    """Ignores until when events were asked for."""

    def _evaluate(self, path: str, query: scripted.Query) -> scripted.Answer:
        return super()._evaluate(path, {name: each for name, each in query.items() if name != "created[lt]"})


@pytest.mark.usefixtures("_narrow")
def test_a_stripe_that_shows_newer_events_than_were_asked_for_is_read_all_the_same() -> None:
    """They are not the window's, and make it no fuller."""
    made = Endless()
    expected = told(made, *range(NOW - 7_000, NOW - 10, 10))
    windows = read(made, NOW - 7_600)
    assert contiguous(windows, NOW - 7_600)
    assert sorted(seen(windows)) == sorted(expected)
    assert len(made.requests) <= 60


def test_an_event_that_vanishes_while_it_is_the_cursor_begins_the_window_anew() -> None:
    """The oldest events are forgotten while they are read."""
    made = ledger.Ledger()
    told(made, *range(NOW - 500, NOW - 250))
    gone: list[str] = []

    def forget() -> None:
        last = made.events[99]
        gone.append(last["id"])
        made.events.remove(last)

    class Forgetful(ledger.Ledger):
        def _evaluate(self, path: str, query: scripted.Query) -> scripted.Answer:
            return (
                scripted.CURSOR_GONE
                if query.get("starting_after") in gone
                else super()._evaluate(path, query)
            )

    forgetful = Forgetful()
    forgetful.events, forgetful._hidden = made.events, made._hidden
    forgetful.during("/v1/events", forget)
    windows = read(forgetful, NOW - 600)
    assert len(gone) == 1
    assert sorted(seen(windows)) == sorted(each["id"] for each in made.events)


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ({"object": "list", "data": 7, "has_more": False}, "did not answer with a list of events"),
        ({"object": "list", "data": [], "has_more": True}, "answers with the same place again"),
    ],
)
def test_a_list_that_is_none_is_told_and_never_stepped_over(page: dict[str, Any], sentence: str) -> None:
    made = ledger.Ledger()
    made.instead["/v1/events"] = page
    with pytest.raises(errors.BadPage, match=sentence):
        read(made, NOW - 600)
