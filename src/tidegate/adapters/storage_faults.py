"""What storages say when something is wrong, turned into a sentence to act on.

Their own texts may quote keys and addresses with parameters, so only codes that are known here pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tidegate import errors
from tidegate.adapters import storage

_GRANT = (
    "{where} forbids it ({code}); check the key, and allow it s3:ListBucket on the bucket and s3:GetObject, "
    "s3:PutObject and s3:DeleteObject on what is under the path."
)
_SIGN_IN = "{where} refused the sign-in ({code}); check the key and the secret."
_AGAIN = "{where} cannot answer now ({code})."

_MEANINGS: dict[str, tuple[type[errors.TidegateError], str]] = {
    "AccessDenied": (errors.WarehouseError, _GRANT),
    "AllAccessDisabled": (errors.WarehouseError, _GRANT),
    "403": (errors.WarehouseError, _GRANT),
    "InvalidAccessKeyId": (errors.ConfigError, _SIGN_IN),
    "SignatureDoesNotMatch": (errors.ConfigError, _SIGN_IN),
    "ExpiredToken": (errors.ConfigError, _SIGN_IN),
    "InvalidToken": (errors.ConfigError, _SIGN_IN),
    "NoSuchBucket": (errors.ConfigError, "{where} has no such bucket; create it, or check its name."),
    "PermanentRedirect": (errors.ConfigError, "{where} lies in another region ({code}); set its region."),
    "AuthorizationHeaderMalformed": (
        errors.ConfigError,
        "{where} lies in another region ({code}); set its region.",
    ),
    "QuotaExceeded": (
        errors.WarehouseFull,
        "The quota of {where} is used up ({code}); what was committed before is intact, so make room and run this "
        "again.",
    ),
    "NotImplemented": (
        errors.ConfigError,
        "{where} lacks a kind of request that is needed, such as conditional writes ({code}); update what serves "
        "the bucket, or use another one.",
    ),
    "RequestTimeTooSkewed": (
        errors.ConfigError,
        "{where} finds that this machine's clock is wrong ({code}); set it right.",
    ),
    "SlowDown": (errors.WarehouseUnreachable, _AGAIN),
    "ServiceUnavailable": (errors.WarehouseUnreachable, _AGAIN),
    "InternalError": (errors.WarehouseUnreachable, _AGAIN),
    "RequestTimeout": (errors.WarehouseUnreachable, _AGAIN),
    "Throttling": (errors.WarehouseUnreachable, _AGAIN),
    "TooManyRequests": (errors.WarehouseUnreachable, _AGAIN),
    "OperationAborted": (errors.WarehouseUnreachable, _AGAIN),
    "503": (errors.WarehouseUnreachable, _AGAIN),
    "500": (errors.WarehouseUnreachable, _AGAIN),
}
"""What S3's codes mean. https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""

_SPELLED = {
    "ACCESS_DENIED": "AccessDenied",
    "NO_SUCH_BUCKET": "NoSuchBucket",
    "INVALID_ACCESS_KEY_ID": "InvalidAccessKeyId",
    "SIGNATURE_DOES_NOT_MATCH": "SignatureDoesNotMatch",
    "INTERNAL_FAILURE": "InternalError",
    "REQUEST_TIMEOUT": "RequestTimeout",
    "REQUEST_TIME_TOO_SKEWED": "RequestTimeTooSkewed",
    "SERVICE_UNAVAILABLE": "ServiceUnavailable",
    "SLOW_DOWN": "SlowDown",
    "THROTTLING": "Throttling",
    "XMinioStorageFull": "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded": "QuotaExceeded",
}
"""Codes as Arrow and MinIO spell them."""
_MEANINGS |= {name: _MEANINGS[code] for name, code in _SPELLED.items()}
_CODES = re.compile("|".join(rf"\b{code}\b" for code in _MEANINGS if not code.isdigit()))

_BOTO: dict[str, tuple[type[errors.TidegateError], str]] = {
    "NoCredentialsError": (
        errors.ConfigError,
        "There is no key for {where}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `s3:` in the file.",
    ),
    "PartialCredentialsError": (
        errors.ConfigError,
        "There is half a key for {where}; set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    ),
}
for _name in (
    "CredentialRetrievalError",
    "MetadataRetrievalError",
    "TokenRetrievalError",
    "SSOTokenLoadError",
):
    _BOTO[_name] = (
        errors.ConfigError,
        "No key could be had for {where}; see whether `aws sts get-caller-identity` works here.",
    )
for _name in (
    "EndpointConnectionError",
    "ConnectionClosedError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "HTTPClientError",
    "ProxyConnectionError",
    "SSLError",
    "ResponseStreamingError",
):
    _BOTO[_name] = (
        errors.WarehouseUnreachable,
        "No answer from {where}; check the endpoint and that it can be reached from here.",
    )


def explain(error: Exception, where: str) -> errors.TidegateError | None:
    """What an error of a storage means; None where it is none of theirs."""
    if isinstance(error, storage.Changed):
        return errors.WarehouseBusy(f"Somebody else changed {where} at the same moment; try again.")
    answer = getattr(error, "response", None)
    if isinstance(answer, Mapping):
        code = str(answer.get("Error", {}).get("Code", ""))
        return _told(code, where) or errors.WarehouseError(
            f"{where} refused a request ({code or 'without a reason'}); look at its log."
        )
    name = type(error).__name__
    if name in _BOTO:
        kind, text = _BOTO[name]
        return kind(text.format(where=where))
    if type(error).__module__.startswith("botocore."):
        return errors.WarehouseError(f"The S3 client failed on {where} ({name}); check the options of `s3:`.")
    return None


def told(text: str, where: str) -> errors.TidegateError | None:
    """The same, of an error that quotes S3's words."""
    found = _CODES.search(text)
    if found is not None:
        return _told(_SPELLED.get(found.group(), found.group()), where)
    if re.search(
        r"Couldn't connect|curlCode|NETWORK_CONNECTION|error sending request|[Cc]onnection (reset|refused|closed)"
        r"|dns error|Connection was aborted|[Ee]ndpoint.*unreachable|timed? ?out|HTTP status( code)?:? (5\d\d|429)",
        text,
    ):
        return errors.WarehouseUnreachable(
            f"No answer from {where}; check the endpoint and that it can be reached from here."
        )
    # Answers to HEAD have no body, which would say more.
    if re.search(r"HTTP status (400|301)\) during HeadObject", text):
        return errors.ConfigError(
            f"{where} refused a request without saying why; see whether the key is still valid, and the region "
            "right."
        )
    return None


def _told(code: str, where: str) -> errors.TidegateError | None:
    found = _MEANINGS.get(code)
    return None if found is None else found[0](found[1].format(where=where, code=code))
