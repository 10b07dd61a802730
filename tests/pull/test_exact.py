"""Every object once, every field as the official SDK decodes it from the same API.

`TIDEGATE_OBJECTS` sets the size of the business (CI: 200,000).
"""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe
from pulling import KEY, Stripe, pull, query

from tidegate import catalog, sandbox

OBJECTS = int(os.environ.get("TIDEGATE_OBJECTS", "10000"))
STREAMS = catalog.load().streams
NOW = 1_790_000_000
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="session")
def world() -> Iterator[Stripe]:
    """The same business in every process that asks: seed and clock say all."""
    with sandbox.process(objects=OBJECTS, seed=7, now=NOW) as url:
        yield Stripe(url)


@pytest.fixture(scope="session")
def landed(world: Stripe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The business pulled once, however many processes share the tests."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    file, told = folder / "exact.duckdb", folder / "exact.json"
    with (folder / "exact.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            told.write_text(json.dumps(pull(world, file).as_json()))
    copy = tmp_path_factory.mktemp("exact") / "exact.duckdb"
    shutil.copyfile(file, copy)  # DuckDB lets one process at a time have a file
    return copy, json.loads(told.read_text())


@pytest.fixture(scope="session")
def sdk(world: Stripe) -> stripe.StripeClient:
    return stripe.StripeClient(KEY, base_addresses={"api": world.url}, max_network_retries=0)


def listed(sdk: stripe.StripeClient, path: str, **params: Any) -> Iterator[dict[str, Any]]:
    """All objects of a list, paged and decoded by the official SDK."""
    mode = "V2" if path.startswith("/v2/") else "V1"
    while True:
        answer = sdk.deserialize(sdk.raw_request("get", path, **params), api_mode=mode)  # type: ignore[arg-type]
        page = answer.to_dict()
        yield from page["data"]
        if mode == "V2" and page.get("next_page_url"):
            path, params = page["next_page_url"], {}
        elif mode == "V1" and page.get("has_more"):
            params["starting_after"] = page["data"][-1]["id"]
        else:
            return


def decoded(
    sdk: stripe.StripeClient, lines: list[dict[str, Any]]
) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Objects as the sandbox holds them, with their parents, decoded by the official SDK."""
    for start in range(0, len(lines), 500):
        chunk = lines[start : start + 500]
        body = json.dumps(
            {"object": "list", "data": [line["object"] for line in chunk], "url": "/", "has_more": False}
        )
        answer = sdk.deserialize(stripe.StripeResponse(body, 200, {}), api_mode="V1")
        for line, each in zip(chunk, answer.to_dict()["data"], strict=True):
            yield line["parent"], each


def plain(value: Any) -> Any:
    """A value as JSON has it, whichever way it was decoded."""
    if isinstance(value, stripe.StripeObject):
        value = value.to_dict()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    return str(value)


def as_column(field: catalog.Field, value: Any) -> Any:
    """What a column of this field must hold for a value of the API."""
    if value is None:
        return None
    if field.type == "timestamp":
        if isinstance(value, str):
            return dt.datetime.fromisoformat(value)
        return EPOCH + dt.timedelta(seconds=int(value))
    if field.type == "id":
        return value["id"] if isinstance(value, dict) else value
    if field.type == "decimal":
        return decimal.Decimal(value)
    if field.type == "integer":
        return int(value)
    if field.type == "number":
        return float(value)
    return plain(value) if field.type == "json" else value


def differences(stream: catalog.Stream, truth: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """The fields in which a row is not what the API says."""
    wrong = []
    apart = {nested.path for nested in stream.nested if not nested.embedded}
    for field in stream.fields:
        if field.name in apart:  # it has a table of its own, which is compared by itself
            wrong += [f"{field.name} is a column"] if field.name in row else []
            continue
        found = row[field.name]
        if field.type == "json" and found is not None:
            found = plain(json.loads(found, parse_float=decimal.Decimal))
        if field.name in truth:
            expected = as_column(field, truth[field.name])
            if found != expected:
                wrong.append(f"{field.name}: {found!r} instead of {expected!r}")
        elif found is not None:
            wrong.append(f"{field.name}: {found!r} instead of nothing")
    unknown = set(truth) - {field.name for field in stream.fields}
    extra = json.loads(row["_extra"]) if row["_extra"] else {}
    wrong += [f"{name} is in no column" for name in unknown if name not in extra]
    return wrong


def asked_for(stream: catalog.Stream) -> list[str]:
    """What a plain list leaves out: fields worth having, and lists that have a table of their own."""
    lists = [
        nested.path
        for nested in stream.nested
        for name in nested.streams
        for origin in STREAMS[name].origins
        if origin.route == "expanded" and origin.nested == nested.path and not nested.embedded
    ]
    return [f"data.{path}" for path in dict.fromkeys([*stream.expand, *lists])]


def rows(file: Path, stream: catalog.Stream) -> dict[tuple[str, ...], dict[str, Any]]:
    """The table's rows by key; every key once."""
    found = query(file, f'select * from stripe."{stream.name}"')
    keyed = {tuple(row[part] for part in stream.key): row for row in found}
    assert len(keyed) == len(found), f"{stream.name} has a key twice"
    return keyed


LISTS = sorted(
    name
    for name, stream in STREAMS.items()
    if stream.default and all(origin.kind == "walk" for origin in stream.origins)
)
CHILDREN = sorted(name for name, stream in STREAMS.items() if stream.default and name not in LISTS)


def test_every_stream_is_complete(landed: tuple[Path, dict[str, Any]]) -> None:
    _, result = landed
    outcomes = result["streams"]
    assert result["status"] == "ok", [o for o in outcomes if o["status"] != "ok"]
    assert {outcome["stream"] for outcome in outcomes} == {*LISTS, *CHILDREN}
    assert sum(outcome["read"] > 0 for outcome in outcomes) >= 60
    assert sum(outcome["read"] for outcome in outcomes) >= 0.9 * OBJECTS


@pytest.mark.parametrize("name", LISTS)
def test_a_list_lands_as_the_sdk_reads_it(
    name: str, landed: tuple[Path, dict[str, Any]], sdk: stripe.StripeClient
) -> None:
    stream = STREAMS[name]
    file, _ = landed
    keyed = rows(file, stream)
    seen: collections.Counter[tuple[str, ...]] = collections.Counter()
    for origin in stream.origins:
        limit = {"limit": origin.max_limit} if origin.max_limit else {}
        expand = {"expand": asked_for(stream)} if asked_for(stream) else {}
        for truth in listed(sdk, origin.path, **limit, **origin.params, **expand):
            key = tuple(truth[part] for part in stream.key)
            seen[key] += 1
            assert key in keyed, f"{name} lost {key}"
            assert not differences(stream, truth, keyed[key]), key
    if stream.own:
        own = sdk.deserialize(sdk.raw_request("get", stream.own), api_mode="V1").to_dict()
        seen[own["id"],] += 1
        assert not differences(stream, own, keyed[own["id"],])
    assert set(seen) == set(keyed), f"{name} has rows that the API has not"


@pytest.mark.parametrize("name", CHILDREN)
def test_children_land_with_their_parents(
    name: str, landed: tuple[Path, dict[str, Any]], world: Stripe, sdk: stripe.StripeClient
) -> None:
    stream = STREAMS[name]
    file, _ = landed
    keyed = rows(file, stream)
    lines = world.truth(name)
    assert len(lines) == len(keyed)
    for parent, truth in decoded(sdk, lines):
        key = tuple(parent if part == "_parent_id" else truth[part] for part in stream.key)
        row = keyed[key]
        assert row["_parent_id"] == parent
        assert not differences(stream, truth, row), key


def test_what_other_tools_lose_is_there(landed: tuple[Path, dict[str, Any]], world: Stripe) -> None:
    """Canceled subscriptions, lines 11 to 250 of an invoice, items 11 and on of a subscription."""
    file, _ = landed
    (canceled,) = query(file, "select count(*) as n from stripe.subscriptions where status = 'canceled'")
    assert canceled["n"] > 0
    lines = collections.Counter(line["parent"] for line in world.truth("invoice_line_items"))
    items = collections.Counter(line["parent"] for line in world.truth("subscription_items"))
    assert max(lines.values()) >= 250
    assert max(items.values()) > 10
    for table, expected in (("invoice_line_items", lines), ("subscription_items", items)):
        found = query(file, f"select _parent_id as parent, count(*) as n from stripe.{table} group by 1")
        assert {row["parent"]: row["n"] for row in found} == dict(expected)
