"""How many charges per CPU-second become Arrow: `python bench/decode.py`.

A charge has 43 fields. Stripe indents its answers, which makes a third of the bytes whitespace; both an
indented and a compact charge of 2.3 kB are measured. The best of several rounds counts, since other
processes only ever make a round slower.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import string
import time
from collections.abc import Callable

from tidegate import catalog
from tidegate.rows import arrow, decode, text

GOAL = 120_000
SIZE = 2_300
PAGES = 40
PAGES_PER_BATCH = 10
ROUNDS = 15


def charge(rng: random.Random, created: int) -> dict[str, object]:
    """A paid card charge with the fields that Stripe sends for one, nothing expanded."""

    def ident(prefix: str) -> str:
        return prefix + "".join(rng.choices(string.ascii_letters + string.digits, k=24))

    amount = rng.randrange(100, 100_000)
    return {
        "id": ident("ch_3"),
        "object": "charge",
        "amount": amount,
        "amount_captured": amount,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": ident("txn_3"),
        "billing_details": {
            "address": None,
            "email": f"jenny{created % 977}@example.com",
            "name": "Jenny Rosen",
        },
        "calculated_statement_descriptor": "TIDEGATE",
        "captured": True,
        "created": created,
        "currency": rng.choice(("eur", "usd", "jpy")),
        "customer": ident("cus_"),
        "description": f"Order {created % 100_003}",
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "level3": None,
        "livemode": False,
        "metadata": {},
        "on_behalf_of": None,
        "outcome": {
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "seller_message": "Payment complete.",
            "type": "authorized",
        },
        "paid": True,
        "payment_intent": ident("pi_3"),
        "payment_method": ident("pm_1"),
        "payment_method_details": {
            "card": {
                "brand": "visa",
                "checks": {"cvc_check": "pass"},
                "country": "US",
                "exp_month": 8,
                "exp_year": 2030,
                "funding": "credit",
                "last4": "4242",
                "network": "visa",
            },
            "type": "card",
        },
        "presentment_details": None,
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "succeeded",
        "transfer_data": None,
        "transfer_group": None,
    }


def pages(indent: int | None) -> list[bytes]:
    """Pages of 100 charges; metadata, as merchants keep it, brings each to SIZE bytes."""
    rng = random.Random(7)
    separators = (",", ": ") if indent else (",", ":")
    found = []
    for number in range(PAGES):
        charges = [charge(rng, 1_700_000_000 - number * 100 - row) for row in range(100)]
        for each in charges:
            metadata = {"order_id": str(rng.randrange(10**6))}
            each["metadata"] = metadata
            short = SIZE - len(json.dumps([[each]], indent=indent, separators=separators))
            per_entry = 30 + (10 if indent else 0)
            metadata |= {f"attribute_{i:02}": rng.randbytes(5).hex() for i in range(short // per_entry)}
        answer = {"object": "list", "data": charges, "has_more": True, "url": "/v1/charges"}
        found.append(json.dumps(answer, indent=indent, separators=separators).encode())
    return found


def measure(bodies: list[bytes]) -> dict[str, float]:
    """CPU seconds per charge: compaction and structs (`page`), Arrow (`arrow`), and whitespace alone."""
    sample = json.loads(bodies[0])["data"][0]
    decoder = decode.Decoder(catalog.load().streams["charges"], columns=set(sample))
    assert len(sample) == 43, "The goal is for a charge of 43 columns."
    decoder.page(bodies[0])
    now = dt.datetime.now(dt.UTC)
    rows = 100 * len(bodies)

    def batches() -> list[list[arrow.Part]]:
        parts = [arrow.Part(decoder.page(body).rows, 1_700_000_000) for body in bodies]
        return [parts[i : i + PAGES_PER_BATCH] for i in range(0, PAGES, PAGES_PER_BATCH)]

    def to_arrow(made: list[list[arrow.Part]]) -> int:
        return sum(arrow.table(decoder, batch, account="acct_1", synced_at=now).num_rows for batch in made)

    assert to_arrow(batches()) == rows, "Every charge becomes a row."
    made = batches()
    spaces = cpu(lambda: [text.compact(body) for body in bodies])
    page = cpu(batches)
    arrows = cpu(lambda: to_arrow(made))
    total = cpu(lambda: to_arrow(batches()))
    return {
        "whitespace": spaces / rows,
        "structs": (page - spaces) / rows,
        "arrow": arrows / rows,
        "total": total / rows,
    }


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of the best of ROUNDS."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    print(f"{'43-column charges':28}{'rows/CPU-s':>12}{'goal':>10}   share of the time")
    for name, indent in (("indented, as Stripe sends", 2), ("compact", None)):
        bodies = pages(indent)
        took = measure(bodies)
        size = sum(map(len, bodies)) // (100 * len(bodies))
        parts = ", ".join(
            f"{stage} {took[stage] / took['total']:.0%}" for stage in ("whitespace", "structs", "arrow")
        )
        print(f"{f'{name} ({size:,} B)':28}{1 / took['total']:>12,.0f}{GOAL:>10,}   {parts}", flush=True)


if __name__ == "__main__":
    main()
