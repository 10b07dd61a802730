"""`/metrics`: what the metadata database knows, in Prometheus' words, asked anew at each scrape.

No counter is kept in this process, so that any process may be scraped, and a restart sets nothing back. Who asks
from this machine needs nothing, anybody else a token, unless the configuration says `metrics: open`.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterator

import fastapi
import prometheus_client
from prometheus_client import core, registry
from starlette import requests

from tidegate import __version__, errors
from tidegate.engine import recorder
from tidegate.server import asking, problems, shield
from tidegate.store import database, runs

LAST = 500
"""Runs of which the newest of each flow are told."""


class _Store(registry.Collector):
    """What the metadata database knows, as metrics."""

    def __init__(self, store: database.Database) -> None:
        self._store = store

    def collect(self) -> Iterator[core.Metric]:
        """Every metric, as of now."""
        yield core.InfoMetricFamily("tidegate", "The version that runs.", value={"version": __version__})
        yield from _runs(self._store)
        yield from _pushes(self._store)
        yield from _deliveries(self._store)
        alerts = core.GaugeMetricFamily(
            "tidegate_alerts_open", "Matters that need a person.", labels=["kind"]
        )
        for row in self._store.execute(
            "SELECT kind, count(*) AS n FROM alerts WHERE resolved_at IS NULL GROUP BY kind ORDER BY kind"
        ):
            alerts.add_metric([row["kind"]], row["n"])
        yield alerts


def _runs(store: database.Database) -> Iterator[core.Metric]:
    states = core.GaugeMetricFamily(
        "tidegate_runs", "Runs that are kept, by state.", labels=["flow", "state"]
    )
    for row in store.execute(
        "SELECT flow, state, count(*) AS n FROM runs GROUP BY flow, state ORDER BY flow, state"
    ):
        states.add_metric([row["flow"], row["state"]], row["n"])
    yield states
    figures = {
        "read": core.GaugeMetricFamily(
            "tidegate_run_rows_read", "Rows that the last run read.", labels=["flow"]
        ),
        "written": core.GaugeMetricFamily(
            "tidegate_run_rows_written", "Rows that the last run changed.", labels=["flow"]
        ),
        "requests": core.GaugeMetricFamily(
            "tidegate_run_requests", "Requests to Stripe of the last run.", labels=["flow"]
        ),
    }
    seconds = core.GaugeMetricFamily("tidegate_run_seconds", "How long the last run took.", labels=["flow"])
    well = core.GaugeMetricFamily(
        "tidegate_last_success_timestamp_seconds", "When a run of the flow last ended well.", labels=["flow"]
    )
    now = store.now()
    for flow, last in _newest(store).items():
        ended = last[0]
        if ended.started_at is not None:
            seconds.add_metric([flow], (ended.finished_at or now) - ended.started_at)
        for name, metric in figures.items():
            metric.add_metric([flow], float(ended.totals.get(name, 0)))
        good = next((run.finished_at for run in last if run.state in ("ok", "partial")), None)
        if good is not None:
            well.add_metric([flow], good)
    yield from (*figures.values(), seconds, well)


def _pushes(store: database.Database) -> Iterator[core.Metric]:
    rows = core.GaugeMetricFamily(
        "tidegate_push_rows",
        "Rows of the model at the last run of a push, by outcome.",
        labels=["flow", "outcome"],
    )
    for flow, last in _newest(store).items():
        told = next((run.totals for run in last if "source" in run.totals), {})
        for name in recorder.FIGURES:
            if name in told:
                rows.add_metric([flow, name], float(told[name]))
    held = core.GaugeMetricFamily(
        "tidegate_push_rows_held", "Rows that wait for a person now, by reason.", labels=["flow", "kind"]
    )
    for row in store.execute(
        "SELECT push, kind, count(*) AS n FROM holds WHERE state = 'held' GROUP BY push, kind ORDER BY push, kind"
    ):
        held.add_metric([f"push:{row['push']}", row["kind"]], row["n"])
    opened = core.GaugeMetricFamily(
        "tidegate_push_operations_open",
        "Writes of which it is not known yet, or not at all, what became of them.",
        labels=["flow", "status"],
    )
    for row in store.execute(
        "SELECT push, status, count(*) AS n FROM operations WHERE status IN ('intent', 'sent', 'unknown') "
        "GROUP BY push, status ORDER BY push, status"
    ):
        opened.add_metric([f"push:{row['push']}", row["status"]], row["n"])
    yield from (rows, held, opened)


def _newest(store: database.Database) -> dict[str, list[runs.Run]]:
    """The newest runs of each flow that have ended."""
    found: dict[str, list[runs.Run]] = collections.defaultdict(list)
    for run in runs.listed(store, limit=LAST):
        if not run.alive:
            found[run.flow].append(run)
    return found


def _deliveries(store: database.Database) -> Iterator[core.Metric]:
    kept = core.GaugeMetricFamily(
        "tidegate_deliveries_kept", "Events that Stripe delivered and that are kept.", labels=["connection"]
    )
    last = core.GaugeMetricFamily(
        "tidegate_last_delivery_timestamp_seconds", "When Stripe last delivered.", labels=["connection"]
    )
    for row in store.execute(
        "SELECT connection, count(*) AS n, max(received_at) AS at FROM deliveries "
        "GROUP BY connection ORDER BY connection"
    ):
        kept.add_metric([row["connection"]], row["n"])
        last.add_metric([row["connection"]], row["at"])
    yield from (kept, last)


def router(store: database.Database) -> fastapi.APIRouter:
    """The route."""
    # Without `auto_describe` it is not asked when it is registered: the database may be away then.
    metrics = prometheus_client.CollectorRegistry(auto_describe=False)
    metrics.register(_Store(store))
    made = fastapi.APIRouter()

    async def scrape(request: requests.Request) -> fastapi.Response:
        try:
            await _admit(request)
        except problems.Problem as problem:
            return fastapi.responses.PlainTextResponse(f"{problem.detail}\n", problem.status, problem.headers)
        try:
            text = await asyncio.to_thread(prometheus_client.generate_latest, metrics)
        except errors.StoreError:
            return fastapi.responses.PlainTextResponse(
                "the metadata database cannot be reached\n", status_code=503
            )
        return fastapi.Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    made.add_api_route("/metrics", scrape, methods=["GET"])
    return made


async def _admit(request: requests.Request) -> None:
    """Raises Problem for who may not look: names of flows and numbers of rows are not for everybody."""
    desk = getattr(request.app.state, "desk", None)
    if desk is None or desk.site.metrics == "open" or shield.is_local(request.scope):
        return
    if (await asking.who(request)).flows:
        raise problems.Problem(403, "This token is for single flows; this needs one for all of them.")
