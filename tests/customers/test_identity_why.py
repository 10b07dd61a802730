"""Why two records are one customer, and why two others are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fleet
import identities
import pytest

from tidegate import errors
from tidegate.customers import decisions, why
from tidegate.customers.rules import Rules

RULES = Rules(("customer_id", "email", "phone"), max_cluster=4)
A, B, C, D, E = (f"p/a/{name}" for name in "abcde")


@pytest.fixture
def model(tmp_path: Path) -> Iterator[identities.Model]:
    made = identities.Model(f"duckdb:///{tmp_path}/w.duckdb")
    yield made
    made.close()


def resolve(model: identities.Model, records: dict[str, identities.Values], rules: Rules = RULES) -> None:
    model.write(records)
    model.resolve(rules, records)


def path(model: identities.Model, record: str, other: str) -> list[tuple[str, str, str, str]]:
    steps = model.scripted(lambda script: why.why(script, identities.NAMES, record, other))
    return [(step.record, step.other, step.identifier, step.value or step.decision) for step in steps]


def reasons(model: identities.Model, record: str, other: str) -> list[why.Reason]:
    return list(model.scripted(lambda script: why.why_not(script, identities.NAMES, record, other)))


def test_a_path_leads_over_what_each_shares_with_the_next(model: identities.Model) -> None:
    resolve(
        model,
        {A: {"customer_id": ["7"]}, B: {"customer_id": ["7"], "email": ["b@x"]}, C: {"email": ["b@x"]}},
    )
    assert path(model, A, C) == [(A, B, "customer_id", "7"), (B, C, "email", "b@x")]
    assert path(model, C, A) == [(C, B, "email", "b@x"), (B, A, "customer_id", "7")]
    assert path(model, A, A) == []


def test_the_shortest_path_is_told_and_of_those_the_strongest(model: identities.Model) -> None:
    resolve(
        model,
        {
            A: {"customer_id": ["7"], "phone": ["+1"]},
            B: {"customer_id": ["7"], "email": ["b@x"]},
            C: {"email": ["b@x"], "phone": ["+1"]},
        },
    )
    assert path(model, A, C) == [(A, C, "phone", "+1")]
    resolve(model, {D: {"phone": ["+1"], "email": ["b@x"]}})
    assert path(model, D, C) == [(D, C, "email", "b@x")]


def test_a_merge_by_hand_is_a_step(model: identities.Model) -> None:
    resolve(model, {A: {"email": ["a@x"]}, B: {"email": ["b@x"]}, C: {"email": ["b@x"]}})
    made = model.scripted(lambda script: decisions.merge(script, identities.NAMES, A, B, now=model.now()))
    model.resolve(RULES, [])
    assert path(model, A, C) == [(A, B, "", made.decision), (B, C, "email", "b@x")]


def test_what_was_ignored_is_no_way(model: identities.Model) -> None:
    crowd = {f"p/a/{n}": {"phone": ["+1"], "email": [f"{n % 2}@x"]} for n in range(4)}
    resolve(model, crowd | {E: {"phone": ["+1"]}, A: {"customer_id": ["1"]}})
    assert path(model, "p/a/0", "p/a/2") == [("p/a/0", "p/a/2", "email", "0@x")]


def test_what_is_in_two_profiles_has_no_path(model: identities.Model) -> None:
    resolve(model, {A: {"email": ["a@x"]}, B: {"email": ["b@x"]}})
    with pytest.raises(errors.ConfigError, match=r"are two customers .cup_.*ask why not instead"):
        path(model, A, B)
    with pytest.raises(errors.ConfigError, match="There is no record p/a/zz in the customer model"):
        path(model, A, "p/a/zz")


def test_what_has_changed_since_the_last_resolution_is_said(model: identities.Model) -> None:
    resolve(model, {A: {"email": ["a@x"]}, B: {"email": ["a@x"]}})
    model.write({B: {"email": ["b@x"]}})
    with pytest.raises(errors.ConfigError, match="has changed since the last resolution"):
        path(model, A, B)


def test_a_record_that_left_is_not_there(model: identities.Model) -> None:
    resolve(model, {A: {"email": ["a@x"]}, B: {"email": ["a@x"]}})
    model.write({B: None})
    model.resolve(RULES, [B])
    with pytest.raises(errors.ConfigError, match="no record p/a/b"):
        path(model, A, B)


def test_two_that_share_nothing_have_nothing_to_link_them(model: identities.Model) -> None:
    resolve(model, {A: {"email": ["a@x"]}, B: {"email": ["b@x"], "fax": ["1"]}, C: {"fax": ["1"]}})
    assert reasons(model, A, B) == [why.Reason("nothing")]
    assert reasons(model, B, C) == [why.Reason("nothing")]
    resolve(model, {C: {"email": ["b@x"]}})
    with pytest.raises(errors.ConfigError, match=r"are one customer, cup_.*ask why instead"):
        reasons(model, B, C)


def test_a_value_that_too_many_share_is_a_reason(model: identities.Model) -> None:
    resolve(model, {f"p/a/{n}": {"phone": ["+1"]} for n in range(5)})
    assert reasons(model, "p/a/0", "p/a/3") == [why.Reason("shared", "phone", "+1", 5)]


def test_a_cluster_that_would_be_too_large_is_a_reason(model: identities.Model) -> None:
    resolve(model, {f"p/a/{n}": {"email": [f"{n}@x", f"{n + 1}@x"]} for n in range(5)})
    assert reasons(model, "p/a/0", "p/a/1") == [why.Reason("size", "email", "1@x", 5)]
    assert reasons(model, "p/a/0", "p/a/4") == [why.Reason("size", "email", "", 5)]


def test_a_decision_is_a_reason_also_where_it_is_about_others_of_the_profiles(
    model: identities.Model,
) -> None:
    resolve(
        model, {A: {"customer_id": ["1"]}, B: {"customer_id": ["1"], "email": ["b@x"]}, C: {"email": ["b@x"]}}
    )
    made = model.scripted(lambda script: decisions.apart(script, identities.NAMES, C, B, now=model.now()))
    model.resolve(RULES, [])
    assert reasons(model, A, C) == [why.Reason("apart", decision=made.decision)]
    alone = model.scripted(lambda script: decisions.split(script, identities.NAMES, A, now=model.now()))
    model.resolve(RULES, [])
    assert reasons(model, A, B) == [why.Reason("alone", decision=alone.decision)]


@pytest.mark.parametrize("adapter", ["postgres", "mysql"])
def test_servers_say_the_same(adapter: str, tmp_path: Path) -> None:
    model = identities.Model(fleet.url(adapter, tmp_path, 1))
    resolve(
        model,
        {A: {"email": ["it's@x"]}, B: {"email": ["it's@x"], "phone": ["\\"]}, C: {"phone": ["\\"]}, D: {}},
    )
    assert path(model, A, C) == [(A, B, "email", "it's@x"), (B, C, "phone", "\\")]
    assert reasons(model, A, D) == [why.Reason("nothing")]
    model.close()


def explained(model: identities.Model, one: str, other: str) -> why.Answer:
    return model.scripted(lambda script: why.explained(script, identities.NAMES, one, other))


def profile(model: identities.Model, record: str) -> str:
    return next(key for key, records in model.profiles().items() if record in records)


def test_two_profiles_that_became_one_are_told_by_their_former_id(model: identities.Model) -> None:
    resolve(model, {A: {"email": ["a@x"]}, B: {"email": ["a@x"]}, C: {"phone": ["+1"]}})
    older, former = profile(model, A), profile(model, C)
    resolve(model, {B: {"email": ["a@x"], "phone": ["+1"]}})
    former, older = sorted([older, former], key=lambda each: each not in model.aliases())
    found = explained(model, older, former)
    assert found.is_one
    assert {found.first.profile, found.last.profile} == {older}
    [step] = found.path
    assert {step.record, step.other} == {B, C}
    assert (step.identifier, step.value) == ("phone", "+1")
    assert explained(model, A, A).path == ()
    assert explained(model, older, B).path != ()


def test_two_profiles_are_told_what_keeps_any_of_their_records_apart(model: identities.Model) -> None:
    resolve(
        model,
        {
            A: {"email": ["a@x"]},
            B: {"email": ["a@x"], "phone": ["+1"]},
            C: {"email": ["c@x"], "phone": ["+1"]},
            D: {"email": ["c@x"]},
        },
    )
    made = model.scripted(
        lambda script: decisions.apart(
            script, identities.NAMES, C, B, now=model.now(), by="ann", note="two shops"
        )
    )
    model.resolve(RULES, [])
    found = explained(model, profile(model, A), profile(model, D))
    assert not found.is_one
    assert found.reasons == (why.Reason("apart", decision=made.decision),)
    assert [(each.decided_by, each.note) for each in found.decisions] == [("ann", "two shops")]


def test_a_value_that_records_of_both_profiles_have_but_too_many_others_too(model: identities.Model) -> None:
    crowd = {f"p/a/{n}": {"phone": ["+1"]} for n in range(RULES.max_cluster + 1)}
    resolve(model, crowd | {A: {"email": ["a@x"]}, B: {"email": ["a@x"], "phone": ["+1"]}})
    found = explained(model, profile(model, A), "p/a/0")
    assert found.reasons == (why.Reason("shared", "phone", "+1", RULES.max_cluster + 2),)
    assert explained(model, A, "p/a/0").reasons == (why.Reason("nothing"),)
