"""What the demo has beside its pull, so that every page has something to show: customers, models, and syncs.

They stand in the configuration as if somebody had made them, and all of it happens: one plan waits for approval,
two rows of a sync have one match, a function stumbles over a record, and one sync fails, each with its sentence.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tidegate import config
from tidegate.engine import editing
from tidegate.engine import place as places

STREAM = "customers"
"""The stream that all of it is made of."""

_FUNCTION = """\
def transform(customer):
    if (customer.get("email") or "").startswith("customer+1@"):
        raise ValueError("this example stumbles over the address of customer 1")
    return customer
"""
_PLANS = """\
select * from (
  select id, email, upper(name) as name, 'pro' as plan from {schema}.customers
  where email is not null order by id limit 40
)
union all select 'new', 'robin@fields.test', 'Robin Fields', 'basic'
"""
_LEADS = """\
select 'crm_1' as id, 'sam@rivers.test' as email, 'Sam Rivers' as name
union all select 'crm_2', 'sam@rivers.test', 'Samuel Rivers'
union all select 'crm_3', 'kim@lakes.test', 'Kim Lakes'
union all select 'crm_4', 'lee@hills.test', 'Lee Hills'
"""
_POINTS = "select id, email, points from crm.loyalty_points"


def furniture(file: config.Config, connection: str, warehouse: str, pull: str) -> list[editing.Edit]:
    """What a demo is to have beside its pull; nothing where a name is taken, or the warehouse is no DuckDB file."""
    target = file.warehouses.get(warehouse)
    if not isinstance(target, config.DuckDB) or file.customer_model is not None:
        return []
    found = _parts(connection, warehouse, target.schema_name, pull)
    known: Mapping[str, Collection[str]] = {
        "pipelines": file.pipelines,
        "models": file.models,
        "pushes": file.pushes,
    }
    if any(name in known.get(kind, ()) for kind, name in found):
        return []
    return [editing.Edit(kind, name, body, None) for (kind, name), body in found.items()]


def leavings(place: places.Place, connection: str) -> list[editing.Object]:
    """What goes with the demo: what runs over its connection, and the models and the customers that it brought."""
    names = set(_parts(connection, "", "", ""))
    kept = [each for each in editing.objects(place) if each.origin == "store"]
    over = [
        each
        for each in kept
        if (each.kind in ("pulls", "pipelines") and each.body.get("from") == connection)
        or (each.kind == "pushes" and each.body.get("to") == connection)
    ]
    file, going = place.file, {(each.kind, each.name) for each in over}
    used = {push.model for name, push in file.pushes.items() if ("pushes", name) not in going}
    model = all(("pipelines", name) in going for name in file.pipelines)
    brought = [
        each
        for each in kept
        if (each.kind, each.name) in names
        and ((each.kind == "models" and each.name not in used) or (each.kind == "customer_model" and model))
    ]
    return [*brought, *over]


def _parts(connection: str, warehouse: str, schema: str, pull: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The parts by kind and name, each after those that it refers to."""
    after = {"after": "customers"}
    people = {"to": connection, "object": "customer", "match": {"email": "email"}, "schedule": after}
    return {
        ("customer_model", ""): {"warehouse": warehouse},
        ("pipelines", "customers"): {
            "from": connection,
            "to": warehouse,
            "stream": STREAM,
            "description": "customers with an e-mail address",
            "filter": {"field": "email", "op": "is not empty"},
            "map": {
                "customer_id": "id",
                "email": {"sql": "lower(trim(email))"},
                "name": {"sql": "trim(name)"},
                "phone": "phone",
                "address": "address",
                "currency": "currency",
                "created": "created",
            },
            "function": {"language": "python", "code": _FUNCTION},
            "schedule": {"after": pull},
        },
        ("models", "plans"): {"warehouse": warehouse, "sql": _PLANS.format(schema=schema), "key": "id"},
        ("models", "leads"): {"warehouse": warehouse, "sql": _LEADS, "key": "id"},
        ("models", "points"): {"warehouse": warehouse, "sql": _POINTS, "key": "id"},
        ("pushes", "plans_to_stripe"): {
            **people,
            "model": "plans",
            "fields": {"name": "name", "metadata.plan": "plan"},
            "guard": {"max_creates": 0},
        },
        ("pushes", "leads_to_stripe"): {**people, "model": "leads", "fields": {"name": "name"}},
        ("pushes", "points_to_stripe"): {
            **people,
            "model": "points",
            "fields": {"metadata.points": "points"},
        },
    }
