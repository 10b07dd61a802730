"""From the configuration to what a pull needs: whose data, which streams, where to."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidegate import catalog, config, errors, warehouse
from tidegate.pull import scope, shaping
from tidegate.rows import decode
from tidegate.warehouse import base

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Job:
    """One pull of the configuration, ready to run."""

    name: str
    source: scope.Source
    options: scope.Options
    target: config.Warehouse
    beside: tuple[scope.Source, ...] = ()
    """What other connections bring into the same tables."""

    @property
    def tables(self) -> dict[str, str]:
        """The names of its tables by stream."""
        return {stream: choice.table or stream for stream, choice in self.options.choices.items()}

    def open(self) -> base.Warehouse:
        """The warehouse; the caller closes it."""
        return warehouse.open_warehouse(self.target)


def jobs(
    file: config.Config,
    names: Sequence[str] = (),
    *,
    full_refresh: bool = False,
    lookback_given: bool = False,
) -> list[Job]:
    """The named pulls, or all of them; raises ConfigError for a name that the file does not have.

    `lookback_given`: all of the lookback is to be listed again at once.
    """
    if not file.pulls:
        raise errors.ConfigError("the configuration has no pull; add one under `pulls:`")
    for name in names:
        if name not in file.pulls:
            known = ", ".join(file.pulls)
            raise errors.ConfigError(f"there is no pull {name!r} in the configuration; it has {known}")
    return [_job(file, name, full_refresh, lookback_given) for name in names or file.pulls]


def source(connection: config.Connection) -> scope.Source:
    """How to reach Stripe over a connection."""
    if connection.key is None:
        raise errors.ConfigError(
            "this connection signs in by `oauth`, and nobody has signed in yet; do so with `tidegate account "
            "sign-in`, or on the page Stripe accounts of `tidegate run`"
        )
    return scope.Source(
        api_key=connection.key.get_secret_value(),
        api_base=connection.api_base,
        api_version=connection.api_version or "",
        accounts=connection.accounts,
        account_id=connection.account_id,
        budget=connection.budget,
        rate_limit=None if connection.rate_limit is None else str(connection.rate_limit),
    )


def _job(file: config.Config, name: str, full_refresh: bool, lookback_given: bool) -> Job:
    pull = file.pulls[name]
    connection = file.stripe[pull.connection]
    known = catalog.load().streams
    chosen = [stream for stream in known.values() if pull.takes(stream.name, default=stream.default)]
    if not chosen:
        raise errors.ConfigError(f"pulls.{name}: every stream is left out; enable one under `streams:`")
    choices = {stream.name: _choice(pull, stream, name, connection.start_date) for stream in chosen}
    _check_tables(name, choices)
    options = scope.Options(
        streams=[stream.name for stream in chosen],
        named=frozenset(set(pull.streams) & set(known)),
        start=_start(connection.start_date, pull.lookback),
        full_refresh=full_refresh or all(choice.refresh for choice in choices.values()),
        choices=choices,
        lookback=int(pull.lookback.total_seconds()),
        lookback_given=lookback_given,
        before_start=connection.before_start,
        retention=pull.retention,
    )
    target = file.warehouses[pull.warehouse]
    return Job(name, source(connection), options, target, _beside(file, pull))


def _beside(file: config.Config, pull: config.Pull) -> tuple[scope.Source, ...]:
    """The sources of other connections whose pulls have the same warehouse."""
    target = file.warehouses[pull.warehouse]
    names = {
        each.connection: None
        for each in file.pulls.values()
        if each.connection != pull.connection and file.warehouses[each.warehouse] == target
    }
    return tuple(source(file.stripe[name]) for name in names if file.stripe[name].key is not None)


def derived_columns(
    pull: config.Pull, stream: catalog.Stream, name: str
) -> list[tuple[pa.Field, config.Derived]]:
    """The derived columns of a stream in a pull, with what they are computed from.

    Raises ConfigError, which says where, for one that cannot be.
    """
    choice = _choice(pull, stream, name, None)
    table = scope.target(stream, "", scope.Options(choices={stream.name: choice})).table.schema
    return [(table.field(column), told) for column, told in choice.derive.items()]


def origin(told: config.Derived) -> str:
    """What a derived column is computed from, in words."""
    if told.sql is not None:
        return told.sql
    return f"the field {told.source}" if told.source is not None else f"always {json.dumps(told.value)}"


def _start(date: dt.datetime | None, lookback: dt.timedelta) -> int | None:
    """The effective start: `start_date` less the lookback, unix seconds."""
    return None if date is None else int((date - lookback).timestamp())


def _choice(
    pull: config.Pull, stream: catalog.Stream, name: str, start_date: dt.datetime | None
) -> scope.Choice:
    options = pull.options(stream.name)
    columns = {field.name for field in decode.fields(stream)}
    kept = (columns if options.only is None else columns & options.only) - options.excluded
    choice = scope.Choice(
        columns=None if kept == columns else frozenset(kept),
        hashed=options.hashed & (kept | set(options.derive) - options.excluded),
        where=options.where,
        hard=options.deletes == "hard",
        history=options.history,
        table=options.table or "",
        start=_start(
            options.start_date or start_date, pull.lookback if options.lookback is None else options.lookback
        ),
        refresh=options.mode == "full_refresh",
        lookback=None if options.lookback is None else int(options.lookback.total_seconds()),
        derive={column: each for column, each in options.derive.items() if column not in options.excluded},
    )
    # What cannot be asked, hashed or derived is said before anything is read.
    if choice.where is not None or choice.hashed or choice.derive:
        try:
            scope.target(stream, "", scope.Options(choices={stream.name: choice}))
        except errors.ConfigError as error:
            raise errors.ConfigError(f"pulls.{name}.streams.{stream.name}: {error}") from None
    return choice


def _check_tables(name: str, choices: Mapping[str, scope.Choice]) -> None:
    """Raises ConfigError when two streams, or a stream and a history, would share a table."""
    taken: set[str] = set()
    for stream, choice in choices.items():
        table = choice.table or stream
        for each in (table, table + shaping.HISTORY) if choice.history else (table,):
            if each.lower() in taken:  # warehouses don't tell `Charges` from `charges`
                raise errors.ConfigError(f"pulls.{name}: two streams share the table {each!r}; rename one")
            taken.add(each.lower())
