"""Rows that move to a final state without an event, followed until they are there whatever the lookback.

A pending balance transaction becomes available when its time has come, and nothing says so. Whatever should have
settled since it was read is read again: as a list where such rows lie close together, else each by its id.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidegate import catalog, errors
from tidegate.pull import load, plan, reading, refresh, unpacking, walks
from tidegate.stripe import pages
from tidegate.warehouse import base

WHEN = "available_on"
"""The field that says when a row should settle: https://docs.stripe.com/api/balance_transactions/object."""
LATE = 3_600
"""Seconds after which a row is read again that should have settled and had not."""
EARLY = 86_400
"""Seconds after which a row is read again before its time."""
BY_ID = 1_000
"""Rows read by id at a time, at the most; those read longest ago come first."""
SOONEST, LATEST = 300, 3_600
"""Seconds until the warehouse is asked again which rows are due: when the next one is, within these bounds."""
PAGE = 100
HOUR = 3_600


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Rows of a stream that should have settled: those created in `span` are best listed, the others are few."""

    stream: str
    span: tuple[int, int] | None = None
    ids: tuple[str, ...] = ()
    due: int | None = None
    """When the first of them is due, or was; None when all are settled."""


async def settle(shared: reading.Reading, wanted: plan.Plan, now: int) -> int:
    """Read the rows again that should have settled, and say when to look again.

    Killed inside, what was not committed is still due. So is what cannot be read, and its stream's outcome tells
    of it. Raises Unauthorized, Unreachable, RateLimited and WarehouseError.
    """
    found, ways = await unsettled(shared, now), refresh.ways(wanted)
    for each in found:
        outcome = shared.targets[each.stream].outcome
        try:
            if each.span is not None:
                await _list(shared, ways.walks[each.stream].node, *each.span)
        except (errors.BadPage, errors.StripeError) as error:
            if isinstance(error, errors.Unauthorized | errors.RateLimited):
                raise
            outcome.fail(walks.status(error), str(error))
        dirty = [refresh.Dirty(each.stream, row_id, now) for row_id in each.ids]
        for failure in await refresh.refresh(shared, ways, dirty) if dirty else ():
            outcome.fail(walks.status(failure.error), str(failure.error))
    due = min((each.due for each in found if each.due is not None), default=now + LATEST)
    return min(max(due, now + SOONEST), now + LATEST)


async def _list(shared: reading.Reading, node: plan.Node, low: int, high: int) -> None:
    """Read what was created in a span."""
    way = refresh.trip(shared, node)
    after: str | None = None
    more = True
    while more:
        params = pages.list_params(
            node.origin, after=after, limit=node.origin.max_limit, gte=low, lt=high, expand=way.expand(node)
        )
        answer = await way.get(node.origin.path, params, node.origin.path)
        page = shared.decoder(node.stream).page(answer.body)
        way.add(await unpacking.pieces(way, node, page.rows, answer.version, len(answer.body)))
        if page.has_more and page.rows.last_id in {None, after}:
            raise reading.stuck(node.origin.path)
        passed = any(
            when is not None and when < low for when in page.rows.created
        )  # a filter that is not honoured
        more, after = page.has_more and not passed, page.rows.last_id


async def unsettled(shared: reading.Reading, now: int) -> list[Unsettled]:
    """By stream, the rows that are not in their final state and whose time has come, for the fewest requests.

    A row is due once its time has come since it was read, then every hour while it is late, and once a day before.
    """
    found = []
    for target in shared.targets.values():
        settles = target.stream.settles
        if shared.warehouse is None or settles is None or settles.field not in target.shape.readable:
            continue
        found.append(
            await asyncio.to_thread(_unsettled, shared.warehouse, shared.account, target, settles, now)
        )
    return found


def densest(hours: Sequence[tuple[int, int, int]]) -> tuple[int, int] | None:
    """The span `[low, high)` that saves the most requests when it is listed instead of asking row by row.

    `hours` are (beginning, rows that are due, all rows), in order; None where listing saves nothing. A list costs
    one request more than its full pages.
    """
    best, span = 0.0, None
    saved, low = -1.0, 0
    for hour, rows, stored in hours:
        if saved <= -1.0:
            saved, low = -1.0, hour
        saved += rows - stored / PAGE
        if saved > best:
            best, span = saved, (low, hour + HOUR)
    return span


def _unsettled(
    warehouse: base.Warehouse, account: str, target: load.Target, settles: catalog.Settling, now: int
) -> Unsettled:
    stream, readable = target.stream, target.shape.readable
    table = f"{base.quoted(warehouse.schema)}.{base.quoted(target.table.name)}"
    due = f"_version + {EARLY}"
    if WHEN in readable:
        when = f"cast(extract(epoch from {base.quoted(WHEN)}) as bigint)"
        due = f"least({due}, case when _version < {when} then {when} else _version + {LATE} end)"
    marks = ", ".join("?" * len(settles.open))
    is_open = f"{base.quoted(settles.field)} in ({marks}) and _deleted_at is null"
    created = base.quoted(stream.created_field) if stream.created_filter else ""
    if stream.created_field not in readable:
        created = ""
    (bounds,) = _rows(
        warehouse,
        f"select min(due) as due, min(case when due <= {now} then created end) as low, "
        f"max(case when due <= {now} then created end) as high from (select {due} as due, "
        f"{created or 'null'} as created from {table} where _account_id = ? and {is_open}) as opened",
        (account, *settles.open),
    )
    if bounds["due"] is None or bounds["due"] > now:
        return Unsettled(stream.name, due=bounds["due"])
    span, outside = None, ""
    between: list[dt.datetime] = []
    if bounds["low"] is not None:
        hours = _rows(
            warehouse,
            f"select hour, sum(due) as due, count(*) as stored from (select "
            f"cast(floor(extract(epoch from {created}) / {HOUR}) as bigint) * {HOUR} as hour, "
            f"case when {is_open} and {due} <= {now} then 1 else 0 end as due from {table} "
            f"where _account_id = ? and {created} >= ? and {created} <= ?) as aged group by hour order by hour",
            (*settles.open, account, bounds["low"], bounds["high"]),
        )
        span = densest([(int(row["hour"]), int(row["due"]), int(row["stored"])) for row in hours])
    if span is not None:
        outside = f" and ({created} < ? or {created} >= ?)"
        between = [dt.datetime.fromtimestamp(moment, dt.UTC) for moment in span]
    ids = _rows(
        warehouse,
        f"select id from {table} where _account_id = ? and {is_open} and {due} <= {now}{outside} "
        f"order by _version, id limit {BY_ID}",
        (account, *settles.open, *between),
    )
    return Unsettled(stream.name, span, tuple(row["id"] for row in ids), bounds["due"])


def _rows(warehouse: base.Warehouse, sql: str, parameters: Sequence[object]) -> list[dict[str, Any]]:
    return [row for batch in warehouse.read(sql, parameters) for row in batch.to_pylist()]
