"""`tidegate alerts`, as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import hearing
import pytest

from tidegate.store import database, notices

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
FILE = 'stripe: {acme: {api_key: sk_test_geheim123456789, api_base: "http://127.0.0.1:9"}}\n'


def run(folder: Path, *words: str, alerts: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
    (folder / "tidegate.yaml").write_text(FILE + alerts)
    done = subprocess.run(
        [TIDEGATE, "alerts", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose database has a matter that is open and one that is not."""
    store = database.open_database(f"sqlite:///{tmp_path}/tidegate.db")
    failed = notices.Matter(
        "pull:everything/failed", "failed", "pull:everything", "pull:everything: it failed."
    )
    held = notices.Matter("pull:everything/held/acct_1/x", "held", "pull:everything", "rows of x are held.")
    notices.settle(store, "pull:everything", [failed, held])
    notices.settle(store, "pull:everything", [], ("held",))
    [notice] = notices.listed(store)
    notices.note(store, "slack", {notice.matter: notices.Telling(opened=notice.opened_at)})
    notices.note(store, "email", {notice.matter: notices.Telling(tries=3, error="It hung up.")})
    store.close()
    return tmp_path


def test_what_is_open_is_listed_with_who_was_told(folder: Path) -> None:
    done = run(folder)
    [row] = [line for line in done.stdout.splitlines() if "failed" in line]
    assert "email fails, slack" in row
    assert "UTC" in row
    assert "held" not in done.stdout


def test_what_ended_is_listed_too_when_it_is_asked_for(folder: Path) -> None:
    assert "rows of x are held" in run(folder, "--ended").stdout


def test_a_program_gets_json(folder: Path) -> None:
    [found] = json.loads(run(folder, "--json").stdout)["alerts"]
    assert (found["matter"], found["kind"], found["resolved_at"]) == (
        "pull:everything/failed",
        "failed",
        None,
    )
    assert found["told"]["email"] == {"tries": 3, "error": "It hung up."}


def test_nothing_is_said_to_be_nothing(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.stdout == ""
    assert done.stderr == "tidegate: nothing needs you\n"


def test_a_test_reaches_everybody(tmp_path: Path) -> None:
    with hearing.hook() as hook:
        done = run(tmp_path, "test", alerts=f'alerts: {{webhook: {{url: "{hook.url}"}}}}')
    assert done.stderr == "tidegate: webhook: sent\n"
    assert [each.json["event"] for each in hook.heard] == ["test"]


def test_a_test_that_reaches_nobody_fails_without_showing_the_address(tmp_path: Path) -> None:
    with hearing.hook() as hook:
        hook.answer = lambda _: (404, {}, b"")
        done = run(tmp_path, "test", "--json", alerts=f'alerts: {{slack: {{webhook: "{hook.url}"}}}}', code=1)
    assert "slack: 127.0.0.1 refused the message with status 404" in done.stderr
    assert json.loads(done.stdout)["channels"][0]["name"] == "slack"
    assert "geheim" not in done.stderr + done.stdout


def test_a_test_without_a_channel_says_what_to_add(tmp_path: Path) -> None:
    assert "no `alerts:`" in run(tmp_path, "test", code=2).stderr
