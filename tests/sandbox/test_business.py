"""The generated business agrees with itself: amounts, references, times and sums, whichever way one looks."""

from __future__ import annotations

import functools
import itertools
import json
from collections import Counter, defaultdict
from decimal import Decimal

import pytest

from tidegate import catalog
from tidegate.sandbox import world

NOW = 1_795_000_000
STREAMS = catalog.load().streams
WORLD = world.build(seed=5, objects=30_000, accounts=4, now=NOW)


@functools.cache
def table(stream: str) -> dict[str, dict]:
    """Every object of a stream by its id, lists expanded."""
    described = STREAMS[stream]
    expand = frozenset([nested.path for nested in described.nested] + [*described.expand])
    if not described.parent:
        found = [WORLD.render(stream, ordinal, None, expand) for ordinal in range(WORLD.count(stream))]
    else:
        found = [
            WORLD.render(stream, ordinal, parent, expand)
            for parent in range(WORLD.count(described.parent))
            for ordinal in range(WORLD.count(stream, parent))
        ]
    return {one["id"]: one for one in map(json.loads, found)}


def children(stream: str, field: str) -> dict[str, list[dict]]:
    found = defaultdict(list)
    for one in table(stream).values():
        found[one[field]].append(one)
    return found


def test_every_balance_transaction_adds_up_and_is_that_of_its_source():
    for stream, sign in (("charges", 1), ("refunds", -1), ("transfers", -1), ("payouts", -1)):
        settled = 0
        for source in table(stream).values():
            if source["balance_transaction"] is None:
                assert source["status"] == "failed"
                continue
            settled += 1
            entry = table("balance_transactions")[source["balance_transaction"]]
            assert entry["source"] == source["id"]
            assert entry["amount"] == sign * source["amount"]
            assert entry["currency"] == source["currency"]
            assert entry["created"] == source["created"]
        assert settled > 10
    for entry in table("balance_transactions").values():
        assert entry["amount"] - entry["fee"] == entry["net"]
        assert sum(detail["amount"] for detail in entry["fee_details"]) == entry["fee"]
        assert entry["available_on"] > entry["created"]
        assert (entry["status"] == "available") == (entry["available_on"] <= NOW)
    assert len({entry["source"] for entry in table("balance_transactions").values()}) == len(
        table("balance_transactions")
    )


def test_a_payout_pays_out_what_the_ledger_took_in_since_the_one_before():
    entries = sorted(
        (WORLD.find("balance_transactions", id) or (0, None))[0] for id in table("balance_transactions")
    )
    taken, paid = 0, 0
    for ordinal in entries:
        entry = json.loads(WORLD.render("balance_transactions", ordinal))
        if entry["type"] == "payout":
            assert -entry["amount"] == taken
            taken, paid = 0, paid + 1
        elif entry["currency"] == "usd":
            taken += entry["net"]
    assert paid == WORLD.count("payouts") > 10


def test_charges_point_at_customers_intents_and_methods_that_exist():
    guests = 0
    for charge in table("charges").values():
        intent = table("payment_intents")[charge["payment_intent"]]
        assert (intent["amount"], intent["currency"], intent["customer"]) == (
            charge["amount"],
            charge["currency"],
            charge["customer"],
        )
        assert (intent["latest_charge"] == charge["id"]) is (charge["status"] == "succeeded")
        if charge["customer"] is None:
            guests += 1
            continue
        customer = table("customers")[charge["customer"]]
        assert customer["currency"] == charge["currency"]
        assert customer["created"] <= charge["created"]
        assert table("payment_methods")[charge["payment_method"]]["customer"] == customer["id"]
        assert charge["billing_details"]["name"] == customer["name"]
    assert 0 < guests < len(table("charges")) / 10


def test_failed_charges_say_so():
    failed = [charge for charge in table("charges").values() if charge["status"] == "failed"]
    assert len(failed) == len(table("charges")) // 16
    for charge in failed:
        assert (charge["paid"], charge["captured"], charge["failure_code"]) == (False, False, "card_declined")
        assert charge["amount_captured"] == charge["amount_refunded"] == 0


