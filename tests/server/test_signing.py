"""Signing in and out as a browser does it: the first start, passwords, links, sessions, and who guesses."""

from __future__ import annotations

import contextlib
import html
import re
import urllib.parse
from pathlib import Path

import argon2
import delivering
import guessing
import pytest
from entering import BY, act, member, sign_in, token
from guessing import GOOD
from signing import Answer, Client, Signed

from tidegate.engine import place as places
from tidegate.server import asking, passwords, signing
from tidegate.store import attempts, database, membership, people, sessions, trail

OTHER = "another horse battery"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    guessing.cheaply(monkeypatch)


def enter(browser: Client, link: str, password: str = GOOD, **more: str) -> Answer:
    """Follow a link, fill its form in, send it."""
    page = browser.get(f"/enter/{link}")
    assert page.status == 200, page.text
    return browser.post("/enter", {"_csrf": token(page), "link": link, "password": password, **more})


def kept(browser: Client) -> str:
    """The name of its session's cookie."""
    return asking.cookie(False, urllib.parse.urlsplit(browser.url).port)


def test_the_first_link_makes_the_first_admin_once(place: places.Place, stranger: Signed) -> None:
    link = membership.first_link(place.store, "tidegate run")
    browser = stranger(place)
    assert "Nobody can sign in yet" in browser.get("/sign-in").text
    page = browser.get(f"/enter/{link}")
    assert "You are the first one here" in page.text
    assert browser.get(f"/enter/{link}").status == 200  # to look at it does not use it up
    answer = enter(browser, link, name="Ann@Example.com")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert "ann@example.com, admin" in browser.get("/account").text
    assert [each.name for each in people.listed(place.store)] == ["ann@example.com"]
    assert browser.get(f"/enter/{link}").status == 410


def test_every_other_first_link_is_worth_nothing_then(place: places.Place, stranger: Signed) -> None:
    one, two = (membership.first_link(place.store, "tidegate run") for _ in range(2))
    enter(stranger(place), one, name="ann")
    answer = stranger(place).get(f"/enter/{two}")
    assert answer.status == 410
    assert "was used already" in answer.text


def test_on_this_machine_the_link_suffices(place: places.Place, stranger: Signed) -> None:
    browser = stranger(place)
    link = membership.first_link(place.store, "tidegate run")
    assert enter(browser, link, "", name="ann").status == 303
    (ann,) = people.listed(place.store)
    assert (ann.role, ann.has_password, ann.state) == ("admin", False, "active")
    assert people.has_admin(place.store)
    again = stranger(place)
    assert enter(again, membership.invite(place.store, BY, "ann"), "").status == 303
    assert again.get("/account").status == 200


def test_from_elsewhere_a_password_is_required_first(place: places.Place, stranger: Signed) -> None:
    link = membership.first_link(place.store, "tidegate run")
    browser = stranger(place)
    page = browser.get(f"/enter/{link}", X_Forwarded_For="203.0.113.9")
    form = {"_csrf": token(page), "link": link, "name": "ann", "password": ""}
    refused = browser.post("/enter", form, X_Forwarded_For="203.0.113.9")
    assert refused.status == 422
    assert "12 characters" in refused.text
    assert people.listed(place.store) == []
    assert "without TLS" in page.text


def test_a_member_signs_in_with_a_password(place: places.Place, stranger: Signed) -> None:
    member(place)
    browser = stranger(place)
    answer = sign_in(browser, " ANN@example.com ")
    assert (answer.status, answer.headers["location"]) == (303, "/account")
    (cookie,) = [each for each in answer.cookies if each.startswith(f"{kept(browser)}=")]
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert browser.get("/account").status == 200
    assert browser.get("/sign-in?next=/runs").headers["location"] == "/runs"
    (line,) = trail.listed(place.store, action="sign in")
    assert (line.who, line.via, line.what) == ("ann@example.com", "password", "members.ann@example.com")


