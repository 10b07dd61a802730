"""What DuckDB and the operating system say when something is wrong, turned into a sentence to act on.

DuckDB quotes values in its messages ("Could not convert string 'jenny@example.com'"), so a message passes only
when it is known to hold none; otherwise the error is named by its kind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb

from tidegate import errors

_FULL = re.compile(
    r"No space left on device|File too large|Disk quota exceeded|max_temp_directory_size", re.I
)
_DAMAGED = re.compile(
    r"Corrupt database file|computed checksum|Could not read enough bytes|replaying WAL|Failed to deserialize",
    re.I,
)
_MEMORY = re.compile(r"Out of Memory Error|could not allocate block|failed to (pin|allocate)", re.I)
_NEWER = re.compile(r"version number (\d+), but|newer version of DuckDB|storage version", re.I)
_LOCK = re.compile(
    r"Could not set lock on file|Unique file handle conflict|different configuration than existing"
)
_HOLDER = re.compile(r"Conflicting lock is held in (?P<program>.+?) \(PID (?P<pid>\d+)\)")
_SECRET = re.compile(r"\b(sk|rk|pk|whsec)_|://", re.I)

MENTIONED = 4
"""Words of a command line that are shown: what runs, not what it was told."""


class TooLittleMemory(errors.WarehouseError):
    """A call needs more memory than it was given."""


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn whatever DuckDB or the operating system raise inside into an error of ours."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        # Without the cause: its text may quote rows.
        raise explain(error, path) from None


def explain(error: Exception, path: str) -> errors.TidegateError:
    """The error of ours that says what `error` means for the file at `path`."""
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    if locked(error):
        return errors.WarehouseBusy(f"{path} is held by {holder(error)}; close it there and run this again.")
    if number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT) or _FULL.search(text):
        return errors.WarehouseFull(
            f"The disk (or quota) under {path} is full; what was committed before is intact, so make room and run "
            "this again."
        )
    if "not a valid DuckDB database file" in text:
        return errors.WarehouseCorrupt(
            f"{path} is no DuckDB file and was left as it is; choose another path, or move that file away."
        )
    if _NEWER.search(text):
        return errors.WarehouseCorrupt(
            f"{path} was written by a newer DuckDB than {duckdb.__version__}; upgrade the duckdb package."
        )
    if _DAMAGED.search(text):
        return errors.WarehouseCorrupt(
            f"{path} is damaged and was left as it is; restore it from a backup, or move it away and pull again."
        )
    if isinstance(error, OSError | duckdb.IOException | duckdb.PermissionException):
        wrong = _path_error(number, text, path)
        if wrong is not None:
            return wrong
    if isinstance(error, duckdb.OutOfMemoryException) or _MEMORY.search(text):
        return TooLittleMemory(
            f"DuckDB needs more memory than it may take for {path}; give it fewer rows or a simpler query."
        )
    if isinstance(error, duckdb.CatalogException | duckdb.BinderException | duckdb.ParserException):
        # These quote names and SQL, never rows.
        return errors.WarehouseError(f"DuckDB refused a statement on {path}: {_first_line(text)}")
    if isinstance(error, duckdb.ConversionException):
        return errors.WarehouseError(
            f"A value does not fit the type of its column in {path}; somebody changed a column's type: change it "
            "back, or drop the table and pull it again."
        )
    kind = type(error).__name__.removesuffix("Exception").removesuffix("Error") or "internal"
    return errors.WarehouseError(f"DuckDB failed on {path} with an error of the kind {kind!r}; run it again.")


def locked(error: Exception) -> bool:
    """Does the error say that somebody holds the file?"""
    return _LOCK.search(str(error)) is not None


def holder(error: Exception) -> str:
    """Who holds the file, as far as can be told: the program, its process id and the start of its command line."""
    text = str(error)
    found = _HOLDER.search(text)
    if found is None:
        inside = "Could not set lock" not in text
        return f"this same process ({os.getpid()})" if inside else "another process"
    words = _command(int(found["pid"])) or os.path.basename(found["program"])
    return f"process {found['pid']} ({words})"


def _command(pid: int) -> str:
    """What a process runs, up to its first option, so that no key on a command line is repeated."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    shown = []
    for word in words[:MENTIONED]:
        if not word or word.startswith("-") or _SECRET.search(word):
            break
        shown.append(os.path.basename(word))
    return " ".join(shown)


def _path_error(number: int | None, text: str, path: str) -> errors.TidegateError | None:
    if number == errno.EISDIR or "Is a directory" in text:
        return errors.ConfigError(f"{path} is a directory; name a file in it, for example warehouse.duckdb.")
    if number in (errno.EACCES, errno.EPERM) or "Permission denied" in text or "not permitted" in text:
        return errors.ConfigError(
            f"This user may not write {path}; change its permissions or choose another path."
        )
    if number == errno.EROFS or "Read-only file system" in text:
        return errors.ConfigError(f"{path} lies on a read-only file system; choose another path.")
    if number in (errno.ENOENT, errno.ENOTDIR) or "No such file" in text or "Not a directory" in text:
        folder = os.path.dirname(path)
        return errors.ConfigError(f"The directory {folder} does not exist; create it or choose another path.")
    if isinstance(number, int):
        return errors.WarehouseError(
            f"The operating system failed on {path}: {os.strerror(number)}; look at the disk and run this again."
        )
    return None


def _first_line(text: str) -> str:
    line = " ".join(text.split("\n\n", maxsplit=1)[0].split())
    return line if line.endswith((".", "!", "?")) else line + "."
