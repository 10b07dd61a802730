"""Who asks: a member whose browser has a session, or a program with a token; and what each may do.

    def router(desk: Desk) -> fastapi.APIRouter:
        @made.post("/runs/{run}/cancel")
        def cancel(run: str, asker: asking.Operator) -> fastapi.Response: ...

`Reader`, `Operator`, `Editor` and `Admin` are route parameters: nothing of a route is done before who asks may do
it. All routes need a sign-in, and those that change something the role operator, also where they forget to say so:
`guarded` stands before every router. `public` marks the few that anybody may ask, `own` those of every member.

A request with an Authorization header is made by its token alone, whatever its cookies are. One with a session that
changes something has to show the session's CSRF token, in the header X-CSRF-Token or the form's field `_csrf`;
`shield` has refused those of other sites before.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import fastapi
from fastapi import security
from starlette import concurrency, requests

from tidegate.server import access, desk, problems
from tidegate.store import people, sessions, tokens

Route = TypeVar("Route", bound=Callable[..., Any])

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""
HEADER, FIELD = "x-csrf-token", "_csrf"
SIGN_IN = "/sign-in"
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")

UNKNOWN = "tidegate.unknown"
"""In the scope of a request with an Authorization header: does it name this server otherwise than it is known?"""

_MARK = "__tidegate_asked_by__"
_wrong = problems.Rarely(logging.getLogger(__name__))
_SCOPE = "__tidegate_scope__"
_ROLE: dict[tokens.Scope, str] = {scope: role for role, scope in people.SCOPES.items()}


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks."""

    name: str
    """ann@example.com, or the token's name."""
    scope: tokens.Scope
    """What may be done: read, run, write or admin; the roles viewer, operator, editor and admin are these."""
    via: Literal["session", "token"]
    csrf: str
    """What forms of this session have to show; empty for tokens."""
    flows: tuple[str, ...] = ()
    """The only flows that a token is for, by their full names; all where there are none."""
    member: str = ""
    """The member's id; empty for tokens."""
    session: str = ""
    """The session's id; empty for tokens."""
    maker: str = ""
    """The id of the member who answers for what is made: who is signed in, or who made the token."""

    def may(self, scope: tokens.Scope) -> bool:
        """May this be done that needs a scope?"""
        return tokens.SCOPES.index(self.scope) >= tokens.SCOPES.index(scope)

    def knows(self, flow: str) -> bool:
        """Is this for the flow?"""
        return not self.flows or flow in self.flows

    @property
    def role(self) -> str:
        """The scope in the words of members: viewer, operator, editor or admin."""
        return _ROLE[self.scope]


class Refused(problems.Problem):
    """Who asks may not; with `sign_in` nobody has said who asks."""

    def __init__(
        self, status: int, detail: str, headers: dict[str, str] | None = None, *, sign_in: bool = False
    ) -> None:
        super().__init__(status, detail, headers)
        self.sign_in = sign_in


class TooLittle(Refused):
    """Who asks is known, and has too little of a role or scope."""


def unknown() -> problems.Problem:
    """What is answered to a request that names this server otherwise than it is known."""
    return problems.Problem(
        421,
        "This server is not known by this name; write it as `public_url` under `server:` in tidegate.yaml.",
    )


def public(route: Route) -> Route:
    """Mark a route that anybody may ask, without signing in."""
    setattr(route, _MARK, "anybody")
    return route


def own(route: Route) -> Route:
    """Mark a route by which every member, also a viewer, changes what is the member's own."""
    setattr(route, _MARK, "member")
    return route


def asked_by(route: object) -> Literal["", "anybody", "member"]:
    """The mark of a route."""
    found: Literal["", "anybody", "member"] = getattr(route, _MARK, "")
    return found


def cookie(secure: bool, port: int | None = None) -> str:
    """The name of the session's cookie; browsers take the one for TLS from this very host only.

    To browsers all ports of a host are one site, and its cookies one jar: by the port, where that is not the usual
    one, several servers of a host leave each other's alone. RFC 6265, 8.5.
    """
    name = "__Host-tidegate" if secure else "tidegate"
    return name if port is None else f"{name}-{port}"


