"""How Snowflake is spoken to: addresses, keys, sessions, and what its errors mean.

The numbers are those of https://docs.snowflake.com/en/user-guide/key-pair-auth-troubleshooting and of the
connector's network.py.
"""

from __future__ import annotations

import re
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from snowflake import connector
from snowflake.connector import errors as driver
from snowflake.connector.vendored import requests, urllib3

from tidegate import errors
from tidegate.adapters import snowflake_rows as rows
from tidegate.config import warehouses as kinds
from tidegate.warehouse import sql

NETWORK = 60
"""Seconds for which the connector goes on sending a request that is not answered."""

LONGEST = 7 * 24 * 3600
"""Seconds that a statement may take: no fewer than Snowflake itself ever lets it take."""

LOCK_TIMEOUT = 420
"""Seconds. A transaction whose client was killed is given up after five minutes in the way of another one.
https://docs.snowflake.com/en/sql-reference/transactions#aborting-transactions"""

SESSION: dict[str, str | int | bool] = {
    "AUTOCOMMIT": False,
    "TIMEZONE": "UTC",
    "TIMESTAMP_INPUT_FORMAT": "AUTO",
    "TIMESTAMP_TZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF6TZH:TZM",
    "QUOTED_IDENTIFIERS_IGNORE_CASE": False,
    "JSON_INDENT": 0,
    "STRICT_JSON_OUTPUT": True,
    "ROWS_PER_RESULTSET": 0,
    "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT": "ARROW",
    "QUERY_TAG": "tidegate",
    "LOCK_TIMEOUT": LOCK_TIMEOUT,
    "ABORT_DETACHED_QUERY": True,
    "CLIENT_TELEMETRY_ENABLED": False,
}
"""What accounts and users may have set otherwise, and that statements of a client that is gone stop.
https://docs.snowflake.com/en/sql-reference/parameters"""

SIGN_IN = {
    390100: "check the user and the password",
    390101: "check the user and the password",
    390102: "the user is disabled or locked",
    390103: "check the user and the password",
    390144: "check the private key, and ALTER USER ... SET RSA_PUBLIC_KEY",
    390186: "grant the user its role: GRANT ROLE ... TO USER ...",
    390189: "check the name of the role",
    390201: "check the names of the account, the database and the warehouse",
    390422: "a network policy forbids this address",
    **dict.fromkeys(
        (394300, 394304, 394305, 394306), "check the private key, and ALTER USER ... SET RSA_PUBLIC_KEY"
    ),
    **dict.fromkeys((394301, 394302, 394303), "check the clock of this machine"),
    251005: "name a user",
    251006: "give a password or a key",
}
"""What is wrong with a sign-in, by number."""

TOLD: dict[int, tuple[type[errors.TidegateError], str]] = {
    604: (
        errors.WarehouseBusy,
        "A statement in {where} was cancelled, or the transaction that it belongs to.",
    ),
    630: (
        errors.WarehouseError,
        "A statement in {where} took longer than STATEMENT_TIMEOUT_IN_SECONDS allows.",
    ),
    625: (errors.WarehouseBusy, "Another transaction locks a table of {where} and does not let go."),
    684: (errors.WarehouseBusy, "Another transaction locks a table of {where} and does not let go."),
    90073: (
        errors.WarehouseFull,
        "The resource monitor of {where} has no credits left; nothing of this load was written; raise its quota.",
    ),
}

LOST = {603, 250001, 250003, 251011, 251012, 390104, 390110, 390111, 390112, 390114, 390115, 390195}
"""Numbers of errors after which the session is of no use any more."""

BROKEN = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError)
"""What the connector lets through when an answer breaks off."""

NAMED = re.compile(r"(?:Object|Table|View|Schema|Database|Stage|Warehouse) '([^']{1,300})'")

GRANTS = {
    "CREATE SCHEMA": "GRANT CREATE SCHEMA ON DATABASE {database} TO ROLE {role}",
    "CREATE OR REPLACE VIEW": "GRANT USAGE, CREATE VIEW ON SCHEMA {schema} TO ROLE {role}",
    "CREATE": "GRANT USAGE, CREATE TABLE ON SCHEMA {schema} TO ROLE {role}",
    "DROP VIEW": "GRANT OWNERSHIP ON ALL VIEWS IN SCHEMA {schema} TO ROLE {role} COPY CURRENT GRANTS",
    "DROP": "GRANT OWNERSHIP ON ALL TABLES IN SCHEMA {schema} TO ROLE {role} COPY CURRENT GRANTS",
    "ALTER": "GRANT OWNERSHIP ON ALL TABLES IN SCHEMA {schema} TO ROLE {role} COPY CURRENT GRANTS",
    "INSERT": "GRANT INSERT ON ALL TABLES IN SCHEMA {schema} TO ROLE {role}",
    "UPDATE": "GRANT UPDATE ON ALL TABLES IN SCHEMA {schema} TO ROLE {role}",
    "DELETE": "GRANT DELETE ON ALL TABLES IN SCHEMA {schema} TO ROLE {role}",
    "SELECT": "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO ROLE {role}",
}
"""What to grant, by how the statement begins; the first that fits counts."""