def test_a_charge_knows_its_refunds():
    refunds = children("refunds", "charge")
    assert max(map(len, refunds.values())) == 12
    for charge in table("charges").values():
        mine = refunds.get(charge["id"], [])
        back = sum(refund["amount"] for refund in mine)
        assert charge["amount_refunded"] == back <= charge["amount"]
        assert charge["refunded"] is (back == charge["amount"])
        assert [one["id"] for one in charge["refunds"]["data"]] == [one["id"] for one in reversed(mine)][:10]
        assert charge["refunds"]["has_more"] is (len(mine) > 10)
        for refund in mine:
            assert refund["created"] >= charge["created"]
            assert refund["payment_intent"] == charge["payment_intent"]


def test_a_charge_knows_its_dispute():
    disputes = children("disputes", "charge")
    for charge in table("charges").values():
        assert charge["disputed"] is (charge["id"] in disputes)
        assert not (charge["disputed"] and charge["amount_refunded"])
    for dispute in table("disputes").values():
        charge = table("charges")[dispute["charge"]]
        assert dispute["amount"] == charge["amount"]
        assert dispute["created"] >= charge["created"]
        for entry in dispute["balance_transactions"]:
            assert entry == table("balance_transactions")[entry["id"]]
            assert entry["source"] == dispute["id"]


def test_transfers_and_their_reversals():
    reversals = children("transfer_reversals", "transfer")
    assert max(map(len, reversals.values())) == 12
    for transfer in table("transfers").values():
        back = sum(one["amount"] for one in reversals.get(transfer["id"], []))
        assert transfer["amount_reversed"] == back
        assert transfer["reversed"] is (back == transfer["amount"])
        assert transfer["destination"] in WORLD.accounts
        assert table("charges")[transfer["source_transaction"]]["amount"] >= transfer["amount"]


def test_invoice_lines_come_to_the_invoice():
    lines = children("invoice_line_items", "invoice")
    assert {11, 101, 250} <= {len(found) for found in lines.values()}
    for invoice in table("invoices").values():
        mine = lines[invoice["id"]]
        assert sum(line["amount"] for line in mine) == invoice["subtotal"]
        discount = sum(one["amount"] for one in invoice["total_discount_amounts"])
        tax = sum(one["amount"] for one in invoice["total_taxes"])
        assert invoice["total"] == invoice["subtotal"] - discount + tax
        assert sum(one["amount"] for line in mine for one in line["discount_amounts"]) == discount
        assert sum(one["amount"] for line in mine for one in line["taxes"]) == tax
        assert {line["currency"] for line in mine} == {invoice["currency"]}
        assert invoice["lines"]["data"] == mine[:10]


def test_paid_invoices_lead_by_their_payment_to_the_charge():
    payments = children("invoice_payments", "invoice")
    statuses = Counter(invoice["status"] for invoice in table("invoices").values())
    assert set(statuses) == {"paid", "open", "draft", "void", "uncollectible"}
    for invoice in table("invoices").values():
        assert (invoice["status"] == "paid") is (invoice["id"] in payments)
        assert invoice["amount_due"] == invoice["amount_paid"] + invoice["amount_remaining"]
        for payment in payments.get(invoice["id"], []):
            intent = table("payment_intents")[payment["payment"]["payment_intent"]]
            charge = table("charges")[intent["latest_charge"]]
            assert invoice["total"] == payment["amount_paid"] == intent["amount"] == charge["amount"]
            assert invoice["customer"] == intent["customer"] == charge["customer"]
            assert invoice["created"] == charge["created"]


