"""Pushes as flows: run by schedules, after others and on demand, stopped anywhere, and gone on with."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import doomed_push
import pushed_people as people
import pytest
import servers
from flowing import PATIENCE, serving, until
from following import Merchant

from tidegate import config, errors
from tidegate.engine import alerts, endings, flows, matters, preparing, pushes, pushing, stopping, work
from tidegate.engine import place as places
from tidegate.push import plan
from tidegate.store import database, fences, logs, notices, operations, reports, runs, ticks
from tidegate.stripe import purse, shares

FLOW = "push:people"
REMOVES = people.USUAL[:-1] + ", on_missing: delete}"
DAILY = people.USUAL[:-1] + ", schedule: every 1d}"

Opened = Callable[..., places.Place]


@pytest.fixture
def opened(shop: Merchant, store: database.Database, tmp_path: Path) -> Opened:
    """A process with a push of so many people, and whatever else its configuration says."""

    def open_one(count: int = 8, push: str = people.USUAL, more: str = "", **given: Any) -> places.Place:
        people.write(tmp_path, given.pop("url", shop.url), map(people.person, range(count)), push)
        file = tmp_path / "tidegate.yaml"
        file.write_text(file.read_text() + more)
        return places.Place(config.load(file), store, folder=tmp_path / "state", **given)

    return open_one


def queued(place: places.Place, **options: Any) -> runs.Run:
    run = runs.queue(place.store, runs.new_id(), FLOW, "manual", options=options)
    begun = runs.begin(place.store, run.id, place.worker)
    assert begun is not None
    return begun


def performed(place: places.Place, **options: Any) -> runs.Run:
    """A run of the push, done here."""
    begun = queued(place, **options)
    asyncio.run(work.perform(place, begun))
    return runs.get(place.store, begun.id)


def there(shop: Merchant) -> Counter[str]:
    """How many customers live of each person's e-mail."""
    made = [line["object"] for line in shop.truth("customers")]
    emails = [(each["email"] or "").lower() for each in made if not each.get("deleted")]
    return Counter(email for email in emails if email.endswith("@people.test"))


def once(count: int) -> Counter[str]:
    return Counter(f"p{number}@people.test" for number in range(count))


def told(place: places.Place) -> dict[str, str]:
    """What is alerted, by the name of the matter."""
    return {each.matter.removeprefix(f"{FLOW}/"): each.text for each in notices.listed(place.store)}


def figures(counts: Any) -> dict[str, int]:
    """The counters that are not zero."""
    return {name: counts[name] for name in pushes_figures if counts.get(name)}


pushes_figures = (
    "source",
    "created",
    "updated",
    "removed",
    "unchanged",
    "held",
    "quarantined",
    "invalid",
    "left",
)


def test_a_push_is_a_run_with_its_report_and_its_lines(opened: Opened, shop: Merchant) -> None:
    place = opened(8)
    run = performed(place)
    assert (run.state, run.error) == ("ok", "")
    assert there(shop) == once(8)
    [table] = reports.read(place.store, run.id)
    assert figures(table) == {"source": 8, "created": 8}
    assert (table["stream"], table["status"], table["requests"]) == ("customer", "ok", run.totals["requests"])
    assert (run.totals["read"], run.totals["written"], run.totals["created"]) == (8, 8, 8)
    texts = [line.text for line in logs.read(place.store, run.id)[0]]
    assert "8 rows of the model: 8 to create" in texts
    assert any("POST /v1/customers" in text for text in texts), texts
    assert texts[-1] == "ok"
    shop.later()
    again = performed(place)
    assert (again.state, again.totals["written"], again.totals["unchanged"]) == ("ok", 0, 8)
    assert told(place) == {}


def test_a_limit_is_kept(opened: Opened, shop: Merchant) -> None:
    run = performed(opened(5), limit=2)
    assert (run.state, run.totals["created"], run.totals["left"], run.totals["held"]) == ("ok", 2, 3, 0)
    assert there(shop).total() == 2


