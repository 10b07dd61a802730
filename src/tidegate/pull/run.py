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
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from tidegate import catalog, config, errors
from tidegate.privacy import erase, forget
from tidegate.pull import (
    accounts,
    claims,
    cycle,
    load,
    plan,
    reading,
    refresh,
    report,
    retention,
    shaping,
)
from tidegate.rows import decode
from tidegate.stripe import client, keys, pace
from tidegate.warehouse import base, spool


@dataclass(frozen=True, slots=True)
class Source:
    """Which Stripe, and whose objects: the key's own, all connected accounts' too, or those of a list.

    `account_id` only names the key's own rows, where the key cannot ask for it.
    """

    api_key: str
    api_base: str = "https://api.stripe.com"
    api_version: str = ""
    accounts: Literal["own", "all"] | tuple[str, ...] = "own"
    account_id: str | None = None
    context: str | None = None
    budget: float = 0.8
    rate_limit: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What is wanted of one stream: its columns (None: all), its table's name, its own start, and so on."""

    columns: frozenset[str] | None = None
    hashed: frozenset[str] = frozenset()
    where: config.Filter | None = None
    hard: bool = False
    """Deleted rows are removed instead of marked."""
    history: bool = False
    table: str = ""
    start: int | None = None
    refresh: bool = False
    """Read whole in every pull."""
    lookback: int | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What to pull; `start` in unix seconds, `named` are the streams asked for by name, `lookback` in seconds.

    `lookback_given`: the user wrote it on the command line, so all of it is listed again now. `accept` names
    streams of which even very many rows may go that their list no longer has.
    """

    streams: Sequence[str] = ("*",)
    named: frozenset[str] | None = None
    start: int | None = None
    full_refresh: bool = False
    choices: Mapping[str, Choice] = field(default_factory=dict)
    lookback: int = 7 * 86_400
    lookback_given: bool = False
    before_start: Literal["include", "exclude"] = "include"
    accept: frozenset[str] = frozenset()
    retention: config.Retention = field(default_factory=config.Retention)


ABREAST = 16
"""Connected accounts that are read side by side; each has a budget of its own."""
CHUNK = 64
"""Connected accounts whose state is read at a time."""
FINAL = (errors.Unauthorized, errors.WarehouseError, errors.ConfigError, errors.NotEnabled)
"""What ends pulls that follow one another; only that somebody holds the warehouse passes, of these."""
MANY = 50
"""Accounts from which on streams that had nothing to tell are left out of the result."""


def connect(source: Source) -> client.Client:
    """A client with its pace, not yet entered."""
    limits = pace.limits_for(client.mode(source.api_key), source.rate_limit)
    return client.Client(
        source.api_key,
        api_base=source.api_base,
        api_version=source.api_version or catalog.load().api_version,
        context=source.context,
        pace=pace.Pace(limits, budget=source.budget),
    )


async def pull(
    source: Source, warehouse: base.Warehouse, options: Options, screen: report.Screen
) -> report.Result:
    """Bring every chosen stream of every chosen account up to date in the warehouse.

    Raises ConfigError, Unauthorized, Unreachable or WarehouseError when nothing could be begun at all. Whatever
    ends the run later is told by its result; what was committed stays, and the next pull goes on from there.
    """
    async with connect(source) as stripe:
        return await _Pull(source, warehouse, options, screen, stripe).once()


async def watch(
    source: Source,
    warehouse: base.Warehouse,
    options: Options,
    screen: report.Screen,
    *,
    every: float = 5.0,
    told: Callable[[report.Result], None] = lambda _: None,
) -> report.Result:
    """Pull again and again, every few seconds, until cancelled; `told` hears of each pull.

    Once something could be begun, what may pass is waited out: an unreachable Stripe, a file that somebody holds.
    Returns only with a result that ends everything. What holds for one pull only, a full refresh and deletions
    that are accepted, holds until it is done.
    """
    failures = 0
    async with connect(source) as stripe:
        watched = _Pull(source, warehouse, options, screen, stripe, patient=True, between=every)
        while True:
            result = await watched.once()
            told(result)
            if is_final(result):
                return result
            failures = 0 if result.end is None else failures + 1
            watched.settle(result)
            await asyncio.sleep(min(every * 2 ** min(failures, 6), 60.0) if failures else every)


def is_final(result: report.Result) -> bool:
    """Does it end pulls that follow one another? All else may pass."""
    return isinstance(result.end, FINAL) and not isinstance(result.end, errors.WarehouseBusy)


class _Pull:
    """A pull of one source into one warehouse, once or again and again."""

    def __init__(
        self,
        source: Source,
        warehouse: base.Warehouse,
        options: Options,
        screen: report.Screen,
        stripe: client.Client,
        *,
        patient: bool = False,
        between: float = cycle.BETWEEN,
    ) -> None:
        self.news, self.begun = report.News(), False
        self.refreshed: set[str] = set()
        self.source, self.warehouse, self.options, self.screen = source, warehouse, options, screen
        self.stripe, self.patient, self.between = stripe, patient, between
        self.wanted = plan.plan(catalog.load().streams, options.streams)
        self.named = self.wanted.named if options.named is None else options.named
        self.streams = {stream.name: target(stream, "", options) for stream in self.wanted.streams}
        self.decoder = _decoders(self.streams)
        self.ways = refresh.ways(self.wanted)
        self.fence: base.Fence | None = None
        self.lost: frozenset[str] = frozenset()
        self.shut: dict[str, dict[str, reading.Shut]] = {}
        self.remember: dict[str, str | None] = {}
        self.prune_at = 0.0

    async def once(self) -> report.Result:
        """One pull."""
        started, run_id = dt.datetime.now(dt.UTC), _run_id()
        outcomes: list[report.Outcome] = []
        tallies = client.Tally()
        sent = dataclasses.replace(self.stripe.tally)
        end: errors.TidegateError | None = None
        count = 0
        try:
            async for chunk in _chunks(self._accounts()):
                count += len(chunk)
                if self.fence is None:  # a wrong key is found out before anything is made
                    self.fence, self.lost = await asyncio.to_thread(
                        claims.claim, self.warehouse, run_id, self.streams, self._mark()
                    )
                found, end = await self._chunk(chunk, tallies)
                news = self.news.of(found)
                if count > MANY:
                    found = [outcome for outcome in found if outcome.told or outcome in news]
                outcomes += found
                noted = news if self.begun else found
                if noted and not isinstance(end, errors.WarehouseError):
                    await asyncio.to_thread(_note, self.warehouse, run_id, started, noted)
                if end is not None:
                    break
            if end is None:
                await self._prune()
                await self._found()
        except errors.TidegateError as error:
            if self.fence is None:
                raise
            end = end or error
        self.begun = True
        _count(tallies, self.stripe.tally)
        _count(tallies, sent, -1)
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

    def settle(self, result: report.Result) -> None:
        """Forget what was to hold for one pull only, as far as it was done."""
        if result.end is None:
            left = {each.stream for each in result.outcomes if each.status != "ok"}
            accept = self.options.accept & left
            self.options = dataclasses.replace(self.options, full_refresh=False, accept=accept)

    async def _chunk(
        self, chunk: Sequence[tuple[str, client.Client]], tallies: client.Tally
    ) -> tuple[list[report.Outcome], errors.TidegateError | None]:
        """Some accounts side by side, through one loader; returns their outcomes and what ends everything."""
        assert self.fence is not None, "The tables were claimed before."
        accounts = [account for account, _ in chunk]
        prefixes = dict.fromkeys(
            prefix
            for each in accounts
            for prefix in (*cycle.prefixes(each), *forget.prefixes(each), f"{forget.UNCLEAN}{each}")
        )
        state = await asyncio.to_thread(self.warehouse.state, *prefixes)
        saved = _by_account(state, set(accounts))
        forgetful = {each: forget.scrubber(state, each) for each in accounts}
        scrubbers = {each: scrubber for each, scrubber in forgetful.items() if scrubber is not None}
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
                targets = {name: _of(account, each) for name, each in self.streams.items()}
                mine = outcomes[account] = [each.outcome for each in targets.values()]
                if ends:
                    _abandon(mine, ends[0])
                    return
                try:
                    await cycle.run(self._reading(account, stripe, targets, loader), wishes, saved[account])
                    self.refreshed.add(account)
                except errors.TidegateError as error:
                    if cycle.refreshing(saved[account], account) - refreshing:
                        self.refreshed.add(account)  # it is noted, and goes on in the next pull
                    _abandon(mine, error)
                    if not _is_disconnected(error) or stripe is self.stripe:
                        ends.append(error)
                finally:
                    if stripe is not self.stripe:
                        _count(tallies, stripe.tally)

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
        for found in outcomes.values():
            for outcome in found:
                outcome.done = True
        return [each for found in outcomes.values() for each in found], ends[0] if ends else None

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

    async def _prune(self) -> None:
        """Remove what is kept no longer, once a day."""
        if self.fence is not None and asyncio.get_running_loop().time() >= self.prune_at:
            self.prune_at = asyncio.get_running_loop().time() + 3_600
            shapes = {name: each.shape for name, each in self.streams.items()}
            now = dt.datetime.now(dt.UTC)
            await asyncio.to_thread(
                retention.prune, self.warehouse, self.fence, shapes, self.options.retention, now
            )

    async def _found(self) -> None:
        """Every account knows by now which tables were gone."""
        if self.lost and self.fence is not None:
            tables = [self.streams[name].table.name for name in self.lost]
            await asyncio.to_thread(claims.found, self.warehouse, self.fence, tables)
        self.lost = frozenset()

    async def _accounts(self) -> AsyncIterator[tuple[str, client.Client]]:
        """Every account to pull; whose the key is is remembered from pull to pull, once it has pulled."""
        mark = f"key/{self._mark()}"
        known = (await asyncio.to_thread(self.warehouse.state, mark)).get(mark, "")
        if known and not await asyncio.to_thread(self.warehouse.state, f"tail/{known}"):
            known = ""
        async for account, one in each_account(self.stripe, self.source, self.wanted, known):
            if one is self.stripe and account != known:
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
        found = shared(
            stripe,
            targets,
            loader,
            account=account,
            warehouse=self.warehouse,
            screen=self.screen,
            starts=starts(self.options, targets),
        )
        return dataclasses.replace(
            found,
            decoder=self.decoder,
            shut=self.shut.setdefault(account, {}) if self.patient else {},
            named=self.named,
            patient=self.patient,
            exclude_before=self.options.before_start == "exclude",
            accept=self.options.accept,
        )

    def _shape(self, name: str) -> tuple[object, ...]:
        """All that makes a stream's rows what they are; with another, those that are stored are out of date."""
        choice = self.options.choices.get(name, Choice())
        table = choice.table or name
        shown = (choice.columns, choice.hashed, choice.where, choice.hard, choice.history, table)
        return (self.stripe.api_version, *shown)

    def _wishes(self, account: str) -> cycle.Wishes:
        return cycle.Wishes(
            self.wanted,
            self.ways,
            full_refresh=self.options.full_refresh and account not in self.refreshed,
            refreshed=frozenset(name for name, each in self.options.choices.items() if each.refresh),
            shapes={name: cycle.fingerprint(self._shape(name)) for name in self.streams},
            lost=self.lost,
            lookback=self.options.lookback,
            given=self.options.lookback_given,
            lookbacks={
                name: each.lookback
                for name, each in self.options.choices.items()
                if each.lookback is not None
            },
            between=self.between,
        )


