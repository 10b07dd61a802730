"""What a pull would cost, found out with a few requests per list and without reading it.

A list is asked for its newest page; one that goes on is asked again at points ever further back in time, then where
the rows between two points are least sure, and its rows are added up from the densities found there. Numbers are
exact where a list ends on its first page.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from tidegate import catalog, errors
from tidegate.pull import accounts, backfill, permissions, plan, report, scope, slices, walks
from tidegate.stripe import client, pages

PROBES = 12
"""Requests per list at the most."""
SAMPLE = 5
"""Parents asked for their children."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one stream: rows and requests that a pull would need, and whether the key may read it at all."""

    stream: str
    status: report.Status
    rows: int
    requests: int
    exact: bool
    error: str = ""

    def as_json(self) -> dict[str, object]:
        """One element of `--dry-run --json`."""
        return {
            "stream": self.stream,
            "status": self.status,
            "rows": self.rows,
            "requests": self.requests,
            "exact": self.exact,
            "error": self.error or None,
        }


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of a whole pull; `seconds` is what the rate limits allow at best, `spent` what asking has cost."""

    account: str
    estimates: tuple[Estimate, ...]
    requests: int
    seconds: float
    spent: int

    @property
    def rows(self) -> int:
        """All rows that would come."""
        return sum(one.rows for one in self.estimates)

    def as_json(self) -> dict[str, object]:
        """What `--dry-run --json` prints last."""
        return {
            "account": self.account,
            "rows": self.rows,
            "requests": self.requests,
            "duration_s": round(self.seconds, 1),
            "spent": self.spent,
            "streams": [one.as_json() for one in self.estimates],
        }


class _List(msgspec.Struct):
    data: list[msgspec.Raw] = []
    has_more: bool = False
    next_page_url: str | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """One list looked at: its rows, its newest objects, whether the count is exact."""

    rows: int
    exact: bool
    newest: tuple[bytes, ...] = ()
    parents: int = 0
    """Of a list per parent: how many there are to ask for."""
    lost: Mapping[str, errors.TidegateError] = field(default_factory=dict)
    """Streams of nested lists that the key may not read."""


async def forecast(source: scope.Source, options: scope.Options) -> Forecast:
    """Look at every chosen list of the first account.

    Raises Unauthorized, Unreachable or ConfigError like a pull.
    """
    streams = catalog.load().streams
    wanted = plan.plan(streams, options.streams)
    async with scope.connect(source) as stripe:
        account, one = await accounts.first(stripe, source, wanted)
        starts = scope.starts(options, (stream.name for stream in wanted.streams))
        looks: dict[str, _Look | errors.TidegateError] = {}
        for parents in (False, True):  # children are sampled over the parents that were seen
            walks = [walk for walk in wanted.walks if bool(walk.node.origin.parents) is parents]
            if not parents:
                walks += _unkept(streams, wanted)
            asked = (_look(one, walk, looks, backfill.start(starts, walk)) for walk in walks)
            answers = await asyncio.gather(*asked)
            looks.update(zip((walk.name for walk in walks), answers, strict=True))
        estimates: dict[str, Estimate] = {}
        for walk in wanted.walks:
            for name, estimate in _estimates(walk, looks):
                estimates[name] = _both(estimates[name], estimate) if name in estimates else estimate
        requests = sum(estimate.requests for estimate in estimates.values())
        limits, spent = one.pace, one.tally.requests + (0 if one is stripe else stripe.tally.requests)
    per_account = (limits.limits.per_account or 0) * limits.budget
    per_endpoint = (limits.limits.per_endpoint or 0) * limits.budget
    busiest = max((estimate.requests for estimate in estimates.values()), default=0)
    seconds = max(
        requests / per_account if per_account else 0.0, busiest / per_endpoint if per_endpoint else 0.0
    )
    ordered = tuple(estimates[stream.name] for stream in wanted.streams if stream.name in estimates)
    return Forecast(account, ordered, requests, seconds, spent)


def _unkept(streams: Mapping[str, catalog.Stream], wanted: plan.Plan) -> list[plan.Walk]:
    """Lists that are read for their ids only."""
    walks = {walk.name for walk in wanted.walks}
    needed = {parent.stream for walk in wanted.walks for parent in walk.node.origin.parents}
    lists = [walk for name in sorted(needed) for walk in _lists(streams[name])]
    return [walk for walk in lists if walk.name not in walks]


def _lists(stream: catalog.Stream) -> list[plan.Walk]:
    """The lists that a stream's rows have for themselves."""
    nodes = (plan.Node(stream, origin, kept=False) for origin in stream.origins if not origin.parents)
    return [plan.Walk(node) for node in nodes]


