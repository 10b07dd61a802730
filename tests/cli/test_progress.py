"""What a person sees of a pull: lines, the live table, the summary."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from tidegate.cli import drawing, progress
from tidegate.pull import report
from tidegate.stripe import client


@dataclass
class Clock:
    """Seconds that pass when the test says so."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Terminal:
    """A terminal of a certain size; what is drawn on it can be read."""

    width: int = 120
    height: int = 30
    out: io.StringIO = field(default_factory=io.StringIO)

    def console(self) -> Console:
        return Console(
            file=self.out, force_terminal=True, width=self.width, height=self.height, color_system=None
        )

    def rows(self, screen: progress.Screen) -> list[str]:
        """The table as it would be drawn now, without blank and ruled lines."""
        console = self.console()
        with console.capture() as capture:
            console.print(screen.table())
        lines = [line.strip() for line in capture.get().splitlines()]
        return [re.sub(r" {2,}", " | ", line) for line in lines if line.strip(" ─")]


def live(terminal: Terminal, clock: Callable[[], float]) -> progress.Screen:
    return progress.Screen(live=True, console=terminal.console(), clock=clock)


def test_without_a_terminal_a_stream_has_a_line_when_it_ends(
    capfd: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    with progress.Screen(live=False, clock=clock) as screen:
        screen.started("charges", "acct_1")
        screen.advanced("charges", rows=1200, requests=12)
        clock.now += 4
        screen.advanced("charges", rows=300, requests=3)
        screen.finished("charges", "ok", "")
        screen.started("topups", "acct_1")
        screen.finished("topups", "ok", "")
        screen.finished("cards", "no_permission", "grant rak_card_read")
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "tidegate: reading acct_1",
        "tidegate: charges: done, 1,500 rows, 15 requests, 4.0 s",
        "tidegate: cards: no permission, 0 rows, 0 requests, 0.0 s: grant rak_card_read",
    ]


def test_a_heartbeat_says_that_all_is_going_on() -> None:
    clock = Clock()
    screen = progress.Screen(live=False, clock=clock)
    screen.started("charges", "")
    screen.started("refunds", "")
    clock.now += 2
    screen.advanced("charges", rows=2000, requests=20)
    screen.finished("refunds", "ok", "")
    screen.budget(20.0, 25.0)
    assert screen.heartbeat() == "1 stream running, 1 done, 2,000 rows, 1,000 rows/s, 80% of budget, 2.0 s"


@pytest.mark.parametrize("limit", [0.0, float("inf")])
def test_without_a_limit_there_is_no_share_of_it(limit: float) -> None:
    screen = progress.Screen(live=False, clock=Clock())
    screen.budget(20.0, limit)
    assert screen.heartbeat() == "0 streams running, 0 done, 0 rows, 0 rows/s, 0.0 s"


def test_the_heartbeat_beats_while_the_pull_runs_and_stops_with_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drawing, "HEARTBEAT", 0.001)
    told = ""
    with progress.Screen(live=False) as screen:
        while "running" not in told:
            told += capfd.readouterr().err
    assert screen._beat is not None
    assert not screen._beat.is_alive()


def test_a_quiet_screen_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.Screen(live=False, quiet=True) as screen:
        screen.started("charges", "")
        screen.note("x")
        screen.finished("charges", "failed", "y")
    assert capfd.readouterr() == ("", "")


