"""`tidegate status`: what the warehouse holds, as of when, how soon changes show, and what waits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import catalog, config, errors, warehouse
from tidegate.cli import output
from tidegate.pull import held, settings
from tidegate.warehouse import base


def status(
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    to: str | None = None,
    schema: str = "stripe",
    json: bool = False,
) -> int:
    """Show what the warehouse holds: rows per stream, whether its reading was complete, and as of when.

    Says of each table how soon a change in Stripe shows, which rows are held back, and what could not be read.

    Parameters
    ----------
    config_file
        The configuration; tidegate.yaml by default.
    to
        Warehouse, instead of a configuration: duckdb:///FILE.
    schema
        Schema of the tables, with --to.
    json
        Print a JSON object, last on stdout.
    """
    names = {name: name for name in catalog.load().streams}
    shown: list[tuple[str, list[held.Held]]] = []
    if to is not None:
        shown.append((to, _held(warehouse.open_url(to, schema=schema), names)))
    else:
        for job in settings.jobs(config.load(config_file or config.DEFAULT_FILE)):
            tables = {**names, **{s: c.table for s, c in job.options.choices.items() if c.table}}
            shown.append((job.name, _held(job.open(), tables)))
    if json:
        output.print_json({"pulls": [{"name": n, "streams": [h.as_json() for h in hs]} for n, hs in shown]})
        return 0
    for name, found in shown:
        if not found:
            raise errors.ConfigError(f"{name}: nothing was pulled yet; `tidegate pull` begins")
        _table(name, found)
    return 0


def _held(opened: base.Warehouse, tables: dict[str, str]) -> list[held.Held]:
    try:
        return held.held(opened, tables)
    finally:
        opened.close()


def _table(name: str, found: list[held.Held]) -> None:
    from rich import box
    from rich.table import Table

    accounts = {one.account for one in found}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=name, title_justify="left")
    if len(accounts) > 1:
        table.add_column("account")
    for heading in ("stream", "rows", "deleted", "as of (UTC)", "changes show within", "status"):
        table.add_column(heading, justify="right" if heading in {"rows", "deleted"} else "left")
    for one in found:
        words = [
            one.stream,
            f"{one.rows:,}",
            f"{one.deleted:,}",
            "" if one.as_of is None else f"{one.as_of:%Y-%m-%d %H:%M:%S}",
            one.staleness,
            _status(one),
        ]
        table.add_row(*([one.account] if len(accounts) > 1 else []), *words)
    output.console().print(table)
    complete = sum(one.complete for one in found)
    output.console().print(
        f"{sum(one.rows for one in found):,} rows in {len(found)} streams, {complete} of them complete."
    )
    for sentence in filter(None, (one.held for one in found)):
        output.console().print(sentence)


def _status(one: held.Held) -> str:
    """How its last run ended, and what is still to be done."""
    state = one.status if one.complete or one.status != "ok" else "unfinished"
    words = [f"{state}: {one.error}" if one.error else state]
    if one.listing:
        words.append(f"to be listed again: {one.listing}")
    if one.waiting:
        words.append(f"{one.waiting:,} to be read, {one.unread:,} of them in vain so far")
    return "; ".join(words)
