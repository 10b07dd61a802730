"""What Stripe has by now of the rows that were written, against what was acknowledged: who changed what since.

A push compares its rows with what was acknowledged, so that it never notices what somebody else changes at Stripe.
This room looks: set by set in the workbook, and only where texts differ object by object. Compared are the fields
that the warehouse owns; what is left to Stripe may change there. The answer is the table `drifted`, which has a row
for each field that changed, and one for an object that is gone: see DRIFTED.

`restored` gives the acknowledged state as if the row had said what Stripe has now: a plan made of that brings back
what drifted, and shows it before it does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa

from tidegate import catalog, config
from tidegate.catalog import writes
from tidegate.push import compare, diff, forms, steps, targets, workbook
from tidegate.warehouse import ddl

Kind = Literal["changed", "deleted", "unlinked"]
"""`unlinked`: the row has no object any more, which is noted already."""

HASH = "drifted"
"""What a drifted row is acknowledged with, for a plan that restores it; no hash of a row is that."""
BATCH = 2_000
"""Rows that are compared with their objects at a time."""
SLICE = 100_000
"""Rows whose fields are compared as text at a time, so that they are in memory."""

DRIFTED = pa.schema([
    ("key", pa.string()),
    ("target", pa.string()),
    ("kind", pa.string()),
    ("field", pa.string()),
    ("before", pa.string()),
    ("now", pa.string()),
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows: `rows` is the sum of the others, but for `fields`, which are those that changed."""

    rows: int = 0
    equal: int = 0
    changed: int = 0
    deleted: int = 0
    unlinked: int = 0
    fields: int = 0

    @property
    def drifted(self) -> int:
        """Rows of which Stripe has something else, and that is not noted yet."""
        return self.changed + self.deleted


@dataclass(frozen=True, slots=True)
class Drift:
    """One field that Stripe has otherwise than it was acknowledged, or an object that is gone."""

    key: str
    target: str
    kind: Kind
    field: str = ""
    before: str | None = None
    """What was acknowledged."""
    now: str | None = None

    def document(self) -> dict[str, Any]:
        """As `--json` and `--out` have it."""
        return asdict(self)


def find(
    book: workbook.Workbook,
    push: config.Push,
    of: writes.Object,
    mirror: targets.Mirror,
    acknowledged: Iterable[pa.RecordBatch],
    links: Iterable[pa.RecordBatch],
) -> Counts:
    """Make `drifted` in a workbook; done again, it replaces what was there. Writes nothing else.

    `acknowledged` are batches as `diff.ACKNOWLEDGED`, `links` as `targets.LINKS`.
    """
    fields = compared(push, of)
    _take(book, of, mirror, fields, acknowledged, links)
    columns = ", ".join(f"{name} VARCHAR" for name in DRIFTED.names)
    book.execute(f"CREATE OR REPLACE TABLE drifted ({columns})")
    book.execute(
        "INSERT INTO drifted SELECT key, target, 'unlinked', '', NULL, NULL FROM suspects WHERE kind = 'unlinked'"
    )
    for batch in book.batches("SELECT key, target, fields FROM suspects WHERE kind <> 'unlinked'", BATCH):
        found = list(_differing(of, mirror, fields, batch.to_pylist()))
        if found:
            rows = [each.document() for each in found]
            book.insert("drifted", pa.Table.from_pylist(rows, DRIFTED))
    steps.reached("drift found")
    told = book.rows("SELECT kind, count(DISTINCT key) FROM drifted GROUP BY kind")
    some = {str(kind): int(str(count)) for kind, count in told}
    total = book.count(
        "SELECT (SELECT count(*) FROM told) + (SELECT count(*) FROM suspects WHERE fields IS NULL)"
    )
    return Counts(
        rows=total,
        equal=total - sum(some.values()),
        **some,
        fields=book.count("SELECT count(*) FROM drifted WHERE kind = 'changed'"),
    )


def compared(push: config.Push, of: writes.Object) -> tuple[str, ...]:
    """The fields that the warehouse owns and an object shows."""
    stream = catalog.load().streams.get(of.stream)
    shown = {field.name for field in stream.fields} if stream is not None else set()
    return tuple(
        path
        for path in sorted(push.fields)
        if push.fields[path].owner == "warehouse"
        and (field := of.field(path)) is not None
        and not field.in_path
        and forms.steps(of, path)[0] in shown
    )


def entries(book: workbook.Workbook) -> Iterator[Drift]:
    """What drifted, by key."""
    for batch in book.batches("SELECT * FROM drifted ORDER BY key, field"):
        for row in batch.to_pylist():
            yield Drift(**row)


