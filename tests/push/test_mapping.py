"""From rows to what they want of Stripe: every value as text, and nothing that Stripe could not be sent."""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import math
import re
from pathlib import Path
from typing import Any

import modelled
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelled import batch, column

from tidegate import errors
from tidegate.catalog import writes
from tidegate.push import canonical, mapping, models, workbook

NAN = float("nan")


def beside(one: pa.RecordBatch, **more: Any) -> pa.RecordBatch:
    """A batch with a key and an e-mail, and a column of its own."""
    count = len(one)
    usual = {"id": list(range(1, count + 1)), "email": [f"{n}@example.com" for n in range(count)], **more}
    others = pa.RecordBatch.from_pydict(usual)
    fields = [*others.schema, *one.schema]
    return pa.RecordBatch.from_arrays([*others.columns, *one.columns], schema=pa.schema(fields))


def texts(folder: Path, one: pa.RecordBatch, field: str = "metadata.x", **told: Any) -> list[str | None]:
    """What every row of a column `x` wants of a field; None where it wants nothing."""
    push = modelled.push(fields={field: {"from": "x", **told}})
    found = modelled.wanted(folder, push, beside(one))
    return [found.get(str(n), {}).get(field) for n in range(1, len(one) + 1)]


@pytest.mark.parametrize(
    ("values", "type", "expected"),
    [
        ([True, False, None], None, ["true", "false", None]),
        ([1, -5, None], None, ["1", "-5", None]),
        ([1.0, 19.99, 1e21, 1e-7], None, ["1", "19.99", "1" + "0" * 21, "0.0000001"]),
        ([decimal.Decimal("19.50"), decimal.Decimal("100.00")], pa.decimal128(10, 2), ["19.5", "100"]),
        ([decimal.Decimal("1E-20")], pa.decimal256(60, 30), ["0." + "0" * 19 + "1"]),
        ([dt.date(2024, 1, 31)], None, ["2024-01-31"]),
        ([dt.datetime(2024, 1, 31, 12)], pa.timestamp("us"), ["2024-01-31T12:00:00"]),
        ([dt.datetime(2024, 1, 31, 12)], pa.timestamp("us", "UTC"), ["2024-01-31T12:00:00Z"]),
        ([" as it is ", "", "ü😀", None], None, [" as it is ", None, "ü😀", None]),
    ],
    ids=str,
)
def test_values_are_text_as_stripe_takes_it(
    tmp_path: Path, values: list[object], type: pa.DataType | None, expected: list[str | None]
) -> None:
    assert texts(tmp_path, column("x", values, type)) == expected


@pytest.mark.parametrize(
    ("values", "type", "expected"),
    [
        ([dt.datetime(2024, 1, 31, 12)], pa.timestamp("us"), ["1706702400"]),
        ([dt.datetime(2024, 1, 31, 12)], pa.timestamp("us", "UTC"), ["1706702400"]),
        ([1_706_702_400_999_999_999], pa.timestamp("ns", "UTC"), ["1706702400"]),
        ([-1], pa.timestamp("ms", "UTC"), ["-1"]),
        ([dt.date(2024, 1, 31)], None, ["1706659200"]),
        ([1706702400, None], None, ["1706702400", None]),
        ([1706702400.0], None, ["1706702400"]),
        (["1706702400", "2024-01-31T12:00:00Z", "2024-01-31 13:00:00+01"], None, ["1706702400"] * 3),
        (["next week", ""], None, ["next week", None]),
    ],
    ids=str,
)
def test_moments_are_unix_seconds_where_stripe_wants_them(
    tmp_path: Path, values: list[object], type: pa.DataType | None, expected: list[str | None]
) -> None:
    """A time without a zone is UTC; text that is no time stays, for the check of the fields to refuse it."""
    of = writes.load()["coupon"]
    push = modelled.push(fields={"redeem_by": "x"}, match={"id": "email"}, object="coupon")
    with modelled.book(tmp_path) as book:
        taken = models.snapshot(modelled.Rows(beside(column("x", values, type))), "q", ("id",), book)
        found = mapping.map_rows(book, taken, "p", push, of)
        rows = [row for each in mapping.rows(book, found) for row in each.to_pylist()]
    assert [row["redeem_by"] for row in sorted(rows, key=lambda row: int(row["key"]))] == expected


