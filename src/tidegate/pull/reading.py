"""What all walks of one account share, one walk under way, and the pages of one list, whatever order it is read in.

What a page carries becomes pieces for the loader in `unpacking`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from tidegate import catalog, errors
from tidegate.pull import load, mails, plan, relist, report
from tidegate.rows import decode
from tidegate.stripe import client, pages
from tidegate.warehouse import base

Decoders = Callable[[catalog.Stream], decode.Decoder]

RESTARTS = 10
"""How often a list is begun again because its cursor object was deleted meanwhile."""


class Sink(Protocol):
    """Where rows go: the loader of a pull, or the basket of a preview."""

    def add(
        self,
        pieces: Sequence[load.Cargo],
        key: str = "",
        mark: load.Mark | None = None,
        *,
        state: Mapping[str, str | None] | None = None,
    ) -> None:
        """Take rows, and the progress that they complete; never waits."""

    async def room(self) -> None:
        """Wait until more can be taken."""

    async def flush(self) -> None:
        """Wait until everything taken is safe and can be read."""


class Basket:
    """A sink that only keeps the rows: for those who want to see them."""

    def __init__(self) -> None:
        self.pieces: list[load.Piece] = []

    @property
    def rows(self) -> int:
        """How many it holds."""
        return sum(len(piece.part.rows) for piece in self.pieces)

    def add(
        self,
        pieces: Sequence[load.Cargo],
        key: str = "",
        mark: load.Mark | None = None,
        *,
        state: Mapping[str, str | None] | None = None,
    ) -> None:
        """Keep the rows; progress means nothing here, nor what is gone."""
        del key, mark, state
        self.pieces += [piece for piece in pieces if isinstance(piece, load.Piece)]

    async def room(self) -> None:
        """There always is."""

    async def flush(self) -> None:
        """Nothing is ever under way."""


class Aside:
    """Keeps what comes until every page has arrived that was asked for before: it says what those have too much."""

    def __init__(self, shared: Reading) -> None:
        self._shared = shared
        self._kept: list[
            tuple[Sequence[load.Cargo], str, load.Mark | None, Mapping[str, str | None] | None]
        ] = []
        self._rows = 0

    def add(
        self,
        pieces: Sequence[load.Cargo],
        key: str = "",
        mark: load.Mark | None = None,
        *,
        state: Mapping[str, str | None] | None = None,
    ) -> None:
        """Keep it for now."""
        self._kept.append((pieces, key, mark, state))
        self._rows += sum(len(piece.part.rows) for piece in pieces if isinstance(piece, load.Piece))

    async def room(self) -> None:
        """Wait until more can be taken; of much, what is kept goes on first."""
        if self._rows >= load.ROWS:
            await self.settle()
        await self._shared.sink.room()

    async def flush(self) -> None:
        """Wait until everything taken is safe and can be read."""
        await self.settle()
        await self._shared.sink.flush()

    async def settle(self) -> None:
        """Pass everything on, once the time has come."""
        kept, self._kept, self._rows = self._kept, [], 0
        await self._shared.landed()
        for pieces, key, mark, state in kept:
            self._shared.sink.add(pieces, key, mark, state=state)


class Shut(msgspec.Struct, frozen=True):
    """A list that was refused, and is not asked for again before `until` (Stripe's clock)."""

    until: int
    status: report.Status
    error: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What all walks of one account share."""

    client: client.Client
    account: str
    sink: Sink
    streams: Mapping[str, catalog.Stream]
    targets: Mapping[str, load.Target]
    warehouse: base.Warehouse | None
    screen: report.Screen
    decoder: Decoders
    starts: Mapping[str, int | None] = field(default_factory=dict)
    """By stream: objects created before this (unix seconds) are not read, where Stripe can filter them."""
    done: Callable[[str, relist.Entry, dict[str, str | None]], None] = lambda _name, _entry, _state: None
    """Told of each stream that was listed again, to note in the state when."""
    shut: dict[str, Shut] = field(default_factory=dict)
    """By walk: lists that need not be tried now."""
    named: frozenset[str] = frozenset()
    """Streams that the user asked for by name: their lists are always tried."""
    patient: bool = False
    """There will be a next time soon: what is refused can wait."""
    ahead: bool = False
    """What events tell of the last seconds is applied, too, of which more may come."""
    exclude_before: bool = False
    """Leave out what events tell of objects that are older than the start."""
    accept: frozenset[str] = frozenset()
    """Streams of which even very many rows may go that a list no longer has."""
    told: set[str] = field(default_factory=set)
    """Objects that were read because of events in this pull: of them a list is never the first to tell."""
    early: dict[str, int] = field(default_factory=dict)
    """What was read before it was settled, and when by Stripe's clock; kept from pull to pull."""
    proven: dict[str, int] = field(default_factory=dict)
    """By account: where the tail was when the whole overlap was read last; kept from pull to pull."""
    mail: mails.Mail = field(default_factory=mails.Mail)
    """What Stripe delivers while this reads."""
    flying: dict[object, int] = field(default_factory=dict)
    """Pages that were asked for and whose rows the sink does not have yet: Stripe's clock before each."""
    landing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever one of them has arrived."""

    @contextlib.contextmanager
    def flight(self) -> Iterator[None]:
        """From before a page is asked for until its rows are with the sink."""
        flight = object()
        self.flying[flight] = self.client.clock.now()
        try:
            yield
        finally:
            del self.flying[flight]
            self.landing.set()

    async def landed(self) -> None:
        """Wait until the sink has the rows of every page that is on its way now."""
        flights = set(self.flying)
        while flights & self.flying.keys():
            self.landing.clear()
            await self.landing.wait()


@dataclass(frozen=True, slots=True)
class Trip:
    """One walk under way: requests are counted on `tally`, rows go to the loader under `key`."""

    reading: Reading
    walk: plan.Walk
    tally: client.Tally
    key: str
    plain: bool = False
    """Ask for no `expand[]`, since this Stripe refuses it; what is absent is then fetched per row."""
    closed: set[str] = field(default_factory=set)
    """Nested lists, by their URL, that this Stripe shows in their parents only."""
    missing: set[str] = field(default_factory=set)
    """The streams of those lists: what was read of them is not all."""
    sweeps: bool = False
    """Tell which rows each parent has, so that those it has no more go; a first reading has nothing to sweep."""
    twice: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when rows may come that this walk read before."""

    def expand(self, node: plan.Node) -> tuple[str, ...]:
        """The `expand[]` of a list request."""
        return () if self.plain else tuple(node.expand())

    def sweeping(self, parent: str) -> Trip:
        """The trip that tells which rows a parent has, where older ones may be stored already."""
        if self.sweeps or not (self.twice.is_set() or parent in self.reading.told):
            return self
        return dataclasses.replace(self, sweeps=True)

    async def get(self, path: str, params: pages.Params, endpoint: str) -> client.Response:
        """One request, once the loader has room for what it brings."""
        await self.reading.sink.room()
        answer = await self.reading.client.get(path, params, endpoint=endpoint, tally=self.tally)
        self.reading.screen.advanced(self.walk.node.stream.name, requests=1)
        return answer

    def close(self, branch: plan.Branch, error: errors.NotEnabled, cut: bool) -> None:
        """Go on without a nested list, and say so: it was `cut` and its rest is lacking, or all of it is."""
        self.closed.add(branch.nested.url)
        for node in branch.nodes:
            for name in node.streams():
                self.missing.add(name)
                self.reading.targets[name].outcome.fail("partial" if cut else "not_enabled", str(error))

    def add(self, pieces: Sequence[load.Cargo], mark: load.Mark | None = None) -> None:
        """Hand rows to the loader, and with them the progress that they complete."""
        self.reading.sink.add(pieces, self.key, mark)
        for piece in pieces:
            if isinstance(piece, load.Piece):
                self.reading.screen.advanced(piece.target.stream.name, rows=len(piece.part.rows))


def refuses_expand(error: errors.TidegateError) -> bool:
    """Is it `expand[]` that is refused, whatever it asks for?"""
    return isinstance(error, errors.InvalidRequest) and "expand" in f"{error.param} {error}"


async def listing(
    trip: Trip, node: plan.Node, after: str = "", fixed: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[decode.Page, client.Response]]:
    """The pages of one list, newest first, from a cursor on; `fixed` fills the path and the query.

    When the cursor object was deleted meanwhile, or Stripe no longer takes the cursor of an earlier run, reading
    begins again from the top: rows come twice rather than not at all. Raises BadPage for a list that claims more
    and does not move.
    """
    origin, fixed = node.origin, fixed or {}
    path = pages.path(origin.path, fixed)
    query = {name: value for name, value in fixed.items() if "{" + name + "}" not in origin.path}
    decoder = trip.reading.decoder(node.stream)
    expand = trip.expand(node)
    restarts = count = 0
    while True:
        cursor = after
        try:
            if node.stream.api == "v2" and after:
                answer = await trip.get(*pages.next_page(after), origin.path)
            else:
                params = pages.list_params(
                    origin, after=after or None, limit=origin.max_limit, gte=None, lt=None, expand=expand
                )
                answer = await trip.get(path, {**params, **query}, origin.path)
        except (errors.Missing, errors.InvalidRequest) as error:
            if not after or (count and isinstance(error, errors.InvalidRequest)):
                raise
            restarts += 1
            if restarts > RESTARTS:
                raise lost(path) from None
            after = ""
            trip.twice.set()
            continue
        count += 1
        page = decoder.page(answer.body)
        yield page, answer
        if node.stream.api == "v2":
            after = page.next_url or ""
            if not after:
                return
        else:
            if not page.has_more or not origin.paged:
                return
            after = page.rows.last_id or ""
        if after in ("", cursor):
            raise stuck(path)


def is_elsewhere(error: errors.Missing) -> bool:
    """Is it an object of the account's other mode, live or test, which this key cannot see? It was not deleted.

    Both modes share the account's id: https://docs.stripe.com/keys#test-live-modes.
    """
    return "a similar object exists in" in str(error)


def stuck(path: str) -> errors.BadPage:
    """The sentence for a list that claims more and does not move."""
    return errors.BadPage(
        f"GET {path} says that more follows but answers with the same place again; nothing was skipped, run again "
        "later."
    )


def lost(path: str) -> errors.BadPage:
    """The sentence for a list whose cursor objects vanish one after the other."""
    return errors.BadPage(
        f"GET {path} was begun again {RESTARTS} times, since the object to go on from was deleted each time; "
        "nothing was skipped, run again later."
    )
