"""What a source does when a query takes too long, changes something, breaks off or is large, on real servers."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fleet
import psycopg
import pyarrow as pa
import pytest
import servers

from tidegate import config, errors, sources
from tidegate import warehouse as warehouses
from tidegate.sources import base, patience

MANY = "SELECT COUNT(*) AS n FROM " + ", ".join(
    f"(VALUES {', '.join(f'({n})' for n in range(10))}) AS t{k} (i)" for k in range(13)
)
ENDLESS = {
    "duckdb": "SELECT count(*) AS n FROM range(100000000000) AS t (i) WHERE i % 7 = 8",
    "parquet": "SELECT count(*) AS n FROM range(100000000000) AS t (i) WHERE i % 7 = 8",
    "postgres": "SELECT pg_sleep(600) AS n",
    "redshift": "SELECT count(*) AS n FROM pg_class a, pg_class b, pg_class c, pg_class d "
    "WHERE a.relnatts + b.relnatts + c.relnatts + d.relnatts < 0",
    "mysql": "SELECT count(*) AS n FROM stripe.seq_1_to_99999 a, stripe.seq_1_to_99999 b WHERE a.seq * b.seq < 0",
    "snowflake": "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) AS n FROM r",
    "bigquery": "SELECT 'for ever' AS n",
    "databricks": "SELECT count(*) AS n FROM range(100000) AS a CROSS JOIN range(100000) AS b "
    "CROSS JOIN range(100000) AS c WHERE a.range * b.range + c.range % 7 = 3",
    # Its engine here cannot be told to stop, so this one has an end.
    "clickhouse": "SELECT sleepEachRow(0.5) AS n FROM numbers(8) SETTINGS max_block_size = 1",
    "sqlserver": MANY,
    "synapse": MANY,
}


@contextlib.contextmanager
def opened(url: str, timeout: float = 60) -> Iterator[base.Source]:
    source = sources.open_source(config.warehouse(url, "stripe"), timeout=timeout)
    try:
        yield source
    finally:
        source.close()


def new(kind: str, folder: Path) -> str:
    """The URL of an empty warehouse."""
    if kind in ("duckdb", "parquet"):
        url = f"duckdb:///{folder}/w.duckdb" if kind == "duckdb" else f"parquet+file:///{folder}/lake"
        warehouse = warehouses.open_url(url)
        warehouse.claim("test", ["items"])
        warehouse.close()
        return url
    if kind == "bigquery":
        servers.bigquery()[0].endless.append(ENDLESS["bigquery"])
    url = fleet.SERVERS[kind]()
    if kind == "mysql":
        servers.mariadb().run("CREATE DATABASE stripe")
    return url


def said(source: base.Source, text: str) -> str:
    with pytest.raises(errors.TidegateError) as caught:
        list(source.read(text))
    return str(caught.value)


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_query_that_takes_too_long_is_stopped(kind: str, tmp_path: Path) -> None:
    with opened(new(kind, tmp_path), timeout=1) as source:
        assert "ran longer than 1 s and was stopped; let it read less" in said(source, ENDLESS[kind])
        source._timeout = 60  # type: ignore[attr-defined]  # all the time that a busy machine needs
        assert [batch.to_pylist() for batch in source.read("SELECT 1 AS one")] == [[{"one": 1}]]


def test_the_limit_of_postgres_ends_with_the_query() -> None:
    """Behind a pool, a setting of the session would belong to somebody else next."""
    with opened(servers.new_postgres(), timeout=7) as source:
        told = (
            "SELECT current_setting('statement_timeout') AS a, current_setting('transaction_read_only') AS b"
        )
        [batch] = source.read(told)
        assert batch.to_pylist() == [{"a": "7s", "b": "on"}]
        connection = source._warehouse._connection  # type: ignore[attr-defined]  # looked at from outside of a read
        assert connection.execute(told).fetchall() == [("0", "off")]


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_timeout_is_some_time(timeout: float) -> None:
    with pytest.raises(errors.ConfigError, match="give a timeout of more than 0 seconds"):
        sources.open_source(config.warehouse("duckdb:///w.duckdb", "stripe"), timeout=timeout)


def test_functions_that_write_are_refused_by_postgres() -> None:
    url = servers.new_postgres()
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("CREATE TABLE t (n int)")
        owner.execute(
            "CREATE FUNCTION f() RETURNS int AS 'INSERT INTO t VALUES (1) RETURNING n' LANGUAGE sql"
        )
        with opened(url) as source:
            message = said(source, "SELECT f() AS n")
        assert message.startswith("A model only reads, and ")
        assert message.endswith("would change something; leave out the function that does.")
        assert owner.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_functions_that_write_are_refused_by_mariadb(tmp_path: Path) -> None:
    url = new("mysql", tmp_path)
    servers.mariadb().run("CREATE SEQUENCE stripe.numbers")
    with opened(url) as source:
        assert said(source, "SELECT nextval(stripe.numbers) AS n").startswith("A model only reads, and ")


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_what_duckdb_could_do_beside_reading_is_off(kind: str, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("geheim\n1\n")
    with opened(new(kind, tmp_path)) as source:
        message = said(source, f"SELECT * FROM read_csv('{tmp_path}/secret.csv')")
    assert "neither files nor addresses beside them" in message
    assert "geheim" not in message


def test_a_missing_privilege_is_named_with_its_grant() -> None:
    url = servers.new_postgres()
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA analytics")
        owner.execute("CREATE TABLE analytics.accounts (id int)")
        owner.execute("CREATE ROLE model_reader LOGIN")
        try:
            with opened(url.replace("//postgres:", "//model_reader:")) as source:
                text = "SELECT id FROM analytics.accounts"
                assert 'run `GRANT USAGE ON SCHEMA "analytics" TO "model_reader"`' in said(source, text)
                owner.execute('GRANT USAGE ON SCHEMA "analytics" TO "model_reader"')
                assert 'run `GRANT SELECT ON "accounts" TO "model_reader"`' in said(source, text)
                owner.execute('GRANT SELECT ON analytics."accounts" TO "model_reader"')
                assert [batch.num_rows for batch in source.read(text)] == [0]
        finally:
            owner.execute("DROP OWNED BY model_reader")
            owner.execute("DROP ROLE model_reader")


def test_a_connection_that_is_cut_is_no_end_of_rows() -> None:
    url = servers.new_postgres()
    with opened(url) as source:
        batches = source.read("SELECT n FROM generate_series(1, 100000) AS n")
        next(batches)
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        with pytest.raises(errors.WarehouseUnreachable, match="ended the connection"):
            list(batches)
        assert (
            sum(batch.num_rows for batch in source.read("SELECT n FROM generate_series(1, 30000) AS n"))
            == 30_000
        )


def test_closing_leaves_nothing_running_on_postgres() -> None:
    url = servers.new_postgres()
    with opened(url) as source, psycopg.connect(url, autocommit=True) as other:
        batches = source.read("SELECT n FROM generate_series(1, 100000) AS n")
        next(batches)
        batches.close()  # type: ignore[attr-defined]  # it is a generator
        found = other.execute(
            "SELECT state FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        ).fetchall()
        assert found == [("idle",)]


def test_parameters_are_bound_in_the_words_of_the_driver() -> None:
    with opened(servers.new_postgres()) as source:
        [batch] = source.read("SELECT %s::int + 1 AS n, %s::text AS t", [1, "it's"])
        assert batch.to_pylist() == [{"n": 2, "t": "it's"}]
        [batch] = source.read("SELECT '100%' AS t WHERE 'a' LIKE '%a'")
        assert batch.to_pylist() == [{"t": "100%"}]


READER = """
import sys
import psutil
from tidegate import config, sources
own = psutil.Process()
source = sources.open_source(config.warehouse(sys.argv[1], "stripe"))
for _ in source.read("SELECT 1 AS one"):
    pass
