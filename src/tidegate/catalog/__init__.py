"""What Stripe has: every list endpoint and every stream, as data.

`catalog.json` is derived by `build.py` from the installed `stripe` package and committed; nothing here is
written by hand but the few facts in `facts.py`. `load()` is the only way to it.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Literal

import msgspec

FieldType = Literal["string", "integer", "number", "decimal", "boolean", "timestamp", "id", "json"]
Kind = Literal["walk", "by parent", "by parent x parent", "computed"]
Route = Literal["list", "embedded", "expanded", "per parent"]


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
    """Field path -> streams whose rows an event on this object also touches (`charge` -> charges)."""
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


@functools.cache
def load() -> Catalog:
    """Read the committed catalog; cached, a few milliseconds."""
    data = resources.files(__package__).joinpath("catalog.json").read_bytes()
    return msgspec.json.decode(data, type=Catalog)
