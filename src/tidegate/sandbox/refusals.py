"""What the sandbox answers when it refuses: Stripe's errors, word for word where Stripe's words are known.

A `Refusal` is raised anywhere below the server and rendered once, in the shape of the API (v1 or v2) in use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Api = Literal["v1", "v2"]

DOCS = "https://stripe.com/docs/error-codes/"
HELP = "https://stripe.com/docs/api#authentication for details, or we can help at https://support.stripe.com/"

V2_CODES = {400: "invalid_fields", 401: "unauthorized", 403: "forbidden", 404: "not_found", 409: "conflict"}


class Refusal(Exception):
    """An answer that is no success.

    `stored` says whether an idempotency key remembers it: Stripe keeps only what began to execute, so not
    what failed validation, authentication or a limit.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str = "",
        param: str = "",
        headers: Mapping[str, str] | None = None,
        stored: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.headers = dict(headers or {})
        self.stored = stored
        self.more = dict(more or {})
        """Further members of the error: `decline_code`, `payment_intent`."""

    def body(self, api: Api, request_id: str) -> bytes:
        """The JSON of the error; v2 has codes of its own and no `doc_url`."""
        if api == "v2":
            error: dict[str, Any] = {
                "code": self.code or V2_CODES.get(self.status, "api_error"),
                "message": self.message,
            }
            if self.status == 429 or self.type == "idempotency_error":
                error["type"] = "rate_limit" if self.status == 429 else self.type
            return msgspec.json.encode({"error": error})
        error = {}
        if self.code:
            error = {"code": self.code, "doc_url": DOCS + self.code.replace("_", "-")}
        error["message"] = self.message
        if self.param:
            error["param"] = self.param
        error["request_log_url"] = f"https://dashboard.stripe.com/test/logs/{request_id}?t=1"
        error["type"] = self.type
        error.update(self.more)
        return msgspec.json.encode({"error": error})


def missing(noun: str, id: str, param: str = "id", *, status: int = 404, stored: bool = False) -> Refusal:
    """The object is not there: 404 for one named by the path, 400 for one named by a parameter."""
    return Refusal(
        status,
        f"No such {noun.replace('_', ' ') if noun in SPACED else noun}: '{id}'",
        code="resource_missing",
        param=param,
        stored=stored,
    )


SPACED = frozenset({"promotion_code", "invoice_item", "credit_note", "balance_transaction", "tax_rate"})


def unknown_parameters(names: list[str], hints: Mapping[str, str]) -> Refusal:
    """A parameter that the endpoint does not have."""
    hint = next((f". Did you mean {hints[name]}?" for name in names if name in hints), "")
    plural = "s" if len(names) > 1 else ""
    return Refusal(
        400,
        f"Received unknown parameter{plural}: {', '.join(names)}{hint}",
        code="parameter_unknown",
        param=names[0],
    )


def missing_parameter(name: str) -> Refusal:
    """A required parameter was not sent."""
    return Refusal(400, f"Missing required param: {name}.", code="parameter_missing", param=name)


def empty_parameter(name: str) -> Refusal:
    """An empty string, where nothing can be unset."""
    return Refusal(
        400,
        f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter; "
        f"however '{name}' cannot be unset. You should remove '{name}' from your request or supply a non-empty "
        "value.",
        code="parameter_invalid_empty",
        param=name,
    )


def invalid(param: str, message: str, code: str = "") -> Refusal:
    """A value of the wrong type or outside its range."""
    return Refusal(400, message, code=code, param=param)


def not_allowed(message: str, *, code: str = "", param: str = "") -> Refusal:
    """A business rule says no; an idempotency key remembers it."""
    return Refusal(400, message, code=code, param=param, stored=True)


def declined(charge: str, intent: Mapping[str, Any] | None) -> Refusal:
    """402: the bank said no."""
    more: dict[str, Any] = {"decline_code": "generic_decline", "charge": charge}
    if intent is not None:
        more["payment_intent"] = intent
    return Refusal(
        402, "Your card was declined.", type="card_error", code="card_declined", stored=True, more=more
    )


