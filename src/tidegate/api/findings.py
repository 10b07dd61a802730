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
    """Minor units at Stripe."""
    warehouse: int
    """Minor units in the warehouse."""


class AuditedMonth(base.Model):
    """The rows of a stream that were created in one month."""

    month: str | None
    """Such as `2026-01`; null for rows that do not tell when they were created."""
    stripe: int
    """Rows at Stripe."""
    warehouse: int
    """Rows in the warehouse."""
    missing: int
    """Rows that the warehouse lacks."""
    extra: int
    """Rows that Stripe no longer has, and the warehouse does not mark as deleted."""
    stale: int
    """Rows with other values than at Stripe."""
    sums: dict[str, dict[str, Sum]]
    """What amounts add up to, in minor units by currency and column."""


class AuditedStream(base.Model):
    """A stream of an account, compared."""

    kind: Literal["audit"] = "audit"
    """Says that it is a line of an audit."""
    stream: str
    """Such as `charges`."""
    account: str
    """The id of the account."""
    status: StreamStatus
    """`ok` is equal, `repaired` was different; `partial` was read in part; `failed` says why in `error`."""
    stripe: int
    """Rows at Stripe."""
    warehouse: int
    """Rows in the warehouse."""
    missing: int
    """Rows that the warehouse lacks."""
    extra: int
    """Rows that Stripe no longer has, and the warehouse does not mark as deleted."""
    stale: int
    """Rows with other values than at Stripe."""
    in_flight: int
    """Rows that changed while they were compared, or just before; they count as no difference."""
    repaired: int
    """Differences that were mended."""
    months: list[AuditedMonth]
    """The same by the month in which rows were created."""
    examples: dict[str, list[str]]
    """Ids of the first rows that are `missing`, `extra` or `stale`."""
    note: str | None
    """What else there is to know, such as why it was not compared; null where nothing."""
    error: str | None
    """What went wrong; null where nothing did."""
    next_step: str
    """What to do about it; empty where nothing is to be done."""


class Money(base.Model):
    """Stripe's balance in a currency beside all balance transactions, in minor units."""

    currency: str
    """Three small letters, such as `eur`."""
    equal: bool
    """Do all balance transactions come to the balance?"""
    balance: int
    """Minor units that the account has at Stripe, pending included."""
    warehouse: int
    """Minor units that all balance transactions in the warehouse come to."""
    in_flight: int
    """Minor units that movements come to which the warehouse cannot know yet."""
    pending_equal: bool | None
    """Do those that are not available yet come to what is pending? Null where the table does not tell."""
    pending: int
    """Minor units that are not available yet, by Stripe."""
    warehouse_pending: int | None
    """The same, by the warehouse; null where its table does not tell."""
    in_flight_pending: int
    """Minor units of the pending that the warehouse cannot know yet."""


class AuditedBalance(base.Model):
    """The balance of an account."""

    account: str
    """Its id."""
    status: Literal["ok", "different", "no_permission", "not_compared"]
    """`no_permission` and `not_compared` say why in `error`."""
    currencies: list[Money]
    """One by one; empty where it was not compared."""
    error: str | None
    """Why it was not compared; null where it was."""


class AuditResult(base.Model):
    """An audit as a whole; its streams are its rows, differences first."""

    kind: Literal["audit"] = "audit"
    """Says that it is the result of an audit."""
    status: Literal["ok", "different", "repaired", "partial", "failed"]
    """The worst of its streams and balances; `partial` did not read all of them."""
    stripe: int
    """Rows at Stripe."""
    warehouse: int
    """Rows in the warehouse."""
    missing: int
    """Rows that the warehouse lacks."""
    extra: int
    """Rows that Stripe no longer has, and the warehouse does not mark as deleted."""
    stale: int
    """Rows with other values than at Stripe."""
    in_flight: int
    """Rows that changed while they were compared, or just before; they count as no difference."""
    repaired: int
    """Differences that were mended."""
    streams: int
    """Streams, of each account one by one, that were looked at."""
    wrong: int
    """Those of them where something is wrong."""
    balance: list[AuditedBalance]
    """Stripe's balance beside all balance transactions, account by account."""
    requests: int
    """Requests to Stripe that it took."""
    duration_s: float
    """Seconds that it took."""


class EstimatedStream(base.Model):
    """What a stream would take."""

    kind: Literal["estimate"] = "estimate"
    """Says that it is a line of an estimate."""
    stream: str
    """Such as `charges`."""
    status: Literal["ok", "partial", "no_permission", "not_enabled", "failed"]
    """`ok`, or why it cannot be read."""
    rows: int
    """Rows that would come."""
    requests: int
    """Requests to Stripe that these would take."""
    exact: bool
    """Did its list end on the first page? Otherwise the figures are a guess."""
    error: str | None
    """What Stripe said against it; null where nothing."""


