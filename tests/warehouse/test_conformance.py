"""What every warehouse does alike: input, action, rows. Runs once per adapter (see conftest)."""

from __future__ import annotations

import datetime as dt
import json
import random
import signal
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
import warm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.warehouse import base

TIME = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        pa.field("_account_id", pa.string()),
        pa.field("id", pa.string()),
        pa.field("amount", pa.int64()),
        pa.field("rate", pa.float64()),
        pa.field("exact", pa.decimal128(38, 12)),
        pa.field("paid", pa.bool_()),
        pa.field("email", pa.string()),
        pa.field("created", TIME),
        pa.field("metadata", pa.string(), metadata=base.JSON),
        pa.field("_version", TIME),
        pa.field("_deleted_at", TIME),
    ]
)
CUSTOMERS = base.Table("customers", SCHEMA)


def at(second: int) -> dt.datetime:
    return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=second)


def row(id: str = "cus_1", version: int = 0, **values: object) -> dict[str, object]:
    return {"_account_id": "acct_1", "id": id, "_version": at(version), **values}


def load(*rows: dict[str, object], table: base.Table = CUSTOMERS) -> base.Load:
    return base.Load(table, pa.Table.from_pylist(list(rows), schema=table.schema))


def stored(warehouse: base.Warehouse, *columns: str, table: str = "customers") -> list[tuple[object, ...]]:
    names = ", ".join(base.quoted(column) for column in columns)
    sql = f"SELECT {names} FROM {base.quoted(warehouse.schema)}.{base.quoted(table)} ORDER BY 1, 2"
    found = pa.Table.from_batches(list(warehouse.read(sql)) or [pa.record_batch({c: [] for c in columns})])
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


def kept(warehouse: base.Warehouse, value: object) -> object:
    """A value as the warehouse can hold it."""
    return value.replace("\0", warehouse.nul) if isinstance(value, str) else value


def meant(value: object) -> object:
    """A value; of an object in JSON what it says, since every warehouse has its own way to space it."""
    return json.loads(value) if isinstance(value, str) and value.startswith("{") else value


def simple(*fields: pa.Field, name: str = "things", key: Sequence[str] = ("id",)) -> base.Table:
    return base.Table(name, pa.schema([pa.field("id", pa.string()), *fields]), tuple(key), "")


# Values


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("amount", [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)]),
        ("rate", [0.1, 1e308, -2.5, 0.0]),
        (
            "exact",
            [
                Decimal("0.000000000001"),
                Decimal("-12345678901234567890.123456789012"),
                Decimal("1.100000000000"),
            ],
        ),
        ("paid", [True, False]),
        ("created", [at(0), at(-(10**9)), dt.datetime(2999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC)]),
        (
            "email",
            [
                "",
                "ünïcödé 🐟 名前",
                "'; DROP TABLE x; --",
                'say "hi"',
                "a\nb\tc\\d",
                "nul\0inside",
                "%s {} $1",
            ],
        ),
    ],
)
def test_a_value_is_read_back_as_it_was_written(
    warehouse: base.Warehouse, column: str, values: list[object]
) -> None:
    written = [None, *values]
    warehouse.load([load(*(row(f"cus_{i:02}", **{column: v}) for i, v in enumerate(written)))], {})
    assert [value for _, value in stored(warehouse, "id", column)] == [
        kept(warehouse, each) for each in written
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"big": 9007199254740993, "bigger": 18446744073709551617, "huge": 1e400}',
        '{"price": 1.10, "tiny": 0.000000000000000001}',
        '{"nul": "a\\u0000b", "emoji": "\\ud83d\\ude00 🐟", "slashes": "\\\\u0041 \\/"}',
        '{"it\'s": "a \\"quote\\"", "": [1, [2, {"deep": null}], true]}',
        '"text"',
        "[]",
        "12",
        "null",
    ],
)
def test_json_keeps_every_digit(warehouse: base.Warehouse, text: str) -> None:
    warehouse.load([load(row(metadata=text))], {})
    [(_, read)] = stored(warehouse, "id", "metadata")
    expected = text if "u0000" not in text else text.replace("\\u0000", "\\u0000" if warehouse.nul else "")
    assert json.loads(str(read), parse_float=Decimal) == json.loads(expected, parse_float=Decimal)


