"""What requests come to, for whoever keeps a log of it: answers, retries, limits and refusals by the endpoint.

Told is the template of a path, never an id, and of Stripe's words only those that are a name: what a customer's
data may have got into stays here. Answers are counted together; of all else the first is told at once, and what
follows within a second together with the next answers, so that a storm of refusals fills no log.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["page", "retry", "limited", "refused", "slow"]

PERIOD = 10.0
"""Seconds of answers that are told together."""
PAUSE = 1.0
"""Seconds between two tellings of one endpoint's troubles, at the least."""
SLOW = 30.0
"""Seconds from which an answer is slow."""

_NAME = re.compile(r"[A-Za-z_-]{1,60}|rak_[a-z0-9_]{1,60}")
"""No id is such a name, since all of them have digits."""


@dataclass(frozen=True, slots=True)
class Happening:
    """What `count` requests to one endpoint came to; the first, or the only one, where `count` is 1.

    | kind | tells of |
    |---|---|
    | `page` | answers: their `bytes`, unpacked, and the `seconds` that all of them took |
    | `retry` | attempts that failed, and the longest wait in `seconds` before the next one |
    | `limited` | 429 of the limiter named in `reason`; `seconds` is the longest `Retry-After`, 0 without one |
    | `refused` | what ended a request: 403 with the permission in `reason`, 404, and all that is not tried again |
    | `slow` | answers that took longer than SLOW, and the `seconds` of the slowest |

    `account` is whom they acted for where that was one connected account, else empty; `status` is 0 when there was
    no answer that could be read, and `reason` then the name of the error.
    """

    kind: Kind
    endpoint: str
    """Method and path template: `GET /v1/charges/{}`."""
    account: str = ""
    count: int = 1
    bytes: int = 0
    seconds: float = 0.0
    status: int = 0
    reason: str = ""
    attempt: int = 0
    """The last attempt of a request that this tells of, the first being 1."""


Listener = Callable[[Happening], None]
"""Called from the event loop; must not block."""


class Log:
    """Gathers what happens and tells a listener of it; `clock` gives seconds."""

    def __init__(self, listener: Listener, clock: Callable[[], float]) -> None:
        self._listener, self._clock = listener, clock
        self._due = clock() + PERIOD
        self._pages: dict[str, Happening] = {}
        self._troubles: dict[tuple[Kind, str, int, str], Happening] = {}
        self._told: dict[str, float] = {}

    def answered(self, endpoint: str, account: str, size: int, seconds: float, status: int) -> None:
        """Count an answer."""
        page = Happening("page", endpoint, account, bytes=size, seconds=seconds)
        known = self._pages.get(endpoint)
        self._pages[endpoint] = page if known is None else _together(known, page)
        if seconds >= SLOW:
            self.tell(Happening("slow", endpoint, account, seconds=seconds, status=status))
        elif self._clock() >= self._due:
            self.flush()

    def tell(self, happening: Happening) -> None:
        """Tell of trouble, now or with what else of it comes."""
        happening = dataclasses.replace(happening, reason=_named(happening.reason))
        now, key = self._clock(), _key(happening)
        if now - self._told.get(happening.endpoint, -PAUSE) >= PAUSE and key not in self._troubles:
            self._told[happening.endpoint] = now
            self._listener(happening)
        else:
            known = self._troubles.get(key)
            self._troubles[key] = happening if known is None else _together(known, happening)
        if now >= self._due:
            self.flush()

    def flush(self) -> None:
        """Tell all that was gathered."""
        pages, troubles = self._pages, self._troubles
        self._pages, self._troubles, self._told = {}, {}, {}
        self._due = self._clock() + PERIOD
        for happening in (*pages.values(), *troubles.values()):
            self._listener(happening)


def words(happening: Happening) -> str:
    """A happening as a line: `GET /v1/charges: 12 answers, 3.4 MB, 0.41 s each`."""
    times = f", {happening.count:,} times" if happening.count > 1 else ""
    match happening.kind:
        case "page":
            answers = "1 answer" if happening.count == 1 else f"{happening.count:,} answers"
            each = " each" if happening.count > 1 else ""
            said = f"{answers}, {size(happening.bytes)}, {happening.seconds / happening.count:.2f} s{each}"
        case "retry":
            wait = f"again in {happening.seconds:.1f} s" if happening.seconds else "again at once"
            said = f"{_what(happening)} at attempt {happening.attempt}{times}, {wait}"
        case "limited":
            after = f", Retry-After {happening.seconds:g} s" if happening.seconds else ""
            limiter = f" by the limiter {happening.reason}" if happening.reason else ""
            said = f"limited{limiter}{times}{after}"
        case "refused":
            lacks = happening.status in (401, 403) and happening.reason.startswith("rak_")
            why = f", the key lacks {happening.reason}" if lacks else ""
            after = f" after {happening.attempt} attempts" if happening.attempt > 1 else ""
            said = f"refused, {_what(happening)}{after}{why}{times}"
        case "slow":
            said = f"{happening.seconds:.0f} s until an answer came{times}"
    return f"{happening.endpoint}: {said}"


def size(number: int) -> str:
    """`812 B`, `41 kB`, `3.4 MB`, `1.2 GB`."""
    if number < 1_000:
        return f"{number} B"
    for unit, many in (("kB", number / 1e3), ("MB", number / 1e6)):
        if many < 999.5:
            return f"{many:.1f} {unit}" if many < 9.95 else f"{many:.0f} {unit}"
    return f"{number / 1e9:,.1f} GB"


def _what(happening: Happening) -> str:
    if not happening.status:
        return happening.reason or "no answer"
    permission = happening.reason.startswith("rak_")
    return f"status {happening.status}" + (
        f" {happening.reason}" if happening.reason and not permission else ""
    )


def _key(happening: Happening) -> tuple[Kind, str, int, str]:
    return happening.kind, happening.endpoint, happening.status, happening.reason


def _together(one: Happening, more: Happening) -> Happening:
    """Two happenings of one key as one."""
    pages = one.kind == "page"
    return dataclasses.replace(
        one,
        account=one.account if one.account == more.account else "",
        count=one.count + more.count,
        bytes=one.bytes + more.bytes,
        seconds=one.seconds + more.seconds if pages else max(one.seconds, more.seconds),
        attempt=max(one.attempt, more.attempt),
    )


def _named(reason: str) -> str:
    """A limiter, a permission, a code or an error's name; anything else is not passed on."""
    return reason if _NAME.fullmatch(reason) else ""
