"""What tests of what is sent begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.store import database


@pytest.fixture
def store(tmp_path: Path) -> Iterator[database.Database]:
    """A metadata database that nobody used before."""
    opened = database.open_database(f"sqlite:///{tmp_path}/tidegate.db")
    yield opened
    opened.close()
