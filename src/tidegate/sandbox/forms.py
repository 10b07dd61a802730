"""Request parameters: bracketed forms into trees, and trees into typed values by the catalog's parameters.

`metadata[plan]=pro&items[0][price]=price_1&expand[]=customer` is `{"metadata": {"plan": "pro"}, "items":
[{"price": "price_1"}], "expand": ["customer"]}`.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib import parse

from tidegate import catalog
from tidegate.sandbox import parameters, refusals

MOST_PARAMETERS = 5000

Tree = dict[str, Any]

_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_INTEGER = re.compile(r"[+-]?\d{1,19}\Z")
_DECIMAL = re.compile(r"[+-]?\d+(\.\d{1,12})?\Z")

# Nested parameters carry no type in the catalog; these names hold integers wherever Stripe's API has them.
_NESTED_INTEGERS = frozenset(
    {
        "amount",
        "amount_off",
        "anchor",
        "current_usage",
        "day_of_month",
        "days_until_due",
        "discount_amount",
        "duration_in_months",
        "end",
        "exp_month",
        "exp_year",
        "expires_at",
        "flat_amount",
        "interval_count",
        "iterations",
        "max_redemptions",
        "maximum",
        "minimum",
        "minimum_amount",
        "preset",
        "quantity",
        "shipping_cost",
        "start",
        "tax_amount",
        "timestamp",
        "trial_end",
        "trial_period_days",
        "unit_amount",
        "usage_gte",
    }
)


def parse_form(text: str) -> Tree:
    """A query string or form body as a tree of strings; raises a refusal on brackets that do not nest."""
    if not text:
        return {}
    root: Tree = {}
    plain = True
    pairs = text.split("&")
    if len(pairs) > MOST_PARAMETERS:
        raise refusals.invalid("", f"Invalid request: more than {MOST_PARAMETERS} parameters")
    for pair in pairs:
        if not pair:
            continue
        quoted, _, value = pair.partition("=")
        name = _unquoted(quoted)
        if "%" in value or "+" in value:
            value = parse.unquote_plus(value)
        if "[" in name:
            plain = False
            _place(root, name, value)
        else:
            root[name] = value
    return root if plain else {name: _lists(name, value) for name, value in root.items()}


def encode_form(values: Mapping[str, object], prefix: str = "") -> str:
    """A tree as a bracketed form, the reverse of `parse_form`."""
    return parse.urlencode(list(_pairs(values, prefix)))


def check(
    write: catalog.Write, params: Tree, *, typed: bool = False, nullable: Collection[str] = frozenset()
) -> Tree:
    """The parameters as typed values by the catalog; `None` where an empty string unsets.

    `typed`: the values came as JSON (v2) and are checked, not converted. `nullable` names fields that an empty
    string may unset although the catalog's parameter does not say so. `expand` is left to the caller.
    """
    known = {param.name: param for param in write.params}
    given = {name: value for name, value in params.items() if name != "expand"}
    refuse_unknown(given, known)
    for param in write.params:
        if param.required and param.name not in given and param.name != "expand":
            raise refusals.missing_parameter(param.name)
    return {
        name: _value(write.path, known[name], value, typed, name in nullable) for name, value in given.items()
    }


def refuse_unknown(given: Mapping[str, object], known: Collection[str]) -> None:
    """Refuse parameters the endpoint does not know, with a suggestion."""
    strangers = [name for name in given if name not in known]
    if strangers:
        hints = {
            name: close[0]
            for name in strangers
            if (close := difflib.get_close_matches(name, list(known), n=1))
        }
        raise refusals.unknown_parameters(strangers, hints)


def integer(name: str, value: object, low: int | None = None, high: int | None = None) -> int:
    """An integer parameter within its bounds."""
    if not isinstance(value, str) or not _INTEGER.match(value):
        if isinstance(value, int) and not isinstance(value, bool):
            number = value
        else:
            raise refusals.invalid(name, f"Invalid integer: {_shown(value)}", "parameter_invalid_integer")
    else:
        number = int(value)
    if low is not None and number < low:
        raise refusals.invalid(
            name,
            f"This value must be greater than or equal to {low} (it currently is '{number}').",
            "parameter_invalid_integer",
        )
    if high is not None and number > high:
        raise refusals.invalid(
            name,
            f"This value must be less than or equal to {high} (it currently is '{number}').",
            "parameter_invalid_integer",
        )
    return number


def boolean(name: str, value: object) -> bool:
    """`true` or `false`."""
    if isinstance(value, bool):
        return value
    if value == "true":
        return True
    if value == "false":
        return False
    raise refusals.invalid(name, f"Invalid boolean: {_shown(value)}")


def strings(name: str, value: object) -> list[str]:
    """A parameter that is a list of strings (`expand[]`, `types[]`)."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise refusals.invalid(name, "Invalid array")
    return [str(one) for one in value]


def merge_metadata(stored: Mapping[str, str], given: object) -> dict[str, str]:
    """Metadata after an update: merged per key, a key with an empty value goes, and `None` empties all."""
    if given is None or given == "":
        return {}
    merged = dict(stored)
    for key, text in parameters.metadata("metadata", given).items():
        if text:
            merged[key] = text
        else:
            merged.pop(key, None)
    if len(merged) > parameters.METADATA_KEYS:
        raise refusals.invalid(
            "metadata",
            f"Metadata can have up to {parameters.METADATA_KEYS} keys, this would be {len(merged)}.",
        )
    return merged


