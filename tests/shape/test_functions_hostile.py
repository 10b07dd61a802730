"""Functions that want out, or never want to end: what each of them gets to hear, and that nothing is left of it.

`ANYTHING` is the usual way around a list of allowed names in Python: from any object to a class whose methods were
written in `os`, and from there to every module. What it reaches is refused by the interpreter where that is asked,
and by the kernel where it is not.
"""

from __future__ import annotations

import ast
import errno
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import offspring
import psutil
import pytest

from tidegate import errors
from tidegate.shape import answers, functions
from tidegate.shape.answers import Failed, Made
from tidegate.shape.functions import Code, Limits

ANYTHING = """
def anything():
    for each in ().__class__.__base__.__subclasses__():
        if each.__name__ == "_wrap_close":
            return each.__init__.__globals__

def module(name):
    return anything()["sys"].modules[name]

"""
SECONDS = 1.0
KERNEL = sys.platform == "linux"
PIPE = "wrote into the pipe between Tidegate and the function"
TIME = "took longer than 1 s"
MEMORY = "took more than 256 MB of memory"


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each test there is no process and no file that was not there before."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = offspring.now()
    yield
    assert offspring.since(before) == []
    assert list(tmp_path.iterdir()) == []


def python(*lines: str) -> Code:
    """A function that does something to the second of three records."""
    body = "".join(f"        {line}\n" for line in lines)
    rest = "    return {'n': customer['n']}\n"
    return Code(
        "python", f"{ANYTHING}def transform(customer):\n    if customer['n'] == 1:\n{body}{rest}", "f.py"
    )


def javascript(*lines: str) -> Code:
    """A function that does something to the second of three records."""
    body = "\n".join(lines)
    return Code(
        "javascript",
        f"const transform = (customer) => {{\nif (customer.n === 1) {{\n{body}\n}}\nreturn {{n: customer.n}};\n}};",
        "f.js",
    )


def second(code: Code, seconds: float = 10, restarts: int = 10) -> answers.Outcome:
    """What becomes of the second of three records; the others must come through."""
    with functions.opened(code, Limits(seconds=seconds, restarts=restarts)) as run:
        assert run.confined is KERNEL
        first, outcome, third = run.records([{"n": 0}, {"n": 1}, {"n": 2}])
        assert first == Made({"n": 0})
        assert third == Made({"n": 2})
        again = run.one({"n": 3})
        assert again == Made({"n": 3})
    return outcome


def why(code: Code, seconds: float = 10, restarts: int = 10) -> str:
    """Why the second of three records fails."""
    outcome = second(code, seconds, restarts)
    assert isinstance(outcome, Failed), outcome
    return outcome.why


# Time


@pytest.mark.parametrize(
    "lines",
    [
        ("while True: pass",),
        ("while True:", "    try:", "        while True: pass", "    except BaseException: pass"),
        ("import re", "re.match(r'(a+)+$', 'a' * 64 + 'b')"),
        ("import time", "time.sleep(1000)"),
        ("sum(range(10 ** 15))",),
        ("class E(Exception):", "    def __str__(self):", "        while True: pass", "raise E"),
        ("class D(dict):", "    def items(self):", "        while True: pass", "return D(a=1)"),
    ],
)
def test_a_python_function_that_never_ends(lines: tuple[str, ...]) -> None:
    assert second(python(*lines), SECONDS) == Failed(TIME, TIME, None, "time")


@pytest.mark.parametrize(
    "line",
    [
        "for (;;);",
        "/(a+)+$/.test('a'.repeat(64) + 'b');",
        "Atomics.wait(new Int32Array(new SharedArrayBuffer(8)), 0, 0);",
        "return {get a() { for (;;); }};",
        "throw Object.defineProperty(new Error(), 'stack', {get() { for (;;); }});",
        "return new Proxy({}, {ownKeys() { for (;;); }});",
    ],
)
def test_a_javascript_function_that_never_ends(line: str) -> None:
    assert second(javascript(line), SECONDS) == Failed(TIME, TIME, None, "time")


@pytest.mark.parametrize(
    "code",
    [
        Code("python", "print('before')\nwhile True: pass", "f"),
        Code("javascript", "console.log('x'); for (;;);", "f"),
    ],
)
def test_a_function_that_never_loads(code: Code) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        functions.opened(code, Limits(seconds=SECONDS))
    assert str(caught.value) == "the function f cannot be used: it took longer than 1 s while it was loaded"


