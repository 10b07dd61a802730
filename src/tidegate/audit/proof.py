"""The proof that a warehouse holds what Stripe has: every list read once more, by the same ways, and compared.

The reading goes into a scratch file of its own, account by account; the warehouse is only read, unless differences
are to be repaired. Killed anywhere, it has changed nothing, or repaired only a part of what it found.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate import catalog, errors
from tidegate.audit import balance, findings, judging, mending, news, sides
from tidegate.privacy import forget
from tidegate.pull import (
    accounts,
    backfill,
    load,
    plan,
    reading,
    reconcile,
    refresh,
    relist,
    report,
    run,
    scope,
    tail,
    walks,
)
from tidegate.stripe import client
from tidegate.warehouse import base

if TYPE_CHECKING:
    from tidegate.audit import scratch

CATCH_UP = 3.0
"""Seconds that are waited at the most until Stripe's clock is past the newest version that is stored."""

COMPUTED = "its rows are computed for the span that is asked for, so that two readings are never alike"


def only(options: scope.Options, wanted: list[str]) -> scope.Options:
    """The options of a pull, for some of its streams alone; raises ConfigError for one that it does not have."""
    names, named = plan.choose(catalog.load().streams, wanted)
    pulled = {each.name for each in plan.plan(catalog.load().streams, options.streams).streams}
    for name in sorted(named - pulled):
        raise errors.ConfigError(f"this pull does not have the stream {name}; it cannot be audited")
    kept = [name for name in names if name in pulled]
    if not kept:
        raise errors.ConfigError("this pull has none of the streams named by --stream")
    return dataclasses.replace(
        options, streams=kept, named=frozenset(kept) & (named | (options.named or frozenset()))
    )


async def audit(
    source: scope.Source,
    warehouse: base.Warehouse,
    options: scope.Options,
    screen: report.Screen,
    *,
    since: int | None = None,
    repair: bool = False,
) -> findings.Audit:
    """Compare what a pull's streams hold with what Stripe has, of all its accounts, one after the other.

    `since`, unix seconds, leaves out what was created before, where Stripe can list by creation time. Raises
    ConfigError, Unauthorized, Unreachable or WarehouseError when nothing could be begun at all; what stops it later
    is told by the result.
    """
    if not await asyncio.to_thread(warehouse.columns, base.STATE):
        raise errors.ConfigError("the warehouse holds nothing of Tidegate's yet; pull into it first")
    async with scope.connect(source) as stripe:
        return await _Auditor(source, warehouse, options, screen, stripe, since, repair).all()


@dataclass(frozen=True, slots=True)
class _Stored:
    """One side: its tables' columns, and how much they hold of an account."""

    warehouse: base.Warehouse
    columns: Mapping[str, frozenset[str]]
    extents: Mapping[str, sides.Extent]