def test_subscription_invoices_and_lines_point_at_their_subscription_and_items():
    billed, by_item = 0, 0
    for line in table("invoice_line_items").values():
        invoice = table("invoices")[line["invoice"]]
        details = (line["parent"] or {}).get("subscription_item_details")
        if details:
            by_item += 1
            subscription = table("subscriptions")[details["subscription"]]
            item = table("subscription_items")[details["subscription_item"]]
            assert item["subscription"] == subscription["id"]
            assert subscription["customer"] == invoice["customer"]
            assert line["pricing"]["price_details"]["price"] == item["price"]["id"]
            assert line["pricing"]["price_details"]["product"] == item["price"]["product"]
    for invoice in table("invoices").values():
        details = (invoice["parent"] or {}).get("subscription_details")
        if details:
            billed += 1
            assert table("subscriptions")[details["subscription"]]["customer"] == invoice["customer"]
    assert billed > 100
    assert by_item > 100


def test_subscriptions_show_their_items_latest_invoice_and_end():
    items = children("subscription_items", "subscription")
    assert {1, 2, 3, 12, 25} == {len(found) for found in items.values()}
    for subscription in table("subscriptions").values():
        assert subscription["items"]["data"] == items[subscription["id"]][:10]
        customer = table("customers")[subscription["customer"]]
        assert subscription["currency"] == customer["currency"]
        assert subscription["created"] >= customer["created"]
        assert (subscription["ended_at"] is not None) is (subscription["status"] == "canceled")
        assert (subscription["ended_at"] or 0) <= NOW
        if subscription["latest_invoice"]:
            details = table("invoices")[subscription["latest_invoice"]]["parent"]["subscription_details"]
            assert details["subscription"] == subscription["id"]
        for item in items[subscription["id"]]:
            assert item["price"]["currency"] == subscription["currency"]
            assert item["current_period_start"] < item["current_period_end"]


def test_items_embed_the_price_and_plan_as_they_are():
    for item in table("subscription_items").values():
        price = {
            name: value
            for name, value in table("prices")[item["price"]["id"]].items()
            if name in item["price"]
        }
        plan = {
            name: value for name, value in table("plans")[item["plan"]["id"]].items() if name in item["plan"]
        }
        assert (item["price"], item["plan"]) == (price, plan)
        assert item["plan"]["id"] == item["price"]["id"]


def test_prices_of_every_kind():
    prices = list(table("prices").values())
    assert {price["currency"] for price in prices} == {"usd", "eur", "gbp", "jpy", "kwd"}
    assert {price["type"] for price in prices} == {"recurring", "one_time"}
    assert {
        len(price["unit_amount_decimal"].partition(".")[2])
        for price in prices
        if price["unit_amount_decimal"]
    } == {0, 12}
    for price in prices:
        assert price["product"] in table("products")
        assert (price["recurring"] is None) is (price["type"] == "one_time")
        assert (price["tiers"] is None) is (price["billing_scheme"] == "per_unit")
        if price["unit_amount"] is not None:
            assert Decimal(price["unit_amount_decimal"]) == price["unit_amount"]
        if price["currency"] == "kwd":
            assert price["unit_amount"] % 10 == 0
    recurring = {price["id"] for price in prices if price["type"] == "recurring"}
    assert set(table("plans")) == recurring


def test_products_name_a_price_of_their_own():
    for product in table("products").values():
        if product["default_price"]:
            assert table("prices")[product["default_price"]]["product"] == product["id"]
        assert product["created"] <= product["updated"] <= NOW


def test_invoice_items_are_the_lines_that_name_them():
    billed = {
        details["invoice_item"]: line
        for line in table("invoice_line_items").values()
        if (details := (line["parent"] or {}).get("invoice_item_details"))
    }
    assert len(billed) > 20
    pending = 0
    for item in table("invoice_items").values():
        if item["invoice"] is None:
            pending += 1
            assert item["id"] not in billed
            continue
        assert billed[item["id"]]["invoice"] == item["invoice"]
        assert billed[item["id"]]["amount"] == item["amount"]
        assert item["customer"] == table("invoices")[item["invoice"]]["customer"]
    assert pending > 20


