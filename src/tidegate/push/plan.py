"""What a push would do, row by row, before anything is done: kept as it was shown, counted, and guarded.

Every changed row of the workbook has one verdict in the table `planned` (see `judging`), and every row of the
source is counted once. Creates and updates are what `apply` may send; the rest says why nothing is sent. Before and
after stand with each field, so that a person can approve the plan, and `apply` can tell when Stripe has changed
since.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import pyarrow as pa

from tidegate import config
from tidegate.push import compare, diff, workbook

Verdict = Literal[
    "create", "update", "equal", "remove", "over", "unmatched", "held", "quarantined", "invalid"
]
"""`equal`: Stripe has all of it, so that it is acknowledged without a request. `remove`: its row is gone; `over`:
and nothing is left to do about that."""
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
WRITES: tuple[Verdict, ...] = ("create", "update", "remove")
REFUSED = ("refused", "undone")
"""Kinds of holds of rows that could be written, and shall not be for now."""

OPEN = "open"
"""What keeps a row from being written whose last write is undecided still, beside the kinds of holds."""

Side = Literal["warehouse", "stripe", "replace"]
"""Whose value counts; `replace`: the row's, by another object."""

FEW = 20
"""Changed rows up to which their share of all rows says nothing."""
PLANNED = pa.schema([
    ("key", pa.string()),
    ("hash", pa.string()),
    ("verdict", pa.string()),
    ("action", pa.string()),
    ("target", pa.string()),
    ("fields", pa.string()),
    ("changes", pa.string()),
    ("kind", pa.string()),
    ("field", pa.string()),
    ("text", pa.string()),
    ("match", pa.string()),
    ("candidates", pa.list_(pa.string())),
])  # fmt: skip
"""What a batch of the plan looks like: `fields` and `changes` are JSON."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to become of a row. `text` is a sentence without personal data: why, or what else a write does."""

    key: str
    hash: str
    verdict: Verdict
    action: str = ""
    """Of a write: create, update, replace, clear, flag, archive or delete."""
    target: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What the row says, as it is acknowledged with the write."""
    changes: Mapping[str, compare.Change] = field(default_factory=dict)
    match: Mapping[str, str] = field(default_factory=dict)
    """Of a row that was found by it just now, and is not linked yet: what the object must have still."""
    kind: str = ""
    """Of a hold: see `store.holds`."""
    field: str = ""
    text: str = ""
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """Where every row of the source goes: `source` is the sum of all but `removed`."""

    source: int = 0
    invalid: int = 0
    filtered: int = 0
    unchanged: int = 0
    unmatched: int = 0
    held: int = 0
    quarantined: int = 0
    created: int = 0
    updated: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What was planned, for whom, and what stands against doing it at once."""

    push: str
    run: str
    object: str
    account: str
    livemode: bool
    fingerprint: str
    """Of the mapping."""
    made_at: float
    """When the source was asked, in unix seconds."""
    mirror_at: float
    """The moment of Stripe's clock up to which its objects were known."""
    counts: Counts
    guards: tuple[str, ...]
    """Why somebody has to approve it first, in sentences."""
    requests: int
    """What it takes, reading included."""
    seconds: float
    """How long that takes at the budget's rate."""
    doubled: tuple[str, ...] = ()
    """The first keys that stand on several rows, none of which is sent."""
    doubles: int = 0
    """How many such keys there are."""
    keyless: int = 0
    """Rows that have no usable key."""


@dataclass(frozen=True, slots=True)
class Paused:
    """A row that was not written before, as the store has it: kind, state, and what it failed with."""

    kind: str
    state: str
    hash: str
    version: str
    is_due: bool


def balance(counts: Counts, undone: int = 0) -> None:
    """Every row of the source is counted once, `undone` of them elsewhere; what was removed had no row."""
    parts = asdict(counts)
    source, removed = parts.pop("source"), parts.pop("removed")
    assert source == sum(parts.values()) + undone, f"{counts} does not add up: {source}, {undone}, {removed}."


