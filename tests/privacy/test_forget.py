"""A forgotten customer leaves the warehouse and does not come back; amounts and other people's rows stay."""

from __future__ import annotations

import datetime as dt
import json
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import persons
import pyarrow as pa
import pytest

from tidegate import errors
from tidegate.privacy import erase, forget, ownership
from tidegate.pull import shaping
from tidegate.rows import decode
from tidegate.warehouse import base, duckdb

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
ADA = "cus_ada"
TOUCHED = (
    *(
        "balance_transactions",
        "cards",
        "charges",
        "customer_tax_ids",
        "customers",
        "disputes",
        "invoice_line_items",
    ),
    *("invoices", "payment_intents", "payment_records", "refunds", "subscription_items", "subscriptions"),
    *("v2_core_account_persons", "v2_core_accounts"),
)


@pytest.fixture
def warehouse(tmp_path: Path) -> duckdb.DuckDB:
    """Two customers with everything, and nothing else."""
    made = duckdb.DuckDB(tmp_path / "w.duckdb", wait=5)
    persons.store(made, _together(persons.world("ada"), persons.world("ben")))
    return made


def _together(*worlds: persons.Objects) -> persons.Objects:
    return {name: [each for world in worlds for each in world[name]] for name in worlds[0]}


def erased(warehouse: base.Warehouse, *customers: str, **more: object) -> erase.Erased:
    options: dict[str, object] = {"tables": persons.TABLES, "now": NOW, **more}
    return erase.erase(warehouse, customers or (ADA,), **options)  # type: ignore[arg-type]


def said(warehouse: base.Warehouse, who: str) -> list[str]:
    """The tables in which anything personal of somebody still stands."""
    return [
        name
        for name, rows in persons.dump(warehouse).items()
        if any(f"Personal of {who}" in row for row in rows)
    ]


def test_nothing_personal_is_left_in_any_table(warehouse: duckdb.DuckDB) -> None:
    assert len(said(warehouse, "ada")) == 17
    found = erased(warehouse)
    assert said(warehouse, "ada") == []
    assert "1815" not in json.dumps(persons.dump(warehouse)["v2_core_account_persons"][0])
    assert found.accounts == {ADA: {"acct_1"}}
    assert found.blind == ()
    assert found.rows == {**dict.fromkeys(TOUCHED, 1), "events": 3, "payment_methods": 2}


def test_nobody_else_loses_anything(warehouse: duckdb.DuckDB) -> None:
    before = persons.dump(warehouse, times=True)
    erased(warehouse)
    after = persons.dump(warehouse, times=True)
    for name, rows in before.items():
        if not name.startswith("_tidegate"):
            assert [row for row in rows if "ben" in row] == [row for row in after[name] if "ben" in row], name


def test_the_customer_is_a_tombstone_and_finance_keeps_its_numbers(warehouse: duckdb.DuckDB) -> None:
    erased(warehouse)
    (customer,) = persons.table(warehouse, "customers", "id = 'cus_ada'")
    assert sorted(customer) == ["_account_id", "_deleted_at", "_synced_at", "_version", "id"]
    assert (customer["_version"], customer["_deleted_at"]) == (100, NOW)
    (charge,) = persons.table(warehouse, "charges", "id = 'ch_ada'")
    kept = {
        "amount": 1999,
        "currency": "eur",
        "customer": ADA,
        "status": "succeeded",
        "payment_intent": "pi_ada",
    }
    assert kept.items() <= charge.items()
    assert "_deleted_at" not in charge
    (item,) = persons.table(warehouse, "subscription_items", "id = 'si_ada'")
    assert (item["quantity"], item["_parent_id"]) == (3, "sub_ada")
    for event in persons.table(warehouse, "events", "id like 'evt_ada%'"):
        assert json.loads(event["data"])["object"]["id"] in ("cus_ada", "ch_ada", "du_ada")
        assert json.loads(event["request"]) == {"id": "req_1AbCdEfGh", "idempotency_key": None}


def test_nothing_older_brings_anything_back(warehouse: duckdb.DuckDB) -> None:
    erased(warehouse)
    after = persons.dump(warehouse)
    warehouse.load([persons.load(name, each, 99) for name, each in persons.world("ada").items()], {})
    assert persons.dump(warehouse) == after