def own_cookie(request: requests.Request) -> str:
    """The name for the server that a request names."""
    return cookie(request.url.scheme == "https", request.url.port)


def csrf(secret: str) -> str:
    """What forms of a session have to show: it follows from the cookie's secret, which it does not tell."""
    return hashlib.sha256(b"csrf:" + secret.encode("utf-8", "replace")).hexdigest()


def secret_of(request: requests.Request) -> str:
    """The secret in the session's cookie, or nothing.

    Where there is none, also in one that an earlier version gave, without the port.
    """
    kept = request.cookies
    return kept.get(own_cookie(request), "") or kept.get(cookie(request.url.scheme == "https"), "")


async def same(request: requests.Request, expected: str) -> bool:
    """Does a request show this CSRF token, in its header or its form?"""
    shown = request.headers.get(HEADER, "")
    if not shown and request.headers.get("content-type", "").partition(";")[0].strip().lower() in FORMS:
        field = (await request.form()).get(FIELD)
        shown = field if isinstance(field, str) else ""
    return bool(expected) and hmac.compare_digest(shown.encode(), expected.encode())


async def who(request: requests.Request) -> Asker:
    """Who asks, found out once for each request; raises Refused where nobody may be asking.

    A session that changes something has shown its CSRF token.
    """
    found: Asker | None = getattr(request.state, "asker", None)
    if found is not None:
        return found
    at: desk.Desk = request.app.state.desk
    asker = await known(request)
    writes = request.method not in SAFE
    key = f"{asker.via}:{asker.session or asker.name}"
    if wait := at.limits.take(key, writes=writes):
        raise Refused(429, "You ask too often; try again in a moment.", {"Retry-After": str(int(wait) + 1)})
    if writes and asker.via == "session" and not await same(request, asker.csrf):
        raise Refused(
            403, "This form does not belong to your session any more; load the page again, and send it again."
        )
    request.state.asker = asker
    return asker


_BEARER = security.HTTPBearer(
    scheme_name="token", auto_error=False, description="A token of `tidegate token create`."
)
_COOKIE = security.APIKeyCookie(
    name="tidegate",
    scheme_name="session",
    auto_error=False,
    description="The session of a member who is signed in; what changes something needs X-CSRF-Token too.",
)


async def _anyone(
    request: requests.Request,
    _token: Annotated[object, fastapi.Depends(_BEARER)],
    _session: Annotated[object, fastapi.Depends(_COOKIE)],
) -> Asker:
    return await who(request)


def _need(asker: Asker, scope: tokens.Scope) -> Asker:
    if asker.may(scope):
        return asker
    if asker.via == "token":
        raise TooLittle(
            403,
            f"This needs a token with the scope {scope}; this one has {asker.scope}.",
            {"WWW-Authenticate": f'{access.REALM}, error="insufficient_scope", scope="{scope}"'},
        )
    raise TooLittle(
        403, f"This needs the role {_ROLE[scope]}; yours is {asker.role}. An admin may change that."
    )


def _whole(asker: Asker) -> Asker:
    if asker.flows:
        raise Refused(403, "This token is for single flows; this needs one for all of them.")
    return asker


def _dependency(scope: tokens.Scope, *, flows: bool = False) -> Any:
    async def may(asker: Annotated[Asker, fastapi.Depends(_anyone)]) -> Asker:
        found = _need(asker, scope)
        return found if flows else _whole(found)

    setattr(may, _SCOPE, scope)
    return fastapi.Security(may, scopes=[scope])


Reader = Annotated[Asker, _dependency("read")]
"""Who may look: a viewer, or a token with the scope read."""
Operator = Annotated[Asker, _dependency("run")]
"""Who may begin and end runs, approve plans, decide on rows."""
Editor = Annotated[Asker, _dependency("write")]
"""Who may change what is configured."""
Admin = Annotated[Asker, _dependency("admin")]
"""Who may change who may do what."""
FlowReader = Annotated[Asker, _dependency("read", flows=True)]
"""The same as Reader, also with a token for single flows; the route asks `asker.knows(flow)`."""
FlowOperator = Annotated[Asker, _dependency("run", flows=True)]
"""The same as Operator, also with a token for single flows; the route asks `asker.knows(flow)`."""


