"""Rows of a stream to records of the customer model: filter, mapping, function, and what became of each row.

    with shaping.opened("eu_customers", pipeline, model, stream.columns, now) as shaper:
        for rows in changes.rows():
            shaped = shaper.shape(rows)

Every row that is read is filtered out, matched, or failed: the three counts add up. A filter that speaks of
relative dates is asked of one moment, that of the run.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from tidegate import config, errors
from tidegate.customers import records
from tidegate.shape import answers, deep, filters, functions, mapping, profile, wire
from tidegate.warehouse import ddl

VERSION = 1
"""Changes when the same definition makes other records than before, so that all rows are read again."""

_NARROW = ("_account_id", "source_id", "_version")
_documents = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row is no record.

    `why` may be logged; `said` is for the author and may quote values, as `payload` does, which is what the mapping
    or the function was given, as JSON.
    """

    account: str
    source_id: str
    version: int
    property: str
    why: str
    said: str
    line: int | None
    payload: str


@dataclass(frozen=True, slots=True)
class Shaped:
    """What became of some rows; `filtered` also counts those for which the function returned nothing."""

    seen: pa.Table
    """The columns of `records.SEEN`."""
    rows: pa.Table
    """`_account_id`, `source_id`, `_version` and the model's properties, of those that matched."""
    failed: tuple[Failure, ...]
    """One for each row that failed."""
    filtered: int

    @property
    def read(self) -> int:
        """All of them."""
        return int(self.seen.num_rows)


@dataclass(frozen=True, slots=True)
class _Reason:
    """Why a row failed, before it is known which row that is."""

    property: str
    why: str
    said: str
    line: int | None = None


class Shaper:
    """A compiled pipeline; used by one thread."""

    def __init__(
        self,
        shape: str,
        text: str,
        model: profile.Profile,
        predicate: filters.Predicate | None,
        mapped: mapping.Mapping | None,
        function: functions.Run | None,
    ) -> None:
        self.digest = shape
        """Tells this filter, mapping and function from any others."""
        self.text = text
        """All of the definition, as a JSON document."""
        self._model, self._predicate, self._mapped, self._function = model, predicate, mapped, function

    @property
    def printed(self) -> str:
        """What the function printed."""
        return "" if self._function is None else self._function.printed

    @property
    def unguarded(self) -> str:
        """See `functions.Run.unguarded`; empty without a function."""
        return "" if self._function is None else self._function.unguarded

    def shape(self, table: pa.Table) -> Shaped:
        """Filter, map and transform rows that begin with `_account_id`, `source_id`, `_version`, `_synced_at`.

        Raises TidegateError when the function ends its process too often.
        """
        every = pa.array(range(table.num_rows), pa.int64())
        places = every if self._predicate is None else every.filter(self._predicate.matches(table))
        chosen = table.take(places)
        reasons: dict[int, _Reason] = {}
        given: pa.Table | None = None
        if self._mapped is not None:
            typed = self._mapped.apply(chosen)
            _noted(reasons, typed.failed, places)
            given, places = typed.rows, places.filter(typed.kept)
        if self._function is not None:
            source = chosen if given is None else given
            fit = _walkable(source, places, reasons)
            given, places = self._transformed(as_given(source.filter(fit)), places.filter(fit), reasons)
        assert given is not None, "A pipeline has a mapping or a function."
        outcomes = pc.if_else(pc.is_in(every, value_set=places), "matched", "filtered").to_pylist()
        for row in reasons:
            outcomes[row] = "failed"
        seen = table.select(["_account_id", "source_id", "_version", "_synced_at"])
        seen = seen.append_column("outcome", pa.array(outcomes, pa.string()))
        rows = table.select(list(_NARROW)).take(places)
        for field in given.schema:
            rows = rows.append_column(field, given[field.name])
        failed = tuple(_failure(table, row, reason) for row, reason in sorted(reasons.items()))
        return Shaped(seen, rows, failed, outcomes.count("filtered"))

    def _transformed(
        self, source: Sequence[dict[str, Any]], places: pa.Array, reasons: dict[int, _Reason]
    ) -> tuple[pa.Table, pa.Array]:
        """What the function makes of records, and the places of those that it made."""
        assert self._function is not None
        made: list[dict[str, Any]] = []
        kept: list[int] = []
        for place, outcome in zip(places.to_pylist(), self._function.records(source), strict=True):
            if isinstance(outcome, answers.Made):
                made.append(outcome.record)
                kept.append(place)
            elif isinstance(outcome, answers.Failed):
                reasons[place] = _Reason("", outcome.safe, outcome.why, outcome.line)
        typed = self._model.typed(made)
        order = pa.array(kept, pa.int64())
        _noted(reasons, typed.failed, order)
        return typed.rows, order.filter(typed.kept)


@contextlib.contextmanager
def opened(
    name: str,
    pipeline: config.Pipeline,
    model: profile.Profile,
    stream: pa.Schema,
    now: dt.datetime,
    *,
    restarts: int | None = None,
) -> Iterator[Shaper]:
    """Compile a pipeline for the columns of its stream; the function's process ends with the block.

    `restarts`, where it is given, is how often that may be started anew after a record that ended it or took too
    long. Raises ConfigError, before any row, for a filter, a mapping or a function that cannot be.
    """
    with contextlib.ExitStack() as stack:
        function = None
        if (own := pipeline.function) is not None:
            limits = functions.Limits(own.timeout, own.memory)
            if restarts is not None:
                limits = replace(limits, restarts=restarts)
            function = stack.enter_context(functions.opened(own, limits))
        try:
            predicate = None if pipeline.filter is None else filters.compile(pipeline.filter, stream, now)
        except errors.ConfigError as error:
            raise errors.ConfigError(f"pipeline {name}: {error}") from None
        mapped = None
        if pipeline.map or function is None:
            mapped = mapping.compile(
                pipeline.map,
                model,
                stream,
                named=f"pipeline {name}",
                stream=pipeline.stream,
                seconds=pipeline.sql_timeout,
            )
            stack.callback(mapped.close)
        code = None if function is None else function.code
        yield Shaper(
            _digest(pipeline, model, code), _text(pipeline, code), model, predicate, mapped, function
        )


