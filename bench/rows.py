"""Changes at Stripe until their rows are committed, at a steady rate: `./dev bench rows [--rate N] [--only KIND]`.

The sandbox is Stripe: a shop changes one object after another, the sandbox signs and posts each event by itself,
and `tidegate run`, with webhooks enabled by its own command, pulls continuously. A row is there once another
process reads it from the table. With DuckDB the metadata is in SQLite, with Postgres in Postgres.

Open loop: each change goes out at its time, however slow those before it are, and is measured from that time on, so
Stripe's own work on a change counts, too.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import readers
import report
import webhooks

from tidegate import sandbox
from tidegate.sandbox import forms

TIDEGATE = str(Path(sys.executable).with_name("tidegate"))
KEY = "sk_test_bench"
GOAL = 1.0
"""Seconds from the change to the committed row, p99."""
STREAMS = ("customers", "products", "prices", "coupons", "charges", "payment_intents", "invoices")
COUNTS = {"customers": 4_000, "products": 2_000, "prices": 2_000, "charges": 4_000, "invoices": 2_000}
TELLING = (
    *("product.created", "product.updated", "charge.succeeded", "charge.updated", "payment_intent.created"),
    *("customer.updated", "invoice.created", "invoice.updated"),
)
"""Events whose payload holds all that a reading would tell. New customers and coupons, and all prices, have
fields that only come when they are asked for; they are read."""
APART = 5
"""Seconds between an object's reading and an event of it after which the event's payload counts again."""
PATIENCE = 100.0
"""Seconds after the last change after which a row that is not there is taken for missing: a pull, which finds what
was not delivered, begins every minute."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that the shop does: a request, and when it is due, in seconds."""

    path: str
    params: Mapping[str, Any]
    due: float


@dataclass(slots=True)
class Done:
    """What was done: when each request was due, by its id; how many were refused, and how late the latest was."""

    due: dict[str, float] = field(default_factory=dict)
    refused: int = 0
    late: float = 0.0


def shop(rate: float, seconds: float, ids: Mapping[str, Sequence[str]]) -> Iterator[Change]:
    """A busy shop's changes: mostly of distinct objects, some objects three times within a few milliseconds.

    Each change bears its number in the metadata.
    """
    chance = random.Random(5)
    again = {name: iter(chance.sample(list(each), len(each)) * 9) for name, each in ids.items()}
    made: dict[str, Callable[[], Mapping[str, Any]]] = {
        "customers": lambda: {"name": f"Ada {chance.random()}", "email": "ada@example.com"},
        "products": lambda: {"name": "Thing"},
        "prices": lambda: {"currency": "usd", "unit_amount": 100, "product": chance.choice(ids["products"])},
        "coupons": lambda: {"percent_off": 10, "duration": "once"},
        "charges": lambda: {"amount": 100, "currency": "usd", "source": "tok_visa"},
        "payment_intents": lambda: {"amount": 100, "currency": "usd"},
        "invoices": lambda: {"customer": chance.choice(ids["customers"])},
    }
    new = ["customers"] * 3 + ["charges"] * 4 + ["payment_intents"] * 2 + ["invoices"] * 2
    cards: list[tuple[str, str]] = [("new", name) for name in (*new, "products", "prices", "coupons")]
    old = ["customers"] * 5 + ["charges"] * 4 + ["invoices"] * 2 + ["products"] * 2 + ["prices"]
    cards += [("old", name) for name in old] + [("burst", "customers")]
    number, count = 0, int(rate * seconds)
    while number < count:
        for kind, name in chance.sample(cards, len(cards)):
            path = f"/v1/{name}" if kind == "new" else f"/v1/{name}/{next(again[name])}"
            for _ in range(3 if kind == "burst" else 1):
                given = made[name]() if kind == "new" else {}
                yield Change(path, {**given, "metadata": {"number": number}}, number / rate)
                number += 1


