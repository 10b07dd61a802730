"""What can be written, as far as the `stripe` package does not say it; the rest is derived in `build_writes.py`.

Every fact has the address where Stripe says so. A fact about a field that the package does not have makes the build
fail, and so does one that says what the package says already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.catalog import writes

API = "https://docs.stripe.com/api/"
SPECIFICATION = "https://github.com/stripe/openapi/blob/master/latest/openapi.spec3.json"
"""Stripe's own OpenAPI description: its `maxLength` and `format: unix-time` are not in the package."""
EMPTIED = "https://github.com/stripe/stripe-dotnet/issues/1954"
""""In the API, if you pass an empty string it will unset the string field", of a customer's e-mail and phone."""
WHOLE = "https://github.com/stripe/stripe-python/issues/255"
""""Any parameters not provided will be left unchanged except when updating subresources, where all fields must be
specified"; a customer's shipping without its name is "Missing required param: shipping[name]"."""


@dataclass(frozen=True)
class Fact:
    """What Stripe says about one field, and where."""

    source: str
    clearable: bool = False
    max_length: int = 0
    max_items: int = 0
    pattern: str = ""
    shape: str = ""
    caseless: bool = False
    only_from: str = ""
    least: float | None = None
    most: float | None = None
    positive: bool = False
    time: bool = False
    """Unix seconds, although neither name nor text of the parameter says so."""
    whole: bool = False
    required: bool = False
    """Not to be left out: of a member, whenever its hash or element is sent."""
    why_not: str = ""


@dataclass(frozen=True)
class Facts:
    """What is written of one object, and what its parameters mean."""

    path: str
    """Where it is created; an update or delete adds the id."""
    actions: tuple[writes.Action, ...]
    """Archiving is found by itself: an update that takes `active`."""
    keys: tuple[str, ...]
    object: str
    docs: str
    stream: str = ""
    permission: str = ""
    """Where the stream does not tell it."""
    aliases: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    """Nothing else is written."""
    money: bool = False
    replacement: writes.Replacement | None = None
    note: str = ""
    fields: Mapping[str, tuple[Fact, ...]] = field(default_factory=dict)
    rules: tuple[writes.Rule, ...] = ()
    effects: Mapping[writes.Action, tuple[str, str]] = field(default_factory=dict)
    """What an operation does beside its name, with the source."""


def _long(characters: int) -> Fact:
    return Fact(SPECIFICATION, max_length=characters)


def _refused(sentence: str, source: str) -> tuple[Fact, ...]:
    return (Fact(source, why_not=sentence),)


def _address(path: str) -> dict[str, tuple[Fact, ...]]:
    parts = ("city", "country", "line1", "line2", "postal_code", "state")
    return {f"{path}.{part}": (_long(5000),) for part in parts}


_ID = r"[^\s/?#]+"
_EMPTIED = Fact(EMPTIED, clearable=True)
_TIME = Fact(SPECIFICATION, time=True)
_WHOLE = Fact(WHOLE, whole=True)
_CURRENCY = Fact(
    "https://docs.stripe.com/currencies",
    pattern=r"[A-Za-z]{3}",
    shape="a three-letter currency code like eur",
    caseless=True,
)
_AMOUNT = Fact("https://docs.stripe.com/currencies#minor-units", least=0)
_EMAIL = Fact(
    "https://docs.stripe.com/error-codes#email-invalid",
    pattern=r"[^@\s]+@[^@\s]+\.[^@\s.]+",
    shape="an e-mail address like jane@example.com",
)
_STATEMENT = Fact(
    "https://docs.stripe.com/get-started/account/statement-descriptors",
    max_length=22,
    pattern=r"[^<>\\'\"*]*[A-Za-z][^<>\\'\"*]*",
    shape="text with at least one letter and without < > \\ ' \" *",
)

_TWICE = "Only one of unit_amount and unit_amount_decimal can be set."


