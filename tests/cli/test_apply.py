"""`tidegate export`, `apply` and `changes`, as they are typed: what the browser configures as YAML, and back."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
import servers

from tidegate import cli

KEY = "sk_test_geheim123456789"
OTHER = f"""\
stripe: {{acme: {{api_key: {KEY}}}}}
warehouses: {{one: {{type: duckdb, path: one.duckdb}}}}
pulls:
  everything: {{from: acme, to: one, lookback: 3d}}
"""


@dataclass(frozen=True)
class Done:
    """What a command printed."""

    stdout: str
    stderr: str


def run(folder: Path, *words: str, code: int = 0, said: str = "") -> Done:
    """A command in a folder, as it is typed; `said` is what is typed into it."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "stdin", io.StringIO(said)),
        mock.patch.dict(os.environ, {"COLUMNS": "200", "ACME_KEY": KEY}),
    ):
        found = cli.main(words)
    assert found == code, err.getvalue()
    assert KEY not in out.getvalue() + err.getvalue()
    return Done(out.getvalue(), err.getvalue())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tidegate.yaml").write_text("database: sqlite:///tidegate.db\n")
    (tmp_path / "other.yaml").write_text(OTHER)
    return tmp_path


def test_a_file_is_taken_in_after_its_changes_were_shown_and_agreed_to(folder: Path) -> None:
    asked = run(folder, "apply", "other.yaml", said="y\n")
    assert asked.stdout == (
        "+ stripe.acme\n"
        "    api_key: secret ...6789\n"
        "+ warehouses.one\n"
        "    type: duckdb\n"
        "    path: one.duckdb\n"
        "+ pulls.everything\n"
        "    from: acme\n"
        "    to: one\n"
        "    lookback: 3d\n"
        "Make 3 changes? [y/N] "
    )
    assert asked.stderr == "tidegate: 3 changes made; what runs notices within seconds\n"
    again = run(folder, "apply", "other.yaml")
    assert again.stdout == ""
    assert again.stderr == "tidegate: nothing would change\n"


@pytest.mark.parametrize("said", ["", "n\n", "\n", "yep\n"])
def test_who_does_not_agree_changes_nothing(folder: Path, said: str) -> None:
    assert run(folder, "apply", "other.yaml", said=said).stderr == "tidegate: nothing was changed\n"
    assert run(folder, "export").stdout.endswith("# Nothing is configured there yet.\n")


def test_a_dry_run_changes_nothing(folder: Path) -> None:
    shown = run(folder, "apply", "other.yaml", "--dry-run", "--json")
    found = json.loads(shown.stdout)
    assert found["changed"] is False
    assert [(each["part"], each["action"]) for each in found["changes"]] == [
        ("stripe.acme", "create"),
        ("warehouses.one", "create"),
        ("pulls.everything", "create"),
    ]
    assert run(folder, "changes").stderr == "tidegate: there are no such changes\n"


def test_what_is_exported_is_taken_back_and_changes_nothing(folder: Path) -> None:
    run(folder, "apply", "other.yaml", "--yes")
    assert run(folder, "export").stdout == (
        "# What was configured in the browser and by the API, as `tidegate export` wrote it.\n"
        "# `tidegate apply FILE` takes it back. Secrets are named, not told: they stay in the metadata database.\n"
        "\n"
        "stripe:\n"
        "  acme:\n"
        "    api_key: ${secret:stripe/acme/api_key}\n"
        "\n"
        "warehouses:\n"
        "  one:\n"
        "    type: duckdb\n"
        "    path: one.duckdb\n"
        "\n"
        "pulls:\n"
        "  everything:\n"
        "    from: acme\n"
        "    to: one\n"
        "    lookback: 3d\n"
    )
    assert run(folder, "export", "--to", "out.yaml").stderr == "tidegate: written to out.yaml\n"
    assert run(folder, "apply", "out.yaml", "--prune").stderr == "tidegate: nothing would change\n"


