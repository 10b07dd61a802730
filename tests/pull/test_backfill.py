"""How far a list has been read, what a pull goes on from, and what it does when a list misbehaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import double
import msgspec
import pytest
import scripted
from pulling import Stripe, pull, query

from tidegate.pull import backfill, report
from tidegate.stripe import attempts
from tidegate.warehouse import duckdb

NOW = 1_800_000_000
CHARGES = scripted.walk("charges")
INVOICES = scripted.walk("invoices", "invoice_line_items")
ATTEMPTS = scripted.walk("setup_attempts")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.02)


def saved(**changes: Any) -> str:
    """The mark of a pull of charges that was cut short an hour ago."""
    mark = backfill.Progress(
        carries=("charges",), since=NOW - 3600, start=100, open=((100, None, "ch_1", 500),)
    )
    return msgspec.json.encode(msgspec.structs.replace(mark, **changes)).decode()


def ids(file: Path, table: str) -> list[str]:
    return [row["id"] for row in query(file, f"select id from stripe.{table} order by id")]


# What a pull goes on from


def charges(start: int | None = 100, **more: Any) -> backfill.Job:
    """Charges to be read from a moment on."""
    return backfill.Job(CHARGES, start, **more)


def test_a_walk_goes_on_from_its_mark() -> None:
    found = charges().unfinished(saved(), NOW)
    assert found is not None
    assert found.open == ((100, None, "ch_1", 500),)


@pytest.mark.parametrize(
    ("mark", "job"),
    [
        (saved(done=True, open=()), charges()),
        (saved(), charges(50)),
        (saved(), charges(None)),
        (saved(), charges(end=900)),
        (saved(since=NOW - backfill.FRESH), charges()),
        (saved(since=NOW + 60), charges()),
        (saved(), charges(since=NOW - 3599)),
        (saved(order=("setup_intents",)), charges()),
        (saved(carries=("customers",)), charges()),
        ("{", charges()),
        ('{"carries": 7}', charges()),
        (None, charges()),
    ],
    ids=[
        "was done",
        "an earlier start",
        "no start",
        "another end",
        "older than events are kept",
        "of another Stripe's clock",
        "from before it was to be read again",
        "parents in another order",
        "did not carry the stream",
        "damaged",
        "of another version",
        "none",
    ],
)
def test_a_walk_begins_anew(mark: str | None, job: backfill.Job) -> None:
    assert job.unfinished(mark, NOW) is None


def test_a_walk_that_carried_more_than_is_wanted_now_goes_on() -> None:
    mark = saved(carries=("invoices", "invoice_line_items"), start=None)
    assert backfill.Job(scripted.walk("invoices")).unfinished(mark, NOW) is not None
    fewer = saved(carries=("invoices",), start=None)
    assert backfill.Job(INVOICES).unfinished(fewer, NOW) is None


def test_what_was_read_whole_is_done_until_it_is_to_be_read_again() -> None:
    done = saved(done=True, open=())
    assert charges(since=NOW - 3600).finished(done)
    assert not charges(since=NOW - 3599).finished(done)
    assert not charges().finished(saved())
    assert not charges().finished(None)


def test_what_was_read_from_earlier_on_has_all_that_is_asked_for_now() -> None:
    done = saved(done=True, open=())
    assert charges(101).finished(done)
    assert not charges(99).finished(done)
    assert not charges(None).finished(done)
    assert charges().finished(saved(done=True, open=(), start=None))
    assert not charges(end=900).finished(done)


def test_a_list_that_is_read_again_has_a_place_of_its_own() -> None:
    """So that the stream stays complete meanwhile."""
    assert backfill.key("acct_1", CHARGES) == "backfill/acct_1/charges"
    assert backfill.key("acct_1", CHARGES, again=True) == "again/acct_1/charges"


@pytest.mark.parametrize(
    ("walk", "starts", "start"),
    [
        (CHARGES, {"charges": 7}, 7),
        (CHARGES, {"charges": None}, None),
        (CHARGES, {}, None),
        (INVOICES, {"invoices": 9, "invoice_line_items": 5}, 5),
        (INVOICES, {"invoices": 9, "invoice_line_items": None}, None),
        (scripted.walk("quotes"), {"quotes": 7}, None),
        (ATTEMPTS, {"setup_attempts": 7}, 7),
        (ATTEMPTS, {"setup_attempts": 7, "setup_intents": 5}, 5),
    ],
)
def test_a_list_is_read_from_the_earliest_start_of_its_streams(
    walk: Any, starts: dict[str, int | None], start: int | None
) -> None:
    assert backfill.start(starts, walk) == start


# Marks


def test_every_mark_tells_what_is_unread_and_the_last_one_that_nothing_is() -> None:
    given = double.Double({"/v1/charges": double.charges(730)})
    sink = scripted.Added()
    with double.serving(given) as url:
        scripted.walked(url, CHARGES, sink, lambda trip: backfill.read(trip, charges(None), None))
    assert sorted(sink.ids("charges")) == [f"ch_{n:06d}" for n in range(730)]
    seen: set[str] = set()
    for found, text in sink.batches:
        seen.update(found.get("charges", []))
        mark = backfill.progress(text or "")
        assert mark is not None
        unread = {f"ch_{n:06d}" for n in range(730) if is_open(mark, 1_700_000_000 + n, f"ch_{n:06d}")}
        assert mark.done or seen | unread == {f"ch_{n:06d}" for n in range(730)}
        assert mark.done == (len(seen) == 730)


def is_open(mark: backfill.Progress, created: int, id: str) -> bool:
    """Would a pull that goes on from the mark read this charge?"""
    return any(
        (low is None or created >= low) and (high is None or created < high) and (after is None or id < after)
        for low, high, after, _ in mark.open
    )


def test_a_list_without_filter_is_marked_by_its_cursor() -> None:
    quotes = scripted.rows("qt", 250, object="quote")
    script = scripted.Script(routes={"/v1/quotes": lambda q: scripted.listed(quotes, q)})
    sink = scripted.Added()
    with double.serving(script) as url:
        quoted = backfill.Job(scripted.walk("quotes"))
        scripted.walked(url, quoted.walk, sink, lambda trip: backfill.read(trip, quoted, None))
    marks = [backfill.progress(text or "") for _, text in sink.batches]
    assert [(m.after, m.done) for m in marks if m] == [
        ("qt_0150", False),
        ("qt_0050", False),
        ("", True),
        ("", True),
    ]
    assert [each["id"] for each in quotes] == sink.ids("quotes")


# Going on


class Shop(scripted.Script):
    """Payouts, of which a page may fail."""

    def __init__(self, payouts: list[dict[str, Any]], *, filters: bool = True) -> None:
        super().__init__(filters=filters, routes={"/v1/payouts": self.payouts})
        self.given = payouts
        self.served = 0
        self.fail_after: int | None = None

    def payouts(self, query: scripted.Query) -> scripted.Answer:
        if self.served == self.fail_after:
            return scripted.BROKEN
        self.served += 1
        bare = {name: value for name, value in query.items() if self.filters or "created" not in name}
        return scripted.listed(self.given, bare)


def test_what_was_created_since_is_not_passed_over_by_a_mark_of_a_month_ago(tmp_path: Path) -> None:
    """A mark says what is unread *behind* it; what is new stands before it."""
    file = tmp_path / "w.duckdb"
    shop = Shop(scripted.rows("po", 500, object="payout"))
    shop.fail_after = 3
    with double.serving(shop) as url:
        pull(Stripe(url), file, "payouts")
        assert 0 < len(ids(file, "payouts")) < 500
        shop.given, shop.fail_after = scripted.rows("po", 510, object="payout"), None
        age(file, "payouts", backfill.FRESH)
        assert pull(Stripe(url), file, "payouts").status == "ok"
    assert ids(file, "payouts") == [f"po_{n:04d}" for n in range(510)]


def age(file: Path, walk: str, seconds: int) -> None:
    """Let the marks of a walk be so much older."""
    warehouse = duckdb.DuckDB(file)
    for key, text in warehouse.state("backfill/").items():
        mark = backfill.progress(text)
        assert mark is not None
        older = msgspec.structs.replace(mark, since=mark.since - seconds)
        if key.endswith(f"/{walk}"):
            warehouse.load([], {key: msgspec.json.encode(older).decode()})
    warehouse.close()


def test_a_list_whose_filter_is_not_honoured_is_read_by_cursor_and_goes_on_there(tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    shop = Shop(scripted.rows("po", 1500, object="payout"), filters=False)
    shop.fail_after = 9
    notes: list[str] = []
    with double.serving(shop) as url:
        assert (
            pull(Stripe(url), file, "payouts", start=1_700_001_400, screen=Notes(notes)).status == "partial"
        )
        there = len(ids(file, "payouts"))
        assert there > 0
        shop.requests.clear()
        shop.fail_after = None
        assert pull(Stripe(url), file, "payouts", start=1_700_001_400).status == "ok"
    assert any("did not apply the filter" in note for note in notes)
    assert ids(file, "payouts") == [f"po_{n:04d}" for n in range(1500)]
    once_more = 2  # two pages to find out again that the filter does nothing
    assert len(shop.asked_for("/v1/payouts")) == (1500 - there) // 100 + once_more


def test_a_short_list_whose_filter_is_not_honoured_is_no_news(tmp_path: Path) -> None:
    """It costs a request or two more; the account's own two connected accounts are such a list."""
    shop, notes = Shop(scripted.rows("po", 150, object="payout"), filters=False), list[str]()
    with double.serving(shop) as url:
        found = pull(Stripe(url), tmp_path / "w.duckdb", "payouts", start=1_700_001_400, screen=Notes(notes))
    assert (found.status, notes) == ("ok", [])


