"""What is special to Snowflake: stages, upper case, VARIANT, one lock, keys, grants, and its errors."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from unittest import mock

import loads
import pyarrow as pa
import pytest
import servers
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from snowflake.connector import errors as driver

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.adapters import snowflake, snowflake_rows, snowflake_session, snowflake_wire
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base

N = 1_500
"""Rows that are too many to travel with a statement, once `narrow` is asked for."""


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements that carry less, so that fewer rows go through files."""
    monkeypatch.setattr(snowflake, "INLINE", 16 * 1024)


@pytest.fixture
def url() -> str:
    """A database that nobody used before."""
    return servers.new_snowflake()


@pytest.fixture
def warehouse(url: str) -> Iterator[snowflake.Snowflake]:
    """The warehouse behind `url`."""
    found = opened(url)
    yield found
    found.close()


def opened(url: str, **options: float) -> snowflake.Snowflake:
    """The warehouse behind a URL."""
    found = warehouses.open_url(url, **options)
    assert isinstance(found, snowflake.Snowflake)
    return found


def database(url: str) -> str:
    """The name of a URL's database."""
    return urllib.parse.urlsplit(url).path.strip("/")


def trouble(url: str, **wanted: object) -> None:
    """Let the stand-in misbehave in a database."""
    servers.snowflake_control(database=database(url), **wanted)


def said(url: str) -> list[str]:
    """Every statement that was sent to a database."""
    return list(servers.snowflake_control(database=database(url))["log"])


def many(version: int, name: str = "x", count: int = N) -> base.Load:
    """Rows that travel through a file."""
    rows = {
        "_account_id": ["acct_1"] * count,
        "id": [f"i{n}" for n in range(count)],
        "name": [f"{name} of {n}, with a few words more" for n in range(count)],
        "notes": [json.dumps({"n": n}) for n in range(count)],
        "_version": [version] * count,
    }
    schema = pa.schema([loads.ITEMS.schema.field(column) for column in rows])
    return base.Load(loads.ITEMS, pa.table(rows, schema=schema))


def things(*fields: pa.Field) -> base.Table:
    """A table of a key and what a test is about."""
    return base.Table("things", pa.schema([pa.field("id", pa.string()), *fields]), ("id",), "")


class During(dict[str, str]):
    """State that does something when it is written, which is inside of the transaction."""

    def __init__(self, state: Mapping[str, str], act: Callable[[], object]) -> None:
        super().__init__(state)
        self._acts = [act]

    def items(self):  # type: ignore[no-untyped-def,override]  # as dict's
        if self._acts:
            self._acts.pop()()
        return super().items()


# Tables


def test_columns_have_the_types_and_the_names_that_unquoted_sql_finds(warehouse: snowflake.Snowflake) -> None:
    fields = [
        pa.field("flag", pa.bool_()),
        pa.field("n", pa.int64()),
        pa.field("rate", pa.float64()),
        pa.field("exact", pa.decimal128(38, 12)),
        pa.field("at", loads.TIME),
        pa.field("document", pa.string(), metadata=base.JSON),
        pa.field("MixedCase", pa.string()),
    ]
    warehouse.prepare([things(*fields)])
    assert warehouse.columns("things") == {
        "id": "TEXT",
        "flag": "BOOLEAN",
        "n": "NUMBER(19,0)",
        "rate": "FLOAT",
        "exact": "NUMBER(38,12)",
        "at": "TIMESTAMP_TZ",
        "document": "VARIANT",
        "MixedCase": "TEXT",
    }
    asked = warehouse.asked('select id, n, document:a.b as b, "MixedCase" from stripe.things')
    assert next(iter(asked)).schema.names == ["id", "n", "b", "MixedCase"]


def test_ids_that_differ_in_case_are_two_whatever_the_account_collates_by(
    warehouse: snowflake.Snowflake,
) -> None:
    warehouse.load(
        [loads.load(loads.row("cus_a", 1, "Ann"), loads.row("cus_A", 1, "Eve"))], {"k": "1", "K": "2"}
    )
    warehouse.load([loads.load(loads.row("cus_a", 2, "Bob"))], {"k": "3"})
    assert loads.items(warehouse) == [("cus_A", "Eve", 1, None), ("cus_a", "Bob", 2, None)]
    assert warehouse.state() == {"K": "2", "k": "3"}


