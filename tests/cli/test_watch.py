"""`tidegate pull --watch` as its user has it: a process that follows a business until it is told to end."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from following import Merchant, ids, one
from pulling import query

from tidegate import errors, sandbox
from tidegate.cli import progress
from tidegate.pull import report
from tidegate.stripe import client

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
KEY = "rk_test_geheimwatch12345678"
STREAMS = "customers,products,coupons"
STOPPED = "tidegate: stopped; everything that was read is committed"
PATIENCE = 120.0


class Watch:
    """`tidegate pull --watch` in w.duckdb of a folder; what it says goes into two files there."""

    def __init__(
        self, url: str, folder: Path, *more: str, streams: str = STREAMS, limit: str = "off"
    ) -> None:
        self.folder, self.file = folder, folder / "w.duckdb"
        words = ["--api-key", KEY, "--api-base", url, "--rate-limit", limit, "--streams", streams]
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [TIDEGATE, "pull", *words, "--to", "duckdb:///w.duckdb", "--watch", "--every", "0.2", *more],
                cwd=folder,
                env={name: value for name, value in os.environ.items() if name != "FORCE_COLOR"},
                stdout=out,
                stderr=err,
            )

    def said(self, name: str = "err") -> str:
        """What it has said so far: never the key, and never a traceback."""
        text = (self.folder / name).read_text()
        assert "geheim" not in text
        assert "Traceback" not in text
        assert "internal error" not in text
        return text

    def until(self, true: Callable[[], object]) -> None:
        """Wait until something is true while it runs."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert self.process.poll() is None, f"it ended: {self.said()}"
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def pulls(self) -> list[dict[str, Any]]:
        """The whole lines that `--json` has printed."""
        text = self.said("out")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Have it end, and say with what."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def watching(stripe: Merchant, folder: Path, *more: str, url: str = "", **options: Any) -> Iterator[Watch]:
    """A watch that has read everything once, and is stopped in the end if it was not before."""
    watch = Watch(url or stripe.url, folder, *more, **options)
    try:
        watch.until(lambda: watch.said() and ids_of(watch, "customers"))
        yield watch
    finally:
        watch.process.kill()
        watch.process.wait()


def ids_of(watch: Watch, table: str) -> list[str]:
    """The ids of a table, nothing while it is not there."""
    if not watch.file.exists():
        return []
    made = query(watch.file, f"select 1 from duckdb_tables() where table_name = '{table}'")
    return ids(watch.file, table) if made else []


def value(watch: Watch, table: str, id: str, column: str) -> object:
    """One value of a row; None while the row is not there."""
    return one(watch.file, table, id)[column] if id in ids_of(watch, table) else None


@pytest.fixture(scope="module")
def running() -> Iterator[Merchant]:
    with sandbox.process(objects=10) as url:
        yield Merchant(url)


@pytest.fixture
def shop(running: Merchant) -> Merchant:
    """A small business, made anew for each test, with a restricted key that may read all of it."""
    running.control("reset", {"objects": 250, "seed": 5, "keys": {KEY: None}})
    running.later()
    return running


# What it brings


def test_changes_land_one_line_each_and_nothing_is_said_or_noted_in_between(
    shop: Merchant, tmp_path: Path
) -> None:
    with watching(shop, tmp_path) as watch:
        made = shop.make("/v1/customers", name="Ada", description="first")["id"]
        watch.until(lambda: value(watch, "customers", made, "description") == "first")
        shop.make(f"/v1/customers/{made}", description="second")
        watch.until(lambda: value(watch, "customers", made, "description") == "second")
        shop.delete(f"/v1/customers/{made}")
        watch.until(lambda: made not in ids_of(watch, "customers"))
        seen = shop.control("stats")["endpoints"]["GET /v1/events"]
        watch.until(lambda: shop.control("stats")["endpoints"]["GET /v1/events"] > seen + 5)
        assert watch.stop() == 0
        lines = watch.said().splitlines()
        told = [line for line in lines if "written" in line or "deleted" in line]
        assert len(told) == 4, lines
        assert re.search(r" customers 1 written; \d requests?$", told[1])
        assert re.search(r" customers 1 written; \d requests?$", told[2])
        assert re.search(r" 1 deleted; \d requests?$", told[3])
        assert lines[-1] == STOPPED
        runs = query(
            watch.file, "select run_id, count(*) as n from stripe._tidegate_runs group by 1 order by 1"
        )
        assert [run["n"] for run in runs] == [3, 1, 1, 1]


