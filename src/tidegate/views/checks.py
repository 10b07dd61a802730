"""Whether what is configured works, tried step by step before anything is moved: pulls, models, pipelines, pushes.

Stripe is written nothing, and of a warehouse a scratch table alone, which is dropped again.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tidegate import catalog, config, errors, sources, views, warehouse
from tidegate.catalog import writes
from tidegate.config import values
from tidegate.customers import cases, merging, shaping
from tidegate.engine import piping, preparing, readiness
from tidegate.engine import place as places
from tidegate.pull import permissions, scope, settings
from tidegate.rows import decode
from tidegate.shape import profile
from tidegate.store import database
from tidegate.stripe import client
from tidegate.views import outside
from tidegate.warehouse import base

PATIENCE = 60.0
"""Seconds that a check may take: a model is read whole for a push, and its key is tried."""


Kind = Literal["models", "pipelines", "pulls", "pushes"]


def one(place: places.Place, kind: Kind, name: str) -> tuple[list[base.Check], list[str]]:
    """The steps of a part of the configuration, and which guarantees a push cannot give; raises Unknown."""
    file = place.file
    known: Mapping[str, object] = getattr(file, kind)
    if name not in known:
        raise views.Unknown(
            f"There is nothing called {name!r} under `{kind}:`{values.suggestion(name, known) or '.'}"
        )

    def look() -> tuple[list[base.Check], list[str]]:
        match kind:
            case "models":
                return models(file, [name])[name], []
            case "pipelines":
                return pipelines(file, [name])[name], []
            case "pulls":
                return pull_steps(*pull(settings.jobs(file, [name])[0])), []
            case "pushes":
                found = push(file, name, place.folder, place.store)
                return list(found.steps), list(found.without)

    return outside.warehouse(_behind(file, kind, name), look, patience=PATIENCE)


def _behind(file: config.Config, kind: str, name: str) -> str:
    """The warehouse that is looked into, or what stands for it in a sentence."""
    if kind == "pipelines":
        return file.pipelines[name].warehouse
    if kind == "pulls":
        return file.pulls[name].warehouse
    model = file.models[name if kind == "models" else file.pushes[name].model]
    return model.warehouse or f"of {name}"


def pull(job: settings.Job) -> tuple[list[base.Check], permissions.Found]:
    """The steps of a pull's warehouse, and what its key may read; raises what Stripe says against the key."""
    with contextlib.closing(job.open()) as opened:
        steps = opened.check()
    return steps, asyncio.run(permissions.check(job.source, job.options))


def pull_document(name: str, steps: Sequence[base.Check], found: permissions.Found) -> dict[str, Any]:
    """The same, as `tidegate check --json` prints it."""
    return {
        "pull": name,
        "account": found.account,
        "mode": found.mode,
        "events": {"ok": not found.untold, "error": found.untold or None},
        "streams": [
            {
                "stream": each.stream,
                "permission": each.permission,
                "status": each.status,
                "error": each.error or None,
            }
            for each in found.access
        ],
        "warehouse": steps_document(steps),
    }


def pull_steps(steps: Sequence[base.Check], found: permissions.Found) -> list[base.Check]:
    """The same as steps: those of the warehouse, one for each stream that cannot be read, and for events."""
    refused = [each for each in found.access if each.status in ("no_permission", "failed")]
    said = [base.Check(each.stream, False, each.error or f"needs {each.permission}") for each in refused]
    if not refused:
        said = [base.Check("streams", True, f"{len(found.access)} can be read, of {found.account}")]
    events = base.Check("events", not found.untold, found.untold or "what changes is told at once")
    return [*steps, *said, events]


def pull_fine(steps: Sequence[base.Check], found: permissions.Found) -> bool:
    """Is nothing missing? A product that the account does not have is not."""
    refused = any(each.status in ("no_permission", "failed") for each in found.access)
    return all(step.ok for step in steps) and not (refused or found.untold)


def models(file: config.Config, names: Sequence[str]) -> dict[str, list[base.Check]]:
    """What became of each model's steps: those of where it is read from, and its query."""
    found: dict[str, list[base.Check]] = {}
    for name in names:
        model = file.models[name]
        try:
            source = sources.of_model(file, name)
        except errors.TidegateError as error:  # a driver is missing, a certificate cannot be read
            found[name] = [base.Check("open", False, str(error))]
            continue
        with contextlib.closing(source):
            steps = source.check()
            if all(step.ok for step in steps):
                steps.append(_query(source, model))
        found[name] = steps
    return found


