"""A look at what drifted: the rows that a push wrote, and what Stripe has of them by now. Nothing is written."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tidegate import errors
from tidegate.engine import mirrors, preparing, pushes, stopping
from tidegate.push import drift, lease, recent, targets, workbook
from tidegate.store import database, links, pushed
from tidegate.stripe import client

Rows = Callable[[], Iterator[drift.Drift]]
Seen = Callable[[drift.Counts, Rows], object]


@dataclass(frozen=True, slots=True)
class Result:
    """What drifted, and as of which moment of Stripe's clock, in unix seconds."""

    push: str
    run: str
    account: str
    livemode: bool
    counts: drift.Counts
    at: float

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        head = {"push": self.push, "run_id": self.run, "account": self.account, "at": self.at}
        return {**head, "status": "drifted" if self.counts.drifted else "ok", **asdict(self.counts)}


async def run(
    job: preparing.Job,
    store: database.Database,
    folder: Path,
    run_id: str,
    *,
    shown: pushes.Shown = lambda _: None,
    seen: Seen = lambda _, __: None,
    listener: client.Listener | None = None,
) -> Result:
    """Compare; `seen` is given the counts and what drifted. Raises what `pushes.run` does."""
    with lease.held(store, job.name) as held:
        if held is None:
            raise errors.StoreConflict(pushes.busy(store, job.name))
        with workbook.opened(folder, job.name, run_id) as book:
            async with pushes.acting(job, listener) as (stripe, account, livemode):
                pushes.same_place(job, store, account, livemode)
                shown("reading what Stripe has")
                copy = mirrors.kept(
                    folder, job.push.connection, job.source, job.of, listener, account=account, said=shown
                )
                async with copy as mirror:
                    place = (account, livemode, job.of.name)
                    now = recent.Fresh(mirror, store, place, recent.asker(stripe, job.of))
                    shown("comparing it with what was acknowledged")
                    counts = await stopping.apart(book, functools.partial(find, job, store, book, now))
                result = Result(job.name, run_id, account, livemode, counts, mirror.caught_up_since)
            seen(counts, functools.partial(drift.entries, book))
            return result


def find(
    job: preparing.Job, store: database.Database, book: workbook.Workbook, mirror: targets.Mirror
) -> drift.Counts:
    """Make `drifted` in a workbook of all that a push has acknowledged; blocks."""
    return drift.find(
        book, job.push, job.of, mirror, pushed.each(store, job.name), links.each(store, job.name)
    )
