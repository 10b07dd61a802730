"""What every warehouse can say of a filter on plain columns, in its own words.

Texts compare byte by byte, as they do in the stage, for so Tidegate's tables are made; numbers and times compare as
what they are. Literals are bound: numbers with places and times as text that is cast, since drivers differ in what
they make of them.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlglot import exp

from tidegate.shape import questions, values
from tidegate.warehouse import sql

Bind = Callable[[object], exp.Expr]
"""Makes a parameter of a value."""

FALSE = exp.EQ(this=exp.Literal.number(1), expression=exp.Literal.number(0))

_MOMENTS = {
    "bigquery": "TIMESTAMP",
    "clickhouse": "DateTime64(6, 'UTC')",
    "databricks": "TIMESTAMP",
    "duckdb": "TIMESTAMP WITH TIME ZONE",
    "mysql": "DATETIME(6)",
    "postgres": "TIMESTAMP WITH TIME ZONE",
    "redshift": "TIMESTAMP WITH TIME ZONE",
    "snowflake": "TIMESTAMP_TZ",
    "tsql": "DATETIMEOFFSET(6)",
}
_ZONELESS = ("clickhouse", "mysql")
"""Whose literal times have no zone, and mean UTC."""
_DECIMALS = {"bigquery": "BIGNUMERIC", "clickhouse": "Decimal(38, 12)"}
_DOUBLES = {
    "databricks": "DOUBLE",
    "duckdb": "DOUBLE",
    "mysql": "DOUBLE",
    "postgres": "DOUBLE PRECISION",
    "snowflake": "DOUBLE",
    "tsql": "FLOAT",
}
"""Where what is no number (NaN) is equal to itself and above all others, as in the stage, or cannot be stored."""
_BYTES = {"mysql": "BINARY"}
"""What texts are cast to, so that no collation compares them; elsewhere Tidegate's tables have none."""
_LONG = 2**63
_WIDE = decimal.Context(prec=60)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_YEARS = {"clickhouse": (1900, 2299), "mysql": (1000, 9999)}
"""The years that a time may be from, where they are not all from 1 to 9999.

https://clickhouse.com/docs/sql-reference/data-types/datetime64, https://dev.mysql.com/doc/refman/8.4/en/datetime.html
"""


@dataclass(frozen=True, slots=True)
class Said:
    """A warehouse's answer to a question: true where it `holds`, false or NULL elsewhere.

    `doubt`: rows for which the answer may be wrong, either way. Where it is `holds` itself, every yes is in doubt.
    """

    holds: exp.Expr
    doubt: exp.Expr | None = None


