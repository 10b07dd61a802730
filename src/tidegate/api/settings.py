"""Settings over HTTP: limits, retention, what runs here, and sign-ins with Stripe."""

from __future__ import annotations

from typing import Annotated

import fastapi
import pydantic

from tidegate.api import base
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import oauth
from tidegate.views import settings as views

Name = Annotated[str, fastapi.Path(max_length=63, description="The connection's name in the configuration.")]


class Limit(base.Model):
    """How much of Stripe's rate limits a connection may take."""

    connection: str
    """Its name in the configuration."""
    budget: float
    """The share of the limits that is used, of 1."""
    rate: str
    """Requests a second, of the account and of one endpoint, such as `100/25`; `off`; empty for Stripe's own."""
    reads_per_month: int | None
    """Requests that read, in a month; null where they are not bounded."""
    locked: bool
    """Is it written in the file, so that it is changed there only?"""


class Kept(base.Model):
    """For how long a pull keeps things in its warehouse."""

    pull: str
    """Its name in the configuration."""
    warehouse: str
    """Where it writes."""
    events: float | None
    """Days for rows of the table `events`, from their creation; null is for ever."""
    history: float | None
    """Days for versions in history tables, from when the next one began; null is for ever."""
    deleted: float | None
    """Days for rows that are marked as deleted, from their deletion; null is for ever."""
    runs: float | None
    """Days for rows of `_tidegate_runs`, from the end of the run; null is for ever."""


class About(base.Model):
    """What runs here."""

    version: str
    """Of Tidegate."""
    python: str
    """The version of Python."""
    system: str
    """The operating system."""
    database: str
    """Where metadata is kept: `sqlite` or `postgres`."""
    migrations: int
    """How many changes the metadata database has seen."""
    api_version: str
    """Stripe's version that tables follow."""
    streams: int
    """How many streams there are to pull."""


class Consent(base.Model):
    """How "Sign in with Stripe" stands for a connection."""

    name: str
    """The connection's."""
    client_id: str
    """Of the app at Stripe that people sign in to."""
    account: str
    """The id of the account that signed in, also where it took that back; empty before."""
    last4: str
    """The last characters of its key; empty where there is none."""
    signed_in: bool
    """Is there a key that works, as far as is known?"""
    withdrawn: str
    """Why it has to be connected again, in a sentence; empty where it need not."""


class Departure(base.Model):
    """How a sign-in with Stripe is to go."""

    back: Annotated[str, pydantic.Field(min_length=1, max_length=2000)]
    """Where Stripe sends the browser back to: one of the redirect URIs of your Connect settings."""
    write: Annotated[bool, pydantic.Field(strict=True)] = False
    """Ask for leave to write, too, as pushes need."""


class Address(base.Model):
    """An address at Stripe."""

    url: str
    """Where the owner of the account agrees; good once, and for ten minutes."""


class Return(base.Model):
    """What came of a sign-in with Stripe."""

    url: Annotated[str, pydantic.Field(max_length=10_000)]
    """The address that the browser was sent back to, with `state` and `code` in it."""


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

    @made.post(
        "/accounts/{name}/consent",
        operation_id="askConsent",
        status_code=201,
        summary="Begin a sign-in with Stripe",
    )
    @base.told_once("begin another one, with another Idempotency-Key")
    def ask(name: Name, wish: Departure, asker: asking.Editor) -> Address:
        """The address at which the owner of the account agrees, in a browser."""
        return Address(url=oauth.depart(place, name, _session(asker, name), wish.back, write=wish.write))

    @made.post(
        "/accounts/{name}/consent/answer",
        operation_id="answerConsent",
        summary="End a sign-in with Stripe",
    )
    def answer(name: Name, back: Return, asker: asking.Editor) -> Consent:
        """For whoever began it; the account's key is kept encrypted."""
        state, code = oauth.answered(back.url)
        oauth.arrive(place, asker, _session(asker, name), state, code)
        return Consent.model_validate(oauth.standing(place, name))

    @made.delete(
        "/accounts/{name}/consent",
        operation_id="disconnectAccount",
        summary="Take a sign-in with Stripe back",
        status_code=204,
    )
    def disconnect(name: Name, asker: asking.Editor) -> None:
        """At Stripe first; then the key is forgotten here."""
        oauth.disconnect(place, asker, name)

    return made


def _session(asker: asking.Asker, name: str) -> str:
    """What a sign-in for a connection belongs to: whoever began it."""
    return f"{asker.via}:{asker.session or asker.name}:{name}"
