"""Streams: what Stripe has, what of it each pull takes, where their tables stand, and their newest rows."""

from __future__ import annotations

import collections
import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tidegate import catalog, config, errors, views
from tidegate.config import values
from tidegate.engine import place as places
from tidegate.pull import look, scope, settings
from tidegate.rows import decode
from tidegate.views import outside, standing

if TYPE_CHECKING:
    import pyarrow as pa

Sort = Literal["name", "rows", "age", "state"]

TELLING = (
    "id",
    "created",
    "amount",
    "total",
    "currency",
    "status",
    "name",
    "email",
    "description",
    "customer",
)
"""Columns that people look for first."""
CELL = 40
"""Characters of a value that are short enough for a table."""
COLUMNS = 7
"""Columns that a table shows when none were asked for."""
NEWEST = 100
"""Rows that Stripe shows at a time."""

_OWN = {
    "_account_id": "The Stripe account the row belongs to.",
    "_parent_id": "The parent's id.",
    "_parent_type": "The parent's object type.",
    "_extra": "Fields that the catalog does not know, and values that do not fit their column.",
    "_version": "Stripe's clock when the request that returned the row was sent; unix seconds.",
    "_synced_at": "When the row was written.",
    "_deleted_at": "When Stripe deleted the object; null while it exists.",
}


# --- what Stripe has ---


def named(name: str) -> catalog.Stream:
    """A stream of the catalog; raises Unknown."""
    known = catalog.load().streams
    if name not in known:
        near = values.suggestion(name, known)
        raise views.Unknown(f"Stripe has no stream {name}{near or '; `tidegate streams` lists them'}")
    return known[name]


def select(streams: Iterable[catalog.Stream], pattern: str) -> list[catalog.Stream]:
    """The streams that a pattern means, by name: those that have it in their name, or match `issuing_*`."""
    wild = any(letter in pattern for letter in "*?[")
    found = [
        stream
        for stream in streams
        if (fnmatch.fnmatchcase(stream.name, pattern) if wild else pattern in stream.name)
    ]
    return sorted(found, key=lambda stream: stream.name)


def described(stream: catalog.Stream) -> dict[str, Any]:
    """A stream, as `tidegate streams --json` prints it."""
    origin = stream.origins[0]
    return {
        "name": stream.name,
        "object": stream.object,
        "api": stream.api,
        "path": stream.path,
        "paths": [each.path for each in stream.origins],
        "parent": stream.parent or None,
        "kind": origin.kind,
        "route": origin.route,
        "created_filter": stream.created_filter,
        "events": sorted({*stream.events.created, *stream.events.updated, *stream.events.deleted}),
        "key": list(stream.key),
        "permission": stream.permission,
        "columns": len(stream.fields),
        "default": stream.default,
        "why": stream.why or None,
    }


Derived = Sequence[tuple["pa.Field", str]]
"""Columns that come after Stripe's own, with what they are."""


def columns(stream: catalog.Stream, to: str = "duckdb", derived: Derived = ()) -> list[dict[str, Any]]:
    """Name, type (of `duckdb` or `arrow`), nullability and documentation of every column, in the table's order."""
    fields = {field.name: field for field in stream.fields}
    key = {"_account_id", "_version", "_synced_at", *stream.key}
    given = decode.Decoder(stream).schema
    place = given.get_field_index("_extra")
    docs = {name: field.doc for name, field in fields.items()} | _OWN
    own = [(each, docs.get(each.name, "")) for each in given]
    return [
        {
            "name": column.name,
            "type": duckdb_type(column) if to == "duckdb" else _arrow_type(column),
            "nullable": column.name not in key,
            "references": list(fields[column.name].expands) if column.name in fields else [],
            "doc": doc,
        }
        for column, doc in [*own[:place], *derived, *own[place:]]
    ]


def derived(file: config.Config, stream: catalog.Stream, pull: str | None = None) -> Derived:
    """The derived columns of a stream, of one pull or of all; raises Unknown."""
    if pull is not None and pull not in file.pulls:
        near = values.suggestion(pull, file.pulls)
        raise views.Unknown(f"there is no pull {pull!r} in the configuration{near or ''}")
    return [
        (column, f"Derived by the pull {name}: {settings.origin(told)}.")
        for name, each in file.pulls.items()
        if pull in (None, name) and each.takes(stream.name, default=stream.default)
        for column, told in settings.derived_columns(each, stream, name)
    ]


