"""The charges of a generated business, by the page: throughput is measured with lists of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tidegate.sandbox import business, ids, people, templates, words

CARD = (
    '"authorization_code":"%06d","brand":"%s","checks":{"address_line1_check":null,'
    '"address_postal_code_check":"pass","cvc_check":"pass"},"country":"%s","exp_month":%d,"exp_year":%d,'
    '"extended_authorization":{"status":"disabled"},"fingerprint":"%s","funding":"%s",'
    '"incremental_authorization":{"status":"unavailable"},"installments":null,"last4":"%04d","mandate":null,'
    '"multicapture":{"status":"unavailable"},"network":"%s","network_token":{"used":false},'
    '"network_transaction_id":"%d","regulated_status":"unregulated","three_d_secure":null,"transaction_link_id":null,'
    '"wallet":null},"type":"card"}'
)
GOOD = (
    '{"advice_code":null,"network_advice_code":null,"network_decline_code":null,"network_status":"approved_by_network",'
    '"reason":null,"risk_level":"normal","risk_score":%d,"seller_message":"Payment complete.","type":"authorized"}'
)
BAD = (
    '{"advice_code":"try_again_later","network_advice_code":null,"network_decline_code":"51",'
    '"network_status":"declined_by_network","reason":"insufficient_funds","risk_level":"elevated","risk_score":%d,'
    '"seller_message":"The bank did not return any further details with this decline.","type":"issuer_declined"}'
)
FATE = (
    '"amount_refunded":%d,"captured":%s,"disputed":%s,"failure_code":%s,"failure_message":%s,'
    '"outcome":%s,"paid":%s,"refunded":%s,"status":"%s"'
)
"""The fields of a charge that tell what became of it."""
CARDS = 512
"""So many different cards pay the charges."""


@functools.cache
def _cards() -> tuple[str, ...]:
    """The cards of all worlds, each as the text that follows the charge's own amounts."""
    found = []
    for card in range(CARDS):
        bits = ids.mix(card)
        brand = people.BRANDS[bits & 7]
        found.append(
            CARD
            % (
                bits % 1_000_000,
                brand,
                people.PLACES[bits >> 8 & 7].country,
                1 + (bits >> 12) % 12,
                2027 + (bits >> 16 & 7),
                people.fingerprint(bits),
                people.FUNDING[bits >> 20 & 3],
                (bits >> 24) % 10_000,
                brand,
                100_000_000_000_000 + (bits >> 18),
            )
        )
    return tuple(found)


def _fate(risk: int, disputed: bool = False, back: int = 0, whole: bool = False) -> str:
    """What became of a charge that succeeded."""
    yes, gone = "true" if disputed else "false", "true" if whole else "false"
    return FATE % (back, "true", yes, "null", "null", GOOD % risk, "true", gone, "succeeded")


def _failed(risk: int) -> str:
    """What became of a charge that did not."""
    why = '"card_declined"', '"Your card has insufficient funds."'
    return FATE % (0, "false", "false", *why, BAD % risk, "false", "false", "failed")


