"""Pages, single objects and embedded lists, and what rows can be asked."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable

import pyarrow as pa
import pytest

from tidegate import catalog, errors
from tidegate.rows import arrow, decode

Make = Callable[..., catalog.Stream]
Listed = Callable[..., bytes]
Table = Callable[..., list[dict[str, object]]]

UTC = dt.UTC
JSON = {b"tidegate": b"json"}


def test_schema_has_the_fields_in_order_between_the_keys_and_the_times(stream: Make) -> None:
    schema = decode.Decoder(stream()).schema

    assert schema.names == [
        "_account_id", "id", "object", "amount", "created", "customer", "items", "live", "metadata",
        "name", "percent", "rate_decimal", "_extra", "_version", "_synced_at", "_deleted_at",
    ]  # fmt: skip
    assert {name: str(schema.field(name).type) for name in schema.names} == {
        "_account_id": "string",
        "id": "string",
        "object": "string",
        "amount": "int64",
        "created": "timestamp[us, tz=UTC]",
        "customer": "string",
        "items": "string",
        "live": "bool",
        "metadata": "string",
        "name": "string",
        "percent": "double",
        "rate_decimal": "decimal128(38, 12)",
        "_extra": "string",
        "_version": "int64",
        "_synced_at": "timestamp[us, tz=UTC]",
        "_deleted_at": "timestamp[us, tz=UTC]",
    }
    marked = [name for name in schema.names if schema.field(name).metadata == JSON]
    assert marked == ["items", "metadata", "_extra"]


def test_a_page_becomes_rows(decoder: decode.Decoder, table: Table) -> None:
    body = b"""{
      "object": "list",
      "url": "/v1/things",
      "has_more": true,
      "data": [
        {"id": "th_1", "object": "thing", "amount": 1200, "created": 1700000000, "customer": "cus_1",
         "items": null, "live": false, "metadata": {"a": "b"}, "name": "one", "percent": 12.5,
         "rate_decimal": "0.000000000001"},
        {"id": "th_2", "object": "thing", "created": 1700000001}
      ]
    }"""

    page = decoder.page(body)

    assert (page.has_more, page.url, page.next_url) == (True, "/v1/things", None)
    assert len(page.rows) == 2
    assert page.rows.ids == ["th_1", "th_2"]
    assert page.rows.last_id == "th_2"
    assert page.rows.created == [1_700_000_000, 1_700_000_001]
    assert page.rows.objects == ["thing", "thing"]
    first, second = table(decoder, page.rows)
    assert first == {
        "_account_id": "acct_1",
        "id": "th_1",
        "object": "thing",
        "amount": 1200,
        "created": dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        "customer": "cus_1",
        "items": None,
        "live": False,
        "metadata": '{"a":"b"}',
        "name": "one",
        "percent": 12.5,
        "rate_decimal": pa.scalar("0.000000000001").cast(pa.decimal128(38, 12)).as_py(),
        "_extra": None,
        "_version": 1_700_000_000,
        "_synced_at": dt.datetime(2026, 11, 20, 12, tzinfo=UTC),
        "_deleted_at": None,
    }
    assert [name for name, value in second.items() if value is not None] == [
        "_account_id", "id", "object", "created", "_version", "_synced_at",
    ]  # fmt: skip


def test_an_empty_page_has_no_rows_and_no_last_id(
    decoder: decode.Decoder, listed: Listed, table: Table
) -> None:
    for _ in range(2):
        page = decoder.page(listed())
        assert (len(page.rows), page.rows.ids, page.rows.last_id, page.has_more) == (0, [], None, False)
        assert table(decoder, page.rows) == []
        decoder.page(listed('{"id":"th_1"}'))


def test_a_v2_page_pages_by_url_and_writes_times_as_text(stream: Make, table: Table) -> None:
    decoder = decode.Decoder(stream(api="v2"))
    body = b"""{"data":[{"id":"th_1","object":"v2.thing","created":"2023-11-14T22:13:20.25Z","amount":3},
      {"id":"th_2","created":"2023-11-15T00:13:21+02:00"},{"id":"th_3","created":"soon"}],
      "next_page_url":"/v2/things?page=abc","previous_page_url":null}"""

    for _ in range(2):
        page = decoder.page(body)
        assert (page.has_more, page.next_url, page.url) == (True, "/v2/things?page=abc", "")
        assert page.rows.created == [1_700_000_000, 1_700_000_001, None]
        rows = table(decoder, page.rows)
        assert [row["created"] for row in rows] == [
            dt.datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=UTC),
            dt.datetime(2023, 11, 14, 22, 13, 21, tzinfo=UTC),
            None,
        ]
        assert [row["_extra"] for row in rows] == [None, None, '{"created":"soon"}']


def test_the_last_v2_page_has_no_next_url(stream: Make) -> None:
    page = decode.Decoder(stream(api="v2")).page(b'{"data":[{"id":"th_1"}],"next_page_url":null}')

    assert (page.has_more, page.next_url) == (False, None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "0 bytes"),
        (b"<html><body>Bad Gateway</body></html>", "a web page"),
        (b"\n <!doctype html>", "a web page"),
        (b'{"error":{"type":"api_error","code":"oops","message":"jenny@example.com"}}', r"api_error, oops"),
        (b'{"error":"jenny@example.com"}', "unnamed"),
        (b'{"id":"th_1","object":"thing"}', "without data"),
        (b'{"object":"list","data":[]}', "whether more follows"),
        (b'{"object":"list","data":[1],"has_more":false}', "Expected `object`"),
        (b'{"object":"list","data":{},"has_more":false}', "Expected `array`"),
        (b'{"object":"list","data":[{"name":"x"}],"has_more":false}', "no id"),
        (b'{"object":"list","data":[{"id":7}],"has_more":false}', "Expected `str`"),
        (b'{"object":"list","data":[],"has_more":false}{}', "more text"),
        (b'{"object":"list","data":[{"id":"th_1","name":NaN}],"has_more":false}', "NaN is no JSON"),
        (b'{"object":"list","data":[{"id":"th_1","metadata":"\xff"}],"has_more":false}', "utf-8"),
        (b'{"data":' + b"[" * 100_000, "recursion"),
        (b"null", "Expected `object`"),
    ],
)
def test_anything_but_a_list_is_a_bad_page(
    decoder: decode.Decoder, listed: Listed, body: bytes, reason: str
) -> None:
    for _ in range(2):
        with pytest.raises(errors.BadPage, match=reason) as caught:
            decoder.page(body)
        assert "jenny" not in str(caught.value)
        decoder.page(listed('{"id":"th_1"}'))


def test_a_bad_page_teaches_nothing(decoder: decode.Decoder, listed: Listed, table: Table) -> None:
    with pytest.raises(errors.BadPage):
        decoder.page(b'{"object":"list","data":[{"id":"th_1","odd":1},{"id":"th_2"')

    assert table(decoder, decoder.page(listed('{"id":"th_1"}')).rows)[0]["_extra"] is None


def test_single_objects(decoder: decode.Decoder, table: Table) -> None:
    for _ in range(2):
        rows = decoder.objects([b'{"id":"th_1",\n "amount": 5}', b'{"id":"th_2","odd":true}'])
        assert rows.ids == ["th_1", "th_2"]
        assert [row["_extra"] for row in table(decoder, rows)] == [None, '{"odd":true}']


@pytest.mark.parametrize(
    "raw",
    [b'{"id":"th_1"},{"id":"th_2"}', b'{"id":"th_1"', b"[]", b'{"name":"x"}', b'{"error":{"type":"x"}}', b""],
)
def test_single_objects_are_exactly_that(decoder: decode.Decoder, raw: bytes) -> None:
    for _ in range(2):
        with pytest.raises(errors.BadPage, match="things"):
            decoder.objects([b'{"id":"th_1"}', raw])
        decoder.objects([b'{"id":"th_1"}'])


def test_the_stub_of_a_deleted_object_becomes_a_tombstone(decoder: decode.Decoder, table: Table) -> None:
    for _ in range(2):
        rows = decoder.objects(
            [b'{"id":"th_1","object":"thing","deleted":true}', b'{"id":"th_2","name":"b"}']
        )
        assert rows.deleted == [True, False]
        gone, alive = table(decoder, rows)
        assert gone["_deleted_at"] == dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
        assert (gone["_extra"], alive["_deleted_at"]) == (None, None)


def test_deleted_that_is_not_true_is_kept(decoder: decode.Decoder, table: Table) -> None:
    rows = decoder.objects([b'{"id":"th_1","deleted":false}'])

    assert rows.deleted == [False]
    assert table(decoder, rows)[0]["_extra"] == '{"deleted":false}'


def test_a_reference_is_its_id_however_it_arrives(decoder: decode.Decoder, table: Table) -> None:
    raws = [
        b'{"id":"th_1","customer":"cus_1"}',
        b'{"id":"th_2","customer":{"id":"cus_2","object":"customer","email":"a@example.com"}}',
        b'{"id":"th_3","customer":{"id":"cus_3","deleted":true}}',
        b'{"id":"th_4","customer":null}',
        b'{"id":"th_5","customer":{"object":"customer"}}',
        b'{"id":"th_6","customer":17}',
    ]
    plain = decoder.objects(raws[:4])
    drifted = decoder.objects(raws)

    assert plain.values("customer") == ["cus_1", "cus_2", "cus_3", None]
    assert drifted.values("customer")[:4] == plain.values("customer")
    rows = table(decoder, plain, drifted)
    assert [row["customer"] for row in rows] == ["cus_1", "cus_2", "cus_3", None] * 2 + [None, None]
    assert [row["_extra"] for row in rows[-2:]] == ['{"customer":{"object":"customer"}}', '{"customer":17}']


def test_nested_lists_are_handed_out_as_written(decoder: decode.Decoder, listed: Listed) -> None:
    items = '{"object":"list","data":[{"id":"it_1"}],"has_more":true,"url":"/v1/things/th_1/items"}'
    body = listed(f'{{"id":"th_1","items":{items}}}', '{"id":"th_2","items":null}', '{"id":"th_3"}')

    assert decoder.page(body).rows.nested("items") == [
        ("th_1", items.encode()),
        ("th_2", b"null"),
        ("th_3", None),
    ]


def test_nested_lists_deep_inside(stream: Make, listed: Listed) -> None:
    path = "computed.upfront.lines"
    decoder = decode.Decoder(stream(nested=[{"path": path, "url": "", "objects": [], "streams": []}]))
    body = listed(
        '{"id":"th_1","computed":{"upfront":{"lines":[1]}}}',
        '{"id":"th_2","computed":{"upfront":null}}',
        '{"id":"th_3","computed":{"upfront":{}}}',
        '{"id":"th_4","computed":null}',
        '{"id":"th_5"}',
        r'{"id":"th_6","computed":{"upfront":{"lines":["\ud800"]}}}',
        '{"id":"th_7","computed":5}',
    )

    found = [raw for _, raw in decoder.page(body).rows.nested(path)]

    assert found == [b"[1]", b"null", None, b"null", None, rb'["\ud800"]', None]


def test_a_nested_list_outside_the_catalog_is_not_repeated_in_extra(
    stream: Make, listed: Listed, table: Table
) -> None:
    nested = [{"path": path, "url": "", "objects": [], "streams": []} for path in ("lines", "a.lines")]
    decoder = decode.Decoder(stream(nested=nested))

    rows = decoder.page(listed('{"id":"th_1","lines":{"data":[]},"a":{"lines":[],"b":1}}')).rows

    assert rows.nested("lines") == [("th_1", b'{"data":[]}')]
    assert table(decoder, rows)[0]["_extra"] == '{"a":{"lines":[],"b":1}}'


def test_an_embedded_list_is_read_like_a_page(decoder: decode.Decoder) -> None:
    raw = b'{"object":"list","data":[{"id":"th_1"}],"has_more":true,"total_count":12,"url":"/v1/x/1/things"}'

    page = decoder.listing(raw)

    assert (page.rows.ids, page.has_more, page.url) == (["th_1"], True, "/v1/x/1/things")


def test_a_bare_array_is_a_complete_list(decoder: decode.Decoder) -> None:
    for raw in (b"[]", b' [ {"id": "th_1"}, {"id": "th_2"} ]', rb'[{"id":"th_1","name":"\ud800"}]'):
        page = decoder.listing(raw)
        assert page.rows.ids == ["th_1", "th_2"][: len(page.rows)]
        assert not page.has_more
    with pytest.raises(errors.BadPage):
        decoder.listing(b'[{"id":"th_1"}')
    with pytest.raises(errors.BadPage):
        decoder.listing(b"null")


def test_a_mixed_list_is_split_by_object(decoder: decode.Decoder, listed: Listed, table: Table) -> None:
    body = listed(
        '{"id":"th_1","object":"thing"}', '{"id":"ba_1","object":"bank_account","bank":"b"}', '{"id":"th_2"}'
    )

    rows = decoder.page(body).rows

    assert rows.objects == ["thing", "bank_account", ""]
    assert rows.only({"thing"}).ids == ["th_1"]
    banks = rows.only({"bank_account", "card"})
    assert [(row["id"], row["_extra"]) for row in table(decoder, banks)] == [("ba_1", '{"bank":"b"}')]


def test_taken_rows_keep_what_has_no_field(decoder: decode.Decoder, listed: Listed, table: Table) -> None:
    body = listed(r'{"id":"th_1","\"":1}', '{"id":"th_2"}', r'{"id":"th_3","\"":3}')

    taken = decoder.page(body).rows.take([2, 1])

    assert taken.ids == ["th_3", "th_2"]
    assert [row["_extra"] for row in table(decoder, taken)] == [r'{"\"":3}', None]
    assert taken.values('"') == [3, None]


def test_values_are_what_the_api_wrote(decoder: decode.Decoder, listed: Listed) -> None:
    thing = {
        "id": "th_1", "amount": 3, "live": True, "created": 5, "percent": 1.5, "rate_decimal": "0.10",
        "metadata": {"plan": {"name": "pro"}}, "name": None, "odd": [1],
    }  # fmt: skip
    rows = decoder.page(listed(json.dumps(thing), '{"id":"th_2"}')).rows

    for name, value in thing.items():
        assert rows.values(name)[0] == value
    assert rows.values("metadata.plan.name") == ["pro", None]
    assert rows.values("name.first") == [None, None]
    assert rows.values("never_seen") == [None, None]


def test_only_chosen_columns_are_converted(stream: Make, listed: Listed, table: Table) -> None:
    decoder = decode.Decoder(stream(), columns={"amount", "_version"})

    rows = decoder.page(listed('{"id":"th_1","amount":"drift","name":7,"odd":1,"customer":"cus_1"}')).rows

    assert decoder.schema.names == [
        "_account_id", "id", "amount", "_extra", "_version", "_synced_at", "_deleted_at",
    ]  # fmt: skip
    (row,) = table(decoder, rows)
    assert json.loads(str(row["_extra"])) == {"amount": "drift", "odd": 1}
    assert rows.values("customer") == ["cus_1"]


def test_a_column_that_does_not_exist_is_a_configuration_error(stream: Make) -> None:
    with pytest.raises(errors.ConfigError, match="things has no column colour"):
        decode.Decoder(stream(), columns=["amount", "colour"])


def test_a_list_that_stripe_leaves_out_is_no_column(stream: Make, listed: Listed, table: Table) -> None:
    """It is complete in its own table, and an event's payload would turn the column to NULL."""
    nested = [
        {"path": "items", "url": "", "objects": ["item"], "streams": [], "embedded": False},
        {"path": "metadata.items", "url": "", "objects": ["item"], "streams": [], "embedded": False},
    ]
    things = stream(nested=nested)
    decoder = decode.Decoder(things)

    rows = decoder.page(listed('{"id":"th_1","items":{"data":[]},"metadata":{"items":[]}}')).rows

    assert "items" not in decoder.schema.names
    assert decode.schema(things) == decoder.schema
    assert [field.name for field in decode.fields(things)] == [
        field.name for field in things.fields if field.name != "items"
    ]
    assert rows.nested("items") == [("th_1", b'{"data":[]}')]
    (row,) = table(decoder, rows)
    assert (row["metadata"], row["_extra"]) == ('{"items":[]}', None)
    with pytest.raises(errors.ConfigError, match="things has no column items"):
        decode.Decoder(things, columns=["items"])


