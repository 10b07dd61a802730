"""Sign in with Stripe: a connection whose key its account gives when somebody signs in, and may take back.

The way there and back belongs to one session: it is begun once, ended once, and over after ten minutes.
"""

from __future__ import annotations

import secrets
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tidegate import config, errors, views
from tidegate.config import flows
from tidegate.engine import consents, editing, grants, refusals
from tidegate.engine import place as places
from tidegate.store import journeys, trail
from tidegate.stripe import signing
from tidegate.views import accounts, outside

TRIES = 5
"""Changes of others in between after which one gives up."""


@dataclass(frozen=True, slots=True)
class Consent:
    """How the sign-in of a connection stands."""

    name: str
    client_id: str
    account: str
    """The account that signed in, also where it has taken that back; empty before."""
    last4: str
    """Of its key; empty where there is none."""
    withdrawn: str
    """Why it has to be connected again, in a sentence; empty where it need not."""
    writes: bool
    """Do syncs to Stripe go over it, which a sign-in that only reads does not let them?"""
    locked: str
    """Why nobody can sign in here; empty where one can."""

    @property
    def signed_in(self) -> bool:
        """Is there a key?"""
        return bool(self.last4)


@dataclass(frozen=True, slots=True)
class Arrived:
    """Who came back: the account's key is kept."""

    name: str
    account: str
    scope: signing.Scope
    live: bool
    next: str
    """Where to go on."""


class Denied(views.Refused):
    """The person did not agree at Stripe; nothing was changed."""

    def __init__(self, name: str, next: str) -> None:
        super().__init__(f"Stripe was not given leave to connect the account, so {name} stays as it is.")
        self.name, self.next = name, next


def standing(place: places.Place, name: str) -> Consent:
    """How the sign-in of a connection stands; raises Unknown, also for one that has a key of its own."""
    oauth = _oauth(place.file, name)
    token = "" if oauth.access_token is None else oauth.access_token.get_secret_value()
    locked = ""
    if (part := _filed(place, name)) is not None and "access_token" in part.body.get("oauth", {}):
        line = f", line {part.line}" if part.line else ""
        locked = (
            f"The key of {name} is written in tidegate.yaml{line}; take `access_token` out of its `oauth` there to "
            "sign in here."
        )
    return Consent(
        name,
        oauth.client_id,
        oauth.account or "",
        token[-4:] if len(token) >= 12 else "",
        consents.missing(place.file, place.store, name)
        or (refusals.why(place.file, place.store, name) if token else ""),
        any(push.connection == name for push in place.file.pushes.values()),
        locked,
    )


def depart(
    place: places.Place, name: str, session: str, back: str, *, write: bool = False, next: str = "/"
) -> str:
    """The address at Stripe to send a member to, who comes back to `back` in the same session.

    Raises Unknown, and Refused where the sign-in could not be kept.
    """
    oauth, found = _oauth(place.file, name), standing(place, name)
    if found.locked:
        raise views.Refused(found.locked)
    state = secrets.token_urlsafe(32)
    scope: signing.Scope = "read_write" if write else "read_only"
    journeys.begin(place.store, state, _browser(session), journeys.Journey(name, scope, next))
    return signing.address(oauth.client_id, back, state, scope, at=_at(place.file, name))


def answered(address: str) -> tuple[str, str]:
    """State and code of the address that somebody was sent back to; raises ConfigError for what is none."""
    try:
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address.strip()).query))
    except ValueError:  # brackets that are no address of IPv6
        asked = {}
    if "state" not in asked:
        raise errors.ConfigError(
            "this is not the address that Stripe sends people back to, which has `state=` in it; nothing was kept"
        )
    return asked["state"], asked.get("code", "")


def arrive(place: places.Place, who: views.Who, session: str, state: str, code: str) -> Arrived:
    """Somebody is back with a code: exchange it, and keep the account's key.

    Raises Refused for a state that is not this session's, was used, or is older than ten minutes, and for another
    account than the one whose data the connection has pulled; Denied without a code; what Stripe says against it.
    """
    journey = journeys.end(place.store, state, _browser(session))
    if journey is None:
        raise views.Refused(
            "This sign-in with Stripe did not begin in this session, was used already, or took longer than ten "
            "minutes; begin it again on the page of the connection."
        )
    name = journey.nonce
    oauth = _oauth(place.file, name)
    if not code:
        raise Denied(name, journey.next)
    secret, at = oauth.client_secret.get_secret_value(), _at(place.file, name)
    grant = outside.stripe(name, lambda: signing.exchange(secret, code, at=at))

    def alter(body: Mapping[str, Any]) -> dict[str, Any]:
        known = body["oauth"].get("account")  # somebody else may have signed in while this one agreed
        if known and known != grant.account:
            raise _another(name, known, grant.account)
        added = {"account": grant.account, "access_token": grant.access_token}
        return {**body, "oauth": {**body["oauth"], **added}}

    try:
        if _filed(place, name) is not None:
            kept = grants.Grant(oauth.client_id, grant.account, grant.access_token)
            known = grants.keep(place.store, name, kept, who.name, who.via, only=oauth.account or "")
            if known != grant.account:
                raise _another(name, known, grant.account)
            place.look()
        else:
            _change(place, who, name, alter)
    except views.Refused:
        _give_back(place, who, name, oauth, grant.account)
        raise
    consents.given(place.file, place.store, name)
    return Arrived(name, grant.account, grant.scope, grant.live, journey.next)


