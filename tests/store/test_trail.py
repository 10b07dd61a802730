"""The audit log: lines are added and read, page by page, and none has a secret."""

from __future__ import annotations

import pytest

from tidegate import errors
from tidegate.store import database, keyed, objects, retention, trail


def told(store: database.Database, **filters: object) -> list[str]:
    return [f"{line.who} {line.action} {line.what}" for line in trail.each(store, **filters)]


@pytest.fixture
def filled(store: database.Database) -> database.Database:
    trail.note(store, "ann", "create", "pulls.everything", None, {"to": "one"}, via="session")
    trail.note(store, "ben", "change", "pulls.everything", {"to": "one"}, {"to": "two"}, via="token")
    trail.note(store, "ben", "create", "pulls.every_thing", None, {})
    trail.note(store, "ann", "sign in", "members.ann", via="session")
    return store


def test_a_line_says_who_changed_what_and_how_it_was_before(filled: database.Database) -> None:
    line = trail.listed(filled)[2]
    assert (line.who, line.via, line.action, line.what) == ("ben", "token", "change", "pulls.everything")
    assert (line.before, line.after) == ({"to": "one"}, {"to": "two"})
    assert trail.get(filled, line.number) == line
    assert trail.get(filled, line.number + 100) is None
    assert abs(filled.now() - line.at) < 60


def test_the_newest_comes_first_page_by_page_also_while_more_come(filled: database.Database) -> None:
    first = trail.listed(filled, limit=2)
    trail.note(filled, "cid", "create", "models.x")
    rest = trail.listed(filled, limit=2, before=first[-1].number)
    assert [line.who for line in (*first, *rest)] == ["ann", "ben", "ben", "ann"]
    assert trail.listed(filled, before=rest[-1].number) == []


def test_lines_are_found_by_who_action_what_and_a_part_of_any(filled: database.Database) -> None:
    assert told(filled, who="ann") == ["ann sign in members.ann", "ann create pulls.everything"]
    assert told(filled, action="change") == ["ben change pulls.everything"]
    assert told(filled, what="pulls.every_thing") == ["ben create pulls.every_thing"]
    assert len(told(filled, what="pulls")) == 3
    assert told(filled, search="SIGN") == ["ann sign in members.ann"]
    assert told(filled, search="y_t") == ["ben create pulls.every_thing"]  # no pattern, a text
    assert told(filled, who="ben", action="create") == ["ben create pulls.every_thing"]
    assert trail.actions(filled) == ["change", "create", "sign in"]


def test_lines_of_a_time(filled: database.Database) -> None:
    now = filled.now()
    assert len(told(filled, since=now - 3600)) == 4
    assert told(filled, since=now + 3600) == []
    assert told(filled, until=now - 3600) == []


def test_in_a_transaction_that_does_not_hold_it_is_not_written(store: database.Database) -> None:
    def work(session: database.Session) -> None:
        trail.note(session, "ann", "create", "pulls.x")
        raise KeyError

    with pytest.raises(KeyError):
        store.transact(work)
    assert trail.listed(store) == []


def test_work_that_is_done_again_leaves_one_line(store: database.Database) -> None:
    made = trail.new_id()
    for _ in range(2):
        trail.note(store, "ann", "create", "pulls.x", line_id=made)
    assert len(trail.listed(store)) == 1
    assert store.transact(lambda session: trail.noted(session, made))
    assert not store.transact(lambda session: trail.noted(session, trail.new_id()))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("sk_live_51AbCdEfGhIjKlMnOp1234", "sk_live_...1234"),
        ("rk_test_51AbCdEfGhIjKlMnOp1234", "rk_test_...1234"),
        ("whsec_AbCdEfGhIjKlMnOp1234", "whsec_...1234"),
        ("a key sk_test_51AbCdEfGhIjKlMnOp1234 in words", "a key sk_test_...1234 in words"),
        ("sk_test", "sk_test"),
        ("task_lists are no keys", "task_lists are no keys"),
    ],
)
def test_what_looks_like_a_key_is_shortened_wherever_it_stands(
    store: database.Database, text: str, kept: str
) -> None:
    trail.note(store, "ann", "change", "x", {"a": [text]}, text)
    [line] = trail.listed(store)
    assert (line.before, line.after) == ({"a": [kept]}, kept)


def test_lines_go_after_two_years(filled: database.Database) -> None:
    filled.execute("UPDATE trail SET at = at - :old WHERE who = 'ben'", {"old": trail.KEPT + 60.0})
    retention.clean(filled)
    assert told(filled) == ["ann sign in members.ann", "ann create pulls.everything"]


def test_every_change_counts_one_and_the_second_of_two_is_told(store: database.Database) -> None:
    assert objects.generation(store) == 0
    assert store.transact(lambda session: objects.advance(session, 0)) == 1
    with pytest.raises(Exception, match="changed meanwhile"):
        store.transact(lambda session: objects.advance(session, 0))
    assert objects.generation(store) == 1


LINE = trail.Note("ann", "disable", "webhooks.acme", via="cli")


def lines(store: database.Database) -> list[tuple[str, object]]:
    """What the log tells, the oldest first."""
    return [(each.action, each.after) for each in trail.listed(store)[::-1]]


def test_a_change_elsewhere_has_a_line_before_it_and_one_after(store: database.Database) -> None:
    with trail.around(store, LINE, account="acct_1") as made:
        for _ in range(2):
            made.begin()
        assert lines(store) == [("begin to disable", {"account": "acct_1"})]
        made.known["removed"] = 2
    assert lines(store)[1:] == [("disable", {"account": "acct_1", "removed": 2})]
    assert {(each.who, each.via, each.what) for each in trail.listed(store)} == {
        ("ann", "cli", "webhooks.acme")
    }


def ended(store: database.Database, error: BaseException) -> None:
    """A change that has removed one of two endpoints when it ends."""
    with trail.around(store, LINE) as made:
        made.begin()
        made.known["removed"] = 1
        raise error


def test_one_that_fails_says_how_far_it_came_and_whether_that_is_known(store: database.Database) -> None:
    for error in (
        errors.InvalidRequest("No such thing."),
        errors.Unreachable("No answer."),
        KeyError("jane@people.test"),
    ):
        with pytest.raises(type(error)):
            ended(store, error)
    assert lines(store) == [
        ("begin to disable", None),
        ("fail to disable", {"removed": 1, "error": "No such thing."}),
        ("begin to disable", None),
        ("fail to disable", {"removed": 1, "error": "No answer.", "answer": "lost"}),
        ("begin to disable", None),
        ("fail to disable", {"removed": 1, "error": "KeyError"}),
    ]


def test_one_that_is_refused_before_it_begins_leaves_no_line(store: database.Database) -> None:
    with pytest.raises(errors.ConfigError), trail.around(store, LINE):
        raise errors.ConfigError("There is no acme.")
    assert lines(store) == []


def test_one_that_is_killed_leaves_the_first_line(store: database.Database) -> None:
    with pytest.raises(SystemExit):
        ended(store, SystemExit())
    assert lines(store) == [("begin to disable", None)]


def test_one_that_a_call_makes_again_is_told_again(store: database.Database) -> None:
    key = keyed.Key("ann", "nightly")
    for _ in range(2):
        claim = keyed.claim(store, key, "the call")
        assert isinstance(claim, keyed.Claim)
        with pytest.raises(errors.Unreachable), keyed.under_way(claim):
            ended(store, errors.Unreachable("No answer."))
        keyed.release(store, claim)
    assert [action for action, _ in lines(store)] == ["begin to disable", "fail to disable"] * 2
