"""Ports for servers that begin a moment later, end, and begin again at the same one."""

from __future__ import annotations

import random
import socket

FIRST, LAST = 15_000, 30_000
"""Outgoing connections get ports from 32768 on (ip_local_port_range), so none takes one of these meanwhile."""

_numbers = random.SystemRandom()
"""Hypothesis seeds the usual one alike in every process."""


def free() -> int:
    """A port where nobody listens."""
    while True:
        port = _numbers.randrange(FIRST, LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
