"""What changed: the rows a mapping wants, against the state that each key was last acknowledged with.

The acknowledged state comes as Arrow batches of `key`, `hash` and `fields`, a JSON object of the fields' texts
under their dotted names. Rows of equal hashes are unchanged, and nothing more is looked at of them. The others are
compared field by field, where a null wants nothing: what is left stands in `changed`, and what turns out to be
equal in `renewed`: it is acknowledged anew under its new hash, without a request. Both have the columns of
`wanted`, and `is_new`, `dirty` (the numbers of the fields that differ) and `was` (the acknowledged fields).
`gone(key, was)` are acknowledged keys that the source no longer has at all; a row that is filtered out, refused or
doubled is not gone.

A field that was held back, because Stripe owns it or it was not empty there, belongs into the acknowledged hash and
not into the acknowledged fields: when its owner changes, it is found to differ.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from tidegate.push import mapping, models, steps, workbook
from tidegate.warehouse import ddl

ACKNOWLEDGED = pa.schema([("key", pa.string()), ("hash", pa.string()), ("fields", pa.string())])
"""What a batch of acknowledged rows looks like; each key comes once."""

CHANGED = pa.schema([
    ("key", pa.string()),
    ("hash", pa.string()),
    ("is_new", pa.bool_()),
    ("dirty", pa.list_(pa.string())),
    ("fields", pa.string()),
    ("was", pa.string()),
    ("match", pa.list_(pa.string())),
    ("folded", pa.list_(pa.string())),
])  # fmt: skip
"""What a batch of changed rows looks like: `fields` and `was` are JSON, `match` and `folded` in the order of
`Wanted.matches`."""


SPAN = 50_000
"""Numbers of rows that are sorted together."""


SLICE = 200_000
"""Rows whose fields are compared at a time."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Where every row of the source went: `source` is the sum of all but `gone` and `renewed`.

    `invalid` have no usable key, or a value that Stripe can never be sent; `renewed` are those of the unchanged
    that are acknowledged anew; `gone` were acknowledged, and their rows are no more.
    """

    source: int
    invalid: int
    doubled: int
    filtered: int
    unchanged: int
    changed: int
    new: int
    gone: int
    renewed: int


def diff(
    book: workbook.Workbook,
    taken: models.Snapshot,
    wanted: mapping.Wanted,
    acknowledged: Iterable[pa.RecordBatch],
) -> Counts:
    """Make `changed`, `renewed` and `gone` in a workbook; done again, it replaces what was there."""
    before = _acknowledge(book, acknowledged)
    book.execute(
        "CREATE OR REPLACE TABLE differing AS SELECT key, row FROM wanted WHERE NOT EXISTS ("
        "SELECT 1 FROM acknowledged AS a WHERE a.key = wanted.key AND a.hash = wanted.hash)"
    )
    book.execute(f"CREATE OR REPLACE TABLE compared AS {_compared(wanted, 0, 0)}")
    for first, last in _slices(book):
        book.execute(f"INSERT INTO compared {_compared(wanted, first, last)}")
    book.execute("CREATE OR REPLACE VIEW changed AS SELECT * FROM compared WHERE is_new OR len(dirty) > 0")
    book.execute(
        "CREATE OR REPLACE VIEW renewed AS SELECT * FROM compared WHERE NOT is_new AND len(dirty) = 0"
    )
    book.execute(
        "CREATE OR REPLACE TABLE gone AS SELECT key, fields AS was FROM acknowledged WHERE NOT EXISTS ("
        f"SELECT 1 FROM source WHERE {models.KEY} = acknowledged.key)"
        if before
        else "CREATE OR REPLACE TABLE gone (key VARCHAR, was VARCHAR)"
    )
    steps.reached("rows compared")
    new = book.count("SELECT count(*) FROM changed WHERE is_new")
    changed = book.count("SELECT count(*) FROM changed WHERE NOT is_new")
    found = Counts(
        source=taken.rows,
        invalid=sum(taken.invalid.values()) + wanted.refused + wanted.failed,
        doubled=taken.doubled,
        filtered=wanted.filtered,
        unchanged=wanted.rows - new - changed,
        changed=changed,
        new=new,
        gone=book.count("SELECT count(*) FROM gone"),
        renewed=book.count("SELECT count(*) FROM renewed"),
    )
    parts = found.invalid + found.doubled + found.filtered + found.unchanged + found.changed + found.new
    assert found.source == parts, f"{found} does not add up."
    return found


def changed(
    book: workbook.Workbook, wanted: mapping.Wanted, size: int = workbook.BATCH
) -> Iterator[pa.RecordBatch]:
    """The changed rows in the order of the source, as CHANGED; `dirty` are dotted names."""
    numbers = range(len(wanted.matches))
    fields = "[" + ", ".join(map(ddl.literal, wanted.fields)) + "]"
    shown = (
        f"key, hash, is_new, list_transform(dirty, lambda n: {fields}[n + 1]) AS dirty, "
        f"{mapping.fields_json(wanted)} AS fields, was, "
        f"[{', '.join(f'match_{n}' for n in numbers)}]::VARCHAR[] AS match, "
        f"[{', '.join(f'folded_{n}' for n in numbers)}]::VARCHAR[] AS folded"
    )
    for batch in in_order(book, "changed", shown, size):
        yield batch.cast(CHANGED)


def renewed(
    book: workbook.Workbook, wanted: mapping.Wanted, size: int = workbook.BATCH
) -> Iterator[pa.RecordBatch]:
    """The rows that are acknowledged anew without a request, as ACKNOWLEDGED; see `told`."""
    texts = ", ".join(
        f"{ddl.literal(field)}, coalesce(field_{n}, json_extract_string(was, {ddl.literal(pointer(field))}))"
        for n, field in enumerate(wanted.fields)
    )
    for batch in in_order(book, "renewed", f"key, hash, {mapping.without_nulls(texts)} AS fields", size):
        yield batch.cast(ACKNOWLEDGED)


def told(
    wanted: mapping.Wanted,
    was: Mapping[str, str],
    fields: Mapping[str, str],
    held: Collection[str] = (),
) -> dict[str, str]:
    """The fields to acknowledge once a row is sent: what Stripe was last told of each field that the mapping has.

    A field that is null keeps what was acknowledged before; one that was `held` back is none.
    """
    now = {**was, **fields}
    return {field: now[field] for field in wanted.fields if field in now and field not in held}


def in_order(book: workbook.Workbook, table: str, shown: str, size: int) -> Iterator[pa.RecordBatch]:
    """Rows in the order of the source; some at a time, since sorting all of them takes memory."""
    last = book.count(f"SELECT coalesce(max(row), 0) FROM {table}")
    for first in range(1, last + 1, SPAN):
        where = f"row BETWEEN {first} AND {first + SPAN - 1}"
        yield from book.batches(f"SELECT {shown} FROM {table} WHERE {where} ORDER BY row", size)


def _acknowledge(book: workbook.Workbook, acknowledged: Iterable[pa.RecordBatch]) -> int:
    """Take the acknowledged state into the workbook; how many rows it has."""
    rows = 0
    with book.transaction():
        book.execute("CREATE OR REPLACE TABLE acknowledged (key VARCHAR, hash VARCHAR, fields VARCHAR)")
        for batch in acknowledged:
            book.insert("acknowledged", batch, "key, hash, fields")
            rows += len(batch)
    return rows


def _slices(book: workbook.Workbook) -> list[tuple[object, ...]]:
    """Numbers of rows between which few enough rows differ for their fields to be in memory."""
    return book.rows(
        "SELECT min(row), max(row) FROM ("
        f"SELECT row, (row_number() OVER (ORDER BY row) - 1) // {SLICE} AS part FROM differing) "
        "GROUP BY part ORDER BY 1"
    )


def _compared(wanted: mapping.Wanted, first: object, last: object) -> str:
    """A query that tells, for the rows of another hash, which fields differ from what was acknowledged.

    Of the rows numbered from `first` to `last`; what was acknowledged of the others is only passed by.
    """
    pointers = "[" + ", ".join(ddl.literal(pointer(field)) for field in wanted.fields) + "]"
    dirty = ", ".join(
        f"CASE WHEN field_{n} IS DISTINCT FROM texts[{n + 1}] AND field_{n} IS NOT NULL THEN {n} END"
        for n in range(len(wanted.fields))
    )
    return (
        f"SELECT * EXCLUDE (texts), list_filter([{dirty}], lambda n: n IS NOT NULL) AS dirty FROM ("
        "SELECT w.*, a.key IS NULL AS is_new, a.fields AS was, "
        f"json_extract_string(a.fields, {pointers}) AS texts "
        f"FROM (FROM wanted WHERE row BETWEEN {first} AND {last}) AS w JOIN differing AS d ON d.row = w.row "
        "LEFT JOIN (FROM acknowledged WHERE key IN ("
        f"SELECT key FROM differing WHERE row BETWEEN {first} AND {last})) AS a ON a.key = w.key)"
    )


def pointer(field: str) -> str:
    """Where a field stands in a JSON object whose names may have dots. https://www.rfc-editor.org/rfc/rfc6901"""
    return "/" + field.replace("~", "~0").replace("/", "~1")
