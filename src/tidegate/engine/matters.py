"""What needs a person, found in what is known: a run that ended, a pull's result, what a warehouse holds.

Pure functions. A matter's name is stable, so that the same thing is told once: `pull:everything/failed`,
`pull:everything/no_permission/acct_1/charges`. Its text says in one line what happened, where, and what to do.
Texts bear no keys and nobody's data: what others wrote passes `scrubbed`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from tidegate import catalog, config, errors
from tidegate.engine import flows, schedules, unwritten
from tidegate.pull import held, report
from tidegate.store import notices, positions, runs
from tidegate.stripe import keys

Kind = Literal[
    "failed",
    "no_permission",
    "stream",
    "held",
    "freshness",
    "gap",
    "budget",
    "endpoint",
    "silence",
    "approval",
    "rows",
    "quarantine",
    "unknown",
    "consent",
    "key",
    "sign_in",
]
OF_RUNS: tuple[Kind, ...] = ("failed", "no_permission", "stream", "gap", "budget", "approval", "rows")
"""The kinds of which a run that came to its end tells all."""

GAP = "listing again what events would have told"
"""What a pull says aloud when it finds a gap; `pull.cycle.run`."""
HELD = "tidegate pull --accept-deletes"
"""What a sweep asks for when it holds rows; `pull.sweep`."""
LIMITED, OFTEN = 0.2, 100
"""The share of a run's requests, and their number, that Stripe must have refused for its limits to be told."""
STARVED = 300.0
"""Seconds that requests must have waited for the budget for it to be told."""
SLACK = 3_600.0
"""Seconds beyond what a stream's staleness and schedule explain, before it is behind."""
SILENT, ENOUGH = 3_600.0, 3
"""Seconds without a delivery, and pulls in them that found what events tell, that make an endpoint silent."""

_LOGIN = re.compile(r"://\S*@")
_HOOK = re.compile(r"\b(hooks\.[^\s/]+|discord[^\s/]*\.com)/\S+", re.IGNORECASE)
_NAMED = re.compile(
    r"\b(?:(?P<name>(?:api|access)[_-]?key|password|passwd|pwd|secret|token|signature|authorization)\s*[=:]\s*"
    r"|(?P<scheme>bearer|basic)\s+(?=\S{12}))[^\s,;&]+",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"[A-Za-z0-9_+=]{24,}")


@dataclass(frozen=True, slots=True)
class Stand:
    """What a flow's warehouse held at a moment of the database's clock."""

    at: float
    streams: tuple[held.Held, ...]


class Aging(Protocol):
    """What is known of a stream that says how old it may be."""

    @property
    def stream(self) -> str:
        """Its name."""

    @property
    def staleness_s(self) -> int | None:
        """Seconds within which every change is noticed while pulls follow one another."""

    @property
    def complete(self) -> bool:
        """Was it read whole once?"""


def stand(rows: Iterable[positions.Position], at: float) -> Stand:
    """What the metadata database knows of it since `at`, as `noted` wrote it; not what another version wrote."""
    found = []
    for row in rows:
        with contextlib.suppress(msgspec.ValidationError):
            told = {name: value for name, value in row.position.items() if value is not None}
            found.append(msgspec.convert({"as_of": None, "error": "", **told}, held.Held))
    return Stand(at, tuple(found))


def noted(found: Iterable[held.Held]) -> list[positions.Position]:
    """The same for the metadata database: one row per stream and account."""
    return [positions.Position(each.stream, each.account, each.as_json()) for each in found]


