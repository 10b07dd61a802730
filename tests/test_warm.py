"""A process that begins with its modules imported is otherwise as `python -c` is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import warm

TELLING = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.getcwd(), os.environ.get("SAID"), sys.stdin.read(), __name__]))
print("and this", file=sys.stderr)
sys.exit(int(sys.argv[2]))
"""


def test_it_has_its_own_words_folder_environment_and_files(tmp_path: Path) -> None:
    environ = {**os.environ, "SAID": "ünï"}
    given: dict[str, Any] = {
        "stdin": True,
        "stdout": True,
        "stderr": True,
        "text": True,
        "cwd": tmp_path,
        "env": environ,
    }
    with warm.started(TELLING, "a b", 3, **given) as child:
        out, told = child.communicate()
    assert json.loads(out) == [["a b", "3"], str(tmp_path), "ünï", "", "__main__"]
    assert (told, child.returncode) == ("and this\n", 3)


def test_what_was_imported_for_one_is_there_for_the_next() -> None:
    code = "import sys; print('wave' in sys.modules)"
    said = []
    for modules in ((), ("wave",), ()):
        with warm.started(code, modules=modules, stdout=True, text=True) as child:
            said.append(child.communicate()[0].strip())
    assert said == ["False", "True", "True"]


LATE = """
import threading, time
lock = threading.Lock()
def hold():
    with lock:
        time.sleep({seconds})
thread = threading.Thread(target=hold, daemon=True)
thread.start()
time.sleep(0.1)
"""
"""A module that goes on with its import in a thread of its own, as drivers do."""


def nursery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> warm.Nursery:
    """One that may import `late`, which takes so long."""
    (tmp_path / "late.py").write_text(LATE.format(seconds=seconds))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return warm.Nursery()


def test_what_a_thread_holds_is_let_go_of_before_anything_is_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = nursery(tmp_path, monkeypatch, 0.5)
    with warm.Process(made, "import late; assert late.lock.acquire(timeout=5)", modules=["late"]) as child:
        assert child.wait() == 0
    made.close()


def test_a_module_with_a_thread_that_stays_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warm, "PATIENCE", 0.2)
    made = nursery(tmp_path, monkeypatch, 600)
    with pytest.raises(AssertionError, match="the nursery ended"):
        warm.Process(made, "", modules=["late"])
    made.close()
    assert "late starts a thread; let the child import it itself" in capfd.readouterr().err


@pytest.mark.parametrize("adapter", ["duckdb", "pyarrow", "numpy", "tidegate.adapters.snowflake"])
def test_nothing_runs_beside_a_nursery(adapter: str) -> None:
    code = "import os, psutil; print(psutil.Process(os.getppid()).num_threads())"
    with warm.started(code, modules=[adapter], stdout=True, text=True) as child:
        assert child.communicate()[0] == "1\n"


def test_a_child_that_hangs_says_where_and_ends() -> None:
    code = "import threading\ndef hanging():\n    threading.Event().wait()\nhanging()"
    with warm.started(code, longest=3, stderr=True, text=True) as child:
        told = child.communicate()[1]
    assert child.returncode == 1
    assert "Timeout" in told
    assert "in hanging" in told


@pytest.mark.parametrize(
    ("code", "ends"),
    [
        ("", 0),
        ("raise SystemExit(7)", 7),
        ("import os; os._exit(5)", 5),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    ],
)
def test_it_ends_as_any_process_does(code: str, ends: int) -> None:
    assert warm.started(code).wait() == ends
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == ends


def test_an_error_is_told_where_errors_are_told() -> None:
    with warm.started("raise ValueError('no')", stderr=True, text=True) as child:
        _, told = child.communicate()
    assert told.endswith("ValueError: no\n")
    assert child.returncode == 1


def test_it_is_killed_by_its_id() -> None:
    with warm.started("print('up', flush=True); import time; time.sleep(600)", stdout=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        assert child.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.01)
        child.kill()
        assert child.wait() == -signal.SIGKILL
    child.kill()


def test_several_run_side_by_side() -> None:
    children = [
        warm.started("import sys; print(sys.stdin.read())", stdin=True, stdout=True, text=True)
        for _ in range(5)
    ]
    for number, child in reversed(list(enumerate(children))):
        assert child.stdin is not None
        child.stdin.write(str(number))
        assert child.communicate()[0] == f"{number}\n"
    assert [child.wait() for child in children] == [0] * 5


def test_a_sandbox_serves_until_the_block_ends() -> None:
    with (
        warm.sandbox(objects=50, seed=3) as url,
        urllib.request.urlopen(f"{url}/_sandbox/stats", timeout=60) as answer,
    ):
        assert json.load(answer)["requests"] == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url}/_sandbox/stats", timeout=60)
