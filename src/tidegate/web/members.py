"""Settings: members and their roles, tokens of programs. Links and tokens are shown once, when they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import fastapi
from fastapi import Form
from starlette import requests, responses

from tidegate import errors
from tidegate.engine import flows
from tidegate.server import asking, desk, problems, signing
from tidegate.store import database, membership, people, sessions, tokens
from tidegate.web import frame, tables

MEMBERS = "/settings/members"
TOKENS = "/settings/tokens"
DAY = 86_400.0
ROWS = 100
"""Members on a page."""
LASTS = (("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("", "until it is revoked"))
"""For how long a token may be: days, as text."""
ROLES = (
    ("viewer", "Viewer: looks"),
    ("operator", "Operator: also begins and ends runs, approves plans, decides on rows"),
    ("editor", "Editor: also changes what is configured"),
    ("admin", "Admin: also decides who may do what"),
)
SCOPES = (
    ("read", "read: looks"),
    ("run", "run: also begins and ends runs"),
    ("write", "write: also changes what is configured"),
    ("admin", "admin: also decides who may do what"),
)
CHIPS = {"active": "ok", "invited": "waiting", "disabled": "off"}

Text = Annotated[str, Form()]
Answer = responses.Response


def router(at: desk.Desk) -> fastapi.APIRouter:
    """The routes."""
    made = fastapi.APIRouter(include_in_schema=False, default_response_class=responses.HTMLResponse)
    store = at.place.store

    @made.get(MEMBERS)
    def members(request: requests.Request, asker: asking.Admin) -> Answer:
        return _members(store, request, asker)

    @made.post(MEMBERS)
    def invite(
        request: requests.Request, asker: asking.Admin, name: Text = "", role: Text = "viewer"
    ) -> Answer:
        try:
            member = membership.add(store, _by(asker), name, _role(role))
            link = membership.invite(store, _by(asker), member.name)
        except (errors.ConfigError, errors.StoreConflict) as error:
            return _members(store, request, asker, name=name, role=role, wrong=str(error), status=422)
        return _member(at, request, asker, member.id, link=link)

    @made.get(MEMBERS + "/{member}")
    def member(request: requests.Request, asker: asking.Admin, member: str) -> Answer:
        return _member(at, request, asker, member)

    @made.post(MEMBERS + "/{member}/link")
    def link(request: requests.Request, asker: asking.Admin, member: str) -> Answer:
        secret = membership.invite(store, _by(asker), _named(store, member).name)
        return _member(at, request, asker, member, link=secret)

    @made.post(MEMBERS + "/{member}/role")
    def role(request: requests.Request, asker: asking.Admin, member: str, role: Text = "") -> Answer:
        found = _named(store, member)
        membership.change_role(store, _by(asker), found.name, _role(role))
        return frame.done(request, f"{MEMBERS}/{member}", f"{found.name} has the role {role} now.")

    @made.post(MEMBERS + "/{member}/disable")
    def disable(request: requests.Request, asker: asking.Admin, member: str) -> Answer:
        found = _named(store, member)
        membership.disable(store, _by(asker), found.name)
        return frame.done(
            request, f"{MEMBERS}/{member}", f"{found.name} is signed out everywhere, and disabled."
        )

    @made.post(MEMBERS + "/{member}/enable")
    def enable(request: requests.Request, asker: asking.Admin, member: str) -> Answer:
        found = _named(store, member)
        membership.enable(store, _by(asker), found.name)
        return frame.done(request, f"{MEMBERS}/{member}", f"{found.name} may sign in again.")

    @made.post(MEMBERS + "/{member}/remove")
    def remove(request: requests.Request, asker: asking.Admin, member: str, words: Text = "") -> Answer:
        found = _named(store, member)
        _typed(words, found.name)
        ended = membership.remove(store, _by(asker), found.name)
        told = f", and the tokens {', '.join(ended)} are revoked" if ended else ""
        return frame.done(request, MEMBERS, f"{found.name} is no member any more{told}.")

    @made.get(TOKENS)
    def listed(request: requests.Request, asker: asking.Admin) -> Answer:
        return _tokens(at, request, asker)

    @made.post(TOKENS)
    def create(
        request: requests.Request,
        asker: asking.Admin,
        name: Text = "",
        scope: Text = "run",
        lasts: Text = "",
        flow: Annotated[list[str], Form()] = [],  # noqa: B006, FastAPI copies it
    ) -> Answer:
        given = {"name": name, "scope": scope, "lasts": lasts, "flows": flow}
        try:
            secret = tokens.create(
                store,
                name,
                _scope(scope),
                flows=[flows.of(at.place.file, each).name for each in flow],
                lasts=_days(lasts),
                maker=asker.maker,
                who=asker.name,
                via=asker.via,
            )
        except errors.ConfigError as error:
            return _tokens(at, request, asker, given=given, wrong=str(error), status=422)
        return _tokens(at, request, asker, made={"name": name, "secret": secret})

    @made.post(TOKENS + "/revoke")
    def revoke(request: requests.Request, asker: asking.Admin, name: Text = "", words: Text = "") -> Answer:
        _typed(words, name)
        if not tokens.revoke(store, name, who=asker.name, via=asker.via):
            raise problems.Problem(404, "There is no such token any more.")
        return frame.done(request, TOKENS, f"{name} is revoked: whoever presents it is refused.")

    return made


def _members(
    store: database.Database,
    request: requests.Request,
    asker: asking.Asker,
    *,
    status: int = 200,
    **form: str,
) -> Answer:
    """The page of all members, and the form that invites one."""
    asked = tables.asked(
        request, filters=("role", "state"), sorts=("name", "role", "signed_in"), default="name"
    )
    found = [
        each
        for each in people.listed(store)
        if asked.search.lower() in each.name
        and asked.filters["role"] in ("", each.role)
        and asked.filters["state"] in ("", each.state)
    ]
    keys: dict[str, Callable[[people.Member], Any]] = {
        "name": lambda each: each.name,
        "role": lambda each: (people.ROLES.index(each.role), each.name),
        "signed_in": lambda each: each.signed_in_at or 0.0,
    }
    found.sort(key=keys[asked.sorted_by], reverse=asked.descending)
    if asked.format == "csv":
        headings = ("name", "role", "state", "signs in by", "member since", "last signed in")
        return tables.csv(request, "members", headings, _lines(found))
    ui = frame.parts()
    table = tables.Table(
        "members",
        [
            tables.Column("name", "Name", sort=True, wide=True),
            tables.Column("role", "Role", sort=True),
            tables.Column("state", "State"),
            tables.Column("how", "Signs in by"),
            tables.Column("signed_in", "Last signed in", sort=True),
        ],
        [
            tables.Row(
                {
                    "name": each.name,
                    "role": each.role.capitalize(),
                    "state": ui.chip(CHIPS[each.state], each.state.capitalize()),
                    "how": each.signs_in_by,
                    "signed_in": ui.when(each.signed_in_at),
                },
                href=f"{MEMBERS}/{each.id}",
            )
            for each in found[(asked.page - 1) * ROWS : asked.page * ROWS]
        ],
        total=len(found),
        pages=-(-len(found) // ROWS),
        asked=asked,
        filters=[
            tables.Choice("role", "Role", [(each, each.capitalize()) for each in people.ROLES]),
            tables.Choice("state", "State", [(each, each.capitalize()) for each in CHIPS]),
        ],
        empty=tables.Empty("No members yet.", "Invite the first one below."),
        caption="Members",
    )
    return frame.page(
        request,
        asker,
        "members.html",
        status=status,
        table=table,
        roles=ROLES,
        form={"name": "", "role": "viewer", "wrong": "", **form},
    )


def _member(
    at: desk.Desk, request: requests.Request, asker: asking.Asker, id_: str, *, link: str = ""
) -> Answer:
    """The page of one member; with a link that was just made."""
    found = _named(at.place.store, id_)
    return frame.page(
        request,
        asker,
        "member.html",
        member=found,
        roles=ROLES,
        chip=CHIPS[found.state],
        signed_in=len(sessions.of(at.place.store, found.id)),
        tokens=[each.name for each in tokens.of(at.place.store, found.id)],
        link=f"{signing.origin(at, request)}{signing.ENTER}{link}" if link else "",
        url=f"{MEMBERS}/{found.id}",
    )


def _tokens(
    at: desk.Desk,
    request: requests.Request,
    asker: asking.Asker,
    *,
    status: int = 200,
    given: dict[str, Any] | None = None,
    wrong: str = "",
    made: dict[str, str] | None = None,
) -> Answer:
    """The page of all tokens, and the form that makes one; with one that was just made."""
    store = at.place.store
    return frame.page(
        request,
        asker,
        "tokens.html",
        status=status,
        tokens=tokens.listed(store),
        now=store.now(),
        flows=sorted(flows.flows(at.place.file)),
        scopes=SCOPES,
        lasts=LASTS,
        given={"name": "", "scope": "run", "lasts": "90", "flows": [], **(given or {})},
        wrong=wrong,
        made=made,
        revoke=TOKENS + "/revoke",
    )


def _named(store: database.Database, id_: str) -> people.Member:
    found = next((each for each in people.listed(store) if each.id == id_), None)
    if found is None:
        raise problems.Problem(404, "There is no such member any more.")
    return found


def _typed(words: str, name: str) -> None:
    if words.strip() != name:
        raise problems.Problem(422, f"Type {name} to go on; nothing was changed.")


def _role(text: str) -> people.Role:
    for role in people.ROLES:
        if role == text:
            return role
    raise errors.ConfigError(f"A role is one of {', '.join(people.ROLES)}.")


def _scope(text: str) -> tokens.Scope:
    for scope in tokens.SCOPES:
        if scope == text:
            return scope
    raise errors.ConfigError(f"A scope is one of {', '.join(tokens.SCOPES)}.")


def _days(text: str) -> float | None:
    if text not in dict(LASTS):
        raise errors.ConfigError("Choose one of the times.")
    return int(text) * DAY if text else None


def _lines(found: Iterable[people.Member]) -> Iterable[tuple[Any, ...]]:
    for each in found:
        last = None if each.signed_in_at is None else frame.iso(each.signed_in_at)
        yield each.name, each.role, each.state, each.signs_in_by, frame.iso(each.made_at), last


def _by(asker: asking.Asker) -> membership.By:
    return membership.By(asker.name, asker.via)
