"""Customers over HTTP: profiles of the model, why records are one, what people decide, and other rules tried.

The rules themselves are a part of the configuration: `/configuration/customer_model`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Annotated, Any, Literal

import fastapi

from tidegate.api import base
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import customers as views
from tidegate.views import saying

Text = Annotated[str, fastapi.Query(max_length=200)]
Id = Annotated[str, fastapi.Query(min_length=1, max_length=400)]
Warehouse = Annotated[
    str, fastapi.Query(max_length=63, description="That of the customer model, where there are several.")
]
Who = Annotated[str, fastapi.Body(min_length=1, max_length=400)]


class Found(base.Model):
    """A customer in a list: its profile, and what people call it by."""

    profile: str
    known: dict[str, Any]
    records: int
    accounts: int
    updated_at: base.Instant | None


class CustomerRecord(base.Model):
    """A record of a customer; `home` is the profile that it would have without the merge that brought it."""

    record: str
    pipeline: str
    account: str
    source_id: str
    home: str
    since: base.Instant | None
    properties: dict[str, Any]


class Identifier(base.Model):
    """A value that records are recognised by, in the form in which it is compared."""

    identifier: str
    value: str
    records: list[str]
    use: Literal["links", "alone", "shared", "ignored", "unused"]


class CustomersDecision(base.Model):
    """What was decided; in force until `withdrawn_at`, seen in the profiles since `resolved_at`."""

    decision: str
    kind: Literal["together", "apart", "alone"]
    record: str
    other: str
    decided_at: base.Instant
    decided_by: str
    note: str
    withdrawn_at: base.Instant | None
    withdrawn_by: str | None
    resolved_at: base.Instant | None


class Customer(base.Model):
    """A profile with all that belongs to it; `sources` names the pipelines that say the same of each property.

    `count` is how many records it has; of many the first ones are here.
    """

    profile: str
    properties: dict[str, Any]
    sources: dict[str, list[str]]
    count: int
    accounts: int
    first_seen_at: base.Instant | None
    updated_at: base.Instant | None
    records: list[CustomerRecord]
    identifiers: list[Identifier]
    aliases: list[str]
    decisions: list[CustomersDecision]


class Why(base.Model):
    """Why two are one customer, or why not: a sentence for each step, or each thing that keeps them apart."""

    one_customer: bool
    first: str
    last: str
    because: list[str]


class CustomersWish(base.Model):
    """What is to be decided: `merge` and `apart` are of `one` and `other`, `split` of `one` and its `records`."""

    action: Literal["merge", "apart", "split"]
    one: Who
    other: Annotated[str, fastapi.Body(max_length=400)] = ""
    records: Annotated[tuple[Who, ...], fastapi.Body(max_length=200)] = ()
    note: Annotated[str, fastapi.Body(max_length=1000)] = ""
    now: Annotated[bool, fastapi.Body(strict=True)] = False
    warehouse: Annotated[str, fastapi.Body(max_length=63)] = ""


class CustomersDecided(base.Model):
    """What was decided; `shown` says whether the profiles have it already, `waits` why not where it was wished."""

    decisions: list[CustomersDecision]
    shown: bool
    waits: str


class Rules(base.Model):
    """Rules to be tried: identifiers, the strongest first, and how many records a customer may have."""

    identifiers: Annotated[list[Who], fastapi.Body(min_length=1, max_length=50)]
    max_cluster: Annotated[int, fastapi.Body(ge=2, le=10_000, strict=True)] = 100
    warehouse: Annotated[str, fastapi.Body(max_length=63)] = ""


class Cluster(base.Model):
    """Records that would be one customer: how many, the first ones, and whose they are now."""

    records: int
    first: list[str]
    profiles: list[str]


class Split(base.Model):
    """A profile that would come apart."""

    profile: str
    parts: list[Cluster]


class Preview(base.Model):
    """What rules would make of all records; nothing was changed. `held` says what they would not use."""

    records: int
    profiles: int
    profiles_now: int
    merges: int
    splits: int
    largest: list[Cluster]
    merged: list[Cluster]
    parted: list[Split]
    held: list[str]


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("customers"), desk.place

    @made.get("/customers", operation_id="listCustomers", summary="Find customers, in the order of their ids")
    def listed(
        asker: asking.Reader,
        paging: base.Paging,
        search: Annotated[Text, fastapi.Query(description="A name, an e-mail, a phone, or any id.")] = "",
        warehouse: Warehouse = "",
    ) -> base.Page[Found]:
        del asker
        after = paging.place(str)
        of = views.model(place, warehouse)
        found = views.search(place, of, search, limit=paging.limit, after="" if after is None else after[0])
        items = [
            Found(
                profile=each.profile,
                known=base.exact(each.known),
                records=each.sources,
                accounts=each.accounts,
                updated_at=_utc(each.updated_at),
            )
            for each in found.customers
        ]
        return base.Page(items=items, next=None if found.after is None else base.cursor(found.after))

    @made.get(
        "/customers/one", operation_id="getCustomer", summary="One customer with all that belongs to it"
    )
    def get(
        asker: asking.Reader,
        id: Annotated[Id, fastapi.Query(description="A profile, a former one, or a record.")],
        warehouse: Warehouse = "",
    ) -> Customer:
        del asker
        found = views.get(place, views.model(place, warehouse), id)
        return Customer(
            profile=found.profile,
            properties=base.exact(found.properties),
            sources={each.name: list(each.pipelines) for each in views.attributes(found) if each.pipelines},
            count=found.sources,
            accounts=found.accounts,
            first_seen_at=_utc(found.first_seen_at),
            updated_at=_utc(found.updated_at),
            records=[_told(CustomerRecord, each) for each in found.records],
            identifiers=[_told(Identifier, each) for each in found.identifiers],
            aliases=list(found.aliases),
            decisions=[_told(CustomersDecision, each) for each in found.decisions],
        )

    @made.get("/customers/why", operation_id="explainCustomers", summary="Why two are one customer, or not")
    def why(asker: asking.Reader, one: Id, other: Id, warehouse: Warehouse = "") -> Why:
        del asker
        found = views.explained(place, views.model(place, warehouse), one, other)
        steps = [saying.step(each, found.decisions) for each in found.path]
        reasons = [saying.reason(each, found.decisions) for each in found.reasons]
        return Why(
            one_customer=found.is_one,
            first=found.first.profile,
            last=found.last.profile,
            because=steps + reasons,
        )

    @made.get(
        "/customers/decisions", operation_id="listDecisions", summary="What people decided, newest first"
    )
    def decisions(
        asker: asking.Reader, paging: base.Paging, withdrawn: bool = False, warehouse: Warehouse = ""
    ) -> base.Page[CustomersDecision]:
        del asker
        after = paging.place(str)
        every = views.decided(place, views.model(place, warehouse), withdrawn=withdrawn)
        names = [each.decision for each in every]
        start = names.index(after[0]) + 1 if after is not None and after[0] in names else 0
        shown = every[start : start + paging.limit]
        more = start + len(shown) < len(every)
        return base.Page(
            items=[_told(CustomersDecision, each) for each in shown],
            next=base.cursor(shown[-1].decision) if more else None,
        )

    @made.post(
        "/customers/decisions",
        operation_id="decideCustomers",
        status_code=201,
        summary="Merge or split by hand",
    )
    def decide(wish: CustomersWish, asker: asking.Editor) -> CustomersDecided:
        """It holds against whatever identifiers say; with `now` the profiles have it at once."""
        if wish.action != "split" and not wish.other:
            raise base.problem(422, "other is missing: give the id of a profile or of a record.")
        of = views.model(place, wish.warehouse)
        return _decided(
            views.decide(
                place,
                asker,
                of,
                wish.action,
                wish.one,
                wish.other,
                wish.records,
                note=wish.note,
                now=wish.now,
            )
        )

    @made.delete(
        "/customers/decisions/{decision}", operation_id="withdrawDecision", summary="Take a decision back"
    )
    def withdraw(
        decision: Annotated[str, fastapi.Path(max_length=100)],
        asker: asking.Editor,
        now: bool = False,
        warehouse: Warehouse = "",
    ) -> CustomersDecided:
        return _decided(views.withdraw(place, asker, views.model(place, warehouse), decision, now=now))

    @made.post("/customers/preview", operation_id="previewRules", summary="See what other rules would make")
    @base.looks
    def preview(rules: Rules, asker: asking.Editor) -> Preview:
        """Takes as long as a resolution of all records; nothing is changed."""
        del asker
        of = views.model(place, rules.warehouse)
        found = views.previewed(place, of, rules.identifiers, rules.max_cluster)
        told = dataclasses.asdict(found)
        return Preview.model_validate({**told, "held": [saying.held(each) for each in found.held]})

    return made


def _decided(found: views.Decided) -> CustomersDecided:
    return CustomersDecided(
        decisions=[_told(CustomersDecision, each) for each in found.made],
        shown=found.resolved is not None,
        waits=found.waits,
    )


def _told(model: Any, found: Any) -> Any:
    """A frozen value as the API tells it."""
    values = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    return model.model_validate(
        {name: _plain(each) for name, each in values.items() if name in model.model_fields}
    )


def _plain(value: Any) -> Any:
    match value:
        case dt.datetime():
            return _utc(value)
        case tuple():
            return list(value)
        case dict():
            return base.exact(value)
    return value


def _utc(moment: dt.datetime | None) -> dt.datetime | None:
    """A moment in UTC; warehouses without zones tell those of UTC."""
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=dt.UTC)
