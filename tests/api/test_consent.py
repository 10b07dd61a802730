"""Signing in with Stripe over HTTP: begun and ended by a program, agreed to by a person in a browser."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pulling
import pytest
import seen
from agreeing import agreed
from signing import Signed

from tidegate import sandbox
from tidegate.engine import place as places

BACK = "https://tools.example.com/back"
AT = "/api/v1/accounts/shop/consent"


@pytest.fixture(scope="module")
def stripe() -> Iterator[pulling.Stripe]:
    with sandbox.process(objects=30, accounts=2) as url:
        yield pulling.Stripe(url)


@pytest.fixture
def place(stripe: pulling.Stripe, tmp_path: Path) -> Iterator[places.Place]:
    app = "{client_id: ca_rockets, client_secret: sk_test_platform1234567}"
    file = tmp_path / "tidegate.yaml"
    file.write_text(
        f"stripe:\n"
        f'  shop: {{oauth: {app}, api_base: "{stripe.url}"}}\n'
        f"  own: {{api_key: sk_test_geheim123456789}}\n"
    )
    with seen.place(file) as found:
        yield found


def test_who_began_it_ends_it_once(place: places.Place, tokened: Signed, stripe: pulling.Stripe) -> None:
    account = stripe.truth("accounts")[0]["object"]["id"]
    program, other = tokened(place, "write"), tokened(place, "write")
    begun = program.post(AT, json={"back": BACK}, Idempotency_Key="k")
    assert begun.status == 201
    assert "scope=read_only" in begun.json["url"]
    assert program.post(AT, json={"back": BACK}, Idempotency_Key="k").status == 409, "it is told once"
    came = {"url": f"{BACK}?{urllib.parse.urlencode(agreed(begun.json['url'], account, 'connect'))}"}
    refused = other.post(f"{AT}/answer", json=came)
    assert (refused.status, "did not begin in this session" in refused.json["detail"]) == (409, True)
    ended = program.post(f"{AT}/answer", json=came)
    assert (ended.status, ended.json["signed_in"], ended.json["account"]) == (200, True, account)
    assert program.get(AT).json == ended.json
    assert program.post(f"{AT}/answer", json=came).status == 409
    assert program.ask("DELETE", AT).status == 204
    assert not program.get(AT).json["signed_in"]


def test_what_cannot_be_is_refused(place: places.Place, tokened: Signed) -> None:
    program = tokened(place, "write")
    writing = program.post(AT, json={"back": BACK, "write": True})
    assert "scope=read_write" in writing.json["url"]
    for wrong in ("https://dashboard.stripe.com/", "http://[?state=a"):
        assert program.post(f"{AT}/answer", json={"url": wrong}).status == 422
    assert program.post(f"{AT}/answer", json={"url": f"{BACK}?state=forged&code=ac_1"}).status == 409
    assert program.post("/api/v1/accounts/own/consent", json={"back": BACK}).status == 404
    for path, sent in ((AT, {"back": BACK}), (f"{AT}/answer", {"url": BACK})):
        assert tokened(place, "run").post(path, json=sent).status == 403
