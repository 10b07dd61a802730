"""What can be written to Stripe: the objects, the operations on them and every field a request may carry, as data.

`writes.json` is derived by `build_writes.py` from the parameters of the installed `stripe` package and committed;
what Stripe says only in prose stands in `write_facts_*.py`. `load()` and `find()` are the only ways to it.

A field is named by its dotted path: `address.city`, `metadata.plan`, `currency_options.eur.unit_amount`. A map
takes any key; `metadata` takes everything behind its first dot, dots included.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from typing import Literal
from urllib import parse

import msgspec

Action = Literal["create", "update", "delete", "archive"]
Kind = Literal[
    "string", "integer", "number", "decimal", "boolean", "timestamp", "enum", "list", "map", "hash"
]


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One parameter of a request, or what the elements of a list or map consist of."""

    path: str
    """Dotted, from the object; inside `fields` from the element."""
    kind: Kind
    """`hash` is a parameter with members, which are fields of their own; it is listed to be cleared as one."""
    of: Kind | None = None
    """What the elements of a list or the values of a map are."""
    fields: dict[str, Field] = {}
    """The members of each element, where elements are hashes."""
    enum: tuple[str, ...] = ()
    """The values it may have; of a number the words it may be instead (`now`), of a list those of an element."""
    enum_on_update: tuple[str, ...] = ()
    """The same where an update takes others."""
    clearable: bool = False
    """May the empty string remove it? Inside a hash that is replaced `whole`, it is left out instead."""
    on_create: bool = False
    on_update: bool = False
    required_on_create: bool = False
    """Of a member: whenever its hash is sent."""
    required_on_update: bool = False
    max_length: int = 0
    """Characters; 0 when Stripe states no limit."""
    max_items: int = 0
    pattern: str = ""
    """A regular expression for the whole text, in words in `shape`."""
    shape: str = ""
    caseless: bool = False
    """Its case says nothing: `EUR` is what Stripe shows as `eur`."""
    only_from: str = ""
    """It can be changed only as long as it has this value."""
    least: float | None = None
    most: float | None = None
    positive: bool = False
    whole: str = ""
    """The hash around it that an update replaces whole, so that all of it has to be sent (`shipping`)."""
    in_path: bool = False
    """It stands in the address of the request and not in its body."""
    why_not: str = ""
    """Stripe would take it, Tidegate does not: why, and what to do instead."""
    doc: str = ""
    """Stripe's own first sentence."""
    sources: tuple[str, ...] = ()
    """Where Stripe says what its package does not."""

    def writable(self, action: str) -> bool:
        """Can it be sent when creating, when updating, or with `any` at least in one of them?"""
        allowed = {
            "create": self.on_create,
            "update": self.on_update,
            "any": self.on_create or self.on_update,
        }
        return not self.why_not and allowed.get(action, False)

    def values(self, action: str) -> tuple[str, ...]:
        """The values it may have then."""
        if not self.enum_on_update or action == "create":
            return self.enum
        both = (*self.enum, *self.enum_on_update)
        return self.enum_on_update if action == "update" else tuple(dict.fromkeys(both))


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request: `POST /v1/customers/{customer}`."""

    method: Literal["post", "delete"]
    path: str
    body: dict[str, str] = {}
    """Always sent with it: archiving is an update with `active=false`."""
    effect: str = ""
    """What else it does, in words for people, where that is more than its name says."""
    source: str = ""

    @property
    def placeholders(self) -> tuple[str, ...]:
        """What the path needs, in order; the last one is the object's own id unless it is created."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))

    def address(self, **values: str) -> str:
        """The path with every placeholder filled and quoted.

        Raises ValueError where a value is missing or empty: an empty id would address the list.
        """
        parts = []
        for part in self.path.split("/"):
            if part.startswith("{"):
                if not values.get(part[1:-1]):
                    raise ValueError(f"{self.path} needs a {part[1:-1]}")
                part = parse.quote(values[part[1:-1]], safe="")
            parts.append(part)
        return "/".join(parts)

    def on(self, target: str, **above: str) -> str:
        """The address of one object: the last placeholder is `target`, those before it are given by name."""
        return self.address(**above, **{self.placeholders[-1]: target})


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """Fields that belong together: of `fields`, at least `least` and at most `most` must be there."""

    fields: tuple[str, ...]
    sentence: str
    source: str
    actions: tuple[str, ...] = ("create",)
    least: int = 0
    most: int | None = None
    """None when there is no upper bound."""
    when: dict[str, str] = {}
    """It holds only where these fields have these values; `*` is any."""
    unless: dict[str, str] = {}


class Pointer(msgspec.Struct, frozen=True):
    """Another kind of object that may name one of this kind."""

    object: str
    """Its name: `product`."""
    via: str
    """The field that says which one: `product` of a price."""
    field: str
    """Its field that names the object: `default_price`."""
    source: str