def test_what_a_guard_holds_waits_for_a_person_and_nothing_follows(
    opened: Opened, shop: Merchant, tmp_path: Path
) -> None:
    later = "warehouses: {one: {type: duckdb, path: one.duckdb}}\npulls:\n  back: {from: acme, to: one, "
    place = opened(8, REMOVES, later + "schedule: {after: push:people}, streams: {coupons: {}}}\n")
    ticks.sync(place.store, {name: flows.text(each.schedule) for name, each in place.flows.items()}, _never)
    assert performed(place).state == "ok"
    assert ticks.waiting(place.store) == ["pull:back"]
    place.store.execute("UPDATE ticks SET waiting = ''")
    people.rows(tmp_path, map(people.person, range(6)))
    shop.later()
    waits = performed(place)
    assert waits.state == "partial"
    assert waits.error.startswith("waits for approval: 2 objects whose rows are gone ")
    assert waits.error.endswith("; `tidegate push people --approve` does it.")
    assert waits.totals["removed"] == 0
    assert ticks.waiting(place.store) == []
    assert there(shop) == once(8)
    assert list(told(place)) == ["approval"]
    assert "`tidegate push people --approve` does it." in told(place)["approval"]
    people.rows(tmp_path, map(people.person, range(8)))
    shop.later()
    assert performed(place).state == "ok"
    assert told(place) == {}


def _never(*_: object) -> None:
    return None


def test_a_push_after_a_pull_and_a_pull_after_a_push(opened: Opened, shop: Merchant) -> None:
    place = opened(
        3,
        people.USUAL[:-1] + ", schedule: {after: pull:first}}",
        "warehouses: {one: {type: duckdb, path: one.duckdb}, two: {type: duckdb, path: two.duckdb}}\npulls:\n"
        "  first: {from: acme, to: one, streams: {coupons: {}}}\n"
        "  last: {from: acme, to: two, schedule: {after: people}, streams: {customers: {}}}\n",
    )
    with serving(place):
        until(lambda: FLOW in ticks.upcoming(place.store))
        runs.queue(place.store, runs.new_id(), "pull:first", "manual")
        until(lambda: [run for run in runs.listed(place.store, flow="pull:last") if run.state == "ok"])
    assert [run.cause for run in runs.listed(place.store, flow=FLOW)] == ["after"]
    assert there(shop) == once(3)


def test_ticks_that_were_missed_are_one_run(opened: Opened, shop: Merchant) -> None:
    place = opened(3, DAILY)
    with serving(place):
        until(lambda: ticks.upcoming(place.store).get(FLOW))
    place.stopping.clear()
    place.store.execute("UPDATE ticks SET next_at = next_at - 5 * 86400, since = since - 5 * 86400")
    with serving(place):
        until(lambda: [run for run in runs.listed(place.store, flow=FLOW) if run.state == "ok"])
    assert [run.cause for run in runs.listed(place.store)] == ["schedule"]
    assert there(shop) == once(3)


@pytest.mark.parametrize(
    ("unchanged", "error", "state"),
    [(7, "", "partial"), (0, "", "failed"), (7, "Stripe rejected the key.", "failed")],
)
def test_single_rows_that_are_refused_are_no_failed_run(unchanged: int, error: str, state: str) -> None:
    counts = plan.Counts(source=unchanged + 2, unchanged=unchanged)
    made = plan.Plan("people", "run_1", "customer", "acct_1", False, "", 0.0, 0.0, counts, (), 4, 0.0)
    why = {"Stripe was away.": 1, "Stripe is away.": 1}
    result = pushes.Result(made, "failed", counts, failed=2, why=why, error=error)
    ending = endings.of_push(result, pushing.table(result, written=True))
    told = "Not every row was written (2 failed): Stripe was away. (and 1 other reason)"
    assert (ending.state, ending.error, ending.leads) == (state, error or told, True)
    assert ending.totals["failed"] == 2


def test_another_run_of_it_waits(opened: Opened) -> None:
    place = opened(1)
    queued(place)
    with pytest.raises(errors.StoreConflict, match="push:people has a run already"):
        runs.queue(place.store, runs.new_id(), FLOW, "manual")


