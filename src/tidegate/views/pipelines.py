"""Pipelines: how each stands, what it may be made of, and whether it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate import catalog, config, views
from tidegate.config import values
from tidegate.engine import editing, piping, schedules
from tidegate.engine import place as places
from tidegate.rows import decode
from tidegate.store import failed, history, runs, trail
from tidegate.views import flows as standings
from tidegate.views import streams as known_streams

KIND = "pipelines"
UNTITLED = "untitled"
"""What a pipeline is called while it has no name yet."""


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


# --- having them run ---


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
    run_id, flow = runs.new_id(), f"pipeline:{name}"
    noted = trail.Note(who.name, "approve", flow, after={"run": run_id, **options}, via=who.via)
    return runs.queue(place.store, run_id, flow, "manual", options=options, note=noted)


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
