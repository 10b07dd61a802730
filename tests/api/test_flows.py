"""Flows over HTTP: how each stands, who may have one run, and that what was asked for twice runs once."""

from __future__ import annotations

import concurrent.futures
import json
import logging
from typing import Any

import pytest
import running
import signing

from tidegate.engine import place as places
from tidegate.store import runs, ticks, tokens, trail

EVERYTHING = "/api/v1/flows/pull:everything/runs"
Signed = signing.Signed

both = pytest.mark.parametrize("place", ["sqlite", "postgres"], indirect=True)


def finish(place: places.Place, run_id: str, state: runs.State = "ok", **totals: Any) -> None:
    assert runs.begin(place.store, run_id, "w") is not None
    assert runs.end(place.store, run_id, "w", state, totals=totals)


class TestStart:
    @both
    def test_a_run_is_queued_as_tidegate_start_does_it(self, place: places.Place, tokened: Signed) -> None:
        answer = tokened(place, "run").post(EVERYTHING)
        [run] = runs.listed(place.store)
        assert answer.status == 202
        assert answer.json == {
            "id": run.id,
            "flow": "pull:everything",
            "state": "queued",
            "cause": "api",
            "url": f"/api/v1/runs/{run.id}",
        }
        assert answer.headers["location"] == f"/api/v1/runs/{run.id}"
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert (run.cause, run.options, run.state) == ("api", {}, "queued")

    @pytest.mark.parametrize(
        ("body", "options"),
        [
            (b"", {}),
            (b" \n", {}),
            (b"null", {}),
            (b"{}", {}),
            (b'{"full_refresh": false}', {}),
            (b'{"full_refresh": true}', {"full_refresh": True}),
        ],
    )
    def test_what_it_is_to_do_may_be_said(
        self, place: places.Place, tokened: Signed, body: bytes, options: dict[str, Any]
    ) -> None:
        answer = tokened(place, "run").ask("POST", "/api/v1/flows/everything/runs", body=body)
        assert answer.status == 202
        assert runs.listed(place.store)[0].options == options

    @both
    def test_a_push_may_be_told_to_write_some_rows_only(self, place: places.Place, tokened: Signed) -> None:
        program, path = tokened(place, "run"), "/api/v1/flows/push:accounts/runs"
        assert program.post(path, json={"limit": 10}).status == 202
        assert program.post(path, json={"limit": 25}).status == 200
        assert [run.options for run in runs.listed(place.store)] == [{"limit": 25}]
        assert program.post(path).status == 200  # who gives none wants all of them
        assert [run.options for run in runs.listed(place.store)] == [{}]
        assert program.post(path, json={"limit": 5}).status == 200
        assert [run.options for run in runs.listed(place.store)] == [{}]

    @both
    def test_the_run_after_one_that_goes_on_keeps_to_a_limit_of_all(
        self, place: places.Place, tokened: Signed
    ) -> None:
        running.begun(place.store, "push:accounts")
        program, path = tokened(place, "run"), "/api/v1/flows/push:accounts/runs"

        def due() -> Any:
            [row] = place.store.execute("SELECT options FROM ticks WHERE flow = 'push:accounts'")
            return json.loads(row["options"])

        assert program.post(path, json={"limit": 10}).status == 202
        assert due() == {"limit": 10}
        program.post(path, json={"limit": 7})
        assert due() == {"limit": 10}
        program.post(path)
        assert due() == {}

    def test_what_the_guard_of_a_pipeline_holds_may_be_approved_beforehand(
        self, place: places.Place, tokened: Signed
    ) -> None:
        program, order = tokened(place, "run"), {"full_refresh": True, "approve": True}
        assert program.post("/api/v1/flows/pipeline:people/runs", json=order).status == 202
        assert [run.options for run in runs.listed(place.store)] == [order]
        for flow, said in (
            ("push:accounts", "a plan of push:accounts is approved"),
            ("pull:everything", "is no pipeline"),
        ):
            refused = program.post(f"/api/v1/flows/{flow}/runs", json={"approve": True})
            assert (refused.status, said in refused.json["detail"]) == (422, True)

    @pytest.mark.parametrize("limit", [0, -1, 1.5, "10", True, 2**31])
    def test_a_limit_is_a_number_of_rows_of_a_push(
        self, place: places.Place, tokened: Signed, limit: object
    ) -> None:
        program = tokened(place, "run")
        assert program.post("/api/v1/flows/push:accounts/runs", json={"limit": limit}).status == 422
        refused = program.post(EVERYTHING, json={"limit": 10})
        assert (refused.status, "is no push" in refused.json["detail"]) == (422, True)
        assert runs.listed(place.store) == []

    def test_whatever_the_content_type_says_a_body_is_json(
        self, place: places.Place, tokened: Signed
    ) -> None:
        form = {"Content_Type": "application/x-www-form-urlencoded"}  # as `curl -d` sends it
        program = tokened(place, "run")
        assert program.ask("POST", EVERYTHING, body=b'{"full_refresh": true}', **form).status == 202
        assert runs.listed(place.store)[0].options == {"full_refresh": True}
        assert program.ask("POST", EVERYTHING, body=b"full_refresh=true", **form).status == 422

    @pytest.mark.parametrize(
        "body", [b"x", b"[]", b'{"full_refresh": 1}', b'{"tg_Geheim1": 1}', b"\xff", b'{"a":' * 9000, b"NaN"]
    )
    def test_what_makes_no_sense_begins_nothing_and_is_not_repeated(
        self, place: places.Place, tokened: Signed, body: bytes
    ) -> None:
        answer = tokened(place, "run").ask("POST", EVERYTHING, body=body)
        assert answer.status == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["status"] == 422
        assert answer.json["errors"]
        assert "geheim" not in answer.text.lower()
        assert runs.listed(place.store) == []

    def test_a_push_is_begun_like_a_pull_but_has_no_full_refresh(
        self, place: places.Place, tokened: Signed
    ) -> None:
        address = "/api/v1/flows/push:accounts/runs"
        begun = tokened(place, "run").post(address)
        assert (begun.status, begun.json["flow"], begun.json["state"]) == (202, "push:accounts", "queued")
        refused = tokened(place, "run").post(address, json={"full_refresh": True})
        assert refused.status == 422
        assert "reads its whole model each time" in refused.json["detail"]
        assert runs.get(place.store, begun.json["id"]).options == {}

    def test_the_queued_run_is_returned_to_whoever_asks_next(
        self, place: places.Place, tokened: Signed
    ) -> None:
        first, again = (tokened(place, "run").post(EVERYTHING) for _ in range(2))
        assert (again.status, again.json) == (200, first.json)
        assert len(runs.listed(place.store)) == 1

    @both
    def test_while_one_runs_the_next_is_promised_and_can_be_followed(
        self, place: places.Place, tokened: Signed
    ) -> None:
        program, store = tokened(place, "run"), place.store
        first = program.post(EVERYTHING).json["id"]
        assert runs.begin(store, first, "w") is not None
        answer = program.post(EVERYTHING)
        after = f"/api/v1/runs/{first}/next"
        assert answer.status == 202
        assert answer.json == {
            "id": None,
            "flow": "pull:everything",
            "state": "waiting",
            "cause": "api",
            "url": after,
        }
        assert answer.headers["location"] == after
        assert program.get(after).json["state"] == "waiting"
        assert runs.end(store, first, "w", "ok")
        second = ticks.release(store, "pull:everything", runs.new_id())
        assert second is not None
        assert program.get(after).json["id"] == second.id
        nothing = program.get(f"/api/v1/runs/{second.id}/next")
        assert nothing.status == 404
        assert nothing.json["detail"] == f"No run of pull:everything is due after {second.id}."

    def test_a_continuous_flow_is_begun_or_goes_on(self, place: places.Place, tokened: Signed) -> None:
        program, url = tokened(place, "run"), "/api/v1/flows/steady/runs"
        first = program.post(url)
        assert (first.status, first.json["cause"]) == (202, "continuous")
        assert runs.begin(place.store, first.json["id"], "w") is not None
        again = program.post(url)
        assert (again.status, again.json["id"], again.json["state"]) == (200, first.json["id"], "running")
        refused = program.post(url, json={"full_refresh": True})
        assert refused.status == 409
        assert refused.json["detail"].startswith("pull:steady has a run already")

    def test_who_began_it_stands_in_the_audit_log(
        self, place: places.Place, signed: Signed, tokened: Signed
    ) -> None:
        run = signed(place, "operator", "ann@example.com").post(EVERYTHING, json={}).json["id"]
        tokened(place, "run").post(EVERYTHING)  # which gets the queued one
        [line] = trail.listed(place.store)
        assert (line.who, line.via, line.action, line.what) == (
            "ann@example.com",
            "session",
            "start",
            "pull:everything",
        )
        assert line.after == {"run": run}


