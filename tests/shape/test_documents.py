"""Paths inside many documents at once: the same as inside each."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from tidegate.shape import documents, values


def found(*given: bytes | None, paths: list[str]) -> dict[str, list[bytes | None]]:
    """By path as it is written, what stands there in each document."""
    steps = {path: values.path(path) for path in paths}
    read = documents.Reader(frozenset(steps.values())).read(given)
    return {path: read[steps[path]] for path in paths}


def test_each_document_is_asked_for_every_path() -> None:
    answer = found(
        b'{"city":"Bonn","geo":{"lat":50.70,"tags":["a","b"]}}',
        b'{"city": null, "geo": "unknown"}',
        b"{}",
        None,
        paths=["city", "geo", "geo.lat", "geo.tags.1", "zip"],
    )
    assert answer == {
        "city": [b'"Bonn"', b"null", None, None],
        "geo": [b'{"lat":50.70,"tags":["a","b"]}', b'"unknown"', None, None],
        "geo.lat": [b"50.70", None, None, None],
        "geo.tags.1": [b'"b"', None, None, None],
        "zip": [None, None, None, None],
    }


@pytest.mark.parametrize("odd", [b"[1,2]", b'"text"', b"7", b'{"a":"\\ud800"}', b"{"])
def test_a_document_of_another_kind_changes_nothing_for_the_others(odd: bytes) -> None:
    assert found(b'{"b":1}', odd, b'{"b":2}', paths=["b"]) == {"b": [b"1", None, b"2"]}


def test_a_number_leads_into_a_list_and_is_a_key_of_an_object() -> None:
    assert found(b'["a","b"]', b'{"1":"c"}', b"[]", paths=["1"]) == {"1": [b'"b"', b'"c"', None]}


@pytest.mark.parametrize("key", ['"', "\\", "a\0", "a.b", "é", " ", "1", "self", "__init__", "f0"])
def test_any_text_may_be_a_key(key: str) -> None:
    path = '"' + key.replace('"', '""') + '"'
    given = json.dumps({key: "it", "other": 1}).encode()
    assert found(given, paths=[path, "other"]) == {path: [b'"it"'], "other": [b"1"]}


KEYS = st.sampled_from(["a", "b", "0", "1", '"', "é"])
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(
    given=st.lists(JSON, max_size=4),
    paths=st.sets(st.lists(KEYS, min_size=1, max_size=3).map(tuple), min_size=1, max_size=4),
)
def test_many_at_once_are_as_each_by_itself(given: list[Any], paths: set[tuple[str, ...]]) -> None:
    raws = [json.dumps(document).encode() for document in given]
    read = documents.Reader(frozenset(paths)).read(raws)
    assert {path: list(column) for path, column in read.items()} == {
        path: [values.finder(path)(raw) for raw in raws] for path in paths
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (r'{"a":"\ud800"}', r'{"a":"\ufffd"}'),
        (r'{"a":"\uDC00\ud83d"}', r'{"a":"\ufffd\ufffd"}'),
        (r'{"a":"\ud83d\ude00\ud800"}', r'{"a":"\ud83d\ude00\ufffd"}'),
        (r'{"a":"\\ud800 \"\n"}', r'{"a":"\\ud800 \"\n"}'),
        (r'{"a":"\\\ud800"}', r'{"a":"\\\ufffd"}'),
        ("{}", "{}"),
        (None, None),
    ],
)
def test_halves_of_surrogates_are_replaced(given: str | None, expected: str | None) -> None:
    column = pa.chunked_array([[given], [r'{"b":"\udfff"}']], pa.string())
    assert documents.mended(column).to_pylist() == [expected, r'{"b":"\ufffd"}']
    whole = pa.chunked_array([[expected]], pa.string())
    assert documents.mended(whole).to_pylist() == [expected]
