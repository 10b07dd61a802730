"""What ends pulls that follow one another, and what is waited out."""

from __future__ import annotations

import datetime as dt

import pytest

from tidegate import errors
from tidegate.pull import continuous, report
from tidegate.stripe import client


@pytest.mark.parametrize(
    ("end", "final"),
    [
        (None, False),
        (errors.Unreachable("no answer"), False),
        (errors.RateLimited("still limited"), False),
        (errors.WarehouseBusy("somebody reads it"), False),
        (errors.WarehouseUnreachable("it is being restarted"), False),
        (errors.Unauthorized("the key was revoked"), True),
        (errors.Fenced("another run took over"), True),
        (errors.WarehouseFull("the disk is full"), True),
        (errors.ConfigError("the table has another's name"), True),
    ],
)
def test_what_may_pass_is_waited_out(end: errors.TidegateError | None, final: bool) -> None:
    now = dt.datetime.now(dt.UTC)
    result = report.Result("run_1", now, now, "ok" if end is None else "failed", (), client.Tally(), end)
    assert continuous.is_final(result) is final
