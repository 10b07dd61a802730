"""Endpoints at Stripe: made, found again, made anew, removed; and what Stripe delivers to them is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import delivering
import pytest
from following import Merchant

from tidegate import catalog, config, errors, sandbox
from tidegate.engine import endpoints, feed, traffic
from tidegate.server import app
from tidegate.store import database, deliveries, leases
from tidegate.store import endpoints as stored
from tidegate.store import secrets as vaults
from tidegate.stripe import webhooks

PULLS = """
warehouses: {one: {type: duckdb, path: one.duckdb}}
pulls:
  some: {from: acme, to: one, streams: {products: {}, customers: {}}}
"""


@pytest.fixture(scope="module")
def platform() -> Iterator[Merchant]:
    with sandbox.process(objects=20, accounts=3) as url:
        yield Merchant(url)


@pytest.fixture
def shop(platform: Merchant) -> Merchant:
    platform.control("reset", {"objects": 20, "accounts": 3})
    return platform


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vaults.VARIABLE, vaults.new_key())


class Acme:
    """A connection to the sandbox, with its pulls."""

    def __init__(
        self, shop: Merchant, folder: Path, url: str, store: database.Database, accounts: str
    ) -> None:
        self.shop, self.store = shop, store
        connection = f"{{api_key: sk_test_sandbox, api_base: '{shop.url}', accounts: {accounts}}}"
        self.file = delivering.loaded(folder, url, connection, PULLS)

    def enable(self, url: str, **options: Any) -> dict[str, endpoints.Enabled]:
        done = asyncio.run(endpoints.enable(self.file, self.store, "acme", url, **options))
        return {each.scope: each for each in done}

    def there(self) -> dict[str, dict[str, Any]]:
        """The endpoints at Stripe that are ours."""
        listed = self.shop.get("/v1/webhook_endpoints", limit=100)["data"]
        return {each["id"]: each for each in listed if "tidegate" in each["metadata"]}

    def secrets(self) -> tuple[str, ...]:
        return endpoints.secrets(self.file, self.store, "acme")

    def disable(self) -> int:
        return asyncio.run(endpoints.disable(self.file, self.store, "acme"))


@pytest.fixture
def acme(shop: Merchant, store: database.Database, url: str, tmp_path: Path) -> Any:
    def make(accounts: str = "own") -> Acme:
        return Acme(shop, tmp_path, url, store, accounts)

    return make


@pytest.fixture
def door(acme: Any) -> Iterator[Any]:
    """A server for a connection; its address."""
    with ExitStack() as stack:

        def serve(made: Acme) -> str:
            return stack.enter_context(app.serving(made.file, feed.Arrivals()))

        yield serve
    del acme


HOST = "http://tidegate.example"


def test_an_endpoint_is_made_for_the_types_that_the_pulls_need(acme: Any) -> None:
    made = acme()
    [done] = made.enable(HOST).values()
    assert (done.scope, done.made, done.left_out) == ("account", True, ())
    [there] = made.there().values()
    assert there["id"] == done.id
    assert there["url"] == f"{HOST}/webhooks/stripe/acme"
    assert there["api_version"] == catalog.load().api_version
    assert {"product.created", "customer.updated", "customer.deleted"} <= {*there["enabled_events"]}
    assert "payout.paid" not in there["enabled_events"]
    assert there["metadata"] == {"tidegate": "acme", "tidegate_hears": "account"}
    [row] = stored.kept(made.store)
    assert (row.connection, row.scope, row.id, row.url) == ("acme", "account", done.id, there["url"])
    assert len(made.secrets()) == 1


def test_enabling_again_brings_it_up_to_date_and_keeps_the_secret(acme: Any) -> None:
    made = acme()
    first = made.enable(HOST)["account"]
    secrets = made.secrets()
    made.shop.make(f"/v1/webhook_endpoints/{first.id}", disabled="true", **{"enabled_events[]": "*"})
    again = made.enable("http://other.example/below/")["account"]
    assert (again.id, again.made) == (first.id, False)
    [there] = made.there().values()
    assert there["url"] == "http://other.example/below/webhooks/stripe/acme"
    assert there["status"] == "enabled"
    assert "*" not in there["enabled_events"]
    assert made.secrets() == secrets
    assert [row.url for row in stored.kept(made.store)] == [there["url"]]


def test_rotating_makes_it_anew_and_the_old_secret_holds_for_a_day(acme: Any) -> None:
    made = acme()
    first = made.enable(HOST)["account"]
    [old] = made.secrets()
    second = made.enable(HOST, rotate=True)["account"]
    assert second.id != first.id
    assert {*made.there()} == {second.id}
    assert made.secrets()[1:] == (old,)
    assert made.secrets()[0] != old
    made.store.execute("UPDATE endpoints SET made_at = made_at - 86401")
    assert old not in made.secrets()
    made.enable(HOST)
    assert [*vaults.vault(made.store).names()] == [f"webhooks/acme/account/{second.id}"]


def test_a_secret_that_was_lost_means_a_new_endpoint(acme: Any) -> None:
    made = acme()
    first = made.enable(HOST)["account"]
    made.store.execute("DELETE FROM secrets")
    assert made.enable(HOST)["account"].made
    assert len(made.there()) == 1
    assert first.id not in made.there()
    assert len(made.secrets()) == 1


def test_a_database_that_was_lost_finds_its_endpoints_again(acme: Any) -> None:
    made = acme()
    first = made.enable(HOST)["account"]
    made.store.execute("DELETE FROM endpoints")
    second = made.enable(HOST)["account"]
    assert {*made.there()} == {second.id}
    assert first.id != second.id


def test_another_server_of_the_same_account_is_left_alone(acme: Any) -> None:
    made = acme()
    first = made.enable("http://staging.example")["account"]
    made.store.execute("DELETE FROM endpoints")
    second = made.enable(HOST)["account"]
    assert {*made.there()} == {first.id, second.id}


def test_what_an_attempt_that_was_killed_left_over_goes_with_the_next_one(acme: Any) -> None:
    made = acme()
    made.enable(HOST)
    left = made.shop.make(
        "/v1/webhook_endpoints",
        url=f"{HOST}/webhooks/stripe/acme",
        enabled_events=["*"],
        metadata={"tidegate": "acme", "tidegate_hears": "account"},
    )["id"]
    done = made.enable(HOST)["account"]
    assert {*made.there()} == {done.id}
    assert left != done.id


def test_an_endpoint_that_was_removed_in_the_dashboard_is_made_again(acme: Any) -> None:
    made = acme()
    first = made.enable(HOST)["account"]
    made.shop.delete(f"/v1/webhook_endpoints/{first.id}")
    [told] = asyncio.run(endpoints.listed(made.file, made.store))
    assert "gone at Stripe" in told.status
    second = made.enable(HOST)["account"]
    assert second.made
    assert {*made.there()} == {second.id}


def test_connected_accounts_have_an_endpoint_and_a_secret_of_their_own(acme: Any) -> None:
    made = acme("all")
    done = made.enable(HOST)
    assert {*done} == {"account", "connect"}
    assert len({*made.secrets()}) == 2
    listed = acme("[acct_1]")
    assert {*listed.enable(HOST)} == {"connect"}, "and the other one is removed"
    assert {*made.there()} == {done["connect"].id}
    assert len(listed.secrets()) == 1


def test_disabling_removes_everything(acme: Any) -> None:
    made = acme("all")
    made.enable(HOST)
    assert made.disable() == 2
    assert made.there() == {}
    assert made.secrets() == ()
    assert stored.kept(made.store) == []
    assert made.disable() == 0


def test_only_one_at_a_time_changes_endpoints(acme: Any) -> None:
    made = acme()
    assert leases.take(made.store, "webhooks/acme", "another", 60)
    with pytest.raises(errors.ConfigError, match="somebody else is changing the webhooks of acme"):
        made.enable(HOST)
    assert made.there() == {}


def test_a_key_that_may_not_make_endpoints_is_told_the_permission(
    acme: Any, url: str, tmp_path: Path
) -> None:
    made = acme()
    made.shop.control("keys", {"key": "rk_test_reader1234", "scopes": ["rak_webhook_read"]})
    connection = f"{{api_key: rk_test_reader1234, api_base: '{made.shop.url}'}}"
    made.file = delivering.loaded(tmp_path, url, connection, PULLS)
    with pytest.raises(errors.PermissionMissing, match="rak_webhook_write"):
        made.enable(HOST)
    assert leases.holder(made.store, "webhooks/acme") == ""


@pytest.mark.parametrize(
    ("url", "base", "found"),
    [
        ("https://a.example", "https://api.stripe.com", "https://a.example/webhooks/stripe/acme"),
        (
            "https://a.example:8443/x/",
            "https://api.stripe.com",
            "https://a.example:8443/x/webhooks/stripe/acme",
        ),
        (
            "https://a.example/webhooks/stripe/acme",
            "https://api.stripe.com",
            "https://a.example/webhooks/stripe/acme",
        ),
        ("http://127.0.0.1:80", "http://127.0.0.1:12111", "http://127.0.0.1:80/webhooks/stripe/acme"),
    ],
)
def test_the_address_of_an_endpoint(url: str, base: str, found: str) -> None:
    assert endpoints.address(url, "acme", api_base=base) == found


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://a.example", "does not deliver to http://a.example"),
        ("https://localhost:8080", "stripe listen"),
        ("https://10.0.0.7", "the internet reaches"),
        ("https://[::1]", "the internet reaches"),
        ("https://tidegate.internal", "the internet reaches"),
        ("a.example", "is no address"),
        ("ftp://a.example", "is no address"),
        ("https://user:password@a.example", "is no address"),
        ("https://a.example/?x=1", "is no address"),
    ],
)
def test_an_address_that_stripe_never_reaches_is_refused(url: str, why: str) -> None:
    with pytest.raises(errors.ConfigError, match=why):
        endpoints.address(url, "acme")


def test_a_connection_that_is_not_there_is_told(acme: Any) -> None:
    made = acme()
    with pytest.raises(
        errors.ConfigError, match="there is no connection 'other' under `stripe:`; it has acme"
    ):
        endpoints.connection(made.file, "other")


def test_an_organisation_makes_its_endpoints_by_hand(acme: Any, url: str, tmp_path: Path) -> None:
    made = acme()
    made.file = delivering.loaded(tmp_path, url, "{api_key: sk_org_test_x, accounts: [acct_1]}")
    with pytest.raises(errors.ConfigError, match="give their secrets as `webhook_secret`"):
        made.enable("https://a.example")


def test_everything_that_happens_is_delivered_and_kept(acme: Any, door: Any) -> None:
    made = acme("all")
    made.enable(door(made))
    since = int(made.shop.control("clock", {})["now"])
    own = {made.shop.make("/v1/products", name=f"Tea {n}")["id"] for n in range(20)}
    account = made.shop.get("/v1/accounts")["data"][0]["id"]
    theirs = {made.shop.make("/v1/customers", account=account, name=f"Ada {n}")["id"] for n in range(20)}
    made.shop.control("webhooks/idle", {})
    rows = delivering.kept(made.store)
    found = {account: set() for account in ("", account)}
    for row in rows:
        found[row["account"]].add(row["event"])
    events = made.shop.get("/v1/events", limit=100, **{"created[gte]": since})["data"]
    assert {e["id"] for e in events if e["type"] == "product.created"} <= found[""]
    assert len(found[""]) >= len(own)
    assert len(found[account]) >= len(theirs)
    assert made.shop.control("stats")["webhooks"]["failed"] == 0


def test_after_rotating_what_stripe_delivers_is_kept_without_a_restart(acme: Any, door: Any) -> None:
    made = acme()
    url = door(made)
    made.enable(url)
    made.shop.make("/v1/products", name="Tea")
    made.shop.control("webhooks/idle", {})
    made.enable(url, rotate=True)
    made.shop.make("/v1/products", name="Coffee")
    made.shop.control("webhooks/idle", {})
    types = [row["type"] for row in delivering.kept(made.store)]
    assert types == ["product.created", "product.created"]


STEPS = {
    "the secret is kept": (vaults.Vault, "put"),
    "the endpoint is remembered": (stored, "remember"),
    "the old one is removed": (webhooks, "delete"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("rotate", [True, False])
def test_killed_before_any_step_and_begun_again_it_is_right(
    acme: Any, door: Any, monkeypatch: pytest.MonkeyPatch, step: str, rotate: bool
) -> None:
    made = acme()
    url = door(made)
    if rotate or step == "the old one is removed":
        made.enable(url)

    class Killed(BaseException):
        """As if the process were gone."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(*STEPS[step], die)
        with pytest.raises(Killed):
            made.enable(url, rotate=rotate or step == "the old one is removed")
    made.enable(url)
    made.store.execute("UPDATE endpoints SET made_at = made_at - 86401")
    assert len(made.there()) == 1
    assert len(made.secrets()) == 1
    asyncio.run(traffic.prove(made.file, made.store, "acme"))
    made.shop.make("/v1/products", name="Tea")
    made.shop.control("webhooks/idle", {})
    assert len(delivering.kept(made.store)) == 1


