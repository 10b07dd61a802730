"""What every touched object looked like at the end of each second in which it changed, for judging history tables.

Kept only where a sandbox was started with `record`: it is the one thing here that grows with time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Object = dict[str, Any]


class Key(NamedTuple):
    """One object: of a child whose id repeats across parents, with the parent's."""

    stream: str
    parent: str
    id: str


State = Callable[[Key], "Object | None"]
"""The object as it stands, without nested lists; None when it is not there or deleted."""


@dataclass
class Entry:
    """The state at the end of a second; `at` is None for how it stood before its first change."""

    at: int | None
    object: Object | None
    """None: it was deleted in that second."""


@dataclass
class History:
    """The changes of one account's objects, by second."""

    state: State
    _entries: dict[Key, list[Entry]] = field(default_factory=dict)
    _open: dict[Key, None] = field(default_factory=dict)
    """What was touched in `_second`, which is not over."""
    _second: int = 0

    def touch(self, key: Key, at: int) -> None:
        """An object is about to change, within the second `at`."""
        if at != self._second:
            self._close()
            self._second = at
        if key not in self._entries and key not in self._open:
            before = self.state(key)
            self._entries[key] = [] if before is None else [Entry(None, before)]
        self._open[key] = None

    def of(self, stream: str) -> Iterator[tuple[Key, Entry]]:
        """Every entry of a stream, object by object, the oldest first."""
        self._write()
        for key, entries in self._entries.items():
            if key.stream == stream:
                for entry in entries:
                    yield key, entry

    def _close(self) -> None:
        self._write()
        self._open.clear()

    def _write(self) -> None:
        for key in self._open:
            entries, now = self._entries[key], self.state(key)
            if entries and entries[-1].at == self._second:
                entries[-1].object = now
            elif now is not None or (entries and entries[-1].object is not None):
                entries.append(Entry(self._second, now))
