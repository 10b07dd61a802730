"""What merchants, customers and banks do about money in `traffic`: payments, disputes, payouts, transfers."""

from __future__ import annotations

from tidegate.sandbox import habits, objects, outside
from tidegate.sandbox.traffic import Fits, Life, habit


@habit("payment_intents.create", 3)
def _create_intent(life: Life) -> None:
    _intent(life)


def _intent(life: Life, **more: object) -> objects.Object:
    owner = habits.customer(life)["id"]
    return life.post("/v1/payment_intents", amount=life.amount(), currency="usd", customer=owner, **more)


@habit("payment_intents.confirm", 3)
def _confirm(life: Life) -> None:
    open_ = ("requires_payment_method", "requires_confirmation")
    found = life.some("payment_intents", lambda one: one["status"] in open_) or _intent(life)
    life.post(f"/v1/payment_intents/{found['id']}/confirm", payment_method=habits.card(life))


@habit("payment_intents.decline")
def _decline(life: Life) -> None:
    id = _intent(life)["id"]
    life.post(
        f"/v1/payment_intents/{id}/confirm", payment_method=habits.card(life, "pm_card_visa_chargeDeclined")
    )


@habit("payment_intents.capture")
def _capture(life: Life) -> None:
    held = _intent(life, capture_method="manual", confirm=True, payment_method=habits.card(life))
    amount = life.chance.randrange(1, held["amount"] + 1)
    life.post(f"/v1/payment_intents/{held['id']}/capture", amount_to_capture=amount)


@habit("payment_intents.cancel")
def _cancel(life: Life) -> None:
    found = life.some("payment_intents", lambda one: one["status"] not in ("succeeded", "canceled"))
    life.post(f"/v1/payment_intents/{(found or _intent(life))['id']}/cancel", cancellation_reason="abandoned")


@habit("payment_intents.edit", 2, silent=True)
def _edit(life: Life) -> None:
    life.post(
        f"/v1/payment_intents/{(life.some('payment_intents') or _intent(life))['id']}",
        metadata=life.metadata(),
    )


@habit("charges.create", 2)
def _create_charge(life: Life) -> None:
    life.post("/v1/charges", amount=life.amount(), currency="usd", source="tok_visa", description=life.word())


@habit("charges.update", 2)
def _update_charge(life: Life) -> None:
    life.post(f"/v1/charges/{_good(life)['id']}", metadata=life.metadata())


@habit("charges.capture")
def _capture_charge(life: Life) -> None:
    given = {"amount": life.amount(), "currency": "usd", "source": "tok_visa", "capture": False}
    life.post(f"/v1/charges/{life.post('/v1/charges', **given)['id']}/capture")


@habit("charges.warn")
def _warn(life: Life) -> None:
    outside.warn_of_fraud(life.call(), _good(life))


def _good(life: Life, fits: Fits = lambda _: True) -> objects.Object:
    found = life.some("charges", lambda one: one["status"] == "succeeded" and fits(one))
    return found or life.post("/v1/charges", amount=life.amount(), currency="usd", source="tok_visa")


def _refundable(one: objects.Object) -> bool:
    left = one["amount_captured"] - one["amount_refunded"]
    return bool(left > 1 and not one["refunded"] and not one["disputed"])


@habit("refunds.partial", 2)
def _refund_part(life: Life) -> None:
    of = _good(life, _refundable)
    left = of["amount_captured"] - of["amount_refunded"]
    life.post("/v1/refunds", charge=of["id"], amount=life.chance.randrange(1, left))


@habit("refunds.full")
def _refund(life: Life) -> None:
    life.post("/v1/refunds", charge=_good(life, _refundable)["id"])


@habit("refunds.update")
def _update_refund(life: Life) -> bool:
    found = life.some("refunds")
    if found is None:
        return False
    life.post(f"/v1/refunds/{found['id']}", metadata=life.metadata())
    return True


@habit("refunds.fail")
def _fail_refund(life: Life) -> None:
    refund = life.post("/v1/refunds", charge=_good(life, _refundable)["id"])
    outside.fail_refund(life.call(), refund)


@habit("disputes.open", 2)
def _open_dispute(life: Life) -> None:
    _dispute(life)


