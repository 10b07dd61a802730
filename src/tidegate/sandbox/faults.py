"""Faults on demand: by chance or by script, before or after the effect.

| kind | what the client sees |
|---|---|
| `error` | 500, which an idempotency key replays; `when: after` has taken effect, else nothing has |
| `reset` | the connection is reset; `when: after` has taken effect |
| `truncate` | half a body under the full `Content-Length`, then the connection closes |
| `cut` | half a body under a matching `Content-Length` |
| `html` | 200 with a page of HTML |
| `unavailable` | 503 from a proxy, without Stripe's headers; `when: after` has taken effect |
| `limit` | one 429 with `reason` |
| `lock` | one 429 `lock_timeout` |
| `storm` | 429 for `seconds` |
| `slow` | the request is evaluated `seconds` later |
| `late` | the request is evaluated at once, its answer sent `seconds` later, with the `Date` of that later moment |
"""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Iterable
from typing import Literal

import msgspec

Kind = Literal[
    "error", "reset", "truncate", "cut", "html", "unavailable", "limit", "lock", "storm", "slow", "late"
]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of trouble and the requests it befalls."""

    kind: Kind
    probability: float = 1.0
    times: int | None = None
    """How often at most; None: for ever."""
    skip: int = 0
    """How many matching requests pass unharmed first."""
    method: str = ""
    path: str = ""
    """A pattern with `*` over the request's path, or an endpoint's template; empty: every one."""
    account: str = ""
    when: Literal["before", "after"] = "before"
    seconds: float = 1.0
    reason: str = "global-rate"
    retry_after: float | None = None
    """Sent as `Retry-After` with a 429."""
    retry: bool | None = None
    """Sent as `Stripe-Should-Retry` where it is told."""


class Script:
    """The faults in force; deterministic by seed and order of requests."""

    def __init__(self, faults: Iterable[Fault] = (), seed: int = 1) -> None:
        self._chance = random.Random(seed)
        self._faults: list[Fault] = []
        self._left: list[int | None] = []
        self._skips: list[int] = []
        self.set(faults)

    def __bool__(self) -> bool:
        return bool(self._faults)

    def set(self, faults: Iterable[Fault]) -> None:
        """Put these in force, in place of all others."""
        self._faults = list(faults)
        self._left = [fault.times for fault in self._faults]
        self._skips = [fault.skip for fault in self._faults]

    def draw(self, method: str, path: str, endpoint: str, account: str) -> list[Fault]:
        """The faults that befall this request."""
        drawn = []
        for i, fault in enumerate(self._faults):
            if not _befalls(fault, method, path, endpoint, account) or self._left[i] == 0:
                continue
            if self._skips[i]:
                self._skips[i] -= 1
                continue
            if fault.probability < 1 and self._chance.random() >= fault.probability:
                continue
            left = self._left[i]
            if left is not None:
                self._left[i] = left - 1
            drawn.append(fault)
        return drawn


def _befalls(fault: Fault, method: str, path: str, endpoint: str, account: str) -> bool:
    if fault.method and fault.method.upper() != method:
        return False
    if fault.account and fault.account != account:
        return False
    return not fault.path or fault.path == endpoint or fnmatch.fnmatchcase(path, fault.path)
