"""How Postgres is heard through psycopg, and what speaks like it: addresses, values, and what errors mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import psycopg
import psycopg.adapt
import pyarrow as pa
import pyarrow.compute as pc

from tidegate import config, errors
from tidegate.adapters import postgres_rows
from tidegate.config import warehouses

PARAMETER = "\0"
"""What stands for a parameter in our SQL: no name may hold it, but one may hold what psycopg has for it."""

ARROW = {**postgres_rows.KINDS, 1700: pa.decimal128(38, 12)}
"""Types by their numbers in pg_type; all others come as text."""


def address(target: config.Postgres | warehouses.Redshift) -> dict[str, Any]:
    """What libpq wants to know of a server; raises ConfigError."""
    if target.url is not None:
        _, _, rest = target.url.get_secret_value().partition("://")
        try:
            return dict(psycopg.conninfo.conninfo_to_dict(f"postgresql://{rest}"))
        except psycopg.Error:  # whose text quotes the password
            raise errors.ConfigError(
                f"The url of the {target.type} warehouse cannot be read; write "
                f"{target.type}://USER:PASSWORD@HOST/DATABASE, with %XX for special characters."
            ) from None
    named = {"host": target.host, "port": target.port, "user": target.user, "dbname": target.database}
    found = {name: value for name, value in named.items() if value is not None}
    if target.password is not None:
        found["password"] = target.password.get_secret_value()
    return found


KEPT_ALIVE = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 6}
"""What libpq asks of TCP: a server that is gone without a word is missed after 90 seconds, not after hours."""


def filled(text: str, parameters: Sequence[object]) -> tuple[str, list[object] | None]:
    """A statement of ours as psycopg wants it, and its parameters."""
    if not parameters:
        return text, None
    return text.replace("%", "%%").replace(PARAMETER, "%s"), list(parameters)


def batch(
    description: Sequence[psycopg.Column], rows: Sequence[Sequence[Any]], schema: pa.Schema | None = None
) -> pa.RecordBatch:
    """Rows of a cursor as Arrow; `schema` is what the batches before had.

    Numbers that DECIMAL(38,12) does not hold come as text. Raises WarehouseError, naming the column.
    """
    arrays = []
    for i, column in enumerate(description):
        kind = schema.field(i).type if schema is not None else ARROW.get(column.type_code, pa.string())
        values = [row[i] for row in rows]
        try:
            if pa.types.is_temporal(kind):
                arrays.append(pa.array(values, pa.string()).cast(kind))
            elif pa.types.is_string(kind):
                arrays.append(
                    pa.array([v if v is None or isinstance(v, str) else _text(v) for v in values], kind)
                )
            else:
                arrays.append(pa.array(values, kind))
        except pa.ArrowInvalid:
            # Without the cause: its text quotes the value.
            if pa.types.is_decimal(kind) and schema is None:
                arrays.append(pa.array([None if value is None else str(value) for value in values]))
                continue
            raise errors.WarehouseError(
                f"The column {column.name} holds what no {kind} can hold (infinity, NaN, a year outside of 1 to "
                "9999, more than 26 digits before or 12 after the point); select it as text."
            ) from None
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in description])


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return json.dumps(value, default=_text, ensure_ascii=False)
    return str(value)


def moments(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Moments in UTC as text; with their zone Arrow takes 25 times as long to write them."""
    return pc.binary_join_element_wise(column.cast(pa.timestamp("us")).cast(pa.string()), "+00", "")


def refusal(said: str) -> tuple[type[errors.TidegateError], str]:
    """The error of ours, its text with {where}, for what libpq says of a sign-in that failed."""
    lower = said.lower()
    for kind, text, words in REFUSALS:
        if any(word in lower for word in words):
            return kind, text
    reason = _reason(said).replace("{", "").replace("}", "")
    return (
        errors.WarehouseUnreachable,
        "No answer from {where} (" + reason + "); check that it runs and can be reached from here.",
    )


