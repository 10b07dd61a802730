"""What is special to BigQuery: scripts, load jobs, stage tables, its JSON and names, roles, and trouble."""

from __future__ import annotations

import datetime as dt
import itertools
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal

import bigqueries
import bigquery_engine as engine
import loads
import pyarrow as pa
import pytest
import servers
from bigquery_values import Refused
from google.api_core import exceptions

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.adapters import bigquery, bigquery_wire
from tidegate.warehouse import base


@pytest.fixture
def service() -> Iterator[engine.Service]:
    """The stand-in, which behaves again afterwards."""
    found, _ = servers.bigquery()
    yield found
    found.behave()


@pytest.fixture
def url(service: engine.Service) -> str:
    """A project that nobody used before."""
    service.queries.clear()
    service.loads.clear()
    return servers.new_bigquery()


@pytest.fixture
def warehouse(url: str) -> Iterator[bigquery.BigQuery]:
    """The warehouse behind `url`."""
    opened = warehouses.open_url(url)
    assert isinstance(opened, bigquery.BigQuery)
    yield opened
    opened.close()


def many(count: int, version: int = 1) -> base.Load:
    """Rows that are too many for a request."""
    rows = pa.table(
        {
            "_account_id": pa.repeat(pa.scalar("acct_1"), count),
            "id": pa.array([f"id_{n:06}" for n in range(count)]),
            "name": pa.array([f"name of {n}\0" for n in range(count)]),
            "notes": pa.array(['{"n": 9007199254740993, "price": 1.10}'] * count),
            "exact": pa.array([Decimal(n) / 10**12 for n in range(count)], pa.decimal128(38, 12)),
            "_version": pa.repeat(pa.scalar(version), count),
            "_synced_at": pa.repeat(pa.scalar(loads.SYNCED, loads.TIME), count),
        }
    )
    return base.Load(loads.ITEMS, rows)


# Tables


def test_a_table_has_the_types_of_bigquery_and_is_clustered(
    warehouse: bigquery.BigQuery, service: engine.Service
) -> None:
    fields = [
        pa.field("_account_id", pa.string()),
        pa.field("id", pa.string()),
        pa.field("flag", pa.bool_()),
        pa.field("n", pa.int64()),
        pa.field("x", pa.float64()),
        pa.field("exact", pa.decimal128(38, 12)),
        pa.field("at", loads.TIME),
        pa.field("doc", pa.string(), metadata=base.JSON),
    ]
    warehouse.prepare([base.Table("things", pa.schema(fields), version="")])
    assert warehouse.columns("things") == {
        "_account_id": "STRING",
        "id": "STRING",
        "flag": "BOOL",
        "n": "INT64",
        "x": "FLOAT64",
        "exact": "BIGNUMERIC(38, 12)",
        "at": "TIMESTAMP",
        "doc": "JSON",
    }
    [made] = [each for each in service.queries if each.startswith("CREATE TABLE") and "`things`" in each]
    assert made.endswith("CLUSTER BY `_account_id`, `id`")


def test_columns_are_added_in_one_statement(warehouse: bigquery.BigQuery, service: engine.Service) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {})
    wider = {f"c{n}": [n] for n in range(30)}
    rows = pa.table({"_account_id": ["acct_1"], "id": ["b"], "_version": [1], **wider})
    warehouse.load([base.Load(loads.ITEMS, rows)], {})
    altered = [each for each in service.queries if each.startswith("ALTER TABLE")]
    assert [each.count("ADD COLUMN") for each in altered] == [30]
    assert loads.found(warehouse, "SELECT id, c29 FROM stripe.items ORDER BY id") == [("a", None), ("b", 29)]


def test_a_column_that_widens_and_others_that_are_new_lose_nothing(warehouse: bigquery.BigQuery) -> None:
    key = pa.table({"_account_id": ["acct_1"], "id": ["a"], "_version": [1]})
    warehouse.load([base.Load(loads.ITEMS, key.append_column("v", pa.array([7])))], {})
    wider = key.set_column(1, "id", [["b"]]).append_column("new", pa.array([1])).append_column("v", [["x"]])
    warehouse.load([base.Load(loads.ITEMS, wider)], {})
    assert warehouse.columns("items")["v"] == "STRING"
    found = loads.found(warehouse, "SELECT id, v, new FROM stripe.items ORDER BY id")
    assert found == [("a", "7", None), ("b", "x", 1)]


