"""What Stripe says of writing subscriptions, invoices and what is billed; every fact has its source."""

from __future__ import annotations

from tidegate.catalog import stated, writes

SUBSCRIPTION = stated.Facts(
    path="/v1/subscriptions",
    actions=("update",),
    keys=("id", "metadata"),
    object="subscription",
    stream="subscriptions",
    docs=stated.API + "subscriptions",
    note=(
        "Subscriptions are only updated. `proration_behavior` is always sent: `none`, unless the push says "
        "otherwise."
    ),
    fields={
        "add_invoice_items": stated.refused(
            "every update would bill the items anew; push invoice_item instead, which is created once",
            stated.API + "subscriptions/update#update_subscription-add_invoice_items",
        ),
        "application_fee_percent": (stated.Fact(stated.API + "subscriptions/update", least=0, most=100),),
        "billing_schedules[].bill_until.timestamp": (stated.TIME,),
        "description": (stated.long(500),),
        "invoice_settings.description": (stated.long(1500),),
        "invoice_settings.footer": (stated.long(5000),),
        "items[].id": (
            stated.Fact(
                "https://docs.stripe.com/billing/subscriptions/change-price",
                required=True,
            ),
        ),
        "items[].quantity": (stated.Fact(stated.API + "subscriptions/update", least=0),),
    },
    rules=(
        writes.Rule(
            ("days_until_due",),
            "days_until_due is only for subscriptions whose collection_method is send_invoice.",
            stated.API + "subscriptions/update#update_subscription-days_until_due",
            actions=("update",),
            most=0,
            when={"collection_method": "charge_automatically"},
        ),
        writes.Rule(
            ("trial_end", "trial_from_plan"),
            "trial_from_plan together with trial_end is not allowed.",
            stated.API + "subscriptions/update#update_subscription-trial_from_plan",
            actions=("update",),
            most=1,
            when={"trial_from_plan": "true"},
        ),
    ),
)


INVOICE_ITEM = stated.Facts(
    path="/v1/invoiceitems",
    actions=("create", "update", "delete"),
    keys=("metadata",),
    object="invoiceitem",
    stream="invoice_items",
    docs=stated.API + "invoiceitems",
    aliases=("invoiceitem",),
    money=True,
    note="Every invoice item bills its customer: each is created once, and found again by its key in metadata.",
    fields={
        "currency": (stated.CURRENCY,),
        "description": (stated.EMPTIED, stated.long(5000)),
        "invoicing_rules": stated.refused(
            "Stripe lets it only be removed, which no row asks for", stated.API + "invoiceitems/update"
        ),
        "period.end": (stated.TIME,),
        "period.start": (stated.TIME,),
        "price_data.currency": (stated.CURRENCY,),
        "quantity": (stated.Fact(stated.API + "invoiceitems/create", least=0),),
        "quantity_decimal": (stated.Fact(stated.API + "invoiceitems/create", least=0),),
    },
    rules=(
        writes.Rule(
            ("customer", "customer_account"),
            "An invoice item bills somebody: give customer or customer_account.",
            stated.API + "invoiceitems/create#create_invoiceitem-customer",
            least=1,
            most=1,
        ),
        writes.Rule(
            ("amount", "unit_amount_decimal", "pricing.price", "price_data.currency"),
            "An invoice item has one price: amount, unit_amount_decimal, pricing.price or price_data.",
            stated.API + "invoiceitems/create#create_invoiceitem-amount",
            least=1,
            most=1,
        ),
        writes.Rule(
            ("quantity", "quantity_decimal"),
            "Only one of quantity and quantity_decimal can be set.",
            stated.API + "invoiceitems/create",
            actions=("create", "update"),
            most=1,
        ),
    ),
    effects={
        "delete": (
            "An invoice item can be deleted only while it is on no invoice, or on a draft.",
            stated.API + "invoiceitems/delete",
        )
    },
)


INVOICE = stated.Facts(
    path="/v1/invoices",
    actions=("create", "update", "delete"),
    keys=("id", "metadata"),
    object="invoice",
    stream="invoices",
    docs=stated.API + "invoices",
    note=(
        "An invoice is created as a draft; a finalized one takes only a few fields, `metadata` among them. Nothing "
        "here finalizes, sends or pays an invoice, but with `auto_advance` Stripe does so an hour later."
    ),
    fields={
        **stated.address("shipping_details.address"),
        "currency": (stated.CURRENCY,),
        "days_until_due": (stated.Fact(stated.API + "invoices/create", least=0),),
        "description": (stated.EMPTIED, stated.long(1500)),
        "footer": (stated.EMPTIED, stated.long(5000)),
        "number": (stated.long(26),),
        "shipping_details": (stated.WHOLE,),
        "shipping_details.name": (stated.long(5000),),
        "shipping_details.phone": (stated.long(5000),),
        "statement_descriptor": (stated.EMPTIED, stated.STATEMENT),
    },
    rules=(
        writes.Rule(
            ("customer", "customer_account", "from_invoice.invoice"),
            "An invoice bills somebody: give customer or customer_account, or from_invoice to revise one.",
            stated.API + "invoices/create#create_invoice-customer",
            least=1,
        ),
        writes.Rule(
            ("due_date", "days_until_due"),
            "due_date and days_until_due are only for invoices whose collection_method is send_invoice.",
            stated.API + "invoices/create#create_invoice-due_date",
            actions=("create",),
            most=0,
            unless={"collection_method": "send_invoice"},
        ),
        writes.Rule(
            ("due_date", "days_until_due"),
            "due_date and days_until_due are only for invoices whose collection_method is send_invoice.",
            stated.API + "invoices/update#update_invoice-due_date",
            actions=("update",),
            most=0,
            when={"collection_method": "charge_automatically"},
        ),
    ),
    effects={
        "delete": (
            "Only a draft can be deleted, and not one that a subscription made; this cannot be undone.",
            stated.API + "invoices/delete",
        )
    },
)


METER_EVENT = stated.Facts(
    path="/v1/billing/meter_events",
    actions=("create",),
    keys=("identifier",),
    object="billing.meter_event",
    permission="rak_billing_meter_event_write",
    docs=stated.API + "billing/meter-event",
    aliases=("billing.meter_event",),
    note=(
        "Usage is billed. Give `identifier`: Stripe takes each only once, within at least 24 hours. Meter events "
        "have a rate limit of their own, 1,000 a second."
    ),
    fields={
        "event_name": (stated.long(100),),
        "identifier": (
            stated.Fact(
                "https://docs.stripe.com/billing/subscriptions/usage-based/recording-usage-api",
                required=True,
                max_length=100,
            ),
        ),
    },
)
