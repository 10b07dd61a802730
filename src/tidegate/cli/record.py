"""`tidegate record`: the whole history of a row of a push, with what each write changed."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate.cli import connect, output
from tidegate.views import records as views

WIDE = 60
"""Characters of a value that are shown."""


def record(
    push: str,
    key: str | None = None,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    json: bool = False,
) -> int:
    """Show what became of a row of a push: writes, holds, decisions.

    Of each write what the object had before and after, with the id of the request.

    Parameters
    ----------
    push
        A push of the configuration; or, without a key, the idempotency key of one of its
        requests as Stripe's logs and events show it, or an operation's id.
    key
        The key of the row.
    config_file
        The configuration; tidegate.yaml by default.
    json
        Print a JSON object, last on stdout.
    """
    file = connect.configuration(config_file)
    with contextlib.closing(connect.store(file)) as store:
        if key is None:
            push, key = views.named(store, push)
        found = views.one(store, push, key)
    if json:
        entries = [{**dataclasses.asdict(each), "changes": found.told(each)} for each in found.entries]
        link = found.link
        place = None if link is None else views.page(link)
        output.print_json({"object": link and link.target, "dashboard": place, "entries": entries})
        return 0
    _show(found)
    return 0


def _show(found: views.Record) -> None:
    from rich import box
    from rich.table import Table

    push, key, link, hold = found.push, found.key, found.link, found.hold
    screen = output.console()
    if link is None:
        screen.print(f"{key} of {push}: it has no object yet")
    else:
        gone = {"": "", "deleted": ", which it deleted", "missing": ", which somebody deleted"}[link.gone]
        mode = "live mode" if link.livemode else "test mode"
        screen.print(f"{key} of {push}: {link.object} {link.target} of {link.account}, {mode}{gone}")
        if (place := views.page(link)) and (hold is None or hold.kind != "gone"):
            screen.print(place, soft_wrap=True)
    if hold is not None:
        screen.print(f"{hold.kind}, {hold.state}: {hold.text}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("when (UTC)", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("", overflow="fold")
    last = ""
    for each in found.entries:
        when = f"{dt.datetime.fromtimestamp(each.at, dt.UTC):%Y-%m-%d %H:%M:%S}"
        told = [each.text] if each.text else []
        told += [f"  {path}: {_change(*pair)}" for path, pair in found.told(each).items()]
        if each.operation and each.operation != last:
            told.append(f"  {each.operation}")
        last = each.operation or last
        table.add_row(when, each.what, "\n".join(told))
    screen.print(table)
    if hold is not None:
        screen.print(f"`tidegate inbox {push} {key}` shows what can be done.")


def _change(before: str | None, after: str | None) -> str:
    return _cut(after) if before is None else f"{_cut(before)} -> {_cut(after)}"


def _cut(value: str | None) -> str:
    value = value or "(empty)"
    return value if len(value) <= WIDE else f"{value[: WIDE - 1]}…"
