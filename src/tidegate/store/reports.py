"""The loading report of a run: what each of its tables got, by stream and account."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tidegate.store import database

STEP = 500
"""Tables that are written in one transaction, so that others get their turn."""


def keep(store: database.Database, run_id: str, tables: Iterable[Mapping[str, Any]]) -> None:
    """Keep the loading report: each of `tables` has `stream`, `account`, `status` and figures.

    Many accounts' are written in several transactions; called again, it leaves the same.
    """
    rest = iter(tables)
    while some := list(itertools.islice(rest, STEP)):
        rows = [
            {
                "run": run_id,
                "stream": table["stream"],
                "account": table["account"],
                "status": table["status"],
                "report": msgspec.json.encode(table).decode(),
            }
            for table in some
        ]

        def work(session: database.Session, rows: Sequence[database.Parameters] = rows) -> None:
            session.each(
                "INSERT INTO run_tables (run, stream, account, status, report) "
                "VALUES (:run, :stream, :account, :status, :report) "
                "ON CONFLICT (run, stream, account) "
                "DO UPDATE SET status = excluded.status, report = excluded.report",
                rows,
            )

        store.transact(work)


def read(store: database.Database, run_id: str) -> list[dict[str, Any]]:
    """The loading report of a run."""
    rows = store.execute(
        "SELECT report FROM run_tables WHERE run = :run ORDER BY stream, account", {"run": run_id}
    )
    return [msgspec.json.decode(row["report"]) for row in rows]
