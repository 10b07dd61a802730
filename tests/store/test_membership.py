"""Members: how they come, change and go; that one admin stays; and that every change is in the audit log."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tidegate import errors
from tidegate.store import database, invitations, membership, people, sessions, trail

BY = membership.By("root@box", "cli")


def add(store: database.Database, name: str, role: people.Role = "viewer") -> people.Member:
    """A member who has a password."""
    return membership.add(store, BY, name, role, password="$argon2id$...")


def session(store: database.Database, member: people.Member) -> str:
    secret = sessions.new()
    membership.sign_in(store, member, secret, how="password")
    return secret


def actions(store: database.Database) -> list[tuple[str, str, str, str]]:
    return [(each.who, each.via, each.action, each.what) for each in trail.listed(store)][::-1]


def test_a_member_comes_changes_and_goes(store: database.Database) -> None:
    add(store, "ann@example.com", "admin")
    ben = membership.add(store, BY, " Ben@Example.com ", "viewer")
    assert (ben.name, ben.role, ben.state, ben.scope, ben.made_by) == (
        "ben@example.com",
        "viewer",
        "invited",
        "read",
        "root@box",
    )
    membership.change_role(store, BY, "BEN@example.com", "editor")
    membership.change_role(store, BY, "ben@example.com", "editor")
    membership.disable(store, BY, "ben@example.com")
    membership.disable(store, BY, "ben@example.com")
    assert people.get(store, "ben@example.com").state == "disabled"
    membership.enable(store, BY, "ben@example.com")
    membership.enable(store, BY, "ben@example.com")
    membership.remove(store, BY, "ben@example.com")
    assert [each.name for each in people.listed(store)] == ["ann@example.com"]
    assert actions(store) == [
        ("root@box", "cli", "add", "members.ann@example.com"),
        *(
            ("root@box", "cli", action, "members.ben@example.com")
            for action in ("add", "role", "disable", "enable", "remove")
        ),
    ]
    (line,) = trail.listed(store, action="role")
    assert (line.before, line.after) == ({"role": "viewer"}, {"role": "editor"})


def test_names_are_one_whatever_their_case(store: database.Database) -> None:
    add(store, "ann@example.com")
    with pytest.raises(errors.StoreConflict, match=r"ann@example\.com already"):
        add(store, "ANN@example.com")
    assert len(actions(store)) == 1


@pytest.mark.parametrize(
    "name",
    ["", " ", "ann@", "@example.com", "a b@example.com", "ann@a@b", "<ann>", "ann\x00", "x" * 255, "a'--"],
)
def test_what_is_no_name(store: database.Database, name: str) -> None:
    with pytest.raises(errors.ConfigError, match=r"named by an e-mail address"):
        add(store, name)


def test_nothing_is_done_with_nobody(store: database.Database) -> None:
    for work in (membership.disable, membership.enable, membership.remove, membership.invite):
        with pytest.raises(errors.ConfigError, match="no member nobody"):
            work(store, BY, "nobody")
    with pytest.raises(errors.ConfigError, match="no member nobody"):
        membership.change_role(store, BY, "nobody", "admin")
    assert actions(store) == []


def test_the_last_admin_stays(store: database.Database) -> None:
    add(store, "ann", "admin")
    membership.add(store, BY, "invited", "admin")  # nobody knows whether this one will ever come
    disabled = add(store, "disabled", "admin")
    membership.disable(store, BY, disabled.name)
    for work in (membership.disable, membership.remove):
        with pytest.raises(errors.StoreConflict, match="ann is the last admin"):
            work(store, BY, "ann")
    with pytest.raises(errors.StoreConflict, match="ann is the last admin"):
        membership.change_role(store, BY, "ann", "editor")
    membership.change_role(store, BY, "ann", "admin")
    add(store, "ben", "admin")
    membership.change_role(store, BY, "ann", "editor")
    assert people.has_admin(store)
    membership.remove(store, BY, "invited")


def test_two_admins_who_disable_each_other_at_once(opened: Callable[[], database.Database]) -> None:
    store = opened()
    for turn in range(5):
        names = [f"ann{turn}", f"ben{turn}"]
        for name in names:
            add(store, name, "admin")
        for other in people.listed(store):
            if other.name not in names:
                membership.remove(store, BY, other.name)
        ready, refused = threading.Barrier(2), []

        def work(name: str, ready: threading.Barrier = ready, refused: list[str] = refused) -> None:
            own = opened()
            ready.wait()
            try:
                membership.disable(own, BY, name)
            except errors.StoreConflict:
                refused.append(name)

        threads = [threading.Thread(target=work, args=[name]) for name in names]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert len(refused) == 1
        assert people.has_admin(store)


def test_who_may_less_is_signed_out_everywhere(store: database.Database) -> None:
    add(store, "ann", "admin")
    ben = add(store, "ben", "editor")
    for change in (
        lambda: membership.change_role(store, BY, "ben", "viewer"),
        lambda: membership.set_password(store, BY, "ben", "$another"),
        lambda: membership.disable(store, BY, "ben"),
    ):
        secrets = [session(store, ben), session(store, ben)]
        assert all(sessions.find(store, each) for each in secrets)
        change()
        assert not any(sessions.find(store, each) for each in secrets)
        assert not sessions.of(store, ben.id)


def test_who_sets_a_password_here_stays_signed_in_here(store: database.Database) -> None:
    ann = add(store, "ann", "admin")
    old, new = session(store, ann), sessions.new()
    membership.set_password(store, BY, "ann", "$another", session_secret=new)
    assert sessions.find(store, old) is None
    found = sessions.find(store, new)
    assert found is not None
    assert found.member.name == "ann"


def test_a_link_works_once_and_only_the_newest(store: database.Database) -> None:
    membership.add(store, BY, "ann", "admin")
    first, second = membership.invite(store, BY, "ann"), membership.invite(store, BY, "ann")
    assert invitations.look(store, first) is None
    found = invitations.look(store, second)
    assert found is not None
    assert (found.kind, found.member and found.member.name) == ("invite", "ann")
    secret = sessions.new()
    member = membership.accept(store, second, password="$hash", session_secret=secret)
    assert member is not None
    assert (member.name, member.state, member.has_password) == ("ann", "active", True)
    assert sessions.find(store, secret) is not None
    assert membership.accept(store, second, password="$other", session_secret=sessions.new()) is None
    assert [each.action for each in trail.listed(store)][:2] == ["password", "link"]
    again = invitations.look(store, membership.invite(store, BY, "ann"))
    assert again is not None
    assert again.kind == "reset"


def test_a_link_of_two_browsers_at_once_works_in_one(opened: Callable[[], database.Database]) -> None:
    store = opened()
    links = [membership.first_link(store, "tidegate run") for _ in range(2)]
    ready, made = threading.Barrier(4), []

    def work(link: str, name: str) -> None:
        own = opened()
        ready.wait()
        made.append(membership.accept(own, link, password="$x", session_secret=sessions.new(), name=name))

    threads = [threading.Thread(target=work, args=[links[n % 2], f"admin{n}"]) for n in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len([each for each in made if each is not None]) == 1
    assert len(people.listed(store)) == 1


def test_a_link_is_over_after_its_time(store: database.Database) -> None:
    membership.add(store, BY, "ann", "admin")
    for link, lasts in (
        (membership.first_link(store, "tidegate run"), 3600),
        (membership.invite(store, BY, "ann"), 7 * 86_400),
    ):
        found = invitations.look(store, link)
        assert found is not None
        assert abs(found.expires_at - store.now() - lasts) < 60
    store.execute("UPDATE member_links SET expires_at = {now}")
    assert invitations.look(store, link) is None
    assert membership.accept(store, link, password="$x", session_secret=sessions.new()) is None


def test_who_is_disabled_has_no_link(store: database.Database) -> None:
    add(store, "ann", "admin")
    add(store, "ben")
    link = membership.invite(store, BY, "ben")
    membership.disable(store, BY, "ben")
    assert invitations.look(store, link) is None
    with pytest.raises(errors.StoreConflict, match="ben is disabled"):
        membership.invite(store, BY, "ben")
    membership.enable(store, BY, "ben")
    assert invitations.look(store, link) is None


def test_the_first_link_is_worth_nothing_once_there_is_an_admin(store: database.Database) -> None:
    link = membership.first_link(store, "tidegate run")
    assert invitations.look(store, link) is not None
    membership.add(store, BY, "invited", "admin")
    assert invitations.look(store, link) is not None
    add(store, "ann", "admin")
    assert invitations.look(store, link) is None
    refused = membership.accept(store, link, password="$x", session_secret=sessions.new(), name="eve")
    assert refused is None


def test_the_first_link_lets_in_who_was_invited_and_makes_an_admin_of_them(store: database.Database) -> None:
    membership.add(store, BY, "ann", "viewer")
    link = membership.first_link(store, "tidegate run")
    secret = sessions.new()
    found = membership.accept(store, link, password="$x", session_secret=secret, name="Ann")
    assert found is not None
    assert (found.name, found.role) == ("ann", "admin")


def test_a_password_is_hashed_anew_unless_it_was_changed(store: database.Database) -> None:
    ann = add(store, "ann", "admin")
    membership.rehash(store, ann.id, "$argon2id$...", "$new")
    membership.rehash(store, ann.id, "$argon2id$...", "$newer")
    kept = people.password(store, "ann")
    assert kept is not None
    assert kept[1] == "$new"


def test_one_person_of_a_provider_is_one_member(store: database.Database) -> None:
    one = membership.add(store, BY, "ann", "viewer", issuer="https://i", subject="1")
    assert people.subject(store, "https://i", "1") == one
    assert people.subject(store, "https://j", "1") is None
    add(store, "ben")
    assert people.subject(store, "https://i", "") is None
    with pytest.raises(errors.StoreConflict):
        membership.add(store, BY, "cid", "viewer", issuer="https://i", subject="1")
    assert one.signs_in_by == "provider"


@pytest.mark.parametrize("end", ["role", "disable", "remove"])
def test_links_that_an_admin_made_for_others_end_with_the_role(store: database.Database, end: str) -> None:
    """Or whoever was an admin could still choose the password of another one."""
    add(store, "ann@example.com", "admin")
    add(store, "eve@example.com", "admin")
    kept = membership.invite(store, BY, "ann@example.com")
    membership.add(store, BY, "ben@example.com", "admin")
    hers = membership.invite(store, membership.By("eve@example.com", "session"), "ben@example.com")
    assert invitations.look(store, hers) is not None
    if end == "role":
        membership.change_role(store, BY, "eve@example.com", "editor")
    else:
        (membership.disable if end == "disable" else membership.remove)(store, BY, "eve@example.com")
    assert invitations.look(store, hers) is None
    assert invitations.look(store, kept) is not None
