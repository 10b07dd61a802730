"""Whole runs of pipelines: funnels that balance, guards, quarantine, cases, versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import piped
import pytest
from piped import GERMANS, person

from tidegate import errors
from tidegate.customers import run
from tidegate.shape import bounded
from tidegate.store import definitions, failed

NO_A = """
def transform(customer):
    if customer['name'] == 'bad':
        raise ValueError(customer['email'])
    return {name: customer[own] for name, own in [('customer_id', 'id'), ('email', 'email'), ('name', 'name')]}
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[piped.Place]:
    place = piped.Place(tmp_path)
    yield place
    place.close()


def figures(result: run.Result) -> tuple[int, int, int, int, int, int, int]:
    funnel = result.funnel
    assert funnel.read == funnel.filtered + funnel.failed + funnel.matched
    assert funnel.matched == funnel.written + funnel.unchanged
    return (
        funnel.read,
        funnel.filtered,
        funnel.failed,
        funnel.matched,
        funnel.written,
        funnel.unchanged,
        funnel.removed,
    )


def test_what_matches_becomes_customers_and_a_second_run_reads_nothing(place: piped.Place) -> None:
    place.pulled(*map(person, range(4)), person(4, address={"country": "FR"}))
    assert figures(place.run()) == (5, 1, 0, 4, 4, 0, 0)
    assert place.profiles() == [
        ("cus_0", "p0@people.test", "Person 0", 2),
        ("cus_2", "p1@people.test", "Person 2", 2),
    ]
    again = place.run()
    assert figures(again) == (0, 0, 0, 0, 0, 0, 0)
    assert again.merged is not None
    assert again.merged.written == 0


def test_only_what_changed_is_read_however_old_its_version_is(place: piped.Place) -> None:
    place.pulled(*map(person, range(10)), version=100)
    place.run()
    place.pulled(person(20), version=3)
    place.pulled(person(0, name="Other"), version=101)
    assert figures(place.run()) == (2, 0, 0, 2, 2, 0, 0)
    assert ("cus_20", "p10@people.test", "Person 20", 1) in place.profiles()


def test_who_is_deleted_or_matches_no_more_leaves_the_model(place: piped.Place) -> None:
    place.pulled(*map(person, range(6)))
    place.run()
    place.pulled(person(0, address={"country": "FR"}))
    place.pulled(person(2), person(3), deleted=True)
    assert figures(place.run()) == (1, 1, 0, 0, 0, 0, 3)
    assert [row[0] for row in place.profiles()] == ["cus_1", "cus_4"]
    place.pulled(person(2), version=200)
    place.run()
    assert [row[0] for row in place.profiles()] == ["cus_1", "cus_2", "cus_4"]


def test_an_edited_filter_counts_for_rows_that_did_not_change(place: piped.Place) -> None:
    place.pulled(*map(person, range(4)), person(4, address={"country": "FR"}))
    place.run()
    french = {"filter": {"field": "address.country", "op": "is", "value": "FR"}}
    assert figures(place.run(place.job(**french))) == (5, 4, 0, 1, 1, 0, 4)
    assert [row[0] for row in place.profiles()] == ["cus_4"]


def test_many_who_would_leave_at_once_wait_for_a_person(place: piped.Place) -> None:
    place.pulled(*map(person, range(40)))
    place.run()
    place.pulled(*map(person, range(30)), deleted=True)
    with pytest.raises(run.Held) as held:
        place.run()
    assert str(held.value) == (
        "30 of the 40 customers that the pipeline eu brought would leave the model, and its guard lets 20% go at "
        "once; nothing was changed. Look at the filter and the source, then run `tidegate pipeline run eu "
        "--approve`."
    )
    assert len(place.profiles()) == 20
    assert figures(place.run(approve=True)) == (0, 0, 0, 0, 0, 0, 30)
    assert len(place.profiles()) == 5


def test_a_source_that_lost_everything_wipes_nothing(place: piped.Place) -> None:
    place.pulled(*map(person, range(40)))
    place.run()
    place.pulled(*map(person, range(40)), deleted=True)
    with pytest.raises(run.Held):
        place.run()
    assert len(place.profiles()) == 20


def test_a_filter_that_means_nobody_any_more_is_held(place: piped.Place) -> None:
    place.pulled(*map(person, range(40)))
    place.run()
    with pytest.raises(run.Held):
        place.run(place.job(filter={"field": "address.country", "op": "is", "value": "IT"}))
    assert len(place.profiles()) == 20