class EstimateResult(base.Model):
    """An estimate as a whole."""

    kind: Literal["estimate"] = "estimate"
    """Says that it is the result of an estimate."""
    account: str
    """The id of the account that was looked at."""
    rows: int
    """Rows that would come."""
    requests: int
    """Requests to Stripe that these would take."""
    duration_s: float
    """Seconds that it would take at best, as rate limits allow."""
    spent: int
    """Requests that the estimate itself took."""
    streams: int
    """Streams that were looked at."""
    unread: int
    """Those of them that cannot be read."""


class ForgottenCustomer(base.Model):
    """A customer, and the accounts that have or had anything of theirs."""

    id: str
    """At Stripe, such as `cus_NffrFeUfNV2Hib`."""
    accounts: list[str]
    """Ids of the accounts."""


class ForgottenIn(base.Model):
    """What was found in a warehouse."""

    name: str
    """As the configuration calls it."""
    customers: list[ForgottenCustomer]
    """Whose data there is or was."""
    tables: dict[str, int]
    """Rows of theirs, by table."""
    blind: list[str]
    """Tables whose columns do not tell whose a row is."""


class ForgottenByPushes(base.Model):
    """What pushes keep of them in the metadata database."""

    tables: dict[str, int]
    """Rows of theirs, by what keeps them."""
    undecided: dict[str, int]
    """Operations that may have been done or not and stay, by push."""


class ForgetResult(base.Model):
    """What was erased, or would be."""

    kind: Literal["forget"] = "forget"
    """Says that it is the result of forgetting."""
    dry_run: bool
    """Was it only counted?"""
    customers: list[str]
    """The ids that were given."""
    rows: int
    """Rows of theirs, wherever they stand."""
    warehouses: list[ForgottenIn]
    """What was found, warehouse by warehouse."""
    pushes: ForgottenByPushes | None = None
    """What pushes keep; null where there are none."""
    customer_model: dict[str, int] | None = None
    """Rows of the customer model, by what they stand in; null where there is none."""


class RefusedRows(base.Model):
    """Rows that a rehearsal did not write for one reason: the first of them, and what was said of that."""

    kind: Literal["rehearsal"] = "rehearsal"
    """Says that it is a line of a rehearsal."""
    why: str
    """What kind of hold they got, such as `refused` or `invalid`."""
    code: str
    """Stripe's code for it; empty where it said none."""
    field: str
    """The field that is wrong; empty where it is none alone."""
    text: str
    """What is wrong, in a sentence without personal data."""
    rows: int
    """How many there are."""
    first: list[str]
    """Keys of the first ones."""


class RehearsalResult(base.Model):
    """What a rehearsal came to, each row of the model once."""

    kind: Literal["rehearsal"] = "rehearsal"
    """Says that it is the result of a rehearsal."""
    push: str
    """Its name in the configuration."""
    status: str
    """`ok`, `partial` where something was not written, or `failed`."""
    rehearsed_in: str
    """`the sandbox`, or the connection."""
    seeded: dict[str, int]
    """Objects that the sandbox began with, by kind."""
    doubt: str
    """Why the sandbox began empty; empty where it did not."""
    source: int
    """Rows that the model has."""
    created: int
    """Rows of which an object was made."""
    updated: int
    """Rows whose object was changed."""
    removed: int
    """Objects whose rows are gone, and that were handled as the push says."""
    unchanged: int
    """Rows that Stripe had as they are."""
    filtered: int
    """Rows that the push's filter leaves out."""
    unmatched: int
    """Rows that find no object and make none, or whose object is to stay as it is."""
    held: int
    """Rows that wait for a person."""
    quarantined: int
    """Rows that Stripe refused, or that share a key; they wait until they change."""
    invalid: int
    """Rows without a usable key, or with values that Stripe never takes."""
    failed: int
    """Rows that were surely not written; they are tried again."""
    unknown: int
    """Rows of which nobody can tell whether they were written."""
    requests: int
    """Requests that it took."""
    guards: list[str]
    """Why somebody would have to approve the real push, in sentences."""
    duration_s: float
    """Seconds that it took."""


class DriftedField(base.Model):
    """A field that Stripe has otherwise than it was written, or an object that is gone."""

    kind: Literal["verification"] = "verification"
    """Says that it is a line of a verification."""
    key: str
    """The row's key."""
    target: str
    """The id of its object."""
    what: Literal["changed", "deleted", "unlinked"]
    """The field was `changed`, the object `deleted`, or the row is `unlinked` from it already."""
    field: str
    """The field that was changed; empty where the object is gone."""


class VerificationResult(base.Model):
    """How many rows that were written are so still."""

    kind: Literal["verification"] = "verification"
    """Says that it is the result of a verification."""
    push: str
    """Its name in the configuration."""
    account: str
    """The id of the account that it writes to."""
    status: Literal["ok", "drifted"]
    """`drifted` where anything was changed or deleted."""
    rows: int
    """Rows that were written: the sum of the next four."""
    equal: int
    """Rows that Stripe has as they were written."""
    changed: int
    """Rows whose object somebody else changed."""
    deleted: int
    """Rows whose object is gone."""
    unlinked: int
    """Rows that have no object any more, which is noted already."""
    fields: int
    """Fields that were changed."""
    as_of: base.Moment
    """The moment of Stripe's clock that this is of."""


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
