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
    """The id of the customer in the model's table."""
    known: dict[str, Any]
    """Properties that people tell customers by, such as `name` and `email`."""
    records: int
    """How many records are this customer."""
    accounts: int
    """Of how many accounts they are."""
    updated_at: base.Instant | None
    """When the profile changed last; null where that is not known."""


class CustomerRecord(base.Model):
    """A record of a customer."""

    record: str
    """Its key in the model, of pipeline, account and id."""
    pipeline: str
    """The pipeline that brought it."""
    account: str
    """The id of the account that it is of."""
    source_id: str
    """Its id at Stripe, such as `cus_NffrFeUfNV2Hib`."""
    home: str
    """The profile that it would have without the merge that brought it."""
    since: base.Instant | None
    """Since when it is of this customer; null where that is not known."""
    properties: dict[str, Any]
    """What it says, by the model's properties."""


class Identifier(base.Model):
    """A value that records are recognised by, in the form in which it is compared."""

    identifier: str
    """Which of the model's it is, such as `email`."""
    value: str
    """In the form in which it is compared, such as lower case."""
    records: list[str]
    """The customer's records that have it."""
    use: Literal["links", "alone", "shared", "ignored", "unused"]
    """It `links` several records, is `alone` on one, `shared` by too many, `ignored`, or `unused` by the rules."""


class CustomersDecision(base.Model):
    """What a person decided."""

    decision: str
    """Its id, to take it back by."""
    kind: Literal["together", "apart", "alone"]
    """Whether the two are `together` or `apart`, or the record is `alone`."""
    record: str
    """The record that it is about."""
    other: str
    """The record that it is together with, or apart from; empty where it is alone."""
    decided_at: base.Instant
    """Since when it is in force."""
    decided_by: str
    """Who did it."""
    note: str
    """Why, in their words."""
    withdrawn_at: base.Instant | None
    """When it was taken back; null while it is in force."""
    withdrawn_by: str | None
    """Who took it back; null while it is in force."""
    resolved_at: base.Instant | None
    """Since when the profiles show it, or that it was taken back; null where they do not yet."""


class Customer(base.Model):
    """A profile with all that belongs to it."""

    profile: str
    """The id of the customer in the model's table."""
    properties: dict[str, Any]
    """What is known, by the model's properties."""
    sources: dict[str, list[str]]
    """Of each property the pipelines whose records say the same."""
    count: int
    """How many records it has."""
    accounts: int
    """Of how many accounts they are."""
    first_seen_at: base.Instant | None
    """When its first record came; null where that is not known."""
    updated_at: base.Instant | None
    """When the profile changed last; null where that is not known."""
    records: list[CustomerRecord]
    """Its records; of many the first ones."""
    identifiers: list[Identifier]
    """What its records are recognised by."""
    aliases: list[str]
    """Ids of profiles that went into this one."""
    decisions: list[CustomersDecision]
    """What people decided about its records."""


class Why(base.Model):
    """Why two are one customer, or why not: a sentence for each step, or each thing that keeps them apart."""

    one_customer: bool
    """Are they?"""
    first: str
    """The profile of the one."""
    last: str
    """The profile of the other."""
    because: list[str]
    """A sentence for each step from one to the other, or for each thing that keeps them apart."""


class CustomersWish(base.Model):
    """What is to be decided."""

    action: Literal["merge", "apart", "split"]
    """`merge` makes `one` and `other` one customer, `apart` keeps them two, `split` takes `records` away."""
    one: Who
    """A profile, a former one, or a record."""
    other: Annotated[str, fastapi.Body(max_length=400)] = ""
    """The same, for `merge` and `apart`."""
    records: Annotated[tuple[Who, ...], fastapi.Body(max_length=200)] = ()
    """Those that leave `one`, for `split`."""
    note: Annotated[str, fastapi.Body(max_length=1000)] = ""
    """Why, for those who read it later."""
    now: Annotated[bool, fastapi.Body(strict=True)] = False
    """Show it in the profiles at once, not with the next run."""
    warehouse: Annotated[str, fastapi.Body(max_length=63)] = ""
    """That of the customer model, where there are several."""


class CustomersDecided(base.Model):
    """What was decided, or taken back."""

    decisions: list[CustomersDecision]
    """All that came of the wish."""
    shown: bool
    """Do the profiles show it already?"""
    waits: str
    """Why they do not, though that was wished; empty otherwise."""


class Rules(base.Model):
    """Rules to be tried; what is left out is as in the customer model."""

    identifiers: Annotated[list[Who], fastapi.Body(max_length=50, default_factory=list)]
    """What records are recognised by, the strongest first."""
    max_cluster: Annotated[int | None, fastapi.Body(ge=2, le=10_000, strict=True)] = None
    """Records that a customer may have; more are never one person."""
    warehouse: Annotated[str, fastapi.Body(max_length=63)] = ""
    """That of the customer model, where there are several."""


class Cluster(base.Model):
    """Records that would be one customer."""

    records: int
    """How many there are."""
    first: list[str]
    """The keys of the first ones."""
    profiles: list[str]
    """The profiles that they are of now."""


class Split(base.Model):
    """A profile that would come apart."""

    profile: str
    """Its id."""
    parts: list[Cluster]
    """What it would come apart into."""


class Preview(base.Model):
    """What rules would make of all records; nothing was changed."""

    records: int
    """Records that there are."""
    profiles: int
    """Customers that these rules would make of them."""
    profiles_now: int
    """Customers that there are now."""
    merges: int
    """Profiles that would go into another."""
    splits: int
    """Parts that would come off a profile."""
    largest: list[Cluster]
    """The largest customers that there would be."""
    merged: list[Cluster]
    """Examples of what would be merged, largest first."""
    parted: list[Split]
    """Examples of what would come apart, largest first."""
    held: list[str]
    """What the rules would not use and why, in sentences."""


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
        most = of.max_cluster if rules.max_cluster is None else rules.max_cluster
        found = views.previewed(place, of, rules.identifiers or of.identifiers, most)
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
