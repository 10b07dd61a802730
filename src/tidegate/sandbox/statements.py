"""What the generated business bills: invoices, their lines, items and payments, credit notes, customer balances."""

from __future__ import annotations

from tidegate.sandbox import billing, business, ids, people, templates


def _taxes(books: business.Books, tax: int, taxable: int) -> str:
    if not tax:
        return "[]"
    rate = books.reference("tax_rate") or books.foreign("txr")
    return (
        f'[{{"amount":{tax},"tax_behavior":"exclusive","tax_rate_details":{{"tax_rate":"{rate}"}},'
        f'"taxability_reason":"standard_rated","taxable_amount":{taxable},"type":"tax_rate_details"}}]'
    )


def part(whole: int, parts: int, at: int) -> int:
    """One of several parts of an amount; the first takes what does not divide."""
    return whole // parts if at else whole - whole // parts * (parts - 1)


def _discount(invoice_id: str) -> str:
    return f"di_{invoice_id[3:]}"


def invoices(books: business.Books) -> business.Render:
    """Invoices whose lines add up: most of one to three lines, some of 11, 101 and 250."""
    template = templates.compiled(
        books.catalog.streams["invoices"],
        id='"%s"', created="%d", account_country='"US"', account_name='"Rocket Rides"', amount_due="%d",
        amount_overpaid="0", amount_paid="%d", amount_remaining="%d", amount_shipping="0", attempt_count="%d",
        attempted="%s", auto_advance="%s", automatic_tax='{"disabled_reason":null,"enabled":false,"liability":null,'
        '"provider":null,"status":null}', billing_reason='"%s"', collection_method='"charge_automatically"',
        currency='"%s"', customer="%s", customer_address="%s", customer_email="%s", customer_name="%s",
        customer_tax_exempt='"none"', customer_tax_ids="[]", default_payment_method="null", default_tax_rates="[]",
        description="%s", discounts="%s", effective_at="%s", ending_balance="0", hosted_invoice_url="%s",
        invoice_pdf="%s", issuer='{"type":"self"}', metadata="%s", number="%s", parent="%s",
        payment_settings='{"default_mandate":null,"payment_method_options":null,"payment_method_types":null}',
        period_end="%d", period_start="%d", post_payment_credit_notes_amount="%d",
        pre_payment_credit_notes_amount="0",
        starting_balance="0", status='"%s"', status_transitions='{"finalized_at":%s,"marked_uncollectible_at":%s,'
        '"paid_at":%s,"voided_at":%s}', subtotal="%d", subtotal_excluding_tax="%d", total="%d",
        total_discount_amounts="%s", total_excluding_tax="%d", total_pretax_credit_amounts="[]", total_taxes="%s",
        webhooks_delivered_at="%d", livemode="false",
    )  # fmt: skip
    own, created = books.namer("invoices").name, books.times("invoices")
    customers, subscription_name = books.namer("customers").name, books.namer("subscriptions").name

    def render(invoice: int, _: int | None) -> str:
        bits = ids.mix(invoice * 8 + 1 ^ books.seed)
        id, when, status = own(invoice), created(invoice), books.invoice_status(invoice)
        customer, subscription = books.invoice_customer(invoice), books.invoice_subscription(invoice)
        person = books.person(customer) if customer >= 0 else bits
        subtotal, discount, tax, total = books.bill(invoice)
        paid, draft = status == "paid", status == "draft"
        page = f'"https://invoice.stripe.com/i/acct_1{books.account_tail}/test_{id[3:]}?s=ap"'
        from_subscription = (
            f'{{"quote_details":null,"subscription_details":{{"metadata":{{}},'
            f'"subscription":"{subscription_name(subscription)}","subscription_proration_date":null}},'
            f'"type":"subscription_details"}}'
        )
        given = f'[{{"amount":{discount},"discount":"{_discount(id)}"}}]' if discount else "[]"
        return template % (
            id,
            when,
            total,
            total if paid else 0,
            0 if paid else total,
            0 if draft else 1,
            "false" if draft else "true",
            "true" if draft else "false",
            ("subscription_cycle" if bits & 7 else "subscription_create") if subscription >= 0 else "manual",
            books.currency(customer),
            f'"{customers(customer)}"' if customer >= 0 else "null",
            people.PLACES_JSON[person >> 22 & 7] if customer >= 0 else "null",
            f'"{books.email_of(customer)}"' if customer >= 0 else "null",
            f'"{people.name(person)}"' if customer >= 0 else "null",
            templates.quote(templates.LONG) if bits >> 3 & 63 == 0 else "null",
            f'["{_discount(id)}"]' if discount else "[]",
            "null" if draft else when,
            "null" if draft else page,
            "null" if draft else page.replace("?s=ap", "/pdf?s=ap"),
            people.METADATA[bits >> 9 & 7],
            "null" if draft else f'"{bits >> 32:08X}-{invoice:04d}"',
            from_subscription if subscription >= 0 else "null",
            when,
            when - 30 * business.DAY,
            sum(map(books.note_amount, books.notes_of(invoice))) if paid else 0,
            status,
            "null" if draft else when,
            when + business.DAY if status == "uncollectible" else "null",
            when if paid else "null",
            when + business.DAY if status == "void" else "null",
            subtotal,
            subtotal,
            total,
            given,
            total - tax,
            _taxes(books, tax, subtotal - discount),
            when + 5,
        )

    return render