def guards(counts: Counts, guard: config.Guard, acknowledged: int, changed: int) -> tuple[str, ...]:
    """Why a plan waits for approval; nothing where it need not.

    `acknowledged` rows were sent before, of which `changed` would be sent again or removed: a row that never was is
    no change of what was sent.
    """
    found = []
    if not counts.source and acknowledged:
        found.append(f"The model is empty, and {acknowledged:,} of its rows were sent before.")
    elif not counts.source:
        found.append("The model is empty.")
    elif counts.source < acknowledged * (1 - guard.rows_down):
        found.append(
            f"The model has {counts.source:,} rows, and {acknowledged:,} were sent before; "
            f"{guard.rows_down:.0%} less is allowed (guard.rows_down)."
        )
    if guard.max_creates is not None and counts.created > guard.max_creates:
        what = "object" if counts.created == 1 else "objects"
        found.append(
            f"{counts.created:,} {what} would be created; {guard.max_creates:,} are allowed (guard.max_creates)."
        )
    if changed >= FEW and acknowledged and changed > math.floor(acknowledged * guard.max_changed):
        found.append(
            f"{changed:,} of {acknowledged:,} rows that were sent before would be changed; {guard.max_changed:.0%} "
            "are allowed (guard.max_changed)."
        )
    if counts.removed > guard.max_removed:
        found.append(
            f"{counts.removed:,} objects whose rows are gone would be cleared, flagged, archived or deleted; "
            f"{guard.max_removed:,} are allowed (guard.max_removed)."
        )
    return tuple(found)


def entries(book: workbook.Workbook, *verdicts: Verdict) -> Iterator[Entry]:
    """The plan's rows of these verdicts, or all, in the order of the source; what is gone from it comes last."""
    wanted = f"verdict IN ({', '.join(repr(each) for each in verdicts or VERDICTS)})"
    shown = ", ".join(PLANNED.names)
    last = book.count("SELECT coalesce(max(number), 0) FROM planned")
    for first in range(1, last + 1, diff.SPAN):  # sorting all of them takes memory
        where = f"number BETWEEN {first} AND {first + diff.SPAN - 1} AND {wanted}"
        for batch in book.batches(f"SELECT {shown} FROM planned WHERE {where} ORDER BY number"):
            for row in batch.to_pylist():
                yield _entry(row)


def document(plan: Plan, rows: Iterable[Entry]) -> Iterator[str]:
    """A plan as JSON, a piece at a time, one line for each row."""
    yield json.dumps({**asdict(plan), "version": 1})[:-1] + ', "rows": ['
    comma = "\n"
    for each in rows:
        yield comma + json.dumps(dumped(each), ensure_ascii=False)
        comma = ",\n"
    yield "\n]}\n"


def dumped(entry: Entry) -> dict[str, Any]:
    """A row of a plan as JSON has it, without what it does not say; `loaded` takes it back."""
    changes = {path: [change.before, change.after] for path, change in entry.changes.items()}
    told = {**asdict(entry), "changes": changes}
    return {name: value for name, value in told.items() if value not in ("", {}, (), [])}


def loaded(row: Mapping[str, Any]) -> Entry:
    """A row of a plan as `dumped` gave it; raises TypeError for what is none."""
    changes = {path: compare.Change(*pair) for path, pair in row.get("changes", {}).items()}
    told = {"key": "", "hash": "", **row}
    return Entry(**{**told, "changes": changes, "candidates": tuple(row.get("candidates", ()))})


def _entry(row: Mapping[str, Any]) -> Entry:
    changes = {path: compare.Change(*pair) for path, pair in json.loads(row["changes"]).items()}
    told = {name: json.loads(row[name]) for name in ("fields", "match")}
    found = {**row, **told, "changes": changes}
    return Entry(**{**found, "candidates": tuple(row["candidates"])})


def begin(book: workbook.Workbook) -> None:
    """Make `planned` without a row."""
    texts = ", ".join(f"{name} VARCHAR" for name in PLANNED.names if name != "candidates")
    book.execute(f"CREATE OR REPLACE TABLE planned ({texts}, candidates VARCHAR[], number BIGINT)")


def note(book: workbook.Workbook, found: Iterable[Entry], number: int) -> int:
    """Add rows to the plan, numbered from `number` on; says how many."""
    rows = []
    for at, each in enumerate(found, number):
        changes = {path: [change.before, change.after] for path, change in each.changes.items()}
        rows.append({
            **{name: getattr(each, name) for name in PLANNED.names},
            "fields": json.dumps(dict(each.fields)),
            "changes": json.dumps(changes),
            "match": json.dumps(dict(each.match)),
            "candidates": list(each.candidates),
            "number": at,
        })  # fmt: skip
    if rows:
        book.insert("planned", pa.Table.from_pylist(rows, PLANNED.append(pa.field("number", pa.int64()))))
    return len(rows)