def test_over_tls_the_cookie_is_for_this_host_and_for_tls_alone(tmp_path: Path, stranger: Signed) -> None:
    public = "server: {public_url: 'https://tidegate.example.com'}\n"
    file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/tls.db", more=public)
    store = database.open_database(file.database.get_secret_value())
    try:
        place = places.Place(file, store)
        member(place)
        browser = stranger(place)
        browser.headers = {"Host": "tidegate.example.com"}
        page = browser.get("/sign-in")
        assert "__Host-tidegate-form" in browser.jar
        form = {"_csrf": token(page), "name": "ann@example.com", "password": GOOD}
        answer = browser.post("/sign-in", form, Origin="https://tidegate.example.com")
        (cookie,) = [each for each in answer.cookies if each.startswith("__Host-tidegate=")]
        assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
        assert browser.get("/account").status == 200
    finally:
        store.close()


def test_wrong_names_and_wrong_passwords_get_the_same_answer(place: places.Place, stranger: Signed) -> None:
    member(place)
    membership.add(place.store, BY, "ben@example.com", "viewer")
    disabled = member(place, "cid@example.com", "viewer")
    membership.disable(place.store, BY, disabled.name)
    told = set()
    browser = stranger(place)
    for name, password in (
        ("ann@example.com", OTHER),
        ("nobody@example.com", GOOD),
        ("ben@example.com", ""),
        ("cid@example.com", GOOD),
        ("'; DROP TABLE members; --", GOOD),
    ):
        browser.jar.clear()
        answer = sign_in(browser, name, password)
        assert f"{kept(browser)}=" not in " ".join(answer.cookies)
        page = re.sub(r'(name="_csrf" value=|name="csrf" content=)"[^"]*"', "", html.unescape(answer.text))
        told.add((answer.status, page.replace(f'"{name}"', '""')))
    ((status, page),) = told
    assert status == 401
    assert "The name or the password is wrong." in page


def test_who_guesses_a_password_waits_and_a_restart_does_not_help(
    place: places.Place, stranger: Signed
) -> None:
    member(place)
    browser = stranger(place)
    statuses = [sign_in(browser, "ann@example.com", OTHER).status for _ in range(signing.NAMES[0] + 1)]
    assert statuses == [401] * signing.NAMES[0] + [429]
    refused = sign_in(browser, "ann@example.com", GOOD)  # also with the right one
    assert refused.status == 429
    assert 0 < int(refused.headers["retry-after"]) <= signing.NAMES[1] + 1
    with_new_process = places.Place(place.file, place.store)
    assert sign_in(stranger(with_new_process), "ann@example.com", GOOD).status == 429
    assert sign_in(stranger(place), "ben@example.com", GOOD).status == 401


def test_an_unknown_name_is_slowed_down_as_a_known_one(place: places.Place, stranger: Signed) -> None:
    browser = stranger(place)
    statuses = [sign_in(browser, "nobody@example.com").status for _ in range(signing.NAMES[0] + 1)]
    assert statuses[-2:] == [401, 429]


def test_who_tries_many_names_from_one_address_waits(
    place: places.Place, stranger: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "ADDRESSES", (3, 60.0))
    browser = stranger(place)
    assert [sign_in(browser, f"name{n}").status for n in range(4)] == [401, 401, 401, 429]


def test_right_passwords_are_not_counted(place: places.Place, stranger: Signed) -> None:
    member(place)
    for _ in range(signing.NAMES[0] + 2):
        assert sign_in(stranger(place), "ann@example.com").status == 303


def test_a_form_of_another_browser_signs_nobody_in(place: places.Place, stranger: Signed) -> None:
    """Else somebody could be signed in as the attacker, unawares."""
    member(place)
    attacker, victim = stranger(place), stranger(place)
    form = {"_csrf": token(attacker.get("/sign-in")), "name": "ann@example.com", "password": GOOD}
    assert victim.post("/sign-in", form).status == 403
    victim.get("/sign-in")
    assert victim.post("/sign-in", form).status == 403
    assert victim.post("/sign-in", {**form, "_csrf": ""}).status == 403
    assert attacker.post("/sign-in", form, Origin="https://evil.example").status == 403
    assert kept(victim) not in victim.jar


