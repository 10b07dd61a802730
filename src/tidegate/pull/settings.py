"""From the configuration to what a pull needs: whose data, which streams, where to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidegate import catalog, config, errors, warehouse
from tidegate.pull import run
from tidegate.warehouse import base


@dataclass(frozen=True, slots=True)
class Job:
    """One pull of the configuration, ready to run."""

    name: str
    source: run.Source
    options: run.Options
    target: config.Warehouse

    def open(self) -> base.Warehouse:
        """The warehouse; the caller closes it."""
        return warehouse.open_warehouse(self.target)


def jobs(file: config.Config, names: Sequence[str] = (), *, full_refresh: bool = False) -> list[Job]:
    """The named pulls, or all of them; raises ConfigError for a name that the file does not have."""
    if not file.pulls:
        raise errors.ConfigError("the configuration has no pull; add one under `pulls:`")
    for name in names:
        if name not in file.pulls:
            known = ", ".join(file.pulls)
            raise errors.ConfigError(f"there is no pull {name!r} in the configuration; it has {known}")
    return [_job(file, name, full_refresh) for name in names or file.pulls]


def source(connection: config.Connection) -> run.Source:
    """How to reach Stripe over a connection."""
    if connection.api_key is None:
        raise errors.ConfigError(
            "this connection signs in by `oauth`, which needs the server to hold its token; give it an "
            "`api_key` to pull from the command line"
        )
    return run.Source(
        api_key=connection.api_key.get_secret_value(),
        api_base=connection.api_base,
        api_version=connection.api_version or "",
        accounts=connection.accounts,
        account_id=connection.account_id,
        budget=connection.budget,
        rate_limit=None if connection.rate_limit is None else str(connection.rate_limit),
    )


def _job(file: config.Config, name: str, full_refresh: bool) -> Job:
    pull = file.pulls[name]
    connection = file.stripe[pull.connection]
    known = catalog.load().streams
    chosen = [stream for stream in known.values() if pull.takes(stream.name, default=stream.default)]
    if not chosen:
        raise errors.ConfigError(f"pulls.{name}: every stream is left out; enable one under `streams:`")
    choices = {stream.name: _choice(pull, stream, name, connection.start_date) for stream in chosen}
    tables: set[str] = set()
    for table in (choice.table or stream for stream, choice in choices.items()):
        if table.lower() in tables:  # warehouses don't tell `Charges` from `charges`
            raise errors.ConfigError(f"pulls.{name}: two streams share the table {table!r}; rename one")
        tables.add(table.lower())
    options = run.Options(
        streams=[stream.name for stream in chosen],
        named=frozenset(set(pull.streams) & set(known)),
        start=_start(connection.start_date, pull.lookback),
        full_refresh=full_refresh
        or all(pull.options(stream.name).mode == "full_refresh" for stream in chosen),
        choices=choices,
    )
    return Job(name, source(connection), options, file.warehouses[pull.warehouse])


def _start(date: dt.datetime | None, lookback: dt.timedelta) -> int | None:
    """The effective start: `start_date` less the lookback, unix seconds."""
    return None if date is None else int((date - lookback).timestamp())


def _choice(
    pull: config.Pull, stream: catalog.Stream, name: str, start_date: dt.datetime | None
) -> run.Choice:
    options = pull.options(stream.name)
    for option, used in _unserved(options).items():
        if used:
            raise errors.ConfigError(
                f"pulls.{name}.streams.{stream.name}: this version cannot serve `{option}`; take it out"
            )
    columns = {field.name for field in stream.fields}
    kept = (columns if options.only is None else columns & options.only) - options.excluded
    lookback = pull.lookback if options.lookback is None else options.lookback
    return run.Choice(
        None if kept == columns else frozenset(kept),
        options.table or "",
        _start(options.start_date or start_date, lookback),
    )


def _unserved(options: config.StreamOptions) -> Mapping[str, bool]:
    return {
        "where": options.where is not None,
        "history": options.history,
        "hash": bool(options.hashed),
        "deletes: hard": options.deletes == "hard",
    }
