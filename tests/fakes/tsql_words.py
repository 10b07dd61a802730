"""T-SQL in the words of DuckDB, and the refusal of what is no T-SQL.

sqlglot takes a statement for what was meant, whatever the dialect; SQL Server does not. What is refused here is
what our statements, or what sqlglot makes of them, might get wrong: LIMIT, booleans as values, `||`, USING,
functions of others, an order inside of a subquery.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

import sqlglot
import tsql_types as types
from sqlglot import exp
from sqlglot.tokens import TokenType

Trouble = types.Trouble
WORDS = """
abs avg cast ceiling coalesce concat concat_ws convert count count_big datediff datediff_big dateadd datepart exists
floor format getdate iif in isjson isnull json_value left len lower ltrim max min nullif nvarchar object_id openjson
over primary key quotename replace replicate reverse right round row_number rtrim schema_id schema_name string_agg
string_escape substring sum sysdatetimeoffset sysutcdatetime top trim try_cast try_convert upper values with as from
on and or not where then else when select join by having decimal datetimeoffset float varchar numeric char nchar
datetime2 clustered nonclustered hash distribution rank dense_rank lag lead first_value last_value stdev var
charindex patindex stuff datefromparts all any some union between like case end set except intersect is table index
add distinct partition datalength
"""
FUNCTIONS = frozenset(WORDS.split())
"""What may stand before a parenthesis."""

SYNAPSE_LACKS = {"string_escape"}

FOREIGN = (
    TokenType.LIMIT,
    TokenType.TRUE,
    TokenType.FALSE,
    TokenType.DPIPE,
    TokenType.DCOLON,
    TokenType.USING,
    TokenType.PLACEHOLDER,
)
"""What other dialects say."""

Document = tuple[str, tuple[tuple[str, tuple[int, int, int, int], str], ...]]
"""An OPENJSON: its parameter; name, type and path of its columns."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A statement in DuckDB's words."""

    tree: exp.Expression
    sql: str
    parameters: frozenset[str]
    documents: tuple[Document, ...]
    reads: tuple[tuple[str, str], ...]
    """Schemas and names of the tables that are read."""


@functools.lru_cache(maxsize=4096)
def split(text: str, is_one: Callable[[str], bool]) -> list[str]:
    """The statements of a batch; those that belong together stay so."""
    text = text.strip().rstrip(";").strip()
    if is_one(text):
        return [text]
    parts, start = [], 0
    for token in sqlglot.tokenize(text, read="tsql"):
        if token.token_type == TokenType.SEMICOLON:
            parts.append(text[start : token.start])
            start = token.end + 1
    parts = [part.strip() for part in [*parts, text[start:]] if part.strip()]
    for part in parts[1:]:
        if re.match(r"CREATE (OR ALTER )?(VIEW|SCHEMA)\b", part, re.IGNORECASE):
            raise Trouble(111, "'CREATE VIEW' must be the first statement in a query batch.", 15)
    return parts


@functools.lru_cache(maxsize=4096)
def spoken(text: str, synapse: bool) -> Spoken:
    """A statement of T-SQL in DuckDB's words; raises Trouble and SqlglotError."""
    _check_words(text, synapse=synapse)
    # sqlglot knows neither of these words there.
    plain = re.sub(r"PRIMARY KEY (NON)?CLUSTERED \(", "PRIMARY KEY (", text)
    tree = sqlglot.parse_one(plain, read="tsql")
    if isinstance(tree, exp.Command):
        raise Trouble(102, f"Incorrect syntax near '{text.split(maxsplit=1)[0]}'.", 15)
    _check_tree(tree)
    documents: list[Document] = []
    target = target_of(tree)
    is_definition = isinstance(tree, exp.Create | exp.Alter | exp.Drop)
    known = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    reads = tuple(
        two(table)
        for table in tree.find_all(exp.Table)
        if isinstance(table.this, exp.Identifier)
        and not is_definition
        and two(table) != two(target)
        and (table.db or table.name.lower() not in known)
    )
    parameters = frozenset(
        node.name for node in tree.find_all(exp.Parameter) if not isinstance(node.parent, exp.OpenJSON)
    )
    told = _joined(tree.copy()).transform(lambda node: _said(node, documents))
    sql = told.sql("duckdb", unsupported_level=sqlglot.ErrorLevel.IGNORE)
    return Spoken(tree, sql, parameters, tuple(documents), reads)


