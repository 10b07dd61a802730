"""Where a MySQL server is, how it is signed in to, and what it means when it refuses."""

from __future__ import annotations

import re
import socket
import ssl
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

import pymysql

from tidegate import errors
from tidegate.config import warehouses as kinds

TIMEOUT = 10.0
"""Seconds that opening a connection may take."""

OPTIONS = ("sslmode", "ca", "cert", "unix_socket")
"""What a URL may say after its question mark."""

NO_FILES = (1148, 3948, 4166, 2068)
"""LOCAL is forbidden: https://mariadb.com/kb/en/mariadb-error-codes/, MySQL's server and client error reference."""

UNKNOWN = (2059, 2061)
"""A way of signing in that the driver does not know."""

DENIED = (1044, 1142, 1143, 1227, 1370)


@dataclass(frozen=True, slots=True)
class Address:
    """A server, and how to sign in there; `path` is that of a socket of this machine, or empty."""

    host: str
    port: int
    path: str = ""
    sign_in: dict[str, Any] = field(default_factory=dict, repr=False)
    """What pymysql is given to sign in."""

    @property
    def told(self) -> str:
        """The server in a few words."""
        return self.path or f"{self.host}:{self.port}"

    def connect(self) -> socket.socket:
        """A connection to the server; raises WarehouseUnreachable."""
        try:
            if self.path:
                opened = socket.socket(socket.AF_UNIX)
                try:
                    opened.connect(self.path)
                except BaseException:
                    opened.close()
                    raise
                return opened
            return kept_alive(socket.create_connection((self.host, self.port), TIMEOUT))
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise errors.WarehouseUnreachable(
                f"Nothing answers at {self.told} ({why}); check the address, the firewall and that it runs."
            ) from None