def test_rows_that_fail_stand_in_quarantine_until_they_or_the_function_change(
    place: piped.Place, tmp_path: Path
) -> None:
    place.pulled(person(0), person(2, name="bad"), person(4))
    job = place.job(function=piped.function(tmp_path, NO_A))
    result = place.run(job)
    assert figures(result) == (3, 0, 1, 2, 2, 0, 0)
    [kept] = failed.listed(place.store, "eu", 10)
    assert (kept.source_id, kept.line, kept.attempts) == ("cus_2", 4, 1)
    assert "people.test" not in kept.why
    assert "p1@people.test" in kept.said
    assert '"cus_2"' in kept.payload
    assert figures(place.run(job)) == (0, 0, 0, 0, 0, 0, 0)  # nothing is read again and again
    assert failed.counts(place.store) == {"eu": 1}
    place.pulled(person(2, name="bad", email="other@people.test"))
    place.run(job, run_id="run_2")
    assert failed.listed(place.store, "eu", 10)[0].attempts == 2
    mended = place.job(function=piped.function(tmp_path, NO_A.replace("'bad'", "'worse'")))
    assert figures(place.run(mended)) == (3, 0, 0, 3, 1, 2, 0)
    assert failed.counts(place.store) == {}
    assert len(place.profiles()) == 3


def test_a_customer_whose_row_fails_later_keeps_what_was_known(place: piped.Place, tmp_path: Path) -> None:
    place.pulled(person(0))
    job = place.job(function=piped.function(tmp_path, NO_A))
    place.run(job)
    place.pulled(person(0, name="bad"))
    assert figures(place.run(job)) == (1, 0, 1, 0, 0, 0, 0)
    assert place.profiles() == [("cus_0", "p0@people.test", "Person 0", 1)]
    place.pulled(person(0), deleted=True)
    place.run(job, approve=True)
    assert place.profiles() == []
    assert failed.counts(place.store) == {}


def test_a_function_that_returns_nothing_leaves_a_customer_out(place: piped.Place, tmp_path: Path) -> None:
    text = "const transform = (c) => c.id === 'cus_0' ? null : ({customer_id: c.id, created: c.created})"
    place.pulled(person(0), person(2, created=piped.START))
    result = place.run(place.job(function=piped.function(tmp_path, text, "js")))
    assert figures(result) == (2, 1, 0, 1, 1, 0, 0)
    assert place.profiles("customer_id", "created") == [("cus_2", piped.START)]


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("def transform(it):\n    return {'customer_id': it['id']}\n", "py"),
        ("const transform = (it) => ({customer_id: it.id})", "js"),
    ],
)
def test_a_row_that_is_nested_too_deep_for_a_function_fails_alone(
    place: piped.Place, tmp_path: Path, text: str, suffix: str
) -> None:
    deep: dict[str, Any] = {}
    for _ in range(120):
        deep = {"a": deep}
    far = '{"a":' * 1_000 + "{}" + "}" * 1_000
    place.pulled(person(0), person(1, metadata=far), person(2, metadata=deep), person(3))
    result = place.run(place.job(**GERMANS, function=piped.function(tmp_path, text, suffix)))
    assert figures(result) == (4, 0, 2, 2, 2, 0, 0)
    first, second = sorted(failed.listed(place.store, "eu", 10), key=lambda each: each.source_id)
    assert first.why == "metadata is nested more than 100 levels deep, which no function is given"
    assert (first.source_id, second.source_id, second.why) == ("cus_1", "cus_2", first.why)
    assert '"Person 1"' in first.payload


