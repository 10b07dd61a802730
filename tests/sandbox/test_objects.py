"""The overlay: whatever is created, changed and deleted, a list is what a plain sorted list would be."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import catalog
from tidegate.sandbox import clock, lists, objects, shelves, world

NOW = 1_790_000_000
FACTS = catalog.load()
CUSTOMERS = FACTS.streams["customers"]
LISTING = lists.Listing("/v1/customers", "v1", ((CUSTOMERS, CUSTOMERS.origins[0]),))


def book(customers: int = 7) -> objects.Book:
    made = world.build(counts={"customers": customers}, now=NOW)
    return objects.Book(made, made.account, clock.Clock(NOW), FACTS)


def page(of: objects.Book, **params: str) -> dict[str, Any]:
    return json.loads(lists.page(of, LISTING, {}, params, "/v1/customers"))  # type: ignore[no-any-return]  # JSON


def walk(of: objects.Book, limit: int, **params: str) -> list[str]:
    """All ids, by pages."""
    found: list[str] = []
    while True:
        cursor = {"starting_after": found[-1]} if found else {}
        got = page(of, limit=str(limit), **params, **cursor)
        found += [one["id"] for one in got["data"]]
        if not got["has_more"]:
            return found


def customer(id: str, created: int) -> objects.Object:
    return {"id": id, "object": "customer", "created": created, "email": f"{id}@example.com"}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.integers(-3, 3)),
        st.tuples(st.just("backdate"), st.integers(0, 30_000_000)),
        st.tuples(st.just("update"), st.integers(0, 30)),
        st.tuples(st.just("delete"), st.integers(0, 30)),
        st.tuples(st.just("again"), st.integers(0, 30)),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(steps, st.integers(1, 4), st.integers(0, 8))
def test_lists_equal_a_plain_model(taken: list[tuple[str, int]], limit: int, base: int) -> None:
    of = book(base)
    model = {of.world.id("customers", n): (of.world.created("customers", n), 0, n) for n in range(base)}
    changed, deleted = set[str](), set[str]()
    for number, (step, value) in enumerate(taken):
        if step in ("create", "backdate"):
            created = NOW + value if step == "create" else NOW - value
            of.put("customers", customer(f"cus_{number}", created))
            model[f"cus_{number}"] = (created, 1, number)
        elif step == "again":
            if deleted:
                id = sorted(deleted)[value % len(deleted)]
                of.put("customers", customer(id, NOW))
                model[id] = (NOW, 1, number)
                deleted.discard(id)
                changed.discard(id)
        elif model:
            id = sorted(model)[value % len(model)]
            if step == "update":
                found = of.get("customers", id)
                assert found is not None
                of.put("customers", {**found, "description": "changed"})
                changed.add(id)
            else:
                of.remove("customers", id, {"id": id, "object": "customer", "deleted": True})
                del model[id]
                deleted.add(id)

    expected = sorted(model, key=lambda id: model[id], reverse=True)
    assert walk(of, limit) == expected
    assert of.count("customers") == len(expected)
    for place, id in enumerate(expected):
        before = page(of, limit=str(limit), ending_before=id)
        assert [one["id"] for one in before["data"]] == expected[max(0, place - limit) : place]
        assert before["has_more"] == (place > limit)
        shown = json.loads(of.render("customers", of.locate("customers", id) or shelves.Ref(0, 0, 0, "")))
        assert (shown.get("description") == "changed") == (id in changed)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-5, 5), max_size=12), st.integers(-6, 6), st.integers(-6, 6))
def test_created_cuts_half_open(times: list[int], low: int, top: int) -> None:
    of = book(0)
    for number, offset in enumerate(times):
        of.put("customers", customer(f"cus_{number}", NOW + offset))

    found = walk(of, 3, **{"created": {"gte": str(NOW + low), "lt": str(NOW + top)}})  # type: ignore[arg-type]  # nested

    inside = [(offset, number) for number, offset in enumerate(times) if low <= offset < top]
    assert found == [f"cus_{number}" for _, number in sorted(inside, reverse=True)]


def test_base_objects_are_not_stored() -> None:
    of = book(50)
    walk(of, 10)

    assert of.pristine("customers")
    assert not of.touched("customers")


def test_a_changed_parent_shows_its_children_as_they_are_now() -> None:
    made = world.build(objects=3_000, now=NOW)
    of = objects.Book(made, made.account, clock.Clock(NOW), FACTS)
    invoice = next(n for n in range(made.count("invoices")) if made.count("invoice_line_items", n) > 10)
    id, lines = made.id("invoices", invoice), made.count("invoice_line_items", invoice)
    first = made.id("invoice_line_items", 0, invoice)
    ref = of.locate("invoices", id)
    assert ref is not None
    before = of.show("invoices", ref)

    of.remove("invoice_line_items", first, {"id": first, "object": "line_item", "deleted": True})

    after = of.show("invoices", ref)
    assert before["lines"]["data"][0]["id"] == first
    assert after["lines"]["data"][:9] == before["lines"]["data"][1:]
    assert after["lines"]["has_more"] == (lines - 1 > 10)
    assert {name: value for name, value in after.items() if name != "lines"} == {
        name: value for name, value in before.items() if name != "lines"
    }
    assert len(list(of.children("invoice_line_items", "invoices", id))) == lines - 1


def test_children_know_their_parents() -> None:
    made = world.build(objects=4_000, accounts=2, now=NOW)
    of = objects.Book(made, made.account, clock.Clock(NOW), FACTS)
    for stream in ("invoice_line_items", "subscription_items", "customer_tax_ids", "source_transactions"):
        every = list(of.every(stream))
        assert every
        for parent, ref in every[:50]:
            id = of.id(stream, ref)
            assert of.parent_of(stream, id) == parent
            assert of.locate(stream, id) == ref


def test_every_child_is_listed_of_exactly_one_parent() -> None:
    made = world.build(objects=3_000, accounts=2, now=NOW)
    of = objects.Book(made, made.account, clock.Clock(NOW), FACTS)

    for stream in ("cards", "bank_accounts", "account_capabilities", "transfer_reversals"):
        every = [(parent, of.id(stream, ref)) for parent, ref in of.every(stream)]
        assert len(every) == len(set(every)) > 0
