"""The configuration changed in the browser: checked with everything else, one transaction, nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import managing
import pytest
import servers
from managing import CONNECTION, KEY, PULL, WAREHOUSE, filled, make, version

from tidegate import errors
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.store import objects, secrets, trail


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(secrets.VARIABLE, secrets.new_key())


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where it matters, tests run on Postgres too."""
    return f"sqlite:///{tmp_path}/tidegate.db" if request.param == "sqlite" else servers.new_postgres()


BOTH = pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def place(tmp_path: Path, url: str) -> Iterator[places.Place]:
    """A file that says where the metadata database is, and nothing else."""
    with managing.placed(managing.written(tmp_path, url, ""), url) as found:
        yield found


def shown(place: places.Place, kind: str, name: str) -> dict[str, Any]:
    found = editing.get(place, kind, name)
    assert found is not None
    return editing.shown(place, found)


def problems(place: places.Place, kind: str, name: str, body: object, **more: Any) -> list[tuple[str, str]]:
    return [(each.path, each.sentence) for each in editing.check(place, kind, name, body, **more)]


@BOTH
class TestParts:
    def test_what_is_made_runs_at_once(self, place: places.Place) -> None:
        filled(place)
        assert list(place.flows) == ["pull:everything"]
        key = place.file.stripe["acme"].api_key
        assert key is not None
        assert key.get_secret_value() == KEY

    def test_they_are_listed_as_they_are_written_each_after_what_it_refers_to(
        self, place: places.Place
    ) -> None:
        filled(place)
        found = editing.objects(place)
        assert [(each.kind, each.name, each.origin, each.version) for each in found] == [
            ("stripe", "acme", "store", 1),
            ("warehouses", "one", "store", 2),
            ("pulls", "everything", "store", 3),
        ]
        assert found[0].body == {"api_key": "${secret:stripe/acme/api_key}"}
        assert found[2].body == PULL
        assert {each.changed_by for each in found} == {"ann"}

    def test_one_is_changed_and_removed(self, place: places.Place) -> None:
        filled(place)
        seen = version(place, "pulls", "everything")
        done = editing.change(place, "ben", "pulls", "everything", {**PULL, "lookback": "3d"}, seen)
        assert (done.action, done.version) == ("change", 4)
        assert place.file.pulls["everything"].lookback.days == 3
        gone = editing.change(place, "ben", "pulls", "everything", None, done.version)
        assert (gone.action, gone.version, gone.after) == ("delete", 0, None)
        assert place.file.pulls == {}

    def test_the_same_again_changes_nothing(self, place: places.Place) -> None:
        filled(place)
        before = objects.generation(place.store)
        seen = version(place, "stripe", "acme")
        assert editing.change(place, "ann", "stripe", "acme", CONNECTION, seen).action == "none"
        assert objects.generation(place.store) == before
        assert len(trail.listed(place.store)) == 3

    def test_what_there_is_one_of_has_no_name(self, place: places.Place) -> None:
        make(place, "warehouses", "one", WAREHOUSE)
        make(place, "customer_model", "", {"warehouse": "one"})
        assert place.file.customer_model is not None
        with pytest.raises(errors.ConfigError, match="There is nothing like alerts main to configure"):
            make(place, "alerts", "main", {})

    def test_several_changes_are_checked_together_and_made_together(self, place: places.Place) -> None:
        edits = [
            editing.Edit("pulls", "all", PULL, None),
            editing.Edit("warehouses", "one", WAREHOUSE, None),
            editing.Edit("stripe", "acme", CONNECTION, None),
        ]
        made = editing.changes(place, "ann", edits)
        assert [each.action for each in made] == ["create", "create", "create"]
        assert {each.version for each in made} == {1}
        with pytest.raises(errors.ConfigError, match="`warehouses` has no such name"):
            editing.changes(
                place,
                "ann",
                [
                    editing.Edit("pulls", "more", PULL, None),
                    editing.Edit("pulls", "bad", {**PULL, "to": "two"}, None),
                ],
            )
        assert list(place.file.pulls) == ["all"]