def _value(path: str, param: catalog.Param, value: object, typed: bool, nullable: bool) -> object:
    name = param.name
    if value == "" or (typed and value is None):
        if param.emptyable or nullable or typed:
            return None
        raise refusals.empty_parameter(name)
    match param.type:
        case "integer":
            return integer(name, value)
        case "timestamp":
            return int(value) if isinstance(value, str) and _INTEGER.match(value) else _moment(name, value)
        case "boolean":
            return boolean(name, value)
        case "number":
            return _number(name, value)
        case "decimal":
            return _decimal(name, value)
        case "json":
            if name == "metadata" and not isinstance(value, dict):
                raise refusals.invalid(name, "Invalid object")
            if typed:
                return value
            return (
                parameters.fit(path, name, value)
                if parameters.described(path, name)
                else _leaves(name, value)
            )
        case _:
            text = _string(param, value)
            most = parameters.lengths(path).get(name, parameters.LONGEST)
            return text if typed else parameters.short_enough(name, text, most)


def _string(param: catalog.Param, value: object) -> str:
    if not isinstance(value, str):
        raise refusals.invalid(param.name, f"Invalid string: {_shown(value)}")
    if param.values and value not in param.values:
        *most, last = param.values
        raise refusals.invalid(
            param.name,
            f"Invalid {param.name}: must be one of {', '.join(most)}{', or ' if most else ''}{last}",
        )
    return value


def _moment(name: str, value: object) -> object:
    """Some moments take a word (`now`) where others take seconds; v2 times are RFC 3339."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (
        value in ("now", "unchanged", "min_period_end", "max_period_end") or "T" in value
    ):
        return value
    raise refusals.invalid(name, f"Invalid integer: {_shown(value)}", "parameter_invalid_integer")


def _number(name: str, value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and _DECIMAL.match(value):
        return float(value)
    raise refusals.invalid(name, f"Invalid decimal: {_shown(value)}")


def _decimal(name: str, value: object) -> str:
    if isinstance(value, str) and _DECIMAL.match(value):
        return value
    raise refusals.invalid(name, f"Invalid decimal: {_shown(value)}; decimals have at most 12 decimal places")


def _leaves(name: str, value: object) -> object:
    """Nested values, converted by what their name says; metadata and the like stay text."""
    if name == "metadata" or name.endswith("_metadata"):
        return value
    if isinstance(value, dict):
        return {key: _leaves(key, one) for key, one in value.items()}
    if isinstance(value, list):
        return [_leaves(name, one) for one in value]
    if value == "true":
        return True
    if value == "false":
        return False
    if value == "":
        return None
    if name in _NESTED_INTEGERS and isinstance(value, str) and _INTEGER.match(value):
        return int(value)
    return value


def _place(root: Tree, name: str, value: str) -> None:
    node, path = root, _path(name)
    for key in path[:-1]:
        node = _step(node, key, name)
    if not path[-1] and len(path) > 1 and path[-2].endswith("metadata"):
        raise refusals.invalid(path[-2], "Invalid object")
    last = path[-1] or str(len(node))
    node[last] = value


@functools.lru_cache(maxsize=4096)
def _path(name: str) -> tuple[str, ...]:
    """The keys that a bracketed name leads through."""
    head, _, tail = name.partition("[")
    keys = _BRACKET.findall("[" + tail)
    if not head or "".join(f"[{key}]" for key in keys) != "[" + tail:
        raise refusals.invalid(name, "Invalid parameter name: brackets must nest")
    return (head, *keys)


_unquoted = functools.lru_cache(maxsize=4096)(parse.unquote_plus)


def _step(node: Tree, key: str, name: str) -> Tree:
    key = key or str(len(node))
    inner = node.setdefault(key, {})
    if not isinstance(inner, dict):
        raise refusals.invalid(name, "Invalid parameter: it is given both as a value and as an object")
    return inner


def _lists(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    # A key of metadata may be a number, and is a key for all that.
    if value and not name.endswith("metadata") and all(key.isdigit() for key in value):
        return [_lists("", value[key]) for key in sorted(value, key=int)]
    return {key: _lists(key, one) for key, one in value.items()}


def _pairs(values: Mapping[str, object], prefix: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}[{key}]" if prefix else key
        if isinstance(value, Mapping):
            pairs += _pairs(value, name)
        elif isinstance(value, (list, tuple)):
            pairs += _pairs({str(i): one for i, one in enumerate(value)}, name)
        elif isinstance(value, bool):
            pairs.append((name, "true" if value else "false"))
        elif value is not None:
            pairs.append((name, str(value)))
    return pairs


def _shown(value: object) -> str:
    """A wrong value in a message: its text when short and plain, else its kind."""
    if isinstance(value, str):
        return value if len(value) <= 40 else value[:37] + "..."
    return "an object" if isinstance(value, dict) else "an array" if isinstance(value, list) else str(value)
