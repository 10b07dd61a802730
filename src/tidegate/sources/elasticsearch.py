"""Elasticsearch 7.12 and newer, and OpenSearch: the documents of an index, or Elasticsearch's own SQL.

Documents are read as they stood at one moment: Elasticsearch by a point in time and `search_after`, OpenSearch by a
scroll, since it has no order for all documents of a point in time before 3.3. A search that lost a shard or ran out
of time is an error, never fewer rows.

Elasticsearch itself, and its SQL, were never met: only what speaks like it. OpenSearch was.
"""

from __future__ import annotations

import contextlib
import re
import ssl
import time
import urllib.parse
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tidegate import errors
from tidegate.config import warehouses as config
from tidegate.sources import base, elasticsearch_sql, mapping, web
from tidegate.warehouse import base as warehouses
from tidegate.warehouse import wire

KEEP = "5m"
"""For how long the server keeps a snapshot between two pages."""

FIRST = 100
"""Documents of a page, until it is known how large they are."""

BYTES = 8 * 1024 * 1024
"""Of a page, in about."""

DATES = 90
"""Date fields that one search may ask for in the server's spelling; it allows 100."""
_PLACE = re.compile(r"\bline (\d+):(\d+)")
"""Where a mistake stands, as the server's SQL tells it."""


@dataclass(frozen=True, slots=True)
class Server:
    """Who answers: Elasticsearch or OpenSearch, and which version of it."""

    name: str
    version: tuple[int, ...]


