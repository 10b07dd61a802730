"""Reading the `stripe` package as text: annotations, imports, operations, events."""

from __future__ import annotations

import ast

import pytest
import stripe

from tidegate.catalog import fields, package

CHARGE = package.Name("stripe._charge", "Charge")


def annotated(text: str, scope: package.Name = CHARGE) -> package.Type:
    return package.resolve(ast.parse(text, mode="eval").body, scope)


def member(name: package.Name, path: str) -> package.Member:
    return next(each for each in package.members(name) if each.name == path)


def test_versions_are_the_installed_package_s() -> None:
    assert package.version() == stripe.VERSION
    assert package.api_version() == stripe.api_version


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int", package.Type(scalars=frozenset({"int"}))),
        ("Optional[str]", package.Type(nullable=True, scalars=frozenset({"str"}))),
        ("Literal[True]", package.Type(scalars=frozenset({"bool"}))),
        (
            "Union[Literal['a', 'b'], str]",
            package.Type(scalars=frozenset({"str"}), values=("a", "b")),
        ),
        ("\"Literal['']|int\"", package.Type(scalars=frozenset({"str", "int"}), values=("",))),
        ("NotRequired[List[str]]", package.Type(scalars=frozenset({"str"}), container="list")),
        ("Dict[str, int]", package.Type(scalars=frozenset({"int"}), container="map")),
        (
            "UntypedStripeObject[str]",
            package.Type(scalars=frozenset({"str"}), container="map"),
        ),
        (
            'Optional[ExpandableField["Customer"]]',
            package.Type(
                nullable=True, expandable=True, classes=(package.Name("stripe._customer", "Customer"),)
            ),
        ),
        (
            'Optional[ListObject["Refund"]]',
            package.Type(
                nullable=True, container="page", classes=(package.Name("stripe._refund", "Refund"),)
            ),
        ),
    ],
)
def test_annotations(text: str, expected: package.Type) -> None:
    assert annotated(text) == expected


def test_an_annotation_that_is_not_understood_stops_the_build() -> None:
    with pytest.raises(LookupError, match="not understood"):
        annotated("Callable[[int], str]")
    with pytest.raises(LookupError, match="does not import the NoSuchClass"):
        annotated("NoSuchClass")


def test_classes_of_one_name_are_told_apart_by_their_import() -> None:
    """A charge has a nested `Card` part and imports the `Card` resource under another name."""
    (resource,) = annotated('"CardResource"').classes
    assert resource == package.Name("stripe._card", "Card")
    details = package.Name("stripe._charge", "Charge.PaymentMethodDetails")
    (part,) = member(details, "card").type.classes
    assert part == package.Name("stripe._charge", "Charge.PaymentMethodDetails.Card")
    lists = {each.path: each.returns.classes[0] for each in package.operations() if each.name == "list"}
    assert package.object_name(lists["/v1/accounts"]) == "account"
    assert package.object_name(lists["/v2/core/accounts"]) == "v2.core.account"
    assert package.object_name(lists["/v1/financial_connections/accounts"]) == "financial_connections.account"


def test_operations_name_method_path_and_params() -> None:
    found = {(each.method, each.path): each for each in package.operations()}
    retrieve = found["get", "/v1/invoices/{invoice}"]
    assert retrieve.name == "retrieve"
    assert retrieve.service == "stripe._invoice_service:InvoiceService"
    assert retrieve.params == package.Name("stripe.params._invoice_retrieve_params", "InvoiceRetrieveParams")
    assert len([each for each in package.operations() if each.name == "list"]) == 138


def test_required_parameters_and_encodings() -> None:
    price = package.Name("stripe.params._price_create_params", "PriceCreateParams")
    assert [each.name for each in package.members(price) if each.required] == ["currency"]
    assert member(package.Name("stripe._price", "Price"), "unit_amount_decimal").encoding == "decimal_string"


def test_parameters_named_like_python_s_keywords_are_found() -> None:
    """`in` cannot be an attribute; the package puts it into a functional TypedDict that is inherited."""
    options = package.Name(
        "stripe.params.tax._registration_create_params", "RegistrationCreateParamsCountryOptions"
    )
    assert {"is", "in", "de"} <= {each.name for each in package.members(options)}


def test_the_package_s_own_hints_about_event_payloads() -> None:
    hints = package.event_objects()
    assert package.object_name(hints["charge.refund.updated"]) == "refund"
    assert package.object_name(hints["charge.dispute.created"]) == "dispute"
    assert len(package.event_types()) == 275


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One. Two.", "One."),
        ("Only one", "Only one"),
        ("ID of the [charge](https://docs.stripe.com/api/charges).", "ID of the charge."),
        ("An [unclosed](/docs/link", "An unclosed"),
        ("Costs 1.5 percent\nof it. Then more.", "Costs 1.5 percent of it."),
        ("", ""),
    ],
)
def test_docs_are_cut_to_their_first_sentence(text: str, first: str) -> None:
    assert package.first_sentence(text) == first


def test_lists_are_found_inside_nested_parts_but_not_behind_references() -> None:
    quote = package.Name("stripe._quote", "Quote")
    assert [page.path for page in fields.pages(quote)] == ["computed.upfront.line_items", "line_items"]
    assert fields.holds(package.Name("stripe._invoice_payment", "InvoicePayment"), "payment.charge")
    assert not fields.holds(quote, "computed.upfront.nothing")