def test_json_null_is_a_value_and_no_json_is_none(warehouse: base.Warehouse) -> None:
    warehouse.load([load(row("cus_1", metadata="null"), row("cus_2", metadata=None))], {})
    assert stored(warehouse, "id", "metadata") == [("cus_1", "null"), ("cus_2", None)]


def test_half_a_surrogate_in_json_spoils_no_query(warehouse: base.Warehouse) -> None:
    text = '{"half": "\\ud83d", "turned": "\\uDE00\\uD83D", "whole": "\\ud83d\\ude00", "plain": "\\\\ud83d"}'
    warehouse.load([load(row(metadata=text))], {})
    [(_, read)] = stored(warehouse, "id", "metadata")
    assert json.loads(str(read)) == {"half": "�", "turned": "��", "whole": "😀", "plain": "\\ud83d"}


def test_a_text_of_a_megabyte(warehouse: base.Warehouse) -> None:
    long = "🐟 und so weiter " * 60_000
    warehouse.load([load(row(email=long, metadata=json.dumps({"note": long})))], {})
    [(email, metadata)] = stored(warehouse, "email", "metadata")
    assert email == long
    assert json.loads(str(metadata)) == {"note": long}


def test_the_table_has_the_columns_of_its_schema_in_order(warehouse: base.Warehouse) -> None:
    warehouse.prepare([CUSTOMERS])
    assert list(warehouse.columns("customers")) == SCHEMA.names


# Versions


def test_a_newer_row_replaces_the_stored_one(warehouse: base.Warehouse) -> None:
    assert warehouse.load([load(row("cus_1", 1, amount=1), row("cus_2", 1, amount=2))], {}) == [
        base.Loaded("customers", read=2, inserted=2, updated=0, stale=0)
    ]
    assert warehouse.load([load(row("cus_2", 2, amount=20), row("cus_3", 2, amount=30))], {}) == [
        base.Loaded("customers", read=2, inserted=1, updated=1, stale=0)
    ]
    assert stored(warehouse, "id", "amount") == [("cus_1", 1), ("cus_2", 20), ("cus_3", 30)]


def test_an_older_row_changes_nothing(warehouse: base.Warehouse) -> None:
    warehouse.load([load(row("cus_1", 5, amount=5))], {})
    assert warehouse.load([load(row("cus_1", 4, amount=4), row("cus_2", 1, amount=1))], {}) == [
        base.Loaded("customers", read=2, inserted=1, updated=0, stale=1)
    ]
    assert stored(warehouse, "id", "amount") == [("cus_1", 5), ("cus_2", 1)]


def test_on_equal_versions_the_later_load_wins(warehouse: base.Warehouse) -> None:
    warehouse.load([load(row(amount=1))], {})
    assert warehouse.load([load(row(amount=2))], {}) == [base.Loaded("customers", 1, 0, 1, 0)]
    assert stored(warehouse, "id", "amount") == [("cus_1", 2)]


def test_within_a_load_the_newest_wins_and_of_equals_the_last(warehouse: base.Warehouse) -> None:
    batch = load(row("a", 2, amount=1), row("b", 1, amount=2), row("a", 1, amount=3), row("b", 1, amount=4))
    assert warehouse.load([batch], {}) == [base.Loaded("customers", 4, 2, 0, 2)]
    assert stored(warehouse, "id", "amount") == [("a", 1), ("b", 4)]


def test_two_loads_of_one_table_in_one_call(warehouse: base.Warehouse) -> None:
    done = warehouse.load(
        [load(row("a", 2, amount=1)), load(row("a", 1, amount=2), row("b", 0, amount=3))], {}
    )
    assert [(one.read, one.inserted, one.stale) for one in done] == [(1, 1, 0), (2, 1, 1)]
    assert stored(warehouse, "id", "amount") == [("a", 1), ("b", 3)]


def test_a_row_without_a_version_is_older_than_any(warehouse: base.Warehouse) -> None:
    warehouse.load([load({**row("a", amount=1), "_version": None})], {})
    assert warehouse.load([load({**row("a", amount=2), "_version": None})], {})[0].updated == 1
    assert warehouse.load([load(row("a", 1, amount=3))], {})[0].updated == 1
    assert warehouse.load([load({**row("a", amount=4), "_version": None})], {})[0].stale == 1
    assert stored(warehouse, "id", "amount") == [("a", 3)]