@pytest.mark.usefixtures("narrow")
def test_a_schema_whose_name_needs_quotes_has_stages_too(url: str) -> None:
    target = kinds.Snowflake.model_validate({"type": "snowflake", "url": url})
    found = snowflake.Snowflake(snowflake_wire.address(target), "geschäft")
    assert found.load([many(1)], {"n": "1"})[0].inserted == N
    assert found.state() == {"n": "1"}
    found.close()


@pytest.mark.parametrize("name", ["charges", "Table", "ß", "ſ", "ı", "with space", "_x1"])
def test_a_name_that_is_folded_can_be_turned_back(name: str) -> None:
    assert snowflake_rows.unfolded(snowflake_rows.folded(name)) == name


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("count", [3, 500])
@pytest.mark.parametrize(
    ("text", "is_string"),
    [
        ('{"n": 9007199254740993, "price": 1.10}', False),
        ('{"digits": 12345678901234567890123456789012345678}', False),
        ('{"digits": 123456789012345678901234567890123456789}', True),
        ("[1e400]", True),
        ("[1.2345678901234567e-300]", True),
        ('{"twice": 1, "twice": 2}', True),
        ('"plain"', False),
        ('"12"', True),
        ('"{}"', True),
        ('"\\"quoted\\""', True),
        ("null", False),
    ],
)
def test_a_document_that_a_variant_would_change_is_kept_as_text(
    warehouse: snowflake.Snowflake, text: str, is_string: bool, count: int
) -> None:
    """Both on the way with the statement and through a file."""
    table = things(pa.field("v", pa.string(), metadata=base.JSON), pa.field("pad", pa.string()))
    rows = [{"id": str(n), "v": text, "pad": "x" * 30} for n in range(count)]
    warehouse.load([base.Load(table, pa.Table.from_pylist(rows, schema=table.schema))], {})
    found = loads.found(warehouse, "SELECT v FROM stripe.things WHERE id = '1'")
    assert pairs(found[0][0]) == pairs(text)
    [batch] = warehouse.asked("select as_varchar(v) as t from stripe.things where id = '1'")
    [kept] = batch.column("t").to_pylist()
    assert kept == (text if is_string else json.loads(text) if text.startswith('"') else None)


def pairs(text: object) -> object:
    """What a document says: every key, however often, and every digit."""
    return json.loads(str(text), parse_float=Decimal, object_pairs_hook=sorted)


def test_grants_on_a_view_outlive_a_new_column(warehouse: snowflake.Snowflake, url: str) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {})
    wider = loads.ITEMS.schema.append(pa.field("more", pa.int64()))
    rows = pa.Table.from_pylist([loads.row("a", 2, more=1)], schema=wider)
    warehouse.load([base.Load(loads.ITEMS, rows)], {})
    views = [each for each in said(url) if "VIEW" in each]
    assert len(views) == 2
    assert all(" COPY GRANTS AS " in each for each in views)
    assert loads.found(warehouse, "SELECT more FROM stripe_live.items") == [(1,)]


class Killed:
    """Runs statements until a widening has gone some steps, and then no more."""

    def __init__(self, execute: Callable[..., None], steps: int) -> None:
        self._execute, self._left = execute, steps

    def __call__(self, text: str, parameters: Sequence[object] = ()) -> None:
        if "_TIDEGATE_WIDER_" in text or "DROP COLUMN" in text:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt
        self._execute(text, parameters)


