"""What is Redshift's own: files in S3, texts and JSON that are too long or too exact for it, its refusals."""

from __future__ import annotations

import concurrent.futures
import gzip
import json
import logging
import urllib.parse
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import boto3
import clusters
import loads
import psycopg
import pyarrow as pa
import pytest
import servers

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.adapters import redshift, redshift_rows
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base

LONG = "🐟 und so weiter " * 6_000
"""More than 65,535 bytes."""


def opened(url: str, wait: float = 60.0) -> redshift.Redshift:
    found = warehouses.open_url(url, wait=wait)
    assert isinstance(found, redshift.Redshift)
    return found


@pytest.fixture(params=[True, False], ids=["files", "inserts"])
def url(request: pytest.FixtureRequest) -> str:
    """A new database, with and without files on the way."""
    return servers.new_redshift(staged=request.param)


@pytest.fixture
def staged() -> str:
    """A new database, to which rows go as files."""
    return servers.new_redshift()


@pytest.fixture
def warehouse(url: str) -> Iterator[redshift.Redshift]:
    found = opened(url)
    yield found
    found.close()


@pytest.fixture
def bucket() -> Iterator[Any]:
    """The bucket that files go through."""
    client = boto3.client(
        "s3",
        endpoint_url=servers.s3(),
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="s",
    )
    yield client
    client.close()


def keys(bucket: Any, folder: str) -> list[str]:
    found = bucket.list_objects_v2(Bucket="lake", Prefix=folder.removeprefix("s3://lake/"))
    return [each["Key"] for each in found.get("Contents", [])]


def address(url: str, **change: str) -> dict[str, Any]:
    """How psycopg signs in."""
    parts = urllib.parse.urlsplit(url)
    known = {
        "host": parts.hostname,
        "port": parts.port,
        "user": parts.username,
        "password": parts.password,
        "dbname": parts.path[1:],
        "client_encoding": "utf8",
        "sslmode": "disable",
    }
    return known | change


def run(url: str, *statements: str) -> None:
    with psycopg.connect(**address(url), autocommit=True) as connection:
        connection.execute("SET enable_case_sensitive_identifier TO true")
        for statement in statements:
            connection.execute(statement)


def many(version: int, name: str, count: int = 3_000) -> base.Load:
    return loads.load(*(loads.row(f"i{n}", version, name) for n in range(count)))


def assert_whole(url: str, version: int, count: int = 3_000) -> None:
    found = opened(url)
    columns = "count(*) AS n, count(DISTINCT id) AS ids, min(_version) AS a, max(_version) AS b"
    assert loads.found(found, f"SELECT {columns} FROM stripe.items") == [(count, count, version, version)]
    assert found.state() == {"n": str(version)}
    found.close()


# Values


def test_columns_have_redshifts_types(warehouse: redshift.Redshift) -> None:
    warehouse.load([loads.load(loads.row("a", 1, notes='{"b": 1}'))], {})
    found = warehouse.columns("items")
    assert (found["id"], found["notes"], found["_version"], found["_synced_at"]) == (
        "character varying(65535)",
        "super",
        "bigint",
        "timestamp with time zone",
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"big": 18446744073709551617}',
        '{"exact": 0.12345678901234567}',
        '{"huge": 1e400, "nested": [{"n": -9223372036854775809}]}',
        "null",
        json.dumps({"long": LONG}),
        json.dumps([LONG[:30_000]] * 4),
        '{"_tidegate_pieces": ["mine"]}',
    ],
)
def test_json_that_super_does_not_hold_is_read_as_it_was_written(
    warehouse: redshift.Redshift, text: str
) -> None:
    warehouse.load([loads.load(loads.row("a", 1, notes=text), loads.row("b", 1, notes='{"plain": 1}'))], {})
    found = dict(loads.found(warehouse, "SELECT id, notes FROM stripe.items"))
    assert json.loads(str(found["a"]), parse_float=str, parse_int=str) == json.loads(
        text, parse_float=str, parse_int=str
    )
    asked = pa.Table.from_batches(list(warehouse.asked("SELECT notes FROM stripe.items WHERE id = 'b'")))
    assert asked.schema.field("notes").metadata == base.JSON
    assert asked.to_pylist() == [{"notes": '{"plain": 1}'}]


