"""Rows and progress are cut together and committed together."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from tidegate import catalog, errors
from tidegate.pull import load, report, scope
from tidegate.rows import arrow
from tidegate.warehouse import base, duckdb

STREAM = catalog.load().streams["customers"]


def target() -> load.Target:
    return scope.target(STREAM, "acct_1", scope.Options())


def piece(to: load.Target, *ids: str, version: int = 100) -> load.Piece:
    objects = [{"id": id, "object": "customer", "created": 1, "name": id.upper()} for id in ids]
    page = to.decoder.page(
        json.dumps({"object": "list", "data": objects, "has_more": False, "url": "/"}).encode()
    )
    return load.Piece(to, arrow.Part(page.rows, version), 100)


def ids(warehouse: base.Warehouse) -> list[str]:
    found = warehouse.read("select id from stripe.customers order by id")
    return [id for batch in found for id in batch.column(0).to_pylist()]


@pytest.fixture
def warehouse(tmp_path: Path) -> duckdb.DuckDB:
    made = duckdb.DuckDB(tmp_path / "w.duckdb", wait=5)
    made.prepare([target().table])
    return made


def test_rows_and_their_mark_arrive_together(warehouse: duckdb.DuckDB) -> None:
    to = target()

    async def pull() -> None:
        loader = load.Loader(warehouse)
        loader.add([piece(to, "cus_1", "cus_2")], "backfill/acct_1/customers", lambda: "here")
        await loader.finish()

    asyncio.run(pull())
    assert ids(warehouse) == ["cus_1", "cus_2"]
    assert warehouse.state("backfill/") == {"backfill/acct_1/customers": "here"}
    assert (to.outcome.read, to.outcome.written) == (2, 2)


def test_a_mark_says_what_is_true_when_the_batch_is_cut(warehouse: duckdb.DuckDB) -> None:
    """Two readers of one list share a mark: whoever adds last, it tells of both."""
    position = {"at": "start"}

    async def pull() -> None:
        loader = load.Loader(warehouse)
        loader.add([piece(target(), "cus_1")], "walk", lambda: position["at"])
        position["at"] = "behind cus_2"
        loader.add([piece(target(), "cus_2")], "walk", lambda: position["at"])
        await loader.finish()

    asyncio.run(pull())
    assert warehouse.state("walk") == {"walk": "behind cus_2"}


class Refusing:
    """A warehouse whose load fails, and which counts how often it was asked."""

    kind, schema = "duckdb", "stripe"

    def __init__(self, error: errors.WarehouseError) -> None:
        self.error = error
        self.asked = 0

    def load(
        self, _loads: Sequence[base.Load], _state: Mapping[str, str | None], _fence: base.Fence | None = None
    ) -> list[base.Loaded]:
        self.asked += 1
        raise self.error

    def read(self, _sql: str, _parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        raise self.error


def test_after_a_refusal_nothing_more_is_tried_and_everybody_is_told() -> None:
    warehouse = Refusing(errors.WarehouseFull("The disk is full."))

    async def pull() -> None:
        loader = load.Loader(warehouse)  # type: ignore[arg-type]
        loader.add([piece(target(), "cus_1")])
        with pytest.raises(errors.WarehouseFull):
            await loader.finish()
        with pytest.raises(errors.WarehouseFull):
            loader.add([piece(target(), "cus_2")])
        with pytest.raises(errors.WarehouseFull):
            await loader.room()

    asyncio.run(pull())
    assert warehouse.asked == 1


class Slow:
    """A warehouse that waits until it is told to go on."""

    kind, schema = "duckdb", "stripe"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.rows: list[int] = []

    def load(
        self, loads: Sequence[base.Load], _state: Mapping[str, str | None], _fence: base.Fence | None = None
    ) -> list[base.Loaded]:
        assert self.go.wait(60)
        self.rows.append(sum(each.rows.num_rows for each in loads))
        return [base.Loaded(each.table.name, each.rows.num_rows, each.rows.num_rows, 0, 0) for each in loads]


def test_readers_wait_while_the_warehouse_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "ROWS", 10)
    warehouse = Slow()
    to = target()

    async def pull() -> int:
        loader = load.Loader(warehouse)  # type: ignore[arg-type]
        added = 0

        async def read() -> None:
            nonlocal added
            for n in range(20):
                await loader.room()
                loader.add([piece(to, *(f"cus_{n}_{i}" for i in range(5)))])
                added += 5

        reader = asyncio.create_task(read())
        for _ in range(1_000):
            await asyncio.sleep(0)
        held_back = added
        warehouse.go.set()
        await reader
        await loader.finish()
        return held_back

    assert asyncio.run(pull()) <= 3 * 10
    assert sum(warehouse.rows) == 100


def test_what_was_added_first_is_committed_first(
    monkeypatch: pytest.MonkeyPatch, warehouse: duckdb.DuckDB
) -> None:
    """Rows of a nested list go ahead of the mark that their parent's page completes."""
    monkeypatch.setattr(load, "ROWS", 1)
    seen: list[tuple[int, bool]] = []
    commit = warehouse.load

    def noted(
        loads: Sequence[base.Load], state: Mapping[str, str | None], *rest: object, **more: object
    ) -> object:
        seen.append((sum(each.rows.num_rows for each in loads), "walk" in state))
        return commit(loads, state, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(warehouse, "load", noted)

    async def pull() -> None:
        loader = load.Loader(warehouse)
        loader.add([piece(target(), "cus_child")])
        await asyncio.sleep(0.01)
        loader.add([piece(target(), "cus_parent")], "walk", lambda: "done")
        await loader.finish()

    asyncio.run(pull())
    assert sum(rows for rows, _ in seen) == 2
    assert [marked for _, marked in seen][-1] is True


def test_flush_means_that_all_so_far_can_be_read(warehouse: duckdb.DuckDB) -> None:
    """Children find their parents in the warehouse, however few they are."""

    async def pull() -> list[str]:
        loader = load.Loader(warehouse)
        loader.add([piece(target(), "cus_1")])
        await loader.flush()
        found = await asyncio.to_thread(ids, warehouse)
        await loader.finish()
        return found

    assert asyncio.run(pull()) == ["cus_1"]


def test_flush_tells_what_went_wrong() -> None:
    async def pull() -> None:
        loader = load.Loader(Refusing(errors.WarehouseFull("The disk is full.")))  # type: ignore[arg-type]
        loader.add([piece(target(), "cus_1")])
        with pytest.raises(errors.WarehouseFull):
            await asyncio.gather(loader.flush(), loader.flush())
        with pytest.raises(errors.WarehouseFull):
            await loader.finish()

    asyncio.run(pull())


def test_what_came_before_an_interrupt_is_committed(warehouse: duckdb.DuckDB) -> None:
    async def pull() -> None:
        loader = load.Loader(warehouse)
        try:
            loader.add([piece(target(), "cus_1")], "walk", lambda: "half")
            await asyncio.Event().wait()
        finally:
            await loader.finish()

    async def interrupted() -> None:
        task = asyncio.create_task(pull())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(interrupted())
    assert ids(warehouse) == ["cus_1"]
    assert warehouse.state("walk") == {"walk": "half"}


# What else is loaded than rows


def rows(warehouse: base.Warehouse) -> dict[str, tuple[str | None, int, bool]]:
    """By id: the name, the version, and whether the row is deleted."""
    found = warehouse.read("select id, name, _version, _deleted_at from stripe.customers order by id")
    return {
        row["id"]: (row["name"], row["_version"], row["_deleted_at"] is not None)
        for batch in found
        for row in batch.to_pylist()
    }


def loaded(warehouse: base.Warehouse, *batches: Sequence[load.Cargo]) -> None:
    """Commit batches one after the other."""

    async def go() -> None:
        loader = load.Loader(warehouse)
        for batch in batches:
            loader.add(batch)
            await loader.flush()
        await loader.finish()

    asyncio.run(go())


def named(to: load.Target, name: str, version: int, *, payload: bool = False) -> load.Piece:
    """One customer of this name."""
    page = to.decoder.objects([json.dumps({"id": "cus_1", "object": "customer", "name": name}).encode()])
    return load.Piece(to, arrow.Part(page, version), 100, payload=payload)


def test_state_beside_a_mark_is_committed_with_it_and_none_removes(warehouse: duckdb.DuckDB) -> None:
    async def pull() -> None:
        loader = load.Loader(warehouse)
        loader.add([], state={"tail/acct_1": "7", "dirty/acct_1/customers/cus_1": "x"})
        await loader.flush()
        loader.add(
            [piece(target(), "cus_1")],
            "walk",
            lambda: "done",
            state={"tail/acct_1": "8", "dirty/acct_1/customers/cus_1": None},
        )
        await loader.finish()

    asyncio.run(pull())
    assert warehouse.state() == {"tail/acct_1": "8", "walk": "done"}


def test_of_one_second_a_reading_stays_whichever_of_both_came_first(warehouse: duckdb.DuckDB) -> None:
    to = target()
    read, told = named(to, "Read", 7), named(to, "Told", 7, payload=True)
    for batches in ([[read, told]], [[told, read]], [[read], [told]], [[told], [read]]):
        loaded(warehouse, *batches)
        assert rows(warehouse)["cus_1"] == ("Read", 7, False)


def test_a_younger_payload_replaces_a_reading_and_an_older_one_does_not(warehouse: duckdb.DuckDB) -> None:
    to = target()
    loaded(warehouse, [named(to, "Read", 7)], [named(to, "Older", 6, payload=True)])
    assert rows(warehouse)["cus_1"] == ("Read", 7, False)
    loaded(warehouse, [named(to, "Younger", 8, payload=True)])
    assert rows(warehouse)["cus_1"] == ("Younger", 8, False)


def test_of_one_second_a_deletion_stays_whichever_came_first(warehouse: duckdb.DuckDB) -> None:
    to = target()
    gone = load.Gone(to, [("cus_1",)], 7)
    loaded(warehouse, [gone, named(to, "Read", 7)])
    assert rows(warehouse)["cus_1"][1:] == (7, True)
    loaded(warehouse, [named(to, "Read", 7)])
    assert rows(warehouse)["cus_1"][1:] == (7, True)
    loaded(warehouse, [named(to, "Made again", 8)])
    assert rows(warehouse)["cus_1"] == ("Made again", 8, False)


def test_what_was_deleted_before_it_ever_came_stays_away_until_it_is_younger(
    warehouse: duckdb.DuckDB,
) -> None:
    to = target()
    loaded(warehouse, [load.Gone(to, [("cus_1",)], 7)], [named(to, "Late", 6)])
    assert rows(warehouse) == {}
    loaded(warehouse, [named(to, "Made again", 8)])
    assert rows(warehouse)["cus_1"] == ("Made again", 8, False)


def test_an_outcome_counts_what_was_written_and_what_was_deleted(warehouse: duckdb.DuckDB) -> None:
    to = target()
    loaded(warehouse, [piece(to, "cus_1", "cus_2", "cus_3")], [load.Gone(to, [("cus_1",), ("cus_2",)], 200)])
    assert (to.outcome.read, to.outcome.written, to.outcome.deleted) == (3, 3, 2)
    loaded(warehouse, [load.Gone(to, [("cus_1",)], 200)])
    assert to.outcome.deleted == 2


def test_the_first_reason_stays() -> None:
    outcome = report.Outcome("charges", "acct_1")
    outcome.fail("no_permission", "first")
    outcome.fail("failed", "second")
    assert (outcome.status, outcome.error) == ("no_permission", "first")


def test_a_stream_is_not_enabled_when_none_of_its_lists_is() -> None:
    outcome = report.Outcome("cards", "acct_1", lists=2)
    outcome.fail("not_enabled", "no Connect")
    assert outcome.status == "ok"
    outcome.fail("not_enabled", "no customers either")
    assert (outcome.status, outcome.error) == ("not_enabled", "no customers either")


def test_a_run_is_judged_by_its_streams() -> None:
    def outcome(stream: str, status: report.Status, read: int = 0) -> report.Outcome:
        return report.Outcome(stream, "acct_1", status, read)

    fine, denied = outcome("charges", "ok"), outcome("events", "no_permission")
    absent, broken = outcome("issuing_cards", "not_enabled"), outcome("payouts", "failed")
    assert report.judge([fine], frozenset()) == "ok"
    assert report.judge([fine, denied], frozenset()) == "partial"
    assert report.judge([fine, absent], frozenset()) == "ok"
    assert report.judge([fine, absent], frozenset({"issuing_cards"})) == "partial"
    assert report.judge([fine, broken], frozenset()) == "partial"
    assert report.judge([broken, denied], frozenset()) == "failed"
    assert report.judge([absent], frozenset()) == "failed"
