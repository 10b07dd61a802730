"""Is a push ready: whose key it is, what that key may do, which guarantees it cannot give, what the model has.

Stripe has no address that tells what a restricted key may do, so it is tried, and nothing is written: a list is
asked for one object; an object that no account has is changed in nothing, or made under a parent that no account
has. Stripe looks at the permission first (403, with its name) and then finds that there is no such thing (404 or
400). Where neither can be asked, it is not known until the first write. Secret keys may do everything.
https://docs.stripe.com/keys/restricted-api-keys
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tidegate import catalog, config, errors, sources
from tidegate.catalog import writes
from tidegate.engine import preparing
from tidegate.pull import accounts, permissions, scope
from tidegate.pull import plan as pull_plan
from tidegate.push import evidence, mapping, models, shaping, watch, workbook
from tidegate.sources import base as sources_base
from tidegate.store import database, fences, runs
from tidegate.stripe import client
from tidegate.warehouse import base

Status = Literal["yes", "no", "unknown"]
EVENTS = "events"
BALANCE = "balance"
NAMED = 5
"""Keys that stand on several rows, as many as are named."""


@dataclass(frozen=True, slots=True)
class Right:
    """Whether a key may read or write one kind of object, as far as that can be told without writing."""

    kind: Literal["read", "write"]
    object: str
    status: Status
    permission: str = ""
    """What it would need."""
    why: str = ""
    """What Stripe said against it."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key before anything is configured."""

    account: str
    """The account that it acts for; empty where nothing tells."""
    livemode: bool
    restricted: bool
    rights: tuple[Right, ...]

    def may(self, kind: str, object: str) -> Right | None:
        """What is known of one right."""
        return next((each for each in self.rights if (each.kind, each.object) == (kind, object)), None)


