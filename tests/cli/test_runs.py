"""`tidegate runs` and `tidegate logs` where columns are few: nothing is cut, and ids can be copied."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pushed_people as people
import pytest

from tidegate import cli
from tidegate.store import database, reports, runs

FLOW = "push:accounts_of_the_warehouse"
WHY = "Not every row was written (2 failed): Stripe was away."


@pytest.fixture
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three runs: of a push that wrote most of its rows, of one that was stopped, and one that waits."""
    monkeypatch.chdir(tmp_path)
    people.write(tmp_path, "http://127.0.0.1:1", [])
    named = [runs.new_id() for _ in range(3)]
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
        for id, flow in zip(named, (FLOW, "push:people", "push:others"), strict=True):
            runs.queue(store, id, flow, "manual")
        for id in named[:2]:
            runs.begin(store, id, "worker")
        assert runs.end(store, named[0], "worker", "partial", totals={"written": 1_234_567}, error=WHY)
        assert runs.end(store, named[1], "worker", "interrupted")
        row = {"stream": "customer", "account": "acct_1", "status": "partial", "requests": 7}
        figures = {"source": 1_000, "created": 998, "updated": 0, "invalid": 0, "failed": 2}
        reports.keep(store, named[0], [{**row, **figures}])
    return named


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command prints."""
    assert cli.main(words) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 100, 300])
def test_no_run_is_cut(
    ids: list[str], columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = shown(capsys, "runs")
    assert "…" not in out
    assert max(map(len, out.splitlines()[: len(ids) + 3])) <= columns
    for id, state in zip(ids, ("partial", "interrupted", "queued"), strict=True):
        seconds = r":\d\d" if columns == 300 else ""
        assert re.search(
            rf"^ ?{id} .+ {state} +(20\d\d-)?\d\d-\d\d \d\d:\d\d{seconds}( |$)", out, re.MULTILINE
        )
    assert "1,234,567" in out
    assert WHY in out


def test_its_error_stands_under_it_where_there_is_no_room(
    ids: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert shown(capsys, "runs").splitlines()[-1] == f"{ids[0]}: {WHY}"


def test_the_beginning_of_an_id_is_enough(ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["logs", ids[0][:14]]) == 0
    assert f"{ids[0]} of {FLOW}: partial; {WHY}" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_what_a_push_did_is_a_number_a_line(
    ids: list[str], columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = [line.split() for line in shown(capsys, "logs", ids[0]).splitlines()]
    assert lines == [
        ["customer", "of", "acct_1:", "partial"],
        ["source", "1,000"],
        ["created", "998"],
        ["failed", "2"],
        ["requests", "7"],
    ]
