"""The rules by which records are one customer: kept, and previewed before they are."""

from __future__ import annotations

import fastapi
from starlette import datastructures, requests, responses

from tidegate import config, errors
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import customers as views
from tidegate.views import saying
from tidegate.web import configured, customers, frame


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(f"{customers.PATH}/-/rules")
    def rules(
        request: requests.Request, asker: asking.Reader, warehouse: customers.Warehouse = ""
    ) -> responses.Response:
        of = views.model(place, warehouse)
        return _rules(request, asker, place, of, list(of.identifiers), str(of.max_cluster))

    @made.post(f"{customers.PATH}/-/rules")
    def keep(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        of = views.model(place, configured.text(sent, "warehouse"))
        configured.changeable(configured.written(place, views.KIND, ""))
        identifiers, most = _wanted(sent)
        try:
            views.keep_rules(
                place, asker, of, identifiers, _most(most), configured.version(sent), admin=asker.may("admin")
            )
        except (errors.ConfigError, errors.StoreConflict) as error:
            return _rules(request, asker, place, of, identifiers, most, error)
        return frame.done(
            request,
            f"{customers.PATH}/-/rules",
            "The rules are kept; the next run of a pipeline goes by them.",
        )

    @made.post(f"{customers.PATH}/-/preview")
    def preview(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        of = views.model(place, configured.text(sent, "warehouse"))
        identifiers, most = _wanted(sent)
        found = views.previewed(place, of, identifiers, _most(most))
        return frame.placed(
            request,
            asker,
            "part_customers_preview.html",
            lambda html: _rules(request, asker, place, of, identifiers, most, preview=html),
            found=found,
            identifiers=identifiers,
            most=_most(most),
            few=saying.few,
            held=[saying.held(each) for each in found.held],
        )

    return made


def _wanted(sent: datastructures.FormData) -> tuple[list[str], str]:
    """The rules that a form holds: identifiers in their order, and how many records a customer may have."""
    text = configured.text(sent, "identifiers").replace(",", " ")
    return text.split(), configured.text(sent, "max_cluster").strip()


def _most(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0


def _rules(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    of: config.CustomerModel,
    identifiers: list[str],
    most: str,
    error: errors.TidegateError | None = None,
    preview: str = "",
) -> responses.Response:
    from tidegate.shape import profile

    part = configured.written(place, views.KIND, "")
    return frame.page(
        request,
        asker,
        "customers_rules.html",
        status=configured.status(error),
        of=of,
        part=configured.stood(part, error),
        stale=isinstance(error, errors.StoreStale),
        locked=configured.locked(part),
        identifiers=identifiers,
        most=most,
        names=profile.of(of).names,
        said="" if error is None else str(error),
        preview=preview,
    )
