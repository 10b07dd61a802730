"""How soon pages and the API answer over a large metadata database: `./dev bench pages [SECTION] [--rows N]`.

The server runs in this process and is asked over HTTP, one request after the other. First content is the whole of a
page's HTML, or of an answer's JSON. On a machine that does something else too, look at the processor's time.
"""

from __future__ import annotations

import contextlib
import http.client
import resource
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import crowded
import profiles
import report

from tidegate import config
from tidegate.api import base
from tidegate.cli import serving
from tidegate.engine import place as places
from tidegate.server import limits
from tidegate.store import database, tokens
from tidegate.web import frame

GOAL_MS = 500.0
TIMES = 11
VIEWS = 1_000
VIEWERS = 50
WATCHED = 10
"""Seconds for which a run is looked at."""
UNHURRIED = limits.Limits(limits.Rate(1e9, 1e9), limits.Rate(1e9, 1e9))


class Asking:
    """One connection to a server of this process, as a browser or a program has it."""

    def __init__(self, url: str, token: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self._line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> int:
        """Ask for a page or a list; how many bytes came."""
        self._line.request("GET", path, headers=self._headers)
        answer = self._line.getresponse()
        size = len(answer.read())
        assert answer.status == 200, f"{path}: {answer.status}"
        return size

    def stream(self, path: str) -> Iterator[tuple[float, int]]:
        """Ask for a file: how many bytes came by when, in seconds."""
        begun = time.perf_counter()
        self._line.request("GET", path, headers=self._headers)
        answer, size = self._line.getresponse(), 0
        assert answer.status == 200, f"{path}: {answer.status}"
        while part := answer.read(65_536):
            size += len(part)
            yield time.perf_counter() - begun, size

    def close(self) -> None:
        """Hang up."""
        self._line.close()


@contextlib.contextmanager
def served(file: config.Config, store: database.Database) -> Iterator[tuple[str, str]]:
    """A server over a metadata database: its address, and a token."""
    token = tokens.create(store, "bench", "admin")
    with serving.serving(places.Place(file, store), limit=UNHURRIED) as (url, _):
        yield url, token


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[tuple[config.Config, database.Database]]:
    """A configuration with much in it, and its metadata database."""
    folder.mkdir(exist_ok=True)
    file = crowded.configuration(folder)
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as store:
        yield file, store


def asked(url: str, token: str, paths: dict[str, str]) -> list[report.Line]:
    """Some requests for each path: the median, and of all the first and the 95th of a hundred.

    Processor seconds are those of the server and of who asks together.
    """
    lines = []
    with contextlib.closing(Asking(url, token)) as line:
        for name, path in paths.items():
            took, size, spent = [], 0, 0.0
            for turn in range(TIMES + 1):
                begun, cpu = time.perf_counter(), time.process_time()
                size = line.get(path)
                took.append(1000 * (time.perf_counter() - begun))
                spent += 1000 * (time.process_time() - cpu) if turn else 0.0
            first, *rest = took
            rest.sort()
            late = rest[min(len(rest) - 1, round(0.95 * len(rest)))]
            note = (
                f"first {first:.0f} ms, p95 {late:.0f} ms, CPU {spent / TIMES:.0f} ms, {size / 1000:,.0f} kB"
            )
            reached = max(first, late) <= GOAL_MS
            lines.append(
                report.Line(name, f"{rest[len(rest) // 2]:.0f} ms", f"<= {GOAL_MS:.0f} ms", reached, note)
            )
    return lines


def of_runs(folder: Path, count: int) -> list[report.Line]:
    """Lists of runs and one run, as pages and by the API."""
    with opened(folder / "runs") as (file, store):
        newest, now = crowded.with_runs(store, count), store.now()
        crowded.with_changes(store, count)
        api = "/api/v1"
        middle = base.cursor(now - count * 15.0, "run_")
        last = base.cursor(now - (count - 20) * 30.0, "run_")
        with served(file, store) as (url, token):
            return asked(
                url,
                token,
                {
                    "page: runs": "/runs",
                    "page: runs, in the middle": f"/runs?after={middle}",
                    "page: runs, the last page": f"/runs?after={last}",
                    "page: runs that failed": "/runs?state=wrong",
                    "page: runs of one pull": "/runs?flow=pull:flow_3",
                    "page: runs of a kind": "/runs?kind=pull",
                    "page: runs of a cause that never was": "/runs?cause=api",
                    "page: runs of the last day": "/runs?since=24h",
                    "page: a search that finds nothing": "/runs?search=nothing",
                    "page: a run": f"/runs/{newest}",
                    "page: its report of 10,000 tables": f"/runs/{newest}/report",
                    "page: its log of 20,000 lines": f"/runs/{newest}/log",
                    "page: changes": "/settings/changes",
                    "page: changes of one person": "/settings/changes?who=ann7%40example.com",
                    "page: a search for changes that finds nothing": "/settings/changes?search=nothing",
                    "page: settings": "/settings",
                    "page: members": "/settings/members",
                    "page: limits": "/settings/limits",
                    "page: alerts": "/settings/alerts",
                    "page: syncs": "/syncs",
                    "page: a sync": "/syncs/accounts",
                    "page: pipelines": "/pipelines",
                    "page: models": "/models",
                    "page: the reference of the API": "/api",
                    "api: its description": f"{api}/openapi.json",
                    "api: runs": f"{api}/runs",
                    "api: 500 runs": f"{api}/runs?limit=500",
                    "api: runs, the last page": f"{api}/runs?after={last}",
                    "api: a kind that never ran": f"{api}/runs?kind=push",
                    "api: a search that finds nothing": f"{api}/runs?search=nothing",
                    "api: flows": f"{api}/flows",
                    "api: a run": f"{api}/runs/{newest}",
                    "api: its tables": f"{api}/runs/{newest}/tables",
                    "api: its log": f"{api}/runs/{newest}/lines?limit=500",
                    "api: changes": f"{api}/changes",
                    "api: rows hour by hour": f"{api}/overview/hours",
                },
            )


def of_tables(folder: Path, count: int) -> list[report.Line]:
    """The overview and the streams, over twice so many tables of streams and accounts."""
    with opened(folder / "tables") as (file, store):
        accounts, names = crowded.with_tables(store, 2 * count)
        api = "/api/v1"
        with served(file, store) as (url, token):
            lines = asked(
                url,
                token,
                {
                    "page: overview": "/",
                    "page: streams": "/streams",
                    "page: streams, the next page": "/streams?after=100",
                    "page: streams by age": "/streams?sort=-age",
                    "page: streams by rows": "/streams?sort=-rows",
                    "page: streams by state": "/streams?sort=state",
                    "page: streams that are behind": "/streams?state=behind",
                    "page: streams of one pull": "/streams?pull=flow_1",
                    "page: a search for streams": "/streams?search=charge",
                    "page: one stream": "/streams/flow_1/charges",
                    "page: warehouses": "/warehouses",
                    "page: accounts": "/accounts",
                    "page: an account": "/accounts/acme",
                    "api: overview": f"{api}/overview",
                    "api: flows": f"{api}/flows",
                    "api: streams of pulls": f"{api}/standings",
                    "api: a stream of a pull": f"{api}/standings/flow_1/charges",
                    "api: warehouses": f"{api}/warehouses",
                    "api: accounts": f"{api}/accounts",
                },
            )
        return [report.Line("tables", f"{accounts * names * crowded.PUSHED:,}"), *lines]


def of_issues(folder: Path, count: int) -> list[report.Line]:
    """What waits for a person: so many rows of pushes, and a tenth as many of a pipeline."""
    with opened(folder / "issues") as (file, store):
        since = crowded.with_rows_that_wait(store, count)
        middle, last = (
            base.cursor(at, "push", "push:others", "", "row_") for at in (since, store.now() - 10.0)
        )
        api = "/api/v1"
        with served(file, store) as (url, token):
            return asked(
                url,
                token,
                {
                    "page: issues": "/issues",
                    "page: issues, in the middle": f"/issues?after={middle}",
                    "page: issues, the last page": f"/issues?after={last}",
                    "page: conflicts": "/issues?kind=conflict",
                    "page: issues of a sync": "/issues?flow=push:others",
                    "page: issues of a pipeline": "/issues?flow=pipeline:people",
                    "page: issues that were skipped": "/issues?state=skipped",
                    "page: a search that finds one": "/issues?search=row_0000777",
                    "page: a search that finds nothing": "/issues?search=nothing",
                    "page: a row": "/issues/row?push=accounts&key=row_0000777",
                    "page: overview": "/",
                    "page: syncs": "/syncs",
                    "page: a sync": "/syncs/accounts",
                    "page: records of a sync": "/syncs/accounts/records",
                    "page: rows that a pipeline could not shape": "/pipelines/people/failures",
                    "page: pipelines": "/pipelines",
                    "api: issues": f"{api}/issues",
                    "api: 500 issues": f"{api}/issues?limit=500",
                    "api: how many": f"{api}/issues/counts",
                    "api: a row": f"{api}/issues/row?push=accounts&key=row_0000777",
                    "api: a search that finds nothing": f"{api}/issues?search=nothing",
                },
            )


def of_files(folder: Path, count: int) -> list[report.Line]:
    """Lists as files: when they begin, how long they take, and what the server's memory grows by."""
    with opened(folder / "files") as (file, store):
        crowded.with_runs(store, count)
        crowded.with_rows_that_wait(store, count)
        lines = []
        with served(file, store) as (url, token), contextlib.closing(Asking(url, token)) as line:
            for name, path in (("runs", "/runs?format=csv"), ("issues", "/issues?format=csv")):
                line.get(path.partition("?")[0])
                before, cpu = _memory(), time.process_time()
                came, most = [], before
                for each in line.stream(path):
                    came.append(each)
                    most = max(most, _memory())
                spent, (first, _), (whole, size) = time.process_time() - cpu, came[0], came[-1]
                note = (
                    f"whole in {whole:.1f} s, CPU {spent:.1f} s, {size / 1e6:,.1f} MB, "
                    f"memory +{most - before:.0f} MB"
                )
                lines.append(
                    report.Line(
                        f"{name} as CSV: the beginning",
                        f"{1000 * first:.0f} ms",
                        f"<= {GOAL_MS:.0f} ms",
                        1000 * first <= GOAL_MS,
                        note,
                    )
                )
        return lines


def of_memory(folder: Path, count: int) -> list[report.Line]:
    """What the server's memory grows by over a thousand pages, each kind seen before."""
    with opened(folder / "memory") as (file, store):
        newest = crowded.with_runs(store, count)
        crowded.with_tables(store, count)
        pages = ("/", "/runs", "/streams", "/issues", "/syncs", "/settings", f"/runs/{newest}", "/accounts")
        with served(file, store) as (url, token), contextlib.closing(Asking(url, token)) as line:
            for path in pages * 5:
                line.get(path)
            before = _memory()
            for turn in range(VIEWS):
                line.get(pages[turn % len(pages)])
            grown = _memory() - before
        figure = f"+{grown:.1f} MB"
        return [
            report.Line(
                f"memory over {VIEWS:,} pages", figure, "<= 20 MB", grown <= 20, f"{before:.0f} MB before"
            )
        ]


def of_viewers(folder: Path, count: int) -> list[report.Line]:
    """What it costs that VIEWERS people look at one run that goes on."""
    with opened(folder / "viewers") as (file, store):
        run = crowded.with_runs(store, count)
        store.execute("UPDATE runs SET state = 'running', finished_at = NULL WHERE id = :run", {"run": run})
        who = [tokens.create(store, f"viewer-{n}", "read") for n in range(VIEWERS)]
        lines, alone = [], 0.0
        frame.prepare()
        with served(file, store) as (url, _):
            for viewers in (0, 1, VIEWERS):
                following = [Asking(url, token) for token in who[:viewers]]
                began = threading.Semaphore(0)
                threads = [
                    threading.Thread(target=_watch, args=(each, f"/runs/{run}/live", began), daemon=True)
                    for each in following
                ]
                for each in threads:
                    each.start()
                for _ in threads:
                    began.acquire()
                cpu = time.process_time()
                for turn in range(WATCHED):
                    crowded.progressed(store, run, turn)
                    time.sleep(1.0)
                spent = 1000 * (time.process_time() - cpu) / WATCHED
                alone = alone if viewers else spent
                share = f"{(spent - alone) / viewers:.1f} ms for each" if viewers else "nobody looks"
                lines.append(
                    report.Line(f"{viewers} look at a run", f"{spent:.0f} ms CPU a second", note=share)
                )
                store.execute("UPDATE runs SET state = 'ok' WHERE id = :run", {"run": run})
                for each in threads:
                    each.join()
                for one in following:
                    one.close()
                store.execute("UPDATE runs SET state = 'running' WHERE id = :run", {"run": run})
                time.sleep(2.0)  # for a moment it is told as it was
        return lines


def _watch(line: Asking, path: str, began: threading.Semaphore) -> None:
    for number, _ in enumerate(line.stream(path)):
        if number == 0:
            began.release()


def _memory() -> float:
    """What this process takes now, in MB."""
    return float(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def of_customers(folder: Path, count: int) -> list[report.Line]:
    """The list of customers, one of them, and searches, over so many profiles in a DuckDB file."""
    model = profiles.Customers(folder, count + count // 4, count)
    model.fill()
    model.identify()
    model.merge(everything=True)
    model.warehouse.close()
    (folder / "tidegate.yaml").write_text(
        "stripe: {acme: {api_key: sk_test_x}}\nwarehouses: {one: {type: duckdb, path: warehouse.duckdb}}\n"
        f"pipelines: {{all: {{from: acme, to: one}}}}\ndatabase: sqlite:///{folder}/tidegate.db\n"
    )
    file = config.load(folder / "tidegate.yaml")
    api, middle, last = "/api/v1/customers", f"cup_{count // 2:020}", f"cup_{count - 20:020}"
    with (
        contextlib.closing(database.open_database(file.database.get_secret_value())) as store,
        served(file, store) as (url, token),
    ):
        return asked(
            url,
            token,
            {
                "page: customers": "/customers",
                "page: customers, in the middle": f"/customers?after={middle}",
                "page: customers, the last page": f"/customers?after={last}",
                "page: one by its e-mail": "/customers?search=jane12345%40example.org",
                "page: one by its phone": "/customers?search=%2B49000012344",
                "page: one by an id of Stripe's": "/customers?search=cus_12345",
                "page: some by a name's beginning": "/customers?search=jan%C3%A9+doe+12",
                "page: some by a part of an e-mail": "/customers?search=jane123",
                "page: a search that finds nothing": "/customers?search=nothing",
                "page: one customer": f"/customers/{middle}",
                "page: one customer of several records": f"/customers/cup_{count * 9 // 10:020}",
                "page: one customer by a record": "/customers/12345",
                "page: decisions": "/customers/-/decisions",
                "api: customers": api,
                "api: 500 customers": f"{api}?limit=500",
                "api: one by its e-mail": f"{api}?search=jane12345%40example.org",
                "api: one customer": f"{api}/one?id={middle}",
            },
        )


SECTIONS: report.Sections = {
    "runs": ("Runs", of_runs),
    "tables": ("Streams and accounts", of_tables),
    "issues": ("Issues", of_issues),
    "customers": ("Customers", of_customers),
    "files": ("Files", of_files),
    "memory": ("Memory", of_memory),
    "viewers": ("Live pages", of_viewers),
}


if __name__ == "__main__":
    report.measure(__doc__, SECTIONS, sys.argv[1:], option="--rows", size=100_000, what="runs or profiles")
