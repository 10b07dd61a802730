"""What a warehouse holds of Stripe: rows, how far each stream came, how the last run ended."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from pathlib import Path

import double
import duckdb as engine
import msgspec
import pytest
import scripted
from pulling import Stripe, pull

from tidegate import config
from tidegate.cli import status
from tidegate.pull import (
    acting,
    held,
    reconcile,
    refresh,
    relist,
    report,
    run,
    scope,
    settings,
    sweep,
)
from tidegate.store import database, runs
from tidegate.stripe import attempts
from tidegate.warehouse import duckdb


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.02)


def look(file: Path, **tables: str) -> dict[str, held.Held]:
    warehouse = duckdb.DuckDB(file)
    try:
        return {each.stream: each for each in held.held(warehouse, tables)}
    finally:
        warehouse.close()


def test_a_warehouse_that_never_saw_a_pull_holds_nothing(tmp_path: Path) -> None:
    assert look(tmp_path / "w.duckdb") == {}


def test_a_whole_pull(business: Stripe, pulled: tuple[Path, report.Result]) -> None:
    file, result = pulled
    found = look(file)
    told = {each.stream: each for each in result.outcomes}
    assert set(found) == set(told)
    for name, each in found.items():
        assert each.complete, name
        assert (each.rows, each.deleted, each.status) == (told[name].written, 0, "ok"), name
    as_of = found["charges"].as_of
    assert as_of is not None
    now = dt.datetime.fromtimestamp(business.control("health")["now"], dt.UTC)
    assert now - dt.timedelta(minutes=30) < as_of <= now
    assert found["charges"].as_json()["as_of"] == as_of.isoformat()


PAYOUTS = scripted.rows("po", 350, object="payout")
REFUSED = (403, scripted.refusal("The key needs 'rak_topup_read' on account 'acct_1'."))


class Shop(scripted.Script):
    """Payouts that fail from a page on, and top-ups that are forbidden."""

    def __init__(self) -> None:
        super().__init__(routes={"/v1/payouts": self.payouts, "/v1/topups": lambda _: REFUSED})
        self.fails = True

    def payouts(self, query: scripted.Query) -> scripted.Answer:
        return (
            scripted.BROKEN if self.fails and "starting_after" in query else scripted.listed(PAYOUTS, query)
        )


def test_a_stream_that_was_cut_short_is_there_in_part_until_the_next_pull(tmp_path: Path) -> None:
    file, shop = tmp_path / "w.duckdb", Shop()
    with double.serving(shop) as url:
        pull(Stripe(url), file, "payouts", "topups")
        found = look(file)
        assert (found["payouts"].rows, found["payouts"].complete) == (100, False)
        assert found["payouts"].as_of is None
        assert found["payouts"].status == "partial"
        assert "status 500" in found["payouts"].error
        assert (found["topups"].rows, found["topups"].status) == (0, "no_permission")
        assert "rak_topup_read" in found["topups"].error
        shop.fails = False
        pull(Stripe(url), file, "payouts")
    found = look(file)
    assert (found["payouts"].rows, found["payouts"].complete, found["payouts"].status) == (350, True, "ok")
    assert found["payouts"].error == ""
    assert found["topups"].status == "no_permission"  # what its last run said


def test_what_a_first_pull_had_not_begun_with_is_told_of(tmp_path: Path) -> None:
    """It ended before it left any word of its streams: of those that it wants, one was begun."""
    file = tmp_path / "w.duckdb"
    with double.serving(Shop()) as url:
        pull(Stripe(url), file, "payouts", "topups", "coupons")
    with engine.connect(str(file)) as connection:
        connection.execute("delete from stripe._tidegate_runs")
        connection.execute("delete from stripe._tidegate_state where key like 'backfill/%/coupons'")
        connection.execute("delete from stripe._tidegate_state where key like 'backfill/%/topups'")
    found = {name: (each.status, each.complete, each.rows) for name, each in look(file).items()}
    assert found == {
        "payouts": ("unfinished", False, 100),
        "topups": ("not_begun", False, 0),
        "coupons": ("not_begun", False, 0),
    }


def test_tables_of_other_names_and_rows_that_were_deleted(tmp_path: Path) -> None:
    file, given = tmp_path / "w.duckdb", list(double.customers(4))
    script = scripted.Script(routes={"/v1/customers": lambda q: scripted.listed(given, q)})
    choices = {"customers": scope.Choice(table="clients")}
    with double.serving(script) as url:
        pull(Stripe(url), file, "customers", choices=choices)
        given[0] = {
            "id": given[0]["id"],
            "object": "customer",
            "deleted": True,
            "created": given[0]["created"],
        }
        pull(Stripe(url), file, "customers", choices=choices, full_refresh=True)
    found = look(file, customers="clients")["customers"]
    assert (found.account, found.rows, found.deleted) == ("acct_unnamed", 3, 1)
    assert look(file)["customers"].rows == 0  # under its own name there is none


def test_a_stream_from_two_lists_is_complete_when_both_are(tmp_path: Path) -> None:
    file, fails = tmp_path / "w.duckdb", [True]

    def answer(query: scripted.Query) -> scripted.Answer:
        closed = query.get("closed") == "true"
        id = "acct_closed" if closed else "acct_open"
        return scripted.BROKEN if closed and fails else {"data": [{"id": id}], "next_page_url": None}

    with double.serving(scripted.Script(routes={"/v2/core/accounts": answer})) as url:
        pull(Stripe(url), file, "v2_core_accounts")
        assert not look(file)["v2_core_accounts"].complete
        fails.clear()
        pull(Stripe(url), file, "v2_core_accounts")
    found = look(file)["v2_core_accounts"]
    assert (found.complete, found.rows) == (True, 2)


ACCOUNT = "acct_unnamed"


def note(file: Path, **state: object) -> None:
    """Leave state as a pull would, under `<key>/acct_unnamed`; a list of keys and values goes below it."""
    texts: dict[str, str | None] = {}
    for name, value in state.items():
        for path, each in value.items() if isinstance(value, dict) else [("", value)]:
            text = each if isinstance(each, str) else msgspec.json.encode(each).decode()
            texts["/".join(filter(None, (name, ACCOUNT, path)))] = text
    warehouse = duckdb.DuckDB(file)
    warehouse.load([], texts)
    warehouse.close()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Customers, charges and quotes of a small double."""
    file = tmp_path / "w.duckdb"
    lists = {"/v1/customers": double.customers(5), "/v1/charges": double.charges(7), "/v1/quotes": []}
    with double.serving(double.Double(lists)) as url:
        pull(Stripe(url), file, "customers", "charges", "quotes")
    return file