CUSTOMER = Facts(
    path="/v1/customers",
    actions=("create", "update", "delete"),
    keys=("id", "metadata", "email"),
    object="customer",
    stream="customers",
    docs=API + "customers",
    fields={
        **_address("address"),
        **_address("shipping.address"),
        "address": (_WHOLE,),
        "shipping": (_WHOLE,),
        "balance": _refused(
            "it is an absolute amount that invoices change meanwhile, so that a write would undo them; "
            "adjust it with customer balance transactions",
            API + "customer_balance_transactions",
        ),
        "description": (_EMPTIED, _long(5000)),
        "email": (_EMPTIED, _EMAIL),
        "invoice_prefix": (
            Fact(
                API + "customers/create#create_customer-invoice_prefix",
                pattern=r"[A-Z0-9]{1,12}",
                shape="1 to 12 uppercase letters or digits",
            ),
        ),
        "invoice_settings.footer": (_long(5000),),
        "name": (_EMPTIED, _long(256)),
        "next_invoice_sequence": (
            Fact(API + "customers/create#create_customer-next_invoice_sequence", positive=True),
        ),
        "phone": (_EMPTIED, _long(20)),
        "shipping.name": (_long(5000),),
        "shipping.phone": (_long(5000),),
        "source": _refused(
            "it charges a card at once where a subscription is past due, and card data does not belong into a "
            "warehouse; let the customer add payment methods",
            API + "customers/update#update_customer-source",
        ),
        "validate": _refused("it belongs to source, which is not written", API + "customers/update"),
    },
    effects={
        "delete": (
            "Deleting a customer cannot be undone, and cancels its subscriptions at once.",
            API + "customers/delete",
        )
    },
)

PRODUCT = Facts(
    path="/v1/products",
    actions=("create", "update", "delete"),
    keys=("id", "metadata"),
    object="product",
    stream="products",
    docs=API + "products",
    fields={
        "default_price_data.currency": (_CURRENCY,),
        "default_price_data.unit_amount": (_AMOUNT,),
        "description": (_long(40000),),
        "id": (Fact(SPECIFICATION, max_length=5000, pattern=_ID, shape="text without spaces, / ? and #"),),
        "marketing_features[].name": (_long(5000),),
        "name": (_long(5000),),
        "package_dimensions": (_WHOLE,),
        "statement_descriptor": (_STATEMENT,),
        "unit_label": (_long(12),),
        "url": (_long(5000),),
    },
    rules=(
        writes.Rule(
            ("default_price_data.unit_amount", "default_price_data.unit_amount_decimal"),
            _TWICE,
            API + "products/create",
            most=1,
        ),
    ),
    effects={
        "delete": (
            "A product can be deleted only while it has no prices; archive it instead.",
            API + "products/delete",
        )
    },
)

PRICE = Facts(
    path="/v1/prices",
    actions=("create", "update"),
    keys=("lookup_key", "id", "metadata"),
    object="price",
    stream="prices",
    docs=API + "prices",
    replacement=writes.Replacement(
        retire="archive",
        source="https://docs.stripe.com/products-prices/manage-prices",
        moving={"lookup_key": {"transfer_lookup_key": "true"}},
        expand=("currency_options",),
        pointer=writes.Pointer(
            "product", "product", "default_price", "https://github.com/stripe/stripe-python/issues/658"
        ),
    ),
    note=(
        "Amounts of a price never change. `on_immutable: replace` creates a price with the new amount, has it take "
        "over the `lookup_key`, and archives the old one."
    ),
    fields={
        "currency": (_CURRENCY,),
        "nickname": (_EMPTIED, _long(5000)),
        "product_data.name": (_long(5000),),
        "product_data.statement_descriptor": (_STATEMENT,),
        "product_data.unit_label": (_long(12),),
        "recurring.interval_count": (Fact(API + "prices/create", positive=True),),
        "tax_behavior": (Fact(API + "prices/update#update_price-tax_behavior", only_from="unspecified"),),
        "transform_quantity.divide_by": (Fact(API + "prices/create", positive=True),),
        "unit_amount": (_AMOUNT,),
        "unit_amount_decimal": (_AMOUNT,),
    },
    rules=(
        writes.Rule(
            ("product", "product_data.name"),
            "A price is made for one product: give either product or product_data.",
            API + "prices/create",
            least=1,
            most=1,
        ),
        writes.Rule(
            ("unit_amount", "unit_amount_decimal", "custom_unit_amount.enabled"),
            "One of unit_amount, unit_amount_decimal and custom_unit_amount is required, "
            "unless billing_scheme is tiered.",
            API + "prices/create#create_price-unit_amount",
            least=1,
            unless={"billing_scheme": "tiered"},
        ),
        writes.Rule(
            ("unit_amount", "unit_amount_decimal"),
            _TWICE,
            API + "prices/create#create_price-unit_amount_decimal",
            most=1,
        ),
        writes.Rule(
            ("tiers", "tiers_mode"),
            "With billing_scheme tiered both tiers and tiers_mode are required.",
            API + "prices/create#create_price-billing_scheme",
            least=2,
            when={"billing_scheme": "tiered"},
        ),
    ),
)

