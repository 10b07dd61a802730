"""Containers taken apart token by token: as a decoder takes them apart, but however deep they go."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tidegate.rows import text
from tidegate.shape import deep

WORDS = st.text(max_size=4) | st.sampled_from(['"', "\\", "{", "}", "[", "]", ",", ":", '\\"', "\ud800"])
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


def levels(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(levels, value.values()), default=0)
    return 1 + max(map(levels, value), default=0) if isinstance(value, list) else 0


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(value=st.dictionaries(WORDS, JSON, max_size=5), escaped=st.booleans())
def test_members_are_those_of_the_decoder(value: dict[str, Any], escaped: bool) -> None:
    raw = json.dumps(value, separators=(",", ":"), ensure_ascii=escaped).encode("utf-8", "replace")
    assert deep.members(raw) == text.members(raw)
    spaced = json.dumps(value, indent=1, ensure_ascii=escaped).encode("utf-8", "replace")
    assert {key: text.compact(each) for key, each in deep.members(spaced).items()} == text.members(raw)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(value=st.lists(JSON, max_size=5))
def test_elements_are_those_of_the_decoder(value: list[Any]) -> None:
    raw = json.dumps(value, separators=(",", ":")).encode()
    assert deep.elements(raw) == text.elements(raw)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(value=JSON)
def test_the_depth_counts_what_stands_inside_each_other(value: Any) -> None:
    assert deep.depth(json.dumps(value).encode()) == levels(value)


def test_no_depth_is_too_deep() -> None:
    far = b"[" * 200_000 + b"]" * 200_000
    assert deep.members(b'{"a":' + far + b',"b":1}') == {"a": far, "b": b"1"}
    assert deep.elements(b"[" + far + b",2]") == [far, b"2"]
    assert deep.depth(far) == 200_000


def test_of_equal_keys_the_last_counts() -> None:
    assert deep.members(b'{"a":1,"\\u0061":[2]}') == {"a": b"[2]"}


@pytest.mark.parametrize("raw", [b"", b"[1]", b'{"a":1', b'{"a":[1}', b"{1:2}", b'"{}"'])
def test_what_is_no_object(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"it begins with no \{|it does not end|no string"):
        deep.members(raw)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[1", b"[[1]", b'"[]"'])
def test_what_is_no_list(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"it begins with no \[|it does not end"):
        deep.elements(raw)
