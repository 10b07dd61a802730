"""Every list endpoint of the package becomes a listing, and the listings become streams.

Names, parents and routes follow from the paths, the required parameters and the list objects inside other
objects; where they do not, `facts.py` says so.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tidegate import catalog
from tidegate.catalog import announcements, facts, fields, package, silence

# Neither filters nor required: how a list is paged and rendered.
PAGING = frozenset({"starting_after", "ending_before", "limit", "page", "expand"})


@dataclass(frozen=True)
class Listing:
    """One list endpoint of the package, and what it takes."""

    path: str
    service: str
    classes: Mapping[str, package.Name]
    """What its elements are, by `object`."""
    members: Mapping[str, package.Member]
    name: str = ""
    """Its stream; empty for a mixed or a computed list."""
    parents: tuple[catalog.Parent, ...] = ()
    kind: catalog.Kind = "walk"

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams its elements go to."""
        if self.path in facts.MIXED:
            return tuple(dict.fromkeys(facts.MIXED[self.path].values()))
        return (self.name,) if self.name else ()

    def objects(self, stream: str) -> tuple[str, ...]:
        """The objects that belong to `stream`, when the list is mixed."""
        return tuple(object for object, name in facts.MIXED.get(self.path, {}).items() if name == stream)


@dataclass(frozen=True)
class Survey:
    """Everything the package lists, looked over before any stream is made."""

    operations: Mapping[str, Mapping[str, package.Operation]]
    """By service and name."""
    listings: tuple[Listing, ...]
    owners: Mapping[str, tuple[str, package.Name]]
    """For every stream the object its rows are, and the class that describes it."""
    nested: Mapping[str, tuple[catalog.NestedList, ...]]
    """For every stream the list objects inside its rows."""


@functools.cache
def derive() -> catalog.Catalog:
    """The catalog of the installed package; a few seconds."""
    survey = _survey()
    _check_facts(survey)
    streams = {name: _stream(name, survey) for name in sorted(survey.owners)}
    streams, strays = announcements.announce(streams)
    return catalog.Catalog(
        package=package.version(),
        api_version=package.api_version(),
        event_types=package.event_types(),
        endpoints=tuple(
            catalog.Endpoint(each.path, each.kind, each.streams, facts.COMPUTED.get(each.path, ""))
            for each in survey.listings
        ),
        streams=silence.judge(streams),
        strays=strays,
    )


def _survey() -> Survey:
    operations: dict[str, dict[str, package.Operation]] = {}
    for each in package.operations():
        operations.setdefault(each.service, {})[each.name] = each
    listings = _listings(beside["list"] for beside in operations.values() if "list" in beside)
    owners = _owners(listings)
    nested = {name: tuple(_nested(name, cls, listings)) for name, (_, cls) in owners.items()}
    return Survey(operations, listings, owners, nested)


def _listings(operations: Iterable[package.Operation]) -> tuple[Listing, ...]:
    found = {
        each.path: Listing(
            path=each.path,
            service=each.service,
            classes={package.object_name(name): name for name in each.returns.classes},
            members={m.name: m for m in package.members(each.params)} if each.params else {},
        )
        for each in operations
    }
    named = {path: replace(each, name=_name(each, found)) for path, each in sorted(found.items())}
    parented = {path: replace(each, parents=_parents(each, named)) for path, each in named.items()}
    return tuple(replace(each, kind=_kind(each, parented)) for each in parented.values())


def _name(listing: Listing, listings: Mapping[str, Listing]) -> str:
    """The path's words; of a child's list, its parent's last word in singular."""
    if listing.path in facts.COMPUTED or listing.path in facts.MIXED:
        return ""
    if listing.path in facts.NAMES:
        return facts.NAMES[listing.path]
    above, placeholder, below = listing.path.partition("/{")
    words = above.removeprefix("/v1").strip("/").replace("/", "_")
    if not placeholder:
        return words
    if above not in listings:
        raise LookupError(f"{listing.path} hangs on a parent without a list; name it in facts.py")
    return f"{_singular(words)}_{below.rpartition('}/')[2].replace('/', '_')}"


def _singular(word: str) -> str:
    return word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s")


