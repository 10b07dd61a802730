"""How soon pages and the API answer over a large metadata database: `./dev bench pages [SECTION] [--rows N]`.

The server runs in this process and is asked over HTTP, one request after the other: the median of some is told, and
the longest. First content is the whole of a page's HTML, or of an answer's JSON.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import profiles
import report

from tidegate import config
from tidegate.cli import serving
from tidegate.engine import place as places
from tidegate.server import limits
from tidegate.store import database, logs, reports, tokens

GOAL_MS = 500.0
TIMES = 9
FLOWS = 40
STREAMS = 12
UNHURRIED = limits.Limits(limits.Rate(1e9, 1e9), limits.Rate(1e9, 1e9))


def configuration(folder: Path) -> config.Config:
    """As many pulls as a platform has."""
    pulls = "\n".join(
        f"  flow_{n}: {{from: acme, to: one, streams: {{customers: {{}}}}}}" for n in range(FLOWS)
    )
    (folder / "tidegate.yaml").write_text(
        "stripe: {acme: {api_key: sk_test_x}}\nwarehouses: {one: {type: duckdb, path: one.duckdb}}\n"
        f"pulls:\n{pulls}\ndatabase: sqlite:///{folder}/tidegate.db\n"
    )
    return config.load(folder / "tidegate.yaml")


def fill(store: database.Database, count: int) -> str:
    """So many runs, every 20th of which failed; the newest has a report and a log. Returns its id."""
    chance, now = random.Random(7), store.now()
    streams = {
        f"stream_{n}": {"rows": 9, "requests": 3, "estimate": 9, "begun": 1, "ended": 1, "status": "ok"}
        for n in range(STREAMS)
    }
    progress = json.dumps({"phase": "pulling", "rows": 99, "requests": 36, "streams": streams})
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
    for start in range(0, count, 5_000):

        def work(
            session: database.Session, some: list[dict[str, object]] = rows[start : start + 5_000]
        ) -> None:
            session.each(
                "INSERT INTO runs (id, flow, state, cause, due_at, queued_at, started_at, finished_at, progress, "
                "totals, error) VALUES (:id, :flow, :state, :cause, :at, :at, :at, :at + 20, :progress, :totals, "
                ":error)",
                some,
            )

        store.transact(work)
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


@contextlib.contextmanager
def served(folder: Path, count: int) -> Iterator[tuple[str, str, str]]:
    """A server over so many runs: its address, a token, and the newest run."""
    file = configuration(folder)
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as store:
        newest = fill(store, count)
        token = tokens.create(store, "bench", "read")
        with serving.serving(places.Place(file, store), limit=UNHURRIED) as (url, _):
            yield url, token, newest


def asked(url: str, token: str, paths: dict[str, str]) -> list[report.Line]:
    """The median of some requests for each path; the first of all is not counted."""
    parts, lines = urllib.parse.urlsplit(url), []
    line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    with contextlib.closing(line):
        for name, path in paths.items():
            took, size = [], 0
            for _ in range(TIMES + 1):
                begun = time.perf_counter()
                line.request("GET", path, headers={"Authorization": f"Bearer {token}"})
                answer = line.getresponse()
                size = len(answer.read())
                took.append(1000 * (time.perf_counter() - begun))
                assert answer.status == 200, f"{path}: {answer.status}"
            first, *rest = took
            median = sorted(rest)[len(rest) // 2]
            worst = max(took)
            note = f"the first {first:.0f} ms, the longest {worst:.0f} ms, {size / 1000:,.0f} kB"
            lines.append(
                report.Line(name, f"{median:.0f} ms", f"<= {GOAL_MS:.0f} ms", worst <= GOAL_MS, note)
            )
    return lines


def of_runs(folder: Path, count: int) -> list[report.Line]:
    """Lists of runs and one run, as pages and by the API."""
    with served(folder, count) as (url, token, newest):
        api = "/api/v1"
        return asked(
            url,
            token,
            {
                "page: runs": "/runs",
                "page: runs that failed": "/runs?state=wrong",
                "page: a search that finds nothing": "/runs?search=nothing",
                "page: a run": f"/runs/{newest}",
                "page: its report of 10,000 tables": f"/runs/{newest}/report",
                "page: its log of 20,000 lines": f"/runs/{newest}/log",
                "api: runs": f"{api}/runs",
                "api: 500 runs": f"{api}/runs?limit=500",
                "api: a kind that never ran": f"{api}/runs?kind=push",
                "api: a search that finds nothing": f"{api}/runs?search=nothing",
                "api: flows": f"{api}/flows",
                "api: a run": f"{api}/runs/{newest}",
                "api: its log": f"{api}/runs/{newest}/lines?limit=500",
            },
        )


def of_customers(folder: Path, count: int) -> list[report.Line]:
    """The list of customers, one of them, and searches, over so many profiles in a DuckDB file."""
    model = profiles.Customers(folder, count + count // 4, count)
    model.fill()
    model.merge(everything=True)
    model.warehouse.close()
    (folder / "tidegate.yaml").write_text(
        "stripe: {acme: {api_key: sk_test_x}}\nwarehouses: {one: {type: duckdb, path: warehouse.duckdb}}\n"
        f"pipelines: {{all: {{from: acme, to: one}}}}\ndatabase: sqlite:///{folder}/tidegate.db\n"
    )
    file = config.load(folder / "tidegate.yaml")
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as store:
        token = tokens.create(store, "bench", "read")
        with serving.serving(places.Place(file, store), limit=UNHURRIED) as (url, _):
            api, middle = "/api/v1/customers", f"cup_{count // 2:020}"
            return asked(
                url,
                token,
                {
                    "page: customers": "/customers",
                    "page: customers from the middle on": f"/customers?after={middle}",
                    "page: one by its e-mail": "/customers?search=jane12345%40example.org",
                    "page: a search that finds nothing": "/customers?search=nothing",
                    "page: one customer": f"/customers/{middle}",
                    "api: customers": api,
                    "api: 500 customers": f"{api}?limit=500",
                    "api: one customer": f"{api}/one?id={middle}",
                },
            )


SECTIONS: report.Sections = {"runs": ("Runs", of_runs), "customers": ("Customers", of_customers)}


if __name__ == "__main__":
    report.measure(__doc__, SECTIONS, sys.argv[1:], option="--rows", size=100_000, what="runs or profiles")
