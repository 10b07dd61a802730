"""Events that Stripe delivers are applied between two pulls; the lists of events prove that none was missed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from awaiting import awaited
from following import Merchant, agrees, gone, ids, one
from pulling import query

from tidegate import errors, sandbox
from tidegate.pull import abreast, events, report, run, scope, tail
from tidegate.stripe import clock
from tidegate.warehouse import duckdb

STREAMS = ("customers", "products", "prices", "invoices", "invoice_line_items", "subscriptions", "events")


@pytest.fixture(scope="module")
def running() -> Iterator[Merchant]:
    with sandbox.process(objects=40) as url:
        yield Merchant(url)


@pytest.fixture
def shop(running: Merchant) -> Merchant:
    running.control("reset", {"objects": 40})
    running.control("clock", {"stop": True})
    return running


@pytest.fixture
def platform(shop: Merchant) -> Merchant:
    """The same with a small business and connected accounts."""
    shop.control("reset", {"objects": 10, "accounts": 3})
    shop.control("clock", {"stop": True})
    return shop


@pytest.fixture(autouse=True)
def _standing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pull's own clock stands as Stripe's does, between the times when the test moves it."""
    monkeypatch.setattr(clock, "Clock", functools.partial(clock.Clock, lambda: 0.0))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "w.duckdb"


@contextlib.asynccontextmanager
async def pulling(shop: Merchant, file: Path, *streams: str, **source: Any) -> AsyncIterator[run.Pull]:
    """A pull that has read everything once, and may be told of events."""
    warehouse = duckdb.DuckDB(file)
    options = scope.Options(streams=streams or STREAMS)
    found = shop.source(**source)
    async with scope.connect(found) as stripe:
        made = run.Pull(found, warehouse, options, report.Silent(), stripe, patient=True)
        shop.later()
        assert (await made.once()).end is None
        shop.counted()
        yield made
    warehouse.close()


def delivered(shop: Merchant, since: int = 0, account: str = "") -> list[bytes]:
    """Every event since a moment, as Stripe would deliver it, oldest first."""
    found: list[dict[str, Any]] = []
    more: dict[str, Any] = {}
    while True:
        asked = {"limit": 100, "created[gte]": since, **more}
        page = shop.ask("GET", "/v1/events", asked, account=account)
        found += page["data"]
        if not page["has_more"]:
            break
        more = {"starting_after": page["data"][-1]["id"]}
    shop.counted()
    return [json.dumps(event, indent=2).encode() for event in reversed(found)]


async def hear(shop: Merchant, pull: run.Pull, since: int) -> report.Result:
    """Have every event since a moment delivered to a pull."""
    return await pull.hear({"": delivered(shop, since)})


def later(shop: Merchant, pull: run.Pull, seconds: float = 10) -> int:
    """Let time pass at Stripe, and have the pull know: its clock learns from answers, and here there are none."""
    shop.later(seconds)
    now = int(shop.control("clock", {})["now"])
    pull.stripe.clock.assure(now)
    return now


@awaited
async def test_a_change_shows_without_any_request(shop: Merchant, file: Path) -> None:
    async with pulling(shop, file) as pull:
        since = later(shop, pull)
        made = shop.make("/v1/products", name="Tea")["id"]
        result = await hear(shop, pull, since)
        assert result.status == "ok", result
        assert shop.counted() == {}
        assert one(file, "products", made)["name"] == "Tea"
        assert [
            row["type"]
            for row in query(file, f"select type from stripe.events where created >= to_timestamp({since})")
        ] == ["product.created"]


@awaited
async def test_a_deletion_is_a_tombstone_and_nothing_late_brings_the_row_back(
    shop: Merchant, file: Path
) -> None:
    async with pulling(shop, file) as pull:
        since = later(shop, pull)
        made = shop.make("/v1/products", name="Tea")["id"]
        later(shop, pull, 5)
        shop.delete(f"/v1/products/{made}")
        told = delivered(shop, since)
        await pull.hear({"": told[1:]})
        await pull.hear({"": told[:1]})
        assert made not in ids(file, "products")
        other = ids(file, "customers")[0]
        shop.delete(f"/v1/customers/{other}")
        await hear(shop, pull, since)
        assert gone(file, "customers") == [other]


