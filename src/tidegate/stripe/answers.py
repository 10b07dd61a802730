"""What an answer of Stripe, or the lack of one, means: one sentence of `errors` for each."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import aiohttp
import msgspec
from isal import isal_zlib

from tidegate import errors
from tidegate.stripe import keys

STRIPE = "api.stripe.com"
API_KEYS = "https://dashboard.stripe.com/apikeys"
# What Stripe says about products that an account has not got: the sentences quoted in stripe/stripe-python#1338
# (Treasury) and airbytehq/airbyte#26483 (Issuing), and others of their kind. Anything else stays an
# InvalidRequest, which fails the stream instead of calling it absent.
NOT_ENABLED = re.compile(
    r"not set up (?:to use|for) |unrecognized request url|signed up for connect|onboarded (?:to|on|onto) "
    r"|only stripe connect platforms|not (?:been )?enabled (?:for|on) (?:your|this) account"
    r"|(?:your|this) account (?:is not|isn't) (?:enabled|eligible|onboarded)"
    r"|(?:your|this) account (?:does not|doesn't) have access to"
    r"|do(?:es)?n't have access to this (?:api|feature)"
    r"|(?:you (?:must|need to)|please|must) (?:first )?(?:activate|enable|onboard) "
    r"|only (?:available|supported|be used|accessible) in (?:a )?(?:test ?mode|sandbox)"
    r"|not (?:available|supported) in live ?mode",
    re.IGNORECASE,
)
NOT_ENABLED_CODES = {
    "account_not_onboarded",
    "feature_not_enabled",
    "not_enabled",
    "platform_api_key_required",
    "testmode_only",
    "unsupported_feature",
}
PERMISSION = re.compile(r"\brak_[a-z0-9_]+")
DAMAGED = cast(type[Exception], isal_zlib.error)
"""A class, which isal's stub takes for an instance."""
ACCOUNT = re.compile(r"\bacct_[A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer; the body is unpacked."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str:
        """Stripe's name for the request, `req_...`; empty when it gave none."""
        return self.headers.get("Request-Id", "")

    @property
    def replayed(self) -> bool:
        """Did Stripe keep it of an earlier request with the same idempotency key?"""
        return replayed(self.headers)


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked, as an error may tell it."""

    endpoint: str
    """Method and path template: `GET /v1/charges`."""
    host: str
    key: str
    """Masked."""
    account: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The error that Stripe's JSON describes; empty fields where it doesn't."""

    code: str = ""
    message: str = ""
    param: str = ""
    type: str = ""
    decline_code: str = ""
    log_url: str = ""
    """The request in Stripe's dashboard, as Stripe says."""
    is_json: bool = False


def replayed(headers: Mapping[str, str]) -> bool:
    """Is this the answer that Stripe kept of an earlier request with the same idempotency key?"""
    return headers.get("Idempotent-Replayed", "").strip().lower() == "true"


def account_in(text: str) -> str | None:
    """The account id that a sentence of Stripe names, as its 403 does."""
    match = ACCOUNT.search(text)
    return match.group() if match else None


def unpacked(body: bytes, encoding: str) -> bytes:
    """The body without its content encoding; ValueError says why it can't be had."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _inflated(body, 31)
        case "deflate":
            # Some servers send raw deflate under this name; a zlib header is 0x?8 and divisible by 31.
            zlib = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
            return _inflated(body, 15 if zlib else -15)
        case other:
            raise ValueError(f"it is encoded as {other!r}, which nobody asked for")


def incomplete(answer: Answer) -> str:
    """Why a 2xx body is not the JSON object it should be; empty when it is.

    A body whose length the server announced, by header or by chunks or by gzip, is only looked at from both
    ends; another is read through, as nothing else would tell that it was cut.
    """
    if answer.status == 204:
        return ""
    start, end = answer.body[:64].lstrip()[:1], answer.body[-64:].rstrip()[-1:]
    if start == b"<" or "html" in answer.headers.get("Content-Type", ""):
        return "it is a web page instead of JSON"
    if not answer.body:
        return "it is empty"
    if start != b"{":
        return "it is no JSON object"
    if end != b"}":
        return "it is cut"
    announced = ("Content-Length", "Transfer-Encoding", "Content-Encoding")
    if not any(name in answer.headers for name in announced):
        try:
            msgspec.json.decode(answer.body, type=msgspec.Raw)
        except msgspec.DecodeError:
            return "it is cut"
    return ""


def bad_page(why: str, call: Call, request_id: str = "") -> errors.BadPage:
    """The sentence for an answer that can't be read."""
    return errors.BadPage(
        f"The answer of {call.host} to {call.endpoint} can't be read{_named(request_id)}: {why};"
        " check that `api_base` points at Stripe's API, and run again."
    )


def refusal(answer: Answer) -> Refusal:
    """Read Stripe's error object, v1 or v2, whatever else the body holds."""
    try:
        error = msgspec.json.decode(answer.body)["error"]
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, KeyError):
        return Refusal()
    if not isinstance(error, dict):
        return Refusal(code=str(error), is_json=True)
    return Refusal(
        code=str(error.get("code") or ""),
        message=keys.scrubbed(str(error.get("message") or error.get("user_message") or "")),
        param=str(error.get("param") or ""),
        type=str(error.get("type") or ""),
        decline_code=str(error.get("decline_code") or ""),
        log_url=str(error.get("request_log_url") or ""),
        is_json=True,
    )


