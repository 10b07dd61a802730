"""Pages of bytes to rows: nothing that Stripe sent is lost on the way.

    decoder = decode.Decoder(stream)
    page = decoder.page(body)                      # typed Structs, JSON left as it was written
    arrow.table(decoder, [arrow.Part(page.rows, version)], account="acct_1", synced_at=now)

A page is decoded whole by msgspec into one Struct per object (see `layout`); a batch of many pages becomes one
Arrow table (see `arrow`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import operator
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import pyarrow as pa

from tidegate import catalog, errors
from tidegate.rows import columns, layout, text

_TRUE = msgspec.Raw(b"true")
_WORD = re.compile(r"[a-z_]{1,64}")


@dataclass(frozen=True, slots=True)
class Rows:
    """Decoded objects of one stream, in the order in which Stripe sent them."""

    layout: layout.Layout
    structs: Sequence[msgspec.Struct]
    rest: Mapping[int, Mapping[str, bytes]] = dataclasses.field(default_factory=dict)
    """Row number -> members under keys that no Struct can have."""

    def __len__(self) -> int:
        return len(self.structs)

    @property
    def ids(self) -> list[str]:
        """Every row's id; empty text for an object that has none, in a stream whose key is something else."""
        found = self._fields("id") if "id" in self.layout.required else self.values("id")
        return [value if isinstance(value, str) else "" for value in found]

    @property
    def last_id(self) -> str | None:
        """The id that the next page starts after; None for no rows."""
        return self.take([len(self) - 1]).ids[0] if self.structs else None

    @property
    def created(self) -> list[int | None]:
        """Unix seconds of creation, rounded down."""
        return [columns.seconds(value) for value in self._fields("created")]

    @property
    def objects(self) -> list[str]:
        """What each row says it is: `charge`, `bank_account`; empty text when it does not say."""
        return [value if isinstance(value, str) else "" for value in self.values("object")]

    @property
    def deleted(self) -> list[bool]:
        """Whether a row is only the stub of a deleted object: `{"id": ..., "deleted": true}`."""
        return [is_true(value) for value in self._fields("deleted")]

    def values(self, path: str) -> list[object]:
        """A field's values as the API wrote them, a reference as its id, absent as None; dots lead inside."""
        name, _, inner = path.partition(".")
        if inner:
            found = (_descend(value, inner) for value in self._raws(name))
            return [None if raw is None else text.value(raw) for raw in found]
        return [_plain(value) for value in self._fields(name)]

    def nested(self, path: str) -> list[tuple[str, bytes | None]]:
        """Every row's id with the nested list at a dotted path, as written.

        None where Stripe left the list out; `b"null"` where it, or an object on the way to it, is null: then
        there is none.
        """
        name, _, inner = path.partition(".")
        return list(zip(self.ids, (_descend(value, inner) for value in self._raws(name)), strict=True))

    def only(self, objects: Collection[str]) -> Rows:
        """The rows that are one of `objects`."""
        return self.take([row for row, name in enumerate(self.objects) if name in objects])

    def take(self, indexes: Sequence[int]) -> Rows:
        """The rows at these positions, in this order."""
        rest = {new: self.rest[old] for new, old in enumerate(indexes) if old in self.rest}
        return Rows(self.layout, [self.structs[i] for i in indexes], rest)

    def _fields(self, name: str) -> list[object]:
        attribute = self.layout.attributes.get(name)
        if attribute is None:
            return [msgspec.Raw(self.rest.get(row, {}).get(name, b"")) for row in range(len(self))]
        return list(map(operator.attrgetter(attribute), self.structs))

    def _raws(self, name: str) -> Iterator[bytes | None]:
        for value in self._fields(name):
            yield (bytes(value) or None) if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a list: its rows, and where it goes on."""

    rows: Rows
    has_more: bool
    next_url: str | None
    """v2: where the next page is."""
    url: str
    """v1: the list's own path."""


