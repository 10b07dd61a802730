"""Models: what can be sent to Stripe, its first rows and columns, and whether its key is one."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic

from tidegate import config, errors, sources, views
from tidegate.config import document, values
from tidegate.engine import configuration, editing
from tidegate.engine import place as places
from tidegate.push import models, workbook
from tidegate.sources import base
from tidegate.views import outside

SHOWN = 20
"""Rows of a look."""
PATIENCE = 60.0
"""Seconds for which the key of a whole model may be checked."""
WIDE = 200
"""Characters of a value that are shown."""
WAYS = ("sql", "table", "index", "sheet", "file")


@dataclass(frozen=True, slots=True)
class Model:
    """A model in the list of all."""

    name: str
    model: config.Model
    way: str
    """How it is written: one of `WAYS`."""
    text: str
    """The query, the table, the file, in a line."""
    pushes: tuple[str, ...]
    """Those that send it."""

    @property
    def where(self) -> str:
        """The warehouse that it is read from; empty for a file."""
        return self.model.warehouse or ""


@dataclass(frozen=True, slots=True)
class Look:
    """The first rows of a model: columns with their types, cells as text, and what is wrong with keys in them."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str | None, ...], ...]
    keys: tuple[str | None, ...]
    """The key of each row as pushes have it; None where it has none that is usable."""
    invalid: Mapping[str, int]
    doubled: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """What all rows of a model say of its key."""

    rows: int
    invalid: Mapping[str, int]
    """Rows without a usable key, by reason in words."""
    doubled: int
    """Rows whose key came more than once."""
    doubles: int
    """Keys that did."""
    first: tuple[str, ...]
    """Some of them."""

    @property
    def fine(self) -> bool:
        """Has every row a key of its own?"""
        return not self.invalid and not self.doubled


def listed(place: places.Place) -> list[Model]:
    """All models of the configuration, in its order."""
    file = place.file
    return [_model(file, name) for name in file.models]


def one(place: places.Place, name: str) -> Model:
    """One model; raises Unknown."""
    file = place.file
    if name not in file.models:
        raise views.Unknown(f"There is no model {name!r}{values.suggestion(name, file.models) or '.'}")
    return _model(file, name)


def look(place: places.Place, name: str, *, limit: int = SHOWN) -> Look:
    """The first rows of a model; raises Unknown, and what its source raises."""
    it = one(place, name)
    return _look(place.file, it.name, limit)


def look_draft(
    place: places.Place, name: str, body: Mapping[str, Any], *, limit: int = SHOWN, admin: bool = False
) -> Look:
    """The same of a model that nobody has kept yet; raises ConfigError with its `problems`."""
    wrong = editing.check(place, "models", name, body, admin=admin)
    if wrong:
        said = "; ".join(f"{each.path}: {each.sentence}".removeprefix(": ") for each in wrong)
        raise errors.ConfigError(said, wrong)
    doc = document.parse(json.dumps(body), "", secret=configuration.opener(place.store))
    context = values.Context(place.folder.absolute().parent)
    model = pydantic.TypeAdapter(config.Model).validate_python(doc.data, context=context)
    file = place.file
    return _look(file.model_copy(update={"models": {**file.models, name: model}}), name, limit)


def check_key(place: places.Place, name: str) -> KeyCheck:
    """Read a model whole and see whether its key is one; raises Unknown, and what its source raises."""
    it, file = one(place, name), place.file

    def work() -> KeyCheck:
        with (
            contextlib.closing(sources.of_model(file, it.name)) as source,
            workbook.opened(place.folder, f"check-{it.name}", secrets.token_hex(8)) as book,
        ):
            taken = models.snapshot(source, base.asked(it.model), it.model.keys, book)
            first, doubles = models.doubles(book)
        invalid = {models.REASONS.get(why, why): count for why, count in taken.invalid.items() if count}
        return KeyCheck(taken.rows, invalid, taken.doubled, doubles, first)

    return outside.warehouse(it.where or f"of {it.name}", work, patience=PATIENCE)


def tables(place: places.Place, warehouse: str) -> list[str]:
    """What can be read from a warehouse, for somebody who writes a model; none where it does not tell."""
    file = place.file
    if warehouse not in file.warehouses:
        return []

    def work() -> list[str]:
        draft = config.Model(warehouse=warehouse, table="-", key="-")
        with contextlib.closing(
            sources.of_model(file.model_copy(update={"models": {"-": draft}}), "-")
        ) as source:
            return source.tables()

    with contextlib.suppress(errors.TidegateError):
        return outside.warehouse(warehouse, work)
    return []


def columns(place: places.Place, name: str) -> list[tuple[str, str]]:
    """The columns of a model with their types; raises Unknown, and what its source raises."""
    it, file = one(place, name), place.file

    def work() -> list[tuple[str, str]]:
        with contextlib.closing(sources.of_model(file, it.name)) as source:
            schema = source.columns(base.asked(it.model))
            return [(field.name, str(field.type)) for field in schema]

    return outside.warehouse(it.where or f"of {it.name}", work)


def _look(file: config.Config, name: str, limit: int) -> Look:
    model = file.models[name]

    def work() -> Look:
        with contextlib.closing(sources.of_model(file, name)) as source:
            found = models.preview(source, base.asked(model), limit, key=model.keys)
        schema = found.rows.schema
        cells = [[_text(value) for value in column.to_pylist()] for column in found.rows.columns]
        rows = tuple(zip(*cells, strict=True)) if len(found.rows) else ()
        invalid = {models.REASONS.get(why, why): count for why, count in found.invalid.items() if count}
        named = tuple((field.name, str(field.type)) for field in schema)
        return Look(named, rows, found.keys, invalid, found.doubled)

    return outside.warehouse(model.warehouse or f"of {name}", work)


def _model(file: config.Config, name: str) -> Model:
    model = file.models[name]
    way = next(each for each in WAYS if getattr(model, each) is not None)
    text = " ".join(str(getattr(model, way)).split())
    used = tuple(push for push, it in file.pushes.items() if it.model == name)
    return Model(name, model, way, text if way != "file" else str(model.file), used)


def _text(value: object) -> str | None:
    if value is None:
        return None
    text = json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= WIDE else f"{text[: WIDE - 1]}…"
