"""What a pull is of: which Stripe and whose objects, which streams and what of them, as which tables."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from tidegate import catalog, config
from tidegate.pull import derived, load, reading, report, shaping
from tidegate.rows import decode
from tidegate.stripe import client, pace, purse
from tidegate.warehouse import base


@dataclass(frozen=True, slots=True)
class Source:
    """Which Stripe, and whose objects: the key's own, all connected accounts' too, or those of a list.

    `account_id` only names the key's own rows, where the key cannot ask for it. With a `purse` the rate budget is
    shared with everybody who uses the same metadata database.
    """

    api_key: str
    api_base: str = "https://api.stripe.com"
    api_version: str = ""
    accounts: Literal["own", "all"] | tuple[str, ...] = "own"
    account_id: str | None = None
    context: str | None = None
    budget: float = 0.8
    rate_limit: str | None = None
    purse: purse.Purse | None = field(default=None, repr=False, compare=False)


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
    derive: Mapping[str, config.Derived] = field(default_factory=dict)
    """Columns that are computed from what Stripe says."""


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
    now: dt.datetime | None = None
    """From when relative dates count; without, from the moment at which each pull begins."""
    settled: bool = False
    """Leave what events tell of the last seconds to the next pull."""


def connect(source: Source, listener: client.Listener | None = None) -> client.Client:
    """A client with its pace, not yet entered; `listener` is told what requests come to."""
    return client.Client(
        source.api_key,
        api_base=source.api_base,
        api_version=source.api_version or catalog.load().api_version,
        context=source.context,
        pace=budget(source, source.account_id or ""),
        listener=listener,
    )


def budget(source: Source, account: str) -> pace.Pace:
    """The pace of requests to an account; to the key's own, when that has no name yet."""
    limits = pace.limits_for(client.mode(source.api_key), source.rate_limit)
    if source.purse is None:
        found = pace.Pace(limits, budget=source.budget)
    else:
        name = purse.account_name(source.api_base, source.api_key, account)
        found = source.purse.pace(name, limits, budget=source.budget)
    found.whose = account.rpartition("/")[2]
    return found


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
        decoder=decoders(targets),
        starts=starts,
    )


def starts(options: Options, streams: Iterable[str]) -> dict[str, int | None]:
    """From when on each stream is wanted, unix seconds; None for all of it."""
    own = ((name, options.choices.get(name, Choice()).start) for name in streams)
    return {name: options.start if start is None else start for name, start in own}


def target(stream: catalog.Stream, account: str, options: Options) -> load.Target:
    """Where a stream's rows go, and as which columns."""
    choice = options.choices.get(stream.name, Choice())
    made = derived.compile(choice.derive, decode.schema(stream), stream=stream.name)
    decoder = decode.Decoder(
        stream,
        columns=shaping.needed(stream, choice.columns, choice.where, made),
        hashed=choice.hashed,
        hidden=shaping.hidden(stream, choice.columns, choice.where, made),
    )
    shape = shaping.shape(
        stream,
        decoder,
        table=choice.table,
        columns=choice.columns,
        hashed=choice.hashed,
        where=choice.where,
        derived=made,
        hard=choice.hard,
        history=choice.history,
        now=options.now,
    )
    return load.Target(stream, account, decoder, shape, report.Outcome(stream.name, account))


def of(account: str, stream: load.Target) -> load.Target:
    """The target for one account; all accounts share what the decoder has learnt."""
    return dataclasses.replace(stream, account=account, outcome=report.Outcome(stream.stream.name, account))


def decoders(targets: Mapping[str, load.Target]) -> reading.Decoders:
    """Decoders by stream, also of streams that are only passed through."""
    made: dict[str, decode.Decoder] = {name: target.decoder for name, target in targets.items()}

    def decoder(stream: catalog.Stream) -> decode.Decoder:
        if stream.name not in made:
            made[stream.name] = decode.Decoder(stream)
        return made[stream.name]

    return decoder