class TestChecking:
    def test_a_problem_says_where_in_the_body_it_is(self, place: places.Place) -> None:
        filled(place)
        body = {**PULL, "to": "on", "lookback": "7 moons", "streams": {"charges": {"exclude": ["nope"]}}}
        assert problems(place, "pulls", "other", body) == [
            ("lookback", "write a number and a unit: 30s, 15m, 6h, 7d or 2w"),
            ("to", "`warehouses` has no such name; did you mean 'one'?"),
            (
                "streams.charges.exclude[0]",
                "the stream has no such column; `tidegate schema charges` lists them",
            ),
        ]
        assert list(place.file.pulls) == ["everything"]

    def test_what_is_not_valid_is_not_kept_and_its_secret_neither(self, place: places.Place) -> None:
        with pytest.raises(errors.ConfigError, match=r"stripe\.acme: budget: ") as caught:
            make(place, "stripe", "acme", {**CONNECTION, "budget": 7})
        assert [each.path for each in caught.value.problems] == ["budget"]
        assert KEY not in str(caught.value)
        assert secrets.names(place.store) == {}
        assert trail.listed(place.store) == []

    def test_what_something_else_refers_to_cannot_be_removed(self, place: places.Place) -> None:
        filled(place)
        with pytest.raises(errors.ConfigError) as caught:
            editing.change(place, "ann", "warehouses", "one", None, version(place, "warehouses", "one"))
        assert str(caught.value) == (
            "pulls.everything in the metadata database: to: `warehouses` has no such name; "
            "add it under `warehouses:`"
        )

    @pytest.mark.parametrize(
        ("name", "body", "said"),
        [
            ("a b", PULL, "a name consists of letters, digits, '-' and '_'"),
            ("", PULL, "a name consists of letters, digits, '-' and '_'"),
            ("ok", [], "must be a mapping"),
            ("ok", {"from": "\ud800"}, "this holds what JSON cannot"),
            ("ok", {"from": float("nan")}, "this holds what JSON cannot"),
            ("ok", {"from": "x" * 600_000}, "more than 500,000 characters"),
        ],
    )
    def test_what_is_no_part_at_all_is_said_to_be_none(
        self, place: places.Place, name: str, body: Any, said: str
    ) -> None:
        filled(place)
        [(path, sentence)] = problems(place, "pulls", name, body)
        assert path == ""
        assert sentence.startswith(said)

    def test_values_nested_without_end_are_refused(self, place: places.Place) -> None:
        body: dict[str, Any] = {}
        for _ in range(100):
            body = {"streams": body}
        [(_, sentence)] = problems(place, "pulls", "deep", body)
        assert sentence.endswith("or more than 50 levels")

    def test_a_configuration_that_is_wrong_already_may_be_mended_step_by_step(
        self, place: places.Place, tmp_path: Path, url: str
    ) -> None:
        """Somebody took a warehouse out of the file that two stored pulls need."""
        managing.written(tmp_path, url)
        place.look()
        for name in ("a", "b"):
            make(place, "pulls", name, {**PULL})
        managing.written(tmp_path, url, f"stripe: {{acme: {{api_key: {KEY}}}}}\n")
        place.look()
        assert "pulls.a in the metadata database: to: `warehouses` has no such name" in place.problem
        editing.change(place, "ann", "pulls", "a", None, version(place, "pulls", "a"))
        assert "pulls.b in the metadata database" in place.problem
        with pytest.raises(errors.ConfigError):  # but not left wrong
            editing.change(
                place, "ann", "pulls", "b", {**PULL, "lookback": "3d"}, version(place, "pulls", "b")
            )
        make(place, "warehouses", "one", WAREHOUSE)
        assert place.problem == ""
        assert list(place.file.pulls) == ["b"]


