"""Filters whose answer moves with time: what must be listed again since rows became theirs, or ceased to be.

`{field: created, op: is after, value: 30 days ago}` lets go of rows each midnight that nobody changed. Where such
words stand at the creation time alone, and the list can be cut by it, just the rows between the old and the new
limit are listed; otherwise the whole list is, no more often than lists without events are. Up to which moment the
rows of a stream are judged stands under `moved/<account>`, and is committed together with what is then due.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import pyarrow as pa

from tidegate import config
from tidegate.config import conditions
from tidegate.pull import load, plan, reading, reconcile, relist
from tidegate.shape import filters, values

WHY = "its filter counts from a moment, and time went on"
"""Why a list is read again."""

Span = tuple[int, int]
"""A moment, or a whole day: its first and its last second since 1970."""


def key(account: str) -> str:
    """Where the moments of an account stand in the state."""
    return f"moved/{account}"


def due(
    shared: reading.Reading,
    wanted: plan.Plan,
    saved: Mapping[str, str],
    entries: relist.Entries,
    *,
    stored: set[str],
    now: int,
) -> dict[str, str | None]:
    """Add to `entries` what is to be listed again, and return the state that is committed with them.

    `stored` are the streams that were read whole before; of the others it is noted since when they are being read.
    """
    judged = _judged(saved, shared.account)
    found: dict[str, int] = {}
    for name, target in shared.targets.items():
        if target.shape.moving is None:
            continue
        since, moment = judged.get(name), target.shape.moment
        walks = [walk for walk in wanted.walks if name in walk.kept]
        found[name] = moment if since is None else since
        if name not in stored or not walks:
            continue
        if since is None:
            entry: relist.Entry | None = relist.Entry(now, WHY)
        else:
            entry = _entry(shared, saved, target, walks, since, now)
        if entry is not None:
            relist.add(entries, [name], entry)
            # What an earlier pull began only goes on, and its rows were judged as of then.
            if entries[name].since >= now:
                found[name] = moment
    text = msgspec.json.encode(dict(sorted(found.items()))).decode() if found else None
    return {key(shared.account): text} if text != saved.get(key(shared.account)) else {}


def _entry(
    shared: reading.Reading,
    saved: Mapping[str, str],
    target: load.Target,
    walks: Sequence[plan.Walk],
    since: int,
    now: int,
) -> relist.Entry | None:
    """What is to be listed of a stream whose rows were judged at an earlier moment; None while that is nothing."""
    shape = target.shape
    assert shape.moving is not None, "Only filters that move are asked."
    before = list(spans(shape.moving, shape.given, since))
    after = list(spans(shape.moving, shape.given, shape.moment))
    if shape.moment <= since or before == after:
        return None
    own = all(walk.sliced and walk.node.stream.name == target.stream.name for walk in walks)
    if own and fields(shape.moving, shape.given) <= {target.stream.created_field}:
        pause = reconcile.BANDS[0].every if shared.patient else 0
        low, high = min(low for low, _ in (*before, *after)), max(high for _, high in (*before, *after))
        entry = relist.Entry(now, WHY, low=low, high=high + 1, regular=True)
    else:
        pause = reconcile.period(walks, reconcile.turns(saved, shared.account).counts)
        entry = relist.Entry(now, WHY, regular=True)
    is_new_day = pause <= reconcile.DAY and all(high > low for low, high in after)
    return entry if is_new_day or shape.moment - since >= pause else None


def fields(filter: config.Filter, schema: pa.Schema) -> set[str]:
    """The fields that are compared with words that count from a moment."""
    return {each.field for each in _moving(filter, schema)}


def spans(filter: config.Filter, schema: pa.Schema, moment: int) -> Iterator[Span]:
    """What those words say at a moment, in their order."""
    now = dt.datetime.fromtimestamp(moment, dt.UTC)
    for each in _moving(filter, schema):
        told = each.value if isinstance(each.value, tuple) else (each.value,)
        for literal in told:
            if literal is not None and values.relative(literal) is not None:
                span = values.moment(literal, now)
                yield int(span.first) // 1_000_000, int(span.last) // 1_000_000


def _moving(filter: config.Filter, schema: pa.Schema) -> Iterator[conditions.Condition]:
    if isinstance(filter, conditions.Condition):
        if filters.moves(filter, schema):
            yield filter
        return
    for part in filter.all if isinstance(filter, conditions.All) else filter.any:
        yield from _moving(part, schema)


def _judged(saved: Mapping[str, str], account: str) -> dict[str, int]:
    try:
        return msgspec.json.decode(saved.get(key(account), "{}"), type=dict[str, int])
    except msgspec.DecodeError:
        return {}
