"""Functions over single records, in Python or JavaScript, run in a process that can do nothing else.

    with functions.opened(pipeline.function) as run:
        for outcome in run.records(customers): ...

Outcomes (see `answers`) come in the order of the records. A function that is caught in a loop, takes too much
memory or ends its process costs the record it was at, and the process: a new one goes on with the next record. What
a function keeps in its globals lives until then, or until the end of the run, and no run sees anything of another.
"""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from tidegate import config, errors
from tidegate.shape import answers, bounded, frames, wire

_BATCH = 512
"""Records in one message."""
_BYTES = 1 << 19
"""Bytes of records in one message, from which on it is closed."""
_AHEAD = 4
"""Messages that the process may have before it: it computes while results are read."""


@dataclass(frozen=True, slots=True)
class Code:
    """The text of a function; `name` stands in its errors."""

    language: Literal["python", "javascript"]
    text: str
    name: str = "function"

    @property
    def title(self) -> str:
        """What errors call it: `the function clean.py`; one that stands in the configuration has no name."""
        return "the function" if self.name == "function" else f"the function {self.name}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a function may use."""

    seconds: float = 5.0
    """For one record."""
    memory: int = 256
    """Megabytes."""
    restarts: int = 10
    """How often in one run its process may be started anew."""
    printed: int = 64 << 10
    """Characters in one run that are kept of what it prints."""


def opened(function: config.Function | Code, limits: Limits | None = None) -> Run:
    """Load a function; the limits of a configured one are its own where none are given.

    Raises ConfigError, with the line, when it cannot be read, compiled or loaded.
    """
    if isinstance(function, config.Function):
        limits = limits or Limits(function.timeout, function.memory)
        function = read(function)
    if function.language == "javascript" and importlib.util.find_spec("py_mini_racer") is None:
        raise errors.ConfigError(
            f"{function.title} is JavaScript, which is not installed; "
            "run `pip install 'tidegate[javascript]'`, or write it in Python"
        )
    return Run(function, limits or Limits())


@dataclass(slots=True)
class _Asked:
    """A record as the process reads it, and what became of it."""

    data: bytes
    outcome: answers.Outcome | None = None