def test_nothing_and_one_are_booleans_where_a_server_has_no_others(tmp_path: Path) -> None:
    of, told = (
        writes.load()["product"],
        modelled.push(fields={"active": "x"}, match={"id": "email"}, object="product"),
    )
    with modelled.book(tmp_path) as book:
        taken = models.snapshot(modelled.Rows(beside(column("x", [0, 1, 2, None]))), "q", ("id",), book)
        found = mapping.map_rows(book, taken, "p", told, of)
        rows = [row for each in mapping.rows(book, found) for row in each.to_pylist()]
    assert {row["key"]: row["active"] for row in rows} == {"1": "false", "2": "true", "3": "2", "4": None}


def test_lists_come_from_json_and_one_value_is_a_list_of_it(tmp_path: Path) -> None:
    one = column("x", ['["de", "en"]', '"fr"', "[]", "null", None, "[1,"], json=True)
    assert texts(tmp_path, one, "preferred_locales") == ['["de","en"]', '["fr"]', None, None, None, '["[1,"]']
    assert texts(tmp_path, column("x", ["de", ""]), "preferred_locales") == ['["de"]', None]


def test_a_path_leads_into_a_column_of_json(tmp_path: Path) -> None:
    documents = [
        '{"city": "Köln", "geo": [50.9, 6.90], "a.b": {"~/": true}, "metadata": {"x.y": "z"}}',
        '{"city": null}', "[]", None, "no JSON",
    ]  # fmt: skip
    one = column("x", documents, json=True)
    for path, expected in {
        "x.city": "Köln",
        "X.geo.1": "6.9",
        "x.geo": "[50.9,6.9]",
        'x."a.b"."~/"': "true",
        "x.metadata.x.y": "z",
        "x.nothing.there": None,
    }.items():
        assert texts(tmp_path, one, **{"from": path}) == [expected, None, None, None, None], path


def test_a_path_leads_into_a_struct(tmp_path: Path) -> None:
    one = column("x", [{"city": "Köln", "at": dt.date(2024, 1, 31)}, None])
    assert texts(tmp_path, one, **{"from": "x.city"}) == ["Köln", None]
    assert texts(tmp_path, one, **{"from": "x.at"}) == ["2024-01-31", None]


def test_rows_are_matched_and_texts_made_by_paths_too(tmp_path: Path) -> None:
    one = column("x", ['{"mail": "a@b.c", "first": "Jane"}'], json=True)
    push = modelled.push(match={"email": "x.mail"}, fields={"name": {"template": "{x.first} Doe"}})
    with modelled.book(tmp_path) as book:
        modelled.mapped(book, push, beside(one))
        assert book.rows("SELECT match_0, field_0 FROM wanted") == [("a@b.c", "Jane Doe")]


def test_a_column_whose_name_has_dots_comes_before_a_path(tmp_path: Path) -> None:
    one = column("x", ['{"city": "Bonn"}'], json=True)
    named = pa.RecordBatch.from_arrays(
        [*one.columns, pa.array(["Köln"])],
        schema=pa.schema([*one.schema, pa.field("x.city", pa.string())]),
    )
    push = modelled.push(fields={"name": "x.city"})
    assert modelled.wanted(tmp_path, push, beside(named)) == {"1": {"name": "Köln"}}


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("x.city", "x holds single values, and has no city inside it"),
        ("y.city", "the model has no column y.city"),
        ("x.", r"x\. is no column, and leads into none: a name is missing at its end"),
    ],
)
def test_a_path_that_leads_nowhere(tmp_path: Path, path: str, why: str) -> None:
    with pytest.raises(errors.ConfigError, match=rf"The push p cannot make its field metadata\.x: {why}"):
        texts(tmp_path, column("x", ["plain"]), **{"from": path})


