"""Pipelines as flows: what they read where no pull brings it, who waits for whom, and how their runs end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flowing import KEY, serving, until
from following import Merchant

from tidegate import config, errors
from tidegate.engine import flows, piping, recorder, work
from tidegate.engine import place as places
from tidegate.store import database, leases, logs, reports, runs, ticks
from tidegate.warehouse import duckdb

LEASE = "customers/one/tidegate/customer_profiles"

Opened = Callable[..., places.Place]


@pytest.fixture
def opened(shop: Merchant, store: database.Database, tmp_path: Path) -> Opened:
    """A process with a pipeline, and whatever else its configuration says."""

    def open_one(pipeline: str = "", more: str = "") -> places.Place:
        file = tmp_path / "tidegate.yaml"
        file.write_text(
            f'stripe: {{acme: {{api_key: {KEY}, api_base: "{shop.url}", rate_limit: "off"}}}}\n'
            "warehouses:\n  one: {type: duckdb, path: one.duckdb}\n  two: {type: duckdb, path: two.duckdb}\n"
            "customer_model: {warehouse: one}\n"
            f"pipelines: {{people: {{from: acme, to: one{pipeline}}}}}\n{more}"
        )
        return places.Place(config.load(file), store, folder=tmp_path / "state")

    return open_one


def performed(place: places.Place, name: str = "pipeline:people", **options: Any) -> runs.Run:
    """A run of a flow, done here."""
    run = runs.queue(place.store, runs.new_id(), name, "manual", options=options)
    begun = runs.begin(place.store, run.id, place.worker)
    assert begun is not None
    asyncio.run(work.perform(place, begun))
    return runs.get(place.store, begun.id)


def customers(folder: Path) -> set[str]:
    """The customers of the model."""
    with contextlib.closing(duckdb.DuckDB(folder / "one.duckdb", "tidegate")) as model:
        batches = model.read("SELECT customer_id FROM tidegate_live.customer_profiles")
        return {id for batch in batches for id in batch.column(0).to_pylist()}


def test_a_stream_that_no_pull_brings_is_brought_first(
    opened: Opened, shop: Merchant, tmp_path: Path
) -> None:
    place = opened()
    run = performed(place)
    [row] = reports.read(place.store, run.id)
    ids = set(shop.ids("customers"))
    assert run.state == "ok", run.error
    assert row["read"] == row["matched"] == len(ids)
    assert (row["profiles"], row["profiles_created"]) == (len(customers(tmp_path)),) * 2
    assert customers(tmp_path) <= ids
    again = performed(place)
    assert (again.state, again.totals["read"], again.totals["profiles_changed"]) == ("ok", 0, 0)


def test_where_a_pull_brings_it_the_pipeline_only_reads(
    opened: Opened, shop: Merchant, tmp_path: Path
) -> None:
    pulls = "pulls: {all: {from: acme, to: one, streams: {customers: {table: clients}}}}\n"
    place = opened(", schedule: {after: all}", pulls)
    ticks.sync(place.store, {name: flows.text(each.schedule) for name, each in place.flows.items()}, _never)
    early = performed(place)
    assert early.state == "failed"
    assert "There is no table stripe.clients" in early.error
    assert performed(place, "pull:all").state == "ok"
    assert ticks.waiting(place.store) == ["pipeline:people"]
    asked = shop.requests()
    assert performed(place).state == "ok"
    assert shop.requests() == asked
    assert len(customers(tmp_path)) > 0


def _never(*_: object) -> None:
    return None


def test_stream_and_model_may_be_in_two_warehouses(opened: Opened, shop: Merchant, tmp_path: Path) -> None:
    place = opened(more="")
    file = tmp_path / "tidegate.yaml"
    file.write_text(file.read_text().replace("to: one", "to: two"))
    place = places.Place(config.load(file), place.store, folder=place.folder)
    first = performed(place)
    assert first.state == "ok", first.error
    assert customers(tmp_path) <= set(shop.ids("customers"))
    shop.make("/v1/customers", email="new@people.test", name="New")
    shop.later()
    assert performed(place).totals["read"] == 1
    assert performed(place).totals["read"] == 0


def test_a_continuous_pipeline_follows_what_changes(opened: Opened, shop: Merchant, tmp_path: Path) -> None:
    place = opened(", schedule: continuous")
    with serving(place):
        until(lambda: (tmp_path / "one.duckdb").exists() and _modelled(tmp_path))
        made = shop.make("/v1/customers", email="new@people.test", name="New")["id"]
        shop.later()
        until(lambda: made in customers(tmp_path))
        [run] = runs.listed(place.store, states=("running",))
        assert run.cause == "continuous"
        until(lambda: any("1 read" in line.text for line in logs.read(place.store, run.id)[0]))
    assert runs.get(place.store, run.id).state == "interrupted"


def _modelled(folder: Path) -> bool:
    with contextlib.closing(duckdb.DuckDB(folder / "one.duckdb", "tidegate")) as model:
        return bool(model.columns("customer_profiles"))


def test_pipelines_of_one_model_wait_for_each_other(opened: Opened) -> None:
    place = opened()
    assert leases.take(place.store, LEASE, "somebody", 60.0)
    found: list[runs.Run] = []
    beside = threading.Thread(target=lambda: found.append(performed(place)))
    beside.start()
    [run] = until(lambda: runs.listed(place.store, states=("running",)))
    said = "another pipeline writes the customer model; this one waits for it"
    until(lambda: any(line.text == said for line in logs.read(place.store, run.id)[0]))
    leases.leave(place.store, LEASE, "somebody")
    beside.join()
    assert [each.state for each in found] == ["ok"]
    assert leases.holder(place.store, LEASE) == ""


def test_what_the_guard_holds_waits_for_a_person_and_nothing_follows(
    opened: Opened, shop: Merchant, tmp_path: Path
) -> None:
    shop.control("reset", {"counts": {"customers": 60}, "only": ["customers"]})
    assert performed(opened()).state == "ok"
    there = customers(tmp_path)
    place = opened(", filter: {field: email, op: is, value: nobody@people.test}")
    held = performed(place)
    assert held.state == "partial"
    assert "would leave the model" in held.error
    assert customers(tmp_path) == there
    done = performed(place, approve=True)
    assert (done.state, customers(tmp_path)) == ("ok", set())


def test_rows_in_quarantine_make_a_run_partial(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("def transform(customer):\n    raise ValueError(customer['email'])\n")
    place = opened(", function: {python: f.py}")
    run = performed(place)
    assert run.state == "partial"
    assert run.error.endswith("rows are in quarantine; `tidegate pipeline failures people` lists why.")
    assert run.totals["failed"] == run.totals["quarantined"] == run.totals["read"]
    told = " ".join(line.text for line in logs.read(place.store, run.id)[0])
    assert "@" not in told


def test_what_can_never_work_is_a_failed_run(opened: Opened, tmp_path: Path) -> None:
    bad = performed(opened(", filter: {field: emial, op: exists}"))
    assert bad.state == "failed"
    assert bad.error == "pipeline people: the filter names emial, which is not there; did you mean email?"
    lake = opened()
    file = tmp_path / "tidegate.yaml"
    file.write_text(
        file.read_text().replace("two: {type: duckdb, path: two.duckdb}", "lake: {type: parquet, path: l}")
    )
    file.write_text(
        file.read_text().replace("customer_model: {warehouse: one}", "customer_model: {warehouse: lake}")
    )
    lake = places.Place(config.load(file), lake.store, folder=lake.folder)
    assert "cannot" in performed(lake).error


def test_one_that_is_not_enabled_is_no_flow(opened: Opened) -> None:
    place = opened(", enabled: false")
    assert "pipeline:people" not in place.flows
    begun = runs.queue(place.store, runs.new_id(), "pipeline:people", "manual")
    with pytest.raises(errors.ConfigError, match="is not enabled"):
        asyncio.run(piping.perform(place, "people", begun, recorder.Recorder(place.store, begun, "me")))


def test_accounts_of_other_connections_are_left_alone(opened: Opened, tmp_path: Path) -> None:
    place = opened()
    file = tmp_path / "tidegate.yaml"
    text = file.read_text().replace("}}\nwarehouses", "}, other: {api_key: sk_test_other123456}}\nwarehouses")
    file.write_text(text + "pulls: {others: {from: other, to: one}}\n")
    place = places.Place(config.load(file), place.store, folder=place.folder)
    run = performed(place)
    assert "nothing says which accounts are those of acme" in run.error
