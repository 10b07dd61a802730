"""From rows as Stripe has them to loads: chosen and hashed columns, rows that belong, histories, deletions."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydantic
import pytest

from tidegate import catalog, config, errors
from tidegate.pull import scope, shaping
from tidegate.rows import arrow
from tidegate.warehouse import base, duckdb

STREAMS = catalog.load().streams
FILTER: pydantic.TypeAdapter[config.Filter] = pydantic.TypeAdapter(config.Filter)
NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
PRO: config.Filter = FILTER.validate_python({"field": "metadata.plan", "op": "is", "value": "pro"})
FEW = frozenset({"id", "created", "email", "metadata"})


class Pulled:
    """One stream with some options, and rows of it as they would be read."""

    def __init__(self, stream: str = "customers", **options: Any) -> None:
        self.stream = STREAMS[stream]
        choice = scope.Choice(**options)
        self.target = scope.target(self.stream, "acct_1", scope.Options(choices={stream: choice}))
        self.shape = self.target.shape

    def table(self, version: int, *objects: dict[str, Any], parent: str | None = None) -> pa.Table:
        raws = [json.dumps(each).encode() for each in objects]
        part = arrow.Part(self.target.decoder.objects(raws), version, parent, parent and "account")
        return arrow.table(self.target.decoder, [part], account="acct_1", synced_at=NOW)

    def loads(
        self, *tables: pa.Table, carried: frozenset[str] = frozenset(), payload: bool = False
    ) -> list[base.Load]:
        return shaping.rows(self.shape, pa.concat_tables(tables), carried=carried, payload=payload)


def customer(id: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "object": "customer", "created": 1, **fields}


def pro(id: str, **fields: Any) -> dict[str, Any]:
    return customer(id, metadata={"plan": "pro"}, **fields)


def told(load: base.Load) -> tuple[str, list[str], list[int]]:
    """What a load does with which rows, at which versions."""
    return load.mode, load.rows["id"].to_pylist(), load.rows["_version"].to_pylist()


def at(version: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(version, dt.UTC)


def stored(file: Path, sql: str, *loads: base.Load) -> list[dict[str, Any]]:
    """What a query finds once loads were committed."""
    warehouse = duckdb.DuckDB(file, wait=5)
    try:
        warehouse.load(loads, {})
        return [row for batch in warehouse.read(sql) for row in batch.to_pylist()]
    finally:
        warehouse.close()


# Columns


def test_plain_rows_pass_through_without_a_copy() -> None:
    pulled = Pulled()
    rows = pulled.table(5, customer("cus_1"), customer("cus_2"))

    (load,) = shaping.rows(pulled.shape, rows, carried=frozenset(), payload=False)

    assert load == base.Load(pulled.shape.table, load.rows, "replace")
    assert load.rows.schema is rows.schema or load.rows.schema.equals(rows.schema, check_metadata=True)
    for name in rows.schema.names:
        ours, theirs = load.rows[name].chunk(0).buffers(), rows[name].chunk(0).buffers()
        assert [b and b.address for b in ours] == [b and b.address for b in theirs]


def test_only_chosen_columns_reach_the_table() -> None:
    pulled = Pulled(columns=frozenset({"email"}), where=PRO)

    (load,) = pulled.loads(pulled.table(5, pro("cus_1", email="a@example.com")))

    names = ["_account_id", "email", "id", "_extra", "_version", "_synced_at", "_deleted_at"]
    assert pulled.shape.table.schema.names == load.rows.schema.names == names
    assert "metadata" in pulled.target.decoder.schema.names
    assert load.rows["email"].to_pylist() == ["a@example.com"]
    assert pulled.shape.readable == set(names)


def test_a_filter_reads_a_column_that_shows_up_nowhere() -> None:
    """A value that does not fit its column would land in `_extra`."""
    where = FILTER.validate_python({"field": "name", "op": "is null"})
    pulled = Pulled(columns=frozenset({"email"}), where=where)

    (load,) = pulled.loads(pulled.table(5, customer("cus_1", name={"first": "Jenny"}, email=7)))

    assert load.rows["_extra"].to_pylist() == ['{"email":7}']


@pytest.mark.parametrize(
    ("stream", "column", "value", "text"),
    [
        ("customers", "email", "jenny@example.com", "jenny@example.com"),
        ("customers", "email", "", ""),
        ("customers", "address", {"city": "Köln"}, '{"city":"K\\u00f6ln"}'),
        ("customers", "balance", -1200, "-1200"),
        ("customers", "livemode", True, "true"),
        ("payment_intents", "canceled_at", 1_700_000_000, "1700000000"),
        ("prices", "unit_amount_decimal", "0.50", "0.5"),
        ("charges", "customer", {"id": "cus_1", "email": "x"}, "cus_1"),
    ],
)
def test_a_hashed_column_is_the_sha256_of_its_text(
    stream: str, column: str, value: object, text: str
) -> None:
    pulled = Pulled(stream, hashed=frozenset({column}))

    (load,) = pulled.loads(pulled.table(5, {"id": "x_1", column: value}, {"id": "x_2", column: None}))

    assert load.rows[column].to_pylist() == [hashlib.sha256(text.encode()).hexdigest(), None]
    assert pulled.shape.table.schema.field(column) == pa.field(column, pa.string())
    assert load.rows.schema.equals(pulled.shape.table.schema, check_metadata=True)
    assert column not in pulled.shape.readable


def test_a_hashed_value_that_does_not_fit_leaks_nowhere(tmp_path: Path) -> None:
    pulled = Pulled(columns=FEW, hashed=frozenset({"email"}), history=True)
    rows = pulled.table(
        5, customer("cus_1", email={"mail": "jenny@example.com"}), customer("cus_2", email=["jenny"])
    )

    for table in ("customers", "customers_history"):
        found = stored(
            tmp_path / "w.duckdb", f"select * from stripe.{table} order by id", *pulled.loads(rows)
        )
        assert len(found) == 2
        assert "jenny" not in str(found)


@pytest.mark.parametrize("column", ["id", "_account_id", "_extra", "_version", "created"])
def test_what_tidegate_goes_by_cannot_be_hashed(column: str) -> None:
    with pytest.raises(errors.ConfigError, match=f"customers.{column} cannot be hashed"):
        Pulled(hashed=frozenset({column}))


def test_a_column_that_is_not_there_cannot_be_hashed() -> None:
    with pytest.raises(errors.ConfigError, match=r"customers\.emial cannot be hashed: there is no such"):
        Pulled(hashed=frozenset({"emial"}))


def test_a_filter_that_cannot_be_asked() -> None:
    where = FILTER.validate_python({"field": "metdata.plan", "op": "is", "value": "pro"})
    with pytest.raises(errors.ConfigError, match=r"did you mean metadata\.plan\?"):
        Pulled(where=where)
    with pytest.raises(errors.ConfigError, match=r"did you mean metadata\.plan\?"):
        Pulled(columns=frozenset({"email"}), where=where)


def test_what_a_decoder_must_convert() -> None:
    stream = STREAMS["customers"]
    email = frozenset({"email"})
    assert shaping.needed(stream, None, PRO) is None
    assert shaping.needed(stream, email, None) == {"email"}
    assert shaping.needed(stream, email, PRO) == {"email", "metadata"}
    assert shaping.hidden(stream, email, PRO) == {"metadata"}
    assert shaping.hidden(stream, email | {"metadata"}, PRO) == set()
    assert shaping.hidden(stream, None, PRO) == set()


def test_what_an_answer_does_not_tell_is_kept() -> None:
    pulled = Pulled()

    (load,) = pulled.loads(
        pulled.table(5, customer("cus_1")), carried=frozenset({"tax", "nothing"}), payload=True
    )

    assert (load.mode, load.strict) == ("keep", True)
    assert set(pulled.shape.table.schema.names) - set(load.rows.schema.names) == {"tax"}


# Rows that belong


def test_rows_that_do_not_match_leave_and_are_not_deleted() -> None:
    pulled = Pulled(where=PRO)

    leavers, kept = pulled.loads(
        pulled.table(5, pro("cus_1"), customer("cus_2"), customer("cus_3", metadata={}))
    )

    assert told(kept) == ("replace", ["cus_1"], [5])
    assert told(leavers) == ("mark", ["cus_2", "cus_3"], [5, 5])
    assert leavers.hard
    assert not leavers.strict
    assert leavers.rows["_deleted_at"].to_pylist() == [None, None]
    assert leavers.rows.schema.names == ["_account_id", "id", "_version", "_deleted_at", "_synced_at"]


def test_a_payload_never_makes_a_row_leave_that_was_read_in_the_same_second(tmp_path: Path) -> None:
    pulled = Pulled(where=PRO)
    loads = [
        *pulled.loads(pulled.table(5, pro("cus_1"), pro("cus_2"))),
        *pulled.loads(pulled.table(5, customer("cus_1")), payload=True),
        *pulled.loads(pulled.table(6, customer("cus_2")), payload=True),
    ]

    found = stored(tmp_path / "w.duckdb", "select id from stripe.customers", *loads)

    assert found == [{"id": "cus_1"}]


def test_a_row_that_left_comes_back_only_when_it_matches_later(tmp_path: Path) -> None:
    pulled = Pulled(where=PRO)
    file = tmp_path / "w.duckdb"
    ids = "select id, _version from stripe.customers"

    assert stored(file, ids, *pulled.loads(pulled.table(5, pro("cus_1")))) == [{"id": "cus_1", "_version": 5}]
    assert stored(file, ids, *pulled.loads(pulled.table(7, customer("cus_1")))) == []
    assert stored(file, ids, *pulled.loads(pulled.table(6, pro("cus_1")))) == []
    assert stored(file, ids, *pulled.loads(pulled.table(8, pro("cus_1")))) == [{"id": "cus_1", "_version": 8}]


@pytest.mark.parametrize(
    ("versions", "there"),
    [([(5, True), (7, False)], False), ([(7, False), (5, True)], False), ([(5, False), (7, True)], True),
     ([(7, True), (5, False)], True), ([(5, True), (6, False), (7, True)], True)],
)  # fmt: skip
def test_the_newest_state_in_a_batch_decides(
    versions: list[tuple[int, bool]], there: bool, tmp_path: Path
) -> None:
    pulled = Pulled(where=PRO, history=True)
    tables = [
        pulled.table(version, pro("cus_1") if matches else customer("cus_1")) for version, matches in versions
    ]

    found = stored(tmp_path / "w.duckdb", "select id from stripe.customers", *pulled.loads(*tables))

    assert found == ([{"id": "cus_1"}] if there else [])


def test_rows_that_do_not_tell_what_the_filter_asks_for_are_not_judged() -> None:
    where = FILTER.validate_python({"field": "tax.location.country", "op": "is", "value": "DE"})
    pulled = Pulled(where=where)
    rows = pulled.table(5, customer("cus_1"))

    assert pulled.shape.judges({"email"})
    assert not pulled.shape.judges({"tax"})
    assert not pulled.shape.judges(pulled.shape.expanded)
    for untold in ({"carried": frozenset({"tax"})}, {"payload": True}):
        with pytest.raises(errors.ConfigError, match=r"customers lacks .*tax.* `where` asks for"):
            pulled.loads(rows, **untold)  # type: ignore[arg-type]  # one of two keywords


# Deletions


def test_a_stub_of_a_deleted_object_is_a_tombstone() -> None:
    for hard in (False, True):
        pulled = Pulled(where=PRO, hard=hard, history=True)

        rows = pulled.table(5, {"id": "cus_1", "object": "customer", "deleted": True}, pro("cus_2"))
        kept, past, stubs = pulled.loads(rows)

        assert told(kept) == ("replace", ["cus_2"], [5])
        assert told(past) == ("history", ["cus_2"], [5])
        assert told(stubs) == ("mark", ["cus_1"], [5])
        assert stubs.hard is hard
        assert stubs.history == pulled.shape.history
        assert stubs.rows["_deleted_at"].to_pylist() == [at(5)]


@pytest.mark.parametrize("hard", [False, True])
def test_deleted_rows(hard: bool, tmp_path: Path) -> None:
    pulled = Pulled(hard=hard)

    (load,) = shaping.gone(pulled.shape, "acct_1", [(5, ("cus_1",)), (7, ("cus_2",))], NOW)

    assert (load.mode, load.hard, load.history) == ("mark", hard, None)
    assert load.rows.to_pylist() == [
        {"_account_id": "acct_1", "id": "cus_1", "_version": 5, "_deleted_at": at(5), "_synced_at": NOW},
        {"_account_id": "acct_1", "id": "cus_2", "_version": 7, "_deleted_at": at(7), "_synced_at": NOW},
    ]
    rows = pulled.loads(pulled.table(5, customer("cus_1"), customer("cus_2"), customer("cus_3")))
    found = stored(tmp_path / "w.duckdb", "select id from stripe_live.customers", *rows, load)
    assert found == [{"id": "cus_3"}]
    (count,) = stored(tmp_path / "w.duckdb", "select count(*) as n from stripe.customers")
    assert count == {"n": 1 if hard else 3}


def test_deleted_rows_whose_key_is_their_parent_too() -> None:
    pulled = Pulled("account_capabilities")

    (load,) = shaping.gone(pulled.shape, "acct_1", [(5, ("acct_2", "card_payments"))], NOW)

    assert load.rows.select(["_account_id", "_parent_id", "id"]).to_pylist() == [
        {"_account_id": "acct_1", "_parent_id": "acct_2", "id": "card_payments"}
    ]


@pytest.mark.parametrize("stream", ["invoice_line_items", "account_capabilities"])
def test_a_parent_and_all_of_its_children(stream: str, tmp_path: Path) -> None:
    pulled = Pulled(stream)
    lines = [{"id": f"il_{n}", "object": "x"} for n in range(3)]

    (load,) = shaping.swept(pulled.shape, "acct_1", [("in_1", ["il_0", "il_1"], 7), ("in_2", (), 8)], NOW)

    assert load.mode == "sweep"
    assert load.rows.select(["_parent_id", "id", "_version", "_deleted_at"]).to_pylist() == [
        {"_parent_id": "in_1", "id": "il_0", "_version": 7, "_deleted_at": at(7)},
        {"_parent_id": "in_1", "id": "il_1", "_version": 7, "_deleted_at": at(7)},
        {"_parent_id": "in_2", "id": None, "_version": 8, "_deleted_at": at(8)},
    ]
    rows = [
        *pulled.loads(pulled.table(5, *lines, parent="in_1")),
        *pulled.loads(pulled.table(5, {"id": "il_3", "object": "x"}, parent="in_2")),
    ]
    found = stored(tmp_path / "w.duckdb", f"select id from stripe_live.{stream} order by id", *rows, load)
    assert found == [{"id": "il_0"}, {"id": "il_1"}]


# Histories


def test_a_history_has_the_table_s_columns_but_those_that_only_come_when_asked_for() -> None:
    pulled = Pulled(history=True, hashed=frozenset({"email"}))

    history = pulled.shape.history

    assert history is not None
    assert (history.name, history.version) == ("customers_history", "")
    assert history.key == ("_account_id", "id", "_valid_from")
    lost = {"_deleted_at", "tax", "cash_balance", "invoice_credit_balance"}
    assert set(history.schema.names) == {
        *pulled.shape.table.schema.names, "_valid_from", "_valid_to", "_row_hash",
    } - lost  # fmt: skip
    assert history.schema.field("email").metadata is None
    assert Pulled().shape.history is None
    assert Pulled(history=True, table="clients").shape.history.name == "clients_history"  # type: ignore[union-attr]  # asked for


def hashes(pulled: Pulled, *objects: dict[str, Any]) -> list[str]:
    found: list[str] = pulled.loads(pulled.table(5, *objects))[-1].rows["_row_hash"].to_pylist()
    return found


def test_rows_that_say_the_same_have_the_same_hash() -> None:
    pulled = Pulled("prices", history=True)
    price = {
        "id": "price_1",
        "unit_amount": 5,
        "nickname": "a",
        "metadata": {"k": "v"},
        "unit_amount_decimal": "5",
    }
    same = [
        price,
        {**price, "id": "price_2"},
        {**price, "tiers": [1]},
        {**price, "unit_amount_decimal": "5.0"},
    ]
    other = [
        {**price, "unit_amount": 6}, {**price, "nickname": None}, {**price, "nickname": ""},
        {**price, "nickname": "av", "lookup_key": ""}, {**price, "nickname": "a", "lookup_key": "v"},
        {**price, "metadata": {"k": "w"}}, {**price, "active": False}, {**price, "active": True},
        {**price, "new_field": 1},
    ]  # fmt: skip

    assert len(set(hashes(pulled, *same))) == 1
    assert len(set(hashes(pulled, price, *other))) == 1 + len(other)
    # What else is in the batch, and when it was read, changes nothing.
    assert hashes(pulled, price) == hashes(pulled, price, *other)[:1]
    later = pulled.loads(pulled.table(9, price))[-1]
    assert later.rows["_row_hash"].to_pylist() == hashes(pulled, price)
    assert later.rows["_valid_from"].to_pylist() == [at(9)]


def test_a_column_that_is_new_and_empty_makes_no_new_version() -> None:
    price = {"id": "price_1", "unit_amount": 5, "nickname": None}
    few = Pulled("prices", history=True, columns=frozenset({"unit_amount"}))
    more = Pulled("prices", history=True, columns=frozenset({"unit_amount", "nickname", "active"}))
    assert hashes(few, price) == hashes(more, price)


def test_states_that_are_over_go_into_the_history_alone() -> None:
    pulled = Pulled(where=PRO, history=True)
    rows = pulled.table(
        5, pro("cus_1"), customer("cus_2"), {"id": "cus_3", "object": "customer", "deleted": True}
    )

    (load,) = shaping.past(pulled.shape, rows)

    assert load.table == pulled.shape.history
    assert told(load) == ("history", ["cus_1"], [5])
    assert load.strict
    assert shaping.past(pulled.shape, rows.slice(1)) == []
    assert shaping.past(Pulled().shape, rows) == []
    where = FILTER.validate_python({"field": "tax.location", "op": "exists"})
    assert shaping.past(Pulled(where=where, history=True).shape, rows) == []


def test_a_history_tells_when_a_row_changed_left_came_back_and_was_deleted(tmp_path: Path) -> None:
    pulled = Pulled(where=PRO, history=True)
    batches = [
        pulled.loads(pulled.table(5, pro("cus_1", name="a"))),
        # One batch: unchanged, changed, gone twice, back again.
        pulled.loads(
            pulled.table(6, pro("cus_1", name="a")),
            pulled.table(7, pro("cus_1", name="b")),
            pulled.table(8, customer("cus_1", name="b")),
            pulled.table(9, customer("cus_1", name="c")),
            pulled.table(11, pro("cus_1", name="c")),
        ),
        shaping.gone(pulled.shape, "acct_1", [(12, ("cus_1",))], NOW),
    ]
    spans = (
        "select name, epoch(_valid_from) as a, epoch(_valid_to) as b from stripe.customers_history order by a"
    )

    for loads in batches:
        found = stored(tmp_path / "w.duckdb", spans, *loads)

    assert [(row["name"], row["a"], row["b"]) for row in found] == [("a", 5, 7), ("b", 7, 8), ("c", 11, 12)]


def test_a_row_that_leaves_twice_in_a_batch_has_two_ends(tmp_path: Path) -> None:
    pulled = Pulled(where=PRO, history=True)
    tables = [
        pulled.table(version, pro("cus_1") if matches else customer("cus_1"))
        for version, matches in ((9, False), (7, True), (5, False), (3, True))
    ]
    spans = "select epoch(_valid_from) as a, epoch(_valid_to) as b from stripe.customers_history order by a"

    found = stored(tmp_path / "w.duckdb", spans, *pulled.loads(*tables))

    assert [(row["a"], row["b"]) for row in found] == [(3, 5), (7, 9)]


def test_rows_without_a_value_have_a_fingerprint_too() -> None:
    rows = pa.table({"a": ["x", None, "x"], "b": pa.nulls(3, pa.string())})
    first, second, third = shaping.fingerprints(rows).to_pylist()
    assert first == third != second
    assert shaping.fingerprints(rows.select(["b"])).to_pylist() == [second] * 3
    assert shaping.fingerprints(pa.table({"a": ["x", "z"], "b": ["y", None]})).to_pylist() == [
        "db3fd82ba0d570ed796d8490cbee1f28",  # as they stand in histories
        "c2395328a0d5d9256a3d493fdb50938e",
    ]
