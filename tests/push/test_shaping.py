"""Rows of a model through the function of a push: what it is given, what becomes of its results, how it fails."""

from __future__ import annotations

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import modelled
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelled import batch, column

from tidegate import config, errors
from tidegate.push import canonical, mapping, models, shaping, workbook

D = decimal.Decimal


class Pushed:
    """A push with a function in Python, and what it makes of rows."""

    def __init__(self, folder: Path, code: str, *, file: str = "shape.py", **told: Any) -> None:
        self.folder = folder
        (folder / file).write_text(code)
        language = "python" if file.endswith(".py") else "javascript"
        limits: dict[str, Any] = {name: told.pop(name) for name in ("timeout", "memory") if name in told}
        function = {language: str(folder / file), **limits}
        self.push = modelled.push(function=function, **told)

    def map(
        self, book: workbook.Workbook, *rows: pa.RecordBatch, key: tuple[str, ...] = ("id",)
    ) -> mapping.Wanted:
        _, found = modelled.mapped(book, self.push, *rows, key=key)
        return found

    def wanted(self, *rows: pa.RecordBatch) -> dict[str, dict[str, str]]:
        """Key -> field -> what is wanted of it."""
        return modelled.wanted(self.folder, self.push, *rows)


def failed(book: workbook.Workbook) -> list[tuple[object, ...]]:
    return book.rows("SELECT key, why, safe FROM failed ORDER BY row")


PEOPLE = batch(id=[1, 2, 3], email=["a@x.de", "b@x.de", None], plan=["pro", "free", "pro"])


def test_fields_are_taken_from_what_the_function_returns(tmp_path: Path) -> None:
    code = """
def transform(row):
    return {"email": row["email"] or "none@x.de", "plan": row["plan"].upper(), "seats": row["id"] * 2}
"""
    fields = {
        "metadata.plan": "plan",
        "metadata.seats": {"sql": "seats + 1"},
        "name": {"template": "{plan}-{seats}"},
    }
    found = Pushed(tmp_path, code, fields=fields).wanted(PEOPLE)
    assert found == {
        "1": {"metadata.plan": "PRO", "metadata.seats": "3", "name": "PRO-2"},
        "2": {"metadata.plan": "FREE", "metadata.seats": "5", "name": "FREE-4"},
        "3": {"metadata.plan": "PRO", "metadata.seats": "7", "name": "PRO-6"},
    }


def test_javascript_does_the_same(tmp_path: Path) -> None:
    code = "const transform = (row) => ({...row, plan: `${row.plan}!`});"
    found = Pushed(tmp_path, code, file="shape.js").wanted(PEOPLE)
    assert [each["metadata.plan"] for each in found.values()] == ["pro!", "free!", "pro!"]


def test_rows_for_which_it_returns_nothing_are_filtered(tmp_path: Path) -> None:
    code = "def transform(row):\n    return row if row['plan'] == 'pro' else None\n"
    where = {"field": "email", "op": "exists"}
    with modelled.book(tmp_path) as book:
        found = Pushed(tmp_path, code, filter=where).map(book, PEOPLE)
        assert (found.rows, found.filtered, found.failed) == (1, 2, 0)
        assert book.rows("SELECT row FROM filtered ORDER BY row") == [(2,), (3,)]


def test_the_filter_comes_first(tmp_path: Path) -> None:
    """What it leaves out the function never sees."""
    code = "def transform(row):\n    assert row['email'] is not None\n    return row\n"
    with modelled.book(tmp_path) as book:
        found = Pushed(tmp_path, code, filter={"field": "email", "op": "exists"}).map(book, PEOPLE)
    assert (found.rows, found.filtered, found.failed) == (2, 1, 0)


def test_a_row_for_which_it_fails_is_invalid_with_its_message_and_line(tmp_path: Path) -> None:
    code = """
def transform(row):
    if row['id'] == 2:
        raise ValueError('no ' + row['email'])
    return row
"""
    with modelled.book(tmp_path) as book:
        taken, found = modelled.mapped(book, Pushed(tmp_path, code).push, PEOPLE)
        assert (found.rows, found.failed, found.refused, found.filtered) == (2, 1, 0, 0)
        [(key, why, safe)] = failed(book)
        assert (key, why) == ("2", "The function shape.py fails: line 4: ValueError: no b@x.de.")
        assert safe == "The function shape.py fails: line 4: ValueError."
        assert shaping.failures(book) == [(safe, 1)]
        assert shaping.safe(book, ["1", "2"]) == {"2": safe}
        assert taken.rows == found.rows + found.failed


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def transform(row):\n    return {**row, 'id': row['id'] + 1}\n", "changes id, a column of the key"),
        ("def transform(row):\n    row['id'] = None\n    return row\n", "changes id, a column of the key"),
        ("def transform(row):\n    return 5\n", "return a dict"),
        ("def transform(row):\n    while True: pass\n", "took longer than 0.3 s"),
    ],
)
def test_what_else_fails_a_row(tmp_path: Path, code: str, why: str) -> None:
    with modelled.book(tmp_path) as book:
        found = Pushed(tmp_path, code, timeout=0.3).map(book, batch(id=[7], email=["a"], plan=["x"]))
        assert (found.rows, found.failed) == (0, 1)
        [(key, said, safe)] = failed(book)
        assert key == "7"
        assert why in str(said)
        assert "7" not in str(safe).replace("0.3", "")


