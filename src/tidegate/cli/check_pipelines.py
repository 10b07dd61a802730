"""What `tidegate check` says of pipelines."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Sequence

from tidegate import catalog, config, errors, warehouse
from tidegate.customers import cases, merging, shaping
from tidegate.engine import piping
from tidegate.rows import decode
from tidegate.shape import profile
from tidegate.warehouse import base


def reports(file: config.Config, names: Sequence[str]) -> dict[str, list[base.Check]]:
    """What became of each pipeline's steps; the first that fails is the last."""
    return {name: base.checked(_steps(file, name)) for name in names}


def _steps(file: config.Config, name: str) -> base.Steps:
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
