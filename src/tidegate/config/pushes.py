"""What flows back: models, which are rows with a key, and pushes, which write them into Stripe."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from tidegate.config import conditions, pipelines, values

FILES = (".csv", ".parquet", ".jsonl")
"""How the file of a model may end."""

FLAG = "metadata.tidegate_gone"
"""What `on_missing: flag` writes `true` into, where it does not say it itself."""

MAX_CHANGED = 0.5
MAX_REMOVED = 0
ROWS_DOWN = 0.3
RETRIES = 5

FOLDED = ("email", "code")
"""Fields whose case does not count by default."""

Nulls = Literal["leave", "clear"]
Owner = Literal["warehouse", "stripe", "if_empty", "three_way"]
Missing = Literal["nothing", "clear", "flag", "archive", "delete"]


def _file(path: str) -> str:
    if "://" in path or PurePath(path).suffix.lower() not in FILES:
        raise ValueError("write a file on this machine that ends in .csv, .parquet or .jsonl")
    return path


def _different(key: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if isinstance(key, tuple) and len(set(key)) < len(key):
        raise ValueError("a column stands here twice")
    return key


class Model(values.Base):
    """Rows of a warehouse, or of a file, that are worth sending to Stripe."""

    warehouse: values.Name | None = None
    """The warehouse under `warehouses`."""
    sql: values.Text | None = None
    """A query."""
    table: values.Text | None = None
    """Instead of `sql`: a table or view, `schema.table`."""
    index: values.Text | None = None
    """Instead of `sql`, of Elasticsearch: an index, an alias, or a pattern of them."""
    query: Mapping[str, Any] | None = None
    """With `index`: which documents, in the JSON of the query DSL; all by default."""
    fields: tuple[values.Text, ...] = ()
    """With `index`: which fields, `address.city`; all by default. `tags:json` takes several values."""
    sheet: values.Text | None = None
    """Instead of `sql`, of Google Sheets: the title of a sheet. Its first row names the columns."""
    range: values.Text | None = None
    """With `sheet`: the cells, `A3:F` or `A1:F500`; the whole sheet by default."""
    file: Annotated[values.LocalPath, AfterValidator(_file)] | None = None
    """Instead of a warehouse: a file that ends in `.csv`, `.parquet` or `.jsonl`."""
    key: Annotated[
        Annotated[values.Text, Tag("<word>")]
        | Annotated[tuple[values.Text, ...], Field(min_length=1), Tag("<list>")],
        Discriminator(lambda value: "<list>" if isinstance(value, list | tuple) else "<word>"),
        AfterValidator(_different),
    ]
    """The column that identifies a row, for ever; a list for several that do so together."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns of the key."""
        return (self.key,) if isinstance(self.key, str) else self.key

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [
            name for name in ("sql", "table", "index", "sheet", "file") if getattr(self, name) is not None
        ]
        if not given:
            raise ValueError("give either `sql` or `table`")
        if len(given) > 1:
            raise ValueError(f"`{given[0]}` and `{given[1]}` exclude each other; give one of them")
        if self.file is not None and self.warehouse is not None:
            raise ValueError("`warehouse` and `file` exclude each other; give one of them")
        if self.file is None and self.warehouse is None:
            raise ValueError("`warehouse` is missing: where is this read?")
        if self.index is None and (self.query is not None or self.fields):
            raise ValueError("`query` and `fields` belong to `index`")
        if self.sheet is None and self.range is not None:
            raise ValueError("`range` belongs to `sheet`")
        return self


@dataclass(frozen=True, slots=True)
class Column:
    """The place of a column's value in a template."""

    name: str


_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]|[^{}]+")


def template(text: str) -> Iterator[str | Column]:
    """The parts of a template: text, and columns in braces; `{{` and `}}` are braces. Raises ValueError."""
    for piece in _PIECE.finditer(text):
        if piece[0] in ("{{", "}}"):
            yield piece[0][0]
        elif piece[1] is not None and piece[1].strip():
            yield Column(piece[1].strip())
        elif piece[0][0] in "{}":
            raise ValueError(
                "a brace does not close, or holds no column; write {column}, and {{ or }} for a brace"
            )
        else:
            yield piece[0]


