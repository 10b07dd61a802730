"""What a change of the configuration comes to: planned and checked with everything else, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tidegate import config, errors
from tidegate.config import document, hidden, merging, problems
from tidegate.engine import bounds, concealing, configuration
from tidegate.store import database, objects, secrets

Seen = int | Literal["*"] | None
"""The version that somebody saw: of nothing None, `*` for whatever is there."""
LARGEST = 500_000
"""Characters of a body."""
DEEPEST = 50
"""Levels of values in values."""

Action = Literal["create", "change", "delete", "none"]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and with which value of a body; the place is empty for all of it, or where it is elsewhere."""

    place: document.Place
    sentence: str
    part: str = ""
    """The part of the configuration whose body it is: `pulls.everything`."""

    @property
    def path(self) -> str:
        """The place as it is written: `streams.charges.columns[2]`."""
        return problems.dotted(self.place)

    @property
    def message(self) -> str:
        """The sentence, as whatever answers requests calls it."""
        return self.sentence

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.part, self.path, self.sentence)))


@dataclass(frozen=True, slots=True)
class Edit:
    """A change that is asked for: another body, or None to remove it.

    `version` is the one that was seen, None where there was none.
    """

    kind: str
    name: str
    body: Mapping[str, Any] | None
    version: Seen

    @property
    def part(self) -> str:
        """`pulls.everything`, or `alerts`."""
        return problems.dotted(merging.place(self.kind, self.name))


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done for an edit; bodies `before` and `after` are as people may see them."""

    edit: Edit
    old: objects.Object | None
    """What it takes the place of."""
    action: Action
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    body: Mapping[str, Any] | None
    """What is to be kept."""
    fresh: Mapping[str, str]
    """Secrets to keep, by name."""
    stale: frozenset[str]
    """Secrets to forget."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """An edit, what it takes the place of, and its body without secrets."""

    edit: Edit
    old: objects.Object | None
    new: concealing.Concealed | None


def written(path: Path | None) -> document.Document:
    """The file as it is written, `${...}` and all; nothing where there may be none."""
    return merging.read(path or config.DEFAULT_FILE, missing=path is None, as_written=True)


def planned(
    path: Path | None,
    store: database.Database,
    state: objects.State,
    edits: Sequence[Edit],
    site: config.Site | None,
    *,
    admin: bool = False,
    counts: bool = True,
) -> list[Step]:
    """What the edits come to in this state; raises StoreConflict, and ConfigError with every `Problem`.

    `site` is what the file says of who writes it from elsewhere. Where the edits are to count, raises ConfigStale
    for a configuration that is not valid and in which they mend nothing.
    """
    doc, secret = written(path), configuration.opener(store)
    ground = bounds.Ground.of(path, store, site)
    taken = set(secrets.names(store))
    wrong: list[Problem] = []
    drafts: list[_Draft] = []
    for edit in edits:
        old, new = _seen(doc, state, edit), None
        if edit.body is not None:
            _storable(edit)
            was = None if old is None else old.body
            new = concealing.conceal(edit.kind, edit.name, edit.body, was, secret, taken)
            taken |= set(new.fresh)
            wrong += [Problem(place, what, edit.part) for place, what in new.problems]
            wrong += _bounded(edit, edit.body, was, new, ground, admin)
        drafts.append(_Draft(edit, old, new))
    after = _after(state, drafts)
    fresh = {name: value for each in drafts if each.new for name, value in each.new.fresh.items()}
    told = {(each.part, each.place) for each in wrong}
    judged, left = _judged(path, store, state, after, edits, fresh)
    for each in judged:
        if (each.part, each.place) not in told:
            wrong.append(each)
    if wrong:
        raise errors.ConfigError("\n".join(map(str, wrong)), wrong)
    if left and counts:
        raise errors.ConfigStale(f"The configuration is not valid, and nothing was changed: {left}")
    used = hidden.references(doc.data) | hidden.references([dict(each.body) for each in after])
    now = configuration.opener(store, fresh)
    return [_step(each, secret, now, used) for each in drafts]


def _seen(doc: document.Document, state: objects.State, edit: Edit) -> objects.Object | None:
    """What an edit takes the place of; raises ConfigError and StoreConflict where it may not."""
    if edit.kind not in merging.KINDS or (edit.kind in merging.SINGLE and edit.name):
        raise errors.ConfigError(f"There is nothing like {edit.kind} {edit.name} to configure.")
    old = state.get(edit.kind, edit.name)
    if merging.has(doc, edit.kind, edit.name) and (edit.body is not None or old is None):
        line = doc.position(merging.place(edit.kind, edit.name)).line
        raise errors.ConfigError(f"{edit.part} is written in {doc.source} (line {line}); change it there.")
    if old is None and edit.version == "*":
        raise errors.StoreConflict(f"There is no {edit.part}.")
    if old is None and edit.version is not None:
        raise errors.StoreConflict(f"{edit.part} was removed meanwhile; look at it again.")
    if old is not None and edit.version is None:
        raise errors.StoreConflict(f"There is {edit.part} already; choose another name, or change that one.")
    if old is not None and isinstance(edit.version, int) and edit.version != old.version:
        said = f"{edit.part} was changed by {old.changed_by} since you looked at it; look at it again."
        raise errors.StoreStale(said, edit.version)
    return old


def _storable(edit: Edit) -> None:
    """Raises ConfigError for what is no document of JSON, or too much of one."""
    try:
        text = json.dumps(edit.body, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (ValueError, TypeError, RecursionError):
        what = "this holds what JSON cannot: a number that is none, half a character, or values without end"
        raise errors.ConfigError(f"{edit.part}: {what}", [Problem((), what, edit.part)]) from None
    if len(text) > LARGEST or _depth(edit.body, 0) > DEEPEST:
        what = f"more than {LARGEST:,} characters, or more than {DEEPEST} levels"
        raise errors.ConfigError(f"{edit.part}: {what}", [Problem((), what, edit.part)])


def _depth(value: object, so_far: int) -> int:
    if so_far > DEEPEST or not isinstance(value, Mapping | list):
        return so_far
    inner = value.values() if isinstance(value, Mapping) else value
    return max((_depth(each, so_far + 1) for each in inner), default=so_far + 1)


def _bounded(
    edit: Edit,
    body: Mapping[str, Any],
    old: Mapping[str, Any] | None,
    new: concealing.Concealed,
    ground: bounds.Ground,
    admin: bool,
) -> Iterator[Problem]:
    """What may not be written from elsewhere than the file, or only by an admin."""
    told = [*bounds.addresses(edit.kind, body, old, ground)]
    if not admin:
        told += bounds.references(edit.kind, body, old, new)
        told += bounds.identities(edit.kind, body, old)
        told += bounds.files(edit.kind, body, old, ground)
    for place, what in told:
        yield Problem(place, what, edit.part)


def _after(state: objects.State, drafts: Sequence[_Draft]) -> list[merging.Stored]:
    """What the metadata database keeps afterwards."""
    bodies = {(each.kind, each.name): each for each in configuration.parts(state)}
    for each in drafts:
        key = (each.edit.kind, each.edit.name)
        if each.new is not None:
            bodies[key] = merging.Stored(*key, each.new.body)
        else:
            bodies.pop(key, None)
    return list(bodies.values())


def _judged(
    path: Path | None,
    store: database.Database,
    state: objects.State,
    after: Sequence[merging.Stored],
    edits: Sequence[Edit],
    fresh: Mapping[str, str],
) -> tuple[list[Problem], str]:
    """What is wrong with the whole afterwards: everything inside of the edits, and elsewhere what is new.

    And what was wrong before and stays so, in a sentence, unless something else of it is mended.
    """
    doc, wrong = configuration.wrong(path, after, configuration.opener(store, fresh))
    if not wrong:
        return [], ""
    parts = {merging.place(each.kind, each.name): each.part for each in edits if each.body is not None}
    before, known = configuration.wrong(path, configuration.parts(state), configuration.opener(store))
    lines = set(problems.lines(before, known))
    found: list[Problem] = []
    left: list[str] = []
    for place, what in wrong:
        own = doc.kept(place)
        if own in parts:
            assert own is not None, "it is among them"
            found.append(Problem(place[len(own) :], what, parts[own]))
        elif (line := problems.line(doc, (place, what))) not in lines:
            found.append(Problem((), line))
        else:
            left.append(line)
    return found, left[0] if left and len(left) == len(lines) else ""


def _step(draft: _Draft, before: concealing.Secret, after: concealing.Secret, used: frozenset[str]) -> Step:
    edit, old, new = draft.edit, draft.old, draft.new
    stale = frozenset[str]()
    if old is not None:
        kept = concealing.named(edit.kind, edit.name, old.body)
        stale = frozenset(name for name in kept if f"secret:{name}" not in used)
    action: Action = "change"
    if new is None:
        action = "none" if old is None else "delete"
    elif old is None:
        action = "create"
    elif old.body == new.body and not new.fresh:
        action = "none"
    return Step(
        edit,
        old,
        action,
        None if old is None else concealing.shown(edit.kind, old.body, before),
        None if new is None else concealing.shown(edit.kind, new.body, after),
        None if new is None else new.body,
        {} if new is None else new.fresh,
        stale,
    )
