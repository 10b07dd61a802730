"""What all routes of the API share: how they answer, page by page, and what they say where something is wrong.

    def router(desk: Desk) -> fastapi.APIRouter:
        made = base.router("runs")

        @made.get("/runs", operation_id="listRuns")
        def listed(asker: asking.Reader, paging: base.Paging) -> base.Page[Run]: ...

        return made

A router of `router` answers every error as problem details (RFC 9457), also those that Tidegate raises below it;
refuses query parameters that its routes do not have; reads bodies of a bounded size, as JSON whatever their
Content-Type; does a POST with an Idempotency-Key once; answers HEAD like GET; and lets nobody keep an answer.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime as dt
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

import fastapi
import msgspec
import pydantic
from fastapi import params, routing
from starlette import requests

from tidegate.api import faults, once
from tidegate.server import asking

T = TypeVar("T")

PREFIX = "/api/v1"
LARGEST = 2**20
"""Bytes of a body, where a route says nothing else by `max_body_size`."""
READ = 10.0
"""Seconds within which a body must have come."""
MOST = 500
"""Items of a page, at the most."""
LIMIT = 50
"""Items of a page, where nothing is said."""
EXACT = 2**53 - 1
"""The largest integer that every reader of JSON takes exactly."""

problem = faults.problem
Problem = faults.Problem
looks = once.looks
told_once = once.told_once


class Model(pydantic.BaseModel):
    """What the API is told, or tells: exactly these fields. Made from values that have the same attributes."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, from_attributes=True, use_attribute_docstrings=True
    )


class Page(Model, Generic[T]):
    """Some items in their order, and where the next ones begin."""

    items: list[T]
    """One page of them, at most as many as `limit` says."""
    next: str | None = None
    """Give it as `after` for the following page; null where this is the last."""


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def _rfc3339(seconds: float) -> str:
    """A moment in milliseconds, such as 2026-11-22T06:30:00.250Z, never later than it was: it may be asked from."""
    at = _EPOCH + dt.timedelta(milliseconds=round(seconds * 1_000_000) // 1000)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[
    float,
    pydantic.PlainSerializer(_rfc3339, return_type=str),
    pydantic.WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""A time in an answer: unix seconds as they are kept, told as RFC 3339 in UTC."""

Instant = Annotated[
    dt.datetime,
    pydantic.PlainSerializer(lambda at: _rfc3339(at.timestamp()), return_type=str),
    pydantic.WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""A time in an answer that is kept as such, with its zone: told as a `Moment` is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which page of a list is asked for."""

    limit: int = LIMIT
    after: str | None = None

    def place(self, *types: type) -> tuple[Any, ...] | None:
        """What `cursor` was made of, of these types; None at the beginning. Raises Problem for another's cursor."""
        if self.after is None:
            return None
        try:
            text = self.after.encode("ascii")
            found = msgspec.json.decode(base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4)))
            return msgspec.convert(found, type=tuple[types])  # type: ignore[valid-type]
        except (UnicodeError, binascii.Error, ValueError, RecursionError):
            raise problem(
                422,
                "after is not a place in this list; give what `next` of the page before says.",
                [faults.Fault("query.after", "is not a place in this list")],
            ) from None


