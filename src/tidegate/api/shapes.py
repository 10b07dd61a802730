"""What the API tells of runs: the same wherever one stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from tidegate.api import base
from tidegate.store import logs
from tidegate.store import runs as stored
from tidegate.views import runs as views

State = Literal["queued", "running", "ok", "partial", "failed", "cancelled", "interrupted"]
Kind = Literal["pull", "pipeline", "push"]
Cause = Literal["schedule", "manual", "api", "trigger", "after", "retry", "continuous"]
Level = Literal["info", "warning", "error"]


class Progress(base.Model):
    """How far a run is."""

    phase: str = ""
    """What is being done just now, in words; empty where nothing is said."""
    rows: int = 0
    """Rows that were read so far."""
    requests: int = 0
    """Requests to Stripe so far."""
    rate: float = 0.0
    """Requests a second that are in use."""
    limit: float = 0.0
    """Requests a second that the budget allows; 0 where that is not known."""
    written: int | None = None
    """Rows that were written so far; null where that is not counted."""
    deleted: int | None = None
    """Rows that were deleted, or marked as deleted; null where that is not counted."""


class Run(base.Model):
    """A run of a flow."""

    id: str
    """Such as `run_2b58c3a1f0d94e67`; never given to another."""
    flow: str
    """Its full name, such as `pull:everything`."""
    kind: Kind
    """A `pull` reads Stripe, a `pipeline` makes customers of it, a `push` writes to Stripe."""
    state: State
    """`partial` left something undone, `interrupted` lost its process; `queued` and `running` are not over."""
    cause: Cause
    """`manual` is a person, `api` this API, `trigger` an address that tools call, `after` another flow's end."""
    url: str
    """Where it is asked for, under this server."""
    options: dict[str, pydantic.JsonValue]
    """What it was asked to do beside the usual, such as `full_refresh`."""
    due_at: base.Moment
    """When it was to begin."""
    queued_at: base.Moment
    """When it was asked for; runs are sorted by it."""
    started_at: base.Moment | None
    """When a worker began it; null while it is queued."""
    finished_at: base.Moment | None
    """When it ended; null while it is not over."""
    cancelled_by: str
    """Who ended it; empty where nobody did."""
    attempts: int
    """How often a worker began it."""
    progress: Progress
    """How far it is, or was at its end."""
    totals: dict[str, pydantic.JsonValue]
    """What it came to, by the words of its kind; empty while it is not over."""
    error: str
    """Why it did not end well, in a sentence; empty where it did."""


class Stream(base.Model):
    """How far a stream of a run is, over all accounts."""

    name: str
    """Such as `charges`."""
    rows: int
    """Rows that were read of it so far."""
    requests: int
    """Requests to Stripe that it took so far."""
    estimate: int | None
    """A guess at how many rows it has; null where there is none."""
    begun: int
    """Accounts of which its reading began."""
    ended: int
    """Accounts of which its reading ended."""
    status: str
    """`running`, or how it ended, such as `ok`, `partial`, `no_permission` or `failed`."""
    share: float | None
    """How much of it is done, 0 to 1; null where nobody knows."""


class Bar(base.Model):
    """Where so many rows of a run went."""

    label: str
    """What became of them, in words."""
    rows: int
    """How many there were."""
    kind: views.Kind
    """Whether that is as it should be, as a chart colours it."""


class Whole(Run):
    """A run with its streams and with what its rows came to."""

    streams: list[Stream]
    """What it reads or writes, with how far each is."""
    funnel: list[Bar]
    """Where its rows went, from what was read to what is left."""
    tables: int
    """Lines of its loading report: one for each stream and account."""
    tables_wrong: int
    """Those of them that did not end well."""


class Waiting(base.Model):
    """A run that is not there yet: it comes after another."""

    id: None
    """Null: it gets one when it is queued."""
    flow: str
    """The full name of its flow, such as `push:accounts`."""
    state: Literal["waiting"]
    """Always `waiting`."""
    cause: Cause | None
    """What asked for it; null where nothing has yet."""
    url: str
    """Leads to it once it is there."""


class Table(base.Model):
    """What one table got in a run."""

    stream: str
    """Such as `charges`; of a push the kind of object."""
    account: str
    """The id of the account that its rows are of."""
    status: str
    """How it ended, such as `ok`, `partial`, `no_permission` or `failed`."""
    error: str | None
    """What went wrong, in a sentence; null where nothing did."""
    figures: dict[str, int]
    """Counts by the words of the run's kind, such as `inserted` and `deleted`."""
    first: base.Moment | None
    """The earliest moment, by Stripe's clock, that a written row is of; null where none was."""
    last: base.Moment | None
    """The latest one."""


class Line(base.Model):
    """A line of a run's log."""

    at: base.Moment
    """When it was said."""
    level: str
    """`info`, `warning` or `error`."""
    stream: str
    """What it is about; empty where it is the whole run."""
    account: str
    """The account that it is about; empty where it is no single one."""
    text: str
    """What was said, without personal data."""


def url(run_id: str) -> str:
    """Where a run is asked for."""
    return f"{base.PREFIX}/runs/{run_id}"


def run(it: stored.Run) -> Run:
    """A run, as it is told in lists."""
    return Run.model_validate(_fields(it))


def whole(it: views.Whole) -> Whole:
    """A run, as it is told by itself."""
    return Whole.model_validate(
        {
            **_fields(it.run),
            "streams": views.streams(it.run),
            "funnel": it.funnel,
            "tables": it.counts.tables,
            "tables_wrong": it.counts.wrong,
        }
    )


def waiting(before: stored.Run, cause: stored.Cause | None) -> Waiting:
    """The run that comes after one, and is not there yet."""
    return Waiting(id=None, flow=before.flow, state="waiting", cause=cause, url=f"{url(before.id)}/next")


def table(row: Mapping[str, Any]) -> Table:
    """A row of a loading report."""
    known = ("stream", "account", "status", "error", "from_version", "to_version")
    return Table(
        stream=row["stream"],
        account=row["account"],
        status=row["status"],
        error=row.get("error") or None,
        figures={name: value for name, value in row.items() if name not in known and isinstance(value, int)},
        first=row.get("from_version"),
        last=row.get("to_version"),
    )


def line(it: logs.Line) -> Line:
    """A line of a log."""
    return Line(at=it.at, level=it.level, stream=it.stream, account=it.account, text=it.text)


def _fields(it: stored.Run) -> dict[str, Any]:
    told = {name: it.progress[name] for name in Progress.model_fields if name in it.progress}
    names = (name for name in Run.model_fields if name not in ("kind", "url", "progress"))
    return {
        **{name: getattr(it, name) for name in names},
        "kind": it.flow.partition(":")[0],
        "url": url(it.id),
        "progress": told,
    }
