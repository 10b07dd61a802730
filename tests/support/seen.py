"""Places to look at: a configuration, and what a metadata database knows of it, written down without any run."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tidegate.engine import flows, live
from tidegate.engine import place as places
from tidegate.store import database, positions, ticks

KEY = "rk_test_51Hgeheim123456789"
FILE = """
stripe:
  acme: {{api_key: {key}, api_base: "{url}"}}
warehouses:
  local: {{type: duckdb, path: w.duckdb}}
pulls:
  everything: {{from: acme, to: local, schedule: every 15m}}
{more}
"""


def written(folder: Path, *, url: str = "https://api.stripe.com", key: str = KEY, more: str = "") -> Path:
    """A file with one connection, warehouse and pull, and whatever else."""
    file = folder / "tidegate.yaml"
    file.write_text(FILE.format(key=key, url=url, more=more))
    return file


@contextlib.contextmanager
def place(file: Path, url: str = "") -> Iterator[places.Place]:
    """A place that goes by a file and by what its metadata database keeps."""
    with contextlib.closing(database.open_database(url or f"sqlite:///{file.parent}/tidegate.db")) as store:
        found = places.Place(live.Live(file, store), store, folder=places.state(file))
        yield found


def ticking(at: places.Place) -> None:
    """Have a tick for every flow, as a scheduler does."""
    known = at.flows
    wanted = {name: flows.text(each.schedule) for name, each in known.items()}
    ticks.sync(at.store, wanted, flows.clock(known))


def stands(at: places.Place, flow: str, *tables: dict[str, Any]) -> None:
    """Note where tables of a flow stand."""
    noted = [positions.Position(each["stream"], each["account"], each) for each in tables]
    positions.replace(at.store, flow, noted)


def table(stream: str, age: float = 60.0, account: str = "acct_1", **more: Any) -> dict[str, Any]:
    """How a table stands: complete, with ten rows, as of `age` seconds ago."""
    as_of = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age)
    return {
        "stream": stream,
        "account": account,
        "rows": 10,
        "deleted": 0,
        "complete": True,
        "as_of": as_of.isoformat(),
        "status": "ok",
        "error": None,
        "staleness_s": 60,
        "staleness": "1 min",
        "held": "",
        "listing": None,
        "waiting": 0,
        "unread": 0,
        **more,
    }


def ran(
    at: places.Place,
    flow: str,
    *,
    state: str = "ok",
    cause: str = "schedule",
    began: float = 600.0,
    took: float | None = 60.0,
    error: str = "",
    progress: dict[str, Any] | None = None,
    **totals: Any,
) -> str:
    """Note a run that began so many seconds ago; without `took` it goes on."""
    name = f"run_{secrets.token_hex(8)}"
    now = at.store.now()
    at.store.execute(
        "INSERT INTO runs (id, flow, state, cause, due_at, queued_at, started_at, finished_at, worker, seen_at, "
        "totals, progress, error) VALUES (:id, :flow, :state, :cause, :at, :at, :at, :end, 'w', {now}, :totals, "
        ":progress, :error)",
        {
            "id": name,
            "flow": flow,
            "state": state,
            "cause": cause,
            "at": now - began,
            "end": None if took is None else now - began + took,
            "totals": json.dumps(totals),
            "progress": json.dumps(progress or {}),
            "error": error,
        },
    )
    return name
