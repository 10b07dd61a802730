"""What comes faster than one step removes it goes all the same."""

from __future__ import annotations

from typing import Any

from tidegate.store import database, deliveries, retention

DAY = 86_400.0


def filled(store: database.Database, count: int) -> None:
    """So many deliveries that are too old."""
    for number in range(count):
        deliveries.keep(store, [deliveries.Delivery("acme", "", f"evt_{number}", "t", 1, "{}")])
    store.execute("UPDATE deliveries SET received_at = received_at - :age", {"age": 8 * DAY})


def left(store: database.Database) -> int:
    row = store.one("SELECT count(*) AS n FROM deliveries")
    assert row is not None
    return int(row["n"])


def test_a_cleaning_goes_on_until_there_is_nothing_left(store: database.Database, monkeypatch: Any) -> None:
    monkeypatch.setattr(retention, "STEPS", 2)
    monkeypatch.setattr(retention, "STEP", 10)
    monkeypatch.setattr(retention, "LONGEST", 600.0)
    filled(store, 105)
    assert retention.clean(store) == 105
    assert left(store) == 0


def test_but_not_for_ever(store: database.Database, monkeypatch: Any) -> None:
    monkeypatch.setattr(retention, "STEPS", 2)
    monkeypatch.setattr(retention, "STEP", 10)
    monkeypatch.setattr(retention, "LONGEST", 0.0)
    filled(store, 105)
    assert [retention.clean(store) for _ in range(2)] == [20, 20]
    assert left(store) == 65