def duckdb_type(column: pa.Field) -> str:
    """The DuckDB type of an Arrow column."""
    if _is_json(column):
        return "JSON"
    names = {
        "string": "VARCHAR",
        "int64": "BIGINT",
        "double": "DOUBLE",
        "bool": "BOOLEAN",
        "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE",
    }
    return names.get(str(column.type), str(column.type).upper().replace("128", "").replace(" ", ""))


def _arrow_type(column: pa.Field) -> str:
    return "json" if _is_json(column) else str(column.type)


def _is_json(column: pa.Field) -> bool:
    return (column.metadata or {}).get(b"tidegate") == b"json"


# --- the newest rows of one, read from Stripe ---


def source(file: config.Config, connection: str | None = None) -> tuple[str, scope.Source]:
    """A connection's name, and how Stripe is reached over it; one must be named where there are several."""
    names = list(file.stripe)
    if connection is None and len(names) != 1:
        raise errors.ConfigError(
            f"say which connection with --connection: {', '.join(names) or 'there is none'}"
        )
    name = connection or names[0]
    if name not in file.stripe:
        raise views.Unknown(f"there is no connection {name!r}; the configuration has {', '.join(names)}")
    return name, settings.source(file.stripe[name])


def newest(
    place: places.Place, name: str, connection: str | None = None, limit: int = 10
) -> list[dict[str, object]]:
    """The newest rows of a stream as they would land in a table, read from Stripe now; 1 to 100."""
    if not 1 <= limit <= NEWEST:
        raise errors.ConfigError(f"{limit} rows cannot be shown; Stripe shows 1 to {NEWEST} at a time")
    named(name)
    chosen, found = source(place.file, connection)
    found = dataclasses.replace(found, purse=place.purse)
    return outside.stripe(chosen, lambda: look.newest(found, name, limit))