async def guarded(request: requests.Request) -> None:
    """What holds for every route: nobody asks without a sign-in, and a viewer changes nothing but what is own."""
    mark = asked_by(request.scope.get("endpoint"))
    if mark == "anybody":
        if request.scope.get(UNKNOWN):
            raise unknown()
        return
    asker = await who(request)
    if mark == "member" and asker.via != "session":
        raise Refused(403, "This is for members, who sign in with a browser.")
    needs = list(_needs(request.scope.get("route")))
    if not needs:
        _whole(asker)
    if mark == "" and request.method not in SAFE:
        _need(asker, max([*needs, "run"], key=tokens.SCOPES.index))


def _needs(route: object) -> Iterator[tokens.Scope]:
    """The scopes that a route asks for itself."""
    dependant = getattr(route, "dependant", None)
    for each in () if dependant is None else dependant.dependencies:
        if (scope := getattr(each.call, _SCOPE, None)) is not None:
            yield scope


def maybe(request: requests.Request) -> Asker | None:
    """Who asked, as far as that was found out."""
    found: Asker | None = getattr(request.state, "asker", None)
    return found


def lasts(at: desk.Desk, asker: Asker) -> bool:
    """May who asked some time ago still do so: is the session not over, has the token its scope?"""
    if asker.via == "session":
        return sessions.lives(at.place.store, asker.session)
    token = tokens.named(at.place.store, asker.name)
    return token is not None and token.may(asker.scope)


async def signed_in(request: requests.Request) -> Asker | None:
    """The member whose browser asks for a page that anybody may see; None for everybody else."""
    return maybe(request) or await concurrency.run_in_threadpool(member, request)


def member(request: requests.Request) -> Asker | None:
    """The same, as far as the request's cookie says; asks the database."""
    at: desk.Desk = request.app.state.desk
    try:
        return _member(at, request)
    except Refused:
        return None


async def known(request: requests.Request) -> Asker:
    """Who sends a request, whatever may be done with it; raises Problem where nobody is known to."""
    at: desk.Desk = request.app.state.desk
    if (presented := request.headers.get("authorization")) is not None:
        return await concurrency.run_in_threadpool(_bearer, at, request, presented)
    return await concurrency.run_in_threadpool(_member, at, request)


def onward(text: str | None) -> str:
    """A place on this site to go on to after signing in; the overview where the text is none."""
    if not text or not text.startswith("/") or text.startswith(("//", "/\\", SIGN_IN)):
        return "/"
    parts = urllib.parse.urlsplit(text)
    if parts.scheme or parts.netloc or any(not each.isprintable() or each in "\\ " for each in text):
        return "/"
    return text


def _bearer(at: desk.Desk, request: requests.Request, header: str) -> Asker:
    """The token of a request; raises Problem."""
    secret = access.presented(header) or ""
    asking = access.address(request)
    at.watch.look(secret, asking)
    token = tokens.find(at.place.store, secret) if access.TOKEN.fullmatch(secret) else None
    at.watch.note(secret, asking, right=token is not None)
    if token is None:
        _wrong.warn("A request came with a token that is unknown, revoked or expired; it was refused.")
        raise Refused(
            401,
            "This token is not valid; `tidegate token list` shows those that are.",
            {"WWW-Authenticate": f'{access.REALM}, error="invalid_token"'},
        )
    return Asker(token.name, token.scope, "token", "", token.flows, maker=token.maker)


def _member(at: desk.Desk, request: requests.Request) -> Asker:
    """The member of a session; raises Refused."""
    secret = secret_of(request)
    found = sessions.find(at.place.store, secret) if secret else None
    if found is None:
        raise Refused(
            401,
            "Sign in, or give a token: Authorization: Bearer tg_...; `tidegate token create` makes one.",
            {"WWW-Authenticate": access.REALM},
            sign_in=True,
        )
    return Asker(
        found.member.name,
        found.member.scope,
        "session",
        csrf(secret),
        member=found.member.id,
        session=found.id,
        maker=found.member.id,
    )
