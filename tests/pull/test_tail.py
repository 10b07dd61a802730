"""Following the events: the overlap, the ledger of those seen, and what cannot be read now and must not be lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import double
import ledger
import msgspec
import pytest
import scripted
from following import follow, gone, ids, one
from pulling import Stripe, pull, query

from tidegate.pull import continuous, events, refresh, relist, report, scope, tail
from tidegate.stripe import attempts
from tidegate.warehouse import duckdb

PRODUCTS = "/v1/products"
FIRST = f"{PRODUCTS}/prod_1"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "w.duckdb"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.02)


def shop(*products: str) -> ledger.Ledger:
    """Some products."""
    made = ledger.Ledger(PRODUCTS)
    for id in products or ("prod_1",):
        made.put(PRODUCTS, id, name="Tea")
    return made


def edit(made: ledger.Ledger, id: str = "prod_1", name: str = "Coffee", **tell: Any) -> None:
    """A change that must be read again."""
    made.tell("product.updated", made.put(PRODUCTS, id, name=name), {}, **{"version": ledger.OLD, **tell})


def state(file: Path, prefix: str = "") -> dict[str, str]:
    warehouse = duckdb.DuckDB(file)
    try:
        return warehouse.state(prefix)
    finally:
        warehouse.close()


# Overlap and ledger


def test_an_event_is_heard_once_however_often_it_is_seen(file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        edit(made)
        for _ in range(4):
            made.later(100)
            follow(Stripe(url), file, "products")
    assert len(made.asked_for(FIRST)) == 1


def test_an_event_is_not_heard_again_after_an_hour_without_a_pull(file: Path) -> None:
    """The next reading begins an overlap before the last one's end, which is long ago."""
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products", "events")
        made.later()
        made.put(PRODUCTS, "prod_1", "product.updated", name="Coffee")
        made.later()
        follow(Stripe(url), file, "products", "events")
        made.later(3_600)
        result = follow(Stripe(url), file, "products", "events")
    assert [each.read for each in result.outcomes] == [0, 0]


