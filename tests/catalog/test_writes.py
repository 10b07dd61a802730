"""What can be written is what the installed package and Stripe's documentation say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from stripe import params
from stripe._request_options import RequestOptions

from tidegate import catalog
from tidegate.catalog import build, build_writes, stated, write_facts, write_facts_customers, writes

ISSUED = {
    "customer",
    "product",
    "price",
    "coupon",
    "promotion_code",
    "subscription",
    "invoice_item",
    "invoice",
    "tax_id",
    "meter_event",
    "tax_rate",
    "payment_intent",
    "charge",
    "refund",
    "dispute",
    "payout",
}
CLASSES: dict[str, tuple[Any, Any]] = {
    "customer": (params.CustomerCreateParams, params.CustomerUpdateParams),
    "product": (params.ProductCreateParams, params.ProductUpdateParams),
    "price": (params.PriceCreateParams, params.PriceUpdateParams),
    "coupon": (params.CouponCreateParams, params.CouponUpdateParams),
    "promotion_code": (params.PromotionCodeCreateParams, params.PromotionCodeUpdateParams),
    "subscription": (None, params.SubscriptionUpdateParams),
    "invoice_item": (params.InvoiceItemCreateParams, params.InvoiceItemUpdateParams),
    "invoice": (params.InvoiceCreateParams, params.InvoiceUpdateParams),
    "tax_id": (params.CustomerTaxIdCreateParams, None),
    "meter_event": (params.billing.MeterEventCreateParams, None),
    "tax_rate": (params.TaxRateCreateParams, params.TaxRateUpdateParams),
}


INHERITED = {"StripeContext": object, "Mapping": Mapping}
"""Names that annotations of request options use without the classes that inherit them importing these."""


def field(name: str, path: str) -> writes.Field:
    found = writes.load()[name].field(path)
    assert found is not None, f"{name} has no {path}"
    return found


# The file.


def test_the_committed_file_is_what_the_package_gives(capsys: pytest.CaptureFixture[str]) -> None:
    assert build_writes.run(check=True) == 0
    assert build.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_rendering_is_lossless() -> None:
    text = build.lines(build_writes.derive())
    assert msgspec.json.decode(text, type=writes.Writes) == build_writes.derive()


def test_writing_and_checking_a_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "writes.json"
    assert build_writes.run(check=True, file=copy) == 1
    assert "cannot be read" in capsys.readouterr().out
    assert build_writes.run(check=False, file=copy) == 0
    assert build_writes.run(check=True, file=copy) == 0
    copy.write_bytes(copy.read_bytes() + b" ")
    assert build_writes.run(check=True, file=copy) == 1
    assert "the same content in another form" in capsys.readouterr().out


def test_differences_name_the_field_and_what_of_it() -> None:
    of = build_writes.derive()
    customer = of.objects["customer"]
    less = {path: each for path, each in customer.fields.items() if path != "phone"}
    less["email"] = msgspec.structs.replace(less["email"], max_length=256, clearable=False)
    changed = msgspec.structs.replace(customer, fields=less, keys=("email",))
    rest = {name: each for name, each in of.objects.items() if name != "refund"}
    old = msgspec.structs.replace(of, package="16.0.0", objects={**rest, "customer": changed})
    assert build_writes.differences(build.lines(old), of) == [
        "package: 16.0.0 -> 16.1.0",
        "customer.email: clearable, max_length changed",
        "customer.phone: new",
        "customer: keys changed",
        "object refund: new",
    ]


def told(monkeypatch: pytest.MonkeyPatch, path: str, fact: stated.Fact) -> None:
    """Derive as if there were one more fact about a customer."""
    facts = write_facts_customers.CUSTOMER
    more = {**facts.__dict__, "fields": {**facts.fields, path: (*facts.fields.get(path, ()), fact)}}
    monkeypatch.setitem(write_facts.OBJECTS, "customer", stated.Facts(**more))
    build_writes.derive.__wrapped__()


def test_a_fact_about_something_gone_fails_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LookupError, match=r"customer\.account_balance, which the package does not have"):
        told(monkeypatch, "account_balance", stated.Fact("https://example.com", max_length=1))
    with pytest.raises(LookupError, match=r"customer\.tax_id_data\[\]\.country, which"):
        told(monkeypatch, "tax_id_data[].country", stated.Fact("https://example.com", max_length=1))


def test_a_fact_that_the_package_has_by_itself_fails_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LookupError, match=r"package itself says of customer\.email what a fact says"):
        told(monkeypatch, "email", stated.Fact("https://example.com", max_length=512))


def test_every_fact_has_its_source() -> None:
    for name, facts in write_facts.OBJECTS.items():
        sources = [fact.source for each in facts.fields.values() for fact in each]
        sources += [rule.source for rule in facts.rules] + [source for _, source in facts.effects.values()]
        assert all(
            re.match(r"https://(docs\.stripe|github)\.com/\S+\Z", each) for each in (*sources, facts.docs)
        ), name


def test_reading_it_needs_no_stripe_package() -> None:
    code = "import sys; from tidegate.catalog import writes; writes.load(); print('stripe' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# Against the classes themselves, by another way than the derivation's.


def shape(cls: Any, prefix: str = "") -> Iterator[tuple[str, bool, bool]]:
    """Path, required, emptyable of every parameter, from the type hints at run time."""
    if cls is None:
        return
    hints = typing.get_type_hints(cls, localns=INHERITED, include_extras=True)
    for name in set(hints) - set(RequestOptions.__annotations__):
        hint = hints[name]
        optional = typing.get_origin(hint) is typing.NotRequired or "NotRequired" in str(
            typing.get_origin(hint)
        )
        inner = typing.get_args(hint)[0] if optional else hint
        parts = list(alternatives(inner))
        yield f"{prefix}{name}", not optional, any(each == "" for each in parts)
        for each in parts:
            origin = typing.get_origin(each)
            element, mark = each, ""
            if origin in (list, dict):
                element, mark = typing.get_args(each)[-1], "[]" if origin is list else ".*"
            if hasattr(element, "__total__"):  # a TypedDict, also of typing_extensions
                yield from shape(element, f"{prefix}{name}{mark}.")


def alternatives(hint: Any) -> Iterator[Any]:
    """What a union may be, literals as their values."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        for each in typing.get_args(hint):
            yield from alternatives(each)
    elif origin is not None and "Literal" in str(origin):
        yield from typing.get_args(hint)
    else:
        yield hint