def test_again_changes_nothing(warehouse: duckdb.DuckDB) -> None:
    erased(warehouse)
    after = persons.dump(warehouse, times=True)
    found = erased(warehouse, now=NOW + dt.timedelta(days=1))
    assert found.rows == {}
    assert found.accounts == {ADA: {"acct_1"}}
    later = persons.dump(warehouse, times=True)
    state = [[json.loads(row) for row in each.pop(base.STATE)] for each in (after, later)]
    assert later == after
    since = [[row["value"] for row in rows if row["key"] == "forgotten/acct_1/cus_ada"] for rows in state]
    assert since == [[str(int(NOW.timestamp()))]] * 2, "since when stays as it was first written"


def test_a_dry_run_only_counts(warehouse: duckdb.DuckDB) -> None:
    before = persons.dump(warehouse, times=True)
    dry = erased(warehouse, dry_run=True)
    assert persons.dump(warehouse, times=True) == before
    assert dry.rows == erased(warehouse).rows


def test_several_customers_at_once(warehouse: duckdb.DuckDB) -> None:
    found = erased(warehouse, ADA, "cus_ben", "cus_nobody")
    assert said(warehouse, "ada") + said(warehouse, "ben") == []
    assert found.accounts == {ADA: {"acct_1"}, "cus_ben": {"acct_1"}, "cus_nobody": set()}


# Whose a row is


def test_what_names_another_customer_is_never_touched(warehouse: duckdb.DuckDB) -> None:
    """Ben's charge was paid with Ada's payment method, and his metadata speak of her."""
    his = {
        "id": "ch_his",
        "customer": "cus_ben",
        "payment_method": "pm_ada",
        "description": "Personal of ben",
        "metadata": {"invited_by": ADA},
    }
    note = persons.event("evt_his", "charge.succeeded", {**his, "object": "charge"})
    guest = {
        "id": "ch_guest",
        "payment_method": "pm_elsewhere",
        "description": "of a guest",
        "metadata": {"by": ADA},
    }
    told = persons.event("evt_guest", "charge.succeeded", {**guest, "object": "charge"})
    persons.store(warehouse, {"charges": [his, guest], "events": [note, told]})
    before = [
        *persons.table(warehouse, "charges", "id <> 'ch_ada'"),
        *persons.table(warehouse, "events", "id < 'evt_b'"),
    ]
    erased(warehouse)
    assert before[:3] == persons.table(warehouse, "charges", "id <> 'ch_ada'")
    kept = {row["id"]: row for row in persons.table(warehouse, "events")}
    assert "Personal of ben" in kept["evt_his"]["data"]
    assert "of a guest" in kept["evt_guest"]["data"]


def test_what_theirs_names_besides_is_not_theirs(warehouse: duckdb.DuckDB) -> None:
    """An application fee on Ada's charge names another charge too, Ben's: its movement of money is his."""
    fee = {"id": "fee_1", "charge": "ch_ada", "originating_transaction": "ch_ben"}
    persons.store(warehouse, {"application_fees": [fee]})
    before = persons.table(warehouse, "balance_transactions", "source = 'ch_ben'")
    erased(warehouse)
    assert persons.table(warehouse, "balance_transactions", "source = 'ch_ben'") == before
    assert "ch_ben" not in scrubber(warehouse).known("charges")


def _named() -> list[tuple[str, str]]:
    """Every column by which a row that names its customer names something else too."""
    return [
        (name, tie.column)
        for name in persons.STREAMS
        if any(tie.direct for tie in ownership.ties(name))
        for tie in ownership.ties(name)
        if not tie.direct and {*tie.streams} & {*persons.world("ben")}
    ]


