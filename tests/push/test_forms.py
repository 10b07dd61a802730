"""The bytes of a request are those that Stripe's own client sends, in an order of their own that never changes."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib import parse

import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.catalog import writes
from tidegate.push import forms

CUSTOMER = writes.load()["customer"]


class Listener(http.server.ThreadingHTTPServer):
    """A server that keeps the body of every request and answers with an empty customer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.bodies: list[bytes] = []

    @property
    def client(self) -> stripe.StripeClient:
        return stripe.StripeClient(
            "sk_test_1", base_addresses={"api": f"http://127.0.0.1:{self.server_port}"}
        )


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert isinstance(self.server, Listener)
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        body = b'{"id":"cus_1","object":"customer"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing to stderr."""


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def by_the_client(listener: Listener, params: dict[str, Any]) -> bytes:
    """The body that Stripe's own client makes of the parameters."""
    listener.client.raw_request("post", "/v1/customers", **params)
    return listener.bodies[-1]


# Against the client.

TREES: list[dict[str, Any]] = [
    {"email": "jane@example.com", "name": "Jane & Söhne + Co", "description": ""},
    {"metadata": {"plan": "pro", "a.b": "1", "ключ": "значение", "empty": ""}},
    {"metadata": ""},
    {"preferred_locales": ["de", "en-GB"], "validate": True},
    {"tax_id_data": [{"type": "eu_vat", "value": "DE1"}, {"type": "gb_vat", "value": "GB2"}]},
    {"invoice_settings": {"custom_fields": [{"name": "PO", "value": "7"}], "footer": None}},
    {"shipping": {"name": "J", "address": {"line1": "Straße 1\nHof", "city": "Köln", "country": "DE"}}},
    {"items": [{"id": f"si_{at}", "quantity": at, "metadata": {"n": str(at)}} for at in range(12)]},
    {"unit_amount": 1000, "unit_amount_decimal": Decimal("12.345"), "percent_off": 12.5},
    {"currency_options": {"eur": {"unit_amount": -1}, "usd": {"tiers": [{"up_to": "inf"}]}}},
]


@pytest.mark.parametrize("tree", TREES)
def test_the_bytes_are_those_of_the_official_client(listener: Listener, tree: dict[str, Any]) -> None:
    sent = by_the_client(listener, tree)
    ours = forms.encode(tree)
    assert sorted(ours.split(b"&")) == sorted(sent.split(b"&"))
    pairs = parse.parse_qsl(sent.decode(), keep_blank_values=True, strict_parsing=True)
    assert sorted(parse.parse_qsl(ours.decode(), keep_blank_values=True, strict_parsing=True)) == sorted(
        pairs
    )


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="[]"), min_size=1, max_size=8
).map(lambda name: f"k{name}")
scalars = texts | st.integers(-(10**12), 10**12) | st.decimals(-1000, 1000, places=3, allow_nan=False)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(scalars | st.dictionaries(names, inner, min_size=1, max_size=3), min_size=1, max_size=12)
        | st.dictionaries(names, inner | st.booleans() | st.none(), max_size=4)
    ),
    max_leaves=12,
)


def can_be_said(tree: dict[str, Any]) -> bool:
    """No list in it has an empty place."""
    try:
        forms.encode(tree)
    except ValueError:
        return False
    return True


trees = st.dictionaries(names, values | st.booleans() | st.none(), max_size=5).filter(can_be_said)


@given(tree=trees.filter(forms.encode))
@settings(deadline=None, max_examples=60)
def test_any_tree_is_sent_as_the_official_client_sends_it(listener: Listener, tree: dict[str, Any]) -> None:
    assert sorted(forms.encode(tree).split(b"&")) == sorted(by_the_client(listener, tree).split(b"&"))


@given(tree=trees)
@settings(deadline=None)
def test_the_same_bytes_in_whatever_order_the_fields_were_named(tree: dict[str, Any]) -> None:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(each) for each in value] if isinstance(value, list) else value

    assert forms.encode(turned(tree)) == forms.encode(tree)


@given(tree=trees)
@settings(deadline=None)
def test_a_decoded_form_is_encoded_to_the_same_bytes(tree: dict[str, Any]) -> None:
    body = forms.encode(tree)
    assert forms.encode(forms.decode(body)) == body


# What the bytes are.


def test_names_are_sorted_at_every_level_and_lists_keep_their_order() -> None:
    assert forms.encode({"b": ["z", "a"], "a": {"y": 1, "x": True}}) == b"a[x]=true&a[y]=1&b[0]=z&b[1]=a"


def test_the_empty_text_is_sent_and_none_is_not() -> None:
    assert forms.encode({"phone": "", "name": None, "metadata": {}, "images": []}) == b"phone="


