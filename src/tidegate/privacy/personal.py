"""What is personal in a row, and what may stay of it once its customer is forgotten.

The rule is a list of what stays; everything else goes. Stay: keys, numbers, booleans, times, references to other
objects, and words that Stripe itself chose (enumerations, currencies, states). Free text, addresses, names, numbers
of cards and accounts, metadata, URLs, and whatever the catalog does not know, go. In JSON the same holds member by
member, down to the bottom.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from tidegate import catalog
from tidegate.rows import columns, text

CUSTOMERS = "customers"

WORDS = frozenset(
    (
        "api_version", "billing_reason", "billing_scheme", "capture_method", "collection_method", "currency",
        "failure_code", "flow", "funding", "interval", "method", "mode", "network_status", "object",
        "payment_method_type", "proration_behavior", "reason", "recurring_interval", "reporting_category",
        "risk_level", "source_type", "status", "tax_behavior", "tiers_mode", "type", "usage", "usage_type",
    )
)  # fmt: skip
"""Names under which Stripe writes words of its own choice, never what somebody typed."""

NEVER = re.compile(
    r"dob|date_of_birth|birth\w*|exp_(month|year)|lat|lng|latitude|longitude|location|ip\w*|metadata"
)
"""Members and columns that go whatever they hold: some of their numbers tell who somebody is."""

_WORD = re.compile(r"[a-z][a-z0-9_.\-]{0,63}|\d{4}-\d{2}-\d{2}(\.[a-z]+)?")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ID = re.compile(r"[a-z][a-z0-9]{1,23}_(?:[a-z0-9]+_)*[A-Za-z0-9]{1,250}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DECIMAL = re.compile(r"-?\d{1,30}(\.\d{1,30})?")
_LITERAL = re.compile(rb"true|false|null|-?\d[\d.eE+\-]*")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T[0-9:.]{5,18}(Z|[+-]\d{2}:\d{2})")

Treatment = Callable[[pa.ChunkedArray], pa.ChunkedArray]


def clean(stream: catalog.Stream, rows: pa.Table) -> pa.Table:
    """The same rows without anything personal; a customer becomes a tombstone, its key and version alone.

    Versions of a history that change get a `_row_hash` of what is left, so that those that still differ stay apart.
    """
    if stream.name == CUSTOMERS:
        return _tombstones(stream, rows)
    fields = {field.name: field for field in stream.fields}
    kept = []
    for field, column in zip(rows.schema, rows.columns, strict=True):
        if field.name in stream.key or (field.name.startswith("_") and field.name != "_extra"):
            kept.append(column)
        elif field.name not in fields:
            kept.append(_nothing(column))
        else:
            kept.append(_treated(fields[field.name], column))
    cleaned = pa.table(kept, schema=rows.schema)
    at = rows.schema.get_field_index("_row_hash")
    if at < 0:
        return cleaned
    hashes = pc.if_else(changed(rows, cleaned), _hashes(cleaned), rows["_row_hash"])
    return cleaned.set_column(at, rows.schema.field(at), hashes)


def changed(before: pa.Table, after: pa.Table) -> pa.ChunkedArray:
    """Which rows are not what they were."""
    found = pa.chunked_array([pa.repeat(pa.scalar(False), before.num_rows)])
    for old, new in zip(before.columns, after.columns, strict=True):
        if new.null_count == len(new):
            found = pc.or_(found, pc.is_valid(old))
            continue
        unequal = pc.fill_null(pc.not_equal(old, new), False)
        found = pc.or_(found, pc.or_(unequal, pc.xor(pc.is_null(old), pc.is_null(new))))
    return found


def json(value: str) -> str | None:
    """JSON without anything personal; text that is no JSON is not kept."""
    try:
        found = _value("", text.compact(value.encode("utf-8", "surrogatepass")))
    except (ValueError, RecursionError):
        return None
    return found.decode()


def refers(name: str) -> bool:
    """Does a field of this name hold ids of Stripe's objects?"""
    if name == "id":
        return True
    named = (name, name.removesuffix("s"))
    return not name.endswith("secret") and any(
        each in references() or each.partition("_")[2] in references() for each in named
    )


