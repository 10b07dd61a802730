"""Side by side and one by one: what becomes of each stream when lists are refused, lacking, or wait for others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import double
import pytest
import scripted
from pulling import Stripe, pull, query

from tidegate import catalog, errors
from tidegate.pull import plan, report, scope, walks
from tidegate.stripe import attempts

STREAMS = catalog.load().streams


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.02)


def told(result: report.Result) -> dict[str, tuple[str, int]]:
    """Status and rows by stream."""
    return {each.stream: (each.status, each.read) for each in result.outcomes}


def forbidden(permission: str) -> scripted.Answer:
    return 403, scripted.refusal(f"The key needs '{permission}' on account 'acct_1'.")


CARD = {"id": "card_1", "object": "card"}
CUSTOMER: dict[str, Any] = {
    "id": "cus_1",
    "object": "customer",
    "created": 1_700_000_000,
    "sources": {"object": "list", "data": [CARD], "has_more": False, "url": "/v1/customers/cus_1/sources"},
    "tax_ids": {"object": "list", "data": [], "has_more": False, "url": "/v1/customers/cus_1/tax_ids"},
}
NO_CONNECT = (400, scripted.refusal("You can only list accounts if you have signed up for Connect."))


def customers(query: scripted.Query) -> scripted.Answer:
    return scripted.listed([CUSTOMER], query)


# A stream from two lists


def test_a_stream_from_two_lists_is_whole_when_the_account_has_only_one_of_them(tmp_path: Path) -> None:
    """Whoever has no Connect has no cards of connected accounts; those of customers are all there are."""
    script = scripted.Script(routes={"/v1/customers": customers, "/v1/accounts": lambda _: NO_CONNECT})
    with double.serving(script) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "cards")
    assert (result.exit_code, told(result)) == (0, {"cards": ("ok", 1)})


def test_a_stream_from_two_lists_of_which_there_is_none_is_not_enabled(tmp_path: Path) -> None:
    script = scripted.Script(
        lists={"/v1/charges": double.charges(1)}, routes={"/v1/accounts": lambda _: NO_CONNECT}
    )
    with double.serving(script) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "cards", "charges")
    assert told(result) == {"cards": ("not_enabled", 0), "charges": ("ok", 1)}


def test_a_stream_from_two_lists_of_which_one_is_forbidden_is_not_whole(tmp_path: Path) -> None:
    script = scripted.Script(
        routes={"/v1/customers": customers, "/v1/accounts": lambda _: forbidden("rak_connected_account_read")}
    )
    with double.serving(script) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "cards")
    (outcome,) = result.outcomes
    assert (outcome.status, outcome.read) == ("no_permission", 1)
    assert "rak_connected_account_read" in outcome.error
    assert result.exit_code == 1


def test_open_and_closed_accounts_are_two_lists_of_one_table(tmp_path: Path) -> None:
    def answer(query: scripted.Query) -> scripted.Answer:
        id = "acct_closed" if query.get("closed") == "true" else "acct_open"
        account = {"id": id, "object": "v2.core.account", "created": "2025-01-01T00:00:00.000Z"}
        return {"data": [account], "next_page_url": None}

    script = scripted.Script(routes={"/v2/core/accounts": answer})
    with double.serving(script) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "v2_core_accounts")
    assert told(result) == {"v2_core_accounts": ("ok", 2)}
    found = query(tmp_path / "w.duckdb", "select id from stripe.v2_core_accounts order by id")
    assert [row["id"] for row in found] == ["acct_closed", "acct_open"]


# What is expanded


def test_what_may_not_be_expanded_is_left_out_and_the_list_is_read(tmp_path: Path) -> None:
    """Stripe refuses a whole list that is to show one field of another permission."""

    def answer(query: scripted.Query) -> scripted.Answer:
        return forbidden("rak_tax_calculations_read") if "expand[]" in query else customers(query)

    script = scripted.Script(routes={"/v1/customers": answer})
    notes: list[str] = []

    class Screen(report.Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    with double.serving(script) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "customers", screen=Screen())
    assert (result.exit_code, told(result)) == (0, {"customers": ("ok", 1)})
    (note,) = notes
    assert "rak_tax_calculations_read" in note


def test_nested_lists_of_another_permission_do_not_take_their_parent_along(tmp_path: Path) -> None:
    lacking = STREAMS["cards"].permission

    def answer(query: scripted.Query) -> scripted.Answer:
        return forbidden("rak_other_read") if "expand[]" in query else customers(query)

    script = scripted.Script(routes={"/v1/customers": answer, "/v1/accounts": lambda _: NO_CONNECT})
    with double.serving(script) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "customers", "customer_tax_ids")
    assert lacking
    assert told(result) == {"customers": ("ok", 1), "customer_tax_ids": ("no_permission", 0)}
    assert result.exit_code == 3


def test_a_forbidden_list_costs_one_request(tmp_path: Path) -> None:
    lacking = STREAMS["customers"].permission
    script = scripted.Script(
        lists={"/v1/charges": double.charges(1)}, routes={"/v1/customers": lambda _: forbidden(lacking)}
    )
    with double.serving(script) as url:
        source = {"account_id": "acct_1"}
        result = pull(Stripe(url), tmp_path / "w.duckdb", "customers", "charges", source=source)
    assert told(result)["customers"] == ("no_permission", 0)
    assert len(script.asked_for("/v1/customers")) == 1


# Waiting for parents


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (forbidden("rak_setup_intent_read"), "no_permission"),
        (NO_CONNECT, "not_enabled"),
        (scripted.BROKEN, "failed"),
    ],
)
def test_children_of_what_could_not_be_read_say_why(
    refusal: scripted.Answer, status: str, tmp_path: Path
) -> None:
    own = {"id": "acct_1", "object": "account"}
    script = scripted.Script(routes={"/v1/account": lambda _: own, "/v1/setup_intents": lambda _: refusal})
    with double.serving(script) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "setup_intents", "setup_attempts")
    child = next(each for each in result.outcomes if each.stream == "setup_attempts")
    assert child.status == status
    assert child.error.startswith("needs setup_intents to be complete: ")
    assert script.asked_for("/v1/setup_attempts") == []


def test_children_of_what_was_read_in_part_are_not_partly_there(tmp_path: Path) -> None:
    intents = scripted.rows("seti", 300, object="setup_intent", latest_attempt="setatt_1")

    def answer(query: scripted.Query) -> scripted.Answer:
        return scripted.BROKEN if "starting_after" in query else scripted.listed(intents, query)

    script = scripted.Script(routes={"/v1/setup_intents": answer})
    with double.serving(script) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "setup_intents", "setup_attempts")
    assert told(result) == {"setup_intents": ("partial", 100), "setup_attempts": ("failed", 0)}


# The meaning of errors


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.PermissionMissing("x"), "no_permission"),
        (errors.NotEnabled("x"), "not_enabled"),
        (errors.ServerFault("x"), "failed"),
        (errors.Unreachable("x"), "failed"),
        (errors.BadPage("x"), "failed"),
    ],
)
def test_what_an_error_makes_of_a_stream(error: errors.TidegateError, status: str) -> None:
    assert walks.status(error) == status


def test_the_first_of_many_errors_however_deep() -> None:
    one = errors.BadPage("one")
    inner: ExceptionGroup[errors.TidegateError] = ExceptionGroup("inner", [one, errors.BadPage("two")])
    assert walks.first(ExceptionGroup("outer", [inner])) is one


def test_only_what_is_expanded_can_be_refused_as_such() -> None:
    (customers,) = plan.plan(STREAMS, ["customers"]).walks
    (payouts,) = plan.plan(STREAMS, ["payouts"]).walks
    other = errors.PermissionMissing("x", permission="rak_tax_read")
    assert walks.refuses_expand(other, customers)
    assert not walks.refuses_expand(other, payouts)
    own = errors.PermissionMissing("x", permission=STREAMS["customers"].permission)
    assert not walks.refuses_expand(own, customers)
    assert not walks.refuses_expand(errors.PermissionMissing("x"), customers)
    assert walks.refuses_expand(errors.InvalidRequest("x", param="expand[0]"), payouts)
    assert not walks.refuses_expand(errors.InvalidRequest("x", param="limit"), payouts)


# The start of each stream


def test_nested_streams_with_starts_of_their_own_come_from_the_earliest_on(tmp_path: Path) -> None:
    """The lines wanted from before the invoices' start are in invoices from before it."""
    line = {"id": "il_1", "object": "line_item"}
    lines = {"object": "list", "data": [line], "has_more": False, "url": "/v1/invoices/x/lines"}
    invoices = [
        {**each, "lines": {**lines, "data": [{**line, "id": f"il_{each['id']}"}]}}
        for each in scripted.rows("in", 20, object="invoice")
    ]
    script = scripted.Script(routes={"/v1/invoices": lambda q: scripted.listed(invoices, q)})
    choices = {
        "invoices": scope.Choice(start=1_700_000_015),
        "invoice_line_items": scope.Choice(start=1_700_000_005),
    }
    with double.serving(script) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "invoices", "invoice_line_items", choices=choices)
    assert told(result)["invoice_line_items"] == ("ok", 15)
