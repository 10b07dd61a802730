"""Runs that a command begins and does itself, beside whatever else begins runs.

Such a run is noted and begun in one step, so that nobody who looks for queued runs takes it away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tidegate.store import database, runs


def begin(
    store: database.Database, run_id: str, flow: str, worker: str, options: Mapping[str, Any]
) -> runs.Run | None:
    """Note a run and make it one's own; None where the flow has one that is running, or waits to do something else.

    A run that only waited to do the same, or nothing in particular, is cancelled: this one does it.
    """

    command = f"tidegate {flow.partition(':')[0]}"

    def work(session: database.Session) -> runs.Run | None:
        session.execute("SELECT flow FROM ticks WHERE flow = :flow {lock}", {"flow": flow})
        session.execute(
            "UPDATE runs SET state = 'cancelled', cancelled_by = :by, finished_at = {now}, error = :why "
            "WHERE flow = :flow AND state = 'queued' AND id <> :id AND (options = '{}' OR options = :options)",
            {
                "flow": flow,
                "id": run_id,
                "by": command,
                "why": f"`{command}` does it instead, as {run_id}.",
                "options": msgspec.json.encode(options).decode(),
            },
        )
        if runs.queued(session, run_id, flow, "manual", options=options) is None:
            return None
        return runs.begun(session, run_id, worker)

    return store.transact(work)
