"""Lists that need a parent's id: whose children are asked for, in which order, and what is left when one fails."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import double
import pytest
import scripted
from pulling import Stripe, pull, query

from tidegate import catalog
from tidegate.pull import backfill, parents, reading, scope
from tidegate.stripe import attempts
from tidegate.warehouse import duckdb

STREAMS = catalog.load().streams


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.02)


class Bank(scripted.Script):
    """Customers with a balance: two transactions each, at `/v1/customers/{}/balance_transactions`."""

    def __init__(self, count: int) -> None:
        super().__init__(routes={"/v1/customers": self.customers})
        self.count = count
        self.instead: dict[str, scripted.Answer] = {}

    def customers(self, query: scripted.Query) -> scripted.Answer:
        return scripted.listed(scripted.rows("cus", self.count, object="customer"), query)

    async def answer(self, request: Any) -> Any:
        customer = request.path.removeprefix("/v1/customers/").partition("/")[0]
        path = f"/v1/customers/{customer}/balance_transactions"
        found = [
            {"id": f"cbtxn_{customer}_{n}", "object": "customer_balance_transaction", "created": 5}
            for n in range(2)
        ]
        self.routes = {
            "/v1/customers": self.customers,
            path: lambda q: self.instead.get(customer) or scripted.listed(found, q),
        }
        return await super().answer(request)

    def asked_for_children(self) -> list[str]:
        """The customers whose balances were asked for."""
        return [each.split("/")[3] for each in self.requests if "/balance_transactions" in each]


@contextlib.contextmanager
def bank(count: int) -> Iterator[tuple[Bank, Stripe]]:
    made = Bank(count)
    with double.serving(made) as url:
        yield made, Stripe(url)


CHILDREN = "customer_balance_transactions"


def owners(file: Path, table: str = CHILDREN) -> list[str]:
    return [
        row["owner"]
        for row in query(file, f"select distinct _parent_id as owner from stripe.{table} order by 1")
    ]


def mark(file: Path, walk: str = CHILDREN) -> backfill.Progress:
    warehouse = duckdb.DuckDB(file)
    (text,) = (text for key, text in warehouse.state("backfill/").items() if key.endswith(f"/{walk}"))
    warehouse.close()
    found = backfill.progress(text)
    assert found is not None
    return found


def names(*numbers: int) -> list[str]:
    return [f"cus_{n:04d}" for n in numbers]


# Whose children


def test_parents_that_are_pulled_too_are_taken_from_the_warehouse(tmp_path: Path) -> None:
    with bank(250) as (made, stripe):
        result = pull(stripe, tmp_path / "w.duckdb", "customers", CHILDREN)
    assert result.status == "ok"
    assert owners(tmp_path / "w.duckdb") == names(*range(250))
    lists = [each for each in made.asked_for("/v1/customers") if "limit=100" in each]
    assert all("expand[]" in each for each in lists)  # as customers are read, not once more for their ids
    assert sorted(made.asked_for_children()) == names(*range(250))


def test_parents_that_are_not_pulled_are_read_for_their_ids_only(tmp_path: Path) -> None:
    with bank(250) as (_, stripe):
        assert pull(stripe, tmp_path / "w.duckdb", CHILDREN).status == "ok"
    assert owners(tmp_path / "w.duckdb") == names(*range(250))
    tables = query(tmp_path / "w.duckdb", "select table_name as t from duckdb_tables()")
    assert "customers" not in [row["t"] for row in tables]


def test_more_parents_than_are_fetched_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parents, "CHUNK", 7)
    with bank(50) as (made, stripe):
        pull(stripe, tmp_path / "w.duckdb", "customers", CHILDREN)
    assert sorted(made.asked_for_children()) == names(*range(50))


@pytest.mark.parametrize("too", ["", "setup_intents"])
def test_a_parent_that_cannot_have_children_is_not_asked(too: str, business: Stripe, tmp_path: Path) -> None:
    """An intent that was never attempted says so itself."""
    tried = [
        line["object"]["id"]
        for line in business.truth("setup_intents")
        if line["object"]["latest_attempt"] is not None
    ]
    streams = ["setup_attempts", *filter(None, [too])]
    result = pull(business, tmp_path / "w.duckdb", *streams)
    told = {each.stream: each for each in result.outcomes}
    lists = -(-len(business.truth("setup_intents")) // 100)
    assert told["setup_attempts"].tally.requests == len(tried) + (0 if too else lists)
    assert told["setup_attempts"].read == len(business.truth("setup_attempts"))


def test_a_table_without_the_column_that_is_needed_is_no_source_of_parents(
    business: Stripe, tmp_path: Path
) -> None:
    columns = frozenset(field.name for field in STREAMS["setup_intents"].fields) - {"latest_attempt"}
    choices = {"setup_intents": scope.Choice(columns=columns)}
    result = pull(business, tmp_path / "w.duckdb", "setup_intents", "setup_attempts", choices=choices)
    assert [each.status for each in result.outcomes] == ["ok", "ok"]
    found = query(tmp_path / "w.duckdb", "select count(*) as n from stripe.setup_attempts")
    assert found == [{"n": len(business.truth("setup_attempts"))}]


def test_parents_in_a_table_of_another_name(business: Stripe, tmp_path: Path) -> None:
    choices = {"setup_intents": scope.Choice(table="Intents, all of them")}
    result = pull(business, tmp_path / "w.duckdb", "setup_intents", "setup_attempts", choices=choices)
    assert result.status == "ok"
    assert result.outcomes[0].read == len(business.truth("setup_attempts"))


def test_two_values_of_one_parent_belong_together(business: Stripe, tmp_path: Path) -> None:
    """The owners of a bank account are listed by the account and its latest `ownership`."""
    stream = "financial_connections_account_owners"
    for streams in ([stream], [stream, "financial_connections_accounts"]):
        file = tmp_path / f"{len(streams)}.duckdb"
        assert pull(business, file, *streams).status == "ok"
        lines = business.truth(stream)
        assert lines
        assert owners(file, stream) == sorted({line["parent"] for line in lines})


def test_parents_that_have_no_list_of_their_own(business: Stripe, tmp_path: Path) -> None:
    """Sources stand inside of customers; their transactions are asked for source by source."""
    lines = business.truth("source_transactions")
    assert lines
    for streams in (["source_transactions"], ["source_transactions", "sources"]):
        file = tmp_path / f"{len(streams)}.duckdb"
        assert pull(business, file, *streams).status == "ok"
        assert owners(file, "source_transactions") == sorted({line["parent"] for line in lines})


def test_parents_from_two_lists(business: Stripe, tmp_path: Path) -> None:
    """Open and closed accounts of v2 are two lists of one stream."""
    stream = "v2_core_account_persons"
    assert pull(business, tmp_path / "w.duckdb", stream).status == "ok"
    assert owners(tmp_path / "w.duckdb", stream) == sorted({x["parent"] for x in business.truth(stream)})


def test_pairs_of_parents_over_whole_days(tmp_path: Path) -> None:
    """A meter's summaries want a customer, and a span from midnight to midnight."""
    meters, customers = scripted.rows("mtr", 2, object="billing.meter"), scripted.rows("cus", 3)
    asked: list[tuple[str, str]] = []
    spans: set[tuple[str, str]] = set()

    def summaries(meter: str, query: scripted.Query) -> scripted.Answer:
        asked.append((meter, query["customer"]))
        spans.add((query["start_time"], query["end_time"]))
        return scripted.listed([{"id": f"sum_{meter}_{query['customer']}", "object": "x"}], query)

    script = scripted.Script(
        routes={
            "/v1/billing/meters": lambda q: scripted.listed(meters, q),
            "/v1/customers": lambda q: scripted.listed(customers, q),
            **{
                f"/v1/billing/meters/{each['id']}/event_summaries": lambda q, each=each: summaries(
                    each["id"], q
                )
                for each in meters
            },
        }
    )
    start = 1_700_000_000
    with double.serving(script) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "billing_meter_event_summaries", start=start)
    assert result.status == "ok", result.outcomes
    assert sorted(asked) == sorted((m["id"], c["id"]) for m in meters for c in customers)
    ((first, last),) = spans
    assert int(first) == start - start % 86_400
    assert int(last) % 86_400 == 0
    assert 0 <= time.time() - int(last) < 2 * 86_400
    assert owners(tmp_path / "w.duckdb", "billing_meter_event_summaries") == ["mtr_0000", "mtr_0001"]


