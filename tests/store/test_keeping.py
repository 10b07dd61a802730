"""Leases, positions, and what goes after a while."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable

import pytest

from tidegate.store import database, deliveries, leases, logs, positions, reports, retention, runs, ticks

Opened = Callable[[], database.Database]
DAY = 86_400.0


class TestLeases:
    def passed(self, store: database.Database, seconds: float) -> None:
        store.execute("UPDATE leases SET until = until - :seconds", {"seconds": seconds})

    def test_one_has_it_until_it_runs_out_or_is_given_back(self, store: database.Database) -> None:
        assert leases.holder(store, "scheduler") == ""
        assert leases.take(store, "scheduler", "a", 30.0)
        assert not leases.take(store, "scheduler", "b", 30.0)
        assert leases.take(store, "other", "b", 30.0)
        assert leases.holder(store, "scheduler") == "a"
        self.passed(store, 31.0)
        assert leases.holder(store, "scheduler") == ""
        assert leases.take(store, "scheduler", "b", 30.0)
        leases.leave(store, "scheduler", "a")
        assert leases.holder(store, "scheduler") == "b"
        leases.leave(store, "scheduler", "b")
        assert leases.take(store, "scheduler", "a", 30.0)

    def test_who_takes_it_again_keeps_it(self, store: database.Database) -> None:
        for _ in range(3):
            assert leases.take(store, "scheduler", "a", 30.0)
            self.passed(store, 20.0)
        assert not leases.take(store, "scheduler", "b", 30.0)

    def test_of_many_who_take_it_at_once_one_has_it(self, opened: Opened) -> None:
        stores = [opened() for _ in range(6)]
        for turn in range(5):
            with concurrent.futures.ThreadPoolExecutor(6) as pool:
                found = list(
                    pool.map(
                        lambda each, turn=turn: leases.take(each[1], f"{turn}", f"w{each[0]}", 30.0),
                        enumerate(stores),
                    )
                )
            assert sum(found) == 1

    def test_after_the_clock_was_set_back_it_runs_out_in_its_time(self, store: database.Database) -> None:
        leases.take(store, "scheduler", "a", 30.0)
        self.passed(store, -365 * DAY)
        assert not leases.take(store, "scheduler", "b", 30.0)
        self.passed(store, 31.0)
        assert leases.take(store, "scheduler", "b", 30.0)


class TestPositions:
    def test_a_flow_has_those_that_were_noted_last(self, store: database.Database) -> None:
        first = [
            positions.Position("charges", "acct_1", {"until": 10}),
            positions.Position("customers", "acct_1", {"until": 20}),
        ]
        positions.replace(store, "pull:a", first)
        positions.replace(store, "pull:b", first[:1])
        found = positions.read(store, "pull:a")
        assert [(each.stream, each.account, each.position) for each in found] == [
            ("charges", "acct_1", {"until": 10}),
            ("customers", "acct_1", {"until": 20}),
        ]
        positions.replace(store, "pull:a", [positions.Position("charges", "acct_2", {"until": 30})])
        assert [each.account for each in positions.read(store, "pull:a")] == ["acct_2"]
        assert len(positions.read(store, "pull:b")) == 1
        positions.replace(store, "pull:a", [])
        assert positions.read(store, "pull:a") == []

    def test_only_what_moved_is_written(self, store: database.Database) -> None:
        many = {f"acct_{n:03}": {"until": 1, "from": 0} for n in range(300)}

        def note() -> None:
            positions.replace(
                store, "pull:a", [positions.Position("charges", each, many[each]) for each in many]
            )

        note()
        store.execute("UPDATE positions SET at = 1")
        many["acct_007"] = {"until": 2, "from": 0}
        many["acct_008"] = {"from": 0, "until": 1}  # the same
        del many["acct_009"]
        note()
        found = positions.read(store, "pull:a")
        assert len(found) == 299
        assert [each.account for each in found if each.at > 1] == ["acct_007"]

    def test_two_at_once_leave_one_of_both(self, opened: Opened) -> None:
        stores = [opened(), opened()]
        ticks.sync(stores[0], {"pull:a": "manual"}, lambda *_: None)

        def note(n: int) -> None:
            for turn in range(10):
                positions.replace(
                    stores[n],
                    "pull:a",
                    [positions.Position(f"{n} {each}", "acct_1", {"turn": turn}) for each in range(10)],
                )

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(note, range(2)))
        found = positions.read(stores[0], "pull:a")
        assert len(found) == 10
        assert len({each.stream[0] for each in found}) == 1


class TestRetention:
    def ended(self, store: database.Database, flow: str, days: float) -> runs.Run:
        """A run that ended so many days ago, with a line, a report and a slice."""
        run = runs.queue(store, runs.new_id(), flow, "manual")
        runs.begin(store, run.id, "w")
        logs.write(store, run.id, "w", 0, [logs.Line(0.0, "info", "hello")])
        reports.keep(store, run.id, [{"stream": "charges", "account": "acct_1", "status": "ok"}])
        store.execute(
            "INSERT INTO slices (run, number, accounts, state) VALUES (:run, 0, 'acct_1', 'done')",
            {"run": run.id},
        )
        runs.end(store, run.id, "w", "ok")
        store.execute(
            "UPDATE runs SET queued_at = queued_at - :s, finished_at = finished_at - :s WHERE id = :id",
            {"s": days * DAY, "id": run.id},
        )
        return run

    def counts(self, store: database.Database) -> list[int]:
        tables = ("runs", "run_lines", "run_tables", "slices")
        return [int(store.execute(f"SELECT count(*) AS n FROM {table}")[0]["n"]) for table in tables]

    def test_old_runs_go_with_all_that_is_theirs_but_for_the_last_of_a_flow(
        self, store: database.Database
    ) -> None:
        for days in (100, 95, 10):
            self.ended(store, "pull:a", days)
        last = self.ended(store, "pull:b", 500)
        assert self.counts(store) == [4, 4, 4, 4]
        assert retention.prune_runs(store, 90 * DAY) == 2
        assert self.counts(store) == [2, 2, 2, 2]
        assert last.id in {run.id for run in runs.listed(store)}
        assert retention.prune_runs(store, 90 * DAY) == 0

    def test_one_that_runs_for_long_stays(self, store: database.Database) -> None:
        run = runs.queue(store, "run_1", "pull:a", "continuous")
        runs.begin(store, run.id, "w")
        store.execute("UPDATE runs SET queued_at = queued_at - :s", {"s": 500 * DAY})
        assert retention.prune_runs(store, 90 * DAY) == 0

    def test_in_steps_that_others_come_between(
        self, store: database.Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retention, "STEP", 2)
        monkeypatch.setattr(retention, "STEPS", 3)
        for n in range(10):
            self.ended(store, "pull:a", 200 - n)
        assert [retention.prune_runs(store, 90 * DAY) for _ in range(3)] == [6, 3, 0]

    def test_everything_that_is_of_no_use_goes(self, store: database.Database) -> None:
        self.ended(store, "pull:a", 100)
        self.ended(store, "pull:a", 1)
        deliveries.keep(store, [deliveries.Delivery("acme", "", "evt_1", "t", 1, "{}")])
        store.execute("UPDATE deliveries SET received_at = received_at - :s", {"s": 8 * DAY})
        leases.take(store, "old", "a", 30.0)
        leases.take(store, "held", "a", 30.0)
        store.execute("UPDATE leases SET until = until - :s WHERE name = 'old'", {"s": 2 * DAY})
        now = store.now()
        for matter, resolved in (("old", now - 100 * DAY), ("new", now - DAY), ("open", None)):
            store.execute(
                "INSERT INTO alerts (matter, kind, flow, text, opened_at, seen_at, resolved_at) "
                "VALUES (:matter, 'failed', 'pull:a', 't', 1, 1, :resolved)",
                {"matter": matter, "resolved": resolved},
            )
        assert retention.clean(store) == 4
        assert retention.clean(store) == 0
        kept = {
            "leases": ("name", ["held"]),
            "alerts": ("matter", ["new", "open"]),
        }
        for table, (key, names) in kept.items():
            assert sorted(row[key] for row in store.execute(f"SELECT {key} FROM {table}")) == names
