"""Random filters over random rows find the same rows in the stage, in DuckDB, in Postgres and in MariaDB.

The rows are stored by Tidegate's own adapters, and read back: a filter is asked of what a warehouse holds. SQL that
calls itself exact must find just the rows that the stage finds, any other SQL at least those.
"""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import decimal
import functools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import fleet
import pyarrow as pa
import pydantic
import pytest
import servers
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tidegate import config, errors, warehouse
from tidegate.config import conditions
from tidegate.shape import filters, pushdown
from tidegate.warehouse import base, ddl, remote, sql

FILTER: pydantic.TypeAdapter[config.Filter] = pydantic.TypeAdapter(config.Filter)
NOW = dt.datetime(2024, 3, 31, 1, 30, tzinfo=dt.UTC)
D = decimal.Decimal
ROWS = 1_000
TABLE = base.Table(
    "things",
    pa.schema(
        [
            pa.field("_account_id", pa.string()),
            pa.field("id", pa.string()),
            pa.field("name", pa.string()),
            pa.field("amount", pa.int64()),
            pa.field("rate", pa.decimal128(38, 12)),
            pa.field("percent", pa.float64()),
            pa.field("live", pa.bool_()),
            pa.field("created", pa.timestamp("us", "UTC")),
            pa.field("address", pa.string(), metadata=base.JSON),
            pa.field("metadata", pa.string(), metadata=base.JSON),
            pa.field("_version", pa.int64()),
            pa.field("_synced_at", pa.timestamp("us", "UTC")),
            pa.field("_deleted_at", pa.timestamp("us", "UTC")),
        ]
    ),
)
COLUMNS = {field.name: ddl.sql_type(field) for field in TABLE.schema}

WORDS = [
    "", " ", "a", "A", "ab", "b", "a ", " a", "é", "e\u0301", "É", "ß", "SS", "ss", "İ", "i", "I", "ı",
    "\U0001f600", "日本", "\uffff", "%", "_", "a%b", "'", '"', "\\", "a\\nb", "a\nb", "$1", "?", "pro", "Pro",
    "pro ", "PRO", "true", "False", " TRUE\n", "null", "{}", "[]", '{"a": 1}', "today", "30 days ago", "2024-03-31",
    "1711848600", "0", "-0", "5", "+5", "05", "5.0", "5.", ".5", " 5 ", "5e0", "1e3", "1e-13", "1E400", "0.1",
    "0.30000000000000004", "18446744073709551617", "9" * 40, "0.0000000000001", "-7.25", "NaN", "inf", "1_0", "٣",
    "5\n", "\t-7.25", "9" * 101,
]  # fmt: skip
ODD_WORDS = ["a\0b", "\0", "x\0"]
"""What Postgres keeps without its NUL."""
INTEGERS = [0, 1, -1, 5, 1000, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 1_711_848_600, -1, 253_402_300_799]
DECIMALS = [
    D(0),
    D("0.1"),
    D("5"),
    D("-7.25"),
    D("0.000000000001"),
    D("-0.000000000002"),
    D(10**25),
    D("1e20"),
]
DOUBLES = [0.0, -0.0, 0.1, 0.30000000000000004, 5.0, -7.25, 1e-300, 1.7e308, 2.0**53, 1e22]
TIMES = [
    dt.datetime(1000, 1, 1, tzinfo=dt.UTC),
    dt.datetime(1899, 12, 31, 23, 59, 59, tzinfo=dt.UTC),
    dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC),
    dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
    dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC),
    dt.datetime(2024, 3, 1, tzinfo=dt.UTC),
    dt.datetime(2024, 3, 29, 23, 59, 59, 999_999, tzinfo=dt.UTC),
    dt.datetime(2024, 3, 30, tzinfo=dt.UTC),
    dt.datetime(2024, 3, 31, 1, 29, 59, 999_999, tzinfo=dt.UTC),
    dt.datetime(2024, 3, 31, 1, 30, tzinfo=dt.UTC),
    dt.datetime(2024, 3, 31, 2, 30, tzinfo=dt.UTC),
    dt.datetime(2024, 10, 27, 0, 30, tzinfo=dt.UTC),
    dt.datetime(2024, 10, 27, 1, 30, tzinfo=dt.UTC),
    dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC),
]
WHEN = [
    "today", "yesterday", "tomorrow", "30 days ago", "1 month ago", "2 weeks ago", "in 7 months", "3 years ago",
    "2024-03-30", "2024-03-31T01:30:00Z", "2024-03-31T03:30:00+02:00", 1_711_848_600, 0, -1, "1969-12-31",
    "1711848600", "9999-12-31", "0001-01-01",
]  # fmt: skip
MOMENTS = [*WHEN, "now", "2 hours ago", "in 90 minutes"]
KEYS = [
    "plan",
    "order.id",
    'a"b',
    "größe",
    "\U0001f600",
    "0",
    "-1",
    "a b",
    "e\u0301",
    "A",
    "a",
    "$",
    "*",
    "back\\slash",
]
NUMBERS = [
    "0", "5", "-7.25", "5.0", "5.00", "0.1", "0.30000000000000004", "18446744073709551617", "1711848600",
    "0.0000000000001", "99999999999999999999999999", "9007199254740993", "1711848600.5",
]  # fmt: skip
ODD_NUMBERS = ["1e3", "1E2", "1e400", "-1e400", "1e-13", "5e0", "1.5e1", "-0", "-0.0"]
"""What Postgres writes in another way."""


