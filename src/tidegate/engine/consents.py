"""Whether the accounts that signed in with Stripe still agree: one that took it back is to be connected again.

Stripe says so itself (`account.application.deauthorized`), and a pull finds out when it is refused.
"""

from __future__ import annotations

import msgspec

from tidegate import config, errors
from tidegate.store import database, notices

EVENT = "account.application.deauthorized"
KIND = "consent"
AGAIN = "connect it again"
"""What the error of a run says that was refused for this."""


class _Application(msgspec.Struct):
    id: str = ""


class _Data(msgspec.Struct):
    object: _Application = msgspec.field(default_factory=_Application)


class _Event(msgspec.Struct):
    account: str = ""
    data: _Data = msgspec.field(default_factory=_Data)


def withdrawn(file: config.Config, store: database.Database, body: bytes) -> list[str]:
    """Note that an account took back what it had agreed to, as an event says; the connections that it was for."""
    try:
        event = msgspec.json.decode(body, type=_Event)
    except msgspec.MsgspecError:
        return []
    found = [name for name, each in file.stripe.items() if _is_of(each, event)]
    notices.settle(store, "", [_matter(name, event.account) for name in found])
    return found


def given(file: config.Config, store: database.Database, name: str) -> None:
    """Note that an account has agreed (again), or that nobody is to any more."""
    others = [_name(each) for each in file.stripe if each != name]
    notices.settle(store, "", [], (KIND,), spared=others)


def tidy(file: config.Config, store: database.Database) -> None:
    """Forget those of connections that are gone."""
    notices.settle(store, "", [], (KIND,), spared=[_name(each) for each in file.stripe])


def missing(file: config.Config, store: database.Database, name: str) -> str:
    """Why a connection has to be connected again, as Stripe or its flows said; empty where it need not."""
    flows = {f"pull:{each}" for each, pull in file.pulls.items() if pull.connection == name}
    flows |= {f"pipeline:{each}" for each, it in file.pipelines.items() if it.connection == name}
    flows |= {f"push:{each}" for each, push in file.pushes.items() if push.connection == name}
    for each in notices.listed(store):
        if each.matter == _name(name) or (
            each.flow in flows and each.kind == "failed" and AGAIN in each.text
        ):
            return each.text
    return ""


def _is_of(connection: config.Connection, event: _Event) -> bool:
    oauth = connection.oauth
    if oauth is None or oauth.access_token is None or not event.account:
        return False
    return oauth.account == event.account and event.data.object.id in ("", oauth.client_id)


def _matter(name: str, account: str) -> notices.Matter:
    text = (
        f"{name}: the account {account} has disconnected Tidegate at Stripe, so that its data can be read no more. "
        f"What was pulled stays; {AGAIN} on the page of {name} under Stripe accounts, or remove {name}."
    )
    return notices.Matter(_name(name), KIND, "", text)


def _name(connection: str) -> str:
    return f"{KIND}/{connection}"


def not_signed_in(name: str) -> errors.ConfigError:
    """What is said where a connection has no account."""
    return errors.ConfigError(f"Nobody has signed in over {name}; sign in with Stripe first.")
