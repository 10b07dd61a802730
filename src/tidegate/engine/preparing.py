"""A push planned: what its model says now, what of that is new, and what becomes of each row.

Nothing here writes, neither to Stripe nor to the ledger; what blocks is for a thread.
"""

from __future__ import annotations

import contextlib
import difflib
from dataclasses import dataclass, replace
from typing import Literal, get_args

from tidegate import config, errors, sources
from tidegate.catalog import writes
from tidegate.pull import scope, settings
from tidegate.push import (
    diff,
    drift,
    judging,
    loops,
    mapping,
    models,
    plan,
    shaping,
    targets,
    validity,
    workbook,
)
from tidegate.sources import base as sources_base
from tidegate.store import database, holds, links, operations, pushed
from tidegate.stripe import client, purse
from tidegate.stripe import pace as paces


@dataclass(frozen=True, slots=True)
class Job:
    """A push of the configuration, ready to run."""

    name: str
    push: config.Push
    model: config.Model
    of: writes.Object
    source: scope.Source
    file: config.Config


def job(file: config.Config, name: str, budget: purse.Purse | None = None) -> Job:
    """A push of the configuration, which shares its `budget` with all who use the same metadata database.

    Raises ConfigError for what cannot work, before anything is asked.
    """
    if name not in file.pushes:
        known = ", ".join(file.pushes) or "none"
        raise errors.ConfigError(f"there is no push {name!r} in the configuration; it has {known}")
    push = file.pushes[name]
    of = writes.find(push.object)
    if of is None:
        objects = sorted(writes.load())
        near = difflib.get_close_matches(push.object, objects, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose {', '.join(objects)}"
        raise errors.ConfigError(f"pushes.{name}.object: {push.object} cannot be written; {hint}")
    targets.check(name, push, of)
    judging.check(name, push, of)
    for path in push.fields:
        why = validity.refusal(of, "any", path)
        if why:
            raise errors.ConfigError(f"pushes.{name}.fields.{path}: {why}")
    if push.missing in ("archive", "delete") and push.missing not in of.operations:
        raise errors.ConfigError(f"pushes.{name}.on_missing: a {of.name} cannot be {push.missing}d.")
    for action, operation in of.operations.items():
        for above in operation.placeholders[: None if action == "create" else -1]:
            if above not in push.fields:
                raise errors.ConfigError(
                    f"pushes.{name}.fields: a {of.name} belongs to a {above}; say which by the field {above}."
                )
    if push.function is not None:
        try:
            shaping.code(push.function)
        except errors.ConfigError as error:
            raise errors.ConfigError(f"pushes.{name}.function: {error}") from None
    connection = file.stripe[push.connection]
    source = settings.source(connection)
    chosen: Literal["own"] | tuple[str, ...] = (push.account,) if push.account else "own"
    return Job(name, push, file.models[push.model], of, replace(source, accounts=chosen, purse=budget), file)


def rate(job: Job) -> float:
    """Requests a second that one endpoint gives."""
    limits = paces.limits_for(client.mode(job.source.api_key), job.source.rate_limit)
    return (limits.per_endpoint or limits.per_account or 1_000.0) * job.source.budget


@dataclass(frozen=True, slots=True)
class Compared:
    """The rows of the source, and what of them differs from what was acknowledged: found out without Stripe."""

    taken: models.Snapshot
    wanted: mapping.Wanted
    counts: diff.Counts

    def asks(self, push: config.Push) -> bool:
        """Has Stripe to be asked anything?"""
        gone = self.counts.gone if push.missing != "nothing" else 0
        return bool(self.counts.new or self.counts.changed or gone)


def compared(
    job: Job, store: database.Database, book: workbook.Workbook, drifted: targets.Mirror | None = None
) -> Compared:
    """Everything from the source to what differs, also from what Stripe has where that is given; blocks."""
    before = pushed.each(store, job.name)
    if drifted is not None:
        drift.find(book, job.push, job.of, drifted, before, links.each(store, job.name))
        before = drift.restored(book)
    taken = _snapshot(job, book)
    wanted = mapping.map_rows(book, taken, job.name, job.push, job.of)
    return Compared(taken, wanted, diff.diff(book, taken, wanted, before))


def planned(
    job: Job,
    store: database.Database,
    book: workbook.Workbook,
    compared: Compared,
    mirror: targets.Mirror,
    run_id: str,
    account: str,
    livemode: bool,
) -> tuple[plan.Plan, mapping.Wanted]:
    """Everything from what differs to the plan; blocks, and writes nothing."""
    taken, wanted, counts = compared.taken, compared.wanted, compared.counts
    paused, chosen, sides = held_rows(store, job.name)
    for each in operations.undecided(store, job.name):
        if each.status == "sent":
            paused[each.key] = plan.Paused(plan.OPEN, "held", each.hash, each.version, is_due=False)
    targets.resolve(book, wanted, job.push, mirror, links.each(store, job.name), chosen)
    told, guards, requests, seconds = judging.judge(
        book,
        wanted,
        counts,
        job.push,
        job.of,
        mirror,
        paused=paused,
        chosen=sides,
        rate=rate(job),
        watch=loops.Watch(
            store, job.name, (account, livemode, job.of.name), job.of, wanted.fingerprint, _is_fed(job)
        ),
    )
    doubled, doubles = models.doubles(book)
    made = plan.Plan(
        job.name,
        run_id,
        job.of.name,
        account,
        livemode,
        wanted.fingerprint,
        taken.taken_at,
        mirror.caught_up_since,
        told,
        guards,
        requests,
        seconds,
        doubled,
        doubles,
        sum(taken.invalid.values()),
    )
    return made, wanted


def _is_fed(job: Job) -> bool:
    """Does a pull bring what this push writes into the warehouse that its model reads?"""
    pulls = [each for each in job.file.pulls.values() if each.connection == job.push.connection]
    return job.model.file is None and job.model.warehouse in [each.warehouse for each in pulls]


def _snapshot(job: Job, book: workbook.Workbook) -> models.Snapshot:
    with contextlib.closing(sources.of_model(job.file, job.push.model)) as source:
        return models.snapshot(source, sources_base.asked(job.model), job.model.keys, book)


def held_rows(
    store: database.Database, push: str
) -> tuple[dict[str, plan.Paused], dict[str, str], dict[str, plan.Side]]:
    """Rows that failed before; what persons chose for some; whose value they said counts for others."""
    paused: dict[str, plan.Paused] = {}
    chosen: dict[str, str] = {}
    sides: dict[str, plan.Side] = {}
    now = store.now()
    for batch in holds.each(store, push):
        for row in batch.to_pylist():
            due = row["state"] == "chosen" or (row["next_at"] is not None and row["next_at"] <= now)
            paused[row["key"]] = plan.Paused(row["kind"], row["state"], row["hash"], row["version"], due)
            if row["state"] == "chosen" and row["choice"] in get_args(plan.Side):
                sides[row["key"]] = row["choice"]
            elif row["state"] == "chosen":
                chosen[row["key"]] = row["choice"]
    return paused, chosen, sides