class Decoder:
    """Decodes the objects of one stream, and learns from every answer that is not as the catalog says.

    With `columns` only these are converted; the key and the `_` columns always are. A value of `hashed` or
    `hidden` that does not fit its column does not land in `_extra` as it was written: of the first its SHA-256
    does, of the others nothing. One thread at a time may decode; `arrow.table` may run in another.
    """

    def __init__(
        self,
        stream: catalog.Stream,
        *,
        columns: Collection[str] | None = None,
        hashed: Collection[str] = (),
        hidden: Collection[str] = (),
    ) -> None:
        self.stream = stream
        self.fields = _chosen(stream, columns)
        """The catalog's fields that become columns."""
        self.hashed = frozenset(hashed)
        self.hidden = frozenset(hidden)
        self.schema = _schema(stream, self.fields)
        """All columns: `_account_id`, a child's `_parent_id` and `_parent_type`, the fields, then `_extra`,
        `_version`, `_synced_at`, `_deleted_at`."""
        self._layout = layout.expected(stream)

    def page(self, body: bytes) -> Page:
        """A list's answer, v1 or v2; raises BadPage for anything that is not one, whole and valid."""
        with self._reading(body):
            body = text.compact(body)
            known = self._layout
            if known.ordered:
                try:
                    answer = known.page.decode(body)
                except msgspec.DecodeError:
                    pass  # a key or a value that this layout does not have, or a lone surrogate
                else:
                    return _page(Rows(known, answer.data), answer.has_more, answer.url, answer.next_page_url)
            members = text.members(body)
            if "data" not in members:
                raise ValueError(_described(members))
            rows = self._learn([text.members(raw) for raw in text.elements(members["data"])])
            more, url = (text.value(members.get(key, b"null")) for key in ("has_more", "url"))
            next_url = text.value(members["next_page_url"]) if "next_page_url" in members else msgspec.UNSET
            return _page(rows, more, url, next_url)

    def listing(self, raw: bytes) -> Page:
        """A list that stands inside another object, or a bare array, which is complete in itself."""
        if raw.lstrip()[:1] != b"[":
            return self.page(raw)
        with self._reading(raw):
            elements = text.elements(text.compact(raw))
        return Page(self.objects(elements), False, None, "")

    def objects(self, raws: Sequence[bytes]) -> Rows:
        """Single objects, by id or out of events; raises BadPage for anything else."""
        known = self._layout
        bodies = []
        for raw in raws:
            with self._reading(raw):
                bodies.append(text.compact(raw))
        if known.ordered:
            with contextlib.suppress(msgspec.DecodeError, RecursionError):
                return Rows(known, [known.one.decode(body) for body in bodies])
        objects = []
        for body in bodies:
            with self._reading(body):
                objects.append(text.members(body))
                if "error" in objects[-1] and "id" not in objects[-1]:
                    raise ValueError(_described(objects[-1]))
        with self._reading(b"".join(bodies)):
            return self._learn(objects)

    def _learn(self, objects: Sequence[Mapping[str, bytes]]) -> Rows:
        self._layout = known = self._layout.learn(objects)
        structs, rests = [], {}
        for row, members in enumerate(objects):
            struct, rest = known.build(members)
            structs.append(struct)
            if rest:
                rests[row] = rest
        return Rows(known, structs, rests)

    @contextlib.contextmanager
    def _reading(self, body: bytes) -> Iterator[None]:
        try:
            yield
        except (ValueError, RecursionError) as fault:
            reason = "a web page" if body.lstrip()[:1] == b"<" else str(fault)
            raise errors.BadPage(
                f"Stripe's answer for {self.stream.name} ({len(body)} bytes) is not the JSON it should be: "
                f"{reason}; nothing of it was used, read it again."
            ) from None


def fields(stream: catalog.Stream) -> tuple[catalog.Field, ...]:
    """The catalog's fields that can be columns of the stream's table.

    A list that Stripe leaves out unless it is asked for is none: it stands whole in a table of its own, and most
    answers, events above all, do not tell it.
    """
    apart = {nested.path for nested in stream.nested if not nested.embedded}
    return tuple(field for field in stream.fields if field.name not in apart)


def schema(stream: catalog.Stream, columns: Collection[str] | None = None) -> pa.Schema:
    """The schema of a decoder's tables; raises ConfigError for a column that the stream does not have."""
    return _schema(stream, _chosen(stream, columns))


def _page(rows: Rows, more: object, url: object, next_url: object) -> Page:
    if not isinstance(more, bool) and next_url is msgspec.UNSET:
        raise ValueError("a list that does not say whether more follows")
    onward = next_url if isinstance(next_url, str) and next_url else None
    return Page(rows, more is True or onward is not None, onward, url if isinstance(url, str) else "")


class _Error(msgspec.Struct):
    type: str = ""
    code: str = ""


def _described(members: Mapping[str, bytes]) -> str:
    try:
        error = msgspec.json.decode(members.get("error", b"{}"), type=_Error)
    except msgspec.DecodeError:
        error = _Error()
    if "error" not in members:
        return "an object without data"
    return f"an error object ({', '.join(filter(_WORD.fullmatch, (error.type, error.code))) or 'unnamed'})"


def _chosen(stream: catalog.Stream, names: Collection[str] | None) -> tuple[catalog.Field, ...]:
    known = fields(stream)
    if names is None:
        return known
    unknown = {name for name in names if not name.startswith("_")} - {field.name for field in known}
    if unknown:
        raise errors.ConfigError(
            f"Stream {stream.name} has no column {', '.join(sorted(unknown))}; "
            f"`tidegate preview {stream.name}` shows the columns it has."
        )
    return tuple(field for field in known if field.name in names or field.name in stream.key)


def _schema(stream: catalog.Stream, fields: Sequence[catalog.Field]) -> pa.Schema:
    text_column = pa.string()
    child = any(origin.parents for origin in stream.origins)
    return pa.schema(
        [
            pa.field("_account_id", text_column),
            *([pa.field("_parent_id", text_column), pa.field("_parent_type", text_column)] if child else []),
            *(
                pa.field(
                    field.name,
                    columns.TYPES[field.type],
                    metadata=columns.JSON if field.type == "json" else None,
                )
                for field in fields
            ),
            pa.field("_extra", text_column, metadata=columns.JSON),
            pa.field("_version", pa.int64()),
            pa.field("_synced_at", columns.INSTANT),
            pa.field("_deleted_at", columns.INSTANT),
        ]
    )


def is_true(value: object) -> bool:
    """Is a value, as a Struct has it, the `true` of JSON?"""
    return value is True or value == _TRUE


def _plain(value: object) -> object:
    if isinstance(value, layout.Ref):
        return value.id
    if isinstance(value, msgspec.Raw):
        found = text.value(bytes(value)) if value else None
        return found.get("id") if isinstance(found, dict) and isinstance(found.get("id"), str) else found
    return value


def _descend(raw: bytes | None, path: str) -> bytes | None:
    for name in path.split(".") if path else ():
        if raw is None or raw == b"null":
            return raw
        try:
            raw = text.members(raw).get(name)
        except ValueError:
            return None
    return raw
