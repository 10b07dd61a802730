"""REST under `/api/v1`: everything the command line can do, for programs.

Rooms: `base` (what all routes share), `once` (calls with a key), `faults` (what is answered where something is
wrong), `streaming` (events that go on), `shapes` and `findings` (runs, and what jobs come to, as several rooms tell
of them), `description` and `examples` (the OpenAPI description, and what there is no route for), and one room per
domain.

A room has `router(desk) -> fastapi.APIRouter`; `ROUTERS` are those of all rooms, `description` the last: it answers
whatever no other does.
"""

from __future__ import annotations

from collections.abc import Callable

import fastapi

from tidegate.api import (
    accounts,
    alerts,
    changes,
    checks,
    customers,
    description,
    flows,
    issues,
    jobs,
    members,
    models,
    objects,
    overview,
    pipelines,
    plans,
    pushes,
    runs,
    secrets,
    settings,
    sheets,
    streams,
    warehouses,
)
from tidegate.server import desk as desks

ROUTERS: tuple[Callable[[desks.Desk], fastapi.APIRouter], ...] = (
    flows.router,
    runs.router,
    members.router,
    objects.router,
    sheets.router,
    secrets.router,
    changes.router,
    overview.router,
    accounts.router,
    warehouses.router,
    streams.router,
    alerts.router,
    settings.router,
    checks.router,
    pipelines.router,
    customers.router,
    models.router,
    pushes.router,
    plans.router,
    issues.router,
    jobs.router,
    description.router,  # the last one
)