def test_signing_in_gives_a_new_session_whatever_cookie_there_was(
    place: places.Place, stranger: Signed
) -> None:
    member(place)
    browser = stranger(place)
    planted = sessions.new()
    browser.jar[kept(browser)] = planted
    sign_in(browser, "ann@example.com")
    first = browser.jar[kept(browser)]
    assert first != planted
    csrf = asking.csrf(browser.jar["tidegate-form"])
    again = browser.post("/sign-in", {"_csrf": csrf, "name": "ann@example.com", "password": GOOD})
    assert again.status == 303
    assert sessions.find(place.store, planted) is None
    assert sessions.find(place.store, first) is None  # the one before is over
    assert sessions.find(place.store, browser.jar[kept(browser)]) is not None


def test_two_servers_of_a_host_do_not_sign_each_other_out(
    place: places.Place, stranger: Signed, tmp_path: Path
) -> None:
    """Their ports differ, which cookies do not know."""
    file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/other.db")
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as store:
        other = places.Place(file, store)
        member(place)
        member(other)
        one, two = stranger(place), stranger(other)
        two.jar = one.jar
        sign_in(one, "ann@example.com")
        sign_in(two, "ann@example.com")
        assert [each.get("/account").status for each in (one, two)] == [200, 200]
        act(one, "/sign-out")
        assert [each.get("/account").status for each in (one, two)] == [303, 200]


def test_a_session_of_before_names_had_ports_goes_on_and_ends(place: places.Place, stranger: Signed) -> None:
    member(place)
    browser = stranger(place)
    sign_in(browser, "ann@example.com")
    browser.jar["tidegate"] = browser.jar.pop(kept(browser))
    assert browser.get("/account").status == 200
    act(browser, "/sign-out")
    assert "tidegate" not in browser.jar


def test_a_password_that_was_hashed_long_ago_is_hashed_anew(place: places.Place, stranger: Signed) -> None:
    old = argon2.PasswordHasher(2, 8, 1).hash(GOOD)
    membership.add(place.store, BY, "ann@example.com", "viewer", password=old)
    assert sign_in(stranger(place), "ann@example.com").status == 303
    found = people.password(place.store, "ann@example.com")
    assert found is not None
    assert found[1] != old
    assert passwords.same(found[1], GOOD)
    assert sign_in(stranger(place), "ann@example.com").status == 303


def test_signing_out_ends_this_session_only(place: places.Place, stranger: Signed) -> None:
    member(place)
    one, two = stranger(place), stranger(place)
    sign_in(one, "ann@example.com")
    sign_in(two, "ann@example.com")
    copy = dict(one.jar)
    assert act(one, "/sign-out").headers["location"] == "/sign-in"
    assert kept(one) not in one.jar
    one.jar = copy
    assert one.get("/account").status == 303
    assert two.get("/account").status == 200
    assert [each.action for each in trail.listed(place.store, who="ann@example.com")] == [
        "sign out",
        *["sign in"] * 2,
    ]


def test_signing_out_everywhere_ends_them_all(place: places.Place, stranger: Signed) -> None:
    member(place)
    one, two = stranger(place), stranger(place)
    sign_in(one, "ann@example.com", User_Agent="curl on a <b>laptop</b>")
    sign_in(two, "ann@example.com")
    page = two.get("/account").text
    assert "curl on a &lt;b&gt;laptop&lt;/b&gt;" in page
    assert page.count(">this one<") == 1
    act(two, "/account/sessions/end-all")
    assert one.get("/account").status == two.get("/account").status == 303


