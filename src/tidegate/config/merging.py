"""The configuration that stands in two places: the file, and what was given in the browser or by the API.

Both are one document: a pull of the one may name a warehouse of the other. Names are unique across both; where both
have one, the file's counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate import errors
from tidegate.config import document

NAMED = ("stripe", "warehouses", "pulls", "pipelines", "models", "pushes")
"""Sections with a name for each of their parts."""
SINGLE = ("customer_model", "alerts")
"""Sections that are one part themselves; its name is empty."""
KINDS = ("stripe", "warehouses", "pulls", "customer_model", "pipelines", "models", "pushes", "alerts")
"""All of them, each after those that it may refer to."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A part of the configuration outside of the file, as it would be written in it."""

    kind: str
    name: str
    body: Mapping[str, Any]

    @property
    def place(self) -> document.Place:
        """Where it would stand: `("pulls", "everything")`, or `("alerts",)`."""
        return place(self.kind, self.name)


def place(kind: str, name: str) -> document.Place:
    """Where a part of the configuration stands in it."""
    return (kind, name) if kind in NAMED else (kind,)


def parts(data: object) -> list[Stored]:
    """The parts that a document has, in the order of `KINDS`; what is no mapping is left out."""
    found: list[Stored] = []
    for kind in KINDS:
        section = data.get(kind) if isinstance(data, Mapping) else None
        if not isinstance(section, Mapping):
            continue
        named = section.items() if kind in NAMED else [("", section)]
        found += [Stored(kind, str(name), {} if body is None else body) for name, body in named]
    return found


def read(
    path: str | os.PathLike[str],
    *,
    environ: Mapping[str, str] | None = None,
    secret: Callable[[str], str] | None = None,
    missing: bool = False,
    as_written: bool = False,
) -> document.Document:
    """The file, or nothing where there may be none; raises ConfigError."""
    if missing and not Path(path).exists():
        return document.Document(os.fspath(path), {}, {}, frozenset())
    doc = document.read(path, environ=environ, secret=secret, as_written=as_written)
    if doc.data is not None and not isinstance(doc.data, dict):
        raise errors.ConfigError(
            f"{doc.source}:1:1: the file must be a mapping: `stripe:`, `warehouses:`, `pulls:`"
        )
    return doc


def has(doc: document.Document, kind: str, name: str) -> bool:
    """Does the file have a part of this name?"""
    section = doc.data.get(kind) if isinstance(doc.data, dict) else None
    if doc.kept(place(kind, name)) is not None:
        return False
    return section is not None if kind in SINGLE else isinstance(section, dict) and name in section


def merged(
    doc: document.Document,
    stored: Sequence[Stored],
    *,
    environ: Mapping[str, str] | None = None,
    secret: Callable[[str], str] | None = None,
) -> document.Document:
    """The file and what is kept outside of it as one document, with a `database`."""
    more = [(each.place, each.body) for each in stored if not has(doc, each.kind, each.name)]
    found = document.merged(doc, more, environ=environ, secret=secret)
    assert isinstance(found.data, dict), "what was merged is a mapping"
    if found.data.get("database") is None:
        found.data["database"] = "sqlite:///tidegate.db"
    return found
