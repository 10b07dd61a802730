"""A second machine on this one: a network namespace that a cable joins to this machine's own, and that can be cut.

    with networks.second() as network:
        subprocess.Popen([*network.there, "tidegate", "worker"])   # reaches servers that listen on network.address
        network.cut()
        network.mend()

Needs Linux, root and iproute2: `network` is None where they are missing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Network:
    """This machine and another one; `address` is this one's, on the cable between them."""

    name: str
    address: str
    link: str
    """The end of the cable that is in the other machine."""

    @property
    def there(self) -> tuple[str, ...]:
        """What to write before a command that is to run on the other machine."""
        return ("ip", "netns", "exec", self.name)

    def cut(self) -> None:
        """From now on nothing gets through, and nobody is told."""
        _ip("-n", self.name, "link", "set", self.link, "down")

    def mend(self) -> None:
        """Everything gets through again."""
        _ip("-n", self.name, "link", "set", self.link, "up")


@contextlib.contextmanager
def second() -> Iterator[Network | None]:
    """Another machine for as long as the block runs; None where this process may not make one."""
    number = os.getpid()
    name, here, there = f"tidegate{number}", f"tg{number}a", f"tg{number}b"
    net = f"10.{213 + (number >> 14) % 32}.{(number >> 6) % 256}"
    low = number % 64 * 4
    if shutil.which("ip") is None or not _may("netns", "add", name):
        yield None
        return
    try:
        if not _may("link", "add", here, "type", "veth", "peer", "name", there, "netns", name):
            yield None
            return
        _ip("address", "add", f"{net}.{low + 1}/30", "dev", here)
        _ip("link", "set", here, "up")
        _ip("-n", name, "address", "add", f"{net}.{low + 2}/30", "dev", there)
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", there, "up")
        yield Network(name, f"{net}.{low + 1}", there)
    finally:
        _may("link", "delete", here)  # both of its ends
        _may("netns", "delete", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _may(*words: str) -> bool:
    return subprocess.run(["ip", *words], check=False, capture_output=True).returncode == 0
