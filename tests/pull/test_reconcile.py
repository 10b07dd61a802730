"""What no event tells is seen in its turn: young rows often, old ones rarely, and the table says how soon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from following import Merchant, agrees, follow, gone, ids, one, rows
from pulling import pull

from tidegate import catalog
from tidegate.pull import backfill, plan, reconcile, relist, sweep
from tidegate.stripe import attempts
from tidegate.warehouse import duckdb

HOUR, DAY = 3_600, 86_400
NOW = 1_700_000_000
KNOWN = catalog.load().streams


def told(stream: str, **changes: str) -> catalog.Stream:
    """A stream as if events told something else of it."""
    return msgspec.structs.replace(
        KNOWN[stream], told=msgspec.structs.replace(KNOWN[stream].told, **changes), settles=None
    )


def wanted(*streams: str | catalog.Stream) -> plan.Plan:
    """A plan of streams, some of which may be other than the catalog has them."""
    changed = {stream.name: stream for stream in streams if isinstance(stream, catalog.Stream)}
    names = [stream if isinstance(stream, str) else stream.name for stream in streams]
    return plan.plan({**KNOWN, **changed}, names)


def demanded(
    turns: reconcile.Turns,
    *streams: str | catalog.Stream,
    now: int = NOW,
    start: int = NOW - 400 * DAY,
    **options: Any,
) -> dict[str, relist.Entry]:
    """What is due of streams that were first read at `start`."""
    planned = wanted(*streams)
    starts = {stream.name: start for stream in planned.streams}
    return reconcile.demanded(planned, turns, starts, now, **options)


def turns(lookback: int = 7 * DAY, counts: Mapping[str, int] | None = None, **more: Any) -> reconcile.Turns:
    return reconcile.Turns(lookback=lookback, counts=dict(counts or {}), **more)


def took(known: reconcile.Turns, found: Mapping[str, relist.Entry]) -> None:
    """The lists that were due have been read."""
    for name, entry in found.items():
        known.note(name, entry)


def reach(found: Mapping[str, relist.Entry], stream: str) -> int | None:
    """How far back a stream is listed, in seconds; None for the whole list."""
    low = found[stream].low
    return None if low is None else found[stream].since - low


def test_a_stream_of_which_events_tell_everything_never_has_a_turn() -> None:
    assert demanded(turns(), "application_fees", "products") == {}


def test_the_first_reading_was_the_first_turn() -> None:
    assert demanded(turns(), "payment_intents", start=NOW - 299) == {}
    found = demanded(turns(), "payment_intents", start=NOW - 300)
    assert reach(found, "payment_intents") == HOUR + 300
    assert found["payment_intents"].regular


def test_nothing_is_due_of_a_stream_that_was_never_read_whole() -> None:
    assert reconcile.demanded(wanted("payment_intents"), turns(), {}, NOW, eager=True) == {}


def test_young_rows_are_read_often_and_old_ones_rarely() -> None:
    """A day of pulls every five minutes: how often each age was listed."""
    known = turns(lookback=30 * DAY)
    start = NOW
    listed = []
    for now in range(start + 300, start + DAY + 300, 300):
        found = demanded(known, "payment_intents", now=now, start=start)
        took(known, found)
        listed.append(reach(found, "payment_intents") or 0)
    ages = (HOUR, DAY, 7 * DAY, 30 * DAY)
    assert [sum(each >= age for each in listed) for age in ages] == [288, 24, 4, 1]
    assert len(msgspec.json.encode(known)) < 300  # it does not grow with the pulls


def test_no_row_falls_between_two_turns_as_it_ages() -> None:
    """However irregular the pulls: a row that was within a band's age at its last turn is in the next one."""
    known = turns(lookback=7 * DAY)
    start, at = NOW, NOW
    last: dict[int, int] = {band.age: NOW for band in reconcile.BANDS[:3]}
    for pause in (300, 5_000, 400, 40_000, 90_000, 310, 3_000, 800_000, 300, 22_000):
        at += pause
        found = demanded(known, "payment_intents", now=at, start=start)
        low = found["payment_intents"].low
        assert low is not None
        for band in reconcile.BANDS[:3]:
            if at - last[band.age] >= band.every:
                assert low <= last[band.age] - band.age, (pause, band)
                last[band.age] = at
        took(known, found)


