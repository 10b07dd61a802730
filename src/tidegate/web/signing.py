"""Signing in and out, the first start, and what members change of their own: the password, their sessions."""

from __future__ import annotations

from typing import Annotated, Any

import fastapi
from fastapi import Form
from starlette import concurrency, requests, responses

from tidegate import errors
from tidegate.server import asking, desk, oidc, passwords, problems, shield, signing
from tidegate.store import journeys, membership, people, sessions
from tidegate.web import frame

OIDC = "/sign-in/oidc"
BACK = oidc.BACK

BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
"""What stands in a browser's own description, and its name; the first counts, since most claim to be others too."""
SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)

Text = Annotated[str, Form()]
Secure = fastapi.Depends(signing.own_form)
Answer = responses.Response


def router(at: desk.Desk) -> fastapi.APIRouter:
    """The routes."""
    made = fastapi.APIRouter(include_in_schema=False, default_response_class=responses.HTMLResponse)

    @made.get(asking.SIGN_IN)
    @asking.public
    async def sign_in(request: requests.Request, next: str = "/") -> Answer:
        if await asking.signed_in(request) is not None:
            return frame.done(request, asking.onward(next))
        return await concurrency.run_in_threadpool(_sign_in, at, request, next)

    @made.post(asking.SIGN_IN, dependencies=[Secure])
    @asking.public
    def signed_in(
        request: requests.Request, name: Text = "", password: Text = "", next: Text = "/"
    ) -> Answer:
        try:
            secret = signing.by_password(at, signing.Browser.of(request), name, password)
        except problems.Problem as problem:
            return _sign_in(at, request, next, name=name, problem=problem)
        return signing.enter(at, request, frame.done(request, asking.onward(next)), secret)

    @made.get(signing.ENTER + "{link}")
    @asking.public
    def enter(request: requests.Request, link: str) -> Answer:
        return _enter(at, request, link)

    @made.post("/enter", dependencies=[Secure])
    @asking.public
    def entered(request: requests.Request, link: Text = "", name: Text = "", password: Text = "") -> Answer:
        try:
            secret = signing.by_link(at, signing.Browser.of(request), link, name, password)
        except errors.ConfigError as error:
            return _enter(at, request, link, name=name, wrong=str(error))
        onward = "/" if at.place.file.stripe else "/start"
        return signing.enter(at, request, frame.done(request, onward, "Welcome to Tidegate."), secret)

    @made.get(OIDC)
    @asking.public
    async def depart(request: requests.Request, next: str = "/") -> Answer:
        client = at.site.oidc
        if client is None:
            raise problems.Problem(404, "No sign-in provider is configured here.")
        form = signing.form_secret(request)
        trip = await at.providers.leave(client, signing.origin(at, request) + BACK)
        journey = journeys.Journey(trip.nonce, trip.verifier, asking.onward(next))
        browser = signing.Browser.of(request)
        await concurrency.run_in_threadpool(signing.depart, at, browser, trip.state, form, journey)
        answer = responses.RedirectResponse(trip.url, status_code=303)
        return signing.keep_form(request, answer, form)

    @made.get(BACK)
    @asking.public
    async def back(
        request: requests.Request, state: str = "", code: str = "", iss: str | None = None, error: str = ""
    ) -> Answer:
        client = at.site.oidc
        if client is None:
            raise problems.Problem(404, "No sign-in provider is configured here.")
        try:
            form = signing.form_secret(request)
            journey = await concurrency.run_in_threadpool(signing.back, at, state, form)
            if error or not code:
                raise problems.Problem(401, "The sign-in provider did not let you in; ask who keeps it.")
            url = signing.origin(at, request) + BACK
            claims = await at.providers.arrive(client, url, code, journey.verifier, journey.nonce, iss)
            browser = signing.Browser.of(request)
            secret = await concurrency.run_in_threadpool(signing.by_claims, at, browser, client, claims)
        except problems.Problem as problem:
            return await concurrency.run_in_threadpool(_sign_in, at, request, "/", problem=problem)
        answer = frame.done(request, journey.next)
        return await concurrency.run_in_threadpool(signing.enter, at, request, answer, secret)

    @made.post("/sign-out")
    @asking.own
    def sign_out(request: requests.Request, asker: asking.Reader) -> Answer:
        membership.sign_out(at.place.store, _by(asker), asker.member, asker.session)
        return signing.leave(request, frame.done(request, asking.SIGN_IN))

    @made.get("/account")
    def account(request: requests.Request, asker: asking.Reader) -> Answer:
        return _account(at, request, asker)

    @made.post("/account/password")
    @asking.own
    def password(
        request: requests.Request, asker: asking.Reader, current: Text = "", password: Text = ""
    ) -> Answer:
        try:
            secret = signing.change_password(at, signing.Browser.of(request), asker, current, password)
        except errors.ConfigError as error:
            return _account(at, request, asker, status=422, wrong={"password": str(error)})
        except problems.Problem as problem:
            return _account(at, request, asker, status=problem.status, wrong={"current": problem.detail})
        said = "Your password is changed; everywhere else you are signed out."
        return signing.enter(at, request, frame.done(request, "/account", said), secret)

    @made.post("/account/sessions/end")
    @asking.own
    def end(request: requests.Request, asker: asking.Reader, session: Text = "") -> Answer:
        membership.sign_out(at.place.store, _by(asker), asker.member, session or asker.session)
        if session in ("", asker.session):
            return signing.leave(request, frame.done(request, asking.SIGN_IN))
        return frame.done(request, "/account", "That browser is signed out.")

    @made.post("/account/sessions/end-all")
    @asking.own
    def end_all(request: requests.Request, asker: asking.Reader) -> Answer:
        membership.sign_out(at.place.store, _by(asker), asker.member)
        return signing.leave(request, frame.done(request, asking.SIGN_IN))

    return made


