"""Settings: members and tokens, as an admin changes them in a browser."""

from __future__ import annotations

import re

import guessing
import pytest
from guessing import GOOD
from signing import Answer, Client, Signed

from tidegate.engine import place as places
from tidegate.store import membership, people, tokens, trail
from tidegate.web import members

MEMBERS, TOKENS = "/settings/members", "/settings/tokens"
BY = membership.By("the test", "cli")


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    guessing.cheaply(monkeypatch)


@pytest.fixture
def admin(place: places.Place, signed: Signed) -> Client:
    return signed(place, "admin")


def copied(answer: Answer) -> str:
    """The text that a page offers to be copied."""
    found = re.search(r'<tg-copy class="copy"><code>([^<]*)</code>', answer.text)
    assert found, answer.text
    return found[1]


def page_of(place: places.Place, name: str) -> str:
    return f"{MEMBERS}/{people.get(place.store, name).id}"


def test_an_admin_invites_somebody_who_comes(place: places.Place, admin: Client, stranger: Signed) -> None:
    answer = admin.post(MEMBERS, {"name": "Ben@Example.com", "role": "operator"})
    assert answer.status == 200
    assert "it works once" in answer.text
    link = copied(answer)
    assert link.startswith(admin.url + "/enter/")
    assert link not in admin.get(page_of(place, "ben@example.com")).text
    ben = stranger(place)
    page = ben.get(link.removeprefix(admin.url))
    csrf = re.search(r'name="_csrf" value="([^"]*)"', page.text)
    assert csrf
    form = {"_csrf": csrf[1], "link": link.rpartition("/")[2], "password": GOOD}
    assert ben.post("/enter", form).status == 303
    assert "ben@example.com, operator" in ben.get("/account").text
    (line,) = trail.listed(place.store, action="add", who="admin@example.com")
    assert (line.what, line.via, line.after) == ("members.ben@example.com", "session", {"role": "operator"})
    assert not any(link.rpartition("/")[2] in str(each) for each in trail.listed(place.store))


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({"name": "admin@example.com", "role": "viewer"}, "There is a member admin@example.com already."),
        ({"name": "not a name", "role": "viewer"}, "named by an e-mail address"),
        ({"name": "ben@example.com", "role": "owner"}, "A role is one of viewer, operator, editor, admin."),
    ],
)
def test_what_was_typed_is_still_there_where_it_will_not_do(
    admin: Client, form: dict[str, str], why: str
) -> None:
    answer = admin.post(MEMBERS, form)
    assert answer.status == 422
    assert why in answer.text
    assert f'value="{form["name"]}"' in answer.text


def test_members_are_found_filtered_and_downloaded(place: places.Place, admin: Client) -> None:
    for n in range(5):
        membership.add(place.store, BY, f"member{n}@example.com", "viewer")
    membership.disable(place.store, BY, "member3@example.com")
    page = admin.get(MEMBERS).text
    assert page.count("member") > 5
    assert "member1@" not in admin.get(MEMBERS + "?search=member3").text
    assert "admin@example.com</a>" not in admin.get(MEMBERS + "?role=viewer").text
    shown = re.findall(r">(\w+)@example.com</a>", admin.get(MEMBERS + "?state=disabled").text)
    assert shown == ["member3"]
    table = admin.get(MEMBERS + "?format=csv&sort=-name")
    assert table.headers["content-type"].startswith("text/csv")
    names = [line.partition(",")[0] for line in table.text.splitlines()]
    assert names == ["name", *(f"member{n}@example.com" for n in (4, 3, 2, 1, 0)), "admin@example.com"]


def test_many_members_come_page_by_page(
    place: places.Place, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "ROWS", 2)
    for n in range(3):
        membership.add(place.store, BY, f"member{n}@example.com", "viewer")
    shown = [re.findall(r">(\w+)@example.com</a>", admin.get(f"{MEMBERS}?page={n}").text) for n in (1, 2, 3)]
    assert shown == [["admin", "member0"], ["member1", "member2"], []]
    assert re.search(r'href="[^"]*page=2[^"]*" rel="next"', admin.get(MEMBERS).text)


