"""Creating, changing and deleting: by the catalog's parameters for every object, and by business rules for some.

A rule is a function registered for a stream; it sees the object before it is stored and may write others. What
has no rule gets its parameters copied into the fields of the same names.
"""

from __future__ import annotations

import copy
import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate import catalog
from tidegate.sandbox import clock as clocks
from tidegate.sandbox import (
    events,
    expand,
    forms,
    lists,
    nesting,
    objects,
    parameters,
    prefixes,
    refusals,
    shapes,
)

SETTABLE_IDS = frozenset({"coupons", "products", "plans", "entitlements_features"})
SETTABLE = re.compile(r"[A-Za-z0-9_.:\- ]+\Z")
"""Letters, digits and a few signs: what can stand in a path."""

# The four whose retrieval may answer a deleted object, by Stripe's OpenAPI; all others answer resource_missing.
LINGERING = frozenset({"customers", "terminal_configurations", "terminal_locations", "terminal_readers"})
"""Deleted objects that still answer by id, with `deleted: true`."""

PREVIOUS = "_previous"
"""A rule puts here what its event says of changes that are no field of the object: a subscription's items."""

# Hashes that a parameter replaces whole; of others the given keys are merged in.
REPLACED = frozenset({"address", "recurring", "promotion", "package_dimensions", "shipping"})


@dataclass
class Call:
    """One write request: where it works and how its events are signed."""

    book: objects.Book
    journal: events.Journal
    names: prefixes.Names
    secrets: dict[str, str]
    connect: set[str]
    request_id: str = ""
    idempotency_key: str | None = None
    live: bool = False
    """Was it made with a live key?"""
    delay: float | None = None
    noted: dict[str, Any] = field(default_factory=dict)
    """What one rule of the request leaves for a later one."""

    @property
    def clock(self) -> clocks.Clock:
        """The sandbox's clock."""
        return self.book.clock

    def now(self) -> int:
        """Whole seconds."""
        return self.book.clock.now()

    def get(self, stream: str, id: str, param: str = "id", *, status: int = 400) -> objects.Object:
        """An object named by a parameter; refused when it is not there."""
        found = self.book.get(stream, id) if isinstance(id, str) else None
        if found is None:
            noun = lists.noun(self.book.stream(stream))
            raise refusals.missing(noun, id, param, status=status, stored=True)
        return found

    def announce(self, type: str, stream: str, id: str, previous: objects.Object | None = None) -> None:
        """Write an event about an object as it now is."""
        ref = self.book.locate(stream, id)
        assert ref is not None, "an event is about an object that is there"
        self.tell(type, self.book.show(stream, ref), previous)

    def tell(self, type: str, obj: objects.Object, previous: objects.Object | None = None) -> None:
        """Write an event about an object given whole."""
        self.journal.write(
            self.book,
            type,
            obj,
            previous,
            request_id=self.request_id or None,
            idempotency_key=self.idempotency_key,
            delay=self.delay,
        )

    def add(
        self, stream: str, values: Mapping[str, Any], parent: str = "", event: str = ""
    ) -> objects.Object:
        """Store a new object made of blanks and values, and announce it."""
        obj = blank(self, self.book.stream(stream))
        obj.update(values)
        self.book.put(stream, obj, parent)
        if event:
            self.announce(event, stream, obj["id"])
        return obj

    def change(self, stream: str, id: str, values: Mapping[str, Any], *types: str) -> objects.Object:
        """Change fields of a stored object and announce it by each type; nothing is said when nothing changed."""
        before = self.book.get(stream, id)
        assert before is not None, "only what is there is changed"
        after = {**before, **values}
        previous = events.changes(before, after)
        if previous:
            self.book.put(stream, after)
            for type in types:
                self.announce(type, stream, id, previous)
        return after


Rule = Callable[[Call, objects.Object, forms.Tree], None]
"""Call, the object about to be stored, typed parameters."""

BEFORE_CREATE: dict[str, Rule] = {}
AFTER_CREATE: dict[str, Rule] = {}
BEFORE_UPDATE: dict[str, Rule] = {}
AFTER_UPDATE: dict[str, Rule] = {}
BEFORE_DELETE: dict[str, Callable[[Call, objects.Object], None]] = {}
DELETES: dict[str, Callable[[Call, objects.Object, forms.Tree], objects.Object]] = {}
"""Where DELETE does not delete: `subscriptions` are canceled."""
ACTIONS: dict[tuple[str, str], tuple[str, Callable[[Call, objects.Object, forms.Tree], objects.Object]]] = {}
"""(method, template) -> stream and what is done to the object the path names."""


