"""The quarantine of pipelines and the versions of their definitions, in SQLite and Postgres."""

from __future__ import annotations

import dataclasses

from tidegate.store import database, definitions, failed

ROW = failed.Failed("eu", "acct_1", "cus_1", 7, "shape", "email", "why", "said", 3, "{}", "run_1")


def test_a_row_stands_once_and_counts_its_attempts(store: database.Database) -> None:
    failed.keep(store, [ROW, dataclasses.replace(ROW, source_id="cus_2")])
    failed.keep(store, [dataclasses.replace(ROW, why="again")])
    failed.keep(store, [dataclasses.replace(ROW, why="later", run="run_2")])
    found = {each.source_id: each for each in failed.listed(store, "eu", 10)}
    assert (found["cus_1"].why, found["cus_1"].attempts, found["cus_2"].attempts) == ("later", 2, 1)
    assert found["cus_1"].first_at <= found["cus_1"].last_at
    assert failed.counts(store) == {"eu": 2}
    assert len(failed.listed(store, "eu", 1)) == 1
    assert len(failed.listed(store, "eu", 10, after=1)) == 1


def test_rows_are_looked_for_by_id_property_and_reason(store: database.Database) -> None:
    failed.keep(
        store,
        [
            ROW,
            dataclasses.replace(ROW, source_id="cus_2", property="phone"),
            dataclasses.replace(ROW, source_id="cus_3", why="100% Wrong"),
            dataclasses.replace(ROW, pipeline="us"),
        ],
    )

    def found(search: str) -> set[str]:
        rows = failed.listed(store, "eu", 10, search=search)
        assert failed.count(store, "eu", search) == len(rows)
        return {each.source_id for each in rows}

    assert found("") == {"cus_1", "cus_2", "cus_3"}
    assert found("cus_1") == {"cus_1"}
    assert found("phone") == {"cus_2"}
    assert found("100% wrong") == {"cus_3"}
    assert found("cus_") == set()
    one = failed.get(store, "eu", "acct_1", "cus_2")
    assert one is not None
    assert one.property == "phone"
    assert failed.get(store, "eu", "acct_2", "cus_2") is None


def test_what_does_not_fail_any_more_is_taken_out(store: database.Database) -> None:
    failed.keep(store, [dataclasses.replace(ROW, source_id=f"cus_{n}") for n in range(1_200)])
    failed.keep(store, [dataclasses.replace(ROW, pipeline="us")])
    still = {("acct_1", "cus_7"), ("acct_1", "cus_8"), ("acct_2", "cus_9")}
    assert failed.settle(store, "eu", still) == 1_198
    assert {each.source_id for each in failed.listed(store, "eu", 10)} == {"cus_7", "cus_8"}
    assert failed.counts(store) == {"eu": 2, "us": 1}


def test_forgotten_objects_leave_every_pipeline(store: database.Database) -> None:
    failed.keep(
        store, [ROW, dataclasses.replace(ROW, pipeline="us"), dataclasses.replace(ROW, source_id="cus_2")]
    )
    assert failed.forget(store, ["cus_1", "cus_9"]) == 2
    assert failed.counts(store) == {"eu": 1}


def test_rows_of_other_streams_that_name_a_forgotten_customer_go_too(store: database.Database) -> None:
    def charge(number: int, customer: str, **more: str) -> failed.Failed:
        own = {
            "source_id": f"ch_{number}",
            "payload": f'{{"customer":"{customer}","id":"ch_{number}"}}',
            **more,
        }
        return dataclasses.replace(ROW, **own)

    failed.keep(
        store,
        [
            *(charge(n, "cus_12") for n in range(600)),  # another, whose id begins alike
            *(charge(n, "cus_1") for n in range(600, 604)),
            charge(700, "cus_1", account="acct_2"),
            charge(701, "cus_12", payload='{"metadata":{"note":"belongs to cus_1, and to nobody else"}}'),
        ],
    )
    assert failed.forget(store, ["cus_1"], account="acct_2", dry_run=True) == 1
    assert failed.forget(store, ["cus_1"], account="acct_2") == 1
    assert failed.forget(store, ["cus_1"]) == 5
    assert failed.counts(store) == {"eu": 600}
    assert failed.forget(store, ["cus_1"]) == 0


def test_definitions_are_numbered_and_one_that_stays_is_one(store: database.Database) -> None:
    numbers = [definitions.note(store, "eu", digest, f"body {digest}") for digest in "aabba"]
    assert numbers == [1, 1, 2, 2, 3]
    assert definitions.note(store, "us", "a", "") == 1
    assert [each.number for each in definitions.listed(store, "eu")] == [3, 2, 1]
    second = definitions.get(store, "eu", 2)
    assert second is not None
    assert second.body == "body b"
    assert definitions.get(store, "eu", 4) is None


def test_rows_that_failed_are_listed_over_all_pipelines_without_what_was_given(
    store: database.Database,
) -> None:
    some = [("orders", "or_1"), ("people", "cus_1"), ("people", "cus_2")]
    given = {
        "version": 1,
        "shape": "s",
        "property": "email",
        "why": "Is no e-mail.",
        "said": "x",
        "line": None,
    }
    failed.keep(
        store, [failed.Failed(of, "acct_1", id, payload="{}", run="run_1", **given) for of, id in some]
    )
    store.execute("UPDATE failed_records SET first_at = 5")
    found = failed.oldest(store, limit=2)
    assert [(each.source_id, each.said, each.payload) for each in found] == [
        ("or_1", "", ""),
        ("cus_1", "", ""),
    ]
    place = (5.0, found[-1].pipeline, found[-1].account, found[-1].source_id)
    assert [each.source_id for each in failed.oldest(store, after=place)] == ["cus_2"]
    assert [each.source_id for each in failed.oldest(store, "people", search="cus_2")] == ["cus_2"]
    assert len(failed.oldest(store, search="no E-MAIL")) == 3
    assert failed.oldest(store, search="%") == []
