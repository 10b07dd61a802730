"""Templates: the JSON text of a stream's objects with holes, so that rendering one is a single `%`.

A template is compiled once per world and stream. What a renderer does not name is filled from the catalog and the
shapes, always with a plausible value of the right type.
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from tidegate import catalog
from tidegate.sandbox import shapes

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Reference = Callable[[str], "str | None"]
"""Object name -> the id of a real one, or nothing."""

TEXTS: Mapping[str, str] = {
    "account_holder_name": "Jenny Rosen",
    "account_holder_type": "individual",
    "account_type": "checking",
    "bank_name": "STRIPE TEST BANK",
    "brand": "visa",
    "api_version": "2026-10-28.endive",
    "bsb_number": "000000",
    "city": "San Francisco",
    "client_secret": "pi_1_secret_5mCvPGDTkjjEd4kTWNwVIYUqo",
    "country": "US",
    "countrie": "US",
    "currency": "usd",
    "default_currency": "usd",
    "display_name": "Rocket Rides",
    "domain_name": "shop.example.com",
    "email": "jenny.rosen@example.com",
    "filename": 'evidence "final".pdf',
    "fingerprint": "mToisGZ01V71BCos",
    "first_name": "Jenny",
    "funding": "credit",
    "interval": "month",
    "last4": "4242",
    "last_name": "Rosen",
    "line1": "510 Townsend St",
    "locale": "en-US",
    "name": "Jenny Rosen",
    "network": "visa",
    "phone": "+14155550142",
    "postal_code": "94103",
    "routing_number": "110000000",
    "state": "CA",
    "swift_code": "TSTEZ122",
    "timezone": "America/Los_Angeles",
    "url": 'https://example.com/path?q="quoted"&back=\\',
    "status": "active",
}
LONG = (
    'Long text with everything that breaks a careless reader: "quotes", back\\slashes, a tab\t, two\nlines, '
    "ünïcödé, 日本語, emoji 🚀, a null-like \\N, commas; semicolons, 'single', `ticks` and </script>."
)
METADATA: Sequence[dict[str, str]] = (
    {},
    {"order_id": "6735"},
    {"big": "9007199254740993", "huge": "18446744073709551617", "quoted": 'He said "no\\yes"', "empty": ""},
    {"größe": "日本語 🚀", "json": '{"a":[1,2,{"b":null}]}', "newline": "one\ntwo"},
)


def dump(value: Json) -> str:
    """Compact JSON."""
    return msgspec.json.encode(value).decode()


def quote(text: str) -> str:
    """A JSON string."""
    return msgspec.json.encode(text).decode()


def escaped(text: str) -> str:
    """JSON text in ASCII: it is rendered and encoded several times faster."""
    return "".join(one if one.isascii() else json.dumps(one)[1:-1] for one in text)


def compiled(stream: catalog.Stream, absent: Iterable[str] = (), **fragments: str) -> str:
    """The template of a stream: the named fragments in their order, then constants; without the closing brace.

    A fragment is `%`-formatted text; nested lists are left to the caller, who appends them and the brace, and so
    are the fields named `absent`.
    """
    return _compiled(stream.name, frozenset(absent), tuple(fragments.items()))


@functools.lru_cache(maxsize=256)
def _compiled(name: str, absent: frozenset[str], fragments: tuple[tuple[str, str], ...]) -> str:
    stream = catalog.load().streams[name]
    whole = whole_object(stream, lambda _: None)
    parts = [f'"{field}":{text}' for field, text in fragments]
    done = absent | apart(stream) | {field for field, _ in fragments}
    for field in stream.fields:
        if field.name not in done:
            value = None if field.nullable else whole.get(field.name)
            parts.append(f'"{field.name}":{dump(value)}'.replace("%", "%%"))
    return "{" + ",".join(parts)


def pieces(template: str) -> tuple[str, ...]:
    """What stands around the holes of a template that has no holes but `%s`."""
    return tuple(piece.replace("%%", "%") for piece in template.split("%s"))


Column = Sequence[str] | str
"""A text per row, or one for all."""


def woven(pieces: Sequence[str], rows: int, between: str, *columns: Column) -> str:
    """`pieces` with a column's text in each gap, for every row.

    A page is one join, which takes a third of the time of a `%` per object.
    """
    width = len(pieces) + len(columns)
    row: list[str] = [""] * width
    row[::2] = pieces
    row[-1] += between
    for at, column in enumerate(columns):
        if isinstance(column, str):
            row[at * 2 + 1] = column
    parts = row * rows
    parts[-1] = pieces[-1]
    for at, column in enumerate(columns):
        if not isinstance(column, str):
            parts[at * 2 + 1 :: width] = column
    return "".join(parts)


def apart(stream: catalog.Stream) -> set[str]:
    """Fields that the world appends itself: nested lists, and what is absent unless expanded."""
    paths = [nested.path for nested in stream.nested] + [*stream.expand]
    return {path.partition(".")[0] for path in paths}


def whole_object(stream: catalog.Stream, reference: Reference) -> dict[str, Json]:
    """An object of the stream with every field filled; hashes of payment types other than its own left out."""
    shape = {key.lstrip("?"): value for key, value in shapes.shape(stream.object).items()}
    found: dict[str, Json] = {}
    for field in stream.fields:
        if (stream.name, field.name) not in SECRET:
            found[field.name] = _field(field, shape.get(field.name), reference)
    kinds = next((field.values for field in stream.fields if field.name == "type"), ())
    return only_own_type(found, kinds)


SECRET = {("webhook_endpoints", "secret"), ("issuing_cards", "number"), ("issuing_cards", "cvc")}
"""Fields that Stripe's lists never show."""


