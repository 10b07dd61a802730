"""Tables of pages: what the address asks for, a page of rows, and the same rows as CSV.

Every state of a table is its address: `?search=...&flow=orders&sort=-started&after=CURSOR`. Searching, sorting and
paging are the server's; this room reads the address, writes it, and holds what is to be shown.
"""

from __future__ import annotations

import csv as lines
import io
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette import requests, responses

Align = Literal["left", "right", "center"]
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula, the full-width ones where they are typed so (OWASP)."""
BATCH = 65_536
"""Characters of CSV that are sent at a time."""
LONGEST = 400
"""Characters of a search or a filter; more is cut off."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address of a table asks for."""

    path: str
    search: str = ""
    sort: str = ""
    """One of the page's `sorts`, with `-` in front for descending; "" for the page's own order."""
    page: int = 1
    """For tables that count pages instead of going on after a cursor."""
    after: str = ""
    filters: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    """Whatever else the address has, which stays in it."""
    format: str = ""

    @property
    def sorted_by(self) -> str:
        """The column, without the direction."""
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.sort.startswith("-")

    @property
    def narrowed(self) -> bool:
        """Is anything looked for? Then an empty table means that nothing was found, not that there is nothing."""
        return bool(self.search or any(self.filters.values()))

    def url(self, **changes: str | int | None) -> str:
        """The address with something else in it; paging begins anew unless it is what changes."""
        found: dict[str, str] = {**self.kept, **self.filters}
        found |= {"search": self.search, "sort": self.sort}
        found |= {name: "" if value is None else str(value) for name, value in changes.items()}
        wanted = {name: value for name, value in found.items() if value and (name, value) != ("page", "1")}
        return self.path + ("?" + urllib.parse.urlencode(wanted) if wanted else "")

    def sorting(self, column: str) -> str:
        """The address that sorts by a column, or the other way round if it does already."""
        return self.url(sort="-" + column if self.sort == column else column)


@dataclass(frozen=True, slots=True)
class Column:
    """A column; numbers belong to the right."""

    name: str
    label: str
    sort: bool = False
    align: Align = "left"
    hint: str = ""
    """What the heading says when it is pointed at."""
    wide: bool = False
    """Takes what room is left, and wraps."""
    hide: bool = False
    """Left out on narrow screens."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row: values by the names of columns; text, numbers, or Markup made by the macros."""

    cells: Mapping[str, Any]
    href: str = ""
    """Where the first cell leads."""
    id: str = ""
    kind: Literal["", "bad", "warn", "off"] = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A filter above the table: one of some values, as (value, label)."""

    name: str
    label: str
    options: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Empty:
    """What stands where there are no rows: why, and the next step."""

    title: str
    text: str = ""
    label: str = ""
    href: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A page of rows, and how to come to the others."""

    id: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    total: int | None = None
    """Rows in all, where counting them is cheap."""
    next: str | None = None
    """The cursor after the last row, or None at the end."""
    asked: Asked = field(default_factory=lambda: Asked(""))
    empty: Empty = field(default_factory=lambda: Empty("Nothing here yet."))
    filters: Sequence[Choice] = ()
    searchable: bool = True
    csv: bool = True
    caption: str = ""
    """What the table is, for those who do not see it."""
    pages: int = 0
    """How many pages there are, where `asked.page` counts them."""
    live: str = ""
    """Where its rows come from again whenever they are others: an address of server-sent events."""


def asked(
    request: requests.Request, filters: Sequence[str] = (), sorts: Sequence[str] = (), default: str = ""
) -> Asked:
    """What the query string asks for; what it should not have is left out, never an error.

    `default` is the order without `sort` in the address, such as `-started`.
    """
    found = {name: value[:LONGEST] for name, value in request.query_params.items()}
    sort = found.pop("sort", "")
    page = found.pop("page", "")
    own = {name: found.pop(name, "") for name in filters}
    return Asked(
        path=request.url.path,
        search=found.pop("search", "").strip(),
        sort=sort if sort.removeprefix("-") in sorts else default,
        page=max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 8 else 1,
        after=found.pop("after", ""),
        format=found.pop("format", ""),
        filters={name: value.strip() for name, value in own.items()},
        kept=found,
    )


def csv(
    request: requests.Request, name: str, headings: Sequence[str], rows: Iterable[Sequence[Any]]
) -> responses.StreamingResponse:
    """All rows as a file, written while they are read.

    Times should come as RFC 3339 text. What a spreadsheet would take for a formula gets an apostrophe in front.
    """
    file = urllib.parse.quote(name if name.endswith(".csv") else name + ".csv")
    return responses.StreamingResponse(
        _text(headings, rows, head=request.method == "HEAD"),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{file}", "Cache-Control": "no-store"},
    )


def _text(headings: Sequence[str], rows: Iterable[Sequence[Any]], *, head: bool) -> Iterator[str]:
    if head:
        return
    buffer = io.StringIO()
    writer = lines.writer(buffer)
    writer.writerow(headings)
    for row in rows:
        writer.writerow([cell(value) for value in row])
        if buffer.tell() > BATCH:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def cell(value: Any) -> Any:
    """A value as a spreadsheet may have it: text that looks like a formula stays text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(FORMULA):
        return "'" + value
    return value
