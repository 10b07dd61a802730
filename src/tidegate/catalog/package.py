"""The installed `stripe` package, read as text: its endpoints, its resource classes, its event types.

Nothing of it is executed. Classes are found by the import that names them, never by their bare name, for
`Account`, `Card`, `Session`, `Transaction` and others exist more than once.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

SCALARS = frozenset({"str", "int", "float", "bool", "Decimal", "Any", "object"})
LISTS = frozenset({"List", "list", "Sequence"})
MAPS = frozenset({"Dict", "dict", "Mapping", "UntypedStripeObject"})


@dataclass(frozen=True)
class Name:
    """One class of the package: `stripe._invoice`, `Invoice.Parent`."""

    module: str
    path: str


@dataclass(frozen=True)
class Type:
    """What an annotation says, flattened: `Optional[ExpandableField["Customer"]]` is nullable, expandable."""

    nullable: bool = False
    scalars: frozenset[str] = frozenset()
    values: tuple[str, ...] = ()
    classes: tuple[Name, ...] = ()
    expandable: bool = False
    container: str = ""
    """`list`, `map`, or `page` for a list object; the rest then describes the elements."""


@dataclass(frozen=True)
class Member:
    """One annotated attribute of a class, or one key of a parameter dict."""

    name: str
    type: Type
    doc: str
    required: bool = True
    encoding: str = ""
    """`decimal_string` or `int64_string`: a number that travels as a string."""


@dataclass(frozen=True)
class Operation:
    """One method of a service class: an HTTP method and a path, what goes in and what comes out."""

    service: str
    name: str
    method: str
    path: str
    doc: str
    params: Name | None
    returns: Type


def version() -> str:
    """The package's version, `16.1.0`."""
    return _assigned(_module("stripe._version").body, "VERSION")


def api_version() -> str:
    """The API version it was generated from, `2026-10-28.endive`."""
    return _assigned(_class(Name("stripe._api_version", "_ApiVersion")).body, "CURRENT")


def operations() -> tuple[Operation, ...]:
    """Every synchronous method of every service class, in the order of files and lines."""
    found: list[Operation] = []
    for path in sorted(_root().rglob("*_service.py")):
        module = ".".join(("stripe", *path.relative_to(_root()).with_suffix("").parts))
        for cls in _module(module).body:
            if isinstance(cls, ast.ClassDef):
                for method in cls.body:
                    if isinstance(method, ast.FunctionDef):
                        found.extend(_operation(module, cls.name, method))
    return tuple(found)


def event_types() -> tuple[str, ...]:
    """Every snapshot event type, from the parameter that subscribes a webhook endpoint to them."""
    name = Name("stripe.params._webhook_endpoint_create_params", "WebhookEndpointCreateParams")
    enabled = next(member for member in members(name) if member.name == "enabled_events")
    return tuple(sorted(set(enabled.type.values) - {"*"}))


def object_name(name: Name) -> str:
    """What the class's objects call themselves in `object`; empty for a class that is only a part of one."""
    for node in _class(name).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id="OBJECT_NAME"), value=ast.expr() as value):
                return str(ast.literal_eval(value))
    return ""


def doc(name: Name) -> str:
    """The class's docstring, whole."""
    return ast.get_docstring(_class(name)) or ""


@functools.cache
def members(name: Name) -> tuple[Member, ...]:
    """The annotated members of a class in their order, own ones only."""
    node = _class(name)
    encodings = _encodings(node)
    found: list[Member] = []
    for at, statement in enumerate(node.body):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if "ClassVar" in ast.unparse(statement.annotation) or statement.target.id.startswith("_"):
            continue
        found.append(_member(name, statement.target.id, statement.annotation, _doc_after(node.body, at)))
    found.extend(_functional(name, node))
    return tuple(replace(m, encoding=encodings.get(m.name, "")) for m in found)


