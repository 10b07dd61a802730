"""Bracketed forms, and values checked by the catalog's parameters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import catalog
from tidegate.sandbox import forms, refusals

WRITE = catalog.Write(
    method="post",
    path="/v1/things",
    params=(
        catalog.Param("name", "string", required=True),
        catalog.Param("size", "string", values=("small", "large")),
        catalog.Param("amount", "integer"),
        catalog.Param("active", "boolean"),
        catalog.Param("percent", "number"),
        catalog.Param("unit_amount_decimal", "decimal"),
        catalog.Param("starts_at", "timestamp"),
        catalog.Param("note", "string", emptyable=True),
        catalog.Param("recurring", "json"),
        catalog.Param("metadata", "json", emptyable=True),
    ),
)


def refused(**params: object) -> refusals.Refusal:
    with pytest.raises(refusals.Refusal) as caught:
        forms.check(WRITE, {"name": "n", **params})
    return caught.value


def test_plain_names_are_strings() -> None:
    assert forms.parse_form("limit=10&email=a%40b.c") == {"limit": "10", "email": "a@b.c"}


def test_brackets_nest() -> None:
    text = "metadata[plan]=pro&items[0][price]=price_1&items[1][price]=price_2&expand[]=a&expand[]=b"

    assert forms.parse_form(text) == {
        "metadata": {"plan": "pro"},
        "items": [{"price": "price_1"}, {"price": "price_2"}],
        "expand": ["a", "b"],
    }


def test_indices_decide_the_order_of_a_list() -> None:
    assert forms.parse_form("x[1]=b&x[0]=a") == {"x": ["a", "b"]}


def test_brackets_that_do_not_nest_are_refused() -> None:
    with pytest.raises(refusals.Refusal, match="brackets must nest"):
        forms.parse_form("a[b=1")


def test_a_value_and_an_object_of_one_name_are_refused() -> None:
    with pytest.raises(refusals.Refusal, match="both as a value and as an object"):
        forms.parse_form("a=1&a[b]=2")


words = st.text(st.characters(codec="utf-8", exclude_characters="[]&="), min_size=1, max_size=8).filter(
    lambda word: not word.isdigit()
)
trees = st.dictionaries(
    words,
    st.recursive(
        st.text(st.characters(codec="utf-8"), max_size=12),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3) | st.dictionaries(words, inner, min_size=1, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=4,
)


@given(trees)
def test_what_is_encoded_is_parsed_back(tree: dict[str, object]) -> None:
    assert forms.parse_form(forms.encode_form(tree)) == tree


def test_values_get_the_types_of_the_catalog() -> None:
    params = {"name": "n", "amount": "12", "active": "true", "percent": "2.5", "starts_at": "1700000000"}

    assert forms.check(WRITE, params) == {
        "name": "n",
        "amount": 12,
        "active": True,
        "percent": 2.5,
        "starts_at": 1700000000,
    }


def test_decimals_stay_as_written() -> None:
    assert forms.check(WRITE, {"name": "n", "unit_amount_decimal": "0.000000000001"})[
        "unit_amount_decimal"
    ] == ("0.000000000001")


def test_nested_numbers_are_numbers_and_metadata_is_text() -> None:
    checked = forms.check(
        WRITE,
        {
            "name": "n",
            "recurring": {"interval": "month", "interval_count": "3"},
            "metadata": {"quantity": "3"},
        },
    )

    assert checked["recurring"] == {"interval": "month", "interval_count": 3}
    assert checked["metadata"] == {"quantity": "3"}


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(refusals.Refusal) as caught:
        forms.check(WRITE, {})

    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "parameter_missing", "name")
    assert caught.value.message == "Missing required param: name."


def test_an_unknown_parameter_is_named_with_the_one_that_was_meant() -> None:
    refusal = refused(amout="1")

    assert (refusal.code, refusal.param) == ("parameter_unknown", "amout")
    assert refusal.message == "Received unknown parameter: amout. Did you mean amount?"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("amount", "ten", "Invalid integer: ten"),
        ("amount", "1.5", "Invalid integer: 1.5"),
        ("active", "yes", "Invalid boolean: yes"),
        ("percent", "half", "Invalid decimal: half"),
        ("unit_amount_decimal", "0.0000000000001", "at most 12 decimal places"),
        ("starts_at", "tomorrow", "Invalid integer: tomorrow"),
        ("size", "huge", "Invalid size: must be one of small, or large"),
        ("metadata", "x", "Invalid object"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(name: str, value: str, message: str) -> None:
    refusal = refused(**{name: value})

    assert refusal.status == 400
    assert refusal.param == name
    assert message in refusal.message


def test_an_empty_string_unsets_where_the_parameter_allows() -> None:
    assert forms.check(WRITE, {"name": "n", "note": ""})["note"] is None
    assert refused(amount="").code == "parameter_invalid_empty"


def test_metadata_merges_per_key_and_an_empty_value_removes() -> None:
    stored = {"keep": "1", "change": "2", "drop": "3"}

    assert forms.merge_metadata(stored, {"change": "x", "drop": "", "new": "y"}) == {
        "keep": "1",
        "change": "x",
        "new": "y",
    }
    assert forms.merge_metadata(stored, None) == {}


def test_metadata_has_limits() -> None:
    assert len(forms.merge_metadata({}, {f"k{i}": "v" for i in range(50)})) == 50
    with pytest.raises(refusals.Refusal, match="up to 50 keys"):
        forms.merge_metadata({}, {f"k{i}": "v" for i in range(51)})
    with pytest.raises(refusals.Refusal, match="up to 40 characters"):
        forms.merge_metadata({}, {"k" * 41: "v"})
    with pytest.raises(refusals.Refusal, match="up to 500 characters"):
        forms.merge_metadata({}, {"k": "v" * 501})


def test_a_personal_value_is_not_repeated_in_a_message() -> None:
    with pytest.raises(refusals.Refusal) as caught:
        forms.merge_metadata({}, {"mail": "jane@example.com" * 50})

    assert "jane" not in caught.value.message
