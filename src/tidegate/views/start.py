"""The first run: from a key to the first rows. Where it stands follows from the configuration, so it can be left.

What was done stays done, through restarts and on another machine; what is to be done next is the first thing that
is missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tidegate import catalog, config, errors, views
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.pull import estimate, scope, settings
from tidegate.store import runs
from tidegate.views import accounts, demo, flows, outside, stored, stream_options, streams, warehouses
from tidegate.views import runs as run_views

Step = Literal["key", "warehouse", "streams", "rows"]
STEPS: tuple[Step, ...] = ("key", "warehouse", "streams", "rows")
DEMO = "demo"
"""The name of the connection to generated data."""
LOCAL = "http://127.0.0.1:"
DEMO_FILE = "demo.duckdb"
"""Where generated data is pulled to, apart from what is real."""
PATIENCE = 60.0
"""Seconds that an estimate may take."""
ROWS = 8
"""Rows of a first look."""
TELLING = (
    "charges",
    "payment_intents",
    "invoices",
    "customers",
    "subscriptions",
    "balance_transactions",
    "products",
)
"""Streams that people look at first."""


@dataclass(frozen=True, slots=True)
class Stand:
    """How far the first run is; names are empty where there is nothing yet."""

    step: Step
    connection: str
    warehouse: str
    pull: str
    run: runs.Run | None
    """The newest run of the pull."""
    demo: bool
    """Is the connection to generated data?"""

    @property
    def rows(self) -> int:
        """Rows that the run has brought so far."""
        if self.run is None:
            return 0
        return run_views.rows(self.run) or sum(each.rows for each in run_views.streams(self.run))

    @property
    def share(self) -> float | None:
        """How much of the run is done, as far as it was estimated; None where nothing was."""
        told = [] if self.run is None else run_views.streams(self.run)
        known = [each for each in told if each.estimate]
        total = sum(each.estimate or 0 for each in known)
        return min(1.0, sum(each.rows for each in known) / total) if total else None


@dataclass(frozen=True, slots=True)
class Look:
    """The newest rows of a stream, from the warehouse."""

    stream: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    where: str


def stand(place: places.Place) -> Stand:
    """Where the first run stands."""
    file = place.file
    connection = next((name for name, each in file.stripe.items() if each.key is not None), "")
    readonly = {name for name, kind in warehouses.kinds().items() if kind.readonly}
    warehouse = next((name for name, each in file.warehouses.items() if each.type not in readonly), "")
    pull = next(iter(file.pulls), "")
    if pull:
        connection, warehouse = file.pulls[pull].connection, file.pulls[pull].warehouse
    found = runs.listed(place.store, flow=f"pull:{pull}", limit=1) if pull else []
    step: Step = "rows" if pull else "key" if not connection else "warehouse" if not warehouse else "streams"
    return Stand(
        step,
        connection,
        warehouse,
        pull,
        next(iter(found), None),
        connection in file.stripe and is_demo(connection, file.stripe[connection]),
    )


def free(taken: Collection[str], name: str) -> str:
    """The name, or with a number behind it where it is taken."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found


# --- generated data ---


def is_demo(name: str, connection: config.Connection) -> bool:
    """Is a connection to generated data on this machine?"""
    return name == DEMO and connection.api_base.startswith(LOCAL)


def begin_demo(place: places.Place, who: views.Who, start: Callable[[], tuple[str, str]]) -> None:
    """Have a local Stripe with generated data, started by `start`, which gives its address and a key."""
    found = editing.get(place, "stripe", DEMO)
    if found is not None and not is_demo(DEMO, place.file.stripe[DEMO]):
        raise views.Refused(f"There is a connection called {DEMO} already, which is not to generated data.")
    url, key = start()
    body = {"api_key": key, "api_base": url, "rate_limit": "off", "budget": 1.0}
    version = None if found is None else found.version
    editing.change(place, who.name, "stripe", DEMO, body, version, via=who.via, admin=True)
    place.look()


def try_demo(place: places.Place, who: views.Who, start: Callable[[], tuple[str, str]]) -> None:
    """Have generated data, a DuckDB file for it and a pull over it, which begins at once."""
    begin_demo(place, who, start)
    if any(each.connection == DEMO for each in place.file.pulls.values()):
        return
    name = next((each for each in place.file.warehouses if _is_demo_file(place.file, each)), "")
    if not name:
        name = free(place.file.warehouses, DEMO)
        body = {"type": "duckdb", "path": DEMO_FILE}
        editing.change(place, who.name, "warehouses", name, body, None, via=who.via, admin=True)
        place.look()
    begin(place, who, DEMO, name, recommended(), admin=True)