async def first(stripe: client.Client, source: Source, wanted: plan.Plan) -> tuple[str, client.Client]:
    """The first account that a pull would read, with a client that acts for it."""
    async for account, one in each_account(stripe, source, wanted):
        return account, one
    raise errors.ConfigError("The list `accounts` of the connection is empty; name one, or take it out.")


def _is_disconnected(error: errors.TidegateError) -> bool:
    return isinstance(error, errors.Unauthorized) and error.code == "account_invalid"


def _abandon(outcomes: Iterable[report.Outcome], error: errors.TidegateError) -> None:
    for outcome in outcomes:
        if not outcome.done:
            outcome.fail("failed", f"not read to its end: {error}")
            outcome.done = True


async def each_account(
    stripe: client.Client, source: Source, wanted: plan.Plan, known: str = ""
) -> AsyncIterator[tuple[str, client.Client]]:
    """Every account to pull, with a client that acts for it; each has a budget of its own.

    `known` is the key's own account, where an earlier pull has found it out.
    """
    if source.accounts in ("own", "all") and keys.is_organisation(source.api_key):
        raise errors.ConfigError(
            "An organisation's key acts for one of its accounts at a time; list them under the connection: "
            "`accounts: [acct_...]`, and those connected to one of them as `acct_.../acct_...`."
        )
    if source.accounts in ("own", "all"):
        nodes = [walk.node for walk in wanted.walks]
        yield known or await accounts.identify(stripe, source, nodes), stripe
    if source.accounts == "own":
        return
    connected = accounts.connected(stripe) if source.accounts == "all" else accounts.given(source.accounts)
    async for account in connected:
        limits = pace.limits_for(client.mode(source.api_key), source.rate_limit)
        way = stripe.acting_for(account, pace.Pace(limits, budget=source.budget))
        yield account.rpartition("/")[2], way