def test_json_in_a_text_field_is_without_spaces(tmp_path: Path) -> None:
    one = column("x", ['{"a": [1, 2.50]}', '"text"', "12345678901234567890123"], json=True)
    assert texts(tmp_path, one) == ['{"a":[1,2.5]}', "text", "12345678901234567890123"]


def test_null_leaves_a_field_or_clears_it(tmp_path: Path) -> None:
    """Empty text is null: Stripe knows no empty text, it would clear the field."""
    one = column("x", ["a", "", None])
    assert texts(tmp_path, one) == ["a", None, None]
    assert texts(tmp_path, one, null="clear") == ["a", "", ""]
    assert texts(tmp_path, column("x", ["[]", None], json=True), "preferred_locales", null="clear") == [
        "",
        "",
    ]


def test_hashes_are_of_the_text_and_null_has_none(tmp_path: Path) -> None:
    expected = [hashlib.sha256(text.encode()).hexdigest() for text in ("a@b.c", "1")]
    assert texts(tmp_path, column("x", ["a@b.c", "1", None]), hash=True) == [*expected, None]
    assert texts(tmp_path, column("x", [None], pa.string()), hash=True, null="clear") == [""]
    assert texts(tmp_path, column("x", [1.0]), hash=True) == expected[1:]


def test_templates_take_columns_in_braces(tmp_path: Path) -> None:
    rows = batch(
        id=[1, 2, 3],
        email=["a", "b", "c"],
        first=["Ann", None, ""],
        n=[1.0, 2.0, 3.5],
        day=[dt.date(2024, 1, 31)] * 3,
    )
    fields = {
        "name": {"template": "{first} {{{n}}} 100% 'q' {day}"},
        "description": {"template": "{ FIRST }!"},
    }
    assert modelled.wanted(tmp_path, modelled.push(fields=fields), rows) == {
        "1": {"name": "Ann {1} 100% 'q' 2024-01-31", "description": "Ann!"},
        "2": {},
        "3": {"name": " {3.5} 100% 'q' 2024-01-31", "description": "!"},
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [("warehouse", "warehouse"), (True, "true"), (7, "7"), (1e21, "1" + "0" * 21), ("it's", "it's")],
)
def test_constants_are_text_too(tmp_path: Path, value: object, text: str) -> None:
    told = modelled.push(fields={"metadata.source": {"value": value}})
    assert modelled.wanted(tmp_path, told, batch(id=[1], email=["a"])) == {"1": {"metadata.source": text}}


