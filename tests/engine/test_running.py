"""Flows run by their schedules in one process: begun, recorded, cancelled, begun again."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from pathlib import Path
from typing import Any

import pytest
from flowing import KEY, serving, until, written
from following import Merchant, ids
from pulling import query

from tidegate import config, errors, sandbox
from tidegate.engine import endings, scheduler, work
from tidegate.engine import place as places
from tidegate.pull import report, retention
from tidegate.store import database, logs, reports, runs, ticks
from tidegate.warehouse import base, duckdb

QUICK = "  quick: {from: acme, to: one, schedule: every 10s, streams: {customers: {}}}"
MANUAL = "  quick: {from: acme, to: one, streams: {customers: {}, products: {}}}"
ENDLESS = "  endless: {from: acme, to: one, schedule: continuous, streams: {customers: {}, products: {}}}"


def performed(place: places.Place, flow: str, **options: Any) -> runs.Run:
    """A run of a flow, done here."""
    run = runs.queue(place.store, runs.new_id(), flow, "manual", options=options)
    begun = runs.begin(place.store, run.id, place.worker)
    assert begun is not None
    asyncio.run(work.perform(place, begun))
    return runs.get(place.store, run.id)


def texts(place: places.Place, run: runs.Run) -> list[str]:
    return [line.text for line in logs.read(place.store, run.id)[0]]


def test_a_run_is_recorded_with_what_each_table_got(placed: Any, shop: Merchant, tmp_path: Path) -> None:
    place = placed(MANUAL)
    run = performed(place, "pull:quick")
    assert run.state == "ok", run
    assert run.started_at is not None
    assert run.finished_at is not None
    assert run.queued_at <= run.started_at <= run.finished_at
    report = {table["stream"]: table for table in reports.read(place.store, run.id)}
    there = ids(tmp_path / "one.duckdb", "customers")
    assert report["customers"]["written"] == len(there) == len(shop.ids("customers"))
    assert run.totals["written"] == sum(table["written"] for table in report.values())
    assert run.totals["requests"] >= 3
    assert texts(place, run)[-1] == "ok"
    told = query(tmp_path / "one.duckdb", "select distinct run_id from stripe._tidegate_runs")
    assert told == [{"run_id": run.id}]


def test_a_flow_that_is_due_runs_and_the_next_one_follows(placed: Any) -> None:
    place = placed(QUICK)
    with serving(place):
        until(lambda: len([r for r in runs.listed(place.store) if r.state == "ok"]) >= 2)
    found = runs.listed(place.store)
    assert {run.cause for run in found} == {"schedule"}
    first, second = sorted(found, key=lambda run: run.due_at)[:2]
    assert second.due_at - first.due_at == pytest.approx(10.0)
    assert not any(run.alive for run in runs.listed(place.store))


def test_a_flow_runs_after_another_has_ended_well(placed: Any) -> None:
    place = placed(
        f"{MANUAL}\n  later: {{from: acme, to: two, schedule: {{after: quick}}, streams: {{prices: {{}}}}}}"
    )
    with serving(place):
        until(lambda: ticks.upcoming(place.store))
        assert runs.listed(place.store) == []
        runs.queue(place.store, runs.new_id(), "pull:quick", "manual")
        until(lambda: [r for r in runs.listed(place.store, flow="pull:later") if r.state == "ok"])
    assert runs.listed(place.store, flow="pull:later")[0].cause == "after"


def test_a_flow_has_one_run_at_a_time(placed: Any) -> None:
    place = placed(MANUAL)
    first = runs.queue(place.store, runs.new_id(), "pull:quick", "manual")
    with pytest.raises(errors.StoreConflict, match=f"pull:quick has a run already .{first.id}."):
        runs.queue(place.store, runs.new_id(), "pull:quick", "api")


def test_a_continuous_flow_goes_on_and_a_change_shows(placed: Any, shop: Merchant, tmp_path: Path) -> None:
    place = placed(ENDLESS)
    file = tmp_path / "one.duckdb"
    with serving(place):
        [run] = until(lambda: runs.listed(place.store, states=("running",)))
        until(lambda: "written" in " ".join(texts(place, run)))
        made = shop.make("/v1/customers", name="Ada")["id"]
        shop.later()
        until(lambda: made in ids(file, "customers"))
        assert runs.get(place.store, run.id).progress["rows"] > 0
    ended = runs.get(place.store, run.id)
    assert ended.state == "interrupted"
    assert "stopped with its process" in ended.error


def test_a_run_is_cancelled_and_what_it_committed_stays(placed: Any, tmp_path: Path) -> None:
    place = placed(ENDLESS)
    with serving(place):
        [run] = until(lambda: runs.listed(place.store, states=("running",)))
        until(lambda: "written" in " ".join(texts(place, run)))
        there = len(ids(tmp_path / "one.duckdb", "products"))
        runs.cancel(place.store, run.id, "a test")
        until(lambda: not runs.get(place.store, run.id).alive)
        assert runs.get(place.store, run.id).state == "cancelled"
        assert len(ids(tmp_path / "one.duckdb", "products")) == there
        time.sleep(0.2)
        assert runs.alive(place.store, "pull:endless") is None, "it stays cancelled"


def test_a_queued_run_that_is_cancelled_never_begins(placed: Any) -> None:
    place = placed(MANUAL)
    run = runs.queue(place.store, runs.new_id(), "pull:quick", "manual")
    assert runs.cancel(place.store, run.id, "a test").state == "cancelled"
    assert runs.begin(place.store, run.id, place.worker) is None


def test_a_wrong_key_is_a_failed_run_with_its_reason(store: database.Database, tmp_path: Path) -> None:
    with sandbox.process(objects=5) as url:
        place = places.Place(config.load(written(tmp_path, url, MANUAL)), store)
        Merchant(url).control("keys/revoke", {"key": KEY})
        run = performed(place, "pull:quick")
    assert run.state == "failed"
    assert "rejected the key" in run.error
    assert KEY[8:] not in run.error + str(texts(place, run))


def test_a_flow_that_left_the_configuration_says_so(placed: Any) -> None:
    place = placed(MANUAL)
    run = performed(place, "pull:gone")
    assert (run.state, run.error) == ("failed", "pull:gone is not in the configuration any more.")


def test_a_run_whose_worker_is_gone_is_interrupted_and_the_worker_hears_of_it(placed: Any) -> None:
    place = placed(MANUAL)
    run = runs.queue(place.store, runs.new_id(), "pull:quick", "manual")
    assert runs.begin(place.store, run.id, "gone:1") is not None
    place.store.execute("UPDATE runs SET seen_at = {now} - 120")
    scheduler.Scheduler(place).turn()
    assert runs.get(place.store, run.id).state == "interrupted"
    assert runs.beat(place.store, run.id, "gone:1", {}) is None
    assert not runs.end(place.store, run.id, "gone:1", "ok")
    assert runs.get(place.store, run.id).state == "interrupted"


def test_a_full_refresh_can_be_asked_for(placed: Any, shop: Merchant) -> None:
    place = placed(MANUAL)
    performed(place, "pull:quick")
    shop.later()
    shop.counted()
    performed(place, "pull:quick")
    assert "GET /v1/customers" not in shop.counted()
    performed(place, "pull:quick", full_refresh=True)
    assert shop.counted()["GET /v1/customers"] >= 1


def test_a_pull_that_is_shared_also_removes_what_is_kept_no_longer(
    store: database.Database, tmp_path: Path
) -> None:
    with sandbox.process(objects=10, accounts=3) as url:
        file = written(tmp_path, url, MANUAL.replace("to: one,", "to: one, retention: {runs: 1d},"))
        file.write_text(file.read_text().replace("api_key:", "accounts: all, api_key:"))
        place = places.Place(config.load(file), store)
        first = performed(place, "pull:quick")
        assert first.state == "ok", first.error
        warehouse = duckdb.DuckDB(tmp_path / "one.duckdb")
        long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=3)
        old = [report.Outcome("customers", "acct_old")]
        forgotten = dict.fromkeys(warehouse.state(retention.STATE))  # that it was done today
        rows = report.rows("run_old", long_ago, long_ago, old)
        warehouse.load([base.Load(report.RUNS, rows)], forgotten)
        warehouse.close()
        assert performed(place, "pull:quick").state == "ok"
    told = query(tmp_path / "one.duckdb", "select distinct account from stripe._tidegate_runs")
    assert "acct_old" not in {row["account"] for row in told}
    assert len(told) == 4


def test_a_run_that_is_stopped_at_its_very_end_is_noted(placed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes when the work is done, and its keeper is just being ended."""
    place = placed(MANUAL)
    run = runs.queue(place.store, runs.new_id(), "pull:quick", "manual")
    begun = runs.begin(place.store, run.id, place.worker)
    assert begun is not None
    ending = asyncio.Event()

    async def keep(*_: object) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            ending.set()
            await asyncio.sleep(0.1)

    async def doing(_: object) -> endings.Ending:
        return endings.Ending("ok")

    async def main() -> None:
        performing = asyncio.create_task(work.perform(place, begun, doing))
        await ending.wait()
        performing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await performing

    monkeypatch.setattr(work, "_keep", keep)
    asyncio.run(main())
    assert runs.get(place.store, run.id).state == "ok"


def test_a_known_error_of_work_that_was_stopped_is_no_internal_error(
    placed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    place = placed(MANUAL)
    run = runs.queue(place.store, runs.new_id(), "pull:quick", "manual")
    begun = runs.begin(place.store, run.id, place.worker)
    assert begun is not None
    started = asyncio.Event()

    async def doing(_: object) -> endings.Ending:
        started.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            raise errors.WarehouseError("The warehouse went away.") from None
        return endings.Ending("ok")

    async def main() -> None:
        performing = asyncio.create_task(work.perform(place, begun, doing))
        await started.wait()
        performing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await performing

    asyncio.run(main())
    assert runs.get(place.store, run.id).state == "interrupted"
    assert [each for each in caplog.records if each.exc_info] == []