def _parents(listing: Listing, listings: Mapping[str, Listing]) -> tuple[catalog.Parent, ...]:
    """One for each placeholder of the path and each required parameter, looked for nearest first."""
    if listing.path in facts.COMPUTED:
        return ()
    fixed = {key.split("[")[0] for each in facts.PARAMS.get(listing.path, ()) for key in each}
    window = facts.WINDOWS.get(listing.path, ())
    required = [m.name for m in listing.members.values() if m.required and m.name not in {*fixed, *window}]
    found = []
    for param in re.findall(r"\{(\w+)\}", listing.path):
        above = listing.path.split(f"/{{{param}}}")[0]
        stream = facts.PARENTS.get(listing.path) or listings[above].name
        found.append(catalog.Parent(stream, param, where=facts.CHILDLESS.get(listing.path, "")))
    for param in required:
        field = facts.PARENT_FIELDS.get(listing.path, {}).get(param)
        if field:
            found.append(catalog.Parent(found[0].stream, param, field=field))
            continue
        folder = listing.path.rsplit("/", 1)[0]
        nearest = [path for path in (f"{folder}/{param}s", f"/v1/{param}s") if path in listings]
        if not nearest:
            raise LookupError(f"{listing.path} requires a {param} that no list gives; say so in facts.py")
        where = facts.CHILDLESS.get(listing.path, "")
        found.append(catalog.Parent(listings[nearest[0]].name, param, where=where))
    return tuple(found)


def _kind(listing: Listing, listings: Mapping[str, Listing]) -> catalog.Kind:
    if listing.path in facts.COMPUTED:
        return "computed"
    above = {parent.stream for parent in listing.parents}
    if not above:
        return "walk"
    deep = any(each.parents and above & set(each.streams) for each in listings.values())
    return "by parent x parent" if deep or len(above) > 1 else "by parent"


def _owners(listings: Sequence[Listing]) -> dict[str, tuple[str, package.Name]]:
    found: dict[str, tuple[str, package.Name]] = {}
    for listing in listings:
        for name in listing.streams:
            object = listing.objects(name)[0] if listing.path in facts.MIXED else next(iter(listing.classes))
            found.setdefault(name, (object, listing.classes[object]))
    return found


def _nested(stream: str, cls: package.Name, listings: Sequence[Listing]) -> Iterator[catalog.NestedList]:
    owner = package.object_name(cls)
    for page in fields.pages(cls):
        path = f"{owner}.{page.path}"
        listing, url = _continuation(stream, owner, page, listings)
        if path in facts.UNEXPANDABLE:
            url = ""
        yield catalog.NestedList(
            path=page.path,
            url=url,
            objects=tuple(sorted(package.object_name(each) for each in page.classes)),
            streams=listing.streams,
            embedded=not page.nullable or path in facts.EMBEDDED,
        )


def _continuation(
    stream: str, owner: str, page: fields.Page, listings: Sequence[Listing]
) -> tuple[Listing, str]:
    """The list that holds the rest of a nested one: the object's own child, else one that filters by it."""
    same = [each for each in listings if set(each.classes.values()) == set(page.classes)]
    children = [each for each in same if [p.stream for p in each.parents] == [stream]]
    if len(children) > 1:
        words = page.path.replace(".", "_")
        children = [each for each in children if each.path.endswith("/" + words)]
    for each in children:
        param = each.parents[0].param
        return each, each.path if f"{{{param}}}" in each.path else f"{each.path}?{param}={{{param}}}"
    word = owner.rsplit(".", 1)[-1]
    for each in same:
        if word in each.members:
            return each, f"{each.path}?{word}={{{word}}}"
    raise LookupError(f"no list continues {owner}.{page.path}")


def _stream(name: str, survey: Survey) -> catalog.Stream:
    object, cls = survey.owners[name]
    sources = [each for each in survey.listings if name in each.streams]
    order = list(facts.MIXED)
    sources.sort(key=lambda each: order.index(each.path) if each.path in order else -1)
    beside = survey.operations[sources[0].service]
    retrieve = _route(beside, "retrieve")
    removals = [o for o in beside.values() if o.method == "delete" and _shape(o.path) == _shape(retrieve)]
    columns = fields.fields(cls)
    own = beside.get("retrieve_current")
    return catalog.Stream(
        name=name,
        object=object,
        api="v2" if sources[0].path.startswith("/v2/") else "v1",
        origins=tuple(origin for each in sources for origin in _origins(each, name, retrieve, survey)),
        fields=columns,
        permission=_permission(name, object),
        key=facts.KEYS.get(name, ("id",)),
        created_field="created" if "created" in {f.name for f in columns} else facts.CREATED.get(name, ""),
        doc=package.first_sentence(package.doc(cls)),
        nested=survey.nested[name],
        expand=facts.EXPAND.get(name, ()),
        relatives={**facts.RELATIVES.get(name, {}), **facts.FORMER_RELATIVES.get(name, {})},
        retrieve=retrieve,
        search=_route(beside, "search"),
        create=_write("post", beside.get("create")),
        update=_write("post", beside.get("update")),
        delete=_write("delete", removals[0] if removals else None),
        own=own.path if own else "",
        default=name not in facts.NOT_DEFAULT,
        why=facts.NOT_DEFAULT.get(name, ""),
    )


