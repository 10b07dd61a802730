"""Conditions over rows: compiled once, then asked of any number of Arrow tables.

    predicate = filters.compile(condition, table.schema)
    table.filter(predicate.matches(table))

A DuckDB inside the process answers, which can reach no file and no network. Only names of our own stand in its
statements: fields are columns of the table it is given, literals are bound.

What is null or missing satisfies no comparison, and therefore every negative one: `is not pro` holds for a customer
without a plan. Three operators look at how much is there, and each says more than the one before: `exists` (the key
is there), `is not null` (and has a value), `is not empty` (and the value is more than an empty text, list or
object). A column does not tell a field that was left out from one that is null, so of a column `exists` is
`is not null`.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tidegate import config
from tidegate.config import conditions
from tidegate.shape import questions, stage, values

NEGATIVE = questions.NEGATIVE
moves = questions.moves

_DECIMAL = pa.decimal128(38, values.PLACES)
_DAY = 86_400_000_000
_FAR = 9_000_000_000_000
"""Seconds, beyond every date, whose microseconds are still an integer of 64 bits."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """What one column of the table that DuckDB is given is made from."""

    column: str
    steps: tuple[str, ...]
    kind: questions.Kind
    facet: questions.Facet


@dataclass(frozen=True, slots=True)
class Predicate:
    """A compiled filter; `columns` are the top-level columns that it needs."""

    columns: frozenset[str]
    _sql: str
    _slots: tuple[_Slot, ...]
    _bound: tuple[object, ...]

    def matches(self, table: pa.Table) -> pa.BooleanArray:
        """For each row whether the filter holds, never NULL; may be called from any thread."""
        inside = functools.cache(lambda column, steps: _inside(table.column(column), steps))
        arrays: list[pa.ChunkedArray | pa.Array] = []
        for slot in self._slots:
            if slot.kind == "json":
                arrays += _seen(inside(slot.column, slot.steps), slot.facet)
            else:
                arrays.append(_typed(table.column(slot.column), slot))
        given = pa.table(arrays, names=[f"c{n}" for n in range(len(arrays))])
        with stage.engine().cursor() as session:
            session.register("given", given)
            answer = session.sql(f"SELECT {self._sql} AS holds FROM given", params=list(self._bound))
            return answer.to_arrow_table().column("holds").combine_chunks()


def compile(filter: config.Filter, schema: pa.Schema, now: dt.datetime | None = None) -> Predicate:
    """Make a filter ready for tables of a schema, or of one that has its columns at least.

    Relative dates (`30 days ago`) count from `now`, a moment with its zone, or from when this is called: give all
    parts of one run the same.
    Raises ConfigError as `questions.asked` does.
    """
    compiler = _Compiler(schema, now or dt.datetime.now(dt.UTC))
    sql = compiler.group(filter)
    slots = tuple(compiler.slots)
    return Predicate(frozenset(slot.column for slot in slots), sql, slots, tuple(compiler.bound))


class _Compiler:
    """Writes one expression, and notes the columns and literals that it speaks of."""

    def __init__(self, schema: pa.Schema, now: dt.datetime) -> None:
        self.schema, self.now = schema, now
        self.slots: dict[_Slot, int] = {}
        self.bound: list[object] = []
        self._columns = 0

    def group(self, filter: config.Filter) -> str:
        """SQL that is true or false, never NULL."""
        if isinstance(filter, conditions.Condition):
            asked = questions.asked(filter, self.schema, self.now)
            holds = " OR ".join(map(self.answer, asked.questions))
            return f"{'NOT ' if asked.negated else ''}coalesce({holds}, false)"
        if isinstance(filter, conditions.All):
            return "(" + " AND ".join(map(self.group, filter.all)) + ")"
        return "(" + " OR ".join(map(self.group, filter.any)) + ")"

    def answer(self, question: questions.Question) -> str:
        """SQL that is true where a question is answered with yes, and otherwise false or NULL."""
        match question.facet:
            case "state":
                return self._amount(question)
            case "truth":
                chosen = self._bind(list(question.given), "BOOLEAN[]")
                return f"list_contains({chosen}, {self._slot(question)})"
            case "items":
                listed = self._slot(question)
                if question.ignore_case:
                    listed = f"list_transform({listed}, lambda each: lower(each))"
                return f"list_contains({listed}, {self._bind(question.words[0], 'VARCHAR')})"
            case "text":
                return self._text(question)
            case _:
                return self._measured(question)

    def _amount(self, question: questions.Question) -> str:
        """How much is there."""
        seen = self._slot(question)
        if question.kind == "json":
            least = {"exists": f"> {values.MISSING}", "is null": f"<= {values.NULL}"}
            return f"{seen} {least.get(question.ask, f'<= {values.EMPTY}')}"
        if question.ask == "exists":
            return f"{seen} IS NOT NULL"
        empty = f" OR {seen} = ''" if question.ask == "is empty" and question.kind == "text" else ""
        return f"({seen} IS NULL{empty})"

    def _text(self, question: questions.Question) -> str:
        seen, words = self._slot(question), question.words
        if question.ignore_case:
            seen = f"lower({seen})"
        match question.ask:
            case "contains" | "starts with" | "ends with":
                return f"{question.ask.replace(' ', '_')}({seen}, {self._bind(words[0], 'VARCHAR')})"
            case "between":
                low, high = (self._bind(word, "VARCHAR") for word in words)
                return f"({seen} >= {low} AND {seen} <= {high})"
            case "in" if len(words) > 1:
                return f"list_contains({self._bind(words, 'VARCHAR[]')}, {seen})"
            case ask:
                return f"{seen} {'=' if ask == 'in' else ask} {self._bind(words[0], 'VARCHAR')}"

    def _measured(self, question: questions.Question) -> str:
        """A number or a time, whose lower and upper bound are compared with spans."""
        low, high = self._bounds(question)
        first, last, kind = question.spans[0].first, question.spans[-1].last, _sql_type(question)
        match question.ask:
            case "<":
                return f"{low} < {self._bind(first, kind)}"
            case "<=":
                return f"{high} <= {self._bind(last, kind)}"
            case ">":
                return f"{high} > {self._bind(last, kind)}"
            case ">=":
                return f"{low} >= {self._bind(first, kind)}"
            case "in" if len(question.given) > 1:
                return self._one_of(question, low, high)
            case _:
                return f"({low} >= {self._bind(first, kind)} AND {high} <= {self._bind(last, kind)})"

    def _one_of(self, question: questions.Question, low: str, high: str) -> str:
        points = [span.first for span in question.spans if span.first == span.last]
        days = [span.first for span in question.spans if span.first != span.last]
        kind = _sql_type(question)
        found = f"({low} = {high} AND list_contains({self._bind(points, f'{kind}[]')}, {low}))"
        if days:
            day = f"{low} - (({low} % {_DAY}) + {_DAY}) % {_DAY}"
            found = f"({found} OR list_contains({self._bind(days, f'{kind}[]')}, {day}))"
        return found

    def _bounds(self, question: questions.Question) -> tuple[str, str]:
        """The lower and the upper bound of a number or a time."""
        slot = self._slot(question)
        if question.facet == "number" and question.kind == "json":
            return slot, f"c{int(slot[1:]) + 1}"
        if question.facet == "number" and question.kind == "integer":
            slot = f"CAST({slot} AS {_sql_type(question)})"
        return slot, slot

    def _bind(self, value: object, kind: str) -> str:
        self.bound.append(value)
        return f"CAST(${len(self.bound)} AS {kind})"

    def _slot(self, question: questions.Question) -> str:
        """The column that shows a facet of a field."""
        slot = _Slot(question.column, question.steps, question.kind, question.facet)
        if slot not in self.slots:
            self.slots[slot] = self._columns
            self._columns += 2 if slot.kind == "json" and slot.facet == "number" else 1
        return f"c{self.slots[slot]}"


def _inside(column: pa.ChunkedArray, steps: tuple[str, ...]) -> list[bytes | None]:
    """A path inside every document of a JSON column."""
    find = values.finder(steps)
    documents = column.cast(pa.binary()).to_pylist()
    return [None if each is None else find(each) for each in documents]


def _seen(raws: list[bytes | None], facet: questions.Facet) -> list[pa.Array]:
    """JSON values as the facet shows them: one column, of numbers the lower and the upper bounds."""
    if facet == "state":
        return [pa.array([values.MISSING if raw is None else values.state(raw) for raw in raws], pa.int8())]
    if facet == "number":
        pairs = [(raw and values.bounds(raw)) or (None, None) for raw in raws]
        return [pa.array([pair[n] for pair in pairs], _DECIMAL) for n in (0, 1)]
    look, kind = _LOOKS[facet]
    return [pa.array([None if raw is None else look(raw) for raw in raws], kind)]


_LOOKS: dict[questions.Facet, tuple[Callable[[bytes], object], pa.DataType]] = {
    "text": (values.shown, pa.string()),
    "instant": (values.instant, pa.int64()),
    "truth": (values.truth, pa.bool_()),
    "items": (values.items, pa.list_(pa.string())),
}


def _typed(column: pa.ChunkedArray, slot: _Slot) -> pa.ChunkedArray | pa.Array:
    """A column of any other type as the facet shows it; times are microseconds since 1970."""
    if slot.facet != "instant":
        return column
    if slot.kind == "text":
        found = [None if each is None else values.moment_in(each) for each in column.to_pylist()]
        return pa.array(found, pa.int64())
    if slot.kind == "integer":
        near = pc.max_element_wise(
            pc.min_element_wise(column, _FAR, skip_nulls=False), -_FAR, skip_nulls=False
        )
        return pc.multiply(near.cast(pa.int64()), 1_000_000)
    return column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())


def _sql_type(question: questions.Question) -> str:
    if question.facet == "instant":
        return "BIGINT"
    return "DOUBLE" if question.kind == "double" else f"DECIMAL(38,{values.PLACES})"