def _dispute(life: Life) -> objects.Object:
    life.post("/v1/charges", amount=life.amount(), currency="usd", source="tok_createDispute")
    newest = next(life.book.descending("disputes", None, None, None))
    return life.book.show("disputes", newest)


def _open(life: Life) -> objects.Object:
    mine = life.some(
        "disputes",
        lambda one: one["status"] in ("needs_response", "under_review") and one["balance_transactions"],
    )
    return mine or _dispute(life)


@habit("disputes.evidence")
def _evidence(life: Life) -> None:
    life.post(f"/v1/disputes/{_open(life)['id']}", evidence={"uncategorized_text": life.word()}, submit=True)


@habit("disputes.close")
def _close(life: Life) -> None:
    life.post(f"/v1/disputes/{_open(life)['id']}/close")


@habit("disputes.win")
def _win(life: Life) -> None:
    outside.decide_dispute(life.call(), _open(life), won=True)


@habit("disputes.lose")
def _lose(life: Life) -> None:
    outside.decide_dispute(life.call(), _open(life), won=False)


def _payout(life: Life) -> objects.Object:
    return life.post("/v1/payouts", amount=life.amount(), currency="usd")


@habit("payouts.create", 2)
def _create_payout(life: Life) -> None:
    _payout(life)


@habit("payouts.update")
def _update_payout(life: Life) -> None:
    life.post(f"/v1/payouts/{(life.some('payouts') or _payout(life))['id']}", metadata=life.metadata())


@habit("payouts.cancel")
def _cancel_payout(life: Life) -> None:
    life.post(f"/v1/payouts/{_payout(life)['id']}/cancel")


@habit("payouts.arrive")
def _arrive(life: Life) -> None:
    outside.pay_out(
        life.call(), life.some("payouts", lambda one: one["status"] == "pending") or _payout(life)
    )


@habit("payouts.fail")
def _fail(life: Life) -> None:
    outside.fail_payout(
        life.call(), life.some("payouts", lambda one: one["status"] == "pending") or _payout(life)
    )


def _transfer(life: Life) -> objects.Object | None:
    account = life.some("accounts")
    if account is None:
        return None
    return life.post("/v1/transfers", amount=life.amount(), currency="usd", destination=account["id"])


@habit("transfers.create", 2)
def _create_transfer(life: Life) -> bool:
    return _transfer(life) is not None


@habit("transfers.update")
def _update_transfer(life: Life) -> bool:
    found = life.some("transfers")
    if found is None:
        return False
    life.post(f"/v1/transfers/{found['id']}", metadata=life.metadata())
    return True


@habit("transfers.reverse", 2)
def _reverse(life: Life) -> bool:
    return _reversal(life) is not None


def _reversal(life: Life) -> tuple[objects.Object, objects.Object] | None:
    found = life.some("transfers", lambda one: not one["reversed"]) or _transfer(life)
    if found is None:
        return None
    amount = life.chance.randrange(1, found["amount"] - found["amount_reversed"] + 1)
    return found, life.post(f"/v1/transfers/{found['id']}/reversals", amount=amount)


@habit("transfers.edit_reversal", silent=True)
def _edit_reversal(life: Life) -> bool:
    found = life.with_child("transfer_reversals", "transfers") or _reversal(life)
    if found is None:
        return False
    life.post(f"/v1/transfers/{found[0]['id']}/reversals/{found[1]['id']}", metadata=life.metadata())
    return True


def _topup(life: Life) -> objects.Object:
    return life.post("/v1/topups", amount=life.amount(), currency="usd")


@habit("topups.create", 2)
def _create_topup(life: Life) -> None:
    _topup(life)


@habit("topups.arrive")
def _topup_arrives(life: Life) -> None:
    outside.top_up(life.call(), _topup(life))


@habit("topups.cancel")
def _cancel_topup(life: Life) -> None:
    life.post(f"/v1/topups/{_topup(life)['id']}/cancel")


@habit("topups.edit", silent=True)
def _edit_topup(life: Life) -> None:
    life.post(f"/v1/topups/{(life.some('topups') or _topup(life))['id']}", description=life.word())
