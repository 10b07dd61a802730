"""What jobs come to, as the API tells it: the result of each kind, and its lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic

from tidegate.api import base
from tidegate.store import jobs

StreamStatus = Literal[
    "ok",
    "different",
    "repaired",
    "partial",
    "no_permission",
    "not_enabled",
    "not_compared",
    "failed",
]


class Sum(base.Model):
    """What a column adds up to, in minor units."""

    stripe: int
    warehouse: int


class AuditedMonth(base.Model):
    """The rows of a stream that were created in one month; `sums` by currency and column."""

    month: str | None
    stripe: int
    warehouse: int
    missing: int
    extra: int
    stale: int
    sums: dict[str, dict[str, Sum]]


class AuditedStream(base.Model):
    """A stream of an account, compared: rows on both sides, and what is missing here, extra, or has other values.

    `in_flight` are rows that changed while they were compared, which count as no difference.
    """

    kind: Literal["audit"] = "audit"
    stream: str
    account: str
    status: StreamStatus
    stripe: int
    warehouse: int
    missing: int
    extra: int
    stale: int
    in_flight: int
    repaired: int
    months: list[AuditedMonth]
    examples: dict[str, list[str]]
    note: str | None
    error: str | None
    next_step: str
    """What to do about it; empty where nothing is to be done."""


class Money(base.Model):
    """Stripe's balance in a currency beside all balance transactions, in minor units."""

    currency: str
    equal: bool
    balance: int
    warehouse: int
    in_flight: int
    pending_equal: bool | None
    pending: int
    warehouse_pending: int | None
    in_flight_pending: int


class AuditedBalance(base.Model):
    """The balance of an account; `error` says why it was not compared."""

    account: str
    status: Literal["ok", "different", "no_permission", "not_compared"]
    currencies: list[Money]
    error: str | None


class AuditResult(base.Model):
    """An audit as a whole; its streams are its rows, differences first."""

    kind: Literal["audit"] = "audit"
    status: Literal["ok", "different", "repaired", "partial", "failed"]
    stripe: int
    warehouse: int
    missing: int
    extra: int
    stale: int
    in_flight: int
    repaired: int
    streams: int
    wrong: int
    balance: list[AuditedBalance]
    requests: int
    duration_s: float


class EstimatedStream(base.Model):
    """What a stream would take; `exact` where its list ended on the first page."""

    kind: Literal["estimate"] = "estimate"
    stream: str
    status: Literal["ok", "partial", "no_permission", "not_enabled", "failed"]
    rows: int
    requests: int
    exact: bool
    error: str | None


class EstimateResult(base.Model):
    """An estimate as a whole; `duration_s` is what rate limits allow at best, `spent` the requests it took."""

    kind: Literal["estimate"] = "estimate"
    account: str
    rows: int
    requests: int
    duration_s: float
    spent: int
    streams: int
    unread: int


class ForgottenCustomer(base.Model):
    """A customer, and the accounts that have or had anything of theirs."""

    id: str
    accounts: list[str]


class ForgottenIn(base.Model):
    """Rows of a warehouse by table; `blind` are tables whose columns do not tell whose a row is."""

    name: str
    customers: list[ForgottenCustomer]
    tables: dict[str, int]
    blind: list[str]


class ForgottenByPushes(base.Model):
    """Rows of what pushes keep by table, and operations by push that may have been done or not."""

    tables: dict[str, int]
    undecided: dict[str, int]


class ForgetResult(base.Model):
    """What was erased, or would be; null where there are no pushes, or no customer model."""

    kind: Literal["forget"] = "forget"
    dry_run: bool
    customers: list[str]
    rows: int
    warehouses: list[ForgottenIn]
    pushes: ForgottenByPushes | None = None
    customer_model: dict[str, int] | None = None


class RefusedRows(base.Model):
    """Rows that a rehearsal did not write for one reason: the first of them, and what was said of that."""

    kind: Literal["rehearsal"] = "rehearsal"
    why: str
    code: str
    field: str
    text: str
    rows: int
    first: list[str]


class RehearsalResult(base.Model):
    """What a rehearsal came to, each row of the model once; `seeded` is what its sandbox began with."""

    kind: Literal["rehearsal"] = "rehearsal"
    push: str
    status: str
    rehearsed_in: str
    seeded: dict[str, int]
    doubt: str
    source: int
    created: int
    updated: int
    removed: int
    unchanged: int
    filtered: int
    unmatched: int
    held: int
    quarantined: int
    invalid: int
    failed: int
    unknown: int
    requests: int
    guards: list[str]
    duration_s: float


class DriftedField(base.Model):
    """A field that Stripe has otherwise than it was written, or an object that is gone."""

    kind: Literal["verification"] = "verification"
    key: str
    target: str
    what: Literal["changed", "deleted", "unlinked"]
    field: str


class VerificationResult(base.Model):
    """How many rows that were written are so still, as of a moment of Stripe's clock."""

    kind: Literal["verification"] = "verification"
    push: str
    account: str
    status: Literal["ok", "drifted"]
    rows: int
    equal: int
    changed: int
    deleted: int
    unlinked: int
    fields: int
    as_of: base.Moment


Result = Annotated[
    AuditResult | EstimateResult | ForgetResult | RehearsalResult | VerificationResult,
    pydantic.Field(discriminator="kind"),
]
_Row = Annotated[
    AuditedStream | EstimatedStream | RefusedRows | DriftedField, pydantic.Field(discriminator="kind")
]


class JobRow(pydantic.RootModel[_Row]):
    """A line of what a job found, by the job's kind."""


def result(kind: jobs.Kind, told: Mapping[str, Any]) -> Result:
    """The result of a job that came to its end."""
    match kind:
        case "audit":
            return AuditResult.model_validate(told)
        case "estimate":
            return EstimateResult.model_validate(_of(EstimateResult, told))
        case "forget":
            return ForgetResult.model_validate(told)
        case "rehearsal":
            return RehearsalResult.model_validate(
                _of(RehearsalResult, {**told, "duration_s": told["seconds"]})
            )
        case "verification":
            return VerificationResult.model_validate(_of(VerificationResult, {**told, "as_of": told["at"]}))


def row(kind: jobs.Kind, told: Mapping[str, Any], next_step: str = "") -> JobRow:
    """A line of what a job found."""
    match kind:
        case "audit":
            return JobRow(AuditedStream.model_validate({**told, "next_step": next_step}))
        case "estimate":
            return JobRow(EstimatedStream.model_validate(told))
        case "rehearsal":
            return JobRow(RefusedRows.model_validate({**told, "kind": "rehearsal", "why": told["kind"]}))
        case _:
            return JobRow(DriftedField.model_validate({**told, "kind": "verification", "what": told["kind"]}))


def _of(model: type[base.Model], told: Mapping[str, Any]) -> dict[str, Any]:
    """What a model takes of a document."""
    return {name: value for name, value in told.items() if name in model.model_fields}
