"""What goes after a while, so that this database grows no further than what it is kept for.

Secrets, schedules and the newest run of every flow stay; what belongs to a flow that is gone goes with it. Who uses
the rate budget cleans it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tidegate.store import database, jobs, plans, records, trail

DAY = 86_400.0
RUNS, DELIVERIES = 90 * DAY, 7 * DAY
"""Seconds for which runs with their lines and reports, and what Stripe delivered, are kept."""
UNHEARD = 29 * DAY
"""Seconds after which a delivery goes that a flow has not heard yet: Stripe's own list of events ends at 30 days,
and a flow that did not run for so long lists everything again."""
STEP = 500
"""Rows of one kind that are removed in one transaction, so that others get their turn."""
STEPS = 40
"""Such transactions of one kind in a row; then it is another kind's turn."""
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
        some = prune_runs(store, kept_runs) + prune_deliveries(store, kept_deliveries) + records.prune(store)
        some += (
            trail.prune(store)
            + plans.prune(store)
            + jobs.prune(store)
            + sum(_timed(store, *each) for each in _MORE)
        )
        removed += some
        if some < STEP or time.monotonic() >= end:
            return removed


def prune_runs(store: database.Database, older: float) -> int:
    """Remove runs that ended more than `older` seconds ago, but for the last of each flow; says how many.

    Their lines, slices and reports go with them.
    """

    def step(session: database.Session) -> int:
        # The newest of a flow by a subquery of its own, since a join would look at every run.
        rows = session.execute(
            "SELECT id FROM runs WHERE queued_at < :until AND finished_at < :until "
            "AND state NOT IN ('queued', 'running') AND queued_at < "
            "(SELECT max(queued_at) FROM runs AS newer WHERE newer.flow = runs.flow) "
            "ORDER BY queued_at, id LIMIT :step",
            {"until": session.now() - older, "step": STEP},
        )
        return session.each("DELETE FROM runs WHERE id = :id", rows) if rows else 0

    return _stepwise(store, step)


def prune_deliveries(store: database.Database, older: float) -> int:
    """Remove deliveries older than so many seconds that all who listen to their connection have heard.

    Those that nobody listens to go too, and after `UNHEARD` all. Says how many.
    """

    def step(session: database.Session) -> int:
        now = session.now()
        rows = session.execute(
            "SELECT number FROM deliveries WHERE received_at < :until AND (received_at < :unheard "
            "OR NOT EXISTS (SELECT 1 FROM hearings WHERE hearings.connection = deliveries.connection "
            "AND hearings.number < deliveries.number)) ORDER BY received_at LIMIT :step",
            {"until": now - older, "unheard": now - max(older, UNHEARD), "step": STEP},
        )
        return session.each("DELETE FROM deliveries WHERE number = :number", rows) if rows else 0

    return _stepwise(store, step)


def _timed(store: database.Database, table: str, key: str, column: str, older: float) -> int:
    """Remove some rows of a table whose time is long over, and still is when their turn comes."""
    over = f"{column} < (SELECT {{now}}) - :older"
    return len(
        store.execute(
            f"DELETE FROM {table} WHERE {over} "
            f"AND {key} IN (SELECT {key} FROM {table} WHERE {over} LIMIT :step) RETURNING {key}",
            {"older": older, "step": STEP},
        )
    )


def _stepwise(store: database.Database, step: Callable[[database.Session], int]) -> int:
    """Do a step that removes up to `STEP` rows until it finds fewer, `STEPS` times at most; says how many went."""
    removed = 0
    for _ in range(STEPS):
        removed += (some := store.transact(step))
        if some < STEP:
            break
    return removed
