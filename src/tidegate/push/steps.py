"""Every step of a push calls its name out here, so that a test can stop or kill the process exactly there."""

from __future__ import annotations

from collections.abc import Callable

listener: Callable[[str], None] | None = None
"""What hears the names; nobody, outside of tests."""


def reached(name: str) -> None:
    """Say that a step is reached: `intent committed`, `before the socket write`.

    What the listener raises goes on to the caller.
    """
    if listener is not None:
        listener(name)
