"""Server-sent events, as a program hears them."""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import signing


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    name: str
    data: Any
    id: str


@contextlib.contextmanager
def stream(client: signing.Client, path: str, last: str = "") -> Iterator[http.client.HTTPResponse]:
    """The answer that goes on, for as long as the block takes."""
    parts = urllib.parse.urlsplit(client.url)
    headers = {"Host": parts.netloc, **client.headers, **({"Last-Event-ID": last} if last else {})}
    with contextlib.closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)) as line:
        line.request("GET", path, headers=headers)
        answer = line.getresponse()
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        yield answer


def events(client: signing.Client, path: str, last: str = "") -> Iterator[Event]:
    """The events of a stream as they come, until it ends or nobody wants more."""
    with stream(client, path, last) as answer:
        found: dict[str, str] = {}
        for text in answer:
            name, _, value = text.decode().rstrip("\n").partition(": ")
            if name:
                found[name] = value
            elif "event" in found:
                yield Event(found["event"], json.loads(found["data"]), found.get("id", ""))
                found = {}