def test_a_widening_that_was_killed_is_finished(warehouse: snowflake.Snowflake, url: str) -> None:
    """At every step: the wider column added, filled, alone, and renamed."""
    for step in range(4):
        field = f"v{step}"
        narrow, wide = things(pa.field(field, pa.int64())), things(pa.field(field, pa.string()))
        warehouse.load([base.Load(narrow, pa.table({"id": ["a"], field: [3]}))], {})
        with (
            mock.patch.object(warehouse, "execute", Killed(warehouse.execute, step)),
            pytest.raises(KeyboardInterrupt),
        ):
            warehouse.load([base.Load(wide, pa.table({"id": ["b"], field: ["drei"]}))], {})
        again = opened(url)
        again.load([base.Load(wide, pa.table({"id": ["b"], field: ["drei"]}))], {})
        found = loads.found(again, f"SELECT id, {field} FROM stripe.things ORDER BY id")
        assert found == [("a", "3"), ("b", "drei")], step
        assert again.columns("things")[field] == "TEXT"
        again.load([base.Load(wide, pa.table({"id": ["a", "b"]}), "drop")], {})
        again.close()


def test_rows_that_another_writes_while_a_column_is_widened_keep_their_values(
    warehouse: snowflake.Snowflake, url: str
) -> None:
    narrow, wide = things(pa.field("v", pa.int64())), things(pa.field("v", pa.string()))
    warehouse.load([base.Load(narrow, pa.table({"id": ["a"], "v": [1]}))], {})
    other = opened(url)
    rows = [pa.table({"id": ["b"], "v": [2]})]
    execute = warehouse.execute

    def interrupted(text: str, parameters: Sequence[object] = ()) -> None:
        execute(text, parameters)
        if text.startswith("UPDATE") and "WIDER" in text and rows:
            other.load([base.Load(narrow, rows.pop())], {})

    with mock.patch.object(warehouse, "execute", interrupted):
        warehouse.load([base.Load(wide, pa.table({"id": ["c"], "v": ["drei"]}))], {})
    found = loads.found(warehouse, "SELECT id, v FROM stripe.things ORDER BY id")
    assert found == [("a", "1"), ("b", "2"), ("c", "drei")]
    other.close()


# Ways in


@pytest.mark.usefixtures("narrow")
def test_few_rows_travel_with_the_statement_and_many_through_a_file(
    warehouse: snowflake.Snowflake, url: str
) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {})
    assert not any(each.startswith(("PUT", "COPY")) for each in said(url))
    assert warehouse.load([many(1)], {"n": "1"})[0].inserted == N
    assert warehouse.load([many(2, "y")], {"n": "2"})[0].updated == N
    words = [each.split()[0] for each in said(url) if not each.startswith("SELECT")]
    begun, done = len(words) - words[::-1].index("BEGIN"), len(words) - words[::-1].index("COMMIT")
    assert "PUT" in words[:begun]
    assert "COPY" in words[:begun]
    assert words[begun:done] == ["UPDATE", "DELETE", "INSERT", "DELETE", "INSERT", "COMMIT"], "no DDL inside"
    assert words[done:] == ["DROP", "DROP"], "nothing is left"
    found = loads.found(
        warehouse, "SELECT count(*) AS n, min(name) AS name, min(_version) AS v FROM stripe.items"
    )
    assert found == [(N + 1, "y of 0, with a few words more", 1)]


@pytest.mark.usefixtures("narrow")
def test_texts_that_files_have_other_words_for_stay(warehouse: snowflake.Snowflake) -> None:
    table = things(pa.field("v", pa.string()))
    texts = ["\\N", "", "NULL", "null", " a ", "\0", "{", "ünï🐟", None]
    rows = {"id": [f"{n:05}{'x' * 50}" for n in range(N)], "v": [texts[n % len(texts)] for n in range(N)]}
    warehouse.load([base.Load(table, pa.table(rows, schema=table.schema))], {})
    found = loads.found(warehouse, "SELECT v FROM stripe.things ORDER BY id")
    assert [v for (v,) in found[: len(texts)]] == texts


