"""`tidegate pipeline` and `tidegate pipelines` as somebody types them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flowing import KEY, PATIENCE, until
from following import Merchant

from tidegate import sandbox
from tidegate.store import database, runs
from tidegate.warehouse import duckdb

TIDEGATE = Path(sys.executable).with_name("tidegate")
CASES = """
    cases:
      - {name: trimmed, given: {id: cus_1, name: " Ann "}, expected: {customer_id: cus_1, name: Ann}}
      - {name: without a name, given: {id: cus_2, name: null}}
"""
FUNCTION = """
def transform(customer):
    print("seen", customer["id"])
    if customer["name"] is None:
        return None
    if customer["name"] == "Bad":
        raise ValueError(customer["email"])
    return {"customer_id": customer["id"], "email": customer["email"], "name": customer["name"].strip()}
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Merchant]:
    with sandbox.process(objects=30) as url:
        yield Merchant(url)


@pytest.fixture
def shop(running: Merchant, tmp_path: Path) -> Merchant:
    """A few customers, one of them bad, and a pipeline over them."""
    running.control("reset", {"counts": {"customers": 3}, "only": ["customers"]})
    running.make("/v1/customers", name="Bad", email="bad@people.test")
    running.later()
    (tmp_path / "f.py").write_text(FUNCTION)
    (tmp_path / "tidegate.yaml").write_text(
        f'stripe: {{acme: {{api_key: {KEY}, api_base: "{running.url}", rate_limit: "off"}}}}\n'
        "warehouses: {one: {type: duckdb, path: one.duckdb}}\n"
        "pipelines:\n  people:\n    from: acme\n    to: one\n    function: {python: f.py}" + CASES
    )
    return running


