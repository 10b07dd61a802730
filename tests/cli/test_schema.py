"""`tidegate schema STREAM`: the columns of a table, those among them that a configuration derives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tidegate import cli

FILE = """
stripe: {acme: {api_key: sk_test_123456789}}
warehouses: {local: {type: duckdb, path: w.duckdb}}
pulls:
  one: {from: acme, to: local, streams: {charges: {derive: {net: {sql: amount - amount_refunded}}}}}
  two: {from: acme, to: local, streams: {charges: {derive: {web: {value: true}}}}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def columns(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    """Columns by name, in their order."""
    assert cli.main(["schema", "charges", "--json", *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    return {each["name"]: each for each in told["columns"]}


def test_without_a_configuration_they_are_stripe_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"net", "web"}.isdisjoint(columns(capsys))


def test_derived_columns_come_after_stripe_s(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "tidegate.yaml").write_text(FILE)
    found = columns(capsys)
    names = list(found)
    assert names[names.index("_extra") - 2 : names.index("_extra")] == ["net", "web"]
    assert found["net"]["type"] == "BIGINT"
    assert found["net"]["nullable"]
    assert found["net"]["doc"] == "Derived by the pull one: amount - amount_refunded."
    assert found["web"]["doc"] == "Derived by the pull two: always true."


def test_those_of_one_pull_of_another_file(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "other.yaml").write_text(FILE)
    found = columns(capsys, "-c", "other.yaml", "--pull", "two")
    assert "web" in found
    assert "net" not in found
    assert cli.main(["schema", "charges", "-c", "other.yaml", "--pull", "tow"]) == 2
    assert "no pull 'tow' in the configuration" in capsys.readouterr().err


def test_a_file_that_was_not_asked_for_may_be_broken(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "tidegate.yaml").write_text("pulls: 3\n")
    assert cli.main(["schema", "charges", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["stream"] == "charges"
    assert "without the derived columns of tidegate.yaml, which cannot be read" in said.err
    assert cli.main(["schema", "charges", "-c", "tidegate.yaml"]) == 2
