"""Parts of the configuration that nobody has kept yet, read as they would be, to be tried first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import pydantic

from tidegate import config, errors
from tidegate.config import document, values, warehouses
from tidegate.engine import concealing, configuration, editing
from tidegate.engine import place as places
from tidegate.store import objects

T = TypeVar("T")


def connection(
    place: places.Place, name: str, body: Mapping[str, Any], *, admin: bool = False
) -> config.Connection:
    """A connection as this body says it; raises ConfigError, with its `problems` one by one.

    A secret that is given as it was shown, `{"secret": true, ...}`, is the one that is kept of that name; `admin`
    as for `editing.check`.
    """
    adapter: pydantic.TypeAdapter[config.Connection] = pydantic.TypeAdapter(config.Connection)
    return _read(adapter, place, "stripe", name, body, admin)


def warehouse(
    place: places.Place, name: str, body: Mapping[str, Any], *, admin: bool = False
) -> config.Warehouse:
    """A warehouse as this body says it; the same of secrets and of `admin`. Raises ConfigError."""
    adapter: pydantic.TypeAdapter[config.Warehouse] = pydantic.TypeAdapter(warehouses.AnyWarehouse)
    return _read(adapter, place, "warehouses", name, body, admin)


def pipeline(
    place: places.Place, name: str, body: Mapping[str, Any], *, admin: bool = False
) -> config.Pipeline:
    """A pipeline as this body says it; the same of `admin`. Raises ConfigError."""
    adapter: pydantic.TypeAdapter[config.Pipeline] = pydantic.TypeAdapter(config.Pipeline)
    return _read(adapter, place, "pipelines", name, body, admin)


def _read(
    adapter: pydantic.TypeAdapter[T],
    place: places.Place,
    kind: str,
    name: str,
    body: Mapping[str, Any],
    admin: bool,
) -> T:
    wrong = editing.check(place, kind, name, body, admin=admin)
    if wrong:
        raise errors.ConfigError("\n".join(_sentence(each) for each in wrong), wrong)
    old = objects.state(place.store).get(kind, name)
    secret = configuration.opener(place.store)
    hid = concealing.conceal(kind, name, body, None if old is None else old.body, secret, ())
    doc = document.parse(json.dumps(hid.body), "", secret=configuration.opener(place.store, hid.fresh))
    return adapter.validate_python(doc.data, context=values.Context(place.folder.absolute().parent))


def _sentence(wrong: editing.Problem) -> str:
    return f"{wrong.path}: {wrong.sentence}" if wrong.path else wrong.sentence
