"""Our own writes are never taken for somebody else's: a mirror that is behind them is not believed.

Stripe's events come a while after what they tell of, in its worst hours much later. An object that a push wrote a
moment ago looks in the mirror as it did before: a row that goes back to that would be taken for equal and never be
written, and one that changes again for changed on both sides. So an object that is to be compared with a row, and
does not show in the mirror what was written to it last, by whatever push, is asked of Stripe itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tidegate import errors
from tidegate.catalog import writes
from tidegate.push import compare, evidence, forms, targets
from tidegate.store import database, rounds
from tidegate.stripe import client

WITHIN = 86_400.0
"""Seconds for which a write is compared with the mirror."""
ABREAST = 16
"""Objects that are asked for at a time."""

Ask = Callable[[Sequence[str]], Mapping[str, compare.Live]]
"""Those of some objects that live, as Stripe has them now; blocks."""


class Fresh:
    """A `targets.Mirror` that is as new as the last write of each object that it is asked for."""

    def __init__(
        self,
        mirror: targets.Mirror,
        store: database.Database,
        place: tuple[str, bool, str],
        ask: Ask | None,
    ) -> None:
        self._mirror, self._store, self._place, self._ask = mirror, store, place, ask
        self.caught_up_since = mirror.caught_up_since

    def rows(self, fields: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """All objects, as the mirror has them."""
        return self._mirror.rows(fields)

    def objects(self, ids: Sequence[str]) -> Mapping[str, compare.Live]:
        """Some objects: as the mirror has them, or as Stripe has them where that is newer."""
        found = self._mirror.objects(ids)
        if self._ask is None:
            return found
        written = rounds.latest(self._store, self._place, ids, WITHIN) if ids else {}
        behind = [id for id, write in written.items() if is_behind(write, found.get(id))]
        if not behind:
            return found
        asked = self._ask(behind)
        kept = {id: each for id, each in found.items() if id not in set(behind)}
        return {**kept, **asked}

    def find_op(self, operation: str) -> str | None:
        """As the mirror tells."""
        return self._mirror.find_op(operation)


def asker(stripe: client.Client, of: writes.Object) -> Ask | None:
    """Asks Stripe from a thread, on the event loop that this is called on.

    None for what is never updated, or has no address of its own.
    """
    update = of.operations.get("update")
    if update is None or len(update.placeholders) != 1:
        return None
    loop = asyncio.get_running_loop()
    room = asyncio.Semaphore(ABREAST)

    async def one(id: str) -> compare.Live | None:
        async with room:
            try:
                found = evidence.decoded(await stripe.get(update.on(id)))
            except errors.Missing:
                return None
        return None if found.get("deleted") else found

    async def each(ids: Sequence[str]) -> dict[str, compare.Live]:
        answers = await asyncio.gather(*map(one, ids))
        return {id: found for id, found in zip(ids, answers, strict=True) if found is not None}

    def ask(ids: Sequence[str]) -> Mapping[str, compare.Live]:
        return asyncio.run_coroutine_threadsafe(each(ids), loop).result()

    return ask


def is_behind(write: rounds.Write, live: compare.Live | None) -> bool:
    """Does an object not show what was written to it last? It is older than that, or was changed since."""
    return live is None or not write.body or _differs(forms.decode(write.body.encode()), write.after, live)


def _differs(sent: Mapping[str, Any], after: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    for name, value in sent.items():
        there, told = live.get(name), after.get(name)
        if isinstance(value, Mapping):
            inner = [each if isinstance(each, Mapping) else {} for each in (told, there)]
            if _differs(value, *inner):
                return True
        elif name in after:
            if compare.text(told) != compare.text(there):
                return True
        elif value == "" and compare.text(there) is not None:
            return True
    return False
