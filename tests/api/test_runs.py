"""Runs over HTTP: found, looked at, followed while they go on, ended, done again."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import threading

import pytest
import running
import signing
from listening import events, stream

from tidegate.api import streaming
from tidegate.engine import place as places
from tidegate.store import membership, runs, tokens, trail
from tidegate.views import following
from tidegate.views import runs as views

Signed = signing.Signed
both = pytest.mark.parametrize("place", ["sqlite", "postgres"], indirect=True)


def moment(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat()


class TestOne:
    @both
    def test_how_a_run_is(self, place: places.Place, tokened: Signed) -> None:
        run, program = running.begun(place.store, full_refresh=True), tokened(place, "read")
        streams = {
            "charges": {
                "rows": 30,
                "requests": 3,
                "estimate": 60,
                "begun": 2,
                "ended": 1,
                "status": "running",
            },
            "customers": {"rows": 9, "requests": 1, "estimate": None, "begun": 1, "ended": 1, "status": "ok"},
        }
        how = {"phase": "pulling", "rows": 39, "requests": 4, "rate": 12.5, "limit": 80.0, "streams": streams}
        runs.beat(place.store, run.id, running.WORKER, how)
        told = program.get(f"/api/v1/runs/{run.id}").json
        assert (told["state"], told["kind"], told["finished_at"]) == ("running", "pull", None)
        assert told["options"] == {"full_refresh": True}
        assert told["progress"] == {
            "phase": "pulling",
            "rows": 39,
            "requests": 4,
            "rate": 12.5,
            "limit": 80.0,
            "written": None,
            "deleted": None,
        }
        assert [(each["name"], each["share"]) for each in told["streams"]] == [
            ("charges", 0.5),
            ("customers", 1.0),
        ]
        assert "machine" not in str(told)
        running.got(place.store, run, {}, {"stream": "charges", "status": "failed", "error": "It is away."})
        runs.end(
            place.store, run.id, running.WORKER, "partial", totals={"read": 20}, error="charges: It is away."
        )
        told = program.get(f"/api/v1/runs/{run.id}").json
        assert (told["state"], told["totals"], told["error"]) == (
            "partial",
            {"read": 20},
            "charges: It is away.",
        )
        assert (told["tables"], told["tables_wrong"]) == (2, 1)
        assert [(bar["label"], bar["rows"]) for bar in told["funnel"]] == [
            ("Read", 20),
            ("New", 8),
            ("Changed", 6),
            ("Unchanged", 4),
            ("Deleted", 2),
        ]
        assert told["queued_at"] <= told["started_at"] <= told["finished_at"]

    def test_a_run_is_asked_for_by_its_whole_id(self, place: places.Place, tokened: Signed) -> None:
        run, program = running.ended(place.store), tokened(place, "run")
        for wrong in (run.id[:-1], "run_", "run_0123456789abcdef", "%00", "%E2%82%AC"):
            for more in ("", "/next", "/lines", "/tables", "/events"):
                assert program.get(f"/api/v1/runs/{wrong}{more}").status == 404, wrong
            assert program.post(f"/api/v1/runs/{wrong}/retry").status == 404
        assert program.get(f"/api/v1/runs/{run.id}").status == 200
        assert len(runs.listed(place.store)) == 1

    def test_what_each_table_got(self, place: places.Place, tokened: Signed) -> None:
        run, program = running.ended(place.store), tokened(place, "read")
        names = [(stream, account) for stream in ("charges", "customers") for account in ("acct_1", "acct_2")]
        running.got(
            place.store,
            run,
            *(
                {"stream": stream, "account": account, "status": "failed" if account == "acct_2" else "ok"}
                for stream, account in names
            ),
        )
        url, found = f"/api/v1/runs/{run.id}/tables?limit=3", []
        while url:
            page = program.get(url).json
            found += page["items"]
            url = page["next"] and f"/api/v1/runs/{run.id}/tables?limit=3&after={page['next']}"
        assert [(each["stream"], each["account"]) for each in found] == names
        assert found[0]["figures"] == {
            "read": 10,
            "written": 7,
            "inserted": 4,
            "updated": 3,
            "unchanged": 2,
            "deleted": 1,
            "versions": 0,
            "bytes": 12_345,
            "requests": 2,
        }
        assert (found[0]["first"], found[0]["last"]) == (
            "2025-10-09T08:53:20.000Z",
            "2025-10-09T09:53:20.000Z",
        )

        def some(query: str) -> list[tuple[str, str]]:
            items = program.get(f"/api/v1/runs/{run.id}/tables?{query}").json["items"]
            return [(each["stream"], each["account"]) for each in items]

        assert some("wrong=true") == [("charges", "acct_2"), ("customers", "acct_2")]
        assert some("stream=harge&account=_1") == [("charges", "acct_1")]

    def test_the_log_page_by_page_and_by_level(self, place: places.Place, tokened: Signed) -> None:
        run, program = running.ended(place.store), tokened(place, "read")
        running.said(place.store, run, [f"line {n}" for n in range(5)])
        running.said(place.store, run, ["Stripe is slow."], first=5, level="warning")
        url, found = f"/api/v1/runs/{run.id}/lines?limit=2", []
        while url:
            page = program.get(url).json
            found += [each["text"] for each in page["items"]]
            url = page["next"] and f"/api/v1/runs/{run.id}/lines?limit=2&after={page['next']}"
        assert found == [*(f"line {n}" for n in range(5)), "Stripe is slow."]
        [warning] = program.get(f"/api/v1/runs/{run.id}/lines?level=warning&level=error").json["items"]
        assert (warning["level"], warning["stream"], warning["account"]) == ("warning", "customers", "acct_1")
        assert program.get(f"/api/v1/runs/{run.id}/lines?after=nowhere").status == 422
        assert program.get(f"/api/v1/runs/{run.id}/lines?level=loud").status == 422


class TestEnd:
    @both
    def test_a_queued_run_is_cancelled_and_a_running_one_is_asked_to_end(
        self, place: places.Place, tokened: Signed, signed: Signed
    ) -> None:
        queued = runs.queue(place.store, runs.new_id(), "pull:everything", "manual")
        told = tokened(place, "run").post(f"/api/v1/runs/{queued.id}/cancel")
        assert (told.status, told.json["state"]) == (200, "cancelled")
        run = running.begun(place.store, "pull:finance")
        told = signed(place, "operator", "ann@example.com").post(f"/api/v1/runs/{run.id}/cancel")
        assert (told.json["state"], told.json["cancelled_by"]) == ("running", "ann@example.com")
        line = trail.listed(place.store)[0]
        assert (line.who, line.action, line.what) == ("ann@example.com", "cancel", "pull:finance")

    def test_again_it_changes_nothing_and_what_has_ended_is_not_ended(
        self, place: places.Place, tokened: Signed
    ) -> None:
        program = tokened(place, "run")
        queued = runs.queue(place.store, runs.new_id(), "pull:everything", "manual")
        first, again = (program.post(f"/api/v1/runs/{queued.id}/cancel") for _ in range(2))
        assert first.json == again.json
        assert len(trail.listed(place.store)) == 1
        done = running.ended(place.store)
        refused = program.post(f"/api/v1/runs/{done.id}/cancel")
        assert (refused.status, refused.json["detail"]) == (409, f"{done.id} has ended already: ok.")

    def test_who_only_looks_ends_nothing(self, place: places.Place, tokened: Signed, signed: Signed) -> None:
        run = running.begun(place.store)
        for asker in (tokened(place, "read"), signed(place, "viewer")):
            for what in ("cancel", "retry"):
                assert asker.post(f"/api/v1/runs/{run.id}/{what}").status == 403
        assert runs.get(place.store, run.id).cancelled_by == ""


class TestAgain:
    def test_it_does_what_the_run_was_to_do(self, place: places.Place, tokened: Signed) -> None:
        run = running.begun(place.store, "pipeline:people", full_refresh=True, approve=True)
        program = tokened(place, "run")
        assert program.post(f"/api/v1/runs/{run.id}/retry").status == 409
        runs.end(place.store, run.id, running.WORKER, "failed", error="It was away.")
        told = program.post(f"/api/v1/runs/{run.id}/retry")
        assert told.status == 202
        assert told.headers["location"] == told.json["url"]
        assert (told.json["cause"], told.json["options"]) == ("retry", {"full_refresh": True})
        [line] = trail.listed(place.store)
        assert (line.action, line.after) == (
            "retry",
            {"run": told.json["id"], "of": run.id, "full_refresh": True},
        )

    @both
    def test_the_same_key_does_it_once(self, place: places.Place, tokened: Signed) -> None:
        run, other = running.ended(place.store), running.ended(place.store)
        program = tokened(place, "run")
        first = program.post(f"/api/v1/runs/{run.id}/retry", Idempotency_Key="k")
        assert program.post(f"/api/v1/runs/{run.id}/retry").status == 409, "without it, it is another call"
        again = program.post(f"/api/v1/runs/{run.id}/retry", Idempotency_Key="k")
        assert (first.status, again.status, again.json["id"]) == (202, 202, first.json["id"])
        assert program.post(f"/api/v1/runs/{other.id}/retry", Idempotency_Key="k").status == 422
        busy = program.post(f"/api/v1/runs/{other.id}/retry", Idempotency_Key="k2")
        assert busy.status == 409
        program.post(f"/api/v1/runs/{first.json['id']}/cancel")
        assert program.post(f"/api/v1/runs/{other.id}/retry", Idempotency_Key="k2").status == 202

    def test_what_cannot_be_done_again_is_said(self, place: places.Place, tokened: Signed) -> None:
        gone = running.ended(place.store, "pull:gone")
        by_hand = running.begun(place.store, "push:accounts", by_hand=True)
        runs.end(place.store, by_hand.id, running.WORKER, "ok")
        program = tokened(place, "run")
        said = [program.post(f"/api/v1/runs/{run.id}/retry") for run in (gone, by_hand)]
        assert [answer.status for answer in said] == [409, 409]
        assert said[0].json["detail"] == "pull:gone is not in the configuration any more."
        assert "`tidegate push accounts` plans it anew and asks" in said[1].json["detail"]


class TestFollow:
    @both
    def test_lines_and_progress_come_as_they_are_until_the_end(
        self, place: places.Place, tokened: Signed
    ) -> None:
        run, store = running.begun(place.store), place.store
        running.said(store, run, ["one", "two"])
        told = events(tokened(place, "read"), f"/api/v1/runs/{run.id}/events")
        assert [next(told).data["text"], next(told).data["text"]] == ["one", "two"]
        begun = next(told)
        assert (begun.name, begun.data["state"], begun.data["progress"]["rows"]) == ("progress", "running", 0)
        runs.beat(store, run.id, running.WORKER, {"phase": "pulling", "rows": 5})
        assert next(told).data["progress"]["rows"] == 5
        running.said(store, run, ["three"], first=2)
        assert next(told).data["text"] == "three"
        assert runs.end(store, run.id, running.WORKER, "ok", totals={"read": 5})
        last = next(told)
        assert (last.name, last.data["state"], last.data["totals"]) == ("end", "ok", {"read": 5})
        assert list(told) == []

    def test_who_comes_again_goes_on_after_what_was_seen(self, place: places.Place, tokened: Signed) -> None:
        run, program = running.ended(place.store), tokened(place, "read")
        running.said(place.store, run, ["one", "two", "three"])
        running.said(place.store, run, ["beside"], writer="b", first=0)
        path = f"/api/v1/runs/{run.id}/events"
        whole = list(events(program, path))
        lines = [event.data["text"] for event in whole if event.name == "line"]
        assert sorted(lines) == ["beside", "one", "three", "two"]
        for count, event in enumerate(whole[:-1], 1):
            rest = [each.data["text"] for each in events(program, path, event.id) if each.name == "line"]
            assert lines == lines[:count] + rest
        assert program.get(path, Last_Event_ID=whole[-1].id).status == 204, "then browsers come no more"
        assert program.get(path, Last_Event_ID="nonsense").status == 422

    def test_many_lines_come_in_their_order_and_once(
        self, place: places.Place, tokened: Signed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(views, "NEWS", 7)
        run = running.ended(place.store)
        texts = [f"line {n}" for n in range(40)]
        running.said(place.store, run, texts)
        told = list(events(tokened(place, "read"), f"/api/v1/runs/{run.id}/events"))
        assert [each.data["text"] for each in told[:-1]] == texts
        assert told[-1].name == "end"

    def test_many_who_follow_cost_one_look_a_second(
        self, place: places.Place, tokened: Signed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        followers: list[following.Follower] = []
        made = following.Follower

        def follower() -> following.Follower:
            followers.append(made())
            return followers[0]

        monkeypatch.setattr(streaming.following, "Follower", follower)
        run, program = running.begun(place.store), tokened(place, "read")
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            path = f"/api/v1/runs/{run.id}/events"
            told = [events(program, path) for _ in range(20)]
            assert {each.name for each in pool.map(next, told)} == {"progress"}
            rest = [pool.submit(lambda each=each: [event.name for event in each]) for each in told]
            runs.beat(place.store, run.id, running.WORKER, {"rows": 1})
            asked = followers[0].asked
            follower_waits(place, followers[0], asked + 3)
            runs.end(place.store, run.id, running.WORKER, "ok")
            names = {tuple(each.result()) for each in rest}
        assert len(followers) == 1
        assert names <= {("progress", "end"), ("end",)}
        assert followers[0].asked <= asked + 3 + 4, "and not twenty times as many"

    def test_streams_end_when_the_server_stops(self, place: places.Place, tokened: Signed) -> None:
        run, program = running.begun(place.store), tokened(place, "read")
        told = events(program, f"/api/v1/runs/{run.id}/events")
        assert next(told).name == "progress"
        place.stopping.set()
        assert list(told) == []
        assert program.get(f"/api/v1/runs/{run.id}/events").status == 503

    def test_who_may_not_look_any_more_sees_nothing_more(
        self, place: places.Place, tokened: Signed, signed: Signed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streaming, "LOOKED", 0.0)
        run, program, ann = running.begun(place.store), tokened(place, "read"), signed(place, "viewer")
        ann.headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in ann.jar.items())
        path = f"/api/v1/runs/{run.id}/events"
        told = [events(each, path) for each in (program, ann)]
        assert [next(each).name for each in told] == ["progress", "progress"]
        by = membership.By("the test", "cli")
        membership.change_role(place.store, by, ann.member, "editor")
        [token] = tokens.listed(place.store)
        tokens.revoke(place.store, token.name)
        assert [list(each) for each in told] == [[], []], "and the run goes on"

    def test_only_so_many_may_follow_at_once(
        self, place: places.Place, tokened: Signed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streaming, "MOST", 1)
        run, program = running.begun(place.store), tokened(place, "read")
        told = events(program, f"/api/v1/runs/{run.id}/events")
        next(told)
        refused = program.get(f"/api/v1/runs/{run.id}/events")
        assert (refused.status, "retry-after" in refused.headers) == (503, True)
        runs.end(place.store, run.id, running.WORKER, "ok")
        assert [each.name for each in told] == ["end"]
        assert program.get(f"/api/v1/runs/{run.id}/events").status == 200

    def test_nobody_takes_the_places_of_all_others(
        self, place: places.Place, tokened: Signed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streaming, "EACH", 1)
        run, greedy, other = running.begun(place.store), tokened(place, "read"), tokened(place, "read")
        first = events(greedy, f"/api/v1/runs/{run.id}/events")
        next(first)
        refused = greedy.get(f"/api/v1/runs/{run.id}/events")
        assert (refused.status, refused.headers["content-type"]) == (429, "application/problem+json")
        second = events(other, f"/api/v1/runs/{run.id}/events")
        assert next(second).name == "progress"
        runs.end(place.store, run.id, running.WORKER, "ok")
        assert [each.name for each in (*first, *second)] == ["end", "end"]
        assert greedy.get(f"/api/v1/runs/{run.id}/events").status == 200

    def test_a_quiet_stream_says_that_it_lives_and_ends_after_a_while(
        self, place: places.Place, tokened: Signed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streaming, "BEAT", 0.0)
        monkeypatch.setattr(streaming, "LONGEST", 1.5)
        run = running.begun(place.store)
        with stream(tokened(place, "read"), f"/api/v1/runs/{run.id}/events") as answer:
            body = answer.read().decode()
        assert body.startswith("retry: 2000\n\n")
        assert "\n: alive\n\n" in body
        assert "event: end" not in body


def follower_waits(place: places.Place, follower: following.Follower, count: int) -> None:
    """Until it was asked so often."""
    waited = threading.Event()
    while follower.asked < count:
        assert not place.stopping.is_set()
        waited.wait(0.05)
