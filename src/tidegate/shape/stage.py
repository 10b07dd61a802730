"""The DuckDB of this process in which rows are filtered and shaped: it reaches no file and no network."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


@functools.cache
def engine() -> duckdb.DuckDBPyConnection:
    """The DuckDB of this process; every use takes a cursor of its own."""
    import duckdb

    engine = duckdb.connect(":memory:", config={"enable_external_access": False, "threads": 1})
    engine.execute("SET lock_configuration = true")
    return engine


def lowered(word: str) -> str:
    """A text in lower case, by the same rules as the rows."""
    with engine().cursor() as session:
        ((found,),) = session.execute("SELECT lower($1)", [word]).fetchall()
    return str(found)
