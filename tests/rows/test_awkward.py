"""Answers that broke a first version of the decoding: each is one test."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tidegate import errors
from tidegate.rows import decode, layout

Listed = Callable[..., bytes]
Table = Callable[..., list[dict[str, object]]]


def test_unknown_key_first_seen_in_the_middle_of_a_batch(
    decoder: decode.Decoder, listed: Listed, table: Table
) -> None:
    old = decoder.page(listed('{"id":"th_1","name":"a"}')).rows
    new = decoder.page(listed('{"id":"th_2"}', '{"id":"th_3","name":"c","mood":{"a":1.10}}')).rows
    after = decoder.page(listed('{"id":"th_4","name":"d"}', '{"mood":null,"id":"th_5"}')).rows

    rows = table(decoder, old, new, after)

    assert [row["id"] for row in rows] == ["th_1", "th_2", "th_3", "th_4", "th_5"]
    assert [row["name"] for row in rows] == ["a", None, "c", "d", None]
    assert [row["_extra"] for row in rows] == [None, None, '{"mood":{"a":1.10}}', None, '{"mood":null}']


def test_unknown_key_with_a_quote_in_its_name(decoder: decode.Decoder, listed: Listed, table: Table) -> None:
    body = listed(r'{"id":"th_1","a\"b":1}', r'{"id":"th_2","a\\b":2,"a\nb":3}', '{"id":"th_3"}')

    rows = table(decoder, decoder.page(body).rows, decoder.page(body).rows)

    assert [row["_extra"] for row in rows] == [r'{"a\"b":1}', r'{"a\\b":2,"a\nb":3}', None] * 2


@pytest.mark.parametrize("key", ["", "class", "a.b", "f0", "__init__", "1", "héé", "data", "a`b", " "])
def test_unknown_key_of_any_name(decoder: decode.Decoder, listed: Listed, table: Table, key: str) -> None:
    body = listed(json.dumps({"id": "th_1", key: "x"}))

    for _ in range(2):
        (row,) = table(decoder, decoder.page(body).rows)
        assert json.loads(str(row["_extra"])) == {key: "x"}


def test_lone_surrogate_in_a_string(decoder: decode.Decoder, listed: Listed, table: Table) -> None:
    body = listed(r'{"id":"th_1","name":"a\ud800b","amount":7}', r'{"id":"th_2","name":"\ud83d\ude00"}')

    rows = table(decoder, decoder.page(body).rows)

    assert [row["name"] for row in rows] == ["a\ufffdb", "\U0001f600"]
    assert [row["amount"] for row in rows] == [7, None]
    assert [row["_extra"] for row in rows] == [r'{"name":"a\ud800b"}', None]


def test_lone_surrogate_inside_json(decoder: decode.Decoder, listed: Listed, table: Table) -> None:
    body = listed(r'{"id":"th_1","metadata":{"\udfff": "\ud800",  "n": 18446744073709551617}}')

    (row,) = table(decoder, decoder.page(body.replace(b",", b",\n ")).rows)

    assert row["metadata"] == r'{"\udfff":"\ud800","n":18446744073709551617}'
    assert row["_extra"] is None


def test_lone_surrogate_in_a_key(decoder: decode.Decoder, listed: Listed, table: Table) -> None:
    (row,) = table(decoder, decoder.page(listed(r'{"id":"th_1","\ud800":1.10,"amount":2}')).rows)

    assert row["_extra"] == r'{"\ud800":1.10}'
    assert row["amount"] == 2


def test_a_page_with_a_lone_surrogate_teaches_nothing(decoder: decode.Decoder, listed: Listed) -> None:
    decoder.page(listed('{"id":"th_1","name":"a"}'))
    before = decoder.page(listed('{"id":"th_2","name":"b"}')).rows.layout

    decoder.page(listed(r'{"id":"th_3","name":"\ud800"}'))

    assert decoder.page(listed('{"id":"th_4","name":"d"}')).rows.layout is before


def test_nested_integers_beyond_double_and_int64(
    decoder: decode.Decoder, listed: Listed, table: Table
) -> None:
    body = listed('{"id":"th_1","metadata":{"a":9007199254740993,"b":18446744073709551616}}')

    (row,) = table(decoder, decoder.page(body).rows)

    assert row["metadata"] == '{"a":9007199254740993,"b":18446744073709551616}'


def test_integer_beyond_int64(decoder: decode.Decoder, listed: Listed, table: Table) -> None:
    largest, beyond = 2**63 - 1, 2**63

    body = listed(*(f'{{"id":"th_{n}","amount":{n}}}' for n in (largest, -beyond, beyond, 2**64 + 1)))
    rows = table(decoder, decoder.page(body).rows)

    assert [row["amount"] for row in rows] == [largest, -beyond, None, None]
    assert [row["_extra"] for row in rows[2:]] == [f'{{"amount":{beyond}}}', f'{{"amount":{2**64 + 1}}}']


def test_numbers_stay_as_written(decoder: decode.Decoder, listed: Listed, table: Table) -> None:
    body = listed('{"id":"th_1","metadata":[1.10, 1e400, -0, 1E+2],"unknown":1.10}')

    (row,) = table(decoder, decoder.page(body.replace(b"[", b"[\n")).rows)

    assert row["metadata"] == "[1.10,1e400,-0,1E+2]"
    assert row["_extra"] == '{"unknown":1.10}'


def test_last_of_duplicate_keys_wins(decoder: decode.Decoder, listed: Listed, table: Table) -> None:
    body = listed('{"id":"th_0","name":"a","x":1,"id":"th_1","name":"b","x":2,"metadata":{"k":1,"k":2}}')

    for _ in range(2):
        (row,) = table(decoder, decoder.page(body).rows)
        assert (row["id"], row["name"], row["_extra"]) == ("th_1", "b", '{"x":2}')
        assert row["metadata"] == '{"k":1,"k":2}'


def test_truncated_body_is_never_a_partial_page(decoder: decode.Decoder, listed: Listed) -> None:
    whole = listed('{"id":"th_1","name":"a","metadata":{"k":[1]}}', '{"id":"th_2"}')

    for _ in range(2):
        for length in range(len(whole)):
            with pytest.raises(errors.BadPage, match="things"):
                decoder.page(whole[:length])
        assert decoder.page(whole).rows.ids == ["th_1", "th_2"]


def test_truncated_body_with_a_surrogate(decoder: decode.Decoder, listed: Listed) -> None:
    whole = listed(r'{"id":"th_1","name":"\ud800"}', '{"id":"th_2"}')

    for length in range(len(whole)):
        with pytest.raises(errors.BadPage):
            decoder.page(whole[:length])
    assert decoder.page(whole).rows.ids == ["th_1", "th_2"]


def test_type_drift_is_kept_and_learnt_once(decoder: decode.Decoder, listed: Listed, table: Table) -> None:
    decoder.page(listed('{"id":"th_0","amount":1,"name":"a"}'))
    drifted = decoder.page(listed('{"id":"th_1","amount":"12 EUR","name":{"first":"A"}}')).rows
    later = decoder.page(listed('{"id":"th_2","amount":3,"name":"c"}')).rows

    rows = table(decoder, drifted, later)

    assert [(row["amount"], row["name"]) for row in rows] == [(None, None), (3, "c")]
    assert [row["_extra"] for row in rows] == ['{"amount":"12 EUR","name":{"first":"A"}}', None]
    assert later.layout is drifted.layout is decoder.page(listed('{"id":"th_3","amount":[]}')).rows.layout


def test_keys_made_of_data_do_not_grow_the_layout_for_ever(
    decoder: decode.Decoder, listed: Listed, table: Table
) -> None:
    bodies = [
        listed(*(f'{{"id":"th_{n}","key_{n}":{n}}}' for n in range(start, start + 100)))
        for start in range(0, 600, 100)
    ]

    rows = table(decoder, *(decoder.page(body).rows for body in bodies))

    assert [row["_extra"] for row in rows] == [f'{{"key_{n}":{n}}}' for n in range(600)]
    assert len(decoder.page(bodies[-1]).rows.layout.learnt) <= layout.MOST_LEARNT


def test_text_with_nul_and_non_ascii(decoder: decode.Decoder, listed: Listed, table: Table) -> None:
    body = listed(r'{"id":"th_1","name":"a\u0000b","metadata":{"é":"日本"},"größe":"ß"}')

    (row,) = table(decoder, decoder.page(body).rows)

    assert row["name"] == "a\0b"
    assert row["metadata"] == '{"é":"日本"}'
    assert json.loads(str(row["_extra"])) == {"größe": "ß"}


def test_whitespace_goes_and_blanks_in_strings_stay(decoder: decode.Decoder, table: Table) -> None:
    thing = {"id": "th_1", "name": " a:  b ", "metadata": {"x ,": [1, {"y": " \t\n"}]}}

    for indent in (None, 1, "\t"):
        body = json.dumps({"object": "list", "data": [thing], "has_more": False}, indent=indent).encode()
        (row,) = table(decoder, decoder.page(body).rows)
        assert row["name"] == " a:  b "
        assert row["metadata"] == r'{"x ,":[1,{"y":" \t\n"}]}'
