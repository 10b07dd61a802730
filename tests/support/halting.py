"""Processes that stand still: the signal alone lets their threads go on for a while."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 60.0


def halt(process: int) -> None:
    """Stop a process, and wait until none of its threads runs any more."""
    os.kill(process, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE
    while any(state not in "TtZX" for state in _states(process)):
        assert time.monotonic() < deadline, "it does not stop"
        time.sleep(0.001)


def _states(process: int) -> Iterator[str]:
    """How each thread of a process is: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html"""
    for thread in Path(f"/proc/{process}/task").glob("*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield thread.read_text().rpartition(")")[2].split()[0]
