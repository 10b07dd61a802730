"""What is answered where something is wrong: a page, problem details for programs, or the way to the sign-in."""

from __future__ import annotations

import urllib.parse

from starlette import requests, responses

from tidegate import errors
from tidegate.api import base, faults
from tidegate.server import asking, problems
from tidegate.web import frame


def failed(request: requests.Request, error: Exception) -> responses.Response:
    """The answer to a request that ended with an error."""
    problem = faults.made(error)
    if request.url.path.startswith((base.PREFIX, "/triggers/", "/webhooks/")):
        return problem.response()
    if isinstance(problem, asking.Refused) and problem.sign_in:
        return _sign_in(request)
    asker = asking.maybe(request)
    if asker is None and problem.status == 404:  # no route, so nobody has asked who this is
        asker = asking.member(request)
    answer = frame.failed(request, asker, problem.status, _sentence(problem), title=_title(error, problem))
    answer.headers.update(problem.headers)
    return answer


def _title(error: Exception, problem: problems.Problem) -> str:
    """What stands above the sentence, where the status alone would say something else."""
    if isinstance(error, errors.StoreConflict):
        return "Somebody was faster"
    if problem.status == 403 and not isinstance(problem, asking.TooLittle):
        return "That was not taken"
    return ""


def _sentence(problem: problems.Problem) -> str:
    """What was wrong; on a page nobody gave `after` by hand."""
    if isinstance(problem, faults.Problem) and [each.path for each in problem.faults] == ["query.after"]:
        return "This address points to a place in the list that there is not; begin with its first page."
    return problem.detail


def _sign_in(request: requests.Request) -> responses.Response:
    """The sign-in page, which goes on to the page that was asked for, or on which a form was.

    htmx shows it in place of the whole. What was typed into a form is kept by the browser.
    """
    htmx = request.headers.get("hx-request") == "true"
    shown = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if htmx or request.method not in asking.SAFE:
        shown = _current(request) or frame.came_from(request) or "/"
    onward = asking.onward(shown)
    url = asking.SIGN_IN + ("" if onward == "/" else "?" + urllib.parse.urlencode({"next": onward}))
    if htmx:
        return responses.Response(status_code=401, headers={"HX-Redirect": url})
    if "text/event-stream" in request.headers.get("accept", ""):
        return responses.PlainTextResponse("Sign in first.\n", status_code=401)
    return responses.RedirectResponse(url, status_code=303)


def _current(request: requests.Request) -> str:
    """The page from which htmx asked, as it says."""
    try:
        told = urllib.parse.urlsplit(request.headers.get("hx-current-url", ""))
    except ValueError:
        return ""
    return told.path + (f"?{told.query}" if told.query else "")
