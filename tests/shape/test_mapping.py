"""Where each property comes from, and what is said of a mapping, or of a row, that does not work."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
import threading
from pathlib import Path
from typing import Any

import hypothesis
import pyarrow as pa
import pydantic
import pytest
import yaml
from hypothesis import strategies as st

from tidegate import config, errors
from tidegate.shape import mapping, profile

JSON = {b"tidegate": b"json"}
D = decimal.Decimal
NOON = dt.datetime(2024, 1, 31, 12, tzinfo=dt.UTC)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("name", pa.string()),
        pa.field("email", pa.string()),
        pa.field("balance", pa.int64()),
        pa.field("rate", pa.decimal128(38, 12)),
        pa.field("percent", pa.float64()),
        pa.field("livemode", pa.bool_()),
        pa.field("created", pa.timestamp("us", "UTC")),
        pa.field("address", pa.string(), metadata=JSON),
        pa.field("preferred_locales", pa.string(), metadata=JSON),
        pa.field("metadata", pa.string(), metadata=JSON),
    ]
)
ROW = {
    "id": "cus_1",
    "name": " Jane ",
    "email": "jane@example.com",
    "balance": -250,
    "rate": D("1.5"),
    "percent": 0.5,
    "livemode": True,
    "created": NOON,
    "address": {"city": "Bonn", "country": "DE"},
    "preferred_locales": ["de-DE", "en"],
    "metadata": {"plan": "pro", "seats": "7", "my.key": "dotted", "a.b": 1, "n": 1.50},
}
MAP: pydantic.TypeAdapter[dict[str, config.MapValue]] = pydantic.TypeAdapter(
    config.Pipeline.model_fields["map"].annotation
)


def table(*rows: dict[str, Any]) -> pa.Table:
    """Rows by column, what is not said is NULL; objects and lists become JSON text."""
    shown = [
        {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in row.items()}
        for row in rows
    ]
    return pa.Table.from_pylist(shown, SCHEMA)


def model(**properties: Any) -> profile.Profile:
    told = {"warehouse": "local", "properties": {"customer_id": "string", **properties}}
    return profile.of(config.CustomerModel.model_validate(told))


def compiled(properties: dict[str, Any], map: dict[str, Any]) -> mapping.Mapping:
    """A mapping as the file has it, to a model of some properties and customer_id."""
    return mapping.compile(MAP.validate_python(map), model(**properties), SCHEMA, named="pipeline eu")


def made(told: object, type: Any = "string", row: dict[str, Any] = ROW) -> object:
    """What one property becomes of a row."""
    typed = compiled({"x": type}, {"x": told}).apply(table(row))
    assert typed.failed == ()
    return typed.rows.column("x").to_pylist()[0]


def failing(told: object, type: Any = "string", row: dict[str, Any] = ROW) -> str:
    """Why the property x cannot be made of a row."""
    typed = compiled({"x": type}, {"x": told}).apply(table(row))
    assert (typed.rows.num_rows, typed.kept.to_pylist()) == (0, [False])
    [failure] = typed.failed
    assert (failure.row, failure.property) == (0, "x")
    return failure.why


def refused(told: object, type: Any = "string") -> str:
    """What is said of a mapping before it sees a row."""
    with pytest.raises(errors.ConfigError) as caught:
        compiled({"x": type}, {"x": told})
    said = str(caught.value)
    assert said.startswith("The pipeline eu cannot make x: ")
    assert said.endswith((".", "?"))
    return said.removeprefix("The pipeline eu cannot make x: ")


@pytest.mark.parametrize(
    ("field", "type", "value"),
    [
        ("email", "string", "jane@example.com"),
        ("balance", "integer", -250),
        ("balance", "decimal", D(-250)),
        ("balance", "string", "-250"),
        ("rate", "number", 1.5),
        ("created", "timestamp", NOON),
        ("created", "date", "2024-01-31"),
        ("created", "integer", 1_706_702_400),
        ("livemode", "string", "true"),
        ("address", "json", '{"city": "Bonn", "country": "DE"}'),
        ("address", {"type": "object", "properties": {"city": "string"}}, '{"city":"Bonn"}'),
        ("address.city", "string", "Bonn"),
        ("address.line1", "string", None),
        ("metadata.plan", "string", "pro"),
        ("metadata.seats", "integer", 7),
        ("metadata.my.key", "string", "dotted"),
        ('metadata."a.b"', "integer", 1),
        ("metadata.n", "decimal", D("1.5")),
        ("metadata.n", "json", "1.5"),
        ("preferred_locales", {"type": "array", "items": "string"}, '["de-DE","en"]'),
        ("preferred_locales.0", "string", "de-DE"),
        ("preferred_locales.7", "string", None),
    ],
)
def test_fields(field: str, type: Any, value: object) -> None:
    assert made(field, type) == value
    assert made({"from": field}, type) == value
    assert made(field, type, {}) is None


@pytest.mark.parametrize(
    ("value", "type", "expected"),
    [
        ("eu", "string", "eu"),
        (7, "decimal", D(7)),
        ("7", "integer", 7),
        (True, "boolean", True),
        (None, "integer", None),
        ("2024-01-31", "timestamp", NOON.replace(hour=0)),
        ("eu", "json", '"eu"'),
    ],
)
def test_constants(value: object, type: str, expected: object) -> None:
    assert made({"value": value}, type) == expected


@pytest.mark.parametrize(
    ("sql", "type", "expected"),
    [
        ("trim(name)", "string", "Jane"),
        ("name || '!' -- loud", "string", " Jane !"),
        ("NULL", "integer", None),
        ("balance / 100", "number", -2.5),
        ("balance * 2", "integer", -500),
        ("balance * 2", "string", "-500"),
        ("balance::HUGEINT", "integer", -250),
        ("0.1::FLOAT", "number", 0.1),
        ("18446744073709551615::UBIGINT", "decimal", D(2**64 - 1)),
        ("rate + 0.001", "decimal", D("1.501")),
        ("1.25::DECIMAL(5, 2)", "decimal", D("1.25")),
        ("created + INTERVAL 1 DAY", "timestamp", NOON + dt.timedelta(days=1)),
        ("created::DATE", "date", "2024-01-31"),
        ("created::TIMESTAMP", "timestamp", NOON),
        ("strftime(created, '%Y')", "integer", 2024),
        ("metadata->>'plan'", "string", "pro"),
        ("metadata->'plan'", "string", "pro"),
        ("metadata->>'$.seats'", "integer", 7),
        ("(metadata->>'seats')::INT > 5", "boolean", True),
        ("metadata", "json", json.dumps(ROW["metadata"]).replace(": ", ":").replace(", ", ",")),
        ("{'city': address->>'city', 'n': balance}", "object", '{"city":"Bonn","n":-250}'),
        ("[upper(name), NULL]", {"type": "array", "items": "string"}, '[" JANE ",null]'),
        ("list_transform(preferred_locales::VARCHAR[], lambda e: upper(e))[1]", "string", "DE-DE"),
        ("MAP {'a': 1}", "json", '{"a":1}'),
        ("'00000000-0000-0000-0000-000000000007'::UUID", "string", "00000000-0000-0000-0000-000000000007"),
        ("record.name", "string", " Jane "),
        ("NAME", "string", " Jane "),
        ("TRY_CAST(name AS INTEGER)", "integer", None),
        ("now() > created", "boolean", True),
        ("'it''s ' || coalesce(email, '?')", "string", "it's jane@example.com"),
    ],
)  # fmt: skip
def test_expressions(sql: str, type: Any, expected: object) -> None:
    assert made({"sql": sql}, type) == expected


@pytest.mark.parametrize(
    ("told", "type", "value"),
    [
        ({"from": "metadata.seats", "type": "integer"}, "string", "7"),
        ({"from": "created", "type": "date"}, "timestamp", NOON.replace(hour=0)),
        ({"value": " 007 ", "type": "integer"}, "string", "7"),
        ({"value": "eu", "type": "json"}, "string", "eu"),
        ({"sql": "metadata->>'seats'", "type": "integer"}, "json", "7"),
        ({"from": "address", "type": "object"}, "json", '{"city": "Bonn", "country": "DE"}'),
    ],
)
def test_a_type_of_its_own_comes_first(told: Any, type: str, value: object) -> None:
    assert made(told, type) == value


def test_a_type_of_its_own_refuses_what_the_property_would_take() -> None:
    assert failing({"from": "email", "type": "integer"}, "string") == (
        "the property x wants a whole number; the field holds text that is none"
    )


@pytest.mark.parametrize(
    ("told", "type", "why"),
    [
        ("email", "integer", "the property x wants a whole number; the field holds text that is none"),
        ("address.city", "number", "the property x wants a number; the field holds text that is none"),
        ("address", "string", "the property x wants text; the field holds an object"),
        ("metadata", {"type": "object", "properties": {"plan": "integer"}},
         "the property x.plan wants a whole number; the field holds text that is none"),
        ("percent", "integer", "the property x wants a whole number; the field holds a number with a fraction"),
        ({"sql": "name"}, "boolean", "the property x wants true or false; its SQL gives text that is none"),
        ({"sql": "'nan'::DOUBLE"}, "number",
         "the property x wants a number; its SQL gives one that is infinite or not a number (NaN)"),
        ({"sql": "['nan'::DOUBLE]"}, "json",
         "the property x wants a value that JSON has; its SQL gives JSON that cannot be read"),
        ({"sql": "'infinity'::TIMESTAMPTZ"}, "timestamp",
         "the property x wants a time; its SQL gives a time outside of the years 1 to 9999"),
        ({"sql": "CAST(name AS INTEGER)"}, "integer",
         "the property x cannot be made: its SQL fails on this row; TRY(...) around it gives null instead"),
    ],
)  # fmt: skip
def test_what_does_not_fit_fails_its_row(told: Any, type: Any, why: str) -> None:
    said = failing(told, type)
    assert said == why
    assert not any(value in said for value in ("jane", "Jane", "Bonn", "dotted"))


def test_only_the_rows_that_fail_are_left_out() -> None:
    rows = table(
        *(
            {
                "id": str(n),
                "name": "1" if n % 3 else "secret",
                "metadata": {"seats": "many" if n == 4 else str(n)},
            }
            for n in range(8)
        )
    )
    typed = compiled(
        {"seats": "integer", "rank": "integer", "half": "integer"},
        {
            "customer_id": "id",
            "seats": "metadata.seats",
            "rank": {"sql": "name::INTEGER"},
            "half": {"sql": "10 // (CASE WHEN id = '6' THEN 'zero' ELSE id END)::INTEGER"},
        },
    ).apply(rows)
    assert typed.rows.column("customer_id").to_pylist() == ["1", "2", "5", "7"]
    assert typed.kept.to_pylist() == [False, True, True, False, False, True, False, True]
    assert [(failure.row, failure.property) for failure in typed.failed] == [
        (0, "rank"),
        (0, "half"),
        (3, "rank"),
        (4, "seats"),
        (6, "rank"),
        (6, "half"),
    ]


def test_a_document_that_is_none_fails_its_row_alone() -> None:
    rows = table(*({"id": "x", "metadata": {"n": n}} for n in range(60)))
    broken = [text if n != 30 else '{"n":' for n, text in enumerate(rows.column("metadata").to_pylist())]
    rows = rows.set_column(SCHEMA.get_field_index("metadata"), SCHEMA.field("metadata"), [broken])
    typed = compiled(
        {"x": "integer", "y": "string"},
        {"x": {"sql": "(metadata->>'n')::INTEGER"}, "y": {"sql": "upper(id)"}},
    ).apply(rows)
    assert [(failure.row, failure.property) for failure in typed.failed] == [(30, "x")]
    assert typed.rows.column("x").to_pylist() == [n for n in range(60) if n != 30]
    assert typed.rows.column("y").to_pylist() == ["X"] * 59


def deep(levels: int) -> pa.Table:
    """Two rows, of which the second has lists inside each other."""
    rows = table({"metadata": {"n": "1", "deep": []}}, {})
    far = '{"n":"2","deep":' + "[" * levels + "]" * levels + "}"
    place = SCHEMA.get_field_index("metadata")
    return rows.set_column(place, SCHEMA.field("metadata"), [[rows["metadata"][0].as_py(), far]])


@pytest.mark.parametrize(
    ("type", "values"), [("string", ["1", "2"]), ("integer", [1, 2]), ("json", ['"1"', '"2"'])]
)
@pytest.mark.parametrize("levels", [1_000, 100_000])
def test_beside_what_is_nested_deep_a_value_is_found(type: str, values: list[Any], levels: int) -> None:
    typed = compiled({"x": type}, {"x": "metadata.n"}).apply(deep(levels))
    assert typed.failed == ()
    assert typed.rows["x"].to_pylist() == values


@pytest.mark.parametrize("type", ["string", "integer"])
def test_a_value_that_is_nested_too_deep_fails_its_row_alone(type: str) -> None:
    typed = compiled({"x": type, "y": "json"}, {"x": "metadata.deep", "y": "metadata.deep"}).apply(
        deep(100_000)
    )
    assert typed.kept.to_pylist()[1] is False
    assert next(each.why for each in typed.failed if each.row == 1).endswith(
        "the field holds JSON that cannot be read"
    )


def test_sql_over_what_is_nested_deep_fails_its_row_or_reads_it() -> None:
    for levels in (1_000, 100_000):
        typed = compiled({"x": "string"}, {"x": {"sql": "metadata->>'n'"}}).apply(deep(levels))
        assert typed.rows["x"].to_pylist()[0] == "1"
        assert len(typed.failed) + typed.rows.num_rows == 2


def test_half_a_surrogate_is_shown_as_a_replacement() -> None:
    row = {"metadata": {"odd": "\ud800", "plan": "pro"}}
    assert made({"sql": "metadata->>'plan'"}, row=row) == "pro"
    assert made({"sql": "metadata->>'odd'"}, row=row) == made("metadata.odd", row=row) == "\ufffd"


ADDRESS = {
    "type": "object",
    "properties": {
        "city": "string",
        "since": "date",
        "rate": "decimal",
        "geo": {"type": "object", "properties": {"lat": "number"}},
    },
}


def test_an_object_is_put_together_of_its_members() -> None:
    told = {
        "x.city": {"sql": "upper(address->>'city')"},
        "x.since": "created",
        "x.rate": "metadata.n",
        "x.geo.lat": {"value": "50.7"},
        "y.plan": "metadata.plan",
        "y.seats.paid": {"from": "metadata.seats", "type": "integer"},
        "y.locales": "preferred_locales",
    }
    shaped = compiled({"x": ADDRESS, "y": "object"}, told)
    [made, empty] = shaped.apply(table(ROW, {})).rows.to_pylist()
    assert made == {
        "customer_id": None,
        "x": '{"city":"BONN","since":"2024-01-31","rate":1.5,"geo":{"lat":50.7}}',
        "y": '{"plan":"pro","seats":{"paid":7},"locales":["de-DE","en"]}',
    }
    assert (empty["x"], empty["y"]) == ('{"city":null,"since":null,"rate":null,"geo":{"lat":50.7}}', None)


def test_what_does_not_fit_inside_an_object_fails_its_row() -> None:
    told = {
        "x.city": {"sql": "name::INTEGER"},
        "x.since": {"from": "email", "type": "timestamp"},
        "x.geo.lat": "address.city",
    }
    typed = compiled({"x": ADDRESS}, told).apply(table(ROW))
    assert (typed.rows.num_rows, [failure.property for failure in typed.failed]) == (0, ["x", "x", "x"])
    assert {failure.why for failure in typed.failed} == {
        "the property x.city cannot be made: its SQL fails on this row; TRY(...) around it gives null instead",
        "the property x.since wants a time; the field holds text that is none",
        "the property x.geo.lat wants a number; it holds text that is none",
    }


def test_a_whole_and_a_part_of_it_are_not_mapped_both() -> None:
    for whole, part in (("x", "x.city"), ("x.geo", "x.geo.lat")):
        for told in ({whole: "address", part: "email"}, {part: "email", whole: "address"}):
            with pytest.raises(errors.ConfigError) as caught:
                compiled({"x": ADDRESS}, told)
            assert str(caught.value) == (
                f"The pipeline eu maps {whole} as a whole, and {part} inside it; take one."
            )


def test_properties_that_a_mapping_does_not_name_are_null() -> None:
    typed = compiled({"email": "string"}, {"customer_id": "id"}).apply(table(ROW))
    assert typed.rows.to_pylist() == [{"customer_id": "cus_1", "email": None}]


def test_without_a_mapping_properties_come_from_where_stripe_has_them() -> None:
    usual = mapping.compile({}, profile.of(), SCHEMA, named="pipeline eu")
    [row] = usual.apply(table(ROW)).rows.to_pylist()
    assert {name: value for name, value in row.items() if value is not None} == {
        "customer_id": "cus_1",
        "name": " Jane ",
        "email": "jane@example.com",
        "address": '{"line1":null,"line2":null,"city":"Bonn","state":null,"postal_code":null,"country":"DE"}',
        "balance": -250,
        "preferred_locales": '["de-DE","en"]',
        "metadata": json.dumps(ROW["metadata"]),
        "created": NOON,
        "livemode": True,
    }
    own = mapping.compile({}, model(percent="number", nick="string"), SCHEMA, named="pipeline eu")
    assert own.apply(table(ROW)).rows.to_pylist() == [{"customer_id": "cus_1", "percent": 0.5, "nick": None}]


def test_another_stream_needs_a_mapping() -> None:
    with pytest.raises(errors.ConfigError) as caught:
        mapping.compile({}, profile.of(), SCHEMA, named="pipeline eu", stream="charges")
    assert str(caught.value) == (
        "The pipeline eu reads charges, where Tidegate does not know what is a customer's; say under `map` where "
        "each property comes from."
    )
    told = MAP.validate_python({"email": "email"})
    assert mapping.compile(told, profile.of(), SCHEMA, named="pipeline eu", stream="charges").columns == {
        "email"
    }


@pytest.mark.parametrize(
    ("told", "type", "said"),
    [
        ("emial", "string", "the field emial is not there; did you mean email?"),
        ("adress.city", "string", "the field adress.city is not there; did you mean address.city?"),
        ("zzz", "string", "the field zzz is not there; check how it is written."),
        ("email.domain", "string", "the field email.domain is not there: email holds single values, and has "),
        ("a..b", "string", "a..b is no field: no name at character 3; put dots between names, and quotes around"),
        ({"value": "secret"}, "integer",
         "the property x wants a whole number; the constant is text that is none."),
        ({"value": 1.5, "type": "integer"}, "string",
         "the property x wants a whole number; the constant is a number with a fraction."),
        ({"sql": "emial"}, "string", 'it is no SQL that works here: Referenced column "emial" not found'),
        ({"sql": "upper("}, "string", "it is no SQL expression: "),
        ({"sql": "(SELECT 1)"}, "string", "it reads rows by a query of its own, and only the columns of its own "),
        ({"sql": "(FROM read_text('/etc/passwd'))"}, "string", "it reads rows by a query of its own"),
        ({"sql": "max(name)"}, "string", "it adds up rows (max)"),
        ({"sql": "random()"}, "string", "it has another value each time (random), so that every row would change"),
        ({"sql": "1) FROM given WHERE (true"}, "string", "it is more than one expression"),
        ({"sql": "given.name"}, "string", "it is no SQL that works here: Referenced table"),
        ({"sql": "current_setting('memory_limit')"}, "string", "it asks about the engine (current_setting)"),
        ({"sql": "'\\x00'::BLOB"}, "string", "its SQL gives bytes; make them text, such as by hex(...)."),
    ],
)  # fmt: skip
def test_what_is_refused_before_any_row(told: Any, type: str, said: str) -> None:
    found = refused(told, type)
    assert found.startswith(said)
    assert "secret" not in found


def test_a_property_that_is_not_there_is_refused() -> None:
    for name, said in (
        ("emial", "The pipeline eu maps a property that the customer model does not have: emial; "
         "did you mean email?"),
        ("zzz", "The pipeline eu maps a property that the customer model does not have: zzz; "
         "it has customer_id, email, address, extra."),
        ("email.x", "The pipeline eu maps email.x, but only an object has something inside, and this is in a "
         "property of the type string; map that as a whole."),
        ("address.ctiy", "The pipeline eu maps address.ctiy, but the object has no key ctiy; did you mean city?"),
        ("extra.", "The pipeline eu maps extra., but the object has no key named like that; "
         "letters, digits and underscores make a name."),
    ):  # fmt: skip
        with pytest.raises(errors.ConfigError) as caught:
            compiled({"email": "string", "address": ADDRESS, "extra": "object"}, {name: "email"})
        assert str(caught.value) == said


def test_a_mapping_says_which_columns_it_needs() -> None:
    told = {"customer_id": "id", "x": {"sql": "upper(Name) || (metadata->>'plan')"}, "y": "address.city"}
    assert compiled({"x": "string", "y": "string"}, told).columns == {"id", "name", "metadata", "address"}
    assert compiled({"x": "json"}, {"x": {"sql": "record"}}).columns == set(SCHEMA.names)
    assert compiled({"x": "integer"}, {"x": {"value": 7}}).columns == set()
    narrow = table(ROW).select(["id", "name", "metadata", "address"])
    assert compiled({"x": "string", "y": "string"}, told).apply(narrow).rows.to_pylist() == [
        {"customer_id": "cus_1", "x": " JANE pro", "y": "Bonn"}
    ]


def test_the_mappings_of_the_page_work() -> None:
    page = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text(encoding="utf-8")
    first, objects, second = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    row = {
        **ROW,
        "metadata": {
            "plan": "pro",
            "seats": "7",
            "signup": "2024-01-31",
            "country": "de",
            "tag1": "a",
            "prefs": '{"a":1}',
        },
    }
    told = (
        first["pipelines"]["eu_customers"]["map"]
        | objects
        | {f"{name}_by_sql": sql for name, sql in second.items()}
    )
    kinds = {"seats": "integer", "signup": "date", "ltv_by_sql": "decimal", "tags_by_sql": "array"}
    kinds |= {
        "address": "object",
        "address_by_sql": "object",
        "prefs_by_sql": "object",
        "since_by_sql": "date",
    }
    of = model(**dict.fromkeys(set(told) - {"customer_id", *objects}, "string") | kinds)
    typed = mapping.compile(MAP.validate_python(told), of, SCHEMA, named="pipeline eu").apply(table(row))
    assert typed.failed == ()
    [made] = typed.rows.to_pylist()
    assert made == {
        "customer_id": "cus_1",
        "email": "jane@example.com",
        "city": "Bonn",
        "plan": "pro",
        "seats": 7,
        "region": "eu",
        "signup": "2024-01-31",
        "address": '{"country":"DE"}',
        "name_by_sql": "Jane",
        "domain_by_sql": "example.com",
        "plan_by_sql": "pro",
        "ltv_by_sql": D("-2.5"),
        "since_by_sql": "2024-01-31",
        "address_by_sql": '{"city":"Bonn","country":"DE"}',
        "tags_by_sql": '["a"]',
        "prefs_by_sql": '{"a":1}',
    }


def test_no_rows_are_no_rows() -> None:
    told = {"customer_id": {"sql": "upper(id)"}, "x": "address.city", "y": {"value": 7}}
    typed = compiled({"x": "string", "y": "integer"}, told).apply(table())
    assert (typed.rows.num_rows, len(typed.kept), typed.failed) == (0, 0, ())


def test_rows_in_several_chunks_keep_their_order() -> None:
    rows = pa.concat_tables([table({"id": str(n), "metadata": {"n": n}}) for n in range(5)])
    typed = compiled({"x": "string", "n": "integer"}, {"x": {"sql": "id || '!'"}, "n": "metadata.n"}).apply(
        rows
    )
    assert typed.rows.column("x").to_pylist() == ["0!", "1!", "2!", "3!", "4!"]
    assert typed.rows.column("n").to_pylist() == [0, 1, 2, 3, 4]


def test_one_mapping_serves_several_threads() -> None:
    shaped = compiled({"x": "integer"}, {"x": {"sql": "(metadata->>'n')::INTEGER + 1"}})
    found: dict[int, list[Any]] = {}

    def work(first: int) -> None:
        rows = table(*({"metadata": {"n": n}} for n in range(first, first + 500)))
        found[first] = shaped.apply(rows).rows.column("x").to_pylist()

    threads = [threading.Thread(target=work, args=(n * 1000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n * 1000: list(range(n * 1000 + 1, n * 1000 + 501)) for n in range(4)}


def test_an_expression_fails_exactly_where_it_fails_by_itself() -> None:
    shaped = compiled({"x": "integer"}, {"x": {"sql": "name::INTEGER"}})

    @hypothesis.settings(max_examples=40, deadline=None)
    @hypothesis.given(
        given=st.lists(st.none() | st.integers(-9, 9).map(str) | st.text(max_size=3), min_size=1, max_size=30)
    )
    def ask(given: list[str | None]) -> None:
        together = shaped.apply(table(*({"name": name} for name in given)))
        alone = [shaped.apply(table({"name": name})) for name in given]
        assert together.kept.to_pylist() == [each.kept.to_pylist()[0] for each in alone]
        assert together.rows.to_pylist() == [row for each in alone for row in each.rows.to_pylist()]

    ask()