def test_names_that_bigquery_forbids_are_written_otherwise(warehouse: bigquery.BigQuery, url: str) -> None:
    table = base.Table("a.b/ü", pa.schema([("id", pa.string()), ("_TABLE_x.y", pa.int64())]), ("id",), "")
    warehouse.load([base.Load(table, pa.table({"id": ["1"], "_TABLE_x.y": [1]}))], {})
    assert loads.found(warehouse, 'SELECT id, "_TABLE_x.y" FROM stripe."a.b/ü"') == [("1", 1)]
    assert list(warehouse.columns("a.b/ü")) == ["id", "_TABLE_x.y"]
    assert bigqueries.asked(url, "SELECT `_0x5f_TABLE_x_0x2e_y` FROM stripe.`a_0x2e_b_0x2f__0xfc_`") == [(1,)]


@pytest.mark.parametrize(
    "name", ["id", "a.b", "_0x2e_", "_x0x2e", "1st", "__0x", "_PARTITIONTIME", "ünï🐟", ""]
)
def test_a_name_is_read_back_from_its_spelling(name: str) -> None:
    spelled = bigquery_wire.spelled(name)
    assert re.fullmatch(r"(?:[A-Za-z_][A-Za-z0-9_]*)?", spelled)
    assert bigquery_wire.unspelled(spelled) == name


# JSON


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ('{"n": 9223372036854775807, "price": 1.5}', "object"),
        ('{"n": 18446744073709551616}', "string"),
        ('{"n": 0.1000000000000000055511151231257827}', "string"),
        ('{"n": 1e400}', "string"),
        ("[1, 2]", "array"),
        ("12345678901234567890123", "string"),
        ('"text"', "string"),
        ('"{\\"looks\\": \\"like one\\"}"', "string"),
        ('"12"', "string"),
        ('"\\"quoted\\""', "string"),
        ('"\\\\ slashed"', "string"),
        ("null", "null"),
        ("true", "boolean"),
    ],
)
def test_a_document_with_a_number_that_bigquery_has_not_is_kept_as_its_text(
    warehouse: bigquery.BigQuery, url: str, written: str, kind: str
) -> None:
    warehouse.load([loads.load(loads.row("a", 1, notes=written))], {})
    [(read,)] = loads.found(warehouse, "SELECT notes FROM stripe.items")
    assert re.sub(r"\s", "", str(read)) == re.sub(r"\s", "", written)
    assert bigqueries.asked(url, "SELECT JSON_TYPE(notes) FROM stripe.items") == [(kind,)]


# Loads


def test_a_load_is_one_script_that_checks_the_revision_first(
    warehouse: bigquery.BigQuery, service: engine.Service
) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {"n": "1"})
    service.queries.clear()
    warehouse.load([loads.load(loads.row("a", 2), loads.row("b", 2))], {"n": "2"})
    changes = [each for each in service.queries if not each.startswith("SELECT")]
    assert len(changes) == 1
    words = [statement.strip().split()[0] for statement in changes[0].strip(";").split(";\n")]
    assert words == ["BEGIN", "ASSERT", "DELETE", "INSERT", "MERGE", "COMMIT"]
    assert service.loads == []


def test_many_rows_go_by_a_load_job_whose_table_is_gone_afterwards(
    warehouse: bigquery.BigQuery, service: engine.Service, url: str
) -> None:
    assert warehouse.load([many(10_000)], {})[0].inserted == 10_000
    assert len(service.loads) == 1
    assert warehouse.load([many(10_000, version=2)], {})[0].updated == 10_000
    found = loads.found(
        warehouse,
        "SELECT count(*) AS n, count(DISTINCT name) AS names, min(_version) AS v, max(exact) AS x "
        "FROM stripe.items",
    )
    assert found == [(10_000, 10_000, 2, Decimal("9999") / 10**12)]
    assert loads.found(warehouse, "SELECT name, notes FROM stripe.items WHERE id = 'id_000007'") == [
        ("name of 7\0", '{"n":9007199254740993,"price":1.1}')
    ]
    assert tables(url) == ["_tidegate_state", "_tidegate_tombstones", "items"]


