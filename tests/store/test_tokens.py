"""Tokens: shown once, found by what they are, limited, revoked; and never kept as they are."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

import pytest

from tidegate import errors
from tidegate.store import database, keyed, membership, people, tokens, trail

Opened = Callable[[], database.Database]


def passed(store: database.Database, seconds: float) -> None:
    """Let time pass: everything that stands there was so much earlier."""
    store.execute(
        "UPDATE tokens SET made_at = made_at - :s, used_at = used_at - :s, expires_at = expires_at - :s",
        {"s": seconds},
    )


def test_a_token_is_found_by_what_it_is_and_stands_nowhere_as_it_is(store: database.Database) -> None:
    secret = tokens.create(store, "dbt", "run", flows=["pull:b", "pull:a", "pull:a"])
    assert len(secret) == 46
    assert secret.startswith("tg_")
    found = tokens.find(store, secret)
    assert found is not None
    assert (found.name, found.scope, found.flows, found.expires_at) == (
        "dbt",
        "run",
        ("pull:a", "pull:b"),
        None,
    )
    [row] = store.execute("SELECT * FROM tokens")
    assert secret[len(row["start"]) :] not in str(row)
    assert row["start"] == secret[:8]


def test_each_token_is_another(store: database.Database) -> None:
    made = {tokens.create(store, f"t{n}", "read") for n in range(20)}
    assert len(made) == 20
    assert {found.name for each in made if (found := tokens.find(store, each))} == {
        f"t{n}" for n in range(20)
    }


def test_what_begins_the_same_is_not_the_same(store: database.Database) -> None:
    secret = tokens.create(store, "one", "read")
    store.execute(
        "INSERT INTO tokens (name, start, hash, scope, flows, made_at) "
        "VALUES ('other', :start, :hash, 'admin', '[]', {now})",
        {"start": secret[: tokens.SHOWN], "hash": tokens.digest(secret[: tokens.SHOWN] + "x" * 38)},
    )
    found = tokens.find(store, secret)
    assert found is not None
    assert found.name == "one"
    for wrong in (secret[:-1], secret + "x", secret.swapcase(), secret[: tokens.SHOWN], ""):
        assert tokens.find(store, wrong) is None


def test_unknown_revoked_and_expired_are_the_same(store: database.Database) -> None:
    gone, late = tokens.create(store, "gone", "run"), tokens.create(store, "late", "run", lasts=90 * 86_400)
    assert tokens.find(store, late) is not None
    assert tokens.revoke(store, "gone")
    assert not tokens.revoke(store, "gone")
    passed(store, 90 * 86_400 + 1)
    assert [tokens.find(store, each) for each in (gone, late, "tg_" + "x" * 43)] == [None, None, None]
    assert [each.name for each in tokens.listed(store)] == ["late"], "which one has expired can be seen"


def test_when_it_was_used_is_noted_by_the_minute(store: database.Database) -> None:
    secret = tokens.create(store, "dbt", "run")
    assert tokens.listed(store)[0].used_at is None
    before = store.now()
    found = tokens.find(store, secret)
    assert found is not None
    [listed] = tokens.listed(store)
    assert listed.used_at == found.used_at
    assert listed.used_at is not None
    assert listed.used_at % 60 == 0
    assert before - 60 < listed.used_at <= store.now()
    passed(store, 7200)
    tokens.find(store, "tg_" + "x" * 43)
    assert (tokens.listed(store)[0].used_at or 0) < before - 3600
    tokens.find(store, secret)
    assert (tokens.listed(store)[0].used_at or 0) > before - 60


def test_a_name_is_taken_once_also_by_two_at_a_time(opened: Opened) -> None:
    def make(store: database.Database) -> str:
        try:
            return tokens.create(store, "dbt", "run")
        except errors.ConfigError as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        made = list(threads.map(make, [opened() for _ in range(4)]))
    [secret] = [each for each in made if each.startswith("tg_")]
    assert tokens.find(opened(), secret) is not None
    assert made.count("There is a token dbt already; revoke it first, or take another name.") == 3


@pytest.mark.parametrize("name", ["", "a b", "-a", "a\n", "a" * 129, "ä"])
def test_a_name_is_one_that_can_be_typed(store: database.Database, name: str) -> None:
    with pytest.raises(errors.ConfigError, match="A token's name is of letters"):
        tokens.create(store, name, "run")
    assert tokens.listed(store) == []


@pytest.mark.parametrize(
    ("has", "may"),
    [
        ("read", ["read"]),
        ("run", ["read", "run"]),
        ("write", ["read", "run", "write"]),
        ("admin", ["read", "run", "write", "admin"]),
    ],
)
def test_each_scope_includes_those_before_it(store: database.Database, has: Any, may: list[str]) -> None:
    found = tokens.find(store, tokens.create(store, "t", has))
    assert found is not None
    assert [scope for scope in tokens.SCOPES if found.may(scope)] == may


def test_a_token_knows_its_flows_or_all(store: database.Database) -> None:
    one = tokens.find(store, tokens.create(store, "one", "run", flows=["pull:a"]))
    each = tokens.find(store, tokens.create(store, "all", "run"))
    assert one is not None
    assert each is not None
    assert (one.knows("pull:a"), one.knows("pull:b"), each.knows("pull:b")) == (True, False, True)


def test_a_token_of_the_same_name_later_is_another_one(store: database.Database) -> None:
    """The keys of its calls go with it."""
    old = tokens.create(store, "dbt", "run")
    key = keyed.Key("token:dbt", "k")
    assert isinstance(keyed.claim(store, key, "a"), keyed.Claim)
    assert tokens.revoke(store, "dbt")
    new = tokens.create(store, "dbt", "run")
    assert tokens.find(store, old) is None
    assert tokens.find(store, new) is not None
    assert isinstance(keyed.claim(store, key, "b"), keyed.Claim)


BY = membership.By("root@box", "cli")


def member(
    store: database.Database, role: people.Role = "admin", name: str = "ann@example.com"
) -> people.Member:
    """A member who has a password; of an admin there is another one."""
    if role == "admin":
        membership.add(store, BY, "root@example.com", "admin", password="$argon2id$...")
    return membership.add(store, BY, name, role, password="$argon2id$...")


def test_a_token_may_no_more_than_its_maker_may_now(store: database.Database) -> None:
    ann = member(store)
    secret = tokens.create(store, "dbt", "write", maker=ann.id)
    for role, scope in (("admin", "write"), ("operator", "run"), ("viewer", "read"), ("editor", "write")):
        membership.change_role(store, BY, ann.name, role)  # type: ignore[arg-type]  # a word of the table above
        found = tokens.find(store, secret)
        assert found is not None
        assert (found.scope, found.given, found.made_by) == (scope, "write", ann.name)
    assert tokens.of(store, ann.id) == tokens.listed(store)


def test_it_is_refused_while_its_maker_is_disabled(store: database.Database) -> None:
    ann = member(store)
    secret = tokens.create(store, "dbt", "run", maker=ann.id)
    membership.disable(store, BY, ann.name)
    assert tokens.find(store, secret) is None
    assert [each.resting for each in tokens.listed(store)] == [True]
    membership.enable(store, BY, ann.name)
    assert tokens.find(store, secret) is not None


def test_it_ends_with_its_maker_and_no_others(store: database.Database) -> None:
    ann, ben = member(store), member(store, "editor", "ben@example.com")
    made = {
        name: tokens.create(store, name, "run", maker=maker)
        for name, maker in (("a", ann.id), ("b", ann.id), ("c", ben.id), ("d", ""))
    }
    assert membership.remove(store, BY, ann.name) == ("a", "b")
    assert [name for name, secret in made.items() if tokens.find(store, secret)] == ["c", "d"]
    assert {(each.what, each.who) for each in trail.listed(store, action="revoke")} == {
        ("tokens.a", BY.who),
        ("tokens.b", BY.who),
    }


def test_tokens_of_before_belong_to_the_members_whom_the_audit_log_names(store: database.Database) -> None:
    ann = member(store)
    for name, who, via in (
        ("hers", ann.name, "session"),
        ("shell", ann.name, "cli"),
        ("gone", "x@y.z", "session"),
    ):
        tokens.create(store, name, "run", who=who, via=via)
    [text] = [text for name, text in database.migrations() if name.endswith("_makers.sql")]
    [move] = [each for each in database.statements(text) if each.startswith("UPDATE")]
    store.execute(move)
    assert [(each.name, each.made_by) for each in tokens.listed(store)] == [
        ("gone", ""),
        ("hers", ann.name),
        ("shell", ""),
    ]
