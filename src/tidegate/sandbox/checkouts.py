"""What customers of the generated business agree to: checkout sessions, quotes, and the items on either."""

from __future__ import annotations

from tidegate.sandbox import billing, business, ids, people, statements, templates


def checkout_sessions(books: business.Books) -> business.Render:
    """Checkout sessions: complete for a payment or a subscription, or open, or expired."""
    template = templates.compiled(
        books.catalog.streams["checkout_sessions"],
        id='"%s"', created="%d", amount_subtotal="%d", amount_total="%d", cancel_url='"https://example.com/cancel"',
        currency='"%s"', customer="%s", customer_details="%s", customer_email="null", expires_at="%d", invoice="%s",
        metadata="%s", mode='"%s"', payment_intent="%s", payment_status='"%s"', status='"%s"', subscription="%s",
        success_url='"https://example.com/done?session={CHECKOUT_SESSION_ID}"', url="%s", client_reference_id="%s",
        automatic_tax='{"enabled":false,"liability":null,"provider":null,"status":null}', custom_fields="[]",
        custom_text='{"after_submit":null,"shipping_address":null,"submit":null,"terms_of_service_acceptance":null}',
        payment_method_options='{"card":{"request_three_d_secure":"automatic"}}', payment_method_types='["card"]',
        shipping_options="[]", total_details='{"amount_discount":0,"amount_shipping":0,"amount_tax":0}',
        ui_mode='"hosted_page"', livemode="false",
    )  # fmt: skip
    own, created = books.namer("checkout_sessions").name, books.times("checkout_sessions")
    customers, intents = books.namer("customers").name, books.namer("payment_intents").name
    invoices_name, subscription_name = books.namer("invoices").name, books.namer("subscriptions").name

    def render(session: int, _: int | None) -> str:
        bits = ids.mix(session * 8 + 4 ^ books.seed)
        done, j = books.sessions.index(session) >= 0, books.session_payment(session)
        id, when = own(session), created(session)
        customer = books.payer(j) if j >= 0 else -1
        invoice = books.invoice_of(j) if j >= 0 else -1
        subscription = books.invoice_subscription(invoice) if invoice >= 0 else -1
        total, intent = books.session_amount(session), books.intent_of(j) if j >= 0 else -1
        person = books.person(customer) if customer >= 0 else bits
        mode = "subscription" if subscription >= 0 else "payment"
        details = (
            f'{{"address":{people.PLACES_JSON[person >> 22 & 7]},"business_name":null,"email":'
            f'"{books.email_of(max(0, customer))}","individual_name":null,"name":"{people.name(person)}",'
            f'"phone":null,"tax_exempt":"none","tax_ids":[]}}'
        )
        status = "complete" if done else "open" if when + business.DAY > books.now else "expired"
        return template % (
            id,
            when,
            total,
            total,
            books.currency(customer),
            f'"{customers(customer)}"' if customer >= 0 and done else "null",
            details if done else "null",
            when + business.DAY,
            f'"{invoices_name(invoice)}"' if done and invoice >= 0 else "null",
            people.METADATA[bits & 7],
            mode,
            f'"{intents(intent)}"' if done and mode == "payment" and intent >= 0 else "null",
            "paid" if done else "unpaid",
            status,
            f'"{subscription_name(subscription)}"' if done and subscription >= 0 else "null",
            f'"https://checkout.stripe.com/c/pay/{id}#fid%2FABC"' if status == "open" else "null",
            f'"user-{bits >> 20 & 0xFFFF}"' if bits >> 3 & 1 else "null",
        )

    return render


