"""Forgotten customers: what of theirs goes from the ledger, and what stays so that nobody is made twice."""

from __future__ import annotations

import pushing

from tidegate.store import claims, database, fences, forgetting, holds, ledger, links, operations, pushed


def written(store: database.Database, fence: fences.Fence) -> None:
    """Ada and Ben are customers, and an invoice item of Ada's stands in another row."""
    body = "email=ada%40example.com&name=Ada"
    pushing.write(store, fence, pushing.create("1", "ada@example.com", body=body), "cus_ada")
    pushing.write(store, fence, pushing.create("2", "ben@example.com", body="name=Ben"), "cus_ben")
    item = pushing.create("3", body="customer=cus_ada&description=For+Ada", object="invoice_item")
    pushing.write(store, fence, item, "ii_1")


def bodies(store: database.Database) -> dict[str, str]:
    """The requests of rows."""
    return {each.key: each.body for each in operations.listed(store, limit=None)}


def test_requests_images_and_fields_go_and_ids_stay(store: database.Database) -> None:
    fence = pushing.fence(store)
    written(store, fence)
    before = {"name": "Ada before"}
    pushing.write(store, fence, pushing.update("1", "cus_ada", body="name=Ada+L.", before=before))
    found = forgetting.forget(store, ["cus_ada"])
    assert found.rows == {"operations": 3, "pushed": 2, "links": 1}
    assert found.open == {}
    assert bodies(store) == {"1": "", "2": "name=Ben", "3": ""}
    [first, second] = operations.listed(store, key="1")
    assert [(each.before, each.after, each.fields) for each in (first, second)] == [(None, None, "{}")] * 2
    assert (first.target, first.hash, first.request_id) == ("cus_ada", "hash of 1", "req_1")


def test_a_customer_becomes_a_tombstone_that_keeps_its_claims(store: database.Database) -> None:
    fence = pushing.fence(store)
    written(store, fence)
    forgetting.forget(store, ["cus_ada"])
    there = links.find(store, pushing.PUSH, ["1", "2", "3"])
    assert {key: (link.target, link.gone) for key, link in there.items()} == {
        "1": ("cus_ada", "missing"),
        "2": ("cus_ben", ""),
        "3": ("ii_1", ""),
    }
    assert claims.count(store, pushing.PUSH, "1") == 1
    [again] = ledger.begin(store, fence, [pushing.create("1", "ada@example.com")])
    [other] = ledger.begin(store, fence, [pushing.create("9", "ada@example.com")])
    assert (again.state, other.state) == ("gone", "claimed")


def test_what_else_is_theirs_stays_acknowledged_without_its_fields(store: database.Database) -> None:
    fence = pushing.fence(store)
    written(store, fence)
    forgetting.forget(store, ["cus_ada"])
    rows = pushed.find(store, pushing.PUSH, ["1", "2", "3"])
    assert {key: (row.hash, row.fields) for key, row in rows.items()} == {
        "2": ("hash of 2", '{"metadata.ext":"2"}'),
        "3": ("hash of 3", "{}"),
    }


def test_objects_that_are_known_as_theirs_are_found_by_their_ids(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.update("7", "sub_1", object="subscription", body="description=Ada"))
    assert forgetting.forget(store, ["cus_ada"]).rows == {}
    assert forgetting.forget(store, ["cus_ada"], ["sub_1"]).rows == {
        "operations": 1,
        "pushed": 1,
        "row_notes": 1,
    }
    assert bodies(store) == {"7": ""}


def test_an_id_is_not_taken_for_the_beginning_of_another_by_its_underscore(store: database.Database) -> None:
    fence = pushing.fence(store)
    item = pushing.create("3", body="customer=cusXada", object="invoice_item")
    pushing.write(store, fence, item, "ii_1")
    assert forgetting.forget(store, ["cus_ada"]).rows == {}


def test_only_of_one_account_where_that_is_said(store: database.Database) -> None:
    written(store, pushing.fence(store))
    assert forgetting.forget(store, ["cus_ada"], account="acct_other").rows == {}
    assert forgetting.forget(store, ["cus_ada"], account=pushing.ACCOUNT).rows["links"] == 1


def test_what_is_undecided_keeps_its_bytes_and_is_counted(store: database.Database) -> None:
    fence = pushing.fence(store)
    written(store, fence)
    update = pushing.update("1", "cus_ada", body="name=Ada+again")
    pushing.begin(store, fence, update)
    found = forgetting.forget(store, ["cus_ada"])
    assert found.open == {pushing.PUSH: 1}
    [left] = operations.undecided(store)
    assert left.body == "name=Ada+again"
    ledger.void(store, fence, [update.id], "It was never sent.")
    assert forgetting.forget(store, ["cus_ada"]).rows == {"operations": 1}


def test_candidates_and_notes_go(store: database.Database) -> None:
    fence = pushing.fence(store)
    written(store, fence)
    many = holds.Opening("5", "ambiguous", "Two match.", candidates=("cus_ada", "cus_ben"))
    holds.open(store, fence, [many])
    forgetting.forget(store, ["cus_ada"])
    hold = holds.find(store, pushing.PUSH, "5")
    assert hold is not None
    assert hold.candidates == ("cus_ben",)
    assert store.execute("SELECT 1 AS x FROM row_notes WHERE key = '1' AND text <> ''") == []


def test_a_look_counts_and_a_second_time_finds_nothing(store: database.Database) -> None:
    written(store, pushing.fence(store))
    before = bodies(store)
    looked = forgetting.forget(store, ["cus_ada"], dry_run=True)
    assert bodies(store) == before
    assert forgetting.forget(store, ["cus_ada"]) == looked
    assert forgetting.forget(store, ["cus_ada"]).rows == {}
