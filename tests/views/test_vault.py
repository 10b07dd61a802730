"""Secrets by name: set, replaced, forgotten, each with a line in the audit log, and what uses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import managing
import pytest

from tidegate import errors, views
from tidegate.engine import place as places
from tidegate.store import objects, secrets, trail
from tidegate.views import vault

ANN = views.Person("ann@laptop")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    url = f"sqlite:///{tmp_path}/tidegate.db"
    text = managing.FILE + 'models: {m: {warehouse: one, table: "${secret:table}", key: id}}\n'
    file = managing.written(tmp_path, url, managing.FILE)
    with managing.placed(file, url) as found:
        vault.keep(found, ANN, "table", "customers")
        managing.written(tmp_path, url, text)
        found.look()
        yield found


def test_one_is_kept_and_replaced_and_each_time_told(place: places.Place) -> None:
    assert vault.keep(place, ANN, "team/key", "geheim")
    assert not vault.keep(place, ANN, "team/key", "geheimer")
    assert secrets.vault(place.store).get("team/key") == "geheimer"
    told = [(line.action, line.what, line.via) for line in trail.listed(place.store, what="secrets.team/key")]
    assert told == [("change", "secrets.team/key", "cli"), ("create", "secrets.team/key", "cli")]
    assert "geheim" not in str(trail.listed(place.store))


def test_what_names_one_in_the_file_or_beside_it_is_known(place: places.Place) -> None:
    managing.make(place, "stripe", "other", managing.CONNECTION)
    found = [(each.name, each.used_by) for each in vault.listed(place)]
    assert found == [("stripe/other/api_key", ("stripe.other",)), ("table", ("models.m",))]
    for each in vault.listed(place):
        with pytest.raises(views.Refused, match="would be without"):
            vault.forget(place, ANN, each.name)


def test_one_that_nothing_names_is_forgotten(place: places.Place) -> None:
    vault.keep(place, ANN, "old", "geheim")
    vault.forget(place, ANN, "old")
    assert trail.listed(place.store)[0].action == "delete"
    with pytest.raises(views.Unknown):
        vault.forget(place, ANN, "old")
    assert not vault.remove(place.store, ANN, "old")


def test_a_rotation_and_its_line_are_there_both_or_neither(
    place: places.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    def kept() -> list[dict[str, object]]:
        return place.store.execute("SELECT name, value FROM secrets")

    before = kept()
    with monkeypatch.context() as patched:
        patched.setattr(trail, "note", killed)
        with pytest.raises(SystemExit):
            vault.rotate(place.store, ANN)
    assert (kept(), trail.actions(place.store)) == (before, ["create"])
    assert vault.rotate(place.store, ANN) == 1
    assert kept() != before
    assert (trail.listed(place.store)[0].action, trail.listed(place.store)[0].after) == (
        "rotate",
        {"secrets": 1},
    )


def test_whoever_runs_notices(place: places.Place) -> None:
    vault.keep(place, ANN, "table", "people")
    assert place.file.models["m"].table == "people"


@pytest.mark.parametrize(
    ("name", "value"),
    [("", "x"), ("-a", "x"), ("a b", "x"), ("a" * 129, "x"), ("ok", ""), ("ok", "x" * 100_001)],
)
def test_what_cannot_be_one_changes_nothing(place: places.Place, name: str, value: str) -> None:
    before = objects.generation(place.store)
    with pytest.raises(errors.ConfigError):
        vault.keep(place, ANN, name, value)
    assert objects.generation(place.store) == before
