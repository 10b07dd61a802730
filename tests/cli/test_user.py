"""`tidegate user`, run as it is typed: members invited, changed, listed, let in by a password."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import flowing
import pytest
import servers

from tidegate.server import passwords
from tidegate.store import database, invitations, people, trail

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
GOOD = "correct horse battery"


def run(folder: Path, *words: str, code: int = 0, told: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [TIDEGATE, "user", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        input=told,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(params=["sqlite", "postgres"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    place = servers.new_postgres() if request.param == "postgres" else "sqlite:///tidegate.db"
    pulls = "  everything: {from: acme, to: one, streams: {customers: {}}}\n  other: {from: acme, to: two}"
    flowing.written(tmp_path, "http://127.0.0.1:1", pulls, f"'{place}'")
    return tmp_path


def opened(folder: Path) -> database.Database:
    """The metadata database of a configuration."""
    text = (folder / "tidegate.yaml").read_text().rpartition("database: ")[2].strip().strip("'\"")
    if text.startswith("sqlite:///"):
        text = f"sqlite:///{folder / text.removeprefix('sqlite:///')}"
    return database.open_database(text)


def test_a_member_comes_changes_and_goes(folder: Path) -> None:
    made = run(folder, "add", "Ann@Example.com", "admin")
    assert made.stdout.startswith("http://127.0.0.1:8484/enter/")
    assert made.stderr == (
        "tidegate: this link signs ann@example.com in, once, within 7 days; it is not shown again\n"
    )
    run(folder, "add", "ben@example.com", "--url", "https://tidegate.example.com/")
    told = run(folder, "password", "ben@example.com", told=f"{GOOD}\n")
    assert told.stderr == "tidegate: ben@example.com has a new password, and is signed out everywhere\n"
    link = run(folder, "link", "ben@example.com", "--url", "https://tidegate.example.com/")
    assert link.stdout.startswith("https://tidegate.example.com/enter/")
    assert "within 24 hours" in link.stderr
    assert "is an operator now" in run(folder, "role", "ben@example.com", "operator").stderr
    assert "cannot sign in any more" in run(folder, "disable", "ben@example.com").stderr
    shown = run(folder, "list").stdout
    assert "ann@example.com" in shown
    assert "disabled" in shown
    members = json.loads(run(folder, "list", "--json").stdout)["members"]
    assert [(each["name"], each["role"], each["state"]) for each in members] == [
        ("ann@example.com", "admin", "invited"),
        ("ben@example.com", "operator", "disabled"),
    ]
    run(folder, "enable", "ben@example.com")
    store = opened(folder)
    kept = people.password(store, "ben@example.com")
    assert kept is not None
    assert passwords.same(kept[1], GOOD)
    assert invitations.look(store, made.stdout.strip().rpartition("/")[2]) is not None
    run(folder, "remove", "ben@example.com")
    assert [each.name for each in people.listed(store)] == ["ann@example.com"]
    lines = trail.listed(store, what="members.ben@example.com")
    assert {each.via for each in lines} == {"cli"}
    assert all("@" in each.who for each in lines)
    assert not any(GOOD in str(each) for each in lines)
    store.close()


@pytest.mark.parametrize(
    ("words", "told", "why"),
    [
        (["add"], "", "needs a name"),
        (["list", "ann"], "", "list takes no name"),
        (["role", "ann"], "", "say which role"),
        (["disable", "ann", "admin"], "", "a role goes with add and role"),
        (["disable", "ann", "--url", "https://x"], "", "--url goes with add and link"),
        (["add", "ann", "--json"], "", "--json goes with list"),
        (["add", "not a name"], "", "named by an e-mail address"),
        (["disable", "nobody"], "", "There is no member nobody"),
        (["password", "nobody"], GOOD, "There is no member nobody"),
    ],
)
def test_what_cannot_be_done_says_so(tmp_path: Path, words: list[str], told: str, why: str) -> None:
    assert why in run(tmp_path, *words, code=2, told=told).stderr


def test_a_password_that_will_not_do(tmp_path: Path) -> None:
    run(tmp_path, "add", "ann@example.com", "admin")
    refused = run(tmp_path, "password", "ann@example.com", code=2, told="short\n")
    assert "12 characters" in refused.stderr
    assert "short" not in refused.stderr


def test_the_last_admin_stays(tmp_path: Path) -> None:
    run(tmp_path, "add", "ann@example.com", "admin")
    run(tmp_path, "password", "ann@example.com", told=GOOD)
    refused = run(tmp_path, "disable", "ann@example.com", code=1)
    assert "ann@example.com is the last admin" in refused.stderr


def test_before_the_first_one(tmp_path: Path) -> None:
    assert "`tidegate run` prints a link" in run(tmp_path, "list").stderr
    assert json.loads(run(tmp_path, "list", "--json").stdout) == {"members": []}


def test_the_public_address_is_that_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "tidegate.yaml").write_text("server: {public_url: 'https://tidegate.example.com'}\n")
    made = run(tmp_path, "add", "ann@example.com")
    assert made.stdout.startswith("https://tidegate.example.com/enter/")
