"""The API for reading: every route of the server is on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browsing
import pytest
import running
from playwright import sync_api
from playwright.sync_api import expect
from signing import Signed

from tidegate.engine import place as places
from tidegate.web import reference


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with running.place(tmp_path) as found:
        yield found


def test_every_route_stands_there(place: places.Place, signed: Signed) -> None:
    ann = signed(place, "viewer")
    page, document = ann.get("/api"), ann.get("/api/v1/openapi.json").json
    assert page.status == 200
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f'<details id="{operation["operationId"]}">' in page.text
            assert f">{method.upper()}</code> <code>{path}</code>" in page.text


def test_what_is_looked_for_is_found(place: places.Place, signed: Signed) -> None:
    ann = signed(place, "viewer")
    found = ann.get("/api?search=CANCEL").text
    assert ('id="cancelRun"' in found, 'id="listFlows"' in found) == (True, False)
    assert "Nothing matches." in ann.get("/api?search=nothing-of-it").text


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, "string"),
        ({"type": "string", "format": "date-time"}, "time"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer or null"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Run"}}, "list of Run"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "object of integer"),
        ({"type": "object", "additionalProperties": False}, "object"),
        ({"enum": ["queued", "running"], "type": "string"}, "queued | running"),
        ({"const": "waiting", "type": "string"}, "waiting"),
        ({}, "anything"),
    ],
)
def test_types_are_said_in_words(schema: dict[str, Any], words: str) -> None:
    assert reference.said(schema) == words


def test_a_route_says_what_it_takes_and_answers() -> None:
    run = {"properties": {"id": {"type": "string", "description": "Its id."}}, "required": ["id"]}
    order = {"properties": {"full": {"type": "boolean"}}}
    operation = {
        "tags": ["runs"],
        "operationId": "start",
        "summary": "Begin",
        "deprecated": True,
        "security": [{"token": ["run"]}, {"session": ["run"]}],
        "parameters": [{"name": "flow", "in": "path", "required": True, "schema": {"type": "string"}}],
        "requestBody": {
            "content": {
                "application/json": {
                    "schema": {"anyOf": [{"$ref": "#/components/schemas/Order"}, {"type": "null"}]}
                }
            }
        },
        "responses": {
            "202": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Run"}}}},
            "404": {},
        },
    }
    document = {
        "components": {"schemas": {"Run": run, "Order": order}},
        "paths": {"/flows/{flow}": {"post": operation}},
    }
    [route] = reference.routes(document)["runs"]
    assert (route.method, route.path, route.scope, route.deprecated) == ("POST", "/flows/{flow}", "run", True)
    assert [(each.name, each.where, each.required) for each in route.fields] == [
        ("flow", "path", True),
        ("full", "body", False),
    ]
    [(status, _, fields)] = route.answers
    assert (status, fields, route.problems) == (
        "202",
        (reference.Field("id", "", "string", "Its id.", True),),
        ("404",),
    )


def test_it_is_read_in_a_browser(place: places.Place, signed: Signed, page: sync_api.Page) -> None:
    ann = signed(place, "viewer")
    page.context.add_cookies(
        [{"name": name, "value": value, "url": ann.url} for name, value in ann.jar.items()]
    )
    page.goto(f"{ann.url}/api?search=retry")
    browsing.ready(page)
    page.locator("#retryRun summary").click()
    expect(page.locator("#retryRun")).to_contain_text("what was approved then is not approved again")
    assert browsing.overflow(page) == []
    browsing.snap(page, "api")