def unknown_url(method: str, path: str) -> Refusal:
    """No such route."""
    return Refusal(
        404,
        f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at "
        "https://support.stripe.com/.",
    )


def no_key() -> Refusal:
    """A request without a key."""
    return Refusal(
        401,
        "You did not provide an API key. You need to provide your API key in the Authorization header, using "
        f"Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See {HELP}.",
        headers={"WWW-Authenticate": 'Bearer realm="Stripe"'},
    )


def wrong_key(masked: str) -> Refusal:
    """A key nobody has made."""
    return Refusal(
        401,
        f"Invalid API Key provided: {masked}",
        headers={"WWW-Authenticate": 'Bearer realm="Stripe"'},
    )


def expired_key(masked: str) -> Refusal:
    """A key that was revoked or rolled."""
    return Refusal(401, f"Expired API Key provided: {masked}", code="api_key_expired")


def no_permission(masked: str, account: str, permission: str) -> Refusal:
    """A restricted key without the permission, which Stripe names."""
    return Refusal(
        403,
        f"The provided key '{masked}' does not have the required permissions for this endpoint on account "
        f"'{account}'. Having the '{permission}' permission would allow this request to continue.",
    )


def no_account(masked: str, account: str) -> Refusal:
    """An account that is not connected."""
    return Refusal(
        403,
        f"The provided key '{masked}' does not have access to account '{account}' (or that account does not "
        "exist). Application access may have been revoked.",
        code="account_invalid",
    )


def no_context() -> Refusal:
    """An organisation's key has no account of its own."""
    return Refusal(
        400,
        "Please include the Stripe-Context header with your target account when using an Organization API key.",
    )


def no_version() -> Refusal:
    """An organisation has no default version."""
    return Refusal(400, "Please include the Stripe-Version header when using an Organization API key.")


def two_accounts() -> Refusal:
    """`Stripe-Account` and `Stripe-Context` that name different accounts."""
    return Refusal(400, "Please specify only one of the Stripe-Account and Stripe-Context headers.")


def limited(reason: str, retry_after: float | None) -> Refusal:
    """429, with the limiter's name."""
    headers = {"Stripe-Rate-Limited-Reason": reason}
    if retry_after is not None:
        headers["Retry-After"] = str(max(1, round(retry_after)))
    return Refusal(
        429,
        "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
        code="rate_limit",
        headers=headers,
    )


def locked() -> Refusal:
    """429 because somebody else holds the object."""
    return Refusal(
        429,
        "This object cannot be accessed right now because another API request or Stripe process is currently "
        "accessing it. If you see this error intermittently, retry the request.",
        code="lock_timeout",
        headers={"Stripe-Should-Retry": "true"},
    )


def fault() -> Refusal:
    """500."""
    return Refusal(
        500,
        "An unknown error occurred. Please try again, or contact https://support.stripe.com if it persists.",
        type="api_error",
        stored=True,
    )


def key_reused(key_path: str) -> Refusal:
    """One idempotency key, two different requests."""
    return Refusal(
        400,
        "Keys for idempotent requests can only be used with the same parameters they were first used with. Try "
        f"using a key other than the one first sent to {key_path} if you meant to execute a different request.",
        type="idempotency_error",
    )


def key_in_use() -> Refusal:
    """One idempotency key, and the first request with it has not ended."""
    return Refusal(
        409,
        "There is currently another in-progress request using this Idempotent Key (that probably means you "
        "submitted twice, and the other request is still going through). Please try again later.",
        type="idempotency_error",
        code="idempotency_key_in_use",
    )


def unknown_version(version: str) -> Refusal:
    """A `Stripe-Version` that never existed."""
    return Refusal(400, f"Invalid Stripe API version: {version}")