async def live(url: str, changes: Sequence[Change]) -> Done:
    """Make all changes, each at its time; those of one object in their order, so that the last one counts."""
    loop, done = asyncio.get_running_loop(), Done()
    turns = collections.defaultdict[str, asyncio.Lock](asyncio.Lock)  # whoever waits longest is next
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/x-www-form-urlencoded"}

    async def one(session: aiohttp.ClientSession, change: Change, due: float) -> None:
        done.late = max(done.late, loop.time() - due)
        body = forms.encode_form(dict(change.params)).encode()
        is_new = change.path.count("/") == 2
        turn = contextlib.nullcontext() if is_new else turns[change.path]
        async with turn, session.post(url + change.path, data=body) as answer:
            await answer.read()
            done.refused += answer.status != 200
            done.due[answer.headers["Request-Id"]] = due

    begun = loop.time() + 0.1
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers) as session,
        asyncio.TaskGroup() as group,
    ):
        for change in changes:
            due = begun + change.due
            await asyncio.sleep(max(0.0, due - loop.time()))
            group.create_task(one(session, change, due))
    return done


@contextlib.contextmanager
def running(folder: Path, key: Mapping[str, str]) -> Iterator[str]:
    """`tidegate run` in a process of its own, and its address."""
    words = [TIDEGATE, "run", "--port", "0", "--log", "text"]
    with (folder / "run.log").open("w") as log:
        process = subprocess.Popen(words, cwd=folder, env=key, stderr=log)
    try:
        while (found := re.search(r"serving (http\S+)", (folder / "run.log").read_text())) is None:
            if process.poll() is not None:
                raise SystemExit((folder / "run.log").read_text())
            time.sleep(0.05)
        print(f"tidegate run: process {process.pid}, {folder}", file=sys.stderr)
        yield found.group(1)
    finally:
        process.terminate()
        process.wait()


def truth(url: str, stream: str) -> list[dict[str, Any]]:
    """All objects of a stream as the sandbox has them."""
    with urllib.request.urlopen(f"{url}/_sandbox/truth/{stream}") as answer:
        return [json.loads(line)["object"] for line in answer]