def test_what_plans_it_meanwhile_is_told_who_runs_it(opened: Opened, tmp_path: Path) -> None:
    place = opened(1)
    begun = queued(place)
    fence = fences.take(place.store, "people", "somebody", 60.0)
    assert fence is not None
    with pytest.raises(
        errors.StoreConflict, match=f"people is just being run \\({begun.id}\\); `tidegate logs"
    ):
        asyncio.run(
            pushes.run(
                preparing.job(place.file, "people"), place.store, tmp_path / "state", "run_x", pushes.Wish()
            )
        )


def test_what_was_begun_by_hand_and_never_came_back_is_not_gone_on_with(
    opened: Opened, shop: Merchant
) -> None:
    """Nobody has approved what it would write by now; only what it left open is found out."""
    place = opened(4)
    run = performed(place, by_hand=True)
    assert (run.state, run.totals["created"], run.totals["left"]) == ("partial", 0, 4)
    assert run.error == "It was begun by hand and wrote nothing more; `tidegate push people` goes on."
    assert there(shop).total() == 0
    scheduled = opened(4, DAILY)
    assert performed(scheduled, by_hand=True).totals["created"] == 4


def test_a_wrong_key_is_a_failed_run(opened: Opened, tmp_path: Path) -> None:
    place = opened(2)
    file = tmp_path / "tidegate.yaml"
    file.write_text(file.read_text().replace("sk_test_123456789", "sk_live_123456789"))
    bad = places.Place(config.load(file), place.store, folder=place.folder)
    run = performed(bad)
    assert run.state == "failed"
    assert "123456789" not in run.error
    assert [name.rpartition("/")[0] for name in told(place)] == ["key/acme", ""]
    assert list(told(place))[-1] == "failed"
    assert performed(place).state == "ok"
    assert told(place) == {}


def test_rows_that_need_a_person_are_alerted_until_they_do_not(
    opened: Opened, shop: Merchant, tmp_path: Path
) -> None:
    ids = [shop.make("/v1/customers", email="p1@people.test")["id"] for _ in range(2)]
    shop.later()
    place = opened(3)
    people.rows(tmp_path, [people.person(0), people.person(1), people.person(2, email="")])
    run = performed(place)
    assert figures(run.totals) == {"source": 3, "created": 1, "held": 1, "invalid": 1}
    found = told(place)
    assert found == {
        "held": "push:people: 1 row is held until somebody decides (1 ambiguous). `tidegate inbox people` lists "
        "them and takes the decision.",
        "quarantine": "push:people: 1 row is in quarantine (1 invalid), and written when row or mapping change. "
        "`tidegate inbox people` says why, and has them tried again.",
    }
    assert not any(word in str(found) for word in ("@", "Person", *ids))
    titles = [matters.title(each) for each in notices.listed(place.store)]
    assert titles == ["push:people holds rows until somebody decides", "push:people has rows in quarantine"]
    place.store.execute("DELETE FROM holds WHERE kind = 'ambiguous'")
    alerts.judge(place.store, place.file)
    assert list(told(place)) == ["quarantine"]


def test_writes_of_which_nobody_knows_are_alerted(opened: Opened) -> None:
    place = opened(2)
    performed(place)
    place.store.execute("UPDATE operations SET status = 'unknown' WHERE key = '1'")
    alerts.judge(place.store, place.file)
    assert list(told(place)) == ["unknown"]
    assert "of 1 write nobody can tell" in told(place)["unknown"]
    place.store.execute("UPDATE operations SET status = 'done' WHERE key = '1'")
    alerts.judge(place.store, place.file)
    assert told(place) == {}


class Heard(purse.Purse):
    """Remembers for whose budgets it was asked."""

    def __init__(self, store: database.Database) -> None:
        super().__init__(store)
        self.asked = set[str]()

    def say(self, said: shares.Said) -> None:
        self.asked.add(said.account)
        super().say(said)


