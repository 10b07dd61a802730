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
    """A connection, as far as it is known without asking Stripe; `last4` are the last characters of its key."""

    name: str
    mode: keys.Mode
    last4: str
    oauth: bool
    whose: str
    account_id: str
    api_base: str
    flows: list[str]
    known: int
    """Accounts of which something was pulled."""
    endpoints: int
    """Webhook endpoints that we made."""
    refused: int
    """Tables that were not read for want of a permission."""


class Access(base.Model):
    """Whether a key may read one stream."""

    stream: str
    permission: str
    status: str
    error: str


class Right(base.Model):
    """Whether a restricted key may write one kind of object, as far as that can be told without writing."""

    object: str
    status: Literal["yes", "no", "unknown"]
    permission: str


class AccountTested(base.Model):
    """What a key may do; `missing` are permissions and the streams that each is for."""

    account: str
    mode: keys.Mode
    restricted: bool
    access: list[Access]
    events: str
    """Why events cannot be read; empty where they can."""
    missing: dict[str, list[str]]
    rights: list[Right]
    edit_link: str
    grant_link: str
    """Where a key is made with all of these permissions ticked."""


class DraftAccount(base.Model):
    """A connection that is not kept yet, as it would be written in the file."""

    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
    body: dict[str, Any]


class Connected(base.Model):
    """An account of a connection, and how many of its streams were pulled, refused, or failed."""

    account: str
    streams: int
    refused: int
    failed: int
    noted_at: base.Moment


class AtStripe(base.Model):
    """A connected account as Stripe has it; `enabled` says whether it may take charges."""

    account: str
    name: str
    country: str
    enabled: bool
    created: base.Moment | None


class Endpoint(base.Model):
    """A webhook endpoint; `status` and `types` are what Stripe says, where it was asked."""

    id: str
    scope: str
    url: str
    version: str
    made_at: base.Moment
    status: str
    types: int | None


class Webhooks(base.Model):
    """The endpoints of a connection, and what came through them; `waiting` is not committed by some flow yet."""

    endpoints: list[Endpoint]
    kept: int
    last: base.Moment | None
    waiting: int


class Way(base.Model):
    """Where Stripe reaches this server; with `rotate` by new endpoints, with other secrets."""

    url: Annotated[str, pydantic.Field(max_length=2000)]
    rotate: Annotated[bool, pydantic.Field(strict=True)] = False


class Enabled(base.Model):
    """What was done about an endpoint; `left_out` are event types that this Stripe does not know."""

    scope: str
    id: str
    url: str
    version: str
    types: int
    left_out: list[str]
    made: bool


class Removed(base.Model):
    """How many endpoints are gone."""

    removed: int


class Since(base.Model):
    """How long back, such as 2h or 3d; everything that is kept where nothing is said."""

    since: Annotated[str, pydantic.Field(max_length=30)] | None = None


class Replayed(base.Model):
    """How many events each flow hears again."""

    flows: dict[str, int]


class WebhookTarget(base.Model):
    """Another address than the known one; for an endpoint that was made by hand."""

    url: Annotated[str, pydantic.Field(max_length=2000)] = ""


class Proven(base.Model):
    """The address that took a signed event."""

    url: str


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
