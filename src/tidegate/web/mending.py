"""Where what an alert tells is mended: a page, and the words of the button that leads there."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

from tidegate import config
from tidegate.engine import flows
from tidegate.store import tokens
from tidegate.web import addresses

KINDS: Mapping[str, str] = {
    "failed": "A flow failed",
    "no_permission": "Missing permission",
    "stream": "Not read whole",
    "held": "Rows held",
    "freshness": "Behind",
    "gap": "Missed events",
    "budget": "Rate limit used up",
    "endpoint": "Webhook endpoint",
    "silence": "No deliveries",
    "approval": "Waits for approval",
    "rows": "Rows not written",
    "quarantine": "Quarantine",
    "unknown": "Unknown operation",
    "key": "Key refused",
    "sign_in": "Sign-in needed",
    "consent": "Disconnected at Stripe",
}
"""The kinds of alerts, in words."""
OF_STREAMS = ("no_permission", "stream", "held", "freshness")
_RUN = re.compile(r"\brun_[0-9a-f]{16}\b")


@dataclass(frozen=True, slots=True)
class Mending:
    """A page, what leads to it, and the scope that the page needs."""

    label: str
    url: str
    scope: tokens.Scope = "read"


def of(file: config.Config, kind: str, matter: str, flow: str, text: str) -> Mending:
    """What mends a matter of `engine.matters`, by its kind, its name, its flow and its text."""
    own = flow.partition(":")[2]
    names = matter.removeprefix(f"{flow}/").split("/")
    last, whose = urllib.parse.quote(names[-1]), urllib.parse.quote(names[min(1, len(names) - 1)])
    pull, push = flow.startswith("pull:"), flow.startswith("push:")
    match kind:
        case "key":
            return Mending("Replace the key", f"/accounts/{whose}/edit", "write")
        case "sign_in" | "consent":
            return Mending("Sign in again", f"/accounts/{whose}/consent", "write")
        case "endpoint" | "silence":
            return Mending("See webhooks", f"/accounts/{whose}/webhooks")
        case "no_permission":
            known = flows.flows(file).get(flow)
            return Mending("See the key", f"/accounts/{known.connection}" if known else "/accounts")
        case "held" | "stream" | "freshness" if pull:
            return Mending("See the stream", f"{addresses.flow(flow)}/{last}")
        case "approval" if push:
            return Mending("See the plan", f"/syncs/{own}/plan")
        case "quarantine" if not push:
            return Mending("See the rows", f"/pipelines/{own}/failures")
        case "held" | "rows" | "quarantine" | "unknown" if push:
            return Mending("See the rows", f"/issues?flow={urllib.parse.quote(flow)}")
        case "budget":
            return Mending("See limits", "/settings/limits")
    if run := _RUN.search(text):
        return Mending("See the run", f"/runs/{run[0]}")
    return Mending("See the runs", f"/runs?flow={urllib.parse.quote(flow)}" if flow else "/runs")


def kind_of(matter: str, flow: str) -> str:
    """The kind of a matter, which its name says."""
    return matter.removeprefix(f"{flow}/").partition("/")[0] if flow else matter.partition("/")[0]


def subject(kind: str, matter: str, flow: str) -> str:
    """What an alert is about in a word or two: a stream, an account, a connection, a run."""
    names = matter.removeprefix(f"{flow}/").split("/")
    if kind in OF_STREAMS or kind == "gap" or not flow:
        return names[-1] if flow else names[min(1, len(names) - 1)]
    return {"failed": "A run", "approval": "A plan"}.get(kind, "An alert")