def test_what_a_file_no_longer_has_goes_with_prune_only(folder: Path) -> None:
    run(folder, "apply", "other.yaml", "--yes")
    less = OTHER.partition("pulls:")[0].replace("one.duckdb", "two.duckdb")
    (folder / "less.yaml").write_text(less)
    kept = run(folder, "apply", "less.yaml", "--yes")
    assert kept.stdout.splitlines() == ["~ warehouses.one", "    path: one.duckdb -> two.duckdb"]
    assert "tidegate: not in the file, and kept: pulls.everything; --prune removes them\n" in kept.stderr
    gone = run(folder, "apply", "less.yaml", "--yes", "--prune")
    assert gone.stdout.splitlines()[0] == "- pulls.everything"
    assert "pulls" not in run(folder, "export").stdout


def test_a_file_that_is_not_valid_changes_nothing(folder: Path) -> None:
    (folder / "other.yaml").write_text(OTHER.replace("to: one", "to: on").replace("3d", "7 moons"))
    done = run(folder, "apply", "other.yaml", "--yes", code=2)
    assert done.stderr.splitlines() == [
        "tidegate: pulls.everything: lookback: write a number and a unit: 30s, 15m, 6h, 7d or 2w",
        "tidegate: pulls.everything: to: `warehouses` has no such name; did you mean 'one'?",
    ]
    assert run(folder, "export").stdout.endswith("# Nothing is configured there yet.\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pull: {}\n", "other.yaml:1:1: pull: unknown key; did you mean 'pulls'?"),
        ("pulls: [a]\n", "other.yaml:1:1: pulls: must be a mapping (`key: value`)"),
        ("pulls: {a: b}\n", "other.yaml:1:9: pulls.a: must be a mapping (`key: value`)"),
        ("- a\n", "other.yaml:1:1: the file must be a mapping: `stripe:`, `warehouses:`, `pulls:`"),
        ("models: {a: {}, a: {}}\n", "other.yaml:1:10: models.a: the key stands twice, here and in line 1"),
    ],
)
def test_what_is_no_configuration_is_said_with_its_place(folder: Path, text: str, said: str) -> None:
    (folder / "other.yaml").write_text(text)
    assert said in run(folder, "apply", "other.yaml", "--yes", code=2).stderr


def test_the_configuration_itself_is_not_applied_and_its_parts_are_not_doubled(folder: Path) -> None:
    said = run(folder, "apply", "tidegate.yaml", code=2).stderr
    assert said.startswith("tidegate: tidegate.yaml is the configuration itself, and counts already")
    (folder / "tidegate.yaml").write_text(OTHER)
    assert run(folder, "apply", "other.yaml", code=2).stderr == (
        "tidegate: stripe.acme is written in tidegate.yaml (line 1); change it there.\n"
    )


def test_the_database_of_a_file_is_left_out(folder: Path) -> None:
    (folder / "other.yaml").write_text(OTHER + "database: sqlite:///elsewhere.db\n")
    done = run(folder, "apply", "other.yaml", "--yes")
    assert "tidegate: `database` is left out: it is said in tidegate.yaml only\n" in done.stderr
    assert not (folder / "elsewhere.db").exists()


def test_references_are_taken_in_as_they_are_written(folder: Path) -> None:
    (folder / "other.yaml").write_text(OTHER.replace(KEY, '"${ACME_KEY}"'))
    run(folder, "apply", "other.yaml", "--yes")
    assert "api_key: ${ACME_KEY}\n" in run(folder, "export").stdout
    assert run(folder, "secret", "list").stdout == ""


def test_other_commands_see_what_was_taken_in(folder: Path) -> None:
    run(folder, "apply", "other.yaml", "--yes")
    queued = json.loads(run(folder, "start", "everything", "--json").stdout)
    assert queued["flow"] == "pull:everything"
    (folder / "tidegate.yaml").unlink()  # the database beside it is found without
    run(folder, "cancel", "last")
    queued = json.loads(run(folder, "start", "everything", "--json").stdout)
    assert queued["flow"] == "pull:everything"