def test_a_signed_event_to_ourselves_shows_that_the_way_is_open(acme: Any, door: Any) -> None:
    made = acme()
    url = door(made)
    made.enable(url)
    assert asyncio.run(traffic.prove(made.file, made.store, "acme")) == f"{url}/webhooks/stripe/acme"
    assert delivering.kept(made.store) == []


def test_what_is_wrong_on_the_way_is_told(acme: Any, door: Any) -> None:
    made = acme()
    with pytest.raises(errors.ConfigError, match="no endpoint of acme is known"):
        asyncio.run(traffic.prove(made.file, made.store, "acme"))
    url = door(made)
    made.enable(url)
    with pytest.raises(errors.ConfigError, match=r"gave no answer .*`tidegate run` is running"):
        asyncio.run(traffic.prove(made.file, made.store, "acme", "http://127.0.0.1:9"))
    with pytest.raises(errors.ConfigError, match="answered 404: there is no such connection"):
        asyncio.run(traffic.prove(made.file, made.store, "acme", f"{url}/elsewhere"))
    made.store.execute("DELETE FROM endpoints")
    made.store.execute("DELETE FROM secrets")
    made.enable(url)
    asyncio.run(traffic.prove(made.file, made.store, "acme"))


def test_flows_hear_again_what_was_delivered_since(acme: Any) -> None:
    made = acme()
    store = made.store
    for n in range(5):
        deliveries.keep(store, [deliveries.Delivery("acme", "", f"evt_{n}", "product.created", 1, "{}")])
    assert deliveries.begin(store, "pull:some", "acme") == 5
    store.execute("UPDATE deliveries SET received_at = received_at - 7200 WHERE event IN ('evt_0', 'evt_1')")
    assert traffic.replay(made.file, store, "acme", 3600) == {"pull:some": 3}
    assert [d.event for d in deliveries.after(store, "acme", deliveries.heard(store, "pull:some") or 0)] == [
        "evt_2",
        "evt_3",
        "evt_4",
    ]
    assert traffic.replay(made.file, store, "acme", 86_400) == {"pull:some": 5}
    assert traffic.replay(made.file, store, "acme", 0.0) == {"pull:some": 0}


