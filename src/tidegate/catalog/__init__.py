"""What Stripe has: every list endpoint and every stream, as data.

`catalog.json` is derived by `build.py` from the installed `stripe` package and committed; nothing here is
written by hand but the few facts in `facts.py` and the judgements in `silence.py`. `load()` is the only way to it.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from importlib import resources
from typing import Literal

import msgspec

FieldType = Literal["string", "integer", "number", "decimal", "boolean", "timestamp", "id", "json"]
Kind = Literal["walk", "by parent", "by parent x parent", "computed"]
Route = Literal["list", "embedded", "expanded", "per parent"]
Change = Literal["created", "updated", "deleted"]


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One top-level field of an object; `id` is a reference that may arrive expanded."""

    name: str
    type: FieldType
    nullable: bool = False
    expands: tuple[str, ...] = ()
    """The object types a reference (or a nested list's elements) may be."""
    values: tuple[str, ...] = ()
    """Known values of an enumeration; more may appear any day."""
    doc: str = ""


class NestedList(msgspec.Struct, frozen=True, omit_defaults=True):
    """A list object inside another object, cut at 10 by Stripe, or absent unless expanded."""

    path: str
    """Dotted from the object: `lines`, `computed.upfront.line_items`."""
    url: str
    """Template of the list that continues it, `/v1/invoices/{invoice}/lines`; empty when there is none."""
    objects: tuple[str, ...]
    streams: tuple[str, ...]
    embedded: bool = True
    """False: absent unless expanded."""


class Parent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a list takes a parameter from: one request per row of `stream`.

    Several parents of one stream take their values from the same row; of different streams, from each pair.
    """

    stream: str
    param: str
    """A placeholder of the path (`invoice`), or a query parameter (`subscription`)."""
    field: str = "id"
    """The parent's field whose value is sent."""
    where: str = ""
    """A parent's field that is null when the parent cannot have any (`latest_attempt`)."""


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much of what happens to a row an event says, `/v1/events` being read; the rest only listing again shows.

    `some`: there are such events, but other changes of the kind are silent. `never`: it cannot happen, so that
    nothing has to be looked for, and a row that its list no longer has (an event after 30 days) is not deleted.
    Told is also what an event of another row tells: of the parent that embeds this one, of the refund that names
    its charge. A copy of another object inside a row (a price in a subscription item) is not part of this.
    """

    created: Literal["all", "some", "none"] = "none"
    updated: Literal["all", "some", "none", "never"] = "none"
    deleted: Literal["all", "some", "none", "never"] = "none"
    silent: str = ""
    """What changes in silence, in words for people."""

    @property
    def whole(self) -> bool:
        """Do events tell everything?"""
        return {self.created, self.updated, self.deleted} <= {"all", "never"}


class Settling(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field that ends at a last value without an event; nothing else of such a row ever changes."""

    field: str
    open: tuple[str, ...]
    """Values that are not the last."""


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """One list that rows of a stream come from; most streams have exactly one."""

    path: str
    kind: Kind
    route: Route
    parents: tuple[Parent, ...] = ()
    nested: str = ""
    """For embedded and expanded children: the dotted path of the nested list in the parent."""
    params: dict[str, str] = {}
    """Always sent (`status=all`)."""
    created: str = ""
    """`created` when the list takes `created[gte]` etc. in unix seconds; empty when it has no such filter.

    v2 lists, some of which filter by RFC 3339 times, are walked whole.
    """
    paged: bool = True
    """False: the list takes no cursor and answers whole."""
    max_limit: int = 100
    """The largest `limit`; 0 when the list takes none."""
    objects: tuple[str, ...] = ()
    """A mixed list: only elements whose `object` is one of these belong to the stream."""
    window: tuple[str, ...] = ()
    """Two required parameters, begin and end of the span asked for, in unix seconds at UTC midnight."""
    retrieve: str = ""
    """By id, where rows of this origin have another route than the stream's `retrieve`."""
    filters: tuple[str, ...] = ()
    """Every optional parameter that narrows the list (`customer`, `status`), paging and `expand` aside."""
    touched_by: tuple[str, ...] | None = None
    """For lists that a parent's payloads lack: the parent's fields whose change means that the list changed.

    None: any event of the parent may mean it. Empty: none does, for the rows have events of their own, or only
    listing again shows their changes. See `is_touched`.
    """
    told: Told | None = None
    """Where events tell less of this list than of the stream's others."""

    def is_touched(self, change: Change, row: Mapping[str, object], previous: Collection[str] | None) -> bool:
        """May this list, under a parent `row` of which an event says `change`, be other than before?

        `previous` are the fields that the event says have changed, None where it does not say: then any may have.
        A new parent's list is only worth asking for when one of the fields holds something. A deleted parent's
        goes with it.
        """
        if self.touched_by is None or change == "deleted":
            return change != "deleted"
        if change == "created":
            return any(_holds_something(row.get(name)) for name in self.touched_by)
        return bool(self.touched_by) and (previous is None or not set(self.touched_by).isdisjoint(previous))