def test_what_is_held_back_is_said_with_what_to_do(small: Path) -> None:
    why = "5 of 5 rows are no longer listed; run `tidegate pull --accept-deletes customers`."
    note(small, held={"customers": sweep.Held(1_700_000_000, 5, 5, why)})
    found = look(small)
    assert found["customers"].held == why
    assert found["customers"].as_json()["held"] == why
    assert (found["charges"].held, found["charges"].as_json()["held"]) == ("", None)


def test_what_waits_and_what_could_not_be_read_is_counted(small: Path) -> None:
    marks = (
        refresh.Dirty("charges", "ch_1", 1_700_000_000),
        refresh.Dirty("charges", "ch_2", 1_700_000_000, attempts=3, reason="status 500"),
        refresh.Dirty("customers", "cus_1", 1_700_000_000, attempts=1, reason="status 500"),
    )
    note(small, dirty={f"{each.stream}/{each.id}": each for each in marks})
    found = look(small)
    waiting = {name: (each.waiting, each.unread) for name, each in found.items()}
    assert waiting == {"charges": (2, 1), "customers": (1, 1), "quotes": (0, 0)}


def test_what_is_to_be_listed_again_is_said_with_the_reason(small: Path) -> None:
    entries = {"charges": relist.Entry(1_700_000_000, "the last pull was 31 days ago")}
    note(small, relist=relist.text(entries))
    found = look(small)
    assert found["charges"].listing == "the last pull was 31 days ago"
    assert found["customers"].as_json()["listing"] is None


