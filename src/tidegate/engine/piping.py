"""A pipeline as a run of its flow: what it reads, where the model is, and what it tells of itself.

Where no pull of the configuration brings its stream, the run brings it first. Pipelines of one model wait for each
other: one at a time writes its tables.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from tidegate import catalog, config, errors, warehouse
from tidegate.customers import changes, names, rules, run
from tidegate.engine import endings, flows, leased, recorder
from tidegate.engine import place as places
from tidegate.pull import run as pulling
from tidegate.pull import settings
from tidegate.rows import decode
from tidegate.shape import profile
from tidegate.store import leases, runs
from tidegate.warehouse import base

LOOKED = 0.5
"""Seconds between two looks whether the model's tables are free."""
PAUSE = 5.0
"""Seconds between two looks of a continuous pipeline."""
FULL, APPROVE = "full_refresh", "approve"
"""Options of a run."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to; `held` says why it was not done."""

    name: str
    came: run.Result
    held: str = ""


class _Stopped(Exception):
    """The run was cancelled."""


def model(file: config.Config, name: str) -> config.CustomerModel:
    """The customer model that a pipeline fills: the configured one, else one in the pipeline's own warehouse."""
    return file.customer_model or config.CustomerModel(warehouse=file.pipelines[name].warehouse)


def lease(of: config.CustomerModel) -> str:
    """What is held by whoever writes a model."""
    return f"customers/{of.warehouse}/{of.schema_name}/{of.table}"


def models(file: config.Config) -> dict[str, config.CustomerModel]:
    """All customer models of a configuration, by their leases."""
    found = [file.customer_model] if file.customer_model else []
    found += [model(file, name) for name in file.pipelines]
    return {lease(of): of for of in found}


def covering(file: config.Config, name: str) -> list[str]:
    """The pulls of a configuration that bring a pipeline's stream."""
    pipeline = file.pipelines[name]
    stream = catalog.load().streams[pipeline.stream]
    return [
        each
        for each, pull in file.pulls.items()
        if (pull.connection, pull.warehouse) == (pipeline.connection, pipeline.warehouse)
        and pull.takes(stream.name, default=stream.default)
    ]


@contextlib.contextmanager
def opened(file: config.Config, name: str) -> Iterator[run.Job]:
    """A pipeline, ready to run; the warehouses are closed with the block. Raises ConfigError."""
    if name not in file.pipelines:
        known = ", ".join(file.pipelines) or "none"
        raise errors.ConfigError(f"there is no pipeline {name!r} in the configuration; it has {known}")
    pipeline, of = file.pipelines[name], model(file, name)
    with contextlib.ExitStack() as stack:
        source = warehouse.open_warehouse(file.warehouses[pipeline.warehouse])
        stack.callback(source.close)
        target = stack.enter_context(modelled(file, of))
        yield run.Job(
            name,
            pipeline,
            changes.stream(source, stored(file, name)),
            target,
            accounts(file, name),
            of.warehouse == pipeline.warehouse,
        )


@contextlib.contextmanager
def modelled(file: config.Config, of: config.CustomerModel) -> Iterator[run.Model]:
    """The customer model in its warehouse, which is closed with the block."""
    target = file.warehouses[of.warehouse].model_copy(update={"schema_name": of.schema_name})
    found = warehouse.open_warehouse(target)
    try:
        yield run.Model(found, names.Names(of.table), profile.of(of), rules.Rules.of(of), of.primary_source)
    finally:
        found.close()


async def follow(
    place: places.Place, flow: flows.Flow, begun: runs.Run, record: recorder.Recorder
) -> endings.Ending:
    """Do a run of a pipeline that a schedule, another flow, a program or a person asked for.

    A continuous one looks again and again, and ends only by being cancelled, or for good.
    """
    said = unguarded = ""
    while True:
        result = await perform(place, flow.own, begun, record)
        if result.came.unguarded and not unguarded:  # once in a run, however often a continuous one looks
            unguarded = result.came.unguarded
            record.say(unguarded, level="warning")
        if begun.cause != "continuous":
            return ended(record, result)
        told = table(result)
        if told["read"] or told["removed"]:
            figures = ("read", "filtered", "failed", "matched", "removed")
            record.note(", ".join(f"{told[name]:,} {name}" for name in figures if told[name]))
        if told["error"] != said:
            said = str(told["error"])
            record.say(said or "all is well again", level="warning" if said else "info")
        record.phase("waiting for changes")
        await asyncio.sleep(PAUSE)


async def perform(place: places.Place, name: str, begun: runs.Run, record: recorder.Recorder) -> Result:
    """Do a run of a pipeline, and tell of it; raises what `customers.run.run` does, but not Held."""
    if name not in place.file.pipelines:
        raise errors.ConfigError(f"The pipeline {name} is not in the configuration any more.")
    if not place.file.pipelines[name].enabled:
        raise errors.ConfigError(f"The pipeline {name} is not enabled; set `enabled: true` to run it.")
    async with _alone(place, model(place.file, name), begun.id, record):
        if not covering(place.file, name):
            await _pull(place, name, begun, record)
        return await _apart(place, name, begun, record)


def ended(record: recorder.Recorder, result: Result) -> endings.Ending:
    """How the run of a pipeline ended that came to its end, told to its record as well."""
    told = table(result)
    record.finished(result.name, str(told["status"]), str(told["error"]))
    return endings.of_pipeline(result, told)


