"""Secrets over HTTP: kept, listed by name and forgotten; never told."""

from __future__ import annotations

from typing import Annotated

import fastapi

from tidegate.api import base
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import vault

Name = Annotated[
    str, fastapi.Path(description="The secret's name, as `${secret:NAME}` says it.", max_length=128)
]


class Secret(base.Model):
    """A secret that is kept, and what names it."""

    name: str
    """As `${secret:NAME}` names it."""
    changed_at: base.Moment
    """When its value was set last."""
    used_by: list[str]
    """Parts of the configuration that name it, such as `stripe.acme`."""


class Value(base.Model):
    """The value of a secret."""

    value: Annotated[str, fastapi.Body(min_length=1, max_length=vault.LONGEST)]
    """What is kept, encrypted; never told again."""


class Rotated(base.Model):
    """How many secrets are encrypted with the newest key now."""

    secrets: int
    """All that there are."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("configuration"), desk.place

    @made.get("/secrets", operation_id="listSecrets", summary="List secrets by name, never their values")
    def secrets(asker: asking.Admin, paging: base.Paging) -> base.Page[Secret]:
        del asker
        after = paging.place(str)
        found = [each for each in vault.listed(place) if after is None or each.name > after[0]]
        page = found[: paging.limit]
        more = base.cursor(page[-1].name) if len(found) > len(page) else None
        return base.Page(items=[Secret.model_validate(each) for each in page], next=more)

    @made.put(
        "/secrets/{name:path}",
        operation_id="putSecret",
        status_code=204,
        summary="Keep a secret, which the configuration may name as ${secret:NAME}",
    )
    def put_secret(name: Name, value: Value, asker: asking.Admin) -> None:
        vault.keep(place, asker, name, value.value)

    @made.delete(
        "/secrets/{name:path}", operation_id="deleteSecret", status_code=204, summary="Forget a secret"
    )
    def delete_secret(name: Name, asker: asking.Admin) -> None:
        vault.forget(place, asker, name)

    @made.post(
        "/secrets/rotate", operation_id="rotateSecrets", summary="Encrypt all secrets with the newest key"
    )
    def rotate(asker: asking.Admin) -> Rotated:
        """For where TIDEGATE_SECRET_KEY has a new key before the old one, which may leave it afterwards."""
        return Rotated(secrets=vault.rotate(place.store, asker))

    return made
