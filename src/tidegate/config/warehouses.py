"""The warehouses a file can name: one class per type, with the fields that type needs to be reached.

`type` may be left out where a `url` says it. Which of them this version has an adapter for is the matter of
`tidegate.warehouse`, not of the file.
"""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import pydantic
from pydantic import AfterValidator, Discriminator, Field, SecretStr, Tag

from tidegate.config import values

SCHEMES = {
    "duckdb": "duckdb",
    "postgres": "postgres",
    "postgresql": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "snowflake": "snowflake",
    "bigquery": "bigquery",
    "redshift": "redshift",
    "databricks": "databricks",
    "mssql": "sqlserver",
    "sqlserver": "sqlserver",
    "synapse": "synapse",
    "clickhouse": "clickhouse",
}
"""The scheme of a URL -> the type of warehouse."""


def kind(data: Any) -> str | None:
    """The type of a warehouse as it is written: by `type`, else by the scheme of its `url`."""
    if isinstance(data, Warehouse):
        return data.type
    if not isinstance(data, dict):
        return None
    if "type" in data:
        return str(data["type"])
    scheme = str(data.get("url", "")).partition(":")[0].lower()
    return SCHEMES.get(scheme.partition("+")[0])


def _duckdb_url(value: SecretStr, info: pydantic.ValidationInfo) -> SecretStr:
    """Make `duckdb:///relative` absolute: three slashes are relative and four absolute, as in SQLAlchemy."""
    scheme, _, path = value.get_secret_value().partition(":///")
    if scheme.lower() != "duckdb" or not path:
        raise ValueError("write duckdb:///FILE, or duckdb:////absolute/FILE")
    folder = info.context.folder if isinstance(info.context, values.Context) else Path.cwd()
    return SecretStr(f"duckdb:///{Path(folder, urllib.parse.unquote(path))}")


class Warehouse(values.Base):
    """What every warehouse has."""

    type: str
    schema_name: values.Text = Field(default="stripe", alias="schema")
    """The schema (dataset, index prefix, folder) that the tables stand in."""


class DuckDB(Warehouse):
    """One DuckDB file, the embedded default."""

    type: Literal["duckdb"] = "duckdb"
    """A DuckDB file."""
    path: values.LocalPath | None = None
    """The file; it is created when it does not exist."""
    url: Annotated[values.Secret, AfterValidator(_duckdb_url)] | None = None
    """Instead of `path`: `duckdb:///FILE`."""

    @pydantic.model_validator(mode="after")
    def _one_file(self) -> Self:
        if (self.path is None) == (self.url is None):
            raise ValueError("give either `path` or `url`, the file that holds the warehouse")
        if ":memory:" in self.file:
            raise ValueError("a database in memory is gone after the run; name a file")
        return self

    @property
    def file(self) -> str:
        """The absolute path of the file."""
        if self.path is not None:
            return self.path
        assert self.url is not None, "one of both is given"
        return self.url.get_secret_value().removeprefix("duckdb:///")


class Server(Warehouse):
    """A database server, reached by `url` or by `host` and its companions."""

    schemes: ClassVar[tuple[str, ...]] = ()
    url: values.Secret | None = None
    """Instead of `host` and its companions: `scheme://user:password@host:port/database`."""
    host: values.Text | None = None
    """The server's name or address."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The port, where it is not the usual one."""
    user: values.Text | None = None
    """Whom to sign in as."""
    password: SecretStr | None = None
    """The password, best as `${NAME}`."""
    database: values.Text | None = None
    """The database."""

    @pydantic.model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.url is None) == (self.host is None):
            raise ValueError("give either `url` or `host`")
        if self.url is not None:
            given = {"port", "user", "password", "database"} & self.model_fields_set
            if given:
                raise ValueError(f"`url` already says the {', '.join(sorted(given))}; write one or the other")
            scheme = self.url.get_secret_value().partition("://")[0].lower().partition("+")[0]
            if scheme not in self.schemes:
                raise ValueError(f"the `url` of this type begins with {self.schemes[0]}://")
        elif self.database is None:
            raise ValueError("`database` is missing beside `host`")
        return self


class Postgres(Server):
    """Postgres, and what speaks like it."""

    schemes = ("postgresql", "postgres")
    type: Literal["postgres"] = "postgres"
    """A Postgres server."""
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = None
    """How TLS is asked for, in the words of libpq."""


class MySQL(Server):
    """MySQL or MariaDB; the schema is a database of its own there."""

    schemes = ("mysql", "mariadb")
    type: Literal["mysql"] = "mysql"
    """A MySQL or MariaDB server."""


class Redshift(Server):
    """Amazon Redshift."""

    schemes = ("redshift", "postgresql", "postgres")
    type: Literal["redshift"] = "redshift"
    """An Amazon Redshift cluster or workgroup."""


class SQLServer(Server):
    """Microsoft SQL Server."""

    schemes = ("mssql", "sqlserver")
    type: Literal["sqlserver"] = "sqlserver"
    """A Microsoft SQL Server, or Azure SQL."""


class Synapse(Server):
    """Azure Synapse."""

    schemes = ("synapse", "mssql", "sqlserver")
    type: Literal["synapse"] = "synapse"
    """An Azure Synapse SQL pool."""


