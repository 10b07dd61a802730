"""Trying again: how long, how often, and what is said of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tidegate import errors
from tidegate.warehouse import patience

AWAY = errors.WarehouseUnreachable("Nobody is there.")


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, on a clock that only they move."""
    made: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: sum(made))
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def failing(times: int, error: Exception = AWAY) -> Callable[[], str]:
    """Work that fails so many times first."""
    left = iter([error] * times)

    def work() -> str:
        found = next(left, None)
        if found is not None:
            raise found
        return "done"

    return work


def test_what_works_at_once_waits_for_nothing(slept: list[float]) -> None:
    assert patience.patiently(failing(0), 60, 0.1) == "done"
    assert slept == []


def test_what_fails_for_a_while_is_done_in_the_end_and_said_once(
    slept: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    assert patience.patiently(failing(8), 60, 0.1) == "done"
    assert len(slept) == 8
    assert max(slept) <= patience.LONGEST * 1.25
    assert [record.getMessage().partition(" T")[0] for record in caplog.records] == ["Nobody is there."]


def test_what_fails_for_longer_raises_the_last_error(slept: list[float]) -> None:
    with pytest.raises(errors.WarehouseUnreachable, match="Nobody"):
        patience.patiently(failing(1_000), 60, 0.1)
    assert sum(slept) <= 60


def test_what_no_time_can_mend_is_raised_at_once(slept: list[float]) -> None:
    with pytest.raises(errors.WarehouseFull):
        patience.patiently(failing(1, errors.WarehouseFull("full")), 60, 0.1)
    assert slept == []
