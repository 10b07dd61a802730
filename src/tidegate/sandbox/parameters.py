"""What lies below the top level of the parameters that are written most: their hashes, lists and longest strings.

The catalog knows the top level of every write; `parameters.json` holds what is inside for the objects in `WRITTEN`.
It is derived by `derive()` from the installed `stripe` package and committed; a test says when it has to be written
again, with `python -c "from tidegate.sandbox import parameters; parameters.write()"`.

One notation for a value: `s` string, `i` integer, `n` number, `d` decimal, `b` boolean, `t` unix seconds, `m` a
map of strings, `*` anything, `=a|b` enumeration, `{...}` hash, `[x]` list of x. After a key, `!` means required,
and `~` that an empty string unsets it.
"""

from __future__ import annotations

import functools
import pathlib
import re
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from tidegate.sandbox import refusals

if TYPE_CHECKING:
    from tidegate.catalog import package

Shape: TypeAlias = "str | dict[str, Shape] | list[Shape]"

WRITTEN = frozenset(
    {
        "/v1/billing/meter_events",
        "/v1/charges/{charge}",
        "/v1/coupons",
        "/v1/coupons/{coupon}",
        "/v1/customers",
        "/v1/customers/{customer}",
        "/v1/disputes/{dispute}",
        "/v1/invoiceitems",
        "/v1/invoiceitems/{invoiceitem}",
        "/v1/invoices",
        "/v1/invoices/{invoice}",
        "/v1/payment_intents/{intent}",
        "/v1/prices",
        "/v1/prices/{price}",
        "/v1/products",
        "/v1/products/{id}",
        "/v1/promotion_codes",
        "/v1/promotion_codes/{promotion_code}",
        "/v1/subscription_items",
        "/v1/subscription_items/{item}",
        "/v1/subscriptions",
        "/v1/subscriptions/{subscription_exposed_id}",
        "/v1/tax_ids",
    }
)
"""Paths that are POSTed to."""

ANYTHING = frozenset(
    {
        "amount_details",
        "hooks",
        "payment_details",
        "payment_method_data",
        "payment_method_options",
        "payment_settings",
    }
)
"""Hashes of many hundred parameters, of no use here."""

METADATA_KEYS = 50
METADATA_KEY_LENGTH = 40
METADATA_VALUE_LENGTH = 500

LONGEST = 5000
"""Of a string of which nothing else is said: https://github.com/stripe/openapi/issues/51"""

# maxLength of Stripe's OpenAPI, and "maximum length" of its reference, by resource and dotted parameter.
LENGTHS: Mapping[str, Mapping[str, int]] = {
    "billing/meter_events": {"event_name": 100, "identifier": 100},
    "charges": {"description": 40_000},
    "coupons": {"id": 500, "name": 40},
    "customers": {
        "business_name": 150,
        "email": 512,
        "individual_name": 150,
        "invoice_prefix": 12,
        "name": 256,
        "phone": 20,
    },
    "invoices": {
        "custom_fields.name": 40,
        "custom_fields.value": 140,
        "description": 1500,
        "number": 26,
        "statement_descriptor": 22,
    },
    "payment_intents": {"description": 1000, "statement_descriptor": 22, "statement_descriptor_suffix": 22},
    "prices": {"lookup_key": 200},
    "products": {"description": 40_000, "statement_descriptor": 22, "unit_label": 12},
    "promotion_codes": {"code": 500},
    "subscriptions": {"description": 500},
    "tax_rates": {"display_name": 50, "jurisdiction": 50, "state": 2},
}

_TIME = re.compile(r"(?i)unix|timestamp|seconds since|epoch")
_TIME_NAME = re.compile(r"_at$|^date$|_date$|_start$|_end$|^timestamp$|^redeem_by$|^start$|^end$|_before$")
_INTEGER = re.compile(r"[+-]?\d{1,19}\Z")
_DECIMAL = re.compile(r"[+-]?\d+(\.\d{1,12})?\Z")
_COUNTRY = re.compile(r"[A-Za-z0-9]{2}\Z")


@functools.cache
def load() -> Mapping[str, Mapping[str, Shape]]:
    """Path -> parameter of the top level -> what is inside; flat parameters are left out."""
    data = resources.files(__package__).joinpath("parameters.json").read_bytes()
    found: dict[str, dict[str, Shape]] = msgspec.json.decode(data)
    return found


