"""Settings over HTTP: limits, retention, what runs here, and sign-ins with Stripe that are taken back."""

from __future__ import annotations

from typing import Annotated

import fastapi

from tidegate.api import base
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import oauth
from tidegate.views import settings as views

Name = Annotated[str, fastapi.Path(max_length=63, description="The connection's name in the configuration.")]


class Limit(base.Model):
    """How much of Stripe's rate limits a connection may take; `rate` is empty where Stripe's own holds."""

    connection: str
    budget: float
    rate: str
    reads_per_month: int | None
    locked: bool


class Kept(base.Model):
    """For how many days a pull keeps things in its warehouse; null is for ever."""

    pull: str
    warehouse: str
    events: float | None
    history: float | None
    deleted: float | None
    runs: float | None


class About(base.Model):
    """What runs here."""

    version: str
    python: str
    system: str
    database: str
    migrations: int
    api_version: str
    streams: int


class Consent(base.Model):
    """How "Sign in with Stripe" stands for a connection; `withdrawn` says why it is to be connected again."""

    name: str
    client_id: str
    account: str
    last4: str
    signed_in: bool
    withdrawn: str


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("settings"), desk.place

    @made.get("/about", operation_id="about", summary="What runs here")
    def about(asker: asking.Reader) -> About:
        del asker
        return About.model_validate(views.about(place))

    @made.get("/limits", operation_id="listLimits", summary="List the limits of connections")
    def limits(asker: asking.Reader, paging: base.Paging) -> base.Page[Limit]:
        del asker
        shown, rest = base.part(views.limits(place), paging, lambda each: each.connection)
        return base.Page(items=[Limit.model_validate(each) for each in shown], next=rest)

    @made.get("/retention", operation_id="listRetention", summary="List what pulls keep, and for how long")
    def retention(asker: asking.Reader, paging: base.Paging) -> base.Page[Kept]:
        del asker
        shown, rest = base.part(views.kept(place), paging, lambda each: each.pull)
        return base.Page(items=[Kept.model_validate(each) for each in shown], next=rest)

    @made.get(
        "/accounts/{name}/consent", operation_id="getConsent", summary="How a sign-in with Stripe stands"
    )
    def consent(name: Name, asker: asking.Reader) -> Consent:
        del asker
        return Consent.model_validate(oauth.standing(place, name))

    @made.delete(
        "/accounts/{name}/consent",
        operation_id="disconnectAccount",
        summary="Take a sign-in with Stripe back",
        status_code=204,
    )
    def disconnect(name: Name, asker: asking.Editor) -> None:
        """At Stripe first; then the key is forgotten here. Signing in takes a browser."""
        oauth.disconnect(place, asker, name)

    return made