def flat(fields: Mapping[str, writes.Field], prefix: str = "") -> Iterator[tuple[str, writes.Field]]:
    for path, each in fields.items():
        yield f"{prefix}{path}", each
        yield from flat(each.fields, f"{prefix}{path}{'[]' if each.kind == 'list' else '.*'}.")


@pytest.mark.parametrize("name", CLASSES)
def test_every_parameter_of_the_package_is_a_field_and_nothing_else(name: str) -> None:
    create, update = ({path: rest for path, *rest in shape(cls) if path != "expand"} for cls in CLASSES[name])
    of = writes.load()[name]
    refused = tuple(
        f"{path}{mark}" for path, each in of.fields.items() if each.why_not for mark in ("[", ".")
    )
    fields = {path: each for path, each in flat(of.fields) if not each.in_path}
    expected = {path for path in {*create, *update} if not path.startswith(refused or ("\0",))}
    assert set(fields) == expected
    facts = write_facts.OBJECTS[name].fields
    for path, each in fields.items():
        assert (each.on_create, each.on_update) == (path in create, path in update), path
        required, emptyable = (update if path in update else create)[path]
        known = [fact for key, told in facts.items() for fact in told if path.startswith(key)]
        assert each.clearable == emptyable or (
            each.clearable and any(f.clearable or f.whole for f in known)
        ), path
        stated = each.required_on_update if path in update else each.required_on_create
        assert stated == required or any(fact.required for fact in known), path


# Against what Stripe documents.


def test_every_object_is_there_under_our_name_and_stripe_s() -> None:
    assert set(writes.load()) == ISSUED
    for name, of in writes.load().items():
        assert writes.find(name) is of
        assert writes.find(of.object) is of, f"{of.object} is what Stripe calls it"
    assert writes.find("plan") is None


@pytest.mark.parametrize(
    ("name", "path", "create", "update"),
    [
        ("customer", "email", True, True),
        ("customer", "tax_id_data", True, False),
        ("customer", "test_clock", True, False),
        ("customer", "default_source", False, True),
        ("customer", "metadata.plan", True, True),
        ("customer", "balance", False, False),
        ("customer", "source", False, False),
        ("product", "id", True, False),
        ("product", "default_price_data.unit_amount", True, False),
        ("product", "default_price", False, True),
        ("price", "unit_amount", True, False),
        ("price", "recurring.interval", True, False),
        ("price", "currency", True, False),
        ("price", "nickname", True, True),
        ("price", "lookup_key", True, True),
        ("price", "transfer_lookup_key", True, True),
        ("price", "active", True, True),
        ("price", "currency_options.eur.unit_amount", True, True),
        ("coupon", "percent_off", True, False),
        ("coupon", "duration", True, False),
        ("coupon", "currency_options.eur.amount_off", True, True),
        ("promotion_code", "code", True, False),
        ("promotion_code", "restrictions.minimum_amount", True, False),
        ("promotion_code", "restrictions.currency_options.eur.minimum_amount", True, True),
        ("subscription", "cancel_at_period_end", False, True),
        ("subscription", "proration_behavior", False, True),
        ("subscription", "add_invoice_items", False, False),
        ("invoice_item", "customer", True, False),
        ("invoice_item", "amount", True, True),
        ("invoice", "customer", True, False),
        ("invoice", "footer", True, True),
        ("tax_id", "value", True, False),
        ("meter_event", "payload.value", True, False),
        ("tax_rate", "percentage", True, False),
        ("tax_rate", "display_name", True, True),
        ("charge", "metadata.order", False, True),
        ("charge", "description", False, False),
    ],
)
def test_when_a_field_can_be_written(name: str, path: str, create: bool, update: bool) -> None:
    found = field(name, path)
    assert (found.writable("create"), found.writable("update")) == (create, update)
    assert found.writable("any") == (create or update)


