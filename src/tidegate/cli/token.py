"""`tidegate token`: what programs present that begin runs over HTTP."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tidegate import errors, views
from tidegate.cli import connect, output
from tidegate.config import values
from tidegate.engine import flows
from tidegate.store import database, tokens

LONGEST = 3650 * 86_400.0
"""Seconds that a token which expires may last."""


def token(
    action: Literal["create", "list", "revoke"],
    name: str | None = None,
    *,
    scope: Literal["read", "run", "write", "admin"] | None = None,
    flow: Annotated[list[str] | None, Parameter(negative=())] = None,
    expires: str | None = None,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    json: bool = False,
) -> int:
    """Make, list and revoke what programs need to begin runs over HTTP.

    `create` prints a new token on stdout, once: only its SHA-256 is kept. `list` shows
    what there is, and when it was last used; `revoke` ends one at once.

    Parameters
    ----------
    action
        What to do.
    name
        With create and revoke: the token's name.
    scope
        With create: what it may do; `read` looks at runs, `run` (the default) begins them too; each of the others
        includes those before it.
    flow
        With create: a flow that it is for, such as everything or pull:everything; may be given several times. It is
        for all flows otherwise.
    expires
        With create: how long it lasts, such as 90d; until it is revoked otherwise.
    config_file
        The configuration; tidegate.yaml by default.
    json
        With list: print a JSON object, last on stdout.
    """
    if (name is not None) != (action in ("create", "revoke")):
        raise errors.ConfigError(
            f"`tidegate token {action}` needs a name" if name is None else f"{action} takes no name"
        )
    given = {"--scope": scope, "--flow": flow, "--expires": expires}
    if action != "create" and (wrong := next((flag for flag, value in given.items() if value), None)):
        raise errors.ConfigError(f"{wrong} goes with create")
    if json and action != "list":
        raise errors.ConfigError("--json goes with list")
    lasts = None if expires is None else _lasts(expires)
    chosen: list[str] = []
    if flow:
        file = connect.configuration(config_file)
        chosen = [flows.of(file, each).name for each in flow]
    with contextlib.closing(database.open_database(connect.database_url(config_file))) as store:
        me = views.person()
        match action:
            case "create":
                made = tokens.create(
                    store, name or "", scope or "run", flows=chosen, lasts=lasts, who=me.name, via=me.via
                )
                print(made, flush=True)
                output.say(f"this is {name}; it is not shown again, and only its SHA-256 is kept")
            case "revoke":
                if not tokens.revoke(store, name or "", who=me.name, via=me.via):
                    raise errors.ConfigError(f"there is no token {name}; `tidegate token list` shows them")
                output.say(f"{name} is revoked")
            case "list":
                _list(tokens.listed(store), store.now(), json)
    return 0


def _lasts(text: str) -> float:
    try:
        found = values.duration(text).total_seconds()
    except ValueError as error:
        raise errors.ConfigError(f"--expires: {error}") from None
    except OverflowError:
        found = 0.0
    if not 0 < found <= LONGEST:
        raise errors.ConfigError("--expires: give a time between 1s and 3650d, such as 90d")
    return found


def _list(found: Sequence[tokens.Token], now: float, json: bool) -> None:
    if json:
        output.print_json(
            {
                "tokens": [
                    {
                        "name": each.name,
                        "begins": each.start,
                        "scope": each.scope,
                        "made_by": each.made_by or None,
                        "flows": list(each.flows),
                        "made_at": each.made_at,
                        "used_at": each.used_at,
                        "expires_at": each.expires_at,
                        "expired": _is_over(each, now),
                    }
                    for each in found
                ]
            }
        )
    elif not found:
        output.say("there are no tokens yet; `tidegate token create NAME` makes one")
    else:
        _table(found, now)


def _table(found: Sequence[tokens.Token], now: float) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("name", "begins", "scope", "made (UTC)", "last used (UTC)", "expires (UTC)", "made by"):
        table.add_column(heading, no_wrap=True)
    table.add_column("flows", overflow="fold")
    for each in found:
        table.add_row(
            Text(each.name),
            f"{each.start}...",
            each.scope,
            _moment(each.made_at, ""),
            _moment(each.used_at, "never"),
            "expired" if _is_over(each, now) else _moment(each.expires_at, "never"),
            Text(f"{each.made_by} (disabled)" if each.resting else each.made_by or "command line"),
            Text(", ".join(each.flows) or "all"),
        )
    output.console().print(table)


def _moment(at: float | None, otherwise: str) -> str:
    return otherwise if at is None else f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M}"


def _is_over(each: tokens.Token, now: float) -> bool:
    return each.expires_at is not None and each.expires_at <= now