@pytest.mark.usefixtures("narrow")
def test_what_killed_loads_left_behind_is_swept_and_what_others_bring_is_not(
    warehouse: snowflake.Snowflake, url: str
) -> None:
    warehouse.prepare([loads.ITEMS])
    old = f"{snowflake.LOAD}{int(time.time()) - 7 * 3600}_0000000a"
    new = f"{snowflake.LOAD}{int(time.time())}_0000000b"
    for name in (old, new):
        warehouse.execute(f"CREATE TRANSIENT TABLE {warehouse.name(name)} (C0 VARCHAR)")
    again = opened(url)
    again.load([many(1)], {})
    again.close()
    [batch] = warehouse.asked(
        "select table_name as t from information_schema.tables where table_schema = 'STRIPE'"
    )
    found = {row["t"].lower() for row in batch.to_pylist()}
    assert new in found
    assert found == {new, "items", "_tidegate_state", "_tidegate_tombstones"}


def test_writers_wait_for_each_other_and_lose_nothing(url: str) -> None:
    opened(url).prepare([loads.ITEMS])

    def write(writer: int) -> None:
        found = opened(url)
        table = base.Table(f"items_{writer}", loads.ITEMS.schema)
        for n in range(4):
            rows = pa.Table.from_pylist([loads.row(f"{n}", 1)], schema=loads.ITEMS.schema)
            found.load([base.Load(table, rows)], {f"writer/{writer}": str(n)})
        found.close()

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    warehouse = opened(url)
    assert warehouse.state() == {f"writer/{writer}": "3" for writer in range(3)}
    for writer in range(3):
        assert loads.found(warehouse, f"SELECT count(*) AS n FROM stripe.items_{writer}") == [(4,)]
    warehouse.close()


def test_of_two_that_claim_at_once_one_is_shut_out(url: str) -> None:
    opened(url).prepare([loads.ITEMS])
    both = [opened(url), opened(url)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        fences = list(pool.map(lambda one: one.claim("me", ["items"]), both))
    done = []
    for one, fence in zip(both, fences, strict=True):
        try:
            one.load([loads.load(loads.row("a", 1))], {}, fence)
            done.append(one)
        except errors.Fenced:
            pass
        one.close()
    assert len(done) == 1


# Users' queries


def test_a_users_query_keeps_all_digits_and_says_what_is_json(warehouse: snowflake.Snowflake) -> None:
    text = (
        "select '123456789012345678901234567890123456.78'::number(38,2) as big, 1.5::number(20,2) as price, "
        "count(*) as n, parse_json('{\"a\": 1}') as doc, 'x' as text"
    )
    [batch] = warehouse.asked(text)
    assert batch.schema.field("doc").metadata == base.JSON
    [row] = batch.to_pylist()
    assert json.loads(row.pop("doc")) == {"a": 1}
    assert row == {
        "big": Decimal("123456789012345678901234567890123456.78"),
        "price": Decimal("1.50"),
        "n": 1,
        "text": "x",
    }
    assert batch.schema.field("price").type == pa.decimal128(38, 2)


def test_a_query_that_is_interrupted_ends_there(warehouse: snowflake.Snowflake, url: str) -> None:
    endless = "with recursive r(n) as (select 1 union all select n + 1 from r) select count(*) as n from r"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ran = pool.submit(lambda: list(warehouse.asked(endless)))
        while endless not in said(url):
            time.sleep(0.01)
        warehouse.interrupt()
        with pytest.raises(errors.WarehouseError, match=r"W\d+ on 127.0.0.1 was cancelled"):
            ran.result(60)
    assert warehouse.state() == {}


def test_a_query_without_rows_has_its_columns(warehouse: snowflake.Snowflake) -> None:
    warehouse.prepare([loads.ITEMS])
    [batch] = warehouse.asked("select id, _version from stripe.items")
    assert (batch.num_rows, batch.schema.names) == (0, ["id", "_version"])


# Signing in


def test_a_key_pair_signs_in(url: str) -> None:
    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    servers.snowflake_control(key=public.decode())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"open sesame"),
    ).decode()
    given = {"account": "account", "user": "tidegate", "database": database(url), "private_key": pem}
    found = wired(url, {**given, "private_key_passphrase": "open sesame"})
    assert found.state() == {}
    found.close()
    with pytest.raises(errors.ConfigError, match="`private_key` of Snowflake cannot be read") as told:
        wired(url, {**given, "private_key_passphrase": "s3same"})
    assert "s3same" not in str(told.value)
    other = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    stranger = wired(url, given | {"private_key": other.decode()})
    with pytest.raises(errors.ConfigError, match="check the private key"):
        stranger.state()


