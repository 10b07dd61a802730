"""What a run of a push wrote, taken back: once, where nobody changed it since, and not written again at once."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pushed_people as people
import pytest
import undone_people
from following import Merchant
from undone_people import undo

from tidegate import errors, sandbox
from tidegate.engine import pushes, undoing
from tidegate.store import database, decisions, holds, ledger, links, operations, records

ARCHIVED = (
    "{model: people, to: acme, object: product, match: {metadata.ref: email}, "
    "fields: {name: name, metadata.plan: plan}}"
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with sandbox.process(objects=30) as served:
        yield served


@pytest.fixture
def shop(url: str) -> Merchant:
    return Merchant(url)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[database.Database]:
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as opened:
        yield opened


NUMBERS = iter(range(1_000, 1_000_000, 100))


def some(count: int) -> list[dict[str, str]]:
    """So many people whom no other test has."""
    first = next(NUMBERS)
    return [people.person(first + n) for n in range(count)]


def found(shop: Merchant, person: dict[str, str], stream: str = "customers") -> dict[str, Any]:
    """The object of a person."""
    [one] = [
        line["object"]
        for line in shop.truth(stream)
        if person["email"] in (line["object"].get("email"), line["object"]["metadata"].get("ref"))
        and not line["object"].get("deleted")
    ]
    return dict(one)


def counted(result: undoing.Result) -> dict[str, int]:
    """The counters that are not zero."""
    told = {name: value for name, value in result.document().items() if isinstance(value, int) and value}
    told.pop("requests", None)
    return told


def pushed(folder: Path, rows: list[dict[str, str]], **wish: Any) -> pushes.Result:
    """The rows of the model, pushed."""
    people.rows(folder, rows)
    return people.push(folder, **wish)


def changed(shop: Merchant, folder: Path, rows: list[dict[str, str]], **fields: str) -> str:
    """These rows, pushed, and once more with other fields; the run that wrote those."""
    people.write(folder, shop.url, rows)
    people.push(folder)
    shop.later()
    result = pushed(folder, [{**each, **fields} for each in rows])
    assert result.counts.updated == len(rows)
    shop.later()
    return result.made.run


def test_fields_are_as_they_were_before(shop: Merchant, tmp_path: Path) -> None:
    rows = some(3)
    run = changed(shop, tmp_path, rows, name="Somebody", plan="free")
    assert found(shop, rows[0])["name"] == "Somebody"
    assert counted(undo(tmp_path, run)) == {"rows": 3, "restored": 3}
    for each in rows:
        there = found(shop, each)
        assert (there["name"], there["metadata"]["plan"]) == (each["name"], "pro")


def test_what_was_empty_is_empty_again(shop: Merchant, tmp_path: Path) -> None:
    [person] = some(1)
    made = shop.make("/v1/customers", email=person["email"], name="Before", metadata={"own": "theirs"})
    shop.later()
    people.write(tmp_path, shop.url, [person])
    run = people.push(tmp_path).made.run
    shop.later()
    assert counted(undo(tmp_path, run)) == {"rows": 1, "restored": 1}
    there = found(shop, person)
    assert (there["id"], there["name"], there["metadata"]) == (made["id"], "Before", {"own": "theirs"})


def test_an_undo_just_after_the_push_needs_no_event_to_come_first(shop: Merchant, tmp_path: Path) -> None:
    rows = some(2)
    people.write(tmp_path, shop.url, rows)
    people.push(tmp_path)
    run = pushed(tmp_path, [{**each, "name": "New"} for each in rows]).made.run
    assert counted(undo(tmp_path, run)) == {"rows": 2, "restored": 2}
    assert found(shop, rows[1])["name"] == rows[1]["name"]


def test_the_next_run_does_not_write_it_again(
    shop: Merchant, tmp_path: Path, store: database.Database
) -> None:
    rows = some(2)
    run = changed(shop, tmp_path, rows, name="Somebody")
    undo(tmp_path, run)
    shop.later()
    shop.counted()
    for _ in range(2):
        again = people.push(tmp_path)
        assert (again.counts.unchanged, again.counts.updated, again.counts.quarantined) == (0, 0, 2)
    assert not [name for name in shop.counted() if name.startswith("POST")]
    hold = holds.find(store, people.NAME, rows[0]["id"])
    assert hold is not None
    assert (hold.kind, hold.state) == ("undone", "held")


def test_a_row_that_changes_is_written_again(
    shop: Merchant, tmp_path: Path, store: database.Database
) -> None:
    rows = some(2)
    run = changed(shop, tmp_path, rows, name="Wrong")
    undo(tmp_path, run)
    shop.later()
    again = pushed(tmp_path, [{**rows[0], "name": "Right"}, {**rows[1], "name": "Wrong"}])
    assert (again.counts.updated, again.counts.quarantined) == (1, 1)
    assert [found(shop, each)["name"] for each in rows] == ["Right", rows[1]["name"]]
    assert holds.find(store, people.NAME, rows[0]["id"]) is None


def test_a_person_who_says_retry_has_it_written_again(
    shop: Merchant, tmp_path: Path, store: database.Database
) -> None:
    rows = some(1)
    run = changed(shop, tmp_path, rows, name="Somebody")
    undo(tmp_path, run)
    shop.later()
    decisions.retry(store, people.NAME, rows[0]["id"])
    assert people.push(tmp_path).counts.updated == 1
    assert found(shop, rows[0])["name"] == "Somebody"
    shop.later()
    assert people.push(tmp_path).counts.unchanged == 1
    assert holds.find(store, people.NAME, rows[0]["id"]) is None


def test_what_somebody_changed_since_stays(shop: Merchant, tmp_path: Path) -> None:
    rows = some(3)
    run = changed(shop, tmp_path, rows, name="Somebody", plan="free")
    shop.make(f"/v1/customers/{found(shop, rows[1])['id']}", name="Theirs")
    shop.later()
    told: list[str] = []

    def seen(_: object, listed: pushes.Rows) -> bool:
        told.extend(each.text for each in listed("held"))
        return True

    assert counted(undo(tmp_path, run, seen=seen)) == {"rows": 3, "restored": 2, "held": 1}
    assert told == ["Changed since: name; it stays as it is."]
    there = found(shop, rows[1])
    assert (there["name"], there["metadata"]["plan"]) == ("Theirs", "free")


def test_what_changes_between_the_plan_and_its_doing_stays_too(shop: Merchant, tmp_path: Path) -> None:
    rows = some(1)
    run = changed(shop, tmp_path, rows, name="Somebody")

    def seen(*_: object) -> bool:
        shop.make(f"/v1/customers/{found(shop, rows[0])['id']}", name="Theirs")
        return True

    result = undo(tmp_path, run, seen=seen)
    assert (result.status, counted(result)) == ("failed", {"rows": 1, "held": 1})
    assert found(shop, rows[0])["name"] == "Theirs"


def test_an_undo_is_undone_by_its_own_run(shop: Merchant, tmp_path: Path, store: database.Database) -> None:
    rows = some(2)
    run = changed(shop, tmp_path, rows, name="Somebody")
    back = undo(tmp_path, run).made.run
    shop.later()
    assert counted(undo(tmp_path, back)) == {"rows": 2, "restored": 2}
    assert [found(shop, each)["name"] for each in rows] == ["Somebody"] * 2
    assert holds.find(store, people.NAME, rows[0]["id"]) is None
    shop.later()
    again = people.push(tmp_path)
    assert (again.counts.unchanged, again.requests) == (2, 0)


def test_undone_twice_nothing_is_left_to_do(shop: Merchant, tmp_path: Path) -> None:
    rows = some(2)
    run = changed(shop, tmp_path, rows, name="Somebody")
    undo(tmp_path, run)
    shop.later()
    assert counted(undo(tmp_path, run)) == {"rows": 2, "equal": 2}


def test_one_row_of_a_run(shop: Merchant, tmp_path: Path) -> None:
    rows = some(3)
    run = changed(shop, tmp_path, rows, name="Somebody")
    assert counted(undo(tmp_path, run, rows[1]["id"])) == {"rows": 1, "restored": 1}
    assert [found(shop, each)["name"] == "Somebody" for each in rows] == [True, False, True]


def test_a_row_alone_is_taken_back_one_write_at_a_time(shop: Merchant, tmp_path: Path) -> None:
    [person] = some(1)
    changed(shop, tmp_path, [person], name="Second")
    pushed(tmp_path, [{**person, "name": "Third"}])
    shop.later()
    assert counted(undo(tmp_path, None, person["id"])) == {"rows": 1, "restored": 1}
    assert found(shop, person)["name"] == "Second"


def test_an_older_run_waits_for_the_newer_to_be_undone_first(shop: Merchant, tmp_path: Path) -> None:
    [person] = some(1)
    second = changed(shop, tmp_path, [person], name="Second")
    third = pushed(tmp_path, [{**person, "name": "Third"}]).made.run
    shop.later()
    assert counted(undo(tmp_path, second)) == {"rows": 1, "held": 1}
    assert counted(undo(tmp_path, third)) == {"rows": 1, "restored": 1}
    shop.later()
    assert counted(undo(tmp_path, second)) == {"rows": 1, "restored": 1}
    assert found(shop, person)["name"] == person["name"]


def test_what_was_created_stays_unless_somebody_says_otherwise(shop: Merchant, tmp_path: Path) -> None:
    rows = some(2)
    people.write(tmp_path, shop.url, rows)
    run = people.push(tmp_path).made.run
    shop.later()
    assert counted(undo(tmp_path, run)) == {"rows": 2, "left": 2}
    assert counted(undo(tmp_path, run, created="archive")) == {"rows": 2, "impossible": 2}
    waits = undo(tmp_path, run, created="delete")
    assert (waits.status, "would be deleted" in waits.made.guards[0]) == ("held", True)
    assert found(shop, rows[0])["name"] == rows[0]["name"]


def test_what_was_created_is_deleted_by_choice_and_not_made_again_at_once(
    shop: Merchant, tmp_path: Path, store: database.Database
) -> None:
    rows = some(2)
    people.write(tmp_path, shop.url, rows)
    run = people.push(tmp_path).made.run
    shop.later()
    shop.make(f"/v1/customers/{found(shop, rows[1])['id']}", name="Theirs")
    gone = undo(tmp_path, run, created="delete", approve=True)
    assert counted(gone) == {"rows": 2, "removed": 1, "held": 1}
    with pytest.raises(ValueError, match="not enough values"):
        found(shop, rows[0])
    shop.later()
    assert people.push(tmp_path).counts.quarantined == 1
    assert links.find(store, people.NAME, [rows[0]["id"]])[rows[0]["id"]].gone == "deleted"
    decisions.retry(store, people.NAME, rows[0]["id"])
    assert people.push(tmp_path).counts.created == 1
    assert found(shop, rows[0])["name"] == rows[0]["name"]


def test_what_was_created_is_archived_by_choice(shop: Merchant, tmp_path: Path) -> None:
    rows = some(2)
    people.write(tmp_path, shop.url, rows, ARCHIVED)
    run = people.push(tmp_path).made.run
    shop.later()
    gone = undo(tmp_path, run, created="archive")
    assert counted(gone) == {"rows": 2, "removed": 2}
    assert found(shop, rows[0], "products")["active"] is False
    shop.later()
    assert counted(undo(tmp_path, gone.made.run)) == {"rows": 2, "restored": 2}
    assert found(shop, rows[0], "products")["active"] is True


def test_a_replaced_price_is_replaced_once_more_by_one_with_the_old_values(
    shop: Merchant, tmp_path: Path
) -> None:
    [person] = some(1)
    product = shop.make("/v1/products", name="Seat")["id"]
    shop.later()
    push = (
        "{model: people, to: acme, object: price, match: {lookup_key: email}, on_immutable: replace, "
        f"fields: {{product: {{value: {product}}}, unit_amount: plan, currency: {{value: usd}}, nickname: name}}}}"
    )
    people.write(tmp_path, shop.url, [{**person, "plan": "500"}], push)
    assert people.push(tmp_path).counts.created == 1
    shop.later()
    replaced = pushed(tmp_path, [{**person, "plan": "900"}])
    assert replaced.counts.updated == 1
    shop.later()
    assert counted(undo(tmp_path, replaced.made.run)) == {"rows": 1, "restored": 1}
    prices = [
        (each["unit_amount"], each["active"], each["lookup_key"])
        for line in shop.truth("prices")
        if (each := line["object"])["product"] == product
    ]
    assert sorted(prices) == [(500, False, None), (500, True, person["email"]), (900, False, None)]
    shop.later()
    assert people.push(tmp_path).counts.quarantined == 1


def test_what_may_have_been_billed_is_not_undone(shop: Merchant, tmp_path: Path) -> None:
    [person] = some(1)
    customer = shop.make("/v1/customers", email=person["email"])["id"]
    shop.later()
    people.write(
        tmp_path,
        shop.url,
        [{**person, "name": customer}],
        "{model: people, to: acme, object: invoice_item, match: {metadata.ref: email}, "
        "fields: {customer: name, amount: {value: 500}, currency: {value: usd}}}",
    )
    first = people.push(tmp_path)
    assert first.counts.created == 1
    shop.later()
    told: list[str] = []

    def seen(_: object, listed: pushes.Rows) -> bool:
        told.extend(each.text for each in listed("unmatched"))
        return True

    assert counted(undo(tmp_path, first.made.run, created="delete", seen=seen)) == {
        "rows": 1,
        "impossible": 1,
    }
    assert "may have been billed" in told[0]


def test_rows_that_are_gone_get_their_objects_back_as_they_were(shop: Merchant, tmp_path: Path) -> None:
    rows = some(2)
    people.write(tmp_path, shop.url, rows, people.USUAL[:-1] + ", on_missing: clear}")
    people.push(tmp_path)
    shop.later()
    gone = pushed(tmp_path, rows[:1], approve=True)
    assert (gone.counts.removed, found(shop, rows[1])["name"]) == (1, None)
    shop.later()
    assert counted(undo(tmp_path, gone.made.run)) == {"rows": 1, "restored": 1}
    assert found(shop, rows[1])["name"] == rows[1]["name"]
    shop.later()
    assert people.push(tmp_path, approve=True).counts.removed == 0


def test_what_was_deleted_cannot_be_brought_back(shop: Merchant, tmp_path: Path) -> None:
    rows = some(2)
    people.write(tmp_path, shop.url, rows, people.USUAL[:-1] + ", on_missing: delete}")
    people.push(tmp_path)
    shop.later()
    gone = pushed(tmp_path, rows[:1], approve=True)
    assert gone.counts.removed == 1
    assert counted(undo(tmp_path, gone.made.run)) == {"rows": 1, "impossible": 1}


def test_an_object_that_somebody_deleted_is_not_written(shop: Merchant, tmp_path: Path) -> None:
    rows = some(1)
    run = changed(shop, tmp_path, rows, name="Somebody")
    shop.delete(f"/v1/customers/{found(shop, rows[0])['id']}")
    assert counted(undo(tmp_path, run)) == {"rows": 1, "held": 1}


def test_nothing_is_written_by_a_look(shop: Merchant, tmp_path: Path, store: database.Database) -> None:
    rows = some(1)
    run = changed(shop, tmp_path, rows, name="Somebody")
    result = undo(tmp_path, run, write=False)
    assert (result.status, result.made.counts.updated) == ("ok", 1)
    assert found(shop, rows[0])["name"] == "Somebody"
    assert len(operations.listed(store, push=people.NAME, limit=None)) == 2


def test_a_few_at_a_time(shop: Merchant, tmp_path: Path) -> None:
    rows = some(3)
    run = changed(shop, tmp_path, rows, name="Somebody")
    assert counted(undo(tmp_path, run, limit=1)) == {"rows": 3, "restored": 1, "left": 2}
    shop.later()
    assert counted(undo(tmp_path, run)) == {"rows": 3, "restored": 2, "equal": 1}


def test_what_stripe_would_not_delete_has_failed_whatever_the_limit(shop: Merchant, tmp_path: Path) -> None:
    people.write(tmp_path, shop.url, some(3))
    run = people.push(tmp_path).made.run
    shop.later()
    shop.faults({"kind": "lock", "method": "DELETE"})
    refused = undo(tmp_path, run, created="delete", approve=True, limit=2)
    shop.faults()
    assert (refused.status, counted(refused)) == ("failed", {"rows": 3, "failed": 2, "left": 1})


def test_a_run_that_wrote_nothing_is_said(shop: Merchant, tmp_path: Path) -> None:
    changed(shop, tmp_path, some(1), name="Somebody")
    with pytest.raises(errors.ConfigError, match="nothing of run_none was done by people"):
        undo(tmp_path, "run_none")


def test_its_record_tells_of_it(shop: Merchant, tmp_path: Path, store: database.Database) -> None:
    rows = some(1)
    run = changed(shop, tmp_path, rows, name="Somebody")
    undo(tmp_path, run)
    told = [(each.what, each.text) for each in records.timeline(store, people.NAME, rows[0]["id"])]
    assert ("planned", "undo customer") in told
    assert told[-1][0] == "held"
    assert "undid" in told[-1][1]
    assert [each.actions for each in records.runs(store, people.NAME)] == [
        {"undo": 1},
        {"update": 1},
        {"create": 1},
    ]


def killed(folder: Path, run: str, name: str) -> None:
    """Undo a run in a process that kills itself at a step."""
    words = [sys.executable, undone_people.__file__, str(folder), run, name]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("step", ["intent committed", "before the socket write", "answered", "acknowledged"])
def test_killed_anywhere_it_is_taken_back_once_and_held(
    shop: Merchant, tmp_path: Path, store: database.Database, step: str
) -> None:
    rows = some(3)
    run = changed(shop, tmp_path, rows, name="Somebody", plan="free")
    shop.control("writes/reset", {})
    killed(tmp_path, run, step)
    store.execute("UPDATE fences SET until = 0")  # nobody waits for the time of a dead process
    names = ("created_at", "first_sent_at", "last_sent_at")
    store.execute(f"UPDATE operations SET {', '.join(f'{name} = {name} - 600' for name in names)}")
    shop.later(700)
    undo(tmp_path, run)
    for each in rows:
        there = found(shop, each)
        assert (there["name"], there["metadata"]["plan"]) == (each["name"], "pro")
        hold = holds.find(store, people.NAME, each["id"])
        assert hold is not None
        assert hold.kind == "undone"
    assert operations.undecided(store, people.NAME) == []
    shop.later()
    assert people.push(tmp_path).counts.quarantined == 3
    assert [found(shop, each)["name"] for each in rows] == [each["name"] for each in rows]


def test_the_ledger_holds_a_row_in_the_very_transaction_that_ends_its_undo(
    shop: Merchant, tmp_path: Path, store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = some(1)
    run = changed(shop, tmp_path, rows, name="Somebody")
    kinds: list[object] = []
    acknowledge = ledger.acknowledge

    def noted(*words: Any) -> list[str]:
        shared = acknowledge(*words)
        hold = holds.find(store, people.NAME, rows[0]["id"])
        kinds.append(hold.kind if hold is not None else None)
        return shared

    monkeypatch.setattr(ledger, "acknowledge", noted)
    undo(tmp_path, run)
    assert kinds == ["undone"]