def test_one_other_browser_is_signed_out(place: places.Place, stranger: Signed) -> None:
    ann = member(place)
    ben = member(place, "ben@example.com", "viewer")
    one, two, third = (stranger(place) for _ in range(3))
    sign_in(one, "ann@example.com")
    sign_in(two, "ann@example.com")
    sign_in(third, "ben@example.com")
    (of_ben,) = sessions.of(place.store, ben.id)
    own = sessions.find(place.store, one.jar[kept(one)])
    assert own is not None
    (other,) = [each.id for each in sessions.of(place.store, ann.id) if each.id != own.id]
    assert act(one, "/account/sessions/end", {"session": other}).headers["location"] == "/account"
    assert two.get("/account").status == 303
    act(one, "/account/sessions/end", {"session": of_ben.id})
    assert third.get("/account").status == 200  # nobody ends somebody else's
    assert one.get("/account").status == 200


def test_another_password_signs_out_everywhere_else(place: places.Place, stranger: Signed) -> None:
    member(place)
    one, two = stranger(place), stranger(place)
    sign_in(one, "ann@example.com")
    sign_in(two, "ann@example.com")
    before = one.jar[kept(one)]
    wrong = act(one, "/account/password", {"current": OTHER, "password": OTHER})
    assert wrong.status == 422
    assert "not your current password" in wrong.text
    short = act(one, "/account/password", {"current": GOOD, "password": "short"})
    assert short.status == 422
    assert "12 characters" in short.text
    assert act(one, "/account/password", {"current": GOOD, "password": OTHER}).status == 303
    assert one.jar[kept(one)] != before
    assert one.get("/account").status == 200
    assert two.get("/account").status == 303
    assert sign_in(stranger(place), "ann@example.com", GOOD).status == 401
    assert sign_in(stranger(place), "ann@example.com", OTHER).status == 303
    assert [each.action for each in trail.listed(place.store, action="password")] == ["password"]


def test_an_invited_member_chooses_a_password(place: places.Place, stranger: Signed) -> None:
    member(place)
    membership.add(place.store, BY, "ben@example.com", "operator")
    link = membership.invite(place.store, BY, "ben@example.com")
    browser = stranger(place)
    assert "You were invited as ben@example.com." in browser.get(f"/enter/{link}").text
    assert enter(browser, link, OTHER, name="mallory@example.com").status == 303
    assert "ben@example.com, operator" in browser.get("/account").text
    assert sign_in(stranger(place), "ben@example.com", OTHER).status == 303
    assert people.find(place.store, "mallory@example.com") is None


def test_links_are_guessed_no_faster_than_passwords(
    place: places.Place, stranger: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "ADDRESSES", (2, 60.0))
    browser = stranger(place)
    csrf = token(browser.get("/sign-in"))
    statuses = [browser.post("/enter", {"_csrf": csrf, "link": f"guess{n}"}).status for n in range(3)]
    assert statuses == [410, 410, 429]


def test_nothing_secret_stands_in_the_database(place: places.Place, stranger: Signed) -> None:
    browser = stranger(place)
    link = membership.first_link(place.store, "tidegate run")
    enter(browser, link, name="ann@example.com")
    sign_in(stranger(place), "ann@example.com", OTHER)
    dump = (Path(place.store.place)).read_bytes()
    wal = Path(place.store.place + "-wal")
    dump += wal.read_bytes() if wal.exists() else b""
    for secret in (link, browser.jar[kept(browser)], GOOD, OTHER):
        assert secret.encode() not in dump


def test_attempts_tell_nobody_who_was_tried(place: places.Place, stranger: Signed) -> None:
    sign_in(stranger(place), "ann@example.com", OTHER)
    rows = place.store.execute("SELECT bucket FROM sign_in_attempts")
    assert len(rows) == 2
    known = attempts.Bucket("name:ann@example.com", *signing.NAMES).digest
    assert known in {row["bucket"] for row in rows}
    assert all(re.fullmatch("[0-9a-f]{64}", row["bucket"]) for row in rows)
