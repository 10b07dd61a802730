"""A mirror that is behind our own writes is not believed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import both_ways
import planning
import pushed_people as people
import pushing
import pytest
from following import Merchant

from tidegate import sandbox
from tidegate.catalog import writes
from tidegate.push import recent
from tidegate.store import database, ledger, operations, rounds

PLACE = (pushing.ACCOUNT, True, "customer")


def written(body: str, after: Mapping[str, Any]) -> rounds.Write:
    return rounds.Write("accounts", "1", "cus_1", body, {}, after, 1, 0.0)


@pytest.mark.parametrize(
    ("body", "after", "live", "behind"),
    [
        ("name=Ada", {"name": "Ada"}, {"name": "Ada"}, False),
        ("name=Ada", {"name": "Ada"}, {"name": "Bea"}, True),
        ("name=ada", {"name": "Ada"}, {"name": "Ada"}, False),  # as Stripe spelt it
        ("name=", {"name": None}, {"name": None}, False),
        ("name=", {"name": None}, {"name": "Ada"}, True),
        ("metadata[plan]=", {"metadata": {}}, {"metadata": {}}, False),
        ("metadata[plan]=", {"metadata": {}}, {"metadata": {"plan": "pro"}}, True),
        ("metadata[plan]=pro", {"metadata": {"plan": "pro"}}, {"metadata": {"x": "1"}}, True),
        ("proration_behavior=none", {}, {"name": "Ada"}, False),
        ("address[city]=Rome", {"address": {"city": "Rome"}}, {"address": None}, True),
        ("preferred_locales[0]=de", {"preferred_locales": ["de"]}, {"preferred_locales": ["de"]}, False),
        ("name=Ada", {"name": "Ada"}, None, True),
    ],
)
def test_an_object_is_behind_that_does_not_show_what_was_written(
    body: str, after: Mapping[str, Any], live: Mapping[str, Any] | None, behind: bool
) -> None:
    assert recent.is_behind(written(body, after), live) is behind


@pytest.fixture
def store(tmp_path: Path) -> Iterator[database.Database]:
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/ledger.db")) as found:
        yield found


def test_only_what_is_behind_is_asked_for(store: database.Database) -> None:
    fence, asked = pushing.fence(store), list[str]()
    for id, name in (("cus_1", "Ada"), ("cus_2", "Bea"), ("cus_3", "Cleo")):
        intent = pushing.update(id, id, body=f"name={name}")
        pushing.begin(store, fence, intent)
        ledger.sending(store, fence, intent.id)
        ledger.acknowledge(store, fence, [operations.Done(intent.id, id, after={"name": name})])

    def ask(ids: Sequence[str]) -> Mapping[str, Any]:
        asked.extend(ids)
        return {"cus_2": planning.customer("cus_2", name="Bea")}

    there = [
        planning.customer(id, name=name)
        for id, name in (("cus_1", "Ada"), ("cus_2", "old"), ("cus_4", "Eve"))
    ]
    mirror = planning.Objects(writes.load()["customer"], there)
    fresh = recent.Fresh(mirror, store, PLACE, ask)
    found = fresh.objects(["cus_1", "cus_2", "cus_3", "cus_4"])
    assert {id: each["name"] for id, each in found.items()} == {
        "cus_1": "Ada",
        "cus_2": "Bea",
        "cus_4": "Eve",
    }
    assert sorted(asked) == ["cus_2", "cus_3"]
    assert fresh.objects([]) == {}


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[both_ways.Flow]:
    with sandbox.process(objects=20) as url:
        found = both_ways.Flow(tmp_path, Merchant(url))
        found.shop.control("delays", {"events": 3_600})
        yield found


def test_a_value_that_goes_back_is_written_though_no_event_has_come(flow: both_ways.Flow) -> None:
    [id] = flow.begin(1)
    flow.configure("select id, name from crm.edits", owner="warehouse")
    for name in ("Ada", "Customer 0", "Ada"):
        flow.edit(id, name)
        assert flow.push().counts.updated == 1
        assert flow.names() == {id: name}


def test_our_own_write_is_no_conflict_though_no_event_has_come(flow: both_ways.Flow) -> None:
    [id] = flow.begin(1)
    flow.configure()
    assert flow.push().counts.unchanged == 1
    for name in ("Ada", "Bea", "Cleo"):
        flow.edit(id, name)
        result = flow.push()
        assert (result.status, result.counts.updated, result.counts.held) == ("ok", 1, 0)
    assert flow.names() == {id: "Cleo"}


def test_somebody_elses_edit_after_ours_is_a_conflict(flow: both_ways.Flow) -> None:
    [id] = flow.begin(1)
    flow.configure()
    flow.push()
    flow.edit(id, "Ada")
    flow.push()
    flow.shop.make(f"/v1/customers/{id}", name="Theirs")
    flow.edit(id, "Bea")
    assert flow.push().counts.held == 1
    hold = flow.hold(id)
    assert hold is not None
    assert (hold.kind, flow.names()) == ("conflict", {id: "Theirs"})


def test_an_object_that_was_just_created_is_found_though_no_event_has_come(tmp_path: Path) -> None:
    with sandbox.process(objects=20) as url:
        shop = Merchant(url)
        shop.control("delays", {"events": 3_600})
        people.write(tmp_path, shop.url, [people.person(1)])
        assert people.push(tmp_path).counts.created == 1
        people.rows(tmp_path, [people.person(1, name="Another")])
        assert people.push(tmp_path).counts.updated == 1
