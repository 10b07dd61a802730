"""Audits: what a pull's warehouse holds, compared with what Stripe has, and what to do about a difference."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tidegate import errors, views
from tidegate.audit import findings, proof
from tidegate.config import values
from tidegate.engine import jobs as doing
from tidegate.engine import place as places
from tidegate.pull import report, settings
from tidegate.store import jobs
from tidegate.views import jobs as known

WORDS: Mapping[str, str] = {
    "ok": "equal",
    "different": "different",
    "repaired": "repaired",
    "partial": "read in part",
    "no_permission": "no permission",
    "not_enabled": "not enabled",
    "not_compared": "not compared",
    "failed": "failed",
}
"""How a stream, or an audit, came out."""
COUNTED: tuple[Literal["stripe", "warehouse", "missing", "extra", "stale"], ...] = (
    "stripe",
    "warehouse",
    *findings.KINDS,
)
STATES: Mapping[findings.Verdict, jobs.State] = {
    "ok": "ok",
    "repaired": "ok",
    "different": "partial",
    "partial": "partial",
    "failed": "failed",
}


def begin(
    place: places.Place,
    who: views.Who,
    pull: str,
    *,
    streams: Sequence[str] = (),
    since: str = "",
    repair: bool = False,
) -> jobs.Job:
    """Have a pull audited in the background; raises Unknown, ConfigError, and StoreConflict while one goes on."""
    if pull not in place.file.pulls:
        raise views.Unknown(f"There is no pull {pull!r}{values.suggestion(pull, place.file.pulls) or '.'}")
    if since:
        moment(since, "since")
    chosen(settings.jobs(place.file, [pull]), streams)
    wish = {"pull": pull, "streams": list(streams), "since": since, "repair": repair}
    return known.begin(place, who, "audit", f"pull:{pull}", wish, work(wish))


def work(wish: Mapping[str, Any]) -> doing.Doing:
    """What an audit does, by what was asked for; taken up again, it repairs what is left."""

    async def audit(still: places.Place, screen: doing.Screen) -> doing.Done:
        [job] = chosen(settings.jobs(still.file, [wish["pull"]]), wish["streams"])
        job = dataclasses.replace(job, source=dataclasses.replace(job.source, purse=still.purse))
        since = moment(wish["since"]) if wish["since"] else None
        return _done(await run(job, screen, since=since, repair=wish["repair"]))

    return audit


async def run(
    job: settings.Job, screen: report.Screen, *, since: int | None = None, repair: bool = False
) -> findings.Audit:
    """Audit a pull; raises as `proof.audit`."""
    warehouse = await asyncio.to_thread(job.open)
    try:
        return await proof.audit(job.source, warehouse, job.options, screen, since=since, repair=repair)
    finally:
        await asyncio.to_thread(warehouse.close)


def chosen(jobs: Sequence[settings.Job], streams: Sequence[str]) -> list[settings.Job]:
    """The pulls with only these streams; of several pulls, those that have any of them. Raises ConfigError."""
    if not streams:
        return list(jobs)
    found, refused = [], None
    for job in jobs:
        try:
            found.append(dataclasses.replace(job, options=proof.only(job.options, list(streams))))
        except errors.ConfigError as error:
            refused = error
    if refused is not None and not found:
        raise refused
    return found


def moment(text: str, name: str = "--since") -> int:
    """The unix seconds of a date, or of a time; raises ConfigError, which begins with the name."""
    try:
        found = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise errors.ConfigError(
            f"{name}: write a date such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z"
        ) from None
    return int((found if found.tzinfo else found.replace(tzinfo=dt.UTC)).timestamp())


def rank(found: findings.Stream) -> tuple[bool, bool, int, str, str]:
    """The order in which streams are told: differences first, then what could not be read, then the largest."""
    return (not found.differences, found.status == "ok", -found.total("stripe"), found.stream, found.account)


def details(row: Mapping[str, Any]) -> list[str]:
    """In which months a stream differs, with the sums that are not the same, and some ids."""
    if not any(row[kind] for kind in findings.KINDS):
        return []
    lines = []
    for month in row["months"]:
        counts = [f"{month[kind]:,} {kind}" for kind in findings.KINDS if month[kind]]
        if not counts:
            continue
        sums = [
            f"{name} {pair['stripe']:,} at Stripe, {pair['warehouse']:,} here ({currency})"
            for currency, columns in month["sums"].items()
            for name, pair in columns.items()
            if pair["stripe"] != pair["warehouse"]
        ]
        lines.append(f"{month['month'] or 'no date'}: {'; '.join([', '.join(counts), *sums])}")
    lines += [f"{kind}: {', '.join(ids)}" for kind, ids in row["examples"].items()]
    return [*lines, row["note"]] if row["note"] else lines


def next_step(row: Mapping[str, Any]) -> str:
    """What to do about a stream, as a sentence; empty where nothing is to be done."""
    match row["status"]:
        case "different":
            return "Audit it again with repair: what is missing or other is loaded, what is gone is marked deleted."
        case "no_permission":
            return "Give the key the permission to read it, then audit it again."
        case "partial" | "failed":
            return "It could not be read to its end; audit it again once that is mended."
    return ""


def _done(found: findings.Audit) -> doing.Done:
    told = found.as_json()
    streams = sorted((each for each in found.streams if each.told), key=rank)
    sums: dict[str, int] = {name: sum(each.total(name) for each in found.streams) for name in COUNTED}
    result: dict[str, Any] = {
        "status": found.status,
        **sums,
        "streams": len(streams),
        "wrong": sum(_wrong(each) for each in streams),
        "in_flight": sum(each.in_flight for each in found.streams),
        "balance": told["balance"],
        **{name: told[name] for name in ("requests", "duration_s", "repaired")},
    }
    rows = ((_wrong(each), each.as_json()) for each in streams)
    return doing.Done(STATES[found.status], result, rows, "" if found.end is None else str(found.end))


def _wrong(found: findings.Stream) -> bool:
    return found.status not in ("ok", "repaired", "not_enabled", "not_compared")
