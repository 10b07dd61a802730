"""A customer model that somebody other than a run of a pipeline works in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tidegate import errors
from tidegate.customers import merging, records, run
from tidegate.warehouse import base, scripts

T = TypeVar("T")


def scripted(model: run.Model, work: Callable[[scripts.Script], T]) -> T:
    """Do work inside the warehouse of a model; raises ConfigError for one that cannot hold any."""
    warehouse = model.warehouse
    if not isinstance(warehouse, scripts.Scripted):
        raise errors.ConfigError(f"a warehouse of the type {warehouse.kind} cannot hold the customer model")
    return warehouse.scripted(work)


def claimed(model: run.Model, writer: str) -> base.Fence:
    """Prepare all tables of a model and claim them: whoever claimed them before writes no more."""
    tables = [*records.tables(model.names, model.profile), merging.table(model.names, model.profile)]
    model.warehouse.prepare(tables)
    return model.warehouse.claim(writer, [each.name for each in (*tables, *model.names.kept)])