def telling(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """The columns that say most in little room: what people look for, then whatever is filled and short."""
    filled = [
        name
        for name in rows[0]
        if not name.startswith("_") and any(row[name] is not None for row in rows) and name != "object"
    ]
    short = [name for name in filled if max(len(str(row[name])) for row in rows) <= CELL]
    known = [name for name in TELLING if name in filled]
    return [*dict.fromkeys([*known, *short])][:COLUMNS]


# --- what the pulls take ---


@dataclass(frozen=True, slots=True)
class Line:
    """One stream of one pull: how it is pulled, and where its tables stand over all accounts.

    `as_of` is that of the account that is furthest behind, in unix seconds of Stripe's clock; `state` the worst,
    empty where nothing is known yet.
    """

    pull: str
    stream: str
    table: str
    taken: bool
    """Is it chosen?"""
    default: bool
    """Does `"*"` mean it?"""
    own: bool
    """Has it options of its own in the pull?"""
    options: config.StreamOptions
    columns: int
    """Columns that are kept."""
    of: int
    """Columns that there are."""
    permission: str
    accounts: int = 0
    rows: int = 0
    deleted: int = 0
    as_of: float | None = None
    age: float | None = None
    bound: float | None = None
    state: standing.State | Literal[""] = ""
    error: str = ""

    @property
    def hashed(self) -> int:
        """Columns that are hashed."""
        return len(self.options.hashed)


@dataclass(frozen=True, slots=True)
class Lines:
    """A page of them: `total` is how many there are on all pages."""

    items: tuple[Line, ...]
    total: int
    next: int | None


def listed(
    place: places.Place,
    *,
    pull: str = "",
    search: str = "",
    taken: bool | None = None,
    state: str = "",
    sort: str = "",
    after: int = 0,
    limit: int = 100,
) -> Lines:
    """The streams of one pull, or of all of them, page by page; `after` counts those before the page.

    `sort` is `name`, `rows`, `age` or `state` (the worst first), with a `-` before it the other way round; by
    default those that are chosen stand first, by pull and name. Raises Unknown for a pull that is not there.
    """
    names = [pull_named(place, pull)] if pull else list(place.file.pulls)
    stands = _stands(place, names)
    known = select(catalog.load().streams.values(), search.strip().lower())
    found = [
        brief
        for name in names
        for each in known
        for brief in [_brief(name, place.file.pulls[name], each, stands.get((name, each.name), []))]
        if (taken is None or brief.taken == taken) and (not state or brief.state == state)
    ]
    if sort:
        found.sort(key=_SORTS[_sort(sort)], reverse=sort.startswith("-"))
    else:
        found.sort(key=lambda brief: not brief.taken)
    page = found[after : after + limit]
    following = after + len(page)
    return Lines(tuple(_whole(place, page)), len(found), following if following < len(found) else None)


def one(place: places.Place, pull: str, stream: str) -> tuple[Line, list[standing.Table]]:
    """One stream of one pull, and its table account by account, the worst first."""
    pull_named(place, pull)
    tables = standing.tables(place, f"pull:{pull}", named(stream).name)
    tables.sort(key=lambda each: each.badness)
    groups = standing.grouped(place, f"pull:{pull}", stream)
    line = _line(place.file.pulls[pull], _brief(pull, place.file.pulls[pull], named(stream), groups))
    return (line if not tables else _worst(line, tables[0])), tables


def pull_named(place: places.Place, name: str) -> str:
    """The name of a pull; raises Unknown where the configuration has none of it."""
    if name not in place.file.pulls:
        raise views.Unknown(f"There is no pull {name!r}{values.suggestion(name, place.file.pulls) or '.'}")
    return name


_Groups = Mapping[tuple[str, str], Sequence[standing.Group]]
"""How tables stand, by pull and stream."""


def _stands(place: places.Place, names: Sequence[str]) -> _Groups:
    flow = f"pull:{names[0]}" if len(names) == 1 else ""
    found: dict[tuple[str, str], list[standing.Group]] = collections.defaultdict(list)
    for each in standing.grouped(place, flow):
        found[each.flow.partition(":")[2], each.stream].append(each)
    return found


@dataclass(frozen=True, slots=True)
class _Brief:
    """What lines are chosen and sorted by: of all of them, of which a page shows a few."""

    pull: str
    stream: str
    taken: bool
    state: standing.State | Literal[""]
    rows: int
    age: float | None
    of: catalog.Stream
    groups: Sequence[standing.Group]


def _brief(name: str, pull: config.Pull, stream: catalog.Stream, groups: Sequence[standing.Group]) -> _Brief:
    return _Brief(
        name,
        stream.name,
        pull.takes(stream.name, default=stream.default),
        min(groups, key=lambda each: each.badness).state if groups else "",
        sum(each.rows for each in groups),
        max((each.age for each in groups if each.age is not None), default=None),
        stream,
        groups,
    )


def _line(pull: config.Pull, brief: _Brief) -> Line:
    """A line without what its worst table says alone."""
    stream, groups, options = brief.of, brief.groups, pull.options(brief.stream)
    known = {field.name for field in decode.fields(stream)}
    kept = (known if options.only is None else known & options.only) - options.excluded
    return Line(
        brief.pull,
        brief.stream,
        options.table or brief.stream,
        brief.taken,
        stream.default,
        brief.stream in pull.streams,
        options,
        len(kept),
        len(known),
        stream.permission,
        accounts=sum(each.count for each in groups),
        rows=brief.rows,
        deleted=sum(each.deleted for each in groups),
        as_of=min((each.as_of for each in groups if each.as_of is not None), default=None),
        age=brief.age,
        state=brief.state,
    )


def _whole(place: places.Place, briefs: Sequence[_Brief]) -> list[Line]:
    """Lines of a page, with what the worst table of each says."""
    groups = [min(each.groups, key=lambda group: group.badness) for each in briefs if each.groups]
    worst = standing.worst_of_each(place, groups)
    said = {(each.flow.partition(":")[2], each.stood.stream): each for each in worst}
    found = (
        (_line(place.file.pulls[each.pull], each), said.get((each.pull, each.stream))) for each in briefs
    )
    return [line if table is None else _worst(line, table) for line, table in found]


def _worst(line: Line, table: standing.Table) -> Line:
    stood = table.stood
    return dataclasses.replace(
        line, bound=table.bound, state=table.state, error=stood.error or stood.held or stood.listing or ""
    )


_SORTS: Mapping[str, Any] = {
    "name": lambda brief: (brief.stream, brief.pull),
    "rows": lambda brief: (brief.rows, brief.stream),
    "age": lambda brief: (brief.age if brief.age is not None else -1.0, brief.stream),
    "state": lambda brief: (
        standing.STATES.index(brief.state) if brief.state else len(standing.STATES),
        brief.stream,
    ),
}


def _sort(asked: str) -> str:
    name = asked.removeprefix("-")
    if name not in _SORTS:
        raise errors.ConfigError(f"streams cannot be sorted by {name!r}; sort by {', '.join(_SORTS)}")
    return name