def test_credit_notes_come_to_what_their_invoice_says():
    notes = children("credit_notes", "invoice")
    lines = table("credit_note_line_items")
    for invoice in table("invoices").values():
        credited = sum(note["amount"] for note in notes.get(invoice["id"], []))
        assert invoice["post_payment_credit_notes_amount"] == credited <= invoice["total"]
    for note in table("credit_notes").values():
        if not note["lines"]["has_more"]:
            assert sum(line["amount"] for line in note["lines"]["data"]) == note["amount"]
        assert note["created"] > table("invoices")[note["invoice"]]["created"]
        assert note["customer"] == table("invoices")[note["invoice"]]["customer"]
    known = [line for line in lines.values() if line["invoice_line_item"]]
    assert known
    assert all(line["invoice_line_item"] in table("invoice_line_items") for line in known)


def test_checkout_sessions_lead_to_what_they_sold():
    modes, states = Counter(), Counter()
    for session in table("checkout_sessions").values():
        modes[session["mode"]] += 1
        states[session["status"]] += 1
        items = session["line_items"]
        if not items["has_more"]:
            assert sum(item["amount_total"] for item in items["data"]) == session["amount_total"]
        if session["payment_intent"]:
            assert table("payment_intents")[session["payment_intent"]]["amount"] == session["amount_total"]
        if session["subscription"]:
            assert table("subscriptions")[session["subscription"]]["customer"] == session["customer"]
            assert table("invoices")[session["invoice"]]["total"] == session["amount_total"]
        if session["status"] != "complete":
            assert session["payment_intent"] is session["subscription"] is None
    assert set(modes) == {"payment", "subscription"}
    assert {"complete", "expired"} <= set(states)
    assert (
        max(
            WORLD.count("checkout_sessions_line_items", row)
            for row in range(WORLD.count("checkout_sessions"))
        )
        > 10
    )


def test_quotes_lead_to_what_was_accepted():
    accepted = [quote for quote in table("quotes").values() if quote["status"] == "accepted"]
    assert accepted
    for quote in accepted:
        invoice = table("invoices")[quote["invoice"]]
        assert (quote["amount_total"], quote["customer"]) == (invoice["total"], invoice["customer"])
        assert quote["created"] < invoice["created"]
    for quote in table("quotes").values():
        upfront = quote["computed"]["upfront"]
        if not upfront["line_items"]["has_more"]:
            assert (
                sum(item["amount_total"] for item in upfront["line_items"]["data"]) == upfront["amount_total"]
            )


def test_customers_are_as_odd_as_real_ones():
    customers = list(table("customers").values())
    emails = Counter(customer["email"] for customer in customers if customer["email"])
    assert max(emails.values()) == 2
    assert any(customer["delinquent"] for customer in customers)
    assert any(customer["email"] is None for customer in customers)
    assert any(not customer["name"].isascii() for customer in customers)
    assert any('"' in customer["name"] for customer in customers)
    assert any(customer["metadata"].get("crm_id") == "9007199254740993" for customer in customers)
    assert any(
        "\\" in (customer["address"] or {}).get("line2", "") or ""
        for customer in customers
        if (customer["address"] or {}).get("line2")
    )
    assert any(customer["address"] is None for customer in customers)


def test_a_customers_methods_sources_and_balance():
    for row, customer in zip(range(WORLD.count("customers")), table("customers").values(), strict=True):
        default = customer["invoice_settings"]["default_payment_method"]
        if default:
            assert table("payment_methods")[default]["customer"] == customer["id"]
        listed = [
            WORLD.render("customer_payment_methods", at, row)
            for at in range(WORLD.count("customer_payment_methods", row))
        ]
        assert all(json.loads(one) == table("payment_methods")[json.loads(one)["id"]] for one in listed)
        sources = customer["sources"]["data"]
        assert {one["customer"] for one in sources} <= {customer["id"]}
        assert customer["default_source"] in {None, *(one["id"] for one in sources)}
        history = [
            json.loads(WORLD.render("customer_balance_transactions", at, row))
            for at in range(WORLD.count("customer_balance_transactions", row))
        ]
        for newer, older in itertools.pairwise(history):
            assert newer["ending_balance"] == older["ending_balance"] + newer["amount"]
        if history:
            assert history[0]["ending_balance"] == customer["balance"]
            assert history[-1]["amount"] == history[-1]["ending_balance"]
    mixed = {one["object"] for customer in table("customers").values() for one in customer["sources"]["data"]}
    assert mixed == {"card", "bank_account", "source"}


