"""Signing in: by password, by a link that works once, or by an OpenID provider; and signing out.

Whoever signs in gets a new session, so that nobody's browser keeps one that somebody else knew before (session
fixation). Forms of people who are not signed in yet carry a token of a cookie of their own, since being signed in
as somebody else unawares is a harm, too. Names that are unknown get the same answers, and in the same time. Who
guesses a password slows its owner down only in browsers in which the owner has not signed in yet: see `devices`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette import requests, responses

from tidegate import config, errors
from tidegate.server import access, asking, devices, passwords, problems, shield
from tidegate.server import desk as desks
from tidegate.store import attempts, invitations, journeys, membership, people, sessions

ENTER = "/enter/"
"""Where links lead that sign in once; the link's secret follows."""
NAMES = (10, 30.0)
"""Attempts for one name at once, and the seconds until one more."""
ADDRESSES = (30, 10.0)
"""The same of one address."""
DEPARTURES = (60, 5.0)
"""The same of one address that sends browsers to an OpenID provider."""
log = logging.getLogger(__name__)

_guessed = problems.Rarely(log)
_WRONG = "The name or the password is wrong."


@dataclass(frozen=True, slots=True)
class Browser:
    """Where a request comes from, as far as sessions tell it to their members."""

    address: str
    agent: str
    local: bool
    """Is it on this machine, with nothing in between?"""
    session: str
    """The secret of the session that it has already, or nothing."""
    device: str = ""
    """What it shows of having signed in before, or nothing."""

    @classmethod
    def of(cls, request: requests.Request) -> Browser:
        """That of a request."""
        return cls(
            access.address(request),
            request.headers.get("user-agent", ""),
            shield.is_local(request.scope),
            asking.secret_of(request),
            devices.shown(request),
        )


def by_password(desk: desks.Desk, browser: Browser, name: str, password: str) -> str:
    """Sign in by name and password; the new session's secret.

    Raises Problem: 401 where one of them is wrong, 429 after too many attempts.
    """
    store = desk.place.store
    found = people.password(store, name)
    kept = None if found is None else found[1]
    buckets = _buckets(browser, name, kept)
    _take(desk, buckets)
    if not passwords.same(kept, password) or found is None or kept is None:
        _guessed.warn("Somebody gave a name or a password that is wrong, and was not let in.")
        raise problems.Problem(401, _WRONG)
    attempts.right(store, buckets)
    member = found[0]
    if passwords.is_outdated(kept):
        membership.rehash(store, member.id, kept, passwords.hashed(password))
    return _begin(desk, browser, member, "password")


def by_link(desk: desks.Desk, browser: Browser, link: str, name: str, password: str) -> str:
    """Use a link, choosing a password, and for the first admin a name; the new session's secret.

    On this machine the password may be empty. Raises ConfigError for a password that will not do, and Problem for a
    link that is unknown, used or over.
    """
    store = desk.place.store
    _take(desk, [attempts.Bucket(f"address:{browser.address}", *ADDRESSES)])
    found = look(desk, link)
    known = found.member.name if found.member is not None else people.named(name)
    if password or not browser.local:
        passwords.check(password, known)
    secret = sessions.new()
    member = membership.accept(
        store,
        link,
        password=passwords.hashed(password) if password else "",
        session_secret=secret,
        name=known,
        address=browser.address,
        agent=browser.agent,
    )
    if member is None:
        raise _used()
    return secret


def look(desk: desks.Desk, link: str) -> invitations.Link:
    """What a link is for; raises Problem for one that is unknown, used or over."""
    found = invitations.look(desk.place.store, link)
    if found is None:
        raise _used()
    return found


def change_password(desk: desks.Desk, browser: Browser, asker: asking.Asker, current: str, new: str) -> str:
    """Give who asks another password, signed out everywhere but here; the new session's secret.

    Raises ConfigError for a password that will not do, and Problem where `current` is not the one there was.
    """
    store = desk.place.store
    if not asker.member:
        raise problems.Problem(403, "A token has no password; sign in with a browser.")
    found = people.password(store, asker.name)
    buckets = _buckets(browser, asker.name, None if found is None else found[1])
    _take(desk, buckets)
    if found is not None and not passwords.same(found[1], current):
        raise problems.Problem(422, "This is not your current password.")
    attempts.right(store, buckets)
    passwords.check(new, asker.name)
    secret = sessions.new()
    membership.set_password(
        store,
        membership.By(asker.name, asker.via),
        asker.name,
        passwords.hashed(new),
        session_secret=secret,
        address=browser.address,
        agent=browser.agent,
    )
    return secret


