"""Ten thousand events, delivered twice and shuffled, some lost and some forged, to a process that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import delivering
import exact
import pytest
import servers
from delivering import Post, signed
from following import Merchant

from tidegate import catalog, config, sandbox
from tidegate import warehouse as warehouses
from tidegate.store import database
from tidegate.warehouse import base

STREAMS = ("customers", "products", "prices", "coupons", "charges", "refunds", "payment_intents", "events")
KINDS = STREAMS[:-1]
"""What happens in the business; customers, products and coupons are deleted, too."""
CHUNK = 500
"""Steps that are asked for at a time."""
LATE = 300
"""Seconds until lists show an event: for so long, only what is delivered tells of it."""
PATIENCE = 300.0
TIDEGATE = str(Path(sys.executable).with_name("tidegate"))


def until(true: Callable[[], Any]) -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.25)
    return found


def written(folder: Path, shop: Merchant, kind: str) -> config.Config:
    """A configuration that pulls continuously into a warehouse of this kind, its metadata likewise."""
    target, store = "{type: duckdb, path: rows.duckdb}", f"sqlite:///{folder}/tidegate.db"
    if kind == "postgres":
        target, store = f"{{type: postgres, url: '{servers.new_postgres()}'}}", servers.new_postgres()
    connection = (
        f"{{api_key: sk_test_sandbox, api_base: '{shop.url}', rate_limit: 'off', "
        f"webhook_secret: {delivering.SECRET}}}"
    )
    streams = ", ".join(f"{name}: {{}}" for name in STREAMS)
    pulls = (
        f"warehouses: {{there: {target}}}\n"
        f"pulls: {{all: {{from: acme, to: there, schedule: continuous, streams: {{{streams}}}}}}}\n"
    )
    return delivering.loaded(folder, store, connection, pulls)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`tidegate run` in a process of its own, and its address."""
    words = [TIDEGATE, "run", "--port", "0", "--log", "text"]
    with (folder / "run.log").open("w") as log:
        process = subprocess.Popen(words, cwd=folder, stderr=log)

    def serving() -> re.Match[str] | None:
        assert process.poll() is None, (folder / "run.log").read_text()
        return re.search(r"serving (http\S+)", (folder / "run.log").read_text())

    try:
        yield process, until(serving).group(1)
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def opened(file: config.Config) -> Iterator[base.Warehouse]:
    """The warehouse, for another reader."""
    with contextlib.closing(warehouses.open_warehouse(file.warehouses["there"])) as found:
        yield found


def rows(file: config.Config, stream: str, columns: str = "*") -> list[dict[str, Any]]:
    """The rows of a table; none where it is not made yet."""
    with opened(file) as warehouse:
        if not warehouse.columns(stream):
            return []
        found = warehouse.read(f"select {columns} from stripe.{stream}")
        return [row for batch in found for row in batch.to_pylist()]


def heard(file: config.Config) -> set[str]:
    """The events that are in the warehouse."""
    return {row["id"] for row in rows(file, "events", "id")}


def stored(file: config.Config) -> dict[str, set[exact.Key]]:
    """The keys of all rows, by stream."""
    found = {}
    for name in STREAMS:
        key = catalog.load().streams[name].key
        found[name] = {tuple(row[part] for part in key) for row in rows(file, name, ", ".join(key))}
    return found


def told(shop: Merchant) -> dict[str, bytes]:
    """Every event as Stripe delivers it, by its id."""
    return {
        line["object"]["id"]: json.dumps(line["object"], indent=2, ensure_ascii=False).encode()
        for line in shop.truth("events")
    }


