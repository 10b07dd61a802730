"""A stand-in for Elasticsearch 8: documents under strict mappings, points in time, searches and SQL, over HTTP.

https://www.elastic.co/guide/en/elasticsearch/reference/8.17/rest-apis.html. It is made to be harsh: the id of a
point in time changes with every page, `_source` and doc values are told apart, dates come in the spelling that is
asked for, and what it does not know is refused. SQL runs in DuckDB.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import fnmatch
import http.server
import json
import re
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

ARROW = {
    "long": pa.int64(),
    "integer": pa.int32(),
    "unsigned_long": pa.uint64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.timestamp("us"),
}
"""Types of mappings as DuckDB is given them; all others are text."""

TOLD = {
    "BIGINT": "long",
    "HUGEINT": "long",
    "INTEGER": "integer",
    "UBIGINT": "unsigned_long",
    "DOUBLE": "double",
    "BOOLEAN": "boolean",
    "TIMESTAMP": "datetime",
}
"""Types of DuckDB as Elasticsearch's SQL calls them."""

SEARCH = {
    "query",
    "_source",
    "docvalue_fields",
    "track_total_hits",
    "timeout",
    "pit",
    "sort",
    "size",
    "search_after",
}


class Refused(Exception):
    """An error as Elasticsearch writes it."""

    def __init__(self, status: int, kind: str, reason: str, **more: object) -> None:
        super().__init__(reason)
        cause = {"type": kind, "reason": reason, **more}
        self.status, self.body = status, {"error": {"root_cause": [cause], **cause}, "status": status}


@dataclass
class Index:
    """Documents by their ids, and the types of their fields by path."""

    mappings: dict[str, Any]
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def types(self) -> dict[str, dict[str, Any]]:
        """Fields by their dotted paths."""
        return dict(_fields(self.mappings.get("properties", {}), ""))


@dataclass
class Cluster:
    """What the stand-in holds and notes; the tests switch its troubles on."""

    indices: dict[str, Index] = field(default_factory=dict)
    aliases: dict[str, list[str]] = field(default_factory=dict)
    points: dict[str, list[tuple[str, str, dict[str, Any]]]] = field(default_factory=dict)
    """Points in time that are open: index, id and source of all documents."""
    cursors: dict[str, tuple[list[list[Any]], int]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    passwords: dict[str, str] = field(default_factory=lambda: {"elastic": "päss:w@rd"})
    keys: set[str] = field(
        default_factory=lambda: {"VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw=="}
    )
    forbidden: set[str] = field(default_factory=set)
    is_monitored: bool = True
    """May users ask who answers?"""
    busy: int = 0
    """How many of the next requests are told to come back later."""
    retry_after: str = ""
    """And when, as a proxy in front of the cluster says it."""
    cut: int = 0
    """How many of the next answers break off."""
    stuck: threading.Event | None = None
    """What searches wait for."""
    is_slow: bool = False
    lost_shards: int = 0
    version: str = "8.17.4"
    url: str = ""
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10**9)))

    def named(self, names: str) -> list[str]:
        """The indices behind names, aliases and patterns."""
        found: list[str] = []
        for name in names.split(","):
            here = [each for each in self.indices if fnmatch.fnmatchcase(each, name)]
            here += [
                each for alias, to in self.aliases.items() if fnmatch.fnmatchcase(alias, name) for each in to
            ]
            if not here and "*" not in name:
                raise Refused(404, "index_not_found_exception", f"no such index [{name}]", index=name)
            found += [each for each in here if each not in found]
        if self.forbidden & set(found):
            raise Refused(
                403, "security_exception", "action [indices:data/read/search] is unauthorized for user [x]"
            )
        return found


@contextlib.contextmanager
def cluster(context: ssl.SSLContext | None = None) -> Iterator[Cluster]:
    """An empty cluster; `context` makes it speak TLS."""
    state = Cluster()

    class Handler(_Handler):
        cluster = state

    server = _Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    state.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that hang up, or do not trust the certificate