def batch(name: str, shape: str, shaped: Shaped) -> records.Batch:
    """What was shaped, for `records.step`."""
    return records.Batch(name, shape, shaped.seen, shaped.rows, records.GONE.empty_table())


def _digest(pipeline: config.Pipeline, model: profile.Profile, code: functions.Code | None) -> str:
    """What stands for a definition: the same for any spelling of the same, another for any other."""
    told = pipeline.model_dump(mode="json", include={"filter", "map", "stream"}, by_alias=True)
    types = [(field.name, ddl.sql_type(field)) for field in model.schema]
    text = None if code is None else [code.language, code.text]
    parts = [
        VERSION,
        told,
        types,
        list(model.identifiers),
        text,
        [str(each.target) for each in model.properties],
    ]
    return digest(msgspec.json.encode(parts, order="sorted").decode())


def _text(pipeline: config.Pipeline, code: functions.Code | None) -> str:
    """A definition as somebody reads it: the function with its text, line by line."""
    told = pipeline.model_dump(
        mode="json", include={"stream", "filter", "map", "cases"}, by_alias=True, exclude_defaults=True
    )
    if code is not None:
        told["function"] = {code.language: code.text.splitlines()}
    return msgspec.json.encode(told, order="sorted").decode()


def digest(text: str) -> str:
    """What stands for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _noted(reasons: dict[int, _Reason], failed: Sequence[profile.Failure], places: pa.Array) -> None:
    """The first thing that is wrong with each row, by its place in the table."""
    for each in failed:
        reasons.setdefault(places[each.row].as_py(), _Reason(each.property, each.why, each.why))


def _failure(table: pa.Table, row: int, reason: _Reason) -> Failure:
    told = table.slice(row, 1)
    account, source, version = (told[name][0].as_py() for name in _NARROW)
    [payload] = as_given(told)
    text = msgspec.json.encode(payload, enc_hook=str, order="deterministic").decode()
    return Failure(account, source, version or 0, reason.property, reason.why, reason.said, reason.line, text)


def as_given(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as a function sees them: columns of Tidegate's own left out, JSON as what it says, numbers exact."""
    shown = [field for field in table.schema if not field.name.startswith("_") and field.name != "source_id"]
    columns = [_values(table[field.name], field) for field in shown]
    names = [field.name for field in shown]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)] or [
        {} for _ in range(table.num_rows)
    ]


def _values(column: pa.ChunkedArray, field: pa.Field) -> list[Any]:
    found: list[Any] = column.to_pylist()
    if not ddl.is_json(field):
        return [_utc(each) for each in found] if pa.types.is_timestamp(field.type) else found
    return [None if each is None else _document(each) for each in found]


def _document(raw: str) -> Any:
    try:
        return _documents.decode(raw)
    except (
        RecursionError
    ):  # only for the eyes of who looks at what failed: `_walkable` keeps it from functions
        return raw


def _walkable(table: pa.Table, places: pa.Array, reasons: dict[int, _Reason]) -> pa.Array:
    """Which rows a function can be given; notes those that hold what is nested too deep."""
    fit = [True] * table.num_rows
    for field in table.schema:
        if not ddl.is_json(field):
            continue
        column = table[field.name]
        brackets = pc.add(pc.count_substring(column, "{"), pc.count_substring(column, "["))
        for row in pc.indices_nonzero(
            pc.fill_null(pc.greater(brackets, wire.DEEPEST - 1), False)
        ).to_pylist():
            if deep.depth(column[row].as_py().encode()) >= wire.DEEPEST:
                fit[row] = False
                why = (
                    f"{field.name} is nested more than {wire.DEEPEST} levels deep, which no function is given"
                )
                reasons.setdefault(places[row].as_py(), _Reason("", why, why))
    return pa.array(fit, pa.bool_())


def _utc(moment: dt.datetime | None) -> dt.datetime | None:
    return None if moment is None else moment.astimezone(dt.UTC)


def tried(shaper: Shaper, record: Mapping[str, Any], stream: pa.Schema) -> Shaped:
    """What becomes of one record, given as Stripe's API shows it: its fields, objects nested."""
    columns: dict[str, pa.Array] = {}
    for field in stream:
        value = record.get(field.name)
        if ddl.is_json(field):
            value = None if value is None else msgspec.json.encode(value, enc_hook=str).decode()
        elif pa.types.is_timestamp(field.type) and isinstance(value, int | float):
            value = dt.datetime.fromtimestamp(value, dt.UTC)
        elif pa.types.is_timestamp(field.type) and isinstance(value, str):
            value = dt.datetime.fromisoformat(value)
        columns[field.name] = pa.array([value], field.type)
    own = {
        "_account_id": pa.array(["acct_example"], pa.string()),
        "source_id": pa.array([str(record.get("id", "example"))], pa.string()),
        "_version": pa.array([0], pa.int64()),
        "_synced_at": pa.array([None], pa.timestamp("us", "UTC")),
    }
    others = [field for field in stream if field.name not in own]
    schema = pa.schema([*(pa.field(name, each.type) for name, each in own.items()), *others])
    arrays = [*own.values(), *(columns[field.name] for field in others)]
    return shaper.shape(pa.table(arrays, schema=schema))
