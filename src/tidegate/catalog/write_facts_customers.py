"""What Stripe says of writing customers and their tax ids; every fact has its source."""

from __future__ import annotations

from tidegate.catalog import stated, writes

CUSTOMER = stated.Facts(
    path="/v1/customers",
    actions=("create", "update", "delete"),
    keys=("id", "metadata", "email"),
    object="customer",
    stream="customers",
    docs=stated.API + "customers",
    fields={
        **stated.address("address"),
        **stated.address("shipping.address"),
        "address": (stated.WHOLE,),
        "shipping": (stated.WHOLE,),
        "balance": stated.refused(
            "it is an absolute amount that invoices change meanwhile, so that a write would undo them; "
            "adjust it with customer balance transactions",
            stated.API + "customer_balance_transactions",
        ),
        "description": (stated.EMPTIED, stated.long(5000)),
        "email": (stated.EMPTIED, stated.EMAIL),
        "invoice_prefix": (
            stated.Fact(
                stated.API + "customers/create#create_customer-invoice_prefix",
                pattern=r"[A-Z0-9]{1,12}",
                shape="1 to 12 uppercase letters or digits",
            ),
        ),
        "invoice_settings.footer": (stated.long(5000),),
        "name": (stated.EMPTIED, stated.long(256)),
        "next_invoice_sequence": (
            stated.Fact(stated.API + "customers/create#create_customer-next_invoice_sequence", positive=True),
        ),
        "phone": (stated.EMPTIED, stated.long(20)),
        "shipping.name": (stated.long(5000),),
        "shipping.phone": (stated.long(5000),),
        "source": stated.refused(
            "it charges a card at once where a subscription is past due, and card data does not belong into a "
            "warehouse; let the customer add payment methods",
            stated.API + "customers/update#update_customer-source",
        ),
        "validate": stated.refused(
            "it belongs to source, which is not written", stated.API + "customers/update"
        ),
    },
    effects={
        "delete": (
            "Deleting a customer cannot be undone, and cancels its subscriptions at once.",
            stated.API + "customers/delete",
        )
    },
)


TAX_ID = stated.Facts(
    path="/v1/customers/{customer}/tax_ids",
    actions=("create", "delete"),
    keys=("id", "value"),
    object="tax_id",
    stream="customer_tax_ids",
    docs=stated.API + "tax_ids",
    aliases=("customer_tax_id",),
    replacement=writes.Replacement("delete", "https://docs.stripe.com/billing/customer/tax-ids"),
    note=(
        "A tax id never changes. `on_immutable: replace` creates one with the new value, and deletes the old one."
    ),
)