class Connection(connector.SnowflakeConnection):
    """A connection whose statements may take as long as they need.

    The connector has one number for how long it goes on sending a request and for when it has the statement
    cancelled that it waits for (cursor.py). Here `network_timeout` is the former, the latter goes to `execute`.
    """

    def cmd_query(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Send a statement."""
        return super().cmd_query(*args, **{**kwargs, "timeout": self.network_timeout})


@dataclass(frozen=True, slots=True)
class Place:
    """Where something went wrong: the schema, and the last statement without its parameters."""

    address: dict[str, Any]
    role: str
    schema: str
    statement: str


def address(target: kinds.Snowflake) -> dict[str, Any]:
    """The connector's parameters; raises ConfigError."""
    if target.url is not None:
        return _from_url(target.url.get_secret_value())
    named = {
        name: getattr(target, name) for name in ("account", "host", "user", "database", "warehouse", "role")
    }
    found: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if target.password is not None:
        found["password"] = target.password.get_secret_value()
    if target.private_key is not None:
        passphrase = target.private_key_passphrase
        found["private_key"] = _private_key(
            target.private_key.get_secret_value(),
            passphrase.get_secret_value() if passphrase is not None else None,
        )
    return found


def where(address: dict[str, Any]) -> str:
    """The database and the account."""
    return f"{address['database']} on {host(address)}"


def host(address: dict[str, Any]) -> str:
    """Where the account answers."""
    return str(address.get("host") or f"{address['account']}.snowflakecomputing.com")


def proxy(address: dict[str, Any]) -> tuple[str, int] | None:
    """The host and port of the proxy that the environment names, through which the connector goes."""
    named = urllib.request.getproxies()
    url = named.get(str(address.get("protocol", "https"))) or named.get("all")
    if not url or urllib.request.proxy_bypass(host(address)):
        return None
    parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def is_lost(error: BaseException) -> bool:
    """Is there no use in saying anything more to this session?"""
    if not isinstance(error, driver.Error):
        return isinstance(error, BROKEN)
    return (
        (error.errno or 0) in LOST
        or (error.sqlstate or "").startswith("08")
        or isinstance(error, driver.OperationalError)
        or not isinstance(error, driver.DatabaseError)  # HTTP's own, say 503 for as long as that is tried
    )


def meaning(error: Exception, place: Place) -> errors.TidegateError | None:
    """What an error of the connector means; its own text may quote values, so only names in it pass."""
    told = where(place.address)
    if isinstance(error, BROKEN):
        return errors.WarehouseUnreachable(f"The connection to {told} broke ({type(error).__name__}).")
    if not isinstance(error, driver.Error):
        return None
    number = error.errno or 0
    if number in SIGN_IN:
        return errors.ConfigError(f"{host(place.address)} refused the sign-in; {SIGN_IN[number]}.")
    if 390_000 <= number < 400_000 and number not in LOST:
        return errors.ConfigError(f"{host(place.address)} refused the sign-in (error {number}).")
    if number == 606:
        return errors.ConfigError(f"{told} has no warehouse that computes; {_compute(place)}.")
    if number == 3001:
        return errors.WarehouseError(f"{told} forbids it; {grant(place)}.")
    if number in (2003, 2043):
        named = NAMED.search(error.raw_msg or "")
        parts = named[1].split(".") if named else ["what a statement names"]
        name = ".".join(map(rows.unfolded, parts))
        return errors.WarehouseError(
            f"{told} does not know {name}, or does not show it to this user; {grant(place)}."
        )
    if number in TOLD:
        kind, text = TOLD[number]
        return kind(text.format(where=told))
    if is_lost(error):
        return errors.WarehouseUnreachable(
            f"No answer from {told} (error {number}); check the account and the network."
        )
    if 100_000 <= number < 110_000:
        return errors.WarehouseError(
            f"{told} refused a value (error {number}); nothing of this load was written."
        )
    return errors.WarehouseError(f"{told} refused a statement (error {number}).")


def grant(place: Place) -> str:
    """What lets a statement pass that was refused."""
    database, role = str(place.address["database"]), _plain(place.role)
    for start, text in GRANTS.items():
        if place.statement.startswith(start):
            names = {"database": _plain(database), "schema": _plain(database, place.schema), "role": role}
            return "run " + text.format(**names)
    return f"run SHOW GRANTS TO ROLE {role} to see what it may do"


def _compute(place: Place) -> str:
    name = place.address.get("warehouse")
    if not name:
        return "name one as `warehouse`"
    return f"run GRANT USAGE ON WAREHOUSE {name} TO ROLE {place.role}, or ALTER WAREHOUSE {name} RESUME"


def _plain(*names: str) -> str:
    """Names without quotes, where they need none."""
    return ".".join(
        name.upper() if re.fullmatch(r"[A-Za-z_][\w$]*", name, re.ASCII) else sql.quoted(rows.DIALECT, name)
        for name in names
    )


def _from_url(url: str) -> dict[str, Any]:
    """The parameters of a URL as SQLAlchemy writes it."""
    parts = urllib.parse.urlsplit(url)
    query = dict(urllib.parse.parse_qsl(parts.query))
    found: dict[str, Any] = {
        "account": parts.netloc.rpartition("@")[2],
        "user": urllib.parse.unquote(parts.username or ""),
        "password": urllib.parse.unquote(parts.password or ""),
        "database": urllib.parse.unquote(parts.path.strip("/")),
        **{name: query[name] for name in ("warehouse", "role", "host", "protocol") if name in query},
    }
    if "port" in query:
        found["port"] = int(query["port"])
    return found


def _private_key(text: str, passphrase: str | None) -> bytes:
    """A PEM key as the connector takes it."""
    try:
        key = serialization.load_pem_private_key(
            text.encode(), passphrase.encode() if passphrase is not None else None
        )
    except (ValueError, TypeError):
        raise errors.ConfigError(
            "The `private_key` of Snowflake cannot be read; give a PEM file, and its `private_key_passphrase` if "
            "it has one."
        ) from None
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
