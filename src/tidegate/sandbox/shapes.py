"""What lies below the top level of every Stripe object: the fields of its hashes, the elements of its arrays.

The catalog knows top-level fields; a local Stripe has to fill the rest. `shapes.json` is derived by `derive()` from
the annotations of the installed `stripe` package and committed; a test says when it has to be written again, with
`python -c "from tidegate.sandbox import shapes; shapes.write()"`.

One notation for a value: `s` string, `i` integer, `n` number, `d` decimal in a string, `b` boolean, `t` unix
seconds, `T` RFC 3339 time, `m` metadata, `=a|b` enumeration, `@charge` reference, `L` list object, `{...}` hash,
`[x]` array of x. A key that begins with `?` may be null or absent.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import itertools
import pathlib
import re
from collections.abc import Mapping
from importlib import resources
from typing import TypeAlias

import msgspec

Shape: TypeAlias = "str | dict[str, Shape] | list[Shape]"
Object: TypeAlias = dict[str, Shape]

DEEPEST = 3
"""Optional hashes below this level are left out: they are the bulk of the package and null in most answers."""

MOST_VALUES = 24

NAMES = {"str": "s", "int": "i", "float": "n", "Decimal": "d", "bool": "b", "Any": "s", "object": "s"}
UNIX = re.compile(r"(?i)unix|timestamp|seconds since|time at which|date (on|when|at)")
UNIX_NAME = re.compile(r"^created$|_at$|^date$|^available_on$|_start$|_end$")


@functools.cache
def load() -> Mapping[str, Object]:
    """Object name -> its shape."""
    data = resources.files(__package__).joinpath("shapes.json").read_bytes()
    found: dict[str, Object] = msgspec.json.decode(data)
    return found


def shape(name: str) -> Object:
    """The shape of an object; empty for one that the package does not describe."""
    return load().get(name, {})


def derive() -> bytes:
    """Read the installed `stripe` package and return what `shapes.json` should hold."""
    spec = importlib.util.find_spec("stripe")
    assert spec is not None, "The stripe package is needed to derive the shapes."
    assert spec.origin is not None, "The stripe package has no folder."
    classes: dict[str, ast.ClassDef] = {}
    for path in sorted(pathlib.Path(spec.origin).parent.rglob("_*.py")):
        if "params" in path.parts or path.name.endswith("_service.py"):
            continue
        for node in ast.parse(path.read_text("utf8")).body:
            if isinstance(node, ast.ClassDef) and (name := _object_name(node)):
                classes.setdefault(name, node)
    names = {node.name: name for name, node in reversed(classes.items())}
    found = {name: _fields(node, (), names) for name, node in sorted(classes.items())}
    return msgspec.json.encode(found) + b"\n"


def write() -> None:
    """Write `shapes.json` anew, from the installed `stripe` package."""
    pathlib.Path(__file__).with_suffix(".json").write_bytes(derive())


def _object_name(node: ast.ClassDef) -> str:
    """The value of `object` that the class declares."""
    for line in node.body:
        named = isinstance(line, ast.AnnAssign) and ast.unparse(line.target) == "object"
        if named and isinstance(line, ast.AnnAssign) and "Literal" in ast.unparse(line.annotation):
            return str(ast.literal_eval(_arguments(line.annotation)[0]))
    return ""


def _fields(node: ast.ClassDef, scope: tuple[ast.ClassDef, ...], names: Mapping[str, str]) -> Object:
    found: Object = {}
    for line, after in itertools.pairwise([*node.body, ast.Pass()]):
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
            continue
        field = line.target.id
        if field.startswith("_") or field == "OBJECT_NAME":
            continue
        optional = ast.unparse(line.annotation).startswith("Optional[")
        value = _value(line.annotation, (*scope, node), names)
        doc = ast.unparse(after) if isinstance(after, ast.Expr) else ""
        if value == "i" and (UNIX.search(doc) or UNIX_NAME.search(field)):
            value = "t"
        elif value == "s" and ("RFC 3339" in doc or field in ("created", "updated")):
            value = "T"
        if value is None or (optional and len(scope) >= DEEPEST and not isinstance(value, str)):
            continue
        found[("?" if optional else "") + re.sub(r"^(from|class)_$", r"\1", field)] = value
    return found


def _value(node: ast.expr, scope: tuple[ast.ClassDef, ...], names: Mapping[str, str]) -> Shape | None:
    """An annotation in the notation above; nothing for what it cannot express."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        node = ast.parse(node.value, mode="eval").body
    if isinstance(node, ast.Name):
        for outer in reversed(scope):
            for inner in outer.body:
                if isinstance(inner, ast.ClassDef) and inner.name == node.id:
                    return _fields(inner, scope, names)
        if node.id == "Amount":  # the one hash that v2 objects share: stripe/v2/_amount.py
            return {"currency": "s", "value": "i"}
        return NAMES.get(node.id) or ("@" + names[node.id] if node.id in names else None)
    if not isinstance(node, ast.Subscript):
        return None
    arguments = _arguments(node)
    match ast.unparse(node.value):
        case "Optional" | "ExpandableField" | "Union":
            return _value(arguments[0], scope, names)
        case "List":
            element = _value(arguments[0], scope, names)
            return None if element is None else [element]
        case "Literal":
            values = [ast.literal_eval(one) for one in arguments]
            return "b" if values == [True] else "=" + "|".join(map(str, values[:MOST_VALUES]))
        case "ListObject":
            return "L"
        case "UntypedStripeObject" | "Dict":
            return "m"
    return None


def _arguments(node: ast.expr) -> tuple[ast.expr, ...]:
    assert isinstance(node, ast.Subscript), "An annotation with arguments was expected."
    return tuple(node.slice.elts) if isinstance(node.slice, ast.Tuple) else (node.slice,)
