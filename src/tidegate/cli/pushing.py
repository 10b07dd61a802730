"""What `tidegate plan` and `tidegate push` share: a plan on the screen, in a file, and what becomes of it."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Iterator, Mapping
from pathlib import Path

from rich.table import Table

from tidegate import errors
from tidegate.cli import connect, meters, noting, output, signals
from tidegate.engine import place as places
from tidegate.engine import preparing, pushes, recorder
from tidegate.engine import pushing as engine
from tidegate.push import plan
from tidegate.store import runs
from tidegate.views import push_words

SHOWN = 20
"""Rows of a plan that are shown of each kind."""
WIDE = 60
"""Characters of a value that are shown."""
BUSY = 3
"""The exit code where somebody else just does it."""
STOPPED = "what was written is noted, and the same command goes on from there"
"""What Ctrl-C and SIGTERM leave."""
WAITING = ("held", "in quarantine", "invalid")
"""Those of `figures` that the inbox lists."""
UNWRITTEN = "nothing was written"
"""What they leave while somebody is asked."""


class Asking:
    """A `Seen` that knows whether a person is being asked: until they say yes, nothing is written."""

    def __init__(self, seen: pushes.Seen) -> None:
        self._seen = seen
        self.asks = False

    def __call__(self, found: plan.Plan, rows: pushes.Rows) -> bool | Awaitable[bool]:
        """Show it, and ask."""
        said = self._seen(found, rows)
        return said if isinstance(said, bool) else self._answer(said)

    async def _answer(self, said: Awaitable[bool]) -> bool:
        self.asks = True
        answer = await said
        self.asks = False
        return answer


def named(push: str | None, config_file: Path | None) -> str:
    """The push that is meant; raises ConfigError where none is named."""
    if push is not None:
        return push
    known = connect.configuration(config_file).pushes
    if not known:
        raise errors.ConfigError("the configuration has no pushes; describe one under `pushes:`")
    raise errors.ConfigError(f"say which push: {', '.join(known)}")


def folder(config_file: Path | None) -> Path:
    """Where mirrors and workbooks are: beside the configuration."""
    return places.state(config_file)


def perform(name: str, config_file: Path | None, wish: pushes.Wish, seen: pushes.Seen) -> pushes.Result:
    """Plan a push, or do it as a run of its flow, which shows how far it is; as `engine.pushes.run`.

    Raises StoreConflict while somebody else runs it, and KeyboardInterrupt for Ctrl-C and SIGTERM.
    """
    file = connect.configuration(config_file)
    preparing.job(file, name)  # what can never work is said before anything is begun
    asking = Asking(seen)
    with noting.placed(file, config_file) as place:
        try:
            if wish.write:
                return asyncio.run(signals.until_stopped(_written(place, name, wish, asking)))
            job = preparing.job(file, name, place.purse)
            planning = pushes.run(
                job, place.store, place.folder, runs.new_id(), wish, shown=output.say, seen=asking
            )
            return asyncio.run(signals.until_stopped(planning))
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise KeyboardInterrupt(STOPPED if wish.write and not asking.asks else UNWRITTEN) from None


async def _written(place: places.Place, name: str, wish: pushes.Wish, seen: pushes.Seen) -> pushes.Result:
    limited = {} if wish.limit is None else {"limit": wish.limit}
    begun = await noting.take(place, f"push:{name}", {engine.BY_HAND: True, **limited})

    async def doing(record: recorder.Recorder) -> pushes.Result:
        with meters.Meter(limit=wish.limit) as meter:
            return await engine.push(place, name, begun, record, wish, screen=meter, seen=seen)

    return await noting.performed(place, begun, doing, engine.ended)


async def asked(question: str) -> bool:
    """Does the person say yes? Everything else goes on meanwhile; Ctrl-C ends it, and Ctrl-D is a no."""
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    said = ""
    try:
        descriptor = sys.stdin.fileno()
        loop.add_reader(descriptor, came.set)
    except (NotImplementedError, OSError, ValueError):  # Windows; no descriptor; a file
        try:
            said = await asyncio.to_thread(input, question)
        except EOFError:
            print(flush=True)
    else:
        try:
            print(question, end="", flush=True)
            await came.wait()
            said = sys.stdin.readline()
        finally:
            loop.remove_reader(descriptor)
            if not said:
                print(flush=True)  # whatever is said next has a line of its own
    return _yes(said)


def _yes(said: str) -> bool:
    return said.strip().lower() in ("y", "yes")


def show(found: plan.Plan, rows: pushes.Rows, *, everything: bool = False, approved: bool = False) -> None:
    """A plan on the screen: the counts, the first rows of each kind with before and after, and its guards."""
    screen = output.console()
    mode = "live mode" if found.livemode else "test mode"
    screen.print(f"{found.push}: {found.counts.source:,} rows into {found.object} of {found.account}, {mode}")
    counts = Table(show_header=False, box=None, padding=(0, 2))
    for name, number in _counted(found.counts).items():
        if number:
            counts.add_row(name, f"{number:,}")
    screen.print(counts)
    for sentence in push_words.keys(found):
        screen.print(sentence)
    for verdict, title in TITLES.items():
        some = rows(verdict)
        shown = list(some if everything else itertools.islice(some, SHOWN))
        if not shown:
            continue
        table = output.table(*(WRITTEN if verdict in plan.WRITES else ("row", "why")), title=title)
        for line in itertools.chain.from_iterable(map(lines, shown)):
            table.add_row(*line)
        screen.print(table)
        if left := sum(1 for _ in some):
            screen.print(f"... and {left:,} more; --all shows all of them, --out FILE writes them down")
    guarded(found, approved)


def guarded(found: plan.Plan, approved: bool) -> None:
    """Why somebody has to approve a plan, or had to."""
    how = "Approved by --approve" if approved else "It waits for approval"
    for guard in found.guards:
        output.say(f"{how}: {guard}")


def unwritten(found: plan.Plan, approved: bool) -> str:
    """What is said of a plan that was not done."""
    again = "; --approve does it all the same" if found.guards and not approved else ""
    return f"Nothing was written{again}."


WRITTEN = ("row", "object", "field", "before", "after")
TITLES: Mapping[plan.Verdict, str] = {
    "create": "To create",
    "update": "To update",
    "remove": "Whose rows are gone",
    "unmatched": "Unmatched",
    "held": "Held",
    "quarantined": "In quarantine",
    "invalid": "Invalid",
}


def lines(entry: plan.Entry) -> Iterator[tuple[str, ...]]:
    """The lines of a table that tell of a row: of a write each field, of the others why."""
    if entry.verdict not in plan.WRITES:
        yield entry.key, push_words.why(entry)
        return
    target = entry.target or "new"
    if not entry.changes:
        yield entry.key, target, entry.action, "", entry.text
    for at, (path, change) in enumerate(entry.changes.items()):
        first = (entry.key, target) if not at else ("", "")
        yield (*first, path, cut(change.before), cut(change.after))
    if entry.text and entry.changes:
        yield "", "", "", "", entry.text


def cut(value: str | None) -> str:
    """A value as it is shown."""
    value = value or "(empty)"
    return value if len(value) <= WIDE else f"{value[: WIDE - 1]}…"


def _counted(counts: plan.Counts) -> dict[str, int]:
    return {
        "unchanged": counts.unchanged,
        "to create": counts.created,
        "to update": counts.updated,
        "whose rows are gone": counts.removed,
        "filtered out": counts.filtered,
        "unmatched": counts.unmatched,
        "held": counts.held,
        "in quarantine": counts.quarantined,
        "invalid": counts.invalid,
    }
