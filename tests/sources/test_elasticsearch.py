"""Elasticsearch, of which there is a stand-in, and OpenSearch itself: the same documents, the same columns."""

from __future__ import annotations

import datetime as dt
import json
import ssl
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import elasticsearch as fake
import mariadbd
import opensearchd
import pyarrow as pa
import pytest

from tidegate import errors, sources
from tidegate.config import warehouses as config
from tidegate.sources import base
from tidegate.sources import elasticsearch as adapter
from tidegate.warehouse import base as warehouses

UTC = pa.timestamp("us", "UTC")
PASSWORD = "päss:w@rd"
PROPERTIES = {
    "id": {"type": "keyword"},
    "name": {"type": "text"},
    "n": {"type": "long"},
    "huge": {"type": "unsigned_long"},
    "ltv": {"type": "double"},
    "active": {"type": "boolean"},
    "since": {"type": "date"},
    "exact": {"type": "date_nanos"},
    "address": {
        "properties": {"city": {"type": "keyword"}, "geo": {"properties": {"lat": {"type": "double"}}}}
    },
    "items": {"type": "nested", "properties": {"sku": {"type": "keyword"}}},
    "place": {"type": "geo_point"},
}
JENNY = {
    "id": "c1",
    "name": "Jenny 😀",
    "n": 2**53 + 1,
    "huge": 2**64 - 1,
    "ltv": 0.1,
    "active": True,
    "since": "2024-02-29T23:30:00.123+02:00",
    "exact": "2024-02-29T12:00:00.123456789Z",
    "address": {"city": "Zürich", "geo": {"lat": 47.4}},
    "items": [{"sku": "a"}, {"sku": "b"}],
    "place": {"lat": 1.5, "lon": 2},
}