def _check_words(text: str, *, synapse: bool) -> None:
    tokens = sqlglot.tokenize(text, read="tsql")
    for i, word in enumerate(tokens):
        kind, plain = word.token_type, word.text.lower()
        if kind in FOREIGN:
            raise Trouble(102, f"Incorrect syntax near '{word.text}'.", 15)
        if kind == TokenType.IDENTIFIER:
            continue
        if plain == "nulls":
            raise Trouble(102, "Incorrect syntax near 'NULLS'.", 15)
        after = tokens[i + 1].token_type if i + 1 < len(tokens) else None
        before = tokens[i - 1].token_type if i else None
        if after != TokenType.L_PAREN or before in (TokenType.DOT, TokenType.ALIAS):
            continue
        if re.fullmatch(r"[a-z_]\w*", plain) and (
            plain not in FUNCTIONS or (synapse and plain in SYNAPSE_LACKS)
        ):
            raise Trouble(195, f"'{word.text}' is not a recognized built-in function name.", 15)
    if re.search(r"\bDATEPART\s*\(\s*EPOCH\b", text, re.IGNORECASE):
        raise Trouble(155, "'EPOCH' is not a recognized datepart option.", 15)
    if re.match(r"\s*CREATE\s+(TABLE|SCHEMA)\s+IF\b", text, re.IGNORECASE):
        raise Trouble(156, "Incorrect syntax near the keyword 'IF'.", 15)


def _joined(tree: exp.Expression) -> exp.Expression:
    """DELETE t FROM t JOIN k ON ..., as DuckDB says it: DELETE FROM t USING k WHERE ..."""
    if not isinstance(tree, exp.Delete) or not tree.args.get("tables"):
        return tree
    [named], [join] = tree.args["tables"], tree.this.args["joins"]
    if named != exp.Table(this=tree.this.this, db=tree.this.args.get("db")):
        raise Trouble(208, "Invalid object name: what is deleted from is not what is joined.")
    return exp.Delete(
        this=exp.Table(this=tree.this.this, db=tree.this.args.get("db")),
        using=[join.this],
        where=exp.Where(this=join.args["on"]),
    )


