"""Which records are one customer: the rules by example, and against a resolver that takes them word by word."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import fleet
import identities
import pyarrow as pa
import pytest

from tidegate import errors
from tidegate.customers import components, identity
from tidegate.customers import space as spaces
from tidegate.customers.names import Names
from tidegate.customers.rules import Rules
from tidegate.warehouse import scripts

RULES = Rules(("customer_id", "email", "phone"), max_cluster=4)
KINDS = {"customer_id": 8, "email": 6, "phone": 4}
"""Identifiers, and how many values of each there are in a group: the weaker, the more records share one."""
STATE = "SELECT record, profile_id, home, component FROM {members} WHERE left_at IS NULL"


@pytest.fixture
def model(tmp_path: Path) -> Iterator[identities.Model]:
    made = identities.Model(f"duckdb:///{tmp_path}/w.duckdb")
    yield made
    made.close()


@pytest.fixture(params=["postgres", "mysql"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[identities.Model]:
    made = identities.Model(fleet.url(request.param, tmp_path, 1))
    yield made
    made.close()


def values(chance: random.Random, group: int) -> identities.Values:
    """Some values of a group: each kind none, one or two."""
    return {
        kind: sorted({f"{kind}{group}-{chance.randrange(some)}" for _ in range(chance.choice([0, 1, 1, 2]))})
        for kind, some in KINDS.items()
    }


def graphs(chance: random.Random, count: int) -> dict[str, identities.Values]:
    """So many groups of up to eight records that have nothing in common with each other's."""
    return {
        f"p{chance.randrange(2)}/a/{group}-{number}": values(chance, group)
        for group in range(count)
        for number in range(chance.randint(1, 8))
    }


def changed(
    chance: random.Random, there: Mapping[str, identities.Values], count: int
) -> dict[str, identities.Values | None]:
    """Some records with other values, some that leave, some that come."""
    asked: dict[str, identities.Values | None] = {}
    for record in chance.sample(sorted(there), count):
        group = int(record.split("/")[2].split("-")[0])
        asked[record] = None if chance.random() < 0.3 else values(chance, group)
        if chance.random() < 0.3:
            asked[f"p2/a/{group}-{chance.randrange(3)}"] = values(chance, group)
    return asked


def state(model: identities.Model) -> tuple[object, ...]:
    """All that the resolution keeps, but for when it was."""
    shared = model.rows("SELECT kind, value, records FROM {shared}")
    held = model.rows("SELECT record, kind, cause, cluster, records FROM {held}")
    ids = model.rows("SELECT profile_id FROM {ids} WHERE gone_at IS NULL")
    return (set(model.rows(STATE)), set(shared), set(held), set(ids), model.aliases())


def test_records_that_share_a_value_are_one_customer_through_others_too(model: identities.Model) -> None:
    model.write(
        {
            "eu/a/1": {"customer_id": ["7"], "email": ["ann@x.example"]},
            "us/b/2": {"customer_id": ["7"], "phone": ["+15550100"]},
            "us/b/3": {"phone": ["+15550100"], "email": ["other@x.example"]},
            "us/b/4": {"email": ["nobody.else@x.example"]},
            "us/b/5": {},
        }
    )
    found = model.resolve(RULES)
    assert (found.records, found.profiles, found.born) == (5, 3, 3)
    assert model.clusters() == {
        frozenset(["eu/a/1", "us/b/2", "us/b/3"]),
        frozenset(["us/b/4"]),
        frozenset(["us/b/5"]),
    }


def test_the_same_text_in_two_identifiers_links_nobody(model: identities.Model) -> None:
    model.write({"p/a/1": {"customer_id": ["7"]}, "p/a/2": {"phone": ["7"]}})
    assert model.resolve(RULES).profiles == 2


def test_a_value_that_too_many_share_links_nobody_and_the_rest_is_linked(model: identities.Model) -> None:
    crowd = {f"p/a/{n}": {"phone": ["+1000"], "email": [f"{n // 2}@x.example"]} for n in range(5)}
    model.write(crowd)
    found = model.resolve(RULES)
    assert model.clusters() == {
        frozenset(["p/a/0", "p/a/1"]),
        frozenset(["p/a/2", "p/a/3"]),
        frozenset(["p/a/4"]),
    }
    assert found.held == (identity.Held("phone", "shared", 1, 5),)


def test_a_value_links_again_once_few_enough_share_it(model: identities.Model) -> None:
    model.write({f"p/a/{n}": {"phone": ["+1000"]} for n in range(5)})
    assert model.resolve(RULES).profiles == 5
    model.write({"p/a/2": {"phone": ["+2000"]}})
    assert model.resolve(RULES, ["p/a/2"]).profiles == 2
    model.write({"p/a/9": {"phone": ["+1000"]}})
    assert model.resolve(RULES, ["p/a/9"]).profiles == 6


