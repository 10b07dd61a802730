"""How SQL Server is spoken to through mssql-python: addresses, values on their way, and what its errors mean."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field

import mssql_python
import pyarrow as pa
import pyarrow.compute as pc

from tidegate import errors
from tidegate.config import warehouses

BATCH = 10_000
"""Rows per batch of a query, at most."""

FIRST = 100
"""Rows of the first batch, which tells how big they are."""

HELD = 16 * 1024 * 1024
"""Bytes of a batch, about, where its rows are as big as those before; a single row may be bigger."""

DOCUMENT = 5_000
"""Rows per document of JSON, at most."""

BYTES = 4 * 1024 * 1024
"""Of the rows of a document, but for a single row."""

PORT = 1433

UNCOPIED = "ActiveDirectoryPassword"
"""The way of signing in that the driver's bulk copies have not learnt.

https://github.com/microsoft/mssql-python/pull/573
"""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is, and how to sign in to it."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    encrypt: str = "yes"
    trust: bool = False
    authentication: str | None = None

    def words(self) -> str:
        """The connection string."""
        told = {
            "Server": f"{self.host},{self.port}",
            "Database": self.database,
            "Encrypt": self.encrypt,
            "TrustServerCertificate": "yes" if self.trust else "no",
            "ConnectRetryCount": "0",  # a connection that was lost has lost its transaction, too
            "UID": self.user,
            "PWD": self.password,
            "Authentication": self.authentication or "",
        }
        return "".join(f"{name}={_braced(value)};" for name, value in told.items() if value)


def address(target: warehouses.SQLServer | warehouses.Synapse) -> Address:
    """Where a configuration says the database is; raises ConfigError for a URL that says less."""
    encrypt, trust = target.encrypt, target.trust_server_certificate
    if target.url is None:
        assert target.host is not None, "The configuration saw to it."
        assert target.database is not None, "The configuration saw to it."
        secret = target.password.get_secret_value() if target.password is not None else ""
        return Address(
            target.host,
            target.port or PORT,
            target.database,
            target.user or "",
            secret,
            encrypt,
            trust,
            target.authentication,
        )
    form = f"{target.schemes[0]}://USER:PASSWORD@HOST:{PORT}/DATABASE"
    try:
        url = urllib.parse.urlsplit(target.url.get_secret_value())
        port = url.port or PORT
    except ValueError:  # whose text may quote the password
        raise errors.ConfigError(
            f"The url of the {target.type} warehouse cannot be read; write {form}, with %XX for special characters."
        ) from None
    told = {name.lower(): value for name, value in urllib.parse.parse_qsl(url.query)}
    unknown = sorted(set(told) - {"encrypt", "trust_server_certificate"})
    database = urllib.parse.unquote(url.path.strip("/"))
    if unknown or not url.hostname or not database:
        raise errors.ConfigError(
            f"The url of a {target.type} warehouse reads {form}"
            + (f"; it knows no {unknown[0]}." if unknown else ", with a host and a database.")
        )
    if "trust_server_certificate" in told:
        trust = told["trust_server_certificate"].lower() in ("yes", "true", "1")
    return Address(
        url.hostname,
        port,
        database,
        urllib.parse.unquote(url.username or ""),
        urllib.parse.unquote(url.password or ""),
        told.get("encrypt", encrypt),
        trust,
        target.authentication,
    )


def _braced(value: str) -> str:
    """A value of a connection string, whatever it holds."""
    return value if re.fullmatch(r"[\w.,:\\-]+", value) else "{" + value.replace("}", "}}") + "}"


# Values


def pieces(rows: pa.Table) -> Iterator[pa.Table]:
    """Rows in parts that make documents of a fair size."""
    if rows.num_rows > 1 and (rows.num_rows > DOCUMENT or rows.nbytes > BYTES):
        half = rows.num_rows // 2
        yield from pieces(rows.slice(0, half))
        yield from pieces(rows.slice(half))
    elif rows.num_rows:
        yield rows


def document(rows: pa.Table) -> str:
    """Rows as JSON: an array of arrays; numbers that JSON's readers may round are texts."""
    check_finite(rows)
    columns = []
    for column in rows.columns:
        values = column.to_pylist()
        if pa.types.is_timestamp(column.type):
            values = [v if v is None else v.isoformat() for v in values]
        elif pa.types.is_decimal(column.type):
            values = [v if v is None else format(v, "f") for v in values]
        columns.append(values)
    return json.dumps(list(zip(*columns, strict=True)), ensure_ascii=False, separators=(",", ":"))


def check_finite(rows: pa.Table) -> None:
    """Raises WarehouseError for numbers that FLOAT has none of."""
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        if pa.types.is_floating(column.type) and pc.all(pc.is_finite(column)).as_py() is False:
            raise errors.WarehouseError(
                f"The column {name} holds infinity or NaN, which SQL Server has no number for; write NULL or text "
                "instead."
            )