class Columns:
    """Answers to questions about columns that are no JSON."""

    def __init__(self, dialect: sql.Dialect, bind: Bind) -> None:
        self._dialect, self._name, self._bind = dialect, dialect.name, bind

    def answer(self, question: questions.Question) -> Said | None:
        """None where the warehouse cannot say it."""
        column = named(self._dialect, question.column)
        match question.facet:
            case "state":
                return self._amount(question, column)
            case "truth":
                parts = [exp.EQ(this=column, expression=exp.Boolean(this=given)) for given in question.given]
                return Said(exp.or_(*parts))
            case "text":
                return self._text(question, column)
            case "number" if question.kind == "integer":
                return Said(self._whole(question, column, decimal.Decimal(1)))
            case "number":
                return self._number(question, column)
            case "instant" if question.kind == "integer":
                return Said(self._whole(question, column, decimal.Decimal(1_000_000)))
            case "instant" if question.kind == "time":
                return self._moment(question, column)
            case _:
                return None

    def _amount(self, question: questions.Question, column: exp.Expr) -> Said | None:
        missing = exp.Is(this=column, expression=exp.Null())
        if question.ask == "exists":
            return Said(exp.Not(this=missing))
        if question.ask == "is null" or question.kind != "text":
            return Said(missing)
        empty = self._any_of(column, [""])
        return Said(exp.or_(missing, empty.holds), empty.doubt)

    def _text(self, question: questions.Question, column: exp.Expr) -> Said | None:
        words = question.words
        if question.ignore_case:
            if self._name != "duckdb":
                return None  # every server folds case by rules of its own
            column = exp.Lower(this=column)
        if question.ask == "in":
            return self._any_of(column, words)
        if self._name == "postgres" and any("\0" in word for word in words):
            # No text there has NUL: none contains it, and of an order with it nothing is said.
            return Said(FALSE.copy()) if question.ask not in ("<", "<=", ">", ">=", "between") else None
        if question.ask in ("contains", "starts with", "ends with"):
            holds = part(self._name, question.ask, column, words[0], self._bind)
            return None if holds is None else Said(holds)
        if self._name in ("redshift", "tsql"):
            return None
        left = text_order(self._name, column)
        return Said(ordered(question.ask, left, [self._word(word) for word in words]))

    def _any_of(self, column: exp.Expr, words: list[str]) -> Said:
        """Is the text one of some?"""
        if self._name in ("postgres", "redshift"):
            words = [word for word in words if "\0" not in word]  # no text there has it
        if self._name == "redshift":
            # It may ignore blanks at the end, and may have a collation without case.
            holds = among(column, [self._bind(word) for word in words])
            return Said(holds, holds)
        if self._name == "tsql":
            # Blanks at the end are ignored there, whatever the collation; the length tells them.
            # https://learn.microsoft.com/sql/t-sql/language-elements/string-comparison-assignment
            binary = exp.Collate(this=column, expression=exp.Var(this="Latin1_General_100_BIN2"))
            length = called("DATALENGTH", column)
            given = [self._bind(word) for word in words]
            same = [
                exp.and_(
                    exp.EQ(this=binary, expression=each),
                    exp.EQ(this=length, expression=called("DATALENGTH", each)),
                )
                for each in given
            ]
            return Said(exp.or_(*same))
        kind = _BYTES.get(self._name)
        left = column if kind is None else cast(column, kind)
        return Said(among(left, [self._word(word) for word in words]))

    def _word(self, word: str) -> exp.Expr:
        return text(self._name, word, self._bind)

    def _whole(self, question: questions.Question, column: exp.Expr, scale: decimal.Decimal) -> exp.Expr:
        """Whole numbers between whole numbers, which need no other type."""
        parts, points = list[exp.Expr](), list[exp.Expr]()
        for low, high in _ranges(question, scale):
            first, last = max(low, -_LONG), min(high, _LONG - 1)
            if first > last:
                continue
            if first == last:
                points.append(self._bind(first))
                continue
            ends: list[exp.Expr] = []
            if low > -_LONG:
                ends.append(exp.GTE(this=column, expression=self._bind(first)))
            if high < _LONG - 1:
                ends.append(exp.LTE(this=column, expression=self._bind(last)))
            parts.append(
                exp.and_(*ends) if ends else exp.Not(this=exp.Is(this=column, expression=exp.Null()))
            )
        if points or not parts:
            parts.append(among(column, points))
        return exp.or_(*parts)

    def _number(self, question: questions.Question, column: exp.Expr) -> Said | None:
        if question.kind == "decimal":
            kind = _DECIMALS.get(self._name, f"DECIMAL(38, {values.PLACES})")
            return Said(spanned(question, column, lambda text: cast(self._bind(text), kind)))
        kind_of_double = _DOUBLES.get(self._name)
        if kind_of_double is None:
            return None
        return Said(spanned(question, column, lambda text: cast(self._bind(float(text)), kind_of_double)))

    def _moment(self, question: questions.Question, column: exp.Expr) -> Said | None:
        first, last = _YEARS.get(self._name, (1, 9999))
        told: dict[str, str] = {}
        for span in question.spans:
            for micros in (span.first, span.last):
                try:
                    when = _EPOCH + dt.timedelta(microseconds=int(micros))
                except OverflowError:
                    return None
                if not first <= when.year <= last:
                    return None
                told[micros] = when.replace(tzinfo=None).isoformat(" ", "microseconds")
        zone = "" if self._name in _ZONELESS else "+00:00"
        kind = _MOMENTS[self._name]
        return Said(spanned(question, column, lambda micros: cast(self._bind(told[micros] + zone), kind)))


def named(dialect: sql.Dialect, column: str) -> exp.Expr:
    """A column, as the warehouse stores its name."""
    return exp.Column(this=exp.to_identifier(dialect.fold(column), quoted=True))


def called(function: str, *arguments: exp.Expr) -> exp.Expr:
    """A call of a function that has this very name."""
    return exp.Anonymous(this=function, expressions=[each.copy() for each in arguments])