def written(chosen: random.Random, *, odd: bool, depth: int = 0) -> str:
    """A JSON value, as somebody may write it."""
    kind = chosen.randrange(10)
    words = WORDS + ODD_WORDS if odd else WORDS
    if kind < 5:
        return json.dumps(chosen.choice(words), ensure_ascii=chosen.random() < 0.3)
    if kind < 7:
        return chosen.choice(NUMBERS + ODD_NUMBERS if odd else NUMBERS)
    if kind < 8 or depth > 1:
        return chosen.choice(["true", "false", "null", "[]", "{}"])
    inner = [written(chosen, odd=odd, depth=depth + 1) for _ in range(chosen.randrange(4))]
    if kind < 9:
        return "[" + ",".join(inner) + "]"
    return "{" + ",".join(f"{key(chosen)}:{value}" for value in inner) + "}"


def key(chosen: random.Random) -> str:
    """A name in an object; now and then with its characters as escapes."""
    name = json.dumps(chosen.choice(KEYS), ensure_ascii=chosen.random() < 0.02)
    return name.replace("a", "\\u0061") if chosen.random() < 0.005 else name


def document(chosen: random.Random, *, odd: bool) -> str | None:
    """An object with some of the keys, now and then one of them twice."""
    if chosen.random() < 0.05:
        return None
    if chosen.random() < 0.03:
        return chosen.choice(["{}", "null", '""', "[]", "5", '"pro"'])
    members = [f"{key(chosen)}:{written(chosen, odd=odd)}" for _ in range(chosen.randrange(6))]
    return "{" + ",".join(members) + "}"


def row(number: int, chosen: random.Random) -> dict[str, Any]:
    """A row; one in ten has what a warehouse may keep in another form."""
    odd = number % 10 == 9

    def some(values: Sequence[Any]) -> Any:
        return None if chosen.random() < 0.1 else chosen.choice(values)

    return {
        "_account_id": "acct_1",
        "id": f"{'odd' if odd else 'row'}_{number}",
        "name": some(WORDS + ODD_WORDS if odd else WORDS),
        "amount": some(INTEGERS),
        "rate": some(DECIMALS),
        "percent": some(DOUBLES),
        "live": some([True, False]),
        "created": some(TIMES),
        "address": document(chosen, odd=odd),
        "metadata": document(chosen, odd=odd),
        "_version": 1,
        "_synced_at": NOW,
        "_deleted_at": None,
    }


