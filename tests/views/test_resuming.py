"""Jobs whose process is gone: taken up by another one, with one result, whenever the process was killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import audited
import pytest
import seen

from tidegate.engine import jobs as doing
from tidegate.engine import place as places
from tidegate.store import jobs
from tidegate.views import resuming

CHILD = Path(audited.__file__).with_name("resuming_child.py")
AUDIT = {"pull": "everything", "streams": [], "since": "", "repair": False}


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with audited.stripe() as url:
        yield url


@pytest.fixture
def place(stripe: str, tmp_path: Path) -> Iterator[places.Place]:
    """A pull that has run once."""
    with audited.place(tmp_path, stripe) as found:
        yield found


@contextlib.contextmanager
def server(folder: Path, *begun: str) -> Iterator[subprocess.Popen[str]]:
    """A process that does jobs, one of them already when it is there."""
    words = [sys.executable, str(CHILD), str(folder / "tidegate.yaml"), *begun]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "going\n"
            yield process
        finally:
            process.kill()


def killed(place: places.Place, folder: Path, kind: jobs.Kind, what: str, wish: dict[str, Any]) -> jobs.Job:
    """A job whose process is killed at some moment, again and again, and then ends."""
    chance, kills = random.Random(kind), 0
    begun: tuple[str, ...] = (kind, what, json.dumps(wish))
    for _ in range(jobs.ATTEMPTS - 1):
        with server(folder, *begun):
            time.sleep(chance.random() * 0.1)
        begun = ()
        place.store.execute("UPDATE jobs SET seen_at = seen_at - :ago", {"ago": jobs.SILENT + 1})
        [job] = jobs.listed(place.store)
        kills += job.alive
    with server(folder) as process:
        assert process.wait(60) == 0
    [job] = jobs.listed(place.store)
    assert job.attempts == kills + 1
    return job


def test_an_audit_says_the_same_whenever_its_server_was_killed(place: places.Place, tmp_path: Path) -> None:
    gone, _ = audited.spoiled(tmp_path)
    job = killed(place, tmp_path, "audit", "pull:everything", AUDIT)
    assert job.state == "partial"
    assert (job.result["missing"], job.result["stale"], job.result["wrong"]) == (1, 1, 1)
    lines = [entry for _, entry in jobs.rows(place.store, job.id)]
    assert (lines[0]["stream"], lines[0]["missing"], lines[0]["stale"]) == ("customers", 1, 1)
    assert sorted(each["stream"] for each in lines) == ["balance_transactions", "charges", "customers"]
    assert lines[0]["examples"]["missing"] == [gone]


def test_whoever_is_to_be_forgotten_is_whenever_the_server_was_killed(
    place: places.Place, tmp_path: Path
) -> None:
    [[customer]] = audited.query(
        tmp_path, "select customer from stripe.charges where customer is not null limit 1"
    )
    wish = {"customers": [customer], "account": "", "dry_run": False}
    job = killed(place, tmp_path, "forget", "customers", wish)
    assert (job.state, job.result["customers"]) == ("ok", [customer])
    kept = f"select count(*) from stripe.customers where id = '{customer}' and _deleted_at is null"
    assert audited.query(tmp_path, kept) == [(0,)]


def test_a_server_that_stops_leaves_its_jobs_to_the_next(place: places.Place, tmp_path: Path) -> None:
    going = threading.Event()

    async def endless(_: places.Place, __: doing.Screen) -> doing.Done:
        going.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    with resuming.keeping(place):
        begun, _ = doing.begin(place, "ann", "audit", "pull:everything", AUDIT, endless)
        assert going.wait(30)
        place.stopping.set()
    left = jobs.get(place.store, begun.id)
    assert left is not None
    assert (left.state, left.worker) == ("running", ""), "it is nobody's when the server has ended"
    with seen.place(tmp_path / "tidegate.yaml") as other, resuming.keeping(other):
        job = ended(other, begun.id)
    assert (job.state, job.attempts, job.result["status"], job.worker.partition("/")[0]) == (
        "ok",
        1,
        "ok",
        other.worker,
    )


def ended(place: places.Place, job_id: str) -> jobs.Job:
    """A job at its end."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job = jobs.get(place.store, job_id)
        assert job is not None
        if not job.alive:
            return job
        time.sleep(0.05)
    raise AssertionError("it does not end")


def test_what_cannot_be_done_any_more_has_failed_and_says_why(place: places.Place) -> None:
    wishes: list[tuple[jobs.Kind, str, dict[str, Any], str]] = [
        (
            "rehearsal",
            "push:a",
            {"push": "a", "connection": "trial", "limit": None},
            "The process that did it ended before it, and what it wrote over trial until then stays; begin it "
            "again.",
        ),
        (
            "estimate",
            "pull:old",
            {"pull": "old", "streams": []},
            "there is no pull 'old' in the configuration; it has everything",
        ),
        ("verification", "push:a", {"push": "a"}, "there is no push 'a' in the configuration; it has none"),
    ]
    for kind, what, wish, error in wishes:
        job, _ = jobs.begin(place.store, f"job_{kind}", kind, what, wish, "ann", "gone:1")
        jobs.leave(place.store, job.id, "gone:1")
        assert doing.take(place, resuming.work) is not None
        found = ended(place, job.id)
        assert (found.state, found.error) == ("failed", error)
    assert doing.take(place, resuming.work) is None


def test_a_job_of_which_nothing_was_heard_goes_on_once_where_it_lives(place: places.Place) -> None:
    going, over, count = threading.Event(), threading.Event(), []

    async def waiting(_: places.Place, __: doing.Screen) -> doing.Done:
        count.append(1)
        going.set()
        await asyncio.to_thread(over.wait, 60)
        return doing.Done("ok", {})

    job, _ = doing.begin(place, "ann", "audit", "pull:everything", AUDIT, waiting)
    assert going.wait(60)
    for _ in range(3):
        place.store.execute("UPDATE jobs SET seen_at = seen_at - 3600")
        assert doing.take(place, lambda _: waiting) is None
    over.set()
    while (found := jobs.get(place.store, job.id)) is not None and found.alive:
        time.sleep(0.02)
    assert found is not None
    assert (found.state, found.attempts, len(count)) == ("ok", 1, 1)
