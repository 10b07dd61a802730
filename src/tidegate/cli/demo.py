"""`tidegate demo`: a local Stripe, pulled into a DuckDB file, with something to look at in the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from tidegate import sandbox, warehouse
from tidegate.cli import output, progress
from tidegate.pull import report, run, scope
from tidegate.sandbox import serving
from tidegate.warehouse import base

MONTHS = """
    select strftime(date_trunc('month', created), '%Y-%m') as month,
           sum(amount - amount_refunded) / 100 as revenue, count(*) as charges
    from {schema}.charges where paid and currency = 'usd' group by month order by month desc limit 12
"""
ROWS = 12
"""Lines of the table, two streams each."""
BAR = 40
"""Characters of the longest bar."""


def demo(*, objects: int = 20_000, seed: int = 1, path: Path = Path("demo.duckdb")) -> int:
    """Pull a local Stripe into demo.duckdb and show what came.

    Nothing leaves this machine: the Stripe is the sandbox, its business generated.

    Parameters
    ----------
    objects
        Size of the generated business.
    seed
        Another seed, another business.
    path
        The DuckDB file.
    """
    output.say(f"starting a local Stripe with about {objects:,} objects (seed {seed})")
    opened = warehouse.open_url(f"duckdb:///{path.absolute()}")
    try:
        with sandbox.process(seed=seed, objects=objects) as url:
            output.say(f"pulling {url} into {path}")
            source = scope.Source(api_key=serving.KEY, api_base=url, rate_limit="off", budget=1.0)
            with progress.Screen() as screen:
                result = asyncio.run(run.pull(source, opened, scope.Options(), screen))
        months = opened.read(MONTHS.format(schema=base.quoted(opened.schema)))
        rows = [row for batch in months for row in batch.to_pylist()]
    finally:
        opened.close()
    _streams(result)
    _chart(rows)
    command = os.environ.get("TIDEGATE_COMMAND", "tidegate")  # ./dev says how it was called
    seconds = (result.finished_at - result.started_at).total_seconds()
    total = sum(outcome.read for outcome in result.outcomes)
    if not total:
        output.console().print(
            f"\nNothing is new: {path} has the demo of before. Remove it, or give another --path, to pull it anew.",
            soft_wrap=True,
        )
        return result.exit_code
    output.console().print(
        f"\n{total:,} rows in {sum(o.read > 0 for o in result.outcomes)} tables, {result.tally.requests:,} "
        f"requests, {progress.duration(seconds)}. They are in {path}, schema stripe.\n\n"
        f"Look around:       {command} status --to duckdb:///{path}\n"
        f"Your own account:  {command} pull --api-key rk_test_... --to duckdb:///stripe.duckdb",
        soft_wrap=True,
    )
    return result.exit_code


def _streams(result: report.Result) -> None:
    """The streams with most rows, two side by side."""
    from rich import box
    from rich.table import Table

    everything = sorted((o for o in result.outcomes if o.read), key=lambda o: -o.read)
    found = everything[: 2 * ROWS]
    half = -(-len(found) // 2)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for _ in range(2):
        table.add_column("stream")
        table.add_column("rows", justify="right")
    for left, right in zip(found[:half], [*found[half:], None], strict=False):
        words = [right.stream, f"{right.read:,}"] if right is not None else ["", ""]
        table.add_row(left.stream, f"{left.read:,}", *words)
    output.console().print(table)
    if len(everything) > len(found):
        output.console().print(f" and {len(everything) - len(found)} smaller ones\n")


def _chart(months: Sequence[dict[str, object]]) -> None:
    """Revenue by month as bars."""
    if not months:
        return
    from rich.text import Text

    amounts = [float(str(row["revenue"])) for row in months]
    longest = max(*amounts, 1.0)
    console = output.console()
    console.print("Revenue by month, USD, from the charges table", style="bold")
    for row, amount in reversed(list(zip(months, amounts, strict=True))):
        bar = "█" * max(1, round(BAR * amount / longest)) if amount > 0 else ""
        console.print(Text.assemble(f"{row['month']}  ", (bar.ljust(BAR), "green"), f"{amount:>14,.2f}"))
