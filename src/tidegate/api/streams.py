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
    """As its table is called."""
    object: str
    """What Stripe calls one of its rows, such as `charge`."""
    api: str
    """`v1` or `v2`."""
    path: str
    """Where Stripe lists it, such as `/v1/charges`."""
    paths: list[str]
    """All lists that its rows come from."""
    parent: str | None
    """The stream whose rows it is listed by; null where it is listed whole."""
    kind: str
    """How it is read: one `walk`, or one list `by parent`."""
    route: str
    """Whether its rows have a `list`, are `embedded` or `expanded` in others, or are listed `per parent`."""
    created_filter: bool
    """Can it be read from a time on?"""
    events: list[str]
    """Types of events that tell of it."""
    key: list[str]
    """What identifies a row beside the account."""
    permission: str
    """What a restricted key needs to read it, such as `rak_charge_read`."""
    columns: int
    """Columns that Stripe has of it."""
    default: bool
    """Does `"*"` mean it?"""
    why: str | None
    """Why it has to be named; null where it need not."""


class Column(base.Model):
    """A column of a stream's table."""

    name: str
    """As in the table."""
    type: str
    """In the types that were asked for."""
    nullable: bool
    """May it be NULL?"""
    references: list[str]
    """Kinds of objects whose id it may have."""
    doc: str
    """What Stripe says of it."""


class Schema(base.Model):
    """The table of a stream, with the columns that pulls derive, in the types of DuckDB or of Arrow."""

    stream: str
    """Such as `charges`."""
    key: list[str]
    """The columns that identify a row."""
    columns: list[Column]
    """In the table's order."""


class NewestRows(base.Model):
    """The newest rows of a stream, as they would land in its table."""

    stream: str
    """Such as `charges`."""
    telling: list[str]
    """The columns that say most."""
    rows: list[dict[str, Any]]
    """By column, newest first."""


class Standing(base.Model):
    """One stream of one pull; figures are those over all accounts."""

    pull: str
    """Its name in the configuration."""
    stream: str
    """Such as `charges`."""
    table: str
    """Where it is written."""
    taken: bool
    """Is it pulled?"""
    mode: str
    """`incremental` reads what changed, `full_refresh` everything each time."""
    history: bool
    """Is every version of a row kept?"""
    deletes: str
    """`soft` marks deleted rows, `hard` removes them."""
    filtered: bool
    """Are some of its rows left out?"""
    columns: int
    """Columns that are kept."""
    of: int
    """Columns that there are."""
    hashed: int
    """Columns of which only a hash is kept."""
    permission: str
    """What a restricted key needs to read it, such as `rak_charge_read`."""
    accounts: int
    """Accounts of which something is known."""
    rows: int
    """Rows of its table, those marked as deleted left out."""
    deleted: int
    """Rows that are marked as deleted."""
    as_of: base.Moment | None
    """The moment of Stripe's clock up to which the account furthest behind is whole; null where none is known."""
    age: float | None
    """How old it is in seconds; null where that is not known."""
    bound: float | None
    """Seconds that `age` may be; null where nothing bounds it."""
    state: str
    """The worst of all accounts, as `tables` of one stream say it; empty where nothing is known yet."""
    error: str
    """What went wrong, or is held back until somebody looks; empty where nothing is."""


class StandingByAccount(base.Model):
    """One stream of one pull, account by account."""

    line: Standing
    """Over all accounts."""
    tables: list[overview.FreshTable]
    """One for each account, the worst first; of more than a thousand the worst thousand."""


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
    def schema(
        stream: Name,
        asker: asking.Reader,
        to: Literal["duckdb", "arrow"] = "duckdb",
        pull: Annotated[
            str,
            fastapi.Query(
                max_length=63, description="Only its derived columns; of all pulls otherwise, each name once."
            ),
        ] = "",
    ) -> Schema:
        del asker
        found = views.named(stream)
        try:
            derived = {each.name: (each, doc) for each, doc in views.derived(place.file, found, pull or None)}
        except Unknown as error:  # what is named by a filter, and not by the address
            raise base.problem(422, str(error)) from None
        columns = [Column.model_validate(each) for each in views.columns(found, to, tuple(derived.values()))]
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
