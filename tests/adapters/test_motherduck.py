"""MotherDuck, as far as it can be had without the service: its address, its sentences, writers that meet."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import duckdb
import loads
import pytest

from tidegate import config, errors, sources
from tidegate import warehouse as warehouses
from tidegate.adapters import motherduck
from tidegate.warehouse import base

TOKEN = "tok_geheim"


def opened(folder: Path) -> base.Warehouse:
    return warehouses.open_url(f"motherduck+file://{folder}/service.duckdb")


def test_the_address_and_the_token_of_a_url() -> None:
    made = warehouses.open_url(f"md:analytics?motherduck_token={TOKEN}", schema="billing")
    assert isinstance(made, motherduck.MotherDuck)
    assert (made.where(), made.schema, made._token) == ("md:analytics", "billing", TOKEN)


def test_a_url_is_shown_without_its_token() -> None:
    assert warehouses.named(f"md:analytics?motherduck_token={TOKEN}") == "md:analytics"


def test_a_service_that_cannot_be_used_is_a_sentence_without_the_token() -> None:
    """Without a network its extension cannot be had; with one, nobody knows this token."""
    made = warehouses.open_url(f"md:analytics?motherduck_token={TOKEN}", wait=0.1)
    (found,) = made.check()
    assert (found.name, found.ok) == ("reach", False)
    assert "MotherDuck" in found.detail or "refused the token" in found.detail
    assert TOKEN not in found.detail


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (duckdb.InvalidInputException("Jwt is expired"), errors.ConfigError, "refused the token"),
        (duckdb.CatalogException("no database/share named 'x' found"), errors.ConfigError, "CREATE DATABASE"),
        (duckdb.TransactionException("Conflict on tuple"), errors.WarehouseBusy, "Somebody else"),
        (duckdb.IOException("Connection reset by peer"), errors.WarehouseUnreachable, "cannot be reached"),
        (duckdb.PermissionException("read-only share"), errors.WarehouseError, "may only be read"),
        (
            duckdb.ConversionException("Could not convert 'ada@example.com'"),
            errors.WarehouseError,
            "fit the type",
        ),
        (duckdb.InternalException("ada@example.com"), errors.WarehouseError, "'Internal'"),
    ],
)
def test_errors_are_sentences_without_values(error: Exception, kind: type, words: str) -> None:
    told = motherduck.MotherDuck("md:x", None, "stripe").explain(error)
    assert type(told) is kind
    assert words in str(told)
    assert "ada@" not in str(told)


def test_an_error_of_somebody_else_is_not_explained() -> None:
    assert motherduck.MotherDuck("md:x", None, "stripe").explain(ValueError("x")) is None


def test_writers_that_meet_all_get_their_turn(tmp_path: Path) -> None:
    """The service refuses the second instead of letting it wait."""
    first = opened(tmp_path)
    first.prepare([loads.ITEMS])
    failed: list[Exception] = []

    def write(writer: int) -> None:
        mine = opened(tmp_path)
        try:
            for n in range(5):
                mine.load([loads.load(loads.row(f"{writer}-{n}", n))], {f"writer{writer}": str(n)})
        except Exception as error:
            failed.append(error)
        finally:
            mine.close()

    threads = [threading.Thread(target=write, args=[writer]) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert first.state() == {f"writer{writer}": "4" for writer in range(4)}
    [counted] = [
        batch.to_pylist() for batch in first.read(f'select count(*) as n from stripe."{loads.ITEMS.name}"')
    ]
    assert counted == [{"n": 20}]
    first.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT content AS id FROM read_text('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM query('SELECT * FROM read_csv(''{file}'')')",
        "FROM glob('{file}')",
        "SELECT * FROM read_parquet('http://127.0.0.1:9/x.parquet')",
    ],
)
def test_a_model_reads_no_file_of_the_machine_that_asks(tmp_path: Path, sql: str) -> None:
    """DuckDB runs here, with all that this process may read."""
    secret = tmp_path / "secret.csv"
    secret.write_text("id\ngeheim\n")
    with duckdb.connect(str(tmp_path / "service.duckdb")) as made:
        made.execute("CREATE SCHEMA stripe; CREATE TABLE stripe.people AS SELECT 7 AS id")
    source = sources.open_source(config.warehouse(f"motherduck+file://{tmp_path}/service.duckdb", "stripe"))
    with contextlib.closing(source):
        with pytest.raises(errors.ConfigError, match="neither files nor addresses"):
            list(source.read(sql.format(file=secret)))
        [rows] = source.read("SELECT id FROM stripe.people")
        assert rows.to_pylist() == [{"id": 7}]
