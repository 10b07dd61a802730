"""Drafts are read as they would be once kept, with the secrets that they only show, and checked with the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import seen

from tidegate import config, errors
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.views import drafts

SECRET = "sk_test_geheim123456789"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with seen.place(seen.written(tmp_path)) as found:
        yield found


def key(found: config.Connection) -> str:
    assert found.api_key is not None
    return found.api_key.get_secret_value()


def test_a_draft_is_read_and_nothing_is_kept(place: places.Place) -> None:
    found = drafts.connection(place, "shop", {"api_key": SECRET, "budget": 0.5})
    assert (key(found), found.budget) == (SECRET, 0.5)
    assert editing.get(place, "stripe", "shop") is None


def test_a_secret_that_is_only_shown_is_the_one_that_is_kept(place: places.Place) -> None:
    editing.change(place, "ann", "stripe", "shop", {"api_key": SECRET}, None)
    part = editing.get(place, "stripe", "shop")
    assert part is not None
    shown = editing.shown(place, part)
    assert shown["api_key"] == {"secret": True, "last4": "6789", "name": "stripe/shop/api_key"}
    assert key(drafts.connection(place, "shop", {**shown, "budget": 0.5})) == SECRET


def test_a_secret_that_is_shown_of_nothing_is_told(place: places.Place) -> None:
    with pytest.raises(errors.ConfigError, match="no secret is kept here yet"):
        drafts.connection(place, "shop", {"api_key": {"secret": True, "last4": "6789"}})


def test_what_the_environment_says_is_for_admins(
    place: places.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", SECRET)
    body = {"api_key": "${SHOP_KEY}"}
    assert key(drafts.connection(place, "shop", body, admin=True)) == SECRET
    with pytest.raises(errors.ConfigError):
        drafts.connection(place, "shop", body)


def test_a_path_counts_from_the_folder_of_the_configuration(place: places.Place, tmp_path: Path) -> None:
    found = drafts.warehouse(place, "new", {"type": "duckdb", "path": "new.duckdb"})
    assert isinstance(found, config.DuckDB)
    assert found.file == str(tmp_path / "new.duckdb")


def test_what_is_wrong_is_told_by_field(place: places.Place) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        drafts.warehouse(place, "new", {"type": "postgres", "host": "h", "port": 99_999_999, "colour": "red"})
    assert {each.path for each in caught.value.problems} >= {"port", "colour"}