class _Auditor:
    """One audit of one source in one warehouse."""

    def __init__(
        self,
        source: scope.Source,
        warehouse: base.Warehouse,
        options: scope.Options,
        screen: report.Screen,
        stripe: client.Client,
        since: int | None,
        repair: bool,
    ) -> None:
        self.source, self.warehouse, self.options, self.screen = source, warehouse, options, screen
        self.stripe, self.since, self.repair = stripe, since, repair
        chosen = plan.plan(catalog.load().streams, options.streams)
        self.computed = [each for each in chosen.streams if any(origin.window for origin in each.origins)]
        kept = [each.name for each in chosen.streams if each not in self.computed]
        self.wanted = plan.plan(catalog.load().streams, kept)
        self.named = chosen.named if options.named is None else options.named
        self.mine = {each.name: scope.target(each, "", options) for each in self.wanted.streams}
        plain = dataclasses.replace(options, choices=_plain(options.choices))
        self.read = {each.name: scope.target(each, "", plain) for each in self.wanted.streams}
        self.tables = {name: each.table.name for name, each in self.mine.items()}
        self.ways = refresh.ways(self.wanted)
        self.starts = scope.starts(options, self.mine)
        self.fence: base.Fence | None = None

    async def all(self) -> findings.Audit:
        """Every account."""
        started = dt.datetime.now(dt.UTC)
        streams: list[findings.Stream] = []
        balances: list[findings.Balance] = []
        requests, count = 0, 0
        end: errors.TidegateError | None = None
        try:
            async for account, stripe in accounts.each_account(self.stripe, self.source, self.wanted):
                count += 1
                found = [findings.Stream(name, account) for name in self.mine]
                try:
                    balances += await self._account(account, stripe, {each.stream: each for each in found})
                except errors.TidegateError as error:
                    end = _abandon(found, error, own=stripe is self.stripe)
                finally:
                    requests += stripe.tally.requests if stripe is not self.stripe else 0
                found += [
                    findings.Stream(each.name, account, "not_compared", COMPUTED) for each in self.computed
                ]
                streams += found if count <= run.MANY else [each for each in found if each.told]
                if end is not None:
                    break
        except errors.TidegateError as error:
            if not streams:
                raise
            end = error
        return findings.Audit(
            started,
            dt.datetime.now(dt.UTC),
            tuple(streams),
            tuple(balances),
            requests + self.stripe.tally.requests,
            self.named,
            end,
        )

    async def _account(
        self, account: str, stripe: client.Client, found: dict[str, findings.Stream]
    ) -> list[findings.Balance]:
        """One account: read, then compare stream by stream."""
        from tidegate.audit import scratch  # DuckDB takes 60 ms, which `--help` should not

        mine = {name: _of(account, each) for name, each in self.mine.items()}
        read = {name: _of(account, each) for name, each in self.read.items()}
        forgotten = await asyncio.to_thread(self.warehouse.state, *forget.prefixes(account))
        tables = {each.table.name: each.stream for each in read.values()}
        made = [each.table for each in read.values()]
        with scratch.opened(tables, made, forget.scrubber(forgotten, account)) as file:
            loader = load.Loader(file)
            try:
                shared = scope.shared(
                    stripe,
                    read,
                    loader,
                    account=account,
                    warehouse=file,
                    screen=self.screen,
                    starts=self._from(),
                )
                shared = dataclasses.replace(shared, named=self.named)
                return await self._compared(shared, mine, file, found)
            finally:
                with contextlib.suppress(errors.TidegateError):
                    await loader.finish()

    async def _compared(
        self,
        shared: reading.Reading,
        mine: Mapping[str, load.Target],
        file: scratch.Scratch,
        found: Mapping[str, findings.Stream],
    ) -> list[findings.Balance]:
        await tail.look(shared)
        begun = await self._begun(shared)
        since = shared.client.clock.now()
        await walks.read(shared, self.wanted.walks, {}, {})
        await shared.sink.flush()
        await asyncio.to_thread(file.scrub)
        purse = await self._purse(shared, mine, since)
        if self.repair:
            await asyncio.to_thread(self._claim)
        saved = await asyncio.to_thread(self.warehouse.state, *_prefixes(shared.account))
        first = reconcile.begun(
            await asyncio.to_thread(file.state, "backfill/"), shared.account, self.wanted.walks
        )
        tally = client.Tally()
        sight = judging.Sight(
            shared,
            file,
            self.warehouse,
            self.ways,
            news.News(shared, saved, since, tally),
            mine,
            self._lows(shared),
            tail.place(saved, shared.account),
            shared.client.clock.now(),
        )
        both = [await self._stored(side, shared.account) for side in (file, self.warehouse)]
        flying: list[bytes] = []
        for name, each in found.items():
            outcome = shared.targets[name].outcome
            each.status, each.error = outcome.status, outcome.error
            if outcome.status not in ("ok", "partial"):
                continue
            times = judging.Times(
                begun.get(name, sides.Extent()).newest,
                first.get(name, since),
                self._due(saved, shared.account, name),
                sight.lows.get(name),
            )
            judge = judging.Judge(sight, each, times, complete=outcome.status == "ok")
            await self._stream(judge, file.folder / name, both)
            each.note = self._note(saved, shared.account, each)
            flying += judge.in_flight if name == balance.STREAM else []
        if purse is None:
            return []
        sight_of = (self.warehouse, file)
        return [await balance.compare(sight_of, mine[balance.STREAM], purse, flying)]

    async def _stream(self, judge: judging.Judge, folder: Path, both: Sequence[_Stored]) -> None:
        """Lay both sides of one stream side by side, and repair what is to be repaired."""
        target, file = judge.target, judge.sight.scratch
        name, table = target.stream.name, target.table.name
        there = sides.Side(judge.measure.schema, folder, "there")
        here = sides.Side(judge.measure.schema, folder, "here")
        try:
            for stored, into in zip(both, (there, here), strict=True):
                if stored.extents.get(name, sides.Extent()).rows:
                    of = stored.columns[table.lower()]
                    await asyncio.to_thread(
                        sides.read, stored.warehouse, table, target.account, judge.measure, of, into
                    )
            for met in sides.meet(there, here):
                repairs = await judge.judge(met)
                if self.fence is not None:
                    judge.found.repaired += await asyncio.to_thread(
                        mending.mend, self.warehouse, self.fence, file, target, repairs, judge.times.since
                    )
        finally:
            there.close()
            here.close()
        judge.found.settle()

    async def _stored(self, warehouse: base.Warehouse, account: str) -> _Stored:
        """How much there is of every stream."""
        there = await asyncio.to_thread(sides.columns, warehouse)
        extents = await asyncio.to_thread(sides.extents, warehouse, self.tables, account, there, 0)
        return _Stored(warehouse, there, extents)

    async def _begun(self, shared: reading.Reading) -> Mapping[str, sides.Extent]:
        """By stream, what is stored now, once Stripe's clock is past the newest version of it."""
        now = shared.client.clock.now()
        there = await asyncio.to_thread(sides.columns, self.warehouse)
        found = await asyncio.to_thread(
            sides.extents, self.warehouse, self.tables, shared.account, there, now + judging.AHEAD
        )
        left = max((each.newest for each in found.values()), default=0) + 1 - now
        if left > 0:
            await asyncio.sleep(min(left, CATCH_UP))
        return found

    async def _purse(
        self, shared: reading.Reading, mine: Mapping[str, load.Target], since: int
    ) -> balance.Purse | None:
        """What Stripe says of the account's money; None where its movements are not audited."""
        if balance.STREAM not in mine:
            return None
        outcome = shared.targets[balance.STREAM].outcome
        why = balance.obstacle(mine, self.starts, self.options)
        if outcome.status != "ok":
            why = outcome.error
        if why:
            return balance.Purse(why=why, denied=outcome.status == "no_permission")
        return await balance.read(shared, self.wanted.walks, since)

    def _claim(self) -> None:
        """Become the one writer of the tables, made where they are not there."""
        if self.fence is not None:
            return
        tables = [each.table for each in self.mine.values()]
        histories = [each.shape.history for each in self.mine.values()]
        self.warehouse.prepare([*tables, *(each for each in histories if each is not None)])
        self.fence = self.warehouse.claim(f"audit_{secrets.token_hex(4)}", [each.name for each in tables])

    def _from(self) -> dict[str, int | None]:
        """From when on each stream is read."""
        if self.since is None:
            return dict(self.starts)
        return {name: max(start or 0, self.since) for name, start in self.starts.items()}

    def _lows(self, shared: reading.Reading) -> dict[str, int]:
        """By stream, kept or not: what was created before was not listed."""
        found = {}
        for walk in self.wanted.walks:
            low = backfill.start(shared.starts, walk) if walk.sliced else None
            if low is not None:
                found[walk.node.stream.name] = low
        return found

    def _due(self, saved: Mapping[str, str], account: str, name: str) -> int | None:
        """Up to which moment new rows must be here: as far as events were followed, or the list was read last."""
        first = reconcile.begun(saved, account, self.wanted.walks)
        if name not in first:
            return None
        turns = reconcile.turns(saved, account)
        listed = max(first[name], turns.last(name, 0))
        entry = relist.entries(saved.get(relist.key(account))).get(name)
        followed = turns.followed and not (entry and not entry.regular)
        if self.mine[name].stream.told.created != "all" or not followed:
            return listed
        return max(listed, tail.place(saved, account) or 0)

    def _note(self, saved: Mapping[str, str], account: str, found: findings.Stream) -> str:
        """What helps to understand differences."""
        if not found.differences:
            return ""
        if found.stream not in reconcile.begun(saved, account, self.wanted.walks):
            return "its first reading has not come to its end; `tidegate pull` goes on with it"
        turns, stream = reconcile.turns(saved, account), self.mine[found.stream].stream
        if reconcile.told_of(stream, turns.followed, {}).whole:
            return ""
        _, words = reconcile.staleness(
            stream, followed=turns.followed, lookback=turns.of(stream.name), counts={}
        )
        return f"events do not tell everything of it; what they do not shows by listing: {words}"


def _plain(choices: Mapping[str, scope.Choice]) -> dict[str, scope.Choice]:
    """How the streams are wanted, without what only matters to a table that lives."""
    return {
        name: dataclasses.replace(choice, hard=False, history=False, refresh=False)
        for name, choice in choices.items()
    }


def _of(account: str, target: load.Target) -> load.Target:
    outcome = report.Outcome(target.stream.name, account)
    return dataclasses.replace(target, account=account, outcome=outcome)


def _prefixes(account: str) -> list[str]:
    return [f"{name}/{account}" for name in ("backfill", "relist", "seen", "tail", "turns")]


def _abandon(
    found: list[findings.Stream], error: errors.TidegateError, *, own: bool
) -> errors.TidegateError | None:
    """What stopped an account is told of each of its streams; returns it where it stops the others too."""
    for each in found:
        if each.status == "ok" and not each.differences:
            each.status, each.error = "failed", f"not compared to its end: {error}"
    cut_off = isinstance(error, errors.Unauthorized) and error.code == "account_invalid"
    return None if cut_off and not own else error
