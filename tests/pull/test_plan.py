"""Which lists are read for which streams."""

from __future__ import annotations

import pytest

from tidegate import catalog, errors
from tidegate.pull import plan

STREAMS = catalog.load().streams


def walks(*wanted: str) -> dict[str, plan.Walk]:
    return {walk.name: walk for walk in plan.plan(STREAMS, wanted).walks}


def test_a_top_level_stream_is_one_walk() -> None:
    (walk,) = walks("charges").values()
    assert walk.node.origin.path == "/v1/charges"
    assert walk.sliced
    assert not walk.node.branches


def test_nested_lists_ride_along_with_their_parent() -> None:
    (walk,) = walks("invoices", "invoice_line_items").values()
    assert list(walk.node.streams()) == ["invoices", "invoice_line_items"]
    assert [branch.nested.path for branch in walk.node.branches] == ["lines"]


def test_a_child_alone_passes_through_its_parent_and_keeps_nothing_of_it() -> None:
    (walk,) = walks("subscription_items").values()
    assert walk.node.stream.name == "subscriptions"
    assert not walk.node.kept
    assert list(walk.node.streams()) == ["subscription_items"]


def test_lists_that_are_absent_otherwise_are_asked_for() -> None:
    (walk,) = walks("checkout_sessions", "checkout_sessions_line_items").values()
    assert "data.line_items" in list(walk.node.expand())
    assert not list(walks("subscriptions", "subscription_items")["subscriptions"].node.expand())


def test_canceled_subscriptions_are_asked_for() -> None:
    assert walks("subscriptions")["subscriptions"].node.origin.params == {"status": "all"}


def test_a_mixed_list_is_one_branch_with_a_node_per_object() -> None:
    (branch,) = walks("customers", "bank_accounts", "cards")["customers"].node.branches
    assert [node.stream.name for node in branch.nodes] == ["bank_accounts", "cards"]


def test_children_per_parent_come_after_their_parent() -> None:
    planned = plan.plan(STREAMS, ["customer_balance_transactions", "customers"]).walks
    assert [walk.name for walk in planned] == ["customers", "customer_balance_transactions"]
    assert planned[1].after == ("customers",)


def test_children_whose_parent_is_not_kept_wait_for_nobody() -> None:
    (walk,) = walks("setup_attempts").values()
    assert walk.after == ()


def test_everything_means_every_stream_that_costs_no_request_per_pair() -> None:
    planned = plan.plan(STREAMS, ["*"])
    left_out = set(STREAMS) - {stream.name for stream in planned.streams}
    assert left_out == {name for name, stream in STREAMS.items() if not stream.default}
    assert not planned.named
    carried = [name for walk in planned.walks for name in walk.node.streams()]
    assert set(carried) == {stream.name for stream in planned.streams}


def test_every_stream_alone_has_a_way_to_it() -> None:
    for name in STREAMS:
        assert any(name in walk.node.streams() for walk in plan.plan(STREAMS, [name]).walks), name


def test_every_list_is_walked_once() -> None:
    planned = plan.plan(STREAMS, ["*"])
    lists = [(walk.node.origin.path, tuple(walk.node.origin.params.items())) for walk in planned.walks]
    assert len(lists) == len(set(lists))


def test_a_pattern_chooses_many() -> None:
    names = {stream.name for stream in plan.plan(STREAMS, ["issuing_*"]).streams}
    assert {"issuing_cards", "issuing_authorizations"} <= names


@pytest.mark.parametrize(("typo", "meant"), [("charge", "charges"), ("subscripions", "subscriptions")])
def test_a_typo_is_answered_with_the_nearest_name(typo: str, meant: str) -> None:
    with pytest.raises(errors.ConfigError, match=f"no stream '{typo}'; did you mean '{meant}'"):
        plan.plan(STREAMS, [typo])


def test_a_walk_goes_on_without_what_the_key_may_not_see() -> None:
    whole = walks("customers", "customer_tax_ids", "cards")["customers"]
    less = plan.without(whole, "")
    assert less is not None
    assert list(less.node.streams()) == ["customers"]
    assert plan.without(whole, STREAMS["customers"].permission) is None
    assert plan.without(less, "") is None
