"""Filters of lists: spans of `created`, equality, and the ones whose name is no field.

What hides something by default does so here as well: canceled subscriptions, closed v2 accounts.
"""

from __future__ import annotations

import datetime
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidegate import catalog
from tidegate.sandbox import forms, objects, refusals

RANGE = frozenset({"gt", "gte", "lt", "lte"})

Match = Callable[[objects.Object], bool]

# What a list leaves out unless the parameter is given; from the parameters' own docs.
HIDDEN: dict[str, tuple[str, Match]] = {
    "subscriptions": ("status", lambda obj: obj["status"] != "canceled"),
    "v2_core_accounts": ("closed", lambda obj: not obj.get("closed")),
    "v2_money_management_financial_accounts": ("statuses", lambda obj: obj["status"] != "closed"),
}


def span(value: object) -> tuple[int | None, int | None]:
    """A `created` filter as half-open seconds."""
    if value is None:
        return None, None
    if not isinstance(value, dict):
        second = _seconds("created", value)
        return second, second + 1
    forms.refuse_unknown({f"created[{name}]": 0 for name in value if name not in RANGE}, ())
    lows = [
        _seconds(f"created[{name}]", value[name]) + extra
        for name, extra in (("gte", 0), ("gt", 1))
        if name in value
    ]
    tops = [
        _seconds(f"created[{name}]", value[name]) + extra
        for name, extra in (("lt", 0), ("lte", 1))
        if name in value
    ]
    return max(lows, default=None), min(tops, default=None)


def _seconds(name: str, value: object) -> int:
    """Unix seconds, or RFC 3339 at v2."""
    if isinstance(value, str) and "T" in value:
        try:
            return int(datetime.datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp())
        except ValueError:
            raise refusals.invalid(name, f"Invalid timestamp: {value}") from None
    return forms.integer(name, value)


def read(stream: catalog.Stream, given: forms.Tree, *, top_level: bool) -> tuple[dict[str, str], list[Match]]:
    """Filters as predicates, and those among them that are plain equality, which the world may answer itself."""
    equal: dict[str, str] = {}
    matches: list[Match] = []
    hidden, shown = HIDDEN.get(stream.name, ("", None))
    if shown is not None and hidden not in given:
        matches.append(shown)
        if stream.name == "subscriptions":
            equal["status"] = "!canceled"
    for name, value in given.items():
        special = _special(stream.name, name, value)
        if special is not None:
            matches.append(special)
        elif _hides_nothing(stream.name, name, value):
            continue
        elif isinstance(value, dict) and value and set(value) <= RANGE:
            matches.append(_within(name, value))
        elif isinstance(value, dict):
            matches.append(_contains(name, value))
        elif isinstance(value, list):
            matches.append(_one_of(name, [str(one) for one in value]))
        else:
            if top_level:
                equal[name] = str(value)
            matches.append(_equals(name, str(value)))
    return equal, matches


def _hides_nothing(stream: str, name: str, value: Any) -> bool:
    """Parameters that every object passes; without them a page of untouched objects need not be decoded."""
    if stream == "billing_meter_event_summaries":
        return True
    return name in ("include", "scope") or value == "all"


def _special(stream: str, name: str, value: Any) -> Match | None:
    """Filters whose name is no field."""
    if stream == "events" and name == "type":
        return lambda obj: fnmatch.fnmatchcase(obj["type"], value)
    if stream == "events" and name == "types":
        types = forms.strings(name, value)
        if len(types) > 20:
            raise refusals.invalid("types", "You may only specify up to 20 event types.")
        return lambda obj: any(fnmatch.fnmatchcase(obj["type"], one) for one in types)
    if name == "delivery_success":
        forms.boolean(name, value)
        return lambda obj: (obj.get("pending_webhooks") == 0) == (value == "true")
    if stream == "subscriptions" and name == "status" and value == "ended":
        return lambda obj: obj["status"] in ("canceled", "incomplete_expired")
    if stream == "subscriptions" and name in ("price", "plan"):
        return lambda obj: any(_same(item.get(name), value) for item in obj["items"]["data"])
    if stream == "v2_core_accounts" and name == "closed":
        return lambda obj: bool(obj.get("closed")) == (str(value) == "true")
    if stream == "billing_meter_event_summaries" and name in ("start_time", "end_time"):
        second, begin = _seconds(name, value), name == "start_time"
        return lambda obj: (obj["start_time"] >= second) == begin
    return None


def _equals(name: str, value: str) -> Match:
    return lambda obj: any(_same(found, value) for found in _deep(obj, name))


def _one_of(name: str, values: Sequence[str]) -> Match:
    names = [name, name.removesuffix("s"), name.removesuffix("es")]
    return lambda obj: any(
        _same(found, value) for one in names if one in obj for found in [obj[one]] for value in values
    )


def _within(name: str, bounds: Mapping[str, object]) -> Match:
    limits = {key: _seconds(f"{name}[{key}]", value) for key, value in bounds.items()}

    def match(obj: objects.Object) -> bool:
        return any(
            isinstance(found, int)
            and found > limits.get("gt", found - 1)
            and found >= limits.get("gte", found)
            and found < limits.get("lt", found + 1)
            and found <= limits.get("lte", found)
            for found in _deep(obj, name)
        )

    return match


def _contains(name: str, wanted: Mapping[str, object]) -> Match:
    def match(obj: objects.Object) -> bool:
        return any(
            isinstance(found, dict) and all(_same(found.get(key), value) for key, value in wanted.items())
            for found in [obj.get(name)]
        )

    return match


def _deep(obj: objects.Object, name: str) -> list[Any]:
    """A field's value, or what nested objects hold under that name (`parent.subscription_details.subscription`)."""
    if name in obj:
        return [obj[name]]
    found: list[Any] = []
    for value in obj.values():
        if isinstance(value, dict) and value.get("object") != "list":
            found += _deep(value, name)
    return found


def _same(found: Any, value: object) -> bool:
    if isinstance(found, bool):
        return str(value) in ("true", "True") if found else str(value) in ("false", "False")
    if isinstance(found, dict):
        found = found.get("id")
    if isinstance(found, list):
        return any(_same(one, value) for one in found)
    return found is not None and str(found) == str(value)
