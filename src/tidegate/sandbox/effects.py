"""Every effect that a request had, in order: what a test asks when it wants to know of doubles.

A request that was refused had none, nor has a replay; one whose answer was lost had one all the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec

from tidegate.sandbox import meddling, operations


class Effect(msgspec.Struct, frozen=True):
    """One request that did something."""

    at: float
    """The sandbox's clock, in unix seconds."""
    account: str
    live: bool
    op: str
    """`create`, `update`, `delete`, `action`, or `meter` for a meter event."""
    method: str
    path: str
    stream: str
    object: str
    id: str
    """Of a meter event, its identifier."""
    changed: bool
    """False for an update that left everything as it was."""
    metadata: dict[str, Any]
    """As it was given, not as it then stood."""
    params: dict[str, Any]
    idempotency_key: str | None
    request_id: str


class Answer(msgspec.Struct):
    """What an answer says of the object that was written."""

    object: str = ""
    id: str = ""
    identifier: str = ""


class Doing:
    """Carries out what requests ask for, takes it down, and lets others meddle."""

    def __init__(self, meddler: meddling.Meddler, open: meddling.Open) -> None:
        self.log = Log()
        self._meddler = meddler
        self._open = open

    def write(self, wish: operations.Request, method: str, *, live: bool) -> bytes:
        """Perform what changes something; the answer. A refusal is no effect."""
        id, call, kind, stream = wish.named, wish.call, wish.route.kind, wish.route.stream.name
        account = call.book.account
        drawn = self._meddler.draw(account, wish.route, id, wish.params) if self._meddler else []
        for one in drawn:
            if one.when == "before":
                self._meddler.act(one, self._open, account, id, wish.params)
        before = call.book.get(stream, id) if kind == "update" else None
        body = operations.perform(wish)
        told = msgspec.json.decode(body, type=Answer)
        metadata = wish.params.get("metadata")
        self.log.add(
            Effect(
                at=call.clock.time(),
                account=account,
                live=live,
                op=kind,
                method=method,
                path=wish.path,
                stream=stream,
                object=told.object,
                id=told.id or told.identifier,
                changed=before is None or before != call.book.get(stream, id),
                metadata=metadata if isinstance(metadata, dict) else {},
                params=wish.params,
                idempotency_key=call.idempotency_key,
                request_id=call.request_id,
            )
        )
        for one in drawn:
            if one.when == "after":
                self._meddler.act(one, self._open, account, id or told.id, wish.params)
        return body


class Log:
    """The effects since the start or the last reset."""

    def __init__(self) -> None:
        self._effects: list[Effect] = []

    def __len__(self) -> int:
        return len(self._effects)

    def add(self, effect: Effect) -> None:
        """Note one."""
        self._effects.append(effect)

    def clear(self) -> None:
        """Begin anew."""
        self._effects.clear()

    def like(self, **wanted: str) -> Iterator[Effect]:
        """Those whose fields are as wanted; an empty wish is none."""
        wishes = [(name, value) for name, value in wanted.items() if value]
        for effect in self._effects:
            if all(str(getattr(effect, name) or "") == value for name, value in wishes):
                yield effect

    def doubles(self, metadata: str = "") -> dict[str, dict[str, list[str]]]:
        """What happened more than once: effects per idempotency key, and objects made with one value of a metadata.

        For each key the ids of its effects; for each value the ids of the objects that were created with it.
        """
        keys: defaultdict[str, list[str]] = defaultdict(list)
        values: defaultdict[str, list[str]] = defaultdict(list)
        for effect in self._effects:
            if effect.idempotency_key:
                keys[f"{effect.account} {effect.idempotency_key}"].append(effect.id)
            if effect.op == "create" and metadata in effect.metadata:
                values[str(effect.metadata[metadata])].append(effect.id)
        return {
            "keys": {key: ids for key, ids in keys.items() if len(ids) > 1},
            "metadata": {value: ids for value, ids in values.items() if len(ids) > 1},
        }

    def counts(self) -> dict[str, int]:
        """How many of each kind, by `op stream`."""
        return dict(Counter(f"{effect.op} {effect.stream}" for effect in self._effects))