def test_check_says_what_does_not_count_since_the_file_has_its_name(folder: Path) -> None:
    (folder / "other.yaml").write_text("models: {m: {warehouse: one, table: t, key: id}}\n" + OTHER)
    run(folder, "apply", "other.yaml", "--yes")
    (folder / "tidegate.yaml").write_text("models: {m: {warehouse: one, table: t, key: id}}\n")
    assert (
        "tidegate: models.m in the metadata database does not count: the file has a part of that name\n"
        in run(folder, "check", "m", code=3).stderr
    )


def test_a_configuration_that_is_not_valid_can_be_mended(folder: Path) -> None:
    (folder / "tidegate.yaml").write_text(OTHER.replace("pulls:", "models: {}\npulls:"))
    (folder / "more.yaml").write_text("pulls: {more: {from: acme, to: one}}\n")
    run(folder, "apply", "more.yaml", "--yes")
    (folder / "tidegate.yaml").write_text(f"stripe: {{acme: {{api_key: {KEY}}}}}\n")
    assert run(folder, "runs", code=2).stderr == (
        "tidegate: pulls.more in the metadata database: to: `warehouses` has no such name; "
        "add it under `warehouses:`\n"
    )
    assert "more:" in run(folder, "export").stdout
    (folder / "more.yaml").write_text("warehouses: {one: {type: duckdb, path: one.duckdb}}\n")
    run(folder, "apply", "more.yaml", "--yes")
    run(folder, "runs")


def test_without_a_metadata_database_none_is_made_for_a_look(folder: Path) -> None:
    for words in (["export"], ["changes"]):
        assert "there is no metadata database yet" in run(folder, *words, code=2).stderr
    (folder / "tidegate.yaml").write_text(OTHER)
    run(folder, "check", "--help")
    assert not (folder / "tidegate.db").exists()


def test_where_the_metadata_database_cannot_be_opened_the_file_alone_counts(folder: Path) -> None:
    (folder / "tidegate.yaml").write_text(OTHER)
    (folder / "tidegate.db").write_text("this is no database, and never was one")
    done = run(folder, "token", "create", "x", "--flow", "nothing", code=2)
    first, second = done.stderr.splitlines()
    assert first.endswith("What was configured there is left out.")
    assert second.startswith(
        "tidegate: There is no flow 'nothing' in the configuration; it has pull:everything."
    )


def test_the_audit_log_says_who_changed_what(folder: Path) -> None:
    run(folder, "apply", "other.yaml", "--yes")
    (folder / "other.yaml").write_text(OTHER.replace("3d", "9d"))
    run(folder, "apply", "other.yaml", "--yes")
    run(folder, "secret", "set", "mine", said="geheim und lang genug")
    [secret, changed, *_] = json.loads(run(folder, "changes", "--json").stdout)["changes"]
    assert (secret["action"], secret["what"], secret["via"]) == ("create", "secrets.mine", "cli")
    assert "@" in changed["who"]
    assert changed["before"]["lookback"] == "3d"
    assert changed["after"]["lookback"] == "9d"
    table = run(folder, "changes", "pulls", "--action", "change", "--since", "1h").stdout
    assert "lookback: 3d -> 9d" in table
    assert "stripe" not in table
    assert len(json.loads(run(folder, "changes", "-n", "2", "--json").stdout)["changes"]) == 2
    assert run(folder, "changes", "--since", "long", code=2).stderr.startswith("tidegate: --since: ")


def test_it_works_over_postgres(folder: Path) -> None:
    (folder / "tidegate.yaml").write_text(f"database: {servers.new_postgres()}\n")
    (folder / "other.yaml").write_text(OTHER.replace(KEY, '"${ACME_KEY}"'))
    run(folder, "apply", "other.yaml", "--yes")
    assert run(folder, "apply", "other.yaml", "--yes").stderr == "tidegate: nothing would change\n"
    (folder / "other.yaml").write_text(OTHER)
    # A secret needs a key that all workers know.
    assert "TIDEGATE_SECRET_KEY" in run(folder, "apply", "other.yaml", "--yes", code=2).stderr