class _Handler(http.server.BaseHTTPRequestHandler):
    cluster: Cluster
    protocol_version = "HTTP/1.1"
    timeout = 5

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        state = self.cluster
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        state.asked.append((self.command, self.path))
        if state.busy:
            state.busy -= 1
            busy = Refused(
                429, "es_rejected_execution_exception", "rejected execution of search: queue capacity 1000"
            )
            self.answer(429, busy.body)
            return
        try:
            self.sign_in()
            self.answer(200, self.reply(body))
        except Refused as refused:
            self.answer(refused.status, refused.body)

    do_POST = do_PUT = do_DELETE = do_GET

    def sign_in(self) -> None:
        kind, _, told = self.headers.get("Authorization", "").partition(" ")
        if kind == "ApiKey" and told in self.cluster.keys:
            return
        if kind == "Basic":
            user, _, password = base64.b64decode(told).decode().partition(":")
            if self.cluster.passwords.get(user) == password:
                return
        raise Refused(
            401, "security_exception", "missing or wrong authentication credentials for REST request"
        )

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-elastic-product", "Elasticsearch")
        if status == 429 and self.cluster.retry_after:
            self.send_header("Retry-After", self.cluster.retry_after)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.cluster.cut and status == 200:
            self.cluster.cut -= 1
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        self.wfile.write(data)

    def reply(self, body: bytes) -> Any:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        parts = [urllib.parse.unquote(part) for part in url.path.split("/")[1:]]
        if parts == ["_bulk"]:
            return self.bulk([json.loads(line) for line in body.splitlines() if line])
        told = json.loads(body) if body else {}
        match self.command, *parts:
            case "GET", "" if not self.cluster.is_monitored:
                raise Refused(403, "security_exception", "action [cluster:monitor/main] is unauthorized")
            case "GET", "":
                return {
                    "name": "n",
                    "version": {"number": self.cluster.version},
                    "tagline": "You Know, for Search",
                }
            case "GET", "_resolve", "index", "*":
                aliases = [{"name": name, "indices": to} for name, to in self.cluster.aliases.items()]
                indices = [{"name": name, "attributes": ["open"]} for name in sorted(self.cluster.indices)]
                return {"indices": indices, "aliases": aliases, "data_streams": []}
            case "GET", names, "_mapping":
                return {
                    name: {"mappings": self.cluster.indices[name].mappings}
                    for name in self.cluster.named(names)
                }
            case "POST", names, "_pit":
                assert query.keys() == {"keep_alive"}
                return {"id": self.point([*self.documents(names)])}
            case "DELETE", "_pit":
                return {"succeeded": self.cluster.points.pop(told["id"], None) is not None, "num_freed": 1}
            case "POST", "_search":
                return self.search(told, query)
            case "POST", "_sql":
                return self.sql(told, query)
            case "POST", "_sql", "close":
                return {"succeeded": self.cluster.cursors.pop(told["cursor"], None) is not None}
            case "PUT", name:
                self.cluster.indices[name] = Index(told["mappings"])
                return {"acknowledged": True, "index": name}
            case "POST", "_aliases":
                for action in told["actions"]:
                    self.cluster.aliases.setdefault(action["add"]["alias"], []).append(action["add"]["index"])
                return {"acknowledged": True}
        raise Refused(400, "illegal_argument_exception", f"request [{self.path}] is not understood")

    def bulk(self, lines: list[Any]) -> Any:
        for action, source in zip(lines[::2], lines[1::2], strict=True):
            index = self.cluster.indices[action["index"]["_index"]]
            known = index.types
            for path, value in _leaves(source, ""):
                above = [path, *(path[: found.start()] for found in re.finditer(r"\.", path))]
                assert value is None or any(each in known for each in above), f"strict mapping: {path}"
            index.documents[action["index"]["_id"]] = source
        return {"errors": False, "items": []}

    def documents(self, names: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for name in self.cluster.named(names):
            for number, source in self.cluster.indices[name].documents.items():
                yield name, number, source

    def point(self, documents: list[tuple[str, str, dict[str, Any]]]) -> str:
        name = f"46ToAwMDaWR5{next(self.cluster.numbers)}=="
        self.cluster.points[name] = documents
        return name

    def search(self, told: dict[str, Any], query: dict[str, str]) -> Any:
        assert query == {"allow_partial_search_results": "false"}
        if self.cluster.stuck is not None:
            self.cluster.stuck.wait(30)
        if told.keys() - SEARCH:
            raise Refused(
                400, "parsing_exception", f"Unknown key for a VALUE in {sorted(told)}", line=1, col=2
            )
        size = told.get("size", 10)
        if size > 10_000:
            raise Refused(400, "illegal_argument_exception", "Result window is too large")
        held = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
        answer: dict[str, Any] = {
            "took": 1,
            "timed_out": self.cluster.is_slow,
            "_shards": held,
            "hits": {"hits": []},
        }
        held["failed"] = self.cluster.lost_shards
        if "pit" not in told:
            assert size == 0
            return answer
        assert told["pit"]["keep_alive"]
        documents = self.cluster.points.pop(told["pit"]["id"], None)
        if documents is None:
            raise Refused(404, "search_context_missing_exception", "No search context found for id [12]")
        answer["pit_id"] = self.point(documents)
        assert told["sort"] == ["_shard_doc"]
        _matches(told.get("query", {"match_all": {}}), {})  # a query is understood before anything is read
        start = told["search_after"][0] + 1 if "search_after" in told else 0
        found = [
            (place, document)
            for place, document in enumerate(documents)
            if place >= start and _matches(told.get("query", {"match_all": {}}), document[2])
        ]
        answer["hits"]["hits"] = [self.hit(place, document, told) for place, document in found[:size]]
        return answer

    def hit(
        self, place: int, document: tuple[str, str, dict[str, Any]], told: dict[str, Any]
    ) -> dict[str, Any]:
        index, number, source = document
        hit: dict[str, Any] = {"_index": index, "_id": number, "_score": None, "sort": [place]}
        kept = self.cluster.indices[index].mappings.get("_source", {})
        if told.get("_source", True) is not False and kept.get("enabled", True):
            source = {name: one for name, one in source.items() if name not in kept.get("excludes", ())}
            hit["_source"] = _included(source, told["_source"]["includes"], "")
        fields = {}
        for asked in told.get("docvalue_fields", ()):
            kind = self.cluster.indices[index].types.get(asked["field"], {})
            values = [
                value for path, value in _leaves(source, "") if path == asked["field"] and value is not None
            ]
            if values and kind.get("doc_values", True):
                fields[asked["field"]] = sorted(
                    _date(value, kind["type"], asked["format"]) for value in values
                )
        return hit | ({"fields": fields} if fields else {})

    def sql(self, told: dict[str, Any], query: dict[str, str]) -> Any:
        assert query == {"format": "json"}
        if "cursor" in told:
            if told["cursor"] not in self.cluster.cursors:
                raise Refused(404, "search_context_missing_exception", "No search context found for id [12]")
            rows, size = self.cluster.cursors.pop(told["cursor"])
            return self.page(rows, size)
        with duckdb.connect() as engine:
            for name, index in self.cluster.indices.items():
                _laid(engine, name, index)
            try:
                result = engine.execute(told["query"], told.get("params"))
            except duckdb.ParserException:
                raise Refused(
                    400, "parsing_exception", "line 1:8: mismatched input 'FROM' expecting {...}"
                ) from None
            except duckdb.Error:
                reason = "Found 1 problem\nline 1:8: Unknown column [nope], did you mean [name]?"
                raise Refused(400, "verification_exception", reason) from None
            columns = [
                {"name": name, "type": TOLD.get(str(kind), "keyword")}
                for name, kind, *_ in result.description
            ]
            rows = [[_spoken(value) for value in row] for row in result.fetchall()]
        return {"columns": columns} | self.page(rows, told["fetch_size"])

    def page(self, rows: list[list[Any]], size: int) -> dict[str, Any]:
        if len(rows) <= size:
            return {"rows": rows}
        cursor = f"sDXF1ZXJ5{next(self.cluster.numbers)}"
        self.cluster.cursors[cursor] = rows[size:], size
        return {"rows": rows[:size], "cursor": cursor}


def _fields(properties: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, told in properties.items():
        if "properties" in told and told.get("type", "object") == "object":
            yield from _fields(told["properties"], f"{prefix}{name}.")
        else:
            yield prefix + name, told


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """All values of a document with their paths, those of arrays one by one."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _leaves(one, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one, path)
    else:
        yield path, value


def _included(source: Any, includes: list[str], path: str) -> Any:
    """A document with nothing but what is included; objects whose members are all left out are left out, too."""
    if isinstance(source, list):
        return [_included(one, includes, path) for one in source]
    if not isinstance(source, dict):
        return source
    kept = {}
    for name, value in source.items():
        here = f"{path}.{name}" if path else name
        if any(here == one or here.startswith(f"{one}.") for one in includes):
            kept[name] = value
        elif any(one.startswith(f"{here}.") for one in includes) and isinstance(value, dict | list):
            kept[name] = _included(value, includes, here)
    return kept


def _matches(query: dict[str, Any], source: dict[str, Any]) -> bool:
    [(kind, told)] = query.items()
    if kind == "match_all":
        return True
    if kind == "bool":
        required = [*told.get("filter", ()), *told.get("must", ())]
        return all(_matches(one, source) for one in required) and not any(
            _matches(one, source) for one in told.get("must_not", ())
        )
    if kind not in ("term", "terms", "range", "exists"):
        raise Refused(400, "parsing_exception", f"unknown query [{kind}]", line=1, col=23)
    if kind == "exists":
        return any(path == told["field"] and value is not None for path, value in _leaves(source, ""))
    [(name, wanted)] = told.items()
    values = [value for path, value in _leaves(source, "") if path == name and value is not None]
    if kind == "range":
        return any(wanted.get("gte", value) <= value <= wanted.get("lte", value) for value in values)
    return any(value in (wanted if kind == "terms" else [wanted]) for value in values)


def _date(value: Any, kind: str, form: str) -> str:
    """A date as doc values hold it, to the millisecond unless its type is finer, in the format asked for."""
    assert form == ("strict_date_optional_time_nanos" if kind == "date_nanos" else "strict_date_time")
    moment, part = _moment(value)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{part[:9] if kind == 'date_nanos' else part[:3]}Z"


def _moment(value: Any) -> tuple[dt.datetime, str]:
    if isinstance(value, int):
        return dt.datetime.fromtimestamp(value // 1000, dt.UTC), f"{value % 1000:03d}000000"
    told = re.fullmatch(r"([^.]*?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?", value)
    assert told is not None
    moment = dt.datetime.fromisoformat(told[1] + (told[3] or "" if "T" in told[1] else ""))
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment, (told[2] or "").ljust(9, "0")


def _laid(engine: duckdb.DuckDBPyConnection, name: str, index: Index) -> None:
    documents = [dict(_leaves(source, "")) for source in index.documents.values()]
    columns = {}
    for path, told in index.types.items():
        values = [document.get(path) for document in documents]
        if told["type"] == "date":
            values = [value and _moment(value)[0].replace(tzinfo=None) for value in values]
        kind = ARROW.get(told["type"], pa.string())
        columns[path] = pa.array(
            [None if v is None else str(v) if kind == pa.string() else v for v in values], kind
        )
    engine.register(name, pa.table(columns))


def _spoken(value: Any) -> Any:
    return f"{value:%Y-%m-%dT%H:%M:%S}.000Z" if isinstance(value, dt.datetime) else value