def test_it_spends_of_the_budget_that_all_share(opened: Opened, shop: Merchant, tmp_path: Path) -> None:
    place = opened(4)
    file = tmp_path / "tidegate.yaml"
    file.write_text(file.read_text().replace('"off"', "1000/500"))
    with contextlib.closing(Heard(place.store)) as shared:
        run = performed(places.Place(config.load(file), place.store, folder=place.folder, purse=shared))
    [table] = reports.read(place.store, run.id)
    assert purse.account_name(shop.url, "sk_test_123456789", table["account"]) in shared.asked


def late(shop: Merchant, seconds: float) -> None:
    """After forty creates, Stripe does what it is asked at once, and answers later."""
    fault = {"kind": "late", "seconds": seconds, "method": "POST", "path": "/v1/customers", "skip": 40}
    shop.control("faults", {"faults": [fault]})


def quick(shop: Merchant) -> None:
    shop.control("faults", {"faults": []})
    shop.later()


def under_way(place: places.Place, shop: Merchant) -> runs.Run:
    """The run of the push, in the midst of it."""
    until(lambda: there(shop).total() > 40)
    [run] = runs.listed(place.store, flow=FLOW, states=("running",))
    return run


@pytest.mark.parametrize(("seconds", "open_still"), [(1.0, set()), (600.0, {"sent"})])
def test_a_push_that_is_cancelled_ends_soon_and_what_is_on_its_way_is_heard_of(
    seconds: float, open_still: set[str], opened: Opened, shop: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Stripe answers in time; where it does not, the next run finds out."""
    monkeypatch.setattr(stopping, "GRACE", 1.0 if open_still else 100.0)
    place = opened(300)
    late(shop, seconds)
    with serving(place):
        runs.queue(place.store, runs.new_id(), FLOW, "manual")
        run = under_way(place, shop)
        runs.cancel(place.store, run.id, "a test")
        until(lambda: runs.alive(place.store, FLOW) is None)
    ended = runs.get(place.store, run.id)
    assert (ended.state, ended.error) == ("cancelled", "It was cancelled; what it committed stays.")
    left_open = {each.status for each in operations.undecided(place.store, "people")}
    assert left_open - {"intent"} == open_still
    made = there(shop).total()
    [table] = reports.read(place.store, run.id)
    assert table["created"] + table["left"] == 300
    assert (table["created"] == made) == (not open_still)
    assert ended.totals["written"] == table["created"] >= 40
    place.stopping.clear()
    quick(shop)
    assert performed(place).state == "ok"
    assert there(shop) == once(300)


def test_a_push_whose_process_is_stopped_is_gone_on_with(opened: Opened, shop: Merchant) -> None:
    place = opened(300)
    late(shop, 1.0)
    with serving(place):
        runs.queue(place.store, runs.new_id(), FLOW, "manual")
        run = under_way(place, shop)
    assert runs.get(place.store, run.id).state == "interrupted"
    assert fences.holder(place.store, "people") == ""
    place.stopping.clear()
    quick(shop)
    with serving(place):
        until(lambda: [each for each in runs.listed(place.store, flow=FLOW) if each.state == "ok"])
    assert [each.cause for each in runs.listed(place.store, flow=FLOW)] == ["retry", "manual"]
    assert there(shop) == once(300)


def test_planning_ends_at_once_too(opened: Opened) -> None:
    """An expression that takes minutes is ended with the run that asked for it."""
    long = "list_sum(list_transform(range(900), lambda n: n * length(name)))::VARCHAR"
    fields = ", ".join(f'metadata.field{number}: {{sql: "{long}"}}' for number in range(5))
    place = opened(200_000, people.USUAL.replace("name: name", fields))

    async def cancelled() -> None:
        begun = queued(place)
        task = asyncio.create_task(work.perform(place, begun))
        await asyncio.to_thread(until, lambda: _phase(place, begun) == "reading the model")
        task.cancel()
        async with asyncio.timeout(60):
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    [run] = runs.listed(place.store)
    assert (run.state, run.progress["phase"]) == ("interrupted", "reading the model")


def _phase(place: places.Place, run: runs.Run) -> Any:
    return runs.get(place.store, run.id).progress.get("phase")


def killed_at(step: int, folder: Path, log: Path) -> subprocess.Popen[str]:
    """A `tidegate run` in a folder that is killed at a step of its pushes."""
    words = [sys.executable, doomed_push.__file__, str(step), "run", "--port", "0", "--log", "json"]
    with log.open("a") as said:
        return subprocess.Popen(words, cwd=folder, stdout=said, stderr=said, text=True)


def nobody_waits(store: database.Database) -> None:
    """For whoever is dead: neither for its run, nor for its time to write."""
    store.execute("UPDATE fences SET until = 0")
    store.execute("UPDATE runs SET seen_at = seen_at - 1000 WHERE state = 'running'")


def until_done(
    store: database.Database, homes: Sequence[Path], shop: Merchant, chance: random.Random, first: int = 1
) -> int:
    """Kill one process after the other at some step, until one has done the push; how many were killed."""
    killed = 0
    runs.queue(store, runs.new_id(), FLOW, "manual")
    while True:
        step = chance.randrange(first, 60) if killed < 3 else 0
        log = homes[killed % len(homes)] / "said.txt"
        process = killed_at(step, homes[killed % len(homes)], log)
        try:
            until(lambda p=process: p.poll() is not None or done(store))
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE) == 0, log.read_text()
                return killed
            assert process.returncode == -signal.SIGKILL, log.read_text()
        finally:
            process.kill()
            process.wait()
        killed += 1
        nobody_waits(store)
        shop.later()


def done(store: database.Database) -> bool:
    return any(run.state == "ok" for run in runs.listed(store, flow=FLOW))


@pytest.mark.parametrize("seed", range(6))
def test_killed_while_it_runs_by_schedule_each_is_there_once(
    seed: int, shop: Merchant, tmp_path: Path
) -> None:
    people.write(tmp_path, shop.url, map(people.person, range(6)))
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
        until_done(store, [tmp_path], shop, random.Random(seed))
        assert there(shop) == once(6)
        assert operations.undecided(store, "people") == []
        assert runs.alive(store, FLOW) is None


def test_another_machine_goes_on_with_a_copy_of_its_own(shop: Merchant, tmp_path: Path) -> None:
    """Two folders, one Postgres: what one machine knows of Stripe's objects the other reads for itself."""
    url, homes = servers.new_postgres(), [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        home.mkdir()
        people.write(home, shop.url, map(people.person, range(6)))
        file = home / "tidegate.yaml"
        file.write_text(file.read_text() + f"database: {url}\n")
    with contextlib.closing(database.open_database(url)) as store:
        assert until_done(store, homes, shop, random.Random(11), first=3) >= 1
        assert there(shop) == once(6)
        assert operations.undecided(store, "people") == []
    assert all(list((home / ".tidegate" / "mirrors").glob("*.duckdb")) for home in homes)


def test_two_pushes_of_one_kind_of_object_take_turns_with_its_copy(
    opened: Opened, shop: Merchant, tmp_path: Path
) -> None:
    place = opened(6)
    file = tmp_path / "tidegate.yaml"
    other = people.USUAL.replace("name: name, metadata.plan: plan", "metadata.tier: plan, description: name")
    file.write_text(file.read_text().replace("}}}\n", f"}}}}, tiers: {other}}}\n"))
    people.rows(tmp_path, map(people.person, range(6)))
    assert performed(place).state == "ok"
    shop.later()
    place = places.Place(config.load(file), place.store, folder=place.folder)
    people.rows(tmp_path, [people.person(number, plan="free") for number in range(6)])

    async def both() -> list[Any]:
        wish = pushes.Wish(write=True, approve=True)
        jobs = [preparing.job(place.file, name) for name in ("people", "tiers")]
        return await asyncio.gather(
            *(pushes.run(job, place.store, place.folder, runs.new_id(), wish) for job in jobs)
        )

    results = asyncio.run(both())
    assert {result.status for result in results} <= {"ok", "partial"}
    assert there(shop) == once(6)
    assert pushing.table(results[0], written=True)["source"] == 6
