"""What is Postgres's own: a server that goes away, full disks, missing privileges, signing in, values."""

from __future__ import annotations

import concurrent.futures
import random
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path

import clusters
import loads
import ports
import psycopg
import pyarrow as pa
import pytest
import servers

from tidegate import config, errors
from tidegate import warehouse as warehouses
from tidegate.adapters import postgres
from tidegate.warehouse import base

N = 3_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[clusters.Cluster]:
    with clusters.postgres() as running:
        yield running


@pytest.fixture
def database(cluster: clusters.Cluster, request: pytest.FixtureRequest) -> str:
    """A database that nobody used before, on the cluster."""
    name = f"d{abs(hash(request.node.name)):x}"
    run(cluster.url(), f"CREATE DATABASE {name}")
    return name


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def opened(url: str, wait: float = 60.0) -> postgres.Postgres:
    found = warehouses.open_url(url, wait=wait)
    assert isinstance(found, postgres.Postgres)
    return found


def many(version: int, name: str) -> base.Load:
    return loads.load(*(loads.row(f"i{n}", version, name) for n in range(N)))


def assert_whole(url: str, version: int) -> None:
    warehouse = opened(url)
    columns = "count(*) AS n, count(DISTINCT id) AS ids, min(_version) AS a, max(_version) AS b"
    assert loads.found(warehouse, f"SELECT {columns} FROM stripe.items") == [(N, N, version, version)]
    assert warehouse.state() == {"n": str(version)}
    warehouse.close()


class During(dict[str, str]):
    """State that does something when it is written, which is inside of the transaction."""

    def __init__(self, state: Mapping[str, str], act: Callable[[], None]) -> None:
        super().__init__(state)
        self._acts = [act]

    def items(self):  # type: ignore[no-untyped-def,override]  # as dict's
        if self._acts:
            self._acts.pop()()
        return super().items()


# Trouble


def test_a_server_that_restarts_within_a_load(cluster: clusters.Cluster, database: str) -> None:
    url = cluster.url(database)
    warehouse = opened(url)
    warehouse.load([many(1, "old")], {"n": "1"})

    def restart() -> None:
        cluster.stop()
        cluster.start()

    [done] = warehouse.load([many(2, "new")], During({"n": "2"}, restart))
    warehouse.close()
    assert (done.updated, done.inserted) == (N, 0)
    assert_whole(url, 2)


@pytest.mark.parametrize("after", [0, 50, 600, 3_000, 20_000, 100_000, 200_000])
def test_a_connection_that_is_cut(cluster: clusters.Cluster, database: str, after: int) -> None:
    direct = cluster.url(database)
    before = opened(direct)
    before.load([many(1, "old")], {"n": "1"})
    before.close()
    with clusters.wire(cluster.port, [after, after]) as port:
        warehouse = opened(direct.replace(str(cluster.port), str(port)))
        warehouse.load([many(2, "new" * 20)], {"n": "2"})
        warehouse.close()
    assert_whole(direct, 2)


@pytest.mark.parametrize("answer", [False, True], ids=["lost", "unanswered"])
def test_a_connection_that_is_cut_at_any_statement(
    cluster: clusters.Cluster, database: str, answer: bool
) -> None:
    """Each in its turn, COMMIT too; who lost its answer cannot know whether the load is there, and loads again."""
    url = cluster.url(database)
    warehouse = opened(url)
    warehouse.load([loads.load(*(loads.row(id, 1) for id in "ab"))], {"n": "1"})
    piece, cut = 0, clusters.Cut(0)
    while piece < 3 or cut.happened:
        version, cut = piece + 2, clusters.Cut(piece, answer=answer)
        rows = [loads.row("a", version, f"{version}", notes="{}"), loads.row(f"new {piece:02}", version)]
        work = [loads.load(*rows), loads.versions(("a", version, "x"), seen=version)]
        work += [loads.mark(loads.dead("b", version), hard=True, history=loads.HISTORY)]
        with clusters.wire(cluster.port, [cut]) as port:
            other = opened(url.replace(str(cluster.port), str(port)))
            other.load(work, {"n": f"{version}", f"{version - 1}": None, f"{version}": "here"})
            other.close()
        expected = [("a", f"{version}", version, None)]
        expected += [(f"new {n:02}", None, n + 2, None) for n in range(piece + 1)]
        assert loads.items(warehouse) == expected
        assert loads.graves(warehouse) == [('["acct_1","b"]', version, 2)]
        assert warehouse.state() == {"n": f"{version}", f"{version}": "here"}
        assert loads.history(warehouse)[0][1:] == ("x", 2, None)
        piece += 1
    warehouse.close()
    assert piece > 15  # statements are there