def quotes(books: business.Books) -> business.Render:
    """Quotes for what was then invoiced, or not."""
    template = templates.compiled(
        books.catalog.streams["quotes"],
        id='"%s"', created="%d", amount_subtotal="%d", amount_total="%d", currency='"%s"', customer="%s",
        expires_at="%d", invoice="%s", metadata="%s", number="%s", status='"%s"', subscription="%s",
        automatic_tax='{"enabled":false,"liability":null,"provider":null,"status":null}', discounts="[]",
        collection_method='"charge_automatically"', default_tax_rates="[]", livemode="false", description="%s",
        invoice_settings='{"custom_fields":null,"days_until_due":null,"description":null,"footer":null,'
        '"issuer":{"type":"self"}}', status_transitions='{"accepted_at":%s,"canceled_at":%s,"finalized_at":%s}',
        subscription_data='{"billing_mode":{"flexible":null,"type":"classic"},"description":null,'
        '"effective_date":null,"metadata":null,"trial_period_days":null}',
        total_details='{"amount_discount":%d,"amount_shipping":0,"amount_tax":%d}',
    )  # fmt: skip
    own, created = books.namer("quotes").name, books.times("quotes")
    customers, invoices_name = books.namer("customers").name, books.namer("invoices").name
    subscription_name = books.namer("subscriptions").name

    def render(quote: int, _: int | None) -> str:
        bits = ids.mix(quote * 8 + 5 ^ books.seed)
        invoice, when = books.invoice_near("quotes", quote), created(quote)
        status = ("accepted", "open", "draft", "canceled")[bits & 3]
        accepted = status == "accepted" and invoice >= 0
        customer = books.invoice_customer(invoice) if invoice >= 0 else -1
        subscription = books.invoice_subscription(invoice) if accepted else -1
        subtotal, discount, tax, total = books.quote_bill(quote)
        return template % (
            own(quote),
            when,
            subtotal,
            total,
            books.currency(customer),
            f'"{customers(customer)}"' if customer >= 0 else "null",
            when + 30 * business.DAY,
            f'"{invoices_name(invoice)}"' if accepted else "null",
            people.METADATA[bits >> 2 & 7],
            "null" if status == "draft" else f'"QT-{bits >> 32:08X}-0001-1"',
            status,
            f'"{subscription_name(subscription)}"' if subscription >= 0 else "null",
            templates.quote(templates.LONG) if bits >> 5 & 7 == 0 else "null",
            when + 3600 if status == "accepted" else "null",
            when + 3600 if status == "canceled" else "null",
            "null" if status == "draft" else when,
            discount,
            tax,
        )

    return render


def computed(books: business.Books, quote: int) -> str:
    """What a quote comes to when it is accepted, without its line items: what those add up to."""
    items = books.children("quote_computed_upfront_line_items", quote)
    subtotal, discount, tax, total = books.quote_bill(quote) if items else (0, 0, 0, 0)
    return (
        f'{{"recurring":null,"upfront":{{"amount_subtotal":{subtotal},"amount_total":{total},'
        f'"total_details":{{"amount_discount":{discount},"amount_shipping":0,"amount_tax":{tax}}}}}}}'
    )


def line_items(books: business.Books, stream: str) -> business.Render:
    """Items with their prices: of checkout sessions, quotes and payment links; together what their parent says."""
    template = templates.compiled(
        books.catalog.streams[stream],
        id='"%s"', amount_discount="%d", amount_subtotal="%d", amount_tax="%d", amount_total="%d", currency='"%s"',
        description="%s", discounts="[]", metadata="{}", price="%s", quantity="%d", taxes="[]",
    )  # fmt: skip
    price_text = billing.prices(books)

    def render(line: int, parent: int | None) -> str:
        assert parent is not None, "Items are listed by parent."
        items = books.children(stream, parent)
        bits = ids.mix((parent << 10 | line) * 8 + 7 ^ books.seed)
        currency, (subtotal, discount, tax, _) = books.items_bill(stream, parent)
        amount, less, more = (
            statements.part(subtotal, items, line),
            statements.part(discount, items, line),
            statements.part(tax, items, line),
        )
        price = books.price_in(
            currency, parent, max(1, books.counts[books.catalog.streams[stream].parent]), bits
        )
        return template % (
            books.row_id(stream, line, parent),
            less,
            amount,
            more,
            amount - less + more,
            currency,
            f'"{billing.NAMES[bits & 15]}"' if bits >> 4 & 7 else "null",
            price_text(price, None) + "}" if price >= 0 else "null",
            1 + (bits >> 7 & 3),
        )

    return render
