"""Intents as a push makes them, for tests of what is kept of them."""

from __future__ import annotations

from typing import Any

from tidegate.store import claims, database, fences, ledger, operations

PUSH = "accounts"
ACCOUNT = "acct_1"


def fence(store: database.Database, push: str = PUSH, holder: str = "one") -> fences.Fence:
    """A push, taken for an hour; from whoever has it."""
    store.execute(
        "UPDATE fences SET until = 0 WHERE push = :push AND holder <> :holder",
        {"push": push, "holder": holder},
    )
    taken = fences.take(store, push, holder, 3600.0)
    assert taken is not None
    return taken


def email(value: str) -> claims.Claim:
    """The claim to an e-mail."""
    return claims.Claim(ACCOUNT, True, "customer", "email", value.casefold())


def create(key: str, mail: str | None = None, **more: Any) -> operations.Intent:
    """A customer that is to be created for a row."""
    given: dict[str, Any] = {
        "run": "run_1",
        "key": key,
        "account": ACCOUNT,
        "livemode": True,
        "object": "customer",
        "action": "create",
        "method": "POST",
        "path": "/v1/customers",
        "body": f"metadata[ext]={key}",
        "api_version": "2026-10-28",
        "hash": f"hash of {key}",
        "fields": f'{{"metadata.ext":"{key}"}}',
        "version": "v1",
        "claims": (email(mail),) if mail else (),
    }
    return operations.Intent(**{**given, **more})


def update(key: str, target: str, **more: Any) -> operations.Intent:
    """A customer that is to be changed for a row."""
    given = {"action": "update", "path": f"/v1/customers/{target}", "target": target}
    return create(key, **{**given, **more})


def begin(store: database.Database, taken: fences.Fence, *intents: operations.Intent) -> list[str]:
    """Begin intents; what became of each."""
    return [outcome.state for outcome in ledger.begin(store, taken, intents)]


def write(store: database.Database, taken: fences.Fence, intent: operations.Intent, target: str = "") -> str:
    """Begin, send and acknowledge an intent; its id."""
    assert begin(store, taken, intent) == ["begun"]
    ledger.sending(store, taken, intent.id)
    done = operations.Done(intent.id, intent.target or target, 200, "req_1")
    assert ledger.acknowledge(store, taken, [done]) == []
    return intent.id


def status(store: database.Database, operation: str) -> str:
    """How far an operation is."""
    found = operations.find(store, operation)
    assert found is not None
    return found.status
