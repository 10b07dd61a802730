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
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import msgspec

from tidegate import catalog, errors
from tidegate.pull import accounts, backfill, load, plan, reading, report, walks
from tidegate.rows import decode
from tidegate.stripe import client, pace
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
    """What is wanted of one stream: its columns (None: all), its table's name, its own start."""

    columns: frozenset[str] | None = None
    table: str = ""
    start: int | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What to pull; `start` in unix seconds, `named` are the streams asked for by name."""

    streams: Sequence[str] = ("*",)
    named: frozenset[str] | None = None
    start: int | None = None
    full_refresh: bool = False
    choices: Mapping[str, Choice] = field(default_factory=dict)


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
    """Bring every chosen stream of every chosen account into the warehouse, one account after the other.

    Raises ConfigError, Unauthorized, Unreachable or WarehouseError when nothing could be begun at all. Whatever
    ends the run later is told by its result; what was committed stays, and the next pull goes on from there.
    """
    wanted = plan.plan(catalog.load().streams, options.streams)
    named = wanted.named if options.named is None else options.named
    started, run_id = dt.datetime.now(dt.UTC), _run_id()
    streams = {stream.name: target(stream, "", options) for stream in wanted.streams}
    outcomes: list[report.Outcome] = []
    tallies = client.Tally()
    fence: base.Fence | None = None
    end: errors.TidegateError | None = None
    async with connect(source) as stripe:
        try:
            async for account, one in _accounts(stripe, source, wanted):
                if fence is None:  # a wrong key is found out before anything is made
                    fence = await asyncio.to_thread(_claim, warehouse, run_id, streams)
                targets = {name: _of(account, each) for name, each in streams.items()}
                mine = [each.outcome for each in targets.values()]
                outcomes += mine
                try:
                    await _account(one, account, warehouse, fence, targets, wanted, options, screen)
                except errors.TidegateError as error:
                    _abandon(mine, error)
                    if not _is_disconnected(error) or one is stripe:
                        end = error
                if one is not stripe:
                    _count(tallies, one.tally)
                if not isinstance(end, errors.WarehouseError):
                    await asyncio.to_thread(_note, warehouse, run_id, started, mine)
                if end is not None:
                    break
        except errors.TidegateError as error:
            if fence is None:
                raise
            end = end or error
        _count(tallies, stripe.tally)
    if end is None and outcomes and all(outcome.status == "not_enabled" for outcome in outcomes):
        end = errors.NotEnabled(f"{source.api_base} has none of the lists asked for; check `api_base`.")
    return report.Result(
        run_id,
        started,
        dt.datetime.now(dt.UTC),
        report.judge(outcomes, named) if end is None else "failed",
        tuple(outcomes),
        tallies,
        end,
    )


async def first(stripe: client.Client, source: Source, wanted: plan.Plan) -> tuple[str, client.Client]:
    """The first account that a pull would read, with a client that acts for it."""
    async for account, one in _accounts(stripe, source, wanted):
        return account, one
    raise errors.ConfigError("The list `accounts` of the connection is empty; name one, or take it out.")


def _is_disconnected(error: errors.TidegateError) -> bool:
    return isinstance(error, errors.Unauthorized) and error.code == "account_invalid"


def _abandon(outcomes: Iterable[report.Outcome], error: errors.TidegateError) -> None:
    for outcome in outcomes:
        if not outcome.done:
            outcome.fail("failed", f"not read to its end: {error}")
            outcome.done = True


async def _accounts(
    stripe: client.Client, source: Source, wanted: plan.Plan
) -> AsyncIterator[tuple[str, client.Client]]:
    """Every account to pull, with a client that acts for it; each has a budget of its own."""
    if source.accounts in ("own", "all"):
        yield await accounts.identify(stripe, source, [walk.node for walk in wanted.walks]), stripe
    if source.accounts == "own":
        return
    connected = accounts.connected(stripe) if source.accounts == "all" else accounts.given(source.accounts)
    async for account in connected:
        limits = pace.limits_for(client.mode(source.api_key), source.rate_limit)
        yield account, stripe.acting_for(account, pace.Pace(limits, budget=source.budget))


async def _account(
    stripe: client.Client,
    account: str,
    warehouse: base.Warehouse,
    fence: base.Fence,
    targets: Mapping[str, load.Target],
    wanted: plan.Plan,
    options: Options,
    screen: report.Screen,
) -> None:
    """All walks of one account."""
    saved = {} if options.full_refresh else await asyncio.to_thread(_saved, warehouse, account)
    loader = load.Loader(warehouse, fence)
    trips = shared(
        stripe,
        targets,
        loader,
        account=account,
        warehouse=warehouse,
        screen=screen,
        starts=starts(options, targets),
    )
    now = stripe.clock.now()
    this = backfill.round_of(saved.get(f"round/{account}"), tuple(targets), now)
    try:
        loader.add([], f"round/{account}", lambda: msgspec.json.encode(this).decode())
        if f"tail/{account}" not in saved:
            loader.add([], f"tail/{account}", lambda: str(now))
        await walks.read(trips, wanted.walks, saved, this.since)
        loader.add([], f"round/{account}", lambda: None)
    finally:
        await loader.finish()


def _claim(warehouse: base.Warehouse, run_id: str, streams: Mapping[str, load.Target]) -> base.Fence:
    """Make the tables and become their one writer."""
    tables = [target.table for target in streams.values()]
    warehouse.prepare([*tables, report.RUNS])
    return warehouse.claim(run_id, [table.name for table in tables])


def _note(
    warehouse: base.Warehouse, run_id: str, started: dt.datetime, outcomes: Sequence[report.Outcome]
) -> None:
    """Leave the outcomes beside the data; they wait on disk while somebody else holds the warehouse."""
    rows = report.rows(run_id, started, dt.datetime.now(dt.UTC), outcomes)
    spool.load(warehouse, [base.Load(report.RUNS, rows)], {})


def _count(tally: client.Tally, more: client.Tally) -> None:
    tally.requests += more.requests
    tally.retries += more.retries
    tally.rate_limited += more.rate_limited
    tally.server_errors += more.server_errors


def _saved(warehouse: base.Warehouse, account: str) -> dict[str, str]:
    """How far earlier pulls of the account came."""
    prefixes = (f"backfill/{account}/", f"round/{account}", f"tail/{account}")
    return {key: value for prefix in prefixes for key, value in warehouse.state(prefix).items()}


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
    decoder = decode.Decoder(stream, columns=choice.columns)
    table = base.Table(choice.table or stream.name, decoder.schema, ("_account_id", *stream.key))
    return load.Target(stream, account, decoder, table, report.Outcome(stream.name, account))


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
