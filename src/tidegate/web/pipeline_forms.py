"""The editor of a pipeline: filter, mapping and function, tried on live rows, kept only when its cases come out."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Annotated, Any

import fastapi
import msgspec
import pydantic
from fastapi import Query
from starlette import datastructures, requests, responses

from tidegate import catalog, config, errors
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import escaping, pipeline_trials
from tidegate.views import pipelines as views
from tidegate.web import configured, frame, pulls
from tidegate.web.pipelines import PATH

ADD = f"{PATH}/-/add"
LANGUAGES = {"": "None", "python": "Python", "javascript": "JavaScript"}
FILE = "file"
"""Stands for a function whose code is in a file."""
TRIED = (5, 10, 25, 50)
"""How many rows a test takes."""
PYTHON = """\
def transform(customer: dict) -> dict:
    return {"customer_id": customer["id"], "email": customer["email"]}
"""
JAVASCRIPT = """\
const transform = (customer) => ({
  customer_id: customer.id,
  email: customer.email,
});
"""
EXAMPLES = {"python": PYTHON, "javascript": JAVASCRIPT}
SAMPLE = {
    "id": "cus_123",
    "name": "Jane Doe",
    "email": "Jane@example.com",
    "address": {"country": "DE"},
    "metadata": {},
}
"""What a function is tried with, where no case gives a record."""
LARGEST = 2**20
"""Characters of a record."""
INPUTS = (
    "description", "from", "to", "stream", "filter", "map", "function", "cases", "schedule", "guard",
)  # fmt: skip
"""Inputs that say themselves what is wrong with them, also inside."""

_encoder = msgspec.json.Encoder(enc_hook=str, decimal_format="number")


class Tried(pydantic.BaseModel):
    """A function and a record, as the code editor sends them."""

    language: str
    code: str = pydantic.Field(max_length=200_000)
    sample: str = pydantic.Field(max_length=LARGEST)


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(ADD)
    def fresh(request: requests.Request, asker: asking.Editor, stream: str = "") -> responses.Response:
        return _form(request, asker, place, "", _defaults(place.file, stream), None)

    @made.post(ADD)
    def add(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        name = configured.text(sent, "_name").strip()
        try:
            pipeline_trials.keep(place, asker, name, _body(sent, {}), None, admin=asker.may("admin"))
        except configured.REFUSED as error:
            return _form(request, asker, place, name, configured.texts(sent), None, error)
        return frame.done(request, f"{PATH}/{name}", f"{name} is kept.")

    @made.get(f"{PATH}/{{name}}/edit")
    def edit(request: requests.Request, asker: asking.Editor, name: str, ids: str = "") -> responses.Response:
        part = _part(place, name)
        return _form(request, asker, place, name, {**_shown(part.body), "ids": ids}, part)

    @made.post(f"{PATH}/{{name}}/edit")
    def change(
        request: requests.Request, asker: asking.Editor, name: str, sent: configured.Sent
    ) -> responses.Response:
        part = _part(place, name)
        configured.changeable(part)
        try:
            body = _body(sent, part.body)
            pipeline_trials.keep(place, asker, name, body, configured.version(sent), admin=asker.may("admin"))
        except configured.REFUSED as error:
            return _form(request, asker, place, name, configured.texts(sent), part, error)
        return frame.done(request, f"{PATH}/{name}", f"{name} is changed; its next run goes by it.")

    @made.post(f"{PATH}/-/form")
    def form(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        """The form as it is typed, with the fields of the stream and the properties of the model that it names."""
        return _again(request, asker, place, sent)

    @made.post(f"{PATH}/-/test")
    def test(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        name, found = _draft(place, asker, sent)
        ids = configured.text(sent, "ids").replace(",", " ").split()
        many = configured.text(sent, "limit")
        limit = int(many) if many.isascii() and many.isdecimal() and len(many) < 4 else TRIED[1]
        began = time.perf_counter()
        trial = pipeline_trials.trial(place, name, found, limit=limit, ids=ids)
        cases = pipeline_trials.tried(place, name, found)
        preview = trial.preview
        shown = {
            "funnel": [
                ("Read", preview.read, ""),
                ("Left out by the filter", preview.filtered, ""),
                ("Could not be shaped", preview.failed, "bad"),
                ("Shaped", preview.matched, "good"),
            ],
            "table": preview.table,
            "printed": preview.printed,
            "suggestions": preview.suggestions,
            "rows": [
                (each, told(_filled(given)), "" if each.properties is None else told(each.properties))
                for each, given in zip(preview.rows, trial.given, strict=True)
            ],
            "cases": cases,
            "told": told,
            "seconds": time.perf_counter() - began,
        }
        return frame.placed(
            request,
            asker,
            "part_pipeline_tested.html",
            lambda html: _again(request, asker, place, sent, trial=html),
            **shown,
        )

    @made.post(f"{PATH}/-/case")
    def case(
        request: requests.Request,
        asker: asking.Editor,
        sent: configured.Sent,
        take: Annotated[str, Query(max_length=400)],
    ) -> responses.Response:
        name, found = _draft(place, asker, sent)
        trial = pipeline_trials.trial(place, name, found, ids=[take], limit=1)
        [seen], [given] = trial.preview.rows, trial.given
        if seen.outcome == "failed":
            raise errors.ConfigError(f"{take} could not be shaped, so there is no result to keep: {seen.why}")
        more: dict[str, Any] = {"name": f"{take} is {seen.outcome}", "given": _filled(given)}
        if seen.properties is not None:
            more["expected"] = seen.properties
        cases = told([*configured.document(sent, "cases", []), more])
        return frame.placed(
            request,
            asker,
            "part_pipeline_cases.html",
            lambda _: _again(request, asker, place, sent, cases=cases),
            cases=cases,
            wrong="",
            fixed=False,
        )

    @made.post(f"{PATH}/-/try")
    def try_function(
        asker: asking.Editor, wanted: Tried, stream: Annotated[str, Query(max_length=200)] = "customers"
    ) -> responses.Response:
        del asker
        began = time.perf_counter()
        try:
            function = config.Function.model_validate({"language": wanted.language, "code": wanted.code})
            outcome, printed = pipeline_trials.called(function, _record(wanted.sample), stream)
        except (errors.ConfigError, pydantic.ValidationError, ValueError) as error:
            return _told({"error": _error(error)})
        seconds = time.perf_counter() - began
        answer: dict[str, Any] = {"printed": printed.splitlines(), "seconds": seconds}
        if outcome.error:
            answer["error"] = {"message": outcome.error, "line": outcome.line}
        else:
            answer["result"] = outcome.properties
        return _told(answer)

    return made


def told(value: object) -> str:
    """A document for reading and for editing, exact numbers as numbers."""
    return msgspec.json.format(_encoder.encode(value), indent=2).decode()


def _filled(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without the fields that have no value, which are as good as not there."""
    return {name: value for name, value in record.items() if value is not None}


