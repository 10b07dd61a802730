"""What a sandbox tells of itself line by line: the truth, histories, effects and meter events, as NDJSON."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from tidegate.sandbox import objects, refusals

if TYPE_CHECKING:
    from tidegate.sandbox import server


async def tell(sandbox: server.Sandbox, request: web.BaseRequest, name: str) -> web.StreamResponse | None:
    """The answer to `GET /_sandbox/NAME`; None where it is none of these."""
    what, _, stream = name.partition("/")
    if what == "truth":
        return await _truth(sandbox, request, stream)
    if what == "history":
        return await _history(sandbox, request, stream)
    if name in ("meter_events", "writes"):
        return await _stream(request, _noted(sandbox, request, name))
    return None


async def _truth(sandbox: server.Sandbox, request: web.BaseRequest, stream: str) -> web.StreamResponse:
    if stream not in sandbox.facts.streams:
        raise refusals.missing("stream", stream)
    book = sandbox.book(request.query.get("account", ""))
    expand = frozenset(filter(None, request.query.get("expand", "").split(",")))
    if stream == "events":
        return await _stream(request, _events(sandbox, book))
    if request.query.get("deleted", "0") not in ("", "0"):
        return await _stream(request, with_deleted(book, stream, expand))
    return await _stream(request, truth(book, stream, expand))


async def _history(sandbox: server.Sandbox, request: web.BaseRequest, stream: str) -> web.StreamResponse:
    book = sandbox.book(request.query.get("account", ""))
    if stream not in sandbox.facts.streams:
        raise refusals.missing("stream", stream)
    if book.history is None:
        raise refusals.invalid("record", "Nothing is recorded; start the sandbox with the option record.")
    return await _stream(request, _entries(book, stream))


async def _stream(request: web.BaseRequest, found: Iterable[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    lines: list[bytes] = []
    for line in found:
        lines.append(line)
        if len(lines) == 500:
            await response.write(b"".join(lines))
            lines.clear()
            await asyncio.sleep(0)
    await response.write(b"".join(lines))
    await response.write_eof()
    return response


def truth(book: objects.Book, stream: str, expand: frozenset[str] = frozenset()) -> Iterator[bytes]:
    """Every live object of a stream as lines of JSON, children with their parents' ids."""
    for parent, ref in book.every(stream):
        above = msgspec.json.encode(parent or None)
        yield b'{"parent":%b,"object":%b}\n' % (above, book.render(stream, ref, expand))


def with_deleted(book: objects.Book, stream: str, expand: frozenset[str] = frozenset()) -> Iterator[bytes]:
    """The same with what was deleted, as it last was, without nested lists."""
    for line in truth(book, stream, expand):
        yield line[:-2] + b',"deleted_at":null}\n'
    for parent, obj, when in book.gone(stream):
        yield msgspec.json.encode({"parent": parent or None, "object": obj, "deleted_at": when}) + b"\n"


def _events(sandbox: server.Sandbox, book: objects.Book) -> Iterator[bytes]:
    for _, ref in book.every("events"):
        event = sandbox.journal.aged(book, book.show("events", ref))
        yield msgspec.json.encode({"parent": None, "object": event}) + b"\n"


def _entries(book: objects.Book, stream: str) -> Iterator[bytes]:
    assert book.history is not None, "the caller looked"
    for key, entry in book.history.of(stream):
        line = {"parent": key.parent or None, "id": key.id, "at": entry.at, "object": entry.object}
        yield msgspec.json.encode(line) + b"\n"


def _noted(sandbox: server.Sandbox, request: web.BaseRequest, name: str) -> Iterator[bytes]:
    if name == "meter_events":
        for event in sandbox.book(request.query.get("account", "")).usage:
            yield msgspec.json.encode(event) + b"\n"
        return
    wanted = {field: request.query.get(field, "") for field in ("stream", "id", "op", "idempotency_key")}
    for effect in sandbox.doing.log.like(**wanted):
        yield msgspec.json.encode(effect) + b"\n"