async def _look(
    stripe: client.Client,
    walk: plan.Walk,
    looks: Mapping[str, _Look | errors.TidegateError],
    start: int | None,
) -> _Look | errors.TidegateError:
    try:
        if walk.node.origin.parents:
            return await _sampled(stripe, walk, looks)
        return await _unlocked(stripe, walk, start)
    except (errors.Unauthorized, errors.Unreachable):
        raise
    except errors.TidegateError as error:
        return error


async def _unlocked(stripe: client.Client, walk: plan.Walk, start: int | None) -> _Look:
    """A top-level list without the nested lists that the key may not read, and without what it may not expand."""
    lost: dict[str, errors.TidegateError] = {}
    expand = True
    while True:
        try:
            return dataclasses.replace(await _counted(stripe, walk, start, expand), lost=lost)
        except (errors.PermissionMissing, errors.InvalidRequest) as error:
            less = (
                plan.without(walk, error.permission) if isinstance(error, errors.PermissionMissing) else None
            )
            if less is not None and less.kept:
                lost.update((name, error) for name in walk.kept if name not in less.kept)
                walk = less
            elif expand and walks.refuses_expand(error, walk):
                expand = False
            else:
                raise


async def _page(stripe: client.Client, origin: catalog.Origin, path: str, params: pages.Params) -> _List:
    answer = await stripe.get(path, params, endpoint=origin.path)
    try:
        page = msgspec.json.decode(answer.body, type=_List)
    except msgspec.DecodeError as error:
        raise errors.BadPage(f"GET {origin.path} did not answer with a list: {error}") from None
    page.has_more = page.has_more or bool(page.next_page_url)
    return page


async def _counted(stripe: client.Client, walk: plan.Walk, low: int | None, expand: bool) -> _Look:
    """Rows of a top-level list: counted on its first page, else added up from what is found further back."""
    origin, when = walk.node.origin, walk.node.stream.created_field
    asked = tuple(walk.node.expand()) if expand else ()
    first = await _page(stripe, origin, origin.path, pages.list_params(origin, gte=low, expand=asked))
    newest = tuple(bytes(raw) for raw in first.data)
    if not first.has_more:
        return _Look(len(newest), True, newest)
    times = _times(first, when)
    if not walk.sliced or not times:
        return _Look(len(newest) * 2, False, newest)

    async def probe(bottom: int | None, top: int) -> _List:
        params = pages.list_params(origin, gte=bottom, lt=top)
        return await _page(stripe, origin, origin.path, params)

    rows, left, gaps = len(newest), PROBES - 1, list[_Gap]()
    oldest, density = min(times), _density(times)
    reach = max(1, max(times) - min(times))
    more = True
    while more and left > PROBES // 3:  # ever further back, to the end of the list
        left -= 1
        top = max(oldest - reach, low or 0)
        page = await probe(low, top)
        times, more = _times(page, when), page.has_more
        rows += len(page.data)
        gaps.append(_Gap(top, oldest, _density(times), density))
        oldest, density = min(times, default=top), _density(times)
        reach *= 8
    if more:
        gaps.append(_Gap(min(oldest, low or slices.EARLIEST), oldest, 0.0, density))
    while left and (gap := max(gaps, key=_Gap.doubt)).doubt() > rows / 100:  # where the guess is least sure
        left -= 1
        middle = (gap.bottom + gap.top) // 2
        page = await probe(gap.bottom, middle)
        times = _times(page, when)
        rows += len(page.data)
        gaps.remove(gap)
        gaps.append(_Gap(middle, gap.top, _density(times), gap.above))
        if page.has_more:
            gaps.append(_Gap(gap.bottom, min(times, default=middle), gap.below, _density(times)))
    return _Look(rows + round(sum(gap.rows() for gap in gaps)), False, newest)


@dataclass(frozen=True, slots=True)
class _Gap:
    """A span that was not looked at, and the rows per second on both sides of it."""

    bottom: int
    top: int
    below: float
    above: float

    def rows(self) -> float:
        """A guess at its rows; a crowd on one side, all created in one second, counts for little."""
        width = self.top - self.bottom
        if not self.below or not self.above:
            return width * max(self.below, self.above) / 2
        return width * 2 / (1 / self.below + 1 / self.above)

    def doubt(self) -> float:
        """How many rows the guess may well be wrong by."""
        least, most = sorted((self.below, self.above))
        return self.rows() * (1 - least / most) if most else 0.0


def _times(page: _List, name: str) -> list[int]:
    found = (_value(msgspec.json.decode(raw), name) for raw in page.data)
    return [when for when in found if isinstance(when, int)]


def _density(times: Sequence[int]) -> float:
    """Rows per second of a page."""
    return len(times) / max(1, max(times) - min(times)) if times else 0.0