def test_what_of_a_coupon_and_of_a_promotion_code_ever_changes() -> None:
    def changing(name: str) -> set[str]:
        of = writes.load()[name]
        return {path.partition(".")[0] for path, each in of.fields.items() if each.writable("update")}

    assert changing("coupon") == {"name", "metadata", "currency_options"}
    assert changing("promotion_code") == {"active", "metadata", "restrictions"}


@pytest.mark.parametrize("name", ["payment_intent", "charge", "refund", "dispute", "payout"])
def test_of_payments_only_metadata_is_written(name: str) -> None:
    of = writes.load()[name]
    assert [path for path, each in of.fields.items() if each.writable("any")] == ["metadata"]
    assert set(of.operations) == {"update"}


@pytest.mark.parametrize(
    ("name", "path", "kind"),
    [
        ("customer", "name", "string"),
        ("customer", "tax_exempt", "enum"),
        ("customer", "preferred_locales", "list"),
        ("customer", "metadata", "map"),
        ("customer", "address", "hash"),
        ("customer", "next_invoice_sequence", "integer"),
        ("product", "shippable", "boolean"),
        ("product", "package_dimensions.height", "number"),
        ("price", "unit_amount_decimal", "decimal"),
        ("price", "unit_amount", "integer"),
        ("coupon", "redeem_by", "timestamp"),
        ("promotion_code", "expires_at", "timestamp"),
        ("subscription", "cancel_at", "timestamp"),
        ("subscription", "trial_end", "timestamp"),
        ("invoice", "due_date", "timestamp"),
        ("invoice", "days_until_due", "integer"),
        ("invoice_item", "period.start", "timestamp"),
        ("meter_event", "timestamp", "timestamp"),
    ],
)
def test_types(name: str, path: str, kind: str) -> None:
    assert field(name, path).kind == kind


def test_values_of_enumerations() -> None:
    assert set(field("customer", "tax_exempt").values("update")) == {"none", "exempt", "reverse"}
    location = field("customer", "tax.validate_location")
    assert set(location.values("create")) == {"deferred", "immediately"}
    assert set(location.values("update")) == {"auto", "deferred", "immediately"}
    assert set(location.values("any")) == {"auto", "deferred", "immediately"}
    assert field("subscription", "trial_end").enum == ("now",)
    assert "eu_vat" in field("tax_id", "type").enum


@pytest.mark.parametrize(
    ("name", "path", "characters"),
    [
        ("customer", "email", 512),
        ("customer", "name", 256),
        ("customer", "phone", 20),
        ("customer", "metadata.plan", 500),
        ("customer", "business_name", 150),
        ("product", "description", 40_000),
        ("product", "statement_descriptor", 22),
        ("price", "lookup_key", 200),
        ("coupon", "name", 40),
        ("invoice", "number", 26),
        ("invoice", "description", 1_500),
        ("meter_event", "identifier", 100),
        ("tax_rate", "display_name", 50),
    ],
)
def test_lengths(name: str, path: str, characters: int) -> None:
    assert field(name, path).max_length == characters


def test_lists_that_take_only_so_many() -> None:
    assert field("product", "images").max_items == 8
    assert field("product", "marketing_features").max_items == 15
    assert field("customer", "invoice_settings.custom_fields").max_items == 4
    assert field("subscription", "items").max_items == 20


def test_only_what_can_be_null_is_cleared_on_the_word_of_a_fact() -> None:
    """Of a plain text the package does not say whether it may be emptied; the object's field must be nullable."""
    for name, facts in write_facts.OBJECTS.items():
        nullable = (
            {each.name for each in catalog.load().streams[facts.stream].fields if each.nullable}
            if facts.stream
            else set()
        )
        for path, told in facts.fields.items():
            if any(fact.clearable for fact in told):
                assert path in nullable, f"{name}.{path}"


