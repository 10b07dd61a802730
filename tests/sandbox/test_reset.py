"""`POST reset`: another world on the same port, as if the process had been started anew."""

from __future__ import annotations

import json
import threading
from typing import Any

from tidegate.sandbox import serving

from .conftest import NOW, Stripe

SMALL = {"objects": 300, "accounts": 1, "now": NOW, "clock": NOW + 60}


def test_everything_begins_anew(stripe: Stripe) -> None:
    made = stripe.make("/v1/customers")["id"]
    stripe.control("keys", {"key": "rk_test_reader00", "scopes": ["rak_customer_read"]})
    stripe.control("faults", {"faults": [{"kind": "error"}]})
    stripe.control("delays", {"events": 30})
    stripe.control("clock", {"advance": 1000})
    stripe.control("reset", {"seed": 9, **SMALL})

    assert stripe.get(f"/v1/customers/{made}").status == 404
    assert stripe.get("/v1/customers", key="rk_test_reader00").status == 401
    assert stripe.control("clock")["now"] == NOW + 60
    assert stripe.stats()["requests"] == 2
    stripe.make("/v1/products", name="Tea")
    assert [event["type"] for event in stripe.events()] == ["product.created"]


def test_it_is_what_a_new_process_would_be(stripe: Stripe) -> None:
    stripe.control("traffic", {"seed": 1, "steps": 30})
    stripe.control("reset", {"seed": 4, **SMALL})
    told = stripe.control("traffic", {"seed": 2, "steps": 30})
    fresh = Stripe(serving.build(serving.Options(seed=4, **SMALL)).world, seed=4)  # type: ignore[arg-type]  # ints
    try:
        assert fresh.control("traffic", {"seed": 2, "steps": 30}) == told
        for stream in ("customers", "invoices", "balance_transactions", "coupons"):
            assert stripe.truth(stream) == fresh.truth(stream)
    finally:
        fresh.close()


def test_a_small_world_is_rebuilt_at_once(stripe: Stripe) -> None:
    """Many times within one test; each with another business."""
    seen = set()
    for seed in range(50):
        stripe.control("reset", {"seed": seed, **SMALL})
        seen.add(stripe.get("/v1/customers", {"limit": 1}).ids[0])

    assert len(seen) == 50


def test_a_request_under_way_ends_in_peace(stripe: Stripe) -> None:
    stripe.control("limits", {"concurrency": 5})
    stripe.control("faults", {"faults": [{"kind": "late", "seconds": 0.5, "times": 1}]})
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(stripe.get("/v1/customers")))
    stats = stripe.made.stats
    asking.start()
    while not stats.running:
        pass
    stripe.control("reset", {"seed": 2, **SMALL})
    asking.join()

    assert json.loads(answers[0].body)["data"]
    assert stripe.get("/v1/customers").status == 200
    assert stripe.made.stats.running == 0