def tidegate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([TIDEGATE, *words], cwd=folder, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert not any(word in said for word in ("geheim", "Traceback", "internal error")), said
    return done


def told(folder: Path, *words: str) -> dict[str, Any]:
    done = tidegate(folder, *words, "--json")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def names(folder: Path) -> list[str]:
    with contextlib.closing(duckdb.DuckDB(folder / "one.duckdb", "tidegate")) as model:
        batches = model.read("SELECT name FROM tidegate_live.customer_profiles ORDER BY 1")
        return [name for batch in batches for name in batch.column(0).to_pylist()]


@pytest.mark.usefixtures("shop")
def test_from_the_cases_to_the_customers(tmp_path: Path) -> None:
    tested = tidegate(tmp_path, "pipeline", "test", "people")
    assert (tested.returncode, tested.stdout) == (0, "ok  trimmed\nok  without a name\n")
    assert tested.stderr == "tidegate: people: 2 of 2 cases as expected\n"
    ran = tidegate(tmp_path, "pipeline", "run", "people")
    assert ran.returncode == 3
    assert ran.stderr.splitlines()[-2:] == [
        "tidegate: people: 4 read, 1 failed, 3 matched; customers: 3 created.",
        "tidegate: 1 row is in quarantine; `tidegate pipeline failures people` lists why.",
    ]
    assert len(names(tmp_path)) == 3
    failures = tidegate(tmp_path, "pipeline", "failures", "people")
    assert "line 7: ValueError: bad@people.test" in failures.stdout
    assert failures.stderr == "tidegate: people has 1 row in quarantine\n"
    shown = tidegate(tmp_path, "pipeline", "preview", "people", "--limit", "4")
    assert shown.returncode == 0
    assert shown.stdout.count("  matched\n") == 3
    assert "    name: " in shown.stdout
    assert "seen cus_" in shown.stdout
    listed = tidegate(tmp_path, "pipelines").stdout.splitlines()
    [line] = [line for line in listed if line.split()[:1] == ["people"]]
    assert line.split()[:5] == ["people", "acme.customers", "-", "yes", "manual"]
    assert "partial" in line
    log = tidegate(tmp_path, "logs", "last")
    assert "profiles created  3" in log.stdout
    assert "bad@people.test" not in log.stdout
    assert "seen cus_" not in log.stdout
    assert (
        "the function printed something; `tidegate pipeline preview people` shows what it prints"
        in log.stdout
    )


@pytest.mark.usefixtures("shop")
def test_what_is_mended_leaves_the_quarantine(tmp_path: Path) -> None:
    first = told(tmp_path, "pipeline", "run", "people")
    assert (first["status"], first["read"], first["failed"], first["quarantined"]) == ("partial", 4, 1, 1)
    assert told(tmp_path, "pipeline", "failures", "people")["count"] == 1
    again = tidegate(tmp_path, "pipeline", "retry", "people")
    assert again.stderr == "tidegate: 1 row of people will be read again by its next run\n"
    second = told(tmp_path, "pipeline", "run", "people")
    assert (second["read"], second["failed"]) == (1, 1)
    (tmp_path / "f.py").write_text(FUNCTION.replace('"Bad"', '"Worse"'))
    third = told(tmp_path, "pipeline", "run", "people")
    assert (third["status"], third["read"], third["written"]) == ("ok", 4, 1)
    assert "Bad" in names(tmp_path)
    versions = told(tmp_path, "pipeline", "versions", "people")["versions"]
    assert [each["number"] for each in versions] == [2, 1]
    diff = tidegate(tmp_path, "pipeline", "versions", "people", "--diff", "1..2").stdout
    assert '-      "    if customer[\\"name\\"] == \\"Bad\\":",' in diff
    assert '+      "    if customer[\\"name\\"] == \\"Worse\\":",' in diff
    listed = told(tmp_path, "pipelines")["pipelines"]
    assert [(each["pipeline"], each["state"], each["quarantined"]) for each in listed] == [
        ("people", "ok", 0)
    ]


def test_a_preview_reads_from_stripe_what_is_in_no_table_yet(shop: Merchant, tmp_path: Path) -> None:
    shown = tidegate(tmp_path, "pipeline", "preview", "people")
    assert shown.returncode == 0
    first, *_, last = shown.stderr.splitlines()
    assert first == "tidegate: read from Stripe, since that stream is in no table yet"
    assert last == "tidegate: people: 4 read, 0 filtered, 1 failed, 3 matched; nothing was written"
    assert not (tmp_path / "one.duckdb").exists()
    fresh = [
        shop.make("/v1/customers", name=name, email=f"{name}@people.test")["id"] for name in ("Eve", "Zoe")
    ]
    made = told(tmp_path, "pipeline", "preview", "people", "--id", fresh[1], "--id", fresh[0])
    assert (made["from"], made["read"], made["matched"]) == ("stripe", 2, 2)
    assert [row["properties"]["name"] for row in made["rows"]] == ["Zoe", "Eve"]
    told(tmp_path, "pipeline", "run", "people")
    made = told(tmp_path, "pipeline", "preview", "people", "--id", fresh[0])
    assert (made["from"], [row["id"] for row in made["rows"]]) == ("stripe.customers", [fresh[0]])
    late = shop.make("/v1/customers", name="Late", email="late@people.test")["id"]
    assert told(tmp_path, "pipeline", "preview", "people", "--id", late)["from"] == "stripe"


@pytest.mark.usefixtures("shop")
def test_an_old_version_is_printed_and_written_back(tmp_path: Path) -> None:
    first = (tmp_path / "tidegate.yaml").read_text()
    told(tmp_path, "pipeline", "run", "people")
    (tmp_path / "f.py").write_text(FUNCTION.replace('"Bad"', '"Worse"'))
    edited = first.replace(CASES, "\n    filter: {field: name, op: exists}   # who has one\n")
    (tmp_path / "tidegate.yaml").write_text(edited)
    told(tmp_path, "pipeline", "run", "people")
    shown = tidegate(tmp_path, "pipeline", "restore", "people", "1")
    assert shown.stdout.startswith("pipelines:\n  people:\n    from: acme\n    to: one\n")
    assert '#       if customer["name"] == "Bad":' in shown.stdout
    asked = tidegate(tmp_path, "pipeline", "restore", "people", "1", "--write")
    assert (asked.returncode, "give --yes" in asked.stderr) == (2, True)
    assert (tmp_path / "tidegate.yaml").read_text() == edited
    done = tidegate(tmp_path, "pipeline", "restore", "people", "1", "--write", "--yes")
    assert '-    if customer["name"] == "Worse":' in done.stderr
    assert "-  filter: {field: name, op: exists}   # who has one" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "tidegate: people is version 1 again, in f.py and tidegate.yaml; its next run uses it"
    )
    assert (tmp_path / "f.py").read_text().split() == FUNCTION.split()
    assert told(tmp_path, "pipeline", "run", "people")["status"] == "partial"
    versions = told(tmp_path, "pipeline", "versions", "people")["versions"]
    assert [each["digest"] for each in versions] == [
        versions[2]["digest"],
        versions[1]["digest"],
        versions[2]["digest"],
    ]


@pytest.mark.usefixtures("shop")
def test_to_retry_a_run_is_not_to_approve_again(tmp_path: Path) -> None:
    told(tmp_path, "pipeline", "run", "people", "--approve", "--full")
    assert tidegate(tmp_path, "retry", "last").returncode == 0
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
        [again, first] = runs.listed(store)
    assert dict(first.options) == {"approve": True, "full_refresh": True}
    assert dict(again.options) == {"full_refresh": True}


