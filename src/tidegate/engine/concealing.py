"""Secrets in bodies that people send: kept encrypted, named in the body, never shown again but for four characters.

A body comes with plain secrets, with references such as `${STRIPE_API_KEY}`, or with the marks that were shown for
secrets kept before: `{"secret": true, "last4": "...", "name": "..."}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate import errors
from tidegate.config import document, hidden

LEAST = 12
"""Characters that a secret has at least for its last four to be shown."""

Secret = Callable[[str], str]
"""The value of a secret by its name; raises ConfigError or StoreError."""


@dataclass(frozen=True, slots=True)
class Concealed:
    """A body without secrets."""

    body: dict[str, Any]
    fresh: Mapping[str, str] = field(default_factory=dict)
    """Secrets to keep, by name."""
    kept: frozenset[document.Place] = frozenset()
    """Where secrets that were kept before stay as they are."""
    problems: tuple[tuple[document.Place, str], ...] = ()


def conceal(
    kind: str,
    name: str,
    body: Mapping[str, Any],
    old: Mapping[str, Any] | None,
    secret: Secret,
    taken: Collection[str],
) -> Concealed:
    """A body with its secrets named instead of given; `old` is what it takes the place of, `taken` names in use."""
    places = hidden.places(kind, body)
    changes: dict[document.Place, object] = {}
    kept: set[document.Place] = set()
    wrong: list[tuple[document.Place, str]] = []
    before = dict(_named(kind, old or {}))
    for place in places:
        value = hidden.at(body, place)
        if isinstance(value, Mapping):
            meant = _meant(value, place, old or {}, before)
            if meant is None:
                wrong.append((place, "no secret is kept here yet; give its value"))
                meant = ""
            changes[place] = meant
            kept.add(place)
        elif value in before.values() and value == hidden.at(old, place):
            kept.add(place)
    used = {hidden.reference(each) for each in changes.values()}
    fresh: dict[str, str] = {}
    for place in places:
        value = hidden.at(body, place)
        if not isinstance(value, str) or not value.strip() or hidden.references(value):
            continue
        own = hidden.reference(hidden.at(old, place)) or ""
        plain = value.replace("$${", "${")
        if own.startswith("secret:") and own not in used and own.removeprefix("secret:") in before:
            chosen = own.removeprefix("secret:")
            if _same(secret, chosen, plain):
                changes[place] = f"${{secret:{chosen}}}"
                continue
        else:
            chosen = next(each for each in _names(kind, name, place) if each not in {*taken, *fresh})
        fresh[chosen] = plain
        changes[place] = f"${{secret:{chosen}}}"
    done = hidden.replaced(body, changes)
    return Concealed(done, fresh, frozenset(kept), tuple(wrong))


def named(kind: str, name: str, body: Mapping[str, Any]) -> frozenset[str]:
    """The names of the secrets in a body that were kept for it."""
    start = _start(kind, name)
    return frozenset(each for each in dict(_named(kind, body)) if each.startswith(start))


def shown(kind: str, body: Mapping[str, Any], secret: Secret | None = None) -> dict[str, Any]:
    """A body as people may see it: marks instead of secrets.

    What is one reference to the environment or to a file is none, and stays.
    """
    changes: dict[document.Place, object] = {}
    for place in hidden.places(kind, body):
        value = hidden.at(body, place)
        if not isinstance(value, str):
            continue
        reference = hidden.reference(value) or ""
        if reference.startswith("secret:"):
            name = reference.removeprefix("secret:")
            changes[place] = {"secret": True, "last4": _last(name, secret), "name": name}
        elif not reference:
            some = "" if hidden.references(value) else last4(value)
            changes[place] = {"secret": True, "last4": some}
    done: dict[str, Any] = hidden.replaced(body, changes)
    return done


def last4(value: str) -> str:
    """The last four characters of a secret; none where they would tell too much: of a short one, and of an address,
    which may end with a password.
    """
    return "" if len(value) < LEAST or "://" in value else value[-4:]


def _last(name: str, secret: Secret | None) -> str:
    try:
        return "" if secret is None else last4(secret(name))
    except errors.TidegateError:
        return ""


def _same(secret: Secret, name: str, value: str) -> bool:
    try:
        return secret(name) == value
    except errors.TidegateError:
        return False


def _named(kind: str, body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The secrets of the metadata database that a body names, and the text that names each."""
    for place in hidden.places(kind, body):
        value = hidden.at(body, place)
        reference = hidden.reference(value) or ""
        if reference.startswith("secret:") and isinstance(value, str):
            yield reference.removeprefix("secret:"), value


def _meant(
    mark: Mapping[str, Any], place: document.Place, old: Mapping[str, Any], before: Mapping[str, str]
) -> str | None:
    """What a mark stands for: the secret that it names, of those there were, or else what stood at its place."""
    if mark.get("secret") is not True:
        return None
    name = mark.get("name")
    if isinstance(name, str) and name:
        return before.get(name)
    value = hidden.at(old, place)
    return value if isinstance(value, str) else None


def _start(kind: str, name: str) -> str:
    return f"{kind}/{name}/" if name else f"{kind}/"


def _names(kind: str, name: str, place: document.Place) -> Iterator[str]:
    """Names for the secret of a place: `stripe/acme/api_key`, and others where that is in use."""
    first = _start(kind, name) + re.sub(r"[^A-Za-z0-9_.-]", "_", ".".join(map(str, place)))
    yield first
    number = 1
    while True:
        number += 1
        yield f"{first}.{number}"
