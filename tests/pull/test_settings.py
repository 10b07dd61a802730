"""From a tidegate.yaml to what a pull needs."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from pathlib import Path

import pytest
from pulling import KEY, Stripe, query

from tidegate import catalog, config, errors
from tidegate.pull import report, run, scope, settings
from tidegate.rows import decode

STREAMS = catalog.load().streams
DAY = 86_400


def jobs(
    folder: Path, streams: str = "", *names: str, pull: str = "", connection: str = ""
) -> list[settings.Job]:
    """The jobs of a file with one connection, one warehouse and one pull, `all`."""
    file = folder / "tidegate.yaml"
    file.write_text(
        f"""
stripe:
  acme: {{api_key: {KEY}{connection}}}
warehouses:
  local: {{type: duckdb, path: w.duckdb}}
pulls:
  all:
    from: acme
    to: local
    {pull}
    {"streams: {" + streams + "}" if streams else ""}
"""
    )
    return settings.jobs(config.load(file), names)


def choice(folder: Path, stream: str, options: str, **more: str) -> scope.Choice:
    """What is wanted of one stream."""
    (job,) = jobs(folder, f"{stream}: {{{options}}}", **more)
    return job.options.choices[stream]


def unix(date: str) -> int:
    return int(dt.datetime.fromisoformat(date).replace(tzinfo=dt.UTC).timestamp())


# Which streams


def test_without_streams_all_are_meant_but_those_that_cost_a_request_per_pair(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path)
    assert set(job.options.streams) == {name for name, stream in STREAMS.items() if stream.default}
    assert job.options.named == frozenset()
    assert job.name == "all"


def test_streams_by_name_and_by_pattern(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, '"issuing_*": {}, charges: {}')
    assert "issuing_cards" in job.options.streams
    assert "customers" not in job.options.streams
    assert job.options.named == {"charges"}


def test_a_stream_that_is_switched_off_is_left_out(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, '"*": {}, charges: {enabled: false}')
    assert "charges" not in job.options.streams
    assert "customers" in job.options.streams


def test_what_is_not_part_of_all_is_pulled_when_named(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, '"*": {}, source_transactions: {}')
    assert "source_transactions" in job.options.streams
    assert "billing_meter_event_summaries" not in job.options.streams


def test_a_pull_of_nothing_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="every stream is left out"):
        jobs(tmp_path, "charges: {enabled: false}")


def test_a_pull_that_the_file_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="there is no pull 'al' in the configuration; it has all"):
        jobs(tmp_path, "", "al")


# Columns


def test_all_columns_by_default(tmp_path: Path) -> None:
    assert choice(tmp_path, "charges", "").columns is None


def test_only_some_columns(tmp_path: Path) -> None:
    assert choice(tmp_path, "charges", "columns: [amount, currency]").columns == {"amount", "currency"}


@pytest.mark.parametrize("options", ["exclude: [email, phone]", "columns: {email: exclude, phone: exclude}"])
def test_all_but_some_columns(options: str, tmp_path: Path) -> None:
    columns = choice(tmp_path, "customers", options).columns
    assert columns == {field.name for field in decode.fields(STREAMS["customers"])} - {"email", "phone"}


def test_columns_of_children_whose_key_is_their_parent_too(tmp_path: Path) -> None:
    """`_parent_id` is part of the key of capabilities and no column of Stripe's."""
    columns = choice(tmp_path, "account_capabilities", "exclude: [requirements]").columns
    assert columns == {field.name for field in STREAMS["account_capabilities"].fields} - {"requirements"}


def test_columns_for_all_streams_are_those_that_each_has(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, '"*": {columns: [id, created, email]}')
    assert job.options.choices["customers"].columns == {"id", "created", "email"}
    assert job.options.choices["charges"].columns == {"id", "created"}


