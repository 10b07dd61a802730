"""Idempotency-Key: every POST that changes something takes one, is done once with it, and answers alike."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import running
import servers
from signing import Client, Signed

from tidegate import errors
from tidegate.api import once
from tidegate.cli import serving
from tidegate.engine import place as places
from tidegate.store import database, keyed, runs, tokens

EVERYTHING = "/api/v1/flows/pull:everything/runs"
LOOKS = {
    "testAccount",
    "testDraftAccount",
    "check",
    "checkSignIn",
    "previewRules",
    "checkModelKey",
    "checkSinglePart",
    "checkPart",
    "tryPipeline",
    "tryPipelineCases",
    "checkDraftWarehouse",
    "checkWarehouse",
}
"""POSTs that only look at something."""
NAMES = {"{flow}": "pull:everything", "{kind}": "pulls", "{number}": "1"}
both = pytest.mark.parametrize("place", ["sqlite", "postgres"], indirect=True)


def posts(client: Client) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every POST of the description: its path with some name in each place, and the operation."""
    for path, found in client.get("/api/v1/openapi.json").json["paths"].items():
        if "post" in found:
            parts = [NAMES.get(each, "some") if each.startswith("{") else each for each in path.split("/")]
            yield "/".join(parts), found["post"]


def test_every_post_takes_a_key_but_those_that_only_look(place: places.Place, tokened: Signed) -> None:
    admin = tokened(place, "admin")
    looks = set()
    for path, operation in posts(admin):
        described = {each["name"].lower() for each in operation.get("parameters", ())}
        if "idempotency-key" not in described:
            looks.add(operation["operationId"])
            continue
        refused = admin.post(path, json={}, Idempotency_Key="no key at all")
        places_ = [each["path"] for each in refused.json["errors"]]
        assert (refused.status, "header.idempotency-key" in places_) == (422, True), path
    assert looks == LOOKS


@both
def test_the_same_call_has_the_same_answer_and_is_done_once(place: places.Place, tokened: Signed) -> None:
    program = tokened(place, "run")
    first, again = (program.post(EVERYTHING, json={"full_refresh": True}, Idempotency_Key="k") for _ in "12")
    assert (first.status, first.json) == (again.status, again.json)
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert again.headers["location"] == first.headers["location"]
    assert len(runs.listed(place.store)) == 1
    other = program.post(EVERYTHING, json={}, Idempotency_Key="k")
    assert (other.status, other.json["errors"][0]["path"]) == (422, "header.idempotency-key")
    elsewhere = program.post("/api/v1/flows/finance/runs", json={"full_refresh": True}, Idempotency_Key="k")
    assert elsewhere.status == 422


@both
def test_many_at_once_make_one_thing(place: places.Place, tokened: Signed) -> None:
    """A member is no run: nothing but the key keeps the second one from being an error."""
    admin = tokened(place, "admin")
    order = {"name": "ann@example.com", "role": "viewer"}

    def invite(_: int) -> int:
        return admin.post("/api/v1/members", json=order, Idempotency_Key="ann").status

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        answered = list(threads.map(invite, range(16)))
    assert sorted(answered) == [201] + [409] * 15
    assert [each["name"] for each in admin.get("/api/v1/members").json["items"]] == ["ann@example.com"]
    started = [f"/api/v1/flows/{flow}/runs" for flow in ("everything", "finance")]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: admin.post(started[n % 2], Idempotency_Key=f"k{n % 2}"), range(16)))
    assert {each.status for each in made} == {202}
    assert len({each.json["id"] for each in made}) == len(runs.listed(place.store)) == 2


def test_what_is_told_once_is_kept_nowhere(place: places.Place, tokened: Signed) -> None:
    admin = tokened(place, "admin")
    made = admin.post("/api/v1/tokens", json={"name": "dbt"}, Idempotency_Key="k")
    again = admin.post("/api/v1/tokens", json={"name": "dbt"}, Idempotency_Key="k")
    assert (made.status, again.status) == (201, 409)
    assert again.json["detail"] == (
        "This call was made, and its secret was told then and is kept nowhere; if that answer was lost, revoke the "
        "token (DELETE /api/v1/tokens/NAME) and make it anew, with another Idempotency-Key."
    )
    assert admin.post("/api/v1/tokens", json={"name": "other"}, Idempotency_Key="k").status == 422
    secret = made.json["token"]
    assert tokens.find(place.store, secret) is not None
    for row in place.store.execute("SELECT * FROM keyed"):
        assert secret not in str(row)
    assert admin.ask("DELETE", "/api/v1/tokens/dbt").status == 204
    assert admin.post("/api/v1/tokens", json={"name": "dbt"}, Idempotency_Key="anew").status == 201


