"""How everything is, over HTTP: the overview, rows per hour, and a look into the warehouses."""

from __future__ import annotations

from typing import Annotated

import fastapi
import pydantic

from tidegate.api import base
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.stripe import keys
from tidegate.views import activity, flows, overview, standing


class FlowHealth(base.Model):
    """A flow in short: what it does now, how it ended last, and when it comes next; more of it at `/flows`."""

    name: str
    kind: str
    state: flows.State
    stopped_until: base.Moment | None
    """When a flow that was stopped by hand is begun again, unless somebody starts it."""
    schedule: str
    waiting: str
    next_at: base.Moment | None
    running: str | None
    """The run that is queued or running."""
    last: str | None
    """The newest run that has ended."""
    last_state: str | None
    last_at: base.Moment | None
    error: str
    resting: str
    """Why it does not run by itself: Stripe refuses the key, or nobody is signed in."""


class FreshTable(base.Model):
    """One stream of one account: `age` seconds old, and may be `bound`; null where nothing bounds it."""

    flow: str
    stream: str
    account: str
    state: standing.State
    rows: int
    deleted: int
    complete: bool
    as_of: base.Moment | None
    age: float | None
    bound: float | None
    status: str
    error: str | None
    noted_at: base.Moment


class OpenIssue(base.Model):
    """Things of one kind that need a person: `rows`, or matters."""

    kind: str
    label: str
    count: int
    rows: bool


class Budget(base.Model):
    """The rate budget of an account, in requests a second; `limit` and `free` are null where there is none."""

    connection: str
    account: str
    mode: keys.Mode
    limit: float | None
    used: float
    free: float | None
    paused: float
    factor: float
    waited: float


class Size(base.Model):
    """What is known of a warehouse's size without opening it."""

    warehouse: str
    type: str
    rows: int | None
    tables: int
    bytes: int | None
    noted_at: base.Moment | None


class Overview(base.Model):
    """All of it; `freshness` are the worst streams, `streams` how many there are in each state."""

    at: base.Moment
    health: overview.Health
    sentence: str
    problem: str
    """What is wrong with a newer configuration, which does not count therefore."""
    flows: list[FlowHealth]
    freshness: list[FreshTable]
    streams: dict[str, int]
    issues: list[OpenIssue]
    budgets: list[Budget]
    warehouses: list[Size]


class Series(base.Model):
    """One line of a chart, a value for each of its times."""

    label: str
    values: list[int]


class Hours(base.Model):
    """Rows that changed hour by hour; `times` are the beginnings of hours."""

    times: list[base.Moment]
    series: list[Series]


class RefreshWish(base.Model):
    """The pulls whose warehouses are looked into; all of them where none is named."""

    pulls: Annotated[tuple[str, ...], pydantic.Field(max_length=100)] = ()


class Refreshed(base.Model):
    """What came of it: how many streams stand there, or why nobody knows."""

    pull: str
    streams: int
    error: str


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
        noted_at=found.noted_at,
    )
