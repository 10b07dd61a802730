"""Runs as people and programs see them: pages of them, their lines, where their rows went, and ending one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import delivering
import pytest
import running
from hypothesis import given
from hypothesis import strategies as st

from tidegate import errors, views
from tidegate.engine import place as places
from tidegate.store import database, history, reports, trail
from tidegate.store import runs as stored
from tidegate.views import runs

FLOWS = """\
warehouses: {one: {type: duckdb, path: one.duckdb}}
pulls: {everything: {from: acme, to: one, streams: {customers: {}}}}
"""
ANN = views.Person("ann@example.com", "session")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/runs.db", more=FLOWS)
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as opened:
        yield places.Place(file, opened)


def test_pages_end_where_there_are_no_more(place: places.Place) -> None:
    made = [running.ended(place.store, ago=10.0 - n) for n in range(4)]
    first = runs.page(place, history.Filter(), limit=2)
    assert first.next == (made[2].queued_at, made[2].id)
    second = runs.page(place, history.Filter(), limit=2, after=first.next)
    assert (second.next, len(second.runs)) == (None, 2)
    assert [run.id for run in runs.each(place, history.Filter(), size=3)] == [
        run.id for run in reversed(made)
    ]


def test_a_run_is_got_by_its_whole_id_and_meant_by_less(place: places.Place) -> None:
    with pytest.raises(views.Unknown, match="there are no runs yet"):
        runs.meant(place.store, "last")
    run = running.ended(place.store)
    assert (
        runs.get(place, run.id)
        == runs.meant(place.store, run.id[:9])
        == runs.meant(place.store, "last")
        == run
    )
    for wrong in (run.id[:9], "", "\0", "ä"):
        with pytest.raises(views.Unknown, match="There is no run with this id"):
            runs.get(place, wrong)


class TestCancel:
    def test_who_did_it_is_noted_once(self, place: places.Place) -> None:
        run = running.begun(place.store)
        found = runs.cancel(place, ANN, run)
        assert (found.state, found.cancelled_by) == ("running", "ann@example.com")
        runs.cancel(place, views.Person("ben@example.com"), found)
        [line] = trail.listed(place.store)
        assert (line.who, line.via, line.action, line.after) == (
            "ann@example.com",
            "session",
            "cancel",
            {"run": run.id},
        )

    def test_by_a_command_it_is_the_command_line(self, place: places.Place) -> None:
        run = running.begun(place.store)
        assert runs.cancel(place, views.person(), run).cancelled_by == "the command line"

    def test_what_has_ended_is_refused_also_meanwhile(self, place: places.Place) -> None:
        run = running.begun(place.store)
        stored.end(place.store, run.id, running.WORKER, "ok")
        with pytest.raises(views.Refused, match="has ended already: ok"):
            runs.cancel(place, ANN, run)
        assert trail.listed(place.store) == []


class TestLines:
    def test_on_and_back_page_by_page(self, place: places.Place) -> None:
        run = running.ended(place.store)
        running.said(place.store, run, [str(n) for n in range(5)])
        on, after, more = [], "", True
        while more:
            page = runs.lines(place.store, run.id, after=after, limit=2)
            on.append([line.text for line in page.lines])
            after, more = page.place, page.more
        assert on == [["0", "1"], ["2", "3"], ["4"]]
        back, before, more = [], "", True
        while more:
            page = runs.tail(place.store, run.id, before=before, limit=2)
            back.append([line.text for line in page.lines])
            before, more = page.place, page.more
        assert back == [["3", "4"], ["1", "2"], ["0"]]

    def test_no_empty_page_at_the_end(self, place: places.Place) -> None:
        run = running.ended(place.store)
        running.said(place.store, run, ["0", "1"])
        assert not runs.lines(place.store, run.id, limit=2).more
        assert not runs.tail(place.store, run.id, limit=2).more

    def test_news_are_lines_with_their_places(self, place: places.Place) -> None:
        run = running.begun(place.store)
        running.said(place.store, run, ["0", "1", "2"])
        same, found = runs.news(place.store, run.id, limit=2)
        assert same.id == run.id
        assert [line.text for _, line in found] == ["0", "1"]
        _, rest = runs.news(place.store, run.id, found[0][0])
        assert [line.text for _, line in rest] == ["1", "2"]

    @given(st.text(max_size=40))
    def test_whatever_is_no_place_is_said_to_be_none(self, text: str) -> None:
        with contextlib.suppress(errors.ConfigError):
            found = runs._seen(text)
            assert all(-1 <= number <= 2**31 - 1 for number in found.values())


def bars(flow: str, *tables: dict[str, Any], **totals: Any) -> list[tuple[str, int]]:
    run = stored.Run("run_1", flow, "ok", "manual", 0.0, 0.0, totals=totals)
    return [(bar.label, bar.rows) for bar in runs.funnel(run, tables)]


class TestFunnel:
    def test_that_of_a_push_balances(self) -> None:
        table = {
            "source": 100,
            "filtered": 10,
            "unchanged": 40,
            "created": 20,
            "updated": 15,
            "unmatched": 5,
            "held": 4,
            "left": 0,
            "quarantined": 3,
            "invalid": 2,
            "failed": 1,
            "unknown": 0,
        }
        (_, came), *rest = bars("push:accounts", table)
        assert came == sum(rows for _, rows in rest) == 100
        assert ("Refused by Stripe", 1) in rest
        assert all(rows for _, rows in rest), "what is nothing is not shown"

    def test_that_of_a_pipeline_balances(self) -> None:
        table = {"read": 10, "filtered": 2, "failed": 1, "matched": 7, "written": 4, "unchanged": 3}
        (_, came), *rest = bars("pipeline:people", table)
        assert came == sum(rows for _, rows in rest) == 10

    def test_that_of_a_pull_sums_its_tables_up(self) -> None:
        table = {"read": 10, "inserted": 4, "updated": 3, "unchanged": 2, "deleted": 1}
        assert bars("pull:a", table, table) == [
            ("Read", 20),
            ("New", 8),
            ("Changed", 6),
            ("Unchanged", 4),
            ("Deleted", 2),
        ]

    def test_without_a_report_it_is_of_the_totals(self) -> None:
        assert bars("pull:a", read=5, deleted=2) == [("Read", 5), ("Deleted", 2)]
        assert bars("pull:a") == []


def test_the_whole_of_a_run_with_more_tables_than_are_summed_up(
    place: places.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = running.ended(place.store, read=7)
    running.got(place.store, run, {}, {"stream": "charges", "status": "failed"})
    whole = runs.whole(place.store, run)
    assert whole.counts == reports.Counts(2, 1)
    assert whole.funnel[0] == runs.Bar("Read", 20)
    monkeypatch.setattr(runs, "SUMMED", 1)
    assert runs.whole(place.store, run).funnel == (runs.Bar("Read", 7),)


def test_streams_that_go_on_come_first_with_what_is_known_of_their_share() -> None:
    def stream(**more: Any) -> dict[str, Any]:
        return {
            "rows": 0,
            "requests": 0,
            "estimate": None,
            "begun": 1,
            "ended": 0,
            "status": "running",
            **more,
        }

    told = {
        "done": stream(status="ok", ended=1),
        "unknown": stream(rows=5),
        "half": stream(rows=5, estimate=10),
        "more": stream(rows=50, estimate=10),
        "failed": stream(status="failed"),
    }
    run = stored.Run("run_1", "pull:a", "running", "manual", 0.0, 0.0, progress={"streams": told})
    assert [(each.name, each.share) for each in runs.streams(run)] == [
        ("half", 0.5),
        ("more", 0.99),
        ("unknown", None),
        ("done", 1.0),
        ("failed", 1.0),
    ]


def test_rows_and_time_so_far() -> None:
    run = stored.Run("run_1", "pull:a", "running", "manual", 0.0, 0.0)
    assert (runs.rows(run), runs.took(run, 5.0)) == (None, None)
    run = stored.Run("run_1", "pull:a", "running", "manual", 0.0, 0.0, started_at=2.0, progress={"rows": 3})
    assert (runs.rows(run), runs.took(run, 5.0), runs.took(run, 1.0)) == (3, 3.0, 0.0)
    done = stored.Run(
        "run_1", "pull:a", "ok", "manual", 0.0, 0.0, started_at=2.0, finished_at=4.0, totals={"written": 9}
    )
    assert (runs.rows(done), runs.took(done, 50.0)) == (9, 2.0)
