"""Decisions about customers, and what links them, in words: the same in a terminal, over HTTP and on pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidegate.customers import decisions, identity
    from tidegate.customers import why as reasons

FEW = 5
"""Records that a sentence names."""


def few(records: Sequence[str], every: int = 0) -> str:
    """Some records by their keys, and how many more there are."""
    more = max(every, len(records)) - len(records[:FEW])
    return ", ".join(records[:FEW]) + (f" and {more:,} more" if more else "")


def what(each: decisions.Decision) -> str:
    """What was decided about whom."""
    return {
        "together": f"{each.record} and {each.other} are merged by hand",
        "apart": f"{each.record} was taken away from {each.other}",
        "alone": f"{each.record} stands alone",
    }[each.kind]


def sentence(each: decisions.Decision) -> str:
    """A decision in words: what, about whom, and by whom."""
    return what(each) + (f", by {each.decided_by}" if each.decided_by else "")


def reason(found: reasons.Reason, said: Sequence[decisions.Decision]) -> str:
    """What keeps two apart, in words."""
    both = f"Both have the {found.identifier} {found.value}" if found.value else ""
    match found.cause:
        case "apart" | "alone":
            return next(
                (f"{sentence(each)}." for each in said if each.decision == found.decision), "Decided by hand."
            )
        case "shared":
            return f"{both}, but {found.records:,} records have it, so that it links nothing."
        case "size":
            large = f"by {found.identifier} {found.records:,} records would be one customer: it was ignored"
            return f"{both}, but {large}." if both else f"{large[:1].upper()}{large[1:]}."
        case "nothing":
            return "No value of an identifier links them, directly or through others."


def step(found: reasons.Step, said: Sequence[decisions.Decision]) -> str:
    """What links two records, in words."""
    if found.decision:
        return next(
            (f"{sentence(each)}." for each in said if each.decision == found.decision), "Decided by hand."
        )
    return f"{found.record} and {found.other} have the same {found.identifier}: {found.value}"


def held(found: identity.Held) -> str:
    """What rules do not use, in words."""
    records = "1 record" if found.records == 1 else f"{found.records:,} records"
    cause = {
        "shared": f"{found.clusters:,} {'value' if found.clusters == 1 else 'values'} that too many records have",
        "size": f"{found.clusters:,} {'customer' if found.clusters == 1 else 'customers'} that would be too large",
        "apart": "what would join records that somebody took apart",
    }[found.cause]
    return f"{found.identifier}: {cause} ({records})"


USES: Mapping[str, str] = {
    "links": "links its records",
    "alone": "one record has it",
    "shared": "too many records have it, so that it links nothing",
    "ignored": "ignored, to keep customers small or two records apart",
    "unused": "not among the identifiers",
}
"""What is said of an identifier's use."""
