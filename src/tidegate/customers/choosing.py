"""What a profile is made of, in statements that all warehouses understand: values, and a hash of them.

A record's rank within its profile is its place by age, the newest first; where a property has a primary source, the
records of that pipeline come before all others. A property's value is that of the first record that has one.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.customers.space import NUMBER, TEXT, TIME
from tidegate.shape import profile
from tidegate.warehouse import base, ddl

FIRST = 1_000_000_000
"""By how many places the records of a primary source go before all others."""

_JSON, _BOOLEAN, _DOUBLE = "JSON", "BOOLEAN", "DOUBLE"
_JSON_AS_TEXT = {
    "snowflake": "TO_JSON({})",
    "bigquery": "TO_JSON_STRING({})",
    "redshift": "JSON_SERIALIZE({})",
}
"""JSON as text, where a cast does not say it."""
_TEXT_AS_JSON = {
    **dict.fromkeys(("duckdb", "motherduck"), "CAST({} AS JSON)"),
    **dict.fromkeys(("snowflake", "bigquery", "redshift"), "PARSE_JSON({})"),
    "postgres": "CAST({} AS JSONB)",
}
"""That text as JSON again, where JSON has no order; elsewhere it has one, or is text."""
_JSON_IS_TEXT = frozenset(("databricks", "sqlserver", "synapse"))
"""Warehouses that keep JSON as text."""
_ZONED = frozenset(("duckdb", "motherduck", "postgres", "redshift", "snowflake"))
"""Warehouses that show a moment in the session's time zone unless they are told one."""
_TRANSACT = frozenset(("sqlserver", "synapse"))
"""Warehouses that speak T-SQL."""

KINDS = frozenset(("bigquery", "mysql", *_ZONED, *_JSON_IS_TEXT))
"""Warehouses that can hold a customer model."""


@dataclass(frozen=True, slots=True)
class Property:
    """A property of the model: its type is one of ours, `rank` the column by which its records are ranked."""

    plain: str
    type: str
    rank: str
    number: int
    is_array: bool

    @property
    def name(self) -> str:
        """As statements write it."""
        return base.quoted(self.plain)

    @property
    def first(self) -> str:
        """The column with the rank of the first record that has a value."""
        return f"_first{self.number}"


class Choice:
    """The properties of a model with their primary sources, in a warehouse of a kind."""

    def __init__(self, model: profile.Profile, primary_source: str | None, kind: str) -> None:
        primaries = [each.primary_source or primary_source for each in model.properties]
        sources = [None, *dict.fromkeys(each for each in primaries if each is not None)]
        self._kind = kind
        self._ranks: dict[str | None, str] = {source: f"_rank{n}" for n, source in enumerate(sources)}
        self.properties = tuple(
            Property(each.name, ddl.sql_type(field), self._ranks[primary], n, each.target.type == "array")
            for n, (field, each, primary) in enumerate(
                zip(model.schema, model.properties, primaries, strict=True)
            )
        )

    @property
    def arrays(self) -> tuple[Property, ...]:
        """The properties that are arrays."""
        return tuple(each for each in self.properties if each.is_array)

    def columns(self, alias: str = "") -> str:
        """All properties, as a statement lists them."""
        before = f"{alias}." if alias else ""
        return ", ".join(before + each.name for each in self.properties)

    def types(self) -> dict[str, str]:
        """All properties with their types."""
        return {each.plain: each.type for each in self.properties}

    # Values

    def ranked(self, source: str, shown: str) -> str:
        """A query that ranks records: `source` is a FROM clause with `p` (profile_id, place) and records `r`."""
        ranks = ", ".join(
            f"p.place AS {rank}"
            if primary is None
            else f"p.place - CASE WHEN r.pipeline = {ddl.literal(primary)} THEN {FIRST} ELSE 0 END AS {rank}"
            for primary, rank in self._ranks.items()
        )
        return f"SELECT p.profile_id, {ranks}, r._account_id, r._version, {shown} FROM {source}"

    def chosen(self, source: str) -> str:
        """A query of profiles made of the records of `source`: properties, sources, accounts and `_version`."""
        ranks = ", ".join(f"a.{rank}" for rank in self._ranks.values())
        firsts = ", ".join(
            f"min(CASE WHEN a.{each.name} IS NOT NULL THEN a.{each.rank} END) "
            f"OVER (PARTITION BY a.profile_id) AS {each.first}"
            for each in self.properties
        )
        values = ", ".join(f"{self._value(each)} AS {each.name}" for each in self.properties)
        return (
            f"SELECT b.profile_id, {values}, count(*) AS sources, count(DISTINCT b._account_id) AS accounts, "
            f"max(b._version) AS _version FROM (SELECT a.profile_id, {ranks}, a._account_id, a._version, "
            f"{self.columns('a')}, {firsts} FROM ({self.ranked(source, self.columns('r'))}) AS a) AS b "
            "GROUP BY b.profile_id"
        )

    def _value(self, each: Property) -> str:
        """The value of the one record of a group that is the first to have one: the greatest of one."""
        first, value = f"CASE WHEN b.{each.rank} = b.{each.first} THEN", f"b.{each.name}"
        # Not every warehouse knows the greatest of two truths or documents.
        if each.type == _BOOLEAN:
            truth = f"max({first} CASE WHEN {value} THEN 1 ELSE 0 END END)"
            return f"CASE WHEN {truth} = 1 THEN TRUE WHEN {truth} = 0 THEN FALSE END"
        if each.type == _JSON and self._kind in _TEXT_AS_JSON:
            return _TEXT_AS_JSON[self._kind].format(f"max({first} {self.text(value, _JSON)} END)")
        return f"max({first} {value} END)"

    # Texts

    def hash(self, alias: str) -> str:
        """SQL for a hash of the properties that have a value, so that a new property alone changes none."""
        parts = []
        for each in self.properties:
            text = self.text(f"{alias}.{each.name}", each.type)
            if self._kind in _TRANSACT and each.type in (TEXT, _JSON):
                text = self._digest(text)  # no text is joined to one of another collation
            told = f"'{each.plain}=' || CAST(length({text}) AS VARCHAR) || ':' || {text}"
            parts.append(f"CASE WHEN {alias}.{each.name} IS NULL THEN '' ELSE {told} END")
        return self._digest(" || ".join(parts))

    def _digest(self, text: str) -> str:
        # HASHBYTES makes bytes, of which the last eight are a number.
        return f"CAST(CAST(md5({text}) AS BIGINT) AS VARCHAR)" if self._kind in _TRANSACT else f"md5({text})"

    def text(self, value: str, kind: str) -> str:
        """SQL for a value of one of our types as text; other values have other texts."""
        if kind == TEXT or (kind == _JSON and self._kind in _JSON_IS_TEXT):
            return value
        if kind == _BOOLEAN:
            return f"CASE WHEN {value} THEN '1' ELSE '0' END"
        if kind == _JSON and self._kind in _JSON_AS_TEXT:
            return _JSON_AS_TEXT[self._kind].format(value)
        if kind == TIME and self._kind in _ZONED:
            return f"CAST({value} AT TIME ZONE 'UTC' AS VARCHAR)"
        if kind == _DOUBLE and self._kind in _TRANSACT:
            # As text a FLOAT has six digits; as bytes it is whole.
            return f"CAST(CAST(CAST({value} AS BLOB) AS BIGINT) AS VARCHAR)"
        return f"CAST({value} AS VARCHAR)"


OWN = {"sources": NUMBER, "accounts": NUMBER, "_version": NUMBER, "_row_hash": TEXT}
"""What stands beside the properties of a profile as it is made, with types."""
