"""The rows of a snapshot through the function of their push: the table `shaped`, from which fields are mapped.

`shaped(_tidegate_key, _tidegate_row, column_<n>)` has a column for each name that the mapping asks for; what else
the function returns is dropped. Rows for which it returned nothing join `filtered`, and those for which it failed
stand in `failed(key, row, why, safe)`: `why` is for its author and may quote values, `safe` may be logged.

The function sees a row as a dict of all columns of the model, and runs in a process that can do nothing else.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa

from tidegate import config, errors
from tidegate.push import canonical, models, steps, workbook
from tidegate.shape import answers, deep, functions, targets, wire

Code = functions.Code

_EARLIEST, _LATEST = "'0001-01-01'", "'9999-12-31 23:59:59.999999'"
"""Times that Python has; others are None."""
_WIDE = frozenset(("HUGEINT", "UHUGEINT", "BIGNUM"))
_PLAIN = (canonical.INTEGERS - _WIDE) | {"BOOLEAN", "DOUBLE", "VARCHAR"}
_INT64, _EXACT = 2**63, 2**53
"""Integers that a BIGINT holds, and that are doubles, too."""
_DIGITS, _PLACES = 26, 12
"""Of a decimal that DuckDB holds: digits before its point, and after it."""
_TYPE = f"DECIMAL({_DIGITS + _PLACES},{_PLACES})"

_DEEP = object()
"""Stands for JSON that is nested too deep."""

_json = msgspec.json.Decoder(float_hook=decimal.Decimal)
_to_json = msgspec.json.Encoder(enc_hook=str, decimal_format="number")


@dataclass(frozen=True, slots=True)
class Shaped:
    """What a function made of rows: `left` ones it left out, and of `failed` ones it could make nothing.

    `columns` are those of `shaped`, by the name that was asked for, with their kinds.
    """

    columns: Mapping[str, tuple[str, str]]
    left: int
    failed: int


def code(function: config.Function) -> Code:
    """The text of a function; raises ConfigError when it cannot be read."""
    return functions.read(function)


def shape(
    book: workbook.Workbook,
    taken: models.Snapshot,
    usable: str,
    names: Mapping[str, bool],
    code: Code,
    limits: functions.Limits,
) -> Shaped:
    """Make `shaped` and `failed` of the usable rows of a snapshot, and add to `filtered`.

    `names` are the columns that the mapping may ask for, and whether it surely does. Raises ConfigError for a
    function that cannot be loaded, and for a column that is asked for and in no row that it returned; TidegateError
    when it ends its process too often.
    """
    book.execute("CREATE OR REPLACE TABLE failed (key VARCHAR, row BIGINT, why VARCHAR, safe VARCHAR)")
    asked = {name: _Column(f"column_{n}") for n, name in enumerate(names)}
    columns = ", ".join(f"{each.place} VARCHAR" for each in asked.values())
    book.execute(
        f"CREATE OR REPLACE TABLE shaped ({models.KEY} VARCHAR, {models.ROW} BIGINT{columns and ', '}{columns})"
    )
    left = failed = made = 0
    with functions.opened(code, limits) as run:
        for batch in book.batches(f"SELECT {_shown(taken)} FROM ({usable})"):
            done = _Batch(batch, taken, run)
            _insert(book, "filtered", row=done.left)
            _insert(book, "failed", **done.failures())
            left, failed, made = left + len(done.left), failed + len(done.failed), made + len(done.made)
            if done.made:
                texts = {each.place: each.texts(name, done.made, code.name) for name, each in asked.items()}
                rows = {models.KEY: done.keys, models.ROW: done.rows, **texts}
                book.insert("shaped", pa.table({name: pa.array(each) for name, each in rows.items()}))
    for name, is_needed in names.items():
        if made and is_needed and not asked[name].found:
            raise errors.ConfigError(
                f"the function {code.name} returns no row that has {name}; return it, with None where there is none"
            )
    steps.reached("rows shaped")
    there = {name: (each.place, each.kind()) for name, each in asked.items() if each.found or not made}
    return Shaped(there, left, failed)


def failures(book: workbook.Workbook, limit: int = 3) -> list[tuple[str, int]]:
    """Why rows failed, in sentences that may be logged, the most frequent first, and how many rows did."""
    found = book.rows(
        f"SELECT safe, count(*) AS n FROM failed GROUP BY safe ORDER BY n DESC, safe LIMIT {limit}"
    )
    return [(str(safe), int(str(count))) for safe, count in found]


def safe(book: workbook.Workbook, keys: Sequence[str]) -> dict[str, str]:
    """Of those of these rows that failed, why, in sentences that may be kept."""
    found = book.rows("SELECT key, safe FROM failed WHERE list_contains(?, key)", [list(keys)])
    return {str(key): str(why) for key, why in found}


def value(place: str, kind: str) -> str:
    """SQL for a column of `shaped` in its kind."""
    return place if kind in ("VARCHAR", "JSON", canonical.NUMERAL) else f"CAST({place} AS {kind})"


class _Batch:
    """Some rows, and what the function made of each."""

    def __init__(self, batch: pa.RecordBatch, taken: models.Snapshot, run: functions.Run) -> None:
        self.keys: list[str] = []
        self.rows: list[int] = []
        self.made: list[dict[str, Any]] = []
        self.left: list[int] = []
        self.failed: list[tuple[str, int, str, str]] = []
        keys, rows = (batch.column(name).to_pylist() for name in (models.KEY, models.ROW))
        records = _records(batch, taken)
        for key, row, record, outcome in zip(keys, rows, records, _outcomes(run, records), strict=True):
            if isinstance(outcome, answers.Left):
                self.left.append(row)
                continue
            if isinstance(outcome, answers.Failed):
                fails = f"The function {run.code.name} fails: "
                why, safe = (targets.ended(fails + each) for each in (outcome.why, outcome.safe))
                self.failed.append((key, row, why, safe))
                continue
            changed = _changed(taken.key, record, outcome.record)
            if changed:
                why = f"The function {run.code.name} changes {changed}, a column of the key, which stays as it is."
                self.failed.append((key, row, why, why))
                continue
            self.keys.append(key)
            self.rows.append(row)
            self.made.append(outcome.record)

    def failures(self) -> dict[str, list[Any]]:
        """The rows that failed, by column."""
        names = ("key", "row", "why", "safe")
        return {name: [each[n] for each in self.failed] for n, name in enumerate(names)}


class _Column:
    """A column that is asked for: its texts, and what kinds of values it had so far."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.found = False
        """Did any row have it?"""
        self._kinds: set[str] = set()

    def texts(self, name: str, rows: Sequence[dict[str, Any]], function: str) -> list[str | None]:
        """Its values as text."""
        keys = [key for key in set().union(*rows) if key.lower() == name.lower()]
        if len(keys) > 1 and name not in keys:
            raise errors.ConfigError(
                f"the function {function} returns several columns that differ from {name} in their case alone; "
                "return one of them"
            )
        if not keys:
            return [None] * len(rows)
        self.found = True
        key = name if name in keys else keys[0]
        return [None if (each := row.get(key)) is None else self._text(each) for row in rows]

    def kind(self) -> str:
        """The DuckDB type that holds all of its values, or JSON or NUMERAL; text where they differ."""
        if not self._kinds:
            return "VARCHAR"
        return next((type for kinds, type in _TYPES if self._kinds <= kinds), "VARCHAR")

    def _text(self, value: Any) -> str:
        kind, text = _TEXTS[type(value)](value)
        self._kinds.add(kind)
        return text