def test_json_is_an_object_for_each_pull(shop: Merchant, tmp_path: Path) -> None:
    with watching(shop, tmp_path, "--json") as watch:
        watch.until(lambda: len(watch.pulls()) >= 3)
        assert watch.stop() == 0
        first, *others = watch.pulls()
        assert first["status"] == "ok"
        assert sum(each["written"] for each in first["streams"]) > 0
        assert {each["status"] for each in others} == {"ok"}
        assert sum(each["written"] for other in others for each in other["streams"]) == 0
        assert len({each["run_id"] for each in (first, *others)}) == len(others) + 1


def test_a_long_first_pull_follows_the_events_already(shop: Merchant, tmp_path: Path) -> None:
    """A list of 200 pages at two a second; a change of what was read already lands all the same."""
    shop.control("reset", {"objects": 250, "counts": {"charges": 20_000, "products": 5}, "keys": {KEY: None}})
    shop.later()
    watch = Watch(shop.url, tmp_path, "--json", streams="products,charges", limit="3/3")
    try:
        watch.until(lambda: ids_of(watch, "products"))
        product = ids_of(watch, "products")[0]
        shop.make(f"/v1/products/{product}", name="renamed meanwhile")
        watch.until(lambda: value(watch, "products", product, "name") == "renamed meanwhile")
        assert watch.pulls() == []
        assert watch.stop() == 0
        assert 0 < len(ids(watch.file, "charges")) < 20_000
    finally:
        watch.process.kill()
        watch.process.wait()


def test_a_full_refresh_is_done_once(shop: Merchant, tmp_path: Path) -> None:
    with watching(shop, tmp_path) as watch:
        watch.stop()
    with watching(shop, tmp_path, "--full-refresh", "--json") as watch:
        watch.until(lambda: len(watch.pulls()) >= 4)
        watch.stop()
        read = [sum(each["read"] for each in found["streams"]) for found in watch.pulls()]
        assert read[0] > 0
        assert not any(read[1:])


# How it ends


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well_with_everything_committed(
    number: signal.Signals, shop: Merchant, tmp_path: Path
) -> None:
    with watching(shop, tmp_path) as watch:
        watch.until(lambda: "written" in watch.said())
        assert watch.stop(number) == 0
        assert watch.said().splitlines()[-1] == STOPPED
        with duckdb.connect(str(watch.file)) as free:  # nobody holds it
            count = free.execute("select count(*) from stripe.customers").fetchone()
        assert count == (len(shop.truth("customers")),)
        assert not Path(f"{watch.file}.spool").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_first_pull_loses_nothing(
    number: signal.Signals, shop: Merchant, tmp_path: Path
) -> None:
    shop.faults({"kind": "slow", "path": "/v1/coupons", "seconds": 600})
    watch = Watch(shop.url, tmp_path)
    watch.until(lambda: ids_of(watch, "customers"))
    assert watch.stop(number) == 0
    assert watch.said().splitlines()[-1] == STOPPED
    shop.faults()
    before = shop.counted()
    with watching(shop, tmp_path) as watch:
        watch.until(lambda: ids_of(watch, "coupons"))
        assert "GET /v1/customers" in before
        assert "GET /v1/customers" not in shop.counted(), "it goes on where it stopped"
        assert watch.stop() == 0


def test_a_key_that_is_revoked_ends_it_with_a_sentence(shop: Merchant, tmp_path: Path) -> None:
    with watching(shop, tmp_path, "--json") as watch:
        watch.until(watch.pulls)
        shop.control("keys/revoke", {"key": KEY})
        assert watch.process.wait(PATIENCE) == 1
        last = watch.said().splitlines()[-1]
        assert last.startswith("tidegate: "), last
        assert "rk_test_" in last
        assert watch.said().count("rejected the key") == 1
        assert watch.pulls()[-1]["status"] == "failed"
        assert "rejected the key" in watch.pulls()[-1]["error"]


def test_another_pull_into_the_same_tables_ends_it_with_a_sentence(shop: Merchant, tmp_path: Path) -> None:
    with watching(shop, tmp_path) as watch:
        words = [word for word in watch.process.args if isinstance(word, str)]  # type: ignore[union-attr]
        words = words[: words.index("--watch")]
        assert subprocess.run(words, cwd=tmp_path, capture_output=True, check=False).returncode == 0
        assert watch.process.wait(PATIENCE) == 3
        assert "was taken over by run_" in watch.said().splitlines()[-1]


