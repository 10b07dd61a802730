"""What the API answers where it cannot do what was asked: problem details as RFC 9457 has them."""

from __future__ import annotations

import http
import logging
import time
from collections.abc import Awaitable, Mapping

import fastapi
import msgspec
from starlette import requests

from tidegate import errors

RETRY_AFTER = "10"
"""Seconds after which to ask again, where the metadata database is away."""
LOGGED = 60.0
"""Seconds between two lines about the same trouble: strangers must not be able to fill a log."""


class Problem(Exception):
    """A request that cannot be done: the status, and a sentence for whoever made it."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})

    def response(self) -> fastapi.Response:
        """What is answered."""
        told = {
            "type": "about:blank",
            "title": http.HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        return fastapi.Response(
            msgspec.json.encode(told),
            status_code=self.status,
            headers={"Cache-Control": "no-store", **self.headers},
            media_type="application/problem+json",
        )


class Rarely:
    """Warns of one kind of trouble, not more than once a minute."""

    def __init__(self, log: logging.Logger) -> None:
        self._log, self._told = log, -LOGGED

    def warn(self, text: str) -> None:
        """A line in the log, or none."""
        now = time.monotonic()
        if now - self._told >= LOGGED:
            self._told = now
            self._log.warning("%s", text)


async def answered(work: Awaitable[fastapi.Response], store: Rarely) -> fastapi.Response:
    """The answer to a request, whatever goes wrong on the way; `store` tells of the metadata database."""
    try:
        return await work
    except Problem as problem:
        return problem.response()
    except requests.ClientDisconnect:
        return Problem(400, "The request ended before its body did.").response()
    except errors.StoreConflict as conflict:
        return Problem(409, str(conflict)).response()
    except (errors.StoreError, errors.ConfigError, TimeoutError) as error:
        said = str(error) or "The metadata database is slow."
        store.warn(f"{said} Whoever asked for a run, or how one is, is to ask again.")
        # Where the database is, and what it says, is not for those who ask.
        detail = "The metadata database cannot be reached now; try again."
        return Problem(503, detail, {"Retry-After": RETRY_AFTER}).response()
