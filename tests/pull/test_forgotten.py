"""Customers who are forgotten, between pulls and under them: nothing personal of theirs is left, nor comes back."""

from __future__ import annotations

import asyncio
import collections
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from following import Merchant, follow, live, one, rows
from pulling import pull, query

from tidegate import catalog, errors, sandbox
from tidegate.audit import findings, proof
from tidegate.config import conditions
from tidegate.privacy import erase
from tidegate.privacy import forget as forgetting
from tidegate.pull import load, report, scope
from tidegate.warehouse import duckdb

TABLES = {name: [name] for name in catalog.load().streams}
HISTORY = {
    name: scope.Choice(history=True) for name in ("customers", "charges", "invoices", "payment_methods")
}
MONEY = ("customers", "charges", "payment_intents", "disputes", "refunds", "balance_transactions", "invoices")
PERSON: dict[str, Any] = {
    "name": "Zaphod Quetzalcoatl",
    "email": "zaphod@heartofgold.example",
    "phone": "+4915112345678",
    "address": {"line1": "42 Betelgeuse Lane", "city": "Quetzalville", "postal_code": "QZ-4242"},
    "metadata": {"note": "Zaphod has two heads"},
}
SAID = ("Zaphod", "Quetzal", "heartofgold", "15112345678", "Betelgeuse", "QZ-4242", "two heads")


@pytest.fixture(scope="module")
def running() -> Iterator[Merchant]:
    with sandbox.process(objects=10) as url:
        yield Merchant(url)


@pytest.fixture
def shop(running: Merchant) -> Merchant:
    """A small business, made anew for each test; its last objects are ten seconds old."""
    running.control("reset", {"objects": 2_000, "seed": 5})
    running.later()
    return running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "w.duckdb"


def busiest(shop: Merchant) -> str:
    """The customer who is named most often."""
    found: collections.Counter[str] = collections.Counter()
    for stream in ("disputes", "charges", "invoices", "subscriptions", "checkout_sessions"):
        for line in shop.truth(stream):
            if isinstance(customer := line["object"].get("customer"), str):
                found[customer] += 1
    disputed = {line["object"]["charge"] for line in shop.truth("disputes")}
    for line in shop.truth("charges"):
        if line["object"]["id"] in disputed and isinstance(line["object"]["customer"], str):
            found[line["object"]["customer"]] += 1_000
    return found.most_common(1)[0][0]


def person(shop: Merchant) -> tuple[str, Collection[str]]:
    """A customer with a past, who has just moved; and the texts that nobody but them has."""
    who = busiest(shop)
    before = shop.get(f"/v1/customers/{who}")
    shop.make(f"/v1/customers/{who}", **PERSON)
    shop.later()
    return who, (*SAID, before["email"], before["phone"])


def buys(shop: Merchant, who: str) -> str:
    """The customer buys something on an invoice; its id."""
    currency = shop.get(f"/v1/customers/{who}")["currency"] or "usd"
    shop.make("/v1/invoiceitems", customer=who, amount=1200, currency=currency, description="for Zaphod")
    invoice: str = shop.make("/v1/invoices", customer=who, pending_invoice_items_behavior="include")["id"]
    shop.make(f"/v1/invoices/{invoice}/finalize")
    shop.later()
    return invoice


def forget(file: Path, *customers: str, **options: Any) -> erase.Erased:
    """What `tidegate forget` does."""
    warehouse = duckdb.DuckDB(file)
    try:
        return erase.erase(warehouse, customers, tables=TABLES, **options)
    finally:
        warehouse.close()


def said(file: Path, words: Collection[str]) -> dict[str, int]:
    """By table, in how many rows any of the words stands in any column, of all tables of the file."""
    names = query(
        file, "select schema_name || '.\"' || table_name || '\"' as name from duckdb_tables() order by 1"
    )
    texts = (
        f"select '{each['name']}' as name, t::json::varchar as row from {each['name']} t" for each in names
    )
    found: collections.Counter[str] = collections.Counter()
    for row in query(file, " union all ".join(texts)):
        if any(word in row["row"] or json.dumps(word)[1:-1] in row["row"] for word in words):
            found[row["name"]] += 1
    return dict(found)