class ClickHouse(Server):
    """ClickHouse over HTTP; the schema is a database of its own there."""

    schemes = ("clickhouse", "https", "http")
    type: Literal["clickhouse"] = "clickhouse"
    """A ClickHouse server."""


class Snowflake(Warehouse):
    """Snowflake."""

    type: Literal["snowflake"] = "snowflake"
    """A Snowflake account."""
    url: values.Secret | None = None
    """Instead of the fields below: `snowflake://user:password@account/database?warehouse=...`."""
    account: values.Text | None = None
    """The account identifier: `myorg-account123`."""
    user: values.Text | None = None
    """Whom to sign in as."""
    password: SecretStr | None = None
    """The password or programmatic access token, best as `${NAME}`."""
    private_key: SecretStr | None = None
    """Instead of `password`: a PEM private key, best as `${file:/path}`."""
    database: values.Text | None = None
    """The database."""
    warehouse: values.Text | None = None
    """The virtual warehouse that computes."""
    role: values.Text | None = None
    """The role to take."""

    @pydantic.model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.url is None) == (self.account is None):
            raise ValueError("give either `url` or `account`")
        if self.account is not None:
            if self.user is None or self.database is None:
                raise ValueError("`user` and `database` belong to `account`")
            if (self.password is None) == (self.private_key is None):
                raise ValueError("give either `password` or `private_key`")
        return self


class BigQuery(Warehouse):
    """Google BigQuery; the schema is a dataset there."""

    type: Literal["bigquery"] = "bigquery"
    """A Google BigQuery project."""
    url: values.Secret | None = None
    """Instead of `project`: `bigquery://project`."""
    project: values.Text | None = None
    """The project that holds the dataset and pays for the queries."""
    location: values.Text | None = None
    """Where the dataset is made: `EU`, `US`, `europe-west3`."""
    credentials: SecretStr | None = None
    """A service account's JSON, best as `${file:/path}`; the machine's own identity by default."""

    @pydantic.model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.url is None) == (self.project is None):
            raise ValueError("give either `url` or `project`")
        return self


class Databricks(Warehouse):
    """Databricks SQL."""

    type: Literal["databricks"] = "databricks"
    """A Databricks SQL warehouse."""
    host: values.Text
    """The workspace: `dbc-1234.cloud.databricks.com`."""
    http_path: values.Text
    """The SQL warehouse: `/sql/1.0/warehouses/abc`."""
    token: values.Secret
    """An access token, best as `${NAME}`."""
    catalog: values.Text = "main"
    """The Unity catalog."""


class Elasticsearch(Warehouse):
    """Elasticsearch or OpenSearch; the schema is a prefix of the index names."""

    type: Literal["elasticsearch"] = "elasticsearch"
    """An Elasticsearch or OpenSearch cluster."""
    url: values.Secret
    """The cluster: `https://host:9200`."""
    api_key: values.Secret | None = None
    """An API key; or sign in by `user` and `password`."""
    user: values.Text | None = None
    """Whom to sign in as."""
    password: SecretStr | None = None
    """The password, best as `${NAME}`."""


class GoogleSheets(Warehouse):
    """A Google spreadsheet, one sheet per table."""

    type: Literal["google_sheets"] = "google_sheets"
    """A Google spreadsheet."""
    spreadsheet: values.Text
    """The spreadsheet's id, the long part of its address."""
    credentials: values.Secret
    """A service account's JSON, best as `${file:/path}`; share the spreadsheet with it."""


class Parquet(Warehouse):
    """A folder of Parquet files."""

    type: Literal["parquet"] = "parquet"
    """A folder of Parquet files."""
    path: values.LocalPath
    """The folder, local or `s3://bucket/prefix`."""


class Delta(Warehouse):
    """A folder of Delta Lake tables."""

    type: Literal["delta"] = "delta"
    """A folder of Delta Lake tables."""
    path: values.LocalPath
    """The folder, local or `s3://bucket/prefix`."""


class Iceberg(Warehouse):
    """Iceberg tables."""

    type: Literal["iceberg"] = "iceberg"
    """Iceberg tables."""
    path: values.LocalPath
    """The folder of the tables, local or `s3://bucket/prefix`."""
    catalog: values.Secret | None = None
    """The catalog's URI; a SQLite catalog inside the folder by default."""


AnyWarehouse = Annotated[
    Annotated[DuckDB, Tag("duckdb")]
    | Annotated[Postgres, Tag("postgres")]
    | Annotated[MySQL, Tag("mysql")]
    | Annotated[Snowflake, Tag("snowflake")]
    | Annotated[BigQuery, Tag("bigquery")]
    | Annotated[Redshift, Tag("redshift")]
    | Annotated[Databricks, Tag("databricks")]
    | Annotated[SQLServer, Tag("sqlserver")]
    | Annotated[Synapse, Tag("synapse")]
    | Annotated[ClickHouse, Tag("clickhouse")]
    | Annotated[Elasticsearch, Tag("elasticsearch")]
    | Annotated[GoogleSheets, Tag("google_sheets")]
    | Annotated[Parquet, Tag("parquet")]
    | Annotated[Delta, Tag("delta")]
    | Annotated[Iceberg, Tag("iceberg")],
    Discriminator(kind),
]
