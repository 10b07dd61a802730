"""What the description of the API says beside what follows from its routes, in words and by example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

TAGS: Mapping[str, str] = {
    "flows": "Pulls, pipelines and pushes: how each stands, and having one run.",
    "runs": "What ran, runs and waits: looked at, followed, ended and repeated.",
    "jobs": "Audits, estimates, forgetting, rehearsals and verifications, in the background.",
    "overview": "How everything is.",
    "accounts": "Connections to Stripe: their keys, connected accounts and webhooks.",
    "warehouses": "Where pulls write, and models read.",
    "streams": "What there is to pull, and how far each table is.",
    "pipelines": "Streams into customers: tried, compared, and what failed.",
    "customers": "Profiles, why records are one, and decisions about that.",
    "models": "What pushes read.",
    "pushes": "Rows into Stripe: plans, approvals, undo, and the history of each row.",
    "issues": "What waits for a person.",
    "alerts": "What needs a person, and who is told.",
    "configuration": "What is configured, part by part or whole; secrets, and who changed what.",
    "members": "Who may sign in, and what programs present.",
    "settings": "Limits, retention, and what runs here.",
    "checks": "Whether what is configured works, before anything is moved.",
    "description": "This description.",
}
"""Domains, in the order in which they are shown."""

BODIES: Mapping[str, Any] = {
    "startFlow": {"full_refresh": True},
    "startAudit": {
        "pull": "everything",
        "streams": ["customers", "charges"],
        "since": "2026-01-31",
        "repair": False,
    },
    "startEstimate": {"pull": "everything", "streams": []},
    "startForget": {
        "customers": ["cus_NffrFeUfNV2Hib"],
        "dry_run": False,
        "confirm": {"word": "forget", "customers": 1},
    },
    "startRehearsal": {"push": "accounts", "limit": 10},
    "startVerification": {"push": "accounts"},
    "inviteMember": {"name": "ann@example.com", "role": "operator"},
    "changeMember": {"role": "editor"},
    "createToken": {"name": "dbt", "scope": "run", "flows": ["pull:everything"], "lasts": 7_776_000},
    "putPart": {"body": {"from": "acme", "to": "prod", "schedule": "every 1h"}, "version": 3},
    "putSinglePart": {"body": {"warehouse": "prod"}, "version": 1},
    "checkPart": {"body": {"from": "acme", "to": "prod", "schedule": "every 1h"}},
    "checkSinglePart": {"body": {"warehouse": "prod"}},
    "applyConfiguration": {"yaml": "pulls:\n  everything: {from: acme, to: prod}\n", "dry_run": True},
    "putSecret": {"value": "rk_live_..."},
    "refreshOverview": {"pulls": ["everything"]},
    "testDraftAccount": {"name": "acme", "body": {"api_key": "rk_live_..."}},
    "askConsent": {"back": "https://tidegate.example.com/accounts/-/signed-in"},
    "answerConsent": {"url": "https://tidegate.example.com/accounts/-/signed-in?state=4kQ0&code=ac_9"},
    "enableWebhooks": {"url": "https://tidegate.example.com"},
    "replayWebhooks": {"since": "2h"},
    "testWebhooks": {"url": "https://tidegate.example.com"},
    "checkDraftWarehouse": {"name": "prod", "body": {"type": "duckdb", "path": "warehouse.duckdb"}},
    "tryPipeline": {"limit": 10},
    "tryPipelineCases": {},
    "decideCustomers": {"action": "merge", "one": "cus_A", "other": "cus_B", "note": "They called."},
    "previewRules": {"identifiers": ["customer_id", "email"], "max_cluster": 50},
    "makePlan": {"repair": False, "limit": 10},
    "planUndo": {"run": "run_2b58c3a1f0d94e67", "created": "archive"},
    "approvePlan": {"digest": "9f86d081884c7d659a2feaa0c55ad015"},
    "decideRow": {"push": "accounts", "key": "42", "decision": "retry"},
    "decideRows": {"decision": "retry", "kind": "refused", "flow": "push:accounts", "count": 12},
}
"""A body for each operation that takes one."""

PLACES: Mapping[str, tuple[str, Any]] = {
    "accounts.name": ("The connection's name in the configuration.", "acme"),
    "settings.name": ("The connection's name in the configuration.", "acme"),
    "warehouses.name": ("The warehouse's name in the configuration.", "prod"),
    "pipelines.name": ("The pipeline's name in the configuration.", "eu_customers"),
    "configuration.name": ("The part's name.", "everything"),
    "members.name": ("The member's name, or the token's.", "ann@example.com"),
    "checks.name": ("A name of the configuration.", "everything"),
    "checks.kind": ("What it is a name of.", "pulls"),
    "configuration.kind": ("Which part of the configuration.", "pulls"),
    "flow": ("The flow: its full name, or its own where one flow only is called so.", "pull:everything"),
    "run": ("The run's whole id.", "run_2b58c3a1f0d94e67"),
    "job": ("The job's id.", "job_5d0c1b7e9a3f4268"),
    "push": ("The push's name in the configuration.", "accounts"),
    "plan": ("The plan's id.", "plan_1f6c0a9be2d34785"),
    "model": ("The model's name in the configuration.", "accounts"),
    "pull": ("The pull's name in the configuration.", "everything"),
    "stream": ("The stream.", "charges"),
    "number": ("The version's number.", 2),
    "decision": ("The decision's id.", "dec_0f3b8c5d7a1e49628d4f"),
    "operation": ("Its id, or the idempotency key that Stripe shows.", "op_01JD3W5K2Q8Z4N7M6X9Y0A1B2C"),
}
"""What is said of the places of an address, by domain or for all, with an example."""

WORDS: Mapping[str, str] = {
    "action": "Only changes of this kind, such as create.",
    "after": "What `next` of the page before says.",
    "cause": "Only those that began so; several times for several.",
    "connection": "The connection over which Stripe is asked.",
    "flow": "Of one flow, by its full name.",
    "key": "The row's key.",
    "kind": "Only those of this kind.",
    "last-event-id": "The event after which to go on.",
    "level": "Only lines of this level; several times for several.",
    "limit": "How many, at the most.",
    "now": "Show it in the profiles at once, not with the next run.",
    "one": "A profile, a former one, or a record by its key or its Stripe id.",
    "origin": "Only what the file, or the metadata database, has.",
    "other": "The other one.",
    "pull": "Only of this pull.",
    "push": "The push's name in the configuration.",
    "search": "A part of a name, a key or a text.",
    "state": "Only those in this state; several times for several where it may be.",
    "to": "Whose types are told.",
    "taken": "Only streams that are pulled, or that are not.",
    "who": "Only those of one member or token.",
    "withdrawn": "With those that were taken back.",
}
"""What is said of a query parameter whose route says nothing itself."""


def add(document: dict[str, Any]) -> None:
    """Add them to a description."""
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    for operation in _operations(document):
        tag = operation["tags"][0]
        for each in operation.get("parameters", ()):
            if each["in"] == "path":
                text, example = PLACES.get(f"{tag}.{each['name']}") or PLACES.get(each["name"]) or ("", None)
                each.setdefault("description", text)
                each["example"] = example
            else:
                each.setdefault("description", WORDS.get(each["name"], ""))
        body, example = operation.get("requestBody"), BODIES.get(operation["operationId"])
        if body is not None and example is not None:
            body["content"]["application/json"]["example"] = example


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for found in document["paths"].values():
        yield from found.values()
