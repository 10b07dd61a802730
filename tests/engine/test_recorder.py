"""What is gathered of a run: lines that come too often, changes, and the sums of pulls without end."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tidegate import errors
from tidegate.engine import recorder
from tidegate.pull import report
from tidegate.store import database, logs, reports, runs
from tidegate.stripe import client

ONE = "acct_1"


@pytest.fixture
def run(store: database.Database) -> runs.Run:
    queued = runs.queue(store, runs.new_id(), "pull:a", "continuous")
    begun = runs.begin(store, queued.id, "worker")
    assert begun is not None
    return begun


@pytest.fixture
def record(store: database.Database, run: runs.Run) -> recorder.Recorder:
    return recorder.Recorder(store, run, "worker")


def lines(store: database.Database, run: runs.Run) -> list[tuple[str, str]]:
    """Streams and texts, as they are shown."""
    return [(line.stream, line.text) for line in logs.read(store, run.id)[0]]


def written(stream: str, inserted: int, *, deleted: int = 0, at: int = 100, **more: Any) -> report.Outcome:
    """What one pull did to a stream."""
    outcome = report.Outcome(stream, ONE, read=inserted, deleted=deleted, **more)
    outcome.wrote(inserted, 0, 0)
    outcome.spans(at, at)
    outcome.tally.requests = 1
    return outcome


def result(*outcomes: report.Outcome, end: errors.TidegateError | None = None) -> report.Result:
    now = dt.datetime.now(dt.UTC)
    return report.Result("run_1", now, now, "ok", outcomes, client.Tally(), end)


class TestLines:
    def test_of_a_line_that_comes_too_often_the_first_ones_are_kept_and_then_their_number(
        self, store: database.Database, run: runs.Run, record: recorder.Recorder
    ) -> None:
        for n in range(recorder.OFTEN + 300):
            record.say(f"{n:,} attempts, the last took {n / 7:.2f} s", stream="charges")
            record.say("something else") if n < 3 else None
        record.close()
        told = lines(store, run)
        assert len(told) == recorder.OFTEN + 3 + 1
        assert told[-1] == ("charges", "300 more lines like: # attempts, the last took # s...")

    def test_each_hour_they_are_counted_anew(
        self, record: recorder.Recorder, store: database.Database, run: runs.Run, monkeypatch: Any
    ) -> None:
        for _ in range(recorder.OFTEN + 5):
            record.say("again")
        with monkeypatch.context() as hours_later:
            hours_later.setattr(recorder, "HOUR", 0.0)
            record.say("again")
        record.close()
        told = [text for _, text in lines(store, run)]
        assert told[recorder.OFTEN :] == ["5 more lines like: again...", "again"]

    def test_kinds_without_end_are_not_all_remembered(
        self, record: recorder.Recorder, store: database.Database, run: runs.Run, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(recorder, "KINDS", 3)
        for _ in range(recorder.OFTEN + 1):
            record.say("often")
        for name in "abc":  # of the last one there is no room for the others any more
            record.say(name)
        record.say("often")
        record.close()
        told = [text for _, text in lines(store, run)]
        assert told[recorder.OFTEN :] == ["a", "b", "1 more lines like: often...", "c", "often"]

    def test_while_nobody_takes_them_only_so_many_wait(
        self, record: recorder.Recorder, store: database.Database, run: runs.Run, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(recorder, "WAITING", 10)
        store.execute("ALTER TABLE run_lines RENAME TO elsewhere")
        for n in range(17):
            record.say(f"{'x' * n} happened")
        with pytest.raises(errors.StoreError):
            record.flush()
        store.execute("ALTER TABLE elsewhere RENAME TO run_lines")
        record.close()
        told = [text for _, text in lines(store, run)]
        assert told == [
            *(f"{'x' * n} happened" for n in range(10)),
            "7 lines are missing: nobody could take them.",
        ]


class TestChanges:
    def test_the_first_is_told_at_once_and_what_follows_together(
        self, record: recorder.Recorder, store: database.Database, run: runs.Run, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(recorder, "OFTENEST", 0.0)
        record.saw(result(written("customers", 1)))
        for _ in range(50):
            record.saw(result(written("customers", 30, deleted=1)))
        record.flush()
        assert lines(store, run) == [("customers", "1 written")]
        record.close()
        assert lines(store, run)[1:] == [("customers", "1,500 written, 50 deleted")]

    def test_what_is_told_in_its_time_is_told_once(
        self, record: recorder.Recorder, store: database.Database, run: runs.Run, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(recorder, "TOLD", 0.0)
        monkeypatch.setattr(recorder, "OFTENEST", 0.0)
        for count in (1, 2, 3):
            record.saw(result(written("customers", count)))
            record.tell()
        record.close()
        assert [text for _, text in lines(store, run)] == ["1 written", "2 written", "3 written"]

    def test_what_goes_wrong_is_told_when_it_changes(
        self, record: recorder.Recorder, store: database.Database, run: runs.Run
    ) -> None:
        for error in ("no scope", "no scope", "no table", "no table", ""):
            status: Any = "failed" if error else "ok"
            record.saw(result(report.Outcome("charges", ONE, status=status, error=error)))
        record.saw(result(end=errors.Unauthorized("Stripe rejected the key.")))
        record.close()
        assert lines(store, run) == [
            ("charges", "no scope"),
            ("charges", "no table"),
            ("", "Stripe rejected the key."),
        ]


class TestSums:
    def test_the_report_of_a_run_without_end_is_the_sum_of_its_pulls(
        self, record: recorder.Recorder, store: database.Database, run: runs.Run
    ) -> None:
        news = report.News()
        for pulled in (
            [written("customers", 40, at=100, bytes=4_000), written("charges", 7, at=90)],
            [written("customers", 2, deleted=1, at=150, bytes=300), report.Outcome("charges", ONE)],
            [written("customers", 3, at=140, bytes=500), report.Outcome("charges", ONE)],
        ):
            news.of(pulled)
            record.saw(result(*pulled))
            record.report()
        charges, customers = reports.read(store, run.id)
        assert customers == {
            "stream": "customers",
            "account": ONE,
            "status": "ok",
            "read": 45,
            "written": 45,
            "inserted": 45,
            "updated": 0,
            "unchanged": 0,
            "deleted": 1,
            "versions": 0,
            "bytes": 4_800,
            "from_version": 100,
            "to_version": 150,
            "requests": 3,
            "error": None,
        }
        assert (charges["written"], charges["from_version"], charges["to_version"]) == (7, 90, 90)
        assert record.progress()["written"] == 52
        assert record.totals() == {
            "requests": 0,
            "read": 52,
            "written": 52,
            "deleted": 1,
            "streams": 2,
            "accounts": 1,
        }

    def test_it_is_written_when_the_time_has_come(
        self, record: recorder.Recorder, store: database.Database, run: runs.Run, monkeypatch: Any
    ) -> None:
        record.saw(result(written("customers", 5)))
        assert record.write() is not None
        assert reports.read(store, run.id) == []
        monkeypatch.setattr(recorder, "REPORTED", 0.0)
        assert record.write() is not None
        assert [each["written"] for each in reports.read(store, run.id)] == [5]

    def test_what_could_not_be_written_is_written_the_next_time(
        self, record: recorder.Recorder, store: database.Database, run: runs.Run
    ) -> None:
        record.saw(result(written("customers", 5)))
        store.execute("ALTER TABLE run_tables RENAME TO elsewhere")
        with pytest.raises(errors.StoreError):
            record.report()
        store.execute("ALTER TABLE elsewhere RENAME TO run_tables")
        record.report()
        assert [each["written"] for each in reports.read(store, run.id)] == [5]

    def test_only_what_has_grown_is_written_again(
        self, record: recorder.Recorder, store: database.Database, run: runs.Run
    ) -> None:
        record.saw(result(written("customers", 5), written("charges", 1)))
        record.report()
        store.execute("DELETE FROM run_tables")
        record.saw(result(written("customers", 2), report.Outcome("charges", ONE)))
        record.report()
        assert [each["stream"] for each in reports.read(store, run.id)] == ["customers"]

    def test_a_run_that_came_to_its_end_has_its_own_report(self, record: recorder.Recorder) -> None:
        assert record.totals() == {}
        assert "written" not in record.progress()
        [told] = recorder.tables([written("customers", 5), report.Outcome("charges", ONE)])
        assert (told["stream"], told["written"]) == ("customers", 5)


class TestUnderWay:
    def test_what_is_under_way_is_told_until_its_result_takes_its_place(
        self, record: recorder.Recorder, store: database.Database, run: runs.Run
    ) -> None:
        def told() -> tuple[Any, ...]:
            record.report()
            [table] = reports.read(store, run.id)
            assert record.progress()["written"] == record.totals()["written"] == table["written"]
            return table["written"], table["status"], table["error"]

        news, first = report.News(), written("customers", 40)
        record.under_way([first])
        assert told() == (40, "partial", "not read to its end yet")
        first.wrote(2, 0, 0)
        record.under_way([first])
        assert told() == (42, "partial", "not read to its end yet")
        first.done = True
        news.of([first])
        record.under_way([first])  # others are still read
        assert told() == (42, "ok", None)
        record.saw(result(first))
        assert told() == (42, "ok", None)
        second = written("customers", 3)
        record.under_way([second])
        assert told() == (45, "ok", None)
        second.done = True
        news.of([second])
        record.saw(result(second))
        assert told() == (45, "ok", None)

    def test_what_was_heard_while_a_pull_went_on_adds_to_it(
        self, record: recorder.Recorder, store: database.Database, run: runs.Run
    ) -> None:
        news, read, heard = report.News(), written("customers", 40, done=True), written("customers", 1)
        news.of([read])
        record.under_way([read, heard])
        record.report()
        heard.wrote(1, 0, 0)
        news.of([heard])
        record.under_way([read, heard])
        record.report()
        assert [each["written"] for each in reports.read(store, run.id)] == [42]
        assert record.progress()["written"] == 42
        record.saw(result(read, heard))
        assert record.totals()["written"] == 42

    def test_of_a_pull_that_is_stopped_it_stays(
        self, record: recorder.Recorder, store: database.Database, run: runs.Run
    ) -> None:
        record.under_way([written("customers", 40), report.Outcome("charges", ONE)])
        record.close()
        assert [(each["stream"], each["written"]) for each in reports.read(store, run.id)] == [
            ("customers", 40)
        ]
        assert record.totals()["written"] == 40

    def test_of_a_run_with_a_result_nothing_is_left(
        self, record: recorder.Recorder, store: database.Database, run: runs.Run
    ) -> None:
        record.under_way([written("customers", 40)])
        record.under_way(())
        record.close()
        assert (record.totals(), reports.read(store, run.id)) == ({}, [])


def test_memory_does_not_grow_with_time(record: recorder.Recorder, monkeypatch: Any) -> None:
    import tracemalloc

    monkeypatch.setattr(recorder, "TOLD", 0.0)
    monkeypatch.setattr(recorder, "KINDS", 50)
    monkeypatch.setattr(recorder, "OFTENEST", 0.0)
    news = report.News()

    def hours(first: int) -> None:
        for turn in range(first, first + 300):
            outcomes = [written(name, turn % 7, at=turn) for name in ("customers", "charges")]
            outcomes.append(report.Outcome("prices", ONE, "failed", error=f"word{turn:x} failed"))
            news.of(outcomes)
            record.saw(result(*outcomes))
            record.say(f"{chr(97 + turn % 26) * (turn % 90)} seen")
            record.write()

    hours(0)
    tracemalloc.start()
    try:
        hours(300)
        before = tracemalloc.get_traced_memory()[0]
        hours(600)
        hours(900)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 100_000
