"""`init`, `streams` and `schema`, run as they are typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate import catalog, config

TIDEGATE = str(Path(sys.executable).parent / "tidegate")


def run(
    *words: str, cwd: Path | None = None, code: int = 0, **environ: str
) -> subprocess.CompletedProcess[str]:
    base = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "STRIPE_API_KEY")}
    done = subprocess.run(
        [TIDEGATE, *words], capture_output=True, text=True, cwd=cwd, env={**base, **environ}, check=False
    )
    assert done.returncode == code, done.stderr
    return done


def test_init_writes_a_file_that_loads(tmp_path: Path) -> None:
    done = run("init", cwd=tmp_path)
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "tidegate: wrote tidegate.yaml",
        "tidegate: next: export STRIPE_API_KEY=...",
        "tidegate: next: tidegate check, then tidegate pull",
    ]
    found = config.load(tmp_path / "tidegate.yaml", environ={"STRIPE_API_KEY": "rk_test_1"})
    warehouse = found.warehouses["warehouse"]
    assert isinstance(warehouse, config.DuckDB)
    assert warehouse.file == str(tmp_path / "warehouse.duckdb")
    assert found.pulls["everything"].takes("charges")


def test_what_init_comments_out_is_right_too(tmp_path: Path) -> None:
    run("init", cwd=tmp_path)
    file = tmp_path / "tidegate.yaml"
    lines = file.read_text().splitlines()
    rest = next(at for at, line in enumerate(lines) if line.startswith("# pipelines:"))
    opened = [
        line.replace("# ", "", 1)
        if (line.startswith("    ") and "# " in line[:9]) or (at >= rest and not line.startswith("# Rows"))
        else line
        for at, line in enumerate(lines)
    ]
    assert opened != lines
    file.write_text("\n".join(opened))
    found = config.load(file, environ={"STRIPE_API_KEY": "rk_test_1"})
    assert found.stripe["stripe"].accounts == "all"
    assert found.stripe["stripe"].start_date is not None
    assert found.pulls["everything"].options("charges").excluded == {"receipt_url"}
    assert found.pulls["everything"].schedule == "continuous"
    assert set(found.pipelines["customers"].map) == {"customer_id", "email", "name"}
    assert found.pushes["accounts"].model == "accounts"


def test_init_never_writes_over_a_file_without_being_told(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text("mine")
    done = run("init", cwd=tmp_path, code=2)
    assert done.stderr == "tidegate: tidegate.yaml is there already; --force writes over it\n"
    assert file.read_text() == "mine"
    run("init", "--force", cwd=tmp_path)
    assert file.read_text().startswith("# Tidegate")


def test_init_writes_down_neither_key_nor_password(tmp_path: Path) -> None:
    done = run(
        "init", "--api-key", "rk_live_geheim", "--to", "postgresql://u:geheim@h/d", "a.yaml", cwd=tmp_path
    )
    text = (tmp_path / "a.yaml").read_text()
    assert "geheim" not in text + done.stderr
    assert 'url: "${WAREHOUSE_URL}"' in text
    assert "tidegate: next: export WAREHOUSE_URL=..." in done.stderr.splitlines()
    environ = {"STRIPE_API_KEY": "rk_test_1", "WAREHOUSE_URL": "postgresql://u:geheim@h/d"}
    assert isinstance(
        config.load(tmp_path / "a.yaml", environ=environ).warehouses["warehouse"], config.Postgres
    )


def test_init_takes_odd_paths_and_the_sandbox(tmp_path: Path) -> None:
    run("init", "--to", 'duckdb:///a "b" ${x}.duckdb', "--api-base", "http://127.0.0.1:12111", cwd=tmp_path)
    found = config.load(tmp_path / "tidegate.yaml", environ={"STRIPE_API_KEY": "rk_test_1"})
    warehouse = found.warehouses["warehouse"]
    assert isinstance(warehouse, config.DuckDB)
    assert warehouse.file == str(tmp_path / 'a "b" ${x}.duckdb')
    assert found.stripe["stripe"].api_base == "http://127.0.0.1:12111"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--api-key", "pk_test_1"), "--api-key: a secret key begins with sk_"),
        (("--to", "oracle://x"), "--to: write duckdb:///FILE"),
        (("--api-base", "x"), "--api-base: write a URL"),
        (("no/such/folder.yaml",), "no/such/folder.yaml cannot be written: No such file or directory"),
    ],
)
def test_init_refuses_what_cannot_be(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    assert says in run("init", *words, cwd=tmp_path, code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_streams_lists_every_stream_of_the_catalog() -> None:
    lines = run("streams").stdout.splitlines()
    for stream in catalog.load().streams.values():
        assert any(line.split()[:1] == [stream.name] and stream.path in line for line in lines), stream.name


def test_streams_json_has_what_others_build_on() -> None:
    listed = json.loads(run("streams", "--json").stdout)
    assert [each["name"] for each in listed] == sorted(catalog.load().streams)
    charges = next(each for each in listed if each["name"] == "charges")
    assert charges["path"] == "/v1/charges"
    assert charges["object"] == "charge"
    assert charges["parent"] is None
    assert charges["created_filter"] is True
    assert "charge.succeeded" in charges["events"]
    lines = next(each for each in listed if each["name"] == "invoice_line_items")
    assert lines["parent"] == "invoices"


@pytest.mark.parametrize(
    ("pattern", "some"),
    [
        ("invoice", "invoice_items"),
        ("issuing_*", "issuing_cards"),
        ("refund", "refunds"),
        ("charges", "charges"),
    ],
)
def test_streams_can_be_searched(pattern: str, some: str) -> None:
    names = [each["name"] for each in json.loads(run("streams", pattern, "--json").stdout)]
    assert some in names
    assert "customers" not in names


def test_a_search_without_result_suggests_a_stream() -> None:
    done = run("streams", "chargess", code=2)
    assert done.stderr == "tidegate: no stream matches chargess; did you mean 'charges'?\n"


def test_a_narrow_terminal_gets_a_narrow_table() -> None:
    lines = run("streams", "refunds", COLUMNS="80").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("rak_" in line for line in lines)


def test_schema_prints_the_json_schema_of_the_file() -> None:
    assert json.loads(run("schema").stdout) == config.json_schema()


def test_schema_of_a_stream_lists_its_columns() -> None:
    found = json.loads(run("schema", "charges", "--json").stdout)
    columns = {each["name"]: each for each in found["columns"]}
    assert found["key"] == ["_account_id", "id"]
    assert columns["amount"]["type"] == "BIGINT"
    assert columns["created"]["type"] == "TIMESTAMP WITH TIME ZONE"
    assert columns["metadata"]["type"] == columns["_extra"]["type"] == "JSON"
    assert "customer" in columns["customer"]["references"]
    assert not columns["id"]["nullable"]
    assert all(
        columns[own]["doc"] for own in ("_account_id", "_version", "_synced_at", "_deleted_at", "_extra")
    )


def test_schema_knows_the_types_of_arrow_too() -> None:
    found = json.loads(run("schema", "prices", "--to", "arrow", "--json").stdout)
    types = {each["name"]: each["type"] for each in found["columns"]}
    assert types["unit_amount_decimal"] == "decimal128(38, 12)"
    assert types["metadata"] == "json"
    assert types["active"] == "bool"


def test_schema_of_a_child_has_its_parent() -> None:
    text = run("schema", "invoice_line_items").stdout
    for column in ("_parent_id", "_parent_type", "invoice"):
        assert column in text


def test_schema_of_an_unknown_stream_suggests_one() -> None:
    assert (
        run("schema", "charge", code=2).stderr
        == "tidegate: Stripe has no stream charge; did you mean 'charges'?\n"
    )


def test_no_color_is_respected() -> None:
    done = run("streams", "refunds", NO_COLOR="1", FORCE_COLOR="1")
    assert "\x1b[3" not in done.stdout


def test_the_hints_of_init_say_what_the_keys_are(tmp_path: Path) -> None:
    run("init", cwd=tmp_path)
    (hint,) = [line for line in (tmp_path / "tidegate.yaml").read_text().splitlines() if "lookback:" in line]
    assert hint.endswith("# how far back to list again what has no events")
