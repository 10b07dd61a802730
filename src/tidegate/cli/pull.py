"""`tidegate pull`: every Stripe object into the warehouse."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tidegate import errors
from tidegate.cli import connect, loading, output, progress, signals
from tidegate.pull import continuous, doing, estimate, report, run, scope, settings
from tidegate.stripe import client
from tidegate.warehouse import base

if TYPE_CHECKING:
    from tidegate.engine import place as places
    from tidegate.engine import recorder

EVERY = 5.0
"""Seconds between two pulls of --watch."""
BUSY = 3
"""The exit code where somebody else just does it."""


def pull(
    *names: str,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    api_key: str | None = None,
    api_base: str | None = None,
    to: str | None = None,
    schema: str | None = None,
    streams: str | None = None,
    start_date: str | None = None,
    lookback: str | None = None,
    full_refresh: bool = False,
    account: Annotated[tuple[str, ...], Parameter(consume_multiple=False)] = (),
    account_id: str | None = None,
    budget: float | None = None,
    rate_limit: str | None = None,
    dry_run: bool = False,
    watch: bool = False,
    every: float | None = None,
    accept_deletes: str | None = None,
    loaded: Annotated[bool, Parameter(name="--report")] = False,
    json: bool = False,
) -> int:
    """Bring Stripe objects into a warehouse.

    With a tidegate.yaml: `tidegate pull` runs all its pulls, `tidegate pull NAME`
    one of them. Without one: `tidegate pull --api-key KEY --to duckdb:///FILE`.
    The first pull reads everything, later ones follow what changed. One that was
    cut short goes on where it stopped.

    Where the configuration's metadata database is there, a pull is a run in it, which
    `tidegate runs` shows, and a flow that somebody else just runs is left to them.

    Parameters
    ----------
    names
        Pulls of the configuration; all of them by default.
    config_file
        The configuration; tidegate.yaml by default.
    api_key
        Stripe key, instead of a configuration; also read from STRIPE_API_KEY.
    api_base
        Where Stripe answers; another address for the sandbox.
    to
        Warehouse, instead of a configuration: duckdb:///FILE, postgresql://..., md:...
    schema
        Schema of the tables, `stripe` by default.
    streams
        Streams to pull, comma separated; all by default.
    start_date
        Leave out objects created before this date.
    lookback
        How far back to list again what Stripe sends no events for, `7d` by default; given here, all of it now.
    full_refresh
        Read everything again, and remove what Stripe no longer has.
    account
        Connected account to act for, `acct_...`; may be repeated.
    account_id
        The key's own account, for restricted keys that cannot ask for it.
    budget
        Share of Stripe's rate limits to use, 0.8 by default.
    rate_limit
        Requests per second per account / per endpoint, `100/25`, or `off`.
    dry_run
        Read nothing but a sample; show permissions, estimated rows, requests and time.
    watch
        Go on until stopped: pull again and again, so that the warehouse is seconds behind Stripe.
    every
        Seconds between two pulls of --watch, 5 by default.
    accept_deletes
        Streams, comma separated, of which even very many rows may go that Stripe no longer lists.
    loaded
        Print what each table got: rows inserted, updated, unchanged and deleted, size, versions; --json has it too.
    json
        Print the result as one JSON object, last on stdout; with --watch, one line per pull.
    """
    jobs, file = connect.planned(
        names,
        config_file,
        api_key=api_key,
        to=to,
        full_refresh=full_refresh,
        streams=streams,
        accounts=account,
        api_base=api_base,
        schema=schema,
        account_id=account_id,
        start_date=start_date,
        lookback=lookback,
        budget=budget,
        rate_limit=rate_limit,
    )
    if every is not None and not (watch and every > 0):
        raise errors.ConfigError("--every goes with --watch and says how many seconds, such as 5")
    if dry_run and watch:
        raise errors.ConfigError("--dry-run looks once; leave out --watch")
    if loaded and (dry_run or watch):
        raise errors.ConfigError("--report tells what one pull has loaded; leave out --dry-run and --watch")
    if dry_run:
        return _dry_run(jobs, json)
    accept = frozenset(name.strip() for name in (accept_deletes or "").split(",") if name.strip())
    jobs = [_accepting(job, accept) for job in jobs]
    if watch and len(jobs) > 1:
        raise errors.ConfigError(
            "--watch follows one pull at a time; name one of " + ", ".join(job.name for job in jobs)
        )
    # Rows come and go by the page and never form cycles: looking for garbage among them costs 6 % of a pull.
    gc.set_threshold(100_000, 50, 100)
    with contextlib.ExitStack() as opened:
        place = None
        if file is not None and connect.has_store(file):
            from tidegate.cli import noting

            place = opened.enter_context(noting.noted(file))
        if watch:
            return _watch(jobs[0], json, every or EVERY, place)
        codes = [_run(job, json, loaded, place) for job in jobs]
    return max(codes, key=(0, 3, 1).index)


def _accepting(job: settings.Job, accept: frozenset[str]) -> settings.Job:
    unknown = accept - set(job.options.streams)
    if unknown:
        raise errors.ConfigError(f"--accept-deletes names {min(unknown)}, which this pull does not have")
    return dataclasses.replace(job, options=dataclasses.replace(job.options, accept=accept))


@dataclasses.dataclass(frozen=True, slots=True)
class Begun:
    """A pull under way: where to, who watches it, and as which run."""

    source: scope.Source
    warehouse: base.Warehouse
    screen: report.Screen
    shown: progress.Screen
    run_id: str = ""
    record: recorder.Recorder | None = None

    @property
    def listener(self) -> client.Listener | None:
        """Who is told what requests come to."""
        return None if self.record is None else self.record.happened

    @property
    def under_way(self) -> doing.Watcher:
        """Who is told what has been done so far."""
        return doing.nobody if self.record is None else self.record.under_way


def _run(job: settings.Job, json: bool, loaded: bool, place: places.Place | None) -> int:
    """One pull; SIGTERM ends it like Ctrl-C, with what was read committed."""

    async def pulled(begun: Begun) -> report.Result:
        return await run.pull(
            begun.source,
            begun.warehouse,
            job.options,
            begun.screen,
            run_id=begun.run_id,
            listener=begun.listener,
            under_way=begun.under_way,
        )

    try:
        result = _opened(job, pulled, place)
    except errors.TidegateError as error:
        if json:
            output.print_json(report.nothing(error))
        if isinstance(error, errors.StoreConflict):  # it may be done by others; other pulls are not
            output.say(str(error))
            return BUSY
        raise
    except asyncio.CancelledError:  # SIGTERM
        raise KeyboardInterrupt from None
    if json:
        output.print_json(result.as_json())
    else:
        progress.summary(result)
        if loaded:
            loading.show(result)
    if result.end is not None:
        output.say(str(result.end))
    return result.exit_code


def _watch(job: settings.Job, json: bool, every: float, place: places.Place | None) -> int:
    """Pull after pull until Ctrl-C or SIGTERM, which is no failure; each tells its news in a line."""
    ticker = progress.Ticker(report.News())

    async def pulled(begun: Begun) -> report.Result:
        def told(result: report.Result) -> None:
            if json:
                output.print_json(result.as_json())
            if begun.record is not None:
                begun.record.saw(result)
            if not continuous.is_final(result) and (line := ticker.line(result)):
                begun.shown.note(line)
            begun.shown.rest(well=result.end is None)

        return await continuous.watch(
            begun.source,
            begun.warehouse,
            job.options,
            begun.screen,
            every=every,
            told=told,
            run_id=begun.run_id,
            listener=begun.listener,
            under_way=begun.under_way,
        )

    try:
        result = _opened(job, pulled, place)
    except errors.TidegateError as error:
        if json:
            output.print_json(report.nothing(error))
        if isinstance(error, errors.StoreConflict):
            output.say(str(error))
            return BUSY
        raise
    except (asyncio.CancelledError, KeyboardInterrupt):
        output.say("stopped; everything that was read is committed")
        return 0
    output.say(str(result.end))
    return result.exit_code


def _opened(
    job: settings.Job, work: Callable[[Begun], Awaitable[report.Result]], place: places.Place | None
) -> report.Result:
    """Do it with the warehouse open and a screen, as a run where there is a place for one; SIGTERM cancels it."""
    if place is not None:
        return _noted(job, work, place)
    warehouse = job.open()
    try:
        with progress.Screen() as screen:
            return asyncio.run(signals.until_stopped(work(Begun(job.source, warehouse, screen, screen))))
    finally:
        warehouse.close()


def _noted(
    job: settings.Job, work: Callable[[Begun], Awaitable[report.Result]], place: places.Place
) -> report.Result:
    """The same as a run; raises StoreConflict where somebody else runs the flow, before anything is touched."""
    result = asyncio.run(signals.until_stopped(_performed(job, work, place)))
    return _opened(job, work, None) if result is None else result


async def _performed(
    job: settings.Job, work: Callable[[Begun], Awaitable[report.Result]], place: places.Place
) -> report.Result | None:
    """Do it as a run; None where it cannot be noted as one."""
    from tidegate.cli import noting

    begun = await noting.begin(place, job)
    if begun is None:
        return None
    source = dataclasses.replace(job.source, purse=place.purse)

    async def doing(record: recorder.Recorder) -> report.Result:
        warehouse = await asyncio.to_thread(job.open)
        try:
            both = noting.Both(screen, record)
            result = await work(Begun(source, warehouse, both, screen, begun.id, record))
            await asyncio.to_thread(noting.stands, place, job, warehouse)
            return result
        finally:
            await asyncio.to_thread(warehouse.close)

    with progress.Screen() as screen:
        return await noting.perform(place, begun, doing)


def _dry_run(jobs: list[settings.Job], json: bool) -> int:
    code = 0
    for job in jobs:
        found = asyncio.run(estimate.forecast(job.source, job.options))
        if json:
            output.print_json(found.as_json())
        else:
            _show(found)
        if any(one.status in {"no_permission", "failed"} for one in found.estimates):
            code = 3
    return code


def _show(found: estimate.Forecast) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("stream", "rows", "requests", ""):
        table.add_column(heading, justify="right" if heading in {"rows", "requests"} else "left")
    for one in sorted(found.estimates, key=lambda e: -e.rows):
        about = "" if one.exact else "~"
        table.add_row(
            one.stream,
            f"{about}{one.rows:,}" if one.status == "ok" else "",
            f"{one.requests:,}" if one.status == "ok" else "",
            one.error,
        )
    console = output.console()
    console.print(f"A pull of {found.account} would bring", soft_wrap=True)
    console.print(table)
    requests = output.counted(found.requests, "request")
    console.print(
        f"About {output.counted(found.rows, 'row')} in {requests}: {progress.duration(found.seconds)} at the "
        f"budget, and {found.requests:,} of the month's reads. "
        f"Looking took {output.counted(found.spent, 'request')}.",
        soft_wrap=True,
    )
