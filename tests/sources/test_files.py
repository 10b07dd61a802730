"""Files of rows beside the configuration: CSV, Parquet and JSON lines."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tidegate import config, errors, sources
from tidegate.sources import base, files


def model(folder: Path, name: str, content: str | bytes | None = None) -> tuple[base.Source, base.Query]:
    """A file of this content, as a model of a configuration beside it."""
    if content is not None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "tidegate.yaml").write_text(f"models: {{m: {{file: '{name}', key: id}}}}\n")
    found = config.load(folder / "tidegate.yaml")
    return sources.of_model(found, "m"), base.asked(found.models["m"])


def rows(folder: Path, name: str, content: str | bytes | None = None) -> list[dict[str, object]]:
    source, query = model(folder, name, content)
    return pa.Table.from_batches(list(source.read(query))).to_pylist()


def schema(folder: Path, name: str, content: str) -> dict[str, str]:
    """Column -> type, or `json`."""
    source, query = model(folder, name, content)
    found = source.columns(query)
    assert next(iter(source.read(query))).schema.equals(found, check_metadata=True)
    return {field.name: "json" if field.metadata else str(field.type) for field in found}


def test_cells_of_a_csv_file_are_text_as_it_is_written(tmp_path: Path) -> None:
    found = rows(tmp_path, "a.csv", 'id,name,since\n007,"a, ""b""",2024-01-01\n1.0,"",\n')
    assert found == [
        {"id": "007", "name": 'a, "b"', "since": "2024-01-01"},
        {"id": "1.0", "name": "", "since": None},
    ]


@pytest.mark.parametrize(
    "content",
    [
        "id,name\n1,ü\n",
        "id;name\r\n1;ü\r\n",
        "id\tname\n1\tü",
        "\ufeffid|name\n1|ü\n",
        '"id","name"\n"1","ü"\n',
    ],
    ids=("commas", "semicolons", "tabs", "byte order mark", "quotes"),
)
def test_a_csv_file_may_be_written_in_any_of_the_usual_ways(tmp_path: Path, content: str) -> None:
    assert rows(tmp_path, "a.csv", content) == [{"id": "1", "name": "ü"}]


def test_a_cell_may_hold_lines_and_a_lot_of_text(tmp_path: Path) -> None:
    text = "x" * 300_000 + "\n" + "y"
    assert rows(tmp_path, "a.csv", f'id,note\n1,"{text}"\n') == [{"id": "1", "note": text}]


def test_a_header_alone_has_columns_and_no_rows(tmp_path: Path) -> None:
    assert rows(tmp_path, "a.csv", "id,name\n") == []
    assert schema(tmp_path, "a.csv", "id,name\n") == {"id": "string", "name": "string"}


def test_json_lines_have_the_type_that_all_values_of_a_column_have(tmp_path: Path) -> None:
    lines = (
        '{"id": 1, "n": 1.5, "ok": true, "when": "2024-01-31T00:00:00Z", "of": {"a": 1.0}, "mix": "x"}\n'
        '{"id": -2, "n": 2, "ok": null, "of": [1], "mix": 7, "big": 18446744073709551615}\n'
        '{"id": 3, "huge": 123456789012345678901234567890}\n'
    )
    assert schema(tmp_path, "a.jsonl", lines) == {
        "id": "int64",
        "n": "double",
        "ok": "bool",
        "when": "string",
        "of": "json",
        "mix": "string",
        "big": "uint64",
        "huge": "string",
    }
    first, second, third = rows(tmp_path, "a.jsonl", lines)
    assert first["when"] == "2024-01-31T00:00:00Z"
    assert (first["of"], second["of"], third["of"]) == ('{"a":1.0}', "[1]", None)
    assert (second["mix"], second["big"]) == ("7", 2**64 - 1)
    assert third["huge"] == "123456789012345678901234567890"


