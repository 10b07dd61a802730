"""A continuous flow goes on by itself: when it begins again after it has ended, whyever it did."""

from __future__ import annotations

import pytest

from tidegate.engine import scheduler
from tidegate.store import runs

NOW = 1_000_000.0


def run(cause: runs.Cause, state: runs.State) -> runs.Run:
    """A run that ended so just now."""
    return runs.Run("run_1", "pull:endless", state, cause, NOW, NOW, finished_at=NOW)


@pytest.mark.parametrize(
    ("last", "rests"),
    [
        ([], 0.0),
        ([run("continuous", "ok")], 0.0),
        ([run("continuous", "interrupted")], 0.0),
        ([run("continuous", "cancelled")], 43_200.0),
        ([run("continuous", "failed")], scheduler.RESTED[0]),
        ([run("continuous", "failed")] * 3, scheduler.RESTED[2]),
        ([run("continuous", "failed"), run("manual", "failed")], scheduler.RESTED[0]),
        ([run("manual", "ok"), run("continuous", "cancelled")], 0.0),
        ([run("manual", "cancelled"), run("continuous", "ok")], 0.0),
        ([run("manual", "failed")] * 3, 0.0),
    ],
)
def test_it_rests(last: list[runs.Run], rests: float) -> None:
    assert scheduler._rest(last, NOW, NOW - 1) == rests


def test_what_failed_before_this_scheduler_began_may_be_mended() -> None:
    assert scheduler._rest([run("continuous", "failed")] * 3, NOW, NOW + 1) == 0.0
    assert scheduler._rest([run("continuous", "cancelled")], NOW, NOW + 1) == 43_200.0
