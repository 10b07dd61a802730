"""Somebody else at work between a read and the next write."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Stripe, client


def meddle(stripe: Stripe, **one: Any) -> None:
    stripe.control("meddle", {"meddles": [one]})


def done(stripe: Stripe) -> list[tuple[str, str]]:
    found = stripe.get("/_sandbox/meddle").json["done"]
    return [(one["kind"], one["id"]) for one in found]


def test_an_object_is_changed_between_a_read_and_the_next_write(stripe: Stripe) -> None:
    api = client(stripe)
    id = api.v1.customers.create({"name": "Ada", "phone": "1"}).id
    meddle(stripe, kind="change", values={"phone": "2", "metadata": {"by": "hand"}})

    assert api.v1.customers.retrieve(id).phone == "1"
    written = api.v1.customers.update(id, {"name": "Bea"})

    assert (written.name, written.phone, written.metadata["by"]) == ("Bea", "2", "hand")
    assert done(stripe) == [("change", id)]
    by_hand, ours = stripe.events(type="customer.updated")
    assert by_hand["data"]["previous_attributes"] == {"phone": "1", "metadata": {"by": None}}
    assert ours["data"]["previous_attributes"] == {"name": "Ada"}
    assert by_hand["request"]["idempotency_key"] != ours["request"]["idempotency_key"]
    assert [one["path"] for one in stripe.writes(op="update")] == [f"/v1/customers/{id}"]


def test_what_was_not_read_since_is_left_alone(stripe: Stripe) -> None:
    id = stripe.make("/v1/customers", name="Ada")["id"]
    meddle(stripe, kind="change", values={"phone": "2"})
    assert stripe.make(f"/v1/customers/{id}", name="Bea")["phone"] is None

    stripe.get("/v1/customers", {"limit": 1})
    assert stripe.make(f"/v1/customers/{id}", name="Cleo")["phone"] == "2"
    assert stripe.make(f"/v1/customers/{id}", name="Dora")["phone"] == "2"
    assert len(done(stripe)) == 1


def test_an_object_is_deleted_between_a_read_and_the_next_write(stripe: Stripe) -> None:
    id = stripe.make("/v1/customers", name="Ada")["id"]
    meddle(stripe, kind="delete", id=id)
    stripe.get(f"/v1/customers/{id}")
    answer = stripe.post(f"/v1/customers/{id}", {"name": "Bea"})

    assert (answer.status, answer.error["code"]) == (404, "resource_missing")
    assert stripe.get(f"/v1/customers/{id}").json["deleted"] is True
    assert done(stripe) == [("delete", id)]


def test_another_customer_of_the_same_email_is_made_between_a_lookup_and_the_create(stripe: Stripe) -> None:
    meddle(stripe, kind="double", times=1)
    assert stripe.get("/v1/customers", {"email": "ada@example.com"}).ids == []
    ours = stripe.make("/v1/customers", email="ada@example.com", name="Ada")["id"]

    ((_, theirs),) = done(stripe)
    assert stripe.get("/v1/customers", {"email": "ada@example.com"}).ids == [ours, theirs]
    assert [one["id"] for one in stripe.writes()] == [ours]


def test_it_comes_after_the_write_where_that_is_asked_for(stripe: Stripe) -> None:
    id = stripe.make("/v1/customers", name="Ada")["id"]
    meddle(stripe, kind="change", values={"name": "Theirs"}, when="after")
    stripe.get(f"/v1/customers/{id}")

    assert stripe.make(f"/v1/customers/{id}", name="Ours")["name"] == "Ours"
    assert stripe.get(f"/v1/customers/{id}").json["name"] == "Theirs"


def test_it_comes_so_often_after_so_many(stripe: Stripe) -> None:
    meddle(stripe, kind="change", values={"phone": "2"}, skip=1, times=1)
    found = []
    for _ in range(3):
        id = stripe.make("/v1/customers")["id"]
        stripe.get(f"/v1/customers/{id}")
        found.append(stripe.make(f"/v1/customers/{id}", name="Ada")["phone"])

    assert found == [None, "2", None]


def test_it_comes_by_chance(stripe: Stripe) -> None:
    meddle(stripe, kind="change", probability=0.5)
    id = stripe.make("/v1/customers")["id"]
    for i in range(60):
        stripe.get(f"/v1/customers/{id}")
        stripe.make(f"/v1/customers/{id}", name=f"Ada {i}")

    assert 10 <= len(done(stripe)) <= 50


def test_what_stripe_would_refuse_does_not_happen(stripe: Stripe) -> None:
    meddle(stripe, kind="change", values={"email": "nonsense"})
    id = stripe.make("/v1/customers", name="Ada")["id"]
    stripe.get(f"/v1/customers/{id}")

    assert stripe.make(f"/v1/customers/{id}", name="Bea")["email"] is None
    assert done(stripe) == []


def test_a_replay_is_not_meddled_with(stripe: Stripe) -> None:
    id = stripe.make("/v1/customers", name="Ada")["id"]
    sent = {"Idempotency-Key": "k1"}
    first = stripe.post(f"/v1/customers/{id}", {"name": "Bea"}, headers=sent).body
    meddle(stripe, kind="delete")
    stripe.get(f"/v1/customers/{id}")

    assert stripe.post(f"/v1/customers/{id}", {"name": "Bea"}, headers=sent).body == first
    assert done(stripe) == []


def test_meddling_that_is_not_known_is_refused(stripe: Stripe) -> None:
    with pytest.raises(AssertionError, match="Invalid enum value"):
        meddle(stripe, kind="explode")


@pytest.mark.parametrize(("upper", "exactly"), [(False, 2), (True, 1)])
def test_customers_are_doubled_at_setup(stripe: Stripe, upper: bool, exactly: int) -> None:
    doubled = stripe.control("doubles", {"customers": 3, "upper": upper})["doubled"]

    assert len(doubled) == 3
    for one in doubled:
        found = stripe.get("/v1/customers", {"email": one["email"]}).ids
        assert len(found) == exactly
        assert set(found) <= set(one["ids"])
        hits = stripe.get("/v1/customers/search", {"query": f"email:'{one['email']}'"}).ids
        assert set(hits) == set(one["ids"])
