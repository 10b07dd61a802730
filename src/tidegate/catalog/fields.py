"""Annotations become columns and parameters: the types, the references, the lists inside an object."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tidegate import catalog
from tidegate.catalog import facts, package

TIME_DOC = re.compile(r"Unix epoch|Unix time|timestamp|epoch seconds", re.IGNORECASE)
TIME_NAME = re.compile(r"(^|_)(created|updated|date|time)$|_(at|on|end|start|before|after|until|from)$")


@dataclass(frozen=True)
class Page:
    """A list object inside a class: its dotted path, its elements, and whether it may be absent."""

    path: str
    classes: tuple[package.Name, ...]
    nullable: bool


def fields(cls: package.Name) -> tuple[catalog.Field, ...]:
    """The columns of a resource class, in the package's order.

    `deleted` is left out: it marks the stub that stands for a deleted object, never a living one.
    """
    owner = package.object_name(cls)
    return tuple(_field(cls, owner, member) for member in package.members(cls) if member.name != "deleted")


def params(cls: package.Name | None) -> tuple[catalog.Param, ...]:
    """The body parameters of a write, `expand` left out."""
    if cls is None:
        return ()
    return tuple(_param(member) for member in package.members(cls) if member.name != "expand")


def pages(cls: package.Name) -> Iterator[Page]:
    """The list objects inside a class, also those within its nested parts, but not within references."""
    yield from _pages(cls, "", frozenset({cls}))


def holds(cls: package.Name, path: str) -> bool:
    """Does the class have this member, `charge` or `payment.charge`?"""
    head, _, rest = path.partition(".")
    found = [member.type.classes for member in package.members(cls) if member.name == head]
    return any(not rest or any(holds(part, rest) for part in classes) for classes in found)


def _pages(cls: package.Name, prefix: str, seen: frozenset[package.Name]) -> Iterator[Page]:
    for member in package.members(cls):
        if member.type.container == "page":
            yield Page(prefix + member.name, member.type.classes, member.type.nullable)
        elif not member.type.container and not member.type.expandable:
            for part in member.type.classes:
                if not package.object_name(part) and part not in seen:
                    yield from _pages(part, f"{prefix}{member.name}.", seen | {part})


def _field(cls: package.Name, owner: str, member: package.Member) -> catalog.Field:
    kind = _type(cls, owner, member)
    references = member.type.classes if kind in ("id", "json") else ()
    return catalog.Field(
        name=member.name,
        type=kind,
        nullable=member.type.nullable,
        expands=tuple(sorted({name for each in references if (name := package.object_name(each))})),
        values=member.type.values if kind == "string" else (),
        doc=package.first_sentence(member.doc),
    )


def _param(member: package.Member) -> catalog.Param:
    values = tuple(value for value in member.type.values if value)
    kind = _type(None, "", member)
    return catalog.Param(
        name=member.name,
        type=kind,
        required=member.required,
        emptyable="" in member.type.values,
        values=() if kind == "json" else values,
    )


def _type(cls: package.Name | None, owner: str, member: package.Member) -> catalog.FieldType:
    kind = member.type
    if kind.container:
        return "json"
    if kind.classes:
        return "id" if kind.expandable else "json"
    if member.encoding == "decimal_string" or "Decimal" in kind.scalars:
        return "decimal"
    if member.encoding == "int64_string":
        return "integer"
    if "int" in kind.scalars:
        return "timestamp" if _is_time(owner, member) else "integer"
    if "float" in kind.scalars:
        return "number"
    if "bool" in kind.scalars:
        return "boolean"
    if kind.scalars & {"Any", "object"}:
        return "json"
    if cls is not None and cls.module.startswith("stripe.v2.") and not kind.values:
        return "timestamp" if TIME_NAME.search(member.name) else "string"
    return "string"


def _is_time(owner: str, member: package.Member) -> bool:
    # terminal.reader's last_seen_at is "measured in milliseconds", alone among all.
    if "milliseconds" in member.doc:
        return False
    if f"{owner}.{member.name}" in facts.TIMES:
        return True
    return bool(TIME_DOC.search(member.doc) or TIME_NAME.search(member.name))
