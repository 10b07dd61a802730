"""`pull` and its neighbours, run as they are typed: exit codes, one sentence, and the key nowhere."""

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
from typing import Any

import pytest
from pulling import Stripe, query, tables

from tidegate import sandbox

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
KEY = "sk_test_geheim51AbCdEfGhIjKl"
STREAMS = "customers,charges,invoices,invoice_line_items"
INTERRUPTED = "tidegate: interrupted; what was committed is safe, and the same command goes on from there"
CONTRACT = {"run_id", "status", "requests", "retries", "rate_limited", "duration_s", "streams"}
PER_STREAM = {"stream", "account", "status", "read", "written", "deleted", "requests", "error"}


@pytest.fixture(scope="module")
def stripe() -> Iterator[Stripe]:
    with sandbox.process(objects=3_000) as url:
        yield Stripe(url)


def clean(**environ: str) -> dict[str, str]:
    """The environment without what would change a command."""
    mine = ("COLUMNS", "STRIPE_API_KEY", "TIDEGATE_DEBUG", "FORCE_COLOR")
    return {**{name: value for name, value in os.environ.items() if name not in mine}, **environ}


def run(*words: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """One command to its end; whatever it says, it never says the key, and never shows a traceback."""
    done = subprocess.run(
        [TIDEGATE, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=clean(**environ),
        check=False,
        timeout=120,
    )
    for text in (done.stdout, done.stderr):
        assert "geheim" not in text
        assert "Traceback" not in text
        assert "internal error" not in text
    return done


def given(stripe: Stripe, *more: str, key: str = KEY, streams: str = STREAMS) -> list[str]:
    """`tidegate pull` into w.duckdb, without a file."""
    reach = ["--api-key", key, "--api-base", stripe.url, "--rate-limit", "off"]
    return ["pull", *reach, "--to", "duckdb:///w.duckdb", "--streams", streams, *more]


def last(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The object that `--json` prints last."""
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failed command says."""
    (line,) = done.stderr.splitlines()
    assert line.startswith("tidegate: ")
    return line.removeprefix("tidegate: ")


# All well


def test_a_pull_prints_a_table_and_tells_its_progress_on_stderr(stripe: Stripe, tmp_path: Path) -> None:
    done = run(*given(stripe), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ *charges +[\d,]+ +[\d,]+ +\d+ +done", done.stdout, re.MULTILINE)
    assert "ok: " in done.stdout.splitlines()[-1]
    assert re.search(r"tidegate: charges: done, [\d,]+ rows, \d+ requests", done.stderr)
    count = query(tmp_path / "w.duckdb", "select count(*) as n from stripe.charges")[0]["n"]
    assert count == len(stripe.truth("charges"))


def test_json_is_one_object_with_the_fields_of_the_contract(stripe: Stripe, tmp_path: Path) -> None:
    done = run(*given(stripe, "--json"), cwd=tmp_path)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    found = last(done)
    assert set(found) >= CONTRACT
    assert all(set(each) >= PER_STREAM for each in found["streams"])
    assert found["status"] == "ok"
    assert found["retries"] == found["rate_limited"] == 0
    assert {each["stream"] for each in found["streams"]} == set(STREAMS.split(","))
    charges = next(each for each in found["streams"] if each["stream"] == "charges")
    assert charges["status"] == "ok"
    assert charges["read"] == charges["written"] == len(stripe.truth("charges"))
    assert charges["account"] == stripe.control("health")["account"]
    assert charges["error"] is None


def test_the_key_may_come_from_the_environment(stripe: Stripe, tmp_path: Path) -> None:
    words = given(stripe, "--json", streams="coupons")
    words[words.index("--api-key") : words.index("--api-key") + 2] = []
    assert run(*words, cwd=tmp_path, STRIPE_API_KEY=KEY).returncode == 0


def test_a_file_with_everything_in_it(stripe: Stripe, tmp_path: Path) -> None:
    (tmp_path / "tidegate.yaml").write_text(
        f"""
        stripe: {{acme: {{api_key: "${{KEY_OF_ACME}}", api_base: "{stripe.url}", rate_limit: "off"}}}}
        warehouses: {{local: {{type: duckdb, path: w.duckdb, schema: raw}}}}
        pulls:
          some:
            from: acme
            to: local
            streams: {{customers: {{exclude: [email]}}, coupons: {{table: vouchers}}}}
        """
    )
    done = run("pull", "some", "--json", cwd=tmp_path, KEY_OF_ACME=KEY)
    assert done.returncode == 0, done.stderr
    columns = {
        row["name"]
        for row in query(tmp_path / "w.duckdb", "select column_name as name from duckdb_columns()")
    }
    assert "phone" in columns
    assert "email" not in columns
    assert query(tmp_path / "w.duckdb", "select count(*) as n from raw.vouchers")[0]["n"] > 0


def test_a_dry_run_looks_and_makes_no_file(stripe: Stripe, tmp_path: Path) -> None:
    stripe.control("stats/reset", {})
    done = run(*given(stripe, "--dry-run", "--json"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    found = last(done)
    assert found["requests"] > 0
    shown = run(*given(stripe, "--dry-run"), cwd=tmp_path)
    assert shown.returncode == 0
    assert "of the month's reads" in shown.stdout


def test_check_tells_what_can_be_read(stripe: Stripe, tmp_path: Path) -> None:
    words = ["check", "--api-base", stripe.url, "--to", "duckdb:///w.duckdb", "--streams", STREAMS]
    done = run(*words, "--api-key", KEY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 streams can be read" in done.stdout
    stripe.control("keys", {"key": "rk_test_geheimnarrow12345", "scopes": ["rak_customer_read"]})
    narrow = run(*words, "--api-key", "rk_test_geheimnarrow12345", "--json", cwd=tmp_path)
    assert narrow.returncode == 3
    (report,) = last(narrow)["pulls"]
    states = {each["stream"]: each["status"] for each in report["streams"]}
    assert states["customers"] == "ok"
    assert states["charges"] == "no_permission"
    assert "rak_event_read" in report["events"]["error"]
    plain = run(*words, "--api-key", "rk_test_geheimnarrow12345", cwd=tmp_path)
    assert "events cannot be read" in plain.stdout


def test_status_tells_what_is_there(stripe: Stripe, tmp_path: Path) -> None:
    assert run(*given(stripe), cwd=tmp_path).returncode == 0
    done = run("status", "--to", "duckdb:///w.duckdb", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (found,) = last(done)["pulls"]
    rows = {each["stream"]: (each["rows"], each["complete"]) for each in found["streams"]}
    assert rows == {name: (len(stripe.truth(name)), True) for name in STREAMS.split(",")}
    assert "4 streams, 4 of them complete" in run("status", "--to", "duckdb:///w.duckdb", cwd=tmp_path).stdout


def test_status_on_a_narrow_terminal_names_every_stream_whole_and_tells_bounds_once(
    stripe: Stripe, tmp_path: Path
) -> None:
    assert run(*given(stripe), cwd=tmp_path).returncode == 0
    words = ("status", "--to", "duckdb:///w.duckdb")
    wide = run(*words, cwd=tmp_path, COLUMNS="250").stdout
    assert "changes show within" in wide.splitlines()[2]
    narrow = run(*words, cwd=tmp_path, COLUMNS="80").stdout
    table, bounds = narrow.split("changes show within\n")
    assert all(len(line) <= 80 for line in table.splitlines())
    rows = {line.split()[0]: line.split() for line in table.splitlines() if line.endswith(" ok     ")}
    assert set(rows) == set(STREAMS.split(","))
    told = dict(line.strip().split(" ", 1) for line in bounds.splitlines() if line.startswith("  ("))
    held = last(run(*words, "--json", cwd=tmp_path))["pulls"][0]["streams"]
    assert {name: told[row[-2]] for name, row in rows.items()} == {
        each["stream"]: each["staleness"] for each in held
    }


def test_preview_on_a_narrow_terminal_leaves_columns_out_rather_than_cutting_ids(
    stripe: Stripe, tmp_path: Path
) -> None:
    words = ["preview", "charges", "--api-key", KEY, "--api-base", stripe.url, "--limit", "3"]
    done = run(*words, cwd=tmp_path, COLUMNS="80")
    ids = {json.loads(line)["id"] for line in run(*words, "--json", cwd=tmp_path).stdout.splitlines()}
    assert {line.split()[0] for line in done.stdout.splitlines() if line.startswith(" ch_")} == ids
    assert "…" not in done.stdout


def test_preview_shows_rows_without_a_warehouse(stripe: Stripe, tmp_path: Path) -> None:
    words = ["preview", "charges", "--api-key", KEY, "--api-base", stripe.url, "--limit", "3"]
    done = run(*words, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 3
    assert all(row["id"].startswith("ch_") and row["object"] == "charge" for row in rows)
    assert "3 rows" in run(*words, cwd=tmp_path).stdout
    assert list(tmp_path.iterdir()) == []


def test_preview_asks_the_stripe_of_the_file_although_its_key_is_in_the_environment(
    stripe: Stripe, tmp_path: Path
) -> None:
    said = {"STRIPE_API_KEY": KEY}
    assert run("init", "--api-base", stripe.url, cwd=tmp_path, **said).returncode == 0
    asked = ("preview", "charges", "--limit", "1", "--json")
    by_file = run(*asked, cwd=tmp_path, **said)
    assert by_file.returncode == 0, by_file.stderr
    (tmp_path / "tidegate.yaml").unlink()
    by_flag = run(*asked, "--api-base", stripe.url, cwd=tmp_path, **said)
    assert json.loads(by_file.stdout)["id"] == json.loads(by_flag.stdout)["id"]


def test_the_demo_ends_with_something_to_look_at(tmp_path: Path) -> None:
    done = run("demo", "--objects", "1500", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Revenue by month" in done.stdout
    assert "demo.duckdb" in done.stdout
    assert query(tmp_path / "demo.duckdb", "select count(*) as n from stripe.charges")[0]["n"] > 100
    again = run("demo", "--objects", "1500", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "Nothing is new: demo.duckdb has the demo of before." in again.stdout


# Not so well


def test_a_stream_that_fails_makes_it_partial(stripe: Stripe, tmp_path: Path) -> None:
    key = "rk_test_geheimpartial12345"
    stripe.control("keys", {"key": key, "scopes": ["rak_customer_read"]})
    done = run(*given(stripe, "--json", key=key, streams="customers,payouts"), cwd=tmp_path)
    assert done.returncode == 3
    found = last(done)
    assert found["status"] == "partial"
    payouts = next(each for each in found["streams"] if each["stream"] == "payouts")
    assert payouts["status"] == "no_permission"
    assert "rak_" in payouts["error"]


def test_nothing_that_can_be_read_is_a_failure(stripe: Stripe, tmp_path: Path) -> None:
    key = "rk_test_geheimfailed123456"
    stripe.control("keys", {"key": key, "scopes": ["rak_customer_read"]})
    done = run(*given(stripe, "--json", key=key, streams="payouts"), cwd=tmp_path)
    assert (done.returncode, last(done)["status"]) == (1, "failed")


def test_a_wrong_key_is_one_sentence(stripe: Stripe, tmp_path: Path) -> None:
    done = run(*given(stripe, key="sk_live_geheim51AbCdEfGhIjKl"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "rejected the key sk_live_" in sentence(done)
    assert list(tmp_path.iterdir()) == []


def test_nobody_there_is_one_sentence(tmp_path: Path) -> None:
    done = run(*given(Stripe("http://127.0.0.1:1"), "--json"), cwd=tmp_path)
    assert done.returncode == 1
    assert sentence(done).startswith("The host 127.0.0.1:1 can't be reached: connection refused; ")
    assert last(done)["status"] == "failed"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--api-key": None}, "--to needs a key too: give --api-key, or set STRIPE_API_KEY"),
        ({"--api-key": ""}, "--api-key is empty; is the variable that it comes from set?"),
        ({"--api-key": "pk_test_geheim51AbCdEfGhIj"}, "pk_"),
        ({"--to": "duckdb:////no/such/folder/w.duckdb"}, "The directory /no/such/folder does not exist"),
        ({"--to": "oracle://geheim@x"}, "duckdb:///FILE"),
        ({"--streams": "customers,chargs"}, "no such stream as chargs; did you mean 'charges'?"),
        ({"--streams": "zzz_*"}, "--streams: Stripe has no such stream"),
        ({"--rate-limit": "many"}, "100/25"),
        ({"--budget": "7"}, "budget"),
        ({"--start-date": "yesterday"}, "--start-date: write a date"),
        ({"--api-base": "nowhere"}, "--api-base: write a URL"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_words_are_one_sentence_and_exit_2(
    change: dict[str, str | None], says: str, stripe: Stripe, tmp_path: Path
) -> None:
    words = given(stripe)
    for flag, value in change.items():
        if flag in words:
            words[words.index(flag) : words.index(flag) + 2] = []
        words += [flag, value] if value is not None else []
    done = run(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in sentence(done)
    assert list(tmp_path.iterdir()) == []


def test_a_key_given_beside_a_file_is_refused_and_never_silently_dropped(tmp_path: Path) -> None:
    done = run("pull", "--api-key", "sk_test_other", cwd=tmp_path)
    assert done.returncode == 2
    assert sentence(done).startswith("--api-key goes with --to; ")


def test_the_environment_gives_the_key(stripe: Stripe, tmp_path: Path) -> None:
    words = given(stripe, streams="coupons")
    words[words.index("--api-key") : words.index("--api-key") + 2] = []
    assert run(*words, cwd=tmp_path, STRIPE_API_KEY=KEY).returncode == 0


def test_a_file_that_is_no_database_is_left_as_it_is(stripe: Stripe, tmp_path: Path) -> None:
    (tmp_path / "w.duckdb").write_text("my notes\n" * 1000)
    done = run(*given(stripe), cwd=tmp_path)
    assert done.returncode == 1
    assert "is no DuckDB file and was left as it is" in sentence(done)
    assert (tmp_path / "w.duckdb").read_text() == "my notes\n" * 1000


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("stripe: {acme: {api_key: sk_test_geheim1, api_bse: x}}\n", "tidegate.yaml:1:"),
        ("stripe:\n  acme: {api_key: [}\n", "tidegate.yaml:2:"),
        ("pulls:\n  a: {from: nobody, to: nowhere}\n", "tidegate.yaml:2:"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(text: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "tidegate.yaml").write_text(text)
    done = run("pull", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tidegate: ")
    assert place in done.stderr


def test_no_file_at_all(tmp_path: Path) -> None:
    done = run("pull", cwd=tmp_path)
    assert done.returncode == 2
    assert "tidegate.yaml" in sentence(done)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_ends_it_in_order(number: signal.Signals, tmp_path: Path) -> None:
    """Exit 130 and one line; what was read is committed, and the same command goes on from there."""
    with sandbox.process(objects=5_000, latency_ms=60) as url:
        stripe = Stripe(url)
        words = given(stripe, "--json")
        stripe.faults({"kind": "slow", "seconds": 60, "skip": 14})  # however late the signal comes
        process = subprocess.Popen(
            [TIDEGATE, *words],
            cwd=tmp_path,
            env=clean(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        while stripe.requests() < 14 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(number)
        out, said = process.communicate(timeout=60)
        stripe.faults()
        assert (process.returncode, out) == (130, "")
        assert said.splitlines()[-1] == INTERRUPTED
        assert all(line.startswith("tidegate: ") for line in said.splitlines())
        there = {name: len(rows) for name, rows in tables(tmp_path / "w.duckdb").items()}
        assert sum(there.values()) > 0
        left = query(tmp_path / "w.duckdb", "select stream, rows_written, status from stripe._tidegate_runs")
        assert {row["stream"]: row["rows_written"] for row in left if row["rows_written"]} == {
            name: count for name, count in there.items() if count
        }
        assert {row["status"] for row in left} <= {"ok", "partial"}
        assert len(left) == len(STREAMS.split(","))

        done = run(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        whole = {name: len(rows) for name, rows in tables(tmp_path / "w.duckdb").items()}
        assert whole == {name: len(stripe.truth(name)) for name in STREAMS.split(",")}
        charges = next(each for each in last(done)["streams"] if each["stream"] == "charges")
        assert charges["read"] == whole["charges"] - there["charges"]
