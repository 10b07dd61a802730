"""Which value a profile has, which rows a merge writes, and that it is the same on every warehouse."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Iterator
from typing import Any, cast

import fleet
import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from merged import DAY, START, Customers, Record, model

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.customers import merging
from tidegate.warehouse import base, scripts

ENGINES = ("duckdb", "postgres", "mysql")


@pytest.fixture(params=ENGINES)
def warehouse(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[base.Warehouse]:
    """A warehouse without a model yet."""
    opened = warehouses.open_url(fleet.url(request.param, tmp_path_factory.mktemp(request.param), 1))
    yield opened
    opened.close()


@pytest.fixture
def customers(warehouse: base.Warehouse) -> Customers:
    """Customers with an e-mail, a plan, tags and an address."""
    return Customers(warehouse, model(email="string", plan="string", tags="array", address="json"))


def test_the_newest_value_that_is_there_wins(customers: Customers) -> None:
    customers.write(
        {
            "a": Record("p", {"email": "old@x.io", "plan": "basic"}, version=1),
            "b": Record("p", {"email": "new@x.io"}, version=2),
        }
    )
    assert customers.merge() == merging.Merged(1, 0, 0)
    (found,) = customers.profiles(["p"]).values()
    assert (found["email"], found["plan"], found["sources"]) == ("new@x.io", "basic", 2)


def test_of_equal_versions_the_first_key_wins(customers: Customers) -> None:
    customers.write({key: Record("p", {"plan": key}) for key in "bca"})
    customers.merge()
    assert customers.profiles("p")["p"]["plan"] == "a"


def test_a_primary_source_wins_over_newer_values(warehouse: base.Warehouse) -> None:
    told = model(
        "crm",
        email="string",
        plan={"type": "string", "primary_source": "billing"},
        tags="array",
        vip="boolean",
    )
    customers = Customers(warehouse, told)
    customers.write(
        {
            "a": Record(
                "p", {"email": "crm", "plan": "crm", "tags": ["crm"], "vip": False}, "crm", version=1
            ),
            "b": Record("p", {"email": "web", "tags": ["web"], "vip": True}, "web", version=3),
            "c": Record("p", {"plan": "billing"}, "billing", version=2),
            "d": Record("q", {"email": "web", "vip": True}, "web", version=1),
            "e": Record("q", {"email": None, "vip": None}, "crm", version=2),
        }
    )
    customers.merge()
    found = customers.profiles("pq")
    chosen = ("email", "plan", "tags", "vip")
    assert [found["p"][name] for name in chosen] == ["crm", "billing", ["crm", "web"], False]
    assert [found["q"][name] for name in chosen] == ["web", None, None, True]


def test_arrays_are_united_in_the_order_of_their_records(customers: Customers) -> None:
    customers.write(
        {
            "a": Record("p", {"tags": ["red", 'ß"\\', "blue"]}, version=1),
            "b": Record("p", {"tags": ["green", "red"]}, version=2),
            "c": Record("q", {"tags": ["x", "x"]}, version=2),
            "d": Record("q", {}, version=1),
            "e": Record("r", {"tags": []}, version=2),
            "f": Record("r", {"tags": [{"k": [1, None, True]}, 2.5]}, version=1),
        }
    )
    customers.merge()
    found = customers.profiles("pqr")
    assert found["p"]["tags"] == ["green", "red", 'ß"\\', "blue"]
    assert found["q"]["tags"] == ["x", "x"]  # of one record, as it is
    assert found["r"]["tags"] == [{"k": [1, None, True]}, 2.5]


def test_many_arrays_are_united_slice_by_slice(customers: Customers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "SLICE", 3)
    profiles = [f"p{n}" for n in range(10)]
    written = {
        f"{each}/{n}": Record(each, {"tags": [each, n]}, version=n) for each in profiles for n in (1, 2, 3)
    }
    customers.write(written)
    customers.merge()
    assert {each: row["tags"] for each, row in customers.profiles(profiles).items()} == {
        each: [each, 3, 2, 1] for each in profiles
    }


def test_documents_are_taken_whole(customers: Customers) -> None:
    customers.write(
        {
            "a": Record("p", {"address": {"city": "Köln", "zip": "1"}}, version=1),
            "b": Record("p", {"address": {"city": "Bonn"}}, version=2),
        }
    )
    customers.merge()
    assert customers.profiles("p")["p"]["address"] == {"city": "Bonn"}


def test_only_profiles_that_differ_are_written(customers: Customers) -> None:
    customers.write({"a": Record("p", {"plan": "pro"}), "b": Record("q", {"plan": "pro"})})
    assert customers.merge(0) == merging.Merged(2, 0, 0)
    customers.touch("pq")
    assert customers.merge(1) == merging.Merged(0, 0, 0)
    customers.write({"b": Record("q", {"plan": "free"}, version=2)})
    assert customers.merge(2) == merging.Merged(0, 1, 0)
    found = customers.profiles("pq")
    assert [found[each]["first_seen_at"] for each in "pq"] == [START, START]
    assert [found[each]["updated_at"] for each in "pq"] == [START, START + 2 * DAY]
    assert [found[each]["_version"] for each in "pq"] == [1, 2]


def test_another_record_that_changes_no_property_counts_but_is_no_update(customers: Customers) -> None:
    customers.write({"a": Record("p", {"plan": "pro"})})
    customers.merge(0)
    customers.write({"b": Record("p", {"plan": "pro"}, account="acct_2")})
    assert customers.merge(1) == merging.Merged(0, 1, 0)
    found = customers.profiles("p")["p"]
    assert (found["sources"], found["accounts"], found["updated_at"]) == (2, 2, START)


def test_a_profile_without_records_is_gone_and_may_come_back(customers: Customers) -> None:
    customers.write({"a": Record("p", {"plan": "pro"})})
    customers.merge(0)
    customers.write({"a": Record("p", {"plan": "pro"}, is_live=False)})
    assert customers.merge(1) == merging.Merged(0, 0, 1)
    found = customers.profiles("p")["p"]
    assert (found["_deleted_at"], found["plan"], found["sources"]) == (START + DAY, "pro", 0)
    live = f'SELECT profile_id FROM "{customers.warehouse.schema}_live"."customer_profiles"'
    assert sum(batch.num_rows for batch in customers.warehouse.read(live)) == 0
    customers.touch("p")
    assert customers.merge(2).written == 0
    customers.write({"a": Record("p", {"plan": "pro"})})
    assert customers.merge(3) == merging.Merged(0, 1, 0)
    found = customers.profiles("p")["p"]
    assert (found["_deleted_at"], found["sources"], found["updated_at"]) == (None, 1, START + 3 * DAY)
    assert found["first_seen_at"] == START


def test_a_profile_that_went_into_another_is_gone(customers: Customers) -> None:
    customers.write({"a": Record("p", {"plan": "pro"}), "b": Record("q", {"email": "b@x.io"})})
    customers.merge(0)
    customers.write({"b": Record("p", {"email": "b@x.io"})})
    customers.touch("q")
    assert customers.merge(1) == merging.Merged(0, 1, 1)
    found = customers.profiles("pq")
    assert (found["p"]["email"], found["p"]["plan"], found["p"]["_deleted_at"]) == ("b@x.io", "pro", None)
    assert found["q"]["_deleted_at"] == START + DAY


def test_what_is_not_touched_is_not_looked_at(customers: Customers) -> None:
    customers.write({"a": Record("p", {"plan": "pro"}), "b": Record("q", {"plan": "pro"})})
    customers.merge(0)
    customers.write({"a": Record("p", {"plan": "free"}), "b": Record("q", {"plan": "free"})})
    customers.warehouse.load(
        [base.Load(customers.named.touched, pa.table({"profile_id": ["q"]}), "drop")], {}
    )
    assert customers.merge(1) == merging.Merged(0, 1, 0)
    assert {each: row["plan"] for each, row in customers.profiles("pq").items()} == {"p": "free", "q": "pro"}
    assert customers.merge(2) == merging.Merged(0, 0, 0)
    assert customers.merge(3, everything=True) == merging.Merged(0, 1, 0)


def test_a_new_property_alone_writes_nothing_and_one_left_out_is_emptied(customers: Customers) -> None:
    customers.write({"a": Record("p", {"email": "a@x.io", "plan": "pro"})})
    customers.merge(0)
    customers.become(model(email="string", plan="string", tags="array", address="json", size="integer"))
    assert customers.merge(1, everything=True) == merging.Merged(0, 0, 0)
    customers.become(model(email="string", size="integer"))
    assert customers.merge(2, everything=True) == merging.Merged(0, 1, 0)
    customers.become(model(email="string", plan="string", size="integer"))
    found = customers.profiles("p")["p"]
    assert (found["email"], found["plan"], found["updated_at"]) == ("a@x.io", None, START + 2 * DAY)


def test_who_lost_the_fence_changes_nothing(customers: Customers) -> None:
    fence = customers.warehouse.claim("first", [customers.named.profiles])
    customers.write({"a": Record("p", {"plan": "pro"})})
    customers.warehouse.claim("second", [customers.named.profiles])
    with pytest.raises(errors.Fenced, match="second"):
        customers.merge(fence=fence)
    assert customers.profiles("p") == {}
    assert customers.merge() == merging.Merged(1, 0, 0)


def test_what_a_killed_merge_left_is_in_nobodys_way(
    customers: Customers, monkeypatch: pytest.MonkeyPatch
) -> None:
    customers.write({"a": Record("p", {"plan": "pro"})})
    with monkeypatch.context() as patched:
        patched.setattr(merging._Merge, "_write", _killed)
        with pytest.raises(KeyboardInterrupt):
            customers.merge()
    assert customers.profiles("p") == {}
    assert customers.merge() == merging.Merged(1, 0, 0)
    left = cast(scripts.Scripted, customers.warehouse).scripted(lambda script: script.works(merging.PREFIX))
    assert left == []


def _killed(_: object) -> None:
    raise KeyboardInterrupt


def test_a_warehouse_in_which_nothing_can_be_merged_is_refused() -> None:
    merging.check("postgres", "prod")
    with pytest.raises(errors.ConfigError, match="lake, whose type is parquet"):
        merging.check("parquet", "lake")


# Against the same merge in plain Python

EVERY = model(
    "crm",
    email={"type": "string", "primary_source": "web"},
    order="string",
    seen="timestamp",
    score="number",
    spent="decimal",
    visits="integer",
    vip="boolean",
    address={"type": "object", "properties": {"city": "string"}},
    tags={"type": "array", "items": "string"},
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "email": TEXT,
        "order": TEXT | st.sampled_from(("a", "A", "ä", "a ", "")),
        "seen": st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC)),
        "score": st.floats(-1e15, 1e15, allow_subnormal=False),
        "spent": st.decimals(-(10**20), 10**20, places=12),
        "visits": st.integers(-(2**63), 2**63 - 1),
        "vip": st.booleans(),
        "address": st.fixed_dictionaries({}, optional={"city": TEXT}),
        "tags": st.lists(st.sampled_from(("a", "b", "ç", 'd"', "e\\", "")), max_size=4),
    },
)
RECORDS = st.lists(
    st.builds(
        Record,
        st.sampled_from("pqrs"),
        VALUES,
        st.sampled_from(("crm", "web", "shop")),
        st.sampled_from(("acct_1", "acct_2")),
        st.integers(1, 4),
        st.sampled_from((True, True, True, False)),
    ),
    min_size=1,
    max_size=12,
)
_examples = itertools.count()


@pytest.fixture(params=ENGINES, scope="module")
def everyone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Customers, int]]:
    """A model of every type that lives as long as all examples, and how many are tried on it."""
    opened = warehouses.open_url(fleet.url(request.param, tmp_path_factory.mktemp(request.param), 2))
    yield Customers(opened, EVERY), {"postgres": 24}.get(request.param, 8)
    opened.close()


def test_a_merge_is_what_plain_python_makes_of_the_records(everyone: tuple[Customers, int]) -> None:
    customers, examples = everyone

    @hypothesis.settings(max_examples=examples, deadline=None)
    @hypothesis.given(RECORDS, RECORDS)
    def holds(before: list[Record], after: list[Record]) -> None:
        example = next(_examples)
        state: dict[str, Record] = {}
        stored: dict[str, dict[str, Any]] = {}
        for day, records in enumerate((before, after)):
            written = {
                f"{example}/{n}": dataclasses.replace(each, profile_id=f"{example}{each.profile_id}")
                for n, each in enumerate(records)
            }
            customers.touch(state[key].profile_id for key in written if key in state)
            state |= written
            customers.write(written)
            customers.merge(day)
            expected = customers.expected(state)
            ids = {each.profile_id for each in state.values()}
            found = customers.profiles(ids)
            live = {each: row for each, row in found.items() if row["_deleted_at"] is None}
            assert {
                each: {name: row[name] for name in expected[each]} for each, row in live.items()
            } == expected
            for each, row in live.items():
                was = stored.get(each)
                same = (
                    was is not None
                    and was["_deleted_at"] is None
                    and _said(was, customers) == _said(row, customers)
                )
                assert row["updated_at"] == (was["updated_at"] if same and was else START + day * DAY)
            stored = found
        assert customers.merge(5, everything=True) == merging.Merged(0, 0, 0)
        assert customers.profiles(ids) == stored

    holds()


def _said(row: dict[str, Any], customers: Customers) -> list[Any]:
    return [row[name] for name in customers.model.names]