def test_setup_intents_and_their_attempts():
    attempts = children("setup_attempts", "setup_intent")
    for intent in table("setup_intents").values():
        assert [one["id"] for one in attempts[intent["id"]]] == [intent["latest_attempt"]]
        if intent["payment_method"]:
            assert table("payment_methods")[intent["payment_method"]]["customer"] == intent["customer"]


def test_a_parent_tells_whether_it_has_children_where_stripe_does():
    told = 0
    for child in STREAMS.values():
        for sent in child.origins[0].parents:
            for row in range(WORLD.count(sent.stream) if sent.where else 0):
                told += 1
                value = json.loads(WORLD.render(sent.stream, row))[sent.where]
                assert (value is not None) is (WORLD.count(child.name, row) > 0)
    assert told > 100
    for row in range(WORLD.count("financial_connections_accounts")):
        ownership = json.loads(WORLD.render("financial_connections_accounts", row))["ownership"]
        for at in range(WORLD.count("financial_connections_account_owners", row)):
            assert (
                json.loads(WORLD.render("financial_connections_account_owners", at, row))["ownership"]
                == ownership
            )


@pytest.mark.parametrize(
    "stream", sorted(name for name in STREAMS if name not in ("events",) and STREAMS[name].default)
)
def test_references_are_ids_of_objects_that_exist(stream: str):
    described = STREAMS[stream]
    rows = [(row, None) for row in range(min(300, WORLD.count(stream)))]
    if described.parent:
        rows = [
            (row, parent)
            for parent in range(min(300, WORLD.count(described.parent)))
            for row in range(min(5, WORLD.count(stream, parent)))
        ]
    targets = {
        field.name: [name for name, one in STREAMS.items() if one.object in field.expands]
        for field in described.fields
        if field.type == "id"
    }
    for row, parent in rows:
        shown = json.loads(WORLD.render(stream, row, parent))
        for field, streams in targets.items():
            id = shown.get(field)
            if id is not None and streams and not (stream == "payouts" and field == "destination"):
                assert any(WORLD.find(name, id) for name in streams) or id == WORLD.account, (field, id)


@pytest.mark.parametrize(
    "counts",
    [
        {"charges": 40, "payment_intents": 3, "refunds": 30, "customers": 2},
        {"invoices": 30, "customers": 7, "invoice_payments": 26},
        {"subscriptions": 9, "customers": 3, "prices": 2, "products": 5},
        {
            "charges": 17,
            "customers": 100,
            "balance_transactions": 60,
            "payouts": 9,
            "disputes": 12,
            "transfers": 20,
        },
        {"checkout_sessions": 9, "quotes": 4, "invoice_items": 6, "credit_notes": 3},
        {"customers": 1, "charges": 1, "payment_intents": 1, "invoices": 1, "refunds": 1},
    ],
)
def test_lopsided_worlds_hold_together(counts: dict[str, int]):
    one = world.build(counts=counts, now=NOW)
    for stream in counts:
        times = [one.created(stream, row) for row in range(one.count(stream))]
        assert times == sorted(times)
        for row in range(one.count(stream)):
            shown = json.loads(one.render(stream, row))
            for field in ("customer", "charge", "invoice", "payment_intent", "balance_transaction"):
                id = shown.get(field)
                if id and counts.get(
                    target := {"balance_transaction": "balance_transactions"}.get(field, field + "s")
                ):
                    assert one.find(target, id), (stream, field)
