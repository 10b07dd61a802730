"""Paces that share one budget through a database, in virtual time; then with threads, on both databases."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import servers

from tidegate import errors
from tidegate.store import database, grants
from tidegate.stripe import pace, purse, shares

Virtually = Callable[[Any], Any]

ACCOUNT = "api.stripe.com/live/acct_1"
CHARGES, REFUNDS = "GET /v1/charges", "GET /v1/refunds"
LIVE = pace.Limits(100, 25)


class Clocked(database.SQLite):
    """A SQLite file whose clock is the event loop's, and which can go away."""

    def __init__(self, path: Path, *, offset: float = 0.0) -> None:
        super().__init__(path, wait=0.0)
        self.offset, self.down = offset, False

    def _now(self, _: object) -> float:
        try:
            now = asyncio.get_running_loop().time()
        except RuntimeError:
            now = 0.0
        return 2440587.5 + (1_700_000_000 + now + self.offset) / 86_400

    def _open(self) -> sqlite3.Connection:
        if self.down:
            raise errors.StoreUnreachable(f"{self.place} cannot be reached; look at the server.")
        fresh = self._connection is None
        connection = super()._open()
        if fresh:
            connection.create_function("julianday", 1, self._now)
        return connection


class Process(purse.Purse):
    """A purse without a thread: the database answers after 20 ms."""

    def __init__(self, store: Clocked) -> None:
        super().__init__(store)
        self.phase = 0.0
        self.killed = False

    def say(self, said: Any) -> None:
        if not self.killed:
            asyncio.get_running_loop().call_later(0.02, self._exchange, [said])


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[[], Process]]:
    """Makes another process, with a connection of its own to one file."""
    made: list[Clocked] = []

    def another() -> Process:
        made.append(Clocked(tmp_path / "tidegate.db"))
        made[-1].migrate()
        return Process(made[-1])

    yield another
    for store in made:
        store.close()


class Sends:
    """What was sent, by whom and when."""

    def __init__(self) -> None:
        self.at: dict[str, list[float]] = collections.defaultdict(list)

    async def walk(
        self,
        name: str,
        pacer: pace.Pace,
        endpoint: str,
        until: float,
        every: float = 0.0,
        latency: float = 0.1,
    ) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            async with pacer.slot(endpoint) as slot:
                self.at[name].append(slot.sent_at)
                await asyncio.sleep(latency)
            await asyncio.sleep(every)

    async def greedy(self, name: str, pacer: pace.Pace, until: float, endpoints: int = 8) -> None:
        """Want more of every endpoint than there is."""
        await asyncio.gather(
            *(self.walk(name, pacer, f"GET /v1/{i}", until) for i in range(endpoints) for _ in range(10))
        )

    def rate(self, name: str, since: float, until: float) -> float:
        """Requests per second in that time."""
        return sum(since <= at < until for at in self.at[name]) / (until - since)

    def most(self) -> int:
        """The most that all together sent in any second."""
        times = sorted(at for each in self.at.values() for at in each)
        first = most = 0
        for last, at in enumerate(times):
            while times[first] <= at - 1.0:
                first += 1
            most = max(most, last - first + 1)
        return most


def test_alone_it_is_as_fast_as_a_pace_of_its_own(virtually: Virtually, process: Any) -> None:
    async def main() -> tuple[float, float]:
        sends, start = Sends(), asyncio.get_running_loop().time()
        await asyncio.gather(
            sends.greedy("plain", pace.Pace(LIVE), start + 20),
            sends.greedy("shared", process().pace(ACCOUNT, LIVE), start + 20),
        )
        return sends.rate("plain", start, start + 20), sends.rate("shared", start, start + 20)

    plain, shared = virtually(main())
    assert shared >= 0.98 * plain


@pytest.mark.parametrize(("endpoints", "whole"), [(8, 80.0), (1, 20.0)])
def test_four_have_equal_parts_of_the_whole_budget(
    virtually: Virtually, process: Any, endpoints: int, whole: float
) -> None:
    async def main() -> tuple[list[float], int, list[int]]:
        sends, start = Sends(), asyncio.get_running_loop().time()
        purses = [process() for _ in range(4)]
        await asyncio.gather(
            *(
                sends.greedy(f"{number}", each.pace(ACCOUNT, LIVE), start + 30, endpoints)
                for number, each in enumerate(purses)
            )
        )
        rates = [sends.rate(name, start + 5, start + 30) for name in sends.at]
        return rates, sends.most(), [each.exchanges for each in purses]

    rates, most, exchanges = virtually(main())
    assert 0.95 * whole <= sum(rates) <= 1.001 * whole
    assert max(rates) <= 1.1 * min(rates)
    assert most <= whole * 1.1 + 4
    assert max(exchanges) <= 30 + 15