def wired(url: str, given: dict[str, str]) -> snowflake.Snowflake:
    """A configured warehouse, on the stand-in's port, which the configuration of an account has no name for."""
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    target = kinds.Snowflake.model_validate({"type": "snowflake", "host": asked["host"], **given})
    address = snowflake_wire.address(target) | {"port": int(asked["port"]), "protocol": "http"}
    return snowflake.Snowflake(address | {"warehouse": "loading"}, "stripe", wait=2)


@pytest.mark.parametrize(
    ("change", "step", "says"),
    [
        (
            ("host=127.0.0.1&port=PORT", "host=127.0.0.1&port=1"),
            "reach",
            r"Nothing answers at 127\.0\.0\.1:1 ",
        ),
        (("s3cret", "wr0ng"), "sign in", "127.0.0.1 refused the sign-in; check the user and the password"),
        (("tidegate:", "stranger:"), "sign in", "refused the sign-in; check the user and the password"),
        (("?", "?role=nobody&"), "sign in", "refused the sign-in; check the name of the role"),
        (
            ("/W", "/NOWHERE"),
            "sign in",
            r"has no database NOWHERE\d+ .* GRANT USAGE ON DATABASE NOWHERE\d+ TO ROLE",
        ),
        (
            ("=loading", "=nowhere"),
            "list",
            "no warehouse that computes; run GRANT USAGE ON WAREHOUSE nowhere TO ROLE",
        ),
        (("warehouse=loading&", ""), "list", "no warehouse that computes; name one as `warehouse`"),
    ],
)
def test_check_says_what_is_wrong(url: str, change: tuple[str, str], step: str, says: str) -> None:
    port = servers.snowflake().rpartition(":")[2]
    found = opened(url.replace(change[0].replace("PORT", port), change[1]), wait=0.1)
    last = found.check()[-1]
    found.close()
    assert (last.name, last.ok) == (step, False)
    assert re.search(says, last.detail), last.detail
    assert "wr0ng" not in last.detail
    assert "s3cret" not in last.detail


def test_check_reaches_an_account_through_the_proxy_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    far = opened(url.replace("host=127.0.0.1", "host=nowhere.invalid"), wait=0.1)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setenv("http_proxy", f"http://user:hunter2@{servers.snowflake()}")
    assert far.check()[0] == base.Check(
        "reach", True, f"the proxy {servers.snowflake()} answers, which leads to nowhere.invalid"
    )
    monkeypatch.setenv("no_proxy", ".invalid")
    refused = far.check()[0]
    assert not refused.ok
    assert "Nothing answers at nowhere.invalid:" in refused.detail
    monkeypatch.setenv("http_proxy", "127.0.0.1:1")
    monkeypatch.delenv("no_proxy")
    assert "Nothing answers at 127.0.0.1:1 " in far.check()[0].detail
    far.close()


