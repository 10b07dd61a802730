"""A stream of customers in a DuckDB file, and a pipeline over it: what tests of whole runs begin with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from tidegate import catalog, config
from tidegate.customers import changes, names, rules, run
from tidegate.rows import decode
from tidegate.shape import profile
from tidegate.store import database
from tidegate.warehouse import base, duckdb

STREAM = catalog.load().streams["customers"]
SCHEMA = decode.schema(STREAM)
TABLE = base.Table("customers", SCHEMA, ("_account_id", *STREAM.key))
GERMANS: dict[str, Any] = {"filter": {"field": "address.country", "op": "is", "value": "DE"}}
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def person(number: int, **more: Any) -> dict[str, Any]:
    """A customer; each two share an e-mail."""
    usual = {
        "id": f"cus_{number}",
        "email": f"p{number // 2}@people.test",
        "name": f"Person {number}",
        "address": {"country": "DE"},
        "metadata": {},
    }
    return {**usual, **more}


def rows(people: Iterable[Mapping[str, Any]], version: int, deleted: bool = False) -> pa.Table:
    """Customers as a pull has them in its table."""
    given = [
        {
            **{
                name: msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value
                for name, value in each.items()
            },
            "_account_id": "acct_1",
            "_version": version,
            "_synced_at": START + dt.timedelta(seconds=version),
            "_deleted_at": START if deleted else None,
        }
        for each in people
    ]
    columns = [pa.array([each.get(field.name) for each in given], field.type) for field in SCHEMA]
    return pa.table(columns, schema=SCHEMA)


class Place:
    """A folder with a stream, a model and a metadata database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = duckdb.DuckDB(folder / "w.duckdb", "stripe")
        self.target = duckdb.DuckDB(folder / "w.duckdb", "tidegate")
        self.store = database.open_database(f"sqlite:///{folder / 't.db'}")
        self.version = 0

    def close(self) -> None:
        self.source.close()
        self.target.close()
        self.store.close()

    def pulled(self, *people: Mapping[str, Any], version: int = 0, deleted: bool = False) -> None:
        """What a pull brings; versions count up by themselves."""
        self.version = version or self.version + 1
        self.source.load([base.Load(TABLE, rows(people, self.version, deleted))], {})

    def job(self, model: Mapping[str, Any] | None = None, name: str = "eu", **pipeline: Any) -> run.Job:
        """A pipeline over the stream."""
        told = config.Pipeline.model_validate({"from": "acme", "to": "w", **pipeline})
        of = config.CustomerModel.model_validate({"warehouse": "w", **(model or {})})
        modelled = run.Model(
            self.target, names.Names(of.table), profile.of(of), rules.Rules.of(of), of.primary_source
        )
        return run.Job(name, told, changes.stream(self.source, TABLE), modelled)

    def run(self, job: run.Job | None = None, **more: Any) -> run.Result:
        """A run of it."""
        return run.run(job or self.job(**GERMANS), self.store, more.pop("run_id", "run_1"), **more)

    def profiles(self, *columns: str) -> list[tuple[Any, ...]]:
        """The profiles that live, by their first column."""
        told = ", ".join(columns or ("customer_id", "email", "name", "sources"))
        batches = self.target.read(
            f"SELECT {told} FROM tidegate.customer_profiles WHERE _deleted_at IS NULL ORDER BY 1"
        )
        return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]


def function(folder: Path, text: str, suffix: str = "py") -> dict[str, str]:
    """A function in a file, as the configuration names it."""
    file = folder / f"function.{suffix}"
    file.write_text(text)
    return {{"py": "python", "js": "javascript"}[suffix]: str(file)}
