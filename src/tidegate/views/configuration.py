"""The configuration as a whole: written as YAML, taken from YAML, and who changed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate import errors
from tidegate.config import document, merging, problems, values, writing
from tidegate.engine import configuration, editing, revisions
from tidegate.engine import place as places
from tidegate.store import database, objects
from tidegate.views import Who

HEAD = """\
What was configured in the browser and by the API, as `tidegate export` wrote it.
`tidegate apply FILE` takes it back. Secrets are named, not told: they stay in the metadata database.
"""
KINDS = merging.KINDS
"""The kinds of parts, each after those that it may refer to."""
KEPT = ("database", "server")
"""What only the file of a place can say: without it nothing else is found."""

GOES_ON = "Until that is mended, everything goes on with what counted before."
"""What a newer configuration that is not valid changes: nothing."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a file would change, checked."""

    edits: tuple[editing.Edit, ...]
    changes: tuple[editing.Change, ...]
    """Those that change something."""
    unchanged: int
    left_out: tuple[str, ...]
    """Sections of the file that do not belong here."""
    unpruned: tuple[str, ...]
    """Parts that the file does not have, and that stay."""

    @property
    def versions(self) -> dict[str, int | None]:
        """The version of each part as it was when this was found out, None of one that was not there."""
        return {each.part: each.version for each in self.edits if each.version != "*"}


def troubles(place: places.Place) -> tuple[str, ...]:
    """What is wrong with a newer configuration, a sentence each, and that the last valid one goes on.

    Empty where the configuration that stands there is the one that counts.
    """
    if not place.problem:
        return ()
    lines = tuple(line if line.endswith(".") else f"{line}." for line in place.problem.splitlines())
    return (*lines, GOES_ON)


def exported(place: places.Place) -> str:
    """What the metadata database keeps, as a file."""
    parts = configuration.parts(objects.state(place.store))
    if not parts:
        return "".join(f"# {line}\n" for line in (*HEAD.splitlines(), "Nothing is configured there yet."))
    return writing.text(parts, HEAD)


def proposed(place: places.Place, file: Path, *, prune: bool = False) -> Proposal:
    """What taking a file in would change; with `prune`, what it does not have is removed.

    Whoever has the file has the server's environment too, so that it may name any `${...}`. Raises ConfigError.
    """
    return _proposed(place, document.read(file, as_written=True), prune=prune, admin=True)


def proposed_text(
    place: places.Place,
    text: str,
    *,
    prune: bool = False,
    admin: bool = False,
    versions: Mapping[str, int | None] | None = None,
) -> Proposal:
    """The same for the text of one, from whoever may not read the server's environment unless an admin.

    With the `versions` of a proposal that was shown before, raises StoreConflict where a part is another by now.
    """
    doc = document.parse(text, "the text", as_written=True)
    return _proposed(place, doc, prune=prune, admin=admin, versions=versions)


def take(
    place: places.Place,
    who: Who,
    found: Proposal,
    *,
    admin: bool = False,
    beside: editing.Beside | None = None,
) -> list[editing.Change]:
    """Make the changes of a proposal, all of them or none; raises StoreConflict where others came before.

    `beside` is called in their transaction, with what is changed.
    """

    def noted(session: database.Session, made: list[editing.Change]) -> None:
        if beside is not None:
            beside(session, _changed(made))

    return _changed(editing.changes(place, who.name, found.edits, via=who.via, admin=admin, beside=noted))


def _changed(made: Sequence[editing.Change]) -> list[editing.Change]:
    return [each for each in made if each.action != "none"]


def _proposed(
    place: places.Place,
    doc: document.Document,
    *,
    prune: bool,
    admin: bool,
    versions: Mapping[str, int | None] | None = None,
) -> Proposal:
    if not isinstance(doc.data, Mapping):
        raise errors.ConfigError(
            f"{doc.source}:1:1: the file must be a mapping: `stripe:`, `warehouses:`, `pulls:`"
        )
    _known(doc, doc.data)
    state = objects.state(place.store)
    kept = {(each.kind, each.name): each.version for each in state.objects if each.kind in merging.KINDS}
    if versions is not None:  # what was made since is not known to whoever was shown them
        names = {problems.dotted(merging.place(*key)): key for key in kept}
        kept = {
            names[part]: version
            for part, version in versions.items()
            if part in names and version is not None
        }
    parts = merging.parts(doc.data)
    edits = [
        editing.Edit(each.kind, each.name, each.body, kept.get((each.kind, each.name))) for each in parts
    ]
    gone = [key for key in kept if key not in {(each.kind, each.name) for each in parts}]
    if prune:
        edits += [editing.Edit(*key, None, kept[key]) for key in gone]
    changes = editing.planned(place, edits, admin=admin)
    changed = tuple(each for each in changes if each.action != "none")
    return Proposal(
        tuple(edits),
        changed,
        len(changes) - len(changed),
        tuple(key for key in KEPT if key in doc.data),
        () if prune else tuple(problems.dotted(merging.place(*key)) for key in gone),
    )


def _known(doc: document.Document, data: Mapping[str, Any]) -> None:
    """Raises ConfigError for what is no part of a configuration, and for what the file itself has wrong."""
    wrong = list(doc.problems)
    for key, section in data.items():
        if key not in (*merging.KINDS, *KEPT):
            wrong.append(((key,), "unknown key" + values.suggestion(key, merging.KINDS)))
        elif key in merging.KINDS and section is not None and not isinstance(section, Mapping):
            wrong.append(((key,), "must be a mapping (`key: value`)"))
        elif key in merging.NAMED and isinstance(section, Mapping):
            wrong += [
                ((key, name), "must be a mapping (`key: value`)")
                for name, body in section.items()
                if body is not None and not isinstance(body, Mapping)
            ]
    if wrong:
        raise errors.ConfigError("\n".join(problems.lines(doc, wrong)))


def parts_of(changes: Sequence[editing.Change]) -> list[str]:
    """Their names: `pulls.everything`."""
    return [revisions.Edit(each.kind, each.name, None, None).part for each in changes]