@dataclass(frozen=True, slots=True)
class Report:
    """Whether one push is ready; `without` are the guarantees that it cannot give, in sentences."""

    push: str
    key: Key
    steps: tuple[base.Check, ...]
    without: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Can it run?"""
        return all(step.ok for step in self.steps)


async def key(source: scope.Source, objects: Sequence[writes.Object], account: str = "") -> Key:
    """What a key may do with these objects, in its own account or in a connected one.

    Raises Unauthorized, Unreachable, RateLimited and ServerFault: then nothing is known.
    """
    async with scope.connect(source) as stripe:
        acting = accounts.acting(stripe, source, account) if account else stripe
        balance, livemode = await _balance(acting, source)
        who = account.rpartition("/")[2] or await _identified(stripe, source, objects)
        rights = [balance, await _reads(acting, EVENTS, catalog.load().streams["events"])]
        restricted = source.api_key.startswith("rk_")
        for found in await asyncio.gather(*(_rights(acting, each, restricted) for each in objects)):
            rights += found
    return Key(who, livemode, restricted, tuple(rights))


async def check(job: preparing.Job, folder: Path, store: database.Database | None = None) -> Report:
    """Everything that can be told of a push before it runs, its model read once and whole.

    `folder` is for what that takes while it is compared; `store` the metadata database, where there is one.
    """
    try:
        found = await key(job.source, [job.of], job.push.account or "")
    except errors.TidegateError as error:
        found = Key("", client.mode(job.source.api_key) == "live", False, ())
        steps = [base.Check("key", False, str(error))]
    else:
        steps = _key_steps(found)
        if store is not None and found.account:
            steps.append(await asyncio.to_thread(_place, job.name, store, found))
    steps += await asyncio.to_thread(_rows, job, folder)
    return Report(job.name, found, tuple(steps), tuple(without(job.of, found, job.push)))


def without(of: writes.Object, found: Key, push: config.Push | None = None) -> list[str]:
    """The guarantees that this key cannot give for a kind of object, and what happens instead."""
    said, named = [], of.name.replace("_", " ")
    reads, events = found.may("read", of.name), found.may("read", EVENTS)
    if not of.stream:
        said.append(
            f"Stripe has no list of {named}s: what became of a request whose answer was lost is found out by the "
            "same request again within 23 hours, and stays unknown after that."
        )
    elif reads is not None and reads.status == "no":
        said.append(f"It cannot read {named}s, so none is proven absent: nothing is created, nor planned.")
    elif events is not None and events.status == "no":
        said.append(blind(f"all {named}s"))
    if of.stream and of.creatable and not of.metadata and not of.settable_id:
        said.append(
            f"A {named} has no metadata: a create whose answer was lost 23 hours ago is told by events alone."
        )
    if push is not None and watch.needed(push, of):
        fields = " and ".join(
            "e-mail in any case" if each == "email" else each for each in watch.unseen(push, of)
        )
        said.append(
            f"Stripe cannot be asked for a {named} by {fields} and tell at once: one that somebody else makes in "
            "the minute before ours is not seen."
        )
    return said


def blind(listed: str) -> str:
    """What a key does that cannot read events."""
    return (
        f"It cannot read events: {listed} are listed anew before each plan, and what became of a create whose "
        "answer was lost 23 hours ago is told by lists and metadata alone; where they say nothing, it stays "
        "unknown, and its row waits for a person."
    )


async def _balance(stripe: client.Client, source: scope.Source) -> tuple[Right, bool]:
    """Whether the balance can be read, and whether that is of live mode."""
    try:
        answer = await stripe.get("/v1/balance")
    except (errors.PermissionMissing, errors.NotEnabled) as error:
        live = client.mode(source.api_key) == "live"
        return Right("read", BALANCE, "no", error.permission or "rak_balance_read", str(error)), live
    return Right("read", BALANCE, "yes"), evidence.decoded(answer).get("livemode") is True


async def _identified(stripe: client.Client, source: scope.Source, objects: Iterable[writes.Object]) -> str:
    streams = [each.stream for each in objects if each.stream]
    nodes = [walk.node for walk in pull_plan.plan(catalog.load().streams, streams).walks] if streams else []
    try:
        return await accounts.identify(stripe, source, nodes)
    except errors.ConfigError:  # a key that tells nothing of its account
        return ""


async def _rights(stripe: client.Client, of: writes.Object, restricted: bool) -> list[Right]:
    """Whether one kind of object can be read and written."""
    stream = catalog.load().streams.get(of.stream)
    reads = [] if stream is None else [await _reads(stripe, of.name, stream)]
    return [*reads, await _writes(stripe, of) if restricted else Right("write", of.name, "yes")]


async def _reads(stripe: client.Client, name: str, stream: catalog.Stream) -> Right:
    try:
        await permissions.ask(stripe, stream.origins[0])
    except (errors.PermissionMissing, errors.NotEnabled) as error:
        return Right("read", name, "no", error.permission or stream.permission, str(error))
    except (errors.Missing, errors.InvalidRequest) as error:
        return Right("read", name, "unknown", stream.permission, str(error))
    return Right("read", name, "yes", stream.permission)


async def _writes(stripe: client.Client, of: writes.Object) -> Right:
    """Change nothing of an object that is not there, or make one under a parent that is not there."""
    asked = _harmless(of)
    if asked is None:
        return Right("write", of.name, "unknown", of.permission)
    path, endpoint = asked
    try:
        await stripe.post(path, endpoint=endpoint)
    except (errors.PermissionMissing, errors.NotEnabled) as error:
        return Right("write", of.name, "no", error.permission or of.permission, str(error))
    except (errors.Missing, errors.InvalidRequest):
        return Right("write", of.name, "yes", of.permission)
    return Right("write", of.name, "unknown", of.permission)


def _harmless(of: writes.Object) -> tuple[str, str] | None:
    """A request that Stripe can only refuse, as its address and its template; None where there is none."""
    update, create = of.operations.get("update"), of.operations.get("create")
    if update is not None:
        above = dict.fromkeys(update.placeholders, permissions.NOBODY)
        return update.address(**above), update.path
    if create is not None and create.placeholders:
        return create.address(**dict.fromkeys(create.placeholders, permissions.NOBODY)), create.path
    return None


def _key_steps(found: Key) -> list[base.Check]:
    """What the key may do, as far as a push needs it; what it does without events stands in `without`."""
    mode = "live" if found.livemode else "test"
    whose = f"{found.account}, {mode} mode" if found.account else "nothing tells whose key this is"
    steps = [base.Check("account", bool(found.account), whose)]
    for each in found.rights:
        if each.object != EVENTS or each.status == "yes":
            steps.append(base.Check(f"{each.kind} {each.object}", each.status != "no", told(each)))
    return steps


def told(right: Right) -> str:
    """A right in words."""
    if right.status == "yes":
        return "yes"
    if right.status == "unknown":
        return (
            "not known until the first request" if right.kind == "read" else "not known until the first write"
        )
    return f"no: grant {right.permission}" if right.permission else f"no: {right.why}"


def _place(push: str, store: database.Database, found: Key) -> base.Check:
    """Is it the account that the push wrote to before?"""
    before = fences.place(store, push)
    if before is None:
        return base.Check("place", True, "nothing was written before")
    mode = "live" if before[1] else "test"
    if before == (found.account, found.livemode):
        return base.Check("place", True, f"{before[0]} in {mode} mode, as before")
    now = "live" if found.livemode else "test"
    return base.Check(
        "place",
        False,
        f"it writes to {before[0]} in {mode} mode, and this key is of {found.account} in {now} mode; use that "
        "account's key, or give the push another name",
    )


def _rows(job: preparing.Job, folder: Path) -> list[base.Check]:
    """The model's rows and keys, and what the mapping makes of them; blocks."""
    with contextlib.ExitStack() as opened:
        try:
            book = opened.enter_context(workbook.opened(folder, job.name, runs.new_id()))
            source = opened.enter_context(contextlib.closing(sources.of_model(job.file, job.push.model)))
            taken = models.snapshot(source, sources_base.asked(job.model), job.model.keys, book)
        except errors.TidegateError as error:
            return [base.Check("model", False, str(error))]
        steps = [_keys(job, taken, *models.doubles(book, NAMED))]
        try:
            wanted = mapping.map_rows(book, taken, job.name, job.push, job.of)
        except errors.TidegateError as error:
            return [*steps, base.Check("mapping", False, str(error))]
        failures = shaping.failures(book) if wanted.failed else []
        return [*steps, _mapped(job, wanted, failures)]