def batches(cursor: mssql_python.Cursor) -> Iterator[pa.RecordBatch]:
    """The rows of the query that a cursor ran, at least one batch."""
    size, batch = FIRST, cursor.arrow_batch(FIRST)
    yield _plain(batch)
    while batch.num_rows == size:
        size = max(1, min(10 * size, BATCH, HELD * size // max(1, batch.nbytes)))
        batch = cursor.arrow_batch(size)
        if batch.num_rows:
            yield _plain(batch)


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch in the types of `ddl.ARROW`."""
    arrays = []
    for column in batch.columns:
        kind = column.type
        if pa.types.is_integer(kind):
            kind = pa.int64()
        elif pa.types.is_large_string(kind):
            kind = pa.string()
        elif pa.types.is_timestamp(kind) and kind.tz is not None:
            kind = pa.timestamp("us", "UTC")
        arrays.append(column if kind == column.type else column.cast(kind))
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def native(kind: str | None, size: int, digits: int, places: int, collation: str | None) -> str:
    """A type as it is declared."""
    if kind in ("nvarchar", "varchar", "nchar", "char"):
        length = "max" if size < 0 else str(size // 2 if kind.startswith("n") else size)
        return f"{kind}({length}) collate {collation}"
    if kind in ("decimal", "numeric"):
        return f"{kind}({digits},{places})"
    if kind in ("datetimeoffset", "datetime2", "time"):
        return f"{kind}({places})"
    return kind or "unknown"


def as_text(column: str, there: str, kind: str) -> str | None:
    """SQL for the text of a value whose type widens, None where the server's own conversion loses nothing."""
    if kind not in ("VARCHAR", "JSON"):
        return None
    if there == "BOOLEAN":
        return f"CASE WHEN {column} = 1 THEN 'true' WHEN {column} = 0 THEN 'false' END"
    if there == "DOUBLE":
        # Its own conversion keeps 6 digits; 15 are the most that are always as they were written, 17 always enough.
        # Rounded to 15, the biggest numbers are none any more.
        short, long = (f"FORMAT({column}, '{digits}', 'en-US')" for digits in ("G15", "G17"))
        return f"CASE WHEN TRY_CAST({short} AS FLOAT) = {column} THEN {short} ELSE {long} END"
    if there == "TIMESTAMP WITH TIME ZONE":
        text = f"CONVERT(NVARCHAR(40), {column}, 121)"
        return f"'\"' + {text} + '\"'" if kind == "JSON" else text
    return None


# Errors


def meaning(error: Exception, where: str, schema: str, user: str) -> errors.TidegateError | None:
    """The error of ours that says what an error of the driver means, None where it is none of the driver's."""
    if isinstance(error, mssql_python.Error):
        state, said = error.driver_error, error.ddbc_error
    elif isinstance(error, RuntimeError | ValueError | OSError) and _is_copying(error):
        state, said = "", str(error)
    elif isinstance(error, RuntimeError) and (column := _UNREADABLE.search(str(error))):
        return errors.WarehouseError(
            f"The column {column['name']} of the query on {where} has a type that the driver cannot read, as it is "
            "with SQL_VARIANT; cast it to another one."
        )
    elif isinstance(error, RuntimeError | ImportError) and "driver" in str(error).lower():
        return errors.ConfigError(
            "The driver of SQL Server cannot be loaded; install the library it needs "
            "(`apt-get install libltdl7` on Debian and Ubuntu)."
        )
    else:
        return None
    for pattern, kind, sentence in _MEANINGS:
        found = pattern.search(f"{state}: {said}")
        if found is not None:
            names = {name: value or "" for name, value in found.groupdict().items()}
            return kind(sentence.format(where=where, user=user, mine=schema, **names))
    return errors.WarehouseError(f"{where} refused a statement ({state or 'no reason given'}).")


_UNREADABLE = re.compile(r"Unsupported data type .*for column - (?P<name>.{1,128}), Type - ", re.DOTALL)


def _is_copying(error: Exception) -> bool:
    """Does an error come from the part of the driver that copies in bulk, which has no type of its own for them?"""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "bulkcopy_arrow":
            return True
        trace = trace.tb_next
    return False


_MEANINGS: list[tuple[re.Pattern[str], type[errors.TidegateError], str]] = [
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), kind, sentence)
    for pattern, kind, sentence in (
        (
            r"is not allowed to access the server|Connection was denied",
            errors.ConfigError,
            "{where} lets nobody in from this address; add it to the rules of the server's firewall.",
        ),
        (
            r"AADSTS\d",
            errors.ConfigError,
            "Microsoft Entra ID refused {user}, who wanted to sign in to {where}; check `authentication`, the user "
            "and the password.",
        ),
        (
            r"Entra ID access token|Azure AD authentication failed|Failed to acquire token",
            errors.WarehouseUnreachable,
            "Microsoft Entra ID gave no token for {where}; check `authentication`, and that there is an identity "
            "to sign in with on this machine.",
        ),
        (
            # Resource limits, failovers and restarts, most of them Azure's: all of them end by themselves.
            # https://learn.microsoft.com/en-us/azure/azure-sql/database/troubleshoot-common-errors-issues
            r"not currently available|is currently busy|currently too busy|limit for the .{1,40} has been reached"
            r"|encountered an error processing your request|not enough resources to process|is warming up"
            r"|too many operations in progress|script upgrade mode|not ready to accept new|is in transition"
            r"|being recovered|not been recovered yet|replica is not in the PRIMARY|SHUTDOWN is in progress"
            r"|is in the kill state|obtain a LOCK resource|insufficient system memory",
            errors.WarehouseUnreachable,
            "{where} takes no work at the moment, since it is starting, moving or too busy; wait a little, or give "
            "it more resources.",
        ),
        (
            r"(?:since|when|because) it is paused",
            errors.WarehouseUnreachable,
            "{where} is paused; resume it.",
        ),
        (
            r"Cannot open (?:user default )?database|Cannot open server",
            errors.ConfigError,
            "{where} cannot be opened; check the name of the database, and that {user} is a user of it "
            "(CREATE USER [{user}] FOR LOGIN [{user}];).",
        ),
        (
            r"Login failed|Invalid authorization specification",
            errors.ConfigError,
            "{where} refused the sign-in of {user}; check the user, the password and the database, and that the "
            "user is one of it (CREATE USER [{user}] FOR LOGIN [{user}];).",
        ),
        (
            r"certificate verify failed|certificate chain|SSL Provider|UnknownIssuer|invalid peer certificate",
            errors.ConfigError,
            "The certificate of {where} is not trusted here; install its authority's certificate, or set "
            "`trust_server_certificate: true`.",
        ),
        (
            r"filegroup is full|log for database .{1,200} is full|Could not allocate|size quota|disk space",
            errors.WarehouseFull,
            "The disk of {where} is full; nothing of this load was written.",
        ),
        (
            r"deadlock|Lock request time ?out|update conflict|could not serialize",
            errors.WarehouseBusy,
            "Somebody else changed {where} at the same moment.",
        ),
        (
            r"(?P<right>CREATE [A-Z]+) permission (?:was )?denied in database",
            errors.WarehouseError,
            "{where} forbids it; run GRANT {right} TO [{user}]; there.",
        ),
        (
            r"The (?P<right>[A-Z]+) permission was denied on the object .{1,300} schema '(?P<schema>[^']{1,128})'",
            errors.WarehouseError,
            "{where} forbids it; run GRANT {right} ON SCHEMA::[{schema}] TO [{user}]; there.",
        ),
        (
            r"specified schema name \"(?P<schema>[^\"]{1,128})\" either does not exist or you do not have",
            errors.WarehouseError,
            "{where} forbids it; run GRANT ALTER ON SCHEMA::[{schema}] TO [{user}]; there.",
        ),
        (
            r"There is already an object named",
            errors.WarehouseError,
            "{where} has tables that it does not show; run GRANT SELECT, INSERT, UPDATE, DELETE "
            "ON SCHEMA::[{mine}] TO [{user}]; there.",
        ),
        (
            r"do not have permission|permission was denied|permissions? (?:is|are) required",
            errors.WarehouseError,
            "{where} forbids it; run GRANT ALTER ON SCHEMA::[{mine}] TO [{user}]; there.",
        ),
        (
            r"read[- _]only",
            errors.WarehouseError,
            "{where} only lets itself be read; give the address of the primary.",
        ),
        (
            r"Operation cancel",
            errors.WarehouseError,
            "A statement was stopped on {where}.",
        ),
        (
            r"Client unable to establish|Communication link failure|Connection is dead|connection was "
            r"|TCP Provider|connection (?:has been |is )?(?:closed|reset|not open|does not exist)|broken pipe|EOF"
            r"|Timeout expired|Connection not open|is shut ?down"
            r"|Network|early eof|os error|timed? ?out",
            errors.WarehouseUnreachable,
            "No answer from {where}; check that it runs and can be reached from here.",
        ),
        (
            r"Invalid object name '(?:sys\.)?OPENJSON'",
            errors.ConfigError,
            "{where} is kept as it was before SQL Server 2016; "
            "run ALTER DATABASE CURRENT SET COMPATIBILITY_LEVEL = 130; there.",
        ),
        (
            r"Invalid object name '(?P<name>[^']{1,300})'",
            errors.WarehouseError,
            "{where} has no table {name}.",
        ),
        (
            r"would be truncated in table '.{1,300}', column '(?P<column>[^']{1,128})'",
            errors.WarehouseError,
            "{where} has no room for a text of the column {column}; nothing of this load was written.",
        ),
        (
            r"Violation of|duplicate key|would be truncated|Cannot insert the value NULL|Error converting|overflow"
            r"|maximum limit|Conversion failed|index entry",
            errors.WarehouseError,
            "{where} refused a value; nothing of this load was written.",
        ),
    )
]
"""What the server's words mean; the first that fits counts. The driver hands on no numbers of errors."""
