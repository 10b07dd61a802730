"""What is said of a plan and of what came of a push: why a row is left, the effort, and sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from tidegate.engine import pushes
from tidegate.push import plan

REMOVED: Mapping[str, str] = {
    "delete": "deleted",
    "archive": "archived",
    "undo": "archived",
    "flag": "flagged",
    "clear": "cleared",
}
"""What was done to an object that is to go, by the action of its entry."""


def why(entry: plan.Entry) -> str:
    """Why a row is not written, and of which of its fields, said once."""
    if not entry.field or not entry.text:
        return entry.field or entry.text
    named = entry.text.startswith((f"{entry.field} ", f"{entry.field}:"))
    return entry.text if named else f"{entry.field}: {entry.text}"


def keys(found: plan.Plan) -> Iterator[str]:
    """Which rows of a model cannot be told apart, as far as they can be named."""
    return unclear(asdict(found))


def unclear(told: Mapping[str, Any]) -> Iterator[str]:
    """The same of a plan that was kept."""
    if told.get("doubles"):
        more = told["doubles"] - len(told["doubled"])
        others = f", and {more:,} more" if more else ""
        yield f"keys that stand on several rows: {', '.join(told['doubled'])}{others}"
    if told.get("keyless"):
        yield f"{counted(told['keyless'], 'row')} {'has' if told['keyless'] == 1 else 'have'} no usable key"


def effort(found: plan.Plan, limit: int | None = None) -> str:
    """What a plan takes, in a sentence."""
    return said(asdict(found.counts), found.requests, found.seconds, limit)


def said(counts: Mapping[str, int], requests: int, seconds: float, limit: int | None = None) -> str:
    """The same of its figures."""
    writes = counts["created"] + counts["updated"] + counts["removed"]
    if not writes:
        return "Nothing is to be written."
    if limit is not None and limit < writes:
        planned = "1 write is" if writes == 1 else f"{writes:,} writes are"
        return f"{planned} planned; {limit:,} of them now (limit {limit})."
    whole = max(1, round(seconds))
    spent = (
        f"{whole} s" if whole < 120 else f"{whole / 60:.0f} min" if whole < 7200 else f"{whole / 3600:.1f} h"
    )
    return f"{counted(writes, 'write')}, {counted(requests, 'request')}, about {spent}."


def figures(result: pushes.Result, *, left: str = "left") -> dict[str, int]:
    """What came of the rows of a push, each row once; `left` names those that could have been written."""
    counts = result.counts
    return {
        "created": counts.created,
        "updated": counts.updated,
        "removed": counts.removed,
        "unchanged": counts.unchanged,
        "filtered out": counts.filtered,
        "unmatched": counts.unmatched,
        left: result.left,
        "held": counts.held - result.left,
        "in quarantine": counts.quarantined,
        "invalid": counts.invalid,
        "failed": result.failed,
        "unknown": result.unknown,
    }


def doing(counts: Mapping[str, int], removal: str, *, undo: bool = False) -> str:
    """What a plan writes, each kind with its number: `3 created, 34 deleted`; by `push_plans.removal`."""
    figures = (
        (counts.get("created", 0), "created"),
        (counts.get("updated", 0), "put back" if undo else "updated"),
        (counts.get("removed", 0), REMOVED.get(removal, "changed")),
    )
    return ", ".join(f"{number:,} {what}" for number, what in figures if number)


def gone(count: int, object: str, removal: str) -> str:
    """What becomes of objects whose rows are gone, in a sentence that says plainly what cannot be undone."""
    noun, verb = counted(count, object.replace("_", " ")), "is" if count == 1 else "are"
    done = {
        "delete": "deleted at Stripe, which cannot be undone",
        "archive": "archived",
        "flag": "flagged",
        "clear": "cleared of the fields that are sent",
    }.get(removal, "changed")
    return f"{noun} {verb} {done}: {'its row is' if count == 1 else 'their rows are'} gone from the model."


def summed(figures: Mapping[str, int], requests: int) -> str:
    """What came of rows, without what came of none, and the requests: `1 created, 2 held; 3 requests`."""
    parts = ", ".join(f"{number:,} {what}" for what, number in figures.items() if number)
    spent = f"; {counted(requests, 'request')}" if requests else ""
    return f"{parts or 'no rows'}{spent}"


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
