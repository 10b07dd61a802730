"""What a process of a function gives up before it runs the function: memory, files, network, other processes.

`bound` sets limits that hold on every system, `close` then shuts the door for good: no file can be opened, and on
Linux the kernel refuses every system call but those that computing, memory and the pipes need, however the function
gets at them. Nothing here can be taken back by the process itself.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys

_MB = 1 << 20
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_TSYNC = 1
_SIGKILL = 9

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
"""Of the kernel's filter machine (linux/bpf_common.h): load a word, jump if equal, return."""
_NUMBER, _ARCHITECTURE = 0, 4
"""Where a filter finds the system call and the architecture (struct seccomp_data)."""
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | 1
"""Answer EPERM instead of doing it."""

_CALLS = {
    # name: (x86_64, aarch64), as in the kernel's tables; the most frequent ones first
    "read": (0, 63), "write": (1, 64), "futex": (202, 98), "clock_gettime": (228, 113), "setitimer": (38, 103),
    "alarm": (37, None), "madvise": (28, 233), "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226),
    "brk": (12, 214), "mremap": (25, 216), "epoll_wait": (232, None), "epoll_pwait": (281, 22),
    "epoll_pwait2": (441, 441), "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "sendto": (44, 206), "recvfrom": (45, 207), "readv": (19, 65), "writev": (20, 66), "close": (3, 57),
    "rt_sigreturn": (15, 139), "rt_sigprocmask": (14, 135), "sigaltstack": (131, 132), "sched_yield": (24, 124),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_getres": (229, 114), "gettimeofday": (96, 169),
    "time": (201, None), "getpid": (39, 172), "gettid": (186, 178), "getrandom": (318, 278),
    "restart_syscall": (219, 128), "membarrier": (324, 283), "rseq": (334, 293), "set_robust_list": (273, 99),
    "sched_getaffinity": (204, 123), "getcpu": (309, 168), "getrusage": (98, 165), "fstat": (5, 80),
    "lseek": (8, 62), "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
"""What computing needs. None of them reaches beyond the process and the pipes that it was given."""
_MACHINES = {"x86_64": (0, 0xC000003E, 317), "aarch64": (1, 0xC00000B7, 277)}
"""The column of _CALLS, AUDIT_ARCH_... and the number of seccomp itself."""


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def follow(parent: int) -> None:
    """Die with the parent, also when that is killed: on Linux at once, elsewhere when the pipe ends."""
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def bound(memory: int, kind: int) -> None:
    """Take no more than some megabytes beyond what the process has; write no files, leave no core.

    `kind` is resource.RLIMIT_AS, or RLIMIT_DATA for a machine that reserves far more than it uses, as V8 does.
    """
    _limit(kind, (_now(kind) + memory) * _MB)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)


def close() -> bool:
    """Open no file and start no process from here on; whether the kernel also refuses every other way out."""
    _limit(resource.RLIMIT_NOFILE, 0)
    _limit(resource.RLIMIT_NPROC, 0)
    if sys.platform != "linux" or platform.machine() not in _MACHINES or sys.maxsize < 2**32:
        return False
    column, architecture, seccomp = _MACHINES[platform.machine()]
    numbers = [number for call in _CALLS.values() if (number := call[column]) is not None]
    steps = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _REFUSE)]
    steps.append((_LOAD, 0, 0, _NUMBER))
    for number in numbers:
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    steps.append((_RETURN, 0, 0, _REFUSE))
    program = _Program(len(steps), b"".join(struct.pack("=HBBI", *step) for step in steps))
    libc = _libc()
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    asked = (_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(program))
    return bool(libc.syscall(seccomp, *asked) == 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _limit(kind: int, most: int) -> None:
    """Lower a limit for good, where the system lets us."""
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    try:
        resource.setrlimit(kind, (most, most))
    except (OSError, ValueError):  # macOS knows some of them by name only
        return


def _now(kind: int) -> int:
    """Megabytes that count towards a limit already; a generous guess where that is not told."""
    name = "VmSize:" if kind == resource.RLIMIT_AS else "VmData:"
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            found = next(line for line in status if line.startswith(name))
    except (OSError, StopIteration):
        return 4096
    return int(found.split()[1]) // 1024 + 1