def test_json_that_super_holds_is_its_own(warehouse: redshift.Redshift, url: str) -> None:
    text = '{"n": 9007199254740993, "price": 1.25, "list": [1, null, {"a": "b"}]}'
    warehouse.load([loads.load(loads.row("a", 1, notes=text))], {})
    with psycopg.connect(**address(url)) as connection:
        [(stored,)] = connection.execute("SELECT notes FROM stripe.items").fetchall()
    assert json.loads(stored) == json.loads(text)


def test_a_text_that_is_too_long_makes_its_column_bytes(
    warehouse: redshift.Redshift, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "short"))], {})
    with caplog.at_level(logging.WARNING):
        warehouse.load([loads.load(loads.row("b", 1, LONG), loads.row("c", 1, "päť"))], {})
    assert "The column name of stripe.items gets a text of more than 65,535 bytes" in caplog.text
    assert "weiter" not in caplog.text
    assert warehouse.columns("items")["name"] == "binary varying(16777216)"
    names = {id: name for id, name, _, _ in loads.items(warehouse)}
    assert names == {"a": "short", "b": LONG, "c": "päť"}
    warehouse.load([loads.load(loads.row("a", 2, None), loads.row("c", 2, ""))], {})
    names = {id: name for id, name, _, _ in loads.items(warehouse)}
    assert names == {"a": None, "b": LONG, "c": ""}
    with psycopg.connect(**address(url)) as connection:
        query = "SELECT FROM_VARBYTE(name, 'utf8') FROM stripe_live.items WHERE id <> 'b' ORDER BY id"
        assert connection.execute(query).fetchall() == [(None,), ("",)]


def test_a_row_that_is_too_long_for_any_way_in(url: str) -> None:
    warehouse = opened(url)
    warehouse.load([loads.load(loads.row("a", 1, "short"))], {"n": "1"})
    count = redshift.FEW + 1 if "staging" in url else 1
    rows = [loads.row(f"i{n}", 2, "n") for n in range(count)]
    rows[-1]["name"] = "secret" * 1_500_000
    with pytest.raises(errors.WarehouseError, match="exclude its longest column") as told:
        warehouse.load([loads.load(*rows)], {"n": "2"})
    assert "secret" not in str(told.value)
    assert loads.items(warehouse) == [("a", "short", 1, None)]
    assert warehouse.state() == {"n": "1"}
    warehouse.close()


def test_more_rows_than_one_statement_takes(warehouse: redshift.Redshift) -> None:
    texts = ["", "\\N", 'quo"ted', "comma, and\nline", "back\\slash", "~null~", "ünï🐟", "x" * 4_000]
    rows = [loads.row(f"i{n}", 1, texts[n % len(texts)]) for n in range(9_000)]
    [done] = warehouse.load([loads.load(*rows)], {})
    assert done.inserted == 9_000
    found = dict(loads.found(warehouse, "SELECT id, name FROM stripe.items"))
    assert found == {str(row["id"]): row["name"] for row in rows}


def test_a_users_query_loses_nothing_and_has_columns_without_rows(staged: str) -> None:
    warehouse = opened(staged)
    query = "SELECT 1.50::numeric(38, 2) AS price, 'a'::varchar(9) AS name, TO_VARBYTE('ff', 'hex') AS raw"
    [row] = pa.Table.from_batches(list(warehouse.asked(query))).to_pylist()
    assert (str(row["price"]), row["name"], row["raw"]) == ("1.50", "a", "ff")
    none = pa.Table.from_batches(list(warehouse.asked(f"{query} WHERE 1 = 0 -- nothing\n;")))
    assert none.schema.names == ["price", "name", "raw"]
    assert none.num_rows == 0
    warehouse.close()


def test_doubles_come_back_to_the_last_digit(warehouse: redshift.Redshift) -> None:
    table = base.Table("things", pa.schema([("id", pa.string()), ("v", pa.float64())]), ("id",), "")
    warehouse.load([base.Load(table, pa.table({"id": ["a"], "v": [0.1 + 0.2]}))], {})
    assert loads.found(warehouse, "SELECT v FROM stripe.things") == [(0.1 + 0.2,)]
    assert warehouse.find(table, pa.table({"id": ["a"]}), ["v"]).column("v").to_pylist() == [0.1 + 0.2]