def test_a_chain_that_grows_too_long_keeps_what_stronger_identifiers_say(model: identities.Model) -> None:
    chain = {f"p/a/{n}": {"customer_id": [f"c{n // 2}"], "email": [f"{n}@x", f"{n + 1}@x"]} for n in range(6)}
    model.write(chain)
    found = model.resolve(RULES)
    assert model.clusters() == {frozenset([f"p/a/{n}", f"p/a/{n + 1}"]) for n in (0, 2, 4)}
    assert found.held == (identity.Held("email", "size", 1, 6),)


def test_beyond_the_limit_by_the_strongest_identifier_all_stay_apart(model: identities.Model) -> None:
    model.write({f"p/a/{n}": {"customer_id": [f"{n}", f"{n + 1}"]} for n in range(5)})
    assert model.resolve(RULES).profiles == 5


def test_a_weaker_identifier_goes_on_from_what_was_held(model: identities.Model) -> None:
    model.write({f"p/a/{n}": {"customer_id": [f"{n}", f"{n + 1}"]} for n in range(5)} | {"p/a/9": {}})
    model.write({"p/a/4": {"customer_id": ["4", "5"], "phone": ["+1"]}, "p/a/9": {"phone": ["+1"]}})
    model.resolve(RULES)
    assert frozenset(["p/a/4", "p/a/9"]) in model.clusters()


def test_records_without_identifiers_are_customers_of_their_own(model: identities.Model) -> None:
    model.write({"p/a/1": {}, "p/a/2": {}})
    assert model.resolve(RULES).profiles == 2


def test_a_model_without_records_has_no_profiles(model: identities.Model) -> None:
    assert model.resolve(RULES).records == 0
    model.write({"p/a/1": {}})
    model.write({"p/a/1": None})
    assert model.resolve(RULES).profiles == 0


def test_ten_thousand_random_graphs_come_out_as_the_rules_say(model: identities.Model) -> None:
    chance = random.Random(1)
    model.write(graphs(chance, 10_000))
    model.resolve(RULES)
    assert model.clusters() == identities.resolved(model.there, RULES)
    assert len(model.clusters()) < len(model.there)


def test_what_changed_is_enough_to_know(model: identities.Model) -> None:
    chance = random.Random(2)
    model.write(graphs(chance, 400))
    model.resolve(RULES)
    for _ in range(3):
        asked = changed(chance, model.there, 80)
        model.write(asked)
        found = model.resolve(RULES, asked)
        assert found.looked < len(model.there)
        assert model.clusters() == identities.resolved(model.there, RULES)
        before = state(model)
        again = model.resolve(RULES)
        assert (again.merged, again.split, again.born, again.gone) == (0, 0, 0, 0)
        assert state(model) == before


def test_whether_steps_are_small_or_whole_the_ids_are_the_same(tmp_path: Path) -> None:
    chance = random.Random(3)
    small, whole = (identities.Model(f"duckdb:///{tmp_path}/{name}.duckdb") for name in ("small", "whole"))
    asked: Mapping[str, identities.Values | None] = graphs(chance, 60)
    for _ in range(4):
        small.write(asked)
        whole.write(asked)
        small.resolve(RULES, asked)
        whole.resolve(RULES)
        assert state(small) == state(whole)
        asked = changed(chance, small.there, 40)
    small.close()
    whole.close()


def test_the_order_of_arrival_makes_no_difference(tmp_path: Path) -> None:
    chance = random.Random(4)
    records = graphs(chance, 200)
    found = []
    for name in ("one", "other"):
        model = identities.Model(f"duckdb:///{tmp_path}/{name}.duckdb")
        order = chance.sample(sorted(records), len(records))
        for start in range(0, len(order), 300):
            some = order[start : start + 300]
            model.write({record: records[record] for record in some})
            model.resolve(RULES, some)
        found.append(model.clusters())
        model.close()
    assert found[0] == found[1] == identities.resolved(records, RULES)


def test_other_rules_look_at_everything_again(model: identities.Model) -> None:
    chance = random.Random(5)
    model.write(graphs(chance, 200))
    model.resolve(RULES)
    for rules in (Rules(("phone", "email"), 4), Rules(("phone", "email"), 3), RULES):
        found = model.resolve(rules, [])
        assert found.looked == len(model.there)
        assert model.clusters() == identities.resolved(model.there, rules)
    assert model.resolve(RULES, []).looked == 0


