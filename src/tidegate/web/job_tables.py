"""What jobs found, as tables and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import markupsafe

from tidegate.store import jobs
from tidegate.views import audits
from tidegate.web import frame, standings, tables

KINDS: Mapping[jobs.Kind, str] = {
    "audit": "Audit",
    "estimate": "Estimate",
    "forget": "Forgetting",
    "rehearsal": "Rehearsal",
    "verification": "Verification",
}
HEADINGS: Mapping[jobs.Kind, tuple[str, ...]] = {
    "audit": (
        *("stream", "account", "status", "stripe", "warehouse"),
        *("missing", "extra", "stale", "in_flight", "repaired", "error"),
    ),
    "estimate": ("stream", "status", "rows", "requests", "exact", "error"),
    "rehearsal": ("kind", "code", "field", "rows", "text"),
    "verification": ("key", "target", "kind", "field"),
    "forget": (),
}
"""Columns of the files, by kind."""
DIFFERENCES = {"missing": "missing", "extra": "extra", "stale": "with other values"}
WELL = ("ok", "repaired")


def listed(found: Sequence[jobs.Job], asked: tables.Asked, more: str | None) -> tables.Table:
    """Jobs, the newest first."""
    parts = frame.parts()
    rows = [
        tables.Row(
            {
                "kind": KINDS[each.kind],
                "what": each.what,
                "state": parts.chip(_chip(each), _word(each)),
                "verdict": verdict(each),
                "by": each.made_by,
                "begun": standings.when(each.begun_at),
            },
            href=f"/audits/{each.id}",
        )
        for each in found
    ]
    columns = (
        tables.Column("kind", "What"),
        tables.Column("what", "Of"),
        tables.Column("state", "State"),
        tables.Column("verdict", "What came of it", wide=True),
        tables.Column("by", "By", hide=True),
        tables.Column("begun", "Begun", align="right"),
    )
    empty = tables.Empty(
        "Nothing was audited yet.", "An audit proves, row by row, that the warehouse holds what Stripe has."
    )
    kinds = [(kind, name) for kind, name in KINDS.items() if kind != "forget"]
    filters = [tables.Choice("kind", "What", kinds)]
    return tables.Table(
        "jobs",
        columns,
        rows,
        None,
        more,
        asked,
        empty,
        filters,
        caption="Audits",
        searchable=False,
        csv=False,
    )


def rows(
    kind: jobs.Kind, found: Sequence[Mapping[str, Any]], asked: tables.Asked, more: str | None
) -> tables.Table:
    """What a job found, a row for each line."""
    made = {"audit": _audited, "estimate": _estimated, "rehearsal": _refused, "verification": _drifted}
    columns, cells = made[kind](found) if kind in made else ((), [])
    filters = [tables.Choice("wrong", "Show", [("yes", "Only where something is wrong")])]
    return tables.Table(
        "found",
        columns,
        cells,
        None,
        more,
        asked,
        tables.Empty("Nothing was found."),
        filters if kind in ("audit", "estimate") else [],
        caption="What was found",
        searchable=False,
        csv=True,
    )


def verdict(it: jobs.Job) -> str:
    """What came of a job, in a sentence."""
    told = it.result
    if it.error or not told:
        return it.error
    match it.kind:
        case "audit":
            counts = [f"{told[name]:,} {words}" for name, words in DIFFERENCES.items() if told[name]]
            found = ", ".join(counts) or "no difference"
            repaired = f"; {told['repaired']:,} repaired" if told["repaired"] else ""
            return f"{told['stripe']:,} rows compared: {found}{repaired}."
        case "estimate":
            took = markupsafe.Markup(frame.parts().duration(told["duration_s"])).striptags()
            bound = f", {took} at least" if told["duration_s"] else ""  # none without a limit of rate
            requests = f"{told['requests']:,} {'request' if told['requests'] == 1 else 'requests'}"
            return f"About {told['rows']:,} rows with {requests}{bound}."
        case "rehearsal":
            written = told["created"] + told["updated"] + told["removed"]
            refused = told["held"] + told["invalid"] + told["failed"] + told["quarantined"]
            return f"{written:,} of {told['source']:,} rows would be written, {refused:,} refused."
        case "verification":
            return (
                f"Of {told['rows']:,} rows that were written {told['equal']:,} are so still, {told['changed']:,} "
                f"were changed at Stripe, {told['deleted']:,} deleted."
            )
        case "forget":
            did = "would be erased" if told["dry_run"] else "are erased"
            return f"{told['rows']:,} {'row' if told['rows'] == 1 else 'rows'} {did}."


def facts(it: jobs.Job) -> list[tuple[str, Any]]:
    """What is known of a job at once."""
    parts = frame.parts()
    found: list[tuple[str, Any]] = [
        ("State", parts.chip(_chip(it), _word(it))),
        ("Begun", parts.when(it.begun_at)),
        ("By", it.made_by),
    ]
    if it.ended_at is not None:
        found.append(("Took", parts.duration(it.ended_at - it.begun_at)))
    requests = (it.result or {}).get("requests", it.shown.get("requests"))
    if requests:
        found.append(("Requests", parts.number(requests)))
    if it.attempts > 1:
        found.append(("Begun anew", "once" if it.attempts == 2 else f"{it.attempts - 1} times"))
    if it.alive:
        found.append(("Rows so far", parts.number(it.shown.get("rows", 0))))
    for name, label in (("streams", "Only"), ("since", "Since"), ("connection", "Over")):
        if value := it.wish.get(name):
            found.append((label, ", ".join(value) if isinstance(value, list) else value))
    return found


def balances(it: jobs.Job) -> list[tuple[str, str, str]]:
    """The balance of each account and currency: account, verdict and sentence."""
    found = []
    for account in (it.result or {}).get("balance", ()) if it.kind == "audit" else ():
        if account["error"]:
            found.append((account["account"], "warn", account["error"]))
        for each in account["currencies"]:
            said = (
                f"{each['balance']:,} {each['currency'].upper()} at Stripe, {each['warehouse']:,} in "
                "balance_transactions (minor units)."
            )
            found.append((account["account"], "ok" if each["equal"] else "failed", said))
    return found


def _chip(it: jobs.Job) -> str:
    return "partial" if it.state == "partial" else it.state


def _word(it: jobs.Job) -> str:
    status = (it.result or {}).get("status") if it.kind == "audit" else None
    return audits.WORDS[status].capitalize() if status else ""


def _audited(found: Sequence[Mapping[str, Any]]) -> tuple[tuple[tables.Column, ...], list[tables.Row]]:
    parts = frame.parts()
    columns = (
        tables.Column("stream", "Stream"),
        tables.Column("account", "Account", hide=True),
        tables.Column("status", "State"),
        *(
            tables.Column(name, label, align="right")
            for name, label in (
                ("stripe", "At Stripe"),
                ("warehouse", "Here"),
                ("missing", "Missing"),
                ("extra", "Extra"),
                ("stale", "Other values"),
            )
        ),
        tables.Column("next", "What to do", wide=True),
    )
    cells = [
        tables.Row(
            {
                **{name: each[name] for name in ("stream", "account")},
                **{name: parts.number(each[name]) for name in ("stripe", "warehouse")},
                **{
                    name: parts.number(each[name]) if each[name] else ""
                    for name in ("missing", "extra", "stale")
                },
                "status": parts.chip(
                    "ok"
                    if each["status"] in WELL
                    else "off"
                    if each["status"].startswith("not_")
                    else "warn",
                    audits.WORDS[each["status"]].capitalize(),
                ),
                "next": " ".join(filter(None, (each["error"], audits.next_step(each)))),
            },
            kind="bad" if each["status"] in ("different", "failed") else "",
        )
        for each in found
    ]
    return columns, cells


def _estimated(found: Sequence[Mapping[str, Any]]) -> tuple[tuple[tables.Column, ...], list[tables.Row]]:
    parts = frame.parts()
    columns = (
        tables.Column("stream", "Stream"),
        tables.Column("status", "State"),
        tables.Column("rows", "Rows", align="right"),
        tables.Column("requests", "Requests", align="right"),
        tables.Column("error", "Why not", wide=True),
    )
    cells = [
        tables.Row(
            {
                "stream": each["stream"],
                "status": parts.chip(each["status"]),
                "rows": f"{'' if each['exact'] else 'about '}{each['rows']:,}",
                "requests": parts.number(each["requests"]),
                "error": each["error"] or "",
            }
        )
        for each in found
    ]
    return columns, cells


def _refused(found: Sequence[Mapping[str, Any]]) -> tuple[tuple[tables.Column, ...], list[tables.Row]]:
    columns = (
        tables.Column("why", "Why"),
        tables.Column("field", "Field"),
        tables.Column("rows", "Rows", align="right"),
        tables.Column("first", "First rows", wide=True),
        tables.Column("text", "What was said", wide=True),
    )
    cells = [
        tables.Row(
            {
                "why": " ".join(filter(None, (each["kind"], each["code"]))),
                "field": each["field"],
                "rows": f"{each['rows']:,}",
                "first": ", ".join(map(str, each["first"])),
                "text": each["text"],
            }
        )
        for each in found
    ]
    return columns, cells


def _drifted(found: Sequence[Mapping[str, Any]]) -> tuple[tuple[tables.Column, ...], list[tables.Row]]:
    said = {"changed": "Changed at Stripe", "deleted": "Deleted at Stripe", "unlinked": "Its object is gone"}
    columns = (
        tables.Column("key", "Row"),
        tables.Column("target", "Object"),
        tables.Column("kind", "What"),
        tables.Column("field", "Field", wide=True),
    )
    cells = [
        tables.Row({**{name: each[name] for name in ("key", "target", "field")}, "kind": said[each["kind"]]})
        for each in found
    ]
    return columns, cells
