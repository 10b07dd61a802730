"""Nothing of a forgotten customer is left in the model, and nobody else loses anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import piped
import pytest
from piped import person

from tidegate.customers import forgetting, run


@pytest.fixture
def place(tmp_path: Path) -> Iterator[piped.Place]:
    place = piped.Place(tmp_path)
    yield place
    place.close()


def everything(place: piped.Place) -> str:
    """All that stands in the schema of the model."""
    tables = place.target.read(
        "SELECT table_name FROM information_schema.tables "
        "WHERE table_schema = 'tidegate' AND table_type = 'BASE TABLE'"
    )
    names = [name for batch in tables for name in batch.column(0).to_pylist()]
    rows = [
        str(row)
        for name in names
        for batch in place.target.read(f'SELECT * FROM tidegate."{name}"')
        for row in batch.to_pylist()
    ]
    return "\n".join(rows)


def test_a_customer_is_erased_and_who_shared_a_profile_stays(place: piped.Place) -> None:
    place.pulled(
        person(0, name="Erased One", phone="+49 170 1234567"),
        person(1, name="Stays"),
        person(2, name="Erased Two"),
    )
    job = place.job()
    place.run(job)
    assert forgetting.forget(job.model, ["cus_0", "cus_2", "cus_9"], dry_run=True) == 2
    assert "Erased" in everything(place)
    assert forgetting.forget(job.model, ["cus_0", "cus_2", "cus_9"]) == 2
    left = everything(place)
    assert "Erased" not in left
    assert "491701234567" not in left
    assert "p1@people.test" not in left
    assert place.profiles() == [("cus_1", "p0@people.test", "Stays", 1)]
    assert forgetting.forget(job.model, ["cus_0", "cus_2"]) == 0
    place.pulled(person(0), person(2), deleted=True)
    place.run(job, approve=True)
    assert "Erased" not in everything(place)
    assert place.profiles() == [("cus_1", "p0@people.test", "Stays", 1)]


def test_a_model_that_is_not_there_yet_has_nobody(place: piped.Place) -> None:
    place.pulled(person(0))
    assert forgetting.forget(place.job().model, ["cus_0"]) == 0


def test_only_the_account_that_is_meant(place: piped.Place) -> None:
    place.pulled(person(0))
    job = place.job()
    place.run(job)
    assert forgetting.forget(job.model, ["cus_0"], account="acct_2") == 0
    assert len(place.profiles()) == 1


def test_killed_in_the_middle_nothing_of_a_profile_that_is_gone_is_left(
    place: piped.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.pulled(person(0, name="Erased One"), person(1, name="Stays"), person(2, name="Erased Two"))
    job = place.job()
    place.run(job)

    def killed(*_: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(run, "resolve", killed)
        with pytest.raises(InterruptedError):
            forgetting.forget(job.model, ["cus_0", "cus_2"])
    assert "Erased" not in everything(place)
    assert forgetting.forget(job.model, ["cus_0", "cus_2"]) == 0
    place.pulled(person(0), person(2), deleted=True)
    place.run(job, approve=True)
    assert "Erased" not in everything(place)
    assert place.profiles() == [("cus_1", "p0@people.test", "Stays", 1)]


def test_a_profile_that_went_into_another_is_emptied_too(place: piped.Place) -> None:
    place.pulled(person(0, name="Stays"), person(2, name="Erased"))
    job = place.job()
    place.run(job)
    place.pulled(person(2, name="Erased", email="p0@people.test"))
    place.run(job)
    assert len(place.profiles()) == 1
    assert forgetting.forget(job.model, ["cus_2"]) == 1
    assert "Erased" not in everything(place)
    assert place.profiles() == [("cus_0", "p0@people.test", "Stays", 1)]
