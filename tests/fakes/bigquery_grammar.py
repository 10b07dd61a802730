"""BigQuery's SQL in DuckDB's words, for the stand-in in `bigquery_api`: scripts, statements, and what they need.

SQL is parsed as BigQuery's by sqlglot, so that what is no SQL of BigQuery's is refused. Nothing here looks at data,
so that a statement which comes again is translated once.
"""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass, field

import bigquery_values as values
import sqlglot
from bigquery_values import DUCKDB, Refused
from sqlglot import exp, tokens

PROJECT = "@project@"
"""Stands for the project where a statement does not name one."""

_FROM = f"FROM duckdb_columns() WHERE database_name = '{PROJECT}' AND schema_name = '{{dataset}}'"
LISTS = {
    "INFORMATION_SCHEMA.TABLES": f"SELECT DISTINCT schema_name AS table_schema, table_name {_FROM}",
    "INFORMATION_SCHEMA.COLUMNS": (
        "SELECT schema_name AS table_schema, table_name, column_name, "
        "row_number() OVER (PARTITION BY table_oid ORDER BY column_index) AS ordinal_position, "
        "(SELECT nullif(list_position(c.columns, column_name), 0) FROM memory.main.clusters AS c "
        "WHERE c.project = database_name AND c.dataset = schema_name AND c.name = table_name) "
        "AS clustering_ordinal_position, "
        f"CASE data_type {values.cases()} END AS data_type {_FROM}"
    ),
}
"""The views of INFORMATION_SCHEMA."""


@dataclass(frozen=True)
class Said:
    """A statement in DuckDB's words, `PROJECT` standing for the project."""

    tree: exp.Expression
    texts: tuple[str, ...]
    arrays: tuple[str, ...]
    """The parameters that are tables in it, as `parameter_NAME`."""
    scalars: tuple[str, ...]
    read: tuple[tuple[str, str], ...]
    """The tables that it reads, each with its dataset."""
    listed: tuple[str, ...]
    """The datasets whose columns it lists."""


@functools.lru_cache(maxsize=2_000)
def statements(script: str) -> tuple[str, ...]:
    """The statements of a script."""
    marks = sqlglot.tokenize(script, read="bigquery")
    ends = [each.start for each in marks if each.token_type == tokens.TokenType.SEMICOLON]
    parts = [script[a:b].lstrip(";").strip() for a, b in itertools.pairwise([0, *ends, len(script)])]
    return tuple(filter(None, parts))


def asserted(text: str) -> tuple[str, str]:
    """A query of the condition of an ASSERT, and what it says where that is false."""
    found = re.fullmatch(r"(?is)ASSERT\s+(.*?)(?:\s+AS\s+'([^']*)')?", text)
    assert found is not None, "It begins with ASSERT."
    return f"SELECT {found.group(1)} AS held", found.group(2) or "Assertion failed"


@functools.lru_cache(maxsize=5_000)
def said(text: str, kinds: tuple[tuple[str, str], ...]) -> Said:
    """A statement; `kinds` are the types of the parameters. Raises Refused."""
    try:
        tree = sqlglot.parse_one(text, read="bigquery")
    except sqlglot.errors.ParseError as error:
        place = error.errors[0] if error.errors else {}
        raise Refused(
            400, "invalidQuery", f"Syntax error: at [{place.get('line')}:{place.get('col')}]"
        ) from None
    if isinstance(tree, exp.Command):
        raise Refused(400, "invalidQuery", f"Syntax error: Unexpected {tree.this} at [1:1]")
    speech = Speech(dict(kinds))
    texts = tuple(speech.statement(each) for each in _single(tree))
    return Said(
        tree, texts, tuple(speech.arrays), tuple(speech.scalars), tuple(speech.read), tuple(speech.listed)
    )


def _single(tree: exp.Expression) -> list[exp.Expression]:
    """Each change of a table alone, as DuckDB wants them."""
    if not isinstance(tree, exp.Alter):
        return [tree.copy()]
    ones = []
    for action in tree.args["actions"]:
        ones.append(tree.copy())
        ones[-1].set("actions", [action.copy()])
    return ones


