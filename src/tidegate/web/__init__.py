"""The pages: one module per domain asks `views` and renders what it answers on the frame.

`frame` is what stands around a page, `tables` a page of rows, `assets` what browsers load; the components are in
`templates/parts.html`. Each domain's module has `router(desk)`, and is named here.
"""

from __future__ import annotations

from collections.abc import Callable

import fastapi

from tidegate.server import desk
from tidegate.web import (
    accounts,
    alerts,
    assets,
    changes,
    configuration,
    customer_decisions,
    customer_rules,
    customers,
    forgets,
    issues,
    jobs,
    limits,
    members,
    models,
    oauth,
    overview,
    pipeline_forms,
    pipelines,
    plans,
    pulls,
    push_forms,
    pushes,
    reference,
    runs,
    settings,
    signing,
    start,
    streams,
    vault,
    warehouses,
)

ROUTERS: tuple[Callable[[desk.Desk], fastapi.APIRouter], ...] = (
    assets.router,
    signing.router,
    start.router,
    members.router,
    settings.router,
    limits.router,
    changes.router,
    vault.router,
    configuration.router,
    forgets.router,
    jobs.router,
    runs.router,
    overview.router,
    accounts.router,
    oauth.router,
    warehouses.router,
    pulls.router,
    streams.router,
    pipeline_forms.router,
    pipelines.router,
    customer_decisions.router,
    customer_rules.router,
    customers.router,  # after those two: it takes every other address below /customers
    models.router,
    push_forms.router,
    pushes.router,
    plans.router,
    issues.router,
    alerts.router,
    reference.router,
)
"""What makes the routes of every domain."""
