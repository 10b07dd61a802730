"""Validation errors as sentences: where in the document, which key, what is wrong, what was probably meant.

A value is repeated only where it is one of few words (`postgress`) and was written in the document itself;
whatever came through `${...}` is never shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic

from tidegate.config import document, values

Problem = tuple[document.Place, str]

_MISSING = ("missing", "extra_forbidden")
_NOTHING = object()


def found(error: pydantic.ValidationError, doc: document.Document, context: values.Context) -> list[Problem]:
    """One problem for each place, in the words of this configuration."""
    problems: dict[document.Place, str] = {}
    for each in error.errors(include_url=False, include_input=False):
        place = _place(each["loc"], doc.data, each["type"])
        if each["type"] == "union_tag_invalid" and _inside(_at(place, doc.data), "type") is not _NOTHING:
            place = (*place, "type")
        shown = place not in doc.filled
        if each["type"] == "too_short" and any(len(other) > len(place) for other in problems):
            # A list whose elements are all wrong counts as empty beside them.
            continue
        problems.setdefault(place, _sentence(each, place, doc.data, context, shown))
    return list(problems.items())


def line(doc: document.Document, problem: Problem) -> str:
    """A problem as a line: `FILE:LINE:COLUMN: key: what`, or `pulls.x in the metadata database: what`."""
    place, what = problem
    kept = doc.kept(place)
    rest = place if kept is None else place[len(kept) :]
    return ": ".join(filter(None, (doc.where(place), dotted(rest), what)))


def lines(doc: document.Document, wrong: Sequence[Problem]) -> list[str]:
    """Problems as lines, those of the file first and in its order."""

    def order(problem: Problem) -> tuple[str, int, int]:
        at, kept = doc.position(problem[0]), doc.kept(problem[0])
        return (dotted(kept) if kept else "", *((0, 0) if kept else (at.line, at.column)))

    return [line(doc, problem) for problem in sorted(wrong, key=order)]


def dotted(place: document.Place) -> str:
    """`pulls.everything.streams.charges`, or `filter.all[0]`."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _place(loc: Sequence[str | int], data: object, kind: str) -> document.Place:
    """The path in the data: pydantic's own steps (union tags, `[key]`) left out, a missing key kept."""
    place: list[str | int] = []
    here = data
    for n, step in enumerate(loc):
        inside = _inside(here, step)
        if inside is not _NOTHING:
            here = inside
        elif not (kind in _MISSING and n == len(loc) - 1):
            continue
        place.append(step)
    return tuple(place)


def _inside(data: object, step: str | int) -> object:
    if isinstance(data, Mapping):
        return data.get(step, _NOTHING)
    if isinstance(data, list) and isinstance(step, int) and step < len(data):
        return data[step]
    return _NOTHING


def _at(place: document.Place, data: object) -> object:
    for step in place:
        data = _inside(data, step)
    return data


def _sentence(
    error: Mapping[str, Any], place: document.Place, data: object, context: values.Context, shown: bool
) -> str:
    kind, said = error["type"], error.get("ctx", {})
    value = _at(place, data)
    word = value if isinstance(value, str) and shown and len(value) <= 40 else ""
    if kind == "extra_forbidden":
        known = context.keys.get(id(_at(place[:-1], data)), ())
        near = values.suggestion(str(place[-1]), known)
        return "unknown key" + (near or f"; known here: {', '.join(known)}")
    if kind == "missing":
        return "this key is missing"
    if kind == "literal_error":
        choices = re.findall("'([^']*)'", str(said["expected"]))
        near = values.suggestion(word, choices) if word else ""
        return "this word is not known here" + near if near else f"must be one of: {', '.join(choices)}"
    if kind == "union_tag_invalid":
        choices = re.findall("'([^']*)'", str(said["expected_tags"]))
        near = values.suggestion(word, choices) if word else ""
        return f"this type is unknown{near or '; known are ' + ', '.join(choices)}"
    if kind == "union_tag_not_found":
        if place[:1] == ("warehouses",) and isinstance(value, Mapping):
            return "`type` is missing, and no `url` that tells it"
        return f"{_form(value)} does not fit here"
    if kind == "string_pattern_mismatch":
        return _pattern(str(said["pattern"]))
    if kind == "value_error":
        return str(said["error"])
    if kind in _FORMS:
        return f"must be {_FORMS[kind]}, not {_form(value)}"
    if kind == "too_short":
        return "must have at least one entry"
    if kind == "string_too_short":
        return "must not be empty"
    message = str(error["msg"])
    for start in ("Input should be ", "Value should have ", "String should have "):
        if message.startswith(start):
            verb = "must be " if start.startswith("Input") else "must have "
            return verb + message.removeprefix(start)
    return message[:1].lower() + message[1:]


_FORMS = {
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "dict_type": "a mapping (`key: value`)",
    "mapping_type": "a mapping (`key: value`)",
    "model_type": "a mapping (`key: value`)",
    "model_attributes_type": "a mapping (`key: value`)",
    "tuple_type": "a list",
    "list_type": "a list",
}


def _form(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, Mapping):
        return "a mapping"
    return "text" if isinstance(value, str) else "a list"


def _pattern(pattern: str) -> str:
    if "acct_" in pattern:
        return "must be an account id such as acct_1AbC"
    if "ca_" in pattern:
        return "must be a client id such as ca_1AbC"
    if r"\d{4}-" in pattern:
        return "must be an API version such as 2026-10-28.endive"
    if pattern.startswith("^[A-Za-z0-9]"):
        return "a name consists of letters, digits, '-' and '_', and begins with a letter or digit"
    return "has characters that cannot stand here"
