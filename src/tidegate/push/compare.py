"""Field by field: what a row says, what Stripe has, and what is to be sent because of it.

A value is text as Stripe takes it, as everywhere in this floor; None says nothing, the empty text clears. An object
of Stripe is JSON as it answered. What a response does not show, such as a parameter that only acts, is `UNSEEN`.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from tidegate.catalog import writes
from tidegate.push import forms

Owner = Literal["warehouse", "stripe", "if_empty", "three_way"]
Live = Mapping[str, Any]


class Seen(enum.Enum):
    """Whether a response shows a field."""

    UNSEEN = "unseen"


UNSEEN = Seen.UNSEEN

MARK = "tidegate_op"
"""The key of metadata under which an object says which operation made it."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a field has, and what it shall have; `before` is None where it is empty or not shown."""

    before: str | None
    after: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is to be written, by field; the fields that changed here and at Stripe; those left to Stripe."""

    changes: Mapping[str, Change]
    conflicts: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    """They differ, and their owner has them stay so."""


def compare(
    of: writes.Object,
    wanted: Mapping[str, str | None],
    live: Live,
    owners: Mapping[str, Owner],
    acknowledged: Mapping[str, str | None] | None = None,
) -> Comparison:
    """What an update has to say so that the object has what the row says and its owners allow.

    `acknowledged` is what the row said when it was last acknowledged, None when it never was. A field that is equal
    already is left out, so that nothing left means no request.
    """
    changes: dict[str, Change] = {}
    conflicts, held = [], []
    for path, value in wanted.items():
        field = of.field(path)
        if value is None or field is None:
            continue
        there = shown(of, live, path)
        before = None if there is UNSEEN else there
        if there is not UNSEEN and same(field, value, there):
            continue
        owner = owners.get(path, "warehouse")
        known = acknowledged is not None and path in acknowledged
        told = same(field, value, (acknowledged or {}).get(path)) if known else False
        if owner == "stripe" or (owner == "if_empty" and (there is UNSEEN or before)):
            held.append(path)
            continue
        if there is UNSEEN:
            # What only acts while an object is created says nothing of one that somebody else made.
            if not told and (known or field.on_update):
                changes[path] = Change(None, value)
            continue
        if owner == "three_way" and (before or known):
            if told:
                continue  # it changed there alone
            if not known or not same(field, (acknowledged or {}).get(path), before):
                conflicts.append(path)
                continue
        changes[path] = Change(before, value)
    return Comparison(changes, tuple(sorted(conflicts)), tuple(held))


def created(of: writes.Object, wanted: Mapping[str, str | None]) -> dict[str, str]:
    """What a create says: all that there is a value for."""
    found = {}
    for path, value in wanted.items():
        field = of.field(path)
        if value and field is not None and field.writable("create"):
            found[path] = value
    return found


def sent(of: writes.Object, changes: Mapping[str, Change], live: Live) -> dict[str, str]:
    """The fields of an update's request: what changes, and what Stripe wants to have along with it.

    That is the rest of a hash that it replaces whole, and of other hashes the members that they may not lack.
    """
    fields = {path: change.after for path, change in changes.items()}
    for path in changes:
        field = of.field(path)
        if field is None or field.whole in changes:
            continue
        hashes = {".".join(parts) for parts in _above(path)}
        for other in of.fields.values():
            needed = other.required_on_update and other.path.rpartition(".")[0] in hashes
            if (
                other.path in fields
                or other.kind == "hash"
                or not (needed or (field.whole and other.whole == field.whole))
            ):
                continue
            there = shown(of, live, other.path)
            if there is not UNSEEN and there:
                fields[other.path] = there
    return fields


def replacement(of: writes.Object, changes: Mapping[str, Change], live: Live) -> dict[str, str]:
    """What a create says so that the new object is the old one, but for what changes.

    What an answer does not show cannot be carried over; `of.replacement` says what to ask for.
    """
    fields: dict[str, str] = {}
    for path in of.fields:
        for each in _leaves(of, path, live):
            there = shown(of, live, each)
            if there is not UNSEEN and there:
                fields[each] = there
    fields |= {path: change.after for path, change in changes.items()}
    for path in list(fields):  # one amount in two spellings; Stripe takes one of them
        exact = f"{path}_decimal"
        if exact in fields:
            del fields[path if exact in changes and path not in changes else exact]
    for path in [each for each in (of.replacement.moving if of.replacement else ()) if fields.get(each)]:
        fields |= of.replacement.moving[path] if of.replacement else {}
    return {path: value for path, value in fields.items() if value}


def dropped(of: writes.Object, live: Live) -> str:
    """What of an object's maps `replacement` cannot carry over, a list; empty where there is none."""
    for path, field in of.fields.items():
        there = shown(of, live, path) if field.kind == "map" and field.of == "hash" else None
        found = _parsed(there) if isinstance(there, str) else None
        for key, each in found.items() if isinstance(found, Mapping) else ():
            lists = [name for name, inner in field.fields.items() if inner.kind == "list" and each.get(name)]
            if key != live.get("currency") and lists:
                return f"{path}.{key}.{lists[0]}"
    return ""


