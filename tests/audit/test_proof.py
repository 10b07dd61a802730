"""An audit finds every difference between Stripe and a warehouse, names it, repairs it, and invents none."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb as engine
import persons
import pydantic
import pytest
import scripted
from double import serving
from following import Merchant, follow, gone, ids, one, rows
from pulling import KEY, Stripe, pull, query

from tidegate import config, errors, sandbox
from tidegate.audit import findings, news, proof, scratch, sides
from tidegate.privacy import erase, forget
from tidegate.pull import events, report, scope
from tidegate.rows import columns
from tidegate.stripe import attempts
from tidegate.warehouse import base, duckdb

MONEY = ("charges", "refunds", "balance_transactions")
PEOPLE = ("customers", "invoices", "invoice_line_items")
STREAMS = (*MONEY, *PEOPLE)


@pytest.fixture
def stripe() -> Iterator[Merchant]:
    """A business of two months, whose merchant is at work."""
    counts = {"charges": 60, "customers": 20, "invoices": 12, "refunds": 6, "balance_transactions": 64}
    with sandbox.process(counts=counts) as url:
        yield Merchant(url)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "WAIT", 0.0)
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.02)


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Temporary files of a test are its own, and none is left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))


def audited(
    stripe: Stripe,
    file: Path,
    *streams: str,
    key: str = KEY,
    since: int | None = None,
    repair: bool = False,
    screen: report.Screen | None = None,
    **options: Any,
) -> findings.Audit:
    """Audit streams of a DuckDB file; nothing is left of the reading."""
    source = stripe.source(key, **options.pop("source", {}))
    warehouse = duckdb.DuckDB(file)
    chosen = scope.Options(streams=streams or STREAMS, **options)
    try:
        return asyncio.run(
            proof.audit(source, warehouse, chosen, screen or report.Silent(), since=since, repair=repair)
        )
    finally:
        warehouse.close()
        assert list(Path(tempfile.gettempdir()).iterdir()) == []


def of(found: findings.Audit, stream: str) -> findings.Stream:
    """What was found of one stream."""
    (mine,) = [each for each in found.streams if each.stream == stream]
    return mine


def counts(found: findings.Audit) -> dict[str, tuple[int, int, int]]:
    """Missing, extra and stale rows of the streams that have any."""
    return {
        each.stream: (each.total("missing"), each.total("extra"), each.total("stale"))
        for each in found.streams
        if each.differences
    }


def equal(stripe: Stripe, file: Path, *streams: str, **options: Any) -> findings.Audit:
    """An audit that finds everything equal."""
    found = audited(stripe, file, *streams, **options)
    assert counts(found) == {}
    assert (found.status, found.exit_code) == ("ok", 0), [each.error for each in found.streams]
    return found


def tamper(file: Path, sql: str) -> None:
    """Change a warehouse behind Tidegate's back."""
    connection = engine.connect(str(file))
    try:
        connection.execute(sql)
    finally:
        connection.close()


@pytest.fixture
def file(stripe: Merchant, tmp_path: Path) -> Path:
    """The business, pulled a moment ago."""
    made = tmp_path / "w.duckdb"
    follow(stripe, made, *STREAMS)
    stripe.later()
    return made


def _pay(stripe: Merchant, amount: int) -> dict[str, Any]:
    """A payment that succeeds."""
    more = {"confirm": True, "payment_method": "pm_card_visa"}
    made: dict[str, Any] = stripe.make("/v1/payment_intents", amount=amount, currency="usd", **more)
    return made


def month(created: dt.datetime) -> str:
    return f"{created:%Y-%m}"


# Equal


def test_everything_is_equal_after_a_pull(business: Stripe, pulled: tuple[Path, report.Result]) -> None:
    file, _ = pulled
    found = equal(business, file, "*")
    truth = business.truth("charges")
    charges = of(found, "charges")
    assert charges.total("stripe") == charges.total("warehouse") == len(truth)
    by_month: dict[str, int] = {}
    for each in truth:
        created = dt.datetime.fromtimestamp(each["object"]["created"], dt.UTC)
        by_month[month(created)] = by_month.get(month(created), 0) + each["object"]["amount"]
    told = {
        name: sum(columns["amount"][0] for columns in each.sums.values())
        for name, each in charges.months.items()
    }
    assert told == by_month
    assert len(told) > 2
    (balance,) = found.balances
    assert balance.status == "ok"
    assert len(balance.currencies) > 1


def test_a_stream_without_creation_times_has_one_line(stripe: Merchant, file: Path) -> None:
    lines = of(equal(stripe, file), "invoice_line_items")
    assert list(lines.months) == [""]
    assert lines.as_json()["months"][0]["month"] is None  # type: ignore[index]