class Run:
    """A loaded function with its process; used by one thread at a time, and closed at the end."""

    def __init__(self, code: Code, limits: Limits) -> None:
        self.code = code
        self.limits = limits
        self.restarts = 0
        """How often its process had to be started anew."""
        self.confined = False
        """Whether the kernel refuses the process all that leads out of it; elsewhere only limits hold."""
        self._printed = _Printed(limits.printed)
        self._waiting: deque[_Asked] = deque()
        """Records without an outcome, and those behind them, in order."""
        self._sent: deque[_Asked] = deque()
        """Those of them that the process has before it."""
        self._again: deque[_Asked] = deque()
        """Those that a process had which is no more."""
        self._weight = 0
        self._answered = 0
        self._singly = 0
        """How many records are asked one by one, to find the one that ends the process."""
        self._known = 0
        """How many records came before one that ended it; their results are asked for first."""
        self._running = False
        self._child: bounded.Child | None = self._started()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def unguarded(self) -> str:
        """What nothing but its language keeps the function from on this system, in a sentence; empty on most."""
        if self.confined:
            return ""
        if self.code.language == "javascript":
            by = "by V8 alone, which has neither"
        else:
            by = "by Python's own hooks alone, and code that is out to harm can get around them"
        memory = (
            ""
            if sys.platform == "linux" or self.code.language == "javascript"
            else ", and its memory has no limit"
        )
        return (
            f"The kernel of this system guards no function (it offers no seccomp): {self.code.title} "
            f"is kept from the network and from other processes {by}{memory}; run only code that you trust here."
        )

    @property
    def pid(self) -> int | None:
        """The id of the process, if there is one; it changes when it is started anew."""
        return self._child.pid if self._child else None

    @property
    def printed(self) -> str:
        """What the function printed so far, up to the limit."""
        return str(self._printed)

    def records(self, records: Iterable[dict[str, Any]]) -> Iterator[answers.Outcome]:
        """What becomes of each record, in their order.

        Some hundred records are read ahead. Raises TidegateError when the process had to be started anew too often.
        """
        if self._running:
            raise RuntimeError("a run of a function answers one caller at a time")
        self._running = True
        source = iter(records)
        try:
            while True:
                self._feed(source)
                if not self._waiting:
                    return
                if self._waiting[0].outcome is None:
                    self._listen()
                while self._waiting and (outcome := self._waiting[0].outcome) is not None:
                    self._waiting.popleft()
                    yield outcome
        finally:
            self._running = False
            if self._waiting:  # the caller has had enough, or something failed
                self.close()

    def one(self, record: dict[str, Any]) -> answers.Outcome:
        """What becomes of one record."""
        (outcome,) = self.records((record,))
        return outcome

    def close(self) -> None:
        """End the process, and forget what it was asked."""
        child, self._child = self._child, None
        self._waiting.clear()
        self._sent.clear()
        self._again.clear()
        self._singly = self._known = 0
        if child is not None:
            child.close()

    def _feed(self, source: Iterator[dict[str, Any]]) -> None:
        """Give the process enough to do."""
        python = self.code.language == "python"
        while self._wants():
            batch = self._batch(source)
            if not batch:
                return
            if self._child is None:
                self._child = self._started()
            data = [asked.data for asked in batch]
            message = wire.python_batch(data) if python else wire.javascript_batch(data)
            self._child.feed(frames.RECORDS, message, len(data))
            self._weight += sum(map(len, data))
            self._sent.extend(batch)

    def _wants(self) -> bool:
        if self._singly:
            return not self._sent
        return self._weight < _AHEAD * _BYTES and len(self._sent) < _AHEAD * _BATCH

    def _batch(self, source: Iterator[dict[str, Any]]) -> list[_Asked]:
        """Records for one message: those that are sent again, then new ones."""
        encoded = wire.for_python if self.code.language == "python" else wire.for_javascript
        batch: list[_Asked] = []
        size = 0
        most = 1 if self._singly else self._known or _BATCH
        self._known = 0
        while size < _BYTES and len(batch) < most:
            if self._again:
                asked = self._again.popleft()
            elif (record := next(source, None)) is not None:
                asked = _asked(encoded, record)
                self._waiting.append(asked)
                if asked.outcome is not None:
                    continue
            else:
                break
            batch.append(asked)
            size += len(asked.data)
        return batch

    def _listen(self) -> None:
        """Take what the process says next, or start another when it can say no more."""
        if self._child is None:
            return
        try:
            for frame in self._child.exchange(self.limits.seconds):
                if frame.kind == frames.RESULTS:
                    self._take(frame)
                elif frame.kind == frames.PRINTED:
                    self._printed.add(*_said(frame))
                else:
                    raise bounded.Stopped("garbled")
        except bounded.Stopped as stopped:
            self._renew(self._child, stopped)

    def _take(self, frame: bounded.Frame) -> None:
        """Results for the records that were sent first."""
        try:
            found = wire.results(frame.body)
        except ValueError:
            raise bounded.Stopped("garbled") from None
        if len(found) != frame.number or not 0 < len(found) <= len(self._sent):
            raise bounded.Stopped("garbled")
        for each in found:
            asked = self._sent.popleft()
            if isinstance(each, dict):
                asked.outcome = answers.Made(each)
            else:
                asked.outcome = answers.LEFT if each is None else answers.failed(each)
            self._weight -= len(asked.data)
        self._answered += len(found)
        self._singly = max(0, self._singly - len(found))

    def _renew(self, child: bounded.Child, stopped: bounded.Stopped) -> None:
        """The process is no more: say which record did it, and ask for the others again."""
        status, words = child.ending() if stopped.kind == "ended" else (0, "")
        at = child.begun - self._answered
        # What wrote garbage may have gone on to the next record before that was read.
        ended = self.code.language == "python" and stopped.kind == "ended"
        exact = ended or stopped.kind == "late" or status == frames.OUT_OF_MEMORY
        self._child = None
        child.close()
        kind, why = self._reason(stopped, status, words)
        if status != frames.WORN:
            guilty = at - 1 if exact and 1 <= at <= len(self._sent) else 0 if len(self._sent) == 1 else None
            if guilty is None:
                self._singly = len(self._sent)
            else:
                self._known = guilty
                self._sent[guilty].outcome = answers.Failed(why, why, None, kind)
                self._singly = max(0, self._singly - 1)
        self._again.extendleft(asked for asked in reversed(self._sent) if asked.outcome is None)
        self._sent.clear()
        self.restarts += 1
        if self.restarts > self.limits.restarts:
            raise errors.TidegateError(
                f"the process of {self.code.title} had to be started anew more than "
                f"{self.limits.restarts} times in one run, the last time because a record {why}; "
                "correct the function and run again"
            )

    def _reason(self, stopped: bounded.Stopped, status: int, words: str) -> tuple[answers.Kind, str]:
        """Why a process is no more, as what a record did."""
        if stopped.kind == "late" or status == -signal.SIGALRM:
            return "time", f"took longer than {self.limits.seconds:g} s"
        if stopped.kind == "garbled":
            return "garbled", "wrote into the pipe between Tidegate and the function"
        if status in (frames.OUT_OF_MEMORY, frames.WORN) or "out of memory" in words:
            return "memory", f"took more than {self.limits.memory} MB of memory"
        return "ended", f"ended the process of the function ({_status(status)})"

    def _started(self) -> bounded.Child:
        """A process that has loaded the function; raises ConfigError."""
        settings = {
            "name": self.code.name,
            "code": self.code.text,
            "timeout": self.limits.seconds,
            "memory": self.limits.memory,
            "room": self._printed.room,
        }
        self._weight = self._answered = 0
        try:
            child = bounded.Child(self.code.language, settings)
        except OSError as reason:
            raise errors.TidegateError(
                f"no process could be started for {self.code.title}: {reason.strerror}; "
                "see that there are memory, processes and open files left, and run again"
            ) from None
        try:
            while True:
                for frame in child.exchange(self.limits.seconds):
                    if frame.kind == frames.READY:
                        self.confined = bool(frame.number)
                        return child
                    if frame.kind != frames.PRINTED:
                        why, line = _said(frame)
                        raise self._unloaded(why, line)
                    self._printed.add(*_said(frame))
        except bounded.Stopped as stopped:
            status, words = child.ending() if stopped.kind == "ended" else (0, "")
            last = words.strip().rpartition("\n")[2]
            why = self._reason(stopped, status, words)[1] + (f": {last}" if last else "")
            child.close()
            raise self._unloaded(f"it {why} while it was loaded", 0) from None
        except BaseException:
            child.close()
            raise

    def _unloaded(self, why: str, line: int) -> errors.ConfigError:
        at = f", line {line}" if line else ""
        return errors.ConfigError(f"{self.code.title} cannot be used{at}: {why}")