@pytest.mark.usefixtures("shop")
def test_a_case_that_fails_is_shown_and_keeps_the_pipeline_from_running(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(FUNCTION.replace(".strip()", ""))
    tested = tidegate(tmp_path, "pipeline", "test", "people")
    assert tested.returncode == 1
    assert tested.stdout.startswith("not ok  trimmed: other values of name\n    customer_id: cus_1\n")
    ran = tidegate(tmp_path, "pipeline", "run", "people")
    assert ran.returncode == 2
    assert "The case 'trimmed' of the pipeline people comes out differently" in ran.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "say which pipeline: people"),
        (("run", "peolpe"), "There is no pipeline 'peolpe' in the configuration; did you mean people?"),
        (("preview", "people", "--full"), "--full goes with run"),
        (("run", "people", "2"), "VERSION goes with restore"),
        (
            ("restore", "people", "2"),
            "say which version of people: tidegate pipeline restore people VERSION;",
        ),
        (("run", "people", "--diff", "1"), "--diff goes with versions"),
        (("failures", "people", "--limit", "0"), "--limit must be 1 or more"),
        (
            ("versions", "people", "--diff", "3..4"),
            "--diff takes versions of people, such as 1..2; there are none",
        ),
        (("preview", "people", "--id", "cus_none"), "Stripe has no object cus_none among the customers"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_what_is_wrong_is_said_in_a_sentence(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = tidegate(tmp_path, "pipeline", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"tidegate: {said}")


@pytest.mark.usefixtures("shop")
def test_a_function_that_cannot_be_read_is_said_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("def transform(customer):\n    return {\n")
    done = tidegate(tmp_path, "pipeline", "test", "people")
    assert done.returncode == 2
    assert "line 2" in done.stderr


def test_a_wrong_key_is_a_failed_run(shop: Merchant, tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(file.read_text().replace(KEY, "sk_live_wrong12345"))
    done = tidegate(tmp_path, "pipeline", "run", "people")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    del shop


def test_ctrl_c_ends_it_and_the_same_command_goes_on(shop: Merchant, tmp_path: Path) -> None:
    shop.control("latency", {"ms": 3_000})
    with (tmp_path / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [TIDEGATE, "pipeline", "run", "people"], cwd=tmp_path, stdout=said, stderr=said
        )
    try:
        with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
            until(lambda: runs.listed(store, states=("running",)))
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 130
            assert [run.state for run in runs.listed(store)] == ["cancelled"]
    finally:
        process.kill()
        process.wait()
        shop.control("latency", {"ms": 0})
    last = (tmp_path / "said.txt").read_text().splitlines()[-1]
    assert (
        last == "tidegate: interrupted; what was committed is safe, and the same command goes on from there"
    )
    assert told(tmp_path, "pipeline", "run", "people")["read"] == 4


@pytest.mark.usefixtures("shop")
def test_a_forgotten_customer_leaves_the_model(tmp_path: Path) -> None:
    told(tmp_path, "pipeline", "run", "people")
    [bad] = told(tmp_path, "pipeline", "failures", "people")["failures"]
    with contextlib.closing(duckdb.DuckDB(tmp_path / "one.duckdb", "tidegate")) as model:
        [batch] = model.read(
            "SELECT customer_id, name FROM tidegate_live.customer_profiles ORDER BY 1 LIMIT 1"
        )
        [(id, name)] = zip(*(column.to_pylist() for column in batch.columns), strict=True)
    looked = told(tmp_path, "forget", id, bad["source_id"], "--dry-run")
    assert looked["customer_model"] == {"rows in quarantine": 1, "tidegate.customer_profiles": 1}
    done = told(tmp_path, "forget", id, bad["source_id"], "--yes")
    assert done["customer_model"] == {"rows in quarantine": 1, "tidegate.customer_profiles": 1}
    assert name not in names(tmp_path)
    assert len(names(tmp_path)) == 2
    assert told(tmp_path, "pipeline", "failures", "people")["count"] == 0


def test_a_configuration_without_pipelines_says_so(tmp_path: Path) -> None:
    (tmp_path / "tidegate.yaml").write_text(f"stripe: {{acme: {{api_key: {KEY}}}}}\n")
    assert "describe one under `pipelines:`" in tidegate(tmp_path, "pipelines").stderr
    done = tidegate(tmp_path, "pipeline", "run")
    assert (done.returncode, os.listdir(tmp_path)) == (2, ["tidegate.yaml"])
