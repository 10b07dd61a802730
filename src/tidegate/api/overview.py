"""How everything is, over HTTP: the overview, rows per hour, and a look into the warehouses."""

from __future__ import annotations

from typing import Annotated

import fastapi
import pydantic

from tidegate.api import base
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.stripe import keys
from tidegate.views import activity, flows, overview, standing, summary


class FlowHealth(base.Model):
    """A flow in short; more of it at `/flows`."""

    name: str
    """Its full name, such as `pull:everything`."""
    kind: str
    """A `pull` reads Stripe, a `pipeline` makes customers of it, a `push` writes to Stripe."""
    state: flows.State
    """`running` the first time, `stopped` where it is continuous and was cancelled, `off` where it never ran."""
    stopped_until: base.Moment | None
    """When a flow that was stopped by hand is begun again, unless somebody starts it."""
    schedule: str
    """When it runs, in words."""
    waiting: str
    """Why it is due without a tick of its schedule: `after`, `retry`, `api`, ...; empty where it is not."""
    next_at: base.Moment | None
    """When it comes next; null where nothing says."""
    running: str | None
    """The run that is queued or running, by its id."""
    last: str | None
    """The newest run that has ended, by its id."""
    last_state: str | None
    """How that one ended, such as `ok`, `partial` or `failed`."""
    last_at: base.Moment | None
    """When that one ended."""
    error: str
    """Why that one did not end well; empty where it did."""
    resting: str
    """Why it does not run by itself: Stripe refuses the key, or nobody is signed in."""


class FreshTable(base.Model):
    """One stream of one account, and how old it is."""

    flow: str
    """The full name of its pull, such as `pull:everything`."""
    stream: str
    """Such as `charges`."""
    account: str
    """The id of the account."""
    state: standing.State
    """`behind` is older than it may be, `unfinished` not read to its end yet, `unbounded` may be of any age."""
    rows: int
    """Rows of its table, those marked as deleted left out."""
    deleted: int
    """Rows that are marked as deleted."""
    complete: bool
    """Was it read to its end once?"""
    as_of: base.Moment | None
    """The moment of Stripe's clock up to which it is whole; null where it is not known."""
    age: float | None
    """How old it is in seconds; null where that is not known."""
    bound: float | None
    """Seconds that `age` may be; null where nothing bounds it."""
    status: str
    """How it was read last: `ok`, `partial`, `no_permission`, `not_enabled` or `failed`."""
    error: str | None
    """What went wrong, or is held back until somebody looks; null where nothing is."""
    waiting: int
    """Objects that are known to have changed and are still to be read."""
    unread: int
    """Those of `waiting` that could not be read so far."""
    noted_at: base.Moment
    """When its pull noted this."""


class OpenIssue(base.Model):
    """Things of one kind that need a person."""

    kind: str
    """As `/issues` calls it."""
    label: str
    """What they are, in words."""
    count: int
    """How many there are."""
    rows: bool
    """Are they rows, rather than matters?"""


class Budget(base.Model):
    """The rate budget of an account, in requests a second."""

    connection: str
    """The connection that is used."""
    account: str
    """The id of the account."""
    mode: keys.Mode
    """Whether these are the limits of `live` or of `test`."""
    limit: float | None
    """What may be used; null where there is no limit."""
    used: float
    """What those who send wanted a moment ago."""
    free: float | None
    """What is left; null where there is no limit."""
    paused: float
    """Seconds for which nobody sends, since Stripe refused something."""
    factor: float
    """What refusals left of the limit, of 1."""
    waited: float
    """Seconds for which a request has waited."""


class Size(base.Model):
    """What is known of a warehouse's size without opening it."""

    warehouse: str
    """Its name in the configuration."""
    type: str
    """Such as `postgres` or `duckdb`."""
    rows: int | None
    """Rows of the tables that pulls write, with those marked as deleted; null where nothing is known."""
    tables: int
    """Tables that pulls write."""
    bytes: int | None
    """Size of a file on this machine; null for all else."""
    noted_at: base.Moment | None
    """When the newest of this was noted; null where nothing is known."""