def test_a_function_that_is_stopped_too_often_stops_the_run() -> None:
    code = Code(
        "python", "def transform(customer):\n    while customer['n'] % 2: pass\n    return {}", "f.py"
    )
    with functions.opened(code, Limits(seconds=0.5, restarts=2)) as run:
        outcomes = run.records({"n": n} for n in range(100))
        assert [type(next(outcomes)) for _ in range(4)] == [Made, Failed, Made, Failed]
        with pytest.raises(errors.TidegateError) as caught:
            list(outcomes)
        assert run.pid is None
    assert str(caught.value) == (
        "the process of the function f.py had to be started anew more than 2 times in one run, the last time "
        "because a record took longer than 0.5 s; correct the function and run again"
    )


def test_slow_records_are_not_taken_for_one_endless_record() -> None:
    code = Code("python", "import time\ndef transform(customer):\n    time.sleep(0.3)\n    return {}")
    with functions.opened(code, Limits(seconds=2)) as run:
        assert list(run.records([{}] * 8)) == [Made({})] * 8
        assert run.restarts == 0


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_printing_gains_no_time(language: str) -> None:
    code = {
        "python": python("import time", "while True:", "    print('.')", "    time.sleep(0.1)"),
        "javascript": javascript(
            "for (;;) { console.log('.'); const at = Date.now(); while (Date.now() < at + 100); }"
        ),
    }[language]
    assert why(code, SECONDS) == TIME


def test_a_caller_that_takes_its_time_costs_no_record() -> None:
    code = Code(
        "python", "def transform(customer):\n    print('x' * 300)\n    return {'text': 'x' * 100_000}"
    )
    with functions.opened(code, Limits(seconds=SECONDS)) as run:
        outcomes = run.records([{}] * 200)
        next(outcomes)
        time.sleep(2.5 * SECONDS)  # the pipe is full, and the process waits
        assert len(list(outcomes)) == 199
        assert run.restarts == 0


# Memory


@pytest.mark.parametrize("line", ["'x' * 10 ** 10", "x = [0] * 10 ** 9", "bytearray(10 ** 10)"])
def test_a_large_allocation_in_python(line: str) -> None:
    outcome = second(python(line))
    assert outcome == Failed(f"line 12: {MEMORY}", f"line 12: {MEMORY}", 12, "memory")


def test_memory_taken_bit_by_bit_in_python() -> None:
    assert why(python("x = []", "while True: x.append('x' * 100_000)")).endswith(MEMORY)


def test_a_cache_that_fills_the_memory_costs_records_but_not_the_run() -> None:
    code = Code(
        "python", "KEPT = []\ndef transform(customer):\n    KEPT.append(bytearray(10 ** 8))\n    return {}"
    )
    with functions.opened(code, Limits(restarts=5)) as run:
        kinds = [outcome.kind if isinstance(outcome, Failed) else "" for outcome in run.records([{}] * 9)]
        assert kinds == ["", "", "memory"] * 3


def test_a_large_allocation_in_javascript() -> None:
    assert why(javascript("new ArrayBuffer(1e10);")) == "line 3: RangeError: Array buffer allocation failed"
    assert why(javascript("for (const a = [];;) a.push(new Uint8Array(1e7).fill(1));"), seconds=20) == (
        "line 3: RangeError: Array buffer allocation failed"
    )
    assert why(javascript("for (let a = 'x';;) a += a;")) == "line 3: RangeError: Invalid string length"


@pytest.mark.parametrize("each", ["new Array(1e5).fill(1.5)", "{a: 1, b: [1, 2, 3]}"])
def test_memory_taken_bit_by_bit_in_javascript(each: str) -> None:
    outcome = second(javascript(f"for (const a = [];;) a.push({each});"), seconds=30)
    assert outcome == Failed(MEMORY, MEMORY, None, "memory")


def test_a_function_that_fills_the_memory_as_it_is_loaded() -> None:
    with pytest.raises(errors.ConfigError, match="it fails as it is loaded: MemoryError"):
        functions.opened(Code("python", "x = 'x' * 10 ** 10"))
    with pytest.raises(errors.ConfigError, match="it took more than 64 MB of memory while it was loaded"):
        functions.opened(
            Code("javascript", "for (const a = [];;) a.push(new Array(1e5).fill(1.5));"), Limits(30, 64)
        )


# The process


def test_leaving_in_python() -> None:
    assert why(python("raise SystemExit(3)")) == "line 12: SystemExit: 3"
    assert why(python("anything()['_exit'](3)")) == "ended the process of the function (exit status 3)"
    assert why(python("anything()['abort']()")).startswith("ended the process of the function (SIG")


