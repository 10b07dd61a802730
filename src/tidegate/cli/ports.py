"""Ports as they are given on the command line."""

from __future__ import annotations

from tidegate import errors

LAST = 65_535


def checked(port: int) -> int:
    """A port to listen on, 0 for any that is free; raises ConfigError for what is none."""
    if not 0 <= port <= LAST:
        raise errors.ConfigError(
            f"--port {port}: there is no such port; give 1 to {LAST}, or 0 for any that is free"
        )
    return port
