"""How ClickHouse is spoken to over HTTP: addresses, connections, parameters, and what its errors mean."""

from __future__ import annotations

import contextlib
import functools
import re
import socket
import threading
import urllib.parse
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import clickhouse_connect
import pyarrow as pa
import urllib3
from clickhouse_connect.driver import exceptions, httputil

from tidegate import config, errors

PARAMETER = "{{p{}:Tidegate}}"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and whom to sign in as."""

    host: str
    port: int
    user: str = "default"
    password: str = field(default="", repr=False)
    database: str = "default"
    secure: bool = True


def address(target: config.ClickHouse) -> Address:
    """Where a configuration points to."""
    if target.url is None:
        assert target.host is not None, "One of both is given."
        password = target.password.get_secret_value() if target.password is not None else ""
        return _address(target.host, target.port, target.user, password, target.database, target.secure)
    else:
        told = urllib.parse.urlsplit(target.url.get_secret_value())
        options = dict(urllib.parse.parse_qsl(told.query))
        secure = target.secure
        if secure is None and "secure" in options:
            secure = options["secure"].lower() in ("1", "true", "yes")
        if secure is None and told.scheme.lower() in ("http", "https"):
            secure = told.scheme.lower() == "https"
        return _address(
            told.hostname or "localhost",
            told.port,
            urllib.parse.unquote(told.username or "") or None,
            urllib.parse.unquote(told.password or ""),
            urllib.parse.unquote(told.path.strip("/")) or None,
            secure,
        )


def _address(
    host: str, port: int | None, user: str | None, password: str, database: str | None, secure: bool | None
) -> Address:
    """TLS unless it is declined, or the port is the one that has none."""
    if secure is None:
        secure = port != 8123
    return Address(
        host, port or (8443 if secure else 8123), user or "default", password, database or "default", secure
    )


class Connection:
    """A client of clickhouse-connect on connections of its own, which another thread can cut."""

    def __init__(self, address: Address) -> None:
        """Sign in."""
        scheme = "https" if address.secure else "http"
        proxy = httputil.check_env_proxy(scheme, address.host, address.port)
        self._pool = httputil.get_pool_manager(
            http_proxy=None if address.secure else proxy, https_proxy=proxy if address.secure else None
        )
        # Whoever answers could send us on to what answers to this machine alone.
        self._pool.urlopen = functools.partial(self._pool.urlopen, redirect=False)
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._is_cut = threading.Event()
        self._pool.pool_classes_by_scheme = {
            name: self._noting(kind) for name, kind in self._pool.pool_classes_by_scheme.items()
        }
        try:
            self.client = clickhouse_connect.get_client(
                interface=scheme,
                host=address.host,
                port=address.port,
                username=address.user,
                password=address.password,
                database=address.database,
                secure=address.secure,
                client_name="tidegate",
                query_retries=0,
                connect_timeout=10,
                send_receive_timeout=600,
                autogenerate_session_id=False,
                show_clickhouse_errors="scrub",
                pool_mgr=self._pool,
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connections."""
        with contextlib.suppress(Exception):
            self.client.close()
        httputil.all_managers.pop(self._pool, None)
        self._pool.clear()

    def cut(self) -> None:
        """Cut the connections for good, so that whoever waits for an answer does not get it."""
        self._is_cut.set()
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def allowed(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Of settings those that the server knows, and that this user may change."""
        known = self.client.server_settings
        return {name: value for name, value in settings.items() if name in known and not known[name].readonly}

    def fixed(self, settings: dict[str, Any]) -> list[str]:
        """Of settings those that are otherwise, and that this user may not change."""
        known = self.client.server_settings
        return [
            name
            for name, value in settings.items()
            if name in known and known[name].readonly and known[name].value != str(value)
        ]

    def _noting(self, kind: Any) -> Any:
        """A kind of pool whose connections note their sockets; there are none any more once they were cut."""
        sockets, is_cut = self._sockets, self._is_cut

        class Noting(kind.ConnectionCls):  # type: ignore[misc]  # the base is known when it runs
            def connect(self) -> None:
                if is_cut.is_set():
                    raise ConnectionAbortedError  # the driver tries a second time
                super().connect()
                sockets.add(self.sock)

        return type(kind.__name__, (kind,), {"ConnectionCls": Noting})


def explained(error: Exception, address: Address) -> errors.TidegateError | None:
    """What an error of the driver means; the server's own text may quote values, so only names pass."""
    where = f"ClickHouse on {address.host}"
    if isinstance(error, (urllib3.exceptions.HTTPError, pa.ArrowInvalid, OSError)):
        return errors.WarehouseUnreachable(f"The answer of {where} broke off.")
    if not isinstance(error, exceptions.ClickHouseError):
        return None
    code = getattr(error, "code", None)
    text = str(error)
    if code is None and re.search("HTTP status [34]0", text):
        return errors.ConfigError(
            f"What answers at {address.host}:{address.port} is no ClickHouse over HTTP; "
            "check the port (8443, or 8123 without TLS)."
        )
    if code is None and re.search(r"[Ss]etting \w+ is (?:unknown or )?readonly", text):
        code = 164
    if code is None and "CERTIFICATE" in text.upper():
        return errors.ConfigError(
            f"The certificate of {where} is not to be trusted; check `host`, or point SSL_CERT_FILE to the right "
            "authority."
        )
    if code is None:
        return errors.WarehouseUnreachable(
            f"No answer from {where} ({_reason(text)}); check that it runs and can be reached from here."
        )
    if code == 497:
        return errors.WarehouseError(f"{where} forbids it; {_grant(text, address.user)}.")
    kind, told = _FATAL.get(
        code, (errors.WarehouseError, "{where} refused a statement (code {code}{detail}).")
    )
    named = getattr(error, "name", None)
    detail = _named(text) if code in _TELLING else f", {named}" if named else ""
    return kind(told.format(where=where, code=code, detail=detail))


def _grant(text: str, user: str) -> str:
    """What has to be run so that a refused statement goes through."""
    found = re.search(r"have (?:the )?grants? (.*?)(?: \(ACCESS_DENIED\)|$|\. )", text)
    if found is None:
        return f"grant {user} what is missing"
    what = re.sub(r"\(.*?\)", "", found.group(1).rstrip(". ")).replace("  ", " ")
    return f"run GRANT {what} TO {user}"


_FATAL: dict[int, tuple[type[errors.TidegateError], str]] = {
    516: (errors.ConfigError, "{where} refused the sign-in; check the user and the password."),
    192: (errors.ConfigError, "{where} knows no such user; check the user and the password."),
    193: (errors.ConfigError, "{where} refused the sign-in; check the user and the password."),
    81: (errors.WarehouseError, "{where} has no such database{detail}; check its name."),
    60: (errors.WarehouseError, "{where} has no such table{detail}."),
    47: (errors.WarehouseError, "{where} has no such column{detail}."),
    164: (
        errors.WarehouseError,
        "{where} only lets itself be read; let this user change settings and write.",
    ),
    452: (
        errors.WarehouseError,
        "{where} holds a setting that Tidegate needs otherwise; loosen the constraints of this user's profile.",
    ),
    243: (errors.WarehouseFull, "The disk of {where} is full; this load was not written."),
    201: (errors.WarehouseFull, "The quota of this user on {where} is used up; raise it, or wait."),
    241: (errors.WarehouseFull, "{where} has no memory left for this (max_memory_usage)."),
    158: (errors.WarehouseError, "{where} lets this user read no more rows; raise max_rows_to_read."),
    396: (errors.WarehouseError, "{where} gives this user no more rows; raise max_result_rows."),
    252: (errors.WarehouseBusy, "{where} has more parts to merge than it takes inserts for."),
    202: (errors.WarehouseBusy, "{where} runs as many queries as it may."),
    286: (errors.WarehouseBusy, "{where} still waits for a quorum of its replicas."),
    473: (errors.WarehouseBusy, "{where} avoided a deadlock."),
    517: (errors.WarehouseBusy, "{where} was changed by somebody else at the same moment."),
    159: (errors.WarehouseUnreachable, "{where} took longer than it may for a statement."),
    209: (errors.WarehouseUnreachable, "{where} did not answer in time."),
    210: (errors.WarehouseUnreachable, "{where} lost a connection."),
    225: (errors.WarehouseUnreachable, "{where} cannot reach its Keeper now."),
    999: (errors.WarehouseUnreachable, "{where} has trouble with its Keeper now."),
    236: (errors.WarehouseUnreachable, "{where} is shutting down."),
    279: (errors.WarehouseUnreachable, "{where} reaches none of its replicas now."),
    285: (errors.WarehouseUnreachable, "{where} has too few replicas now to keep what is written."),
    289: (errors.WarehouseUnreachable, "{where} answered by a replica that lags behind."),
    319: (errors.WarehouseUnreachable, "{where} cannot say whether it wrote the rows."),
    242: (errors.WarehouseUnreachable, "{where} only lets tables be read now (is its Keeper there?)."),
    394: (errors.WarehouseUnreachable, "{where} ended the query."),
}
"""What codes of ClickHouse mean. https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp"""

_TELLING = (81, 60, 47)
"""Codes whose text names tables and columns only."""


def _named(text: str) -> str:
    found = re.search(
        r"(?:Unknown (?:table )?(?:expression )?identifier|Database|Table|Unknown table) [`']?([\w.`~-]{1,200})",
        text,
    )
    return f" ({found.group(1).rstrip('.').replace('`', '')})" if found else ""


def _reason(text: str) -> str:
    found = re.search(r"(refused|timed out|reset|resolve|certificate|SSL|aborted|closed)", text)
    return f"connection {found.group(1)}" if found else "connection lost"


def typed(text: str, parameters: Sequence[object]) -> str:
    """A query whose parameters have the types of their values."""
    for number, value in enumerate(parameters):
        kind = "String"
        if isinstance(value, bool):
            kind = "Bool"
        elif isinstance(value, int):
            kind = "Int64"
        elif isinstance(value, float):
            kind = "Float64"
        text = text.replace(PARAMETER.format(number), f"{{p{number}:{kind}}}")
    return text


def bound(parameters: Sequence[object]) -> dict[str, Any] | None:
    """Parameters by their names."""
    return {f"p{number}": value for number, value in enumerate(parameters)} or None
