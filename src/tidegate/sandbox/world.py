"""The generated business behind the sandbox: any number of Stripe objects, none of them stored.

    world = build(seed=1, objects=1_000_000)
    world.render("charges", 41)

Every object is a pure function of (seed, sizes, now) and its ordinal, so a world of ten million objects takes as
much memory as one of ten, and two processes with the same arguments see the same business. The server keeps what
was changed through the API over it.
"""

from __future__ import annotations

import bisect
import functools
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, overload

from tidegate import catalog
from tidegate.sandbox import (
    business,
    census,
    generic,
    happenings,
    ids,
    naming,
    records,
    selections,
    templates,
    timeline,
)

CONNECTED_OBJECTS = 120
"""Of a connected account's own business, where nothing else is said."""
CONNECTED_STREAMS = (
    "balance_transactions",
    "charges",
    "customer_payment_methods",
    "customers",
    "invoice_line_items",
    "invoice_payments",
    "invoices",
    "payment_intents",
    "payment_methods",
    "payouts",
    "prices",
    "products",
    "refunds",
    "subscription_items",
    "subscriptions",
    "events",
)
EMBEDDED = 10
"""So many elements of a nested list stand inside its object."""


class World(Protocol):
    """One account's business: immutable; ordinals are 0 .. count - 1, the oldest first.

    Children are numbered within their parent, in list order. `parent` is the parent's ordinal; for a second origin
    (external accounts of connected accounts) it is `~ordinal`; for a parent that is a child itself it is that
    parent's own parent * 1024 + its ordinal.
    """

    @property
    def now(self) -> int:
        """Unix seconds of the newest generated moment."""

    @property
    def account(self) -> str:
        """`acct_...`."""

    @property
    def accounts(self) -> Sequence[str]:
        """Connected accounts."""

    def for_account(self, account: str) -> World:
        """The world of a connected account."""

    def count(self, stream: str, parent: int | None = None) -> int:
        """How many objects; of a child stream without a parent, 0."""

    def id(self, stream: str, ordinal: int, parent: int | None = None) -> str:
        """The object's id."""

    def find(self, stream: str, id: str) -> tuple[int, int | None] | None:
        """Ordinal and parent of an id; nothing for one that is not of this world."""

    def created(self, stream: str, ordinal: int) -> int:
        """Unix seconds; never decreasing with the ordinal."""

    def bisect(self, stream: str, when: int) -> int:
        """The first ordinal created at `when` or later."""

    def render(
        self, stream: str, ordinal: int, parent: int | None = None, expand: frozenset[str] = frozenset()
    ) -> bytes:
        """The object as compact JSON at the catalog's API version."""

    def render_many(
        self, stream: str, ordinals: Sequence[int], expand: frozenset[str] = frozenset()
    ) -> bytes:
        """Top-level objects in this order, with commas between: byte for byte what `render` gives."""

    def ledger(self) -> Mapping[tuple[str, str], int]:
        """What the balance transactions come to: net amounts by (status, currency)."""

    def select(self, stream: str, params: Mapping[str, str]) -> Sequence[int] | None:
        """Ordinals matching equality filters, ascending; nothing when a filter is unknown here.

        A value that begins with `!` means all others: `{"status": "!canceled"}`.
        """


def build(
    seed: int = 1,
    objects: int = 20_000,
    accounts: int = 1,
    only: Sequence[str] | None = None,
    shape: timeline.Spread = "even",
    now: int | None = None,
    counts: Mapping[str, int] | None = None,
    account_objects: int = CONNECTED_OBJECTS,
) -> Generated:
    """A business of about `objects` objects (children included, ±5 %) over the two years before `now`.

    `only` restricts it to some streams; `counts` says exactly how many objects of which top-level stream there are
    and leaves the others empty (children come with their parents unless counted 0). `accounts` are the connected
    accounts, each with about `account_objects` of its own. Nothing is generated here: it takes milliseconds
    whatever the size.
    """
    when = int(time.time()) if now is None else now
    if counts is not None:
        streams = catalog.load().streams
        if unknown := sorted(set(counts) - set(streams)):
            raise ValueError(f"There is no stream {unknown[0]!r}; `tidegate streams` lists them all.")
        taken = dict(counts)
    else:
        taken = census.take(objects, accounts, only)
    taken.setdefault("accounts", accounts)
    return Generated(seed, taken, when, shape, "", _chosen(only, counts), account_objects)


