"""One pull from beginning to end: who the key is, what is to be read, the walks, the result.

Streams fail one by one: what a stream lacks is its outcome, and the others go on. Only a rejected key, a
warehouse that refuses and an interrupt end the whole run; what was committed before stays, and the next pull
goes on from there.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from tidegate import catalog, errors
from tidegate.privacy import erase, forget
from tidegate.pull import (
    accounts,
    claims,
    cycle,
    load,
    mails,
    plan,
    reading,
    refresh,
    report,
    retention,
    scope,
)
from tidegate.stripe import client
from tidegate.warehouse import base

ABREAST = 16
"""Connected accounts that are read side by side; each has a budget of its own."""
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
) -> report.Result:
    """Bring every chosen stream of every chosen account up to date in the warehouse.

    Raises ConfigError, Unauthorized, Unreachable or WarehouseError when nothing could be begun at all. Whatever
    ends the run later is told by its result; what was committed stays, and the next pull goes on from there.
    """
    async with scope.connect(source, listener) as stripe:
        return await Pull(source, warehouse, options, screen, stripe, run_id=run_id).once()


Work = Callable[[reading.Reading, cycle.Wishes, dict[str, str]], Awaitable[int]]
"""What is done for one account; says how many changes it found."""


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
        self.news, self.begun = report.News(), False
        self.refreshed: set[str] = set()
        self.source, self.warehouse, self.options, self.screen = source, warehouse, options, screen
        self.stripe, self.patient, self.between, self.run_id = stripe, patient, between, run_id
        self.wanted = plan.plan(catalog.load().streams, options.streams)
        self.named = self.wanted.named if options.named is None else options.named
        self.streams = {stream.name: scope.target(stream, "", options) for stream in self.wanted.streams}
        self.decoder = scope.decoders(self.streams)
        self.ways = refresh.ways(self.wanted)
        self.fence: base.Fence | None = None
        self.lost: Mapping[str, int] = {}
        self.shut: dict[str, dict[str, reading.Shut]] = {}
        self.remember: dict[str, str | None] = {}
        self.early: dict[str, int] = {}
        self.proven: dict[str, int] = {}
        self.mail = mails.Mail()
        self.known: dict[str, dict[str, str]] = {}
        self.own = self.first = ""
        self.clients: dict[str, client.Client] = {}
        self.prune_at = 0.0

    async def once(self) -> report.Result:
        """One pull."""
        started, run_id = dt.datetime.now(dt.UTC), self.run_id or _run_id()
        outcomes: list[report.Outcome] = []
        tallies = client.Tally()
        sent = dataclasses.replace(self.stripe.tally)
        end: errors.TidegateError | None = None
        count = 0
        self.known = {}
        try:
            if self.fence is not None and not await asyncio.to_thread(
                claims.holds, self.warehouse, self.streams.values()
            ):
                self.fence = None  # somebody dropped a table
            async for chunk in accounts.chunks(self._accounts()):
                count += len(chunk)
                if self.fence is None:  # a wrong key is found out before anything is made
                    await self.begin(run_id, chunk[0][0])
                found, end = await self._chunk(chunk, tallies, cycle.run)
                if end is None and (delivered := self.mail.everything()):
                    heard = await self.hear(delivered)
                    found, end = [*found, *heard.outcomes], heard.end
                    if end is None:  # else it is taken again
                        self.mail.heard(*delivered)
                news = self.news.of(found)
                if count > MANY:
                    found = [outcome for outcome in found if outcome.told or outcome in news]
                outcomes += found
                noted = news if self.begun else found
                if noted and not isinstance(end, errors.WarehouseError):
                    await asyncio.to_thread(report.note, self.warehouse, run_id, started, noted)
                if end is not None:
                    break
            if end is None:
                await self.prune()
        except errors.TidegateError as error:
            if self.fence is None and not self.begun:
                raise
            end = end or error
        self.begun = True
        tallies.add(self.stripe.tally)
        tallies.add(sent, -1)
        if end is None and outcomes and all(outcome.status == "not_enabled" for outcome in outcomes):
            end = errors.NotEnabled(
                f"{self.source.api_base} has none of the lists asked for; check `api_base`."
            )
        return report.Result(
            run_id,
            started,
            dt.datetime.now(dt.UTC),
            report.judge(outcomes, self.named) if end is None else "failed",
            tuple(outcomes),
            tallies,
            end,
        )

    async def begin(self, run_id: str, account: str) -> None:
        """Make the tables and become their one writer, and that of the first account's rows."""
        self.fence, self.lost = await asyncio.to_thread(
            claims.claim, self.warehouse, run_id, self.streams, (self._mark(), account)
        )
        self.first = account

    def claimed(self) -> dict[str, Any]:
        """The claim of a run that has begun, as a document for those who have parts of it."""
        assert self.fence is not None, "The run has begun before."
        account = f"{base.STATE}/{self.first}"  # whoever has the part with it takes it over
        tokens = {name: token for name, token in self.fence.tokens.items() if name != account}
        return {"writer": self.fence.writer, "tokens": tokens, "lost": dict(self.lost), "own": self.own}

    def join(self, claim: Mapping[str, Any]) -> None:
        """Have a part of a run that somebody else began."""
        self.fence = base.Fence(claim["writer"], dict(claim["tokens"]))
        self.lost, self.own = dict(claim["lost"]), claim["own"]

    async def paths(self) -> AsyncIterator[str]:
        """Every account to pull, as the configuration or Stripe names it; the key's own first."""
        if isinstance(self.source.accounts, tuple):
            for path in self.source.accounts:
                yield path
            return
        async for account, _ in self._accounts():
            yield account

    async def part(self, run_id: str, attempt: str, chosen: Sequence[str]) -> report.Result:
        """Bring some accounts up to date, of a run that others have parts of; `fence` and `lost` are the run's.

        `attempt` is who takes these accounts over now: an earlier attempt at them can commit nothing more.
        """
        assert self.fence is not None, "The run has begun before."
        started, outcomes, tallies = dt.datetime.now(dt.UTC), list[report.Outcome](), client.Tally()
        end: errors.TidegateError | None = None
        try:
            chunk = [(path.rpartition("/")[2], await self._acting(path)) for path in chosen]
            mine = [account for account, _ in chunk]
            self.fence = await asyncio.to_thread(claims.join, self.warehouse, attempt, self.fence, mine)
            found, end = await self._chunk(chunk, tallies, cycle.run)
            outcomes = [outcome for outcome in found if outcome.told]
            if not isinstance(end, errors.WarehouseError):
                await asyncio.to_thread(report.note, self.warehouse, run_id, started, outcomes)
        except errors.TidegateError as error:
            end = error
        tallies.add(self.stripe.tally)
        status = report.judge(outcomes, self.named) if end is None else "failed"
        return report.Result(run_id, started, dt.datetime.now(dt.UTC), status, tuple(outcomes), tallies, end)

    async def hear(self, delivered: Mapping[str, Sequence[bytes]]) -> report.Result:
        """Apply events that Stripe delivered, by account; those of the key's own stand under an empty name.

        Only between two calls of `once`, the first of which has made the tables. All of it is committed on return.
        """
        assert self.fence is not None, "A pull has begun before."
        started, run_id = dt.datetime.now(dt.UTC), self.run_id or _run_id()
        tallies, sent = client.Tally(), dataclasses.replace(self.stripe.tally)
        bodies = {account or self.own: found for account, found in delivered.items() if self._reads(account)}

        async def hear(shared: reading.Reading, wishes: cycle.Wishes, saved: dict[str, str]) -> int:
            return await cycle.hear(shared, wishes, saved, bodies[shared.account])

        chunk = [(account, await self._acting(account)) for account in bodies]
        outcomes, end = await self._chunk(chunk, tallies, hear)
        news = self.news.of(outcomes)
        tallies.add(self.stripe.tally)
        tallies.add(sent, -1)
        status = report.judge(outcomes, self.named) if end is None else "failed"
        return report.Result(run_id, started, dt.datetime.now(dt.UTC), status, tuple(news), tallies, end)

    def post(self, delivered: Mapping[str, Sequence[bytes]]) -> None:
        """Have events applied by the pull that is under way, wherever it can; `mail` is empty once they are."""
        self.mail.put({account or self.own: bodies for account, bodies in delivered.items()})

    def _reads(self, account: str) -> bool:
        """Is an account, or under no name the key's own, among those of this pull?"""
        chosen = self.source.accounts
        if not account:
            return chosen in ("own", "all") and bool(self.own)
        return chosen == "all" or any(
            account == path.rpartition("/")[2] for path in chosen if chosen != "own"
        )

    async def _acting(self, path: str) -> client.Client:
        """The client that acts for an account, kept for the next time."""
        if self.source.accounts in ("own", "all") and not self.own:
            async for _ in self._accounts():
                break
        if path == self.own:
            return self.stripe
        if path not in self.clients:
            if len(self.clients) >= accounts.CHUNK * 4:
                self.clients.clear()
            self.clients[path] = accounts.acting(self.stripe, self.source, path)
        return self.clients[path]

    def settle(self, result: report.Result) -> None:
        """Forget what was to hold for one pull only, as far as it was done."""
        if result.end is None:
            left = {each.stream for each in result.outcomes if each.status != "ok"}
            accept = self.options.accept & left
            self.options = dataclasses.replace(self.options, full_refresh=False, accept=accept)

    async def _chunk(
        self, chunk: Sequence[tuple[str, client.Client]], tallies: client.Tally, work: Work
    ) -> tuple[list[report.Outcome], errors.TidegateError | None]:
        """Some accounts side by side, through one loader; returns their outcomes and what ends everything."""
        assert self.fence is not None, "The tables were claimed before."
        saved, scrubbers = await self._state([account for account, _ in chunk])
        loader = load.Loader(self.warehouse, self.fence, scrubbers)
        if self.remember:
            loader.add([], state=self.remember)
            self.remember = {}
        gate = asyncio.Semaphore(ABREAST)
        outcomes: dict[str, list[report.Outcome]] = {}
        ends: list[errors.TidegateError] = []

        async def one(account: str, stripe: client.Client) -> None:
            async with gate:
                wishes, refreshing = self._wishes(account), cycle.refreshing(saved[account], account)
                targets = {name: scope.of(account, each) for name, each in self.streams.items()}
                mine = outcomes[account] = [each.outcome for each in targets.values()]
                if ends:
                    _abandon(mine, ends[0])
                    return
                try:
                    await work(self._reading(account, stripe, targets, loader), wishes, saved[account])
                    self.refreshed.add(account)
                except errors.TidegateError as error:
                    if cycle.refreshing(saved[account], account) - refreshing:
                        self.refreshed.add(account)  # it is noted, and goes on in the next pull
                    _abandon(mine, error)
                    if not _is_disconnected(error) or stripe is self.stripe:
                        ends.append(error)
                finally:
                    if stripe is not self.stripe:
                        tallies.add(stripe.tally)

        try:
            async with asyncio.TaskGroup() as group:
                for account, stripe in chunk:
                    group.create_task(one(account, stripe))
        finally:
            try:
                await loader.finish()
            except errors.TidegateError as error:
                ends.append(error)
        if not ends:
            await asyncio.to_thread(self._scrub, scrubbers, saved)
        is_whole = work is not cycle.run and not ends and not scrubbers and len(saved) <= ABREAST
        self.known = saved if is_whole else {}
        for found in outcomes.values():
            for outcome in found:
                outcome.done = True
        return [each for found in outcomes.values() for each in found], ends[0] if ends else None

    async def _state(
        self, chosen: Sequence[str]
    ) -> tuple[dict[str, dict[str, str]], dict[str, forget.Scrubber]]:
        """What is stored of some accounts, and what is to be forgotten there.

        What a hearing left is known: nobody else writes it while this pull's claim holds, which each commit checks.
        """
        if self.known.keys() == set(chosen):
            return self.known, {}
        prefixes = dict.fromkeys(
            prefix
            for each in chosen
            for prefix in (*cycle.prefixes(each), *forget.prefixes(each), f"{forget.UNCLEAN}{each}")
        )
        state = await asyncio.to_thread(self.warehouse.state, *prefixes)
        forgetful = {each: forget.scrubber(state, each) for each in chosen}
        scrubbers = {each: scrubber for each, scrubber in forgetful.items() if scrubber is not None}
        return accounts.by_account(state, set(chosen)), scrubbers

    def _scrub(
        self, scrubbers: Mapping[str, forget.Scrubber], saved: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Clean what came before it was known that it is a forgotten customer's, in an earlier pull too."""
        tables = {name: [each.table.name] for name, each in self.streams.items()}
        hard = [each.table.name for each in self.streams.values() if each.shape.hard]
        for account, scrubber in scrubbers.items():
            whole = f"{forget.UNCLEAN}{account}" in saved[account]
            if whole or scrubber.learnt:
                erase.again(self.warehouse, scrubber, tables=tables, hard=hard, fence=self.fence, whole=whole)

    async def prune(self) -> None:
        """Remove what is kept no longer, once a day."""
        if self.fence is not None and asyncio.get_running_loop().time() >= self.prune_at:
            self.prune_at = asyncio.get_running_loop().time() + 3_600
            shapes = {name: each.shape for name, each in self.streams.items()}
            now = dt.datetime.now(dt.UTC)
            await asyncio.to_thread(
                retention.prune, self.warehouse, self.fence, shapes, self.options.retention, now
            )

    async def _accounts(self) -> AsyncIterator[tuple[str, client.Client]]:
        """Every account to pull; whose the key is is remembered from pull to pull, once it has pulled."""
        mark = f"key/{self._mark()}"
        known = (await asyncio.to_thread(self.warehouse.state, mark)).get(mark, "")
        if known and not await asyncio.to_thread(self.warehouse.state, f"tail/{known}"):
            known = ""
        async for account, one in accounts.each_account(self.stripe, self.source, self.wanted, known):
            if one is self.stripe:
                self.own = account
                if account != known:
                    self.remember = {mark: account}
            yield account, one

    def _mark(self) -> str:
        """A short text that stands for the key and its Stripe."""
        return cycle.fingerprint((self.source.api_key, self.source.api_base))

    def _reading(
        self,
        account: str,
        stripe: client.Client,
        targets: Mapping[str, load.Target],
        loader: load.Loader,
    ) -> reading.Reading:
        found = scope.shared(
            stripe,
            targets,
            loader,
            account=account,
            warehouse=self.warehouse,
            screen=self.screen,
            starts=scope.starts(self.options, targets),
        )
        return dataclasses.replace(
            found,
            decoder=self.decoder,
            shut=self.shut.setdefault(account, {}) if self.patient else {},
            named=self.named,
            patient=self.patient,
            exclude_before=self.options.before_start == "exclude",
            accept=self.options.accept,
            early=self.early,
            proven=self.proven,
            mail=self.mail,
        )

    def _shape(self, name: str) -> tuple[object, ...]:
        """All that makes a stream's rows what they are; with another, those that are stored are out of date."""
        choice = self.options.choices.get(name, scope.Choice())
        table = choice.table or name
        shown = (choice.columns, choice.hashed, choice.where, choice.hard, choice.history, table)
        lost = [self.lost[name]] if name in self.lost else []
        return (self.stripe.api_version, *shown, *lost)

    def _wishes(self, account: str) -> cycle.Wishes:
        return cycle.Wishes(
            self.wanted,
            self.ways,
            full_refresh=self.options.full_refresh and account not in self.refreshed,
            refreshed=frozenset(name for name, each in self.options.choices.items() if each.refresh),
            shapes={name: cycle.fingerprint(self._shape(name)) for name in self.streams},
            lost=frozenset(self.lost),
            lookback=self.options.lookback,
            given=self.options.lookback_given,
            lookbacks={
                name: each.lookback
                for name, each in self.options.choices.items()
                if each.lookback is not None
            },
            between=self.between,
        )


def _is_disconnected(error: errors.TidegateError) -> bool:
    return isinstance(error, errors.Unauthorized) and error.code == "account_invalid"


def _abandon(outcomes: Iterable[report.Outcome], error: errors.TidegateError) -> None:
    for outcome in outcomes:
        if not outcome.done:
            outcome.fail("failed", f"not read to its end: {error}")
            outcome.done = True


def _run_id() -> str:
    return f"run_{dt.datetime.now(dt.UTC):%Y%m%d%H%M%S}_{secrets.token_hex(4)}"
