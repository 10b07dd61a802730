"""Pipelines: how each stands, trying one before it is kept, its quarantine, and what definitions it ran with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tidegate import catalog, config, errors, views
from tidegate.config import values
from tidegate.engine import differences, editing, piping, schedules
from tidegate.engine import place as places
from tidegate.rows import decode
from tidegate.store import database, definitions, failed, history, runs, trail
from tidegate.views import drafts, outside
from tidegate.views import flows as standings
from tidegate.views import streams as known_streams

if TYPE_CHECKING:
    from tidegate.customers import cases
    from tidegate.engine import previewing

KIND = "pipelines"
PATIENCE = 45.0
"""Seconds that trying a pipeline may take."""
MOST = 50
"""Rows that are tried at a time."""
UNTITLED = "untitled"
"""What a pipeline is called while it has no name yet."""

DEFINED = ("stream", "filter", "map", "function", "cases")
"""What a definition says of a pipeline; all else of it stays as it is."""


@dataclass(frozen=True, slots=True)
class Line:
    """A pipeline and how it stands; `age` in seconds, None where it never ran well."""

    name: str
    description: str
    connection: str
    stream: str
    warehouse: str
    filter: str
    """In words; empty without one."""
    enabled: bool
    schedule: str
    """In words."""
    running: runs.Run | None
    last: runs.Run | None
    next_at: float | None
    age: float | None
    quarantined: int

    @property
    def held(self) -> bool:
        """Did its guard hold the last run, so that somebody has to approve it?"""
        last = self.last
        return last is not None and last.state == "partial" and not last.totals.get("quarantined")


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of rows, and each of them as it was given, in the same order."""

    preview: previewing.Preview
    given: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Trials:
    """What became of saved cases, and what the function printed."""

    each: tuple[cases.Tried, ...]
    printed: str

    @property
    def wrong(self) -> tuple[cases.Tried, ...]:
        """Those that came out differently."""
        return tuple(each for each in self.each if not each.ok)


@dataclass(frozen=True, slots=True)
class Called:
    """What a function made of a record: properties, nothing where it left the record out, or an error."""

    properties: Mapping[str, Any] | None
    error: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """A definition that a pipeline ran with."""

    number: int
    digest: str
    first_at: float
    body: Mapping[str, Any]


# --- how they stand ---


def listed(place: places.Place) -> list[Line]:
    """All pipelines of the configuration, in its order."""
    standing = {each.name: each for each in standings.listed(place)}
    waiting = failed.counts(place.store)
    now = place.store.now()
    return [
        _line(place, name, standing.get(f"pipeline:{name}"), waiting.get(name, 0), now)
        for name in place.file.pipelines
    ]


def one(place: places.Place, name: str) -> Line:
    """One of them; raises Unknown."""
    pipeline(place, name)
    flow = f"pipeline:{name}"
    found = standings.one(place, flow) if flow in place.flows else None
    return _line(place, name, found, failed.count(place.store, name), place.store.now())


def pipeline(place: places.Place, name: str) -> config.Pipeline:
    """A pipeline by its name; raises Unknown."""
    found = place.file.pipelines.get(name)
    if found is None:
        near = values.suggestion(name, place.file.pipelines)
        raise views.Unknown(f"There is no pipeline {name!r}{near or '.'}")
    return found


def words(found: config.Filter | None) -> str:
    """A filter in few words: its condition where it is one, else how many there are."""
    if found is None:
        return ""
    told = found.model_dump(mode="json", by_alias=True, exclude_unset=True)
    leaves = list(_leaves(told))
    if len(leaves) != 1:
        return f"{len(leaves)} conditions"
    value = leaves[0].get("value")
    shown = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    return f"{leaves[0]['field']} {leaves[0]['op']} {shown}".strip()