def test_rows_of_many_tables_share_the_room_of_one_request(
    warehouse: bigquery.BigQuery, service: engine.Service
) -> None:
    """Each is small enough to travel with the script, all together are more than BigQuery takes."""
    text = "\x01" * 200_000  # six characters each in a request
    tables = [
        base.Table(f"t{n}", pa.schema([("id", pa.string()), ("v", pa.string())]), ("id",), "")
        for n in range(20)
    ]
    warehouse.load([base.Load(table, pa.table({"id": ["a"], "v": [text]})) for table in tables], {})
    assert len(service.loads) == 14
    for table in tables:
        assert loads.found(warehouse, f"SELECT id, v FROM stripe.{table.name}") == [("a", text)]


def test_stage_tables_of_killed_loads_are_swept_and_those_of_others_are_not(
    warehouse: bigquery.BigQuery, url: str
) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {})
    now = int(time.time())
    old, fresh = f"_tidegate_stage_{now - 7200:x}_00000000", f"_tidegate_stage_{now:x}_00000000"
    for name in (old, fresh):
        bigqueries.asked(url, f"CREATE TABLE stripe.`{name}` (id STRING)")
    assert "_tidegate_stage" not in str(warehouse.existing("stripe"))
    again = warehouses.open_url(url)
    again.load([loads.load(loads.row("a", 2))], {})
    again.close()
    assert [name for name in tables(url) if "stage" in name] == [fresh]


def test_a_stage_table_that_nobody_sweeps_expires(
    warehouse: bigquery.BigQuery, service: engine.Service
) -> None:
    service.forbidden.add("bigquery.tables.delete")
    warehouse.load([many(10_000)], {})
    left = [(names, at) for names, at in service.expires.items() if names[2] == service.loads[-1]]
    assert [round((at - time.time()) / 3600) for _, at in left] == [6]


def test_what_was_decided_on_rows_that_somebody_changed_is_decided_again(
    warehouse: bigquery.BigQuery, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer commits between this one's decision and its script."""
    warehouse.load([loads.load(loads.row("a", 1, "old"))], {})
    other = warehouses.open_url(url)
    uploaded, times = bigquery.BigQuery.uploaded, []

    def overtaken(self: bigquery.BigQuery, changes: object) -> object:
        if self is warehouse and not times:
            times.append(1)
            other.load([loads.load(loads.row("a", 9, "newer"))], {"other": "1"})
        return uploaded(self, changes)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(bigquery.BigQuery, "uploaded", overtaken)
    [done] = warehouse.load([loads.load(loads.row("a", 5, "late"), loads.row("b", 5, "b"))], {"mine": "1"})
    other.close()
    assert (done.inserted, done.stale) == (1, 1)
    assert loads.items(warehouse) == [("a", "newer", 9, None), ("b", "b", 5, None)]
    assert warehouse.state() == {"mine": "1", "other": "1"}


# Trouble


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("what", ["BEGIN TRANSACTION", "AS t JOIN", "INFORMATION_SCHEMA", "load job"])
def test_a_connection_that_is_cut_in_a_load_doubles_and_loses_nothing(
    warehouse: bigquery.BigQuery, service: engine.Service, what: str, after: bool
) -> None:
    warehouse.load([loads.load(loads.row("id_000000", 0, "x"))], {"n": "1"})
    service.faults.append(engine.Fault(what, after=after))
    assert warehouse.load([many(10_000)], {"n": "2"})[0].read == 10_000
    assert service.faults == []
    found = loads.found(warehouse, "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM stripe.items")
    assert found == [(10_000, 10_000)]
    assert warehouse.state() == {"n": "2"}


@pytest.mark.parametrize("after", [False, True])
def test_a_connection_may_be_cut_at_any_request(service: engine.Service, after: bool) -> None:
    """From the first table to a column that widens: what comes twice is there once, and nothing is missing."""
    key = pa.table({"_account_id": ["acct_1"], "id": ["a"], "_version": [1]})
    for later in itertools.count():
        warehouse = warehouses.open_url(servers.new_bigquery())
        service.faults.append(fault := engine.Fault("", after=after, later=later))
        fence = warehouse.claim("me", ["items"])
        warehouse.load([base.Load(loads.ITEMS, key.append_column("v", [[7]]))], {"n": "1"}, fence)
        both = pa.concat_tables([key, key.set_column(1, "id", [["b"]])])
        warehouse.load([base.Load(loads.ITEMS, both.append_column("v", [["x", "y"]]))], {"n": "2"}, fence)
        if fault in service.faults:
            break
        found = loads.found(warehouse, "SELECT id, v, _version FROM stripe.items ORDER BY id")
        assert found == [("a", "x", 1), ("b", "y", 1)]
        assert warehouse.state() == {"n": "2"}
        warehouse.close()
    warehouse.close()
    assert later > 20


@pytest.mark.parametrize(
    "trouble",
    [
        Refused(
            400,
            "invalidQuery",
            "Transaction is aborted due to concurrent update against table p:stripe.items.",
        ),
        Refused(
            400, "invalidQuery", "Could not serialize access to table p:stripe.items due to concurrent update"
        ),
        Refused(
            403, "rateLimitExceeded", "Exceeded rate limits: too many table update operations for this table"
        ),
        Refused(503, "backendError", "Error encountered during execution. Retrying may solve the problem."),
        Refused(
            400,
            "resourcesExceeded",
            "Resources exceeded: Too many DML statements outstanding against table x",
        ),
        Refused(400, "tableUnavailable", "The table is not available right now"),
        Refused(502, "", "Bad Gateway"),
    ],
)
def test_what_passes_is_tried_again(
    warehouse: bigquery.BigQuery, service: engine.Service, trouble: Refused
) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {})
    service.faults.append(engine.Fault("BEGIN TRANSACTION", trouble))
    assert warehouse.load([loads.load(loads.row("a", 2))], {})[0].updated == 1
    assert service.faults == []
    assert loads.items(warehouse) == [("a", None, 2, None)]