def test_nothing_older_than_a_tombstone_brings_a_row_back(warehouse: base.Warehouse) -> None:
    warehouse.load([load(row(version=1, amount=1))], {})
    warehouse.load([load(row(version=5, _deleted_at=at(5)))], {})
    warehouse.load([load(row(version=4, amount=4))], {})
    assert stored(warehouse, "id", "amount", "_deleted_at") == [("cus_1", None, at(5))]
    warehouse.load([load(row(version=6, amount=6))], {})
    assert stored(warehouse, "id", "amount", "_deleted_at") == [("cus_1", 6, None)]


def test_a_tombstone_of_a_row_never_seen_holds_too(warehouse: base.Warehouse) -> None:
    warehouse.load([load(row(version=5, _deleted_at=at(5)))], {})
    warehouse.load([load(row(version=4, amount=4))], {})
    assert stored(warehouse, "id", "_deleted_at") == [("cus_1", at(5))]


def test_the_same_id_in_two_accounts_is_two_rows(warehouse: base.Warehouse) -> None:
    warehouse.load([load(row(amount=1), {**row(amount=2), "_account_id": "acct_2"})], {})
    assert stored(warehouse, "_account_id", "amount") == [("acct_1", 1), ("acct_2", 2)]


def test_loading_again_leaves_the_same_table(warehouse: base.Warehouse) -> None:
    batch = load(row("a", 1, amount=1), row("b", 2, _deleted_at=at(2)), row("a", 3, amount=3))
    warehouse.load([batch], {"cursor": "1"})
    before = stored(warehouse, *SCHEMA.names)
    warehouse.load([batch], {"cursor": "1"})
    assert stored(warehouse, *SCHEMA.names) == before


def test_other_keys_and_no_version(warehouse: base.Warehouse) -> None:
    runs = base.Table(
        "_tidegate_runs",
        pa.schema([("run_id", pa.string()), ("stream", pa.string()), ("rows", pa.int64())]),
        key=("run_id", "stream"),
        version="",
    )
    first = load(
        {"run_id": "r1", "stream": "a", "rows": 1}, {"run_id": "r1", "stream": "b", "rows": 2}, table=runs
    )
    again = load(
        {"run_id": "r1", "stream": "b", "rows": 3}, {"run_id": "r1", "stream": "b", "rows": 4}, table=runs
    )
    warehouse.load([first], {})
    assert warehouse.load([again], {}) == [base.Loaded("_tidegate_runs", 2, 0, 1, 1)]
    assert stored(warehouse, "stream", "rows", table="_tidegate_runs") == [("a", 1), ("b", 4)]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            pa.table({"_account_id": ["a", "a"], "id": ["x", None], "_version": [at(1), at(1)]}),
            "1 of 2 rows .* no id",
        ),
        (pa.table({"_account_id": ["a"], "_version": [at(1)]}), "without the column id"),
        (pa.table({"_account_id": ["a"], "id": ["x"]}), "without the column _version"),
        (
            pa.table({"_account_id": ["a"], "id": ["x"], "_version": [at(1)], "l": [[1]]}),
            "Column l has the Arrow type",
        ),
    ],
)
def test_rows_that_no_key_tells_apart_are_refused(
    warehouse: base.Warehouse, rows: pa.Table, says: str
) -> None:
    warehouse.load([load(row(amount=1))], {"cursor": "1"})
    with pytest.raises(errors.WarehouseError, match=says):
        warehouse.load([load(row(amount=2)), base.Load(CUSTOMERS, rows)], {"cursor": "2"})
    assert stored(warehouse, "id", "amount") == [("cus_1", 1)]
    assert warehouse.state() == {"cursor": "1"}


# Columns


def test_a_column_that_the_table_lacks_is_added(warehouse: base.Warehouse) -> None:
    warehouse.load([load({"id": "a"}, table=simple())], {})
    wider = simple(pa.field("note", pa.string()), pa.field("doc", pa.string(), metadata=base.JSON))
    warehouse.load([load({"id": "b", "note": "new", "doc": "{}"}, table=wider)], {})
    assert stored(warehouse, "id", "note", "doc", table="things") == [("a", None, None), ("b", "new", "{}")]


