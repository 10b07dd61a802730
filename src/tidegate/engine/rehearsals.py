"""A push tried out first: the same model, mapping and plan, against a test key or a sandbox of its own.

Nothing of the real push is touched: a rehearsal has a metadata database, mirrors and a workbook of its own. A
sandbox begins with the objects that the real account has, read and never written, and with what is known of the
push's rows, so that matches, e-mails and ids are as they are; it goes when the rehearsal is over. With a test key
the ledger is kept, so that a second rehearsal makes nothing twice there either.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tidegate import errors, sandbox, temporary
from tidegate.catalog import writes
from tidegate.engine import mirrors, preparing, pushes, stopping
from tidegate.pull import settings
from tidegate.push import apply, targets
from tidegate.sandbox import serving
from tidegate.store import copying, database, holds
from tidegate.stripe import keys

FOLDER = "rehearsal"
RELATED: Mapping[str, tuple[str, ...]] = {
    "price": ("product",),
    "promotion_code": ("coupon", "customer"),
    "subscription": ("customer", "product", "price", "coupon"),
    "invoice_item": ("customer", "product", "price", "coupon"),
    "invoice": ("customer", "coupon"),
    "tax_id": ("customer",),
}
"""Kinds of objects that others refer to, so that a sandbox needs them as well."""
BATCH = 500
"""Objects that a sandbox is given at a time."""
SHOWN = 5
"""Rows of a class of refusals that are named."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a rehearsal takes place."""

    job: preparing.Job
    store: database.Database
    folder: Path
    name: str
    """`the sandbox`, or the connection."""
    seeded: Mapping[str, int] = field(default_factory=dict)
    """Objects that the sandbox began with, by kind."""
    rows: int = 0
    """What was known of rows already."""
    doubt: str = ""
    """Why the sandbox began empty."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Rows that were not written for one reason: the first of them, and what was said of that."""

    kind: str
    code: str
    field: str
    text: str
    rows: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What a rehearsal came to."""

    stage: Stage
    push: pushes.Result
    refused: tuple[Refusal, ...]
    seconds: float

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        told = self.push.document()
        refused = [
            {"kind": each.kind, "code": each.code, "field": each.field, "text": each.text, "rows": each.rows}
            | {"first": list(each.keys)}
            for each in self.refused
        ]
        where = {"rehearsed_in": self.stage.name, "seeded": dict(self.stage.seeded)}
        return {**told, **where, "refused": refused, "seconds": round(self.seconds, 1)}


async def run(
    stage: Stage,
    run_id: str,
    *,
    limit: int | None = None,
    shown: pushes.Shown = lambda _: None,
    seen: pushes.Seen = lambda _, __: True,
    progress: apply.Progress | None = None,
) -> Result:
    """Do it there, whatever the guards say: they are shown with the plan. Raises what `pushes.run` does."""
    begun = time.monotonic()
    wish = pushes.Wish(write=True, approve=True, limit=limit)
    result = await pushes.run(
        stage.job, stage.store, stage.folder, run_id, wish, shown=shown, seen=seen, progress=progress
    )
    refused = await asyncio.to_thread(refusals, stage.store, stage.job.name)
    return Result(stage, result, refused, time.monotonic() - begun)


@contextlib.contextmanager
def over(job: preparing.Job, connection: str, folder: Path) -> Iterator[Stage]:
    """The same push over another connection, which has a test key; raises ConfigError for any other."""
    file = job.file
    if connection not in file.stripe:
        known = ", ".join(file.stripe)
        raise errors.ConfigError(f"there is no connection {connection!r} under stripe; it has {known}")
    if connection == job.push.connection:
        raise errors.ConfigError(
            f"{connection} is where {job.name} writes to itself; rehearse over another one, or in the sandbox"
        )
    source = settings.source(file.stripe[connection])
    if keys.mode(source.api_key) == "live":
        raise errors.ConfigError(
            f"the key of {connection} is a live key; a rehearsal writes, so give it a connection with a test key"
        )
    own = folder / FOLDER / connection
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    told = job.push.model_copy(update={"connection": connection, "account": None})
    other = replace(job, push=told, source=replace(source, accounts="own", purse=job.source.purse))
    with contextlib.closing(database.open_database(f"sqlite:///{own}/tidegate.db")) as store:
        yield Stage(other, store, own, connection)


@contextlib.contextmanager
def in_sandbox(
    job: preparing.Job, store: database.Database | None, folder: Path, *, shown: pushes.Shown = lambda _: None
) -> Iterator[Stage]:
    """The same push into a sandbox that begins as the real account is, as far as that can be read.

    `store` is the real metadata database, `folder` the real state folder: read, but for the push's own mirrors.
    """
    with (
        temporary.folder("rehearsal") as own,
        sandbox.process(objects=0, counts={}) as url,
    ):
        seeded, doubt = _seed(job, folder, url, shown)
        account = json.loads(_ask(f"{url}/_sandbox/health"))["account"]
        source = replace(
            job.source,
            api_key=serving.KEY,
            api_base=url,
            accounts="own",
            account_id=None,
            rate_limit="off",
            budget=1.0,
            purse=None,
        )
        other = replace(job, push=job.push.model_copy(update={"account": None}), source=source)
        with contextlib.closing(database.open_database(f"sqlite:///{own}/tidegate.db")) as ledger:
            known = 0 if store is None or doubt else copying.rows(store, ledger, job.name, account)
            yield Stage(other, ledger, own, "the sandbox", seeded, known, doubt)


def _seed(job: preparing.Job, folder: Path, url: str, shown: pushes.Shown) -> tuple[dict[str, int], str]:
    """Give a sandbox the objects that the real account has; says how many of each kind, or why there are none."""
    shown("reading what Stripe has")
    try:
        return asyncio.run(_seeded(job, folder, url)), ""
    except errors.TidegateError as error:
        return {}, str(error)


async def _seeded(job: preparing.Job, folder: Path, url: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in (*RELATED.get(job.of.name, ()), job.of.name):
        of = writes.find(name)
        assert of is not None, f"There is no {name}."
        async with (
            stopping.turn(folder / "mirrors", f"{job.push.connection}-{name}"),
            mirrors.kept(folder, job.push.connection, job.source, of) as mirror,
        ):
            counts[name] = await asyncio.to_thread(_give, mirror, of.stream, url)
    return {name: count for name, count in counts.items() if count}


def _give(mirror: targets.Mirror, stream: str, url: str) -> int:
    given = 0
    found = [batch.column("id") for batch in mirror.rows(())]  # read one after the other
    for ids in found:
        for start in range(0, len(ids), BATCH):
            some = list(mirror.objects(ids[start : start + BATCH].to_pylist()).values())
            body = json.dumps({"stream": stream, "objects": some}, default=float).encode()
            _ask(f"{url}/_sandbox/objects", body)
            given += len(some)
    return given


def _ask(url: str, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=60) as answer:
        found: bytes = answer.read()
    return found


def refusals(store: database.Database, push: str) -> tuple[Refusal, ...]:
    """The rows that are held after a rehearsal, by what was said of them; most of them first."""
    found: dict[tuple[str, str, str], list[holds.Hold]] = {}
    sizes: dict[tuple[str, str, str], int] = {}
    after: holds.Hold | None = None
    while page := holds.listed(store, push, limit=BATCH, after=after):
        after = page[-1]
        for each in page:
            place = (each.kind, each.code, each.field)
            sizes[place] = sizes.get(place, 0) + 1
            if len(found.setdefault(place, [])) < SHOWN:
                found[place].append(each)
    ordered: Sequence[tuple[str, str, str]] = sorted(sizes, key=lambda place: (-sizes[place], place))
    return tuple(
        Refusal(*place, found[place][0].text, sizes[place], tuple(each.key for each in found[place]))
        for place in ordered
    )
