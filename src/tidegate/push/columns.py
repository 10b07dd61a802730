"""The columns from which a push takes its fields: those of its model, or those that its function returns.

A name is a column's, in any case, or leads with dots into one that holds JSON: `address.city`, `tags.0`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tidegate import config, errors
from tidegate.config import pushes
from tidegate.push import canonical, models, shaping, workbook
from tidegate.shape import expressions, values
from tidegate.warehouse import ddl


@dataclass(frozen=True, slots=True)
class Columns:
    """What a mapping can name, by DuckDB type, JSON or NUMERAL; `query` gives the rows as expressions see them."""

    kinds: Mapping[str, str]
    query: str

    def found(self, name: str) -> tuple[str, str]:
        """SQL for what a name leads to, and its kind; raises ConfigError where there is no such column."""
        column, steps = self.path(name)
        quoted, kind = workbook.quoted(column), self.kinds[column]
        if not steps:
            return quoted, kind
        if canonical.is_nested(kind):
            document = f"CAST(to_json({quoted}) AS VARCHAR)"
        elif kind == "JSON":
            document = f"CASE WHEN json_valid({quoted}) THEN {quoted} END"
        else:
            raise errors.ConfigError(f"{column} holds single values, and has no {'.'.join(steps)} inside it")
        pointer = "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in steps)
        return f"json_extract({document}, {ddl.literal(pointer)})", "JSON"

    def path(self, name: str) -> tuple[str, tuple[str, ...]]:
        """The column that a name means, and the path inside it; raises ConfigError where there is none."""
        lower = {column.lower() for column in self.kinds}
        if name.lower() not in lower and "." in name:
            try:
                column, *steps = values.path(name)
            except ValueError as reason:
                raise errors.ConfigError(f"{name} is no column, and leads into none: {reason}") from None
            if column.lower() in lower:
                return models.named(column, list(self.kinds)), tuple(steps)
        return models.named(name, list(self.kinds)), ()


def of(taken: models.Snapshot) -> Columns:
    """The columns of a model."""
    return Columns(taken.kinds, f"SELECT {every(taken)} FROM source AS model")


def shaped(made: shaping.Shaped) -> Columns:
    """The columns that a function returned, as far as they are asked for."""
    shown = ", ".join(
        f"{shaping.value(place, kind)} AS {workbook.quoted(name)}"
        for name, (place, kind) in made.columns.items()
    )
    kinds = {name: kind for name, (_, kind) in made.columns.items()}
    keys = f"{models.KEY}, {models.ROW}"
    return Columns(kinds, f"SELECT {keys}{shown and ', '}{shown} FROM shaped AS model")


def every(taken: models.Snapshot) -> str:
    """All columns of a model, as SQL shows them."""
    return ", ".join(workbook.quoted(name) for name in taken.kinds)


def asked(book: workbook.Workbook, push: config.Push) -> dict[str, bool]:
    """The columns that the fields and matches of a push may take from a function, and whether they surely do.

    An expression may also mean something inside a column by a name. Raises ConfigError, as the rest of a sentence,
    for an expression that is none.
    """
    found = {name.lower(): (name, True) for name in _named(push)}
    for told in push.fields.values():
        if told.sql is not None:
            expressions.check(book.connection, told.sql)
            for name in sorted(expressions.names(book.connection, told.sql)):
                found.setdefault(name, (name, False))
    return dict(found.values())


def _named(push: config.Push) -> Iterator[str]:
    for match in push.match.values():
        yield _root(match.source)
    for told in push.fields.values():
        if told.source is not None:
            yield _root(told.source)
        elif told.template is not None:
            parts = pushes.template(told.template)
            yield from (_root(part.name) for part in parts if isinstance(part, pushes.Column))


def _root(name: str) -> str:
    """The column that a name begins with."""
    if "." not in name:
        return name
    try:
        return values.path(name)[0]
    except ValueError as reason:
        raise errors.ConfigError(f"{name} is no column, and leads into none: {reason}") from None
