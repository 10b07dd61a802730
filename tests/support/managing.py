"""Places whose configuration is read anew: a file, a metadata database, and what is kept in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tidegate.engine import editing, live
from tidegate.engine import place as places
from tidegate.store import database

KEY = "sk_test_geheim123456789"
CONNECTION = {"api_key": KEY}
WAREHOUSE = {"type": "duckdb", "path": "one.duckdb"}
PULL = {"from": "acme", "to": "one", "streams": {"customers": {}}}
FILE = f"""\
stripe:
  acme: {{api_key: {KEY}}}
warehouses:
  one: {{type: duckdb, path: one.duckdb}}
pulls:
  everything: {{from: acme, to: one, schedule: manual}}
"""


def written(folder: Path, url: str, text: str = FILE) -> Path:
    """A configuration on a metadata database."""
    file = folder / "tidegate.yaml"
    file.write_text(f'{text}database: "{url}"\n')
    return file


@contextlib.contextmanager
def placed(file: Path, url: str) -> Iterator[places.Place]:
    """A process with that configuration."""
    with contextlib.closing(database.open_database(url)) as store:
        yield places.Place(live.Live(file, store), store)


def filled(place: places.Place) -> places.Place:
    """The same place, after a connection, a warehouse and a pull were made in the browser."""
    make(place, "stripe", "acme", CONNECTION)
    make(place, "warehouses", "one", WAREHOUSE)
    make(place, "pulls", "everything", PULL)
    return place


def make(place: places.Place, kind: str, name: str, body: dict[str, Any]) -> editing.Change:
    """Make a part of the configuration as ann, who is an editor."""
    return editing.change(place, "ann", kind, name, body, None, via="session")


def version(place: places.Place, kind: str, name: str) -> int:
    """The version of a part."""
    found = editing.get(place, kind, name)
    assert found is not None
    return found.version
