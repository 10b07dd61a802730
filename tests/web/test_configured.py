"""What forms of parts of the configuration share: what was wrong beside its input, JSON, and trying a draft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import requested
from starlette import datastructures

from tidegate import errors
from tidegate.engine import editing
from tidegate.server import asking, problems
from tidegate.views import forms
from tidegate.web import configured

ANN = asking.Asker("ann@example.com", "write", "session", "token")
HTMX = {"HX-Request": "true"}


def sent(**inputs: str) -> datastructures.FormData:
    return datastructures.FormData(inputs)


def refused(*found: tuple[tuple[str | int, ...], str]) -> errors.ConfigError:
    """What a check says of places in a body."""
    return errors.ConfigError("all of it", [editing.Problem(place, sentence) for place, sentence in found])


class TestWrong:
    def test_a_problem_stands_beside_its_input_and_others_above_the_form(self) -> None:
        error = refused((("to",), "is missing"), (("fields", "email"), "is no field"), ((), "is too much"))
        by_name, said = configured.wrong(error, ("to", "model"))
        assert by_name == {"to": "is missing"}
        assert said == "fields.email: is no field; is too much"

    def test_two_of_one_input_are_both_said(self) -> None:
        error = refused((("to",), "is missing"), (("to",), "is no warehouse"))
        assert configured.wrong(error, ("to",)) == ({"to": "is missing; is no warehouse"}, "")

    def test_an_input_answers_for_what_is_inside_where_it_holds_a_document(self) -> None:
        error = refused((("cases", 2, "given"), "has no id"), (("map", "email", "from"), "is missing"))
        by_name, said = configured.wrong(error, ("cases", "map"), inside=True)
        assert by_name == {"cases": "[2].given: has no id", "map": "email.from: is missing"}
        assert said == ""
        assert configured.wrong(error, ("cases", "map"))[0] == {}

    def test_a_form_of_a_part_of_a_body_knows_where_it_begins(self) -> None:
        error = refused((("streams", "charges", "table"), "is taken"), (("schedule",), "is no schedule"))
        by_name, said = configured.wrong(error, ("table",), below="streams.charges.")
        assert by_name == {"table": "is taken"}
        assert said == "schedule: is no schedule"

    def test_an_error_without_places_is_said_as_it_is(self) -> None:
        error = errors.StoreConflict("somebody changed it")
        assert configured.wrong(error, ("to",)) == ({}, "somebody changed it")

    def test_without_an_error_nothing_is_wrong(self) -> None:
        assert configured.wrong(None, ("to",)) == ({}, "")


class TestFilled:
    FIELDS = (forms.Field("host", "Host", "text"), forms.Field("password", "Password", "secret"))

    def test_what_was_sent_stays_but_for_secrets(self) -> None:
        given = {"host": "db.test", "password": "s3cret"}
        found = configured.refused(self.FIELDS, given, {}, refused((("host",), "is not known")))
        assert found.status == 422
        assert found.shown["host"] == "db.test"
        assert "s3cret" not in str(found.shown)
        assert found.wrong == {"host": "is not known"}

    def test_a_form_with_nothing_wrong_is_a_page_as_any_other(self) -> None:
        assert configured.filled(self.FIELDS, {"host": "db.test"}).status == 200


class TestDocument:
    @pytest.mark.parametrize(
        ("text", "found"), [("", None), ("  ", None), ('{"all": []}', {"all": []}), ("[1]", [1])]
    )
    def test_json_of_an_input(self, text: str, found: Any) -> None:
        assert configured.document(sent(filter=text), "filter") == found

    def test_nothing_is_what_the_caller_says(self) -> None:
        assert configured.document(sent(), "cases", []) == []

    @pytest.mark.parametrize("text", ["{", "[" * 100_000, "geheim"])
    def test_what_is_none_is_wrong_with_this_input_and_not_repeated(self, text: str) -> None:
        with pytest.raises(errors.ConfigError) as caught:
            configured.document(sent(map=text), "map")
        said = "this is no JSON; correct it, or clear it"
        assert str(caught.value) == f"map: {said}"
        assert configured.wrong(caught.value, ("map",)) == ({"map": said}, "")

    def test_a_component_is_given_nothing_that_it_cannot_read(self) -> None:
        assert configured.tree('{"a": 1}') == {"a": 1}
        assert [configured.tree(text) for text in ("", " ", "{", "[" * 100_000)] == [None] * 4


class TestTried:
    def tried(self, headers: Mapping[str, str], error: errors.TidegateError | None = None) -> Any:
        def work() -> dict[str, Any]:
            if error is not None:
                raise error
            return {"steps": []}

        request = requested.request("/warehouses/-/check", headers)
        return configured.tried(request, ANN, "warehouse_checked.html", "part_steps.html", work)

    def test_it_is_a_page_of_its_own_and_a_piece_for_a_page_that_stands(self) -> None:
        assert "<html" in requested.text(self.tried({}))
        assert "<html" not in requested.text(self.tried(HTMX))

    def test_what_is_wrong_is_said_where_the_piece_would_stand(self) -> None:
        error = errors.ConfigError("host: is missing")
        assert "host: is missing" in requested.text(self.tried(HTMX, error))
        with pytest.raises(errors.ConfigError):
            self.tried({}, error)

    def test_a_database_that_is_away_is_said_as_everywhere(self) -> None:
        with pytest.raises(errors.StoreUnreachable):
            self.tried(HTMX, errors.StoreUnreachable("no answer"))


def test_what_goes_wants_its_name_to_be_typed() -> None:
    configured.typed(sent(words=" everything "), "everything")
    with pytest.raises(problems.Problem, match="Type everything to go on; nothing was changed"):
        configured.typed(sent(words="every"), "everything")
