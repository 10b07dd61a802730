"""One create in a process of its own, which says each step it reaches, and is killed or goes on as it is told.

`python sending_child.py DATABASE STRIPE STEP SECONDS`: at STEP it says so and waits for a line of its standard
input; SECONDS is for how long it takes the push at a time.
"""

from __future__ import annotations

import asyncio
import sys

from tidegate.push import forms, lease, sending, steps
from tidegate.store import database, ledger, notes, operations
from tidegate.stripe import client, pace

KEY = "sk_test_51NzufDB0DBR1HOyc9Zq8sWabcd"
PUSH = "push:accounts"


async def main(url: str, base: str, step: str, seconds: str) -> None:
    """Plan, send and acknowledge."""
    store = database.open_database(url)

    def listen(name: str) -> None:
        if name == step:
            print(f"at {name}", flush=True)
            sys.stdin.readline()

    steps.listener = listen
    with lease.held(store, PUSH, seconds=float(seconds)) as held:
        assert held is not None
        version = "2026-10-28.endive"
        name = notes.new_id("op")
        values = {"email": "jenny@example.com", "metadata": {"tidegate_op": name}}
        body = forms.encode(values).decode()
        intent = operations.Intent(
            *(
                "run_1",
                "row 1",
                "acct_1",
                False,
                "customer",
                "create",
                "POST",
                "/v1/customers",
                body,
                version,
            ),
            hash="h1",
            id=name,
        )
        ledger.begin(store, held.fence, [intent])
        steps.reached("intent committed")
        operation = operations.find(store, intent.id)
        assert operation is not None
        limits = pace.Pace(pace.Limits(None, None))
        async with client.Client(KEY, api_base=base, api_version=version, pace=limits) as stripe:
            outcome = await sending.Sender(stripe, held).send(operation)
        print(outcome.kind, flush=True)
    store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
