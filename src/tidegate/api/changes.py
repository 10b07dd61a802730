"""The audit log over HTTP: who changed what, and how it was before."""

from __future__ import annotations

from typing import Annotated, Any

import fastapi
import pydantic

from tidegate.api import base
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.store import trail


class ChangeLine(base.Model):
    """A line of the audit log: who changed what, and how it was before."""

    number: int
    """Grows with every line."""
    at: base.Moment
    """When it was changed."""
    who: str
    """The member or the token that did it."""
    via: str
    """`session`, `token`, `cli`, or how else it came."""
    action: str
    """Such as `create`, `change`, `delete` or `sign in`."""
    what: str
    """Such as `pulls.everything`."""
    before: Any
    """How it was, with secrets masked; null where there was nothing."""
    after: Any
    """How it became, with secrets masked; null where there is nothing more."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("configuration"), desk.place

    @made.get("/changes", operation_id="listChanges", summary="The audit log, the newest first")
    def changes(
        asker: asking.Admin,
        paging: base.Paging,
        who: Annotated[str, fastapi.Query(max_length=200)] = "",
        action: Annotated[str, fastapi.Query(max_length=200)] = "",
        what: Annotated[
            str, fastapi.Query(max_length=200, description="Such as pulls.everything, or all of pulls.")
        ] = "",
        search: Annotated[
            str, fastapi.Query(max_length=200, description="A part of who, action or what.")
        ] = "",
        since: Annotated[
            pydantic.AwareDatetime | None, fastapi.Query(description="Only those from this time on.")
        ] = None,
        until: Annotated[
            pydantic.AwareDatetime | None, fastapi.Query(description="Only those before this time.")
        ] = None,
    ) -> base.Page[ChangeLine]:
        del asker
        after = paging.place(int)
        found = trail.listed(
            place.store,
            who=who,
            action=action,
            what=what,
            search=search,
            since=None if since is None else since.timestamp(),
            until=None if until is None else until.timestamp(),
            before=None if after is None else min(after[0], base.EXACT),
            limit=paging.limit + 1,
        )
        page = found[: paging.limit]
        more = base.cursor(page[-1].number) if len(found) > len(page) else None
        return base.Page(items=[_line(each) for each in page], next=more)

    return made


def _line(line: trail.Line) -> ChangeLine:
    fields = {name: getattr(line, name) for name in ChangeLine.model_fields}
    return ChangeLine.model_validate(
        {**fields, "before": base.exact(line.before), "after": base.exact(line.after)}
    )
