"""Formats that commit each table for itself: what makes the tables of a load one load, all the same.

A load first commits the rows of each table, marked as a load's, and then the state, in which it writes at which
version each table is to be read. Until then its rows do not count: whoever reads through here sees the version
before, and the next load of the table takes them back. Who reads the tables with other tools may see the rows
of a load that was killed, until then; the next pull writes them again.
"""

from __future__ import annotations

import abc
import logging
import uuid
from collections.abc import Mapping, Sequence

import pyarrow as pa

from tidegate import errors
from tidegate.adapters import lake, lake_files, storage
from tidegate.warehouse import base, desk

log = logging.getLogger(__name__)

CUT = lake.OWN_STATE + "cut/"
"""Where the state says at which version a table is to be read."""


class Tables(lake.Lake):
    """A lake whose tables have versions of their own."""

    def __init__(self, place: storage.Storage, schema: str, *, wait: float = 60.0) -> None:
        super().__init__(place, schema, wait=wait)
        self._tables: dict[str, lake_files.Table | None] = {}
        self._texts: tuple[str, lake.Texts] | None = None

    @abc.abstractmethod
    def latest(self, name: str) -> lake_files.Table | None:
        """A table by its name in lower case, as it stands now."""

    @abc.abstractmethod
    def unfinished(self, name: str, cut: str) -> str | None:
        """The version before what came after `cut` and does not count, None where all counts.

        That is a load that was not finished, and a setting back to before `cut`: with a table the position in
        Stripe is never set back.
        """

    @abc.abstractmethod
    def earlier(self, name: str, version: str) -> lake_files.Table:
        """A table as it stood at a version."""

    @abc.abstractmethod
    def restore(self, name: str, version: str) -> None:
        """Make a table what it was at a version."""

    @abc.abstractmethod
    def apply(self, table: lake_files.Table, change: desk.Change, load: str) -> str:
        """Commit a change of a table in one step, marked as a load's, and return its version then.

        Raises WarehouseBusy when somebody else changed the table since `table` was read.
        """

    @abc.abstractmethod
    def write_texts(self, table: lake_files.Table, rows: pa.Table) -> None:
        """Exchange the state's rows, as `apply` does; raises storage.Changed when somebody else did."""

    @abc.abstractmethod
    def tidy(self, name: str, before: str) -> None:
        """Forget old versions of a table and their files, now and then; `before` is the one before a load."""

    def refresh(self) -> None:
        """Ask anew at which version each table stands; the state of a version stays what it is."""
        self._tables = {}

    def forget(self) -> None:
        """Forget what was seen of the tables."""
        self._tables, self._texts = {}, None

    def table(self, name: str) -> lake_files.Table | None:
        """A table without what unfinished loads wrote."""
        if name not in self._tables:
            found = self.latest(name)
            if found is not None and name != base.STATE:
                cut = self._cut(name)
                if found.at != cut and (before := self.unfinished(name, cut)) is not None:
                    found = self.earlier(name, before)
            self._tables[name] = found
        return self._tables[name]

    def texts(self) -> lake.Texts:
        """The rows of the state's table, by its version."""
        table = self.table(base.STATE)
        if table is None:
            return {}
        if self._texts is None or self._texts[0] != table.at:
            self._texts = (table.at, self.read_texts(table))
        return self._texts[1]

    def settle(self, names: Sequence[str]) -> None:
        """Take back what a killed load left."""
        for name in names:
            found = self.latest(name)
            cut = self._cut(name)
            if found is not None and found.at != cut:
                before = self.unfinished(name, cut)
                if before is not None:
                    log.info(
                        "%s: %s is set back to what the last finished load left", self.where(), found.name
                    )
                    self.restore(name, before)
                    self._tables.pop(name, None)

    def commit(
        self, changes: Sequence[desk.Change], state: Mapping[str, str | None], fence: base.Fence | None
    ) -> None:
        """Commit each table, then the state."""
        load = uuid.uuid4().hex
        began = {change.table: self._cut(change.table) for change in changes}
        cuts, stood = {}, {}
        for change in changes:
            table = self.table(change.table)
            assert table is not None, "It was there a moment ago."
            stood[change.table] = table.at
            cuts[change.table] = self.apply(table, change, load)
            self._tables.pop(change.table, None)
        told = {CUT + name: version for name, version in cuts.items()}
        while True:
            rows = lake.rows_of(self.changed(state, told))
            table = self.table(base.STATE)
            assert table is not None, "It was made before."
            stood[base.STATE] = table.at
            try:
                self.write_texts(table, rows)
                break
            except storage.Changed:
                if not changes and fence is None:
                    raise
                self.refresh()
                self.hold(fence)
                if any(self._cut(name) != cut for name, cut in began.items()):
                    raise
        self._tidied(stood)
        self.refresh()

    def _tidied(self, stood: Mapping[str, str]) -> None:
        """Tidy tables; the load is committed, so that whatever goes wrong here is left to the next one."""
        for name, before in stood.items():
            try:
                with self._explained():
                    self.tidy(name, before)
            except Exception as error:
                told = error if isinstance(error, errors.TidegateError) else type(error).__name__
                log.warning("%s: %s was not tidied up: %s", self.where(), name, told)
                self.forget()
                return

    def _cut(self, name: str) -> str:
        """The version of a table that the last finished load wrote; empty where none did."""
        return self.texts().get(CUT + name, ("", None))[0]
