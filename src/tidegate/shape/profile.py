"""The schema of the customer model: its properties in order, their Arrow columns, and rows of them made of records.

    model = profile.of(settings.customer_model)
    typed = model.typed([{"customer_id": "cus_1", "email": "jane@example.com"}])

An object and an array are one column of JSON, whose inside is checked and converted by its own types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tidegate import config, errors
from tidegate.shape import casting, targets

MOST_BYTES = 63
"""Bytes of the longest name that every warehouse takes."""

OURS = frozenset(
    ("profile_id", "record", "pipeline", "source_id", "sources", "accounts", "first_seen_at", "updated_at")
)
"""Columns that stand beside the properties in the tables of the model."""

_NAME = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)
_TEXT = targets.Target("string")
_ADDRESS = targets.Target(
    "object", tuple((name, _TEXT) for name in ("line1", "line2", "city", "state", "postal_code", "country"))
)

DEFAULT: Mapping[str, tuple[targets.Target, str]] = {
    "customer_id": (_TEXT, "id"),
    "name": (_TEXT, "name"),
    "email": (_TEXT, "email"),
    "phone": (_TEXT, "phone"),
    "description": (_TEXT, "description"),
    "address": (_ADDRESS, "address"),
    "shipping": (
        targets.Target("object", (("name", _TEXT), ("phone", _TEXT), ("address", _ADDRESS))),
        "shipping",
    ),
    "currency": (_TEXT, "currency"),
    "balance": (targets.Target("integer"), "balance"),
    "delinquent": (targets.Target("boolean"), "delinquent"),
    "tax_exempt": (_TEXT, "tax_exempt"),
    "preferred_locales": (targets.Target("array", items=_TEXT), "preferred_locales"),
    "invoice_prefix": (_TEXT, "invoice_prefix"),
    "default_source": (_TEXT, "default_source"),
    "default_payment_method": (_TEXT, "invoice_settings.default_payment_method"),
    "metadata": (targets.Target("json"), "metadata"),
    "created": (targets.Target("timestamp"), "created"),
    "livemode": (targets.Target("boolean"), "livemode"),
}
"""The model when nothing else is configured, and where in Stripe's customer each property stands."""


@dataclass(frozen=True, slots=True)
class Property:
    """One property; `source` is the field of Stripe's customer that it takes when a pipeline has no mapping."""

    name: str
    target: targets.Target
    source: str | None = None
    primary_source: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row did not become one of the model: its number, the property, and a sentence without its values."""

    row: int
    property: str
    why: str


@dataclass(frozen=True, slots=True)
class Typed:
    """Rows of the model, in the order of what they were made of, without those that failed.

    `kept` says for each given row whether it is among `rows`; a row may have failed for several properties.
    """

    rows: pa.Table
    kept: pa.BooleanArray
    failed: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """The properties of the model in order, and those that identify a customer, strongest first."""

    properties: tuple[Property, ...]
    identifiers: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all properties."""
        return tuple(each.name for each in self.properties)

    @property
    def schema(self) -> pa.Schema:
        """The columns of all properties."""
        return pa.schema([each.target.field(each.name) for each in self.properties])

    def typed(self, records: Sequence[Mapping[str, Any]]) -> Typed:
        """Rows made of records that a function returned.

        A missing key is null; a record with a key that the model does not have fails, as does one with a value
        that its property cannot hold.
        """
        columns = {
            each.name: casting.objects(
                [record.get(each.name) for record in records], each.target, strict=True
            )
            for each in self.properties
        }
        names = self.names
        known = frozenset(names)
        failed = [
            Failure(
                row,
                str(key) if targets.is_name(key) else "",
                f"the model has no property {targets.key_named(key, names)}",
            )
            for row, record in enumerate(records)
            if not record.keys() <= known
            for key in record
            if key not in known
        ]
        return self.gathered(len(records), columns, "the function gives", failed)

    def gathered(
        self,
        count: int,
        columns: Mapping[str, casting.Converted],
        origin: str | Mapping[str, str],
        failed: Sequence[Failure] = (),
    ) -> Typed:
        """Rows made of converted columns by property; those that are not given are null.

        `origin` begins, for all or by property, what a failure says of a value that does not fit.
        """
        every = list(failed)
        for name, each in columns.items():
            said = origin if isinstance(origin, str) else origin.get(name, "")
            every += [Failure(row, name, why.sentence(name, said)) for row, why in each.unfit.items()]
        schema = self.schema
        rows = pa.table(
            [
                columns[field.name].values if field.name in columns else pa.nulls(count, field.type)
                for field in schema
            ],
            schema=schema,
        )
        order = {name: place for place, name in enumerate(schema.names)}
        every.sort(key=lambda failure: (failure.row, order.get(failure.property, -1)))
        bad = {failure.row for failure in every}
        kept = pa.array([row not in bad for row in range(count)], pa.bool_()) if bad else _all(count)
        return Typed(rows.filter(kept) if bad else rows, kept, tuple(every))


