"""The pages of models: what cannot be read is said on them, and what was shown once can be come back to."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
import seen
from signing import Client, Signed

from tidegate.engine import place as places

FILE = (
    "database: sqlite:///tidegate.db\nwarehouses: {local: {type: duckdb, path: local.duckdb}}\n"
    "models:\n  wrong: {warehouse: local, sql: select nope from nowhere, key: id}\n"
    "  right: {warehouse: local, sql: select 1 as id, key: id}\n"
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    (tmp_path / "tidegate.yaml").write_text(FILE)
    duckdb.connect(tmp_path / "local.duckdb").close()
    with seen.place(tmp_path / "tidegate.yaml") as found:
        yield found


@pytest.fixture
def editor(place: places.Place, signed: Signed) -> Client:
    return signed(place, "editor")


@pytest.mark.parametrize("way", ["look", "key"])
def test_a_query_that_is_refused_is_so_on_the_page_of_its_model(editor: Client, way: str) -> None:
    answer = editor.post(f"/models/wrong/{way}")
    assert answer.status == 422
    assert "<h1>wrong</h1>" in answer.text
    assert "nowhere does not exist" in answer.text
    assert "select nope from nowhere" in answer.text


@pytest.mark.parametrize("way", ["look", "key"])
def test_whoever_comes_back_to_what_was_shown_finds_the_model(editor: Client, way: str) -> None:
    assert editor.post(f"/models/right/{way}").status == 200
    answer = editor.get(f"/models/right/{way}")
    assert (answer.status, answer.headers["location"]) == (303, "/models/right")
    assert editor.get(f"/models/nobody/{way}").status == 404


def test_what_is_missing_in_a_draft_is_named(editor: Client) -> None:
    form = {"_name": "new", "way": "sql", "warehouse": "local", "sql": "select 1 as id", "key": ""}
    said = html.unescape(editor.post("/models/-/look", form, HX_Request="true").text)
    assert "key: this key is missing" in said


def test_a_model_leads_to_its_warehouse(editor: Client) -> None:
    assert re.search(r'<a href="/warehouses/local">local</a>', editor.get("/models/right").text)