def test_a_column_of_the_rows_alone_is_added(warehouse: base.Warehouse) -> None:
    rows = pa.table({"id": ["a"], "surprise": [7]})
    warehouse.load([base.Load(simple(), rows)], {})
    assert stored(warehouse, "id", "surprise", table="things") == [("a", 7)]


def test_columns_that_the_rows_lack_become_null(warehouse: base.Warehouse) -> None:
    warehouse.load([load(row(version=1, amount=1, email="old@example.com"))], {})
    narrow = pa.table({"_account_id": ["acct_1"], "id": ["cus_1"], "_version": [at(2)], "amount": [2]})
    warehouse.load([base.Load(CUSTOMERS, narrow)], {})
    assert stored(warehouse, "id", "amount", "email") == [("cus_1", 2, None)]


def test_preparing_again_changes_nothing_and_never_drops(warehouse: base.Warehouse) -> None:
    warehouse.prepare([CUSTOMERS])
    warehouse.load([load(row(email="a@example.com"))], {})
    before = warehouse.columns("customers")
    warehouse.prepare([CUSTOMERS])
    warehouse.prepare([base.Table("customers", SCHEMA.remove(SCHEMA.get_field_index("email")))])
    assert warehouse.columns("customers") == before
    assert stored(warehouse, "id", "email") == [("cus_1", "a@example.com")]


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        ((pa.int64(), 2**62), (pa.decimal128(38, 12), Decimal("0.5")), [Decimal(2**62), Decimal("0.5")]),
        ((pa.int64(), 3), (pa.float64(), 0.5), [3.0, 0.5]),
        ((pa.int64(), 2**53 + 1), (pa.float64(), 0.5), ["9007199254740993", "0.5"]),
        ((pa.float64(), 0.5), (pa.int64(), 2**53 + 1), ["0.5", "9007199254740993"]),
        ((pa.float64(), 0.5), (pa.int64(), 3), [0.5, 3.0]),
        ((pa.int64(), 3), (pa.string(), "drei"), ["3", "drei"]),
        ((pa.string(), "drei"), (pa.int64(), 3), ["drei", "3"]),
        ((pa.bool_(), True), (pa.string(), "maybe"), ["true", "maybe"]),
        ((pa.decimal128(38, 12), Decimal("0.1")), (pa.int64(), 3), [Decimal("0.1"), Decimal(3)]),
        ((pa.int64(), 3), ("json", '{"a": 1}'), ["3", '{"a": 1}']),
        (("json", '{"a": 1}'), (pa.int64(), 3), ['{"a": 1}', "3"]),
        (("json", '{"a": 1}'), (pa.string(), "plain"), ['{"a": 1}', "plain"]),
        ((pa.string(), "plain"), ("json", '{"a": 1}'), ["plain", '{"a": 1}']),
    ],
)
def test_types_widen_and_lose_nothing(
    warehouse: base.Warehouse,
    first: tuple[object, object],
    then: tuple[object, object],
    expected: list[object],
) -> None:
    def field(kind: object) -> pa.Field:
        return pa.field("v", pa.string(), metadata=base.JSON) if kind == "json" else pa.field("v", kind)

    for name, (kind, value) in (("a", first), ("b", then)):
        warehouse.load([load({"id": name, "v": value}, table=simple(field(kind)))], {})
    found = [value for _, value in stored(warehouse, "id", "v", table="things")]
    assert list(map(meant, found)) == list(map(meant, expected))


def test_preparing_with_a_narrower_type_keeps_the_wider(warehouse: base.Warehouse) -> None:
    warehouse.prepare([simple(pa.field("v", pa.string()))])
    before = warehouse.columns("things")
    warehouse.prepare([simple(pa.field("v", pa.int64()))])
    assert warehouse.columns("things") == before


@pytest.mark.parametrize(
    "name",
    [
        "order",
        "select",
        "Table",
        'say "hi"',
        "it's",
        "with space",
        "dots.in.name",
        "ünï🐟",
        "semi;colon--",
        "a\\b",
        "1st",
        "100% %s {} ?",
    ],
)
def test_a_name_may_be_anything(warehouse: base.Warehouse, name: str) -> None:
    table = simple(pa.field(name, pa.string()), name=name, key=("id", name))
    warehouse.prepare([table])
    fence = warehouse.claim("me", [name])
    warehouse.load([load({"id": "a", name: "x"}, {"id": "a", name: "x"}, table=table)], {name: name}, fence)
    warehouse.load([load({"id": "a", name: "x"}, table=table)], {}, fence)
    assert stored(warehouse, "id", name, table=name) == [("a", "x")]
    assert warehouse.state() == {name: name}
    assert list(warehouse.columns(name)) == ["id", name]