def invoice_line_items(books: business.Books) -> business.Render:
    """Lines: those of the subscription's items first, then invoice items; together the invoice's subtotal."""
    template = templates.compiled(
        books.catalog.streams["invoice_line_items"],
        id='"%s"', amount="%d", currency='"%s"', description="%s", discount_amounts="%s", discountable="true",
        discounts="%s", invoice='"%s"', metadata="%s", parent="%s", period='{"end":%d,"start":%d}',
        pretax_credit_amounts="[]", pricing="%s", quantity="%d", quantity_decimal='"%d"', subscription="%s",
        subtotal="%d", taxes="%s", livemode="false",
    )  # fmt: skip
    invoice_name, created = books.namer("invoices").name, books.times("invoices")
    subscription_name, price_name = books.namer("subscriptions").name, books.namer("prices").name
    item_name = books.namer("invoice_items").name

    def render(line: int, invoice: int | None) -> str:
        assert invoice is not None, "Lines are listed by invoice."
        lines = books.children("invoice_line_items", invoice)
        bits = ids.mix((invoice << 10 | line) * 8 + 6 ^ books.seed)
        subtotal, discount, tax, _ = books.bill(invoice)
        subscription, item, extra = books.line_source(invoice, line)
        amount, id = part(subtotal, lines, line), invoice_name(invoice)
        less, more = part(discount, lines, line), part(tax, lines, line)
        pricing, when = "null", created(invoice)
        quantity = 1 + (bits >> 5 & 3)
        parent = "null"
        if item >= 0:
            price, quantity = books.item_price(subscription, item)
            parent = (
                f'{{"invoice_item_details":null,"subscription_item_details":{{"invoice_item":null,'
                f'"proration":{"true" if line > item else "false"},"proration_details":{{"credited_items":null}},'
                f'"subscription":"{subscription_name(subscription)}",'
                f'"subscription_item":"{books.row_id("subscription_items", item, subscription)}"}},'
                f'"type":"subscription_item_details"}}'
            )
            if price >= 0:
                pricing = (
                    f'{{"price_details":{{"price":"{price_name(price)}","product":"{books.product_id(price)}"}},'
                    f'"type":"price_details","unit_amount_decimal":"{billing.decimal(books, price)}"}}'
                )
        elif extra >= 0:
            parent = (
                f'{{"invoice_item_details":{{"invoice_item":"{item_name(extra)}","proration":false,'
                f'"proration_details":{{"credited_items":null}},"subscription":null}},'
                f'"subscription_item_details":null,"type":"invoice_item_details"}}'
            )
        return template % (
            books.row_id("invoice_line_items", line, invoice),
            amount,
            books.currency(books.invoice_customer(invoice)),
            f'"{quantity} × {billing.NAMES[bits & 15]} (at 100% / month)"' if bits >> 7 & 15 else "null",
            f'[{{"amount":{less},"discount":"{_discount(id)}"}}]' if less else "[]",
            f'["{_discount(id)}"]' if less else "[]",
            id,
            people.METADATA[bits >> 11 & 7],
            parent,
            when + 30 * business.DAY,
            when,
            pricing,
            quantity,
            quantity,
            f'"{subscription_name(subscription)}"' if item >= 0 else "null",
            amount,
            _taxes(books, more, amount - less),
        )

    return render