def test_rows_made_while_nobody_pulled_are_found_however_long_it_was() -> None:
    found = demanded(turns(lookback=0), "shipping_rates", start=NOW - 90 * DAY)
    assert reach(found, "shipping_rates") == 90 * DAY


@pytest.mark.parametrize(
    ("lookback", "expected"),
    [
        (0, []),
        (DAY, [(HOUR, 300), (DAY, HOUR)]),
        (3 * DAY, [(HOUR, 300), (DAY, HOUR), (3 * DAY, 6 * HOUR)]),
        (7 * DAY, [(HOUR, 300), (DAY, HOUR), (7 * DAY, 6 * HOUR)]),
        (600 * DAY, [(band.age, band.every) for band in reconcile.BANDS]),
    ],
)
def test_nothing_older_than_the_lookback_is_listed(lookback: int, expected: list[tuple[int, int]]) -> None:
    stream = KNOWN["payment_intents"]
    found = reconcile.bands(stream, stream.told, lookback)
    assert [(band.age, band.every) for band in found] == expected


def test_where_only_new_rows_are_silent_the_youngest_are_enough() -> None:
    stream = told("file_links", updated="never", deleted="never")
    assert reconcile.bands(stream, stream.told, 7 * DAY) == [reconcile.Band(HOUR, 300)]
    assert reconcile.bands(stream, stream.told, 0) == [reconcile.Band(0, 300)]


def test_a_longer_lookback_begins_now_and_not_at_the_first_reading() -> None:
    known = turns(lookback=30 * DAY)
    known.note("payment_intents", relist.Entry(NOW, "a day's lookback until now", NOW - DAY))
    found = demanded(known, "payment_intents", now=NOW + 300, start=NOW - 300 * DAY)
    assert reach(found, "payment_intents") == 30 * DAY
    took(known, found)
    assert reach(demanded(known, "payment_intents", now=NOW + 600), "payment_intents") == HOUR + 300


def test_a_lookback_on_the_command_line_makes_all_of_it_due_at_once() -> None:
    known = turns(lookback=3 * DAY)
    took(known, demanded(known, "payment_intents", "products", now=NOW))
    assert demanded(known, "payment_intents", "products", now=NOW + 60) == {}
    found = demanded(known, "payment_intents", "products", now=NOW + 60, eager=True, given=True)
    assert reach(found, "payment_intents") == 3 * DAY + 60
    assert reach(found, "products") == 3 * DAY  # of which events tell everything


@pytest.mark.parametrize(
    ("counted", "every"),
    [(0, 900), (2_399, 900), (10_000, 101 * 36), (239_900, DAY), (10_000_000, DAY)],
)
def test_a_list_that_cannot_be_cut_is_read_whole_the_more_rarely_the_more_it_costs(
    counted: int, every: int
) -> None:
    known = turns(counts={"tax_ids": counted})
    assert demanded(known, "tax_ids", start=NOW - every + 1) == {}
    found = demanded(known, "tax_ids", start=NOW - every)
    assert found["tax_ids"].whole
    assert found["tax_ids"].regular


@pytest.mark.parametrize(
    ("counts", "every"),
    [({"products": 5}, 900), ({"products": 1_000}, 36_000), ({"products": 10**6}, 14 * DAY), ({}, 14 * DAY)],
)
def test_a_list_per_parent_costs_a_request_for_each(counts: dict[str, int], every: int) -> None:
    known = turns(counts=counts)
    assert demanded(known, "product_features", start=NOW - every + 1) == {}
    assert demanded(known, "product_features", start=NOW - every)["product_features"].whole


def test_children_take_their_turn_by_what_events_tell_of_them_with_the_list_that_brings_them() -> None:
    found = demanded(turns(), "subscriptions", "subscription_items", "invoice_payments")
    assert "subscriptions" not in found
    assert reach(found, "subscription_items") is not None  # cut by the age of the subscription
    assert demanded(turns(), "quote_line_items")["quote_line_items"].whole  # quotes cannot be cut


def test_external_accounts_are_listed_only_where_somebody_else_has_any() -> None:
    assert demanded(turns(counts={"accounts": 1}), "bank_accounts", "accounts").keys() == {"accounts"}
    found = demanded(turns(counts={"accounts": 2}), "bank_accounts", "accounts")
    assert found.keys() == {"accounts", "bank_accounts"}


