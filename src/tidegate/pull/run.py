"""One pull from beginning to end: who the key is, what is to be read, the walks, the result.

Streams fail one by one: what a stream lacks is its outcome, and the others go on. Only a rejected key, a
warehouse that refuses and an interrupt end the whole run; what was committed before stays, and the next pull
goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence

from tidegate import catalog, errors
from tidegate.pull import (
    abreast,
    accounts,
    acting,
    claims,
    cycle,
    doing,
    mails,
    plan,
    reading,
    refresh,
    report,
    retention,
    scope,
    shaping,
)
from tidegate.stripe import client
from tidegate.warehouse import base

MANY = 50
"""Accounts from which on streams that had nothing to tell are left out of the result."""


async def pull(
    source: scope.Source,
    warehouse: base.Warehouse,
    options: scope.Options,
    screen: report.Screen,
    *,
    run_id: str = "",
    listener: client.Listener | None = None,
    under_way: doing.Watcher = doing.nobody,
) -> report.Result:
    """Bring every chosen stream of every chosen account up to date in the warehouse.

    Raises ConfigError, Unauthorized, Unreachable or WarehouseError when nothing could be begun at all. Whatever
    ends the run later is told by its result; what was committed stays, and the next pull goes on from there.
    Where it is cancelled, what it did until then is left beside the data, and `under_way` hears of it.
    """
    async with scope.connect(source, listener) as stripe:
        own = Pull(source, warehouse, options, screen, stripe, run_id=run_id)
        async with own.watched(under_way):
            return await own.once()


class Pull:
    """A pull of one source into one warehouse, once or again and again."""

    def __init__(
        self,
        source: scope.Source,
        warehouse: base.Warehouse,
        options: scope.Options,
        screen: report.Screen,
        stripe: client.Client,
        *,
        patient: bool = False,
        between: float = cycle.BETWEEN,
        run_id: str = "",
    ) -> None:
        self.doing = doing.Doing(run_id)
        self.refreshed: set[str] = set()
        self.source, self.warehouse, self.options, self.screen = source, warehouse, options, screen
        self.stripe, self.patient, self.between = stripe, patient, between
        self.wanted = plan.plan(catalog.load().streams, options.streams)
        self.acting = acting.Acting(source, stripe, self.wanted, warehouse)
        self.named = self.wanted.named if options.named is None else options.named
        self.streams = {stream.name: scope.target(stream, "", options) for stream in self.wanted.streams}
        self.decoder = scope.decoders(self.streams)
        self.ways = refresh.ways(self.wanted)
        self.fence: base.Fence | None = None
        self.first = ""
        self.lost: Mapping[str, int] = {}
        self.shut: dict[str, dict[str, reading.Shut]] = {}
        self.early: dict[str, int] = {}
        self.proven: dict[str, int] = {}
        self.mail = mails.Mail()
        self.known: dict[str, dict[str, str]] = {}
        self.prune_at = 0.0

    @contextlib.asynccontextmanager
    async def watched(self, under_way: doing.Watcher) -> AsyncIterator[None]:
        """While pulls go on inside, `under_way` hears now and then what they have done so far.

        When something cuts them short, it hears of all of it, and that is left beside the data.
        """

        async def tell() -> None:
            while True:
                await asyncio.sleep(doing.SHOWN)
                under_way(self.doing.so_far())

        telling = asyncio.create_task(tell())
        try:
            yield
            under_way(())
        except BaseException:
            telling.cancel()
            under_way(self.doing.stop())
            await asyncio.to_thread(self.doing.leave, self.warehouse)
            raise
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def once(self) -> report.Result:
        """One pull; what counts from a moment in its filters counts from its beginning."""
        self.doing.begin()
        now = self.options.now or dt.datetime.now(dt.UTC)
        for name, each in self.streams.items():
            self.streams[name] = dataclasses.replace(each, shape=shaping.at(each.shape, now))
        outcomes: list[report.Outcome] = []
        tally, sent = client.Tally(), dataclasses.replace(self.stripe.tally)
        end: errors.TidegateError | None = None
        count = 0
        self.known = {}
        try:
            if self.fence is not None and not await asyncio.to_thread(
                claims.holds, self.warehouse, self.streams.values()
            ):
                self.fence = None  # somebody dropped a table
            async for chunk in accounts.chunks(self.acting.each()):
                count += len(chunk)
                if self.fence is None:  # a wrong key is found out before anything is made
                    await self.begin(chunk[0][0])
                found, end = await abreast.bring(self, chunk, tally, cycle.run)
                news = self.doing.count(found)
                noted = found if self.doing.first else news
                if count > MANY:
                    found = [outcome for outcome in found if outcome.told or outcome in news]
                outcomes += found
                await self.note(noted, end)
                if end is None and (delivered := self.mail.everything()):
                    heard, end = await self._hear(delivered, tally)
                    outcomes += (heard := self.doing.count(heard))
                    if end is None:  # else it is taken again
                        self.mail.heard(*delivered)
                    await self.note(heard, end)
                if end is not None:
                    break
            if end is None:
                await self.prune()
        except errors.TidegateError as error:
            if self.fence is None and self.doing.first:
                raise
            end = end or error
        self.doing.first = False
        tally.add(self.stripe.tally)
        tally.add(sent, -1)
        if end is None and outcomes and all(outcome.status == "not_enabled" for outcome in outcomes):
            end = errors.NotEnabled(
                f"{self.source.api_base} has none of the lists asked for; check `api_base`."
            )
        return self.result(outcomes, tally, end)

    async def begin(self, account: str) -> None:
        """Make the tables and become their one writer, and that of the first account's rows."""
        self.fence, self.lost = await asyncio.to_thread(
            claims.claim, self.warehouse, self.doing.run_id, self.streams, (self.acting.mark, account)
        )
        self.first = account

    async def hear(self, delivered: Mapping[str, Sequence[bytes]]) -> report.Result:
        """Apply events that Stripe delivered, by account; those of the key's own stand under an empty name.

        Only between two calls of `once`, the first of which has made the tables. All of it is committed on return.
        """
        self.doing.begin()
        tally, sent = client.Tally(), dataclasses.replace(self.stripe.tally)
        outcomes, end = await self._hear(delivered, tally)
        news = self.doing.count(outcomes)
        tally.add(self.stripe.tally)
        tally.add(sent, -1)
        return dataclasses.replace(self.result(outcomes, tally, end), outcomes=tuple(news))

    async def _hear(
        self, delivered: Mapping[str, Sequence[bytes]], tally: client.Tally
    ) -> tuple[list[report.Outcome], errors.TidegateError | None]:
        """Apply events; `tally` counts the requests for other accounts than the key's own."""
        own = self.acting.own
        bodies = {account or own: found for account, found in delivered.items() if self.acting.reads(account)}

        async def hear(shared: reading.Reading, wishes: cycle.Wishes, saved: dict[str, str]) -> int:
            return await cycle.hear(shared, wishes, saved, bodies[shared.account])

        chunk = [(account, await self.acting.client(account)) for account in bodies]
        return await abreast.bring(self, chunk, tally, hear)

    def post(self, delivered: Mapping[str, Sequence[bytes]]) -> None:
        """Have events applied by the pull that is under way, wherever it can; `mail` is empty once they are."""
        self.mail.put({account or self.acting.own: bodies for account, bodies in delivered.items()})

    def result(
        self,
        outcomes: Sequence[report.Outcome],
        tally: client.Tally,
        end: errors.TidegateError | None,
    ) -> report.Result:
        """How what was begun ended; nothing is under way any more."""
        self.doing.end()
        status = report.judge(outcomes, self.named) if end is None else "failed"
        run_id, started = self.doing.run_id, self.doing.started
        return report.Result(run_id, started, dt.datetime.now(dt.UTC), status, tuple(outcomes), tally, end)

    async def note(self, outcomes: Sequence[report.Outcome], end: errors.TidegateError | None) -> None:
        """Leave outcomes beside the data, unless the warehouse has refused what came before."""
        if outcomes and not isinstance(end, errors.WarehouseError):
            run_id, started = self.doing.run_id, self.doing.started
            await asyncio.to_thread(report.note, self.warehouse, run_id, started, outcomes)

    def settle(self, result: report.Result) -> None:
        """Forget what was to hold for one pull only, as far as it was done."""
        if result.end is None:
            left = {each.stream for each in result.outcomes if each.status != "ok"}
            accept = self.options.accept & left
            self.options = dataclasses.replace(self.options, full_refresh=False, accept=accept)

    async def prune(self) -> None:
        """Remove what is kept no longer, once a day."""
        if self.fence is not None and asyncio.get_running_loop().time() >= self.prune_at:
            self.prune_at = asyncio.get_running_loop().time() + 3_600
            shapes = {name: each.shape for name, each in self.streams.items()}
            now = dt.datetime.now(dt.UTC)
            await asyncio.to_thread(
                retention.prune, self.warehouse, self.fence, shapes, self.options.retention, now
            )
