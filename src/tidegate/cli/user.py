"""`tidegate user`: who may sign in to the pages, and what each may do there."""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tidegate import config, errors, views
from tidegate.cli import connect, output
from tidegate.store import database, membership, people

URL = "http://127.0.0.1:8484"
"""Where `tidegate run` is by default."""


def user(
    action: Literal["add", "list", "role", "disable", "enable", "remove", "password", "link"],
    name: str | None = None,
    role: Literal["viewer", "operator", "editor", "admin"] | None = None,
    *,
    url: str | None = None,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    json: bool = False,
) -> int:
    """Say who may sign in to the pages, and what each may do.

    `add` prints a link on stdout with which the new member chooses a password, once
    and within 7 days; `link` prints another one, for who has lost the password. `role`
    gives a member another role, `disable` keeps one out and `enable` lets one in again;
    `remove` forgets one. `password` reads a password from standard input, or asks for
    it. Whoever may do less now, or has another password, is signed out everywhere.

    Parameters
    ----------
    action
        What to do.
    name
        The member: an e-mail address; with all but list.
    role
        With add and role: a viewer looks, an operator also begins and ends runs and approves plans, an editor also
        changes what is configured, an admin also decides who may do what; a viewer by default.
    url
        With add and link: where the member reaches the pages; by default `public_url` of the configuration, or
        http://127.0.0.1:8484.
    config_file
        The configuration; tidegate.yaml by default.
    json
        With list: print a JSON object, last on stdout.
    """
    if (name is None) != (action == "list"):
        raise errors.ConfigError(
            f"`tidegate user {action}` needs a name" if name is None else f"{action} takes no name"
        )
    if role is not None and action not in ("add", "role"):
        raise errors.ConfigError("a role goes with add and role")
    if role is None and action == "role":
        raise errors.ConfigError(f"say which role: `tidegate user role {name} editor`")
    if url is not None and action not in ("add", "link"):
        raise errors.ConfigError("--url goes with add and link")
    if json and action != "list":
        raise errors.ConfigError("--json goes with list")
    with contextlib.closing(database.open_database(connect.database_url(config_file))) as store:
        if action == "list":
            _list(people.listed(store), json)
        elif action in ("add", "link"):
            base = url or _reached(config_file)
            if action == "add":
                membership.add(store, _me(), name or "", role or "viewer")
            _link(store, name or "", base)
        else:
            _change(store, action, people.named(name or ""), role)
    return 0


def _change(store: database.Database, action: str, name: str, role: people.Role | None) -> None:
    match action:
        case "role":
            membership.change_role(store, _me(), name, role or "viewer")
            output.say(f"{name} is {_article(role or 'viewer')} now, and has to sign in again")
        case "disable":
            membership.disable(store, _me(), name)
            output.say(f"{name} is signed out everywhere, and cannot sign in any more")
        case "enable":
            membership.enable(store, _me(), name)
            output.say(f"{name} may sign in again")
        case "remove":
            ended = membership.remove(store, _me(), name)
            told = f", and the tokens {', '.join(ended)} are revoked" if ended else ""
            output.say(f"{name} is no member any more{told}")
        case "password":
            people.get(store, name)
            membership.set_password(store, _me(), name, _password(name))
            output.say(f"{name} has a new password, and is signed out everywhere")


def _link(store: database.Database, name: str, base: str) -> None:
    from tidegate.server import signing
    from tidegate.store import invitations

    member = people.get(store, name)
    secret = membership.invite(store, _me(), name)
    print(f"{base.rstrip('/')}{signing.ENTER}{secret}", flush=True)
    lasts = invitations.LASTS["invite" if member.state == "invited" else "reset"] / 3600
    within = f"{lasts / 24:g} days" if lasts > 24 else f"{lasts:g} hours"
    output.say(f"this link signs {member.name} in, once, within {within}; it is not shown again")


def _password(name: str) -> str:
    """The hash of a password that is typed, or comes on standard input."""
    from tidegate.server import passwords

    if sys.stdin.isatty():
        found = getpass.getpass(f"The new password of {name}: ")
        if found != getpass.getpass("Once more: "):
            raise errors.ConfigError("these are two different passwords; nothing was changed")
    else:
        found = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    passwords.check(found, name)
    return passwords.hashed(found)


def _reached(config_file: Path | None) -> str:
    """Where the pages are, as the configuration has it."""
    file: config.Config = connect.configuration(config_file, missing=config_file is None)
    return file.server.public_url or URL if file.server is not None else URL


def _me() -> membership.By:
    me = views.person()
    return membership.By(me.name, me.via)


def _article(role: people.Role) -> str:
    return f"{'a' if role == 'viewer' else 'an'} {role}"


def _list(found: Sequence[people.Member], json: bool) -> None:
    if json:
        output.print_json(
            {
                "members": [
                    {
                        "name": each.name,
                        "role": each.role,
                        "state": each.state,
                        "signs_in_by": each.signs_in_by,
                        "made_at": each.made_at,
                        "made_by": each.made_by,
                        "signed_in_at": each.signed_in_at,
                    }
                    for each in found
                ]
            }
        )
    elif not found:
        output.say("there are no members yet; `tidegate run` prints a link that makes the first one")
    else:
        _table(found)


def _table(found: Sequence[people.Member]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("name", "role", "state", "signs in by", "member since (UTC)", "last signed in (UTC)"):
        table.add_column(heading, no_wrap=heading != "name", overflow="fold")
    for each in found:
        table.add_row(
            Text(each.name),
            each.role,
            each.state,
            each.signs_in_by,
            _moment(each.made_at),
            "never" if each.signed_in_at is None else _moment(each.signed_in_at),
        )
    output.console().print(table)


def _moment(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M}"
