"""Where a create left its traces: in events, in the metadata of what it made, in lists.

What is found proves that it was done. That nothing is found proves little: events come late and are kept for 30
days, search lags behind, keys may not read everything. So each look says whether it saw all there is.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from tidegate import catalog, errors
from tidegate.catalog import writes
from tidegate.push import forms, verdicts
from tidegate.store import operations
from tidegate.stripe import client, pages

EVENTS_KEPT = 29 * 86400.0
"""Seconds for which Stripe surely has an event: it keeps them for 30 days."""
AROUND = 900.0
"""Seconds before and after, when a moment of one clock is looked for by another."""

EVENTS = "/v1/events"

log = logging.getLogger(__name__)

Found = Mapping[str, Any]
"""An object of Stripe."""


class Mirror(Protocol):
    """A copy of all objects of one kind that an account has."""

    caught_up_since: float
    """It has every object that there was at this moment, in unix seconds of Stripe's clock; 0 when it never had."""

    def find_op(self, operation: str) -> str | None:
        """The id of the object whose metadata names an operation."""
        ...


@dataclass(frozen=True, slots=True)
class Heard:
    """What the events since a moment say: the objects that creates made, by idempotency key."""

    since: float
    """Unix seconds of Stripe's clock."""
    made: Mapping[str, Found] = field(default_factory=dict)
    complete: bool = False
    """All of them were read."""


async def hear(stripe: client.Client, of: writes.Object, since: float) -> Heard:
    """Read all events since a moment that tell of such an object being created."""
    types = [each for each in of.events if each.endswith(".created")]
    made: dict[str, Found] = {}
    if not types:
        return Heard(since)
    try:
        async for event in events(stripe, types, since):
            key = key_of(event)
            subject = event["data"]["object"]
            if key and subject.get("object") == of.object:
                made[key] = subject
    except errors.Unauthorized:
        raise
    except (errors.StripeError, errors.BadPage, errors.Unreachable) as error:
        log.warning("the events of %s could not be read: %s", of.name, error)
        return Heard(since, made)
    return Heard(since, made, complete=True)


async def events(stripe: client.Client, types: Sequence[str], since: float) -> AsyncIterator[Found]:
    """The events of some types since a moment, in unix seconds of Stripe's clock; newest first.

    Other servers of this API refuse the parameter, or pay it no heed: all are read there, and chosen here.
    """
    params: pages.Params = {"created[gte]": int(since), "limit": 100}
    begun = False
    try:
        async for event in walk(stripe, EVENTS, {"types[]": types, **params}):
            begun = True
            if event["type"] in types:
                yield event
    except errors.InvalidRequest:
        if begun:
            raise
        async for event in walk(stripe, EVENTS, params):
            if event["type"] in types:
                yield event


def key_of(event: Found) -> str | None:
    """The idempotency key of the request that an event came of; API versions before 2017-05-25 do not tell it."""
    request = event.get("request")
    return request.get("idempotency_key") if isinstance(request, Mapping) else None


async def walk(stripe: client.Client, path: str, params: pages.Params) -> AsyncIterator[Found]:
    """The objects of a list, page by page."""
    after: pages.Params = {}
    while True:
        page = decoded(await stripe.get(path, {**params, **after}))
        found: Sequence[Found] = page.get("data", ())
        for each in found:
            yield each
        if not page.get("has_more") or not found:
            return
        after = {"starting_after": found[-1]["id"]}


async def retrieve(stripe: client.Client, path: str, endpoint: str = "") -> Found | None:
    """An object by its address; None where there is none, or no longer."""
    try:
        found = decoded(await stripe.get(path, endpoint=endpoint))
    except errors.Missing:
        return None
    return None if found.get("deleted") else found


async def chosen(stripe: client.Client, of: writes.Object, operation: operations.Operation) -> Found | None:
    """The object with the id that a create chooses."""
    assert of.settable_id, f"Stripe chooses the id of a {of.name}."
    update = of.operations["update"]
    return await retrieve(stripe, update.on(verdicts.existing(operation)), update.path)


def mark(operation: operations.Operation) -> str:
    """The key of metadata under which a create says which operation it is; nothing where it does not."""
    metadata = forms.decode(operation.body.encode()).get("metadata")
    named = metadata if isinstance(metadata, Mapping) else {}
    return next((key for key, value in named.items() if value == operation.id), "")


def made_by(found: Found, operation: operations.Operation) -> bool:
    """Does an object say that this operation made it?"""
    key = mark(operation)
    return bool(key) and (found.get("metadata") or {}).get(key) == operation.id


async def searched(stripe: client.Client, of: writes.Object, operation: operations.Operation) -> Found | None:
    """What Stripe's search finds by the operation; search lags behind, so nothing found says nothing."""
    stream, key = catalog.load().streams.get(of.stream), mark(operation)
    if stream is None or not stream.search or not key:
        return None
    query = f"metadata['{_quoted(key)}']:'{operation.id}'"
    found = decoded(await stripe.get(stream.search, {"query": query, "limit": 10}))
    return _ours(found.get("data", ()), operation)


async def listed(
    stripe: client.Client, of: writes.Object, operation: operations.Operation, begin: float, end: float
) -> Found | None:
    """What a list has of the time in which the operation was sent, by Stripe's clock; for customers by e-mail."""
    stream = catalog.load().streams.get(of.stream)
    if stream is None or not mark(operation):
        return None
    origin = stream.origins[0]
    if not origin.created or "{" in origin.path:
        return None
    params = pages.list_params(origin, gte=int(begin), lt=int(end) + 1)
    email = forms.decode(operation.body.encode()).get("email")
    if "email" in origin.filters and isinstance(email, str) and email:
        params["email"] = email
    async for each in walk(stripe, origin.path, params):
        if made_by(each, operation):
            return dict(each)
    return None


def _ours(found: Iterable[Found], operation: operations.Operation) -> Found | None:
    return next((each for each in found if made_by(each, operation)), None)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def decoded(response: client.Response) -> dict[str, Any]:
    """The object of an answer; raises BadPage where it is cut."""
    try:
        return msgspec.json.decode(response.body, type=dict[str, Any])
    except msgspec.DecodeError:
        raise errors.BadPage(f"An answer of Stripe ({response.request_id}) is no JSON; run again.") from None