@functools.cache
def lengths(path: str) -> Mapping[str, int]:
    """How long the strings may be that are POSTed to a path."""
    words = [word for word in path.removeprefix("/v1/").split("/") if not word.startswith("{")]
    return LENGTHS.get("/".join(words), {})


def fit(path: str, name: str, value: Any) -> Any:
    """A hash or list of a parameter as typed values; what is not described is returned as it came."""
    shape = load().get(path, {}).get(name)
    return value if shape is None else _fit(shape, name, name, value, lengths(path))


def described(path: str, name: str) -> bool:
    """Is it known what is inside this parameter?"""
    return name in load().get(path, {})


def whole(path: str, name: str, value: dict[str, Any]) -> dict[str, Any]:
    """A hash that replaces another one: what was not given of it is null."""
    return _whole(load().get(path, {}).get(name, {}), value)


def _whole(shape: Shape, value: dict[str, Any]) -> dict[str, Any]:
    keys = [key.rstrip("!~") for key in shape] if isinstance(shape, dict) else []
    inner = {key.rstrip("!~"): one for key, one in shape.items()} if isinstance(shape, dict) else {}
    made = {**dict.fromkeys(keys), **value}
    return {
        key: _whole(inner.get(key, {}), one) if isinstance(one, dict) and key in inner else one
        for key, one in made.items()
    }


def short_enough(name: str, value: str, most: int) -> str:
    """A string within its length; refused as Stripe does, which shows its two ends."""
    if len(value) <= most:
        return value
    raise refusals.invalid(
        name, f"Invalid string: {value[:10]}...{value[-10:]}; must be at most {most} characters"
    )


def _fit(shape: Shape, name: str, dotted: str, value: Any, longest: Mapping[str, int]) -> Any:
    if isinstance(shape, dict):
        return _hash(shape, name, dotted, value, longest)
    if isinstance(shape, list):
        if value == "":
            return []
        if not isinstance(value, list):
            raise refusals.invalid(name, "Invalid array")
        return [_fit(shape[0], f"{name}[{i}]", dotted, one, longest) for i, one in enumerate(value)]
    if shape == "*":
        return value
    if shape == "m":
        return _map(name, value)
    if not isinstance(value, str):
        kind = {"i": "integer", "t": "integer", "b": "boolean", "n": "decimal", "d": "decimal"}.get(
            shape, "string"
        )
        raise refusals.invalid(
            name, f"Invalid {kind}: {'an array' if isinstance(value, list) else 'an object'}"
        )
    return _leaf(shape, name, value, longest.get(dotted, LONGEST))


