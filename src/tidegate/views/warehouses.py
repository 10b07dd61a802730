"""Warehouses: which there are, what stands in them, the forms to add one, and the checks of whether it works."""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate import config, errors, views
from tidegate import warehouse as warehouse_rooms
from tidegate.config import values
from tidegate.config import warehouses as types
from tidegate.engine import place as places
from tidegate.views import drafts, forms, outside, overview, standing
from tidegate.warehouse import base

STEPS = ("reach", "sign in", "list", "read", "write")
"""The steps of a check, in their order; a file has no signing in and no list."""
MENDING: Mapping[str, str] = {
    "open": "Install what the sentence names, then check again.",
    "reach": "Look at the address and the port, at firewalls in between, and whether the server is up.",
    "sign in": "Look at the user, the password or key, and the name of the database.",
    "list": "Let the user see the schemas: grant it USAGE, or what the warehouse calls that.",
    "read": "Let the user read the schema's tables: grant it SELECT.",
    "write": "Let the user make and change tables in the schema: grant it CREATE, INSERT, UPDATE and DELETE.",
}
"""What mends a step that fails, in general; what exactly went wrong stands beside it."""
PATIENCE = 45.0
"""Seconds that a check may take: a warehouse that sleeps is woken by it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of warehouse, and the form for one."""

    type: str
    label: str
    fields: tuple[forms.Field, ...]
    readonly: bool
    """Is it read alone, by models?"""


@dataclass(frozen=True, slots=True)
class Warehouse:
    """One of the configuration; `rows` and `bytes` as far as they are known without opening it."""

    name: str
    type: str
    where: str
    """Its address, without user and password."""
    schema: str
    flows: tuple[str, ...]
    """What writes into it and reads from it, by full names."""
    size: overview.Size


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a check; `ok` is None for one that was not tried, since one before it failed."""

    name: str
    ok: bool | None
    detail: str = ""
    mend: str = ""


_READONLY = ("elasticsearch", "google_sheets")


def kinds() -> dict[str, Kind]:
    """The types of warehouses by name, in the order of the documentation."""
    union = typing.get_args(types.AnyWarehouse)[0]
    found = {}
    for each in typing.get_args(union):
        model = typing.get_args(each)[0]
        kind = str(model.model_fields["type"].default)
        label = (model.model_fields["type"].description or kind).rstrip(".")
        label = label.removeprefix("A ").removeprefix("An ")
        # The address first: the schema has a default that few change.
        known = sorted(forms.fields(model, without=("type",)), key=lambda each: each.name == "schema")
        found[kind] = Kind(kind, label[:1].upper() + label[1:], tuple(known), kind in _READONLY)
    return found


def listed(place: places.Place) -> list[Warehouse]:
    """All of them, by name."""
    sizes = {each.warehouse: each for each in overview.sizes(place.file, standing.grouped(place))}
    return [_warehouse(place.file, name, sizes[name]) for name in sorted(place.file.warehouses)]


def one(place: places.Place, name: str) -> Warehouse:
    """One of them; raises Unknown."""
    named(place.file, name)
    sizes = {each.warehouse: each for each in overview.sizes(place.file, standing.grouped(place))}
    return _warehouse(place.file, name, sizes[name])


def named(file: config.Config, name: str) -> config.Warehouse:
    """A warehouse of the configuration; raises Unknown."""
    if name not in file.warehouses:
        near = values.suggestion(name, file.warehouses)
        raise views.Unknown(f"There is no warehouse {name!r} in the configuration{near or '.'}")
    return file.warehouses[name]


def check(place: places.Place, name: str) -> list[Step]:
    """Reach, sign in, list, read, write, one after another; raises Unknown, never for what fails.

    Writing makes a scratch table and drops it again.
    """
    return _steps(name, named(place.file, name))


def check_draft(
    place: places.Place, name: str, body: Mapping[str, Any], *, admin: bool = False
) -> list[Step]:
    """The same of one that is not kept yet; raises ConfigError where the body is none of a warehouse."""
    return _steps(name, drafts.warehouse(place, name, body, admin=admin))


def _steps(name: str, warehouse: config.Warehouse) -> list[Step]:
    def look() -> list[base.Check]:
        with contextlib.closing(warehouse_rooms.open_warehouse(warehouse)) as opened:
            return opened.check()

    try:
        done = outside.warehouse(name, look, patience=PATIENCE)
    except (errors.WarehouseUnreachable, errors.WarehouseBusy) as error:
        done = [base.Check("reach", False, str(error))]
    except errors.TidegateError as error:  # a driver is missing, a certificate cannot be read
        done = [base.Check("open", False, str(error))]
    found = [
        Step(each.name, each.ok, each.detail, "" if each.ok else MENDING.get(each.name, "")) for each in done
    ]
    tried = {each.name for each in done}
    if done and not done[-1].ok:
        last = STEPS.index(done[-1].name) if done[-1].name in STEPS else -1
        file = isinstance(warehouse, config.DuckDB)
        skipped = ("sign in", "list") if file else ()
        rest = (each for each in STEPS[last + 1 :] if each not in tried and each not in skipped)
        found += [Step(each, None, "not tried yet") for each in rest]
    return found


def _warehouse(file: config.Config, name: str, size: overview.Size) -> Warehouse:
    found = file.warehouses[name]
    flows = standing.pulls_into(file, name)
    flows += [f"pipeline:{each}" for each, it in file.pipelines.items() if it.warehouse == name]
    models = {each for each, it in file.models.items() if it.warehouse == name}
    flows += [f"push:{each}" for each, it in file.pushes.items() if it.model in models]
    return Warehouse(name, found.type, where(found), found.schema_name, tuple(flows), size)


def where(found: config.Warehouse) -> str:
    """The address of a warehouse, without user, password and whatever else a URL may hide."""
    if isinstance(found, config.DuckDB):
        return found.file
    if isinstance(found, types.Lake):
        return found.folder
    url = getattr(found, "url", None)
    if url is not None:
        return _host(url.get_secret_value())
    parts = [getattr(found, each, None) for each in ("host", "account", "project", "spreadsheet", "path")]
    said = [str(each) for each in parts if each]
    more = [str(each) for each in (getattr(found, "database", None), getattr(found, "dataset", None)) if each]
    return "/".join((*said[:1], *more[:1]))


def _host(url: str) -> str:
    """What of a URL names no user and hides nothing: scheme, host, port and path."""
    scheme, _, rest = url.partition(":")
    address = rest.removeprefix("//").partition("?")[0].partition("#")[0]
    return f"{scheme}://{address.rpartition('@')[2]}"
