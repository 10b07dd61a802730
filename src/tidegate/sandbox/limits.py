"""Rate limits: sliding windows of one second per account and per endpoint, and bounds on concurrency.

A sliding window is the strict reading of "25 requests per second": of any one second, never more than 25
are let through. A refused request counts for nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.sandbox import refusals


@dataclass(frozen=True)
class Limits:
    """Requests per second (None: no limit) and requests at once."""

    per_account: float | None = None
    per_endpoint: float | None = None
    search: float | None = None
    files: float | None = None
    meter_events: float | None = None
    """Apart from all others, and without a share in `per_account`."""
    concurrency: int | None = None
    endpoint_concurrency: int | None = None
    retry_after: bool = False
    """Send `Retry-After` with a 429; Stripe often does not."""


OFF = Limits()
LIVE = Limits(per_account=100, per_endpoint=25, search=20, files=20, meter_events=1000)
TEST = Limits(per_account=25, per_endpoint=25, search=20, files=20, meter_events=1000)


def parse(text: str) -> Limits:
    """`off`, `live` (100/s, 25/s an endpoint), `sandbox` (25/s), or `G/E` in requests per second."""
    named = {"off": OFF, "live": LIVE, "sandbox": TEST}.get(text)
    if named is not None:
        return named
    account, slash, endpoint = text.partition("/")
    try:
        per_account, per_endpoint = float(account), float(endpoint if slash else account)
    except ValueError:
        raise ValueError(
            f"The limits {text!r} are none of off, live, sandbox or G/E such as 100/25."
        ) from None
    if per_account <= 0 or per_endpoint <= 0:
        raise ValueError(f"The limits {text!r} must be above zero; for none, say off.")
    return Limits(per_account=per_account, per_endpoint=per_endpoint, search=20, files=20, meter_events=1000)


class Gate:
    """Admits or refuses requests; one for all accounts."""

    def __init__(self, limits: Limits = OFF, *, now: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._now = now
        self._windows: dict[tuple[str, str], deque[float]] = {}
        self._running: dict[tuple[str, str], int] = {}
        self._storms: list[tuple[float, str, str, float | None]] = []

    def enter(
        self,
        account: str,
        endpoint: str,
        *,
        search: bool = False,
        files: bool = False,
        meter: bool = False,
    ) -> None:
        """Let a request in, or refuse it with 429; whoever was let in must `leave`."""
        now = self._now()
        limits = self.limits
        self._refuse_storm(now, endpoint)
        if limits.concurrency is not None and self._running.get((account, ""), 0) >= limits.concurrency:
            raise self._refusal("global-concurrency", None)
        at_once = self._running.get((account, endpoint), 0)
        if limits.endpoint_concurrency is not None and at_once >= limits.endpoint_concurrency:
            raise self._refusal("endpoint-concurrency", None)
        windows = [((account, ""), limits.per_account, "global-rate")]
        own = limits.search if search else limits.files if files else limits.per_endpoint
        windows.append(((account, endpoint), own, "endpoint-rate"))
        if meter:
            windows = [((account, endpoint), limits.meter_events, "resource-specific")]
        for key, rate, reason in windows:
            if rate is not None and (wait := self._full(key, rate, now)) is not None:
                raise self._refusal(reason, wait)
        for key, rate, _ in windows:
            if rate is not None:
                self._windows.setdefault(key, deque()).append(now)
        for key in ((account, ""), (account, endpoint)):
            self._running[key] = self._running.get(key, 0) + 1

    def leave(self, account: str, endpoint: str) -> None:
        """A request that was let in has ended."""
        for key in ((account, ""), (account, endpoint)):
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]

    def storm(
        self,
        seconds: float,
        *,
        reason: str = "global-rate",
        endpoint: str = "",
        retry_after: float | None = None,
    ) -> None:
        """Refuse every request (of one endpoint) with 429 for some seconds."""
        self._storms.append((self._now() + seconds, reason, endpoint, retry_after))

    def _refuse_storm(self, now: float, endpoint: str) -> None:
        if self._storms:
            self._storms = [storm for storm in self._storms if storm[0] > now]
            for _, reason, only, retry_after in self._storms:
                if not only or only == endpoint:
                    raise refusals.limited(reason, retry_after)

    def _full(self, key: tuple[str, str], rate: float, now: float) -> float | None:
        """Seconds until the window has room, or None when it has."""
        window = self._windows.get(key)
        if window is None:
            return None
        span = 1.0 if rate >= 1 else 1 / rate
        room = max(1, int(rate * span))
        while window and window[0] <= now - span:
            window.popleft()
        return None if len(window) < room else window[0] + span - now

    def _refusal(self, reason: str, wait: float | None) -> refusals.Refusal:
        return refusals.limited(reason, wait if self.limits.retry_after else None)
