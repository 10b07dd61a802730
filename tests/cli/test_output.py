"""`cli/output.py`: values of records are shown as they are, whatever stands in them."""

from __future__ import annotations

import pytest

from tidegate.cli import output, pushing
from tidegate.push import compare, plan

SLY = "Eve\x1b[31m [/x] [red]x[/red] :smile: \u202egnp.exe"
"""What a customer may call itself."""
SHOWN = r"Eve\x1b[31m [/x] [red]x[/red] :smile: \u202egnp.exe"


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_a_cell_is_shown_as_it_is_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    table = output.table("name", title="Customers")
    table.add_row(SLY)
    output.console().print(table)
    shown = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in shown if "Eve" in line] == [SHOWN]


def test_lines_and_sentences_steer_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.show(f"name: {SLY}", "")
    output.say(f"{SLY}\nand more")
    said = capsys.readouterr()
    assert said.out == f"name: {SHOWN}\n\n"
    assert said.err == f"tidegate: {SHOWN}\ntidegate: and more\n"


def test_only_the_first_columns_stay_whole_where_there_is_no_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table = output.table("id", "name", whole=1)
    table.add_row("cus_12345678901234567890", "Ada Byron Lovelace of Ockham")
    output.console().print(table)
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    assert any("cus_12345678901234567890" in line[0] for line in lines)
    assert not any("Ada Byron Lovelace" in cell for line in lines for cell in line)


def test_a_plan_shows_what_would_be_written_to_the_letter(capsys: pytest.CaptureFixture[str]) -> None:
    changes = {"name": compare.Change("[/a]", SLY)}
    entry = plan.Entry("[/k]", "", "update", "update", "cus_1", changes=changes)
    counts = plan.Counts(source=1, updated=1)
    made = plan.Plan("names", "run_1", "customer", "acct_1", False, "", 0.0, 0.0, counts, (), 1, 1.0)
    pushing.show(made, lambda verdict: iter([entry] if verdict == "update" else []))
    row = next(line for line in capsys.readouterr().out.splitlines() if "cus_1" in line)
    assert [cell.strip() for cell in row.split("   ") if cell.strip()] == [
        "[/k]",
        "cus_1",
        "name",
        "[/a]",
        SHOWN,
    ]
