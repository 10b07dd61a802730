"""The configuration over HTTP as a whole: its JSON Schema, written as YAML, and taken in from YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import fastapi
import pydantic
from fastapi import responses

from tidegate import config
from tidegate.api import base, objects
from tidegate.engine import editing
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.store import database, keyed
from tidegate.views import configuration

STEP = "apply"
"""What a call with a key calls the changes that it made."""

Action = Literal["create", "change", "delete", "none"]


class Made(base.Model):
    """A change of a part: what was and what became of it, as people may see it."""

    kind: objects.Kind
    name: str
    action: Action
    version: int
    before: dict[str, Any] | None
    after: dict[str, Any] | None


_Seen = Annotated[int, pydantic.Field(ge=0, le=base.EXACT, strict=True)]


class Sheet(base.Model):
    """A configuration as YAML to be taken in; with `prune`, what it does not have is removed.

    With the `versions` that a `dry_run` answered, all of it is refused where somebody changed a part since.
    """

    yaml: Annotated[str, fastapi.Body(max_length=500_000)]
    prune: Annotated[bool, fastapi.Body(strict=True)] = False
    dry_run: Annotated[bool, fastapi.Body(strict=True)] = False
    versions: Annotated[dict[str, _Seen | None] | None, fastapi.Body(max_length=10_000)] = None


class Taken(base.Model):
    """What taking it in changed, or would have; `left_out` are sections that belong to the file alone.

    `versions` are those of its parts as they were, null where there was none.
    """

    changed: bool
    changes: list[Made]
    unchanged: int
    left_out: list[str]
    unpruned: list[str]
    versions: dict[str, int | None]


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("configuration"), desk.place

    @made.get("/schema", operation_id="getConfigurationSchema", summary="The JSON Schema of tidegate.yaml")
    def schema(asker: asking.Reader) -> dict[str, pydantic.JsonValue]:
        """For editors, which complete and check what is typed by it."""
        del asker
        return config.json_schema()

    @made.get(
        "/export",
        operation_id="exportConfiguration",
        summary="What the metadata database keeps of the configuration, as YAML",
        response_class=responses.PlainTextResponse,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "YAML."}},
    )
    def export(asker: asking.Admin) -> str:
        del asker
        return configuration.exported(place)

    @made.post("/apply", operation_id="applyConfiguration", summary="Take a configuration in from YAML")
    def apply(sheet: Sheet, asker: asking.Editor) -> Taken:
        """All of it or nothing; with `dry_run` it is only said what would change."""
        admin = asker.may("admin")
        before = None if sheet.dry_run else place.store.transact(lambda session: keyed.told(session, STEP))
        if before is not None:  # the call was made, and its answer lost
            return Taken.model_validate(before)
        found = configuration.proposed_text(
            place, sheet.yaml, prune=sheet.prune, admin=admin, versions=sheet.versions
        )
        if sheet.dry_run or not found.changes:
            return _taken(found, found.changes, changed=False)

        def noted(session: database.Session, made: list[editing.Change]) -> None:
            keyed.tell(session, STEP, _taken(found, made, changed=True).model_dump(mode="json"))

        return _taken(found, configuration.take(place, asker, found, admin=admin, beside=noted), changed=True)

    return made


def _taken(found: configuration.Proposal, changes: Sequence[editing.Change], *, changed: bool) -> Taken:
    return Taken(
        changed=changed,
        changes=[_made(each) for each in changes],
        unchanged=found.unchanged,
        left_out=list(found.left_out),
        unpruned=list(found.unpruned),
        versions=found.versions,
    )


def _made(change: editing.Change) -> Made:
    fields = {name: getattr(change, name) for name in Made.model_fields}
    return Made.model_validate(
        {**fields, "before": base.exact(change.before), "after": base.exact(change.after)}
    )
