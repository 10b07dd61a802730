"""What Stripe's refusals mean, each with its sentence."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest
from multidict import CIMultiDict

from tidegate import errors
from tidegate.stripe import answers, keys

KEY = "rk_test_51NzufDB0DBR1HOyc9Zq8sWabcd"
CHARGES = answers.Call("GET /v1/charges", "api.stripe.com", keys.masked(KEY))
CUSTOMER = answers.Call("GET /v1/customers/{customer}", "api.stripe.com", keys.masked(KEY))
V2_ACCOUNT = answers.Call("GET /v2/core/accounts/{id}", "api.stripe.com", keys.masked(KEY))
V2_ACCOUNTS = answers.Call("GET /v2/core/accounts", "api.stripe.com", keys.masked(KEY))


def refused(status: int, call: answers.Call = CHARGES, **error: Any) -> errors.TidegateError:
    body = json.dumps({"error": {"type": "invalid_request_error", **error}}).encode()
    found = answers.refused(answers.Answer(status, CIMultiDict({"request-id": "req_1"}), body), call)
    assert KEY not in str(found)
    assert KEY[8:] not in str(found)
    return found


def test_401_is_a_key_that_stripe_rejects() -> None:
    error = refused(401, message=f"Invalid API Key provided: {KEY}")
    assert isinstance(error, errors.Unauthorized)
    assert str(error) == (
        "Stripe rejected the key rk_test_…abcd on GET /v1/charges (req_1): it is wrong, expired or revoked;"
        " look it up at https://dashboard.stripe.com/apikeys."
    )
    assert (error.status, error.code, error.request_id) == (401, "", "req_1")


def test_401_of_an_expired_key_says_so() -> None:
    error = refused(401, code="api_key_expired", message="Expired API Key provided: rk_test_***abcd")
    assert isinstance(error, errors.Unauthorized)
    assert "it has expired" in str(error)


def test_403_of_an_address_that_may_not_use_the_key() -> None:
    error = refused(403, message="The API key provided does not allow requests from your IP address.")
    assert isinstance(error, errors.Unauthorized)
    assert "may not be used from this machine's IP address" in str(error)


@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_permission_is_named(status: int) -> None:
    error = refused(
        status,
        message="The provided key 'rk_test_*****abcd' does not have the required permissions for this endpoint"
        " on account 'acct_1NuzflB0'. Having the 'rak_charge_read' permission would allow this request to"
        " continue.",
    )
    assert isinstance(error, errors.PermissionMissing)
    assert error.permission == "rak_charge_read"
    assert answers.account_in(str(error)) == "acct_1NuzflB0"
    assert str(error) == (
        "The key rk_test_…abcd lacks the permission rak_charge_read for GET /v1/charges (req_1) on account"
        " acct_1NuzflB0; grant it to the key at https://dashboard.stripe.com/apikeys."
    )


def test_a_permission_that_stripe_does_not_name() -> None:
    error = refused(
        403,
        message="This application does not have the required permissions for this endpoint on account"
        " 'acct_1'. Having the 'read_only' scope would allow this request to continue.",
    )
    assert isinstance(error, errors.PermissionMissing)
    assert error.permission == ""
    assert "'read_only' scope" in str(error)
    assert answers.account_in(str(error)) == "acct_1"


def test_a_disconnected_account_is_named() -> None:
    error = refused(
        403,
        code="account_invalid",
        message=f"The provided key '{KEY}' does not have access to account 'acct_9' (or that account does not"
        " exist). Application access may have been revoked.",
    )
    assert isinstance(error, errors.Unauthorized)
    assert error.code == "account_invalid"
    assert "may not act for the account acct_9" in str(error)
    assert "take it out of `accounts`" in str(error)


@pytest.mark.parametrize(
    ("status", "call", "error"),
    [
        (404, CUSTOMER, {"code": "resource_missing", "message": "No such customer: 'cus_1'", "param": "id"}),
        (
            400,
            CHARGES,
            {"code": "resource_missing", "message": "No such charge: 'ch_1'", "param": "starting_after"},
        ),
        (404, CUSTOMER, {"message": "No such customer: 'cus_1'"}),
        (404, V2_ACCOUNT, {"code": "not_found", "message": "Object not found"}),
    ],
)
def test_an_object_or_a_cursor_that_is_gone(status: int, call: answers.Call, error: dict[str, str]) -> None:
    found = refused(status, call, **error)
    assert isinstance(found, errors.Missing)
    assert found.param == error.get("param", "")
    assert "it was deleted, or belongs to another account or mode" in str(found)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (
            400,
            "Your account is not set up to use Issuing. Please visit https://dashboard.stripe.com/issuing/overview",
        ),
        (
            404,
            "Unrecognized request URL (GET: /v1/treasury/transactions). (Hint: Have you onboarded to Treasury?)",
        ),
        (
            400,
            "You can only create new accounts if you've signed up for Connect, which you can do at https://x",
        ),
        (403, "Only Stripe Connect platforms can work with other accounts."),
        (400, "Climate is not enabled for your account."),
        (400, "This account doesn't have access to this feature."),
        (400, "You must first activate Capital in the dashboard."),
        (400, "Test clocks are only available in test mode."),
    ],
)
def test_a_product_that_the_account_has_not_got(status: int, message: str) -> None:
    error = refused(status, message=message)
    assert isinstance(error, errors.NotEnabled)
    assert "enable the product in Stripe's dashboard, or leave the stream out" in str(error)


def test_a_v2_list_that_the_account_has_not_got() -> None:
    assert isinstance(refused(404, V2_ACCOUNTS, code="not_found", message="Not found"), errors.NotEnabled)
    assert isinstance(refused(400, V2_ACCOUNTS, code="feature_not_enabled"), errors.NotEnabled)


@pytest.mark.parametrize(
    "message",
    [
        "Received unknown parameter: createdd",
        "Invalid integer: abc",
        "This value must be less than or equal to 100.",
        "You cannot use `active` with this list.",
    ],
)
def test_any_other_400_is_a_request_that_was_wrong_never_a_product_that_is_off(message: str) -> None:
    error = refused(400, code="parameter_unknown", param="createdd", message=message)
    assert isinstance(error, errors.InvalidRequest)
    assert error.param == "createdd"
    assert str(error) == (
        "Stripe refused GET /v1/charges (parameter_unknown, parameter createdd, req_1) with status 400:"
        f" {message.rstrip('.')}; look the request up in Stripe's logs."
    )


def test_429_beyond_the_last_retry() -> None:
    error = refused(429, code="rate_limit", message="Request rate limit exceeded.")
    assert isinstance(error, errors.RateLimited)
    assert "lower `budget`" in str(error)


def test_5xx_beyond_the_last_retry() -> None:
    answer = answers.Answer(503, CIMultiDict(), b"<html>")
    error = answers.refused(answer, CHARGES, attempts=8)
    assert isinstance(error, errors.ServerFault)
    assert str(error) == (
        "Stripe failed 8 times with status 503 on GET /v1/charges (status 503); see"
        " https://status.stripe.com, and run again."
    )


@pytest.mark.parametrize("status", [301, 302, 307, 404])
def test_an_answer_that_is_not_stripes_at_all_points_at_api_base(status: int) -> None:
    error = answers.refused(answers.Answer(status, CIMultiDict(), b"<html>moved</html>"), CHARGES)
    assert isinstance(error, errors.BadPage)
    assert "check that `api_base` points at Stripe's API" in str(error)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"{}", b'{"error": null}', b"\xff\xfe", b"{"])
def test_a_400_that_explains_nothing(body: bytes) -> None:
    error = answers.refused(answers.Answer(400, CIMultiDict(), body), CHARGES)
    assert isinstance(error, errors.InvalidRequest)
    assert "HTTP status 400" in str(error)


def test_an_error_that_is_a_word() -> None:
    error = answers.refused(answers.Answer(400, CIMultiDict(), b'{"error": "invalid_grant"}'), CHARGES)
    assert isinstance(error, errors.InvalidRequest)
    assert error.code == "invalid_grant"


def test_personal_data_in_stripes_sentence_is_not_repeated() -> None:
    error = refused(400, code="email_invalid", message="Invalid email address: jenny.rosen@example.com")
    assert "jenny" not in str(error)


PAGE = b'{"object": "list", "data": []}'
GZIPPED = gzip.compress(PAGE, mtime=0)
RAW = zlib.compressobj(wbits=-15)
RAW_DEFLATED = RAW.compress(PAGE) + RAW.flush()


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (PAGE, ""),
        (PAGE, "identity"),
        (GZIPPED, "gzip"),
        (GZIPPED, "GZIP"),
        (gzip.compress(PAGE[:9], mtime=0) + gzip.compress(PAGE[9:], mtime=0), "gzip"),
        (zlib.compress(PAGE), "deflate"),
        (RAW_DEFLATED, "deflate"),
    ],
    ids=["none", "identity", "gzip", "upper case", "two members", "deflate", "raw deflate"],
)
def test_bodies_are_unpacked(body: bytes, encoding: str) -> None:
    assert answers.unpacked(body, encoding) == PAGE


@pytest.mark.parametrize(
    ("body", "encoding", "why"),
    [
        (GZIPPED[:-3], "gzip", "cut"),
        (GZIPPED[:12], "gzip", "cut"),
        (b"", "gzip", "cut"),
        (GZIPPED[:-8] + b"\0" * 8, "gzip", "damaged"),
        (GZIPPED + GZIPPED[:-1], "gzip", "cut"),
        (RAW_DEFLATED[:-2], "deflate", "cut"),
        (PAGE, "br", "encoded as 'br'"),
    ],
    ids=[
        "in its trailer",
        "in its data",
        "nothing",
        "checksum",
        "in its second member",
        "raw deflate",
        "brotli",
    ],
)
def test_a_cut_or_damaged_body_is_never_taken_for_a_whole_one(body: bytes, encoding: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        answers.unpacked(body, encoding)


@pytest.mark.parametrize(
    ("body", "headers", "why"),
    [
        (PAGE, {"Content-Length": "30"}, ""),
        (PAGE + b"\n ", {"Content-Length": "32"}, ""),
        (PAGE, {}, ""),
        (PAGE[:-1], {"Content-Length": "29"}, "it is cut"),
        (b'{"data": [{"id": "ch_1"}', {}, "it is cut"),
        (b"", {}, "it is empty"),
        (b"[]", {}, "it is no JSON object"),
        (b"<!doctype html>", {}, "it is a web page instead of JSON"),
        (PAGE, {"Content-Type": "text/html"}, "it is a web page instead of JSON"),
    ],
)
def test_a_page_is_looked_at_before_it_is_handed_on(body: bytes, headers: dict[str, str], why: str) -> None:
    assert answers.incomplete(answers.Answer(200, CIMultiDict(headers), body)) == why
