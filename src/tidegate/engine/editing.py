"""Changing the configuration while it runs: what the file has is read only, everything else is kept in the
metadata database.

A change is checked together with the whole configuration, and is one transaction: the objects, their secrets, and
the lines of the audit log, all of them or none. Of two who change the same object the second is told so, and
nothing of the first one's is lost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tidegate import errors
from tidegate.config import document, merging
from tidegate.engine import concealing, configuration, live, proving, revisions
from tidegate.engine import place as places
from tidegate.engine.revisions import Edit, Problem, Seen
from tidegate.store import database, secrets, trail
from tidegate.store import objects as stored

__all__ = [
    "Change",
    "Edit",
    "Object",
    "Problem",
    "Seen",
    "change",
    "changes",
    "check",
    "get",
    "objects",
    "planned",
    "showing",
    "shown",
]

TRIES = 50
"""Changes of others in between after which one gives up."""


@dataclass(frozen=True, slots=True)
class Object:
    """A part of the configuration as it is written; its secrets are references or marks."""

    kind: str
    name: str
    """Empty where there is only one of its kind."""
    origin: Literal["file", "store"]
    version: int
    """Of its last change; 0 for what stands in the file."""
    body: Mapping[str, Any]
    line: int = 0
    """Where in the file it stands."""
    changed_at: float = 0.0
    """Unix seconds."""
    changed_by: str = ""
    shadowed: bool = False
    """It does not count, since the file has a part of its name."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change that was made; bodies as people may see them."""

    kind: str
    name: str
    action: revisions.Action
    version: int
    """The version that it has now; 0 where it is gone."""
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    changed_at: float = 0.0
    """When the change that made this version was, in unix seconds; 0 where none was made."""
    changed_by: str = ""


Beside = Callable[[database.Session, list[Change]], None]
"""Notes something in the transaction of changes."""


def objects(place: places.Place) -> list[Object]:
    """All parts of the configuration, in the order in which one may refer to another."""
    if not isinstance(place.written, live.Live):
        return []
    doc, state = _document(place), stored.state(place.store)
    found = [
        Object(
            each.kind,
            each.name,
            "file",
            0,
            concealing.shown(each.kind, each.body),
            line=doc.position(each.place).line,
        )
        for each in merging.parts(doc.data)
    ]
    found += [
        Object(
            each.kind,
            each.name,
            "store",
            each.version,
            each.body,
            changed_at=each.changed_at,
            changed_by=each.changed_by,
            shadowed=merging.has(doc, each.kind, each.name),
        )
        for each in state.objects
        if each.kind in merging.KINDS
    ]
    return sorted(found, key=lambda each: (merging.KINDS.index(each.kind), each.name, each.origin))


def get(place: places.Place, kind: str, name: str = "") -> Object | None:
    """The part of this name that counts."""
    found = (each for each in objects(place) if (each.kind, each.name) == (kind, name))
    return next((each for each in found if not each.shadowed), None)


def shown(place: places.Place, found: Object) -> dict[str, Any]:
    """Its body as people may see it, with the last four characters of its secrets."""
    return showing(place)(found)


def showing(place: places.Place) -> Callable[[Object], dict[str, Any]]:
    """The same for many of them."""
    secret = configuration.opener(place.store)

    def show(found: Object) -> dict[str, Any]:
        body = found.body
        return dict(body) if found.origin == "file" else concealing.shown(found.kind, body, secret)

    return show


def check(place: places.Place, kind: str, name: str, body: object, *, admin: bool = False) -> list[Problem]:
    """What is wrong with a body, alone and together with everything else; nothing is changed."""
    if not isinstance(body, Mapping):
        return [Problem((), "must be a mapping (`key: value`)")]
    state = stored.state(place.store)
    kept = state.get(kind, name)
    edit = Edit(kind, name, body, None if kept is None else kept.version)
    try:
        revisions.planned(
            _path(place), place.store, state, [edit], place.file.server, admin=admin, counts=False
        )
    except errors.ConfigError as error:
        return [each for each in error.problems if isinstance(each, Problem)] or [Problem((), str(error))]
    return []


def change(
    place: places.Place,
    who: str,
    kind: str,
    name: str,
    body: Mapping[str, Any] | None,
    version: Seen,
    *,
    via: str = "",
    admin: bool = False,
) -> Change:
    """Make, change, or remove (None) a part of the configuration; `version` is the one that was seen, None of none.

    Only an admin may write new `${...}`, and keep a secret that goes to another address. Raises StoreConflict
    where the version is not the last one, ConfigError with its `problems` where it is not valid or in the file, or
    is a pipeline whose saved cases come out differently; ConfigStale where the configuration is not valid as it is,
    so that no change would count.
    """
    [made] = changes(place, who, [Edit(kind, name, body, version)], via=via, admin=admin)
    return made


