"""Issues: everything that waits for a person in one table, and a row of a sync with what one decides by."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from typing import Any, cast

import fastapi
import markupsafe
from starlette import requests, responses

from tidegate import errors
from tidegate.api import base
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.store import holds
from tidegate.views import deciding, undecided
from tidegate.views import issues as views
from tidegate.web import addresses, configured, frame, mending, prose, run_tables, tables

PATH = "/issues"
SIZE = 50
HEADINGS = ("kind", "flow", "key", "account", "field", "text", "since", "state")
STATES = {"held": "Needs you", "waiting": "Tried again", "skipped": "Skipped", "chosen": "Chosen"}
TONES = {"held": "held", "waiting": "waiting", "skipped": "skipped", "chosen": "queued", "open": "open"}
COLUMNS = (
    tables.Column("key", "Row"),
    tables.Column("flow", "Where"),
    tables.Column("text", "Why", wide=True),
    tables.Column("since", "Since", hide=True),
    tables.Column("state", "State"),
    tables.Column("act", "", align="right"),
)
NAMED = markupsafe.Markup('{}<small class="cell-note">{}</small>')
"""What waits, with its kind below."""
MANY: dict[str, tuple[tuple[str, str], ...]] = {
    "ambiguous": (
        ("oldest", "Take the oldest"),
        ("newest", "Take the newest"),
        ("create", "Make new objects"),
    ),
    "conflict": (("warehouse", "Write the values from here"), ("stripe", "Keep the values at Stripe")),
    "gone": (("create", "Make them anew"),),
    "unknown": (("create", "They were not made: make them"),),
}
"""What can be chosen for all rows of a kind."""
DECISIONS: dict[str, holds.State] = {"retry": "waiting", "skip": "skipped", "choose": "chosen"}


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(PATH)
    def listed(request: requests.Request, asker: asking.Reader) -> responses.Response:
        asked = tables.asked(request, filters=("kind", "flow", "state"))
        only = _only(asked)
        [kind] = only.kinds or ("",)
        if asked.format == "csv":
            return tables.csv(request, "issues", HEADINGS, _lines(place, only))
        after = base.Asked(SIZE, asked.after or None).place(float, str, str, str, str)
        found = views.listed(place, only, limit=SIZE, after=cast("views.Place | None", after))
        counts = views.counts(place)
        table = tables.Table(
            "issues",
            COLUMNS,
            [_row(each, asker, asked, place) for each in found.items],
            sum(counts.values()) if not asked.narrowed else None,
            None if found.next is None else base.cursor(*found.next),
            asked,
            tables.Empty(
                "Nothing needs you.",
                "Rows that are not written, plans that wait for approval and alerts stand here.",
                "See all runs",
                "/runs",
            ),
            _choices(place, counts),
            caption="What waits for a person, the oldest first",
        )
        number = views.decidable(place.store, only) if asker.may("run") else 0
        return frame.page(
            request,
            asker,
            "issues.html",
            table=table,
            counts=[(views.KINDS.get(kind, kind), kind, n) for kind, n in counts.items()],
            only=only,
            number=number,
            many=MANY.get(kind, ()),
            advice=deciding.ADVICE.get(cast("holds.Kind", kind), ""),
            fields={"kind": kind, "flow": only.flow, "search": only.search},
            back=asked.url(),
        )

    @made.post(f"{PATH}/-/decide")
    def decide_all(
        request: requests.Request, asker: asking.Operator, sent: configured.Sent
    ) -> responses.Response:
        decision, choice = _decision(configured.text(sent, "decision"))
        kind, flow, search = (configured.text(sent, name) for name in ("kind", "flow", "search"))
        only = views.Only((kind,) if kind else (), flow, "", search)
        number = views.decidable(place.store, only)
        if number > 1:
            configured.typed(sent, f"{number}")
        told = deciding.decide_all(place, asker, only, decision, choice)
        count = told["decided"]
        rows = "1 row is" if count == 1 else f"{count:,} rows are"
        left = f" {told['left']:,} stay as they are." if told["left"] else ""
        words = {"waiting": "tried again by the next run", "skipped": "left until they change"}
        said = f"{rows} {words.get(decision, 'chosen for')}.{left}"
        return frame.done(request, asking.onward(configured.text(sent, "back") or PATH), said)

    @made.get(f"{PATH}/row")
    def one(request: requests.Request, asker: asking.Reader, push: str, key: str) -> responses.Response:
        return frame.page(request, asker, "issue.html", **_told(place, push, key))

    @made.post(f"{PATH}/row")
    def decide(
        request: requests.Request, asker: asking.Operator, sent: configured.Sent
    ) -> responses.Response:
        push, key = configured.text(sent, "push"), configured.text(sent, "key")
        decision, choice = _decision(configured.text(sent, "decision"))
        choice = choice or configured.text(sent, "choice").strip()
        back = asking.onward(configured.text(sent, "back") or PATH)
        try:
            found = deciding.decide(place, asker, push, key, decision, choice)
        except errors.ConfigError as error:
            return frame.done(request, back, str(error), "bad")
        return frame.done(request, back, f"{key} of {push}: {deciding.WORDS[found.state]}.")

    return made


def row_url(push: str, key: str) -> str:
    """Where the page of a row that is not written is."""
    return f"{PATH}/row?" + urllib.parse.urlencode({"push": push, "key": key})


def _told(place: places.Place, push: str, key: str) -> dict[str, Any]:
    found = undecided.held(place, push, key)
    ui = frame.parts()
    hold = found.hold
    facts = [
        ("Sync", addresses.flow_link(f"push:{push}") if push in place.file.pushes else push),
        ("What", views.KINDS[hold.kind]),
        ("State", ui.chip(TONES[hold.state], STATES[hold.state])),
        ("Field", hold.field),
        ("Stripe's code", hold.code),
        ("Request", found.request_id),
        ("Since", ui.when(hold.opened_at)),
        ("Tried", hold.failures),
        ("Next try", ui.when(hold.next_at, "when it changes, or somebody decides")),
        ("Chosen", hold.choice),
    ]
    made = {
        each.id: ui.when(int(each.facts["created"]))
        for each in found.candidates
        if each.facts.get("created", "").isdecimal()
    }
    names = dict.fromkeys(name for each in found.candidates for name in each.facts)
    return {
        "found": found,
        "hold": hold,
        "facts": [(label, value) for label, value in facts if value != ""],
        "advice": deciding.ADVICE[hold.kind],
        "title": views.KINDS[hold.kind],
        "made": made,
        "names": list(names),
        "known": push in place.file.pushes,
        "back": row_url(push, key),
        "record": f"/syncs/{push}/records/row?" + urllib.parse.urlencode({"key": key}),
        "linked": run_tables.linker_of(place, f"push:{push}"),
    }


def _decision(text: str) -> tuple[holds.State, str]:
    """`retry`, `skip`, `choose`, or `choose:oldest`; raises ConfigError."""
    what, _, choice = text.partition(":")
    if what not in DECISIONS:
        raise errors.ConfigError("say what becomes of it: retry, skip or choose")
    return DECISIONS[what], choice


def _only(asked: tables.Asked) -> views.Only:
    kind, flow, state = (asked.filters[name] for name in ("kind", "flow", "state"))
    known = (kind,) if kind in views.KINDS else ()
    return views.Only(known, flow, state if state in STATES else "", asked.search)


def _choices(place: places.Place, counts: dict[str, int]) -> list[tables.Choice]:
    flows = [name for name, flow in place.flows.items() if flow.kind != "pull"]
    found = [
        tables.Choice(
            "kind",
            "Kind",
            [(kind, f"{label} ({counts[kind]:,})") for kind, label in views.KINDS.items() if kind in counts],
        ),
        tables.Choice("state", "State", list(STATES.items())),
    ]
    if 1 < len(flows) <= 200:
        found.insert(1, tables.Choice("flow", "Flow", [(name, name) for name in flows]))
    return found


def _row(each: views.Issue, asker: asking.Asker, asked: tables.Asked, place: places.Place) -> tables.Row:
    ui = frame.parts()
    label, href, text, what = each.key, "", each.text, views.KINDS.get(each.kind, each.kind)
    act: Any = ""
    known = each.own in {"push": place.file.pushes, "pipeline": place.file.pipelines}.get(
        each.flow.partition(":")[0], place.file.pulls
    )
    match each.source:
        case "push":
            href, act = row_url(each.own, each.key), _deciding(each, asker, asked)
        case "pipeline":
            href = f"/pipelines/{each.own}/failures?" + urllib.parse.urlencode({"search": each.key})
            act = ui.button("See the row", href=href) if known else ""
        case "plan":
            label, href = "A plan", f"/syncs/{each.own}/plan"
            act = ui.button("See the plan", href=href)
        case "alert":
            text = each.text.removeprefix(f"{each.title}: ")
            kind = mending.kind_of(each.key, each.flow)
            what = mending.KINDS.get(kind, what)
            found = mending.of(place.file, kind, each.key, each.flow, text)
            label, href = (
                mending.subject(kind, each.key, each.flow),
                "/settings/alerts?" + urllib.parse.urlencode({"search": each.key}),
            )
            if asker.may(found.scope):
                href, act = found.url, ui.button(found.label, href=found.url)
    return tables.Row(
        {
            "key": NAMED.format(label, what),
            "flow": addresses.flow_link(each.flow) if known else each.flow,
            "text": prose.cell(prose.alone(text, each.flow), flow=each.flow),
            "since": ui.when(each.since),
            "state": ui.chip(TONES[each.state], STATES.get(each.state, "Open")),
            "act": act,
        },
        href,
        kind="off" if each.state == "skipped" else "",
    )


def _deciding(each: views.Issue, asker: asking.Asker, asked: tables.Asked) -> frame.Later | str:
    """What an operator decides about a row without looking at it any further."""
    if not asker.may("run"):
        return ""
    fields = {"push": each.own, "key": each.key, "back": asked.url(after=asked.after)}

    def made() -> markupsafe.Markup:
        act = frame.parts().act
        found = markupsafe.Markup(act("Retry", f"{PATH}/row", "quiet", {**fields, "decision": "retry"}))
        if each.state != "skipped":
            found += act("Skip", f"{PATH}/row", "quiet", {**fields, "decision": "skip"})
        return found

    return frame.Later(made)


def _lines(place: places.Place, only: views.Only) -> Iterator[tuple[Any, ...]]:
    for each in views.each(place, only):
        yield (
            each.kind,
            each.flow,
            each.key,
            each.account,
            each.field,
            each.text,
            frame.iso(each.since),
            each.state,
        )