class TestFile:
    @pytest.fixture
    def place(self, tmp_path: Path, url: str) -> Iterator[places.Place]:
        with managing.placed(managing.written(tmp_path, url), url) as found:
            yield found

    def test_its_parts_can_be_seen_and_not_changed(self, place: places.Place, tmp_path: Path) -> None:
        found = editing.get(place, "pulls", "everything")
        assert found is not None
        assert (found.origin, found.version, found.line) == ("file", 0, 6)
        for body in (PULL, None):
            with pytest.raises(errors.ConfigError) as caught:
                editing.change(place, "ann", "pulls", "everything", body, None)
            assert str(caught.value) == (
                f"pulls.everything is written in {tmp_path}/tidegate.yaml (line 6); change it there."
            )

    def test_its_secrets_are_shown_as_marks(self, place: places.Place) -> None:
        assert shown(place, "stripe", "acme") == {"api_key": {"secret": True, "last4": "6789"}}

    def test_of_an_address_no_character_is_told(self, place: places.Place) -> None:
        url = "postgresql://ann@db.example/shop?password=PASSW0RD2"
        editing.change(place, "ann", "warehouses", "far", {"type": "postgres", "url": url}, None, admin=True)
        assert shown(place, "warehouses", "far")["url"]["last4"] == ""
        assert "0RD2" not in str([(each.before, each.after) for each in trail.listed(place.store)])

    def test_its_parts_and_those_of_the_metadata_database_refer_to_each_other(
        self, place: places.Place
    ) -> None:
        make(place, "pulls", "more", {**PULL, "schedule": {"after": "everything"}})
        assert list(place.flows) == ["pull:everything", "pull:more"]

    def test_a_name_that_is_in_both_is_the_files_until_that_has_it_no_more(
        self, place: places.Place, tmp_path: Path, url: str
    ) -> None:
        make(place, "pulls", "more", PULL)
        more = managing.FILE.replace("everything:", "more:")
        managing.written(tmp_path, url, more)
        assert place.look()
        assert [(each.origin, each.shadowed) for each in editing.objects(place) if each.kind == "pulls"] == [
            ("file", False),
            ("store", True),
        ]
        assert place.file.pulls["more"].schedule == "manual"
        assert place.file.pulls["more"].takes("charges")  # the file's pull takes all
        hidden = next(each for each in editing.objects(place) if each.shadowed)
        editing.change(place, "ann", "pulls", "more", None, hidden.version)
        assert not any(each.shadowed for each in editing.objects(place))


