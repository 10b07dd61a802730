"""The flags that stand for a configuration, shared by the commands that take them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from tidegate import catalog, config, errors, outward
from tidegate.cli import output
from tidegate.config import problems
from tidegate.engine import configuration as configuring
from tidegate.engine import live
from tidegate.engine import place as places
from tidegate.pull import settings
from tidegate.store import database

WAIT = 5.0
"""Seconds for which a metadata database that does not answer is waited for."""


class Flags(TypedDict, total=False):
    """What can be said of a pull without a file, by the names of `config.ad_hoc`."""

    api_base: str | None
    schema: str | None
    account_id: str | None
    start_date: str | None
    lookback: str | None
    budget: float | None
    rate_limit: str | None


def configuration(config_file: Path | None, *, missing: bool = False) -> config.Config:
    """The configuration that a command was given, or the one in this folder, and what the metadata database adds.

    None is made for a look. Where it cannot be reached that is said, and the file alone counts. `missing` says that
    nothing at all needs to be configured yet.
    """
    found = _configuration(config_file, missing=missing)
    outward.guard(lambda: _may_go_inside(found))
    return found


def _configuration(config_file: Path | None, *, missing: bool) -> config.Config:
    url = database_url(config_file)
    with contextlib.ExitStack() as stack:
        store: database.Database | None = None
        if configuring.exists(url):
            try:
                store = stack.enter_context(contextlib.closing(database.open_database(url, wait=WAIT)))
            except errors.TidegateError as error:
                output.say(f"{error} What was configured there is left out.")
        if store is not None:
            return configuring.load(config_file, store, missing=missing).config
    return config.load(config_file or config.DEFAULT_FILE, secret=_unknown, missing=missing)


def _may_go_inside(file: config.Config) -> bool:
    return file.server is not None and file.server.link_local


def lone_key(api_key: str | None) -> str | None:
    """The key that stands for a configuration: the one that was given, or STRIPE_API_KEY where there is no file.

    A file that `tidegate init` wrote takes its key from there too, and says where Stripe answers.
    """
    return api_key or (None if Path(config.DEFAULT_FILE).exists() else os.environ.get("STRIPE_API_KEY"))


def shadowed(config_file: Path | None) -> list[str]:
    """What the metadata database configures in vain, since the file has a part of its name: `pulls.everything`."""
    url = database_url(config_file)
    if not configuring.exists(url):
        return []
    try:
        with contextlib.closing(database.open_database(url, wait=WAIT)) as found:
            hidden = configuring.load(config_file, found).shadowed
    except errors.StoreError:
        return []  # whoever reads the configuration says so
    return [problems.dotted(each.place) for each in hidden]


def database_url(config_file: Path | None) -> str:
    """The metadata database of a configuration of which nothing else is read: it may need secrets yet to be set."""
    return configuring.database_url(config_file)


def _unknown(name: str) -> str:
    raise errors.ConfigError(f"there is no secret {name!r}; `tidegate secret set` keeps one")


def store(file: config.Config) -> database.Database:
    """The metadata database of a configuration; the caller closes it."""
    return database.open_database(file.database.get_secret_value())


@contextlib.contextmanager
def opened(config_file: Path | None) -> Iterator[database.Database]:
    """The metadata database of the configuration that a command was given, closed in the end."""
    with contextlib.closing(store(configuration(config_file))) as found:
        yield found


def has_store(file: config.Config) -> bool:
    """Is there a metadata database: a server's address, or a file that somebody has made?"""
    return configuring.exists(file.database.get_secret_value())


@contextlib.contextmanager
def place(config_file: Path | None, *, mending: bool = False) -> Iterator[places.Place]:
    """The configuration and the metadata database as something that can be changed, closed in the end.

    With `mending`, also where the configuration is not valid as it is.
    """
    with contextlib.closing(database.open_database(database_url(config_file))) as opened:
        found = places.Place(live.Live(config_file, opened, mending=mending), opened)
        outward.guard(lambda: _may_go_inside(found.file))
        yield found


def jobs(
    names: Sequence[str],
    config_file: Path | None,
    *,
    api_key: str | None,
    to: str | None,
    full_refresh: bool = False,
    streams: str | None = None,
    streams_flag: str = "--streams",
    accounts: Sequence[str] = (),
    **flags: Unpack[Flags],
) -> list[settings.Job]:
    """The pulls of the configuration, or the one that the flags describe.

    Raises ConfigError where both are given, or a flag that only goes with the other.
    """
    return planned(
        names,
        config_file,
        api_key=api_key,
        to=to,
        full_refresh=full_refresh,
        streams=streams,
        streams_flag=streams_flag,
        accounts=accounts,
        **flags,
    )[0]


def planned(
    names: Sequence[str],
    config_file: Path | None,
    *,
    api_key: str | None,
    to: str | None,
    full_refresh: bool = False,
    streams: str | None = None,
    streams_flag: str = "--streams",
    accounts: Sequence[str] = (),
    **flags: Unpack[Flags],
) -> tuple[list[settings.Job], config.Config | None]:
    """The same, and the configuration that they stand in; none where the flags describe the pull."""
    if api_key is not None and not api_key.strip():
        raise errors.ConfigError("--api-key is empty; is the variable that it comes from set?")
    if to is None:
        given = [name for name, value in flags.items() if value is not None]
        first = {"api_key": api_key, "streams": streams, "account": accounts}
        more = [*(name for name, value in first.items() if value), *given]
        if more:
            flag = "--" + more[0].replace("_", "-")
            raise errors.ConfigError(f"{flag} goes with --to; with a configuration, write it in the file")
        file = configuration(config_file)
        return settings.jobs(file, names, full_refresh=full_refresh), file
    api_key = api_key or os.environ.get("STRIPE_API_KEY")
    if not api_key:
        raise errors.ConfigError("--to needs a key too: give --api-key, or set STRIPE_API_KEY")
    if names or config_file is not None:
        raise errors.ConfigError("--to stands for a configuration; give the one or the other")
    chosen = [name.strip() for name in (streams or "").split(",") if name.strip()]
    known = catalog.load().streams
    for name in chosen:
        if name not in known and not any(letter in name for letter in "*?["):
            near = output.suggestion(name, known) or "; `tidegate streams` lists them"
            raise errors.ConfigError(f"{streams_flag}: Stripe has no such stream as {name}{near}")
    file = config.ad_hoc(api_key=api_key, to=to, streams=chosen, accounts=list(accounts) or None, **flags)
    given_lookback = flags.get("lookback") is not None
    return settings.jobs(file, full_refresh=full_refresh, lookback_given=given_lookback), None
