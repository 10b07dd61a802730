"""`tidegate pull`: every Stripe object into the warehouse."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import errors
from tidegate.cli import connect, output, progress
from tidegate.pull import estimate, report, run, settings
from tidegate.warehouse import base


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
    json: bool = False,
) -> int:
    """Bring Stripe objects into a warehouse.

    With a tidegate.yaml: `tidegate pull` runs all its pulls, `tidegate pull NAME` one of them. Without one:
    `tidegate pull --api-key KEY --to duckdb:///FILE`. A pull that was cut short goes on where it stopped.

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
        Warehouse, instead of a configuration: duckdb:///FILE.
    schema
        Schema of the tables, `stripe` by default.
    streams
        Streams to pull, comma separated; all by default.
    start_date
        Leave out objects created before this date.
    lookback
        How much earlier than the start date to begin, `7d` by default.
    full_refresh
        Forget how far earlier pulls came and read everything again.
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
    json
        Print the result as one JSON object, last on stdout.
    """
    jobs = connect.jobs(
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
    if dry_run:
        return _dry_run(jobs, json)
    codes = [_run(job, json) for job in jobs]
    return max(codes, key=(0, 3, 1).index)


def _run(job: settings.Job, json: bool) -> int:
    # Rows come and go by the page and never form cycles: looking for garbage among them costs 6 % of a pull.
    gc.set_threshold(100_000, 50, 100)
    warehouse = job.open()
    try:
        with progress.Screen() as screen:
            result = asyncio.run(_until_stopped(job, warehouse, screen))
    except errors.TidegateError as error:
        if json:
            output.print_json(report.nothing(error))
        raise
    except asyncio.CancelledError:  # SIGTERM; what was read is committed
        raise KeyboardInterrupt from None
    finally:
        warehouse.close()
    if json:
        output.print_json(result.as_json())
    else:
        progress.summary(result)
    if result.end is not None:
        output.say(str(result.end))
    return result.exit_code


async def _until_stopped(
    job: settings.Job, warehouse: base.Warehouse, screen: report.Screen
) -> report.Result:
    """The pull; SIGTERM ends it like Ctrl-C, with what was read committed."""
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run.pull(job.source, warehouse, job.options, screen)


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

    title = f"A pull of {found.account} would bring"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
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
    console.print(table)
    console.print(
        f"About {found.rows:,} rows in {found.requests:,} requests: {progress.duration(found.seconds)} at the "
        f"budget, and {found.requests:,} of the month's reads. Looking took {found.spent:,} requests."
    )