def test_an_end_that_looks_like_one_of_ours_still_ends() -> None:
    code = Code("python", ANYTHING + "def transform(customer):\n    anything()['_exit'](92)", "f.py")
    with (
        functions.opened(code, Limits(restarts=3)) as run,
        pytest.raises(errors.TidegateError, match="more than 3 times in one run"),
    ):
        list(run.records([{}] * 3))


def test_recursion_without_end() -> None:
    code = Code("python", "def transform(customer): return transform(customer)")
    with functions.opened(code) as run:
        assert "RecursionError" in run.one({}).why  # type: ignore[union-attr]
    code = Code("javascript", "const transform = (customer) => transform(customer);")
    with functions.opened(code) as run:
        assert run.one({}).why == "line 1: RangeError: Maximum call stack size exceeded"  # type: ignore[union-attr]


def test_standard_streams_are_not_the_pipe() -> None:
    assert second(
        python("sys = anything()['sys']", "sys.__stdout__.write('x'); sys.__stdout__.flush()")
    ) == Made({"n": 1})
    assert second(python("print('x', file=anything()['sys'].stderr)")) == Made({"n": 1})
    assert why(python("input()")) == "line 12: PermissionError: a function cannot ask for input"


# Files, network, processes


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("open('/etc/passwd')", "PermissionError: a function cannot reach files"),
        ("open('/tmp/x', 'w')", "PermissionError: a function cannot reach files"),
        ("import io; io.open('/etc/passwd')", "PermissionError: a function cannot reach files"),
        ("import io; io.FileIO(0)", "PermissionError: a function cannot reach files"),
        ("__import__('os')", "ImportError: a function cannot import os"),
        ("exec('import socket')", "ImportError: a function cannot import socket"),
        ("anything()['open']('/etc/passwd', 0)", "PermissionError: a function cannot reach files"),
        ("anything()['listdir']('/')", "PermissionError: a function cannot reach files"),
        ("anything()['system']('true')", "PermissionError: a function cannot reach other processes"),
        ("anything()['fork']()", "PermissionError: a function cannot reach other processes"),
        (
            "anything()['execv']('/bin/true', ['true'])",
            "PermissionError: a function cannot reach other processes",
        ),
        (
            "anything()['kill'](anything()['getppid'](), 9)",
            "PermissionError: a function cannot reach other processes",
        ),
        ("anything()['putenv']('A', 'b')", "PermissionError: a function cannot reach files"),
        (
            "import email.utils; email.utils.socket.socket()",
            "PermissionError: a function cannot reach the network",
        ),
        ("module('gc').get_objects()", "PermissionError: a function cannot use gc.get_objects"),
        (
            "module('tidegate.shape.confined').ctypes.CDLL(None)",
            "PermissionError: a function cannot use ctypes.dlopen",
        ),
        ("breakpoint()", "PermissionError: a function cannot ask for input"),
    ],
)
def test_the_interpreter_refuses_with_a_sentence(line: str, sentence: str) -> None:
    assert why(python(line)) == f"line 12: {sentence}"


@pytest.mark.parametrize(
    "line",
    [
        "anything()['stat']('/etc/passwd')",
        "anything()['readlink']('/proc/self/exe')",
        "anything()['getcwd']()",
        "anything()['pipe']()",
        "anything()['dup'](3)",
        "anything()['setsid']()",
        "anything()['sched_setaffinity'](0, {0})",
        "module('_signal').signal(15, lambda *_: None)",
        "module('_signal').raise_signal(9)",
    ],
)
def test_the_kernel_refuses_what_the_interpreter_does_not_ask_about(line: str) -> None:
    assert "PermissionError: [Errno 1] Operation not permitted" in why(python(line))


def test_no_threads() -> None:
    assert why(python("module('_thread').start_new_thread(print, ())")).startswith("line 12: ")


def test_a_hundred_forks_leave_no_process() -> None:
    code = python(
        "for _ in range(100):", "    try:", "        anything()['fork']()", "    except Exception: pass"
    )
    assert second(code) == Made({"n": 1})


# As if a function had found a hole in the interpreter: any system call, without anybody in between.
HOLE = """
import ctypes, os
from tidegate.shape import confined
call = ctypes.CDLL(None, use_errno=True).syscall
closed = confined.close()
tried = {}
for name, arguments in WANTED.items():
    ctypes.set_errno(0)
    tried[name] = (call(*arguments), ctypes.get_errno())
os.write(1, repr((closed, tried)).encode())
"""


