"""Models over HTTP: which there are, their first rows, and whether their key is one."""

from __future__ import annotations

from typing import Annotated

import fastapi

from tidegate.api import base
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import models as views

Name = Annotated[str, fastapi.Path(max_length=100, description="The model's name in the configuration.")]


class Model(base.Model):
    """What can be sent to Stripe, and the pushes that do."""

    name: str
    """As the configuration calls it."""
    warehouse: str | None
    """Where it is read; null where it is a file."""
    kind: str
    """How it is written: `sql`, `table`, `index`, `sheet` or `file`."""
    text: str
    """The query, the table or the file, in a line."""
    key: list[str]
    """The columns that make a row's key."""
    pushes: list[str]
    """The pushes that send it, by their names."""


class ModelColumn(base.Model):
    """A column and its type."""

    name: str
    """As the model has it."""
    type: str
    """In the types of where it is read."""


class ModelRows(base.Model):
    """The first rows of a model."""

    columns: list[ModelColumn]
    """The columns, in the rows' order."""
    rows: list[list[str | None]]
    """Cells as text; null is NULL."""
    keys: list[str | None]
    """The key of each row; null where it has none that is usable."""
    invalid: dict[str, int]
    """Rows without a usable key, by reason in words."""
    doubled: list[str]
    """Keys that stand on several of these rows."""


class ModelKey(base.Model):
    """What all rows of a model say of its key."""

    fine: bool
    """Has every row a key of its own?"""
    rows: int
    """Rows that there are."""
    invalid: dict[str, int]
    """Rows without a usable key, by reason in words."""
    doubled: int
    """Rows whose key came more than once."""
    doubles: int
    """Keys that stand on several rows."""
    first: list[str]
    """Some of them."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("models"), desk.place

    @made.get("/models", operation_id="listModels", summary="List models")
    def listed(asker: asking.Reader, paging: base.Paging) -> base.Page[Model]:
        del asker
        shown, rest = base.part(views.listed(place), paging, lambda each: each.name)
        return base.Page(items=[_model(each) for each in shown], next=rest)

    @made.get("/models/{model}", operation_id="getModel", summary="A model")
    def one(model: Name, asker: asking.Reader) -> Model:
        del asker
        return _model(views.one(place, model))

    @made.get("/models/{model}/rows", operation_id="previewModel", summary="The first rows of a model")
    def rows(
        model: Name, asker: asking.Operator, limit: Annotated[int, fastapi.Query(ge=1, le=100)] = views.SHOWN
    ) -> ModelRows:
        del asker
        found = views.look(place, model, limit=limit)
        return ModelRows(
            columns=[ModelColumn(name=name, type=kind) for name, kind in found.columns],
            rows=[list(each) for each in found.rows],
            keys=list(found.keys),
            invalid=dict(found.invalid),
            doubled=list(found.doubled),
        )

    @made.post(
        "/models/{model}/check-key", operation_id="checkModelKey", summary="Read it whole, and check its key"
    )
    @base.looks
    def key(model: Name, asker: asking.Operator) -> ModelKey:
        del asker
        found = views.check_key(place, model)
        return ModelKey(
            fine=found.fine,
            rows=found.rows,
            invalid=dict(found.invalid),
            doubled=found.doubled,
            doubles=found.doubles,
            first=list(found.first),
        )

    return made


def _model(each: views.Model) -> Model:
    return Model(
        name=each.name,
        warehouse=each.model.warehouse,
        kind=each.way,
        text=each.text,
        key=list(each.model.keys),
        pushes=list(each.pushes),
    )
