"""The seam between the rows and a warehouse: what every adapter can do, and what a kill leaves behind.

Rows arrive as Arrow. The Arrow schema *is* the table's definition: int64, float64, decimal128(38, 12), bool,
string, timestamp[us, UTC], and string with field metadata `{b"tidegate": b"json"}` for JSON, whose text must be
valid JSON (adapters store it as it is). Nothing here knows Stripe.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import pyarrow as pa

from tidegate import errors

JSON = {b"tidegate": b"json"}
"""Field metadata that makes an Arrow string column a JSON column."""

STATE = "_tidegate_state"
"""The table that holds the state and the fences, in the same schema as the rows."""

TOMBSTONES = "_tidegate_tombstones"
"""The table of buried keys: rows that are gone from their table, or were deleted before they ever stood there."""

FENCE = "fence/"
"""State keys that belong to `claim`: `state` does not show them, `load` refuses to write them."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the catalog wants it; `schema` holds all columns in order, key and `_` columns included."""

    name: str
    schema: pa.Schema
    key: tuple[str, ...] = ("_account_id", "id")
    version: str = "_version"


Mode = Literal["replace", "keep", "mark", "sweep", "history", "drop"]
"""What a load does with its rows; for all but `history` and `drop` only where the version gate lets it.

| mode | rows | does |
|---|---|---|
| `replace` | whole rows | inserts, or replaces the stored row whole: columns that the rows lack become NULL |
| `keep` | whole rows without some columns | the same, but columns that the rows lack keep what is stored |
| `mark` | key, version, `_deleted_at`, `_synced_at` | tombstones: the stored row keeps its columns and gets \
these; a key that is not stored is buried. `hard`: the stored row is removed, and its key buried either way |
| `sweep` | key with `_parent_id`, version, `_deleted_at`, `_synced_at` | each `_parent_id` has these rows and no \
others: its stored live rows that are not named and are older than the version are marked (`hard`: removed). A row \
whose last key column is NULL names none, so that a parent can be said to have none |
| `history` | versions of rows | see `Warehouse.load` |
| `drop` | keys | removes these rows, whatever their version, and buries nothing |
"""


@dataclass(frozen=True, slots=True)
class Load:
    """Rows for one table; columns that the table lacks are added.

    `strict`: a live row of the stored row's very version changes nothing (a deletion still wins). `hard`: see
    `Mode`; a row whose `_deleted_at` is NULL was not deleted, it only does not belong into the table any more; the
    gate takes that for a live row. `history`: for `mark` and `sweep`, the table in which the open version of every
    row that was marked, removed or buried ends at the load's version.
    """

    table: Table
    rows: pa.Table
    mode: Mode = "replace"
    strict: bool = False
    hard: bool = False
    history: Table | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load did to one table: rows given, rows that changed the table, rows dropped as older.

    read == inserted + updated + stale; stale counts rows older than the stored one and rows superseded
    within the load. For `mark`, `sweep` and `drop` `updated` counts the live rows that were marked or removed,
    `inserted` none, and `stale` the marks that the gate held up; for `history` `inserted` counts the rows that
    became a version of their own, `stale` the others.
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


Steps = Sequence[tuple[str, Callable[[], str]]]
"""What a check does, one after another: the name, and what tries it and says what came of it."""


def checked(
    steps: Steps, explained: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
) -> list[Check]:
    """What came of steps, each inside of `explained`, whose errors are ours; the first that fails is the last."""
    done: list[Check] = []
    for name, step in steps:
        try:
            with explained():
                done.append(Check(name, True, step()))
        except errors.TidegateError as error:
            done.append(Check(name, False, str(error)))
            break
    return done


@dataclass(frozen=True, slots=True)
class Wanted:
    """Keys of a table, all its key columns, and which columns besides are to be told of what is there."""

    table: Table
    keys: pa.Table
    columns: Sequence[str] = ()


class Warehouse(Protocol):
    """One schema of one warehouse. All calls block; call them from one thread at a time."""

    kind: str
    schema: str
    nul: str
    """What a NUL character in a text becomes; NUL itself, where the warehouse can hold it."""
    whole: bool
    """Are all rows and the state of a load one transaction?

    Else each table's rows are one, and the state follows: a kill between leaves rows of which the state does not
    tell, which the same load, or a later one with newer versions, replaces as if they had been there before.
    """

    def check(self) -> list[Check]:
        """Reach, sign in, list, read, write (a scratch table that is dropped again); never raises.

        The first step that fails is the last; a file has no signing in and no list.
        """
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

        Loads are applied in their order. The gate: within a load the newest `_version` of a key wins (of equal
        ones a tombstone, else the later row); against what is stored or buried, an older row changes nothing,
        and of equal versions a deletion wins over a live row. A live row that passes unburies its key. `state`
        maps keys to text, None removes. Idempotent: the same call again leaves the same tables. Killed anywhere
        inside: either all of it is there, or nothing. One Loaded per Load, in order.

        `history` lays versions of rows one after the other, in whatever order they come and however often: the
        table's key ends with `_valid_from`. Per key, rows of equal `_row_hash` that follow each other without a
        gap become one, and every `_valid_to` is the next row's `_valid_from`, an end that is stored already (a
        `_valid_to` at which no row begins), or NULL. Of two rows of one `_valid_from` the later stays (if `strict`,
        the stored one). Where the table has `_version`, that of a row is when it was last seen, and a late row
        that lies before it parts the stored one in two. An end at the moment of a row's beginning comes after it:
        the row is over at once. An end that finds no row is buried under the history's name, for rows that come
        late.

        Raises Fenced when a fence no longer holds, WarehouseBusy, WarehouseFull.
        """
        ...

    def find_all(self, wanted: Sequence[Wanted]) -> list[pa.Table]:
        """What is stored or buried under the keys of several tables, each as `find` tells it, at one go."""
        ...

    def find(self, table: Table, keys: pa.Table, columns: Sequence[str] = ()) -> pa.Table:
        """What is stored or buried under `keys` (all key columns of the table); one row per key found.

        Key columns, the version, `_deleted_at`, `_stored` (false: only its burial is known) and `columns`; of
        those that the table lacks, and of buried keys, NULL. JSON comes as text. Empty when there is no table.
        """
        ...

    def state(self, *prefixes: str) -> dict[str, str]:
        """The committed state under any of `prefixes`, all without one; empty where Tidegate never was."""
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