def test_the_key_may_be_left_out_or_returned_as_it_was(tmp_path: Path) -> None:
    for code in (
        "def transform(row):\n    return {'email': 'x', 'plan': 'y'}\n",
        "def transform(row):\n    return {**row, 'plan': 'y'}\n",
    ):
        assert [each["metadata.plan"] for each in Pushed(tmp_path, code).wanted(PEOPLE).values()] == ["y"] * 3


def test_what_it_prints_goes_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = "def transform(row):\n    print('seen', row['email'])\n    return row\n"
    Pushed(tmp_path, code).wanted(PEOPLE)
    assert capfd.readouterr() == ("", "")


# What it is given


def test_values_are_given_as_python_has_them(tmp_path: Path) -> None:
    code = """
import datetime as dt
import decimal
EXPECTED = {
    "id": 1,
    "email": "a",
    "flag": True,
    "big": 2**70,
    "price": decimal.Decimal("19.50"),
    "long": decimal.Decimal("1." + "0" * 19 + "1"),
    "rate": 1.1,
    "day": dt.date(2024, 1, 31),
    "at": dt.datetime(2024, 1, 31, 12, tzinfo=dt.UTC),
    "local": dt.datetime(2024, 1, 31, 12, tzinfo=dt.UTC),
    "doc": {"a": [1, {"b": decimal.Decimal("1.5")}]},
    "text": "[1,",
    "tags": ["x", None],
    "pair": {"l": 1, "r": "y"},
    "bytes": "00ff",
    "never": None,
}
def transform(row):
    for name, value in EXPECTED.items():
        if row[name] != value or type(row[name]) is not type(value):
            raise ValueError(f"{name}: {row[name]!r}")
    assert row.keys() == EXPECTED.keys(), row.keys()
    return {"email": "a", "plan": "fine"}
"""
    at = dt.datetime(2024, 1, 31, 12)
    columns: dict[str, tuple[Any, pa.DataType | None]] = {
        "id": (1, None),
        "email": ("a", None),
        "flag": (True, None),
        "big": (D(2**70), pa.decimal128(38, 0)),
        "price": (D("19.50"), pa.decimal128(10, 2)),
        "long": (D("1." + "0" * 19 + "1"), pa.decimal256(60, 20)),
        "rate": (1.1, pa.float32()),
        "day": (dt.date(2024, 1, 31), None),
        "at": (at, pa.timestamp("us", "UTC")),
        "local": (at, pa.timestamp("ns")),
        "doc": ('{"a": [1, {"b": 1.5}]}', pa.string()),
        "text": ("[1,", pa.string()),
        "tags": (["x", None], pa.list_(pa.string())),
        "pair": ({"l": 1, "r": "y"}, None),
        "bytes": (b"\\x00\\xff".decode("unicode_escape").encode("latin1"), pa.binary()),
        "never": (None, pa.string()),
    }
    arrays = {name: pa.array([value], kind) for name, (value, kind) in columns.items()}
    fields = [
        pa.field(name, each.type, metadata=modelled.JSON if name in ("doc", "text") else None)
        for name, each in arrays.items()
    ]
    rows = pa.RecordBatch.from_arrays(list(arrays.values()), schema=pa.schema(fields))
    code = code.replace('"big": 2**70', '"big": decimal.Decimal(2**70)')
    with modelled.book(tmp_path) as book:
        Pushed(tmp_path, code).map(book, rows)
        assert failed(book) == []


