"""Stripe accounts: keys are tried before they are kept, and never shown; connected accounts are found."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
import seen
import servers

from tidegate import catalog, errors, sandbox, views
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.store import deliveries, trail
from tidegate.store import endpoints as stored
from tidegate.views import account_webhooks, accounts, connected_accounts

READING = "rk_test_reading12345678"
ANN = views.Person("ann@example.com", "session")


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with sandbox.process(
        objects=60, keys={READING: ("rak_customer_read", "rak_charge_read", "rak_balance_read")}
    ) as url:
        yield url


@pytest.fixture
def place(stripe: str, tmp_path: Path) -> Iterator[places.Place]:
    file = seen.written(tmp_path, url=stripe, key="sk_test_geheim123456789")
    file.write_text(file.read_text().replace("api_base", 'rate_limit: "off", api_base'))
    with seen.place(file) as found:
        yield found


def body(stripe: str, key: str) -> dict[str, object]:
    return {"api_key": key, "api_base": stripe, "rate_limit": "off"}


def test_a_connection_shows_four_characters_of_its_key(place: places.Place) -> None:
    [found] = accounts.listed(place)
    assert (found.name, found.mode, found.key, found.last4) == ("acme", "test", "sk_test_…6789", "6789")
    assert (found.whose, found.flows, found.known) == ("own", ("pull:everything",), 0)
    assert "geheim" not in str(found)


def test_what_was_pulled_over_it_is_counted(place: places.Place) -> None:
    seen.stands(
        place,
        "pull:everything",
        *(seen.table("charges", account=f"acct_{n}") for n in range(3)),
        seen.table("payouts", account="acct_1", status="no_permission"),
    )
    found = accounts.one(place, "acme")
    assert (found.known, found.refused) == (3, 1)
    with pytest.raises(views.Unknown, match="did you mean 'acme'"):
        accounts.one(place, "acmee")


def test_a_secret_key_may_do_everything(place: places.Place) -> None:
    found = accounts.try_key(place, "acme")
    assert (found.mode, found.restricted, found.missing, found.events) == ("test", False, {}, "")
    assert found.account.startswith("acct_")
    assert len(found.readable) + len(found.absent) == len(found.access) > 80
    assert "geheim" not in str(found)


def test_a_restricted_key_says_what_it_lacks_and_where_that_is_granted(
    place: places.Place, stripe: str
) -> None:
    found = accounts.try_draft(place, "other", body(stripe, READING))
    assert found.restricted
    assert "customers" in {each.stream for each in found.readable}
    assert "payouts" in found.missing["rak_payout_read"]
    assert found.edit_link == "https://dashboard.stripe.com/test/apikeys"
    parts = urllib.parse.urlsplit(found.grant_link)
    ticked = urllib.parse.parse_qs(parts.query)["permissions[]"]
    assert parts.path == "/test/apikeys/create"
    assert {"rak_customer_read", "rak_payout_read"} <= set(ticked)
    assert len(ticked) == len(set(ticked))
    assert {each.object: each.status for each in found.rights}["customer"] == "no"
    assert editing.get(place, "stripe", "other") is None


def test_the_link_for_a_new_key_has_what_is_pulled_by_default() -> None:
    link = urllib.parse.urlsplit(accounts.reading_link(live=True))
    ticked = urllib.parse.parse_qs(link.query)["permissions[]"]
    wanted = {each.permission for each in catalog.load().streams.values() if each.default}
    assert set(ticked) == {each for each in wanted if each.startswith("rak_")}
    assert link.path == "/apikeys/create"


def test_a_key_is_tried_and_then_kept(place: places.Place, stripe: str) -> None:
    made, found = accounts.keep(place, ANN, "shop", body(stripe, READING), None)
    assert (made.action, found.restricted) == ("create", True)
    assert [each.name for each in accounts.listed(place)] == ["acme", "shop"]
    assert accounts.one(place, "shop").last4 == READING[-4:]
    [line] = trail.listed(place.store)
    assert (line.who, line.what) == ("ann@example.com", "stripe.shop")
    assert READING not in str(line)


def test_a_key_that_stripe_does_not_know_is_not_kept(place: places.Place, stripe: str) -> None:
    with pytest.raises(errors.Unauthorized) as caught:
        accounts.keep(place, ANN, "shop", body(stripe, "rk_test_nobody123456"), None)
    assert "nobody" not in str(caught.value)
    assert editing.get(place, "stripe", "shop") is None
    assert trail.listed(place.store) == []


def test_what_is_no_connection_is_told_by_field(place: places.Place, stripe: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        accounts.try_draft(place, "shop", {**body(stripe, READING), "budget": 7})
    assert [each.path for each in caught.value.problems] == ["budget"]


def test_connected_accounts_are_found_page_by_page(place: places.Place) -> None:
    names = [f"acct_{n:03}" for n in range(25)]
    seen.stands(place, "pull:everything", *(seen.table("charges", account=name) for name in names))
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = connected_accounts.connected(place, "acme", after=after, limit=10)
        assert page.total == 25
        found += [each.account for each in page.items]
        after = page.next
    assert found == names
    some = connected_accounts.connected(place, "acme", search="T_01")
    assert [each.account for each in some.items] == [f"acct_01{n}" for n in range(10)]
    assert connected_accounts.connected(place, "acme", search="%").items == ()


def test_connected_accounts_on_postgres(tmp_path: Path) -> None:
    with seen.place(seen.written(tmp_path), servers.new_postgres()) as place:
        tables = [seen.table("charges", account=f"acct_{n}", status="no_permission") for n in range(3)]
        seen.stands(place, "pull:everything", *tables)
        found = connected_accounts.connected(place, "acme", search="ACCT_1")
        assert [(each.account, each.refused) for each in found.items] == [("acct_1", 1)]
        assert (accounts.one(place, "acme").known, accounts.one(place, "acme").refused) == (3, 3)


def test_a_connection_of_which_nothing_was_pulled_has_none(place: places.Place, stripe: str) -> None:
    editing.change(place, "ann", "stripe", "shop", body(stripe, READING), None)
    place.look()
    assert connected_accounts.connected(place, "shop") == connected_accounts.Several((), 0, None)


def test_stripes_own_list_of_connected_accounts(tmp_path: Path) -> None:
    with (
        sandbox.process(objects=30, accounts=5) as url,
        seen.place(seen.written(tmp_path, url=url, key="sk_test_geheim123456789")) as place,
    ):
        first = connected_accounts.at_stripe(place, "acme", limit=3)
        assert len(first.items) == 3
        assert first.next == first.items[-1].account
        rest = connected_accounts.at_stripe(place, "acme", limit=3, after=first.next)
        everyone = [each.account for each in (*first.items, *rest.items)]
        assert len(set(everyone)) == len(everyone) >= 4
        [one] = connected_accounts.at_stripe(place, "acme", search=everyone[2]).items
        assert one.account == everyone[2]
        assert connected_accounts.at_stripe(place, "acme", search="acct_nobody").items == ()
        with pytest.raises(errors.ConfigError, match="by their whole id alone"):
            connected_accounts.at_stripe(place, "acme", search="Smith")


def test_webhooks_are_made_looked_at_and_removed(place: places.Place) -> None:
    assert account_webhooks.webhooks(place, "acme").endpoints == ()
    [made] = account_webhooks.enable_webhooks(place, ANN, "acme", "https://tidegate.example.com")
    assert made.made
    known = account_webhooks.webhooks(place, "acme")
    assert [(each.kept.id, each.status) for each in known.endpoints] == [(made.id, "")]
    asked = account_webhooks.webhooks(place, "acme", ask=True)
    assert [each.status for each in asked.endpoints] == ["enabled"]
    [again] = account_webhooks.enable_webhooks(
        place, ANN, "acme", "https://tidegate.example.com", rotate=True
    )
    assert again.id != made.id
    assert account_webhooks.replay_webhooks(place, ANN, "acme") == {"pull:everything": 0}
    assert account_webhooks.disable_webhooks(place, ANN, "acme") == 1
    lines = trail.listed(place.store)[::-1]
    assert [each.action for each in lines] == [
        "begin to enable",
        "enable",
        "begin to rotate",
        "rotate",
        "replay",
        "begin to disable",
        "disable",
    ]
    assert lines[0].after == {"url": "https://tidegate.example.com"}
    assert [each["id"] for each in lines[1].after] == [made.id]
    assert lines[-1].after == {"removed": 1}
    assert "whsec" not in str(lines)


def test_a_change_of_webhooks_that_is_killed_has_a_line_and_one_that_is_refused_none(
    place: places.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    with pytest.raises(errors.ConfigError, match="is no address"):
        account_webhooks.enable_webhooks(place, ANN, "acme", "tidegate.example.com")
    assert account_webhooks.disable_webhooks(place, ANN, "acme") == 0
    assert [each.action for each in trail.listed(place.store)] == ["disable"]
    with monkeypatch.context() as patched:
        patched.setattr(stored, "remember", killed)  # Stripe has it, and we do not know of it yet
        with pytest.raises(SystemExit):
            account_webhooks.enable_webhooks(place, ANN, "acme", "https://tidegate.example.com")
    assert account_webhooks.webhooks(place, "acme").endpoints == ()
    account_webhooks.enable_webhooks(place, ANN, "acme", "https://tidegate.example.com")
    with monkeypatch.context() as patched:
        patched.setattr(stored, "forget", killed)
        with pytest.raises(SystemExit):
            account_webhooks.disable_webhooks(place, ANN, "acme")
    assert [each.action for each in trail.listed(place.store)[::-1]] == [
        "disable",
        "begin to enable",
        "begin to enable",
        "enable",
        "begin to disable",
    ]


def test_what_is_heard_again_and_its_line_are_there_both_or_neither(
    place: places.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    deliveries.begin(place.store, "pull:everything", "acme")
    deliveries.keep(place.store, [deliveries.Delivery("acme", "", "evt_1", "product.created", 1, "{}")])
    place.store.execute("UPDATE hearings SET number = 1")
    with monkeypatch.context() as patched:
        patched.setattr(trail, "note", killed)
        with pytest.raises(SystemExit):
            account_webhooks.replay_webhooks(place, ANN, "acme")
    assert (deliveries.heard(place.store, "pull:everything"), trail.listed(place.store)) == (1, [])
    assert account_webhooks.replay_webhooks(place, ANN, "acme") == {"pull:everything": 1}
    [line] = trail.listed(place.store)
    assert deliveries.heard(place.store, "pull:everything") == 0
    assert (line.action, line.after) == ("replay", {"pull:everything": 1})


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7_200), ("3d", 3 * 86_400), (None, account_webhooks.EVER)]
)
def test_spans(text: str | None, seconds: float) -> None:
    assert account_webhooks.since(text) == seconds


def test_a_span_that_is_none() -> None:
    with pytest.raises(errors.ConfigError, match="write it like 2h or 3d"):
        account_webhooks.since("soon")
