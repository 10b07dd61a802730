"""Rows found by their keys in a DuckDB file: a few and many are looked for in two ways, which find the same."""

from __future__ import annotations

import datetime as dt

import duckdb
import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies

from tidegate.warehouse import base, lookup
from tidegate.warehouse.duckdb import DuckDB

MOMENT = pa.timestamp("us", "UTC")
PEOPLE = base.Table(
    "people",
    pa.schema(
        [
            ("_account_id", pa.string()),
            ("id", pa.string()),
            ("name", pa.string()),
            ("_version", pa.int64()),
            ("_deleted_at", MOMENT),
            ("_synced_at", MOMENT),
        ]
    ),
    key=("_account_id", "id"),
)
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
KEYS = [(account, f"cus_{number}") for account in ("acct_1", "acct_2") for number in range(6)]


def rows(keys: list[tuple[str, str]], version: int, *, deleted: bool = False) -> pa.Table:
    """A row for each key, named after it and its version."""
    told = {
        "_account_id": [account for account, _ in keys],
        "id": [id for _, id in keys],
        "name": [f"{account} {id} {version}" for account, id in keys],
        "_version": [version] * len(keys),
        "_deleted_at": [NOW if deleted else None] * len(keys),
        "_synced_at": [NOW] * len(keys),
    }
    return pa.table(told, schema=PEOPLE.schema)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> DuckDB:
    """Some are stored, one of them twice, one is buried, and of some nothing is known."""
    path = tmp_path_factory.mktemp("found") / "warehouse.duckdb"
    opened = DuckDB(path)
    opened.load([base.Load(PEOPLE, rows(KEYS[:8], 5))], {})
    opened.load([base.Load(PEOPLE, rows(KEYS[8:9], 7, deleted=True), mode="mark", hard=True)], {})
    opened.close()
    twice = "SELECT * REPLACE ('again' AS name, 9 AS _version) FROM stripe.people WHERE id = 'cus_2'"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"INSERT INTO stripe.people {twice}")
    return opened


@hypothesis.settings(max_examples=40, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(asked=strategies.lists(strategies.sampled_from(KEYS), max_size=14))
def test_a_few_are_found_as_many_are(
    warehouse: DuckDB, asked: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = rows(asked, 0).select(["_account_id", "id"])
    found = []
    for few in (0, 1_000):
        monkeypatch.setattr(lookup, "FEW", few)
        found.append(warehouse.find(PEOPLE, keys, ["name"]))
    assert found[0].equals(found[1])
    stored = {(row["_account_id"], row["id"]): row["name"] for row in found[1].to_pylist() if row["_stored"]}
    wanted = dict.fromkeys(key for key in asked if key in KEYS[:8])
    assert stored == {key: "again" if key[1] == "cus_2" else f"{key[0]} {key[1]} 5" for key in wanted}
    buried = [(row["_account_id"], row["id"]) for row in found[1].to_pylist() if not row["_stored"]]
    assert buried == [key for key in dict.fromkeys(asked) if key == KEYS[8]]