def test_the_kernel_refuses_every_way_out_even_of_native_code() -> None:
    wanted: dict[str, tuple[Any, ...]] = {
        "openat": (257, -100, b"/etc/passwd", 0, 0),
        "open": (2, b"/etc/passwd", 0, 0),
        "socket": (41, 2, 1, 0),
        "connect": (42, 0, 0, 0),
        "fork": (57,),
        "vfork": (58,),
        "clone": (56, 17, 0, 0, 0, 0),
        "clone3": (435, 0, 0),
        "execve": (59, b"/bin/true", 0, 0),
        "kill": (62, os.getpid(), 0),
        "tgkill": (234, os.getpid(), os.getpid(), 0),
        "ptrace": (101, 16, os.getpid(), 0, 0),
        "process_vm_readv": (310, os.getpid(), 0, 0, 0, 0, 0),
        "pidfd_open": (434, os.getpid(), 0),
        "unlink": (87, b"/tmp/x"),
        "mkdir": (83, b"/tmp/x", 0o700),
        "setrlimit": (160, 7, 0),
        "prlimit64": (302, 0, 7, 0, 0),
        "rt_sigaction": (13, 15, 0, 0, 8),
        "prctl": (157, 4, 0, 0, 0, 0),
        "bpf": (321, 0, 0, 0),
        "io_uring_setup": (425, 1, 0),
        "memfd_create": (319, b"x", 0),
        "mount": (165, 0, 0, 0, 0, 0),
        "ioctl": (16, 0, 0, 0),
        "a 32-bit call": (0x40000000 + 57,),
    }
    if platform.machine() == "aarch64":
        wanted = {
            "openat": (56, -100, b"/etc/passwd", 0, 0),
            "socket": (198, 2, 1, 0),
            "clone": (220, 17, 0, 0, 0, 0),
            "clone3": (435, 0, 0),
            "execve": (221, b"/bin/true", 0, 0),
            "kill": (129, os.getpid(), 0),
            "ptrace": (117, 16, os.getpid(), 0, 0),
            "prlimit64": (261, 0, 7, 0, 0),
            "rt_sigaction": (134, 15, 0, 0, 8),
            "io_uring_setup": (425, 1, 0),
        }
    folders = [
        str(Path(functions.__file__).parents[2]),
        *(each for each in sys.path if "site-packages" in each),
    ]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path += {folders!r}; WANTED = {wanted!r}\n{HOLE}"],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    assert ast.literal_eval(done.stdout) == (True, dict.fromkeys(wanted, (-1, errno.EPERM)))


def test_a_listening_socket_is_never_called() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        port = server.getsockname()[1]
        lines = ("import email.utils", f"email.utils.socket.socket().connect(('127.0.0.1', {port}))")
        assert why(python(*lines)) == "line 13: PermissionError: a function cannot reach the network"
        with pytest.raises(TimeoutError):
            server.accept()


def test_javascript_has_no_way_out_to_begin_with() -> None:
    names = [
        "process",
        "require",
        "fetch",
        "XMLHttpRequest",
        "Deno",
        "setTimeout",
        "WebAssembly",
        "importScripts",
    ]
    body = ", ".join(f"{name}: typeof {name}" for name in names)
    outcome = second(javascript(f"return {{{body}}};"))
    assert outcome == Made(dict.fromkeys(names, "undefined"))
    assert why(javascript("return import('fs');")).startswith("the result is a promise")


def test_no_environment_and_no_secret_of_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_KEY", "rk_live_secret")
    outcome = second(python("return {'env': dict(anything()['environ'])}"))
    assert isinstance(outcome, Made)
    assert set(outcome.record["env"]) <= {"TZ", "LC_CTYPE"}


# The answer


def test_garbage_in_the_pipe_fails_its_record() -> None:
    code = python(
        "for n in range(3, 1024):", "    try: anything()['write'](n, b'x' * 1000)", "    except OSError: pass"
    )
    assert second(code) == Failed(PIPE, PIPE, None, "garbled")


@pytest.mark.parametrize(
    ("kind", "count", "body"),
    [
        ("A", 1, '[{"n":666}]'),
        ("A", 2, '[{"n":666},{"n":666}]'),
        ("A", 0, "[]"),
        ("R", 1, ""),
        ("E", 0, '["x",1]'),
    ],
)
def test_an_answer_for_another_record_cannot_be_forged(kind: str, count: int, body: str) -> None:
    code = python(
        "import struct",
        f"frame = struct.pack('<cIQQ', b{kind!r}, {count}, {len(body)}, 0) + {body.encode()!r}",
        "for n in range(3, 1024):",
        "    try: anything()['write'](n, frame)",
        "    except OSError: pass",
    )
    assert second(code) == Failed(PIPE, PIPE, None, "garbled")