def scrubbed(text: str) -> str:
    """Somebody else's sentence without anything like a key, a password, an address or a number of a person's."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    text = _LOGIN.sub("://", text)
    text = _HOOK.sub(r"\1/…", text)
    text = _NAMED.sub(lambda match: f"{match['name'] or match['scheme']} …", text)
    text = keys.scrubbed(text)
    return _TOKEN.sub(_masked, text)


def _masked(match: re.Match[str]) -> str:
    """A long word with digits in it is taken for a key; names of streams have none."""
    word = match.group()
    return f"{word[:4]}…" if any(letter.isdigit() for letter in word) else word


def of_run(
    run: runs.Run, tables: Iterable[Mapping[str, Any]], gaps: Iterable[str] = ()
) -> list[notices.Matter]:
    """What a run that ended by itself has to say: itself, its streams, and the gaps that it found."""
    more = _more(run.id)
    found = []
    if run.state == "failed":
        found.append(_failed(run.flow, run.error, more))
    for table in tables:
        status, error = table["status"], str(table.get("error") or "")
        matter = None
        if run.flow.startswith("pull:"):
            matter = _of_stream(run.flow, table["stream"], table["account"], status, error, more)
        if matter is not None and not (run.state == "failed" and matter.kind == "stream"):
            found.append(matter)
    found += [_gap(run.flow, text, more) for text in gaps]
    if run.flow.startswith("push:"):
        found += unwritten.of_run(run, _sentence(scrubbed(run.error)), more)
    limited, sent = run.totals.get("rate_limited", 0), run.totals.get("requests", 0)
    if limited >= OFTEN and limited >= LIMITED * sent:
        text = (
            f"{run.flow}: Stripe refused {limited:,} of {sent:,} requests for its rate limits: others use the "
            f"account's share. Lower `budget` of the connection, or find out what else asks so often; {more}"
        )
        found.append(notices.Matter(f"{run.flow}/budget", "budget", run.flow, text))
    return _unique(found)


def of_result(flow: str, result: report.Result) -> list[notices.Matter]:
    """The same of one of the pulls of a continuous run."""
    more = _more(result.run_id)
    found = [] if result.end is None else [_failed(flow, str(result.end), more)]
    for each in result.outcomes:
        matter = _of_stream(flow, each.stream, each.account, each.status, each.error, more)
        if matter is not None and not (result.end is not None and matter.kind == "stream"):
            found.append(matter)
    return _unique(found)


def of_gaps(flow: str, run_id: str, gaps: Iterable[str]) -> list[notices.Matter]:
    """The gaps that a run under way has found, as it said them."""
    return _unique(_gap(flow, text, _more(run_id)) for text in gaps)


def of_gone(run: runs.Run) -> notices.Matter:
    """A run that was interrupted, after which none came."""
    text = (
        f"{run.flow}: the run {run.id} was interrupted and no other has begun since. What it committed stays; look "
        f"whether `tidegate run` is up, or begin one with `tidegate start {_own(run.flow)}`."
    )
    return notices.Matter(f"{run.flow}/failed", "failed", run.flow, text)


def of_stand(
    flow: flows.Flow, stand: Stand, now: float, bounds: Mapping[str, dt.timedelta], *, alive: bool = False
) -> list[notices.Matter]:
    """Rows that are held, and streams that are behind, by what the warehouse holds.

    `bounds` are streams or patterns with the age that is allowed; a stream that none of them means is behind when
    neither its own staleness nor the flow's schedule explains its age. Of a continuous flow that is `alive`, only
    what was known at `stand.at` counts.
    """
    found = []
    pace = spacing(flow, now)
    clock = stand.at if flow.continuous and alive else now
    for each in stand.streams:
        place = f"{flow.name}/{{}}/{each.account}/{each.stream}"
        if each.held:
            text = f"{flow.name}, {each.account}: {_sentence(scrubbed(each.held))}"
            found.append(notices.Matter(place.format("held"), "held", flow.name, text))
        bound = allowed(each, bounds, pace)
        if bound is None or each.as_of is None or clock - each.as_of.timestamp() <= bound:
            continue
        text = (
            f"{flow.name}: {each.stream} of {each.account} is as of {moment(each.as_of.timestamp())}, older than "
            f"{duration(bound)}. `tidegate runs {_own(flow.name)}` shows what ran, and what went wrong."
        )
        found.append(notices.Matter(place.format("freshness"), "freshness", flow.name, text))
    return found


def allowed(stood: Aging, bounds: Mapping[str, dt.timedelta], pace: float | None) -> float | None:
    """The age in seconds that a stream may have; None where it may have any.

    `bounds` as for `of_stand`, `pace` as of `spacing`.
    """
    named = [name for name in bounds if fnmatch.fnmatchcase(stood.stream, name)]
    if named:
        exact = max(named, key=lambda name: (name == stood.stream, name != "*", len(name)))
        return bounds[exact].total_seconds()
    if pace is None or stood.staleness_s is None or not stood.complete:
        return None
    return 2 * (stood.staleness_s + pace) + SLACK


def spacing(flow: flows.Flow, now: float) -> float | None:
    """Seconds between two runs of a flow, None where no clock drives it."""
    if flow.continuous:
        return 0.0
    try:
        first = schedules.following(flow.schedule, now)
        second = None if first is None else schedules.following(flow.schedule, first, first)
    except errors.ConfigError:
        return None
    return None if first is None or second is None else second - first


def of_waits(waits: Mapping[str, float]) -> list[notices.Matter]:
    """Budgets, by account, for which requests have waited for so many seconds."""
    return [
        notices.Matter(
            f"budget/{account}",
            "budget",
            "",
            f"{account}: requests to Stripe have waited for {duration(waited)} for the rate budget. Raise `budget` "
            "of the connection, pull less often, or find out what else asks so often.",
        )
        for account, waited in sorted(waits.items())
        if waited >= STARVED
    ]


def of_endpoints(said: Mapping[str, str]) -> list[notices.Matter]:
    """Endpoints, by connection, of which Stripe says `disabled`, or that they are `missing`."""
    why = {
        "disabled": "Stripe has disabled the webhook endpoint, as it does when deliveries fail for days",
        "missing": "the webhook endpoint is gone at Stripe",
    }
    return [
        _endpoint("endpoint", name, why[status]) for name, status in sorted(said.items()) if status in why
    ]


def of_silence(connection: str) -> notices.Matter:
    """An endpoint to which nothing comes, though pulls find changes."""
    return _endpoint(
        "silence",
        connection,
        f"pulls find changes, and Stripe has delivered none of them for {duration(SILENT)} or more",
    )


def _endpoint(kind: Kind, connection: str, why: str) -> notices.Matter:
    text = (
        f"{connection}: {why}. Nothing is lost, since pulls go on. Look whether its address is reached, "
        f"and run `tidegate webhooks enable {connection}` again."
    )
    return notices.Matter(f"{kind}/{connection}", kind, "", text)


def is_silent(quiet: float, found: Iterable[tuple[float, str]], now: float) -> bool:
    """Does nothing come to an endpoint since `quiet`, though pulls `found` changes: when, and of which stream?

    Only changes count that have events, each, and that pulls found some time after the last delivery.
    """
    later = [stream for at, stream in found if at > quiet + SILENT / 4 and is_told_by_events(stream)]
    return now - quiet >= SILENT and len(later) >= ENOUGH


def bounds(file: config.Config) -> Mapping[str, dt.timedelta]:
    """The ages that the configuration allows, by stream or pattern."""
    return {} if file.alerts is None else file.alerts.freshness


def is_told_by_events(stream: str) -> bool:
    """Does every change of a stream's rows have an event, so that pulls find nothing that was not delivered?"""
    known = catalog.load().streams.get(stream)
    return known is not None and known.told.created == "all" and known.told.updated in ("all", "never")


