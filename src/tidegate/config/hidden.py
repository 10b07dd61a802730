"""Which values of a part of the configuration are secrets or name files, by the types of the models that read them.

So a field of a new warehouse is a secret as soon as its type says so (`SecretStr`), and nothing has to be listed.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pydantic
from pydantic import Discriminator, SecretStr, Tag

from tidegate import config
from tidegate.config import document, values

Wanted = Callable[[Any, tuple[Any, ...]], bool]
"""Is a value looked for, by its type and what annotates it?"""


def places(kind: str, body: object) -> list[document.Place]:
    """Where secrets stand in the body of a part of the configuration, such as `("api_key",)`, in its order.

    Where it cannot be told which model reads a mapping, a value counts as a secret if any of them says so.
    """
    return list(dict.fromkeys(_found(_type(kind), body, (), _is_secret)))


def files(kind: str, body: object) -> list[document.Place]:
    """The same of values that name a file or a folder of this machine."""
    return list(dict.fromkeys(_found(_type(kind), body, (), _is_file)))


def at(body: object, place: document.Place) -> object:
    """The value at a place, or None."""
    for step in place:
        if isinstance(body, Mapping):
            body = body.get(step)
        elif isinstance(body, list) and isinstance(step, int) and step < len(body):
            body = body[step]
        else:
            return None
    return body


def replaced(body: Any, changes: Mapping[document.Place, object], place: document.Place = ()) -> Any:
    """A copy of a body with other values at some places."""
    if place in changes:
        return changes[place]
    if isinstance(body, Mapping):
        return {key: replaced(value, changes, (*place, key)) for key, value in body.items()}
    if isinstance(body, list):
        return [replaced(value, changes, (*place, n)) for n, value in enumerate(body)]
    return body


def reference(value: object) -> str | None:
    """The name in a value that is one `${NAME}` and nothing else."""
    found = document.references(value) if isinstance(value, str) else []
    return found[0] if len(found) == 1 and value == f"${{{found[0]}}}" else None


def references(body: object) -> frozenset[str]:
    """The names of all `${NAME}` in a body."""
    if isinstance(body, Mapping):
        return frozenset().union(*map(references, body.values()))
    if isinstance(body, list):
        return frozenset().union(*map(references, body))
    return frozenset(document.references(body)) if isinstance(body, str) else frozenset()


def _type(kind: str) -> Any:
    """What reads a part of this kind."""
    annotation = config.Config.model_fields[kind].annotation
    return typing.get_args(annotation)[1] if typing.get_origin(annotation) is Mapping else annotation


def _is_secret(annotation: Any, _: tuple[Any, ...]) -> bool:
    return annotation is SecretStr


def _is_file(_: Any, metadata: tuple[Any, ...]) -> bool:
    return values.ON_DISK in metadata


def _found(annotation: Any, data: object, place: document.Place, wanted: Wanted) -> Iterator[document.Place]:
    metadata: tuple[Any, ...] = ()
    while typing.get_origin(annotation) is typing.Annotated:
        annotation, *more = typing.get_args(annotation)
        metadata += tuple(more)
    if wanted(annotation, metadata):
        if isinstance(data, str | Mapping):
            yield place
        return
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        for each in _chosen(inner, metadata, data):
            yield from _found(each, data, place, wanted)
    elif origin in (Mapping, dict) and isinstance(data, Mapping):
        for key, value in data.items():
            yield from _found(inner[1], value, (*place, key), wanted)
    elif origin in (tuple, list) and isinstance(data, list):
        for n, value in enumerate(data):
            yield from _found(inner[0], value, (*place, n), wanted)
    elif (
        isinstance(annotation, type)
        and issubclass(annotation, pydantic.BaseModel)
        and isinstance(data, Mapping)
    ):
        for name, field in annotation.model_fields.items():
            key = field.alias or name
            if key in data:
                whole = (
                    typing.Annotated[field.annotation, *field.metadata]
                    if field.metadata
                    else field.annotation
                )
                if field.discriminator is not None:
                    whole = typing.Annotated[whole, field.discriminator]
                yield from _found(whole, data[key], (*place, key), wanted)


def _chosen(inner: tuple[Any, ...], metadata: tuple[Any, ...], data: object) -> list[Any]:
    """The one that a discriminator chooses, or all."""
    by = next((each.discriminator for each in metadata if isinstance(each, Discriminator)), None)
    if callable(by):
        choose: Callable[[Any], Any] = by
        tag = choose(data)
        for each in inner:
            if any(isinstance(one, Tag) and one.tag == tag for one in typing.get_args(each)[1:]):
                return [each]
    return list(inner)
