"""What there is to run: the flows of a configuration, by their full names such as `pull:everything`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pydantic

from tidegate import config, errors
from tidegate.config import values
from tidegate.engine import schedules
from tidegate.store import ticks

_SCHEDULE: pydantic.TypeAdapter[values.Schedule] = pydantic.TypeAdapter(values.Schedule)


@dataclass(frozen=True, slots=True)
class Flow:
    """Something that can run; `own` is its name without its kind."""

    name: str
    kind: Literal["pull", "pipeline", "push"]
    own: str
    schedule: values.Schedule
    connection: str
    """Of Stripe."""

    @property
    def continuous(self) -> bool:
        """Does it go on for ever?"""
        return self.schedule == "continuous"


def flows(file: config.Config) -> dict[str, Flow]:
    """All flows of a configuration."""
    found = [
        Flow(f"pull:{name}", "pull", name, it.schedule, it.connection) for name, it in file.pulls.items()
    ]
    found += [
        Flow(f"pipeline:{name}", "pipeline", name, it.schedule, it.connection)
        for name, it in file.pipelines.items()
        if it.enabled
    ]
    found += [
        Flow(f"push:{name}", "push", name, it.schedule, it.connection) for name, it in file.pushes.items()
    ]
    return {flow.name: flow for flow in found}


class Disabled(errors.ConfigError):
    """A flow that is configured, and is not to run."""


def off(file: config.Config, name: str) -> str:
    """The full name of the flow that is meant, where it is disabled; empty where none of this name is."""
    kind, _, own = name.rpartition(":")
    found = file.pipelines.get(own) if kind in ("", "pipeline") else None
    if found is None or found.enabled or (not kind and (own in file.pulls or own in file.pushes)):
        return ""
    return f"pipeline:{own}"


def disabled(name: str) -> Disabled:
    """What to raise for a disabled flow, by its full name."""
    return Disabled(
        f"{name} is disabled; enable it first: on its page, or by `enabled: true` where it is written."
    )


def of(file: config.Config, name: str) -> Flow:
    """The same as `named`, of a configuration; raises Disabled for a flow that is not to run, and ConfigError."""
    try:
        return named(flows(file), name)
    except errors.ConfigError:
        if whole := off(file, name):
            raise disabled(whole) from None
        raise


def named(known: Mapping[str, Flow], name: str) -> Flow:
    """A flow by its full name, or by its own where one flow only has that; raises ConfigError."""
    if name in known:
        return known[name]
    found = [flow for flow in known.values() if flow.own == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise errors.ConfigError(
            f"Several flows are called {name}: {', '.join(each.name for each in found)}."
        )
    has = ", ".join(known) or "none yet"
    raise errors.ConfigError(f"There is no flow {name!r} in the configuration; it has {has}.")


def definition(file: config.Config, name: str) -> tuple[object, ...]:
    """What a configuration says of a flow, to be compared with what another one says; nothing where it is gone."""
    kind, _, own = name.partition(":")
    if kind == "pull" and (pull := file.pulls.get(own)) is not None:
        return pull, file.stripe.get(pull.connection), file.warehouses.get(pull.warehouse)
    if kind == "pipeline" and (pipe := file.pipelines.get(own)) is not None:
        connection, warehouse = file.stripe.get(pipe.connection), file.warehouses.get(pipe.warehouse)
        return pipe, connection, warehouse, file.customer_model
    if kind == "push" and (push := file.pushes.get(own)) is not None:
        model = file.models.get(push.model or "")
        warehouse = file.warehouses.get(model.warehouse or "") if model is not None else None
        return push, model, file.stripe.get(push.connection), warehouse
    return ()


OWN = frozenset({"schedule", "ca", "cert", "ssh"})
"""What is a machine's own, or says nothing of what is read and written."""


def digest(file: config.Config, name: str) -> str:
    """The definition of a flow in short, the same in all processes: its keys, accounts, streams and warehouse."""

    def plain(value: object) -> object:
        if isinstance(value, pydantic.SecretStr):
            return value.get_secret_value()
        return sorted(map(str, value)) if isinstance(value, frozenset) else str(value)

    said = [
        each.model_dump(exclude=set(OWN)) if isinstance(each, pydantic.BaseModel) else None
        for each in definition(file, name)
    ]
    return hashlib.sha256(json.dumps(said, default=plain, sort_keys=True).encode()).hexdigest()


def text(schedule: values.Schedule) -> str:
    """A schedule as text that changes whenever it is edited."""
    return _SCHEDULE.dump_json(schedule).decode()


def clock(known: Mapping[str, Flow]) -> ticks.Next:
    """The next tick of each flow; none for one that is gone, or whose schedule is not the one meant."""

    def following(name: str, schedule: str, after: float, since: float) -> float | None:
        flow = known.get(name)
        if flow is None or text(flow.schedule) != schedule:
            return None
        return schedules.following(flow.schedule, after, since)

    return following
