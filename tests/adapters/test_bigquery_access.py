"""Who may do what in BigQuery: signing in, roles that are missing, and what users' queries get."""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
from collections.abc import Iterator
from decimal import Decimal

import bigquery_engine as engine
import loads
import pyarrow as pa
import pytest
import servers
from bigquery_values import Refused
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.cloud import bigquery as driver

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.adapters import bigquery, bigquery_wire
from tidegate.config import warehouses as described
from tidegate.warehouse import base

EMAIL = "tidegate@example.iam.gserviceaccount.com"


@pytest.fixture
def service() -> Iterator[engine.Service]:
    """The stand-in, which behaves again afterwards."""
    found, _ = servers.bigquery()
    yield found
    found.behave()
    found.accounts.clear()


@pytest.fixture
def url(service: engine.Service) -> str:
    """A project that nobody used before."""
    service.queries.clear()
    return servers.new_bigquery()


@pytest.fixture
def warehouse(url: str) -> Iterator[bigquery.BigQuery]:
    """The warehouse behind `url`."""
    opened = warehouses.open_url(url)
    assert isinstance(opened, bigquery.BigQuery)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """The private key of a service account."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def credentials(key: rsa.RSAPrivateKey) -> str:
    """A service account's JSON."""
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "type": "service_account",
            "client_email": EMAIL,
            "private_key_id": "1",
            "private_key": pem.decode(),
            "token_uri": f"{servers.bigquery()[1]}/token",
        }
    )


