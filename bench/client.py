"""CPU of the client per page of 100 charges (230 kB), everything but the decoding of JSON.

python bench/client.py [pages]
"""

from __future__ import annotations

import asyncio
import gzip
import json
import multiprocessing
import multiprocessing.connection
import os
import sys
import time

from aiohttp import web

from tidegate.stripe import client, pace

GOAL_MS = 0.7


def page() -> bytes:
    """A list of 100 objects of 2.3 kB, as unlike each other as charges are."""
    fields = {f"field_{i}": f"value {i * 7919 % 1000}" for i in range(55)}
    charges = [{"id": f"ch_{i:024d}", "object": "charge", "amount": i * 37, **fields} for i in range(100)]
    for i, charge in enumerate(charges):
        charge["description"] = (f"{i * 104729:x} " * 500)[: 2300 - len(json.dumps(charge))]
    return json.dumps({"object": "list", "data": charges, "has_more": True}).encode()


def serve(packed: bool, ready: multiprocessing.connection.Connection) -> None:
    """Answer every request with the page, until the process is ended."""
    headers = {"Content-Type": "application/json", "Request-Id": "req_1"}
    body = page()
    if packed:
        body, headers = gzip.compress(body, 1), headers | {"Content-Encoding": "gzip"}

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(body=body, headers=headers)

    async def run() -> None:
        runner = web.ServerRunner(web.Server(answer, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ready.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


async def read(port: int, pages: int) -> tuple[float, float, int]:
    """CPU and wall seconds for so many pages by eight tasks, and the bytes of one."""
    pacer, base = pace.Pace(pace.Limits(1e9, 1e9)), f"http://127.0.0.1:{port}"
    async with client.Client(
        "sk_test_x", api_base=base, api_version="2026-10-28.endive", pace=pacer
    ) as stripe:

        async def walk(count: int) -> int:
            size = 0
            for _ in range(count):
                size = len((await stripe.get("/v1/charges", {"limit": 100, "starting_after": "ch_1"})).body)
            return size

        await asyncio.gather(*(walk(10) for _ in range(8)))
        cpu, wall = time.process_time(), time.perf_counter()
        sizes = await asyncio.gather(*(walk(pages // 8) for _ in range(8)))
        return time.process_time() - cpu, time.perf_counter() - wall, sizes[0]


def main(pages: int = 2000) -> None:
    """Print a line each for plain and packed pages."""
    spawn = multiprocessing.get_context("spawn")
    for packed in (False, True):
        here, there = spawn.Pipe()
        server = spawn.Process(target=serve, args=(packed, there), daemon=True)
        server.start()
        cpu, wall, size = asyncio.run(read(here.recv(), pages))
        server.terminate()
        server.join()
        name = "gzip " if packed else "plain"
        print(
            f"{name} {size / 1000:.0f} kB: {1000 * cpu / pages:.3f} ms CPU per page"
            f" (goal {GOAL_MS} plain), {pages / wall:.0f} pages/s, {os.cpu_count()} cores"
        )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