def action(method: str, template: str, stream: str) -> Callable[[Any], Any]:
    """Register a function as an action on the object that the first placeholder names."""

    def register(function: Callable[[Call, objects.Object, forms.Tree], objects.Object]) -> object:
        ACTIONS[method, template] = (stream, function)
        return function

    return register


def create(
    call: Call, stream: catalog.Stream, write: catalog.Write, arguments: Mapping[str, str], params: forms.Tree
) -> tuple[str, str, str]:
    """Create an object; its stream, id and parent's id."""
    typed = forms.check(write, params, typed=stream.api == "v2")
    parent = _parent(call, stream, arguments, typed)
    _check_references(call, stream, typed)
    obj = blank(call, stream)
    if stream.name in SETTABLE_IDS and isinstance(given := typed.pop("id", None), str):
        if call.book.exists(stream.name, given):
            raise refusals.not_allowed(
                f"{lists.noun(stream).capitalize()} already exists.",
                code="resource_already_exists",
                param="id",
            )
        if not SETTABLE.match(given):
            raise refusals.invalid(
                "id", "Invalid id: only letters, digits, dashes and underscores are allowed."
            )
        obj["id"] = given
    _merge(stream, write.path, obj, typed)
    if parent and (pointer := nesting.pointing_field(stream, call.book.stream(stream.parent))):
        obj[pointer] = parent
    if rule := BEFORE_CREATE.get(stream.name):
        rule(call, obj, typed)
    call.book.put(stream.name, obj, parent)
    if type := created_type(stream, obj):
        call.announce(type, stream.name, obj["id"])
    if rule := AFTER_CREATE.get(stream.name):
        rule(call, obj, typed)
    return stream.name, obj["id"], parent


def update(
    call: Call, stream: catalog.Stream, write: catalog.Write, id: str, parent: str, params: forms.Tree
) -> None:
    """Change an object; says nothing when nothing changed, or when Stripe has no event for it."""
    before = call.book.get(stream.name, id, parent)
    assert before is not None, "the caller found it"
    nullable = {one.name for one in stream.fields if one.nullable and one.type == "string"}
    typed = forms.check(write, params, typed=stream.api == "v2", nullable=nullable)
    _check_references(call, stream, typed)
    after = copy.deepcopy(before)
    _merge(stream, write.path, after, typed)
    if rule := BEFORE_UPDATE.get(stream.name):
        rule(call, after, typed)
    unseen = after.pop(PREVIOUS, {})
    previous = events.changes(before, after) | unseen
    if previous:
        if isinstance(after.get("updated"), int) and after["updated"] != call.now():
            previous["updated"] = after["updated"]
            after["updated"] = call.now()
        call.book.put(stream.name, after, parent)
        if type := updated_type(stream, after):
            call.announce(type, stream.name, id, previous)
    if rule := AFTER_UPDATE.get(stream.name):
        rule(call, after, typed)


def delete(
    call: Call, stream: catalog.Stream, write: catalog.Write, id: str, parent: str, params: forms.Tree
) -> objects.Object:
    """Delete an object, or do what Stripe does on DELETE; what is answered."""
    typed = forms.check(write, params, typed=stream.api == "v2")
    obj = call.book.get(stream.name, id, parent)
    assert obj is not None, "the caller found it"
    if stream.name in DELETES:
        return DELETES[stream.name](call, obj, typed)
    if before := BEFORE_DELETE.get(stream.name):
        before(call, obj)
    ref = call.book.locate(stream.name, id, parent)
    assert ref is not None, "it exists, so it has a place"
    whole = call.book.show(stream.name, ref)
    tombstone = {"id": id, "object": stream.object, "deleted": True}
    call.book.remove(stream.name, id, tombstone, parent)
    if type := deleted_type(stream, whole):
        call.tell(type, whole)
    return tombstone


def blank(call: Call, stream: catalog.Stream) -> objects.Object:
    """A new object with every field the catalog knows: nulls where allowed, else the emptiest value."""
    inner = shapes.load().get(stream.object, {})
    absent = {nested.path for nested in stream.nested} | set(stream.expand)
    obj: objects.Object = {}
    for one in stream.fields:
        if one.name in absent or (one.name == "account" and stream.name == "events"):
            continue
        if one.nullable:
            obj[one.name] = None
        elif one.type == "json":
            obj[one.name] = _hollow(inner.get(one.name, inner.get("?" + one.name, "m")), call.now())
        else:
            obj[one.name] = _emptiest(one, call, stream)
    obj["id"] = call.names.make(stream.object)
    obj["object"] = stream.object
    if "metadata" in obj:
        obj["metadata"] = {}
    return obj


