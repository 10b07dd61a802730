"""The pace against a server that counts strictly: nothing is refused, and the limit is used up.

At budget 1: at most 25 requests per endpoint and 100 per account in any second, 150 ms latency with jitter.

    python bench/pace.py [seconds]
"""

from __future__ import annotations

import asyncio
import collections
import multiprocessing
import multiprocessing.connection
import random
import sys
import time

from aiohttp import web

from tidegate.stripe import client, pace

PER_ACCOUNT, PER_ENDPOINT = 100, 25
GOAL_SHARE, GOAL_REFUSED, GOAL_US = 0.97, 0.002, 30.0


def serve(ready: multiprocessing.connection.Connection) -> None:
    """Count over a sliding second, for the account and for each path, before anything else."""
    logs: dict[str, collections.deque[float]] = collections.defaultdict(collections.deque)

    async def answer(request: web.BaseRequest) -> web.Response:
        now = time.monotonic()
        reason = ""
        for name, limit in (("", PER_ACCOUNT), (request.path, PER_ENDPOINT)):
            while logs[name] and logs[name][0] <= now - 1:
                logs[name].popleft()
            if len(logs[name]) >= limit:
                reason = reason or ("endpoint-rate" if name else "global-rate")
        if not reason:
            logs[""].append(now)
            logs[request.path].append(now)
        await asyncio.sleep(0.15 * random.uniform(0.9, 1.3))
        if reason:
            error = {"error": {"code": "rate_limit", "message": "Too many requests"}}
            return web.json_response(error, status=429, headers={"Stripe-Rate-Limited-Reason": reason})
        return web.json_response({"object": "list", "data": [], "has_more": False})

    async def run() -> None:
        runner = web.ServerRunner(web.Server(answer, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ready.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


async def read(port: int, endpoints: int, seconds: float) -> tuple[int, int]:
    """Read so many endpoints with ten tasks each: requests and refusals of the seconds after the first."""
    pacer = pace.Pace(pace.Limits(PER_ACCOUNT, PER_ENDPOINT), budget=1.0)
    base = f"http://127.0.0.1:{port}"
    async with client.Client(
        "sk_live_x", api_base=base, api_version="2026-10-28.endive", pace=pacer
    ) as stripe:

        async def walk(path: str) -> None:
            while True:
                await stripe.get(path)

        async def warm() -> tuple[int, int]:
            await asyncio.sleep(1)
            return stripe.tally.requests, stripe.tally.rate_limited

        start = asyncio.create_task(warm())
        try:
            async with asyncio.timeout(seconds + 1):
                await asyncio.gather(
                    *(walk(f"/v1/list_{chr(97 + i)}") for i in range(endpoints) for _ in range(10))
                )
        except TimeoutError:
            pass
        requests, refused = await start
        return stripe.tally.requests - requests, stripe.tally.rate_limited - refused


async def grants(count: int) -> float:
    """Microseconds of CPU for one slot, 50 tasks on 5 endpoints, limits far away."""
    pacer = pace.Pace(pace.Limits(1e7, 1e7), budget=1.0, max_in_flight=40)

    async def walk(endpoint: str) -> None:
        for _ in range(count // 50):
            async with pacer.slot(endpoint):
                await asyncio.sleep(0)

    async def empty() -> None:
        for _ in range(count // 50):
            await asyncio.sleep(0)

    cpu = time.process_time()
    await asyncio.gather(*(empty() for _ in range(50)))
    base = time.process_time() - cpu
    cpu = time.process_time()
    await asyncio.gather(*(walk(f"GET /v1/{i % 5}") for i in range(50)))
    return 1e6 * (time.process_time() - cpu - base) / count


def main(seconds: float = 12.0) -> None:
    """Print what one, three and five endpoints reach, and what a slot costs."""
    spawn = multiprocessing.get_context("spawn")
    for endpoints in (1, 3, 5):
        here, there = spawn.Pipe()
        server = spawn.Process(target=serve, args=(there,), daemon=True)
        server.start()
        requests, refused = asyncio.run(read(here.recv(), endpoints, seconds))
        server.terminate()
        server.join()
        limit = min(PER_ACCOUNT, PER_ENDPOINT * endpoints)
        served = requests - refused
        print(
            f"{endpoints} endpoints: {served / seconds:.1f} requests/s = {served / seconds / limit:.1%} of"
            f" {limit}/s (goal {GOAL_SHARE:.0%}), {refused} refused ="
            f" {refused / requests:.2%} (goal {GOAL_REFUSED:.1%})"
        )
    print(f"one slot: {asyncio.run(grants(100_000)):.1f} us CPU (goal {GOAL_US:.0f})")


if __name__ == "__main__":
    main(*(float(argument) for argument in sys.argv[1:]))
