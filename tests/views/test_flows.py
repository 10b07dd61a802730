"""Flows as they stand, and having one run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import delivering
import pytest
import running

from tidegate import errors, views
from tidegate.engine import flows as engine
from tidegate.engine import matters
from tidegate.engine import place as places
from tidegate.store import database, positions, runs, ticks, trail
from tidegate.views import flows
from tidegate.views import runs as known_runs

FLOWS = """\
warehouses: {one: {type: duckdb, path: one.duckdb}}
pulls:
  everything: {from: acme, to: one, streams: {customers: {}}, schedule: every 1h}
  steady: {from: acme, to: one, schedule: continuous, streams: {charges: {}}}
models: {accounts: {warehouse: one, table: accounts, key: id}}
pushes:
  accounts: {model: accounts, to: acme, object: customer, match: {email: email}, fields: {name: name}}
"""
ANN = views.Person("ann@example.com", "session")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/flows.db", more=FLOWS)
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as opened:
        made = places.Place(file, opened)
        known = made.flows
        wanted = {name: engine.text(flow.schedule) for name, flow in known.items()}
        ticks.sync(opened, wanted, engine.clock(known))
        yield made


class TestStanding:
    def test_one_that_never_ran_is_off(self, place: places.Place) -> None:
        found = flows.one(place, "everything")
        assert (found.name, found.schedule, found.state, found.age) == (
            "pull:everything",
            "every hour",
            "off",
            None,
        )
        assert found.next_at is not None
        assert flows.one(place, "push:accounts").next_at is None

    def test_the_first_run_goes_on(self, place: places.Place) -> None:
        run = running.begun(place.store)
        found = flows.one(place, "everything")
        assert found.running is not None
        assert (found.state, found.running.id, found.last) == ("running", run.id, None)

    def test_what_failed_last_is_failed_but_where_it_goes_on_for_ever(self, place: places.Place) -> None:
        running.ended(place.store, state="failed")
        running.ended(place.store, "pull:steady", "interrupted")
        assert {each.own: each.state for each in flows.listed(place)} == {
            "everything": "failed",
            "steady": "failed",
            "accounts": "off",
        }
        running.begun(place.store)
        running.begun(place.store, "pull:steady")
        assert {each.own: each.state for each in flows.listed(place)} == {
            "everything": "failed",
            "steady": "fresh",
            "accounts": "off",
        }

    def test_a_push_is_as_old_as_its_newest_good_run(self, place: places.Place) -> None:
        running.ended(place.store, "push:accounts", ago=500.0)
        running.ended(place.store, "push:accounts", "partial", ago=100.0)
        found = flows.one(place, "accounts")
        assert found.last is not None
        assert (found.state, found.last.state, found.bound) == ("fresh", "partial", None)
        assert found.age == pytest.approx(500.0, abs=30.0)

    def test_a_pull_is_as_old_as_its_worst_table(self, place: places.Place) -> None:
        running.ended(place.store)
        row = {"account": "acct_1", "complete": True, "status": "ok", "staleness_s": 60}
        read = {"customers": "2020-01-01T00:00:00Z", "charges": "2026-01-01T00:00:00Z"}
        known = [
            positions.Position(stream, "acct_1", {**row, "stream": stream, "as_of": as_of})
            for stream, as_of in read.items()
        ]
        positions.replace(place.store, "pull:everything", known)
        found = flows.one(place, "everything")
        assert found.state == "behind"
        assert found.age is not None
        assert found.age > 86_400 * 365
        assert found.bound is not None

    def test_a_continuous_one_that_was_cancelled_is_stopped_until_somebody_starts_it(
        self, place: places.Place
    ) -> None:
        run = flows.begin(place, ANN, "steady")
        runs.cancel(place.store, run.id, "bob@example.com")
        found = flows.one(place, "steady")
        ended = runs.get(place.store, run.id).finished_at
        assert ended is not None
        assert (found.state, found.stopped_until) == ("stopped", ended + 43_200.0)
        assert found.next_at == found.stopped_until
        assert found.stopped == (
            f"pull:steady is stopped by bob@example.com until {matters.moment(ended + 43_200.0)}; "
            "`tidegate start steady` begins it again."
        )
        flows.begin(place, ANN, "steady")
        again = flows.one(place, "steady")
        assert (again.state, again.stopped_until, again.stopped) == ("fresh", None, "")

    def test_others_that_were_cancelled_are_not(self, place: places.Place) -> None:
        runs.cancel(place.store, flows.begin(place, ANN, "everything").id, "bob@example.com")
        assert flows.one(place, "everything").stopped_until is None


class TestDisabled:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[places.Place]:
        off = FLOWS + (
            "pipelines:\n"
            "  eu: {from: acme, to: one, stream: customers, map: {email: {from: email}}, enabled: false}\n"
        )
        file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/flows.db", more=off)
        with contextlib.closing(database.open_database(file.database.get_secret_value())) as opened:
            yield places.Place(file, opened)

    @pytest.mark.parametrize("name", ["eu", "pipeline:eu"])
    def test_it_is_said_that_it_is_and_how_to_enable_it(self, place: places.Place, name: str) -> None:
        says = (
            "pipeline:eu is disabled; enable it first: on its page, or by `enabled: true` where it is written"
        )
        for act in (flows.named, flows.one):
            with pytest.raises(views.Refused, match=says):
                act(place, name)
        for do in (flows.begin, flows.ask):
            with pytest.raises(views.Refused, match=says):
                do(place, ANN, name)
        assert flows.meant(place, name) == "pipeline:eu"
        assert runs.listed(place.store) == []

    def test_what_it_ran_before_is_not_done_again(self, place: places.Place) -> None:
        run = running.ended(place.store, "pipeline:eu", "failed")
        with pytest.raises(views.Refused, match="pipeline:eu is disabled; enable it first"):
            flows.again(place, ANN, run)

    def test_what_there_never_was_is_unknown_still(self, place: places.Place) -> None:
        with pytest.raises(views.Unknown, match="There is no flow 'us'"):
            flows.named(place, "us")


class TestAudit:
    """The line stands in the transaction of what it tells of: neither is there without the other."""

    @pytest.fixture
    def broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Somebody is killed when the line is written."""

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(trail.Note, "write", killed)

    @pytest.mark.usefixtures("broken")
    def test_nothing_is_begun_without_its_line(self, place: places.Place) -> None:
        for act in (flows.begin, flows.ask):
            with pytest.raises(KeyboardInterrupt):
                act(place, ANN, "everything")
        assert runs.listed(place.store) == []

    def test_nothing_is_done_again_or_cancelled_without_its_line(
        self, place: places.Place, request: pytest.FixtureRequest
    ) -> None:
        failed = running.ended(place.store, state="failed")
        going = flows.begin(place, ANN, "steady")
        request.getfixturevalue("broken")
        with pytest.raises(KeyboardInterrupt):
            flows.again(place, ANN, failed)
        with pytest.raises(KeyboardInterrupt):
            known_runs.cancel(place, ANN, going)
        assert [each.id for each in runs.listed(place.store) if each.alive] == [going.id]