def _hash(
    shape: dict[str, Shape], name: str, dotted: str, value: Any, longest: Mapping[str, int]
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise refusals.invalid(name, "Invalid object")
    known = {key.rstrip("!~"): (key, inner) for key, inner in shape.items()}
    if strangers := [f"{name}[{key}]" for key in value if key not in known and "*" not in known]:
        raise refusals.unknown_parameters(strangers, {})
    for key, (marked, _) in known.items():
        if "!" in marked and key not in value:
            raise refusals.missing_parameter(f"{name}[{key}]")
    made: dict[str, Any] = {}
    for key, given in value.items():
        marked, inner = known.get(key) or known["*"]
        inside = f"{name}[{key}]"
        if given == "" and ("~" in marked or (inner == "s" and "!" not in marked)):
            made[key] = None
        elif given == "" and inner != "m" and not isinstance(inner, list):
            raise refusals.empty_parameter(inside)
        else:
            made[key] = _fit(inner, inside, f"{dotted}.{key}", given, longest)
    if (country := made.get("country")) and name.endswith("address]") | (name == "address"):
        _country(f"{name}[country]", country)
    return made


def _country(name: str, code: str) -> None:
    if not _COUNTRY.match(code):
        raise refusals.invalid(
            name,
            f"Country '{code[:40]}' is unknown. Try using a 2-character alphanumeric country code instead, such as "
            "'US', 'EG', or 'GB'.",
        )


def _map(name: str, value: Any) -> Any:
    if value == "":
        return {}
    if not isinstance(value, dict):
        raise refusals.invalid(name, "Invalid object")
    for key, one in value.items():
        if not isinstance(one, str):
            raise refusals.invalid(f"{name}[{key}]", "Invalid string: an object")
    if name.endswith("metadata]"):
        metadata(name, value)
    return value


def metadata(name: str, given: Any) -> dict[str, str]:
    """Metadata as it was given, each key and value within Stripe's limits."""
    if not isinstance(given, dict):
        raise refusals.invalid(name, "Invalid object")
    for key, value in given.items():
        if isinstance(value, (dict, list)):
            raise refusals.invalid(f"{name}[{key}]", "Invalid string: metadata values are strings")
        if not key:
            raise refusals.invalid(name, "Metadata keys must not be empty.")
        if "[" in key or "]" in key:
            raise refusals.invalid(f"{name}[{key}]", "Metadata keys must not include square brackets.")
        if len(key) > METADATA_KEY_LENGTH:
            raise refusals.invalid(
                f"{name}[{key}]",
                f"Metadata keys can have up to {METADATA_KEY_LENGTH} characters, but you passed in a key that is "
                f"{len(key)} characters.",
            )
        text = "" if value is None else str(value)
        if len(text) > METADATA_VALUE_LENGTH:
            raise refusals.invalid(
                f"{name}[{key}]",
                f"Metadata values can have up to {METADATA_VALUE_LENGTH} characters, but you passed in a value "
                f"that is {len(text)} characters.",
            )
    return {key: "" if value is None else str(value) for key, value in given.items()}


def _leaf(shape: str, name: str, value: str, most: int) -> object:
    match shape[:1]:
        case "b" if value in ("true", "false"):
            return value == "true"
        case "b":
            raise refusals.invalid(name, f"Invalid boolean: {value[:40]}")
        case "t" if value in ("now", "unchanged", "min_period_end", "max_period_end", "inf"):
            return value
        case "i" | "t":
            if not _INTEGER.match(value):
                raise refusals.invalid(name, f"Invalid integer: {value[:40]}", "parameter_invalid_integer")
            return int(value)
        case "n" | "d":
            if not _DECIMAL.match(value):
                raise refusals.invalid(name, f"Invalid decimal: {value[:40]}")
            return value if shape == "d" else float(value)
        case "=":
            values = shape[1:].split("|")
            if value not in values:
                *others, last = values
                raise refusals.invalid(
                    name,
                    f"Invalid {name}: must be one of {', '.join(others)}{', or ' if others else ''}{last}",
                )
            return value
    return short_enough(name, value, most)


def derive() -> bytes:
    """Read the installed `stripe` package and return what `parameters.json` should hold."""
    from tidegate.catalog import package  # reads the whole package, which only this needs

    found: dict[str, Mapping[str, Shape]] = {}
    for one in package.operations():
        if one.method == "post" and one.path in WRITTEN and one.params is not None:
            inside = {
                member.name: shape
                for member in package.members(one.params)
                if member.name not in ("expand", "metadata")
                and not isinstance(shape := _shape(member, frozenset()), str)
            }
            found[one.path] = inside
    lines = [
        msgspec.json.encode(path).decode() + ":" + msgspec.json.encode(found[path]).decode()
        for path in sorted(found)
    ]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def write() -> None:
    """Write `parameters.json` anew, from the installed `stripe` package."""
    pathlib.Path(__file__).with_suffix(".json").write_bytes(derive())


def _shape(member: package.Member, seen: frozenset[package.Name]) -> Shape:
    kind = member.type
    if member.name in ANYTHING:
        return "*"
    one: Shape
    if kind.classes:
        one = _members(kind.classes[0], seen)
    elif values := [value for value in kind.values if value]:
        one = "t" if "int" in kind.scalars else "=" + "|".join(values)
    elif "Decimal" in kind.scalars or member.encoding == "decimal_string":
        one = "d"
    elif "int" in kind.scalars:
        one = "t" if _TIME.search(member.doc) or _TIME_NAME.search(member.name) else "i"
    elif "float" in kind.scalars:
        one = "n"
    else:
        one = "b" if "bool" in kind.scalars else "s"
    if kind.container == "map":
        return "m" if isinstance(one, str) else {"*": one}
    return [one] if kind.container else one


def _members(name: package.Name, seen: frozenset[package.Name]) -> dict[str, Shape]:
    from tidegate.catalog import package

    if name in seen:
        return {"*": "*"}
    return {
        member.name + ("!" if member.required else "") + ("~" if "" in member.type.values else ""): _shape(
            member, seen | {name}
        )
        for member in package.members(name)
    }
