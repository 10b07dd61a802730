"""Audits, estimates and forgetting over HTTP: begun, followed and ended, and what they say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import audited
import pytest
from listening import events
from signing import Client, Signed

from tidegate.engine import jobs as doing
from tidegate.engine import place as places
from tidegate.store import jobs, trail
from tidegate.views import jobs as views


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with audited.stripe() as url:
        yield url


@pytest.fixture
def place(stripe: str, tmp_path: Path) -> Iterator[places.Place]:
    """A pull that has run once."""
    with audited.place(tmp_path, stripe) as found:
        yield found


def ended(program: Client, begun: Any) -> dict[str, Any]:
    """The job that a call began, at its end."""
    assert begun.status == 202, begun.text
    assert begun.headers["location"] == begun.json["url"]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found: dict[str, Any] = program.get(begun.json["url"]).json
        if found["state"] != "running":
            return found
        time.sleep(0.05)
    raise AssertionError("the job does not end")


def test_an_audit_says_what_is_missing_extra_and_other_and_repairs_it(
    place: places.Place, tokened: Signed, tmp_path: Path
) -> None:
    program = tokened(place, "run")
    gone, _ = audited.spoiled(tmp_path)
    told = ended(program, program.post("/api/v1/audits", json={"pull": "everything"}))
    assert (told["kind"], told["what"], told["state"]) == ("audit", "pull:everything", "partial")
    result = told["result"]
    assert (result["status"], result["missing"], result["extra"], result["stale"]) == ("different", 1, 0, 1)
    assert result["wrong"] == 1
    first, *rest = program.get(f"{told['url']}/rows").json["items"]
    assert (first["stream"], first["missing"], first["stale"], first["stripe"]) == ("customers", 1, 1, 12)
    assert first["examples"]["missing"] == [gone]
    assert "repair" in first["next_step"]
    assert {each["status"] for each in rest} == {"ok"}
    assert [each["stream"] for each in program.get(f"{told['url']}/rows?wrong=true").json["items"]] == [
        "customers"
    ]
    wanted = {"pull": "everything", "streams": ["customers"], "repair": True}
    repaired = ended(program, program.post("/api/v1/audits", json=wanted))
    assert (repaired["state"], repaired["result"]["repaired"]) == ("ok", 2)
    assert audited.query(tmp_path, f"select count(*) from stripe.customers where id = '{gone}'") == [(1,)]
    listed = program.get("/api/v1/jobs?kind=audit&limit=1").json
    assert [each["id"] for each in listed["items"]] == [repaired["id"]]
    after = program.get(f"/api/v1/jobs?kind=audit&limit=1&after={listed['next']}").json
    assert ([each["id"] for each in after["items"]], after["next"]) == ([told["id"]], None)
    assert [(each.action, each.what) for each in trail.listed(place.store)] == [
        ("audit", "pull:everything")
    ] * 2


def test_an_estimate_counts_before_anything_is_pulled(place: places.Place, tokened: Signed) -> None:
    program = tokened(place, "run")
    told = ended(
        program, program.post("/api/v1/estimates", json={"pull": "everything", "streams": ["customers"]})
    )
    assert (told["state"], told["result"]["rows"], told["result"]["streams"]) == ("ok", 12, 1)
    [row] = program.get(f"{told['url']}/rows").json["items"]
    assert (row["stream"], row["rows"], row["exact"], row["status"]) == ("customers", 12, True, "ok")


def test_forgetting_is_looked_at_then_confirmed_and_is_for_admins(
    place: places.Place, tokened: Signed, tmp_path: Path
) -> None:
    admin, operator = tokened(place, "admin"), tokened(place, "run")
    [[customer]] = audited.query(
        tmp_path, "select customer from stripe.charges where customer is not null limit 1"
    )
    order = {"customers": [customer]}
    assert operator.post("/api/v1/forgets", json=order).status == 403
    look = ended(admin, admin.post("/api/v1/forgets", json=order))
    assert (look["state"], look["result"]["dry_run"]) == ("ok", True)
    assert look["result"]["rows"] > 1
    assert look["result"]["warehouses"][0]["tables"]["customers"] == 1
    kept = f"select count(*) from stripe.customers where id = '{customer}' and _deleted_at is null"
    assert audited.query(tmp_path, kept) == [(1,)]
    for confirm in (None, {"word": "forget", "customers": 2}, {"word": "yes", "customers": 1}):
        refused = admin.post("/api/v1/forgets", json={**order, "dry_run": False, "confirm": confirm})
        assert refused.status == 422
        assert "give the word forget and the number of customers, 1" in refused.json["detail"]
    confirm = {"word": "forget", "customers": 1}
    done = ended(admin, admin.post("/api/v1/forgets", json={**order, "dry_run": False, "confirm": confirm}))
    assert (done["state"], done["result"]["rows"]) == ("ok", look["result"]["rows"])
    assert audited.query(tmp_path, kept) == [(0,)]
    assert operator.get(done["url"]).status == 404
    assert operator.get("/api/v1/jobs").json["items"] == []
    assert operator.get("/api/v1/jobs?kind=forget").json["items"] == []
    assert len(admin.get("/api/v1/jobs").json["items"]) == 2
    assert admin.post("/api/v1/forgets", json={"customers": ["ann@example.com"]}).status == 422


def test_what_is_not_there_or_makes_no_sense_begins_nothing(place: places.Place, tokened: Signed) -> None:
    program = tokened(place, "run")
    assert (
        program.post("/api/v1/audits", json={"pull": "everythin"})
        .json["detail"]
        .startswith("There is no pull 'everythin'; did you mean 'everything'?")
    )
    for path, order in (
        ("audits", {"pull": "everything", "streams": ["payouts"]}),
        ("audits", {"pull": "everything", "since": "yesterday"}),
        ("estimates", {"pull": "everything", "streams": ["payouts"]}),
    ):
        assert program.post(f"/api/v1/{path}", json=order).status == 422, (path, order)
    assert program.post("/api/v1/rehearsals", json={"push": "none"}).status == 404
    assert program.post("/api/v1/verifications", json={"push": "none"}).status == 404
    assert tokened(place, "read").post("/api/v1/audits", json={"pull": "everything"}).status == 403
    assert jobs.listed(place.store) == []


async def _waiting(_: places.Place, screen: doing.Screen) -> doing.Done:
    screen.phase("waiting")
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


def test_one_that_goes_on_is_cancelled_and_nobody_begins_the_same_meanwhile(
    place: places.Place, tokened: Signed
) -> None:
    program = tokened(place, "run")
    who = type("Ann", (), {"name": "ann", "via": "session"})()
    job = views.begin(place, who, "audit", "pull:everything", {}, _waiting)
    busy = program.post("/api/v1/audits", json={"pull": "everything"})
    assert (busy.status, job.id in busy.json["detail"]) == (409, True)
    at = f"/api/v1/jobs/{job.id}"
    assert tokened(place, "read").post(f"{at}/cancel").status == 403
    assert program.post(f"{at}/cancel").status == 200
    assert program.post(f"{at}/cancel").status == 200, "again it changes nothing"
    deadline = time.monotonic() + 30
    while program.get(at).json["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    told = program.get(at).json
    assert (told["state"], told["cancelled_by"].startswith("test-")) == ("cancelled", True)
    [last] = events(program, f"{at}/events")
    assert (last.name, last.data) == ("end", told)
    assert program.get(f"{at}/events", Last_Event_ID=last.id).status == 204, "and a browser comes no more"
    assert [each.action for each in trail.listed(place.store)] == ["cancel", "audit"]


def test_a_warehouse_that_is_away_is_said_and_no_secret_is(
    place: places.Place, tokened: Signed, tmp_path: Path
) -> None:
    program = tokened(place, "run")
    (tmp_path / "w.duckdb").unlink()
    told = ended(program, program.post("/api/v1/audits", json={"pull": "everything"}))
    assert (told["state"], told["result"]) == ("failed", None)
    assert told["error"] == "the warehouse holds nothing of Tidegate's yet; pull into it first"
    assert audited.SECRET not in str(told)


def test_a_pull_is_checked(place: places.Place, tokened: Signed) -> None:
    found = tokened(place, "run").post("/api/v1/checks/pulls/everything").json
    assert found["ok"] is True
    assert [each["name"] for each in found["steps"]][-2:] == ["streams", "events"]