@functools.cache
def _usual_fates() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Charges that went well and charges that failed, by their risk score."""
    return tuple(map(_fate, range(64))), tuple(map(_failed, range(64)))


def charges(books: business.Books) -> business.Several:
    """Charges: 15 of 16 succeeded, some of those refunded, in one part or twelve, some disputed."""
    fate = ("amount_refunded", "captured", "disputed", "failure_code", "failure_message", "outcome", "paid")
    template = templates.compiled(
        books.catalog.streams["charges"], (*fate, "refunded", "status"),
        id='"%s"', amount="%s", amount_captured="%s", balance_transaction="%s",
        billing_details='{"address":%s,"email":%s,"name":"%s","phone":null,"tax_id":null}',
        calculated_statement_descriptor='"ROCKET RIDES"', created="%s", currency='"%s"', customer="%s",
        description="%s", metadata="%s", payment_intent="%s", payment_method="%s",
        payment_method_details='{"card":{"amount_authorized":%s,"overcapture":{"maximum_amount_capturable":%s,'
        '"status":"unavailable"},%s', receipt_email="%s", receipt_url="%s", transfer_group="%s",
        fraud_details="{}", livemode="false", shipping="null",
    ) + ",%s}"  # fmt: skip
    pieces = templates.pieces(template)
    own, created, seed = books.namer("charges").names, books.times("charges"), books.seed
    entry, ledger = books.namer("balance_transactions").name, books.ledger[0].of_many
    customers, methods = books.namer("customers").name, books.namer("payment_methods").name
    intents, many, all_intents = books.namer("payment_intents").name, books.intents.many, books.intents.total
    has_ledger, has_methods = books.has("balance_transactions"), books.has("payment_methods")
    index, place = books.charges.index, books.charges.place
    method_of, email_of = books.method_of, books.email_of
    places, names, cards = people.PLACES_ESCAPED, people.NAMES_ESCAPED, _cards()
    descriptions, metadata = words.DESCRIPTIONS, words.METADATA
    good, bad = _usual_fates()
    cases, disputes = books.cases, books.disputed.few
    receipts = f'"https://pay.stripe.com/receipts/payment/CAcaFwoV{books.account_tail}KJaJ'

    def fates(found: list[int], chances: list[int], amounts: Sequence[int]) -> list[str]:
        """What became of the charges: the few that were refunded or disputed are written anew."""
        states = [(good if j >= 0 else bad)[bits >> 11 & 63] for j, bits in zip(found, chances, strict=True)]
        if not cases and not disputes:
            return states
        halves = [j >> 1 if j >= 0 else -1 for j in found]
        kept = [half for half in halves if half >= 0]
        given_back = dict(zip(kept, books.refunded.sources(kept), strict=True)) if cases else {}
        contested = dict(zip(kept, books.disputed.sources(kept), strict=True)) if disputes else {}
        for at, (j, half) in enumerate(zip(found, halves, strict=True)):
            if j & 1 and 0 <= contested.get(half, -1) < disputes:
                states[at] = _fate(chances[at] >> 11 & 63, disputed=True)
            elif not j & 1 and 0 <= given_back.get(half, -1) < cases:
                back = sum(map(books.refund_amount, books.refunds_of(j)))
                states[at] = _fate(chances[at] >> 11 & 63, back=back, whole=back == amounts[at])
        return states

    def intent_columns(paying: list[int], chances: list[int]) -> tuple[templates.Column, templates.Column]:
        """Payment intents, and the transfer groups that some of them make."""
        if not many:
            return "null", "null"
        named = [intents(j * all_intents // many) if j < many else "" for j in paying]
        groups = [
            f'"group_{name}"' if name and bits >> 48 & 3 == 0 else "null"
            for name, bits in zip(named, chances, strict=True)
        ]
        return [f'"{name}"' if name else "null" for name in named], groups

    def render(rows: Sequence[int], between: str) -> str:
        found = list(map(index, rows))
        paying = [j if j >= 0 else ~j * 15 + place(~j) for j in found]
        chances = ids.mixed([charge * 8 ^ seed for charge in rows])
        payers, persons, currencies, amounts = books.payments(paying)
        named, sums = own(rows), list(map(str, amounts))
        mails: templates.Column = "null"
        payer: templates.Column = "null"
        address: templates.Column = people.NOWHERE
        method: templates.Column = "null"
        booked: templates.Column = "null"
        if books.customers:
            payer = [f'"{customers(one)}"' if one >= 0 else "null" for one in payers]
            mails = [f'"{email_of(one)}"' if one >= 0 else "null" for one in payers]
            address = [
                places[person >> 22 & 7] if one >= 0 else people.NOWHERE
                for one, person in zip(payers, persons, strict=True)
            ]
            if has_methods:
                held = [method_of(one) if one >= 0 else -1 for one in payers]
                method = [f'"{methods(one)}"' if one >= 0 else "null" for one in held]
        if has_ledger:
            booked = [f'"{entry(ledger(j))}"' if j >= 0 else "null" for j in found]
        intent, group = intent_columns(paying, chances)
        return templates.woven(
            pieces,
            len(rows),
            between,
            named,
            sums,
            [text if j >= 0 else "0" for text, j in zip(sums, found, strict=True)],
            booked,
            address,
            mails,
            [names[person & 1023] for person in persons],
            list(map(str, map(created, rows))),
            currencies,
            payer,
            [descriptions[bits >> 3 & 15] for bits in chances],
            [metadata[bits >> 7 & 15] % (bits >> 40) if bits & 1024 else "{}" for bits in chances],
            intent,
            method,
            sums,
            sums,
            [cards[bits >> 17 & CARDS - 1] for bits in chances],
            mails
            if isinstance(mails, str)
            else [mail if bits >> 45 & 3 == 0 else "null" for mail, bits in zip(mails, chances, strict=True)],
            [
                f'{receipts}{bits}/{id}?s=ap"' if j >= 0 else "null"
                for id, bits, j in zip(named, chances, found, strict=True)
            ],
            group,
            fates(found, chances, amounts),
        )

    return render
