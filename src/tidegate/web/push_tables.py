"""How syncs to Stripe are shown: in a list, the rows of a plan before and after, and the history of one row."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

import markupsafe

from tidegate.push import plan as plans
from tidegate.store import records as stored
from tidegate.views import issues as known_issues
from tidegate.views import push_words, records
from tidegate.views import pushes as views
from tidegate.web import frame, issues, tables

PATH = "/syncs"
BEHAVIORS = {
    "update_or_create": "Update or create",
    "update_only": "Update only",
    "create_only": "Create only",
    "mirror": "Mirror",
}
STATES = {
    "fresh": "ok",
    "behind": "late",
    "failed": "failed",
    "running": "running",
    "stopped": "held",
    "off": "off",
}
STATE_WORDS = {
    "fresh": "OK",
    "behind": "Behind",
    "failed": "Failed",
    "running": "Running",
    "stopped": "Stopped",
    "off": "Never ran",
}
COLUMNS = (
    tables.Column("name", "Sync"),
    tables.Column("state", "State"),
    tables.Column("what", "What", wide=True),
    tables.Column("behavior", "How", hide=True),
    tables.Column("schedule", "When", hide=True),
    tables.Column("last", "Last run"),
    tables.Column("waiting", "Needs you", align="right"),
    tables.Column("plan", "Plan"),
)
HEADINGS = (
    "name",
    "state",
    "model",
    "connection",
    "object",
    "behavior",
    "schedule",
    "last_run",
    "waiting",
    "plan",
)
PLAN = (
    tables.Column("key", "Row"),
    tables.Column("what", "What"),
    tables.Column("object", "Object", hide=True),
    tables.Column("change", "Before and after", wide=True),
)
PLAN_HEADINGS = ("key", "verdict", "action", "object", "field", "before", "after", "why")
WORDS = {
    "create": "Create",
    "update": "Update",
    "remove": "Row is gone",
    "equal": "Unchanged",
    "over": "Nothing left to do",
    "unmatched": "No object",
    "held": "Held",
    "quarantined": "In quarantine",
    "invalid": "Invalid",
}
UNDO_WORDS = {
    **WORDS,
    "update": "Put back",
    "remove": "Was created",
    "held": "Changed since",
    "unmatched": "Cannot be undone",
    "over": "Was created, left",
    "equal": "As before already",
}
TONES = {
    "create": "ok",
    "update": "running",
    "remove": "warn",
    "equal": "unchanged",
    "over": "unchanged",
    "unmatched": "filtered",
    "held": "held",
    "quarantined": "quarantined",
    "invalid": "invalid",
}
KIND_WORDS = {
    "create": "To create",
    "update": "To update",
    "remove": "Rows that are gone",
    "held": "Held",
    "invalid": "Invalid",
    "unmatched": "Without an object",
    "unchanged": "Unchanged",
}
COUNTED = (
    ("source", "Rows of the model", ""),
    ("unchanged", "Unchanged", "calm"),
    ("filtered", "Filtered out", "calm"),
    ("created", "To create", "good"),
    ("updated", "To update", "good"),
    ("unmatched", "Without an object", "calm"),
    ("held", "Held", "warn"),
    ("quarantined", "In quarantine", "warn"),
    ("invalid", "Invalid", "bad"),
)
TITLES = {
    "planned": "Planned",
    "sent": "Sent",
    "sent again": "Sent again",
    "done": "Done",
    "refused": "Refused",
    "void": "Not done",
    "unknown": "Unknown",
    "held": "Held",
    "waiting": "Waits",
    "equal": "Unchanged",
}
KINDS = {"done": "ok", "refused": "bad", "unknown": "warn", "held": "warn", "waiting": "warn"}


def row(sync: views.Sync) -> tables.Row:
    """A sync in the list of all."""
    ui, push, stands = frame.parts(), sync.push, sync.standing
    state: Any = ui.chip(STATES[stands.state], STATE_WORDS[stands.state])
    if stands.running is not None:
        state = ui.chip(stands.running.state)
    last = stands.last.started_at or stands.last.queued_at if stands.last is not None else None
    waiting: Any = sync.waiting
    if sync.waiting:
        href = "/issues?" + urllib.parse.urlencode({"flow": f"push:{sync.name}"})
        waiting = markupsafe.Markup('<a class="num" href="{}">{}</a>').format(
            href, frame.number(sync.waiting)
        )
    return tables.Row(
        {
            "name": sync.name,
            "state": state,
            "what": f"{push.model} → {push.object} of {push.connection}",
            "behavior": BEHAVIORS[push.behavior],
            "schedule": stands.schedule,
            "last": ui.when(last),
            "waiting": waiting,
            "plan": plan_chip(sync),
        },
        f"{PATH}/{sync.name}",
        kind="bad" if stands.state == "failed" else "",
    )


def plan_chip(sync: views.Sync) -> Any:
    """How the newest plan is, in a word; nothing where it is done."""
    ui = frame.parts()
    words = {
        "making": ("running", "Being made"),
        "planned": ("warn", "To approve"),
        "approved": ("running", "Being done"),
    }
    if sync.plan is None or sync.plan.state not in words:
        return None
    return ui.chip(*words[sync.plan.state])


def line(sync: views.Sync) -> tuple[Any, ...]:
    """A sync for a file."""
    push, stands = sync.push, sync.standing
    last = stands.last.started_at or stands.last.queued_at if stands.last is not None else None
    return (
        sync.name,
        stands.state,
        push.model,
        push.connection,
        push.object,
        push.behavior,
        stands.schedule,
        None if last is None else frame.iso(last),
        sync.waiting,
        sync.plan.state if sync.plan is not None else None,
    )


def funnel(counts: dict[str, int]) -> list[tuple[str, int, str]]:
    """Where the rows of a plan go: those of the model are the sum of the others."""
    return [
        (label, counts.get(name, 0), kind)
        for name, label, kind in COUNTED
        if name == "source" or counts.get(name, 0)
    ]


def planned(found: Sequence[tuple[int, plans.Entry]], *, undo: bool) -> list[tables.Row]:
    """Rows of a plan: of a write each field before and after, of the others why."""
    ui = frame.parts()
    words = UNDO_WORDS if undo else WORDS
    rows = []
    for number, each in found:
        change: Any = push_words.why(each)
        if each.changes:
            pairs = [(path, pair.before, pair.after) for path, pair in each.changes.items()]
            change = _changes(pairs)
            if each.text:
                change += markupsafe.Markup("<p>{}</p>").format(each.text)
        rows.append(
            tables.Row(
                {
                    "key": each.key or "–",
                    "what": ui.chip(TONES[each.verdict], words[each.verdict]),
                    "object": each.target or ("new" if each.verdict == "create" else None),
                    "change": change,
                },
                id=f"row-{number}",
            )
        )
    return rows


def plan_lines(entries: Iterator[plans.Entry]) -> Iterator[tuple[Any, ...]]:
    """Rows of a plan for a file: one line for each field of a write."""
    for each in entries:
        head = each.key, each.verdict, each.action, each.target
        if not each.changes:
            yield *head, each.field, None, None, each.text
        for path, pair in each.changes.items():
            yield *head, path, pair.before, pair.after, each.text


def record_url(push: str, key: str) -> str:
    """Where the page of one row of a sync is."""
    return f"{PATH}/{push}/records/row?" + urllib.parse.urlencode({"key": key})


def record(push: str, each: records.Row) -> tables.Row:
    """A row of a sync in the list of all."""
    ui, link, hold = frame.parts(), each.link, each.hold
    target: Any = None
    if link is not None:
        where = records.page(link)
        target = link.target
        if where is not None:
            target = markupsafe.Markup('<a href="{}" rel="noreferrer" target="_blank">{}</a>').format(
                where, target
            )
    state = ui.chip("ok", "Written")
    if hold is not None:
        state = markupsafe.Markup('<a href="{}">{}</a>').format(
            issues.row_url(push, each.key), ui.chip(issues.TONES[hold.state], known_issues.KINDS[hold.kind])
        )
    elif link is not None and link.gone:
        state = ui.chip("off", "Gone at Stripe")
    return tables.Row(
        {
            "key": each.key,
            "object": target,
            "state": state,
            "since": ui.when(link.linked_at if link is not None else None),
            "text": hold.text if hold is not None else None,
        },
        record_url(push, each.key),
    )


def timeline(found: records.Record, linked: Any) -> list[tuple[float, str, Any, str]]:
    """The history of a row, the newest first, with what each write changed."""
    ui = frame.parts()
    told = []
    for each in found.entries:
        text: Any = linked(each.text)
        if pairs := [(path, before, after) for path, (before, after) in found.told(each).items()]:
            text = text + ui.diff(pairs)
        told.append((each.at, TITLES.get(each.what, each.what.capitalize()), text, KINDS.get(each.what, "")))
    return told[::-1]


def written(push: str, each: stored.Written, may: bool) -> tables.Row:
    """A run that wrote something, with its undo."""
    ui = frame.parts()
    did = ", ".join(f"{n:,} {what}" for what, n in sorted(each.actions.items()))
    act: Any = ""
    if may:
        act = ui.act("Plan its undo", f"{PATH}/{push}/undo", "quiet", {"run": each.run})
    return tables.Row({"run": each.run, "at": ui.when(each.at), "did": did, "act": act}, f"/runs/{each.run}")


def _changes(pairs: Sequence[tuple[str, str | None, str | None]]) -> markupsafe.Markup:
    """Fields before and after, a line each."""
    made = frame.environment().get_template("part_changes.html")
    return markupsafe.Markup(made.render(changes=pairs))
