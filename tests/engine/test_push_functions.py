"""Whole pushes with a function: what reaches Stripe, what an edit does, what is planned, held and said."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pushed_people as people
import pytest
from following import Merchant

from tidegate import config, errors
from tidegate.engine import place as places
from tidegate.engine import preparing, pushes, readiness, work
from tidegate.store import database, holds, logs, runs

PUSH = people.USUAL[:-1] + ", function: {python: shape.py}}"
UPPER = """
def transform(row):
    print("the name is", row["name"])
    if row["plan"] == "none":
        return None
    if row["plan"] == "odd":
        raise ValueError("what is " + row["name"])
    return {"email": row["email"], "name": row["name"], "plan": row["plan"].upper()}
"""


@pytest.fixture
def folder(shop: Merchant, tmp_path: Path) -> Path:
    """Four people, of whom one is left out and one fails."""
    plans = ("pro", "free", "none", "odd")
    people.write(tmp_path, shop.url, (people.person(n, plan=plan) for n, plan in enumerate(plans)), PUSH)
    (tmp_path / "shape.py").write_text(UPPER)
    return tmp_path


def plans_of(shop: Merchant) -> dict[str, str]:
    """The plan in Stripe, by e-mail."""
    made = [line["object"] for line in shop.truth("customers")]
    ours = [each for each in made if str(each["email"]).endswith("@people.test")]
    return {each["email"]: each["metadata"]["plan"] for each in ours}


@contextlib.contextmanager
def stored(folder: Path) -> Iterator[database.Database]:
    with contextlib.closing(database.open_database(f"sqlite:///{folder}/tidegate.db")) as store:
        yield store


def held(folder: Path) -> list[dict[str, Any]]:
    with stored(folder) as store:
        return [row for batch in holds.each(store, people.NAME) for row in batch.to_pylist()]


def test_what_the_function_returns_is_what_stripe_gets(shop: Merchant, folder: Path) -> None:
    result = people.push(folder)

    assert plans_of(shop) == {"p0@people.test": "PRO", "p1@people.test": "FREE"}
    counts = result.counts
    assert (counts.source, counts.created, counts.filtered, counts.invalid) == (4, 2, 1, 1)
    [row] = held(folder)
    assert (row["key"], row["kind"]) == ("3", "invalid")
    with stored(folder) as store:
        found = holds.find(store, people.NAME, "3")
    assert found is not None
    assert found.text == "The function shape.py fails: line 7: ValueError."


def test_the_next_run_asks_nothing_of_stripe(shop: Merchant, folder: Path) -> None:
    people.push(folder)
    before = shop.requests()
    result = people.push(folder)
    assert result.counts.unchanged == 2
    assert shop.requests() == before
    assert [row["key"] for row in held(folder)] == ["3"]


def test_an_edited_function_has_all_rows_compared_and_only_differences_written(
    shop: Merchant, folder: Path
) -> None:
    people.push(folder)
    (folder / "shape.py").write_text(UPPER.replace("print", "0 and print"))
    same = people.push(folder)
    assert (same.counts.unchanged, same.counts.updated) == (2, 0)

    (folder / "shape.py").write_text(UPPER.replace(".upper()}", '.upper().replace("FREE", "GRATIS")}'))
    other = people.push(folder)
    assert (other.counts.unchanged, other.counts.updated) == (1, 1)
    assert plans_of(shop) == {"p0@people.test": "PRO", "p1@people.test": "GRATIS"}


def test_a_row_that_the_corrected_function_can_shape_is_held_no_more(shop: Merchant, folder: Path) -> None:
    people.push(folder)
    (folder / "shape.py").write_text(UPPER.replace('"odd"', '"even"'))
    result = people.push(folder)
    assert (result.counts.created, result.counts.invalid) == (1, 0)
    assert plans_of(shop)["p3@people.test"] == "ODD"
    assert held(folder) == []


def test_a_row_that_fails_later_keeps_what_it_had_and_is_not_gone(shop: Merchant, folder: Path) -> None:
    file = folder / "tidegate.yaml"
    file.write_text(file.read_text().replace(", function:", ", on_missing: clear, function:"))
    people.push(folder)
    (folder / "shape.py").write_text(UPPER.replace('"odd"', '"free"').replace('"none"', '"pro"'))
    result = people.push(folder, approve=True)
    assert result.counts.removed == 0
    assert plans_of(shop) == {"p0@people.test": "PRO", "p1@people.test": "FREE", **NEW}


NEW = {"p2@people.test": "NONE", "p3@people.test": "ODD"}


def test_a_plan_shows_it_and_writes_nothing(shop: Merchant, folder: Path) -> None:
    seen = {}

    def looked(_: object, rows: pushes.Rows) -> bool:
        for each in rows():
            after = {field: change.after for field, change in each.changes.items()}
            seen[each.key] = (each.verdict, each.text, after)
        return True

    file = config.load(folder / "tidegate.yaml")
    with stored(folder) as store:
        job = preparing.job(file, people.NAME)
        asyncio.run(pushes.run(job, store, folder / "state", runs.new_id(), pushes.Wish(), seen=looked))
    assert plans_of(shop) == {}
    assert seen["3"] == ("invalid", "The function shape.py fails: line 7: ValueError: what is Person 3.", {})
    assert "2" not in seen
    assert seen["0"][0] == "create"
    assert seen["0"][2]["metadata.plan"] == "PRO"


def test_nothing_that_it_prints_or_says_of_values_is_in_the_log(shop: Merchant, folder: Path) -> None:
    with stored(folder) as store:
        place = places.Place(config.load(folder / "tidegate.yaml"), store, folder=folder / "state")
        run = runs.queue(store, runs.new_id(), f"push:{people.NAME}", "manual")
        begun = runs.begin(store, run.id, place.worker)
        assert begun is not None
        asyncio.run(work.perform(place, begun))
        lines = "\n".join(str(each) for each in logs.read(store, run.id))
    assert plans_of(shop)["p0@people.test"] == "PRO"
    assert "the name is" not in lines
    assert "Person" not in lines


def test_a_check_says_how_many_fail_and_where(folder: Path) -> None:
    job = preparing.job(config.load(folder / "tidegate.yaml"), people.NAME)
    report = asyncio.run(readiness.check(job, folder / "state"))
    [mapped] = [step for step in report.steps if step.name == "mapping"]
    assert not mapped.ok
    assert "1 rows are left out by the function" in mapped.detail
    told = "its function fails for 1 of them: The function shape.py fails: line 7: ValueError. (1)"
    assert mapped.detail.endswith(told)
    assert "Person" not in mapped.detail


def test_a_function_that_is_not_there_is_said_before_anything_is_asked(folder: Path) -> None:
    (folder / "shape.py").unlink()
    with pytest.raises(errors.ConfigError, match=r"pushes\.people\.function: the function .* cannot be read"):
        preparing.job(config.load(folder / "tidegate.yaml"), people.NAME)


def test_a_syntax_error_writes_nothing(shop: Merchant, folder: Path) -> None:
    (folder / "shape.py").write_text("def transform(row:\n")
    before = shop.requests()
    with pytest.raises(errors.ConfigError, match=r"The push people cannot shape its rows: .*line 1"):
        people.push(folder)
    assert shop.requests() == before
