"""Where a push could have made two of one, written to the wrong one, or believed what was not so any more."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pushed_people as people
import pytest
from following import Merchant

from tidegate import errors, sandbox
from tidegate.push import compare

BY_REF = (
    "{model: people, to: acme, object: customer, match: {metadata.ref: ref}, "
    "fields: {name: name, metadata.ref: ref}}"
)


@pytest.fixture
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=0, counts={}) as url:
        yield Merchant(url)


def rows(folder: Path, *found: Mapping[str, str]) -> None:
    """The file of the model, with whatever columns its rows have."""
    with (folder / "people.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, list(found[0]))
        writer.writeheader()
        writer.writerows(found)


def begin(folder: Path, shop: Merchant, push: str, *found: Mapping[str, str]) -> dict[str, int]:
    """Write the configuration and push for the first time."""
    people.write(folder, shop.url, (), push)
    return again(folder, *found)


def again(folder: Path, *found: Mapping[str, str], **wish: Any) -> dict[str, int]:
    """Push these rows; the counters that are not zero."""
    rows(folder, *found)
    told = people.push(folder, **wish).document()
    return {
        name: n for name, n in told.items() if isinstance(n, int) and n and name not in ("requests", "left")
    }


def there(shop: Merchant, *paths: str) -> list[tuple[Any, ...]]:
    """Some fields of all customers that live."""
    found = [line["object"] for line in shop.truth("customers")]
    return sorted(
        (tuple(_at(each, path) for path in paths) for each in found if not each.get("deleted")), key=repr
    )


def _at(each: Mapping[str, Any], path: str) -> Any:
    """A field by its dotted path."""
    value: Any = each
    for step in path.split("."):
        value = value.get(step)
    return value


def test_a_row_that_moves_to_the_value_of_a_new_one_makes_no_two(shop: Merchant, tmp_path: Path) -> None:
    assert begin(tmp_path, shop, BY_REF, {"id": "1", "ref": "r1", "name": "A"}) == {"source": 1, "created": 1}
    shop.later()
    moved, new = {"id": "1", "ref": "r2", "name": "A"}, {"id": "2", "ref": "r2", "name": "B"}
    assert again(tmp_path, moved, new)["held"] == 1
    assert len([each for each in there(shop, "metadata.ref") if each == ("r2",)]) == 1
    again(tmp_path, moved, new)  # the event of the first is not there yet
    assert len([each for each in there(shop, "metadata.ref") if each == ("r2",)]) == 1


def test_rows_that_share_a_part_of_a_composite_match_are_each_created(shop: Merchant, tmp_path: Path) -> None:
    push = (
        "{model: people, to: acme, object: customer, match: {metadata.tenant: tenant, metadata.user: user}, "
        "fields: {name: name}}"
    )
    users = [{"id": f"{n}", "tenant": "t", "user": f"u{n}", "name": f"N{n}"} for n in range(5)]
    assert begin(tmp_path, shop, push, *users) == {"source": 5, "created": 5}
    assert again(tmp_path, *users) == {"source": 5, "unchanged": 5}


def test_a_value_that_was_given_up_is_free_for_another_row(shop: Merchant, tmp_path: Path) -> None:
    first = {"id": "1", "ref": "a", "name": "A"}
    begin(tmp_path, shop, BY_REF, first)
    shop.later()
    assert again(tmp_path, {**first, "ref": "b"}) == {"source": 1, "updated": 1}
    shop.later()
    both = {**first, "ref": "b"}, {"id": "2", "ref": "a", "name": "B"}
    assert again(tmp_path, *both) == {"source": 2, "unchanged": 1, "created": 1}
    assert there(shop, "metadata.ref", "name") == [("a", "B"), ("b", "A")]


CLEARED = (
    "{model: people, to: acme, object: customer, match: {metadata.ref: id}, "
    "fields: {name: name, phone: phone}, on_missing: %s}"
)
ANN, BOB = {"id": "1", "name": "Ann", "phone": "+1"}, {"id": "2", "name": "Bob", "phone": "+2"}


def test_a_row_that_returns_at_once_after_it_was_cleared_is_written(shop: Merchant, tmp_path: Path) -> None:
    begin(tmp_path, shop, CLEARED % "clear", ANN, BOB)
    shop.later()
    assert again(tmp_path, ANN, approve=True)["removed"] == 1
    assert there(shop, "name") == [("Ann",), (None,)]
    assert again(tmp_path, ANN, BOB) == {"source": 2, "unchanged": 1, "updated": 1}
    assert there(shop, "name", "phone") == [("Ann", "+1"), ("Bob", "+2")]


def test_a_row_that_returns_after_it_was_marked_as_gone_is_not_marked_any_more(
    shop: Merchant, tmp_path: Path
) -> None:
    begin(tmp_path, shop, CLEARED % "flag", ANN, BOB)
    shop.later()
    assert again(tmp_path, ANN, approve=True)["removed"] == 1
    assert (("Bob", "true")) in there(shop, "name", "metadata.tidegate_gone")
    assert again(tmp_path, ANN, BOB) == {"source": 2, "unchanged": 1, "updated": 1}
    assert there(shop, "name", "metadata.tidegate_gone") == [("Ann", None), ("Bob", None)]


def test_a_row_that_returns_after_it_was_archived_is_active_again(shop: Merchant, tmp_path: Path) -> None:
    push = (
        "{model: people, to: acme, object: product, match: {metadata.ref: id}, fields: {name: name}, "
        "on_missing: archive}"
    )
    wares = {"id": "p1", "name": "A"}, {"id": "p2", "name": "B"}

    def active() -> dict[str, bool]:
        return {line["object"]["name"]: line["object"]["active"] for line in shop.truth("products")}

    begin(tmp_path, shop, push, *wares)
    shop.later()
    assert again(tmp_path, wares[0], approve=True)["removed"] == 1
    assert active() == {"A": True, "B": False}
    assert again(tmp_path, *wares) == {"source": 2, "unchanged": 1, "updated": 1}
    assert active() == {"A": True, "B": True}


def test_only_what_is_ours_is_cleared(shop: Merchant, tmp_path: Path) -> None:
    push = (
        "{model: people, to: acme, object: customer, match: {metadata.ref: id}, on_missing: clear, "
        "fields: {name: {from: name, owner: three_way}, phone: {from: phone, owner: three_way}}}"
    )
    begin(tmp_path, shop, push, ANN, BOB)
    [bob] = [line["object"] for line in shop.truth("customers") if line["object"]["name"] == "Bob"]
    shop.make(f"/v1/customers/{bob['id']}", name="Robert")
    shop.later()
    assert again(tmp_path, ANN, approve=True)["removed"] == 1
    assert there(shop, "name", "phone") == [("Ann", "+1"), ("Robert", None)]


def test_who_is_found_and_becomes_somebody_else_before_the_write_is_left(
    shop: Merchant, tmp_path: Path
) -> None:
    made = shop.make("/v1/customers", email="p1@people.test", name="Old")
    shop.later()

    def move() -> None:
        shop.make(f"/v1/customers/{made['id']}", email="other@people.test")

    people.write(tmp_path, shop.url, ())
    assert again(tmp_path, people.person(1), seen=move) == {"source": 1, "held": 1}
    assert there(shop, "email", "name") == [("other@people.test", "Old")]


def test_what_somebody_emptied_at_stripe_stays_empty_where_both_count(shop: Merchant, tmp_path: Path) -> None:
    push = (
        "{model: people, to: acme, object: customer, match: {metadata.ref: id}, "
        "fields: {name: {from: name, owner: three_way}, phone: phone}}"
    )
    begin(tmp_path, shop, push, ANN)
    [ann] = [line["object"] for line in shop.truth("customers")]
    shop.make(f"/v1/customers/{ann['id']}", name="")
    shop.later()
    assert again(tmp_path, {**ANN, "phone": "+9"}) == {"source": 1, "updated": 1}
    assert there(shop, "name", "phone") == [(None, "+9")]


def test_a_push_that_found_everything_equal_belongs_to_that_account(shop: Merchant, tmp_path: Path) -> None:
    shop.make("/v1/customers", email="p1@people.test", name="Person 1", metadata={"plan": "pro"})
    shop.later()
    people.write(tmp_path, shop.url, [people.person(1)])
    assert people.push(tmp_path).counts.unchanged == 1
    with sandbox.process(objects=0, counts={}, seed=7) as other:
        people.write(tmp_path, other, [people.person(1), people.person(2)])
        with pytest.raises(errors.StoreError, match="writes to acct_"):
            people.push(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "counts"),
    [
        ("next_invoice_sequence", "1e1000000", {"invalid": 1, "updated": 1}),
        ("preferred_locales", "[1e1000000]", {"invalid": 1, "updated": 1}),
        ("preferred_locales", "[" * 3_000, {"updated": 2}),  # no list but a text, to which Stripe says yes
    ],
)
def test_one_value_beyond_all_bounds_is_that_row_s_matter(
    shop: Merchant, tmp_path: Path, field: str, value: str, counts: dict[str, int]
) -> None:
    for name in ("1", "2"):
        shop.make("/v1/customers", metadata={"ref": name})
    shop.later()
    push = (
        "{model: people, to: acme, object: customer, match: {metadata.ref: id}, "
        f"fields: {{name: name, {field}: value}}}}"
    )
    good: Iterable[Mapping[str, str]] = [{"id": "2", "name": "B", "value": ""}]
    told = begin(tmp_path, shop, push, {"id": "1", "name": "A", "value": value}, *good)
    assert told == {"source": 2, **counts}


def test_texts_of_numbers_beyond_all_bounds_are_compared_as_they_are() -> None:
    assert compare.text(float("1e300")) is not None


def test_our_own_mark_counts_among_the_keys_of_metadata(shop: Merchant, tmp_path: Path) -> None:
    keys = [f"k{n}" for n in range(50)]
    fields = ", ".join(f"metadata.{key}: name" for key in keys)
    push = f"{{model: people, to: acme, object: customer, match: {{email: email}}, fields: {{{fields}}}}}"
    people.write(tmp_path, shop.url, (), push)
    assert again(tmp_path, people.person(1)) == {"source": 1, "invalid": 1}
