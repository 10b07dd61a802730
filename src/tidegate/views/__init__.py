"""What there is to see and to do: plain functions over a `place.Place`, which answer with frozen values.

The command line, the API and the pages call the same ones, so that all three say the same. A function that changes
something is told who asks, and notes it in the audit log. Nothing here prints, parses a request or knows of HTML.

What is not there is `Unknown`, what cannot be done as things stand is `Refused`; both are errors of whoever asked.
"""

from __future__ import annotations

import getpass
import socket
from dataclasses import dataclass
from typing import Protocol

from tidegate import errors


class Who(Protocol):
    """Who asks for a change, as the audit log has it."""

    @property
    def name(self) -> str:
        """Such as ann@example.com, or a token's name."""

    @property
    def via(self) -> str:
        """`session`, `token` or `cli`."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who sits at a terminal."""

    name: str
    via: str = "cli"


def person() -> Person:
    """Whoever runs this process: `ann@laptop`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user of a container may have a number, and no name
        user = "somebody"
    return Person(f"{user}@{socket.gethostname()}")


class Unknown(errors.ConfigError):
    """What was named does not exist; over HTTP 404."""


class Refused(errors.ConfigError):
    """As things stand it cannot be done; over HTTP 409."""
