"""The process that runs functions in Python: `python -I -S -c "... child_python.main(...)"`.

It reads its settings, imports what the function wants, gives up all rights, and then answers records until its pipe
ends. It imports nothing of Tidegate but what stands beside it.
"""

from __future__ import annotations

import ast
import builtins
import codecs
import contextlib
import gc
import importlib
import mmap
import os
import resource
import signal
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import msgspec

from tidegate.shape import confined, frames, wire

ALLOWED = frozenset((
    "__future__", "abc", "array", "base64", "binascii", "bisect", "calendar", "cmath", "collections",
    "collections.abc", "contextlib", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib", "email",
    "email.utils", "enum", "fractions", "functools", "hashlib", "heapq", "hmac", "html", "io", "ipaddress",
    "itertools", "json", "math", "numbers", "operator", "pprint", "random", "re", "secrets", "statistics", "string",
    "stringprep", "struct", "textwrap", "time", "types", "typing", "unicodedata", "urllib", "urllib.parse", "uuid",
    "warnings", "zlib", "zoneinfo",
))  # fmt: skip
"""Modules that a function can import: what computes, and reaches nothing."""

_LATE = {
    "strptime": ("_strptime",),
    "singledispatch": ("weakref",),
    "urllib": ("unicodedata",),
    "idna": ("encodings.punycode",),
}
"""Word in a function -> what Python then imports by itself, when that has become impossible."""
_HARMLESS = frozenset((
    "compile", "exec", "time.sleep", "builtins.id", "array.__new__", "object.__getattr__", "object.__setattr__",
    "object.__delattr__", "sys._getframe", "sys._getframemodulename", "sys.unraisablehook",
    "cpython._PySys_ClearAuditHooks",
))  # fmt: skip
"""What Python reports to its audit hooks and is no way out."""
_REFUSED = (
    (("os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.kill", "subprocess.", "_thread."),
     "reach other processes"),
    (("socket.", "urllib.", "http.", "ftplib.", "smtplib."), "reach the network"),
    (("open", "os.", "shutil.", "tempfile.", "glob.", "pathlib.", "mmap.", "sqlite3."), "reach files"),
)  # fmt: skip
"""Events that begin with these -> what a function tried to do; of all others their names are told."""
_EVERY = 0.05
"""Seconds after which finished results are sent, so that Tidegate knows that there is progress."""
_ENOUGH = 1 << 20
"""Bytes of results that are sent at once."""
_GRACE = 10
"""Seconds beyond the time limit after which the process ends itself, should nobody be left to do it."""


class _Refused(Exception):
    """The function cannot be loaded: why, and the line."""

    def __init__(self, why: str, line: int | None) -> None:
        super().__init__(why)
        self.line = line or 0


class _Answers:
    """What goes back: results in order, and what the function printed between them."""

    encoding = "utf-8"

    def __init__(self, pipe: frames.Pipe, begun: memoryview, settings: dict[str, Any]) -> None:
        self._pipe = pipe
        self._begun = begun
        self._room: int = settings["room"]
        self._patience = int(settings["timeout"]) + _GRACE
        self._missed = 0
        self._made: list[bytes] = []
        self._size = 0
        self._due = 0.0

    def begin(self, number: int = 0) -> None:
        """Something is at work. Results are late from some time on, and much later the process ends itself."""
        self._begun[0] = number or self._begun[0]
        self._due = time.monotonic() + _EVERY
        signal.alarm(self._patience)

    def add(self, made: bytes) -> None:
        """Take one result."""
        self._made.append(made)
        self._size += len(made)
        if self._size > _ENOUGH or time.monotonic() > self._due:
            self.send()
            self.begin()

    def send(self) -> None:
        """Send what there is; in the meantime no record is in work."""
        signal.alarm(0)
        self._begun[0] = 0
        if self._missed:
            self._pipe.write(frames.PRINTED, frames.saying("", self._missed))
            self._missed = 0
        self._results()

    def write(self, text: str) -> int:
        """Take what is printed: as much as was agreed is sent, of the rest only how many lines there were.

        Results go first, so that nothing is printed twice when the process has to be started anew.
        """
        if self._room:
            told = text[: self._room]
            self._room -= len(told)
            self._results()
            signal.alarm(0)
            self._pipe.write(frames.PRINTED, frames.saying(told, 0))
            self.begin()
        else:
            told = ""
        self._missed += text.count("\n", len(told))
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""

    def _results(self) -> None:
        if self._made:
            # Tidegate may let the pipe wait for as long as it likes.
            signal.alarm(0)
            self._pipe.write(frames.RESULTS, b"[" + b",".join(self._made) + b"]", len(self._made))
            self._made, self._size = [], 0


def main(inward: int, outward: int, progress: int, parent: int) -> None:
    """Run one function over what comes through a pipe; the numbers are descriptors, and the parent's id."""
    confined.follow(parent)
    frame = frames.read(inward)
    if frame is None:
        return
    settings = msgspec.json.decode(frame[2])
    with mmap.mmap(progress, 8) as shared, memoryview(shared).cast("Q") as begun:
        os.close(progress)
        pipe = frames.Pipe(outward, settings["key"])
        answers = _Answers(pipe, begun, settings)
        try:
            transform, closed = _loaded(settings, answers)
        except _Refused as refused:
            answers.send()
            pipe.write(frames.REFUSED, frames.saying(str(refused), refused.line))
            return
        answers.send()
        pipe.write(frames.READY, b"", int(closed))
        _run(inward, begun, answers, transform, settings)


