"""`tidegate status`: what the warehouse holds, as of when, how soon changes show, and what waits."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tidegate import catalog, config, errors, warehouse
from tidegate.cli import connect, output
from tidegate.pull import held, settings

if TYPE_CHECKING:
    from rich.table import Table


def status(
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    to: str | None = None,
    schema: str = "stripe",
    json: bool = False,
) -> int:
    """Show what the warehouse holds: rows, completeness, freshness.

    Says of each table how soon a change in Stripe shows, which rows are held back,
    and what could not be read.

    Parameters
    ----------
    config_file
        The configuration; tidegate.yaml by default.
    to
        Warehouse, instead of a configuration: duckdb:///FILE, postgresql://..., md:...
    schema
        Schema of the tables, with --to.
    json
        Print a JSON object, last on stdout.
    """
    shown: list[tuple[str, list[held.Held]]] = []
    stopped: dict[str, str] = {}
    if to is not None:
        names = {name: name for name in catalog.load().streams}
        with contextlib.closing(warehouse.open_url(to, schema=schema)) as opened:
            shown.append((warehouse.named(to), held.held(opened, names)))
    else:
        file = connect.configuration(config_file)
        stopped = _stopped(file)
        for job in settings.jobs(file):
            with contextlib.closing(job.open()) as opened:
                shown.append((job.name, held.of_pull(opened, job)))
    if json:
        output.print_json(
            {
                "pulls": [
                    {"name": n, "stopped": stopped.get(n), "streams": [h.as_json() for h in hs]}
                    for n, hs in shown
                ]
            }
        )
        return 0
    for name, found in shown:
        if not found:
            raise errors.ConfigError(f"{name}: nothing was pulled yet; `tidegate pull` begins")
        _table(name, found)
        if name in stopped:
            output.console().print(stopped[name], soft_wrap=True)
    return 0


def _stopped(file: config.Config) -> dict[str, str]:
    """Of the continuous pulls that somebody stopped, until when; nothing where no database says so."""
    if not any(pull.schedule == "continuous" for pull in file.pulls.values()) or not connect.has_store(file):
        return {}
    from tidegate.engine import place as places
    from tidegate.views import flows

    with contextlib.suppress(errors.StoreError), contextlib.closing(connect.store(file)) as store:
        standing = flows.listed(places.Place(file, store))
        return {each.own: each.stopped for each in standing if each.kind == "pull" and each.stopped}
    return {}


def _table(name: str, found: list[held.Held]) -> None:
    """The streams; where the terminal is too narrow, what needs words stands below, once for all that share it."""
    out = output.console()
    marks = {
        words: f"({number})" for number, words in enumerate(dict.fromkeys(o.staleness for o in found), 1)
    }
    table = _grid(name, found, {}, errors=True)
    narrow = not output.fits(table, out)
    if narrow:
        table = _grid(name, found, marks, errors=False)
    out.print(table)
    if narrow:
        out.print("changes show within")
        for words, mark in marks.items():
            out.print(f"  {mark} {words}", soft_wrap=True)
        several = len({one.account for one in found}) > 1
        wrong = {
            f"{one.stream} of {one.account}" if several else one.stream: _status(one, errors=True)
            for one in found
            if _status(one, errors=True) != _status(one, errors=False)
        }
        for line in output.told_together(wrong):
            out.print(line, soft_wrap=True)
    complete, waiting = sum(one.complete for one in found), sum(one.status == "not_begun" for one in found)
    out.print(
        f"{output.counted(sum(one.rows for one in found), 'row')} in {output.counted(len(found), 'stream')}, "
        f"{complete:,} of them complete{f', {waiting:,} not begun' if waiting else ''}.",
        soft_wrap=True,
    )
    for sentence in filter(None, (one.held for one in found)):
        out.print(sentence, soft_wrap=True)


def _grid(name: str, found: list[held.Held], marks: Mapping[str, str], *, errors: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    several = len({one.account for one in found}) > 1
    gone = any(one.deleted for one in found)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=name, title_justify="left")
    for heading in ("stream", *(("account",) if several else ())):
        table.add_column(heading, overflow="fold")
    for heading in ("rows", *(("deleted",) if gone else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("as of (UTC)", "within" if marks else "changes show within", "status"):
        table.add_column(heading, no_wrap=True)
    for one in found:
        table.add_row(
            Text(one.stream),
            *((Text(one.account),) if several else ()),
            f"{one.rows:,}",
            *((f"{one.deleted:,}",) if gone else ()),
            "" if one.as_of is None else f"{one.as_of:%Y-%m-%d %H:%M:%S}",
            marks.get(one.staleness, one.staleness),
            Text(_status(one, errors=errors)),
        )
    return table


def _status(one: held.Held, *, errors: bool) -> str:
    """How its last run ended, and what is still to be done; without `errors` in a word or two."""
    state = one.status if one.complete or one.status != "ok" else "unfinished"
    state = state.replace("not_begun", "not begun")
    words = [f"{state}: {one.error}" if one.error and errors else state]
    if one.listing and errors:
        words.append(f"to be listed again: {one.listing}")
    if one.waiting and errors:
        words.append(f"{one.waiting:,} to be read, {one.unread:,} of them in vain so far")
    return "; ".join(words)