def public(key: rsa.RSAPrivateKey) -> str:
    """The other half of a key."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def opened(url: str, secret: str | None = None) -> base.Warehouse:
    """A warehouse as a file describes it, in a project that asks who comes."""
    project, _, address = url.removeprefix("bigquery://").partition("?api_base=")
    servers.bigquery()[0].guarded.add(project)
    target = described.BigQuery(project=project, api_base=address, credentials=secret)
    return warehouses.open_warehouse(target, wait=0.1)


def test_a_service_account_signs_in(service: engine.Service, url: str, key: rsa.RSAPrivateKey) -> None:
    service.accounts[EMAIL] = public(key)
    warehouse = opened(url, credentials(key))
    assert [(each.name, each.ok) for each in warehouse.check()] == [
        ("reach", True),
        ("sign in", True),
        ("list", True),
        ("read", True),
        ("write", True),
    ]
    warehouse.load([loads.load(loads.row("a", 1))], {})
    warehouse.close()


@pytest.mark.parametrize("case", ["no account", "other key", "no key", "no rights", "nobody"])
def test_who_is_not_let_in_is_told_why(
    service: engine.Service, url: str, key: rsa.RSAPrivateKey, case: str
) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    service.accounts |= {} if case == "no account" else {EMAIL: public(key)}
    secret = {"no key": '{"s3cret": 1}', "nobody": None, "other key": credentials(other)}.get(
        case, credentials(key)
    )
    if case == "no rights":  # a token that is refused is renewed twice
        service.faults += [engine.Fault("SELECT 1", Refused(401, "authError", "Invalid Credentials"))] * 3
    warehouse = opened(url, secret)
    last = warehouse.check()[-1]
    warehouse.close()
    says = {
        "no account": "Google refused the sign-in .* that the service account and its key still exist",
        "other key": "Google refused the sign-in .* that the service account and its key still exist",
        "no key": "`credentials` of the BigQuery warehouse is no service account's JSON",
        "no rights": "refused the sign-in; check `credentials`",
        "nobody": "There is no identity for .* give `credentials` .* or run `gcloud auth",
    }
    assert (last.name, last.ok) == ("sign in", False)
    assert re.search(says[case], last.detail), last.detail
    assert "s3cret" not in last.detail


@pytest.mark.parametrize(
    ("permission", "step", "says"),
    [
        (
            "bigquery.jobs.create",
            "sign in",
            r"jobs\.create is missing\); run `gcloud projects add-iam-policy-binding tidegate-w\d+ "
            rf"--member=serviceAccount:{EMAIL} --role=roles/bigquery\.jobUser`\.$",
        ),
        (
            "bigquery.datasets.create",
            "write",
            r"datasets\.create is missing\); run `gcloud .* "
            rf"--member=serviceAccount:{EMAIL} --role=roles/bigquery\.user`\.$",
        ),
        ("bigquery.tables.get", "list", "DATA_EDITOR"),
        ("bigquery.tables.create", "write", "DATA_EDITOR"),
        ("bigquery.tables.updateData", "write", "DATA_EDITOR"),
        ("bigquery.tables.getData", "write", "DATA_EDITOR"),
    ],
)
def test_a_missing_role_is_named(
    service: engine.Service, url: str, key: rsa.RSAPrivateKey, permission: str, step: str, says: str
) -> None:
    service.accounts[EMAIL] = public(key)
    warehouse = opened(url, credentials(key))
    if permission == "bigquery.tables.get":
        warehouse.prepare([loads.ITEMS])
    service.forbidden.add(permission)
    last = warehouse.check()[-1]
    warehouse.close()
    assert (last.name, last.ok) == (step, False)
    editor = (
        rf"{permission} is missing\); run GRANT `roles/bigquery\.dataEditor` ON SCHEMA `tidegate-w\d+`\.`stripe` "
        rf'TO "serviceAccount:{EMAIL}", and the same for stripe_live\.$'
    )
    assert re.search(editor if says == "DATA_EDITOR" else says, last.detail), last.detail


def test_who_may_make_no_datasets_needs_none_where_they_are_there(
    service: engine.Service, warehouse: bigquery.BigQuery
) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {})
    service.forbidden.add("bigquery.datasets.create")
    assert [each.ok for each in warehouse.check()] == [True] * 5
    other = base.Table("others", loads.ITEMS.schema)
    assert warehouse.load([base.Load(other, loads.load(loads.row("b", 1)).rows)], {})[0].inserted == 1


def test_check_says_that_nothing_answers(url: str) -> None:
    warehouse = warehouses.open_url(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", url), wait=0.1)
    [last] = warehouse.check()
    warehouse.close()
    assert (last.name, last.ok) == ("reach", False)
    assert re.search(r"Nothing answers at 127\.0\.0\.1:1 .*firewall", last.detail)


def test_check_says_that_there_is_no_such_project(service: engine.Service, url: str) -> None:
    project = url.removeprefix("bigquery://").partition("?")[0]
    service.missing.add(project)
    warehouse = warehouses.open_url(url, wait=0.1)
    last = warehouse.check()[-1]
    warehouse.close()
    assert (last.name, last.ok) == ("sign in", False)
    assert last.detail.endswith(f"has no Project {project}; check the name of the project.")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("bigquery://", "write bigquery://PROJECT"),
        ("bigquery://My_Project", "write bigquery://PROJECT"),
        ("bigquery://project-1?dataset=x", "takes `location` and `api_base`"),
        ("bigquery://project-1?api_base=ftp://x", "`api_base` begins with https://"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, says: str) -> None:
    with pytest.raises(errors.ConfigError, match=says):
        warehouses.open_url(url)


def test_a_location_is_where_datasets_are_made(service: engine.Service, url: str) -> None:
    warehouse = warehouses.open_url(url + "&location=europe-west3")
    warehouse.prepare([loads.ITEMS])
    warehouse.close()
    made = [each for each in service.queries if each.startswith("CREATE SCHEMA") and url[11:20] in each]
    assert made
    assert all(each.endswith('OPTIONS (location = "europe-west3")') for each in made[-2:])


# What users ask


def test_a_users_query_comes_in_the_types_of_its_columns(warehouse: bigquery.BigQuery) -> None:
    warehouse.load([loads.load(loads.row("a", 1, notes='{"big": 18446744073709551616}'))], {})
    text = (
        "SELECT id, _version AS v, notes, CAST(1.5 AS NUMERIC) AS n, CAST(2.5 AS BIGNUMERIC) AS b, "
        "TRUE AS yes, _synced_at FROM stripe.items"
    )
    [batch] = list(warehouse.asked(text))
    assert batch.schema.field("notes").metadata == base.JSON
    assert batch.to_pylist() == [
        {
            "id": "a",
            "v": 1,
            "notes": '"{\\"big\\": 18446744073709551616}"',
            "n": Decimal("1.500000000"),
            "b": "2.5",
            "yes": True,
            "_synced_at": loads.SYNCED,
        }
    ]
    assert batch.schema.field("n").type == pa.decimal128(38, 9)


def test_arrays_and_structs_are_json() -> None:
    """As https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query#response-body has them."""
    part = (driver.SchemaField("n", "INTEGER"), driver.SchemaField("at", "TIMESTAMP", "REPEATED"))
    fields = [
        driver.SchemaField("tags", "STRING", "REPEATED"),
        driver.SchemaField("part", "RECORD", fields=part),
        driver.SchemaField("parts", "RECORD", "REPEATED", fields=part),
        driver.SchemaField("documents", "JSON", "REPEATED"),
        driver.SchemaField("exact", "BIGNUMERIC", "REPEATED"),
        driver.SchemaField("doubles", "FLOAT", "REPEATED"),
        driver.SchemaField("bytes", "BYTES", "REPEATED"),
        driver.SchemaField("days", "DATE", "REPEATED"),
    ]
    struct = {"f": [{"v": "9007199254740993"}, {"v": [{"v": "1767225600000000"}]}]}
    values = [
        [{"v": "a"}, {"v": "b"}],
        struct,
        [{"v": struct}],
        [{"v": '{"n":18446744073709551615}'}, {"v": "null"}],
        [{"v": "0.10000000000000000000000000000000000001"}],
        [{"v": "1.5"}, {"v": "NaN"}, {"v": "-Infinity"}],
        [{"v": "AAE="}],
        [{"v": "2026-01-01"}],
    ]
    rows = [
        {"f": [{"v": each} for each in values]},
        {"f": [{"v": None if field.mode != "REPEATED" else []} for field in fields]},
    ]
    batch = bigquery_wire.batch(fields, rows, ours=False)
    told = '{"n":9007199254740993,"at":["2026-01-01T00:00:00+00:00"]}'
    assert list(batch.to_pylist()[0].values()) == [
        '["a","b"]',
        told,
        f"[{told}]",
        '[{"n":18446744073709551615},null]',
        "[0.10000000000000000000000000000000000001]",
        '[1.5,"nan","-inf"]',
        '["0001"]',
        '["2026-01-01"]',
    ]
    assert list(batch.to_pylist()[1].values()) == ["[]", None, *["[]"] * 6]
    assert [field.metadata for field in batch.schema] == [base.JSON] * len(fields)


