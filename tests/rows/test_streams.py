"""Every stream of the catalog: an object with a value in each of its fields fits its columns."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from tidegate import catalog
from tidegate.rows import arrow, decode

STREAMS = catalog.load().streams
WRITTEN: dict[catalog.FieldType, object] = {
    "string": "text",
    "integer": 7,
    "number": 0.5,
    "decimal": "1.5",
    "boolean": True,
    "timestamp": 1_700_000_000,
    "id": {"id": "obj_1", "object": "other"},
    "json": {"a": [None, 1.5]},
}
READ: dict[catalog.FieldType, object] = {
    **WRITTEN,
    "decimal": 1.5,
    "timestamp": dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC),
    "id": "obj_1",
    "json": '{"a":[null,1.5]}',
}


@pytest.mark.parametrize("name", STREAMS)
def test_every_field_reaches_its_column(name: str) -> None:
    stream = STREAMS[name]
    thing = {field.name: WRITTEN[field.type] for field in stream.fields}
    if stream.api == "v2":
        thing |= {f.name: "2023-11-14T22:13:20.000Z" for f in stream.fields if f.type == "timestamp"}
    body = json.dumps({"data": [thing, thing], "has_more": False, "url": stream.path}, indent=2).encode()
    decoder = decode.Decoder(stream)

    parts = [arrow.Part(decoder.page(body).rows, 1) for _ in range(2)]
    made = arrow.table(decoder, parts, account="acct_1", synced_at=dt.datetime.now(dt.UTC))

    made.validate(full=True)
    assert made.schema.equals(decoder.schema, check_metadata=True)
    assert len(set(made.schema.names)) == len(made.schema.names)
    assert ("_parent_id" in made.schema.names) == bool(stream.parent)
    apart = {nested.path for nested in stream.nested if not nested.embedded}
    for row in made.to_pylist():
        assert row["_extra"] is None
        for field in stream.fields:
            if field.name in apart:
                assert field.name not in row
            else:
                assert row[field.name] == READ[field.type], field.name


@pytest.mark.parametrize("name", STREAMS)
def test_every_nested_list_is_found(name: str) -> None:
    stream = STREAMS[name]
    for nested in stream.nested:
        thing: object = {"object": "list", "data": [], "has_more": False}
        for step in reversed(nested.path.split(".")):
            thing = {step: thing}
        assert isinstance(thing, dict)

        rows = decode.Decoder(stream).objects([json.dumps({"id": "x_1", **thing}).encode()])

        assert rows.nested(nested.path) == [("x_1", b'{"object":"list","data":[],"has_more":false}')]