class _Printed:
    """What a function printed, up to a limit; the process is not trusted to keep to it."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._text: list[str] = []
        self._missed = 0

    def add(self, text: str, missed: int) -> None:
        """Text, and the number of lines that were left out behind it."""
        kept = text[: self.room]
        self.room -= len(kept)
        if kept:
            self._text.append(kept)
        self._missed += max(0, missed) + text.count("\n", len(kept))

    def __str__(self) -> str:
        text = "".join(self._text)
        if not self._missed:
            return text
        end = "" if text.endswith("\n") or not text else "\n"
        return f"{text}{end}... and {self._missed:,} more {'line' if self._missed == 1 else 'lines'}\n"


def read(function: config.Function) -> Code:
    """The text of a configured function; raises ConfigError for a file that cannot be read."""
    if function.code is not None:
        return Code(function.language, function.code)
    path = function.python or function.javascript
    assert path is not None, "A function has a file or code."
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        what = reason.strerror if isinstance(reason, OSError) else "it is not UTF-8 text"
        raise errors.ConfigError(f"the function {path} cannot be read: {what}") from None
    return Code("python" if function.python else "javascript", text, Path(path).name)


def _asked(encoded: Callable[[dict[str, Any]], bytes], record: dict[str, Any]) -> _Asked:
    try:
        return _Asked(encoded(record))
    except wire.TooDeep as reason:
        return _Asked(b"", answers.Failed(str(reason), str(reason), None, "record"))


def _said(frame: bounded.Frame) -> tuple[str, int]:
    try:
        return frames.said(frame.body)
    except ValueError:
        raise bounded.Stopped("garbled") from None


def _status(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