def test_forgetting_somebody_ends_it_and_the_next_one_brings_nothing_back(
    shop: Merchant, tmp_path: Path
) -> None:
    """It may have something of theirs in its hands."""
    with watching(shop, tmp_path) as watch:
        who = ids_of(watch, "customers")[0]
        shop.make(f"/v1/customers/{who}", name="Zaphod Quetzalcoatl")
        watch.until(lambda: value(watch, "customers", who, "name") == "Zaphod Quetzalcoatl")
        words = ["forget", who, "--to", "duckdb:///w.duckdb", "--yes"]
        assert subprocess.run([TIDEGATE, *words], cwd=tmp_path, check=False).returncode == 0
        assert watch.process.wait(PATIENCE) == 3
        assert "was taken over by forget at" in watch.said().splitlines()[-1]
    shop.make(f"/v1/customers/{who}", name="Zaphod Quetzalcoatl again")
    watch = Watch(shop.url, tmp_path, "--json")
    watch.until(lambda: any(each["read"] for pull in watch.pulls() for each in pull["streams"]))
    assert watch.stop() == 0
    assert one(watch.file, "customers", who)["name"] is None


# What passes


class Door:
    """A port before a Stripe that can be shut, as when nobody is there, and opened again."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self.inner = (host, int(port))
        self.port = 0
        self.open()

    @property
    def url(self) -> str:
        """What to connect to instead."""
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Let everybody in, on the same port as ever."""
        self.listener = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
        self.port = self.listener.getsockname()[1]
        self.ends: list[socket.socket] = []
        threading.Thread(target=self._welcome, args=(self.listener,), daemon=True).start()

    def shut(self) -> None:
        """Throw everybody out; who comes is refused."""
        for end in (self.listener, *self.ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _welcome(self, listener: socket.socket) -> None:
        while True:
            try:
                outer, _ = listener.accept()
                inner = socket.create_connection(self.inner)
            except OSError:
                return
            self.ends += (outer, inner)
            for pair in ((outer, inner), (inner, outer)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


def test_a_stripe_that_cannot_be_reached_is_waited_for_and_said_once(shop: Merchant, tmp_path: Path) -> None:
    door = Door(shop.url)
    with watching(shop, tmp_path, url=door.url) as watch:
        watch.until(lambda: "written" in watch.said())
        door.shut()
        made = shop.make("/v1/customers", name="Ada")["id"]
        watch.until(lambda: "trying again" in watch.said())
        door.open()
        watch.until(lambda: made in ids_of(watch, "customers"))
        watch.until(lambda: "customers 1 written; going on; " in watch.said())
        assert watch.stop() == 0
        trouble = [line for line in watch.said().splitlines() if "can't be reached" in line]
        assert len(trouble) == 1, watch.said()
    door.shut()


HOLDER = """
import duckdb, sys, time
while True:
    try:
        held = duckdb.connect(sys.argv[1])
        break
    except duckdb.IOException:
        time.sleep(0.01)
print("held", flush=True)
sys.stdin.read()
held.close()
"""


def test_a_file_that_somebody_holds_is_waited_for(shop: Merchant, tmp_path: Path) -> None:
    with watching(shop, tmp_path) as watch:
        watch.until(lambda: "written" in watch.said())
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(watch.file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        made = shop.make("/v1/customers", name="Ada")["id"]
        watch.until(lambda: "is held by" in watch.said() or Path(f"{watch.file}.spool").exists())
        holder.communicate(b"")
        holder.wait()
        watch.until(lambda: made in ids_of(watch, "customers"))
        assert watch.stop() == 0


def test_a_permission_that_lacks_is_said_once_and_tried_again_by_the_next(
    shop: Merchant, tmp_path: Path
) -> None:
    scopes = ["rak_event_read", "rak_customer_read", "rak_product_read"]
    shop.control("keys", {"key": KEY, "scopes": scopes})
    with watching(shop, tmp_path) as watch:
        watch.until(lambda: "written" in watch.said())
        seen = shop.control("stats")["endpoints"]["GET /v1/events"]
        watch.until(lambda: shop.control("stats")["endpoints"]["GET /v1/events"] > seen + 5)
        assert watch.said().count("coupons: no permission") == 2, "when it ended, and in the line of the pull"
        states = query(watch.file, "select status from stripe._tidegate_runs where stream = 'coupons'")
        assert states == [{"status": "no_permission"}]
        assert watch.stop() == 0
    shop.control("keys/grant", {"key": KEY, "scope": "rak_coupon_read"})
    with watching(shop, tmp_path) as watch:
        watch.until(lambda: ids_of(watch, "coupons"))
        watch.until(lambda: "written" in watch.said())
        assert watch.stop() == 0
        states = query(
            watch.file,
            "select status from stripe._tidegate_runs where stream = 'coupons' order by started_at",
        )
        assert [state["status"] for state in states] == ["no_permission", "ok"]


# What it says


def pulled(*outcomes: report.Outcome, end: errors.TidegateError | None = None) -> report.Result:
    """A pull that ended at 12:03:05 with five requests."""
    at = dt.datetime(2026, 5, 1, 12, 3, 5).astimezone()
    return report.Result("run_1", at, at, "ok", outcomes, client.Tally(requests=5), end)


def outcome(stream: str, status: report.Status = "ok", error: str = "", **counts: Any) -> report.Outcome:
    return report.Outcome(stream, "acct_1", status, error=error, **counts)


def test_a_pull_with_news_is_a_line_and_one_without_is_none() -> None:
    ticker = progress.Ticker(report.News())
    quiet = outcome("events", read=12)
    assert ticker.line(pulled(quiet)) == ""
    told = pulled(quiet, outcome("charges", written=1), outcome("customers", written=1_200, deleted=3))
    assert ticker.line(told) == "12:03:05 customers 1,200, charges 1 written; 3 deleted; 5 requests"
    many = [outcome(f"stream_{n}", written=n) for n in range(1, 10)]
    assert ticker.line(pulled(*many)) == "12:03:05 45 rows in 9 tables written; 5 requests"


def test_trouble_is_a_line_when_it_begins_when_it_changes_and_when_it_ends() -> None:
    ticker = progress.Ticker(report.News())
    lacks = "lacks rak_coupon_read (req_{}); grant it."
    first = pulled(outcome("coupons", "no_permission", lacks.format("a1")))
    assert (
        ticker.line(first)
        == "12:03:05 coupons: no permission: lacks rak_coupon_read (req_a1); grant it; 5 requests"
    )
    assert ticker.line(pulled(outcome("coupons", "no_permission", lacks.format("b2")))) == ""
    assert "partial: 3 cannot be read" in ticker.line(
        pulled(outcome("coupons", "partial", "3 cannot be read"))
    )
    assert ticker.line(pulled(outcome("coupons", "partial", "4 cannot be read"))) == ""
    assert ticker.line(pulled(outcome("coupons"))) == "12:03:05 coupons well again; 5 requests"
    assert ticker.line(pulled(outcome("coupons"))) == ""


def test_what_cuts_pulls_short_is_said_once_and_not_of_each_stream() -> None:
    ticker = progress.Ticker(report.News())
    gone = errors.Unreachable("The host can't be reached.")
    cut = [outcome(name, "failed", f"not read to its end: {gone}") for name in ("charges", "customers")]
    line = "12:03:05 The host can't be reached; trying again; 5 requests"
    assert ticker.line(pulled(*cut, end=gone)) == line
    assert ticker.line(pulled(*cut, end=gone)) == ""
    well = outcome("charges", written=2), outcome("customers")
    assert ticker.line(pulled(*well)) == "12:03:05 charges 2 written; going on; 5 requests"


# What it refuses


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--watch", "--every", "0"), "--every goes with --watch and says how many seconds, such as 5"),
        (("--watch", "--every", "-1"), "--every goes with --watch and says how many seconds, such as 5"),
        (("--every", "5"), "--every goes with --watch and says how many seconds, such as 5"),
        (("--watch", "--dry-run"), "--dry-run looks once; leave out --watch"),
        (("--watch",), "--watch follows one pull at a time; name one of first, second"),
    ],
)
def test_wrong_words_are_one_sentence_and_exit_2(words: Sequence[str], says: str, tmp_path: Path) -> None:
    (tmp_path / "tidegate.yaml").write_text(
        """
stripe: {acme: {api_key: sk_test_geheim, api_base: "http://127.0.0.1:1"}}
warehouses: {local: {type: duckdb, path: w.duckdb}}
pulls: {first: {from: acme, to: local}, second: {from: acme, to: local}}
"""
    )
    done = subprocess.run(
        [TIDEGATE, "pull", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"tidegate: {says}\n")
    assert not (tmp_path / "w.duckdb").exists()
