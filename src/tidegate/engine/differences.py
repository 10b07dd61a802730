"""What is different between two documents, value by value, as people read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Difference:
    """One value: where it stands, and how it was and is; None where there is none."""

    field: str
    before: str | None
    after: str | None


def between(before: Any, after: Any) -> list[Difference]:
    """The values that differ, in the order of the second document and then of the first."""
    was, now = dict(_leaves(before, "")), dict(_leaves(after, ""))
    fields = [*now, *(field for field in was if field not in now)]
    return [
        Difference(field, was.get(field), now.get(field))
        for field in fields
        if was.get(field) != now.get(field)
    ]


def told(value: object) -> str:
    """One value in a line: text as it is, a secret by its last characters, everything else as JSON."""
    if isinstance(value, str):
        return value if value and value == value.strip() and value.isprintable() else json.dumps(value)
    if _is_mark(value):
        assert isinstance(value, Mapping), "a mark is a mapping"
        return f"secret ...{value['last4']}" if value.get("last4") else "secret"
    return json.dumps(value, ensure_ascii=False)


def _is_mark(value: object) -> bool:
    return isinstance(value, Mapping) and value.get("secret") is True and "last4" in value


def _leaves(value: Any, field: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value and not _is_mark(value):
        for key, each in value.items():
            yield from _leaves(each, f"{field}.{key}" if field else str(key))
    elif isinstance(value, list) and any(isinstance(each, Mapping | list) for each in value):
        for n, each in enumerate(value):
            yield from _leaves(each, f"{field}[{n}]")
    elif value is not None or field:
        yield field, told(value)
