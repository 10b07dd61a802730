"""What Stripe's no means for an operation, its row and its run, and how that is said."""

from __future__ import annotations

import urllib.parse
from typing import Literal

from tidegate import errors
from tidegate.store import operations
from tidegate.stripe import writes

API_KEYS = "https://dashboard.stripe.com/apikeys"

Verdict = Literal[
    "deleted", "adopted", "quarantined", "gone", "stopped", "forbidden", "unknown", "later", "replayed"
]


def verdict(operation: operations.Operation, fault: writes.Fault) -> Verdict:
    """What a fault means for its operation and for the run."""
    # 404 is for what the path names, 400 for what a parameter names: an update may name others that are gone.
    own = fault.status == 404 or (fault.status == 400 and fault.param in ("", "id"))
    if fault.type == "idempotency_error" and fault.status == 400:
        return "unknown"
    if fault.replayed and fault.status >= 500:
        return "replayed"
    if isinstance(fault.error, errors.Unauthorized):
        return "stopped"
    if fault.effect == "maybe" and deletes(operation) and fault.code == "resource_missing":
        return "deleted"
    if fault.effect == "maybe":
        return "later"
    if isinstance(fault.error, errors.PermissionMissing):
        return "forbidden"
    if isinstance(fault.error, errors.NotEnabled) and not fault.param:
        return "forbidden"  # with a parameter it is about the value of one row
    if operation.target and fault.code == "resource_missing" and own:
        return "gone"
    if operation.action == "create" and _exists(fault) and existing(operation):
        return "adopted"
    if 400 <= fault.status < 500 and fault.status not in (409, 429):
        return "quarantined"
    return "later"


def sentence(operation: operations.Operation, fault: writes.Fault) -> str:
    """What happened, where, and what to do next; without a value of the row."""
    push, kind = operation.push, operation.object.replace("_", " ")
    doing = f"{operation.action} {'an' if kind[0] in 'aeiou' else 'a'} {kind} for a row of {push}"
    facts = ", ".join(
        each
        for each in (
            fault.code,
            fault.decline_code,
            f"parameter {fault.param}" if fault.param else "",
            fault.request_id,
        )
        if each
    )
    named = f" ({facts})" if facts else ""
    said = fault.message.rstrip(".") or (f"status {fault.status}" if fault.status else "no answer")
    look = f", or see {fault.log_url}" if fault.log_url else ""
    match verdict(operation, fault):
        case "unknown":
            return (
                f"Stripe knows the idempotency key of {operation.id} with another request{named}, so the ledger "
                f"and Stripe disagree, and {push} stops; find out whether this database was restored or copied."
            )
        case "replayed":
            return (
                f"Stripe failed with status {fault.status} to {doing}{named}, and keeps answering so; whether it "
                "was done is found out by the next run."
            )
        case "stopped":
            return f"{push} stops: {fault.error}"
        case "forbidden" if fault.permission:
            return (
                f"The key lacks the permission {fault.permission} to {doing}{named}; grant it at {API_KEYS}, and "
                f"run {push} again."
            )
        case "forbidden":
            return (
                f"Stripe does not allow this key to {doing}{named}: {said}; nothing more of this kind is sent in "
                "this run."
            )
        case "gone" if not deletes(operation):
            return (
                f"Somebody deleted the {kind} {operation.target} that a row of {push} is{named}; it is not made "
                f"anew, choose another object for it in `tidegate inbox {push}`."
            )
        case "gone" | "deleted":
            return f"The {kind} {operation.target} is deleted already{named}."
        case "adopted":
            target = existing(operation)
            return (
                f"The {kind} {target} is there already{named}; its row is linked to it and compared with it."
            )
        case "quarantined":
            return f"Stripe refused to {doing}{named}: {said}; correct the row or the mapping{look}."
    if fault.effect == "none":
        return (
            f"Stripe could not {doing} now{named}: {said}; nothing was done, and the next run plans it again."
        )
    return f"Nobody knows yet whether Stripe did {doing}{named}: {said}; the next run finds out."


def deletes(operation: operations.Operation) -> bool:
    """Is it a request that Stripe gives no idempotency?"""
    return operation.method.upper() == "DELETE"


def existing(operation: operations.Operation) -> str:
    """The id that a create chooses; nothing where Stripe does."""
    return str(dict(urllib.parse.parse_qsl(operation.body)).get("id", ""))


def _exists(fault: writes.Fault) -> bool:
    return fault.code == "resource_already_exists" and fault.param in ("", "id")
