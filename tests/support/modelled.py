"""Models for tests of the push: sources that answer with given rows, and what becomes of them in a workbook."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tidegate import config
from tidegate.catalog import writes
from tidegate.push import diff, mapping, models, workbook
from tidegate.sources import base
from tidegate.warehouse import base as warehouses

CUSTOMER = writes.load()["customer"]
JSON = warehouses.JSON


class Rows:
    """A source that answers with these batches; an exception among them is raised where it stands."""

    kind = "rows"

    def __init__(self, *batches: pa.RecordBatch | Exception) -> None:
        self.batches = batches
        self.given = 0
        self.closed = False

    def read(self, query: base.Query | str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """The batches, one after the other."""
        del query, parameters
        try:
            for batch in self.batches:
                if isinstance(batch, Exception):
                    raise batch
                self.given += 1
                yield batch
        finally:
            self.closed = True

    def columns(self, query: base.Query | str) -> pa.Schema:
        """Those of the first batch."""
        return next(iter(self.read(query))).schema

    def check(self) -> list[warehouses.Check]:
        return []

    def tables(self) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing is held."""


def batch(**columns: Any) -> pa.RecordBatch:
    """Columns of lists, whose types Arrow finds, or of Arrow arrays."""
    return pa.RecordBatch.from_pydict(columns)


def column(
    name: str, values: Sequence[Any], type: pa.DataType | None = None, *, json: bool = False
) -> pa.RecordBatch:
    """One column of a type, as a batch."""
    array = pa.array(values, type)
    field = pa.field(name, array.type, metadata=JSON if json else None)
    return pa.RecordBatch.from_arrays([array], schema=pa.schema([field]))


def push(**told: Any) -> config.Push:
    """A push of customers by their e-mail, but for what is told."""
    usual = {"model": "accounts", "to": "acme", "object": "customer", "match": {"email": "email"}}
    return config.Push.model_validate({**usual, "fields": {"metadata.plan": "plan"}, **told})


@contextlib.contextmanager
def book(folder: Path, run: str = "run_1") -> Iterator[workbook.Workbook]:
    """A workbook of the push `p`."""
    with workbook.opened(folder, "p", run) as opened:
        yield opened


def mapped(
    open_book: workbook.Workbook, told: config.Push, *batches: pa.RecordBatch, key: Sequence[str] = ("id",)
) -> tuple[models.Snapshot, mapping.Wanted]:
    """Rows in a workbook, mapped by a push called `p`."""
    taken = models.snapshot(Rows(*batches), "the query", key, open_book)
    return taken, mapping.map_rows(open_book, taken, "p", told, CUSTOMER)


def wanted(folder: Path, told: config.Push, *batches: pa.RecordBatch) -> dict[str, dict[str, str]]:
    """Key -> field -> what a push wants of it, without nulls."""
    with book(folder) as opened:
        _, found = mapped(opened, told, *batches)
        return {
            row["key"]: {field: row[field] for field in found.fields if row[field] is not None}
            for each in mapping.rows(opened, found)
            for row in each.to_pylist()
        }


def acknowledged(rows: Mapping[str, tuple[str, Mapping[str, str]]]) -> list[pa.RecordBatch]:
    """Key -> hash and fields, as the store gives it."""
    told = [{"key": key, "hash": hash, "fields": json.dumps(fields)} for key, (hash, fields) in rows.items()]
    return [pa.RecordBatch.from_pylist(told, diff.ACKNOWLEDGED)]