def test_a_row_over_which_sql_takes_for_ever_stands_in_quarantine(
    place: piped.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.shape.computed._SHARE", 2)
    place.pulled(person(0), person(1, name="x" * 200_000), person(2))
    slow = {"sql": "name || levenshtein(name, name || 'y')"}
    job = place.job(map={"customer_id": {"from": "id"}, "name": slow}, sql_timeout=2)
    assert figures(place.run(job)) == (3, 0, 1, 2, 2, 0, 0)
    [kept] = failed.listed(place.store, "eu", 10)
    assert kept.why == "the property name cannot be made: its SQL took longer than 1 s on this row"
    assert place.profiles("customer_id", "name") == [("cus_0", "Person 01"), ("cus_2", "Person 21")]


def test_what_the_system_does_not_keep_a_function_from_is_told(
    place: piped.Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.pulled(person(0))
    job = place.job(
        function=piped.function(tmp_path, "def transform(it):\n    return {'customer_id': it['id']}\n")
    )
    program = bounded._program
    prefix = "import platform; platform.machine = lambda: 'riscv64'; "
    monkeypatch.setattr(bounded, "_program", lambda *given: prefix + program(*given))
    assert (
        "function.py is kept from the network and from other processes by"
        in place.run(job, full=True).unguarded
    )
    assert place.run().unguarded == ""


def test_a_mapping_comes_before_the_function(place: piped.Place, tmp_path: Path) -> None:
    text = "def transform(it):\n    print(sorted(it))\n    it['name'] += '!'\n    return it\n"
    place.pulled(person(0, metadata={"plan": "pro"}))
    job = place.job(
        map={"customer_id": {"from": "id"}, "name": {"sql": "upper(metadata->>'plan')"}},
        function=piped.function(tmp_path, text),
    )
    result = place.run(job)
    assert place.profiles("customer_id", "name") == [("cus_0", "PRO!")]
    assert "'customer_id'" in result.printed


def test_cases_that_come_out_differently_keep_it_from_running(place: piped.Place) -> None:
    place.pulled(person(0))
    cases = [
        {"name": "a german", "given": person(7), "expected": {"customer_id": "cus_7"}},
        {"name": "a dane", "given": person(8, address={"country": "DK"})},
    ]
    mapped = {"map": {"customer_id": {"from": "id"}}}
    with pytest.raises(errors.ConfigError) as error:
        place.run(place.job(**GERMANS, cases=cases))
    assert str(error.value) == (
        "The case 'a german' of the pipeline eu comes out differently: other values of address, email, metadata, "
        "name; `tidegate pipeline test eu` shows it."
    )
    assert figures(place.run(place.job(**GERMANS, **mapped, cases=cases))) == (1, 0, 0, 1, 1, 0, 0)
    wrong = [{"name": "nobody", "given": person(9), "expected": None}]
    with pytest.raises(errors.ConfigError, match="it should be left out, and comes through"):
        place.run(place.job(**mapped, cases=wrong))


def test_every_definition_that_ran_is_a_version(place: piped.Place, tmp_path: Path) -> None:
    place.pulled(person(0))
    place.run(place.job())
    place.run(place.job())
    place.run(place.job(**GERMANS))
    place.run(place.job())
    found = definitions.listed(place.store, "eu")
    assert [each.number for each in found] == [3, 2, 1]
    assert found[0].digest == found[2].digest != found[1].digest
    place.run(place.job(**GERMANS, cases=[{"name": "a dane", "given": person(8, address={"country": "DK"})}]))
    assert [each.number for each in definitions.listed(place.store, "eu")] == [4, 3, 2, 1]
    place.run(place.job(function=piped.function(tmp_path, NO_A)))
    assert "def transform(customer):" in definitions.listed(place.store, "eu")[0].body


def test_a_full_run_reads_all_and_writes_what_differs(place: piped.Place) -> None:
    place.pulled(*map(person, range(4)))
    place.run()
    assert figures(place.run(full=True)) == (4, 0, 0, 4, 0, 4, 0)
    assert figures(place.run(place.job(**GERMANS, incremental=False))) == (4, 0, 0, 4, 0, 4, 0)


def test_two_pipelines_meet_in_one_customer_and_the_primary_source_wins(place: piped.Place) -> None:
    place.pulled(person(0, name="From one"))
    model = {"primary_source": "two"}
    place.run(place.job(model, "two", map={"email": {"from": "email"}, "name": {"sql": "name || ' of two'"}}))
    place.pulled(person(0, name="Newer"))
    place.run(place.job(model, "one", map={"email": {"from": "email"}, "name": {"from": "name"}}))
    assert place.profiles("email", "name", "sources") == [("p0@people.test", "From one of two", 2)]
    other = place.job(
        {"primary_source": "one"}, "one", map={"email": {"from": "email"}, "name": {"from": "name"}}
    )
    place.run(other)
    assert place.profiles("email", "name", "sources") == [("p0@people.test", "Newer", 2)]