class Text(psycopg.adapt.Loader):
    """A value as the text that the server writes."""

    def load(self, data: Any) -> str:
        """The text of a value."""
        return bytes(data).decode()


FATAL: dict[str, tuple[type[errors.TidegateError], str]] = {
    "28": (errors.ConfigError, "{where} refused the sign-in ({detail}); check the user and the password."),
    "3D": (errors.ConfigError, "{where} cannot be opened ({detail}); check the name of the database."),
    "53100": (errors.WarehouseFull, "The disk of {where} is full; nothing of this load was written."),
    "53": (errors.WarehouseUnreachable, "{where} has no room for this now ({detail})."),
    "57014": (
        errors.WarehouseError,
        "{where} gave up a statement ({detail}); raise statement_timeout for this user (ALTER ROLE ... SET).",
    ),
    "57": (errors.WarehouseUnreachable, "{where} ended the connection ({detail})."),
    "08": (errors.WarehouseUnreachable, "The connection to {where} broke."),
    "42": (errors.WarehouseError, "{where} refused a statement: {detail}."),
    "0A000": (
        errors.WarehouseError,
        "{where} cannot do that ({detail}); if a view of yours uses a column that has to change, drop it first.",
    ),
    "2BP01": (
        errors.WarehouseError,
        "{where} cannot do that ({detail}); if a view of yours uses a column that has to change, drop it first.",
    ),
    "25006": (
        errors.WarehouseError,
        "{where} only lets itself be read ({detail}); give the address of the primary.",
    ),
    "25P03": (errors.WarehouseUnreachable, "{where} ended the connection ({detail})."),
    "25P04": (
        errors.WarehouseError,
        "{where} gave up a transaction ({detail}); raise transaction_timeout for this user (ALTER ROLE ... SET).",
    ),
    "54": (errors.WarehouseError, "{where} refused a statement: {detail}. Nothing of this load was written."),
    "40": (errors.WarehouseBusy, "Somebody else changed {where} at the same moment ({detail})."),
    "55P03": (errors.WarehouseBusy, "Somebody else locks a table of {where} for longer than a minute."),
    "22": (errors.WarehouseError, "{where} refused a value ({detail}); nothing of this load was written."),
    "23": (errors.WarehouseError, "{where} refused a row ({detail}); nothing of this load was written."),
}
"""What states of Postgres mean; the longest that fits counts. https://www.postgresql.org/docs/18/errcodes-appendix.html"""


REFUSALS: tuple[tuple[type[errors.TidegateError], str, tuple[str, ...]], ...] = (
    (
        errors.WarehouseUnreachable,
        "{where} has no room for this now; have the connection limit of the user or of the database raised.",
        ("too many connections for",),
    ),
    (
        errors.ConfigError,
        "{where} asks for TLS or does not let this user in from here; "
        "set `sslmode: require`, or have pg_hba.conf changed.",
        ("no pg_hba.conf entry", "pg_hba.conf rejects"),
    ),
    (
        errors.ConfigError,
        "{where} refused the sign-in; check the user and the password.",
        ("password authentication failed", "no password supplied", "role ", "authentication failed"),
    ),
    (
        errors.ConfigError,
        "{where} does not exist; check the name of the database.",
        ('database "',),
    ),
    (
        errors.ConfigError,
        "{where} offers no TLS; set `sslmode: prefer` if the network is yours, or switch TLS on there.",
        ("server does not support ssl",),
    ),
    (
        errors.ConfigError,
        "The certificate of {where} is not to be trusted; "
        "set sslrootcert to the right authority, or check the host.",
        ("certificate verify failed", "does not match host name", "root certificate file"),
    ),
)
"""What libpq says when a sign-in fails, which comes without a state; the first that fits counts."""


def _reason(text: str) -> str:
    """Why a connection failed, as libpq says it, which names hosts and no secrets."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["lost"]
    last = next((line for line in reversed(lines) if "failed: " in line), lines[-1])
    return last.rpartition("failed: ")[2][:120].rstrip(".?")
