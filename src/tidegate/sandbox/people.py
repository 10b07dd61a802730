"""Who the generated business sells to: names, addresses, and the means they pay with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tidegate.sandbox import business, ids, templates

FIRST = (
    "Ada", "Jenny", "Noah", "Zoë", "José", "Chloé", "Łukasz", "Søren", "Amélie", "Jürgen", "Mia", "Omar", "Priya",
    "Yuki", "李", "Sinéad", "Björn", "Ioana", "Ngozi", "Renée", "Dmitri", "Aoife", "Tomás", "Håkon", "Лена", "太郎",
    "محمد", "Bobby \\\"Tables\\\"", "D'Arcy", "Kwame", "Ines", "Liam",
)  # fmt: skip
LAST = (
    "Lovelace", "Rosen", "O'Brien", "Müller", "García", "Nguyễn", "Kowalski", "Åkesson", "Smith", "Tanaka",
    "Dubois", "Rossi", "Ivanova", "Van der Berg", "Çelik", "Østergård", "Jones", "Novák", "Silva", "Haddad", "王",
    "Martin", "Fernández", "Kim", "Schäfer", "Brown", "Petrov", "Okafor", "Sato", "Lindqvist", "Moreau", "Weiß",
)  # fmt: skip
"""JSON text: what must be escaped is."""


class Place(NamedTuple):
    """A postal address, as JSON text."""

    city: str
    country: str
    line1: str
    line2: str
    postal_code: str
    state: str

    def json(self) -> str:
        """The hash Stripe calls `address`."""
        return (
            f'{{"city":"{self.city}","country":"{self.country}","line1":"{self.line1}","line2":{self.line2},'
            f'"postal_code":"{self.postal_code}","state":{self.state}}}'
        )


PLACES: Sequence[Place] = (
    Place("San Francisco", "US", "510 Townsend St", "null", "94103", '"CA"'),
    Place("Berlin", "DE", "Straße des 17. Juni 135", '"Hinterhaus"', "10623", "null"),
    Place("London", "GB", "221B Baker Street", '""', "NW1 6XE", "null"),
    Place("東京", "JP", "丸の内1丁目9-1", "null", "100-0005", '"東京都"'),
    Place("São Paulo", "BR", "Av. Paulista, 1578", '"cj. 42"', "01310-200", '"SP"'),
    Place("Paris", "FR", "5, avenue Anatole-France", "null", "75007", "null"),
    Place("New York", "US", "350 5th Ave", '"Floor 21 \\\\ Suite #4"', "10118", '"NY"'),
    Place("Zürich", "CH", "Bahnhofstrasse 1", "null", "8001", '"ZH"'),
)
PLACES_JSON = tuple(place.json() for place in PLACES)
NOWHERE = '{"city":null,"country":null,"line1":null,"line2":null,"postal_code":null,"state":null}'
BRANDS = ("visa", "visa", "mastercard", "mastercard", "amex", "discover", "jcb", "diners")
FUNDING = ("credit", "debit", "credit", "prepaid")


NAMES = tuple(f"{first} {last}" for last in LAST for first in FIRST)


NAMES_ESCAPED = tuple(map(templates.escaped, NAMES))
PLACES_ESCAPED = tuple(map(templates.escaped, PLACES_JSON))


def name(bits: int) -> str:
    """A customer's name, as JSON text without quotes."""
    return NAMES[bits & 1023]


def balance(books: business.Books, customer: int) -> int:
    """What a customer has to their credit (negative), mostly nothing."""
    return -500 if books.person(customer) >> 44 & 31 == 3 else 0


def card(bits: int) -> str:
    """The hash Stripe calls `card` in payment methods."""
    brand = BRANDS[bits & 7]
    return (
        f'{{"brand":"{brand}","checks":{{"address_line1_check":null,"address_postal_code_check":"pass",'
        f'"cvc_check":"pass"}},"country":"{PLACES[bits >> 8 & 7].country}","display_brand":"{brand}",'
        f'"exp_month":{1 + (bits >> 12) % 12},"exp_year":{2027 + (bits >> 16 & 7)},'
        f'"fingerprint":"{fingerprint(bits)}",'
        f'"funding":"{FUNDING[bits >> 20 & 3]}","generated_from":null,"last4":"{(bits >> 24) % 10000:04d}",'
        f'"networks":{{"available":["{brand}"],"preferred":null}},"regulated_status":"unregulated",'
        f'"three_d_secure_usage":{{"supported":true}},"wallet":null}}'
    )


def fingerprint(bits: int) -> str:
    """16 characters that are the same for the same card."""
    first, second, _ = ids.TOKENS
    return f"{first[bits >> 30 & 4095]}{second[bits >> 8 & 4095]}{first[bits >> 40 & 4095]}Xt"


