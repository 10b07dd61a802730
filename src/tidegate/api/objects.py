"""The configuration over HTTP, part by part: listed, looked at, checked, changed and removed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import fastapi

from tidegate import errors, views
from tidegate.api import base
from tidegate.engine import editing
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import configuration

Kind = Literal["stripe", "warehouses", "pulls", "customer_model", "pipelines", "models", "pushes", "alerts"]
Named = Literal["stripe", "warehouses", "pulls", "pipelines", "models", "pushes"]
Single = Literal["customer_model", "alerts"]
Name = Annotated[str, fastapi.Path(description="The part's name, such as `everything`.", max_length=63)]

BODY = (
    "What would be written in the file under its name. A secret that is given is kept encrypted; the mark that is "
    "shown for one keeps it as it is."
)


class Part(base.Model):
    """A part of the configuration."""

    kind: Kind
    """The section that it stands in."""
    name: str
    """Empty where there is one of its kind."""
    origin: Literal["file", "store"]
    """`file` can be changed in tidegate.yaml only, `store` is in the metadata database."""
    version: int
    """Grows with every change; 0 in the file."""
    body: dict[str, Any]
    """What is written; secrets are `{"secret": true, "last4": "...", "name": "..."}`."""
    line: int
    """Where it stands in the file; 0 where it does not."""
    changed_at: base.Moment | None
    """When it was changed last; null where it is in the file."""
    changed_by: str
    """Who changed it last; empty where it is in the file."""
    shadowed: bool
    """Does it not count, since the file has a part of its name?"""


class PartWish(base.Model):
    """A part as it shall be."""

    body: Annotated[dict[str, Any], fastapi.Body(description=BODY)]
    version: Annotated[int | None, fastapi.Body(ge=0, le=base.EXACT, strict=True)] = None
    """The one that was seen, null for a new one; If-Match says the same."""


class PartDraft(base.Model):
    """A body to be checked."""

    body: Annotated[dict[str, Any], fastapi.Body(description=BODY)]


class Fault(base.Model):
    """One thing that is wrong."""

    path: str
    """Where in the body, such as `schedule`; empty for all of it."""
    message: str
    """What is wrong, and what to write instead."""


class Verdict(base.Model):
    """What is wrong with a body; nothing was changed."""

    valid: bool
    """Would it be taken as it is?"""
    problems: list[Fault]
    """What is wrong; empty where nothing is."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("configuration"), desk.place

    def one(kind: str, name: str) -> editing.Object:
        found = editing.get(place, kind, name)
        if found is None:
            raise views.Unknown(f"There is no {kind} {name}.".replace(" .", "."))
        return found

    def answered(found: editing.Object, response: fastapi.Response) -> Part:
        response.headers["ETag"] = base.etag(found.version)
        return _part(found, editing.shown(place, found))

    def changed(
        asker: asking.Asker,
        kind: str,
        name: str,
        body: dict[str, Any] | None,
        seen: int | None,
        match: base.Match,
    ) -> editing.Change:
        with _matched(match):
            return editing.change(
                place,
                asker.name,
                kind,
                name,
                body,
                seen if match is None else match,
                via=asker.via,
                admin=asker.may("admin"),
            )

    def put(
        asker: asking.Asker,
        kind: str,
        name: str,
        wish: PartWish,
        match: base.Match,
        response: fastapi.Response,
    ) -> Part:
        _ours(place, kind, name)
        if wish.version is None and match is None and kept(kind, name) is not None:
            raise _unseen(kind, name, "; or choose another name" if name else "")
        done = changed(asker, kind, name, wish.body, wish.version, match)
        response.status_code = 201 if done.action == "create" else 200
        response.headers["ETag"] = base.etag(done.version)
        return _made(done)

    def delete(asker: asking.Asker, kind: str, name: str, version: int | None, match: base.Match) -> None:
        if kept(kind, name) is None:
            _ours(place, kind, name)
            if match is None:
                one(kind, name)
        elif version is None and match is None:
            raise _unseen(kind, name)
        changed(asker, kind, name, None, version, match)

    def kept(kind: str, name: str) -> editing.Object | None:
        wanted = (kind, name, "store")
        return next(
            (each for each in editing.objects(place) if (each.kind, each.name, each.origin) == wanted), None
        )

    def check(asker: asking.Asker, kind: str, name: str, draft: PartDraft) -> Verdict:
        found = editing.check(place, kind, name, draft.body, admin=asker.may("admin"))
        return Verdict(
            valid=not found, problems=[Fault(path=each.path, message=each.sentence) for each in found]
        )

    @made.get("/configuration", operation_id="listConfiguration", summary="List what is configured")
    def listed(
        asker: asking.Reader,
        paging: base.Paging,
        kind: Kind | None = None,
        origin: Literal["file", "store"] | None = None,
        search: Annotated[str, fastapi.Query(max_length=200, description="A part of the name.")] = "",
    ) -> base.Page[Part]:
        """In the order in which one may refer to another, and by name."""
        del asker
        found = [
            each
            for each in editing.objects(place)
            if kind in (None, each.kind)
            and origin in (None, each.origin)
            and search.lower() in each.name.lower()
        ]
        order = list(configuration.KINDS)
        keys = [(order.index(each.kind), each.name, each.origin) for each in found]
        after = paging.place(int, str, str)
        rest = [n for n, key in enumerate(keys) if after is None or key > after]
        page, show = rest[: paging.limit], editing.showing(place)
        more = base.cursor(*keys[page[-1]]) if len(rest) > len(page) else None
        return base.Page(items=[_part(found[n], show(found[n])) for n in page], next=more)

    @made.get(
        "/configuration/{kind}", operation_id="getSinglePart", summary="The customer model, or the alerts"
    )
    def get_single(kind: Single, asker: asking.Reader, response: fastapi.Response) -> Part:
        del asker
        return answered(one(kind, ""), response)

    @made.put(
        "/configuration/{kind}",
        operation_id="putSinglePart",
        summary="Change the customer model, or the alerts",
        responses={201: {"model": Part, "description": "It is new."}},
    )
    def put_single(
        kind: Single, wish: PartWish, asker: asking.Editor, match: base.IfMatch, response: fastapi.Response
    ) -> Part:
        return put(asker, kind, "", wish, match, response)

    @made.delete(
        "/configuration/{kind}",
        operation_id="deleteSinglePart",
        status_code=204,
        summary="Remove the customer model, or the alerts",
    )
    def delete_single(
        kind: Single, asker: asking.Editor, match: base.IfMatch, version: _Version = None
    ) -> None:
        delete(asker, kind, "", version, match)

    @made.post(
        "/configuration/{kind}/check",
        operation_id="checkSinglePart",
        summary="What would be wrong with a customer model, or with alerts",
    )
    @base.looks
    def check_single(kind: Single, draft: PartDraft, asker: asking.Editor) -> Verdict:
        return check(asker, kind, "", draft)

    @made.get("/configuration/{kind}/{name}", operation_id="getPart", summary="A part of the configuration")
    def get(kind: Named, name: Name, asker: asking.Reader, response: fastapi.Response) -> Part:
        del asker
        return answered(one(kind, name), response)

    @made.put(
        "/configuration/{kind}/{name}",
        operation_id="putPart",
        summary="Make or change a part of the configuration",
        responses={201: {"model": Part, "description": "It is new."}},
    )
    def put_named(
        kind: Named,
        name: Name,
        wish: PartWish,
        asker: asking.Editor,
        match: base.IfMatch,
        response: fastapi.Response,
    ) -> Part:
        """It is checked together with everything else; what is not valid changes nothing."""
        return put(asker, kind, name, wish, match, response)

    @made.delete(
        "/configuration/{kind}/{name}",
        operation_id="deletePart",
        status_code=204,
        summary="Remove a part of the configuration",
    )
    def delete_named(
        kind: Named, name: Name, asker: asking.Editor, match: base.IfMatch, version: _Version = None
    ) -> None:
        """Only what nothing else refers to."""
        delete(asker, kind, name, version, match)

    @made.post(
        "/configuration/{kind}/{name}/check",
        operation_id="checkPart",
        summary="What would be wrong with a part of the configuration",
    )
    @base.looks
    def check_named(kind: Named, name: Name, draft: PartDraft, asker: asking.Editor) -> Verdict:
        return check(asker, kind, name, draft)

    return made