def planned(place: places.Place, edits: Sequence[Edit], *, admin: bool = False) -> list[Change]:
    """What edits would change; nothing is. Raises as `change`."""
    path = _counting(place)
    state = stored.state(place.store)
    plan = revisions.planned(path, place.store, state, edits, place.file.server, admin=admin)
    proving.prove(path, place.store, state, plan)
    return [_made(step, _Done(0, 0.0), who="") for step in plan]


def changes(
    place: places.Place,
    who: str,
    edits: Sequence[Edit],
    *,
    via: str = "",
    admin: bool = False,
    beside: Beside | None = None,
) -> list[Change]:
    """The same for several parts, checked together: all changes are made, or none.

    `beside` is called in their transaction, with what they make.
    """
    path, lines = _counting(place), [trail.new_id() for _ in edits]
    for attempt in range(TRIES):
        state = stored.state(place.store)
        plan = revisions.planned(path, place.store, state, edits, place.file.server, admin=admin)
        if all(step.action == "none" for step in plan):
            return [_made(step, _Done(0, 0.0), who) for step in plan]
        if attempt == 0:
            proving.prove(path, place.store, state, plan)
        work = _Work(place.store, state.generation, plan, lines, who, via, beside)
        try:
            done = place.store.transact(work)
        except errors.StoreConflict:
            continue  # something else was changed meanwhile, beside which this may be wrong
        with contextlib.suppress(errors.StoreError):
            place.look()
        return [_made(step, done, who) for step in plan]
    raise errors.StoreConflict("Others change the configuration all the time; try again.")


@dataclass(frozen=True, slots=True)
class _Done:
    """What came of a transaction: the generation, which is the version of all that it changed, and when it was."""

    number: int
    at: float


@dataclass(frozen=True, slots=True)
class _Work:
    """Writes the steps of a plan, in one transaction."""

    store: database.Database
    seen: int
    plan: Sequence[revisions.Step]
    lines: Sequence[str]
    who: str
    via: str
    beside: Beside | None

    def __call__(self, session: database.Session) -> _Done:
        todo = [each for each in zip(self.lines, self.plan, strict=True) if each[1].action != "none"]
        if trail.noted(session, todo[0][0]):  # it was committed, and the answer lost
            return _Done(self.seen + 1, session.now())
        number, at = stored.advance(session, self.seen), session.now()
        for line, step in todo:
            edit = step.edit
            if step.fresh:
                vault = secrets.vault(self.store)
                for name, value in step.fresh.items():
                    vault.keep(session, name, value)
            for name in step.stale:
                session.execute("DELETE FROM secrets WHERE name = :name", {"name": name})
            if step.body is None:
                stored.remove(session, edit.kind, edit.name)
            else:
                at = stored.put(session, edit.kind, edit.name, step.body, number, self.who)
            trail.note(
                session, self.who, step.action, edit.part, step.before, step.after, via=self.via, line_id=line
            )
        done = _Done(number, at)
        if self.beside is not None:
            self.beside(session, [_made(step, done, self.who) for step in self.plan])
        return done


def _made(step: revisions.Step, done: _Done, who: str) -> Change:
    version, at = 0 if step.action == "delete" else done.number, done.at
    if step.action == "none":
        version, at, who = (0, 0.0, "") if step.old is None else _stamp(step.old)
    return Change(step.edit.kind, step.edit.name, step.action, version, step.before, step.after, at, who)


def _stamp(old: stored.Object) -> tuple[int, float, str]:
    return old.version, old.changed_at, old.changed_by


def _counting(place: places.Place) -> Path | None:
    """The file of a place, beside which a change counts; raises ConfigStale where it cannot be read any more."""
    path = _path(place)
    with contextlib.suppress(errors.StoreError):
        place.look()
    assert isinstance(place.written, live.Live), "it has a file"
    if place.written.gone:
        raise errors.ConfigStale(f"Nothing can be changed now: {place.problem}")
    try:
        revisions.written(path)
    except errors.ConfigError as error:
        raise errors.ConfigStale(
            f"The configuration is not valid, and nothing was changed: {error}"
        ) from None
    return path


def _document(place: places.Place) -> document.Document:
    """The file as it is written; while it cannot be read, as it was the last time that it could."""
    path = _path(place)
    try:
        return revisions.written(path)
    except errors.ConfigError:
        assert isinstance(place.written, live.Live), "it has a file"
        if place.written.document is None:
            raise
        return place.written.document


def _path(place: places.Place) -> Path | None:
    """The file of a place; raises ConfigError where its configuration is given once and for all."""
    if not isinstance(place.written, live.Live):
        raise errors.ConfigError("This configuration was given to the process, and cannot be changed in it.")
    return place.written.path