def test_it_changes_nothing_and_reads_each_list_once(stripe: Merchant, file: Path) -> None:
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    tamper(file, "update stripe.charges set amount = amount + 1")
    changed = hashlib.sha256(file.read_bytes()).hexdigest()
    assert changed != before
    stripe.counted()
    audited(stripe, file)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == changed
    asked = stripe.counted()
    assert asked["GET /v1/charges"] == 1
    assert asked["GET /v1/balance"] == 2


# Differences


def test_a_missing_row_is_found_in_its_month_and_loaded(stripe: Merchant, file: Path) -> None:
    charge = rows(file, "charges")[7]
    tamper(file, f"delete from stripe.charges where id = '{charge['id']}'")
    found = audited(stripe, file)
    assert (found.status, found.exit_code) == ("different", 3)
    assert counts(found) == {"charges": (1, 0, 0)}
    line = of(found, "charges").months[month(charge["created"])]
    assert (line.missing, line.stripe - line.warehouse) == (1, 1)
    there, here = line.sums[charge["currency"]]["amount"]
    assert there - here == charge["amount"]
    assert of(found, "charges").examples == {"missing": [charge["id"]]}
    mended = audited(stripe, file, repair=True)
    assert (mended.status, mended.exit_code, mended.repaired) == ("repaired", 0, 1)
    again = one(file, "charges", charge["id"])
    left = {name: value for name, value in again.items() if name not in ("_version", "_synced_at")}
    assert left.items() <= charge.items()
    assert again["_version"] >= charge["_version"]
    equal(stripe, file)


def test_another_amount_is_found_with_its_column_and_put_right(stripe: Merchant, file: Path) -> None:
    charge = rows(file, "charges")[3]
    tamper(file, f"update stripe.charges set amount = 987654321 where id = '{charge['id']}'")
    found = audited(stripe, file)
    assert counts(found) == {"charges": (0, 0, 1)}
    line = of(found, "charges").months[month(charge["created"])]
    assert line.stale == 1
    assert line.stripe == line.warehouse
    there, here = line.sums[charge["currency"]]["amount"]
    assert here - there == 987654321 - charge["amount"]
    assert of(found, "charges").examples == {"stale": [f"{charge['id']}: amount"]}
    assert audited(stripe, file, repair=True).repaired == 1
    assert one(file, "charges", charge["id"])["amount"] == charge["amount"]
    equal(stripe, file)


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ("email = 'somebody@example.com'", "email"),
        ("email = null", "email"),
        ('metadata = \'{"a": "b"}\'', "metadata"),
        ("metadata = null", "metadata"),
        ("_extra = '{\"more\": true}'", "_extra"),
        ("livemode = not livemode", "livemode"),
        ("created = created + interval 40 day", "created"),
        ("_version = _version + 100000000", "_version"),
    ],
)
def test_every_column_counts(change: str, column: str, stripe: Merchant, file: Path) -> None:
    customer = ids(file, "customers")[0]
    tamper(file, f"update stripe.customers set {change} where id = '{customer}'")
    found = audited(stripe, file)
    assert of(found, "customers").examples == {"stale": [f"{customer}: {column}"]}
    assert counts(audited(stripe, file, repair=True)) == {"customers": (0, 0, 1)}
    equal(stripe, file)


def test_json_counts_by_its_value(stripe: Merchant, file: Path) -> None:
    customer = next(row for row in rows(file, "customers") if len(json.loads(row["invoice_settings"])) > 1)
    held = json.loads(customer["invoice_settings"])
    turned = json.dumps(dict(reversed(held.items())), indent=4)
    assert turned != customer["invoice_settings"]
    tamper(file, f"update stripe.customers set invoice_settings = '{turned}' where id = '{customer['id']}'")
    equal(stripe, file)


def test_a_row_that_stripe_never_had_is_extra_and_becomes_a_tombstone(stripe: Merchant, file: Path) -> None:
    tamper(
        file,
        "insert into stripe.charges by name "
        "select * replace ('ch_invented' as id) from stripe.charges order by id limit 1",
    )
    found = audited(stripe, file)
    assert counts(found) == {"charges": (0, 1, 0)}
    assert of(found, "charges").examples == {"extra": ["ch_invented"]}
    assert audited(stripe, file, repair=True).status == "repaired"
    assert gone(file, "charges") == ["ch_invented"]
    equal(stripe, file)


def test_what_was_deleted_in_silence_is_extra(stripe: Merchant, file: Path) -> None:
    customer = ids(file, "customers")[4]
    stripe.control("mutate", {"stream": "customers", "id": customer, "delete": True})
    found = audited(stripe, file, "customers")
    assert of(found, "customers").examples == {"extra": [customer]}
    audited(stripe, file, "customers", repair=True)
    assert gone(file, "customers") == [customer]
    equal(stripe, file, "customers")


