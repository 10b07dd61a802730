"""What other rules would do is told before anybody uses them, and nothing is written."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import anywhere
import fleet
import identities
import piped
import pytest

from tidegate import errors
from tidegate.customers import identity, preview, run
from tidegate.customers.rules import Rules
from tidegate.warehouse import scripts

RULES = Rules(("email",), max_cluster=4)


@pytest.fixture(params=["duckdb", "postgres", "mysql"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[identities.Model]:
    made = identities.Model(fleet.url(request.param, tmp_path, 1))
    yield made
    made.close()


def previewed(model: identities.Model, rules: Rules) -> preview.Preview:
    return model.scripted(lambda script: preview.preview(script, identities.NAMES, rules))


def test_a_preview_tells_merges_and_splits_with_examples(model: identities.Model) -> None:
    model.write(
        {
            "p/a/1": {"email": ["a@x"], "phone": ["+1"]},
            "p/a/2": {"email": ["a@x"], "phone": ["+2"]},
            "p/a/3": {"email": ["b@x"], "phone": ["+1"]},
            "p/a/4": {"email": ["c@x"], "phone": ["+4"]},
        }
    )
    model.resolve(RULES)
    before, aliases = model.profiles(), model.aliases()
    found = previewed(model, Rules(("phone",), max_cluster=4))
    assert (found.records, found.profiles, found.profiles_now) == (4, 3, 3)
    assert (found.merges, found.splits) == (1, 1)
    profile = {record: key for key, records in before.items() for record in records}
    both = tuple(sorted({profile["p/a/1"], profile["p/a/3"]}))
    assert found.largest == found.merged == (preview.Cluster(2, ("p/a/1", "p/a/3"), both),)
    [split] = found.parted
    assert split.profile == profile["p/a/1"]
    assert [part.first for part in split.parts] == [("p/a/1", "p/a/3"), ("p/a/2",)]
    assert (model.profiles(), model.aliases()) == (before, aliases)


def test_the_same_rules_would_change_nothing(model: identities.Model) -> None:
    model.write({"p/a/1": {"email": ["a@x"]}, "p/a/2": {"email": ["a@x"]}})
    model.resolve(RULES)
    found = previewed(model, RULES)
    assert (found.merges, found.splits, found.merged, found.parted) == (0, 0, (), ())


def test_what_a_smaller_limit_would_hold_is_told(model: identities.Model) -> None:
    model.write({f"p/a/{n}": {"email": [f"{n}@x", f"{n + 1}@x"], "phone": ["+1"]} for n in range(4)})
    model.resolve(RULES)
    found = previewed(model, Rules(("email", "phone"), max_cluster=3))
    assert found.splits == 3
    assert found.held == (identity.Held("email", "size", 1, 4), identity.Held("phone", "shared", 1, 4))


def test_a_preview_foretells_what_the_rules_then_do(tmp_path: Path) -> None:
    model, chance = identities.Model(f"duckdb:///{tmp_path}/w.duckdb"), random.Random(3)
    model.write(
        {
            f"p/a/{n}": {"email": [f"{chance.randrange(150)}@x"], "phone": [f"+{chance.randrange(150)}"]}
            for n in range(300)
        }
    )
    model.resolve(RULES)
    for rules in (Rules(("phone", "email"), 6), Rules(("email", "phone"), 3), Rules(("phone",), 20)):
        told, done = previewed(model, rules), model.resolve(rules)
        assert (told.merges, told.splits, told.profiles) == (done.merged, done.split, done.profiles)
        assert told.held == done.held
        assert max(map(len, model.clusters())) == told.largest[0].records
    model.close()


def test_a_model_without_records_has_nothing_to_preview(model: identities.Model) -> None:
    assert previewed(model, RULES).records == 0


def test_a_preview_leaves_no_work_tables_and_does_not_touch_those_of_a_resolution(
    model: identities.Model,
) -> None:
    model.write({"p/a/1": {"email": ["a@x"]}})

    def beside(script: scripts.Script) -> list[str]:
        script.work(f"{identity.PREFIX}scope", {"record": "VARCHAR"}, ("record",))
        preview.preview(script, identities.NAMES, RULES)
        assert script.works(preview.PREFIX) == []
        return script.works(identity.PREFIX)

    assert model.scripted(beside) == [f"{identity.PREFIX}scope"]


def by(shop: anywhere.Place, *identifiers: str) -> run.Job:
    """A pipeline into a model with other identifiers."""
    return shop.job({"identifiers": identifiers})


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_identifiers_that_the_model_did_not_have_are_read_from_its_records(kind: str, tmp_path: Path) -> None:
    shop = anywhere.Place(tmp_path, fleet.url(kind, tmp_path, 1))
    phones = {0: "+49 170 1234567", 2: "0049 (0) 170 1234567", 3: "n/a", 5: "n/a"}
    shop.pulled(*(piped.person(n, phone=phones.get(n)) for n in range(6)))
    shop.run(by(shop, "email"))
    found = preview.previewed(by(shop, "email").model, Rules(("email", "phone")))
    assert (found.profiles_now, found.profiles, found.merges, found.splits) == (3, 2, 1, 0)
    assert [each.records for each in found.merged] == [4]
    alone = preview.previewed(by(shop, "email").model, Rules(("phone",)))
    assert (alone.profiles, alone.merges, alone.splits) == (5, 1, 3)
    # What a run with these rules makes is what was foretold.
    result = shop.run(by(shop, "email", "phone"))
    assert result.resolved is not None
    assert (result.resolved.profiles, result.resolved.merged, result.resolved.split) == (2, 1, 0)
    shop.close()


def test_values_that_are_left_of_an_identifier_taken_out_are_not_used(tmp_path: Path) -> None:
    shop = anywhere.Place(tmp_path, fleet.url("duckdb", tmp_path, 1))
    shop.pulled(*(piped.person(n, phone="+49 170 1234567") for n in range(4)))
    shop.run(by(shop, "email", "phone"))
    shop.run(by(shop, "email"))
    shop.pulled(piped.person(3, phone="+49 170 7654321"))
    shop.run(by(shop, "email"))
    found = preview.previewed(by(shop, "email").model, Rules(("phone",)))
    assert sorted(each.records for each in found.largest) == [3]
    shop.close()


def test_an_identifier_that_is_no_property_is_told_with_the_nearest(tmp_path: Path) -> None:
    shop = anywhere.Place(tmp_path, fleet.url("duckdb", tmp_path, 1))
    with pytest.raises(
        errors.ConfigError, match="fone is no property of the customer model; did you mean phone"
    ):
        preview.previewed(by(shop, "email").model, Rules(("fone",)))
    shop.close()