@pytest.mark.parametrize("late", [30, tail.OVERLAP - 40])
def test_an_event_that_becomes_visible_within_the_overlap_is_heard(late: int, file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        edit(made, late=late)
        made.later()
        follow(Stripe(url), file, "products")
        assert one(file, "products", "prod_1")["name"] == "Tea"
        while made.now < ledger.NOW + late + 60:
            made.later(45)
            follow(Stripe(url), file, "products")
    assert one(file, "products", "prod_1")["name"] == "Coffee"
    assert len(made.asked_for(FIRST)) == 1


# The last seconds


def test_a_pull_sees_what_changed_a_moment_ago(file: Path) -> None:
    """A created, a changed and a deleted row, none of them older than the second in which the pull begins."""
    made = shop("prod_1", "prod_2")
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        made.put(PRODUCTS, "prod_1", "product.updated", name="Coffee")
        made.remove(PRODUCTS, "prod_2", "product.deleted")
        made.put(PRODUCTS, "prod_3", "product.created", name="Cocoa")
        follow(Stripe(url), file, "products")
    assert one(file, "products", "prod_1")["name"] == "Coffee"
    assert (ids(file, "products"), gone(file, "products")) == (["prod_1", "prod_3"], ["prod_2"])


def test_what_changed_a_moment_ago_and_must_be_read_is_read_again_once_it_is_settled(file: Path) -> None:
    """Stripe may still answer with the old one."""
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        edit(made)
        made.instead[FIRST] = {**made.objects[PRODUCTS]["prod_1"], "name": "Tea"}
        follow(Stripe(url), file, "products")
        assert one(file, "products", "prod_1")["name"] == "Tea"
        del made.instead[FIRST]
        made.later()
        follow(Stripe(url), file, "products")
    assert one(file, "products", "prod_1")["name"] == "Coffee"
    assert len(made.asked_for(FIRST)) == 2


def test_a_second_that_goes_on_after_it_was_heard_is_not_taken_for_complete(file: Path) -> None:
    """Two events of one second, the later one made after a pull that heard the first."""
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        made.put(PRODUCTS, "prod_1", "product.updated", name="Coffee")
        follow(Stripe(url), file, "products")
        made.put(PRODUCTS, "prod_1", "product.updated", name="Cocoa")
        made.later()
        follow(Stripe(url), file, "products")
    assert one(file, "products", "prod_1")["name"] == "Cocoa"


def test_the_place_stays_before_the_last_seconds(file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        made.put(PRODUCTS, "prod_1", "product.updated", name="Coffee")
        follow(Stripe(url), file, "products")
        assert int(state(file)["tail/acct_1"]) <= made.now - events.LAG
        made.requests.clear()
        made.later()
        result = follow(Stripe(url), file, "products")
    assert (made.asked_for(FIRST), [each.read for each in result.outcomes]) == ([], [0])


# The place


def test_every_reading_begins_an_overlap_before_the_place_that_was_noted(file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        place = int(state(file)["tail/acct_1"])
        made.later(5_000)
        made.requests.clear()
        follow(Stripe(url), file, "products")
    assert made.requests[0] == f"/v1/events?limit=100&created[gte]={place - tail.OVERLAP}"
    assert int(state(file)["tail/acct_1"]) > place + 4_900


def test_the_ledger_keeps_the_ids_of_the_overlap_by_the_minute_and_forgets_the_rest(file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        edit(made)
        minute = made.now // 60
        made.later()
        follow(Stripe(url), file, "products")
        assert state(file, "seen/") == {f"seen/acct_1/{minute}": made.events[0]["id"]}
        made.later(tail.OVERLAP * 2)
        edit(made, name="Cocoa")
        made.later()
        follow(Stripe(url), file, "products")
    assert list(state(file, "seen/")) == [f"seen/acct_1/{(made.now - 10) // 60}"]


def test_events_from_before_a_stream_was_read_are_old_news(file: Path) -> None:
    """Its list told the state after all of them."""
    made = shop()
    edit(made, at=ledger.NOW - 100)
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        follow(Stripe(url), file, "products")
    assert made.asked_for(FIRST) == []


def test_events_are_a_table_of_their_own_each_once(file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products", "events")
        for n in range(5):
            made.later(30)
            made.put(PRODUCTS, "prod_1", "product.updated", name=f"Tea {n}")
            follow(Stripe(url), file, "products", "events")
        made.later()
        follow(Stripe(url), file, "products", "events")
    assert ids(file, "events") == sorted(each["id"] for each in made.events)
    assert query(file, "select count(*) as n from stripe.events") == [{"n": 5}]


def test_place_is_none_when_it_was_never_noted_or_is_no_number() -> None:
    assert tail.place({"tail/acct_1": "17"}, "acct_1") == 17
    assert tail.place({}, "acct_1") is None
    assert tail.place({"tail/acct_1": "x"}, "acct_1") is None
    assert tail.place({"tail/acct_2": "17"}, "acct_1") is None


# What cannot be read


def test_a_poisoned_object_stalls_itself_only(file: Path) -> None:
    made = shop("prod_1", "prod_2")
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        place = int(state(file)["tail/acct_1"])
        made.later()
        edit(made, "prod_1")
        edit(made, "prod_2")
        made.instead[FIRST] = scripted.BROKEN
        made.later()
        result = pull(Stripe(url), file, "products")
    (outcome,) = result.outcomes
    assert (outcome.status, result.exit_code) == ("partial", 3)
    assert "cannot be read and is tried again in the next pull" in outcome.error
    assert one(file, "products", "prod_2")["name"] == "Coffee"
    assert int(state(file)["tail/acct_1"]) > place
    assert list(state(file, "dirty/")) == ["dirty/acct_1/products/prod_1"]


def test_it_is_tried_again_in_every_pull_until_it_can_be_read(file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        edit(made)
        made.instead[FIRST] = scripted.BROKEN
        for attempts in (1, 2, 3):
            made.later(tail.OVERLAP)
            assert pull(Stripe(url), file, "products").exit_code != 0
            (kept,) = refresh.saved(state(file), "acct_1")
            assert kept.attempts == attempts
            assert "status 500" in kept.reason
        made.instead.clear()
        made.later(tail.OVERLAP)
        follow(Stripe(url), file, "products")
    assert one(file, "products", "prod_1")["name"] == "Coffee"
    assert state(file, "dirty/") == {}


def test_one_that_turns_out_to_be_deleted_is_gone_and_no_longer_dirty(file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        edit(made)
        made.instead[FIRST] = scripted.BROKEN
        made.later()
        pull(Stripe(url), file, "products")
        made.instead.clear()
        made.remove(PRODUCTS, "prod_1")
        made.later(tail.OVERLAP * 2)
        follow(Stripe(url), file, "products")
    assert gone(file, "products") == ["prod_1"]
    assert state(file, "dirty/") == {}


def test_a_newer_payload_does_not_wait_for_what_could_not_be_read(file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        edit(made)
        made.instead[FIRST] = scripted.BROKEN
        made.later()
        pull(Stripe(url), file, "products")
        edit(made, name="Cocoa", version=ledger.VERSION)
        made.later()
        pull(Stripe(url), file, "products")
    assert one(file, "products", "prod_1")["name"] == "Cocoa"


def test_of_too_many_the_whole_list_is_read_instead(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "TOO_MANY", 3)
    names = [f"prod_{n}" for n in range(5)]
    made = shop(*names)
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        for id in names:
            edit(made, id)
            made.instead[f"{PRODUCTS}/{id}"] = scripted.BROKEN
        made.later()
        made.requests.clear()
        pull(Stripe(url), file, "products")
        assert len(made.asked_for(PRODUCTS)) == 1
        made.later(tail.OVERLAP * 2)
        follow(Stripe(url), file, "products")
    assert {one(file, "products", id)["name"] for id in names} == {"Coffee"}
    assert state(file, "dirty/") == state(file, "relist/") == {}


def test_of_too_many_parents_that_are_not_kept_themselves_the_list_is_read_for_their_children(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "TOO_MANY", 1)
    invoices, made = "/v1/invoices", ledger.Ledger("/v1/invoices")

    def lines(id: str, *names: str) -> dict[str, Any]:
        data = [{"id": name, "object": "line_item", "invoice": id} for name in names]
        return {"lines": {"object": "list", "data": data, "has_more": False, "url": f"{invoices}/{id}/lines"}}

    for id in ("in_1", "in_2"):
        made.put(invoices, id, **lines(id, f"{id}_a", f"{id}_b"))
    with double.serving(made) as url:
        follow(Stripe(url), file, "invoice_line_items")
        made.later()
        for id in ("in_1", "in_2"):
            changed = made.put(invoices, id, **lines(id, f"{id}_a"))
            made.tell("invoice.updated", changed, {"lines": {}}, version=ledger.OLD)
            made.instead[f"{invoices}/{id}"] = made.instead[invoices] = scripted.BROKEN
        for status in ("partial", "failed"):  # they are too many only once all are noted
            made.later()
            assert pull(Stripe(url), file, "invoice_line_items").status == status
        made.instead.clear()
        made.later()
        follow(Stripe(url), file, "invoice_line_items")
    assert ids(file, "invoice_line_items") == ["in_1_a", "in_2_a"]
    assert state(file, "dirty/") == state(file, "relist/") == {}


def test_those_who_watch_leave_it_alone_until_its_time_has_come(file: Path) -> None:
    """Many cycles, two attempts: at once, and none before five seconds have passed."""
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        edit(made)
        made.instead[FIRST] = (400, scripted.refusal("No.", "parameter_invalid"))
        made.later()
        made.requests.clear()
        watch(Stripe(url), file, cycles=6)
    assert len(made.asked_for("/v1/events")) >= 6
    assert len(made.asked_for(FIRST)) == 1


def watch(stripe: Stripe, file: Path, cycles: int) -> None:
    """So many cycles of a watch."""

    async def go() -> None:
        warehouse, done, left = duckdb.DuckDB(file), asyncio.Event(), cycles

        def told(_: report.Result) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        options = scope.Options(streams=("products",))
        watching = asyncio.create_task(
            continuous.watch(stripe.source(), warehouse, options, report.Silent(), every=0.01, told=told)
        )
        async with asyncio.timeout(60):
            await done.wait()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        warehouse.close()

    asyncio.run(go())


def test_an_object_that_the_key_may_not_read_makes_its_stream_wait_for_the_permission(file: Path) -> None:
    made = shop()
    forbidden = (403, scripted.refusal("The key needs 'rak_product_read' on account 'acct_1'."))
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        edit(made)
        made.instead = {FIRST: forbidden, PRODUCTS: forbidden}
        made.later()
        pull(Stripe(url), file, "products")
    entry = relist.entries(state(file)["relist/acct_1"])["products"]
    assert (entry.reason, entry.whole) == (relist.DENIED, True)
    assert state(file, "dirty/") == {}


# Killed in between


def test_rows_place_ledger_and_what_failed_are_committed_together(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that fails leaves the place where it was, and the next pull hears the same events."""
    made = shop("prod_1", "prod_2")
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        before = state(file)
        made.later()
        edit(made, "prod_1", version=ledger.VERSION)
        edit(made, "prod_2")
        made.later()
        with monkeypatch.context() as broken:
            broken.setattr(duckdb.DuckDB, "load", refuse)
            with pytest.raises(RuntimeError, match="pulled the plug"):
                pull(Stripe(url), file, "products")
        assert state(file, "tail/") == {"tail/acct_1": before["tail/acct_1"]}
        assert {row["name"] for row in query(file, "select name from stripe.products")} == {"Tea"}
        follow(Stripe(url), file, "products")
    assert {row["name"] for row in query(file, "select name from stripe.products")} == {"Coffee"}


def refuse(*_: object, **__: object) -> None:
    raise RuntimeError("Somebody pulled the plug.")


def test_the_same_cycle_once_more_changes_nothing(file: Path) -> None:
    """As after a kill behind the commit of rows, with the place and the ledger of before."""
    made = shop("prod_1", "prod_2", "prod_3")
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        before = state(file)
        made.later()
        edit(made, "prod_1", version=ledger.VERSION)
        edit(made, "prod_2")
        made.remove(PRODUCTS, "prod_3", "product.deleted")
        made.put(PRODUCTS, "prod_4", "product.created", name="Cake")
        made.later()
        follow(Stripe(url), file, "products")
        shown = "select * exclude (_synced_at, _version) from stripe.products order by id"
        after = query(file, shown)
        warehouse = duckdb.DuckDB(file)
        warehouse.load([], {**dict.fromkeys(warehouse.state("seen/")), "tail/acct_1": before["tail/acct_1"]})
        warehouse.close()
        follow(Stripe(url), file, "products")
    assert query(file, shown) == after
    assert [row["id"] for row in after] == ["prod_1", "prod_2", "prod_3", "prod_4"]


def test_damaged_state_is_no_reason_to_stop(file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        warehouse = duckdb.DuckDB(file)
        damaged = {
            "relist/acct_1": "{",
            "dirty/acct_1/products/prod_9": "?",
            "shut/acct_1": "[",
            "turns/acct_1": "7",
        }
        warehouse.load([], damaged)
        warehouse.close()
        made.later()
        edit(made, version=ledger.VERSION)
        made.later()
        follow(Stripe(url), file, "products")
    assert one(file, "products", "prod_1")["name"] == "Coffee"
    assert msgspec.json.decode(state(file)["shape/acct_1"])