def test_what_waits_is_what_a_listening_flow_has_not_committed_for_a_minute(acme: Any) -> None:
    made = acme()
    store = made.store
    assert traffic.delivered(made.file, store, "acme") == traffic.Traffic(0, None, 0)
    batch = [deliveries.Delivery("acme", "", f"evt_{n}", "product.created", 1, "{}") for n in range(4)]
    deliveries.keep(store, batch[:1])
    deliveries.begin(store, "pull:some", "acme")
    deliveries.keep(store, batch)
    assert traffic.delivered(made.file, store, "acme").waiting == 0
    store.execute("UPDATE deliveries SET received_at = received_at - 600")
    found = traffic.delivered(made.file, store, "acme")
    assert (found.kept, found.waiting) == (4, 3)
    deliveries.mark(store, "pull:some", "acme", 100)
    assert traffic.delivered(made.file, store, "acme").waiting == 0


def test_secrets_written_in_the_configuration_need_no_vault(
    store: database.Database, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(vaults.VARIABLE)
    file = delivering.loaded(tmp_path, url)
    assert endpoints.secrets(file, store, "acme") == (delivering.SECRET,)
    file = delivering.loaded(tmp_path, url, "{api_key: sk_test_x, webhook_secret: [whsec_1, whsec_2]}")
    assert endpoints.secrets(file, store, "acme") == ("whsec_1", "whsec_2")
    assert "whsec_1" not in repr(file)


def test_without_a_pull_every_type_is_asked_for(url: str, tmp_path: Path) -> None:
    file: config.Config = delivering.loaded(tmp_path, url)
    assert endpoints.types(file, "acme") == catalog.load().event_types