def test_one_that_wants_little_leaves_the_rest(virtually: Virtually, process: Any) -> None:
    async def main() -> tuple[float, float]:
        sends, start = Sends(), asyncio.get_running_loop().time()
        await asyncio.gather(
            sends.greedy("much", process().pace(ACCOUNT, LIVE), start + 30),
            sends.walk("little", process().pace(ACCOUNT, LIVE), CHARGES, start + 30, every=0.4),
        )
        return sends.rate("much", start + 5, start + 30), sends.rate("little", start + 5, start + 30)

    much, little = virtually(main())
    assert little == pytest.approx(2.0, abs=0.1)
    assert much >= 0.94 * (80 - little)


def test_one_that_joins_sends_at_once_and_has_its_part_soon(virtually: Virtually, process: Any) -> None:
    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        sends, start = Sends(), loop.time()
        busy = asyncio.create_task(sends.greedy("old", process().pace(ACCOUNT, LIVE), start + 20))
        await asyncio.sleep(10)
        await sends.greedy("new", process().pace(ACCOUNT, LIVE), start + 20)
        await busy
        return sends.at["new"][0] - start - 10, sends.rate("new", start + 13, start + 20)

    first, rate = virtually(main())
    assert first < 0.1
    assert rate == pytest.approx(40.0, rel=0.1)


def test_a_process_that_disappears_is_replaced_and_the_budget_is_never_passed(
    virtually: Virtually, process: Any
) -> None:
    async def main() -> tuple[float, float, int]:
        sends, start = Sends(), asyncio.get_running_loop().time()
        lost, other = process(), process()
        gone = asyncio.create_task(sends.greedy("lost", lost.pace(ACCOUNT, LIVE), start + 60))
        stays = asyncio.create_task(sends.greedy("other", other.pace(ACCOUNT, LIVE), start + 30))
        await asyncio.sleep(10)
        lost.killed = True
        gone.cancel()
        await asyncio.gather(stays, gone, return_exceptions=True)
        early, late = (
            sends.rate("other", start + 10.5, start + 13),
            sends.rate("other", start + 17, start + 30),
        )
        return early, late, sends.most()

    early, late, most = virtually(main())
    assert early == pytest.approx(40.0, rel=0.1)
    assert late >= 0.97 * 80
    assert most <= 80 * 1.1 + 2


def test_what_is_not_used_for_a_while_is_given_back(virtually: Virtually, process: Any) -> None:
    async def main() -> tuple[dict[str, float], dict[str, float], dict[str, float], int]:
        own = process()
        pacer = own.pace(ACCOUNT, LIVE)
        loop = asyncio.get_running_loop()
        sends = Sends()
        await sends.greedy("a", pacer, loop.time() + 2, endpoints=2)
        during = grants.held(own._store, ACCOUNT, "GET /v1/0")
        await sends.walk("a", pacer, "GET /v1/1", loop.time() + 5)
        endpoint = grants.held(own._store, ACCOUNT, "GET /v1/0")
        await asyncio.sleep(shares.IDLE + 2)
        after, exchanges = grants.held(own._store, ACCOUNT), own.exchanges
        await asyncio.sleep(3600)
        assert own.exchanges == exchanges  # nobody asks for what nobody uses
        async with pacer.slot("GET /v1/0"):
            pass
        return during, endpoint, after, len(pacer._queue)

    during, endpoint, after, queued = virtually(main())
    assert list(during.values()) == [20.0]
    assert endpoint == after == {}
    assert queued == 0