def test_without_events_everything_within_the_lookback_is_due_in_every_pull() -> None:
    known = turns(followed=False)
    streams = ("products", "charges", "balance_transactions")
    found = demanded(known, *streams, eager=True)
    took(known, found)
    assert found["products"].whole  # deletions are found no other way
    again = demanded(known, *streams, now=NOW + 30, eager=True)
    assert {name: reach(again, name) for name in again} == {
        "products": 7 * DAY + 30,
        "charges": 7 * DAY + 30,
        "balance_transactions": HOUR + 30,
    }
    assert demanded(known, "products", now=NOW + 60, eager=True)["products"].whole  # one request, 36 s
    assert demanded(known, *streams, now=NOW + 60) == {}  # within one that goes on for ever, in their turns


def test_a_reading_of_a_part_that_is_not_the_newest_is_no_turn() -> None:
    known = turns()
    known.note("charges", relist.Entry(NOW, "settled", NOW - DAY, NOW - HOUR))
    assert known.listed == {}
    known.note("charges", relist.Entry(NOW, "whole"))
    assert known.last("charges", 600 * DAY) == NOW
    assert known.last("charges", None) == NOW


def test_turns_are_kept_in_the_state_of_the_very_commit() -> None:
    saved: dict[str, str] = {}
    state: dict[str, str | None] = {}
    reconcile.listed(saved, "acct_1")("charges", relist.Entry(NOW, "turn", NOW - HOUR), state)
    assert saved == state == {"turns/acct_1": '{"listed":{"charges":{"1":1700000000}}}'}
    assert reconcile.turns(saved, "acct_1").last("charges", HOUR) == NOW
    assert reconcile.turns({"turns/acct_1": "not ours"}, "acct_1") == reconcile.Turns()


def test_a_first_reading_counts_from_its_beginning_and_only_when_it_is_done() -> None:
    planned = wanted("charges", "customers", "payouts")
    walks = {walk.name: walk for walk in planned.walks}

    def mark(name: str, **more: Any) -> dict[str, str]:
        progress = backfill.Progress(carries=(name,), since=NOW, **more)
        return {backfill.key("acct_1", walks[name]): msgspec.json.encode(progress).decode()}

    saved = {**mark("charges", done=True), **mark("customers"), "backfill/acct_1/payouts": "not ours"}
    assert reconcile.begun(saved, "acct_1", planned.walks) == {"charges": NOW}


@pytest.mark.parametrize(
    ("stream", "lookback", "counts", "expected"),
    [
        ("products", 7, {}, (60, "events, seconds")),
        ("tax_ids", 7, {"tax_ids": 10_000}, (3_636, "listed whole every 61 min")),
        ("product_features", 7, {"products": 10**6}, (14 * DAY, "listed whole every 14 d")),
        (
            "balance_transactions",
            7,
            {},
            (HOUR, "new rows every 5 min; pending ones within 1 h of settling late"),
        ),
        (
            "payment_intents",
            7,
            {},
            (None, "changes every 5 min up to 1 h old, 1 h up to 1 d old, 6 h up to 7 d old, then unbounded"),
        ),
        ("payment_intents", 0, {}, (None, "changes: unbounded")),
        ("shipping_rates", 0, {}, (None, "new rows every 5 min; changes: unbounded")),
    ],
)
def test_every_table_says_within_what_time_changes_show(
    stream: str, lookback: int, counts: dict[str, int], expected: tuple[int | None, str]
) -> None:
    found = reconcile.staleness(KNOWN[stream], followed=True, lookback=lookback * DAY, counts=counts)
    assert found == expected


def test_without_events_deletions_bound_what_whole_lists_show() -> None:
    found = reconcile.staleness(KNOWN["products"], followed=False, lookback=7 * DAY, counts={"products": 500})
    assert found == (900, "listed whole every 15 min")
    bound, words = reconcile.staleness(KNOWN["charges"], followed=False, lookback=DAY, counts={})
    assert bound is None
    assert (
        words == "new rows every 5 min; changes every 5 min up to 1 h old, 1 h up to 1 d old, then unbounded"
    )


@pytest.mark.parametrize("name", KNOWN)
def test_every_stream_has_a_bound_or_says_that_it_has_none(name: str) -> None:
    for followed in (True, False):
        bound, words = reconcile.staleness(KNOWN[name], followed=followed, lookback=7 * DAY, counts={})
        assert ("unbounded" in words) == (bound is None), words
        assert words