@dataclass(frozen=True)
class Store:
    """A warehouse that holds the rows."""

    dialect: sql.Dialect
    rows: pa.Table
    """What it gives back, in the order of ids."""
    ids: Callable[[pushdown.Pushed], set[str]]


def chosen_ids(filter: config.Filter, rows: pa.Table) -> set[str]:
    holds = filters.compile(filter, rows.schema, NOW).matches(rows)
    return set(rows.column("id").filter(holds).to_pylist())


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """The rows as they were made."""
    chosen = random.Random(20240331)
    return pa.Table.from_pylist([row(n, chosen) for n in range(ROWS)], TABLE.schema)


@pytest.fixture(scope="module")
def stores(rows: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Store]]:
    """The warehouses that hold them."""
    file = tmp_path_factory.mktemp("filters") / "w.duckdb"
    urls = {
        "duckdb": f"duckdb:///{file}",
        "postgres": servers.new_postgres(),
        "mysql": servers.new_mariadb(),
    }
    with contextlib.ExitStack() as ends:
        found = dict[str, Store]()
        for name, url in urls.items():
            opened = warehouse.open_url(url)
            ends.callback(opened.close)
            stored = kept_by(opened, rows)
            if isinstance(opened, remote.Remote):
                found[name] = Store(opened.dialect, stored, functools.partial(in_server, opened))
            else:
                connection = ends.enter_context(duckdb.connect(str(file), read_only=True))
                ask = functools.partial(in_duckdb, connection)
                found[name] = Store(sql.Dialect("duckdb"), stored, ask)
        yield found


def kept_by(opened: base.Warehouse, rows: pa.Table) -> pa.Table:
    """Rows as a warehouse gives them back."""
    opened.load([base.Load(TABLE, rows)], {})
    names = ", ".join(base.quoted(name) for name in COLUMNS)
    batches = opened.read(f'SELECT {names} FROM "stripe"."things" ORDER BY "id"')
    stored = pa.Table.from_batches(batches).cast(TABLE.schema)
    assert stored.num_rows == rows.num_rows
    return stored


def in_server(opened: remote.Remote, pushed: pushdown.Pushed) -> set[str]:
    """The ids of the rows for which SQL is true."""
    text = f"SELECT {opened.column('id')} FROM {opened.name('things')} WHERE {pushed.sql}"
    return {id for batch in opened.fetch(text, pushed.parameters) for id in batch.column(0).to_pylist()}


def in_duckdb(connection: duckdb.DuckDBPyConnection, pushed: pushdown.Pushed) -> set[str]:
    """The same, in a file."""
    text = f"SELECT id FROM stripe.things WHERE {pushed.sql}"
    return {id for (id,) in connection.execute(text, list(pushed.parameters)).fetchall()}


COMPARED = ["<", "<=", ">", ">="]
AMOUNT = ["is empty", "is not empty", "is null", "is not null", "exists", "does not exist"]
LISTED = ["is one of", "is not one of"]
RANGED = ["is between", "is not between"]
DATES = sorted(conditions.DATES)
PATHS = [
    *(f'metadata."{name}"'.replace('a"b', 'a""b') for name in KEYS),
    *(f'address."{name}"'.replace('a"b', 'a""b') for name in KEYS),
    "metadata.order.id", "address.plan.0", "address.plan.A", "address.a.1", "address.A.0.plan", "address.plan.-1",
    "address.a.A.a", "address.a.A.a.plan", "address.plan. 1", "address.plan.0000000001", "address", "metadata",
]  # fmt: skip
LITERALS: dict[str, list[list[Any]]] = {
    "name": [WORDS + ODD_WORDS],
    "amount": [[*INTEGERS, 0.5, -0.5, "5", 10**24, "-1e20", "1711848600.5"]],
    "rate": [[*map(str, DECIMALS[:-2]), "0.3", 5, -7.25, 10**24]],
    "percent": [[0, "-0", 0.1, 5, -7.25, 2**53, 1e22, "0.3"]],
    "live": [[True, False]],
    "created": [WHEN],
    "json": [
        WORDS + ODD_WORDS + NUMBERS,
        [5, 0, -7.25, 0.1, 2**64 + 1, 2**53 + 1, "0.1", 1000, 1_711_848_600, 15, 10**24],
        [True, False],
    ],
}


