"""Trying a pipeline, on rows, on its cases, or its function alone; it is kept where its cases come out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidegate import config, errors, views
from tidegate.engine import editing, proving
from tidegate.engine import place as places
from tidegate.views import drafts, outside, pipelines

if TYPE_CHECKING:
    from tidegate.customers import cases
    from tidegate.engine import previewing

PATIENCE = 45.0
"""Seconds that trying a pipeline may take."""
MOST = 50
"""Rows that are tried at a time."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of rows, and each of them as it was given, in the same order."""

    preview: previewing.Preview
    given: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Trials:
    """What became of saved cases, and what the function printed."""

    each: tuple[cases.Tried, ...]
    printed: str

    @property
    def wrong(self) -> tuple[cases.Tried, ...]:
        """Those that came out differently."""
        return tuple(each for each in self.each if not each.ok)


@dataclass(frozen=True, slots=True)
class Called:
    """What a function made of a record: properties, nothing where it left the record out, or an error."""

    properties: Mapping[str, Any] | None
    error: str = ""
    line: int | None = None


def draft(place: places.Place, name: str, body: Mapping[str, Any], *, admin: bool = False) -> config.Pipeline:
    """A pipeline as this body says it; raises ConfigError with its `problems`."""
    return drafts.pipeline(place, name or pipelines.UNTITLED, body, admin=admin)


def trial(
    place: places.Place,
    name: str,
    found: config.Pipeline,
    *,
    limit: int = 10,
    ids: Sequence[str] = (),
    patience: float = PATIENCE,
) -> Trial:
    """What a pipeline makes of the newest rows of its stream, or of the objects with these ids; nothing is written.

    Raises ConfigError for what can never work, and what the warehouse or Stripe says.
    """
    from tidegate.customers import shaping
    from tidegate.engine import previewing

    if not 1 <= limit <= MOST:
        raise errors.ConfigError(f"{limit} rows cannot be tried at once; give 1 to {MOST}.")
    file, own = _with(place, name, found)

    rows, table = outside.warehouse(
        found.warehouse, lambda: previewing.rows(file, own, limit=limit, ids=ids), patience=patience
    )

    def shape() -> Trial:
        try:
            made = previewing.of_rows(file, own, rows, table)
        except errors.ConfigError:
            raise
        except errors.TidegateError as error:  # the function keeps hanging, or ending its process
            raise errors.ConfigError(str(error)) from None
        return Trial(made, tuple(shaping.as_given(rows)))

    return outside.function(own, shape, patience=patience)


def tried(place: places.Place, name: str, found: config.Pipeline) -> Trials:
    """What becomes of the saved cases; raises ConfigError for what can never work."""
    return Trials(*proving.tried(*_with(place, name, found)))


def called(
    function: config.Function, record: Mapping[str, Any], stream: str = "customers"
) -> tuple[Called, str]:
    """What a function makes of one record, given as Stripe shows it, and what it printed.

    Raises ConfigError, with the line, where it cannot be loaded.
    """
    from tidegate.shape import answers, functions

    given = dict(record)
    for name, kind in pipelines.fields(stream):
        if kind == "timestamp" and name in given:
            given[name] = _moment(given[name])
    with functions.opened(function) as run:
        outcome = run.one(given)
        match outcome:
            case answers.Made(record=made):
                return Called(made), run.printed
            case answers.Failed(why=why, line=line):
                return Called(None, why, line), run.printed
        return Called(None), run.printed


def _moment(value: Any) -> Any:
    """A time as functions are given it; what is none stays as it is."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return dt.datetime.fromtimestamp(value, dt.UTC)
        return dt.datetime.fromisoformat(value).astimezone(dt.UTC) if isinstance(value, str) else value
    except (ValueError, OverflowError, OSError):
        return value


def keep(
    place: places.Place,
    who: views.Who,
    name: str,
    body: Mapping[str, Any],
    version: int | None,
    *,
    admin: bool = False,
) -> editing.Change:
    """Make or change a pipeline, if it can work and its cases come out as they say.

    Raises ConfigError with its `problems`, of which those of cases have the place `cases[n]`; StoreConflict.
    """
    made = editing.change(place, who.name, pipelines.KIND, name, body, version, via=who.via, admin=admin)
    place.look()
    return made


def _with(place: places.Place, name: str, found: config.Pipeline) -> tuple[config.Config, str]:
    """The configuration with a pipeline in it that may not be kept yet."""
    own = name or pipelines.UNTITLED
    return place.file.model_copy(update={"pipelines": {**place.file.pipelines, own: found}}), own
