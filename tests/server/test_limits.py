"""How often one asker may ask: buckets that leak."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.server import limits


def test_so_many_at_once_and_so_many_each_second() -> None:
    now = [100.0]
    limit = limits.Limits(limits.Rate(2, 0.5), limits.Rate(1, 0.1), clock=lambda: now[0])
    assert [limit.take("ann", writes=False) for _ in range(3)] == [0, 0, 2.0]
    assert limit.take("ben", writes=False) == 0
    assert limit.take("ann", writes=True) == 0
    assert limit.take("ann", writes=True) == 10.0
    now[0] += 2.0
    assert [limit.take("ann", writes=False) for _ in range(2)] == [0, 2.0]


def test_only_so_many_askers_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ASKERS", 2)
    limit = limits.Limits(limits.Rate(1, 1), clock=lambda: 0.0)
    assert limit.take("ann", writes=False) == 0
    assert limit.take("ann", writes=False) > 0
    for name in ("ben", "cid"):
        limit.take(name, writes=False)
    assert limit.take("ann", writes=False) == 0


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 5), st.floats(0.1, 10))
def test_nobody_gets_more_than_the_burst_and_the_rate(gaps: list[float], burst: int, rate: float) -> None:
    now = [0.0]
    limit = limits.Limits(limits.Rate(burst, rate), clock=lambda: now[0])
    let_in = 0
    for gap in gaps:
        now[0] += gap
        wait = limit.take("ann", writes=False)
        if wait == 0:
            let_in += 1
        else:
            now[0] += wait + 1e-6
            assert limit.take("ann", writes=False) == 0
            let_in += 1
        assert let_in <= burst + now[0] * rate + 1e-3
