"""Saved examples of a pipeline: what must become of a record, tried before anything is run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa

from tidegate import config, errors
from tidegate.customers import shaping
from tidegate.warehouse import ddl


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a case; `came` is None where the record was filtered out or failed, `why` says so."""

    name: str
    ok: bool
    came: Mapping[str, Any] | None
    why: str


def tried(pipeline: config.Pipeline, shaper: shaping.Shaper, stream: pa.Schema) -> list[Tried]:
    """All cases of a pipeline, in their order."""
    return [_tried(case, shaper, stream) for case in pipeline.cases]


def check(name: str, pipeline: config.Pipeline, shaper: shaping.Shaper, stream: pa.Schema) -> None:
    """Raises ConfigError where a case comes out differently than it says."""
    wrong = [each for each in tried(pipeline, shaper, stream) if not each.ok]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise errors.ConfigError(
            f"The case {wrong[0].name!r} of the pipeline {name} comes out differently{more}: {wrong[0].why}; "
            f"`tidegate pipeline test {name}` shows it."
        )


def all_of(shaped: shaping.Shaped) -> dict[str, dict[str, Any]]:
    """The properties of each record that was made, by the row's id; those without a value are left out."""
    own = {"_account_id", "source_id", "_version"}
    fields = [field for field in shaped.rows.schema if field.name not in own]
    return {
        row["source_id"]: {
            field.name: msgspec.json.decode(row[field.name]) if ddl.is_json(field) else row[field.name]
            for field in fields
            if row[field.name] is not None
        }
        for row in shaped.rows.to_pylist()
    }


def _tried(case: config.Case, shaper: shaping.Shaper, stream: pa.Schema) -> Tried:
    shaped = shaping.tried(shaper, case.given, stream)
    came = next(iter(all_of(shaped).values()), None)
    if came is None:
        why = shaped.failed[0].why if shaped.failed else "the record is filtered out"
        return Tried(case.name, case.expected is None, None, why)
    if case.expected is None:
        return Tried(case.name, False, came, "it should be left out, and comes through")
    differing = _differing(case.expected, came)
    why = f"other values of {', '.join(differing)}" if differing else ""
    return Tried(case.name, not differing, came, why)


def _differing(expected: Mapping[str, Any], came: Mapping[str, Any]) -> Sequence[str]:
    """The properties in which they differ; one that is null may as well not be there."""
    names = sorted({*expected, *came})
    return [
        name for name in names if _plain(_read(expected.get(name), came.get(name))) != _plain(came.get(name))
    ]


def _read(expected: Any, came: Any) -> Any:
    """A time that a document could only say as text."""
    if isinstance(expected, str) and isinstance(came, dt.datetime):
        try:
            return dt.datetime.fromisoformat(expected)
        except ValueError:
            return expected
    return expected


def _plain(value: Any) -> Any:
    """A value so that equal ones are equal, whether YAML or a table told it."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float | Decimal):
        return Decimal(str(value)).normalize()
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC) if value.tzinfo else value.replace(tzinfo=dt.UTC)
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