@dataclass
class Cluster:
    """A cluster of either kind, written to by its own HTTP, and sources that were opened on it."""

    url: str
    state: fake.Cluster | None = None
    opened: list[adapter.Elasticsearch] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    """How long sources would have waited, had they not been kept from it."""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What the server answers."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"}, method=method
        )
        if self.state is not None:
            request.add_header("Authorization", f"ApiKey {min(self.state.keys)}")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def put(
        self, index: str, properties: Mapping[str, Any], documents: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Make an index, and put documents into it, whose ids are their numbers."""
        self.call("PUT", f"/{index}", {"mappings": {"dynamic": "strict", "properties": properties}})
        self.add(index, documents)

    def add(self, index: str, documents: Sequence[Mapping[str, Any]], start: int = 0) -> None:
        """Put documents into an index."""
        lines = [
            json.dumps(line)
            for number, document in enumerate(documents, start)
            for line in ({"index": {"_index": index, "_id": str(number)}}, document)
        ]
        if lines:
            answer = self.call("POST", "/_bulk?refresh=true", ("\n".join(lines) + "\n").encode())
            assert not answer["errors"], answer

    def open(self, *, timeout: float = 60, **changed: Any) -> adapter.Elasticsearch:
        """A source; waiting takes no time, and is noted."""
        given = (
            {"url": self.url}
            | ({"api_key": min(self.state.keys)} if self.state is not None else {})
            | changed
        )
        target = config.Elasticsearch.model_validate(
            {name: one for name, one in given.items() if one is not None}
        )
        self.opened.append(adapter.open_source(target, timeout=timeout, pause=self.pauses.append))
        return self.opened[-1]

    def snapshots(self) -> int:
        """How many snapshots the server keeps."""
        if self.state is not None:
            return len(self.state.points) + len(self.state.cursors)
        stats = self.call("GET", "/_nodes/stats/indices/search")
        return sum(node["indices"]["search"]["open_contexts"] for node in stats["nodes"].values())

    def forget(self) -> None:
        """Drop all snapshots, as a server does with old ones."""
        if self.state is not None:
            self.state.points.clear()
        else:
            self.call("DELETE", "/_search/scroll/_all")


@pytest.fixture
def elastic() -> Iterator[Cluster]:
    """The stand-in for Elasticsearch."""
    with fake.cluster() as state:
        found = Cluster(state.url, state)
        yield found
        for one in found.opened:
            one.close()


@pytest.fixture
def opensearch() -> Iterator[Cluster]:
    """OpenSearch, with nothing in it."""
    found = Cluster(opensearchd.opensearch())
    for name in found.call("GET", "/_mapping"):
        found.call("DELETE", f"/{name}")
    yield found
    for one in found.opened:
        one.close()


@pytest.fixture(params=["elastic", "opensearch"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Both, one after the other."""
    found: Cluster = request.getfixturevalue(request.param)
    return found


def rows(source: base.Source, query: base.Query | str, parameters: Sequence[object] = ()) -> pa.Table:
    """All rows of a query."""
    return pa.Table.from_batches(list(source.read(query, parameters)))


def said(source: base.Source, query: base.Query | str) -> str:
    """The error that reading raises."""
    with pytest.raises(errors.TidegateError) as caught:
        rows(source, query)
    return str(caught.value)


def customers(**more: Any) -> base.Query:
    """The documents of the index `customers`."""
    return base.Query(index="customers", **more)


# Documents


def test_mappings_become_columns_and_documents_rows(cluster: Cluster) -> None:
    cluster.put("customers", PROPERTIES, [JENNY, {"id": "c2", "name": None}])
    found = rows(cluster.open(), customers()).sort_by("_id")
    assert found.schema == pa.schema(
        [
            pa.field("_id", pa.string()),
            pa.field("active", pa.bool_()),
            pa.field("address.city", pa.string()),
            pa.field("address.geo.lat", pa.float64()),
            pa.field("exact", pa.timestamp("ns", "UTC")),
            pa.field("huge", pa.uint64()),
            pa.field("id", pa.string()),
            pa.field("items", pa.string(), metadata=warehouses.JSON),
            pa.field("ltv", pa.float64()),
            pa.field("n", pa.int64()),
            pa.field("name", pa.string()),
            pa.field("place", pa.string(), metadata=warehouses.JSON),
            pa.field("since", UTC),
        ],
    )
    assert [field.metadata for field in found.schema if field.metadata] == [warehouses.JSON] * 2
    exact = found["exact"].cast(pa.int64()).to_pylist()
    first, second = found.drop_columns(["exact"]).to_pylist()
    assert json.loads(first.pop("place")) == {"lat": 1.5, "lon": 2}
    assert first == {
        "_id": "0",
        "id": "c1",
        "name": "Jenny 😀",
        "n": 2**53 + 1,
        "huge": 2**64 - 1,
        "ltv": 0.1,
        "active": True,
        "since": dt.datetime(2024, 2, 29, 21, 30, 0, 123000, dt.UTC),
        "address.city": "Zürich",
        "address.geo.lat": 47.4,
        "items": '[{"sku":"a"},{"sku":"b"}]',
    }
    assert exact == [1709208000123456789, None]
    assert {name: value for name, value in second.items() if value is not None} == {"_id": "1", "id": "c2"}


def test_columns_are_those_that_are_read(cluster: Cluster) -> None:
    cluster.put("customers", PROPERTIES, [JENNY])
    source = cluster.open()
    for query in (customers(), customers(fields=["since", "address"])):
        assert source.columns(query) == rows(source, query).schema


def test_fields_are_chosen_and_ordered(cluster: Cluster) -> None:
    cluster.put("customers", PROPERTIES, [JENNY])
    found = rows(cluster.open(), customers(fields=["n", "address", "items:json", "_id"]))
    assert found.to_pylist() == [
        {
            "_id": "0",
            "n": 2**53 + 1,
            "address.city": "Zürich",
            "address.geo.lat": 47.4,
            "items": '[{"sku":"a"},{"sku":"b"}]',
        }
    ]
    assert "has no field nope; its mapping names active, address.city" in said(
        cluster.open(), customers(fields=["nope"])
    )


def test_queries_choose_documents(cluster: Cluster) -> None:
    cluster.put("customers", PROPERTIES, [{"id": f"c{n}", "n": n} for n in range(20)])
    query = {"bool": {"filter": [{"range": {"n": {"gte": 10}}}], "must_not": [{"term": {"id": "c12"}}]}}
    found = rows(cluster.open(), customers(query=query, fields=["n"]))
    assert sorted(found["n"].to_pylist()) == [10, 11, *range(13, 20)]


def test_several_values_are_json_or_refused(cluster: Cluster) -> None:
    cluster.put("customers", PROPERTIES, [{"id": ["a", "b"], "n": [1, 2]}])
    source = cluster.open()
    assert rows(source, customers(fields=["id", "n:json"])).to_pylist() == [
        {"_id": "0", "id": '["a","b"]', "n": "[1,2]"}
    ]
    assert "the field n of a document holds several values; name it as `n:json`" in said(source, customers())


def test_documents_spell_paths_and_values_in_their_own_ways(cluster: Cluster) -> None:
    spelled = [
        {"address.city": "Bern", "n": "12", "active": "true", "since": 1709208000123},
        {"address": {"geo.lat": 1}, "n": 12.0, "active": "", "since": "2024-02-29"},
        {"address": [{"city": "Genf"}], "n": [7], "ltv": "2.5"},
    ]
    cluster.put("customers", PROPERTIES, spelled)
    found = rows(
        cluster.open(), customers(fields=["address.city", "address.geo.lat", "n", "active", "since", "ltv"])
    ).sort_by("_id")
    noon = dt.datetime(2024, 2, 29, 12, 0, 0, 123000, dt.UTC)
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("0", "Bern", None, 12, True, noon, None),
        ("1", None, 1.0, 12, None, noon.replace(hour=0, microsecond=0), None),
        ("2", "Genf", None, 7, None, None, 2.5),
    ]


