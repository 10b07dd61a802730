"""Text as it is written in a configuration, where `${` would be a reference, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def escaped(text: str) -> str:
    """Text as it is written in a configuration, where `${` would be a reference."""
    return text.replace("${", "$${")


def unescaped(text: str) -> str:
    """The other way round."""
    return text.replace("$${", "${")


def deep_escaped(value: Any) -> Any:
    """The same for all text of a document."""
    return _mapped(value, escaped)


def deep_unescaped(value: Any) -> Any:
    """The other way round."""
    return _mapped(value, unescaped)


def _mapped(value: Any, each: Any) -> Any:
    match value:
        case str():
            return each(value)
        case Mapping():
            return {name: _mapped(inner, each) for name, inner in value.items()}
        case list() | tuple():
            return [_mapped(inner, each) for inner in value]
    return value