def invoice_payments(books: business.Books) -> business.Render:
    """Invoice payments: from a paid invoice to the payment intent that paid it."""
    template = templates.compiled(
        books.catalog.streams["invoice_payments"],
        id='"%s"', created="%d", amount_paid="%d", amount_requested="%d", currency='"%s"', invoice='"%s"',
        is_default="true", payment="%s", status='"paid"', livemode="false",
        status_transitions='{"canceled_at":null,"paid_at":%d}',
    )  # fmt: skip
    own, created = books.namer("invoice_payments").name, books.times("invoice_payments")
    invoices_name, intents = books.namer("invoices").name, books.namer("payment_intents").name
    charge = books.namer("charges").name

    def render(q: int, _: int | None) -> str:
        j = books.billed.target(q) if q < books.invoices.even else -1
        invoice = books.invoices.ordinal(q) if q < books.invoices.even else 0
        intent = books.intent_of(j) if j >= 0 else -1
        total = books.bill(invoice).total if books.invoices.total else 1000
        customer = books.invoice_customer(invoice) if books.invoices.total else -1
        when = created(q)
        if intent >= 0:
            payment = f'{{"payment_intent":"{intents(intent)}","type":"payment_intent"}}'
        else:
            payment = f'{{"charge":"{charge(books.charges.ordinal(max(0, j)))}","type":"charge"}}'
        return template % (
            own(q),
            when,
            total,
            total,
            books.currency(customer),
            invoices_name(invoice),
            payment,
            when,
        )

    return render


def invoice_items(books: business.Books) -> business.Render:
    """Invoice items: billed already with an invoice, or pending for the next."""
    template = templates.compiled(
        books.catalog.streams["invoice_items"],
        id='"%s"', amount="%d", currency='"%s"', customer='"%s"', date="%d", description="%s", discountable="true",
        discounts="[]", invoice="%s", metadata="%s", net_amount="%d", parent="null", period='{"end":%d,"start":%d}',
        pricing="%s", proration="false", quantity="1", quantity_decimal='"1"', tax_rates="[]", livemode="false",
    )  # fmt: skip
    own, created = books.namer("invoice_items").name, books.times("invoice_items")
    customers, invoices_name = books.namer("customers").name, books.namer("invoices").name
    price_name = books.namer("prices").name

    def render(item: int, _: int | None) -> str:
        bits = ids.mix(item * 8 + 2 ^ books.seed)
        invoice, line = books.item_line(item)
        near = books.invoice_near("invoice_items", item)
        customer = books.invoice_customer(near) if near >= 0 else -1
        amount = 100 + bits % 10_000 * 10
        if invoice >= 0:
            lines = books.children("invoice_line_items", invoice)
            amount = part(books.bill(invoice).subtotal, lines, line)
        price = books.price_in(books.currency(customer), item, books.counts["invoice_items"], bits)
        pricing = (
            f'{{"price_details":{{"price":"{price_name(price)}","product":"{books.product_id(price)}"}},'
            f'"type":"price_details","unit_amount_decimal":"{amount}"}}'
        )
        when = created(item)
        return template % (
            own(item),
            amount,
            books.currency(customer),
            customers(max(0, customer)),
            when,
            f'"{billing.NAMES[bits >> 20 & 15]}"' if bits >> 24 & 7 else "null",
            f'"{invoices_name(invoice)}"' if invoice >= 0 else "null",
            people.METADATA[bits >> 27 & 7],
            amount,
            when,
            when,
            pricing if price >= 0 else "null",
        )

    return render