def customers(books: business.Books) -> business.Render:
    """Customers."""
    template = templates.compiled(
        books.catalog.streams["customers"],
        id='"%s"', created="%d", name='"%s"', email="%s", phone="%s", address="%s", shipping="%s", metadata="%s",
        currency='"%s"', delinquent="%s", balance="%d", description="%s", invoice_prefix='"%s"',
        next_invoice_sequence="%d", preferred_locales="%s", tax_exempt='"%s"', default_source="%s",
        invoice_settings='{"custom_fields":null,"default_payment_method":%s,"footer":null,"rendering_options":null}',
    )  # fmt: skip
    own, method = books.namer("customers").name, books.namer("payment_methods").name
    source, created = books.namer("cards").name, books.times("customers")
    cards = books.has("cards")

    def render(customer: int, _: int | None) -> str:
        bits = books.person(customer)
        full = name(bits)
        place = PLACES_JSON[bits >> 22 & 7]
        methods = books.methods_of(customer)
        shipping = f'{{"address":{place},"carrier":null,"name":"{full}","phone":null,"tracking_number":null}}'
        return template % (
            own(customer),
            created(customer),
            full,
            "null" if bits >> 25 & 31 == 0 else f'"{books.email_of(customer)}"',
            f'"+1415{bits >> 16 & 0xFFFFF:07d}"' if bits >> 30 & 3 else "null",
            "null" if bits >> 32 & 7 == 0 else place,
            shipping if bits >> 35 & 3 == 0 else "null",
            _metadata(bits),
            books.currency(customer),
            "true" if bits >> 40 & 15 == 3 else "false",
            balance(books, customer),
            templates.quote(templates.LONG) if bits >> 49 & 63 == 3 else "null",
            f"{ids.mix(customer) & 0xFFFFFFFF:08X}",
            1 + (bits >> 50 & 7),
            '["ja","en"]' if bits >> 52 & 7 == 1 else "[]",
            ("none", "none", "none", "reverse", "none", "none", "exempt", "none")[bits >> 55 & 7],
            f'"{source(customer << 10)}"' if cards and books.children("cards", customer) else "null",
            f'"{method(methods[0])}"' if methods else "null",
        )

    return render


METADATA = (
    "{}",
    "{}",
    '{"plan":"pro","ltv":"18446744073709551617","seats":"12"}',
    '{"crm_id":"9007199254740993","note":"quotes \\" and \\\\ backslashes","empty":""}',
    '{"größe":"日本語 🚀","json":"{\\"a\\":[1,2]}"}',
    '{"internal":"true"}',
    '{"plan":"free"}',
    '{"plan":"team","source":"a,b;c\\td","utm":"x%y&z=1"}',
)


def _metadata(bits: int) -> str:
    return METADATA[bits >> 58 & 7]


def payment_methods(books: business.Books) -> business.Render:
    """Payment methods: cards, bank accounts, SEPA mandates, Link."""
    stream = books.catalog.streams["payment_methods"]
    kinds = ("card", "card", "card", "card", "card", "us_bank_account", "sepa_debit", "link")
    hashes = {
        "us_bank_account": '{"account_holder_type":"individual","account_type":"checking",'
        '"bank_name":"STRIPE TEST BANK",'
        '"financial_connections_account":null,"fingerprint":"%s","last4":"%04d","networks":{"preferred":"ach",'
        '"supported":["ach"]},"routing_number":"110000000","status_details":{}}',
        "sepa_debit": '{"bank_code":"37040044","branch_code":"","country":"DE","fingerprint":"%s",'
        '"generated_from":{"charge":null,"setup_attempt":null},"last4":"%04d"}',
    }
    types = next(field.values for field in stream.fields if field.name == "type")
    own_hashes = {field.name for field in stream.fields if field.name in types}
    template = templates.compiled(
        stream, own_hashes,
        id='"%s"', created="%d", customer="%s", metadata="%s", type='"%s"',
        billing_details='{"address":%s,"email":"%s","name":"%s","phone":null,"tax_id":null}',
    )  # fmt: skip
    own, customers, created = (
        books.namer("payment_methods").name, books.namer("customers").name, books.times("payment_methods")
    )  # fmt: skip

    def render(method: int, parent: int | None) -> str:
        if parent is not None:
            method = books.methods_of(parent)[method]
        bits = ids.mix(method * 8 + 2 ^ books.seed)
        customer = books.method_customer(method)
        kind = kinds[bits >> 45 & 7]
        person = books.person(customer)
        mail = books.email_of(customer)
        details = (
            card(bits)
            if kind == "card"
            else f'{{"email":"{mail}"}}'
            if kind == "link"
            else hashes[kind] % (fingerprint(bits), bits % 10000)
        )
        return (
            template
            % (
                own(method),
                created(method),
                f'"{customers(customer)}"' if customer >= 0 else "null",
                _metadata(bits),
                kind,
                PLACES_JSON[person >> 22 & 7] if bits & 1 else NOWHERE,
                mail,
                name(person),
            )
            + f',"{kind}":{details}'
        )

    return render


