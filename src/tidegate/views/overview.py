"""How everything is: in one sentence, then stream by stream, and what runs, comes next, waits and is used up.

All of it is what the metadata database knows, asked in a few statements however many streams and accounts there
are. `refresh` has a look into the warehouses.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tidegate import config, errors
from tidegate.engine import alerts, matters
from tidegate.engine import place as places
from tidegate.pull import held, settings
from tidegate.store import database
from tidegate.store import positions as stored
from tidegate.stripe import keys, pace
from tidegate.views import flows as known_flows
from tidegate.views import issues as inbox
from tidegate.views import outside, standing

SHOWN = 20
"""Streams whose freshness is shown, and flows that come next."""
PATIENCE = 45.0
"""Seconds after which `refresh` begins with no other warehouse."""
NAMES = 500
"""Accounts that one statement names."""
NAMED = 2
"""Flows that the sentence names; of more it tells how many."""
Health = Literal["ok", "warn", "failed", "off"]


@dataclass(frozen=True, slots=True)
class Issue:
    """Things of one kind that need a person."""

    kind: str
    label: str
    count: int
    rows: bool
    """Are they rows, rather than matters?"""


@dataclass(frozen=True, slots=True)
class Budget:
    """The rate budget of one account, in requests a second; `limit` is None where there is none.

    `used` is what those who send wanted a moment ago, `paused` for how many seconds nobody sends, `factor` what
    refusals left of the limit, `waited` for how long a request has waited.
    """

    connection: str
    account: str
    mode: keys.Mode
    limit: float | None
    used: float = 0.0
    paused: float = 0.0
    factor: float = 1.0
    waited: float = 0.0

    @property
    def free(self) -> float | None:
        """What is left of it."""
        return None if self.limit is None else max(0.0, self.limit * self.factor - self.used)


@dataclass(frozen=True, slots=True)
class Size:
    """What is known of a warehouse's size without opening it; `bytes` of a file on this machine."""

    warehouse: str
    type: str
    rows: int | None
    tables: int
    bytes: int | None
    noted_at: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it; `freshness` are the worst streams, `streams` how many there are in each state."""

    at: float
    health: Health
    sentence: str
    flows: tuple[known_flows.Standing, ...]
    freshness: tuple[standing.Table, ...]
    streams: Mapping[standing.State, int]
    issues: tuple[Issue, ...]
    budgets: tuple[Budget, ...]
    warehouses: tuple[Size, ...]

    @property
    def coming(self) -> list[known_flows.Standing]:
        """The flows that run by themselves, the soonest first; those that rest come last."""
        due = [each for each in self.flows if each.next_at is not None or each.waiting or each.resting]
        late = float("inf")
        return sorted(
            due, key=lambda each: (not each.waiting, late if each.resting else each.next_at or 0.0, each.name)
        )[:SHOWN]

    @property
    def running(self) -> list[known_flows.Standing]:
        """The flows that have a run."""
        return [each for each in self.flows if each.running is not None]


def look(place: places.Place) -> Overview:
    """Everything, as of now."""
    store, file = place.store, place.file
    groups = standing.grouped(place)
    known = known_flows.listed(place, groups=groups)
    issues = tuple(_issues(place))
    states = collections.Counter[standing.State]()
    for each in groups:
        states[each.state] += each.count
    health, sentence = said(file, known, issues, states["failed"], valid=not place.problem)
    return Overview(
        store.now(),
        health,
        sentence,
        tuple(known),
        tuple(standing.worst(place, groups, SHOWN)),
        {state: states[state] for state in standing.STATES if states[state]},
        issues,
        tuple(budgets(place)),
        tuple(sizes(file, groups)),
    )


def health(place: places.Place) -> tuple[Health, str]:
    """How everything is, in a word and in a sentence."""
    groups = standing.grouped(place)
    known, issues = known_flows.listed(place, groups=groups), _issues(place)
    unread = sum(each.count for each in groups if each.state == "failed")
    return said(place.file, known, issues, unread, valid=not place.problem)


def said(
    file: config.Config,
    known: Sequence[known_flows.Standing],
    issues: Sequence[Issue],
    unread: int = 0,
    *,
    valid: bool = True,
) -> tuple[Health, str]:
    """How everything is, in a word and in a sentence.

    `unread` streams could not be read whole the last time; where it is not `valid`, a newer configuration does not
    count for what is wrong with it.
    """
    health, sentence = _said(file, known, issues, unread)
    if valid:
        return health, sentence
    return ("failed" if health == "failed" else "warn"), f"A newer configuration does not count. {sentence}"


def _said(
    file: config.Config, known: Sequence[known_flows.Standing], issues: Sequence[Issue], unread: int
) -> tuple[Health, str]:
    rows = sum(each.count for each in issues if each.rows)
    others = sum(each.count for each in issues if not each.rows)
    needs = (
        f"{rows:,} {'row needs' if rows == 1 else 'rows need'} you"
        if rows
        else f"{others:,} {'matter needs' if others == 1 else 'matters need'} you"
        if others
        else "nothing needs you"
    )
    if not known:
        if not file.stripe:
            return (
                "off",
                "Nothing is connected yet: add a Stripe account, then a warehouse, then choose streams.",
            )
        if not file.warehouses:
            return "off", "Stripe is connected, and no warehouse yet: add one, then choose streams."
        return "off", "Nothing moves yet: choose the streams to pull."
    wrong = [each for each in known if each.state != "fresh"]
    count = len(known)
    if not wrong:
        fresh = "The flow is fresh" if count == 1 else f"All {count:,} flows fresh"
        told = "; ".join(filter(None, (fresh, _unread(unread), needs)))
        return ("warn" if rows or others or unread else "ok"), f"{told}."
    worst: Health = "ok"
    if any(each.state == "failed" for each in wrong):
        worst = "failed"
    elif rows or others or unread or any(each.state in ("behind", "stopped") for each in wrong):
        worst = "warn"
    elif all(each.state == "off" for each in known):
        worst = "off"
    fresh = f"{count - len(wrong):,} of {count:,} flows fresh" if count > 1 else ""
    return worst, "; ".join(filter(None, (fresh, _troubles(wrong), _unread(unread), needs))) + "."


def _unread(count: int) -> str:
    return f"{count:,} {'stream was' if count == 1 else 'streams were'} not read whole" if count else ""


def _troubles(wrong: Sequence[known_flows.Standing]) -> str:
    verbs: dict[known_flows.State, tuple[str, str]] = {
        "failed": ("failed", "failed"),
        "behind": ("is behind", "are behind"),
        "stopped": ("is stopped", "are stopped"),
        "running": ("runs for the first time", "run for the first time"),
        "off": ("has not run yet", "have not run yet"),
    }
    parts = []
    for state, (one, several) in verbs.items():
        names = [each.name for each in wrong if each.state == state]
        if 0 < len(names) <= NAMED:
            parts.append(f"{' and '.join(names)} {one if len(names) == 1 else several}")
        elif names:
            parts.append(f"{len(names):,} {several}")
    stopped = [each for each in wrong if each.stopped_until is not None]
    if len(stopped) == 1:
        parts.append(f"until {matters.moment(stopped[0].stopped_until or 0.0)} unless you start it")
    return ", ".join(parts)


_LABELS = {
    "approval": ("plan that waits for approval", "plans that wait for approval"),
    "failed": ("flow that failed", "flows that failed"),
    "no_permission": ("missing permission", "missing permissions"),
    "freshness": ("stream that is behind", "streams that are behind"),
    "stream": ("stream that was not read whole", "streams that were not read whole"),
    "held": ("stream whose rows are held", "streams whose rows are held"),
    "gap": ("time of missed events", "times of missed events"),
    "budget": ("rate limit that is used up", "rate limits that are used up"),
    "endpoint": ("webhook endpoint that is off", "webhook endpoints that are off"),
    "silence": ("webhook endpoint without deliveries", "webhook endpoints without deliveries"),
    "key": ("key that Stripe refuses", "keys that Stripe refuses"),
    "sign_in": ("connection to sign in for", "connections to sign in for"),
    "consent": ("account that disconnected", "accounts that disconnected"),
}


def _issues(place: places.Place) -> list[Issue]:
    """What needs a person, by kind; the tables of rows first, and nothing twice."""
    store = place.store
    found = [
        Issue(
            f"held:{row['kind']}",
            f"{'row' if row['n'] == 1 else 'rows'} held: {_named(row['kind'])}",
            int(row["n"]),
            True,
        )
        for row in store.execute(
            "SELECT kind, count(*) AS n FROM holds WHERE state = 'held' AND kind <> 'unknown' "
            "GROUP BY kind ORDER BY kind"
        )
    ]
    rows = {
        "unknown": (
            ("write", "writes"),
            "of which it is not known what became",
            "SELECT count(*) AS n FROM operations WHERE status IN ('intent', 'sent', 'unknown') "
            "AND status = 'unknown'",
        ),
        "quarantine": (
            ("row", "rows"),
            "that a pipeline could not shape",
            "SELECT count(*) AS n FROM failed_records",
        ),
    }
    for kind, (words, label, question) in rows.items():
        row = store.one(question)
        if row is not None and row["n"]:
            found.append(Issue(kind, f"{words[row['n'] > 1]} {label}", int(row["n"]), True))
    planned = {f"push:{each.push}" for each in inbox.waiting(place)}
    counts = collections.Counter[str]({inbox.APPROVAL: len(planned)} if planned else {})
    for row in store.execute(
        "SELECT kind, flow, count(*) AS n FROM alerts WHERE resolved_at IS NULL GROUP BY kind, flow ORDER BY kind"
    ):
        kind, flow = row["kind"], row["flow"]
        of_rows = kind in inbox.ROWS or (kind == "held" and flow.startswith("push:"))
        if not of_rows and not (kind == inbox.APPROVAL and flow in planned):
            counts[kind] += int(row["n"])
    for kind, count in counts.items():
        named = kind.replace("_", " ")
        one, several = _LABELS.get(kind, (f"alert: {named}", f"alerts: {named}"))
        found.append(Issue(kind, one if count == 1 else several, count, False))
    return found


def _named(kind: str) -> str:
    """A kind of rows that are held, in words."""
    words = inbox.KINDS.get(kind, kind)
    return words[0].lower() + words[1:]


def budgets(place: places.Place) -> list[Budget]:
    """The rate budget of every account to which something is sent, or was refused of late.

    A connection over which nobody sends has one line, of its whole budget.
    """
    store = place.store
    shares = store.execute(
        "SELECT account, sum(CASE WHEN wanted < rate THEN wanted ELSE rate END) AS used FROM shares "
        "WHERE until > {now} AND name = account GROUP BY account"
    )
    refused = store.execute(
        "SELECT account, paused_until - {now} AS paused, factor FROM budgets WHERE name = account "
        "AND (paused_until > {now} OR factor < 1)"
    )
    waited = store.execute("SELECT account, max(seconds) AS seconds FROM waits GROUP BY account")
    waits = {row["account"]: float(row["seconds"]) for row in waited}
    used = {row["account"]: float(row["used"]) for row in shares}
    cut = {row["account"]: (max(0.0, float(row["paused"])), float(row["factor"])) for row in refused}
    whose = _whose(place, {name.split("/", 2)[2] for name in (*used, *cut)})
    found: dict[str, list[Budget]] = {name: [] for name in place.file.stripe}
    for name in sorted({*used, *cut}):
        host, mode, account = name.split("/", 2)
        connection = _connection(place.file, host, mode, account, whose)
        if connection is not None:
            paused, factor = cut.get(name, (0.0, 1.0))
            empty = _budget(place.file, connection, account)
            found[connection].append(
                dataclasses.replace(
                    empty,
                    used=used.get(name, 0.0),
                    paused=paused,
                    factor=factor,
                    waited=waits.get(account, 0.0),
                )
            )
    return [
        each
        for name, mine in found.items()
        for each in mine or [_budget(place.file, name, place.file.stripe[name].account_id or "")]
    ]


def _budget(file: config.Config, name: str, account: str) -> Budget:
    """The budget of a connection of which nobody uses anything."""
    connection = file.stripe[name]
    mode = _mode(connection)
    rate = None if connection.rate_limit is None else str(connection.rate_limit)
    limit = pace.limits_for(mode, rate).per_account
    return Budget(name, account, mode, None if limit is None else limit * connection.budget)


def _mode(connection: config.Connection) -> keys.Mode:
    return keys.mode("" if connection.key is None else connection.key.get_secret_value())


def _whose(place: places.Place, accounts: Iterable[str]) -> dict[str, str]:
    """The connection over which an account is pulled."""
    known, found = place.flows, dict[str, str]()
    for some in _some(sorted(accounts), NAMES):
        names, parameters = database.among(some)
        rows = place.store.tuples(
            f"SELECT DISTINCT flow, account FROM positions WHERE account IN {names} ORDER BY flow", parameters
        )
        found |= {account: known[flow].connection for flow, account in rows if flow in known}
    return found


def _some(values: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    return (values[start : start + count] for start in range(0, len(values), count))


def _connection(
    file: config.Config, host: str, mode: str, account: str, whose: Mapping[str, str]
) -> str | None:
    """The connection that a budget is of; None where the configuration has it no more."""
    fitting = [
        name
        for name, each in file.stripe.items()
        if _mode(each) == mode and each.api_base.partition("://")[2] == host
    ]
    own = [name for name in fitting if file.stripe[name].account_id == account]
    return next(iter((*(name for name in fitting if whose.get(account) == name), *own, *fitting)), None)


def sizes(file: config.Config, groups: Iterable[standing.Group]) -> list[Size]:
    """What is known of every warehouse's size, by what pulls noted of it."""
    mine: dict[str, list[standing.Group]] = collections.defaultdict(list)
    for each in groups:
        mine[file.pulls[each.flow.removeprefix("pull:")].warehouse].append(each)
    found = []
    for name, warehouse in file.warehouses.items():
        there = mine.get(name, [])
        size = None
        if isinstance(warehouse, config.DuckDB):
            with contextlib.suppress(OSError):
                size = os.path.getsize(warehouse.file)
        found.append(
            Size(
                name,
                warehouse.type,
                sum(each.rows + each.deleted for each in there) if there else None,
                len({each.stream for each in there}),
                size,
                max((each.noted_at for each in there), default=None),
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What came of a look into the warehouse of one pull: how many streams stand there, or why nobody knows."""

    pull: str
    streams: int = 0
    error: str = ""


def refresh(place: places.Place, names: Sequence[str] = ()) -> list[Refreshed]:
    """Look into the warehouses of these pulls, or of all, and note where their tables stand.

    Raises ConfigError for a pull that is not there; what goes wrong with one is told and keeps no other. After
    `PATIENCE` seconds no other is begun with.
    """
    if not place.file.pulls:
        return []
    found: list[Refreshed] = []
    end = time.monotonic() + PATIENCE
    for job in settings.jobs(place.file, names):
        if time.monotonic() > end:
            found.append(Refreshed(job.name, error="There was no time left to look; ask for it by its name."))
            continue

        def stand(job: settings.Job = job) -> list[held.Held]:
            with contextlib.closing(job.open()) as opened:
                return held.of_pull(opened, job)

        try:
            there = outside.warehouse(place.file.pulls[job.name].warehouse, stand)
            stored.replace(place.store, f"pull:{job.name}", matters.noted(there))
            alerts.judge(place.store, place.file, f"pull:{job.name}")
            found.append(Refreshed(job.name, len(there)))
        except errors.StoreError:
            raise
        except errors.TidegateError as error:
            found.append(Refreshed(job.name, error=str(error)))
    return found