def test_a_table_is_as_of_the_events_that_were_followed(small: Path) -> None:
    """But where events cannot be read, as of its last listing."""
    later = int(dt.datetime.now(dt.UTC).timestamp()) + 1_000
    listed = {"quotes": {"all": later - 500}}
    note(small, tail=str(later), turns=reconcile.Turns(listed=listed))
    moments = {name: each.as_of for name, each in look(small).items()}
    assert moments["charges"] == moments["customers"] == dt.datetime.fromtimestamp(later, dt.UTC)
    note(small, turns=reconcile.Turns(followed=False, listed=listed))
    moments = {name: each.as_of for name, each in look(small).items()}
    assert moments["quotes"] == dt.datetime.fromtimestamp(later - 500, dt.UTC)
    assert moments["charges"] is not None
    assert moments["charges"] < dt.datetime.fromtimestamp(later - 500, dt.UTC)


def test_a_table_that_waits_for_a_gap_to_be_mended_is_not_as_of_the_events(small: Path) -> None:
    later = int(dt.datetime.now(dt.UTC).timestamp()) + 1_000
    entries = {
        "charges": relist.Entry(later, "a gap"),
        "customers": relist.Entry(later, "its turn", regular=True),
    }
    note(small, tail=str(later), relist=relist.text(entries), turns=reconcile.Turns())
    found = look(small)
    assert found["customers"].as_of == dt.datetime.fromtimestamp(later, dt.UTC)
    assert found["charges"].as_of != dt.datetime.fromtimestamp(later, dt.UTC)


def test_every_table_says_how_soon_changes_show_by_what_the_last_pull_went_by(
    business: Stripe, tmp_path: Path
) -> None:
    file, streams = tmp_path / "w.duckdb", ("products", "payment_intents", "webhook_endpoints")
    pull(business, file, *streams)
    found = look(file)
    assert {name: each.staleness_s for name, each in found.items()} == {
        "products": reconcile.EVENTS,
        "payment_intents": None,
        "webhook_endpoints": reconcile.SHORTEST,
    }
    assert found["products"].staleness == "events, seconds"
    assert "6 h up to 7 d old" in found["payment_intents"].staleness
    assert found["payment_intents"].as_json()["staleness_s"] is None
    pull(business, file, *streams, lookback=86_400)
    assert "1 h up to 1 d old, then unbounded" in look(file)["payment_intents"].staleness


STREAMS = """\
stripe:
  acme: {api_key: sk_test_a1, api_base: "URL", account_id: acct_1, rate_limit: "off"}
  other: {api_key: sk_test_b1, api_base: "URL", account_id: acct_2, rate_limit: "off"}
warehouses: {one: {type: duckdb, path: one.duckdb}}
pulls:
  topups: {from: acme, to: one, streams: {topups: {}}}
  payouts: {from: acme, to: one, streams: {payouts: {}}}
  others: {from: other, to: one, streams: {payouts: {}}}
"""


class Accounts(scripted.Script):
    """Three payouts and a top-up; whose the key is has to be said."""

    def __init__(self) -> None:
        super().__init__(
            routes={
                "/v1/payouts": lambda query: scripted.listed(PAYOUTS[:3], query),
                "/v1/topups": lambda query: scripted.listed(scripted.rows("tu", 1, object="topup"), query),
            }
        )


def test_of_several_pulls_into_one_schema_each_tells_of_its_own_streams_and_accounts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tidegate.yaml"
    with double.serving(Accounts()) as url:
        file.write_text(STREAMS.replace("URL", url))
        jobs = settings.jobs(config.load(file))
        for job in jobs:
            with contextlib.closing(job.open()) as warehouse:
                asyncio.run(run.pull(job.source, warehouse, job.options, report.Silent()))
    found = {}
    for job in jobs:
        with contextlib.closing(job.open()) as warehouse:
            found[job.name] = [(each.stream, each.account) for each in held.of_pull(warehouse, job)]
    assert found == {
        "topups": [("topups", "acct_1")],
        "payouts": [("payouts", "acct_1")],
        "others": [("payouts", "acct_2")],
    }
    capsys.readouterr()
    assert status.status(config_file=file, json=True) == 0
    told = {each["name"]: each["streams"] for each in json.loads(capsys.readouterr().out)["pulls"]}
    assert {
        name: [(each["stream"], each["account"], each["rows"]) for each in streams]
        for name, streams in told.items()
    } == {
        "topups": [("topups", "acct_1", 1)],
        "payouts": [("payouts", "acct_1", 3)],
        "others": [("payouts", "acct_2", 3)],
    }