class Events(msgspec.Struct, frozen=True, omit_defaults=True):
    """The event types that say a row was created, updated or deleted; empty where Stripe sends none."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


class Param(msgspec.Struct, frozen=True, omit_defaults=True):
    """One body parameter of a write."""

    name: str
    type: FieldType
    required: bool = False
    emptyable: bool = False
    values: tuple[str, ...] = ()


class Write(msgspec.Struct, frozen=True, omit_defaults=True):
    """One way to change an object: `POST /v1/customers/{customer}`."""

    method: Literal["post", "delete"]
    path: str
    params: tuple[Param, ...] = ()


class Stream(msgspec.Struct, frozen=True, omit_defaults=True):
    """One table of the warehouse."""

    name: str
    object: str
    api: Literal["v1", "v2"]
    origins: tuple[Origin, ...]
    fields: tuple[Field, ...]
    permission: str
    """The restricted-key permission that lets it be read: `rak_charge_read`."""
    key: tuple[str, ...] = ("id",)
    """What identifies a row beside `_account_id`; `_parent_id` where Stripe's ids repeat across parents."""
    created_field: str = "created"
    """The field that `created[gte]` etc. filter by; empty when a row does not tell."""
    doc: str = ""
    nested: tuple[NestedList, ...] = ()
    expand: tuple[str, ...] = ()
    """Fields that are absent unless expanded and worth having: sent as `expand[]=data.<field>`."""
    events: Events = Events()
    relatives: dict[str, tuple[str, ...]] = {}
    """Field path -> streams whose rows an event on this object also touches (`charge` -> charges).

    The path leads to the id of the touched row, or to the row itself, or to several in an array: see `references`.
    Paths that older API versions had are among them, for a payload may be as old as the account's version.
    """
    told: Told = Told()
    settles: Settling | None = None
    carried: dict[str, tuple[str, ...]] = {}
    """Expanded fields, which payloads lack, whose stored value stays true unless an event says that one of these
    fields changed (`tax` -> address, shipping, ...). An event that does not say what changed carries nothing."""
    dependents: dict[str, str] = {}
    """Streams of which a deleted row of this one takes rows with it, without events of theirs -> their field that
    names it (`customers` -> `test_clock`). Which are gone, reading them again decides."""
    retrieve: str = ""
    """`/v1/customers/{customer}`; empty when Stripe has no such route."""
    search: str = ""
    create: Write | None = None
    update: Write | None = None
    delete: Write | None = None
    own: str = ""
    """A route that returns one more row of the stream: `/v1/account` for the platform's own account."""
    default: bool = True
    """False: not part of `*`, with the reason in `why`; still pulled when named."""
    why: str = ""

    @property
    def path(self) -> str:
        """The list's path, as Stripe documents it."""
        return self.origins[0].path

    @property
    def parent(self) -> str:
        """The stream whose rows the list needs, or nothing."""
        return self.origins[0].parents[0].stream if self.origins[0].parents else ""

    @property
    def created_filter(self) -> bool:
        """Can the list be cut by creation time?"""
        return all(origin.created for origin in self.origins)


class Endpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """One list endpoint of the package and what becomes of it."""

    path: str
    kind: Kind
    streams: tuple[str, ...] = ()
    reason: str = ""
    """Why a computed list is no stream."""


class Catalog(msgspec.Struct, frozen=True):
    """Everything: the package and API version it was derived from, all endpoints, all streams by name."""

    package: str
    api_version: str
    event_types: tuple[str, ...]
    endpoints: tuple[Endpoint, ...]
    streams: dict[str, Stream]
    strays: dict[str, dict[str, tuple[str, ...]]]
    """Event types whose object is in no stream -> field path of that object -> the streams it touches.

    The field holds the id of the touched row, or of its parent where the touched stream is a child.
    """


@functools.lru_cache(maxsize=4_096)
def announced(type: str, object: str) -> tuple[tuple[str, Change], ...]:
    """The streams that an event's object is a row of, and what happened to it there.

    A type that the catalog does not know speaks of every v1 stream of that `object` whose rows can be had by id,
    and only says that something changed, whatever its last word: reading again decides. An object that a known
    type has not carried so far is taken the same way.
    """
    known = load()
    speaks = _announcements().get(type, ())
    found = tuple(each for each in speaks if object in _objects(known.streams[each[0]]))
    if found or type in known.strays:
        return found
    return tuple(
        (stream.name, "updated")
        for stream in known.streams.values()
        if stream.api == "v1" and stream.object == object and stream.retrieve
    )


def references(row: object, path: str) -> tuple[str, ...]:
    """The ids that a dotted path leads to: written as such, of objects standing there, or of each of an array."""
    return tuple(dict.fromkeys(_ids(row, path.split(".") if path else [])))


@functools.cache
def load() -> Catalog:
    """Read the committed catalog; cached, a few milliseconds."""
    data = resources.files(__package__).joinpath("catalog.json").read_bytes()
    return msgspec.json.decode(data, type=Catalog)


@functools.cache
def _announcements() -> dict[str, tuple[tuple[str, Change], ...]]:
    """By event type."""
    found: dict[str, list[tuple[str, Change]]] = {}
    for stream in load().streams.values():
        changes: tuple[tuple[Change, tuple[str, ...]], ...] = (
            ("created", stream.events.created),
            ("updated", stream.events.updated),
            ("deleted", stream.events.deleted),
        )
        for change, types in changes:
            for type in types:
                found.setdefault(type, []).append((stream.name, change))
    return {type: tuple(speaks) for type, speaks in found.items()}


def _objects(stream: Stream) -> set[str]:
    return {stream.object, *(object for origin in stream.origins for object in origin.objects)}


def _ids(value: object, path: list[str]) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _ids(each, path)
    elif isinstance(value, dict) and path:
        yield from _ids(value.get(path[0]), path[1:])
    elif not path:
        found = value.get("id") if isinstance(value, dict) else value
        if isinstance(found, str) and found:
            yield found


def _holds_something(value: object) -> bool:
    """Is there anything in it? `{"tip": {}}` holds nothing, nor does 0."""
    if isinstance(value, dict):
        return any(map(_holds_something, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_something, value))
    return bool(value)