def credit_notes(books: business.Books) -> business.Render:
    """Credit notes on paid invoices: a tenth of what was billed."""
    template = templates.compiled(
        books.catalog.streams["credit_notes"],
        id='"%s"', amount="%d", amount_shipping="0", created="%d", currency='"%s"', customer='"%s"',
        discount_amount="0", discount_amounts="[]", effective_at="%d", invoice='"%s"', memo="%s", metadata="%s",
        number='"%08X-CN-%02d"', out_of_band_amount="null", pdf='"https://pay.stripe.com/credit_notes/%s/pdf?s=ap"',
        post_payment_amount="%d", pre_payment_amount="0", pretax_credit_amounts="[]", reason="%s", refunds="[]",
        status='"issued"', subtotal="%d", subtotal_excluding_tax="%d", total="%d", total_excluding_tax="%d",
        total_taxes="[]", type='"post_payment"', livemode="false",
    )  # fmt: skip
    own, created = books.namer("credit_notes").name, books.times("credit_notes")
    customers, invoices_name = books.namer("customers").name, books.namer("invoices").name

    def render(note: int, _: int | None) -> str:
        bits = ids.mix(note * 8 + 3 ^ books.seed)
        invoice, id, when = books.invoice_near("credit_notes", note), own(note), created(note)
        customer = books.invoice_customer(invoice) if invoice >= 0 else -1
        amount = books.note_amount(note)
        return template % (
            id,
            amount,
            when,
            books.currency(customer),
            customers(max(0, customer)),
            when,
            invoices_name(max(0, invoice)),
            '"Sorry for the \\"delay\\""' if bits & 3 == 0 else "null",
            people.METADATA[bits >> 2 & 7],
            bits >> 32,
            note % 100,
            id,
            amount,
            ("null", '"duplicate"', '"order_change"', '"product_unsatisfactory"')[bits >> 5 & 3],
            amount,
            amount,
            amount,
            amount,
        )

    return render


def credit_note_line_items(books: business.Books) -> business.Render:
    """Lines of a credit note, together its amount."""
    template = templates.compiled(
        books.catalog.streams["credit_note_line_items"],
        id='"%s"', amount="%d", description="%s", discount_amount="0", discount_amounts="[]",
        invoice_line_item="%s", metadata="{}", pretax_credit_amounts="[]", quantity="1", tax_rates="[]", taxes="[]",
        type='"%s"', unit_amount="%d", unit_amount_decimal='"%d"', livemode="false",
    )  # fmt: skip

    def render(line: int, note: int | None) -> str:
        assert note is not None, "Lines are listed by credit note."
        amount = part(books.note_amount(note), books.children("credit_note_line_items", note), line)
        invoice = books.invoice_near("credit_notes", note)
        known = invoice >= 0 and line < books.children("invoice_line_items", invoice)
        billed = f'"{books.row_id("invoice_line_items", line, invoice)}"' if known else "null"
        return template % (
            books.row_id("credit_note_line_items", line, note),
            amount,
            f'"{billing.NAMES[(note + line) & 15]}"',
            billed,
            "invoice_line_item" if known else "custom_line_item",
            amount,
            amount,
        )

    return render


def customer_balance_transactions(books: business.Books) -> business.Render:
    """Credits and debits of a customer's balance, the newest first; the last one left the balance of today."""
    template = templates.compiled(
        books.catalog.streams["customer_balance_transactions"],
        id='"%s"', amount="%d", created="%d", currency='"%s"', customer='"%s"', description="%s",
        ending_balance="%d", metadata="{}", type='"adjustment"', livemode="false",
    )  # fmt: skip
    created = books.times("customers")

    def render(ordinal: int, parent: int | None) -> str:
        assert parent is not None, "Balance transactions are listed by customer."
        age = books.children("customer_balance_transactions", parent) - 1 - ordinal
        ending = people.balance(books, parent) if ordinal == 0 else -1000 * (age & 1 ^ 1)
        before = -1000 * (age - 1 & 1 ^ 1) if age else 0
        return template % (
            books.row_id("customer_balance_transactions", ordinal, parent),
            ending - before,
            min(books.now, created(parent) + age * business.DAY),
            books.currency(parent),
            books.parent_id("customer_balance_transactions", parent),
            '"Goodwill \\"credit\\""' if age & 1 else "null",
            ending,
        )

    return render