def test_a_script_that_takes_long_is_waited_for(
    warehouse: bigquery.BigQuery, service: engine.Service
) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {})
    service.slow += ["BEGIN TRANSACTION", "AS t JOIN"]
    assert warehouse.load([loads.load(loads.row("a", 2))], {})[0].updated == 1
    service.slow.append("SELECT")
    assert loads.items(warehouse) == [("a", None, 2, None)]


@pytest.mark.parametrize(
    ("trouble", "kind", "says"),
    [
        (
            Refused(403, "quotaExceeded", "Quota exceeded: imports by 'jenny@example.com'"),
            errors.WarehouseFull,
            r"A quota of BigQuery's project .* is used up .* nothing of this was written",
        ),
        (
            Refused(403, "billingNotEnabled", "Billing has not been enabled for this project."),
            errors.ConfigError,
            "has no billing",
        ),
        (
            Refused(403, "accessNotConfigured", "BigQuery API has not been used in project 1 before."),
            errors.ConfigError,
            r"is not enabled in .*; run `gcloud services enable bigquery\.googleapis\.com --project=",
        ),
        (
            Refused(403, "responseTooLarge", "Response too large to return: jenny@example.com"),
            errors.WarehouseError,
            r"returns more than BigQuery gives at once \(responseTooLarge\); let it read less\.$",
        ),
        (
            Refused(501, "notImplemented", "Not there: jenny@example.com"),
            errors.WarehouseError,
            r"refused a statement \(notImplemented\)\.$",
        ),
        (
            Refused(
                400,
                "invalidQuery",
                "UPDATE or DELETE statement over table x would affect rows in the streaming buffer",
            ),
            errors.WarehouseError,
            "streamed into a table of Tidegate",
        ),
        (
            Refused(400, "invalidQuery", "Bad double value: jenny@example.com"),
            errors.WarehouseError,
            r"refused a statement \(invalidQuery\)\.$",
        ),
        (
            Refused(404, "notFound", "Not found: Table p:stripe.items was not found in location US"),
            errors.WarehouseError,
            r"has no Table p:stripe\.items; check the names, and that `location` is the dataset's\.$",
        ),
    ],
)
def test_a_refusal_is_one_sentence_without_values(
    warehouse: bigquery.BigQuery, service: engine.Service, trouble: Refused, kind: type[Exception], says: str
) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {"n": "1"})
    service.faults.append(engine.Fault("BEGIN TRANSACTION", trouble))
    with pytest.raises(kind, match=says) as caught:
        warehouse.load([loads.load(loads.row("a", 2, "jenny@example.com"))], {"n": "2"})
    assert "jenny" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert loads.items(warehouse) == [("a", None, 1, None)]
    assert warehouse.state() == {"n": "1"}


