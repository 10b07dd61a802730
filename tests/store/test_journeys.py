"""Who went to an OpenID provider: comes back once, to the same browser, in time."""

from __future__ import annotations

from tidegate.store import database, journeys

JOURNEY = journeys.Journey("nonce", "verifier", "/runs")


def test_a_journey_is_ended_once_by_the_browser_that_began_it(store: database.Database) -> None:
    journeys.begin(store, "state", "browser", JOURNEY)
    assert journeys.end(store, "state", "another") is None
    assert journeys.end(store, "another", "browser") is None
    assert journeys.end(store, "state", "browser") == JOURNEY
    assert journeys.end(store, "state", "browser") is None


def test_it_is_over_after_a_while(store: database.Database) -> None:
    journeys.begin(store, "state", "browser", JOURNEY)
    store.execute("UPDATE sign_in_journeys SET made_at = made_at - :ago", {"ago": journeys.LASTS})
    assert journeys.end(store, "state", "browser") is None
    journeys.begin(store, "next", "browser", JOURNEY)
    assert len(store.execute("SELECT state FROM sign_in_journeys")) == 1


def test_neither_state_nor_browser_can_be_read_from_the_database(store: database.Database) -> None:
    journeys.begin(store, "the state", "the browser", JOURNEY)
    (row,) = store.execute("SELECT * FROM sign_in_journeys")
    assert "the state" not in str(row)
    assert "the browser" not in str(row)