def _query(source: sources.base.Source, model: config.Model) -> base.Check:
    """Does a model's query have columns, and its key among them?"""
    try:
        columns = source.columns(sources.base.asked(model)).names
    except errors.TidegateError as error:
        return base.Check("query", False, str(error))
    for key in model.keys:
        if key.lower() not in (column.lower() for column in columns):
            near = values.suggestion(key, columns) or f"; there are {', '.join(columns[:10])}"
            return base.Check("query", False, f"its key {key} is no column of it{near}")
    return base.Check("query", True, f"{len(columns)} columns, its key {' and '.join(model.keys)} among them")


def pipelines(file: config.Config, names: Sequence[str]) -> dict[str, list[base.Check]]:
    """What became of each pipeline's steps; the first that fails is the last."""
    return {name: base.checked(_of_pipeline(file, name)) for name in names}


def _of_pipeline(file: config.Config, name: str) -> base.Steps:
    pipeline, of = file.pipelines[name], piping.model(file, name)
    stream = decode.schema(catalog.load().streams[pipeline.stream])

    def defined() -> str:
        model = profile.of(of)
        with shaping.opened(name, pipeline, model, stream, dt.datetime.now(dt.UTC)) as shaper:
            cases.check(name, pipeline, shaper, stream)
            unguarded = f"; {shaper.unguarded}" if shaper.unguarded else ""
        count = len(pipeline.cases)
        tried = (
            "" if not count else ", its case as expected" if count == 1 else f", {count} cases as expected"
        )
        return f"{len(model.names)} properties{tried}{unguarded}"

    def modelled() -> str:
        merging.check(file.warehouses[of.warehouse].type, of.warehouse)
        return f"{of.schema_name}.{of.table} in {of.warehouse}"

    def reached() -> str:
        with contextlib.closing(warehouse.open_warehouse(file.warehouses[pipeline.warehouse])) as opened:
            for step in opened.check():
                if not step.ok:
                    raise errors.WarehouseError(step.detail)
        pulls = piping.covering(file, name)
        return (
            f"{pipeline.stream} as {' and '.join(pulls)} brings it"
            if pulls
            else f"brings {pipeline.stream} itself"
        )

    return (("definition", defined), ("model", modelled), ("source", reached))


def push(file: config.Config, name: str, folder: Path, store: database.Database | None) -> readiness.Report:
    """Whether a push is ready; `folder` is for what that takes, `store` the metadata database, if there is one."""
    try:
        job = preparing.job(file, name)
    except errors.ConfigError as error:  # one that can never work keeps no other from being checked
        nobody = readiness.Key("", False, False, ())
        return readiness.Report(name, nobody, (base.Check("configuration", False, str(error)),), ())
    return asyncio.run(readiness.check(job, folder, store))


def push_document(found: readiness.Report) -> dict[str, Any]:
    """The same, as `tidegate check --json` prints it."""
    return {
        "push": found.push,
        **_whose(found.key),
        "ok": found.ok,
        "steps": steps_document(found.steps),
        "without": list(found.without),
    }


def key(api_key: str, api_base: str | None, account_id: str | None) -> readiness.Key:
    """What a key may do with all that can be written, of which nothing is configured yet."""
    source = scope.Source(api_key, api_base or client.API_BASE, account_id=account_id)
    return asyncio.run(readiness.key(source, list(writes.load().values())))


def key_document(found: readiness.Key) -> dict[str, Any]:
    """The same, as `tidegate check --json` prints it."""
    rights = [
        {"kind": each.kind, "object": each.object, "status": each.status, "permission": each.permission}
        for each in found.rights
    ]
    return {**_whose(found), "restricted": found.restricted, "rights": rights}


def steps_document(steps: Sequence[base.Check]) -> list[dict[str, Any]]:
    """Steps, as `tidegate check --json` prints them."""
    return [{"step": step.name, "ok": step.ok, "detail": step.detail} for step in steps]


def _whose(found: readiness.Key) -> Mapping[str, Any]:
    return {"account": found.account, "mode": "live" if found.livemode else "test"}