class TestBegin:
    def test_it_is_queued_and_noted(self, place: places.Place) -> None:
        run = flows.begin(place, ANN, "everything", full_refresh=True)
        assert (run.flow, run.state, run.cause, run.options) == (
            "pull:everything",
            "queued",
            "manual",
            {"full_refresh": True},
        )
        assert flows.begin(place, ANN, "steady").cause == "continuous"
        with pytest.raises(errors.StoreConflict, match="pull:everything has a run already"):
            flows.begin(place, ANN, "everything")
        assert [(line.who, line.what) for line in trail.listed(place.store)] == [
            ("ann@example.com", "pull:steady"),
            ("ann@example.com", "pull:everything"),
        ]

    def test_what_cannot_be_begun(self, place: places.Place) -> None:
        with pytest.raises(errors.ConfigError, match="reads its whole model each time"):
            flows.begin(place, ANN, "accounts", full_refresh=True)
        with pytest.raises(views.Unknown, match="There is no flow 'nothing'"):
            flows.begin(place, ANN, "nothing")
        assert runs.listed(place.store) == []


class TestAsk:
    def test_who_asks_meanwhile_shares(self, place: places.Place) -> None:
        first, second = (flows.ask(place, ANN, "everything") for _ in range(2))
        assert (first.new, second.new, second.run.id) == (True, False, first.run.id)
        assert runs.begin(place.store, first.run.id, running.WORKER) is not None
        third = flows.ask(place, ANN, "everything", full_refresh=True)
        assert third.waits
        assert flows.following(place, first.run) is None
        assert len(trail.listed(place.store)) == 1, "what began nothing is no change"

    def test_nothing_follows_where_nothing_is_due(self, place: places.Place) -> None:
        with pytest.raises(views.Unknown, match="No run of pull:everything is due after run_"):
            flows.following(place, running.ended(place.store))


class TestAgain:
    def test_with_the_same_options_but_what_was_approved(self, place: places.Place) -> None:
        run = running.begun(place.store, full_refresh=True, approve=True, accept_deletes=["charges"])
        with pytest.raises(views.Refused, match="is running; `tidegate cancel` ends it"):
            flows.again(place, ANN, run)
        runs.end(place.store, run.id, running.WORKER, "failed")
        again = flows.again(place, ANN, runs.get(place.store, run.id))
        assert (again.cause, again.options) == (
            "retry",
            {"full_refresh": True, "accept_deletes": ["charges"]},
        )
        [line] = trail.listed(place.store)
        assert line.after == {"run": again.id, "of": run.id, **again.options}

    def test_one_that_went_on_for_ever_does_so_again(self, place: places.Place) -> None:
        run = flows.begin(place, ANN, "steady")
        runs.cancel(place.store, run.id, "ann")
        assert flows.again(place, ANN, runs.get(place.store, run.id)).cause == "continuous"
