"""What Stripe delivered: kept once, heard by all who listen, gone when it is of no use."""

from __future__ import annotations

import concurrent.futures
import random
from collections.abc import Callable, Sequence

import pytest

from tidegate.store import database, deliveries, retention

Opened = Callable[[], database.Database]
DAY = 86_400.0


def event(n: int, connection: str = "acme", account: str = "") -> deliveries.Delivery:
    return deliveries.Delivery(
        connection, account, f"evt_{n}", "charge.updated", 1_700_000_000 + n, f'{{"n":{n}}}'
    )


def names(found: Sequence[deliveries.Delivery]) -> list[str]:
    return [each.event for each in found]


def aged(store: database.Database, seconds: float) -> None:
    """Let time pass."""
    store.execute("UPDATE deliveries SET received_at = received_at - :seconds", {"seconds": seconds})


def hear(store: database.Database, flow: str, connection: str = "acme") -> list[str]:
    """Hear everything there is, and note it."""
    number = deliveries.begin(store, flow, connection)
    found = deliveries.after(store, connection, number)
    if found:
        deliveries.mark(store, flow, connection, found[-1].number)
    return names(found)


class TestKept:
    def test_each_event_once(self, store: database.Database) -> None:
        assert deliveries.keep(store, [event(1), event(2), event(1)]) == 2
        assert deliveries.keep(store, [event(2), event(3)]) == 1
        assert deliveries.keep(store, []) == 0
        [first, *_] = deliveries.after(store, "acme", 0)
        assert (first.event, first.type, first.created, first.payload) == (
            "evt_1",
            "charge.updated",
            1_700_000_001,
            '{"n":1}',
        )
        assert first.received_at == pytest.approx(store.now(), abs=60)

    def test_the_same_event_of_another_account_is_another(self, store: database.Database) -> None:
        same = [event(1), event(1, account="acct_1"), event(1, connection="other")]
        assert deliveries.keep(store, same) == 3
        assert [each.account for each in deliveries.after(store, "acme", 0)] == ["", "acct_1"]

    def test_many_who_keep_the_same_at_once_keep_each_once(self, opened: Opened) -> None:
        stores = [opened() for _ in range(4)]
        rng = random.Random(1)

        def keep(store: database.Database) -> int:
            new = 0
            for start in range(0, 100, 20):
                some = [event(n) for n in range(start, start + 20)]
                rng.shuffle(some)
                new += deliveries.keep(store, some)
            return new

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(keep, stores)) == 100
        assert len(deliveries.after(stores[0], "acme", 0)) == 100


