"""From rows of streams to profiles: records, their resolution and the merge, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import fleet
import pyarrow as pa
import pytest
from merged import DAY, START, model

from tidegate import warehouse as warehouses
from tidegate.customers import identity, merging, names, records, rules
from tidegate.shape import profile
from tidegate.warehouse import base, scripts

TOLD = model("eu", email="string", phone="string", plan="string", tags="array").model_copy(
    update={"identifiers": ("email", "phone")}
)


class Model:
    """A model that is brought up to date as a run does it."""

    def __init__(self, warehouse: base.Warehouse) -> None:
        self.warehouse, self.names, self.model = warehouse, names.Names(), profile.of(TOLD)
        tables = [*records.tables(self.names, self.model), merging.table(self.names, self.model)]
        warehouse.prepare([*tables, *self.names.kept])
        self.day = 0

    def read(
        self, pipeline: str, matched: Mapping[str, Mapping[str, Any]], gone: tuple[str, ...] = ()
    ) -> None:
        """Have a pipeline read rows, by their ids, and see that some are gone."""
        count = len(matched)
        self.day += 1
        own = {
            "_account_id": pa.array(["acct_1"] * count, pa.string()),
            "source_id": pa.array(matched, pa.string()),
            "_version": pa.array([self.day] * count, pa.int64()),
        }
        said = {
            field.name: pa.array([each.get(field.name) for each in matched.values()], field.type)
            for field in self.model.schema
        }
        seen = {
            "_synced_at": pa.array([START] * count, names.MOMENT),
            "outcome": pa.array(["matched"] * count),
        }
        lost = {"_account_id": ["acct_1"] * len(gone), "source_id": list(gone)}
        batch = records.Batch(
            pipeline,
            "1",
            pa.table(own | seen).cast(records.SEEN),
            pa.table(own | said),
            pa.table(lost, schema=records.GONE),
        )
        step = records.step(self.warehouse, self.names, self.model, batch, START + self.day * DAY)
        self.warehouse.load(step.loads, {})

    def refresh(self) -> merging.Merged:
        """Resolve what waits, and merge what that touches."""
        now = START + self.day * DAY

        def work(script: scripts.Script) -> merging.Merged:
            waiting = script.name(records.unresolved(self.names).name)
            identity.resolve(script, self.names, rules.Rules.of(TOLD), waiting, now)
            return merging.merge(
                script, self.warehouse.kind, self.names, self.model, now, primary_source=TOLD.primary_source
            )

        merged = cast(scripts.Scripted, self.warehouse).scripted(work)
        waiting = f'SELECT record FROM "{self.warehouse.schema}"."{records.unresolved(self.names).name}"'
        changed = [row["record"] for batch in self.warehouse.read(waiting) for row in batch.to_pylist()]
        if changed:
            self.warehouse.load([records.settled(self.names, pa.table({"record": changed}))], {})
        return merged

    def profiles(self) -> list[tuple[Any, ...]]:
        """E-mail, plan and number of records of the customers that there are."""
        live = f'SELECT email, plan, sources FROM "{self.warehouse.schema}_live"."customer_profiles"'
        rows = [tuple(row.values()) for batch in self.warehouse.read(live) for row in batch.to_pylist()]
        return sorted(rows, key=str)


@pytest.fixture(params=("duckdb", "postgres", "mysql"))
def customers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """An empty model."""
    warehouse = warehouses.open_url(fleet.url(request.param, tmp_path_factory.mktemp(request.param), 1))
    yield Model(warehouse)
    warehouse.close()


def test_rows_of_two_pipelines_become_customers_and_leave_again(customers: Model) -> None:
    customers.read("eu", {"a": {"email": "Jane@x.io", "plan": "pro"}, "b": {"email": "bob@x.io"}})
    customers.read("us", {"c": {"email": "jane@x.io", "phone": "+1 212 5550100", "plan": "free"}})
    assert customers.refresh() == merging.Merged(2, 0, 0)
    jane = ("Jane@x.io", "pro", 2)  # its primary source is the first pipeline, though the other is newer
    assert customers.profiles() == [jane, ("bob@x.io", None, 1)]
    assert customers.refresh() == merging.Merged(0, 0, 0)

    customers.read("eu", {"b": {"email": "bob@x.io", "phone": "+12125550100"}})  # now they share a number
    assert customers.refresh() == merging.Merged(0, 1, 1)
    assert [sources for _, _, sources in customers.profiles()] == [3]

    customers.read("us", {}, gone=("c",))  # what linked them left
    assert customers.refresh() == merging.Merged(0, 2, 0)
    assert customers.profiles() == [("Jane@x.io", "pro", 1), ("bob@x.io", None, 1)]

    customers.read("eu", {}, gone=("a", "b"))
    assert customers.refresh() == merging.Merged(0, 0, 2)
    assert customers.profiles() == []