def refused(answer: Answer, call: Call, attempts: int = 1) -> errors.TidegateError:
    """The error that an answer other than 2xx stands for."""
    found = refusal(answer)
    if 300 <= answer.status < 400 or (not found.is_json and answer.status in (404, 405)):
        if answer.status == 404 and call.host != STRIPE:
            # A stand-in for Stripe need not have every route, nor say so in Stripe's words.
            return errors.NotEnabled(
                f"The host {call.host} has no {call.endpoint}; check `api_base`, or leave the stream out.",
                status=404,
            )
        why = f"it is status {answer.status} without Stripe's JSON"
        return bad_page(why, call, answer.request_id)
    kind, sentence = _meaning(answer, found, call, attempts)
    return kind(
        sentence,
        status=answer.status,
        code=found.code,
        param=found.param,
        request_id=answer.request_id,
        permission=_permission(answer, found),
    )


def _permission(answer: Answer, found: Refusal) -> str:
    match = PERMISSION.search(found.message) if answer.status in (401, 403) else None
    return match.group() if match else ""


def _where(answer: Answer, found: Refusal, call: Call) -> str:
    facts = [found.code, found.param and f"parameter {found.param}", answer.request_id]
    return f"{call.endpoint} ({', '.join(fact for fact in facts if fact) or f'status {answer.status}'})"


def _meaning(
    answer: Answer, found: Refusal, call: Call, attempts: int
) -> tuple[type[errors.StripeError], str]:
    status, where = answer.status, _where(answer, found, call)
    permission = _permission(answer, found)
    said = found.message.rstrip(".") or f"HTTP status {status}"
    account = account_in(found.message)
    if status >= 500:
        often = f" {attempts} times" if attempts > 1 else ""
        return errors.ServerFault, (
            f"Stripe failed{often} with status {status} on {where}; see https://status.stripe.com, and run"
            " again."
        )
    if status == 429:
        return errors.RateLimited, (
            f"Stripe still limits {where}: {said}; lower `budget`, or run again when less is going on."
        )
    if found.code == "account_invalid":
        return errors.Unauthorized, (
            f"The key {call.key} may not act for the account {account or call.account} on {where}: it was"
            " disconnected or does not exist; connect it again, or take it out of `accounts`."
        )
    if permission:
        return errors.PermissionMissing, (
            f"The key {call.key} lacks the permission {permission} for {where}"
            f"{f' on account {account}' if account else ''}; grant it to the key at {API_KEYS}."
        )
    if status == 401 or (status == 403 and "IP address" in found.message):
        why = "it is wrong, expired or revoked"
        if found.code == "api_key_expired":
            why = "it has expired"
        if "IP address" in found.message:
            why = "it may not be used from this machine's IP address"
        return errors.Unauthorized, (
            f"Stripe rejected the key {call.key} on {where}: {why}; look it up at {API_KEYS}."
        )
    if (
        found.code == "resource_missing"
        or (status == 404 and found.message.startswith("No such "))
        or (status == 404 and found.code == "not_found" and call.endpoint.endswith("}"))
    ):
        return errors.Missing, (
            f"Stripe has no such object on {where}: {said}; it was deleted, or belongs to another account or"
            " mode."
        )
    if status == 404 or found.code in NOT_ENABLED_CODES or NOT_ENABLED.search(found.message):
        return errors.NotEnabled, (
            f"The account has no access to {where}: {said}; enable the product in Stripe's dashboard, or"
            " leave the stream out."
        )
    if status == 403:
        return errors.PermissionMissing, (
            f"Stripe forbids the key {call.key} {where}: {said}; grant it the permission at {API_KEYS}."
        )
    return errors.InvalidRequest, (
        f"Stripe refused {where} with status {status}: {said}; look the request up in Stripe's logs."
    )


def unreachable(error: BaseException, call: Call, timeout: float) -> errors.Unreachable:
    """The sentence for a request that got no answer."""
    host = call.host
    match error:
        case aiohttp.ClientConnectorDNSError():
            return errors.Unreachable(
                f"The host {host} is unknown (DNS); check `api_base` and this machine's network."
            )
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return errors.Unreachable(
                f"The proxy on the way to {host} can't be used; check HTTPS_PROXY and NO_PROXY."
            )
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError() | ssl.SSLError():
            inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
            why = (
                getattr(inner, "verify_message", "") or getattr(inner, "reason", "") or "the handshake failed"
            )
            return errors.Unreachable(
                f"There is no safe connection to {host} (TLS: {why}); check `api_base`, this machine's clock"
                " and its CA certificates."
            )
        case aiohttp.ClientConnectorError():
            why = os.strerror(error.os_error.errno).lower() if error.os_error.errno else ""
            return errors.Unreachable(
                f"The host {host} can't be reached{': ' + why if why else ''}; check `api_base`, and that"
                " nothing blocks the connection."
            )
        case TimeoutError():
            return errors.Unreachable(
                f"The host {host} gave no answer to {call.endpoint} within {timeout:g} seconds; check the"
                " network, and run again."
            )
    return errors.Unreachable(
        f"The connection to {host} broke during {call.endpoint}; check the network, and run again."
    )


def _inflated(body: bytes, wbits: int) -> bytes:
    parts = []
    try:
        while body:
            inflate = isal_zlib.decompressobj(wbits)
            parts.append(inflate.decompress(body))
            if not inflate.eof:
                break
            body = inflate.unused_data
    except DAMAGED as error:
        raise ValueError("it is damaged") from error
    if body or not parts:
        raise ValueError("it is cut")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _named(request_id: str) -> str:
    return f" ({request_id})" if request_id else ""