def test_a_load_job_that_fails_is_told_and_changes_nothing(
    warehouse: bigquery.BigQuery, service: engine.Service, url: str
) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {"n": "1"})
    full = Refused(
        403, "quotaExceeded", "Quota exceeded: Your project exceeded quota for imports per project"
    )
    service.faults.append(engine.Fault("load job", full))
    with pytest.raises(errors.WarehouseFull, match="quotaExceeded"):
        warehouse.load([many(10_000)], {"n": "2"})
    assert loads.items(warehouse) == [("a", None, 1, None)]
    assert warehouse.state() == {"n": "1"}
    assert [name for name in tables(url) if "stage" in name] == []


def test_a_driver_that_is_missing_is_named() -> None:
    code = (
        "import sys\n"
        "class Nobody:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'google.cloud.bigquery':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Nobody())\n"
        "from tidegate import errors, warehouse\n"
        "try:\n"
        "    warehouse.open_url('bigquery://project-1')\n"
        "except errors.ConfigError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'tidegate[bigquery]'" in done.stdout


# The stand-in


def test_the_stand_in_refuses_what_bigquery_refuses(warehouse: bigquery.BigQuery, url: str) -> None:
    warehouse.prepare([loads.ITEMS])
    for text, says in (
        (
            "BEGIN TRANSACTION; CREATE TABLE stripe.x (id STRING); COMMIT TRANSACTION;",
            "not supported in a transaction",
        ),
        ("SELECT PARSE_JSON('18446744073709551616')", "cannot round-trip"),
        ("CREATE TABLE stripe.x (`a.b` STRING)", "Invalid field name"),
        ("CREATE TABLE stripe.x (j JSON) CLUSTER BY j", "must be groupable"),
        ("ALTER TABLE stripe.items ALTER COLUMN name SET DATA TYPE INT64", "is assignable"),
        ("SELECT * FROM stripe.items WHERE id = @p0", "Query parameter 'p0' not found"),
        ("SELECT 1 FROM stripe.items FOR UPDATE OF x y", "Syntax error"),
        ("SELECT * FROM nowhere.items", "Not found: Dataset"),
        ("INSERT INTO stripe.items (name) SELECT 1", "cannot be inserted into column name"),
    ):
        with pytest.raises(exceptions.GoogleAPICallError, match=says):
            bigqueries.asked(url, text)
    bigqueries.asked(
        url, "BEGIN TRANSACTION; INSERT INTO stripe.items (id) VALUES ('a'); ROLLBACK TRANSACTION;"
    )
    bigqueries.asked(url, "BEGIN TRANSACTION; INSERT INTO stripe.items (id) VALUES ('a');")
    with pytest.raises(exceptions.BadRequest, match="no luck"):
        bigqueries.asked(
            url, "BEGIN TRANSACTION; INSERT INTO stripe.items (id) VALUES ('a'); ASSERT 1 = 2 AS 'no luck';"
        )
    assert loads.items(warehouse) == []


def tables(url: str) -> list[str]:
    """The tables of the dataset, stage tables too."""
    text = "SELECT DISTINCT table_name FROM stripe.INFORMATION_SCHEMA.COLUMNS"
    return sorted(str(name) for (name,) in bigqueries.asked(url, text))


def test_moments_are_exact_also_for_googles_own_client(warehouse: bigquery.BigQuery, url: str) -> None:
    last = dt.datetime(2999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC)
    warehouse.load([loads.load(loads.row("a", 1, _synced_at=last))], {})
    assert bigqueries.asked(url, "SELECT _synced_at FROM stripe.items") == [(last,)]