def test_whose_a_key_is_is_remembered_and_keeps_another_connections_rows_apart(tmp_path: Path) -> None:
    """A platform with all of its accounts, and a connection of its own whose account no one wrote down."""
    source = scope.Source(api_key="sk_test_b1", api_base="https://stripe.example")
    with contextlib.closing(duckdb.DuckDB(tmp_path / "w.duckdb")) as warehouse:
        pulled = [report.Outcome("payouts", account) for account in ("acct_1", "acct_2", "acct_3")]
        report.note(warehouse, "run_1", dt.datetime.now(dt.UTC), pulled)
        warehouse.load([], {f"key/{acting.mark(source)}": "acct_2"})
        options = scope.Options(["payouts"], choices={"payouts": scope.Choice()})
        target = config.DuckDB(type="duckdb", path=str(tmp_path / "w.duckdb"))
        platform = scope.Source(api_key="sk_test_a1", accounts="all")
        one = settings.Job("all", platform, options, target, (source,))
        other = settings.Job("own", source, options, target, (platform,))
        named = settings.Job("named", scope.Source(api_key="x", accounts=("acct_3",)), options, target)
        unknown = settings.Job("unknown", scope.Source(api_key="sk_test_c1"), options, target, (source,))
        found = {
            job.name: [each.account for each in held.of_pull(warehouse, job)]
            for job in (one, other, named, unknown)
        }
    assert found == {
        "all": ["acct_1", "acct_3"],
        "own": ["acct_2"],
        "named": ["acct_3"],
        "unknown": ["acct_1", "acct_3"],
    }


def test_status_shows_it_all(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    why = "5 of 5 rows of customers are no longer listed; run `tidegate pull --accept-deletes customers`."
    dirty = refresh.Dirty("charges", "ch_1", 1_700_000_000, attempts=1, reason="status 500")
    entries = {"customers": relist.Entry(1_700_000_000, "a month without a pull")}
    note(
        small,
        held={"customers": sweep.Held(1_700_000_000, 5, 5, why)},
        dirty={"charges/ch_1": dirty},
        relist=relist.text(entries),
        turns=reconcile.Turns(),
    )
    assert status.status(to=f"duckdb:///{small}") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "changes show within" in shown
    assert "listed whole every 15 min" in shown
    assert "1 to be read, 1 of them in vain so far" in shown
    assert "to be listed again: a month without a pull" in shown
    assert why in shown
    assert status.status(to=f"duckdb:///{small}", json=True) == 0
    (pulled,) = json.loads(capsys.readouterr().out)["pulls"]
    found = {each["stream"]: each for each in pulled["streams"]}
    assert found["quotes"]["staleness_s"] == 900
    assert found["customers"]["staleness_s"] is None
    assert found["customers"]["held"] == why
    assert (found["charges"]["waiting"], found["charges"]["unread"]) == (1, 1)


def test_status_says_that_somebody_stopped_a_continuous_pull(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tidegate.yaml"
    text = STREAMS.replace("streams: {topups: {}}", "schedule: continuous, streams: {topups: {}}")
    text = text.replace("URL", "https://stripe.example")
    file.write_text(f"{text}database: sqlite:///{tmp_path}/tidegate.db\n")
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
        runs.queue(store, "run_1", "pull:topups", "continuous")
        runs.cancel(store, "run_1", "ann")
    assert status.status(config_file=file, json=True) == 0
    told = {each["name"]: each["stopped"] for each in json.loads(capsys.readouterr().out)["pulls"]}
    assert told["topups"].startswith("pull:topups is stopped by ann until ")
    assert told["topups"].endswith("; `tidegate start topups` begins it again.")
    assert (told["payouts"], told["others"]) == (None, None)