def by_claims(desk: desks.Desk, browser: Browser, client: config.OpenID, claims: Mapping[str, Any]) -> str:
    """Sign in whom an OpenID provider named; the new session's secret. Raises Problem for who is no member.

    A member is known by what the provider calls the person for ever, `sub`. Only a verified address of e-mail makes
    somebody the member of that name: providers let people write what they like there.
    """
    store = desk.place.store
    subject = str(claims["sub"])
    role = _role(client, claims)
    if client.roles is not None and role is None:
        raise problems.Problem(403, "The sign-in provider gives you no role here; ask who keeps it.")
    email = str(claims.get("email") or "").strip().lower()
    verified = claims.get("email_verified") in (True, "true")
    by = membership.By(email or subject, "oidc")
    member = people.subject(store, client.issuer, subject)
    if member is None and verified and email:
        member = people.find(store, email)
        if member is not None:
            if member.issuer == client.issuer:
                raise problems.Problem(403, f"Somebody else of this provider is {email} here; ask an admin.")
            if member.state != "disabled":
                membership.link_subject(store, by, member.name, client.issuer, subject)
    if member is None:
        allowed = verified and email.rpartition("@")[2] in client.allowed_domains
        if role is None and not allowed:
            raise problems.Problem(403, "You are no member here yet; ask an admin to invite you.")
        name = email or str(claims.get("preferred_username") or "")
        try:
            member = membership.add(store, by, name, role or "viewer", issuer=client.issuer, subject=subject)
        except errors.ConfigError:
            raise problems.Problem(403, "The sign-in provider tells no e-mail address of you.") from None
        except errors.StoreConflict:
            member = people.subject(store, client.issuer, subject)
            if member is None:  # or else it is the same person, in two browsers at once
                raise problems.Problem(
                    403, f"There is a member {name} already, and the provider has not verified your address."
                ) from None
    if member.state == "disabled":
        raise problems.Problem(403, f"{member.name} is disabled here; ask an admin.")
    if role is not None and role != member.role:
        try:
            membership.change_role(store, by, member.name, role)
        except errors.StoreConflict:
            log.warning("The sign-in provider takes the role from the last admin, who keeps it.")
    return _begin(desk, browser, member, "oidc")


def depart(desk: desks.Desk, browser: Browser, state: str, form: str, journey: journeys.Journey) -> None:
    """Note that a browser goes to the OpenID provider; `form` is the secret of its form's cookie."""
    _take(desk, [attempts.Bucket(f"departure:{browser.address}", *DEPARTURES)])
    journeys.begin(desk.place.store, state, form, journey)


def back(desk: desks.Desk, state: str, form: str) -> journeys.Journey:
    """The journey from which a browser comes back; raises Problem where it did not leave from here."""
    found = journeys.end(desk.place.store, state, form)
    if found is None:
        raise problems.Problem(
            400, "This sign-in did not begin in this browser, or took too long; do it once more."
        )
    return found


def origin(desk: desks.Desk, request: requests.Request) -> str:
    """This server as the outside knows it: `https://tidegate.example.com`."""
    return desk.site.public_url or f"{request.url.scheme}://{request.headers.get('host', '').lower()}"


def enter(
    desk: desks.Desk, request: requests.Request, answer: responses.Response, secret: str
) -> responses.Response:
    """Give a browser the cookie of its new session, and one by which it is known when it comes again."""
    secure = request.url.scheme == "https"
    answer.set_cookie(
        asking.own_cookie(request),
        secret,
        max_age=int(sessions.LONGEST),
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )
    store = desk.place.store
    session = sessions.find(store, secret)
    found = None if session is None else people.password(store, session.member.name)
    if found is not None:
        devices.keep(request, answer, devices.issued(found[0].name, found[1]))
    return answer


def leave(request: requests.Request, answer: responses.Response) -> responses.Response:
    """Take the session's cookie from a browser."""
    secure = request.url.scheme == "https"
    for name in {asking.own_cookie(request), asking.cookie(secure)} & set(request.cookies):
        answer.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="lax")
    return answer


def form_cookie(request: requests.Request) -> str:
    """The name of the cookie that forms of people have who are not signed in."""
    return asking.cookie(request.url.scheme == "https") + "-form"


def form_secret(request: requests.Request) -> str:
    """Its secret: the one that the browser has, or a new one."""
    return request.cookies.get(form_cookie(request), "") or secrets.token_urlsafe(32)


def keep_form(request: requests.Request, answer: responses.Response, secret: str) -> responses.Response:
    """Give a browser that cookie, until it is closed."""
    answer.set_cookie(
        form_cookie(request),
        secret,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


async def own_form(request: requests.Request) -> None:
    """Raises Problem for a form that this browser did not get from here."""
    secret = request.cookies.get(form_cookie(request), "")
    if not secret or not await asking.same(request, asking.csrf(secret)):
        raise problems.Problem(
            403, "This form is not of this browser; load the page again, and send it again."
        )


def _buckets(browser: Browser, name: str, kept: str | None) -> Sequence[attempts.Bucket]:
    """Where an attempt for a name counts; `kept` is the hash of its password, if it has one."""
    name = name.strip().lower()[: people.LONGEST]
    if device := devices.known(name, kept, browser.device):
        return [attempts.Bucket(f"device:{device}", *NAMES)]
    return [
        attempts.Bucket(f"name:{name}", *NAMES),
        attempts.Bucket(f"address:{browser.address}", *ADDRESSES),
    ]


def _take(desk: desks.Desk, buckets: Sequence[attempts.Bucket]) -> None:
    if wait := attempts.take(desk.place.store, buckets):
        seconds = int(wait) + 1
        raise problems.Problem(
            429,
            f"Too many attempts to sign in; try again in {seconds} seconds.",
            {"Retry-After": str(seconds)},
        )


def _begin(desk: desks.Desk, browser: Browser, member: people.Member, how: str) -> str:
    secret = sessions.new()
    membership.sign_in(
        desk.place.store,
        member,
        secret,
        how=how,
        before=browser.session,
        address=browser.address,
        agent=browser.agent,
    )
    return secret


def _role(client: config.OpenID, claims: Mapping[str, Any]) -> people.Role | None:
    """The highest role that the provider's claim means, or None."""
    if client.roles is None:
        return None
    found: Any = claims
    for step in [client.roles.claim] if client.roles.claim in claims else client.roles.claim.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    named = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    roles = [client.roles.map[each] for each in named if isinstance(each, str) and each in client.roles.map]
    return max(roles, key=people.ROLES.index, default=None)


def _used() -> problems.Problem:
    return problems.Problem(
        410,
        "This link was used already, or its time is over; ask an admin, or `tidegate user link`, for another.",
    )