@dataclass
class Speech:
    """Says statements, and notes what they need."""

    kinds: dict[str, str]
    arrays: dict[str, None] = field(default_factory=dict)
    scalars: dict[str, None] = field(default_factory=dict)
    read: dict[tuple[str, str], None] = field(default_factory=dict)
    listed: dict[str, None] = field(default_factory=dict)

    def statement(self, tree: exp.Expression) -> str:
        """A statement in DuckDB's words."""
        if isinstance(tree, exp.Create) and tree.args.get("kind") == "SCHEMA":
            dataset = values.quoted(tree.this.db or tree.this.name)
            return f'CREATE SCHEMA IF NOT EXISTS "{PROJECT}".{dataset}'
        tree = tree.transform(self.spoken, copy=False)
        if isinstance(tree, exp.Create) and isinstance(tree.this, exp.Schema) and tree.expression:
            columns = [(each.name, each.kind) for each in tree.this.expressions]
            names = ", ".join(values.quoted(name) for name, _ in columns)
            chosen = ", ".join(
                f"CAST({values.quoted(name)} AS {kind.sql('duckdb')}) AS {values.quoted(name)}"
                for name, kind in columns
            )
            query = f"SELECT {chosen} FROM ({tree.expression.sql('duckdb')}) AS q ({names})"
            tree.set("expression", sqlglot.parse_one(query, read="duckdb"))
            tree.set("this", tree.this.this)
        check_json(tree)
        return tree.sql(dialect="duckdb", unsupported_level=sqlglot.ErrorLevel.IGNORE)

    def spoken(self, node: exp.Expression) -> exp.Expression:
        """A node in DuckDB's words."""
        if isinstance(node, exp.Table):
            return self.table(node)
        if isinstance(node, exp.Unnest):
            return self.unnest(node)
        if isinstance(node, exp.Parameter):
            return self.scalar(node)
        if isinstance(node, exp.DataType) and not node.expressions:
            name = {"DECIMAL": "NUMERIC", "BIGDECIMAL": "BIGNUMERIC"}.get(node.this.name)
            return exp.DataType.build(DUCKDB[name], dialect="duckdb") if name else node
        if isinstance(node, exp.SafeFunc) and isinstance(node.this, exp.ParseJSON):
            return exp.cast(exp.Anonymous(this="bq_safe_parse_json", expressions=[node.this.this]), "JSON")
        if isinstance(node, exp.String):
            assert node.args["zone"].name == "UTC", "DuckDB's session has this one zone."
            return exp.cast(node.this, "VARCHAR")
        if isinstance(node, exp.ParseJSON):
            return exp.cast(exp.Anonymous(this="bq_parse_json", expressions=[node.this]), "JSON")
        if isinstance(node, exp.JSONFormat):
            if node.args.get("to_json"):
                return exp.Anonymous(this="to_json", expressions=[node.this])
            text = exp.cast(exp.Anonymous(this="to_json", expressions=[node.this]), "VARCHAR")
            return exp.func("COALESCE", text, exp.Literal.string("null"))
        if isinstance(node, exp.JSONType):
            return exp.Anonymous(this="bq_json_type", expressions=[exp.cast(node.this, "VARCHAR")])
        if isinstance(node, exp.JSONExtractScalar):
            assert isinstance(node.expression, exp.JSONPath), "A path is written out."
            assert len(node.expression.expressions) == 1, "Only whole documents are asked for here."
            return exp.Anonymous(this="bq_json_scalar", expressions=[exp.cast(node.this, "VARCHAR")])
        return node

    def table(self, node: exp.Table) -> exp.Expression:
        """A table of a project, or a view of INFORMATION_SCHEMA."""
        if not isinstance(node.this, exp.Identifier) or not node.db:
            return node
        name = node.name.upper()
        if name.startswith("INFORMATION_SCHEMA."):
            self.listed[node.db] = None
            return sqlglot.parse_one(f"({LISTS[name]})".format(dataset=node.db), read="duckdb").as_(
                node.alias or "listed", table=True
            )
        if not isinstance(node.parent, (exp.Create, exp.Schema, exp.Drop)):
            self.read[node.db, node.name] = None
        node = node.copy()
        for part in ("this", "db"):
            node.set(part, exp.to_identifier(node.text(part), quoted=True))
        node.set("catalog", exp.to_identifier(node.catalog or PROJECT, quoted=True))
        return node

    def unnest(self, node: exp.Unnest) -> exp.Expression:
        """An array parameter as a table."""
        [array] = node.expressions
        if not isinstance(array, exp.Parameter):
            raise Refused(400, "invalidQuery", "Syntax error: this stand-in unfolds parameters only")
        alias = node.args["alias"].columns[0].name if node.args.get("alias") else None
        self.kind(array.name)
        self.arrays[array.name] = None
        table = exp.to_table(f'"parameter_{array.name}"')
        return exp.alias_(table, alias, table=True) if alias else table

    def scalar(self, node: exp.Parameter) -> exp.Expression:
        """A scalar parameter in its type."""
        name, kind = node.name, self.kind(node.name)
        if kind == "ARRAY":
            raise Refused(400, "invalidQuery", f"this stand-in unfolds the array {name} only after FROM")
        self.scalars[name] = None
        return exp.cast(exp.Placeholder(this=name), DUCKDB[values.wire(kind)], dialect="duckdb")

    def kind(self, name: str) -> str:
        """The type of a parameter."""
        if name not in self.kinds:
            raise Refused(400, "invalidQuery", f"Query parameter '{name}' not found at [1:1]")
        return self.kinds[name]


def check_json(tree: exp.Expression) -> None:
    """JSON is neither compared nor grouped nor sorted."""
    for select in tree.find_all(exp.Select):
        if not select.args.get("distinct"):
            continue
        for each in select.expressions:
            if isinstance(each.unalias(), exp.Cast) and each.unalias().to.this == exp.DataType.Type.JSON:
                raise Refused(400, "invalidQuery", "Column of type JSON cannot be used in SELECT DISTINCT")
