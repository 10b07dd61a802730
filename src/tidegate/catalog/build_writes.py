"""Writes `writes.json` from the installed `stripe` package: part of `python -m tidegate.catalog.build`.

Every field, its type, whether it may be emptied and when it can be sent is read off the parameters of the package's
create and update methods; `write_facts.py` adds what Stripe says elsewhere. The output is made to be diffed.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from tidegate import catalog
from tidegate.catalog import build, fields, package, stated, streams, write_facts, writes

COMMITTED = Path(__file__).with_name("writes.json")
LENGTH = re.compile(r"up to \*?(\d+) characters", re.IGNORECASE)
ITEMS = re.compile(r"\bup to (\d+)\b(?! characters)", re.IGNORECASE)


def run(*, check: bool, file: Path = COMMITTED) -> int:
    """Write the file, or say how the committed one differs; the exit code."""
    derived = derive()
    if not check:
        file.write_bytes(build.lines(derived))
        print(f"{file}: {len(derived.objects)} objects of stripe {derived.package}")
        return 0
    found = differences(file.read_bytes() if file.exists() else b"", derived)
    for line in found:
        print(line)
    if found:
        print(f"{file} is not what stripe {derived.package} gives: run `./dev catalog`, review it.")
    return 1 if found else 0


def differences(committed: bytes, derived: writes.Writes) -> list[str]:
    """What to know before taking the derived objects over, one finding per line; empty when equal."""
    if committed == build.lines(derived):
        return []
    try:
        old = msgspec.json.decode(committed, type=writes.Writes)
    except msgspec.DecodeError as error:
        return [f"the committed writes cannot be read: {error}"]
    found = [
        f"{part}: {getattr(old, part)} -> {getattr(derived, part)}"
        for part in ("package", "api_version")
        if getattr(old, part) != getattr(derived, part)
    ]
    for name in sorted({*old.objects, *derived.objects}):
        before, after = old.objects.get(name), derived.objects.get(name)
        if before is None or after is None:
            found.append(f"object {name}: {'new' if before is None else 'gone'}")
        elif before != after:
            found.extend(_changes(name, before, after))
    return found or ["the same content in another form"]


@functools.cache
def derive() -> writes.Writes:
    """Every object that `write_facts` names, from the installed package.

    Raises LookupError for a fact about something that the package does not have, or has by itself.
    """
    operations = {(each.method, each.path): each for each in package.operations()}
    return writes.Writes(
        package=package.version(),
        api_version=package.api_version(),
        objects={name: _object(name, facts, operations) for name, facts in write_facts.OBJECTS.items()},
    )


def _object(
    name: str, facts: stated.Facts, operations: Mapping[tuple[str, str], package.Operation]
) -> writes.Object:
    known = {
        "create": operations.get(("post", facts.path)),
        "update": _single(facts.path, "post", operations),
        "delete": _single(facts.path, "delete", operations),
    }
    actions = {action: known[action] for action in facts.actions}
    stream = streams.derive().streams[facts.stream] if facts.stream else None
    found = dict(_fields(_params(actions, "create"), _params(actions, "update"), "", facts.only))
    for path, told in facts.fields.items():
        for fact in told:
            found = _told(found, path, fact, f"{name}.{path}")
    return writes.Object(
        name=name,
        object=facts.object,
        docs=facts.docs,
        operations=_operations(name, actions, found, facts),
        fields={**_placed(actions), **found},
        keys=facts.keys,
        stream=facts.stream,
        permission=facts.permission or _permission(stream),
        aliases=facts.aliases,
        rules=tuple(_checked(rule, found, name) for rule in facts.rules),
        events=_events(stream),
        money=facts.money,
        replacement=facts.replacement,
        note=facts.note,
    )


def _single(
    path: str, method: str, operations: Mapping[tuple[str, str], package.Operation]
) -> package.Operation | None:
    """The operation on one object of a list's path."""
    one = re.compile(re.escape(path) + r"/\{\w+\}")
    return next(
        (each for (verb, at), each in operations.items() if verb == method and one.fullmatch(at)), None
    )


