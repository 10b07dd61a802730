"""Customers: found, told of, decided about, and the rules tried before they are kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import profiled
import pytest
import seen

from tidegate import config, errors, views
from tidegate.engine import place as places
from tidegate.store import trail
from tidegate.views import customers, outside, pipeline_trials, saying

ANN = views.Person("ann@example.com", "session")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    """Four German customers, each two with one e-mail: two profiles."""
    with profiled.place(tmp_path) as found:
        profiled.ran(found)
        yield found


@pytest.fixture
def of(place: places.Place) -> config.CustomerModel:
    return customers.model(place)


def profile(place: places.Place, of: config.CustomerModel, text: str) -> str:
    [found] = customers.search(place, of, text).customers
    return found.profile


def test_without_a_pipeline_there_is_no_model(tmp_path: Path) -> None:
    with seen.place(seen.written(tmp_path)) as empty:
        assert customers.models(empty) == []
        with pytest.raises(views.Unknown, match="no customer model yet"):
            customers.model(empty)


def test_customers_are_found_by_what_is_known_of_them(place: places.Place, of: config.CustomerModel) -> None:
    first = profile(place, of, "p0@people.test")
    assert profile(place, of, "cus_1") == first
    assert profile(place, of, first) == first
    assert profile(place, of, "person 2") == profile(place, of, "cus_2")
    assert customers.search(place, of, "nobody").customers == ()


def test_pages_follow_one_another_without_gap(place: places.Place, of: config.CustomerModel) -> None:
    every = [each.profile for each in customers.each(place, of)]
    first = customers.search(place, of, limit=1)
    assert first.after is not None
    last = customers.search(place, of, limit=1, after=first.after)
    assert [each.profile for each in (*first.customers, *last.customers)] == every == sorted(every)
    assert last.after is None


def test_how_many_there_are_is_what_the_last_run_counted(
    place: places.Place, of: config.CustomerModel
) -> None:
    assert customers.known(place, of) == 2
    place.store.execute("DELETE FROM runs")
    assert customers.known(place, of) is None


def test_a_customer_with_all_that_belongs_to_it(place: places.Place, of: config.CustomerModel) -> None:
    found = customers.get(place, of, "cus_0")
    assert {each.source_id for each in found.records} == {"cus_0", "cus_1"}
    told = {each.name: each for each in customers.attributes(found)}
    assert told["email"].value == "p0@people.test"
    assert told["email"].pipelines == ("filed",)
    assert told["phone"].value is None
    assert told["phone"].pipelines == ()
    events = customers.timeline(found)
    assert [each.at for each in events] == sorted((each.at for each in events), reverse=True)
    assert {each.title for each in events} >= {"First seen", "Record filed/acct_1/cus_0"}
    with pytest.raises(views.Unknown, match="nobody"):
        customers.get(place, of, "nobody")


def test_why_two_are_one_and_why_not(place: places.Place, of: config.CustomerModel) -> None:
    one = customers.explained(place, of, "cus_0", "cus_1")
    assert [saying.step(each, one.decisions) for each in one.path] == [
        "filed/acct_1/cus_0 and filed/acct_1/cus_1 have the same email: p0@people.test"
    ]
    two = customers.explained(place, of, "cus_0", "cus_2")
    assert [saying.reason(each, two.decisions) for each in two.reasons] == [
        "No value of an identifier links them, directly or through others."
    ]


def test_a_merge_shows_at_once_where_it_is_wished(place: places.Place, of: config.CustomerModel) -> None:
    came = customers.decide(place, ANN, of, "merge", "cus_0", "cus_2", note="same person", now=True)
    assert came.resolved is not None
    assert came.resolved.merged == 1
    found = customers.get(place, of, "cus_2")
    assert found.sources == 4
    assert customers.timeline(found)[0].at >= customers.timeline(found)[-1].at
    done, begun = trail.listed(place.store, what="customers.local")
    assert [each.action for each in (begun, done)] == ["begin to merge", "merge"]
    assert {each.who for each in (begun, done)} == {"ann@example.com"}
    assert begun.after == done.after
    [decision] = customers.decided(place, of)
    assert saying.sentence(decision).endswith("are merged by hand, by ann@example.com")
    customers.withdraw(place, ANN, of, decision.decision, now=True)
    assert customers.get(place, of, "cus_2").sources == 2
    assert customers.decided(place, of) == ()
    [gone] = customers.decided(place, of, withdrawn=True)
    assert (gone.decided_by, gone.withdrawn_by) == ("ann@example.com", "ann@example.com")
    assert gone.withdrawn_at is not None
    with pytest.raises(views.Unknown):
        customers.withdraw(place, ANN, of, decision.decision)


def test_a_split_waits_for_the_next_run_where_nothing_else_is_wished(
    place: places.Place, of: config.CustomerModel
) -> None:
    came = customers.decide(place, ANN, of, "split", "cus_0", records=["cus_1"])
    assert came.resolved is None
    assert customers.get(place, of, "cus_0").sources == 2
    customers.resolve(place, of)
    found = customers.get(place, of, "cus_0")
    assert [each.source_id for each in found.records] == ["cus_0"]
    answer = customers.explained(place, of, "cus_0", "cus_1")
    assert saying.reason(answer.reasons[0], answer.decisions).startswith("filed/acct_1/cus_1 stands alone")
    with pytest.raises(errors.ConfigError, match="the same customer"):
        customers.decide(place, ANN, of, "merge", "cus_2", "cus_2")


def test_rules_are_tried_before_they_are_kept(place: places.Place, of: config.CustomerModel) -> None:
    found = customers.previewed(place, of, ["customer_id"], 100)
    assert (found.profiles_now, found.profiles, found.merges, found.splits) == (2, 4, 0, 2)
    assert place.file.customer_model is None
    customers.keep_rules(place, ANN, of, ["customer_id"], 50, None)
    assert place.file.customer_model is not None
    assert place.file.customer_model.identifiers == ("customer_id",)
    assert customers.model(place).max_cluster == 50


@pytest.mark.parametrize(
    ("identifiers", "most", "said"),
    [
        ([], 10, "one identifier at least"),
        (["colour"], 10, "colour is no property of the customer model; it has customer_id"),
        (["email", "email"], 10, "given twice"),
        (["email"], 1, "2 to 10,000 records"),
    ],
)
def test_rules_that_cannot_be(
    place: places.Place, of: config.CustomerModel, identifiers: list[str], most: int, said: str
) -> None:
    with pytest.raises(errors.ConfigError, match=said):
        customers.previewed(place, of, identifiers, most)
    with pytest.raises(errors.ConfigError, match=said):
        customers.keep_rules(place, ANN, of, identifiers, most, None)


def test_models_in_two_warehouses_are_told_apart(tmp_path: Path) -> None:
    with profiled.place(tmp_path) as place:
        pipeline_trials.keep(place, ANN, "again", {"from": "acme", "to": "local"}, None)
        assert [each.warehouse for each in customers.models(place)] == ["local"]
        with pytest.raises(views.Unknown, match="no customer model in a warehouse 'elsewhere'"):
            customers.model(place, "elsewhere")


def test_whoever_comes_while_others_look_is_told_so(
    place: places.Place, of: config.CustomerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "_turns", threading.BoundedSemaphore(1))
    monkeypatch.setattr(outside, "QUEUED", 0.01)
    assert outside._turns.acquire()
    with pytest.raises(errors.WarehouseBusy, match="look at local again in a moment"):
        customers.search(place, of)