class Elasticsearch:
    """A cluster, read only."""

    kind = "elasticsearch"

    def __init__(self, opened: web.Web, *, timeout: float) -> None:
        self._web, self._timeout = opened, timeout
        self._server: Server | None = None

    def check(self) -> list[warehouses.Check]:
        """Reach, sign in, list, read."""
        steps: warehouses.Steps = (
            ("reach", lambda: wire.reached(self._web.host, self._web.port)),
            ("sign in", self._check_sign_in),
            ("list", lambda: f"{len(self.tables())} indices, aliases and data streams can be seen"),
            ("read", self._check_read),
        )
        return warehouses.checked(steps)

    def tables(self) -> list[str]:
        """Indices, aliases and data streams, but for those of the server's own."""
        found = self._ask("GET", "/_resolve/index/*")
        names = {
            one["name"] for kind in ("indices", "aliases", "data_streams") for one in found.get(kind, ())
        }
        return sorted(name for name in names if not name.startswith("."))

    def columns(self, query: base.Query | str) -> pa.Schema:
        """The columns that the mapping tells, or for SQL the server."""
        query = base.only(query, self.kind, "sql", "table", "index")
        if query.sql is not None:
            with contextlib.closing(self._sql(query.sql, (), size=1)) as batches:
                return next(batches).schema
        index = _index(query)
        return _schema(self._columns(index, query))

    def read(self, query: base.Query | str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """Stream documents, `_id` first, or the rows of Elasticsearch's SQL."""
        query = base.only(query, self.kind, "sql", "table", "index")
        if query.sql is not None:
            return self._sql(query.sql, parameters)
        if parameters:
            raise errors.ConfigError("Only SQL takes parameters; write the values into the model's `query`.")
        return self._documents(_index(query), query)

    def close(self) -> None:
        """Let go of the connection."""
        self._web.close()

    # Documents

    def _documents(self, index: str, query: base.Query) -> Generator[pa.RecordBatch, None, None]:
        columns, schema = self._columns(index, query), None
        where = f"{index} of {self._web.where}"
        search = {
            "query": dict(query.query) if query.query is not None else {"match_all": {}},
            "_source": {"includes": sorted({column.path for column in columns})} if columns else False,
            "docvalue_fields": _dates(columns, where),
            "timeout": f"{max(1, round(self._timeout))}s",
        }
        schema = _schema(columns)
        if self._who().name == "elasticsearch":
            pages = self._by_point_in_time(index, search)
        else:
            pages = self._by_scroll(index, search)
        has_come = False
        with contextlib.closing(pages):
            for hits in pages:
                has_come = True
                yield _batch(schema, columns, hits, where)
        if not has_come:
            yield _batch(schema, columns, [], where)

    def _by_point_in_time(self, index: str, search: dict[str, Any]) -> Generator[list[Any], None, None]:
        opened = self._ask("POST", f"/{_path(index)}/_pit?keep_alive={KEEP}", index=index)
        held, size, after = opened["id"], FIRST, None
        try:
            while True:
                # https://www.elastic.co/guide/en/elasticsearch/reference/current/paginate-search-results.html
                page = search | {
                    "pit": {"id": held, "keep_alive": KEEP},
                    "sort": ["_shard_doc"],
                    "size": size,
                    "track_total_hits": False,
                }
                if after is not None:
                    page["search_after"] = after
                answer, length = self._searched("/_search?allow_partial_search_results=false", page, index)
                held, hits = answer.get("pit_id", held), answer["hits"]["hits"]
                if hits:
                    yield hits
                if len(hits) < size:
                    return
                after, size = hits[-1]["sort"], _fitting(len(hits), length)
        finally:
            with contextlib.suppress(errors.TidegateError):
                self._ask("DELETE", "/_pit", {"id": held})

    def _by_scroll(self, index: str, search: dict[str, Any]) -> Generator[list[Any], None, None]:
        path = f"/{_path(index)}/_search?allow_partial_search_results=false"
        # All pages of a scroll have one size, so some documents are looked at first.
        some, length = self._searched(path, search | {"sort": ["_doc"], "size": FIRST}, index)
        size = _fitting(len(some["hits"]["hits"]), length)
        answer, _ = self._searched(f"{path}&scroll={KEEP}", search | {"sort": ["_doc"], "size": size}, index)
        held = answer["_scroll_id"]
        try:
            while hits := answer["hits"]["hits"]:
                yield hits
                # Never sent twice: the server goes on to the next page whether the answer arrives or not.
                answer, _ = self._searched(
                    "/_search/scroll", {"scroll": KEEP, "scroll_id": held}, index, again=False
                )
                held = answer.get("_scroll_id", held)
        finally:
            with contextlib.suppress(errors.TidegateError):
                self._ask("DELETE", "/_search/scroll", {"scroll_id": [held]})

    def _searched(
        self, path: str, body: dict[str, Any], index: str, *, again: bool = True
    ) -> tuple[dict[str, Any], int]:
        """One page, and how many bytes it has; raises WarehouseError when it is not whole."""
        answer = self._answered("POST", path, body, index, again=again)
        found = self._parsed(answer)
        if found.get("timed_out"):
            raise errors.WarehouseError(
                f"The query on {index} of {self._web.where} ran longer than {self._timeout:g} s and was stopped; "
                "let it read less, or give it more time."
            )
        if found.get("_shards", {}).get("failed"):
            raise errors.WarehouseError(
                f"{self._web.where} could not read all shards of {index}; see to the health of the cluster and run "
                "this again."
            )
        return found, len(answer.body)

    def _columns(self, index: str, query: base.Query) -> list[mapping.Column]:
        found = self._ask("GET", f"/{_path(index)}/_mapping", index=index)
        if not found:
            raise errors.ConfigError(
                f"{self._web.where} has no index {index}; `index` is the name of an index, an alias, or a pattern."
            )
        return mapping.columns(found, query.fields, f"{index} of {self._web.where}")

    # SQL

    def _sql(
        self, text: str, parameters: Sequence[object], size: int = 1000
    ) -> Generator[pa.RecordBatch, None, None]:
        if self._who().name != "elasticsearch":
            raise errors.ConfigError(
                f"{self._web.where} is no Elasticsearch and has no SQL of its own; write the model with "
                "`index` and `query`."
            )
        limits = {"request_timeout": f"{max(1, round(self._timeout))}s", "page_timeout": KEEP}
        asked = {"query": text, "fetch_size": size, "field_multi_value_leniency": False, **limits}
        if parameters:
            asked["params"] = list(parameters)
        # https://www.elastic.co/guide/en/elasticsearch/reference/current/sql-rest-format.html
        answer = self._ask("POST", "/_sql?format=json", asked)
        schema = elasticsearch_sql.schema(answer["columns"])
        held = answer.get("cursor")
        try:
            while True:
                yield elasticsearch_sql.batch(schema, answer["rows"])
                if not held:
                    return
                answer = self._parsed(
                    self._answered("POST", "/_sql?format=json", {"cursor": held} | limits, "", again=False)
                )
                held = answer.get("cursor")
        finally:
            if held:
                with contextlib.suppress(errors.TidegateError):
                    self._ask("POST", "/_sql/close", {"cursor": held})

    # Asking

    def _who(self) -> Server:
        if self._server is None:
            version = self._ask("GET", "/").get("version", {})
            numbers = str(version.get("number", "0")).split("-")[0].split(".")
            name = version.get("distribution", "elasticsearch")
            self._server = Server(name, tuple(int(one) for one in numbers if one.isdecimal()))
            if name == "elasticsearch" and self._server.version < (7, 12):
                raise errors.ConfigError(
                    f"{self._web.where} is Elasticsearch {version.get('number')}; Tidegate reads 7.12 and newer."
                )
        return self._server

    def _ask(self, method: str, path: str, body: object = None, index: str = "") -> dict[str, Any]:
        return self._parsed(self._answered(method, path, body, index))

    def _answered(
        self, method: str, path: str, body: object, index: str, *, again: bool = True
    ) -> web.Answer:
        answer = self._web.ask(method, path, body, again=again)
        if answer.status >= 300:
            raise self._refused(answer, index)
        return answer

    def _parsed(self, answer: web.Answer) -> dict[str, Any]:
        try:
            found = answer.json(exact=True)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise errors.WarehouseError(
                f"{self._web.where} did not answer with JSON; check that the address is Elasticsearch's."
            )
        return found

    def _refused(self, answer: web.Answer, index: str) -> errors.TidegateError:
        """The error of ours for an answer that is none; Elasticsearch's reasons may quote values."""
        where, kind, detail = self._web.where, "", ""
        with contextlib.suppress(ValueError, AttributeError, LookupError, TypeError):
            told = answer.json()["error"]
            cause = (told.get("root_cause") or [told])[0]
            kind = str(cause.get("type", ""))
            at = (cause.get("line"), cause.get("col"))
            if found := _PLACE.search(str(cause.get("reason"))):
                at = (found[1], found[2])
            detail = f" ({kind}, line {at[0]}, column {at[1]})" if at[0] else f" ({kind})"
        if answer.status == 401:
            return errors.ConfigError(
                f"{where} refused the sign-in; check `api_key`, or `user` and `password`."
            )
        if answer.status == 403:
            cluster = "" if index else "the privilege `monitor` on the cluster, and "
            what = f"the index {index}" if index else "its indices"
            return errors.WarehouseError(
                f"{where} forbids it; grant this user {cluster}the privileges `read` and `view_index_metadata` on "
                f"{what}."
            )
        if answer.status == 404 and kind == "index_not_found_exception":
            return errors.ConfigError(
                f"{where} has no index {index}; `index` is the name of an index, an alias, or a pattern."
            )
        if answer.status == 404 and index:
            return errors.WarehouseError(
                f"{where} no longer keeps the snapshot of {index}{detail}: more than {KEEP} passed between two "
                "pages; take the rows away quicker, and run this again."
            )
        if answer.status in web.BUSY:
            return errors.WarehouseUnreachable(
                f"{where} is too busy ({answer.status}); run this again later."
            )
        if answer.status == 400:
            return errors.ConfigError(f"{where} does not understand the model's query{detail}; correct it.")
        return errors.WarehouseError(f"{where} failed with status {answer.status}{detail}; see its log.")

    # Checks

    def _check_sign_in(self) -> str:
        found = self._who()
        return f"{found.name} {'.'.join(map(str, found.version))}"

    def _check_read(self) -> str:
        self._searched(
            "/_search?allow_partial_search_results=false", {"size": 0, "track_total_hits": False}, "*"
        )
        return "a search was answered"


def open_source(
    target: config.Elasticsearch, *, timeout: float, pause: Callable[[float], None] = time.sleep
) -> Elasticsearch:
    """The source that a configuration describes; nothing is opened yet. Raises ConfigError for a bad `ca`."""
    parts = urllib.parse.urlsplit(target.url.get_secret_value())
    headers = {}
    if target.api_key is not None:
        headers["Authorization"] = f"ApiKey {target.api_key.get_secret_value()}"
    elif target.user is not None and target.password is not None:
        headers["Authorization"] = web.basic(target.user, target.password.get_secret_value())
    elif parts.username is not None:
        user, password = urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or "")
        headers["Authorization"] = web.basic(user, password)
    context = None
    if target.ca is not None:
        try:
            context = ssl.create_default_context(cafile=target.ca)
        except (OSError, ssl.SSLError) as error:
            why = error.strerror or "it holds no certificates"
            raise errors.ConfigError(f"The file {target.ca} of `ca` cannot be used ({why}).") from None
    where = parts.hostname or "Elasticsearch"
    url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return Elasticsearch(
        web.Web(url, where=where, timeout=timeout, headers=headers, context=context, pause=pause),
        timeout=timeout,
    )


