"""`tidegate check` of models, keys and pushes, as a user sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import oidc_issuer
import pytest
import servers

from tidegate import sandbox

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
FILE = """
warehouses:
  local: {{type: duckdb, path: w.duckdb}}
models:
  people: {{warehouse: local, {model}}}
"""


def check(folder: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "tidegate.yaml").write_text(text)
    return subprocess.run(
        [TIDEGATE, "check", *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.execute("CREATE TABLE people AS SELECT 1 AS id, 'ada@example.com' AS email")
    return tmp_path


def last_step(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (model,) = json.loads(done.stdout)["models"]
    assert model["model"] == "people"
    found: dict[str, Any] = model["source"][-1]
    return found


def test_a_model_that_can_be_read(folder: Path) -> None:
    done = check(folder, FILE.format(model="table: people, key: id"))
    assert done.returncode == 0, done.stderr
    assert "people: a model" in done.stdout
    assert "✓ source query: 2 columns, its key id among them" in done.stdout


def test_a_model_may_have_several_key_columns_in_any_case(folder: Path) -> None:
    done = check(folder, FILE.format(model="table: people, key: [ID, email]"), "--json")
    assert (done.returncode, last_step(done)["detail"]) == (0, "2 columns, its key ID and email among them")
    done = check(folder, FILE.format(model="table: people, key: [id, emali]"), "--json")
    assert last_step(done)["detail"] == "its key emali is no column of it; did you mean 'email'?"


def test_a_model_may_be_a_file(folder: Path) -> None:
    (folder / "people.csv").write_text("id,email\n007,ada@example.com\n")
    done = check(folder, "models: {people: {file: people.csv, key: id}}", "--json")
    assert (done.returncode, last_step(done)["detail"]) == (0, "2 columns, its key id among them")
    done = check(folder, "models: {people: {file: nobody.csv, key: id}}", "--json")
    assert done.returncode == 3
    assert last_step(done)["detail"].startswith("There is no file ")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("table: people, key: emali", "its key emali is no column of it; did you mean 'email'?"),
        ("table: people, key: zzz", "its key zzz is no column of it; there are id, email"),
        ("table: poeple, key: id", "poeple"),
        ("sql: drop table people, key: id", "only"),
    ],
)
def test_a_model_that_cannot_be_read_says_why(folder: Path, model: str, says: str) -> None:
    done = check(folder, FILE.format(model=model), "--json")
    assert done.returncode == 3, done.stderr
    step = last_step(done)
    assert (step["step"], step["ok"]) == ("query", False)
    assert says in step["detail"]
    assert "ada@" not in done.stdout


@pytest.mark.parametrize("name", ["[dbo]", "[/b]"])
def test_words_in_brackets_are_shown_as_they_are(folder: Path, name: str) -> None:
    """SQL Server's names stand in them, and so do those in the GRANT that it lacks."""
    done = check(folder, FILE.format(model=f"sql: 'select \"{name}\" as id from people', key: id"))
    assert done.returncode == 3, done.stderr
    assert f'"{name}"' in done.stdout


def test_a_model_without_its_driver_does_not_keep_the_others_from_being_checked(folder: Path) -> None:
    text = FILE.format(model="table: people, key: id").replace(
        "models:", "  sheet: {type: google_sheets, spreadsheet: x, credentials: geheim}\nmodels:"
    )
    done = check(folder, text + "  vips: {warehouse: sheet, sheet: S, key: id}\n", "--json")
    assert done.returncode == 3, done.stderr
    people, vips = json.loads(done.stdout)["models"]
    assert all(step["ok"] for step in people["source"])
    [step] = vips["source"]
    assert (step["step"], step["ok"]) == ("open", False)
    assert "is no JSON; write `credentials: ${file:/path/key.json}`" in step["detail"]
    assert "geheim" not in done.stdout + done.stderr


def test_a_source_that_cannot_be_reached_is_asked_nothing_more(tmp_path: Path) -> None:
    text = FILE.replace("{{type: duckdb, path: w.duckdb}}", "{{url: 'postgres://u:geheim@127.0.0.1:1/d'}}")
    done = check(tmp_path, text.format(model="table: people, key: id"), "--json")
    assert done.returncode == 3
    assert (last_step(done)["step"], last_step(done)["ok"]) == ("reach", False)
    assert "geheim" not in done.stdout + done.stderr


