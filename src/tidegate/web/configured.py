"""Parts of the configuration on pages: whether one may be changed here, what its form holds, and what was wrong.

What is written in the file is read-only here and says where it is written; everything else is changed with the
version that the form was made of, so that nobody writes over somebody else's change.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import fastapi
from starlette import datastructures, requests, responses

from tidegate import errors
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.server import asking, problems
from tidegate.views import forms
from tidegate.web import frame


async def _sent(request: requests.Request) -> datastructures.FormData:
    return await request.form()


Sent = Annotated[datastructures.FormData, fastapi.Depends(_sent)]
"""A route parameter: everything that a form sent."""
REFUSED = (errors.ConfigError, errors.StoreConflict)
"""What a form is shown again for, with what was wrong."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A form with what its inputs hold, and what is wrong with them, by their names."""

    fields: Sequence[forms.Field]
    shown: Mapping[str, str]
    wrong: Mapping[str, str] = field(default_factory=dict)
    said: str = ""
    """What is wrong with no input of it."""
    status: int = 200
    """Of the answer that shows it."""
    seen: int | None = None
    """The version that it was made of, where others have saved it meanwhile."""

    @property
    def groups(self) -> list[tuple[str, list[forms.Field], bool]]:
        """The inputs by the part that they belong to; and whether it stands open, something in it being said."""
        found: dict[str, list[forms.Field]] = {}
        for each in self.fields:
            found.setdefault(each.group, []).append(each)
        return [
            (label, some, any(self.shown.get(each.name) or each.name in self.wrong for each in some))
            for label, some in found.items()
        ]


def text(sent: datastructures.FormData, name: str) -> str:
    """An input of a form; nothing where it is not there, or is a file."""
    found = sent.get(name, "")
    return found if isinstance(found, str) else ""


def texts(sent: datastructures.FormData) -> dict[str, str]:
    """All inputs of a form by name, the last of several of one name."""
    return {name: value for name, value in sent.multi_items() if isinstance(value, str)}


def document(sent: datastructures.FormData, name: str, empty: Any = None) -> Any:
    """The JSON of an input, `empty` where there is nothing; raises ConfigError where it is none."""
    written = text(sent, name).strip()
    if not written:
        return empty
    try:
        return json.loads(written)
    except (ValueError, RecursionError):
        what = "this is no JSON; correct it, or clear it"
        raise errors.ConfigError(f"{name}: {what}", [editing.Problem((name,), what)]) from None


def tree(text: str) -> Any:
    """The JSON that an input shows, for the component that edits it; None where it is none."""
    try:
        return json.loads(text) if text.strip() else None
    except (ValueError, RecursionError):
        return None


def version(sent: datastructures.FormData) -> int | None:
    """The version that a form was made of; None for what was not there then."""
    found = text(sent, "_version")
    return int(found) if found.isascii() and found.isdecimal() and len(found) < 19 else None


def stood(part: editing.Object | None, error: errors.TidegateError | None) -> editing.Object | None:
    """A part with the version that a form was made of: while that is not the newest, it is refused again."""
    if part is None or not isinstance(error, errors.StoreStale):
        return part
    return replace(part, version=error.seen)


def written(place: places.Place, kind: str, name: str) -> editing.Object | None:
    """A part of the configuration with its secrets as marks; None where there is none of this name."""
    return editing.get(place, kind, name)


def part(place: places.Place, kind: str, name: str) -> editing.Object:
    """The same of one that is there; raises a problem where somebody removed it just now."""
    found = written(place, kind, name)
    if found is None:
        raise problems.Problem(404, f"{name} is there no more; somebody removed it just now.")
    return found


def body(place: places.Place, found: editing.Object | None) -> Mapping[str, Any]:
    """What a part says, as a form shows it; nothing of one that is not there yet."""
    return {} if found is None else editing.shown(place, found)


def locked(found: editing.Object | None) -> str:
    """Why a part may not be changed here; empty where it may."""
    if found is None or found.origin == "store":
        return ""
    return f"This is written in tidegate.yaml{f', line {found.line}' if found.line else ''}; change it there."


def changeable(found: editing.Object | None) -> None:
    """Raises a problem for a part that may not be changed here."""
    if said := locked(found):
        raise problems.Problem(409, said)