before = most = own.memory_info().rss
rows = size = 0
for batch in source.read(sys.argv[2]):
    rows += batch.num_rows
    size += batch.nbytes
    most = max(most, own.memory_info().rss)
source.close()
print(rows, size, most - before)
"""
LARGE = {
    "duckdb": ("SELECT i, repeat('x', 200) AS t FROM range(2000000) AS r (i)", 2_000_000),
    "postgres": ("SELECT i, repeat('x', 200) AS t FROM generate_series(1, 2000000) AS r (i)", 2_000_000),
    "mysql": ("SELECT seq AS i, repeat('x', 1000) AS t FROM stripe.seq_1_to_400000", 400_000),
}


@pytest.mark.parametrize("kind", LARGE)
def test_large_results_pass_through_a_small_part_of_their_size(kind: str, tmp_path: Path) -> None:
    text, count = LARGE[kind]
    done = subprocess.run(
        [sys.executable, "-c", READER, new(kind, tmp_path), text], capture_output=True, text=True, check=True
    )
    rows, size, grown = map(int, done.stdout.split())
    assert rows == count
    assert size > 400_000_000
    assert grown < 200_000_000


# Waiting


def test_what_the_caller_does_between_two_batches_does_not_count() -> None:
    batch = pa.RecordBatch.from_pydict({"n": [1]})
    interrupted = threading.Event()
    found = patience.bounded(iter([batch, batch]), 3600, interrupted.set, "there")
    assert list(found) == [batch, batch]
    assert not interrupted.is_set()


def test_an_interrupted_wait_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when the first interruption found nothing to interrupt."""
    monkeypatch.setattr(patience, "AGAIN", 0.01)
    interrupted = threading.Semaphore(0)

    def batches() -> Iterator[pa.RecordBatch]:
        assert interrupted.acquire(timeout=60)
        assert interrupted.acquire(timeout=60)
        raise errors.WarehouseError("there ended a statement.")
        yield

    with pytest.raises(
        errors.WarehouseError, match=r"The query on there ran longer than 0.1 s and was stopped"
    ):
        list(patience.bounded(batches(), 0.1, interrupted.release, "there"))


def test_rows_that_end_with_an_interruption_need_not_be_all() -> None:
    interrupted = threading.Event()

    def batches() -> Iterator[pa.RecordBatch]:
        assert interrupted.wait(60)
        return
        yield

    with pytest.raises(errors.WarehouseError, match=r"ran longer than 0.1 s"):
        list(patience.bounded(batches(), 0.1, interrupted.set, "there"))


def test_an_error_that_comes_early_is_told_as_it_is() -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        raise errors.WarehouseError("there refused a statement.")
        yield

    with pytest.raises(errors.WarehouseError, match=r"^there refused a statement\.$"):
        list(patience.bounded(batches(), 3600, lambda: None, "there"))
