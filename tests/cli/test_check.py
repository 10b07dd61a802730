"""`tidegate check` of models, as a user sees it: where they are read from, their query, their key."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
import servers

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
FILE = """
warehouses:
  local: {{type: duckdb, path: w.duckdb}}
models:
  people: {{warehouse: local, {model}}}
"""


def check(folder: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "tidegate.yaml").write_text(text)
    return subprocess.run(
        [TIDEGATE, "check", *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.execute("CREATE TABLE people AS SELECT 1 AS id, 'ada@example.com' AS email")
    return tmp_path


def last_step(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (model,) = json.loads(done.stdout)["models"]
    assert model["model"] == "people"
    found: dict[str, Any] = model["source"][-1]
    return found


def test_a_model_that_can_be_read(folder: Path) -> None:
    done = check(folder, FILE.format(model="table: people, key: id"))
    assert done.returncode == 0, done.stderr
    assert "people: a model" in done.stdout
    assert "✓ source query: 2 columns, its key id among them" in done.stdout


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("table: people, key: emali", "its key emali is no column of it; did you mean 'email'?"),
        ("table: people, key: zzz", "its key zzz is no column of it; there are id, email"),
        ("table: poeple, key: id", "poeple"),
        ("sql: drop table people, key: id", "only"),
    ],
)
def test_a_model_that_cannot_be_read_says_why(folder: Path, model: str, says: str) -> None:
    done = check(folder, FILE.format(model=model), "--json")
    assert done.returncode == 3, done.stderr
    step = last_step(done)
    assert (step["step"], step["ok"]) == ("query", False)
    assert says in step["detail"]
    assert "ada@" not in done.stdout


@pytest.mark.parametrize("name", ["[dbo]", "[/b]"])
def test_words_in_brackets_are_shown_as_they_are(folder: Path, name: str) -> None:
    """SQL Server's names stand in them, and so do those in the GRANT that it lacks."""
    done = check(folder, FILE.format(model=f"sql: 'select \"{name}\" as id from people', key: id"))
    assert done.returncode == 3, done.stderr
    assert f'"{name}"' in done.stdout


def test_a_model_without_its_driver_does_not_keep_the_others_from_being_checked(folder: Path) -> None:
    text = FILE.format(model="table: people, key: id").replace(
        "models:", "  sheet: {type: google_sheets, spreadsheet: x, credentials: geheim}\nmodels:"
    )
    done = check(folder, text + "  vips: {warehouse: sheet, sheet: S, key: id}\n", "--json")
    assert done.returncode == 3, done.stderr
    people, vips = json.loads(done.stdout)["models"]
    assert all(step["ok"] for step in people["source"])
    [step] = vips["source"]
    assert (step["step"], step["ok"]) == ("open", False)
    assert "is no JSON; write `credentials: ${file:/path/key.json}`" in step["detail"]
    assert "geheim" not in done.stdout + done.stderr


def test_a_source_that_cannot_be_reached_is_asked_nothing_more(tmp_path: Path) -> None:
    text = FILE.replace("{{type: duckdb, path: w.duckdb}}", "{{url: 'postgres://u:geheim@127.0.0.1:1/d'}}")
    done = check(tmp_path, text.format(model="table: people, key: id"), "--json")
    assert done.returncode == 3
    assert (last_step(done)["step"], last_step(done)["ok"]) == ("reach", False)
    assert "geheim" not in done.stdout + done.stderr


def test_models_are_named_like_pulls(folder: Path) -> None:
    text = FILE.format(model="table: people, key: id")
    assert check(folder, text, "people").returncode == 0
    wrong = check(folder, text, "poeple")
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_a_model_on_a_real_postgres(tmp_path: Path) -> None:
    url = servers.new_postgres()
    text = FILE.replace("{{type: duckdb, path: w.duckdb}}", f"{{{{url: '{url}'}}}}")
    done = check(tmp_path, text.format(model="sql: 'select 1 as id, current_user as name', key: id"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 columns, its key id among them" in done.stdout