def test_waiters_that_are_cancelled_leave_the_budget_to_others(virtually: Virtually, process: Any) -> None:
    async def main() -> tuple[float, dict[str, float]]:
        sends, start = Sends(), asyncio.get_running_loop().time()
        first, other = process(), process()
        pacer = first.pace(ACCOUNT, LIVE)
        busy = asyncio.create_task(sends.greedy("first", pacer, start + 60))
        stays = asyncio.create_task(sends.greedy("other", other.pace(ACCOUNT, LIVE), start + 20))
        await asyncio.sleep(5)
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
        assert pacer.account.in_flight == 0
        await stays
        return sends.rate("other", start + 11, start + 20), grants.held(other._store, ACCOUNT)

    rate, held = virtually(main())
    assert rate >= 0.97 * 80
    assert len(held) == 1


def test_a_pace_that_is_closed_gives_back_at_once_and_may_be_used_again(
    virtually: Virtually, process: Any
) -> None:
    async def main() -> tuple[list[str], int]:
        own = process()
        pacer = own.pace(ACCOUNT, LIVE)
        for endpoint in (CHARGES, REFUNDS):
            async with pacer.slot(endpoint):
                await asyncio.sleep(0.1)
            assert len(grants.held(own._store, ACCOUNT)) == 1
            pacer.close()
            await asyncio.sleep(0.1)
            assert grants.held(own._store, ACCOUNT) == {}
        return [row["name"] for row in own._store.execute("SELECT name FROM shares")], own.exchanges

    assert virtually(main()) == ([], 4)


@pytest.mark.parametrize(("reason", "spared"), [("endpoint-rate", True), ("global-rate", False)])
def test_others_pause_too_by_the_limiter_that_stripe_named(
    virtually: Virtually, process: Any, reason: str, spared: bool
) -> None:
    async def main() -> tuple[bool, bool, float]:
        sends, loop = Sends(), asyncio.get_running_loop()
        start = loop.time()
        one, two = process().pace(ACCOUNT, LIVE), process().pace(ACCOUNT, LIVE)
        tasks = [
            asyncio.create_task(sends.walk(endpoint, two, endpoint, start + 30))
            for endpoint in (CHARGES, REFUNDS)
            for _ in range(5)
        ]
        tasks += [asyncio.create_task(sends.walk("one", one, CHARGES, start + 4)) for _ in range(5)]
        await asyncio.sleep(5)
        async with one.slot(CHARGES) as slot:
            slot.limited(reason, retry_after=10.0)
        refused = loop.time()
        await asyncio.gather(*tasks)
        quiet = [sends.rate(endpoint, refused + 2, refused + 9.9) == 0 for endpoint in (CHARGES, REFUNDS)]
        return quiet[0], quiet[1], sends.rate(CHARGES, refused + 11, refused + 20)

    quiet, other_quiet, after = virtually(main())
    assert quiet
    assert other_quiet is not spared
    assert after > 5


def test_the_second_request_to_an_endpoint_waits_for_its_share_only(
    virtually: Virtually, process: Any
) -> None:
    async def main() -> float:
        pacer = process().pace(ACCOUNT, LIVE)
        start = asyncio.get_running_loop().time()
        for _ in range(2):
            async with pacer.slot(CHARGES):
                pass
        return asyncio.get_running_loop().time() - start

    assert virtually(main()) <= 0.02 + shares.SOON + 0.02 + 0.05


def test_others_slow_down_as_the_refused_one_did(virtually: Virtually, process: Any) -> None:
    async def main() -> tuple[float, float]:
        sends, start = Sends(), asyncio.get_running_loop().time()
        one, two = process().pace(ACCOUNT, LIVE), process().pace(ACCOUNT, LIVE)
        other = asyncio.create_task(sends.greedy("two", two, start + 12))
        for _ in range(6):
            async with one.slot(CHARGES) as slot:
                await asyncio.sleep(0.05)
                slot.limited("global-rate", retry_after=0.5)
        cut = one.account.factor
        await asyncio.sleep(1.1)
        heard = two.account.factor
        await other
        return cut, heard

    cut, heard = virtually(main())
    assert cut < 0.8
    assert heard <= min(1.0, cut + 0.25)  # it has begun to rise again