async def _chunks(
    found: AsyncIterator[tuple[str, client.Client]],
) -> AsyncIterator[list[tuple[str, client.Client]]]:
    """Accounts by the chunk; the first comes alone, so that a wrong key is told before anything else."""
    chunk: list[tuple[str, client.Client]] = []
    most = 1
    try:
        async for each in found:
            chunk.append(each)
            if len(chunk) >= most:
                yield chunk
                chunk, most = [], CHUNK
    except errors.TidegateError:
        if chunk:
            yield chunk  # those that were listed before are read
        raise
    if chunk:
        yield chunk


def _by_account(state: Mapping[str, str], chosen: set[str]) -> dict[str, dict[str, str]]:
    """The state of each account; a prefix may also have found that of others with a longer name."""
    found: dict[str, dict[str, str]] = {account: {} for account in chosen}
    for key, text in state.items():
        account = key.split("/", 2)[1]
        if account in found:
            found[account][key] = text
    return found


def _note(
    warehouse: base.Warehouse, run_id: str, started: dt.datetime, outcomes: Sequence[report.Outcome]
) -> None:
    """Leave the outcomes beside the data; they wait on disk while somebody else holds the warehouse."""
    rows = report.rows(run_id, started, dt.datetime.now(dt.UTC), outcomes)
    spool.load(warehouse, [base.Load(report.RUNS, rows)], {})