class Replacement(msgspec.Struct, frozen=True, omit_defaults=True):
    """How another object takes the place of one whose fields cannot change."""

    retire: Action
    """What is done to the old one, once there is the new one."""
    source: str
    moving: dict[str, dict[str, str]] = {}
    """What is sent with the new one where it has a field that only one object can have."""
    expand: tuple[str, ...] = ()
    """What a retrieval shows only when it is asked for, and what the new one is to have as well."""
    pointer: Pointer | None = None
    """What has to name the new one before the old one can be retired."""


class Object(msgspec.Struct, frozen=True, omit_defaults=True):
    """One kind of object that can be written."""

    name: str
    object: str
    """What it calls itself at Stripe: `invoiceitem`, `billing.meter_event`."""
    docs: str
    operations: dict[Action, Operation]
    fields: dict[str, Field]
    keys: tuple[str, ...]
    """What finds one, best first; `metadata` is any key of it."""
    stream: str = ""
    """Its stream in the catalog; empty where Stripe has no list of them."""
    permission: str = ""
    """What a restricted key needs: `rak_customer_write`."""
    aliases: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    events: tuple[str, ...] = ()
    """Types of events whose payload is such an object."""
    money: bool = False
    """Somebody is billed for each one: strictly once, and only with a key in metadata that finds it again."""
    replacement: Replacement | None = None
    """None where nothing takes the place of another: what cannot change stays."""
    note: str = ""
    """What a reader should know before anything else."""

    @property
    def creatable(self) -> bool:
        return "create" in self.operations

    @property
    def updatable(self) -> bool:
        return "update" in self.operations

    @property
    def deletable(self) -> bool:
        return "delete" in self.operations

    @property
    def archivable(self) -> bool:
        """By `active=false`."""
        return "archive" in self.operations

    @property
    def settable_id(self) -> bool:
        """May the creator choose the id? A second create with it is then refused."""
        return "id" in self.fields

    @property
    def metadata(self) -> bool:
        return "metadata" in self.fields

    def fixed(self, path: str, now: str | None) -> bool:
        """Is it a field that an object has for ever, once it has it? `now` is what it has."""
        field = self.field(path)
        if field is None or not field.writable("create"):
            return False
        return not field.writable("update") or (field.only_from != "" and now not in (field.only_from, None))

    def field(self, path: str) -> Field | None:
        """The field of a dotted path, also of a key in a map; None when there is no such parameter."""
        return _field(self.fields, path, "")


class Writes(msgspec.Struct, frozen=True):
    """Everything: the package and API version it was derived from, and all objects by name."""

    package: str
    api_version: str
    objects: dict[str, Object]


METADATA_KEYS = 50
METADATA_KEY_LENGTH = 40
METADATA_VALUE_LENGTH = 500
"""Limits of metadata, from docs.stripe.com/api/metadata; its keys hold no square brackets."""


def load() -> Mapping[str, Object]:
    """Every object that can be written, by name."""
    return read().objects


def find(name: str) -> Object | None:
    """The object of a name, ours (`invoice_item`) or Stripe's (`invoiceitem`)."""
    return load().get(_names().get(name, name))


@functools.cache
def read() -> Writes:
    """The committed file; cached, a few milliseconds."""
    data = resources.files(__package__).joinpath("writes.json").read_bytes()
    return msgspec.json.decode(data, type=Writes)


@functools.cache
def _names() -> dict[str, str]:
    return {alias: each.name for each in load().values() for alias in each.aliases}


def _field(fields: Mapping[str, Field], path: str, prefix: str) -> Field | None:
    found = fields.get(path)
    if found is not None:
        return msgspec.structs.replace(found, path=prefix + path) if prefix else found
    parts = path.split(".")
    for cut in range(1, len(parts)):
        parent = fields.get(".".join(parts[:cut]))
        if parent is None or parent.kind != "map":
            continue
        if parent.of == "hash":
            key, rest = parts[cut], ".".join(parts[cut + 1 :])
            place = f"{prefix}{parent.path}.{key}."
            inner = _field(parent.fields, rest, place) if key and rest else None
            return None if inner is None else _within(inner, parent)
        return _value_of(parent, f"{prefix}{path}", path[len(parent.path) + 1 :])
    return None


def _value_of(parent: Field, path: str, key: str) -> Field | None:
    """One value of a map of scalars."""
    if not key or parent.of is None:
        return None
    metadata = parent.path.rpartition(".")[2] == "metadata"
    value = Field(
        path=path,
        kind=parent.of,
        clearable=metadata,
        max_length=METADATA_VALUE_LENGTH if metadata else 0,
        doc=parent.doc,
        on_create=True,
        on_update=True,
    )
    return _within(value, parent)


def _within(inner: Field, parent: Field) -> Field:
    """A field inside an element can be sent when the element can."""
    return msgspec.structs.replace(
        inner,
        on_create=inner.on_create and parent.on_create,
        on_update=inner.on_update and parent.on_update,
        why_not=inner.why_not or parent.why_not,
    )
