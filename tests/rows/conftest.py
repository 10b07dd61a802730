"""One small stream with a field of every type, and the shortest way from its objects to table rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import msgspec
import pytest

from tidegate import catalog
from tidegate.rows import arrow, decode

FIELDS = {
    "id": "string",
    "object": "string",
    "amount": "integer",
    "created": "timestamp",
    "customer": "id",
    "items": "json",
    "live": "boolean",
    "metadata": "json",
    "name": "string",
    "percent": "number",
    "rate_decimal": "decimal",
}


@pytest.fixture
def stream() -> Callable[..., catalog.Stream]:
    """Makes the stream `things`: every type once, and a nested list; keywords replace what it has."""

    def make(**changes: object) -> catalog.Stream:
        shape: dict[str, object] = {
            "name": "things",
            "object": "thing",
            "api": "v1",
            "origins": [{"path": "/v1/things", "kind": "walk", "route": "list"}],
            "permission": "rak_thing_read",
            "fields": [{"name": name, "type": kind} for name, kind in FIELDS.items()],
            "nested": [
                {"path": "items", "url": "/v1/things/{thing}/items", "objects": ["item"], "streams": []}
            ],
        }
        return msgspec.convert({**shape, **changes}, catalog.Stream)

    return make


@pytest.fixture
def decoder(stream: Callable[..., catalog.Stream]) -> decode.Decoder:
    return decode.Decoder(stream())


@pytest.fixture
def listed() -> Callable[..., bytes]:
    """Makes a v1 list answer of objects that are given as JSON text."""

    def make(*objects: str, has_more: bool = False) -> bytes:
        more = "true" if has_more else "false"
        data = ",".join(objects)
        return f'{{"object":"list","data":[{data}],"has_more":{more},"url":"/v1/things"}}'.encode()

    return make


@pytest.fixture
def table() -> Callable[..., list[dict[str, object]]]:
    """Rows, each of version 1700000000, as the table's rows; the table's schema is the decoder's."""

    def make(decoder: decode.Decoder, *rows: decode.Rows) -> list[dict[str, object]]:
        now = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
        parts = [arrow.Part(each, 1_700_000_000) for each in rows]
        made = arrow.table(decoder, parts, account="acct_1", synced_at=now)
        made.validate(full=True)
        assert made.schema.equals(decoder.schema, check_metadata=True)
        found: list[dict[str, object]] = made.to_pylist()
        return found

    return make