def _integer(value: int) -> tuple[str, str]:
    kind = "int" if abs(value) <= _EXACT else "long" if -_INT64 <= value < _INT64 else "big"
    return kind, str(value)


def _decimal(value: decimal.Decimal) -> tuple[str, str]:
    _, _, exponent = value.as_tuple()
    assert isinstance(exponent, int), "What is no number fails its record before."
    fits = exponent >= -_PLACES and value.adjusted() < _DIGITS
    return "decimal" if fits else "big", _numeral(value)


def _numeral(value: decimal.Decimal) -> str:
    """As `canonical` writes a number, so that it is the same among text."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _moment(value: dt.datetime) -> tuple[str, str]:
    text = value.astimezone(dt.UTC).replace(tzinfo=None).isoformat()
    return "time", f"{text.rstrip('0') if '.' in text else text}Z"


_TEXTS: Mapping[type, Callable[[Any], tuple[str, str]]] = {
    bool: lambda value: ("bool", str(value).lower()),
    int: _integer,
    float: lambda value: ("float", _numeral(decimal.Decimal(repr(value)))),
    decimal.Decimal: _decimal,
    str: lambda value: ("text", value),
    dt.datetime: _moment,
    dt.date: lambda value: ("date", value.isoformat()),
    list: lambda value: ("json", _to_json.encode(value).decode()),
    dict: lambda value: ("json", _to_json.encode(value).decode()),
}
"""A value's kind, and the text that it has in `shaped`."""