class Notes(report.Silent):
    """Keeps what is worth a line."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize("order", ["oldest first", "in heaps"])
def test_a_list_that_is_not_in_order_is_read_whole(order: str, tmp_path: Path) -> None:
    given = scripted.rows("po", 730, object="payout")
    mixed = {
        "oldest first": given[::-1],
        "in heaps": sorted(given, key=lambda each: (each["created"] % 7, each["created"])),
    }
    shop = Shop(mixed[order])
    with double.serving(shop) as url:
        assert pull(Stripe(url), tmp_path / "w.duckdb", "payouts").status == "ok"
    assert ids(tmp_path / "w.duckdb", "payouts") == [f"po_{n:04d}" for n in range(730)]


def test_a_list_that_claims_more_and_does_not_move_is_told(tmp_path: Path) -> None:
    page = scripted.listed(scripted.rows("po", 100, object="payout"), {"limit": "100"})
    stuck = {**page, "has_more": True}
    empty = {**page, "data": [], "has_more": True}
    script = scripted.Script(
        routes={"/v1/payouts": lambda _: stuck, "/v1/quotes": lambda _: stuck, "/v1/topups": lambda _: empty}
    )
    with double.serving(script) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "payouts", "quotes", "topups")
    told = {each.stream: each for each in result.outcomes}
    assert {name: each.status for name, each in told.items()} == {
        "payouts": "partial",
        "quotes": "partial",
        "topups": "failed",
    }
    for name, each in told.items():
        assert f"GET /v1/{name} says that more follows" in each.error


def test_cursors_that_stripe_never_takes_end_in_a_sentence_not_in_a_circle(tmp_path: Path) -> None:
    """150 payouts in one second: no slice of time is small enough to do without a cursor."""
    same = [{**each, "created": 1_700_000_000} for each in scripted.rows("po", 150, object="payout")]
    apart = scripted.rows("tu", 350, object="topup")
    lists = {"/v1/payouts": same, "/v1/topups": apart, "/v1/quotes": scripted.rows("qt", 150, object="quote")}

    def answer(path: str, query: scripted.Query) -> scripted.Answer:
        return scripted.CURSOR_GONE if "starting_after" in query else scripted.listed(lists[path], query)

    routes = {path: lambda q, path=path: answer(path, q) for path in lists}
    script = scripted.Script(routes=routes)
    with double.serving(script) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "payouts", "topups", "quotes")
    told = {each.stream: each for each in result.outcomes}
    assert "GET /v1/payouts was begun again 10 times" in told["payouts"].error
    assert "GET /v1/quotes was begun again 10 times" in told["quotes"].error
    assert len(script.asked_for("/v1/payouts")) < 30
    assert told["topups"].status == "ok"  # the next second is reached without a cursor
    assert ids(tmp_path / "w.duckdb", "topups") == sorted(each["id"] for each in apart)


# The account's own row


def test_the_own_account_is_among_the_accounts(business: Stripe, tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    assert pull(business, file, "accounts").status == "ok"
    own = business.control("health")["account"]
    connected = [line["object"]["id"] for line in business.truth("accounts")]
    assert ids(file, "accounts") == sorted({own, *connected})


def test_without_the_permission_the_own_account_lacks_and_this_is_said(tmp_path: Path) -> None:
    accounts = scripted.rows("acct", 3, object="account")
    forbidden = (403, scripted.refusal("The key needs 'rak_account_read' on account 'acct_platform'."))
    script = scripted.Script(
        routes={"/v1/account": lambda _: forbidden, "/v1/accounts": lambda q: scripted.listed(accounts, q)}
    )
    notes: list[str] = []
    with double.serving(script) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "accounts", screen=Notes(notes))
    assert result.status == "ok"
    assert ids(tmp_path / "w.duckdb", "accounts") == ["acct_0000", "acct_0001", "acct_0002"]
    (note,) = [each for each in notes if each.startswith("accounts:")]
    assert "without the account's own row" in note
