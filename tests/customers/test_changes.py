"""What a pipeline must read again: everything that changed, however late it came, and nothing else."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fleet
import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from merged import DAY, START, model

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.customers import changes, names, records, spooling
from tidegate.shape import profile
from tidegate.warehouse import base

NAMES = names.Names()
MODEL = profile.of(model(email="string"))
CUSTOMERS = base.Table(
    "customers",
    pa.schema(
        [
            pa.field("_account_id", pa.string()),
            pa.field("id", pa.string()),
            pa.field("email", pa.string()),
            pa.field("balance", pa.int64()),
            pa.field("rate", pa.decimal128(38, 12)),
            pa.field("score", pa.float64()),
            pa.field("delinquent", pa.bool_()),
            pa.field("created", names.MOMENT),
            pa.field("metadata", pa.string(), metadata=base.JSON),
            pa.field("phone", pa.string()),
            pa.field("_version", pa.int64()),
            pa.field("_synced_at", names.MOMENT),
            pa.field("_deleted_at", names.MOMENT),
        ]
    ),
)
PULLED = tuple(name for name in CUSTOMERS.schema.names if name != "phone")
"""The columns that were pulled."""
LINES = base.Table(
    "lines",
    pa.schema(
        [pa.field(name, pa.string()) for name in ("_account_id", "parent", "id")]
        + [pa.field("_version", pa.int64())]
        + [pa.field(name, names.MOMENT) for name in ("_synced_at", "_deleted_at")]
    ),
    ("_account_id", "parent", "id"),
)

PLACES = ("duckdb", "postgres", "mysql", "duckdb to postgres", "mysql to duckdb")


class Place:
    """A stream and a model, in one warehouse or in two."""

    def __init__(self, stream_url: str, model_url: str, model_schema: str) -> None:
        self.beside = stream_url == model_url
        self.stream = warehouses.open_url(stream_url)
        self.model = warehouses.open_url(model_url, model_schema)
        self.model.prepare(records.tables(NAMES, MODEL))

    def pull(
        self, rows: Mapping[str, Mapping[str, Any]], version: int = 1, day: int = 0, account: str = "acct_1"
    ) -> None:
        """Write rows of the stream, as a pull does."""
        own = {"_account_id": account, "_version": version, "_synced_at": START + day * DAY}
        told = [{"id": id, **own, **row} for id, row in rows.items()]
        schema = pa.schema([CUSTOMERS.schema.field(name) for name in PULLED])
        table = base.Table("customers", schema)
        self.stream.load([base.Load(table, pa.Table.from_pylist(told, schema=schema))], {})

    def changed(
        self,
        name: str = "eu",
        shape: str = "1",
        accounts: tuple[str, ...] | None = None,
        *,
        everything: bool = False,
        note: bool = True,
        table: base.Table = CUSTOMERS,
    ) -> tuple[dict[str, dict[str, Any]], set[str]]:
        """The rows to be read by their ids, and the ids that are gone; noted as progress, if wanted."""
        rows, gone = dict[str, dict[str, Any]](), set[str]()
        source = changes.stream(self.stream, table)
        pipeline = changes.Pipeline(name, shape, accounts)
        columns = [*records.GONE, pa.field("_version", pa.int64()), pa.field("email", pa.string())]
        empty = pa.schema(columns).empty_table()
        with changes.changes(
            source, self.model, NAMES, pipeline, beside=self.beside, everything=everything
        ) as found:
            for batch in found.rows():
                assert 0 < batch.num_rows <= spooling.BATCH
                rows |= {row["source_id"]: row for row in batch.to_pylist()}
                if note:
                    outcome = pa.array(["filtered"] * batch.num_rows)
                    seen = batch.select(records.SEEN.names[:4]).append_column("outcome", outcome)
                    step = records.Batch(name, shape, seen, empty, records.GONE.empty_table())
                    self.model.load(records.step(self.model, NAMES, MODEL, step, START).loads, {})
            for batch in found.gone():
                gone |= set(batch["source_id"].to_pylist())
                if note:
                    step = records.Batch(name, shape, records.SEEN.empty_table(), empty, batch)
                    self.model.load(records.step(self.model, NAMES, MODEL, step, START).loads, {})
            assert (found.count, found.gone_count) == (len(rows), len(gone))
        return rows, gone

    def close(self) -> None:
        self.stream.close()
        self.model.close()


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A stream and a model, both empty."""
    folder = tmp_path_factory.mktemp("place")
    source, _, target = request.param.partition(" to ")
    url = fleet.url(source, folder, 1)
    # The tests' user of MariaDB may write one database.
    schema = "stripe" if "mysql" in request.param else "tidegate"
    opened = Place(url, fleet.url(target, folder, 2) if target else url, schema)
    yield opened
    opened.close()


ROW = {
    "email": "jané@x.io",
    "balance": -(2**62),
    "rate": None,
    "score": 1.5,
    "delinquent": True,
    "created": START + dt.timedelta(microseconds=1),
    "metadata": '{"plan":"prö"}',
}


