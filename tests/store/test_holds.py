"""Rows that are not written for now: tried again after a while, or left to a person; never for ever unseen."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pushing
import pytest

from tidegate import errors
from tidegate.store import database, decisions, fences, holds, ledger, operations, records


def opening(key: str = "1", **more: Any) -> holds.Opening:
    given: dict[str, Any] = {
        "kind": "refused",
        "text": "Stripe refused email (email_invalid); correct it.",
        "hash": "h1",
        "version": "v1",
        "field": "email",
        "code": "email_invalid",
    }
    return holds.Opening(key, **{**given, **more})


def hold(store: database.Database, key: str = "1") -> holds.Hold:
    found = holds.find(store, "accounts", key)
    assert found is not None
    return found


def states(store: database.Database) -> dict[str, str]:
    return {each.key: each.state for each in holds.listed(store, "accounts")}


def test_what_needs_a_person_is_held_at_once(store: database.Database) -> None:
    fence = pushing.fence(store)
    [found] = holds.open(store, fence, [opening()])
    assert found == hold(store)
    assert (found.state, found.failures, found.next_at) == ("held", 1, None)
    assert (found.kind, found.field, found.code) == ("refused", "email", "email_invalid")
    assert found.opened_at == found.seen_at


def test_what_may_pass_waits_longer_each_time_until_it_is_held(store: database.Database) -> None:
    fence = pushing.fence(store)
    pauses = []
    for failures in (1, 2, 3, 4):
        [found] = holds.open(store, fence, [opening(times=5)])
        assert (found.state, found.failures) == ("waiting", failures)
        assert found.next_at is not None
        pauses.append(round(found.next_at - found.seen_at))
    assert pauses == [60, 120, 240, 480]
    [found] = holds.open(store, fence, [opening(times=5)])
    assert (found.state, found.failures, found.next_at) == ("held", 5, None)
    assert found.opened_at <= found.seen_at


def test_pauses_are_bounded() -> None:
    assert [holds.pause(n) for n in (1, 2, 9, 10, 50, 10**6)] == [60, 120, 15360, 21600, 21600, 21600]


def test_the_same_failure_told_twice_counts_once(store: database.Database) -> None:
    fence = pushing.fence(store)
    failure = opening(times=3)
    first = holds.open(store, fence, [failure])
    assert holds.open(store, fence, [failure]) == first
    assert len(records.timeline(store, "accounts", "1")) == 1


def test_a_plan_that_finds_it_held_as_before_leaves_no_trace(store: database.Database) -> None:
    fence = pushing.fence(store)
    first = holds.open(store, fence, [opening(kind="ambiguous", candidates=("cus_1", "cus_2"))])
    for _ in range(3):
        assert holds.open(store, fence, [opening(kind="ambiguous", candidates=("cus_1", "cus_2"))]) == first
    assert len(records.timeline(store, "accounts", "1")) == 1
    [found] = holds.open(store, fence, [opening(kind="ambiguous", candidates=("cus_1", "cus_3"))])
    assert found.candidates == ("cus_1", "cus_3")
    assert len(records.timeline(store, "accounts", "1")) == 2


def test_another_failure_of_the_row_counts_from_one(store: database.Database) -> None:
    fence = pushing.fence(store)
    holds.open(store, fence, [opening(times=9)])
    holds.open(store, fence, [opening(times=9)])
    for changed in ({"hash": "h2"}, {"hash": "h2", "version": "v2"}, {"hash": "h2", "kind": "conflict"}):
        [found] = holds.open(store, fence, [opening(times=9, **changed)])
        assert found.failures == 1


def test_a_changed_row_or_mapping_is_tried_at_once(store: database.Database) -> None:
    fence = pushing.fence(store)
    holds.open(store, fence, [opening("1"), opening("2"), opening("3"), opening("4", times=9)])
    decisions.skip(store, "accounts", "2")
    now = {"1": ("h2", "v1"), "2": ("h1", "v2"), "3": ("h1", "v1"), "4": ("h2", "v1"), "5": ("h", "v")}
    assert holds.reopen(store, fence, now) == ["1", "2", "4"]
    assert states(store) == {"1": "waiting", "2": "waiting", "3": "held", "4": "waiting"}
    found = hold(store, "1")
    assert (found.hash, found.version, found.failures) == ("h2", "v1", 0)
    assert found.next_at is not None
    assert found.next_at <= store.now()
    assert holds.reopen(store, fence, now) == []


def test_retried_it_is_due_and_its_failures_are_forgotten(store: database.Database) -> None:
    fence = pushing.fence(store)
    for _ in range(3):
        holds.open(store, fence, [opening(times=3)])
    found = decisions.retry(store, "accounts", "1")
    assert (found.state, found.failures) == ("waiting", 0)
    assert found.next_at is not None
    assert found.next_at <= store.now()
    [found] = holds.open(store, fence, [opening(times=3)])
    assert (found.state, found.failures) == ("waiting", 1)


def test_skipped_it_is_left_until_it_changes(store: database.Database) -> None:
    fence = pushing.fence(store)
    holds.open(store, fence, [opening()])
    assert decisions.skip(store, "accounts", "1").state == "skipped"
    [found] = holds.open(store, fence, [opening()])
    assert found.state == "skipped"
    [found] = holds.open(store, fence, [opening(hash="h2")])
    assert found.state == "held"


def test_a_person_chooses_among_the_candidates(store: database.Database) -> None:
    fence = pushing.fence(store)
    several = opening(kind="ambiguous", candidates=("cus_1", "cus_2"))
    holds.open(store, fence, [several])
    assert hold(store).candidates == ("cus_1", "cus_2")
    with pytest.raises(errors.ConfigError, match="cus_3 is none of its candidates; choose cus_1 or cus_2"):
        decisions.choose(store, "accounts", "1", "cus_3")
    found = decisions.choose(store, "accounts", "1", "cus_2")
    assert (found.state, found.choice) == ("chosen", "cus_2")
    assert decisions.choose(store, "accounts", "1", "cus_1").choice == "cus_1"  # thought better of it
    [found] = holds.open(store, fence, [dataclasses.replace(several, id="hold_again")])
    assert (found.state, found.choice) == ("held", "")


def test_without_candidates_any_object_may_be_chosen(store: database.Database) -> None:
    fence = pushing.fence(store)
    holds.open(store, fence, [opening(kind="gone")])
    for choice in ("cus_9", "my-own.id", "create"):
        assert decisions.choose(store, "accounts", "1", choice).choice == choice
    for word in ("warehouse", "replace", "newest", "cus 9", "-"):
        with pytest.raises(errors.ConfigError, match=f"^{word} is no id of an object; choose one such as"):
            decisions.choose(store, "accounts", "1", word)
    assert hold(store).choice == "create"


@pytest.mark.parametrize("choice", ["create", "cus_9", "stripe"])
def test_for_a_row_that_is_to_be_corrected_nothing_can_be_chosen(
    store: database.Database, choice: str
) -> None:
    fence = pushing.fence(store)
    kinds = [kind for kind in get_args(holds.Kind) if kind not in decisions.CHOOSABLE]
    assert {"invalid", "doubled", "refused", "shared", "claimed"} <= set(kinds)
    holds.open(store, fence, [opening(kind, kind=kind) for kind in kinds])
    for kind in kinds:
        with pytest.raises(
            errors.ConfigError, match=f"^{choice} cannot be chosen for a row that is {kind}; c"
        ):
            decisions.choose(store, "accounts", kind, choice)
        assert hold(store, kind).state == "held"


def test_whose_value_counts_is_no_object(store: database.Database) -> None:
    holds.open(store, pushing.fence(store), [opening(kind="conflict", candidates=("warehouse", "stripe"))])
    for choice in ("create", "cus_1", "replace"):
        with pytest.raises(errors.ConfigError, match=f"{choice} is none of its candidates; choose warehouse"):
            decisions.choose(store, "accounts", "1", choice)
    assert decisions.choose(store, "accounts", "1", "stripe").choice == "stripe"


def test_what_is_not_held_cannot_be_decided_on(store: database.Database) -> None:
    pushing.fence(store)
    for decide in (decisions.retry, decisions.skip):
        with pytest.raises(
            errors.ConfigError, match="row of accounts is not held; `tidegate inbox accounts`"
        ):
            decide(store, "accounts", "ada@example.com")
    with pytest.raises(errors.ConfigError) as caught:
        decisions.choose(store, "accounts", "ada@example.com", "cus_1")
    assert "ada" not in str(caught.value)


def test_what_is_written_is_released(store: database.Database) -> None:
    fence = pushing.fence(store)
    holds.open(store, fence, [opening("1"), opening("2")])
    pushing.write(store, fence, pushing.create("1"), "cus_1")
    assert states(store) == {"2": "held"}
    assert [entry.what for entry in records.timeline(store, "accounts", "1")] == [
        "held",
        "planned",
        "sent",
        "done",
        "released",
    ]


def test_a_refusal_and_its_hold_are_one_thing(store: database.Database) -> None:
    fence = pushing.fence(store)
    intent = pushing.create("1")
    pushing.begin(store, fence, intent)
    ledger.sending(store, fence, intent.id)
    refused = operations.Refused(intent.id, "email_invalid", hold=opening(operation=intent.id))
    ledger.refuse(store, fence, [refused])
    ledger.refuse(store, fence, [refused])
    assert pushing.status(store, intent.id) == "refused"
    assert (hold(store).operation, hold(store).failures) == (intent.id, 1)


def test_what_has_nothing_to_be_written_any_more_is_closed(store: database.Database) -> None:
    fence = pushing.fence(store)
    holds.open(store, fence, [opening("1"), opening("2")])
    holds.close(store, fence, ["1", "3"], "the row is gone from its source")
    assert states(store) == {"2": "held"}
    assert records.timeline(store, "accounts", "1")[-1].text == "the row is gone from its source"


def test_who_is_outdated_holds_and_releases_nothing(store: database.Database) -> None:
    old = pushing.fence(store)
    holds.open(store, old, [opening()])
    pushing.fence(store, holder="two")
    with pytest.raises(fences.Outdated):
        holds.open(store, old, [opening("2")])
    with pytest.raises(fences.Outdated):
        holds.close(store, old, ["1"], "")
    with pytest.raises(fences.Outdated):
        holds.reopen(store, old, {"1": ("h2", "v1")})
    assert states(store) == {"1": "held"}


def test_they_are_listed_and_counted(store: database.Database) -> None:
    fence = pushing.fence(store)
    for n in range(5):
        holds.open(store, fence, [opening(f"{n}", kind="ambiguous" if n % 2 else "refused")])
    holds.open(store, pushing.fence(store, "people"), [opening("x")])
    decisions.skip(store, "accounts", "0")
    assert [each.key for each in holds.listed(store)] == ["0", "1", "2", "3", "4", "x"]
    assert [each.key for each in holds.listed(store, "accounts", kinds=["ambiguous"])] == ["1", "3"]
    assert [each.key for each in holds.listed(store, kinds=["refused"], states=["held"])] == ["2", "4", "x"]
    page = holds.listed(store, "accounts", limit=2)
    assert [each.key for each in page] == ["0", "1"]
    assert [each.key for each in holds.listed(store, "accounts", limit=2, after=page[-1])] == ["2", "3"]
    assert holds.counts(store, "accounts") == {
        ("ambiguous", "held"): 2,
        ("refused", "held"): 2,
        ("refused", "skipped"): 1,
    }


def test_all_of_a_push_come_in_pages(store: database.Database) -> None:
    fence = pushing.fence(store)
    holds.open(store, fence, [opening(f"{n:03}") for n in range(250)])
    holds.open(store, fence, [opening("007", kind="gone")])
    decisions.choose(store, "accounts", "007", "cus_7")
    batches = list(holds.each(store, "accounts", 100))
    assert [batch.num_rows for batch in batches] == [100, 100, 50]
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert rows[8] == {
        "key": "008",
        "kind": "refused",
        "state": "held",
        "hash": "h1",
        "version": "v1",
        "choice": "",
        "next_at": None,
    }
    assert (rows[7]["state"], rows[7]["choice"]) == ("chosen", "cus_7")
    assert rows[7]["next_at"] <= store.now()


def test_many_rows_are_decided_on_at_once(store: database.Database) -> None:
    fence = pushing.fence(store)
    several = {"kind": "ambiguous", "candidates": ("cus_1", "cus_2")}
    holds.open(store, fence, [opening("1"), opening("2", **several), opening("3", **several)])
    assert decisions.decide(store, "accounts", {"2": "cus_1", "3": "cus_9", "4": "cus_1"}, "chosen") == 1
    assert states(store) == {"1": "held", "2": "chosen", "3": "held"}
    assert hold(store, "2").choice == "cus_1"
    assert decisions.decide(store, "accounts", {"1": "", "3": ""}, "skipped") == 2
    assert decisions.decide(store, "accounts", {}, "skipped") == 0
    assert (hold(store, "3").state, hold(store, "3").next_at) == ("skipped", None)


def test_holds_are_searched_counted_and_gone_on_after(store: database.Database) -> None:
    fence = pushing.fence(store)
    holds.open(store, fence, [opening(f"K{n}", text=f"It is {n}% wrong.") for n in range(4)])
    assert [each.key for each in holds.listed(store, search="k2")] == ["K2"]
    assert [each.key for each in holds.listed(store, search="3% WRONG")] == ["K3"]
    assert holds.listed(store, search="_% wrong") == []
    assert (holds.count(store, search="wrong"), holds.count(store, "others")) == (4, 0)
    assert holds.totals(store) == {"refused": 4}
    first = holds.listed(store)[0]
    after = holds.at(first.opened_at, first.push, first.key)
    assert len(holds.listed(store, after=after)) == 3