# Files


def test_files_are_gone_after_a_load_and_those_of_a_killed_one_too(staged: str, bucket: Any) -> None:
    warehouse = opened(staged)
    mine, others = warehouse._folder(), "s3://lake/redshift/tidegate/0123456789abcdef/load"
    for folder in (mine, others):
        key = f"{folder.removeprefix('s3://lake/')}/killed/000000.csv.gz"
        bucket.put_object(Bucket="lake", Key=key, Body=b"rows")
    warehouse.load([many(1, "one")], {"n": "1"})
    assert keys(bucket, mine) == []
    assert len(keys(bucket, others)) == 1
    warehouse.close()
    assert_whole(staged, 1)


def test_two_schemas_have_files_of_their_own(staged: str) -> None:
    folders = {warehouses.open_url(staged, schema)._folder() for schema in ("one", "two")}  # type: ignore[attr-defined]  # Redshift's
    other = servers.new_redshift()
    folders.add(opened(other)._folder())
    assert len(folders) == 3


@pytest.mark.parametrize(
    ("words", "kind", "says"),
    [
        ({"iam_role": "arn:aws:iam::1:role/forbidden"}, errors.WarehouseError, "to the iam_role"),
        ({"staging": "s3://nowhere/x"}, errors.ConfigError, "has no such bucket"),
        ({"endpoint": "http://127.0.0.1:9"}, errors.WarehouseUnreachable, "check the endpoint"),
    ],
)
def test_files_that_cannot_be_brought(
    staged: str, words: dict[str, str], kind: type[Exception], says: str
) -> None:
    before = opened(staged)
    before.load([many(1, "old")], {"n": "1"})
    before.close()
    parts = urllib.parse.urlsplit(staged)
    query = urllib.parse.urlencode(dict(urllib.parse.parse_qsl(parts.query)) | words)
    warehouse = opened(urllib.parse.urlunsplit(parts._replace(query=query)), wait=0.0)
    with pytest.raises(kind, match=says):
        warehouse.load([many(2, "new")], {"n": "2"})
    check = warehouse.check()[-1]
    assert (check.name, check.ok) == ("write", False)
    assert says in check.detail
    warehouse.close()
    assert_whole(staged, 1)


def test_numbers_and_nulls_stand_in_files_as_copy_reads_them() -> None:
    column = pa.chunked_array([pa.array([Decimal("1e-12"), None, Decimal("0.5")], pa.decimal128(38, 12))])
    numbers = redshift_rows.written(column, "numeric(38,12)")
    assert numbers == ["0.000000000001", None, "0.500000000000"]
    [packed] = redshift_rows.files(["numeric(38,12)", "super"], zip(numbers, '"{', strict=False), "~null~")
    assert gzip.decompress(packed).decode() == '"0.000000000001",""""\n~null~,"{"\n'