def test_a_key_with_what_a_warehouse_cannot_hold_is_the_same_key_again(warehouse: base.Warehouse) -> None:
    table = base.Table("things", pa.schema([("id", pa.string()), ("v", pa.int64())]), ("id",), "v")
    for version in (1, 2):
        warehouse.load([base.Load(table, pa.table({"id": ["a\0b"], "v": [version]}))], {})
    assert stored(warehouse, "id", "v", table="things") == [(kept(warehouse, "a\0b"), 2)]
    assert warehouse.find(table, pa.table({"id": ["a\0b"]}), ["v"]).column("v").to_pylist() == [2]


def test_a_text_that_is_no_json_is_refused_and_not_repeated(warehouse: base.Warehouse) -> None:
    table = simple(pa.field("doc", pa.string(), metadata=base.JSON))
    warehouse.load([load({"id": "a", "doc": "{}"}, table=table)], {})
    with pytest.raises(errors.WarehouseError) as refused:
        warehouse.load([base.Load(table, pa.table({"id": ["b"], "doc": ["jenny@example.com"]}))], {})
    assert "jenny" not in str(refused.value)
    assert stored(warehouse, "id", "doc", table="things") == [("a", "{}")]


def test_a_table_needs_a_name_of_its_own(warehouse: base.Warehouse) -> None:
    for name in ("", "_tidegate_state"):
        with pytest.raises(errors.ConfigError, match="name"):
            warehouse.prepare([simple(name=name)])
        with pytest.raises(errors.ConfigError, match="name"):
            warehouse.load([load({"id": "a"}, table=simple(name=name))], {})


# State


def test_a_warehouse_that_never_saw_us_is_empty(warehouse: base.Warehouse) -> None:
    assert warehouse.state() == {}
    assert warehouse.columns("customers") == {}


def test_state_is_set_kept_and_removed(warehouse: base.Warehouse, url: str) -> None:
    warehouse.load([], {"tail/acct_1": "5", "tail/acct_2": "6", "slices/x": "ünï\0🐟" * 10_000})
    warehouse.load([], {"tail/acct_1": "7", "tail/acct_2": None, "never/there": None})
    again = warehouses.open_url(url)
    assert again.state() == {"slices/x": f"ünï{again.nul}🐟" * 10_000, "tail/acct_1": "7"}
    assert again.state("tail/") == {"tail/acct_1": "7"}
    assert again.state("tail_") == {}
    again.close()


def test_an_empty_load_still_makes_the_table_and_writes_state(warehouse: base.Warehouse) -> None:
    assert warehouse.load([load()], {"cursor": "1"}) == [base.Loaded("customers", 0, 0, 0, 0)]
    assert stored(warehouse, "id", "amount") == []
    assert warehouse.state() == {"cursor": "1"}
    assert warehouse.load([], {}) == []


def test_several_tables_and_state_land_together(warehouse: base.Warehouse) -> None:
    done = warehouse.load([load(row()), load({"id": "a"}, table=simple())], {"cursor": "1"})
    assert [(one.table, one.inserted) for one in done] == [("customers", 1), ("things", 1)]
    assert warehouse.state() == {"cursor": "1"}


# Writers


def test_a_writer_that_was_overtaken_commits_nothing(warehouse: base.Warehouse, url: str) -> None:
    warehouse.prepare([CUSTOMERS])
    sleeper = warehouse.claim("run 1", ["customers", "things"])
    warehouse.load([load(row(version=1, amount=1))], {"cursor": "1"}, sleeper)

    other = warehouses.open_url(url)
    fence = other.claim("run 2", ["customers"])
    other.load([load(row(version=2, amount=2))], {"cursor": "2"}, fence)

    with pytest.raises(errors.Fenced, match=r"customers.*run 2"):
        warehouse.load([load(row(version=3, amount=3))], {"cursor": "3"}, sleeper)
    with pytest.raises(errors.Fenced):
        warehouse.load([load({"id": "a"}, table=simple())], {}, sleeper)
    assert stored(other, "id", "amount") == [("cus_1", 2)]
    assert warehouse.state() == {"cursor": "2"}
    assert warehouse.columns("things") == {}
    other.load([], {"cursor": "4"}, fence)
    other.close()


