"""What people decide about customers, and that the audit log tells of all of it, whatever happens on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import profiled
import pytest

from tidegate import config, errors
from tidegate.engine import modelling
from tidegate.engine import place as places
from tidegate.store import trail
from tidegate.warehouse import duckdb_script

ANN = modelling.Noted("ann@example.com", "one card", "session")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    """Four customers, each two with one e-mail: two profiles."""
    with profiled.place(tmp_path) as found:
        profiled.ran(found)
        yield found


@pytest.fixture
def of(place: places.Place) -> config.CustomerModel:
    return modelling.chosen(place.file)


def lines(place: places.Place) -> list[trail.Line]:
    """What the audit log tells, the oldest first."""
    return trail.listed(place.store, what="customers")[::-1]


def merge(place: places.Place, of: config.CustomerModel, noted: modelling.Noted = ANN) -> str:
    [made] = modelling.merge(place.file, place.store, of, "cus_0", "cus_2", noted)
    return made.decision


def test_a_line_comes_before_and_one_after(place: places.Place, of: config.CustomerModel) -> None:
    decision = merge(place, of)
    begun, done = lines(place)
    assert (begun.action, done.action) == ("begin to merge", "merge")
    assert (
        begun.after
        == done.after
        == {
            "decisions": [decision],
            "records": [["filed/acct_1/cus_0", "filed/acct_1/cus_2"]],
        }
    )
    assert {(each.who, each.via) for each in (begun, done)} == {("ann@example.com", "session")}


def test_what_is_taken_back_stands_in_them_as_it_was(place: places.Place, of: config.CustomerModel) -> None:
    decision = merge(place, of)
    modelling.withdraw(place.file, place.store, of, decision, ANN)
    begun, done = lines(place)[2:]
    assert (begun.action, done.action) == ("begin to withdraw", "withdraw")
    assert begun.before == done.before == lines(place)[0].after
    assert (begun.after, done.after) == (None, None)


def killed(*_: Any) -> None:
    raise SystemExit


def test_who_is_killed_in_between_leaves_the_first_line(
    place: places.Place, of: config.CustomerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(duckdb_script.Script, "append", killed)
        with pytest.raises(SystemExit):
            merge(place, of)
    assert [each.action for each in lines(place)] == ["begin to merge"]
    assert modelling.listed(place.file, of) == ()


def test_so_does_who_is_killed_while_taking_back(
    place: places.Place, of: config.CustomerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = merge(place, of)
    with monkeypatch.context() as patched:
        patched.setattr(duckdb_script.Script, "transaction", killed)
        with pytest.raises(SystemExit):
            modelling.withdraw(place.file, place.store, of, decision, ANN)
    assert [each.action for each in lines(place)[2:]] == ["begin to withdraw"]
    assert [each.decision for each in modelling.listed(place.file, of)] == [decision]


def test_what_fails_in_between_leaves_two(
    place: places.Place, of: config.CustomerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise errors.WarehouseFull("The disk is full.")

    monkeypatch.setattr(duckdb_script.Script, "append", full)
    with pytest.raises(errors.WarehouseFull):
        merge(place, of)
    assert [each.action for each in lines(place)] == ["begin to merge", "fail to merge"]
    assert modelling.listed(place.file, of) == ()


def cut(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """What is written in the warehouse stays, and nobody hears of it."""
    transaction = duckdb_script.Script.transaction

    @contextlib.contextmanager
    def lost(*words: Any) -> Iterator[None]:
        with transaction(*words):
            yield
        raise error

    monkeypatch.setattr(duckdb_script.Script, "transaction", lost)


def test_what_was_done_though_its_answer_was_lost_is_not_told_as_failed(
    place: places.Place, of: config.CustomerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        cut(patched, errors.WarehouseError("The connection was closed."))
        with pytest.raises(errors.WarehouseError):
            merge(place, of)
    [decision] = modelling.listed(place.file, of)
    begun, done = lines(place)
    assert (begun.action, done.action) == ("begin to merge", "merge")
    assert done.after == {**begun.after, "answer": "lost"}
    with monkeypatch.context() as patched:
        cut(patched, errors.ConfigError(f"There is no decision {decision.decision} in force."))
        with pytest.raises(errors.ConfigError):
            modelling.withdraw(place.file, place.store, of, decision.decision, ANN)
    begun, done = lines(place)[2:]
    assert (begun.action, done.action) == ("begin to withdraw", "withdraw")
    assert (done.before, done.after) == (begun.before, {"answer": "lost"})


def test_of_a_warehouse_that_is_away_the_line_says_that_nobody_knows(
    place: places.Place, of: config.CustomerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(monkeypatch, errors.WarehouseUnreachable("No answer."))
    with pytest.raises(errors.WarehouseUnreachable):
        merge(place, of)
    begun, failed = lines(place)
    assert (failed.action, failed.after) == ("fail to merge", {**begun.after, "answer": "lost"})


def test_what_cannot_be_told_is_not_done(
    place: places.Place, of: config.CustomerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise errors.StoreUnreachable("The metadata database is away.")

    with monkeypatch.context() as patched:
        patched.setattr(trail, "note", away)
        with pytest.raises(errors.StoreUnreachable):
            merge(place, of)
    assert modelling.listed(place.file, of) == ()


def test_what_is_refused_leaves_no_line(place: places.Place, of: config.CustomerModel) -> None:
    with pytest.raises(errors.ConfigError, match="cus_77"):
        modelling.merge(place.file, place.store, of, "cus_0", "cus_77", ANN)
    with pytest.raises(errors.ConfigError, match="There is no decision"):
        modelling.withdraw(place.file, place.store, of, "dec_77", ANN)
    assert lines(place) == []


def test_who_decides_in_the_name_of_another_is_told_too(
    place: places.Place, of: config.CustomerModel
) -> None:
    merge(place, of, modelling.Noted("ann", "", "cli", "root@machine"))
    [decision] = modelling.listed(place.file, of)
    assert decision.decided_by == "ann"
    assert {(each.who, each.via, each.after["as"]) for each in lines(place)} == {
        ("root@machine", "cli", "ann")
    }