class Overview(base.Model):
    """How everything is."""

    at: base.Moment
    """When this was found out."""
    health: summary.Health
    """`ok`; `warn` where something needs a person or is behind; `failed`; `off` where nothing moves yet."""
    sentence: str
    """The same in a sentence."""
    problem: str
    """What is wrong with a newer configuration, which does not count therefore."""
    flows: list[FlowHealth]
    """Each in short."""
    freshness: list[FreshTable]
    """The streams that are worst, worst first."""
    streams: dict[str, int]
    """How many streams there are in each state."""
    issues: list[OpenIssue]
    """What needs a person, kind by kind."""
    budgets: list[Budget]
    """What is used of Stripe's rate limits, account by account."""
    warehouses: list[Size]
    """How large they are."""


class Series(base.Model):
    """One line of a chart, a value for each of its times."""

    label: str
    """What it counts."""
    values: list[int]
    """One for each of the times."""


class Hours(base.Model):
    """Rows that changed, hour by hour."""

    times: list[base.Moment]
    """The beginnings of hours, oldest first."""
    series: list[Series]
    """Rows that were pulled, and objects that were pushed."""


class RefreshWish(base.Model):
    """The pulls whose warehouses are looked into; all of them where none is named."""

    pulls: Annotated[tuple[str, ...], pydantic.Field(max_length=100)] = ()
    """Their names in the configuration; all where none is named."""


class Refreshed(base.Model):
    """What came of it."""

    pull: str
    """Its name in the configuration."""
    streams: int
    """How many of its streams stand there."""
    error: str
    """Why nobody knows; empty where it could be looked at."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("overview"), desk.place

    @made.get(
        "/overview", operation_id="getOverview", summary="How everything is, in a sentence and in detail"
    )
    def look(asker: asking.Reader) -> Overview:
        """What the metadata database knows; no warehouse is opened for it."""
        del asker
        found = overview.look(place)
        return Overview(
            at=found.at,
            health=found.health,
            sentence=found.sentence,
            problem=place.problem,
            flows=[_flow(each) for each in found.flows],
            freshness=[table(each) for each in found.freshness],
            streams={str(state): count for state, count in found.streams.items()},
            issues=[OpenIssue.model_validate(each) for each in found.issues],
            budgets=[Budget.model_validate(each) for each in found.budgets],
            warehouses=[Size.model_validate(each) for each in found.warehouses],
        )

    @made.get("/overview/hours", operation_id="getHours", summary="Rows that changed, hour by hour")
    def hours(
        asker: asking.Reader,
        count: Annotated[int, fastapi.Query(ge=1, le=activity.MOST, description="How many hours.")] = 48,
    ) -> Hours:
        """The last hour is the one that goes on."""
        del asker
        found = activity.hours(place, count)
        lines = (("Pulled", found.pulled), ("Pushed", found.pushed))
        series = [Series(label=label, values=list(values)) for label, values in lines if any(values)]
        empty = Series(label="Pulled", values=list(found.pulled))
        return Hours(times=list(found.starts), series=series or [empty])

    @made.post(
        "/overview/refresh", operation_id="refreshOverview", summary="Look into the warehouses of pulls now"
    )
    def refresh(asker: asking.Operator, wanted: RefreshWish | None = None) -> list[Refreshed]:
        """Notes anew where the tables stand; a warehouse that does not answer keeps no other."""
        del asker
        found = overview.refresh(place, wanted.pulls if wanted is not None else ())
        return [Refreshed.model_validate(each) for each in found]

    return made


def _flow(it: flows.Standing) -> FlowHealth:
    last = it.last
    return FlowHealth(
        name=it.name,
        kind=it.kind,
        state=it.state,
        stopped_until=it.stopped_until,
        schedule=it.schedule,
        waiting=it.waiting,
        next_at=it.next_at,
        running=None if it.running is None else it.running.id,
        last=None if last is None else last.id,
        last_state=None if last is None else last.state,
        last_at=None if last is None else last.finished_at,
        error="" if last is None else last.error,
        resting=it.resting,
    )


def table(found: standing.Table) -> FreshTable:
    """A table as it stands."""
    stood = found.stood
    return FreshTable(
        flow=found.flow,
        stream=stood.stream,
        account=stood.account,
        state=found.state,
        rows=stood.rows,
        deleted=stood.deleted,
        complete=stood.complete,
        as_of=None if stood.as_of is None else stood.as_of.timestamp(),
        age=found.age,
        bound=found.bound,
        status=stood.status,
        error=stood.error or stood.held or stood.listing or None,
        waiting=stood.waiting,
        unread=stood.unread,
        noted_at=found.noted_at,
    )