def test_a_row_that_is_nested_too_deep_fails_alone(tmp_path: Path) -> None:
    deep = "[" * 1000 + "]" * 1000
    rows = modelled.batch(id=[1, 2], email=["a", "b"], plan=["x", "y"])
    doc = column("doc", [deep, "[[]]"], pa.string(), json=True)
    both = pa.RecordBatch.from_arrays(
        [*rows.columns, *doc.columns], schema=pa.schema([*rows.schema, *doc.schema])
    )
    with modelled.book(tmp_path) as book:
        found = Pushed(tmp_path, "def transform(row):\n    return row\n").map(book, both)
        assert (found.rows, found.failed) == (1, 1)
        assert "doc is nested more than 100 levels deep" in str(failed(book)[0][1])


# What becomes of what it returns


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ("[True, False, None]", "BOOLEAN", ["true", "false", None]),
        ("[1, -5, None]", "BIGINT", ["1", "-5", None]),
        ("[1, 2**60]", "BIGINT", ["1", str(2**60)]),
        ("[2**60, 2.5]", canonical.NUMERAL, [str(2**60), "2.5"]),
        ("[1, 2**70]", canonical.NUMERAL, ["1", str(2**70)]),
        ("[1, 2.5]", "DOUBLE", ["1", "2.5"]),
        ("[Decimal('1.50'), 2]", "DECIMAL(38,12)", ["1.5", "2"]),
        ("[Decimal('1E-20'), 2]", canonical.NUMERAL, ["0." + "0" * 19 + "1", "2"]),
        ("[Decimal('1.50'), 2.5]", canonical.NUMERAL, ["1.5", "2.5"]),
        ("[1e21, 1e-7]", "DOUBLE", ["1" + "0" * 21, "0.0000001"]),
        ("['a', '']", "VARCHAR", ["a", None]),
        ("['a', 5]", "VARCHAR", ["a", "5"]),
        ("[dt.date(2024, 1, 31)]", "DATE", ["2024-01-31"]),
        (
            "[dt.datetime(2024, 1, 31, 12, 0, 0, 500000)]",
            "TIMESTAMP WITH TIME ZONE",
            ["2024-01-31T12:00:00.5Z"],
        ),
        ("[dt.datetime(2024, 1, 31, 12), 'x']", "VARCHAR", ["2024-01-31T12:00:00Z", "x"]),
        ("[[1, 'a'], {'b': Decimal('1.50')}]", "JSON", ['[1,"a"]', '{"b":1.5}']),
        ("[None, None]", "VARCHAR", [None, None]),
    ],
)
def test_columns_have_the_type_of_all_of_their_values(
    tmp_path: Path, values: str, kind: str, expected: list[str | None]
) -> None:
    code = f"""
import datetime as dt
from decimal import Decimal
VALUES = {values}
def transform(row):
    return {{"email": "a", "x": VALUES[row["id"] - 1]}}
"""
    count = len(expected)
    pushed = Pushed(tmp_path, code, fields={"metadata.x": "x", "metadata.kind": {"sql": "typeof(x)"}})
    with modelled.book(tmp_path) as book:
        found = pushed.map(book, batch(id=list(range(1, count + 1)), email=["a"] * count))
        assert failed(book) == []
        rows = [row for each in mapping.rows(book, found) for row in each.to_pylist()]
        assert [row["metadata.x"] for row in sorted(rows, key=lambda row: int(row["key"]))] == expected
        assert {row["metadata.kind"] for row in rows} == {TYPES.get(kind, kind)}


TYPES = {canonical.NUMERAL: "VARCHAR", "JSON": "VARCHAR"}


def test_paths_lead_into_what_it_returns(tmp_path: Path) -> None:
    code = "def transform(row):\n    return {**row, 'address': {'city': 'Köln', 'geo': [1, 2]}}\n"
    fields = {"address.city": "address.city", "metadata.lat": {"from": "address.geo.1"}}
    found = Pushed(tmp_path, code, fields=fields).wanted(PEOPLE)
    assert found["1"] == {"address.city": "Köln", "metadata.lat": "2"}


def test_names_of_columns_are_found_in_any_case(tmp_path: Path) -> None:
    code = "def transform(row):\n    return {'Email': 'a', 'PLAN': 'x'}\n"
    fields = {"metadata.plan": "plan", "metadata.more": {"sql": "lower(Plan)"}}
    found = Pushed(tmp_path, code, fields=fields).wanted(PEOPLE)
    assert found["1"] == {"metadata.plan": "x", "metadata.more": "x"}


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (
            "def transform(row):\n    return {'email': 'a'}\n",
            "returns no row that has plan; return it, with None",
        ),
        (
            "def transform(row):\n    return {'email': 'a', 'Plan': 1, 'PLAN': 2}\n",
            "differ from plan in their case",
        ),
        ("def transform(row:\n", "shape.py cannot be used, line 1"),
        ("import os\ndef transform(row):\n    return row\n", "shape.py cannot be used, line 1"),
    ],
)
def test_a_function_that_cannot_be_used_is_said_with_the_push(tmp_path: Path, code: str, why: str) -> None:
    with pytest.raises(errors.ConfigError, match=why) as caught:
        Pushed(tmp_path, code).wanted(PEOPLE)
    assert str(caught.value).startswith("The push p cannot shape its rows: the function shape.py")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    pushed = Pushed(tmp_path, "")
    (tmp_path / "shape.py").unlink()
    with pytest.raises(
        errors.ConfigError, match=r"The push p cannot shape its rows: .*shape\.py cannot be read: No such"
    ):
        pushed.wanted(PEOPLE)


