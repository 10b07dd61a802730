"""A place with pulls, a pipeline and a push, of which a scheduler knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import running
import servers

from tidegate.engine import place as places


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[places.Place]:
    """`@pytest.mark.parametrize("place", ["sqlite", "postgres"], indirect=True)` has both."""
    wanted = getattr(request, "param", "sqlite")
    with running.place(tmp_path, servers.new_postgres() if wanted == "postgres" else "") as found:
        yield found
