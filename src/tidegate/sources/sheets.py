"""Google Sheets: the cells of a sheet, whose first row names the columns.

All cells come in one request, since only that is one moment of a spreadsheet that people edit; a spreadsheet holds
ten million cells at most. A column is a number, a truth or a date when all of its cells are, else text. Cells that
show an error (#N/A, #REF!) are refused, never taken for empty.

Google itself was never met: only what speaks like its documented API, to which google-auth signs in.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import google.auth.exceptions
import google.auth.transport
import pyarrow as pa
from google.oauth2 import service_account

from tidegate import errors
from tidegate.config import warehouses as config
from tidegate.sources import base, cells, web
from tidegate.warehouse import base as warehouses
from tidegate.warehouse import wire

SCOPE = "https://www.googleapis.com/auth/spreadsheets.readonly"

SHOWN = 100
"""Rows, from a column's first number on, whose number formats tell whether its numbers are dates."""

BLOCKS = 50
"""Ranges that one request asks for, at most."""

ERRORS = frozenset(
    ("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#ERROR!", "Loading...")
)
"""What cells show instead of a value. https://developers.google.com/workspace/sheets/api/reference/rest/v4/spreadsheets/other#ErrorType"""


class Sheets:
    """A spreadsheet, read only."""

    kind = "google_sheets"

    def __init__(self, spreadsheet: str, account: Mapping[str, Any], api: web.Web, *, timeout: float) -> None:
        self._spreadsheet, self._api, self._timeout = spreadsheet, api, timeout
        self._email = str(account.get("client_email", "the service account"))
        try:
            make = service_account.Credentials.from_service_account_info
            self._credentials = make(account, scopes=[SCOPE])  # type: ignore[no-untyped-call]  # has no types
        except (ValueError, google.auth.exceptions.GoogleAuthError):
            raise errors.ConfigError(
                "`credentials` of Google Sheets is no service account's JSON; write "
                "`credentials: ${file:/path/key.json}` with the file that Google Cloud made."
            ) from None

    def check(self) -> list[warehouses.Check]:
        """Reach, sign in, list, read."""
        steps: warehouses.Steps = (
            ("reach", lambda: wire.reached(self._api.host, self._api.port)),
            ("sign in", lambda: f"signed in as {self._email}" if self._token() else ""),
            ("list", lambda: f"{len(self.tables())} sheets"),
            ("read", self._check_read),
        )
        return warehouses.checked(steps)

    def tables(self) -> list[str]:
        """The titles of the sheets that hold cells."""
        found = self._ask("?fields=sheets.properties(title,sheetType)")
        told = [one["properties"] for one in found.get("sheets", ())]
        return [one["title"] for one in told if one.get("sheetType", "GRID") == "GRID"]

    def columns(self, query: base.Query | str) -> pa.Schema:
        """The columns of a sheet; their types are those of the cells, which are read for it."""
        return next(self.read(query)).schema

    def read(self, query: base.Query | str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """Stream the rows below the first one; rows without any value are left out."""
        query = base.only(query, self.kind, "table", "sheet")
        if parameters:
            raise errors.ConfigError("A sheet takes no parameters.")
        return self._read(query)

    def close(self) -> None:
        """Let go of the connection."""
        self._api.close()

    def _read(self, query: base.Query) -> Iterator[pa.RecordBatch]:
        title = query.sheet if query.sheet is not None else query.table
        assert title is not None, "One of both is given."
        first_row, first_column = cells.start(query.range)
        answered = self._cells(title, query.range)
        width = max(map(len, answered), default=0)
        header = [cells.text(cell).strip() for cell in (answered[0] if answered else [])] + [""] * width
        rows = answered[1:]
        del answered
        names, places = [], []
        for i in range(width):
            if header[i]:
                names.append(header[i])
                places.append(i)
            elif any(i < len(row) and row[i] != "" for row in rows):
                raise errors.ConfigError(
                    f"The column {cells.letters(first_column + i)} of the sheet {title} holds values and has no "
                    f"name; write one into row {first_row}, or leave the column out by `range`."
                )
        if not names:
            raise errors.ConfigError(
                f"The row {first_row} of the sheet {title} is empty; the first row that is read names the columns."
            )
        for name, times in Counter(names).items():
            if times > 1:
                raise errors.ConfigError(
                    f"The row {first_row} of the sheet {title} names {times} columns {name}; give each a name of "
                    "its own, or leave one out by `range`."
                )
        formats = self._formats(title, first_row + 1, first_column, rows, places)
        numbers = [n for n, row in enumerate(rows) if any(cell != "" for cell in row)]
        arrays = []
        for i in places:
            found = [rows[n][i] if i < len(rows[n]) and rows[n][i] != "" else None for n in numbers]
            for n, value in zip(numbers, found, strict=True):
                if value in ERRORS:
                    cell = f"{cells.letters(first_column + i)}{first_row + 1 + n}"
                    raise errors.WarehouseError(
                        f"The cell {cell} of the sheet {title} shows {value}; "
                        'mend its formula, or let it be empty by IFERROR(..., "").'
                    )
            arrays.append(cells.column(found, formats.get(i, "")))
        table = pa.table(arrays, names=names)
        yield from table.to_batches(max_chunksize=base.BATCH) or [
            pa.RecordBatch.from_pylist([], schema=table.schema)
        ]

    def _cells(self, title: str, wanted: str | None) -> list[list[Any]]:
        """Rows of cells from the top, each without the empty ones at its end."""
        found = self._ask(
            f"/values/{web.quoted(cells.place(title, wanted))}"
            "?majorDimension=ROWS&valueRenderOption=UNFORMATTED_VALUE&dateTimeRenderOption=SERIAL_NUMBER",
            title,
        )
        rows: list[list[Any]] = found.get("values", [])
        return rows

    def _formats(
        self, title: str, row: int, column: int, rows: Sequence[Sequence[Any]], places: Sequence[int]
    ) -> dict[int, str]:
        """What the numbers of columns are shown as, where that is the same from the first of them on.

        `row` and `column` are where `rows` begin on the sheet.
        """
        begins: dict[int, list[int]] = {}
        for i in places:
            first = next(
                (n for n, line in enumerate(rows) if i < len(line) and cells.is_number(line[i])), None
            )
            if first is not None:
                begins.setdefault(first, []).append(i)
        blocks = [
            f"{cells.letters(column + min(told))}{row + first}:"
            f"{cells.letters(column + max(told))}{row + min(first + SHOWN, len(rows)) - 1}"
            for first, told in begins.items()
        ]
        kinds: dict[int, set[str]] = {}
        for begin in range(0, len(blocks), BLOCKS):
            for data in self._shown(title, blocks[begin : begin + BLOCKS]):
                left = data.get("startColumn", 0) + 1 - column
                for line in data.get("rowData", ()):
                    for i, cell in enumerate(line.get("values", ()), left):
                        if "numberValue" in cell.get("effectiveValue", {}):
                            kind = cell.get("effectiveFormat", {}).get("numberFormat", {}).get("type", "")
                            kinds.setdefault(i, set()).add(kind)
        return {i: next(iter(told)) for i, told in kinds.items() if len(told) == 1}

    def _shown(self, title: str, blocks: Sequence[str]) -> list[Any]:
        """What the cells of blocks are shown as, block by block."""
        ranges = "&".join(f"ranges={web.quoted(cells.place(title, block))}" for block in blocks)
        try:
            found = self._ask(
                f"?{ranges}&fields=sheets.data(startColumn,"
                "rowData.values(effectiveValue.numberValue,effectiveFormat.numberFormat.type))",
                title,
            )
        except _NotThere:
            raise errors.WarehouseError(
                f"The sheet {title} was changed while it was read; run this again."
            ) from None
        return [data for sheet in found.get("sheets", ()) for data in sheet.get("data", ())]

    # Asking

    def _token(self) -> str:
        if not self._credentials.valid:
            try:
                self._credentials.refresh(_Transport(self._timeout))
            except google.auth.exceptions.RefreshError:
                raise errors.ConfigError(
                    f"Google refused the key of {self._email}; make a new key of the service account, and check "
                    "the clock of this machine."
                ) from None
            except google.auth.exceptions.TransportError:
                raise errors.WarehouseUnreachable(
                    "No answer from the address where Google signs service accounts in; check the firewall."
                ) from None
        return str(self._credentials.token)

    def _ask(self, path: str, title: str = "") -> dict[str, Any]:
        token = self._token()
        answer = self._api.ask(
            "GET",
            f"/v4/spreadsheets/{web.quoted(self._spreadsheet)}{path}",
            headers={"Authorization": f"Bearer {token}"},
        )
        if answer.status >= 300:
            raise self._refused(answer, title)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise errors.WarehouseError(f"{self._api.where} did not answer with JSON; check `endpoint`.")
        return found

    def _refused(self, answer: web.Answer, title: str) -> errors.TidegateError:
        said = ""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = str(answer.json()["error"]["message"])
        if answer.status == 401:
            return errors.ConfigError(
                f"{self._api.where} refused the sign-in of {self._email}; make a new key."
            )
        if answer.status == 403 and ("has not been used" in said or "disabled" in said):
            return errors.ConfigError(
                f"The project of {self._email} has the Google Sheets API switched off; enable it in Google Cloud, "
                "under APIs and services."
            )
        if answer.status == 403:
            return errors.WarehouseError(
                f"The spreadsheet is not shared with {self._email}; share it with that address as a viewer."
            )
        if answer.status == 404:
            return errors.ConfigError(
                "There is no spreadsheet of this id; `spreadsheet` is the long part of its address between /d/ and "
                "/edit."
            )
        if answer.status == 400 and title:
            if "exceeds grid limits" in said:
                return _NotThere(f"The range lies outside of the sheet {title}; correct `range`.")
            return errors.ConfigError(
                f"The spreadsheet has no sheet {title}, or `range` is none (A1:F500); `sheet` is the title on "
                "its tab."
            )
        if answer.status in web.BUSY:
            return errors.WarehouseUnreachable(
                f"{self._api.where} is too busy, or its quota is used up ({answer.status}); run this again later."
            )
        return errors.WarehouseError(f"{self._api.where} failed with status {answer.status}; run this again.")

    def _check_read(self) -> str:
        titles = self.tables()
        if not titles:
            return "no sheet to read"
        self._ask(f"/values/{web.quoted(cells.place(titles[0], 'A1'))}", titles[0])
        return f"the sheet {titles[0]} can be read"


def open_source(
    target: config.GoogleSheets, *, timeout: float, pause: Callable[[float], None] = time.sleep
) -> Sheets:
    """The source that a configuration describes; nothing is opened yet. Raises ConfigError for bad credentials."""
    try:
        account = json.loads(target.credentials.get_secret_value())
    except ValueError:
        account = None
    if not isinstance(account, dict):
        raise errors.ConfigError(
            "`credentials` of Google Sheets is no JSON; write `credentials: ${file:/path/key.json}` with the file "
            "that Google Cloud made for the service account."
        )
    api = web.Web(target.endpoint, where="Google Sheets", timeout=timeout, pause=pause)
    return Sheets(target.spreadsheet, account, api, timeout=timeout)


class _NotThere(errors.ConfigError):
    """The range lies outside of the sheet."""


class _Response(google.auth.transport.Response):
    """An answer as google-auth wants it."""

    def __init__(self, answer: web.Answer) -> None:
        self._answer = answer

    @property
    def status(self) -> int:
        """The status."""
        return self._answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        return self._answer.headers

    @property
    def data(self) -> bytes:
        """The body."""
        return self._answer.body


class _Transport(google.auth.transport.Request):
    """How google-auth asks for a token: by the same HTTP as everything here."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> _Response:
        """The answer to a request."""
        opened = web.Web(url, where="Google's sign-in", timeout=min(self._timeout, timeout or 120.0))
        try:
            data = body.encode() if isinstance(body, str) else body
            return _Response(opened.ask(method, "", data, headers=headers))
        except errors.TidegateError as error:
            failed = google.auth.exceptions.TransportError
            raise failed(str(error)) from None  # type: ignore[no-untyped-call]  # has no types
        finally:
            opened.close()
