"""Settings: the way to its pages, limits of connections, retention, and what runs here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import seen
from signing import Client, Signed

import tidegate
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.store import trail
from tidegate.web import limits, settings

SECRET = "sk_test_geheim123456789"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    """One connection in the file, and one that was added in the pages."""
    with seen.place(seen.written(tmp_path, key=SECRET)) as found:
        editing.change(found, "ann", "stripe", "shop", {"api_key": SECRET, "budget": 0.5}, None)
        found.look()
        yield found


@pytest.fixture
def ann(place: places.Place, signed: Signed) -> Client:
    return signed(place, "editor", "ann@example.com")


@pytest.mark.parametrize("role", ["viewer", "operator", "editor", "admin"])
def test_each_member_sees_the_settings_that_the_role_may_open(
    place: places.Place, signed: Signed, role: str
) -> None:
    member = signed(place, role)
    page = member.get("/settings").text
    for entry in settings.ENTRIES:
        opened = member.get(entry.href).status
        assert (f'href="{entry.href}"' in page) == (opened == 200), entry.name
    assert SECRET not in page


def test_while_the_file_is_not_valid_a_form_is_refused_and_keeps_what_was_typed(
    place: places.Place, ann: Client, tmp_path: Path
) -> None:
    part = editing.get(place, "stripe", "shop")
    assert part is not None
    file = tmp_path / "tidegate.yaml"
    valid = file.read_text()
    file.write_text(valid.replace("to: local", "to: nowhere"))
    form = {"_version": part.version, "budget": "0.25", "rate_limit": "51/11"}
    answer = ann.post("/settings/limits/shop", form)
    assert answer.status == 409
    assert "The configuration is not valid, and nothing was changed" in answer.text
    assert 'value="51/11"' in answer.text
    adding = {"_name": "m", "way": "sql", "warehouse": "local", "sql": "select 4711 as id", "key": "id"}
    added = ann.post("/models/-/add", adding)
    assert (added.status, "select 4711 as id" in added.text) == (409, True)
    assert editing.get(place, "models", "m") is None
    file.write_text(valid)
    assert ann.post("/settings/limits/shop", form).status == 303
    assert place.file.stripe["shop"].budget == 0.25


def test_limits_of_a_connection_are_changed_and_what_is_not_asked_stays(
    place: places.Place, ann: Client
) -> None:
    page = ann.get("/settings/limits").text
    assert "50%" in page
    assert "80%" in page
    part = editing.get(place, "stripe", "shop")
    assert part is not None
    form = {"_version": part.version, "budget": "0.25", "rate_limit": "50/10", "reads_per_month": "1000000"}
    assert ann.post("/settings/limits/shop", form).status == 303
    shop = place.file.stripe["shop"]
    assert (shop.budget, shop.reads_per_month) == (0.25, 1_000_000)
    assert shop.api_key is not None
    assert shop.api_key.get_secret_value() == SECRET
    assert "50/10" in ann.get("/settings/limits").text
    assert trail.listed(place.store)[0].who == "ann@example.com"
    assert ann.post("/settings/limits/shop", form).status == 422  # somebody was faster: oneself


def test_a_limit_that_cannot_be_says_so_beside_its_input(place: places.Place, ann: Client) -> None:
    part = editing.get(place, "stripe", "shop")
    assert part is not None
    answer = ann.post("/settings/limits/shop", {"_version": part.version, "budget": "2"})
    assert answer.status == 422
    assert 'id="f-budget-error"' in answer.text
    assert 'value="2"' in answer.text
    assert place.file.stripe["shop"].budget == 0.5


def test_limits_that_are_written_in_the_file_are_changed_there(place: places.Place, ann: Client) -> None:
    assert "This is written in tidegate.yaml" in ann.get("/settings/limits/acme").text
    assert ann.post("/settings/limits/acme", {"budget": "0.1"}).status == 409
    assert place.file.stripe["acme"].budget == 0.8
    assert ann.get("/settings/limits/nobody").status == 404


def test_a_viewer_reads_limits_and_changes_none(place: places.Place, signed: Signed) -> None:
    viewer = signed(place, "viewer")
    assert 'href="/settings/limits/shop"' not in viewer.get("/settings/limits").text
    assert viewer.get("/settings/limits/shop").status == 403
    assert viewer.post("/settings/limits/shop", {"budget": "0.1"}).status == 403
    assert place.file.stripe["shop"].budget == 0.5


def test_retention_says_what_is_kept_where(place: places.Place, ann: Client) -> None:
    editing.change(
        place,
        "ann",
        "pulls",
        "short",
        {"from": "shop", "to": "local", "retention": {"events": "60d", "deleted": "1d"}},
        None,
    )
    place.look()
    page = ann.get("/settings/retention").text
    for said in ("60 days", "1 day", "for ever", "365 days", "The audit log", "730"):
        assert said in page, said


@pytest.mark.parametrize(("found", "said"), [(None, "for ever"), (1.0, "1 day"), (0.5, "0.5 days")])
def test_days(found: float | None, said: str) -> None:
    assert limits.days(found) == said


def test_about_names_the_version_and_every_licence(place: places.Place, signed: Signed) -> None:
    viewer = signed(place, "viewer")
    page = viewer.get("/settings/about").text
    assert tidegate.__version__ in page
    assert "uvicorn" in page
    assert "BSD-3-Clause" in page
    assert viewer.get("/settings/about/licences").status == 200


def test_over_http_too(place: places.Place, tokened: Signed) -> None:
    reader = tokened(place, "read")
    assert reader.get("/api/v1/about").json["version"] == tidegate.__version__
    assert [
        (each["connection"], each["budget"], each["locked"])
        for each in reader.get("/api/v1/limits").json["items"]
    ] == [
        ("acme", 0.8, True),
        ("shop", 0.5, False),
    ]
    assert reader.get("/api/v1/retention").json["items"] == [
        {
            "pull": "everything",
            "warehouse": "local",
            "events": None,
            "history": None,
            "deleted": None,
            "runs": 365.0,
        }
    ]
    assert reader.get("/api/v1/accounts/shop/consent").status == 404
    assert reader.ask("DELETE", "/api/v1/accounts/shop/consent").status == 403
