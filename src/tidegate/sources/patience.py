"""How long a caller waits for rows, whatever the server has been told."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator

import pyarrow as pa

from tidegate import errors

SHARE = 0.95
"""An error after this share of the timeout is taken for its end: servers count from another moment than we do."""

AGAIN = 1.0
"""Seconds between two interruptions: the first may come before there is anything to interrupt."""


def bounded(
    batches: Iterator[pa.RecordBatch],
    timeout: float,
    interrupt: Callable[[], None],
    where: str,
    *,
    grace: float = 0.0,
) -> Generator[pa.RecordBatch, None, None]:
    """The same batches; a wait for one beyond `timeout` seconds is interrupted and raises WarehouseError.

    `grace`: seconds more, in which a server that knows the timeout ends the query by itself.
    What the caller does between two batches does not count.
    """
    too_long = errors.WarehouseError(
        f"The query on {where} ran longer than {timeout:g} s and was stopped; let it read less, or give it more "
        "time."
    )
    try:
        while True:
            began = time.monotonic()
            try:
                with _watched(timeout + grace, interrupt) as interrupted:
                    batch = next(batches, None)
            except errors.WarehouseError as error:
                if time.monotonic() - began < timeout * SHARE:
                    raise
                raise too_long from error
            if interrupted.is_set():  # whatever came, it need not be all
                raise too_long
            if batch is None:
                return
            yield batch
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()


@contextlib.contextmanager
def _watched(seconds: float, interrupt: Callable[[], None]) -> Iterator[threading.Event]:
    """Interrupt the block when it takes too long, and say so; nothing is interrupted any more once it is left."""
    done, interrupted = threading.Event(), threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            interrupted.set()
            interrupt()
            wait = AGAIN

    watcher = threading.Thread(target=watch, name="patience", daemon=True)
    watcher.start()
    try:
        yield interrupted
    finally:
        done.set()
        watcher.join()
