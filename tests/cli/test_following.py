"""Pulls after the first, as they are typed: what is listed again and why, what is held, and what `status` says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from following import Merchant, gone, ids, one
from pulling import query

from tidegate import sandbox

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
KEY = "sk_test_geheimfollowing12345"
STREAMS = ("customers", "products", "coupons", "charges", "payment_intents", "invoices", "invoice_line_items")
INTERRUPTED = "tidegate: interrupted; what was committed is safe, and the same command goes on from there"
DAY = 86_400


@pytest.fixture(scope="module")
def running() -> Iterator[Merchant]:
    with sandbox.process(objects=10) as url:
        yield Merchant(url)


@pytest.fixture
def shop(running: Merchant) -> Merchant:
    """A small business, made anew for each test."""
    running.control("reset", {"objects": 500, "seed": 5})
    running.later()
    return running


def words(shop: Merchant, *more: str, key: str = KEY, to: str = "duckdb:///w.duckdb") -> list[str]:
    """`tidegate pull` without a file."""
    reach = ["--api-key", key, "--api-base", shop.url, "--rate-limit", "off", "--to", to]
    return [TIDEGATE, "pull", *reach, "--streams", ",".join(STREAMS), *more]


def run(*command: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """One command to its end, with the exit code that is expected."""
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "STRIPE_API_KEY")}
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=120
    )
    for text in (done.stdout, done.stderr):
        assert "geheim" not in text
        assert "Traceback" not in text
        assert "internal error" not in text
    assert done.returncode == code, done.stderr
    return done


def pulled(shop: Merchant, cwd: Path, *more: str, code: int = 0) -> dict[str, Any]:
    """What `pull --json` prints last."""
    found: dict[str, Any] = json.loads(run(*words(shop, "--json", *more), cwd=cwd, code=code).stdout)
    return found


def status(cwd: Path) -> dict[str, dict[str, Any]]:
    """What `status --json` says of each stream."""
    done = run(TIDEGATE, "status", "--to", "duckdb:///w.duckdb", "--json", cwd=cwd)
    (found,) = json.loads(done.stdout)["pulls"]
    return {each["stream"]: each for each in found["streams"]}


def tamper(folder: Path, sql: str) -> None:
    """Change a warehouse behind Tidegate's back."""
    with duckdb.connect(str(folder / "w.duckdb")) as connection:
        connection.execute(sql)


def silently(shop: Merchant, stream: str, id: str, **change: Any) -> None:
    """A change that no event tells."""
    shop.control("mutate", {"stream": stream, "id": id, **change})


# What is listed again