def test_a_server_that_stays_away_is_told_of() -> None:
    warehouse = opened(f"postgresql://postgres:secret@127.0.0.1:{ports.free()}/x", wait=0.2)
    with pytest.raises(
        errors.WarehouseUnreachable, match=r"No answer from x on 127\.0\.0\.1 .*refused"
    ) as told:
        warehouse.state()
    assert "secret" not in str(told.value)
    assert [(check.name, check.ok) for check in warehouse.check()] == [("reach", False)]


def test_a_full_disk_changes_nothing(cluster: clusters.Cluster) -> None:
    with cluster.small("48m") as place:
        ballast = place.parent / "ballast"
        ballast.write_bytes(bytes(12_000_000))
        run(
            cluster.url(),
            f"CREATE TABLESPACE small LOCATION '{place}'",
            "CREATE DATABASE small TABLESPACE small",
        )
        url = cluster.url("small")
        warehouse = opened(url)
        warehouse.load([many(1, "old")], {"n": "1"})
        rng = random.Random(1)
        texts = pa.array([rng.randbytes(12_000).hex() for _ in range(N)])  # such as do not compress
        rows = many(2, "new").rows
        wide = rows.set_column(rows.schema.get_field_index("notes"), "more", texts)
        with pytest.raises(errors.WarehouseFull, match="disk of small on 127"):
            warehouse.load([base.Load(loads.ITEMS, wide)], {"n": "2"})
        assert_whole(url, 1)
        ballast.unlink()  # somebody makes room
        warehouse.load([many(3, "again")], {"n": "3"})
        warehouse.close()
        assert_whole(url, 3)
        run(cluster.url(), "DROP DATABASE small WITH (FORCE)", "DROP TABLESPACE small")


def test_two_writers_at_once_lose_and_double_nothing(cluster: clusters.Cluster, database: str) -> None:
    """Neither has a fence: the lock alone keeps them from deciding on what the other is changing."""
    url = cluster.url(database)

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
    assert len(found) == 3 * 8 + 1
    assert found["hot"] == ("2-7", 23)
    assert warehouse.state() == {f"writer/{writer}": "7" for writer in range(3)}
    warehouse.close()


@pytest.mark.parametrize("size", [1, 2])
def test_a_pool_that_gives_every_transaction_another_session(
    cluster: clusters.Cluster, database: str, size: int
) -> None:
    """PgBouncer in transaction mode: of what a session was told, nothing holds in the next one."""
    with clusters.pgbouncer(cluster, size) as port:
        url = cluster.url(database).replace(f":{cluster.port}/", f":{port}/")
        warehouse = opened(url)
        assert all(check.ok for check in warehouse.check())
        fence = warehouse.claim("me", ["items"])
        for version in (1, 2, 3):
            warehouse.load([many(version, f"name {version}")], {"n": str(version)}, fence)
        found = warehouse.find(loads.ITEMS, pa.table({"_account_id": ["acct_1"], "id": ["i7"]}), ["name"])
        assert found.column("name").to_pylist() == ["name 3"]
        batches = warehouse.read("SELECT id, _synced_at FROM stripe.items")
        assert sum(batch.num_rows for batch in batches) == N
        warehouse.close()
        assert_whole(url, 3)


