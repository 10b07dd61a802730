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

import decimal
import difflib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import pyarrow as pa
import pyarrow.compute as pc

from tidegate import config, errors
from tidegate.config import conditions
from tidegate.shape import values

if TYPE_CHECKING:
    import duckdb

Kind = Literal["text", "integer", "decimal", "double", "boolean", "time", "json"]
Facet = Literal["state", "text", "number", "instant", "truth", "items"]
"""One way to look at a field: how much is there, as text, number, time or boolean, or the elements of a list."""

NEGATIVE: dict[str, str] = {
    "is not": "is",
    "is not one of": "is one of",
    "is not between": "is between",
    "does not contain": "contains",
    "is not empty": "is empty",
    "is not null": "is null",
    "does not exist": "exists",
}
"""Operators that hold exactly where another does not."""

_ORDER = {"is before": "<", "is on or before": "<=", "is after": ">", "is on or after": ">="}
_NAMED: dict[Kind, str] = {
    "text": "text",
    "integer": "whole numbers",
    "decimal": "numbers",
    "double": "numbers",
    "boolean": "true and false",
    "time": "times",
    "json": "objects",
}
_FACETS: dict[Kind, tuple[Facet, ...]] = {
    "text": ("text", "instant", "state"),
    "integer": ("number", "instant", "state"),
    "decimal": ("number", "state"),
    "double": ("number", "state"),
    "boolean": ("truth", "state"),
    "time": ("instant", "state"),
    "json": ("text", "number", "instant", "truth", "items", "state"),
}
_DECIMAL = pa.decimal128(38, values.PLACES)
_DAY = 86_400_000_000
_FAR = 9_000_000_000_000
"""Seconds, beyond every date, whose microseconds are still an integer of 64 bits."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """What one column of the table that DuckDB is given is made from."""

    column: str
    steps: tuple[str, ...]
    kind: Kind
    facet: Facet


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
        with _engine().cursor() as session:
            session.register("given", given)
            answer = session.sql(f"SELECT {self._sql} AS holds FROM given", params=list(self._bound))
            return answer.to_arrow_table().column("holds").combine_chunks()


def compile(filter: config.Filter, schema: pa.Schema) -> Predicate:
    """Make a filter ready for tables of a schema, or of one that has its columns at least.

    Raises ConfigError in one sentence for a field that is not there, with the nearest name, an operator that does
    not suit the field, and a value that does not fit. Values are never repeated: they may come from a secret.
    """
    compiler = _Compiler(schema)
    sql = compiler.group(filter)
    slots = tuple(compiler.slots)
    return Predicate(frozenset(slot.column for slot in slots), sql, slots, tuple(compiler.bound))


@functools.cache
def _engine() -> duckdb.DuckDBPyConnection:
    """The DuckDB of this process; every use takes a cursor of its own."""
    import duckdb

    engine = duckdb.connect(":memory:", config={"enable_external_access": False, "threads": 1})
    engine.execute("SET lock_configuration = true")
    return engine


@dataclass(frozen=True, slots=True)
class _Asked:
    """A positive condition on a field that was found."""

    column: str
    steps: tuple[str, ...]
    kind: Kind
    op: str
    value: object
    ignore_case: bool


class _Compiler:
    """Writes one expression, and notes the columns and literals that it speaks of."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.slots: dict[_Slot, int] = {}
        self.bound: list[object] = []
        self._columns = 0

    def group(self, filter: config.Filter) -> str:
        """SQL that is true or false, never NULL."""
        if isinstance(filter, conditions.Condition):
            return self.condition(filter)
        if isinstance(filter, conditions.All):
            return "(" + " AND ".join(map(self.group, filter.all)) + ")"
        return "(" + " OR ".join(map(self.group, filter.any)) + ")"

    def condition(self, asked: conditions.Condition) -> str:
        """One condition; a negative one is the other turned round."""
        column, steps = self._found(asked.field)
        kind = _kind(self.schema.field(column))
        if steps and kind != "json":
            raise errors.ConfigError(
                f"the filter names {asked.field}, but {column} holds {_NAMED[kind]} and has nothing inside it"
            )
        op = NEGATIVE.get(asked.op, asked.op)
        try:
            holds = self._positive(_Asked(column, steps, kind, op, asked.value, asked.ignore_case))
        except errors.ConfigError as reason:
            raise errors.ConfigError(
                f"the filter cannot ask `{asked.op}` of {asked.field}: {reason}"
            ) from None
        return f"{'NOT ' if asked.op in NEGATIVE else ''}coalesce({holds}, false)"

    def _found(self, field: str) -> tuple[str, tuple[str, ...]]:
        """The column and the path inside it."""
        if field in self.schema.names:
            return field, ()
        try:
            column, *steps = values.path(field)
        except ValueError as reason:
            raise errors.ConfigError(
                f"the filter names {field}, which is no field: {reason}; put dots between names, and quotes around "
                "one that has dots itself"
            ) from None
        if column in self.schema.names:
            return column, tuple(steps)
        near = difflib.get_close_matches(column, self.schema.names, n=1)
        hint = f"did you mean {'.'.join([near[0], *steps])}?" if near else "check how it is written."
        raise errors.ConfigError(f"the filter names {field}, which is not there; {hint}")

    def _positive(self, asked: _Asked) -> str:
        if asked.op in ("exists", "is null", "is empty"):
            return self._amount(asked)
        if asked.op in ("is true", "is false"):
            return f"{self._slot(asked, 'truth')} = {asked.op.removeprefix('is ')}"
        if asked.op in ("contains", "starts with", "ends with"):
            return self._part(asked)
        literals = asked.value if isinstance(asked.value, tuple) else (asked.value,)
        facets = [self._facet(asked, literal) for literal in literals]
        if asked.op == "is one of":
            pairs = list(zip(facets, literals, strict=True))
            lists = [
                (facet, [each for other, each in pairs if other == facet]) for facet in dict.fromkeys(facets)
            ]
            return "(" + " OR ".join(self._one_of(asked, facet, some) for facet, some in lists) + ")"
        if len(set(facets)) > 1:
            raise errors.ConfigError("both values must be of one kind")
        return self._compared(asked, facets[0], literals)

    def _amount(self, asked: _Asked) -> str:
        """How much is there."""
        seen = self._slot(asked, "state")
        if asked.kind == "json":
            least = {"exists": f"> {values.MISSING}", "is null": f"<= {values.NULL}"}
            return f"{seen} {least.get(asked.op, f'<= {values.EMPTY}')}"
        if asked.op == "exists":
            return f"{seen} IS NOT NULL"
        empty = f" OR {seen} = ''" if asked.op == "is empty" and asked.kind == "text" else ""
        return f"({seen} IS NULL{empty})"

    def _part(self, asked: _Asked) -> str:
        """Text that contains text, a list that contains a value."""
        if asked.kind == "text" and not isinstance(asked.value, str):
            raise errors.ConfigError("the value must be text; put it in quotes")
        function = {"contains": "contains", "starts with": "starts_with", "ends with": "ends_with"}[asked.op]
        part = self._bind(self._word(asked, asked.value), "VARCHAR")
        holds = f"{function}({_folded(self._slot(asked, 'text'), asked)}, {part})"
        if asked.kind != "json" or asked.op != "contains":
            return holds
        listed = self._slot(asked, "items")
        if asked.ignore_case:
            listed = f"list_transform({listed}, lambda each: lower(each))"
        return f"({holds} OR list_contains({listed}, {part}))"

    def _facet(self, asked: _Asked, literal: object) -> Facet:
        """As what a field and a literal are compared."""
        if asked.op in _ORDER or asked.kind == "time":
            return "instant"
        if asked.kind == "boolean" or (asked.kind == "json" and isinstance(literal, bool)):
            if not isinstance(literal, bool):
                raise errors.ConfigError("the value must be true or false")
            if asked.op not in ("is", "is one of"):
                raise errors.ConfigError("true and false have no order")
            return "truth"
        if asked.kind == "text" and not isinstance(literal, str):
            raise errors.ConfigError("it holds text, so the value must be text; put it in quotes")
        if asked.kind == "text" or (asked.kind == "json" and isinstance(literal, str)):
            return "text"
        return "number"

    def _compared(self, asked: _Asked, facet: Facet, literals: Sequence[object]) -> str:
        """The field against one literal, or between two."""
        op = _ORDER.get(asked.op, asked.op)
        if facet == "truth":
            return f"{self._slot(asked, facet)} = {self._bind(literals[0], 'BOOLEAN')}"
        if facet == "text":
            lo = hi = _folded(self._slot(asked, facet), asked)
            words = [self._word(asked, literal) for literal in literals]
            first, last, kind, wrong = words[0], words[-1], "VARCHAR", words[0] > words[-1]
        else:
            lo, hi = self._bounds(asked, facet)
            spans = [_span(facet, literal) for literal in literals]
            first, last, kind = spans[0].first, spans[-1].last, _sql_type(asked, facet)
            wrong = decimal.Decimal(first) > decimal.Decimal(last)
        if wrong:
            raise errors.ConfigError("the lower value must come first")
        match op:
            case "<":
                return f"{lo} < {self._bind(first, kind)}"
            case "<=":
                return f"{hi} <= {self._bind(last, kind)}"
            case ">":
                return f"{hi} > {self._bind(last, kind)}"
            case ">=":
                return f"{lo} >= {self._bind(first, kind)}"
            case _:
                return f"({lo} >= {self._bind(first, kind)} AND {hi} <= {self._bind(last, kind)})"

    def _one_of(self, asked: _Asked, facet: Facet, literals: Sequence[object]) -> str:
        if facet == "truth":
            return f"list_contains({self._bind(list(literals), 'BOOLEAN[]')}, {self._slot(asked, facet)})"
        if facet == "text":
            words = [self._word(asked, literal) for literal in literals]
            held = _folded(self._slot(asked, facet), asked)
            return f"list_contains({self._bind(words, 'VARCHAR[]')}, {held})"
        spans = [_span(facet, literal) for literal in literals]
        lo, hi = self._bounds(asked, facet)
        points = [span.first for span in spans if span.first == span.last]
        days = [span.first for span in spans if span.first != span.last]
        kind = _sql_type(asked, facet)
        found = f"({lo} = {hi} AND list_contains({self._bind(points, f'{kind}[]')}, {lo}))"
        if days:
            day = f"{lo} - (({lo} % {_DAY}) + {_DAY}) % {_DAY}"
            found = f"({found} OR list_contains({self._bind(days, f'{kind}[]')}, {day}))"
        return found

    def _word(self, asked: _Asked, literal: object) -> str:
        word = values.word(cast("conditions.Scalar", literal))
        return _lowered(word) if asked.ignore_case else word

    def _bind(self, value: object, kind: str) -> str:
        self.bound.append(value)
        return f"CAST(${len(self.bound)} AS {kind})"

    def _bounds(self, asked: _Asked, facet: Facet) -> tuple[str, str]:
        """The lower and the upper bound of a number or a time."""
        slot = self._slot(asked, facet)
        if asked.kind == "json" and facet == "number":
            return slot, f"c{int(slot[1:]) + 1}"
        if asked.kind == "integer" and facet == "number":
            slot = f"CAST({slot} AS {_sql_type(asked, facet)})"
        return slot, slot

    def _slot(self, asked: _Asked, facet: Facet) -> str:
        """The column that shows a facet of a field; raises ConfigError when the field has no such side."""
        if facet not in _FACETS[asked.kind]:
            raise errors.ConfigError(f"it holds {_NAMED[asked.kind]}")
        slot = _Slot(asked.column, asked.steps, asked.kind, facet)
        if slot not in self.slots:
            self.slots[slot] = self._columns
            self._columns += 2 if slot.kind == "json" and facet == "number" else 1
        return f"c{self.slots[slot]}"