def _params(
    actions: Mapping[writes.Action, package.Operation | None], action: writes.Action
) -> package.Name | None:
    operation = actions.get(action)
    return operation.params if operation else None


def _operations(
    name: str,
    actions: Mapping[writes.Action, package.Operation | None],
    found: Mapping[str, writes.Field],
    facts: stated.Facts,
) -> dict[writes.Action, writes.Operation]:
    operations: dict[writes.Action, writes.Operation] = {}
    for action, operation in actions.items():
        if operation is None:
            raise LookupError(f"the package has no way to {action} a {name}")
        effect, source = facts.effects.get(action, ("", ""))
        method: Literal["post", "delete"] = "delete" if operation.method == "delete" else "post"
        operations[action] = writes.Operation(
            method=method, path=operation.path, effect=effect, source=source
        )
    active = found.get("active")
    if active is not None and active.writable("update"):
        operations["archive"] = writes.Operation(
            method="post", path=operations["update"].path, body={"active": "false"}
        )
    return operations


def _placed(actions: Mapping[writes.Action, package.Operation | None]) -> dict[str, writes.Field]:
    """What the address of a create needs: the customer that a tax id belongs to."""
    create = actions.get("create")
    names = re.findall(r"\{(\w+)\}", create.path) if create else []
    return {
        name: writes.Field(
            path=name,
            kind="string",
            on_create=True,
            required_on_create=True,
            in_path=True,
            doc=f"Its {name}.",
        )
        for name in names
    }


def _permission(stream: catalog.Stream | None) -> str:
    return stream.permission.removesuffix("_read") + "_write" if stream else ""


def _events(stream: catalog.Stream | None) -> tuple[str, ...]:
    if stream is None:
        return ()
    return tuple(sorted({*stream.events.created, *stream.events.updated, *stream.events.deleted}))


def _fields(
    create: package.Name | None, update: package.Name | None, prefix: str, only: tuple[str, ...] = ()
) -> Iterator[tuple[str, writes.Field]]:
    """The members of both classes, and those of hashes among them, by dotted path."""
    sides = tuple(
        {each.name: each for each in package.members(cls)} if cls else {} for cls in (create, update)
    )
    kinds = {param.name: param for cls in (update, create) for param in fields.params(cls)}
    for name in sorted({*sides[0], *sides[1]} - ({"expand"} if not prefix else set())):
        first, second = sides[0].get(name), sides[1].get(name)
        if only and name not in only:
            refused = f"only {' and '.join(only)} of it is written"
            yield name, _field(name, first, second, kinds[name], refused)
            continue
        own = _field(f"{prefix}{name}", first, second, kinds[name], "")
        yield own.path, own
        if own.kind == "hash":
            yield from _fields(_part(first), _part(second), f"{own.path}.")


def _field(
    path: str,
    create: package.Member | None,
    update: package.Member | None,
    param: catalog.Param,
    why_not: str,
) -> writes.Field:
    last = update or create
    assert last is not None
    kind, of = _kind(last, param)
    enums = [tuple(v for v in each.type.values if v) if each else () for each in (create, update)]
    elements = dict(_fields(_part(create), _part(update), "")) if of == "hash" and not why_not else {}
    limit, items = LENGTH.search(last.doc), ITEMS.search(last.doc) if kind == "list" else None
    return writes.Field(
        path=path,
        kind=kind,
        of=of,
        fields=elements,
        enum=enums[0] if create else enums[1],
        enum_on_update=enums[1] if create and update and enums[0] != enums[1] else (),
        clearable="" in last.type.values,
        on_create=create is not None,
        on_update=update is not None,
        required_on_create=create is not None and create.required,
        required_on_update=update is not None and update.required,
        max_length=int(limit[1]) if limit and kind == "string" else 0,
        max_items=int(items[1]) if items else 0,
        why_not=why_not,
        doc=package.first_sentence(last.doc),
    )


def _part(member: package.Member | None) -> package.Name | None:
    if member is None or not member.type.classes:
        return None
    if len(member.type.classes) > 1:
        raise LookupError(f"{member.name} may be one of several hashes, which is not understood")
    return member.type.classes[0]