@pytest.mark.parametrize(
    ("privilege", "what", "says"),
    [
        ("CREATE SCHEMA", "check", "GRANT CREATE SCHEMA ON DATABASE {database} TO ROLE LOADER"),
        ("CREATE TABLE", "check", "GRANT USAGE, CREATE TABLE ON SCHEMA {database}.STRIPE TO ROLE LOADER"),
        ("CREATE VIEW", "table", "GRANT USAGE, CREATE VIEW ON SCHEMA {database}.STRIPE_LIVE TO ROLE LOADER"),
        ("SELECT", "rows", "GRANT SELECT ON ALL TABLES IN SCHEMA {database}.STRIPE TO ROLE LOADER"),
        ("INSERT", "rows", "GRANT INSERT ON ALL TABLES IN SCHEMA {database}.STRIPE TO ROLE LOADER"),
        ("UPDATE", "rows", "GRANT UPDATE ON ALL TABLES IN SCHEMA {database}.STRIPE TO ROLE LOADER"),
        ("DELETE", "rows", "GRANT DELETE ON ALL TABLES IN SCHEMA {database}.STRIPE TO ROLE LOADER"),
        ("OWNERSHIP", "column", "GRANT OWNERSHIP ON ALL TABLES IN SCHEMA {database}.STRIPE TO ROLE LOADER"),
    ],
)
def test_a_privilege_that_is_missing_is_named(url: str, privilege: str, what: str, says: str) -> None:
    grant = "run " + says.format(database=database(url))
    owner = opened(url)
    if what != "check":
        owner.load([loads.load(loads.row("a", 1, "Ann"))], {"n": "1"})
    trouble(url, revoked=[privilege])
    found = opened(url)
    if what == "check":
        last = found.check()[-1]
        assert (last.name, last.ok) == ("write", False)
        assert grant in last.detail
    else:
        rows = pa.Table.from_pylist([loads.row("a", 2, "Secret Name")], schema=loads.ITEMS.schema)
        if what == "column":
            rows = rows.append_column("more", pa.array([1]))
        name = "others" if what == "table" else "items"
        with pytest.raises(errors.WarehouseError) as told:
            found.load([base.Load(base.Table(name, loads.ITEMS.schema), rows)], {"n": "2"})
        assert grant in str(told.value)
        assert "Secret Name" not in str(told.value)
    trouble(url, revoked=[])
    if what != "check":
        assert loads.items(owner) == [("a", "Ann", 1, None)]
        assert owner.state() == {"n": "1"}
    found.close()
    owner.close()


# Trouble


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("how", ["cut", "lose"])
@pytest.mark.parametrize(
    "at", ["^SELECT t", "^PUT", "^COPY", "^BEGIN", "^UPDATE", "^DELETE", "^INSERT", "^COMMIT"]
)
def test_a_connection_that_breaks_in_a_load_loses_and_doubles_nothing(
    warehouse: snowflake.Snowflake, url: str, how: str, at: str
) -> None:
    warehouse.load([many(1, "old")], {"n": "1"})
    trouble(url, **{how: at})
    done = warehouse.load([many(2, "new"), loads.drop("i5")], {"n": "2"})
    assert [one.read for one in done] == [N, 1]
    sql = "SELECT count(*) AS n, count(DISTINCT id) AS ids, min(_version) AS v FROM stripe.items"
    assert loads.found(warehouse, sql) == [(N - 1, N - 1, 2)]
    assert warehouse.state() == {"n": "2"}


def test_a_session_that_ends_within_a_transaction_commits_nothing(
    warehouse: snowflake.Snowflake, url: str
) -> None:
    """What follows must not go on in another session, statement by statement."""
    warehouse.load([loads.load(loads.row("a", 1, "old"))], {"n": "1"})
    before = len(said(url))
    state = During({"n": "2"}, warehouse.disconnect)
    warehouse.load([loads.load(loads.row("a", 2, "new"))], state)
    words = [each.split()[0] for each in said(url)[before:] if not each.startswith("SELECT")]
    first = words.index("BEGIN")
    again = words.index("BEGIN", first + 1)
    assert words[first:again] == ["BEGIN", "UPDATE", "DELETE", "INSERT"]
    settled = words.index("COMMIT") + 1
    assert words[again:settled] == ["BEGIN", "UPDATE", "COMMIT"], "whatever was on its way is over"
    assert words[settled:] == ["BEGIN", "UPDATE", "DELETE", "INSERT", "DELETE", "INSERT", "COMMIT"]
    assert loads.items(warehouse) == [("a", "new", 2, None)]
    assert warehouse.state() == {"n": "2"}