def event_objects() -> dict[str, Name]:
    """For each thin event of a v1 object, the class that it announces: `charge.refunded` -> Charge."""
    found: dict[str, Name] = {}
    for path in sorted((_root() / "events").glob("_v1_*_event.py")):
        module = f"stripe.events.{path.stem}"
        for cls in _module(module).body:
            if isinstance(cls, ast.ClassDef):
                for method in cls.body:
                    if isinstance(method, ast.FunctionDef) and method.name == "fetch_related_object":
                        kind = _assigned(cls.body, "LOOKUP_TYPE")
                        returns = resolve(method.returns, Name(module, cls.name))
                        if kind and returns.classes:
                            found[kind.removeprefix("v1.")] = returns.classes[0]
    return found


def first_sentence(text: str) -> str:
    """The first sentence of a doc, on one line, links reduced to their text."""
    flat = re.sub(r"\[([^\]]*)\]\([^)\s]*\)?", r"\1", " ".join(text.split()))
    found = re.match(r"(.+?[.!?])(?=\s+[A-Z`*(\[]|\s*$)", flat)
    return found.group(1) if found else flat


def resolve(annotation: ast.expr | None, scope: Name) -> Type:
    """Read an annotation that stands in the class `scope`."""
    match annotation:
        case None:
            return Type()
        case ast.Constant(value=None):
            return Type(nullable=True)
        case ast.Constant(value=str() as text):
            return resolve(ast.parse(text.strip(), mode="eval").body, scope)
        case ast.BinOp(op=ast.BitOr()):
            return _union([resolve(annotation.left, scope), resolve(annotation.right, scope)])
        case ast.Name(id=ident):
            return _named(ident, scope)
        case ast.Attribute():
            return _named(ast.unparse(annotation), scope)
        case ast.Subscript(value=head, slice=inner):
            return _subscript(ast.unparse(head), inner, scope)
    raise LookupError(f"{scope.module}:{scope.path} has an annotation that is not understood: {annotation!r}")


def _subscript(head: str, inner: ast.expr, scope: Name) -> Type:
    if head == "Optional":
        return replace(resolve(inner, scope), nullable=True)
    if head in ("NotRequired", "Required", "ClassVar"):
        return resolve(inner, scope)
    if head == "Union":
        assert isinstance(inner, ast.Tuple)
        return _union([resolve(part, scope) for part in inner.elts])
    if head == "Literal":
        parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        values = [ast.literal_eval(part) for part in parts]
        if all(isinstance(value, bool) for value in values):
            return Type(scalars=frozenset({"bool"}))
        return Type(scalars=frozenset({"str"}), values=tuple(map(str, values)))
    if head == "ExpandableField":
        return replace(resolve(inner, scope), expandable=True)
    if head in LISTS:
        return replace(resolve(inner, scope), container="list", nullable=False)
    if head in ("ListObject", "SearchResultObject"):
        return replace(resolve(inner, scope), container="page", nullable=False)
    if head in MAPS:
        value = inner.elts[-1] if isinstance(inner, ast.Tuple) else inner
        return replace(resolve(value, scope), container="map", nullable=False)
    raise LookupError(f"{scope.module}:{scope.path} has an annotation that is not understood: {head}")


def _union(parts: list[Type]) -> Type:
    containers = [part.container for part in parts if part.container]
    return Type(
        nullable=any(part.nullable for part in parts),
        scalars=frozenset().union(*(part.scalars for part in parts)),
        values=tuple(dict.fromkeys(value for part in parts for value in part.values)),
        classes=tuple(dict.fromkeys(name for part in parts for name in part.classes)),
        expandable=any(part.expandable for part in parts),
        container=containers[0] if containers else "",
    )


def _named(ident: str, scope: Name) -> Type:
    if ident in SCALARS:
        return Type(scalars=frozenset({ident}))
    if ident in MAPS or ident in LISTS:
        return Type(container="map" if ident in MAPS else "list")
    if ident == "None":
        return Type(nullable=True)
    return Type(classes=(find(ident, scope),))