def _kind(member: package.Member, param: catalog.Param) -> tuple[writes.Kind, writes.Kind | None]:
    """What it is, and what its elements are."""
    told = member.type
    scalar: writes.Kind = "enum" if any(told.values) else "string"
    if told.container:
        if told.scalars - {"str"}:
            raise LookupError(f"{member.name} is a list of {sorted(told.scalars)}, which is not understood")
        return ("map" if told.container == "map" else "list"), "hash" if told.classes else scalar
    if told.classes:
        return "hash", None
    match param.type:
        case "integer" | "number" | "decimal" | "boolean" | "timestamp":
            return param.type, None
        case "string":
            return scalar, None
    raise LookupError(f"{member.name} is {param.type}, which is not understood")


def _told(
    found: dict[str, writes.Field], path: str, fact: stated.Fact, where: str
) -> dict[str, writes.Field]:
    """The fields with one fact added to the one that it is about."""
    outer, mark, inner = path.partition("[].")
    old = found.get(outer)
    if old is None:
        raise LookupError(f"a fact is about {where}, which the package does not have")
    if mark:
        new = msgspec.structs.replace(old, fields=_told(old.fields, inner, fact, where))
        return {**found, outer: new}
    changes = {name: value for name, value in _changed(old, fact).items() if getattr(old, name) != value}
    if not changes:
        raise LookupError(f"the package itself says of {where} what a fact says")
    sources = tuple(dict.fromkeys((*old.sources, fact.source)))
    found = {**found, outer: msgspec.structs.replace(old, **changes, sources=sources)}
    if fact.whole:
        members = {name: each for name, each in found.items() if name.startswith(f"{outer}.")}
        found.update({name: _wholly(each, outer) for name, each in members.items()})
    return {
        name: each for name, each in found.items() if not fact.why_not or not name.startswith(f"{outer}.")
    }


def _changed(old: writes.Field, fact: stated.Fact) -> dict[str, object]:
    same = {
        "max_length",
        "max_items",
        "pattern",
        "shape",
        "caseless",
        "only_from",
        "least",
        "most",
        "positive",
        "why_not",
    }
    changes = {
        each.name: value
        for each in dataclasses.fields(fact)
        if each.name in same and (value := getattr(fact, each.name)) not in (None, "", 0, False)
    }
    changes |= {name: value for name in ("least", "most") if (value := getattr(fact, name)) is not None}
    if fact.clearable:
        changes["clearable"] = True
    if fact.time:
        changes["kind"] = "timestamp"
    if fact.whole:
        changes["whole"] = old.path
    if fact.required:
        changes |= {"required_on_create": old.on_create, "required_on_update": old.on_update}
    if fact.why_not:
        changes["fields"] = {}
    return changes


def _wholly(member: writes.Field, whole: str) -> writes.Field:
    """A member of a hash that is replaced whole: what is optional is cleared by leaving it out."""
    optional = not (member.required_on_create or member.required_on_update)
    return msgspec.structs.replace(member, whole=whole, clearable=member.clearable or optional)


def _checked(rule: writes.Rule, found: Mapping[str, writes.Field], name: str) -> writes.Rule:
    for path in (*rule.fields, *rule.when, *rule.unless):
        if path not in found:
            raise LookupError(f"a rule is about {name}.{path}, which the package does not have")
    return rule


def _changes(name: str, before: writes.Object, after: writes.Object) -> Iterator[str]:
    for path in sorted({*before.fields, *after.fields}):
        old, new = before.fields.get(path), after.fields.get(path)
        if old is None or new is None:
            yield f"{name}.{path}: {'new' if old is None else 'gone'}"
        elif old != new:
            parts = [part for part in old.__struct_fields__ if getattr(old, part) != getattr(new, part)]
            yield f"{name}.{path}: {', '.join(parts)} changed"
    for part in before.__struct_fields__:
        if part != "fields" and getattr(before, part) != getattr(after, part):
            yield f"{name}: {part} changed"