def until(true: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Wait until something is true; says whether it became so in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= end:
            return False
        time.sleep(0.1)
    return True


def followed(kind: str, rate: float, seconds: float) -> list[report.Line]:
    """From the change to the committed row, in one kind of warehouse."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(sandbox.process(objects=2_000, counts=COUNTS, keys={KEY: None}))
        target, store = f"{{type: duckdb, path: '{folder}/rows.duckdb'}}", f"sqlite:///{folder}/tidegate.db"
        if kind == "postgres":
            store = stack.enter_context(webhooks.address("postgres", folder))
            target = f"{{type: postgres, url: '{store}'}}"
        (folder / "tidegate.yaml").write_text(
            f"stripe: {{acme: {{api_key: {KEY}, api_base: '{url}', rate_limit: 'off'}}}}\n"
            f"warehouses: {{there: {target}}}\n"
            "pulls: {shop: {from: acme, to: there, schedule: continuous, "
            f"streams: {{{', '.join(f'{name}: {{}}' for name in STREAMS)}}}}}}}\n"
            f"database: '{store}'\n"
        )
        secret = subprocess.run(
            [TIDEGATE, "secret", "key"], check=True, capture_output=True, text=True
        ).stdout
        key = {**os.environ, "TIDEGATE_SECRET_KEY": secret.strip()}
        here = stack.enter_context(running(folder, key))
        enable = [TIDEGATE, "webhooks", "enable", "acme", "--url", here]
        subprocess.run(enable, cwd=folder, env=key, check=True, capture_output=True)
        reading = (
            readers.postgres_reader(store)
            if kind == "postgres"
            else readers.duckdb_reader(folder / "rows.duckdb")
        )
        reader = readers.Reader(STREAMS, stack.enter_context(reading))
        there = {name: [each["id"] for each in truth(url, name)] for name in STREAMS}
        until((folder / "rows.duckdb").exists if kind == "duckdb" else lambda: True)
        reader.start()
        stack.callback(reader.stop)
        if not until(lambda: len(reader.rows) >= sum(map(len, there.values()))):
            raise SystemExit(f"the first pull did not end: {reader.error or len(reader.rows)}")
        time.sleep(2)  # its last request, and the commit of what it saw
        before = {each["id"] for each in truth(url, "events")}
        looks, begun = reader.looks, time.monotonic()
        done = asyncio.run(live(url, list(shop(rate, seconds, there))))
        made = [each for each in truth(url, "events") if each["id"] not in before]
        expected = [each for each in map(occurrence, made) if each is not None]
        until(lambda: all(shown(reader, each) is not None for each in expected))
        every = (time.monotonic() - begun) / max(1, reader.looks - looks)
        for each in expected:
            if shown(reader, each) is None:
                print(f"never seen: {each}; seen: {reader.rows.get((each.stream, each.id))}", file=sys.stderr)
        return judged(kind, done, expected, reader, every)
    raise AssertionError("It returned before.")


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event as it counts here; `number` of the change that made it."""

    stream: str
    id: str
    type: str
    created: int
    number: int
    request: str


def occurrence(event: Mapping[str, Any]) -> Occurrence | None:
    """What an event says; None where it is of no stream that is pulled."""
    about, stream = event["data"]["object"], event["type"].rpartition(".")[0] + "s"
    if stream not in STREAMS:
        return None
    number = int((about.get("metadata") or {}).get("number", -1))
    return Occurrence(
        stream, about["id"], event["type"], event["created"], number, event["request"]["id"] or ""
    )


def shown(reader: readers.Reader, each: Occurrence) -> float | None:
    """When the reader first saw a row that has what an event tells, or what came after it."""
    for row in reader.rows.get((each.stream, each.id), ()):
        if row.version >= each.created and row.number >= each.number:
            return row.at
    return None


def telling(expected: Sequence[Occurrence]) -> set[Occurrence]:
    """Events whose payload tells everything: alone in their second, and the object was not read shortly before."""
    found, objects = set(), dict[tuple[str, str], list[Occurrence]]()
    for each in expected:
        objects.setdefault((each.stream, each.id), []).append(each)
    for mine in objects.values():
        for each in mine:
            others = [other for other in mine if other is not each]
            if each.type in TELLING and all(abs(other.created - each.created) >= APART for other in others):
                found.add(each)
    return found


def judged(
    kind: str, done: Done, expected: Sequence[Occurrence], reader: readers.Reader, every: float
) -> list[report.Line]:
    """The figures of one kind of warehouse."""
    took = {each: at - done.due[each.request] for each in expected if (at := shown(reader, each)) is not None}
    told = telling(expected)
    lines = []
    for what, chosen in (("payload tells all", told), ("all events", set(expected))):
        slowest = sorted((each for each in chosen if each in took), key=lambda each: took[each])
        seconds = [took[each] for each in slowest]
        if not seconds:
            raise SystemExit(f"{kind}: no row of {what} was ever seen. {reader.error}")
        p50, p99 = seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.99)]
        note = f"p50 {p50:.2f} s, longest {seconds[-1]:.2f} s ({slowest[-1].type}), {len(seconds):,} events"
        goal = f"< {GOAL:g} s"
        lines.append(
            report.Line(f"{kind}: p99 until the row, {what}", f"{p99:.2f} s", goal, p99 < GOAL, note)
        )
    missing = len(expected) - len(took)
    lines.append(report.Line(f"{kind}: rows never seen", f"{missing:,}", "0", missing == 0, reader.error))
    note = f"a look every {every * 1000:.0f} ms, changes at most {done.late * 1000:.0f} ms late"
    lines.append(
        report.Line(f"{kind}: changes refused by the sandbox", str(done.refused), "0", not done.refused, note)
    )
    return lines


def main(words: Sequence[str]) -> None:
    """Measure both kinds of warehouse, or one."""
    given = webhooks.chosen(__doc__, ("duckdb", "postgres"), words)
    lines = [line for kind in given.kinds for line in followed(kind, given.rate, given.seconds)]
    report.show(f"Changes until their rows are committed: {given}", lines)


if __name__ == "__main__":
    main(sys.argv[1:])
