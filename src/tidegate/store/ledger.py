"""The ledger's transactions: an intent before its request, and after it what became of it and of its row.

Ages are by this database's clock. Nothing is begun that would make a second object for a row, or write to another
object than its own, or bring back what somebody else deleted: also where the plan was wrong. Each transaction may
be done again, and is refused as a whole where somebody else has a newer fence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec

from tidegate import errors
from tidegate.store import claims, database, fences, holds, links, notes, operations, settling

BATCH = 200
"""Operations of one transaction at most."""
LONGEST = 1_000
"""Characters that are kept of an error."""


def begin(
    store: database.Database, fence: fences.Fence, intents: Sequence[operations.Intent]
) -> list[operations.Outcome]:
    """Commit intents and their claims in one transaction; says of each, in their order, whether it is begun.

    Beginning the same again changes nothing. Raises Outdated, and StoreError for an account that is not the push's.
    """
    assert len(intents) <= BATCH, f"{BATCH} intents at one go at most."
    if not intents:
        return []

    def work(session: database.Session) -> list[operations.Outcome]:
        fences.check(session, fence, lasting=True)
        for account, livemode in sorted({(each.account, each.livemode) for each in intents}):
            fences.bind(session, fence, account, livemode)
        barred = _barred(session, fence.push, intents)
        new = [each for each in intents if each.id not in barred]
        # In one order, so that two who want several of the same do not wait for each other.
        session.each(
            f"INSERT INTO operations ({operations.COLUMNS}) VALUES (:id, :push, :run, :key, :account, :livemode, "
            ":object, :action, :target, :method, :path, :body, :api_version, :idempotency_key, :hash, :fields, "
            ":version, :claims, :fence, 'intent', 0, {now}, NULL, NULL, NULL, 0, '', '', :before, NULL) "
            "ON CONFLICT DO NOTHING",
            [_values(fence, each) for each in sorted(new, key=lambda each: (each.object, each.target))],
        )
        there = {each.id for each in operations.some(session, fence.push, [each.id for each in new])}
        wishes = [
            claims.Wish(claim, fence.push, each.key, each.id)
            for each in new
            if each.id in there
            for claim in each.claims
        ]
        losers = claims.take(session, wishes)
        if losers:
            claims.release(session, losers)
            names, parameters = database.among(losers)
            session.execute(f"DELETE FROM operations WHERE id IN {names}", parameters)
        found = []
        for each in intents:
            if each.id in barred:
                found.append(barred[each.id])
            elif each.id in losers:
                holder = losers[each.id]
                found.append(
                    operations.Outcome(each.id, "claimed", holder.push, holder.key, holder.operation)
                )
            elif each.id in there:
                found.append(operations.Outcome(each.id, "begun", fence.push, each.key, each.id, each.target))
            else:
                found.append(_busy(session, fence.push, each))
        return found

    return store.transact(work)


def _barred(
    session: database.Session, push: str, intents: Sequence[operations.Intent]
) -> dict[str, operations.Outcome]:
    """What must not be begun, whatever else is open, and why."""
    found = {}
    there = links.of(session, push, list({each.key for each in intents}))
    for each in intents:
        link = there.get(each.key)
        if link is None or link.gone == "deleted":
            continue
        another = each.action == "create" if not each.target else each.target != link.target
        if another and each.chosen:
            continue
        if link.gone or (another and each.action != "retire"):
            state: Literal["gone", "linked"] = "gone" if link.gone else "linked"
            found[each.id] = operations.Outcome(each.id, state, push, each.key, link.operation, link.target)
    places: dict[tuple[str, bool, str], list[operations.Intent]] = {}
    for each in intents:
        if each.target and each.id not in found:
            places.setdefault((each.account, each.livemode, each.object), []).append(each)
    for place, some in sorted(places.items()):
        rows = links.rows_of(session, push, *place, {each.target for each in some})
        for each in some:
            if rows.get(each.target, each.key) != each.key:
                found[each.id] = operations.Outcome(
                    each.id, "shared", push, rows[each.target], target=each.target
                )
    return found


def _busy(session: database.Session, push: str, intent: operations.Intent) -> operations.Outcome:
    """Who keeps an intent from being begun."""
    wanted = {
        "push": push,
        "key": intent.key,
        "account": intent.account,
        "livemode": int(intent.livemode),
        "object": intent.object,
        "target": intent.target,
    }
    row = session.one(
        f"SELECT push, key, id, target FROM operations WHERE push = :push AND key = :key AND {operations.IS_OPEN}",
        wanted,
    ) or session.one(
        "SELECT push, key, id, target FROM operations WHERE account = :account AND livemode = :livemode "
        f"AND object = :object AND target = :target AND {operations.IS_OPEN} AND target <> ''",
        wanted,
    )
    if row is None:  # it ended between the two statements
        return operations.Outcome(intent.id, "busy", target=intent.target)
    return operations.Outcome(intent.id, "busy", row["push"], row["key"], row["id"], row["target"])


def sending(
    store: database.Database, fence: fences.Fence, operation: str, *, oldest: float = operations.OLDEST
) -> float:
    """Note that an operation is about to be sent, once more maybe; returns its age in seconds, since its intent.

    Raises Outdated where the push is not ours any more, and TooOld from `oldest` seconds on, or where the clock was
    set back behind the intent: then nothing may be sent.
    """
    [age] = sending_all(store, fence, [operation], oldest=oldest)
    if isinstance(age, operations.TooOld):
        raise age
    return age


def sending_all(
    store: database.Database,
    fence: fences.Fence,
    wanted: Sequence[str],
    *,
    oldest: float = operations.OLDEST,
) -> list[float | operations.TooOld]:
    """The same of several in one transaction: the age of each, in their order, or why it may not be sent."""
    assert len(wanted) <= BATCH, f"{BATCH} operations at one go at most."
    attempts: dict[str, int] = {}

    def work(session: database.Session) -> list[float | operations.TooOld]:
        fences.check(session, fence, lasting=True)
        there = _locked(session, fence.push, wanted, ("intent", "sent"))
        now = session.now()
        ages = {each.id: now - each.created_at for each in there}
        young = [each for each in there if 0 <= ages[each.id] < oldest]
        for each in young:
            # Counted once, also where the answer to COMMIT was lost and all of this is done again.
            attempts.setdefault(each.id, each.attempts + 1)
        session.each(
            "UPDATE operations SET status = 'sent', attempts = :attempts, last_sent_at = {now}, "
            "first_sent_at = coalesce(first_sent_at, {now}) WHERE id = :id",
            [{"id": each.id, "attempts": attempts[each.id]} for each in young],
        )
        return [ages[id] if 0 <= ages[id] < oldest else _too_old(fence.push, id, ages[id]) for id in wanted]

    return store.transact(work) if wanted else []


def _too_old(push: str, operation: str, age: float) -> operations.TooOld:
    return operations.TooOld(
        f"{operation} of {push} was planned {age / 3600:.1f} hours ago and may not be sent any more; the next run "
        "finds out what became of it."
    )


def acknowledge(store: database.Database, fence: fences.Fence, done: Sequence[operations.Done]) -> list[str]:
    """Note in one transaction that Stripe did these, and what of their rows is linked and acknowledged.

    Their holds are over. Returns the operations whose object turned out to be another row's of this push: they are
    done too, their rows are held, and neither linked nor acknowledged. Doing the same again changes nothing.
    Raises Outdated, and StoreConflict for an operation that was never sent, or has ended otherwise.
    """
    assert len(done) <= BATCH, f"{BATCH} operations at one go at most."
    made = {each.id: (each, notes.new_id(), notes.new_id()) for each in done}

    def work(session: database.Session) -> list[str]:
        fences.check(session, fence)
        there = _locked(session, fence.push, list(made), ("sent", "unknown", "done"))
        new = [each for each in there if each.status != "done"]
        session.each(
            "UPDATE operations SET status = 'done', target = :target, response = :response, "
            "request_id = :request_id, after = :after, error = '', decided_at = {now} WHERE id = :id",
            [_ending(made[each.id][0]) for each in new],
        )
        targets = {each.id: made[each.id][0].target for each in there}
        shared = settling.shared(session, fence.push, there, targets)
        named = {each.id: made[each.id][1:] for each in there}
        fine = [each for each in new if each.id not in shared]
        settling.settle(session, fence.push, fine, targets, named)
        mine = [each for each in new if each.id in shared]
        claims.release(session, [each.id for each in mine])
        openings = [settling.sharing(each, targets[each.id], made[each.id][1]) for each in mine]
        holds.opened(session, fence.push, openings)
        return [each.id for each in there if each.id in shared]

    return store.transact(work) if done else []


def refuse(store: database.Database, fence: fences.Fence, refused: Sequence[operations.Refused]) -> None:
    """Note that Stripe refused these, and what becomes of their rows: one transaction. Their claims end.

    Refusing the same again changes nothing. Raises Outdated, and StoreConflict as `acknowledge` does.
    """
    assert len(refused) <= BATCH, f"{BATCH} operations at one go at most."
    made = {each.id: (each, notes.new_id()) for each in refused}

    def work(session: database.Session) -> None:
        fences.check(session, fence)
        there = _locked(session, fence.push, list(made), ("sent", "unknown", "refused"))
        new = [each for each in there if each.status != "refused"]
        session.each(
            "UPDATE operations SET status = 'refused', response = :response, request_id = :request_id, "
            "error = :error, decided_at = {now} WHERE id = :id",
            [_ending(made[each.id][0]) for each in new],
        )
        claims.release(session, [each.id for each in new])
        settling.lose(
            session, fence.push, [(each, made[each.id][1]) for each in new if made[each.id][0].missing]
        )
        openings = [hold for each in new if (hold := made[each.id][0].hold) is not None]
        holds.opened(session, fence.push, openings)

    if refused:
        store.transact(work)


def void(store: database.Database, fence: fences.Fence, wanted: Collection[str], why: str) -> None:
    """Note that these were not done, which is proven; their claims end, and their rows are planned again.

    Doing it again changes nothing. Raises Outdated, and StoreConflict for what is done or refused.
    """
    _end(store, fence, wanted, why, "void", ("intent", "sent", "unknown", "void"))


def unknown(store: database.Database, fence: fences.Fence, wanted: Collection[str], why: str) -> None:
    """Note that nobody can tell what became of these; their rows, objects and claims stay as they are.

    Later evidence may still acknowledge, refuse or void them. Raises as `void` does.
    """
    _end(store, fence, wanted, why, "unknown", ("sent", "unknown"))


def _end(
    store: database.Database,
    fence: fences.Fence,
    wanted: Collection[str],
    why: str,
    status: operations.Status,
    before: Sequence[operations.Status],
) -> None:
    ids = list(dict.fromkeys(wanted))
    assert len(ids) <= BATCH, f"{BATCH} operations at one go at most."

    def work(session: database.Session) -> None:
        fences.check(session, fence)
        there = _locked(session, fence.push, ids, before)
        session.each(
            "UPDATE operations SET status = :status, error = :error, decided_at = {now} "
            "WHERE id = :id AND status <> :status",
            [{"id": each.id, "status": status, "error": why[:LONGEST]} for each in there],
        )
        if status == "void":
            claims.release(session, ids)

    if ids:
        store.transact(work)


def _locked(
    session: database.Session, push: str, ids: Sequence[str], statuses: Sequence[operations.Status]
) -> list[operations.Operation]:
    """Operations of a push that may not be changed by others until the transaction ends, in the order of `ids`.

    Raises StoreConflict where one is not there, or has another status than these.
    """
    found = {each.id: each for each in operations.some(session, push, ids, lock=True)}
    for each in ids:
        if each not in found:
            raise errors.StoreConflict(f"There is no operation {each} of {push}; run the push again.")
        if found[each].status not in statuses:
            raise errors.StoreConflict(
                f"{each} of {push} is {found[each].status} already, and cannot become anything else; "
                "run the push again."
            )
    return [found[each] for each in ids]


def _values(fence: fences.Fence, intent: operations.Intent) -> dict[str, object]:
    found: dict[str, object] = {each.name: getattr(intent, each.name) for each in dataclasses.fields(intent)}
    return {
        **found,
        "push": fence.push,
        "fence": fence.number,
        "livemode": int(intent.livemode),
        "idempotency_key": operations.idempotency_key(fence.push, intent.id),
        "claims": claims.dump(intent.claims),
        "before": _json(intent.before),
    }


def _ending(ending: operations.Done | operations.Refused) -> dict[str, object]:
    found: dict[str, object] = {
        "id": ending.id,
        "response": ending.response,
        "request_id": ending.request_id,
    }
    if isinstance(ending, operations.Done):
        return {**found, "target": ending.target, "after": _json(ending.after)}
    return {**found, "error": ending.error[:LONGEST]}


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