class TestHeard:
    def test_a_new_listener_begins_with_what_comes(self, store: database.Database) -> None:
        deliveries.keep(store, [event(1)])
        assert deliveries.heard(store, "pull:a") is None
        assert hear(store, "pull:a") == []
        deliveries.keep(store, [event(2), event(3, "other"), event(4)])
        assert hear(store, "pull:a") == ["evt_2", "evt_4"]

    def test_what_is_not_settled_is_heard_again_after_a_restart(self, store: database.Database) -> None:
        deliveries.begin(store, "pull:a", "acme")
        deliveries.keep(store, [event(1), event(2)])
        assert hear(store, "pull:a") == ["evt_1", "evt_2"]
        assert hear(store, "pull:a") == ["evt_1", "evt_2"]
        aged(store, deliveries.SETTLED + 1)
        deliveries.keep(store, [event(3)])
        assert hear(store, "pull:a") == ["evt_1", "evt_2", "evt_3"]
        assert hear(store, "pull:a") == ["evt_3"]

    def test_who_has_heard_some_hears_the_others(self, store: database.Database) -> None:
        deliveries.keep(store, [event(n) for n in range(10)])
        all_of_them = deliveries.after(store, "acme", 0)
        numbers = [each.number for each in all_of_them]
        assert names(deliveries.after(store, "acme", 0, numbers)) == []
        assert names(deliveries.after(store, "acme", numbers[3], numbers[:6])) == [
            f"evt_{n}" for n in (6, 7, 8, 9)
        ]
        # Out of their order: two receivers, of which the one with the smaller numbers was slower.
        gaps = [numbers[n] for n in (0, 2, 3, 7)]
        assert names(deliveries.after(store, "acme", 0, gaps)) == [f"evt_{n}" for n in (1, 4, 5, 6, 8, 9)]
        assert names(deliveries.after(store, "acme", 0, gaps, limit=2)) == ["evt_1", "evt_4"]
        assert names(deliveries.after(store, "acme", 0, gaps, limit=5)) == [
            f"evt_{n}" for n in (1, 4, 5, 6, 8)
        ]

    def test_a_mark_never_goes_back(self, store: database.Database) -> None:
        deliveries.begin(store, "pull:a", "acme")
        deliveries.keep(store, [event(n) for n in range(5)])
        aged(store, 1000)
        numbers = [each.number for each in deliveries.after(store, "acme", 0)]
        assert deliveries.mark(store, "pull:a", "acme", numbers[3]) == numbers[3]
        assert deliveries.mark(store, "pull:a", "acme", numbers[1]) == numbers[3]

    def test_a_mark_that_was_put_back_meanwhile_stays_there(self, store: database.Database) -> None:
        deliveries.begin(store, "pull:a", "acme")
        deliveries.keep(store, [event(n) for n in range(5)])
        aged(store, 1000)
        numbers = [each.number for each in deliveries.after(store, "acme", 0)]
        known = deliveries.mark(store, "pull:a", "acme", numbers[2])
        deliveries.replay(store, ["pull:a"], "acme", 0.0)
        assert deliveries.mark(store, "pull:a", "acme", numbers[4], known) == numbers[0] - 1
        assert hear(store, "pull:a") == [f"evt_{n}" for n in range(5)]

    def test_replayed_it_is_heard_again(self, store: database.Database) -> None:
        deliveries.begin(store, "pull:a", "acme")
        deliveries.keep(store, [event(1), event(2)])
        aged(store, 1000)
        deliveries.keep(store, [event(3)])
        aged(store, 1000)
        assert hear(store, "pull:a") == ["evt_1", "evt_2", "evt_3"]
        assert hear(store, "pull:a") == []
        assert deliveries.replay(store, ["pull:a"], "acme", store.now() - 1500) == {"pull:a": 1}
        assert hear(store, "pull:a") == ["evt_3"]
        assert deliveries.replay(store, ["pull:new", "pull:a"], "acme", 0.0) == {"pull:new": 3, "pull:a": 3}
        late = store.now() - 1500
        assert deliveries.replay(store, ["pull:a"], "acme", late) == {"pull:a": 1}  # takes back nothing
        assert hear(store, "pull:a") == ["evt_1", "evt_2", "evt_3"]
        assert hear(store, "pull:new") == ["evt_1", "evt_2", "evt_3"]
        assert deliveries.replay(store, ["pull:a"], "acme", store.now() + 1) == {"pull:a": 0}

    def test_what_is_done_beside_is_done_with_it_or_neither_is(self, store: database.Database) -> None:
        deliveries.begin(store, "pull:a", "acme")
        deliveries.keep(store, [event(1)])
        aged(store, 1000)
        hear(store, "pull:a")
        mark = deliveries.heard(store, "pull:a")

        def killed(session: database.Session, found: dict[str, int]) -> None:
            session.execute("DELETE FROM deliveries")
            assert found == {"pull:a": 1}
            raise SystemExit

        with pytest.raises(SystemExit):
            deliveries.replay(store, ["pull:a"], "acme", 0.0, killed)
        assert deliveries.heard(store, "pull:a") == mark
        assert len(deliveries.after(store, "acme", 0)) == 1

    def test_a_flow_that_has_another_connection_now_goes_on_where_it_was(
        self, store: database.Database
    ) -> None:
        deliveries.begin(store, "pull:a", "acme")
        deliveries.keep(store, [event(1, "other")])
        deliveries.keep(store, [event(2), event(3)])
        aged(store, 1000)
        assert hear(store, "pull:a") == ["evt_2", "evt_3"]
        deliveries.keep(store, [event(4, "other"), event(5)])
        assert hear(store, "pull:a", "other") == ["evt_4"]


class TestGone:
    def test_what_all_have_heard_goes_after_a_while(self, store: database.Database) -> None:
        for flow in ("pull:a", "pull:b"):
            deliveries.begin(store, flow, "acme")
        deliveries.begin(store, "pull:c", "other")  # where nothing ever comes
        deliveries.keep(store, [event(1), event(2)])
        aged(store, 8 * DAY)
        deliveries.keep(store, [event(3)])
        hear(store, "pull:a")
        assert retention.prune_deliveries(store, 7 * DAY) == 0
        hear(store, "pull:b")
        assert retention.prune_deliveries(store, 7 * DAY) == 2
        assert names(deliveries.after(store, "acme", 0)) == ["evt_3"]

    def test_what_nobody_listens_to_goes_too(self, store: database.Database) -> None:
        deliveries.begin(store, "pull:a", "acme")
        deliveries.keep(store, [event(1, "other"), event(2, "acme")])
        aged(store, 8 * DAY)
        assert retention.prune_deliveries(store, 7 * DAY) == 1
        assert names(deliveries.after(store, "acme", 0)) == ["evt_2"]

    def test_what_stripe_itself_forgets_goes_in_any_case(self, store: database.Database) -> None:
        deliveries.begin(store, "pull:a", "acme")
        deliveries.keep(store, [event(1)])
        aged(store, 28 * DAY)
        assert retention.prune_deliveries(store, 7 * DAY) == 0
        aged(store, 2 * DAY)
        assert retention.prune_deliveries(store, 7 * DAY) == 1

    def test_in_steps_that_others_come_between(
        self, store: database.Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retention, "STEP", 4)
        monkeypatch.setattr(retention, "STEPS", 2)
        deliveries.keep(store, [event(n) for n in range(10)])
        aged(store, 8 * DAY)
        assert retention.prune_deliveries(store, 7 * DAY) == 8
        assert retention.prune_deliveries(store, 7 * DAY) == 2
        assert retention.prune_deliveries(store, 7 * DAY) == 0

    def test_numbers_go_on_after_everything_is_gone(self, store: database.Database) -> None:
        deliveries.keep(store, [event(1), event(2)])
        last = deliveries.after(store, "acme", 0)[-1].number
        aged(store, 8 * DAY)
        retention.prune_deliveries(store, 7 * DAY)
        deliveries.keep(store, [event(3)])
        [new] = deliveries.after(store, "acme", last)
        assert new.event == "evt_3"
