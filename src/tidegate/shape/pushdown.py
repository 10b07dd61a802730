"""Filters inside a warehouse: the same tree as SQL over a table as Tidegate's adapters store it.

    pushed = pushdown.split(condition, columns, dialect, now)
    rows = warehouse.fetch(f"SELECT ... FROM ... WHERE {pushed.sql}", pushed.parameters)

The SQL never loses a row for which the filter holds. What a warehouse cannot say is left out: a part of `all` by
itself, one of `any` with all of it. Where it is sure but of a few rows (those with numbers of many places inside
JSON, say) these come with the others. Whoever reads asks `filters.Predicate` again, unless the split is `exact`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from sqlglot import exp

from tidegate import config
from tidegate.config import conditions
from tidegate.shape import pushed_columns, pushed_documents, pushed_json, pushed_jsonb, questions
from tidegate.shape.pushed_columns import Said
from tidegate.warehouse import base, ddl, sql

MOST = 1_000
"""Literals in one condition of SQL; warehouses take 2,100 parameters, and more."""

_DOCUMENTS: dict[str, type[pushed_documents.Documents]] = {
    "duckdb": pushed_json.DuckDB,
    "mysql": pushed_json.MySQL,
    "postgres": pushed_jsonb.Postgres,
}
_PARAMETER = "TIDEGATE_PUSHED_{}_"
_PARAMETERS = re.compile(_PARAMETER.format("([0-9]+)"))


@dataclass(frozen=True, slots=True)
class Pushed:
    """A condition of SQL in a warehouse's own words, its parameters in their order.

    `exact`: it is true for just those rows for which the filter holds. Else for some more; `1 = 1` where nothing of
    the filter can be said.
    """

    sql: str
    parameters: tuple[object, ...]
    exact: bool


def split(
    filter: config.Filter,
    columns: Mapping[str, str],
    dialect: sql.Dialect,
    now: dt.datetime | None = None,
    *,
    first: int = 0,
) -> Pushed:
    """What a warehouse can tell of a filter over a table; raises ConfigError as `filters.compile` does.

    `columns` are the table's, by name with the types of `ddl.OURS`; columns of other types are left to the stage.
    Relative dates count from `now`, which must be the moment that `filters.compile` is given. `first` is the number
    of the first parameter, where the dialect counts them and the statement has others before.
    """
    splitter = _Splitter(columns, dialect, now or dt.datetime.now(dt.UTC))
    found = splitter.group(filter)
    if found is None:
        return Pushed("1 = 1", (), False)
    tree = exp.paren(found.sql) if isinstance(found.sql, exp.Connector) else found.sql
    if dialect.finish is not None:
        tree = tree.transform(dialect.finish)
    parameters: list[object] = []

    def placed(mark: re.Match[str]) -> str:
        parameters.append(splitter.parameters[int(mark[1])])
        number = first + len(parameters) - 1
        return dialect.parameter.format(number) if "{}" in dialect.parameter else dialect.parameter

    text = _PARAMETERS.sub(placed, tree.sql(dialect=dialect.name))
    return Pushed(text, tuple(parameters), found.exact)


@dataclass(frozen=True, slots=True)
class _Part:
    """A condition that holds wherever a part of the filter does; `exact`: and nowhere else."""

    sql: exp.Expr
    exact: bool


class _Splitter:
    """Turns a filter into a tree of SQL, and notes its parameters."""

    def __init__(self, columns: Mapping[str, str], dialect: sql.Dialect, now: dt.datetime) -> None:
        self.now = now
        self.parameters: list[object] = []
        self.columns = columns
        self.schema = pa.schema(
            [
                pa.field(
                    name, ddl.ARROW.get(kind, pa.string()), metadata=base.JSON if kind == "JSON" else None
                )
                for name, kind in columns.items()
            ]
        )
        self.plain = pushed_columns.Columns(dialect, self._bound)
        documents = _DOCUMENTS.get(dialect.name)
        self.documents = None if documents is None else documents(dialect, self._bound)

    def group(self, filter: config.Filter) -> _Part | None:
        """None says nothing: it may hold for every row."""
        if isinstance(filter, conditions.Condition):
            return self._condition(filter)
        parts = [
            self.group(part) for part in (filter.all if isinstance(filter, conditions.All) else filter.any)
        ]
        told = [part for part in parts if part is not None]
        complete = len(told) == len(parts)
        if isinstance(filter, conditions.AnyOf):
            if not complete:
                return None
            return _Part(exp.or_(*(part.sql for part in told)), all(part.exact for part in told))
        if not told:
            return None
        return _Part(exp.and_(*(part.sql for part in told)), complete and all(part.exact for part in told))

    def _condition(self, condition: conditions.Condition) -> _Part | None:
        column, _ = questions.found(condition.field, self.schema)
        if self.columns[column] not in ddl.OURS:
            return None
        asked = questions.asked(condition, self.schema, self.now)
        answers = [self._answer(question) for question in asked.questions]
        said = [answer for answer in answers if answer is not None]
        if asked.negated:
            said = [each for each in said if each.doubt is not each.holds]
        complete = len(said) == len(answers)
        if not said or not (complete or asked.negated):
            return None
        holds = exp.or_(*(each.holds for each in said))
        doubts = [each.doubt for each in said if each.doubt is not None]
        if not asked.negated:
            more = [each.doubt for each in said if each.doubt is not None and each.doubt is not each.holds]
            return _Part(exp.or_(holds, *more), not doubts)
        # Where a question is unanswered (NULL) its opposite holds; and not every warehouse has NOT for NULL.
        opposite = exp.EQ(
            this=exp.Case(
                ifs=[exp.If(this=holds, true=exp.Literal.number(0))], default=exp.Literal.number(1)
            ),
            expression=exp.Literal.number(1),
        )
        return _Part(exp.or_(opposite, *doubts), complete and not doubts)

    def _answer(self, question: questions.Question) -> Said | None:
        if len(question.given) > MOST - len(self.parameters):
            return None
        before = len(self.parameters)
        if question.kind != "json":
            answer = self.plain.answer(question)
        else:
            answer = self.documents.answer(question) if self.documents is not None else None
        if answer is None:
            del self.parameters[before:]
        return answer

    def _bound(self, value: object) -> exp.Expr:
        self.parameters.append(value)
        return exp.Var(this=_PARAMETER.format(len(self.parameters) - 1))
