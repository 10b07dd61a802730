"""What an audit found, by account, stream and month, as it is told to people and to programs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tidegate import errors
from tidegate.audit import sides
from tidegate.pull import report

Kind = Literal["missing", "extra", "stale"]
KINDS: tuple[Kind, ...] = ("missing", "extra", "stale")
Status = Literal[report.Status, "different", "repaired", "not_compared"]
Verdict = Literal["ok", "different", "repaired", "partial", "failed"]

EXAMPLES = 5
"""Ids that are told of each kind of difference."""

Pair = list[int]
"""The same at Stripe and here."""


@dataclass(slots=True)
class Month:
    """The rows of a stream that were created in one month; sums by currency and column, at Stripe and here.

    A month that no row tells is an empty text.
    """

    month: str
    stripe: int = 0
    warehouse: int = 0
    missing: int = 0
    extra: int = 0
    stale: int = 0
    sums: dict[str, dict[str, Pair]] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """Its part of `--json`."""
        sums = {
            currency: {
                name: {"stripe": pair[0], "warehouse": pair[1]} for name, pair in sorted(columns.items())
            }
            for currency, columns in sorted(self.sums.items())
        }
        return {
            "month": self.month or None,
            "stripe": self.stripe,
            "warehouse": self.warehouse,
            "missing": self.missing,
            "extra": self.extra,
            "stale": self.stale,
            "sums": sums,
        }


@dataclass(slots=True)
class Stream:
    """One stream of one account; counts grow while it is compared.

    `in_flight` counts rows that are left out of everything else: they changed while the audit ran, or so lately
    that the warehouse cannot know yet.
    """

    stream: str
    account: str
    status: Status = "ok"
    error: str = ""
    note: str = ""
    months: dict[str, Month] = field(default_factory=dict)
    examples: dict[Kind, list[str]] = field(default_factory=dict)
    in_flight: int = 0
    repaired: int = 0

    def total(self, name: Literal["stripe", "warehouse", "missing", "extra", "stale"]) -> int:
        """A count over all months."""
        return sum(getattr(month, name) for month in self.months.values())

    @property
    def differences(self) -> int:
        """All of them."""
        return sum(self.total(kind) for kind in KINDS)

    @property
    def told(self) -> bool:
        """Is there anything to tell?"""
        return bool(self.months or self.in_flight) or self.status not in ("ok", "not_enabled")

    def month(self, name: str) -> Month:
        """One month of it."""
        return self.months.setdefault(name, Month(name))

    def count(self, totals: Iterable[sides.Total], side: Literal[0, 1], sign: int = 1) -> None:
        """Add rows with their sums to Stripe's side (0) or the warehouse's (1), or take them out again."""
        for total in totals:
            month = self.month(total.month)
            if side:
                month.warehouse += sign * total.rows
            else:
                month.stripe += sign * total.rows
            for currency, columns in total.sums.items():
                into = month.sums.setdefault(currency, {})
                for name, value in columns.items():
                    into.setdefault(name, [0, 0])[side] += sign * value

    def find(self, kind: Kind, month: str, id: str, what: str = "") -> None:
        """Note a difference; `what` names the columns that are not the same."""
        found = self.month(month)
        setattr(found, kind, getattr(found, kind) + 1)
        shown = self.examples.setdefault(kind, [])
        if len(shown) < EXAMPLES:
            shown.append(f"{id}: {what}" if what else id)

    def settle(self) -> None:
        """Come to the verdict, once everything was compared; months that were only in flight go."""
        self.months = {
            name: month
            for name, month in sorted(self.months.items())
            if month.stripe or month.warehouse or month.missing or month.extra or month.stale
        }
        if self.differences and self.status in ("ok", "partial"):
            self.status = "repaired" if self.repaired >= self.differences else "different"

    def as_json(self) -> dict[str, object]:
        """Its part of `--json`."""
        return {
            "stream": self.stream,
            "account": self.account,
            "status": self.status,
            "stripe": self.total("stripe"),
            "warehouse": self.total("warehouse"),
            **{kind: self.total(kind) for kind in KINDS},
            "in_flight": self.in_flight,
            "repaired": self.repaired,
            "months": [month.as_json() for month in self.months.values()],
            "examples": {kind: self.examples[kind] for kind in KINDS if kind in self.examples},
            "note": self.note or None,
            "error": self.error or None,
        }


@dataclass(frozen=True, slots=True)
class Money:
    """Stripe's balance in one currency against the balance transactions here, in minor units.

    `in_flight` is what movements come to that the warehouse cannot know yet.
    """

    currency: str
    balance: int
    warehouse: int
    in_flight: int
    pending: int
    warehouse_pending: int | None
    """What is not available yet, by the warehouse; None where its table does not tell."""
    in_flight_pending: int = 0

    @property
    def equal(self) -> bool:
        """Do all movements come to the balance?"""
        return self.warehouse + self.in_flight == self.balance

    @property
    def pending_equal(self) -> bool | None:
        """Do those that are not available yet come to what is pending?"""
        if self.warehouse_pending is None:
            return None
        return self.warehouse_pending + self.in_flight_pending == self.pending

    def as_json(self) -> dict[str, object]:
        """Its part of `--json`."""
        return {
            "currency": self.currency,
            "equal": self.equal,
            "balance": self.balance,
            "warehouse": self.warehouse,
            "in_flight": self.in_flight,
            "pending_equal": self.pending_equal,
            "pending": self.pending,
            "warehouse_pending": self.warehouse_pending,
            "in_flight_pending": self.in_flight_pending,
        }


@dataclass(frozen=True, slots=True)
class Balance:
    """The identity of one account: all its balance transactions come to its balance; `error` says why not told."""

    account: str
    status: Literal["ok", "different", "no_permission", "not_compared"]
    currencies: tuple[Money, ...] = ()
    error: str = ""

    def as_json(self) -> dict[str, object]:
        """Its part of `--json`."""
        return {
            "account": self.account,
            "status": self.status,
            "currencies": [each.as_json() for each in self.currencies],
            "error": self.error or None,
        }


@dataclass(frozen=True, slots=True)
class Audit:
    """A finished audit; `end` is what stopped it before everything was compared."""

    started_at: dt.datetime
    finished_at: dt.datetime
    streams: tuple[Stream, ...]
    balances: tuple[Balance, ...]
    requests: int
    named: frozenset[str] = frozenset()
    end: errors.TidegateError | None = None

    @property
    def status(self) -> Verdict:
        """Differences say more than what could not be read; a product that the account lacks is no fault."""
        states = {
            each.status for each in self.streams if each.status != "not_enabled" or each.stream in self.named
        } - {"not_compared"}
        if "different" in states or any(each.status == "different" for each in self.balances):
            return "different"
        if self.end is not None:
            return "failed"
        if unread := states - {"ok", "repaired"}:
            return "partial" if states - unread or "partial" in unread else "failed"
        return "repaired" if "repaired" in states else "ok"

    @property
    def exit_code(self) -> int:
        """0: all equal, or made so; 3: differences; 1: something could not be read, and no difference was seen."""
        if self.end is not None and self.status == "failed":
            return self.end.exit_code
        return {"ok": 0, "repaired": 0, "different": 3, "partial": 1, "failed": 1}[self.status]

    @property
    def repaired(self) -> int:
        """Differences that were repaired."""
        return sum(each.repaired for each in self.streams)

    def as_json(self) -> dict[str, object]:
        """The object that `--json` prints last."""
        return {
            "status": self.status,
            "streams": [each.as_json() for each in self.streams],
            "balance": [each.as_json() for each in self.balances],
            "requests": self.requests,
            "duration_s": round((self.finished_at - self.started_at).total_seconds(), 3),
            "repaired": self.repaired,
            "error": None if self.end is None else str(self.end),
        }


def nothing(error: errors.TidegateError) -> Mapping[str, object]:
    """What `--json` prints of an audit that could not begin."""
    now = dt.datetime.now(dt.UTC)
    return Audit(now, now, (), (), 0, end=error).as_json()
