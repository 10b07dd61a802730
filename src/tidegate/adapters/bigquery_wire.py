"""How BigQuery is spoken to: sign-in, names, parameters, and the rows of an answer."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import google.auth
import google.cloud.bigquery as bigquery  # noqa: PLR0402  # `from google.cloud` does not say what is missing
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import requests
from google.auth import credentials as identities
from google.auth.transport import requests as transport
from google.oauth2 import service_account

from tidegate import errors
from tidegate.warehouse import base, ddl

API = "https://bigquery.googleapis.com"
SCOPES = ("https://www.googleapis.com/auth/bigquery",)

SILENCE = 120.0
"""Seconds without a byte after which a connection is given up; the API answers within 60, also unfinished."""

PATIENCE = 10.0
"""Seconds for which a single request is repeated; beyond that the whole call is."""

TRAVELLING = {
    "BOOLEAN": "BOOL",
    "BIGINT": "INT64",
    "DOUBLE": "FLOAT64",
    "DECIMAL(38,12)": "BIGNUMERIC",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
    "JSON": "STRING",
    "VARCHAR": "STRING",
}
"""The types as which rows travel, by ours; JSON as text."""

_RESERVED = re.compile(
    "(?i)_(?=(?:TABLE_|FILE_|PARTITION|ROW_TIMESTAMP|_ROOT__|COLIDENTIFIER|CHANGE_(?:SEQUENCE|TYPE|TIMESTAMP)))"
)
_ODD = re.compile(r"[^A-Za-z0-9_]|_(?=0x)")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a dataset is and as whom to come."""

    project: str
    location: str | None = None
    api_base: str = API
    credentials: str | None = None
    """A service account's JSON."""


class Session(transport.AuthorizedSession):
    """The client's HTTP connections, on which no request waits for ever, and which are led nowhere else.

    Whoever answers could send us on to what answers to this machine alone.
    """

    def __init__(self, identity: identities.Credentials) -> None:
        direct = requests.Session()
        direct.max_redirects = 0
        direct.mount("https://", requests.adapters.HTTPAdapter(max_retries=3))  # as the base has it
        super().__init__(identity, auth_request=transport.Request(direct))  # type: ignore[no-untyped-call]

    def request(  # type: ignore[no-untyped-def, override]  # the base has no types
        self, method, url, data=None, headers=None, max_allowed_time=None, timeout=None, **rest
    ):
        """Send a request."""
        return super().request(  # type: ignore[no-untyped-call]  # the base has no types
            method,
            url,
            data,
            headers,
            max_allowed_time,
            timeout or SILENCE,
            **{**rest, "allow_redirects": False},
        )


def client(target: Target) -> bigquery.Client:
    """A client of Google's, which has not said a word yet; raises ConfigError."""
    identity = _identity(target)
    return bigquery.Client(
        project=target.project,
        credentials=identity,
        _http=Session(identity),
        location=target.location,
        client_options={"api_endpoint": target.api_base},
    )


def _identity(target: Target) -> identities.Credentials:
    if target.credentials is not None:
        try:
            made: identities.Credentials = service_account.Credentials.from_service_account_info(
                json.loads(target.credentials), scopes=SCOPES
            )
        except (ValueError, TypeError, AttributeError):
            raise errors.ConfigError(
                "`credentials` of the BigQuery warehouse is no service account's JSON; write "
                "${file:/path/key.json}."
            ) from None
        return made
    if target.api_base.startswith("http://"):
        return identities.AnonymousCredentials()
    found: identities.Credentials = google.auth.default(scopes=SCOPES)[0]
    return found


def retry() -> Any:
    """How often a single request is repeated."""
    return bigquery.DEFAULT_RETRY.with_timeout(PATIENCE).with_delay(initial=0.1, maximum=2.0)


# Names


def spelled(name: str) -> str:
    """A name as BigQuery takes it: what is no letter, digit or underscore of ASCII becomes its number, `_0x2e_`.

    So does a digit at the beginning, and an underscore that begins a name which BigQuery keeps for itself.
    """
    made = _ODD.sub(lambda found: f"_0x{ord(found.group()):x}_", name)
    if made[:1].isdigit() or _RESERVED.match(made):
        made = f"_0x{ord(made[0]):x}_{made[1:]}"
    return made


def unspelled(name: str) -> str:
    """The name behind a name of BigQuery's; one that somebody else gave stays as it is."""
    made = re.sub(r"_0x(?!d[89a-f]..)(10[0-9a-f]{4}|[0-9a-f]{1,5})_", lambda it: chr(int(it[1], 16)), name)
    return made if spelled(made) == name else name


# Parameters


def parameter(name: str, value: Any) -> Any:
    """A value of Python's as a parameter; one that is a parameter already stays."""
    if isinstance(value, (bigquery.ScalarQueryParameter, bigquery.ArrayQueryParameter)):
        return value
    if isinstance(value, (list, tuple)):
        kind = _kind(next((each for each in value if each is not None), ""))
        return bigquery.ArrayQueryParameter(name, kind, list(value))
    return bigquery.ScalarQueryParameter(name, _kind(value), value)


def _kind(value: object) -> str:
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "BOOL"),
        (int, "INT64"),
        (float, "FLOAT64"),
        (decimal.Decimal, "BIGNUMERIC"),
        (dt.datetime, "TIMESTAMP"),
        (dt.date, "DATE"),
    )
    return next((kind for each, kind in kinds if isinstance(value, each)), "STRING")


