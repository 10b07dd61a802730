"""`tidegate audit`: the proof that the warehouse holds what Stripe has."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import errors
from tidegate.audit import findings
from tidegate.cli import connect, output, progress, signals
from tidegate.pull import settings
from tidegate.views import audits

STYLES = {"ok": "green", "different": "red", "failed": "red", "not_enabled": "dim", "not_compared": "dim"}
_CODES = (0, 1, 3, 2)
"""Exit codes, the weightier the later."""


def audit(
    *names: str,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    api_key: str | None = None,
    api_base: str | None = None,
    to: str | None = None,
    schema: str | None = None,
    stream: str | None = None,
    since: str | None = None,
    start_date: str | None = None,
    account: Annotated[tuple[str, ...], Parameter(consume_multiple=False)] = (),
    account_id: str | None = None,
    budget: float | None = None,
    rate_limit: str | None = None,
    repair: bool = False,
    json: bool = False,
) -> int:
    """Prove, row by row, that the warehouse holds what Stripe has.

    Reads Stripe's lists once more and compares them with the tables: ids, contents
    and sums of amounts, by stream and month, and the balance with all its
    movements. What changes meanwhile is no difference. Exit code 0: all equal; 3:
    differences; 1: something could not be read.

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
    stream
        Streams to audit, comma separated; all of the pull by default.
    since
        Leave out objects created before this date, where Stripe can list by date.
    start_date
        Where the pull left out older objects, with --to.
    account
        Connected account to act for, `acct_...`; may be repeated.
    account_id
        The key's own account, for restricted keys that cannot ask for it.
    budget
        Share of Stripe's rate limits to use, 0.8 by default.
    rate_limit
        Requests per second per account / per endpoint, `100/25`, or `off`.
    repair
        Load what is missing or other than at Stripe, and mark as deleted what Stripe no longer has.
    json
        Print the report as one JSON object, last on stdout.
    """
    jobs = connect.jobs(
        names,
        config_file,
        api_key=api_key,
        to=to,
        streams=stream if to is not None else None,
        streams_flag="--stream",
        accounts=account,
        api_base=api_base,
        schema=schema,
        account_id=account_id,
        start_date=start_date,
        budget=budget,
        rate_limit=rate_limit,
    )
    chosen = [each.strip() for each in (stream or "").split(",") if each.strip()]
    jobs = audits.chosen(jobs, chosen)
    if to is not None:
        jobs = [dataclasses.replace(job, name="audit") for job in jobs]
    codes = [_run(job, None if since is None else audits.moment(since), repair, json) for job in jobs]
    return max(codes, key=_CODES.index)


def _run(job: settings.Job, since: int | None, repair: bool, json: bool) -> int:
    try:
        with progress.Screen() as screen:
            audit = audits.run(job, screen, since=since, repair=repair)
            found = asyncio.run(signals.until_stopped(audit))
    except errors.TidegateError as error:
        if json:
            output.print_json(findings.nothing(error))
        raise
    except (asyncio.CancelledError, KeyboardInterrupt):  # SIGTERM, Ctrl-C
        kept = "what was repaired stays" if repair else "nothing was changed"
        raise KeyboardInterrupt(f"{kept}, and the next audit begins anew") from None
    if json:
        output.print_json(found.as_json())
    else:
        _show(job.name, found, repair)
    if found.end is not None:
        output.say(str(found.end))
    return found.exit_code


def _show(name: str, found: findings.Audit, repair: bool) -> None:
    """The streams, differences first; then the months in which they lie, the balance, and one line of totals."""
    from rich import box, table, text

    out = output.console()
    several = len({each.account for each in found.streams}) > 1
    told = sorted((each for each in found.streams if each.told), key=audits.rank)
    kinds = [kind for kind in findings.KINDS if any(each.total(kind) for each in told)]
    flight = any(each.in_flight for each in told)

    def drawn(errors: bool) -> table.Table:
        grid = table.Table(box=box.SIMPLE_HEAD, pad_edge=False, title=name, title_justify="left")
        for heading in ("stream", *(("account",) if several else ())):
            grid.add_column(heading, overflow="fold")
        for heading in ("at Stripe", "here", *kinds, *(("in flight",) if flight else ())):
            grid.add_column(heading, justify="right", no_wrap=True)
        grid.add_column("status", no_wrap=True)
        for each in told:
            grid.add_row(
                text.Text(each.stream),
                *((text.Text(each.account),) if several else ()),
                f"{each.total('stripe'):,}",
                f"{each.total('warehouse'):,}",
                *(f"{each.total(kind):,}" if each.total(kind) else "" for kind in kinds),
                *((f"{each.in_flight:,}" if each.in_flight else "",) if flight else ()),
                text.Text(_status(each, errors), STYLES.get(each.status, "yellow")),
            )
        return grid

    if told:
        whose = {f"{each.stream} of {each.account}" if several else each.stream: each for each in told}
        wrong = {name: _status(each, True) for name, each in whose.items() if each.error}
        output.draw(out, drawn, wrong)
    for each in told:
        for line in _details(each):
            out.print(line, soft_wrap=True)
    for balance in found.balances:
        for line in _balance(balance, several):
            out.print(line, soft_wrap=True)
    out.print(_last(found, repair), soft_wrap=True)


def _status(found: findings.Stream, error: bool) -> str:
    """How a stream came out, with or without its error."""
    words = audits.WORDS[found.status]
    return f"{words}: {output.redacted(found.error)}" if error and found.error else words


def _details(found: findings.Stream) -> list[str]:
    """The months with differences, their sums, and some ids."""
    lines = audits.details(found.as_json())
    return [f"{found.stream}:", *(f"  {line}" for line in lines)] if lines else []


def _balance(found: findings.Balance, several: bool) -> list[str]:
    """The balance identity in words."""
    whose = f"balance of {found.account}" if several else "balance"
    if found.error:
        return [f"{whose}: not compared: {output.redacted(found.error)}"]
    lines = []
    for each in found.currencies:
        flight = f" and {each.in_flight:,} in flight" if each.in_flight else ""
        verdict = "equal" if each.equal else "different"
        line = f"{each.balance:,} at Stripe, {each.warehouse:,} in balance_transactions{flight}"
        pending = (
            ""
            if each.pending_equal in (True, None)
            else (f"; pending {each.pending:,} at Stripe, {each.warehouse_pending:,} here")
        )
        lines.append(f"{whose} ({each.currency}): {verdict}: {line}{pending}")
    return lines


def _last(found: findings.Audit, repair: bool) -> str:
    """All of it in a line."""
    rows = sum(each.total("stripe") for each in found.streams)
    counts = {kind: sum(each.total(kind) for each in found.streams) for kind in findings.KINDS}
    unread = sum(each.status in ("no_permission", "partial", "failed") for each in found.streams)
    seconds = (found.finished_at - found.started_at).total_seconds()
    if any(counts.values()):
        verdict = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    else:
        verdict = "no difference"
    parts = [
        f"{audits.WORDS[found.status]}: {rows:,} rows compared in {progress.duration(seconds)}: {verdict}",
        *((f"{found.repaired:,} repaired",) if repair else ()),
        *((f"{output.counted(unread, 'stream')} could not be read to the end",) if unread else ()),
        output.counted(found.requests, "request"),
    ]
    return "; ".join(parts)