_Version = Annotated[
    int | None,
    fastapi.Query(ge=0, le=base.EXACT, description="The version that was seen; If-Match says the same."),
]


def _unseen(kind: str, name: str, otherwise: str = "") -> base.Problem:
    """428 for a change that does not say of what."""
    return base.problem(
        428,
        f"Say which version of {kind}{'.' if name else ''}{name} you saw, as `version` or in the header If-Match, "
        f"so that nobody else's change is lost{otherwise}.",
    )


@contextlib.contextmanager
def _matched(match: base.Match) -> Iterator[None]:
    """A version that is not the last one is 412 where If-Match said it."""
    try:
        yield
    except errors.StoreConflict as error:
        if match is None:
            raise
        raise base.problem(412, str(error)) from None


def _ours(place: Any, kind: str, name: str) -> None:
    """Raises Refused for what the file has."""
    found = editing.get(place, kind, name)
    if found is not None and found.origin == "file":
        raise views.Refused(
            f"{kind}{'.' if name else ''}{name} is written in the file (line {found.line}); change it there."
        )


def _part(found: editing.Object, body: dict[str, Any]) -> Part:
    fields = {name: getattr(found, name) for name in Part.model_fields}
    return Part.model_validate({**fields, "body": base.exact(body), "changed_at": found.changed_at or None})


def _made(done: editing.Change) -> Part:
    """What a change made, whoever came after it."""
    assert done.after is not None, "it was not removed"
    return Part(
        kind=done.kind,  # type: ignore[arg-type]
        name=done.name,
        origin="store",
        version=done.version,
        body=base.exact(done.after),
        line=0,
        changed_at=done.changed_at,
        changed_by=done.changed_by,
        shadowed=False,
    )
