"""What shapes rows: pipelines with their mappings and functions, and the customer model that they fill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import BeforeValidator, Field

from tidegate.config import conditions, values


def _property(value: Any) -> Any:
    """`email: string` is short for `email: {type: string}`."""
    return {"type": value} if isinstance(value, str) else value


PropertyType = Literal[
    "string", "integer", "number", "decimal", "boolean", "date", "timestamp", "json", "object", "array"
]


class Property(values.Base):
    """One property of the customer model."""

    type: PropertyType
    """What it holds."""
    properties: Mapping[str, Annotated[Property, BeforeValidator(_property)]] = Field(default_factory=dict)
    """Of an object: its own properties."""
    items: PropertyType | None = None
    """Of an array: what its elements are."""
    primary_source: values.Name | None = None
    """The pipeline whose value wins over newer ones."""


class CustomerModel(values.Base):
    """One table of customers over all pipelines and accounts."""

    warehouse: values.Name
    """The warehouse under `warehouses`."""
    schema_name: values.Text = Field(default="tidegate", alias="schema")
    """The schema of the table."""
    table: values.Text = "customer_profiles"
    """The table."""
    identifiers: Annotated[tuple[values.Text, ...], Field(min_length=1)] = ("customer_id", "email", "phone")
    """What makes two customers one, strongest first."""
    properties: Mapping[str, Annotated[Property, BeforeValidator(_property)]] = Field(default_factory=dict)
    """The model's properties with their types; a common set by default."""
    primary_source: values.Name | None = None
    """The pipeline whose values win over newer ones."""
    max_cluster: Annotated[int, Field(ge=2, le=10_000)] = 100
    """Customers at most that become one; more are never one person, and stay apart."""


def origin(value: Any) -> Any:
    """`email: email` is short for `email: {from: email}`."""
    return {"from": value} if isinstance(value, str) else value


class MapValue(values.Base):
    """Where one property comes from: exactly one of `from`, `value` and `sql`."""

    source: values.Text | None = Field(default=None, alias="from")
    """A field of the stream, dotted into objects and metadata."""
    value: conditions.Scalar | None = None
    """A constant."""
    sql: values.Text | None = None
    """A DuckDB expression over the columns of the row."""
    type: PropertyType | None = None
    """A type to convert to first, before that of the property."""

    @pydantic.model_validator(mode="after")
    def _one_origin(self) -> Self:
        if len({"source", "value", "sql"} & self.model_fields_set) != 1:
            raise ValueError("give exactly one of `from`, `value` and `sql`")
        return self


class Function(values.Base):
    """A function over single records, in Python or JavaScript."""

    python: values.LocalPath | None = None
    """A file with `def transform(customer: dict) -> dict`."""
    javascript: values.LocalPath | None = None
    """A file with `const transform = (customer) => ({...})`."""
    code: Annotated[str, Field(min_length=1, max_length=200_000)] | None = None
    """The function itself, instead of a file; what is `${` in it is written `$${`."""
    language: Literal["python", "javascript"] = "python"
    """In which language `code` is written."""

    timeout: Annotated[float, Field(gt=0, le=300)] = 5.0
    """Seconds that it may take over one record."""
    memory: Annotated[int, Field(ge=64, le=8192)] = 256
    """Megabytes that it may take."""

    @pydantic.model_validator(mode="after")
    def _one_language(self) -> Self:
        if sum(each is not None for each in (self.python, self.javascript, self.code)) != 1:
            raise ValueError("give one of `python`, `javascript` and `code`")
        if self.code is None and "language" in self.model_fields_set:
            raise ValueError("`language` goes with `code`; the file's own key says which language it is in")
        return self


class Case(values.Base):
    """An example that must come out as it is written here."""

    name: values.Text
    """What it shows."""
    given: Mapping[str, Any]
    """A record of the stream."""
    expected: Mapping[str, Any] | None = None
    """The properties that become of it; without, it fails or is filtered out."""


class PipelineGuard(values.Base):
    """When a run stops and asks."""

    max_removed: values.Percent = 0.2
    """Customers that leave the model at once, as a share of those that the pipeline brought."""


class Pipeline(values.Base):
    """A chosen part of one stream, shaped into the customer model."""

    connection: values.Name = Field(alias="from")
    """The connection under `stripe`."""
    warehouse: values.Name = Field(alias="to")
    """The warehouse under `warehouses`."""
    stream: values.Text = "customers"
    """The stream to read."""
    description: str = ""
    """What it is for, in your words."""
    enabled: bool = True
    """Whether it runs."""
    incremental: bool = True
    """Only changed records, or all each time."""
    filter: conditions.Filter | None = None
    """Only records for which this holds."""
    map: Mapping[str, Annotated[MapValue, BeforeValidator(origin, json_schema_input_type=str | MapValue)]] = (
        Field(default_factory=dict)
    )
    """Property -> field, or where else it comes from; without, each is taken from its usual field."""
    sql_timeout: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Seconds that the SQL of `map` may take over 10,000 records."""
    function: Function | None = None
    """A function that shapes each record after the mapping."""
    cases: tuple[Case, ...] = ()
    """Examples; where one comes out differently, nothing is run."""
    guard: PipelineGuard = Field(default_factory=PipelineGuard, json_schema_extra={"default": {}})
    """When to stop and ask before customers leave the model."""
    schedule: values.Schedule = "manual"
    """When: as for a pull."""
