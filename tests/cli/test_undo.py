"""`tidegate undo`, `push --verify`, `--repair` and `--rehearse` as a person uses them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pushed_people as people
import pytest
from following import Merchant

from tidegate import cli, sandbox

NUMBERS = iter(range(10_000, 10_000_000, 10))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with sandbox.process(objects=30) as served:
        yield served


@pytest.fixture
def rows() -> list[dict[str, str]]:
    """Two people whom no other test has."""
    number = next(NUMBERS)
    return [people.person(number + n) for n in range(2)]


@pytest.fixture
def shop(url: str, tmp_path: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Merchant:
    """Two people in a file, who are customers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    people.write(tmp_path, url, rows)
    assert cli.main(["push", "people", "--yes", "--json"]) == 0
    found = Merchant(url)
    found.later()
    return found


@pytest.fixture
def wrong(
    shop: Merchant, tmp_path: Path, rows: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> str:
    """The run that gave them the wrong name."""
    people.rows(tmp_path, [{**each, "name": "Wrong"} for each in rows])
    assert cli.main(["push", "people", "--yes", "--json"]) == 0
    shop.later()
    return str(json.loads(capsys.readouterr().out.splitlines()[-1])["run_id"])


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    capsys.readouterr()
    code = cli.main(words)
    told = capsys.readouterr()
    return code, told.out, told.err


def answered(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of a command."""
    code, out, _ = run(capsys, *words, "--json")
    return code, json.loads(out.splitlines()[-1])


def names(shop: Merchant, rows: list[dict[str, str]]) -> list[str]:
    """How Stripe calls these people."""
    there = {each["object"]["email"]: each["object"] for each in shop.truth("customers")}
    return [there[each["email"]]["name"] for each in rows]


def test_the_runs_that_wrote_something_are_listed(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "undo", "people")
    assert (code, wrong in out, "2 create" in out, "2 update" in out) == (0, True, True, True)
    assert "--dry-run" in err
    _, document = answered(capsys, "undo", "people")
    assert [(each["run_id"] == wrong, each.get("update")) for each in document["runs"]] == [
        (True, 2),
        (False, None),
    ]


def test_a_look_shows_before_and_after(
    shop: Merchant, rows: list[dict[str, str]], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "undo", "people", wrong, "--dry-run")
    assert (code, "To put back" in out, rows[0]["name"] in out) == (0, True, True)
    assert "Nothing was written." in err
    assert names(shop, rows) == ["Wrong", "Wrong"]


@pytest.mark.usefixtures("wrong")
def test_the_last_run_is_put_back_and_held(
    shop: Merchant, tmp_path: Path, rows: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = answered(capsys, "undo", "people", "last", "--yes", "--out", "back.json")
    assert (code, document["restored"], document["rows"]) == (0, 2, 2)
    assert names(shop, rows) == [each["name"] for each in rows]
    assert len(json.loads((tmp_path / "back.json").read_text())["rows"]) == 2
    shop.later()
    _, again = answered(capsys, "push", "people", "--yes")
    assert (again["quarantined"], again["updated"]) == (2, 0)
    _, out, _ = run(capsys, "plan", "people")
    assert "It was undone, and waits until it changes." in out
    _, out, _ = run(capsys, "inbox", "people")
    assert "undone" in out
    _, out, _ = run(capsys, "record", "people", rows[0]["id"])
    assert "undo customer" in out


@pytest.mark.usefixtures("wrong")
def test_an_undo_is_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    _, document = answered(capsys, "undo", "people", "last", "--yes")
    _, listed = answered(capsys, "runs")
    [found] = [each for each in listed["runs"] if each["id"] == document["run_id"]]
    assert (found["flow"], found["state"]) == ("push:people", "ok")
    _, out, _ = run(capsys, "logs", document["run_id"])
    assert "was undone: 2 put back" in out


def test_what_it_does_is_said_in_one_line(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "undo", "people", wrong[:10], "--yes")
    assert code == 0
    assert "people: 2 put back; 4 requests." in err
    assert "`tidegate inbox people KEY --retry` writes one again" in err


def test_creations_stay_unless_said(
    shop: Merchant, rows: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "undo", "people", "last", "--yes")
    assert (code, "Created, and left" in out, "2 left" in err) == (0, True, True)
    code, out, err = run(capsys, "undo", "people", "last", "--yes", "--created", "delete")
    assert (code, "would be deleted" in err, "--approve" in err) == (3, True, True)
    assert out.count("cancels its subscriptions") == 2  # once for each row
    assert names(shop, rows) == [each["name"] for each in rows]
    code, document = answered(
        capsys, "undo", "people", "last", "--yes", "--created", "delete", "--approve", "--key", rows[0]["id"]
    )
    assert (code, document["removed"]) == (0, 1)


@pytest.mark.usefixtures("wrong")
def test_somebody_is_asked(
    shop: Merchant,
    rows: list[dict[str, str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert run(capsys, "undo", "people", "last")[0] == 3
    assert names(shop, rows) == ["Wrong", "Wrong"]
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert run(capsys, "undo", "people", "last")[0] == 0
    assert names(shop, rows) == [each["name"] for each in rows]


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["undo", "people", "last"], "look with --dry-run, then give --yes"),
        (["undo", "nobody", "last", "--yes"], "there is no push 'nobody'"),
        (["undo", "people", "run_none", "--yes"], "people has no run run_none that wrote anything"),
        (["undo", "people", "last", "--yes", "--limit", "0"], "give 1 or more"),
        (["undo", "people", "last", "--yes", "--created", "burn"], "leave"),
        (["undo", "people", "last", "--yes", "--key", "nobody"], "nothing of run_"),
        (["push", "people", "--yes", "--sandbox"], "give --rehearse, too"),
        (["push", "people", "--rehearse", "--connection", "acme", "--sandbox"], "exclude each other"),
        (["push", "people", "--rehearse", "--verify"], "leave --verify, --repair and --plan out"),
        (["push", "people", "--rehearse", "--connection", "acme"], "nobody can be asked here"),
        (["push", "people", "--rehearse", "--connection", "acme", "--yes"], "writes to itself"),
        (["push", "people", "--verify", "--out", "x.txt"], ".csv or .jsonl"),
        (["push", "people", "--yes", "--out", "x.csv"], "--out goes with --verify"),
        (["push", "nobody", "--verify"], "there is no push 'nobody'"),
    ],
)
def test_bad_words_get_a_sentence(
    capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    code, _, err = run(capsys, *words)
    assert (code, sentence in err) == (2, True), err


@pytest.mark.usefixtures("shop")
def test_nothing_drifted(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "push", "people", "--verify")
    assert (code, "of 2 rows that were written 2 are so still" in err) == (0, True)
    assert re.search(r"people, as of \d\d:\d\d:\d\d UTC: of 2 rows", err)


def test_what_drifted_is_shown_and_written_down(
    shop: Merchant, tmp_path: Path, rows: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    there = {each["object"]["email"]: each["object"]["id"] for each in shop.truth("customers")}
    shop.make(f"/v1/customers/{there[rows[0]['email']]}", name="Theirs")
    shop.delete(f"/v1/customers/{there[rows[1]['email']]}")
    shop.later()
    code, out, err = run(capsys, "push", "people", "--verify", "--out", "drift.csv")
    assert (code, "Theirs" in out, "deleted at Stripe" in out) == (3, True, True)
    assert "1 changed at Stripe, 1 deleted there" in err
    assert "--repair" in err
    with (tmp_path / "drift.csv").open(newline="") as file:
        found = {each["key"]: (each["kind"], each["before"], each["now"]) for each in csv.DictReader(file)}
    assert found == {
        rows[0]["id"]: ("changed", rows[0]["name"], "Theirs"),
        rows[1]["id"]: ("deleted", "", ""),
    }
    assert (tmp_path / "drift.csv").stat().st_mode & 0o77 == 0
    code, document = answered(capsys, "push", "people", "--verify", "--out", "drift.jsonl")
    assert (code, document["status"], document["changed"], document["deleted"]) == (3, "drifted", 1, 1)
    lines = [json.loads(line) for line in (tmp_path / "drift.jsonl").read_text().splitlines()]
    assert lines == document["first"]


def test_what_drifted_is_brought_back(
    shop: Merchant, rows: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    there = {each["object"]["email"]: each["object"]["id"] for each in shop.truth("customers")}
    shop.make(f"/v1/customers/{there[rows[0]['email']]}", name="Theirs")
    shop.later()
    code, planned = answered(capsys, "plan", "people", "--repair", "--out", "repair.json")
    assert (code, planned["updated"], planned["unchanged"]) == (0, 1, 1)
    assert names(shop, rows)[0] == "Theirs"
    code, document = answered(capsys, "push", "people", "--repair", "--plan", "repair.json")
    assert (code, document["updated"], document["unchanged"]) == (0, 1, 1)
    assert names(shop, rows) == [each["name"] for each in rows]


def test_verify_and_repair_together_are_a_repair(
    shop: Merchant, rows: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert answered(capsys, "push", "people", "--verify", "--repair", "--yes")[1]["unchanged"] == 2
    assert names(shop, rows) == [each["name"] for each in rows]


def test_a_rehearsal_says_what_would_be_and_writes_nothing(
    shop: Merchant, tmp_path: Path, rows: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    number = next(NUMBERS)
    people.rows(
        tmp_path, [{**rows[0], "name": "New"}, people.person(number), people.person(number + 1, email="")]
    )
    shop.counted()
    code, out, err = run(capsys, "push", "people", "--rehearse")
    assert code == 0
    assert "which has what the account has" in err
    assert "To update" in out
    assert "What would not have been written" in out
    assert "1 created, 1 updated" in err
    assert "Nothing was written to the push's own account." in err
    assert not [name for name in shop.counted() if name.startswith(("POST", "DELETE"))]
    assert names(shop, rows[:1]) == [rows[0]["name"]]
    code, document = answered(capsys, "push", "people", "--rehearse", "--sandbox")
    assert (code, document["created"], document["updated"], document["rehearsed_in"]) == (
        0,
        1,
        1,
        "the sandbox",
    )
    assert [(each["kind"], each["rows"]) for each in document["refused"]] == [("invalid", 1)]
