"""What may be asked: one query, which changes nothing.

Where the server can be told that a session only reads, it is told so, too; a user of the database who may do
nothing but SELECT is the best guard there is.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import sqlglot
from sqlglot import exp, tokenizer_core

from tidegate import errors

CHANGES = (
    exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Into, exp.Command, exp.NextValueFor,
)  # fmt: skip
QUERIES = (exp.Query, exp.Values, exp.Pivot)

BEGINNINGS = frozenset(("SELECT", "WITH", "FROM", "VALUES", "TABLE", "PIVOT", "UNPIVOT", "("))
FORBIDDEN = frozenset((
    "INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "ALTER", "DROP", "TRUNCATE", "INTO", "GRANT", "REVOKE",
    "COPY", "CALL", "EXEC", "EXECUTE", "ATTACH", "LOCK", "VACUUM", "SET", "PRAGMA", "INSTALL",
))  # fmt: skip
"""Words that no query has outside of quotes, for queries whose grammar is not understood here."""

STATEMENTS = frozenset((
    "ALTER", "BACKUP", "BEGIN", "CHECKPOINT", "CLOSE", "COMMIT", "CREATE", "DBCC", "DEALLOCATE", "DECLARE",
    "DELETE", "DENY", "DROP", "DUMP", "EXEC", "EXECUTE", "GOTO", "GRANT", "INSERT", "INTO", "KILL", "LOAD", "OPEN",
    "PRINT", "RAISERROR", "READTEXT", "RECONFIGURE", "RESTORE", "RETURN", "REVERT", "REVOKE", "ROLLBACK", "SAVE",
    "SET", "SETUSER", "SHUTDOWN", "TRUNCATE", "UPDATE", "UPDATETEXT", "USE", "WAITFOR", "WHILE", "WRITETEXT",
))  # fmt: skip
"""Reserved words of T-SQL, where the next statement needs no semicolon before it: `SELECT 1 SHUTDOWN`.

BULK is none of them: OPENROWSET(BULK ...) reads, and BULK INSERT says INSERT.
https://learn.microsoft.com/en-us/sql/t-sql/language-elements/reserved-keywords-transact-sql
"""

RESERVED = frozenset((
    "ALL", "AND", "AS", "BY", "CASE", "CHECK", "COLUMN", "CREATE", "DEFAULT", "DESC", "DISTINCT", "ELSE",
    "END", "EXCEPT", "FOR", "FROM", "GROUP", "HAVING", "IN", "INDEX", "INTO", "IS", "JOIN", "KEY", "KEYS",
    "LEFT", "LIKE", "LIMIT", "NOT", "NULL", "ON", "OR", "ORDER", "PRIMARY", "RIGHT", "ROWS", "SELECT",
    "SET", "TABLE", "THEN", "TO", "UNION", "UNIQUE", "USER", "USING", "VALUES", "WHEN", "WHERE", "WITH",
))  # fmt: skip
"""Words that some server takes for no table's name, unless they stand in quotes."""

_COMMENT = re.compile(r"/\*M?!")


def one_query(text: str, dialect: str) -> str:
    """The text of a query without the semicolon at its end; raises ConfigError for anything else."""
    if dialect == "mysql" and _COMMENT.search(text):
        raise errors.ConfigError(
            "A model's SQL must not hold comments that the server runs (`/*!`); remove them."
        )
    found = _tokens(text, dialect)
    while found and found[-1].token_type == tokenizer_core.TokenType.SEMICOLON:
        text = text[: found.pop().start]
    if not found:
        raise errors.ConfigError("The model's SQL is empty; write a SELECT.")
    if any(token.token_type == tokenizer_core.TokenType.SEMICOLON for token in found):
        raise errors.ConfigError(
            "A model is one query, and this SQL has several statements; keep one SELECT."
        )
    words = [token.text.upper() for token in found if token.token_type not in _QUOTED]
    if not words or words[0] not in BEGINNINGS or not _only_reads(text, dialect, words):
        what = next(
            (word for word in words if word in FORBIDDEN | STATEMENTS | {"NEXT"}), found[0].text.upper()
        )
        raise errors.ConfigError(
            f"A model only reads, and this SQL would do something else ({what}); write a SELECT."
        )
    return text


def _only_reads(text: str, dialect: str, words: Sequence[str]) -> bool:
    if dialect == "tsql" and not STATEMENTS.isdisjoint(_without_hints(words)):
        return False
    if dialect == "snowflake" and "->>" in words:
        # https://docs.snowflake.com/en/sql-reference/operators-flow: one statement after another
        return False
    try:
        tree = sqlglot.parse_one(text, read=dialect)
    except sqlglot.errors.SqlglotError:
        # The server knows its own grammar better; what it must not do is still told by its words.
        return FORBIDDEN.isdisjoint(words)
    return isinstance(tree, QUERIES) and not tree.find(*CHANGES)


def _without_hints(words: Sequence[str]) -> list[str]:
    """The words but for the USE of `OPTION (USE HINT (...))`, which says how to run a query."""
    return [
        word
        for word, after in itertools.pairwise((*words, ""))
        if word != "USE" or after not in ("HINT", "PLAN")
    ]


_QUOTED = (tokenizer_core.TokenType.STRING, tokenizer_core.TokenType.IDENTIFIER)


def _tokens(text: str, dialect: str) -> list[tokenizer_core.Token]:
    try:
        return list(sqlglot.tokenize(text, read=dialect))
    except sqlglot.errors.SqlglotError:
        raise errors.ConfigError("The model's SQL has a quote or a comment that does not end.") from None


def table(name: str, dialect: str) -> str:
    """SQL that reads a whole table or view, `schema.table`; raises ConfigError when that is no name."""
    parts = _tokens(name, dialect)
    is_name = len(parts) % 2 == 1 and all(
        part.text == "." if i % 2 else part.token_type == _QUOTED[1] or part.text.isidentifier()
        for i, part in enumerate(parts)
    )
    try:
        tree = exp.to_table(name, dialect=dialect) if is_name else None
    except (sqlglot.errors.SqlglotError, ValueError):
        tree = None
    if tree is None or not tree.name:
        raise errors.ConfigError(
            f"{name!r} is no name of a table; write schema.table, with quotes around other characters."
        )
    return f"SELECT * FROM {tree.sql(dialect=dialect)}"


def spelled(parts: list[str], dialect: str, folded: str) -> str:
    """A name as SQL takes it, quoted where it needs quotes; `folded` shows how unquoted names are stored."""
    return ".".join(
        part if _plain(part, folded) else exp.to_identifier(part, quoted=True).sql(dialect=dialect)
        for part in parts
    )


def _plain(part: str, folded: str) -> bool:
    pattern = r"[A-Z_][A-Z0-9_]*" if folded.isupper() else r"[a-z_][a-z0-9_]*"
    if not re.fullmatch(pattern, part):
        return False
    return part.upper() not in RESERVED
