"""Runs that end before their end, or have none: what they did stays known, in both databases."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flowing import KEY, written
from following import Merchant, ids
from pulling import query

from tidegate import config, sandbox
from tidegate.engine import place as places
from tidegate.engine import pool, pulls, recorder
from tidegate.store import database, runs

PATIENCE = 120.0
ENDLESS = "  endless: {from: acme, to: one, schedule: continuous, streams: {customers: {}, products: {}}}"
LARGE = "  large: {from: acme, to: one, streams: {customers: {}}}"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulls without end follow one another at once, and tell at once."""
    monkeypatch.setattr(pulls, "POLLED", 0.1)
    monkeypatch.setattr(recorder, "REPORTED", 0.0)


def until(true: Callable[[], Any]) -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def serving(place: places.Place) -> Iterator[None]:
    """A process that schedules and runs."""
    thread = threading.Thread(target=pool.serve, args=[place])
    thread.start()
    try:
        yield
    finally:
        place.stopping.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def reported(place: places.Place, run: runs.Run) -> dict[str, tuple[Any, ...]]:
    """Rows inserted, updated and deleted, by stream."""
    found = runs.reported(place.store, run.id)
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
    [told] = [each for each in runs.reported(place.store, run.id) if each["stream"] == "customers"]
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


def test_a_pull_that_is_cancelled_in_the_middle_keeps_what_it_had_done(
    placed: Any, shop: Merchant, tmp_path: Path
) -> None:
    shop.control("reset", {"counts": {"customers": 6_000}, "only": ["customers"], "latency_ms": 1_000})
    place, file = placed(LARGE), tmp_path / "one.duckdb"
    run = runs.queue(place.store, runs.new_id(), "pull:large", "manual")
    with serving(place):
        until(lambda: runs.get(place.store, run.id).progress.get("rows"))
        runs.cancel(place.store, run.id, "a test")
        until(lambda: not runs.get(place.store, run.id).alive)
    assert runs.get(place.store, run.id).state == "cancelled"
    stored = len(ids(file, "customers"))
    assert 0 < stored < 6_000
    assert reported(place, run) == beside(file, run) == {"customers": (stored, 0, 0)}
    [told] = runs.reported(place.store, run.id)
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