def part(found: Sequence[T], paging: Asked, name: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
    """Those of one page of a short list that is told in its own order, and where the next page begins.

    An item is found again by its name; a page after one that is gone is the first.
    """
    after = paging.place(str)
    names = [name(each) for each in found]
    start = 0 if after is None or after[0] not in names else names.index(after[0]) + 1
    shown = found[start : start + paging.limit]
    more = start + len(shown) < len(found)
    return shown, cursor(names[start + len(shown) - 1]) if more else None


def cursor(*place: str | float | None) -> str:
    """A place in a list as `next` tells it: what the last item of a page is sorted by, so that what comes meanwhile
    moves nothing.
    """
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _paging(
    limit: Annotated[int, fastapi.Query(ge=1, le=MOST, description="Items of a page.")] = LIMIT,
    after: Annotated[
        str | None, fastapi.Query(max_length=2000, description="What `next` of the page before says.")
    ] = None,
) -> Asked:
    return Asked(limit, after)


Paging = Annotated[Asked, fastapi.Depends(_paging)]
"""A route parameter: `?limit=` and `?after=`."""


def _match(
    if_match: Annotated[
        str | None,
        fastapi.Header(
            pattern=r'^(\*|(W/)?"[0-9]{1,18}")$',
            description='The ETag of what is changed, such as "3"; where it is not the latest, 412. With `*` it is '
            "whatever is there; where nothing is, 412.",
        ),
    ] = None,
) -> int | Literal["*"] | None:
    # A proxy that compresses answers makes their ETags weak ones; the version is the same.
    return None if if_match is None else "*" if if_match == "*" else int(if_match.strip('W/"'))


Match = int | Literal["*"] | None
IfMatch = Annotated[Match, fastapi.Depends(_match)]
"""A route parameter: the version that the header If-Match names, `*` for whatever is there, or None."""


def etag(version: int) -> str:
    """A version as a header ETag says it, and If-Match gives it back."""
    return f'"{version}"'


def exact(value: object) -> Any:
    """A document with its integers that JavaScript, among others, cannot hold as text: those beyond 2^53 - 1."""
    match value:
        case bool():
            return value
        case int():
            return value if -EXACT <= value <= EXACT else str(value)
        case Mapping():
            return {str(name): exact(each) for name, each in value.items()}
        case str() | bytes():
            return value
        case Sequence():
            return [exact(each) for each in value]
    return value


class Route(routing.APIRoute):
    """A route that answers as the module says."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **settings: Any) -> None:
        if once.takes(endpoint, settings.get("methods")):
            given = list(settings.get("dependencies") or ())
            settings["dependencies"] = given if once.PARAMETER in given else [*given, once.PARAMETER]
        super().__init__(path, endpoint, **settings)
        if self.methods is not None and "GET" in self.methods:
            self.methods.add("HEAD")

    def get_route_handler(self) -> Callable[[requests.Request], Coroutine[Any, Any, fastapi.Response]]:
        """The handler of FastAPI, inside of what all routes share."""
        handle = super().get_route_handler()
        known, lists = _parameters(self.dependant.query_params, self.dependant.dependencies)
        largest = LARGEST if self.max_body_size is None else self.max_body_size
        keyed = once.takes(self.endpoint, self.methods)
        takes = self.body_field is not None and not isinstance(self.body_field.field_info, params.Form)

        async def answered(request: requests.Request) -> fastapi.Response:
            try:
                told = _json(request) if takes else request
                await asking.who(told)  # who may not ask is told nothing else
                _clean(told, known, lists)
                if takes:
                    await _take(told, largest)
                response = await (once.answered(told, self.endpoint, handle) if keyed else handle(told))
            except Exception as error:
                response = faults.answer(error)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return answered


def router(tag: str, **settings: Any) -> fastapi.APIRouter:
    """A router for the routes of one domain, whose paths are those after `/api/v1`."""
    return fastapi.APIRouter(prefix=PREFIX, tags=[tag], route_class=Route, **settings)


def _parameters(own: Sequence[Any], below: Sequence[Any]) -> tuple[set[str], set[str]]:
    """The query parameters of a route and of what it depends on; and those of which there may be several."""
    known, lists = set(), set()
    for each in own:
        known.add(each.alias)
        if str(each.field_info.annotation).startswith(("list[", "tuple[", "set[", "typing.Optional[list")):
            lists.add(each.alias)
    for dependant in below:
        more, several = _parameters(dependant.query_params, dependant.dependencies)
        known |= more
        lists |= several
    return known, lists


def _clean(request: requests.Request, known: set[str], lists: set[str]) -> None:
    """Raises Problem for a query that the route does not have, and for text that no database takes."""
    wrong = []
    counted: dict[str, int] = {}
    for name, value in request.query_params.multi_items():
        counted[name] = counted.get(name, 0) + 1
        if name not in known:
            called = f" {name}" if faults.NAME.fullmatch(name) else " of this name"
            wrong.append(faults.Fault("query", f"has no parameter{called}; there are {_names(known)}"))
        elif counted[name] == 2 and name not in lists:
            wrong.append(faults.Fault(f"query.{name}", "is given twice"))
        elif not _text(value):
            wrong.append(faults.Fault(f"query.{name}", "is not text"))
    if wrong:
        raise faults.invalid(wrong[:20])
    if not all(_text(str(value)) for value in request.path_params.values()):
        raise problem(404, "There is nothing of this name.")


def _text(value: str) -> bool:
    return "\0" not in value and "\ufffd" not in value


def _names(known: set[str]) -> str:
    return ", ".join(sorted(known)) if known else "none here"


def _json(request: requests.Request) -> requests.Request:
    """The request with a body of JSON, whatever it says: `curl -d` says that it is a form."""
    headers = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
    headers.append((b"content-type", b"application/json"))
    return requests.Request({**request.scope, "headers": headers}, request.receive)


async def _take(request: requests.Request, largest: int) -> None:
    """Read the body, where FastAPI will find it; raises Problem for one that is too large, too slow or no JSON."""
    body = await read(request, largest)
    request._body = body if body.strip() else b""
    if request._body:
        request._json = _decoded(request._body)


def _decoded(body: bytes) -> Any:
    """A body of JSON; stricter than Python's reader: no NaN, no halves of characters."""
    try:
        found = msgspec.json.decode(body)
        twice = _twice(body)
        if twice is not None:
            called = f" {twice}" if faults.NAME.fullmatch(twice) else ""
            raise faults.invalid([faults.Fault("body", f"has a field{called} twice")])
        # No database takes this character; a text may end in one that is written out.
        if b"\\u0000" in body and any("\0" in text for text in _texts(found)):
            raise faults.invalid([faults.Fault("body", "has a text with the character U+0000")])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise faults.invalid([faults.Fault("body", "is not JSON")]) from None
    except RecursionError:
        raise faults.invalid([faults.Fault("body", "is nested too deeply")]) from None
    return found


def _twice(body: bytes) -> str | None:
    """A name that an object of a body has twice, of which readers take one or the other; None where none has."""
    found: list[str] = []

    def seen(pairs: list[tuple[str, object]]) -> None:
        names = set[str]()
        for name, _ in pairs:
            if name in names:
                found.append(name)
            names.add(name)

    json.loads(body, object_pairs_hook=seen)
    return found[0] if found else None


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for name, each in value.items():
                yield name
                yield from _texts(each)
        case list():
            for each in value:
                yield from _texts(each)


async def read(request: requests.Request, largest: int) -> bytes:
    """A body of so many bytes at the most, within `READ` seconds; raises Problem."""
    too_large = problem(413, f"The body is larger than {largest:,} bytes.")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:12]) > largest:
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(READ):
            async for part in request.stream():
                size += len(part)
                if size > largest:
                    raise too_large
                parts.append(part)
    except TimeoutError:
        raise problem(408, f"The body did not come within {READ:g} seconds.") from None
    except requests.ClientDisconnect:
        raise problem(400, "The request ended before its body did.") from None
    return b"".join(parts)
