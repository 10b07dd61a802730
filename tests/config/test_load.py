"""The whole file: what it becomes, and what every mistake in it says."""

from __future__ import annotations

import json
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tidegate import catalog, config, errors
from tidegate.config import conditions, warehouses

ENVIRON = {
    "STRIPE_API_KEY": "rk_test_geheim1",
    "PG_URL": "postgresql://tide:geheim2@db/analytics",
    "SLACK_URL": "https://hooks.example/geheim3",
    "TYPO": "geheim4",
}
COLUMNS = {
    "charges": ["id", "amount", "receipt_url"],
    "customers": ["id", "email", "phone"],
    "issuing_cards": ["id", "last4"],
    "issuing_disputes": ["id", "status"],
}
WHOLE = """
stripe:
  acme: {api_key: "${STRIPE_API_KEY}", accounts: all, start_date: 2020-01-01, budget: 0.8}
warehouses:
  local: {type: duckdb, path: warehouse.duckdb, schema: stripe}
  prod:  {type: postgres, url: "${PG_URL}", schema: stripe}
pulls:
  everything:
    from: acme
    to: prod
    lookback: 7d
    schedule: continuous
    streams:
      "*": {}
      charges: {exclude: [receipt_url], history: true}
      customers: {columns: {email: hash}, where: {field: metadata.internal, op: does not exist}}
customer_model:
  {warehouse: prod, schema: tidegate, table: customer_profiles, identifiers: [customer_id, email, phone]}
pipelines:
  eu_customers:
    from: acme
    to: prod
    stream: customers
    description: "EU only"
    enabled: true
    incremental: true
    filter: {all: [{field: address.country, op: is one of, value: [DE, FR]}]}
    map: {email: {from: email}, name: {sql: "trim(name)"}}
    function: {python: eu.py}
    schedule: every 1h
models:
  accounts: {warehouse: prod, sql: "select id, email, plan, ltv from analytics.accounts", key: id}
pushes:
  accounts_to_stripe:
    model: accounts
    to: acme
    object: customer
    behavior: update_or_create
    match: {email: email}
    fields: {metadata.plan: plan, metadata.ltv: ltv}
    on_missing: nothing
    guard: {max_creates: 1000, max_changed: 20%}
    schedule: every 15m
alerts: {slack: {webhook: "${SLACK_URL}"}}
database: sqlite:///tidegate.db
"""
BASE = """
stripe: {acme: {api_key: "${STRIPE_API_KEY}"}}
warehouses: {local: {type: duckdb, path: w.duckdb}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def load(folder: Path, text: str, **options: Any) -> config.Config:
    file = folder / "tidegate.yaml"
    file.write_text(textwrap.dedent(text))
    return config.load(file, environ=ENVIRON, **{"columns": COLUMNS, **options})


def refused(folder: Path, text: str) -> list[str]:
    """The lines of the error, without the folder."""
    with pytest.raises(errors.ConfigError) as caught:
        load(folder, text)
    message = str(caught.value)
    assert "geheim" not in message
    return [line.removeprefix(f"{folder}/tidegate.yaml:") for line in message.splitlines()]


def test_the_whole_contract_is_understood(folder: Path) -> None:
    found = load(folder, WHOLE)

    acme = found.stripe["acme"]
    assert acme.api_key is not None
    assert acme.api_key.get_secret_value() == "rk_test_geheim1"
    assert (acme.accounts, acme.budget, acme.api_base) == ("all", 0.8, "https://api.stripe.com")
    assert acme.start_date == datetime(2020, 1, 1, tzinfo=UTC)

    local, prod = found.warehouses["local"], found.warehouses["prod"]
    assert isinstance(local, config.DuckDB)
    assert local.file == str(folder / "warehouse.duckdb")
    assert isinstance(prod, config.Postgres)
    assert prod.url is not None
    assert prod.url.get_secret_value() == "postgresql://tide:geheim2@db/analytics"

    pull = found.pulls["everything"]
    assert (pull.connection, pull.warehouse) == ("acme", "prod")
    assert (pull.lookback, pull.schedule) == (timedelta(days=7), "continuous")
    assert pull.options("charges").excluded == {"receipt_url"}
    assert pull.options("charges").history
    assert pull.options("customers").hashed == {"email"}
    assert pull.options("customers").where == conditions.Condition(
        field="metadata.internal", op="does not exist"
    )

    assert found.customer_model is not None
    assert found.customer_model.identifiers == ("customer_id", "email", "phone")
    pipeline = found.pipelines["eu_customers"]
    assert pipeline.schedule == config.Every(every=timedelta(hours=1))
    assert pipeline.map["name"].sql == "trim(name)"
    assert pipeline.function is not None
    assert pipeline.function.python == str(folder / "eu.py")
    assert found.models["accounts"].key == "id"
    push = found.pushes["accounts_to_stripe"]
    assert (push.model, push.connection, push.object) == ("accounts", "acme", "customer")
    assert (push.guard.max_creates, push.guard.max_changed) == (1000, 0.2)
    assert found.database.get_secret_value() == f"sqlite:///{folder}/tidegate.db"


def test_the_catalog_knows_the_names_of_the_contract(folder: Path) -> None:
    found = load(folder, WHOLE, columns=None)
    assert found.pulls["everything"].takes("charges")


def test_json_means_the_same(folder: Path) -> None:
    yaml_config = load(folder, BASE + "pulls: {p: {from: acme, to: local, lookback: 3}}")
    as_json = {
        "stripe": {"acme": {"api_key": "${STRIPE_API_KEY}"}},
        "warehouses": {"local": {"type": "duckdb", "path": "w.duckdb"}},
        "pulls": {"p": {"from": "acme", "to": "local", "lookback": "3d"}},
    }
    assert load(folder, json.dumps(as_json, indent="\t")) == yaml_config


def test_no_secret_shows_in_what_is_printed(folder: Path) -> None:
    found = load(folder, WHOLE)
    assert "geheim" not in repr(found)
    assert "geheim" not in str(found)
    assert "geheim" not in found.model_dump_json()


def test_a_configuration_cannot_be_changed(folder: Path) -> None:
    found = load(folder, BASE)
    with pytest.raises(ValueError, match="frozen"):
        found.alerts = None


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(folder: Path) -> None:
    lines = refused(
        folder,
        """\
        stripe:
          acme: {api_key: "${NOPE}", acounts: all, budget: 1.5}
        warehouses:
          local: {type: duckdb, path: w.duckdb}
        pulls:
          everything:
            from: acmee
            to: local
            lokback: 7d
            lookback: 601d
        """,
    )
    assert lines == [
        "2:10: stripe.acme.api_key: the environment variable NOPE is not set; set it, or use ${file:/path}",
        "2:30: stripe.acme.acounts: unknown key; did you mean 'accounts'?",
        "2:44: stripe.acme.budget: must be less than or equal to 1",
        "7:5: pulls.everything.from: `stripe` has no such name; did you mean 'acme'?",
        "9:5: pulls.everything.lokback: unknown key; did you mean 'lookback'?",
        "10:5: pulls.everything.lookback: a lookback is at most 600d; "
        "`tidegate pull --full-refresh` reads all again",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("stripes: {}", "4:1: stripes: unknown key; did you mean 'stripe'?"),
        (
            "zzz: 1",
            "4:1: zzz: unknown key; known here: stripe, warehouses, pulls, customer_model, pipelines,",
        ),
        ("pulls: {p: {to: local}}", "4:9: pulls.p.from: this key is missing"),
        ("pulls: {p: {from: acme, to: 3}}", "4:25: pulls.p.to: must be text, not a number"),
        ("pulls: {p: 3}", "4:9: pulls.p: must be a mapping (`key: value`), not a number"),
        ("pulls: [p]", "4:1: pulls: must be a mapping (`key: value`), not a list"),
        ("pulls: {'a b': {from: acme, to: local}}", "4:9: pulls.a b: a name consists of letters, digits"),
        (
            "pulls: {p: {from: acme, to: loca}}",
            "4:25: pulls.p.to: `warehouses` has no such name; did you mean 'local'",
        ),
        (
            "pulls: {p: {from: acme, to: local, streams: {charge: {}}}}",
            "4:46: pulls.p.streams.charge: Stripe has no such stream; did you mean 'charges'?",
        ),
        (
            "pulls: {p: {from: acme, to: local, streams: {treasury_*: {}}}}",
            "4:46: pulls.p.streams.treasury_*: Stripe has no such stream; `tidegate streams` lists them",
        ),
        (
            "pulls: {p: {from: acme, to: local, streams: {customers: {hash: [emial]}}}}",
            "4:65: pulls.p.streams.customers.hash[0]: the stream has no such column; did you mean 'email'?",
        ),
        (
            "pulls: {p: {from: acme, to: local, streams: {charges: {derive: {amount: {value: 1}}}}}}",
            "4:65: pulls.p.streams.charges.derive.amount: charges has a column of this name already; give yours",
        ),
        (
            'pulls: {p: {from: acme, to: local, streams: {"*": {derive: {status: {value: 1}}}}}}',
            "4:61: pulls.p.streams.*.derive.status: issuing_disputes has a column of this name already",
        ),
        (
            "pulls: {p: {from: acme, to: local, streams: {charges: {derive: {_net: {value: 1}}}}}}",
            "4:65: pulls.p.streams.charges.derive._net: names with an underscore first are Tidegate's own",
        ),
        (
            "pulls: {p: {from: acme, to: local, streams: {charges: {derive: {Net: {value: 1}}}}}}",
            "4:65: pulls.p.streams.charges.derive.Net: warehouses ignore case, so a name is in lower case",
        ),
        (
            "pulls: {p: {from: acme, to: local, streams: {charges: {derive: {net: {value: 1, sql: x}}}}}}",
            "4:65: pulls.p.streams.charges.derive.net: give exactly one of `from`, `value` and `sql`",
        ),
        (
            "pulls: {p: {from: acme, to: local, streams: {charges: {derive: {net: x}, hash: [nett]}}}}",
            "4:81: pulls.p.streams.charges.hash[0]: the stream has no such column; did you mean 'net'?",
        ),
        (
            "pipelines: {p: {from: acme, to: local, function: {python: a.py, code: b}}}",
            "pipelines.p.function: give one of `python`, `javascript` and `code`",
        ),
        (
            "pipelines: {p: {from: acme, to: local, function: {}}}",
            "pipelines.p.function: give one of `python`, `javascript` and `code`",
        ),
        (
            "pipelines: {p: {from: acme, to: local, function: {python: a.py, language: python}}}",
            "pipelines.p.function: `language` goes with `code`",
        ),
        (
            'pulls: {p: {from: acme, to: local, streams: {"*": {exclude: [zzz]}}}}',
            "4:62: pulls.p.streams.*.exclude[0]: the stream has no such column; `tidegate schema STREAM` lists",
        ),
        (
            "pulls: {p: {from: acme, to: local, streams: {customers: {columns: {id: hash}}}}}",
            "4:68: pulls.p.streams.customers.columns.id: `id` is the key and must stay as it is",
        ),
        (
            "pulls: {p: {from: acme, to: local, streams: {customers: {columns: {email: hsah}}}}}",
            "4:68: pulls.p.streams.customers.columns.email: this word is not known here; did you mean 'hash'?",
        ),
        (
            "pulls: {p: {from: acme, to: local, streams: {customers: {where: {any: []}}}}}",
            "4:66: pulls.p.streams.customers.where.any: must have at least one entry",
        ),
        (
            "pulls: {p: {from: acme, to: local, streams: {customers: {where: {any: [{field: a, op: iss}]}}}}}",
            "4:83: pulls.p.streams.customers.where.any[0].op: this word is not known here; did you mean 'is'?",
        ),
        (
            "pulls: {p: {from: acme, to: local, schedule: {every: 6h, ancor: '02:00'}}}",
            "4:58: pulls.p.schedule.ancor: unknown key; did you mean 'anchor'?",
        ),
        ("warehouses: {}", "3:1: warehouses: the key stands twice, here and in line 4"),
        ("models: {m: {warehouse: local, key: id}}", "4:10: models.m: give either `sql` or `table`"),
        (
            "pushes: {p: {model: m, to: acme, object: customer, match: {a: b}, fields: {a: b}}}",
            "4:14: pushes.p.model: `models` has no such name; add it under `models:`",
        ),
        ("alerts: {slak: {}}", "4:10: alerts.slak: unknown key; did you mean 'slack'?"),
        ("database: mysql://x", "4:1: database: write sqlite:///FILE, or postgresql://"),
        (
            "pipelines: {p: {from: acme, to: local, map: {a: {from: x, sql: y}}}}",
            "give exactly one of `from`",
        ),
    ],
)
def test_a_mistake_says_where_it_is_and_what_was_meant(folder: Path, text: str, line: str) -> None:
    (found,) = refused(folder, BASE + text)
    assert line in found


@pytest.mark.parametrize(
    ("connection", "line"),
    [
        ("{}", "stripe.c: give either `api_key` or `oauth`"),
        ("{api_key: ''}", "stripe.c.api_key: this is empty; is the variable it comes from set?"),
        ("{api_key: sk_test_geheim, oauth: {client_id: ca_1, client_secret: geheim}}", "give either"),
        ("{api_key: 17}", "stripe.c.api_key: must be text, not a number"),
        ("{api_key: k, accounts: [x]}", "stripe.c.accounts[0]: must be an account id"),
        (
            "{api_key: k, accounts: alle}",
            "stripe.c.accounts: this word is not known here; did you mean 'all'?",
        ),
        ("{api_key: k, budget: 0}", "stripe.c.budget: must be greater than 0"),
        ("{api_key: k, budget: lots}", "stripe.c.budget: must be a number, not text"),
        ("{api_key: k, rate_limit: fast}", "stripe.c.rate_limit: write requests a second per account"),
        ("{api_key: k, start_date: 01.02.2020}", "stripe.c.start_date: write a date such as"),
        ("{api_key: k, api_version: latest}", "stripe.c.api_version: must be an API version such as"),
        ("{api_key: k, api_base: stripe.com}", "stripe.c.api_base: write a URL such as"),
        ("{api_key: k, reads_per_month: 1.5}", "stripe.c.reads_per_month: must be a whole number"),
    ],
)
def test_a_connection_that_cannot_be_is_refused(folder: Path, connection: str, line: str) -> None:
    (found,) = refused(folder, f"stripe: {{c: {connection}}}")
    assert line in found


def test_budget_and_rate_limit_may_come_from_the_environment(folder: Path) -> None:
    text = 'stripe: {c: {api_key: k, budget: "${B}", rate_limit: "${R}", reads_per_month: "${N}"}}'
    (folder / "f.yaml").write_text(text)
    found = config.load(folder / "f.yaml", environ={"B": "0.5", "R": "off", "N": "1000"}, columns=COLUMNS)
    connection = found.stripe["c"]
    assert (connection.budget, str(connection.rate_limit), connection.reads_per_month) == (0.5, "off", 1000)


def test_a_word_from_the_environment_is_not_repeated(folder: Path) -> None:
    (line,) = refused(folder, 'warehouses: {w: {type: "${TYPO}", path: x}}')
    assert "this type is unknown; known are duckdb, motherduck, postgres" in line
    (line,) = refused(folder, BASE + 'pulls: {p: {from: "${TYPO}", to: local}}')
    assert line == "4:13: pulls.p.from: `stripe` has no such name"


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ("type: duckdb, path: a.duckdb", "DuckDB"),
        ("type: duckdb, url: 'duckdb:///a.duckdb'", "DuckDB"),
        ("url: 'duckdb:///a.duckdb'", "DuckDB"),
        ("url: 'md:analytics?motherduck_token=t'", "MotherDuck"),
        ("type: motherduck, database: analytics, token: t", "MotherDuck"),
        ("url: 'postgres://u:p@h/d'", "Postgres"),
        ("url: 'postgresql+psycopg://u:p@h/d'", "Postgres"),
        ("type: postgres, host: h, database: d, user: u, password: p, sslmode: require", "Postgres"),
        ("url: 'mariadb://u:p@h/d'", "MySQL"),
        ("type: mysql, host: h, port: 3307, database: d", "MySQL"),
        (
            "type: snowflake, account: a, user: u, password: p, database: d, warehouse: w, role: r",
            "Snowflake",
        ),
        ("type: snowflake, account: a, user: u, private_key: k, database: d", "Snowflake"),
        ("type: bigquery, project: my-project, location: EU", "BigQuery"),
        ("type: redshift, host: h, database: d", "Redshift"),
        ("type: databricks, host: h, http_path: /sql, token: t", "Databricks"),
        ("type: sqlserver, url: 'mssql://u:p@h/d'", "SQLServer"),
        ("type: synapse, host: h, database: d", "Synapse"),
        ("type: clickhouse, url: 'https://u:p@h/d'", "ClickHouse"),
        ("type: elasticsearch, url: 'https://h:9200', api_key: k", "Elasticsearch"),
        ("type: google_sheets, spreadsheet: s, credentials: c", "GoogleSheets"),
        ("type: parquet, path: out", "Parquet"),
        ("type: delta, path: 's3://bucket/x'", "Delta"),
        ("type: iceberg, path: out", "Iceberg"),
    ],
)
def test_every_type_of_warehouse_can_be_named(folder: Path, fields: str, kind: str) -> None:
    found = load(folder, f"warehouses: {{w: {{{fields}}}}}").warehouses["w"]
    assert type(found) is getattr(warehouses, kind)
    assert found.schema_name == "stripe"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ("type: postgress, url: x", "warehouses.w.type: this type is unknown; did you mean 'postgres'?"),
        ("path: x", "warehouses.w: `type` is missing, and no `url` that tells it"),
        ("url: 'oracle://x'", "warehouses.w: `type` is missing, and no `url` that tells it"),
        ("type: duckdb", "warehouses.w: give either `path` or `url`"),
        ("type: duckdb, path: ':memory:'", "a database in memory is gone after the run"),
        ("type: duckdb, url: 'duckdb://x'", "warehouses.w.url: write duckdb:///FILE"),
        ("type: duckdb, pathh: x, path: y", "warehouses.w.pathh: unknown key; did you mean 'path'?"),
        ("type: postgres", "warehouses.w: give either `url` or `host`"),
        ("type: postgres, host: h", "warehouses.w: `database` is missing beside `host`"),
        ("type: postgres, url: 'postgres://u:geheim@h', port: 1", "`url` already says the port"),
        ("type: postgres, url: 'mysql://u:geheim@h'", "the `url` of this type begins with postgresql://"),
        (
            "type: postgres, host: h, database: d, port: 0",
            "warehouses.w.port: must be greater than or equal to 1",
        ),
        ("url: 'md:'", "warehouses.w: write md:DATABASE"),
        ("type: motherduck, url: 'md:a?motherduck_token=t', token: t", "give the token once"),
        ("url: 'md:a?speed=high'", "an md: URL takes only `motherduck_token`"),
        ("type: snowflake, account: a, user: u, database: d", "give either `password` or `private_key`"),
        ("type: databricks, host: h, http_path: p", "`http_path` and `token` belong to `host`"),
        ("type: duckdb, path: x, schema: ''", "warehouses.w.schema: must not be empty"),
    ],
)
def test_a_warehouse_that_cannot_be_is_refused(folder: Path, fields: str, line: str) -> None:
    (found,) = refused(folder, f"warehouses: {{w: {{{fields}}}}}")
    assert line in found


def test_local_paths_count_from_the_folder_of_the_file_and_absolute_ones_stay(folder: Path) -> None:
    text = """
        warehouses:
          a: {type: duckdb, path: data/a.duckdb}
          b: {type: duckdb, path: /srv/b.duckdb}
          c: {url: "duckdb:///c.duckdb"}
          d: {url: "duckdb:////srv/d.duckdb"}
          e: {type: delta, path: s3://bucket/e}
    """
    found = load(folder, text).warehouses
    files = [found[name].file for name in "abcd"]  # type: ignore[union-attr]  # the four are DuckDB
    assert files == [f"{folder}/data/a.duckdb", "/srv/b.duckdb", f"{folder}/c.duckdb", "/srv/d.duckdb"]
    assert isinstance(found["e"], warehouses.Delta)
    assert found["e"].path == "s3://bucket/e"


def test_stream_options_are_layered_from_star_over_patterns_to_the_name(folder: Path) -> None:
    pull = load(
        folder,
        BASE
        + """
pulls:
  p:
    from: acme
    to: local
    streams:
      charges:
      issuing_cards: {deletes: soft, history: true}
      issuing_*: {deletes: hard}
      "*": {mode: full_refresh, history: false}
""",
    ).pulls["p"]
    assert pull.options("charges") == config.StreamOptions(mode="full_refresh", history=False)
    assert pull.options("issuing_disputes").deletes == "hard"
    cards = pull.options("issuing_cards")
    assert (cards.mode, cards.deletes, cards.history) == ("full_refresh", "soft", True)


def test_a_pull_takes_what_is_named_and_leaves_what_is_switched_off(folder: Path) -> None:
    text = BASE + "pulls: {p: {from: acme, to: local, streams: {'*': {}, charges: {enabled: false}}}}"
    pull = load(folder, text).pulls["p"]
    assert [name for name in COLUMNS if pull.takes(name)] == [
        "customers",
        "issuing_cards",
        "issuing_disputes",
    ]
    assert not pull.takes("customers", default=False)

    named = load(folder, BASE + "pulls: {p: {from: acme, to: local, streams: {'issuing_*': {}}}}").pulls["p"]
    assert [name for name in COLUMNS if named.takes(name, default=False)] == [
        "issuing_cards",
        "issuing_disputes",
    ]


def test_columns_are_a_choice_or_a_treatment(folder: Path) -> None:
    text = BASE + "pulls: {p: {from: acme, to: local, streams: {customers: %s}}}"
    chosen = load(folder, text % "{columns: [id, email], hash: [phone]}").pulls["p"].options("customers")
    assert (chosen.only, chosen.hashed, chosen.excluded) == ({"id", "email"}, {"phone"}, frozenset())
    treated = load(folder, text % "{columns: {email: hash, phone: exclude}}").pulls["p"].options("customers")
    assert (treated.only, treated.hashed, treated.excluded) == (None, {"email"}, {"phone"})


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("{field: a, op: exists, value: 1}", "`exists` takes no value"),
        ("{field: a, op: is}", "`is` needs a value; to ask for null write `is null`"),
        ("{field: a, op: is one of, value: x}", "`is one of` needs a list of values"),
        ("{field: a, op: is between, value: [1]}", "`is between` needs two values"),
        ("{field: a, op: contains, value: [1]}", "`contains` needs one value, not a list"),
        ("{field: '', op: is, value: 1}", "must not be empty"),
    ],
)
def test_a_condition_takes_the_value_that_fits_its_operator(folder: Path, condition: str, says: str) -> None:
    (line,) = refused(
        folder,
        BASE + f"pipelines: {{p: {{from: acme, to: local, filter: {condition}}}}}",
    )
    assert says in line


def test_filters_nest(folder: Path) -> None:
    leaves = "{field: b, op: is true}, {field: c, op: '<', value: 2.5}"
    tree = f"{{all: [{{field: a, op: is, value: 1}}, {{any: [{leaves}]}}]}}"
    found = (
        load(folder, BASE + f"pipelines: {{p: {{from: acme, to: local, filter: {tree}}}}}")
        .pipelines["p"]
        .filter
    )
    assert isinstance(found, conditions.All)
    assert isinstance(found.all[1], conditions.AnyOf)
    assert found.all[1].any[1] == conditions.Condition(field="c", op="<", value=2.5)


def test_model_properties_have_a_short_form(folder: Path) -> None:
    text = (
        BASE
        + "customer_model: {warehouse: local, properties: "
        + "{email: string, address: {type: object, properties: {city: string}}}}"
    )
    model = load(folder, text).customer_model
    assert model is not None
    assert model.properties["email"].type == "string"
    assert model.properties["address"].properties["city"].type == "string"


@pytest.mark.parametrize("text", ["", "   \n# nothing\n", "{}", "---\n"])
def test_an_empty_file_says_what_to_do(folder: Path, text: str) -> None:
    (line,) = refused(folder, text)
    assert line.endswith("is empty; `tidegate init --force` writes one to start from")


@pytest.mark.parametrize("text", ["[1]", "hello", "3"])
def test_a_file_that_is_no_mapping_is_refused(folder: Path, text: str) -> None:
    (line,) = refused(folder, text)
    assert line == "1:1: the file must be a mapping: `stripe:`, `warehouses:`, `pulls:`"


def test_the_catalog_has_every_column_that_the_docs_use_as_an_example() -> None:
    streams = catalog.load().streams
    assert "receipt_url" in {field.name for field in streams["charges"].fields}
    assert "email" in {field.name for field in streams["customers"].fields}


def test_the_json_schema_describes_the_keys_as_they_are_written() -> None:
    schema = config.json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    pull = schema["$defs"]["Pull"]
    assert {"from", "to", "lookback", "retention", "schedule", "streams"} == set(pull["properties"])
    assert pull["required"] == ["from", "to"]
    assert {"const": "duckdb"}.items() <= schema["$defs"]["DuckDB"]["properties"]["type"].items()


def test_every_key_in_the_schema_is_described() -> None:
    schema = config.json_schema()
    for name, model in (("file", schema), *schema["$defs"].items()):
        for key, described in model.get("properties", {}).items():
            assert described.get("description"), f"{name}.{key}"


def test_what_is_over_is_kept_for_ever_and_runs_for_a_year_unless_said(tmp_path: Path) -> None:
    given = ("", "retention: {events: 400d, history: 2y, deleted: 90d, runs: forever}")
    for said, days in zip(given, ((None, None, None, 365), (400, 730, 90, None)), strict=True):
        file = tmp_path / "tidegate.yaml"
        file.write_text(
            f"""
stripe: {{acme: {{api_key: sk_test_1}}}}
warehouses: {{local: {{type: duckdb, path: w.duckdb}}}}
pulls:
  all:
    from: acme
    to: local
    {said}
"""
        )
        keep = config.load(file).pulls["all"].retention
        ages = (keep.events, keep.history, keep.deleted, keep.runs)
        assert tuple(None if age is None else age.days for age in ages) == days


def test_events_that_stripe_still_lists_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(
        """
stripe: {acme: {api_key: sk_test_1}}
warehouses: {local: {type: duckdb, path: w.duckdb}}
pulls:
  all: {from: acme, to: local, retention: {events: 30d}}
"""
    )
    with pytest.raises(
        errors.ConfigError, match=r"yaml:5:\d+: pulls.all.retention.events: keep events for 31d at least"
    ):
        config.load(file)
