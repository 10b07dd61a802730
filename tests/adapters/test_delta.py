"""What is special to Delta: one commit per table, a state that says which count, and delta-rs reading it back."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, ItemsView, Iterator
from pathlib import Path

import deltalake
import loads
import pyarrow as pa
import pytest

from tidegate import errors
from tidegate.adapters import delta, lake_files, storage
from tidegate.warehouse import base, desk


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[delta.Delta]:
    """A lake in `tmp_path`."""
    opened = new(tmp_path)
    yield opened
    opened.close()


def new(tmp_path: Path) -> delta.Delta:
    return delta.Delta(storage.Local(str(tmp_path / "lake")), "stripe", wait=0.0)


def table(tmp_path: Path, name: str = "items") -> deltalake.DeltaTable:
    return deltalake.DeltaTable(str(tmp_path / "lake/stripe" / name))


def rows(tmp_path: Path) -> list[tuple[str, str]]:
    found = pa.table(table(tmp_path).to_pyarrow_table().select(["id", "name"])).to_pylist()
    return sorted((each["id"], each["name"]) for each in found)


def half_a_load(warehouse: delta.Delta, *given: loads.Row) -> None:
    """Commit the rows of a load, and not its state."""

    class Killed(Exception):
        """What a kill would be."""

    class Dying(dict[str, str | None]):
        def items(self) -> object:  # type: ignore[override]  # it never returns
            raise Killed

    with pytest.raises(Killed):
        warehouse.load([loads.load(*given)], Dying(cursor="half"))


def test_delta_rs_reads_what_was_written(warehouse: delta.Delta, tmp_path: Path) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x", notes='{"n": 9007199254740993}'))], {})
    warehouse.load([loads.load(loads.row("a", 2, "y", notes="[]"), loads.row("b", 2, "z"))], {})
    assert rows(tmp_path) == [("a", "y"), ("b", "z")]
    kinds = {field.name: str(field.type) for field in table(tmp_path).schema().fields}
    assert "string" in kinds["notes"]
    assert "timestamp" in kinds["_synced_at"]
    assert "long" in kinds["_version"]
    assert warehouse.columns("items")["_synced_at"] == "timestamp"


def test_an_upsert_is_one_commit(warehouse: delta.Delta, tmp_path: Path) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"), loads.row("b", 1, "x"))], {})
    before = table(tmp_path).version()
    warehouse.load([loads.load(loads.row("a", 2, "y"), loads.row("c", 2, "y")), loads.drop("b")], {})
    assert table(tmp_path).version() == before + 1
    assert rows(tmp_path) == [("a", "y"), ("c", "y")]


def test_half_a_load_does_not_count_and_the_next_takes_it_back(
    warehouse: delta.Delta, tmp_path: Path
) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    half_a_load(warehouse, loads.row("a", 2, "half"), loads.row("b", 2, "half"))
    assert rows(tmp_path) == [("a", "half"), ("b", "half")]
    other = new(tmp_path)
    assert loads.items(other) == [("a", "x", 1, None)]
    assert other.state() == {"cursor": "1"}
    other.load([loads.load(loads.row("c", 2, "y"))], {"cursor": "2"})
    assert loads.items(other) == [("a", "x", 1, None), ("c", "y", 2, None)]
    assert rows(tmp_path) == [("a", "x"), ("c", "y")]
    half_a_load(other, loads.row("d", 3, "half"))
    half_a_load(other, loads.row("d", 3, "half"))
    assert loads.items(other) == [("a", "x", 1, None), ("c", "y", 2, None)]
    other.close()


def test_half_of_the_first_load_does_not_count_either(warehouse: delta.Delta, tmp_path: Path) -> None:
    half_a_load(warehouse, loads.row("a", 1, "half"))
    half_a_load(warehouse, loads.row("a", 1, "half"))
    other = new(tmp_path)
    assert loads.items(other) == []
    other.load([loads.load(loads.row("b", 1, "y"))], {})
    assert rows(tmp_path) == [("b", "y")]
    other.close()


def test_a_commit_of_somebody_else_stays(warehouse: delta.Delta, tmp_path: Path) -> None:
    for name in "abc":
        warehouse.load([loads.load(loads.row(name, 1, name))], {})
    table(tmp_path).optimize.compact()
    warehouse.load([loads.load(loads.row("a", 2, "new"))], {})
    assert loads.items(warehouse) == [("a", "new", 2, None), ("b", "b", 1, None), ("c", "c", 1, None)]
    assert rows(tmp_path) == [("a", "new"), ("b", "b"), ("c", "c")]


def test_a_table_gets_columns_after_a_killed_load(warehouse: delta.Delta, tmp_path: Path) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    half_a_load(warehouse, loads.row("a", 2, "half"))
    other = new(tmp_path)
    more = base.Table("items", loads.ITEMS.schema.append(pa.field("more", pa.int64())))
    other.prepare([more])
    assert loads.items(other) == [("a", "x", 1, None)]
    other.load([base.Load(more, pa.Table.from_pylist([loads.row("b", 2, "y", more=7)], more.schema))], {})
    assert loads.found(other, "SELECT id, more FROM stripe.items ORDER BY id") == [("a", None), ("b", 7)]
    other.close()


def test_a_load_that_was_taken_back_while_it_was_finished_counts(
    warehouse: delta.Delta, tmp_path: Path
) -> None:
    other = new(tmp_path)
    more = base.Table("items", loads.ITEMS.schema.append(pa.field("more", pa.int64())))

    class Meanwhile(dict[str, str | None]):
        """A state before which somebody else gets at the table."""

        def items(self) -> ItemsView[str, str | None]:
            other.prepare([more])
            return super().items()

    warehouse.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    warehouse.load([loads.load(loads.row("b", 2, "y"))], Meanwhile(cursor="2"))
    assert warehouse.state() == {"cursor": "2"}
    assert loads.items(warehouse) == [("a", "x", 1, None), ("b", "y", 2, None)]
    other.load([loads.load(loads.row("c", 3, "z"))], {"cursor": "3"})
    assert loads.items(warehouse) == [("a", "x", 1, None), ("b", "y", 2, None), ("c", "z", 3, None)]
    assert rows(tmp_path) == [("a", "x"), ("b", "y"), ("c", "z")]
    other.close()


def test_a_table_that_others_set_back_is_set_forward_again(warehouse: delta.Delta, tmp_path: Path) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    before = table(tmp_path).version()
    warehouse.load([loads.load(loads.row("b", 2, "y"))], {"cursor": "2"})
    table(tmp_path).restore(before)
    assert loads.items(warehouse) == [("a", "x", 1, None), ("b", "y", 2, None)]
    warehouse.load([loads.load(loads.row("c", 3, "z"))], {"cursor": "3"})
    assert rows(tmp_path) == [("a", "x"), ("b", "y"), ("c", "z")]


def test_what_others_put_together_stays_and_counts(warehouse: delta.Delta, tmp_path: Path) -> None:
    for name in "abc":
        warehouse.load([loads.load(loads.row(name, 1, name))], {"cursor": name})
    table(tmp_path).optimize.compact()
    half_a_load(warehouse, loads.row("d", 1, "half"))
    warehouse.load([loads.load(loads.row("e", 1, "e"))], {"cursor": "e"})
    assert rows(tmp_path) == [("a", "a"), ("b", "b"), ("c", "c"), ("e", "e")]
    assert [id for id, *_ in loads.items(new(tmp_path))] == ["a", "b", "c", "e"]


def test_files_that_are_gone_before_half_a_load_are_one_sentence(
    warehouse: delta.Delta, tmp_path: Path
) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    before = table(tmp_path).file_uris()
    half_a_load(warehouse, loads.row("a", 2, "half"))
    for path in before:
        os.remove(path)
    with pytest.raises(errors.WarehouseCorrupt, match="pull it again"):
        warehouse.settle(["items"])


def test_a_commit_on_a_table_that_changed_is_refused(warehouse: delta.Delta, tmp_path: Path) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    warehouse.refresh()
    seen = warehouse.table("items")
    assert seen is not None
    deltalake.write_deltalake(table(tmp_path), table(tmp_path).to_pyarrow_table().slice(0, 0), mode="append")
    keys = pa.table({"_account_id": ["acct_1"], "id": ["a"]})
    change = desk.Change("items", keys, keys.slice(0, 0))
    with pytest.raises(storage.Changed):
        warehouse.apply(seen, change, "load")
    assert rows(tmp_path) == [("a", "x")]


def test_small_files_are_written_together(warehouse: delta.Delta, tmp_path: Path) -> None:
    for number in range(20):
        warehouse.load([loads.load(loads.row(f"id{number:02}", 1, "x"))], {})
        assert len(table(tmp_path).file_uris()) <= lake_files.MANY
    assert len(loads.items(warehouse)) == len(rows(tmp_path)) == 20


def test_files_that_no_version_needs_are_removed(
    warehouse: delta.Delta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta, "TIDIED", 1)
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    left = tmp_path / "lake/stripe/items/part-left.parquet"
    left.write_bytes(b"half a file")
    os.utime(left, (1, 1))
    warehouse.load([loads.load(loads.row("a", 2, "y"))], {})
    assert not left.exists()
    assert loads.items(warehouse) == [("a", "y", 2, None)]


def test_the_log_is_summed_up(
    warehouse: delta.Delta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta, "TIDIED", 3)
    for version in range(8):
        warehouse.load([loads.load(loads.row("a", version, f"v{version}"))], {})
    assert (tmp_path / "lake/stripe/items/_delta_log/_last_checkpoint").exists()
    assert rows(tmp_path) == [("a", "v7")]
    assert loads.items(new(tmp_path)) == [("a", "v7", 7, None)]


def test_the_statistics_of_files_let_readers_leave_them_out(warehouse: delta.Delta, tmp_path: Path) -> None:
    late = loads.row("b", 2, "x" * 100, _synced_at=dt.datetime(2026, 1, 1, 0, 0, 0, 1_001, tzinfo=dt.UTC))
    warehouse.load([loads.load(loads.row("a", 1, "x"), late, loads.row("c", 3))], {})
    [told] = pa.table(table(tmp_path).get_add_actions(flatten=True)).to_pylist()
    assert told["num_records"] == 3
    assert (told["min.id"], told["max.id"], told["null_count.name"]) == ("a", "c", 1)
    assert (told["min._version"], told["max._version"]) == (1, 3)
    times = table(tmp_path).to_pyarrow_table()["_synced_at"].to_pylist()
    assert told["min._synced_at"] <= min(times) <= max(times) <= told["max._synced_at"]
    assert told.get("max.name") is None  # half of a long text would be wrong
    found = table(tmp_path).to_pyarrow_table(filters=[("id", ">", "b"), ("_version", "<=", 3)])
    assert found["id"].to_pylist() == ["c"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda table: table.alter.set_table_properties({"delta.appendOnly": "true"}), "stay for ever"),
        (lambda table: table.alter.add_constraint({"named": "id <> ''"}), "version 3"),
    ],
)
def test_what_others_made_of_a_table_is_not_ignored(
    warehouse: delta.Delta, tmp_path: Path, change: Callable[[deltalake.DeltaTable], None], says: str
) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    change(table(tmp_path))
    with pytest.raises(errors.WarehouseError, match=says):
        warehouse.load([loads.load(loads.row("a", 2, "y"))], {})
    assert rows(tmp_path) == [("a", "x")]


def test_a_wider_column_is_one_commit_and_the_old_versions_stay(
    warehouse: delta.Delta, tmp_path: Path
) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    before = table(tmp_path).version()
    wider = pa.table({"_account_id": ["acct_1"], "id": ["b"], "_version": [2], "name": [1.5]})
    warehouse.load([base.Load(loads.ITEMS, wider)], {})
    assert loads.items(warehouse) == [("a", "x", 1, None), ("b", "1.5", 2, None)]
    old = deltalake.DeltaTable(str(tmp_path / "lake/stripe/items"), version=before)
    assert old.to_pyarrow_table()["id"].to_pylist() == ["a"]


def test_an_error_of_delta_rs_repeats_no_row(warehouse: delta.Delta) -> None:
    found = warehouse.explain(deltalake.exceptions.DeltaError("Cast error: jenny@example.com is no number"))
    assert isinstance(found, errors.WarehouseError)
    assert "jenny" not in str(found)
    full = warehouse.explain(
        deltalake.exceptions.DeltaError("Generic IO: No space left on device (os error 28)")
    )
    assert isinstance(full, errors.WarehouseFull)
