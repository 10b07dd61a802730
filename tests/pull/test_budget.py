"""Whose budget a request is paid from: the account's own, whatever the key, and each connected account's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import servers

from tidegate import catalog, sandbox
from tidegate.pull import accounts, plan, scope
from tidegate.store import database
from tidegate.stripe import pace, purse

KEY, OTHER = "sk_test_budget_0001", "rk_test_budget_0002"


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[database.Database]:
    url = f"sqlite:///{tmp_path}/tidegate.db" if request.param == "sqlite" else servers.new_postgres()
    with contextlib.closing(database.open_database(url)) as opened:
        yield opened


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with sandbox.process(objects=50, accounts=2, account_objects=10, keys={KEY: None, OTHER: None}) as url:
        yield url


async def read(source: scope.Source) -> list[str]:
    """Read two pages of every account; which they are."""
    wanted = plan.plan(catalog.load().streams, ["customers"])
    async with scope.connect(source) as stripe:
        found = [each async for each in accounts.each_account(stripe, source, wanted)]
        await asyncio.gather(*(one.get("/v1/customers", {"limit": 1}) for _, one in found * 2))
        return [account for account, _ in found]


def held(store: database.Database) -> list[tuple[str, str]]:
    rows = store.execute("SELECT DISTINCT name, holder FROM shares WHERE name = account ORDER BY name")
    return [(row["name"], row["holder"]) for row in rows]


def test_a_client_and_those_for_connected_accounts_give_back_what_they_had(
    store: database.Database, base: str
) -> None:
    own = purse.Purse(store)
    seen: list[tuple[str, str]] = []

    async def main() -> list[str]:
        source = scope.Source(KEY, api_base=base, accounts="all", purse=own)
        wanted = plan.plan(catalog.load().streams, ["customers"])
        async with scope.connect(source) as stripe:
            found = [each async for each in accounts.each_account(stripe, source, wanted)]
            await asyncio.gather(*(one.get("/v1/customers", {"limit": 1}) for _, one in found * 2))
            seen.extend(held(store))
            return [account for account, _ in found]

    names = asyncio.run(main())
    own.close()
    host = base.removeprefix("http://")
    assert len(names) == 3
    assert sorted(name for name, _ in seen) == sorted(f"{host}/test/{name}" for name in names)
    assert store.execute("SELECT * FROM shares") == []


def test_two_keys_of_one_account_share_its_budget(store: database.Database, base: str) -> None:
    purses = [purse.Purse(store), purse.Purse(store)]
    holders: set[tuple[str, str]] = set()

    async def one(key: str, own: purse.Purse, both: asyncio.Barrier) -> None:
        source = scope.Source(key, api_base=base, purse=own)
        wanted = plan.plan(catalog.load().streams, ["customers"])
        async with scope.connect(source) as stripe:
            async for _account, each in accounts.each_account(stripe, source, wanted):
                await each.get("/v1/customers", {"limit": 1})
            await both.wait()
            holders.update(held(store))
            await both.wait()

    async def main() -> None:
        both = asyncio.Barrier(2)
        await asyncio.gather(one(KEY, purses[0], both), one(OTHER, purses[1], both))

    asyncio.run(main())
    for each in purses:
        each.close()
    assert len(holders) == 2
    assert len({name for name, _ in holders}) == 1
    assert not any(key in name for name, _ in holders for key in (KEY, OTHER))


def test_without_a_purse_every_client_has_a_plain_pace() -> None:
    client = scope.connect(scope.Source(KEY))
    assert type(client.pace) is pace.Pace
    assert type(accounts.acting(client, scope.Source(KEY), "acct_1").pace) is pace.Pace


def test_a_pull_with_a_purse_reads_the_same(store: database.Database, base: str) -> None:
    own = purse.Purse(store)
    shared = asyncio.run(read(scope.Source(KEY, api_base=base, accounts="all", purse=own)))
    own.close()
    assert shared == asyncio.run(read(scope.Source(KEY, api_base=base, accounts="all")))
    assert own.exchanges > 0
