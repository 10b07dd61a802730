"""The loading report of a run: each table of each account has one."""

from __future__ import annotations

import pytest

from tidegate.store import database, reports, runs


@pytest.fixture
def run(store: database.Database) -> runs.Run:
    """A run that is under way."""
    return runs.queue(store, "run_1", "pull:a", "manual")


def test_each_table_has_its_report(store: database.Database, run: runs.Run) -> None:
    tables = [
        {"stream": stream, "account": account, "status": "ok", "read": 3, "written": 2}
        for stream in ("charges", "customers")
        for account in ("acct_1", "acct_2")
    ]
    for _ in range(2):
        reports.keep(store, run.id, reversed(tables))
    assert reports.read(store, run.id) == tables
    reports.keep(store, run.id, [{**tables[0], "read": 4}])
    assert reports.read(store, run.id)[0]["read"] == 4


def test_that_of_many_accounts_is_written_in_pieces(
    store: database.Database, run: runs.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "STEP", 7)
    tables = [{"stream": "charges", "account": f"acct_{n:03}", "status": "ok"} for n in range(100)]
    reports.keep(store, run.id, tables)
    assert reports.read(store, run.id) == tables