def test_numbers_have_no_exponent() -> None:
    body = forms.encode({"a": Decimal("1E+3"), "b": Decimal("0.000000000001"), "c": 1e-7, "d": 1e22})
    assert body == b"a=1000&b=0.000000000001&c=0.0000001&d=10000000000000000000000"


@pytest.mark.parametrize(
    ("tree", "error"),
    [
        ({"metadata": {"a[b]": "1"}}, ValueError),
        ({"": "1"}, ValueError),
        ({"a": float("nan")}, ValueError),
        ({"a": Decimal("Infinity")}, ValueError),
        ({"a": Decimal("1e999999999")}, ValueError),
        ({"a": b"bytes"}, TypeError),
        ({"a": ["x", None]}, ValueError),
        ({"a": ["x", {}]}, ValueError),
    ],
)
def test_what_no_form_can_say_is_refused(tree: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        forms.encode(tree)


def test_a_form_is_decoded_for_showing() -> None:
    body = b"items%5B0%5D%5Bprice%5D=p_1&items%5B1%5D%5Bprice%5D=p_2&metadata%5Ba.b%5D=x+y&name="
    assert forms.decode(body) == {
        "items": [{"price": "p_1"}, {"price": "p_2"}],
        "metadata": {"a.b": "x y"},
        "name": "",
    }
    assert forms.decode(b"") == {}
    with pytest.raises(ValueError, match="both a value and a tree"):
        forms.decode(b"a=1&a%5Bb%5D=2")


# From fields to the tree.


def test_fields_become_a_tree() -> None:
    fields = {
        "email": "jane@example.com",
        "address.city": "Bonn",
        "address.country": "DE",
        "metadata.plan": "pro",
        "metadata.crm.id": "7",
        "metadata.gone": "",
        "preferred_locales": '["de", "en"]',
        "invoice_settings.custom_fields": [{"name": "PO", "value": "7"}],
        "phone": None,
        "description": "",
    }
    assert forms.tree(CUSTOMER, fields) == {
        "email": "jane@example.com",
        "address": {"city": "Bonn", "country": "DE"},
        "metadata": {"plan": "pro", "crm.id": "7", "gone": ""},
        "preferred_locales": ["de", "en"],
        "invoice_settings": {"custom_fields": [{"name": "PO", "value": "7"}]},
        "description": "",
    }


def test_amounts_inside_json_stay_exact() -> None:
    price = writes.load()["price"]
    tiers = '[{"up_to": 10, "unit_amount_decimal": 0.100000000001}, {"up_to": "inf", "flat_amount": 5}]'
    body = forms.encode(forms.tree(price, {"tiers": tiers}))
    assert b"tiers[0][unit_amount_decimal]=0.100000000001&tiers[0][up_to]=10" in body


def test_what_is_cleared_in_a_hash_that_is_replaced_whole_is_left_out() -> None:
    fields = {"shipping.name": "Jane", "shipping.address.line1": "Weg 1", "shipping.phone": ""}
    assert forms.tree(CUSTOMER, fields) == {"shipping": {"name": "Jane", "address": {"line1": "Weg 1"}}}
    assert forms.tree(CUSTOMER, {"address.city": "", "address.line1": ""}) == {"address": ""}
    assert forms.tree(CUSTOMER, {"shipping": ""}) == {"shipping": ""}


def test_an_empty_list_clears_where_it_can() -> None:
    product = writes.load()["product"]
    assert forms.tree(product, {"images": "[]", "name": "Tea"}) == {"images": "", "name": "Tea"}
    assert forms.encode(forms.tree(CUSTOMER, {"preferred_locales": []})) == b""


def test_a_create_has_nothing_to_clear() -> None:
    fields = {"name": "Jane", "phone": "", "address.city": "", "metadata.plan": ""}
    assert forms.tree(CUSTOMER, fields, creating=True) == {"name": "Jane"}
    assert forms.tree(CUSTOMER, fields) == {
        "name": "Jane",
        "phone": "",
        "address": "",
        "metadata": {"plan": ""},
    }


def test_what_stands_in_the_address_is_not_in_the_body() -> None:
    tax_id = writes.load()["tax_id"]
    fields = {"customer": "cus_1", "type": "eu_vat", "value": "DE123"}
    assert forms.encode(forms.tree(tax_id, fields)) == b"type=eu_vat&value=DE123"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"emial": "x"}, "a customer has no field emial"),
        ({"metadata": "", "metadata.plan": "pro"}, "given beside metadata"),
        ({"preferred_locales": '{"de": 1}'}, "takes a JSON list"),
        ({"preferred_locales": "de"}, "Expecting value"),
        ({"preferred_locales": "[" * 100_000}, "nested too deeply"),
    ],
)
def test_fields_that_make_no_tree(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        forms.tree(CUSTOMER, fields)