def restored(book: workbook.Workbook, size: int = workbook.BATCH) -> Iterator[pa.RecordBatch]:
    """All that is acknowledged, as `diff.ACKNOWLEDGED`; of what drifted as Stripe has it now.

    A row whose object is gone says nothing then, so that a plan looks at it.
    """
    patched = (
        "SELECT key, bool_or(kind <> 'changed') AS gone, json_group_object(field, now) AS patch FROM drifted "
        "GROUP BY key"
    )
    rows = (
        f"SELECT key, CASE WHEN p.key IS NULL THEN hash ELSE {ddl.literal(HASH)} END AS hash, CASE "
        "WHEN p.key IS NULL THEN fields WHEN p.gone THEN '{}' "
        f"ELSE CAST(json_merge_patch(fields, p.patch) AS VARCHAR) END AS fields "
        f"FROM told LEFT JOIN ({patched}) AS p USING (key)"
    )
    for batch in book.batches(rows, size):
        yield batch.cast(diff.ACKNOWLEDGED)


def _take(
    book: workbook.Workbook,
    of: writes.Object,
    mirror: targets.Mirror,
    fields: Sequence[str],
    acknowledged: Iterable[pa.RecordBatch],
    links: Iterable[pa.RecordBatch],
) -> None:
    """Make `told` and, of rows of which Stripe may have something else, `suspects(key, target, kind, fields)`."""
    values = [f"value_{n}" for n in range(len(fields))]
    with book.transaction():
        book.execute("CREATE OR REPLACE TABLE told (key VARCHAR, hash VARCHAR, fields VARCHAR, part BIGINT)")
        taken = 0
        for batch in acknowledged:
            book.insert("told", batch, f"key, hash, fields, {taken // SLICE}")
            taken += len(batch)
        book.execute("CREATE OR REPLACE TABLE tied (key VARCHAR, target VARCHAR, gone VARCHAR)")
        for batch in links:
            book.insert("tied", batch, "key, target, gone")
        columns = ", ".join(("id VARCHAR", "gone BOOLEAN", *(f"{value} VARCHAR" for value in values)))
        book.execute(f"CREATE OR REPLACE TABLE there ({columns})")
        for batch in mirror.rows(fields):
            book.insert("there", batch, ", ".join(("id", "gone", *values)))
        book.execute(
            "CREATE OR REPLACE TABLE suspects AS SELECT key, target, 'unlinked' AS kind, NULL::VARCHAR AS fields "
            "FROM tied WHERE gone = 'missing' AND NOT EXISTS (SELECT 1 FROM told WHERE told.key = tied.key)"
        )
    pointers = "[" + ", ".join(ddl.literal(diff.pointer(path)) for path in fields) + "]"
    differs = " OR ".join(_differs(of, path, f"texts[{n + 1}]", values[n]) for n, path in enumerate(fields))
    for part in range(-(-taken // SLICE)):
        book.execute(
            "CREATE OR REPLACE TABLE pairs AS SELECT t.key, t.fields, l.target, l.gone AS link FROM "
            f"(FROM told WHERE part = {part}) AS t LEFT JOIN "
            f"(FROM tied WHERE key IN (SELECT key FROM told WHERE part = {part})) AS l USING (key)"
        )
        book.execute(
            "INSERT INTO suspects SELECT key, coalesce(target, ''), CASE WHEN target IS NULL OR link = 'missing' "
            "THEN 'unlinked' WHEN id IS NULL OR gone THEN 'deleted' ELSE 'changed' END, fields FROM ("
            f"SELECT p.*, m.*, json_extract_string(p.fields, {pointers}) AS texts FROM pairs AS p LEFT JOIN "
            "(FROM there WHERE id IN (SELECT target FROM pairs)) AS m ON m.id = p.target) "
            f"WHERE target IS NULL OR link = 'missing' OR id IS NULL OR gone OR {differs or 'false'}"
        )
    for table in ("pairs", "there", "tied"):
        book.execute(f"DROP TABLE IF EXISTS {table}")


def _differs(of: writes.Object, path: str, told: str, there: str) -> str:
    """SQL: is what was acknowledged perhaps something else than what is there? What was never told is not."""
    field = of.field(path)
    same = f"{told} = {there}"
    if field is not None and field.kind == "timestamp":
        same += f" OR {told} = CAST(epoch(TRY_CAST({there} AS TIMESTAMPTZ))::BIGINT AS VARCHAR)"
    elif field is not None and field.kind in ("integer", "number", "decimal"):
        same += f" OR TRY_CAST({told} AS DECIMAL(38, 12)) = TRY_CAST({there} AS DECIMAL(38, 12))"
    nothing = f"({told} = '' AND coalesce({there}, '') IN ('', '[]', '{{}}', 'null'))"
    return f"({told} IS NOT NULL AND NOT coalesce({same} OR {nothing}, false))"


def _differing(
    of: writes.Object, mirror: targets.Mirror, fields: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> Iterator[Drift]:
    """What really differs of some rows, by what their objects say."""
    live = mirror.objects([row["target"] for row in rows])
    for row in rows:
        key, target, found = row["key"], row["target"], live.get(row["target"])
        if found is None:
            yield Drift(key, target, "deleted")
            continue
        told = json.loads(row["fields"])
        for path in fields:
            field, there = of.field(path), compare.shown(of, found, path)
            if field is None or path not in told or isinstance(there, compare.Seen):
                continue
            if not compare.same(field, told[path], there):
                yield Drift(key, target, "changed", path, told[path], there)
