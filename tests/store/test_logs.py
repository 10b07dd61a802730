"""The log of a run: of several writers, each line once, in their order."""

from __future__ import annotations

import pytest

from tidegate.store import database, logs, runs


@pytest.fixture
def run(store: database.Database) -> runs.Run:
    """A run that is under way."""
    return runs.queue(store, "run_1", "pull:a", "manual")


def lines(*texts: str, at: float = 0.0) -> list[logs.Line]:
    return [logs.Line(at + n, "info", text) for n, text in enumerate(texts)]


def test_of_several_writers_they_come_in_their_order_page_by_page(
    store: database.Database, run: runs.Run
) -> None:
    logs.write(store, run.id, "a", 0, lines("a0", "a1", "a2", at=0.0))
    logs.write(store, run.id, "b", 0, lines("b0", "b1", "b2", at=0.5))
    seen: dict[str, int] = {}
    pages = []
    while True:
        page, seen = logs.read(store, run.id, seen=seen, limit=2)
        if not page:
            break
        pages.append([line.text for line in page])
    assert pages == [["a0", "b0"], ["a1", "b1"], ["a2", "b2"]]
    logs.write(store, run.id, "a", 3, lines("a3"))
    logs.write(store, run.id, "c", 0, lines("c0"))
    page, seen = logs.read(store, run.id, seen=seen)
    assert sorted(line.text for line in page) == ["a3", "c0"]
    assert seen == {"a": 3, "b": 2, "c": 0}


def test_the_same_ones_again_change_nothing(store: database.Database, run: runs.Run) -> None:
    for _ in range(2):
        logs.write(store, run.id, "a", 0, lines("one", "two"))
    assert [line.text for line in logs.read(store, run.id)[0]] == ["one", "two"]


def test_a_writer_whose_clock_goes_back_loses_none(store: database.Database, run: runs.Run) -> None:
    logs.write(store, run.id, "a", 0, lines("0", at=9.0) + lines("1", "2", at=1.0))
    first, seen = logs.read(store, run.id, limit=1)
    rest, _ = logs.read(store, run.id, seen=seen)
    assert [line.text for line in first + rest] == ["0", "1", "2"]


def test_of_too_many_the_first_and_the_last_are_kept(
    store: database.Database, run: runs.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LINES", 10)
    monkeypatch.setattr(logs, "STEP", 3)
    for first in range(0, 40, 8):
        logs.write(store, run.id, "a", first, lines(*map(str, range(first, first + 8))))
    assert [line.text for line in logs.read(store, run.id)[0]] == [
        *map(str, range(5)),
        *map(str, range(35, 40)),
    ]


def test_each_line_says_what_is_seen_after_it(store: database.Database, run: runs.Run) -> None:
    logs.write(store, run.id, "a", 0, lines("a0", "a1", at=0.0))
    logs.write(store, run.id, "b", 0, lines("b0", at=0.5))
    found = logs.numbered(store, run.id)
    assert [(line.text, seen) for line, seen in found] == [
        ("a0", {"a": 0}),
        ("b0", {"a": 0, "b": 0}),
        ("a1", {"a": 1, "b": 0}),
    ]
    for count, (_, seen) in enumerate(found, 1):
        assert logs.numbered(store, run.id, seen=seen) == found[count:]


def test_the_last_ones_and_those_before(store: database.Database, run: runs.Run) -> None:
    logs.write(store, run.id, "a", 0, lines("a0", "a1", "a2", at=0.0))
    logs.write(store, run.id, "b", 0, lines("b0", "b1", "b2", at=0.5))
    pages, before = [], None
    while True:
        page, before = logs.tail(store, run.id, before=before, limit=4)
        if not page:
            break
        pages.append([line.text for line in page])
    assert pages == [["a1", "b1", "a2", "b2"], ["a0", "b0"]]
    assert logs.tail(store, "run_2")[0] == []


def test_some_levels_alone(store: database.Database, run: runs.Run) -> None:
    levels = ["info", "warning", "info", "error", "info"]
    logs.write(store, run.id, "a", 0, [logs.Line(float(n), level, str(n)) for n, level in enumerate(levels)])
    for look in (logs.read, logs.tail):
        assert [line.text for line in look(store, run.id, levels=("warning", "error"))[0]] == ["1", "3"]
        assert [line.text for line in look(store, run.id, levels=("error",), limit=1)[0]] == ["3"]
        with pytest.raises(AssertionError):
            look(store, run.id, levels=("loud",))
