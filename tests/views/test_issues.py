"""Everything that waits for a person: one order over all sources, page by page, and decisions on many rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import seen
from hypothesis import strategies

from tidegate import errors, views
from tidegate.engine import place as places
from tidegate.store import failed, holds, notes, notices, plans, trail
from tidegate.views import deciding, issues, overview, undecided

ANN = views.Person("ann@example.com", "session")
MORE = """
customer_model: {warehouse: local}
pipelines: {people: {from: acme, to: local, stream: customers, map: {email: {from: email}}}}
models: {accounts: {warehouse: local, table: accounts, key: id}}
pushes:
  accounts: {model: accounts, to: acme, object: customer, match: {email: email}, fields: {name: name}}
  others: {model: accounts, to: acme, object: customer, match: {email: email}, fields: {name: name}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with seen.place(seen.written(tmp_path, more=MORE)) as found:
        yield found


def held(place: places.Place, push: str, *openings: holds.Opening, at: float | None = None) -> None:
    place.store.transact(lambda session: holds.opened(session, push, openings))
    for each in openings if at is not None else ():
        place.store.execute(
            "UPDATE holds SET opened_at = :at WHERE push = :push AND key = :key",
            {"at": at, "push": push, "key": each.key},
        )


def opening(key: str, kind: holds.Kind = "refused", **more: object) -> holds.Opening:
    return holds.Opening(key, kind, f"{kind} for a reason.", **more)  # type: ignore[arg-type]


def shaped_badly(place: places.Place, key: str, at: float) -> None:
    failed.keep(
        place.store,
        [failed.Failed("people", "acct_1", key, 1, "s", "email", "is no e-mail", "", None, "{}", "run_1")],
    )
    place.store.execute(
        "UPDATE failed_records SET first_at = :at WHERE source_id = :id", {"at": at, "id": key}
    )


def alerted(place: places.Place, matter: str, kind: str, flow: str, at: float) -> None:
    found = notices.Matter(matter, kind, flow, f"{flow}: something is wrong.")
    notices.settle(place.store, flow, [found])
    place.store.execute(
        "UPDATE alerts SET opened_at = :at WHERE matter = :matter", {"at": at, "matter": matter}
    )


def planned(place: places.Place, push: str, counts: dict[str, int]) -> None:
    plan = plans.begin(place.store, plans.new_id(), push, "push", {}, ANN.name)
    assert plans.keep(place.store, plan.id, {"counts": counts}, "digest")


def walked(place: places.Place, only: issues.Only, limit: int) -> list[issues.Issue]:
    found: list[issues.Issue] = []
    after: issues.Place | None = None
    while True:
        page = issues.listed(place, only, limit=limit, after=after)
        assert len(page.items) <= limit
        found += page.items
        if (after := page.next) is None:
            return found


@hypothesis.settings(max_examples=25, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(
    moments=strategies.lists(
        strategies.tuples(
            strategies.sampled_from(["accounts", "others", "people"]), strategies.integers(1, 4)
        ),
        max_size=14,
    ),
    limit=strategies.integers(1, 5),
)
def test_pages_of_any_size_show_each_issue_once_the_oldest_first(
    place: places.Place, moments: list[tuple[str, int]], limit: int
) -> None:
    for table in ("holds", "failed_records"):
        place.store.execute(f"DELETE FROM {table}")
    for number, (of, at) in enumerate(moments):
        if of == "people":
            shaped_badly(place, f"cus_{number}", float(at))
        else:
            held(place, of, opening(f"k{number}"), at=float(at))
    found = walked(place, issues.Only(), limit)
    assert len(found) == len(moments)
    assert len({each.place for each in found}) == len(moments)
    assert [each.place for each in found] == sorted(each.place for each in found)
    assert found == list(issues.each(place, issues.Only()))
    assert sum(issues.counts(place).values()) == len(moments)


def test_a_filter_leaves_what_it_says(place: places.Place) -> None:
    held(place, "accounts", opening("a1", "ambiguous", candidates=("cus_1", "cus_2")), opening("a2"))
    held(place, "others", opening("o1"))
    shaped_badly(place, "cus_9", 1.0)

    def keys(*kinds: str, **only: str) -> list[str]:
        return [each.key for each in walked(place, issues.Only(kinds, **only), 10)]

    assert keys() == ["cus_9", "a1", "a2", "o1"]
    assert keys("ambiguous") == ["a1"]
    assert keys("ambiguous", issues.FAILED) == ["cus_9", "a1"]
    assert keys(issues.FAILED) == ["cus_9"]
    assert keys(flow="push:others") == ["o1"]
    assert keys(flow="pipeline:people") == ["cus_9"]
    assert keys(search="A2") == ["a2"]
    assert keys(search="no e-mail") == ["cus_9"]
    assert keys(search="%") == []
    assert keys(state="skipped") == []
    assert keys(state="held") == ["a1", "a2", "o1"]
    assert issues.decidable(place.store, issues.Only(("refused",))) == 2
    assert issues.decidable(place.store, issues.Only(("refused", "ambiguous"))) == 3
    assert issues.decidable(place.store, issues.Only((issues.FAILED,))) == 0


def test_alerts_stand_in_it_but_those_that_only_say_that_there_are_rows(place: places.Place) -> None:
    alerted(place, "push:accounts/held", "held", "push:accounts", 1.0)
    alerted(place, "push:accounts/approval", "approval", "push:accounts", 2.0)
    alerted(place, "pull:everything/no_permission", "no_permission", "pull:everything", 3.0)
    alerted(place, "pull:everything/held", "held", "pull:everything", 4.0)
    held(place, "accounts", opening("a"), at=2.5)
    found = walked(place, issues.Only(), 2)
    assert [(each.kind, each.flow) for each in found] == [
        ("approval", "push:accounts"),
        ("refused", "push:accounts"),
        ("no_permission", "pull:everything"),
        ("alert", "pull:everything"),
    ]
    assert issues.counts(place) == {"refused": 1, "approval": 1, "no_permission": 1, "alert": 1}
    assert [each.since for each in walked(place, issues.Only(("no_permission",)), 2)] == [3.0]


def test_a_plan_that_waits_stands_once_and_its_alert_does_not(place: places.Place) -> None:
    alerted(place, "push:accounts/approval", "approval", "push:accounts", 1.0)
    alerted(place, "push:others/approval", "approval", "push:others", 2.0)
    planned(place, "accounts", {"created": 3})
    found = walked(place, issues.Only(), 10)
    assert [(each.source, each.flow) for each in found] == [
        ("alert", "push:others"),
        ("plan", "push:accounts"),
    ]
    assert issues.counts(place) == {"approval": 2}
    told = {each.kind: each.count for each in overview.look(place).issues}
    assert told == {"approval": 2}


def test_a_plan_of_a_sync_that_is_gone_waits_for_nobody(place: places.Place) -> None:
    planned(place, "elsewhere", {"created": 3})
    planned(place, "accounts", {"unchanged": 3})
    assert walked(place, issues.Only(), 10) == []
    assert issues.counts(place) == {}


def test_all_rows_of_a_filter_are_decided_on_and_noted(place: places.Place) -> None:
    held(
        place,
        "accounts",
        *(opening(f"a{n}", "ambiguous", candidates=(f"cus_{n}", "cus_x")) for n in range(3)),
        opening("b"),
    )
    held(place, "others", opening("o", "ambiguous", candidates=("cus_7",)))
    deciding.decide(place, ANN, "accounts", "a0", "skipped")
    told = deciding.decide_all(place, ANN, issues.Only(("ambiguous",)), "chosen", deciding.FIRST)
    assert told == {"decided": 3, "left": 1}
    found = {each.key: (each.state, each.choice) for each in holds.listed(place.store)}
    assert found == {
        "a0": ("skipped", ""),
        "a1": ("chosen", "cus_1"),
        "a2": ("chosen", "cus_2"),
        "b": ("held", ""),
        "o": ("chosen", "cus_7"),
    }
    assert [each.what for each in notes.listed(place.store, "accounts", "a1")] == ["held", "chosen"]
    line = trail.listed(place.store)[0]
    assert (line.who, line.action, line.after["decided"]) == (ANN.name, "decide", 3)


@pytest.mark.parametrize(
    "key", ["17", "user_4711", "cus_NffrFeUfNV2Hib", "0b5f3f0e-8f3a-4a0e-9b3e-3c1d6a1f2b11"]
)
def test_the_audit_log_names_a_row_by_its_id(place: places.Place, key: str) -> None:
    held(place, "accounts", opening(key))
    deciding.decide(place, ANN, "accounts", key, "skipped")
    assert trail.listed(place.store)[0].after == {"key": key, "decision": "skipped"}


@pytest.mark.parametrize(
    "key",
    [
        "jane.doe@private.example",
        "Jane Doe",
        "+15551234567",
        "5551234567",
        "jane",
        "jane1980",
        "jane_doesmith",
    ],
)
def test_the_audit_log_keeps_no_address_and_no_name(place: places.Place, key: str) -> None:
    held(place, "accounts", opening(key))
    deciding.decide(place, ANN, "accounts", key, "skipped")
    deciding.decide_all(place, ANN, issues.Only(("refused",), search=key), "waiting")
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    both, begun, one = trail.listed(place.store)
    assert begun.after["search"] == both.after["search"]
    assert one.after == {"key": f"sha256:{digest}", "decision": "skipped"}
    assert both.after["search"] == f"sha256:{digest}"


def test_what_cannot_be_chosen_is_refused_with_what_can_be_done(place: places.Place) -> None:
    held(place, "accounts", opening("a", "ambiguous", candidates=("cus_1", "cus_2")), opening("b"))
    with pytest.raises(errors.ConfigError, match="cannot be chosen for a row that is refused"):
        deciding.decide(place, ANN, "accounts", "b", "chosen", "cus_1")
    with pytest.raises(errors.ConfigError, match="none of its candidates"):
        deciding.decide(place, ANN, "accounts", "a", "chosen", "cus_3")
    with pytest.raises(views.Unknown, match="not held any more"):
        deciding.decide(place, ANN, "accounts", "c", "waiting")
    with pytest.raises(errors.ConfigError, match="one object"):
        deciding.decide_all(place, ANN, issues.Only(("ambiguous",)), "chosen", "cus_1")
    with pytest.raises(errors.ConfigError, match="Only rows of syncs"):
        deciding.decide_all(place, ANN, issues.Only((issues.FAILED,)), "waiting")


def test_a_row_shows_its_candidates_and_choices(place: places.Place) -> None:
    held(place, "accounts", opening("a", "ambiguous", candidates=("cus_1", "cus_2")))
    found = undecided.held(place, "accounts", "a")
    assert [each.id for each in found.candidates] == ["cus_1", "cus_2"]
    assert found.candidates[0].page == "https://dashboard.stripe.com/test/customers/cus_1"
    assert [choice for choice, _ in found.choices] == ["cus_1", "cus_2", "create"]
    assert not found.any
    held(place, "accounts", opening("u", "unknown"))
    assert undecided.held(place, "accounts", "u").any
