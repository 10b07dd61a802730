"""Parts of the configuration as YAML that `document` reads back as exactly the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from tidegate.config import merging

_AMBIGUOUS = re.compile(
    r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
    r"|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)\Z"
)
"""Numbers of YAML 1.2, which `document` reads, that are text in YAML 1.1, which PyYAML writes."""


def text(parts: Sequence[merging.Stored], head: str = "") -> str:
    """A file with these parts, in the order of `merging.KINDS` and of their names; `head` are lines of comment."""
    whole = {
        kind: found
        for kind in merging.KINDS
        if (found := _section(kind, [each for each in parts if each.kind == kind])) is not None
    }
    comment = "".join(f"# {line}".rstrip() + "\n" for line in head.splitlines())
    sections = [_dumped({kind: section}) for kind, section in whole.items()]
    return "\n".join([*filter(None, [comment]), *sections])


def _section(kind: str, parts: Sequence[merging.Stored]) -> object:
    if not parts:
        return None
    if kind in merging.SINGLE:
        return dict(parts[0].body)
    return {each.name: dict(each.body) for each in sorted(parts, key=lambda each: each.name)}


def _dumped(data: object) -> str:
    written: str = yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=2**31
    )
    return written


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML takes for anything but text, and writes scripts line by line."""

    def ignore_aliases(self, _: Any) -> bool:
        """Nothing is an alias of another value."""
        return True


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
    lines = data.split("\n")
    style = None
    if not all(line.isprintable() for line in lines):
        style = '"'  # only there PyYAML writes U+0085 and its like so that they are read again
    elif len(lines) > 1 and not data.startswith((" ", "\n")) and all(line == line.rstrip() for line in lines):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _text)
yaml.add_implicit_resolver("tag:yaml.org,2002:float", _AMBIGUOUS, list("-+.0123456789"), Dumper=_Dumper)
