"""A pull in trouble: what Stripe, the key, the warehouse or the disk do to it, and what is in the tables then."""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import double
import pytest
from pulling import KEY, Stripe, pull, query, tables

from tidegate import catalog, errors, sandbox
from tidegate.pull import report
from tidegate.stripe import attempts
from tidegate.warehouse import duckdb

Start = Callable[..., Stripe]
Fault = dict[str, object]
Calm = tuple[dict[str, list[str]], report.Result]

STREAMS = (
    "charges",
    "customers",
    "customer_tax_ids",
    "invoices",
    "invoice_line_items",
    "payment_methods",
    "setup_attempts",
    "setup_intents",
    "subscriptions",
    "subscription_items",
)
KNOWN = catalog.load().streams


@pytest.fixture(scope="module")
def shop() -> Iterator[Stripe]:
    """A business in trouble; `stripe` puts it right again after every test."""
    with sandbox.process(objects=5_000) as url:
        yield Stripe(url)


@pytest.fixture
def stripe(shop: Stripe) -> Iterator[Stripe]:
    shop.control("stats/reset", {})
    yield shop
    shop.faults()
    shop.control("limits", {"limits": "off"})


@pytest.fixture(scope="module")
def calm(shop: Stripe, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    """The tables and the result of a pull without trouble."""
    file = tmp_path_factory.mktemp("calm") / "calm.duckdb"
    result = pull(shop, file, *STREAMS)
    return tables(file), result


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between attempts are shorter here than against Stripe."""
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.1)


class At(report.Silent):
    """Does something when so many requests (of one stream) have been answered."""

    def __init__(self, requests: int, act: Callable[[], object], stream: str = "") -> None:
        self.left, self.act, self.stream = requests, act, stream

    def advanced(self, stream: str, *, requests: int = 0, **_: int | None) -> None:
        if requests and self.stream in ("", stream):
            self.left -= 1
            if self.left == 0:
                self.act()


def told(result: report.Result) -> dict[str, report.Outcome]:
    return {outcome.stream: outcome for outcome in result.outcomes}


# Stripe


@pytest.mark.parametrize(
    "faults",
    [
        [{"kind": "storm", "seconds": 0.7, "skip": 5, "times": 1}, {"kind": "limit", "probability": 0.05}],
        [{"kind": "limit", "probability": 0.1, "reason": "endpoint-concurrency"}],
        [{"kind": "limit", "probability": 0.1, "reason": ""}],
        [{"kind": "lock", "probability": 0.1}],
        [{"kind": "error", "probability": 0.05}, {"kind": "reset", "probability": 0.05}],
        [
            {"kind": "reset", "probability": 0.05, "when": "after"},
            {"kind": "error", "probability": 0.05, "when": "after"},
        ],
        [{"kind": "truncate", "probability": 0.05}, {"kind": "cut", "probability": 0.05}],
        [{"kind": "html", "probability": 0.05}, {"kind": "unavailable", "probability": 0.05}],
    ],
    ids=[
        "storm",
        "concurrency",
        "nameless 429",
        "locks",
        "500 and reset",
        "after the effect",
        "cut bodies",
        "html",
    ],
)
def test_what_passes_leaves_no_trace(faults: list[Fault], stripe: Stripe, calm: Calm, tmp_path: Path) -> None:
    stripe.faults(*faults, {"kind": "error", "path": "/v1/charges", "times": 1})
    result = pull(stripe, tmp_path / "w.duckdb", *STREAMS)
    assert result.status == "ok", [o.error for o in result.outcomes]
    assert result.tally.retries > 0
    assert tables(tmp_path / "w.duckdb") == calm[0]


def test_a_storm_that_says_how_long(stripe: Stripe, calm: Calm, tmp_path: Path) -> None:
    """With `Retry-After`, nobody asks again before the storm is over."""
    stripe.control("limits", {"retry_after": True})
    stripe.faults({"kind": "storm", "seconds": 1.4, "skip": 6, "times": 1})
    result = pull(stripe, tmp_path / "w.duckdb", *STREAMS)
    assert result.status == "ok"
    assert 0 < result.tally.rate_limited < 100
    assert tables(tmp_path / "w.duckdb") == calm[0]


def test_answers_that_come_late_and_out_of_order(stripe: Stripe, calm: Calm, tmp_path: Path) -> None:
    stripe.faults(
        {"kind": "late", "probability": 0.2, "seconds": 0.2},
        {"kind": "slow", "probability": 0.2, "seconds": 0.1},
    )
    assert pull(stripe, tmp_path / "w.duckdb", *STREAMS).status == "ok"
    assert tables(tmp_path / "w.duckdb") == calm[0]


def test_a_stream_that_fails_for_good_stops_no_other_and_goes_on_next_time(
    stripe: Stripe, calm: Calm, tmp_path: Path
) -> None:
    file = tmp_path / "w.duckdb"
    stripe.faults(
        {"kind": "error", "path": "/v1/charges", "skip": 3}, {"kind": "error", "path": "/v1/setup_intents"}
    )
    first = pull(stripe, file, *STREAMS)
    assert (first.status, first.exit_code) == ("partial", 3)
    streams = told(first)
    broken = {"charges": "partial", "setup_intents": "failed", "setup_attempts": "failed"}
    assert {name: o.status for name, o in streams.items() if o.status != "ok"} == broken
    assert "status 500 on GET /v1/charges" in streams["charges"].error
    assert streams["setup_attempts"].error.startswith("needs setup_intents to be complete: ")
    there = query(file, "select count(*) as n from stripe.charges")[0]["n"]
    assert 0 < there == streams["charges"].read

    stripe.faults()
    second = pull(stripe, file, *STREAMS)
    assert second.status == "ok"
    assert told(second)["charges"].read == told(calm[1])["charges"].read - there
    assert tables(file) == calm[0]


def test_cursors_deleted_while_the_lists_are_walked(start: Start, tmp_path: Path) -> None:
    stripe = start(counts={"charges": 900, "payment_methods": 900})
    gone: list[str] = []

    def delete(stream: str, path: str) -> None:
        """Delete the last object of the first page, which is the next page's cursor."""
        request = urllib.request.Request(
            f"{stripe.url}{path}?limit=100", headers={"Authorization": f"Bearer {KEY}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            id = json.loads(answer.read())["data"][-1]["id"]
        stripe.control("mutate", {"stream": stream, "id": id, "delete": True})
        gone.append(id)

    class Deleting(report.Silent):
        def __init__(self) -> None:
            self.answered: collections.Counter[str] = collections.Counter()

        def advanced(self, stream: str, *, requests: int = 0, **_: int | None) -> None:
            self.answered[stream] += requests
            if requests and stream == "charges" and self.answered[stream] == 1:
                delete("charges", "/v1/charges")
            if requests and stream == "payment_methods" and self.answered[stream] in (1, 2):
                delete("payment_methods", "/v1/payment_methods")

    result = pull(stripe, tmp_path / "w.duckdb", "charges", "payment_methods", screen=Deleting())
    assert result.status == "ok"
    assert len(gone) == 3
    for name in ("charges", "payment_methods"):
        ids = [row["id"] for row in query(tmp_path / "w.duckdb", f"select id from stripe.{name}")]
        left = {line["object"]["id"] for line in stripe.truth(name)}
        assert len(ids) == len(set(ids))
        assert left <= set(ids) <= left | set(gone)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1:1 can't be reached"):
        pull(Stripe("http://127.0.0.1:1"), tmp_path / "w.duckdb", "charges")
    assert list(tmp_path.iterdir()) == []


# Another double than ours


@pytest.mark.parametrize("explains", [True, False])
def test_a_double_without_account_events_and_most_lists(explains: bool, tmp_path: Path) -> None:
    lists = {"/v1/customers": double.customers(730), "/v1/charges": double.charges(450)}
    given = double.Double(lists, explains=explains)
    with double.serving(given) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb")
    assert result.status == "ok", [(o.stream, o.error) for o in result.outcomes if o.status == "failed"]
    assert {o.stream for o in result.outcomes if o.read} == {"customers", "charges"}
    assert told(result)["payouts"].status == "not_enabled"
    found = query(
        tmp_path / "w.duckdb",
        "select id, email, created, _extra::varchar as extra from stripe.customers order by id",
    )
    assert [row["id"] for row in found] == [f"cus_{n:06d}" for n in range(730)]
    assert found[7]["email"] == "c7@example.com"
    assert found[7]["created"] == dt.datetime.fromtimestamp(1_700_000_002, dt.UTC)
    assert json.loads(found[7]["extra"]) == {"loyalty_level": {"points": 7}}
    sums = query(
        tmp_path / "w.duckdb", "select count(*) as n, sum(amount)::bigint as amount from stripe.charges"
    )
    assert sums == [{"n": 450, "amount": sum(100 + n for n in range(450))}]


@pytest.mark.parametrize("trait", ["filters", "expands"])
def test_a_double_that_ignores_filters_or_refuses_to_expand(trait: str, tmp_path: Path) -> None:
    given = double.Double({"/v1/customers": double.customers(730)}, **{trait: False})
    with double.serving(given) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "customers", start=1_600_000_000)
    assert told(result)["customers"].status == "ok", told(result)["customers"].error
    found = query(tmp_path / "w.duckdb", "select id from stripe.customers order by id")
    assert [row["id"] for row in found] == [f"cus_{n:06d}" for n in range(730)]


def test_a_double_that_refuses_to_expand_loses_no_customer_over_nested_lists(tmp_path: Path) -> None:
    given = double.Double({"/v1/customers": double.customers(230)}, expands=False)
    with double.serving(given) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "customers", "customer_tax_ids")
    assert told(result)["customer_tax_ids"].status == "not_enabled"
    assert query(tmp_path / "w.duckdb", "select count(*) as n from stripe.customers") == [{"n": 230}]


def test_a_product_that_the_account_does_not_have(tmp_path: Path) -> None:
    """It is no fault of `*`, but it is one of somebody who asked for it by name."""
    says = "Your account is not set up to use Issuing. Please visit https://dashboard.stripe.com/issuing/overview"
    given = double.Double({"/v1/charges": double.charges(5)}, refusals={"/v1/issuing/cards": (400, says)})
    with double.serving(given) as url:
        everything = pull(Stripe(url), tmp_path / "a.duckdb", "charges", "issuing_*")
        named = pull(Stripe(url), tmp_path / "b.duckdb", "charges", "issuing_cards")
    assert everything.exit_code == 0
    assert (named.status, named.exit_code) == ("partial", 3)
    for result in (everything, named):
        assert told(result)["issuing_cards"].status == "not_enabled"
        assert "not set up to use Issuing" in told(result)["issuing_cards"].error


# Keys


def test_a_wrong_key_makes_no_file(stripe: Stripe, tmp_path: Path) -> None:
    with pytest.raises(errors.Unauthorized) as caught:
        pull(stripe, tmp_path / "w.duckdb", "charges", key="sk_live_geheim1234567890")
    assert "geheim" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_key_revoked_in_the_middle(stripe: Stripe, calm: Calm, tmp_path: Path) -> None:
    key, file = "sk_test_rolled1234567890", tmp_path / "w.duckdb"
    revoke = At(20, lambda: stripe.control("keys/revoke", {"key": key}))
    first = pull(stripe, file, *STREAMS, key=key, screen=revoke)
    assert isinstance(first.end, errors.Unauthorized)
    assert (first.status, first.exit_code) == ("failed", 1)
    assert "rolled" not in str(first.end)
    cut = [outcome for outcome in first.outcomes if outcome.status != "ok"]
    assert cut
    assert all("rejected the key" in outcome.error for outcome in cut)

    stripe.control("keys", {"key": key})
    second = pull(stripe, file, *STREAMS, key=key)
    assert second.status == "ok"
    assert second.tally.requests < calm[1].tally.requests
    assert tables(file) == calm[0]


def test_a_scope_dropped_in_the_middle(stripe: Stripe, calm: Calm, tmp_path: Path) -> None:
    key, file = "rk_test_narrowed12345678", tmp_path / "w.duckdb"
    scopes = sorted({KNOWN[name].permission for name in (*STREAMS, "accounts", "sources", "tax_ids")})
    stripe.control("keys", {"key": key, "scopes": scopes})
    lost = KNOWN["charges"].permission
    drop = At(3, lambda: stripe.control("keys/drop", {"key": key, "scope": lost}), "charges")
    first = pull(stripe, file, *STREAMS, key=key, screen=drop, source={"account_id": "acct_1"})
    assert (first.status, first.exit_code) == ("partial", 3)
    assert {o.stream for o in first.outcomes if o.status != "ok"} == {"charges"}
    assert told(first)["charges"].status == "no_permission"
    assert lost in told(first)["charges"].error

    stripe.control("keys", {"key": key, "scopes": scopes})
    assert pull(stripe, file, *STREAMS, key=key, source={"account_id": "acct_1"}).status == "ok"
    assert tables(file) == calm[0]


def test_a_key_that_may_read_customers_and_nothing_else(stripe: Stripe, tmp_path: Path) -> None:
    key, file = "rk_test_customers1234567", tmp_path / "w.duckdb"
    stripe.control("keys", {"key": key, "scopes": ["rak_customer_read"]})
    result = pull(stripe, file, key=key)
    assert (result.status, result.exit_code) == ("partial", 3)
    streams = told(result)
    assert streams["customers"].status == "ok"
    (account,) = {outcome.account for outcome in result.outcomes}
    assert account == stripe.control("health")["account"]
    found = query(file, "select id from stripe.customers order by id")
    assert [row["id"] for row in found] == sorted(line["object"]["id"] for line in stripe.truth("customers"))
    for name, outcome in streams.items():
        needs = KNOWN[name].permission
        if needs != "rak_customer_read":
            assert outcome.status == "no_permission", (name, outcome)
            assert "rak_" in outcome.error, (name, outcome.error)
    assert KNOWN["charges"].permission in streams["charges"].error


# The warehouse


HOLDER = """
import sys, time, duckdb
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


@contextlib.contextmanager
def holding(file: Path) -> Iterator[Callable[[], None]]:
    """Somebody else opens the file, and holds it until the answer is called."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        try:
            yield other.stdin.close
        finally:
            other.stdin.close()


def held_pull(
    stripe: Stripe, file: Path, wait: float, act: Callable[[Callable[[], None]], None]
) -> report.Result:
    """A pull in whose middle somebody else takes the file; `act` decides when it is given back."""
    with contextlib.ExitStack() as stack:
        screen = At(10, lambda: act(stack.enter_context(holding(file))))
        return pull(stripe, file, *STREAMS, screen=screen, wait=wait)


def test_a_file_that_somebody_reads_meanwhile(stripe: Stripe, calm: Calm, tmp_path: Path) -> None:
    """What cannot be committed waits on disk, and is committed once the file is free."""
    file, waited = tmp_path / "w.duckdb", []
    warehouse = duckdb.DuckDB(file)

    def give_back(release: Callable[[], None]) -> None:
        def later() -> None:
            while not warehouse.spooled():
                time.sleep(0.01)
            waited.append(warehouse.spooled())
            release()

        threading.Thread(target=later, daemon=True).start()

    result = held_pull(stripe, file, 60, give_back)
    assert waited
    assert (result.status, result.exit_code) == ("ok", 0)
    assert warehouse.spooled() == 0
    assert tables(file) == calm[0]


def test_a_file_that_is_never_given_back(stripe: Stripe, calm: Calm, tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    result = held_pull(stripe, file, 0.5, lambda _: None)
    assert isinstance(result.end, errors.WarehouseBusy)
    assert result.exit_code == 3
    assert "is held by process" in str(result.end)
    again = pull(stripe, file, *STREAMS)
    assert again.status == "ok"
    assert tables(file) == calm[0]


def test_a_file_that_is_held_from_the_start(stripe: Stripe, tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    with holding(file), pytest.raises(errors.WarehouseBusy, match="is held by process") as caught:
        pull(stripe, file, "charges", wait=0.3)
    assert caught.value.exit_code == 3


FULL = """
import resource, sys
from tidegate import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY))
sys.exit(cli.main())
"""


def test_a_disk_that_fills_up(stripe: Stripe, calm: Calm, tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    words = [
        "pull",
        "--api-key",
        KEY,
        "--api-base",
        stripe.url,
        "--to",
        f"duckdb:///{file}",
        "--rate-limit",
        "off",
    ]
    command = [sys.executable, "-c", FULL, *words, "--streams", ",".join(STREAMS), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    full = [line for line in done.stderr.splitlines() if "is full" in line]
    assert len(full) == 1
    assert "Traceback" not in done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["status"] == "failed"
    there = {each["name"] for each in query(file, "select table_name as name from duckdb_tables()")}
    kept = {name: query(file, f"select * from stripe.{name}") for name in STREAMS if name in there}
    written = {each["stream"]: each["written"] for each in told["streams"] if each["written"]}
    assert written == {name: len(found) for name, found in kept.items() if found}
    assert pull(stripe, file, *STREAMS).status == "ok"
    assert tables(file) == calm[0]


# What is asked for


def test_a_second_pull_of_the_same_changes_nothing(stripe: Stripe, calm: Calm, tmp_path: Path) -> None:
    for _ in range(2):
        assert pull(stripe, tmp_path / "w.duckdb", *STREAMS).status == "ok"
    assert tables(tmp_path / "w.duckdb") == calm[0]


def created(stripe: Stripe, stream: str) -> list[int]:
    return sorted(line["object"]["created"] for line in stripe.truth(stream))


def test_a_start_date_leaves_out_what_is_older_where_stripe_can_filter(
    stripe: Stripe, calm: Calm, tmp_path: Path
) -> None:
    file = tmp_path / "w.duckdb"
    times = created(stripe, "charges")
    start = times[len(times) // 2]
    pull(stripe, file, *STREAMS, start=start)
    (found,) = query(file, "select count(*) as n, epoch(min(created))::bigint as first from stripe.charges")
    assert found == {"n": sum(when >= start for when in times), "first": start}
    assert tables(file)["payment_methods"] == calm[0]["payment_methods"]
    assert told(pull(stripe, file, *STREAMS))["charges"].read == len(times)
    assert tables(file) == calm[0]


def test_a_pull_cut_short_is_not_taken_for_one_with_another_start(stripe: Stripe, tmp_path: Path) -> None:
    """What was begun from one date says nothing about what lies before it."""
    file = tmp_path / "w.duckdb"
    times = created(stripe, "charges")
    stripe.faults({"kind": "error", "path": "/v1/charges", "skip": 3})
    assert pull(stripe, file, "charges", start=times[200]).status in ("failed", "partial")
    stripe.faults()
    assert pull(stripe, file, "charges", start=times[100]).status == "ok"
    assert query(file, "select count(*) as n from stripe.charges") == [
        {"n": sum(t >= times[100] for t in times)}
    ]


def test_a_pull_cut_short_begins_anew_when_a_child_is_asked_for_too(
    stripe: Stripe, calm: Calm, tmp_path: Path
) -> None:
    """The invoices that were read already came without their lines."""
    file = tmp_path / "w.duckdb"
    stripe.faults({"kind": "error", "path": "/v1/invoices", "skip": 1})
    assert pull(stripe, file, "invoices").status == "partial"
    stripe.faults()
    assert pull(stripe, file, "invoices", "invoice_line_items").status == "ok"
    assert tables(file) == {name: calm[0][name] for name in ("invoices", "invoice_line_items")}


def test_a_full_refresh_forgets_how_far_it_came(stripe: Stripe, tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    stripe.faults({"kind": "error", "path": "/v1/charges", "skip": 3})
    first = pull(stripe, file, "charges")
    stripe.faults()
    again = pull(stripe, file, "charges", full_refresh=True)
    assert 0 < told(first)["charges"].read < told(again)["charges"].read == len(created(stripe, "charges"))
