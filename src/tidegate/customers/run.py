"""A run of a pipeline: what changed in its stream becomes records, and those the profiles of customers.

First everything that changed is read and shaped, into a temporary file; then the guard sees how many customers
would leave; only then batch after batch is committed, each with its progress, and profiles are made of what
changed. A run that is killed anywhere is done again by the next one, and ends the same.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tidegate import config, errors, temporary
from tidegate.customers import cases, changes, identity, merging, names, records, rules, shaping
from tidegate.shape import profile, pushdown, questions
from tidegate.store import database, definitions, failed
from tidegate.warehouse import base, ddl, remote, scripts, sql

FEW = 20
"""Customers who may leave at once, whatever share they are."""


class Held(Exception):
    """More customers would leave than the guard lets go; the text says how many, and what to do."""


@dataclass(frozen=True, slots=True)
class Model:
    """The customer model: its warehouse, its tables, its properties and its rules."""

    warehouse: base.Warehouse
    names: names.Names
    profile: profile.Profile
    rules: rules.Rules
    primary_source: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """What is run: a pipeline of the configuration, its stream, and the model."""

    name: str
    pipeline: config.Pipeline
    source: changes.Stream
    model: Model
    accounts: tuple[str, ...] | None = None
    """Whose rows it is about; all of the table's when None."""
    beside: bool = True
    """Are stream and model in one warehouse?"""


@dataclass(slots=True)
class Funnel:
    """Where the rows went: read = filtered + failed + matched, matched = written + unchanged."""

    read: int = 0
    filtered: int = 0
    failed: int = 0
    matched: int = 0
    written: int = 0
    unchanged: int = 0
    removed: int = 0
    """Customers who left: gone at the source, or matching no more."""


@dataclass(slots=True)
class Result:
    """What a run came to."""

    funnel: Funnel = field(default_factory=Funnel)
    resolved: identity.Resolved | None = None
    merged: merging.Merged | None = None
    printed: str = ""
    unguarded: str = ""
    """What this system does not keep the function from, in a sentence; empty where there is nothing to say."""
    in_quarantine: int = 0
    """Rows of the pipeline that failed, now and before."""


Shown = Callable[[str, Funnel], object]
"""What is being done, and how far it is."""


def run(
    job: Job,
    store: database.Database,
    run_id: str,
    *,
    full: bool = False,
    approve: bool = False,
    shown: Shown = lambda _, __: None,
    stop: Callable[[], object] = lambda: None,
) -> Result:
    """Do a run; blocks. `full` reads every row again, `approve` is deaf to the guard; `stop` raises to end it.

    One run at a time may write a model. Raises Held where the guard holds it, ConfigError for what can never work,
    WarehouseError and its kinds, StoreError; what was committed by then stays, and the next run goes on from there.
    """
    result, now = Result(), dt.datetime.now(dt.UTC)
    model, named, of = job.model.warehouse, job.model.names, job.model.profile
    if not isinstance(model, scripts.Scripted):
        raise errors.ConfigError(
            f"a warehouse of the type {model.kind} cannot hold the customer model, since nothing can be computed "
            "inside it; choose DuckDB, Postgres or another database for it"
        )
    everything, moved = full or not job.pipeline.incremental, None
    if not everything and _moves(job):
        moved = _moved(job, now)
        everything = moved is None
    with contextlib.ExitStack() as stack:
        shaper = stack.enter_context(shaping.opened(job.name, job.pipeline, of, job.source.columns, now))
        cases.check(job.name, job.pipeline, shaper, job.source.columns)
        definitions.note(store, job.name, shaping.digest(shaper.text), shaper.text)
        tables = [*records.tables(named, of), merging.table(named, of)]
        records.check(model, [tables[0], tables[-1]], of)
        model.prepare(tables)
        fence = model.claim(f"pipeline {job.name}", [each.name for each in (*tables, *named.kept)])
        shown("comparing", result.funnel)
        about = changes.Pipeline(job.name, shaper.digest, job.accounts)
        found = stack.enter_context(
            changes.changes(
                job.source, model, named, about, beside=job.beside, everything=everything, moved=moved
            )
        )
        spool = _Spool(stack.enter_context(temporary.folder("shaped")))
        leaving = found.gone_count
        for rows in found.rows():
            stop()
            shaped = shaper.shape(rows)
            _count(result.funnel, shaped)
            failed.keep(
                store, (_quarantined(job.name, shaper.digest, run_id, each) for each in shaped.failed)
            )
            leaving += _leaving(model, named, job.name, shaped)
            spool.add(shaped)
            shown("shaping", result.funnel)
        result.printed, result.unguarded = shaper.printed, shaper.unguarded
        _guard(job, leaving, found.known, approve)
        for batch in _batches(job, shaper.digest, spool, found):
            stop()
            step = records.step(model, named, of, batch, now)
            if step.loads:
                model.load(step.loads, {}, fence)
            result.funnel.written += step.written
            result.funnel.unchanged += step.unchanged
            result.funnel.removed += step.removed
            shown("writing", result.funnel)
        result.in_quarantine = _settle(store, model, named, job.name)
        stop()
        shown("resolving", result.funnel)
        result.resolved, result.merged = resolve(job.model, now, fence)
    return result


