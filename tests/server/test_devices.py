"""Browsers that are known: who guesses a password does not keep its owner out, and gains nothing by a cookie."""

from __future__ import annotations

import urllib.parse

import guessing
import pytest
from entering import act, member, sign_in
from guessing import GOOD
from signing import Answer, Client, Signed

from tidegate.engine import place as places
from tidegate.server import devices, signing
from tidegate.store import membership

ANN, BEN = "ann@example.com", "ben@example.com"
WRONG = "another horse battery"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords cost nothing, and buckets fill soon and do not leak meanwhile."""
    guessing.cheaply(monkeypatch)
    monkeypatch.setattr(signing, "NAMES", (3, 1e6))
    monkeypatch.setattr(signing, "ADDRESSES", (1000, 1e6))


def named(browser: Client) -> str:
    """The name of its cookie."""
    return f"tidegate-{urllib.parse.urlsplit(browser.url).port}-device"


def known(place: places.Place, stranger: Signed, name: str = ANN) -> Client:
    """A browser in which a member has signed in and out."""
    browser = stranger(place)
    assert sign_in(browser, name).status == 303
    assert act(browser, "/sign-out").status == 303
    return browser


def guess(place: places.Place, stranger: Signed, name: str = ANN) -> Answer:
    """Give wrong passwords for a name until nobody may try any more; the last answer."""
    browser = stranger(place)
    for _ in range(signing.NAMES[0]):
        sign_in(browser, name, WRONG)
    return sign_in(browser, name)


def test_who_guesses_keeps_nobody_out_of_a_browser_that_is_known(
    place: places.Place, stranger: Signed
) -> None:
    member(place)
    browser = known(place, stranger)
    assert guess(place, stranger).status == 429
    assert sign_in(browser, ANN).status == 303


def test_neither_does_who_fills_the_bucket_of_the_same_address(
    place: places.Place, stranger: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    member(place)
    browser = known(place, stranger)
    monkeypatch.setattr(signing, "ADDRESSES", (3, 1e6))
    others = stranger(place)
    assert [sign_in(others, f"name{n}").status for n in range(4)] == [401, 401, 401, 429]
    assert sign_in(browser, ANN).status == 303


def test_a_browser_that_is_known_guesses_no_faster_than_others(place: places.Place, stranger: Signed) -> None:
    member(place)
    browser = known(place, stranger)
    statuses = [sign_in(browser, ANN, WRONG).status for _ in range(signing.NAMES[0] + 1)]
    assert statuses == [401] * signing.NAMES[0] + [429]
    assert sign_in(browser, ANN).status == 429
    assert sign_in(stranger(place), ANN).status == 303  # what it did does not count for others


def test_it_is_known_for_one_name_alone(place: places.Place, stranger: Signed) -> None:
    member(place)
    member(place, BEN, "viewer")
    browser = known(place, stranger, BEN)
    assert guess(place, stranger, ANN).status == 429
    assert sign_in(browser, ANN).status == 429


def test_a_cookie_that_was_not_issued_here_is_none(place: places.Place, stranger: Signed) -> None:
    member(place)
    real = known(place, stranger).jar
    (value,) = (value for name, value in real.items() if name.endswith("-device"))
    nonce, _, proof = value.partition(".")
    assert guess(place, stranger).status == 429
    for forged in (
        f"{'B' if nonce[0] == 'A' else 'A'}{nonce[1:]}.{proof}",
        f"{nonce}.{'0' * 64}",
        f"{nonce}.",
        proof,
        devices.issued(ANN, "the hash of something else"),
    ):
        browser = stranger(place)
        browser.jar[named(browser)] = forged
        assert sign_in(browser, ANN).status == 429, forged


def test_another_password_ends_what_was_known_elsewhere_but_not_here(
    place: places.Place, stranger: Signed
) -> None:
    member(place)
    elsewhere = known(place, stranger)
    here = stranger(place)
    sign_in(here, ANN)
    assert act(here, "/account/password", {"current": GOOD, "password": WRONG}).status == 303
    act(here, "/sign-out")
    for _ in range(signing.NAMES[0]):
        sign_in(stranger(place), ANN, GOOD)
    assert sign_in(elsewhere, ANN, WRONG).status == 429
    assert sign_in(here, ANN, WRONG).status == 303


def test_who_is_disabled_is_known_nowhere(place: places.Place, stranger: Signed) -> None:
    member(place)
    member(place, BEN, "viewer")
    browser = known(place, stranger, BEN)
    membership.disable(place.store, membership.By(ANN, "cli"), BEN)
    assert guess(place, stranger, BEN).status == 429
    assert sign_in(browser, BEN).status == 429


def test_scripts_and_other_sites_cannot_read_or_send_it(place: places.Place, stranger: Signed) -> None:
    member(place)
    browser = stranger(place)
    sent = next(each for each in sign_in(browser, ANN).cookies if each.startswith(named(browser)))
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= {each.strip() for each in sent.split(";")}


def test_it_signs_nobody_in(place: places.Place, stranger: Signed) -> None:
    member(place)
    browser = known(place, stranger)
    assert browser.get("/account").headers["location"].startswith("/sign-in")
