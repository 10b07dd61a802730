"""A stand-in for Google Sheets: its token endpoint, which verifies signatures, and the documented reads of API v4.

https://developers.google.com/workspace/sheets/api/reference/rest: `spreadsheets.get` with `fields` and `ranges`,
`spreadsheets.values.get` in the rendering that is asked for. Cells are given as Python values, dates as datetimes;
`Error` is a cell whose formula failed.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import http.server
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ZERO = dt.datetime(1899, 12, 30)
AUDIENCE = "https://oauth2.googleapis.com/token"
"""https://developers.google.com/identity/protocols/oauth2/service-account#authorizingrequests"""

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True)
class Error:
    """A cell that shows an error."""

    text: str


@dataclass
class Google:
    """What the stand-in holds and notes."""

    sheets: dict[str, list[list[Any]]]
    spreadsheet: str = "1AbCdEf"
    shared_with: set[str] = field(default_factory=lambda: {"reader@project.iam.gserviceaccount.com"})
    busy: int = 0
    """How many of the next requests are told to come back later."""
    shrinks: str = ""
    """A sheet that somebody empties once its values were read."""
    asked: list[str] = field(default_factory=list)
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict)
    is_enabled: bool = True
    url: str = ""
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    email: str = "reader@project.iam.gserviceaccount.com"

    def account(self) -> dict[str, str]:
        """A service account's JSON, as Google Cloud hands it out."""
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": "project",
            "private_key_id": "k1",
            "private_key": pem.decode(),
            "client_email": self.email,
            "token_uri": f"{self.url}/token",
        }


