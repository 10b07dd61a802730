"""`tidegate.yaml` as values: what is connected, what is pulled where, what is pushed back.

`load()` reads and checks the file, `ad_hoc()` makes the same values from command-line flags, `json_schema()`
describes the file for editors. The docstring under a field is its documentation, in the schema and in
`docs/configuration.md` alike. Relative paths count from the folder that holds the file.

Rooms: `document` reads YAML and JSON and knows every value's position, `values` parses the notations,
`warehouses`, `flows`, `pushes`, `conditions`, `alerts` and `server` are the models, `chains` knows which flow runs
after which, `problems` phrases what is wrong. `merging` puts what the metadata database keeps beside the file's
own, `hidden` finds the secrets in either, `writing` makes YAML of them.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
from pydantic import Field, SecretStr

from tidegate import catalog, errors
from tidegate.config import chains, document, flows, merging, problems, values, warehouses
from tidegate.config.alerts import Alerts
from tidegate.config.conditions import Filter
from tidegate.config.flows import (
    Connection,
    Derived,
    Pull,
    Retention,
    StreamOptions,
)
from tidegate.config.pipelines import Case, CustomerModel, Function, MapValue, Pipeline, Property
from tidegate.config.pushes import FieldValue, Guard, Match, Model, Push
from tidegate.config.server import OpenID, Site
from tidegate.config.values import After, Cron, Every, RateLimit
from tidegate.config.warehouses import AnyWarehouse, ClickHouse, Databricks, DuckDB, Postgres, Warehouse

__all__ = [
    "DEFAULT_FILE",
    "After",
    "Alerts",
    "AnyWarehouse",
    "Case",
    "ClickHouse",
    "Config",
    "Connection",
    "Cron",
    "CustomerModel",
    "Databricks",
    "Derived",
    "DuckDB",
    "Every",
    "FieldValue",
    "Filter",
    "Function",
    "Guard",
    "MapValue",
    "Match",
    "Model",
    "OpenID",
    "Pipeline",
    "Postgres",
    "Property",
    "Pull",
    "Push",
    "RateLimit",
    "Retention",
    "Site",
    "StreamOptions",
    "Warehouse",
    "ad_hoc",
    "json_schema",
    "judged",
    "load",
]

DEFAULT_FILE = "tidegate.yaml"

Columns = Mapping[str, Collection[str]]
"""Stream -> its columns, against which names in a configuration are checked."""

_FLAGS = {
    "api_key": "--api-key",
    "api_base": "--api-base",
    "accounts": "--account",
    "account_id": "--account-id",
    "budget": "--budget",
    "rate_limit": "--rate-limit",
    "start_date": "--start-date",
    "lookback": "--lookback",
    "streams": "--streams",
    "warehouses": "--to",
}


class Config(values.Base):
    """The whole file."""

    stripe: Mapping[values.Name, Connection] = Field(default_factory=dict)
    """Connections to Stripe, by name."""
    warehouses: Mapping[values.Name, AnyWarehouse] = Field(default_factory=dict)
    """Warehouses, by name."""
    pulls: Mapping[values.Name, Pull] = Field(default_factory=dict)
    """What is pulled where, by name."""
    customer_model: CustomerModel | None = None
    """The one table of customers that pipelines fill."""
    pipelines: Mapping[values.Name, Pipeline] = Field(default_factory=dict)
    """Chosen and shaped parts of a stream, by name."""
    models: Mapping[values.Name, Model] = Field(default_factory=dict)
    """Warehouse rows that pushes send, by name."""
    pushes: Mapping[values.Name, Push] = Field(default_factory=dict)
    """What is pushed into Stripe, by name."""
    alerts: Alerts | None = None
    """Who is told when something needs a person."""
    server: Site | None = None
    """How `tidegate run` is reached, and who may sign in."""
    database: flows.DatabaseUrl = Field(
        default_factory=lambda: SecretStr(f"sqlite:///{Path.cwd() / 'tidegate.db'}"),
        json_schema_extra={"default": "sqlite:///tidegate.db"},
    )
    """Where runs and settings are kept: a SQLite file, or Postgres for several workers."""


def load(
    path: str | os.PathLike[str] = DEFAULT_FILE,
    *,
    environ: Mapping[str, str] | None = None,
    secret: Callable[[str], str] | None = None,
    columns: Columns | None = None,
    stored: Sequence[merging.Stored] = (),
    missing: bool = False,
) -> Config:
    """Read and check a configuration; `columns` are the catalog's by default.

    `stored` are the parts that the metadata database keeps: they are checked together with the file's, and where
    both have one of a name, the file's counts. `missing` says that there may be no file.

    Raises ConfigError with every problem found, one line each: `FILE:LINE:COLUMN: key: what is wrong`.
    """
    doc = merging.read(path, environ=environ, secret=secret, missing=missing)
    if not missing and not stored and (doc.data is None or doc.data == {}):
        raise errors.ConfigError(f"{doc.source} is empty; `tidegate init --force` writes one to start from")
    doc = merging.merged(doc, stored, environ=environ, secret=secret)
    config, wrong = judged(doc, Path(path).absolute().parent, columns)
    if config is None:
        raise errors.ConfigError("\n".join(problems.lines(doc, wrong)))
    return config


def ad_hoc(
    *,
    api_key: str,
    to: str,
    api_base: str | None = None,
    schema: str | None = None,
    streams: Sequence[str] = (),
    accounts: Sequence[str] | str | None = None,
    account_id: str | None = None,
    start_date: str | None = None,
    lookback: str | None = None,
    budget: float | None = None,
    rate_limit: str | None = None,
    full_refresh: bool = False,
    columns: Columns | None = None,
) -> Config:
    """The configuration of `tidegate pull --api-key KEY --to URL`: one connection, warehouse and pull.

    They are named `stripe`, `warehouse` and `pull`. Raises ConfigError that names the flag.
    """
    options = {"mode": "full_refresh"} if full_refresh else {}
    is_file = "://" not in to and to.endswith((".duckdb", ".db"))
    if not is_file and warehouses.kind({"url": to}) is None:
        raise errors.ConfigError("--to: write duckdb:///FILE or postgresql://user:password@host/database")
    data: dict[str, Any] = {
        "stripe": {
            "stripe": _given(
                api_key=api_key,
                api_base=api_base,
                accounts=accounts if isinstance(accounts, str | None) else list(accounts),
                account_id=account_id,
                start_date=start_date,
                budget=budget,
                rate_limit=rate_limit,
            )
        },
        "warehouses": {
            "warehouse": _given(type="duckdb", path=to, schema=schema)
            if is_file
            else _given(url=to, schema=schema)
        },
        "pulls": {
            "pull": _given(
                **{"from": "stripe", "to": "warehouse"},
                lookback=lookback,
                streams={name: dict(options) for name in streams or ("*",)},
            )
        },
    }
    doc = document.Document("the command line", data, {}, frozenset())
    config, wrong = judged(doc, Path.cwd(), columns)
    if config is None:
        lines = []
        for place, what in wrong:
            flag = next((_FLAGS[step] for step in reversed(place) if step in _FLAGS), "--to")
            lines.append(f"{flag}: {what}")
        raise errors.ConfigError("\n".join(lines))
    return config


def warehouse(url: str, schema: str) -> warehouses.Warehouse:
    """The warehouse behind a URL; raises ConfigError, which repeats nothing of the URL but its scheme."""
    scheme = url.partition(":")[0]
    if warehouses.kind({"url": url}) is None:
        known = ", ".join(sorted(warehouses.SCHEMES))
        raise errors.ConfigError(f"There is no warehouse of the kind {scheme}; write one of {known}.")
    context = values.Context(Path.cwd())
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(warehouses.AnyWarehouse)
    try:
        found: warehouses.Warehouse = adapter.validate_python({"url": url, "schema": schema}, context=context)
    except pydantic.ValidationError as error:
        why = "; ".join(
            each["msg"].removeprefix("Value error, ") for each in error.errors(include_input=False)
        )
        raise errors.ConfigError(f"{scheme}://...: {why}") from None
    return found


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors and for the documentation."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "tidegate.yaml"}


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def judged(
    doc: document.Document, folder: Path, columns: Columns | None = None
) -> tuple[Config | None, list[problems.Problem]]:
    """The configuration that a document is, or every problem in it; relative paths count from `folder`."""
    context = values.Context(folder)
    wrong = list(doc.problems)
    config = None
    try:
        config = Config.model_validate(doc.data, context=context)
    except pydantic.ValidationError as error:
        wrong += problems.found(error, doc, context)
    bad = {place for place, _ in wrong}
    assert isinstance(doc.data, dict), "the caller has looked"
    if columns is None:
        columns = {
            name: [field.name for field in each.fields] for name, each in catalog.load().streams.items()
        }
    named = (*_dangling(doc.data), *chains.problems(doc.data), *_unknown_names(doc.data, columns))
    for place, what in named:
        # An alias or a default may put a reference where nothing is written.
        shown = what if place not in doc.filled else what.partition(";")[0]
        if place not in bad:
            wrong.append((place, shown))
    if wrong:
        return None, list({place: (place, what) for place, what in reversed(wrong)}.values())[::-1]
    return config, []


_REFERENCES = (
    (("pulls", "*", "from"), "stripe"),
    (("pulls", "*", "to"), "warehouses"),
    (("pipelines", "*", "from"), "stripe"),
    (("pipelines", "*", "to"), "warehouses"),
    (("models", "*", "warehouse"), "warehouses"),
    (("pushes", "*", "model"), "models"),
    (("pushes", "*", "to"), "stripe"),
    (("customer_model", "warehouse"), "warehouses"),
    (("customer_model", "primary_source"), "pipelines"),
    (("customer_model", "properties", "*", "primary_source"), "pipelines"),
)


def _values(
    data: object, pattern: Sequence[str], place: document.Place = ()
) -> list[tuple[document.Place, Any]]:
    """Every value that a pattern such as `pulls.*.from` finds."""
    if not pattern:
        return [(place, data)]
    if not isinstance(data, Mapping):
        return []
    names = list(data) if pattern[0] == "*" else [pattern[0]]
    return [
        found for name in names if name in data for found in _values(data[name], pattern[1:], (*place, name))
    ]


def _dangling(data: Mapping[str, Any]) -> list[problems.Problem]:
    """References to connections, warehouses, models and pipelines that the file does not have."""
    wrong: list[problems.Problem] = []
    for pattern, section in _REFERENCES:
        named = data.get(section)
        known = named if isinstance(named, Mapping) else {}
        for place, name in _values(data, pattern):
            if isinstance(name, str) and name and name not in known:
                near = values.suggestion(name, known)
                hint = near or (f"; it has {', '.join(known)}" if known else f"; add it under `{section}:`")
                wrong.append((place, f"`{section}` has no such name{hint}"))
    return wrong


def _unknown_names(data: Mapping[str, Any], columns: Columns) -> list[problems.Problem]:
    """Streams that Stripe does not have, columns to keep, hash or leave out that a stream does not have, and names
    of derived columns that it has already.

    A mistyped column under `hash` would otherwise let personal data through.
    """
    wrong: list[problems.Problem] = []
    for place, name in _values(data, ("pipelines", "*", "stream")):
        if isinstance(name, str) and name not in columns:
            wrong.append((place, _no_stream(name, columns)))
    for place, streams in _values(data, ("pulls", "*", "streams")):
        for stream, options in streams.items() if isinstance(streams, Mapping) else ():
            meant = [stream] if stream in columns else fnmatch.filter(columns, stream)
            if not meant and stream != "*":
                wrong.append(((*place, stream), _no_stream(stream, columns)))
                continue
            derived = _derived(options)
            for column in derived:
                taken = next((each for each in meant if column in columns[each]), None)
                if taken is not None:
                    at = (*place, stream, "derive", column)
                    wrong.append((at, f"{taken} has a column of this name already; give yours another"))
            known = {column for each in meant for column in columns[each]}.union(
                *map(_derived, streams.values())
            )
            for option in ("columns", "exclude", "hash"):
                named = options.get(option) if isinstance(options, Mapping) else None
                for n, column in enumerate(named) if isinstance(named, list | dict) else ():
                    at = (*place, stream, option, column if isinstance(named, dict) else n)
                    if not isinstance(column, str):
                        continue
                    loses = option != "columns" or (isinstance(named, dict) and named[column] != "keep")
                    if column == "id" and loses:
                        wrong.append((at, "`id` is the key and must stay as it is"))
                    elif column not in known:
                        near = values.suggestion(column, sorted(known))
                        hint = (
                            near
                            or f"; `tidegate schema {stream if stream in columns else 'STREAM'}` lists them"
                        )
                        wrong.append((at, f"the stream has no such column{hint}"))
    return wrong


def _derived(options: object) -> list[str]:
    """The names of derived columns in the options of a stream."""
    named = options.get("derive") if isinstance(options, Mapping) else None
    return [name for name in named if isinstance(name, str)] if isinstance(named, Mapping) else []


def _no_stream(name: str, columns: Columns) -> str:
    near = values.suggestion(name, columns)
    return f"Stripe has no such stream{near or '; `tidegate streams` lists them'}"
