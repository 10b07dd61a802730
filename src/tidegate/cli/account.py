"""`tidegate account`: sign in with Stripe from a terminal, for a connection with `oauth`, and take that back."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tidegate import views
from tidegate.cli import asking, connect, output
from tidegate.views import oauth

BACK = "http://127.0.0.1:8484/accounts/-/signed-in"
"""Where `tidegate run` takes those who come back, unless it is told another address."""


def account(
    action: Literal["sign-in", "disconnect"],
    connection: str,
    *,
    write: bool = False,
    back: str = BACK,
    yes: bool = False,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
) -> int:
    """Sign in with Stripe for a connection with `oauth`, or out.

    `sign-in` prints the address at Stripe where the owner of the account agrees, and
    waits for the address that the browser is sent back to; the account's key is kept
    encrypted. `disconnect` tells Stripe, and forgets the key.

    Parameters
    ----------
    action
        What to do.
    connection
        The connection under `stripe:`.
    write
        With sign-in: ask for leave to write, too, as pushes need.
    back
        With sign-in: where Stripe sends the browser back to; one of the redirect
        URIs of your Connect settings. Nobody needs to answer there.
    yes
        With disconnect: do not ask.
    config_file
        The configuration; tidegate.yaml by default.
    """
    with connect.place(config_file) as place:
        who = views.person()
        if action == "disconnect":
            if not yes:
                oauth.connected(place, connection)
                question = (
                    f"Stripe is told, and the key of {connection} is forgotten; its flows rest then. Do it?"
                )
                asking.confirm(question, action="disconnect", undone=f"{connection} stays as it is")
            there = oauth.disconnect(place, who, connection)
            output.say(
                f"{connection} is disconnected"
                if there
                else f"Stripe knew of no sign-in for {connection} any more"
            )
            return 0
        session = secrets.token_urlsafe(16)
        address = oauth.depart(place, connection, session, back, write=write)
        output.say("open this address, sign in as the owner of the account, and agree:")
        print(address, flush=True)
        output.say("then paste the address that the browser was sent back to:")
        state, code = oauth.answered(sys.stdin.readline())
        found = oauth.arrive(place, who, session, state, code)
    may = "read and write" if found.scope == "read_write" else "read"
    output.say(
        f"{found.account} signed in ({'LIVE' if found.live else 'TEST'}); {found.name} may {may} its data"
    )
    return 0
