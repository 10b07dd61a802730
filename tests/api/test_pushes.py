"""Pushes, models and issues over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pushed_people as people
import pytest
import writing_back
from following import Merchant
from signing import Answer, Client, Signed

from tidegate import sandbox
from tidegate.engine import place as places
from tidegate.store import holds

PUSH = writing_back.NAME
AT = f"/api/v1/pushes/{PUSH}"


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with sandbox.process(objects=30) as url:
        yield url


@pytest.fixture
def some(tmp_path: Path) -> list[dict[str, str]]:
    number = abs(hash(tmp_path)) % 10**9
    return [people.person(number), people.person(number + 1), people.person(number + 2, email="")]


@pytest.fixture
def place(stripe: str, tmp_path: Path, some: list[dict[str, str]]) -> Iterator[places.Place]:
    with writing_back.place(tmp_path, stripe, some) as found:
        yield found


def test_a_plan_is_made_read_and_approved_once(
    place: places.Place, tokened: Signed, some: list[dict[str, str]]
) -> None:
    program = tokened(place, "run")
    assert program.get(f"{AT}/plan").status == 404
    made = program.post(f"{AT}/plans", json={"repair": False})
    assert (made.status, made.json["state"]) == (202, "making")
    writing_back.planned(place)
    at = f"{AT}/plans/{made.json['id']}"
    told = program.get(at).json
    assert (told["state"], told["counts"]["created"], told["counts"]["source"]) == ("planned", 2, 3)
    page = program.get(f"{at}/rows?limit=1&kind=create").json
    [row] = page["items"]
    assert (row["key"], row["verdict"]) == (some[0]["id"], "create")
    assert {"field": "email", "before": None, "after": some[0]["email"]} in row["changes"]
    [row] = program.get(f"{at}/rows?kind=create&after={page['next']}").json["items"]
    assert row["key"] == some[1]["id"]
    assert program.post(f"{at}/approve", json={"digest": "other"}).status == 409
    approved = [
        program.post(f"{at}/approve", json={"digest": told["digest"]}, Idempotency_Key="k") for _ in "12"
    ]
    assert [each.status for each in approved] == [202, 202]
    assert approved[0].json["id"] == approved[1].json["id"]
    run = writing_back.ran(place)
    assert (run.id, run.totals["created"]) == (approved[0].json["id"], 2)
    assert program.get(at).json["state"] == "applied"
    assert program.ask("DELETE", at).status == 409
    [written] = program.get(f"{AT}/written").json["items"]
    assert (written["run"], written["actions"]) == (run.id, {"create": 2})
    found = program.get(f"{AT}/record?key={some[0]['id']}").json
    assert [each["what"] for each in found["entries"]] == ["planned", "sent", "done"]
    assert found["dashboard"].endswith(found["target"])
    keys = [each["key"] for each in program.get(f"{AT}/records").json["items"]]
    assert keys == sorted(each["id"] for each in some)
    assert program.post(f"{AT}/undo", json={"run": "run_none"}).status == 422


def test_of_a_plan_and_of_an_undo_so_many_rows_are_written_at_most(
    place: places.Place, tokened: Signed, some: list[dict[str, str]]
) -> None:
    program = tokened(place, "run")

    def done(path: str, wish: dict[str, Any]) -> tuple[Any, Any]:
        """A plan that was approved, and what its run came to."""
        made = program.post(f"{AT}/{path}", json=wish)
        assert made.status == 202, made.text
        digest = writing_back.planned(place).digest
        told = program.get(made.json["url"]).json
        assert program.post(f"{told['url']}/approve", json={"digest": digest}).status == 202
        return told, writing_back.ran(place).totals

    plan, totals = done("plans", {"limit": 1})
    assert (plan["limit"], plan["counts"]["created"]) == (1, 2)
    assert (totals["created"], totals["left"]) == (1, 1)
    plan, totals = done("plans", {})
    assert (plan["limit"], totals["created"]) == (None, 1)
    undo = {"keys": [each["id"] for each in some[:2]], "created": "delete", "limit": 1}
    plan, totals = done("undo", undo)
    assert (plan["limit"], plan["counts"]["removed"]) == (1, 2)
    assert (totals["removed"], totals["left"]) == (1, 1)


@pytest.mark.parametrize("limit", [0, 1.5, "10", True, 2**31])
def test_a_limit_is_a_number_of_rows(place: places.Place, tokened: Signed, limit: object) -> None:
    for path, wish in (("plans", {}), ("undo", {"run": "last"})):
        refused = tokened(place, "run").post(f"{AT}/{path}", json={**wish, "limit": limit})
        assert (refused.status, refused.json["errors"][0]["path"]) == (422, "limit")


def ended(program: Client, begun: Answer) -> Any:
    """The job that a call began, at its end."""
    assert begun.status == 202, begun.text
    deadline = time.monotonic() + 120
    while program.get(begun.json["url"]).json["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    return program.get(begun.json["url"]).json


def test_a_push_is_rehearsed_in_a_sandbox_and_verified_afterwards(
    place: places.Place, tokened: Signed, stripe: str, some: list[dict[str, str]]
) -> None:
    program = tokened(place, "run")
    refused = program.post("/api/v1/rehearsals", json={"push": PUSH, "connection": "acme"})
    assert (refused.status, "writes to itself" in refused.json["detail"]) == (422, True)
    told = ended(program, program.post("/api/v1/rehearsals", json={"push": PUSH}))
    assert (told["state"], told["error"]) == ("ok", "")
    result = told["result"]
    assert (result["rehearsed_in"], result["created"], result["source"]) == ("the sandbox", 2, 3)
    [row] = program.get(f"{told['url']}/rows").json["items"]
    assert (row["kind"], row["rows"], row["first"]) == ("rehearsal", 1, [some[2]["id"]])
    assert program.get(f"{AT}/written").json["items"] == [], "nothing of the push itself was done"
    writing_back.pushed(place)
    verified = ended(program, program.post("/api/v1/verifications", json={"push": PUSH}))
    assert (verified["state"], verified["result"]["equal"]) == ("ok", 2)
    target = program.get(f"{AT}/record?key={some[0]['id']}").json["target"]
    Merchant(stripe).make(f"/v1/customers/{target}", name="Somebody else")
    verified = ended(program, program.post("/api/v1/verifications", json={"push": PUSH}))
    assert (verified["state"], verified["result"]["changed"]) == ("partial", 1)
    [row] = program.get(f"{verified['url']}/rows").json["items"]
    assert row == {
        "kind": "verification",
        "key": some[0]["id"],
        "target": target,
        "what": "changed",
        "field": "name",
    }
    entries = program.get(f"{AT}/record?key={some[0]['id']}").json["entries"]
    found = program.get(f"/api/v1/operations/{entries[0]['operation']}").json
    assert found == {"push": PUSH, "key": some[0]["id"]}
    assert program.get("/api/v1/operations/tidegate/none/op_1").status == 404


def test_a_plan_is_made_once_for_a_key(place: places.Place, tokened: Signed) -> None:
    program = tokened(place, "run")
    made = [program.post(f"{AT}/plans", json={}, Idempotency_Key="k") for _ in "12"]
    assert [each.status for each in made] == [202, 202]
    assert {each.headers["location"] for each in made} == {made[0].json["url"]}
    assert program.get(made[0].json["url"]).json["id"] == made[0].json["id"]
    assert made[0].json == made[1].json
    writing_back.planned(place)
    assert program.post(f"{AT}/plans", json={"repair": True}, Idempotency_Key="k").status == 422


def test_reading_is_for_all_tokens_and_writing_for_those_that_may(
    place: places.Place, tokened: Signed
) -> None:
    reader = tokened(place, "read")
    assert [each["name"] for each in reader.get("/api/v1/pushes").json["items"]] == [PUSH]
    assert reader.get("/api/v1/models/people").json["pushes"] == [PUSH]
    for path in (f"{AT}/plans", f"{AT}/undo", "/api/v1/issues/decide", "/api/v1/issues/decide-all"):
        assert reader.post(path, json={}).status == 403, path
    assert reader.get("/api/v1/models/people/rows").status == 403
    assert reader.get("/api/v1/pushes/nothing").status == 404


def test_a_model_shows_its_rows_and_checks_its_key(
    place: places.Place, tokened: Signed, some: list[dict[str, str]]
) -> None:
    program = tokened(place, "run")
    found = program.get("/api/v1/models/people/rows?limit=2").json
    assert found["keys"] == [each["id"] for each in some[:2]]
    assert [each["name"] for each in found["columns"]] == ["id", "email", "name", "plan"]
    assert program.post("/api/v1/models/people/check-key").json["fine"]


def test_rows_that_wait_are_listed_and_decided_on(place: places.Place, tokened: Signed) -> None:
    opened = [
        holds.Opening("a", "ambiguous", "2 objects match it.", candidates=("cus_1", "cus_2")),
        *(holds.Opening(f"k{n}", "refused", "Stripe refused it.") for n in range(3)),
    ]
    place.store.transact(lambda session: holds.opened(session, PUSH, opened))
    program = tokened(place, "run")
    page = program.get("/api/v1/issues?limit=2").json
    rest = program.get(f"/api/v1/issues?after={page['next']}").json
    assert [each["key"] for each in page["items"] + rest["items"]] == ["a", "k0", "k1", "k2"]
    assert program.get("/api/v1/issues/counts").json == {"refused": 3, "ambiguous": 1}
    wish = {"push": PUSH, "key": "a", "decision": "choose", "choice": "cus_2"}
    assert program.post("/api/v1/issues/decide", json=wish).json["choice"] == "cus_2"
    assert program.post("/api/v1/issues/decide", json={**wish, "choice": "cus_3"}).status == 422
    bulk = {"decision": "skip", "kind": "refused", "count": 2}
    assert program.post("/api/v1/issues/decide-all", json=bulk).status == 409
    told = program.post("/api/v1/issues/decide-all", json={**bulk, "count": 3}).json
    assert told == {"decided": 3, "left": 0}


def test_issues_of_several_kinds_are_listed_counted_and_decided_on_at_once(
    place: places.Place, tokened: Signed
) -> None:
    for push in (PUSH, "others"):
        opened = [
            holds.Opening(f"{push}-{kind}", kind, "It waits.") for kind in ("ambiguous", "refused", "gone")
        ]
        place.store.transact(lambda session, push=push, rows=opened: holds.opened(session, push, rows))
    program, flow = tokened(place, "run"), f"push:{PUSH}"

    def keys(query: str) -> set[str]:
        return {each["key"] for each in program.get(f"/api/v1/issues?{query}").json["items"]}

    both = "kind=refused&kind=gone"
    assert keys(f"{both}&flow={flow}") == {f"{PUSH}-refused", f"{PUSH}-gone"}
    assert len(keys(both)) == 4
    assert keys("") >= keys(both)
    assert program.get("/api/v1/issues?kind=gone&kind=lost").status == 422
    assert program.get(f"/api/v1/issues/counts?flow={flow}").json == {"ambiguous": 1, "refused": 1, "gone": 1}
    assert program.get("/api/v1/issues/counts?flow=pipeline:none").json == {}
    bulk = {"decision": "choose", "choice": "create", "kind": ["gone", "ambiguous"], "flow": flow, "count": 2}
    assert program.post("/api/v1/issues/decide-all", json=bulk).json == {"decided": 2, "left": 0}
    refused = program.post("/api/v1/issues/decide-all", json={**bulk, "kind": ["refused", "lost"]})
    assert refused.status == 422
    mixed = {"decision": "retry", "kind": ["refused", "approval"], "count": 2}
    assert "Only rows of syncs" in program.post("/api/v1/issues/decide-all", json=mixed).json["detail"]