DRIFTED = r"""{"id":"th_1","amount":"12 EUR","name":{"first":"Jenny"},"percent":"a","odd":1,"customer":7}"""


def test_a_hashed_value_that_does_not_fit_is_hashed_in_extra_too(
    stream: Make, listed: Listed, table: Table
) -> None:
    decoder = decode.Decoder(stream(), hashed={"name"})

    for _ in range(2):
        (row,) = table(decoder, decoder.page(listed(DRIFTED)).rows)
        extra = json.loads(str(row["_extra"]))
        assert row["name"] is None
        assert extra.pop("name") == hashlib.sha256(b'{"first":"Jenny"}').hexdigest()
        assert extra == {"amount": "12 EUR", "percent": "a", "odd": 1, "customer": 7}


def test_a_column_that_is_not_wanted_does_not_come_in_through_extra(
    stream: Make, listed: Listed, table: Table
) -> None:
    """Left out (`amount`, `customer`), or converted for a filter only (`name`)."""
    decoder = decode.Decoder(stream(), columns={"percent", "name"}, hidden={"name"})

    for _ in range(2):
        (row,) = table(decoder, decoder.page(listed(DRIFTED)).rows)
        assert json.loads(str(row["_extra"])) == {"percent": "a", "odd": 1}


def test_a_hashed_text_with_half_a_surrogate_does_not_come_in_through_extra(
    stream: Make, listed: Listed, table: Table
) -> None:
    decoder = decode.Decoder(stream(), hashed={"name"})

    (row,) = table(decoder, decoder.page(listed(r'{"id":"th_1","name":"Jenny\ud800"}')).rows)

    assert "Jenny" not in str(row["_extra"])


