"""Is a warehouse what Stripe is? Every table held against the sandbox's truth, field by field, with plain JSON.

Nothing of the product decodes here: what a column must hold is worked out anew from the object as Stripe has it.
"""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidegate import catalog

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
SHOWN = 6
"""Differences of one table that are written out."""

Object = dict[str, Any]
Key = tuple[str, ...]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Thing:
    """An object of Stripe's, with its parent's id; `deleted` says when it was deleted, unix seconds."""

    parent: str
    object: Object
    deleted: int | None = None


@dataclass(frozen=True)
class View:
    """How one stream is wanted: which columns, which hashed, which rows, and what becomes of deleted ones."""

    stream: catalog.Stream
    columns: frozenset[str] | None = None
    hashed: frozenset[str] = frozenset()
    where: Callable[[Object], bool] | None = None
    hard: bool = False
    history: bool = False

    def wants(self, each: Object) -> bool:
        """Does the row belong into the table?"""
        return self.where is None or self.where(each)

    def fields(self) -> Iterable[catalog.Field]:
        """The fields that have a column."""
        for each in self.stream.fields:
            if self.columns is None or each.name in self.columns or each.name in self.stream.key:
                yield each

    def key(self, parent: str, each: Object) -> Key:
        """What identifies it within its account."""
        return tuple(parent if part == "_parent_id" else str(each[part]) for part in self.stream.key)


@dataclass(frozen=True)
class Truth:
    """All that Stripe has of one stream and account, and what may be asked of the table.

    `due` says whether the table must have an object, `known` whether it must be the newest state where it is there;
    `stored` are keys that were seen in the table at some time, which a tombstone must remember.
    """

    things: Sequence[Thing]
    stored: Collection[Key] = ()
    due: Callable[[Thing], bool] = lambda _: True
    known: Callable[[Thing], bool] = lambda _: True
    states: Mapping[Key, Sequence[Object]] = field(default_factory=dict)
    """Every state that an object that changed ever had, by key, nested lists left out."""


def differences(view: View, account: str, rows: Sequence[Row], truth: Truth) -> list[str]:
    """Where a table is not what it must be, a sentence each; nothing when it is exact."""
    live = {view.key(each.parent, each.object): each for each in truth.things if each.deleted is None}
    gone = {view.key(each.parent, each.object): each for each in truth.things if each.deleted is not None}
    wrong: list[str] = []
    stored: dict[Key, Row] = {}
    for row in rows:
        key = tuple(row[part] for part in view.stream.key)
        if key in stored:
            wrong.append(f"{key} is there twice")
        stored[key] = row
    for key, row in stored.items():
        if row["_account_id"] != account:
            wrong.append(f"{key} belongs to {row['_account_id']}")
        if row["_deleted_at"] is not None:
            wrong += _buried(view, key, row, live, gone)
        elif key not in live:
            when = f"since {gone[key].deleted}" if key in gone else "and never was"
            if key not in gone or truth.known(gone[key]):
                wrong.append(f"{key} is alive at version {row['_version']}, but is no more at Stripe {when}")
        elif truth.known(live[key]):
            if not view.wants(live[key].object):
                wrong.append(f"{key} does not belong into the table (version {row['_version']})")
            wrong += [f"{key} (version {row['_version']}): {each}" for each in stale(view, live[key], row)]
    for key, thing in live.items():
        is_there = key in stored and stored[key]["_deleted_at"] is None
        if not is_there and view.wants(thing.object) and truth.due(thing) and truth.known(thing):
            wrong.append(f"{key} is missing")
    if not view.hard and view.where is None:
        for key in set(gone) & set(truth.stored) - set(live) - set(stored):
            wrong.append(f"{key} was stored and then deleted, and left no tombstone")
    return _named(view.stream.name, wrong)


def _buried(
    view: View, key: Key, row: Row, live: Mapping[Key, Thing], gone: Mapping[Key, Thing]
) -> list[str]:
    if view.hard:
        return [f"{key} is a tombstone although deleted rows are to be removed"]
    if key in live:
        return [f"{key} is a tombstone of version {row['_version']}, but lives at Stripe"]
    if key not in gone:
        return [f"{key} is a tombstone of something that never was"]
    return []


def stale(view: View, thing: Thing, row: Row) -> list[str]:
    """The fields in which a row is not the object."""
    wrong = list(_fields(view, thing.object, row))
    if "_parent_id" in row and row["_parent_id"] != thing.parent:
        wrong.append(f"_parent_id: {row['_parent_id']!r} instead of {thing.parent!r}")
    return wrong