def _leaves(tree: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    inner = tree.get("all") or tree.get("any")
    return [tree] if inner is None else [leaf for each in inner for leaf in _leaves(each)]


def _line(
    place: places.Place, name: str, standing: standings.Standing | None, quarantined: int, now: float
) -> Line:
    it = place.file.pipelines[name]
    if standing is not None:
        running, last, age, next_at = standing.running, standing.last, standing.age, standing.next_at
        if running is not None and standing.continuous and running.seen_at is not None:
            age = max(0.0, now - running.seen_at)  # it looks for changes all the time
    else:
        flow = f"pipeline:{name}"
        last, good = place.store.transact(
            lambda session: (history.last(session, flow), history.last(session, flow, state="ok"))
        )
        running, next_at = None, None
        age = None if good is None or good.started_at is None else max(0.0, now - good.started_at)
    return Line(
        name,
        it.description,
        it.connection,
        it.stream,
        it.warehouse,
        words(it.filter),
        it.enabled,
        schedules.words(it.schedule),
        running,
        last,
        next_at,
        age,
        quarantined,
    )


def fields(stream: str) -> list[tuple[str, str]]:
    """The fields of a stream with their types in the words of filters, those inside of a customer's objects too."""
    from tidegate.shape import profile

    found = {
        each["name"]: _type(each["type"])
        for each in known_streams.columns(known_streams.named(stream))
        if not each["name"].startswith("_")
    }
    if stream == "customers":
        for target, source in profile.DEFAULT.values():
            found.setdefault(source, target.type)
            for inner, each in target.members:
                found[f"{source}.{inner}"] = each.type
    return sorted(found.items())


_TYPES = {
    "VARCHAR": "string",
    "BIGINT": "integer",
    "BOOLEAN": "boolean",
    "JSON": "object",
    "DOUBLE": "number",
}


def _type(kind: str) -> str:
    if kind.startswith("TIMESTAMP"):
        return "timestamp"
    return _TYPES.get(kind, "number" if kind.startswith("DECIMAL") else "string")


def targets(place: places.Place, warehouse: str) -> list[tuple[str, str]]:
    """The properties of the customer model that a pipeline into this warehouse fills, with their types."""
    from tidegate.shape import profile

    of = place.file.customer_model or config.CustomerModel(warehouse=warehouse or UNTITLED)
    return [(each.name, each.target.type) for each in profile.of(of).properties]


def suggested(place: places.Place, stream: str, warehouse: str) -> dict[str, list[dict[str, str]]]:
    """Fields that properties may come from, the likeliest first, by their names and types alone."""
    from tidegate.shape import profile, suggestions

    of = place.file.customer_model or config.CustomerModel(warehouse=warehouse or UNTITLED)
    schema = decode.schema(catalog.load().streams[known_streams.named(stream).name])
    found = suggestions.suggest(profile.of(of), schema, stream=stream)
    return {
        each.name: [
            {"path": one.source, "why": one.reason}
            for one in ([each.best] if each.best is not None else []) + list(each.others)
        ]
        for each in found
        if each.best is not None
    }


# --- trying one before it is kept ---


def draft(place: places.Place, name: str, body: Mapping[str, Any], *, admin: bool = False) -> config.Pipeline:
    """A pipeline as this body says it; raises ConfigError with its `problems`."""
    return drafts.pipeline(place, name or UNTITLED, body, admin=admin)


def trial(
    place: places.Place,
    name: str,
    found: config.Pipeline,
    *,
    limit: int = 10,
    ids: Sequence[str] = (),
    patience: float = PATIENCE,
) -> Trial:
    """What a pipeline makes of the newest rows of its stream, or of the objects with these ids; nothing is written.

    Raises ConfigError for what can never work, and what the warehouse or Stripe says.
    """
    from tidegate.customers import shaping
    from tidegate.engine import previewing

    if not 1 <= limit <= MOST:
        raise errors.ConfigError(f"{limit} rows cannot be tried at once; give 1 to {MOST}.")
    file, own = _with(place, name, found)

    def look() -> Trial:
        rows, table = previewing.rows(file, own, limit=limit, ids=ids)
        made = previewing.of_rows(file, own, rows, table)
        return Trial(made, tuple(shaping.as_given(rows)))

    return outside.warehouse(found.warehouse, look, patience=patience)


def tried(place: places.Place, name: str, found: config.Pipeline) -> Trials:
    """What becomes of the saved cases; raises ConfigError for what can never work."""
    from tidegate.customers import cases, shaping
    from tidegate.shape import profile

    file, own = _with(place, name, found)
    stream = decode.schema(catalog.load().streams[found.stream])
    of = profile.of(piping.model(file, own))
    with shaping.opened(own, found, of, stream, dt.datetime.now(dt.UTC)) as shaper:
        return Trials(tuple(cases.tried(found, shaper, stream)), shaper.printed)


def called(
    function: config.Function, record: Mapping[str, Any], stream: str = "customers"
) -> tuple[Called, str]:
    """What a function makes of one record, given as Stripe shows it, and what it printed.

    Raises ConfigError, with the line, where it cannot be loaded.
    """
    from tidegate.shape import functions

    given = dict(record)
    for name, kind in fields(stream):
        if kind == "timestamp" and name in given:
            given[name] = _moment(given[name])
    with functions.opened(function) as run:
        outcome = run.one(given)
        match outcome:
            case functions.Made(record=made):
                return Called(made), run.printed
            case functions.Failed(why=why, line=line):
                return Called(None, why, line), run.printed
        return Called(None), run.printed


def _moment(value: Any) -> Any:
    """A time as functions are given it; what is none stays as it is."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return dt.datetime.fromtimestamp(value, dt.UTC)
        return dt.datetime.fromisoformat(value).astimezone(dt.UTC) if isinstance(value, str) else value
    except (ValueError, OverflowError, OSError):
        return value


def keep(
    place: places.Place,
    who: views.Who,
    name: str,
    body: Mapping[str, Any],
    version: int | None,
    *,
    admin: bool = False,
) -> editing.Change:
    """Make or change a pipeline, if it can work and its cases come out as they say.

    Raises ConfigError with its `problems`, of which those of cases have the place `cases[n]`; StoreConflict.
    """
    if editing.check(
        place, KIND, name, body, admin=admin
    ):  # it says what is wrong with whom, or with the version
        return editing.change(place, who.name, KIND, name, body, version, via=who.via, admin=admin)
    found = draft(place, name, body, admin=admin)
    came = tried(place, name, found)
    wrong = [
        editing.Problem(("cases", n), f"{each.name!r} comes out differently: {each.why}", f"{KIND}.{name}")
        for n, each in enumerate(came.each)
        if not each.ok
    ]
    if wrong:
        raise errors.ConfigError("\n".join(map(str, wrong)), wrong)
    made = editing.change(place, who.name, KIND, name, body, version, via=who.via, admin=admin)
    place.look()
    return made


def switch(
    place: places.Place, who: views.Who, name: str, enabled: bool, *, admin: bool = False
) -> editing.Change:
    """Have a pipeline run, or not; raises Refused where it is written in the file."""
    part = written(place, name)
    body = {key: value for key, value in part.body.items() if key != "enabled"}
    if not enabled:
        body["enabled"] = False
    made = editing.change(place, who.name, KIND, name, body, part.version, via=who.via, admin=admin)
    place.look()
    return made


def approve(place: places.Place, who: views.Who, name: str) -> runs.Run:
    """Queue a run that lets customers leave, after the guard held one; raises Refused where it did not."""
    line = one(place, name)
    if not line.held or not line.enabled:
        raise views.Refused(f"Nothing of {name} waits for approval: its guard did not hold the last run.")
    options = {piping.APPROVE: True}
    run = runs.queue(place.store, runs.new_id(), f"pipeline:{name}", "manual", options=options)
    after = {"run": run.id, **options}
    trail.note(place.store, who.name, "approve", f"pipeline:{name}", after=after, via=who.via)
    return run


def written(place: places.Place, name: str) -> editing.Object:
    """A pipeline as the metadata database has it; raises Unknown, and Refused for one that stands in the file."""
    pipeline(place, name)
    part = editing.get(place, KIND, name)
    if part is None:
        raise views.Unknown(f"There is no pipeline {name!r}.")
    if part.origin == "file":
        where = f", line {part.line}" if part.line else ""
        raise views.Refused(f"{name} is written in tidegate.yaml{where}; change it there.")
    return part


def _with(place: places.Place, name: str, found: config.Pipeline) -> tuple[config.Config, str]:
    """The configuration with a pipeline in it that may not be kept yet."""
    own = name or UNTITLED
    return place.file.model_copy(update={"pipelines": {**place.file.pipelines, own: found}}), own


# --- quarantine ---


def failures(
    place: places.Place, name: str, *, search: str = "", limit: int = 50, after: int = 0
) -> tuple[list[failed.Failed], int]:
    """Rows in quarantine, the latest first, `after` so many; and how many there are of these."""
    pipeline(place, name)
    found = failed.listed(place.store, name, limit, after, search)
    return found, failed.count(place.store, name, search)


def failure(place: places.Place, name: str, account: str, source_id: str) -> failed.Failed:
    """One of them with all that is known; raises Unknown where it is not there any more."""
    pipeline(place, name)
    found = failed.get(place.store, name, account, source_id)
    if found is None:
        raise views.Unknown(f"{source_id} is not in the quarantine of {name} any more.")
    return found


def retry(place: places.Place, who: views.Who, name: str) -> int:
    """Have the next run read all rows in quarantine again; says how many those are."""
    from tidegate.customers import records
    from tidegate.warehouse import scripts

    of = piping.model(place.file, name) if pipeline(place, name) else None
    assert of is not None, "A pipeline has a model."

    def look() -> int:
        with piping.modelled(place.file, of) as model:
            if not isinstance(model.warehouse, scripts.Scripted):
                raise errors.ConfigError(
                    f"a warehouse of the type {model.warehouse.kind} cannot hold the customer model"
                )
            return model.warehouse.scripted(lambda script: records.again(script, model.names, name))

    count = outside.warehouse(of.warehouse, look)
    trail.note(place.store, who.name, "retry", f"{KIND}.{name}", after={"rows": count}, via=who.via)
    return count


# --- what it ran with ---


def versions(store: database.Database, name: str) -> list[Version]:
    """The definitions that a pipeline ran with, the newest first."""
    return [_version(each) for each in definitions.listed(store, name)]


def version(store: database.Database, name: str, number: int) -> Version:
    """One of them; raises Unknown."""
    found = definitions.get(store, name, number) if 0 < number < 2**31 else None
    if found is None:
        raise views.Unknown(f"The pipeline {name} never ran with a version {number}.")
    return _version(found)


def compared(before: Version | None, after: Version) -> list[differences.Difference]:
    """What is different between two, value by value."""
    return differences.between({} if before is None else _plain(before.body), _plain(after.body))


def restored(body: Mapping[str, Any], found: Version) -> dict[str, Any]:
    """The body of a pipeline with what a version says in the place of what it says now."""
    told = {key: each for key, each in found.body.items() if key in DEFINED}
    if isinstance(of := told.get("function"), Mapping):
        [(language, lines)] = of.items()
        now = body.get("function")
        limits = (
            {key: now[key] for key in ("timeout", "memory") if key in now} if isinstance(now, Mapping) else {}
        )
        text = "".join(f"{line}\n" for line in lines)
        told["function"] = {"language": language, "code": escaped(text), **limits}
    if told.get("cases"):
        told["cases"] = deep_escaped(told["cases"])
    return {**{key: each for key, each in body.items() if key not in DEFINED}, **told}


def restore(
    place: places.Place, who: views.Who, name: str, number: int, *, admin: bool = False
) -> editing.Change:
    """Have a pipeline be as a version was, as a change of its own; raises Unknown, Refused, and as `keep` does."""
    part = written(place, name)
    body = restored(part.body, version(place.store, name, number))
    return keep(place, who, name, body, part.version, admin=admin)


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


def _version(found: definitions.Definition) -> Version:
    return Version(found.number, found.digest, found.first_at, msgspec.json.decode(found.body))


def _plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with its function line by line, so that lines are compared."""
    told = dict(body)
    if isinstance(of := told.get("function"), Mapping):
        told["function"] = {
            language: {f"line {n:03}": line for n, line in enumerate(lines, 1)}
            for language, lines in of.items()
        }
    return told