def test_what_changed_in_silence_is_stale(stripe: Merchant, file: Path) -> None:
    charge = ids(file, "charges")[4]
    values = {"receipt_email": "new@example.com", "metadata": {"a": "1"}}
    stripe.control("mutate", {"stream": "charges", "id": charge, "values": values})
    found = audited(stripe, file)
    assert of(found, "charges").examples == {"stale": [f"{charge}: metadata, receipt_email"]}
    assert "new@example.com" not in json.dumps(found.as_json())
    assert "events do not tell everything" in of(found, "charges").note
    audited(stripe, file, repair=True)
    assert one(file, "charges", charge)["receipt_email"] == "new@example.com"
    equal(stripe, file)


def test_a_wrong_tombstone_is_a_missing_row(stripe: Merchant, file: Path) -> None:
    customer = ids(file, "customers")[2]
    tamper(file, f"update stripe.customers set _deleted_at = now() where id = '{customer}'")
    assert counts(audited(stripe, file)) == {"customers": (1, 0, 0)}
    audited(stripe, file, repair=True)
    assert gone(file, "customers") == []
    equal(stripe, file)


def test_a_row_that_is_stored_twice_is_stored_once_again(stripe: Merchant, file: Path) -> None:
    customer = ids(file, "customers")[2]
    tamper(
        file, f"insert into stripe.customers by name select * from stripe.customers where id = '{customer}'"
    )
    found = audited(stripe, file)
    assert of(found, "customers").examples == {"stale": [f"{customer}: stored twice"]}
    audited(stripe, file, repair=True)
    assert ids(file, "customers").count(customer) == 1
    equal(stripe, file)


def test_children_are_compared_with_their_parents(stripe: Merchant, file: Path) -> None:
    lines = rows(file, "invoice_line_items")
    first, second, third = lines[0], lines[1], lines[2]
    other = next(line for line in lines if line["_parent_id"] != third["_parent_id"])
    tamper(file, f"delete from stripe.invoice_line_items where id = '{first['id']}'")
    tamper(file, f"update stripe.invoice_line_items set amount = amount + 5 where id = '{second['id']}'")
    tamper(
        file,
        f"update stripe.invoice_line_items set _parent_id = '{other['_parent_id']}' where id = '{third['id']}'",
    )
    tamper(
        file,
        "insert into stripe.invoice_line_items by name "
        f"select * replace ('il_invented' as id) from stripe.invoice_line_items where id = '{second['id']}'",
    )
    found = audited(stripe, file)
    assert counts(found) == {"invoice_line_items": (1, 1, 2)}
    assert of(found, "invoice_line_items").examples == {
        "missing": [first["id"]],
        "extra": ["il_invented"],
        "stale": [f"{second['id']}: amount", f"{third['id']}: _parent_id"],
    }
    assert audited(stripe, file, repair=True).status == "repaired"
    assert gone(file, "invoice_line_items") == ["il_invented"]
    equal(stripe, file)


def test_a_whole_table_that_is_gone_comes_back(stripe: Merchant, file: Path) -> None:
    whole = ids(file, "charges")
    tamper(file, "drop view stripe_live.charges")
    tamper(file, "drop table stripe.charges")
    found = audited(stripe, file)
    assert counts(found) == {"charges": (len(whole), 0, 0)}
    assert len(of(found, "charges").examples["missing"]) == findings.EXAMPLES
    assert audited(stripe, file, repair=True).repaired == len(whole)
    assert ids(file, "charges") == whole
    equal(stripe, file)