def _told(answer: Mapping[str, Any]) -> responses.Response:
    headers = {"Cache-Control": "no-store"}
    return responses.Response(_encoder.encode(answer), media_type="application/json", headers=headers)


def _error(error: Exception) -> dict[str, Any]:
    """What is wrong with a function, and in which line, where its sentence says one."""
    if isinstance(error, pydantic.ValidationError):
        return {"message": "Write a function called transform, in Python or JavaScript."}
    text = str(error)
    _, _, after = text.partition(", line ")
    number, _, why = after.partition(": ")
    return {"message": why, "line": int(number)} if number.isdecimal() and why else {"message": text}


def _record(sample: str) -> dict[str, Any]:
    try:
        found = json.loads(sample)
    except (ValueError, RecursionError):
        raise ValueError('The sample is not JSON; write one record, such as {"id": "cus_1"}.') from None
    if not isinstance(found, dict):
        raise ValueError('The sample must be one record: {"id": "cus_1"}.')
    return found


def _part(place: places.Place, name: str) -> editing.Object:
    """A pipeline as it is written; raises Unknown."""
    views.pipeline(place, name)
    return configured.part(place, views.KIND, name)


def _draft(
    place: places.Place, asker: asking.Asker, sent: datastructures.FormData
) -> tuple[str, config.Pipeline]:
    """The pipeline that a form holds now; one that stands in the file is as it is there."""
    name = configured.text(sent, "_name").strip()
    part = configured.written(place, views.KIND, name) if name else None
    if configured.locked(part):
        return name, views.pipeline(place, name)
    body = _body(sent, {} if part is None else part.body)
    return name, pipeline_trials.draft(place, name, body, admin=asker.may("admin"))


def _defaults(file: config.Config, stream: str) -> dict[str, str]:
    """What a new pipeline has."""
    known = stream in catalog.load().streams
    return {
        "from": next(iter(file.stripe), ""),
        "to": file.customer_model.warehouse if file.customer_model else next(iter(file.warehouses), ""),
        "stream": stream if known else "customers",
        "schedule": "every 15m",
        "guard": "20%",
        "enabled": "on",
        "incremental": "on",
    }