def test_metadata_tells_upper_from_lower_case(tmp_path: Path) -> None:
    told = modelled.push(fields={"metadata.plan": "a", "metadata.Plan": "b", "metadata.a.b/c~d": "a"})
    found = modelled.wanted(tmp_path, told, batch(id=[1], email=["x"], a=["1"], b=["2"]))
    assert found == {"1": {"metadata.plan": "1", "metadata.Plan": "2", "metadata.a.b/c~d": "1"}}


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("upper(note) || '!'", "A B!"),
        ("note -- what it says", "a b"),
        ("CASE WHEN n > 1 THEN 'many' END", "many"),
        ("n * 2", "5"),
        ("day + INTERVAL 1 DAY", "2024-02-01T00:00:00"),
        ("doc->>'$.a.b'", "x"),
        ("n > 1", "true"),
        ("[note, 'z']", '["a b","z"]'),
        ("{'k': n}", '{"k":2.5}'),
        ("list_transform([1, 2], lambda e: e + 1)", "[2,3]"),
        ('"odd name"', "odd"),
        ("CAST(n AS DECIMAL(10, 2))", "2.5"),
        ("'\\x00AB'::BLOB", "004142"),
        ("date_diff('year', day, day)", "0"),
        ("TRY_CAST(note AS INTEGER)", None),
        ("NULL", None),
    ],
)
def test_expressions_see_the_columns_of_their_row(tmp_path: Path, sql: str, text: str | None) -> None:
    rows = beside(
        column("doc", ['{"a": {"b": "x"}}'], json=True),
        note=["a b"],
        n=[2.5],
        day=[dt.date(2024, 1, 31)],
        **{"odd name": ["odd"]},
    )
    found = modelled.wanted(tmp_path, modelled.push(fields={"metadata.x": {"sql": sql}}), rows)
    assert found["1"].get("metadata.x") == text


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("(SELECT 1)", "it reads rows by a query of its own"),
        ("(SELECT string_agg(email) FROM source)", "it reads rows by a query of its own"),
        ("note IN (FROM acknowledged)", "it reads rows by a query of its own"),
        ("EXISTS (FROM read_csv('/etc/passwd'))", "it reads rows by a query of its own"),
        ("(FROM read_text('/etc/passwd'))", "it reads rows by a query of its own"),
        ("sum(n)", r"it adds up rows \(sum\)"),
        ("upper(max(note))", r"it adds up rows \(max\)"),
        ("row_number() OVER ()", "it looks at other rows"),
        ("unnest([1, 2])", "it makes several rows"),
        ("*", "it names all columns at once"),
        ("COLUMNS('n.*')", "it names all columns at once"),
        ("$1", "it has a parameter"),
        ("random()", r"another value each time \(random\), so that every row would change in every run"),
        ("CAST(uuid() AS VARCHAR)", r"another value each time \(uuid\)"),
        ("nextval('s')", r"another value each time \(nextval\)"),
        ("sleep_ms(1000)", "another value each time"),
        ("current_setting('allowed_paths')", "it asks about the engine"),
        ("current_database()", "it asks about the engine"),
        ("getenv('HOME')", "Scalar Function with name getenv does not exist"),
        ("read_text('/etc/passwd')", "is a table function"),
        ("1; ATTACH 'x.duckdb'", "it is no SQL expression|more than one expression"),
        ("1); ATTACH 'x.duckdb'; SELECT (1", "it is more than one expression"),
        ("1); SET memory_limit = '1TB'; SELECT (1", "it is more than one expression"),
        ("1) FROM read_csv('/etc/passwd') WHERE (true", "it is more than one expression"),
        ("1) FROM (SELECT 2", "it is more than one expression"),
        ("1), (2", "it is more than one expression"),
        ("1) AS a --", "it is no SQL expression"),
        ("'a' /*", "it is no SQL expression"),
        ("note +", "it is no SQL expression"),
        ("nope", 'Referenced column "nope" not found'),
        ("_tidegate_key", "not found"),
        ("source.note", "not found"),
        ("upper(n, n)", "No function matches"),
        ("CAST(note AS INTEGER)", "its SQL fails on some row; use TRY_CAST"),
        ("1 // (n - 2.5)::INT / CAST(note AS INT)", "its SQL fails on some row"),
    ],
)
def test_expressions_reach_nothing_else(tmp_path: Path, sql: str, why: str) -> None:
    told = modelled.push(fields={"metadata.x": {"sql": sql}, "name": {"sql": "upper(note)"}})
    rows = beside(column("note", ["geheim@example.com"]), n=[2.5])
    with modelled.book(tmp_path) as book:
        with pytest.raises(errors.ConfigError, match=why) as caught:
            modelled.mapped(book, told, rows)
        assert str(caught.value).startswith("The push p cannot make its field metadata.x: ")
        assert str(caught.value).endswith(".")
        assert "geheim" not in str(caught.value)
        assert book.count("SELECT count(*) FROM source") == 1
        assert modelled.mapping.map_rows(book, *_other(book)).rows == 1