def test_a_table_larger_than_memory_is_dealt_into_files(
    stripe: Merchant, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    charge, customer = ids(file, "charges")[1], ids(file, "customers")[1]
    tamper(file, f"update stripe.charges set amount = 1 where id = '{charge}'")
    tamper(file, f"delete from stripe.customers where id = '{customer}'")
    tamper(
        file,
        "insert into stripe.invoices by name "
        "select * replace ('in_invented' as id) from stripe.invoices limit 1",
    )
    expected = [each.as_json() for each in audited(stripe, file).streams]
    monkeypatch.setattr(sides, "RESIDENT", 5)
    found = audited(stripe, file)
    assert [each.as_json() for each in found.streams] == expected
    assert counts(audited(stripe, file, repair=True)) == {
        "charges": (0, 0, 1),
        "customers": (1, 0, 0),
        "invoices": (0, 1, 0),
    }
    equal(stripe, file)


# Only a matter of time


def test_what_the_next_pull_will_bring_is_no_difference(stripe: Merchant, file: Path) -> None:
    old, doomed = ids(file, "customers")[:2]
    stripe.make("/v1/customers", name="New")
    stripe.make(f"/v1/customers/{old}", name="Newer")
    stripe.delete(f"/v1/customers/{doomed}")
    paid = _pay(stripe, 700)
    stripe.make("/v1/refunds", payment_intent=paid["id"], amount=300)
    stripe.later()
    found = equal(stripe, file)
    assert of(found, "customers").in_flight == 3
    assert of(found, "balance_transactions").in_flight == 2
    (balance,) = found.balances
    assert balance.status == "ok"
    (dollars,) = [each for each in balance.currencies if each.currency == "usd"]
    assert dollars.in_flight != 0
    assert dollars.pending_equal
    follow(stripe, file, *STREAMS, lookback_given=True)
    later = equal(stripe, file)
    assert of(later, "customers").in_flight == 0


def test_an_audit_leaves_what_is_only_in_flight_to_the_next_pull(stripe: Merchant, file: Path) -> None:
    customer = ids(file, "customers")[0]
    stripe.make(f"/v1/customers/{customer}", name="Newer")
    stripe.later()
    before = one(file, "customers", customer)
    assert audited(stripe, file, repair=True).repaired == 0
    assert one(file, "customers", customer) == before


class Busy(report.Silent):
    """Does something once, when the reading of a stream has ended."""

    def __init__(self, stream: str, act: Callable[[], object]) -> None:
        self.stream, self.act = stream, act

    def finished(self, stream: str, status: str, error: str) -> None:
        del status, error
        if stream == self.stream:
            work = threading.Thread(target=self.act)
            work.start()
            work.join()


@pytest.mark.parametrize("is_pulled", [False, True], ids=["the pull waits", "a pull brings it meanwhile"])
def test_what_happens_while_it_runs_is_no_difference(is_pulled: bool, stripe: Merchant, file: Path) -> None:
    old, doomed = ids(file, "customers")[:2]

    def act() -> None:
        stripe.make("/v1/customers", name="New")
        stripe.make(f"/v1/customers/{old}", name="Newer")
        stripe.delete(f"/v1/customers/{doomed}")
        stripe.later()
        if is_pulled:
            follow(stripe, file, *STREAMS)

    found = equal(stripe, file, screen=Busy("customers", act))
    assert of(found, "customers").in_flight == (3 if is_pulled else 0)


def test_the_business_goes_on_while_it_is_audited(
    stripe: Merchant, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever events tell of: before and while it runs, with a pull in between, up to the last second."""
    monkeypatch.setattr(news, "WAIT", events.LAG + 1.0)
    plan = {"steps": 60, "kinds": ["customers", "invoices", "refunds", "charges"], "only_evented": True}
    stripe.control("traffic", {**plan, "seed": 4, "tick": 3})
    stripe.later(20)

    def act() -> None:
        stripe.control("traffic", {**plan, "seed": 5})
        follow(stripe, file, *PEOPLE)
        stripe.control("traffic", {**plan, "seed": 6})

    found = equal(stripe, file, *PEOPLE, screen=Busy("customers", act))
    assert of(found, "customers").in_flight > 0
    assert of(found, "invoices").in_flight > 0


def test_a_movement_that_settles_is_awaited(stripe: Merchant, file: Path) -> None:
    _pay(stripe, 800)
    stripe.later()
    follow(stripe, file, *MONEY, lookback_given=True)
    pending = rows(file, "balance_transactions", "status = 'pending'")
    assert pending
    stripe.later(10 * 86_400)
    found = equal(stripe, file, *MONEY)
    assert of(found, "balance_transactions").in_flight == len(pending)
    tamper(file, f"update stripe.balance_transactions set amount = 7 where id = '{pending[0]['id']}'")
    assert counts(audited(stripe, file, *MONEY)) == {"balance_transactions": (0, 0, 1)}


# What a list cannot show


def test_only_what_was_created_since_a_date(stripe: Merchant, file: Path) -> None:
    charges = sorted(rows(file, "charges"), key=lambda row: row["created"])
    old, young = charges[2], charges[-2]
    tamper(file, f"update stripe.charges set amount = 1 where id in ('{old['id']}', '{young['id']}')")
    tamper(file, f"delete from stripe.charges where id = '{charges[1]['id']}'")
    since = int(charges[30]["created"].timestamp())
    found = audited(stripe, file, since=since)
    assert counts(found) == {"charges": (0, 0, 1)}
    assert of(found, "charges").examples == {"stale": [f"{young['id']}: amount"]}
    kept = [row for row in charges if row["created"].timestamp() >= since]
    assert of(found, "charges").total("stripe") == of(found, "charges").total("warehouse") == len(kept)


def test_children_go_by_their_parents_dates(stripe: Merchant, file: Path) -> None:
    invoices = sorted(rows(file, "invoices"), key=lambda row: row["created"])
    since = int(invoices[6]["created"].timestamp())
    for id, parent in (("il_old", invoices[0]["id"]), ("il_young", invoices[-1]["id"])):
        tamper(
            file,
            "insert into stripe.invoice_line_items by name "
            f"select * replace ('{id}' as id, '{parent}' as _parent_id) from stripe.invoice_line_items limit 1",
        )
    found = audited(stripe, file, *PEOPLE, since=since)
    assert of(found, "invoice_line_items").examples == {"extra": ["il_young"]}


def test_older_objects_that_events_brought_are_no_extras(stripe: Merchant, tmp_path: Path) -> None:
    file = tmp_path / "young.duckdb"
    charges = sorted(stripe.truth("charges"), key=lambda line: line["object"]["created"])
    start, old = charges[40]["object"]["created"], charges[3]["object"]["id"]
    follow(stripe, file, "charges", start=start)
    stripe.later()
    stripe.make(f"/v1/charges/{old}", description="touched")
    stripe.later()
    follow(stripe, file, "charges", start=start)
    stripe.later()
    assert old in ids(file, "charges")
    found = equal(stripe, file, "charges", start=start)
    assert of(found, "charges").total("warehouse") == 20


def test_events_that_stripe_has_forgotten_are_no_extras(stripe: Merchant, tmp_path: Path) -> None:
    file = tmp_path / "events.duckdb"
    stripe.make("/v1/customers", name="New")
    stripe.later()
    follow(stripe, file, "events", "customers")
    kept = len(ids(file, "events"))
    stripe.later(31 * 86_400)
    assert stripe.get("/v1/events")["data"] == []
    found = equal(stripe, file, "events", "customers")
    assert kept > 0
    assert of(found, "events").total("warehouse") == 0


CREATED = 1_700_000_000


def test_a_row_that_no_list_shows_and_that_is_there_is_compared_all_the_same(tmp_path: Path) -> None:
    """A Stripe whose list leaves one object out, though it can be had by its id."""
    coupons = [{**each, "object": "coupon", "valid": True} for each in scripted.rows("c", 3)]
    hidden = coupons[1]
    script = scripted.Script(
        routes={
            "/v1/coupons": lambda query: scripted.listed(coupons, query),
            f"/v1/coupons/{hidden['id']}": lambda _: hidden,
        }
    )
    file = tmp_path / "w.duckdb"
    with serving(script) as url:
        double = Stripe(url)
        assert pull(double, file, "coupons").status == "ok"
        coupons = [each for each in coupons if each is not hidden]
        equal(double, file, "coupons")
        hidden["valid"] = False
        found = audited(double, file, "coupons")
    assert of(found, "coupons").examples == {"stale": [f"{hidden['id']}: valid"]}
    assert of(found, "coupons").total("stripe") == 3


# What cannot be read


def test_a_stream_that_the_key_may_not_read_is_said_and_the_others_are_compared(
    stripe: Merchant, file: Path
) -> None:
    key = "rk_test_audit_narrow"
    stripe.control("keys", {"key": key, "scopes": ["rak_customer_read", "rak_charge_read", "rak_event_read"]})
    tamper(file, "update stripe.invoices set amount_due = 1")
    account = stripe.control("health")["account"]
    found = audited(stripe, file, key=key, source={"account_id": account})
    states = {each.stream: each.status for each in found.streams}
    assert states["charges"] == states["customers"] == "ok"
    assert states["invoices"] == "no_permission"
    assert "rak_invoice_read" in of(found, "invoices").error
    assert (found.status, found.exit_code) == ("partial", 1)
    (balance,) = found.balances
    assert balance.status == "no_permission"
    tamper(file, "update stripe.charges set amount = 1")
    other = audited(stripe, file, key=key, source={"account_id": account})
    assert (other.status, other.exit_code) == ("different", 3)


def test_a_balance_that_cannot_be_read_is_said(stripe: Merchant, file: Path) -> None:
    stripe.faults({"kind": "error", "path": "/v1/balance"})
    found = audited(stripe, file, *MONEY)
    (balance,) = found.balances
    assert balance.status == "not_compared"
    assert "/v1/balance" in balance.error
    assert found.status == "ok"


def test_a_list_that_breaks_off_makes_no_extras(stripe: Merchant, file: Path) -> None:
    broken = {"kind": "error", "path": "/v1/customers"}
    stripe.faults(broken)
    found = audited(stripe, file)
    assert of(found, "customers").status == "failed"
    assert counts(found) == {}
    assert found.exit_code == 1


def test_a_wrong_key_is_told_before_anything_is_read(stripe: Merchant, file: Path) -> None:
    with pytest.raises(errors.Unauthorized):
        audited(stripe, file, key="sk_live_wrong")


def test_a_warehouse_that_is_not_there_is_not_made(stripe: Merchant, tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="pull into it first"):
        audited(stripe, tmp_path / "none.duckdb")
    assert not (tmp_path / "none.duckdb").exists()


# Choices of the user

DOLLARS = pydantic.TypeAdapter(config.Filter).validate_python(
    {"field": "currency", "op": "is one of", "value": ["usd"]}
)
CHOICES = {
    "charges": scope.Choice(where=DOLLARS, history=True, table="payments"),
    "customers": scope.Choice(hashed=frozenset({"email"}), hard=True, history=True),
    "invoices": scope.Choice(columns=frozenset({"total", "currency", "created"})),
}


@pytest.fixture
def chosen(stripe: Merchant, tmp_path: Path) -> Path:
    made = tmp_path / "chosen.duckdb"
    follow(stripe, made, *STREAMS, choices=CHOICES)
    stripe.later()
    return made


def test_choices_of_columns_and_rows_are_compared_as_they_are_kept(stripe: Merchant, chosen: Path) -> None:
    found = equal(stripe, chosen, choices=CHOICES)
    dollars = [line for line in stripe.truth("charges") if line["object"]["currency"] == "usd"]
    assert of(found, "charges").total("stripe") == len(dollars) < len(stripe.truth("charges"))
    assert len(of(found, "invoices").months) > 1
    sums = [each.sums for each in of(found, "invoices").months.values()]
    assert {name for each in sums for columns in each.values() for name in columns} == {"total"}
    customer = ids(chosen, "customers")[0]
    tamper(chosen, f"update stripe.customers set email = 'plain@example.com' where id = '{customer}'")
    assert of(audited(stripe, chosen, choices=CHOICES), "customers").examples == {
        "stale": [f"{customer}: email"]
    }


def test_repairs_keep_the_choices_and_the_history(stripe: Merchant, chosen: Path) -> None:
    lost, doomed = ids(chosen, "customers")[:2]
    charge = rows(chosen, "payments")[0]
    other = next(
        line["object"]["id"] for line in stripe.truth("charges") if line["object"]["currency"] != "usd"
    )
    tamper(chosen, f"delete from stripe.customers where id = '{lost}'")
    stripe.control("mutate", {"stream": "customers", "id": doomed, "delete": True})
    stripe.control(
        "mutate", {"stream": "charges", "id": charge["id"], "values": {"metadata": {"corrected": "yes"}}}
    )
    tamper(
        chosen,
        "insert into stripe.payments by name "
        f"select * replace ('{other}' as id) from stripe.payments limit 1",
    )
    found = audited(stripe, chosen, choices=CHOICES, repair=True)
    assert counts(found) == {"charges": (0, 1, 1), "customers": (1, 1, 0)}
    assert found.status == "repaired"
    hashed = one(chosen, "customers", lost)["email"]
    assert hashed is None or len(hashed) == 64
    assert doomed not in {row["id"] for row in rows(chosen, "customers")}
    assert other not in {row["id"] for row in rows(chosen, "payments")}
    past = query(
        chosen,
        f"select metadata, _valid_to from stripe.payments_history where id = '{charge['id']}' order by _valid_from",
    )
    assert [json.loads(row["metadata"]).get("corrected") for row in past] == [None, "yes"]
    assert [row["_valid_to"] is None for row in past] == [False, True]
    ended = query(chosen, f"select _valid_to from stripe.customers_history where id = '{doomed}'")
    assert all(row["_valid_to"] is not None for row in ended)
    buried = query(
        chosen,
        "select _deleted_at from stripe._tidegate_tombstones where table_name = 'payments' "
        f"and key like '%{other}%'",
    )
    assert [row["_deleted_at"] for row in buried] == [None]
    equal(stripe, chosen, choices=CHOICES)


def test_a_history_that_is_equal_gets_no_new_versions(stripe: Merchant, chosen: Path) -> None:
    before = query(chosen, "select count(*) as n from stripe.payments_history")
    tamper(chosen, "update stripe.payments set description = 'spoilt'")
    audited(stripe, chosen, choices=CHOICES, repair=True)
    assert query(chosen, "select count(*) as n from stripe.payments_history") == before


def test_only_some_streams_of_a_pull() -> None:
    options = scope.Options(streams=["charges", "customers", "issuing_cards"])
    assert proof.only(options, ["c*"]).streams == ["charges", "customers"]
    with pytest.raises(errors.ConfigError, match="does not have the stream invoices"):
        proof.only(options, ["invoices"])
    with pytest.raises(errors.ConfigError, match="did you mean"):
        proof.only(options, ["chargs"])


def test_forgotten_customers_stay_forgotten(stripe: Merchant, file: Path) -> None:
    customer = rows(file, "charges", "customer is not null")[0]["customer"]
    _forget(stripe, file, customer)
    equal(stripe, file, repair=True)
    assert one(file, "customers", customer)["email"] is None


def test_a_strangers_row_is_never_taken_for_a_forgotten_customers(tmp_path: Path) -> None:
    """A fee, which only the audit reads, names a charge of hers and one of somebody else's."""
    file = tmp_path / "w.duckdb"
    counts = {"charges": 30, "customers": 10, "balance_transactions": 30, "application_fees": 1}
    with sandbox.process(counts=counts) as url:
        stripe = Merchant(url)
        (fee,) = stripe.truth("application_fees")
        charges = [line["object"] for line in stripe.truth("charges")]
        named = [each for each in charges if each["customer"] and each["balance_transaction"]]
        hers = named[0]
        his = next(each for each in named if each["customer"] != hers["customer"])
        values = {"charge": hers["id"], "originating_transaction": his["id"]}
        stripe.control("mutate", {"stream": "application_fees", "id": fee["object"]["id"], "values": values})
        follow(stripe, file, *MONEY, "customers")
        _forget(stripe, file, hers["customer"])
        stripe.later()
        before = one(file, "balance_transactions", his["balance_transaction"])
        found = audited(stripe, file, *MONEY, "customers", "application_fees", repair=True)
        assert of(found, "balance_transactions").total("stale") == 0
        assert one(file, "balance_transactions", his["balance_transaction"]) == before
        equal(stripe, file, *MONEY, "customers")


def test_a_reading_is_clean_of_what_came_before_it_was_known_whose_it_is() -> None:
    """The line of a new invoice may come before the invoice, and a repair would load it."""
    scrubber = forget.scrubber({"forgotten/acct_1/cus_ada": "1"}, "acct_1")
    world = persons.world("ada")
    loads = {name: persons.load(name, world[name]) for name in ("invoice_line_items", "invoices")}
    tables = {name: persons.STREAMS[name] for name in loads}
    with scratch.opened(tables, [each.table for each in loads.values()], scrubber) as file:
        for each in loads.values():
            file.load([each], {})
        (before,) = persons.table(file, "invoice_line_items")
        file.scrub()
        (after,) = persons.table(file, "invoice_line_items")
    assert ("description" in before, "description" in after) == (True, False)
    assert after["amount"] == before["amount"]


def _forget(stripe: Merchant, file: Path, customer: str) -> None:
    warehouse = duckdb.DuckDB(file)
    now = dt.datetime.fromtimestamp(stripe.control("clock", {})["now"], dt.UTC)
    erase.erase(warehouse, [customer], tables={name: [name] for name in STREAMS}, now=now)
    warehouse.close()


# The balance


def test_a_movement_that_lacks_shows_in_the_balance(stripe: Merchant, file: Path) -> None:
    moved = rows(file, "balance_transactions", "currency = 'usd' and net <> 0")[0]
    tamper(file, f"delete from stripe.balance_transactions where id = '{moved['id']}'")
    (balance,) = audited(stripe, file, *MONEY).balances
    assert balance.status == "different"
    (dollars,) = [each for each in balance.currencies if each.currency == "usd"]
    assert dollars.balance - dollars.warehouse == moved["net"]
    (mended,) = audited(stripe, file, *MONEY, repair=True).balances
    assert mended.status == "ok"


def test_the_balance_says_nothing_of_a_part(stripe: Merchant, tmp_path: Path) -> None:
    file = tmp_path / "part.duckdb"
    start = stripe.truth("balance_transactions")[10]["object"]["created"]
    follow(stripe, file, *MONEY, start=start)
    stripe.later()
    (balance,) = equal(stripe, file, *MONEY, start=start).balances
    assert balance.status == "not_compared"
    assert "start_date" in balance.error


def test_a_movement_while_the_balance_is_asked_for_is_awaited(stripe: Merchant, file: Path) -> None:
    def act() -> None:
        _pay(stripe, 900)

    found = equal(stripe, file, *MONEY, screen=Busy("balance_transactions", act))
    (balance,) = found.balances
    assert balance.status == "ok"


# Several accounts


def test_each_account_is_compared_by_itself(tmp_path: Path) -> None:
    with sandbox.process(objects=1_500, accounts=3) as url:
        platform = Merchant(url)
        file = tmp_path / "w.duckdb"
        every = {"accounts": "all"}
        follow(platform, file, "charges", "customers", source=every)
        platform.later()
        found = equal(platform, file, "charges", "customers", source=every)
        names = sorted({each.account for each in found.streams})
        assert len(names) == 4
        tamper(file, f"update stripe.charges set amount = amount + 1 where _account_id = '{names[2]}'")
        spoilt = audited(platform, file, "charges", "customers", source=every)
        assert {each.account for each in spoilt.streams if each.differences} == {names[2]}
        mended = audited(platform, file, "charges", "customers", source=every, repair=True)
        assert mended.status == "repaired"
        equal(platform, file, "charges", "customers", source=every)


# Interruptions and other writers


def test_an_audit_that_is_cancelled_leaves_nothing(stripe: Merchant, file: Path) -> None:
    stripe.control("latency", {"ms": 300})
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    warehouse = duckdb.DuckDB(file)
    seen: list[Path] = []

    def opened() -> list[Path]:
        return list(Path(tempfile.gettempdir()).glob("tidegate-audit-*/reading.duckdb"))

    async def go() -> None:
        options = scope.Options(streams=STREAMS)
        task = asyncio.create_task(
            proof.audit(stripe.source(), warehouse, options, report.Silent(), repair=True)
        )
        while not seen:
            seen.extend(opened())
            await asyncio.sleep(0.01)
        assert seen[0].parent.stat().st_mode & 0o077 == 0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
    warehouse.close()
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before


def test_the_reading_is_for_its_owner_alone() -> None:
    with scratch.opened({}, [], None) as made:
        assert os.stat(made.path).st_mode & 0o777 == 0o600
        assert os.stat(made.folder).st_mode & 0o777 == 0o700


def test_a_writer_from_before_a_repair_is_shut_out(stripe: Merchant, file: Path) -> None:
    warehouse = duckdb.DuckDB(file)
    fence = warehouse.claim("an older pull", ["charges"])
    warehouse.close()
    audited(stripe, file)
    warehouse.load([], {}, fence)
    warehouse.close()
    audited(stripe, file, repair=True)
    with pytest.raises(errors.Fenced):
        warehouse.load([], {}, fence)
    warehouse.close()


# Two sides


def reading(folder: Path, name: str, keys: dict[str, str]) -> sides.Side:
    """A side with these keys and fingerprints."""
    made = sides.Side(MEASURE.schema, folder, name)
    for some in range(0, len(keys), 7):
        part = list(keys.items())[some : some + 7]
        made.add(
            sides.pa.table(
                {
                    sides.KEY: [key.encode() for key, _ in part],
                    sides.VERSION: [1] * len(part),
                    sides.PRINT: [shown for _, shown in part],
                    sides.CREATED: [CREATED] * len(part),
                },
                schema=MEASURE.schema,
            )
        )
    return made


MEASURE = sides.Measure(("id",), ("id",), "created", {})


@pytest.mark.parametrize("resident", [10_000, 50, 1])
def test_both_sides_meet_whatever_their_order(
    resident: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sides, "RESIDENT", resident)
    there = {f"ch_{n}": f"print {n}" for n in range(300)}
    here = {f"ch_{n}": f"print {n}" for n in reversed(range(5, 310))} | {"ch_7": "other"}
    missing: set[bytes] = set()
    extra: set[bytes] = set()
    doubtful: set[bytes] = set()
    met = sides.meet(reading(tmp_path / "x", "there", there), reading(tmp_path / "x", "here", here))
    for part in met:
        assert part.there[sides.KEY] == part.here[sides.KEY]
        missing.update(part.missing[sides.KEY].to_pylist())
        extra.update(part.extra[sides.KEY].to_pylist())
        doubtful.update(part.there.take(part.doubtful(10))[sides.KEY].to_pylist())
    assert missing == {f"ch_{n}".encode() for n in range(5)}
    assert extra == {f"ch_{n}".encode() for n in range(300, 310)}
    assert doubtful == {b"ch_7"}
    assert not list(tmp_path.glob("x/*"))


def test_sums_are_exact_beyond_64_bits() -> None:
    wanted = sides.Measure(("id",), ("id",), "created", {"amount": "currency"})
    largest = 2**63 - 1
    made = sides.pa.table(
        {
            sides.KEY: [b"a", b"b", b"c"],
            sides.VERSION: [1, 1, 1],
            sides.PRINT: ["x", "y", "z"],
            sides.CREATED: [CREATED, CREATED, None],
            "amount": [largest, largest, 5],
            "currency": ["jpy", "jpy", "usd"],
        },
        schema=wanted.schema,
    )
    found = {each.month: each.sums for each in sides.totals(made, wanted)}
    assert found == {"2023-11": {"jpy": {"amount": 2 * largest}}, "": {"usd": {"amount": 5}}}


def test_json_columns_of_another_warehouse_are_text_all_the_same() -> None:
    table = sides.pa.table({"id": sides.pa.array(["a"], sides.pa.large_string()), "metadata": ['{"a": 1}']})
    plain = sides.pa.table({"id": ["a"], "metadata": ['{"a": 1}']})
    wanted = sides.Measure(("id",), ("id", "metadata"), "", {})
    assert sides.reduced(table, wanted) == sides.reduced(plain, wanted)
    assert columns.JSON == base.JSON


def test_what_is_kept_of_a_row_does_not_keep_the_rest_of_it_in_memory() -> None:
    wide = sides.pa.record_batch({"id": ["a", "b"], "currency": ["usd", "eur"], "metadata": ["x" * 1000] * 2})
    wanted = sides.Measure(("id",), ("id", "metadata"), "", {"amount": "currency"})
    kept = sides.reduced(wide, wanted)
    addresses = {buffer.address for column in wide.columns for buffer in column.buffers() if buffer}
    for column in kept.columns:
        for chunk in column.chunks:
            assert addresses.isdisjoint(buffer.address for buffer in chunk.buffers() if buffer)
