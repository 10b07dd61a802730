"""Calls with a key: done by one at a time, answered alike for a day, and done again with the same ids."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable

import pytest

from tidegate import errors
from tidegate.store import calls, database, keyed, runs, ticks

Opened = Callable[[], database.Database]
KEY = keyed.Key("token:dbt", "k1")
MADE = keyed.Answer(201, {"location": "/x"}, '{"id":"x"}')


def begun(store: database.Database, key: keyed.Key = KEY, asked: str = "a") -> keyed.Claim:
    found = keyed.claim(store, key, asked)
    assert isinstance(found, keyed.Claim)
    return found


def silent(store: database.Database) -> None:
    """Whoever does a call was killed half a minute ago."""
    store.execute("UPDATE keyed SET seen_at = seen_at - :ago", {"ago": keyed.SILENT + 1})


def test_a_call_is_done_by_one_and_answered_alike_to_all(store: database.Database) -> None:
    mine = begun(store)
    assert keyed.claim(store, KEY, "a") is None, "somebody does it just now"
    keyed.answer(store, mine, MADE)
    assert keyed.claim(store, KEY, "a") == MADE


def test_another_call_with_the_key_is_refused_and_another_askers_key_is_another(
    store: database.Database,
) -> None:
    keyed.answer(store, begun(store), MADE)
    with pytest.raises(keyed.KeyUsed, match="used for another call within the last 24 hours"):
        keyed.claim(store, KEY, "b")
    begun(store, keyed.Key("token:airflow", "k1"), "b")


def test_what_was_refused_may_be_made_again_and_where_nothing_came_of_it_another_call_too(
    store: database.Database,
) -> None:
    first = begun(store)
    keyed.release(store, first)
    again = begun(store)
    assert again.seed == first.seed, "something may have been made all the same"
    keyed.release(store, again)
    assert begun(store, asked="b").seed != first.seed


def test_a_day_later_a_key_names_another_call(store: database.Database) -> None:
    keyed.answer(store, begun(store), MADE)
    store.execute("UPDATE keyed SET at = at - :kept - 1", {"kept": keyed.KEPT})
    begun(store, asked="b")
    for n in range(3):
        begun(store, keyed.Key("token:dbt", f"old{n}"))
    store.execute("UPDATE keyed SET at = at - :kept - 1 WHERE key LIKE 'old%'", {"kept": keyed.KEPT})
    begun(store, keyed.Key("token:dbt", "new"))
    assert [row["key"] for row in store.execute("SELECT key FROM keyed ORDER BY key")] == ["k1", "new"]


def test_who_fell_silent_is_followed_by_the_next_and_can_answer_nothing_any_more(
    store: database.Database,
) -> None:
    first = begun(store)
    silent(store)
    keyed.beat(store, first)
    assert keyed.claim(store, KEY, "a") is None, "it lives"
    silent(store)
    second = begun(store)
    assert (second.seed, second.holder) != (first.seed, first.holder)
    assert second.seed == first.seed
    keyed.answer(store, first, keyed.Answer(500, {}, "late"))
    keyed.answer(store, second, MADE)
    assert keyed.claim(store, KEY, "a") == MADE


def test_the_ids_of_a_call_that_is_done_again_are_the_same(store: database.Database) -> None:
    first = begun(store)
    with keyed.under_way(first):
        made = [runs.new_id(), runs.new_id(), keyed.new_id("plan")]
    assert len(set(made)) == 3
    silent(store)
    with keyed.under_way(begun(store)):
        assert [runs.new_id(), runs.new_id(), keyed.new_id("plan")] == made
    assert runs.new_id() not in made
    with keyed.under_way(begun(store, keyed.Key("token:dbt", "k2"))):
        assert runs.new_id() not in made


def test_a_step_is_done_once_also_by_who_does_the_call_again(store: database.Database) -> None:
    first = begun(store)
    with keyed.under_way(first):
        assert store.transact(lambda session: keyed.told(session, "one")) is None
        store.transact(lambda session: keyed.tell(session, "one", {"n": 1}))
    silent(store)
    second = begun(store)
    with keyed.under_way(second):
        assert store.transact(lambda session: keyed.told(session, "one")) == {"n": 1}
        assert store.transact(lambda session: keyed.told(session, "two")) is None
    with keyed.under_way(first), pytest.raises(errors.StoreConflict, match="made by another request"):
        store.transact(lambda session: keyed.tell(session, "two", 2))
    keyed.release(store, second)
    with pytest.raises(keyed.KeyUsed):
        keyed.claim(store, KEY, "b")


def test_a_run_that_was_asked_for_is_not_asked_for_again_by_a_call_that_was_killed(
    store: database.Database,
) -> None:
    """It joined a queued run; done again while that runs, it would have the flow run once more."""
    ticks.sync(store, {"pull:a": "manual"}, lambda *_: None)
    queued = calls.begin(store, "pull:a", "api").run
    with keyed.under_way(begun(store)):
        assert calls.begin(store, "pull:a", "api").run.id == queued.id
    assert runs.begin(store, queued.id, "w") is not None
    silent(store)
    with keyed.under_way(begun(store)):
        again = calls.begin(store, "pull:a", "api")
    assert (again.run.id, again.waits) == (queued.id, False)
    assert ticks.waiting(store) == []


def test_many_at_once_are_one(opened: Opened) -> None:
    stores = [opened() for _ in range(6)]
    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda store: keyed.claim(store, KEY, "a"), stores))
    assert sum(isinstance(each, keyed.Claim) for each in found) == 1
    assert found.count(None) == 5


def test_nothing_that_names_who_is_forgotten_is_answered_any_more(store: database.Database) -> None:
    for key, body in (("k1", '{"target":"cus_A1"}'), ("k2", '{"target":"cusXA1"}')):
        keyed.answer(store, begun(store, keyed.Key("token:dbt", key)), keyed.Answer(200, {}, body))
    keyed.forget(store, ["cus_A1"])
    rows = store.execute("SELECT key, answer FROM keyed ORDER BY key")
    assert [row["answer"] for row in rows] == [None, '{"target":"cusXA1"}']


def test_keys_of_an_earlier_tidegate_are_used_up(store: database.Database) -> None:
    """Their calls cannot be compared; none of them is made twice."""
    store.execute(
        "INSERT INTO keyed (asker, key, asked, seed, state, at, seen_at) "
        "VALUES ('token:dbt', 'k1', 'another digest', '', 'done', {now}, {now})"
    )
    with pytest.raises(keyed.KeyUsed):
        keyed.claim(store, KEY, "a")
