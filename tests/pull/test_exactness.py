"""What the model test has found, each in as few steps as show it."""

from __future__ import annotations

import exact
import model

from tidegate.config import conditions
from tidegate.pull import scope

DAY = 86_400
NOBODY = conditions.Condition.model_validate({"field": "name", "op": "is", "value": "nobody has this name"})


def none_of(stream: str) -> dict[str, dict[str, object]]:
    """Choices under which no row of a stream belongs into its table."""
    return {
        "views": {stream: exact.View(model.STREAMS[stream], where=lambda _: False)},
        "choices": {stream: scope.Choice(where=NOBODY)},
    }


def test_a_customer_that_is_not_stored_takes_its_cards_along_in_a_gap() -> None:
    with model.case(model.wishes("customers", "cards", **none_of("customers"))) as case:
        owner = case.ask("POST", "/v1/customers", name="Ada")["id"]
        card = case.ask("POST", f"/v1/customers/{owner}/sources", source="tok_visa")["id"]
        case.wait(seconds=60)
        case.pull()
        case.ask("DELETE", f"/v1/customers/{owner}")
        case.wait(seconds=31 * DAY)
        assert case.settle() + case.differences() == []
        assert case.row("cards", card)["_deleted_at"] is not None


def test_a_customer_that_went_while_its_list_was_begun_again_is_gone() -> None:
    """Cards may not be read, so the customers' list is never done and is read from its top in every pull."""
    with model.case(model.wishes("customers", "cards", "bank_accounts")) as case:
        case.lose(stream="cards")
        gone = case.ask("POST", "/v1/customers", name="Ada")["id"]
        case.wait(seconds=60)
        case.pull()
        case.ask("DELETE", f"/v1/customers/{gone}")
        case.wait(seconds=2)
        case.pull()  # too early for the event, which is younger than five seconds
        case.wait(seconds=60)
        assert case.settle() + case.differences() == []
        assert case.row("customers", gone)["_deleted_at"] is not None


def test_a_deletion_told_while_the_key_could_not_read_is_found_later() -> None:
    """The invoice came by a payload; its deletion in that very second had to be asked for, and could not be."""
    with model.case(model.wishes("customers", "invoices", "invoice_line_items")) as case:
        case.wait(seconds=60)
        case.pull()
        case.lose(stream="invoices")
        owner = case.ask("POST", "/v1/customers", name="Ada")["id"]
        case.wait(seconds=10)
        case.pull()
        invoice = case.ask("POST", "/v1/invoices", customer=owner)["id"]
        case.delay(seconds=300.0)
        case.ask("DELETE", f"/v1/invoices/{invoice}")
        case.wait(seconds=7)
        case.pull()
        assert case.row("invoices", invoice)["_deleted_at"] is None
        case.wait(seconds=310)
        case.pull()
        assert case.settle() + case.differences() == []
        assert case.row("invoices", invoice)["_deleted_at"] is not None


def test_events_since_a_gap_are_kept_too() -> None:
    with model.case(model.wishes("customers", "events")) as case:
        case.pull()
        case.wait(seconds=40 * DAY)
        customer = case.ask("POST", "/v1/customers", name="Ada")["id"]
        case.wait(seconds=DAY)
        assert case.settle() + case.differences() == []
        told = case.rows("select data from stripe.events where type = 'customer.created'")
        assert any(customer in row["data"] for row in told)


def test_an_object_from_before_the_start_leaves_no_history() -> None:
    """Its promotion code touches the coupon, and does not say how old that is."""
    chosen = model.wishes(
        "coupons", "promotion_codes", history=("coupons",), start=model.NOW + 50, exclude=True
    )
    with model.case(chosen) as case:
        old = case.ask("POST", "/v1/coupons", percent_off=20, duration="once")["id"]
        case.wait(seconds=100)
        case.pull()
        case.ask("POST", f"/v1/coupons/{old}", name="Spring")
        case.wait(seconds=2)
        case.ask("POST", "/v1/promotion_codes", promotion={"type": "coupon", "coupon": old})
        case.wait(seconds=60)
        assert case.settle() + case.differences() == []
        assert case.rows("select * from stripe.coupons_history where id = ?", old) == []


def test_a_list_that_was_due_before_a_gap_loses_what_went_in_it() -> None:
    """The invoice came after the list became due, so that due date says nothing of it."""
    with model.case(model.wishes("customers", "invoices", "invoice_line_items")) as case:
        owner = case.ask("POST", "/v1/customers", name="Ada")["id"]
        case.pull()
        case.pull(full=True, trouble=[{"kind": "lock", "path": "/v1/invoices"}])
        case.wait(seconds=60)
        invoice = case.ask("POST", "/v1/invoices", customer=owner)["id"]
        case.wait(seconds=60)
        case.pull(trouble=[{"kind": "lock", "path": "/v1/invoices"}])
        assert case.row("invoices", invoice)["_deleted_at"] is None
        case.ask("DELETE", f"/v1/invoices/{invoice}")
        case.wait(seconds=45 * DAY)
        assert case.settle() + case.differences() == []
        assert case.row("invoices", invoice)["_deleted_at"] is not None


def test_whose_the_key_is_is_not_guessed_while_stripe_fails() -> None:
    with model.case(model.wishes("customers")) as case:
        assert case.pull(trouble=[{"kind": "lock", "path": "/v1/account"}]) is None
        assert case.settle() + case.differences() == []
        accounts = case.rows("select distinct _account_id as account from stripe.customers")
        assert accounts == [{"account": case.stripe.platform.account}]


def test_no_history_is_begun_for_a_row_that_may_not_be_read() -> None:
    with model.case(model.wishes("customers", history=("customers",))) as case:
        case.pull()
        case.lose(stream="customers")
        gone = case.ask("POST", "/v1/customers", name="Ada")["id"]
        case.wait(seconds=20)
        case.pull()
        case.ask("DELETE", f"/v1/customers/{gone}")
        case.wait(seconds=20)
        case.pull()
        assert case.settle() + case.differences() == []
        assert case.rows("select * from stripe.customers_history where id = ?", gone) == []
