"""What is the desk's own: where it puts what has no room in memory."""

from __future__ import annotations

from pathlib import Path

from tidegate import temporary
from tidegate.warehouse import desk


def test_what_has_no_room_in_memory_goes_to_temporary_files() -> None:
    """DuckDB's own choice is `.tmp` in the folder that a command runs in, which may not be writable."""
    [(folder,)] = desk._duckdb().execute("SELECT current_setting('temp_directory')").fetchall()
    assert Path(folder).parent == temporary.spilling()
