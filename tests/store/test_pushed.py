"""What is acknowledged of rows comes and goes as Arrow, page by page."""

from __future__ import annotations

from collections.abc import Iterator

import pushing
import pyarrow
import pytest

from tidegate.store import database, fences, pushed

NAMES = ["key", "hash", "fields"]


def batch(*rows: tuple[str, str, str]) -> pyarrow.RecordBatch:
    columns = [pyarrow.array(column, pyarrow.string()) for column in zip(*rows, strict=True)]
    return pyarrow.RecordBatch.from_arrays(columns, names=NAMES)


def rows(store: database.Database, push: str = "accounts", size: int = 1000) -> list[tuple[str, str, str]]:
    return [tuple(row.values()) for each in pushed.each(store, push, size) for row in each.to_pylist()]


def test_what_is_written_comes_back_in_the_order_of_keys(store: database.Database) -> None:
    fence = pushing.fence(store)
    given = [("b", "2", "{}"), ("a", "1", '{"name":"Ada"}'), ("ß 💶", "3", '{"name":null}')]
    assert pushed.replace_many(store, fence, "v1", [batch(*given)]) == 3
    assert sorted(rows(store)) == sorted(given)
    found = pushed.find(store, "accounts", ["a", "nobody"])
    assert list(found) == ["a"]
    assert (found["a"].hash, found["a"].version, found["a"].operation) == ("1", "v1", "")
    assert abs(found["a"].at - store.now()) < 60


def test_only_hashes_where_only_they_are_wanted(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushed.replace_many(store, fence, "v1", [batch(("a", "1", "{}"))])
    [found] = pushed.each(store, "accounts", fields=False)
    assert found.to_pylist() == [{"key": "a", "hash": "1"}]


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200])
def test_pages_have_every_row_once(store: database.Database, count: int) -> None:
    fence = pushing.fence(store)
    given = [(f"{n * 7919 % 10007}", f"{n}", "{}") for n in range(count)]
    pushed.replace_many(store, fence, "v1", [batch(*given)] if given else [])
    pushed.replace_many(store, pushing.fence(store, "people"), "v1", [batch(("x", "y", "{}"))])
    batches = list(pushed.each(store, "accounts", 100))
    assert all(0 < each.num_rows <= 100 for each in batches)
    found = [row["key"] for each in batches for row in each.to_pylist()]
    assert sorted(found) == sorted(key for key, _, _ in given)
    assert pushed.count(store, "accounts") == count
    assert rows(store, "people") == [("x", "y", "{}")]


def test_a_transaction_of_ones_own_may_stand_between_two_pages(store: database.Database) -> None:
    """Whoever reads writes too, at the same connection."""
    fence = pushing.fence(store)
    pushed.replace_many(store, fence, "v1", [batch(*((f"{n:03}", "old", "{}") for n in range(300)))])

    def renewed() -> Iterator[pyarrow.RecordBatch]:
        for each in pushed.each(store, "accounts", 100):
            yield batch(*((row["key"], "new", "{}") for row in each.to_pylist()))

    assert pushed.replace_many(store, fence, "v2", renewed()) == 300
    assert {found for _, found, _ in rows(store)} == {"new"}
    assert pushed.count(store, "accounts") == 300


def test_what_is_acknowledged_anew_keeps_the_operation_that_wrote_it(store: database.Database) -> None:
    fence = pushing.fence(store)
    operation = pushing.write(store, fence, pushing.create("1"), "cus_1")
    pushed.replace_many(store, fence, "v2", [batch(("1", "other", "{}"))])
    found = pushed.find(store, "accounts", ["1"])["1"]
    assert (found.hash, found.version, found.operation) == ("other", "v2", operation)


def test_what_is_forgotten_is_gone(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushed.replace_many(store, fence, "v1", [batch(*((f"{n}", "h", "{}") for n in range(1200)))])
    pushed.forget(store, fence, [f"{n}" for n in range(1199)])
    assert rows(store) == [("1199", "h", "{}")]


def test_who_is_outdated_acknowledges_and_forgets_nothing(store: database.Database) -> None:
    old = pushing.fence(store)
    pushed.replace_many(store, old, "v1", [batch(("a", "1", "{}"))])
    pushing.fence(store, holder="two")
    with pytest.raises(fences.Outdated):
        pushed.replace_many(store, old, "v1", [batch(("a", "2", "{}"))])
    with pytest.raises(fences.Outdated):
        pushed.forget(store, old, ["a"])
    assert rows(store) == [("a", "1", "{}")]


def test_who_is_outdated_midway_has_written_whole_steps(
    store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushed, "STEP", 10)
    fence = pushing.fence(store)

    def batches() -> Iterator[pyarrow.RecordBatch]:
        yield batch(*((f"{n}", "1", "{}") for n in range(25)))
        pushing.fence(store, holder="two")
        yield batch(*((f"{n}", "1", "{}") for n in range(25, 50)))

    with pytest.raises(fences.Outdated):
        pushed.replace_many(store, fence, "v1", batches())
    assert pushed.count(store, "accounts") == 25