@pytest.mark.parametrize(
    ("name", "path", "clearable"),
    [
        ("customer", "phone", True),
        ("customer", "address", True),
        ("customer", "shipping", True),
        ("customer", "metadata.plan", True),
        ("customer", "invoice_prefix", False),
        ("customer", "shipping.name", False),
        ("customer", "shipping.phone", True),
        ("product", "name", False),
        ("product", "description", True),
        ("price", "active", False),
        ("tax_rate", "display_name", False),
        ("subscription", "cancel_at", True),
        ("meter_event", "payload.value", False),
    ],
)
def test_what_can_be_cleared(name: str, path: str, clearable: bool) -> None:
    assert field(name, path).clearable == clearable


def test_what_is_replaced_whole() -> None:
    assert field("customer", "address.city").whole == "address"
    assert field("customer", "shipping.address.city").whole == "shipping"
    assert field("invoice", "shipping_details.name").whole == "shipping_details"
    assert field("product", "package_dimensions.width").whole == "package_dimensions"
    assert field("customer", "invoice_settings.footer").whole == ""


def test_an_item_of_a_subscription_is_named_by_its_id() -> None:
    """An item without an id would be added to the subscription."""
    assert field("subscription", "items").fields["id"].required_on_update


def test_keys_and_what_can_be_done() -> None:
    of = writes.load()
    assert {name for name, each in of.items() if each.settable_id} == {"product", "coupon"}
    assert {name for name, each in of.items() if each.money} == {"invoice_item"}
    assert {name for name, each in of.items() if each.archivable} == {
        "product",
        "price",
        "promotion_code",
        "tax_rate",
    }
    assert {name for name, each in of.items() if each.deletable} == {
        "customer",
        "product",
        "coupon",
        "invoice_item",
        "invoice",
        "tax_id",
    }
    assert not of["subscription"].creatable
    assert not of["tax_id"].updatable
    assert not of["tax_id"].metadata
    for each in of.values():
        assert all(key in each.fields or key == "id" for key in each.keys)
    assert of["price"].operations["archive"].body == {"active": "false"}
    assert "subscriptions" in of["customer"].operations["delete"].effect


def test_events_and_streams_are_the_catalog_s() -> None:
    known = catalog.load()
    for name, of in writes.load().items():
        assert set(of.events) <= set(known.event_types)
        assert (not of.stream) == (name == "meter_event")
        if of.stream:
            assert known.streams[of.stream].object == of.object
            assert of.events
    assert "charge.dispute.created" in writes.load()["dispute"].events
    assert writes.load()["refund"].permission == "rak_charge_write"


# Addresses and paths.


def test_addresses_are_filled_and_quoted() -> None:
    of = writes.load()
    assert of["customer"].operations["create"].address() == "/v1/customers"
    assert of["customer"].operations["update"].on("cus_1") == "/v1/customers/cus_1"
    assert of["product"].operations["update"].on("tea/green 1?") == "/v1/products/tea%2Fgreen%201%3F"
    assert of["tax_id"].operations["create"].address(customer="cus_1") == "/v1/customers/cus_1/tax_ids"
    delete = of["tax_id"].operations["delete"]
    assert delete.placeholders == ("customer", "id")
    assert delete.on("txi_1", customer="cus_1") == "/v1/customers/cus_1/tax_ids/txi_1"
    assert field("tax_id", "customer").in_path


def test_an_empty_id_never_addresses_the_list() -> None:
    with pytest.raises(ValueError, match="needs a customer"):
        writes.load()["customer"].operations["delete"].on("")


def test_keys_of_maps() -> None:
    customer, price = writes.load()["customer"], writes.load()["price"]
    dotted = customer.field("metadata.crm.id")
    assert dotted is not None
    assert (dotted.path, dotted.kind, dotted.max_length, dotted.clearable) == (
        "metadata.crm.id",
        "string",
        500,
        True,
    )
    option = price.field("currency_options.eur.custom_unit_amount.maximum")
    assert option is not None
    assert (option.path, option.kind) == ("currency_options.eur.custom_unit_amount.maximum", "integer")
    for stranger in (
        "metadata.",
        "emial",
        "currency_options.eur",
        "currency_options.eur.nothing",
        "tiers.0.up_to",
    ):
        assert price.field(stranger) is None


def test_the_file_is_json_of_one_object_per_field() -> None:
    raw = json.loads(build_writes.COMMITTED.read_text(encoding="utf-8"))
    assert raw["objects"]["customer"]["fields"]["phone"]["max_length"] == 20
    assert max(map(len, build_writes.COMMITTED.read_text(encoding="utf-8").splitlines())) < 16_000
