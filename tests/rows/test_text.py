"""Compaction and splitting, by msgspec and by the standard library where msgspec refuses."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.rows import text

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""

SURROGATE = r'"\ud800"'

TEXT = st.text(st.characters())
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), FLOATS, TEXT),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(TEXT, inner)),
    max_leaves=12,
)


def test_compact_leaves_a_compact_document_alone() -> None:
    body = b'{"a":"b c: \\"d\\" : e","n":1.10}'

    assert text.compact(body) is body


@pytest.mark.parametrize("tail", ['"x"', SURROGATE])
def test_compact_removes_whitespace_between_tokens_only(tail: str) -> None:
    body = '{\r\n\t"a : b" : [ 1.10 , "c\\" , d" ] ,\n "e": TAIL }\n'.replace("TAIL", tail)

    assert text.compact(body.encode()) == ('{"a : b":[1.10,"c\\" , d"],"e":' + tail + "}").encode()


@pytest.mark.parametrize("body", [b'{"a":"\xff"}', b'{"a":\n"\xff"}', b'{"a":\n"\\ud800","b":"\xff"}'])
def test_compact_refuses_what_is_not_utf_8(body: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        text.compact(body)


@pytest.mark.parametrize("last", ['"x"', SURROGATE])
def test_members_and_elements_are_as_written(last: str) -> None:
    raw = f'{{"a":1.10,"b":{{"c":[]}},"a":1e400,"d":{last}}}'.encode()
    array = f'[1.10,{{"c":[]}},null,{last}]'.encode()

    assert text.members(raw) == {"a": b"1e400", "b": b'{"c":[]}', "d": last.encode()}
    assert text.elements(array) == [b"1.10", b'{"c":[]}', b"null", last.encode()]
    assert text.members(b"{}") == {}
    assert text.elements(b"[]") == []


@pytest.mark.parametrize(
    "raw",
    [
        "", "{", '{"a"', '{"a":', '{"a":%s', '{"a":%s,', '{"a":%s,}', '{"a":%s}x', '{"a" %s}', "[%s]",
        '{"a":NaN,"b":%s}', "null", '{,"a":%s}', "{%s}", '{"a":%s,,"b":1}', '{"a":01,"b":%s}',
    ],
)  # fmt: skip
def test_members_refuse_what_is_no_object(raw: str) -> None:
    for value in ("1", SURROGATE):
        with pytest.raises(ValueError):
            text.members(raw.replace("%s", value).encode())


@pytest.mark.parametrize(
    "raw", ["", "[", "[%s", "[%s,", "[%s,]", "[,%s]", "[%s]]", '{"a":%s}', "[%s %s]", "1"]
)
def test_elements_refuse_what_is_no_array(raw: str) -> None:
    for value in ("1", SURROGATE):
        with pytest.raises(ValueError):
            text.elements(raw.replace("%s", value).encode())


@CALM
@given(JSON, st.sampled_from([None, 0, 3, "\t"]))
def test_compact_never_changes_a_value(value: object, indent: int | str | None) -> None:
    body = json.dumps(value, indent=indent)

    assert text.compact(body.encode()).decode() in (body, json.dumps(value, separators=(",", ":")))
    assert text.value(text.compact(body.encode())) == value or body != json.dumps(
        json.loads(body), indent=indent
    )


@CALM
@given(st.dictionaries(TEXT, JSON))
def test_members_hold_every_value(members: dict[str, object]) -> None:
    raw = json.dumps(members, separators=(",", ":")).encode()
    truth = json.loads(raw)

    assert {key: json.loads(value) for key, value in text.members(raw).items()} == truth
    assert [json.loads(value) for value in text.elements(b"[" + raw + b"]")] == [truth]
