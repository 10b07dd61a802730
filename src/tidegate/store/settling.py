"""What the end of an operation means for its row: the link, what is acknowledged, claims and the hold.

All of it is done in the transaction that ends the operation, by whoever has the push's fence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tidegate.store import claims, database, holds, links, operations, pushed


def shared(
    session: database.Session, push: str, there: Sequence[operations.Operation], targets: Mapping[str, str]
) -> set[str]:
    """The operations whose objects, by operation, are linked to other rows; of two of one object the second is."""
    found = set()
    owners: dict[tuple[str, bool, str], dict[str, str]] = {}
    for each in there:
        place = (each.account, each.livemode, each.object)
        if place not in owners:
            owners[place] = links.rows_of(session, push, *place, set(targets.values()))
        if owners[place].setdefault(targets[each.id], each.key) != each.key:
            found.add(each.id)
    return found


def sharing(each: operations.Operation, target: str, name: str) -> holds.Opening:
    """The hold of a row whose object is another row's; its `name` is that of the note, too."""
    return holds.Opening(
        each.key,
        "shared",
        f"{target} belongs to another row of {each.push} already; correct the key or the match of one of them.",
        each.hash,
        each.version,
        operation=each.id,
        id=name,
    )


def settle(
    session: database.Session,
    push: str,
    done: Sequence[operations.Operation],
    targets: Mapping[str, str],
    named: Mapping[str, tuple[str, str]],
) -> None:
    """Link the rows of what was done, acknowledge them and end their holds; what was undone is held from now on.

    `targets` are the objects, by operation, and `named` two names each for what is noted.
    """
    fine = [each for each in done if each.action != "retire"]
    mine = {each.key: targets[each.id] for each in fine}
    there = links.of(session, push, list(mine))
    # Somebody deleted the object while this was on its way: it stays a tombstone.
    dead = {key for key, link in there.items() if link.gone == "missing" and link.target == mine[key]}
    alive = [each for each in fine if each.action != "delete" and each.key not in dead]
    wanted = {each.key: _link(each, mine[each.key]) for each in alive}
    links.put(session, push, list(wanted.values()))
    for each in alive:
        before = there.get(each.key)
        if before is not None and (before.gone or before.target != mine[each.key]):
            links.keep_note(session, push, wanted[each.key], named[each.id][1], before.target)
        elif before is None and each.target:
            links.keep_note(session, push, wanted[each.key], named[each.id][1])
    deleted = {each.key: named[each.id][1] for each in fine if each.action == "delete"}
    links.bury(session, push, deleted, "deleted", mine)
    kept = [each for each in alive if each.hash]
    pushed.put(session, [(push, each.key, each.hash, each.fields, each.version, each.id) for each in kept])
    pushed.drop(session, push, [each.key for each in fine if not each.hash])
    for each in kept:
        claims.replace(session, push, each.key, each.claims)
    undone = [each for each in fine if each.hash.startswith(operations.UNDONE) and each.key not in dead]
    held = {each.key for each in undone}
    ended = {each.key: named[each.id][0] for each in fine if each.key not in dead | held}
    holds.closed(session, push, ended, "written")
    holds.opened(session, push, [_undone(each, named[each.id][0]) for each in undone])


def lose(session: database.Session, push: str, missing: Sequence[tuple[operations.Operation, str]]) -> None:
    """Make tombstones of objects that turned out to be gone, with names for what is noted.

    Also of those that their rows were not linked to yet: they were what the rows matched.
    """
    there = links.of(session, push, [each.key for each, _ in missing])
    found = [each for each, _ in missing if each.target and each.key not in there]
    others = shared(session, push, found, {each.id: each.target for each in found})
    new = [_link(each, each.target) for each in found if each.id not in others]
    links.put(session, push, new)
    named = {each.key: name for each, name in missing}
    links.bury(session, push, named, "missing", {each.key: each.target for each, _ in missing})


def _undone(each: operations.Operation, name: str) -> holds.Opening:
    return holds.Opening(
        each.key,
        "undone",
        "A person undid what was written of it; it waits until it changes, or is retried.",
        each.hash.removeprefix(operations.UNDONE),
        each.version,
        operation=each.id,
        id=name,
    )


def _link(operation: operations.Operation, target: str) -> links.Link:
    return links.Link(
        operation.key,
        operation.account,
        operation.livemode,
        operation.object,
        target,
        created=not operation.target,
        operation=operation.id,
    )
