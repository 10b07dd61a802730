"""A stream's newest rows, or chosen ones, as they would land in a table, read straight from Stripe."""

from __future__ import annotations

import contextlib
import datetime as dt
import difflib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from tidegate import catalog, errors
from tidegate.pull import accounts, load, parents, plan, reading, refresh, scope, single, unpacking
from tidegate.rows import arrow
from tidegate.stripe import client, pages

PARENTS = 50
"""Parents whose children are looked at, at the most."""


async def newest(source: scope.Source, name: str, limit: int) -> list[dict[str, object]]:
    """Up to `limit` rows of a stream of the first account, newest first, by column name; raises as `table` does."""
    rows: list[dict[str, object]] = (await table(source, name, limit)).to_pylist()
    return rows


async def table(source: scope.Source, name: str, limit: int) -> pa.Table:
    """Up to `limit` rows of a stream of the first account, newest first, with the columns of its table.

    Of a child stream: the children of the newest parents. Raises what Stripe says against it, of a stream with
    several lists only when none of them is there.
    """
    async with _looking(source, name) as seen:
        absent: list[errors.NotEnabled] = []
        for walk in seen.plan.walks:
            try:
                await _fill(seen.basket, seen.stripe, walk, {name: seen.target}, limit)
            except errors.NotEnabled as error:
                absent.append(error)
            if seen.basket.rows >= limit:
                break
    if len(absent) == len(seen.plan.walks):
        raise absent[0]
    return seen.rows().slice(0, limit)


async def chosen(source: scope.Source, name: str, ids: Sequence[str]) -> pa.Table:
    """The objects of a stream of the first account that have these ids, in their order.

    Raises ConfigError for one that Stripe does not have, or has deleted, and for a stream whose objects cannot be
    read by their ids alone.
    """
    async with _looking(source, name) as seen:
        nodes = [walk.node for walk in seen.plan.walks if walk.node.stream.name == name]
        ways = [(node, *refresh.route(node)) for node in nodes]
        node, template, names = next((way for way in ways if len(way[2]) == 1), (None, "", []))
        if node is None:
            raise errors.ConfigError(
                f"Objects of the stream {name} cannot be read by their ids alone; look at its newest rows instead."
            )
        trip = reading.Trip(
            scope.shared(seen.stripe, {name: seen.target}, seen.basket), plan.Walk(node), client.Tally(), ""
        )
        for id in ids:
            try:
                trip, answer = await single.get(trip, node, pages.path(template, {names[0]: id}), template)
            except errors.Missing:
                raise errors.ConfigError(
                    f"Stripe has no object {id} among the {name} of the account."
                ) from None
            rows = trip.reading.decoder(node.stream).objects([answer.body])
            if rows.deleted[0]:
                raise errors.ConfigError(f"The object {id} of the stream {name} is deleted at Stripe.")
            trip.add(await unpacking.pieces(trip, node, rows, answer.version, len(answer.body)))
    return seen.rows()


@dataclass(frozen=True, slots=True)
class _Look:
    """A stream of one account, and what was read of it."""

    plan: plan.Plan
    stripe: client.Client
    account: str
    target: load.Target
    basket: reading.Basket

    def rows(self) -> pa.Table:
        parts = [piece.part for piece in self.basket.pieces]
        now = dt.datetime.now(dt.UTC)
        return arrow.table(self.target.decoder, parts, account=self.account, synced_at=now)


@contextlib.asynccontextmanager
async def _looking(source: scope.Source, name: str) -> AsyncIterator[_Look]:
    known = catalog.load().streams
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`tidegate streams` lists them all."
        raise errors.ConfigError(f"There is no stream {name!r}; {hint}")
    async with scope.connect(source) as stripe:
        wanted = plan.plan(known, [name])
        account, one = await accounts.first(stripe, source, wanted)
        target = scope.target(known[name], account, scope.Options())
        yield _Look(wanted, one, account, target, reading.Basket())


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
    trip.add(await unpacking.pieces(trip, node, page.rows, answer.version, len(answer.body)))