def kept_alive(opened: socket.socket) -> socket.socket:
    """A socket that notices within two minutes when the other side is gone without a word."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):  # macOS calls the first TCP_KEEPALIVE
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return opened


def address(target: kinds.MySQL) -> Address:
    """The server that a configuration describes; raises ConfigError, which repeats nothing of a URL."""
    options: dict[str, str] = {}
    if target.url is not None:
        try:
            parts = urllib.parse.urlsplit(target.url.get_secret_value())
            host, port = parts.hostname or "", parts.port
            given = urllib.parse.parse_qsl(parts.query, strict_parsing=True) if parts.query else []
        except ValueError:
            raise errors.ConfigError(
                "The URL of this MySQL server cannot be read; write mysql://USER:PASSWORD@HOST:PORT/, with what "
                "is special in a password percent-encoded."
            ) from None
        options = dict(given)
        unknown = sorted(set(options) - set(OPTIONS))
        if unknown:
            raise errors.ConfigError(
                f"The URL of a MySQL server may say {', '.join(OPTIONS)} after the question mark, nothing else."
            )
        user, password = (urllib.parse.unquote(each or "") for each in (parts.username, parts.password))
        database = urllib.parse.unquote(parts.path.removeprefix("/"))
    else:
        host, port, user = target.host or "", target.port, target.user or ""
        password = target.password.get_secret_value() if target.password is not None else ""
        database = target.database or ""
    # pymysql would write a text in Latin-1, which not every password fits in.
    sign_in: dict[str, Any] = {
        "user": user or None,
        "password": password.encode(),
        "host": host or "localhost",
    }
    if database:
        sign_in["database"] = database
    ca, cert = target.ca or options.get("ca"), target.cert or options.get("cert")
    mode = target.sslmode or options.get("sslmode")
    path = options.get("unix_socket", "")
    if not path:
        sign_in |= _secured(mode or ("verify-full" if ca else "require" if cert else "prefer"), ca, cert)
    else:
        sign_in |= {"unix_socket": path, "ssl_disabled": True}
    return Address(host or "localhost", port or 3306, path, sign_in)


def _secured(mode: str, ca: str | None, cert: str | None) -> dict[str, Any]:
    """What pymysql is told of TLS; nothing makes it ask for TLS, and do without where there is none."""
    if mode == "disable":
        return {"ssl_disabled": True}
    if mode == "prefer" and not cert:
        return {}
    if mode not in ("prefer", "require", "verify-ca", "verify-full"):
        raise errors.ConfigError(
            "`sslmode` of a MySQL server is one of disable, prefer, require, verify-ca and verify-full."
        )
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert:
            context.load_cert_chain(cert)
    except (OSError, ssl.SSLError) as error:
        raise errors.ConfigError(
            f"The certificates in {ca or cert} cannot be read ({error.strerror or type(error).__name__}); "
            "give PEM files."
        ) from None
    # Certificates that MySQL makes for itself fail the strict checks that Python 3.13 turned on.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = mode == "verify-full"
    if mode in ("prefer", "require"):
        context.verify_mode = ssl.CERT_NONE
    return {"ssl": context}


def is_mariadb(version: str, where: str) -> bool:
    """Is a server MariaDB, going by its version? Raises ConfigError for one that is too old."""
    found = "mariadb" in version.lower()
    least = (10, 6) if found else (8, 0, 17)
    # MariaDB used to call itself 5.5.5-10.x, for replicas that knew no other version.
    numbers = tuple(map(int, re.findall(r"\d+", version.removeprefix("5.5.5-"))[: len(least)]))
    if numbers < least:
        raise errors.ConfigError(
            f"{where} runs {version}; MySQL 8.0.17 or MariaDB 10.6 is the oldest that compares texts byte by byte."
        )
    return found


def meaning(error: Exception, where: str, schema: str, account: str) -> errors.TidegateError | None:
    """The error of ours for one of pymysql's, None for what is none of its; see `Remote.explain`."""
    if isinstance(error, ssl.SSLError):
        why = getattr(error, "verify_message", "") or error.reason or type(error).__name__
        return errors.ConfigError(f"{where} is not trusted ({why}); check `ca` and `sslmode`.")
    if isinstance(error, OSError):
        why = error.strerror or type(error).__name__
        return errors.WarehouseUnreachable(f"The connection to {where} broke ({why}).")
    if isinstance(error, RuntimeError) and (package := re.match(r"'(\w+)' package is required", str(error))):
        return errors.ConfigError(
            f"{where} takes this password with TLS only; set `sslmode: require`, or pip install {package[1]}."
        )
    if not isinstance(error, pymysql.err.MySQLError):
        return None
    code, text = _code(error)
    if isinstance(original := getattr(error, "original_exception", None), ssl.SSLError):
        return meaning(original, where, schema, account)
    if code in DENIED:
        privileges, database = _denied(text)
        return missing(privileges or "ALL PRIVILEGES", database or schema, account or _named(text), where)
    if code in UNKNOWN and (plugin := re.search(r"plugin '(?:b')?(\w+)", text)):
        return errors.ConfigError(
            f"{where} asks in a way that is not known here how the user signs in ({plugin[1]}); let it be "
            "caching_sha2_password or mysql_native_password."
        )
    if code in _MEANINGS:
        kind, sentence = _MEANINGS[code]
        _, named, column = text.rpartition(" for column ")  # the value comes before, and is nobody's business
        return kind(
            sentence.format(where=where, detail=text.rstrip("."), column=column if named else "a row")
        )
    if 2000 <= code < 3000 or code == 0:
        return errors.WarehouseUnreachable(f"The connection to {where} broke ({code}).")
    return errors.WarehouseError(f"{where} refused a statement ({code}).")


def missing(privileges: str, schema: str, account: str, where: str) -> errors.WarehouseError:
    """What to grant."""
    user, _, host = account.rpartition("@")
    grantee = f"'{user}'@'{host}'" if user else "this user"
    name = schema.replace("`", "``").replace("_", "\\_").replace("%", "\\%")
    return errors.WarehouseError(
        f"{where} forbids it; let somebody who may run: GRANT {privileges} ON `{name}`.* TO {grantee};"
    )


def _code(error: Exception) -> tuple[int, str]:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    return code, str(error.args[1]) if len(error.args) > 1 else ""


def _denied(text: str) -> tuple[str, str]:
    """The privileges and the database that a refusal names."""
    privileges = re.match(r"([A-Z][A-Z ,]*?) command denied", text)
    database = re.search(r"for table `((?:[^`]|``)+)`\.`|to database '([^']*)'", text)
    found = (database[1] or database[2]) if database else ""
    return (privileges[1] if privileges else ""), found.replace("``", "`")


