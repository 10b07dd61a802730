"""Rows that go round are found and held; rows that only change often are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import circling
import pytest

from tidegate.push import loops
from tidegate.store import decisions

Circle = circling.Circle


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Circle]:
    with circling.circle(tmp_path, {"cus_1": "Ada"}) as found:
        yield found


def pulled(circle: Circle, model: Callable[[str], str], times: int, **more: str) -> list[str]:
    """What becomes of a row when each run reads what the one before wrote; `quiet` where nothing is planned."""
    found = []
    for _ in range(times):
        rows = {id: model(name) for id, name in circle.names.items()}
        found.append(circle.run(rows, **more).get("cus_1", "quiet"))
    return found


def test_a_model_that_settles_is_written_once(one: Circle) -> None:
    assert pulled(one, str.upper, 6) == ["update", *["quiet"] * 5]


def test_a_model_that_never_settles_is_watched_tried_once_more_and_held(one: Circle) -> None:
    found = pulled(one, lambda name: f"{name}!", 12)
    assert found == [*["update"] * 4, *["watched"] * 3, "update", *["looping"] * 4]
    assert one.names == {"cus_1": "Ada!!!!!"}
    hold = one.hold("cus_1")
    assert (hold.state, hold.field) == ("held", "name")
    assert hold.text == (
        "name of cus_1 changed each time after accounts wrote it, and only then; correct the model so that it "
        "settles, and have the row tried again."
    )


def test_two_values_that_answer_each_other_are_held_whatever_they_are_read_from(one: Circle) -> None:
    one.is_fed = False
    found = pulled(one, lambda name: "Bob" if name == "Ada" else "Ada", 10)
    assert found == [*["update"] * 4, *["watched"] * 3, "update", *["looping"] * 2]


def test_two_pushes_that_answer_each_other_are_both_named(one: Circle) -> None:
    names = []
    for _ in range(12):
        pulled(one, lambda name: f"{name}a", 1, push="accounts")
        pulled(one, lambda name: f"{name}b", 1, push="people")
        names.append(one.names["cus_1"])
    assert names[-1] == names[-3]
    assert len(names[-1]) <= len("Ada") + 4 + 8
    assert "is written by accounts and people in turns" in one.hold("cus_1", "people").text


def test_who_else_writes_it_back_is_told(one: Circle) -> None:
    for n in range(5):
        pulled(one, lambda name: f"{name}!", 1)
        one.stripe["cus_1"]["name"] = f"Theirs {n}"
    assert "is written by accounts and somebody at Stripe in turns" in one.hold("cus_1").text


def test_what_is_restored_again_and_again_is_held(one: Circle) -> None:
    one.is_fed = False
    found = []
    for _ in range(9):
        one.stripe["cus_1"]["name"] = "Theirs"
        one.forget("cus_1")
        found.append(one.run({"cus_1": "Ours"})["cus_1"])
    assert found == [*["update"] * 4, *["watched"] * 3, "update", "looping"]
    assert "is written by accounts and somebody at Stripe in turns" in one.hold("cus_1").text


def test_once_in_a_quarter_of_an_hour_it_is_found_too(one: Circle) -> None:
    found = []
    for _ in range(24):
        found += pulled(one, lambda name: f"{name}!", 1)
        one.later(900)
    assert found.count("update") == loops.RUNS + 1
    assert found[-4:] == ["looping"] * 4


def test_a_counter_that_no_pull_feeds_is_never_left_out(one: Circle) -> None:
    one.is_fed = False
    assert [one.run({"cus_1": f"{n}"})["cus_1"] for n in range(20)] == ["update"] * 20


def test_a_counter_beside_a_pull_is_left_out_once_and_then_let_alone(one: Circle) -> None:
    found = []
    for n in range(28):
        found.append(one.run({"cus_1": f"{n}"})["cus_1"])
        one.later(120)
    first, second = (n for n, each in enumerate(found) if each != "update")
    assert first == 4
    assert 20 < second < 28  # four times as long as was looked at, by a clock that goes on meanwhile
    assert one.noted("") == ["moves", "moves"]


def test_somebody_who_types_in_a_hurry_waits_for_a_few_runs(one: Circle) -> None:
    for name in ("Bea", "Cleo", "Dora", "Eve"):
        assert one.run({"cus_1": name}) == {"cus_1": "update"}
    found = [one.run({"cus_1": "Fay"}) for _ in range(6)]
    assert found == [*[{"cus_1": "watched"}] * 3, {"cus_1": "update"}, {}, {}]
    assert one.names == {"cus_1": "Fay"}
    assert one.run({"cus_1": "Gil"}) == {"cus_1": "update"}


def test_one_that_may_go_on_and_is_not_written_yet_was_watched_once(one: Circle) -> None:
    pulled(one, lambda name: f"{name}!", 7)
    for _ in range(3):
        assert one.run({"cus_1": "Ada!!!!!"}, write=False) == {"cus_1": "update"}
    assert one.run({"cus_1": "Ada!!!!!"}) == {"cus_1": "update"}
    assert one.noted("cus_1").count("rested") == 1


def test_changes_that_are_far_apart_are_nothing(one: Circle) -> None:
    for n in range(8):
        assert one.run({"cus_1": f"{n % 2}"}) == {"cus_1": "update"}
        one.later(3600)


def test_a_person_has_it_tried_again(one: Circle) -> None:
    pulled(one, lambda name: f"{name}!", 10)
    decisions.retry(one.store, "accounts", "cus_1")
    assert pulled(one, lambda name: f"{name}!", 5) == [*["update"] * 4, "watched"]
    decisions.retry(one.store, "accounts", "cus_1")
    assert pulled(one, str.upper, 3) == ["update", "quiet", "quiet"]


def test_one_that_is_held_is_written_when_it_changes_and_held_again_at_once(one: Circle) -> None:
    pulled(one, lambda name: f"{name}!", 10)
    assert one.run({"cus_1": "Somebody else"}) == {"cus_1": "update"}
    assert pulled(one, lambda name: f"{name}!", 2) == ["looping", "looping"]


def test_one_that_a_person_skips_stays_so(one: Circle) -> None:
    pulled(one, lambda name: f"{name}!", 10)
    decisions.skip(one.store, "accounts", "cus_1")
    assert pulled(one, lambda name: f"{name}!", 2) == ["looping", "looping"]
    assert one.hold("cus_1").state == "skipped"


def test_another_field_of_the_same_object_goes_on(one: Circle) -> None:
    pulled(one, lambda name: f"{name}!", 10)
    described = one.run({"cus_1": "Text"}, push="others", fields={"description": "name"})
    assert described == {"cus_1": "update"}


def test_of_many_rows_a_few_are_watched_for_all(tmp_path: Path) -> None:
    names = {f"cus_{n:02}": f"{n}" for n in range(20)}
    with circling.circle(tmp_path, names) as many:
        for n in range(4):
            many.run({id: f"{id} {n}" for id in names})
        found = many.run({id: f"{id} 4" for id in names})
        assert [id for id, what in found.items() if what == "watched"] == list(names)[: loops.FEW]
        assert set(many.run({id: f"{id} 5" for id in names}).values()) == {"update"}
        assert many.noted("") == ["moves"]


def test_many_rows_that_go_round_all_end(tmp_path: Path) -> None:
    names = {f"cus_{n:02}": f"{n}" for n in range(12)}
    with circling.circle(tmp_path, names) as many:
        found = [many.run({id: f"{name}!" for id, name in many.names.items()}) for _ in range(24)]
        assert set(found[-1].values()) == {"looping"}
        assert len(found[-1]) == 12


def test_what_a_plan_finds_is_noted_by_a_run_alone(one: Circle) -> None:
    pulled(one, lambda name: f"{name}!", 4)
    assert one.noted("cus_1").count("waiting") == 0
    pulled(one, lambda name: f"{name}!", 4)
    assert one.noted("cus_1").count("waiting") == 3
    assert one.noted("cus_1").count("rested") == 1
