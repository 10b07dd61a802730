"""Our own SQL in the words of every warehouse.

Tidegate writes its queries once, in DuckDB's dialect with quoted names and `?` for parameters; sqlglot says them in
another's. What a user writes (models, filters) is in the warehouse's own dialect and never comes through here.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

_MARK = f"TIDEGATE_PARAMETER_{secrets.token_hex(8)}"
"""Stands for a parameter until its place is found again; nobody can have written it in a text."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a warehouse wants its SQL.

    `name` is sqlglot's, `parameter` what stands for one ("?", ":{}" with the number from 0 on). `fold` turns
    the names of schemas, tables and columns into those that the warehouse stores, say upper case. `finish` says
    what sqlglot leaves as only others understand it, node by node.
    """

    name: str
    parameter: str = "?"
    fold: Callable[[str], str] = str
    finish: Callable[[exp.Expression], exp.Expression] | None = None


@functools.lru_cache(maxsize=4096)
def quoted(dialect: Dialect, *names: str) -> str:
    """A name, or several with a dot between."""
    return ".".join(
        exp.to_identifier(dialect.fold(name), quoted=True).sql(dialect=dialect.name) for name in names
    )


@functools.lru_cache(maxsize=512)
def translated(text: str, dialect: Dialect) -> str:
    """A query of ours in the warehouse's words."""
    tree = sqlglot.parse_one(text, read="duckdb").transform(_spoken, dialect)
    return placed(tree.sql(dialect=dialect.name), dialect)


def placed(text: str, dialect: Dialect) -> str:
    """Text with marks where the parameters belong, each mark as the driver wants it."""
    pieces = text.split(_MARK)
    if "{}" not in dialect.parameter:
        return dialect.parameter.join(pieces)
    return "".join(
        piece + (dialect.parameter.format(i) if i < len(pieces) - 1 else "") for i, piece in enumerate(pieces)
    )


@functools.lru_cache(maxsize=512)
def columns(text: str) -> tuple[str, ...]:
    """The names of what a query of ours selects, as it spells them."""
    tree = sqlglot.parse_one(text, read="duckdb")
    assert isinstance(tree, exp.Query), "Only queries are asked for their columns."
    return tuple(tree.named_selects)


def _spoken(node: exp.Expression, dialect: Dialect) -> exp.Expression:
    if isinstance(node, exp.Placeholder):
        return exp.Var(this=_MARK)
    if isinstance(node, exp.Identifier):
        return exp.to_identifier(dialect.fold(node.name), quoted=True)
    return node if dialect.finish is None else dialect.finish(node)
