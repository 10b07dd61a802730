"""The body of a request: a tree of parameters as a bracketed form, always the same bytes for the same tree.

`{"metadata": {"plan": "pro"}, "items": [{"price": "price_1"}]}` is `items[0][price]=price_1&metadata[plan]=pro`, as
the official clients send it, sorted by name. The bytes are kept with the operation and sent again as they are, so
they may never depend on the order in which somebody named the fields.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib import parse

from tidegate.catalog import writes

Tree = dict[str, Any]
"""Texts, numbers, booleans, lists and trees by name; the empty text removes what is there."""

MOST_DIGITS = 100
"""Written out, for `1e999999999` in somebody's JSON would be a gigabyte."""

_NUMBER = re.compile(r"0|[1-9]\d*")


def encode(tree: Mapping[str, object]) -> bytes:
    """The form, sorted by name at every level; None is left out, and so are empty lists and trees.

    Raises ValueError for an empty name or one with brackets, TypeError for what no form can say.
    """
    form = parse.urlencode(list(_pairs(tree, "")))
    # Brackets stay literal, as in Stripe's own client.
    return form.replace("%5B", "[").replace("%5D", "]").encode()


def decode(body: bytes) -> Tree:
    """The tree of a form, every value a text; what is numbered from 0 without a gap is a list."""
    root: Tree = {}
    for name, value in parse.parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body)):
        head, *rest = re.split(r"\]?\[", name.removesuffix("]"))
        inner = root
        for step, following in zip((head, *rest), rest, strict=False):
            inner = inner.setdefault(step, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{step} of a form is both a value and a tree because of {following}")
        inner[rest[-1] if rest else head] = value
    return {name: _lists(each) for name, each in root.items()}


def tree(of: writes.Object, fields: Mapping[str, object], *, creating: bool = False) -> Tree:
    """Fields by dotted path as the tree of a body; what stands in the address is left out, and so is None.

    Lists and maps may come as JSON text. `creating` leaves out what is empty, for there is nothing to clear yet.
    Otherwise what is empty inside a hash that is replaced whole is left out of it, and a hash of which nothing is
    left is removed. Raises ValueError for a path that the object does not have.
    """
    root: Tree = {}
    emptied: set[str] = set()
    for path in sorted(fields):
        value = fields[path]
        if value is None:
            continue
        field = of.field(path)
        if field is None:
            raise ValueError(f"a {of.name} has no field {path}")
        if field.in_path:
            continue
        value = parsed(field, value)
        if value == "" and creating:
            continue
        if value == "" and field.whole and field.whole != path:
            emptied.add(field.whole)
            continue
        _put(root, steps(of, path), value)
    for whole in emptied:
        if whole not in root:
            root[whole] = ""
    return root


def parsed(field: writes.Field, value: object) -> object:
    """A list, map or hash that came as JSON text; everything else as it is.

    An empty list is the empty text where that clears the field, for a form cannot say it otherwise. Raises
    ValueError when it is no such JSON.
    """
    if field.kind not in ("list", "map", "hash") or value in ("", None):
        return value
    found = _loaded(value) if isinstance(value, str) else value
    if found == [] and field.clearable:
        return ""
    if not isinstance(found, list | tuple if field.kind == "list" else Mapping):
        raise ValueError(f"{field.path} takes a JSON {'list' if field.kind == 'list' else 'object'}")
    return found


def text(value: object) -> str:
    """A scalar as Stripe takes it: `true`, `1000`, `12.5`.

    Raises TypeError for what is no scalar, ValueError for what is no finite number.
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            value = Decimal(repr(value))
    if isinstance(value, Decimal):
        if not math.isfinite(value) or abs(value.adjusted()) > MOST_DIGITS:
            raise ValueError(f"a form has no infinite numbers, no NaN, and none of over {MOST_DIGITS} digits")
        return f"{value:f}"
    raise TypeError(f"a form cannot say a {type(value).__name__}")


def _loaded(value: str) -> object:
    try:
        return json.loads(value, parse_float=Decimal)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _pairs(value: object, name: str) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if isinstance(value, Mapping):
        for key in sorted(value):
            if not key or "[" in key or "]" in key:
                raise ValueError("a name in a form is not empty and holds no square brackets")
            yield from _pairs(value[key], f"{name}[{key}]" if name else key)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for at, each in enumerate(value):
            pairs = list(_pairs(each, f"{name}[{at}]"))
            if not pairs:
                raise ValueError("a list in a form has no empty places")
            yield from pairs
    else:
        yield name, text(value)


def _lists(value: object) -> object:
    if not isinstance(value, dict):
        return value
    inner = {key: _lists(each) for key, each in value.items()}
    if inner and all(_NUMBER.fullmatch(key) for key in inner) and {*map(int, inner)} == {*range(len(inner))}:
        return [inner[str(at)] for at in range(len(inner))]
    return inner


def steps(of: writes.Object, path: str) -> list[str]:
    """The names on the way to a field; a key of metadata may hold dots."""
    parts = path.split(".")
    for cut in range(1, len(parts)):
        parent = of.fields.get(".".join(parts[:cut]))
        if parent is not None and parent.kind == "map" and parent.of != "hash":
            return [*parts[:cut], ".".join(parts[cut:])]
    return parts


def _put(root: Tree, names: Sequence[str], value: object) -> None:
    *before, last = names
    for name in before:
        inner = root.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ValueError(f"{'.'.join(names)} is given beside {name} as a whole")
        root = inner
    root[last] = value