def test_all_pages_come_as_they_stood_when_the_first_was_read(cluster: Cluster) -> None:
    cluster.put("customers", PROPERTIES, [{"n": n, "name": "x" * 2000} for n in range(5000)])
    batches = cluster.open().read(customers(fields=["n", "name"]))
    first = next(batches)
    cluster.add("customers", [{"n": -1}] * 10, start=5000)
    cluster.add("customers", [{"n": -2}] * 10, start=10)
    found = pa.Table.from_batches([first, *batches])
    assert sorted(found["n"].to_pylist()) == list(range(5000))
    assert found["n"].num_chunks > 1
    assert cluster.snapshots() == 0


def test_closing_lets_go_of_the_snapshot(cluster: Cluster) -> None:
    cluster.put("customers", PROPERTIES, [{"n": n, "name": "x" * 2000} for n in range(5000)])
    batches = cluster.open().read(customers())
    next(batches)
    assert cluster.snapshots() == 1
    batches.close()  # type: ignore[attr-defined]  # it is a generator
    assert cluster.snapshots() == 0


def test_a_snapshot_that_was_lost_is_no_end_of_rows(cluster: Cluster) -> None:
    cluster.put("customers", PROPERTIES, [{"n": n, "name": "x" * 2000} for n in range(5000)])
    batches = cluster.open().read(customers())
    next(batches)
    cluster.forget()
    with pytest.raises(
        errors.WarehouseError, match=r"no longer keeps the snapshot of customers .*run this again"
    ):
        list(batches)


def test_an_index_without_documents_has_its_columns(cluster: Cluster) -> None:
    cluster.put("customers", PROPERTIES)
    found = rows(cluster.open(), customers(fields=["id", "n"]))
    assert (found.num_rows, found.column_names) == (0, ["_id", "id", "n"])


def test_patterns_and_aliases_name_several_indices(cluster: Cluster) -> None:
    cluster.put(
        "logs-1",
        {"n": {"type": "long"}, "at": {"type": "date"}, "x": {"type": "keyword"}},
        [{"n": 1, "x": "a"}],
    )
    cluster.put(
        "logs-2",
        {"n": {"type": "double"}, "at": {"type": "date_nanos"}, "x": {"type": "long"}},
        [{"n": 2, "x": 5}],
    )
    cluster.call("POST", "/_aliases", {"actions": [{"add": {"index": "logs-2", "alias": "newest"}}]})
    source = cluster.open()
    found = rows(source, base.Query(index="logs-*"))
    assert found.schema.field("n").type == pa.float64()
    assert found.schema.field("at").type == pa.timestamp("ns", "UTC")
    assert sorted(found["x"].to_pylist()) == ['"a"', "5"]
    assert rows(source, base.Query(table="newest"))["n"].to_pylist() == [2.0]
    assert source.tables() == ["logs-1", "logs-2", "newest"]