def _fitting(count: int, length: int) -> int:
    """How many documents make a page, when so many had so many bytes."""
    return max(1, min(base.BATCH, BYTES * count // max(length, 1)))


def _index(query: base.Query) -> str:
    found = query.index if query.index is not None else query.table
    assert found is not None, "One of both is given."
    return found


def _path(index: str) -> str:
    return urllib.parse.quote(index, safe="*,-")


def _schema(columns: Sequence[mapping.Column]) -> pa.Schema:
    return pa.schema([pa.field("_id", pa.string()), *(column.field for column in columns)])


def _dates(columns: Sequence[mapping.Column], where: str) -> list[dict[str, str]]:
    """The dates that the server shall spell, since documents hold them in any of a mapping's formats."""
    asked = [
        {
            "field": column.path,
            "format": "strict_date_optional_time_nanos"
            if column.type == "date_nanos"
            else "strict_date_time",
        }
        for column in columns
        if column.type in mapping.DATES and not column.as_json and column.has_doc_values
    ]
    if len(asked) > DATES:
        raise errors.ConfigError(
            f"{where} has {len(asked)} date fields; name at most {DATES} under `fields`."
        )
    return asked


def _batch(
    schema: pa.Schema, columns: Sequence[mapping.Column], hits: Sequence[Mapping[str, Any]], where: str
) -> pa.RecordBatch:
    ids = pa.array([hit["_id"] for hit in hits], pa.string())
    arrays = [ids, *(mapping.values(column, hits, where) for column in columns)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