def test_a_database_that_ignores_case_is_refused(staged: str) -> None:
    """Ids differ in case, and there `=` takes them for one."""
    name = address(staged)["dbname"]
    with psycopg.connect(servers.postgres(), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET stand_in.ignores_case = 'on'")
    warehouse = opened(staged)
    with pytest.raises(errors.ConfigError, match="COLLATE CASE_SENSITIVE"):
        warehouse.load([loads.load(loads.row("a", 1))], {})
    assert [check.ok for check in warehouse.check()] == [True, True, True, True, False]
    warehouse.close()


def test_a_name_that_the_server_would_cut(staged: str) -> None:
    warehouse = opened(staged)
    table = base.Table("n" * 128, pa.schema([("id", pa.string())]), ("id",), "")
    with pytest.raises(errors.ConfigError, match="no name of more than 127 bytes"):
        warehouse.prepare([table])
    warehouse.close()


def test_files_lie_in_s3_only() -> None:
    with pytest.raises(errors.ConfigError, match="s3://BUCKET/PREFIX"):
        warehouses.open_url("redshift://u:p@h/db?staging=/tmp/files")


def test_a_configuration_says_all_that_a_url_does() -> None:
    target = kinds.Redshift.model_validate(
        {
            "type": "redshift",
            "host": "h",
            "database": "db",
            "staging": "s3://b/p",
            "iam_role": "arn:aws:iam::1:role/r",
            "s3": {"region": "eu-west-1"},
        }
    )
    warehouse = redshift.open_warehouse(target)
    assert warehouse.where() == "db on h"
    assert warehouse._folder().startswith("s3://b/p/tidegate/")
    assert warehouse._address["sslmode"] == "require"
    assert warehouse._address["port"] == 5439


# Trouble


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"password": "wrong"}, "refused the sign-in; check the user and the password"),
        ({"user": "stranger"}, "refused the sign-in; check the user and the password"),
        ({"database": "nowhere"}, "nowhere on 127.0.0.1 does not exist; check the name of the database"),
        ({"sslmode": "require"}, "offers no TLS"),
    ],
)
def test_a_sign_in_that_fails_says_why(staged: str, change: dict[str, object], says: str) -> None:
    known = address(staged)
    given = {name: known[name] for name in ("host", "port", "user", "password", "sslmode")}
    target = kinds.Redshift.model_validate(given | {"database": known["dbname"]} | change)
    warehouse = redshift.open_warehouse(target, wait=5)
    with pytest.raises(errors.ConfigError) as told:
        warehouse.state()
    assert says in str(told.value)
    assert known["password"] not in str(told.value)
    assert [(check.name, check.ok) for check in warehouse.check()] == [("reach", True), ("sign in", False)]


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("XX000|Disk Full|error: Disk Full code: 1016", errors.WarehouseFull, "disks of w"),
        (
            "XX000|Load into table failed. Check stl_load_errors",
            errors.WarehouseError,
            "SYS_LOAD_ERROR_DETAIL",
        ),
        ("57014|Query (7) cancelled on a request of the user", errors.WarehouseError, "statement_timeout"),
        ("XX000|User arn:aws:x is not authorized to assume IAM Role", errors.WarehouseError, "may not take"),
    ],
)
def test_a_load_that_fails_changes_nothing(
    staged: str, bucket: Any, fault: str, kind: type[Exception], says: str
) -> None:
    warehouse = opened(staged, wait=0.0)
    warehouse.load([many(1, "old")], {"n": "1"})
    run(staged, f"SET stand_in.fault TO 'COPY|{fault}'")
    with pytest.raises(kind, match=says):
        warehouse.load([many(2, "new")], {"n": "2"})
    assert keys(bucket, warehouse._folder()) == []
    assert_whole(staged, 1)
    warehouse.load([many(3, "again")], {"n": "3"})
    warehouse.close()
    assert_whole(staged, 3)


@pytest.mark.parametrize(
    "fault",
    [
        "COPY|XX000|1023|Serializable isolation violation on table - 110646",
        "LOCK|XX000|could not complete because of conflict with concurrent transaction",
        "DELETE|57P01|terminating connection due to administrator command",
    ],
)
def test_what_somebody_else_disturbed_is_done_again(staged: str, fault: str) -> None:
    warehouse = opened(staged)
    warehouse.load([many(1, "old")], {"n": "1"})
    run(staged, f"SET stand_in.fault TO '{fault}'")
    [done] = warehouse.load([many(2, "new")], {"n": "2"})
    warehouse.close()
    assert (done.updated, done.inserted) == (3_000, 0)
    assert_whole(staged, 2)


@pytest.mark.parametrize("after", [0, 200, 2_000, 4_000, 20_000])
def test_a_connection_that_is_cut(staged: str, after: int) -> None:
    before = opened(staged)
    before.load([many(1, "old")], {"n": "1"})
    before.close()
    port = servers.redshift()
    with clusters.wire(port, [after, after]) as cut:
        warehouse = opened(staged.replace(f":{port}/", f":{cut}/"))
        warehouse.load([many(2, "new")], {"n": "2"})
        warehouse.close()
    assert_whole(staged, 2)


