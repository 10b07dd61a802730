"""`/metrics` as Prometheus reads it."""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import delivering
import pushing
import pytest
import signing
from flowing import written
from prometheus_client import parser

from tidegate import config
from tidegate.engine import feed
from tidegate.engine import place as places
from tidegate.server import app, metrics
from tidegate.store import database, deliveries, fences, holds, runs


@pytest.fixture
def store(tmp_path: Path) -> Iterator[database.Database]:
    opened = database.open_database(f"sqlite:///{tmp_path}/tidegate.db")
    yield opened
    opened.close()


@pytest.fixture
def url(store: database.Database, tmp_path: Path) -> Iterator[str]:
    file = config.load(written(tmp_path, "http://127.0.0.1:1", "  all: {from: acme, to: one}"))
    with app.serving(file, feed.Arrivals(), more=[metrics.router(store)]) as served:
        yield served


def scraped(url: str) -> dict[tuple[str, ...], float]:
    """The value of every sample, by its name and the values of its labels."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def answered(client: signing.Client, **headers: str) -> int:
    return client.get("/metrics", **headers).status


def test_from_elsewhere_it_takes_a_token_for_all_flows(
    place: places.Place, stranger: signing.Signed, tokened: signing.Signed
) -> None:
    assert answered(stranger(place)) == 200  # on this machine, directly
    proxied = {"X_Forwarded_For": "203.0.113.9"}
    refused = stranger(place).get("/metrics", **proxied)
    assert refused.status == 401
    assert refused.headers["content-type"].startswith("text/plain")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert "tidegate_runs" not in refused.text
    assert (
        answered(stranger(place), Host="tidegate.example.com") == 401
    )  # also by a name that was pointed here
    assert answered(tokened(place, "read"), **proxied) == 200
    assert answered(tokened(place, "run", flows=["pull:everything"]), **proxied) == 403
    wrong = signing.Client(stranger(place).url, headers={"Authorization": "Bearer tg_" + "x" * 43})
    assert answered(wrong) == 200
    assert answered(wrong, **proxied) == 401


def test_the_file_may_open_it_to_everybody(tmp_path: Path, stranger: signing.Signed) -> None:
    more = "server: {metrics: open}\n"
    file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/open.db", more=more)
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as opened:
        client = stranger(places.Place(file, opened))
        assert answered(client, X_Forwarded_For="203.0.113.9", Host="tidegate.example.com") == 200


def test_pushes_tell_where_their_rows_went_and_what_waits(store: database.Database, url: str) -> None:
    totals = {"read": 5, "written": 3, "requests": 9, "source": 5, "created": 2, "updated": 1, "failed": 2}
    for state, told in (("ok", totals), ("failed", {})):  # one that came to nothing says nothing of rows
        run = runs.queue(store, runs.new_id(), "push:people", "manual")
        runs.begin(store, run.id, "w")
        runs.end(store, run.id, "w", state, totals=told)
    fence = fences.take(store, "people", "w", 3600.0)
    assert fence is not None
    refused = holds.Opening("1", "refused", "Stripe refused it.")
    holds.open(store, fence, [refused, holds.Opening("2", "refused", "Stripe refused it.", times=5)])
    intent = pushing.create("3")
    assert pushing.begin(store, fence, intent) == ["begun"]
    found = scraped(url)
    assert found["tidegate_push_rows", "push:people", "created"] == 2
    assert found["tidegate_push_rows", "push:people", "failed"] == 2
    assert found["tidegate_push_rows_held", "push:people", "refused"] == 1
    assert found["tidegate_push_operations_open", "push:people", "intent"] == 1
    assert found["tidegate_runs", "push:people", "failed"] == 1


def test_runs_are_counted_and_the_last_success_is_told(store: database.Database, url: str) -> None:
    for state, rows in (("ok", 7), ("failed", 0)):
        run = runs.queue(store, runs.new_id(), "pull:all", "manual")
        runs.begin(store, run.id, "w")
        runs.end(store, run.id, "w", state, totals={"read": rows, "written": rows, "requests": 3})
        if state == "ok":
            well = runs.get(store, run.id).finished_at
    runs.queue(store, runs.new_id(), "pull:all", "manual")
    found = scraped(url)
    assert found["tidegate_runs", "pull:all", "ok"] == 1
    assert found["tidegate_runs", "pull:all", "failed"] == 1
    assert found["tidegate_runs", "pull:all", "queued"] == 1
    assert found["tidegate_run_rows_written", "pull:all"] == 0
    assert found["tidegate_run_requests", "pull:all"] == 3
    assert found["tidegate_last_success_timestamp_seconds", "pull:all"] == pytest.approx(well)
    assert any(name[0] == "tidegate_info" for name in found)


def test_deliveries_are_told_by_connection(store: database.Database, url: str) -> None:
    made = [deliveries.Delivery("acme", "", f"evt_{n}", "x", 1, "{}") for n in range(3)]
    deliveries.keep(store, made)
    found = scraped(url)
    assert found["tidegate_deliveries_kept", "acme"] == 3
    assert found["tidegate_last_delivery_timestamp_seconds", "acme"] > 0


def test_a_database_that_is_away_is_said_and_not_the_end(
    store: database.Database, url: str, tmp_path: Path
) -> None:
    store.wait = 0.0
    store.close()
    (tmp_path / "tidegate.db").rename(tmp_path / "gone.db")
    (tmp_path / "tidegate.db").mkdir()
    with pytest.raises(urllib.error.HTTPError) as caught:
        scraped(url)
    assert caught.value.code == 503
    assert caught.value.read() == b"the metadata database cannot be reached\n"
    caught.value.close()