def test_a_link_that_was_lost_is_made_anew(place: places.Place, tokened: Signed) -> None:
    admin, order = tokened(place, "admin"), {"name": "Ann@Example.com", "role": "viewer"}
    made = admin.post("/api/v1/members", json=order, Idempotency_Key="k")
    assert admin.get(made.headers["location"]).json["name"] == "ann@example.com"
    lost = admin.post("/api/v1/members", json=order, Idempotency_Key="k")
    other = admin.post("/api/v1/members", json=order, Idempotency_Key="other")
    for refused in (lost, other):
        assert (refused.status, "POST /api/v1/members/NAME/link" in refused.json["detail"]) == (409, True)
    anew = admin.post("/api/v1/members/ann@example.com/link", Idempotency_Key="k2")
    assert (anew.status, anew.json["url"] != made.json["url"]) == (201, True)
    assert (
        "with another key"
        in admin.post("/api/v1/members/ann@example.com/link", Idempotency_Key="k2").json["detail"]
    )


def test_what_was_refused_may_be_made_again(place: places.Place, tokened: Signed) -> None:
    run = running.begun(place.store, "pull:finance")
    program, path = tokened(place, "run"), f"/api/v1/runs/{run.id}/retry"
    assert program.post(path, Idempotency_Key="k").status == 409
    runs.end(place.store, run.id, running.WORKER, "failed")
    assert program.post(path, Idempotency_Key="k").status == 202
    assert program.post(path, Idempotency_Key="k").headers["idempotent-replayed"] == "true"


def test_who_may_less_by_now_is_answered_nothing(place: places.Place, signed: Signed) -> None:
    ann = signed(place, "operator", "ann@example.com")
    assert ann.post(EVERYTHING, json={}, Idempotency_Key="k").status == 202
    place.store.execute("UPDATE members SET role = 'viewer' WHERE name = 'ann@example.com'")
    assert ann.post(EVERYTHING, json={}, Idempotency_Key="k").status == 403


@pytest.mark.parametrize("url", ["sqlite", "postgres"])
def test_a_server_that_is_killed_before_it_answers_has_made_it_once(
    tmp_path: Path, url: str, tokened: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost with the server; the same call to the next one finds what was made."""
    at = servers.new_postgres() if url == "postgres" else ""

    def killed(*_: object) -> None:
        raise errors.StoreUnreachable("It was killed.")

    with running.place(tmp_path, at) as place:
        run = running.ended(place.store)
        program = tokened(place, "run")
        with monkeypatch.context() as patched:
            patched.setattr(keyed, "answer", killed)
            first = program.post(f"/api/v1/runs/{run.id}/retry", Idempotency_Key="k")
        assert first.status == 202
        with monkeypatch.context() as patched:
            patched.setattr(once, "PATIENCE", 0.0)
            busy = program.post(f"/api/v1/runs/{run.id}/retry", Idempotency_Key="k")
        assert (busy.status, busy.headers["retry-after"]) == (409, "5")
        assert runs.begin(place.store, first.json["id"], "w") is not None
        runs.end(place.store, first.json["id"], "w", "ok")
        place.store.execute("UPDATE keyed SET seen_at = seen_at - :ago", {"ago": keyed.SILENT + 1})
        file = place.file
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as opened:
        restarted = running.known(places.Place(file, opened))
        with serving.serving(restarted) as (there, _):
            program = Client(there, headers=program.headers)
            again = program.post(f"/api/v1/runs/{run.id}/retry", Idempotency_Key="k")
            assert (again.status, again.json["id"]) == (202, first.json["id"])
            replayed = program.post(f"/api/v1/runs/{run.id}/retry", Idempotency_Key="k")
            assert (replayed.json, replayed.headers["idempotent-replayed"]) == (again.json, "true")
        assert len(runs.listed(opened)) == 2
