"""The API for reading: every route with what it takes and answers, from this server's own OpenAPI description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fastapi
from starlette import requests, responses

from tidegate.api import description
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.web import frame


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a field of a body or of an answer."""

    name: str
    where: str
    type: str
    about: str
    required: bool


@dataclass(frozen=True, slots=True)
class Route:
    """One route; `answers` are the statuses that are no problems, each with its fields."""

    id: str
    method: str
    path: str
    summary: str
    about: str
    scope: str
    fields: tuple[Field, ...]
    answers: tuple[tuple[str, str, tuple[Field, ...]], ...]
    problems: tuple[str, ...]
    deprecated: bool


def router(_: desks.Desk) -> fastapi.APIRouter:
    """The page, which is made once."""
    made = fastapi.APIRouter(include_in_schema=False)
    known: list[dict[str, list[Route]]] = []

    @made.get("/api")
    def reference(request: requests.Request, asker: asking.Reader, search: str = "") -> responses.Response:
        if not known:
            known.append(routes(description.of(request.app)))
        wanted = search.strip().lower()
        shown = {
            tag: [each for each in found if wanted in f"{each.method} {each.path} {each.summary}".lower()]
            for tag, found in known[0].items()
        }
        return frame.page(
            request,
            asker,
            "reference.html",
            groups={tag: found for tag, found in shown.items() if found},
            search=search.strip(),
            prefix=str(request.base_url).rstrip("/"),
        )

    return made


def routes(document: Mapping[str, Any]) -> dict[str, list[Route]]:
    """The routes of a description, by what they are about."""
    schemas = document["components"]["schemas"]
    found: dict[str, list[Route]] = {}
    for path, operations in document["paths"].items():
        for method, it in operations.items():
            found.setdefault(it["tags"][0], []).append(_route(path, method, it, schemas))
    return found


def _route(path: str, method: str, it: Mapping[str, Any], schemas: Mapping[str, Any]) -> Route:
    fields = [
        Field(
            each["name"],
            each["in"],
            said(each["schema"]),
            each.get("description", ""),
            each.get("required", False),
        )
        for each in it.get("parameters", [])
    ]
    body = it.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body is not None:
        fields += _fields(body, schemas, "body")
    answers = [
        (status, each.get("description", ""), tuple(_fields(_schema(each), schemas, "")))
        for status, each in it["responses"].items()
        if status < "400"
    ]
    scopes = [scope for each in it.get("security", []) for scope in each.get("token", [])]
    return Route(
        it["operationId"],
        method.upper(),
        path,
        it.get("summary", ""),
        it.get("description", ""),
        scopes[0] if scopes else "",
        tuple(fields),
        tuple(answers),
        tuple(status for status in it["responses"] if status >= "400"),
        it.get("deprecated", False),
    )


def _schema(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    contents: Mapping[str, Mapping[str, Any]] = answer.get("content", {})
    found: Mapping[str, Any] = {}
    for each in contents.values():
        found = each.get("schema", {})
    return found


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any], where: str) -> list[Field]:
    """The fields of an object; of several possible ones, of the first."""
    found: Mapping[str, Any] = schema
    if "anyOf" in found:
        found = next((each for each in found["anyOf"] if "$ref" in each), {})
    if "$ref" in found:
        found = schemas[_name(found)]
    required: Sequence[str] = found.get("required", ())
    return [
        Field(name, where, said(each), each.get("description", ""), name in required)
        for name, each in found.get("properties", {}).items()
    ]


def said(schema: Mapping[str, Any]) -> str:
    """A type in words: `string or null`, `list of Run`, `queued | running`."""
    if "$ref" in schema:
        return {"JsonValue": "anything"}.get(_name(schema), _name(schema))
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(said(each) for each in schema["anyOf"]))
    match schema.get("type"):
        case "array":
            return f"list of {said(schema.get('items', {}))}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"object of {said(schema['additionalProperties'])}"
        case None:
            return "anything"
        case str(kind):
            return {"date-time": "time"}.get(schema.get("format", ""), kind)
    return "anything"


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]