def test_rows_come_as_they_are_pulled(place: Place) -> None:
    place.pull({"a": ROW, "b": dict.fromkeys(ROW)}, version=7)
    rows, gone = place.changed()
    assert (set(rows), gone) == ({"a", "b"}, set())
    assert json.loads(rows["a"].pop("metadata")) == {"plan": "prö"}
    told = {name: value for name, value in ROW.items() if name != "metadata"}
    own = {"_account_id": "acct_1", "_version": 7, "_synced_at": START, "_deleted_at": None}
    assert rows["a"] == told | own | {"id": "a", "source_id": "a"}
    assert {name: rows["b"][name] for name in ROW} == dict.fromkeys(ROW)


def test_the_columns_are_those_that_were_pulled_with_their_types(place: Place) -> None:
    place.pull({"a": {}})
    found = changes.stream(place.stream, CUSTOMERS).columns
    assert found.names == list(PULLED)
    assert all(found.field(name).type == CUSTOMERS.schema.field(name).type for name in PULLED)
    assert found.field("metadata").metadata == base.JSON


def test_only_what_changed_is_read_again(place: Place) -> None:
    place.pull({each: {"balance": 1} for each in "abcdef"}, version=9)
    assert set(place.changed()[0]) == set("abcdef")
    assert place.changed() == ({}, set())
    place.pull({"a": {"balance": 2}}, version=10, day=1)
    place.pull({"g": {"balance": 1}}, version=3, day=1)  # it came late: what was read before is newer
    place.pull({"b": {"balance": 2}}, version=9, day=1)  # it was written twice within a second
    place.pull({"c": {"_deleted_at": START}}, version=10)
    rows, gone = place.changed()
    assert (set(rows), gone) == ({"a", "b", "g"}, {"c"})
    assert place.changed() == ({}, set())
    place.pull({"c": {}}, version=11)
    assert set(place.changed()[0]) == {"c"}


def test_what_is_not_noted_comes_again(place: Place) -> None:
    place.pull({"a": {}, "b": {}})
    assert place.changed(note=False) == place.changed(note=False)
    place.changed()
    place.pull({"a": {"_deleted_at": START}}, version=2)
    assert place.changed(note=False)[1] == place.changed(note=False)[1] == {"a"}


def test_a_row_that_was_removed_whole_is_gone(place: Place) -> None:
    place.pull({"a": {}, "b": {}})
    place.changed()
    keys = pa.table({"_account_id": ["acct_1"], "id": ["a"]})
    place.stream.load([base.Load(CUSTOMERS, keys, "drop")], {})
    assert place.changed() == ({}, {"a"})


def test_another_shape_reads_all_rows_and_so_does_who_wants_everything(place: Place) -> None:
    place.pull({"a": {}, "b": {"_deleted_at": START}})
    place.changed()
    assert set(place.changed(shape="2")[0]) == {"a"}
    assert place.changed(shape="2") == ({}, set())
    assert set(place.changed(shape="2", everything=True)[0]) == {"a"}


def test_pipelines_have_progress_of_their_own(place: Place) -> None:
    place.pull({"a": {}})
    place.changed("eu")
    assert (set(place.changed("us")[0]), place.changed("eu")) == ({"a"}, ({}, set()))


def test_accounts_that_a_pipeline_does_not_read_are_not_there_for_it(place: Place) -> None:
    place.pull({"a": {}}, account="acct_1")
    place.pull({"b": {}}, account="acct_2")
    assert set(place.changed(accounts=("acct_1", "acct_2"))[0]) == {"a", "b"}
    assert place.changed(accounts=("acct_1",)) == ({}, {"b"})
    assert set(place.changed(accounts=("acct_1", "acct_2"))[0]) == {"b"}
    assert place.changed(accounts=()) == ({}, {"a", "b"})


def test_batches_are_small_however_much_changed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "BATCH", 4)
    place.pull({f"{n}": {} for n in range(30)})
    assert len(place.changed()[0]) == 30
    place.pull({f"{n}": {} for n in range(9)}, version=2)
    monkeypatch.setattr(
        changes, "SHARE", 2
    )  # where stream and model are apart, rows are looked up by their keys
    assert set(place.changed()[0]) == {f"{n}" for n in range(9)}
    assert place.changed() == ({}, set())


def test_a_key_of_several_columns_is_one_id(place: Place) -> None:
    told = [
        {"_account_id": "a", "parent": p, "id": i, "_version": 1, "_synced_at": START}
        for p, i in ("px", "py", "qx")
    ]
    place.stream.load([base.Load(LINES, pa.Table.from_pylist(told, schema=LINES.schema))], {})
    rows, _ = place.changed(table=LINES)
    assert {id: (row["parent"], row["id"]) for id, row in rows.items()} == {
        "p/x": ("p", "x"),
        "p/y": ("p", "y"),
        "q/x": ("q", "x"),
    }
    lost = pa.table({"_account_id": ["a"], "parent": ["p"], "id": ["x"]})
    place.stream.load([base.Load(LINES, lost, "drop")], {})
    assert place.changed(table=LINES) == ({}, {"p/x"})