@contextlib.contextmanager
def google(sheets: dict[str, list[list[Any]]]) -> Iterator[Google]:
    """A spreadsheet with these sheets."""
    state = Google(sheets)

    class Handler(_Handler):
        google = state

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Refused(Exception):
    """An error as Google's APIs write it."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(message)
        self.status, self.body = status, {"error": {"code": status, "message": message, "status": name}}


class _Handler(http.server.BaseHTTPRequestHandler):
    google: Google
    protocol_version = "HTTP/1.1"
    timeout = 5

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path != "/token":
            self.answer(404, {})
            return
        form = urllib.parse.parse_qs(body.decode())
        try:
            self.answer(200, self.token(form))
        except Exception as error:
            told = {
                "error": "invalid_grant",
                "error_description": f"Invalid JWT Signature. {type(error).__name__}",
            }
            self.answer(400, told)

    def token(self, form: dict[str, list[str]]) -> dict[str, Any]:
        """A token for an assertion that is signed, meant for us, asks to read sheets, and has not run out."""
        assert form["grant_type"] == [GRANT]
        head, claims, signature = form["assertion"][0].split(".")
        assert json.loads(_decoded(head))["alg"] == "RS256"
        self.google.key.public_key().verify(
            _decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        told = json.loads(_decoded(claims))
        now = time.time()
        assert told["aud"] == AUDIENCE
        assert told["iat"] - 60 <= now <= told["exp"] <= told["iat"] + 3600
        assert told["scope"] == "https://www.googleapis.com/auth/spreadsheets.readonly"
        token = f"ya29.{len(self.google.tokens)}"
        self.google.tokens[token] = (told["iss"], now + 3600)
        return {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}

    def do_GET(self) -> None:
        self.google.asked.append(self.path)
        if self.google.busy:
            self.google.busy -= 1
            refused = Refused(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Read requests'")
            self.answer(429, refused.body)
            return
        try:
            self.answer(200, self.reply())
        except Refused as refused:
            self.answer(refused.status, refused.body)

    def reply(self) -> dict[str, Any]:
        url = urllib.parse.urlsplit(self.path)
        told = urllib.parse.parse_qs(url.query)
        query = {name: one[0] for name, one in told.items()}
        who = self.google.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if who is None or who[1] < time.time():
            raise Refused(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if not self.google.is_enabled:
            raise Refused(403, "PERMISSION_DENIED", "Google Sheets API has not been used in project 1 before")
        _, version, kind, spreadsheet, *rest = url.path.split("/")
        assert (version, kind) == ("v4", "spreadsheets")
        if urllib.parse.unquote(spreadsheet) != self.google.spreadsheet:
            raise Refused(404, "NOT_FOUND", "Requested entity was not found.")
        if who[0] not in self.google.shared_with:
            raise Refused(403, "PERMISSION_DENIED", "The caller does not have permission")
        if rest:
            assert rest[0] == "values"
            found = self.values(urllib.parse.unquote(rest[1]), query)
            if self.google.shrinks:
                self.google.sheets[self.google.shrinks].clear()
            return found
        return self.grid(query, told.get("ranges", []))

    def values(self, place: str, query: dict[str, str]) -> dict[str, Any]:
        rendering = query.get("valueRenderOption", "FORMATTED_VALUE")
        dates = query.get("dateTimeRenderOption", "SERIAL_NUMBER")
        rows = [[_value(cell, rendering, dates) for cell in row] for row in self.cells(place)]
        for row in rows:
            while row and row[-1] == "":
                row.pop()
        while rows and not rows[-1]:
            rows.pop()
        found = {"range": place, "majorDimension": query.get("majorDimension", "ROWS")}
        return found | ({"values": rows} if rows else {})

    def grid(self, query: dict[str, str], places: list[str]) -> dict[str, Any]:
        fields = query.get("fields", "")
        if fields == "sheets.properties(title,sheetType)":
            return {
                "sheets": [
                    {"properties": {"title": title, "sheetType": "OBJECT" if title == "Chart" else "GRID"}}
                    for title in self.google.sheets
                ]
            }
        cell = "effectiveValue.numberValue,effectiveFormat.numberFormat.type"
        assert fields == f"sheets.data(startColumn,rowData.values({cell}))"
        assert places
        data = []
        for place in places:
            rows = [{"values": [_cell(cell) for cell in row]} for row in self.cells(place)]
            corner = re.search(r"!([A-Z]+)\d", place)
            left = _number(corner[1]) - 1 if corner else 0
            # Zeros are left out, as Google's APIs do with all that is a default.
            data.append(({"startColumn": left} if left else {}) | {"rowData": rows})
        return {"sheets": [{"data": data}]}

    def cells(self, place: str) -> list[list[Any]]:
        found = re.fullmatch(r"'((?:[^']|'')*)'(?:!([A-Z]+)?(\d+)?(?::([A-Z]+)?(\d+)?)?)?", place)
        title = found[1].replace("''", "'") if found else ""
        if found is None or title not in self.google.sheets:
            raise Refused(400, "INVALID_ARGUMENT", f"Unable to parse range: {place}")
        rows = self.google.sheets[title]
        width = max(map(len, rows), default=0)
        single = found[4] is None and found[5] is None and (found[2] or found[3])
        top, left = int(found[3] or 1), _number(found[2] or "A")
        bottom = top if single else int(found[5] or len(rows))
        right = left if single else _number(found[4]) if found[4] else width
        top, bottom, left, right = min(top, bottom), max(top, bottom), min(left, right), max(left, right)
        if top > max(len(rows), 1):
            raise Refused(
                400, "INVALID_ARGUMENT", f"Range ({place}) exceeds grid limits. Max rows: {len(rows)}"
            )
        return [row[left - 1 : right] for row in rows[top - 1 : bottom]]

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def _serial(value: dt.date) -> float:
    moment = value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time())
    days = (moment - ZERO) / dt.timedelta(days=1)
    return int(days) if days == int(days) else days


def _value(cell: Any, rendering: str, dates: str) -> Any:
    """A cell in `values.get`: what is shown, or what it is."""
    if cell is None:
        return ""
    if isinstance(cell, Error):
        return cell.text
    if rendering == "FORMATTED_VALUE":
        return str(cell)
    if isinstance(cell, dt.date):
        return _serial(cell) if dates == "SERIAL_NUMBER" else cell.strftime("%m/%d/%Y")
    return cell


def _cell(cell: Any) -> dict[str, Any]:
    """A cell's number and the type of its number format, which cells of the standard format lack."""
    if isinstance(cell, dt.date):
        kind = "DATE_TIME" if isinstance(cell, dt.datetime) else "DATE"
        return {
            "effectiveValue": {"numberValue": _serial(cell)},
            "effectiveFormat": {"numberFormat": {"type": kind}},
        }
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return {"effectiveValue": {"numberValue": cell}}
    return {}
