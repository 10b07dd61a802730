"""ClickHouse's HTTP interface before the real engine: chdb, in a process of its own.

Run by a Python that has chdb: `python clickhouse_door.py FOLDER`; prints the port that it listens on. The door
knows what the HTTP interface knows (https://clickhouse.com/docs/interfaces/http): the query in the address or the
body, settings and `param_` values in the address, external tables as a form, signing in, codes of errors in a
header. What a query means and what an INSERT does is the engine's own matter. Users: `tidegate` may do everything,
`reader` lacks the grants to write, `analyst` has a profile with `readonly = 2`, `viewer` one with `readonly = 1`,
`limited`, `cached` and `capped` (which is read-only too) those of an administrator who has changed what he could
(`PROFILES`). To `cluster` all databases are replicated; there is but this one replica.

`POST /fault` with JSON makes a later request fail: `match` (a pattern of the query), `code` and `text`; with `cut`
the connection ends, `before` or `after` the query ran. `GET /queries` tells of the queries that ran, and
`GET /settings` of what the caller set for each.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
import gzip
import http.server
import json
import re
import socket
import sys
import tempfile
import threading
import urllib.parse
from pathlib import Path

from chdb import session

USERS = dict.fromkeys(
    ("tidegate", "reader", "analyst", "viewer", "limited", "cached", "capped", "cluster"), "s3cret"
)
FIXED = {"analyst": "name = 'readonly'", "viewer": "true", "capped": "true"}
"""Which settings those whose profile is read-only cannot change."""

PROFILES = {
    "limited": {
        "max_rows_in_set": "1000",
        "set_overflow_mode": "break",
        "max_result_rows": "3000",
        "result_overflow_mode": "break",
        "max_rows_to_read": "50000",
        "read_overflow_mode": "break",
    },
    "capped": {"max_result_rows": "3000", "result_overflow_mode": "break"},
    "cached": {
        "async_insert": "1",
        "wait_for_async_insert": "0",
        "data_type_default_nullable": "1",
        "use_query_cache": "1",
        "query_cache_nondeterministic_function_handling": "save",
        "query_cache_system_table_handling": "save",
    },
}
STATUS = {60: 404, 81: 404, 516: 403, 497: 403, 192: 403}
TRANSPORT = {
    "query", "database", "session_id", "compress", "decompress", "session_timeout", "session_check", "query_id",
    "quota_key", "wait_end_of_query", "client_protocol_version", "role", "default_format", "user", "password",
    "send_progress_in_http_headers", "http_headers_progress_interval_ms", "enable_http_compression", "readonly",
}  # fmt: skip

INSERT = re.compile(rb"^\s*(INSERT\s+INTO\s+.+?)\s+FORMAT\s+(\w+)\s*?\n?", re.IGNORECASE | re.DOTALL)
ASKED = re.compile(r"\sFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
CHANGES = {
    "CREATE DATABASE": re.compile(r"^CREATE DATABASE (?:IF NOT EXISTS )?[`\"]?(\w+)"),
    "CREATE TABLE": re.compile(r"^CREATE TABLE (?:IF NOT EXISTS )?[`\"]?(\w+)"),
    "INSERT": re.compile(r"^INSERT INTO [`\"]?(\w+)"),
}


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Engine:
    """The one session that a process may have; one query at a time."""

    def __init__(self, folder: str) -> None:
        self.session = session.Session(folder)
        self.lock = threading.Lock()
        self.known = set(self.run("SELECT name FROM system.settings", "TSV").decode().split())
        self.faults: list[dict] = []
        self.queries: list[str] = []
        self.told: list[dict[str, str]] = []
        self.settings: dict[str, str] = {"database": "default"}

    def run(self, query: str, form: str, parameters: dict[str, str] | None = None) -> bytes:
        try:
            return self.session.query(query, form, params=parameters or None).bytes()
        except RuntimeError as error:
            raise _refused(str(error)) from None

    def answer(
        self, query: bytes, told: dict[str, str], files: dict[str, bytes], user: str
    ) -> tuple[bytes, str]:
        head = INSERT.match(query)
        text = head.group(1).decode() if head else query.decode()
        settings = {key: value for key, value in told.items() if key not in TRANSPORT and "_" in key}
        parameters = {key[6:]: settings.pop(key) for key in list(settings) if key.startswith("param_")}
        shapes = {name: (settings.pop(f"{name}_format"), settings.pop(f"{name}_structure")) for name in files}
        unknown = [key for key in settings if key not in self.known]
        if unknown:
            raise Refused(
                115, f"Setting {unknown[0]} is neither a builtin setting nor started with the prefix"
            )
        if user == "cluster":
            seen = "(SELECT * REPLACE ('Replicated' AS engine) FROM system.databases)"
            text = text.replace("FROM system.databases", f"FROM {seen}")
        if user in FIXED:
            if FIXED[user] == "true":
                changed = [name for name in told if name == "readonly" or name in settings]
            else:
                changed = [name for name in told if name == "readonly"]
            if changed:
                raise Refused(164, f"Cannot modify '{changed[0]}' setting in readonly mode. (READONLY)")
            seen = f"(SELECT * REPLACE (if({FIXED[user]}, 1, readonly) AS readonly) FROM system.settings)"
            text = text.replace("system.settings", seen)
        if user in ("reader", *FIXED) or told.get("readonly"):
            for what, pattern in CHANGES.items():
                found = pattern.match(text)
                if found and user == "reader":
                    raise Refused(
                        497,
                        f"{user}: Not enough privileges. To execute this query, it's necessary to have "
                        f"the grant {what} ON {found.group(1)}.*",
                    )
            if not re.match(r"\s*(SELECT|WITH|SHOW|DESCRIBE|EXPLAIN)", text, re.IGNORECASE):
                raise Refused(164, "Cannot execute query in readonly mode")
        with self.lock, tempfile.TemporaryDirectory() as folder:
            fault = next((f for f in self.faults if re.search(f["match"], text)), None)
            if fault:
                self.faults.remove(fault)
                if "code" in fault:
                    raise Refused(fault["code"], fault["text"])
                if fault["cut"] == "before":
                    raise ConnectionAbortedError
            self.queries.append(text)
            self.told.append(settings)
            profile = PROFILES.get(user, {})
            self.set({"database": told.get("database", "default"), **profile, **settings})
            text = text.replace("ReplicatedReplacingMergeTree", "ReplacingMergeTree")
            try:
                for name, data in files.items():
                    path = Path(folder, name)
                    path.write_bytes(data)
                    form, structure = shapes[name]
                    self.run(f"CREATE TEMPORARY TABLE {name} ({structure})", "Null")
                    source = f"file({_literal(str(path))}, {form}, {_literal(structure)})"
                    self.run(f"INSERT INTO {name} SELECT * FROM {source}", "Null")
                if head:
                    self.insert(text, head.group(2).decode(), query[head.end() :])
                    result, form = b"", ""
                else:
                    asked = ASKED.search(text)
                    form = asked.group(1) if asked else told.get("default_format", "TSV")
                    result = self.run(text, form, parameters)
            finally:
                for name in files:
                    self.run(f"DROP TABLE IF EXISTS {name}", "Null")
            if fault and fault.get("cut") == "after":
                raise ConnectionAbortedError
            return result, form

    def set(self, wanted: dict[str, str]) -> None:
        """Make the session have these settings and no others."""
        for key in self.settings.keys() - wanted.keys():
            self.run(f"SET {key} = DEFAULT", "Null")
        for key, value in wanted.items():
            if self.settings.get(key) != value:
                self.run(
                    f"USE {_quoted(value)}" if key == "database" else f"SET {key} = {_literal(value)}", "Null"
                )
        self.settings = wanted

    def insert(self, text: str, form: str, data: bytes) -> None:
        try:
            with self.session.send_insert(text, form) as inserter:
                inserter.append(data)
                inserter.finish()
        except RuntimeError as error:
            raise _refused(str(error)) from None


class Door(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: else the second waits 40 ms until the first is acknowledged
    disable_nagle_algorithm = True
    engine: Engine

    def do_GET(self) -> None:
        if self.path == "/queries":
            self.reply(200, json.dumps(self.engine.queries).encode())
        elif self.path == "/settings":
            self.reply(200, json.dumps(self.engine.told).encode())
        elif self.path == "/ping":
            self.reply(200, b"Ok.\n")
        else:
            self.ask(b"")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = self.chunks()
        else:
            body = self.rfile.read(length)
            if len(body) < length:
                self.close_connection = True
                return  # who asked is gone
        if self.path == "/fault":
            self.engine.faults.append(json.loads(body))
            self.reply(200, b"")
        else:
            self.ask(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)

    def chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def ask(self, body: bytes) -> None:
        told = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query, keep_blank_values=True))
        files: dict[str, bytes] = {}
        try:
            user = self.signed_in()
            kind = self.headers.get("Content-Type", "")
            if kind.startswith("multipart/form-data"):
                told, files, body = _form(kind, body, told)
            query = told.get("query", "").encode()
            query = query + (b"\n" if query and body else b"") + body
            result, form = self.engine.answer(query, told, files, user)
        except ConnectionAbortedError:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        except Refused as error:
            text = f"Code: {error.code}. DB::Exception: {error}\n"
            self.reply(
                STATUS.get(error.code, 500), text.encode(), {"X-ClickHouse-Exception-Code": str(error.code)}
            )
        else:
            headers = {"X-ClickHouse-Timezone": "UTC", "X-ClickHouse-Query-Id": told.get("query_id", "")}
            self.reply(200, result, headers | ({"X-ClickHouse-Format": form} if form else {}))

    def signed_in(self) -> str:
        _, _, basic = self.headers.get("Authorization", "").partition("Basic ")
        user, _, password = base64.b64decode(basic).decode().partition(":")
        if USERS.get(user) != password:
            raise Refused(
                516,
                f"{user}: Authentication failed: password is incorrect, or there is no user with such name."
                " (AUTHENTICATION_FAILED)",
            )
        return user

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _form(kind: str, body: bytes, told: dict[str, str]) -> tuple[dict[str, str], dict[str, bytes], bytes]:
    """Fields of a form: what has a file's name is an external table, the rest belongs to the address."""
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    files, told = {}, dict(told)
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        if part.get_filename():
            files[name] = data
        else:
            told[name] = data.decode()
    return told, files, b""


def _refused(text: str) -> Refused:
    found = re.search(r"Code: (\d+)\. DB::\w*Exception: (.*)", text, re.DOTALL)
    return Refused(int(found.group(1)), found.group(2).strip()) if found else Refused(1002, text)


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


class Server(http.server.ThreadingHTTPServer):
    """As many connections as are asked for."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


def main() -> None:
    """Serve until the standard input ends: then whoever started this is gone."""
    Door.engine = Engine(sys.argv[1])
    server = Server(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