@pytest.mark.parametrize(("stream", "column"), _named())
@pytest.mark.parametrize("later", [False, True], ids=["stored", "arriving"])
def test_what_a_row_of_theirs_names_stays_whose_it_is(
    warehouse: duckdb.DuckDB, stream: str, column: str, later: bool
) -> None:
    """A row of Ada's names something of Ben's: neither that nor what hangs on it is hers, in whatever order."""
    (tie,) = (each for each in ownership.ties(stream) if each.column == column)
    ben = persons.world("ben")
    theirs = [each["id"] for name in tie.streams for each in ben.get(name, ()) if each.get("customer")]
    odd = {"id": "odd_1", "customer": ADA, "related_customer": ADA, column: theirs[0] if theirs else None}
    before = persons.dump(warehouse, times=True)
    if not later:
        persons.store(warehouse, {stream: [odd]})
    erased(warehouse)
    if later:
        cleaner = scrubber(warehouse)
        for name, objects in ((stream, [odd]), *reversed(ben.items())):
            loads = cleaner.loads(persons.STREAMS[name], [persons.load(name, objects)])
            assert name == stream or [each.rows for each in loads] == [persons.load(name, objects).rows], name
            warehouse.load(loads, cleaner.marks())
        erase.again(warehouse, cleaner, tables=persons.TABLES)
    after = persons.dump(warehouse, times=not later)
    for name in ben:
        kept = [row for row in before[name] if "Personal of ben" in row]
        assert len([row for row in after[name] if "Personal of ben" in row]) == len(kept), name


def test_what_theirs_names_and_nobody_claims_is_theirs_with_all_that_hangs_on_it(
    warehouse: duckdb.DuckDB,
) -> None:
    """A checkout of Ada's names a payment that names nobody; its charge names the payment alone."""
    private = {"description": "Personal of ada"}
    objects = {
        "charges": [{"id": "ch_x", "payment_intent": "pi_x", **private}],
        "payment_intents": [{"id": "pi_x", **private}],
        "checkout_sessions": [{"id": "cs_x", "customer": ADA, "payment_intent": "pi_x"}],
    }
    erased(warehouse)
    cleaner = scrubber(warehouse)
    for name, each in objects.items():  # children first
        loads = cleaner.loads(persons.STREAMS[name], [persons.load(name, each)])
        warehouse.load(loads, cleaner.marks())
    assert said(warehouse, "ada") == ["charges", "payment_intents"]
    erase.again(warehouse, cleaner, tables=persons.TABLES)
    assert said(warehouse, "ada") == []
    assert scrubber(warehouse).known("charges")["ch_x"] == ADA


def test_what_is_only_supposed_to_be_theirs_is_remembered_until_it_is_seen(warehouse: duckdb.DuckDB) -> None:
    """The pull that brings the payment method is another one than that which brought the charge."""
    erased(warehouse)
    charge = {"id": "ch_x", "customer": ADA, "payment_method": "pm_x"}
    cleaner = scrubber(warehouse)
    load = persons.load("charges", [charge])
    warehouse.load(cleaner.loads(persons.STREAMS["charges"], [load]), cleaner.marks())
    later = scrubber(warehouse)
    assert ("pm_x" in later.supposed("payment_methods"), "pm_x" in later.known("payment_methods")) == (
        True,
        False,
    )
    method = {"id": "pm_x", "billing_details": {"name": "Personal of ada"}}
    load = persons.load("payment_methods", [method])
    warehouse.load(later.loads(persons.STREAMS["payment_methods"], [load]), later.marks())
    assert said(warehouse, "ada") == []
    assert "pm_x" in scrubber(warehouse).known("payment_methods")


def test_an_id_that_was_taken_for_theirs_is_given_back(warehouse: duckdb.DuckDB) -> None:
    """As soon as its row is seen to name somebody else, and for good."""
    erased(warehouse)
    warehouse.load([], {f"forgotten/acct_1/{ADA}/charges/ch_ben": "ch_ben ch_more"})
    cleaner = scrubber(warehouse)
    ben = persons.world("ben")
    load = persons.load("charges", ben["charges"])
    assert cleaner.loads(persons.STREAMS["charges"], [load]) == [load]
    warehouse.load([load], cleaner.marks())
    for each in (cleaner, scrubber(warehouse)):
        assert ("ch_ben" in each.known("charges"), "ch_more" in each.known("charges")) == (False, True)
        money = persons.load("balance_transactions", ben["balance_transactions"], 300)
        assert each.loads(persons.STREAMS["balance_transactions"], [money]) == [money]


def test_another_customers_own_event_is_theirs_whatever_it_says(warehouse: duckdb.DuckDB) -> None:
    about = {"id": "cus_ben", "object": "customer", "description": ADA, "name": "Personal of ben"}
    persons.store(warehouse, {"events": [persons.event("evt_x", "customer.updated", about)]})
    erased(warehouse)
    (event,) = persons.table(warehouse, "events", "id = 'evt_x'")
    assert "Personal of ben" in event["data"]