def test_whole_numbers_are_not_rounded_where_another_index_has_floats(cluster: Cluster) -> None:
    cluster.put("logs-1", {"n": {"type": "long"}}, [{"n": 2**53 + 1}, {"n": 2**60}])
    cluster.put("logs-2", {"n": {"type": "double"}}, [{"n": 0.5}])
    source = cluster.open()
    assert "the field n of a document does not hold what its mapping says (double)" in said(
        source, base.Query(index="logs-*")
    )
    found = rows(source, base.Query(index="logs-*", fields=["n:json"]))
    assert sorted(found["n"].to_pylist()) == ["0.5", str(2**60), str(2**53 + 1)]


def test_documents_that_an_index_does_not_keep_are_not_taken_for_empty(cluster: Cluster) -> None:
    properties = {"id": {"type": "keyword"}, "secret": {"type": "keyword"}}
    cluster.call("PUT", "/none", {"mappings": {"_source": {"enabled": False}, "properties": properties}})
    cluster.add("none", [{"id": "a", "secret": "b"}])
    assert "none of 127.0.0.1 does not keep its documents (`_source` is switched off)" in said(
        cluster.open(), base.Query(index="none")
    )
    part = {"_source": {"excludes": ["secret"]}, "properties": properties}
    cluster.call("PUT", "/some", {"mappings": part})
    cluster.add("some", [{"id": "a", "secret": "b"}])
    assert rows(cluster.open(), base.Query(index="some")).to_pylist() == [{"_id": "0", "id": "a"}]
    assert "has no field secret" in said(cluster.open(), base.Query(index="some", fields=["secret"]))


def test_what_is_not_there_is_named(cluster: Cluster) -> None:
    cluster.put("customers", PROPERTIES)
    assert "has no index nope; `index` is the name of an index" in said(
        cluster.open(), base.Query(index="nope")
    )
    assert "has no index nope-*" in said(cluster.open(), base.Query(index="nope-*"))


def test_a_query_that_is_none_is_told_with_its_place_and_without_its_values(cluster: Cluster) -> None:
    cluster.put("customers", PROPERTIES)
    message = said(cluster.open(), customers(query={"geheim_query": {"n": "geheim"}}))
    assert "does not understand the model's query (parsing_exception, line 1, column " in message
    assert "geheim" not in message


def test_check_goes_step_by_step(cluster: Cluster) -> None:
    cluster.put("customers", PROPERTIES, [JENNY])
    steps = cluster.open().check()
    assert [(step.name, step.ok) for step in steps] == [
        ("reach", True),
        ("sign in", True),
        ("list", True),
        ("read", True),
    ]
    assert steps[2].detail == "1 indices, aliases and data streams can be seen"


# Trouble


def test_nobody_answers() -> None:
    target = config.Elasticsearch.model_validate({"url": "http://127.0.0.1:1"})
    source = adapter.open_source(target, timeout=5, pause=lambda _: None)
    assert "No answer from 127.0.0.1 (Connection refused); check the address" in said(source, customers())
    assert [(step.name, step.ok) for step in source.check()] == [("reach", False)]


@pytest.mark.parametrize(
    "given",
    [
        {"api_key": None, "user": "elastic", "password": PASSWORD},
        {"api_key": None, "url": "http://elastic:p%C3%A4ss%3Aw%40rd@{}"},
    ],
)
def test_there_are_ways_to_sign_in(elastic: Cluster, given: dict[str, str]) -> None:
    elastic.put("customers", PROPERTIES, [JENNY])
    host = elastic.url.removeprefix("http://")
    source = elastic.open(**{name: one and one.format(host) for name, one in given.items()})
    assert rows(source, customers()).num_rows == 1


@pytest.mark.parametrize(
    "given", [{"api_key": "geheim"}, {"api_key": None, "user": "elastic", "password": "geheim"}]
)
def test_a_refused_sign_in_repeats_no_secret(elastic: Cluster, given: dict[str, str]) -> None:
    source = elastic.open(**given)
    message = said(source, customers())
    assert message == "127.0.0.1 refused the sign-in; check `api_key`, or `user` and `password`."
    assert [step.name for step in source.check() if not step.ok] == ["sign in"]


