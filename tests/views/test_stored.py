"""The newest rows of a stream from the warehouse that they were pulled into, whichever it is."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import fleet
import loads
import pyarrow as pa
import pytest
import seen

from tidegate import config, errors, warehouse
from tidegate.engine import place as places
from tidegate.store import database
from tidegate.views import stored, streams
from tidegate.warehouse import base

DAY = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
FIELDS = [field for field in loads.ITEMS.schema if field.name != "_parent_id"]
TABLE = base.Table(
    "clients", pa.schema([*FIELDS, pa.field("created", pa.timestamp("us", "UTC"))]), ("_account_id", "id")
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[database.Database]:
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as opened:
        yield opened


def row(number: int, **more: object) -> loads.Row:
    found = loads.row(f"cus_{number}", 1, f"ü {number}", created=DAY + dt.timedelta(days=number), **more)
    return {name: value for name, value in found.items() if name != "_parent_id"}


def placed(url: str, tmp_path: Path, store: database.Database) -> places.Place:
    """A place whose pull keeps customers in a table of another name."""
    file = config.load(seen.written(tmp_path, more=""))
    target = config.warehouse(url, "stripe")
    pull = file.pulls["everything"].model_copy(
        update={"streams": {"customers": config.StreamOptions(table=TABLE.name)}}
    )
    found = file.model_copy(update={"warehouses": {"local": target}, "pulls": {"everything": pull}})
    return places.Place(found, store)


@pytest.mark.parametrize("adapter", fleet.NAMES)
def test_the_newest_that_are_not_deleted_come_from_every_warehouse(
    adapter: str, tmp_path: Path, store: database.Database
) -> None:
    url = fleet.url(adapter, tmp_path, 1)
    place = placed(url, tmp_path, store)
    opened = warehouse.open_url(url)
    opened.prepare([loads.ITEMS])
    assert stored.newest(place, "everything", "customers") == [], "its table is not there yet"
    opened.prepare([TABLE])
    rows = [row(n) for n in range(12)] + [row(50, _deleted_at=DAY)]
    opened.load([base.Load(TABLE, pa.Table.from_pylist(rows, schema=TABLE.schema))], {})
    opened.close()
    found = stored.newest(place, "everything", "customers", 3)
    assert [each["id"] for each in found] == ["cus_11", "cus_10", "cus_9"]
    assert found[0]["name"] == "ü 11"
    assert streams.telling(found)[0] == "id"


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, store: database.Database) -> None:
    place = placed(f"duckdb:///{tmp_path}/none.duckdb", tmp_path, store)
    assert stored.newest(place, "everything", "customers") == []
    assert not (tmp_path / "none.duckdb").exists()


def test_what_cannot_be_reached_says_so(tmp_path: Path, store: database.Database) -> None:
    place = placed("postgresql://ann:geheim@127.0.0.1:9/none", tmp_path, store)
    with pytest.raises(errors.WarehouseUnreachable, match=r"No answer from none on 127\.0\.0\.1") as raised:
        stored.newest(place, "everything", "customers")
    assert "geheim" not in str(raised.value)
