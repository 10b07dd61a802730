"""`tidegate forget` as it is typed: what it asks, what it says, what it never says."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import persons
import pytest

from tidegate.warehouse import duckdb

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
TO = ("--to", "duckdb:///w.duckdb")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a warehouse that holds two customers."""
    warehouse = duckdb.DuckDB(tmp_path / "w.duckdb")
    names = ("customers", "charges", "events")
    worlds = persons.world("ada"), persons.world("ben")
    persons.store(warehouse, {name: [each for world in worlds for each in world[name]] for name in names})
    warehouse.close()
    return tmp_path


def run(*words: str, cwd: Path, code: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run it where no terminal is."""
    base = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "STRIPE_API_KEY")}
    done = subprocess.run(
        [TIDEGATE, "forget", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**base, **environ},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Personal of" not in done.stdout + done.stderr
    return done


def typed(answer: str, *words: str, cwd: Path) -> tuple[int, str]:
    """Run it on a terminal and answer its question: the exit code, and what the terminal showed."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [TIDEGATE, "forget", *words],
        cwd=cwd,
        stdin=child,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(child)
    os.write(parent, f"{answer}\n".encode())
    out, said = process.communicate(timeout=120)
    os.close(parent)
    return process.returncode, out + said


def left(folder: Path, who: str) -> bool:
    """Does the warehouse still know anything personal of somebody?"""
    warehouse = duckdb.DuckDB(folder / "w.duckdb")
    try:
        return any(f"Personal of {who}" in row for rows in persons.dump(warehouse).values() for row in rows)
    finally:
        warehouse.close()


def test_it_erases_and_says_how_many_rows(folder: Path) -> None:
    done = run("cus_ada", *TO, "--yes", cwd=folder)
    shown = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if len(line.split()) == 2}
    assert {"customers": "1", "charges": "1", "events": "3"}.items() <= shown.items()
    assert not left(folder, "ada")
    assert left(folder, "ben")
    again = run("cus_ada", *TO, "--yes", cwd=folder)
    assert again.stdout == ""
    assert again.stderr == "tidegate: duckdb:///w.duckdb: nothing personal is left of them\n"


def test_json(folder: Path) -> None:
    done = run("cus_ada", "cus_nobody", *TO, "--yes", "--json", cwd=folder)
    assert json.loads(done.stdout) == {
        "dry_run": False,
        "warehouses": [
            {
                "name": "duckdb:///w.duckdb",
                "customers": [
                    {"id": "cus_ada", "accounts": ["acct_1"]},
                    {"id": "cus_nobody", "accounts": []},
                ],
                "tables": {"charges": 1, "customers": 1, "events": 3},
                "blind": [],
            }
        ],
    }


def test_a_dry_run_changes_nothing_and_does_not_ask(folder: Path) -> None:
    before = (folder / "w.duckdb").read_bytes()
    assert "rows would be erased" in run("cus_ada", *TO, "--dry-run", cwd=folder).stdout
    assert (folder / "w.duckdb").read_bytes() == before


def test_without_a_terminal_it_needs_to_be_told(folder: Path) -> None:
    done = run("cus_ada", *TO, cwd=folder, code=2)
    assert done.stderr == (
        "tidegate: forget asks before it acts, and there is no terminal to ask on; "
        "look with --dry-run, then give --yes\n"
    )
    assert left(folder, "ada")


def test_on_a_terminal_the_word_has_to_be_typed(folder: Path) -> None:
    code, shown = typed("yes", "cus_ada", *TO, cwd=folder)
    assert (code, left(folder, "ada")) == (2, True)
    assert "erases the personal data of cus_ada in duckdb:///w.duckdb for good" in shown
    assert "not confirmed; nothing was erased" in shown
    code, shown = typed("forget", "cus_ada", *TO, cwd=folder)
    assert (code, left(folder, "ada")) == (0, False), shown


def test_ctrl_c_at_the_question_erases_nothing_and_says_so(folder: Path) -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [TIDEGATE, "forget", "cus_ada", *TO], cwd=folder, stdin=child, stderr=subprocess.PIPE, text=True
    )
    os.close(child)
    assert process.stderr is not None
    asked = process.stderr.readline() + process.stderr.read(len("Type forget to go on: "))
    assert asked.endswith("Type forget to go on: ")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    os.close(parent)
    assert (process.returncode, said) == (130, "\ntidegate: interrupted; nothing was erased\n")
    assert left(folder, "ada")


def test_somebody_who_is_nowhere_is_noted_all_the_same(folder: Path) -> None:
    done = run("cus_nobody", *TO, "--yes", cwd=folder)
    assert "cus_nobody is nowhere; noted as forgotten all the same" in done.stderr
    warehouse = duckdb.DuckDB(folder / "w.duckdb")
    assert list(warehouse.state("forgotten/")) == ["forgotten/*/cus_nobody"]


def test_a_configuration_names_warehouses_and_tables(folder: Path) -> None:
    warehouse = duckdb.DuckDB(folder / "w.duckdb")
    warehouse.load([persons.load("charges", persons.world("ada")["charges"], table="zahlungen")], {})
    warehouse.close()
    (folder / "tidegate.yaml").write_text(
        """
stripe: {acme: {api_key: sk_test_1}}
warehouses: {local: {type: duckdb, path: w.duckdb}}
pulls:
  first: {from: acme, to: local, streams: {customers: {deletes: hard}}}
  second: {from: acme, to: local, streams: {charges: {table: zahlungen}}}
"""
    )
    done = run("cus_ada", "--yes", "--json", cwd=folder)
    (found,) = json.loads(done.stdout)["warehouses"]
    assert (found["name"], found["tables"]) == (
        "local",
        {"charges": 1, "customers": 1, "events": 3, "zahlungen": 1},
    )
    assert not left(folder, "ada")
    warehouse = duckdb.DuckDB(folder / "w.duckdb")
    assert [row["id"] for row in persons.table(warehouse, "customers")] == ["cus_ben"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((*TO, "--yes"), "say who is to be forgotten"),
        (("ada@example.com", *TO, "--yes"), "a customer's id looks like cus_"),
        (("cus_ada", "--to", "duckdb:///none.duckdb", "--yes"), "does not exist yet"),
        (("cus_ada", *TO, "-c", "x.yaml", "--yes"), "--to stands for a configuration"),
        (("cus_ada", "--schema", "other", "--yes"), "--schema goes with --to"),
        (("cus_ada", "--yes"), "tidegate.yaml"),
    ],
)
def test_wrong_words_are_one_sentence_and_exit_2(folder: Path, words: tuple[str, ...], says: str) -> None:
    done = run(*words, cwd=folder, code=2)
    assert says in done.stderr
    assert done.stdout == ""
    assert "ada@example.com" not in done.stderr
    assert left(folder, "ada")
