"""Running a sandbox: inside this event loop, as a command, or in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import msgspec

from tidegate.sandbox import clock as clocks
from tidegate.sandbox import control, faults, limits, server
from tidegate.sandbox import world as worlds

KEY = "sk_test_sandbox"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be said about a sandbox in JSON."""

    seed: int = 1
    objects: int = 20_000
    accounts: int = 1
    only: tuple[str, ...] | None = None
    shape: Literal["even", "skewed", "bursts"] = "even"
    now: int | None = None
    counts: dict[str, int] | None = None
    account_objects: int = worlds.CONNECTED_OBJECTS
    """About so many has each connected account."""
    limits: str = "off"
    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    faults: tuple[faults.Fault, ...] = ()
    gzip: bool = True
    event_delay: float = 0.0
    event_spread: bool = False
    """Each event is late by a time of its own, up to `event_delay`."""
    shuffle: bool = True
    """Lists show the events of one second in no order that means anything; else the latest first."""
    record: bool = False
    """Keep the states of every touched object, for `GET /_sandbox/history/STREAM`."""
    search_delay: float = 0.0
    api_version: str = ""
    clock: float | None = None
    """Stand still at this moment."""
    keys: dict[str, tuple[str, ...] | None] = {}
    """Keys beside any `sk_test_`: their permissions, or None for all."""
    open_keys: bool = True
    locks: bool = False
    """Two writes to one object at once: the second gets 429 `lock_timeout`."""


def build(options: Options) -> server.Sandbox:
    """The sandbox that the options describe."""
    world = worlds.build(
        seed=options.seed,
        objects=options.objects,
        accounts=options.accounts,
        only=options.only,
        shape=options.shape,
        now=options.now,
        counts=options.counts,
        account_objects=options.account_objects,
    )
    made = server.Sandbox(
        world,
        limit=limits.parse(options.limits),
        latency_ms=options.latency_ms,
        jitter_ms=options.jitter_ms,
        fault=options.faults,
        seed=options.seed,
        gzip=options.gzip,
        event_delay=options.event_delay,
        event_spread=options.event_spread,
        shuffle=options.shuffle,
        record=options.record,
        search_delay=options.search_delay,
        api_version=options.api_version,
        clock=clocks.Clock(options.clock),
        open_keys=options.open_keys,
        locks=options.locks,
    )
    for secret, scopes in options.keys.items():
        made.keys.register(secret, scopes)
    return made


@contextlib.asynccontextmanager
async def running(
    world: worlds.World, *, host: str = "127.0.0.1", port: int = 0, **options: Any
) -> AsyncIterator[str]:
    """A sandbox in this event loop; the base URL. `options` are those of `server.Sandbox`."""
    made = server.Sandbox(world, **options)
    try:
        yield await made.start(host, port)
    finally:
        await made.stop()


def main(
    host: str = "127.0.0.1",
    port: int = 12111,
    options: Options | None = None,
    ready: Callable[[str, str], object] = lambda url, key: print(url, key, flush=True),
) -> None:
    """Serve until interrupted; `ready` is told the base URL and a key once the port is open."""
    asyncio.run(_serve(host, port, options or Options(), ready))


@contextlib.contextmanager
def process(**options: Any) -> Iterator[str]:
    """A sandbox in its own process, on a port of the system's choice; the base URL.

    `options` are the fields of `Options`. It ends with the block, and dies with this process.
    """
    text = msgspec.json.encode(msgspec.convert(options, Options)).decode()
    child = subprocess.Popen(
        [sys.executable, "-m", "tidegate.sandbox", text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None, "stdin is a pipe"
    assert child.stdout is not None, "stdout is a pipe"
    try:
        url = child.stdout.readline().decode().partition(" ")[0].strip()
        if not url:
            raise RuntimeError(f"The sandbox process ended with code {child.wait()} before it could serve.")
        yield url
    finally:
        child.stdin.close()
        child.stdout.close()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


async def _begin_anew(sandbox: server.Sandbox, given: control.Given) -> control.Given:
    """`POST reset`: another world in the same process; what is not given is as `Options` says."""
    await sandbox.become(build(msgspec.convert(given, Options)))
    return {"account": sandbox.platform.account, "now": sandbox.clock.time()}


control.OPERATIONS["POST reset"] = _begin_anew


def child(text: str) -> None:
    """The other side of `process`: serve until stdin closes."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    main("127.0.0.1", 0, msgspec.json.decode(text, type=Options))


def _end_with_stdin() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    os._exit(0)


async def _serve(host: str, port: int, options: Options, ready: Callable[[str, str], object]) -> None:
    made = build(options)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stopped.set)
    try:
        url = await made.start(host, port)
        # Base objects come and go by the hundred per page; nothing of what stays is ever garbage.
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        ready(url, KEY)
        await stopped.wait()
    finally:
        await made.stop()
