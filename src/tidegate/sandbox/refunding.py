"""Rules of money that goes out again: refunds, disputes, payouts, transfers and their reversals."""

from __future__ import annotations

from tidegate.sandbox import forms, objects, paying, refusals, writes


def _new_refund(call: writes.Call, refund: objects.Object, given: forms.Tree) -> None:
    id = given.get("charge")
    if not id and given.get("payment_intent"):
        id = call.get("payment_intents", given["payment_intent"], "payment_intent")["latest_charge"]
    if not id:
        raise refusals.not_allowed(
            "One of the following params should be provided for this request: payment_intent or charge.",
            code="parameter_missing",
        )
    of = call.get("charges", id, "charge")
    left = of["amount_captured"] - of["amount_refunded"]
    if of["refunded"] or left <= 0:
        raise refusals.not_allowed(
            f"Charge {of['id']} has already been refunded.", code="charge_already_refunded", param="charge"
        )
    amount = given.get("amount", left)
    if not 0 < amount <= left:
        raise refusals.not_allowed(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).",
            code="amount_too_large",
            param="amount",
        )
    refund.update(
        amount=amount,
        charge=of["id"],
        currency=of["currency"],
        payment_intent=of["payment_intent"],
        status="succeeded",
        balance_transaction=paying.move(call, refund["id"], -amount, of["currency"], "refund"),
    )


def _made_refund(call: writes.Call, refund: objects.Object, _: forms.Tree) -> None:
    of = call.get("charges", refund["charge"])
    total = of["amount_refunded"] + refund["amount"]
    values = {"amount_refunded": total, "refunded": total == of["amount_captured"]}
    call.change("charges", of["id"], values, "charge.refunded")


@writes.action("POST", "/v1/refunds/{refund}/cancel", "refunds")
def _cancel_refund(call: writes.Call, refund: objects.Object, _: forms.Tree) -> objects.Object:
    if refund["status"] not in ("requires_action", "pending"):
        raise paying.unexpected("Refund", refund, "cancel")
    return call.change("refunds", refund["id"], {"status": "canceled"}, "refund.updated")


def _changed_dispute(_: writes.Call, dispute: objects.Object, given: forms.Tree) -> None:
    if not given.keys() - {"metadata"}:
        return
    _must_be_open(dispute)
    details = dict(dispute["evidence_details"] or {})
    if given.get("evidence"):
        details["has_evidence"] = True
    if given.get("submit", bool(given.get("evidence"))):
        details["submission_count"] = details.get("submission_count", 0) + 1
        dispute["status"] = "under_review"
    dispute["evidence_details"] = details


@writes.action("POST", "/v1/disputes/{dispute}/close", "disputes")
def _close_dispute(call: writes.Call, dispute: objects.Object, _: forms.Tree) -> objects.Object:
    _must_be_open(dispute)
    return call.change("disputes", dispute["id"], {"status": "lost"}, "charge.dispute.closed")


def _must_be_open(dispute: objects.Object) -> None:
    if dispute["status"] in ("won", "lost"):
        raise refusals.not_allowed("This dispute is already closed.", code="dispute_closed")


def _new_payout(call: writes.Call, payout: objects.Object, given: forms.Tree) -> None:
    paying.positive(payout["amount"])
    currency = payout["currency"].lower()
    payout.update(
        arrival_date=call.now() + paying.DAY,
        automatic=False,
        balance_transaction=paying.move(call, payout["id"], -payout["amount"], currency, "payout"),
        currency=currency,
        method=given.get("method") or "standard",
        reconciliation_status="not_applicable",
        source_type=given.get("source_type") or "card",
        status="pending",
        type="bank_account",
    )


@writes.action("POST", "/v1/payouts/{payout}/cancel", "payouts")
def _cancel_payout(call: writes.Call, payout: objects.Object, _: forms.Tree) -> objects.Object:
    if payout["status"] != "pending":
        raise refusals.not_allowed("Only pending payouts can be canceled.", code="payouts_not_allowed")
    back = paying.move(call, payout["id"], payout["amount"], payout["currency"], "payout_cancel")
    values = {"status": "canceled", "failure_balance_transaction": back}
    return call.change("payouts", payout["id"], values, "payout.canceled")


def _new_transfer(call: writes.Call, transfer: objects.Object, given: forms.Tree) -> None:
    if "amount" not in given:
        raise refusals.missing_parameter("amount")
    paying.positive(transfer["amount"])
    currency = transfer["currency"].lower()
    transfer.update(
        amount_reversed=0,
        balance_transaction=paying.move(call, transfer["id"], -transfer["amount"], currency, "transfer"),
        currency=currency,
        reversed=False,
        source_type=given.get("source_type") or "card",
    )


def _new_reversal(call: writes.Call, reversal: objects.Object, given: forms.Tree) -> None:
    transfer = call.get("transfers", reversal["transfer"])
    left = transfer["amount"] - transfer["amount_reversed"]
    amount = given.get("amount", left)
    if not 0 < amount <= left:
        raise refusals.not_allowed(
            f"Reversal amount ({amount}) is greater than unreversed amount on transfer ({left}).",
            param="amount",
        )
    reversal.update(
        amount=amount,
        balance_transaction=paying.move(
            call, reversal["id"], amount, transfer["currency"], "transfer_refund"
        ),
        currency=transfer["currency"],
    )


def _made_reversal(call: writes.Call, reversal: objects.Object, _: forms.Tree) -> None:
    transfer = call.get("transfers", reversal["transfer"])
    total = transfer["amount_reversed"] + reversal["amount"]
    values = {"amount_reversed": total, "reversed": total == transfer["amount"]}
    call.change("transfers", transfer["id"], values, "transfer.reversed")


writes.BEFORE_CREATE |= {
    "refunds": _new_refund,
    "payouts": _new_payout,
    "transfers": _new_transfer,
    "transfer_reversals": _new_reversal,
}
writes.AFTER_CREATE |= {"refunds": _made_refund, "transfer_reversals": _made_reversal}
writes.BEFORE_UPDATE |= {"disputes": _changed_dispute}