def _leaves(of: writes.Object, path: str, live: Live) -> Iterator[str]:
    """The fields that a create takes one by one, keys of maps too, but for our own mark."""
    field = of.fields[path]
    if not field.writable("create") or field.kind == "hash":
        return
    if field.kind != "map":
        yield path
        return
    found: Any = live
    for step in forms.steps(of, path):
        found = found.get(step) if isinstance(found, Mapping) else None
    for key in found if isinstance(found, Mapping) else ():
        if field.of != "hash" and key != MARK:
            yield f"{path}.{key}"
        elif key != live.get("currency"):  # which stands beside its options, and among them
            yield from (f"{path}.{key}.{name}" for name, each in field.fields.items() if each.kind != "list")


def _above(path: str) -> Iterator[list[str]]:
    """The names of the hashes around a field."""
    parts = path.split(".")
    for cut in range(1, len(parts)):
        yield parts[:cut]


def shown(of: writes.Object, live: Live, path: str) -> str | Seen | None:
    """What an object of Stripe has in a field, as text; None where it is empty, UNSEEN where nothing tells."""
    field = of.field(path)
    if field is None:
        return UNSEEN
    value: Any = live
    *above, last = forms.steps(of, path)
    for step in above:
        value = value.get(step, UNSEEN) if isinstance(value, Mapping) else UNSEEN
        if value is None or value is UNSEEN:
            return None if value is None else UNSEEN
    if not isinstance(value, Mapping):
        return UNSEEN
    # A key that metadata does not have is empty; a name that a response does not have says nothing.
    absent = None if above and path not in of.fields else UNSEEN
    found = value.get(last, absent)
    return UNSEEN if found is UNSEEN else text(found)


def text(value: Any) -> str | None:
    """A value of a response as text: an expanded object is its id, a list of Stripe's what is in it."""
    value = _plain(value)
    if value is None or value in ("", [], {}):
        return None
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return str(value)
        case float() | Decimal():
            number = Decimal(str(value))
            return str(value) if abs(number.adjusted()) > forms.MOST_DIGITS else f"{number.normalize():f}"
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def same(field: writes.Field, wanted: str | None, there: str | None) -> bool:
    """Do two texts say the same of a field? Numbers may be spelt in several ways; nothing is as good as empty."""
    if not wanted or not there:
        return not wanted and not there
    if wanted == there or (field.caseless and wanted.lower() == there.lower()):
        return True
    if field.kind in ("integer", "number", "decimal"):
        number = _number(wanted)
        return number is not None and number == _number(there)
    if field.kind in ("list", "map", "hash"):
        return _covers(_parsed(wanted), _parsed(there), exact=field.kind == "list")
    return False


def _covers(wanted: Any, there: Any, *, exact: bool) -> bool:
    """Does what is there have all that is wanted? Members that nobody wants may be there, elements may not."""
    if isinstance(wanted, Mapping):
        if not isinstance(there, Mapping):
            return str(wanted.get("id", "")) == str(there) and len(wanted) == 1
        return all(_covers(value, there.get(name), exact=exact) for name, value in wanted.items())
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        if not isinstance(there, Sequence) or isinstance(there, str):
            return not wanted and not there
        named = all(isinstance(each, Mapping) and "id" in each for each in wanted)
        if exact and not named and len(wanted) != len(there):
            return False
        return all(_covers(*pair, exact=exact) for pair in _pairs(wanted, there))
    if isinstance(there, Mapping):
        return str(there.get("id", "")) == str(wanted)
    one, other = (text(value) or "" for value in (wanted, there))
    return one == other or (_number(one) is not None and _number(one) == _number(other))


def _pairs(wanted: Sequence[Any], there: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Elements that belong together: by id where they have one, by place else."""
    by_id = {each["id"]: each for each in there if isinstance(each, Mapping) and "id" in each}
    for at, each in enumerate(wanted):
        if isinstance(each, Mapping) and "id" in each:
            yield each, by_id.get(each["id"])
        else:
            yield each, there[at] if at < len(there) else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get("object") == "list" and isinstance(value.get("data"), list):
            return value["data"]
        if isinstance(value.get("id"), str) and "object" in value:
            return value["id"]
    return value


def _parsed(value: str) -> Any:
    try:
        return json.loads(value, parse_float=Decimal)
    except (ValueError, RecursionError):
        return value


def _number(value: str) -> Decimal | None:
    try:
        number = Decimal(value)
        return number.normalize() if number.is_finite() else None
    except ArithmeticError:  # no number, or one beyond all bounds
        return None
