"""Stripe's clock as we know it: never ahead of the true one, and close behind."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.stripe import clock

latencies = st.floats(0.0, 0.4)


class World:
    """Our monotonic time, and a server whose clock is `offset` ahead of it and drifts."""

    def __init__(self, offset: float, drift: float = 0.0) -> None:
        self.mono = 5000.0
        self.offset = offset
        self.drift = drift
        self.clock = clock.Clock(monotonic=lambda: self.mono, wall=lambda: self.mono + offset)

    def server(self) -> float:
        return self.mono * (1 + self.drift) + self.offset

    def request(self, up: float, down: float) -> tuple[int, float]:
        """Send, be answered, and return the version with the true time of sending."""
        sent, true = self.mono, self.server()
        self.mono += up
        date = math.floor(self.server())
        self.mono += down
        self.clock.observe(date, sent, self.mono)
        return self.clock.version(sent), true


@given(
    offset=st.floats(-1e6, 2e9),
    drift=st.floats(-4e-4, 4e-4),
    requests=st.lists(st.tuples(latencies, latencies, st.floats(0.0, 200.0)), min_size=1, max_size=60),
)
def test_a_version_is_never_later_than_the_true_second_of_sending(
    offset: float, drift: float, requests: list[tuple[float, float, float]]
) -> None:
    world = World(offset, drift)
    for up, down, pause in requests:
        version, true = world.request(up, down)
        assert version <= math.floor(true)
        world.mono += pause
        assert world.clock.now() <= math.floor(world.server())


@given(
    offset=st.floats(0.0, 2e9),
    requests=st.lists(st.tuples(latencies, latencies, st.floats(0.0, 5.0)), min_size=1, max_size=60),
)
def test_a_version_is_within_two_seconds_of_the_true_one(
    offset: float, requests: list[tuple[float, float, float]]
) -> None:
    world = World(offset)
    for up, down, pause in requests:
        version, true = world.request(up, down)
        assert version > true - 2 - up - down
        world.mono += pause


def test_many_answers_pin_the_clock_down_to_their_latency() -> None:
    world = World(1_700_000_000.25)
    for _ in range(200):
        world.request(0.05, 0.05)
        world.mono += 0.037
    sent = world.mono
    assert world.clock.version(sent) >= math.floor(world.server() - 0.2)


def test_the_first_request_is_dated_by_its_own_answer() -> None:
    world = World(1_700_000_000.0)
    version, true = world.request(0.3, 0.3)
    assert true - 2 < version <= true


def test_a_wrong_local_clock_does_not_matter() -> None:
    world = World(1_700_000_000.0)
    world.clock._wall = lambda: 0.0
    version, true = world.request(0.1, 0.1)
    assert true - 2 < version <= true


def test_without_a_date_our_own_clock_less_two_seconds_is_used() -> None:
    mono, wall = 100.0, 1_700_000_010.5
    ours = clock.Clock(monotonic=lambda: mono, wall=lambda: wall)
    assert ours.now() == 1_700_000_008
    assert ours.version(mono - 3.0) == 1_700_000_005


def test_one_server_that_runs_an_hour_ahead_does_not_date_the_others_answers_ahead() -> None:
    world = World(1_700_000_000.0)
    world.request(0.1, 0.1)
    sent = world.mono
    world.mono += 0.2
    world.clock.observe(math.floor(world.server()) + 3600, sent, world.mono)
    version, true = world.request(0.1, 0.1)
    assert true - 3 < version <= true


def test_a_clock_that_stood_still_recovers_within_the_window() -> None:
    world = World(1_700_000_000.0)
    world.request(0.1, 0.1)
    world.offset += 3600  # asleep for an hour
    version, true = world.request(0.1, 0.1)
    assert version <= true
    world.mono += clock.WINDOW + 1
    version, true = world.request(0.1, 0.1)
    assert true - 2 < version <= true


def test_an_idle_clock_keeps_going() -> None:
    world = World(1_700_000_000.0)
    world.request(0.1, 0.1)
    world.mono += 1000
    assert world.server() - 4 < world.clock.now() <= world.server()


def test_memory_stays_small() -> None:
    world = World(1_700_000_000.0)
    for _ in range(20_000):
        world.request(0.001, 0.001)
        world.mono += 0.01
    assert len(world.clock._lows) + len(world.clock._highs) < 5000


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Thu, 20 Nov 2025 23:13:29 GMT", 1763680409),
        ("Thursday", None),
        ("", None),
        ("Thu, 99 Nov 2025 23:13:29 GMT", None),
    ],
)
def test_http_dates(date: str, seconds: int | None) -> None:
    assert clock.seconds(date) == seconds