def _body(sent: datastructures.FormData, before: Mapping[str, Any]) -> dict[str, Any]:
    """What a form says, over what it does not have; raises ConfigError for what is no JSON."""
    text = {
        name: configured.text(sent, name).strip() for name in ("from", "to", "stream", "description", "guard")
    }
    guard = text.pop("guard")
    given: dict[str, Any] = {
        **text,
        "filter": configured.document(sent, "filter", None),
        "map": configured.document(sent, "map", {}),
        "function": _function(sent, before),
        "cases": escaping.deep_escaped(configured.document(sent, "cases", [])),
        "schedule": pulls.schedule(configured.text(sent, "schedule")),
        "guard": {"max_removed": guard} if guard not in ("", "20%") else None,
    }
    kept = {key: value for key, value in before.items() if key not in (*given, "enabled", "incremental")}
    body = {**kept, **{key: value for key, value in given.items() if value not in (None, "", {}, [])}}
    for name in ("enabled", "incremental"):
        if configured.text(sent, name) != "on":
            body[name] = False
    return body


def _function(sent: datastructures.FormData, before: Mapping[str, Any]) -> dict[str, Any] | None:
    language = configured.text(sent, "language")
    if language == FILE:
        found = before.get("function")
        return dict(found) if isinstance(found, Mapping) else None
    if language not in ("python", "javascript"):
        return None
    code = configured.text(sent, language).replace("\r\n", "\n")
    limits = {
        name: _number(value)
        for name in ("timeout", "memory")
        if (value := configured.text(sent, name).strip())
    }
    return {"language": language, "code": escaping.escaped(code), **limits}


def _number(text: str) -> float | str:
    """A number; what is none is for the configuration's own check to judge."""
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text


def _shown(body: Mapping[str, Any]) -> dict[str, str]:
    """What the inputs hold of a body."""
    found = body.get("function")
    function: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    language = ""
    if "code" in function:
        language = str(function.get("language", "python"))
    elif function:
        language = FILE
    guard = body.get("guard")
    said = body.get("schedule", "manual")
    return {
        **{name: str(body.get(name, "")) for name in ("from", "to", "description")},
        "stream": str(body.get("stream", "customers")),
        "schedule": json.dumps(said) if isinstance(said, Mapping) else str(said),
        "filter": json.dumps(body["filter"]) if body.get("filter") else "",
        "map": json.dumps(body["map"]) if body.get("map") else "",
        "cases": told(escaping.deep_unescaped(body["cases"])) if body.get("cases") else "",
        "language": language,
        "python": escaping.unescaped(str(function.get("code", ""))) if language == "python" else "",
        "javascript": escaping.unescaped(str(function.get("code", ""))) if language == "javascript" else "",
        "file": str(function.get("python") or function.get("javascript") or ""),
        "timeout": str(function.get("timeout", "")),
        "memory": str(function.get("memory", "")),
        "guard": str(guard.get("max_removed", "20%")) if isinstance(guard, Mapping) else "20%",
        "enabled": "" if body.get("enabled") is False else "on",
        "incremental": "" if body.get("incremental") is False else "on",
    }


def _again(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    sent: datastructures.FormData,
    *,
    trial: str = "",
    **more: str,
) -> responses.Response:
    """The form as it was sent, with what came of a test, for browsers without JavaScript."""
    name, given = configured.text(sent, "_name").strip(), configured.texts(sent)
    part = _part(place, name) if "_version" in sent else None
    shown = {**_shown(part.body), "ids": given.get("ids", "")} if part and configured.locked(part) else given
    return _form(request, asker, place, name, {**shown, **more}, part, trial=trial)


def _form(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    name: str,
    shown: Mapping[str, str],
    part: editing.Object | None,
    error: errors.TidegateError | None = None,
    *,
    trial: str = "",
) -> responses.Response:
    stream = shown.get("stream") or "customers"
    known = catalog.load().streams
    stream = stream if stream in known else "customers"
    warehouse = shown.get("to", "")
    properties = views.targets(place, warehouse)
    return configured.form(
        request,
        asker,
        "pipeline_form.html",
        part,
        error,
        INPUTS,
        inside=True,
        name=name,
        shown={**EXAMPLES, **{key: value for key, value in shown.items() if value}},
        connections=list(place.file.stripe),
        warehouses=list(place.file.warehouses),
        streams=sorted(known),
        stream=stream,
        fields=views.fields(stream),
        filter=configured.tree(shown.get("filter", "")),
        map=configured.tree(shown.get("map", "")),
        targets=properties,
        suggestions=views.suggested(place, stream, warehouse),
        languages=LANGUAGES,
        schedules=pulls.SCHEDULES,
        sample=_sample(shown.get("cases", "")),
        tried=TRIED,
        trial=trial,
    )


def _sample(cases: str) -> str:
    found = configured.tree(cases)
    first = found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}
    return told(first.get("given") or SAMPLE)
