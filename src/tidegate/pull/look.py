"""A stream's newest rows as they would land in a table, read straight from Stripe."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Mapping

from tidegate import catalog, errors
from tidegate.pull import accounts, load, parents, plan, reading, scope
from tidegate.rows import decode
from tidegate.stripe import client, pages

PARENTS = 50
"""Parents whose children are looked at, at the most."""


async def newest(source: scope.Source, name: str, limit: int) -> list[dict[str, object]]:
    """Up to `limit` rows of a stream of the first account, newest first, by column name.

    Of a child stream: the children of the newest parents. Raises what Stripe says against it, of a stream with
    several lists only when none of them is there.
    """
    known = catalog.load().streams
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`tidegate streams` lists them all."
        raise errors.ConfigError(f"There is no stream {name!r}; {hint}")
    async with scope.connect(source) as stripe:
        wanted = plan.plan(known, [name])
        account, one = await accounts.first(stripe, source, wanted)
        target = scope.target(known[name], account, scope.Options())
        basket = reading.Basket()
        absent: list[errors.NotEnabled] = []
        for walk in wanted.walks:
            try:
                await _fill(basket, one, walk, {name: target}, limit)
            except errors.NotEnabled as error:
                absent.append(error)
            if basket.rows >= limit:
                break
    if len(absent) == len(wanted.walks):
        raise absent[0]
    parts = [piece.part for piece in basket.pieces]
    table = decode.arrow(target.decoder, parts, account=account, synced_at=dt.datetime.now(dt.UTC))
    rows: list[dict[str, object]] = table.to_pylist()
    return rows[:limit]


async def _fill(
    basket: reading.Basket,
    stripe: client.Client,
    walk: plan.Walk,
    targets: Mapping[str, load.Target],
    limit: int,
) -> None:
    """One page of a list, or of the children of some parents."""
    trip = reading.Trip(scope.shared(stripe, targets, basket), walk, client.Tally(), "")
    node = walk.node
    if node.origin.parents:
        await parents.some(trip, PARENTS, lambda: basket.rows >= limit)
        return
    size = limit if node.kept else PARENTS
    params = pages.list_params(node.origin, limit=size, expand=trip.expand(node))
    answer = await trip.get(node.origin.path, params, node.origin.path)
    page = trip.reading.decoder(node.stream).page(answer.body)
    trip.add(await reading.pieces(trip, node, page.rows, answer.version, len(answer.body)))
