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
    """How far a run is; `rate` and `limit` are requests a second, in use and allowed."""

    phase: str = ""
    rows: int = 0
    requests: int = 0
    rate: float = 0.0
    limit: float = 0.0
    written: int | None = None
    deleted: int | None = None


class Run(base.Model):
    """A run; `totals` is what it came to, in the words of its kind."""

    id: str
    flow: str
    kind: Kind
    state: State
    cause: Cause
    url: str
    options: dict[str, pydantic.JsonValue]
    due_at: base.Moment
    queued_at: base.Moment
    started_at: base.Moment | None
    finished_at: base.Moment | None
    cancelled_by: str
    attempts: int
    progress: Progress
    totals: dict[str, pydantic.JsonValue]
    error: str


class Stream(base.Model):
    """How far a stream of a run is, over all accounts; `estimate` is a guess at its rows, `share` is of 1."""

    name: str
    rows: int
    requests: int
    estimate: int | None
    begun: int
    ended: int
    status: str
    share: float | None


class Bar(base.Model):
    """Where so many rows of a run went."""

    label: str
    rows: int
    kind: views.Kind


class Whole(Run):
    """A run with its streams, what its rows came to, and how many tables its loading report has."""

    streams: list[Stream]
    funnel: list[Bar]
    tables: int
    tables_wrong: int


class Waiting(base.Model):
    """A run that is not there yet: it comes after another, and `url` leads to it then."""

    id: None
    flow: str
    state: Literal["waiting"]
    cause: Cause | None
    url: str


class Table(base.Model):
    """What one table got in a run: its figures in the words of its kind, and which moments its rows are of."""

    stream: str
    account: str
    status: str
    error: str | None
    figures: dict[str, int]
    first: base.Moment | None
    last: base.Moment | None


class Line(base.Model):
    """A line of a run's log."""

    at: base.Moment
    level: str
    stream: str
    account: str
    text: str


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