def test_the_accounts_own_payouts_are_no_customers() -> None:
    assert ownership.ties("payouts") == ownership.ties("topups") == ()
    (tie,) = ownership.ties("balance_transactions")
    assert not {"payouts", "topups"} & {*tie.streams}


def test_a_reader_that_took_their_card_does_not_make_others_theirs(warehouse: duckdb.DuckDB) -> None:
    reader = {
        "id": "tmr_1",
        "label": "Shop",
        "action": {"process_payment_intent": {"payment_intent": "pi_ada"}},
    }
    persons.store(warehouse, {"terminal_readers": [reader]})
    erased(warehouse)
    assert persons.table(warehouse, "terminal_readers")[0]["label"] == "Shop"


def test_an_event_that_tells_of_their_leaving_somebody_else_goes(warehouse: duckdb.DuckDB) -> None:
    """The payment method is Ben's now; what it was before is hers."""
    about = {
        "id": "pm_x",
        "object": "payment_method",
        "customer": "cus_ben",
        "billing_details": {"name": "X"},
    }
    persons.store(
        warehouse, {"events": [persons.event("evt_x", "payment_method.updated", about, {"customer": ADA})]}
    )
    erased(warehouse)
    (event,) = persons.table(warehouse, "events", "id = 'evt_x'")
    assert json.loads(event["data"])["object"]["billing_details"] == {"name": None}


def test_the_same_id_in_another_account_is_another_customer(warehouse: duckdb.DuckDB) -> None:
    persons.store(warehouse, persons.world("ada"), account="acct_2")
    erased(warehouse, account="acct_2")
    assert all(
        "acct_1" in row
        for name, rows in persons.dump(warehouse).items()
        for row in rows
        if "Personal of ada" in row
    )
    assert len(said(warehouse, "ada")) == 17
    found = erased(warehouse)
    assert found.accounts == {ADA: {"acct_1", "acct_2"}}
    assert said(warehouse, "ada") == []


def test_tables_with_other_names_and_hashed_customers(tmp_path: Path) -> None:
    warehouse = duckdb.DuckDB(tmp_path / "w.duckdb")
    rows = persons.rows("charges", persons.world("ada")["charges"] + persons.world("ben")["charges"])
    at = rows.schema.get_field_index("customer")
    hashed = pa.array([forget.digest(ADA), forget.digest("cus_ben")])
    rows = rows.set_column(at, pa.field("customer", pa.string()), hashed)
    warehouse.load([base.Load(base.Table("zahlungen", rows.schema), rows)], {})
    found = erased(warehouse, tables={"charges": ["charges", "zahlungen"]})
    assert found.rows == {"zahlungen": 1}
    assert said(warehouse, "ada") == []
    assert said(warehouse, "ben") == ["zahlungen"]


def test_a_table_that_does_not_tell_whose_its_rows_are_is_named(tmp_path: Path) -> None:
    warehouse = duckdb.DuckDB(tmp_path / "w.duckdb")
    persons.store(warehouse, {"customers": persons.world("ada")["customers"]})
    rows = persons.rows("charges", persons.world("ada")["charges"]).drop_columns(["customer"])
    warehouse.load([base.Load(base.Table("charges", rows.schema), rows)], {})
    assert erased(warehouse).blind == ("charges",)


def test_a_column_that_nobody_knows_goes(warehouse: duckdb.DuckDB) -> None:
    rows = persons.rows("charges", persons.world("ada")["charges"], 101)
    rows = rows.append_column("nickname", pa.array(["Personal of ada"]))
    warehouse.load([base.Load(base.Table("charges", rows.schema), rows)], {})
    erased(warehouse)
    assert "nickname" not in persons.table(warehouse, "charges", "id = 'ch_ada'")[0]


# Later pulls


def scrubber(warehouse: base.Warehouse, account: str = "acct_1") -> forget.Scrubber:
    found = forget.scrubber(warehouse.state(*forget.prefixes(account)), account)
    assert found is not None
    return found


