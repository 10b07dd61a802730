"""Sessions: kept as digests, over after a while, and ended."""

from __future__ import annotations

import pytest

from tidegate.store import database, membership, people, sessions

BY = membership.By("root@box", "cli")


@pytest.fixture
def ann(store: database.Database) -> people.Member:
    return membership.add(store, BY, "ann@example.com", "admin", password="$x")


def begin(store: database.Database, member: people.Member, agent: str = "Firefox") -> str:
    secret = sessions.new()
    store.transact(lambda each: sessions.begin(each, member.id, secret, address="192.0.2.1", agent=agent))
    return secret


def test_a_session_is_found_by_its_secret_alone(store: database.Database, ann: people.Member) -> None:
    secret = begin(store, ann)
    found = sessions.find(store, secret)
    assert found is not None
    assert (found.member.name, found.address, found.agent) == ("ann@example.com", "192.0.2.1", "Firefox")
    assert found.member.signed_in_at is not None
    for wrong in ("", secret[:-1], secret + "x", sessions.digest(secret), found.id, "\ud800"):
        assert sessions.find(store, wrong) is None
    (row,) = store.execute("SELECT * FROM member_sessions")
    assert secret not in str(row)


def test_it_is_over_when_it_was_not_used(store: database.Database, ann: people.Member) -> None:
    secret = begin(store, ann)
    store.execute("UPDATE member_sessions SET seen_at = seen_at - :ago", {"ago": sessions.IDLE - 60})
    assert sessions.find(store, secret) is not None  # which was a use
    store.execute("UPDATE member_sessions SET seen_at = seen_at - :ago", {"ago": sessions.IDLE - 60})
    assert sessions.find(store, secret) is not None
    store.execute("UPDATE member_sessions SET seen_at = seen_at - :ago", {"ago": sessions.IDLE})
    assert sessions.find(store, secret) is None
    assert sessions.of(store, ann.id) == []


def test_it_is_over_however_much_it_is_used(store: database.Database, ann: people.Member) -> None:
    secret = begin(store, ann)
    store.execute("UPDATE member_sessions SET made_at = made_at - :ago", {"ago": sessions.LONGEST})
    assert sessions.find(store, secret) is None


def test_a_use_is_noted_once_a_minute(store: database.Database, ann: people.Member) -> None:
    secret = begin(store, ann)
    store.execute("UPDATE member_sessions SET seen_at = seen_at - 30")
    first = sessions.find(store, secret)
    second = sessions.find(store, secret)
    assert first is not None
    assert second is not None
    assert second.seen_at == first.seen_at
    store.execute("UPDATE member_sessions SET seen_at = seen_at - 60")
    sessions.find(store, secret)
    third = sessions.find(store, secret)
    assert third is not None
    assert third.seen_at > first.seen_at


def test_who_is_disabled_has_no_session(store: database.Database, ann: people.Member) -> None:
    secret = begin(store, ann)
    store.execute("UPDATE members SET disabled = 1")
    assert sessions.find(store, secret) is None


def test_those_that_are_over_go(store: database.Database, ann: people.Member) -> None:
    for _ in range(3):
        begin(store, ann)
    store.execute("UPDATE member_sessions SET made_at = made_at - :ago", {"ago": sessions.LONGEST})
    begin(store, ann)
    assert len(store.execute("SELECT id FROM member_sessions")) == 1


def test_a_session_is_ended_by_whose_it_is(store: database.Database, ann: people.Member) -> None:
    ben = membership.add(store, BY, "ben@example.com", "viewer", password="$x")
    secret = begin(store, ann)
    found = sessions.find(store, secret)
    assert found is not None
    of_ben = membership.By(ben.name, "session")
    assert membership.sign_out(store, of_ben, ben.id, found.id) == 0
    assert sessions.find(store, secret) is not None
    assert membership.sign_out(store, of_ben, ann.id, found.id) == 1
    begin(store, ann)
    begin(store, ann)
    assert membership.sign_out(store, of_ben, ann.id) == 2


def test_what_a_browser_says_of_itself_is_bounded(store: database.Database, ann: people.Member) -> None:
    found = sessions.find(store, begin(store, ann, "Evil\x00\x1b[31m\u202e" + "x" * 10_000))
    assert found is not None
    assert found.agent.startswith("Evil??[31m?x")
    assert len(found.agent) == sessions.AGENT


def test_signing_in_anew_ends_what_the_browser_had(store: database.Database, ann: people.Member) -> None:
    old, new = begin(store, ann), sessions.new()
    membership.sign_in(store, ann, new, how="password", before=old)
    assert sessions.find(store, old) is None
    assert sessions.find(store, new) is not None