def _named(text: str) -> str:
    account = re.search(r"user '([^']*)'@'([^']*)'", text)
    return f"{account[1]}@{account[2]}" if account else ""


_BUSY = (errors.WarehouseBusy, "Somebody else changed the same rows on {where} at the same moment.")
_FULL = (errors.WarehouseFull, "The disk of {where} is full, or its quota; nothing of this load was written.")
_GONE = (errors.WarehouseUnreachable, "{where} ended the connection.")
_MANY = (
    errors.WarehouseUnreachable,
    "{where} takes no more connections now; raise max_connections, or wait.",
)
_NAME = (
    errors.WarehouseError,
    "{where} takes no such name: {detail}; give another one, of 64 characters at most.",
)
_NAMED = (errors.WarehouseError, "{where} refused a statement: {detail}.")
_READ = (errors.WarehouseError, "{where} only lets itself be read; give the address of the primary server.")
_VALUE = (errors.WarehouseError, "{where} refused a value: {detail}; nothing of this load was written.")

_MEANINGS: dict[int, tuple[type[errors.TidegateError], str]] = {
    1020: _BUSY,
    1205: _BUSY,
    1213: _BUSY,
    1021: _FULL,
    1026: _FULL,
    1030: _FULL,
    1114: _FULL,
    4031: _GONE,
    1053: _GONE,
    1077: _GONE,
    1079: _GONE,
    1317: _GONE,
    1927: _GONE,
    3169: _GONE,
    2003: (errors.WarehouseUnreachable, "Nothing answers at {where}; check the address and that it runs."),
    2006: (errors.WarehouseUnreachable, "The connection to {where} broke."),
    2013: (errors.WarehouseUnreachable, "The connection to {where} broke."),
    1040: _MANY,
    1203: _MANY,
    1226: _MANY,
    1129: (
        errors.WarehouseError,
        "{where} blocks this machine after too many broken connections; run FLUSH HOSTS there.",
    ),
    1130: (errors.ConfigError, "{where} lets nobody in from this machine; check the host of the user."),
    1045: (errors.ConfigError, "{where} refused the sign-in; check the user and the password."),
    1698: (errors.ConfigError, "{where} refused the sign-in; check the user and how it may sign in."),
    3118: (errors.ConfigError, "{where} refused the sign-in: the account is locked."),
    1862: (errors.ConfigError, "{where} refused the sign-in: the password has expired."),
    1049: (errors.ConfigError, "{where} cannot be opened ({detail}); check the name of the database."),
    2026: (errors.ConfigError, "{where} speaks no TLS; turn it on there, or set `sslmode: prefer`."),
    3159: (errors.ConfigError, "{where} takes connections with TLS only; set `sslmode: require`."),
    4151: (errors.ConfigError, "{where} refused the sign-in: the account is locked."),
    1036: _READ,
    1290: _READ,
    1792: _READ,
    1836: _READ,
    1059: _NAME,
    1102: _NAME,
    1103: _NAME,
    1166: _NAME,
    1054: _NAMED,
    1117: _NAMED,
    1118: _NAMED,
    1146: _NAMED,
    1071: _NAMED,
    1356: (errors.WarehouseError, "{where} has a view that fits its table no more; drop it."),
    1969: (errors.WarehouseError, "{where} gave a statement up for taking too long (max_statement_time)."),
    3024: (errors.WarehouseError, "{where} gave a statement up for taking too long (max_execution_time)."),
    1153: (errors.WarehouseError, "A row is too long for {where}; raise max_allowed_packet."),
    1264: _VALUE,
    1406: _VALUE,
    1048: _VALUE,
    1265: _VALUE,
    1366: (
        errors.WarehouseError,
        "{where} cannot hold a value of {column}; nothing of this load was written.",
    ),
    3140: (errors.WarehouseError, "{where} cannot hold a JSON value; nothing of this load was written."),
    4025: (
        errors.WarehouseError,
        "{where} refused a row by a check of the table; nothing of this load was written.",
    ),
    1062: (errors.WarehouseError, "{where} has a row of this key already; nothing of this load was written."),
}
"""What errors mean; texts pass only where they hold names and no values.

https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html, https://mariadb.com/kb/en/mariadb-error-codes/
"""
