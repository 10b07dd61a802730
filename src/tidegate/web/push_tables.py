"""How syncs to Stripe are shown: in a list, the rows of a plan before and after, and the history of one row."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Iterator, Sequence
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
    "partial": "partial",
    "behind": "late",
    "failed": "failed",
    "running": "running",
    "stopped": "held",
    "off": "off",
}
STATE_WORDS = {
    "fresh": "OK",
    "partial": "Partial",
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
REMOVALS = {"delete": "Delete", "archive": "Archive", "flag": "Flag", "clear": "Clear", "undo": "Archive"}
"""What is done to an object whose row is gone, or that an undo removes, by the action of its entry."""
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
    ("unchanged", "As Stripe has them", "calm"),
    ("filtered", "Left out by the filter", "calm"),
    ("created", "To create", "good"),
    ("updated", "To update", "good"),
    ("unmatched", "Without an object", "calm"),
    ("held", "Held", "warn"),
    ("quarantined", "In quarantine", "warn"),
    ("invalid", "Not valid", "bad"),
)
DONE = {
    "create": "created",
    "update": "updated",
    "replace": "replaced",
    "retire": "archived, being replaced",
    "clear": "cleared",
    "flag": "flagged",
    "archive": "archived",
    "delete": "deleted",
    "undo": "put back",
}
"""What a run did, by the action of its operations."""
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
            "state": state(sync),
            "what": markupsafe.Markup('{}<small class="cell-note">{}</small>').format(
                f"{push.model} → {push.object} of {push.connection}", BEHAVIORS[push.behavior]
            ),
            "schedule": stands.schedule,
            "last": ui.when(last),
            "waiting": waiting,
            "plan": plan_chip(sync),
        },
        f"{PATH}/{sync.name}",
        kind="bad" if stands.state == "failed" else "",
    )


def standing(sync: views.Sync) -> str:
    """How a sync is: one of `STATES`; `partial` where its last run, though in time, wrote less than all of it."""
    stands = sync.standing
    partly = stands.state == "fresh" and stands.last is not None and stands.last.state == "partial"
    return "partial" if partly else stands.state


def state(sync: views.Sync) -> Any:
    """The same as a chip; while it runs, how its run is."""
    ui, running, found = frame.parts(), sync.standing.running, standing(sync)
    return ui.chip(running.state) if running is not None else ui.chip(STATES[found], STATE_WORDS[found])


def plan_chip(sync: views.Sync) -> Any:
    """How the newest plan is, in a word that leads to it; nothing where it is done."""
    ui = frame.parts()
    words = {
        "making": ("running", "Being made"),
        "planned": ("warn", "To approve"),
        "approved": ("running", "Being done"),
        "failed": ("failed", "Not made"),
    }
    if sync.plan is None or sync.plan.state not in words or (sync.plan.state == "planned" and not sync.waits):
        return None
    return frame.link(f"{PATH}/{sync.name}/plan", ui.chip(*words[sync.plan.state]))


def line(sync: views.Sync) -> tuple[Any, ...]:
    """A sync for a file."""
    push, stands = sync.push, sync.standing
    last = stands.last.started_at or stands.last.queued_at if stands.last is not None else None
    return (
        sync.name,
        standing(sync),
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


def planned(
    found: Sequence[tuple[int, plans.Entry]],
    *,
    undo: bool,
    push: str,
    known: frozenset[str],
    where: Callable[[str], str | None],
) -> list[tables.Row]:
    """Rows of a plan: of a write each field before and after, of the others why.

    Rows that are `known` lead to their history, objects to the page that Stripe's dashboard has of them: `where`.
    """
    ui = frame.parts()
    words = UNDO_WORDS if undo else WORDS
    rows = []
    for number, each in found:
        change: Any = push_words.why(each)
        what, tone = words[each.verdict], TONES[each.verdict]
        if each.verdict == "remove" and each.action in REMOVALS:
            what, tone = REMOVALS[each.action], "failed" if each.action == "delete" else tone
        if each.changes:
            pairs = [(path, pair.before, pair.after) for path, pair in each.changes.items()]
            change = _changes(pairs)
            if each.text:
                change += markupsafe.Markup("<p>{}</p>").format(each.text)
        rows.append(
            tables.Row(
                {
                    "key": each.key or "–",
                    "what": ui.chip(tone, what),
                    "object": outward(each.target, where(each.target))
                    if each.target
                    else ("new" if each.verdict == "create" else None),
                    "change": change,
                },
                record_url(push, each.key) if each.key in known else "",
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


def outward(target: str, where: str | None) -> Any:
    """The id of an object, leading to its page at Stripe where there is one."""
    if where is None:
        return target
    return markupsafe.Markup('<a href="{}" rel="noreferrer" target="_blank">{}</a>').format(where, target)


def record(push: str, each: records.Row) -> tables.Row:
    """A row of a sync in the list of all."""
    ui, link, hold = frame.parts(), each.link, each.hold
    target: Any = None if link is None else outward(link.target, records.page(link))
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
    did = ", ".join(f"{n:,} {DONE.get(what, what)}" for what, n in sorted(each.actions.items()))
    act: Any = ""
    if may:
        act = frame.Later(lambda: ui.act("Plan its undo", f"{PATH}/{push}/undo", "quiet", {"run": each.run}))
    return tables.Row({"run": each.run, "at": ui.when(each.at), "did": did, "act": act}, f"/runs/{each.run}")


def _changes(pairs: Sequence[tuple[str, str | None, str | None]]) -> markupsafe.Markup:
    """Fields before and after, a line each."""
    made = frame.environment().get_template("part_changes.html")
    return markupsafe.Markup(made.render(changes=pairs))