async def _sampled(
    stripe: client.Client, walk: plan.Walk, looks: Mapping[str, _Look | errors.TidegateError]
) -> _Look:
    """Rows of a list per parent, from the newest few parents; asked with an id nobody has when none is known."""
    origin = walk.node.origin
    above = [_above(looks, name) for name in dict.fromkeys(parent.stream for parent in origin.parents)]
    parents = math.prod(look.rows for look in above)
    if len(above) > 1 or not above[0].newest:
        await permissions.ask(stripe, origin)
        return _Look(0, not parents and all(look.exact for look in above), parents=parents)
    seen, able = above[0], [row for row in map(msgspec.json.decode, above[0].newest) if _able(row, origin)]
    parents = round(parents * len(able) / len(seen.newest))
    if not able:
        await permissions.ask(stripe, origin)
        return _Look(0, seen.exact)
    rows, whole = 0, seen.exact and len(able) <= SAMPLE
    for row in able[:SAMPLE]:
        fixed = {parent.param: str(_value(row, parent.field)) for parent in origin.parents}
        query = {k: v for k, v in fixed.items() if "{" + k + "}" not in origin.path}
        params = {**pages.list_params(origin), **query}
        try:
            page = await _page(stripe, origin, pages.path(origin.path, fixed), params)
        except errors.Missing:
            continue
        rows += len(page.data) * (2 if page.has_more else 1)
        whole = whole and not page.has_more
    return _Look(round(parents * rows / len(able[:SAMPLE])), whole, parents=parents)


def _above(looks: Mapping[str, _Look | errors.TidegateError], stream: str) -> _Look:
    """What was seen of the parents; raises what stood in the way when it was nothing."""
    found = [looks[walk.name] for walk in _lists(catalog.load().streams[stream])]
    seen = [look for look in found if isinstance(look, _Look)]
    for error in found:
        if isinstance(error, errors.TidegateError) and not seen:
            raise error
    newest = tuple(row for look in seen for row in look.newest)
    return _Look(sum(look.rows for look in seen), bool(seen) and all(look.exact for look in seen), newest)


def _able(row: object, origin: catalog.Origin) -> bool:
    """Can this parent have children?"""
    return all(_value(row, parent.where) is not None for parent in origin.parents if parent.where)


def _value(row: object, name: str) -> object:
    """A field of an object, a reference as its id."""
    value = row.get(name) if isinstance(row, dict) else None
    return value.get("id") if isinstance(value, dict) else value


def _estimates(
    walk: plan.Walk, looks: Mapping[str, _Look | errors.TidegateError]
) -> Iterator[tuple[str, Estimate]]:
    look = looks[walk.name]
    names = list(walk.node.streams())
    if isinstance(look, errors.TidegateError):
        for name in names:
            yield name, Estimate(name, walks.status(look), 0, 0, True, str(look))
        return
    requests = look.parents if walk.node.origin.parents else _pages(walk.node.origin, look.rows)
    if walk.node.kept:
        yield walk.node.stream.name, Estimate(walk.node.stream.name, "ok", look.rows, requests, look.exact)
        requests = 0
    for branch in walk.node.branches:
        for node in branch.nodes:
            if node.stream.name in look.lost:
                error = look.lost[node.stream.name]
                yield (
                    node.stream.name,
                    Estimate(node.stream.name, walks.status(error), 0, 0, True, str(error)),
                )
            elif node.kept:
                rows, longer = _inside(look, branch, node)
                name = node.stream.name
                yield name, Estimate(name, "ok", rows, requests + longer, look.exact and not longer)
                requests = 0


def _pages(origin: catalog.Origin, rows: int) -> int:
    return -(-max(rows, 1) // (origin.max_limit or max(rows, 1)))


def _both(one: Estimate, other: Estimate) -> Estimate:
    """A stream that comes from two lists; a list that the account does not have adds nothing."""
    if "not_enabled" in (one.status, other.status):
        return other if one.status == "not_enabled" else one
    worse = one if one.status != "ok" else other
    rows, requests = one.rows + other.rows, one.requests + other.requests
    return Estimate(one.stream, worse.status, rows, requests, one.exact and other.exact, worse.error)


def _inside(look: _Look, branch: plan.Branch, node: plan.Node) -> tuple[int, int]:
    """Rows of a nested list and the requests for those that Stripe cut off, from the parents that were seen."""
    inner, longer = 0, 0
    for raw in look.newest:
        value: object = msgspec.json.decode(raw)
        for step in branch.nested.path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if not isinstance(value, dict):
            continue
        elements = [e for e in value.get("data", []) if isinstance(e, dict)]
        inner += sum(not node.origin.objects or e.get("object") in node.origin.objects for e in elements)
        longer += bool(value.get("has_more"))
    share = look.rows / len(look.newest) if look.newest else 0
    return round(inner * share), round(longer * share)
