"""A stand-in for a Databricks workspace: the Statement Execution API, the Files API and sessions, over DuckDB.

It answers as the documentation says (https://docs.databricks.com/api/workspace/statementexecution), and is harsh
where the service is: statements may be pending before they are done and go on when nobody waits any more, results
come in chunks behind signed links that refuse a token and want a key, names with dots and spaces are refused, and
properties of tables that nobody knows. What SQL means is DuckDB's matter, once it is translated (`databricks_sql`);
every SQL warehouse is a DuckDB of its own, in whose sessions it is New York's time.

`Workspace.faults` makes requests fail: see `Fault`. The `reader` may only read, the `loader` make no schemas.
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import datetime as dt
import http.server
import io
import itertools
import json
import re
import socket
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import sqlglot
from databricks_sql import PREPARED, Refused, translated

TOKENS = {f"dapi-{who}": f"{who}@example.com" for who in ("writer", "loader", "reader")}
KEY = {"x-stand-in-customer-key": "k3y"}
"""A header that a link says is to be sent with it."""
CHUNK = 10_000
"""Rows of a chunk."""
PAGE = 2
"""Files of a page of a folder; the service has a thousand."""


@dataclass
class Fault:
    """What happens to the next request that matches: an error, or a connection that ends."""

    match: str
    code: str = "BAD_REQUEST"
    text: str = ""
    status: int = 200
    cut: str = ""
    """`before` or `after` it was done, or in the `middle` of a chunk."""


@dataclass
class Compute:
    """One SQL warehouse: a DuckDB and the volumes beside it."""

    folder: Path
    connection: duckdb.DuckDBPyConnection
    lock: threading.Lock = field(default_factory=threading.Lock)
    volumes: set[str] = field(default_factory=set)


class Workspace:
    """All that a workspace knows."""

    def __init__(self, folder: Path) -> None:
        self.computes: dict[str, Compute] = {}
        self.statements: dict[str, dict[str, Any]] = {}
        self.chunks: dict[tuple[str, int], bytes] = {}
        self.faults: list[Fault] = []
        self.ran: list[str] = []
        self.canceled: list[str] = []
        self.workers = concurrent.futures.ThreadPoolExecutor(max_workers=16)
        self.numbers = itertools.count(1)
        self.folder = folder
        self.port = 0
        self.server: Server | None = None

    def new(self) -> str:
        """The id of a SQL warehouse that nobody used before."""
        for old in list(self.computes)[:-1]:  # nobody asks those any more
            self.computes.pop(old).connection.close()
        name = f"w{next(self.numbers)}"
        connection = duckdb.connect(":memory:", config={"threads": 2})
        for each in PREPARED:
            connection.execute(each)
        self.computes[name] = Compute(self.folder / name, connection)
        return name

    def fault(self, text: str) -> Fault | None:
        """The fault that is due."""
        found = next((each for each in self.faults if re.search(each.match, text)), None)
        if found is not None:
            self.faults.remove(found)
        return found

    def close(self) -> None:
        """Let go of everything."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
        self.workers.shutdown()
        for compute in self.computes.values():
            compute.connection.close()
        self.computes.clear()

    # Statements

    def execute(self, told: dict[str, Any], user: str) -> dict[str, Any]:
        """POST /api/2.0/sql/statements"""
        if told.get("format") == "ARROW_STREAM" and told.get("disposition") != "EXTERNAL_LINKS":
            raise Refused("INVALID_PARAMETER_VALUE", "ARROW_STREAM is only for EXTERNAL_LINKS", 400)
        if len(told["statement"]) > 16 * 2**20:
            raise Refused("INVALID_PARAMETER_VALUE", "The statement is too long", 400)
        wait = int(told.get("wait_timeout", "10s").removesuffix("s"))
        if wait and not 5 <= wait <= 50:
            raise Refused("INVALID_PARAMETER_VALUE", "wait_timeout is 0s, or 5s to 50s", 400)
        compute = self.computes.get(told["warehouse_id"])
        if compute is None:
            raise Refused(
                "RESOURCE_DOES_NOT_EXIST", f"SQL warehouse {told['warehouse_id']} does not exist", 404
            )
        fault = self.fault(told["statement"])
        if fault is not None and fault.status != 200:
            raise Refused(fault.code, fault.text, fault.status)
        if fault is not None and fault.cut == "before":
            raise ConnectionAbortedError
        number = f"01ef-{next(self.numbers):08x}"
        self.statements[number] = {"statement_id": number, "status": {"state": "PENDING"}}
        job = self.workers.submit(self.done, compute, number, told, user, fault)
        if fault is not None and fault.cut == "after":
            job.result()
            raise ConnectionAbortedError
        if not wait:
            return {"statement_id": number, "status": {"state": "PENDING"}}
        if next(self.numbers) % 7:
            with contextlib.suppress(TimeoutError):
                job.result(wait)
        return self.statements[number]

    def done(
        self, compute: Compute, number: str, told: dict[str, Any], user: str, fault: Fault | None
    ) -> None:
        """Run a statement, and say what came of it."""
        answer: dict[str, Any] = {"statement_id": number, "status": {"state": "SUCCEEDED"}}
        try:
            if fault is not None and fault.text:
                raise Refused(fault.code, fault.text)
            if told.get("catalog", "main") != "main":
                raise Refused(
                    "BAD_REQUEST", f"[NO_SUCH_CATALOG_EXCEPTION] Catalog '{told['catalog']}' was not found."
                )
            rows = self.run(compute, told["statement"], told.get("parameters") or [], user)
            answer |= self.result(number, rows, told)
        except Refused as error:
            state = "CANCELED" if error.code == "CANCELED" else "FAILED"
            answer["status"] = {"state": state, "error": {"error_code": error.code, "message": str(error)}}
        except Exception as error:
            answer["status"] = {"state": "FAILED", "error": {"error_code": "BUG", "message": repr(error)}}
        self.statements[number] = answer

    def cancel(self, number: str) -> dict[str, Any]:
        """POST /api/2.0/sql/statements/ID/cancel"""
        self.canceled.append(number)
        while self.statements[number]["status"]["state"] == "PENDING":  # it may not have begun yet
            for compute in self.computes.values():
                compute.connection.interrupt()
            time.sleep(0.01)
        return {}

    def run(self, compute: Compute, text: str, parameters: list[dict[str, Any]], user: str) -> pa.Table:
        """The rows of a statement, as DuckDB has them."""
        values = {each["name"]: _value(each) for each in parameters}
        is_query = re.match(r"\s*(SELECT|WITH)\b", text, re.IGNORECASE)
        if (user.startswith("reader") and not is_query) or (
            user.startswith("loader") and text.startswith("CREATE SCHEMA")
        ):
            what = re.match(r"\s*(CREATE SCHEMA|CREATE TABLE|\w+)", text)
            assert what is not None
            kind = (
                "CREATE SCHEMA on Catalog 'main'"
                if what[1] == "CREATE SCHEMA"
                else "MODIFY on Table 'main.stripe.t'"
            )
            raise Refused(
                "PERMISSION_DENIED",
                f"[INSUFFICIENT_PERMISSIONS] PERMISSION_DENIED: User does not have {kind}.",
            )
        with compute.lock:
            self.ran.append(text)
            rows = pa.table({})
            if found := re.match(r"CREATE VOLUME IF NOT EXISTS `([^`]+)`\.`([^`]+)`$", text):
                compute.volumes.add(f"/Volumes/main/{found[1].lower()}/{found[2].lower()}")
                return rows
            if re.match(r"SET STATEMENT_TIMEOUT = \d+$", text):
                return rows  # of a session that ends with this statement
            try:
                for each in translated(text, user, lambda path: str(self.there(compute, path))):
                    used = {name: value for name, value in values.items() if f"${name}" in each}
                    if re.match(r"\s*(SELECT|WITH)\b", each):
                        rows = compute.connection.sql(each, params=used or None).to_arrow_table()
                    else:
                        compute.connection.execute(each, used or None)
            except duckdb.InterruptException:
                raise Refused("CANCELED", "") from None
            except duckdb.CatalogException as error:
                name = re.search(r"name (\S+) does not|Schema with name (\S+)", str(error))
                told = next(filter(None, name.groups())) if name else "?"
                raise Refused(
                    "BAD_REQUEST", f"[TABLE_OR_VIEW_NOT_FOUND] The table or view `{told}` cannot be found."
                ) from None
            except (duckdb.Error, sqlglot.errors.ParseError) as error:
                raise Refused("BAD_REQUEST", f"[PARSE_SYNTAX_ERROR] {error}") from None
        return rows

    def result(self, number: str, rows: pa.Table, told: dict[str, Any]) -> dict[str, Any]:
        """A manifest and the first chunk."""
        columns = [
            {"name": each.name, "position": i, **_kind(each.type)} for i, each in enumerate(rows.schema)
        ]
        manifest: dict[str, Any] = {
            "format": told.get("format", "JSON_ARRAY"),
            "schema": {"column_count": len(columns), "columns": columns},
            "total_row_count": rows.num_rows,
            "total_byte_count": rows.nbytes,
            "truncated": False,
        }
        if told.get("format") != "ARROW_STREAM":
            data = [[_json(v) for v in each.values()] for each in rows.to_pylist()]
            manifest["total_chunk_count"] = 1 if data else 0
            return {
                "manifest": manifest,
                "result": {"chunk_index": 0, "row_count": len(data), "data_array": data},
            }
        count = -(-rows.num_rows // CHUNK)
        for index in range(count):
            buffer = io.BytesIO()
            part = rows.slice(index * CHUNK, CHUNK)
            with pa.ipc.new_stream(buffer, part.schema) as writer:
                writer.write_table(part)
            self.chunks[number, index] = buffer.getvalue()
        manifest["total_chunk_count"] = count
        return {"manifest": manifest, "result": self.links(number, 0, count, rows.num_rows) if count else {}}

    def links(self, number: str, index: int, count: int, total: int) -> dict[str, Any]:
        """The link of one chunk."""
        expires = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=15)
        link: dict[str, Any] = {
            "chunk_index": index,
            "row_offset": index * CHUNK,
            "row_count": min(CHUNK, total - index * CHUNK),
            "byte_count": len(self.chunks[number, index]),
            "http_headers": KEY,
            "external_link": f"http://127.0.0.1:{self.port}/cloud/{number}/{index}?signature=x",
            "expiration": expires.isoformat().replace("+00:00", "Z"),
        }
        if index + 1 < count:
            link["next_chunk_index"] = index + 1
            link["next_chunk_internal_link"] = f"/api/2.0/sql/statements/{number}/result/chunks/{index + 1}"
        return {"external_links": [link]}

    # Files

    def file(self, compute: Compute, path: str) -> Path:
        """Where a file of a volume is kept."""
        volume = "/".join(path.split("/")[:5])
        if volume not in compute.volumes:
            raise Refused("NOT_FOUND", f"Volume {volume} does not exist.", 404)
        return compute.folder / path.removeprefix("/Volumes/")

    def there(self, compute: Compute, path: str) -> Path:
        """Where a file of a volume is kept that a statement reads."""
        found = self.file(compute, path)
        if "/_" in path or "/." in path or not found.exists():
            raise Refused("BAD_REQUEST", f"[PATH_NOT_FOUND] Path does not exist: {path}")
        return found


