"""Sign in with Stripe: the way there and back, what is kept of it, and how it is taken back."""

from __future__ import annotations

import asyncio
import html
import json
import re
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pulling
import pytest
import seen
from agreeing import agreed
from playwright import sync_api
from playwright.sync_api import expect
from signing import Answer, Client, Signed

from tidegate import errors, sandbox, views
from tidegate.engine import alerts, consents, editing, grants
from tidegate.engine import place as places
from tidegate.pull import settings
from tidegate.store import journeys, notices, secrets, trail
from tidegate.stripe import signing, webhooks
from tidegate.views import oauth as sign_in
from tidegate.views import vault
from tidegate.web import oauth

APP = "ca_rockets"
SECRET = "sk_test_platform1234567"
HOOK = "whsec_0123456789abcdef"


@pytest.fixture(scope="module")
def stripe() -> Iterator[pulling.Stripe]:
    with sandbox.process(objects=60, accounts=6) as url:
        yield pulling.Stripe(url)


@pytest.fixture
def place(stripe: pulling.Stripe, tmp_path: Path) -> Iterator[places.Place]:
    """A connection without a key, and a pull over it."""
    file = tmp_path / "tidegate.yaml"
    file.write_text("database: sqlite:///tidegate.db\n")
    with seen.place(file) as found:
        oauth_body = {"client_id": APP, "client_secret": SECRET}
        body = {"oauth": oauth_body, "api_base": stripe.url, "rate_limit": "off", "webhook_secret": HOOK}
        editing.change(found, "ann", "stripe", "shop", body, None, admin=True)
        editing.change(found, "ann", "warehouses", "local", {"type": "duckdb", "path": "w.duckdb"}, None)
        editing.change(found, "ann", "pulls", "all", {"from": "shop", "to": "local"}, None)
        found.look()
        yield found


@pytest.fixture
def account(stripe: pulling.Stripe) -> str:
    """One of the connected accounts, which owns itself."""
    found: str = stripe.truth("accounts")[0]["object"]["id"]
    return found


@pytest.fixture
def ann(place: places.Place, signed: Signed) -> Client:
    return signed(place, "editor", "ann@example.com")


def left(client: Client, query: str = "") -> str:
    """The address at Stripe that a member is sent to."""
    answer = client.get(f"/accounts/shop/sign-in{query}")
    assert answer.status == 303
    return answer.headers["location"]


