"""Pipelines and customers over HTTP: how they stand, tried, decided about; and what each role may."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import profiled
import pytest
import seen
from signing import Client, Signed

from tidegate import views
from tidegate.engine import place as places
from tidegate.store import definitions, failed
from tidegate.views import customers, pipeline_trials

ANN = views.Person("ann@example.com", "session")
NEW = {"from": "acme", "to": "local", "map": {"customer_id": "id", "name": {"sql": "upper(name)"}}}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with profiled.place(tmp_path) as found:
        profiled.ran(found)
        yield found


@pytest.fixture
def reader(place: places.Place, tokened: Signed) -> Client:
    return tokened(place, "read")


@pytest.fixture
def editor(place: places.Place, tokened: Signed) -> Client:
    return tokened(place, "write")


CHANGES = {
    "/api/v1/pipelines/filed/trials": {},
    "/api/v1/pipelines/filed/cases": {},
    "/api/v1/pipelines/filed/retries": None,
    "/api/v1/pipelines/filed/versions/1/restore": None,
    "/api/v1/customers/decisions": {"action": "merge", "one": "cus_0", "other": "cus_2"},
    "/api/v1/customers/preview": {"identifiers": ["email"]},
}


def test_who_reads_changes_nothing(place: places.Place, reader: Client) -> None:
    for path, sent in CHANGES.items():
        assert reader.post(path, json=sent).status == 403, path
    assert reader.ask("DELETE", "/api/v1/customers/decisions/decision_1").status == 403
    assert customers.decided(place, customers.model(place)) == ()


def test_pipelines_are_listed_page_by_page(place: places.Place, reader: Client) -> None:
    pipeline_trials.keep(place, ANN, "again", NEW, None)
    first = reader.get("/api/v1/pipelines?limit=1").json
    assert [each["name"] for each in first["items"]] == ["again"]
    last = reader.get(f"/api/v1/pipelines?limit=1&after={first['next']}").json
    assert last["next"] is None
    [filed] = last["items"]
    assert filed["filter"] == "address.country is DE"
    assert filed["last"]["totals"]["read"] == 6
    assert reader.get("/api/v1/pipelines/filed").json["quarantined"] == 0
    assert reader.get("/api/v1/pipelines/nobody").status == 404


def test_a_pipeline_is_tried_as_it_would_be_written(place: places.Place, editor: Client) -> None:
    came = editor.post("/api/v1/pipelines/new/trials", json={"body": NEW, "ids": ["cus_1"]}).json
    [row] = came["rows"]
    assert row["properties"] == {"customer_id": "cus_1", "name": "PERSON 1"}
    assert row["given"]["name"] == "Person 1"
    assert (came["read"], came["matched"], came["table"]) == (1, 1, "stripe.customers")
    kept = editor.post("/api/v1/pipelines/filed/trials", json={"limit": 6}).json
    assert (kept["read"], kept["filtered"], kept["matched"]) == (6, 2, 4)
    wrong = editor.post("/api/v1/pipelines/new/trials", json={"body": {**NEW, "map": {"name": 7}}})
    assert wrong.status == 422
    assert wrong.json["errors"][0]["path"].startswith("body.map.name")
    assert editor.post("/api/v1/pipelines/nobody/trials", json={}).status == 404
    assert "new" not in place.file.pipelines


def test_cases_are_tried(editor: Client) -> None:
    case = {"name": "shouts", "given": {"id": "cus_1", "name": "Jane"}, "expected": {"name": "Jane"}}
    came = editor.post("/api/v1/pipelines/new/cases", json={"body": {**NEW, "cases": [case]}}).json
    assert not came["ok"]
    assert came["cases"][0]["came"] == {"customer_id": "cus_1", "name": "JANE"}


def test_what_was_given_is_for_editors_alone(place: places.Place, reader: Client, editor: Client) -> None:
    failed.keep(place.store, [profiled.failure(f"cus_{n}") for n in range(3)])
    first = reader.get("/api/v1/pipelines/filed/failures?limit=2").json
    assert [each["payload"] for each in first["items"]] == [None, None]
    rest = reader.get(f"/api/v1/pipelines/filed/failures?limit=2&after={first['next']}").json
    assert len(rest["items"]) == 1
    assert rest["next"] is None
    [found] = editor.get("/api/v1/pipelines/filed/failures?search=cus_1").json["items"]
    assert json.loads(found["payload"])["email"] == "geheim@people.test"
    assert editor.post("/api/v1/pipelines/filed/retries").json["rows"] == 0


def test_versions(place: places.Place, reader: Client, editor: Client) -> None:
    pipeline_trials.keep(place, ANN, "new", NEW, None)
    for number, name in enumerate(("email", "phone")):
        definitions.note(place.store, "new", f"d{number}", json.dumps({"map": {name: {"from": name}}}))
    assert [each["number"] for each in reader.get("/api/v1/pipelines/new/versions").json["items"]] == [2, 1]
    told = reader.get("/api/v1/pipelines/new/versions/2").json
    assert told["against"] == 1
    assert {each["field"] for each in told["differences"]} == {"map.email.from", "map.phone.from"}
    assert editor.post("/api/v1/pipelines/new/versions/1/restore").status == 200
    assert set(place.file.pipelines["new"].map) == {"email"}
    assert editor.post("/api/v1/pipelines/filed/versions/1/restore").status == 409


def test_customers_page_by_page_and_one(reader: Client) -> None:
    first = reader.get("/api/v1/customers?limit=1").json
    last = reader.get(f"/api/v1/customers?limit=1&after={first['next']}").json
    assert last["next"] is None
    assert len({each["profile"] for each in (*first["items"], *last["items"])}) == 2
    [found] = reader.get("/api/v1/customers?search=p0%40people.test").json["items"]
    one = reader.get("/api/v1/customers/one?id=cus_0").json
    assert one["profile"] == found["profile"]
    assert one["sources"]["email"] == ["filed"]
    assert {each["source_id"] for each in one["records"]} == {"cus_0", "cus_1"}
    assert reader.get("/api/v1/customers/one?id=nobody").status == 404
    why = reader.get("/api/v1/customers/why?one=cus_0&other=cus_1").json
    assert why["one_customer"]
    assert why["because"] == ["filed/acct_1/cus_0 and filed/acct_1/cus_1 have the same email: p0@people.test"]


def test_deciding_and_withdrawing(reader: Client, editor: Client) -> None:
    wish = {"action": "merge", "one": "cus_0", "other": "cus_2", "note": "one card", "now": True}
    made = editor.post("/api/v1/customers/decisions", json=wish)
    assert made.status == 201
    assert made.json["shown"]
    assert reader.get("/api/v1/customers/one?id=cus_0").json["count"] == 4
    [decision] = reader.get("/api/v1/customers/decisions").json["items"]
    assert decision["note"] == "one card"
    assert decision["decided_at"].endswith("Z")
    path = f"/api/v1/customers/decisions/{decision['decision']}"
    assert editor.ask("DELETE", path).status == 200
    assert editor.ask("DELETE", path).status == 404
    assert reader.get("/api/v1/customers/decisions").json["items"] == []
    missing = editor.post("/api/v1/customers/decisions", json={"action": "apart", "one": "cus_0"})
    assert missing.status == 422


def test_other_rules_are_tried(editor: Client) -> None:
    came = editor.post("/api/v1/customers/preview", json={"identifiers": ["customer_id"]}).json
    assert (came["merges"], came["splits"], came["profiles"]) == (0, 2, 4)
    assert len(came["parted"]) == 2
    smaller = editor.post("/api/v1/customers/preview", json={"max_cluster": 2}).json
    assert smaller["profiles"] == smaller["profiles_now"], "identifiers are those of the model"


def test_without_a_model_there_is_nothing(tmp_path: Path, tokened: Signed) -> None:
    with seen.place(seen.written(tmp_path)) as empty:
        answer = tokened(empty, "read").get("/api/v1/customers")
        assert answer.status == 404
        assert answer.json["detail"] == "There is no customer model yet: a pipeline has to fill one."
