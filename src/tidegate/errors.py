"""Every error Tidegate raises on purpose; the message is one sentence a user can act on.

TidegateError                exit 1
├── ConfigError              exit 2: the file, a flag or a path is wrong
│   └── ConfigStale          the file is not valid now, so that no change would count
├── StripeError              what Stripe answered, with status, code and request id
│   ├── Unauthorized         401: the key is wrong, expired or revoked
│   ├── PermissionMissing    403: the key lacks a scope, named in `permission`
│   ├── NotEnabled           the account has no such product (Issuing, Treasury, ...) or the route is unknown
│   ├── Missing              404 resource_missing: the object (or the cursor) is gone
│   ├── InvalidRequest       any other 4xx
│   ├── RateLimited          429 beyond the last retry
│   └── ServerFault          5xx beyond the last retry
├── Unreachable              no answer from Stripe: DNS, TLS, connection, timeout
├── BadPage                  an answer that is not the JSON it promised to be (truncated, HTML, ...)
├── WarehouseError           the warehouse refused
│   ├── WarehouseBusy        exit 3: somebody else holds it; says who
│   ├── WarehouseUnreachable no answer from it: DNS, TLS, connection, timeout, a restart
│   ├── WarehouseFull        the disk or the quota is full
│   ├── WarehouseCorrupt     the file is no database, or a damaged one
│   └── Fenced               exit 3: another writer took the table over; this one may commit nothing more
└── StoreError               the metadata database refused
    ├── StoreUnreachable     no answer from it, or another process holds its file for long
    └── StoreConflict        a row excludes this one: a second run of one flow, a name that is taken
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=BaseException)


class TidegateError(Exception):
    """Something the user should read: one sentence, and what to do next."""

    exit_code = 1


def inside(error: BaseException, kind: type[Kind]) -> Kind | None:
    """The first error of a kind, also inside the groups that tasks raise."""
    if isinstance(error, kind):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := inside(each, kind))), None)
    return None


def places(error: BaseException) -> list[str]:
    """Where in Tidegate an error arose, and where that was called from: `rows/text.py:120`; the innermost first.

    Of a group, those of its first error; where none is in Tidegate, all there are. A message may hold somebody's
    data or a key, a place never does.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = list(reversed(traceback.extract_tb(error.__traceback__)))
    package = os.path.dirname(__file__) + os.sep
    ours = [frame for frame in frames if frame.filename.startswith(package)]
    return [
        f"{frame.filename.removeprefix(package) if ours else os.path.basename(frame.filename)}:{frame.lineno}"
        for frame in ours or frames
    ]


class ConfigError(TidegateError):
    """The configuration, a flag or a path is wrong.

    `problems` are what is wrong with single values, where somebody can be shown them one by one.
    """

    exit_code = 2

    def __init__(self, message: str = "", problems: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class ConfigStale(ConfigError):
    """What is written is not valid, or the file is gone: the last valid one goes on, and no change is made."""


class StripeError(TidegateError):
    """Stripe answered with an error."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "",
        param: str = "",
        request_id: str = "",
        permission: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.request_id = request_id
        self.permission = permission


class Unauthorized(StripeError):
    """The key is wrong, expired or revoked."""


class PermissionMissing(StripeError):
    """The key lacks a permission."""


class NotEnabled(StripeError):
    """The account has no such product, or the route does not exist there."""


class Missing(StripeError):
    """The object is gone."""


class InvalidRequest(StripeError):
    """Stripe refused the request as it was sent."""


class RateLimited(StripeError):
    """Still limited after the last retry."""


class ServerFault(StripeError):
    """Stripe failed, also after the last retry."""


class Unreachable(TidegateError):
    """No answer from Stripe."""


class BadPage(TidegateError):
    """An answer that is not the JSON it promised to be."""


class WarehouseError(TidegateError):
    """The warehouse refused."""


class WarehouseBusy(WarehouseError):
    """Somebody else holds the warehouse."""

    exit_code = 3


class WarehouseUnreachable(WarehouseError):
    """No answer from the warehouse."""


class WarehouseFull(WarehouseError):
    """The disk or the quota is full."""


class WarehouseCorrupt(WarehouseError):
    """The file is no database, or a damaged one."""


class Fenced(WarehouseError):
    """Another writer took the table over."""

    exit_code = 3


class StoreError(TidegateError):
    """The metadata database refused."""


class StoreUnreachable(StoreError):
    """No answer from the metadata database."""


class StoreConflict(StoreError):
    """The metadata database holds something that excludes this."""


class StoreStale(StoreConflict):
    """Somebody else has changed this since its version `seen`."""

    def __init__(self, message: str, seen: int) -> None:
        super().__init__(message)
        self.seen = seen
