"""One page of a list, as the query that asks for it."""

from __future__ import annotations

import pytest

from tidegate import catalog, errors
from tidegate.stripe import pages

CHARGES = catalog.Origin(path="/v1/charges", kind="walk", route="list", created="created")
SUBSCRIPTIONS = catalog.Origin(
    path="/v1/subscriptions", kind="walk", route="list", params={"status": "all"}, created="created"
)
REPORT_TYPES = catalog.Origin(
    path="/v1/reporting/report_types", kind="walk", route="list", paged=False, max_limit=0
)
V2_EVENTS = catalog.Origin(
    path="/v2/core/events", kind="walk", route="list", created="created", max_limit=100
)


def test_the_first_page() -> None:
    assert pages.list_params(CHARGES) == {"limit": 100}


def test_the_page_after_an_object_within_a_slice_with_expanded_fields() -> None:
    params = pages.list_params(
        CHARGES,
        after="ch_9",
        limit=50,
        gte=1_700_000_000,
        lt=1_700_086_400,
        expand=("refunds", "data.customer"),
    )
    assert pages.query(params) == (
        "limit=50&starting_after=ch_9&created[gte]=1700000000&created[lt]=1700086400"
        "&expand[]=data.refunds&expand[]=data.customer"
    )


def test_the_catalogued_parameters_are_always_sent_and_never_changed() -> None:
    params = pages.list_params(SUBSCRIPTIONS)
    params["status"] = "canceled"
    assert pages.query(pages.list_params(SUBSCRIPTIONS)) == "status=all&limit=100"


def test_a_list_that_takes_no_limit_gets_none() -> None:
    assert pages.list_params(REPORT_TYPES) == {}


def test_a_smaller_maximum_is_kept_to() -> None:
    origin = catalog.Origin(path="/v2/core/accounts", kind="walk", route="list", max_limit=20)
    assert pages.list_params(origin) == {"limit": 20}


def test_a_slice_from_the_very_first_second() -> None:
    assert pages.list_params(CHARGES, gte=0)["created[gte]"] == 0


def test_v2_times_are_rfc_3339_and_its_arrays_are_numbered() -> None:
    params = pages.list_params(V2_EVENTS, gte=1_700_000_000, expand=("identity", "defaults"))
    assert pages.query(params, v2=True) == (
        "limit=100&created[gte]=2023-11-14T22%3A13%3A20Z&include[0]=identity&include[1]=defaults"
    )


@pytest.mark.parametrize(
    ("moment", "second"),
    [
        ("2023-11-14T22:13:20Z", 1_700_000_000),
        ("2023-11-14T22:13:20.999Z", 1_700_000_000),
        ("2023-11-15T00:13:20+02:00", 1_700_000_000),
    ],
)
def test_v2_times_as_seconds(moment: str, second: int) -> None:
    assert pages.seconds(moment) == second
    assert pages.rfc3339(second) == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize(
    "url",
    [
        "/v2/core/events?page=abc%3D&limit=100&include[0]=a",
        "https://api.stripe.com/v2/core/events?page=abc%3D&limit=100&include[0]=a",
        "https://evil.example/v2/core/events?page=abc%3D&limit=100&include[0]=a",
    ],
)
def test_the_next_page_of_v2_is_a_path_on_our_own_host(url: str) -> None:
    path, params = pages.next_page(url)
    assert path == "/v2/core/events"
    assert params == {"page": "abc=", "limit": "100", "include[0]": "a"}
    assert pages.query(params, v2=True) == "page=abc%3D&limit=100&include[0]=a"


def test_a_repeated_parameter_of_the_next_page_is_kept() -> None:
    _, params = pages.next_page("/v2/core/events?types=a&types=b")
    assert params == {"types": ["a", "b"]}


@pytest.mark.parametrize("url", ["", "javascript:alert(1)", "https://evil.example/", "//evil.example/x"])
def test_a_next_page_that_is_no_path_of_the_api_is_refused(url: str) -> None:
    with pytest.raises(errors.BadPage, match="no path of its API"):
        pages.next_page(url)


def test_ids_are_quoted_into_their_path() -> None:
    assert (
        pages.path("/v1/coupons/{coupon}", {"coupon": "50% off/now?"}) == "/v1/coupons/50%25%20off%2Fnow%3F"
    )


def test_types_are_repeated() -> None:
    assert pages.query({"types": ["a.b", "c.d"]}) == "types[]=a.b&types[]=c.d"


def test_a_form_is_flattened_into_brackets() -> None:
    body = pages.form(
        {
            "name": "Jenny & Co",
            "metadata": {"plan": "gold", "gone": ""},
            "items": [{"price": "price_1", "quantity": 2}],
            "active": True,
            "description": None,
        }
    )
    assert body == (
        "name=Jenny+%26+Co&metadata[plan]=gold&metadata[gone]=&items[0][price]=price_1&items[0][quantity]=2"
        "&active=true&description="
    )


def test_a_filter_that_the_list_does_not_take_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="can't be filtered"):
        pages.list_params(REPORT_TYPES, gte=1)
    with pytest.raises(AssertionError, match="takes no cursor"):
        pages.list_params(REPORT_TYPES, after="x")
