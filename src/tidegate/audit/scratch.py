"""A warehouse for what an audit reads from Stripe: one DuckDB file that only its owner can read, for a while.

It lies in a temporary folder, which goes when the audit ends. Rows of customers who were forgotten are cleaned on
their way in, as those of a pull are.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tidegate import catalog, temporary
from tidegate.privacy import erase, forget
from tidegate.warehouse import base, duckdb


class Scratch(duckdb.DuckDB):
    """The file; `streams` are its tables' streams by table, `scrubber` knows who was forgotten."""

    def __init__(
        self, folder: Path, streams: Mapping[str, catalog.Stream], scrubber: forget.Scrubber | None
    ) -> None:
        super().__init__(folder / "reading.duckdb")
        self.folder = folder
        self._streams, self._scrubber = streams, scrubber

    def load(
        self,
        loads: Sequence[base.Load],
        state: Mapping[str, str | None],
        fence: base.Fence | None = None,
        *,
        wait: float | None = None,
    ) -> list[base.Loaded]:
        """As that of any DuckDB; what is forgotten does not come in."""
        if self._scrubber is None:
            return super().load(loads, state, fence, wait=wait)
        groups = [self._cleaned(load) for load in loads]
        done = iter(super().load([load for group in groups for load in group], state, fence, wait=wait))
        return [
            _together(load, list(itertools.islice(done, len(group))))
            for load, group in zip(loads, groups, strict=True)
        ]

    def scrub(self) -> None:
        """Clean what was read before that which makes it a forgotten customer's."""
        if self._scrubber is not None and self._scrubber.learnt:
            tables = {stream.name: [name] for name, stream in self._streams.items()}
            erase.again(self, self._scrubber, tables=tables)

    def _cleaned(self, load: base.Load) -> list[base.Load]:
        assert self._scrubber is not None, "the caller looked"
        stream = self._streams.get(load.table.name)
        return [load] if stream is None else self._scrubber.loads(stream, [load])


def _together(load: base.Load, done: Sequence[base.Loaded]) -> base.Loaded:
    """What the parts of one load did."""
    inserted, updated = sum(each.inserted for each in done), sum(each.updated for each in done)
    read = load.rows.num_rows
    return base.Loaded(load.table.name, read, inserted, updated, read - inserted - updated)


@contextlib.contextmanager
def opened(
    tables: Mapping[str, catalog.Stream], made: Sequence[base.Table], scrubber: forget.Scrubber | None
) -> Iterator[Scratch]:
    """A scratch warehouse with its tables, gone when the block ends."""
    with temporary.folder("audit") as folder:
        found = Scratch(folder, tables, scrubber)
        try:
            found.prepare(made)
            os.chmod(found.path, 0o600)
            yield found
        finally:
            found.close()