def test_defaults_of_a_database_that_nobody_expects(cluster: clusters.Cluster, database: str) -> None:
    for words in (
        "timezone = 'Asia/Kolkata'",
        "datestyle = 'German, DMY'",
        "extra_float_digits = -5",
        "default_transaction_isolation = 'serializable'",
        "bytea_output = 'escape'",
        "standard_conforming_strings = off",
        "search_path = 'nowhere'",
    ):
        run(cluster.url(), f"ALTER DATABASE {database} SET {words}")
    warehouse = opened(cluster.url(database))
    table = base.Table(
        "things",
        pa.schema([("id", pa.string()), ("rate", pa.float64()), ("at", loads.TIME), ("text", pa.string())]),
        ("id",),
        "",
    )
    row = {"id": "a", "rate": 0.1 + 0.2, "at": loads.at(1_700_000_000), "text": "back\\slash '\n'"}
    for _ in range(2):
        warehouse.load([base.Load(table, pa.Table.from_pylist([row], schema=table.schema))], {"n": "1"})
    found = warehouse.find(table, pa.table({"id": ["a"]}), ["rate", "at", "text"])
    assert found.select(list(row)).to_pylist() == [row]
    read = pa.Table.from_batches(list(warehouse.read("SELECT id, rate, at, text FROM stripe.things")))
    assert read.to_pylist() == [row]
    warehouse.close()


def test_whoever_reads_may_take_long(cluster: clusters.Cluster, database: str) -> None:
    """Between two batches of rows their transaction is idle, which a server may take amiss."""
    run(cluster.url(), f"ALTER DATABASE {database} SET idle_in_transaction_session_timeout = '1min'")
    warehouse = opened(cluster.url(database))
    query = "SELECT current_setting('idle_in_transaction_session_timeout') AS told"
    for read in (warehouse.read, warehouse.asked):
        assert [batch.to_pylist() for batch in read(query)] == [[{"told": "0"}]]
    warehouse.close()


def test_a_name_that_the_server_would_cut(cluster: clusters.Cluster, database: str) -> None:
    """It would keep 63 bytes of each, and so take two streams, or two columns, for one."""
    warehouse = opened(cluster.url(database))
    long = "ä" * 31 + "bc"

    def table(name: str, *columns: str) -> base.Table:
        return base.Table(
            name, pa.schema([(column, pa.string()) for column in ("id", *columns)]), ("id",), ""
        )

    warehouse.prepare([table(long[:-1], long[:-1])])
    for wrong in (table(long), table("things", long), table(long[:-1], long[:-1], long)):
        with pytest.raises(errors.ConfigError, match=f"no name of more than 63 bytes; shorten {long}"):
            warehouse.prepare([wrong])
    warehouse.close()
    elsewhere = warehouses.open_url(cluster.url(database), "s" * 60)
    with pytest.raises(errors.ConfigError, match=r"shorten s+_live"):
        elsewhere.prepare([loads.ITEMS])
    elsewhere.close()


def test_a_view_of_somebody_elses_that_stands_in_the_way(cluster: clusters.Cluster, database: str) -> None:
    url = cluster.url(database)
    warehouse = opened(url)
    table = base.Table("things", pa.schema([("id", pa.string()), ("v", pa.int64())]), ("id",), "")
    warehouse.load([base.Load(table, pa.table({"id": ["a"], "v": [1]}))], {})
    run(url, "CREATE VIEW stripe.mine AS SELECT v FROM stripe.things")
    with pytest.raises(errors.WarehouseError, match=r"used by a view .* drop it first"):
        warehouse.load([base.Load(table, pa.table({"id": ["b"], "v": ["drei"]}))], {})
    run(url, "DROP VIEW stripe.mine")
    warehouse.load([loads.load(loads.row("a", 1))], {})
    run(url, "CREATE VIEW stripe.mine AS SELECT id FROM stripe_live.items")
    wider = base.Table("items", loads.ITEMS.schema.set(4, pa.field("notes", pa.string())))
    with pytest.raises(errors.WarehouseError, match=r"drop view stripe_live\.items .* drop it first"):
        warehouse.prepare([wider])
    run(url, "DROP VIEW stripe.mine")
    warehouse.prepare([wider])
    warehouse.load([base.Load(table, pa.table({"id": ["b"], "v": ["drei"]}))], {})
    assert sorted(loads.found(warehouse, "SELECT id, v FROM stripe.things")) == [("a", "1"), ("b", "drei")]
    warehouse.close()


