"""The OpenAPI description of all routes under `/api/v1`, and an answer where there is none of them.

It is made of the routes themselves, once: what each takes and answers, which scope it needs, and every status that
it may answer with problem details.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import fastapi
from fastapi import routing
from fastapi.openapi import utils
from starlette import requests

import tidegate
from tidegate.api import base, examples, faults, once
from tidegate.server import asking, problems
from tidegate.server import desk as desks

TITLE = "Tidegate"
ABOUT = (
    "Everything the command line can do. Errors are problem details (RFC 9457); lists come page by page, `next` "
    "of one is `after` of the following; times are RFC 3339 in UTC; money is whole minor units; nothing of an "
    "answer may be cached. docs/api.md says more."
)
REFUSALS: Mapping[int, str] = {
    400: "The request cannot be read.",
    401: "There is no token, or none that is valid.",
    403: "The token's scope, or its flows, do not include this.",
    404: "There is nothing of this name.",
    408: "The body did not come in time.",
    409: "As things stand it cannot be done.",
    412: "What is to be changed is not as If-Match says.",
    413: "The body is too large.",
    422: "A parameter or the body is not valid; `errors` says where.",
    428: "What is there already is changed only by who says which version was seen.",
    429: "Too many requests came; wait for Retry-After seconds.",
    502: "Stripe or a warehouse refused.",
    503: "Something that is needed is away; try again after Retry-After seconds.",
}
"""What may be answered with problem details, by status."""
HEADERS: Mapping[str, str] = {
    "Location": "Where to ask how it is.",
    "ETag": 'The version, such as "3", to be given back as If-Match.',
    once.REPLAYED: "`true` where the same call with this key was answered before.",
}
"""What headers of answers say."""
ALWAYS = (401, 403, 429, 502, 503)
CHANGING = (409, 412, 428)
BODY = (400, 408, 413)

_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "What is wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "description": "`about:blank`: the status says what kind it is."},
        "title": {"type": "string", "description": "What the status means."},
        "status": {"type": "integer", "description": "The status of the answer, once more."},
        "detail": {"type": "string", "description": "What is wrong and what to do, in one sentence."},
        "errors": {
            "type": "array",
            "description": "What is wrong where.",
            "items": {
                "type": "object",
                "required": ["path", "message"],
                "additionalProperties": False,
                "properties": {
                    "path": {
                        "type": "string",
                        "description": "Where, such as `body.limit` or `query.after`.",
                    },
                    "message": {"type": "string", "description": "What is wrong there."},
                },
            },
        },
    },
}


def router(_: desks.Desk) -> fastapi.APIRouter:
    """The description, and an answer to whatever no other router has; to be included after all others."""
    made = base.router("description")

    @made.get(
        "/openapi.json", operation_id="describeApi", summary="This description", response_model=dict[str, Any]
    )
    def describe(request: requests.Request, asker: asking.Reader) -> fastapi.Response:
        """The OpenAPI description of this API."""
        del asker
        return fastapi.responses.JSONResponse(of(request.app))

    async def nothing(request: requests.Request) -> fastapi.Response:
        try:
            await asking.who(request)
        except problems.Problem as refused:
            return refused.response()
        allowed = sorted(_methods(request))
        if not allowed:
            return faults.problem(404, "The API has nothing at this address.").response()
        headers = {"Allow": ", ".join(allowed)}
        if request.method == "OPTIONS":
            return fastapi.Response(status_code=204, headers={**headers, "Cache-Control": "no-store"})
        return faults.problem(405, f"This address takes {headers['Allow']} only.", headers=headers).response()

    for path in (base.PREFIX, f"{base.PREFIX}/{{rest:path}}"):
        made.add_route(path, nothing, methods=[], include_in_schema=False)
    return made


_making = threading.Lock()


def of(application: fastapi.FastAPI) -> dict[str, Any]:
    """The same as `document`, which is made once for an application: that takes half a second."""
    with _making:
        found: dict[str, Any] | None = getattr(application.state, "description", None)
        if found is None:
            found = application.state.description = document(application)
        return found


def document(application: fastapi.FastAPI) -> dict[str, Any]:
    """The OpenAPI description of the routes of an application under `/api/v1`."""
    with warnings.catch_warnings():
        # HEAD is answered like GET and has its name; it is taken out below.
        warnings.filterwarnings("ignore", "Duplicate Operation ID", UserWarning)
        made = utils.get_openapi(
            title=TITLE,
            version=tidegate.__version__,
            description=ABOUT,
            routes=list(_contexts(application)),
        )
    schemas = made["components"].setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in made["paths"].values():
        operations.pop("head", None)
        for method, operation in operations.items():
            _narrow(operation)
            _head(operation)
            for status in _refusals(operation, method):
                operation["responses"][str(status)] = _refusal(status)
            operation["responses"] = dict(sorted(operation["responses"].items()))
    examples.add(made)
    return made


def _contexts(application: fastapi.FastAPI) -> Iterator[routing.RouteContext]:
    for each in routing.iter_route_contexts(application.routes):
        if (each.path or "").startswith(f"{base.PREFIX}/") and isinstance(
            each.original_route, routing.APIRoute
        ):
            yield each


def _narrow(operation: Mapping[str, Any]) -> None:
    """A parameter, or a body, that may be left out is not null either: generated clients would send that."""
    holders = list(operation.get("parameters", ()))
    body = operation.get("requestBody", {})
    if not body.get("required"):
        holders += body.get("content", {}).values()
    for each in holders:
        schema = each["schema"]
        left = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
        if len(left) == 1:
            each["schema"] = {**{name: said for name, said in schema.items() if name != "anyOf"}, **left[0]}


def _head(operation: Mapping[str, Any]) -> None:
    """Say which headers the answers have, besides those of each answer."""
    keyed = any(each["name"] == once.HEADER.lower() for each in operation.get("parameters", ()))
    for status, answer in operation["responses"].items():
        ref = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
        names = [
            *(["Location"] if status == "202" else []),
            *(["ETag"] if ref.endswith("/Part") else []),
            *([once.REPLAYED] if keyed and status < "300" else []),
        ]
        if names:
            answer["headers"] = {
                name: {"schema": {"type": "string"}, "description": HEADERS[name]} for name in names
            }


def _refusals(operation: Mapping[str, Any], method: str) -> list[int]:
    found = set(ALWAYS)
    if operation.get("parameters") or "requestBody" in operation:
        found |= {404, 422}
    if "requestBody" in operation:
        found |= set(BODY)
    if method != "get":
        found |= {404, 422, *CHANGING}
    return sorted(found)


def _refusal(status: int) -> dict[str, Any]:
    content = {faults.MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    told: dict[str, Any] = {"description": REFUSALS[status], "content": content}
    if status in (429, 503):
        told["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return told


def _methods(request: requests.Request) -> set[str]:
    """What the API's routes take at the address of a request."""
    found: set[str] = set()
    for each in _contexts(request.app):
        if each.path_regex.match(request.url.path):
            found |= set(each.methods or ())
    return found
