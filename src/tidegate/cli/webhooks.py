"""`tidegate webhooks`: endpoints at Stripe, made and removed, and what came through them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tidegate import config, errors, views
from tidegate.cli import connect, output
from tidegate.engine import endpoints, traffic
from tidegate.store import database
from tidegate.views import account_webhooks


def webhooks(
    action: Literal["enable", "disable", "list", "replay", "test"],
    connection: str | None = None,
    *,
    url: str | None = None,
    rotate: bool = False,
    since: str | None = None,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    json: bool = False,
) -> int:
    """Have Stripe deliver events as they happen, and see how that goes.

    `enable` makes the endpoint at Stripe, or brings it up to date; `disable` removes
    it; `list` shows what there is; `replay` has what was delivered heard again; `test`
    delivers a signed event to ourselves.

    Parameters
    ----------
    action
        What to do.
    connection
        The connection under `stripe:`; may be left out where there is one only.
    url
        With enable: the address at which Stripe reaches `tidegate run`, such as https://tidegate.example.com.
        With test: the address to try instead of the known one.
    rotate
        With enable: make the endpoint anew with another secret; the old one is taken for another day.
    since
        With replay: how long back, such as 2h or 3d; everything that is kept by default.
    config_file
        The configuration; tidegate.yaml by default.
    json
        With list: print a JSON object.
    """
    _fits(action, url=url, rotate=rotate, since=since, json=json)
    file = connect.configuration(config_file)
    with contextlib.closing(connect.store(file)) as store:
        if action == "list":
            _list(file, store, connection, json)
            return 0
        name, who = _only(file, connection), views.person()
        match action:
            case "enable":
                if url is None:
                    raise errors.ConfigError("say with --url where Stripe reaches this server")
                _enable(file, store, name, url, rotate)
            case "disable":
                with account_webhooks.disabling(store, who, name) as made:
                    gone = asyncio.run(endpoints.disable(file, store, name, intent=made.begin))
                    made.known["removed"] = gone
                output.say(f"removed {output.counted(gone, 'endpoint')} of {name}; events are read as before")
            case "replay":
                seconds = account_webhooks.since(since)
                heard = account_webhooks.replayed(file, store, who, name, seconds)
                for flow, count in heard.items():
                    output.say(f"{flow} hears {output.counted(count, 'event')} again")
            case "test":
                target = asyncio.run(traffic.prove(file, store, name, url or ""))
                account_webhooks.proved(store, who, name, target)
                output.say(f"{target} took a signed event, and would have kept it")
    return 0


def _enable(file: config.Config, store: database.Database, name: str, url: str, rotate: bool) -> None:
    with account_webhooks.enabling(store, views.person(), name, url, rotate=rotate) as made:
        every = asyncio.run(endpoints.enable(file, store, name, url, rotate=rotate, intent=made.begin))
        made.after = account_webhooks.told(every)
    for done in every:
        whose = "connected accounts" if done.scope == "connect" else "the account"
        count = output.counted(done.types, "event type")
        output.say(f"{done.id} {'made' if done.made else 'up to date'}: {count} of {whose} to {done.url}")
        if done.left_out:
            output.say(f"this Stripe does not know {', '.join(done.left_out)}; they are left out")
    output.say(f"next: tidegate run, then tidegate webhooks test {name}")


def _list(file: config.Config, store: database.Database, name: str | None, json: bool) -> None:
    if name is not None:
        endpoints.connection(file, name)
    told = asyncio.run(endpoints.listed(file, store, name or ""))
    names = [name] if name is not None else list(file.stripe)
    delivered = {each: traffic.delivered(file, store, each) for each in names}
    if json:
        output.print_json(
            {
                "endpoints": [
                    {**dataclasses.asdict(each.kept), "status": each.status, "types": each.types}
                    for each in told
                ],
                "connections": {each: dataclasses.asdict(found) for each, found in delivered.items()},
            }
        )
        return
    if not told:
        output.say(
            "there are no endpoints; `tidegate webhooks enable CONNECTION --url https://...` makes one"
        )
    if told or any(found.kept for found in delivered.values()):
        _table(told, delivered)


def _table(told: Sequence[endpoints.Told], delivered: dict[str, traffic.Traffic]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("connection", "of", "endpoint", "version"):
        table.add_column(heading, no_wrap=True)
    for heading in ("types", "kept", "waiting"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("last delivery (UTC)", no_wrap=True)
    table.add_column("status and address", overflow="fold")
    left = dict(delivered)
    for each in told:
        row = each.kept
        found = left.pop(row.connection, None)
        table.add_row(
            row.connection,
            row.scope,
            row.id,
            row.version,
            "" if each.types is None else f"{each.types:,}",
            *_counts(found),
            Text(f"{each.status}, {row.url}"),
        )
    for name, found in left.items():
        if found.kept:
            table.add_row(name, "", "", "", "", *_counts(found), "an endpoint made by hand")
    output.console().print(table)


def _counts(found: traffic.Traffic | None) -> tuple[str, str, str]:
    if found is None:
        return "", "", ""
    last = "" if found.last is None else f"{dt.datetime.fromtimestamp(found.last, dt.UTC):%Y-%m-%d %H:%M:%S}"
    return f"{found.kept:,}", f"{found.waiting:,}", last


def _only(file: config.Config, name: str | None) -> str:
    if name is None:
        if len(file.stripe) != 1:
            known = ", ".join(file.stripe) or "none"
            raise errors.ConfigError(f"say which connection; the configuration has {known}")
        return next(iter(file.stripe))
    endpoints.connection(file, name)
    return name


def _fits(action: str, *, url: str | None, rotate: bool, since: str | None, json: bool) -> None:
    """Raises ConfigError for a flag that goes with another action."""
    given = {"url": url is not None, "rotate": rotate, "since": since is not None, "json": json}
    fitting = {"enable": ("url", "rotate"), "test": ("url",), "replay": ("since",), "list": ("json",)}
    for flag, there in given.items():
        if there and flag not in fitting.get(action, ()):
            raise errors.ConfigError(f"--{flag} does not go with `tidegate webhooks {action}`")
