"""What a pull has done so far, stream by stream of each account: for who watches it, and for when it is stopped.

The outcomes of a pull under way only grow; once it is over they are its result's. Over the pulls that follow one
another under one run they are summed up, and what of that stands nowhere yet is left beside the data.
"""

from __future__ import annotations

import datetime as dt
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence

from tidegate import errors
from tidegate.pull import report
from tidegate.warehouse import base

log = logging.getLogger(__name__)

SHOWN = 5.0
"""Seconds between two looks at a pull under way."""
MANY = 1_000
"""Outcomes from which on those are let go that have nothing to tell."""
STOPPED = "not read to its end: the run was stopped"

Watcher = Callable[[Sequence[report.Outcome]], None]
"""Hears what a pull under way has done so far, all of it each time; nothing is under way once its result is known.

An outcome that has a `run` is counted: it grows no more, and `total` is the sum that it is part of.
"""


class Doing:
    """The outcomes of a pull under way, and the sums of those before it; used on one event loop.

    Without a `run_id` each pull is a run of its own.
    """

    def __init__(self, run_id: str = "") -> None:
        self._given = run_id
        self._news = report.News()
        self._outcomes: list[report.Outcome] = []
        self._stopped: list[report.Outcome] = []
        self._kept = 0
        self.run_id, self.started = run_id, dt.datetime.now(dt.UTC)
        self._since: dt.datetime | None = None
        self.first = True
        """Is it the first pull?"""

    def begin(self) -> None:
        """A pull begins, or a hearing between two of them."""
        self.run_id, self.started = self._given or _run_id(), dt.datetime.now(dt.UTC)
        self._since = self._since if self._since is not None and self._given else self.started
        self._outcomes, self._kept = [], 0

    def add(self, outcomes: Iterable[report.Outcome]) -> None:
        """The streams of one more account are begun."""
        self._outcomes += outcomes
        if len(self._outcomes) > 2 * self._kept + MANY:
            self._outcomes = [each for each in self._outcomes if each.told or not each.done]
            self._kept = len(self._outcomes)

    def count(self, outcomes: Iterable[report.Outcome]) -> list[report.Outcome]:
        """Add outcomes that grow no more to the sums; returns those that are news."""
        return self._news.of(outcomes)

    def end(self) -> None:
        """What was begun is over, and counted."""
        self._outcomes = []

    def so_far(self) -> list[report.Outcome]:
        """Of every stream of every account that was begun, what it came to."""
        return [each for each in self._outcomes if each.told]

    def stop(self) -> list[report.Outcome]:
        """Count what is under way, which is over, and return it.

        What the first pull has not read to its end is partial; later ones leave no table other than it was.
        """
        for each in self._outcomes:
            if self.first and not each.done:
                each.fail("partial", STOPPED)
        outcomes = self.so_far()
        news = self.count(outcomes)
        self._stopped = outcomes if self.first else news
        self.end()
        return outcomes

    def leave(self, warehouse: base.Warehouse) -> None:
        """Leave beside the data what is not there yet, of the run or of a pull that was stopped; never raises."""
        left = [each for each in (self._news.sums() if self._given else self._stopped) if not each.noted]
        try:
            if left:
                report.note(warehouse, self.run_id, self._since or self.started, left)
        except errors.TidegateError as error:
            log.info("%s What %s did is not noted beside the data.", error, self.run_id)


def nobody(outcomes: Sequence[report.Outcome]) -> None:
    """A `Watcher` that is not there."""
    del outcomes


def _run_id() -> str:
    return f"run_{dt.datetime.now(dt.UTC):%Y%m%d%H%M%S}_{secrets.token_hex(4)}"