def test_nothing_personal_is_left_and_no_later_pull_brings_it_back(shop: Merchant, file: Path) -> None:
    """Of all streams, with histories; a pull of what changed, of what they do later, and of everything."""
    follow(shop, file, choices=HISTORY)
    who, words = person(shop)
    buys(shop, who)
    follow(shop, file, choices=HISTORY)
    before = said(file, words)
    assert {'stripe."customers"', 'stripe."customers_history"', 'stripe."events"', 'stripe."charges"'} <= set(
        before
    )

    done = forget(file, who)
    assert set(done.accounts) == {who}
    assert said(file, words) == {}

    follow(shop, file, choices=HISTORY)
    assert said(file, words) == {}, "the events of the last minutes are read again"
    shop.make(f"/v1/customers/{who}", description="Zaphod is back")
    invoice = buys(shop, who)
    follow(shop, file, choices=HISTORY)
    assert one(file, "invoices", invoice)["total"] == shop.get(f"/v1/invoices/{invoice}")["total"] > 0
    assert said(file, words) == {}
    follow(shop, file, choices=HISTORY, full_refresh=True)
    assert said(file, words) == {}
    assert one(file, "customers", who)["_deleted_at"] is not None
    assert query(file, f"select * from stripe.customers_history where id = '{who}'") == []
    shop.delete(f"/v1/customers/{who}")
    shop.later()
    follow(shop, file, choices=HISTORY)
    assert said(file, words) == {}


def test_all_tables_are_gone_through_with_little_memory(shop: Merchant, file: Path) -> None:
    """A query over all of them at once takes more, the larger they are."""
    follow(shop, file)
    who, words = person(shop)
    warehouse = duckdb.DuckDB(file, memory_limit=32 << 20)
    erase.erase(warehouse, [who], tables=TABLES)
    warehouse.close()
    assert said(file, words) == {}


def test_everybody_else_stays_as_they_are(shop: Merchant, file: Path) -> None:
    who, _ = person(shop)
    follow(shop, file, *MONEY)
    before = live(file, *MONEY)
    forget(file, who)
    follow(shop, file, *MONEY, full_refresh=True)
    after = live(file, *MONEY)
    mine = {row["id"] for row in before["charges"] if row["customer"] == who}
    mine |= {row["id"] for name in ("disputes", "refunds") for row in before[name] if row["charge"] in mine}
    for name in MONEY:
        kept = {row["id"]: row for row in after[name]}
        others = [
            row
            for row in before[name]
            if row["id"] != who
            and row.get("customer") != who
            and not mine & {row["id"], row.get("charge"), row.get("source"), row.get("latest_charge")}
        ]
        assert others
        assert [kept[row["id"]] for row in others if kept[row["id"]] != row] == [], name


def audited(shop: Merchant, file: Path) -> findings.Audit:
    """The same streams compared with Stripe."""
    warehouse = duckdb.DuckDB(file)
    try:
        options = scope.Options(streams=MONEY)
        return asyncio.run(proof.audit(shop.source(), warehouse, options, report.Silent()))
    finally:
        warehouse.close()


def test_an_audit_does_not_miss_what_was_erased(shop: Merchant, file: Path) -> None:
    who, words = person(shop)
    follow(shop, file, *MONEY)
    forget(file, who)
    for _ in range(2):
        found = audited(shop, file)
        assert [each.stream for each in found.streams if each.differences] == []
        assert found.status == "ok"
        follow(shop, file, *MONEY)
    assert said(file, words) == {}


def test_hashed_columns_go_too(shop: Merchant, file: Path) -> None:
    """A hash of an e-mail address still says whose it is to whoever knows the address."""
    choices = {
        "customers": scope.Choice(hashed=frozenset({"email", "name"})),
        "charges": scope.Choice(hashed=frozenset({"customer", "receipt_email"})),
    }
    who, words = person(shop)
    follow(shop, file, "customers", "charges", "disputes", choices=choices)
    email = query(file, f"select email from stripe.customers where id = '{who}'")[0]["email"]
    theirs = query(file, f"select id from stripe.charges where customer = '{forgetting.digest(who)}'")
    assert theirs
    assert len(email) == 64
    forget(file, who)
    assert said(file, (*words, email)) == {}
    follow(shop, file, "customers", "charges", "disputes", choices=choices, full_refresh=True)
    assert said(file, (*words, email)) == {}


