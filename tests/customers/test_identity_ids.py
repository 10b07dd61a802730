"""A profile's id stays with its customer, whatever is merged, split, taken back, deleted or ruled."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import fleet
import identities
import pytest

from tidegate.customers import decisions, ids
from tidegate.customers.rules import Rules

RULES = Rules(("customer_id", "email", "phone"), max_cluster=6)
OTHER = (RULES, Rules(("email", "phone"), 4), Rules(("email",), 6))


@pytest.fixture
def model(tmp_path: Path) -> Iterator[identities.Model]:
    made = identities.Model(f"duckdb:///{tmp_path}/w.duckdb")
    yield made
    made.close()


def step(model: identities.Model, **records: str | None) -> dict[str, frozenset[str]]:
    """Give records, by their last names, e-mail addresses; resolve; profiles by id, with the names."""
    asked: dict[str, identities.Values | None] = {
        f"p/a/{name}": None if emails is None else {"email": emails.split()}
        for name, emails in records.items()
    }
    model.write(asked)
    model.resolve(RULES, asked)
    return {
        profile: frozenset(record.split("/")[2] for record in whose)
        for profile, whose in model.profiles().items()
    }


def of(profiles: Mapping[str, frozenset[str]], name: str) -> str:
    """The id of the profile that a record belongs to."""
    [found] = [profile for profile, names in profiles.items() if name in names]
    return found


def test_an_id_is_the_same_in_every_warehouse(model: identities.Model) -> None:
    found = step(model, a="1", b="1")
    assert set(found) == {ids.new("p/a/a")}
    assert ids.new("p/a/a") == "cup_a49e77fa9c2d56284ef8"


def test_a_merge_keeps_the_older_id_and_the_other_leads_to_it(model: identities.Model) -> None:
    old = of(step(model, b="1"), "b")
    young = of(step(model, a="2"), "a")
    assert set(step(model, a="1")) == {old}
    assert model.aliases() == {young: old}
    assert model.rows("SELECT alias, why FROM {aliases}") == [(young, "merged")]


def test_a_merge_undone_gives_the_same_two_ids_back(model: identities.Model) -> None:
    apart = step(model, a="1")
    apart = step(model, b="2", c="2", d="2")
    assert set(step(model, a="1 2")) == {of(apart, "a")}
    assert step(model, a="1") == apart
    assert model.aliases() == {}


def test_three_that_were_merged_one_after_the_other_come_apart_as_they_were(model: identities.Model) -> None:
    for name, emails in {"a": "1", "b": "2", "c": "3"}.items():
        apart = step(model, **{name: emails})
    step(model, c="3 2")
    pair = of(step(model, z="1 2"), "b")
    assert pair == of(apart, "a")
    assert set(model.aliases().values()) == {pair}
    found = step(model, z=None)
    assert (of(found, "a"), of(found, "b"), of(found, "c")) == (
        of(apart, "a"),
        of(apart, "b"),
        of(apart, "b"),
    )
    assert model.aliases() == {of(apart, "c"): of(apart, "b")}
    assert step(model, c="3") == apart


def test_a_split_leaves_the_id_with_the_part_that_has_most_of_its_records(model: identities.Model) -> None:
    whole = of(step(model, a="1", b="1", c="1", d="1", e="1"), "a")
    found = step(model, a="2", b="2")
    assert of(found, "c") == whole
    assert of(found, "a") == of(found, "b") != whole
    assert model.rows("SELECT alias FROM {aliases}") == []


def test_of_two_equal_parts_the_one_with_the_older_record_keeps_the_id(model: identities.Model) -> None:
    step(model, d="1")
    whole = of(step(model, c="1", b="1", a="1"), "a")
    found = step(model, a="2", b="2")
    assert of(found, "d") == of(found, "c") == whole


def test_a_part_that_came_off_gets_its_own_id_back_after_a_second_time(model: identities.Model) -> None:
    step(model, a="1", b="1", c="1")
    split = step(model, c="2")
    assert len(step(model, c="1")) == 1
    assert step(model, c="2") == split


def test_a_profile_without_records_is_gone_and_comes_back_as_itself(model: identities.Model) -> None:
    there = step(model, a="1", b="2")
    assert of(there, "b") not in step(model, b=None)
    gone = model.rows("SELECT profile_id FROM {ids} WHERE gone_at IS NOT NULL")
    assert gone == [(of(there, "b"),)]
    step(model, c="2")
    assert of(step(model, c="3"), "c") != of(there, "b")
    assert of(step(model, b="2"), "b") == of(there, "b")
    assert model.rows("SELECT profile_id FROM {ids} WHERE gone_at IS NOT NULL") == []


def test_who_comes_back_into_another_profile_leaves_an_alias(model: identities.Model) -> None:
    there = step(model, a="1", b="2")
    step(model, b=None)
    assert set(step(model, b="1")) == {of(there, "a")}
    assert model.aliases() == {of(there, "b"): of(there, "a")}


def test_an_id_that_was_given_is_not_given_to_another(model: identities.Model) -> None:
    first = of(step(model, a="1", b="1", c="1"), "a")
    found = step(model, a="2")
    assert first == ids.new("p/a/a")
    assert of(found, "a") == ids.new("p/a/a", attempt=1)


def test_a_profile_that_nobody_touched_has_its_date(model: identities.Model) -> None:
    step(model, a="1", b="2")
    before = model.rows("SELECT record, since FROM {members} WHERE record = 'p/a/a'")
    step(model, b="3")
    model.resolve(RULES)
    assert model.rows("SELECT record, since FROM {members} WHERE record = 'p/a/a'") == before


class History:
    """What was in use before, and who ever had which id."""

    def __init__(self) -> None:
        self.last: dict[str, frozenset[str]] = {}
        self.ever: dict[str, set[str]] = defaultdict(set)

    def check(self, model: identities.Model, expected: set[frozenset[str]]) -> None:
        found, aliases = model.profiles(), model.aliases()
        assert len(found) == len(expected)
        assert set(found.values()) == expected
        for profile, records in found.items():
            if profile in self.ever:
                assert records & self.ever[profile], "An id went to records that never had it."
        unchanged = {records: profile for profile, records in self.last.items()}
        for profile, records in found.items():
            assert unchanged.get(records, profile) == profile, "A profile that did not change has another id."
        known = model.rows(
            "SELECT profile_id, CASE WHEN gone_at IS NULL THEN 0 ELSE 1 END AS gone FROM {ids}"
        )
        gone = {str(profile) for profile, is_gone in known if is_gone}
        assert {str(profile) for profile, _ in known} == set(found) | set(aliases) | gone
        assert not set(aliases) & set(found)
        assert not gone & (set(aliases) | set(found))
        assert set(aliases.values()) <= set(found) | gone, "An alias leads to an alias."
        for profile, target in aliases.items():
            if profile in self.last:
                assert self.last[profile] & found[target], "An id leads to who has none of its records."
        for profile, records in found.items():
            self.ever[profile] |= records
        self.last = found


@pytest.mark.parametrize("adapter", ["duckdb", "postgres", "mysql"])
def test_a_thousand_random_changes_keep_every_promise(adapter: str, tmp_path: Path) -> None:
    chance = random.Random(11)
    model, history = identities.Model(fleet.url(adapter, tmp_path, 1)), History()
    steps, each = (16, 64) if adapter == "duckdb" else (4, 40)
    names = [f"p{n % 2}/a/{n % 40}-{n}" for n in range(200)]
    decided: dict[str, decisions.Decision] = {}
    rules = RULES
    for turn in range(steps):
        asked: dict[str, identities.Values | None] = {}
        for record in chance.sample(names, each):
            group = record.split("/")[2].split("-")[0]
            asked[record] = (
                None
                if chance.random() < 0.2
                else {
                    kind: [f"{kind}{group}-{chance.randrange(3)}"]
                    for kind in RULES.identifiers
                    if chance.random() < 0.5
                }
            )
        model.write(asked)
        _decide(model, chance, decided)
        rules = OTHER[turn // 3 % len(OTHER)]
        model.resolve(rules, asked if chance.random() < 0.8 else None)
        history.check(model, _expected(model, rules, decided))
    model.close()


def _decide(model: identities.Model, chance: random.Random, decided: dict[str, decisions.Decision]) -> None:
    """Merge, part, split or take something of that back."""
    if decided and chance.random() < 0.4:
        taken = decided.pop(chance.choice(sorted(decided)))
        model.scripted(
            lambda script: decisions.withdraw(script, identities.NAMES, taken.decision, now=model.now())
        )
        return
    record = chance.choice(sorted(model.there))
    group = record.split("-")[0][3:]
    near = sorted(r for r in model.there if r != record and r.split("-")[0][3:] == group)
    taken_records = {r for each in decided.values() for r in (each.record, each.other)}
    if not near or record in taken_records:
        return
    other = chance.choice(near)
    if other in taken_records:
        return

    how = chance.choice([decisions.merge, decisions.apart])
    made = model.scripted(
        lambda script: (
            decisions.split(script, identities.NAMES, record, now=model.now())
            if chance.random() < 0.3
            else how(script, identities.NAMES, record, other, now=model.now())
        )
    )
    decided[made.decision] = made


def _expected(
    model: identities.Model, rules: Rules, decided: Mapping[str, decisions.Decision]
) -> set[frozenset[str]]:
    def of(kind: str) -> list[tuple[str, str]]:
        return [(each.record, each.other) for each in decided.values() if each.kind == kind]

    return identities.resolved(model.there, rules, of("together"), of("apart"), [r for r, _ in of("alone")])


def test_merges_that_are_undone_leave_no_trace(model: identities.Model) -> None:
    chance = random.Random(3)
    model.write({f"p/a/{n}": {"email": [f"e{chance.randrange(12)}"]} for n in range(24)})
    model.resolve(RULES)
    before, kept = model.profiles(), dict(model.there)
    bridged = chance.sample(sorted(model.there), 5)
    for record in bridged:
        other = chance.choice(sorted(model.there))
        model.write({record: {"email": [*kept[record]["email"], *kept[other]["email"]]}})
        model.resolve(RULES, [record])
    for record in chance.sample(bridged, len(bridged)):
        model.write({record: kept[record]})
        model.resolve(RULES, [record])
    assert model.profiles() == before
