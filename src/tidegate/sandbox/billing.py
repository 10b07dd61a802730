"""What the generated business sells, and to whom: products, prices, plans, coupons, subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tidegate.sandbox import business, ids, people, relations, templates

NAMES = (
    "Starter", "Team", "Business", "Größe XL", "プレミアム", "Rocket \\\"Pro\\\"", "50% off bundle", "Data add-on",
    "C:\\\\Archive", "Émeraude", "Support", "Seats", "Storage", "Lifetime", "🚀 Launch", "Basic",
)  # fmt: skip
"""JSON text."""
INTERVALS = ("month", "month", "month", "year", "month", "week", "month", "day")


def unit_amount(books: business.Books, price: int) -> int:
    """The price of one, in the minor unit; three-decimal currencies end in 0."""
    amount = 100 + ids.mix(price * 8 + 1 ^ books.seed) % 9_900
    return amount * 10 if business.PRICE_CURRENCIES[price & 7] == "kwd" else amount


def interval(price: int) -> str:
    """How often a recurring price bills."""
    return INTERVALS[price >> 3 & 7]


def products(books: business.Books) -> business.Render:
    """Products, each with a default price where it has any."""
    template = templates.compiled(
        books.catalog.streams["products"],
        id='"%s"', created="%d", updated="%d", name='"%s"', active="%s", description="%s", default_price="%s",
        metadata="%s", images="%s", marketing_features="%s", type='"service"', unit_label="%s", url="%s",
        tax_code="%s", livemode="false",
    )  # fmt: skip
    own, price, created = books.namer("products").name, books.namer("prices").name, books.times("products")
    prices, total = books.counts.get("prices", 0), books.counts.get("products", 0)
    codes = books.namer("tax_codes").name

    def render(product: int, _: int | None) -> str:
        bits = ids.mix(product * 8 + 1 ^ books.seed)
        when = created(product)
        sold = relations.scaled(product, prices, total) if prices else range(0)
        return template % (
            own(product),
            when,
            min(books.now, when + (bits >> 3) % (90 * business.DAY)),
            f"{NAMES[bits & 15]} {product}",
            "false" if bits >> 4 & 15 == 0 else "true",
            templates.quote(templates.LONG) if bits >> 8 & 3 == 0 else '"For teams"',
            f'"{price(sold[0])}"' if sold else "null",
            people.METADATA[bits >> 10 & 7],
            '["https://files.example.com/a.png","https://files.example.com/b.png?x=1&y=2"]'
            if bits >> 13 & 1
            else "[]",
            '[{"name":"Unlimited projects"},{"name":"Priority \\"support\\""}]' if bits >> 14 & 1 else "[]",
            '"seat"' if bits >> 15 & 1 else "null",
            '"https://example.com/products?id=1&ref=%C3%BC"' if bits >> 16 & 1 else "null",
            f'"{codes(bits >> 17)}"' if bits >> 22 & 1 else "null",
        )

    return render


def prices(books: business.Books) -> business.Render:
    """Prices: recurring, tiered, one-time; zero-decimal, three-decimal, and with twelve decimals."""
    template = templates.compiled(
        books.catalog.streams["prices"],
        id='"%s"', created="%d", product='"%s"', active="%s", billing_scheme='"%s"', currency='"%s"',
        lookup_key="%s",
        metadata="%s", nickname="%s", recurring="%s", tax_behavior='"unspecified"', tiers_mode="%s", type='"%s"',
        unit_amount="%s", unit_amount_decimal="%s", livemode="false",
    )  # fmt: skip
    own, created = books.namer("prices").name, books.times("prices")

    def render(price: int, _: int | None) -> str:
        kind = price & 7
        bits = ids.mix(price * 8 + 2 ^ books.seed)
        tiered, exact = kind == 5, kind == 6
        recurring = (
            f'{{"interval":"{interval(price)}","interval_count":1,"meter":null,"trial_period_days":null,'
            f'"usage_type":"{"metered" if tiered else "licensed"}"}}'
        )
        return template % (
            own(price),
            created(price),
            books.product_id(price),
            "false" if bits & 15 == 0 else "true",
            "tiered" if tiered else "per_unit",
            business.PRICE_CURRENCIES[kind],
            f'"lookup_{price}"' if bits >> 4 & 3 == 0 else "null",
            people.METADATA[bits >> 6 & 7],
            f'"{NAMES[bits >> 9 & 15]}"' if bits >> 13 & 1 else "null",
            recurring if kind < 6 else "null",
            '"graduated"' if tiered else "null",
            "recurring" if kind < 6 else "one_time",
            "null" if tiered or exact else unit_amount(books, price),
            "null" if tiered else f'"{decimal(books, price)}"',
        )

    return render


def decimal(books: business.Books, price: int) -> str:
    """`unit_amount_decimal`: twelve decimals for one kind of price."""
    amount = unit_amount(books, price)
    return f"{amount % 100}.{ids.mix(price) % 10**12 | 1:012d}" if price & 7 == 6 else str(amount)


def plans(books: business.Books) -> business.Render:
    """Plans: the recurring prices under their old name."""
    template = templates.compiled(
        books.catalog.streams["plans"],
        id='"%s"', created="%d", product='"%s"', active="%s", amount="%s", amount_decimal="%s",
        billing_scheme='"%s"',
        currency='"%s"', interval='"%s"', interval_count="1", metadata="%s", nickname="%s", tiers_mode="%s",
        usage_type='"%s"', livemode="false",
    )  # fmt: skip
    created = books.times("prices")

    def render(ordinal: int, _: int | None) -> str:
        price = books.number("plans", ordinal, None)
        bits = ids.mix(price * 8 + 2 ^ books.seed)
        tiered = price & 7 == 5
        return template % (
            books.row_id("prices", price, None),
            created(price),
            books.product_id(price),
            "false" if bits & 15 == 0 else "true",
            "null" if tiered else unit_amount(books, price),
            "null" if tiered else f'"{decimal(books, price)}"',
            "tiered" if tiered else "per_unit",
            business.PRICE_CURRENCIES[price & 7],
            interval(price),
            people.METADATA[bits >> 6 & 7],
            f'"{NAMES[bits >> 9 & 15]}"' if bits >> 13 & 1 else "null",
            '"graduated"' if tiered else "null",
            "metered" if tiered else "licensed",
        )

    return render


def tiers(books: business.Books, price: int) -> str:
    """The tiers of a price, which Stripe shows when asked."""
    if price & 7 != 5:
        return "null"
    first = unit_amount(books, price)
    return (
        f'[{{"flat_amount":null,"flat_amount_decimal":null,"unit_amount":{first},"unit_amount_decimal":"{first}",'
        f'"up_to":100}},{{"flat_amount":500,"flat_amount_decimal":"500","unit_amount":null,'
        f'"unit_amount_decimal":"{first // 2}.000000000001","up_to":null}}]'
    )


def currency_options(books: business.Books, price: int) -> str:
    """The price in its own currency, as Stripe shows it when asked."""
    return (
        f'{{"{business.PRICE_CURRENCIES[price & 7]}":{{"custom_unit_amount":null,"tax_behavior":"unspecified",'
        f'"unit_amount":{unit_amount(books, price)},"unit_amount_decimal":"{decimal(books, price)}"}}}}'
    )


def coupons(books: business.Books) -> business.Render:
    """Coupons by per cent or by amount."""
    template = templates.compiled(
        books.catalog.streams["coupons"],
        id='"%s"', created="%d", amount_off="%s", percent_off="%s", currency="%s", duration='"%s"',
        duration_in_months="%s", max_redemptions="%s", metadata="%s", name="%s", redeem_by="%s",
        times_redeemed="%d",
        valid="%s", livemode="false",
    )  # fmt: skip
    own, created = books.namer("coupons").name, books.times("coupons")

    def render(coupon: int, _: int | None) -> str:
        bits = ids.mix(coupon * 8 + 1 ^ books.seed)
        amount = bits & 3 == 0
        duration = ("once", "forever", "repeating", "once")[bits >> 2 & 3]
        when = created(coupon)
        return template % (
            own(coupon),
            when,
            500 + bits % 2000 if amount else "null",
            "null" if amount else (12.5, 10, 33.33, 100)[bits >> 4 & 3],
            '"usd"' if amount else "null",
            duration,
            3 if duration == "repeating" else "null",
            100 if bits >> 6 & 1 else "null",
            people.METADATA[bits >> 7 & 7],
            f'"{NAMES[bits >> 10 & 15]}"' if bits >> 14 & 3 else "null",
            when + 90 * business.DAY if bits >> 16 & 3 == 0 else "null",
            bits >> 18 & 63,
            "false" if bits >> 16 & 3 == 0 and when + 90 * business.DAY < books.now else "true",
        )

    return render


def promotion_codes(books: business.Books) -> business.Render:
    """Promotion codes of the coupons."""
    template = templates.compiled(
        books.catalog.streams["promotion_codes"],
        id='"%s"', created="%d", active="%s", code='"%s"', customer="%s", expires_at="%s", metadata="%s",
        promotion='{"coupon":"%s","type":"coupon"}', times_redeemed="%d", livemode="false",
        restrictions='{"first_time_transaction":%s,"minimum_amount":%s,"minimum_amount_currency":%s}',
    )  # fmt: skip
    own, created = books.namer("promotion_codes").name, books.times("promotion_codes")
    coupon, customers = books.namer("coupons").name, books.namer("customers").name
    total, all_coupons = books.counts.get("promotion_codes", 0), books.counts.get("coupons", 0)

    def render(code: int, _: int | None) -> str:
        bits = ids.mix(code * 8 + 3 ^ books.seed)
        when = created(code)
        least = bits >> 4 & 3 == 0
        return template % (
            own(code),
            when,
            "false" if bits & 7 == 0 else "true",
            f"SAVE{bits >> 30 & 0xFFFF:04X}{code}",
            f'"{customers(bits % books.customers)}"' if books.customers and bits >> 8 & 7 == 0 else "null",
            when + 60 * business.DAY if bits >> 11 & 3 == 0 else "null",
            people.METADATA[bits >> 13 & 7],
            coupon(relations.scale(code, total, all_coupons) if all_coupons else 0),
            bits >> 16 & 31,
            "true" if bits >> 21 & 1 else "false",
            5000 if least else "null",
            '"usd"' if least else "null",
        )

    return render


def subscriptions(books: business.Books) -> business.Render:
    """Subscriptions: every fourth canceled, the others active, trialing, past due, unpaid, paused, incomplete."""
    template = templates.compiled(
        books.catalog.streams["subscriptions"],
        id='"%s"', created="%d", start_date="%d", billing_cycle_anchor="%d", cancel_at="%s",
        cancel_at_period_end="%s", canceled_at="%s", ended_at="%s", currency='"%s"', customer='"%s"',
        cancellation_details='{"comment":null,"feedback":%s,"feedback_option":null,"reason":%s}',
        default_payment_method="%s", latest_invoice="%s", metadata="%s", status='"%s"', trial_start="%s",
        trial_end="%s", description="%s", pause_collection="%s", collection_method='"%s"', days_until_due="%s",
        automatic_tax='{"disabled_reason":null,"enabled":false,"liability":null}', billing_schedules="[]",
        billing_mode='{"flexible":null,"type":"classic","updated_at":null}', discounts="[]", livemode="false",
        invoice_settings='{"account_tax_ids":null,"custom_fields":null,"description":null,"footer":null,'
        '"issuer":{"type":"self"}}',
        payment_settings='{"payment_method_options":null,"payment_method_types":null,'
        '"save_default_payment_method":"off"}',
        trial_settings='{"end_behavior":{"missing_payment_method":"create_invoice"}}', default_tax_rates="[]",
    )  # fmt: skip
    own, created = books.namer("subscriptions").name, books.times("subscriptions")
    customers, methods = books.namer("customers").name, books.namer("payment_methods").name
    invoices = books.namer("invoices").name

    def render(subscription: int, _: int | None) -> str:
        bits = ids.mix(subscription * 8 + 4 ^ books.seed)
        when, status = created(subscription), books.subscription_status(subscription)
        customer = max(0, books.subscription_customer(subscription))
        held = books.methods_of(customer) if books.customers else ()
        canceled, ended = status == "canceled", books.subscription_end(subscription)
        trial, sent = status == "trialing", bits >> 20 & 15 == 0
        latest = books.latest_invoice(subscription)
        return template % (
            own(subscription),
            when,
            when,
            when,
            books.now + 20 * business.DAY if not canceled and bits & 31 == 0 else "null",
            "true" if not canceled and bits & 31 == 0 else "false",
            ended if canceled else "null",
            ended if canceled else "null",
            books.currency(customer),
            customers(customer),
            '"too_expensive"' if canceled and bits >> 5 & 1 else "null",
            '"cancellation_requested"' if canceled else "null",
            f'"{methods(held[0])}"' if held else "null",
            f'"{invoices(latest)}"' if latest >= 0 else "null",
            people.METADATA[bits >> 6 & 7],
            status,
            when if trial else "null",
            books.now + 7 * business.DAY if trial else "null",
            f'"{NAMES[bits >> 9 & 15]}"' if bits >> 13 & 3 == 0 else "null",
            '{"behavior":"void","resumes_at":null}'
            if status == "active" and bits >> 15 & 31 == 0
            else "null",
            "send_invoice" if sent else "charge_automatically",
            30 if sent else "null",
        )

    return render


def subscription_items(books: business.Books) -> business.Render:
    """Subscription items with their prices; some subscriptions have 12, some 25."""
    template = templates.compiled(
        books.catalog.streams["subscription_items"],
        id='"%s"', created="%d", current_period_start="%d", current_period_end="%d", metadata="%s", quantity="%s",
        subscription='"%s"', price="%s", plan="%s", discounts="[]", tax_rates="[]",
    )  # fmt: skip
    created, own = books.times("subscriptions"), books.namer("subscriptions").name
    price_text, plan_text = prices(books), plans(books)
    # Whole texts: half the items of a business share a handful of prices.
    kept: dict[int, tuple[str, str]] = {}

    def texts(price: int) -> tuple[str, str]:
        if price not in kept:
            if len(kept) >= 512:
                kept.clear()
            plan = price // 8 * 6 + price % 8
            kept[price] = (
                price_text(price, None) + "}",
                plan_text(plan, None) + "}" if price & 7 < 6 else "null",
            )
        return kept[price]

    def render(ordinal: int, parent: int | None) -> str:
        assert parent is not None, "Subscription items are listed by subscription."
        price, quantity = books.item_price(parent, ordinal)
        when = created(parent)
        start, end = books.period(parent)
        price_json, plan_json = texts(price) if price >= 0 else ("null", "null")
        return template % (
            books.row_id("subscription_items", ordinal, parent),
            when,
            start,
            end,
            people.METADATA[ids.mix(parent * 32 + ordinal) & 7],
            "null" if price & 7 == 5 else quantity,
            own(parent),
            price_json,
            plan_json,
        )

    return render


EXTRAS: Mapping[str, Mapping[str, Callable[[business.Books, int], str]]] = {
    "prices": {"tiers": tiers, "currency_options": currency_options},
    "plans": {"tiers": lambda books, ordinal: tiers(books, books.number("plans", ordinal, None))},
}
"""Fields that are absent unless expanded, by stream."""
