"""How everything is, in a word and in one sentence, and what needs a person, by kind."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tidegate import config
from tidegate.engine import matters
from tidegate.engine import place as places
from tidegate.views import flows as known_flows
from tidegate.views import issues as inbox
from tidegate.views import standing

NAMED = 2
"""Flows that the sentence names; of more it tells how many."""
Health = Literal["ok", "warn", "failed", "off"]


@dataclass(frozen=True, slots=True)
class Issue:
    """Things of one kind that need a person."""

    kind: str
    label: str
    count: int
    rows: bool
    """Are they rows, rather than matters?"""


def health(place: places.Place) -> tuple[Health, str]:
    """How everything is, in a word and in a sentence."""
    groups = standing.grouped(place)
    known = known_flows.listed(place, groups=groups)
    unread = sum(each.count for each in groups if each.state == "failed")
    return said(place.file, known, issues(place), unread, valid=not place.problem)


def said(
    file: config.Config,
    known: Sequence[known_flows.Standing],
    issues: Sequence[Issue],
    unread: int = 0,
    *,
    valid: bool = True,
) -> tuple[Health, str]:
    """How everything is, in a word and in a sentence.

    `unread` streams could not be read whole the last time; where it is not `valid`, a newer configuration does not
    count for what is wrong with it.
    """
    health, sentence = _said(file, known, issues, unread)
    if valid:
        return health, sentence
    return ("failed" if health == "failed" else "warn"), f"A newer configuration does not count. {sentence}"


def _said(
    file: config.Config, known: Sequence[known_flows.Standing], issues: Sequence[Issue], unread: int
) -> tuple[Health, str]:
    if not known:
        if not file.stripe:
            return (
                "off",
                "Nothing is connected yet: add a Stripe account, then a warehouse, then choose streams.",
            )
        if not file.warehouses:
            return "off", "Stripe is connected, and no warehouse yet: add one, then choose streams."
        return "off", "Nothing moves yet: choose the streams to pull."
    wrong = [each for each in known if each.state != "fresh"]
    count = len(known)
    if not wrong:
        fresh = "The flow is fresh" if count == 1 else f"All {count:,} flows fresh"
        told = "; ".join(filter(None, (fresh, _unread(unread), _needs(issues))))
        return ("warn" if issues or unread else "ok"), f"{told}."
    worst: Health = "ok"
    if any(each.state == "failed" for each in wrong):
        worst = "failed"
    elif issues or unread or any(each.state in ("behind", "stopped") for each in wrong):
        worst = "warn"
    elif all(each.state == "off" for each in known):
        worst = "off"
    fresh = f"{count - len(wrong):,} of {count:,} flows fresh" if count > 1 else ""
    return worst, "; ".join(filter(None, (fresh, _troubles(wrong), _unread(unread), _needs(issues)))) + "."


def _needs(issues: Sequence[Issue]) -> str:
    """How many rows, plans that wait for approval, and other matters need a person."""
    counts = {"row": 0, "plan": 0, "matter": 0}
    for each in issues:
        counts["row" if each.rows else "plan" if each.kind == inbox.APPROVAL else "matter"] += each.count
    parts = [f"{count:,} {word if count == 1 else word + 's'}" for word, count in counts.items() if count]
    if not parts:
        return "nothing needs you"
    named = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
    return f"{named} {'needs' if sum(counts.values()) == 1 else 'need'} you"


def _unread(count: int) -> str:
    return f"{count:,} {'stream was' if count == 1 else 'streams were'} not read whole" if count else ""


def _troubles(wrong: Sequence[known_flows.Standing]) -> str:
    verbs: dict[known_flows.State, tuple[str, str]] = {
        "failed": ("failed", "failed"),
        "behind": ("is behind", "are behind"),
        "stopped": ("is stopped", "are stopped"),
        "running": ("runs for the first time", "run for the first time"),
        "off": ("has not run yet", "have not run yet"),
    }
    parts = []
    for state, (one, several) in verbs.items():
        names = [each.name for each in wrong if each.state == state]
        if 0 < len(names) <= NAMED:
            parts.append(f"{' and '.join(names)} {one if len(names) == 1 else several}")
        elif names:
            parts.append(f"{len(names):,} {several}")
    stopped = [each for each in wrong if each.stopped_until is not None]
    if len(stopped) == 1:
        parts.append(f"until {matters.moment(stopped[0].stopped_until or 0.0)} unless you start it")
    return ", ".join(parts)


_LABELS = {
    "approval": ("plan that waits for approval", "plans that wait for approval"),
    "failed": ("flow that failed", "flows that failed"),
    "no_permission": ("missing permission", "missing permissions"),
    "freshness": ("stream that is behind", "streams that are behind"),
    "stream": ("stream that was not read whole", "streams that were not read whole"),
    "held": ("stream whose rows are held", "streams whose rows are held"),
    "gap": ("time of missed events", "times of missed events"),
    "budget": ("rate limit that is used up", "rate limits that are used up"),
    "endpoint": ("webhook endpoint that is off", "webhook endpoints that are off"),
    "silence": ("webhook endpoint without deliveries", "webhook endpoints without deliveries"),
    "key": ("key that Stripe refuses", "keys that Stripe refuses"),
    "sign_in": ("connection to sign in for", "connections to sign in for"),
    "consent": ("account that disconnected", "accounts that disconnected"),
}


def issues(place: places.Place) -> list[Issue]:
    """What needs a person, by kind; the tables of rows first, and nothing twice."""
    store = place.store
    found = [
        Issue(
            f"held:{row['kind']}",
            f"{'row' if row['n'] == 1 else 'rows'} held: {_named(row['kind'])}",
            int(row["n"]),
            True,
        )
        for row in store.execute(
            "SELECT kind, count(*) AS n FROM holds WHERE state = 'held' AND kind <> 'unknown' "
            "GROUP BY kind ORDER BY kind"
        )
    ]
    rows = {
        "unknown": (
            ("write", "writes"),
            "of which it is not known what became",
            "SELECT count(*) AS n FROM operations WHERE status IN ('intent', 'sent', 'unknown') "
            "AND status = 'unknown'",
        ),
        "quarantine": (
            ("row", "rows"),
            "that a pipeline could not shape",
            "SELECT count(*) AS n FROM failed_records",
        ),
    }
    for kind, (words, label, question) in rows.items():
        row = store.one(question)
        if row is not None and row["n"]:
            found.append(Issue(kind, f"{words[row['n'] > 1]} {label}", int(row["n"]), True))
    planned = {f"push:{each.push}" for each in inbox.waiting(place)}
    counts = collections.Counter[str]({inbox.APPROVAL: len(planned)} if planned else {})
    for row in store.execute(
        "SELECT kind, flow, count(*) AS n FROM alerts WHERE resolved_at IS NULL GROUP BY kind, flow ORDER BY kind"
    ):
        kind, flow = row["kind"], row["flow"]
        of_rows = kind in inbox.ROWS or (kind == "held" and flow.startswith("push:"))
        if not of_rows and not (kind == inbox.APPROVAL and flow in planned):
            counts[kind] += int(row["n"])
    for kind, count in counts.items():
        named = kind.replace("_", " ")
        one, several = _LABELS.get(kind, (f"alert: {named}", f"alerts: {named}"))
        found.append(Issue(kind, one if count == 1 else several, count, False))
    return found


def _named(kind: str) -> str:
    """A kind of rows that are held, in words."""
    words = inbox.KINDS.get(kind, kind)
    return words[0].lower() + words[1:]