@functools.cache
def references() -> frozenset[str]:
    """The names under which ids stand: of every field that can be expanded, and of every object."""
    streams = catalog.load().streams.values()
    fields = [field for stream in streams for field in stream.fields]
    named = {field.name for field in fields if field.type == "id"}
    objects = {stream.object for stream in streams}.union(*(field.expands for field in fields))
    return frozenset(named | {name.rpartition(".")[2] for name in objects} | {"customer_account"})


def _tombstones(stream: catalog.Stream, rows: pa.Table) -> pa.Table:
    stay = {"_account_id", "_version", "_synced_at", *stream.key}
    kept = []
    for field, column in zip(rows.schema, rows.columns, strict=True):
        if field.name == "_deleted_at":
            kept.append(pc.coalesce(column, _instant(rows["_version"])))
        else:
            kept.append(column if field.name in stay else _nothing(column))
    return pa.table(kept, schema=rows.schema)


def _hashes(rows: pa.Table) -> pa.Array:
    content = rows.select(sorted(name for name in rows.schema.names if not name.startswith("_")))
    told = ([pair for pair in row.items() if pair[1] is not None] for row in content.to_pylist())
    return pa.array([hashlib.sha256(repr(pairs).encode()).hexdigest() for pairs in told], pa.string())


def _instant(versions: pa.ChunkedArray) -> pa.ChunkedArray:
    return versions.cast(pa.timestamp("s", "UTC")).cast(columns.INSTANT)


def _treated(field: catalog.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if NEVER.fullmatch(field.name):
        return _nothing(column)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    if field.type == "json":
        return _each(column, json)
    if field.type == "id" or (field.type == "string" and refers(field.name)):
        return _each(column, _reference)
    if field.type == "string" and field.values:
        known = frozenset(field.values)
        return _each(column, lambda value: value if value in known or _WORD.fullmatch(value) else None)
    if field.type == "string" and _chosen(field.name):
        return _each(column, lambda value: value if _WORD.fullmatch(value) else None)
    # Free text; or the hash of a number or time, which says less than the number and could still be guessed.
    return _nothing(column)


def _each(column: pa.ChunkedArray, of: Callable[[str], str | None]) -> pa.ChunkedArray:
    """Each different value is looked at once."""
    if column.null_count == len(column):
        return column
    seen: dict[str, str | None] = {}
    found: list[str | None] = []
    for value in column.to_pylist():
        if value is not None and value not in seen:
            seen[value] = of(value)
        found.append(None if value is None else seen[value])
    return pa.chunked_array([pa.array(found, column.type)])


def _nothing(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(len(column), column.type)])


def _reference(value: str) -> str | None:
    return value if _ID.fullmatch(value) or _DIGEST.fullmatch(value) else None


def _chosen(name: str) -> bool:
    """Does Stripe choose the words under this name?"""
    return name in WORDS or name.endswith(("_currency", "_status", "_types"))


def _value(name: str, raw: bytes) -> bytes:
    """One value of JSON under the name of the member that holds it, or holds the list that it stands in."""
    raw = raw.strip()
    first = raw[:1]
    if first == b"{":
        kept = [
            b'"' + key.encode() + b'":' + (b"null" if NEVER.fullmatch(key) else _value(key, value))
            for key, value in text.members(raw).items()
            if _KEY.fullmatch(key)
        ]
        return b"{" + b",".join(kept) + b"}"
    if first == b"[":
        return b"[" + b",".join(_value(name, value) for value in text.elements(raw)) + b"]"
    if first != b'"':
        if not _LITERAL.fullmatch(raw):
            raise ValueError("no JSON value")
        return raw
    value = text.value(raw)
    return raw if isinstance(value, str) and _stays(name, value) else b"null"


def _stays(name: str, value: str) -> bool:
    return bool(
        (refers(name) and _ID.fullmatch(value))
        or (_chosen(name) and _WORD.fullmatch(value))
        or (name.endswith("_decimal") and _DECIMAL.fullmatch(value))
        or _TIME.fullmatch(value)
    )