COUPON = Facts(
    path="/v1/coupons",
    actions=("create", "update", "delete"),
    keys=("id", "metadata"),
    object="coupon",
    stream="coupons",
    docs=API + "coupons",
    note="Only `name`, `metadata` and `currency_options` of a coupon ever change.",
    fields={
        "amount_off": (Fact(API + "coupons/create#create_coupon-amount_off", positive=True),),
        "currency": (_CURRENCY,),
        "duration_in_months": (Fact(API + "coupons/create", positive=True),),
        "id": (Fact(SPECIFICATION, max_length=5000, pattern=_ID, shape="text without spaces, / ? and #"),),
        "max_redemptions": (Fact(API + "coupons/create#create_coupon-max_redemptions", positive=True),),
        "name": (_EMPTIED, _long(40)),
        "percent_off": (Fact(API + "coupons/create#create_coupon-percent_off", positive=True, most=100),),
    },
    rules=(
        writes.Rule(
            ("amount_off", "percent_off"),
            "A coupon takes off either amount_off or percent_off.",
            API + "coupons/create#create_coupon-amount_off",
            least=1,
            most=1,
        ),
        writes.Rule(
            ("currency",),
            "amount_off needs its currency.",
            API + "coupons/create#create_coupon-currency",
            least=1,
            when={"amount_off": "*"},
        ),
        writes.Rule(
            ("duration_in_months",),
            "A repeating coupon needs duration_in_months.",
            API + "coupons/create#create_coupon-duration_in_months",
            least=1,
            when={"duration": "repeating"},
        ),
    ),
    effects={
        "delete": (
            "Customers who have redeemed it keep their discount; nobody else can redeem it.",
            API + "coupons/delete",
        )
    },
)

PROMOTION_CODE = Facts(
    path="/v1/promotion_codes",
    actions=("create", "update"),
    keys=("code", "id", "metadata"),
    object="promotion_code",
    stream="promotion_codes",
    docs=API + "promotion_codes",
    note="Only `active`, `metadata` and `restrictions.currency_options` of a promotion code ever change.",
    fields={
        "code": (
            Fact(
                API + "promotion_codes/create#create_promotion_code-code",
                max_length=500,
                pattern=r"[A-Za-z0-9-]+",
                shape="letters, digits and dashes",
            ),
            Fact(API + "promotion_codes/object#promotion_code_object-code", caseless=True),
        ),
        "max_redemptions": (Fact(API + "promotion_codes/create", positive=True),),
        "restrictions.minimum_amount": (Fact(API + "promotion_codes/create", positive=True),),
        "restrictions.minimum_amount_currency": (_CURRENCY,),
    },
    rules=(
        writes.Rule(
            ("promotion.coupon",),
            "A promotion of type coupon names its coupon.",
            API + "promotion_codes/create",
            least=1,
            when={"promotion.type": "coupon"},
        ),
        writes.Rule(
            ("restrictions.minimum_amount_currency",),
            "restrictions.minimum_amount needs its currency.",
            API + "promotion_codes/create",
            least=1,
            when={"restrictions.minimum_amount": "*"},
        ),
    ),
)

