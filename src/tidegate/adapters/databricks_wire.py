"""How a Databricks workspace is spoken to: statements, results, files in volumes, and what refusals mean.

The APIs are spoken directly: of the official driver the way over the Statement Execution API is deprecated, hides
the text of every refusal, and repeats requests on its own.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import urllib3

from tidegate import config, errors
from tidegate.warehouse import base

STATEMENTS = "/api/2.0/sql/statements"
FILES, FOLDERS = "/api/2.0/fs/files", "/api/2.0/fs/directories"

WAIT = "10s"
"""How long a request waits for its statement; what takes longer is asked for by its number."""

PATIENCE = 60.0
"""How many seconds a statement is asked for without an answer, before it is given up."""


ARROW: dict[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(),
    "BYTE": pa.int64(),
    "SHORT": pa.int64(),
    "INT": pa.int64(),
    "LONG": pa.int64(),
    "FLOAT": pa.float64(),
    "DOUBLE": pa.float64(),
    "DECIMAL": pa.decimal128(38, 12),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us", "UTC"),
    "TIMESTAMP_NTZ": pa.timestamp("us"),
}
"""Types by their names in a manifest; all others come as text."""

EXACT: dict[str, pa.DataType] = {
    "BYTE": pa.int8(),
    "SHORT": pa.int16(),
    "INT": pa.int32(),
    "FLOAT": pa.float32(),
    "BINARY": pa.binary(),
    "NULL": pa.null(),
}
"""And as they are sent, where that is another."""

NESTED = ("ARRAY", "MAP", "STRUCT", "VARIANT")


PASSING = (429, 500, 502, 503, 504)
"""HTTP's words for "not now"."""


class Refused(Exception):
    """What the service answered instead of doing it; `text` may quote values."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(f"{status} {code}")
        self.status, self.code, self.text = status, code, text


@dataclass(frozen=True, slots=True)
class Address:
    """A SQL warehouse of a workspace, and a token for it."""

    workspace: str
    """With its scheme: `https://dbc-1234.cloud.databricks.com`."""
    compute: str
    """The SQL warehouse's id."""
    token: str = field(repr=False)
    catalog: str = "main"


def address(target: config.Databricks) -> Address:
    """Where a configuration points to; raises ConfigError."""
    host, path, catalog = target.host, target.http_path, target.catalog
    token = target.token.get_secret_value() if target.token is not None else ""
    if target.url is not None:
        told = urllib.parse.urlsplit(target.url.get_secret_value())
        options = dict(urllib.parse.parse_qsl(told.query))
        path = options.get("http_path")
        scheme = "http" if options.get("secure", "true").lower() in ("0", "false", "no") else "https"
        host = f"{scheme}://{told.netloc.rpartition('@')[2]}"
        token = urllib.parse.unquote(told.password or "")
        catalog = urllib.parse.unquote(told.path.strip("/")) or catalog
    found = re.search(r"/(?:warehouses|endpoints)/([^/?&]+)", path or "")
    if found is None:
        raise errors.ConfigError("`http_path` names no SQL warehouse; write /sql/1.0/warehouses/ID.")
    assert host is not None, "The configuration was checked."
    workspace = host.rstrip("/") if "://" in host else f"https://{host.rstrip('/')}"
    return Address(workspace, found.group(1), token, catalog)


def schema(answer: dict[str, Any]) -> pa.Schema:
    """The columns that an answer tells of."""
    columns = answer["manifest"].get("schema", {}).get("columns", [])
    return pa.schema([pa.field(told["name"], ARROW.get(told["type_name"], pa.string())) for told in columns])


def exact(answer: dict[str, Any]) -> pa.Schema:
    """The columns of an answer in the types that the service sends; what it nests is JSON."""
    columns = answer["manifest"].get("schema", {}).get("columns", [])
    return pa.schema([_exact(told) for told in columns])


def _exact(told: dict[str, Any]) -> pa.Field:
    kind = told["type_name"]
    if kind in NESTED:
        return pa.field(told["name"], pa.string(), metadata=base.JSON)
    if kind == "DECIMAL":
        return pa.field(told["name"], pa.decimal128(told["type_precision"], told["type_scale"]))
    return pa.field(told["name"], EXACT.get(kind) or ARROW.get(kind, pa.string()))