@awaited
async def test_of_one_second_the_object_is_read_at_once_and_again_when_it_is_settled(
    shop: Merchant, file: Path
) -> None:
    """Two events of one second do not say which came last, and a reading of that second may be too early."""
    read = {"GET /v1/products/{id}": 1}
    async with pulling(shop, file) as pull:
        since = later(shop, pull)
        made = shop.make("/v1/products", name="Tea")["id"]
        await hear(shop, pull, since)
        assert one(file, "products", made)["name"] == "Tea"
        shop.make(f"/v1/products/{made}", name="Coffee")
        await hear(shop, pull, since)
        assert one(file, "products", made)["name"] == "Coffee"
        assert shop.counted() == read
        shop.make(f"/v1/products/{made}", name="Mocha")
        await hear(shop, pull, since)
        assert one(file, "products", made)["name"] == "Coffee"
        assert shop.counted() == {}
        waiting = list(pull.warehouse.state("dirty/"))
        assert [key.rpartition("/")[2] for key in waiting] == [made]
        later(shop, pull, 3)
        await pull.hear({"": []})
        assert one(file, "products", made)["name"] == "Mocha"
        assert shop.counted() == read
        assert list(pull.warehouse.state("dirty/")) == []


@awaited
async def test_an_object_that_never_rests_is_never_far_behind(shop: Merchant, file: Path) -> None:
    async with pulling(shop, file) as pull:
        later(shop, pull)
        made, requests = shop.make("/v1/products", name="Tea")["id"], 0
        for second in range(9):
            since = later(shop, pull, 1)
            for step in range(3):
                shop.make(f"/v1/products/{made}", name=f"{second}.{step}")
            await hear(shop, pull, since)
            behind = second - int(one(file, "products", made)["name"][0])
            assert behind < tail.SETTLED
            requests += sum(shop.counted().values())
        assert 4 <= requests <= 9


@awaited
async def test_many_that_are_not_settled_wait_but_for_a_few(shop: Merchant, file: Path) -> None:
    async with pulling(shop, file) as pull:
        since = later(shop, pull)
        made = [shop.make("/v1/products", name="Tea")["id"] for _ in range(tail.EARLY + 8)]
        for id in made:
            shop.make(f"/v1/products/{id}", name="Coffee")
        await hear(shop, pull, since)
        assert len(list(pull.warehouse.state("dirty/"))) == len(made)
        assert sum(shop.counted().values()) <= tail.EARLY
        later(shop, pull, 3)
        await pull.hear({"": []})
        assert {one(file, "products", id)["name"] for id in made} == {"Coffee"}


@awaited
async def test_what_was_heard_is_not_read_again_by_the_next_pull(shop: Merchant, file: Path) -> None:
    async with pulling(shop, file) as pull:
        since = later(shop, pull)
        shop.make("/v1/products", name="Tea")
        await hear(shop, pull, since)
        later(shop, pull)
        result = await pull.once()
        assert result.end is None
        assert shop.counted() == {"GET /v1/events": 1}
        assert {each.stream for each in result.outcomes if each.read} <= {"events"}
        await asyncio.to_thread(agrees, shop, file, *STREAMS)


@awaited
async def test_what_was_never_delivered_comes_with_the_next_pull(shop: Merchant, file: Path) -> None:
    async with pulling(shop, file) as pull:
        since = later(shop, pull)
        lost = shop.make("/v1/products", name="Lost")["id"]
        later(shop, pull, 5)
        shop.make("/v1/products", name="Tea")
        await pull.hear({"": delivered(shop, since)[-1:]})
        assert lost not in ids(file, "products")
        later(shop, pull)
        await pull.once()
        assert lost in ids(file, "products")
        await asyncio.to_thread(agrees, shop, file, *STREAMS)


