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


def test_of_many_tables_a_page_and_how_many_there_are(store: database.Database, run: runs.Run) -> None:
    states = {"acct_1": "ok", "acct_2": "failed", "acct_3": "not_enabled"}
    tables = [
        {"stream": stream, "account": account, "status": status}
        for stream in ("charge_s", "charges", "customers")
        for account, status in states.items()
    ]
    reports.keep(store, run.id, tables)
    assert reports.count(store, run.id) == reports.Counts(9, 3)
    assert reports.count(store, "run_2") == reports.Counts(0, 0)
    found, after = [], None
    while page := reports.page(store, run.id, limit=4, after=after):
        found += page
        after = (page[-1]["stream"], page[-1]["account"])
    assert found == tables
    wrong = reports.page(store, run.id, limit=9, wrong=True, after=("charges", ""))
    assert [each["stream"] for each in wrong] == ["charges", "customers"]
    assert len(reports.page(store, run.id, limit=9, stream="charge_", account="_2")) == 1, (
        "_ stands for itself"
    )