# Order and progress


class Slow:
    """Parents that end in an order of their own."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.done: list[str] = []

    async def feed(self) -> AsyncIterator[parents.Parent]:
        for id in self.seconds:
            yield parents.Parent(id, {}, id)

    async def work(self, parent: parents.Parent) -> None:
        await asyncio.sleep(self.seconds[parent.id])
        self.done.append(parent.id)


def test_the_mark_waits_for_the_slowest() -> None:
    slow = Slow({"a": 0.05, "b": 0.0, "c": 0.02, "d": 0.0})

    async def go() -> list[tuple[str, list[str]]]:
        return [(parent.place, list(slow.done)) async for parent in parents._abreast(slow.feed(), slow.work)]

    marked = asyncio.run(go())
    assert [place for place, _ in marked] == ["a", "b", "c", "d"]
    for place, done in marked:
        assert {each for each in slow.seconds if each <= place} <= set(done)


def test_after_a_refusal_the_others_are_read_and_the_mark_stays_before_it(tmp_path: Path) -> None:
    """One poisoned customer costs its own rows only, and is asked for again next time."""
    file = tmp_path / "w.duckdb"
    with bank(100) as (made, stripe):
        made.instead = {"cus_0040": scripted.BROKEN, "cus_0041": (400, scripted.refusal("No."))}
        first = pull(stripe, file, "customers", CHILDREN)
        told = {each.stream: each for each in first.outcomes}
        assert told[CHILDREN].status == "partial"
        assert "/v1/customers/{customer}/balance_transactions" in told[CHILDREN].error
        assert set(names(*range(100))) - set(owners(file)) == {"cus_0040", "cus_0041"}
        assert not mark(file).done
        assert mark(file).after < "cus_0040"

        made.instead, made.requests[:] = {}, []
        assert pull(stripe, file, "customers", CHILDREN).status == "ok"
        assert owners(file) == names(*range(100))
        assert "cus_0040" in made.asked_for_children()


def test_when_all_are_refused_the_walk_soon_ends(tmp_path: Path) -> None:
    with bank(500) as (made, stripe):
        forbidden = (403, scripted.refusal("The key needs 'rak_credit_note_read' on account 'acct_1'."))
        made.instead = dict.fromkeys(names(*range(500)), forbidden)
        result = pull(stripe, tmp_path / "w.duckdb", "customers", CHILDREN)
    told = {each.stream: each for each in result.outcomes}
    assert (told["customers"].status, told[CHILDREN].status) == ("ok", "no_permission")
    assert "rak_credit_note_read" in told[CHILDREN].error
    assert len(made.asked_for_children()) <= 2 * parents.ABREAST


def test_a_parent_that_was_deleted_meanwhile_has_none(tmp_path: Path) -> None:
    with bank(5) as (made, stripe):
        made.instead = {"cus_0002": scripted.MISSING}
        assert pull(stripe, tmp_path / "w.duckdb", CHILDREN).status == "ok"
    assert owners(tmp_path / "w.duckdb") == names(0, 1, 3, 4)


def test_a_connected_account_that_was_cut_off_meanwhile_has_none(tmp_path: Path) -> None:
    """Stripe says so with the code that otherwise means a key for another account."""
    said = (
        "The provided key 'sk_test_x' does not have access to account 'acct_0001' (or that account does not "
        "exist). Application access may have been revoked."
    )
    accounts = scripted.rows("acct", 3, object="account")
    persons = [{"id": "person_1", "object": "person", "created": 1}]
    script = scripted.Script(
        routes={
            "/v1/account": lambda _: {"id": "acct_own", "object": "account"},
            "/v1/accounts": lambda q: scripted.listed(accounts, q),
            "/v1/accounts/acct_0000/persons": lambda q: scripted.listed(persons, q),
            "/v1/accounts/acct_0001/persons": lambda _: (403, scripted.refusal(said, "account_invalid")),
            "/v1/accounts/acct_0002/persons": lambda q: scripted.listed(persons[:0], q),
        }
    )
    with double.serving(script) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb", "account_persons")
    assert result.status == "ok", result
    assert owners(tmp_path / "w.duckdb", "account_persons") == ["acct_0000"]


def test_the_same_parents_in_another_order_are_begun_anew(tmp_path: Path) -> None:
    """A place among ids says nothing about a place in a list, which is newest first."""
    file = tmp_path / "w.duckdb"
    with bank(60) as (made, stripe):
        made.instead = {"cus_0030": scripted.BROKEN}
        assert pull(stripe, file, "customers", CHILDREN).status == "partial"
        assert mark(file).order == ("customers",)
        made.instead, made.requests[:] = {}, []
        assert pull(stripe, file, CHILDREN).status == "ok"
        assert sorted(made.asked_for_children()) == names(*range(60))
    assert owners(file) == names(*range(60))


def test_with_another_start_all_parents_are_asked_again(tmp_path: Path) -> None:
    """The parents from before the start were not there when the first half of the others was asked."""
    file = tmp_path / "w.duckdb"
    with bank(60) as (made, stripe):
        made.instead = {"cus_0050": scripted.BROKEN}
        assert pull(stripe, file, "customers", CHILDREN, start=1_700_000_040).status == "partial"
        assert owners(file)[0] == "cus_0040"
        made.instead = {}
        assert pull(stripe, file, "customers", CHILDREN).status == "ok"
    assert owners(file) == names(*range(60))


@pytest.mark.parametrize(
    ("stream", "after", "expected"),
    [
        ("customer_balance_transactions", "cus_0003", ["cus_0002", "cus_0001", "cus_0000"]),
        (
            "billing_meter_event_summaries",
            "mtr_0001 cus_0002",
            ["mtr_0001 cus_0001", "mtr_0001 cus_0000", "mtr_0000 cus_0004", "mtr_0000 cus_0003"],
        ),
        ("v2_core_account_persons", "acct_1", ["acct_0", "acct_1", "acct_2", "acct_9"]),
    ],
)
def test_parents_behind_a_place(stream: str, after: str, expected: list[str]) -> None:
    """Newest first, of lists that take an id for a cursor; others are read from the top."""
    version_two = [{"id": f"acct_{n}", "object": "v2.core.account"} for n in range(3)]
    script = scripted.Script(
        routes={
            "/v1/customers": lambda q: scripted.listed(scripted.rows("cus", 5), q),
            "/v1/billing/meters": lambda q: scripted.listed(scripted.rows("mtr", 3), q),
            "/v2/core/accounts": lambda q: {
                "data": [{"id": "acct_9", "object": "v2.core.account"}] if "closed" in q else version_two,
                "next_page_url": None,
            },
        }
    )
    places: list[str] = []

    async def go(trip: reading.Trip) -> None:
        places.extend([parent.place async for parent in parents._families(trip, after)])

    with double.serving(script) as url:
        scripted.walked(url, scripted.walk(stream), scripted.Added(), go)
    assert places[: len(expected)] == expected