def test_models_are_named_like_pulls(folder: Path) -> None:
    text = FILE.format(model="table: people, key: id")
    assert check(folder, text, "people").returncode == 0
    wrong = check(folder, text, "poeple")
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_a_model_on_a_real_postgres(tmp_path: Path) -> None:
    url = servers.new_postgres()
    text = FILE.replace("{{type: duckdb, path: w.duckdb}}", f"{{{{url: '{url}'}}}}")
    done = check(tmp_path, text.format(model="sql: 'select 1 as id, current_user as name', key: id"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 columns, its key id among them" in done.stdout


KEYS = {
    "rk_test_pushing123": ("rak_balance_read", "rak_customer_write"),
    "rk_test_reading123": ("rak_balance_read",),
}
PUSH = """
stripe: {{acme: {{api_key: {key}, api_base: "{url}"}}}}
models: {{people: {{file: people.csv, key: id}}}}
pushes:
  people_up: {{model: people, to: acme, object: customer, match: {{email: email}}, fields: {{name: name}}}}
"""


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with sandbox.process(objects=30, keys=KEYS) as url:
        yield url


def test_a_key_of_which_nothing_is_configured_yet(stripe: str, tmp_path: Path) -> None:
    words = [TIDEGATE, "check", "--api-key", "rk_test_pushing123", "--api-base", stripe]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "account acct_" in done.stdout
    assert "test mode" in done.stdout
    assert "pushing123" not in done.stdout
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.split()}
    assert rows["customer"] == ["✓", "✓"]
    assert rows["coupon"] == ["✗", "✗", "rak_coupon_read,", "rak_coupon_write"]
    words = [TIDEGATE, "check", "--api-base", stripe, "--json"]
    env = {**os.environ, "STRIPE_API_KEY": "rk_test_pushing123"}
    told = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, timeout=120, check=True)
    found = json.loads(told.stdout)["key"]
    assert (found["mode"], found["restricted"]) == ("test", True)
    assert {
        "kind": "write",
        "object": "customer",
        "status": "yes",
        "permission": "rak_customer_write",
    } in found["rights"]
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_stripe_does_not_know(stripe: str, tmp_path: Path) -> None:
    words = [TIDEGATE, "check", "--api-key", "rk_test_nobody1234", "--api-base", stripe]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nobody1234" not in done.stderr


def test_a_push_that_is_ready(stripe: str, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("id,email,name\n1,ada@people.test,Ada\n")
    done = check(tmp_path, PUSH.format(key="rk_test_pushing123", url=stripe), "people_up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ write customer: yes" in done.stdout
    assert "✓ model: people: 1 rows, each with a key of its own (id)" in done.stdout
    assert "all customers are listed anew" in " ".join(done.stdout.split())
    assert "ada@" not in done.stdout


def test_a_push_that_lacks_something(stripe: str, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("id,email,name\n1,a@people.test,Ada\n1,b@people.test,Bob\n")
    text = PUSH.format(key="rk_test_reading123", url=stripe)
    done = check(tmp_path, text)
    assert done.returncode == 3, done.stderr
    assert "✗ write customer: no: grant rak_customer_write" in done.stdout
    shown = " ".join(done.stdout.split())
    assert "✗ model: people: 2 of 2 rows are not sent: 2 share a key (1)" in shown
    [push] = json.loads(check(tmp_path, text, "--json").stdout)["pushes"]
    assert (push["push"], push["ok"], push["mode"]) == ("people_up", False, "test")


def test_a_push_that_can_never_work_keeps_no_other_from_being_checked(stripe: str, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("id,email,name\n1,ada@people.test,Ada\n")
    text = PUSH.format(key="rk_test_pushing123", url=stripe)
    other = text.splitlines()[-1].replace("people_up", "wrong").replace("name: name", "balance: name")
    done = check(tmp_path, f"{text}{other}\n", "--json")
    ready, wrong = json.loads(done.stdout)["pushes"]
    assert (done.returncode, ready["ok"], wrong["ok"]) == (3, True, False)
    [step] = wrong["steps"]
    assert step["step"] == "configuration"
    assert "pushes.wrong.fields.balance" in step["detail"]


def test_a_provider_that_members_sign_in_by(tmp_path: Path) -> None:
    with oidc_issuer.running() as issuer:
        oidc = {"issuer": issuer.url, "client_id": oidc_issuer.CLIENT, "client_secret": oidc_issuer.SECRET}
        text = f"server: {json.dumps({'oidc': oidc})}\n"
        done = check(tmp_path, text, "--json")
        assert done.returncode == 0, done.stderr
        steps = json.loads(done.stdout)["sign_in"]
        assert [each["ok"] for each in steps] == [True] * 4
        assert "http://127.0.0.1:8484/sign-in/oidc/back" in steps[2]["detail"]
        issuer.failing = 500
        refused = check(tmp_path, text)
        assert refused.returncode == 3
        assert "✗ provider issuer: The sign-in provider answered with 500" in refused.stdout
