"""JSON over HTTP for sources that are no databases: one kept connection, and patience with busy servers."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import http.client
import json
import random
import ssl
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tidegate import errors

BUSY = (429, 502, 503, 504)
"""Statuses of a server that may answer in a moment."""

ATTEMPTS = 8
LONGEST = 30.0
"""Seconds between two attempts, at most."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes

    def json(self, *, exact: bool = False) -> Any:
        """The body; `exact` reads numbers with a point as decimals. Raises ValueError when it is no JSON."""
        return json.loads(self.body, parse_float=Decimal if exact else float)


class Web:
    """One server; `where` is how messages call it, `pause` how it waits."""

    def __init__(
        self,
        url: str,
        *,
        where: str,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        self.where, self.timeout = where, timeout
        self.host = parts.hostname or ""
        self._is_tls = parts.scheme.lower() == "https"
        self.port = parts.port or (443 if self._is_tls else 80)
        self._path = parts.path.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": "tidegate", **(headers or {})}
        self._context, self._pause = context, pause
        self._connection: http.client.HTTPConnection | None = None

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        again: bool = True,
    ) -> Answer:
        """The answer to a request, whatever its status; `again`: may it be sent twice?

        A busy server is asked again after the time that it names, or after ever longer ones, as long as the timeout
        lasts. Raises WarehouseUnreachable when there is no answer, ConfigError when TLS fails.
        """
        data, sent = _encoded(body)
        sent |= {**self._headers, **(headers or {})}
        ends = time.monotonic() + self.timeout
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self._send(method, self._path + path, data, sent, fresh=not again)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                wait = _backoff(attempt)
                if (
                    not again
                    or attempt >= 3
                    or isinstance(error, TimeoutError | ssl.SSLCertVerificationError)
                ):
                    raise self._unreachable(error) from None
            else:
                wait = _told(answer.headers.get("retry-after")) or _backoff(attempt)
                if answer.status not in BUSY or not again or attempt == ATTEMPTS:
                    return answer
                if time.monotonic() + wait > ends:
                    return answer
            self._pause(wait)
        raise AssertionError("The last attempt returns or raises.")

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """Cut the connection that another thread waits for."""
        sock = self._connection.sock if self._connection is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(2)

    def _send(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str], *, fresh: bool
    ) -> Answer:
        if fresh:
            # A kept connection may have been closed meanwhile, and who notices too late has asked twice.
            self.close()
        if self._connection is None:
            self._connection = self._open()
        self._connection.request(method, path, data, dict(headers))
        found = self._connection.getresponse()
        body = found.read()
        if found.will_close:
            self.close()
        return Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, body)

    def _open(self) -> http.client.HTTPConnection:
        if not self._is_tls:
            return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        context = self._context or ssl.create_default_context()
        proxy = urllib.request.getproxies().get("https")
        if proxy and not urllib.request.proxy_bypass(self.host):
            through = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            opened = http.client.HTTPSConnection(
                through.hostname or "", through.port or 80, timeout=self.timeout, context=context
            )
            signed = {}
            if through.username:
                signed["Proxy-Authorization"] = basic(
                    urllib.parse.unquote(through.username), urllib.parse.unquote(through.password or "")
                )
            opened.set_tunnel(self.host, self.port, signed)
            return opened
        return http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout, context=context)

    def _unreachable(self, error: Exception) -> errors.TidegateError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return errors.ConfigError(
                f"The certificate of {self.where} is not vouched for ({error.verify_message}); name the file of "
                "its authority as `ca`."
            )
        if isinstance(error, ssl.SSLError):
            return errors.ConfigError(
                f"{self.where} does not speak TLS as asked ({error.reason or 'no handshake'}); check the address."
            )
        if isinstance(error, TimeoutError):
            return errors.WarehouseUnreachable(
                f"{self.where} did not answer within {self.timeout:g} s; let the query read less, or "
                "give it more time."
            )
        why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        return errors.WarehouseUnreachable(
            f"No answer from {self.where} ({why}); check the address, the firewall and that it runs."
        )


def basic(user: str, password: str) -> str:
    """The header of a sign-in by name and password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def quoted(text: str) -> str:
    """A piece of a path, whatever it holds."""
    return urllib.parse.quote(text, safe="")


def _encoded(body: object) -> tuple[bytes | None, dict[str, str]]:
    if body is None or isinstance(body, bytes):
        return body, {}
    return json.dumps(body, default=str).encode(), {"Content-Type": "application/json"}


def _backoff(attempt: int) -> float:
    return float(min(LONGEST, 0.25 * 2**attempt)) * random.uniform(0.5, 1.0)


def _told(header: str | None) -> float | None:
    """Seconds that a Retry-After asks for: a number, or a date."""
    if not header:
        return None
    if header.strip().isdecimal():
        return min(LONGEST * 4, float(header))
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    return min(LONGEST * 4, max(0.0, moment.timestamp() - time.time()))
