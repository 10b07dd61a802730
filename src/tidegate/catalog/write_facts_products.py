"""What Stripe says of writing products, prices, discounts and tax rates; every fact has its source."""

from __future__ import annotations

from tidegate.catalog import stated, writes

_TWICE = "Only one of unit_amount and unit_amount_decimal can be set."


PRODUCT = stated.Facts(
    path="/v1/products",
    actions=("create", "update", "delete"),
    keys=("id", "metadata"),
    object="product",
    stream="products",
    docs=stated.API + "products",
    fields={
        "default_price_data.currency": (stated.CURRENCY,),
        "default_price_data.unit_amount": (stated.AMOUNT,),
        "description": (stated.long(40000),),
        "id": (
            stated.Fact(
                stated.SPECIFICATION,
                max_length=5000,
                pattern=stated.ID,
                shape="text without spaces, / ? and #",
            ),
        ),
        "marketing_features[].name": (stated.long(5000),),
        "name": (stated.long(5000),),
        "package_dimensions": (stated.WHOLE,),
        "statement_descriptor": (stated.STATEMENT,),
        "unit_label": (stated.long(12),),
        "url": (stated.long(5000),),
    },
    rules=(
        writes.Rule(
            ("default_price_data.unit_amount", "default_price_data.unit_amount_decimal"),
            _TWICE,
            stated.API + "products/create",
            most=1,
        ),
    ),
    effects={
        "delete": (
            "A product can be deleted only while it has no prices; archive it instead.",
            stated.API + "products/delete",
        )
    },
)


PRICE = stated.Facts(
    path="/v1/prices",
    actions=("create", "update"),
    keys=("lookup_key", "id", "metadata"),
    object="price",
    stream="prices",
    docs=stated.API + "prices",
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
        "currency": (stated.CURRENCY,),
        "nickname": (stated.EMPTIED, stated.long(5000)),
        "product_data.name": (stated.long(5000),),
        "product_data.statement_descriptor": (stated.STATEMENT,),
        "product_data.unit_label": (stated.long(12),),
        "recurring.interval_count": (stated.Fact(stated.API + "prices/create", positive=True),),
        "tax_behavior": (
            stated.Fact(stated.API + "prices/update#update_price-tax_behavior", only_from="unspecified"),
        ),
        "transform_quantity.divide_by": (stated.Fact(stated.API + "prices/create", positive=True),),
        "unit_amount": (stated.AMOUNT,),
        "unit_amount_decimal": (stated.AMOUNT,),
    },
    rules=(
        writes.Rule(
            ("product", "product_data.name"),
            "A price is made for one product: give either product or product_data.",
            stated.API + "prices/create",
            least=1,
            most=1,
        ),
        writes.Rule(
            ("unit_amount", "unit_amount_decimal", "custom_unit_amount.enabled"),
            "One of unit_amount, unit_amount_decimal and custom_unit_amount is required, "
            "unless billing_scheme is tiered.",
            stated.API + "prices/create#create_price-unit_amount",
            least=1,
            unless={"billing_scheme": "tiered"},
        ),
        writes.Rule(
            ("unit_amount", "unit_amount_decimal"),
            _TWICE,
            stated.API + "prices/create#create_price-unit_amount_decimal",
            most=1,
        ),
        writes.Rule(
            ("tiers", "tiers_mode"),
            "With billing_scheme tiered both tiers and tiers_mode are required.",
            stated.API + "prices/create#create_price-billing_scheme",
            least=2,
            when={"billing_scheme": "tiered"},
        ),
    ),
)