def test_a_connection_that_is_cut_before_any_answer(staged: str) -> None:
    """Each in its turn, that to COMMIT too: who lost it cannot know whether the load is there, and loads again."""
    warehouse, port = opened(staged), servers.redshift()
    warehouse.load([loads.load(loads.row("b", 1))], {"n": "1"})
    piece, cut = 0, clusters.Cut(0)
    while piece < 3 or cut.happened:
        version, cut = piece + 2, clusters.Cut(piece, answer=True)
        rows = [loads.row(f"{n}", version, f"{version}") for n in range(redshift.FEW + 1)]
        work = [loads.load(*rows), loads.mark(loads.dead("b", version), hard=True)]
        with clusters.wire(port, [cut]) as door:
            other = opened(staged.replace(f":{port}/", f":{door}/"))
            other.load(work, {"n": f"{version}", f"{version - 1}": None, f"{version}": "here"})
            other.close()
        found = loads.items(warehouse)
        assert len(found) == len({id for id, *_ in found}) == len(rows)
        assert {(name, stored) for _, name, stored, _ in found} == {(f"{version}", version)}
        assert loads.graves(warehouse) == [('["acct_1","b"]', version, 2)]
        assert warehouse.state() == {"n": f"{version}", f"{version}": "here"}
        piece += 1
    warehouse.close()
    assert piece > 15  # answers are there


def test_two_writers_at_once_lose_and_double_nothing(url: str) -> None:
    """Neither has a fence: the lock alone keeps them from deciding on what the other is changing."""

    def write(writer: int) -> None:
        found = opened(url)
        for n in range(8):
            rows = [loads.row(f"{writer}-{n}", 1), loads.row("hot", writer * 8 + n, f"{writer}-{n}")]
            found.load([loads.load(*rows)], {f"writer/{writer}": str(n)})
        found.close()

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    warehouse = opened(url)
    found = {id: (name, version) for id, name, version, _ in loads.items(warehouse)}
    assert len(loads.items(warehouse)) == len(found) == 3 * 8 + 1
    assert found["hot"] == ("2-7", 23)
    assert warehouse.state() == {f"writer/{writer}": "7" for writer in range(3)}
    warehouse.close()


