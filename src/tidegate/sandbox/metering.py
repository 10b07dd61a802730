"""Meter events: reported once each, by their identifiers, and counted later.

Stripe looks at the name, the moment and the identifier at once; whether the payload names a customer and a value it
finds out afterwards and tells in a report. https://docs.stripe.com/api/billing/meter-event/create
"""

from __future__ import annotations

from tidegate import catalog
from tidegate.sandbox import forms, objects, refusals, routes, writes

PATH = "/v1/billing/meter_events"
WRITE = catalog.Write(
    "post",
    PATH,
    (
        catalog.Param("event_name", "string", required=True),
        catalog.Param("identifier", "string"),
        catalog.Param("payload", "json", required=True),
        catalog.Param("timestamp", "timestamp"),
    ),
)
UNIQUE = 24 * 3600
"""Seconds for which an identifier is taken, from when it was last used."""
PAST, FUTURE = 35 * 86_400, 300


def route(facts: catalog.Catalog) -> routes.Route:
    """The endpoint: it is in no list, so the catalog does not have it."""
    return routes.Route("POST", PATH, "meter", (facts.streams["billing_meter_event_summaries"],), None, WRITE)


def record(call: writes.Call, params: forms.Tree) -> objects.Object:
    """Take a meter event; the answer."""
    given = forms.check(WRITE, params)
    name, payload = given["event_name"], given["payload"]
    if not isinstance(payload, dict):
        raise refusals.invalid("payload", "Invalid object")
    moment = given.get("timestamp", call.now())
    if not call.now() - PAST <= moment <= call.now() + FUTURE:
        raise refusals.invalid(
            "timestamp", "The timestamp must be within the past 35 days or up to 5 minutes in the future."
        )
    meter = _meter(call, name)
    if meter is None:
        raise refusals.not_allowed(f"No active meter found for event name {name}.", param="event_name")
    identifier = given.get("identifier") or call.names.word(36)
    taken = call.book.identifiers.get(identifier)
    if taken is not None and call.clock.time() - taken < UNIQUE:
        # The code is that of the same refusal at v2, the only one that documents it.
        raise refusals.not_allowed(
            f"An event already exists with identifier {identifier}.",
            code="duplicate_meter_event",
            param="identifier",
        )
    call.book.identifiers[identifier] = call.clock.time()
    event: objects.Object = {
        "object": "billing.meter_event",
        "created": call.now(),
        "event_name": name,
        "identifier": identifier,
        "livemode": call.live,
        "payload": payload,
        "timestamp": moment,
    }
    call.book.usage.append({**event, "counted": _counts(call, meter, payload)})
    return event


def _meter(call: writes.Call, name: str) -> objects.Object | None:
    for ref in call.book.descending("billing_meters", None, None, None):
        meter = call.book.show("billing_meters", ref)
        if meter["event_name"] == name and meter["status"] == "active":
            return meter
    return None


def _counts(call: writes.Call, meter: objects.Object, payload: forms.Tree) -> bool:
    """Does the payload name a customer that is there, and a number?"""
    customer = payload.get(
        (meter.get("customer_mapping") or {}).get("event_payload_key") or "stripe_customer_id"
    )
    value = payload.get((meter.get("value_settings") or {}).get("event_payload_key") or "value", "")
    known = isinstance(customer, str) and call.book.exists("customers", customer)
    return known and str(value).removeprefix("-").replace(".", "", 1).isdigit()
