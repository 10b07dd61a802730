"""Members and tokens over the API."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import delivering
import pytest
from signing import Client, Signed

from tidegate.engine import place as places
from tidegate.store import database, invitations, membership, people, tokens, trail

MEMBERS, TOKENS = "/api/v1/members", "/api/v1/tokens"
BY = membership.By("the test", "cli")
FLOWS = """\
warehouses: {one: {type: duckdb, path: one.duckdb}}
pulls: {everything: {from: acme, to: one, streams: {customers: {}}}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/members.db", more=FLOWS)
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as opened:
        yield places.Place(file, opened)


@pytest.fixture
def admin(place: places.Place, tokened: Signed) -> Client:
    membership.add(place.store, BY, "ann@example.com", "admin", password="$x")
    return tokened(place, "admin")


def test_a_member_is_invited_changed_and_forgotten(place: places.Place, admin: Client) -> None:
    made = admin.post(MEMBERS, json={"name": "Ben@example.com", "role": "operator"})
    assert (made.status, made.json["name"], made.json["lasts"]) == (201, "ben@example.com", 7 * 86_400)
    url = made.json["url"]
    assert url.startswith(admin.url + "/enter/")
    assert invitations.look(place.store, url.rpartition("/")[2]) is not None
    ben: dict[str, Any] = admin.get(f"{MEMBERS}/ben@example.com").json
    assert ben["made_at"].endswith("Z")
    assert {name: ben[name] for name in ("role", "state", "signs_in_by", "signed_in_at")} == {
        "role": "operator",
        "state": "invited",
        "signs_in_by": "link",
        "signed_in_at": None,
    }
    changed = admin.ask("PATCH", f"{MEMBERS}/ben@example.com", json={"role": "editor", "disabled": True})
    assert (changed.json["role"], changed.json["state"]) == ("editor", "disabled")
    assert admin.post(f"{MEMBERS}/ben@example.com/link").status == 409
    admin.ask("PATCH", f"{MEMBERS}/ben@example.com", json={"disabled": False})
    again = admin.post(f"{MEMBERS}/ben@example.com/link").json["url"]
    assert again != url
    assert invitations.look(place.store, url.rpartition("/")[2]) is None
    assert admin.ask("DELETE", f"{MEMBERS}/ben@example.com").status == 204
    assert admin.get(f"{MEMBERS}/ben@example.com").status == 404
    assert {
        (each.who[:5], each.via) for each in trail.listed(place.store, what="members.ben@example.com")
    } == {("test-", "token")}


def test_the_last_admin_stays_and_names_are_taken_once(admin: Client) -> None:
    assert admin.ask("DELETE", f"{MEMBERS}/ann@example.com").status == 409
    refused = admin.ask("PATCH", f"{MEMBERS}/ann@example.com", json={"role": "viewer"})
    assert (refused.status, "last admin" in refused.json["detail"]) == (409, True)
    assert admin.post(MEMBERS, json={"name": "ann@example.com"}).status == 409
    assert admin.post(MEMBERS, json={"name": "not a name"}).status == 422
    assert admin.post(MEMBERS, json={"name": "ben@example.com", "role": "king"}).status == 422
    assert admin.ask("PATCH", f"{MEMBERS}/nobody@example.com", json={}).status == 404


def test_lists_come_page_by_page(place: places.Place, admin: Client) -> None:
    for n in range(5):
        membership.add(place.store, BY, f"m{n}@example.com", "viewer")
    names, after = [], ""
    while True:
        page = admin.get(f"{MEMBERS}?limit=2{after}").json
        names += [each["name"] for each in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert names == ["ann@example.com", *(f"m{n}@example.com" for n in range(5))]
    assert names == [each.name for each in people.listed(place.store)]


def test_a_token_is_made_listed_and_revoked(place: places.Place, admin: Client) -> None:
    made = admin.post(TOKENS, json={"name": "etl/dbt", "flows": ["everything"], "lasts": 3600})
    assert (made.status, made.json["name"]) == (201, "etl/dbt")
    secret = made.json["token"]
    found = tokens.find(place.store, secret)
    assert found is not None
    assert (found.scope, found.flows) == ("run", ("pull:everything",))
    listed = admin.get(TOKENS)
    assert secret not in listed.text
    (told,) = [each for each in listed.json["items"] if each["name"] == "etl/dbt"]
    assert (told["begins"], told["flows"], told["scope"]) == (secret[:8], ["pull:everything"], "run")
    assert admin.post(TOKENS, json={"name": "etl/dbt"}).status == 422
    assert admin.post(TOKENS, json={"name": "x", "flows": ["nothing"]}).status == 422
    assert admin.post(TOKENS, json={"name": "x", "lasts": 0}).status == 422
    assert admin.ask("DELETE", f"{TOKENS}/etl/dbt").status == 204
    assert admin.ask("DELETE", f"{TOKENS}/etl/dbt").status == 404
    assert tokens.find(place.store, secret) is None


def test_it_is_for_admins(place: places.Place, tokened: Signed) -> None:
    editor = tokened(place, "write")
    for path in (MEMBERS, TOKENS, f"{MEMBERS}/ann@example.com"):
        assert editor.get(path).status == 403
    assert editor.post(TOKENS, json={"name": "mine", "scope": "admin"}).status == 403
    assert [each.name[:5] for each in tokens.listed(place.store)] == ["test-"]
