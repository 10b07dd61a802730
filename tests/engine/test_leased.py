"""Leases that are held for as long as the work takes."""

from __future__ import annotations

import pytest
from flowing import until

from tidegate import errors
from tidegate.engine import leased
from tidegate.store import database, leases


def ends(store: database.Database) -> float:
    row = store.one("SELECT until FROM leases WHERE name = 'x'")
    assert row is not None
    return float(row["until"])


def test_a_lease_is_taken_again_for_as_long_as_it_is_held(
    store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leased, "HELD", 0.2)
    with leased.held(store, "x", "busy"):
        before = ends(store)
        until(lambda: ends(store) > before + leased.HELD)
        assert leases.holder(store, "x")
    assert leases.holder(store, "x") == ""


def test_whoever_comes_second_is_told_and_leaves_it_alone(store: database.Database) -> None:
    with leased.held(store, "x", "busy"):
        holder = leases.holder(store, "x")
        with (
            pytest.raises(errors.StoreConflict, match="somebody is at it"),
            leased.held(store, "x", "somebody is at it"),
        ):
            raise AssertionError("It is not held twice.")
        assert leases.holder(store, "x") == holder


def test_a_lease_is_given_back_also_by_work_that_failed(store: database.Database) -> None:
    with pytest.raises(KeyError), leased.held(store, "x", "busy"):
        raise KeyError
    with leased.held(store, "x", "busy"):
        assert leases.holder(store, "x")