def test_where_every_row_is_left_out_nothing_is_missing(tmp_path: Path) -> None:
    fields = {"metadata.plan": "plan", "metadata.x": {"sql": "upper(anything)"}}
    with modelled.book(tmp_path) as book:
        found = Pushed(tmp_path, "def transform(row):\n    return None\n", fields=fields).map(book, PEOPLE)
    assert (found.rows, found.filtered) == (0, 3)


# What counts as changed


def test_the_text_of_the_function_is_a_part_of_the_mapping(tmp_path: Path) -> None:
    one = Pushed(tmp_path, "def transform(row):\n    return row\n").push
    before = mapping.fingerprint(one, modelled.CUSTOMER)
    assert mapping.fingerprint(one, modelled.CUSTOMER) == before
    (tmp_path / "shape.py").write_text("def transform(row):\n    return dict(row)\n")
    assert mapping.fingerprint(one, modelled.CUSTOMER) != before


def test_without_a_function_a_mapping_has_the_fingerprint_that_it_always_had() -> None:
    """Another would have every row of every push compared anew."""
    assert mapping.fingerprint(modelled.push(), modelled.CUSTOMER) == FINGERPRINT


FINGERPRINT = "8223b9433ca9d973"


def test_a_row_is_changed_by_what_the_function_makes_of_it(tmp_path: Path) -> None:
    """Not by what it is made of."""
    code = "def transform(row):\n    return {'email': row['email'], 'plan': row['plan'][0]}\n"
    pushed = Pushed(tmp_path, code)

    def hashes(run: str, *plans: str) -> list[str]:
        with modelled.book(tmp_path, run) as book:
            found = pushed.map(book, batch(id=[1], email=["a"], plan=list(plans)))
            return [row["hash"] for each in mapping.rows(book, found) for row in each.to_pylist()]

    assert hashes("run_1", "pro") == hashes("run_2", "plus") != hashes("run_3", "free")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.none()
        | st.booleans()
        | st.integers(-(2**80), 2**80)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20)
        | st.datetimes()
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        min_size=1,
        max_size=6,
    )
)
def test_a_value_has_the_same_text_whatever_stands_beside_it(values: list[Any]) -> None:
    """Else a row would be sent again since another one changed."""
    alone = [texts([each]) for each in values]
    assert texts(values) == [text for [text] in alone]


def texts(values: list[Any]) -> list[str | None]:
    """The canonical texts of a column that a function returned."""
    shaped = shaping._Column("x")
    found = shaped.texts("x", [{"x": each} for each in values], "f.py")
    with workbook.in_memory() as book:
        rows = pa.table({"row": pa.array(range(len(values))), "x": pa.array(found, pa.string())})
        book.connection.register("shown", rows)
        kind = shaped.kind()
        sql = canonical.text(shaping.value("x", kind), kind)
        return [
            None if text is None else str(text)
            for (text,) in book.rows(f"SELECT {sql} FROM shown ORDER BY row")
        ]


def test_the_moment_of_a_filter_is_that_of_the_snapshot(tmp_path: Path) -> None:
    push = modelled.push(filter={"field": "seen", "op": "is after", "value": "2 days ago"})
    now = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
    seen = [now - dt.timedelta(days=days) for days in (1, 2, 3)]
    rows = batch(id=[1, 2, 3], email=["a"] * 3, plan=["x"] * 3, seen=seen)
    with modelled.book(tmp_path) as book:
        taken = models.snapshot(modelled.Rows(rows), "q", ("id",), book, clock=now.timestamp)
        assert mapping.map_rows(book, taken, "p", push, modelled.CUSTOMER).filtered == 2


def test_a_push_takes_a_function_of_one_language() -> None:
    with pytest.raises(ValueError, match="one of `python`, `javascript` and `code`"):
        modelled.push(function={})
    assert isinstance(modelled.push(function={"python": "/f.py"}).function, config.Function)
