"""Checks of what is configured, as the command and the API both ask for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
import seen

from tidegate import sandbox, views
from tidegate.engine import place as places
from tidegate.pull import settings
from tidegate.views import checks

MORE = """
models:
  people: {warehouse: local, sql: "select 1 as id, 'a@b.test' as email", key: id}
  wrong: {warehouse: local, table: nowhere, key: id}
customer_model: {warehouse: local}
pipelines: {mails: {from: acme, to: local, stream: customers, map: {email: {from: email}}}}
pushes:
  up: {model: people, to: acme, object: customer, match: {email: email}, fields: {email: email}}
"""


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with sandbox.process(objects=30) as url:
        yield url


@pytest.fixture
def place(stripe: str, tmp_path: Path) -> Iterator[places.Place]:
    duckdb.connect(str(tmp_path / "w.duckdb")).close()
    file = seen.written(tmp_path, url=stripe, key="sk_test_geheim123456789", more=MORE)
    file.write_text(file.read_text().replace("api_base", 'rate_limit: "off", api_base'))
    with seen.place(file) as found:
        yield found


def test_a_model_is_checked_with_its_source_and_its_key(place: places.Place) -> None:
    steps, without = checks.one(place, "models", "people")
    assert [(each.name, each.ok) for each in steps][-1] == ("query", True)
    assert without == []
    steps, _ = checks.one(place, "models", "wrong")
    assert steps[-1].ok is False
    assert "nowhere" in steps[-1].detail


def test_a_pipeline_is_checked_with_its_definition(place: places.Place) -> None:
    steps, _ = checks.one(place, "pipelines", "mails")
    assert [(each.name, each.ok) for each in steps] == [
        ("definition", True),
        ("model", True),
        ("source", True),
    ]


def test_a_push_is_checked_with_what_it_cannot_promise(place: places.Place) -> None:
    steps, without = checks.one(place, "pushes", "up")
    names = {each.name: each.ok for each in steps}
    assert (names["account"], names["model"], names["mapping"]) == (True, True, True)
    assert all(sentence.endswith(".") for sentence in without)


def test_what_is_not_there_says_what_was_meant(place: places.Place) -> None:
    with pytest.raises(views.Unknown, match="did you mean 'people'"):
        checks.one(place, "models", "peple")


def test_a_pull_is_fine_or_says_why_not(place: places.Place) -> None:
    [job] = settings.jobs(place.file)
    steps, found = checks.pull(job)
    assert checks.pull_fine(steps, found)
    document = checks.pull_document("everything", steps, found)
    assert (document["mode"], document["events"]) == ("test", {"ok": True, "error": None})
    assert [each["step"] for each in document["warehouse"]] == ["reach", "read", "write"]
