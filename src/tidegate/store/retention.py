"""What goes after a while, so that this database grows no further than what it is kept for.

Secrets, schedules and the newest run of every flow stay; what belongs to a flow that is gone goes with it. Who uses
the rate budget cleans it.
"""

from __future__ import annotations

import time

from tidegate.store import database, deliveries, runs

DAY = 86_400.0
RUNS, DELIVERIES = 90 * DAY, 7 * DAY
"""Seconds for which runs with their lines and reports, and what Stripe delivered, are kept."""
STEP = 500
"""Rows of one kind that are removed at once."""
LONGEST = 5.0
"""Seconds for which one cleaning goes on: enough for some hundred deliveries a second, ten minutes apart."""

_MORE = (
    ("alerts", "matter", "resolved_at", RUNS),
    ("leases", "name", "until", DAY),
)
"""Tables whose rows go when the time in a column is longer ago than so many seconds."""


def clean(store: database.Database, *, kept_runs: float = RUNS, kept_deliveries: float = DELIVERIES) -> int:
    """Remove what is older than it is kept for, in bounded steps, for `LONGEST` seconds or so; says how many rows.

    What is left waits for the next time.
    """
    removed, end = 0, time.monotonic() + LONGEST
    while True:
        some = _some(store, kept_runs, kept_deliveries)
        removed += some
        if some < STEP or time.monotonic() >= end:
            return removed


def _some(store: database.Database, kept_runs: float, kept_deliveries: float) -> int:
    """Remove some of everything."""
    removed = runs.prune(store, kept_runs) + deliveries.prune(store, kept_deliveries)
    for table, key, column, seconds in _MORE:
        rows = store.execute(
            f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} "
            f"WHERE {column} < (SELECT {{now}}) - :seconds LIMIT :step) RETURNING {key}",
            {"seconds": seconds, "step": STEP},
        )
        removed += len(rows)
    return removed
