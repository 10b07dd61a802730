"""Parts of the configuration on pages: whether one may be changed here, what its form holds, and what was wrong.

What is written in the file is read-only here and says where it is written; everything else is changed with the
version that the form was made of, so that nobody writes over somebody else's change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import fastapi
from starlette import datastructures, requests

from tidegate import errors
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.server import asking, problems
from tidegate.views import forms


async def _sent(request: requests.Request) -> datastructures.FormData:
    return await request.form()


Sent = Annotated[datastructures.FormData, fastapi.Depends(_sent)]
"""A route parameter: everything that a form sent."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A form with what its inputs hold, and what is wrong with them, by their names."""

    fields: Sequence[forms.Field]
    shown: Mapping[str, str]
    wrong: Mapping[str, str] = field(default_factory=dict)
    said: str = ""
    """What is wrong with no input of it."""

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


def version(sent: datastructures.FormData) -> int | None:
    """The version that a form was made of; None for what was not there then."""
    found = text(sent, "_version")
    return int(found) if found.isascii() and found.isdecimal() and len(found) < 19 else None


def written(place: places.Place, kind: str, name: str) -> editing.Object | None:
    """A part of the configuration with its secrets as marks; None where there is none of this name."""
    return editing.get(place, kind, name)


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
    names = {each.name for each in fields}
    kept = forms.shown(fields, before)
    shown = {
        each.name: kept[each.name] if each.input in ("secret", "document") else sent.get(each.name, "")
        for each in fields
    }
    wrong: dict[str, str] = {}
    rest: list[str] = []
    found = [each for each in getattr(error, "problems", ()) if isinstance(each, editing.Problem)]
    for each in found:
        if each.path in names:
            wrong.setdefault(each.path, each.sentence)
        else:
            rest.append(f"{each.path}: {each.sentence}" if each.path else each.sentence)
    said = "; ".join(rest) if found else str(error)
    return Filled(fields, shown, wrong, said)


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
