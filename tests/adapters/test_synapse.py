"""What is Synapse's own: the very statements, tables that are written anew, and what a kill between leaves."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence

import loads
import pyarrow as pa
import pytest
import servers

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.adapters import sqlserver, synapse
from tidegate.warehouse import base

LOCKED = ["BEGIN TRANSACTION", "DELETE FROM [stripe].[_tidegate_state] WHERE [key] = ''"]
"""How a writer keeps all others out."""

THING = base.Table("things", pa.schema([("id", pa.string()), ("n", pa.int64())]), ("id",), "n")


class Recorded(synapse.Synapse):
    """A pool that notes what it is told."""

    def __init__(self, other: synapse.Synapse) -> None:
        super().__init__(other._address, other.schema)
        self.told: list[str] = []
        self.trap: Callable[[str], None] = lambda _: None

    def execute(self, text: str, parameters: Sequence[object] = ()) -> None:
        """Note a statement, and run it."""
        self.trap(text)
        self.told.append(re.sub(r"_tidegate_stage_\w+", "STAGE", text))
        super().execute(text, parameters)


@pytest.fixture
def pool() -> Iterator[Recorded]:
    opened = warehouses.open_url(servers.new_synapse())
    assert isinstance(opened, synapse.Synapse)
    recorded = Recorded(opened)
    yield recorded
    recorded.close()


def things(pool: Recorded) -> list[tuple[object, ...]]:
    return loads.found(pool, "SELECT * FROM stripe.things ORDER BY id")


def thing(*rows: tuple[str, object], kind: pa.DataType | None = None) -> base.Load:
    schema = THING.schema if kind is None else pa.schema([("id", pa.string()), ("n", kind)])
    values = pa.table({"id": [id for id, _ in rows], "n": [n for _, n in rows]}, schema=schema)
    return base.Load(base.Table("things", schema, ("id",), "" if kind is not None else "n"), values)


# Statements


def test_what_a_pool_is_told_when_tables_are_made(pool: Recorded) -> None:
    pool.prepare([loads.HISTORY])
    assert pool.told == [
        "CREATE SCHEMA [stripe]",
        "CREATE TABLE [stripe].[_tidegate_state] ([key] NVARCHAR(450) COLLATE Latin1_General_100_BIN2 NOT NULL, "
        "[value] NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NULL, [updated_at] DATETIMEOFFSET(6) NULL) "
        "WITH (DISTRIBUTION = HASH([key]), HEAP)",
        "CREATE TABLE [stripe].[_tidegate_tombstones] "
        "([table_name] NVARCHAR(450) COLLATE Latin1_General_100_BIN2 NULL, "
        "[key] NVARCHAR(450) COLLATE Latin1_General_100_BIN2 NULL, [_version] BIGINT NULL, "
        "[_deleted_at] DATETIMEOFFSET(6) NULL, [_synced_at] DATETIMEOFFSET(6) NULL) "
        "WITH (DISTRIBUTION = HASH([key]), HEAP)",
        "CREATE TABLE [stripe].[items_history] "
        "([_account_id] NVARCHAR(450) COLLATE Latin1_General_100_BIN2 NOT NULL, "
        "[id] NVARCHAR(450) COLLATE Latin1_General_100_BIN2 NOT NULL, "
        "[name] NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NULL, [_version] BIGINT NULL, "
        "[_valid_from] DATETIMEOFFSET(6) NOT NULL, [_valid_to] DATETIMEOFFSET(6) NULL, "
        "[_row_hash] NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NULL) "
        "WITH (DISTRIBUTION = HASH([id]), HEAP)",
    ]


def test_what_a_pool_is_told_when_rows_change(pool: Recorded) -> None:
    pool.load([thing(("a", 1), ("b", 1))], {})
    pool.told.clear()
    pool.load([thing(("a", 2))], {"n": "2"})
    state = "OPENJSON(?) WITH ([key] NVARCHAR(4000) '$[0]') AS r"
    assert pool.told == [
        *LOCKED,
        "DELETE [stripe].[things] FROM [stripe].[things] JOIN (SELECT [id] COLLATE Latin1_General_100_BIN2 AS [id] "
        "FROM OPENJSON(?) WITH ([id] NVARCHAR(4000) '$[0]') AS r) AS _tidegate_keys "
        "ON _tidegate_keys.[id] = [stripe].[things].[id] "
        "AND DATALENGTH(_tidegate_keys.[id]) = DATALENGTH([stripe].[things].[id])",
        "INSERT INTO [stripe].[things] ([id], [n]) SELECT [id], [n] "
        "FROM OPENJSON(?) WITH ([id] NVARCHAR(MAX) '$[0]', [n] BIGINT '$[1]') AS r",
        "DELETE [stripe].[_tidegate_state] FROM [stripe].[_tidegate_state] "
        f"JOIN (SELECT [key] COLLATE Latin1_General_100_BIN2 AS [key] FROM {state}) AS _tidegate_keys "
        "ON _tidegate_keys.[key] = [stripe].[_tidegate_state].[key] "
        "AND DATALENGTH(_tidegate_keys.[key]) = DATALENGTH([stripe].[_tidegate_state].[key])",
        "INSERT INTO [stripe].[_tidegate_state] ([key], [value], [updated_at]) SELECT [key], [value], [updated_at] "
        "FROM OPENJSON(?) WITH ([key] NVARCHAR(MAX) '$[0]', [value] NVARCHAR(MAX) '$[1]', "
        "[updated_at] DATETIMEOFFSET(6) '$[2]') AS r",
        "COMMIT TRANSACTION",
    ]
    assert things(pool) == [("a", 2), ("b", 1)]


def test_what_a_pool_is_told_when_many_rows_come(pool: Recorded) -> None:
    pool.prepare([THING])
    pool.told.clear()
    pool.load([thing(*((str(n), n) for n in range(sqlserver.FEW + 1)))], {})
    assert pool.told == [
        *LOCKED,
        "INSERT INTO [stripe].[things] ([id], [n]) SELECT [id], [n] FROM [stripe].[STAGE]",
        "COMMIT TRANSACTION",
        "IF OBJECT_ID(N'[stripe].[STAGE]') IS NOT NULL DROP TABLE [stripe].[STAGE]",
    ]
    assert pool.stage("STAGE", {"id": "VARCHAR", "n": "BIGINT"}) == (
        "CREATE TABLE [stripe].[STAGE] ([id] NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2 NULL, [n] BIGINT NULL) "
        "WITH (DISTRIBUTION = ROUND_ROBIN, HEAP)"
    )


def test_what_a_pool_is_told_when_a_view_follows_its_table(pool: Recorded) -> None:
    pool.prepare([loads.ITEMS])
    pool.told.clear()
    wider = loads.ITEMS.schema.append(pa.field("more", pa.bool_()))
    pool.prepare([base.Table("items", wider)])
    assert pool.told == [
        *LOCKED,
        "ALTER TABLE [stripe].[items] ADD [more] BIT NULL",
        "DROP VIEW IF EXISTS [stripe_live].[items]",
        "CREATE VIEW [stripe_live].[items] AS SELECT * FROM [stripe].[items] WHERE [_deleted_at] IS NULL",
    ]


def test_what_a_pool_is_told_when_a_column_widens(pool: Recorded) -> None:
    pool.load([thing(("a", 1), kind=pa.int64())], {})
    pool.told.clear()
    pool.prepare([thing(kind=pa.string()).table])
    assert pool.told == [
        *LOCKED,
        "IF OBJECT_ID(N'[stripe].[things_tidegate_wider]') IS NOT NULL DROP TABLE [stripe].[things_tidegate_wider]",
        "CREATE TABLE [stripe].[things_tidegate_wider] WITH (DISTRIBUTION = HASH([id]), HEAP) AS SELECT [id], "
        "CAST([n] AS NVARCHAR(MAX)) COLLATE Latin1_General_100_BIN2 AS [n] FROM [stripe].[things]",
        "RENAME OBJECT [stripe].[things] TO [things_tidegate_former]",
        "RENAME OBJECT [stripe].[things_tidegate_wider] TO [things]",
        "IF OBJECT_ID(N'[stripe].[things_tidegate_former]') IS NOT NULL "
        "DROP TABLE [stripe].[things_tidegate_former]",
    ]
    assert things(pool) == [("a", "1")]


# Keys


def test_blanks_at_the_end_of_a_key_count(pool: Recorded) -> None:
    pool.load([thing(("a", 1), ("a ", 1), ("b", 1))], {"n": "1", "n ": "1"})
    pool.load([thing(("a ", 2))], {"n ": "2"})
    assert things(pool) == [("a", 1), ("a ", 2), ("b", 1)]
    assert pool.state() == {"n": "1", "n ": "2"}


# Kills


@pytest.mark.parametrize("done", range(1, 5))
def test_a_widening_that_was_killed_is_ended_by_the_next(pool: Recorded, done: int) -> None:
    """After each of its steps."""
    pool.load([thing(("a", 1), kind=pa.int64())], {})
    steps = iter(range(done + 1))

    class Killed(Exception):
        """As far as the pool can tell."""

    def trap(text: str) -> None:
        if "things" in text and next(steps) >= done:
            raise Killed

    pool.trap = trap
    with pytest.raises(Killed):
        pool.prepare([thing(kind=pa.string()).table])
    pool.trap = lambda _: None
    pool.load([thing(("b", "zwei"), kind=pa.string())], {}, pool.claim("me", ["things"]))
    assert things(pool) == [("a", "1"), ("b", "zwei")]
    assert set(pool.existing("stripe")) == {"things", base.STATE, base.TOMBSTONES}
    left = pool._rows("SELECT o.name AS name FROM sys.objects AS o WHERE o.name LIKE 'things%'")
    assert left == [("things",)]


def test_a_table_does_not_change_while_somebody_writes(pool: Recorded) -> None:
    pool.load([thing(("a", 1), kind=pa.int64())], {})
    other = synapse.Synapse(pool._address, pool.schema)
    widening = threading.Thread(target=pool.prepare, args=[[thing(kind=pa.string()).table]])
    with other.transaction():
        widening.start()
        widening.join(1)  # long enough for one that does not wait
        other.append("things", pa.table({"id": ["b"], "n": [2]}))
        assert other.columns("things")["n"] == "bigint"
    widening.join()
    assert things(pool) == [("a", "1"), ("b", "2")]
    assert pool.columns("things")["n"].startswith("nvarchar(max)")
    other.close()


def test_a_table_whose_successor_is_gone_comes_back(pool: Recorded) -> None:
    pool.load([thing(("a", 1))], {})
    pool.execute("RENAME OBJECT [stripe].[things] TO [things_tidegate_former]")
    assert pool.columns("things") == {}
    pool.claim("me", ["things"])
    assert things(pool) == [("a", 1)]


def test_a_widening_of_somebody_else_is_let_alone(pool: Recorded) -> None:
    pool.load([thing(("a", 1))], {})
    made = "[stripe].[things_tidegate_wider]"
    pool.execute(
        f"CREATE TABLE {made} WITH (DISTRIBUTION = HASH([id]), HEAP) AS SELECT [id] FROM [stripe].[things]"
    )
    pool.claim("me", ["others"])
    assert pool._rows(f"SELECT [id] FROM {made}") == [("a",)]


# The stand-in


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("CREATE TABLE s.t (id NVARCHAR(9) PRIMARY KEY) WITH (HEAP)", "refused a statement"),
        ("CREATE TABLE s.t (id NVARCHAR(MAX))", "refused a statement"),
        ("CREATE TABLE s.t (id NVARCHAR(MAX)) WITH (DISTRIBUTION = HASH([id]), HEAP)", "refused a statement"),
        ("DROP TABLE IF EXISTS s.there", "refused a statement"),
        ("CREATE OR ALTER VIEW s.v AS SELECT 1 AS a", "refused a statement"),
        ("ALTER TABLE s.there ALTER COLUMN n NVARCHAR(MAX)", "refused a statement"),
    ],
)
def test_a_pool_refuses_what_only_a_server_does(pool: Recorded, statement: str, refused: str) -> None:
    pool.execute("CREATE SCHEMA s")
    pool.execute("CREATE TABLE s.there (id NVARCHAR(9), n BIGINT)")
    with pytest.raises(errors.WarehouseError, match=refused), pool._explained():
        pool.execute(statement)
    pool.execute("BEGIN TRANSACTION")
    with pytest.raises(errors.WarehouseError, match="refused a statement"), pool._explained():
        pool.execute("CREATE TABLE s.within (id NVARCHAR(9))")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM s.there LIMIT 1",
        "SELECT TRUE AS a",
        "SELECT id || 'x' AS a FROM s.there",
        "SELECT id FROM s.there ORDER BY id NULLS LAST",
        "SELECT substr(id, 1, 2) AS a FROM s.there",
        "SELECT a.id FROM s.there AS a JOIN s.there AS b USING (id)",
        "SELECT id FROM (SELECT id FROM s.there ORDER BY id) AS a",
        "SELECT id FROM (SELECT id FROM s.there)",
        "SELECT id = 'a' AS a FROM s.there",
        "SELECT id FROM s.there WHERE (id, n) IN (SELECT id, n FROM s.there)",
        "SELECT n::INT AS a FROM s.there",
    ],
)
@pytest.mark.parametrize("url", [servers.new_sqlserver, servers.new_synapse])
def test_what_is_no_t_sql_is_refused(url: object, query: str) -> None:
    assert callable(url)
    server = warehouses.open_url(url())
    assert isinstance(server, sqlserver.SQLServer)
    server.execute("CREATE SCHEMA s")
    server.execute("CREATE TABLE s.there (id NVARCHAR(9), n BIGINT)")
    assert server._rows("SELECT id FROM s.there") == []
    with pytest.raises(errors.WarehouseError, match="refused a statement"), server._explained():
        server._rows(query)
    server.close()
