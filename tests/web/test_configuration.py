"""The configuration as a whole, as an admin has it in the browser: its parts, as a file, and from one."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import seen
from signing import Client, Signed

from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.store import trail

PATH = "/settings/configuration"
SECRET = "sk_test_geheim123456789"
MORE = """
warehouses: {second: {type: duckdb, path: second.duckdb}}
pulls: {more: {from: acme, to: second, schedule: every 1h}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    """A connection, a warehouse and a pull in the file, and a connection that was added in the pages."""
    with seen.place(seen.written(tmp_path, key=SECRET)) as found:
        editing.change(found, "ann", "stripe", "shop", {"api_key": SECRET}, None)
        found.look()
        yield found


@pytest.fixture
def admin(place: places.Place, signed: Signed) -> Client:
    found: Client = signed(place, "admin")
    return found


def text(page: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page)))


def shown(page: str) -> dict[str, str]:
    """What the recap sends on."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    return {name: html.unescape(value) for name, value in found}


def test_every_part_leads_to_its_page_and_says_where_it_is_written(admin: Client) -> None:
    page = admin.get(PATH).text
    for url in ("/accounts/acme", "/accounts/shop", "/warehouses/local", "/streams/everything"):
        assert f'href="{url}"' in page
        assert admin.get(url).status == 200
    assert "tidegate.yaml, line" in page
    assert "these pages" in page
    assert SECRET not in page


def test_what_the_pages_keep_is_a_file_without_secrets(admin: Client) -> None:
    answer = admin.get(f"{PATH}/export")
    assert answer.headers["content-disposition"] == 'attachment; filename="tidegate.yaml"'
    assert "shop:" in answer.text
    assert "acme" not in answer.text, "that stands in the file already"
    assert SECRET not in answer.text


def test_a_file_is_looked_at_first_and_changes_what_was_shown(place: places.Place, admin: Client) -> None:
    recap = admin.post(f"{PATH}/look", {"yaml": MORE}).text
    assert "2 parts would be another" in text(recap)
    assert "stripe.shop" in text(recap), "what the file does not have stays"
    assert "more" not in place.file.pulls
    taken = admin.post(f"{PATH}/take", shown(recap))
    assert (taken.status, taken.headers["location"]) == (303, PATH)
    assert place.file.pulls["more"].warehouse == "second"
    assert [each.what for each in trail.listed(place.store)[:2]] == ["pulls.more", "warehouses.second"]
    again = text(admin.post(f"{PATH}/look", {"yaml": MORE}).text)
    assert "Nothing would change." in again


def test_what_the_file_does_not_have_goes_where_that_is_wanted(place: places.Place, admin: Client) -> None:
    recap = admin.post(f"{PATH}/look", {"yaml": MORE, "prune": "on"}).text
    assert "Removed." in recap
    assert 'data-words="remove"' in recap
    assert admin.post(f"{PATH}/take", shown(recap)).status == 422, "nothing was typed"
    assert admin.post(f"{PATH}/take", {**shown(recap), "words": "remove"}).status == 303
    assert list(place.file.stripe) == ["acme"]


def test_what_is_wrong_with_a_file_is_said_beside_it(place: places.Place, admin: Client) -> None:
    answer = admin.post(f"{PATH}/look", {"yaml": "pulls: {more: {from: nowhere, to: local}}"})
    assert answer.status == 422
    assert "nowhere" in text(answer.text)
    assert "more" not in place.file.pulls


def test_what_somebody_changed_meanwhile_is_not_written_over(place: places.Place, admin: Client) -> None:
    recap = admin.post(f"{PATH}/look", {"yaml": MORE}).text
    editing.change(place, "ben", "warehouses", "second", {"type": "duckdb", "path": "other.duckdb"}, None)
    late = admin.post(f"{PATH}/take", shown(recap))
    assert late.status == 422
    place.look()
    assert "more" not in place.file.pulls


def test_who_comes_back_to_what_was_shown_once_finds_the_page(admin: Client) -> None:
    for path in (f"{PATH}/look", f"{PATH}/take"):
        answer = admin.get(path)
        assert (answer.status, answer.headers["location"]) == (303, PATH)


def test_only_admins_have_it(place: places.Place, signed: Signed) -> None:
    editor = signed(place, "editor")
    assert [editor.get(PATH + more).status for more in ("", "/export")] == [403, 403]
    assert editor.post(f"{PATH}/take", {"yaml": MORE}).status == 403