def _other(book: workbook.Workbook) -> tuple[Any, ...]:
    """The rest of a mapping that works, of the snapshot that stands in a workbook."""
    kinds = {
        str(row[0]): str(row[1]) for row in book.rows("DESCRIBE source") if not str(row[0]).startswith("_")
    }
    schema = pa.schema([(name, pa.string()) for name in kinds])
    taken = models.Snapshot(1, schema, ("id",), 0.0, {}, 0, kinds)
    return taken, "p", modelled.push(fields={"name": "note"}), modelled.CUSTOMER


@pytest.mark.parametrize(
    "statement",
    [
        "FROM read_csv('/etc/passwd')",
        "FROM '/etc/passwd'",
        "ATTACH '/tmp/other.duckdb'",
        "COPY source TO '/tmp/out.csv'",
        "SET enable_external_access = true",
        "SET allowed_paths = ['/etc/passwd']",
        "SET memory_limit = '1TB'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "FROM read_csv('https://example.com/x.csv')",
    ],
)
def test_the_engine_of_a_workbook_opens_nothing_else(tmp_path: Path, statement: str) -> None:
    with modelled.book(tmp_path) as book:
        models.snapshot(modelled.Rows(batch(id=[1])), "q", ("id",), book)
        with pytest.raises(errors.TidegateError):
            book.execute(statement)
        assert book.count("SELECT count(*) FROM source") == 1


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (
            {"fields": {"name": "nmae"}},
            "The push p cannot make its field name: the model has no column nmae; did you mean name?",
        ),
        (
            {"fields": {"name": {"template": "{first} {nick}"}}},
            "The push p cannot make its field name: the model has no column nick; it has id, email, name, ",
        ),
        (
            {"match": {"email": "mail"}},
            "The push p cannot match by email: the model has no column mail; did you mean email?",
        ),
        (
            {"filter": {"field": "plans", "op": "is", "value": "x"}},
            "The push p cannot choose its rows: the filter names plans, which is not there; did you mean plan?",
        ),
        (
            {"filter": {"field": "n", "op": "is", "value": "geheim"}},
            "The push p cannot choose its rows: the filter cannot ask `is` of n: the value must be a number.",
        ),
    ],
    ids=("field", "template", "match", "filter", "value"),
)
def test_a_column_that_was_renamed_is_told_with_the_push_and_the_field(
    tmp_path: Path, told: dict[str, Any], message: str
) -> None:
    rows = batch(id=[1], email=["a"], name=["x"], first=["y"], plan=["z"], n=[1])
    with modelled.book(tmp_path) as book, pytest.raises(errors.ConfigError) as caught:
        modelled.mapped(book, modelled.push(**{"fields": {"name": "name"}, **told}), rows)
    assert str(caught.value).startswith(message)


def test_columns_are_found_in_another_case(tmp_path: Path) -> None:
    told = modelled.push(fields={"name": "Name"})
    assert modelled.wanted(tmp_path, told, batch(id=[1], EMAIL=["a"], NAME=["x"])) == {"1": {"name": "x"}}


@pytest.mark.parametrize(
    ("one", "told", "expected"),
    [
        (column("x", [1.0, NAN, float("inf"), None]), {"from": "x"}, {"2": "number", "3": "number"}),
        (column("x", ["a", "b\0", "\0"]), {"from": "x"}, {"2": "nul", "3": "nul"}),
        (column("x", ["a", "b\0"]), {"from": "x", "hash": True}, {"2": "nul"}),
        (column("x", ["a", "b\0"]), {"template": "{x}!"}, {"2": "nul"}),
        (column("x", [1.0, NAN]), {"template": "{x}!"}, {"2": "number"}),
        (column("x", [1.0, 0.0]), {"sql": "CASE WHEN x = 0 THEN 'nan'::DOUBLE ELSE x END"}, {"2": "number"}),
        (column("x", ['"a"', '"\\u0000"'], json=True), {"from": "x"}, {"2": "nul"}),
    ],
    ids=("not finite", "nul", "hashed", "nul in a template", "nan in a template", "expression", "json"),
)
def test_what_stripe_cannot_be_sent_keeps_its_row_and_no_other(
    tmp_path: Path, one: pa.RecordBatch, told: dict[str, Any], expected: dict[str, str]
) -> None:
    with modelled.book(tmp_path) as book:
        _, found = modelled.mapped(book, modelled.push(fields={"metadata.x": told}), beside(one))
        refused = book.rows("SELECT key, field, why FROM refused ORDER BY key")
        kept = book.rows("SELECT key FROM wanted ORDER BY key")
    assert refused == [(key, "metadata.x", why) for key, why in expected.items()]
    assert set(expected.values()) <= set(mapping.REASONS)
    assert [key for (key,) in kept] == [str(n + 1) for n in range(len(one)) if str(n + 1) not in expected]
    assert (found.rows, found.refused) == (len(one) - len(expected), len(expected))


