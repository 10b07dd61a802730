"""The loading report: a row for each table that anything came for, as wide as the terminal lets it be."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate import sandbox
from tidegate.cli import loading
from tidegate.pull import report
from tidegate.stripe import client

BEGAN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SECOND = int(BEGAN.timestamp())
TIDEGATE = str(Path(sys.executable).parent / "tidegate")


def outcome(
    stream: str, inserted: int = 0, updated: int = 0, unchanged: int = 0, *, deleted: int = 0, size: int = 0
) -> report.Outcome:
    found = report.Outcome(stream, "acct_1", read=inserted + updated + unchanged, deleted=deleted, bytes=size)
    found.wrote(inserted, updated, unchanged)
    if inserted or updated or deleted:
        found.spans(SECOND, SECOND + 75)
    return found


def shown(capfd: pytest.CaptureFixture[str], *outcomes: report.Outcome) -> list[str]:
    """The lines of a report that say something, in cells."""
    loading.show(report.Result("run_1", BEGAN, BEGAN, "ok", outcomes, client.Tally()))
    told = capfd.readouterr()
    assert told.err == ""
    return [re.sub(r" {2,}", " | ", line.strip()) for line in told.out.splitlines() if line.strip(" ─-")]


def test_a_wide_terminal_shows_all_of_it_with_the_sum(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    assert shown(
        capfd,
        outcome("charges", 1_500, 20, 3, size=4_200_000),
        outcome("customers", 2_000, 1, deleted=4, size=900_000),
        outcome("refunds"),
    ) == [
        "table | read | inserted | updated | unchanged | deleted | size | from | to",
        "customers | 2,001 | 2,000 | 1 | 0 | 4 | 900 kB | 2026-01-01 00:00:00 | 2026-01-01 00:01:15",
        "charges | 1,523 | 1,500 | 20 | 3 | 0 | 4.2 MB | 2026-01-01 00:00:00 | 2026-01-01 00:01:15",
        "in all | 3,524 | 3,500 | 21 | 3 | 4 | 5.1 MB",
        "What was written has versions from 2026-01-01 00:00:00 to 2026-01-01 00:01:15 UTC.",
    ]


def test_figures_that_are_all_zero_take_no_room(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert shown(capfd, outcome("charges", 1_500, size=4_200)) == [
        "table | read | inserted | size | from | to",
        "charges | 1,500 | 1,500 | 4.2 kB | 2026-01-01 00:00:00 | 2026-01-01 00:01:15",
        "What was written has versions from 2026-01-01 00:00:00 to 2026-01-01 00:01:15 UTC.",
    ]


@pytest.mark.parametrize(
    ("stream", "columns"),
    [
        ("charges", "table | read | inserted | updated | unchanged | deleted | size | from | to"),
        ("payment_intent_amount_details", "table | read | inserted | updated | unchanged | deleted | size"),
    ],
    ids=["times of the day", "no versions"],
)
def test_eighty_columns_cut_no_number(
    stream: str, columns: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = outcome(stream, 123, 45, 6, deleted=7, size=8_900)
    loading.show(report.Result("run_1", BEGAN, BEGAN, "ok", (found,), client.Tally()))
    heading, row = (line for line in capfd.readouterr().out.splitlines() if re.search(r"table|8\.9 kB", line))
    assert max(len(heading), len(row)) <= 80
    assert re.sub(r" {2,}", " | ", heading.strip()) == columns
    name, figures = re.sub(r" {2,}", " | ", row.strip()).split(" | ", 1)
    assert stream.startswith(name), "what has no room stands on the next line"
    assert figures.startswith("174 | 123 | 45 | 6 | 7 | 8.9 kB")


def test_accounts_are_named_where_there_are_several_and_histories_counted(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    other = outcome("charges", 7)
    other.account, other.versions = "acct_2", 9
    heading, first, second, *_ = shown(capfd, outcome("charges", 5), other)
    assert heading == "table | account | read | inserted | history | size | from | to"
    assert first.startswith("charges | acct_2 | 7 | 7 | 9 | 0 B | ")
    assert second.startswith("charges | acct_1 | 5 | 5 | 0 | 0 B | ")


def test_a_pull_that_brought_nothing_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    assert shown(capfd, outcome("charges")) == ["No table got anything."]


# As it is typed


def pull(url: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    reach = ["--api-key", "sk_test_1", "--api-base", url, "--rate-limit", "off", "--to", "duckdb:///w.duckdb"]
    command = [TIDEGATE, "pull", *reach, "--streams", "charges,customers", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, timeout=120)


def test_the_report_follows_the_summary_when_it_is_asked_for(tmp_path: Path) -> None:
    with sandbox.process(objects=500) as url:
        plain, told = pull(url, tmp_path), pull(url, tmp_path, "--full-refresh", "--report")
    assert (plain.returncode, told.returncode) == (0, 0), plain.stderr + told.stderr
    assert "inserted" not in plain.stdout
    before, _, after = told.stdout.partition("retries")
    assert re.search(r"^ *charges +[\d,]+ +[\d,]+ +\d+ +done", before, re.MULTILINE)
    assert re.search(r"^ *charges +([\d,]+) +0 +\1 +[\d.]+ [kM]B", after, re.MULTILINE)


@pytest.mark.parametrize("other", ["--watch", "--dry-run"])
def test_the_report_is_of_a_pull_that_ends(other: str, tmp_path: Path) -> None:
    done = pull("http://127.0.0.1:1", tmp_path, "--report", other)
    assert done.returncode == 2
    assert (
        done.stderr == "tidegate: --report tells what one pull has loaded; leave out --dry-run and --watch\n"
    )
