"""What the API answers where something is wrong: problem details (RFC 9457), made of whatever was raised.

| raised | status |
| --- | --- |
| `faults.Problem`, `server.problems.Problem` | its own |
| a parameter or a body that is not valid, `ConfigError` | 422, with the places under `errors` |
| `views.Unknown` | 404 |
| `views.Refused`, `StoreConflict`, `ConfigStale` | 409 |
| an error of Stripe, or of a warehouse | 502; 503 where it may go well soon |
| the metadata database is away | 503 |
| anything else | 500, of which only the log knows where it arose |
"""

from __future__ import annotations

import http
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import fastapi
import msgspec
from fastapi import exceptions
from starlette import exceptions as http_exceptions

from tidegate import errors, views
from tidegate.server import problems
from tidegate.store import keyed

MEDIA = "application/problem+json"
NAME = re.compile(r"[a-z_]{1,30}")
"""What of a name that nobody knows may be repeated: it is no key or token that was put into the wrong place."""

WORDS: Mapping[str, str] = {
    "missing": "is missing",
    "model_attributes_type": "should be an object",
    "dict_type": "should be an object",
    "list_type": "should be a list",
}
"""What is said of a kind of fault, where pydantic speaks as Python does."""
FORMS: Mapping[str, str] = {
    "header.if-match": 'is an ETag such as "3", or *',
    "header.idempotency-key": "has 1 to 255 visible ASCII characters, and no blank",
}
"""What is said of a header that has another form."""

log = logging.getLogger(__name__)
_store = problems.Rarely(log)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where, such as `query.limit` or `streams.charges.where` of the body; and what."""

    path: str
    message: str


class Problem(problems.Problem):
    """A request that cannot be done: the status, a sentence for whoever made it, and what is wrong where."""

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        faults: Sequence[Fault] = (),
    ) -> None:
        super().__init__(status, detail, headers)
        self.faults = tuple(faults)

    def response(self) -> fastapi.Response:
        """What is answered."""
        told: dict[str, object] = {
            "type": "about:blank",
            "title": http.HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.faults:
            told["errors"] = [{"path": each.path, "message": each.message} for each in self.faults]
        headers = {"Cache-Control": "no-store", **self.headers}
        return fastapi.Response(msgspec.json.encode(told), self.status, headers, MEDIA)


def problem(
    status: int, sentence: str, faults: Sequence[Fault] = (), *, headers: Mapping[str, str] | None = None
) -> Problem:
    """A problem to be raised, in one sentence; with the places where something is wrong."""
    return Problem(status, sentence, headers, faults)


def invalid(faults: Sequence[Fault]) -> Problem:
    """422 for what is wrong at these places, of which there is one at least."""
    first, more = faults[0], len(faults) - 1
    others = "" if not more else f" (and {more} more)"
    where = f"{first.path} " if first.path else ""
    return problem(422, f"The request is not valid: {where}{first.message}{others}.", faults)


def answer(error: BaseException) -> fastapi.Response:
    """What is answered to a request that ended with an error; raises one that is no error but an end."""
    return made(error).response()


def made(error: BaseException) -> problems.Problem:
    """The problem that an error is to whoever asked."""
    match error:
        case problems.Problem():
            return error
        case exceptions.RequestValidationError():
            return invalid(list(_faults(error.errors())))
        case http_exceptions.HTTPException():
            return problem(error.status_code, _sentence(error), headers=error.headers)
        case views.Unknown():
            return problem(404, str(error))
        case keyed.KeyUsed():
            return problem(422, str(error), [Fault("header.idempotency-key", "was used for another call")])
        case views.Refused() | errors.StoreConflict() | errors.ConfigStale():
            return problem(409, str(error))
        case errors.ConfigError():
            return problem(422, _first(error), _places(error))
        case errors.StoreError() | TimeoutError():
            _store.warn(f"{str(error) or 'The metadata database is slow.'} Whoever asked is to ask again.")
            # Where the database is, and what it says, is not for those who ask.
            return _later("The metadata database cannot be reached now; try again.")
        case (
            errors.RateLimited()
            | errors.WarehouseBusy()
            | errors.WarehouseUnreachable()
            | errors.Unreachable()
        ):
            return _later(str(error))
        case errors.TidegateError():
            return problem(502, str(error))
        case Exception():
            # Its message may quote somebody's data or a key; where it arose does neither.
            log.error("%s at %s", type(error).__name__, ", ".join(errors.places(error)[:5]))
            return problem(
                500, "Something went wrong here, and the log says where; nothing may have been done."
            )
    raise error


def _later(sentence: str) -> Problem:
    return problem(503, sentence, headers={"Retry-After": problems.RETRY_AFTER})


def _faults(found: Iterable[Mapping[str, object]]) -> Iterable[Fault]:
    """What FastAPI found wrong, without the values."""
    for each in found:
        place = each["loc"]
        assert isinstance(place, tuple), "pydantic says where."
        own = place[1:] if place[:1] == ("body",) and len(place) > 1 else place
        if each["type"] == "extra_forbidden":
            yield _unknown(own)
            continue
        text = WORDS.get(str(each["type"])) or FORMS.get(_dotted(own)) or str(each["msg"])
        text = text.removeprefix("Value error, ").removeprefix("Input ")
        yield Fault(_dotted(own), f"{text[:1].lower()}{text[1:]}".rstrip("."))


def _unknown(place: Sequence[object]) -> Fault:
    """A field that there is not; its name is told where it looks like one."""
    *above, name = place
    if NAME.fullmatch(str(name)):
        return Fault(_dotted(place), "is no field that is known here")
    return Fault(_dotted(above), "has a field that is not known here")


def _dotted(place: Sequence[object]) -> str:
    """A place as people write it: `streams.charges.columns[2]`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _first(error: errors.ConfigError) -> str:
    """Its first sentence, where all of them stand among its places."""
    first, *rest = str(error).splitlines() or [""]
    return f"{first} (and {len(rest)} more)" if rest and len(error.problems) > len(rest) else str(error)


def _places(error: errors.ConfigError) -> list[Fault]:
    """What an error of a configuration says of single places, where it says more than its sentence."""
    return [Fault(str(each.path), str(each.message)) for each in error.problems]


def _sentence(error: http_exceptions.HTTPException) -> str:
    match error.status_code:
        case 400:
            return "The request cannot be read."
        case 413:
            return "The body is too large."
    return str(error.detail)
