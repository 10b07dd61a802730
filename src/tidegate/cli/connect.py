"""The flags that stand for a configuration, shared by the commands that take them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from tidegate import catalog, config, errors
from tidegate.cli import output
from tidegate.pull import settings


class Flags(TypedDict, total=False):
    """What can be said of a pull without a file, by the names of `config.ad_hoc`."""

    api_base: str | None
    schema: str | None
    account_id: str | None
    start_date: str | None
    lookback: str | None
    budget: float | None
    rate_limit: str | None


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
    if api_key is not None and not api_key.strip():
        raise errors.ConfigError("--api-key is empty; is the variable that it comes from set?")
    if to is None:
        given = [name for name, value in flags.items() if value is not None]
        first = {"api_key": api_key, "streams": streams, "account": accounts}
        more = [*(name for name, value in first.items() if value), *given]
        if more:
            flag = "--" + more[0].replace("_", "-")
            raise errors.ConfigError(f"{flag} goes with --to; with a configuration, write it in the file")
        file = config.load(config_file or config.DEFAULT_FILE)
        return settings.jobs(file, names, full_refresh=full_refresh)
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
    return settings.jobs(file, full_refresh=full_refresh, lookback_given=flags.get("lookback") is not None)
