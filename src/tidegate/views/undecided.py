"""A row of a push that is not written, with what a person decides by: which objects it may be, and what differs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegate import config, errors, views
from tidegate.engine import mirrors, preparing
from tidegate.engine import place as places
from tidegate.push import compare
from tidegate.store import database, decisions, holds, links, operations, plans, pushed
from tidegate.views import records


@dataclass(frozen=True, slots=True)
class Candidate:
    """An object that a row may be: what people tell objects apart by, as far as it is known here."""

    id: str
    facts: Mapping[str, str]
    page: str | None
    """Where the dashboard shows it."""


@dataclass(frozen=True, slots=True)
class Held:
    """A row that is not written, with what one decides by."""

    hold: holds.Hold
    link: links.Link | None
    candidates: tuple[Candidate, ...]
    conflict: tuple[tuple[str, str | None, str | None, str | None], ...]
    """Of a conflict: field, as both sides last had it, here by the newest plan, and at Stripe."""
    choices: tuple[tuple[str, str], ...]
    """What can be chosen, in words."""
    any: bool
    """Can the id of any object be given?"""
    request_id: str
    """Of the request that Stripe refused."""


def held(place: places.Place, push: str, key: str) -> Held:
    """A row with what one decides by; raises Unknown."""
    hold = holds.find(place.store, push, key)
    if hold is None:
        raise views.Unknown(f"The row {key!r} of {push} is not held any more.")
    link = links.find(place.store, push, [key]).get(key)
    ids = [each for each in hold.candidates if each not in decisions.WORDS]
    if not ids and link is not None:
        ids = [link.target]
    found = objects(place.file, place.folder, push, ids)
    candidates = tuple(_candidate(place, push, id, found.get(id), link) for id in ids)
    open_to_any = hold.kind in decisions.ANY and not hold.candidates
    done = operations.find(place.store, hold.operation) if hold.operation else None
    return Held(
        hold,
        link,
        candidates,
        tuple(_conflict(place.store, hold, found, link)),
        tuple(_choices(hold)),
        open_to_any,
        done.request_id if done is not None else "",
    )


def objects(file: config.Config, folder: Path, push: str, ids: Sequence[str]) -> Mapping[str, compare.Live]:
    """Objects as the last run of the push left them, on this machine; none where that is not to be had."""
    if ids and push in file.pushes:
        with contextlib.suppress(errors.TidegateError):
            job = preparing.job(file, push)
            return mirrors.glimpse(folder, job.push.connection, job.source, job.of, ids)
    return {}


def _candidate(
    place: places.Place, push: str, id: str, live: compare.Live | None, link: links.Link | None
) -> Candidate:
    facts: dict[str, str] = {}
    for name, value in (live or {}).items():
        if value in (None, "", {}, []) or name.startswith("_") or name in ("id", "object"):
            continue
        text = compare.text(value)
        if text is not None:
            facts[name] = text if len(text) <= 200 else f"{text[:199]}…"
    first = ("created", "name", "email", "phone", "description", "nickname", "code", "lookup_key")
    facts = {name: facts[name] for name in [*first, *sorted(facts)] if name in facts}
    made = link
    if made is None or made.target != id:
        made = None
        if push in place.file.pushes:
            with contextlib.suppress(errors.TidegateError):
                job = preparing.job(place.file, push)
                live_mode = job.source.api_key.startswith(("sk_live", "rk_live"))
                made = links.Link("", job.push.account or "", live_mode, job.of.name, id)
    return Candidate(id, facts, None if made is None else records.page(made))


def _conflict(
    store: database.Database,
    hold: holds.Hold,
    found: Mapping[str, compare.Live],
    link: links.Link | None,
) -> Iterator[tuple[str, str | None, str | None, str | None]]:
    """The field of a conflict as far as it is known: as both sides last had it, here, and at Stripe."""
    if hold.kind != "conflict" or not hold.field:
        return
    row = pushed.find(store, hold.push, [hold.key]).get(hold.key)
    before: dict[str, str | None] = {} if row is None else json.loads(row.fields)
    newest = plans.latest(store, hold.push)
    kept = [] if newest is None else plans.rows(store, newest.id, search=hold.key, limit=1)
    entry = json.loads(kept[0][1]) if kept else {}
    here: dict[str, str | None] = entry.get("fields", {}) if entry.get("key") == hold.key else {}
    at: object = found.get(link.target) if link is not None else None
    for step in hold.field.split("."):
        at = at.get(step) if isinstance(at, Mapping) else None
    yield hold.field, before.get(hold.field), here.get(hold.field), compare.text(at)


def _choices(hold: holds.Hold) -> Iterator[tuple[str, str]]:
    match hold.kind:
        case "conflict":
            yield "warehouse", "Write the value from here"
            yield "stripe", "Keep the value at Stripe"
        case "immutable":
            if "replace" in hold.candidates:
                yield "replace", "Make another object"
        case "ambiguous":
            yield from ((id, f"It is {id}") for id in hold.candidates)
    if hold.kind in decisions.NEW:
        yield decisions.CREATE, "Make a new object"