def typed(sent: datastructures.FormData, words: str) -> None:
    """Raises a problem where what is to be typed before something goes was not."""
    if text(sent, "words").strip() != words:
        raise problems.Problem(422, f"Type {words} to go on; nothing was changed.")


def filled(known: Iterable[forms.Field], body: Mapping[str, Any]) -> Filled:
    """A form that holds a body."""
    fields = tuple(known)
    return Filled(fields, forms.shown(fields, body))


def refused(
    known: Iterable[forms.Field],
    sent: Mapping[str, str],
    before: Mapping[str, Any],
    error: errors.TidegateError,
) -> Filled:
    """A form that holds what was sent, but for its secrets, with what was wrong beside the inputs."""
    fields = tuple(known)
    kept = forms.shown(fields, before)
    shown = {
        each.name: kept[each.name] if each.input in ("secret", "document") else sent.get(each.name, "")
        for each in fields
    }
    by_name, said = wrong(error, [each.name for each in fields])
    seen = error.seen if isinstance(error, errors.StoreStale) else None
    return Filled(fields, shown, by_name, said, status(error), seen)


def wrong(
    error: errors.TidegateError | None, inputs: Iterable[str], *, below: str = "", inside: bool = False
) -> tuple[dict[str, str], str]:
    """What is wrong by input, and what is wrong with none of them; nothing without an error.

    `below` is where in the body the form begins; `inside`: an input also answers for what is inside of its value.
    """
    names = set(inputs)
    by_name: dict[str, list[str]] = {}
    rest: list[str] = []
    found = [each for each in getattr(error, "problems", ()) if isinstance(each, editing.Problem)]
    for each in found:
        path = each.path.removeprefix(below)
        name = str(each.place[0]) if inside and each.place else path
        if name in names:
            within = path.removeprefix(name).lstrip(".")
            by_name.setdefault(name, []).append(f"{within}: {each.sentence}" if within else each.sentence)
        else:
            rest.append(f"{path}: {each.sentence}" if path else each.sentence)
    said = "; ".join(rest) if found else str(error or "")
    return {name: "; ".join(some) for name, some in by_name.items()}, said


def form(
    request: requests.Request,
    asker: asking.Asker,
    template: str,
    part: editing.Object | None,
    error: errors.TidegateError | None,
    inputs: Iterable[str],
    *,
    below: str = "",
    inside: bool = False,
    **context: Any,
) -> responses.Response:
    """The page of a form for a part, or for a new one; with an error what is wrong is said, by input."""
    by_name, said = wrong(error, inputs, below=below, inside=inside)
    given = {
        "part": stood(part, error), "locked": locked(part), "wrong": by_name, "said": said,
        "stale": isinstance(error, errors.StoreStale), **context,
    }  # fmt: skip
    return frame.page(request, asker, template, status=status(error), **given)


def tried(
    request: requests.Request,
    asker: asking.Asker,
    whole: str,
    piece: str,
    work: Callable[[], Mapping[str, Any]],
) -> responses.Response:
    """What came of trying a draft: a page, or a piece of the one that stands, which says what was wrong, too."""
    htmx = request.headers.get("hx-request") == "true"
    try:
        shown = work()
    except errors.TidegateError as error:
        if not htmx or isinstance(error, errors.StoreError):
            raise
        return frame.partial(request, asker, "part_said.html", kind="bad", text=str(error))
    if not htmx:
        return frame.page(request, asker, whole, **shown)
    return frame.partial(request, asker, piece, **shown)


def status(error: errors.TidegateError | None) -> int:
    """What a form is answered with that is shown again: 409 while no change counts, 422 for what is wrong in it."""
    return 200 if error is None else 409 if isinstance(error, errors.ConfigStale) else 422


def change(
    place: places.Place,
    asker: asking.Asker,
    kind: str,
    name: str,
    body: Mapping[str, Any] | None,
    seen: int | None,
) -> editing.Change:
    """Change a part of the configuration, or remove it, and have this process know it at once."""
    made = editing.change(place, asker.name, kind, name, body, seen, via=asker.via, admin=asker.may("admin"))
    place.look()
    return made


def removed(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    kind: str,
    name: str,
    sent: datastructures.FormData,
    onward: tuple[str, str],
) -> responses.Response:
    """Remove a part whose name was typed, and go on at an address with a sentence."""
    typed(sent, name)
    changeable(written(place, kind, name))
    change(place, asker, kind, name, None, version(sent))
    return frame.done(request, *onward)
