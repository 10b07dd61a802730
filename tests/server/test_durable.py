"""What was answered 200 is there whenever the server is killed; told to stop, it answers what is in hand."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import delivering
from delivering import event, held, kept, signed

from tidegate.store import database

ALONE = Path(__file__).parent / "serve_alone.py"


@contextlib.contextmanager
def alone(folder: Path, url: str, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in its own process, and its address."""
    delivering.written(folder, url)
    process = subprocess.Popen([sys.executable, ALONE, folder, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), "it did not start"
        yield process, address
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_every_200_is_durable_whenever_the_server_is_killed(
    url: str, store: database.Database, tmp_path: Path
) -> None:
    chance = random.Random(11)
    numbers = itertools.count()
    promised: set[str] = set()
    cut = 0
    for _ in range(4):
        with alone(tmp_path, url) as (process, address):
            enough = chance.randrange(60, 300)

            def posts(process: Any = process, enough: int = enough) -> Iterator[delivering.Post]:
                """Events without end, until the process is killed after some of them."""
                for n in itertools.count():
                    if n == enough:
                        threading.Timer(chance.random() * 0.05, process.kill).start()
                    if process.poll() is not None:
                        return
                    id = f"evt_{next(numbers)}"
                    yield signed(event(id), name=id)

            answers = asyncio.run(delivering.deliver(address, posts(), at_once=30))
            process.wait()
            promised |= answers.of(200)
            cut += len(answers.of(0))
    assert promised <= {row["event"] for row in kept(store)}
    assert len(promised) >= 4 * (60 - 30)
    assert cut > 0, "some were under way when it was killed"


def test_what_is_in_hand_when_it_is_told_to_stop_is_kept_and_answered(
    url: str, store: database.Database, tmp_path: Path
) -> None:
    posts = [signed(event(f"evt_{n}"), name=f"evt_{n}") for n in range(20)]

    def until(process: Any, line: str, count: int = 1) -> None:
        while count:
            said = process.stdout.readline()
            assert said, "it ended"
            count -= said == f"{line}\n"

    async def work(process: Any, address: str) -> delivering.Answers:
        with held(url):
            delivery = asyncio.create_task(delivering.deliver(address, posts, at_once=20))
            await asyncio.to_thread(until, process, "came", 20)
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(until, process, "stopping")
        return await delivery

    with alone(tmp_path, url, "told") as (process, address):
        assert delivering.post(address, signed(event("evt_first")))[0] == 200
        until(process, "came")
        answers = asyncio.run(work(process, address))
        assert process.wait(60) == 0
    assert answers.of(200) == {f"evt_{n}" for n in range(20)}
    assert {row["event"] for row in kept(store)} == answers.of(200) | {"evt_first"}