def _origins(listing: Listing, stream: str, retrieve: str, survey: Survey) -> Iterator[catalog.Origin]:
    route: catalog.Route = "per parent" if listing.parents else "list"
    inside = ""
    if listing.kind == "by parent":
        for each in survey.nested[listing.parents[0].stream]:
            if each.url.split("?")[0] == listing.path:
                route, inside = ("embedded" if each.embedded else "expanded"), each.path
    created = listing.members.get("created")
    v1 = listing.path.startswith("/v1/")
    by_id = _route(survey.operations[listing.service], "retrieve")
    for params in facts.PARAMS.get(listing.path, ({},)):
        yield catalog.Origin(
            path=listing.path,
            kind=listing.kind,
            route=route,
            parents=listing.parents,
            nested=inside,
            params=params,
            created="created" if v1 and created and created.type.classes else "",
            paged="starting_after" in listing.members if v1 else True,
            max_limit=100 if "limit" in listing.members else 0,
            objects=listing.objects(stream),
            window=facts.WINDOWS.get(listing.path, ()),
            retrieve=by_id if by_id != retrieve else "",
            filters=_filters(listing),
        )


def _filters(listing: Listing) -> tuple[str, ...]:
    standard = {"created"} if listing.path.startswith("/v1/") else set()
    apart = PAGING | standard | {parent.param for parent in listing.parents}
    return tuple(sorted(set(listing.members) - apart))


def _route(beside: Mapping[str, package.Operation], name: str) -> str:
    return beside[name].path if name in beside and beside[name].method == "get" else ""


def _shape(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def _write(method: Literal["post", "delete"], operation: package.Operation | None) -> catalog.Write | None:
    if operation is None:
        return None
    assert operation.method == method, operation
    return catalog.Write(method=method, path=operation.path, params=fields.params(operation.params))


def _permission(name: str, object: str) -> str:
    """A fact about the stream, else about the longest beginning of its name, else the object's own name."""
    words = name.split("_")
    for count in range(len(words), 0, -1):
        if known := facts.PERMISSIONS.get("_".join(words[:count])):
            return known
    return f"rak_{object.replace('.', '_')}_read"


def _check_facts(survey: Survey) -> None:
    """Every fact still names something that exists."""
    paths = {each.path for each in survey.listings}
    by_path: tuple[Mapping[str, object], ...] = (
        facts.COMPUTED, facts.NAMES, facts.MIXED, facts.PARENTS, facts.PARENT_FIELDS, facts.CHILDLESS,
        facts.PARAMS, facts.WINDOWS,
    )  # fmt: skip
    by_stream: tuple[Mapping[str, object], ...] = (
        facts.NOT_DEFAULT, facts.KEYS, facts.CREATED, facts.EXPAND, facts.RELATIVES, facts.FORMER_RELATIVES,
        facts.FIRST_EVENTS, facts.LAST_EVENTS,
    )  # fmt: skip
    unknown = {key for table in by_path for key in table} - paths
    unknown |= {key for table in by_stream for key in table} - set(survey.owners)
    for key in facts.PERMISSIONS:
        if not any(f"{name}_".startswith(f"{key}_") for name in survey.owners):
            unknown.add(key)
    classes = dict(survey.owners.values())
    for name, (_, cls) in survey.owners.items():
        inside = (*facts.RELATIVES.get(name, ()), *facts.EXPAND.get(name, ()))
        unknown |= {f"{name}.{path}" for path in inside if not fields.holds(cls, path)}
    for path in (*facts.TIMES, *facts.EMBEDDED, *facts.UNEXPANDABLE):
        object, _, member = path.rpartition(".")
        if object not in classes or not fields.holds(classes[object], member):
            unknown.add(path)
    if unknown:
        raise LookupError(f"facts.py names what the package does not have: {sorted(unknown)}")
