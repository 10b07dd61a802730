"""Which object of Stripe each changed row is: by its link, or by what it matches in the push's own mirror of them.

The answer is the table `resolved(key, found, target, candidates)` of the workbook. A row that has no object is
`absent`, and may be created: the mirror holds every object, deleted ones too, as of a moment that the plan names,
and who creates looks once more. What only a person can tell is said instead of guessed: several objects for a row,
several rows for an object, several rows that would each create the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, Protocol, get_args

import pyarrow as pa

from tidegate import config, errors
from tidegate.catalog import writes
from tidegate.push import compare, mapping, steps, workbook
from tidegate.store import decisions
from tidegate.warehouse import ddl

Found = Literal["linked", "matched", "absent", "blank", "many", "shared", "doubled", "gone", "vanished"]
"""`linked`: it was that before; what a person chose is `matched`. `blank`: a column that it is matched by is empty.
`doubled`: another row would create the same. `gone`: somebody deleted the object that it had; `vanished`: that is
not noted yet."""
FOUND: tuple[Found, ...] = get_args(Found)

MARK = compare.MARK

CREATE = decisions.CREATE
"""What a person chooses for a row that is none of its candidates."""

LINKS = pa.schema([
    ("key", pa.string()),
    ("target", pa.string()),
    ("created", pa.bool_()),
    ("gone", pa.string()),
])  # fmt: skip
"""What a batch of links looks like: `gone` is empty, `deleted` (by us) or `missing`."""


class Mirror(Protocol):
    """Every object of one kind that an account has or had, kept by whoever calls the push."""

    caught_up_since: float
    """It has every object that there was at this moment, in unix seconds of Stripe's clock; 0 when it never had."""

    def rows(self, fields: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """All objects: `id`, `created` (unix seconds), `gone`, and a column of text `value_<n>` for each field."""
        ...

    def objects(self, ids: Sequence[str]) -> Mapping[str, compare.Live]:
        """Some objects as Stripe answers them, without those that are not there; some thousand at most."""
        ...

    def find_op(self, operation: str) -> str | None:
        """The id of the object that says under `MARK` in its metadata that this operation made it."""
        ...


class Nothing:
    """The mirror of objects that Stripe has no list of: whoever writes them says which they are."""

    caught_up_since = 0.0

    def rows(self, fields: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """No rows."""
        names = ["id", "created", "gone", *(f"value_{n}" for n in range(len(fields)))]
        types = [pa.string(), pa.int64(), pa.bool_(), *(pa.string() for _ in fields)]
        yield pa.RecordBatch.from_pylist([], pa.schema(list(zip(names, types, strict=True))))

    def objects(self, ids: Sequence[str]) -> Mapping[str, compare.Live]:
        """No objects."""
        del ids
        return {}

    def find_op(self, operation: str) -> str | None:
        """None."""
        del operation
        return None


def check(name: str, push: config.Push, of: writes.Object) -> None:
    """Raises ConfigError unless the object can be found by what the push matches."""
    for field in push.match:
        known = "metadata" if field.startswith("metadata.") else field
        if known not in of.keys:
            near = difflib.get_close_matches(field, of.keys, n=1)
            ways = ", ".join("metadata.<key>" if key == "metadata" else key for key in of.keys)
            hint = f"did you mean {near[0]}?" if near else f"match {ways or 'nothing'}."
            raise errors.ConfigError(f"pushes.{name}.match: no {of.name} is found by {field}; {hint}")


def resolve(
    book: workbook.Workbook,
    wanted: mapping.Wanted,
    push: config.Push,
    mirror: Mirror,
    links: Iterable[pa.RecordBatch],
    chosen: Mapping[str, str] | None = None,
) -> dict[Found, int]:
    """Make `resolved` of the changed rows; says how many were found how. Done again, it replaces what was there.

    `links` are all of this push, as LINKS. `chosen` is what a person chose for a row, by its key: an object's id,
    or CREATE.
    """
    _link(book, links, chosen or {})
    _mirror(book, wanted, push, mirror)
    numbers = range(len(wanted.matches))
    equal = " AND ".join(f"m.value_{n} = w.folded_{n}" for n in numbers)
    blank = " OR ".join(f"w.folded_{n} IS NULL" for n in numbers)
    first = {"oldest": "ids[1]", "newest": "ids[-1]"}.get(push.on_many, "NULL")
    several = "many" if push.on_many == "hold" else "matched"
    same = ", ".join(f"folded_{n}" for n in numbers)
    # Also what somebody deleted stays a row's object, until a person chooses another or a new one.
    kept = "l.gone IN ('', 'missing') AND ch.target IS NULL"
    with book.transaction():
        book.execute(
            "CREATE OR REPLACE TABLE candidates AS SELECT w.key, list(m.id ORDER BY m.created, m.id) AS ids "
            f"FROM changed AS w JOIN mirrored AS m ON {equal} AND NOT m.gone "
            "GROUP BY w.key"
        )
        book.execute(
            "CREATE OR REPLACE TABLE looked_up AS SELECT w.key, "
            f"{', '.join(f'w.folded_{n}' for n in numbers)}, coalesce(ids, []) AS ids, "
            f"CASE WHEN {kept} THEN l.target "
            f"WHEN ch.target <> {ddl.literal(CREATE)} THEN ch.target "
            f"WHEN ch.target IS NOT NULL OR {blank} THEN NULL "
            f"WHEN len(ids) = 1 THEN ids[1] WHEN len(ids) > 1 THEN {first} END AS target, "
            f"CASE WHEN {kept} THEN CASE WHEN l.gone = 'missing' THEN 'gone' "
            "WHEN coalesce(m.gone, false) THEN 'vanished' ELSE 'linked' END "
            f"WHEN ch.target = {ddl.literal(CREATE)} THEN 'absent' WHEN ch.target IS NOT NULL THEN 'matched' "
            f"WHEN {blank} THEN 'blank' WHEN len(ids) = 1 THEN 'matched' "
            f"WHEN len(ids) > 1 THEN '{several}' ELSE 'absent' END AS found "
            "FROM changed AS w LEFT JOIN candidates USING (key) "
            "LEFT JOIN linked AS l USING (key) LEFT JOIN chosen AS ch USING (key) "
            "LEFT JOIN mirrored AS m ON m.id = l.target AND l.gone = ''"
        )
        # An object belongs to the row that is linked to it, or else to nobody while several rows want it.
        book.execute(
            "CREATE OR REPLACE TABLE resolved AS SELECT key, CASE "
            "WHEN found = 'matched' AND (count(*) OVER (PARTITION BY found, target) > 1 OR EXISTS ("
            "SELECT 1 FROM linked WHERE linked.target = o.target AND linked.gone = '' AND linked.key <> o.key)) "
            f"THEN 'shared' WHEN found = 'absent' AND count(*) OVER (PARTITION BY found, {same}) > 1 "
            "THEN 'doubled' ELSE found END AS found, coalesce(target, '') AS target, ids AS candidates "
            "FROM looked_up AS o"
        )
        book.execute("DROP TABLE looked_up")
        book.execute("DROP TABLE candidates")
    steps.reached("targets resolved")
    counts = book.rows("SELECT found, count(*) FROM resolved GROUP BY found")
    told = {str(found): int(str(count)) for found, count in counts}
    return {found: told.get(found, 0) for found in FOUND}


def _link(book: workbook.Workbook, links: Iterable[pa.RecordBatch], chosen: Mapping[str, str]) -> None:
    texts = pa.schema([("key", pa.string()), ("target", pa.string())])
    with book.transaction():
        book.execute(
            "CREATE OR REPLACE TABLE linked (key VARCHAR, target VARCHAR, created BOOLEAN, gone VARCHAR)"
        )
        for batch in links:
            book.insert("linked", batch, ", ".join(LINKS.names))
        book.execute("CREATE OR REPLACE TABLE chosen (key VARCHAR, target VARCHAR)")
        book.insert("chosen", pa.table({"key": list(chosen), "target": list(chosen.values())}, texts))


def _mirror(book: workbook.Workbook, wanted: mapping.Wanted, push: config.Push, mirror: Mirror) -> None:
    """Take what rows are matched by into the workbook, folded where its case does not count."""
    texts = [
        f"tidegate_folded(value_{n})" if push.match[field].folded(field) else f"value_{n}"
        for n, field in enumerate(wanted.matches)
    ]
    columns = ", ".join(f"value_{n} VARCHAR" for n in range(len(texts)))
    with book.transaction():
        book.execute(
            f"CREATE OR REPLACE TABLE mirrored (id VARCHAR, created BIGINT, gone BOOLEAN, {columns})"
        )
        for batch in mirror.rows(wanted.matches):
            book.insert("mirrored", batch, f"id, created, gone, {', '.join(texts)}")
