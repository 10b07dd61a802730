"""`tidegate audit` as it is typed: exit codes, the table, the JSON, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import duckdb as engine
import pytest
from pulling import Stripe, query

from tidegate import sandbox
from tidegate.audit import findings
from tidegate.views import audits

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
KEY = "sk_test_geheim51AbCdEfGhIjKl"
STREAMS = "customers,charges,invoices,invoice_line_items,balance_transactions"


@pytest.fixture(scope="module")
def stripe() -> Iterator[Stripe]:
    counts = {"charges": 60, "customers": 20, "invoices": 12, "refunds": 6, "balance_transactions": 64}
    with sandbox.process(counts=counts) as url:
        yield Stripe(url)


@pytest.fixture
def folder(stripe: Stripe, tmp_path: Path) -> Path:
    """A folder with a pulled warehouse, and a place for temporary files."""
    (tmp_path / "temporary").mkdir()
    done = run("pull", *reach(stripe), "--streams", STREAMS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    stripe.control("clock", {"advance": 10})
    return tmp_path


def reach(stripe: Stripe, key: str = KEY) -> list[str]:
    there = ["--api-key", key, "--api-base", stripe.url, "--rate-limit", "off"]
    return [*there, "--to", "duckdb:///w.duckdb"]


def run(*words: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """One command to its end; whatever it says, it never says the key, and never shows a traceback."""
    left_out = ("COLUMNS", "STRIPE_API_KEY", "TIDEGATE_DEBUG", "FORCE_COLOR")
    mine = {name: value for name, value in os.environ.items() if name not in left_out}
    done = subprocess.run(
        [TIDEGATE, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**mine, "TMPDIR": str(cwd / "temporary"), **environ},
        check=False,
        timeout=120,
    )
    for text in (done.stdout, done.stderr):
        assert "geheim" not in text
        assert "Traceback" not in text
        assert "internal error" not in text
    return done


def audited(stripe: Stripe, folder: Path, *more: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    """An audit; nothing is left of what it read."""
    done = run("audit", *reach(stripe, key), "--stream", STREAMS, *more, cwd=folder)
    assert list((folder / "temporary").iterdir()) == []
    return done


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one object of --json."""
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def tamper(folder: Path, sql: str) -> None:
    connection = engine.connect(str(folder / "w.duckdb"))
    try:
        connection.execute(sql)
    finally:
        connection.close()


def test_all_equal_is_exit_0_and_one_line_of_totals(stripe: Stripe, folder: Path) -> None:
    done = audited(stripe, folder)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ *charges +60 +60 +equal *$", done.stdout, re.MULTILINE)
    assert re.search(r"^balance \(usd\): equal: ", done.stdout, re.MULTILINE)
    assert re.match(
        r"equal: [\d,]+ rows compared in .*: no difference; \d+ requests", done.stdout.splitlines()[-1]
    )


def test_json_is_one_object(stripe: Stripe, folder: Path) -> None:
    found = told(audited(stripe, folder, "--json"))
    assert set(found) >= {"status", "streams", "balance", "requests", "duration_s", "repaired"}
    assert found["status"] == "ok"
    streams = {each["stream"]: each for each in found["streams"]}
    assert set(streams) == set(STREAMS.split(","))
    charges = streams["charges"]
    assert charges["account"] == stripe.control("health")["account"]
    assert sum(line["stripe"] for line in charges["months"]) == charges["stripe"] == 60
    line = charges["months"][0]
    assert set(line) == {"month", "stripe", "warehouse", "missing", "extra", "stale", "sums"}
    amount = next(iter(line["sums"].values()))["amount"]
    assert amount["stripe"] == amount["warehouse"] > 0
    (balance,) = found["balance"]
    assert balance["status"] == "ok"


def test_differences_are_exit_3_come_first_and_are_repaired(stripe: Stripe, folder: Path) -> None:
    file = folder / "w.duckdb"
    charge = query(file, "select id, amount from stripe.charges order by id limit 1")[0]
    tamper(folder, f"update stripe.charges set amount = 31415926 where id = '{charge['id']}'")
    tamper(folder, "delete from stripe.customers where id = (select min(id) from stripe.customers)")
    done = audited(stripe, folder)
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    first = [re.split(r"\s{2,}", line.strip())[0] for line in lines[4:6]]
    assert set(first) == {"charges", "customers"}
    assert re.search(
        r"^  \d{4}-\d\d: 1 stale; amount [\d,]+ at Stripe, [\d,]+ here \(\w{3}\)$", done.stdout, re.MULTILINE
    )
    assert f"  stale: {charge['id']}: amount" in lines
    assert "1 missing, 1 stale" in lines[-1]
    mended = audited(stripe, folder, "--repair")
    assert mended.returncode == 0
    assert "2 repaired" in mended.stdout.splitlines()[-1]
    assert audited(stripe, folder).returncode == 0