def _chosen(only: Sequence[str] | None, counts: Mapping[str, int] | None) -> frozenset[str]:
    """The streams that have any objects."""
    names = frozenset(catalog.load().streams)
    if counts is not None:
        return names - {name for name, count in counts.items() if not count}
    return names if only is None else names & frozenset(only)


class Generated:
    """The world of one account."""

    def __init__(
        self,
        seed: int,
        counts: Mapping[str, int],
        now: int,
        shape: timeline.Spread,
        account: str,
        chosen: frozenset[str],
        account_objects: int = CONNECTED_OBJECTS,
    ) -> None:
        self.now = now
        self.seed = seed
        self._account_objects = account_objects
        self._shape = shape
        self._books = business.Books(seed, counts, now, shape, chosen)
        self.account = account or self._own_account()
        self._counts = counts
        self._chosen = chosen
        self._streams = catalog.load().streams
        self._renders: dict[str, Callable[[int, int | None, frozenset[str]], bytes]] = {}
        self._several: dict[str, business.Several | None] = {}
        self._times: dict[str, Callable[[int], int]] = {}
        self.bisect = functools.lru_cache(maxsize=512)(self._bisect)
        """The first ordinal created at a second or later; all pages of a walk ask the same."""

    def __repr__(self) -> str:
        return f"<World seed={self.seed} now={self.now}>"

    def _own_account(self) -> str:
        return ids.namer(self.seed, "account", "acct_", long=False).name(0)

    @functools.cached_property
    def accounts(self) -> Sequence[str]:
        """The ids of the connected accounts, computed when asked for."""
        return Named(self._counts.get("accounts", 0), self._books.namer("accounts"))

    def for_account(self, account: str) -> Generated:
        """The small business of a connected account; the same each time."""
        found = self.find("accounts", account)
        if found is None:
            raise KeyError("There is no such connected account.")
        seed = ids.key(self.seed, account) >> 32
        return Generated(
            seed,
            _connected_counts(self._account_objects),
            self.now,
            self._shape,
            account,
            frozenset(CONNECTED_STREAMS),
        )

    def count(self, stream: str, parent: int | None = None) -> int:
        """How many objects there are, of a child stream of this parent."""
        described = self._streams[stream]
        if stream not in self._chosen and not (stream == "accounts" and parent is None):
            return 0
        if described.parent:
            return 0 if parent is None else self._children(described, parent)
        if stream == "events":
            return self._events.count
        return self._counts.get(stream, 0)

    def _children(self, stream: catalog.Stream, parent: int) -> int:
        above = (
            stream.origins[1 if parent < 0 else 0].parents[0].stream
            if parent >= 0 or len(stream.origins) > 1
            else ""
        )
        if parent < 0:
            return _external(stream.name, ~parent) if above == "accounts" else 0
        return self._books.children(stream.name, parent)

    @functools.cached_property
    def _events(self) -> happenings.Happenings:
        return happenings.Happenings(self._books, self._chosen, self.created, self.count)

    def id(self, stream: str, ordinal: int, parent: int | None = None) -> str:
        """The object's id."""
        return self._books.row_id(stream, ordinal, parent)

    def find(self, stream: str, id: str) -> tuple[int, int | None] | None:
        """Where an id stands."""
        if stream not in self._streams:
            return None
        found = self._books.find_row(stream, id)
        if found is None or not 0 <= found[0] < self.count(stream, found[1]):
            return None
        if found[1] is not None and not self._is_parent(stream, found[1]):
            return None
        return found

    def _is_parent(self, stream: str, parent: int) -> bool:
        origin = self._streams[stream].origins[1 if parent < 0 else 0]
        above = self._streams[origin.parents[0].stream]
        if above.parent:
            higher, place = divmod(parent, naming.CHILD)
            return place < self.count(above.name, higher) and higher < self.count(above.parent)
        return (~parent if parent < 0 else parent) < self.count(above.name)

    def created(self, stream: str, ordinal: int) -> int:
        """When a top-level object was created."""
        at = self._times.get(stream)
        if at is None:
            at = self._times[stream] = (
                self._events.created if stream == "events" else self._books.times(stream)
            )
        return at(ordinal)

    def _bisect(self, stream: str, when: int) -> int:
        return bisect.bisect_left(
            range(self.count(stream)), when, key=lambda ordinal: self.created(stream, ordinal)
        )

    def render(
        self, stream: str, ordinal: int, parent: int | None = None, expand: frozenset[str] = frozenset()
    ) -> bytes:
        """The object as compact JSON."""
        render = self._renders.get(stream)
        if render is None:
            render = self._renders[stream] = self._renderer(stream)
        return render(ordinal, parent, expand)

    def render_many(
        self, stream: str, ordinals: Sequence[int], expand: frozenset[str] = frozenset()
    ) -> bytes:
        """Top-level objects in this order, with commas between."""
        if stream not in self._several:
            self._several[stream] = records.several(self._books, self._streams[stream])
        several = self._several[stream]
        if several is None or not ordinals:
            return b",".join([self.render(stream, ordinal, None, expand) for ordinal in ordinals])
        if not expand:
            return several(ordinals, ",").encode()
        described = self._streams[stream]
        texts = several(ordinals, "\n").split("\n")
        return ",".join(
            [
                f"{text[:-1]}{self._nested(described, ordinal, None, expand)}}}"
                for ordinal, text in zip(ordinals, texts, strict=True)
            ]
        ).encode()

    def ledger(self) -> Mapping[tuple[str, str], int]:
        """What the balance transactions come to: net amounts by (status, currency)."""
        books, sums = self._books, Counter[tuple[str, str]]()
        # Available two days after the midnight before.
        pending = self.bisect("balance_transactions", (self.now // business.DAY - 1) * business.DAY)
        for at in range(self.count("balance_transactions")):
            amount, fee, currency = books.movement(*books.entry(at))
            sums["available" if at < pending else "pending", currency] += amount - fee
        return sums

    def select(self, stream: str, params: Mapping[str, str]) -> Sequence[int] | None:
        """Ordinals matching equality filters, ascending."""
        if stream == "events" or self._streams[stream].parent:
            return None
        if not self.count(stream):
            return ()
        return self._selections.select(stream, params)

    @functools.cached_property
    def _selections(self) -> selections.Selections:
        return selections.Selections(self._books, self._ordinal, self.render)

    def _ordinal(self, stream: str, id: str) -> int | None:
        found = self.find(stream, id)
        return None if found is None else found[0]

    def _renderer(self, stream: str) -> Callable[[int, int | None, frozenset[str]], bytes]:
        described = self._streams[stream]
        if stream == "events":
            return lambda ordinal, _parent, _expand: self._events.render(ordinal, self.render)
        own = records.renderer(self._books, described)
        if own is None:
            own = self._generic(described)
        extras, holders = records.extras(self._books, described), records.holders(self._books, described)
        if not described.nested and not extras and not holders:
            return lambda ordinal, parent, _: (own(ordinal, parent) + "}").encode()

        embedded = bool(holders) or any(nested.embedded or "." in nested.path for nested in described.nested)

        def render(ordinal: int, parent: int | None, expand: frozenset[str]) -> bytes:
            if not expand and not embedded:
                return (own(ordinal, parent) + "}").encode()
            text = own(ordinal, parent) + self._nested(described, ordinal, parent, expand)
            for path, (bare, full) in holders.items():
                text += f',"{path.partition(".")[0]}":{full if path in expand else bare}'
            if expand:
                text += "".join([f',"{name}":{extras[name](ordinal)}' for name in extras if name in expand])
            return (text + "}").encode()

        return render

    def _generic(self, stream: catalog.Stream) -> Callable[[int, int | None], str]:
        render = generic.renderer(self._books, stream)
        if not stream.parent:
            number = self._books.number
            return lambda ordinal, _: render(
                number(stream.name, ordinal, None), None, self.created(stream.name, ordinal)
            )

        def child(ordinal: int, parent: int | None) -> str:
            assert parent is not None, f"{stream.name} are rendered of a parent."
            above = stream.origins[1 if parent < 0 else 0].parents[0].stream
            created = self._parent_created(above, parent)
            return render(self._books.number(stream.name, ordinal, parent), parent, created)

        return child

    def _parent_created(self, above: str, parent: int) -> int:
        if self._streams[above].parent:
            above, parent = self._streams[above].parent, parent // naming.CHILD
        return self.created(above, ~parent if parent < 0 else parent)

    def _nested(
        self, stream: catalog.Stream, ordinal: int, parent: int | None, expand: frozenset[str]
    ) -> str:
        """The nested lists of an object, embedded or expanded, as further fields."""
        text = ""
        for nested in stream.nested:
            head, dot, rest = nested.path.partition(".")
            shown = nested.embedded or nested.path in expand
            if not dot:
                if shown:
                    text += f',"{head}":{self._list(stream, nested, ordinal, parent)}'
                continue
            make = records.HOLDERS.get(f"{stream.name}.{head}")
            holder = make(self._books, ordinal) if make else "{}"
            text += f',"{head}":'
            if shown:
                inside = self._list(stream, nested, ordinal, parent)
                holder = _insert(holder, rest.split("."), inside)
            text += holder
        return text

    def _list(
        self, stream: catalog.Stream, nested: catalog.NestedList, ordinal: int, parent: int | None
    ) -> str:
        id = self.id(stream.name, ordinal, parent)
        found: list[str] = []
        more = False
        for name in nested.streams:
            rows, above = self._elements(stream, name, ordinal, parent, id)
            take = EMBEDDED - len(found)
            more = more or len(rows) > take
            found += [self.render(name, row, above).decode() for row in rows[:take]]
        start, brace, end = nested.url.partition("{")
        url = start + id + end.partition("}")[2] if brace else nested.url
        ending = "true" if more else "false"
        return (
            f'{{"object":"list","data":[{",".join(found)}],"has_more":{ending},"url":{templates.quote(url)}}}'
        )

    def _elements(
        self, stream: catalog.Stream, child: str, ordinal: int, parent: int | None, id: str
    ) -> tuple[Sequence[int], int | None]:
        """The rows of a nested list in list order, and their parent where they are children."""
        origins = self._streams[child].origins
        for at, origin in enumerate(origins):
            if origin.parents and origin.parents[0].stream == stream.name:
                above = ~ordinal if at else ordinal if parent is None else parent * naming.CHILD + ordinal
                return range(self.count(child, above)), above
        if self._streams[child].parent and parent is not None:
            # The entries of a treasury transaction: children of the same financial account, one per transaction.
            return range(ordinal, min(ordinal + 1, self.count(child, parent))), parent
        chosen = self.select(child, {stream.object.rpartition(".")[2]: id})
        return (chosen or ())[::-1], None


class Named(Sequence[str]):
    """The ids of a stream as a sequence that holds none of them."""

    def __init__(self, count: int, namer: ids.Namer) -> None:
        self._count = count
        self._namer = namer

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self._namer.name(at) for at in range(*index.indices(self._count))]
        return self._namer.name(range(self._count)[index])

    def __contains__(self, id: object) -> bool:
        number = self._namer.number(id) if isinstance(id, str) else None
        return number is not None and number < self._count


def _external(stream: str, account: int) -> int:
    """External accounts of a connected account: a bank account each, and a debit card for one in four."""
    return int(stream == "bank_accounts" or (stream == "cards" and account % 4 == 1))


@functools.cache
def _connected_counts(objects: int) -> Mapping[str, int]:
    return census.take(objects, 0, CONNECTED_STREAMS)


def _insert(holder: str, path: list[str], inside: str) -> str:
    """Put a list into a hash, at a path whose last name is the list's."""
    if len(path) == 1:
        return holder[:-1] + ("," if holder != "{}" else "") + f'"{path[0]}":{inside}}}'
    at = holder.index(f'"{path[0]}":{{') + len(f'"{path[0]}":{{')
    return holder[:at] + f'"{path[1]}":{inside},' + holder[at:]