def test_tables_that_somebody_else_makes_in_the_meantime(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse, other = opened(url), opened(url)
    make, acts = warehouse.create_schema, [other]

    def meanwhile(schema: str) -> None:
        if acts:
            acts.pop().load([loads.load(loads.row("b", 1))], {"b": "1"})
        make(schema)

    monkeypatch.setattr(warehouse, "create_schema", meanwhile)
    warehouse.load([loads.load(loads.row("a", 1))], {"a": "1"})
    assert [id for id, *_ in loads.items(warehouse)] == ["a", "b"]
    assert warehouse.state() == {"a": "1", "b": "1"}
    warehouse.close()
    other.close()


def test_a_view_of_somebody_elses_that_stands_in_the_way(warehouse: redshift.Redshift, url: str) -> None:
    table = base.Table("things", pa.schema([("id", pa.string()), ("v", pa.int64())]), ("id",), "")
    warehouse.load([base.Load(table, pa.table({"id": ["a"], "v": [1]}))], {})
    run(url, "CREATE VIEW stripe.mine AS SELECT v FROM stripe.things")
    with pytest.raises(errors.WarehouseError, match="WITH NO SCHEMA BINDING"):
        warehouse.load([base.Load(table, pa.table({"id": ["b"], "v": ["drei"]}))], {})
    run(url, "DROP VIEW stripe.mine")
    warehouse.load([base.Load(table, pa.table({"id": ["b"], "v": ["drei"]}))], {})
    assert sorted(loads.found(warehouse, "SELECT id, v FROM stripe.things")) == [("a", "1"), ("b", "drei")]


def test_json_by_pieces_cannot_become_text(warehouse: redshift.Redshift) -> None:
    table = base.Table(
        "things",
        pa.schema([pa.field("id", pa.string()), pa.field("v", pa.string(), metadata=base.JSON)]),
        ("id",),
        "",
    )
    rows = pa.table({"id": ["a"], "v": [str(2**70)]}, schema=table.schema)
    warehouse.load([base.Load(table, rows)], {})
    plain = base.Table("things", pa.schema([("id", pa.string()), ("v", pa.string())]), ("id",), "")
    with pytest.raises(errors.WarehouseError, match="rename the column"):
        warehouse.prepare([plain])
    assert loads.found(warehouse, "SELECT v FROM stripe.things") == [(str(2**70),)]


# Privileges

USAGE = "GRANT USAGE, CREATE ON SCHEMA stripe, stripe_live TO {user}"
READ = "GRANT SELECT ON ALL TABLES IN SCHEMA stripe TO {user}"
WRITE = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA stripe TO {user}"
TABLES = 'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "stripe" TO '


@pytest.mark.parametrize(
    ("given", "lacks", "told"),
    [
        ([], "rows", 'GRANT USAGE, CREATE ON SCHEMA "stripe" TO '),
        ([USAGE], "rows", TABLES),
        ([USAGE, READ], "rows", TABLES),
        ([USAGE, WRITE, "REVOKE INSERT ON stripe.items FROM {user}"], "rows", TABLES),
        ([USAGE, WRITE, "REVOKE DELETE ON stripe.items FROM {user}"], "rows", TABLES),
        ([USAGE, WRITE], "column", 'ALTER TABLE "stripe"."items" OWNER TO '),
        ([WRITE, "GRANT USAGE ON SCHEMA stripe TO {user}"], "table", 'GRANT USAGE, CREATE ON SCHEMA "stripe" TO '),
    ],
)  # fmt: skip
def test_a_privilege_that_is_missing_is_named(staged: str, given: list[str], lacks: str, told: str) -> None:
    owner = opened(staged)
    owner.load([loads.load(loads.row("a", 1, "Ann"))], {"n": "1"})
    user = f"u_{address(staged)['dbname']}"
    run(staged, f"CREATE USER {user} PASSWORD 'Pw123456'", *(each.format(user=user) for each in given))
    parts = urllib.parse.urlsplit(staged)
    place = f"{user}:Pw123456@{parts.hostname}:{parts.port}"
    warehouse = opened(urllib.parse.urlunsplit(parts._replace(netloc=place)))
    load = loads.load(loads.row("a", 2, "Secret Name"))
    if lacks == "column":
        load = base.Load(load.table, load.rows.append_column("surprise", pa.array([7])))
    elif lacks == "table":
        load = base.Load(base.Table("others", load.table.schema), load.rows)
    with pytest.raises(errors.WarehouseError) as refused:
        warehouse.load([load], {"n": "2"})
    warehouse.close()
    assert f'run `{told}"{user}"`' in str(refused.value)
    assert "Secret Name" not in str(refused.value)
    assert loads.items(owner) == [("a", "Ann", 1, None)]
    assert owner.state() == {"n": "1"}
    owner.close()


# The stand-in is as strict as Redshift


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE t (a jsonb)",
        "CREATE TABLE t (a text)",
        "CREATE TABLE t (a bigint[])",
        "CREATE INDEX i ON t (a)",
        "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        "SELECT * FROM unnest('{1}'::bigint[]) AS u",
        "SELECT pg_advisory_xact_lock(1)",
        "DELETE FROM t AS x USING u WHERE x.a = u.a",
        "ALTER TABLE t ALTER COLUMN a TYPE bigint",
        "SELECT count(*) FILTER (WHERE true)",
        "SELECT * FROM (VALUES (1)) AS v",
        "COPY t (a) FROM STDIN",
        "SELECT 1 WHERE 1 IS DISTINCT FROM 2",
        "SAVEPOINT a",
        "SELECT JSON_PARSE('{\"n\": 18446744073709551617}')",
        "SELECT JSON_PARSE('null')",
        "SELECT REPEAT('x', 65536)::varchar(65535)",
    ],
)
def test_what_redshift_has_not_is_refused(staged: str, statement: str) -> None:
    with psycopg.connect(**address(staged)) as connection, pytest.raises(psycopg.Error):
        connection.execute(statement)


def test_names_lose_their_case_unless_a_session_asks(staged: str) -> None:
    with psycopg.connect(**address(staged)) as connection:
        described = connection.execute('SELECT 1 AS "Total"').description or []
        assert [column.name for column in described] == ["total"]
        connection.execute("SET enable_case_sensitive_identifier TO true")
        described = connection.execute('SELECT 1 AS "Total"').description or []
        assert [column.name for column in described] == ["Total"]


def test_a_place_in_an_insert_holds_any_length() -> None:
    text, values = redshift_rows.place("super", json.dumps(LONG))
    assert text.startswith("JSON_PARSE(TO_VARBYTE(\0, 'utf8') || ")
    assert "".join(map(str, values)) == json.dumps(LONG)
    assert all(len(str(value).encode()) <= redshift_rows.VARCHAR for value in values)