def test_children_carry_their_parent(stream: Make, listed: Listed) -> None:
    origin = {
        "path": "/v1/owners/{owner}/things",
        "kind": "by parent",
        "route": "per parent",
        "parents": [{"stream": "owners", "param": "owner"}],
    }
    decoder = decode.Decoder(stream(origins=[origin], key=["_parent_id", "id"]))
    one = decoder.page(listed('{"id":"th_1"}', '{"id":"th_2"}')).rows
    two = decoder.page(listed('{"id":"th_3"}', '{"id":"th_4"}')).rows
    parts = [
        arrow.Part(one, 10, "ow_1", "owner"),
        arrow.Part(two, 20, ["ow_2", None], "owner"),
        arrow.Part(one.take([0]), 30),
    ]

    made = arrow.table(decoder, parts, account="acct_1", synced_at=dt.datetime.now(UTC))

    assert made.schema.names[:4] == ["_account_id", "_parent_id", "_parent_type", "id"]
    assert made.select(["_parent_id", "_parent_type", "id", "_version"]).to_pylist() == [
        {"_parent_id": "ow_1", "_parent_type": "owner", "id": "th_1", "_version": 10},
        {"_parent_id": "ow_1", "_parent_type": "owner", "id": "th_2", "_version": 10},
        {"_parent_id": "ow_2", "_parent_type": "owner", "id": "th_3", "_version": 20},
        {"_parent_id": None, "_parent_type": "owner", "id": "th_4", "_version": 20},
        {"_parent_id": None, "_parent_type": None, "id": "th_1", "_version": 30},
    ]


