"""Forgetting customers: their personal data out of warehouses, customer models and what pushes keep, for good.

The command does it at once, API and pages in the background. The order matters: what pushes keep is cleaned before
the mirrors, which tell what is theirs. Ended anywhere, the same once more erases what is left.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidegate import catalog, config, errors, views, warehouse
from tidegate.engine import forgets
from tidegate.engine import jobs as doing
from tidegate.engine import place as places
from tidegate.privacy import erase
from tidegate.pull import settings
from tidegate.store import database, forgetting, jobs, keyed
from tidegate.views import jobs as known
from tidegate.warehouse import base, duckdb

WORD = "forget"
"""What a person types to confirm."""
MOST = 100
"""Customers that are forgotten at once over HTTP."""


@dataclass(frozen=True, slots=True)
class Target:
    """One warehouse, with the tables that pulls write there and those of them that lose deleted rows."""

    name: str
    open: Callable[[], base.Warehouse]
    tables: Mapping[str, Sequence[str]]
    hard: frozenset[str] = frozenset()


@dataclass(slots=True)
class Report:
    """What was done, or would be: by warehouse, in what pushes keep, and in the customer models."""

    dry_run: bool
    warehouses: list[tuple[str, erase.Erased]] = field(default_factory=list)
    pushes: forgetting.Forgotten | None = None
    """None where there are no pushes, or no metadata database yet."""
    models: dict[str, int] | None = None
    """Rows by what they stand in; None where there are no pipelines."""

    @property
    def undecided(self) -> bool:
        """Are operations of theirs left, of which it is not known yet whether Stripe did them?"""
        return self.pushes is not None and bool(self.pushes.open)

    @property
    def rows(self) -> int:
        """Rows everywhere that were changed, or would be."""
        counts = [count for _, found in self.warehouses for count in found.rows.values()]
        counts += [] if self.pushes is None else self.pushes.rows.values()
        return sum(counts) + sum((self.models or {}).values())

    def as_json(self) -> dict[str, Any]:
        """What `forget --json` prints."""
        told: dict[str, Any] = {
            "dry_run": self.dry_run,
            "warehouses": [{"name": name, **found.as_json()} for name, found in self.warehouses],
        }
        if self.pushes is not None:
            told["pushes"] = {"tables": self.pushes.rows, "undecided": self.pushes.open}
        if self.models is not None:
            told["customer_model"] = self.models
        return told


def targets(file: config.Config, folder: Path) -> list[Target]:
    """The warehouses of a configuration, each once, with the tables of its pulls; and what pushes copied."""
    names = list(catalog.load().streams)
    jobs: dict[str, list[settings.Job]] = {}
    for job in settings.jobs(file) if file.pulls or not (file.pushes or file.pipelines) else ():
        jobs.setdefault(file.pulls[job.name].warehouse, []).append(job)
    found = []
    for name, mine in jobs.items():
        tables = {stream: {stream} for stream in names}
        hard = set()
        for job in mine:
            for stream, choice in job.options.choices.items():
                tables[stream].add(choice.table or stream)
                if choice.hard:
                    hard.add(choice.table or stream)
        listed = {stream: sorted(each) for stream, each in tables.items()}
        found.append(Target(name, mine[0].open, listed, frozenset(hard)))
    for path in forgets.mirrors(folder) if file.pushes else ():
        opening = functools.partial(duckdb.DuckDB, path)
        found.append(Target(f"the copy {path.stem}", opening, {name: [name] for name in names}))
    return found


def target(url: str, schema: str) -> Target:
    """A warehouse of which nothing is configured."""
    own = {name: [name] for name in catalog.load().streams}
    return Target(warehouse.named(url), lambda: warehouse.open_url(url, schema=schema), own)


def steps(
    chosen: Sequence[Target],
    customers: Sequence[str],
    account: str = "",
    *,
    file: config.Config | None = None,
    store: database.Database | None = None,
    folder: Path | None = None,
    dry_run: bool = False,
) -> Iterator[tuple[str, Report]]:
    """Forget customers, or look what that would change, place by place: what comes next, and what was done so far.

    With `file`, `store` and `folder` also in what pushes keep, and in the customer models. Raises ConfigError for
    what is no customer's id, before anything is changed.
    """
    for id in customers:
        erase.check(id)
    done = Report(dry_run)
    if file is not None and store is not None and folder is not None and file.pushes:
        yield "what pushes keep", done
        done.pushes = forgets.forget(store, folder, customers, account=account, dry_run=dry_run)
    for each in chosen:
        yield each.name, done
        opened = each.open()
        try:
            found = erase.erase(
                opened, customers, tables=each.tables, account=account, hard=each.hard, dry_run=dry_run
            )
        finally:
            opened.close()
        done.warehouses.append((each.name, found))
    if file is not None and store is not None and file.pipelines:
        yield "the customer model", done
        done.models = forgets.models(file, store, customers, account=account, dry_run=dry_run)
    if store is not None and not dry_run:
        keyed.forget(store, customers)
    yield "", done


def begin(
    place: places.Place,
    who: views.Who,
    customers: Sequence[str],
    *,
    account: str = "",
    dry_run: bool = True,
    confirmed: tuple[str, int] = ("", 0),
) -> jobs.Job:
    """Have customers forgotten in the background, or the rows counted that would change.

    To forget, `confirmed` is the word `WORD` and how many customers that are. Raises ConfigError for what is no
    customer's id and where it is not confirmed, StoreConflict while others are forgotten.
    """
    chosen = list(dict.fromkeys(customers))
    for id in chosen:
        erase.check(id)
    if not 1 <= len(chosen) <= MOST:
        raise errors.ConfigError(f"customers: name 1 to {MOST} of them at once")
    if not dry_run and confirmed != (WORD, len(chosen)):
        raise errors.ConfigError(
            f"confirm: this erases for good; give the word {WORD} and the number of customers, {len(chosen)}"
        )

    wish = {"customers": chosen, "account": account, "dry_run": dry_run}
    return known.begin(place, who, "forget", "customers", wish, work(wish))


def work(wish: Mapping[str, Any]) -> doing.Doing:
    """What forgetting does, by what was asked for; taken up again, it erases what is left."""

    async def erased(still: places.Place, screen: doing.Screen) -> doing.Done:
        customers: list[str] = wish["customers"]
        going = steps(
            targets(still.file, still.folder),
            customers,
            wish["account"],
            file=still.file,
            store=still.store,
            folder=still.folder,
            dry_run=wish["dry_run"],
        )
        while True:  # what is under way in a thread is not dropped: a place is done whole
            step = asyncio.ensure_future(asyncio.to_thread(next, going))
            try:
                phase, done = await asyncio.shield(step)
            except asyncio.CancelledError:
                await asyncio.wait({step})  # while it is told that somebody is at it
                raise
            if not phase:
                break
            screen.phase(phase)
        state: jobs.State = "partial" if done.undecided else "ok"
        told = {**done.as_json(), "rows": done.rows, "customers": customers}
        return doing.Done(state, told, (), _left(done))

    return erased


def _left(done: Report) -> str:
    """What cannot be forgotten yet, in a sentence."""
    if done.pushes is None or not done.pushes.open:
        return ""
    push, count = min(done.pushes.open.items())
    return (
        f"{push} has {count:,} undecided operations of theirs, which stay until that is known; run `tidegate push "
        f"{push}`, then forget them once more"
    )
