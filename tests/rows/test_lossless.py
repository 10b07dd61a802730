"""Whatever an object holds is found again, in its column or in `_extra`, exactly as it was written."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from collections.abc import Callable

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate import catalog
from tidegate.rows import arrow, decode

FIELDS: dict[str, catalog.FieldType] = {
    "id": "string",
    "amount": "integer",
    "created": "timestamp",
    "customer": "id",
    "live": "boolean",
    "metadata": "json",
    "name": "string",
    "percent": "number",
    "rate": "decimal",
}


class Number(str):
    """A number as it was written."""


STRINGS = st.text(st.characters(), max_size=8).map(json.dumps)
NUMBERS = st.one_of(
    st.integers().map(str),
    st.sampled_from(
        ["1.10", "1e400", "-0", "0.1", "1E+2", str(2**53 + 1), str(2**63), str(2**64 + 1), "1e-13"]
    ),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)
KEYS = st.one_of(STRINGS, st.sampled_from([json.dumps(name) for name in FIELDS]))


def _joined(parts: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{key}: {value}" for key, value in parts) + "}"


VALUES = st.recursive(
    st.one_of(st.sampled_from(["null", "true", "false"]), NUMBERS, STRINGS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda found: "[" + ", ".join(found) + "]"),
        st.lists(st.tuples(KEYS, inner), max_size=3).map(_joined),
    ),
    max_leaves=6,
)
FITTING: dict[catalog.FieldType, st.SearchStrategy[str]] = {
    "string": STRINGS,
    "integer": st.integers(-(2**63), 2**63 - 1).map(str),
    "timestamp": st.integers(0, 2_000_000_000).map(str),
    "id": st.one_of(STRINGS, st.just('{"id":"cus_1","deleted":true}')),
    "boolean": st.sampled_from(["true", "false"]),
    "json": VALUES,
    "number": NUMBERS,
    "decimal": st.decimals(allow_nan=False, allow_infinity=False).map(lambda d: json.dumps(str(d))),
}
MEMBERS = st.lists(
    st.one_of(
        *(
            st.tuples(st.just(json.dumps(name)), FITTING[kind])
            for name, kind in FIELDS.items()
            if name != "id"
        ),
        st.tuples(KEYS.filter(lambda key: key != '"id"'), VALUES),
    ),
    max_size=8,
)


def things() -> decode.Decoder:
    shape = {
        "name": "things",
        "object": "thing",
        "api": "v1",
        "origins": [{"path": "/v1/things", "kind": "walk", "route": "list"}],
        "permission": "",
        "fields": [{"name": name, "type": kind} for name, kind in FIELDS.items()],
    }
    return decode.Decoder(msgspec.convert(shape, catalog.Stream))


def truth(raw: str) -> dict[str, object]:
    """The object as the standard library reads it, numbers as written."""
    found: dict[str, object] = json.loads(raw, parse_int=Number, parse_float=Number)
    return found


def kept(kind: catalog.FieldType, written: object, column: object) -> bool:
    """Whether a column says exactly what was written."""
    match kind:
        case "json":
            return isinstance(column, str) and truth(column) == written
        case "integer":
            return isinstance(written, Number) and column == int(written)
        case "number":
            return isinstance(written, Number) and decimal.Decimal(repr(column)) == decimal.Decimal(written)
        case "decimal":
            return isinstance(written, str) and column == decimal.Decimal(written)
        case "timestamp" if isinstance(written, Number):
            return column == dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=int(written))
        case "timestamp":
            return isinstance(written, str) and column == dt.datetime.fromisoformat(written)
        case "id" if isinstance(written, dict):
            return column == written["id"]
        case _:
            return type(column) is type(written) and column == written


def check(raw: str, row: dict[str, object]) -> None:
    extra = truth(str(row["_extra"])) if row["_extra"] is not None else {}
    written = truth(raw)
    for key, value in written.items():
        if key in extra:
            assert extra.pop(key) == value
            shown = row[key] if key in FIELDS else None
            assert shown is None or (isinstance(value, str) and "\ufffd" in str(shown))
        elif key == "deleted" and value is True:
            assert row["_deleted_at"] is not None
        elif value is None:
            assert key in FIELDS
            assert row[key] is None
        else:
            assert kept(FIELDS[key], value, row[key]), (key, value, row[key])
    assert not extra
    for key in FIELDS:
        assert key in written or row[key] is None


def rows_of(decoder: decode.Decoder, parts: list[decode.Rows]) -> list[dict[str, object]]:
    now = dt.datetime.now(dt.UTC)
    made = arrow.table(decoder, [arrow.Part(rows, 1) for rows in parts], account="acct_1", synced_at=now)
    made.validate(full=True)
    found: list[dict[str, object]] = made.to_pylist()
    return found


READ: list[Callable[[decode.Decoder, list[str]], decode.Rows]] = [
    lambda decoder, raws: (
        decoder.page(('{"has_more": false, "data": [' + ", ".join(raws) + "]}").encode()).rows
    ),
    lambda decoder, raws: decoder.listing(("[\n" + ",".join(raws) + "]").encode()).rows,
    lambda decoder, raws: decoder.objects([raw.encode() for raw in raws]),
]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 2), st.lists(MEMBERS, max_size=4)), max_size=4))
def test_every_value_is_found_again(pages: list[tuple[int, list[list[tuple[str, str]]]]]) -> None:
    decoder = things()
    written: list[str] = []
    parts = []
    for way, objects in pages:
        raws = [
            _joined([('"id"', f'"th_{len(written) + n}"'), *members]) for n, members in enumerate(objects)
        ]
        parts.append(READ[way](decoder, raws))
        written += raws

    rows = rows_of(decoder, parts)

    assert len(rows) == len(written)
    for raw, row in zip(written, rows, strict=True):
        check(raw, row)
