"""Customers found by what is known of them, and one with all that belongs to it, in three warehouses."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import anywhere
import fleet
import piped
import pytest
from piped import person

from tidegate import errors
from tidegate.customers import decisions, finding, inside, run

NOW = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
ADDRESS = {"country": "DE", "city": "Köln"}


def filled(place: piped.Place) -> run.Model:
    """Six customers of whom two and two share an e-mail, in a model."""
    people = [person(n, phone=f"+49 170 000{n}{n}12", address=ADDRESS) for n in (0, 1, 2, 3, 5)]
    place.pulled(*people, person(4, name="O'Neill_50%", email="P2@people.test", address=ADDRESS))
    job = place.job()
    place.run(job)
    return job.model


@pytest.fixture(scope="module", params=["duckdb", "postgres", "mysql"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[run.Model]:
    """A model that is only looked at."""
    folder = tmp_path_factory.mktemp("model")
    place = anywhere.Place(folder, fleet.url(request.param, folder, 1))
    yield filled(place)
    place.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[piped.Place]:
    """An empty model."""
    place = piped.Place(tmp_path)
    yield place
    place.close()


def found(model: run.Model, text: str = "", **more: str) -> list[str]:
    """The Stripe ids of the customers that are found."""
    page = finding.search(model, text, **more)
    return sorted(str(each.known["customer_id"]) for each in page.customers)


def test_everybody_page_by_page(model: run.Model) -> None:
    first = finding.search(model, limit=2)
    assert first.after == first.customers[-1].profile
    last = finding.search(model, limit=2, after=first.after)
    assert last.after is None
    every = [*first.customers, *last.customers]
    assert len(every) == 3
    assert [each.profile for each in every] == sorted({each.profile for each in every})
    assert sorted(each.sources for each in every) == [2, 2, 2]
    assert {each.accounts for each in every} == {1}


def test_one_record_alone_is_told_with_what_it_is_recognised_by(place: piped.Place) -> None:
    place.pulled(person(0), person(1, email=None, name="ÉLAN"), person(2, email="P0@people.test"))
    job = place.job()
    place.run(job)
    alone = finding.customer(job.model, "cus_1")
    told = [(each.identifier, each.value, each.records, each.use) for each in alone.identifiers]
    assert told == [("customer_id", "cus_1", ("eu/acct_1/cus_1",), "alone")]
    assert [len(each.records) for each in finding.customer(job.model, "cus_2").identifiers] == [1, 1, 2]
    assert found(job.model, "élan") == found(job.model, "Éla") == found(job.model, "Lan") == ["cus_1"]
    assert found(job.model, "é") == ["cus_1"]
    assert found(job.model, "blan") == found(job.model, "élanx") == found(job.model, "èlan") == []


@pytest.mark.parametrize(
    ("text", "customers"),
    [
        ("person 2", 1),  # a name, whatever its capitals
        ("p1@PEOPLE", 1),  # a part of an e-mail
        (" P2@People.TEST ", 1),
        ("cus_0", 1),  # a record whose values did not win
        ("eu/acct_1/cus_4", 1),
        ("0049 170 0001112", 1),  # a number, as it is compared
        ("o'neill_50%", 1),
        ("person_3", 0),  # no wildcards
        ("pers%", 0),
        ("[p]erson", 0),
        ("person\\", 0),
        ("%", 1),
        ("neill%50%", 0),  # its longest part is there, and the whole is not
        ("neill_50_", 0),
        ("TIDEGATE_PARAMETER", 0),  # what a text says is no part of the statement
        ("?", 0),
        ("person", 2),
        ("people.test", 3),
        ("nobody", 0),
    ],
)
def test_whoever_is_meant_by_a_text(model: run.Model, text: str, customers: int) -> None:
    assert len(found(model, text)) == customers


def test_one_customer_with_all_that_belongs_to_it(model: run.Model) -> None:
    page = finding.search(model, "cus_5")
    id = page.customers[0].profile
    one = finding.customer(model, "cus_5")
    assert one == finding.customer(model, id) == finding.customer(model, "eu/acct_1/cus_5")
    assert (one.profile, one.sources, one.accounts) == (id, 2, 1)
    assert one.properties["address"]["city"] == "Köln"
    assert [each.source_id for each in one.records] == ["cus_4", "cus_5"]
    assert {each.home for each in one.records} == {id}
    assert [each.properties["name"] for each in one.records] == ["O'Neill_50%", "Person 5"]
    told = [(each.identifier, each.value, len(each.records), each.use) for each in one.identifiers]
    assert told == [
        ("customer_id", "cus_4", 1, "alone"),
        ("customer_id", "cus_5", 1, "alone"),
        ("email", "p2@people.test", 2, "links"),
        ("phone", "+491700005512", 1, "alone"),
    ]
    assert (one.aliases, one.decisions) == ((), ())


@pytest.mark.parametrize("kind", ["duckdb", "postgres", "mysql"])
def test_a_former_profile_leads_to_the_one_that_has_its_records(kind: str, tmp_path: Path) -> None:
    place = anywhere.Place(tmp_path, fleet.url(kind, tmp_path, 1))
    model = filled(place)
    before = finding.customer(model, "cus_5").profile
    with_it = finding.customer(model, "cus_3").profile
    made = inside.scripted(
        model,
        lambda script: decisions.merge(
            script, model.names, "eu/acct_1/cus_3", "eu/acct_1/cus_5", now=NOW, by="ann", note="same person"
        ),
    )
    run.resolve(model, NOW)
    one = finding.customer(model, "cus_3")
    [gone] = {before, with_it} - {one.profile}
    assert one.aliases == (gone,)
    assert finding.customer(model, gone).profile == one.profile
    assert found(model, gone) == found(model, one.profile) != []
    assert [(each.decision, each.decided_by, each.note) for each in one.decisions] == [
        (made.decision, "ann", "same person")
    ]
    assert {each.home for each in one.records} == {before, with_it}
    place.close()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            "cus_55",
            "There is no customer cus_55, and no record of one, in the customer model; did you mean cus_",
        ),
        ("eu/acct_1/cus_7", "did you mean eu/acct_1/cus_"),
        ("xyz", "`tidegate customers list TEXT` finds customers."),
    ],
)
def test_whoever_is_nobody_is_told_with_the_nearest_id(model: run.Model, asked: str, said: str) -> None:
    with pytest.raises(errors.ConfigError) as error:
        finding.customer(model, asked)
    assert said in str(error.value)


def test_a_profile_id_with_a_slip_of_the_pen_and_one_that_is_gone(place: piped.Place) -> None:
    model = filled(place)
    id = finding.customer(model, "cus_5").profile
    wrong = id[:-1] + ("0" if id[-1] != "0" else "1")
    with pytest.raises(errors.ConfigError, match=f"did you mean {id}"):
        finding.customer(model, wrong)
    place.pulled(person(4), person(5), deleted=True)
    place.run(place.job())
    with pytest.raises(errors.ConfigError, match=f"The customer {id} is gone"):
        finding.customer(model, id)
    assert found(model, "cus_5") == []


def test_an_id_of_records_of_several_customers_is_nobody_in_particular(place: piped.Place) -> None:
    model = filled(place)
    place.run(
        place.job(name="other", filter={"field": "id", "op": "is", "value": "cus_1"}, map={"name": "name"})
    )
    with pytest.raises(errors.ConfigError) as error:
        finding.customer(model, "cus_1")
    assert str(error.value) == (
        "cus_1 is the id of records of several customers: eu/acct_1/cus_1, other/acct_1/cus_1; give one of them."
    )
    assert finding.customer(model, "other/acct_1/cus_1").sources == 1


def test_a_model_that_no_pipeline_filled_has_nobody(place: piped.Place) -> None:
    place.pulled(person(1))
    model = place.job().model
    assert finding.search(model, "cus_1") == finding.Page((), None)
    with pytest.raises(errors.ConfigError, match="is empty, since no pipeline has run"):
        finding.customer(model, "cus_1")