class Workspace:
    """Connections to a workspace; all calls raise Refused and what urllib3 raises."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._pool = urllib3.PoolManager(
            maxsize=2, retries=False, timeout=urllib3.Timeout(connect=10, read=120)
        )
        self._is_stopped = threading.Event()

    def close(self) -> None:
        """Drop the connections."""
        self._pool.clear()

    def stop(self) -> None:
        """End the statement that another thread waits for, which raises Refused there."""
        self._is_stopped.set()

    # Statements

    def run(self, text: str, parameters: Sequence[object] = (), *, wait: str = WAIT) -> dict[str, Any]:
        """Run a statement until it is done, and give its answer.

        Where no answer comes any more, the statement is told to end, so far as its number is known.
        """
        answer = self.call(
            "POST",
            STATEMENTS,
            {
                "warehouse_id": self.address.compute,
                "catalog": self.address.catalog,
                "statement": text,
                "parameters": [_parameter(f"p{n}", value) for n, value in enumerate(parameters)],
                "disposition": "EXTERNAL_LINKS",
                "format": "ARROW_STREAM",
                "wait_timeout": wait,
                "on_wait_timeout": "CONTINUE",
            },
        )
        number = f"{STATEMENTS}/{answer['statement_id']}"
        pause = 0.02
        try:
            while answer["status"]["state"] in ("PENDING", "RUNNING"):
                if self._is_stopped.wait(pause):
                    raise Refused(200, "CANCELED", "")
                pause = min(pause * 1.5, 2.0)
                answer = self._asked(number)
        except BaseException:
            with contextlib.suppress(Refused, urllib3.exceptions.HTTPError):
                self.call("POST", f"{number}/cancel")
            raise
        if answer["status"]["state"] != "SUCCEEDED":
            told = answer["status"].get("error", {})
            raise Refused(200, told.get("error_code", answer["status"]["state"]), told.get("message", ""))
        if answer.get("manifest", {}).get("truncated"):
            raise Refused(200, "TRUNCATED", "")
        return answer

    def _asked(self, number: str) -> dict[str, Any]:
        """How a statement is doing, which does not mind when nobody can be reached for a while."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self.call("GET", number)
            except (Refused, urllib3.exceptions.HTTPError) as error:
                passes = not isinstance(error, Refused) or error.status in PASSING
                if not passes or time.monotonic() > deadline or self._is_stopped.wait(0.5):
                    raise

    def batches(self, answer: dict[str, Any]) -> Iterator[pa.RecordBatch]:
        """The rows of a statement, chunk by chunk, as the service sends them; at least one batch."""
        if not answer["manifest"].setdefault("total_row_count", 0):
            yield pa.RecordBatch.from_pylist([], schema=exact(answer))
        links, left = (
            answer.get("result", {}).get("external_links", []),
            answer["manifest"]["total_row_count"],
        )
        while links:
            for link in links:
                for batch in self._chunk(link["external_link"], link.get("http_headers")):
                    left -= batch.num_rows
                    yield batch
            # Links are good for minutes only, so each is asked for when the one before was read.
            following = links[-1].get("next_chunk_internal_link")
            links = self.call("GET", following).get("external_links", []) if following else []
        if left:
            raise Refused(503, "CHUNK", "")

    def _chunk(self, link: str, headers: dict[str, str] | None) -> Iterator[pa.RecordBatch]:
        """A chunk from where the cloud keeps it; the link is signed, and the token must not go there.

        `headers` are those that the service wants to be sent, say with the key that the chunk is encrypted by.
        """
        asked = self._pool.request("GET", link, headers=headers, preload_content=False)
        with contextlib.closing(asked) as answer:
            if answer.status >= 300:
                raise Refused(503, "CHUNK", "")
            try:
                with pa.ipc.open_stream(answer) as batches:
                    for batch in batches:
                        if self._is_stopped.is_set():
                            raise Refused(200, "CANCELED", "")
                        yield batch
            except (pa.ArrowInvalid, OSError):  # the rest is missing
                raise Refused(503, "CHUNK", "") from None

    # Files

    def put(self, path: str, data: bytes) -> None:
        """Write a file of a volume."""
        self.call("PUT", f"{FILES}{urllib.parse.quote(path)}?overwrite=true", data)

    def delete(self, path: str) -> None:
        """Delete a file of a volume."""
        self.call("DELETE", f"{FILES}{urllib.parse.quote(path)}")

    def listed(self, folder: str) -> Iterator[tuple[str, dt.datetime]]:
        """The files of a folder in a volume, and when each was written."""
        token = ""
        while True:
            asked = f"?page_token={urllib.parse.quote(token, safe='')}" if token else ""
            answer = self.call("GET", f"{FOLDERS}{urllib.parse.quote(folder)}{asked}")
            for told in answer.get("contents", []):
                if not told.get("is_directory"):
                    yield told["path"], dt.datetime.fromtimestamp(told["last_modified"] / 1000, dt.UTC)
            token = answer.get("next_page_token", "")
            if not token:
                return

    def call(self, method: str, path: str, body: dict[str, Any] | bytes | None = None) -> dict[str, Any]:
        """One request to the workspace."""
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        answer = self._pool.request(
            method,
            self.address.workspace + path,
            body=json.dumps(body).encode() if isinstance(body, dict) else body,
            headers={
                "Authorization": f"Bearer {self.address.token}",
                "Content-Type": kind,
                "User-Agent": "tidegate",
            },
            redirect=False,
        )
        try:
            told = json.loads(answer.data) if answer.data else {}
        except ValueError:
            told = None
        if answer.status >= 300:
            told = told if isinstance(told, dict) else {}
            raise Refused(answer.status, str(told.get("error_code", "")), str(told.get("message", "")))
        if not isinstance(told, dict):
            raise Refused(404, "NO_API", "")
        return told


