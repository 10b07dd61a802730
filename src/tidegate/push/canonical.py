"""One spelling for every value, whatever type its source gives it: SQL that turns columns of a workbook into text.

Equal numbers are equal text: no exponent, no zeros at the end, `1.0` is `1`. Booleans are `true` and `false`, dates
and times ISO 8601 with a `Z` where there is a zone, JSON has no spaces, and a JSON string is its text. Text is as
it is. What Stripe cannot be sent holds a NUL character afterwards: text that has one, and NaN and infinities, which
become `NOT_FINITE`.
"""

from __future__ import annotations

VERSION = 1
"""Counts the changes of these spellings."""

NUL = "chr(0)"
NOT_FINITE = f"({NUL} || 'number')"

WHITE = r"[\s\p{Z}\x1c-\x1f\x85]"
"""A character of blank text, as RE2 knows it. Trimming by a list of characters takes twenty times as long."""

INTEGERS = frozenset((
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "BIGNUM",
    "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
))  # fmt: skip
FLOATS = frozenset(("FLOAT", "DOUBLE"))
ZONED = frozenset(("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"))
TIMES = ZONED | {"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"}
NUMERAL = "NUMERAL"
"""The kind of a column of text that holds numbers with more digits than DuckDB has."""

MACROS = (
    "CREATE MACRO tidegate_stripped(t) AS "
    "CASE WHEN contains(t, '.') THEN rtrim(rtrim(t, '0'), '.') ELSE t END",
    # Digits, and where the point stands among them, of a numeral with an exponent.
    "CREATE MACRO tidegate_placed(sign, digits, point) AS CASE "
    "WHEN trim(digits, '0') = '' THEN '0' "
    "WHEN point <= 0 THEN tidegate_stripped(sign || '0.' || repeat('0', -point) || digits) "
    "WHEN point >= length(digits) THEN sign || digits || repeat('0', point - length(digits)) "
    "ELSE tidegate_stripped(sign || substr(digits, 1, point) || '.' || substr(digits, point + 1)) END",
    "CREATE MACRO tidegate_unfolded(m, e) AS tidegate_placed("
    "CASE WHEN starts_with(m, '-') THEN '-' ELSE '' END, replace(ltrim(m, '-'), '.', ''), "
    "length(split_part(ltrim(m, '-'), '.', 1)) + e)",
    "CREATE MACRO tidegate_numeral(t) AS CASE "
    "WHEN contains(t, 'e') OR contains(t, 'E') THEN tidegate_unfolded(split_part(lower(t), 'e', 1), "
    "TRY_CAST(split_part(lower(t), 'e', 2) AS INTEGER)) "
    "WHEN tidegate_stripped(t) = '-0' THEN '0' ELSE tidegate_stripped(t) END",
    "CREATE MACRO tidegate_seconds(us) AS CAST((us - ((us % 1000000) + 1000000) % 1000000) // 1000000 AS VARCHAR)",
    "CREATE MACRO tidegate_micros(ns) AS (ns - ((ns % 1000) + 1000) % 1000) // 1000",
    "CREATE MACRO tidegate_json(t) AS CASE WHEN NOT json_valid(t) THEN t "
    "WHEN json_type(t) = 'NULL' THEN NULL WHEN json_type(t) = 'VARCHAR' THEN json_extract_string(t, '$') "
    "ELSE CAST(json(t) AS VARCHAR) END",
    f"CREATE MACRO tidegate_blank(t) AS regexp_full_match(t, '{WHITE}*')",
    f"CREATE MACRO tidegate_folded(t) AS lower(regexp_replace(t, '^{WHITE}+|{WHITE}+$', '', 'g'))",
)
"""What the SQL of this room is made of; every workbook has them."""


def text(value: str, kind: str) -> str:
    """SQL for a value of a DuckDB type (or JSON, or NUMERAL) as text; null stays null."""
    if kind in INTEGERS or kind in ("BOOLEAN", "DATE"):
        return f"CAST({value} AS VARCHAR)"
    if kind in FLOATS:
        return (
            f"CASE WHEN isfinite({value}) THEN tidegate_numeral(CAST({value} AS VARCHAR)) "
            f"WHEN {value} IS NOT NULL THEN {NOT_FINITE} END"
        )
    if kind.startswith("DECIMAL") or kind == NUMERAL:
        return f"tidegate_numeral(CAST({value} AS VARCHAR))"
    if kind in ZONED:
        plain = "make_timestamp_ns(epoch_ns" if kind.endswith("NS") else "make_timestamp(epoch_us"
        return f"replace(CAST({plain}({value})) AS VARCHAR), ' ', 'T') || 'Z'"
    if kind in TIMES:
        return f"replace(CAST({value} AS VARCHAR), ' ', 'T')"
    if kind == "JSON":
        return f"tidegate_json(CAST({value} AS VARCHAR))"
    if kind == "BLOB":
        return f"lower(hex({value}))"
    if is_nested(kind):
        return f"CAST(to_json({value}) AS VARCHAR)"
    return value if kind == "VARCHAR" else f"CAST({value} AS VARCHAR)"


def is_nested(kind: str) -> bool:
    """Is it a list, a struct or the like, which JSON has a word for?"""
    return kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")) or kind == "VARIANT"


def unix_seconds(value: str, kind: str) -> str:
    """SQL for a moment as whole seconds since 1970; a number stays one, and text that is no moment stays text."""
    if kind in TIMES or kind == "DATE":
        moment = f"CAST({value} AS TIMESTAMP)" if kind == "DATE" else value
        micros = f"tidegate_micros(epoch_ns({value}))" if kind.endswith("NS") else f"epoch_us({moment})"
        return (
            f"CASE WHEN {micros} IS NOT NULL THEN tidegate_seconds({micros}) "
            f"WHEN {value} IS NOT NULL THEN {NOT_FINITE} END"
        )
    plain = text(value, kind)
    if kind not in ("VARCHAR", "JSON"):
        return plain
    return (
        f"CASE WHEN regexp_full_match({plain}, '-?[0-9]+') THEN {plain} "
        f"ELSE coalesce(tidegate_seconds(epoch_us(TRY_CAST({plain} AS TIMESTAMPTZ))), {plain}) END"
    )


def boolean(value: str, kind: str) -> str:
    """SQL for a boolean; 0 and 1 are booleans of servers that have no others."""
    if kind in INTEGERS:
        return f"CASE {value} WHEN 0 THEN 'false' WHEN 1 THEN 'true' ELSE CAST({value} AS VARCHAR) END"
    return text(value, kind)


def items(value: str, kind: str) -> str:
    """SQL for a list as JSON; one value that is no list becomes a list of it."""
    plain = text(value, kind)
    one = f"CAST(to_json([{plain}]) AS VARCHAR)"
    return (
        f"CASE WHEN {plain} IS NULL OR {plain} = '' THEN NULL "
        f"WHEN starts_with(ltrim({plain}), '[') AND json_valid({plain}) THEN CAST(json({plain}) AS VARCHAR) "
        f"WHEN contains({plain}, {NUL}) THEN {plain} ELSE {one} END"
    )
