"""A metadata database with much of everything that lists show: runs, tables, rows that wait, changes."""

from __future__ import annotations

import datetime as dt
import json
import random
from pathlib import Path

from tidegate import catalog, config
from tidegate.store import database, failed, holds, logs, positions, reports

FLOWS = 40
STREAMS = 12
"""Streams that each run tells of."""
PUSHED = 10
"""Pulls whose tables are known."""
KINDS: tuple[holds.Kind, ...] = ("refused", "ambiguous", "conflict", "invalid", "gone")


def configuration(folder: Path) -> config.Config:
    """As many pulls as a platform has; a model, two pushes and a pipeline."""
    pulls = "\n".join(f"  flow_{n}: {{from: acme, to: one, schedule: every 15m}}" for n in range(FLOWS))
    push = "{model: accounts, to: acme, object: customer, match: {email: email}, fields: {name: name}}"
    (folder / "tidegate.yaml").write_text(
        "stripe: {acme: {api_key: sk_test_x}}\nwarehouses: {one: {type: duckdb, path: one.duckdb}}\n"
        f"pulls:\n{pulls}\n"
        "customer_model: {warehouse: one}\n"
        "pipelines: {people: {from: acme, to: one, stream: customers, map: {email: {from: email}}}}\n"
        "models: {accounts: {warehouse: one, table: accounts, key: id}}\n"
        f"pushes: {{accounts: {push}, others: {push}}}\n"
        f"database: sqlite:///{folder}/tidegate.db\n"
    )
    return config.load(folder / "tidegate.yaml")


def with_runs(store: database.Database, count: int) -> str:
    """So many runs, every 20th of which failed; the newest has a report and a log. Returns its id."""
    chance, now, progress = random.Random(7), store.now(), _progress(99)
    totals = json.dumps({"requests": 36, "read": 108, "written": 99, "deleted": 1, "streams": STREAMS})
    rows: list[dict[str, object]] = [
        {
            "id": f"run_{number:016x}",
            "flow": f"pull:flow_{chance.randrange(FLOWS)}",
            "state": "failed" if number % 20 == 0 else "ok",
            "cause": "schedule",
            "at": now - (count - number) * 30.0,
            "progress": progress,
            "totals": totals,
            "error": "charges: The key may not read charges; grant it." if number % 20 == 0 else "",
        }
        for number in range(count)
    ]
    each(
        store,
        "INSERT INTO runs (id, flow, state, cause, due_at, queued_at, started_at, finished_at, progress, totals, "
        "error) VALUES (:id, :flow, :state, :cause, :at, :at, :at, :at + 20, :progress, :totals, :error)",
        rows,
    )
    newest = f"run_{count - 1:016x}"
    table = {
        "status": "ok",
        "read": 9,
        "written": 9,
        "inserted": 9,
        "bytes": 900,
        "requests": 1,
        "error": None,
    }
    many = [
        {"stream": f"stream_{n % STREAMS}", "account": f"acct_{n // STREAMS:05}", **table}
        for n in range(10_000)
    ]
    reports.keep(store, newest, many)
    logs.write(store, newest, "w", 0, [logs.Line(now, "info", f"line {n}") for n in range(logs.LINES)])
    return newest


def _progress(rows: int) -> str:
    each = {"rows": rows, "requests": 3, "estimate": 999, "begun": 1, "ended": 1, "status": "ok"}
    streams = {f"stream_{n}": each for n in range(STREAMS)}
    return json.dumps({"phase": "pulling", "rows": STREAMS * rows, "requests": 36, "streams": streams})


def progressed(store: database.Database, run: str, turn: int) -> None:
    """Have a run come further."""
    store.execute(
        "UPDATE runs SET progress = :progress, seen_at = {now} WHERE id = :run",
        {"run": run, "progress": _progress(100 + turn)},
    )


def with_tables(store: database.Database, count: int) -> tuple[int, int]:
    """So many tables, those of PUSHED pulls; some failed, some are behind. Returns accounts and streams of each."""
    chance, now = random.Random(7), dt.datetime.now(dt.UTC)
    names = list(catalog.load().streams)[: max(1, min(20, count // PUSHED))]
    accounts = max(1, count // PUSHED // len(names))
    for number in range(PUSHED):
        found = []
        for stream in names:
            for account in range(accounts):
                late = chance.random() < 0.05
                as_of = now - dt.timedelta(seconds=chance.random() * (200_000 if late else 3_000))
                told = {
                    "stream": stream,
                    "account": f"acct_{account:05}",
                    "rows": chance.randrange(100_000),
                    "deleted": 3,
                    "complete": True,
                    "as_of": as_of.isoformat(),
                    "status": "failed" if chance.random() < 0.01 else "ok",
                    "staleness_s": 60,
                    "staleness": "1 min",
                }
                found.append(positions.Position(stream, f"acct_{account:05}", told))
        positions.replace(store, f"pull:flow_{number}", found)
    return accounts, len(names)


def with_rows_that_wait(store: database.Database, count: int) -> float:
    """So many rows of pushes that are held, and a tenth as many of a pipeline; returns when half of them were."""
    openings = [
        holds.Opening(
            f"row_{number:07}",
            KINDS[number % len(KINDS)],
            f"{KINDS[number % len(KINDS)]}: a sentence that says why.",
            candidates=("cus_1", "cus_2"),
        )
        for number in range(count)
    ]
    for start in range(0, count, 2_000):
        some = openings[start : start + 2_000]

        def work(session: database.Session, some: list[holds.Opening] = some) -> None:
            holds.opened(session, "accounts" if some[0].key < f"row_{count // 2:07}" else "others", some)

        store.transact(work)
    now = store.now()
    store.execute(
        "UPDATE holds SET opened_at = :now - CAST(substr(key, 5) AS INTEGER), state = 'held'", {"now": now}
    )
    failed.keep(
        store,
        (
            failed.Failed(
                "people", "acct_1", f"cus_{n:07}", 1, "s", "email", "is no e-mail", "", None, "{}", "r"
            )
            for n in range(count // 10)
        ),
    )
    return now - count / 2


def with_changes(store: database.Database, count: int) -> None:
    """So many lines of the audit log."""
    now = store.now()
    each(
        store,
        "INSERT INTO trail (id, at, who, via, action, what, was, became) VALUES (:id, :at, :who, 'session', "
        "'change', :what, '{\"a\":1}', '{\"a\":2}')",
        [
            {
                "id": f"chg_{n}",
                "at": now - n,
                "who": f"ann{n % 50}@example.com",
                "what": f"pulls.flow_{n % FLOWS}",
            }
            for n in range(count)
        ],
    )


def each(store: database.Database, statement: str, rows: list[dict[str, object]]) -> None:
    """Run a statement for many rows, some thousand in a transaction."""
    for start in range(0, len(rows), 5_000):

        def work(
            session: database.Session, some: list[dict[str, object]] = rows[start : start + 5_000]
        ) -> None:
            session.each(statement, some)

        store.transact(work)
