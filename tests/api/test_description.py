"""The OpenAPI description is what the routes do: asked with whatever it allows and forbids, they answer as it says.

Requests are made from the description by schemathesis, always the same ones; nothing leaves this machine.
"""

from __future__ import annotations

import collections
import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import hypothesis
import jsonschema
import pytest
import requests
import running
import schemathesis
import signing

import tidegate
from tidegate import api, errors
from tidegate.api import description, examples
from tidegate.engine import feed
from tidegate.engine import place as places
from tidegate.server import app, limits
from tidegate.server import desk as desks
from tidegate.store import runs, tokens
from tidegate.views import outside
from tidegate.web import troubles

Signed = signing.Signed
EXAMPLES = 3
"""Requests of each kind for each route: of what is allowed and what is not, of names that are there and others."""
METHODS = ("get", "put", "post", "delete", "patch")
schemathesis.checks.load_all_checks()
CHECKS = schemathesis.checks.CHECKS.get_by_names(
    [
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is found but this machine's, and Stripe is away."""
    find = socket.getaddrinfo

    def found(host: Any, *rest: Any, **more: Any) -> Any:
        if host in ("127.0.0.1", "localhost", None, ""):
            return find(host, *rest, **more)
        raise socket.gaierror(socket.EAI_NONAME, "There is no such name.")

    def stripe(*_: object, **__: object) -> None:
        raise errors.Unreachable("Stripe has not answered; try again.")

    monkeypatch.setattr(socket, "getaddrinfo", found)
    monkeypatch.setattr(outside, "stripe", stripe)


@pytest.fixture
def document(place: places.Place, tokened: Signed) -> dict[str, Any]:
    found: dict[str, Any] = tokened(place, "read").get("/api/v1/openapi.json").json
    return found


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, found in document["paths"].items():
        for method, operation in found.items():
            assert method in METHODS
            yield method, path, operation


def holders(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every parameter of an operation, and every property that one takes or answers: where, and its name."""
    rest: list[tuple[str, Any]] = []
    for method, path, operation in operations(document):
        rest.append((f"{method} {path}", operation))
        for each in operation.get("parameters", ()):
            yield f"{method} {path}", each["name"], each
    seen = set[str]()
    while rest:
        where, value = rest.pop()
        if isinstance(value, list):
            rest += [(where, each) for each in value]
        if not isinstance(value, dict):
            continue
        for key, each in value.items():
            if key == "properties":
                yield from ((where, name, schema) for name, schema in each.items())
                rest += [(f"{where} {name}", schema) for name, schema in each.items()]
            elif key != "$ref":
                rest.append((where, each))
            elif each not in seen:
                seen.add(each)
                name = each.rpartition("/")[2]
                rest.append((name, document["components"]["schemas"][name]))


class TestDocument:
    def test_it_names_every_route_of_the_api_once(self, document: dict[str, Any]) -> None:
        assert (document["info"]["title"], document["info"]["version"]) == ("Tidegate", tidegate.__version__)
        names = collections.Counter(operation["operationId"] for _, _, operation in operations(document))
        assert set(names.values()) == {1}
        assert {"listRuns", "getRun", "startFlow", "followRun", "describeApi"} <= set(names)
        assert len(api.ROUTERS) >= 3

    def test_each_says_in_a_line_what_it_does_and_which_scope_it_needs(
        self, document: dict[str, Any]
    ) -> None:
        for method, path, operation in operations(document):
            where = f"{method} {path}"
            assert operation["summary"], where
            scopes = {name: scopes for each in operation["security"] for name, scopes in each.items()}
            assert scopes.keys() == {"token", "session"}, where
            assert len(scopes["token"]) == 1, where
            assert scopes["token"][0] in tokens.SCOPES, where
            if method != "get":
                assert scopes["token"][0] != "read", where

    def test_each_says_what_it_answers_also_where_something_is_wrong(self, document: dict[str, Any]) -> None:
        for method, path, operation in operations(document):
            answers = operation["responses"]
            assert {"401", "403", "429", "503"} <= answers.keys(), f"{method} {path}"
            assert "500" not in answers
            for status, answer in answers.items():
                if status >= "400":
                    assert set(answer["content"]) == {"application/problem+json"}, f"{method} {path} {status}"

    def test_every_list_is_answered_page_by_page(self, document: dict[str, Any]) -> None:
        for method, path, operation in operations(document):
            if method == "get" and operation["operationId"].startswith("list"):
                [answer] = operation["responses"]["200"]["content"].values()
                assert answer["schema"].get("$ref", "").startswith("#/components/schemas/Page_"), path
                assert {"limit", "after"} <= {each["name"] for each in operation["parameters"]}, path

    def test_everything_is_said_in_words_and_by_an_example(self, document: dict[str, Any]) -> None:
        described = {each["name"] for each in document["tags"]}
        used, bodies = set(), set()
        for method, path, operation in operations(document):
            used.add(*operation["tags"])
            for each in operation.get("parameters", ()):
                assert each["description"], f"{method} {path} {each['name']}"
                assert each["in"] != "path" or each.get("example") is not None, (
                    f"{method} {path} {each['name']}"
                )
            if "requestBody" in operation:
                bodies.add(operation["operationId"])
                told = operation["requestBody"]["content"]["application/json"]
                schema = {**told["schema"], "components": document["components"]}
                jsonschema.validate(told["example"], schema)
        assert used == described
        assert bodies == set(examples.BODIES)

    def test_every_parameter_and_property_says_what_it_holds(self, document: dict[str, Any]) -> None:
        """In a sentence that says more than its name, such as a unit, or what null is."""
        found = list(holders(document))
        for where, name, holder in found:
            said = holder.get("description", "")
            words = set(re.findall("[a-z0-9]+", said.lower())) - {"a", "an", "its", "the"}
            assert words - set(re.findall("[a-z0-9]+", name.lower())), f"{where} {name}"
            assert said[-1] in ".?", f"{where} {name}: {said}"
        places = {f"{where} {name}" for where, name, _ in found}
        assert {"Run due_at", "Money pending", "Problem errors path", "get /api/v1/runs state"} <= places

    def test_answers_are_exact(self, document: dict[str, Any]) -> None:
        schemas = document["components"]["schemas"]
        assert "HTTPValidationError" not in schemas
        assert [name for name in schemas if "__" in name.rstrip("_") or "-" in name] == [], "two of one name"
        for name in ("Run", "Whole", "Flow", "Waiting", "Queued", "Progress"):
            assert schemas[name]["additionalProperties"] is False, name

    def test_what_may_be_left_out_is_never_null(self, document: dict[str, Any]) -> None:
        """A generated client would send `null` or `None` for it."""
        for method, path, operation in operations(document):
            bodies = operation.get("requestBody", {}).get("content", {}).values()
            for each in (*operation.get("parameters", ()), *bodies):
                assert {"type": "null"} not in each["schema"].get("anyOf", ()), f"{method} {path}"

    def test_headers_are_described_with_the_answers_that_have_them(self, document: dict[str, Any]) -> None:
        paths = document["paths"]
        begun = paths["/api/v1/audits"]["post"]["responses"]["202"]["headers"]
        assert begun.keys() == {"Location", "Idempotent-Replayed"}
        put = paths["/api/v1/configuration/{kind}/{name}"]["put"]["responses"]
        assert put["200"]["headers"].keys() == put["201"]["headers"].keys() == {"ETag"}
        assert "headers" not in paths["/api/v1/runs"]["get"]["responses"]["200"]

    def test_what_there_is_no_route_for(self, place: places.Place, tokened: Signed, stranger: Signed) -> None:
        program = tokened(place, "admin")
        nothing = program.get("/api/v1/runz")
        assert (nothing.status, nothing.headers["content-type"]) == (404, "application/problem+json")
        wrong = program.ask("PATCH", "/api/v1/runs")
        assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD")
        assert wrong.json["detail"] == "This address takes GET, HEAD only."
        options = program.ask("OPTIONS", "/api/v1/runs/run_1/cancel")
        assert (options.status, options.headers["allow"], options.body) == (204, "POST", b"")
        assert stranger(place).get("/api/v1/runz").status == 401
        bare = program.get("/api/v1")
        assert (bare.status, bare.headers["content-type"]) == (404, "application/problem+json")

    def test_refusals_are_all_explained(self) -> None:
        used = {*description.ALWAYS, *description.CHANGING, *description.BODY, 404, 422}
        assert used == set(description.REFUSALS)


def names(run: runs.Run, path: str) -> dict[str, str]:
    """Names that are there, for the places of an address."""
    first = path.removeprefix("/api/v1/").partition("/")[0]
    named = {"accounts": "acme", "warehouses": "one", "members": "viewer@example.com", "tokens": "spare"}
    return {
        "flow": "pull:everything",
        "run": run.id,
        "kind": {"checks": "pushes"}.get(first, "pulls" if "{name}" in path else "customer_model"),
        "name": named.get(first, "accounts" if first == "checks" else "everything"),
        "stream": "customers",
        "pull": "everything",
    }


# The server's threads, in this process, use `random` while strategies are drawn.
@pytest.mark.filterwarnings(
    "ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning"
)
@pytest.mark.usefixtures("_alone")
def test_every_route_answers_as_the_description_says(
    place: places.Place, signed: Signed, tokened: Signed, document: dict[str, Any]
) -> None:
    """Also where the request makes no sense; and no answer has a secret of the configuration."""
    run = running.ended(place.store, error="charges: no permission", read=7)
    running.said(place.store, run, ["one", "two"])
    running.got(place.store, run, {}, {"stream": "charges", "status": "failed", "error": "It is away."})
    running.begun(place.store)
    tokens.create(place.store, "spare", "run")
    signed(place, "viewer")
    admin = tokened(place, "admin")
    session, wrong = requests.Session(), dict[str, str]()
    session.headers.update(admin.headers)
    schema = schemathesis.openapi.from_dict(document)
    secret = place.file.stripe["acme"].api_key
    assert secret is not None
    answered = collections.Counter[int]()
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in schemathesis.GenerationMode:
            for known in (names(run, operation.path), None):
                given = known and {each: known[each] for each in known if f"{{{each}}}" in operation.path}
                if known is not None and "{" in operation.path and not given:
                    continue
                strategy = operation.as_strategy(generation_mode=mode, path_parameters=given or None)

                @hypothesis.seed(20_261_122)
                @hypothesis.settings(
                    max_examples=EXAMPLES,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(hypothesis.HealthCheck),
                    phases=[hypothesis.Phase.generate],
                )
                @hypothesis.given(case=strategy)
                def asked(case: schemathesis.Case) -> None:
                    answer = case.call(base_url=admin.url, session=session, timeout=60, stream=False)
                    answered[answer.status_code] += 1
                    assert answer.status_code != 500, answer.text
                    case.validate_response(answer, checks=CHECKS)
                    assert secret.get_secret_value() not in answer.text

                try:
                    asked()
                except hypothesis.errors.Unsatisfiable:
                    continue
                except (Exception, BaseExceptionGroup) as error:
                    wrong.setdefault(operation.label, f"{mode.value}: {error}"[:1500])
    assert not wrong, "\n\n".join(f"{label}\n{text}" for label, text in wrong.items())
    assert answered[200] > 100, answered
    assert answered[422] > 100, answered


def test_it_is_made_once_for_an_application(place: places.Place) -> None:
    desk = desks.Desk(place, "127.0.0.1", (), limits.Limits())
    front = app.Front(desk, [router(desk) for router in api.ROUTERS], troubles.failed)
    application = app.make(place.file, place.store, feed.Arrivals(), [], front)
    assert description.of(application) is description.of(application)
    assert description.of(application) == description.document(application)