def find(ident: str, scope: Name) -> Name:
    """The class that `ident` names inside `scope`: nested there, in the module, or imported."""
    head, _, rest = ident.partition(".")
    inner = Name(scope.module, f"{scope.path}.{ident}")
    if _has(inner):
        return inner
    own = Name(scope.module, ident)
    if _has(own):
        return own
    imported = _imports(scope.module).get(head)
    if imported is None:
        raise LookupError(f"{scope.module} does not import the {ident} that {scope.path} names")
    target = Name(imported.module, f"{imported.path}.{rest}" if rest else imported.path)
    return target if _has(target) else find(target.path, Name(target.module, ""))


def _operation(module: str, cls: str, method: ast.FunctionDef) -> Iterator[Operation]:
    calls = [node for node in ast.walk(method) if isinstance(node, ast.Call) and _called(node) == "_request"]
    if not calls or len(calls[0].args) < 2:
        return
    call = calls[0]
    url = call.args[1]
    if isinstance(url, ast.Call) and isinstance(url.func, ast.Attribute) and url.func.attr == "format":
        url = url.func.value
    if not isinstance(url, ast.Constant):
        return
    scope = Name(module, cls)
    named = {arg.arg: arg.annotation for arg in (*method.args.posonlyargs, *method.args.args)}
    params = resolve(named["params"], scope).classes if named.get("params") is not None else ()
    yield Operation(
        service=f"{module}:{cls}",
        name=method.name,
        method=str(ast.literal_eval(call.args[0])),
        path=str(url.value),
        doc=ast.get_docstring(method) or "",
        params=params[0] if params else None,
        returns=resolve(method.returns, scope),
    )


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _member(scope: Name, name: str, annotation: ast.expr, text: str) -> Member:
    optional = isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "NotRequired"
    return Member(name=name, type=resolve(annotation, scope), doc=text, required=not optional)


def _functional(name: Name, node: ast.ClassDef) -> Iterator[Member]:
    """Keys that are Python keywords (`in`) stand in a base made by `TypedDict("XBase", {...})`."""
    for base in node.bases:
        if not isinstance(base, ast.Name):
            continue
        for statement in _module(name.module).body:
            if not isinstance(statement, ast.Assign) or ast.unparse(statement.targets[0]) != base.id:
                continue
            if isinstance(statement.value, ast.Call) and isinstance(statement.value.args[1], ast.Dict):
                table = statement.value.args[1]
                for key, value in zip(table.keys, table.values, strict=True):
                    assert key is not None
                    yield _member(name, str(ast.literal_eval(key)), value, "")


def _doc_after(body: list[ast.stmt], at: int) -> str:
    match body[at + 1 : at + 2]:
        case [ast.Expr(value=ast.Constant(value=str() as text))]:
            return " ".join(text.split())
    return ""


def _encodings(node: ast.ClassDef) -> dict[str, str]:
    for statement in node.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "_field_encodings":
            table = ast.literal_eval(statement.value)
            return {key: value for key, value in table.items() if isinstance(value, str)}
    return {}


@functools.cache
def _root() -> Path:
    spec = importlib.util.find_spec("stripe")
    if spec is None or spec.origin is None:
        raise LookupError("the stripe package is not installed; run `./dev setup`")
    return Path(spec.origin).parent


@functools.cache
def _module(module: str) -> ast.Module:
    path = _root().joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text("utf-8"))


@functools.cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    def walk(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield prefix + node.name, node
                yield from walk(node.body, f"{prefix}{node.name}.")

    return dict(walk(_module(module).body, ""))


@functools.cache
def _imports(module: str) -> dict[str, Name]:
    """What a module imports from the package, also under `if TYPE_CHECKING`."""
    body = _module(module).body
    nested = [node for guard in body if isinstance(guard, ast.If) for node in guard.body]
    found: dict[str, Name] = {}
    for node in (*body, *nested):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("stripe"):
            for alias in node.names:
                found[alias.asname or alias.name] = Name(node.module, alias.name)
    return found


def _has(name: Name) -> bool:
    return name.path in _classes(name.module)


def _class(name: Name) -> ast.ClassDef:
    return _classes(name.module)[name.path]


def _assigned(body: list[ast.stmt], name: str) -> str:
    """The string that `name` is set to; empty when it is not."""
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=ast.Constant(value=str() as text)):
                if found == name:
                    return text
    return ""
