"""The loading report of a run: what each of its tables got, by stream and account."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate.store import database

STEP = 500
"""Tables that are written in one transaction, so that others get their turn."""

_WILD = re.compile(r"([!%_])")


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


@dataclass(frozen=True, slots=True)
class Counts:
    """How many tables a report has, and how many of them did not end well."""

    tables: int
    wrong: int


def count(store: database.Database, run_id: str) -> Counts:
    """How long the loading report of a run is."""
    row = store.one(
        "SELECT count(*) AS tables, coalesce(sum(CASE WHEN status IN ('ok', 'not_enabled') THEN 0 ELSE 1 END), 0) "
        "AS wrong FROM run_tables WHERE run = :run",
        {"run": run_id},
    )
    assert row is not None, "An aggregate has a row."
    return Counts(int(row["tables"]), int(row["wrong"]))


def page(
    store: database.Database,
    run_id: str,
    *,
    limit: int,
    after: tuple[str, str] | None = None,
    stream: str = "",
    account: str = "",
    wrong: bool = False,
) -> list[dict[str, Any]]:
    """Tables of the loading report of a run by stream and account; `after` are those of the last one seen.

    `stream` and `account` are parts of names; with `wrong` only those that did not end well.
    """
    where, parameters = ["run = :run"], dict[str, object](run=run_id, limit=limit)
    if after is not None:
        where.append("(stream, account) > (:stream, :account)")
        parameters |= {"stream": after[0], "account": after[1]}
    for column, part, name in (("stream", stream, "in_stream"), ("account", account, "in_account")):
        if part:
            where.append(f"{column} LIKE :{name} ESCAPE '!'")
            parameters[name] = "%" + _WILD.sub(r"!\1", part) + "%"
    if wrong:
        where.append("status NOT IN ('ok', 'not_enabled')")
    rows = store.execute(
        f"SELECT report FROM run_tables WHERE {' AND '.join(where)} ORDER BY stream, account LIMIT :limit",
        parameters,
    )
    return [msgspec.json.decode(row["report"]) for row in rows]