def test_a_member_is_changed(place: places.Place, admin: Client, signed: Signed) -> None:
    ben = signed(place, "viewer", "ben@example.com")
    page = page_of(place, "ben@example.com")
    assert ben.get("/account").status == 200
    assert admin.post(f"{page}/role", {"role": "editor"}).headers["location"] == page
    assert people.get(place.store, "ben@example.com").role == "editor"
    assert ben.get("/account").status == 303
    assert admin.post(f"{page}/role", {"role": "king"}).status == 422
    admin.post(f"{page}/disable")
    assert people.get(place.store, "ben@example.com").state == "disabled"
    assert "Enable" in admin.get(page).text
    assert admin.post(f"{page}/link").status == 409
    admin.post(f"{page}/enable")
    assert "/enter/" in copied(admin.post(f"{page}/link"))
    refused = admin.post(f"{page}/remove", {"words": "ben"})
    assert refused.status == 422
    assert "Type ben@example.com to go on" in refused.text
    assert admin.post(f"{page}/remove", {"words": "ben@example.com"}).headers["location"] == MEMBERS
    assert people.find(place.store, "ben@example.com") is None
    assert admin.get(page).status == 404


def test_an_admin_cannot_lock_everybody_out(place: places.Place, admin: Client) -> None:
    page = page_of(place, "admin@example.com")
    for path, form in (
        ("role", {"role": "viewer"}),
        ("disable", {}),
        ("remove", {"words": "admin@example.com"}),
    ):
        answer = admin.post(f"{page}/{path}", form)
        assert answer.status == 409
        assert "admin@example.com is the last admin" in answer.text
    assert admin.get(MEMBERS).status == 200


def test_settings_are_for_admins(place: places.Place, signed: Signed) -> None:
    editor = signed(place, "editor")
    for path in (MEMBERS, TOKENS):
        answer = editor.get(path)
        assert answer.status == 403
        assert "needs the role admin" in answer.text


def test_a_token_is_made_shown_once_and_revoked(place: places.Place, admin: Client) -> None:
    form = {"name": "dbt", "scope": "run", "lasts": "90", "flow": ["pull:everything"]}
    made = admin.post(TOKENS, form)
    secret = copied(made)
    assert secret.startswith("tg_")
    found = tokens.find(place.store, secret)
    assert found is not None
    assert (found.name, found.scope, found.flows) == ("dbt", "run", ("pull:everything",))
    assert found.expires_at is not None
    assert abs(found.expires_at - place.store.now() - 90 * 86_400) < 60
    page = admin.get(TOKENS).text
    assert secret not in page
    assert secret[:8] in page
    assert admin.post(TOKENS + "/revoke", {"name": "dbt", "words": "db"}).status == 422
    assert admin.post(TOKENS + "/revoke", {"name": "dbt", "words": "dbt"}).status == 303
    assert tokens.find(place.store, secret) is None
    assert admin.post(TOKENS + "/revoke", {"name": "dbt", "words": "dbt"}).status == 404
    lines = trail.listed(place.store, what="tokens.dbt")
    assert [(each.action, each.who) for each in lines] == [
        ("revoke", "admin@example.com"),
        ("create", "admin@example.com"),
    ]
    assert secret not in str(lines)


def test_tokens_end_with_the_member_who_made_them_and_the_page_says_so_before(
    place: places.Place, admin: Client, signed: Signed
) -> None:
    eve = signed(place, "admin", "eve@example.com")
    secret = copied(eve.post(TOKENS, {"name": "dbt", "scope": "admin", "lasts": ""}))
    program = Client(admin.url, headers={"Authorization": f"Bearer {secret}"})
    another = program.post("/api/v1/tokens", json={"name": "child", "scope": "admin"})
    child = Client(admin.url, headers={"Authorization": f"Bearer {another.json['token']}"})
    page = page_of(place, "eve@example.com")
    assert "revoked: child, dbt." in admin.get(page).text
    admin.post(f"{page}/role", {"role": "viewer"})
    for each in (program, child):
        assert each.get("/api/v1/tokens").status == 403
        assert each.get("/api/v1/flows").status == 200
    assert "made with admin; its maker may no more now" in admin.get(TOKENS).text
    admin.post(f"{page}/remove", {"words": "eve@example.com"})
    assert [each.get("/api/v1/flows").status for each in (program, child)] == [401, 401]
    assert admin.get("/api/v1/tokens").json["items"] == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": "no spaces"}, "A token&#39;s name is of letters"),
        ({"scope": "all"}, "A scope is one of read, run, write, admin."),
        ({"lasts": "9999"}, "Choose one of the times."),
        ({"flow": ["pull:nothing"]}, "nothing"),
    ],
)
def test_a_token_that_will_not_do(
    place: places.Place, admin: Client, change: dict[str, str], why: str
) -> None:
    answer = admin.post(TOKENS, {"name": "dbt", "scope": "run", "lasts": "", **change})
    assert answer.status == 422
    assert why in answer.text
    assert tokens.listed(place.store) == []
