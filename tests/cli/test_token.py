"""`tidegate token`, run as it is typed: made, used over HTTP, listed, revoked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import flowing
import pytest
import servers

from tidegate import sandbox
from tidegate.store import database, tokens

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
PULLS = "  everything: {from: acme, to: one, streams: {customers: {}}}\n  finance: {from: acme, to: two}"


def run(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [TIDEGATE, "token", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(params=["sqlite", "postgres"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    place = servers.new_postgres() if request.param == "postgres" else "sqlite:///tidegate.db"
    flowing.written(tmp_path, "http://127.0.0.1:1", PULLS, f"'{place}'")
    return tmp_path


@pytest.fixture
def shop() -> Iterator[str]:
    with sandbox.process(objects=30) as url:
        yield url


def database_of(folder: Path) -> str:
    """The database of the configuration in a folder, to be written into another one."""
    return (folder / "tidegate.yaml").read_text().rpartition("database: ")[2].strip()


def test_a_token_is_made_listed_and_revoked(folder: Path) -> None:
    made = run(folder, "create", "dbt", "--flow", "everything", "--flow", "pull:finance", "--expires", "90d")
    secret = made.stdout.removesuffix("\n")
    assert secret.startswith("tg_")
    assert len(secret) == 46
    assert made.stderr == "tidegate: this is dbt; it is not shown again, and only its SHA-256 is kept\n"

    listed = run(folder, "list", "--json")
    [told] = json.loads(listed.stdout)["tokens"]
    assert 90 * 86_400 - 1 < told.pop("expires_at") - told.pop("made_at") < 90 * 86_400 + 1
    assert told == {
        "name": "dbt",
        "begins": secret[:8],
        "scope": "run",
        "made_by": None,
        "flows": ["pull:everything", "pull:finance"],
        "used_at": None,
        "expired": False,
    }
    table = run(folder, "list").stdout
    for word in ("dbt", f"{secret[:8]}...", "run", "never", "pull:everything, pull:finance"):
        assert word in table
    assert secret[8:] not in listed.stdout + table

    assert run(folder, "revoke", "dbt").stderr == "tidegate: dbt is revoked\n"
    assert (
        "there is no token dbt; `tidegate token list` shows them"
        in run(folder, "revoke", "dbt", code=2).stderr
    )
    assert run(folder, "list").stderr == (
        "tidegate: there are no tokens yet; `tidegate token create NAME` makes one\n"
    )
    assert json.loads(run(folder, "list", "--json").stdout) == {"tokens": []}


def test_without_more_a_token_is_for_all_flows_until_it_is_revoked(folder: Path) -> None:
    run(folder, "create", "ops", "--scope", "admin")
    [told] = json.loads(run(folder, "list", "--json").stdout)["tokens"]
    assert (told["scope"], told["flows"], told["expires_at"]) == ("admin", [], None)
    assert "all" in run(folder, "list").stdout


def test_only_the_database_of_the_configuration_is_read_where_no_flow_is_named(tmp_path: Path) -> None:
    (tmp_path / "tidegate.yaml").write_text('stripe: {acme: {api_key: "${secret:not/yet}"}}\n')
    assert run(tmp_path, "create", "dbt").stdout.startswith("tg_")
    assert "there is no secret 'not/yet'" in run(tmp_path, "create", "b", "--flow", "x", code=2).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create"], "`tidegate token create` needs a name"),
        (["list", "x"], "list takes no name"),
        (["create", "a b"], "A token's name is of letters, digits and"),
        (["create", "x", "--flow", "everythin"], "There is no flow 'everythin' in the configuration"),
        (["create", "x", "--scope", "root"], "root"),
        (["create", "x", "--expires", "soon"], "--expires: write a number and a unit"),
        (["create", "x", "--expires", "0d"], "--expires: give a time between 1s and 3650d"),
        (["create", "x", "--expires", "999999999w"], "--expires: give a time between 1s and 3650d"),
        (["list", "--scope", "run"], "--scope goes with create"),
        (["revoke", "x", "--expires", "1d"], "--expires goes with create"),
        (["create", "x", "--json"], "--json goes with list"),
    ],
)
def test_what_is_wrong_is_said_and_makes_no_token(tmp_path: Path, words: list[str], said: str) -> None:
    flowing.written(tmp_path, "http://127.0.0.1:1", PULLS)
    done = run(tmp_path, *words, code=2)
    assert said in done.stderr
    assert done.stdout == ""
    assert json.loads(run(tmp_path, "list", "--json").stdout) == {"tokens": []}


def test_a_name_that_is_taken_keeps_its_token(tmp_path: Path) -> None:
    flowing.written(tmp_path, "http://127.0.0.1:1", PULLS)
    first = run(tmp_path, "create", "dbt").stdout
    done = run(tmp_path, "create", "dbt", "--scope", "admin", code=2)
    assert "There is a token dbt already; revoke it first, or take another name." in done.stderr
    store = database.open_database(f"sqlite:///{tmp_path}/tidegate.db")
    found = tokens.find(store, first.strip())
    store.close()
    assert found is not None
    assert found.scope == "run"


def test_it_begins_a_run_of_tidegate_run_which_says_so_and_never_tells_the_token(
    folder: Path, shop: str
) -> None:
    """As a job on another machine does it that is done, and waits until the warehouse has what it made."""
    flowing.written(folder, shop, PULLS, database_of(folder))
    secret = run(folder, "create", "dbt", "--flow", "everything").stdout.strip()
    with subprocess.Popen(
        [TIDEGATE, "run", "--port", "0", "--log", "json"], cwd=folder, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = ""
        try:
            while "serving http" not in said:
                line = process.stderr.readline()
                assert line, said
                said += line
            url = said.rpartition("serving ")[2].strip()
            given = subprocess.run(
                [sys.executable, "-c", CALLS, url, secret], capture_output=True, text=True, check=True
            )
        finally:
            process.terminate()
            said += process.communicate()[1]
    began, ended = (json.loads(line) for line in given.stdout.splitlines())
    assert (began["flow"], began["cause"]) == ("pull:everything", "trigger")
    assert (ended["id"], ended["state"], ended["error"]) == (began["id"], "ok", "")
    assert ended["totals"]["written"] > 0
    assert f"{began['id']} of pull:everything was asked for with the token dbt" in said
    assert secret[8:] not in said


CALLS = """\
import json, sys, time, urllib.request

url, token = sys.argv[1:]


def ask(path, method):
    made = urllib.request.Request(url + path, method=method, headers={"Authorization": "Bearer " + token})
    with urllib.request.urlopen(made, timeout=60) as answer:
        return json.load(answer)


began = ask("/triggers/everything", "POST")
print(json.dumps(began))
while (run := ask(began["url"], "GET"))["state"] in ("queued", "running"):
    time.sleep(0.1)
print(json.dumps(run))
"""