def test_a_commit_that_is_carried_out_late_doubles_nothing(warehouse: snowflake.Snowflake, url: str) -> None:
    """Its session is gone, and the load is done again while it is still on its way."""
    warehouse.load([loads.load(loads.row("a", 1, "old"))], {"n": "1"})
    trouble(url, late=True)
    done = warehouse.load([loads.load(loads.row("a", 2, "new"), loads.row("b", 2, "Bob"))], {"n": "2"})
    assert done[0].read == 2
    assert loads.items(warehouse) == [("a", "new", 2, None), ("b", "Bob", 2, None)]
    assert warehouse.state() == {"n": "2"}


@pytest.mark.parametrize("silent", [False, True])
def test_a_transaction_that_was_given_up_is_done_again(
    warehouse: snowflake.Snowflake, url: str, silent: bool
) -> None:
    """It stood idle while another one waited; nothing of what follows counts, whether that is told or not."""
    warehouse.load([loads.load(loads.row("a", 1, "old"))], {"n": "1"})
    trouble(url, silent=silent)
    other = opened(url)
    state = During({"n": "2"}, lambda: other.load([loads.load(loads.row("b", 1, "Bob"))], {"m": "1"}))
    warehouse.load([loads.load(loads.row("a", 2, "new"))], state)
    assert loads.items(warehouse) == [("a", "new", 2, None), ("b", "Bob", 1, None)]
    assert warehouse.state() == {"m": "1", "n": "2"}
    other.close()


@pytest.mark.parametrize("silent", [False, True])
def test_who_was_overtaken_within_a_transaction_commits_nothing(
    warehouse: snowflake.Snowflake, url: str, silent: bool
) -> None:
    warehouse.prepare([loads.ITEMS])
    fence = warehouse.claim("sleeper", ["items"])
    trouble(url, silent=silent)
    other = opened(url)

    def take_over() -> None:
        claimed = other.claim("other", ["items"])
        other.load([loads.load(loads.row("a", 1, "Ann"))], {"n": "other"}, claimed)

    with pytest.raises(errors.Fenced, match="other"):
        warehouse.load([loads.load(loads.row("a", 2, "Eve"))], During({"n": "sleeper"}, take_over), fence)
    assert loads.items(other) == [("a", "Ann", 1, None)]
    assert other.state() == {"n": "other"}
    other.close()


def test_a_statement_may_take_longer_than_the_network_is_given(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(snowflake_wire, "NETWORK", 1)
    found = opened(url, wait=1)
    found.prepare([loads.ITEMS])
    trouble(url, slow="^INSERT")
    found.load([loads.load(loads.row("a", 1, "Ann"))], {"n": "1"})
    assert said(url).count("BEGIN") == 1, "it was not cancelled and done again"
    found.close()


def test_a_service_that_answers_no_more_is_told_after_the_wait(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """However long a statement may take."""
    monkeypatch.setattr(snowflake_wire, "NETWORK", 1)
    found = opened(url, wait=0.1)
    assert found.state() == {}
    trouble(url, busy=True)
    with pytest.raises(errors.WarehouseUnreachable, match="check the account and the network"):
        found.state()
    trouble(url, busy=False)
    assert found.state() == {}
    found.close()


def test_a_session_that_was_idle_for_too_long_is_opened_anew(
    monkeypatch: pytest.MonkeyPatch, warehouse: snowflake.Snowflake, url: str
) -> None:
    """Both where its end is foreseen, and where only a load notices."""
    warehouse.load([loads.load(loads.row("a", 1, "Ann"))], {"n": "1"})
    assert loads.items(warehouse) == [("a", "Ann", 1, None)]
    trouble(url, expired=True)
    assert warehouse.load([loads.load(loads.row("a", 2, "Bob"))], {"n": "2"})[0].updated == 1
    monkeypatch.setattr(snowflake_session, "IDLE", 0.0)
    trouble(url, expired=True)
    [batch] = warehouse.asked("select name from stripe.items")
    assert batch.to_pylist() == [{"name": "Bob"}]
    assert loads.items(warehouse) == [("a", "Bob", 2, None)]


def test_rows_are_read_while_a_transaction_runs(warehouse: snowflake.Snowflake) -> None:
    """By a session of its own, which is in no transaction and sees what was committed."""
    warehouse.load([loads.load(loads.row("a", 1, "old"))], {"n": "1"})
    seen: list[object] = []
    state = During({"n": "2"}, lambda: seen.extend(loads.items(warehouse)))
    warehouse.load([loads.load(loads.row("a", 2, "new"))], state)
    assert seen == [("a", "old", 1, None)]
    assert loads.items(warehouse) == [("a", "new", 2, None)]


def test_credits_that_are_used_up(warehouse: snowflake.Snowflake, url: str) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "Ann"))], {"n": "1"})
    trouble(url, quota=True)
    with pytest.raises(
        errors.WarehouseFull, match=r"resource monitor of W\d+ on 127.0.0.1 has no credits left"
    ):
        warehouse.load([loads.load(loads.row("a", 2, "Bob"))], {"n": "2"})
    trouble(url, quota=False)
    assert loads.items(warehouse) == [("a", "Ann", 1, None)]


