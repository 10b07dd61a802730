"""Secrets as a page: which there are and what uses them, and a form to set one; values are never shown."""

from __future__ import annotations

from typing import Annotated

import fastapi
from fastapi import Form
from starlette import requests, responses

from tidegate import errors
from tidegate.server import asking, problems
from tidegate.server import desk as desks
from tidegate.views import vault as views
from tidegate.web import frame

SECRETS = "/settings/secrets"

Text = Annotated[str, Form()]


def router(at: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(), at.place

    def page(
        request: requests.Request, asker: asking.Asker, name: str = "", wrong: str = "", status: int = 200
    ) -> responses.Response:
        return frame.page(
            request,
            asker,
            "secrets.html",
            status=status,
            secrets=views.listed(place),
            name=name,
            wrong=wrong,
            here_is=SECRETS,
        )

    @made.get(SECRETS)
    def listed(request: requests.Request, asker: asking.Admin) -> responses.Response:
        return page(request, asker)

    @made.post(SECRETS)
    def keep(
        request: requests.Request, asker: asking.Admin, name: Text = "", value: Text = ""
    ) -> responses.Response:
        try:
            new = views.keep(place, asker, name.strip(), value)
        except errors.ConfigError as error:
            return page(request, asker, name, str(error), 422)
        said = "is kept" if new else "is kept in place of what was there"
        return frame.done(
            request, SECRETS, f"{name.strip()} {said}; write ${{secret:{name.strip()}}} to use it."
        )

    @made.post(SECRETS + "/forget")
    def forget(
        request: requests.Request, asker: asking.Admin, name: Text = "", words: Text = ""
    ) -> responses.Response:
        if words != name:
            raise problems.Problem(422, f"Type {name} to go on; nothing was changed.")
        views.forget(place, asker, name)
        return frame.done(request, SECRETS, f"{name} is forgotten.")

    return made