@awaited
async def test_a_pull_under_way_hears_between_two_windows(
    shop: Merchant, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes while thousands of events are read does not wait for the last of them."""
    monkeypatch.setattr(events, "CROWD", 10)
    async with pulling(shop, file) as pull:
        for _ in range(150):
            shop.later(1)
            shop.make("/v1/products", name="Missed")
        since = later(shop, pull, 10)
        made = shop.make("/v1/products", name="Tea")["id"]
        told = delivered(shop, since)
        missed: list[int] = []
        window = tail._window

        async def watching(*args: Any, **options: Any) -> int:
            place = await window(*args, **options)
            if not missed:
                pull.post({"": told})
            if made in ids(file, "products"):
                missed.append(len(await asyncio.to_thread(names, file, "Missed")))
            return place

        monkeypatch.setattr(tail, "_window", watching)
        result = await pull.once()
        assert result.end is None
        assert missed[0] < 150
        assert missed[-1] == 150
        assert not pull.mail.everything()
        later(shop, pull)
        await pull.once()
        await asyncio.to_thread(agrees, shop, file, *STREAMS)


def names(file: Path, name: str) -> list[str]:
    return [row["id"] for row in query(file, f"select id from stripe.products where name = '{name}'")]


def after_each(monkeypatch: pytest.MonkeyPatch, then: Callable[[run.Pull, Collection[str]], None]) -> None:
    """Something happens whenever a pull is done with some accounts."""
    bring = abreast.bring

    async def watching(pull: run.Pull, chosen: Any, *given: Any) -> Any:
        done = await bring(pull, chosen, *given)
        then(pull, [account for account, _ in chosen])
        return done

    monkeypatch.setattr(abreast, "bring", watching)


@awaited
async def test_of_an_account_that_is_done_already_it_is_heard_when_the_others_are(
    platform: Merchant, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pulling(platform, file, "products", accounts="all") as pull:
        since = later(platform, pull)
        made = platform.make("/v1/products", name="Tea")["id"]
        told = delivered(platform, since)
        after_each(monkeypatch, lambda pull, done: pull.post({"": told} if pull.acting.own in done else {}))
        assert (await pull.once()).end is None
        assert not pull.mail.everything()
        assert one(file, "products", made)["name"] == "Tea"


@awaited
async def test_every_request_is_counted_once_whoever_it_is_for(
    platform: Merchant, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connected account's object that changed twice in a second is read again: during a pull, and after it."""
    async with pulling(platform, file, "products", accounts="all") as pull:
        connected = platform.get("/v1/accounts", limit=1)["data"][0]["id"]
        platform.counted()

        def changed(name: str) -> tuple[str, list[bytes]]:
            since = later(platform, pull)
            made = platform.make("/v1/products", account=connected, name="Tea")["id"]
            platform.make(f"/v1/products/{made}", account=connected, name=name)
            return made, delivered(platform, since, connected)

        assert (await pull.once()).tally.requests == (quiet := sum(platform.counted().values()))
        with monkeypatch.context() as during:
            made, told = changed("Coffee")
            after_each(during, lambda pull, done: pull.post({connected: told} if connected in done else {}))
            assert (await pull.once()).tally.requests == sum(platform.counted().values()) == quiet + 1
            assert one(file, "products", made)["name"] == "Coffee"
        for name in ("Mocha", "Chai"):
            made, told = changed(name)
            heard = await pull.hear({connected: told})
            assert heard.tally.requests == sum(platform.counted().values()) > 0
            assert one(file, "products", made)["name"] == name


@awaited
async def test_what_could_not_be_committed_is_not_said_to_be_heard(
    shop: Merchant, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the feed brings it once more."""
    async with pulling(shop, file, "products", accounts="all") as pull:
        held = errors.WarehouseBusy("somebody reads it")

        async def hear(*_: Any) -> tuple[list[report.Outcome], errors.TidegateError]:
            return [], held

        monkeypatch.setattr(pull, "_hear", hear)
        pull.post({"acct_other": [b"{}"]})
        assert (await pull.once()).end is held
        assert pull.mail.everything() == {"acct_other": [b"{}"]}


@awaited
async def test_a_long_cycle_forgets_no_event_that_the_next_one_reads_again(
    shop: Merchant, file: Path
) -> None:
    async with pulling(shop, file, "products") as pull:
        later(shop, pull, 60)
        await pull.once()
        for _ in range(3):
            made = shop.make("/v1/products", name="Tea")["id"]
            later(shop, pull, 20)
            shop.make(f"/v1/products/{made}", name="Coffee")
            later(shop, pull, 2 * tail.OVERLAP)
            await pull.once()
            shop.counted()
            later(shop, pull, 10)
            await pull.once()
            assert shop.counted() == {"GET /v1/events": 1}
        await asyncio.to_thread(agrees, shop, file, "products")


@awaited
async def test_the_whole_overlap_is_read_now_and_then_where_pulls_follow_one_another(
    shop: Merchant, file: Path
) -> None:
    """An event that becomes visible ten minutes late is found, if not by each of the pulls."""
    async with pulling(shop, file, "products") as pull:
        for _ in range(3):
            later(shop, pull, 60)
            await pull.once()
        shop.control("delays", {"events": tail.OVERLAP - 20})
        late = shop.make("/v1/products", name="Late")["id"]
        shop.control("delays", {"events": 0})
        found = []
        for _ in range((tail.OVERLAP + tail.PROVED) // 60 + 2):
            later(shop, pull, 60)
            shop.make("/v1/products", name="Tea")
            await pull.once()
            found.append(late in ids(file, "products"))
        assert found[-1]
        shop.counted()
        reads = []
        for _ in range(10):
            later(shop, pull, 60)
            assert (await pull.once()).end is None
            reads.append(sum(shop.counted().values()))
        assert set(reads) == {1}


@awaited
async def test_what_is_no_event_is_left_to_the_lists(shop: Merchant, file: Path) -> None:
    async with pulling(shop, file) as pull:
        since = later(shop, pull)
        made = shop.make("/v1/products", name="Tea")["id"]
        rubbish = [
            b"",
            b"[]",
            b'{"id": "evt_1"}',
            b'{"id": 7, "type": "x", "created": 1, "data": {}}',
            b"\xff",
        ]
        result = await pull.hear({"": [*rubbish, *delivered(shop, since)]})
        assert result.end is None
        assert made in ids(file, "products")


@awaited
async def test_events_of_accounts_that_are_not_pulled_are_not_heard(shop: Merchant, file: Path) -> None:
    async with pulling(shop, file) as pull:
        since = later(shop, pull)
        shop.make("/v1/products", name="Tea")
        count = len(ids(file, "products"))
        await pull.hear({"acct_other": delivered(shop, since)})
        assert len(ids(file, "products")) == count
        assert list(pull.warehouse.state("seen/acct_other", "tail/acct_other")) == []


@awaited
async def test_connected_accounts_are_heard_by_their_own_names(platform: Merchant, file: Path) -> None:
    async with pulling(platform, file, "customers", accounts="all") as pull:
        account = platform.get("/v1/accounts", limit=1)["data"][0]["id"]
        since = later(platform, pull)
        made = platform.make("/v1/customers", account=account, name="Ada")["id"]
        later(platform, pull)
        await pull.hear({account: delivered(platform, since, account)})
        assert one(file, "customers", made)["_account_id"] == account


@pytest.mark.parametrize("seed", range(4))
@awaited
async def test_lost_doubled_and_shuffled_they_leave_what_stripe_has(
    seed: int, shop: Merchant, file: Path
) -> None:
    dice = random.Random(seed)
    async with pulling(shop, file) as pull:
        for turn in range(6):
            since = later(shop, pull, dice.choice((1, 5, 20)))
            shop.control("traffic", {"seed": 10 * seed + turn, "steps": 12, "tick": dice.choice((0.0, 1.0))})
            told = delivered(shop, since)
            heard = [event for event in told if dice.random() > 0.2]
            heard += dice.sample(heard, len(heard) // 2)
            dice.shuffle(heard)
            while heard:
                cut = dice.randint(1, 30)
                if dice.random() < 0.2:
                    pull.post({"": heard[:cut]})
                    assert (await pull.once()).end is None
                    assert not pull.mail.everything()
                else:
                    assert (await pull.hear({"": heard[:cut]})).end is None
                heard = heard[cut:]
            if dice.random() < 0.3:
                later(shop, pull)
                assert (await pull.once()).end is None
        later(shop, pull, 30)
        for _ in range(2):
            assert (await pull.once()).end is None
            later(shop, pull, 30)
    await asyncio.to_thread(agrees, shop, file, *STREAMS)