def test_without_the_database_it_goes_on_at_a_quarter_and_then_stops(
    virtually: Virtually, process: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> tuple[float, float, float, float, str]:
        loop = asyncio.get_running_loop()
        sends, start = Sends(), loop.time()
        own = process()
        pacer = own.pace(ACCOUNT, LIVE)
        endless = asyncio.create_task(sends.greedy("a", pacer, start + 10_000))
        await asyncio.sleep(10)
        own._store.down = True
        own._store._drop()
        await asyncio.wait([endless])
        ended = loop.time() - start
        rates = (sends.rate("a", start + 10, start + 13), sends.rate("a", start + 20, start + 600))
        own._store.down = False
        again = loop.time()
        await sends.greedy("b", pacer, again + 10)
        return *rates, ended, sends.rate("b", again + 2, again + 10), str(endless.exception())

    with caplog.at_level(logging.WARNING):
        before, quarter, ended, after, told = virtually(main())
    assert before == pytest.approx(80.0, rel=0.02)
    assert quarter == pytest.approx(20.0, rel=0.02)
    assert ended == pytest.approx(10 + shares.ENDURED, abs=10)
    assert after >= 0.95 * 80
    assert "rate budget that all workers share" in told
    assert "tidegate.db does not answer" in told
    assert [record.message.partition(" ")[2] for record in caplog.records] == [
        "does not renew the shared rate budget; requests go on at a quarter of their rate, "
        "for ten minutes at most.",
        "renews the shared rate budget again.",
    ]


def test_cut_off_it_never_sends_more_than_a_quarter_beyond_the_budget(
    virtually: Virtually, process: Any
) -> None:
    async def main() -> tuple[int, float]:
        sends, start = Sends(), asyncio.get_running_loop().time()
        lonely, *others = (process() for _ in range(3))
        cut_off = asyncio.create_task(sends.greedy("lonely", lonely.pace(ACCOUNT, LIVE), start + 60))
        tasks = [
            asyncio.create_task(sends.greedy(f"{number}", each.pace(ACCOUNT, LIVE), start + 60))
            for number, each in enumerate(others)
        ]
        await asyncio.sleep(10)
        lonely._store.down = True
        lonely._store._drop()
        await asyncio.sleep(30)
        lonely._store.down = False
        await asyncio.gather(cut_off, *tasks)
        return sends.most(), sum(sends.rate(name, start + 50, start + 60) for name in sends.at)

    most, after = virtually(main())
    assert most <= 80 * 1.25
    assert after == pytest.approx(80.0, rel=0.05)


def test_without_any_share_a_request_fails_after_a_minute(virtually: Virtually, process: Any) -> None:
    async def main() -> float:
        start = asyncio.get_running_loop().time()
        own = process()
        own._store.down = True
        own._store._drop()
        pacer = own.pace(ACCOUNT, LIVE)

        async def one() -> None:
            async with pacer.slot(CHARGES):
                raise AssertionError("It was granted nothing.")

        failed = await asyncio.gather(*(one() for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in failed] == [errors.StoreUnreachable] * 3
        assert pacer.account.in_flight == 0
        return asyncio.get_running_loop().time() - start

    assert virtually(main()) == pytest.approx(shares.PATIENCE, abs=2)


def test_one_that_was_asleep_begins_with_what_may_be_left(virtually: Virtually, process: Any) -> None:
    async def main() -> tuple[int, float]:
        loop: Any = asyncio.get_running_loop()
        sends, start = Sends(), loop.time()
        pacer = process().pace(ACCOUNT, LIVE)
        walk = asyncio.create_task(sends.greedy("a", pacer, start + 60))
        await asyncio.sleep(10)
        loop.now += 20  # the whole process stood still, and its share has ended
        woke = loop.time()
        await asyncio.sleep(0.015)
        at_once = sum(at >= woke for at in sends.at["a"])
        await walk
        return at_once, sends.rate("a", woke + 1, woke + 20)

    at_once, rate = virtually(main())
    assert at_once <= 3
    assert rate >= 0.97 * 80


def test_an_account_that_is_known_later_is_the_same_as_one_that_was_known(
    virtually: Virtually, process: Any
) -> None:
    async def main() -> tuple[list[str], int]:
        one, two = process(), process()
        first, second = one.pace("api.stripe.com/live/key-0123", LIVE), two.pace(ACCOUNT, LIVE)
        async with first.slot("GET /v1/account"):
            await asyncio.sleep(0.1)
        first.belongs_to("acct_1")
        first.belongs_to("acct_1")
        async with first.slot(CHARGES), second.slot(CHARGES):
            await asyncio.sleep(0.2)
        names = [row["name"] for row in one._store.execute("SELECT DISTINCT name FROM shares ORDER BY name")]
        return names, len(grants.held(one._store, ACCOUNT))

    assert virtually(main()) == ([ACCOUNT], 2)


def test_thousands_of_endpoints_are_not_kept(virtually: Virtually, process: Any) -> None:
    async def main() -> tuple[int, int]:
        own = process()
        pacer = own.pace(ACCOUNT, pace.Limits(1000, 500))
        for i in range(3 * pace.LANES):
            for _ in range(2):
                async with pacer.slot(f"GET /v1/{i}"):
                    await asyncio.sleep(0.001)
        await asyncio.sleep(2 * shares.IDLE)
        assert own._store.execute("SELECT * FROM shares") == []
        return len(pacer._lanes), len(pacer._held)

    lanes, held = virtually(main())
    assert lanes <= pace.LANES + 1
    assert held == 0


def test_without_limits_nothing_is_shared(process: Any) -> None:
    assert type(process().pace(ACCOUNT, pace.limits_for("live", "off"))) is pace.Pace


@pytest.mark.parametrize(
    ("base", "key", "account", "name"),
    [
        ("https://api.stripe.com", "sk_live_abcdef0123456789", "acct_1", "api.stripe.com/live/acct_1"),
        ("http://127.0.0.1:8080/", "rk_test_abcdef0123456789", "acct_1/acct_2", "127.0.0.1:8080/test/acct_2"),
    ],
)
def test_the_name_of_an_account(base: str, key: str, account: str, name: str) -> None:
    assert purse.account_name(base, key, account) == name


def test_a_key_whose_account_is_not_known_is_not_told() -> None:
    key = "sk_live_abcdef0123456789"
    name = purse.account_name("https://api.stripe.com", key)
    assert name.startswith("api.stripe.com/live/key-")
    assert "abcdef" not in name
    assert name == purse.account_name("https://api.stripe.com", f" {key}\n")
    assert name != purse.account_name("https://api.stripe.com", f"{key}0")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/tidegate.db" if request.param == "sqlite" else servers.new_postgres()


@pytest.fixture
def store(url: str) -> Iterator[database.Database]:
    with contextlib.closing(database.open_database(url)) as opened:
        yield opened


def test_a_purse_serves_the_loops_of_several_threads_and_leaves_nothing_behind(
    store: database.Database,
) -> None:
    own = purse.Purse(store)
    done: list[int] = []

    async def main(number: int) -> None:
        pacer = own.pace(f"{ACCOUNT}{number % 2}", pace.Limits(10_000, 10_000))

        async def one(turn: int) -> None:
            async with pacer.slot(f"GET /v1/{turn % 3}"):
                await asyncio.sleep(0)
                done.append(number)

        await asyncio.gather(*(one(turn) for turn in range(60)))
        pacer.close()

    threads = [threading.Thread(target=asyncio.run, args=[main(number)]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    own.close()
    own.close()
    assert sorted(done) == sorted([0, 1, 2, 3] * 60)
    assert store.execute("SELECT * FROM shares") == []


def test_an_account_that_becomes_known_while_the_database_is_slow(store: database.Database) -> None:
    own = purse.Purse(store)

    async def main() -> None:
        pacer = own.pace("api.stripe.com/live/key-0123", LIVE)
        with store._lock:
            waiting = [asyncio.create_task(pacer.slot(CHARGES).__aenter__()) for _ in range(3)]
            await asyncio.sleep(0.01)
            pacer.belongs_to("acct_1")
            pacer.belongs_to("acct_2")
            pacer.belongs_to("acct_1")
            await asyncio.sleep(0.01)
        for slot in await asyncio.gather(*waiting):
            await slot.__aexit__(None, None, None)
        assert list(grants.held(store, ACCOUNT).values()) == [80.0]
        pacer.close()

    asyncio.run(main())
    own.close()
    assert store.execute("SELECT * FROM shares") == []


def test_a_loop_that_ended_without_a_word_holds_nothing(store: database.Database) -> None:
    own = purse.Purse(store)

    async def main() -> None:
        pacer = own.pace(ACCOUNT, LIVE)
        waiting = asyncio.create_task(pacer.slot(CHARGES).__aenter__())
        await asyncio.sleep(0.05)
        waiting.cancel()

    with store._lock:  # the answer comes when the loop is gone
        asyncio.run(main())
    own.close()
    assert own.exchanges == 2  # asked, and given back
    assert store.execute("SELECT * FROM shares") == []