def _value(told: dict[str, Any]) -> object:
    value, kind = told.get("value"), told.get("type", "STRING")
    if value is None:
        return None
    if kind in ("BIGINT", "INT"):
        return int(value)
    if kind == "DOUBLE":
        return float(value)
    if kind == "BOOLEAN":
        return value == "true"
    if kind == "TIMESTAMP":
        return dt.datetime.fromisoformat(value)
    return str(value)


def _kind(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_decimal(kind):
        return {"type_name": "DECIMAL", "type_text": f"DECIMAL({kind.precision},{kind.scale})",
                "type_precision": kind.precision, "type_scale": kind.scale}  # fmt: skip
    for test, name in (
        (pa.types.is_boolean, "BOOLEAN"),
        (pa.types.is_int32, "INT"),
        (pa.types.is_integer, "LONG"),
        (pa.types.is_float32, "FLOAT"),
        (pa.types.is_floating, "DOUBLE"),
        (pa.types.is_date, "DATE"),
        (pa.types.is_binary, "BINARY"),
        (pa.types.is_list, "ARRAY"),
        (pa.types.is_map, "MAP"),
        (pa.types.is_struct, "STRUCT"),
    ):
        if test(kind):
            return {"type_name": name, "type_text": name}
    if pa.types.is_timestamp(kind):
        name = "TIMESTAMP" if kind.tz else "TIMESTAMP_NTZ"
        return {"type_name": name, "type_text": name}
    return {"type_name": "STRING", "type_text": "STRING"}


def _json(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: else the second waits 40 ms until the first is acknowledged
    disable_nagle_algorithm = True
    workspace: Workspace

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def answer(self) -> None:
        """Any request."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        try:
            status, told = 200, self.routed(path, body)
        except ConnectionAbortedError:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        except Refused as error:
            status = error.status if error.status != 200 else 400
            told = {"error_code": error.code, "message": str(error)}
        data = told if isinstance(told, bytes) else json.dumps(told).encode() if told is not None else b""
        self.send_response(status if told is not None else 204)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def routed(self, path: str, body: bytes) -> dict[str, Any] | bytes | None:
        """What a request is answered."""
        space, method = self.workspace, self.command
        if path.startswith("/cloud/"):
            if self.headers.get("Authorization"):
                raise Refused("InvalidArgument", "Only one auth mechanism allowed", 400)
            if any(self.headers.get(name) != value for name, value in KEY.items()):
                raise Refused("InvalidRequest", "The object was stored using a form of encryption", 400)
            _, _, number, index = path.split("/")
            chunk, fault = space.chunks[number, int(index)], space.fault(f"GET {path}")
            if fault is not None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(chunk)))
                self.end_headers()
                self.wfile.write(chunk[: len(chunk) // 2])
                self.wfile.flush()
                raise ConnectionAbortedError
            return chunk
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        user = TOKENS.get(token)
        if user is None:
            raise Refused("UNAUTHENTICATED", "Invalid access token.", 401)
        if path == "/api/2.0/sql/statements" and method == "POST":
            return space.execute(json.loads(body), user)
        if path == "/api/2.0/sql/sessions" and method == "POST":
            return {"session_id": base64.b64encode(b"session").decode()}
        if path.startswith("/api/2.0/sql/sessions/"):
            return {}
        if found := re.fullmatch(r"/api/2\.0/sql/statements/([^/]+)/result/chunks/(\d+)", path):
            manifest = space.statements[found[1]]["manifest"]
            return space.links(
                found[1], int(found[2]), manifest["total_chunk_count"], manifest["total_row_count"]
            )
        if found := re.fullmatch(r"/api/2\.0/sql/statements/([^/]+)/cancel", path):
            return space.cancel(found[1])
        if found := re.fullmatch(r"/api/2\.0/sql/statements/([^/]+)", path):
            fault = space.fault(f"{method} {path}")
            if fault is not None and fault.cut:
                raise ConnectionAbortedError
            if fault is not None:
                raise Refused(fault.code, fault.text, fault.status)
            return space.statements[found[1]] if method == "GET" else {}
        if found := re.fullmatch(r"/api/2\.0/fs/(files|directories)(/Volumes/.+)", path):
            return self.filed(found[1], found[2], body, user)
        raise Refused("ENDPOINT_NOT_FOUND", f"No API found for {path}", 404)

    def filed(self, kind: str, path: str, body: bytes, user: str) -> dict[str, Any] | None:
        """The Files API; the volumes of all SQL warehouses are looked through, as nothing says which is meant."""
        space = self.workspace
        fault = space.fault(f"{self.command} {path}")
        if fault is not None:
            if fault.cut:
                raise ConnectionAbortedError
            raise Refused(fault.code, fault.text, fault.status)
        if user.startswith("reader") and self.command != "GET":
            raise Refused(
                "PERMISSION_DENIED", "User does not have WRITE VOLUME on Volume 'main.stripe.stage'.", 403
            )
        compute = self.compute()
        place = space.file(compute, path)
        if kind == "directories":
            found = sorted(place.glob("*")) if place.is_dir() else []
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            start = int(query.get("page_token", ["0"])[0])
            following = {"next_page_token": str(start + PAGE)} if len(found) > start + PAGE else {}
            return following | {
                "contents": [
                    {
                        "path": f"{path}/{each.name}",
                        "is_directory": False,
                        "file_size": each.stat().st_size,
                        "last_modified": int(each.stat().st_mtime * 1000),
                        "name": each.name,
                    }
                    for each in found[start : start + PAGE]
                ]
            }
        if self.command == "PUT":
            place.parent.mkdir(parents=True, exist_ok=True)
            fresh = place.with_name(f".{place.name}.{time.monotonic_ns()}")
            fresh.write_bytes(body)
            fresh.rename(place)
        elif self.command == "DELETE":
            if not place.exists():
                raise Refused("NOT_FOUND", f"{path} does not exist.", 404)
            place.unlink()
        return None

    def compute(self) -> Compute:
        """The SQL warehouse that was made last, whose tests run now."""
        return list(self.workspace.computes.values())[-1]

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Server(http.server.ThreadingHTTPServer):
    """As many connections as are asked for."""

    daemon_threads = True
    request_queue_size = 64


def start(folder: Path) -> Workspace:
    """A workspace that listens on a port of this machine; its files are in a folder."""
    workspace = Workspace(folder)
    handler = type("Bound", (Handler,), {"workspace": workspace})
    server = workspace.server = Server(("127.0.0.1", 0), handler)
    workspace.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return workspace