def test_a_stream_that_was_never_pulled_is_no_empty_one(place: Place) -> None:
    place.pull({"a": {}})
    with pytest.raises(errors.ConfigError, match=r"no table stripe\.lines .* pull the stream lines"):
        changes.stream(place.stream, LINES)


def test_how_much_the_pipeline_brought_is_known_before(place: Place) -> None:
    place.pull({"a": {}, "b": {}, "c": {}})
    pipeline = changes.Pipeline("eu", "1")
    outcomes = zip("abc", ("matched", "matched", "failed"), strict=True)
    seen = [
        {"_account_id": "acct_1", "source_id": id, "_version": 1, "_synced_at": START, "outcome": outcome}
        for id, outcome in outcomes
    ]
    told = pa.Table.from_pylist(seen, schema=records.SEEN)
    own = {name: pa.array([value] * 3) for name, value in (("pipeline", "eu"), ("shape", "1"))}
    rows = pa.table({**own, **{name: told[name] for name in told.column_names}})
    place.model.load([base.Load(records.progress(NAMES), rows)], {})
    source = changes.stream(place.stream, CUSTOMERS)
    with changes.changes(source, place.model, NAMES, pipeline, beside=place.beside) as found:
        assert (found.count, found.gone_count, found.known) == (0, 0, 2)


def test_a_file_that_is_named_like_a_schema_is_read(tmp_path: Path) -> None:
    for name in ("stripe", "main", "customers"):
        url = f"duckdb:///{tmp_path}/{name}.duckdb"
        place = Place(url, url, "tidegate")
        place.pull({"a": {}})
        assert set(place.changed()[0]) == {"a"}
        place.close()


def test_the_files_are_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    url, other = f"duckdb:///{tmp_path}/w.duckdb", f"duckdb:///{tmp_path}/v.duckdb"
    for target in (url, other):
        place = Place(url, target, "tidegate")
        place.pull({"a": {}})
        place.changed()
        place.close()
    assert {each.name for each in tmp_path.iterdir()} == {"w.duckdb", "v.duckdb"}


# Any history


def test_a_few_rows_are_the_newest_or_those_that_are_asked_for(place: Place) -> None:
    place.pull({"a": ROW, "b": {}}, version=1)
    place.pull({"c": {}, "d": {"_deleted_at": START}}, version=3)
    place.pull({"e": {}}, version=2, account="acct_2")
    source = changes.stream(place.stream, CUSTOMERS)

    def ids(rows: pa.Table) -> list[str]:
        found: list[str] = rows["source_id"].to_pylist()
        return found

    assert ids(changes.sample(source, 2)) == ["c", "e"]
    assert ids(changes.sample(source, 9, ["acct_1"])) == ["c", "a", "b"]
    assert ids(changes.chosen(source, ["b", "nobody", "d", "a"])) == ["b", "a"]
    assert ids(changes.chosen(source, ["e", "a"], ["acct_1"])) == ["a"]
    # Rows that come from elsewhere look like those.
    stored = changes.chosen(source, ["a"])
    given = stored.select([name for name in stored.column_names if name != "source_id"])
    assert changes.as_read(given, CUSTOMERS.key).equals(stored)
    assert ids(changes.as_read(given, ("_account_id", "id", "email"))) == ["a/jané@x.io"]


OPERATIONS = st.lists(
    st.dictionaries(
        st.sampled_from("abcd"), st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=4
    ),
    min_size=1,
    max_size=4,
)
_numbers = itertools.count()


@pytest.fixture(scope="module", params=("beside", "apart"))
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A stream and a model that live as long as all examples."""
    url: Callable[[int], str] = lambda n: fleet.url("duckdb", tmp_path_factory.mktemp("both"), n)  # noqa: E731
    source = url(1)
    opened = Place(source, source if request.param == "beside" else url(2), "tidegate")
    yield opened
    opened.close()


def test_whatever_happens_to_a_stream_is_seen_once(both: Place) -> None:
    @hypothesis.settings(max_examples=8, deadline=None)
    @hypothesis.given(OPERATIONS)
    def holds(operations: list[dict[str, tuple[int, bool]]]) -> None:
        example = next(_numbers)
        account, name = f"acct_{example}", f"pipeline_{example}"
        stored: dict[str, tuple[int, int, bool]] = {}
        seen: dict[str, tuple[int, int]] = {}
        for day, rows in enumerate(operations):
            for id, (version, is_live) in rows.items():
                before = stored.get(id)
                if before is None or (version, not is_live) >= (before[0], not before[2]):
                    stored[id] = (version, day, is_live)
            told = {
                id: {"_version": version, "_deleted_at": None if is_live else START}
                for id, (version, is_live) in rows.items()
            }
            both.pull(told, day=day, account=account)
            live = {id: (version, day) for id, (version, day, is_live) in stored.items() if is_live}
            found, gone = both.changed(name, accounts=(account,))
            assert {id: (row["_version"], (row["_synced_at"] - START).days) for id, row in found.items()} == {
                id: state for id, state in live.items() if seen.get(id) != state
            }
            assert gone == set(seen) - set(live)
            seen = live

    holds()