def test_claims_on_different_tables_do_not_disturb(warehouse: base.Warehouse) -> None:
    customers, things = warehouse.claim("one", ["customers"]), warehouse.claim("two", ["things"])
    warehouse.load([load(row())], {}, customers)
    warehouse.load([load({"id": "a"}, table=simple())], {}, things)


def test_fences_are_no_state_of_yours(warehouse: base.Warehouse) -> None:
    warehouse.claim("me", ["customers"])
    assert warehouse.state() == {}
    with pytest.raises(errors.WarehouseError, match="fence/customers"):
        warehouse.load([], {"fence/customers": "9 me"})


CHILD = """
import os, signal, sys
import pyarrow as pa
from tidegate import warehouse as warehouses
from tidegate.warehouse import base
table = base.Table("rows", pa.schema([("id", pa.string()), ("n", pa.int64()), ("text", pa.string())]), ("id",), "n")
opened = warehouses.open_url(sys.argv[1])
def batch(n):
    ids = [f"{n}-{i}" for i in range(500)] + ["hot"]
    return base.Load(table, pa.table({"id": ids, "n": [n] * 501, "text": [id * int(sys.argv[2]) for id in ids]}))
"""

KILLED_BEFORE_COMMIT = """
class Trap(dict):
    def values(self):
        os.kill(os.getpid(), signal.SIGKILL)
    items = values
opened.load([batch(0)], {"n": "0"})
opened.load([batch(1)], Trap(n="1"))
"""

ENDLESS = """
n = int(opened.state().get("n", "-1"))
print("ready", flush=True)
while True:
    n += 1
    opened.load([batch(n)], {"n": str(n)})
    print(n, flush=True)
"""


def used(warehouse: base.Warehouse) -> tuple[str, ...]:
    """The modules that a process needs to load into such a warehouse, but for those that start threads."""
    adapter = type(warehouse).__module__
    return ("tidegate.warehouse.desk", *([adapter] if adapter != "tidegate.adapters.delta" else []))


def held(n: int) -> dict[str, int | None]:
    """What a table holds after load number `n`, the first of which is 0."""
    rows = (n + 1) * 500 + 1 if n >= 0 else 0
    return {"rows": rows, "ids": rows, "n": n if n >= 0 else None}


def assert_whole(warehouse: base.Warehouse) -> int:
    """The table holds exactly what the state says, and says how many loads that were.

    Where rows and state are not one transaction, the rows may be those of one load more; never a part of it.
    """
    n = int(warehouse.state().get("n", "-1"))
    if n >= 0 or (warehouse.columns("rows") and not warehouse.whole):
        sql = "SELECT count(*) AS rows, count(DISTINCT id) AS ids, max(n) AS n FROM stripe.rows"
        [found] = [batch.to_pylist()[0] for batch in warehouse.read(sql)]
        assert found in [held(loads) for loads in ([n] if warehouse.whole else [n, n + 1])]
    return n


@pytest.mark.parametrize("size", [1, 1_000])
def test_killed_between_merge_and_commit(warehouse: base.Warehouse, url: str, size: int) -> None:
    child = warm.started(CHILD + KILLED_BEFORE_COMMIT, url, size, modules=used(warehouse))
    assert child.wait() == -signal.SIGKILL
    assert assert_whole(warehouse) == 0


