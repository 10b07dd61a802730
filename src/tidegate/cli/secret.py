"""`tidegate secret`: what the configuration names as `${secret:NAME}`, kept encrypted in the metadata database."""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tidegate import errors, views
from tidegate.cli import connect, output
from tidegate.store import database, secrets
from tidegate.views import vault


def secret(
    action: Literal["set", "list", "rm", "key", "rotate"],
    name: str | None = None,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    json: bool = False,
) -> int:
    """Keep the secrets that the configuration names, encrypted.

    `set` reads the value from standard input, or asks for it: it is never an argument,
    which other people of the machine could read. `list` shows names, and `rm` forgets
    one. `key` prints a new key for TIDEGATE_SECRET_KEY; `rotate` encrypts all secrets
    with the newest key.

    Parameters
    ----------
    action
        What to do.
    name
        With set and rm: the secret's name, which `${secret:NAME}` in the configuration stands for.
    config_file
        The configuration, of which only `database` is read; tidegate.yaml by default.
    json
        With list: print a JSON object.
    """
    if (name is not None) != (action in ("set", "rm")):
        raise errors.ConfigError(
            f"`tidegate secret {action}` needs a name" if name is None else f"{action} takes no name"
        )
    if json and action != "list":
        raise errors.ConfigError("--json goes with list")
    if action == "key":
        print(secrets.new_key())
        return 0
    with contextlib.closing(database.open_database(connect.database_url(config_file))) as store:
        if action == "set":
            _set(store, name or "")
        elif action == "rm":
            if not vault.remove(store, views.person(), name or ""):
                raise errors.ConfigError(f"there is no secret {name}; `tidegate secret list` shows them")
            output.say(f"{name} is forgotten")
        elif action == "rotate":
            _rotate(store)
        else:
            _list(secrets.vault(store), json)
    return 0


def _set(store: database.Database, name: str) -> None:
    if not vault.NAME.fullmatch(name):
        raise errors.ConfigError(
            "a secret's name is of letters, digits and _ . / - and begins with one of the first two"
        )
    secrets.vault(store)  # without a key nothing needs to be asked
    if sys.stdin.isatty():
        value = getpass.getpass(f"{name}: ")
    else:
        value = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if not value:
        raise errors.ConfigError("the secret is empty; nothing was changed")
    vault.put(store, views.person(), name, value)
    output.say(f"{name} is kept; write ${{secret:{name}}} in the configuration")


def _rotate(store: database.Database) -> None:
    given = os.environ.get(secrets.VARIABLE, "")
    count = vault.rotate(store, views.person())
    done = f"{output.counted(count, 'secret')} {'is' if count == 1 else 'are'} encrypted with the newest key"
    output.say(done + (f"; the others may leave {secrets.VARIABLE}" if given else ""))


def _list(vault: secrets.Vault, json: bool) -> None:
    found = vault.names()
    if json:
        output.print_json({"secrets": [{"name": name, "changed_at": at} for name, at in found.items()]})
        return
    if not found:
        output.say("there are no secrets yet; `tidegate secret set NAME` keeps one")
    width = max(map(len, found), default=0)
    for name, at in found.items():
        print(f"{name:<{width}}  {dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M} UTC")
