"""Warehouses: where they are without a password, what uses them, and checks that say how to mend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import seen
import servers

from tidegate import config, errors, views
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.views import warehouses

MORE = """
models: {people: {warehouse: local, table: people, key: id}}
pushes: {people: {model: people, to: acme, object: customer, match: {email: email}, fields: {name: name}}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with seen.place(seen.written(tmp_path, more=MORE)) as found:
        yield found


def test_a_warehouse_with_what_uses_it(place: places.Place, tmp_path: Path) -> None:
    [found] = warehouses.listed(place)
    assert (found.name, found.type, found.schema) == ("local", "duckdb", "stripe")
    assert found.where == str(tmp_path / "w.duckdb")
    assert found.flows == ("pull:everything", "push:people")
    assert warehouses.one(place, "local") == found
    with pytest.raises(views.Unknown, match="did you mean 'local'"):
        warehouses.one(place, "lokal")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql://ann:geheim@db.example.com:5433/crm?sslmode=require",
            "postgresql://db.example.com:5433/crm",
        ),
        ("postgres://a:p@ss@h/d", "postgres://h/d"),
        ("snowflake://ann:geheim@acc/db?warehouse=w&role=r", "snowflake://acc/db"),
        ("md:mine?motherduck_token=geheim", "md://mine"),
        ("clickhouse://ann:geheim@h:9000/d", "clickhouse://h:9000/d"),
    ],
)
def test_an_address_hides_who_signs_in_and_how(url: str, shown: str) -> None:
    assert warehouses.where(config.warehouse(url, "stripe")) == shown


def test_an_address_of_single_fields() -> None:
    found = config.Postgres(host="db", user="ann", password="geheim", database="crm")  # type: ignore[arg-type]
    assert warehouses.where(found) == "db/crm"


def test_a_warehouse_that_works(place: places.Place) -> None:
    found = warehouses.check(place, "local")
    assert [(each.name, each.ok) for each in found] == [("reach", True), ("read", True), ("write", True)]
    assert all(not each.mend for each in found)


def test_a_warehouse_that_cannot_be_reached_says_what_was_not_tried(tmp_path: Path) -> None:
    file = seen.written(tmp_path)
    file.write_text(
        file.read_text().replace(
            "{type: duckdb, path: w.duckdb}", '{url: "postgres://u:geheim@127.0.0.1:1/d"}'
        )
    )
    with seen.place(file) as place:
        found = warehouses.check(place, "local")
    assert [(each.name, each.ok) for each in found] == [
        ("reach", False),
        ("sign in", None),
        ("list", None),
        ("read", None),
        ("write", None),
    ]
    assert "firewalls" in found[0].mend
    assert "geheim" not in str(found)


def test_a_driver_that_is_missing_or_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "w.duckdb").write_bytes(b"this is no database, but long enough to be looked at" * 100)
    with seen.place(seen.written(tmp_path)) as place:
        found = warehouses.check(place, "local")
    assert found[0].ok is False
    assert "w.duckdb" in found[0].detail


def test_a_draft_is_checked_before_it_is_kept(place: places.Place) -> None:
    url = servers.new_postgres()
    found = warehouses.check_draft(place, "prod", {"url": url}, admin=True)
    assert [each.name for each in found] == list(warehouses.STEPS)
    assert all(each.ok for each in found)
    assert editing.get(place, "warehouses", "prod") is None


def test_a_draft_keeps_the_secret_that_it_only_shows(place: places.Place) -> None:
    url = servers.new_postgres()
    editing.change(place, "root", "warehouses", "prod", {"url": url}, None, admin=True)
    kept = editing.get(place, "warehouses", "prod")
    assert kept is not None
    shown = editing.shown(place, kept)
    assert url not in str(shown)
    assert all(each.ok for each in warehouses.check_draft(place, "prod", shown))


def test_a_draft_that_is_no_warehouse_says_which_fields(place: places.Place) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        warehouses.check_draft(place, "prod", {"type": "postgres", "host": "h", "port": "many"})
    assert "warehouses.prod.port" in str(caught.value) or "port" in str(caught.value)
    assert [each.path for each in caught.value.problems]


def test_every_type_of_the_configuration_has_a_form() -> None:
    found = warehouses.kinds()
    assert list(found)[:3] == ["duckdb", "motherduck", "postgres"]
    assert len(found) == 16
    assert {name for name, each in found.items() if each.readonly} == {"elasticsearch", "google_sheets"}