COUPON = stated.Facts(
    path="/v1/coupons",
    actions=("create", "update", "delete"),
    keys=("id", "metadata"),
    object="coupon",
    stream="coupons",
    docs=stated.API + "coupons",
    note="Only `name`, `metadata` and `currency_options` of a coupon ever change.",
    fields={
        "amount_off": (stated.Fact(stated.API + "coupons/create#create_coupon-amount_off", positive=True),),
        "currency": (stated.CURRENCY,),
        "duration_in_months": (stated.Fact(stated.API + "coupons/create", positive=True),),
        "id": (
            stated.Fact(
                stated.SPECIFICATION,
                max_length=5000,
                pattern=stated.ID,
                shape="text without spaces, / ? and #",
            ),
        ),
        "max_redemptions": (
            stated.Fact(stated.API + "coupons/create#create_coupon-max_redemptions", positive=True),
        ),
        "name": (stated.EMPTIED, stated.long(40)),
        "percent_off": (
            stated.Fact(stated.API + "coupons/create#create_coupon-percent_off", positive=True, most=100),
        ),
    },
    rules=(
        writes.Rule(
            ("amount_off", "percent_off"),
            "A coupon takes off either amount_off or percent_off.",
            stated.API + "coupons/create#create_coupon-amount_off",
            least=1,
            most=1,
        ),
        writes.Rule(
            ("currency",),
            "amount_off needs its currency.",
            stated.API + "coupons/create#create_coupon-currency",
            least=1,
            when={"amount_off": "*"},
        ),
        writes.Rule(
            ("duration_in_months",),
            "A repeating coupon needs duration_in_months.",
            stated.API + "coupons/create#create_coupon-duration_in_months",
            least=1,
            when={"duration": "repeating"},
        ),
    ),
    effects={
        "delete": (
            "Customers who have redeemed it keep their discount; nobody else can redeem it.",
            stated.API + "coupons/delete",
        )
    },
)


PROMOTION_CODE = stated.Facts(
    path="/v1/promotion_codes",
    actions=("create", "update"),
    keys=("code", "id", "metadata"),
    object="promotion_code",
    stream="promotion_codes",
    docs=stated.API + "promotion_codes",
    note="Only `active`, `metadata` and `restrictions.currency_options` of a promotion code ever change.",
    fields={
        "code": (
            stated.Fact(
                stated.API + "promotion_codes/create#create_promotion_code-code",
                max_length=500,
                pattern=r"[A-Za-z0-9-]+",
                shape="letters, digits and dashes",
            ),
            stated.Fact(stated.API + "promotion_codes/object#promotion_code_object-code", caseless=True),
        ),
        "max_redemptions": (stated.Fact(stated.API + "promotion_codes/create", positive=True),),
        "restrictions.minimum_amount": (stated.Fact(stated.API + "promotion_codes/create", positive=True),),
        "restrictions.minimum_amount_currency": (stated.CURRENCY,),
    },
    rules=(
        writes.Rule(
            ("promotion.coupon",),
            "A promotion of type coupon names its coupon.",
            stated.API + "promotion_codes/create",
            least=1,
            when={"promotion.type": "coupon"},
        ),
        writes.Rule(
            ("restrictions.minimum_amount_currency",),
            "restrictions.minimum_amount needs its currency.",
            stated.API + "promotion_codes/create",
            least=1,
            when={"restrictions.minimum_amount": "*"},
        ),
    ),
)


TAX_RATE = stated.Facts(
    path="/v1/tax_rates",
    actions=("create", "update"),
    keys=("id", "metadata"),
    object="tax_rate",
    stream="tax_rates",
    docs=stated.API + "tax_rates",
    replacement=writes.Replacement("archive", "https://docs.stripe.com/billing/taxes/tax-rates"),
    note=(
        "The percentage of a tax rate never changes. `on_immutable: replace` creates one with the new percentage, "
        "and archives the old one."
    ),
    fields={
        "country": (stated.EMPTIED, stated.long(5000)),
        "description": (stated.EMPTIED, stated.long(5000)),
        "display_name": (stated.long(50),),
        "jurisdiction": (stated.EMPTIED, stated.long(50)),
        "percentage": (
            stated.Fact(stated.API + "tax_rates/create#create_tax_rate-percentage", least=0, most=100),
        ),
        "state": (stated.EMPTIED, stated.long(5000)),
    },
)