def only_own_type(value: dict[str, Json], kinds: Collection[str] = ()) -> dict[str, Json]:
    """Leave out the hashes that belong to another `type`: Stripe sends `card` for cards and nothing else.

    `kinds` are the types there may be; without them only a hash named like its own type counts.
    """
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in value:
        return value
    return {name: one for name, one in value.items() if name == kind or name not in kinds}


def _field(field: catalog.Field, shape: shapes.Shape | None, reference: Reference) -> Json:
    if field.type == "id":
        return next(filter(None, map(reference, field.expands)), None)
    if field.type == "json":
        if shape is None:
            return {}
        if isinstance(shape, str) and shape[0] == "@":
            return None if field.nullable else _embedded(shape[1:], reference)
        return of_shape(shape, field.name, reference)
    if field.values:
        return next((value for value in PREFERRED if value in field.values), field.values[0])
    return leaf(_NOTATION[field.type], field.name)


def _embedded(kind: str, reference: Reference) -> Json:
    """A whole object inside another, where Stripe never sends the id alone: an authorization's card."""
    stream = next(one for one in catalog.load().streams.values() if one.object == kind)
    return {**whole_object(stream, reference), "id": reference(kind)}


_NOTATION = {"string": "s", "integer": "i", "number": "n", "decimal": "d", "boolean": "b", "timestamp": "t"}
PREFERRED = ("card", "active", "succeeded", "paid", "complete", "usd", "issued", "verified")


def of_shape(shape: shapes.Shape, name: str, reference: Reference) -> Json:
    """A value of a shape."""
    if isinstance(shape, dict):
        hashed: dict[str, Json] = {}
        for key, inner in shape.items():
            if key != "?deleted":
                hashed[key.lstrip("?")] = of_shape(inner, key.lstrip("?"), reference)
        kinds = shape.get("type")
        return only_own_type(hashed, kinds[1:].split("|") if isinstance(kinds, str) else ())
    if isinstance(shape, list):
        element = of_shape(shape[0], name.removesuffix("s"), reference)
        return [] if element is None else [element]
    if shape.startswith("@"):
        return reference(shape[1:])
    return leaf(shape, name)


def leaf(notation: str, name: str) -> Json:
    """A value of a plain type, by the field's name."""
    number = zlib.crc32(name.encode())
    match notation[0]:
        case "=":
            values = notation[1:].split("|")
            return next((value for value in PREFERRED if value in values), values[number % len(values)])
        case "i":
            if name == "exp_month":
                return 8
            if name in ("exp_year", "year"):
                return 2031
            return 1 + number % (28 if name in ("day", "day_of_month", "month") else 5000)
        case "n":
            return round(number % 10_000 / 100, 2)
        case "d":
            return f"{number % 1000}.{number % 999_999_999_999:012d}"
        case "b":
            return number % 3 == 0
        case "t":
            return 1_760_000_000 + number % 10_000_000
        case "T":
            return f"2026-0{1 + number % 9}-1{number % 10}T0{number % 10}:15:42.{number % 1000:03d}Z"
        case "m" if name == "currency_options":
            return {"eur": {"amount": 500, "tax_behavior": "unspecified"}}
        case "m":
            return dict(METADATA[number % len(METADATA)])
        case "L":
            return {"object": "list", "data": [], "has_more": False, "url": f"/v1/{name}"}
    known = next((word for word in (name, *TEXTS) if word in TEXTS and name.endswith(word)), "")
    if known:
        return TEXTS[known]
    return LONG if "description" in name else f"{name.replace('_', ' ')} {number % 1000}"