# Privileges


def grants(cluster: clusters.Cluster, database: str, *statements: str) -> str:
    """The URL of a user with a schema of somebody else's, and with nothing but what is granted here."""
    user = f"u_{database}"
    run(cluster.url(), f"CREATE ROLE {user} LOGIN PASSWORD 'pw'")
    owner = opened(cluster.url(database))
    owner.load([loads.load(loads.row("a", 1, "Ann"))], {"n": "1"})
    owner.close()
    run(cluster.url(database), *(statement.format(user=user) for statement in statements))
    return cluster.url(database, user, "pw")


USAGE = "GRANT USAGE, CREATE ON SCHEMA stripe, stripe_live TO {user}"
READ = "GRANT SELECT ON ALL TABLES IN SCHEMA stripe TO {user}"
WRITE = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA stripe TO {user}"


@pytest.mark.parametrize(
    ("given", "lacks", "told"),
    [
        ([], "rows", 'GRANT USAGE, CREATE ON SCHEMA "stripe" TO '),
        ([USAGE], "rows", 'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "stripe" TO '),
        ([USAGE, READ], "rows", 'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "stripe" TO '),
        (
            [USAGE, WRITE, "REVOKE INSERT ON stripe.items FROM {user}"],
            "rows",
            'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "stripe" TO ',
        ),
        (
            [USAGE, WRITE, "REVOKE DELETE ON stripe.items FROM {user}"],
            "rows",
            'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "stripe" TO ',
        ),
        ([USAGE, WRITE], "column", 'ALTER TABLE "stripe"."items" OWNER TO '),
        (
            [WRITE, "GRANT USAGE ON SCHEMA stripe TO {user}"],
            "table",
            'GRANT USAGE, CREATE ON SCHEMA "stripe" TO ',
        ),
    ],
)
def test_a_privilege_that_is_missing_is_named(
    cluster: clusters.Cluster, database: str, given: list[str], lacks: str, told: str
) -> None:
    warehouse = opened(grants(cluster, database, *given))
    load = loads.load(loads.row("a", 2, "Secret Name"))
    if lacks == "column":
        load = base.Load(load.table, load.rows.append_column("surprise", pa.array([7])))
    elif lacks == "table":
        load = base.Load(base.Table("others", load.table.schema), load.rows)
    with pytest.raises(errors.WarehouseError) as refused:
        warehouse.load([load], {"n": "2"})
    warehouse.close()
    assert f'run `{told}"u_{database}"`' in str(refused.value)
    assert "Secret Name" not in str(refused.value)
    owner = opened(cluster.url(database))
    assert loads.items(owner) == [("a", "Ann", 1, None)]
    assert owner.state() == {"n": "1"}
    owner.close()


def test_schemas_that_somebody_else_made_are_enough(cluster: clusters.Cluster, database: str) -> None:
    """Postgres asks for the right to make a schema even of those who name one that is there already."""
    user = f"u_{database}"
    run(cluster.url(), f"CREATE ROLE {user} LOGIN PASSWORD 'pw'")
    run(
        cluster.url(database),
        f"CREATE SCHEMA stripe AUTHORIZATION {user}",
        f"CREATE SCHEMA stripe_live AUTHORIZATION {user}",
    )
    warehouse = opened(cluster.url(database, user, "pw"))
    assert all(check.ok for check in warehouse.check())
    warehouse.load([loads.load(loads.row("a", 1, "Ann"))], {"n": "1"})
    assert loads.items(warehouse) == [("a", "Ann", 1, None)]
    warehouse.close()