def _said(node: exp.Expression, documents: list[Document]) -> exp.Expression:
    if isinstance(node, exp.Table) and isinstance(node.this, exp.OpenJSON):
        columns = tuple(
            (each.name, types.numbers(each.args["kind"]), each.args["path"].name)
            for each in node.this.expressions
        )
        documents.append((f"@{node.this.this.name}", columns))
        table = exp.to_table(f"_openjson_{len(documents) - 1}")
        if node.args.get("alias"):
            table.set("alias", node.args["alias"])
        return table
    if isinstance(node, exp.Table) and node.db.lower() == "information_schema":
        return exp.to_table(f"sys.information_schema_{node.name.lower()}", alias=node.alias or None)
    if isinstance(node, exp.Collate):
        return node.this.transform(lambda inner: _said(inner, documents))
    if (
        isinstance(node, exp.EQ)
        and isinstance(node.this, exp.Column)
        and isinstance(node.expression, exp.Column)
        and not isinstance(node.parent, exp.Update)
    ):
        # Blanks at the end of a text do not count.
        sides = [
            f"rtrim(CAST({side.sql('duckdb')} AS VARCHAR), ' ')" for side in (node.this, node.expression)
        ]
        return sqlglot.parse_one(" = ".join(sides), read="duckdb")
    if isinstance(node, exp.Anonymous) and node.name.upper() == "DATALENGTH":
        return exp.func("strlen", exp.cast(node.expressions[0], "VARCHAR"))
    if isinstance(node, exp.Cast) and types.numbers(node.to)[0] == types.FLOAT:
        # FLOAT has no infinity.
        value = node.this.transform(lambda inner: _said(inner, documents)).sql("duckdb")
        is_tried = isinstance(node, exp.TryCast)
        number = f"{'TRY_CAST' if is_tried else 'CAST'}({value} AS DOUBLE)"
        overflow = "NULL" if is_tried else "error('Arithmetic overflow')"
        return sqlglot.parse_one(
            f"CASE WHEN isinf({number}) THEN {overflow} ELSE {number} END", read="duckdb"
        )
    if isinstance(node, exp.DataType):
        return exp.DataType.build(types.duck(("", *types.numbers(node))), dialect="duckdb")
    if isinstance(node, exp.NumberToStr):
        digits = re.fullmatch(r"G(\d+)", node.args["format"].name)
        if digits is None:
            raise Trouble(195, "This server knows FORMAT only with G and a number of digits.", 15)
        form = exp.Literal.string(f"%.{digits[1]}G")
        return exp.Anonymous(this="printf", expressions=[form, node.this])
    if isinstance(node, exp.Convert):
        if node.args["style"].name != "121":
            raise Trouble(281, "This server knows no style of conversion but 121.", 15)
        moment = node.expression.sql("duckdb")
        return sqlglot.parse_one(f"strftime({moment}, '%Y-%m-%d %H:%M:%S.%f +00:00')", read="duckdb")
    if isinstance(node, exp.National):
        return exp.Literal.string(node.name)
    if isinstance(node, exp.Literal) and node.is_string:
        # A text without N before it is of the database's code page.
        return exp.Literal.string(node.name.encode("cp1252", "replace").decode("cp1252"))
    if isinstance(node, exp.Properties) and isinstance(node.parent, exp.Create):
        return exp.Properties(expressions=[])
    return node


def _check_tree(tree: exp.Expression) -> None:
    """Refuse what sqlglot lets pass."""
    for select in tree.find_all(exp.Select):
        for each in select.selects:
            inner = each.unalias()
            if isinstance(inner, exp.Predicate | exp.Connector | exp.Not):
                raise Trouble(156, "Incorrect syntax near the keyword 'IS'.", 15)
        group = select.args.get("group")
        if group is not None and any(isinstance(each, exp.Literal) for each in group.expressions):
            raise Trouble(164, "Each GROUP BY expression must contain at least one column.", 15)
        nested = select is not tree and not isinstance(select.parent, exp.Insert)
        if (
            nested
            and select.args.get("order")
            and not (select.args.get("limit") or select.args.get("offset"))
        ):
            raise Trouble(
                1033, "The ORDER BY clause is invalid in views, inline functions, derived tables.", 15
            )
    for where in tree.find_all(exp.Where, exp.Having):
        for each in where.this.flatten() if isinstance(where.this, exp.Connector) else [where.this]:
            if isinstance(each, exp.Column | exp.Boolean):
                raise Trouble(4145, "An expression of non-boolean type specified in a context.", 15)
    for one in tree.find_all(exp.In):
        if isinstance(one.this, exp.Tuple):
            raise Trouble(4145, "An expression of non-boolean type specified in a context.", 15)
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.OpenJSON) and not table.this.expressions:
            raise Trouble(102, "This server knows OPENJSON only with its columns.", 15)
    for subquery in tree.find_all(exp.Subquery):
        if isinstance(subquery.parent, exp.From | exp.Join) and not subquery.alias:
            raise Trouble(102, "Incorrect syntax near ')'.", 15)


def target_of(tree: exp.Expression) -> exp.Table:
    """The table that a statement changes."""
    found = tree.this.find(exp.Table) if isinstance(tree, exp.Insert | exp.Delete | exp.Update) else None
    return found if found is not None else exp.Table()


def two(table: exp.Expression | None) -> tuple[str, str]:
    """Schema and name of a table."""
    assert isinstance(table, exp.Table)
    return table.db or "dbo", table.name


def quoted(name: str) -> str:
    """A name as DuckDB quotes it."""
    return '"' + name.replace('"', '""') + '"'