@pytest.mark.parametrize(
    ("values", "type"),
    [
        (("1", "-1"), "int64"),
        (("9223372036854775807",), "int64"),
        (("-1", "9223372036854775808"), "string"),
        (("1.5", "9007199254740993"), "string"),
        (("true", "1"), "string"),
        (("null",), "string"),
        (("1" * 45,), "string"),
        (('"1"', "1"), "string"),
        (("1", "[]"), "json"),
    ],
)
def test_no_digit_is_lost_to_a_type(tmp_path: Path, values: tuple[str, ...], type: str) -> None:
    lines = "".join(f'{{"id": {value}}}\n' for value in values)
    assert schema(tmp_path, "a.jsonl", lines) == {"id": type}
    found = [row["id"] for row in rows(tmp_path, "a.jsonl", lines)]
    assert [str(one).lower() for one in found] == [
        "none" if value == "null" else value.strip('"') for value in values
    ]


def test_names_in_json_lines_may_have_dots_and_quotes(tmp_path: Path) -> None:
    assert rows(tmp_path, "a.jsonl", '{"id": 1, "a.b": 2, "c\\"d": 3}\n') == [{"id": 1, "a.b": 2, 'c"d': 3}]


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    table = pa.table({
        "id": [1, 2],
        "since": [dt.date(2024, 1, 31), None],
        "tags": [["a"], []],
        "raw": [b"\x01\xff", None],
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "a.parquet")
    assert rows(tmp_path, "a.parquet") == [
        {"id": 1, "since": dt.date(2024, 1, 31), "tags": '["a"]', "raw": "01ff"},
        {"id": 2, "since": None, "tags": "[]", "raw": None},
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", r"a\.csv is empty; its first line names the columns"),
        ("a.csv", "id,id\n1,2\n", "2 columns of the name id"),
        ("a.csv", "id,name\njenny@example.com\n", r"no csv that can be read \(line 2\); mend it"),
        ("a.csv", "id,name\n" + "1,2\n" * 50_000 + "3\n", r"no csv that can be read \(line 50002\)"),
        ("a.csv", "id,name\n1,2,3\n", "no csv that can be read"),
        ("a.csv", b"id,n\xff\n1,2\n", r"first line of .*a\.csv is no CSV in UTF-8"),
        ("a.csv", b"id,name\n1,\xff\n", "no csv that can be read"),
        ("a.jsonl", "", "has no objects, and therefore no columns"),
        ("a.jsonl", '[1]\n{"id": 1}\n', "has 1 lines that are no object"),
        ("a.jsonl", '{"id": 1}\n{"id": "jenny@\n', "no jsonl that can be read"),
        ("a.parquet", "PAR1 and nothing else", "no parquet that can be read"),
        ("a.csv", None, r"There is no file .*a\.csv; `file` of a model counts from the folder"),
        ("a[1].csv", "id\n1\n", r"has \*, \? or \[ in it"),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_shows_nothing_of_it(
    tmp_path: Path, name: str, content: str | bytes | None, message: str
) -> None:
    with pytest.raises(errors.ConfigError, match=message) as caught:
        rows(tmp_path, name, content)
    assert "jenny" not in str(caught.value)


def test_a_file_is_checked_like_any_source(tmp_path: Path) -> None:
    source, _ = model(tmp_path, "a.csv", "id,name\n1,x\n")
    assert [(step.name, step.ok) for step in source.check()] == [("reach", True), ("read", True)]
    assert source.tables() == []
    source.close()


def test_a_file_is_read_by_an_engine_that_opens_no_other(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("id\nsecret\n")
    source, _ = model(tmp_path, "a.csv", "id\n1\n")
    assert isinstance(source, files.File)
    with source._opened() as (engine, _):
        for text in (
            f"FROM read_csv('{tmp_path}/other.csv')",
            f"ATTACH '{tmp_path}/x.duckdb'",
            f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
            "SET enable_external_access = true",
            "INSTALL httpfs",
        ):
            with pytest.raises(files.duckdb.Error):
                engine.execute(text)


def test_other_sources_do_not_take_files(tmp_path: Path) -> None:
    source, _ = model(tmp_path, "a.csv", "id\n1\n")
    with pytest.raises(errors.ConfigError, match="A model on file is written with `file`, not with `sql`"):
        next(iter(source.read("SELECT 1")))
