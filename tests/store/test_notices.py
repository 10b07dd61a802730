"""Matters are opened once, resolved once, and what each channel was told of them is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import pytest

from tidegate.store import database, notices

FLOW = "pull:everything"


def matter(name: str = "failed", text: str = "it failed", *, flow: str = FLOW) -> notices.Matter:
    return notices.Matter(f"{flow}/{name}", name.partition("/")[0], flow, text)


def names(found: Iterable[notices.Notice]) -> list[str]:
    return [each.matter.removeprefix(f"{FLOW}/") for each in found]


def settle(
    store: database.Database, *matters: notices.Matter, over: tuple[str, ...] = ("failed", "held")
) -> tuple[list[str], list[str]]:
    opened, resolved = notices.settle(store, FLOW, matters, over)
    return names(opened), names(resolved)


def ago(store: database.Database, seconds: float) -> None:
    """Let so much time pass since whatever was resolved."""
    store.execute("UPDATE alerts SET resolved_at = resolved_at - :seconds", {"seconds": seconds})


def test_a_matter_is_opened_once_and_resolved_once(store: database.Database) -> None:
    assert settle(store, matter()) == (["failed"], [])
    assert settle(store, matter()) == ([], [])
    assert names(notices.listed(store)) == ["failed"]
    assert settle(store) == ([], ["failed"])
    assert settle(store) == ([], [])
    assert notices.listed(store) == []
    [ended] = notices.listed(store, ended=True)
    assert ended.resolved_at is not None
    assert ended.opened_at <= ended.resolved_at


def test_only_the_kinds_that_were_looked_at_are_resolved(store: database.Database) -> None:
    settle(store, matter("failed"), matter("held/acct_1/coupons"), matter("gap/acct_1"))
    assert settle(store, over=("held",)) == ([], ["held/acct_1/coupons"])
    assert settle(store, over=()) == ([], [])
    assert sorted(names(notices.listed(store))) == ["failed", "gap/acct_1"]


def test_what_is_spared_stays_as_it_is(store: database.Database) -> None:
    settle(store, matter("failed"))
    assert notices.settle(store, FLOW, [], ("failed",), spared=[f"{FLOW}/failed"]) == ([], [])
    assert names(notices.listed(store)) == ["failed"]


def test_flows_do_not_resolve_each_others_matters(store: database.Database) -> None:
    notices.settle(store, "pull:other", [matter(flow="pull:other")], ("failed",))
    settle(store, matter())
    assert settle(store) == ([], ["failed"])
    assert [each.flow for each in notices.listed(store)] == ["pull:other"]


def test_what_comes_back_soon_is_the_same_episode(store: database.Database) -> None:
    settle(store, matter())
    [before] = notices.listed(store)
    settle(store)
    assert settle(store, matter(text="it failed again")) == ([], [])
    [after] = notices.listed(store)
    assert (after.opened_at, after.text) == (before.opened_at, "it failed again")


def test_what_comes_back_late_is_a_new_episode(store: database.Database) -> None:
    settle(store, matter())
    [before] = notices.listed(store)
    settle(store)
    ago(store, notices.CALM + 1)
    assert settle(store, matter()) == (["failed"], [])
    [after] = notices.listed(store)
    assert after.opened_at > before.opened_at


def test_several_that_open_at_once_open_each_matter_once(
    opened: Callable[[], database.Database],
) -> None:
    many = [matter(f"held/acct_1/s{n}") for n in range(20)]
    found: list[list[str]] = []
    resolved: list[list[str]] = []
    start = threading.Barrier(4)

    def work(store: database.Database, turned: int) -> None:
        start.wait()
        found.append(settle(store, *(many[turned:] + many[:turned]))[0])
        start.wait()
        resolved.append(settle(store)[1])

    threads = [threading.Thread(target=work, args=[opened(), 5 * n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = sorted(each.name.removeprefix(f"{FLOW}/") for each in many)
    assert sorted(name for names in found for name in names) == expected
    assert sorted(name for names in resolved for name in names) == expected


def test_a_flood_is_bounded(store: database.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "MOST", 10)
    many = [matter(f"held/acct_1/s{n:03}") for n in range(50)]
    assert len(settle(store, matter("failed"), *many)[0]) == 11
    assert settle(store, matter("failed"), *many) == ([], [])


def test_what_each_channel_was_told_is_kept_beside_the_others(
    opened: Callable[[], database.Database],
) -> None:
    store = opened()
    settle(store, matter("failed"), matter("held/acct_1/coupons"))
    keys = [each.matter for each in notices.listed(store)]
    start = threading.Barrier(4)

    def work(mine: database.Database, channel: str) -> None:
        start.wait()
        for n in range(10):
            notices.note(mine, channel, {key: notices.Telling(opened=float(n)) for key in keys})

    threads = [threading.Thread(target=work, args=[opened(), f"channel{n}"]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for notice in notices.listed(store):
        assert {name: each.opened for name, each in notice.told.items()} == {
            f"channel{n}": 9.0 for n in range(4)
        }


def test_times_of_episodes_come_back_to_the_last_bit(store: database.Database) -> None:
    settle(store, matter())
    [notice] = notices.listed(store)
    notices.note(store, "slack", {notice.matter: notices.Telling(opened=notice.opened_at)})
    [after] = notices.listed(store)
    assert after.told["slack"].opened == after.opened_at == notice.opened_at


def test_what_ended_is_pending_for_a_while(store: database.Database) -> None:
    settle(store, matter())
    settle(store)
    assert names(notices.pending(store)[0]) == ["failed"]
    ago(store, notices.UNTOLD + 1)
    assert notices.pending(store)[0] == []


def test_a_flow_that_left_the_configuration_leaves_nothing_open(store: database.Database) -> None:
    settle(store, matter())
    notices.settle(store, "", [notices.Matter("budget/acct_1", "budget", "", "it waits")])
    assert notices.leave(store, [FLOW]) == []
    assert names(notices.leave(store, ["pull:other"])) == ["failed"]
    assert names(notices.listed(store)) == ["budget/acct_1"]


def test_nothing_is_made_of_what_was_noted_by_another_version(store: database.Database) -> None:
    settle(store, matter())
    store.execute("UPDATE alerts SET told = '[1, 2]'")
    [notice] = notices.listed(store)
    assert notice.told == {}
    notices.note(store, "slack", {notice.matter: notices.Telling(tries=1)})
    assert notices.listed(store)[0].told["slack"].tries == 1