def test_garbage_is_laid_to_the_record_that_wrote_it_though_the_next_has_begun() -> None:
    code = Code(
        "python",
        f"""{ANYTHING}
import time
def transform(customer):
    if customer['n'] == 1:
        for n in range(3, 1024):
            try: anything()['write'](n, b'x' * 1000)
            except OSError: pass
    if customer['n'] == 2:
        time.sleep(1)
    return customer
""",
    )
    count = functions._BATCH + 1

    def records() -> Iterator[dict[str, Any]]:
        yield from ({"n": n} for n in range(count - 1))
        while run._child is not None and run._child.begun < 3:
            time.sleep(0.01)  # the first message is on its way, and nobody listens
        yield {"n": count - 1}

    with functions.opened(code) as run:
        assert list(run.records(records())) == [
            Failed(PIPE, PIPE, None, "garbled") if n == 1 else Made({"n": n}) for n in range(count)
        ]


def test_an_endless_frame_is_not_waited_for() -> None:
    code = python(
        "import struct",
        "frame = struct.pack('<cIQQ', b'A', 1, 2 ** 60, 0)",
        "for n in range(3, 1024):",
        "    try: anything()['write'](n, frame)",
        "    except OSError: pass",
    )
    assert why(code) == PIPE


def test_closed_pipes_fail_their_record() -> None:
    assert why(python("anything()['closerange'](0, 1024)")).startswith("ended the process of the function")


def test_a_function_that_tampers_with_tidegate_spoils_its_own_run_only() -> None:
    tampers = [
        "module('tidegate.shape.wire').result = lambda value: b'[1, 2'",
        "module('tidegate.shape.wire').result = lambda value: b'{\"n\": [\"~t\", 1e400]}'",
        "module('tidegate.shape.wire').result = lambda value: b'[' * 100_000",
        "module('tidegate.shape.frames').HEADER = None",
        "module('builtins').len = None",
        "module('os').write = lambda *_: module('time').sleep(1000)",
    ]
    for tamper in tampers:
        code = Code("python", f"{ANYTHING}{tamper}\ndef transform(customer):\n    return {{}}\n", "f.py")
        with pytest.raises(errors.TidegateError), functions.opened(code, Limits(SECONDS, restarts=2)) as run:
            list(run.records([{}] * 5))
    with functions.opened(Code("python", "def transform(customer):\n    return {'n': len('abc')}\n")) as run:
        assert run.one({}) == Made({"n": 3})


def test_its_own_builtins_are_its_own() -> None:
    code = "__builtins__['len'] = lambda _: 7\ndef transform(customer): return {'n': len([])}"
    with functions.opened(Code("python", code)) as run:
        assert run.one({}) == Made({"n": 7})


def test_javascript_that_changes_its_globals_changes_no_result() -> None:
    code = """
        JSON.stringify = () => "x"; JSON.parse = null; Array.isArray = null; Object.keys = null; Date.now = () => 0;
        Date.prototype.getTime = () => 0; globalThis.Number = globalThis.String = globalThis.Map = undefined;
        const transform = (customer) => ({n: [customer.n, new Date(5)]});
    """
    with functions.opened(Code("javascript", code)) as run:
        outcome = run.one({"n": 1})
        assert isinstance(outcome, Made)
        assert outcome.record["n"][0] == 1
        assert outcome.record["n"][1].microsecond == 5000


def test_javascript_that_changes_prototypes_fails_its_records() -> None:
    for code in ("Object.prototype.toJSON = () => 1;", "Array.prototype.toJSON = () => 1;"):
        with functions.opened(Code("javascript", f"{code} const transform = () => ({{a: [1]}});")) as run:
            outcome = run.one({})
            assert outcome == Made({"a": 1}) or isinstance(outcome, Failed)
            assert run.restarts == 0


# The end of Tidegate


CHILD = """
import os, sys, time
from tidegate.shape import functions
code = functions.Code("python", "def transform(customer):\\n    while True: pass")
run = functions.opened(code, functions.Limits(seconds=300))
print(run.pid, flush=True)
list(run.records([{}]))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_tidegate(how: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    with parent:
        parent.send_signal(how)
    psutil.wait_procs([child], timeout=60)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_process_that_ended_between_two_records_is_replaced() -> None:
    with functions.opened(Code("python", "def transform(customer): return {}")) as run:
        assert run.one({}) == Made({})
        assert run.pid is not None
        os.kill(run.pid, signal.SIGKILL)
        assert list(run.records([{}, {}])) == [Made({}), Made({})]
        assert run.restarts == 1
