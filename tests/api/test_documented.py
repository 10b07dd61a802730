"""docs/api.md: its calls are made, its routes are there, and what it says of errors is so."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import running
import signing

from tidegate.api import base, description
from tidegate.engine import place as places
from tidegate.store import jobs, runs

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
PLACE = re.compile(r"{(\w+)}")
Signed = signing.Signed
JOB = "job_5d0c1b7e9a3f4268"


def calls() -> list[str]:
    """The calls of `curl` on the page, each in one line."""
    text = PAGE.replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.startswith("    curl ")]


def made(client: signing.Client, call: str, run: str) -> signing.Answer:
    """What curl would do."""
    words = iter(shlex.split(call.replace("$RUN", run).replace("$JOB", JOB))[1:])
    method, url, headers, body = "", "", dict[str, str](), None
    for word in words:
        match word:
            case "-X":
                method = next(words)
            case "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            case "-d":
                body = next(words).encode()
            case "-N":
                pass
            case _:
                url = word
    assert headers.pop("Authorization") == "Bearer $TOKEN"
    path = url.removeprefix("$TIDEGATE")
    form = {"Content_Type": "application/x-www-form-urlencoded"} if body is not None else {}
    return client.ask(method or "GET", path, body=body, **headers, **form)


def test_every_call_succeeds(place: places.Place, tokened: Signed) -> None:
    run, program = running.begun(place.store, "pull:finance"), tokened(place, "run")
    jobs.begin(place.store, JOB, "audit", "pull:everything", {"pull": "everything"}, "ann@example.com")
    jobs.finish(place.store, JOB, "failed", None, "The warehouse is away.")
    answers = {}
    for call in calls():
        if call.endswith('/retry"'):
            runs.end(place.store, run.id, running.WORKER, "cancelled")
        answers[call] = made(program, call, run.id)
    assert len(answers) >= 13
    assert {call: answer.status for call, answer in answers.items() if answer.status not in (200, 202)} == {}


def test_what_it_shows_is_what_is_answered(place: places.Place, tokened: Signed) -> None:
    blocks = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    problem, queued = blocks
    program = tokened(place, "run")
    wrong = program.get("/api/v1/runs?limit=501").json
    assert {**wrong, "title": problem["title"]} == problem
    [call] = [call for call in calls() if "nightly-" in call]
    told = made(program, call, "").json
    assert told.keys() == queued.keys()
    assert {**told, "id": queued["id"], "url": queued["url"]} == queued


def test_its_routes_and_statuses_are_those_there_are(place: places.Place, tokened: Signed) -> None:
    paths = tokened(place, "read").get("/api/v1/openapi.json").json["paths"]
    known = {
        f"{method.upper()} {PLACE.sub(lambda found: found[1].upper(), path)}"
        for path, found in paths.items()
        for method in found
    }
    rows = re.findall(r"^\| `([A-Z]+ /api/v1/\S+)` \|", PAGE, re.MULTILINE)
    assert len(rows) >= 11
    assert set(rows) <= known
    statuses = {
        int(each) for row in re.findall(r"^\| (4.*?|5.*?) \|", PAGE, re.MULTILINE) for each in row.split(", ")
    }
    assert statuses == {*description.REFUSALS, 405}


def test_its_figures_are_those_of_the_code() -> None:
    assert f"`limit` is {base.LIMIT} where it is not said, and {base.MOST} at the most" in PAGE
    assert f"within {base.READ:g} seconds, or is larger than {base.LARGEST // 2**20} MiB" in PAGE