def _kind(field: pa.Field) -> Kind:
    """What a column holds; raises ConfigError for what no table of Tidegate has."""
    if (field.metadata or {}).get(b"tidegate") == b"json":
        return "json"
    for holds, kind in _KINDS:
        if holds(field.type):
            return kind
    raise errors.ConfigError(
        f"the column {field.name} has the type {field.type}, which no filter can look at"
    )


_KINDS: tuple[tuple[Callable[[pa.DataType], bool], Kind], ...] = (
    (pa.types.is_string, "text"),
    (pa.types.is_large_string, "text"),
    (pa.types.is_integer, "integer"),
    (pa.types.is_decimal, "decimal"),
    (pa.types.is_floating, "double"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_timestamp, "time"),
)


def _inside(column: pa.ChunkedArray, steps: tuple[str, ...]) -> list[bytes | None]:
    """A path inside every document of a JSON column."""
    documents = column.cast(pa.binary()).to_pylist()
    return [None if each is None else values.inside(each, steps) for each in documents]


def _seen(raws: list[bytes | None], facet: Facet) -> list[pa.Array]:
    """JSON values as the facet shows them: one column, of numbers the lower and the upper bounds."""
    if facet == "state":
        return [pa.array([values.MISSING if raw is None else values.state(raw) for raw in raws], pa.int8())]
    if facet == "number":
        pairs = [(raw and values.bounds(raw)) or (None, None) for raw in raws]
        return [pa.array([pair[n] for pair in pairs], _DECIMAL) for n in (0, 1)]
    look, kind = _LOOKS[facet]
    return [pa.array([None if raw is None else look(raw) for raw in raws], kind)]


_LOOKS: dict[Facet, tuple[Callable[[bytes], object], pa.DataType]] = {
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


def _span(facet: Facet, literal: object) -> values.Span:
    given = cast("conditions.Scalar", literal)
    return values.moment(given) if facet == "instant" else values.number(given)


def _sql_type(asked: _Asked, facet: Facet) -> str:
    if facet == "instant":
        return "BIGINT"
    return "DOUBLE" if asked.kind == "double" else f"DECIMAL(38,{values.PLACES})"


def _folded(held: str, asked: _Asked) -> str:
    return f"lower({held})" if asked.ignore_case else held


def _lowered(word: str) -> str:
    """A literal in lower case, by the same rules as the rows."""
    with _engine().cursor() as session:
        ((found,),) = session.execute("SELECT lower($1)", [word]).fetchall()
    return str(found)
