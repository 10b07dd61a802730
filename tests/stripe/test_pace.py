"""The pace against a server that counts strictly, in virtual time."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest

from tidegate import errors
from tidegate.stripe import pace

Virtually = Callable[[Any], Any]


class Strict:
    """At most `limit` requests in any second of its own clock, for the account and for each endpoint."""

    def __init__(self, per_account: float, per_endpoint: float, jitter: float = 0.005) -> None:
        self.limits = {"": per_account}
        self.per_endpoint = per_endpoint
        self.log: dict[str, collections.deque[float]] = collections.defaultdict(collections.deque)
        self.jitter = jitter
        self.served: collections.Counter[str] = collections.Counter()
        self.refused: collections.Counter[str] = collections.Counter()
        self.dark_until = 0.0

    async def request(self, slot: pace.Slot, endpoint: str, latency: float = 0.15) -> bool:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(latency / 2 + random.uniform(0, self.jitter))
        now = loop.time()
        reason = "global-rate" if now < self.dark_until else ""
        for name, limit, named in (
            ("", self.limits[""], "global-rate"),
            (endpoint, self.per_endpoint, "endpoint-rate"),
        ):
            log = self.log[name]
            while log and log[0] <= now - 1:
                log.popleft()
            if len(log) >= limit:
                reason = reason or named
        if not reason:
            self.log[""].append(now)
            self.log[endpoint].append(now)
            self.served[endpoint] += 1
        else:
            self.refused[reason] += 1
        await asyncio.sleep(latency / 2)
        if reason:
            slot.limited(reason)
        return not reason


async def pull(
    server: Strict, pacer: pace.Pace, endpoints: list[str], seconds: float, tasks: int = 30
) -> None:
    """Ask as often as the pace lets us, for so long."""

    async def walk(endpoint: str) -> None:
        again = False
        while True:
            async with pacer.slot(endpoint, again=again) as slot:
                again = not await server.request(slot, endpoint)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(walk(endpoint) for endpoint in endpoints for _ in range(tasks)))


@pytest.mark.parametrize(
    ("endpoints", "limits", "expected"),
    [(1, (100, 25), 25), (5, (100, 25), 100), (3, (25, 25), 25), (2, (500, 200), 400)],
)
def test_at_budget_1_a_strict_server_is_used_up_and_has_nothing_to_refuse(
    virtually: Virtually, endpoints: int, limits: tuple[int, int], expected: int
) -> None:
    async def main() -> Strict:
        server = Strict(*limits)
        pacer = pace.Pace(pace.Limits(*limits), budget=1.0, max_in_flight=200)
        await pull(server, pacer, [f"GET /v1/{i}" for i in range(endpoints)], 60.0, tasks=80)
        return server

    server = virtually(main())
    assert server.served.total() >= 0.97 * expected * 60
    assert server.refused.total() <= 0.001 * server.served.total()


def test_requests_that_go_out_later_than_their_turn_count_as_of_then(virtually: Virtually) -> None:
    """Whatever has to be done first in some of them, no second has more than the limit."""

    async def main() -> Strict:
        server, chance = Strict(100, 25, jitter=0.0), random.Random(3)
        pacer = pace.Pace(pace.Limits(100, 25), budget=1.0, max_in_flight=200)
        loop = asyncio.get_running_loop()
        until = loop.time() + 60

        async def walk() -> None:
            while loop.time() < until:
                async with pacer.slot("POST /v1/customers") as slot:
                    await asyncio.sleep(chance.choice((0.0, 0.01, 0.08)))
                    slot.now()
                    await server.request(slot, "POST /v1/customers")

        await asyncio.gather(*(walk() for _ in range(40)))
        return server

    server = virtually(main())
    assert server.refused.total() == 0
    assert server.served.total() >= 0.9 * 25 * 60


def test_the_budget_leaves_the_rest_to_the_merchant(virtually: Virtually) -> None:
    async def main() -> Strict:
        server = Strict(100, 25)
        await pull(server, pace.Pace(pace.Limits(100, 25), budget=0.5), ["GET /v1/charges"], 20.0)
        return server

    server = virtually(main())
    assert 0.97 * 250 <= server.served.total() <= 1.03 * 250
    assert not server.refused


def test_never_more_than_the_limit_within_any_second_also_after_the_loop_was_busy(
    virtually: Virtually,
) -> None:
    async def main() -> list[float]:
        loop: Any = asyncio.get_running_loop()
        pacer = pace.Pace(pace.Limits(100, 25), budget=1.0)
        sent: list[float] = []

        async def walk() -> None:
            while loop.time() < 1010:
                async with pacer.slot("GET /v1/charges") as slot:
                    sent.append(slot.sent_at)
                    if random.random() < 0.1:
                        loop.now += random.uniform(0, 0.3)
                    await asyncio.sleep(0.1)

        await asyncio.gather(*(walk() for _ in range(20)))
        return sent

    sent = virtually(main())
    assert len(sent) > 100
    assert all(later - earlier >= 1.0 for earlier, later in zip(sent, sent[25:], strict=False))


def test_a_lower_limit_than_we_know_is_found_and_kept_to(virtually: Virtually) -> None:
    async def main() -> Strict:
        server = Strict(100, 10)
        await pull(server, pace.Pace(pace.Limits(100, 25), budget=1.0), ["GET /v1/charges"], 120.0)
        return server

    server = virtually(main())
    assert server.served.total() >= 0.85 * 10 * 120
    assert server.refused.total() <= 0.08 * server.served.total()


def test_after_a_storm_the_whole_rate_comes_back(virtually: Virtually) -> None:
    async def main() -> tuple[Strict, int]:
        server = Strict(100, 25)
        pacer = pace.Pace(pace.Limits(100, 25), budget=1.0)
        server.dark_until = asyncio.get_running_loop().time() + 60
        await pull(server, pacer, ["GET /v1/charges"], 90.0)
        refused = server.refused.total()
        server.served.clear()
        await pull(server, pacer, ["GET /v1/charges"], 20.0)
        return server, refused

    server, refused = virtually(main())
    assert refused <= 200
    assert server.served.total() >= 0.97 * 25 * 20


def test_retry_after_pauses_the_limiter_that_is_named_and_no_other(virtually: Virtually) -> None:
    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        pacer = pace.Pace(pace.Limits(100, 25))
        async with pacer.slot("GET /v1/charges") as slot:
            slot.limited("endpoint-rate", retry_after=7.0)
        start = loop.time()
        async with pacer.slot("GET /v1/refunds"):
            other = loop.time() - start
        async with pacer.slot("GET /v1/charges"):
            return other, loop.time() - start

    other, same = virtually(main())
    assert other < 0.1
    assert same == pytest.approx(7.0, abs=0.01)


def test_a_global_limit_pauses_all_and_an_absurd_order_is_cut_to_a_minute(virtually: Virtually) -> None:
    async def main() -> float:
        pacer = pace.Pace(pace.Limits(100, 25))
        async with pacer.slot("GET /v1/charges") as slot:
            slot.limited("global-rate", retry_after=86400.0)
        start = asyncio.get_running_loop().time()
        async with pacer.slot("GET /v1/refunds"):
            return asyncio.get_running_loop().time() - start

    assert virtually(main()) == pytest.approx(60.0, abs=0.01)


@pytest.mark.parametrize("reason", ["global-concurrency", "endpoint-concurrency"])
def test_a_concurrency_limit_is_found(virtually: Virtually, reason: str) -> None:
    async def main() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        pacer = pace.Pace(pace.Limits(None, None), max_in_flight=50)
        under_way = refused = served = 0
        until = loop.time() + 60

        async def walk() -> None:
            nonlocal under_way, refused, served
            while loop.time() < until:
                async with pacer.slot("GET /v1/charges") as slot:
                    under_way += 1
                    full = under_way > 10
                    await asyncio.sleep(0.2)
                    under_way -= 1
                    if full:
                        refused += 1
                        slot.limited(reason)
                    else:
                        served += 1

        await asyncio.gather(*(walk() for _ in range(50)))
        return served, refused

    served, refused = virtually(main())
    assert served >= 0.6 * 10 * 5 * 60
    assert refused <= 0.1 * served


def test_an_endpoint_at_its_limit_blocks_no_other_and_all_get_their_turn(virtually: Virtually) -> None:
    async def main() -> Strict:
        server = Strict(100, 25)
        pacer = pace.Pace(pace.Limits(50, 25), budget=1.0, max_in_flight=300)
        busy = pull(server, pacer, ["GET /v1/charges"], 30.0, tasks=200)
        others = pull(server, pacer, ["GET /v1/refunds", "GET /v1/payouts"], 30.0, tasks=10)
        await asyncio.gather(busy, others)
        return server

    served = virtually(main()).served
    assert sum(served.values()) >= 0.97 * 50 * 30
    assert max(served.values()) <= 1.2 * min(served.values())


def test_endpoints_without_a_limit_do_not_push_the_limited_ones_aside(virtually: Virtually) -> None:
    async def main() -> Strict:
        server = Strict(1000, 1000)
        pacer = pace.Pace(pace.Limits(20, None, search=20), budget=1.0)
        await pull(server, pacer, ["GET /v1/charges", "GET /v1/charges/search"], 30.0, tasks=20)
        return server

    served = virtually(main()).served
    assert served["GET /v1/charges/search"] >= 0.4 * sum(served.values())


def test_search_and_files_have_limits_of_their_own(virtually: Virtually) -> None:
    async def main() -> Strict:
        server = Strict(1000, 1000)
        pacer = pace.Pace(pace.Limits(None, None), budget=1.0)
        await pull(server, pacer, ["GET /v1/charges/search", "GET /v1/files"], 20.0)
        return server

    for count in virtually(main()).served.values():
        assert 0.95 * 400 <= count <= 1.02 * 400


def test_a_slow_limit_of_less_than_one_a_second(virtually: Virtually) -> None:
    async def main() -> Strict:
        server = Strict(100, 100)
        await pull(server, pace.Pace(pace.Limits(0.5, 0.5), budget=1.0), ["GET /v1/charges"], 100.0, tasks=3)
        return server

    assert 46 <= virtually(main()).served.total() <= 53


def test_no_more_than_max_in_flight_are_under_way(virtually: Virtually) -> None:
    async def main() -> int:
        pacer = pace.Pace(pace.Limits(None, None), max_in_flight=7)
        most = 0

        async def walk(endpoint: str) -> None:
            nonlocal most
            async with pacer.slot(endpoint):
                most = max(most, pacer.account.in_flight)
                await asyncio.sleep(0.1)

        await asyncio.gather(*(walk(f"GET /v1/{i % 3}") for i in range(50)))
        return most

    assert virtually(main()) == 7


def test_cancelled_waiters_give_their_places_back(virtually: Virtually) -> None:
    async def main() -> tuple[int, int]:
        pacer = pace.Pace(pace.Limits(100, 25), max_in_flight=5)
        done = 0

        async def walk() -> None:
            nonlocal done
            async with pacer.slot("GET /v1/charges"):
                await asyncio.sleep(0.5)
                done += 1

        tasks = [asyncio.create_task(walk()) for _ in range(60)]
        for _ in range(100):
            await asyncio.sleep(0.01)
            random.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        finished = done
        await asyncio.gather(*(walk() for _ in range(10)))
        assert done == finished + 10
        return pacer.account.in_flight, len(pacer._queue)

    assert virtually(main()) == (0, 0)


def test_a_waiter_cancelled_in_the_moment_of_its_grant_gives_the_slot_back(virtually: Virtually) -> None:
    async def main() -> int:
        pacer = pace.Pace(pace.Limits(None, None), max_in_flight=1)
        first = pacer.slot("GET /v1/charges")
        await first.__aenter__()

        async def second() -> None:
            async with pacer.slot("GET /v1/charges"):
                await asyncio.sleep(100)

        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        await first.__aexit__(None, None, None)  # grants the slot to `second`, which has not run yet
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return pacer.account.in_flight

    assert virtually(main()) == 0


def test_a_refused_request_goes_before_its_peers(virtually: Virtually) -> None:
    async def main() -> list[str]:
        pacer = pace.Pace(pace.Limits(None, None), max_in_flight=1)
        order: list[str] = []

        async def walk(name: str, again: bool = False) -> None:
            async with pacer.slot("GET /v1/charges", again=again):
                order.append(name)
                await asyncio.sleep(1)

        await asyncio.gather(walk("first"), walk("second"), walk("third"), walk("refused", again=True))
        return order

    assert virtually(main()) == ["first", "refused", "second", "third"]


def test_the_share_of_the_budget_in_use(virtually: Virtually) -> None:
    async def main() -> tuple[float, float, float]:
        pacer = pace.Pace(pace.Limits(100, 25), budget=0.8)
        before = pacer.share()
        await pull(Strict(100, 25), pacer, ["GET /v1/charges", "GET /v1/refunds"], 10.0)
        return before, pacer.share(), pacer.rate()

    before, share, rate = virtually(main())
    assert before == 0.0
    assert share == pytest.approx(0.5, abs=0.05)
    assert rate == pytest.approx(40, abs=4)


def test_thousands_of_endpoints_are_not_kept(virtually: Virtually) -> None:
    async def main() -> int:
        pacer = pace.Pace(pace.Limits(None, 1000))
        for i in range(5000):
            async with pacer.slot(f"GET /v1/{i}"):
                await asyncio.sleep(0.01)
        return len(pacer._lanes)

    assert virtually(main()) <= pace.LANES + 1


@pytest.mark.parametrize(
    ("mode", "text", "limits"),
    [
        ("live", None, pace.Limits(100, 25, 20, 20)),
        ("test", None, pace.Limits(25, 25, 20, 20)),
        ("test", "500/100", pace.Limits(500, 100, 20, 20)),
        ("live", " 10 / 2.5 ", pace.Limits(10, 2.5, 2.5, 2.5)),
        ("live", "off", pace.Limits(None, None, None, None)),
    ],
)
def test_limits_by_mode_and_by_hand(mode: Any, text: str | None, limits: pace.Limits) -> None:
    assert pace.limits_for(mode, text) == limits


@pytest.mark.parametrize("text", ["fast", "100", "0/25", "-1/25", "100/25/5", ""])
def test_a_rate_limit_that_is_none_says_how_to_write_it(text: str) -> None:
    with pytest.raises(errors.ConfigError, match="like 100/25, or off"):
        pace.limits_for("live", text)


@pytest.mark.parametrize("budget", [0.0, -1.0, 1.5, float("nan")])
def test_a_budget_that_is_no_share_is_refused(budget: float) -> None:
    with pytest.raises(errors.ConfigError, match=r"use 0\.01 to 1"):
        pace.Pace(pace.Limits(100, 25), budget=budget)


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/v1/charges", "/v1/charges"),
        ("/v1/charges/ch_3NX", "/v1/charges/{}"),
        ("/v1/invoices/in_1A/lines", "/v1/invoices/{}/lines"),
        ("/v1/charges/search", "/v1/charges/search"),
        ("/v2/core/accounts/acct_1", "/v2/core/accounts/{}"),
    ],
)
def test_ids_of_an_endpoint_pool(path: str, template: str) -> None:
    assert pace.template(path) == template
