"""Stripe accounts over HTTP: connections, what their keys may do, connected accounts, and webhooks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import fastapi
import pydantic

from tidegate.api import base
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.stripe import keys
from tidegate.views import account_webhooks, connected_accounts
from tidegate.views import accounts as views

Name = Annotated[str, fastapi.Path(max_length=63, description="The connection's name in the configuration.")]


class Account(base.Model):
    """A connection, as far as it is known without asking Stripe."""

    name: str
    """As the configuration calls it."""
    mode: keys.Mode
    """`live` where its key is a live key; `test` otherwise."""
    last4: str
    """The last characters of its key; empty while there is none."""
    oauth: bool
    """Is it by "Sign in with Stripe"?"""
    whose: str
    """`own`, `all` with the connected accounts, or how many accounts are listed."""
    account_id: str
    """The id of its account, where the configuration names it; empty otherwise."""
    api_base: str
    """Where Stripe's API is reached."""
    flows: list[str]
    """What goes over it, by full names."""
    known: int
    """Accounts of which something was pulled."""
    endpoints: int
    """Webhook endpoints that we made."""
    refused: int
    """Tables that were not read for want of a permission."""


class Access(base.Model):
    """Whether a key may read one stream."""

    stream: str
    """Such as `charges`."""
    permission: str
    """What a restricted key needs for it, such as `rak_charge_read`."""
    status: str
    """`ok`, `no_permission`, `not_enabled` where the account lacks the product, or `failed`."""
    error: str
    """What Stripe said against it; empty where nothing."""


class Right(base.Model):
    """Whether a restricted key may write one kind of object, as far as that can be told without writing."""

    object: str
    """The kind of object, such as `customer`."""
    status: Literal["yes", "no", "unknown"]
    """`unknown` where only writing would tell."""
    permission: str
    """What a restricted key needs for it, such as `rak_customer_write`."""


class AccountTested(base.Model):
    """What a key may do."""

    account: str
    """The id of the account that the key is of."""
    mode: keys.Mode
    """`live` where the key is a live key; `test` otherwise."""
    restricted: bool
    """Is it a restricted key? A secret key may do everything."""
    access: list[Access]
    """What it may read, stream by stream."""
    events: str
    """Why events cannot be read; empty where they can."""
    missing: dict[str, list[str]]
    """Permissions that it lacks, with the streams that each is for."""
    rights: list[Right]
    """What pushes may write with it."""
    edit_link: str
    """Where the permissions of keys are changed, in Stripe's dashboard."""
    grant_link: str
    """Where a key is made with all of these permissions ticked."""


class DraftAccount(base.Model):
    """A connection that is not kept yet, as it would be written in the file."""

    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
    """What the configuration is to call it."""
    body: dict[str, Any]
    """Such as its `api_key`, `account` and `accounts`."""


class Connected(base.Model):
    """An account of a connection, and how many of its streams were pulled, refused, or failed."""

    account: str
    """Its id."""
    streams: int
    """Streams that were pulled of it."""
    refused: int
    """Those of them that the key may not read."""
    failed: int
    """Those of them that failed."""
    noted_at: base.Moment
    """When the oldest of this was noted."""


class AtStripe(base.Model):
    """A connected account as Stripe has it."""

    account: str
    """Its id."""
    name: str
    """The name of its business; empty where it gave none."""
    country: str
    """Two letters, such as `DE`; empty where Stripe does not say."""
    enabled: bool
    """May it take charges?"""
    created: base.Moment | None
    """When it was made; null where Stripe does not say."""


class Endpoint(base.Model):
    """A webhook endpoint that we made."""

    id: str
    """As Stripe calls it, such as `we_1Mr5jULkdIwHu7ix1ibLTM0x`."""
    scope: str
    """`account` for the account's own events, `connect` for those of connected accounts."""
    url: str
    """Where Stripe delivers."""
    version: str
    """The API version in which events come."""
    made_at: base.Moment
    """When it was made."""
    status: str
    """What Stripe says of it now, such as `enabled`, or why it says nothing; empty where it was not asked."""
    types: int | None
    """How many types of events Stripe delivers to it; null where it was not asked."""


class Webhooks(base.Model):
    """The endpoints of a connection, and what came through them."""

    endpoints: list[Endpoint]
    """Those that we made."""
    kept: int
    """Events that were delivered and are kept still."""
    last: base.Moment | None
    """When the last one came; null where none did."""
    waiting: int
    """Events of more than a minute ago that some flow has not committed yet."""


class Way(base.Model):
    """Where Stripe reaches this server."""

    url: Annotated[str, pydantic.Field(max_length=2000)]
    """Its address on the internet, with https."""
    rotate: Annotated[bool, pydantic.Field(strict=True)] = False
    """Make new endpoints, which have other secrets."""


class Enabled(base.Model):
    """What was done about an endpoint."""

    scope: str
    """`account` for the account's own events, `connect` for those of connected accounts."""
    id: str
    """As Stripe calls it."""
    url: str
    """Where Stripe delivers."""
    version: str
    """The API version in which events come."""
    types: int
    """How many types of events Stripe delivers to it."""
    left_out: list[str]
    """Event types that this Stripe does not know."""
    made: bool
    """Is it new? Otherwise it was there, and was brought up to date."""


class Removed(base.Model):
    """How many endpoints are gone."""

    removed: int
    """Endpoints that Stripe delivers nothing more to."""


class Since(base.Model):
    """What is heard again."""

    since: Annotated[str, pydantic.Field(max_length=30)] | None = None
    """How long back, such as `2h` or `3d`; everything that is kept where nothing is said."""


class Replayed(base.Model):
    """How many events each flow hears again."""

    flows: dict[str, int]
    """How many, by the flow's full name."""


