"""Loads that wait on disk while somebody else holds the warehouse: a folder of numbered files, applied in order.

A load is one file: a magic, a header, Arrow streams, and the SHA-256 of all that. It appears under its name whole
and synced, or not at all; so a kill leaves a prefix of what was appended. Applying a file and removing it are two
steps: one that was applied and not removed is applied again, which a load allows.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa

from tidegate import errors
from tidegate.warehouse import base, faults, files

MAGIC = b"TIDESPOOL2\n"
FORMER = b"TIDESPOOL1\n"
"""The format before loads had modes; whoever only knows that refuses the new one."""

SUFFIX = ".load"


@dataclass(frozen=True, slots=True)
class Entry:
    """A load that waits, read back from its file."""

    path: Path
    loads: list[base.Load]
    state: dict[str, str | None]
    fence: base.Fence | None


class _Table(msgspec.Struct):
    name: str
    schema: str
    key: tuple[str, ...]
    version: str


class _Load(_Table):
    size: int
    mode: base.Mode = "replace"
    strict: bool = False
    hard: bool = False
    history: _Table | None = None


class _Header(msgspec.Struct):
    tables: list[_Load]
    state: dict[str, str | None]
    writer: str | None
    tokens: dict[str, int]


class Spool:
    """The loads that wait in one folder; any number of processes may append, one at a time applies."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def __len__(self) -> int:
        return len(self._paths())

    def append(
        self, loads: Sequence[base.Load], state: Mapping[str, str | None], fence: base.Fence | None = None
    ) -> None:
        """Write a load behind all others; it survives a power cut once this returns."""
        content = _content(loads, state, fence)
        with faults.explained(str(self.folder)):
            # Whoever applies the last load removes the folder, maybe between two lines of this.
            while not self._place(content):
                continue

    def entries(self) -> Iterator[Entry]:
        """Every load that waits, oldest first, one in memory at a time; raises WarehouseCorrupt."""
        for path in self._paths():
            yield _read(path)

    def drop(self, entry: Entry) -> None:
        """Forget a load that was applied; the folder goes with its last one."""
        with faults.explained(str(self.folder)):
            entry.path.unlink(missing_ok=True)
            files.sync(self.folder)
        if not self._paths():
            self._sweep()

    def _paths(self) -> list[Path]:
        try:
            return sorted(
                path for path in self.folder.iterdir() if path.suffix == SUFFIX and path.stem.isdigit()
            )
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _place(self, content: Sequence[bytes | memoryview]) -> bool:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        draft = self.folder / f".{os.getpid()}-{os.urandom(6).hex()}.part"
        try:
            _write(draft, content)
            self._publish(draft)
            files.sync(self.folder)
            files.sync(self.folder.parent)
        except FileNotFoundError:
            return False
        finally:
            files.remove(draft)
        return True

    def _publish(self, draft: Path) -> None:
        # The name must be free: two processes that pick one number both keep their load.
        while True:
            last = self._paths()[-1:]
            number = int(last[0].stem) + 1 if last else 1
            with contextlib.suppress(FileExistsError):
                files.place(draft, self.folder / f"{number:012d}{SUFFIX}")
                return

    def _sweep(self) -> None:
        """Remove the empty folder, and drafts that a killed process left in it."""
        with contextlib.suppress(OSError):
            for draft in self.folder.glob(".*.part"):
                if not files.alive(int(draft.name[1:].partition("-")[0])):
                    files.remove(draft)
            self.folder.rmdir()


def load(
    warehouse: base.Warehouse,
    loads: Sequence[base.Load],
    state: Mapping[str, str | None],
    fence: base.Fence | None = None,
    *,
    patience: float = 2.0,
) -> list[base.Loaded] | None:
    """Load, or set aside what cannot be loaded within `patience` seconds; None says that it was set aside.

    Behind a load that waits, the next ones ask only once whether the warehouse is free. At the end of a run call
    `settle`, which waits as long as it should and raises WarehouseBusy with nothing lost.
    """
    if not isinstance(warehouse, base.Spooling):
        return warehouse.load(loads, state, fence)
    try:
        return warehouse.load(loads, state, fence, wait=0.0 if warehouse.spooled() else patience)
    except errors.WarehouseBusy:
        warehouse.spool(loads, state, fence)
        return None


def settle(warehouse: base.Warehouse, wait: float | None = None) -> int:
    """Apply what `load` set aside, and say how many loads it was; raises WarehouseBusy, keeping the rest."""
    return warehouse.settle(wait) if isinstance(warehouse, base.Spooling) else 0


def _content(
    loads: Sequence[base.Load], state: Mapping[str, str | None], fence: base.Fence | None
) -> list[bytes | memoryview]:
    bodies = [memoryview(_ipc(load.rows)) for load in loads]
    tables = [
        _Load(
            *_described(load.table),
            size=body.nbytes,
            mode=load.mode,
            strict=load.strict,
            hard=load.hard,
            history=None if load.history is None else _Table(*_described(load.history)),
        )
        for load, body in zip(loads, bodies, strict=True)
    ]
    tokens = dict(fence.tokens) if fence is not None else {}
    header = msgspec.json.encode(_Header(tables, dict(state), fence.writer if fence else None, tokens))
    return [MAGIC, len(header).to_bytes(8, "little"), header, *bodies]


def _write(path: Path, content: Sequence[bytes | memoryview]) -> None:
    digest = hashlib.sha256()
    with open(path, "xb", opener=_private) as file:
        for part in content:
            digest.update(part)
            file.write(part)
        file.write(digest.digest())
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> Entry:
    with faults.explained(str(path)):
        data = path.read_bytes()
    content, digest = memoryview(data)[:-32], data[-32:]
    if not data.startswith((MAGIC, FORMER)) or hashlib.sha256(content).digest() != digest:
        raise errors.WarehouseCorrupt(
            f"{path}, a load that waits for the warehouse, is damaged, or of a newer version of Tidegate: update "
            f"that, or move the folder {path.parent} away and pull again, which reads everything in it once more."
        )
    start = len(MAGIC) + 8
    end = start + int.from_bytes(content[len(MAGIC) : start], "little")
    header = msgspec.json.decode(content[start:end], type=_Header)
    loads = []
    for one in header.tables:
        with pa.ipc.open_stream(pa.py_buffer(content[end : end + one.size])) as stream:
            rows = stream.read_all()
        past = None if one.history is None else _table(one.history)
        loads.append(base.Load(_table(one), rows, one.mode, one.strict, one.hard, past))
        end += one.size
    fence = None if header.writer is None else base.Fence(header.writer, header.tokens)
    return Entry(path, loads, header.state, fence)


def _described(table: base.Table) -> tuple[str, str, tuple[str, ...], str]:
    return table.name, base64.b64encode(table.schema.serialize()).decode(), table.key, table.version


def _table(described: _Table) -> base.Table:
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(described.schema)))
    return base.Table(described.name, schema, described.key, described.version)


def _ipc(rows: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(rows)
    return sink.getvalue()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