def table(result: Result) -> dict[str, object]:
    """What a pipeline came to, as a row of its run's report."""
    merged, resolved = result.came.merged, result.came.resolved
    error = result.held
    if not error and result.came.in_quarantine:
        count = result.came.in_quarantine
        rows = "1 row is" if count == 1 else f"{count:,} rows are"
        error = f"{rows} in quarantine; `tidegate pipeline failures {result.name}` lists why."
    return {
        "stream": result.name,
        "account": "",
        "status": "partial" if error else "ok",
        **dataclasses.asdict(result.came.funnel),
        "quarantined": result.came.in_quarantine,
        "profiles_created": merged.created if merged else 0,
        "profiles_changed": merged.changed if merged else 0,
        "profiles_gone": merged.gone if merged else 0,
        "profiles": resolved.profiles if resolved else 0,
        "profiles_merged": resolved.merged if resolved else 0,
        "profiles_split": resolved.split if resolved else 0,
        "error": error,
    }


async def _apart(place: places.Place, name: str, begun: runs.Run, record: recorder.Recorder) -> Result:
    """Do it in a thread; cancelled, it ends at the next batch, and is waited for."""
    stopping = threading.Event()

    def stop() -> None:
        if stopping.is_set():
            raise _Stopped

    before = [0]

    def shown(phase: str, funnel: run.Funnel) -> None:
        record.phase(phase)
        record.advanced(name, rows=funnel.read - before[0])
        before[0] = funnel.read

    def work() -> Result:
        with opened(place.file, name) as job:
            try:
                came = run.run(
                    job,
                    place.store,
                    begun.id,
                    full=bool(begun.options.get(FULL)),
                    approve=bool(begun.options.get(APPROVE)),
                    shown=shown,
                    stop=stop,
                )
            except run.Held as held:
                return Result(name, run.Result(), str(held))
            return Result(name, came)

    record.started(name, "")
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        result = await asyncio.shield(task)
    except asyncio.CancelledError:
        stopping.set()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        raise
    if result.came.printed:  # what it prints is for its author alone: it may quote customers
        record.note(
            f"the function printed something; `tidegate pipeline preview {name}` shows what it prints"
        )
    return result


async def _pull(place: places.Place, name: str, begun: runs.Run, record: recorder.Recorder) -> None:
    """Bring the stream of a pipeline that no pull brings."""
    pipeline = place.file.pipelines[name]
    implied = config.Pull.model_validate(
        {"from": pipeline.connection, "to": pipeline.warehouse, "streams": {pipeline.stream: {}}}
    )
    own = f"pipeline-{name}"
    [job] = settings.jobs(place.file.model_copy(update={"pulls": {own: implied}}), [own])
    job = dataclasses.replace(job, source=dataclasses.replace(job.source, purse=place.purse))
    record.phase("pulling")
    target = await asyncio.to_thread(job.open)
    try:
        result = await pulling.pull(
            job.source, target, job.options, record, run_id=begun.id, listener=record.happened
        )
    finally:
        await asyncio.to_thread(target.close)
    if result.end is not None:
        raise result.end
    for outcome in result.outcomes:
        if outcome.stream == pipeline.stream and outcome.status not in ("ok", "not_enabled"):
            what = f"The stream {pipeline.stream} of the pipeline {name}"
            raise errors.TidegateError(f"{what} could not be read to its end: {outcome.error}")


@contextlib.asynccontextmanager
async def _alone(
    place: places.Place, of: config.CustomerModel, holder: str, record: recorder.Recorder
) -> AsyncIterator[None]:
    """Nobody else writes the model in the block."""
    own, said = lease(of), False
    while not await _taken(place, own, holder):
        if not said:
            record.phase("waiting for another pipeline of the same model")
            record.note("another pipeline writes the customer model; this one waits for it")
        said = True
        await asyncio.sleep(LOOKED)

    keeping = contextlib.ExitStack()
    keeping.enter_context(leased.kept(place.store, own, holder))
    try:
        yield
    finally:
        await asyncio.to_thread(keeping.close)


async def _taken(place: places.Place, own: str, holder: str) -> bool:
    """Take the lease; cancelled meanwhile, it is given back, so that it keeps nobody out."""
    taking = asyncio.create_task(asyncio.to_thread(leased.take, place.store, own, holder))
    try:
        return await asyncio.shield(taking)
    except asyncio.CancelledError:
        while not taking.done():  # however often it is cancelled
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({taking})
        if taking.exception() is None and taking.result():
            await asyncio.to_thread(leases.leave, place.store, own, holder)
        raise


def stored(file: config.Config, name: str) -> base.Table:
    """The table that holds a pipeline's stream; a pull may call it otherwise."""
    pipeline = file.pipelines[name]
    stream = catalog.load().streams[pipeline.stream]
    called = [file.pulls[pull].options(pipeline.stream).table for pull in covering(file, name)[:1]]
    own = next(filter(None, called), pipeline.stream)
    return base.Table(own, decode.schema(stream), ("_account_id", *stream.key))


def accounts(file: config.Config, name: str) -> tuple[str, ...] | None:
    """Whose rows of the table are the connection's; None where nobody else's stand there."""
    pipeline = file.pipelines[name]
    others = {
        pull.connection
        for pull in file.pulls.values()
        if pull.warehouse == pipeline.warehouse and pull.takes(pipeline.stream)
    }
    others |= {each.connection for each in file.pipelines.values() if each.warehouse == pipeline.warehouse}
    if others <= {pipeline.connection}:
        return None
    connection = file.stripe[pipeline.connection]
    chosen = connection.accounts
    own = (connection.account_id,) if connection.account_id is not None else ()
    if isinstance(chosen, tuple):
        return (*own, *(each.rpartition("/")[2] for each in chosen))
    if own and chosen == "own":
        return own
    raise errors.ConfigError(
        f"The pipeline {name} shares its table with {', '.join(sorted(others - {pipeline.connection}))}, and "
        f"nothing says which accounts are those of {pipeline.connection}; give that connection its `account_id`, "
        "or a warehouse schema of its own."
    )
