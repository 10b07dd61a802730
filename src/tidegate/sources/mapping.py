"""What Elasticsearch's mappings and documents mean as columns.

A field is a column under its dotted path; what is no scalar (`nested`, `flattened`, ranges, points) is JSON. Any
field may hold several values, which no mapping tells: text becomes their JSON then, and for any other type the
model must ask for JSON, `tags:json`.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tidegate import errors
from tidegate.sources import arrow
from tidegate.warehouse import base as warehouses

TEXT = frozenset(
    (
        "text",
        "keyword",
        "constant_keyword",
        "wildcard",
        "match_only_text",
        "search_as_you_type",
        "ip",
        "version",
        "binary",
        "icu_collation_keyword",
        "annotated_text",
    )
)
INTEGERS = frozenset(("long", "integer", "short", "byte", "token_count", "murmur3"))
FLOATS = frozenset(("double", "float", "half_float", "scaled_float", "rank_feature"))
DATES = frozenset(("date", "date_nanos"))
"""https://www.elastic.co/guide/en/elasticsearch/reference/current/mapping-types.html"""

EPOCH = dt.datetime(1970, 1, 1)
_DATE = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d))?)?"
    r"(?:T(?P<hour>\d\d)?(?::(?P<minute>\d\d))?(?::(?P<second>\d\d))?(?:[.,](?P<part>\d{1,9}))?)?"
    r"(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?\Z"
)


@dataclass(frozen=True, slots=True)
class Column:
    """A field of documents: its dotted path, Elasticsearch's type, and whether it is read as JSON."""

    path: str
    type: str
    as_json: bool = False
    has_doc_values: bool = True
    formats: str = ""

    @property
    def field(self) -> pa.Field:
        """The column as Arrow has it."""
        if self.as_json:
            return pa.field(self.path, pa.string(), metadata=warehouses.JSON)
        return pa.field(self.path, _arrow(self.type))


def columns(mappings: Mapping[str, Any], fields: Sequence[str], where: str) -> list[Column]:
    """The columns of indices with these mappings, by name; raises ConfigError for a field that they do not have.

    `fields`: which ones, in their order; all by default. An object's path stands for all that is in it.
    """
    found: dict[str, Column] = {}
    bodies = [body.get("mappings", {}) for body in mappings.values()]
    if any(str(body.get("_source", {}).get("enabled", True)).lower() == "false" for body in bodies):
        raise errors.ConfigError(
            f"{where} does not keep its documents (`_source` is switched off), so nothing of them can be read; "
            "read an index that keeps them."
        )
    for body in bodies:
        for column in _walked(body.get("properties", {}), ""):
            known = found.get(column.path)
            found[column.path] = column if known is None else _both(known, column)
    # What one index does not keep of its documents would be NULL there, whatever it was.
    found = {path: column for path, column in found.items() if all(_is_kept(path, body) for body in bodies)}
    if not fields:
        return [found[path] for path in sorted(found)]
    chosen: dict[str, Column] = {}
    for name in fields:
        path, _, form = name.partition(":")
        if path == "_id" and not form:
            continue  # it always comes
        below = [found[each] for each in sorted(found) if each.startswith(f"{path}.")]
        if form not in ("", "json") or (path not in found and not below):
            raise errors.ConfigError(
                f"{where} has no field {name}; its mapping names {', '.join(sorted(found)[:20]) or 'none'}."
            )
        if form:
            chosen[path] = Column(path, "object", as_json=True)
        elif path in found:
            chosen[path] = found[path]
        else:
            chosen |= {each.path: each for each in below}
    return list(chosen.values())


def values(column: Column, documents: Sequence[Mapping[str, Any]], where: str) -> pa.Array:
    """A column of documents as they were stored; raises WarehouseError, naming field and document."""
    field, found = column.field, []
    for document in documents:
        source = document.get("_source") or {}
        try:
            if column.type in DATES and not column.as_json:
                found.append(_moment(column, document, source))
            else:
                found.append(_value(column, _at(source, column.path)))
        except _Several:
            raise errors.WarehouseError(
                f"{where}: the field {column.path} of a document holds several values; name it as "
                f"`{column.path}:json` under `fields`."
            ) from None
        except (ValueError, ArithmeticError, TypeError):
            raise errors.WarehouseError(
                f"{where}: the field {column.path} of a document does not hold what its mapping says "
                f"({column.type}); name it as `{column.path}:json` under `fields`."
            ) from None
    try:
        return pa.array(found, field.type)
    except (pa.ArrowInvalid, OverflowError):
        # Without the cause: its text quotes the value.
        raise errors.WarehouseError(
            f"{where}: the field {column.path} of a document is out of the range of {column.type}."
        ) from None


def _is_kept(path: str, body: Mapping[str, Any]) -> bool:
    """Is a field part of the documents that an index keeps?

    https://www.elastic.co/guide/en/elasticsearch/reference/current/mapping-source-field.html#include-exclude
    """
    told, parts = body.get("_source", {}), path.split(".")
    paths = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]

    def named(patterns: Sequence[str]) -> bool:
        return any(fnmatch.fnmatchcase(one, pattern) for one in paths for pattern in patterns)

    return named(told.get("includes") or ["*"]) and not named(told.get("excludes") or [])