@pytest.mark.parametrize(("seed", "size"), [(0, 1), (1, 1), (2, 1_000), (3, 1_000)])
def test_killed_at_any_moment_rows_and_state_agree(
    warehouse: base.Warehouse, url: str, seed: int, size: int
) -> None:
    rng, reached = random.Random(seed), -1
    for _ in range(5):
        with warm.started(CHILD + ENDLESS, url, size, modules=used(warehouse), stdout=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            promised = [int(child.stdout.readline()) for _ in range(rng.randrange(4))]
            time.sleep(rng.uniform(0, 0.1))
            child.kill()
        now = assert_whole(warehouse)
        assert now >= max([reached, *promised])
        reached = now
    assert reached >= 0


# Reading


def test_reading_comes_in_batches_with_parameters(warehouse: base.Warehouse) -> None:
    warehouse.load([load(*(row(f"cus_{i:05}", amount=i) for i in range(25_000)))], {})
    batches = list(
        warehouse.read("SELECT amount FROM stripe.customers WHERE amount >= ? AND id <> ?", [5_000, "x"])
    )
    assert len(batches) > 1
    assert sorted(v for batch in batches for v in batch.column("amount").to_pylist()) == list(
        range(5_000, 25_000)
    )


def test_a_read_that_is_given_up_lets_go(warehouse: base.Warehouse) -> None:
    warehouse.load([load(*(row(f"cus_{i:05}") for i in range(25_000)))], {})
    batches = warehouse.read("SELECT * FROM stripe.customers")
    next(batches)
    batches.close()
    assert warehouse.load([load(row("cus_00000", 1))], {})[0].updated == 1


def test_a_wrong_query_is_an_error_with_its_place(warehouse: base.Warehouse) -> None:
    warehouse.load([load(row())], {})
    with pytest.raises(errors.WarehouseError, match="nowhere"):
        list(warehouse.read("SELECT * FROM stripe.nowhere"))
    assert stored(warehouse, "id", "amount") == [("cus_1", None)]


def test_check_reaches_reads_and_writes(warehouse: base.Warehouse) -> None:
    for _ in range(2):
        checks = warehouse.check()
        names = [check.name for check in checks]
        assert names in (["reach", "read", "write"], ["reach", "sign in", "list", "read", "write"])
        assert [check.name for check in checks if not check.ok] == []
        assert all(check.detail for check in checks)
        warehouse.load([load(row())], {})


def test_closing_twice_is_fine_and_a_closed_one_opens_again(warehouse: base.Warehouse) -> None:
    warehouse.load([load(row())], {})
    warehouse.close()
    warehouse.close()
    assert stored(warehouse, "id", "amount") == [("cus_1", None)]


# Everything at once, against a model


RECORD = st.fixed_dictionaries(
    {
        "id": st.sampled_from("abcd"),
        "_version": st.none() | st.integers(0, 5).map(at),
        "deleted": st.booleans(),
    },
    optional={
        "amount": st.integers(-(2**63), 2**63 - 1),
        "email": st.text(max_size=5),
        "late": st.booleans(),
    },
)
LATE = base.Table("customers", SCHEMA.append(pa.field("late", pa.bool_())))


def model_load(table: dict[str, dict[str, Any]], records: list[dict[str, Any]]) -> None:
    """The truth: the newest version of each id, of equals a tombstone, else the later; no version before all."""
    for record in records:
        known = table.get(str(record["id"]))
        if known is None or age(record) >= age(known):
            table[str(record["id"])] = record


def age(record: dict[str, Any]) -> tuple[dt.datetime, bool]:
    return record["_version"] or at(-1), record["_deleted_at"] is not None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(loads=st.lists(st.lists(RECORD, max_size=8), min_size=1, max_size=5))
def test_any_sequence_of_loads_ends_as_the_model_says(
    new_url: Callable[[], str], loads: list[list[dict[str, object]]]
) -> None:
    warehouse = warehouses.open_url(new_url())
    model: dict[str, dict[str, Any]] = {}
    for number, records in enumerate(loads):
        rows = [
            {
                **record,
                "_account_id": "acct_1",
                "_deleted_at": record["_version"] if record["deleted"] else None,
            }
            for record in records
        ]
        table = LATE if any("late" in record for record in rows) else CUSTOMERS
        [done] = warehouse.load([load(*rows, table=table)], {"n": str(number)})
        before = set(model)
        model_load(model, rows)
        assert done.read == done.inserted + done.updated + done.stale == len(rows)
        assert done.inserted == len(set(model) - before)
    warehouse.prepare([LATE])
    names = ("id", "_version", "_deleted_at", "amount", "email", "late")
    assert stored(warehouse, *names) == [
        tuple(kept(warehouse, model[id].get(name)) for name in names) for id in sorted(model)
    ]
    assert warehouse.state() == {"n": str(len(loads) - 1)}
    warehouse.close()