def test_where_nobody_is_forgotten_there_is_nothing_to_do(warehouse: duckdb.DuckDB) -> None:
    assert forget.scrubber(warehouse.state(), "acct_1") is None
    erased(warehouse)
    assert forget.scrubber(warehouse.state(), "acct_2") is None


@pytest.mark.parametrize("seed", range(3))
def test_what_is_read_again_is_clean_when_it_arrives(warehouse: duckdb.DuckDB, seed: int) -> None:
    """Whatever the order of the streams: the ids of all that was theirs are remembered."""
    erased(warehouse)
    before = persons.dump(warehouse)
    cleaner = scrubber(warehouse)
    world = _together(persons.world("ada"), persons.world("ben"))
    for names in _some(random.Random(seed).sample(sorted(world), len(world))):
        loads = [
            each
            for name in names
            for each in cleaner.loads(persons.STREAMS[name], [persons.load(name, world[name], 200)])
        ]
        warehouse.load(loads, cleaner.marks())
    assert said(warehouse, "ada") == []
    assert len(said(warehouse, "ben")) == 17
    later = persons.dump(warehouse)
    for name in world:
        assert [row.replace('"_version": 200', '"_version": 100') for row in later[name]] == before[name], (
            name
        )


def _some(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[:6], names[6:7], names[7:]]


def test_rows_that_concern_nobody_pass_as_they_are(warehouse: duckdb.DuckDB) -> None:
    erased(warehouse)
    cleaner = scrubber(warehouse)
    for name, objects in persons.world("ben").items():
        load = persons.load(name, objects)
        assert cleaner.loads(persons.STREAMS[name], [load]) == [load]
        assert cleaner.scrub(persons.STREAMS[name], load.rows) is load.rows


def test_what_is_new_of_them_is_clean_and_remembered(warehouse: duckdb.DuckDB) -> None:
    erased(warehouse)
    new = {
        "id": "in_new",
        "object": "invoice",
        "customer": ADA,
        "customer_name": "Personal of ada",
        "total": 7,
    }
    line = {
        "id": "il_new",
        "object": "line_item",
        "description": "Personal of ada",
        "amount": 7,
        "_parent": "in_new",
    }
    cleaner = scrubber(warehouse)
    warehouse.load(
        cleaner.loads(persons.STREAMS["invoices"], [persons.load("invoices", [new])]), cleaner.marks()
    )
    later = scrubber(warehouse)  # another pull
    load = persons.load("invoice_line_items", [line])
    warehouse.load(later.loads(persons.STREAMS["invoice_line_items"], [load]), later.marks())
    assert said(warehouse, "ada") == []
    assert [row["total"] for row in persons.table(warehouse, "invoices", "id = 'in_new'")] == [7]


def test_a_child_that_came_before_its_parent_is_cleaned_at_the_end(warehouse: duckdb.DuckDB) -> None:
    erased(warehouse)
    world = persons.world("ada")
    lines = [{**world["invoice_line_items"][0], "id": "il_new", "_parent": "in_new"}]
    cleaner = scrubber(warehouse)
    for name, objects in (
        ("invoice_line_items", lines),
        ("invoices", [{**world["invoices"][0], "id": "in_new"}]),
    ):
        loads = cleaner.loads(persons.STREAMS[name], [persons.load(name, objects)])
        warehouse.load(loads, cleaner.marks())
    assert said(warehouse, "ada") == ["invoice_line_items"]
    fence = warehouse.claim("a pull", ["invoices", "invoice_line_items"])
    done = erase.again(warehouse, cleaner, tables=persons.TABLES, fence=fence)
    assert (said(warehouse, "ada"), done.rows) == ([], {"invoice_line_items": 1})


def test_a_customer_of_whom_nothing_is_there_never_arrives(tmp_path: Path) -> None:
    warehouse = duckdb.DuckDB(tmp_path / "w.duckdb")
    persons.store(warehouse, persons.world("ben"))
    assert erased(warehouse).accounts == {ADA: set()}
    assert list(warehouse.state("forgotten/")) == ["forgotten/*/cus_ada"]
    cleaner = scrubber(warehouse, "acct_9")
    for name, objects in persons.world("ada").items():
        load = persons.load(name, objects, account="acct_9")
        warehouse.load(cleaner.loads(persons.STREAMS[name], [load]), cleaner.marks())
    erase.again(warehouse, cleaner, tables=persons.TABLES)
    assert said(warehouse, "ada") == []
    assert sorted(persons.table(warehouse, "customers", "id = 'cus_ada'")[0])[1] == "_deleted_at"