def _walked(properties: Mapping[str, Any], prefix: str) -> Iterator[Column]:
    for name, told in properties.items():
        path, kind = f"{prefix}{name}", told.get("type", "object")
        if kind == "alias":
            continue  # the same values stand under another name
        if kind == "object" and told.get("enabled", True) and told.get("properties"):
            yield from _walked(told["properties"], f"{path}.")
        else:
            is_plain = kind in TEXT | INTEGERS | FLOATS | DATES | {"boolean", "unsigned_long"}
            yield Column(path, kind, not is_plain, told.get("doc_values", True), told.get("format", ""))


def _both(one: Column, other: Column) -> Column:
    """A field that two indices have."""
    if one == other:
        return one
    if one.as_json or other.as_json:
        return Column(one.path, "object", as_json=True)
    if one.field.type == other.field.type:
        has_doc_values = one.has_doc_values and other.has_doc_values
        return Column(one.path, one.type, False, has_doc_values, one.formats or other.formats)
    if {one.type, other.type} <= INTEGERS | FLOATS:
        return Column(one.path, "double")
    if {one.type, other.type} <= DATES:
        return Column(one.path, "date_nanos", False, one.has_doc_values and other.has_doc_values)
    return Column(one.path, "object", as_json=True)


def _arrow(kind: str) -> pa.DataType:
    if kind in INTEGERS:
        return pa.int64()
    if kind in FLOATS:
        return pa.float64()
    if kind == "unsigned_long":
        return pa.uint64()
    if kind == "boolean":
        return pa.bool_()
    if kind in DATES:
        return pa.timestamp("ns" if kind == "date_nanos" else "us", "UTC")
    return pa.string()


class _Several(Exception):
    """A field has more values than a column takes."""


_NOTHING = object()


def _at(source: Any, path: str) -> Any:
    """What stands under a dotted path; documents may spell it as objects, as one name, or as both mixed."""
    found = [value for value in _all_at(source, path) if value is not _NOTHING]
    return found[0] if len(found) == 1 else (found or None)


def _all_at(source: Any, path: str) -> Iterator[Any]:
    if isinstance(source, list):
        for one in source:
            yield from _all_at(one, path)
        return
    if not isinstance(source, Mapping):
        return
    if path in source:
        yield source[path]
        return
    end = path.find(".")
    while end > 0:
        if path[:end] in source:
            yield from _all_at(source[path[:end]], path[end + 1 :])
        end = path.find(".", end + 1)


def _value(column: Column, value: Any) -> Any:
    if column.as_json:
        return None if value is None else arrow.encoded(value)
    if isinstance(value, list):
        if column.type in TEXT:
            return arrow.encoded(value) if len(value) != 1 else _value(column, value[0])
        if len(value) > 1:
            raise _Several
        return _value(column, value[0]) if value else None
    if value is None or (value == "" and column.type not in TEXT):
        return None
    if column.type in TEXT:
        return value if isinstance(value, str) else arrow.encoded(value)
    if column.type == "boolean":
        return {"true": True, "false": False, True: True, False: False}[value]
    if isinstance(value, dict):
        raise ValueError
    if column.type in FLOATS:
        if isinstance(value, int) and float(value) != value:
            raise ValueError  # a `long` that another index of the pattern has as `double` keeps its digits
        return float(value)
    # Elasticsearch keeps "12.9" in the document, and indexes 12.
    return value if isinstance(value, int) else int(Decimal(str(value)))


def _moment(column: Column, document: Mapping[str, Any], source: Mapping[str, Any]) -> int | None:
    """A date in units of its column, as Elasticsearch understood it, or else as the document spells it."""
    told = document.get("fields", {}).get(column.path)
    value = told if told is not None else _at(source, column.path)
    if isinstance(value, list):
        if len(value) > 1:
            raise _Several
        value = value[0] if value else None
    if value is None or value == "":
        return None
    per_second = 10**9 if column.type == "date_nanos" else 10**6
    if isinstance(value, int | Decimal) or re.fullmatch(r"-?\d{5,}(\.\d+)?", value):
        unit = 1 if column.formats.split("||")[0] == "epoch_second" else 1000
        return int(Decimal(value) * per_second / unit)
    found = _DATE.match(value)
    if found is None:
        raise ValueError
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    day = dt.date(int(found["year"]), int(found["month"] or 1), int(found["day"] or 1))
    moment = dt.datetime.combine(day, dt.time(hour, minute, second))
    zone = (
        dt.datetime.strptime(found["zone"] or "Z", "%z").utcoffset() if _has_minutes(found["zone"]) else None
    )
    seconds = (moment - EPOCH) // dt.timedelta(seconds=1)
    if zone is not None:
        seconds -= zone // dt.timedelta(seconds=1)
    elif found["zone"] not in (None, "Z"):
        seconds -= int(found["zone"]) * 3600
    return seconds * per_second + int((found["part"] or "").ljust(9, "0")) * per_second // 10**9


def _has_minutes(zone: str | None) -> bool:
    return zone is not None and len(zone) > 3
