"""A push tried out first: what it would come to is told, and nothing of the real one is touched."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pushed_people as people
import pytest
from following import Merchant

from tidegate import config, errors, sandbox
from tidegate.engine import preparing, rehearsals
from tidegate.store import database, holds, operations, runs


@pytest.fixture
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=0, counts={}) as url:
        yield Merchant(url)


def rehearse(folder: Path, connection: str | None = None) -> rehearsals.Result:
    """Rehearse, in the sandbox where no connection is said."""
    job = preparing.job(config.load(folder / "tidegate.yaml"), people.NAME)
    with contextlib.ExitStack() as opened:
        url = f"sqlite:///{folder}/tidegate.db"
        store = opened.enter_context(contextlib.closing(database.open_database(url)))
        if connection is not None:
            stage = opened.enter_context(rehearsals.over(job, connection, folder / "state"))
        else:
            stage = opened.enter_context(rehearsals.in_sandbox(job, store, folder / "state"))
        return asyncio.run(rehearsals.run(stage, runs.new_id()))


def test_in_the_sandbox_it_goes_as_it_would_and_nothing_is_written(shop: Merchant, tmp_path: Path) -> None:
    shop.make("/v1/customers", email="p1@people.test", name="There before")
    for _ in range(2):
        shop.make("/v1/customers", email="p2@people.test")
    shop.later()
    people.write(tmp_path, shop.url, map(people.person, range(4)))
    shop.counted()
    result = rehearse(tmp_path)
    counts = result.push.counts
    assert (counts.created, counts.updated, counts.held) == (2, 1, 1)
    assert (result.stage.name, dict(result.stage.seeded)) == ("the sandbox", {"customer": 3})
    assert [(each.kind, each.rows, each.keys) for each in result.refused] == [("ambiguous", 1, ("2",))]
    assert not [name for name in shop.counted() if name.startswith(("POST", "DELETE"))]
    assert len(shop.truth("customers")) == 3
    real = people.push(tmp_path, write=False).counts
    assert (real.created, real.updated, real.held) == (2, 1, 1)


def test_what_would_have_been_refused_is_told_by_class(shop: Merchant, tmp_path: Path) -> None:
    people.write(
        tmp_path, shop.url, [people.person(n, email="" if n < 3 else f"p{n}@people.test") for n in range(5)]
    )
    [refused] = rehearse(tmp_path).refused
    assert (refused.kind, refused.rows, refused.keys) == ("invalid", 3, ("0", "1", "2"))
    assert "is empty" in refused.text


def test_it_begins_where_the_push_is(shop: Merchant, tmp_path: Path) -> None:
    people.write(tmp_path, shop.url, map(people.person, range(4)))
    people.push(tmp_path)
    shop.later()
    people.rows(tmp_path, [people.person(n, **({"plan": "free"} if n == 1 else {})) for n in range(5)])
    result = rehearse(tmp_path)
    counts = result.push.counts
    assert (counts.unchanged, counts.updated, counts.created, result.stage.rows) == (3, 1, 1, 4)


def test_nothing_of_the_real_push_is_touched(shop: Merchant, tmp_path: Path) -> None:
    people.write(tmp_path, shop.url, [*map(people.person, range(2)), people.person(2, email="")])
    people.push(tmp_path, limit=1)
    shop.later()
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
        before = operations.listed(store, limit=None), holds.listed(store)
        rehearse(tmp_path)
        assert (operations.listed(store, limit=None), holds.listed(store)) == before
    shop.later()
    assert people.push(tmp_path).counts.created == 1


def test_where_the_account_cannot_be_read_it_begins_empty_and_says_so(tmp_path: Path) -> None:
    people.write(tmp_path, "http://127.0.0.1:1", map(people.person, range(2)))
    file = config.load(tmp_path / "tidegate.yaml")
    job = preparing.job(file, people.NAME)
    with (
        contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("tidegate.stripe.attempts.FIRST_WAIT", 0.0)
        patch.setattr("tidegate.stripe.attempts.LONGEST_WAIT", 0.0)
        with rehearsals.in_sandbox(job, store, tmp_path / "state") as stage:
            assert stage.doubt
            result = asyncio.run(rehearsals.run(stage, runs.new_id()))
    assert result.push.counts.created == 2


def test_objects_that_others_refer_to_are_there_as_well(shop: Merchant, tmp_path: Path) -> None:
    product = shop.make("/v1/products", name="Seat")["id"]
    shop.later()
    push = (
        "{model: people, to: acme, object: price, match: {lookup_key: email}, "
        f"fields: {{product: {{value: {product}}}, unit_amount: id, currency: {{value: usd}}}}}}"
    )
    people.write(tmp_path, shop.url, [people.person(n) for n in (500, 600)], push)
    result = rehearse(tmp_path)
    assert (result.push.counts.created, dict(result.stage.seeded)) == (2, {"product": 1})


def over(folder: Path, url: str, key: str = "sk_test_987654321") -> None:
    """A second connection in the configuration."""
    file = folder / "tidegate.yaml"
    other = f'trial: {{api_key: {key}, api_base: "{url}", rate_limit: "off"}}'
    file.write_text(file.read_text().replace("stripe: {acme:", f"stripe: {{{other}, acme:"))


def test_over_a_test_key_it_is_done_once_there_too(shop: Merchant, tmp_path: Path) -> None:
    with sandbox.process(objects=0, counts={}, seed=9) as url:
        trial = Merchant(url)
        people.write(tmp_path, shop.url, map(people.person, range(3)))
        over(tmp_path, url)
        first = rehearse(tmp_path, "trial")
        assert (first.push.counts.created, first.stage.name) == (3, "trial")
        trial.later()
        assert rehearse(tmp_path, "trial").push.counts.unchanged == 3
        assert len(trial.truth("customers")) == 3
    assert shop.truth("customers") == []


@pytest.mark.parametrize(
    ("connection", "key", "sentence"),
    [
        ("trial", "sk_live_987654321", "is a live key"),
        ("acme", "sk_test_987654321", "is where people writes to itself"),
        ("nobody", "sk_test_987654321", "there is no connection 'nobody'"),
    ],
)
def test_where_no_rehearsal_may_be(tmp_path: Path, connection: str, key: str, sentence: str) -> None:
    people.write(tmp_path, "http://127.0.0.1:1", [])
    over(tmp_path, "http://127.0.0.1:1", key)
    with pytest.raises(errors.ConfigError, match=sentence):
        rehearse(tmp_path, connection)
