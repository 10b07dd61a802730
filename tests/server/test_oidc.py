"""Signing in by an OpenID provider: there and back, what of its tokens is believed, and who gets in as what."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import delivering
import oidc_issuer
import pytest
from joserfc import jwk
from oidc_issuer import CLIENT, SECRET, Issuer
from signing import Answer, Client, Signed

from tidegate import config
from tidegate.engine import place as places
from tidegate.server import desk as desks
from tidegate.server import oidc, problems, signing
from tidegate.store import database, journeys, membership, people, sessions, trail

BY = membership.By("the test", "cli")
OTHER_KEY = jwk.RSAKey.generate_key(2048, {"kid": "one"})
Placed = Callable[..., places.Place]


@pytest.fixture(scope="module")
def _running() -> Iterator[Issuer]:
    with oidc_issuer.running() as found:
        yield found


@pytest.fixture
def issuer(_running: Issuer) -> Issuer:
    """A provider that is as it was at first, for whom ann is verified."""
    vars(_running).update(vars(Issuer(_running.url)))
    _running.person = {"sub": "u1", "email": "Ann@Example.com", "email_verified": True}
    return _running


@pytest.fixture
def placed(issuer: Issuer, tmp_path: Path) -> Iterator[Placed]:
    """A place whose configuration has the provider, with more settings for it; ann may come as she is invited."""
    with contextlib.ExitStack() as opened:

        def make(**settings: Any) -> places.Place:
            client = {"issuer": issuer.url, "client_id": CLIENT, "client_secret": SECRET, **settings}
            file = delivering.loaded(
                tmp_path, f"sqlite:///{tmp_path}/oidc.db", more=f"server: {json.dumps({'oidc': client})}\n"
            )
            store = database.open_database(file.database.get_secret_value())
            opened.enter_context(contextlib.closing(store))
            return places.Place(file, store)

        yield make


def leave(browser: Client, next: str = "/account") -> str:
    """Begin at the sign-in page; the address back, to which the provider sends the browser."""
    answer = browser.get("/sign-in/oidc?" + urllib.parse.urlencode({"next": next}))
    assert answer.status == 303, answer.text

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    with pytest.raises(urllib.error.HTTPError) as gone:
        urllib.request.build_opener(Stay).open(answer.headers["location"], timeout=30)
    with gone.value as sent:
        back = sent.headers["Location"]
    assert back.startswith(browser.url)
    return str(back.removeprefix(browser.url))


def sign_in(browser: Client) -> Answer:
    return browser.get(leave(browser))


def test_there_and_back(placed: Placed, stranger: Signed, issuer: Issuer) -> None:
    place = placed(name="Example ID")
    membership.add(place.store, BY, "ann@example.com", "editor")
    browser = stranger(place)
    page = browser.get("/sign-in?next=/account").text
    assert "Sign in with Example ID" in page
    assert 'href="/sign-in/oidc?next=/account"' in page
    answer = sign_in(browser)
    assert (answer.status, answer.headers["location"]) == (303, "/account")
    assert "ann@example.com, editor" in browser.get("/account").text
    assert people.subject(place.store, issuer.url, "u1") == people.get(place.store, "ann@example.com")
    issuer.person["email"] = "ann.married@example.com"  # the provider's own name for her counts from now on
    assert sign_in(stranger(place)).status == 303
    assert [each.action for each in trail.listed(place.store, who="ann@example.com")] == [
        "sign in",
        "sign in",
        "connect",
    ]


@pytest.mark.parametrize(
    ("settings", "person", "role"),
    [
        ({}, {}, None),
        ({"allowed_domains": "example.com"}, {}, "viewer"),
        ({"allowed_domains": ["other.example"]}, {}, None),
        ({"allowed_domains": "example.com"}, {"email_verified": None}, None),
        ({"allowed_domains": "example.com"}, {"email_verified": False}, None),
        ({"allowed_domains": "example.com"}, {"email": "ann@sub.example.com"}, None),
        ({"allowed_domains": "example.com"}, {"email": "ann@example.com@evil.example"}, None),
        ({"roles": {"map": {"ops": "operator", "root": "admin"}}}, {"groups": ["ops", "root", "x"]}, "admin"),
        ({"roles": {"map": {"ops": "operator"}}}, {"groups": "ops", "email_verified": None}, "operator"),
        ({"roles": {"map": {"ops": "operator"}}}, {"groups": ["others"]}, None),
        ({"roles": {"map": {"ops": "operator"}}, "allowed_domains": "example.com"}, {}, None),
        (
            {"roles": {"claim": "realm_access.roles", "map": {"ops": "editor"}}},
            {"realm_access": {"roles": ["ops"]}},
            "editor",
        ),
        (
            {"roles": {"claim": "https://x.example/r", "map": {"1": "admin"}}},
            {"https://x.example/r": ["1"]},
            "admin",
        ),
        ({"roles": {"claim": "realm.roles", "map": {"ops": "editor"}}}, {"realm": "ops"}, None),
    ],
)
def test_who_gets_in_as_what(
    placed: Placed, settings: dict[str, Any], person: dict[str, Any], role: str | None
) -> None:
    place = placed(**settings)
    assert place.file.server is not None
    client = place.file.server.oidc
    assert client is not None
    claims = {"sub": "u1", "email": "Ann@Example.com", "email_verified": True, **person}
    browser = signing.Browser("127.0.0.1", "a test", True, "")
    if role is None:
        with pytest.raises(problems.Problem) as refused:
            signing.by_claims(desks.Desk(place), browser, client, claims)
        assert refused.value.status == 403
        assert people.listed(place.store) == []
        return
    session = sessions.find(place.store, signing.by_claims(desks.Desk(place), browser, client, claims))
    assert session is not None
    assert (session.member.name, session.member.role) == ("ann@example.com", role)
    assert len(people.listed(place.store)) == 1


def test_nobody_becomes_somebody_else_by_an_unverified_address(
    placed: Placed, stranger: Signed, issuer: Issuer
) -> None:
    place = placed(roles={"map": {"ops": "viewer"}})
    membership.add(place.store, BY, "ann@example.com", "admin", password="x")
    issuer.person = {"sub": "mallory", "email": "ann@example.com", "groups": ["ops"]}
    answer = sign_in(stranger(place))
    assert answer.status == 403
    assert "has not verified" in answer.text
    assert people.subject(place.store, issuer.url, "mallory") is None
    issuer.person["email_verified"] = True
    membership.link_subject(place.store, BY, "ann@example.com", issuer.url, "ann")
    assert sign_in(stranger(place)).status == 403  # the address was given to somebody else there
    assert people.get(place.store, "ann@example.com").role == "admin"


def test_a_disabled_member_stays_out(placed: Placed, stranger: Signed) -> None:
    place = placed(allowed_domains="example.com")
    assert sign_in(stranger(place)).status == 303
    membership.disable(place.store, BY, "ann@example.com")
    answer = sign_in(stranger(place))
    assert answer.status == 403
    assert "is disabled here" in answer.text


def test_the_providers_roles_are_followed_but_the_last_admin_stays(
    placed: Placed, stranger: Signed, issuer: Issuer
) -> None:
    place = placed(roles={"map": {"ops": "operator", "root": "admin"}})
    issuer.person["groups"] = ["root"]
    old = stranger(place)
    sign_in(old)
    issuer.person["groups"] = ["ops"]
    assert sign_in(stranger(place)).status == 303
    assert people.get(place.store, "ann@example.com").role == "admin"
    membership.add(place.store, BY, "ben@example.com", "admin", password="x")
    assert sign_in(stranger(place)).status == 303
    assert people.get(place.store, "ann@example.com").role == "operator"
    assert old.get("/account").status == 303


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"iss": "https://evil.example"}, "another provider"),
        ({"aud": "another"}, "another client"),
        ({"aud": ["another", "third"]}, "another client"),
        ({"aud": [CLIENT, "another"]}, "another client"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "another client"),
        ({"aud": None}, "another client"),
        ({"nonce": "another"}, "another sign-in"),
        ({"nonce": None}, "another sign-in"),
        ({"nonce": 7}, "another sign-in"),
        ({"exp": int(time.time()) - 120}, "has expired"),
        ({"exp": None}, "has expired"),
        ({"exp": "tomorrow"}, "has expired"),
        ({"iat": int(time.time()) + 3600}, "time to come"),
        ({"iat": None}, "time to come"),
        ({"nbf": int(time.time()) + 3600}, "time to come"),
        ({"sub": ""}, "whom it is for"),
        ({"sub": None}, "whom it is for"),
    ],
)
def test_a_token_for_somebody_or_something_else_is_refused(
    issuer: Issuer, wrong: dict[str, Any], why: str
) -> None:
    issuer.replaced = wrong
    with pytest.raises(oidc.Refusal, match=why) as refused:
        read(issuer, issuer.signed(issuer.claims("n")))
    assert refused.value.status == 401


def test_a_right_token_is_believed(issuer: Issuer) -> None:
    assert read(issuer, issuer.signed(issuer.claims("n")))["email"] == "Ann@Example.com"
    issuer.replaced = {"aud": [CLIENT, "another"], "azp": CLIENT}
    assert read(issuer, issuer.signed(issuer.claims("n")))["sub"] == "u1"


def test_a_token_that_nobody_of_the_provider_signed_is_refused(issuer: Issuer) -> None:
    claims = issuer.claims("n")
    good = issuer.signed(claims)
    head, body, signature = good.split(".")
    public = json.dumps(issuer.key.as_dict(private=False)).encode()
    pem = issuer.key.as_pem(private=False)
    forged = [
        issuer.signed(claims, OTHER_KEY),
        f"{_part({'alg': 'none'})}.{body}.",
        f"{_part({'alg': 'none', 'kid': 'one'})}.{body}.{signature}",
        f"{head}.{_part({**claims, 'sub': 'u2'})}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        "",
        "a.b.c",
        _hmac(claims, pem),
        _hmac(claims, public),
        issuer.signed(claims, OTHER_KEY, jwk=OTHER_KEY.as_dict(private=False)),
        f"{_part({'alg': 'RS256', 'kid': 'one', 'crit': ['b64'], 'b64': False})}.{body}.{signature}",
    ]
    for each in forged:
        with pytest.raises(oidc.Refusal, match="not signed with one of its keys"):
            read(issuer, each)


@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "Ed25519"])
def test_other_kinds_of_keys(issuer: Issuer, algorithm: str) -> None:
    issuer.algorithm = algorithm
    if algorithm == "ES256":
        issuer.key = jwk.ECKey.generate_key("P-256", {"kid": "ec"})
    elif algorithm == "Ed25519":
        issuer.key = jwk.OKPKey.generate_key("Ed25519", {"kid": "ed"})
    issuer.published = [{"kty": "AKP", "kid": "future"}, {"kty": "RSA"}, {"kty": "oct", "k": "AA"}, "x", 7]
    assert read(issuer, issuer.signed(issuer.claims("n")))["sub"] == "u1"


def test_keys_that_are_replaced_are_fetched_once(issuer: Issuer) -> None:
    now = [time.time()]
    providers = oidc.Providers(clock=lambda: now[0])
    client = config.OpenID(issuer=issuer.url, client_id=CLIENT, client_secret=SECRET)  # type: ignore[arg-type]

    def told() -> bool:
        try:
            asyncio.run(providers.read(client, issuer.signed(issuer.claims("n")), "n"))
        except oidc.Refusal:
            return False
        return True

    assert told()
    assert told()
    assert issuer.asked.count("/keys") == 1
    issuer.rotate("two")
    assert not told()  # a key that is unknown is looked for only so often
    assert issuer.asked.count("/keys") == 1
    now[0] += oidc.AGAIN
    assert told()
    assert issuer.asked.count("/keys") == 2
    now[0] += oidc.FRESH
    told()  # it has expired by then, but the keys are fetched before that is known
    assert issuer.asked.count("/keys") == 3


def test_a_browser_that_did_not_leave_from_here_does_not_arrive(placed: Placed, stranger: Signed) -> None:
    """Else somebody could be signed in as the attacker, unawares."""
    place = placed(allowed_domains="example.com")
    attacker, victim = stranger(place), stranger(place)
    back = leave(attacker)
    for browser in (victim, Client(victim.url, jar={"tidegate-form": "guessed"})):
        answer = browser.get(back)
        assert answer.status == 400
        assert "did not begin in this browser" in answer.text
    assert attacker.get(back).status == 303
    assert attacker.get(back).status == 400  # and only once
    assert attacker.get("/sign-in/oidc/back").status == 400


def test_a_journey_is_over_after_a_while(
    placed: Placed, stranger: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = stranger(placed(allowed_domains="example.com"))
    back = leave(browser)
    monkeypatch.setattr(journeys, "LASTS", 0.0)
    assert browser.get(back).status == 400


def test_what_comes_back_from_another_provider_is_refused(placed: Placed, stranger: Signed) -> None:
    """OAuth mix-up: RFC 9207."""
    place = placed(allowed_domains="example.com")
    for change in ("iss=https%3A%2F%2Fevil.example", ""):
        browser = stranger(place)
        path, _, query = leave(browser).partition("?")
        kept = [each for each in query.split("&") if not each.startswith("iss=")]
        answer = browser.get(f"{path}?{'&'.join([*kept, *filter(None, [change])])}")
        assert answer.status == 400
        assert "another provider" in answer.text


def test_a_provider_that_says_no(placed: Placed, stranger: Signed) -> None:
    browser = stranger(placed(allowed_domains="example.com"))
    path, _, query = leave(browser).partition("?")
    state = dict(urllib.parse.parse_qsl(query))["state"]
    answer = browser.get(f"{path}?error=access_denied&error_description=%3Cscript%3E&state={state}")
    assert answer.status == 401
    assert "did not let you in" in answer.text
    assert "<script>" not in answer.text.replace('<script type="module"', "")


def test_a_code_that_is_worth_nothing(placed: Placed, stranger: Signed, issuer: Issuer) -> None:
    browser = stranger(placed(allowed_domains="example.com"))
    back = leave(browser)
    issuer.codes.clear()
    answer = browser.get(back)
    assert answer.status == 401
    assert "took too long" in answer.text


def test_a_client_whose_secret_goes_in_the_form(placed: Placed, stranger: Signed, issuer: Issuer) -> None:
    issuer.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert sign_in(stranger(placed(allowed_domains="example.com"))).status == 303


@pytest.mark.parametrize(
    ("metadata", "failing", "status", "why"),
    [
        ({"issuer": "https://evil.example"}, 0, 502, "by another name"),
        ({"token_endpoint": None}, 0, 502, "no token_endpoint"),
        ({"jwks_uri": "file:///etc/passwd"}, 0, 502, "no jwks_uri"),
        ({}, 500, 502, "answered with 500"),
    ],
)
def test_a_provider_that_cannot_be_used(
    placed: Placed,
    stranger: Signed,
    issuer: Issuer,
    metadata: dict[str, Any],
    failing: int,
    status: int,
    why: str,
) -> None:
    place = placed()
    issuer.metadata, issuer.failing = metadata, failing
    answer = stranger(place).get("/sign-in/oidc")
    assert answer.status == status
    assert why in answer.text


def test_a_provider_that_is_away(placed: Placed, stranger: Signed) -> None:
    answer = stranger(placed(issuer="http://127.0.0.1:1")).get("/sign-in/oidc")
    assert answer.status == 503
    assert "cannot be reached" in answer.text


def test_without_a_provider_there_is_no_such_way(place: places.Place, stranger: Signed) -> None:
    browser = stranger(place)
    assert browser.get("/sign-in/oidc").status == 404
    assert browser.get("/sign-in/oidc/back?state=x&code=y").status == 404
    assert "Sign in with" not in browser.get("/sign-in").text


def test_it_comes_back_to_the_public_address(placed: Placed, stranger: Signed) -> None:
    place = placed()
    assert place.file.server is not None
    public = place.file.server.model_copy(update={"public_url": "https://tidegate.example.com"})
    moved = places.Place(place.file.model_copy(update={"server": public}), place.store)
    url = stranger(moved).get("/sign-in/oidc").headers["location"]
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    assert query["redirect_uri"] == "https://tidegate.example.com/sign-in/oidc/back"
    assert SECRET not in url


def read(issuer: Issuer, token: str) -> Any:
    """What a client of the provider reads from a token, of the journey `n`."""
    client = config.OpenID(issuer=issuer.url, client_id=CLIENT, client_secret=SECRET)  # type: ignore[arg-type]
    return asyncio.run(oidc.Providers().read(client, token, "n"))


def _part(told: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(told).encode()).rstrip(b"=").decode()


def _hmac(claims: dict[str, Any], secret: bytes) -> str:
    """A token signed with the public key as if that were a shared secret."""
    signed = f"{_part({'alg': 'HS256', 'kid': 'one'})}.{_part(claims)}"
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
