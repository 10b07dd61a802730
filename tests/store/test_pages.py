"""Many rows are read as plain tuples, page by page."""

from __future__ import annotations

import psycopg
import pytest

from tidegate import errors
from tidegate.store import database
from tidegate.store import pages as reading


def fill(store: database.Database, count: int) -> None:
    store.transact(
        lambda session: session.each(
            "INSERT INTO claims (digest, account, livemode, object, field, push, key, operation, at) "
            "VALUES (:n, '', 1, '', '', 'p', :n, '', 1.5)",
            [{"n": f"{n:02}"} for n in range(count)],
        )
    )


def test_tuples_come_in_the_order_of_the_columns(store: database.Database) -> None:
    fill(store, 2)
    text = "SELECT at, key, livemode, NULL AS empty FROM claims WHERE push = :push ORDER BY key"
    assert store.tuples(text, {"push": "p"}) == [(1.5, "00", 1, None), (1.5, "01", 1, None)]
    assert store.tuples("SELECT key FROM claims WHERE push = 'q'") == []
    assert store.execute("SELECT key FROM claims WHERE key = '01'") == [{"key": "01"}]


def test_what_a_statement_has_wrong_is_told_as_always(store: database.Database) -> None:
    with pytest.raises(errors.StoreError, match="refused a statement"):
        store.tuples("SELECT nothing FROM nowhere")
    assert store.tuples("SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (9, [4, 4, 1])]
)
def test_pages_are_full_but_for_the_last(store: database.Database, count: int, sizes: list[int]) -> None:
    fill(store, count)
    pages = list(reading.read(store, "claims", ["key"], "p", 4))
    assert [len(page) for page in pages] == sizes
    assert [key for page in pages for (key,) in page] == [f"{n:02}" for n in range(count)]


def test_rows_that_go_while_pages_are_read_move_no_others(store: database.Database) -> None:
    fill(store, 8)
    pages = reading.read(store, "claims", ["key"], "p", 4)
    assert [key for (key,) in next(pages)] == ["00", "01", "02", "03"]
    store.execute("DELETE FROM claims WHERE key < '03'")
    assert [key for (key,) in next(pages)] == ["04", "05", "06", "07"]


def test_values_of_a_list_are_parameters(store: database.Database) -> None:
    fill(store, 30)
    wanted = [f"{n:02}" for n in range(0, 60, 2)] + ["'; DROP TABLE claims; --", "%s", ":n"]
    names, parameters = database.among(wanted)
    rows = store.execute(f"SELECT key FROM claims WHERE key IN {names} ORDER BY key", parameters)
    assert [row["key"] for row in rows] == [f"{n:02}" for n in range(0, 30, 2)]


def test_what_is_committed_is_on_the_disk(store: database.Database, url: str) -> None:
    """Also where the server is set to answer earlier; an intent that a crash forgets would be sent twice."""
    if store.kind == "sqlite":
        assert store.one("PRAGMA synchronous") == {"synchronous": 2}  # FULL
        return
    with psycopg.connect(url) as plain:
        assert plain.execute("SHOW synchronous_commit").fetchone() == ("off",)
    assert store.one("SHOW synchronous_commit") == {"synchronous_commit": "on"}
    with psycopg.connect(url, autocommit=True) as plain:
        name = plain.info.dbname
        plain.execute(f"ALTER DATABASE {name} SET synchronous_commit = remote_apply")
    again = database.open_database(url)
    assert again.one("SHOW synchronous_commit") == {"synchronous_commit": "remote_apply"}
    again.close()