def resolve(
    model: Model, now: dt.datetime, fence: base.Fence | None = None, *, whole: bool = False
) -> tuple[identity.Resolved, merging.Merged]:
    """Make profiles of what came since the last time, or of all records; all tables must be prepared."""
    warehouse, named = model.warehouse, model.names
    assert isinstance(warehouse, scripts.Scripted)
    told = _merge_rules(model)
    key = f"merging/{named.profiles}"

    def work(script: scripts.Script) -> tuple[identity.Resolved, merging.Merged]:
        waiting = script.name(records.unresolved(named).name)
        changed = None if whole else waiting
        resolved = identity.resolve(script, named, model.rules, changed, now, fence)
        merged = merging.merge(
            script,
            warehouse.kind,
            named,
            model.profile,
            now,
            fence,
            primary_source=model.primary_source,
            everything=before != told,
        )
        with script.transaction(fence):
            script.execute(f"DELETE FROM {waiting}")
            script.put({key: told})
        return resolved, merged

    before = warehouse.state(key).get(key, "")
    return warehouse.scripted(work)


def _merge_rules(model: Model) -> str:
    """What stands for how properties are merged: other text, and all profiles are made anew."""
    parts = [
        f"{each.name}:{each.target.type}:{each.primary_source or ''}" for each in model.profile.properties
    ]
    return " ".join([*parts, f"primary:{model.primary_source or ''}"])


def _moves(job: Job) -> bool:
    """Does the filter's answer change though no row does?"""
    asked = job.pipeline.filter
    return asked is not None and questions.moves(asked, job.source.columns)


def _moved(job: Job, now: dt.datetime) -> pushdown.Pushed | None:
    """Such a filter in the words of the stream's warehouse, true for more rows perhaps; None where it has none.

    A row that did not change, was filtered out and for which not even this holds is filtered out again: nothing has
    to be done about it.
    """
    source, asked = job.source.warehouse, job.pipeline.filter
    if asked is None or source.kind not in changes.KINDS:
        return None
    columns = {field.name: ddl.sql_type(field) for field in job.source.columns}
    dialect = source.dialect if isinstance(source, remote.Remote) else sql.Dialect(source.kind)
    found = pushdown.split(asked, columns, dialect, now)
    return None if found.sql == "1 = 1" else found


def _count(funnel: Funnel, shaped: shaping.Shaped) -> None:
    funnel.read += shaped.read
    funnel.filtered += shaped.filtered
    funnel.failed += len(shaped.failed)
    funnel.matched += shaped.rows.num_rows


def _quarantined(name: str, shape: str, run_id: str, each: shaping.Failure) -> failed.Failed:
    return failed.Failed(
        name,
        each.account,
        each.source_id,
        each.version,
        shape,
        each.property,
        each.why,
        each.said,
        each.line,
        each.payload,
        run_id,
    )


def _leaving(model: base.Warehouse, named: names.Names, name: str, shaped: shaping.Shaped) -> int:
    """How many of the rows that are filtered out now are customers of the model."""
    seen = shaped.seen.filter(pc.equal(shaped.seen["outcome"], "filtered"))
    if not seen.num_rows:
        return 0
    keys = pa.table({"record": records.keys(name, seen["_account_id"], seen["source_id"])})
    stored = model.find(base.Table(named.records().name, keys.schema, ("record",), ""), keys)
    return int(stored["_deleted_at"].null_count)


def _guard(job: Job, leaving: int, known: int, approve: bool) -> None:
    most = job.pipeline.guard.max_removed
    if approve or leaving <= FEW or leaving <= most * known:
        return
    raise Held(
        f"{leaving:,} of the {known:,} customers that the pipeline {job.name} brought would leave the model, and "
        f"its guard lets {most:.0%} go at once; nothing was changed. Look at the filter and the source, then run "
        f"`tidegate pipeline run {job.name} --approve`."
    )


def _settle(store: database.Database, model: base.Warehouse, named: names.Names, name: str) -> int:
    """Bring the quarantine in line with what the warehouse says failed."""
    still: set[tuple[str, str]] = set()
    place = changes.place(model, records.progress(named).name)
    for batch in model.read(
        f"SELECT _account_id, source_id FROM {place} WHERE pipeline = ? AND outcome = ?", [name, "failed"]
    ):
        still |= set(zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True))
    failed.settle(store, name, still)
    return len(still)


class _Spool:
    """What was shaped, in files, until it is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def add(self, shaped: shaping.Shaped) -> None:
        """Set some rows aside."""
        for kind, table in (("seen", shaped.seen), ("rows", shaped.rows)):
            file = self._folder / f"{self._count}.{kind}"
            with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
        self._count += 1

    def __iter__(self) -> Iterator[tuple[pa.Table, pa.Table]]:
        for number in range(self._count):
            yield self._read(number, "seen"), self._read(number, "rows")

    def _read(self, number: int, kind: str) -> pa.Table:
        file = self._folder / f"{number}.{kind}"
        with pa.OSFile(str(file), "rb") as source, pa.ipc.open_file(source) as reader:
            table: pa.Table = reader.read_all()
        file.unlink()
        return table


def _batches(job: Job, shape: str, spool: _Spool, found: changes.Changes) -> Iterator[records.Batch]:
    """What was shaped, and what is gone."""
    for seen, rows in spool:
        yield records.Batch(job.name, shape, seen, rows, records.GONE.empty_table())
    own = [field for field in records.SEEN if field.name in ("_account_id", "source_id", "_version")]
    nothing = pa.schema([*own, *job.model.profile.schema]).empty_table()
    for gone in found.gone():
        yield records.Batch(job.name, shape, records.SEEN.empty_table(), nothing, gone)