def lived(shop: Merchant, events: int) -> dict[str, bytes]:
    """The business goes on until there are so many new events; these."""
    before = told(shop).keys()
    new: dict[str, bytes] = {}
    seeds = itertools.count()
    while len(new) < events:
        for _ in range(0, (events - len(new)) // 2 + 1, CHUNK):
            asked = {"seed": next(seeds), "steps": CHUNK, "tick": 0.01, "kinds": KINDS, "only_evented": True}
            shop.control("traffic", asked)
        new = {id: body for id, body in told(shop).items() if id not in before}
    return new


def forged(bodies: Sequence[bytes], count: int) -> list[Post]:
    """Deliveries that Stripe did not make: signed by somebody else, altered, or of long ago."""
    found = []
    for number, body in enumerate(bodies[:count]):
        event = json.loads(body)
        about = event["data"]["object"]
        another = {
            **event,
            "id": f"evt_forged{number}",
            "data": {"object": {**about, "description": "forged"}},
        }
        text = json.dumps(another, indent=2).encode()
        wrong = (
            signed(text, "whsec_stolen"),
            Post(text, signed(body).headers),
            signed(text, ago=3_600),
        )[number % 3]
        found.append(Post(wrong.body, wrong.headers, f"forged {number}"))
    return found


def delivered(url: str, posts: Sequence[Post], process: subprocess.Popen[bytes] | None = None) -> set[str]:
    """Deliver; the names of those that were taken. In the middle the process is killed, where one is given."""

    def one_by_one() -> Iterator[Post]:
        for number, each in enumerate(posts):
            if process is not None and number == len(posts) // 2:
                process.kill()
            is_forged = each.name.startswith("forged")
            yield each if is_forged else signed(each.body, name=each.name)  # anew each time it is sent

    answers = asyncio.run(delivering.deliver(url, one_by_one(), at_once=30))
    assert all(name.startswith("forged") for name in answers.of(400))
    assert not any(name.startswith("forged") for name in answers.of(200))
    return answers.of(200) | answers.of(400)


def differences(file: config.Config, shop: Merchant, account: str, before: Mapping[str, Any]) -> list[str]:
    """In what the tables are not what Stripe is, field by field."""
    wrong = []
    for name in STREAMS:
        view = exact.View(catalog.load().streams[name])
        asked = f"{name}?deleted=1&expand={','.join(view.stream.expand)}"
        things = [
            exact.Thing(line["parent"] or "", line["object"], line.get("deleted_at"))
            for line in shop.truth(asked)
        ]
        table = rows(file, name)
        assert table, name
        wrong += exact.differences(view, account, table, exact.Truth(things, before[name]))
    return wrong


def buried(file: config.Config) -> None:
    """The process is gone: nobody need wait a minute until that is noticed."""
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as store:
        store.execute("UPDATE runs SET seen_at = {now} - 120 WHERE state = 'running'")


@pytest.mark.parametrize(("kind", "events"), [("duckdb", 10_000), ("postgres", 2_000)])
def test_twice_shuffled_lost_forged_and_killed_the_tables_are_what_stripe_has(
    kind: str, events: int, tmp_path: Path
) -> None:
    chance = random.Random(events)
    with sandbox.process(objects=200) as url:
        shop = Merchant(url)
        file = written(tmp_path, shop, kind)
        account = shop.get("/v1/account")["id"]
        with running(tmp_path) as (process, there):
            until(lambda: heard(file) >= told(shop).keys())
            before = stored(file)
            shop.control("delays", {"events": LATE})
            made = lived(shop, events)
            kept = sorted(chance.sample(sorted(made), len(made) * 97 // 100))
            posts = [Post(made[id], {}, f"{id} {turn}") for id in kept for turn in (1, 2)]
            posts += forged([made[id] for id in kept], 99)
            chance.shuffle(posts)
            taken = delivered(there, posts, process)
            process.wait()
        buried(file)
        with running(tmp_path) as (process, there):
            again = [post for post in posts if post.name not in taken]
            assert len(again) > len(posts) // 4, "it was killed in the middle"
            taken |= delivered(there, again)
            assert taken == {post.name for post in posts}
            until(lambda: heard(file) >= set(kept))
        shop.later(LATE + 30)
        done = subprocess.run([TIDEGATE, "pull", "all"], cwd=tmp_path, check=False, capture_output=True)
        assert done.returncode == 0, done.stderr
        with contextlib.closing(database.open_database(file.database.get_secret_value())) as store:
            assert {row["event"] for row in delivering.kept(store)} == set(kept)
        assert heard(file) >= made.keys()
        assert differences(file, shop, account, before) == []
