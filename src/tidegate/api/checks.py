"""Checks over HTTP: whether pulls, models, pipelines, pushes and signing in work, before anything is moved."""

from __future__ import annotations

from typing import Annotated

import fastapi

from tidegate.api import base
from tidegate.server import asking, oidc_check, signing
from tidegate.server import desk as desks
from tidegate.views import checks as views
from tidegate.warehouse import base as seam

Name = Annotated[str, fastapi.Path(max_length=63, description="A name of the configuration.")]


class Step(base.Model):
    """What was tried, whether it worked, and what to do if not."""

    name: str
    """What was tried, in a word."""
    ok: bool
    """Did it work?"""
    detail: str
    """What was found; where it did not work, what to do."""


class Checked(base.Model):
    """The steps of a check."""

    ok: bool
    """Did all of them work?"""
    steps: list[Step]
    """What was tried, in its order."""
    without: tuple[str, ...] = ()
    """Guarantees that a push cannot give, in sentences; empty for all else."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("checks"), desk.place

    @made.post("/checks/{kind}/{name}", operation_id="check", summary="Check a part of the configuration")
    @base.looks
    def check(kind: views.Kind, name: Name, asker: asking.Operator) -> Checked:
        """Of a pull its key and warehouse, of a model its query, of a pipeline its cases, of a push its key too."""
        del asker
        found, without = views.one(place, kind, name)
        return Checked(
            ok=all(each.ok for each in found), steps=[_step(each) for each in found], without=tuple(without)
        )

    @made.post(
        "/checks/sign-in", operation_id="checkSignIn", summary="Check whether members could sign in by OpenID"
    )
    @base.looks
    def sign_in(request: fastapi.Request, asker: asking.Operator) -> Checked:
        """Of the provider of the configuration; nobody is signed in."""
        del asker
        if desk.site.oidc is None:
            raise base.problem(404, "The configuration has no OpenID provider.")
        found = oidc_check.steps(desk.site.oidc, signing.origin(desk, request))
        return Checked(ok=all(each.ok for each in found), steps=[_step(each) for each in found])

    return made


def _step(it: seam.Check) -> Step:
    return Step(name=it.name, ok=it.ok, detail=it.detail)