def _template(text: str) -> str:
    parts = list(template(text))
    if not any(isinstance(part, Column) for part in parts):
        raise ValueError("a template has columns in braces: {first} {last}; for a constant write `value`")
    return text


def _path(text: str) -> str:
    if not all(part.strip() for part in text.split(".", 1 if text.startswith("metadata.") else -1)):
        raise ValueError(
            "write a field of the Stripe object with dots between its names, such as address.city"
        )
    return text


def _paced(schedule: values.Schedule) -> values.Schedule:
    if schedule == "continuous":
        raise ValueError(
            "a push reads its whole model each time and is never continuous; write an interval, such as every 1m, "
            "or {after: FLOW} to follow a pull"
        )
    return schedule


def _from(value: Any) -> Any:
    """`metadata.plan: plan` is short for `metadata.plan: {from: plan}`."""
    return {"from": value} if isinstance(value, str) else value


class FieldValue(values.Base):
    """What a field of the Stripe object gets: exactly one of `from`, `template`, `sql` and `value`."""

    source: values.Text | None = Field(default=None, alias="from")
    """A column, or a path into one that holds JSON: `address.city`."""
    template: Annotated[str, AfterValidator(_template)] | None = None
    """Text with columns in braces, `{first} {last}`; null where one of them is."""
    sql: values.Text | None = None
    """A DuckDB expression over the columns of the row."""
    value: conditions.Scalar | None = None
    """A constant."""
    hash: bool = False
    """Send the SHA-256 of it, in hexadecimal."""
    null: Nulls = "leave"
    """What null and empty text do: `leave` the field as it is, or `clear` it."""
    owner: Owner = "warehouse"
    """Whose value counts: `warehouse`; `stripe`, which has it written only into new objects; `if_empty`, which only
    fills gaps; `three_way`, which writes what changed here, and holds the row when it changed there as well."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if len({"source", "template", "sql", "value"} & self.model_fields_set) != 1:
            raise ValueError("give exactly one of `from`, `template`, `sql` and `value`")
        if "value" in self.model_fields_set and self.value in (None, ""):
            raise ValueError(
                "a constant has a value; to empty a field send a column that is null, with `null: clear`"
            )
        return self


class Match(values.Base):
    """By which column a row finds its object."""

    source: values.Text = Field(alias="from")
    """The column, or a path into one that holds JSON."""
    case: Literal["exact", "ignore"] | None = None
    """Whether upper and lower case differ: `exact`, or `ignore`, which is what e-mails and promotion codes do by
    default."""

    def folded(self, field: str) -> bool:
        """Are values of this Stripe field compared without regard to case?"""
        return self.case == "ignore" or (self.case is None and field.rpartition(".")[2] in FOLDED)


class Flag(values.Base):
    """A mark on objects whose row is gone."""

    flag: Annotated[values.Text, AfterValidator(_path)]
    """The field that becomes `true`: `metadata.gone`."""


class Guard(values.Base):
    """Limits beyond which a plan waits for approval; an empty model always does."""

    max_creates: Annotated[int, Field(ge=0)] | None = None
    """New objects in one run; any number by default."""
    max_changed: values.Percent = Field(default=MAX_CHANGED, json_schema_extra={"default": "50%"})
    """Changed rows, as a share of those that were sent before; counts from 20 rows on."""
    max_removed: Annotated[int, Field(ge=0)] = MAX_REMOVED
    """Objects to clear, flag, archive or delete in one run; every one waits by default."""
    rows_down: values.Percent = Field(default=ROWS_DOWN, json_schema_extra={"default": "30%"})
    """How much smaller the model may be than at its last run."""


class Retry(values.Base):
    """What becomes of a row that Stripe refuses."""

    times: Annotated[int, Field(ge=1, le=1000)] = RETRIES
    """Refusals before the row is put into quarantine."""


class Push(values.Base):
    """A model's rows into Stripe objects."""

    model: values.Name
    """The model under `models`."""
    connection: values.Name = Field(alias="to")
    """The connection under `stripe`."""
    account: values.AccountId | None = None
    """A connected account to write into; the key's own by default."""
    object: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.]+$")]
    """The Stripe object: `customer`, `product`, `price`, `subscription`, ..."""
    behavior: Literal["update_or_create", "update_only", "create_only", "mirror"] = "update_or_create"
    """What may happen to the object; `mirror` is `update_or_create` with an `on_missing` that does something."""
    match: Annotated[
        Mapping[
            Annotated[values.Text, AfterValidator(_path)],
            Annotated[Match, BeforeValidator(_from, json_schema_input_type=str | Match)],
        ],
        Field(min_length=1),
    ]
    """Stripe field -> column, by which a row finds its object; of several all must agree."""
    on_many: Literal["hold", "oldest", "newest"] = "hold"
    """When several objects match: hold the row until somebody chooses, or take the oldest or newest."""
    fields: Annotated[
        Mapping[
            Annotated[values.Text, AfterValidator(_path)],
            Annotated[FieldValue, BeforeValidator(_from, json_schema_input_type=str | FieldValue)],
        ],
        Field(min_length=1),
    ]
    """Stripe field -> column, or where else its value comes from."""
    filter: conditions.Filter | None = None
    """Only rows for which this holds."""
    function: pipelines.Function | None = None
    """A function that shapes each row that the filter lets through, before its fields are taken from it."""
    on_missing: Annotated[
        Annotated[Missing, Tag("<word>")] | Annotated[Flag, Tag("<flag>")],
        Discriminator(lambda value: "<flag>" if isinstance(value, dict | Flag) else "<word>"),
    ] = "nothing"
    """What happens to an object of this push when its row is gone: `nothing`, `clear` the fields that are sent,
    `flag`, `archive`, `delete`. `{flag: metadata.gone}` says which field becomes `true`."""
    on_immutable: Literal["hold", "replace"] = "hold"
    """When a field changed that Stripe never changes, such as a price's amount: hold the row and ask, or `replace`
    the object: a new one takes its place, and the old one is archived. Prices, tax rates and tax ids."""
    guard: Guard = Field(default_factory=Guard, json_schema_extra={"default": {}})
    """When to hold the plan and ask."""
    retry: Retry = Field(default_factory=Retry, json_schema_extra={"default": {}})
    """How often a row that Stripe refuses is tried again."""
    proration: Literal["none", "create_prorations", "always_invoice"] = "none"
    """Of subscriptions: what a change does to the running period's price."""
    schedule: Annotated[values.Schedule, AfterValidator(_paced)] = "manual"
    """When: `manual`, `every 15m`, a cron line, a pace with an anchor, or after other flows; never `continuous`."""

    @property
    def missing(self) -> Missing:
        """What happens to an object whose row is gone."""
        return "flag" if isinstance(self.on_missing, Flag) else self.on_missing

    @property
    def flag(self) -> str:
        """The field that marks objects whose row is gone, where that is what happens to them."""
        return self.on_missing.flag if isinstance(self.on_missing, Flag) else FLAG

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.behavior == "mirror" and self.missing == "nothing":
            raise ValueError("`behavior: mirror` needs `on_missing`: clear, flag, archive or delete")
        for field in self.fields:
            inside = next((other for other in self.fields if other.startswith(f"{field}.")), None)
            if inside is not None:
                raise ValueError(
                    f"`fields` has both {field} and {inside}, which is a part of it; give one of them"
                )
            if self.missing == "flag" and field == self.flag:
                raise ValueError(
                    f"`on_missing` marks {field}, which `fields` writes as well; choose another field"
                )
        return self
