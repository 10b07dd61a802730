"""What people decide holds against what identifiers say, and contradictions are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import identities
import pytest

from tidegate import errors
from tidegate.customers import decisions
from tidegate.customers.rules import Rules

RULES = Rules(("customer_id", "email"), max_cluster=10)
A, B, C, D = (f"p/a/{name}" for name in "abcd")


@pytest.fixture
def model(tmp_path: Path) -> Iterator[identities.Model]:
    """Two customers: a and b by their number, c and d by their address."""
    made = identities.Model(f"duckdb:///{tmp_path}/w.duckdb")
    made.write(
        {A: {"customer_id": ["1"]}, B: {"customer_id": ["1"]}, C: {"email": ["c@x"]}, D: {"email": ["c@x"]}}
    )
    made.resolve(RULES)
    yield made
    made.close()


def decide(model: identities.Model, how: Any, *records: str) -> decisions.Decision:
    """Decide something at once, and resolve without being told what changed."""
    made = model.scripted(lambda script: how(script, identities.NAMES, *records, now=model.now(), by="ann"))
    assert isinstance(made, decisions.Decision)
    model.resolve(RULES, [])
    return made


def withdraw(model: identities.Model, decision: str) -> None:
    model.scripted(lambda script: decisions.withdraw(script, identities.NAMES, decision, now=model.now()))
    model.resolve(RULES, [])


def listed(model: identities.Model) -> list[decisions.Decision]:
    return model.scripted(lambda script: decisions.listed(script, identities.NAMES))


def test_merging_by_hand_joins_whole_customers_and_is_undone_by_withdrawing_it(
    model: identities.Model,
) -> None:
    before = model.profiles()
    made = decide(model, decisions.merge, A, C)
    assert model.clusters() == {frozenset([A, B, C, D])}
    [there] = listed(model)
    assert (there.decision, there.kind, there.record, there.other) == (made.decision, "together", A, C)
    assert (made.resolved_at, there.resolved_at) == (None, model.now())
    assert made.decided_by == "ann"
    withdraw(model, made.decision)
    assert model.profiles() == before
    assert listed(model) == []


def test_merging_by_hand_holds_beyond_the_limit(model: identities.Model) -> None:
    made = {f"p/a/{n}": {"customer_id": ["1"]} for n in range(8)}
    model.write(made)
    model.resolve(RULES, made)
    decide(model, decisions.merge, A, C)
    assert frozenset([A, C]) <= max(model.clusters(), key=len)


def test_a_record_that_is_split_off_stays_alone_with_all_that_comes(model: identities.Model) -> None:
    decide(model, decisions.split, D)
    assert frozenset([D]) in model.clusters()
    model.write({"p/a/e": {"email": ["c@x"]}})
    model.resolve(RULES, ["p/a/e"])
    assert model.clusters() == {frozenset([A, B]), frozenset([C, "p/a/e"]), frozenset([D])}


def test_a_record_that_was_taken_away_leaves_the_others_together(model: identities.Model) -> None:
    model.write({"p/a/e": {"email": ["c@x"]}})
    model.resolve(RULES, ["p/a/e"])
    decide(model, decisions.apart, D, C)
    assert model.clusters() == {frozenset([A, B]), frozenset([C, "p/a/e"]), frozenset([D])}


def test_a_record_that_was_taken_away_takes_along_what_stronger_identifiers_link_to_it(
    model: identities.Model,
) -> None:
    model.write({B: {"customer_id": ["1"], "email": ["c@x"]}})
    model.resolve(RULES, [B])
    assert model.clusters() == {frozenset([A, B, C, D])}
    decide(model, decisions.apart, A, D)
    assert model.clusters() == {frozenset([A, B]), frozenset([C, D])}


def test_who_linked_the_two_goes_with_neither_where_only_it_did(model: identities.Model) -> None:
    model.write({"p/a/m": {"email": ["m@x", "c@x"]}, "p/a/n": {"email": ["m@x"]}})
    model.resolve(RULES, ["p/a/m", "p/a/n"])
    assert frozenset([C, D, "p/a/m", "p/a/n"]) in model.clusters()
    decide(model, decisions.apart, "p/a/m", C)
    assert {frozenset([C, D]), frozenset(["p/a/m"]), frozenset(["p/a/n"])} <= model.clusters()


def test_deciding_the_same_again_is_the_same_decision(model: identities.Model) -> None:
    first, again = decide(model, decisions.merge, A, C), decide(model, decisions.merge, C, A)
    assert first.decision == again.decision
    assert len(listed(model)) == 1


def test_what_contradicts_a_decision_is_refused(model: identities.Model) -> None:
    merged = decide(model, decisions.merge, A, C)
    chained = decide(model, decisions.merge, C, D)
    with pytest.raises(errors.ConfigError, match=f"merged by hand, by the decision {merged.decision}"):
        decide(model, decisions.apart, A, D)
    with pytest.raises(errors.ConfigError, match="cannot be split off"):
        decide(model, decisions.split, D)
    withdraw(model, chained.decision)
    apart = decide(model, decisions.apart, D, A)
    with pytest.raises(errors.ConfigError, match=f"was taken away from {A} by the decision {apart.decision}"):
        decide(model, decisions.merge, D, C)
    assert model.clusters() == {frozenset([A, B, C]), frozenset([D])}


@pytest.mark.parametrize(
    ("records", "said"),
    [((A, A), "given twice"), ((A, "p/a/x"), "no record p/a/x"), (("it's", A), "no record it's")],
)
def test_only_two_records_of_the_model_can_be_decided_about(
    model: identities.Model, records: tuple[str, str], said: str
) -> None:
    with pytest.raises(errors.ConfigError, match=said):
        decide(model, decisions.merge, *records)


def test_only_a_decision_in_force_can_be_withdrawn(model: identities.Model) -> None:
    made = decide(model, decisions.split, A)
    withdraw(model, made.decision)
    with pytest.raises(errors.ConfigError, match="no decision"):
        withdraw(model, made.decision)


def test_a_decision_waits_for_the_next_resolution(model: identities.Model) -> None:
    model.scripted(lambda script: decisions.merge(script, identities.NAMES, A, C, now=model.now()))
    assert len(model.clusters()) == 2
    assert model.rows("SELECT count(*) FROM {decisions} WHERE resolved_at IS NULL") == [(1,)]
    assert model.resolve(RULES, []).merged == 1
    assert model.rows("SELECT count(*) FROM {decisions} WHERE resolved_at IS NULL") == [(0,)]
    assert model.resolve(RULES, []).looked == 0