def test_where_deleted_rows_are_removed_no_tombstone_stays(shop: Merchant, file: Path) -> None:
    choices = {"customers": scope.Choice(hard=True, table="people")}
    who, words = person(shop)
    follow(shop, file, "customers", "charges", choices=choices)
    warehouse = duckdb.DuckDB(file)
    erase.erase(warehouse, [who], tables={**TABLES, "customers": ["people"]}, hard=["people"])
    warehouse.close()
    assert rows(file, "people", f"id = '{who}'") == []
    shop.make(f"/v1/customers/{who}", description="Zaphod is back")
    shop.later()
    for full_refresh in (False, True):
        follow(shop, file, "customers", "charges", choices=choices, full_refresh=full_refresh)
        assert rows(file, "people", f"id = '{who}'") == []
        assert said(file, words) == {}


def test_a_customer_who_is_filtered_out_and_forgotten_stays_out(shop: Merchant, file: Path) -> None:
    """Their rows elsewhere are cleaned although their own was never stored."""
    where = conditions.Condition.model_validate({"field": "email", "op": "is", "value": "nobody@example.com"})
    choices = {"customers": scope.Choice(where=where)}
    who, words = person(shop)
    buys(shop, who)
    follow(shop, file, "customers", "invoices", "charges", choices=choices)
    assert said(file, words)
    forget(file, who)
    assert said(file, words) == {}
    follow(shop, file, "customers", "invoices", "charges", choices=choices, full_refresh=True)
    assert said(file, words) == {}


class Killed(BaseException):
    """The process dies."""


def test_a_pull_that_is_killed_before_it_cleans_what_it_learnt_too_late(
    shop: Merchant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disputes and balance transactions come before the charges that say whose they are."""
    who, words = person(shop)
    calm, file = tmp_path / "calm.duckdb", tmp_path / "w.duckdb"
    for each in (calm, file):
        follow(shop, each, "customers")
        forget(each, who)
    follow(shop, calm, *MONEY)

    def die(*_: object, **__: object) -> None:
        raise Killed

    shop.faults({"kind": "slow", "path": "/v1/charges", "seconds": 2, "times": 1})
    with monkeypatch.context() as broken:
        broken.setattr(load, "ROWS", 1)
        broken.setattr(erase, "again", die)
        with pytest.raises(Killed):
            pull(shop, file, *MONEY)
    shop.faults()
    late = [name for name in MONEY if live(file, name) != live(calm, name)]
    assert "disputes" in late, "it came too early to be cleaned on its way"
    follow(shop, file, *MONEY)
    for name in MONEY:
        assert live(file, name)[name] == live(calm, name)[name], name
    assert said(file, words) == {}
    assert query(file, "select key from stripe._tidegate_state where starts_with(key, 'unclean/')") == []


class At(report.Silent):
    """Does something when rows of a stream come."""

    def __init__(self, stream: str, act: Any) -> None:
        self.stream, self.act = stream, act

    def advanced(self, stream: str, **_: int | None) -> None:
        if stream == self.stream and self.act is not None:
            act, self.act = self.act, None
            act()


def test_a_pull_that_is_bringing_them_at_that_moment_is_shut_out(shop: Merchant, file: Path) -> None:
    """Nowhere so far: but a pull that began before has them in its hands."""
    who, words = person(shop)
    follow(shop, file, "charges")
    shop.make(f"/v1/customers/{who}", description="Zaphod again")
    shop.later()
    result = pull(
        shop, file, "customers", "coupons", screen=At("coupons", lambda: forget(file, "cus_nobody", who))
    )
    assert isinstance(result.end, errors.Fenced)
    assert "was taken over by forget at" in str(result.end)
    follow(shop, file, "customers", "coupons", "charges")
    assert said(file, words) == {}