SUBSCRIPTION = Facts(
    path="/v1/subscriptions",
    actions=("update",),
    keys=("id", "metadata"),
    object="subscription",
    stream="subscriptions",
    docs=API + "subscriptions",
    note=(
        "Subscriptions are only updated. `proration_behavior` is always sent: `none`, unless the push says "
        "otherwise."
    ),
    fields={
        "add_invoice_items": _refused(
            "every update would bill the items anew; push invoice_item instead, which is created once",
            API + "subscriptions/update#update_subscription-add_invoice_items",
        ),
        "application_fee_percent": (Fact(API + "subscriptions/update", least=0, most=100),),
        "billing_schedules[].bill_until.timestamp": (_TIME,),
        "description": (_long(500),),
        "invoice_settings.description": (_long(1500),),
        "invoice_settings.footer": (_long(5000),),
        "items[].id": (
            Fact(
                "https://docs.stripe.com/billing/subscriptions/change-price",
                required=True,
            ),
        ),
        "items[].quantity": (Fact(API + "subscriptions/update", least=0),),
    },
    rules=(
        writes.Rule(
            ("days_until_due",),
            "days_until_due is only for subscriptions whose collection_method is send_invoice.",
            API + "subscriptions/update#update_subscription-days_until_due",
            actions=("update",),
            most=0,
            when={"collection_method": "charge_automatically"},
        ),
        writes.Rule(
            ("trial_end", "trial_from_plan"),
            "trial_from_plan together with trial_end is not allowed.",
            API + "subscriptions/update#update_subscription-trial_from_plan",
            actions=("update",),
            most=1,
            when={"trial_from_plan": "true"},
        ),
    ),
)

INVOICE_ITEM = Facts(
    path="/v1/invoiceitems",
    actions=("create", "update", "delete"),
    keys=("metadata",),
    object="invoiceitem",
    stream="invoice_items",
    docs=API + "invoiceitems",
    aliases=("invoiceitem",),
    money=True,
    note="Every invoice item bills its customer: each is created once, and found again by its key in metadata.",
    fields={
        "currency": (_CURRENCY,),
        "description": (_EMPTIED, _long(5000)),
        "invoicing_rules": _refused(
            "Stripe lets it only be removed, which no row asks for", API + "invoiceitems/update"
        ),
        "period.end": (_TIME,),
        "period.start": (_TIME,),
        "price_data.currency": (_CURRENCY,),
        "quantity": (Fact(API + "invoiceitems/create", least=0),),
        "quantity_decimal": (Fact(API + "invoiceitems/create", least=0),),
    },
    rules=(
        writes.Rule(
            ("customer", "customer_account"),
            "An invoice item bills somebody: give customer or customer_account.",
            API + "invoiceitems/create#create_invoiceitem-customer",
            least=1,
            most=1,
        ),
        writes.Rule(
            ("amount", "unit_amount_decimal", "pricing.price", "price_data.currency"),
            "An invoice item has one price: amount, unit_amount_decimal, pricing.price or price_data.",
            API + "invoiceitems/create#create_invoiceitem-amount",
            least=1,
            most=1,
        ),
        writes.Rule(
            ("quantity", "quantity_decimal"),
            "Only one of quantity and quantity_decimal can be set.",
            API + "invoiceitems/create",
            actions=("create", "update"),
            most=1,
        ),
    ),
    effects={
        "delete": (
            "An invoice item can be deleted only while it is on no invoice, or on a draft.",
            API + "invoiceitems/delete",
        )
    },
)

INVOICE = Facts(
    path="/v1/invoices",
    actions=("create", "update", "delete"),
    keys=("id", "metadata"),
    object="invoice",
    stream="invoices",
    docs=API + "invoices",
    note=(
        "An invoice is created as a draft; a finalized one takes only a few fields, `metadata` among them. Nothing "
        "here finalizes, sends or pays an invoice, but with `auto_advance` Stripe does so an hour later."
    ),
    fields={
        **_address("shipping_details.address"),
        "currency": (_CURRENCY,),
        "days_until_due": (Fact(API + "invoices/create", least=0),),
        "description": (_EMPTIED, _long(1500)),
        "footer": (_EMPTIED, _long(5000)),
        "number": (_long(26),),
        "shipping_details": (_WHOLE,),
        "shipping_details.name": (_long(5000),),
        "shipping_details.phone": (_long(5000),),
        "statement_descriptor": (_EMPTIED, _STATEMENT),
    },
    rules=(
        writes.Rule(
            ("customer", "customer_account", "from_invoice.invoice"),
            "An invoice bills somebody: give customer or customer_account, or from_invoice to revise one.",
            API + "invoices/create#create_invoice-customer",
            least=1,
        ),
        writes.Rule(
            ("due_date", "days_until_due"),
            "due_date and days_until_due are only for invoices whose collection_method is send_invoice.",
            API + "invoices/create#create_invoice-due_date",
            actions=("create",),
            most=0,
            unless={"collection_method": "send_invoice"},
        ),
        writes.Rule(
            ("due_date", "days_until_due"),
            "due_date and days_until_due are only for invoices whose collection_method is send_invoice.",
            API + "invoices/update#update_invoice-due_date",
            actions=("update",),
            most=0,
            when={"collection_method": "charge_automatically"},
        ),
    ),
    effects={
        "delete": (
            "Only a draft can be deleted, and not one that a subscription made; this cannot be undone.",
            API + "invoices/delete",
        )
    },
)

