"""The flags that stand for a configuration, shared by the commands that take them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

import pydantic

from tidegate import catalog, config, errors
from tidegate.cli import output
from tidegate.config import document, flows, values
from tidegate.pull import settings
from tidegate.store import database, runs, secrets


class Flags(TypedDict, total=False):
    """What can be said of a pull without a file, by the names of `config.ad_hoc`."""

    api_base: str | None
    schema: str | None
    account_id: str | None
    start_date: str | None
    lookback: str | None
    budget: float | None
    rate_limit: str | None


def configuration(config_file: Path | None) -> config.Config:
    """The configuration that a command was given, or the one in this folder.

    The metadata database is opened where it names a `${secret:NAME}`, and not before.
    """
    with contextlib.ExitStack() as opened:
        return config.load(config_file or config.DEFAULT_FILE, secret=_secret_of(config_file, opened))


def database_url(config_file: Path | None) -> str:
    """The metadata database of a configuration of which nothing else is read: it may need secrets yet to be set."""

    def none(_: str) -> str:
        raise errors.ConfigError(
            "this is where secrets are kept, and cannot be one itself; use ${NAME} from the environment or "
            "${file:/path}"
        )

    file = config_file or Path(config.DEFAULT_FILE)
    doc = document.read(file, secret=none)
    place = ("database",)
    for at, what in doc.problems:
        if at == place:
            raise errors.ConfigError(f"{doc.where(place)}: database: {what}")
    written = doc.data.get("database") if isinstance(doc.data, dict) else None
    adapter: pydantic.TypeAdapter[pydantic.SecretStr] = pydantic.TypeAdapter(flows.DatabaseUrl)
    try:
        url = adapter.validate_python(
            "sqlite:///tidegate.db" if written is None else written,
            context=values.Context(file.absolute().parent),
        )
    except pydantic.ValidationError as error:
        why = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise errors.ConfigError(f"{doc.where(place)}: database: {why}") from None
    return url.get_secret_value()


def _secret_of(config_file: Path | None, opened: contextlib.ExitStack) -> Callable[[str], str]:
    """What answers for a secret's name; the database that it opens for the first one is closed with the stack."""
    vaults: list[secrets.Vault] = []

    def secret(name: str) -> str:
        unknown = errors.ConfigError(f"there is no secret {name!r}; `tidegate secret set` keeps one")
        if not vaults:
            url = database_url(config_file)
            if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
                raise unknown  # and no database is made for a look
            store = opened.enter_context(contextlib.closing(database.open_database(url)))
            vaults.append(secrets.vault(store))
        found = vaults[0].get(name)
        if found is None:
            raise unknown
        return found

    return secret


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
    scheme, _, rest = file.database.get_secret_value().partition(":///")
    return scheme != "sqlite" or Path(rest).exists()


def run(store: database.Database, name: str) -> runs.Run:
    """A run by its id or the beginning of it; `last` is the newest."""
    if name != "last":
        return runs.get(store, name)
    newest = runs.listed(store, limit=1)
    if not newest:
        raise errors.ConfigError("there are no runs yet; `tidegate run` schedules them")
    return newest[0]


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