@pytest.mark.parametrize(
    "given",
    [
        {"url": "localhost:9200"},
        {"url": "ftp://localhost:9200"},
        {"url": "http://localhost", "user": "a"},
        {"url": "http://localhost", "user": "a", "password": "b", "api_key": "c"},
        {"url": "http://a:b@localhost", "api_key": "c"},
    ],
)
def test_configurations_that_contradict_themselves_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"https://HOST:9200|belong together|not by two"):
        config.Elasticsearch.model_validate(given)


def test_a_missing_privilege_is_named(elastic: Cluster) -> None:
    elastic.put("customers", PROPERTIES)
    assert elastic.state is not None
    elastic.state.forbidden = {"customers"}
    assert said(elastic.open(), customers()) == (
        "127.0.0.1 forbids it; grant this user the privileges `read` and `view_index_metadata` on the index "
        "customers."
    )


def test_the_privilege_to_ask_who_answers_is_named(elastic: Cluster) -> None:
    assert elastic.state is not None
    elastic.state.is_monitored = False
    [_, last] = elastic.open().check()
    assert (last.name, last.ok) == ("sign in", False)
    assert "grant this user the privilege `monitor` on the cluster, and the privileges `read`" in last.detail


def test_a_busy_server_is_asked_again(elastic: Cluster) -> None:
    elastic.put("customers", PROPERTIES, [JENNY])
    assert elastic.state is not None
    elastic.state.busy = 5
    assert rows(elastic.open(), customers()).num_rows == 1
    assert 0 < elastic.pauses[0] < elastic.pauses[-1] < 30
    elastic.state.busy, elastic.state.retry_after, elastic.pauses = 1, "7", []
    assert rows(elastic.open(), customers()).num_rows == 1
    assert elastic.pauses == [7.0]
    elastic.state.busy = 1000
    assert "is too busy (429); run this again later" in said(elastic.open(), customers())


def test_an_answer_that_breaks_off_is_asked_for_again(elastic: Cluster) -> None:
    elastic.put("customers", PROPERTIES, [{"n": n} for n in range(1000)])
    assert elastic.state is not None
    batches = elastic.open().read(customers(fields=["n"]))
    first = next(batches)
    elastic.state.cut = 1
    # The page that broke off used up its snapshot's id; that is said, and no row is left out.
    with pytest.raises(errors.WarehouseError, match="no longer keeps the snapshot"):
        list(batches)
    elastic.state.cut = 1
    found = rows(elastic.open(), customers(fields=["n"]))
    assert first.num_rows == 100
    assert sorted(found["n"].to_pylist()) == list(range(1000))


def test_a_search_that_is_not_whole_is_an_error(elastic: Cluster) -> None:
    elastic.put("customers", PROPERTIES, [JENNY])
    assert elastic.state is not None
    elastic.state.lost_shards = 1
    assert "could not read all shards of customers" in said(elastic.open(), customers())
    elastic.state.lost_shards, elastic.state.is_slow = 0, True
    assert "ran longer than 60 s and was stopped" in said(elastic.open(), customers())


def test_a_server_that_does_not_answer_is_not_waited_for(elastic: Cluster) -> None:
    elastic.put("customers", PROPERTIES, [JENNY])
    assert elastic.state is not None
    elastic.state.stuck = threading.Event()
    source = elastic.open(timeout=0.5)
    try:
        assert "did not answer within 0.5 s" in said(source, customers())
    finally:
        elastic.state.stuck.set()


def test_an_old_server_is_refused(elastic: Cluster) -> None:
    assert elastic.state is not None
    elastic.put("customers", PROPERTIES)
    elastic.state.version = "7.11.2"
    assert "is Elasticsearch 7.11.2; Tidegate reads 7.12 and newer" in said(elastic.open(), customers())


def test_certificates_are_verified(tmp_path: Path) -> None:
    authority = mariadbd.certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with fake.cluster(context) as state:
        state.indices["customers"] = fake.Index({"properties": {"n": {"type": "long"}}}, {"1": {"n": 1}})
        made = Cluster(state.url, state)
        assert rows(made.open(ca=str(authority)), customers()).to_pylist() == [{"_id": "1", "n": 1}]
        assert (
            "The certificate of 127.0.0.1 is not vouched for (unable to get local issuer certificate); name"
            in said(made.open(), customers())
        )
        assert "No answer from 127.0.0.1" in said(
            made.open(url=state.url.replace("https", "http")), customers()
        )
        with pytest.raises(errors.ConfigError, match=r"nope.pem of `ca` cannot be used"):
            made.open(ca=str(tmp_path / "nope.pem"))
        with pytest.raises(errors.ConfigError, match=r"server.key of `ca` cannot be used"):
            made.open(ca=str(tmp_path / "server.key"))
        for one in made.opened:
            one.close()


