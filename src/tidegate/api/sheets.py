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
    """What became of a part."""

    kind: objects.Kind
    """The section that it stands in."""
    name: str
    """Empty where there is one of its kind."""
    action: Action
    """`none` where it was as it is to be."""
    version: int
    """The one that it has now; 0 where it is gone."""
    before: dict[str, Any] | None
    """How it was, with secrets masked; null for a new one."""
    after: dict[str, Any] | None
    """How it is now, with secrets masked; null where it is gone."""


_Seen = Annotated[int, pydantic.Field(ge=0, le=base.EXACT, strict=True)]


class Sheet(base.Model):
    """A configuration as YAML to be taken in."""

    yaml: Annotated[str, fastapi.Body(max_length=500_000)]
    """As in tidegate.yaml."""
    prune: Annotated[bool, fastapi.Body(strict=True)] = False
    """Remove what it does not have."""
    dry_run: Annotated[bool, fastapi.Body(strict=True)] = False
    """Only say what would change."""
    versions: Annotated[dict[str, _Seen | None] | None, fastapi.Body(max_length=10_000)] = None
    """What a `dry_run` answered: all of it is refused where somebody changed a part since."""


class Taken(base.Model):
    """What taking it in changed, or would have."""

    changed: bool
    """Was anything written?"""
    changes: list[Made]
    """Part by part."""
    unchanged: int
    """Parts that are as they were."""
    left_out: list[str]
    """Sections that belong to the file alone."""
    unpruned: list[str]
    """Parts that it does not have, and that stay."""
    versions: dict[str, int | None]
    """Those of its parts as they were, by `kind.name`; null where there was none."""


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