def test_a_file_says_which_pulls_and_streams_choose_among_them(stripe: Stripe, folder: Path) -> None:
    (folder / "tidegate.yaml").write_text(
        f"""
        stripe: {{acme: {{api_key: "{KEY}", api_base: "{stripe.url}", rate_limit: "off"}}}}
        warehouses: {{local: {{type: duckdb, path: w.duckdb}}}}
        pulls:
          people: {{from: acme, to: local, streams: {{customers: {{}}}}}}
          money: {{from: acme, to: local, streams: {{charges: {{}}, balance_transactions: {{}}}}}}
        """
    )
    both = run("audit", "--json", cwd=folder)
    assert both.returncode == 0, both.stderr
    assert len(both.stdout.splitlines()) == 2
    assert [each["stream"] for each in told(run("audit", "people", "--json", cwd=folder))["streams"]] == [
        "customers"
    ]
    some = told(run("audit", "--stream", "charges", "--json", cwd=folder))
    assert [each["stream"] for each in some["streams"]] == ["charges"]
    none = run("audit", "--stream", "payouts", cwd=folder)
    assert none.returncode == 2
    assert "does not have the stream payouts" in none.stderr


def test_since_leaves_out_what_is_older(stripe: Stripe, folder: Path) -> None:
    tamper(folder, "delete from stripe.charges where created = (select min(created) from stripe.charges)")
    newest = query(folder / "w.duckdb", "select max(created) as at from stripe.charges")[0]["at"]
    assert audited(stripe, folder, "--since", f"{newest:%Y-%m-%d}").returncode == 0
    assert audited(stripe, folder).returncode == 3


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--since", "yesterday"], "--since: write a date"),
        (["--stream", "chargs"], "did you mean 'charges'?"),
        (["--start-date", "soon"], "--start-date: write a date"),
    ],
)
def test_wrong_words_are_exit_2(more: list[str], says: str, stripe: Stripe, tmp_path: Path) -> None:
    done = run("audit", *reach(stripe), *more, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_was_never_pulled_cannot_be_audited(stripe: Stripe, tmp_path: Path) -> None:
    done = run("audit", *reach(stripe), "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert "pull into it first" in done.stderr
    assert told(done)["status"] == "failed"
    assert list(tmp_path.iterdir()) == []


def test_a_permission_that_lacks_is_exit_1_and_said(stripe: Stripe, folder: Path) -> None:
    key = "rk_test_geheimaudit12345"
    stripe.control("keys", {"key": key, "scopes": ["rak_customer_read"]})
    account = stripe.control("health")["account"]
    done = audited(stripe, folder, "--account-id", account, key=key)
    assert done.returncode == 1
    assert re.search(r"^ *charges .*no permission: .*rak_charge_read", done.stdout, re.MULTILINE)
    assert re.search(r"^ *customers +20 +20 +equal *$", done.stdout, re.MULTILINE)
    assert re.search(r"^balance: not compared: ", done.stdout, re.MULTILINE)


def test_a_stream_that_is_none_is_told_by_the_flag_that_was_typed(stripe: Stripe, folder: Path) -> None:
    done = run("audit", *reach(stripe), "--stream", "chrges", cwd=folder)
    assert done.returncode == 2
    assert done.stderr == "tidegate: --stream: Stripe has no such stream as chrges; did you mean 'charges'?\n"


def test_on_a_narrow_terminal_verdicts_are_whole_and_reasons_stand_below(
    stripe: Stripe, folder: Path
) -> None:
    key = "rk_test_geheimnarrow12345"
    stripe.control("keys", {"key": key, "scopes": ["rak_customer_read"]})
    account = stripe.control("health")["account"]
    words = ("audit", *reach(stripe, key), "--stream", STREAMS, "--account-id", account)
    shown = run(*words, cwd=folder, COLUMNS="60").stdout.splitlines()
    assert [line for line in shown if re.search(r"^ charges .* no permission *$", line)]
    assert [line for line in shown if re.search(r"charges.*: no permission: .*rak_charge_read", line)]
    assert max(len(line) for line in shown if line.startswith(" ")) <= 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_leaves_nothing(number: signal.Signals, stripe: Stripe, folder: Path) -> None:
    stripe.control("latency", {"ms": 400})
    try:
        process = begun(stripe, folder)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        stripe.control("latency", {})
    assert process.returncode == 130, said
    assert said.endswith("tidegate: interrupted; what was repaired stays, and the next audit begins anew\n")
    assert "Traceback" not in said
    assert list((folder / "temporary").iterdir()) == []


def test_a_killed_audit_changes_nothing_and_the_next_one_tidies_up(stripe: Stripe, folder: Path) -> None:
    tamper(folder, "update stripe.charges set amount = 1")
    before = (folder / "w.duckdb").read_bytes()
    stripe.control("latency", {"ms": 400})
    try:
        process = begun(stripe, folder)
        process.kill()
        process.communicate(timeout=60)
    finally:
        stripe.control("latency", {})
    assert (folder / "w.duckdb").read_bytes() == before
    assert len(list((folder / "temporary").iterdir())) == 1
    assert audited(stripe, folder).returncode == 3


def begun(stripe: Stripe, folder: Path) -> subprocess.Popen[str]:
    """An audit that has begun to read."""
    process = subprocess.Popen(
        [TIDEGATE, "audit", *reach(stripe), "--stream", STREAMS, "--repair"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder / "temporary")},
    )
    while not list(folder.glob("temporary/tidegate-audit-*/reading.duckdb")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


def test_every_status_has_a_word() -> None:
    assert {*get_args(findings.Verdict), *get_args(findings.Status)} == set(audits.WORDS)