def test_excluded_columns_reach_no_table(business: Stripe, tmp_path: Path) -> None:
    (job,) = jobs(
        tmp_path,
        "customers: {exclude: [email, address]}, account_capabilities: {exclude: [requirements]}",
        connection=f", api_base: '{business.url}', rate_limit: off",
    )
    assert landed(job) == "ok"
    for table, gone in (("customers", {"email", "address"}), ("account_capabilities", {"requirements"})):
        (row, *_) = query(tmp_path / "w.duckdb", f"select * from stripe.{table}")
        assert not gone & set(row)
        assert "id" in row
        assert row["_extra"] is None


def landed(job: settings.Job) -> str:
    """Run a job; its status."""
    warehouse = job.open()
    try:
        return asyncio.run(run.pull(job.source, warehouse, job.options, report.Silent())).status
    finally:
        warehouse.close()


# Tables


def test_a_table_of_another_name(business: Stripe, tmp_path: Path) -> None:
    (job,) = jobs(
        tmp_path,
        "customers: {table: clients}",
        connection=f", api_base: '{business.url}', rate_limit: off",
    )
    assert landed(job) == "ok"
    found = query(tmp_path / "w.duckdb", "select count(*) as n from stripe.clients")
    assert found == [{"n": len(business.truth("customers"))}]


@pytest.mark.parametrize("table", ["customers", "Customers"])
def test_two_streams_cannot_share_a_table(table: str, tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match=r"two streams share the table '(?i:customers)'; rename one"):
        jobs(tmp_path, f"customers: {{}}, charges: {{table: {table}}}")


def test_two_streams_can_change_names(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, "customers: {table: charges}, charges: {table: customers}")
    assert job.options.choices["customers"].table == "charges"


# From when on


@pytest.mark.parametrize(
    ("connection", "pull", "options", "start"),
    [
        ("", "", "", None),
        ("", "lookback: 3d", "lookback: 3d", None),
        (", start_date: 2024-03-10", "", "", unix("2024-03-03")),
        (", start_date: 2024-03-10", "lookback: 2d", "", unix("2024-03-08")),
        (", start_date: 2024-03-10", "lookback: 2d", "lookback: 1d", unix("2024-03-09")),
        (", start_date: 2024-03-10", "lookback: 2d", "lookback: 0d", unix("2024-03-10")),
        (", start_date: 2024-03-10", "lookback: 2d", "start_date: 2023-01-05", unix("2023-01-03")),
        ("", "lookback: 2d", "start_date: 2023-01-05, lookback: 1d", unix("2023-01-04")),
    ],
)
def test_the_start_is_the_start_date_less_the_lookback(
    connection: str, pull: str, options: str, start: int | None, tmp_path: Path
) -> None:
    (job,) = jobs(tmp_path, f"charges: {{{options}}}", pull=pull, connection=connection)
    assert scope.starts(job.options, ["charges"]) == {"charges": start}


# How


def test_full_refresh_by_word_or_because_every_stream_says_so(tmp_path: Path) -> None:
    everything = "charges: {mode: full_refresh}, customers: {mode: full_refresh}"
    (job,) = jobs(tmp_path, everything)
    assert job.options.full_refresh
    (job,) = jobs(tmp_path, "charges: {mode: full_refresh}, customers: {}")
    assert not job.options.full_refresh
    file = config.load(tmp_path / "tidegate.yaml")
    (job,) = settings.jobs(file, full_refresh=True)
    assert job.options.full_refresh


def test_a_stream_that_is_read_whole_each_time(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, "charges: {mode: full_refresh}, customers: {}")
    assert job.options.choices["charges"].refresh
    assert not job.options.choices["customers"].refresh