def test_a_value_that_is_refused_is_not_told(warehouse: snowflake.Snowflake) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "Secret Name"))], {})
    with pytest.raises(errors.WarehouseError, match=r"refused a value \(error 1000\d\d\)") as told:
        list(warehouse.asked("select name::number as n from stripe.items"))
    assert "Secret" not in str(told.value)


def test_a_host_that_goes_away_is_told_after_the_wait(url: str) -> None:
    found = opened(url.replace(servers.snowflake().rpartition(":")[2], "1"), wait=0.1)
    with pytest.raises(errors.WarehouseUnreachable, match="check the account and the network"):
        found.state()
    found.close()


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (394304, errors.ConfigError, "refused the sign-in; check the private key"),
        (394302, errors.ConfigError, "refused the sign-in; check the clock"),
        (390999, errors.ConfigError, r"refused the sign-in \(error 390999\)"),
        (390114, errors.WarehouseUnreachable, "check the account and the network"),
    ],
)
def test_what_is_wrong_with_a_sign_in_is_told_and_what_may_pass_is_tried_again(
    number: int, kind: type[errors.TidegateError], says: str
) -> None:
    error = driver.DatabaseError(msg="no", errno=number, sqlstate="08001")
    place = snowflake_wire.Place({"account": "acme", "database": "raw"}, "loader", "stripe", "")
    told = snowflake_wire.meaning(error, place)
    assert type(told) is kind
    assert re.search(says, str(told))


# Addresses


def test_an_address_from_a_url() -> None:
    target = kinds.Snowflake.model_validate(
        {"type": "snowflake", "url": "snowflake://me:p%40ss@Org-Acc1/raw%20data?warehouse=w&role=r&port=8443"}
    )
    assert snowflake_wire.address(target) == {
        "account": "Org-Acc1",
        "user": "me",
        "password": "p@ss",
        "database": "raw data",
        "warehouse": "w",
        "role": "r",
        "port": 8443,
    }
    assert snowflake_wire.host({"account": "org-acc1"}) == "org-acc1.snowflakecomputing.com"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("snowflake://me@account/db", "write snowflake://user:password@account/database"),
        ("snowflake://me:hunter2@account", "write snowflake://user:password@account/database"),
        ("snowflake://me:hunter2@account/db?timeout=5", "takes only"),
        ("snowflake://me:hunter2@account/db?port=no", "cannot be read"),
    ],
)
def test_a_url_that_cannot_be_is_refused_without_its_password(url: str, says: str) -> None:
    with pytest.raises(errors.ConfigError, match=says) as told:
        warehouses.open_url(url)
    assert "hunter2" not in str(told.value)


def test_names_in_grants_are_quoted_where_they_must() -> None:
    place = snowflake_wire.Place({"database": "my-data"}, "loader", "stripe", "INSERT INTO x")
    told = snowflake_wire.grant(place)
    assert told == 'run GRANT INSERT ON ALL TABLES IN SCHEMA "MY-DATA".STRIPE TO ROLE LOADER'
    told = snowflake_wire.grant(dataclasses.replace(place, statement="SHOW TABLES"))
    assert told == "run SHOW GRANTS TO ROLE LOADER to see what it may do"
