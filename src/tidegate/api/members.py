"""Members and tokens over HTTP: who may sign in, and what programs present. All of it is for admins.

Links and tokens are told once, in the answer to the call that makes them.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from typing import Annotated, TypeVar

import fastapi
import pydantic

from tidegate.api import base
from tidegate.engine import flows
from tidegate.server import asking, signing
from tidegate.server import desk as desks
from tidegate.store import invitations, membership, people, tokens

Kept = TypeVar("Kept", people.Member, tokens.Token)

LONGEST = 3650 * 86_400
"""Seconds that a token which expires may last."""
ANOTHER_LINK = "ask for another one (POST /api/v1/members/NAME/link)"
Name = Annotated[str, fastapi.Path(description="The member's name: an e-mail address.", max_length=300)]
TokenName = Annotated[str, fastapi.Path(description="The token's name.", max_length=300)]


class Member(base.Model):
    """Who may sign in to the pages."""

    name: str
    """An e-mail address, or a word, in lower case."""
    role: people.Role
    """What they may: each role all of those before it, from `viewer` to `admin`."""
    state: people.State
    """`invited` has not come yet; `disabled` may not sign in."""
    signs_in_by: str
    """`password`, `provider` for single sign-on, or `link` while there is neither."""
    made_at: base.Moment
    """When they were invited."""
    made_by: str
    """Who invited them."""
    signed_in_at: base.Moment | None
    """When they signed in last; null where they never did."""


class Link(base.Model):
    """An address that signs a member in, once; it is not told again."""

    name: str
    """The member's."""
    url: str
    """Whoever opens it first is signed in."""
    lasts: float
    """Seconds for which it works."""


class NewMember(base.Model):
    """Who is invited."""

    name: Annotated[str, pydantic.Field(max_length=300, examples=["ann@example.com"])]
    """An e-mail address, or a word."""
    role: people.Role = "viewer"
    """What they may: each role all of those before it, from `viewer` to `admin`."""


class Change(base.Model):
    """What becomes of a member; what is left out stays."""

    role: people.Role | None = None
    """What they may from now on."""
    disabled: Annotated[bool | None, pydantic.Field(strict=True)] = None
    """True keeps them out, with the tokens that they made; false lets them in again."""


class Token(base.Model):
    """What is known of a token."""

    name: str
    """As it was called when it was made."""
    begins: str
    """Its first characters."""
    scope: tokens.Scope
    """What it may now: no more than the member who made it."""
    given: tokens.Scope
    """The scope that it was made with."""
    made_by: str | None
    """The member who made it; null for one of the command line."""
    resting: bool
    """Is it refused, since its maker is disabled?"""
    flows: list[str]
    """The only flows that it is for, by full names; all where there are none."""
    made_at: base.Moment
    """When it was made."""
    used_at: base.Moment | None
    """When it was used last, to the minute; null where it never was."""
    expires_at: base.Moment | None
    """When it ends; null where it lasts until it is revoked."""


class NewToken(base.Model):
    """A token that is to be made."""

    name: Annotated[str, pydantic.Field(max_length=300, examples=["dbt"])]
    """What it is called in lists and in the audit log."""
    scope: tokens.Scope = "run"
    """What it may: each scope all of those before it, from `read` to `admin`."""
    flows: Annotated[list[str], pydantic.Field(max_length=1000, default_factory=list)]
    """The only flows that it is for; all where none is named."""
    lasts: Annotated[int | None, pydantic.Field(ge=1, le=LONGEST, strict=True)] = None
    """Seconds; without them it lasts until it is revoked."""