def _loaded(settings: dict[str, Any], answers: _Answers) -> tuple[Callable[[Any], Any], bool]:
    """The function, with nothing left that it could reach, and whether the kernel sees to that.

    Raises _Refused when it cannot be loaded.
    """
    name, code = settings["name"], settings["code"]
    confined.bound(settings["memory"], resource.RLIMIT_AS)
    try:
        tree: Any = compile(code, name, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
        compiled = compile(tree, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise _Refused(f"syntax error: {error.msg}", error.lineno) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise _Refused(f"it is no Python: {error}", 0) from None
    _imported(tree)
    _warmed(tree, code)
    sys.stdout = sys.stderr = answers
    closed = confined.close()
    for module in ("ctypes", "_ctypes", "mmap", "resource", "signal"):
        sys.modules.pop(module, None)
    sys.addaudithook(_audited)
    scope = types.ModuleType("function")
    scope.__dict__["__builtins__"] = {
        **builtins.__dict__,
        "__import__": _import,
        "open": _no_files,
        "input": _no_input,
        "breakpoint": _no_input,
    }
    answers.begin(1)
    try:
        exec(compiled, scope.__dict__)
    except BaseException as error:
        kind = type(error).__name__
        raise _Refused(f"it fails as it is loaded: {kind}: {_message(error)}", _line(error, name)) from None
    transform = scope.__dict__.get("transform")
    if not callable(transform):
        raise _Refused("it has no function `transform`; write `def transform(customer):`", 0)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    return transform, closed


def _imported(tree: ast.AST) -> None:
    """Import what the function names, while that is possible."""
    for node in ast.walk(tree):
        wanted: list[str] = []
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            wanted = [base, *(inner for each in node.names if (inner := f"{base}.{each.name}") in ALLOWED)]
        for name in wanted:
            if name not in ALLOWED:
                raise _Refused(f"it imports {name}, which a function cannot", getattr(node, "lineno", 0))
            importlib.import_module(name)
            if name == "zoneinfo":
                _zones()


def _zones() -> None:
    """Read all time zones: later there are no files."""
    import zoneinfo

    for key in zoneinfo.available_timezones():
        _KEPT.append(zoneinfo.ZoneInfo(key))


_KEPT: list[object] = []
"""What must stay in memory, because its module looks only at what is still used."""


def _warmed(tree: ast.AST, code: str) -> None:
    """Import what modules import late, when the word stands in the function that makes them do so."""
    for word, modules in _LATE.items():
        if word in code:
            for module in modules:
                importlib.import_module(module)
    if "code" in code:
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 20:
                with contextlib.suppress(LookupError, ValueError):
                    codecs.lookup(node.value)


def _import(name: str, *arguments: Any, **named: Any) -> Any:
    """`import` inside a function."""
    if (name not in ALLOWED and name != "_strptime") or name not in sys.modules:
        raise ImportError(f"a function cannot import {name}")
    return importlib.__import__(name, *arguments, **named)


def _no_files(*_: object, **__: object) -> None:
    raise PermissionError("a function cannot reach files")


def _no_input(*_: object, **__: object) -> None:
    raise PermissionError("a function cannot ask for input")


def _audited(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse what leaves the process, with a sentence; the kernel refuses what gets past this."""
    if event in _HARMLESS:
        return
    if event == "import":
        if arguments[0] in ALLOWED:
            return
        raise ImportError(f"a function cannot import {arguments[0]}")
    what = next((what for names, what in _REFUSED if event.startswith(names)), f"use {event}")
    raise PermissionError(f"a function cannot {what}")


def _run(
    inward: int,
    begun: memoryview,
    answers: _Answers,
    transform: Callable[[Any], Any],
    settings: dict[str, Any],
) -> None:
    """Results for records, until the pipe ends."""
    name, memory = settings["name"], settings["memory"]
    number = 0
    while (frame := frames.read(inward)) is not None:
        answers.begin()
        for record in wire.batch(frame[2]):
            number += 1
            begun[0] = number
            try:
                made = wire.result(transform(record))
            except MemoryError as error:
                answers.add(_failed(error, name, memory))
                answers.send()
                os._exit(frames.WORN)
            except BaseException as error:
                made = _failed(error, name, memory)
            answers.add(made)
        answers.send()


def _failed(error: BaseException, name: str, memory: int) -> bytes:
    """A record that failed, for the author and for a log."""
    line = _line(error, name)
    if isinstance(error, wire.Unfit):
        return wire.fault(wire.Fault(str(error), str(error), None, "result"))
    at = f"line {line}: " if line else ""
    if isinstance(error, MemoryError):
        why = f"{at}took more than {memory} MB of memory"
        return wire.fault(wire.Fault(why, why, line, "memory"))
    kind = type(error).__name__
    safe = f"{at}{kind[:60] if kind.isidentifier() else 'an error'}"
    message = _message(error)
    return wire.fault(wire.Fault(f"{safe}: {message}" if message else safe, safe, line, "error"))


def _message(error: BaseException) -> str:
    """What an exception says; that too is code of the function."""
    try:
        return str(error)[:1000]
    except BaseException:
        return "(its message cannot be read)"


def _line(error: BaseException, name: str) -> int | None:
    """The innermost line of the function that an exception went through."""
    line = None
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == name:
            line = step.tb_lineno
        step = step.tb_next
    return line
