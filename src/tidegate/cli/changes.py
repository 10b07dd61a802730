"""`tidegate changes`: the audit log."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import errors
from tidegate.cli import connect, output
from tidegate.config import values
from tidegate.engine import configuration, differences
from tidegate.store import database, trail


def changes(
    what: str | None = None,
    *,
    who: str | None = None,
    action: str | None = None,
    since: str | None = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"])] = 50,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    json: bool = False,
) -> int:
    """List who changed what: the audit log.

    The newest first, with what was before and after; of secrets the last four
    characters. Lines are kept for two years.

    Parameters
    ----------
    what
        Only changes of this, such as pulls.everything, or of all of its kind, such as pulls.
    who
        Only those of one person or token.
    action
        Only one kind of change, such as create, change or delete.
    since
        Only those of this time until now, such as 7d.
    limit
        How many at most.
    config_file
        The configuration, of which only `database` is read; tidegate.yaml by default.
    json
        Print a JSON object, last on stdout.
    """
    if not 1 <= limit <= 100_000:
        raise errors.ConfigError("--limit: give a number from 1 to 100000")
    url = connect.database_url(config_file)
    if not configuration.exists(url):
        raise errors.ConfigError("there is no metadata database yet, and so no changes in it")
    with contextlib.closing(database.open_database(url)) as store:
        begin = None if since is None else store.now() - _seconds(since)
        found = list(
            itertools.islice(
                trail.each(store, who=who or "", action=action or "", what=what or "", since=begin), limit
            )
        )
    if json:
        output.print_json({"changes": [_document(each) for each in found]})
    elif not found:
        output.say("there are no such changes")
    else:
        _table(found)
    return 0


def _seconds(text: str) -> float:
    try:
        return values.duration(text).total_seconds()
    except ValueError as error:
        raise errors.ConfigError(f"--since: {error}") from None


def _document(line: trail.Line) -> dict[str, object]:
    return {
        "number": line.number,
        "at": line.at,
        "who": line.who,
        "via": line.via,
        "action": line.action,
        "what": line.what,
        "before": line.before,
        "after": line.after,
    }


def _table(found: Sequence[trail.Line]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("when (UTC)", "who", "via", "action", "what"):
        table.add_column(heading, no_wrap=True)
    table.add_column("before -> after", overflow="fold")
    for each in found:
        table.add_row(
            f"{dt.datetime.fromtimestamp(each.at, dt.UTC):%Y-%m-%d %H:%M}",
            each.who,
            each.via,
            each.action,
            each.what,
            "\n".join(_told(each)),
        )
    output.console().print(table)


def _told(line: trail.Line) -> list[str]:
    both = line.before is not None and line.after is not None
    told: list[str] = []
    for each in differences.between(line.before, line.after):
        value = f"{each.before or '-'} -> {each.after or '-'}" if both else each.after or each.before
        told.append(f"{each.field or line.what}: {value}")
    return told
