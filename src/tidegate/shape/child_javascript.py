"""The process that runs functions in JavaScript, in V8: `python -I -S -c "... child_javascript.main(...)"`.

Python only carries messages between the pipes and V8, which has no files and no network of its own; the records are
read, shaped and written in `child_javascript.js`. It imports nothing of Tidegate but what stands beside it.
"""

from __future__ import annotations

import mmap
import os
import re
import resource
import signal
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import py_mini_racer

from tidegate.shape import confined, frames

_GRACE = 10
"""Seconds beyond the time limit after which the process ends itself, should nobody be left to do it."""
_LOOK = 0.01
"""Seconds between two looks at what V8 is doing."""
_MISSING = "it has no function `transform`; write `const transform = (customer) => ({...})`"
_FAULT = re.compile(r"(?:function\.js|<anonymous>):(\d+): (?:Uncaught )?(.*)")


class _Machine:
    """V8 with a function in it."""

    def __init__(self, pipe: frames.Pipe, begun: memoryview, settings: dict[str, Any]) -> None:
        py_mini_racer.init_mini_racer(
            flags=("--single-threaded", f"--max-heap-size={settings['memory'] * 2 + 64}")
        )
        self._pipe = pipe
        self._begun = begun
        self._patience = int(settings["timeout"]) + _GRACE
        self._v8 = py_mini_racer.MiniRacer()
        surrounding: Any = self._v8.eval(Path(__file__).with_suffix(".js").read_text(encoding="utf-8"))
        self._find, self._answer = surrounding["find"], surrounding["answer"]
        surrounding["room"](settings["room"])
        self._state = surrounding["state"].cast("d")
        self._printed = surrounding["printed"]
        self._told = 0
        self._missed = 0.0
        self._speaking = threading.Lock()
        self._working = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def load(self, settings: dict[str, Any]) -> bool:
        """Load the function; whether it can be used. Nothing of the system is within reach from here on."""
        self._watcher.start()
        self._v8.set_hard_memory_limit(settings["memory"] << 20)
        confined.bound(settings["memory"] * 2 + 128, resource.RLIMIT_DATA)
        closed = confined.close()
        self._state[0] = 1
        try:
            self._call(self._v8.eval, settings["code"] + "\n//# sourceURL=function.js")
            refused = None if self._call(self._find) else frames.saying(_MISSING, 0)
        except py_mini_racer.JSEvalException as error:
            refused = _refusal(str(error))
        self._state[0] = 0
        self._tell()
        if refused:
            self._pipe.write(frames.REFUSED, refused)
            return False
        self._pipe.write(frames.READY, b"", int(closed))
        return True

    def answer(self, records: bytes, rest: int) -> None:
        """Send the results for a number of records, as they come."""
        batch: tuple[str, ...] = (records.decode(),)
        while rest:
            count, _, body = self._call(self._answer, *batch).partition(" ")
            self._tell()
            with self._speaking:
                self._pipe.write(frames.RESULTS, body.encode(), int(count))
            rest -= int(count)
            batch = ()

    def _call(self, function: Any, *arguments: Any) -> Any:
        signal.alarm(self._patience)
        self._working.set()
        try:
            found = function(*arguments)
        except py_mini_racer.JSEvalException:
            # V8 names the reason only sometimes.
            if self._v8.was_hard_memory_limit_reached():
                self._out_of_memory()
            raise
        finally:
            self._working.clear()
            signal.alarm(0)
        with self._speaking:
            self._begun[0] = 0
        return found

    def _out_of_memory(self) -> NoReturn:
        """Say at which record, and end: what V8 holds now is not worth keeping."""
        self._tell()
        self._begun[0] = int(self._state[0])
        os._exit(frames.OUT_OF_MEMORY)

    def _watch(self) -> None:
        """While V8 is at work, say at which record, and tell what it prints."""
        while True:
            self._working.wait()
            time.sleep(_LOOK)
            with self._speaking:
                if self._working.is_set():
                    self._begun[0] = int(self._state[0])
            self._tell()

    def _tell(self) -> None:
        """What was printed since the last time."""
        with self._speaking:
            end, missed = int(self._state[1]), self._state[2]
            if end > self._told or missed > self._missed:
                text = bytes(self._printed[2 * self._told : 2 * end]).decode("utf-16", "replace")
                self._pipe.write(frames.PRINTED, frames.saying(text, int(missed - self._missed)))
                self._told, self._missed = end, missed


def _refusal(said: str) -> bytes:
    """What V8 says of a text that it cannot evaluate: the line, the error, and that part of the text."""
    found = _FAULT.match(said)
    what = found[2] if found else said.partition("\n")[0]
    if what.startswith("SyntaxError: "):
        hint = "; write it without `import` and `export`" if "import" in what or "export" in what else ""
        what = f"syntax error: {what.removeprefix('SyntaxError: ')}{hint}"
    else:
        what = f"it fails as it is loaded: {what[:1000]}"
    return frames.saying(what, int(found[1]) if found else 0)


def main(inward: int, outward: int, progress: int, parent: int) -> None:
    """Run one function over what comes through a pipe; the numbers are descriptors, and the parent's id."""
    confined.follow(parent)
    frame = frames.read(inward)
    if frame is None:
        return
    settings = msgspec.json.decode(frame[2])
    begun = memoryview(mmap.mmap(progress, 8)).cast("Q")
    os.close(progress)
    try:
        machine = _Machine(frames.Pipe(outward, settings["key"]), begun, settings)
        if machine.load(settings):
            while (frame := frames.read(inward)) is not None:
                machine.answer(frame[2], frame[1])
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    # An orderly end of V8 can wait for ever for its own threads.
    os._exit(0)
