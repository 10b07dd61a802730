"""The generated business being paid: intents, charges, refunds, disputes, transfers, payouts, and their ledger."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.sandbox import business, ids, people, templates, words


def quoted(name: Callable[[int], str], ordinal: int) -> str:
    """A reference, or null for -1."""
    return f'"{name(ordinal)}"' if ordinal >= 0 else "null"


def payment_intents(books: business.Books) -> business.Render:
    """Payment intents: one per payment, and some that were never paid."""
    template = templates.compiled(
        books.catalog.streams["payment_intents"],
        id='"%s"', amount="%d", amount_received="%d", canceled_at="%s", cancellation_reason="%s",
        client_secret='"%s_secret_%s"', created="%d", currency='"%s"', customer="%s", description="%s",
        latest_charge="%s", metadata="%s", payment_method="%s", status='"%s"', receipt_email="%s",
        automatic_payment_methods='{"allow_redirects":"always","enabled":true}', capture_method='"automatic"',
        confirmation_method='"automatic"', payment_method_types='["card","link"]', amount_capturable="0",
        payment_method_options='{"card":{"installments":null,"mandate_options":null,"network":null,'
        '"request_three_d_secure":"automatic"},"link":{"persistent_token":null}}',
        last_payment_error="%s", setup_future_usage="%s",
    )  # fmt: skip
    own, created = books.namer("payment_intents").name, books.times("payment_intents")
    charge, customers = books.namer("charges").name, books.namer("customers").name
    methods = books.namer("payment_methods").name
    failure = (
        '{"advice_code":"try_again_later","code":"card_declined","decline_code":"insufficient_funds",'
        '"doc_url":"https://stripe.com/docs/error-codes/card-declined",'
        '"message":"Your card has insufficient funds.",'
        '"type":"card_error"}'
    )

    def render(intent: int, _: int | None) -> str:
        few, j, _ = books.intents.split(intent)
        paid = not few
        bits = ids.mix(intent * 8 + 7 ^ books.seed)
        customer = books.intent_customer(intent)
        amount = books.amount(j) if paid else 300 + bits % 25_000 // 10 * 10
        held = books.methods_of(customer) if customer >= 0 else ()
        canceled = not paid and bits & 3 == 0
        when = created(intent)
        id = own(intent)
        if paid:
            status = "succeeded"
        else:
            status = ("canceled", "requires_payment_method", "requires_action", "requires_confirmation")[
                bits & 3
            ]
        return template % (
            id,
            amount,
            amount if paid else 0,
            when + 3600 if canceled else "null",
            '"abandoned"' if canceled else "null",
            id,
            people.fingerprint(bits),
            when,
            books.currency(customer),
            f'"{customers(customer)}"' if customer >= 0 else "null",
            words.DESCRIPTIONS[bits >> 3 & 15],
            f'"{charge(books.charges.ordinal(j))}"' if paid else "null",
            words.METADATA[bits >> 7 & 15] % (bits >> 40) if bits >> 7 & 8 else "{}",
            f'"{methods(held[0])}"' if held and status != "requires_payment_method" else "null",
            status,
            f'"{books.email_of(customer)}"' if customer >= 0 and bits >> 45 & 3 == 0 else "null",
            failure if status == "requires_payment_method" else "null",
            ('"off_session"', "null", "null", "null")[bits >> 50 & 3],
        )

    return render


def refunds(books: business.Books) -> business.Render:
    """Refunds: whole, half, or a charge given back in twelve parts."""
    template = templates.compiled(
        books.catalog.streams["refunds"],
        id='"%s"', amount="%d", balance_transaction="%s", charge="%s", created="%d", currency='"%s"', metadata="%s",
        customer="%s", payment_intent="%s", payment_method="%s", reason="%s", status='"%s"', receipt_number="null",
        destination_details='{"card":{"reference":"%d","reference_status":"available",'
        '"reference_type":"acquirer_reference_number","type":"refund"},"type":"card"}',
    )  # fmt: skip
    own, created = books.namer("refunds").name, books.times("refunds")
    charge, intents = books.namer("charges").name, books.namer("payment_intents").name
    customers, methods = books.namer("customers").name, books.namer("payment_methods").name
    recent = books.counts.get("refunds", 0) * 99 // 100

    def render(refund: int, _: int | None) -> str:
        bits = ids.mix(refund * 8 + 5 ^ books.seed)
        j = books.refund_payment(refund)
        customer = books.payer(j) if j >= 0 else -1
        held = books.methods_of(customer) if customer >= 0 else ()
        return template % (
            own(refund),
            books.refund_amount(refund),
            books.entry_id("refunds", refund),
            f'"{charge(books.charges.ordinal(j))}"' if j >= 0 else "null",
            created(refund),
            books.currency(customer),
            words.METADATA[bits >> 7 & 15] % (bits >> 40) if bits >> 7 & 8 else "{}",
            quoted(customers, customer),
            quoted(intents, books.intent_of(j)) if j >= 0 else "null",
            f'"{methods(held[0])}"' if held else "null",
            ("null", '"requested_by_customer"', '"duplicate"', '"fraudulent"')[bits & 3],
            "pending" if refund > recent else "succeeded",
            10_000_000 + bits % 80_000_000,
        )

    return render


def disputes(books: business.Books) -> business.Render:
    """Disputes, each with the balance transaction that took the money back."""
    statuses = ("won", "lost", "lost", "needs_response", "under_review", "warning_closed", "lost", "won")
    reasons = ("fraudulent", "product_not_received", "duplicate", "subscription_canceled")
    evidence = templates.whole_object(books.catalog.streams["disputes"], books.reference)["evidence"]
    assert isinstance(evidence, dict), "A dispute's evidence is a hash."
    empty = {name: None for name in evidence if name != "enhanced_evidence"}
    template = templates.compiled(
        books.catalog.streams["disputes"],
        id='"%s"', amount="%d", balance_transactions="%s", charge="%s", created="%d", currency='"%s"',
        payment_intent="%s", reason='"%s"', status='"%s"', is_charge_refundable="%s", metadata="%s",
        evidence=templates.dump({**empty, "enhanced_evidence": {}}), enhanced_eligibility_types="[]",
        evidence_details='{"due_by":%s,"enhanced_eligibility":{},"has_evidence":%s,"past_due":%s,"submission_count":%d,'
        '"submission_method":"not_submitted"}',
        payment_method_details='{"card":{"brand":"visa","case_type":"chargeback","network":"visa",'
        '"network_reason_code":"83"},"type":"card"}', network_reason_code='"83"',
    )  # fmt: skip
    own, created = books.namer("disputes").name, books.times("disputes")
    charge, intents = books.namer("charges").name, books.namer("payment_intents").name
    ledger = balance_transactions(books)
    has_ledger = books.has("balance_transactions")

    def render(dispute: int, _: int | None) -> str:
        bits = ids.mix(dispute * 8 + 3 ^ books.seed)
        j = books.dispute_payment(dispute)
        status = statuses[bits & 7]
        when, open_ = created(dispute), status in ("needs_response", "under_review")
        taken = has_ledger and not status.startswith("warning")
        return template % (
            own(dispute),
            books.amount(j) if j >= 0 else 1000,
            f"[{ledger(books.entry_of('disputes', dispute), None)}}}]" if taken else "[]",
            f'"{charge(max(0, books.charges.ordinal(j)))}"' if j >= 0 else f'"{charge(0)}"',
            when,
            books.currency(books.payer(j)) if j >= 0 else "usd",
            quoted(intents, books.intent_of(j)) if j >= 0 else "null",
            reasons[bits >> 3 & 3],
            status,
            "true" if status.startswith("warning") else "false",
            words.METADATA[bits >> 7 & 15] % (bits >> 40) if bits >> 7 & 8 else "{}",
            when + 14 * business.DAY if open_ else "null",
            "true" if status == "under_review" else "false",
            "false" if open_ else "true",
            1 if status == "under_review" else 0,
        )

    return render


def transfers(books: business.Books) -> business.Render:
    """Transfers of a part of a payment to a connected account, some of them reversed in parts."""
    template = templates.compiled(
        books.catalog.streams["transfers"],
        id='"%s"', amount="%d", amount_reversed="%d", balance_transaction="%s", created="%d", currency='"%s"',
        destination="%s", source_transaction="%s", reversed="%s", metadata="%s", source_type='"card"',
        transfer_group="%s", description="null",
    )  # fmt: skip
    own, created = books.namer("transfers").name, books.times("transfers")
    charge, accounts = books.namer("charges").name, books.namer("accounts").name
    total = books.counts.get("accounts", 0)

    def render(transfer: int, _: int | None) -> str:
        bits = ids.mix(transfer * 8 + 2 ^ books.seed)
        j = books.transfer_payment(transfer)
        amount = books.transfer_amount(transfer)
        back = sum(
            books.reversal_amount(transfer, at)
            for at in range(books.children("transfer_reversals", transfer))
        )
        if not books.has("transfer_reversals"):
            back = 0
        return template % (
            own(transfer),
            amount,
            back,
            books.entry_id("transfers", transfer),
            created(transfer),
            books.currency(books.payer(j)) if j >= 0 else "usd",
            f'"{accounts(bits % total)}"' if total else "null",
            f'"{charge(books.charges.ordinal(j))}"' if j >= 0 else "null",
            "true" if back == amount else "false",
            words.METADATA[bits >> 7 & 15] % (bits >> 40) if bits >> 7 & 8 else "{}",
            f'"group_{bits % 1000}"' if bits >> 50 & 1 else "null",
        )

    return render


def transfer_reversals(books: business.Books) -> business.Render:
    """Reversals of a transfer: each a part of what was transferred."""
    template = templates.compiled(
        books.catalog.streams["transfer_reversals"],
        id='"%s"', amount="%d", created="%d", currency='"%s"', transfer='"%s"', metadata="{}",
    )  # fmt: skip
    created = books.times("transfers")

    def render(ordinal: int, parent: int | None) -> str:
        assert parent is not None, "Reversals are listed by transfer."
        j = books.transfer_payment(parent)
        return template % (
            books.row_id("transfer_reversals", ordinal, parent),
            books.reversal_amount(parent, ordinal),
            created(parent),
            books.currency(books.payer(j)) if j >= 0 else "usd",
            books.parent_id("transfer_reversals", parent),
        )

    return render


def payouts(books: business.Books) -> business.Render:
    """Payouts of what the ledger took in since the payout before."""
    template = templates.compiled(
        books.catalog.streams["payouts"],
        id='"%s"', amount="%d", arrival_date="%d", automatic="true", balance_transaction="%s", created="%d",
        currency='"usd"', description='"STRIPE PAYOUT"', status='"%s"', metadata="{}", method='"standard"',
        reconciliation_status='"completed"', source_type='"card"', type='"bank_account"', destination="%s",
        trace_id='{"status":"supported","value":"%d"}',
    )  # fmt: skip
    own, created = books.namer("payouts").name, books.times("payouts")
    to = f'"ba_1{ids.tail(books.seed ^ 11)}{ids.tail(books.seed ^ 12)}xyz"'

    def render(payout: int, _: int | None) -> str:
        when = created(payout)
        arrival = when - when % business.DAY + 2 * business.DAY
        return template % (
            own(payout),
            books.payout_amount(payout),
            arrival,
            books.entry_id("payouts", payout),
            when,
            "paid" if arrival <= books.now else "in_transit",
            to,
            ids.mix(payout) >> 8,
        )

    return render


def balance_transactions(books: business.Books) -> business.Render:
    """The ledger: amount - fee = net, about the object named in `source`."""
    template = templates.compiled(
        books.catalog.streams["balance_transactions"],
        id='"%s"', amount="%d", available_on="%d", created="%d", currency='"%s"', description="%s", fee="%d",
        fee_details="%s", net="%d", reporting_category='"%s"', source="%s", status='"%s"', type='"%s"',
        balance_type='"payments"', exchange_rate="null",
    )  # fmt: skip
    own = books.namer("balance_transactions").name
    names = {stream: books.namer(stream).name for stream in KINDS}
    created, now = books.times("balance_transactions"), books.now

    def render(at: int, _: int | None) -> str:
        stream, ordinal = books.entry(at)
        amount, fee, currency = books.movement(stream, ordinal)
        kind, category, description = KINDS[stream]
        when = created(at)
        available = when - when % business.DAY + 2 * business.DAY
        why = "Stripe processing fees" if kind == "charge" else "Dispute fee"
        details = (
            f'[{{"amount":{fee},"application":null,"currency":"{currency}",'
            f'"description":"{why}","type":"stripe_fee"}}]'
            if fee
            else "[]"
        )
        return template % (
            own(at),
            amount,
            available,
            when,
            currency,
            description,
            fee,
            details,
            amount - fee,
            category,
            quoted(names[stream], ordinal),
            "available" if available <= now else "pending",
            kind,
        )

    return render


KINDS = {
    "charges": ("charge", "charge", "null"),
    "refunds": ("refund", "refund", '"REFUND FOR CHARGE"'),
    "transfers": ("transfer", "transfer", "null"),
    "disputes": ("adjustment", "dispute", '"Chargeback withdrawal"'),
    "payouts": ("payout", "payout", '"STRIPE PAYOUT"'),
}