_TYPES = (
    (frozenset({"bool"}), "BOOLEAN"),
    (frozenset({"int", "long"}), "BIGINT"),
    (frozenset({"int", "long", "decimal"}), _TYPE),
    (frozenset({"int", "float"}), "DOUBLE"),
    (frozenset({"int", "long", "big", "decimal", "float"}), canonical.NUMERAL),
    (frozenset({"time"}), "TIMESTAMP WITH TIME ZONE"),
    (frozenset({"date"}), "DATE"),
    (frozenset({"json"}), "JSON"),
)
"""What holds all of these kinds; the first counts, and text holds any."""


def _outcomes(run: functions.Run, records: Sequence[dict[str, Any]]) -> Iterator[answers.Outcome]:
    """What becomes of each row; one that holds what no function is given fails by itself."""
    unfit = [next((name for name, each in record.items() if each is _DEEP), "") for record in records]
    made = run.records(record for record, name in zip(records, unfit, strict=True) if not name)
    for name in unfit:
        if name:
            why = f"{name} is nested more than {wire.DEEPEST} levels deep, which no function is given"
            yield answers.Failed(why, why, None, "error")
        else:
            yield next(made)
    for _ in made:
        raise AssertionError("There is one outcome for each record.")


def _changed(key: Sequence[str], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The column of the key that a function gives another value; empty where it gives none."""
    return next((name for name in key if name in after and after[name] != before[name]), "")


def _insert(book: workbook.Workbook, table: str, **columns: list[Any]) -> None:
    if any(columns.values()):
        book.insert(table, pa.table(columns))


def _shown(taken: models.Snapshot) -> str:
    """The columns that a function is given, in types that Arrow and Python have."""
    shown = [
        f"{_given(workbook.quoted(name), kind)} AS {workbook.quoted(name)}"
        for name, kind in taken.kinds.items()
    ]
    return ", ".join((models.KEY, models.ROW, *shown))


def _given(column: str, kind: str) -> str:
    if canonical.is_nested(kind):
        return f"CAST(to_json({column}) AS VARCHAR)"
    if kind in _PLAIN or kind in ("JSON", canonical.NUMERAL) or kind.startswith("DECIMAL("):
        return column
    if kind == "FLOAT":
        return f"CAST(CAST({column} AS VARCHAR) AS DOUBLE)"
    if kind == "DATE":
        return f"CASE WHEN {column} BETWEEN DATE {_EARLIEST} AND DATE '9999-12-31' THEN {column} END"
    if kind in canonical.TIMES:
        moment = f"CAST({column} AS TIMESTAMPTZ)"
        return (
            f"CASE WHEN {moment} BETWEEN TIMESTAMPTZ {_EARLIEST} AND TIMESTAMPTZ {_LATEST} THEN {moment} END"
        )
    if kind == "BLOB":
        return f"lower(hex({column}))"
    return f"CAST({column} AS VARCHAR)"


def _records(batch: pa.RecordBatch, taken: models.Snapshot) -> list[dict[str, Any]]:
    """Rows as a function sees them: JSON as what it says, numbers exact, times in UTC."""
    names = list(taken.kinds)
    columns = [_values(batch.column(name), kind) for name, kind in taken.kinds.items()]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(column: pa.Array, kind: str) -> Iterator[Any]:
    found: Any
    if kind == "JSON" or canonical.is_nested(kind):
        found = map(_document, column.to_pylist())
    elif kind == canonical.NUMERAL:
        found = (None if each is None else decimal.Decimal(each) for each in column.to_pylist())
    elif kind in _WIDE:
        found = (None if each is None else int(each) for each in column.to_pylist())
    elif pa.types.is_timestamp(column.type):
        found = (None if each is None else each.astimezone(dt.UTC) for each in column.to_pylist())
    else:
        found = iter(column.to_pylist())
    return found  # type: ignore[no-any-return]  # a list of Arrow's has values of any type


def _document(text: str | None) -> Any:
    """What JSON says, or that it is nested too deep; text that is none stays as it is."""
    if text is None:
        return None
    is_suspect = text.count("[") + text.count("{") >= wire.DEEPEST
    if is_suspect and deep.depth(text.encode()) >= wire.DEEPEST:
        return _DEEP
    try:
        return _json.decode(text)
    except msgspec.DecodeError:
        return text
