"""Expressions that would run for hours or take all memory: what becomes of their rows, and of their process."""

from __future__ import annotations

import gc
import resource
import threading
from collections.abc import Callable, Iterator

import offspring
import psutil
import pyarrow as pa
import pytest

from tidegate import errors
from tidegate.shape import computed
from tidegate.shape.computed import FAILS, Engine, Limits

SCHEMA = pa.schema([pa.field("n", pa.int64()), pa.field("note", pa.string())])
HOURS = "CASE WHEN n = 7 THEN levenshtein(repeat(note, 1000), note) ELSE n END"
"""Over the text below it computes for days, and where DuckDB does not look whether it is to end."""
LONG = "ab" * 50_000
MUCH = f"length(list_reduce([{', '.join(['note'] * 40)}], lambda a, b: a || a))"
"""Each step doubles a text: of two characters it makes a terabyte."""


Started = Callable[[], list[psutil.Process]]


@pytest.fixture(autouse=True)
def started() -> Iterator[Started]:
    """The processes that a test has started; after it there is none."""
    gc.collect()  # of what other tests left
    before = offspring.now()
    yield lambda: offspring.since(before)
    gc.collect()
    assert offspring.since(before) == []


def rows(count: int, note: str | None = "ab") -> pa.Table:
    """Rows with a text in each."""
    return pa.table([pa.array(range(count)), pa.array([note] * count)], schema=SCHEMA)


def answers(engine: Engine, table: pa.Table, *asked: str) -> list[computed.Answer]:
    """What some expressions give, each for a property of its number."""
    made = [engine.expression(sql, SCHEMA, f"p{n}") for n, sql in enumerate(asked)]
    return engine.answers(made, table, SCHEMA)


def test_one_row_that_would_take_for_ever_fails_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computed, "_SHARE", 5)
    table = rows(64).set_column(1, SCHEMA.field(1), [["x"] * 7 + [LONG] + ["x"] * 56])
    with Engine("pipeline eu", Limits(seconds=2.5)) as engine:
        slow, fast = answers(engine, table, HOURS, "n::INTEGER // (n - 9)")
        assert slow.values.to_pylist() == [n if n != 7 else None for n in range(64)]
        assert slow.failed == {7: "its SQL took longer than 0.5 s on this row"}
        assert fast.failed == {9: FAILS}
        assert answers(engine, rows(3), "n + 1")[0].values.to_pylist() == [1, 2, 3]


def test_an_expression_that_is_too_slow_for_all_rows_ends_the_run() -> None:
    always = HOURS.replace("n = 7", "n >= 0")
    with Engine("pipeline eu", Limits(seconds=1)) as engine, pytest.raises(errors.TidegateError) as error:
        answers(engine, rows(100, LONG), always)
    assert str(error.value).startswith("The pipeline eu cannot make p0: its SQL took longer than 0.1 s over ")
    assert str(error.value).endswith(", and over too many others; make it simpler, or write a function.")


def test_an_expression_that_takes_all_memory_for_all_rows_ends_the_run() -> None:
    with (
        Engine("pipeline eu", Limits(memory=128, restarts=2)) as engine,
        pytest.raises(errors.TidegateError) as error,
    ):
        answers(engine, rows(4, LONG), "n", MUCH)
    assert str(error.value) == (
        "The pipeline eu cannot make p1: its SQL took more than 128 MB of memory over a row, and over too many "
        "others; make it simpler, or write a function."
    )


def test_what_takes_all_memory_is_refused_and_takes_none_here() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Engine("pipeline eu", Limits(memory=256)) as engine:
        table = rows(40).set_column(1, SCHEMA.field(1), [["ab"] * 11 + [None] * 29])
        [answer] = answers(engine, table, f"CASE WHEN n = 10 THEN {MUCH} ELSE n END")
        assert list(answer.failed) == [10]
        assert answer.values.to_pylist() == [n if n != 10 else None for n in range(40)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_what_is_computed_before_there_is_a_row_takes_no_memory_here() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Engine("pipeline eu", Limits(memory=256)) as engine:
        [answer] = answers(engine, rows(1), MUCH.replace("note", "'ab'"))
    assert list(answer.failed) == [0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_batch_that_is_too_large_at_once_is_taken_in_parts() -> None:
    with Engine("pipeline eu", Limits(memory=200)) as engine:
        [answer] = answers(
            engine, rows(600, "ab" * 500), "list_transform(range(400), lambda x: note || n || x)[3]"
        )
        assert answer.values.to_pylist() == [f"{'ab' * 500}{n}2" for n in range(600)]
        assert answer.failed == {}


def test_a_process_that_was_killed_is_started_anew(started: Started) -> None:
    with Engine("pipeline eu") as engine:
        [before] = answers(engine, rows(3), "n + 1")
        [child] = started()
        child.kill()
        child.wait()
        [after] = answers(engine, rows(3), "n + 1")
    assert before.values.to_pylist() == after.values.to_pylist() == [1, 2, 3]


def test_many_threads_may_ask() -> None:
    found: dict[int, list[int]] = {}
    with Engine("pipeline eu") as engine:
        asked = [engine.expression("n * 2", SCHEMA, "it")]

        def ask(count: int) -> None:
            [answer] = engine.answers(asked, rows(count), SCHEMA)
            found[count] = answer.values.to_pylist()

        threads = [threading.Thread(target=ask, args=(count,)) for count in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {count: [2 * n for n in range(count)] for count in range(1, 9)}


def test_an_answer_of_many_megabytes_comes_whole() -> None:
    with Engine("pipeline eu") as engine:
        [answer] = answers(engine, rows(40, "x"), "repeat(note, 1000).repeat(1)")
        assert answer.values.to_pylist() == ["x" * 1000] * 40
        [answer] = answers(engine, rows(400, LONG), "note || n")
        assert answer.values.to_pylist() == [f"{LONG}{n}" for n in range(400)]


def test_the_process_ends_when_nobody_has_the_engine(started: Started) -> None:
    engine = Engine("pipeline eu")
    engine.expression("n", SCHEMA, "it")
    assert len(started()) == 1
    del engine


def test_the_process_can_open_nothing(started: Started) -> None:
    with Engine("pipeline eu") as engine:
        engine.expression("n", SCHEMA, "it")
        [child] = started()
        limits = child.rlimit(psutil.RLIMIT_NOFILE), child.rlimit(psutil.RLIMIT_NPROC)
        assert limits == ((0, 0), (0, 0))
        assert child.environ() == {"TZ": "UTC"}