class TestKeys:
    @both
    def test_the_same_key_has_the_same_answer_also_when_the_run_is_done(
        self, place: places.Place, tokened: Signed
    ) -> None:
        program = tokened(place, "run")
        first = program.post(EVERYTHING, Idempotency_Key="k1")
        finish(place, first.json["id"])
        again = program.post(EVERYTHING, Idempotency_Key="k1")
        assert (first.status, again.status, again.json) == (202, 202, first.json)
        assert again.headers["location"] == first.headers["location"]
        assert program.get(again.json["url"]).json["state"] == "ok"
        assert program.post(EVERYTHING, Idempotency_Key="k2").json["id"] != first.json["id"]

    def test_the_same_key_with_another_call_is_refused(self, place: places.Place, tokened: Signed) -> None:
        program = tokened(place, "run")
        first = program.post(EVERYTHING, Idempotency_Key="k1").json["id"]
        others: list[tuple[str, Any]] = [
            (EVERYTHING, {"full_refresh": True}),
            ("/api/v1/flows/finance/runs", None),
        ]
        for path, body in others:
            answer = program.post(path, json=body, Idempotency_Key="k1")
            assert answer.status == 422
            assert answer.json["detail"].startswith(
                "This key was used for another call within the last 24 hours"
            )
        [run] = runs.listed(place.store)
        assert run.options == {}
        assert program.post(EVERYTHING, json={}, Idempotency_Key="k1").json["id"] == first

    def test_keys_of_others_are_other_keys(
        self, place: places.Place, tokened: Signed, signed: Signed
    ) -> None:
        first = tokened(place, "run").post(EVERYTHING, Idempotency_Key="k1").json["id"]
        finish(place, first)
        second = tokened(place, "run").post(EVERYTHING, Idempotency_Key="k1").json["id"]
        finish(place, second)
        third = signed(place, "operator").post(EVERYTHING, json={}, Idempotency_Key="k1").json["id"]
        assert len({first, second, third}) == 3

    @pytest.mark.parametrize("key", ["a b", "ä", "x" * 256])
    def test_a_key_is_of_visible_characters(self, place: places.Place, tokened: Signed, key: str) -> None:
        answer = tokened(place, "run").post(EVERYTHING, Idempotency_Key=key)
        assert answer.status == 422
        assert answer.json["errors"][0]["path"] == "header.idempotency-key"
        assert runs.listed(place.store) == []

    def test_one_key_many_at_once_one_run(self, place: places.Place, tokened: Signed) -> None:
        program = tokened(place, "run")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: program.post(EVERYTHING, Idempotency_Key="once"), range(40)))
        [run] = runs.listed(place.store)
        assert {answer.json["id"] for answer in answers} == {run.id}
        assert {answer.status for answer in answers} == {202}
        replayed = [answer.headers.get("idempotent-replayed") for answer in answers]
        assert (replayed.count("true"), replayed.count(None)) == (39, 1)


