"""One value against one field: its type, its choices, its length and its shape.

The sentences never hold the value, which may be somebody's name or address.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from tidegate.catalog import writes
from tidegate.push import forms

Action = Literal["create", "update", "any"]
"""`any`: it is not known yet which it will be, so only what both would refuse is wrong."""

LATEST = 253_402_300_799
"""The last second of the year 9999."""

_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,30}(\.\d{1,12})?", re.ASCII)
_SECONDS = re.compile(r"\d{1,12}", re.ASCII)


def wrong(field: writes.Field, action: Action, value: object) -> str:
    """What is wrong with a value for this field, in a sentence; empty when nothing is.

    None says nothing and is never wrong, the empty text clears. A list, map or hash may come as JSON text.
    """
    if value is None:
        return ""
    if value == "":
        needed = field.required_on_create if action == "create" else field.required_on_update
        if field.clearable and not needed:
            return ""
        return f"{field.path} cannot be empty; give a value, or leave it out."
    if field.kind in ("list", "map", "hash"):
        return _wrong_tree(field, action, value)
    try:
        text = forms.text(value)
    except (TypeError, ValueError):
        return f"{field.path} must be {_wanted(field, action)}."
    if text in field.values(action):
        return ""
    if not _CHECKS[field.kind](text):
        return f"{field.path} must be {_wanted(field, action)}."
    return _wrong_string(field, text) if field.kind == "string" else _wrong_number(field, action, text)


def wrong_key(field: writes.Field, path: str, key: str) -> str:
    """What is wrong with the key of a value in a map, if anything."""
    if not key or "[" in key or "]" in key:
        return f"{path} cannot be sent: a key is not empty and holds no square brackets."
    if is_metadata(field) and len(key) > writes.METADATA_KEY_LENGTH:
        return f"{path}: a key of metadata has at most {writes.METADATA_KEY_LENGTH} characters."
    return ""


def is_metadata(field: writes.Field) -> bool:
    """Is it metadata, of the object or of an element of it?"""
    return field.kind == "map" and field.path.rpartition(".")[2] == "metadata"


def too_many(path: str) -> str:
    """More metadata than Stripe takes."""
    return (
        f"{path} would have more than the {writes.METADATA_KEYS} keys that Stripe takes; clear some of them."
    )


def _wrong_string(field: writes.Field, text: str) -> str:
    if field.max_length and len(text) > field.max_length:
        return f"{field.path} is longer than the {field.max_length:,} characters that Stripe takes."
    if "\0" in text:
        return f"{field.path} holds a NUL character, which Stripe refuses."
    if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
        return f"{field.path} holds half a character, which cannot be sent as UTF-8."
    if field.pattern and not _compiled(field.pattern).fullmatch(text):
        return f"{field.path} must be {field.shape}."
    return ""


def _wrong_number(field: writes.Field, action: Action, text: str) -> str:
    if not field.positive and field.least is None and field.most is None:
        return ""
    number = Decimal(text)
    small = (field.positive and number <= 0) or (
        field.least is not None and number < Decimal(repr(field.least))
    )
    large = field.most is not None and number > Decimal(repr(field.most))
    return f"{field.path} must be {_wanted(field, action)}." if small or large else ""


def _wrong_tree(field: writes.Field, action: Action, value: object) -> str:
    try:
        found = forms.parsed(field, value)
    except ValueError:
        return f"{field.path} must be a {'list' if field.kind == 'list' else 'JSON object'}; this is no such JSON."
    if field.kind == "hash":
        return f"{field.path} is written by its members; map {field.path}.NAME instead."
    if found == "":
        return ""
    if isinstance(found, list | tuple):
        if field.max_items and len(found) > field.max_items:
            return f"{field.path} takes up to {field.max_items} elements."
        if not found:
            return f"{field.path} {_EMPTY_LIST}"
        elements = [(f"{field.path}.{at}", each) for at, each in enumerate(found)]
    else:
        assert isinstance(found, Mapping)  # the other thing that parsed gives
        if is_metadata(field) and len(found) > writes.METADATA_KEYS:
            return too_many(field.path)
        elements = [(f"{field.path}.{key}", each) for key, each in found.items()]
        keys = (wrong_key(field, f"{field.path}.{key}", key) for key in found)
        if sentence := next(filter(None, keys), ""):
            return sentence
    return next(filter(None, (_wrong_element(field, action, path, each) for path, each in elements)), "")


def _wrong_element(field: writes.Field, action: Action, path: str, value: object) -> str:
    """One element of a list, or one value of a map."""
    if value is None:
        return f"{path} must not be null."
    if field.of == "hash":
        return _wrong_hash(field.fields, action, path, value)
    metadata = is_metadata(field)
    element = writes.Field(
        path=path,
        kind=field.of or "string",
        enum=field.enum,
        enum_on_update=field.enum_on_update,
        clearable=metadata,
        max_length=writes.METADATA_VALUE_LENGTH if metadata else 0,
    )
    return wrong(element, action, value)


def _wrong_hash(fields: Mapping[str, writes.Field], action: Action, path: str, value: object) -> str:
    if not isinstance(value, Mapping):
        return f"{path} must be a JSON object."
    flat = dict(_flat(value, fields, ""))
    if all(each is None or each in ({}, []) for each in flat.values()):
        return f"{path} must not be empty."
    for name, each in flat.items():
        inner = fields.get(name)
        if inner is None or not inner.writable(action):
            return f"{path} has no field {name} that could be written."
        named = msgspec.structs.replace(inner, path=f"{path}.{name}")
        if each == []:
            return f"{named.path} {_EMPTY_LIST}"
        if sentence := wrong(named, action, each):
            return sentence
    for name, inner in fields.items():
        parent = name.rpartition(".")[0]
        asked = not parent or any(each.startswith(f"{parent}.") for each in flat)
        there = flat.get(name) is not None or any(each.startswith(f"{name}.") for each in flat)
        if needed(inner, action) and asked and not there:
            return f"{path} needs its {name}."
    return ""


def needed(field: writes.Field, action: Action) -> bool:
    """Is it required then?"""
    return {"create": field.required_on_create, "update": field.required_on_update}.get(action, False)


def _flat(
    value: Mapping[str, object], fields: Mapping[str, writes.Field], prefix: str
) -> Iterator[tuple[str, object]]:
    """The leaves of an element by dotted path; lists and maps among them stay whole."""
    for key, each in value.items():
        known = fields.get(f"{prefix}{key}")
        if isinstance(each, Mapping) and known is not None and known.kind == "hash":
            yield from _flat(each, fields, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", each


def _wanted(field: writes.Field, action: Action) -> str:
    """What a value must be, in words."""
    values = field.values(action)
    if field.kind == "enum":
        return _either(values)
    text = _NAMES[field.kind]
    if field.positive:
        text += " above 0"
    if field.least is not None:
        text += f" of at least {field.least:g}"
    if field.most is not None:
        text += f"{' and' if field.positive or field.least is not None else ''} up to {field.most:g}"
    return f"{text}, or {_either(values)}" if values else text


def _either(values: Sequence[str]) -> str:
    if len(values) > 12:
        return f"one of the {len(values)} values that Stripe lists, such as {values[0]}"
    return f"{', '.join(values[:-1])} or {values[-1]}" if len(values) > 1 else values[0]


_EMPTY_LIST = "is an empty list, which a form cannot say; leave it out, or give an empty text to clear it."


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


_NAMES: dict[str, str] = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number without an exponent",
    "decimal": "a number with up to 12 decimal places",
    "boolean": "true or false",
    "timestamp": "a time in unix seconds",
}

_CHECKS: dict[str, Callable[[str], object]] = {
    "string": lambda _: True,
    "enum": lambda _: False,
    "integer": _INTEGER.fullmatch,
    "number": _NUMBER.fullmatch,
    "decimal": _DECIMAL.fullmatch,
    "boolean": lambda text: text in ("true", "false"),
    "timestamp": lambda text: _SECONDS.fullmatch(text) and int(text) <= LATEST,
}