def created_type(stream: catalog.Stream, obj: objects.Object) -> str:
    """The event type that announces a new object, if any."""
    status = {"succeeded": "charge.succeeded", "failed": "charge.failed", "pending": "charge.pending"}
    if stream.name == "charges":
        return status.get(obj.get("status", ""), "")
    return _type(stream.events.created, obj, ".created")


def updated_type(stream: catalog.Stream, obj: objects.Object) -> str:
    """The event type of a changed object, if any."""
    return _type(stream.events.updated, obj, ".updated")


def deleted_type(stream: catalog.Stream, obj: objects.Object) -> str:
    """The event type of a deleted object, if any."""
    return _type(stream.events.deleted, obj, ".deleted")


def _type(types: tuple[str, ...], obj: objects.Object, ending: str) -> str:
    """Cards and bank accounts have two families: a customer's sources and an account's external accounts."""
    fitting = [type for type in types if type.endswith(ending) and ".refund." not in type]
    if len(fitting) > 1 and any(type.startswith("customer.source.") for type in fitting):
        family = (
            "account.external_account"
            if obj.get("account") and not obj.get("customer")
            else "customer.source"
        )
        return next((type for type in fitting if type.startswith(family)), "")
    return fitting[0] if fitting else ""


def _parent(call: Call, stream: catalog.Stream, arguments: Mapping[str, str], typed: forms.Tree) -> str:
    """The parent's id of a new child, out of the path or a parameter; refused when it is not there."""
    for origin in stream.origins:
        for above in origin.parents[:1]:
            in_path = above.param in arguments
            id = arguments.get(above.param) or typed.get(above.param)
            if not in_path and arguments:
                id = next(iter(arguments.values()))
                in_path = True
            if isinstance(id, str):
                call.get(above.stream, id, above.param, status=404 if in_path else 400)
                return id
    return ""


def _check_references(call: Call, stream: catalog.Stream, typed: forms.Tree) -> None:
    """Refuse ids that name nothing."""
    for one in stream.fields:
        value = typed.get(one.name)
        if one.type != "id" or not isinstance(value, str) or one.name in ("payment_method", "source"):
            continue
        streams = [found for kind in one.expands for found in expand.of_object(call.book.facts, kind)]
        if streams and not any(call.book.exists(found.name, value) for found in streams):
            raise refusals.missing(
                one.expands[0].rpartition(".")[2], value, one.name, status=400, stored=True
            )


def _merge(stream: catalog.Stream, path: str, obj: objects.Object, typed: forms.Tree) -> None:
    fields = {one.name for one in stream.fields} - {nested.path for nested in stream.nested}
    for name, value in typed.items():
        if name == "metadata":
            obj[name] = forms.merge_metadata(obj.get(name) or {}, value)
        elif name in fields and name != "id":
            known = obj.get(name)
            if isinstance(value, dict) and name in REPLACED:
                obj[name] = parameters.whole(path, name, {**dict.fromkeys(known or ()), **value})
            elif isinstance(known, dict) and isinstance(value, dict):
                obj[name] = {**known, **value}
            else:
                obj[name] = value


def _emptiest(one: catalog.Field, call: Call, stream: catalog.Stream) -> object:
    if one.name == "livemode":
        return call.live
    match one.type:
        case "boolean":
            return False
        case "integer" | "number":
            return 0
        case "decimal":
            return "0"
        case "timestamp":
            return _rfc3339(call.clock.time()) if stream.api == "v2" else call.now()
        case "id":
            return None
    return one.values[0] if one.values else ""


def _rfc3339(when: float) -> str:
    return datetime.datetime.fromtimestamp(when, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _hollow(shape: Any, now: int) -> Any:
    """The emptiest value of a nested shape; see `shapes`."""
    if isinstance(shape, dict):
        return {
            name.removeprefix("?"): None if name.startswith("?") else _hollow(inner, now)
            for name, inner in shape.items()
        }
    if isinstance(shape, list):
        return []
    match str(shape)[:1]:
        case "m":
            return {}
        case "i" | "n":
            return 0
        case "t":
            return now
        case "d":
            return "0"
        case "b":
            return False
        case "=":
            return str(shape)[1:].split("|")[0]
        case "L":
            return {"object": "list", "data": [], "has_more": False, "url": ""}
        case "@":
            return None
    return ""