@st.composite
def condition(draw: st.DrawFn) -> dict[str, Any]:
    """One condition on any field, with a value that some row may have."""
    field = draw(st.sampled_from([*list(LITERALS)[:-1] * 3, *PATHS]))
    kind = field if field in LITERALS else "json"
    literals = draw(st.sampled_from(LITERALS[kind]))
    has_order, is_text = kind != "live" and literals != [True, False], kind in ("name", "json")
    ops = ["is", "is not", *LISTED, *AMOUNT]
    ops += [*COMPARED, *RANGED] if has_order else ["is true", "is false"]
    if is_text:
        ops += ["contains", "does not contain", "starts with", "ends with"] * 2
    if kind in ("created", "amount", "name", "json"):
        ops += DATES
    op = draw(st.sampled_from(ops))
    told: dict[str, Any] = {"field": field, "op": op}
    if op in AMOUNT or op in ("is true", "is false"):
        return told
    if op in DATES:
        return told | {"value": draw(st.sampled_from(MOMENTS))}
    if op in COMPARED and kind == "created":
        return told | {"value": draw(st.sampled_from(MOMENTS))}
    if is_text and draw(st.integers(0, 5)) == 0:
        told["ignore_case"] = True
    if op in LISTED:
        return told | {"value": draw(st.lists(st.sampled_from(literals), min_size=1, max_size=4))}
    if op in RANGED:
        return told | {"value": [draw(st.sampled_from(literals)), draw(st.sampled_from(literals))]}
    return told | {"value": draw(st.sampled_from(literals))}


