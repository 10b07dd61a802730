"""Who hears of what went wrong: matters are opened and resolved here, and told on every channel.

Opening is one transaction in the metadata database, in whatever process a run ends or somebody looks; telling comes
after it (`outbox`) and may fail for a week without holding anything up.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from tidegate import config, errors
from tidegate.engine import consents, flows, lookout, matters, outbox, refusals, unwritten
from tidegate.pull import report
from tidegate.store import database, holds, leases, notices, positions, reports, runs
from tidegate.store import waits as stored

log = logging.getLogger(__name__)

LOOKED = 10.0
"""Seconds between two looks at what is to be told."""
GONE = 600.0
"""Seconds after which a flow whose last run was interrupted should have begun another, and data should be fresh."""
LASTING = 300.0
"""Seconds for which one of the pulls of a continuous run must go wrong for it to be told; most of it passes."""
RECENT = 3_600.0
"""Seconds for which lines of a run under way are looked at again."""
JUDGED = 120.0
"""Seconds between two looks at what warehouses hold."""
ASKED, ANXIOUS = 3_600.0, 300.0
"""Seconds between two questions to Stripe about our endpoints, and while one of them is not well."""
PAGE = 5_000
"""Positions that are looked at together."""
SHOWN = 20
"""Matters that are logged of those that open or end together."""
LEASE = "alerts"
"""The lease of whoever looks."""
OF_STANDS: tuple[matters.Kind, ...] = ("held", "freshness")
OF_PULLS: tuple[matters.Kind, ...] = ("failed", "no_permission", "stream")
"""The kinds of which one of the pulls of a continuous run tells all."""


def after_run(store: database.Database, file: config.Config, run: runs.Run) -> None:
    """Open and resolve what a run that has ended tells; never raises for the database's sake.

    A run that failed resolves nothing; one that was cancelled or interrupted says nothing. What a continuous run
    has to say while it goes on is a `Watch`'s.
    """
    try:
        run = runs.get(store, run.id)
        if run.flow not in flows.flows(file) or run.state not in ("ok", "partial", "failed"):
            return
        if run.cause == "continuous" and run.state != "failed":
            return
        found = matters.of_run(run, reports.read(store, run.id), _gaps(store, run.id))
        over: tuple[str, ...] = matters.OF_RUNS if run.state != "failed" else ()
        if run.flow.startswith("push:"):
            found += _rows(store, run.flow)
            over = (*over, *unwritten.KINDS)
        _log(notices.settle(store, run.flow, found, over))
    except errors.TidegateError as error:
        log.warning("%s What %s has to tell is not noted.", error, run.id, extra={"run": run.id})


def look(
    store: database.Database,
    file: config.Config,
    *,
    waits: Mapping[str, float] | None = None,
    endpoints: Mapping[str, str] | None = None,
    since: float = 0.0,
) -> None:
    """Open and resolve what no run tells: runs that do not come back, requests that wait, quiet endpoints.

    `waits` are by account for how many seconds requests wait for the budget, `endpoints` by connection what Stripe
    says of its endpoint: `enabled`, `disabled` or `missing`. What is not given, or `unknown`, is not judged. A flow
    may take `GONE` seconds from `since` on, when whoever looks began to. Never raises for the database's sake.
    """
    try:
        _look(store, file, waits, endpoints, since)
    except errors.TidegateError as error:
        log.warning("%s What there is to alert is looked for again later.", error)


def _look(
    store: database.Database,
    file: config.Config,
    waits: Mapping[str, float] | None,
    endpoints: Mapping[str, str] | None,
    since: float,
) -> None:
    known, now = flows.flows(file), store.now()
    notices.leave(store, known)
    consents.tidy(file, store)
    refusals.tidy(file, store)
    for name in known:
        last = next(iter(runs.listed(store, flow=name, limit=1)), None)
        gone = last is not None and last.state == "interrupted"
        if gone and last is not None and now - max(since, last.finished_at or now) > GONE:
            _log(notices.settle(store, name, [matters.of_gone(last)]))
        if last is not None and last.alive and last.cause == "continuous":
            found = matters.of_gaps(name, last.id, _gaps(store, last.id, now - RECENT))
            _log(notices.settle(store, name, found, ("gap",)))
    if waits is not None:
        _log(notices.settle(store, "", matters.of_waits(waits), ("budget",)))
    if endpoints is not None:
        unknown = [f"endpoint/{name}" for name, status in endpoints.items() if status == "unknown"]
        _log(notices.settle(store, "", matters.of_endpoints(endpoints), ("endpoint",), spared=unknown))
    _log(notices.settle(store, "", _silences(store, known.values(), now), ("silence",)))


def judge(store: database.Database, file: config.Config, flow: str = "", *, since: float = 0.0) -> None:
    """Open and resolve what follows from what warehouses hold, as `store.positions` knows it: of a flow, or of all.

    That are rows that are held, of pushes as of pulls, and data that is behind; how old data is is judged from
    `GONE` seconds after `since` on, when whoever looks began to. Of a flow of which nothing is known nothing is
    judged. Never raises for the database's sake.
    """
    try:
        for name, each in flows.flows(file).items():
            if flow in ("", name) and each.kind == "push":
                _log(notices.settle(store, name, _rows(store, name), unwritten.KINDS))
            elif flow in ("", name):
                _judge(store, file, each, since)
    except errors.TidegateError as error:
        log.warning("%s What there is to alert is looked for again later.", error)


def _judge(store: database.Database, file: config.Config, flow: flows.Flow, since: float) -> None:
    row = store.one(
        "SELECT {now} AS now, max(at) AS at, (SELECT count(*) FROM runs WHERE flow = :flow "
        "AND state = 'running') AS alive FROM positions WHERE flow = :flow",
        {"flow": flow.name},
    )
    if row is None or row["at"] is None:
        return
    over: tuple[matters.Kind, ...] = OF_STANDS if row["now"] - since > GONE else ("held",)
    found: list[notices.Matter] = []
    for rows in _positions(store, flow.name):
        stand = matters.stand(rows, row["at"])
        stood = matters.of_stand(flow, stand, row["now"], matters.bounds(file), alive=bool(row["alive"]))
        found += [each for each in stood if each.kind in over]
    _log(notices.settle(store, flow.name, found, over))


def _rows(store: database.Database, flow: str) -> list[notices.Matter]:
    """What the rows of a push tell."""
    push = flow.partition(":")[2]
    unknown = store.one(
        "SELECT count(*) AS n FROM operations WHERE push = :push AND status IN ('intent', 'sent', 'unknown') "
        "AND status = 'unknown'",
        {"push": push},
    )
    return unwritten.of_rows(flow, holds.counts(store, push), 0 if unknown is None else int(unknown["n"]))


def _positions(store: database.Database, flow: str) -> Iterator[list[positions.Position]]:
    """The positions of a flow, some at a time: of ten thousand accounts there are a million."""
    after: dict[str, object] = {"stream": "", "account": ""}
    while True:
        rows = store.execute(
            "SELECT stream, account, position, at FROM positions WHERE flow = :flow AND (stream > :stream OR "
            "(stream = :stream AND account > :account)) ORDER BY stream, account LIMIT :page",
            {**after, "flow": flow, "page": PAGE},
        )
        if not rows:
            return
        after = {"stream": rows[-1]["stream"], "account": rows[-1]["account"]}
        yield [
            positions.Position(row["stream"], row["account"], msgspec.json.decode(row["position"]), row["at"])
            for row in rows
        ]


def _silences(store: database.Database, known: Iterable[flows.Flow], now: float) -> list[notices.Matter]:
    """The endpoints to which nothing comes; one that was silent is so until something does."""
    rows = store.execute(
        "SELECT connection, min(made_at) AS made_at, (SELECT max(received_at) FROM deliveries "
        "WHERE deliveries.connection = endpoints.connection) AS last FROM endpoints "
        "GROUP BY connection ORDER BY connection"
    )
    if not rows:
        return []
    since = {each.matter: each.opened_at for each in notices.listed(store) if each.kind == "silence"}
    names: dict[str, list[str]] = {}
    for flow in known:
        if flow.kind == "pull":
            names.setdefault(flow.connection, []).append(flow.name)
    found = []
    for row in rows:
        matter, last = matters.of_silence(row["connection"]), max(row["made_at"], row["last"] or 0.0)
        still = last < since.get(matter.name, 0.0)
        if still or matters.is_silent(last, _changes(store, names.get(row["connection"], ()), now), now):
            found.append(matter)
    return found


def _changes(store: database.Database, names: Sequence[str], now: float) -> list[tuple[float, str]]:
    """When the continuous runs of some flows wrote rows lately, and of which stream."""
    found = []
    for name in names:
        for run in runs.listed(store, flow=name, states=("running",), limit=1):
            rows = store.execute(
                "SELECT at, stream FROM run_lines WHERE run = :run AND at > :since AND level = 'info' "
                "AND stream <> '' AND text LIKE '%written%' ORDER BY at DESC LIMIT 500",
                {"run": run.id, "since": now - matters.SILENT},
            )
            found += [(row["at"], row["stream"]) for row in rows]
    return found


def _gaps(store: database.Database, run_id: str, since: float = 0.0) -> list[str]:
    """What a run said of gaps."""
    rows = store.execute(
        "SELECT text FROM run_lines WHERE run = :run AND at > :since AND text LIKE :gap ORDER BY at LIMIT 1000",
        {"run": run_id, "since": since, "gap": f"%; {matters.GAP}.%"},
    )
    return [row["text"] for row in rows]


def _log(settled: tuple[Sequence[notices.Notice], Sequence[notices.Notice]]) -> None:
    opened, resolved = settled
    for notice in opened[:SHOWN]:
        log.warning("%s", notice.text, extra={"flow": notice.flow})
    for notice in resolved[:SHOWN]:
        log.info("%s: resolved", matters.title(notice), extra={"flow": notice.flow})
    for what, found in (("opened", opened), ("resolved", resolved)):
        if len(found) > SHOWN:
            left = len(found) - SHOWN
            log.warning("%d more alerts %s; `tidegate alerts --ended` lists them all.", left, what)


class Watch:
    """What a continuous run has to tell while it goes on; used by the run's event loop and one thread beside it.

    What goes wrong in one of its pulls is told when it has for `LASTING` seconds, but for a lacking permission and
    for rows that are held, which do not pass by themselves.
    """

    def __init__(self, store: database.Database, flow: str) -> None:
        self._store, self._flow = store, flow
        self._since: dict[str, float] = {}
        self._now: Mapping[str, notices.Matter] = {}
        self._whole = False
        self._settled: tuple[frozenset[str], bool] | None = None

    def saw(self, result: report.Result, *, whole: bool) -> None:
        """A pull ended; `whole`: it read whatever was due, rather than apply what was delivered. Never blocks."""
        found = {each.name: each for each in matters.of_result(self._flow, result)}
        if whole and result.end is None:
            self._whole = True
            self._now = found
        else:
            self._now = {**self._now, **found}
        now = time.monotonic()
        self._since = {name: self._since.get(name, now) for name in self._now}

    def settle(self) -> None:
        """Open what lasts and resolve what is gone, where that is something new; blocks for the database."""
        known, since, whole = self._now, self._since, self._whole
        now = time.monotonic()
        lasting, young = list[notices.Matter](), list[str]()
        for name, each in known.items():
            if each.kind in ("no_permission", "held") or now - since.get(name, now) >= LASTING:
                lasting.append(each)
            else:
                young.append(name)
        over = OF_PULLS if whole else ()
        settled = (frozenset(each.name for each in lasting), whole)
        if settled == self._settled or not (whole or lasting):
            return
        try:
            _log(notices.settle(self._store, self._flow, lasting, over, spared=young))
        except errors.StoreError as error:
            log.warning("%s What %s has to tell is noted later.", error, self._flow)
            return
        self._settled = settled


def serve(store: database.Database, now: Callable[[], config.Config], stopping: threading.Event) -> None:
    """Look, judge and tell, again and again, until `stopping` is set; for a thread of its own.

    `now` answers with the configuration as it is then. Of several processes one looks, and one tells on each
    channel; another goes on where it is killed. Each tells for how long its own requests wait.
    """
    holder, since, judged, ask = secrets.token_hex(8), 0.0, -JUDGED, 0.0
    own = lookout.Waits(store, holder)
    while not stopping.is_set():
        try:
            file, since = now(), since or store.now()
            own.note()
            if leases.take(store, LEASE, holder, 3 * LOOKED):
                said = None
                if time.monotonic() >= ask:
                    said = lookout.statuses(file, store)
                    ill = bool({"disabled", "missing"} & set(said.values()))
                    ill = refusals.ask(file, store) or ill
                    ask = time.monotonic() + (ANXIOUS if ill else ASKED)
                look(store, file, waits=stored.known(store), endpoints=said, since=since)
                if time.monotonic() - judged >= JUDGED:
                    judged = time.monotonic()
                    judge(store, file, since=since)
            outbox.tell(store, file)
        except errors.StoreError as error:
            log.warning("%s Alerts are told when it is back.", error)
        stopping.wait(LOOKED)
    with contextlib.suppress(errors.StoreError):
        own.close()
        leases.leave(store, LEASE, holder)
