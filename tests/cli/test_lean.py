"""What keeps commands small."""

from __future__ import annotations

import os
import subprocess
import sys

ARENAS = """
import ctypes, threading
from tidegate.cli import lean

TOLD
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
ready = threading.Barrier(13)

def take():
    libc.malloc(1_000)
    ready.wait()
    ready.wait()

threads = [threading.Thread(target=take) for _ in range(12)]
for each in threads:
    each.start()
ready.wait()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
ready.wait()
"""


def arenas(told: str) -> int:
    """How many arenas glibc took memory from for a dozen threads, of a process that was told something first."""
    bare = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    words = [sys.executable, "-c", ARENAS.replace("TOLD", told)]
    shown = subprocess.run(words, env=bare, check=True, capture_output=True, text=True).stdout
    return shown.count("<heap nr=")


def test_threads_share_two_arenas() -> None:
    assert arenas("lean.few_arenas()") <= 2 < arenas("")


TRIMMED = """
import ctypes, gc, threading, time
from tidegate.cli import lean

def resident():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

class Ring:
    def __init__(self):
        self.me, self.much = self, bytearray(1_000)

lean.TIDIED = 0.05
gc.disable()
stopping = threading.Event()
TOLD
time.sleep(0.5)
rings = [Ring() for _ in range(100_000)]
last, high = rings.pop(), resident()
del rings
time.sleep(2)
print(high - resident())
stopping.set()
"""


def test_memory_that_is_used_no_more_is_given_back() -> None:
    def freed(told: str) -> int:
        """Kilobytes."""
        words = [sys.executable, "-c", TRIMMED.replace("TOLD", told)]
        return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)

    assert freed("lean.tidying(stopping)") > 50_000 > freed("")


ENDED = """
import gc, threading
import duckdb
from tidegate.cli import lean

duckdb.connect().execute("select 1")
lean.TIDIED = 0.01
stopping = threading.Event()
lean.tidying(stopping)
while not gc.get_freeze_count():
    stopping.wait(0.01)
stopping.set()
"""


def test_a_process_that_used_duckdb_ends_without_a_word() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDED], check=True, capture_output=True, text=True, timeout=120
    )
    assert (ended.stdout, ended.stderr) == ("", "")
