"""The typed Struct that one stream's objects are decoded into, and what it has learnt from real answers.

The catalog says which fields to expect. Stripe adds fields any day, and a value may be of another type than
documented, so a layout is replaced by a wider one when an object does not fit it: an unknown key becomes one
more raw field, a field whose type drifted becomes a raw one. A layout itself never changes; rows keep the
one they were decoded with.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from tidegate import catalog

ABSENT = msgspec.Raw(b"")
"""The value of a raw field that the object does not have."""

EARLIEST = -62_135_596_800
"""The first second of the year 1: the earliest that Python can show."""

LATEST = 253_402_300_799
"""The last second of the year 9999."""

MOST_LEARNT = 256
"""Unknown keys that become fields of a layout; keys made of data must not let it grow for ever."""

ALWAYS = ("id", "object", "created", "deleted")
"""Keys that rows are asked for, whether the catalog has them or not."""


class Ref(msgspec.Struct, gc=False):
    """An expanded reference, or the stub of a deleted object: only its id matters."""

    id: str


INTEGER = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
SECONDS = Annotated[int, msgspec.Meta(ge=EARLIEST, le=LATEST)]

# A number is taken as written, to be compared with the double that is made of it; RFC 3339 times likewise.
_TYPES: Mapping[catalog.FieldType, Any] = {
    "string": str,
    "decimal": str,
    "id": str | Ref,
    "integer": INTEGER,
    "boolean": bool,
    "timestamp": SECONDS,
}

# msgspec refuses to name a field with any of these, so such a key never becomes one.
_UNNAMEABLE = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')

_ENVELOPE: list[tuple[str, Any, Any]] = [
    ("has_more", bool | None, None),
    ("url", str | None, None),
    ("next_page_url", str | None | msgspec.UnsetType, msgspec.UNSET),
]


class Layout:
    """A Struct with one field per key.

    `types` maps every key to the type of its field, Raw where the value is taken as written. Their order is
    the order in which Stripe writes the keys: msgspec tries the next field first, and is a third slower
    when that guess is wrong. Fields are named by position (`f0`), since a key may be any text at all.
    """

    __slots__ = ("attributes", "learnt", "one", "ordered", "page", "required", "struct", "types")

    def __init__(
        self,
        types: Mapping[str, Any],
        required: frozenset[str],
        learnt: frozenset[str] = frozenset(),
        ordered: bool = False,
    ) -> None:
        self.types = types
        self.required = required
        """The key's fields: an object without them has no place in a table."""
        self.learnt = learnt
        """Keys that the catalog does not know."""
        self.ordered = ordered
        """Whether the order of keys was seen in a real object."""
        self.attributes = {key: f"f{i}" for i, key in enumerate(types)}
        self.struct = msgspec.defstruct(
            "Object",
            [self._field(key) for key in types],
            rename={attribute: key for key, attribute in self.attributes.items()},
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
        )
        listing = msgspec.defstruct("Listing", [("data", list[self.struct]), *_ENVELOPE], gc=False)  # type: ignore[name-defined]  # made at run time
        self.one: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self.struct)
        """Decodes one object."""
        self.page: msgspec.json.Decoder[Any] = msgspec.json.Decoder(listing)
        """Decodes a list object, to `data`, `has_more`, `url` and `next_page_url`."""

    def _field(self, key: str) -> tuple[str, Any] | tuple[str, Any, Any]:
        kind = self.types[key]
        if key in self.required:
            return self.attributes[key], kind
        if kind is msgspec.Raw:
            return self.attributes[key], kind, ABSENT
        return self.attributes[key], kind | None, None

    def learn(self, objects: Sequence[Mapping[str, bytes]]) -> Layout:
        """A layout that `objects` fit too; this one when they teach nothing.

        Keys that no Struct can name stay out, and so do all beyond MOST_LEARNT.
        """
        drifted = dict.fromkeys(self._drifted(objects), msgspec.Raw)
        unknown = dict.fromkeys(self._unknown(objects), msgspec.Raw)
        if not objects or (self.ordered and not drifted and not unknown):
            return self
        types = {**self.types, **drifted, **unknown}
        widest = max(objects, key=len)
        order = [key for key in widest if key in types]
        return Layout(
            {key: types[key] for key in dict.fromkeys([*order, *types])},
            self.required,
            self.learnt | unknown.keys(),
            ordered=True,
        )

    def _unknown(self, objects: Sequence[Mapping[str, bytes]]) -> Iterator[str]:
        room = MOST_LEARNT - len(self.learnt)
        keys = dict.fromkeys(key for members in objects for key in members if key not in self.types)
        nameable = [key for key in keys if not _UNNAMEABLE.search(key)]
        yield from nameable[: max(room, 0)]

    def _drifted(self, objects: Sequence[Mapping[str, bytes]]) -> Iterator[str]:
        for key, kind in self.types.items():
            if kind is not msgspec.Raw and key not in self.required:
                decoder = _decoder(kind)
                if any(key in members and _drifts(decoder, members[key]) for members in objects):
                    yield key

    def build(self, members: Mapping[str, bytes]) -> tuple[msgspec.Struct, dict[str, bytes]]:
        """The Struct of one object, field by field, and the members that have no field.

        A value that does not fit its field stands there as Raw. Slow and never wrong; raises ValueError for
        an object without its key.
        """
        values: dict[str, Any] = {}
        rest: dict[str, bytes] = {}
        for key, raw in members.items():
            kind = self.types.get(key)
            if kind is None:
                rest[key] = raw
            elif key in self.required:
                values[self.attributes[key]] = msgspec.json.decode(raw, type=kind)
            elif kind is msgspec.Raw:
                values[self.attributes[key]] = msgspec.Raw(raw)
            else:
                try:
                    values[self.attributes[key]] = _decoder(kind).decode(raw)
                except msgspec.DecodeError:
                    values[self.attributes[key]] = msgspec.Raw(raw)
        missing = [key for key in self.required if self.attributes[key] not in values]
        if missing:
            raise ValueError(f"an object has no {' and no '.join(missing)}")
        return self.struct(**values), rest


def expected(stream: catalog.Stream) -> Layout:
    """The layout that the catalog describes."""
    required = frozenset(key for key in stream.key if not key.startswith("_"))
    types: dict[str, Any] = {key: str if key in required else msgspec.Raw for key in ALWAYS}
    for field in stream.fields:
        types[field.name] = _TYPES.get(field.type, msgspec.Raw)
        if field.type == "timestamp" and stream.api == "v2":
            types[field.name] = msgspec.Raw
    for nested in stream.nested:
        types[nested.path.partition(".")[0]] = msgspec.Raw
    known = {field.name for field in stream.fields} | {nested.path for nested in stream.nested}
    return Layout(types, required, frozenset(types) - known - required)


@functools.cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind | None)


def _drifts(decoder: msgspec.json.Decoder[Any], raw: bytes) -> bool:
    try:
        decoder.decode(raw)
    except msgspec.ValidationError:
        return True
    except msgspec.DecodeError:
        return False  # a lone surrogate: this one value's fault, not the field's type
    return False