def title(notice: notices.Notice) -> str:
    """A matter in a few words, for a subject."""
    *_, last = notice.matter.split("/")
    match notice.kind:
        case "failed":
            return f"{notice.flow} failed"
        case "no_permission":
            return f"{notice.flow} may not read {last}"
        case "stream":
            return f"{notice.flow} could not read all of {last}"
        case "held" | "approval" | "rows" | "quarantine" | "unknown" if notice.flow.startswith("push:"):
            return unwritten.title(notice)
        case "held":
            return f"{notice.flow} holds rows of {last} that Stripe lists no more"
        case "freshness":
            return f"{notice.flow}: {last} is behind"
        case "gap":
            return f"{notice.flow} missed events"
        case "budget":
            return f"the rate limit of {notice.flow or last} is used up"
        case "endpoint":
            return f"Stripe does not deliver to {last}'s webhook endpoint"
        case "silence":
            return f"Stripe's events for {last} do not come"
        case "consent":
            return f"{last} is disconnected at Stripe"
        case "key":
            return f"Stripe refuses the key of {notice.matter.split('/')[1]}"
        case "sign_in":
            return f"{notice.matter.split('/')[1]} needs somebody to sign in with Stripe"
    return notice.flow or notice.matter


def moment(at: float) -> str:
    """`2026-02-01 14:05 UTC`."""
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M} UTC"


def duration(seconds: float) -> str:
    """`90 s`, `5 min`, `3 h`, `2 days`, whichever is the largest that fits twice."""
    for unit, size in ((" days", 86_400.0), (" h", 3_600.0), (" min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f} s"


def _failed(flow: str, error: str, more: str) -> notices.Matter:
    text = f"{flow}: the run failed: {_sentence(scrubbed(error) or 'it does not say why')} {more}"
    return notices.Matter(f"{flow}/failed", "failed", flow, text.strip())


def _of_stream(
    flow: str, stream: str, account: str, status: str, error: str, more: str
) -> notices.Matter | None:
    where = f"{flow}: {stream} of {account}"
    said = _sentence(scrubbed(error) or "it does not say why")
    kind: Kind
    if status == "no_permission":
        kind, known = "no_permission", catalog.load().streams.get(stream)
        if known is not None and known.permission and known.permission not in error:
            said = f"the key lacks the permission {known.permission}. {said}"
        text = f"{where} cannot be read: {said} {more}"
    elif HELD in error:
        kind, text = "held", f"{flow}, {account}: {said} {more}"
    elif status in ("failed", "partial"):
        verb = "could not be read" if status == "failed" else "is not complete"
        kind, text = "stream", f"{where} {verb}: {said} {more}"
    else:
        return None
    return notices.Matter(f"{flow}/{kind}/{account}/{stream}", kind, flow, text.strip())


def _gap(flow: str, line: str, more: str) -> notices.Matter:
    """From what a pull says: `acct_1: WHY; listing again what events would have told.`"""
    account, _, why = line.partition(": ")
    text = (
        f"{flow}: events of {account} were missed: {_sentence(scrubbed(why.partition(';')[0]))} "
        f"What they would have told is listed again; nothing needs to be done unless it comes again. {more}"
    )
    return notices.Matter(f"{flow}/gap/{account}", "gap", flow, text.strip())


def _more(run_id: str) -> str:
    return f"`tidegate logs {run_id}` shows more."


def _unique(found: Iterable[notices.Matter]) -> list[notices.Matter]:
    return list({each.name: each for each in found}.values())


def _sentence(text: str) -> str:
    return text if text.endswith((".", "…")) else f"{text}."


def _own(flow: str) -> str:
    return flow.partition(":")[2] or flow
