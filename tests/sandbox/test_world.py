"""The generated business as the server sees it: counts, ids, times, pages, filters; nothing stored."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Iterator

import pytest

from tidegate import catalog
from tidegate.sandbox import timeline, world

NOW = 1_795_000_000
STREAMS = catalog.load().streams
SMALL = world.build(seed=7, objects=20_000, accounts=3, now=NOW)


def rows(one: world.World, stream: str, most: int = 10**9) -> Iterator[tuple[int, int | None]]:
    """Ordinal and parent of the objects of a stream."""
    described = STREAMS[stream]
    if not described.parent:
        yield from itertools.islice(((ordinal, None) for ordinal in range(one.count(stream))), most)
        return
    parents = (
        ordinal if above is None else above * 1024 + ordinal
        for ordinal, above in rows(one, described.parent, most)
    )
    for parent in parents:
        for ordinal in range(one.count(stream, parent)):
            yield ordinal, parent


def total(one: world.World) -> int:
    return sum(1 for stream in STREAMS for _ in rows(one, stream))


def show(one: world.World, stream: str, ordinal: int, parent: int | None = None, *expand: str) -> dict:
    return json.loads(one.render(stream, ordinal, parent, frozenset(expand)))


def test_so_many_objects_as_asked_for_children_included():
    assert 19_000 <= total(SMALL) <= 21_000
    assert 95_000 <= total(world.build(objects=100_000, now=NOW)) <= 105_000


def test_every_catalogued_stream_has_objects():
    empty = [stream for stream in STREAMS if next(rows(SMALL, stream), None) is None]
    assert empty == []
    assert len(STREAMS) >= 100


@pytest.mark.parametrize("stream", sorted(STREAMS))
def test_ids_are_unique_and_lead_back_to_their_object(stream: str):
    seen = set()
    for ordinal, parent in itertools.islice(rows(SMALL, stream), 3000):
        id = SMALL.id(stream, ordinal, parent)
        assert id not in seen or "_parent_id" in STREAMS[stream].key
        seen.add(id)
        if "_parent_id" not in STREAMS[stream].key:
            assert SMALL.find(stream, id) == (ordinal, parent)
        if "id" in {field.name for field in STREAMS[stream].fields}:
            assert show(SMALL, stream, ordinal, parent)["id"] == id
    assert seen


def test_ids_look_like_stripes():
    charge, customer = SMALL.id("charges", 5), SMALL.id("customers", 5)
    assert charge.startswith("ch_1")
    assert len(charge) == 27
    assert charge[3:].isalnum()
    assert customer.startswith("cus_")
    assert len(customer) == 18
    ids = [SMALL.id("charges", ordinal) for ordinal in range(200)]
    assert ids != sorted(ids)


@pytest.mark.parametrize(
    "id", ["", "ch_", "ch_1nothing", "cus_mb9UCRP5dqyeme", "ch_1" + "0" * 23, "ch_1" + "é" * 23]
)
def test_an_id_of_another_world_is_not_found(id: str):
    assert SMALL.find("charges", id) is None
    other = world.build(seed=8, objects=20_000, now=NOW)
    assert SMALL.find("charges", other.id("charges", 3)) is None


def test_an_ordinal_beyond_the_end_is_not_found():
    larger = world.build(seed=7, counts={"charges": 50}, now=NOW)
    smaller = world.build(seed=7, counts={"charges": 10}, now=NOW)
    assert larger.id("charges", 5) == smaller.id("charges", 5)
    assert smaller.find("charges", larger.id("charges", 30)) is None


@pytest.mark.parametrize("shape", ["even", "skewed", "bursts"])
def test_times_never_decrease_and_bisect_finds_the_first(shape: timeline.Spread):
    one = world.build(objects=4_000, shape=shape, now=NOW)
    for stream in STREAMS:
        if STREAMS[stream].parent:
            continue
        times = [one.created(stream, ordinal) for ordinal in range(one.count(stream))]
        assert times == sorted(times), stream
        assert times[-1] <= NOW
        for when in (times[0], times[len(times) // 2], times[-1], times[-1] + 1, 0):
            first = one.bisect(stream, when)
            assert all(before < when for before in times[:first])
            assert all(after >= when for after in times[first:])


def test_the_rendered_time_is_the_created_time():
    for stream in ("charges", "customers", "invoices", "refunds", "balance_transactions", "events", "files"):
        for ordinal in range(0, SMALL.count(stream), 17):
            assert show(SMALL, stream, ordinal)["created"] == SMALL.created(stream, ordinal)
    assert show(SMALL, "v2_core_accounts", 0)["created"].endswith("Z")


def test_several_objects_share_a_second():
    times = [SMALL.created("charges", ordinal) for ordinal in range(SMALL.count("charges"))]
    assert len(set(times)) < len(times) * 0.95


def test_half_of_skewed_data_lies_in_one_per_cent_of_the_span():
    one = world.build(only=["charges"], objects=10_000, shape="skewed", now=NOW)
    start = NOW - timeline.SPAN
    dense = one.bisect("charges", start + timeline.SPAN * 71 // 100 + 1) - one.bisect(
        "charges", start + timeline.SPAN * 70 // 100
    )
    assert abs(dense - 5_000) <= 60


def test_bursts_are_fifty_rows_in_a_second():
    one = world.build(only=["charges"], objects=1_000, shape="bursts", now=NOW)
    times = [one.created("charges", ordinal) for ordinal in range(1_000)]
    assert {len(list(group)) for _, group in itertools.groupby(times)} == {50}


def test_only_gives_exactly_so_many_of_one_stream():
    one = world.build(only=["charges"], objects=100_000, now=NOW)
    assert one.count("charges") == 100_000
    assert sum(1 for stream in STREAMS for _ in rows(one, stream)) == 100_000 + one.count("accounts")
    charge = show(one, "charges", 99_999)
    assert charge["customer"] is None
    assert charge["balance_transaction"] is None


def test_only_with_a_child_stream_brings_its_parents():
    one = world.build(only=["invoices", "invoice_line_items"], objects=5_000, now=NOW)
    lines = sum(1 for _ in rows(one, "invoice_line_items"))
    assert 4_500 <= one.count("invoices") + lines <= 5_500
    assert one.count("charges") == 0


def test_counts_make_a_tiny_world():
    one = world.build(counts={"customers": 5, "charges": 3}, now=NOW)
    assert (one.count("customers"), one.count("charges"), one.count("refunds")) == (5, 3, 0)
    assert show(one, "charges", 0)["customer"] in {one.id("customers", ordinal) for ordinal in range(5)} | {
        None
    }
    with pytest.raises(ValueError, match="no stream 'chargs'"):
        world.build(counts={"chargs": 5})
    with pytest.raises(ValueError, match="no stream 'chargs'"):
        world.build(only=["chargs"])


@pytest.mark.parametrize(
    "stream", sorted(name for name in STREAMS if not STREAMS[name].parent and name != "events")
)
def test_each_stream_can_stand_alone(stream: str):
    one = world.build(counts={stream: 4}, now=NOW)
    for ordinal in range(one.count(stream)):
        assert json.loads(one.render(stream, ordinal))
        assert one.created(stream, ordinal) <= NOW


def test_a_world_is_a_pure_function_of_its_arguments():
    same, other = (
        world.build(seed=7, objects=20_000, accounts=3, now=NOW),
        world.build(seed=9, objects=20_000, now=NOW),
    )
    for stream in STREAMS:
        for ordinal, parent in itertools.islice(rows(SMALL, stream), 3):
            assert same.render(stream, ordinal, parent) == SMALL.render(stream, ordinal, parent)
    assert other.render("charges", 3) != SMALL.render("charges", 3)
    assert other.id("charges", 3) != SMALL.id("charges", 3)


def test_a_page_rendered_in_another_order_is_the_same_page():
    forwards = [SMALL.render("invoices", ordinal) for ordinal in range(40)]
    fresh = world.build(seed=7, objects=20_000, accounts=3, now=NOW)
    assert [fresh.render("invoices", ordinal) for ordinal in reversed(range(40))] == forwards[::-1]


def test_memory_does_not_grow_with_the_business():
    world.build(objects=1_000, now=NOW).render("charges", 1)
    tracemalloc.start()
    try:
        one = world.build(objects=10_000_000, now=NOW)
        for ordinal in range(0, one.count("charges"), one.count("charges") // 2_000):
            one.render("charges", ordinal)
            one.find("charges", one.id("charges", ordinal))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_connected_accounts_have_businesses_of_their_own():
    assert len(SMALL.accounts) == SMALL.count("accounts") == 3
    for account in SMALL.accounts:
        theirs = SMALL.for_account(account)
        assert theirs.account == account
        assert theirs.accounts == () or len(theirs.accounts) == 0
        assert theirs.count("charges") > 0
        assert theirs.id("charges", 0) != SMALL.id("charges", 0)
        assert theirs.render("charges", 0) == SMALL.for_account(account).render("charges", 0)
    assert len({SMALL.for_account(account).id("charges", 0) for account in SMALL.accounts}) == 3
    with pytest.raises(KeyError):
        SMALL.for_account("acct_nobody")


def test_ten_thousand_connected_accounts_are_not_held():
    one = world.build(objects=2_000, accounts=10_000, now=NOW)
    assert len(one.accounts) == 10_000
    assert one.accounts[9_999] in one.accounts
    assert one.accounts[-1] == one.accounts[9_999]
    assert len(one.accounts[:3]) == 3
    assert "acct_nobody" not in one.accounts
    assert len(set(one.accounts)) == 10_000


def test_external_accounts_belong_to_their_account_and_not_to_a_customer():
    account = show(SMALL, "accounts", 1)
    first = account["external_accounts"]["data"][0]
    assert first["object"] == "bank_account"
    assert first["account"] == account["id"]
    assert first["customer"] is None
    assert SMALL.find("bank_accounts", first["id"]) == (0, ~1)
    assert SMALL.count("bank_accounts", ~1) == 1
    assert json.loads(SMALL.render("bank_accounts", 0, ~1)) == first


@pytest.mark.parametrize("stream", sorted(name for name in STREAMS if STREAMS[name].nested))
def test_nested_lists_show_ten_and_say_where_the_rest_is(stream: str):
    described = STREAMS[stream]
    paths = [nested.path for nested in described.nested]
    for ordinal, parent in itertools.islice(rows(SMALL, stream), 150):
        plain, full = show(SMALL, stream, ordinal, parent), show(SMALL, stream, ordinal, parent, *paths)
        for nested in described.nested:
            found, seen = full, plain
            for name in nested.path.split("."):
                found, seen = found[name], seen.get(name, {}) if seen else {}
            assert seen == (found if nested.embedded else {}), nested.path
            assert found["object"] == "list"
            assert len(found["data"]) <= 10
            assert found["has_more"] is False or len(found["data"]) == 10
            assert {one["object"] for one in found["data"]} <= set(nested.objects)
            if nested.url:
                assert full["id"] in found["url"]
                assert "{" not in found["url"]


@pytest.mark.parametrize(
    ("stream", "child"), [("invoices", "invoice_line_items"), ("subscriptions", "subscription_items")]
)
def test_an_embedded_list_is_the_first_page_of_the_children(stream: str, child: str):
    sizes = []
    field = STREAMS[stream].nested[0].path
    for ordinal in range(SMALL.count(stream)):
        count = SMALL.count(child, ordinal)
        sizes.append(count)
        if count > 9:
            embedded = show(SMALL, stream, ordinal)[field]
            assert embedded["data"] == [show(SMALL, child, at, ordinal) for at in range(min(10, count))]
            assert embedded["has_more"] is (count > 10)
    assert {11, 101, 250} <= set(sizes) or {12, 25} <= set(sizes)


def test_what_is_absent_unless_expanded():
    tiered = next(
        row
        for row in range(SMALL.count("prices"))
        if show(SMALL, "prices", row)["billing_scheme"] == "tiered"
    )
    assert "tiers" not in show(SMALL, "prices", tiered)
    assert len(show(SMALL, "prices", tiered, None, "tiers")["tiers"]) == 2
    assert "currency_options" not in show(SMALL, "shipping_rates", 0)["fixed_amount"]
    assert (
        "eur"
        in show(SMALL, "shipping_rates", 0, None, "fixed_amount.currency_options")["fixed_amount"][
            "currency_options"
        ]
    )


FILTERS = [
    ("balance_transactions", "source"),
    ("charges", "customer"),
    ("charges", "payment_intent"),
    ("credit_notes", "customer"),
    ("credit_notes", "invoice"),
    ("customers", "email"),
    ("disputes", "charge"),
    ("disputes", "payment_intent"),
    ("invoice_items", "invoice"),
    ("invoice_items", "customer"),
    ("invoice_payments", "invoice"),
    ("invoices", "customer"),
    ("payment_intents", "customer"),
    ("payment_methods", "customer"),
    ("plans", "product"),
    ("prices", "product"),
    ("quotes", "customer"),
    ("refunds", "charge"),
    ("refunds", "payment_intent"),
    ("setup_intents", "customer"),
    ("subscriptions", "customer"),
    ("checkout_sessions", "payment_intent"),
]


@pytest.mark.parametrize(("stream", "field"), FILTERS)
def test_a_filter_finds_what_a_scan_finds(stream: str, field: str):
    one = world.build(seed=3, objects=6_000, now=NOW)
    expected: dict[str, list[int]] = {}
    for ordinal in range(one.count(stream)):
        value = show(one, stream, ordinal)[field]
        if value is not None:
            expected.setdefault(value, []).append(ordinal)
    assert expected
    for value, ordinals in expected.items():
        chosen = one.select(stream, {field: value})
        assert chosen is not None
        assert list(chosen) == ordinals, value
    assert list(one.select(stream, {field: "nothing_like_this"}) or ()) == []


@pytest.mark.parametrize(
    ("stream", "above", "field"),
    [
        ("charges", "customers", "customer"),
        ("invoices", "customers", "customer"),
        ("refunds", "charges", "charge"),
        ("invoice_payments", "invoices", "invoice"),
        ("invoices", "subscriptions", "subscription"),
    ],
)
def test_a_filter_finds_nothing_for_those_who_have_none(stream: str, above: str, field: str):
    one = world.build(seed=3, objects=3_000, now=NOW)
    found = 0
    for ordinal in range(one.count(above)):
        chosen = one.select(stream, {field: one.id(above, ordinal)})
        assert chosen is not None
        found += len(chosen)
    assert found <= one.count(stream)


def test_canceled_subscriptions_are_a_quarter_and_can_be_left_out():
    canceled = SMALL.select("subscriptions", {"status": "canceled"})
    others = SMALL.select("subscriptions", {"status": "!canceled"})
    assert canceled is not None
    assert others is not None
    assert len(canceled) * 4 == pytest.approx(SMALL.count("subscriptions"), abs=4)
    assert sorted([*canceled, *others]) == list(range(SMALL.count("subscriptions")))
    assert {show(SMALL, "subscriptions", row)["status"] for row in canceled} == {"canceled"}
    assert "canceled" not in {show(SMALL, "subscriptions", row)["status"] for row in others}
    assert list(others[:3]) == [others[0], others[1], others[2]]
    with pytest.raises(IndexError):
        others[len(others)]


def test_filters_combine_and_unknown_ones_are_left_to_the_caller():
    invoice = next(row for row in range(50) if show(SMALL, "invoices", row)["customer"])
    customer = show(SMALL, "invoices", invoice)["customer"]
    both = SMALL.select("invoices", {"customer": customer, "status": "paid"})
    alone = SMALL.select("invoices", {"customer": customer})
    assert both is not None
    assert alone is not None
    assert [row for row in alone if show(SMALL, "invoices", row)["status"] == "paid"] == list(both)
    assert SMALL.select("invoices", {"status": "paid"}) is None
    assert SMALL.select("charges", {"transfer_group": "group_1"}) is None
    assert SMALL.select("invoices", {"customer": customer, "due_date": "1"}) is not None
    assert SMALL.select("events", {"type": "charge.succeeded"}) is None


def test_events_tell_of_everything_created_in_the_last_thirty_days():
    events = [show(SMALL, "events", ordinal) for ordinal in range(SMALL.count("events"))]
    begin = NOW - 30 * 86_400
    assert all(begin <= event["created"] <= NOW for event in events)
    told = {event["data"]["object"]["id"] for event in events}
    for stream in ("charges", "customers", "invoices", "refunds", "prices"):
        recent = range(SMALL.bisect(stream, begin), SMALL.count(stream))
        assert {SMALL.id(stream, ordinal) for ordinal in recent} <= told
    known = set(catalog.load().event_types)
    assert {event["type"] for event in events} <= known
    for event in events:
        if event["type"].startswith("charge."):
            assert event["type"].removeprefix("charge.") in (
                event["data"]["object"].get("status"),
                "dispute.created",
            )


def test_the_payload_of_an_event_is_the_object_as_it_is():
    for ordinal in range(0, SMALL.count("events"), 7):
        event = show(SMALL, "events", ordinal)
        id = event["data"]["object"]["id"]
        stream = next(name for name in STREAMS if name != "plans" and SMALL.find(name, id))
        at = SMALL.find(stream, id)
        assert at is not None
        assert event["data"]["object"] == show(SMALL, stream, *at)
        assert SMALL.find("events", event["id"]) == (ordinal, None)