def test_very_long_text_is_left_for_the_check_of_fields(tmp_path: Path) -> None:
    text = "x" * 5_000_000
    assert texts(tmp_path, column("x", [text])) == [text]


def test_e_mails_are_folded_and_other_matches_are_not(tmp_path: Path) -> None:
    rows = batch(id=[1, 2, 3], mail=[" Jörg@EXAMPLE.com\u00a0", " ", None], ext=["Ab", "", 'x"'])
    told = modelled.push(match={"email": "mail", "metadata.ext": "ext"}, fields={"name": "ext"})
    with modelled.book(tmp_path) as book:
        _, found = modelled.mapped(book, told, rows)
        shown = book.rows("SELECT match_0, folded_0, match_1, folded_1 FROM wanted ORDER BY key")
    assert found.matches == ("email", "metadata.ext")
    assert shown == [
        (" Jörg@EXAMPLE.com\u00a0", "jörg@example.com", "Ab", "Ab"),
        (None, None, None, None),
        (None, None, 'x"', 'x"'),
    ]


def test_an_e_mail_may_count_exactly_and_anything_else_be_folded(tmp_path: Path) -> None:
    told = modelled.push(
        match={
            "email": {"from": "email", "case": "exact"},
            "metadata.ext": {"from": "ext", "case": "ignore"},
        },
        fields={"name": "ext"},
    )
    with modelled.book(tmp_path) as book:
        modelled.mapped(book, told, batch(id=[1], email=["A@b.c"], ext=["X "]))
        assert book.rows("SELECT folded_0, folded_1 FROM wanted") == [("A@b.c", "x")]


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ({"field": "plan", "op": "is not", "value": "free"}, ["1", "3"]),
        ({"field": "doc.country", "op": "is one of", "value": ["DE", "FR"]}, ["1"]),
        ({"field": "since", "op": "is on or after", "value": "2024-02-01"}, ["2", "3"]),
        ({"all": [{"field": "n", "op": ">", "value": 1}, {"field": "plan", "op": "exists"}]}, ["2"]),
        ({"field": "n", "op": ">", "value": 100}, []),
    ],
)
def test_a_filter_chooses_rows(tmp_path: Path, condition: dict[str, Any], kept: list[str]) -> None:
    rows = beside(
        column("doc", ['{"country": "DE"}', '{"country": "US"}', None], json=True),
        plan=["pro", "free", None],
        n=[1, 2, 3],
        since=[dt.date(2024, 1, 31), dt.date(2024, 2, 1), dt.date(2024, 3, 1)],
    )
    with modelled.book(tmp_path) as book:
        _, found = modelled.mapped(book, modelled.push(filter=condition, fields={"name": "plan"}), rows)
        shown = book.rows("SELECT key FROM wanted ORDER BY key")
    assert [key for (key,) in shown] == kept
    assert (found.rows, found.filtered) == (len(kept), 3 - len(kept))