def test_the_right_to_make_schemas(cluster: clusters.Cluster, database: str) -> None:
    run(cluster.url(), "CREATE ROLE nobody LOGIN PASSWORD 'pw'")
    warehouse = opened(cluster.url(database, "nobody", "pw"))
    checks = warehouse.check()
    assert [check.name for check in checks] == ["reach", "sign in", "list", "read", "write"]
    assert [check.ok for check in checks] == [True, True, True, True, False]
    assert f'run `GRANT CREATE ON DATABASE "{database}" TO "nobody"`' in checks[-1].detail
    run(cluster.url(), f"GRANT CREATE ON DATABASE {database} TO nobody")
    assert all(check.ok for check in warehouse.check())
    warehouse.close()


# Signing in


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"password": "wrong"}, "refused the sign-in; check the user and the password"),
        ({"user": "stranger"}, "refused the sign-in; check the user and the password"),
        ({"database": "nowhere"}, "nowhere on 127.0.0.1 does not exist; check the name of the database"),
        ({"sslmode": "require"}, "offers no TLS"),
    ],
)
def test_a_sign_in_that_fails_says_why(
    cluster: clusters.Cluster, change: dict[str, object], says: str
) -> None:
    given = {
        "host": "127.0.0.1",
        "port": cluster.port,
        "user": "postgres",
        "password": "secret",
        "database": "postgres",
    }
    warehouse = postgres.open_warehouse(config.Postgres.model_validate(given | change), wait=5)
    with pytest.raises(errors.ConfigError) as told:
        warehouse.state()
    assert says in str(told.value)
    assert "secret" not in str(told.value)
    assert [(check.name, check.ok) for check in warehouse.check()] == [("reach", True), ("sign in", False)]


@pytest.mark.parametrize("limited", ["ROLE u_{database}", "DATABASE {database}"])
def test_a_server_with_no_room_is_tried_again(cluster: clusters.Cluster, database: str, limited: str) -> None:
    run(cluster.url(), f"CREATE ROLE u_{database} LOGIN PASSWORD 'pw'")
    run(cluster.url(), f"ALTER {limited.format(database=database)} CONNECTION LIMIT 0")
    with pytest.raises(errors.WarehouseUnreachable, match="no room for this now"):
        opened(cluster.url(database, f"u_{database}", "pw"), wait=0.0).state()


def test_a_server_that_is_gone_without_a_word_is_missed(cluster: clusters.Cluster, database: str) -> None:
    for url in (cluster.url(database), servers.new_redshift()):
        warehouse = warehouses.open_url(url)
        assert isinstance(warehouse, postgres.Postgres)
        asked = warehouse._open().info.get_parameters()
        patience = [asked[f"keepalives_{word}"] for word in ("idle", "interval", "count")]
        assert patience == ["30", "10", "6"]
        warehouse.close()


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    with clusters.tls(tmp_path) as port:
        url = f"postgresql://u:pw@127.0.0.1:{port}/db"
        for words in ("sslmode=verify-full", f"sslmode=verify-ca&sslrootcert={tmp_path}/other.crt"):
            warehouse = opened(f"{url}?{words}", wait=5)
            with pytest.raises(errors.ConfigError, match="is not to be trusted; set sslrootcert"):
                warehouse.state()


def test_a_server_that_lets_nobody_in_from_here(cluster: clusters.Cluster) -> None:
    rules = cluster.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("local all all trust\n")
    try:
        cluster.reload()
        with pytest.raises(errors.ConfigError, match="asks for TLS or does not let this user in"):
            opened(cluster.url()).state()
    finally:
        rules.write_text(before)
        cluster.reload()


def test_a_url_that_cannot_be_read_keeps_its_password() -> None:
    with pytest.raises(errors.ConfigError, match="cannot be read") as told:
        warehouses.open_url("postgresql://u:se%zzcret@host/db?nonsense=1")
    assert "cret" not in str(told.value)


