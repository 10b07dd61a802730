"""What nobody tells is looked for: requests that wait for the rate budget, endpoints that Stripe has given up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import Any

import pydantic
import pytest
from flowing import PATIENCE, alongside, until
from following import Merchant

from tidegate import config
from tidegate.config import values
from tidegate.engine import alerts, endpoints, lookout, matters, work
from tidegate.engine import place as places
from tidegate.store import database, notices, runs, waits
from tidegate.store import secrets as vaults
from tidegate.stripe import pace, purse

QUICK = "  quick: {from: acme, to: one, streams: {customers: {}, coupons: {}, products: {}}}"
HOST = "http://tidegate.example"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vaults.VARIABLE, vaults.new_key())


def looking(place: places.Place) -> contextlib.AbstractContextManager[None]:
    """A thread that looks."""
    return alongside(place, alerts.serve, place.store, lambda: place.file, place.stopping)


def changed(place: places.Place, **more: Any) -> places.Place:
    """The same with another connection."""
    acme = place.file.stripe["acme"].model_copy(update=more)
    return places.Place(place.file.model_copy(update={"stripe": {"acme": acme}}), place.store)


def names(place: places.Place) -> list[str]:
    return [each.matter for each in notices.listed(place.store)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours pass in no time."""
    for name in ("LOOKED", "ASKED", "ANXIOUS"):
        monkeypatch.setattr(alerts, name, 0.05)


# The budget


@pytest.mark.usefixtures("quick")
def test_requests_that_starve_are_told_until_they_go_through(
    placed: Any, shop: Merchant, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At one request in two seconds and a half, some of a pull's wait for longer than two."""
    monkeypatch.setattr(matters, "STARVED", 2.0)
    slow = changed(placed(QUICK), rate_limit=values.RateLimit(0.5, 0.5))
    with (
        contextlib.closing(database.open_database(url)) as other,
        contextlib.closing(purse.Purse(other)) as shared,
    ):
        place = places.Place(slow.file, slow.store, purse=shared)
        run = runs.queue(place.store, runs.new_id(), "pull:quick", "manual")
        begun = runs.begin(place.store, run.id, place.worker)
        assert begun is not None
        pull = threading.Thread(target=lambda: asyncio.run(work.perform(place, begun)))
        with looking(place):
            pull.start()
            matter = f"budget/{shop.control('health')['account']}"
            until(lambda: names(place) == [matter])
            assert "have waited for" in notices.listed(place.store)[0].text
            runs.cancel(place.store, run.id, "test")
            until(lambda: names(place) == [])
            pull.join(PATIENCE)
    assert waits.known(slow.store) == {}


def test_what_another_process_waits_for_counts_too(placed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "LOOKED", 0.05)
    place = placed(QUICK)
    waits.note(place.store, "worker", {"acct_1": 400.0})
    with looking(place):
        until(lambda: names(place) == ["budget/acct_1"])
        waits.note(place.store, "worker", {})
        until(lambda: names(place) == [])


def test_nothing_is_written_while_nobody_waits_for_long(store: database.Database) -> None:
    own, asked = lookout.Waits(store, "one"), store.transact
    written: list[object] = []
    store.transact = lambda work: (written.append(work), asked(work))[1]  # type: ignore[method-assign]  # counted
    for _ in range(10):
        own.note()
    assert written == []


def test_a_pace_knows_for_how_long_its_oldest_request_waits() -> None:
    slow = pace.Pace(pace.Limits(0.1, 0.1))
    slow.whose = "acct_slow"

    async def ask() -> None:
        async with slow.slot("GET /v1/charges"):
            pass

    async def waited() -> list[float]:
        await ask()
        found = [pace.waits().get("acct_slow", 0.0)]
        tasks = [asyncio.create_task(ask()) for _ in range(3)]
        for _ in range(2):
            await asyncio.sleep(0.05)
            found.append(pace.waits()["acct_slow"])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [*found, pace.waits().get("acct_slow", 0.0)]

    before, first, second, after = asyncio.run(waited())
    assert (before, after) == (0.0, 0.0)
    assert 0.0 < first < second


# Endpoints


@pytest.fixture
def made(placed: Any) -> tuple[places.Place, str]:
    """A process, and the endpoint of its connection."""
    place: places.Place = placed(QUICK)
    [done] = asyncio.run(endpoints.enable(place.file, place.store, "acme", HOST))
    return place, done.id


@pytest.mark.usefixtures("quick")
def test_an_endpoint_that_stripe_disables_is_told_until_it_is_enabled(
    made: tuple[places.Place, str], shop: Merchant
) -> None:
    place, id = made
    with looking(place):
        assert names(place) == []
        shop.make(f"/v1/webhook_endpoints/{id}", disabled="true")
        until(lambda: names(place) == ["endpoint/acme"])
        assert "Stripe has disabled the webhook endpoint" in notices.listed(place.store)[0].text
        asyncio.run(endpoints.enable(place.file, place.store, "acme", HOST))
        until(lambda: names(place) == [])
        shop.delete(f"/v1/webhook_endpoints/{id}")
        until(lambda: names(place) == ["endpoint/acme"])
        assert "is gone at Stripe" in notices.listed(place.store)[0].text
        asyncio.run(endpoints.disable(place.file, place.store, "acme"))
        until(lambda: names(place) == [])


def test_stripe_is_asked_once_an_hour(
    made: tuple[places.Place, str], shop: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "LOOKED", 0.01)
    place, _ = made
    looks: list[object] = []
    real = alerts.look
    monkeypatch.setattr(alerts, "look", lambda *given, **more: (looks.append(more), real(*given, **more)))
    shop.control("stats/reset", {})
    with looking(place):
        until(lambda: len(looks) > 5)
    assert shop.counted() == {"GET /v1/webhook_endpoints/{webhook_endpoint}": 1}


def test_what_stripe_does_not_say_changes_nothing(made: tuple[places.Place, str], shop: Merchant) -> None:
    place, id = made
    shop.make(f"/v1/webhook_endpoints/{id}", disabled="true")
    alerts.look(place.store, place.file, endpoints=lookout.statuses(place.file, place.store))
    assert names(place) == ["endpoint/acme"]
    shop.control("keys", {"key": "rk_test_geheimnarrow12345", "scopes": ["rak_customer_read"]})
    narrow = changed(place, api_key=pydantic.SecretStr("rk_test_geheimnarrow12345"))
    away = changed(place, api_base="http://127.0.0.1:1")
    for each in (narrow, away):
        said = lookout.statuses(each.file, each.store)
        assert said == {"acme": "unknown"}
        alerts.look(each.store, each.file, endpoints=said)
        assert names(place) == ["endpoint/acme"]


def test_of_two_endpoints_the_worse_counts(placed: Any, shop: Merchant) -> None:
    place = changed(placed(QUICK), accounts="all")
    done = asyncio.run(endpoints.enable(place.file, place.store, "acme", HOST))
    assert lookout.statuses(place.file, place.store) == {"acme": "enabled"}
    shop.make(f"/v1/webhook_endpoints/{done[1].id}", disabled="true")
    assert lookout.statuses(place.file, place.store) == {"acme": "disabled"}
    shop.delete(f"/v1/webhook_endpoints/{done[0].id}")
    assert lookout.statuses(place.file, place.store) == {"acme": "missing"}


def test_without_endpoints_nobody_is_asked(store: database.Database, tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text("stripe: {acme: {api_key: sk_test_x, api_base: 'http://127.0.0.1:1'}}\n")
    assert lookout.statuses(config.load(file), store) == {}
