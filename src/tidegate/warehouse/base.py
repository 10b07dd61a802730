"""The seam between the rows and a warehouse: what every adapter can do, and what a kill leaves behind.

Rows arrive as Arrow. The Arrow schema *is* the table's definition: int64, float64, decimal128(38, 12), bool,
string, timestamp[us, UTC], and string with field metadata `{b"tidegate": b"json"}` for JSON, whose text must be
valid JSON (adapters store it as it is). Nothing here knows Stripe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import pyarrow as pa

JSON = {b"tidegate": b"json"}
"""Field metadata that makes an Arrow string column a JSON column."""

STATE = "_tidegate_state"
"""The table that holds the state and the fences, in the same schema as the rows."""

FENCE = "fence/"
"""State keys that belong to `claim`: `state` does not show them, `load` refuses to write them."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the catalog wants it; `schema` holds all columns in order, key and `_` columns included."""

    name: str
    schema: pa.Schema
    key: tuple[str, ...] = ("_account_id", "id")
    version: str = "_version"


@dataclass(frozen=True, slots=True)
class Load:
    """Rows for one table; columns that the table lacks are added, columns that the rows lack become NULL."""

    table: Table
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load did to one table: rows given, rows that changed the table, rows dropped as older.

    read == inserted + updated + stale; stale counts rows older than the stored one and rows superseded
    within the load.
    """

    table: str
    read: int
    inserted: int
    updated: int
    stale: int


@dataclass(frozen=True, slots=True)
class Fence:
    """A claim on tables by one writer; a later claim on any of them makes this one worthless."""

    writer: str
    tokens: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Check:
    """One step of `tidegate check`: what was tried, whether it worked, and what to do if not."""

    name: str
    ok: bool
    detail: str


class Warehouse(Protocol):
    """One schema of one warehouse. All calls block; call them from one thread at a time."""

    kind: str
    schema: str

    def check(self) -> list[Check]:
        """Reach, sign in, read, write (a scratch table that is dropped again); never raises."""
        ...

    def prepare(self, tables: Sequence[Table]) -> None:
        """Create what is missing, add missing columns, widen types, never narrow; idempotent.

        Killed inside: a prefix of the tables exists; call again.
        """
        ...

    def claim(self, writer: str, tables: Sequence[str]) -> Fence:
        """Become the one writer of `tables`; every earlier fence on them fails from now on."""
        ...

    def load(
        self, loads: Sequence[Load], state: Mapping[str, str | None], fence: Fence | None = None
    ) -> list[Loaded]:
        """Merge rows and write state, in ONE transaction.

        Within `loads` the newest `_version` of a key wins (on equal versions the later row); a row older
        than the stored one changes nothing. `state` maps keys to text, None removes. Idempotent: the same
        call again leaves the same table. Killed anywhere inside: either all of it is there, or nothing.
        One Loaded per Load, in order. A row that is replaced is replaced whole: columns that the load lacks
        become NULL. Raises Fenced when a fence no longer holds, WarehouseBusy, WarehouseFull.
        """
        ...

    def state(self, prefix: str = "") -> dict[str, str]:
        """The committed state under `prefix`; empty for a warehouse that never saw Tidegate."""
        ...

    def columns(self, table: str) -> dict[str, str]:
        """Column names and warehouse types of a table; empty when it does not exist."""
        ...

    def read(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """Stream the rows of a query in bounded memory; read only."""
        ...

    def close(self) -> None:
        """Let go of everything; idempotent."""
        ...


def quoted(identifier: str) -> str:
    """A name as standard SQL writes it when it may hold anything."""
    return '"' + identifier.replace('"', '""') + '"'


@runtime_checkable
class Spooling(Protocol):
    """A warehouse that others can lock out of reach; loads may wait on disk until it is free again."""

    def load(
        self,
        loads: Sequence[Load],
        state: Mapping[str, str | None],
        fence: Fence | None = None,
        *,
        wait: float | None = None,
    ) -> list[Loaded]:
        """As Warehouse.load; waits `wait` seconds for the warehouse, its own default when None."""
        ...

    def spool(
        self, loads: Sequence[Load], state: Mapping[str, str | None], fence: Fence | None = None
    ) -> None:
        """Set a load aside; durable when this returns, applied in order before anything later."""
        ...

    def spooled(self) -> int:
        """How many loads wait on disk."""
        ...

    def settle(self, wait: float | None = None) -> int:
        """Apply every load that waits, in order, and say how many; raises WarehouseBusy, keeping the rest."""
        ...
