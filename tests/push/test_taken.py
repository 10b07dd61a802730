"""What has no problem is taken by a Stripe that checks every parameter; what only a create may say, never later."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tidegate.catalog import writes
from tidegate.push import forms, validity
from tidegate.sandbox import serving

OF = writes.load()
MADE: dict[str, dict[str, object]] = {
    "customer": {
        "email": "jane@example.com",
        "name": "Jane Doe",
        "phone": "+49 228 1",
        "description": "Since 2019",
        "business_name": "Doe & Co",
        "individual_name": "Jane",
        "tax_exempt": "none",
        "preferred_locales": '["de", "en"]',
        "address.city": "Bonn",
        "shipping.name": "Jane",
        "shipping.address.line1": "Weg 1",
        "invoice_settings.custom_fields": '[{"name": "PO", "value": "7"}]',
        "metadata.crm.id": "7",
    },
    "product": {
        "id": "tea",
        "name": "Tea",
        "description": "Green",
        "images": '["https://example.com/tea.png"]',
        "marketing_features": '[{"name": "hot"}]',
        "package_dimensions.height": "1",
        "package_dimensions.length": "2.5",
        "package_dimensions.weight": "1",
        "package_dimensions.width": "1",
        "statement_descriptor": "TEA",
        "unit_label": "cup",
        "url": "https://example.com/tea",
    },
    "price": {
        "product": "tea",
        "currency": "eur",
        "unit_amount": "1000",
        "lookup_key": "tea",
        "nickname": "Tea",
        "currency_options.usd.unit_amount": "1100",
    },
    "coupon": {"id": "SUMMER", "percent_off": "12.5", "duration": "once", "name": "Summer"},
    "promotion_code": {"promotion.type": "coupon", "promotion.coupon": "SUMMER", "code": "TEA-25"},
    "tax_rate": {
        "display_name": "USt",
        "inclusive": "false",
        "percentage": "19",
        "country": "DE",
        "description": "Full",
        "jurisdiction": "DE",
    },
    "tax_id": {"customer": "CUSTOMER", "type": "eu_vat", "value": "DE123456789"},
    "invoice_item": {"customer": "CUSTOMER", "amount": "500", "currency": "eur", "description": "Tea"},
    "invoice": {
        "customer": "CUSTOMER",
        "collection_method": "send_invoice",
        "days_until_due": "30",
        "description": "Tea",
        "footer": "Thanks",
    },
}


class Account:
    """One object of every kind that can be created, made from fields as a push has them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.made: dict[str, dict[str, Any]] = {}
        for name, fields in MADE.items():
            ids = {"CUSTOMER": self.made["customer"]["id"]} if name != "customer" else {}
            given = {path: ids.get(str(value), value) for path, value in fields.items()}
            status, self.made[name] = self.create(name, given)
            assert status == 200, (name, self.made[name])

    def create(self, name: str, fields: dict[str, Any]) -> tuple[int, Any]:
        of = OF[name]
        assert validity.check(of, "create", fields) == []
        above = {path: str(fields[path]) for path, each in of.fields.items() if each.in_path}
        return self.post(of.operations["create"].address(**above), forms.tree(of, fields, creating=True))

    def update(self, name: str, fields: dict[str, Any]) -> tuple[int, Any]:
        of = OF[name]
        return self.post(of.operations["update"].on(self.made[name]["id"]), forms.tree(of, fields))

    def post(self, path: str, tree: forms.Tree) -> tuple[int, Any]:
        """Status, and the object or the error."""
        request = urllib.request.Request(self.url + path, data=forms.encode(tree), method="POST")
        request.add_header("Authorization", f"Bearer {serving.KEY}")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)["error"]


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with serving.process(objects=300) as url:
        yield Account(url)


UPDATABLE = [name for name in MADE if OF[name].updatable]


def test_what_was_said_is_what_the_object_has(account: Account) -> None:
    customer = account.made["customer"]
    assert customer["metadata"] == {"crm.id": "7"}
    assert customer["preferred_locales"] == ["de", "en"]
    assert (customer["address"]["city"], customer["shipping"]["address"]["line1"]) == ("Bonn", "Weg 1")
    assert account.made["product"]["id"] == "tea"
    assert account.made["product"]["package_dimensions"]["length"] == 2.5
    assert account.made["tax_rate"]["inclusive"] is False
    assert account.made["tax_id"]["customer"] == customer["id"]


@pytest.mark.parametrize("name", UPDATABLE)
def test_what_can_be_cleared_is_cleared_by_the_empty_text(account: Account, name: str) -> None:
    for path, field in OF[name].fields.items():
        if field.clearable and field.writable("update") and field.whole in ("", path):
            assert validity.check(OF[name], "update", {path: ""}) == []
            status, answer = account.update(name, {path: ""})
            assert status == 200, (path, answer)
            if path in answer:
                assert answer[path] in (None, "", [], {}, "none"), path


@pytest.mark.parametrize("name", UPDATABLE)
def test_what_only_a_create_may_say_is_refused_afterwards(account: Account, name: str) -> None:
    later = {path for path, field in OF[name].fields.items() if field.writable("update")}
    only = {path: value for path, value in MADE[name].items() if path not in later and "." not in path}
    for path, value in only.items():
        assert validity.check(OF[name], "update", {path: value}) != []
        status, answer = account.update(name, {path: value})
        assert (status, answer["type"]) == (400, "invalid_request_error"), path


def test_archiving_says_what_its_operation_says(account: Account) -> None:
    for name in ("price", "promotion_code", "tax_rate", "product"):
        archive = OF[name].operations["archive"]
        status, answer = account.post(archive.on(account.made[name]["id"]), dict(archive.body))
        assert (status, answer["active"]) == (200, False)