def cast(value: exp.Expr, kind: str) -> exp.Expr:
    """A value in a type of the warehouse's own."""
    return exp.Cast(this=value.copy(), to=exp.DataType(this=exp.DataType.Type.USERDEFINED, kind=kind))


def text_order(name: str, value: exp.Expr) -> exp.Expr:
    """A text that compares byte by byte, also by its order."""
    if name == "postgres":
        return exp.Collate(this=value.copy(), expression=exp.to_identifier("C", quoted=True))
    kind = _BYTES.get(name)
    return value if kind is None else cast(value, kind)


def text(name: str, word: str, bind: Bind) -> exp.Expr:
    """A text to compare with, of the type that has to be said."""
    kind = "TEXT" if name == "postgres" else _BYTES.get(name)
    return bind(word) if kind is None else cast(bind(word), kind)


def among(value: exp.Expr, given: Sequence[exp.Expr]) -> exp.Expr:
    """A value that is one of some; of none it is none."""
    if len(given) == 1:
        return exp.EQ(this=value, expression=given[0])
    return exp.In(this=value, expressions=list(given)) if given else FALSE.copy()


def part(name: str, ask: str, value: exp.Expr, word: str, bind: Bind) -> exp.Expr | None:
    """Does a text contain a word, or begin or end with it? None where the warehouse cannot say it exactly."""
    if name == "duckdb":
        return called(ask.replace(" ", "_"), value, bind(word))
    if name not in ("postgres", "mysql"):
        return None
    if name == "postgres":
        left, right, length = value, cast(bind(word), "TEXT"), len(word)
        found = called("STRPOS", left, right)
    else:
        left, right, length = cast(value, "BINARY"), cast(bind(word), "BINARY"), len(word.encode())
        found = called("LOCATE", right, left)
    if ask == "contains":
        return exp.GT(this=found, expression=exp.Literal.number(0))
    side = "LEFT" if ask == "starts with" else "RIGHT"
    return exp.EQ(this=called(side, left, exp.Literal.number(length)), expression=right)


_COMPARED: dict[str, type[exp.Binary]] = {"<": exp.LT, "<=": exp.LTE, ">": exp.GT, ">=": exp.GTE}


def ordered(ask: str, value: exp.Expr, given: Sequence[exp.Expr]) -> exp.Expr:
    """A value below, above or between others."""
    if ask == "between":
        return exp.and_(exp.GTE(this=value, expression=given[0]), exp.LTE(this=value, expression=given[1]))
    return _COMPARED[ask](this=value, expression=given[0])


def spanned(question: questions.Question, value: exp.Expr, literal: Callable[[str], exp.Expr]) -> exp.Expr:
    """A number or time compared with the question's spans; `literal` says one of their ends in SQL."""
    first, last = question.spans[0].first, question.spans[-1].last
    match question.ask:
        case "<" | ">=":
            return _COMPARED[question.ask](this=value, expression=literal(first))
        case "<=" | ">":
            return _COMPARED[question.ask](this=value, expression=literal(last))
        case "between":
            return ordered("between", value, [literal(first), literal(last)])
        case _:
            points = [literal(span.first) for span in question.spans if span.first == span.last]
            parts = [
                ordered("between", value, [literal(span.first), literal(span.last)])
                for span in question.spans
                if span.first != span.last
            ]
            return exp.or_(*([among(value, points)] if points else []), *parts)


def _ranges(question: questions.Question, scale: decimal.Decimal) -> list[tuple[int, int]]:
    """The whole numbers, from first to last, that are meant; ends beyond 64 bits stand for none."""
    spans = [
        (_WIDE.divide(decimal.Decimal(span.first), scale), _WIDE.divide(decimal.Decimal(span.last), scale))
        for span in question.spans
    ]
    first, last = spans[0][0], spans[-1][1]
    match question.ask:
        case "<":
            return [(-_LONG, _up(first) - 1)]
        case "<=":
            return [(-_LONG, _down(last))]
        case ">":
            return [(_down(last) + 1, _LONG)]
        case ">=":
            return [(_up(first), _LONG)]
        case "between":
            return [(_up(first), _down(last))]
        case _:
            return [(_up(low), _down(high)) for low, high in spans]


def _up(value: decimal.Decimal) -> int:
    return int(value.to_integral_value(decimal.ROUND_CEILING))


def _down(value: decimal.Decimal) -> int:
    return int(value.to_integral_value(decimal.ROUND_FLOOR))