def test_no_parts_make_an_empty_table(decoder: decode.Decoder) -> None:
    made = arrow.table(decoder, [], account="acct_1", synced_at=dt.datetime.now(UTC))

    assert made.num_rows == 0
    assert made.schema.equals(decoder.schema, check_metadata=True)


def test_a_batch_of_many_pages_keeps_their_order(
    decoder: decode.Decoder, listed: Listed, table: Table
) -> None:
    names = [f"th_{n}" for n in range(10_000)]
    pages = [
        decoder.page(
            listed(*(f'{{"id":"{name}","metadata":{{"n":"{name}"}}}}' for name in names[i : i + 100]))
        )
        for i in range(0, 10_000, 100)
    ]

    rows = table(decoder, *(page.rows for page in pages))

    assert [row["id"] for row in rows] == names
    assert [row["metadata"] for row in rows] == [f'{{"n":"{name}"}}' for name in names]


def test_rows_hold_no_more_than_their_own_page(decoder: decode.Decoder, listed: Listed) -> None:
    decoder.page(listed('{"id":"th_0"}'))
    filler = "x" * 1_000_000
    page = decoder.page(listed('{"id":"th_1","metadata":{"a":1}}', f'{{"id":"th_2","name":"{filler}"}}'))

    (raw,) = (getattr(struct, page.rows.layout.attributes["metadata"]) for struct in page.rows.structs[:1])

    assert len(memoryview(raw)) == len(b'{"a":1}')
