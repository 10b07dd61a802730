"""Flows, and runs as they were left in a metadata database, for those who look at them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import delivering

from tidegate.engine import flows
from tidegate.engine import place as places
from tidegate.store import database, logs, reports, runs, ticks

FLOWS = """\
warehouses: {one: {type: duckdb, path: one.duckdb}}
pulls:
  everything: {from: acme, to: one, streams: {customers: {}}, schedule: every 1h}
  finance: {from: acme, to: one, streams: {payouts: {}}}
  steady: {from: acme, to: one, schedule: continuous, streams: {charges: {}}}
customer_model: {warehouse: one}
pipelines:
  people: {from: acme, to: one, stream: customers, map: {email: {from: email}}}
models: {accounts: {warehouse: one, table: accounts, key: id}}
pushes:
  accounts: {model: accounts, to: acme, object: customer, match: {email: email}, fields: {name: name}}
"""


WORKER = "machine.internal:4711:abcdef"


def known(place: places.Place) -> places.Place:
    """The same, after a scheduler has looked at it."""
    found = place.flows
    wanted = {name: flows.text(flow.schedule) for name, flow in found.items()}
    ticks.sync(place.store, wanted, flows.clock(found))
    return place


@contextlib.contextmanager
def place(folder: Path, url: str = "") -> Iterator[places.Place]:
    """Where those flows are, on a SQLite file of the folder or another metadata database."""
    file = delivering.loaded(folder, url or f"sqlite:///{folder}/desk.db", more=FLOWS)
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as opened:
        yield known(places.Place(file, opened))


def begun(store: database.Database, flow: str = "pull:everything", **options: Any) -> runs.Run:
    """One that goes on."""
    run = runs.queue(store, runs.new_id(), flow, "manual", options=options)
    found = runs.begin(store, run.id, WORKER)
    assert found is not None
    return found


def ended(
    store: database.Database,
    flow: str = "pull:everything",
    state: runs.State = "ok",
    *,
    ago: float = 0.0,
    error: str = "",
    **totals: Any,
) -> runs.Run:
    """One that ended, so many seconds ago."""
    run = begun(store, flow)
    assert runs.end(store, run.id, WORKER, state, totals=totals, error=error)
    if ago:
        store.execute(
            "UPDATE runs SET due_at = due_at - :ago, queued_at = queued_at - :ago, "
            "started_at = started_at - :ago, finished_at = finished_at - :ago WHERE id = :id",
            {"ago": ago, "id": run.id},
        )
    return runs.get(store, run.id)


def said(
    store: database.Database,
    run: runs.Run,
    texts: Sequence[str],
    *,
    first: int = 0,
    writer: str = "a",
    level: str = "info",
) -> None:
    """Lines of its log, a second apart."""
    start = (run.started_at or run.queued_at) + first
    lines = [logs.Line(start + n, level, text, "customers", "acct_1") for n, text in enumerate(texts)]
    logs.write(store, run.id, writer, first, lines)


def got(store: database.Database, run: runs.Run, *tables: dict[str, Any]) -> None:
    """Its loading report; each of `tables` says what is not as ever."""
    usual = {
        "stream": "customers",
        "account": "acct_1",
        "status": "ok",
        "read": 10,
        "written": 7,
        "inserted": 4,
        "updated": 3,
        "unchanged": 2,
        "deleted": 1,
        "versions": 0,
        "bytes": 12_345,
        "from_version": 1_760_000_000,
        "to_version": 1_760_003_600,
        "requests": 2,
        "error": None,
    }
    reports.keep(store, run.id, [{**usual, **table} for table in tables])