def _count(tally: client.Tally, more: client.Tally, sign: int = 1) -> None:
    tally.requests += sign * more.requests
    tally.retries += sign * more.retries
    tally.rate_limited += sign * more.rate_limited
    tally.server_errors += sign * more.server_errors


def _run_id() -> str:
    return f"run_{dt.datetime.now(dt.UTC):%Y%m%d%H%M%S}_{secrets.token_hex(4)}"


def shared(
    stripe: client.Client,
    targets: Mapping[str, load.Target],
    sink: reading.Sink,
    *,
    account: str = "",
    warehouse: base.Warehouse | None = None,
    screen: report.Screen | None = None,
    starts: Mapping[str, int | None] = MappingProxyType({}),
) -> reading.Reading:
    """What all walks of an account share; without a warehouse, parents are read from Stripe."""
    return reading.Reading(
        client=stripe,
        account=account,
        sink=sink,
        streams=catalog.load().streams,
        targets=targets,
        warehouse=warehouse,
        screen=screen or report.Silent(),
        decoder=_decoders(targets),
        starts=starts,
    )


def starts(options: Options, streams: Iterable[str]) -> dict[str, int | None]:
    """From when on each stream is wanted, unix seconds; None for all of it."""
    own = ((name, options.choices.get(name, Choice()).start) for name in streams)
    return {name: options.start if start is None else start for name, start in own}


def target(stream: catalog.Stream, account: str, options: Options) -> load.Target:
    """Where a stream's rows go, and as which columns."""
    choice = options.choices.get(stream.name, Choice())
    decoder = decode.Decoder(
        stream,
        columns=shaping.needed(stream, choice.columns, choice.where),
        hashed=choice.hashed,
        hidden=shaping.hidden(stream, choice.columns, choice.where),
    )
    shape = shaping.shape(
        stream,
        decoder,
        table=choice.table,
        columns=choice.columns,
        hashed=choice.hashed,
        where=choice.where,
        hard=choice.hard,
        history=choice.history,
    )
    return load.Target(stream, account, decoder, shape, report.Outcome(stream.name, account))


def _of(account: str, stream: load.Target) -> load.Target:
    """The target for one account; all accounts share what the decoder has learnt."""
    return dataclasses.replace(stream, account=account, outcome=report.Outcome(stream.stream.name, account))


def _decoders(targets: Mapping[str, load.Target]) -> reading.Decoders:
    """Decoders by stream, also of streams that are only passed through."""
    made: dict[str, decode.Decoder] = {name: target.decoder for name, target in targets.items()}

    def decoder(stream: catalog.Stream) -> decode.Decoder:
        if stream.name not in made:
            made[stream.name] = decode.Decoder(stream)
        return made[stream.name]

    return decoder