def test_where_deleted_rows_are_removed_the_customer_is_buried(warehouse: duckdb.DuckDB) -> None:
    erased(warehouse, hard=["customers"])
    assert persons.table(warehouse, "customers", "id = 'cus_ada'") == []
    customer = persons.load("customers", persons.world("ada")["customers"])
    warehouse.load([customer], {})
    assert persons.table(warehouse, "customers", "id = 'cus_ada'") == [], (
        "the same version does not bring them back"
    )
    cleaner = scrubber(warehouse)
    newer = persons.load(
        "customers", persons.world("ada")["customers"] + persons.world("ben")["customers"], 300
    )
    warehouse.load(cleaner.loads(persons.STREAMS["customers"], [newer], hard=True), cleaner.marks())
    assert [row["id"] for row in persons.table(warehouse, "customers")] == ["cus_ben"]


# Histories


def shaped(stream: str) -> shaping.Shape:
    return shaping.shape(persons.STREAMS[stream], decode.Decoder(persons.STREAMS[stream]), history=True)


def versions(stream: str, objects: Sequence[Mapping[str, object]], version: int) -> list[base.Load]:
    rows = persons.rows(stream, objects, version)
    return shaping.rows(shaped(stream), rows, carried=frozenset(), payload=False)


def test_versions_stay_apart_without_what_was_personal(warehouse: duckdb.DuckDB) -> None:
    (charge,) = persons.world("ada")["charges"]
    (ben,) = persons.world("ben")["charges"]
    for version, changes in (
        (200, {}),
        (300, {"description": "Personal of ada again"}),
        (400, {"amount": 5}),
    ):
        warehouse.load(versions("charges", [{**charge, **changes}, {**ben, "amount": version}], version), {})
    erased(warehouse)
    assert said(warehouse, "ada") == []
    kept = persons.table(warehouse, "charges_history", "id = 'ch_ada' order by _valid_from --")
    assert [(row["_valid_from"].timestamp(), row["amount"]) for row in kept] == [
        (200, 1999),
        (300, 1999),
        (400, 5),
    ]
    assert len(persons.table(warehouse, "charges_history", "id = 'ch_ben'")) == 3

    cleaner = scrubber(warehouse)
    newer = versions("charges", [{**charge, "amount": 5}], 500)
    warehouse.load(cleaner.loads(persons.STREAMS["charges"], newer), cleaner.marks())
    assert said(warehouse, "ada") == []
    kept = persons.table(warehouse, "charges_history", "id = 'ch_ada' order by _valid_from --")
    assert kept[-1]["_valid_from"].timestamp() == 400, "nothing changed since"


def test_a_customers_own_history_goes_wholly_and_does_not_begin_again(warehouse: duckdb.DuckDB) -> None:
    world = _together(persons.world("ada"), persons.world("ben"))
    warehouse.load(versions("customers", world["customers"], 200), {})
    erased(warehouse)
    cleaner = scrubber(warehouse)
    newer = versions("customers", world["customers"], 300)
    warehouse.load(cleaner.loads(persons.STREAMS["customers"], newer), cleaner.marks())
    assert [row["id"] for row in persons.table(warehouse, "customers_history")] == ["cus_ben"]


def test_what_only_the_history_knows_goes_too(warehouse: duckdb.DuckDB) -> None:
    """The payment method was hers once, and names nobody now."""
    method = {"id": "pm_old", "object": "payment_method", "billing_details": {"name": "Personal of ada"}}
    warehouse.load(versions("payment_methods", [{**method, "customer": ADA}], 200), {})
    warehouse.load(versions("payment_methods", [{**method, "customer": None}], 300), {})
    erased(warehouse)
    assert said(warehouse, "ada") == []


# Trouble


class Killed(Exception):
    """The process ends here."""


