"""Signing in, in a browser."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import delivering
import guessing
import pytest
from guessing import GOOD
from playwright import sync_api
from signing import Signed

from tidegate.engine import place as places
from tidegate.store import database, membership
from tidegate.web import signing


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[places.Place]:
    guessing.cheaply(monkeypatch)
    file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/signing.db")
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as opened:
        yield places.Place(file, opened)


def test_from_the_first_link_to_the_sign_in_page_and_back(
    place: places.Place, stranger: Signed, page: sync_api.Page
) -> None:
    url = stranger(place).url
    page.goto(f"{url}/enter/{membership.first_link(place.store, 'tidegate run')}")
    page.get_by_label("E-mail address").fill("ann@example.com")
    page.get_by_label("Password").fill(GOOD)
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url(f"{url}/")
    page.goto(f"{url}/account")
    sync_api.expect(page.get_by_text("Chrome on Linux")).to_be_visible()
    page.get_by_role("button", name="Sign out", exact=True).first.click()
    page.wait_for_url(f"{url}/sign-in")
    page.goto(f"{url}/settings/members")
    page.get_by_label("Name").fill("ann@example.com")
    page.get_by_label("Password").fill("something else")
    page.get_by_role("button", name="Sign in").click()
    sync_api.expect(page.get_by_role("alert")).to_contain_text("The name or the password is wrong.")
    page.get_by_label("Password").fill(GOOD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{url}/settings/members")


def test_a_member_is_invited_and_the_link_is_shown_once(
    place: places.Place, signed: Signed, page: sync_api.Page
) -> None:
    admin = signed(place)
    page.context.add_cookies([{"name": "tidegate", "value": admin.jar["tidegate"], "url": admin.url}])
    page.goto(f"{admin.url}/settings")
    page.get_by_role("link", name="Members").click()
    page.get_by_label("E-mail address").fill("ben@example.com")
    page.get_by_label("Role", exact=True).last.select_option("editor")
    page.get_by_role("button", name="Invite").click()
    sync_api.expect(page.locator("tg-copy code")).to_contain_text(f"{admin.url}/enter/")
    page.goto(f"{admin.url}/settings/members")
    page.get_by_role("link", name="ben@example.com").click()
    sync_api.expect(page.locator("tg-copy")).to_have_count(0)


@pytest.mark.parametrize(
    "path", ["/sign-in", "/account", "/settings", "/settings/members", "/settings/tokens"]
)
def test_a_telephone_shows_all_of_it(
    place: places.Place, signed: Signed, narrow: sync_api.Page, path: str
) -> None:
    admin = signed(place)
    if path != "/sign-in":
        narrow.context.add_cookies([{"name": "tidegate", "value": admin.jar["tidegate"], "url": admin.url}])
    narrow.goto(admin.url + path)
    assert narrow.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/156.0 Safari/537.36", "Chrome on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0) Chrome/156.0 Safari/537.36 Edg/156.0",
            "Edge on Windows",
        ),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) Version/18.0 Safari/605.1.15", "Safari on macOS"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1",
            "Safari on iPhone",
        ),
        ("Mozilla/5.0 (Android 15; Mobile) Gecko/140.0 Firefox/140.0", "Firefox on Android"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", "unknown"),
    ],
)
def test_what_people_call_a_browser(agent: str, name: str) -> None:
    assert signing.named(agent) == name