def test_a_pull_without_news_is_one_line_and_few_requests(shop: Merchant, tmp_path: Path) -> None:
    pulled(shop, tmp_path)
    assert pulled(shop, tmp_path)["requests"] <= 2
    done = run(*words(shop), cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 1
    assert done.stdout.startswith("ok: 0 rows read, 0 written in ")


def test_a_lookback_on_the_command_line_reads_silent_edits_at_once(shop: Merchant, tmp_path: Path) -> None:
    intent = shop.make("/v1/payment_intents", amount=500, currency="usd")["id"]
    pulled(shop, tmp_path)
    silently(shop, "payment_intents", intent, values={"metadata": {"seat": "12A"}})
    pulled(shop, tmp_path)
    assert one(tmp_path / "w.duckdb", "payment_intents", intent)["metadata"] == "{}"
    pulled(shop, tmp_path, "--lookback", "3d")
    assert json.loads(one(tmp_path / "w.duckdb", "payment_intents", intent)["metadata"]) == {"seat": "12A"}


def test_a_lookback_in_a_file_costs_no_pull_a_whole_list(shop: Merchant, tmp_path: Path) -> None:
    write(tmp_path, shop, "lookback: 7d")
    assert run(TIDEGATE, "pull", cwd=tmp_path)
    done = run(TIDEGATE, "pull", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["requests"] <= 2


def write(folder: Path, shop: Merchant, *lines: str) -> None:
    """A configuration with one pull."""
    more = "".join(f"    {line}\n" for line in lines)
    (folder / "tidegate.yaml").write_text(
        f"""
stripe:
  acme: {{api_key: {KEY}, api_base: "{shop.url}", rate_limit: "off"}}
warehouses:
  local: {{type: duckdb, path: w.duckdb}}
pulls:
  everything:
    from: acme
    to: local
{more}    streams: {{{", ".join(f"{name}: {{}}" for name in STREAMS)}}}
"""
    )


def test_a_full_refresh_finds_silent_edits_and_removes_what_is_gone(shop: Merchant, tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    pulled(shop, tmp_path)
    coupon, product = ids(file, "coupons")[0], ids(file, "products")[0]
    silently(shop, "coupons", coupon, delete=True)
    silently(shop, "products", product, values={"name": "renamed in silence"})
    pulled(shop, tmp_path)
    assert coupon in ids(file, "coupons")
    found = pulled(shop, tmp_path, "--full-refresh")
    assert {each["stream"]: each["deleted"] for each in found["streams"]}["coupons"] == 1
    assert gone(file, "coupons") == [coupon]
    assert one(file, "products", product)["name"] == "renamed in silence"
    done = run(*words(shop, "--full-refresh"), cwd=tmp_path)
    assert "done" in done.stdout


def test_a_month_of_silence_is_said_and_repaired(shop: Merchant, tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    pulled(shop, tmp_path)
    deleted, renamed = ids(file, "customers")[0], ids(file, "products")[0]
    shop.delete(f"/v1/customers/{deleted}")
    shop.make(f"/v1/products/{renamed}", name="renamed in the gap")
    shop.later(31 * DAY)
    done = run(*words(shop), cwd=tmp_path)
    assert "the last pull was 31 days ago, and Stripe keeps events for 30; listing again" in done.stderr
    assert deleted in gone(file, "customers")
    assert one(file, "products", renamed)["name"] == "renamed in the gap"
    told = status(tmp_path)
    assert {each["listing"] for each in told.values()} == {None}
    assert {each["status"] for each in told.values()} == {"ok"}


def test_a_gap_that_cannot_be_repaired_yet_stands_in_the_status(shop: Merchant, tmp_path: Path) -> None:
    pulled(shop, tmp_path)
    shop.later(31 * DAY)
    shop.faults({"kind": "error", "path": "/v1/customers", "retry": False})
    found = pulled(shop, tmp_path, code=3)
    assert {each["stream"] for each in found["streams"] if each["status"] != "ok"} == {"customers"}
    told = status(tmp_path)["customers"]
    assert told["listing"] == "the last pull was 31 days ago, and Stripe keeps events for 30"
    shown = run(TIDEGATE, "status", "--to", "duckdb:///w.duckdb", cwd=tmp_path).stdout
    assert "to be listed again: the last pull was 31 days ago" in shown
    shop.faults()
    pulled(shop, tmp_path)
    assert status(tmp_path)["customers"]["listing"] is None


# What is held


def test_rows_that_cannot_have_been_deleted_are_held_until_it_is_accepted(
    shop: Merchant, tmp_path: Path
) -> None:
    file = tmp_path / "w.duckdb"
    pulled(shop, tmp_path)
    for charge in (lost := ids(file, "charges")[:2]):
        silently(shop, "charges", charge, delete=True)
    done = run(*words(shop, "--full-refresh"), cwd=tmp_path, code=3)
    sentence = "run `tidegate pull --accept-deletes charges`"
    assert sentence in done.stdout
    assert set(lost) <= set(ids(file, "charges"))
    assert sentence in status(tmp_path)["charges"]["held"]
    shown = run(TIDEGATE, "status", "--to", "duckdb:///w.duckdb", cwd=tmp_path).stdout
    assert sentence in shown.splitlines()[-1]

    pulled(shop, tmp_path)
    assert set(lost) <= set(ids(file, "charges")), "nothing was accepted"
    pulled(shop, tmp_path, "--accept-deletes", "charges")
    assert sorted(gone(file, "charges")) == sorted(lost)
    assert status(tmp_path)["charges"]["held"] is None


# What `status` says


def test_status_says_how_much_there_is_and_how_soon_changes_show(shop: Merchant, tmp_path: Path) -> None:
    pulled(shop, tmp_path)
    told = status(tmp_path)
    assert set(told) == set(STREAMS)
    assert all(each["complete"] for each in told.values())
    assert {name: each["rows"] for name, each in told.items()} == {
        name: len(ids(tmp_path / "w.duckdb", name)) for name in STREAMS
    }
    assert told["products"]["staleness"] == "events, seconds"
    assert told["products"]["staleness_s"] == 60
    assert told["payment_intents"]["staleness_s"] is None
    shown = run(TIDEGATE, "status", "--to", "duckdb:///w.duckdb", cwd=tmp_path).stdout
    assert "events, seconds" in shown
    assert f"in {len(STREAMS)} streams, {len(STREAMS)} of them complete." in shown


# What is kept no longer


def test_retention_of_a_file_is_applied_at_the_end_of_a_pull(shop: Merchant, tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    write(tmp_path, shop)
    run(TIDEGATE, "pull", cwd=tmp_path)
    product = shop.make("/v1/products", name="short-lived")["id"]
    shop.later()
    run(TIDEGATE, "pull", cwd=tmp_path)
    shop.delete(f"/v1/products/{product}")
    shop.later()
    run(TIDEGATE, "pull", cwd=tmp_path)
    assert gone(file, "products") == [product]
    tamper(
        tmp_path,
        "update stripe.products set _deleted_at = now() - interval 91 day where _deleted_at is not null",
    )
    tamper(tmp_path, "update stripe._tidegate_runs set finished_at = now() - interval 40 day")
    write(tmp_path, shop, "retention: {deleted: 90d, runs: 30d}")
    run(TIDEGATE, "pull", cwd=tmp_path)
    assert gone(file, "products") == []
    assert query(file, "select count(distinct run_id) as n from stripe._tidegate_runs") == [{"n": 1}]
    run(TIDEGATE, "pull", "--full-refresh", cwd=tmp_path)
    assert product not in ids(file, "products")


# How it ends


def stopped_at(shop: Merchant, cwd: Path, endpoint: str, *more: str) -> str:
    """A pull that is interrupted while an answer is under way; what it said last."""
    shop.counted()
    with subprocess.Popen(
        words(shop, *more), cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        while endpoint not in shop.control("stats")["under_way"] and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), said
    assert "Traceback" not in said
    return said.splitlines()[-1]


def test_ctrl_c_while_the_events_are_read_loses_none_of_them(shop: Merchant, tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    pulled(shop, tmp_path)
    renamed = ids(file, "products")[0]
    shop.make(f"/v1/products/{renamed}", name="renamed meanwhile")
    shop.later()
    shop.faults({"kind": "late", "path": "/v1/events", "seconds": 600})
    assert stopped_at(shop, tmp_path, "GET /v1/events") == INTERRUPTED
    shop.faults()
    pulled(shop, tmp_path)
    assert one(file, "products", renamed)["name"] == "renamed meanwhile"


def test_ctrl_c_while_lists_are_read_again_and_the_next_pull_goes_on(shop: Merchant, tmp_path: Path) -> None:
    """Also without asking for it again: that everything is to be listed stands in the warehouse."""
    file = tmp_path / "w.duckdb"
    pulled(shop, tmp_path)
    coupon, product = ids(file, "coupons")[0], ids(file, "products")[0]
    silently(shop, "coupons", coupon, delete=True)
    silently(shop, "products", product, values={"name": "renamed in silence"})
    shop.faults({"kind": "late", "path": "/v1/coupons", "seconds": 600})
    assert stopped_at(shop, tmp_path, "GET /v1/coupons", "--full-refresh") == INTERRUPTED
    assert status(tmp_path)["coupons"]["listing"] == "everything was asked for again"
    shop.faults()
    pulled(shop, tmp_path)
    assert gone(file, "coupons") == [coupon]
    assert one(file, "products", product)["name"] == "renamed in silence"


def test_a_key_that_was_exchanged_for_a_wrong_one_changes_nothing(shop: Merchant, tmp_path: Path) -> None:
    pulled(shop, tmp_path)
    before = (tmp_path / "w.duckdb").read_bytes()
    done = run(*words(shop, key="sk_live_geheimwrong123456789"), cwd=tmp_path, code=1)
    assert "rejected the key sk_live_…6789" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "w.duckdb").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--accept-deletes", "charge"), "--accept-deletes names charge, which this pull does not have"),
        (("--accept-deletes", "refunds"), "--accept-deletes names refunds, which this pull does not have"),
        (("--lookback", "601d"), "a lookback is at most 600d"),
        (("--lookback", "soon"), "--lookback"),
    ],
)
def test_wrong_words_are_one_sentence_and_exit_2(
    more: tuple[str, ...], says: str, shop: Merchant, tmp_path: Path
) -> None:
    done = run(*words(shop, *more), cwd=tmp_path, code=2)
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(shop: Merchant, tmp_path: Path) -> None:
    done = run(*words(shop, to="duckdb:////no/such/folder/w.duckdb"), cwd=tmp_path, code=2)
    assert "The directory /no/such/folder does not exist" in done.stderr