def trees(conditions: st.SearchStrategy[dict[str, Any]], leaves: int) -> st.SearchStrategy[dict[str, Any]]:
    """Groups of conditions, nested."""
    return st.recursive(
        conditions,
        lambda inner: st.builds(
            lambda name, parts: {name: parts},
            st.sampled_from(["all", "any"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        max_leaves=leaves,
    )


def many(examples: int) -> settings:
    """So many examples, the same in each run."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


FLOORS = {"duckdb": (0.45, 0.8), "postgres": (0.45, 0.6), "mysql": (0.2, 0.6)}
"""Of all filters, how many at least are said exactly, and how many in part."""


def test_random_filters_find_the_same_rows_everywhere(
    stores: dict[str, Store], rows: pa.Table, capsys: pytest.CaptureFixture[str]
) -> None:
    told: collections.Counter[tuple[str, str]] = collections.Counter()

    @many(300)
    @given(trees(condition(), 5))
    def ask(tree: dict[str, Any]) -> None:
        filter = FILTER.validate_python(tree)
        try:
            made = chosen_ids(filter, rows)
        except errors.ConfigError:
            assume(False)  # two bounds in the wrong order
        plain = {id for id in made if id.startswith("row")}
        told["all", ""] += 1
        for name, store in stores.items():
            kept = chosen_ids(filter, store.rows)
            assert {id for id in kept if id.startswith("row")} == plain, f"{name} keeps other rows"
            pushed = pushdown.split(filter, COLUMNS, store.dialect, NOW)
            found = store.ids(pushed)
            if pushed.exact:
                assert found == kept, f"{name} {sorted(found ^ kept)[:3]}: {pushed.sql} {pushed.parameters}"
            assert found >= kept, f"{name} loses {sorted(kept - found)[:3]}: {pushed.sql} {pushed.parameters}"
            told[name, "exactly"] += pushed.exact
            told[name, "in part"] += pushed.sql != "1 = 1"
            told[name, "to the row"] += found == kept

    ask()
    count = told.pop(("all", ""))
    with capsys.disabled():
        for (name, how), number in told.items():
            print(f"{name} says {number / count:.0%} of {count} filters {how}")
    for name, (exactly, partly) in FLOORS.items():
        assert told[name, "exactly"] >= exactly * count
        assert told[name, "in part"] >= partly * count


def test_documents_that_are_nested_deep_are_found_alike(tmp_path: Path) -> None:
    """MariaDB is not asked: it keeps no document of more than 32 levels."""
    far = {f"row_{n}": f'{{"plan":"pro","n":7,"far":{"[" * n + "]" * n}}}' for n in (10, 100, 1_000, 3_000)}
    made = row(1, random.Random(1))
    rows = pa.Table.from_pylist(
        [{**made, "id": id, "address": text} for id, text in far.items()], TABLE.schema
    )
    for url in (f"duckdb:///{tmp_path}/w.duckdb", servers.new_postgres()):
        with contextlib.closing(warehouse.open_url(url)) as opened:
            stored = kept_by(opened, rows)
            dialect = opened.dialect if isinstance(opened, remote.Remote) else sql.Dialect("duckdb")
            for field, op, value, held in (
                ("address.plan", "is", "pro", True),
                ("address.n", "<", 7, False),
                ("address.far", "exists", None, True),
                ("address.far", "is not empty", None, True),
                ("address.far.0.0.0", "exists", None, True),
                ("address.plan", "is not", "free", True),
            ):
                filter = FILTER.validate_python({"field": field, "op": op, "value": value})
                pushed = pushdown.split(filter, COLUMNS, dialect, NOW)
                if isinstance(opened, remote.Remote):
                    found = in_server(opened, pushed)
                else:
                    with duckdb.connect(str(tmp_path / "w.duckdb"), read_only=True) as connection:
                        found = in_duckdb(connection, pushed)
                assert found >= chosen_ids(filter, stored) == (set(far) if held else set()), (url, field, op)
                assert found == chosen_ids(filter, stored) or not pushed.exact


@pytest.mark.parametrize(
    "adapter", ["bigquery", "clickhouse", "databricks", "redshift", "snowflake", "sqlserver"]
)
def test_filters_on_plain_columns_in_the_other_warehouses(
    adapter: str, rows: pa.Table, tmp_path: Path
) -> None:
    """Of these only ClickHouse is real; the others are stand-ins, which take the SQL and its parameters."""
    opened = warehouse.open_url(fleet.url(adapter, tmp_path, 0))
    assert isinstance(opened, remote.Remote)
    said = 0
    with contextlib.closing(opened):
        stored = kept_by(
            opened,
            pa.Table.from_pylist([tame(each) for each in rows.slice(0, 100).to_pylist()], TABLE.schema),
        )

        @many(40)
        @given(trees(condition().filter(lambda each: each["field"] in LITERALS), 3))
        def ask(tree: dict[str, Any]) -> None:
            nonlocal said
            filter = FILTER.validate_python(tree)
            try:
                kept = chosen_ids(filter, stored)
            except errors.ConfigError:
                assume(False)
            pushed = pushdown.split(filter, COLUMNS, opened.dialect, NOW)
            found = in_server(opened, pushed)
            assert found == kept if pushed.exact else found >= kept, f"{pushed.sql} {pushed.parameters}"
            said += pushed.exact

        ask()
    assert said >= 20


def tame(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what one of these cannot keep: NUL, years before 1900, the largest and smallest doubles."""
    name, created, percent = row["name"], row["created"], row["percent"]
    return row | {
        "name": name and name.replace("\0", ""),
        "created": created if created and 1900 <= created.year < 2200 else None,
        "percent": percent if percent and 1e-200 < abs(percent) < 1e30 else None,
        "address": None,
        "metadata": None,
    }