@pytest.mark.parametrize(
    ("pull", "options", "overall", "own"),
    [
        ("", "", 7 * DAY, None),
        ("lookback: 3d", "", 3 * DAY, None),
        ("lookback: 7d", "", 7 * DAY, None),
        ("", "lookback: 30d", 7 * DAY, 30 * DAY),
        ("lookback: 0d", "lookback: 0d", 0, 0),
    ],
)
def test_the_lookback(pull: str, options: str, overall: int, own: int | None, tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, f"charges: {{{options}}}", pull=pull)
    assert job.options.lookback == overall
    assert not job.options.lookback_given, "a file says it of every pull; listing it each time costs requests"
    assert job.options.choices["charges"].lookback == own


def test_whether_objects_from_before_the_start_are_kept(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path)
    assert job.options.before_start == "include"
    (job,) = jobs(tmp_path, connection=", start_date: 2024-01-01, before_start: exclude")
    assert job.options.before_start == "exclude"


# What the rows look like


def test_rows_are_kept_as_they_are_unless_something_else_is_said(tmp_path: Path) -> None:
    assert choice(tmp_path, "charges", "") == scope.Choice()


def test_every_option_of_the_rows(tmp_path: Path) -> None:
    found = choice(
        tmp_path,
        "charges",
        "where: {field: amount, op: is, value: 5}, history: true, hash: [receipt_email], deletes: hard",
    )
    assert found.where == config.conditions.Condition(field="amount", op="is", value=5)
    assert found.hashed == {"receipt_email"}
    assert (found.history, found.hard) == (True, True)
    assert choice(tmp_path, "charges", "columns: {receipt_email: hash}").hashed == {"receipt_email"}


def test_what_is_hashed_for_all_streams_is_what_each_has(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, '"*": {hash: [email, phone]}')
    assert job.options.choices["customers"].hashed == {"email", "phone"}
    assert job.options.choices["charges"].hashed == set()


def test_a_column_that_is_left_out_is_not_hashed_either(tmp_path: Path) -> None:
    found = choice(tmp_path, "customers", "columns: [id, phone], hash: [email, phone]")
    assert (found.columns, found.hashed) == ({"id", "phone"}, {"phone"})
    found = choice(tmp_path, "customers", "exclude: [email], hash: [email]")
    assert found.hashed == set()


