"""What is different between two bodies, as people read it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.engine import differences

DOCUMENTS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def told(before: Any, after: Any) -> list[tuple[str, str | None, str | None]]:
    return [(each.field, each.before, each.after) for each in differences.between(before, after)]


def test_values_that_differ_are_told_by_their_place() -> None:
    before = {"to": "one", "streams": {"charges": {"history": True}}, "lookback": "7d"}
    after = {"to": "two", "streams": {"charges": {"history": True}, "plans": {}}, "budget": 0.5}
    assert told(before, after) == [
        ("to", "one", "two"),
        ("streams.plans", None, "{}"),
        ("budget", None, "0.5"),
        ("lookback", "7d", None),
    ]


def test_what_is_made_or_removed_is_told_whole() -> None:
    assert told(None, {"to": "one"}) == [("to", None, "one")]
    assert told({"to": "one"}, None) == [("to", "one", None)]
    assert told(None, None) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"secret": True, "last4": "6789", "name": "stripe/acme/api_key"}, "secret ...6789"),
        ({"secret": True, "last4": ""}, "secret"),
        (["a", "b"], '["a", "b"]'),
        ("two\nlines", '"two\\nlines"'),
        ("", '""'),
        (True, "true"),
        (None, "null"),
        ("Zürich", "Zürich"),
    ],
)
def test_a_value_is_one_line(value: object, text: str) -> None:
    assert differences.told(value) == text


def test_another_secret_with_other_characters_is_a_difference() -> None:
    mark = {"secret": True, "last4": "6789", "name": "a"}
    assert told({"key": mark}, {"key": {**mark, "last4": "4321"}}) == [
        ("key", "secret ...6789", "secret ...4321")
    ]


def test_lists_of_mappings_are_told_one_by_one() -> None:
    before = {"all": [{"field": "a", "op": "is"}, {"field": "b", "op": "is"}]}
    after = {"all": [{"field": "a", "op": "is"}, {"field": "c", "op": "is"}]}
    assert told(before, after) == [("all[1].field", "b", "c")]


@given(DOCUMENTS)
def test_nothing_differs_from_itself(document: Any) -> None:
    assert differences.between(document, document) == []
