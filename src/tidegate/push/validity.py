"""Whether Stripe would take a row: every field against what the object takes, before a request is spent on it.

A problem is one sentence about one field that a person can act on. It never holds the value, which may be
somebody's name or address.

A value is text as Stripe takes it (`true`, `1000`, unix seconds), or a list; None says nothing about the field, and
the empty text clears it. Lists and maps may also come as JSON text.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tidegate import catalog
from tidegate.catalog import writes
from tidegate.push import forms, values

Action = values.Action


@dataclass(frozen=True, order=True)
class Problem:
    """What is wrong with one field."""

    field: str
    sentence: str


def check(
    of: writes.Object,
    action: Action,
    fields: Mapping[str, object],
    existing: Mapping[str, Any] | None = None,
) -> list[Problem]:
    """Every problem of one row, sorted by field; empty when Stripe should take it.

    `existing` is the object as Stripe returned it: with it the keys of its metadata are counted, and what a hash
    that is replaced whole has already need not be given again. Without it an update is checked as far as the fields
    alone tell.
    """
    given = {path: value for path, value in fields.items() if value is not None}
    found = [Problem(path, s) for path, value in given.items() if (s := _wrong(of, action, path, value))]
    return sorted({*found, *_together(of, action, given, existing)})


def refusal(of: writes.Object, action: Action, path: str) -> str:
    """Why this field cannot be written then, whatever its value; empty when it can."""
    return _refusal(of.name, action, path)


@functools.lru_cache(maxsize=4_096)
def _refusal(name: str, action: Action, path: str) -> str:
    of = writes.load()[name]
    field = of.field(path)
    if field is None:
        return _stranger(of, path)
    if field.why_not:
        return f"{path} of {_a(of)} is not written: {field.why_not}."
    if path not in of.fields and (sentence := _wrong_key(of, path)):
        return sentence
    if field.writable(action):
        return ""
    if not (of.updatable if action == "update" else of.creatable):
        return f"{_a(of).capitalize()} is never {action}d by a push; {_how(of)}."
    if action == "update":
        return f"{path} can be set only while {_a(of)} is created, and never changes after that."
    return f"{path} cannot be set while {_a(of)} is created, only afterwards."


def _wrong(of: writes.Object, action: Action, path: str, value: object) -> str:
    refused = _refusal(of.name, action, path)
    field = of.fields.get(path) or of.field(path)
    return refused if refused or field is None else values.wrong(field, action, value)


# What the fields of a row say together.


def _together(
    of: writes.Object, action: Action, given: Mapping[str, object], existing: Mapping[str, Any] | None
) -> Iterator[Problem]:
    """What is missing, what excludes one another, and whether the metadata has room."""
    for path in given:
        parent = next((each for each in _above(path) if each in given), None)
        if parent is not None and of.field(path) is not None:
            yield Problem(path, f"{path} is given beside {parent} as a whole; map only one of them.")
    if action == "any":
        return
    for path in _required(of.name, action):
        if _is_asked(of.fields[path], action, given, existing) and not _has(of.fields[path], given, existing):
            yield Problem(path, _missing(of, path))
    for rule in of.rules:
        if action in rule.actions and _applies(rule, given, existing):
            now = [path for path in rule.fields if _is_given(given, path)]
            there = [path for path in rule.fields if path in now or _at(existing, path) not in _NOTHING]
            known = action == "create" or existing is not None
            if (known and len(there) < rule.least) or (rule.most is not None and len(now) > rule.most):
                yield Problem((now or rule.fields)[0], rule.sentence)
    yield from _room(of, given, existing)


_NOTHING: tuple[object, ...] = (None, "", {}, [])


@functools.lru_cache(maxsize=64)
def _required(name: str, action: Action) -> tuple[str, ...]:
    return tuple(path for path, each in writes.load()[name].fields.items() if values.needed(each, action))


def _is_asked(
    field: writes.Field, action: Action, given: Mapping[str, object], existing: Mapping[str, Any] | None
) -> bool:
    """Does a required field have to be there? A member only when its hash is sent."""
    parent = field.path.rpartition(".")[0]
    if not parent:
        return action == "create" or field.path in given
    if field.whole and action == "update" and existing is None:
        return False
    return given.get(parent) != "" and _is_given(given, parent)


def _has(field: writes.Field, given: Mapping[str, object], existing: Mapping[str, Any] | None) -> bool:
    """Is it given, or will it be sent again because its hash is sent whole?"""
    if field.path in given or _is_given(given, field.path):
        return True  # an empty text is a problem of its own
    return bool(field.whole) and _at(existing, field.path) not in _NOTHING


def _is_given(given: Mapping[str, object], path: str) -> bool:
    """Does the field, or one of its members, get a value?"""
    if path in given:
        return given[path] != ""
    return any(each.startswith(f"{path}.") and value != "" for each, value in given.items())


def _applies(rule: writes.Rule, given: Mapping[str, object], existing: Mapping[str, Any] | None) -> bool:
    return all(_holds(given, existing, *each) for each in rule.when.items()) and not any(
        _holds(given, existing, *each) for each in rule.unless.items()
    )


def _holds(given: Mapping[str, object], existing: Mapping[str, Any] | None, path: str, wanted: str) -> bool:
    found = given[path] if path in given else _at(existing, path)
    if found in _NOTHING or isinstance(found, list | dict):
        return False
    return wanted == "*" or forms.text(found) == wanted


def _room(
    of: writes.Object, given: Mapping[str, object], existing: Mapping[str, Any] | None
) -> Iterator[Problem]:
    """No more than 50 keys of metadata, those counted that the object has and keeps."""
    if not of.metadata or given.get("metadata") == "":
        return
    new = {
        path.removeprefix("metadata."): each for path, each in given.items() if path.startswith("metadata.")
    }
    try:
        whole = forms.parsed(of.fields["metadata"], given.get("metadata"))
    except ValueError:
        return
    new.update(whole if isinstance(whole, Mapping) else {})
    had = (existing or {}).get("metadata") or {}
    kept = {key for key in had if new.get(key) != ""} | {
        key for key, each in new.items() if each not in ("", None)
    }
    if len(kept) > writes.METADATA_KEYS:
        yield Problem("metadata", values.too_many("metadata"))


def _at(existing: Mapping[str, Any] | None, path: str) -> Any:
    """What the object has there, if anything."""
    found: Any = existing
    for step in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(step)
    return found


def _above(path: str) -> Iterator[str]:
    parts = path.split(".")
    return (".".join(parts[:cut]) for cut in range(1, len(parts)))


# Sentences.


def _stranger(of: writes.Object, path: str) -> str:
    """A field that the object does not take."""
    stream = catalog.load().streams.get(of.stream)
    head = path.partition(".")[0]
    if stream is not None and head not in of.fields and head in {each.name for each in stream.fields}:
        return f"{path} of {_a(of)} is set by Stripe alone and cannot be written."
    near = difflib.get_close_matches(path, list(of.fields), n=1, cutoff=0.75)
    hint = f"; did you mean {near[0]}?" if near else "."
    return f"{_a(of).capitalize()} has no field {path} that could be written{hint}"


def _missing(of: writes.Object, path: str) -> str:
    parent = path.rpartition(".")[0]
    return (
        f"{parent} is never sent without {path}; map it too."
        if parent
        else f"{_a(of).capitalize()} needs {path}."
    )


def _wrong_key(of: writes.Object, path: str) -> str:
    """Of a field that is the value of a map."""
    parent = next(
        of.fields[each] for each in _above(path) if each in of.fields and of.fields[each].kind == "map"
    )
    rest = path.removeprefix(f"{parent.path}.")
    return values.wrong_key(parent, path, rest if parent.of != "hash" else rest.partition(".")[0])


def _how(of: writes.Object) -> str:
    """What can be done instead."""
    return "only updated" if of.updatable else "only created"


def _a(of: writes.Object) -> str:
    return f"{'an' if of.name[0] in 'aeiou' else 'a'} {of.name}"
