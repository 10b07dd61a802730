"""Which object a row is: never a wrong one, never a second one, and where nobody can tell a person is asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning import Before, before, customer, planned, push

from tidegate import errors
from tidegate.catalog import writes
from tidegate.push import targets

JANE = {"id": "1", "email": "jane@example.com", "name": "Jane", "plan": "pro"}
JOE = {"id": "2", "email": "joe@example.com", "name": "Joe", "plan": "free"}


def found(
    rows: list[dict[str, Any]], objects: list[dict[str, Any]], known: Before | None = None, **more: Any
) -> dict[str, Any]:
    """By row: the verdict of the plan, and the object."""
    told = planned(rows, objects, known=known, **more)
    return {key: (told.verdicts()[key], each.target) for key, each in told.entries.items()}


def test_a_row_without_an_object_is_created() -> None:
    assert found([JANE, JOE], []) == {"1": ("create", ""), "2": ("create", "")}


def test_one_match_is_updated() -> None:
    assert found([JANE], [customer("cus_1", "jane@example.com")]) == {"1": ("update", "cus_1")}


def test_e_mails_match_whatever_their_case() -> None:
    assert found([JANE], [customer("cus_1", "Jane@Example.COM ")]) == {"1": ("update", "cus_1")}


def test_e_mails_match_exactly_where_that_is_wanted() -> None:
    exact = push(match={"email": {"from": "email", "case": "exact"}})
    assert found([JANE], [customer("cus_1", "Jane@Example.COM")], told=exact) == {"1": ("create", "")}


def test_the_link_counts_more_than_the_match() -> None:
    """Its e-mail was changed here, and somebody else has it there: the row still is who it was."""
    objects = [customer("cus_1", "old@example.com"), customer("cus_2", "jane@example.com")]
    assert found([JANE], objects, before(links={"1": "cus_1"})) == {"1": ("update", "cus_1")}


def test_several_matches_are_held_with_all_of_them() -> None:
    objects = [
        customer("cus_2", "jane@example.com", created=2),
        customer("cus_1", "JANE@example.com", created=1),
    ]
    told = planned([JANE], objects)
    assert told.verdicts() == {"1": "held:ambiguous"}
    assert told.entries["1"].candidates == ("cus_1", "cus_2")


@pytest.mark.parametrize(("policy", "target"), [("oldest", "cus_1"), ("newest", "cus_2")])
def test_or_one_of_them_is_taken(policy: str, target: str) -> None:
    objects = [
        customer("cus_2", "jane@example.com", created=2),
        customer("cus_1", "jane@example.com", created=1),
    ]
    assert found([JANE], objects, told=push(on_many=policy)) == {"1": ("update", target)}


def test_or_a_person_chooses_one() -> None:
    objects = [customer("cus_1", "jane@example.com"), customer("cus_2", "jane@example.com")]
    assert found([JANE], objects, chosen={"1": "cus_2"}) == {"1": ("update", "cus_2")}
    assert found([JANE], objects, chosen={"1": targets.CREATE}) == {"1": ("create", "")}


def test_deleted_objects_match_nothing() -> None:
    assert found([JANE], [customer("cus_1", "jane@example.com", deleted=True)]) == {"1": ("create", "")}


def test_what_somebody_deleted_is_not_made_again() -> None:
    deleted = [customer("cus_1", "jane@example.com", deleted=True)]
    noted = before(links={"1": "cus_1"}, gone={"1": "missing"})
    assert found([JANE], deleted, before(links={"1": "cus_1"})) == {"1": ("held:gone", "cus_1")}
    assert found([JANE], [], noted) == {"1": ("held:gone", "cus_1")}


def test_what_we_deleted_is_made_again_when_its_row_returns() -> None:
    assert found([JANE], [], before(links={"1": "cus_1"}, gone={"1": "deleted"})) == {"1": ("create", "")}


def test_two_rows_for_one_object_are_held_both() -> None:
    twin = {**JOE, "email": "JANE@example.com"}
    objects = [customer("cus_1", "jane@example.com")]
    assert found([JANE, twin], objects) == {"1": ("held:shared", "cus_1"), "2": ("held:shared", "cus_1")}


def test_an_object_stays_with_the_row_that_is_linked_to_it() -> None:
    twin = {**JOE, "email": "jane@example.com"}
    objects = [customer("cus_1", "jane@example.com")]
    told = found([JANE, twin], objects, before(links={"1": "cus_1"}))
    assert told == {"1": ("update", "cus_1"), "2": ("held:shared", "cus_1")}


def test_two_rows_that_would_create_the_same_are_held_both() -> None:
    twin = {**JOE, "email": " JANE@example.com"}
    assert found([JANE, twin], []) == {"1": ("held:doubled", ""), "2": ("held:doubled", "")}


def test_a_row_without_what_it_is_matched_by_is_invalid() -> None:
    assert found([{**JANE, "email": None}, {**JOE, "email": "  "}], []) == {
        "1": ("invalid", ""),
        "2": ("invalid", ""),
    }


def test_ids_of_metadata() -> None:
    ours = push(match={"metadata.ours": "id"})
    objects = [customer("cus_1", metadata={"ours": "1"}), customer("cus_2", metadata={"ours": "22"})]
    told = planned([JANE, JOE], objects, ours)
    assert told.verdicts() == {"1": "update", "2": "create"}
    assert told.entries["2"].changes["metadata.ours"].after == "2", "It is found by it the next time."


def test_several_keys_must_agree_all() -> None:
    both = push(match={"metadata.tenant": "plan", "metadata.user": "id"})
    objects = [
        customer("cus_1", metadata={"tenant": "pro", "user": "1"}),
        customer("cus_2", metadata={"tenant": "pro", "user": "2"}),
    ]
    assert found([JANE, JOE], objects, told=both) == {"1": ("update", "cus_1"), "2": ("create", "")}


def test_ids_of_stripe() -> None:
    by_id = push(match={"id": "email"}, fields={"name": "name"})
    rows = [{**JANE, "email": "cus_1"}, {**JOE, "email": "cus_9"}]
    assert found(rows, [customer("cus_1")], told=by_id) == {"1": ("update", "cus_1"), "2": ("invalid", "")}


def test_ids_that_the_creator_chooses() -> None:
    products = push(object="product", match={"id": "email"}, fields={"name": "name"})
    rows = [{**JANE, "email": "basic"}, {**JOE, "email": "large"}]
    there = {
        "id": "basic",
        "object": "product",
        "created": 1,
        "name": "Basic",
        "metadata": {},
        "active": True,
    }
    told = planned(rows, [there], products)
    assert told.verdicts() == {"1": "update", "2": "create"}
    assert {path: change.after for path, change in told.entries["2"].changes.items()} == {
        "id": "large",
        "name": "Joe",
    }


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"match": {"name": "name"}}, "no customer is found by name; match id, metadata.<key>, email"),
        (
            {"object": "invoice_item", "match": {"id": "id"}, "fields": {"amount": "plan"}},
            "no invoice_item is found by id; match metadata.<key>",
        ),
    ],
)
def test_what_finds_nothing_is_refused(told: dict[str, Any], sentence: str) -> None:
    of = writes.find(told.get("object", "customer"))
    assert of is not None
    with pytest.raises(errors.ConfigError, match=sentence):
        targets.check("people", push(**told), of)


EMAILS = st.sampled_from(["a@x.com", "A@x.com", "b@x.com", "c@x.com"])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(EMAILS, max_size=6),
    st.lists(st.tuples(EMAILS, st.booleans()), max_size=6),
    st.dictionaries(st.integers(0, 5), st.integers(0, 5), max_size=4),
)
def test_no_object_is_written_by_two_rows_and_none_is_created_twice(
    emails: list[str], there: list[tuple[str, bool]], linked: dict[int, int]
) -> None:
    rows = [{"id": f"{n}", "email": email, "name": "N", "plan": "p"} for n, email in enumerate(emails)]
    objects = [customer(f"cus_{n}", email, deleted=gone) for n, (email, gone) in enumerate(there)]
    owners = {target: key for key, target in linked.items()}  # an object is linked to one row
    links = {f"{key}": f"cus_{target}" for target, key in owners.items()}
    told = planned(rows, objects, known=before(links=links))
    written = [each.target for each in told.entries.values() if each.verdict in ("update", "equal")]
    assert len(written) == len(set(written))
    created = [emails[int(key)].lower() for key, each in told.entries.items() if each.verdict == "create"]
    assert len(created) == len(set(created))
    live = {email.lower() for email, gone in there if not gone}
    assert not live & set(created)
    assert not {key for key, each in told.entries.items() if each.verdict == "create"} & set(links)
