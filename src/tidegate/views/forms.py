"""Forms for parts of the configuration, made of the models that read them: their fields, hints and kinds of input.

A new field of a model is in its form without anything more said here. What a browser sends back is turned into the
body as it would be written in the file.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

Input = Literal["text", "secret", "document", "number", "switch", "select", "lines", "words"]
"""`document` is a secret of several lines, such as a PEM key; `words` one of the options, or a list."""

_REFERENCE = re.compile(r",? best as \$\{[^}]*\}")
"""What a file is better written with, and a form need not: what it is given is kept encrypted."""
CLEARED = ":clear"
"""What follows the name of a secret in the name of the switch that takes it away."""


@dataclass(frozen=True, slots=True)
class Field:
    """One input: `name` is the way to it in the body, such as `ssh.host`; `hint` a sentence."""

    name: str
    label: str
    input: Input
    hint: str = ""
    required: bool = False
    default: str = ""
    options: tuple[str, ...] = ()
    group: str = ""
    """The label of the part that it belongs to, such as `SSH`."""


def fields(model: type[pydantic.BaseModel], *, without: Iterable[str] = ()) -> tuple[Field, ...]:
    """The inputs for a model, in its order, those of its parts after it; `without` are names that are left out."""
    return tuple(_fields(model, "", "", frozenset(without)))


def body(
    known: Iterable[Field], sent: Mapping[str, str], before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a form sent, as a body: empty inputs are left out, and what the form does not have stays as it was.

    A secret that is left empty stays, too, unless the switch beside it takes it away.
    """
    found: dict[str, Any] = {name: _copied(value) for name, value in (before or {}).items()}
    for field in known:
        text = sent.get(field.name, "").strip()
        value: Any = text
        match field.input:
            case "secret" | "document" if not text:
                if sent.get(field.name + CLEARED) != "on":
                    continue
            case "switch":
                value = "" if (text == "on") == (field.default == "true") else text == "on"
            case "number":
                value = _number(text)
            case "lines":
                value = [line.strip() for line in text.splitlines() if line.strip()]
            case "words" if text not in field.options:
                value = [word for word in text.replace(",", " ").split() if word]
            case "select" | "text" | "words" if (
                text == field.default and _at(before or {}, field.name) is None
            ):
                value = ""
            case _:
                pass
        _put(found, field.name, value)
    return found


def shown(known: Iterable[Field], written: Mapping[str, Any]) -> dict[str, str]:
    """What the inputs of a body hold; of a secret its last four characters, after dots."""
    return {field.name: _shown(field, _at(written, field.name)) for field in known}


def _fields(
    model: type[pydantic.BaseModel], prefix: str, group: str, without: frozenset[str]
) -> Iterable[Field]:
    later: list[tuple[type[pydantic.BaseModel], str, str]] = []
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        if key in without:
            continue
        annotation = _bare(field.annotation)
        label = _label(field.alias or name)
        if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
            later.append((annotation, f"{key}.", label))
            continue
        kind, options = _input(annotation)
        if kind == "secret" and "${file:" in (field.description or ""):
            kind = "document"
        hint = _plain(field.description or "")
        if kind in ("secret", "document"):
            hint = f"{_REFERENCE.sub('', hint).strip()} It is kept encrypted."
        default = _default(field)
        yield Field(
            key,
            label,
            kind,
            hint,
            field.is_required() and not group,
            default,
            options if field.is_required() or default or not options else ("", *options),
            group,
        )
    for below, under, of in later:
        yield from _fields(below, under, of, without)


def _default(field: pydantic.fields.FieldInfo) -> str:
    """What a field has where nothing is said, as one would write it."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and isinstance(extra.get("default"), str):
        return str(extra["default"])
    return "" if field.default in (None, PydanticUndefined, ()) else _text(field.default)


def _bare(annotation: Any) -> Any:
    """The type in `Annotated[T, ...] | None`; of a union of several, the union."""
    while True:
        origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is Annotated:
            annotation = inner[0]
        elif origin in (typing.Union, types.UnionType):
            some = [each for each in inner if each is not type(None)]
            if len(some) != 1:
                return annotation
            annotation = some[0]
        else:
            return annotation


def _input(annotation: Any) -> tuple[Input, tuple[str, ...]]:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is SecretStr:
        return "secret", ()
    if annotation is bool:
        return "switch", ()
    if annotation in (int, float):
        return "number", ()
    if origin is Literal:
        return "select", tuple(str(each) for each in inner)
    if origin in (tuple, list):
        return "lines", ()
    if origin in (typing.Union, types.UnionType):
        some = [_input(_bare(each)) for each in inner]
        if any(kind == "secret" for kind, _ in some):
            return "secret", ()
        words = next((options for kind, options in some if kind == "select"), ())
        if words and any(kind == "lines" for kind, _ in some):
            return "words", words
    return "text", ()


_WORDS = {
    "url": "URL",
    "ssh": "SSH",
    "s3": "S3",
    "ca": "CA",
    "api": "API",
    "id": "ID",
    "oauth": "OAuth",
    "ssl": "SSL",
    "smtp": "SMTP",
}


def _label(name: str) -> str:
    words = [_WORDS.get(word, word) for word in name.replace("sslmode", "ssl_mode").split("_")]
    return " ".join(words)[:1].upper() + " ".join(words)[1:]


def _plain(text: str) -> str:
    """A docstring as a hint: names stand in it without backticks."""
    return " ".join(text.replace("`", "").split())


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(text: str) -> int | float | str:
    """A number; text that is none is left for the configuration's own check to judge."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _copied(value: Any) -> Any:
    return {name: _copied(each) for name, each in value.items()} if isinstance(value, Mapping) else value


def _at(written: Mapping[str, Any], name: str) -> Any:
    here: Any = written
    for step in name.split("."):
        here = here.get(step) if isinstance(here, Mapping) else None
    return here


def _put(into: dict[str, Any], name: str, value: Any) -> None:
    """Put a value at its place; an empty one takes it away, and the parts that are empty then."""
    step, _, rest = name.partition(".")
    if not rest:
        if value in ("", []):
            into.pop(step, None)
        else:
            into[step] = value
        return
    below = into.get(step)
    part = dict(below) if isinstance(below, Mapping) else {}
    _put(part, rest, value)
    if part:
        into[step] = part
    else:
        into.pop(step, None)


def _shown(field: Field, value: Any) -> str:
    if value is None:
        return field.default
    if isinstance(value, Mapping):
        return f"…{value.get('last4', '')}" if value.get("secret") else ""
    if field.input in ("secret", "document"):
        return "…"
    if isinstance(value, list | tuple):
        return "\n".join(str(each) for each in value)
    return _text(value)
