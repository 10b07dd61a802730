"""`tidegate secret`, run as it is typed, and `${secret:NAME}` in the configuration of other commands."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import servers

from tidegate import errors
from tidegate.cli import connect

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
NAMED = """\
stripe:
  acme: {api_key: "${secret:stripe/acme}"}
warehouses:
  local: {type: duckdb, path: warehouse.duckdb}
pulls:
  everything: {from: acme, to: local}
"""


def run(
    folder: Path, *words: str, given: str | None = None, code: int = 0, **environ: str
) -> subprocess.CompletedProcess[str]:
    base = {name: value for name, value in os.environ.items() if name != "TIDEGATE_SECRET_KEY"}
    done = subprocess.run(
        [TIDEGATE, *words],
        input=given or "",
        capture_output=True,
        text=True,
        cwd=folder,
        env={**base, **environ},
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def listed(folder: Path, **environ: str) -> list[str]:
    found = json.loads(run(folder, "secret", "list", "--json", **environ).stdout)
    return [each["name"] for each in found["secrets"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tidegate.yaml").write_text(NAMED)
    return tmp_path


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


def test_a_secret_is_set_used_listed_and_forgotten(folder: Path) -> None:
    done = run(folder, "secret", "set", "stripe/acme", given="rk_test_geheim\n")
    assert done.stderr == (
        "tidegate: stripe/acme is kept; write ${secret:stripe/acme} in the configuration\n"
    )
    assert done.stdout == ""
    assert b"geheim" not in everything_in(folder)
    file = connect.configuration(folder / "tidegate.yaml")
    key = file.stripe["acme"].api_key
    assert key is not None
    assert key.get_secret_value() == "rk_test_geheim"

    [line] = run(folder, "secret", "list").stdout.splitlines()
    assert line.startswith("stripe/acme  20")
    assert line.endswith(" UTC")
    assert run(folder, "secret", "rm", "stripe/acme").stderr == "tidegate: stripe/acme is forgotten\n"
    assert "there is no secret stripe/acme" in run(folder, "secret", "rm", "stripe/acme", code=2).stderr
    assert "there are no secrets yet" in run(folder, "secret", "list").stderr


def test_asked_for_at_a_terminal_it_is_not_shown(folder: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [TIDEGATE, "secret", "set", "one"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = b""
        while b"one: " not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, b"geheim\n")
        while b"is kept" not in shown:
            shown += os.read(ours, 1000)
        process.wait()
    os.close(ours)
    assert b"geheim" not in shown
    assert listed(folder) == ["one"]


def test_a_secret_that_is_not_there_is_said_with_its_place_and_makes_no_database(folder: Path) -> None:
    done = run(folder, "runs", code=2)
    assert done.stderr == (
        "tidegate: tidegate.yaml:2:10: stripe.acme.api_key: there is no secret 'stripe/acme'; "
        "`tidegate secret set` keeps one\n"
    )
    assert [each.name for each in folder.iterdir()] == ["tidegate.yaml"]


def test_without_a_secret_no_database_is_opened(folder: Path) -> None:
    (folder / "tidegate.yaml").write_text(
        NAMED.replace("${secret:stripe/acme}", "rk_test_1")
        + "database: postgresql://u:geheim@127.0.0.1:1/x\n"
    )
    assert connect.configuration(folder / "tidegate.yaml").pulls["everything"].connection == "acme"


def test_where_secrets_are_kept_is_no_secret(folder: Path) -> None:
    (folder / "tidegate.yaml").write_text(NAMED + 'database: "${secret:place}"\n')
    for words in (("secret", "list"), ("runs",)):
        done = run(folder, *words, code=2)
        assert (
            "tidegate.yaml:7:1: database: this is where secrets are kept, and cannot be one itself; "
            "use ${NAME} from the environment" in done.stderr
        )
    (folder / "tidegate.yaml").write_text(NAMED + "database: mysql://x\n")
    assert "tidegate.yaml:7:1: database: write sqlite:///FILE" in run(folder, "secret", "list", code=2).stderr


def test_the_database_stands_beside_the_configuration_wherever_one_is(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    run(other, "secret", "set", "stripe/acme", "-c", "../tidegate.yaml", given="rk_test_1")
    assert list(other.iterdir()) == []
    assert (folder / "tidegate.db").exists()
    assert listed(folder) == ["stripe/acme"]


@pytest.mark.parametrize(
    ("words", "given", "said"),
    [
        (["set"], "x", "`tidegate secret set` needs a name"),
        (["list", "x"], "", "list takes no name"),
        (["set", "a b"], "x", "a secret's name is of letters, digits"),
        (["set", "a}"], "x", "a secret's name is of letters, digits"),
        (["set", "a"], "\n", "the secret is empty; nothing was changed"),
        (["set", "a", "--json"], "x", "--json goes with list"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, words: list[str], given: str, said: str) -> None:
    done = run(folder, "secret", *words, given=given, code=2)
    assert said in done.stderr
    assert listed(folder) == []


def test_the_key_of_a_file_rotates_by_itself(folder: Path) -> None:
    run(folder, "secret", "set", "a", given="one")
    before = (folder / "tidegate.db.key").read_text()
    assert "1 secret is encrypted with the newest key" in run(folder, "secret", "rotate").stderr
    after = (folder / "tidegate.db.key").read_text()
    assert before != after
    assert "," not in after
    (folder / "tidegate.yaml").write_text(NAMED.replace("stripe/acme", "a"))
    key = connect.configuration(folder / "tidegate.yaml").stripe["acme"].api_key
    assert key is not None
    assert key.get_secret_value() == "one"
    (folder / "tidegate.db.key").write_text(before)
    with pytest.raises(errors.StoreError, match="The secret a was written with another key"):
        connect.configuration(folder / "tidegate.yaml")


def test_the_key_of_the_environment_rotates_in_three_steps(tmp_path: Path) -> None:
    (tmp_path / "tidegate.yaml").write_text(
        NAMED.replace("${secret:stripe/acme}", "rk_test_1") + f'database: "{servers.new_postgres()}"\n'
    )
    assert "set TIDEGATE_SECRET_KEY" in run(tmp_path, "secret", "list", code=2).stderr
    old, new = (run(tmp_path, "secret", "key").stdout.strip() for _ in range(2))
    run(tmp_path, "secret", "set", "a", given="one", TIDEGATE_SECRET_KEY=old)
    done = run(tmp_path, "secret", "rotate", code=2, TIDEGATE_SECRET_KEY=old)
    assert "holds one key; put a new one" in done.stderr
    done = run(tmp_path, "secret", "rotate", TIDEGATE_SECRET_KEY=f"{new},{old}")
    assert "the others may leave TIDEGATE_SECRET_KEY" in done.stderr
    run(tmp_path, "secret", "set", "b", given="two", TIDEGATE_SECRET_KEY=new)
    assert listed(tmp_path, TIDEGATE_SECRET_KEY=new) == ["a", "b"]
    for key in (old, new):
        assert key not in done.stderr + done.stdout
