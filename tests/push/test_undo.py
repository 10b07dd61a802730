"""What undoing an operation would do, judged from what was noted, what was sent and what Stripe has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import planning
import pytest

from tidegate import config
from tidegate.catalog import writes
from tidegate.push import forms, plan, undo
from tidegate.store import links, operations, pushed

PUSH = planning.push()


def done(
    sent: Mapping[str, Any],
    before: Mapping[str, str | None] | None,
    *,
    action: str = "update",
    object: str = "customer",
    target: str = "cus_1",
    **more: Any,
) -> operations.Operation:
    """A write that was done, of a row with the key 1."""
    usual: dict[str, Any] = dict.fromkeys(
        ("request_id", "error", "path", "api_version", "idempotency_key"), ""
    )
    usual |= {
        "id": "op_1",
        "push": "people",
        "run": "run_1",
        "key": "1",
        "account": "acct_1",
        "livemode": False,
    }
    usual |= {"object": object, "action": action, "target": target, "method": "POST", "hash": "h1"}
    usual |= {
        "body": forms.encode(dict(sent)).decode(),
        "fields": json.dumps({"name": "New"}),
        "version": "v1",
    }
    usual |= {"claims": (), "fence": 1, "status": "done", "attempts": 1, "created_at": 1.0, "response": 200}
    usual |= {"first_sent_at": 1.0, "last_sent_at": 1.0, "decided_at": 1.0, "before": before, "after": None}
    return operations.Operation(**{**usual, **more})


def judged(
    operation: operations.Operation,
    live: Mapping[str, Any] | None,
    *,
    push: config.Push = PUSH,
    row: str | None = "h1",
    created: undo.Created = "leave",
) -> plan.Entry:
    """What undoing it would do; `row` is the hash that is acknowledged."""
    of = writes.find(push.object)
    assert of is not None
    link = links.Link("1", "acct_1", False, push.object, operation.target)
    known = pushed.Row("1", row or "", operation.fields, "v1", "op_1", 1.0)
    there = {} if live is None else {str(live["id"]): live}
    [entry] = undo.judge(
        push, of, [operation], undo.Known({"1": link}, {"1": known} if row else {}, there), created
    )
    return entry


def changes(entry: plan.Entry) -> dict[str, tuple[str | None, str]]:
    """Before and after by field."""
    return {path: (change.before, change.after) for path, change in entry.changes.items()}


def test_a_field_gets_what_it_had_and_the_row_waits_as_undone() -> None:
    entry = judged(done({"name": "New"}, {"name": "Old"}), planning.customer("cus_1", name="New"))
    assert (entry.verdict, entry.action, changes(entry)) == ("update", "undo", {"name": ("New", "Old")})
    assert (entry.hash, entry.fields) == (f"{operations.UNDONE}h1", {"name": "Old"})


def test_what_was_empty_is_emptied_and_no_longer_acknowledged() -> None:
    operation = done({"name": "New", "metadata": {"plan": "pro"}}, {"name": None, "metadata.plan": None})
    entry = judged(operation, planning.customer("cus_1", name="New", metadata={"plan": "pro"}))
    assert changes(entry) == {"name": ("New", ""), "metadata.plan": ("pro", "")}
    assert entry.fields == {}


def test_a_part_of_an_address_goes_back_alone() -> None:
    sent = {
        "address": {"city": "Rome", "line1": "Via 1"}
    }  # the line went along, since Stripe replaces it whole
    live = planning.customer("cus_1", address={"city": "Rome", "line1": "Via 1", "country": None})
    entry = judged(done(sent, {"address.city": "Milan"}), live)
    assert changes(entry) == {"address.city": ("Rome", "Milan")}


def test_of_a_row_that_was_changed_since_nothing_is_put_back() -> None:
    operation = done({"name": "New", "phone": "1"}, {"name": "Old", "phone": None})
    entry = judged(operation, planning.customer("cus_1", name="Theirs", phone="1"))
    assert (entry.verdict, entry.kind, entry.field) == ("held", "conflict", "name")
    assert (entry.changes, entry.text) == ({}, "Changed since: name; it stays as it is.")


def test_what_somebody_put_back_already_is_done() -> None:
    operation = done({"name": "New", "phone": "1"}, {"name": "Old", "phone": "0"})
    entry = judged(operation, planning.customer("cus_1", name="Old", phone="1"))
    assert changes(entry) == {"phone": ("1", "0")}
    assert judged(operation, planning.customer("cus_1", name="Old", phone="0")).verdict == "equal"


def test_what_stripe_lets_nobody_empty_stays_and_is_said() -> None:
    push = planning.push(object="product", match={"id": "email"}, fields={"name": "name", "url": "plan"})
    operation = done({"name": "New", "url": "https://x.test"}, {"name": None, "url": None}, object="product")
    live = {"id": "cus_1", "object": "product", "name": "New", "url": "https://x.test", "metadata": {}}
    entry = judged(operation, live, push=push)
    assert changes(entry) == {"url": ("https://x.test", "")}
    assert entry.text == "Stripe lets nobody put back name, which stays."


def test_an_undo_of_an_undo_has_the_row_written_again_as_it_was() -> None:
    back = done({"name": "Old"}, {"name": "New"}, action="undo", hash=f"{operations.UNDONE}h1")
    entry = judged(back, planning.customer("cus_1", name="Old"), row=f"{operations.UNDONE}h1")
    assert (entry.hash, entry.fields, changes(entry)) == ("h1", {"name": "New"}, {"name": ("Old", "New")})


def test_an_older_write_of_a_row_that_is_undone_leaves_it_so() -> None:
    operation = done({"name": "New"}, {"name": "Old"})
    entry = judged(operation, planning.customer("cus_1", name="New"), row=f"{operations.UNDONE}h2")
    assert entry.hash == f"{operations.UNDONE}h2"


def test_a_row_that_is_gone_from_its_source_is_acknowledged_as_nothing() -> None:
    operation = done({"name": ""}, {"name": "Old"}, action="clear", hash="", fields="{}")
    entry = judged(operation, planning.customer("cus_1", name=None), row=None)
    assert (entry.verdict, entry.hash, changes(entry)) == ("update", "", {"name": (None, "Old")})


@pytest.mark.parametrize(
    ("operation", "live", "verdict", "text"),
    [
        (done({}, None, action="delete"), None, "unmatched", "brings nothing back"),
        (done({"name": "New"}, {"name": "Old"}), None, "held", "There is no customer cus_1 any more"),
        (
            done({}, None, object="product"),
            None,
            "unmatched",
            "It was a product, which people does not write",
        ),
        (done({"name": "New"}, None), planning.customer("cus_1", name="New"), "unmatched", "is not known"),
        (done({"name": "New"}, None, action="create"), None, "over", "it stays"),
    ],
)
def test_what_is_not_undone_says_why(
    operation: operations.Operation, live: Mapping[str, Any] | None, verdict: str, text: str
) -> None:
    entry = judged(operation, live)
    assert entry.verdict == verdict
    assert text in entry.text


def test_a_row_that_is_another_object_by_now_is_held() -> None:
    of = writes.find("customer")
    assert of is not None
    link = links.Link("1", "acct_1", False, "customer", "cus_2")
    [entry] = undo.judge(PUSH, of, [done({}, {"name": "Old"})], undo.Known({"1": link}, {}, {}))
    assert (entry.verdict, entry.text) == ("held", "Its row is another object by now.")


@pytest.mark.parametrize(
    ("created", "verdict", "text"),
    [
        ("leave", "over", "This customer was created; it stays (--created says otherwise)."),
        ("archive", "unmatched", "A customer cannot be archived; --created delete deletes it."),
    ],
)
def test_what_was_created_stays_by_choice_or_because_it_must(
    created: undo.Created, verdict: str, text: str
) -> None:
    operation = done({"name": "New"}, None, action="create")
    entry = judged(operation, planning.customer("cus_1", name="New"), created=created)
    assert (entry.verdict, entry.text) == (verdict, text)


def test_what_was_created_is_deleted_only_as_it_was_made() -> None:
    operation = done({"name": "New"}, None, action="create")
    entry = judged(operation, planning.customer("cus_1", name="New"), created="delete")
    assert (entry.verdict, entry.action, changes(entry)) == ("remove", "delete", {"name": ("New", "")})
    assert entry.hash == f"{operations.UNDONE}h1"
    changed = judged(operation, planning.customer("cus_1", name="Theirs"), created="delete")
    assert (changed.verdict, changed.changes) == ("held", {})
