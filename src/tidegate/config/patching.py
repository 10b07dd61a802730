"""Keys of one mapping in a YAML or JSON text given other values, while all else stays as it is, byte for byte.

What is found is where the text says it: a mapping that is written in blocks gets blocks, one in braces gets braces.
Comments stay, but for those inside of a value that is replaced.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tidegate import errors

INDENT = 2
"""Spaces by which what is written anew goes deeper."""

Pair = tuple[yaml.ScalarNode, yaml.Node]
Edit = tuple[int, int, str]
"""From where to where in the text, and what stands there then."""


@dataclass(frozen=True, slots=True)
class Block:
    """A key with its value in a text: from its first character to after its last."""

    start: int
    end: int


def replaced(text: str, place: Sequence[str], values: Mapping[str, Any]) -> str:
    """The text in which keys of the mapping at a place have these values; None takes a key out.

    Raises ConfigError where the mapping, or what would be replaced, is not written there but an alias of something
    else.
    """
    for name, value in values.items():
        start, end, told = _edit(text, place, name, value)
        text = text[:start] + told + text[end:]
    _found(text, place)
    return text


def _edit(text: str, place: Sequence[str], name: str, value: Any) -> Edit:
    mapping = _found(text, place)[1]
    if not isinstance(mapping, yaml.MappingNode):
        raise errors.ConfigError(f"{'.'.join(place)} is no mapping, so that nothing in it can be replaced.")
    there = {str(key.value): (key, each) for key, each in mapping.value if isinstance(key, yaml.ScalarNode)}
    if name not in there:
        return (0, 0, "") if value is None else _added(text, mapping, list(there.values()), name, value)
    key, before = there[name]
    if _is_alias(key, before):
        raise errors.ConfigError(
            f"{'.'.join((*place, name))} in line {key.start_mark.line + 1} is an alias of what stands elsewhere; "
            "write it out there, or change it by hand."
        )
    if value is None:
        return _deleted(text, mapping, there[name])
    return _changed(text, mapping, there[name], value)


def block(text: str, place: Sequence[str]) -> Block:
    """Where a key stands with its value; raises ConfigError where it does not, or is an alias."""
    key, value = _found(text, place)
    return Block(key.start_mark.index, max(_end(text, value), key.end_mark.index))


def told(text: str, place: Sequence[str]) -> str:
    """A key with its value, and a comment behind it, as they are written, without the indentation around them."""
    where = block(text, place)
    rest = text[where.end : _line_end(text, where.end)]
    end = where.end + (len(rest) if rest.lstrip().startswith("#") else 0)
    line = text.rfind("\n", 0, where.start) + 1
    column = where.start - line
    return textwrap.dedent(" " * column + text[where.start : end]).replace("\r\n", "\n") + "\n"


def dumped(value: Any) -> str:
    """A value as YAML in blocks, that this product reads as just that value."""
    found: str = yaml.dump(
        _escaped(value),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=100,
    )
    return found.removesuffix("...\n")


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 would not read as text, and writes text of several lines in lines."""

    def ignore_aliases(self, _: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless  # a list stands deeper than its key
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
for _tag, _pattern in (
    ("int", re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")),
    ("float", re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")),
):
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list("-+.0123456789"))


def _escaped(value: Any) -> Any:
    """A value in which no text names a variable."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, Mapping):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(each) for each in value]
    return value


def _flow(value: Any) -> str:
    """A value in braces, as YAML and JSON read it alike."""
    return json.dumps(_escaped(value), ensure_ascii=False)


def _found(text: str, place: Sequence[str]) -> Pair:
    """The key at a place, and its value."""
    pair: Pair | None = None
    try:
        # A raw tab cannot stand inside a JSON string, and YAML does not indent with tabs.
        node = yaml.compose(text.replace("\t", " "), Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        raise errors.ConfigError(
            f"{'.'.join(place)} cannot be replaced in place, since something else is an alias of what stands "
            "there; change it by hand."
        ) from None
    for step in place:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        pair = next((each for each in pairs if each[0].value == step), None)
        if pair is None or _is_alias(*pair):
            raise errors.ConfigError(
                f"{'.'.join(place)} is not written out in the file, so that nothing in it can be replaced; change "
                "it by hand."
            )
        node = pair[1]
    assert pair is not None, "A place has steps."
    return pair


def _is_alias(key: yaml.Node, value: yaml.Node) -> bool:
    """What an alias stands for is written before it."""
    return value.start_mark.index < key.end_mark.index


def _end(text: str, node: yaml.Node) -> int:
    """Where a value ends: after its last character that is no space and no comment."""
    mark = int(node.end_mark.index)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return len(text[:mark].rstrip())
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return mark
    last = node.value[-1]
    key, value = last if isinstance(last, tuple) else (node, last)
    if value.start_mark.index < key.start_mark.index:  # an alias, of which only the line is known
        return _line_end(text, key.end_mark.index) if key is not node else len(text[:mark].rstrip())
    return max(_end(text, value), key.end_mark.index if key is not node else 0)


def _line_end(text: str, at: int) -> int:
    """The end of a line, before its break."""
    found = text.find("\n", at)
    found = len(text) if found < 0 else found
    return found - 1 if text[found - 1 : found] == "\r" else found


def _changed(text: str, mapping: yaml.MappingNode, pair: Pair, value: Any) -> Edit:
    key, before = pair
    start, end = key.end_mark.index, max(_end(text, before), key.end_mark.index)
    if mapping.flow_style:
        colon = text.index(":", start)
        return (
            (before.start_mark.index, end, _flow(value))
            if end > colon + 1
            else (colon, end, f": {_flow(value)}")
        )
    line = _line_end(text, start)
    told = _after_key(text, value, key.start_mark.column)
    if "\n" not in told:
        return start, end, f":{told}"
    if before.start_mark.index > line:
        first, told = text.rfind("\n", 0, before.start_mark.index) + 1, told.partition("\n")[2]
        return first, _line_end(text, end), told
    comment = text[end : _line_end(text, end)] if told.startswith(("\r", "\n")) else ""
    return start, _line_end(text, end), f":{comment}{told}"


def _deleted(text: str, mapping: yaml.MappingNode, pair: Pair) -> Edit:
    key, value = pair
    start, end = key.start_mark.index, max(_end(text, value), key.end_mark.index)
    if not mapping.flow_style:
        first, line = text.rfind("\n", 0, start) + 1, text.find("\n", _line_end(text, end))
        return first, len(text) if line < 0 else line + 1, ""
    after = re.compile(r"\s*,[ \t]*").match(text, end)
    if after is not None:
        return start, after.end(), ""
    comma = text.rfind(",", 0, start)
    opened = mapping.start_mark.index + 1
    return (comma if comma > opened else opened), end, ""


def _added(text: str, mapping: yaml.MappingNode, there: Sequence[Pair], name: str, value: Any) -> Edit:
    if mapping.flow_style:
        told = f'"{name}": {_flow(value)}'
        if not there:
            return mapping.start_mark.index + 1, mapping.start_mark.index + 1, told
        end = max(_end(text, there[-1][1]), there[-1][0].end_mark.index)
        return end, end, f", {told}"
    column, (key, last) = there[0][0].start_mark.column, there[-1]
    end = _line_end(
        text, key.end_mark.index if _is_alias(key, last) else max(_end(text, last), key.end_mark.index)
    )
    return end, end, f"{_break(text)}{' ' * column}{name}:{_after_key(text, value, column)}"


def _after_key(text: str, value: Any, column: int) -> str:
    """What stands after the colon of a key in blocks."""
    if not isinstance(value, list | dict) or not value:
        inner = dumped({"k": value}).removeprefix("k:").rstrip("\n")
        return inner.replace("\n", _break(text) + " " * column)
    inner = textwrap.indent(dumped(value).rstrip("\n"), " " * (column + INDENT))
    return _break(text) + inner.replace("\n", _break(text))


def _break(text: str) -> str:
    """How the lines of a text end."""
    return "\r\n" if "\r\n" in text else "\n"
