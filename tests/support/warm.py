"""Processes that begin with their modules imported: what takes a second as `python -c CODE` takes some ms here.

A nursery is a process that imports what its children need and does nothing else. It forks one for each request;
that one gets its own arguments, environment, folder and pipes, can be killed by its id, and ends as `python -c`
ends. It has one thread only whenever it forks: what another one held at that moment, nobody in the child would ever
let go of. Where starting itself is tested, start a Python of its own instead.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import faulthandler
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import msgspec
import psutil

from tidegate.sandbox import serving

SANDBOX = ("tidegate.sandbox.serving",)
PULL = (
    "duckdb",
    "tidegate.cli.pull",
    "tidegate.pull.run",
    "tidegate.pull.tail",
    "tidegate.store",
    "tidegate.stripe.client",
    "tidegate.warehouse.desk",
    "tidegate.warehouse.duckdb",
)
"""What sandboxes, and what pulls, have imported before they do anything."""

LONGEST = 600
"""Seconds after which a child that hangs says where, and ends: sooner than pytest ends its own process."""

PATIENCE = 60.0
"""Seconds for which a nursery waits until what it imported runs no thread any more."""

QUIET = {"JE_ARROW_MALLOC_CONF": "background_thread:false", "OPENBLAS_NUM_THREADS": "1"}
"""What lets Arrow and NumPy start no threads when they are imported."""


class Process:
    """A child of a nursery, in the words of `subprocess.Popen`; pipes carry bytes unless `text` is asked for."""

    def __init__(
        self,
        nursery: Nursery,
        code: str,
        *words: object,
        modules: Sequence[str] = (),
        stdin: bool = False,
        stdout: bool = False,
        stderr: bool = False,
        text: bool = False,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        longest: int | None = LONGEST,
    ) -> None:
        told, status = os.pipe()
        theirs, mine = [status], [told]
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        kind = "t" if text else "b"
        ends: list[int | None] = []
        for name, wanted in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
            ends.append(None)
            if wanted:
                read, write = os.pipe()
                own, given = (write, read) if name == "stdin" else (read, write)
                setattr(self, name, os.fdopen(own, ("w" if name == "stdin" else "r") + kind))
                ends[-1] = len(theirs)
                theirs.append(given)
        self.args = ["-c", code, *map(str, words)]
        request = {
            "code": code,
            "modules": list(modules),
            "words": self.args[2:],
            "ends": ends,
            "cwd": os.fspath(cwd) if cwd is not None else os.getcwd(),
            "env": dict(os.environ if env is None else env),
            "longest": longest,
        }
        try:
            nursery.ask(request, theirs)
        finally:
            for number in theirs:
                os.close(number)
        (self._told,) = mine
        self.returncode: int | None = None
        self._left = b""
        while b"\n" not in self._left:
            part = os.read(self._told, 64)
            assert part, "the nursery ended"
            self._left += part
        pid, _, self._left = self._left.partition(b"\n")
        self.pid = int(pid)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.kill()  # nobody knows whether it would end by itself
        for pipe in (self.stdout, self.stderr, self.stdin):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.wait()

    def __del__(self) -> None:
        if self.returncode is None and hasattr(self, "_told"):
            os.close(self._told)

    def poll(self) -> int | None:
        """How it ended, if it has."""
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises TimeoutExpired."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def kill(self) -> None:
        """kill -9, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def communicate(self) -> tuple[Any, Any]:
        """All that it says until it ends; nothing is said to it."""
        if self.stdin is not None:
            self.stdin.close()
        heard: dict[str, Any] = {"stdout": None, "stderr": None}

        def listen(name: str, pipe: IO[Any]) -> None:
            heard[name] = pipe.read()
            pipe.close()

        pipes = {name: pipe for name in heard if (pipe := getattr(self, name)) is not None}
        threads = [threading.Thread(target=listen, args=each) for each in pipes.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.wait()
        return heard["stdout"], heard["stderr"]

    def _ended(self, timeout: float | None) -> int | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            if not select.select([self._told], [], [], left)[0]:
                return None
            part = os.read(self._told, 64)
            self._left += part
            if not part:
                self.returncode = int(self._left)
                os.close(self._told)
        return self.returncode


class Nursery:
    """A process that imports modules, and forks children that have them too."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        command = [sys.executable, __file__, str(theirs.fileno()), str(PATIENCE)]
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env={**os.environ, **QUIET}
        )
        theirs.close()
        self._lock = threading.Lock()
        atexit.register(self.close)

    def ask(self, request: Mapping[str, object], ends: Sequence[int]) -> None:
        """Have a child forked; `ends` become its files, the first being where its end is told."""
        body = json.dumps(request).encode()
        with self._lock:
            socket.send_fds(self._line, [len(body).to_bytes(4, "big")], ends)
            self._line.sendall(body)

    def close(self) -> None:
        """Let it end; its children go on."""
        self._line.close()
        self._process.wait()


_nurseries: dict[str, Nursery] = collections.defaultdict(Nursery)
"""Those of this process, by name; what one child needs, all later ones of its nursery have too."""


def started(code: str, *words: object, modules: Sequence[str] = PULL, **more: Any) -> Process:
    """`python -c CODE WORDS...` that has imported modules; `more` is what `Process` takes."""
    return Process(_nurseries["pulls"], code, *words, modules=modules, **more)


SANDBOXED = "import sys; from tidegate.sandbox import serving; serving.child(sys.argv[1])"


@contextlib.contextmanager
def sandbox(**options: Any) -> Iterator[str]:
    """What `tidegate.sandbox.process` is, only sooner."""
    text = msgspec.json.encode(msgspec.convert(options, serving.Options)).decode()
    nursery = _nurseries["sandboxes"]
    with Process(nursery, SANDBOXED, text, modules=SANDBOX, stdin=True, stdout=True, longest=None) as child:
        assert child.stdout is not None, "stdout is a pipe"
        url = child.stdout.readline().decode().partition(" ")[0].strip()
        assert url, f"the sandbox ended with code {child.wait()} before it could serve"
        yield url


# The other side


def _attended(line: socket.socket, patience: float) -> dict[str, Any]:
    """Fork a child for each request, and tell how each ended; returns in a child, with its request."""
    signal.signal(signal.SIGCHLD, lambda *_: None)
    woken, wakes = os.pipe()
    for end in (woken, wakes):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    status: dict[int, int] = {}
    while True:
        ready = select.select([line.fileno(), woken], [], [])[0]
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            _told_of_ends(status)
        if line.fileno() not in ready:
            continue
        size, ends, _, _ = socket.recv_fds(line, 4, 4)
        if not size:
            os._exit(0)
        request = json.loads(_received(line, int.from_bytes(size, "big")))
        for module in request["modules"]:
            importlib.import_module(module)
        _stand_alone(request["modules"], patience)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in (woken, wakes, *status.values()):
                os.close(number)
            line.close()
            return {**request, "given": ends}
        for number in ends[1:]:
            os.close(number)
        status[pid] = ends[0]
        os.write(ends[0], f"{pid}\n".encode())


def _stand_alone(modules: Sequence[str], patience: float) -> None:
    """Wait until there is one thread here; raises RuntimeError where what was imported started one that stays."""
    process, deadline = psutil.Process(), time.monotonic() + patience
    while process.num_threads() > 1:
        if time.monotonic() > deadline:
            raise RuntimeError(f"one of {', '.join(modules)} starts a thread; let the child import it itself")
        time.sleep(0.002)


def _received(line: socket.socket, size: int) -> bytes:
    body = b""
    while len(body) < size:
        body += line.recv(size - len(body))
    return body


def _told_of_ends(status: dict[int, int]) -> None:
    """Tell of every child that ended, to whom it belongs."""
    while status:
        pid, ended = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        number = status.pop(pid)
        with contextlib.suppress(BrokenPipeError):
            os.write(number, str(os.waitstatus_to_exitcode(ended)).encode())
        os.close(number)


def _settled(request: dict[str, Any]) -> Any:
    """Become the process that was asked for; returns its code, compiled."""
    for number, end in enumerate(request["ends"]):
        if end is not None:
            os.dup2(request["given"][end], number)
    for number in request["given"]:
        os.close(number)
    # The nursery's own streams remember what their files could do.
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)  # type: ignore[misc]  # as Python does when it starts
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)  # type: ignore[misc]
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    if request["longest"] is not None:
        faulthandler.dump_traceback_later(request["longest"], exit=True)
    sys.argv[:] = ["-c", *request["words"]]
    return compile(request["code"], "<string>", "exec")


if __name__ == "__main__":
    # Falls out of here in every child, so that it ends as any Python ends.
    number, seconds = sys.argv[1:]
    exec(_settled(_attended(socket.socket(fileno=int(number)), float(seconds))), {"__name__": "__main__"})
