"""A stream of customers and its model in any warehouse, where `piped` has them in a DuckDB file."""

from __future__ import annotations

from pathlib import Path

import piped

from tidegate import warehouse
from tidegate.store import database


class Place(piped.Place):
    """Stream and model in one schema of the warehouse behind a URL."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.version = folder, 0
        self.source, self.target = (warehouse.open_url(url) for _ in range(2))
        self.source.prepare([piped.TABLE])
        self.store = database.open_database(f"sqlite:///{folder / 't.db'}")