# Pulls of a business that changes.


@pytest.fixture
def merchant(start: Callable[..., Any]) -> Merchant:
    return Merchant(start(objects=300).url)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "w.duckdb"


def silently(merchant: Merchant, stream: str, id: str, **values: Any) -> None:
    """A change without an event."""
    merchant.control("mutate", {"stream": stream, "id": id, "values": values})


def test_the_metadata_of_a_payment_intent_is_edited(merchant: Merchant, file: Path) -> None:
    streams = ("payment_intents", "charges")
    made = merchant.make("/v1/payment_intents", amount=1_000, currency="usd")["id"]
    follow(merchant, file, *streams)
    merchant.make(f"/v1/payment_intents/{made}", **{"metadata[order]": "6735"})
    merchant.later(300)
    follow(merchant, file, *streams)
    assert one(file, "payment_intents", made)["metadata"] == '{"order":"6735"}'
    agrees(merchant, file, *streams)


def test_an_old_row_is_seen_in_its_bands_turn_and_not_beyond_the_lookback(
    merchant: Merchant, file: Path
) -> None:
    known = merchant.ids("payment_intents")
    old = known[0]
    follow(merchant, file, "payment_intents")
    silently(merchant, "payment_intents", old, description="changed")
    merchant.later(14 * DAY)
    follow(merchant, file, "payment_intents", lookback=0)
    assert one(file, "payment_intents", old)["description"] != "changed"
    follow(merchant, file, "payment_intents", lookback=600 * DAY, lookback_given=True)
    assert one(file, "payment_intents", old)["description"] == "changed"


def test_an_open_checkout_session_changes(merchant: Merchant, file: Path) -> None:
    streams = ("checkout_sessions", "checkout_sessions_line_items")
    sold = {"line_items[0][price]": merchant.ids("prices")[0], "line_items[0][quantity]": 1}
    made = merchant.make("/v1/checkout/sessions", mode="payment", success_url="https://example.com", **sold)[
        "id"
    ]
    follow(merchant, file, *streams)
    silently(merchant, "checkout_sessions", made, client_reference_id="cart-9")
    merchant.later(300)
    follow(merchant, file, *streams)
    assert one(file, "checkout_sessions", made)["client_reference_id"] == "cart-9"
    agrees(merchant, file, *streams)


def test_a_promotion_code_is_redeemed_without_an_event_and_one_is_gone(
    merchant: Merchant, file: Path
) -> None:
    merchant.make("/v1/coupons", id="TEN", percent_off=10, duration="once")
    kept, lost = (
        merchant.make("/v1/promotion_codes", **{"promotion[type]": "coupon", "promotion[coupon]": "TEN"})[
            "id"
        ]
        for _ in range(2)
    )
    follow(merchant, file, "promotion_codes")
    silently(merchant, "promotion_codes", kept, times_redeemed=3)
    merchant.control("mutate", {"stream": "promotion_codes", "id": lost, "delete": True})
    merchant.later(300)
    follow(merchant, file, "promotion_codes")
    assert one(file, "promotion_codes", kept)["times_redeemed"] == 3
    assert gone(file, "promotion_codes") == [lost]
    agrees(merchant, file, "promotion_codes")


def test_a_list_without_events_is_read_whole_and_swept(merchant: Merchant, file: Path) -> None:
    def made(name: str) -> str:
        given = {"url": f"https://example.com/{name}", "enabled_events[]": "*"}
        return str(merchant.make("/v1/webhook_endpoints", **given)["id"])

    lost = made("lost")
    follow(merchant, file, "webhook_endpoints")
    merchant.delete(f"/v1/webhook_endpoints/{lost}")
    new = made("new")
    merchant.later(600)
    follow(merchant, file, "webhook_endpoints")
    assert gone(file, "webhook_endpoints") == []
    merchant.later(300)
    follow(merchant, file, "webhook_endpoints")
    assert gone(file, "webhook_endpoints") == [lost]
    assert new in ids(file, "webhook_endpoints")
    agrees(merchant, file, "webhook_endpoints")