def test_what_is_no_elasticsearch_is_told(elastic: Cluster) -> None:
    source = elastic.open(url=f"{elastic.url}/proxy")
    assert "does not understand the model's query" in said(source, customers())


# SQL


def test_sql_is_elasticsearchs_own(elastic: Cluster) -> None:
    elastic.put("customers", PROPERTIES, [JENNY, {"id": "c2"}])
    text = 'SELECT id, n, huge, ltv, active, since, "address.city" FROM customers WHERE id > ? ORDER BY id'
    source = elastic.open()
    found = rows(source, text, ["a"])
    assert found.schema == pa.schema(
        {
            "id": pa.string(),
            "n": pa.int64(),
            "huge": pa.uint64(),
            "ltv": pa.float64(),
            "active": pa.bool_(),
            "since": UTC,
            "address.city": pa.string(),
        }
    )
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("c1", 2**53 + 1, 2**64 - 1, 0.1, True, dt.datetime(2024, 2, 29, 21, 30, tzinfo=dt.UTC), "Zürich"),
        ("c2", None, None, None, None, None, None),
    ]
    assert source.columns("SELECT id, n FROM customers") == pa.schema({"id": pa.string(), "n": pa.int64()})


def test_sql_comes_page_by_page_and_its_cursor_is_closed(elastic: Cluster) -> None:
    elastic.put("customers", PROPERTIES, [{"n": n} for n in range(2500)])
    source = elastic.open()
    batches = list(source.read("SELECT n FROM customers"))
    assert [batch.num_rows for batch in batches] == [1000, 1000, 500]
    assert sorted(pa.Table.from_batches(batches)["n"].to_pylist()) == list(range(2500))
    some = source.read("SELECT n FROM customers")
    next(some)
    assert elastic.snapshots() == 1
    some.close()  # type: ignore[attr-defined]  # it is a generator
    assert elastic.snapshots() == 0


def test_a_page_of_sql_that_broke_off_is_not_skipped(elastic: Cluster) -> None:
    elastic.put("customers", PROPERTIES, [{"n": n} for n in range(2500)])
    assert elastic.state is not None
    batches = elastic.open().read("SELECT n FROM customers")
    next(batches)
    elastic.state.cut = 1
    with pytest.raises(errors.WarehouseUnreachable, match=r"No answer from 127.0.0.1 \(IncompleteRead\)"):
        list(batches)


def test_mistakes_in_sql_are_told_with_their_place(elastic: Cluster) -> None:
    elastic.put("customers", PROPERTIES)
    source = elastic.open()
    assert "(verification_exception, line 1, column 8)" in said(source, "SELECT nope FROM customers")
    assert "(parsing_exception, line 1, column 8)" in said(source, "SELECT FROM FROM")
    assert "returns 2 columns of the name n" in said(source, "SELECT n, n FROM customers")


def test_opensearch_has_no_sql_of_its_own(opensearch: Cluster) -> None:
    assert "is no Elasticsearch and has no SQL of its own; write the model with `index`" in said(
        opensearch.open(), "SELECT 1"
    )


def test_models_say_what_they_read(elastic: Cluster) -> None:
    elastic.put("customers", PROPERTIES, [JENNY])
    target = config.Elasticsearch.model_validate({"url": elastic.url, "api_key": min(elastic.state.keys)})  # type: ignore[union-attr]  # it is the stand-in
    source = sources.open_source(target)
    with pytest.raises(
        errors.ConfigError, match="written with `sql` or `table` or `index`, not with `sheet`"
    ):
        source.read(base.Query(sheet="S"))
    with pytest.raises(errors.ConfigError, match="Only SQL takes parameters"):
        source.read(customers(), ["a"])
    assert rows(source, customers()).num_rows == 1
    source.close()
