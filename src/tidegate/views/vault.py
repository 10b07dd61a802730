"""Secrets that the configuration names: which there are and what uses them; their values are never told."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from tidegate import errors, views
from tidegate.config import hidden, merging, problems
from tidegate.engine import grants, live, revisions
from tidegate.engine import place as places
from tidegate.store import database, objects, secrets, trail

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,127}")
LONGEST = 100_000
"""Characters of a secret."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A secret: its name, when it was set (unix seconds), and the parts of the configuration that name it."""

    name: str
    changed_at: float
    used_by: tuple[str, ...]


def listed(place: places.Place) -> list[Kept]:
    """All secrets, by name."""
    used: dict[str, list[str]] = {}
    path = place.written.path if isinstance(place.written, live.Live) else None
    parts = merging.parts(revisions.written(path).data) if isinstance(place.written, live.Live) else []
    parts += [merging.Stored(each.kind, each.name, each.body) for each in objects.state(place.store).objects]
    for part in parts:
        for reference in hidden.references(part.body):
            if reference.startswith("secret:"):
                used.setdefault(reference.removeprefix("secret:"), []).append(problems.dotted(part.place))
    for name, each in place.file.stripe.items():
        if each.oauth is not None:
            used.setdefault(grants.secret(name), []).append(problems.dotted(("stripe", name)))
    names = secrets.names(place.store)
    return [Kept(name, at, tuple(sorted(set(used.get(name, ()))))) for name, at in names.items()]


def keep(place: places.Place, who: views.Who, name: str, value: str) -> bool:
    """Keep a secret under a name, in place of what was there; is it a new one? Raises ConfigError."""
    new = put(place.store, who, name, value)
    place.look()
    return new


def put(store: database.Database, who: views.Who, name: str, value: str) -> bool:
    """The same without a configuration to be read again."""
    if not NAME.fullmatch(name):
        raise errors.ConfigError(
            "a secret's name is of letters, digits and _ . / - and begins with one of the first two"
        )
    if not value:
        raise errors.ConfigError("the secret is empty; nothing was changed")
    if len(value) > LONGEST:
        raise errors.ConfigError(f"a secret has {LONGEST:,} characters at the most; nothing was changed")
    vault, line = secrets.vault(store), trail.new_id()

    def work(session: database.Session) -> bool:
        new = session.one("SELECT name FROM secrets WHERE name = :name", {"name": name}) is None
        vault.keep(session, name, value)
        objects.bump(session)
        trail.note(session, who.name, _action(new), f"secrets.{name}", via=who.via, line_id=line)
        return new

    return store.transact(work)


def rotate(store: database.Database, who: views.Who) -> int:
    """Encrypt all secrets with the newest key; says how many. Raises ConfigError where there is one key only."""
    given = os.environ.get(secrets.VARIABLE, "")
    if given and "," not in given:
        raise errors.ConfigError(
            f"{secrets.VARIABLE} holds one key; put a new one (`tidegate secret key`) before it, with a comma "
            "between, and rotate then"
        )
    line = trail.new_id()

    def noted(session: database.Session, count: int) -> None:
        after = {"secrets": count}
        trail.note(session, who.name, "rotate", "secrets", after=after, via=who.via, line_id=line)

    return secrets.rotate(store, beside=noted)


def forget(place: places.Place, who: views.Who, name: str) -> None:
    """Forget a secret; raises Unknown where there is none, Refused while something names it."""
    found = next((each for each in listed(place) if each.name == name), None)
    if found is None:
        raise views.Unknown(f"There is no secret {name}.")
    if found.used_by:
        raise views.Refused(f"{', '.join(found.used_by)} would be without {name}; change that first.")
    remove(place.store, who, name)
    place.look()


def remove(store: database.Database, who: views.Who, name: str) -> bool:
    """Forget a secret, whoever names it; was it there?"""
    line = trail.new_id()

    def work(session: database.Session) -> bool:
        there = session.execute("DELETE FROM secrets WHERE name = :name RETURNING name", {"name": name})
        if there:
            objects.bump(session)
            trail.note(session, who.name, "delete", f"secrets.{name}", via=who.via, line_id=line)
        return bool(there)

    return store.transact(work)


def _action(new: bool) -> str:
    return "create" if new else "change"