def back(client: Client, sent: dict[str, str]) -> Answer:
    """The browser comes back from Stripe, another site."""
    query = urllib.parse.urlencode(sent)
    return client.get(f"{oauth.BACK}?{query}", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")


def signed_in(client: Client, account: str) -> None:
    assert back(client, agreed(left(client), account)).status == 303


def said(client: Client, path: str) -> str:
    found = re.search(r'id="said".*?<p>(.*?)</p>', client.get(path).text, re.DOTALL)
    return found[1] if found else ""


def key(place: places.Place) -> str:
    """The key of the connection, as it counts now; empty where there is none."""
    place.look()
    found = place.file.stripe["shop"].key
    return "" if found is None else found.get_secret_value()


def test_who_signs_in_has_the_key_of_the_account_kept(place: places.Place, ann: Client, account: str) -> None:
    there = left(ann)
    asked = dict(urllib.parse.parse_qsl(there.partition("?")[2]))
    assert asked["scope"] == "read_only"
    assert asked["redirect_uri"] == ann.url + "/accounts/-/signed-in"
    answer = back(ann, agreed(there, account))
    assert answer.status == 303
    assert answer.headers["location"] == "/accounts/shop/consent"
    assert said(ann, "/accounts/shop/consent") == f"{account} signed in (TEST); shop may read its data."
    token = key(place)
    assert token.startswith("sk_test_")
    assert place.file.stripe["shop"].oauth.account == account  # type: ignore[union-attr]
    shown = ann.get("/accounts/shop/consent").text + ann.get("/accounts/shop").text
    assert token[-4:] in shown
    assert token not in shown
    assert SECRET not in shown
    written = json.dumps([(each.before, each.after) for each in trail.listed(place.store)], default=str)
    assert account in written
    assert token not in written


def test_writing_is_asked_for_alone_where_it_is_wanted(ann: Client) -> None:
    assert "scope=read_write" in left(ann, "?write=yes")
    assert "scope=read_only" in left(ann, "?write=no")


def test_a_state_is_of_one_session_good_once_and_for_ten_minutes(
    place: places.Place, ann: Client, signed: Signed, account: str
) -> None:
    sent = agreed(left(ann), account)
    assert "did not begin in this session" in back(signed(place, "admin"), sent).text
    assert key(place) == ""
    assert back(ann, {**sent, "state": sent["state"][:-1]}).status == 409
    assert back(ann, sent).status == 303
    token = key(place)
    assert "was used already" in back(ann, sent).text
    assert key(place) == token

    late = agreed(left(ann), account)
    place.store.execute("UPDATE sign_in_journeys SET made_at = made_at - 601")
    assert back(ann, late).status == 409
    assert key(place) == token


def test_a_state_of_the_sign_in_here_is_none_of_stripes(
    place: places.Place, ann: Client, account: str
) -> None:
    sent = agreed(left(ann), account)
    journeys.begin(place.store, "theirs", ann.jar["tidegate"], journeys.Journey("shop", "read_only", "/"))
    assert back(ann, {**sent, "state": "theirs"}).status == 409
    assert key(place) == ""


def test_who_does_not_agree_changes_nothing(place: places.Place, ann: Client, account: str) -> None:
    answer = back(ann, agreed(left(ann), account, "cancel"))
    assert answer.status == 303
    assert "Stripe was not given leave" in said(ann, answer.headers["location"])
    assert key(place) == ""


def test_another_account_than_the_one_whose_data_it_has_is_refused(
    place: places.Place, ann: Client, stripe: pulling.Stripe, account: str
) -> None:
    signed_in(ann, account)
    token = key(place)
    other = stripe.truth("accounts")[1]["object"]["id"]
    answer = back(ann, agreed(left(ann), other))
    assert answer.status == 409
    assert f"{other} signed in, but shop is connected to {account}" in answer.text
    assert key(place) == token


def test_of_two_who_sign_in_with_different_accounts_at_once_the_second_is_refused_and_given_back(
    place: places.Place,
    ann: Client,
    signed: Signed,
    stripe: pulling.Stripe,
    account: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other, bob = stripe.truth("accounts")[1]["object"]["id"], signed(place, "editor", "bob@example.com")
    anns, bobs = agreed(left(ann), account), agreed(left(bob), other)
    real, taken_back = signing.exchange, list[str]()

    async def slow(secret: str, code: str, *, at: str) -> signing.Grant:
        found = await real(secret, code, at=at)
        if found.account == other:  # while Stripe answers bob, ann comes back
            answer = await asyncio.to_thread(back, ann, anns)
            assert answer.status == 303
        return found

    async def disconnect(client_id: str, secret: str, account: str, *, at: str) -> bool:
        taken_back.append(account)
        return await undone(client_id, secret, account, at=at)

    undone = signing.disconnect
    monkeypatch.setattr(signing, "exchange", slow)
    monkeypatch.setattr(signing, "disconnect", disconnect)
    answer = back(bob, bobs)
    assert answer.status == 409
    assert f"{other} signed in, but shop is connected to {account}" in answer.text
    assert "<h1>That cannot be done now</h1>" in answer.text
    place.look()
    assert place.file.stripe["shop"].oauth.account == account  # type: ignore[union-attr]
    assert taken_back == [other]
    done, begun = trail.listed(place.store, what="stripe.shop")[:2]
    assert (begun.action, done.action) == ("begin to disconnect", "disconnect")
    assert (done.who, done.after) == ("bob@example.com", {"account": other, "stripe": "disconnected"})


def test_viewers_and_operators_cannot_sign_in_or_disconnect(
    place: places.Place, ann: Client, signed: Signed, account: str
) -> None:
    signed_in(ann, account)
    token = key(place)
    for role in ("viewer", "operator"):
        client = signed(place, role)
        assert client.get("/accounts/shop/consent").status == 200
        assert client.get("/accounts/shop/sign-in").status == 403
        assert client.get(f"{oauth.BACK}?state=x&code=y").status == 403
        assert client.post("/accounts/shop/disconnect", {"words": "shop"}).status == 403
        assert client.post("/accounts/-/connect", {"_name": "x"}).status == 403
    assert key(place) == token


def test_disconnecting_tells_stripe_first_and_pulls_stop_with_a_sentence(
    place: places.Place, ann: Client, stripe: pulling.Stripe
) -> None:
    account = stripe.truth("accounts")[2]["object"]["id"]
    signed_in(ann, account)
    assert ann.post("/accounts/shop/disconnect", {"words": "nothing"}).status == 422
    assert key(place)
    assert ann.post("/accounts/shop/disconnect", {"words": "shop"}).status == 303
    assert key(place) == ""
    done, changed, begun = trail.listed(place.store, what="stripe.shop")[:3]
    assert [each.action for each in (begun, changed, done)] == ["begin to disconnect", "change", "disconnect"]
    assert (begun.after, done.after) == ({"account": account}, {"account": account, "stripe": "disconnected"})
    with pytest.raises(errors.ConfigError, match="nobody has signed in yet"):
        settings.source(place.file.stripe["shop"])
    gone = signing.disconnect(APP, SECRET, account, at=stripe.url)
    assert asyncio.run(gone) is False
    assert ann.post("/accounts/shop/disconnect", {"words": "shop"}).status == 422


def test_a_key_that_stripe_does_not_know_leaves_everything_as_it_is(
    place: places.Place, ann: Client, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in(ann, account)
    token = key(place)

    async def away(*_: object, **__: object) -> bool:
        raise errors.Unreachable("connect.stripe.com did not answer the sign-in; check the network.")

    monkeypatch.setattr(signing, "disconnect", away)
    assert "did not answer" in ann.post("/accounts/shop/disconnect", {"words": "shop"}).text
    assert key(place) == token
    failed, begun = trail.listed(place.store, what="stripe.shop")[:2]
    assert (begun.action, failed.action) == ("begin to disconnect", "fail to disconnect")
    assert (failed.after["answer"], "did not answer" in failed.after["error"]) == ("lost", True)


def test_who_is_killed_between_stripe_and_here_leaves_the_first_line(
    place: places.Place, ann: Client, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise SystemExit

    signed_in(ann, account)
    who = views.Person("ann@example.com", "session")
    with monkeypatch.context() as patched:
        patched.setattr(grants, "forget", killed)
        with pytest.raises(SystemExit):
            sign_in.disconnect(place, who, "shop")
    assert [each.action for each in trail.listed(place.store, limit=1)] == ["begin to disconnect"]
    assert not sign_in.disconnect(place, who, "shop"), "Stripe was told the first time"
    assert trail.listed(place.store)[0].after == {"account": account, "stripe": "knew of none"}


def test_an_account_that_disconnects_at_stripe_raises_an_alert_until_it_signs_in_again(
    place: places.Place, ann: Client, account: str
) -> None:
    signed_in(ann, account)
    body = {
        "id": "evt_1",
        "object": "event",
        "type": consents.EVENT,
        "created": int(time.time()),
        "account": account,
        "data": {"object": {"id": APP, "object": "application"}},
    }

    def deliver(event: dict[str, object], secret: str = HOOK) -> int:
        text = json.dumps(event).encode()
        header = webhooks.signature(secret, text, int(time.time()))
        return ann.ask(
            "POST",
            "/webhooks/stripe/shop",
            body=text,
            Stripe_Signature=header,
            Content_Type="application/json",
        ).status

    assert deliver(body, "whsec_wrong") == 400
    assert deliver({**body, "account": "acct_other"}) == 200
    assert notices.listed(place.store) == []
    assert deliver(body) == 200
    [notice] = notices.listed(place.store)
    assert notice.matter == "consent/shop"
    assert f"{account} has disconnected Tidegate at Stripe" in notice.text
    assert "connect it again" in notice.text
    assert notice.text in ann.get("/accounts/shop/consent").text
    assert "shop is disconnected at Stripe" in ann.get("/settings/alerts").text
    assert re.search(r'href="/accounts/shop/consent"[^>]*>Sign in again<', ann.get("/issues").text)
    signed_in(ann, account)
    assert notices.listed(place.store) == []
    assert "has disconnected" not in ann.get("/accounts/shop/consent").text


def test_an_alert_of_a_connection_that_is_removed_goes_with_it(place: places.Place) -> None:
    for name in ("shop", "gone"):
        matter = notices.Matter(
            f"consent/{name}", consents.KIND, "", f"{name}: disconnected; connect it again."
        )
        notices.settle(place.store, "", [matter])
    alerts.look(place.store, place.file)
    assert [each.matter for each in notices.listed(place.store)] == ["consent/shop"]


def test_over_http_it_is_read_and_taken_back(
    place: places.Place, ann: Client, tokened: Signed, account: str
) -> None:
    signed_in(ann, account)
    program = tokened(place, "write")
    found = program.get("/api/v1/accounts/shop/consent")
    assert (found.json["account"], found.json["signed_in"]) == (account, True)
    assert key(place) not in found.text
    assert tokened(place, "run").ask("DELETE", "/api/v1/accounts/shop/consent").status == 403
    assert program.get("/accounts/shop/sign-in").status == 422
    assert key(place)


def test_from_the_first_run_one_goes_back_to_it(place: places.Place, ann: Client, account: str) -> None:
    editing.change(place, "ann", "pulls", "all", None, editing.get(place, "pulls", "all").version)  # type: ignore[union-attr]
    place.look()
    assert 'href="/accounts/shop/consent?next=/start"' in ann.get("/start").text
    assert "next=/start" in html.unescape(ann.get("/accounts/shop/consent?next=/start").text)
    answer = back(ann, agreed(left(ann, "?next=/start"), account))
    assert answer.headers["location"] == "/start"
    assert back(ann, agreed(left(ann, "?next=//evil.test/"), account)).headers["location"] == (
        "/accounts/shop/consent"
    )


def test_a_run_that_is_refused_for_it_marks_the_connection(place: places.Place) -> None:
    text = "pull:all: the run failed: The account was disconnected or does not exist; connect it again."
    notices.settle(place.store, "pull:all", [notices.Matter("pull:all/failed", "failed", "pull:all", text)])
    assert consents.missing(place.file, place.store, "shop") == text


FILED = 'stripe:\n  shop: {oauth: {client_id: %s, client_secret: %s%s}, api_base: "%s"}\n'


def test_a_connection_in_the_file_keeps_its_sign_in_beside_it(
    stripe: pulling.Stripe, tmp_path: Path, signed: Signed, account: str
) -> None:
    file = tmp_path / "tidegate.yaml"
    text = FILED % (APP, SECRET, "", stripe.url)
    file.write_text(text)
    with seen.place(file) as found:
        ann = signed(found, "admin", "ann@example.com")
        assert "Nobody has signed in yet" in ann.get("/accounts/shop/consent").text
        signed_in(ann, account)
        token = key(found)
        assert token
        assert file.read_text() == text, "the file is its owner's"
        page = ann.get("/accounts/shop/consent").text
        assert "Signed in with Stripe" in page
        assert token not in page
        assert [each.action for each in trail.listed(found.store, what="stripe.shop")] == ["sign-in"]
        [kept] = [each for each in vault.listed(found) if each.name == "stripe/shop/oauth"]
        assert kept.used_by == ("stripe.shop",)
        with seen.place(file) as other:
            assert key(other) == token, "every process has it"
            file.write_text(text.replace(APP, "ca_another"))
            assert key(other) == "", "it is of another platform"
            file.write_text(text.replace("client_id", "account: acct_other, client_id"))
            assert key(other) == "", "it is of another account"
            file.write_text(text)
        assert ann.post("/accounts/shop/disconnect", {"words": "shop"}).status == 303
        assert key(found) == ""
        assert "stripe/shop/oauth" not in secrets.names(found.store)


def test_a_key_that_stands_in_the_file_is_left_alone(
    stripe: pulling.Stripe, tmp_path: Path, signed: Signed
) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(
        FILED % (APP, SECRET, ", account: acct_1, access_token: sk_test_written123456", stripe.url)
    )
    with seen.place(file) as found:
        ann = signed(found, "admin")
        assert "written in tidegate.yaml, line 2" in ann.get("/accounts/shop/consent").text
        assert ann.get("/accounts/shop/sign-in").status == 409
        assert ann.post("/accounts/shop/disconnect", {"words": "shop"}).status == 409


def test_in_a_browser_from_the_form_to_stripe_and_back(
    ann: Client, stripe: pulling.Stripe, account: str, page: sync_api.Page
) -> None:
    page.context.add_cookies([{"name": "tidegate", "value": ann.jar["tidegate"], "url": ann.url}])
    page.goto(ann.url + "/accounts")
    page.get_by_role("link", name="Sign in with Stripe").click()
    page.get_by_label("Name").fill("second")
    page.get_by_label("Client ID").fill(APP)
    page.get_by_label("Platform secret key").fill(SECRET)
    page.get_by_text("More", exact=True).click()
    page.get_by_label("API base").fill(stripe.url)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading", name="Nobody has signed in yet")).to_be_visible()
    page.get_by_role("link", name="Sign in with Stripe").click()
    page.get_by_label("Account").select_option(account)
    page.get_by_role("button", name="Connect my Stripe account").click()
    page.wait_for_url(ann.url + "/accounts/second/consent")
    expect(page.locator("#said")).to_contain_text(f"{account} signed in (TEST)")
    expect(page.get_by_role("heading", name="Signed in with Stripe")).to_be_visible()
    page.locator("summary", has_text="Disconnect second").click()
    page.locator("input[name=words]").fill("second")
    page.locator(".confirm-box button[type=submit]").click()
    expect(page.locator("#said")).to_contain_text("its flows wait until somebody signs in again")
