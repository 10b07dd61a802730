"""`tidegate alerts`: what needs a person, and whether people are reached."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tidegate.cli import connect, output
from tidegate.engine import matters
from tidegate.store import notices
from tidegate.views import alerts as views


def alerts(
    what: Literal["open", "test"] = "open",
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    ended: bool = False,
    json: bool = False,
) -> int:
    """List what needs a person, or test whether alerts arrive.

    Parameters
    ----------
    what
        `test` sends a message on every channel of the configuration.
    config_file
        The configuration; tidegate.yaml by default.
    ended
        List what is resolved, too.
    json
        Print a JSON object, last on stdout.
    """
    file = connect.configuration(config_file)
    if what == "test":
        found = views.test(file)
        if json:
            output.print_json(
                {"channels": [{"name": each.channel, "error": each.error or None} for each in found]}
            )
        for each in found:
            output.say(f"{each.channel}: {each.error or 'sent'}")
        return 1 if any(each.error for each in found) else 0
    with contextlib.closing(connect.store(file)) as store:
        listed = notices.listed(store, ended=ended)
    if json:
        output.print_json({"alerts": [views.described(each) for each in listed]})
    elif not listed:
        output.say("nothing needs you")
    else:
        _table(listed)
    return 0


def _table(listed: Sequence[notices.Notice]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("since", "told"):
        table.add_column(heading, no_wrap=True)
    table.add_column("", overflow="fold")
    for each in listed:
        ended = "" if each.resolved_at is None else f"Resolved {matters.moment(each.resolved_at)}. "
        table.add_row(matters.moment(each.opened_at), views.told(each), ended + each.text)
    output.console().print(table)
