"""Records, identifiers and progress of a pipeline: what a batch changes, and that a kill loses none of it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import fleet
import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from merged import DAY, START, model

from tidegate import config, errors
from tidegate import warehouse as warehouses
from tidegate.customers import names, records
from tidegate.shape import profile
from tidegate.warehouse import base

NAMES = names.Names()
TOLD = model(email="string", phone="string", size="integer", vip="boolean", address="json").model_copy(
    update={"identifiers": ("email", "phone")}
)


@pytest.fixture(params=("duckdb", "postgres", "mysql"))
def warehouse(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[base.Warehouse]:
    """A warehouse with the tables of the model."""
    opened = warehouses.open_url(fleet.url(request.param, tmp_path_factory.mktemp(request.param), 1))
    opened.prepare(records.tables(NAMES, profile.of(TOLD)))
    yield opened
    opened.close()


class Pipeline:
    """A pipeline whose batches a test makes itself."""

    def __init__(
        self, warehouse: base.Warehouse, told: config.CustomerModel = TOLD, name: str = "eu"
    ) -> None:
        self.warehouse, self.model, self.name = warehouse, profile.of(told), name

    def run(
        self,
        matched: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        filtered: Sequence[str] = (),
        failed: Sequence[str] = (),
        gone: Sequence[str] = (),
        version: int = 1,
        day: int = 0,
        commit: bool = True,
    ) -> records.Step:
        """Write what a batch changes, and what it says about it."""
        matched = matched or {}
        ids = [*matched, *filtered, *failed]
        outcomes = ["matched"] * len(matched) + ["filtered"] * len(filtered) + ["failed"] * len(failed)
        moments = pa.array([START + day * DAY] * len(ids), names.MOMENT)
        seen = pa.table([*keys(ids, version), moments, pa.array(outcomes, pa.string())], schema=records.SEEN)
        columns = {
            field.name: pa.array([each.get(field.name) for each in matched.values()], field.type)
            for field in self.model.schema
        }
        account, own, versions = keys(list(matched), version)
        rows = pa.table({"_account_id": account, "source_id": own, "_version": versions, **columns})
        lost = pa.table(keys(gone, version)[:2], schema=records.GONE)
        batch = records.Batch(self.name, "shape 1", seen, rows, lost)
        step = records.step(self.warehouse, NAMES, self.model, batch, START + day * DAY)
        if commit:
            self.warehouse.load(step.loads, {})
        return step

    def stored(self, *ids: str) -> dict[str, dict[str, Any]]:
        """Records by their ids at the source."""
        wanted = pa.table({"record": pa.array([f"{self.name}/acct_1/{each}" for each in ids], pa.string())})
        table = records.table(NAMES, self.model)
        found = self.warehouse.find(table, wanted, table.schema.names).to_pylist()
        return {row["source_id"]: row for row in found}

    def progress(self, *ids: str) -> dict[str, str]:
        """What became of rows, by their ids."""
        told = [self.name] * len(ids)
        wanted = pa.table({"pipeline": told, "_account_id": ["acct_1"] * len(ids), "source_id": list(ids)})
        found = self.warehouse.find(records.progress(NAMES), wanted, ["outcome"]).to_pylist()
        return {row["source_id"]: row["outcome"] for row in found}


def keys(ids: Sequence[str], version: int) -> list[pa.Array]:
    count = len(ids)
    return [
        pa.array(["acct_1"] * count, pa.string()),
        pa.array(ids, pa.string()),
        pa.array([version] * count, pa.int64()),
    ]


def told(warehouse: base.Warehouse, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    return [tuple(row.values()) for batch in warehouse.read(sql) for row in batch.to_pylist()]


def links(
    warehouse: base.Warehouse, table: str = "customer_profiles_identifiers"
) -> set[tuple[str, str, str]]:
    """The live identifiers."""
    sql = f'SELECT "record", "kind", "value" FROM "{warehouse.schema}"."{table}" WHERE _deleted_at IS NULL'
    return {(record, kind, value) for record, kind, value in told(warehouse, sql)}


def unresolved(warehouse: base.Warehouse) -> set[str]:
    sql = f'SELECT "record" FROM "{warehouse.schema}"."{records.unresolved(NAMES).name}"'
    return {record for (record,) in told(warehouse, sql)}


def test_a_record_holds_what_the_pipeline_made_of_a_row(warehouse: base.Warehouse) -> None:
    pipeline = Pipeline(warehouse)
    step = pipeline.run(
        {"cus_1": {"email": " Jane@X.io ", "size": 3, "vip": True, "address": '{"a":1}'}}, version=7
    )
    assert (step.written, step.unchanged, step.removed) == (1, 0, 0)
    assert step.changed.to_pylist() == [{"record": "eu/acct_1/cus_1"}]
    (found,) = pipeline.stored("cus_1").values()
    assert json.loads(found.pop("address")) == {"a": 1}
    assert found.pop("_row_hash")
    assert found == {
        "record": "eu/acct_1/cus_1",
        "pipeline": "eu",
        "_account_id": "acct_1",
        "source_id": "cus_1",
        "email": " Jane@X.io ",
        "phone": None,
        "size": 3,
        "vip": True,
        "_version": 7,
        "_synced_at": START,
        "_deleted_at": None,
        "_stored": True,
    }
    assert links(warehouse) == {("eu/acct_1/cus_1", "email", "jane@x.io")}
    assert pipeline.progress("cus_1") == {"cus_1": "matched"}


def test_a_record_that_says_the_same_is_not_written_again(warehouse: base.Warehouse) -> None:
    pipeline = Pipeline(warehouse)
    pipeline.run({"a": {"email": "a@x.io"}, "b": {"email": "b@x.io"}}, version=1)
    step = pipeline.run({"a": {"email": "a@x.io"}, "b": {"email": "c@x.io"}}, version=2, day=1)
    assert (step.written, step.unchanged) == (1, 1)
    found = pipeline.stored("a", "b")
    assert [(found[each]["_version"], found[each]["_synced_at"]) for each in "ab"] == [
        (1, START),
        (2, START + DAY),
    ]


def test_an_older_row_counts_when_it_was_read_last(warehouse: base.Warehouse) -> None:
    pipeline = Pipeline(warehouse)
    pipeline.run({"a": {"email": "new@x.io"}}, version=9)
    pipeline.run({"a": {"email": "old@x.io"}}, version=3)
    assert pipeline.stored("a")["a"]["email"] == "old@x.io"


def test_a_value_that_is_gone_links_no_more(warehouse: base.Warehouse) -> None:
    pipeline = Pipeline(warehouse)
    pipeline.run({"a": {"email": "a@x.io", "phone": "+49 30 1234567"}})
    assert links(warehouse) == {("eu/acct_1/a", "email", "a@x.io"), ("eu/acct_1/a", "phone", "+49301234567")}
    pipeline.run({"a": {"email": "b@x.io"}})
    assert links(warehouse) == {("eu/acct_1/a", "email", "b@x.io")}


def test_a_record_leaves_when_it_no_longer_matches_or_is_gone_and_may_come_back(
    warehouse: base.Warehouse,
) -> None:
    pipeline = Pipeline(warehouse)
    pipeline.run({each: {"email": f"{each}@x.io"} for each in "abc"})
    step = pipeline.run(filtered=["a", "x"], gone=["b", "y"], day=1)  # x and y never were records
    assert (step.written, step.removed, step.changed.num_rows) == (0, 2, 2)
    found = pipeline.stored("a", "b", "c", "x", "y")
    assert {each: row["_deleted_at"] for each, row in found.items()} == {
        "a": START + DAY,
        "b": START + DAY,
        "c": None,
    }
    assert found["a"]["email"] == "a@x.io"
    assert links(warehouse) == {("eu/acct_1/c", "email", "c@x.io")}
    assert pipeline.progress("a", "b", "c", "x", "y") == {"a": "filtered", "c": "matched", "x": "filtered"}
    assert pipeline.run(filtered=["a"], gone=["b"], day=2).removed == 0
    # Of the same version as the deletion, and of the same content as before.
    step = pipeline.run({"a": {"email": "a@x.io"}}, day=3)
    assert step.written == 1
    assert pipeline.stored("a")["a"]["_deleted_at"] is None
    assert ("eu/acct_1/a", "email", "a@x.io") in links(warehouse)


def test_a_record_that_failed_keeps_its_last_good_state(warehouse: base.Warehouse) -> None:
    pipeline = Pipeline(warehouse)
    pipeline.run({"a": {"email": "a@x.io"}})
    step = pipeline.run(failed=["a"], version=2)
    assert (step.written, step.removed, step.changed.num_rows) == (0, 0, 0)
    assert pipeline.stored("a")["a"]["email"] == "a@x.io"
    assert pipeline.progress("a") == {"a": "failed"}


def test_pipelines_and_accounts_do_not_share_records(warehouse: base.Warehouse) -> None:
    one, other = Pipeline(warehouse), Pipeline(warehouse, name="us")
    one.run({"a": {"email": "a@x.io"}})
    other.run({"a": {"email": "b@x.io"}})
    other.run(gone=["a"])
    assert (one.stored("a")["a"]["_deleted_at"], one.progress("a")) == (None, {"a": "matched"})
    assert other.progress("a") == {}


def test_changed_records_wait_until_they_are_settled(warehouse: base.Warehouse) -> None:
    pipeline = Pipeline(warehouse)
    step = pipeline.run({"a": {"size": 1}, "b": {"size": 1}})
    pipeline.run(gone=["b"])
    assert unresolved(warehouse) == {"eu/acct_1/a", "eu/acct_1/b"}
    pipeline.run({"c": {"size": 1}})
    warehouse.load([records.settled(NAMES, step.changed)], {})
    assert unresolved(warehouse) == {"eu/acct_1/c"}


def test_what_was_not_committed_is_found_again(warehouse: base.Warehouse) -> None:
    pipeline = Pipeline(warehouse)
    lost = pipeline.run({"a": {"size": 1}}, commit=False)
    again = pipeline.run({"a": {"size": 1}})
    assert (lost.written, again.written) == (1, 1)
    assert pipeline.run({"a": {"size": 1}}).written == 0


def test_other_identifiers_are_written_for_records_that_say_the_same(warehouse: base.Warehouse) -> None:
    Pipeline(warehouse).run({"a": {"email": "a@x.io", "size": 123456, "vip": True}})
    told = TOLD.model_copy(update={"identifiers": ("email", "size")})
    assert Pipeline(warehouse, told).run({"a": {"email": "a@x.io", "size": 123456, "vip": True}}).written == 1
    assert links(warehouse) == {("eu/acct_1/a", "email", "a@x.io"), ("eu/acct_1/a", "size", "123456")}


def test_keys_longer_than_an_index_takes_become_digests(warehouse: base.Warehouse) -> None:
    long, pipeline = "c" * 300, Pipeline(warehouse)
    found = records.keys("eu", pa.chunked_array([["a", "a"]]), pa.chunked_array([[long, "b"]])).to_pylist()
    assert found[0].startswith("sha256:")
    assert (len(found[0]), found[1]) == (71, "eu/a/b")
    step = pipeline.run({"c" * 250: {"email": "a@x.io"}})
    assert links(warehouse) == {(step.changed["record"][0].as_py(), "email", "a@x.io")}


def test_a_property_may_come_and_become_wider_but_not_narrower(warehouse: base.Warehouse) -> None:
    def prepared(**properties: str) -> None:
        told = model(**{"email": "string"} | properties)
        tables = records.tables(NAMES, profile.of(told))
        records.check(warehouse, tables, profile.of(told))
        warehouse.prepare(tables)

    prepared(size="decimal", color="string")
    with pytest.raises(
        errors.ConfigError, match=r"property size .* another type .*customer_profiles_records"
    ):
        prepared(size="integer")
    prepared(size="string")
    with pytest.raises(errors.ConfigError, match="give the property its old type"):
        prepared(size="decimal")
    with pytest.raises(errors.ConfigError, match="property color"):
        prepared(color="json")
    Pipeline(warehouse, model(email="string", size="string")).run({"a": {"email": "e", "size": "12"}})
    prepared(fresh="timestamp")


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
STATE = st.dictionaries(
    st.sampled_from("abcdef"),
    st.none() | st.fixed_dictionaries({}, optional={"email": TEXT, "size": st.integers(-5, 5)}),
    max_size=6,
)


@hypothesis.settings(max_examples=12, deadline=None)
@hypothesis.given(st.lists(STATE, min_size=1, max_size=4))
def test_after_any_batches_the_records_are_the_last_state(
    tmp_path_factory: pytest.TempPathFactory, states: list[dict[str, dict[str, Any] | None]]
) -> None:
    folder = tmp_path_factory.mktemp("states")
    warehouse = warehouses.open_url(fleet.url("duckdb", folder, 1))
    warehouse.prepare(records.tables(NAMES, profile.of(TOLD)))
    pipeline = Pipeline(warehouse)
    now: dict[str, dict[str, Any]] = {}
    for state in states:
        matched = {each: said for each, said in state.items() if said is not None}
        left = [each for each, said in state.items() if said is None]
        step = pipeline.run(matched, filtered=left)
        assert step.written == sum(now.get(each) != said for each, said in matched.items())
        assert step.removed == sum(each in now for each in left)
        now = {each: said for each, said in now.items() if each not in left} | matched
    found = pipeline.stored(*"abcdef")
    live = {each: row for each, row in found.items() if row["_deleted_at"] is None}
    assert {each: {"email": row["email"], "size": row["size"]} for each, row in live.items()} == {
        each: {"email": said.get("email"), "size": said.get("size")} for each, said in now.items()
    }
    warehouse.close()


def test_fingerprints_tell_every_value_and_every_place_apart() -> None:
    def hashed(**columns: Any) -> str:
        rows = pa.table({name: pa.array([value]) for name, value in columns.items()})
        return str(records.fingerprints(rows)[0])

    moment = dt.datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC)
    told = [
        hashed(a="x", b="y"), hashed(a="y", b="x"), hashed(a="xb", b="y"), hashed(a="x"), hashed(b="x"),
        hashed(a=1), hashed(a=True), hashed(a=moment), hashed(a=START), hashed(a=1.5),
    ]  # fmt: skip
    assert len(set(told)) == len(told)
    assert hashed(a="x", b=None) == hashed(a="x")
    # A row without any value is a row.
    sparse = pa.table({"a": pa.array([None, "x"])})
    assert len(set(records.fingerprints(sparse).to_pylist())) == 2
    rows = pa.table({"a": ["x"]})
    assert records.fingerprints(rows, "email") != records.fingerprints(rows, "phone")