def _another(name: str, known: str, account: str) -> views.Refused:
    return views.Refused(
        f"{account} signed in, but {name} is connected to {known}. Sign in with {known}, or disconnect it first, "
        f"or add another connection for {account}."
    )


def connected(place: places.Place, name: str) -> str:
    """The account that may be disconnected; raises Unknown and Refused as `disconnect` does."""
    oauth, found = _oauth(place.file, name), standing(place, name)
    if found.locked:
        raise views.Refused(found.locked)
    if oauth.account is None:
        raise consents.not_signed_in(name)
    return oauth.account


def disconnect(place: places.Place, who: views.Who, name: str) -> bool:
    """Take the sign-in back, at Stripe first and here then; False where Stripe knew of none any more.

    Its flows rest from then on, with a sentence that says why, until somebody signs in again. Raises Unknown,
    Refused, and what Stripe says.
    """
    oauth = _oauth(place.file, name)
    account = connected(place, name)
    others = _others(place.file, name, oauth.client_id, account)
    with trail.around(place.store, _undoing(who, name), account=account) as made:
        there = True if others else _undo(place, name, oauth, account, made)
        made.begin()
        grants.forget(place.store, name)
        if _filed(place, name) is None:
            _change(place, who, name, _without)
    place.look()
    consents.given(place.file, place.store, name)
    return there


def _filed(place: places.Place, name: str) -> editing.Object | None:
    """The connection as the file has it; None for one that was made here, or by the API."""
    part = editing.get(place, "stripe", name)
    return part if part is not None and part.origin == "file" else None


def _without(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a connection without what signing in gave."""
    oauth = {key: each for key, each in body["oauth"].items() if key not in ("account", "access_token")}
    return {**body, "oauth": oauth}


def _change(
    place: places.Place, who: views.Who, name: str, alter: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> None:
    """Change a connection, whatever else somebody changes of it meanwhile."""
    for last in (*[False] * (TRIES - 1), True):
        part = editing.get(place, "stripe", name)
        if part is None:
            raise views.Unknown(f"The connection {name} was removed meanwhile.")
        try:
            body = alter(editing.shown(place, part))
            editing.change(place, who.name, "stripe", name, body, part.version, via=who.via)
        except errors.StoreConflict:
            if last:
                raise
        else:
            break
    place.look()


def _give_back(place: places.Place, who: views.Who, name: str, oauth: flows.OAuth, account: str) -> None:
    """Take back at Stripe what the wrong account has given, unless another connection lives by it."""
    if _others(place.file, name, oauth.client_id, account):
        return
    with trail.around(place.store, _undoing(who, name), account=account) as made:
        _undo(place, name, oauth, account, made)


def _undoing(who: views.Who, name: str) -> trail.Note:
    return trail.Note(who.name, "disconnect", f"stripe.{name}", via=who.via)


def _undo(place: places.Place, name: str, oauth: flows.OAuth, account: str, made: trail.Elsewhere) -> bool:
    """Take a sign-in back at Stripe; False where it knew of none any more."""
    secret, at = oauth.client_secret.get_secret_value(), _at(place.file, name)

    async def ask() -> bool:
        made.begin()
        return await signing.disconnect(oauth.client_id, secret, account, at=at)

    there = outside.stripe(name, ask, patience=30.0)
    made.known["stripe"] = "disconnected" if there else "knew of none"
    return there


def _others(file: config.Config, name: str, client_id: str, account: str) -> list[str]:
    """Other connections by which the same account signed in to the same platform: Stripe knows one consent only."""
    return [
        each
        for each, found in file.stripe.items()
        if each != name
        and found.oauth is not None
        and found.oauth.access_token is not None
        and (found.oauth.client_id, found.oauth.account) == (client_id, account)
    ]


def _oauth(file: config.Config, name: str) -> flows.OAuth:
    found = accounts.named(file, name)
    if found.oauth is None:
        raise views.Unknown(f"The connection {name} has a key of its own; nobody signs in for it.")
    return found.oauth


def _at(file: config.Config, name: str) -> str:
    return signing.base(file.stripe[name].api_base)


def _browser(session: str) -> str:
    """What a journey belongs to; not the same as for signing in here, so that one cannot stand for the other."""
    return f"stripe:{session}"
