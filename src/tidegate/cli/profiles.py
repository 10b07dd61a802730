"""Customers of the model on the screen: lists, one of them, why, decisions, and what other rules would make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from tidegate.cli import output
from tidegate.views import saying

if TYPE_CHECKING:
    import datetime as dt

    from tidegate.customers import decisions, finding, identity, parties, preview
    from tidegate.customers import why as reasons

USES = {
    "links": "",
    "alone": "",
    "shared": "too many records have it, so that it links nothing",
    "ignored": "ignored, to keep customers small or two records apart",
    "unused": "not among the identifiers",
}
"""What is said of an identifier's use."""


def page(found: finding.Page, text: str, *, as_json: bool) -> int:
    """A page of customers."""

    if as_json:
        output.print_json(_plain(found))
        return 0
    if not found.customers:
        output.say(f"no customer is found by {text!r}" if text else "the customer model has no customers")
        return 0
    names = list(found.customers[0].known)
    table = output.table("profile", *names, "records", "accounts", whole=1)
    for each in found.customers:
        values = (_shown(each.known[name]) for name in names)
        table.add_row(each.profile, *values, f"{each.sources:,}", f"{each.accounts:,}")
    output.console().print(table)
    if found.after:
        output.say(f"there are more: --after {found.after}")
    return 0


def one(found: finding.Customer, *, as_json: bool) -> int:
    """A customer with all that belongs to it."""
    if as_json:
        output.print_json(_plain(found))
        return 0
    lines = [
        found.profile,
        *(f"    {name}: {_shown(value)}" for name, value in found.properties.items() if value is not None),
        f"first seen {_day(found.first_seen_at)}, changed {_day(found.updated_at)}",
    ]
    of = output.counted(found.accounts, "account")
    lines.append(f"{output.counted(found.sources, 'record')} of {of}:")
    for each in found.records:
        came = "" if each.home == found.profile else f" (came with {each.home})"
        lines.append(f"    {each.record}  since {_day(each.since)}{came}")
    if found.sources > len(found.records):
        lines.append(f"    and {found.sources - len(found.records):,} more")
    if found.identifiers:
        lines.append("recognised by:")
    for value in found.identifiers:
        whose = f"{output.counted(len(value.records), 'record')}"
        use = f"; {USES[value.use]}" if USES[value.use] else ""
        lines.append(f"    {value.identifier} {_shown(value.value)}: {whose}{use}")
    if found.aliases:
        lines.append(f"former profiles: {', '.join(found.aliases)}")
    if found.decisions:
        lines += ["decisions:", *(f"    {sentence(each)}" for each in found.decisions)]
    output.show(*lines)
    return 0


def why(found: reasons.Answer, *, as_json: bool) -> int:
    """Why two are one customer, or why not."""
    if as_json:
        output.print_json({"one_customer": found.is_one, **_plain(found)})
        return 0
    known = {each.decision: each for each in found.decisions}
    first, last = found.first, found.last
    if found.is_one:
        output.show(
            f"{first.asked} and {last.asked} are one customer, {first.profile}" + (":" if found.path else ".")
        )
        for step in found.path:
            if step.decision:
                output.show(f"    {sentence(known[step.decision])}")
            else:
                output.show(
                    f"    {step.record} and {step.other} have the same {step.identifier}: {_shown(step.value)}"
                )
    else:
        output.show(f"{first.asked} and {last.asked} are two customers, {first.profile} and {last.profile}:")
        for reason in found.reasons:
            output.show(f"    {_reason(reason, known)}")
    return 0


def decided(found: Sequence[decisions.Decision], *, as_json: bool) -> int:
    """Decisions, the oldest first."""
    if as_json:
        output.print_json({"decisions": [_plain(each) for each in found]})
        return 0
    for each in found:
        waits = "" if each.resolved_at else "  (shows after the next run)"
        by = f" by {each.withdrawn_by}" if each.withdrawn_by else ""
        gone = f"  (withdrawn {_day(each.withdrawn_at)}{by})" if each.withdrawn_at else ""
        output.show(f"{sentence(each)}{gone}{waits}")
    if not found:
        output.say("nothing was decided by hand")
    return 0


def previewed(found: preview.Preview, identifiers: Sequence[str], most: int, *, as_json: bool) -> int:
    """What other rules would make."""
    if as_json:
        output.print_json({"identifiers": list(identifiers), "max_cluster": most, **_plain(found)})
        return 0
    counted = output.counted
    lines = [
        f"by {', '.join(identifiers)}, {most:,} records at most:",
        f"    {counted(found.records, 'record')}, {counted(found.profiles, 'customer')}, "
        f"{found.profiles_now:,} until now",
        f"    {counted(found.merges, 'profile')} would go into another, "
        f"{counted(found.splits, 'part')} would come off one",
    ]
    lines += _section(
        "would be merged:",
        (f"{', '.join(each.profiles)}: {saying.few(each.first, each.records)}" for each in found.merged),
    )
    lines += _section(
        "would come apart:",
        (
            f"{each.profile}: {' | '.join(saying.few(part.first, part.records) for part in each.parts)}"
            for each in found.parted
        ),
    )
    lines += _section(
        "the largest customers:",
        (
            f"{counted(each.records, 'record')}: {saying.few(each.first, each.records)}"
            for each in found.largest
        ),
    )
    lines += _section("not used:", map(saying.held, found.held))
    output.show(*lines)
    return 0


def sentence(each: decisions.Decision) -> str:
    """A decision in words: what, about whom, who, when, why."""
    note = f": {each.note}" if each.note else ""
    by = f" by {each.decided_by}" if each.decided_by else ""
    return f"{each.decision}  {saying.what(each)}, {_day(each.decided_at)}{by}{note}"


def noted(each: decisions.Decision, *, is_withdrawn: bool) -> str:
    """What was just decided."""
    return f"withdrawn: {sentence(each)}" if is_withdrawn else f"noted: {sentence(each)}"


def resolved(came: identity.Resolved) -> str:
    """What became of profiles at once."""
    figures = {"merged": came.merged, "split off": came.split, "new": came.born, "gone": came.gone}
    told = ", ".join(f"{number:,} {what}" for what, number in figures.items() if number)
    return f"{output.counted(came.profiles, 'profile')}: {told or 'none changed'}"


def party(found: parties.Party) -> str:
    """Whom somebody means, with what belongs to them."""
    return f"{found.asked} ({found.profile}: {saying.few(found.records)})"


def _reason(reason: reasons.Reason, known: Mapping[str, decisions.Decision]) -> str:
    both = f"both have the {reason.identifier} {_shown(reason.value)}" if reason.value else ""
    match reason.cause:
        case "apart" | "alone":
            return sentence(known[reason.decision])
        case "shared":
            return f"{both}, but {reason.records:,} records have it, so that it links nothing"
        case "size":
            large = f"by {reason.identifier} {reason.records:,} records would be one customer: it was ignored"
            return f"{both}, but {large}" if both else large
        case "nothing":
            return "no value of an identifier links them, directly or through others"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    told = [f"    {line}" for line in lines]
    return [title, *told] if told else []


def _plain(value: Any) -> Any:
    """A frozen value as JSON has it."""
    return msgspec.to_builtins(value, enc_hook=str)


def _shown(value: object) -> str:
    """A value on one line; what would move the cursor or colour the screen is shown as what it is."""
    if value is None:
        return "-"
    plain = isinstance(value, dict | list)
    text = msgspec.json.encode(value, enc_hook=str).decode() if plain else str(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _day(moment: dt.datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "-"