def test_a_server_that_only_reads(cluster: clusters.Cluster, database: str) -> None:
    run(cluster.url(), f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    warehouse = opened(cluster.url(database))
    with pytest.raises(errors.WarehouseError, match="give the address of the primary"):
        warehouse.load([loads.load(loads.row("a", 1))], {})
    warehouse.close()


def test_a_table_that_somebody_locks(cluster: clusters.Cluster, database: str) -> None:
    url = cluster.url(database)
    warehouse = opened(url, wait=1)
    warehouse.load([loads.load(loads.row("a", 1))], {})
    run(cluster.url(), f"ALTER DATABASE {database} SET statement_timeout = '300ms'")
    warehouse.close()
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE stripe.items")
        with pytest.raises(errors.WarehouseError, match="statement_timeout"):
            warehouse.load([loads.load(loads.row("a", 2))], {})
    warehouse.load([loads.load(loads.row("a", 3))], {})
    assert loads.items(warehouse) == [("a", None, 3, None)]
    warehouse.close()


# Values


def test_values_of_other_types_come_as_text() -> None:
    url = servers.new_postgres()
    run(
        url,
        "CREATE TYPE mood AS ENUM ('fine')",
        "CREATE DOMAIN positive AS bigint CHECK (VALUE > 0)",
        "CREATE SCHEMA stripe",
        "CREATE TABLE stripe.v (big numeric, sum numeric, list bigint[], raw bytea, mood mood, "
        "positive positive, doc jsonb, day date, span interval)",
        "INSERT INTO stripe.v VALUES (1e30, 12.5, '{1,2}', '\\xff00', 'fine', 7, '{\"a\": 9007199254740993}', "
        "'2026-01-02', '1 day 02:00')",
    )
    warehouse = opened(url)
    [row] = loads.found(warehouse, "SELECT big, sum, list, raw, mood, positive, doc, span FROM stripe.v")
    assert row == (
        "1000000000000000000000000000000",
        Decimal("12.500000000000"),
        "[1, 2]",
        "ff00",
        "fine",
        7,
        '{"a": 9007199254740993}',
        "1 day 02:00:00",
    )
    warehouse.close()


@pytest.mark.parametrize("value", ["infinity", "-infinity", "20000-01-01", "0044-03-15 BC"])
def test_a_moment_that_arrow_has_none_for_names_its_column(value: str) -> None:
    url = servers.new_postgres()
    run(url, "CREATE SCHEMA stripe", "CREATE TABLE stripe.v (since timestamptz)")
    run(url, f"INSERT INTO stripe.v VALUES ('{value}')")
    warehouse = opened(url)
    with pytest.raises(errors.WarehouseError, match=r"column since .* select it as text") as told:
        loads.found(warehouse, "SELECT since FROM stripe.v")
    assert "20000" not in str(told.value)
    warehouse.close()


def test_json_is_jsonb_and_keys_are_a_primary_key() -> None:
    url = servers.new_postgres()
    warehouse = opened(url)
    warehouse.load([loads.load(loads.row("a", 1, notes='{"b": 1}'))], {})
    kinds = warehouse.columns("items")
    assert (kinds["notes"], kinds["_version"], kinds["_synced_at"]) == (
        "jsonb",
        "bigint",
        "timestamp with time zone",
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(url, "INSERT INTO stripe.items SELECT * FROM stripe.items")
    warehouse.close()


def test_characters_that_copy_takes_for_its_own() -> None:
    warehouse = opened(servers.new_postgres())
    texts = ["\\N", "\\.", "a\tb", "line\r\nline", "\\\\", "", "\\n"]
    warehouse.load([loads.load(*(loads.row(f"i{n}", 1, text) for n, text in enumerate(texts)))], {})
    assert [name for _, name, _, _ in loads.items(warehouse)] == texts
    warehouse.close()