def test_a_per_parent_list_is_read_again_though_nothing_says_that_it_changed(
    merchant: Merchant, file: Path
) -> None:
    follow(merchant, file, "customers", "customer_balance_transactions")
    entry = rows(file, "customer_balance_transactions")[0]
    change = {"values": {"description": "corrected"}, "parent": entry["_parent_id"]}
    merchant.control("mutate", {"stream": "customer_balance_transactions", "id": entry["id"], **change})
    merchant.later(DAY)
    follow(merchant, file, "customers", "customer_balance_transactions")
    assert one(file, "customer_balance_transactions", entry["id"])["description"] == "corrected"


@pytest.mark.parametrize("streams", [("products", "shipping_rates"), ("shipping_rates",)], ids=len)
def test_a_pull_that_hears_of_anything_looks_for_new_rows_that_have_no_events(
    merchant: Merchant, file: Path, streams: tuple[str, ...]
) -> None:
    follow(merchant, file, *streams)
    merchant.later(60)
    amount = {
        "type": "fixed_amount",
        "display_name": "Ground",
        "fixed_amount": {"amount": 5, "currency": "eur"},
    }
    rate = merchant.make("/v1/shipping_rates", **amount)["id"]
    merchant.make("/v1/products", name="Tea")
    merchant.later()
    follow(merchant, file, *streams)
    assert rate in ids(file, "shipping_rates")


def test_an_idle_pull_within_five_minutes_lists_nothing(merchant: Merchant, file: Path) -> None:
    streams = (
        "payment_intents",
        "webhook_endpoints",
        "quotes",
        "shipping_rates",
        "tax_ids",
        "product_features",
    )
    follow(merchant, file, *streams)
    merchant.later(60)
    merchant.counted()
    follow(merchant, file, *streams)
    assert merchant.counted() == {"GET /v1/events": 1}


def test_a_key_without_events_sees_changes_and_deletions_by_listing(merchant: Merchant, file: Path) -> None:
    streams = ("customers", "coupons", "charges")
    key = "rk_test_without_events"
    scopes = ["rak_customer_read", "rak_coupon_read", "rak_charge_read"]
    merchant.control("keys", {"key": key, "scopes": scopes})
    lost, kept = (merchant.make("/v1/customers", email="a@example.com")["id"] for _ in range(2))
    follow(merchant, file, *streams, key=key)
    merchant.delete(f"/v1/customers/{lost}")
    merchant.make(f"/v1/customers/{kept}", email="b@example.com")
    new = merchant.make("/v1/customers", email="c@example.com")["id"]
    merchant.later(900)
    follow(merchant, file, *streams, key=key)
    assert gone(file, "customers") == [lost]
    assert one(file, "customers", kept)["email"] == "b@example.com"
    assert new in ids(file, "customers")
    agrees(merchant, file, *streams)


def test_what_is_held_goes_once_it_is_accepted(
    merchant: Merchant, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BOUND", 2)
    made = [merchant.make("/v1/coupons", percent_off=n, duration="once")["id"] for n in range(1, 21)]
    merchant.later(60)
    follow(merchant, file, "coupons")
    for each in made:
        merchant.control("mutate", {"stream": "coupons", "id": each, "delete": True})
    merchant.later(60)
    result = pull(merchant, file, "coupons", full_refresh=True)
    assert result.status == "partial", result.outcomes
    assert "--accept-deletes coupons" in result.outcomes[0].error
    assert gone(file, "coupons") == []
    follow(merchant, file, "coupons", accept=frozenset({"coupons"}))
    assert sorted(gone(file, "coupons")) == sorted(made)
    agrees(merchant, file, "coupons")
    assert state(file, "held/") == []


def test_a_turn_that_is_cut_short_is_taken_up_by_the_next_pull(
    merchant: Merchant, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.02)
    follow(merchant, file, "promotion_codes")
    merchant.later(HOUR)
    merchant.faults({"kind": "error", "path": "/v1/promotion_codes"})
    assert pull(merchant, file, "promotion_codes").status != "ok"
    (noted,) = state(file, "relist/")
    assert "promotion_codes" in noted
    merchant.faults()
    follow(merchant, file, "promotion_codes")
    assert state(file, "relist/") == []


def state(file: Path, prefix: str) -> list[str]:
    """What the state says under a prefix."""
    warehouse = duckdb.DuckDB(file)
    try:
        return list(warehouse.state(prefix).values())
    finally:
        warehouse.close()