def structs(name: str, rows: pa.Table) -> bigquery.ArrayQueryParameter:
    """Rows as a parameter: an array of structs, whose fields have the names that BigQuery takes."""
    fields = [(spelled(field.name), TRAVELLING[ddl.sql_type(field)]) for field in rows.schema]
    kind = bigquery.StructQueryParameterType(
        *(bigquery.ScalarQueryParameterType(each, name=column) for column, each in fields)
    )
    values = [
        bigquery.StructQueryParameter(
            None,
            *(
                bigquery.ScalarQueryParameter(column, each, value)
                for (column, each), value in zip(fields, row, strict=True)
            ),
        )
        for row in zip(*(column.to_pylist() for column in rows.columns), strict=True)
    ]
    return bigquery.ArrayQueryParameter(name, kind, values)


def weight(rows: pa.Table) -> int:
    """Bytes that rows take at most as a parameter, with every character escaped."""
    cells = sum(len(spelled(column)) + 40 for column in rows.column_names)
    return int(rows.nbytes) * 6 + int(rows.num_rows) * cells


# Answers


def batch(
    fields: Sequence[bigquery.SchemaField], rows: Sequence[Mapping[str, Any]], *, ours: bool = True
) -> pa.RecordBatch:
    """Rows of an answer of the API, in which every value is text, as Arrow.

    `ours`: of tables of Tidegate's, with their names and JSON as they were written. Else with all that a table may
    hold: arrays and structs are JSON, and what has no type in Arrow is text.
    """
    told = []
    for i, field in enumerate(fields):
        values = [row["f"][i]["v"] for row in rows]
        document = _is_nested(field) or field.field_type == "JSON"
        name = unspelled(field.name) if ours else field.name
        array = _array(field.field_type, values) if ours else _foreign(field, values)
        told.append((pa.field(name, array.type, metadata=base.JSON if document else None), array))
    return pa.RecordBatch.from_arrays(
        [array for _, array in told], schema=pa.schema([field for field, _ in told])
    )


def _array(kind: str, values: Sequence[Any]) -> pa.Array:
    if kind in ("INTEGER", "INT64"):
        return pa.array(values, pa.string()).cast(pa.int64())
    if kind in ("FLOAT", "FLOAT64"):
        return pa.array([v if v is None else float(v) for v in values], pa.float64())
    if kind in ("NUMERIC", "BIGNUMERIC"):
        return pa.array([v if v is None else decimal.Decimal(v) for v in values], pa.decimal128(38, 12))
    if kind in ("BOOLEAN", "BOOL"):
        return pa.array([v if v is None else v == "true" for v in values], pa.bool_())
    if kind == "TIMESTAMP":
        return pa.array(values, pa.string()).cast(pa.int64()).cast(pa.timestamp("us", "UTC"))
    if kind == "DATE":
        return pa.array(values, pa.string()).cast(pa.date32())
    if kind == "JSON":
        return unwrapped(pa.array(values, pa.string()))
    return pa.array(values, pa.string())


def _foreign(field: bigquery.SchemaField, values: Sequence[Any]) -> pa.Array:
    if _is_nested(field):
        texts = [v if v is None else _json.encode(_plain(field, v)).decode() for v in values]
        return pa.array(texts, pa.string())
    if field.field_type == "NUMERIC":
        exact = [v if v is None else decimal.Decimal(v) for v in values]
        return pa.array(exact, pa.decimal128(38, 9))
    if field.field_type == "BYTES":
        return pa.array([v if v is None else base64.b64decode(v) for v in values], pa.binary())
    if field.field_type == "DATETIME":
        return pa.array(values, pa.string()).cast(pa.timestamp("us"))
    if field.field_type in ("BIGNUMERIC", "JSON"):
        return pa.array(values, pa.string())
    return _array(field.field_type, values)


_json = msgspec.json.Encoder(decimal_format="number")


def _is_nested(field: bigquery.SchemaField) -> bool:
    return field.mode == "REPEATED" or field.field_type in ("RECORD", "STRUCT")


def _plain(field: bigquery.SchemaField, value: Any, *, each: bool = False) -> Any:
    """A value of an array or a struct as JSON has it, with all its digits; `each`: it is one of the array's."""
    if value is None:
        return None
    if field.mode == "REPEATED" and not each:
        return [_plain(field, one["v"], each=True) for one in value]
    if field.field_type in ("RECORD", "STRUCT"):
        parts = zip(field.fields, value["f"], strict=True)
        return {part.name: _plain(part, cell["v"]) for part, cell in parts}
    if field.field_type == "JSON":
        return msgspec.Raw(value.encode())
    if field.field_type in ("NUMERIC", "BIGNUMERIC"):
        return decimal.Decimal(value)
    [scalar] = _foreign(bigquery.SchemaField(field.name, field.field_type), [value]).to_pylist()
    if isinstance(scalar, bytes):
        return scalar.hex()
    if isinstance(scalar, dt.date):
        return scalar.isoformat()
    return str(scalar) if isinstance(scalar, float) and not math.isfinite(scalar) else scalar


def unwrapped(column: pa.Array) -> pa.Array:
    """JSON of BigQuery's as the text that was written.

    A document with a number that BigQuery's JSON cannot hold exactly is stored as a JSON string of its text; so is
    a string that could be taken for such a one.
    """
    text = column.cast(pa.string())
    wrapped = pc.match_substring_regex(text, r'^"(?:[{\[0-9-]|\\")')
    if not pc.any(wrapped).as_py():
        return text
    pairs = zip(text.to_pylist(), wrapped.to_pylist(), strict=True)
    return pa.array([json.loads(value) if is_text else value for value, is_text in pairs], pa.string())
