"""The log of a process: lines for people or machines, and never what an error quotes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from tidegate.engine import journal


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, ours, pools = logging.getLogger(), logging.getLogger("tidegate"), logging.getLogger("psycopg.pool")
    handlers, levels = root.handlers[:], (root.level, ours.level, pools.level)
    yield
    root.handlers[:] = handlers
    for logger, level in zip((root, ours, pools), levels, strict=True):
        logger.setLevel(level)


def failed() -> None:
    try:
        raise ValueError("ada@example.com does not fit sk_live_geheim")
    except ValueError:
        logging.getLogger("tidegate.engine").exception("A run failed.", extra={"run": "run_1"})


def test_machines_get_one_object_per_line_with_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    journal.begin("json")
    logging.getLogger("tidegate.engine").info("began", extra={"run": "run_1", "flow": "pull:all"})
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["run"], line["flow"], line["level"]) == ("began", "run_1", "pull:all", "info")
    assert line["at"].endswith("Z")


@pytest.mark.parametrize("form", ["json", "text"])
def test_of_an_error_its_kind_and_place_are_told_and_not_its_text(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    journal.begin("json" if form == "json" else "text")
    failed()
    said = capsys.readouterr().err
    assert "A run failed." in said
    assert "ValueError at test_journal.py:" in said
    assert "ada@example.com" not in said
    assert "geheim" not in said