class TestSecrets:
    def test_a_plain_one_is_kept_encrypted_and_shown_by_four_characters(self, place: places.Place) -> None:
        make(place, "stripe", "acme", CONNECTION)
        mark = {"secret": True, "last4": "6789", "name": "stripe/acme/api_key"}
        assert shown(place, "stripe", "acme") == {"api_key": mark}
        kept = place.store.one("SELECT body FROM objects")
        vault = place.store.one("SELECT value FROM secrets")
        assert kept is not None
        assert vault is not None
        assert KEY not in kept["body"] + vault["value"]

    def test_the_mark_sent_back_keeps_it(self, place: places.Place) -> None:
        seen = make(place, "stripe", "acme", CONNECTION).version
        body = {**shown(place, "stripe", "acme"), "budget": 0.5}
        seen = editing.change(place, "ben", "stripe", "acme", body, seen).version
        # One that has forgotten the name, as forms may, means the secret of its place.
        body = {"api_key": {"secret": True, "last4": ""}, "budget": 0.4}
        editing.change(place, "ben", "stripe", "acme", body, seen)
        key = place.file.stripe["acme"].api_key
        assert key is not None
        assert key.get_secret_value() == KEY
        assert place.file.stripe["acme"].budget == 0.4

    def test_marks_in_a_list_stay_with_their_secrets_when_one_leaves_it(self, place: places.Place) -> None:
        signed = ["whsec_first_0001", "whsec_second_0002", "whsec_third_0003"]
        seen = make(place, "stripe", "acme", {**CONNECTION, "webhook_secret": signed}).version
        body = shown(place, "stripe", "acme")
        body["webhook_secret"] = ["whsec_fresh_0009", *body["webhook_secret"][1:]]
        seen = editing.change(place, "ann", "stripe", "acme", body, seen).version
        body = shown(place, "stripe", "acme")
        del body["webhook_secret"][1]
        editing.change(place, "ann", "stripe", "acme", body, seen)
        found = place.file.stripe["acme"].webhook_secret
        assert isinstance(found, tuple)
        assert [each.get_secret_value() for each in found] == ["whsec_fresh_0009", "whsec_third_0003"]
        assert len(secrets.names(place.store)) == 3  # the key, and the two that are left

    def test_a_mark_of_what_was_never_kept_is_a_problem(self, place: places.Place) -> None:
        make(place, "stripe", "other", CONNECTION)
        for mark in ({"secret": True}, {"secret": True, "name": "stripe/other/api_key"}):
            assert problems(place, "stripe", "acme", {"api_key": mark}) == [
                ("api_key", "no secret is kept here yet; give its value")
            ]

    def test_one_that_is_replaced_or_removed_is_forgotten(self, place: places.Place) -> None:
        place.store.execute("DELETE FROM secrets")
        seen = make(place, "stripe", "acme", {**CONNECTION, "webhook_secret": "whsec_123456789"}).version
        assert list(secrets.names(place.store)) == ["stripe/acme/api_key", "stripe/acme/webhook_secret"]
        body = {"api_key": "sk_test_another987654321"}
        seen = editing.change(place, "ann", "stripe", "acme", body, seen).version
        assert list(secrets.names(place.store)) == ["stripe/acme/api_key"]
        key = place.file.stripe["acme"].api_key
        assert key is not None
        assert key.get_secret_value() == body["api_key"]
        editing.change(place, "ann", "stripe", "acme", None, seen)
        assert secrets.names(place.store) == {}

    def test_one_that_somebody_else_set_under_the_name_is_left_alone(self, place: places.Place) -> None:
        vault = secrets.vault(place.store)
        vault.put("stripe/acme/api_key", "theirs")
        make(place, "stripe", "acme", CONNECTION)
        assert vault.get("stripe/acme/api_key") == "theirs"
        assert vault.get("stripe/acme/api_key.2") == KEY

    def test_the_audit_log_has_the_last_four_characters_and_no_more(self, place: places.Place) -> None:
        seen = make(place, "stripe", "acme", CONNECTION).version
        editing.change(place, "ben", "stripe", "acme", {"api_key": "sk_test_another987654321"}, seen)
        after, before = trail.listed(place.store)
        assert before.after["api_key"]["last4"] == after.before["api_key"]["last4"] == "6789"
        assert after.after["api_key"]["last4"] == "4321"
        rows = place.store.execute("SELECT was, became FROM trail")
        assert KEY not in str(rows)
        assert "another" not in str(rows)

    def test_an_environment_reference_stays_as_it_is_written(
        self, place: places.Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ACME_KEY", KEY)
        editing.change(place, "ann", "stripe", "acme", {"api_key": "${ACME_KEY}"}, None, admin=True)
        assert shown(place, "stripe", "acme") == {"api_key": "${ACME_KEY}"}
        assert secrets.names(place.store) == {}


class TestWhoMay:
    """An editor's bodies reach neither the server's environment nor secrets that were kept for another address."""

    @pytest.mark.parametrize("name", ["HOME", "file:/etc/passwd", "secret:stripe/acme/api_key"])
    def test_only_an_admin_writes_new_references(self, place: places.Place, name: str) -> None:
        filled(place)
        body = {"webhook": {"url": f"https://evil.example/?{'$'}{{{name}}}"}}
        assert problems(place, "alerts", "", body)[0] == (
            "webhook.url",
            f"only an admin, or `tidegate apply`, may write ${{{name}}}",
        )
        said = problems(place, "alerts", "", body, admin=True)
        assert not any("only an admin" in sentence for _, sentence in said)

    def test_one_that_stands_there_already_may_stay(
        self, place: places.Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ACME_KEY", KEY)
        body = {"api_key": "${ACME_KEY}"}
        seen = editing.change(place, "root", "stripe", "acme", body, None, admin=True).version
        done = editing.change(place, "ann", "stripe", "acme", {**body, "budget": 0.5}, seen)
        assert done.action == "change"

    def test_a_kept_secret_is_not_sent_to_another_address(self, place: places.Place) -> None:
        seen = make(place, "stripe", "acme", CONNECTION).version
        body = {**shown(place, "stripe", "acme"), "api_base": "https://evil.example"}
        assert problems(place, "stripe", "acme", body) == [
            ("api_key", "this would go to another address than before; give it again")
        ]
        kept = {"api_key": "${secret:stripe/acme/api_key}", "api_base": "https://evil.example"}
        assert problems(place, "stripe", "acme", kept) != []
        body["api_key"] = "sk_test_of_the_editor_1234"
        assert editing.change(place, "ann", "stripe", "acme", body, seen).action == "change"

    def test_a_key_that_the_environment_has_is_not_sent_to_another_address_either(
        self, place: places.Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ACME_KEY", KEY)
        body = {"api_key": "${ACME_KEY}"}
        editing.change(place, "root", "stripe", "acme", body, None, admin=True)
        sent = {**body, "api_base": "https://evil.example"}
        said = "this would go to another address than before; give it again"
        assert problems(place, "stripe", "acme", sent) == [("api_key", said)]
        assert problems(place, "stripe", "acme", sent, admin=True) == []

    def test_a_reference_does_not_move_to_where_it_is_shown_or_sent(
        self, place: places.Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PG_WORD", "geheim_und_lang")
        own = {"type": "postgres", "host": "db", "database": "x", "user": "u"}
        body = {**own, "password": "${PG_WORD}"}
        editing.change(place, "root", "warehouses", "pg", body, None, admin=True)
        said = "only an admin, or `tidegate apply`, may write ${PG_WORD}"
        assert problems(place, "warehouses", "pg", {**body, "schema": "${PG_WORD}"}) == [("schema", said)]
        moved = {**own, "password": "mine", "host": "${PG_WORD}.evil.example"}
        assert problems(place, "warehouses", "pg", moved) == [("host", said)]
        assert problems(place, "warehouses", "pg", {**body, "schema": "other"}) == []

    @pytest.mark.parametrize("kind", ["pipelines", "pushes"])
    @pytest.mark.parametrize("language", ["python", "javascript"])
    def test_a_function_is_no_file_of_the_server(self, place: places.Place, kind: str, language: str) -> None:
        """What Python says against a file that is no code quotes it: `name 'sk_live_...' is not defined`."""
        body = {"function": {language: "/run/secrets/stripe_key"}}
        said = (
            "only an admin, or `tidegate apply`, may name a file on the server; write the function as `code`"
        )
        assert (f"function.{language}", said) in problems(place, kind, "x", body)
        assert (f"function.{language}", said) not in problems(place, kind, "x", body, admin=True)
        code = {"function": {"code": "def transform(customer): return customer"}}
        assert not [where for where, _ in problems(place, kind, "x", code) if where.startswith("function")]

    def test_a_function_in_a_file_that_an_admin_named_may_stay(
        self, place: places.Place, tmp_path: Path
    ) -> None:
        make(place, "stripe", "acme", CONNECTION)
        make(place, "warehouses", "one", WAREHOUSE)
        (tmp_path / "shape.py").write_text("def transform(customer): return customer\n")
        body = {
            "from": "acme",
            "to": "one",
            "stream": "customers",
            "map": {"email": {"from": "email"}},
            "function": {"python": "shape.py"},
        }
        seen = editing.change(place, "root", "pipelines", "people", body, None, admin=True).version
        other = {**body, "function": {"python": "shape.py", "timeout": 9.0}}
        assert editing.change(place, "ann", "pipelines", "people", other, seen).action == "change"

    @pytest.mark.parametrize(
        "file", ["/srv/private.csv", "../private.csv", "link/private.csv", "~/private.csv"]
    )
    def test_a_model_is_no_file_outside_of_the_configurations_folder(
        self, place: places.Place, tmp_path: Path, file: str
    ) -> None:
        (tmp_path / "link").symlink_to("/srv")
        [(where, said)] = problems(place, "models", "m", {"file": file, "key": "id"})
        assert where == "file"
        assert said == f"only an admin, or `tidegate apply`, may name a file outside of {tmp_path}"
        assert problems(place, "models", "m", {"file": file, "key": "id"}, admin=True) == []
        for own in ("people.csv", "./lists/people.csv", f"{tmp_path}/people.csv"):
            assert problems(place, "models", "m", {"file": own, "key": "id"}) == []

    @pytest.mark.parametrize(
        ("body", "key"),
        [
            ({"type": "bigquery", "project": "my-project", "api_base": "https://evil.example"}, "api_base"),
            ({"type": "bigquery", "url": "bigquery://my-project?api_base=https://evil.example"}, "url"),
            (
                {
                    "type": "sqlserver",
                    "host": "evil",
                    "database": "x",
                    "authentication": "ActiveDirectoryMSI",
                },
                "authentication",
            ),
        ],
        ids=lambda each: each if isinstance(each, str) else "",
    )
    def test_the_machines_own_identity_is_not_sent_anywhere(
        self, place: places.Place, body: dict[str, Any], key: str
    ) -> None:
        [(where, said)] = problems(place, "warehouses", "w", body)
        assert (where, said.partition(",")[0]) == (key, "only an admin")
        assert problems(place, "warehouses", "w", body, admin=True) == []
        seen = editing.change(place, "root", "warehouses", "w", body, None, admin=True).version
        again = {**shown(place, "warehouses", "w"), "schema": "other"}
        assert editing.change(place, "ann", "warehouses", "w", again, seen).action == "change"

    @pytest.mark.parametrize(
        "more",
        [{}, {"api_base": "https://bigquery-a.p.googleapis.com"}, {"api_base": "http://localhost:9050"}],
    )
    def test_google_may_have_an_identity_that_google_gave(
        self, place: places.Place, more: dict[str, str]
    ) -> None:
        assert problems(place, "warehouses", "w", {"type": "bigquery", "project": "my-project", **more}) == []

    def test_of_a_warehouse_only_the_schema_changes_beside_a_kept_secret(self, place: places.Place) -> None:
        body = {"type": "postgres", "host": "db", "database": "x", "user": "u", "password": "geheim-und-lang"}
        make(place, "warehouses", "pg", body)
        seen = shown(place, "warehouses", "pg")
        assert problems(place, "warehouses", "pg", {**seen, "schema": "other"}) == []
        assert problems(place, "warehouses", "pg", {**seen, "host": "evil"}) != []
        assert problems(place, "warehouses", "pg", {**seen, "host": "evil"}, admin=True) == []


@BOTH
class TestTwo:
    def test_of_two_editors_of_one_part_the_second_is_told(self, place: places.Place) -> None:
        filled(place)
        seen = version(place, "pulls", "everything")
        editing.change(place, "ann", "pulls", "everything", {**PULL, "lookback": "3d"}, seen)
        with pytest.raises(errors.StoreConflict) as caught:
            editing.change(place, "ben", "pulls", "everything", {**PULL, "lookback": "9d"}, seen)
        assert str(caught.value) == (
            "pulls.everything was changed by ann since you looked at it; look at it again."
        )
        assert place.file.pulls["everything"].lookback.days == 3

    def test_one_that_was_removed_or_made_meanwhile_is_told_too(self, place: places.Place) -> None:
        filled(place)
        with pytest.raises(errors.StoreConflict, match=r"There is pulls\.everything already"):
            editing.change(place, "ben", "pulls", "everything", PULL, None)
        seen = version(place, "pulls", "everything")
        editing.change(place, "ann", "pulls", "everything", None, seen)
        for body in (PULL, None):
            with pytest.raises(errors.StoreConflict, match="was removed meanwhile"):
                editing.change(place, "ben", "pulls", "everything", body, seen)
        # Made again it has another version: who saw the first one changes nothing of it.
        make(place, "pulls", "everything", PULL)
        with pytest.raises(errors.StoreConflict):
            editing.change(place, "ben", "pulls", "everything", None, seen)

    def test_of_many_at_once_each_change_is_kept_or_its_editor_is_told(
        self, place: places.Place, tmp_path: Path, url: str
    ) -> None:
        """Each of four processes counts one up, again and again, in one description that all of them edit."""
        filled(place)
        make(place, "pipelines", "counted", {"from": "acme", "to": "one", "description": "0"})
        counted: list[int] = []

        def edit() -> None:
            with managing.placed(tmp_path / "tidegate.yaml", url) as own:
                done = 0
                while done < 5:
                    found = editing.get(own, "pipelines", "counted")
                    assert found is not None
                    body = {**found.body, "description": str(int(found.body["description"]) + 1)}
                    try:
                        editing.change(own, "ann", "pipelines", "counted", body, found.version)
                    except errors.StoreConflict:
                        continue
                    done += 1
                counted.append(done)

        threads = [threading.Thread(target=edit) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(120)
        assert counted == [5] * 4
        place.look()
        assert place.file.pipelines["counted"].description == "20"
        told = [line.after["description"] for line in trail.each(place.store, what="pipelines.counted")]
        assert told == [str(number) for number in range(20, -1, -1)]

    def test_two_changes_that_are_wrong_together_are_not_both_made(
        self, place: places.Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One removes a warehouse while the other makes a pull into it."""
        make(place, "stripe", "acme", CONNECTION)
        seen = make(place, "warehouses", "one", WAREHOUSE).version
        first: list[Callable[[], object]] = [lambda: editing.change(place, "ann", "pulls", "all", PULL, None)]

        transact = place.store.transact

        def before(work: Any) -> Any:
            if first and isinstance(work, editing._Work):
                first.pop()()
            return transact(work)

        monkeypatch.setattr(place.store, "transact", before)
        with pytest.raises(errors.ConfigError, match=r"pulls\.all in the metadata database: to: "):
            editing.change(place, "ben", "warehouses", "one", None, seen)
        assert list(place.file.warehouses) == ["one"]

    def test_work_whose_answer_was_lost_is_not_done_twice(
        self, place: places.Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        transact, lost = place.store.transact, [True]

        def cut(work: Any) -> Any:
            answer = transact(work)
            if isinstance(work, editing._Work) and lost:
                lost.pop()
                return transact(work)  # the connection broke in the commit, and the database does it again
            return answer

        monkeypatch.setattr(place.store, "transact", cut)
        assert make(place, "stripe", "acme", CONNECTION).version == 1
        assert len(trail.listed(place.store)) == 1


EDITOR = """
import sys
from pathlib import Path
import managing
from tidegate.engine import editing
with managing.placed(Path(sys.argv[1]), sys.argv[2]) as place:
    for number in range(10**9):
        found = editing.get(place, "stripe", "acme")
        body = {"api_key": f"sk_test_of_change_number_{number:06}"}
        editing.change(place, "ann", "stripe", "acme", body, found.version)
        print(number, flush=True)
"""


@BOTH
def test_of_a_process_that_is_killed_a_change_is_whole_or_not_there(
    place: places.Place, tmp_path: Path, url: str
) -> None:
    """The object, its secret and the line of the audit log: all of them tell the same change."""
    make(place, "stripe", "acme", CONNECTION)
    support = str(Path(managing.__file__).parent)
    for rounds in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", EDITOR, str(tmp_path / "tidegate.yaml"), url],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": support},
        ) as process:
            assert process.stdout is not None
            for _ in range(3 + 2 * rounds):
                assert process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        [line] = trail.listed(place.store, limit=1)
        found = objects.state(place.store).get("stripe", "acme")
        assert found is not None
        assert found.version == objects.generation(place.store) == len(list(trail.each(place.store)))
        kept = secrets.vault(place.store).get("stripe/acme/api_key")
        assert kept is not None
        assert line.after["api_key"]["last4"] == kept[-4:]