def test_a_list_that_has_a_table_of_its_own_is_no_column(tmp_path: Path) -> None:
    """`customers.sources` stands in `cards`, `bank_accounts` and `sources`."""
    found = choice(tmp_path, "customers", "columns: [id, sources], hash: [sources]")
    assert (found.columns, found.hashed) == ({"id"}, set())
    assert choice(tmp_path, "customers", "exclude: [sources]").columns is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("where: {field: metdata.plan, op: exists}", r"did you mean metadata\.plan\?"),
        (
            "where: {field: amount, op: is, value: much}",
            "cannot ask `is` of amount: the value must be a number",
        ),
        ("columns: [id], where: {all: [{field: paid, op: is, value: 1}]}", "the value must be true or false"),
        ("hash: [created]", r"charges\.created cannot be hashed: Tidegate itself goes by it"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_read(options: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match=rf"^pulls\.all\.streams\.charges: .*{says}") as caught:
        choice(tmp_path, "charges", options)
    assert "much" not in str(caught.value)


@pytest.mark.parametrize(
    "other", ["customers: {table: charges_history}", "customers: {table: Charges_History}"]
)
def test_a_stream_cannot_share_a_table_with_a_history(other: str, tmp_path: Path) -> None:
    for streams in (f"charges: {{history: true}}, {other}", f"{other}, charges: {{history: true}}"):
        with pytest.raises(errors.ConfigError, match=r"two streams share the table '(?i:charges_history)'"):
            jobs(tmp_path, streams)
    (job,) = jobs(tmp_path, f"charges: {{}}, {other}")
    assert job.options.choices["charges"].history is False


def test_what_is_filtered_and_hashed_reaches_the_table_so(business: Stripe, tmp_path: Path) -> None:
    (job,) = jobs(
        tmp_path,
        "customers: {where: {field: metadata.plan, op: exists}, hash: [email], exclude: [name], history: true}",
        connection=f", api_base: '{business.url}', rate_limit: off",
    )
    assert landed(job) == "ok"
    truth = [line["object"] for line in business.truth("customers")]
    expected = {
        each["id"]: each["email"] and hashlib.sha256(each["email"].encode()).hexdigest()
        for each in truth
        if "plan" in each["metadata"]
    }
    assert 0 < len(expected) < len(truth)
    for table in ("customers", "customers_history"):
        rows = query(tmp_path / "w.duckdb", f"select * from stripe.{table}")
        assert {row["id"]: row["email"] for row in rows} == expected
        assert all("name" not in row for row in rows)


# Derived columns

NET = "derive: {net: {sql: amount - amount_refunded}, country: billing_details.address.country}"


def test_derived_columns_are_kept_beside_a_list_of_columns_unless_they_are_excluded(tmp_path: Path) -> None:
    chosen = choice(tmp_path, "charges", f"columns: [id, amount], exclude: [country], {NET}")
    assert chosen.columns == {"id", "amount"}
    assert list(chosen.derive) == ["net"]
    hashed = choice(tmp_path, "charges", f"hash: [country, receipt_email], {NET}")
    assert hashed.hashed == {"country", "receipt_email"}
    assert choice(tmp_path, "charges", f"columns: {{country: hash}}, {NET}").hashed == {"country"}
    assert choice(tmp_path, "charges", f"columns: {{country: exclude}}, {NET}").derive.keys() == {"net"}


def test_derived_columns_of_all_streams(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, '"*": {derive: {origin: {value: stripe}}}, charges: {}, customers: {derive: {}}')
    derived = {name: list(each.derive) for name, each in job.options.choices.items()}
    assert derived.pop("customers") == []
    assert set(map(tuple, derived.values())) == {("origin",)}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("derive: {net: amount_}", "stream charges cannot make net: the field amount_ is not there"),
        ("derive: {net: {sql: amount +}}", "stream charges cannot make net: it is no SQL"),
        (
            "derive: {net: amount}, where: {field: net, op: '>', value: 5}",
            "`where` asks for net, which is a derived column",
        ),
    ],
)
def test_what_cannot_be_derived_is_said_with_its_place(tmp_path: Path, options: str, why: str) -> None:
    with pytest.raises(errors.ConfigError, match=rf"^pulls\.all\.streams\.charges: .*{why}"):
        choice(tmp_path, "charges", options)


def test_derived_columns_in_words(tmp_path: Path) -> None:
    jobs(tmp_path, f"charges: {{{NET[:-1]}, web: {{value: web}}}}}}")
    pull = config.load(tmp_path / "tidegate.yaml").pulls["all"]
    found = settings.derived_columns(pull, STREAMS["charges"], "all")
    assert [(column.name, str(column.type), settings.origin(told)) for column, told in found] == [
        ("net", "int64", "amount - amount_refunded"),
        ("country", "string", "the field billing_details.address.country"),
        ("web", "string", 'always "web"'),
    ]


# Whose data, and which file


def test_the_connection_is_the_source(tmp_path: Path) -> None:
    (job,) = jobs(
        tmp_path,
        connection=", accounts: [acct_1, acct_2], account_id: acct_0, budget: 0.5, rate_limit: 50/10, "
        "api_version: 2025-01-27.acacia",
    )
    assert job.source == scope.Source(
        api_key=KEY,
        api_version="2025-01-27.acacia",
        accounts=("acct_1", "acct_2"),
        account_id="acct_0",
        budget=0.5,
        rate_limit="50/10",
    )


def test_a_file_without_pulls(tmp_path: Path) -> None:
    (tmp_path / "tidegate.yaml").write_text(f"stripe:\n  acme: {{api_key: {KEY}}}\n")
    with pytest.raises(errors.ConfigError, match="has no pull"):
        settings.jobs(config.load(tmp_path / "tidegate.yaml"))