def _sign_in(
    at: desk.Desk,
    request: requests.Request,
    next: str,
    *,
    name: str = "",
    problem: problems.Problem | None = None,
) -> Answer:
    """The sign-in page; with what was wrong, where something was."""
    store, client = at.place.store, at.site.oidc
    return _formed(
        request,
        "sign_in.html",
        status=200 if problem is None else problem.status,
        headers=None if problem is None else problem.headers,
        name=name,
        wrong="" if problem is None else problem.detail,
        next=asking.onward(next),
        nobody=not people.has_admin(store),
        provider=None if client is None else client.name,
        provider_url=OIDC,
        bare=_is_bare(request),
    )


def _enter(at: desk.Desk, request: requests.Request, link: str, *, name: str = "", wrong: str = "") -> Answer:
    """The page of a link: a name for the first admin, and a password."""
    found = signing.look(at, link)
    local = shield.is_local(request.scope)
    return _formed(
        request,
        "first_start.html",
        status=422 if wrong else 200,
        link=link,
        member=found.member,
        kind=found.kind,
        name=name,
        wrong=wrong,
        optional=local,
        shortest=passwords.SHORTEST,
        bare=_is_bare(request),
    )


def _formed(request: requests.Request, template: str, **context: Any) -> Answer:
    """A page with a form for who is not signed in, and the cookie that the form belongs to."""
    secret = signing.form_secret(request)
    answer = frame.page(request, None, template, csrf_token=asking.csrf(secret), **context)
    return signing.keep_form(request, answer, secret)


def _account(
    at: desk.Desk,
    request: requests.Request,
    asker: asking.Asker,
    *,
    status: int = 200,
    wrong: dict[str, str] | None = None,
) -> Answer:
    if not asker.member:
        raise problems.Problem(403, "A token has no account; sign in with a browser.")
    store = at.place.store
    return frame.page(
        request,
        asker,
        "account.html",
        status=status,
        member=people.get(store, asker.name),
        sessions=sessions.of(store, asker.member),
        wrong=wrong or {},
        shortest=passwords.SHORTEST,
        named=named,
    )


def named(agent: str) -> str:
    """What people call a browser that describes itself so: `Firefox on Windows`; what is unknown stays as it is."""
    browser = next((name for mark, name in BROWSERS if mark in agent), "")
    system = next((name for mark, name in SYSTEMS if mark in agent), "")
    if browser:
        return f"{browser} on {system}" if system else browser
    return agent or "unknown"


def _is_bare(request: requests.Request) -> bool:
    """Can others read on the way what is typed here?"""
    return request.url.scheme != "https" and not shield.is_local(request.scope)


def _by(asker: asking.Asker) -> membership.By:
    return membership.By(asker.name, asker.via)
