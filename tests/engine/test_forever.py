"""Runs that end before their end, or have none: what they did stays known, in both databases."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import stalled
from flowing import KEY, serving, until, written
from following import Merchant, ids
from pulling import query

from tidegate import config, sandbox
from tidegate.engine import place as places
from tidegate.engine import pulls, recorder
from tidegate.pull import doing
from tidegate.store import database, reports, runs
from tidegate.stripe import client

ENDLESS = "  endless: {from: acme, to: one, schedule: continuous, streams: {customers: {}, products: {}}}"
MANY = 3_000
LARGE = "  large: {from: acme, to: one, streams: {customers: {}}}"


LONG = LARGE.replace("from:", "schedule: continuous, from:")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulls without end follow one another at once, and tell at once."""
    monkeypatch.setattr(pulls, "POLLED", 0.1)
    monkeypatch.setattr(doing, "SHOWN", 0.05)
    monkeypatch.setattr(recorder, "REPORTED", 0.0)


@pytest.fixture
def stalling(shop: Merchant, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Of many customers, some come; the others once this is set."""
    shop.control("reset", {"counts": {"customers": MANY}, "only": ["customers"]})
    opened = threading.Event()
    monkeypatch.setattr(client.Client, "get", stalled.stalled(opened))
    return opened


def reported(place: places.Place, run: runs.Run) -> dict[str, tuple[Any, ...]]:
    """Rows inserted, updated and deleted, by stream."""
    found = reports.read(place.store, run.id)
    return {
        each["stream"]: tuple(each[name] for name in ("inserted", "updated", "deleted")) for each in found
    }


def beside(file: Path, run: runs.Run) -> dict[str, tuple[Any, ...]]:
    """The same as it stands beside the data."""
    found = query(
        file,
        "select stream, rows_inserted, rows_updated, rows_deleted from stripe._tidegate_runs "
        f"where run_id = '{run.id}'",
    )
    return {each["stream"]: tuple(list(each.values())[1:]) for each in found}


@pytest.mark.usefixtures("quick")
def test_a_run_without_end_tells_while_it_goes_on_and_when_it_is_cancelled(
    placed: Any, shop: Merchant, tmp_path: Path
) -> None:
    place, file = placed(ENDLESS), tmp_path / "one.duckdb"
    customers, products = len(shop.ids("customers")), len(shop.ids("products"))
    with serving(place):
        [run] = until(lambda: runs.listed(place.store, states=("running",)))
        until(lambda: reported(place, run).get("customers") == (customers, 0, 0))
        made = [shop.make("/v1/customers", name=name)["id"] for name in ("Ada", "Grace", "Hedy")]
        until(lambda: reported(place, run).get("customers") == (customers + 3, 0, 0))
        shop.make(f"/v1/customers/{made[0]}", name="Ada L.")
        shop.delete(f"/v1/customers/{made[1]}")
        until(lambda: reported(place, run).get("customers") == (customers + 3, 1, 1))
        changed = customers + 4 + products
        until(lambda: runs.get(place.store, run.id).progress.get("written") == changed)
        runs.cancel(place.store, run.id, "a test")
        until(lambda: not runs.get(place.store, run.id).alive)
    assert runs.get(place.store, run.id).state == "cancelled"
    whole = {"customers": (customers + 3, 1, 1), "products": (products, 0, 0)}
    assert reported(place, run) == whole
    assert beside(file, run) == whole
    [told] = [each for each in reports.read(place.store, run.id) if each["stream"] == "customers"]
    assert told["status"] == "ok"
    assert told["bytes"] > 0
    assert told["from_version"] < told["to_version"]


def test_a_run_without_end_whose_process_stops_keeps_what_it_had_done(
    placed: Any, shop: Merchant, tmp_path: Path
) -> None:
    place, file = placed(ENDLESS), tmp_path / "one.duckdb"
    with serving(place):
        [run] = until(lambda: runs.listed(place.store, states=("running",)))
        until(lambda: runs.get(place.store, run.id).progress.get("written"))
    assert runs.get(place.store, run.id).state == "interrupted"
    whole = {name: (len(shop.ids(name)), 0, 0) for name in ("customers", "products")}
    assert reported(place, run) == beside(file, run) == whole


@pytest.mark.usefixtures("quick")
def test_a_run_without_end_tells_what_its_first_pull_has_done_so_far(
    placed: Any, shop: Merchant, stalling: threading.Event, tmp_path: Path
) -> None:
    place, file = placed(LONG), tmp_path / "one.duckdb"
    with serving(place):
        [run] = until(lambda: runs.listed(place.store, states=("running",)))
        [told] = until(lambda: [each for each in reports.read(place.store, run.id) if each["written"]])
        assert told["inserted"] < MANY
        assert (told["status"], told["error"]) == ("partial", "not read to its end yet")
        assert 0 < until(lambda: runs.get(place.store, run.id).progress.get("written")) < MANY
        stalling.set()
        [told] = until(lambda: [each for each in reports.read(place.store, run.id) if each["status"] == "ok"])
        assert (told["read"], told["inserted"], told["error"]) == (MANY, MANY, None)
        shop.make("/v1/customers", name="Ada")
        until(lambda: runs.get(place.store, run.id).progress.get("written") == MANY + 1)
    assert reported(place, run) == beside(file, run) == {"customers": (MANY + 1, 0, 0)}
    assert runs.get(place.store, run.id).totals["written"] == MANY + 1


@pytest.mark.usefixtures("quick", "stalling")
@pytest.mark.parametrize("pulls", [LARGE, LONG], ids=["once", "without end"])
def test_a_pull_that_is_cancelled_in_the_middle_keeps_what_it_had_done(
    pulls: str, placed: Any, tmp_path: Path
) -> None:
    place, file = placed(pulls), tmp_path / "one.duckdb"
    if pulls == LARGE:
        runs.queue(place.store, runs.new_id(), "pull:large", "manual")
    with serving(place):
        [run] = until(lambda: runs.listed(place.store, states=("running",)))
        until(lambda: runs.get(place.store, run.id).progress.get("written"))
        runs.cancel(place.store, run.id, "a test")
        until(lambda: not runs.get(place.store, run.id).alive)
    assert runs.get(place.store, run.id).state == "cancelled"
    stored = len(ids(file, "customers"))
    assert 0 < stored < MANY
    assert reported(place, run) == beside(file, run) == {"customers": (stored, 0, 0)}
    assert runs.get(place.store, run.id).totals["written"] == stored
    [told] = reports.read(place.store, run.id)
    assert (told["status"], told["error"]) == ("partial", "not read to its end: the run was stopped")


@pytest.mark.usefixtures("quick")
def test_a_run_that_fails_for_good_tells_what_it_did_before(store: database.Database, tmp_path: Path) -> None:
    with sandbox.process(objects=30) as url:
        shop, file = Merchant(url), tmp_path / "one.duckdb"
        place = places.Place(config.load(written(tmp_path, url, ENDLESS)), store)
        with serving(place):
            [run] = until(lambda: runs.listed(place.store, states=("running",)))
            until(lambda: runs.get(place.store, run.id).progress.get("written"))
            whole = {name: (len(shop.ids(name)), 0, 0) for name in ("customers", "products")}
            shop.control("keys/revoke", {"key": KEY})
            until(lambda: not runs.get(place.store, run.id).alive)
    assert runs.get(place.store, run.id).state == "failed"
    assert reported(place, run) == beside(file, run) == whole