TAX_ID = Facts(
    path="/v1/customers/{customer}/tax_ids",
    actions=("create", "delete"),
    keys=("id", "value"),
    object="tax_id",
    stream="customer_tax_ids",
    docs=API + "tax_ids",
    aliases=("customer_tax_id",),
    replacement=writes.Replacement("delete", "https://docs.stripe.com/billing/customer/tax-ids"),
    note=(
        "A tax id never changes. `on_immutable: replace` creates one with the new value, and deletes the old one."
    ),
)

METER_EVENT = Facts(
    path="/v1/billing/meter_events",
    actions=("create",),
    keys=("identifier",),
    object="billing.meter_event",
    permission="rak_billing_meter_event_write",
    docs=API + "billing/meter-event",
    aliases=("billing.meter_event",),
    note=(
        "Usage is billed. Give `identifier`: Stripe takes each only once, within at least 24 hours. Meter events "
        "have a rate limit of their own, 1,000 a second."
    ),
    fields={
        "event_name": (_long(100),),
        "identifier": (
            Fact(
                "https://docs.stripe.com/billing/subscriptions/usage-based/recording-usage-api",
                required=True,
                max_length=100,
            ),
        ),
    },
)

TAX_RATE = Facts(
    path="/v1/tax_rates",
    actions=("create", "update"),
    keys=("id", "metadata"),
    object="tax_rate",
    stream="tax_rates",
    docs=API + "tax_rates",
    replacement=writes.Replacement("archive", "https://docs.stripe.com/billing/taxes/tax-rates"),
    note=(
        "The percentage of a tax rate never changes. `on_immutable: replace` creates one with the new percentage, "
        "and archives the old one."
    ),
    fields={
        "country": (_EMPTIED, _long(5000)),
        "description": (_EMPTIED, _long(5000)),
        "display_name": (_long(50),),
        "jurisdiction": (_EMPTIED, _long(50)),
        "percentage": (Fact(API + "tax_rates/create#create_tax_rate-percentage", least=0, most=100),),
        "state": (_EMPTIED, _long(5000)),
    },
)


def _only_metadata(path: str, object: str, stream: str) -> Facts:
    return Facts(
        path=path,
        actions=("update",),
        keys=("id", "metadata"),
        object=object,
        stream=stream,
        docs=API + path.removeprefix("/v1/"),
        only=("metadata",),
        note="Only `metadata` is written.",
    )


OBJECTS: dict[str, Facts] = {
    "customer": CUSTOMER,
    "product": PRODUCT,
    "price": PRICE,
    "coupon": COUPON,
    "promotion_code": PROMOTION_CODE,
    "subscription": SUBSCRIPTION,
    "invoice_item": INVOICE_ITEM,
    "invoice": INVOICE,
    "tax_id": TAX_ID,
    "meter_event": METER_EVENT,
    "tax_rate": TAX_RATE,
    "payment_intent": _only_metadata("/v1/payment_intents", "payment_intent", "payment_intents"),
    "charge": _only_metadata("/v1/charges", "charge", "charges"),
    "refund": _only_metadata("/v1/refunds", "refund", "refunds"),
    "dispute": _only_metadata("/v1/disputes", "dispute", "disputes"),
    "payout": _only_metadata("/v1/payouts", "payout", "payouts"),
}