def _fields(view: View, thing: Object, row: Row, less: Collection[str] = ()) -> Iterable[str]:
    """The same of one state; `less` names columns that are not compared."""
    nested = {each.path.partition(".")[0] for each in view.stream.nested}
    named = set(less)
    for each in view.fields():
        named.add(each.name)
        if each.name in less or each.name in nested:
            continue
        found, wanted = row[each.name], column(each, thing.get(each.name))
        if each.name in view.hashed:
            wanted = None if wanted is None else hashlib.sha256(str(wanted).encode()).hexdigest()
        elif each.type == "json" and found is not None:
            found = plain(json.loads(found, parse_float=decimal.Decimal))
        if found != wanted:
            yield f"{each.name}: {shown(found)} instead of {shown(wanted)}"
    if view.columns is None:
        extra = json.loads(row["_extra"]) if row["_extra"] else {}
        unknown = {name for name in thing if name not in named | nested}
        for name in sorted(unknown.symmetric_difference(extra)):
            yield f"{name}: in _extra {name in extra}, at Stripe {name in unknown}"


def column(field: catalog.Field, value: Any) -> Any:
    """What a column of this field must hold for a value of the API."""
    if value is None:
        return None
    if field.type == "timestamp":
        return EPOCH + dt.timedelta(seconds=int(value))
    if field.type == "id":
        return value["id"] if isinstance(value, dict) else value
    if field.type == "decimal":
        return decimal.Decimal(value)
    if field.type == "integer":
        return int(value)
    if field.type == "number":
        return float(value)
    return plain(value) if field.type == "json" else value


def plain(value: Any) -> Any:
    """Numbers as text, so that nothing depends on how they were decoded."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value if isinstance(value, bool | str) or value is None else str(value)


def shown(value: Any) -> str:
    """A value as it stands in a sentence."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def past(view: View, rows: Sequence[Row], table: Sequence[Row], truth: Truth) -> list[str]:
    """Where a history is not what it must be: versions that overlap, stay open, or never were."""
    wrong: list[str] = []
    alive = {tuple(row[part] for part in view.stream.key): row for row in table if row["_deleted_at"] is None}
    live = {view.key(each.parent, each.object): each for each in truth.things}
    spans: dict[Key, list[Row]] = {}
    for row in rows:
        spans.setdefault(tuple(row[part] for part in view.stream.key), []).append(row)
    for key, versions in spans.items():
        versions.sort(
            key=lambda row: (row["_valid_from"], row["_valid_to"] or dt.datetime.max.replace(tzinfo=dt.UTC))
        )
        wrong += [f"{key}: {each}" for each in _laid(versions)]
        still = [row for row in versions if row["_valid_to"] is None]
        if len(still) > 1:
            wrong.append(f"{key} has {len(still)} open versions")
        if still and key not in alive:
            wrong.append(f"{key} has an open version, and no live row")
        if key in live:
            wrong += [f"{key}: {each}" for each in _unheard(view, key, versions, live[key], truth)]
    for key, row in alive.items():
        still = [each for each in spans.get(key, ()) if each["_valid_to"] is None]
        if not still:
            wrong.append(f"{key} is alive, and has no open version")
        for each in still:
            wrong += [f"{key}: the open version has another {name}" for name in _others(view, row, each)]
    return _named(view.stream.name + "_history", wrong)


def _laid(versions: Sequence[Row]) -> Iterable[str]:
    for row, after in zip(versions, (*versions[1:], None), strict=True):
        since, until = row["_valid_from"], row["_valid_to"]
        if until is not None and until < since:
            yield f"a version ends at {until:%d %H:%M:%S}, before it begins at {since:%d %H:%M:%S}"
        if after is not None and (until is None or until > after["_valid_from"]):
            yield f"the version since {since:%d %H:%M:%S} overlaps the next"
        if after is not None and until == after["_valid_from"] and row["_row_hash"] == after["_row_hash"]:
            yield f"two versions that follow each other at {until:%d %H:%M:%S} are the same"


def _others(view: View, row: Row, version: Row) -> Iterable[str]:
    less = _apart(view) | {each.path.partition(".")[0] for each in view.stream.nested}
    for each in view.fields():
        if each.name not in less and row[each.name] != version.get(each.name):
            yield each.name


def _apart(view: View) -> set[str]:
    """Columns that a history has not, or not always: payloads never tell them."""
    return {each.partition(".")[0] for each in view.stream.expand}


def _unheard(view: View, key: Key, versions: Sequence[Row], thing: Thing, truth: Truth) -> Iterable[str]:
    """Versions that are no state that the object ever had."""
    less = _apart(view)
    states = [*truth.states.get(key, ()), thing.object]
    for row in versions:
        best = min((list(_fields(view, state, row, less)) for state in states), key=len)
        if best:
            yield f"the version since {row['_valid_from']:%d %H:%M:%S} never was; nearest: {best[0]}"


def _named(name: str, wrong: Sequence[str]) -> list[str]:
    found = [f"{name}: {each}" for each in wrong[:SHOWN]]
    return found + ([f"{name}: and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else [])
