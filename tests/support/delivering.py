"""Deliveries as Stripe makes them: events, signed, posted to a server."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

from tidegate import config
from tidegate.store import database
from tidegate.stripe import webhooks

SECRET = "whsec_byhand"
ROUTE = "/webhooks/stripe/acme"


@dataclass(frozen=True)
class Post:
    """One request to make."""

    body: bytes
    headers: Mapping[str, str]
    name: str = ""


@dataclass
class Answers:
    """What was answered, by the name of the post."""

    statuses: dict[str, list[int]] = field(default_factory=dict)

    def of(self, status: int) -> set[str]:
        """The posts that were answered so, at least once."""
        return {name for name, found in self.statuses.items() if status in found}


def event(id: str, type: str = "customer.created", **more: Any) -> bytes:
    """An event as Stripe writes it, indented."""
    known = {"object": "event", "created": int(time.time()), "livemode": False, "data": {"object": {}}}
    return json.dumps({"id": id, "type": type, **known, **more}, indent=2).encode()


def signed(body: bytes, secret: str = SECRET, *, ago: float = 0.0, name: str = "") -> Post:
    """A body with its signature."""
    header = webhooks.signature(secret, body, int(time.time() - ago))
    return Post(body, {"Stripe-Signature": header, "Content-Type": "application/json"}, name)


def post(url: str, what: Post, route: str = ROUTE) -> tuple[int, bytes, Mapping[str, str]]:
    """Make one request; status, body and headers of the answer."""

    async def work() -> tuple[int, bytes, Mapping[str, str]]:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url + route, data=io.BytesIO(what.body), headers=what.headers) as answer,
        ):
            return answer.status, await answer.read(), dict(answer.headers)

    return asyncio.run(work())


async def deliver(url: str, posts: Iterable[Post], *, at_once: int = 20, route: str = ROUTE) -> Answers:
    """Make many requests side by side; one without an answer has the status 0."""
    answers = Answers()
    waiting = iter(posts)

    async def work(session: aiohttp.ClientSession) -> None:
        for each in waiting:
            try:
                async with session.post(url + route, data=each.body, headers=each.headers) as answer:
                    await answer.read()
                    status = answer.status
            except (aiohttp.ClientError, OSError):
                status = 0
            answers.statuses.setdefault(each.name, []).append(status)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(work(session) for _ in range(at_once)))
    return answers


def written(folder: Path, database: str, connection: str = "", more: str = "") -> Path:
    """A configuration with the connection `acme`, whose endpoint was made by hand."""
    file = folder / "tidegate.yaml"
    connection = connection or f"{{api_key: sk_test_sandbox12345678, webhook_secret: {SECRET}}}"
    file.write_text(f"stripe: {{acme: {connection}}}\ndatabase: '{database}'\n{more}")
    return file


def loaded(folder: Path, database: str, connection: str = "", more: str = "") -> config.Config:
    """The same, read."""
    return config.load(written(folder, database, connection, more))


def kept(store: database.Database) -> list[dict[str, Any]]:
    """Everything that was delivered, in its order."""
    return store.execute("SELECT * FROM deliveries ORDER BY number")


@contextlib.contextmanager
def held(url: str) -> Iterator[None]:
    """Nobody else can write deliveries in the meantime."""
    if url.startswith("sqlite"):
        with contextlib.closing(
            sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
    else:
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
            yield
            other.rollback()


@contextlib.contextmanager
def gone(store: database.Database, url: str) -> Iterator[None]:
    """The database cannot be used: its table is away, or nobody may connect to it."""
    if url.startswith("sqlite"):
        store.execute("ALTER TABLE deliveries RENAME TO elsewhere")
        yield
        store.execute("ALTER TABLE elsewhere RENAME TO deliveries")
        return
    name = url.partition("?")[0].rpartition("/")[2]
    admin = url.replace(f"/{name}?", "/postgres?")
    with psycopg.connect(admin, autocommit=True) as other:
        other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield
        other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
