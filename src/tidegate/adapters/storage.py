"""Where the files of a lake lie: a local folder, or a bucket of S3 or of what speaks like it.

A file appears whole or not at all. One of them, the manifest, is exchanged: whoever read an older one than there is
now is told so, and nothing is written. Locally that takes a lock that dies with its process, on S3 a conditional
PUT.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import duckdb

from tidegate import errors
from tidegate.warehouse import files


class Changed(Exception):
    """Somebody else exchanged the file since it was read."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds, and what tells it from what it holds later."""

    data: bytes
    tag: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that is there: its path, when it was written."""

    path: str
    written: dt.datetime


class Storage(Protocol):
    """A folder, by whatever it is reached; paths are whole, as DuckDB reads them."""

    root: str

    def look(self) -> str:
        """Find out whether the folder can be reached, and say so."""
        ...

    def signed(self) -> str:
        """What tells the key that is signed with from another; empty where there is none."""
        ...

    def get(self, path: str) -> Content | None:
        """A small file; None where there is none."""
        ...

    def exchange(self, path: str, data: bytes, tag: str | None) -> str:
        """Write a small file whose content was `tag` (None: that was not there), and return its new tag.

        Raises Changed where it is no longer. Killed inside: the old or the new one is there, whole.
        """
        ...

    def create(self, path: str, data: bytes) -> None:
        """Write a small file that is not there yet, durably; raises Changed where it is.

        Killed inside: it is there, whole, or not. Whoever else only writes files that are not there is heeded.
        """
        ...

    def folder(self, path: str) -> None:
        """Make a folder, where storage has folders."""
        ...

    def seal(self, paths: Iterable[str]) -> None:
        """Make files that were just written survive a power cut."""
        ...

    def folders(self, path: str) -> list[str]:
        """The names of the folders directly in one."""
        ...

    def listed(self, path: str) -> Iterator[Listed]:
        """Every file under a folder."""
        ...

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files, where they are there."""
        ...

    def show(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let a DuckDB read and write the files."""
        ...


class Local:
    """A folder of this machine."""

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)

    def look(self) -> str:
        """Find the folder, or the one that it will be made in."""
        if os.path.isdir(self.root):
            return f"{self.root} is there"
        parent = Path(self.root).parent
        while not parent.exists():
            parent = parent.parent
        if Path(self.root).exists() or not parent.is_dir():
            raise errors.ConfigError(f"{self.root} is not a folder; name one, or a path that is free.")
        return f"{self.root} does not exist yet; the first pull creates it"

    def signed(self) -> str:
        """Nobody signs in to a folder."""
        return ""

    def get(self, path: str) -> Content | None:
        """A small file."""
        try:
            data = Path(path).read_bytes()
        except FileNotFoundError:
            return None
        return Content(data, hashlib.sha256(data).hexdigest())

    def exchange(self, path: str, data: bytes, tag: str | None) -> str:
        """Write a file beside the old one and rename it, under a lock that other writers wait for."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{path}.lock", "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            there = self.get(path)
            if (there.tag if there is not None else None) != tag:
                raise Changed(path)
            draft = Path(f"{path}.draft")
            with open(draft, "wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(draft, target)
            files.sync(target.parent)
        return hashlib.sha256(data).hexdigest()

    def create(self, path: str, data: bytes) -> None:
        """Write a file beside the place, and link it there."""
        target = Path(path)
        draft = target.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            with open(draft, "xb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            files.place(draft, target)
        except FileExistsError:
            raise Changed(path) from None
        finally:
            files.remove(draft)
        files.sync(target.parent)

    def folder(self, path: str) -> None:
        """Make a folder."""
        Path(path).mkdir(parents=True, exist_ok=True)

    def seal(self, paths: Iterable[str]) -> None:
        """Write files and their names through to the disk."""
        parents = set()
        for path in paths:
            files.sync(Path(path))
            parents.add(Path(path).parent)
        for parent in parents:
            files.sync(parent)
            files.sync(parent.parent)

    def folders(self, path: str) -> list[str]:
        """The names of the folders directly in one."""
        try:
            with os.scandir(path) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return []

    def listed(self, path: str) -> Iterator[Listed]:
        """Every file under a folder."""
        for folder, _, names in os.walk(path):
            for name in names:
                file = os.path.join(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    written = dt.datetime.fromtimestamp(os.stat(file).st_mtime, dt.UTC)
                    yield Listed(file, written)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files."""
        for path in paths:
            files.remove(Path(path))

    def show(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Local files need no showing."""


def check_name(place: Storage, refused: str, library: str) -> None:
    """Raise ConfigError for a local folder that a library cannot open, because it takes its path for a URL."""
    found = re.search(refused, place.root) if isinstance(place, Local) else None
    if found is not None:
        raise errors.ConfigError(
            f"{library} cannot open {place.root!r}, because of the {found.group()!r} in it; name another folder."
        )


def encoded(name: str) -> str:
    """A table's name as the name of a folder, whatever it holds."""
    return "".join(
        chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "_-") else f"~{byte:02x}"
        for byte in name.encode()
    )


def decoded(folder: str) -> str:
    """The table's name that a folder stands for."""
    return re.sub(rb"~([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), folder.encode()).decode(
        errors="replace"
    )
