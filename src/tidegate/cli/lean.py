"""What keeps commands small: nothing imported that none needs, and memory that does not scatter."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
import threading
from collections.abc import Iterator

M_ARENA_MAX = -8
"""glibc's malloc.h."""
TURN = 0.0005
"""Seconds for which a thread has the interpreter while others want it; 0.005 is Python's own."""
TIDIED = 60.0
"""Seconds between two looks at what memory can be given back."""


class _Absent:
    """Says that there is no pandas."""

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        """Nothing to say of other modules."""
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name=name)


@contextlib.contextmanager
def without_pandas() -> Iterator[None]:
    """While the block imports our modules, Arrow finds no pandas, for which it looks when it makes its first value.

    Where pandas is installed that spares 0.3 CPU-seconds and 40 MB. Arrow never looks again, until somebody asks
    it for a DataFrame, who gets one.
    """
    absent = _Absent()
    sys.meta_path.insert(0, absent)
    try:
        yield
    finally:
        sys.meta_path.remove(absent)


def few_arenas() -> None:
    """Have the C library take memory from two arenas, for processes that live for days.

    glibc gives threads up to eight arenas for each processor, and each of them keeps what it was given once. Other
    C libraries need no telling.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        _glibc("mallopt", M_ARENA_MAX, 2)


def prompt() -> None:
    """Have Python's threads take turns more often, for processes in which something is waited for.

    Whoever comes back from a database waits for the interpreter until the thread that has it gives it up. Of an
    event's way into a row that was a third (`bench/rows.py`: 99 of 100 within 0.95 s instead of 1.5).
    """
    sys.setswitchinterval(TURN)


def tidying(stopping: threading.Event) -> None:
    """Give memory back that is used no more, now and then, from a thread of its own.

    Objects that refer to each other wait long for Python's collector where very many others live, and freed memory
    waits in the C library; a busy process grew by 150 MB an hour (`bench/soak.py`). What is there after a minute,
    modules above all, is not looked at again before the process ends, so that a look takes milliseconds. At the end
    it has to be: else nanobind, by which DuckDB is a module, prints all that its module is made of as leaked.
    """

    def tidy() -> None:
        if stopping.wait(TIDIED):
            return
        gc.collect()
        atexit.register(gc.unfreeze)
        gc.freeze()
        while not stopping.wait(TIDIED):
            gc.collect()
            _glibc("malloc_trim", 0)

    threading.Thread(target=tidy, name="memory", daemon=True).start()


def _glibc(function: str, *values: int) -> None:
    """Call a function of glibc, where that is what there is."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            getattr(ctypes.CDLL(None), function)(*values)