def cards(books: business.Books) -> business.Render:
    """Cards among a customer's sources, and debit cards among a connected account's external accounts."""
    template = templates.compiled(
        books.catalog.streams["cards"],
        id='"%s"', customer="%s", account="%s", brand='"%s"', last4='"%04d"', exp_month="%d", exp_year="%d",
        fingerprint='"%s"', funding='"%s"', country='"%s"', name='"%s"', cvc_check='"pass"', metadata="%s",
        currency="%s", default_for_currency="%s", available_payout_methods="%s", networks='{"preferred":null}',
    )  # fmt: skip
    brands = (
        "Visa",
        "Visa",
        "MasterCard",
        "MasterCard",
        "American Express",
        "Discover",
        "JCB",
        "Diners Club",
    )

    def render(ordinal: int, parent: int | None) -> str:
        number = books.number("cards", ordinal, parent)
        assert parent is not None, "Cards are listed by parent."
        bits = ids.mix(number * 8 + 3 ^ books.seed)
        customer, external = books.parent_id("cards", parent), parent < 0
        return template % (
            books.child_id("cards", number),
            "null" if external else f'"{customer}"',
            f'"{customer}"' if external else "null",
            brands[bits & 7],
            (bits >> 24) % 10000,
            1 + (bits >> 12) % 12,
            2027 + (bits >> 16 & 7),
            fingerprint(bits),
            "debit" if external else FUNDING[bits >> 20 & 3],
            PLACES[bits >> 8 & 7].country,
            name(books.person(parent)),
            _metadata(bits),
            '"usd"' if external else "null",
            ("true" if ordinal == 0 else "false") if external else "null",
            '["standard","instant"]' if external else "null",
        )

    return render


def bank_accounts(books: business.Books) -> business.Render:
    """Bank accounts among a customer's sources, and those that connected accounts are paid out to."""
    template = templates.compiled(
        books.catalog.streams["bank_accounts"],
        id='"%s"', customer="%s", account="%s", account_holder_name='"%s"', account_holder_type='"individual"',
        bank_name='"STRIPE TEST BANK"', country='"US"', currency='"usd"', fingerprint='"%s"', last4='"%04d"',
        metadata="%s", routing_number='"110000000"', status='"%s"', default_for_currency="%s",
        available_payout_methods="%s",
    )  # fmt: skip

    def render(ordinal: int, parent: int | None) -> str:
        number = books.number("bank_accounts", ordinal, parent)
        assert parent is not None, "Bank accounts are listed by parent."
        bits = ids.mix(number * 8 + 4 ^ books.seed)
        above, external = books.parent_id("bank_accounts", parent), parent < 0
        return template % (
            books.child_id("bank_accounts", number),
            "null" if external else f'"{above}"',
            f'"{above}"' if external else "null",
            name(books.person(parent)),
            fingerprint(bits),
            bits % 10000,
            _metadata(bits),
            ("new", "verified", "validated", "verified")[bits >> 20 & 3],
            ("true" if ordinal == 0 else "false") if external else "null",
            '["standard"]' if external else "null",
        )

    return render


def setup_intents(books: business.Books) -> business.Render:
    """Setup intents, each with one attempt."""
    template = templates.compiled(
        books.catalog.streams["setup_intents"],
        id='"%s"', created="%d", client_secret='"%s_secret_%s"', customer="%s", payment_method="%s", status='"%s"',
        latest_attempt="%s", metadata="%s", payment_method_types='["card"]', usage='"off_session"',
        payment_method_options='{"card":{"mandate_options":null,"network":null,"request_three_d_secure":"automatic"}}',
    )  # fmt: skip
    own, attempt, created = (
        books.namer("setup_intents").name, books.namer("setup_attempts").name, books.times("setup_intents")
    )  # fmt: skip
    customers, methods = books.namer("customers").name, books.namer("payment_methods").name
    attempted = books.has("setup_attempts")

    def render(intent: int, _: int | None) -> str:
        bits = ids.mix(intent * 8 + 6 ^ books.seed)
        customer = business.scaled_customer(books, "setup_intents", intent)
        held = books.methods_of(customer) if customer >= 0 else range(0)
        done = bits & 7 != 3
        return template % (
            own(intent),
            created(intent),
            own(intent),
            fingerprint(bits),
            f'"{customers(customer)}"' if customer >= 0 else "null",
            f'"{methods(held[0])}"' if held and done else "null",
            "succeeded" if done else ("requires_payment_method", "canceled")[bits >> 3 & 1],
            f'"{attempt(intent << 10)}"' if attempted else "null",
            _metadata(bits),
        )

    return render
