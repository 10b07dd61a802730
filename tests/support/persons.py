"""Customers with all that is personal about them: every personal text says whose it is, in every kind of table."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tidegate import catalog
from tidegate.rows import arrow, decode
from tidegate.warehouse import base

ACCOUNT = "acct_1"
STREAMS = catalog.load().streams
TABLES = {name: [name] for name in STREAMS}
Objects = dict[str, list[dict[str, Any]]]


def world(who: str) -> Objects:
    """All objects of a customer by stream; `_parent` is taken out before an object is stored."""
    cus, said = f"cus_{who}", f"Personal of {who}"
    address = {"line1": f"{said} Street", "city": said, "postal_code": f"{said} 12345", "country": "DE"}
    details = {"name": said, "email": f"{said}@example.com", "phone": f"+49 {said}", "address": address}
    metadata = {"note": said, f"key of {said}": "1"}
    card = {"brand": "visa", "last4": f"4242 {said}", "fingerprint": said, "exp_month": 12, "exp_year": 2031}
    customer = {
        "id": cus,
        "object": "customer",
        "balance": -500,
        "currency": "eur",
        "description": said,
        **details,
        "metadata": metadata,
        "tax_exempt": "none",
        "shipping": details,
        "preferred_locales": [said],
        "a_new_field": said,
        "customer_account": f"acct_of{who}",
    }
    charge = {
        "id": f"ch_{who}",
        "object": "charge",
        "amount": 1999,
        "currency": "eur",
        "customer": cus,
        "status": "succeeded",
        "paid": True,
        "payment_intent": f"pi_{who}",
        "payment_method": f"pm_{who}gone",
        "billing_details": details,
        "description": said,
        "receipt_email": said,
        "receipt_url": f"https://pay.stripe.com/{said}",
        "statement_descriptor": said,
        "metadata": metadata,
        "payment_method_details": {"type": "card", "card": card},
        "outcome": {"network_status": "approved_by_network", "risk_score": 12, "seller_message": said},
    }
    return {
        "customers": [customer],
        "charges": [charge],
        "payment_intents": [
            {
                "id": f"pi_{who}",
                "object": "payment_intent",
                "amount": 1999,
                "customer": cus,
                "client_secret": f"pi_{who}_secret_{who}",
                "description": said,
                "latest_charge": f"ch_{who}",
            }
        ],
        "payment_methods": [
            {"id": f"pm_{who}", "object": "payment_method", "customer": cus, "billing_details": details},
            {"id": f"pm_{who}gone", "object": "payment_method", "customer": None, "billing_details": details},
        ],
        "refunds": [
            {"id": f"re_{who}", "object": "refund", "amount": 5, "charge": f"ch_{who}", "metadata": metadata}
        ],
        "disputes": [
            {
                "id": f"du_{who}",
                "object": "dispute",
                "amount": 1999,
                "charge": f"ch_{who}",
                "reason": "fraudulent",
                "evidence": {"customer_name": said, "customer_purchase_ip": "198.51.100.7", "receipt": said},
                "evidence_details": {"due_by": 1_700_000_000, "has_evidence": True, "submission_count": 1},
            }
        ],
        "balance_transactions": [
            {
                "id": f"txn_{who}",
                "object": "balance_transaction",
                "net": 1900,
                "source": f"ch_{who}",
                "type": "charge",
                "reporting_category": "charge",
                "description": said,
            }
        ],
        "invoices": [
            {
                "id": f"in_{who}",
                "object": "invoice",
                "customer": cus,
                "total": 1999,
                "status": "paid",
                "number": said,
                "customer_email": said,
                "customer_name": said,
                "customer_address": address,
                "hosted_invoice_url": f"https://invoice.stripe.com/{said}",
                "custom_fields": [{"name": said, "value": said}],
            }
        ],
        "invoice_line_items": [
            {
                "id": f"il_{who}",
                "object": "line_item",
                "amount": 1999,
                "description": said,
                "_parent": f"in_{who}",
            }
        ],
        "subscriptions": [
            {
                "id": f"sub_{who}",
                "object": "subscription",
                "customer": cus,
                "status": "active",
                "metadata": metadata,
            }
        ],
        "subscription_items": [
            {
                "id": f"si_{who}",
                "object": "subscription_item",
                "subscription": f"sub_{who}",
                "quantity": 3,
                "metadata": metadata,
                "_parent": f"sub_{who}",
            }
        ],
        "customer_tax_ids": [
            {"id": f"txi_{who}", "object": "tax_id", "customer": cus, "value": said, "_parent": cus}
        ],
        "cards": [
            {
                "id": f"card_{who}",
                "object": "card",
                "customer": cus,
                "name": said,
                "exp_year": 2031,
                "_parent": cus,
            }
        ],
        "payment_records": [
            {"id": f"pr_{who}", "object": "payment_record", "customer_details": {**details, "customer": cus}}
        ],
        "v2_core_accounts": [
            {"id": f"acct_of{who}", "object": "v2.core.account", "contact_email": said, "display_name": said}
        ],
        "v2_core_account_persons": [
            {
                "id": f"person_{who}",
                "object": "v2.core.account_person",
                "given_name": said,
                "date_of_birth": {"day": 10, "month": 12, "year": 1815},
                "_parent": f"acct_of{who}",
            }
        ],
        "events": [
            event(f"evt_{who}1", "customer.updated", customer, {"email": f"old {said}"}, key=said),
            event(f"evt_{who}2", "charge.succeeded", charge, key=said),
            event(
                f"evt_{who}3",
                "charge.dispute.created",
                {
                    "id": f"du_{who}",
                    "object": "dispute",
                    "charge": f"ch_{who}",
                    "evidence": {"customer_name": said},
                },
            ),
        ],
    }


def event(
    id: str, kind: str, about: Mapping[str, Any], before: Mapping[str, Any] | None = None, *, key: str = ""
) -> dict[str, Any]:
    """An event that holds an object."""
    data = {"object": about, **({"previous_attributes": before} if before else {})}
    request = {"id": "req_1AbCdEfGh", "idempotency_key": key}
    return {
        "id": id,
        "object": "event",
        "type": kind,
        "created": 1_700_000_000,
        "data": data,
        "request": request,
    }


def rows(
    stream: str, objects: Sequence[Mapping[str, Any]], version: int = 100, account: str = ACCOUNT
) -> pa.Table:
    """Objects as rows of their table."""
    decoder = decode.Decoder(STREAMS[stream])
    bare = [{name: value for name, value in each.items() if name != "_parent"} for each in objects]
    parents = [each.get("_parent") for each in objects]
    found = decoder.objects([json.dumps(each).encode() for each in bare])
    part = arrow.Part(found, version, parents if any(parents) else None)
    return arrow.table(decoder, [part], account=account, synced_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


def load(
    stream: str,
    objects: Sequence[Mapping[str, Any]],
    version: int = 100,
    *,
    account: str = ACCOUNT,
    table: str = "",
) -> base.Load:
    """Objects as a load of their table."""
    found = rows(stream, objects, version, account)
    key = ("_account_id", *STREAMS[stream].key)
    return base.Load(base.Table(table or stream, found.schema, key), found)


def store(warehouse: base.Warehouse, objects: Objects, version: int = 100, **more: str) -> None:
    """Put objects into the tables of their streams."""
    loads = [load(name, each, version, **more) for name, each in objects.items() if each]
    warehouse.prepare([each.table for each in loads])
    warehouse.load(loads, {})


def dump(warehouse: base.Warehouse, *, times: bool = False) -> dict[str, list[str]]:
    """Every table's rows as JSON, without when they were written unless `times` are asked for."""
    names = "select table_name as name from duckdb_tables() where schema_name = 'stripe' order by 1"
    found: dict[str, list[str]] = {
        row["name"]: [] for batch in warehouse.read(names) for row in batch.to_pylist()
    }
    each = (f"select '{name}' as name, t::json::varchar as row from stripe.\"{name}\" as t" for name in found)
    for batch in warehouse.read(f"{' union all '.join(each)} order by 1, 2"):
        for line in batch.to_pylist():
            row = json.loads(line["row"])
            for name in ("_synced_at", "updated_at") if not times else ():
                row.pop(name, None)
            found[line["name"]].append(json.dumps(row, sort_keys=True))
    return found


def table(warehouse: base.Warehouse, name: str, where: str = "true") -> list[dict[str, Any]]:
    """The rows of a table without what is NULL, by id."""
    batches = warehouse.read(f'select * from stripe."{name}" where {where} order by id')
    return [
        {column: value for column, value in row.items() if value is not None}
        for batch in batches
        for row in batch.to_pylist()
    ]
