"""The processes that a test started, however many others this process has started before."""

from __future__ import annotations

from collections.abc import Set

import psutil


def now() -> frozenset[psutil.Process]:
    """Every process below this one."""
    return frozenset(psutil.Process().children(recursive=True))


def since(before: Set[psutil.Process]) -> list[psutil.Process]:
    """Those that were not there; what one of those started that were, as browsers and servers do, is its own."""
    found = []
    for each in now() - before:
        try:
            if before.isdisjoint(each.parents()):
                found.append(each)
        except psutil.NoSuchProcess:
            continue
    return found