def _keys(job: preparing.Job, taken: models.Snapshot, doubled: Sequence[str], doubles: int) -> base.Check:
    named = f"{job.push.model}: {taken.rows:,} rows"
    wrong = [
        f"{count:,} {'has' if count == 1 else 'have'} no key ({models.REASONS[why]})"
        for why, count in taken.invalid.items()
    ]
    if taken.doubled:
        more = f", and {doubles - len(doubled):,} more" if doubles > len(doubled) else ""
        wrong.append(f"{taken.doubled:,} share a key ({', '.join(doubled)}{more})")
    if not taken.rows:
        return base.Check("model", False, f"{named}; an empty model is never pushed")
    if wrong:
        left = taken.doubled + sum(taken.invalid.values())
        verb = "is" if left == 1 else "are"
        told = f"{job.push.model}: {left:,} of {taken.rows:,} rows {verb} not sent: {', '.join(wrong)}"
        return base.Check("model", False, told)
    return base.Check("model", True, f"{named}, each with a key of its own ({', '.join(taken.key)})")


def _mapped(job: preparing.Job, wanted: mapping.Wanted, failures: Sequence[tuple[str, int]]) -> base.Check:
    parts = [f"{len(wanted.fields)} fields of a {job.of.name}, matched by {' and '.join(wanted.matches)}"]
    if wanted.filtered:
        parts.append(f"{wanted.filtered:,} rows are left out by {_left_out_by(job)}")
    if wanted.refused:
        parts.append(f"{wanted.refused:,} rows have a value that Stripe has no text for")
    if wanted.failed:
        told = " ".join(f"{why} ({count:,})" for why, count in failures)
        parts.append(f"its function fails for {wanted.failed:,} of them: {told}")
    return base.Check("mapping", not (wanted.refused or wanted.failed), "; ".join(parts))


def _left_out_by(job: preparing.Job) -> str:
    named = {"the filter": job.push.filter, "the function": job.push.function}
    return " or ".join(name for name, each in named.items() if each is not None)


def grants(found: Key) -> Mapping[str, list[str]]:
    """What to grant, by permission: the objects that need it. What lets it write lets it read."""
    missing: dict[str, list[str]] = {}
    for each in found.rights:
        writing = found.may("write", each.object)
        both = each.kind == "read" and writing is not None and writing.status == "no"
        if each.status == "no" and each.permission and not both:
            missing.setdefault(each.permission, []).append(each.object)
    return missing
