"""However much there is, nothing that is done again and again looks at all of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tidegate.store import database, deliveries, logs, retention, runs, slices, ticks

MANY = 20_000
FLOWS = 20
DAY = 86_400.0

Asked = list[tuple[str, database.Parameters]]


@pytest.fixture
def grown(store: database.Database) -> database.Database:
    """Many runs that have ended, a few that live, one with many lines, and many deliveries."""
    now = store.now()
    states = ("ok", "ok", "ok", "partial", "failed", "cancelled", "interrupted")
    ended = (
        {"id": f"run_{n:05x}_more", "flow": f"pull:{n % FLOWS}", "state": states[n % 7], "at": now - MANY + n}
        for n in range(MANY)
    )
    living = (
        {
            "id": f"run_{n:05x}_more",
            "flow": f"pull:{n % FLOWS}",
            "state": ("queued", "running")[n % 2],
            "at": now,
        }
        for n in range(MANY, MANY + 5)
    )

    def fill(session: database.Session) -> None:
        session.each(
            "INSERT INTO runs (id, flow, state, cause, worker, due_at, queued_at, finished_at, seen_at) "
            "VALUES (:id, :flow, :state, 'schedule', 'w', :at, :at, :at, :at)",
            (*ended, *living),
        )
        session.each(
            "INSERT INTO run_lines (run, writer, number, at, level, text) "
            "VALUES (:run, :writer, :n, :n, 'info', 'hello')",
            [
                {"run": f"run_{n % 50:05x}_more", "writer": f"w{n // 50 % 2}", "n": n // 100}
                for n in range(MANY)
            ],
        )
        session.each(
            "INSERT INTO slices (run, number, accounts, state) VALUES (:run, :n, 'acct_1', :state)",
            [
                {"run": f"run_{n // 50:05x}_more", "n": n % 50, "state": ("done", "failed")[n % 2]}
                for n in range(MANY)
            ]
            + [{"run": f"run_{MANY + 1:05x}_more", "n": n, "state": "queued"} for n in range(5)],
        )
        session.each(
            "INSERT INTO deliveries (connection, account, event, type, created, received_at, payload) "
            "VALUES (:connection, '', :event, 't', 1, :at, '{}')",
            [
                {"connection": ("acme", "other")[n % 2], "event": f"{n}", "at": now - 10 * DAY + n}
                for n in range(MANY)
            ],
        )

    store.transact(fill)
    ticks.sync(store, {f"pull:{n}": "manual" for n in range(FLOWS)}, lambda *_: None)
    if store.kind == "postgres":
        store.execute("ANALYZE")
    return store


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """The statements that are run."""
    found: Asked = []
    for kind in (database._SQLiteSession, database._PostgresSession):
        execute = kind.execute

        def listen(
            self: database.Session,
            text: str,
            parameters: database.Parameters | None = None,
            execute: Callable[..., Any] = execute,
        ) -> list[database.Row]:
            found.append((text, parameters or {}))
            rows: list[database.Row] = execute(self, text, parameters)
            return rows

        monkeypatch.setattr(kind, "execute", listen)
    yield found
    monkeypatch.undo()


ALL_THE_TIME: dict[str, Callable[[database.Database], object]] = {
    "begin": lambda store: runs.begin(store, f"run_{MANY:05x}_more", "w"),
    "beat": lambda store: runs.beat(store, f"run_{MANY + 1:05x}_more", "w", {"rows": 1}),
    "end": lambda store: runs.end(store, f"run_{MANY + 1:05x}_more", "w", "ok"),
    "cancel": lambda store: runs.cancel(store, f"run_{MANY:05x}_more", "me"),
    "queue": lambda store: runs.queue(store, runs.new_id(), "pull:19", "manual"),
    "alive": lambda store: runs.alive(store, "pull:3"),
    "interrupt": lambda store: runs.interrupt(store, 60.0),
    "get": lambda store: runs.get(store, f"run_{77:05x}_more"),
    "get the beginning": lambda store: runs.get(store, f"run_{77:05x}"),
    "listed": lambda store: runs.listed(store, before=runs.listed(store, limit=3)[-1]),
    "listed of a flow": lambda store: runs.listed(store, flow="pull:3", limit=5),
    "queued": lambda store: runs.listed(store, states=("queued",), limit=100),
    "failed": lambda store: runs.listed(store, states=("partial", "failed", "interrupted"), limit=20),
    "failed of a flow": lambda store: runs.listed(store, flow="pull:3", states=("failed",), limit=20),
    "lines": lambda store: logs.read(store, f"run_{7:05x}_more", seen={"w0": 3}, limit=100),
    "waiting": ticks.waiting,
    "slices": slices.open_runs,
    "take": lambda store: slices.take(store, f"run_{MANY + 1:05x}_more", "w"),
    "slices of a run": lambda store: slices.counts(store, f"run_{MANY + 1:05x}_more"),
    "add": lambda store: slices.add(store, f"run_{MANY + 1:05x}_more", 9_999, ["acct_1"]),
    "heard": lambda store: deliveries.begin(store, "pull:1", "acme"),
    "deliveries": lambda store: deliveries.after(store, "acme", MANY - 20, [MANY - 10], 5),
    "mark": lambda store: deliveries.mark(store, "pull:1", "acme", MANY),
    "clean": retention.clean,
}
"""What schedulers, workers, receivers and commands do all the time."""


def test_nothing_reads_all_runs_lines_or_deliveries(
    grown: database.Database, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEPS", 1)
    for name, act in ALL_THE_TIME.items():
        asked.clear()
        act(grown)
        statements = list(asked)
        assert statements, name
        for text, parameters in statements:
            for table in read_whole(grown, text, parameters):
                assert table not in ("runs", "run_lines", "deliveries", "slices"), f"{name}: {text}"


def test_the_last_delivery_of_each_connection_is_found_without_looking_at_the_others(
    grown: database.Database,
) -> None:
    """Endpoints to which nothing comes are asked for again and again, beside one to which everything does."""
    text = "SELECT max(received_at) AS last FROM deliveries WHERE connection = 'quiet'"
    if grown.kind == "sqlite":
        [step] = [row["detail"] for row in grown.execute(f"EXPLAIN QUERY PLAN {text}")]
        assert "COVERING INDEX" in step
        return
    [row] = grown.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}")
    [plan] = row["QUERY PLAN"] if isinstance(row["QUERY PLAN"], list) else json.loads(row["QUERY PLAN"])
    seen = [node.get("Rows Removed by Filter", 0) for node in nodes(plan["Plan"]) if "Relation Name" in node]
    assert seen == [0]


def test_what_reads_everything_is_noticed(grown: database.Database) -> None:
    for text, table in (
        ("SELECT count(*) AS n FROM runs WHERE error = ''", "runs"),
        ("SELECT id FROM runs WHERE substr(id, 1, 3) = 'abc' ORDER BY error LIMIT 1", "runs"),
        ("SELECT number FROM deliveries WHERE payload = 'x'", "deliveries"),
        ("UPDATE runs SET error = 'x' WHERE worker = 'y'", "runs"),
    ):
        assert read_whole(grown, text, {}) == [table]


def read_whole(store: database.Database, text: str, parameters: database.Parameters) -> list[str]:
    """The tables of which a statement reads every row."""
    if store.kind == "sqlite":
        rows = store.execute(f"EXPLAIN QUERY PLAN {text}", parameters)
        steps = [row["detail"].split() for row in rows]
        # An index that is walked in its order ends with the LIMIT; one that is not is as long as the table.
        sorts = any(step[:3] == ["USE", "TEMP", "B-TREE"] for step in steps)
        return [
            step[1]
            for step in steps
            if step[0] == "SCAN" and (sorts or "INDEX" not in step or "LIMIT" not in text)
        ]
    [row] = store.execute(f"EXPLAIN (FORMAT JSON) {text}", parameters)
    [plan] = row["QUERY PLAN"] if isinstance(row["QUERY PLAN"], list) else json.loads(row["QUERY PLAN"])
    return [node["Relation Name"] for node in nodes(plan["Plan"]) if node["Node Type"] == "Seq Scan"]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)
