"""Settings: the way to its pages, of which each member sees those that the role may open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import fastapi
from starlette import requests, responses

from tidegate.server import asking, desk
from tidegate.store import tokens
from tidegate.web import alerts, changes, configuration, forgets, frame, limits, members, vault

SETTINGS = "/settings"


@dataclass(frozen=True, slots=True)
class Entry:
    """A page of the settings, and the scope that it needs."""

    name: str
    href: str
    text: str
    scope: tokens.Scope


ENTRIES: Sequence[Entry] = (
    Entry("Alerts", alerts.PATH, "Who is told when something needs a person, and how soon.", "read"),
    Entry("Members", members.MEMBERS, "Who may sign in here, and what each may do.", "admin"),
    Entry("API tokens", members.TOKENS, "What programs present that ask over HTTP.", "admin"),
    Entry("Secrets", vault.SECRETS, "Keys and passwords that the configuration names, encrypted.", "admin"),
    Entry("Configuration", configuration.PATH, "All its parts, as a file to keep and from one.", "admin"),
    Entry("Audit log", changes.CHANGES, "Who changed what, and how it was before.", "admin"),
    Entry(
        "Forget customers", forgets.PATH, "Personal data out of warehouses and of what is kept here.", "admin"
    ),
    Entry("Limits", limits.LIMITS, "How much of Stripe's rate limits each connection may take.", "read"),
    Entry("Retention", limits.RETENTION, "How long things are kept, in warehouses and here.", "read"),
    Entry("API", "/api", "What programs may ask, and how.", "read"),
    Entry("About", limits.ABOUT, "The version, and the licences of what it is built on.", "read"),
    Entry("Your account", "/account", "Your password, and where you are signed in.", "read"),
)


def router(_: desk.Desk) -> fastapi.APIRouter:
    """The route."""
    made = fastapi.APIRouter(include_in_schema=False, default_response_class=responses.HTMLResponse)

    @made.get(SETTINGS)
    def settings(request: requests.Request, asker: asking.Reader) -> responses.Response:
        entries = [each for each in ENTRIES if asker.may(each.scope)]
        return frame.page(request, asker, "settings.html", entries=entries)

    return made
