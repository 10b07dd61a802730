"""How many pages of 100 charges the sandbox serves, how soon it is another world, how fast its business lives:
`python bench/sandbox.py [--seconds 4] [--clients 2]`.

The sandbox runs in one process, the clients in others; base objects only, every page another one, so that no
page is served twice from anywhere. On a busy machine trust the second column, pages per CPU-second of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import multiprocessing.pool
import time

import aiohttp
import psutil
from isal import isal_zlib

from tidegate import sandbox
from tidegate.sandbox import serving

GOAL = 800
CONNECTIONS = 4


async def walk(url: str, encoding: str, seconds: float, span: tuple[int, int]) -> tuple[int, int]:
    """Walk one span of creation times over and over until time is up: pages and bytes read."""
    pages = read = 0
    headers = {"Authorization": "Bearer sk_test_bench", "Accept-Encoding": encoding}
    cursor = ""
    end = time.perf_counter() + seconds
    async with aiohttp.ClientSession(url, headers=headers, auto_decompress=False) as session:
        while time.perf_counter() < end:
            params = {"limit": "100", "created[gte]": str(span[0]), "created[lt]": str(span[1])}
            if cursor:
                params["starting_after"] = cursor
            async with session.get("/v1/charges", params=params) as response:
                body = await response.read()
                assert response.status == 200, body[:200]
            read += len(body)
            pages += 1
            cursor = last_id(body, encoding)
    return pages, read


def last_id(body: bytes, encoding: str) -> str:
    """The next cursor; empty at the end of the list."""
    if encoding == "gzip":
        body = isal_zlib.decompress(body, 31)
    # A page is 200 kB: looking for the last id costs the client less than decoding it.
    if b'"has_more":false' in body[-80:]:
        return ""
    at = body.rindex(b'"object":"charge"')
    found = body.rindex(b'"id":"ch_', 0, at) if b'"id":"ch_' in body[:at] else -1
    return body[found + 6 : body.index(b'"', found + 6)].decode()


def client(arguments: tuple[str, str, float, tuple[int, int]]) -> tuple[int, int]:
    """One client process: several connections, each on its own part of the span."""
    url, encoding, seconds, (low, high) = arguments
    step = (high - low) // CONNECTIONS

    async def run() -> list[tuple[int, int]]:
        spans = [(low + i * step, low + (i + 1) * step) for i in range(CONNECTIONS)]
        return await asyncio.gather(*(walk(url, encoding, seconds, span) for span in spans))

    done = asyncio.run(run())
    return sum(pages for pages, _ in done), sum(read for _, read in done)


def measure(
    pool: multiprocessing.pool.Pool,
    server: psutil.Process,
    url: str,
    encoding: str,
    seconds: float,
    clients: int,
) -> None:
    """Print one line: pages per second of the clock, and of the server's CPU."""
    now = int(time.time())
    low, high = now - 700 * 86400, now - 10 * 86400
    step = (high - low) // clients
    spans = [(low + i * step, low + (i + 1) * step) for i in range(clients)]
    pool.map(client, [(url, encoding, 0.2, span) for span in spans])
    begin, spent = time.perf_counter(), sum(server.cpu_times()[:2])
    done = pool.map(client, [(url, encoding, seconds, span) for span in spans])
    took, spent = time.perf_counter() - begin, sum(server.cpu_times()[:2]) - spent
    pages, read = sum(pages for pages, _ in done), sum(read for _, read in done)
    print(
        f"{encoding:8}  {pages / took:6.0f} pages/s  {pages / spent:6.0f} per CPU-s  "
        f"{read / pages / 1000:4.0f} kB/page  goal {GOAL}  {'reached' if pages / took >= GOAL else 'missed'}"
    )


async def live(rounds: int = 50, steps: int = 200) -> None:
    """Print how long another world of 300 objects takes, and a step of its traffic."""
    options = {"objects": 300, "now": 1_790_000_000, "clock": 1_790_000_060}
    made = serving.build(serving.Options())
    url = await made.start()
    try:
        async with aiohttp.ClientSession(url) as session:
            for name, times, bodies in (
                ("reset", rounds, [{**options, "seed": seed} for seed in range(rounds)]),
                ("step of traffic", steps, [{"steps": steps, "tick": 0.3}]),
            ):
                begin = time.perf_counter()
                for body in bodies:
                    path = "/_sandbox/reset" if name == "reset" else "/_sandbox/traffic"
                    async with session.post(path, json=body) as answer:
                        assert answer.status == 200, await answer.text()
                print(f"{name:16}  {(time.perf_counter() - begin) / times * 1000:6.1f} ms")
    finally:
        await made.stop()


def main() -> None:
    """Measure with and without gzip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--clients", type=int, default=2)
    given = parser.parse_args()
    with (
        sandbox.process(objects=500_000, only=["charges"]) as url,
        multiprocessing.get_context("spawn").Pool(given.clients) as pool,
    ):
        server = next(one for one in psutil.Process().children() if "tidegate.sandbox" in one.cmdline())
        for encoding in ("identity", "gzip"):
            measure(pool, server, url, encoding, given.seconds, given.clients)
    asyncio.run(live())


if __name__ == "__main__":
    main()