class TestAccess:
    def test_a_token_that_only_reads_begins_nothing(self, place: places.Place, tokened: Signed) -> None:
        answer = tokened(place, "read").post(EVERYTHING)
        assert answer.status == 403
        assert answer.json["detail"] == "This needs a token with the scope run; this one has read."
        assert runs.listed(place.store) == []

    def test_a_token_for_one_flow_learns_nothing_of_others(
        self, place: places.Place, tokened: Signed
    ) -> None:
        own = tokened(place, "run", flows=["pull:finance"])
        other, none = own.post(EVERYTHING), own.post("/api/v1/flows/pull:none/runs")
        assert (other.status, other.body) == (none.status, none.body)
        assert other.status == 403
        assert own.post("/api/v1/flows/finance/runs").status == 202
        assert [each["name"] for each in own.get("/api/v1/flows").json["items"]] == ["pull:finance"]
        assert own.get("/api/v1/flows/finance").status == 200
        assert own.get("/api/v1/flows/everything").status == 403
        run = tokened(place, "run").post(EVERYTHING).json["id"]
        for more in ("", "/next", "/lines", "/tables", "/events"):
            assert own.get(f"/api/v1/runs/{run}{more}").status == 403
        for more in ("cancel", "retry"):
            assert own.post(f"/api/v1/runs/{run}/{more}").status == 403
        assert own.get("/api/v1/runs").status == 403
        assert own.get("/api/v1/runs?flow=everything").status == 403
        assert len(own.get("/api/v1/runs?flow=finance").json["items"]) == 1
        assert runs.get(place.store, run).state == "queued"

    def test_an_unknown_flow_is_told_to_those_who_may_know_all(
        self, place: places.Place, tokened: Signed
    ) -> None:
        answer = tokened(place, "run").post("/api/v1/flows/everythin/runs")
        assert answer.status == 404
        assert answer.json["detail"].startswith("There is no flow 'everythin' in the configuration; it has ")

    def test_a_revoked_token_is_refused_at_once(self, place: places.Place, tokened: Signed) -> None:
        program = tokened(place, "run")
        assert program.post(EVERYTHING).status == 202
        for each in tokens.listed(place.store):
            tokens.revoke(place.store, each.name)
        assert program.post(EVERYTHING).status == 401

    def test_the_log_says_who_asked_and_not_with_what(
        self, place: places.Place, tokened: Signed, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        program = tokened(place, "run")
        program.post(EVERYTHING)
        [run], [token] = runs.listed(place.store), tokens.listed(place.store)
        assert f"{run.id} of pull:everything was asked for by {token.name}" in caplog.text
        assert program.headers["Authorization"].removeprefix("Bearer ") not in caplog.text


class TestLook:
    def test_every_flow_says_how_it_stands(self, place: places.Place, tokened: Signed) -> None:
        program = tokened(place, "read")
        page = program.get("/api/v1/flows").json
        assert page["next"] is None
        assert [each["name"] for each in page["items"]] == [
            "pull:everything",
            "pull:finance",
            "pull:steady",
            "pipeline:people",
            "push:accounts",
        ]
        hourly = page["items"][0]
        assert (hourly["schedule"], hourly["state"], hourly["last"]) == ("every hour", "off", None)
        assert hourly["next_at"].endswith("Z")
        run = tokened(place, "run").post(EVERYTHING).json["id"]
        assert program.get("/api/v1/flows/everything").json["running"]["id"] == run
        finish(place, run, "failed")
        after = program.get("/api/v1/flows/pull:everything").json
        assert (after["running"], after["last"]["id"], after["state"]) == (None, run, "failed")

    def test_they_come_page_by_page_of_a_kind_or_by_a_part_of_their_names(
        self, place: places.Place, tokened: Signed
    ) -> None:
        program, names, url = tokened(place, "read"), [], "/api/v1/flows?limit=2"
        while url:
            page = program.get(url).json
            names += [each["name"] for each in page["items"]]
            url = page["next"] and f"/api/v1/flows?limit=2&after={page['next']}"
        assert len(names) == len(set(names)) == 5
        assert [each["kind"] for each in program.get("/api/v1/flows?kind=push").json["items"]] == ["push"]
        found = program.get("/api/v1/flows?search=STEAD").json["items"]
        assert [each["name"] for each in found] == ["pull:steady"]
