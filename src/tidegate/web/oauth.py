"""Sign in with Stripe: a connection made without a key, the way to Stripe and back, and taking it back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import fastapi
from starlette import datastructures, requests, responses

from tidegate import config, errors
from tidegate.engine import place as places
from tidegate.server import asking, signing
from tidegate.server import desk as desks
from tidegate.views import accounts, forms
from tidegate.views import oauth as views
from tidegate.web import configured, frame

PATH = "/accounts"
CONNECT = f"{PATH}/-/connect"
BACK = f"{PATH}/-/signed-in"
"""Where Stripe sends people back to; it has to be among the redirect URIs of the platform's Connect settings."""
SETTINGS = "https://dashboard.stripe.com/settings/connect/onboarding-options/oauth"

_SAID: Mapping[str, tuple[str, str]] = {
    "oauth.client_id": ("Client ID", "Your platform's, from Connect's settings at Stripe: ca_…"),
    "oauth.client_secret": (
        "Platform secret key",
        "A secret key of your platform: sk_… It is kept encrypted, and used to exchange sign-ins alone.",
    ),
}
_LEFT = ("api_key", "oauth.account", "oauth.access_token", "account_id")
FIELDS = tuple(
    dataclasses.replace(each, label=_SAID[each.name][0], hint=_SAID[each.name][1], required=True, group="")
    if each.name in _SAID
    else each
    for each in forms.fields(config.Connection, without=_LEFT)
)


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(CONNECT)
    def fresh(request: requests.Request, asker: asking.Editor, next: str = "") -> responses.Response:
        return _form(request, asker, desk, "", next, configured.filled(FIELDS, {}))

    @made.post(CONNECT)
    def add(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        name, next = configured.text(sent, "_name").strip(), configured.text(sent, "_next")
        given = configured.texts(sent)
        try:
            configured.change(place, asker, "stripe", name, forms.body(FIELDS, given, {}), None)
        except (errors.ConfigError, errors.StoreConflict) as error:
            form = configured.refused(FIELDS, given, {}, error)
            return _form(request, asker, desk, name, next, form, status=configured.status(error))
        return frame.done(request, _consent(name, next), f"{name} is kept; now sign in with Stripe.")

    @made.get(BACK)
    def back(
        request: requests.Request, asker: asking.Editor, state: str = "", code: str = ""
    ) -> responses.Response:
        try:
            found = views.arrive(place, asker, _session(asker), state, code)
        except views.Denied as denied:
            return frame.done(request, _consent(denied.name, denied.next), str(denied), "warn")
        mode = "LIVE" if found.live else "TEST"
        may = "read and write" if found.scope == "read_write" else "read"
        said = f"{found.account} signed in ({mode}); {found.name} may {may} its data."
        onward = asking.onward(found.next)
        return frame.done(request, _consent(found.name) if onward == "/" else onward, said)

    @made.get(f"{PATH}/{{name}}/consent")
    def consent(
        request: requests.Request, asker: asking.Reader, name: str, next: str = ""
    ) -> responses.Response:
        return frame.page(
            request,
            asker,
            "stripe_consent.html",
            account=accounts.one(place, name),
            found=views.standing(place, name),
            tab="consent",
            back=_back(desk, request),
            settings=SETTINGS,
            next=next,
        )

    @made.get(f"{PATH}/{{name}}/sign-in")
    def depart(
        request: requests.Request, asker: asking.Editor, name: str, write: str = "", next: str = ""
    ) -> responses.Response:
        url = views.depart(
            place,
            name,
            _session(asker),
            _back(desk, request),
            write=write == "yes",
            next=asking.onward(next),
        )
        return responses.RedirectResponse(url, status_code=303, headers={"Cache-Control": "no-store"})

    @made.post(f"{PATH}/{{name}}/disconnect")
    def disconnect(
        request: requests.Request, asker: asking.Editor, name: str, sent: configured.Sent
    ) -> responses.Response:
        configured.typed(sent, name)
        return _disconnected(request, asker, place, name)

    return made


def _disconnected(
    request: requests.Request, asker: asking.Asker, place: places.Place, name: str
) -> responses.Response:
    there = views.disconnect(place, asker, name)
    said = f"{name} is disconnected, and its key is gone; its flows wait until somebody signs in again."
    if not there:
        said = f"Stripe knew of no sign-in for {name} any more; its key is gone here, too."
    return frame.done(request, _consent(name), said)


def _form(
    request: requests.Request,
    asker: asking.Asker,
    desk: desks.Desk,
    name: str,
    next: str,
    form: configured.Filled,
    *,
    status: int = 200,
) -> responses.Response:
    first = [each for each in form.fields if each.name in _SAID]
    rest = [each for each in form.fields if each.name not in _SAID]
    return frame.page(
        request,
        asker,
        "stripe_connect.html",
        status=status,
        name=name,
        next=next,
        first=configured.Filled(first, form.shown, form.wrong, form.said),
        rest=configured.Filled(rest, form.shown, form.wrong),
        back=_back(desk, request),
        settings=SETTINGS,
    )


def _consent(name: str, next: str = "") -> str:
    """The page of a connection's sign-in, which goes on to another afterwards."""
    onward = asking.onward(next)
    query = "" if onward == "/" else f"?{datastructures.QueryParams({'next': onward})}"
    return f"{PATH}/{name}/consent{query}"


def _back(desk: desks.Desk, request: requests.Request) -> str:
    return signing.origin(desk, request) + BACK


def _session(asker: asking.Asker) -> str:
    """The session that a sign-in belongs to; raises a problem for programs, which have none."""
    if not asker.session:
        raise errors.ConfigError("A token cannot sign in with Stripe; do so in a browser.")
    return asker.session