class WebhookTarget(base.Model):
    """Another address than the known one; for an endpoint that was made by hand."""

    url: Annotated[str, pydantic.Field(max_length=2000)] = ""
    """The known one where it is empty."""


class Proven(base.Model):
    """The address that took a signed event."""

    url: str
    """Where the event was delivered."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("accounts"), desk.place

    @made.get("/accounts", operation_id="listAccounts", summary="List the connections to Stripe")
    def listed(asker: asking.Reader, paging: base.Paging) -> base.Page[Account]:
        del asker
        after = paging.place(str)
        found = [each for each in views.listed(place) if after is None or each.name > after[0]]
        shown = found[: paging.limit]
        return base.Page(
            items=[Account.model_validate(each) for each in shown],
            next=base.cursor(shown[-1].name) if len(found) > len(shown) else None,
        )

    @made.get("/accounts/{name}", operation_id="getAccount", summary="One connection to Stripe")
    def get(name: Name, asker: asking.Reader) -> Account:
        del asker
        return Account.model_validate(views.one(place, name))

    @made.post("/accounts/{name}/test", operation_id="testAccount", summary="Find out what a key may do")
    @base.looks
    def test(name: Name, asker: asking.Operator) -> AccountTested:
        """Asks every list for one row; nothing is written."""
        del asker
        return AccountTested.model_validate(views.try_key(place, name))

    @made.post(
        "/accounts/test",
        operation_id="testDraftAccount",
        summary="Find out what a key may do, without keeping it",
    )
    @base.looks
    def test_draft(draft: DraftAccount, asker: asking.Editor) -> AccountTested:
        admin = asker.may("admin")
        return AccountTested.model_validate(views.try_draft(place, draft.name, draft.body, admin=admin))

    @made.get(
        "/accounts/{name}/connected",
        operation_id="listConnectedAccounts",
        summary="List the accounts of which something was pulled",
    )
    def connected(
        name: Name,
        asker: asking.Reader,
        paging: base.Paging,
        search: Annotated[str, fastapi.Query(max_length=200, description="A part of the id.")] = "",
    ) -> base.Page[Connected]:
        del asker
        after = paging.place(str)
        found = connected_accounts.connected(
            place, name, search=search, after="" if after is None else after[0], limit=paging.limit
        )
        return base.Page(
            items=[Connected.model_validate(each) for each in found.items],
            next=None if found.next is None else base.cursor(found.next),
        )

    @made.get(
        "/accounts/{name}/connected-at-stripe",
        operation_id="listConnectedAtStripe",
        summary="List the connected accounts that Stripe knows",
    )
    def at_stripe(
        name: Name,
        asker: asking.Operator,
        limit: Annotated[int, fastapi.Query(ge=1, le=100)] = 50,
        after: Annotated[str, fastapi.Query(pattern="^(acct_[A-Za-z0-9]{1,100})?$")] = "",
        search: Annotated[str, fastapi.Query(max_length=200, description="The whole id of one.")] = "",
    ) -> base.Page[AtStripe]:
        del asker
        found = connected_accounts.at_stripe(place, name, search=search, after=after, limit=limit)
        return base.Page(items=[AtStripe.model_validate(each) for each in found.items], next=found.next)

    @made.get(
        "/accounts/{name}/webhooks", operation_id="getWebhooks", summary="The endpoints of a connection"
    )
    def webhooks(
        name: Name,
        asker: asking.Reader,
        ask: Annotated[bool, fastapi.Query(description="Ask Stripe what it says of them now.")] = False,
    ) -> Webhooks:
        found = account_webhooks.webhooks(place, name, ask=ask and asker.may("run"))
        return Webhooks(
            endpoints=[
                Endpoint(
                    id=each.kept.id,
                    scope=each.kept.scope,
                    url=each.kept.url,
                    version=each.kept.version,
                    made_at=each.kept.made_at,
                    status=each.status,
                    types=each.types,
                )
                for each in found.endpoints
            ],
            kept=found.traffic.kept,
            last=found.traffic.last,
            waiting=found.traffic.waiting,
        )

    @made.put(
        "/accounts/{name}/webhooks",
        operation_id="enableWebhooks",
        summary="Have Stripe deliver events as they happen",
    )
    def enable(name: Name, way: Way, asker: asking.Editor) -> list[Enabled]:
        """Endpoints that are there are brought up to date; the same again changes nothing."""
        done = account_webhooks.enable_webhooks(place, asker, name, way.url, rotate=way.rotate)
        return [Enabled.model_validate(each) for each in done]

    @made.delete(
        "/accounts/{name}/webhooks",
        operation_id="disableWebhooks",
        summary="Have Stripe deliver nothing more",
    )
    def disable(name: Name, asker: asking.Editor) -> Removed:
        return Removed(removed=account_webhooks.disable_webhooks(place, asker, name))

    @made.post(
        "/accounts/{name}/webhooks/replay",
        operation_id="replayWebhooks",
        summary="Have what was delivered heard again",
    )
    def replay(name: Name, asker: asking.Operator, since: Since | None = None) -> Replayed:
        seconds = account_webhooks.since(since.since if since is not None else None)
        return Replayed(flows=account_webhooks.replay_webhooks(place, asker, name, seconds))

    @made.post(
        "/accounts/{name}/webhooks/test",
        operation_id="testWebhooks",
        summary="Deliver a signed event to ourselves, on the way that Stripe takes",
    )
    def prove(name: Name, asker: asking.Editor, target: WebhookTarget | None = None) -> Proven:
        url = target.url if target is not None else ""
        return Proven(url=account_webhooks.prove_webhooks(place, asker, name, url))

    return made