def test_it_is_the_same_in_postgres_and_mysql(remote: identities.Model) -> None:
    chance = random.Random(6)
    remote.write(graphs(chance, 300))
    remote.resolve(RULES)
    assert remote.clusters() == identities.resolved(remote.there, RULES)
    for _ in range(2):
        asked = changed(chance, remote.there, 60)
        remote.write(asked)
        remote.resolve(RULES, asked)
        assert remote.clusters() == identities.resolved(remote.there, RULES)
        before = state(remote)
        remote.resolve(RULES)
        assert state(remote) == before


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_chain_of_100_000_takes_few_rounds(model: identities.Model, *, shuffled: bool) -> None:
    nodes = list(range(1, 100_001))
    if shuffled:
        random.Random(7).shuffle(nodes)
    rounds, parts = model.scripted(_found(list(itertools.pairwise(nodes))))
    assert rounds <= 20
    assert parts == 1


def test_parts_are_told_apart_whatever_their_shape(model: identities.Model) -> None:
    star = [(1, n) for n in range(2, 50)]
    ring = [(100 + n, 100 + (n + 1) % 40) for n in range(40)]
    full = [(200 + a, 200 + b) for a in range(9) for b in range(a)]
    largest = [(components.MOST - 1, components.MOST)]
    _, parts = model.scripted(_found([*star, *ring, *full, *largest]))
    assert parts == 4


def _found(edges: list[tuple[int, int]]) -> Callable[[scripts.Script], tuple[int, int]]:
    graph = pa.table({name: pa.array([edge[i] for edge in edges], pa.int64()) for i, name in enumerate("vw")})

    def work(script: scripts.Script) -> tuple[int, int]:
        with spaces.opened(script, "_tidegate_test_") as space:
            name = space.put("graph", graph, {"v": "BIGINT", "w": "BIGINT"}, ("v", "w"))
            rounds = components.found(space, name, "part")
            return rounds, spaces.number(script, f"SELECT count(DISTINCT c) AS n FROM {space['part']}")

    return work


def test_who_was_shut_out_publishes_nothing(model: identities.Model) -> None:
    tables = [table.name for table in Names().kept]
    model.write({"p/a/1": {"email": ["a@x"]}, "p/a/2": {"email": ["b@x"]}})
    fence = model.warehouse.claim("first", tables)
    model.resolve(RULES, fence=fence)
    before = state(model)
    model.warehouse.claim("second", tables)
    model.write({"p/a/2": {"email": ["a@x"]}})
    with pytest.raises(errors.Fenced, match="taken over by second"):
        model.resolve(RULES, fence=fence)
    assert state(model) == before


def test_profiles_wait_to_be_written_until_somebody_has(model: identities.Model) -> None:
    model.write({"p/a/1": {"email": ["a@x"]}, "p/a/2": {"email": ["b@x"]}, "p/a/3": {}})
    assert model.resolve(RULES).touched == 3
    waiting = model.rows("SELECT profile_id FROM {touched}")
    assert {str(profile) for (profile,) in waiting} == set(model.profiles())
    clear(model)
    model.write({"p/a/1": {"email": ["a@x"]}})
    assert model.resolve(RULES, ["p/a/1"]).touched == 1
    model.write({"p/a/2": {"email": ["a@x"]}})
    assert model.resolve(RULES, ["p/a/2"]).touched == 2
    assert {str(profile) for (profile,) in model.rows("SELECT profile_id FROM {touched}")} == {
        *model.aliases(),
        *model.aliases().values(),
    }


def clear(model: identities.Model) -> None:
    def work(script: scripts.Script) -> None:
        script.execute(f"DELETE FROM {script.name(Names().touched.name)}")

    model.scripted(work)


def test_what_changed_may_stand_in_a_table_of_the_warehouse(remote: identities.Model) -> None:
    remote.write({"p/a/1": {"email": ["a@x"]}, "p/a/2": {"email": ["b@x"]}, "p/a/3": {}})
    remote.resolve(RULES)
    remote.write({"p/a/2": {"email": ["a@x"]}})

    def work(script: scripts.Script) -> identity.Resolved:
        waiting = script.work("_tidegate_test_waiting", {"record": "VARCHAR"}, ("record",))
        script.append(waiting, pa.table({"record": ["p/a/2"]}))
        found = identity.resolve(script, Names(), RULES, waiting, remote.now())
        script.drop("_tidegate_test_waiting")
        return found

    found = remote.scripted(work)
    assert (found.looked, found.merged, found.profiles) == (2, 1, 2)


def test_no_work_tables_are_left_and_those_of_a_killed_one_are_swept(remote: identities.Model) -> None:
    remote.write({"p/a/1": {"email": ["a@x"]}})

    def stopped(script: scripts.Script) -> None:
        script.work(f"{identity.PREFIX}scope", {"record": "VARCHAR"}, ("record",))

    remote.scripted(stopped)
    assert remote.resolve(RULES).profiles == 1
    assert remote.scripted(lambda script: script.works("_tidegate_identity")) == []
    assert remote.warehouse.columns(f"{identity.PREFIX}scope") == {}
