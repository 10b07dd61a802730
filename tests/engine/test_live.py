"""A configuration that changes while flows run: noticed everywhere, and never a half or a wrong one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import managing
import pytest
import servers
from flowing import alongside, serving, until
from managing import CONNECTION, PULL, WAREHOUSE, filled, make, version

from tidegate import config, errors
from tidegate.engine import editing, endings, live, pool, scheduler, work, workers
from tidegate.engine import place as places
from tidegate.store import database, runs, secrets, ticks

STEADY = {**PULL, "schedule": "every 1h"}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(secrets.VARIABLE, secrets.new_key())


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/tidegate.db" if request.param == "sqlite" else servers.new_postgres()


BOTH = pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def place(tmp_path: Path, url: str) -> Iterator[places.Place]:
    with managing.placed(managing.written(tmp_path, url), url) as found:
        yield found


@pytest.fixture
def other(place: places.Place, tmp_path: Path, url: str) -> Iterator[places.Place]:  # noqa: ARG001, it is first
    """Another process of the same configuration."""
    with managing.placed(tmp_path / "tidegate.yaml", url) as found:
        yield found


class TestFile:
    def test_a_change_of_it_is_noticed_whatever_its_time(
        self, place: places.Place, tmp_path: Path, url: str
    ) -> None:
        assert not place.look()
        managing.written(tmp_path, url, managing.FILE.replace("manual", "every 1h"))
        assert place.look()
        assert place.flows["pull:everything"].schedule != "manual"
        assert not place.look()

    def test_one_that_says_the_same_in_other_words_is_no_other(
        self, place: places.Place, tmp_path: Path, url: str
    ) -> None:
        before = place.file
        managing.written(tmp_path, url, "# a remark\n" + managing.FILE)
        assert not place.look()
        assert place.file is before

    def test_an_invalid_one_changes_nothing_and_is_said_once(
        self, place: places.Place, tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = place.file
        managing.written(tmp_path, url, managing.FILE.replace("manual", "now and then"))
        with caplog.at_level(logging.WARNING):
            assert not place.look()
            assert not place.look()
        assert place.file is before
        assert f"{tmp_path}/tidegate.yaml:6:37: pulls.everything.schedule: " in place.problem
        [line] = caplog.messages
        assert line.startswith("The configuration is not valid; the last valid one goes on.")
        managing.written(tmp_path, url)
        assert not place.look()
        assert place.problem == ""

    def test_one_that_is_gone_is_missed_and_its_last_words_count(
        self, place: places.Place, tmp_path: Path, url: str
    ) -> None:
        (tmp_path / "tidegate.yaml").unlink()
        assert not place.look()
        assert place.problem.endswith("is gone; bring it back, or start tidegate again without it.")
        assert list(place.flows) == ["pull:everything"]
        managing.written(tmp_path, url)
        place.look()
        assert place.problem == ""

    def test_one_that_is_gone_is_not_missed_where_it_said_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with contextlib.closing(database.open_database("sqlite:///tidegate.db")) as store:
            place = filled(places.Place(live.Live(None, store), store))
            file = tmp_path / "tidegate.yaml"
            file.write_text("pulls: {zzz: {from: nobody, to: one}}\n")
            place.look()
            assert "tidegate.yaml:1:" in place.problem
            file.unlink()
            place.look()
            assert (place.problem, list(place.flows)) == ("", ["pull:everything"])
            make(place, "pulls", "more", PULL)
            assert list(place.flows) == ["pull:everything", "pull:more"]
            file.write_text("pulls: {zzz: {from: acme, to: one, schedule: manual}}\n")
            place.look()
            file.unlink()
            place.look()
            assert (
                place.problem == "tidegate.yaml is gone; bring it back, or start tidegate again without it."
            )
            assert "pull:zzz" in place.flows

    def test_while_it_is_gone_or_cannot_be_read_nothing_is_changed_and_everything_is_shown(
        self, place: places.Place, tmp_path: Path, url: str
    ) -> None:
        make(place, "pulls", "more", PULL)
        file = tmp_path / "tidegate.yaml"
        for spoil in (file.unlink, lambda: file.write_text("pulls: [\n")):
            spoil()
            with pytest.raises(errors.ConfigStale, match=r"tidegate\.yaml"):
                make(place, "pulls", "another", PULL)
            assert [each.name for each in editing.objects(place) if each.kind == "pulls"] == [
                "everything",
                "more",
            ]
        managing.written(tmp_path, url)
        make(place, "pulls", "another", PULL)
        assert "pull:another" in place.flows

    def test_what_mends_an_invalid_configuration_is_taken(
        self, place: places.Place, tmp_path: Path, url: str
    ) -> None:
        """The file drops what parts of the metadata database need, of which one is mended after the other."""
        for name in ("a", "b"):
            make(place, "pulls", name, PULL)
        managing.written(tmp_path, url, "stripe: {acme: {api_key: sk_test_geheim123456789}}\n")
        with pytest.raises(errors.ConfigStale, match=r"pulls\.a in the metadata database: to"):
            make(place, "stripe", "other", CONNECTION)
        with pytest.raises(errors.ConfigStale):
            editing.planned(place, [editing.Edit("stripe", "other", CONNECTION, None)])
        assert editing.check(place, "stripe", "other", CONNECTION) == []
        editing.change(place, "ann", "pulls", "a", None, version(place, "pulls", "a"))
        assert place.problem
        make(place, "warehouses", "one", WAREHOUSE)
        assert (place.problem, list(place.flows)) == ("", ["pull:b"])

    def test_another_database_needs_another_start(
        self, place: places.Place, tmp_path: Path, url: str
    ) -> None:
        managing.written(tmp_path, f"sqlite:///{tmp_path}/elsewhere.db", managing.FILE + "# more\n")
        place.look()
        assert place.problem.endswith("`database` is another one now; start tidegate again to use it.")
        assert place.file.database.get_secret_value() == url


class TestDatabase:
    @BOTH
    def test_a_change_by_another_process_is_noticed(self, place: places.Place, other: places.Place) -> None:
        make(other, "pulls", "more", PULL)
        assert list(other.flows) == ["pull:everything", "pull:more"]
        assert list(place.flows) == ["pull:everything"]
        assert place.look()
        assert list(place.flows) == ["pull:everything", "pull:more"]

    def test_a_secret_that_is_set_anew_is_noticed(self, tmp_path: Path, url: str) -> None:
        with contextlib.closing(database.open_database(url)) as store:
            secrets.vault(store).put("stripe", "sk_test_first_000000")
            file = managing.written(tmp_path, url, "stripe: {acme: {api_key: '${secret:stripe}'}}\n")
            place = places.Place(live.Live(file, store), store)
            secrets.vault(store).put("stripe", "sk_test_second_00000")
            assert place.look()
            key = place.file.stripe["acme"].api_key
            assert key is not None
            assert key.get_secret_value() == "sk_test_second_00000"
            secrets.vault(store).remove("stripe")
            assert not place.look()
            assert "there is no secret 'stripe'" in place.problem

    def test_no_file_at_all_is_a_configuration_of_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
            place = places.Place(live.Live(None, store), store)
            assert place.flows == {}
            filled(place)
            assert list(place.flows) == ["pull:everything"]
            assert place.file.database.get_secret_value() == f"sqlite:///{tmp_path}/tidegate.db"
            # Later somebody writes one.
            (tmp_path / "tidegate.yaml").write_text("warehouses: {two: {type: duckdb, path: two.duckdb}}\n")
            assert place.look()
            assert list(place.file.warehouses) == ["two", "one"]

    def test_a_place_that_was_given_its_configuration_keeps_it(self, place: places.Place) -> None:
        fixed = places.Place(place.file, place.store)
        make(place, "pulls", "more", PULL)
        assert not fixed.look()
        assert list(fixed.flows) == ["pull:everything"]
        assert fixed.problem == ""
        assert editing.objects(fixed) == []
        with pytest.raises(errors.ConfigError, match="cannot be changed in it"):
            make(fixed, "pulls", "third", PULL)


class TestScheduler:
    def test_a_new_flow_is_due_a_changed_one_too_and_one_that_is_gone_no_more(
        self, place: places.Place, other: places.Place
    ) -> None:
        clock = scheduler.Scheduler(place)
        clock.begin()
        clock.turn()
        make(other, "pulls", "more", STEADY)
        clock.turn()
        known = ticks.upcoming(place.store)
        assert set(known) == {"pull:everything", "pull:more"}
        assert known["pull:more"] is not None
        seen = version(other, "pulls", "more")
        seen = editing.change(other, "ann", "pulls", "more", {**PULL, "schedule": "every 2h"}, seen).version
        clock.turn()
        later = ticks.upcoming(place.store)["pull:more"]
        assert later is not None
        assert 3000 < later - known["pull:more"] < 4000
        editing.change(other, "ann", "pulls", "more", None, seen)
        clock.turn()
        assert list(ticks.upcoming(place.store)) == ["pull:everything"]

    def test_another_description_moves_no_tick(self, place: places.Place) -> None:
        make(place, "pulls", "more", STEADY)
        clock = scheduler.Scheduler(place)
        clock.begin()
        clock.turn()
        before = ticks.upcoming(place.store)
        editing.change(
            place, "ann", "pulls", "more", {**STEADY, "lookback": "3d"}, version(place, "pulls", "more")
        )
        clock.turn()
        assert ticks.upcoming(place.store) == before

    def test_of_two_schedulers_the_one_that_notices_late_undoes_nothing(
        self, place: places.Place, other: places.Place
    ) -> None:
        first, second = scheduler.Scheduler(place), scheduler.Scheduler(other)
        for clock in (first, second):
            clock.begin()
            clock.turn()
        make(other, "pulls", "more", STEADY)
        second.turn()  # it has the change itself
        known = ticks.upcoming(place.store)
        assert set(known) == {"pull:everything", "pull:more"}
        for _ in range(3):
            first.turn()
            second.turn()
        assert ticks.upcoming(place.store) == known

    def test_changes_while_it_looks_are_each_seen_in_the_end(
        self, place: places.Place, tmp_path: Path, url: str
    ) -> None:
        clock = scheduler.Scheduler(place)
        clock.begin()

        def edit() -> None:
            with managing.placed(tmp_path / "tidegate.yaml", url) as own:
                for n in range(10):
                    make(own, "pulls", f"p{n}", STEADY)

        thread = threading.Thread(target=edit)
        thread.start()
        while thread.is_alive():
            clock.turn()
        clock.turn()
        clock.turn()
        wanted = {"pull:everything", *(f"pull:p{n}" for n in range(10))}
        assert set(ticks.upcoming(place.store)) == wanted


class Doing:
    """What a run does in these tests: it tells which configuration it has, and waits."""

    def __init__(self) -> None:
        self.seen: list[config.Config] = []
        self.go = threading.Event()

    async def __call__(self, place: places.Place, *_: Any) -> endings.Ending:
        self.seen.append(place.file)
        while not await asyncio.to_thread(self.go.wait, 0.02):
            pass
        self.seen.append(place.file)
        return endings.Ending("ok")


@pytest.fixture
def doing(monkeypatch: pytest.MonkeyPatch) -> Doing:
    made = Doing()
    monkeypatch.setattr(work, "_do", made)
    monkeypatch.setattr(places, "BEAT", 0.05)
    monkeypatch.setattr(pool, "LOOKED", 0.05)
    return made


class TestRuns:
    def test_a_run_keeps_the_configuration_with_which_it_began(
        self, place: places.Place, other: places.Place, doing: Doing
    ) -> None:
        with serving(place):
            runs.queue(place.store, "run_1", "pull:everything", "manual")
            until(lambda: doing.seen)
            make(other, "pulls", "more", PULL)
            until(lambda: "pull:more" in place.flows)
            doing.go.set()
            until(lambda: runs.get(place.store, "run_1").state == "ok")
        first, last = doing.seen
        assert first is last
        assert list(first.pulls) == ["everything"]

    def test_a_continuous_run_ends_for_one_that_begins_with_what_is_new_for_it(
        self, place: places.Place, other: places.Place, doing: Doing
    ) -> None:
        make(other, "pulls", "steady", {**PULL, "schedule": "continuous"})
        with serving(place):
            until(lambda: doing.seen)
            make(other, "pulls", "more", PULL)  # nothing to it
            until(lambda: "pull:more" in place.flows)
            seen = version(other, "pulls", "steady")
            body = {**PULL, "schedule": "continuous", "lookback": "3d"}
            seen = editing.change(other, "ann", "pulls", "steady", body, seen).version
            until(lambda: len(doing.seen) == 2)
            assert doing.seen[1].pulls["steady"].lookback.days == 3
            editing.change(other, "ann", "pulls", "steady", None, seen)
            until(lambda: all(run.state == "ok" for run in runs.listed(place.store)))
        assert [run.state for run in runs.listed(place.store, flow="pull:steady")] == ["ok", "ok"]

    @pytest.mark.parametrize("url", ["postgres"], indirect=True)
    def test_a_worker_that_schedules_nothing_notices_as_well(
        self, place: places.Place, other: places.Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(workers, "LOOKED", 0.05)

        def worker() -> None:
            workers.serve(place, schedule=False)

        with alongside(place, worker):
            make(other, "pulls", "more", PULL)
            until(lambda: "pull:more" in place.flows)


def test_what_both_say_is_one_configuration(tmp_path: Path, url: str) -> None:
    """A warehouse of the file, a connection and a pull of the metadata database."""
    text = "warehouses: {one: {type: duckdb, path: one.duckdb}}\n"
    with managing.placed(managing.written(tmp_path, url, text), url) as place:
        make(place, "stripe", "acme", CONNECTION)
        make(place, "pulls", "all", PULL)
        assert place.file.warehouses["one"].type == WAREHOUSE["type"]
        assert list(place.flows) == ["pull:all"]
