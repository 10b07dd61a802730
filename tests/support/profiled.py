"""A place with customers in its warehouse, and a pipeline that has made a customer model of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import piped
import seen

from tidegate.customers import run
from tidegate.engine import piping
from tidegate.engine import place as places
from tidegate.store import failed
from tidegate.warehouse import base, duckdb

FILE = """
pipelines:
  filed:
    {from: acme, to: local, description: Of the file, filter: {field: address.country, op: is, value: DE}}
"""
"""What is added to the file: a pipeline that reads Germans."""


def person(number: int, **more: Any) -> dict[str, Any]:
    """Six of them: the first four German, each two with one e-mail."""
    return piped.person(number, address={"country": "FR" if number > 3 else "DE"}, **more)


@contextlib.contextmanager
def place(
    folder: Path, people: Sequence[Mapping[str, Any]] | None = None, *, file: str = FILE, url: str = ""
) -> Iterator[places.Place]:
    """A place whose warehouse has people in the table that the pipeline reads; nothing ran yet."""
    with seen.place(seen.written(folder, more=file, **({"url": url} if url else {}))) as found:
        source = duckdb.DuckDB(folder / "w.duckdb", "stripe")
        told = [person(n) for n in range(6)] if people is None else people
        source.load([base.Load(piped.TABLE, piped.rows(told, 1))], {})
        source.close()
        seen.ticking(found)
        yield found


def ran(at: places.Place, name: str = "filed") -> run.Result:
    """Run a pipeline, and note its run as the engine does."""
    with piping.opened(at.file, name) as job:
        came = run.run(job, at.store, "run_1")
    told = piping.table(piping.Result(name, came))
    totals = {key: each for key, each in told.items() if key not in ("stream", "account", "status", "error")}
    seen.ran(at, f"pipeline:{name}", **totals)
    return came


def failure(source: str, **more: Any) -> failed.Failed:
    """A row of the pipeline of the file that could not be shaped."""
    usual = {
        "property": "email",
        "why": "the property email wants text",
        "said": "the property email wants text; the field holds 7",
        "line": None,
        "payload": '{"id": "cus_1", "email": "geheim@people.test"}',
    }
    return failed.Failed("filed", "acct_1", source, 1, "digest", **{**usual, **more}, run="run_1")
