"""Streams over HTTP: what Stripe has, how each pull takes it and how that stands, and the newest rows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import fastapi

from tidegate import catalog
from tidegate.api import base, overview
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import Unknown, standing
from tidegate.views import streams as views

Name = Annotated[str, fastapi.Path(max_length=200, description="A stream's name, such as `charges`.")]
Search = Annotated[str, fastapi.Query(max_length=200, description="A part of the name, or `issuing_*`.")]


class CatalogStream(base.Model):
    """A stream of Stripe, and what it takes to read it."""

    name: str
    object: str
    api: str
    path: str
    paths: list[str]
    parent: str | None
    kind: str
    route: str
    created_filter: bool
    events: list[str]
    key: list[str]
    permission: str
    columns: int
    default: bool
    why: str | None


class Column(base.Model):
    """A column of a stream's table."""

    name: str
    type: str
    nullable: bool
    references: list[str]
    doc: str


class Schema(base.Model):
    """The table of a stream, in the types of DuckDB or of Arrow."""

    stream: str
    key: list[str]
    columns: list[Column]


class NewestRows(base.Model):
    """The newest rows of a stream, as they would land in its table; `telling` are the columns that say most."""

    stream: str
    telling: list[str]
    rows: list[dict[str, Any]]


class Standing(base.Model):
    """One stream of one pull; figures are those over all accounts, `as_of` that of the one furthest behind.

    `state` is the worst, and empty where nothing is known yet.
    """

    pull: str
    stream: str
    table: str
    taken: bool
    mode: str
    history: bool
    deletes: str
    filtered: bool
    columns: int
    of: int
    hashed: int
    permission: str
    accounts: int
    rows: int
    deleted: int
    as_of: base.Moment | None
    age: float | None
    bound: float | None
    state: str
    error: str


class StandingByAccount(base.Model):
    """The same, account by account, the worst first; of more than a thousand the worst thousand."""

    line: Standing
    tables: list[overview.FreshTable]


MOST = 1000
"""Accounts that are told of one stream."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("streams"), desk.place

    @made.get("/streams", operation_id="listStreams", summary="List every stream that Stripe has")
    def listed(asker: asking.Reader, paging: base.Paging, search: Search = "") -> base.Page[CatalogStream]:
        del asker
        found = views.select(catalog.load().streams.values(), search)
        after = paging.place(str)
        later = [each for each in found if after is None or each.name > after[0]]
        shown = later[: paging.limit]
        return base.Page(
            items=[CatalogStream.model_validate(views.described(each)) for each in shown],
            next=base.cursor(shown[-1].name) if len(later) > len(shown) else None,
        )

    @made.get("/streams/{stream}", operation_id="getStream", summary="A stream and what it takes to read it")
    def get(stream: Name, asker: asking.Reader) -> CatalogStream:
        del asker
        return CatalogStream.model_validate(views.described(views.named(stream)))

    @made.get("/streams/{stream}/schema", operation_id="getSchema", summary="The columns of a stream's table")
    def schema(stream: Name, asker: asking.Reader, to: Literal["duckdb", "arrow"] = "duckdb") -> Schema:
        del asker
        found = views.named(stream)
        columns = [Column.model_validate(each) for each in views.columns(found, to)]
        return Schema(stream=found.name, key=["_account_id", *found.key], columns=columns)

    @made.get(
        "/streams/{stream}/rows", operation_id="previewStream", summary="The newest rows, read from Stripe"
    )
    def rows(
        stream: Name,
        asker: asking.Operator,
        connection: Annotated[str | None, fastapi.Query(max_length=63)] = None,
        limit: Annotated[int, fastapi.Query(ge=1, le=views.NEWEST)] = 10,
    ) -> NewestRows:
        """Asks Stripe now; the connection must be named where there are several."""
        del asker
        found = views.newest(place, stream, connection, limit)
        telling = views.telling(found) if found else []
        return NewestRows(stream=stream, telling=telling, rows=[base.exact(each) for each in found])

    @made.get(
        "/standings", operation_id="listStandings", summary="List the streams of pulls and how they stand"
    )
    def standings(
        asker: asking.Reader,
        paging: base.Paging,
        pull: Annotated[str, fastapi.Query(max_length=63)] = "",
        search: Search = "",
        taken: bool | None = None,
        state: standing.State | None = None,
        sort: Annotated[
            Literal["", "name", "-name", "rows", "-rows", "age", "-age", "state", "-state"],
            fastapi.Query(description="A `-` in front sorts the other way round."),
        ] = "",
    ) -> base.Page[Standing]:
        del asker
        after = paging.place(int)
        try:
            found = views.listed(
                place,
                pull=pull,
                search=search,
                taken=taken,
                state=state or "",
                sort=sort,
                after=max(0, after[0]) if after is not None else 0,
                limit=paging.limit,
            )
        except Unknown as error:  # what is named by a filter, and not by the address
            raise base.problem(422, str(error)) from None
        return base.Page(
            items=[_line(each) for each in found.items],
            next=None if found.next is None else base.cursor(found.next),
        )

    @made.get(
        "/standings/{pull}/{stream}", operation_id="getStanding", summary="One stream of a pull, by account"
    )
    def one(
        pull: Annotated[str, fastapi.Path(max_length=63)], stream: Name, asker: asking.Reader
    ) -> StandingByAccount:
        del asker
        line, tables = views.one(place, pull, stream)
        return StandingByAccount(line=_line(line), tables=[overview.table(each) for each in tables[:MOST]])

    return made


def _line(it: views.Line) -> Standing:
    options = it.options
    own = {"mode", "history", "deletes", "filtered"}
    fields = {name: getattr(it, name) for name in Standing.model_fields if name not in own}
    return Standing(
        **fields,
        mode=options.mode,
        history=options.history,
        deletes=options.deletes,
        filtered=options.where is not None,
    )