def test_bytes_and_moments_without_a_zone_have_types_of_their_own() -> None:
    fields = [driver.SchemaField("raw", "BYTES"), driver.SchemaField("at", "DATETIME")]
    moments = ["0001-01-01T00:00:00", "1969-12-31T23:59:59.999999", "9999-12-31T23:59:59.5", None]
    rows = [{"f": [{"v": "AAE="}, {"v": moment}]} for moment in moments]
    batch = bigquery_wire.batch(fields, rows, ours=False)
    assert batch["raw"].to_pylist() == [b"\x00\x01"] * 4
    assert batch["at"].to_pylist() == [moment and dt.datetime.fromisoformat(moment) for moment in moments]


def test_a_users_query_comes_page_by_page(warehouse: bigquery.BigQuery) -> None:
    rows = pa.table(
        {"_account_id": ["a"] * 25_000, "id": [f"{n}" for n in range(25_000)], "_version": [1] * 25_000}
    )
    warehouse.load([base.Load(loads.ITEMS, rows)], {})
    batches = list(warehouse.asked("SELECT id FROM stripe.items"))
    assert [batch.num_rows for batch in batches] == [10_000, 10_000, 5_000]
    assert [batch.num_rows for batch in warehouse.asked("SELECT id FROM stripe.items WHERE FALSE")] == [0]


def test_a_users_query_can_be_ended_from_another_thread(
    warehouse: bigquery.BigQuery, service: engine.Service
) -> None:
    service.endless.append("SELECT 'for ever'")
    failures: list[Exception] = []

    def ask() -> None:
        try:
            list(warehouse.asked("SELECT 'for ever' AS x"))
        except errors.WarehouseError as error:
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while thread.is_alive():
        warehouse.interrupt()
        thread.join(0.05)
    assert [str(each) for each in failures] == [
        f"{warehouse.where()} ended the query, because somebody cancelled it."
    ]
