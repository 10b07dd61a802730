"""A key that Stripe refuses: its flows rest, one matter says why, and all goes on from where it stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import servers
from flowing import KEY, written
from following import Merchant, gone, ids

from tidegate.engine import alerts, consents, live, refusals, scheduler, work
from tidegate.engine import place as places
from tidegate.store import database, notices, runs

OLD = "rk_test_geheimold987654321"
PULLS = (
    "  quick: {from: acme, to: one, schedule: every 1h, streams: {customers: {}}}\n"
    "  endless: {from: acme, to: two, schedule: continuous, streams: {products: {}}}\n"
    "  byhand: {from: acme, to: one, streams: {prices: {}}}\n"
)
MONTH = 35 * 86_400


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/tidegate.db" if request.param == "sqlite" else servers.new_postgres()


@pytest.fixture
def place(shop: Merchant, store: database.Database, tmp_path: Path) -> places.Place:
    """A process whose connection has a key of its own, which can be taken away from it."""
    shop.control("keys", {"key": OLD, "scopes": None})
    file = written(tmp_path, shop.url, PULLS)
    file.write_text(file.read_text().replace(KEY, OLD))
    return places.Place(live.Live(file, store), store)


def mend(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(file.read_text().replace(OLD, KEY))


def due(place: places.Place, flow: str = "pull:quick") -> None:
    """The next tick of a flow comes now."""
    place.store.execute("UPDATE ticks SET next_at = {now} - 1 WHERE flow = :flow", {"flow": flow})


def performed(place: places.Place, flow: str = "pull:quick") -> runs.Run:
    """What the scheduler has queued of a flow, done here."""
    run = runs.alive(place.store, flow)
    assert run is not None, "nothing was queued"
    begun = runs.begin(place.store, run.id, place.worker)
    assert begun is not None
    asyncio.run(work.perform(place, begun))
    return runs.get(place.store, run.id)


def told(place: places.Place) -> list[str]:
    return [each.matter.rpartition("/")[0] for each in notices.listed(place.store, kinds=refusals.KINDS)]


@pytest.mark.parametrize("away", [3600, MONTH], ids=["an hour", "longer than events are kept"])
@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
def test_flows_rest_until_the_key_is_another_and_nothing_is_skipped(
    place: places.Place, shop: Merchant, tmp_path: Path, away: int
) -> None:
    looks = scheduler.Scheduler(place)
    looks.begin()
    due(place)
    looks.turn()
    assert performed(place).state == "ok"
    shop.control("keys/revoke", {"key": OLD})
    due(place)
    looks.turn()
    failed = performed(place)
    assert (failed.state, told(place)) == ("failed", ["key/acme"])
    for _ in range(3):
        due(place)
        looks.turn()
        assert runs.alive(place.store, "pull:quick") is None
    resting = refusals.resting(place.file, place.store)
    assert list(resting) == ["pull:quick", "pull:endless"], "what is begun by hand is up to who begins it"
    assert "acme: Stripe rejected the key" in resting["pull:quick"]
    assert "Its pulls and pushes rest: give it another key" in resting["pull:quick"]
    assert OLD[8:-4] not in resting["pull:quick"]

    dropped = shop.ids("customers")[0]
    made = shop.make("/v1/customers", email="new@people.test")["id"]
    shop.delete(f"/v1/customers/{dropped}")
    shop.later(away)
    mend(tmp_path)
    looks.turn()
    assert performed(place).state == "ok", "the ticks that waited are one run"
    assert made in ids(tmp_path / "one.duckdb", "customers")
    assert dropped in gone(tmp_path / "one.duckdb", "customers")
    assert ids(tmp_path / "one.duckdb", "customers") == sorted(shop.ids("customers"))
    alerts.look(place.store, place.file)
    assert told(place) == []


def test_a_continuous_flow_is_not_begun_either(place: places.Place, shop: Merchant, tmp_path: Path) -> None:
    shop.control("keys/revoke", {"key": OLD})
    looks = scheduler.Scheduler(place)
    looks.begin()
    looks.turn()
    assert performed(place, "pull:endless").state == "failed"
    place.store.execute("UPDATE runs SET finished_at = finished_at - 100000")
    looks.turn()
    assert runs.alive(place.store, "pull:endless") is None
    mend(tmp_path)
    looks.turn()
    assert runs.alive(place.store, "pull:endless") is not None


def test_stripe_is_asked_whether_it_takes_the_key_again(place: places.Place, shop: Merchant) -> None:
    assert refusals.ask(place.file, place.store) is False, "nothing was refused"
    shop.control("keys/revoke", {"key": OLD})
    run = runs.queue(place.store, runs.new_id(), "pull:quick", "manual")
    assert performed(place).id == run.id
    assert refusals.ask(place.file, place.store) is True
    assert told(place) == ["key/acme"]
    shop.control("keys", {"key": OLD, "scopes": []})
    assert refusals.ask(place.file, place.store) is False, "a key that may do nothing is taken all the same"
    assert told(place) == []
    assert refusals.resting(place.file, place.store) == {}


def test_a_run_by_hand_that_goes_well_ends_it(place: places.Place, shop: Merchant) -> None:
    shop.control("keys/revoke", {"key": OLD})
    runs.queue(place.store, runs.new_id(), "pull:quick", "manual")
    performed(place)
    shop.control("keys", {"key": OLD, "scopes": None})
    runs.queue(place.store, runs.new_id(), "pull:quick", "manual")
    assert performed(place).state == "ok"
    assert told(place) == []


def test_an_account_that_takes_its_sign_in_back_rests_until_it_signs_in_again(
    shop: Merchant, store: database.Database, tmp_path: Path
) -> None:
    file = written(tmp_path, shop.url, PULLS)
    app = "oauth: {client_id: ca_1, client_secret: sk_test_platform1, account: acct_1, access_token: %s}"
    file.write_text(file.read_text().replace(f"api_key: {KEY}", app % KEY))
    place = places.Place(live.Live(file, store), store)
    body = b'{"account": "acct_1", "data": {"object": {"id": "ca_1"}}}'
    assert consents.withdrawn(place.file, store, body) == ["acme"]
    assert set(refusals.resting(place.file, store)) == {"pull:quick", "pull:endless"}
    looks = scheduler.Scheduler(place)
    looks.begin()
    looks.turn()
    assert runs.listed(store) == []
    consents.given(place.file, store, "acme")
    looks.turn()
    assert [each.flow for each in runs.listed(store)] == ["pull:endless"]


def test_without_anybody_signed_in_it_is_one_matter_and_no_failing_runs(
    shop: Merchant, store: database.Database, tmp_path: Path
) -> None:
    file = written(tmp_path, shop.url, PULLS)
    text = file.read_text()
    app = "oauth: {client_id: ca_1, client_secret: sk_test_platform1}"
    file.write_text(text.replace(f"api_key: {KEY}", app))
    place = places.Place(live.Live(file, store), store)
    looks = scheduler.Scheduler(place)
    looks.begin()
    due(place)
    looks.turn()
    assert runs.listed(store) == []
    alerts.look(store, place.file)
    alerts.look(store, place.file)
    [notice] = notices.listed(store, kinds=refusals.KINDS)
    assert notice.matter == "sign_in/acme/none"
    assert "nobody is signed in over this connection. Its pulls and pushes rest: sign in" in notice.text
    file.write_text(text)
    place.look()
    alerts.look(store, place.file)
    assert notices.listed(store, kinds=refusals.KINDS) == []