def test_rows_without_a_usable_key_are_neither_wanted_nor_filtered(tmp_path: Path) -> None:
    rows = batch(id=[1, 2, 2, None], email=["a", "b", "c", "d"], plan=["x", "x", "y", "x"])
    told = modelled.push(filter={"field": "plan", "op": "is", "value": "x"})
    with modelled.book(tmp_path) as book:
        taken, found = modelled.mapped(book, told, rows)
    assert (taken.doubled, dict(taken.invalid), found.filtered, found.rows) == (2, {"null": 1}, 0, 1)


def fingerprint(**fields: Any) -> str:
    return mapping.fingerprint(modelled.push(fields=fields), modelled.CUSTOMER)


def test_a_mapping_is_known_by_what_it_says_and_not_by_how_it_is_written() -> None:
    same = fingerprint(name="a", phone="b")
    assert fingerprint(phone={"from": "b"}, name={"from": "a", "null": "leave", "owner": "warehouse"}) == same
    others = [
        fingerprint(name="b", phone="a"),
        fingerprint(name="a"),
        fingerprint(name="a", phone={"from": "b", "null": "clear"}),
        fingerprint(name="a", phone={"from": "b", "hash": True}),
        fingerprint(name="a", phone={"from": "b", "owner": "if_empty"}),
        fingerprint(name="a", phone={"value": "b"}),
        fingerprint(name="a", phone={"sql": "b"}),
        fingerprint(name="a", phone={"template": "{b}"}),
    ]
    assert len({same, *others}) == 9


def test_a_hash_is_of_all_fields_and_of_the_mapping(tmp_path: Path) -> None:
    """Values do not run into each other, and null is not empty text."""
    rows = batch(
        id=[1, 2, 3, 4, 5], email=["m"] * 5, a=["x", "xy", None, "x", "1:x"], b=["yz", "z", "x", "yz", None]
    )

    def hashes(**told: Any) -> dict[str, str]:
        with modelled.book(tmp_path) as book:
            modelled.mapped(book, modelled.push(**told), rows)
            return {str(key): str(hash) for key, hash in book.rows("SELECT key, hash FROM wanted")}

    first = hashes(fields={"name": "a", "phone": "b"})
    assert first["1"] == first["4"]
    assert len(set(first.values())) == 4
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in first.values())
    assert hashes(fields={"phone": "b", "name": "a"}, match={"email": "a"}) == first
    assert set(hashes(fields={"phone": "a", "name": "b"}).values()).isdisjoint(first.values())


def test_mapping_twice_replaces_what_was_there(tmp_path: Path) -> None:
    rows = batch(id=[1], email=["a"], plan=["x"])
    with modelled.book(tmp_path) as book:
        taken, _ = modelled.mapped(book, modelled.push(), rows)
        again = mapping.map_rows(book, taken, "p", modelled.push(fields={"name": "plan"}), modelled.CUSTOMER)
        assert (again.fields, book.count("SELECT count(*) FROM wanted")) == (("name",), 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.floats() | st.floats(width=32) | st.integers(-(2**60), 2**60).map(float), min_size=1, max_size=50
    )
)
def test_any_number_is_the_same_number_as_text(numbers: list[float]) -> None:
    with workbook.in_memory() as book:
        sql = canonical.text("x", "DOUBLE")
        relation = book.relation(pa.table({"x": pa.array(numbers, pa.float64())}), f"{sql} AS it")
        found = [row[0] for row in relation.fetchall()]
    for number, text in zip(numbers, found, strict=True):
        if not math.isfinite(number):
            assert text == "\0number"
        else:
            assert float(text) == number
            assert re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?", text)
            assert text != "-0"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=20))
def test_any_text_is_itself(values: list[str]) -> None:
    with workbook.in_memory() as book:
        table = pa.table({"x": pa.array(values, pa.string())})
        shown = book.relation(
            table, f"{canonical.text('x', 'VARCHAR')} AS it, tidegate_blank(x) AS blank"
        ).fetchall()
    assert [row[0] for row in shown] == values
    assert [row[1] for row in shown] == [value == "" or value.isspace() for value in values]
