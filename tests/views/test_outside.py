"""Looks outside have a bound in time, and few go on at once; whoever waits is told in a sentence."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tidegate import errors
from tidegate.views import outside


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "_turns", threading.BoundedSemaphore(2))
    monkeypatch.setattr(outside, "QUEUED", 0.01)


def test_what_is_looked_at_is_given_back() -> None:
    assert outside.warehouse("prod", lambda: 7) == 7

    async def seven() -> int:
        return 7

    assert outside.stripe("acme", seven) == 7


def test_an_error_is_that_of_the_look() -> None:
    def refused() -> int:
        raise errors.WarehouseError("no such schema")

    with pytest.raises(errors.WarehouseError, match="no such schema"):
        outside.warehouse("prod", refused)


def test_a_warehouse_that_does_not_answer_is_given_up(released: threading.Event) -> None:
    with pytest.raises(errors.WarehouseUnreachable, match=r"The warehouse prod has not answered for 0\.01 s"):
        outside.warehouse("prod", released.wait, patience=0.01)


def test_a_function_that_comes_to_no_end_is_given_up_by_its_own_name(released: threading.Event) -> None:
    with pytest.raises(errors.ConfigError, match=r"The function of eu has not come to an end .* 0\.01 s"):
        outside.function("eu", released.wait, patience=0.01)


def test_stripe_that_does_not_answer_is_given_up_and_its_connections_are_closed() -> None:
    closed = []

    async def slow() -> None:
        try:
            await asyncio.sleep(3_600)
        finally:
            closed.append(True)

    with pytest.raises(errors.Unreachable, match=r"over acme within 0\.01 s"):
        outside.stripe("acme", slow, patience=0.01)
    assert closed == [True]


def test_looks_that_hang_keep_their_places_until_they_end(released: threading.Event) -> None:
    for _ in range(2):
        with pytest.raises(errors.WarehouseUnreachable):
            outside.warehouse("prod", released.wait, patience=0.01)
    with pytest.raises(errors.WarehouseBusy, match="look at prod again in a moment"):
        outside.warehouse("prod", lambda: 7)
    released.set()
    taken = [outside._turns.acquire(timeout=30) for _ in range(2)]
    assert taken == [True, True]
