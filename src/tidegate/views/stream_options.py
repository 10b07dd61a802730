"""What a pull says of single streams, as its body has it: options, and which are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic

from tidegate import config
from tidegate.config import values
from tidegate.pull import settings
from tidegate.views import streams

SETTINGS = (
    "enabled",
    "table",
    "columns",
    "exclude",
    "hash",
    "derive",
    "where",
    "history",
    "deletes",
    "lookback",
    "start_date",
    "mode",
)
"""What can be said of one stream."""


def with_options(body: Mapping[str, Any], stream: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The body of a pull with other options of a stream; None takes its own options away."""
    streams = _written(body)
    if options is None:
        streams.pop(stream, None)
    else:
        streams[stream] = {name: options[name] for name in SETTINGS if name in options}
    return {**body, "streams": streams}


def with_choice(body: Mapping[str, Any], chosen: Mapping[str, bool]) -> dict[str, Any]:
    """The body of a pull that takes these streams, or leaves them out, by name; their options stay as they are.

    What `"*"` or a pattern says of a stream anyway is not written down once more.
    """
    streams = _written(body)
    for name, take in chosen.items():
        mine = {key: value for key, value in streams.pop(name, {}).items() if key != "enabled"}
        if mine:
            streams[name] = mine
        if _takes(streams, name) != take:
            streams[name] = mine
        if _takes(streams, name) != take:
            streams[name] = {"enabled": take, **mine}
    return {**body, "streams": streams}


def own_options(
    body: Mapping[str, Any], stream: str, wanted: Mapping[str, Any], *, folder: Path
) -> dict[str, Any]:
    """Those of the options of a stream that it does not have anyway, from `"*"`, a pattern, or by default.

    What cannot be read is left in, for the check of the whole to judge. `folder` is that of the configuration.
    """
    context = values.Context(folder)
    others = {name: each for name, each in _written(body).items() if name != stream}
    try:
        pull = config.Pull.model_validate({"from": "x", "to": "y", "streams": others}, context=context)
        inherited, given = pull.options(stream), config.StreamOptions.model_validate(wanted, context=context)
    except pydantic.ValidationError:
        return dict(wanted)
    return {name: value for name, value in wanted.items() if getattr(given, name) != getattr(inherited, name)}


def check(body: Mapping[str, Any], name: str, stream: str, *, folder: Path) -> None:
    """Raises ConfigError for what a run would refuse: a filter, or columns, of what is not there.

    What cannot be read is left to the check of the whole.
    """
    try:
        pull = config.Pull.model_validate(body, context=values.Context(folder))
    except pydantic.ValidationError:
        return
    known = streams.named(stream)
    if pull.takes(stream, default=known.default):
        settings.derived_columns(pull, known, name)


def _written(body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The streams of a pull as they are written; all of them, where nothing is."""
    streams = body.get("streams")
    found: Mapping[str, Any] = {"*": {}} if streams is None else streams
    return {name: dict(options or {}) for name, options in found.items()}


def _takes(written: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    said = {
        each: config.StreamOptions.model_validate(
            {key: value for key, value in options.items() if key == "enabled"}
        )
        for each, options in written.items()
    }
    pull = config.Pull.model_construct(streams=said)
    return pull.takes(name, default=streams.named(name).default)