def test_a_note_is_a_line_without_keys(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.Screen(live=False) as screen:
        screen.note("waiting; sk_test_51Abc")
    assert capfd.readouterr().err == "tidegate: waiting; sk_test_…\n"


def test_the_table_shows_rows_rate_requests_time_left_and_status() -> None:
    clock, terminal = Clock(), Terminal()
    screen = live(terminal, clock)
    screen.started("charges", "acct_1")
    clock.now += 2
    screen.advanced("charges", rows=5000, requests=50, estimate=10_000)
    screen.budget(20, 25)
    assert terminal.rows(screen) == [
        "stream | rows | rows/s | requests | left | status",
        "charges | 5,000 | 2,500 | 50 | 4.0 s | running",
        "1 running, 0 done | 5,000 | 2,500 | 50 | 4.0 s | 80% of budget",
    ]


def test_what_is_left_shrinks_with_every_row_until_the_next_estimate() -> None:
    clock = Clock()
    line = progress.Line("charges", clock.now)
    line.add(100, 1, 1000, clock.now + 1)
    line.add(100, 1, None, clock.now + 2)
    assert line.left == 900
    line.add(100, 1, 400, clock.now + 3)
    assert line.left == 400
    line.add(1000, 1, None, clock.now + 4)
    assert line.left == 0


def test_the_rate_is_that_of_the_last_seconds_and_in_the_end_of_all() -> None:
    line = progress.Line("charges", 0.0)
    line.add(1000, 10, None, 1.0)
    for second in range(2, 32):
        line.add(10, 1, None, float(second))
    assert line.rate(31.0) == pytest.approx(10)
    line.ended = 32.5
    assert line.rate(1000.0) == pytest.approx(1300 / 32.5)


def test_a_stream_that_stands_still_loses_its_rate() -> None:
    line = progress.Line("charges", 0.0)
    line.add(1000, 10, None, 1.0)
    assert line.rate(1.0) == 1000
    assert line.rate(100.0) == 10


def test_the_table_fits_the_terminal_and_shows_first_what_runs_then_what_failed() -> None:
    clock, terminal = Clock(), Terminal(height=8)
    screen = live(terminal, clock)
    for number in range(10):
        screen.started(f"done_{number}", "")
        screen.finished(f"done_{number}", "ok", "")
    screen.started("broken", "")
    screen.finished("broken", "failed", "Stripe said no")
    screen.started("running", "")
    rows = terminal.rows(screen)
    assert [row.split(" | ")[0] for row in rows[1:3]] == ["running", "broken"]
    assert rows[2].endswith("failed: Stripe said no")
    assert rows[-1].startswith("1 running, 11 done, 9 not shown")
    console = terminal.console()
    with console.capture() as capture:
        console.print(screen.table(), end="")
    assert len(capture.get().splitlines()) < terminal.height


def test_a_stream_of_a_second_account_goes_on_in_its_line() -> None:
    clock, terminal = Clock(), Terminal()
    screen = live(terminal, clock)
    for account in ("acct_1", "acct_2"):
        screen.started("charges", account)
        screen.advanced("charges", rows=10, requests=1)
        if account == "acct_1":
            screen.finished("charges", "ok", "")
    rows = terminal.rows(screen)
    assert rows[1].startswith("charges | 20 |")
    assert rows[1].endswith("running")


def test_words_of_stripe_are_no_markup() -> None:
    clock, terminal = Clock(), Terminal()
    screen = live(terminal, clock)
    screen.finished("charges", "failed", "[red]a[/blue]")
    assert terminal.rows(screen)[1].endswith("failed: [red]a[/blue]")


def test_the_live_table_is_drawn_on_the_terminal_and_cleared_at_the_end(
    capfd: pytest.CaptureFixture[str],
) -> None:
    terminal = Terminal()
    with live(terminal, Clock()) as screen:
        screen.started("charges", "")
        screen.note("something")
    drawn = terminal.out.getvalue()
    assert "tidegate: something" in drawn
    assert "rows/s" in drawn
    assert drawn.endswith(("\x1b[2K", "\x1b[?25h"))
    assert capfd.readouterr() == ("", "")


def test_a_failing_pull_leaves_the_terminal_as_it_was() -> None:
    terminal = Terminal()
    with pytest.raises(ValueError, match="x"), live(terminal, Clock()):
        raise ValueError("x")
    assert "\x1b[?25h" in terminal.out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (42.9, "42 s"),
        (185, "3 min 05 s"),
        (9600, "2 h 40 min"),
        (86400, "24 h 00 min"),
    ],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def outcome(stream: str, read: int = 0, status: report.Status = "ok", error: str = "") -> report.Outcome:
    tally = client.Tally()
    tally.requests = -(-read // 100)
    return report.Outcome(stream, "acct_1", status, read, read, 0, error, tally)


def result(*outcomes: report.Outcome) -> report.Result:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    tally = client.Tally()
    tally.requests, tally.retries = 25, 2
    return report.Result("run_1", began, began + timedelta(seconds=3), "partial", outcomes, tally)


def test_the_summary_stands_on_stdout_with_trouble_first(capfd: pytest.CaptureFixture[str]) -> None:
    progress.summary(
        result(
            outcome("charges", 1500),
            outcome("customers", 2000),
            outcome("refunds"),
            outcome("issuing_cards", status="not_enabled"),
            outcome("disputes", status="no_permission", error="grant rak_dispute_read"),
        )
    )
    told = capfd.readouterr()
    assert told.err == ""
    lines = [re.sub(r" {2,}", " | ", line.strip()) for line in told.out.splitlines() if line.strip(" ─+-")]
    assert lines == [
        "stream | read | written | requests | status",
        "disputes | 0 | 0 | 0 | no permission: grant rak_dispute_read",
        "customers | 2,000 | 2,000 | 20 | done",
        "charges | 1,500 | 1,500 | 15 | done",
        "partial: 3,500 rows read, 3,500 written in 3.0 s; 25 requests, 2 retries; 1 stream without news; "
        "1 not enabled in this account",
    ]


def test_the_summary_names_the_accounts_where_there_are_several(capfd: pytest.CaptureFixture[str]) -> None:
    other = outcome("charges", 7)
    other.account = "acct_2"
    progress.summary(result(outcome("charges", 9), other))
    told = capfd.readouterr().out
    assert "acct_1" in told
    assert "acct_2" in told


def test_a_pull_without_news_says_so_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    progress.summary(result(outcome("charges"), outcome("refunds")))
    (line,) = capfd.readouterr().out.splitlines()
    assert "0 rows read" in line
    assert "2 streams without news" in line


def test_on_a_narrow_terminal_the_errors_stand_below_the_table_once_for_all_that_share_them(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    full = "the disk under /data/w.duckdb is full; make room and run this again"
    many = [outcome(f"payment_intent_amount_details_{n}", status="failed", error=full) for n in range(9)]
    progress.summary(result(*many, outcome("charges", 7)))
    lines = capfd.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith(" ")]
    assert all(len(line) <= 80 for line in table)
    assert sum("payment_intent" in line and line.rstrip().endswith(" failed") for line in table) == 9
    (told,) = [line for line in lines if full in line]
    assert told.startswith("payment_intent_amount_details_0, ")
    assert told.endswith(f"_4 and 4 more: failed: {full}")


def test_one_request_is_no_requests(capfd: pytest.CaptureFixture[str]) -> None:
    found = result(outcome("charges", 1))
    found.tally.requests = 1
    progress.summary(found)
    assert "; 1 request, 2 retries" in capfd.readouterr().out


def test_no_number_is_cut_on_a_narrow_terminal() -> None:
    clock, terminal = Clock(), Terminal(width=80, height=10)
    screen = live(terminal, clock)
    name = "payment_intent_amount_details_line_items"
    screen.budget(33, 100)
    screen.started(name, "")
    screen.started("cards", "")
    screen.finished(
        "cards", "failed", "Stripe refused, and said why at a length that no terminal has room for"
    )
    clock.now += 10
    screen.advanced(name, rows=1_234, requests=13, estimate=100_000)
    heading, first, *_, foot = terminal.rows(screen)
    assert heading == "stream | rows | requests | left | status"
    assert re.search(r"\| 1,234 \| 13 \| 13 min 30 s \| running$", first)
    assert foot.endswith("| 33% of budget")
    assert len(terminal.rows(screen)) == 4