def explained(error: Exception, where: str) -> errors.TidegateError | None:
    """What an answer means; its own text may quote values, so only names pass."""
    if isinstance(error, urllib3.exceptions.SSLError):
        return errors.ConfigError(
            f"{where} speaks no TLS, or its certificate is not to be trusted; check `host`, or point SSL_CERT_FILE "
            "to the right authority."
        )
    if isinstance(error, urllib3.exceptions.LocationValueError):
        return errors.ConfigError("`host` is no address of a workspace; write dbc-1234.cloud.databricks.com.")
    if isinstance(error, urllib3.exceptions.HTTPError):
        return errors.WarehouseUnreachable(
            f"No answer from {where} ({type(error).__name__}); check that it can be reached from here."
        )
    if not isinstance(error, Refused):
        return None
    denied = _DENIED.search(error.text)
    if denied is not None:
        what, kind, name = denied.groups()
        quoted = ".".join(f"`{part}`" for part in name.strip("'`").split("."))
        return errors.WarehouseError(
            f"{where} forbids it; run GRANT {what.upper()} ON {kind.upper()} {quoted} TO the token's owner."
        )
    if error.status in (401, 403):
        return errors.ConfigError(
            f"{where} refused the sign-in; check the token, and that it may use this SQL warehouse."
        )
    if error.status == 404 and "warehouse" in error.text.lower():
        return errors.ConfigError(f"{where} has no such SQL warehouse; check `http_path`.")
    if error.status in (301, 302, 303, 307, 308, 404) and not error.text:
        return errors.ConfigError(f"What answers as {where} is no Databricks workspace; check `host`.")
    if error.status in PASSING:
        return errors.WarehouseUnreachable(f"{where} does not answer now ({error.status}).")
    for pattern, fault, text in _FATAL:
        found = pattern.search(f"{error.code} {error.text}")
        if found:
            return fault(text.format(where=where, name=(found.groups() or ("",))[0]))
    told = re.search(r"\[([A-Z_.]+)\]", error.text)
    return errors.WarehouseError(
        f"{where} refused a statement ({told.group(1) if told else error.code or error.status})."
    )


_DENIED = re.compile(
    r"does not have (?:privilege )?([A-Z ,_]+?) on (\w+) ('[^']+'|`[^`]+`|\S+?)[.\s]*(?:$|\s)"
)

_FATAL: list[tuple[re.Pattern[str], type[errors.TidegateError], str]] = [
    (
        re.compile(r"TABLE_OR_VIEW_NOT_FOUND\].*?[`'\"]([\w`.%~-]+)[`'\"]"),
        errors.WarehouseError,
        "{where} has no such table ({name}).",
    ),
    (
        re.compile(r"NO_SUCH_CATALOG\w*\]? .*?'?([\w-]+)'? (?:was|not)"),
        errors.ConfigError,
        "{where} has no catalog {name}; check `catalog`.",
    ),
    (re.compile(r"NO_SUCH_CATALOG"), errors.ConfigError, "{where} has no such catalog; check `catalog`."),
    (
        re.compile(r"DELTA_CONCURRENT|Concurrent\w*Exception|DELTA_METADATA_CHANGED"),
        errors.WarehouseBusy,
        "Somebody else changed a table of {where} at the same moment.",
    ),
    (
        re.compile(r"QUOTA|RESOURCE_EXHAUSTED|No space left", re.IGNORECASE),
        errors.WarehouseFull,
        "{where} has no room left (a quota or a disk is full); this load was not written.",
    ),
    (re.compile(r"^TRUNCATED"), errors.WarehouseError, "{where} gives no more than 100 GiB for one query."),
    (
        re.compile(r"TEMPORARILY_UNAVAILABLE|WORKSPACE_TEMPORARILY|CANCELED|CLOSED"),
        errors.WarehouseUnreachable,
        "{where} stopped the statement.",
    ),
]
"""What refusals mean; the first that fits counts. https://docs.databricks.com/aws/en/error-messages/error-classes"""


def _parameter(name: str, value: object) -> dict[str, object]:
    """A value with its type, as text. https://docs.databricks.com/api/workspace/statementexecution/executestatement"""
    if isinstance(value, bool):
        return {"name": name, "value": str(value).lower(), "type": "BOOLEAN"}
    if isinstance(value, int):
        return {"name": name, "value": str(value), "type": "BIGINT"}
    if isinstance(value, float):
        return {"name": name, "value": repr(value), "type": "DOUBLE"}
    if isinstance(value, dt.datetime):
        return {"name": name, "value": value.isoformat(), "type": "TIMESTAMP"}
    return {"name": name, "value": None if value is None else str(value), "type": "STRING"}