def _is_demo_file(file: config.Config, warehouse: str) -> bool:
    found = file.warehouses.get(warehouse)
    return isinstance(found, config.DuckDB) and Path(found.path or "").name == DEMO_FILE


def resume_demo(place: places.Place, who: views.Who, start: Callable[[], tuple[str, str]]) -> bool:
    """Start the local Stripe again where the configuration has a connection to it that was made here."""
    found = editing.get(place, "stripe", DEMO)
    if found is None or found.origin == "file" or not is_demo(DEMO, place.file.stripe[DEMO]):
        return False
    begin_demo(place, who, start)
    return True


def end_demo(place: places.Place, who: views.Who) -> None:
    """Remove the connection to generated data, what runs over it and its warehouse; its file stays on the disk.

    A warehouse that something else uses stays, too.
    """
    if DEMO not in place.file.stripe or not is_demo(DEMO, place.file.stripe[DEMO]):
        raise views.Unknown("There is no connection to generated data.")
    known = editing.objects(place)
    gone = [each for each in known if (each.kind, each.name) == ("stripe", DEMO)]
    gone = [each for each in (*gone, *demo.leavings(place, DEMO)) if each.origin == "store"]
    used = {each.body.get(name) for each in known if each not in gone for name in ("to", "warehouse")}
    unused = [
        each
        for each in known
        if (each.kind, each.origin) == ("warehouses", "store")
        and _is_demo_file(place.file, each.name)
        and each.name not in used
    ]
    gone = [*unused, *gone]
    edits = [editing.Edit(each.kind, each.name, None, each.version) for each in reversed(gone)]
    editing.changes(place, who.name, edits, via=who.via)
    place.look()


# --- streams ---


def recommended() -> list[str]:
    """The streams that a pull takes where nobody chooses."""
    return sorted(name for name, each in catalog.load().streams.items() if each.default)


def forecast(place: places.Place, connection: str, chosen: Sequence[str]) -> estimate.Forecast:
    """Rows and time that a pull of these streams would take; raises ConfigError, and what Stripe says."""
    names = tuple(streams.named(each).name for each in chosen)
    if not names:
        raise errors.ConfigError("Choose one stream at least.")
    found = accounts.named(place.file, connection)
    source = settings.source(found)
    options = scope.Options(streams=names, named=frozenset(names))
    return outside.stripe(connection, lambda: estimate.forecast(source, options), patience=PATIENCE)


def begin(
    place: places.Place,
    who: views.Who,
    connection: str,
    warehouse: str,
    chosen: Collection[str],
    *,
    admin: bool = False,
) -> str:
    """Pull these streams from now on, continuously, and begin at once; the pull's name.

    Generated data changes by nobody, so that it is pulled every 15 minutes, and what else the demo shows follows.
    Raises ConfigError where nothing is chosen, or a name is unknown.
    """
    wanted = {streams.named(each).name for each in chosen}
    if not wanted:
        raise errors.ConfigError("Choose one stream at least.")
    usual = set(recommended())
    generated = is_demo(connection, place.file.stripe[connection])
    schedule = "every 15m" if generated else "continuous"
    body: dict[str, Any] = {"from": connection, "to": warehouse, "schedule": schedule}
    if wanted != usual:
        body = stream_options.with_choice(body, {name: name in wanted for name in wanted ^ usual})
    name = free(place.file.pulls, connection)
    edits = [editing.Edit("pulls", name, body, None)]
    if generated and demo.STREAM in wanted:
        edits += demo.furniture(place.file, connection, warehouse, name)
    editing.changes(place, who.name, edits, via=who.via, admin=admin)
    place.look()
    start(place, who, name)
    return name


def start(place: places.Place, who: views.Who, pull: str) -> None:
    """Have a run of the pull begin; it is no error where one has begun by itself."""
    with contextlib.suppress(errors.StoreConflict):
        flows.begin(place, who, f"pull:{pull}")


def look(place: places.Place, found: Stand) -> Look | None:
    """The newest rows of the most telling stream that has some; None where there is nothing to see yet."""
    if found.run is None:
        return None
    read = [each.name for each in run_views.streams(found.run) if each.rows]
    for stream in dict.fromkeys((*(each for each in TELLING if each in read), *read)):
        with contextlib.suppress(errors.TidegateError):
            if rows := stored.newest(place, found.pull, stream, ROWS):
                shown = tuple(streams.telling(rows))
                kept = tuple({name: row[name] for name in shown} for row in rows)
                return Look(stream, shown, kept, found.warehouse)
    return None


def tells(look: Look | None) -> bool:
    """Is it of a stream that people look at first, so that nothing better is to come?"""
    return look is not None and look.stream in TELLING