class Mortal:
    """A warehouse whose writer dies before its nth write, or right after it."""

    def __init__(self, warehouse: base.Warehouse, writes: int, after: bool) -> None:
        self.warehouse, self.writes, self.after = warehouse, writes, after

    def __getattr__(self, name: str) -> object:
        return getattr(self.warehouse, name)

    def load(self, *words: object, **more: object) -> object:
        self.writes -= 1
        if self.writes < 0 and not self.after:
            raise Killed
        done = self.warehouse.load(*words, **more)  # type: ignore[arg-type]
        if self.writes < 0:
            raise Killed
        return done


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_anywhere_and_run_again_it_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    monkeypatch.setattr(erase, "BATCH", 2)
    some = ("customers", "charges", "disputes", "v2_core_accounts", "v2_core_account_persons", "events")
    world = _together(persons.world("ada"), persons.world("ben"))
    full = duckdb.DuckDB(tmp_path / "full.duckdb")
    persons.store(full, {name: world[name] for name in some})
    full.close()

    def copied(name: str) -> duckdb.DuckDB:
        return duckdb.DuckDB(shutil.copy(full.path, tmp_path / name))

    erased(whole := copied("whole.duckdb"))
    expected = persons.dump(whole)
    ends = 0
    while True:
        warehouse = copied(f"{ends}.duckdb")
        try:
            erased(Mortal(warehouse, ends, after))  # type: ignore[arg-type]
            break
        except Killed:
            if ends or after:
                assert "forgotten/acct_1/cus_ada" in warehouse.state("forgotten/"), "written first"
        erased(warehouse)
        found = persons.dump(warehouse)
        for each in (found, expected):
            each.pop(base.STATE, None)
        assert found == expected, ends
        ends += 1
    assert ends >= 4


def test_a_running_pull_is_shut_out(warehouse: duckdb.DuckDB) -> None:
    """It does not know yet who is forgotten, and holds rows of theirs."""
    fence = warehouse.claim("run_1", ["customers", "charges"])
    erased(warehouse)
    with pytest.raises(errors.Fenced, match="taken over by forget"):
        warehouse.load([persons.load("customers", persons.world("ada")["customers"], 300)], {}, fence)
    assert said(warehouse, "ada") == []


def test_much_is_done_bit_by_bit(warehouse: duckdb.DuckDB, monkeypatch: pytest.MonkeyPatch) -> None:
    (charge,) = persons.world("ada")["charges"]
    persons.store(
        warehouse, {"charges": [{**charge, "id": f"ch_{n}", "payment_intent": None} for n in range(2_500)]}
    )
    sizes: list[int] = []
    write: Callable[..., object] = warehouse.load

    def noted(loads: Sequence[base.Load], *rest: object) -> object:
        sizes.append(sum(load.rows.num_rows for load in loads))
        return write(loads, *rest)

    monkeypatch.setattr(warehouse, "load", noted)
    assert erased(warehouse).rows["charges"] == 2_501
    assert said(warehouse, "ada") == []
    assert max(sizes) <= 2 * erase.BATCH


@pytest.mark.parametrize("id", ["ada@example.com", "ch_1AbC", "cus_", "cus_1/../x", ""])
def test_what_is_no_customers_id_is_refused_and_not_repeated(warehouse: duckdb.DuckDB, id: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        erased(warehouse, id)
    assert "cus_NffrFeUfNV2Hib" in str(caught.value)
    assert "example.com" not in str(caught.value)
    assert warehouse.state("forgotten/") == {}


def test_a_warehouse_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="does not exist yet"):
        erased(duckdb.DuckDB(tmp_path / "none.duckdb"))
    assert list(tmp_path.iterdir()) == []


# Which columns tell


@pytest.mark.parametrize(
    "name", sorted(name for name, stream in persons.STREAMS.items() if name != "customers")
)
def test_every_column_that_names_a_customer_is_known_to_tell(name: str) -> None:
    stream = persons.STREAMS[name]
    told = {tie.column for tie in ownership.ties(name) if tie.direct}
    naming = {
        field.name for field in stream.fields if field.name == "customer" or "customer" in field.expands
    }
    of_customers = (
        {"_parent_id"}
        if any(o.parents and o.parents[0].stream == "customers" for o in stream.origins)
        else set()
    )
    assert naming | of_customers <= told


def test_what_is_not_a_customers_is_never_asked_for() -> None:
    for name in (
        "products",
        "prices",
        "coupons",
        "accounts",
        "terminal_readers",
        "events",
        "issuing_cardholders",
    ):
        assert ownership.ties(name) == ()