class MadeToken(base.Model):
    """The token itself; it is not told again."""

    name: str
    """As it is called from now on."""
    token: str
    """What programs present as `Authorization: Bearer ...`."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, store = base.router("members"), desk.place.store

    @made.get("/members", operation_id="listMembers", summary="List members by their names")
    def members(asker: asking.Admin, paging: base.Paging) -> base.Page[Member]:
        del asker
        shown, rest = _page(people.listed(store), paging)
        return base.Page(items=[Member.model_validate(each) for each in shown], next=rest)

    @made.post("/members", operation_id="inviteMember", status_code=201, summary="Invite a member")
    @base.told_once(ANOTHER_LINK)
    def invite(
        asker: asking.Admin, new: NewMember, request: fastapi.Request, response: fastapi.Response
    ) -> Link:
        """The new member, with a link that signs in once, within 7 days."""
        if people.find(store, new.name) is not None:
            raise base.problem(409, f"There is a member of this name already; for a link, {ANOTHER_LINK}.")
        membership.add(store, _by(asker), new.name, new.role)
        link = _link(request, asker, new.name)
        response.headers["Location"] = f"{base.PREFIX}/members/{urllib.parse.quote(link.name, safe='@')}"
        return link

    @made.get("/members/{name}", operation_id="getMember", summary="A member")
    def get(asker: asking.Admin, name: Name) -> Member:
        del asker
        return Member.model_validate(_found(name))

    @made.patch(
        "/members/{name}", operation_id="changeMember", summary="Change a member's role, or keep one out"
    )
    def change(asker: asking.Admin, name: Name, change: Change) -> Member:
        """Whoever may do less now is signed out everywhere; the last admin stays one."""
        _found(name)
        if change.role is not None:
            membership.change_role(store, _by(asker), name, change.role)
        if change.disabled is not None:
            (membership.disable if change.disabled else membership.enable)(store, _by(asker), name)
        return Member.model_validate(_found(name))

    @made.delete("/members/{name}", operation_id="removeMember", status_code=204, summary="Forget a member")
    def remove(asker: asking.Admin, name: Name) -> None:
        """The member's sessions end at once, and the tokens that the member made are revoked."""
        _found(name)
        membership.remove(store, _by(asker), name)

    @made.post(
        "/members/{name}/link", operation_id="linkMember", status_code=201, summary="Make a member a link"
    )
    @base.told_once("ask for one more, with another key")
    def link(asker: asking.Admin, name: Name, request: fastapi.Request) -> Link:
        """A link that signs in once, to choose a password; links that were made before do not work any more."""
        return _link(request, asker, _found(name).name)

    @made.get("/tokens", operation_id="listTokens", summary="List tokens by their names")
    def listed(asker: asking.Admin, paging: base.Paging) -> base.Page[Token]:
        del asker
        shown, rest = _page(tokens.listed(store), paging)
        return base.Page(items=[_token(each) for each in shown], next=rest)

    @made.post("/tokens", operation_id="createToken", status_code=201, summary="Make a token")
    @base.told_once(
        "revoke the token (DELETE /api/v1/tokens/NAME) and make it anew, with another Idempotency-Key"
    )
    def create(asker: asking.Admin, new: NewToken) -> MadeToken:
        """A new token; only its SHA-256 is kept. It ends with the member who makes it."""
        chosen = [flows.of(desk.place.file, each).name for each in new.flows]
        lasts = None if new.lasts is None else float(new.lasts)
        secret = tokens.create(
            store,
            new.name,
            new.scope,
            flows=chosen,
            lasts=lasts,
            maker=asker.maker,
            who=asker.name,
            via=asker.via,
        )
        return MadeToken(name=new.name, token=secret)

    @made.delete("/tokens/{name:path}", operation_id="revokeToken", status_code=204, summary="Revoke a token")
    def revoke(asker: asking.Admin, name: TokenName) -> None:
        """Whoever presents it is refused from now on."""
        if not tokens.revoke(store, name, who=asker.name, via=asker.via):
            raise base.problem(404, "There is no token of this name.")

    def _found(name: str) -> people.Member:
        found = people.find(store, name)
        if found is None:
            raise base.problem(404, "There is no member of this name.")
        return found

    def _link(request: fastapi.Request, asker: asking.Asker, name: str) -> Link:
        member = people.get(store, name)
        secret = membership.invite(store, _by(asker), member.name)
        lasts = invitations.LASTS["invite" if member.state == "invited" else "reset"]
        return Link(
            name=member.name, url=f"{signing.origin(desk, request)}{signing.ENTER}{secret}", lasts=lasts
        )

    return made


def _page(found: Sequence[Kept], paging: base.Asked) -> tuple[Sequence[Kept], str | None]:
    """Those of one page, which are sorted by name, and where the next one begins."""
    after = paging.place(str)
    rest = [each for each in found if after is None or each.name > after[0]]
    shown = rest[: paging.limit]
    return shown, base.cursor(shown[-1].name) if len(rest) > len(shown) else None


def _token(each: tokens.Token) -> Token:
    return Token(
        name=each.name,
        begins=each.start,
        scope=each.scope,
        given=each.given,
        made_by=each.made_by or None,
        resting=each.resting,
        flows=list(each.flows),
        made_at=each.made_at,
        used_at=each.used_at,
        expires_at=each.expires_at,
    )


def _by(asker: asking.Asker) -> membership.By:
    return membership.By(asker.name, asker.via)
