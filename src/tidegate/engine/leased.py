"""A lease that somebody holds for as long as the work takes: a thread takes it again and again."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator

from tidegate import errors
from tidegate.store import database, leases

HELD = 60.0
"""Seconds for which a lease is taken at a time; whoever was killed keeps others out for so long."""
TURNS = 4
"""How often it is taken again meanwhile."""


def take(store: database.Database, name: str, holder: str) -> bool:
    """Take a lease; False while somebody else has it."""
    return leases.take(store, name, holder, HELD)


@contextlib.contextmanager
def kept(store: database.Database, name: str, holder: str) -> Iterator[None]:
    """Keep a lease that was taken until the block ends, and give it back then."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(HELD / TURNS):
            with contextlib.suppress(errors.StoreError):
                take(store, name, holder)

    keeper = threading.Thread(target=keep, name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        with contextlib.suppress(errors.StoreError):
            leases.leave(store, name, holder)


@contextlib.contextmanager
def held(store: database.Database, name: str, busy: str) -> Iterator[None]:
    """Hold a lease in the block; raises StoreConflict with the sentence `busy` while somebody else has it."""
    holder = secrets.token_hex(8)
    if not take(store, name, holder):
        raise errors.StoreConflict(busy)
    with kept(store, name, holder):
        yield
