"""Warehouses over HTTP: which there are, what stands in them, and whether they work, step by step."""

from __future__ import annotations

from typing import Annotated, Any

import fastapi
import pydantic

from tidegate.api import base, overview
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import warehouses as views

Name = Annotated[str, fastapi.Path(max_length=63, description="The warehouse's name in the configuration.")]


class Warehouse(base.Model):
    """A warehouse, as far as it is known without opening it."""

    name: str
    """As the configuration calls it."""
    type: str
    """Such as `postgres` or `duckdb`."""
    where: str
    """Its address, without who signs in and how."""
    schema_name: Annotated[str, pydantic.Field(validation_alias="schema", serialization_alias="schema")]
    """Where its tables are, unless a flow says otherwise."""
    flows: list[str]
    """What writes into it and reads from it."""
    size: overview.Size
    """What is known of how large it is."""


class WarehouseStep(base.Model):
    """What was tried."""

    name: str
    """Such as `reach`, `sign in` or `write`."""
    ok: bool | None
    """Did it work? Null where it was not tried, since one before it failed."""
    detail: str
    """What was found, or what went wrong."""
    mend: str
    """What to do about it; empty where nothing is to be done."""


class CheckedWarehouse(base.Model):
    """The steps of a check in their order: reach, sign in, list, read, write; a file has not all of them."""

    ok: bool
    """Did all of them work?"""
    steps: list[WarehouseStep]
    """What was tried, in its order."""


class DraftWarehouse(base.Model):
    """A warehouse that is not kept yet, as it would be written in the file."""

    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
    """What the configuration is to call it."""
    body: dict[str, Any]
    """Such as its `type`, `host` and `database`."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("warehouses"), desk.place

    @made.get("/warehouses", operation_id="listWarehouses", summary="List the warehouses")
    def listed(asker: asking.Reader, paging: base.Paging) -> base.Page[Warehouse]:
        del asker
        after = paging.place(str)
        found = [each for each in views.listed(place) if after is None or each.name > after[0]]
        shown = found[: paging.limit]
        return base.Page(
            items=[Warehouse.model_validate(each) for each in shown],
            next=base.cursor(shown[-1].name) if len(found) > len(shown) else None,
        )

    @made.get("/warehouses/{name}", operation_id="getWarehouse", summary="One warehouse")
    def get(name: Name, asker: asking.Reader) -> Warehouse:
        del asker
        return Warehouse.model_validate(views.one(place, name))

    @made.post(
        "/warehouses/check", operation_id="checkDraftWarehouse", summary="Check a warehouse before it is kept"
    )
    @base.looks
    def check_draft(draft: DraftWarehouse, asker: asking.Editor) -> CheckedWarehouse:
        """Writing makes a scratch table and drops it again."""
        found = views.check_draft(place, draft.name, draft.body, admin=asker.may("admin"))
        return _checked(found)

    @made.post(
        "/warehouses/{name}/check", operation_id="checkWarehouse", summary="Check a warehouse step by step"
    )
    @base.looks
    def check(name: Name, asker: asking.Operator) -> CheckedWarehouse:
        """Writing makes a scratch table and drops it again."""
        del asker
        return _checked(views.check(place, name))

    return made


def _checked(found: list[views.Step]) -> CheckedWarehouse:
    steps = [WarehouseStep.model_validate(each) for each in found]
    return CheckedWarehouse(ok=all(each.ok for each in found), steps=steps)