def of(model: config.CustomerModel | None = None) -> Profile:
    """The schema of a configured model, or the default one; raises ConfigError for one that no table can have."""
    properties = tuple(
        _property(name, each) for name, each in (model.properties if model else {}).items()
    ) or tuple(Property(name, target, source) for name, (target, source) in DEFAULT.items())
    _check_names([each.name for each in properties])
    return Profile(properties, _identifiers(model, {each.name: each for each in properties}))


def _all(count: int) -> pa.BooleanArray:
    return pa.repeat(pa.scalar(True), count)


def _property(name: str, told: config.Property) -> Property:
    source = DEFAULT[name][1] if name in DEFAULT else None
    return Property(name, _target(name, told), source, told.primary_source)


def _target(name: str, told: config.Property) -> targets.Target:
    if told.properties and told.type != "object":
        raise errors.ConfigError(
            f"The property {name} of the customer model is a {told.type} with properties; only an object has them."
        )
    if told.items is not None and told.type != "array":
        raise errors.ConfigError(
            f"The property {name} of the customer model is a {told.type} with items; only an array has them."
        )
    members = tuple((inner, _target(f"{name}.{inner}", each)) for inner, each in told.properties.items())
    return targets.Target(told.type, members, None if told.items is None else targets.Target(told.items))


def _check_names(names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if not _NAME.fullmatch(name.lower()) or len(name) > MOST_BYTES:
            why = f"a name has letters, digits and underscores, at most {MOST_BYTES}, and no digit first"
        elif name.startswith("_"):
            why = "names with an underscore first are Tidegate's own; leave it out"
        elif name.lower() in seen:
            why = (
                f"{seen[name.lower()]} differs from it in case alone, and warehouses ignore case; rename one"
            )
        elif name != name.lower():
            why = f"a name is in lower case; write {name.lower()}"
        elif name in OURS:
            why = "the tables of the model have a column of that name already; take another"
        else:
            seen[name] = name
            continue
        raise errors.ConfigError(f"The customer model cannot have the property {name}: {why}.")


def _identifiers(model: config.CustomerModel | None, properties: Mapping[str, Property]) -> tuple[str, ...]:
    if model is not None and "identifiers" in model.model_fields_set:
        found = model.identifiers
    else:
        usual: tuple[str, ...] = config.CustomerModel.model_fields["identifiers"].default
        found = tuple(name for name in usual if name in properties)
    if not found:
        raise errors.ConfigError(
            "The customer model has nothing that identifies a customer; name its properties that do under "
            "`identifiers`, strongest first."
        )
    for name in found:
        if name not in properties:
            raise errors.ConfigError(
                "The customer model names an identifier that is no property of it: "
                f"{targets.ended(targets.key_named(name, tuple(properties)))}"
            )
        if properties[name].target.type in targets.DOCUMENTS | {"boolean"}:
            raise errors.ConfigError(
                f"The customer model is identified by {name}, which has the type {properties[name].target.type}; "
                "take a property that tells customers apart, such as a string."
            )
    if len(set(found)) < len(found):
        raise errors.ConfigError("The customer model names an identifier twice; name each once.")
    return found
