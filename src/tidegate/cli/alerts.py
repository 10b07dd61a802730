"""`tidegate alerts`: what needs a person, and whether people are reached."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

from tidegate import errors
from tidegate.cli import connect, output
from tidegate.engine import matters, outbox
from tidegate.store import notices


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
        found = outbox.test(file)
        if not found:
            raise errors.ConfigError(
                "the configuration has no `alerts:`; add slack, email or webhook to it to be told"
            )
        if json:
            output.print_json(
                {"channels": [{"name": name, "error": said or None} for name, said in found.items()]}
            )
        for name, said in found.items():
            output.say(f"{name}: {said or 'sent'}")
        return 1 if any(found.values()) else 0
    with contextlib.closing(connect.store(file)) as store:
        listed = notices.listed(store, ended=ended)
    if json:
        output.print_json({"alerts": [_as_json(each) for each in listed]})
    elif not listed:
        output.say("nothing needs you")
    else:
        _table(listed)
    return 0


def _as_json(notice: notices.Notice) -> dict[str, Any]:
    told = {name: msgspec.to_builtins(each) for name, each in notice.told.items()}
    return {**dataclasses.asdict(dataclasses.replace(notice, told={})), "told": told}


def _table(listed: Sequence[notices.Notice]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("since", "told"):
        table.add_column(heading, no_wrap=True)
    table.add_column("", overflow="fold")
    for each in listed:
        ended = "" if each.resolved_at is None else f"Resolved {matters.moment(each.resolved_at)}. "
        table.add_row(matters.moment(each.opened_at), Text(_told(each)), Text(ended + each.text))
    output.console().print(table)


def _told(notice: notices.Notice) -> str:
    """The channels that were told, and those that fail."""
    words = [
        f"{name} fails" if each.tries and each.error else name
        for name, each in sorted(notice.told.items())
        if each.opened == notice.opened_at or each.tries
    ]
    return ", ".join(words) or "nobody"
