"""The warehouses a file can name: one class per type, with the fields that type needs to be reached.

`type` may be left out where a `url` says it. Which of them this version has an adapter for is the matter of
`tidegate.warehouse`, not of the file.
"""

from __future__ import annotations

import re
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
    "md": "motherduck",
    "motherduck": "motherduck",
    "parquet": "parquet",
    "delta": "delta",
    "iceberg": "iceberg",
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


class MotherDuck(Warehouse):
    """A database of MotherDuck, DuckDB as a service."""

    type: Literal["motherduck"] = "motherduck"
    """A MotherDuck database."""
    database: values.Text | None = None
    """The database's name there."""
    url: values.Secret | None = None
    """Instead of `database`: `md:DATABASE`, with `?motherduck_token=...` where the token is not given elsewhere."""
    token: SecretStr | None = None
    """The access token, best as `${NAME}`; by default the variable MOTHERDUCK_TOKEN says it."""

    @pydantic.model_validator(mode="after")
    def _one_database(self) -> Self:
        if (self.database is None) == (self.url is None):
            raise ValueError("give either `database` or `url`")
        parts = self._parts
        if parts.scheme == "motherduck+file":
            return self
        asked = urllib.parse.parse_qs(parts.query)
        if set(asked) - {"motherduck_token"}:
            raise ValueError("an md: URL takes only `motherduck_token` after its '?'")
        if not re.fullmatch(r"\w[\w .-]*", parts.netloc or parts.path):
            raise ValueError("write md:DATABASE")
        if asked and self.token is not None:
            raise ValueError("give the token once, in the `url` or as `token`")
        return self

    @property
    def _parts(self) -> urllib.parse.SplitResult:
        given = self.url.get_secret_value() if self.url is not None else f"md:{self.database}"
        return urllib.parse.urlsplit(given)

    @property
    def address(self) -> str:
        """What DuckDB opens: `md:DATABASE`, or of `motherduck+file:///FILE` that file, the way tests have it."""
        parts = self._parts
        return parts.path if parts.scheme == "motherduck+file" else "md:" + (parts.netloc or parts.path)

    @property
    def secret(self) -> str | None:
        """The token, from whichever says it; None leaves the environment to say it."""
        asked = urllib.parse.parse_qs(self._parts.query).get("motherduck_token")
        return asked[0] if asked else self.token.get_secret_value() if self.token is not None else None


class Server(Warehouse):
    """A database server, reached by `url` or by `host` and its companions."""

    schemes: ClassVar[tuple[str, ...]] = ()
    needs_database: ClassVar[bool] = True
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
        elif self.database is None and self.needs_database:
            raise ValueError("`database` is missing beside `host`")
        return self


class SSH(values.Base):
    """A host to go through, by the system's `ssh`; what its own configuration says counts too."""

    host: values.Text
    """The host's name, its address, or its name in `~/.ssh/config`."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The port, where it is not the usual one."""
    user: values.Text | None = None
    """Whom to sign in as there."""
    key: values.LocalPath | None = None
    """The file of the private key, without a passphrase; what `ssh` and its agent have by default."""
    known_hosts: values.LocalPath | None = None
    """The file with the host's key; `~/.ssh/known_hosts` by default. An unknown host is refused."""


class Postgres(Server):
    """Postgres, and what speaks like it."""

    schemes = ("postgresql", "postgres")
    type: Literal["postgres"] = "postgres"
    """A Postgres server."""
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = None
    """How TLS is asked for, in the words of libpq."""
    ssh: SSH | None = None
    """The host through which the server is reached."""


class MySQL(Server):
    """MySQL or MariaDB; the schema is a database of its own there."""

    schemes = ("mysql", "mariadb")
    needs_database = False
    type: Literal["mysql"] = "mysql"
    """A MySQL or MariaDB server."""
    sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] | None = None
    """How TLS is asked for, in the words of libpq; `prefer` by default, which verifies nothing."""
    ca: values.LocalPath | None = None
    """The file of the certificates that may vouch for the server; the system's by default."""
    cert: values.LocalPath | None = None
    """The file of a client certificate, with its private key."""
    ssh: SSH | None = None
    """The host through which the server is reached."""


class Redshift(Server):
    """Amazon Redshift."""

    schemes = ("redshift", "postgresql", "postgres")
    type: Literal["redshift"] = "redshift"
    """An Amazon Redshift cluster or workgroup."""
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = None
    """How TLS is asked for, in the words of libpq."""
    staging: values.Text | None = None
    """Where files lie on their way: `s3://bucket/prefix`; without it rows go in by INSERT, which is slow."""
    iam_role: values.Text | None = None
    """The role by which Redshift reads `staging`; the cluster's default role otherwise."""
    s3: S3 | None = None
    """How the bucket is reached from here, where the environment does not say it."""


EntraID = Literal[
    "ActiveDirectoryDefault",
    "ActiveDirectoryMSI",
    "ActiveDirectoryPassword",
    "ActiveDirectoryServicePrincipal",
]


class SQLServer(Server):
    """Microsoft SQL Server."""

    schemes = ("mssql", "sqlserver")
    type: Literal["sqlserver"] = "sqlserver"
    """A Microsoft SQL Server, or Azure SQL."""
    encrypt: Literal["yes", "no", "strict"] = "yes"
    """How TLS is asked for: not at all, as usual, or before anything else is said (TDS 8)."""
    trust_server_certificate: bool = False
    """Whether any certificate will do, also one that nobody vouches for."""
    authentication: EntraID | None = None
    """How to sign in with Microsoft Entra ID; a service principal's `user` is its client id."""


class Synapse(Server):
    """Azure Synapse."""

    schemes = ("synapse", "mssql", "sqlserver")
    type: Literal["synapse"] = "synapse"
    """An Azure Synapse SQL pool."""
    encrypt: Literal["yes", "no", "strict"] = "yes"
    """How TLS is asked for: not at all, as usual, or before anything else is said (TDS 8)."""
    trust_server_certificate: bool = False
    """Whether any certificate will do, also one that nobody vouches for."""
    authentication: EntraID | None = None
    """How to sign in with Microsoft Entra ID; a service principal's `user` is its client id."""


class ClickHouse(Server):
    """ClickHouse over HTTP; the schema is a database of its own there."""

    schemes = ("clickhouse", "https", "http")
    type: Literal["clickhouse"] = "clickhouse"
    """A ClickHouse server."""
    secure: bool | None = None
    """Whether TLS is spoken; by default it is, except on port 8123, the one without."""


class Snowflake(Warehouse):
    """Snowflake."""

    type: Literal["snowflake"] = "snowflake"
    """A Snowflake account."""
    url: values.Secret | None = None
    """Instead of the fields below: `snowflake://user:password@account/database?warehouse=...&role=...`."""
    account: values.Text | None = None
    """The account identifier: `myorg-account123`."""
    host: values.Text | None = None
    """The host, where it is not the account's own, say that of a private link."""
    user: values.Text | None = None
    """Whom to sign in as."""
    password: SecretStr | None = None
    """The password or programmatic access token, best as `${NAME}`."""
    private_key: SecretStr | None = None
    """Instead of `password`: a PEM private key, best as `${file:/path}`."""
    private_key_passphrase: SecretStr | None = None
    """What opens the private key, where it is encrypted."""
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
        if self.url is not None:
            return self._one_url(self.url.get_secret_value())
        if self.user is None or self.database is None:
            raise ValueError("`user` and `database` belong to `account`")
        if (self.password is None) == (self.private_key is None):
            raise ValueError("give either `password` or `private_key`")
        if self.private_key_passphrase is not None and self.private_key is None:
            raise ValueError("`private_key_passphrase` opens a `private_key`, and there is none")
        return self

    def _one_url(self, url: str) -> Self:
        given = self.model_fields_set - {"type", "url", "schema_name"}
        if given:
            raise ValueError(f"`url` already says the {', '.join(sorted(given))}; write one or the other")
        known = {"warehouse", "role", "host", "port", "protocol"}
        try:
            parts = urllib.parse.urlsplit(url)
            whole = bool(parts.username and parts.password and parts.hostname and parts.path.strip("/"))
            query = urllib.parse.parse_qs(parts.query, strict_parsing=bool(parts.query))
            port = int(query.get("port", ["443"])[0])
        except ValueError:
            raise ValueError("the `url` cannot be read; percent-encode special characters in it") from None
        if parts.scheme.lower() != "snowflake" or not whole:
            raise ValueError("write snowflake://user:password@account/database?warehouse=...")
        if set(query) - known or not 0 < port < 65536:
            raise ValueError(f"after the '?' a snowflake:// `url` takes only {', '.join(sorted(known))}")
        return self


class BigQuery(Warehouse):
    """Google BigQuery; the schema is a dataset there."""

    type: Literal["bigquery"] = "bigquery"
    """A Google BigQuery project."""
    url: values.Secret | None = None
    """Instead of `project`: `bigquery://project?location=EU`."""
    project: values.Text | None = None
    """The project that holds the dataset and pays for the queries."""
    location: values.Text | None = None
    """Where the dataset is made: `EU`, `US`, `europe-west3`."""
    credentials: SecretStr | None = None
    """A service account's JSON, best as `${file:/path}`; the machine's own identity by default."""
    api_base: values.HttpUrl | None = None
    """Another address of the API: a private or regional endpoint; an emulator, which nobody signs in to."""

    @pydantic.model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.url is None) == (self.project is None):
            raise ValueError("give either `url` or `project`")
        if not re.fullmatch(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{3,61}[a-z0-9]", self.project_name):
            raise ValueError("write bigquery://PROJECT with the project's id, such as my-project-123")
        unknown = sorted(self._asked.keys() - {"location", "api_base"})
        if unknown:
            raise ValueError(
                "a bigquery:// URL takes `location` and `api_base` after its '?'; remove the rest"
            )
        if "api_base" in self._asked and not self._asked["api_base"].startswith(("http://", "https://")):
            raise ValueError("`api_base` begins with https://")
        return self

    @property
    def project_name(self) -> str:
        """The project, from whichever says it."""
        if self.project is not None:
            return self.project
        assert self.url is not None, "one of both is given"
        return urllib.parse.urlsplit(self.url.get_secret_value()).netloc

    @property
    def place(self) -> str | None:
        """The location, from whichever says it."""
        return self.location or self._asked.get("location")

    @property
    def base(self) -> str | None:
        """The address of the API, from whichever says it."""
        return self.api_base or self._asked.get("api_base")

    @property
    def _asked(self) -> dict[str, str]:
        if self.url is None:
            return {}
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.url.get_secret_value()).query))


class Databricks(Warehouse):
    """Databricks SQL."""

    type: Literal["databricks"] = "databricks"
    """A Databricks SQL warehouse."""
    url: values.Secret | None = None
    """Instead of the fields below: `databricks://token:TOKEN@host/catalog?http_path=/sql/1.0/warehouses/ID`."""
    host: values.Text | None = None
    """The workspace: `dbc-1234.cloud.databricks.com`."""
    http_path: values.Text | None = None
    """The SQL warehouse: `/sql/1.0/warehouses/abc`."""
    token: values.Secret | None = None
    """An access token, best as `${NAME}`."""
    catalog: values.Text = "main"
    """The Unity catalog."""

    @pydantic.model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.url is None) == (self.host is None):
            raise ValueError("give either `url` or `host`")
        given = {"http_path", "token", "catalog"} & self.model_fields_set
        if self.url is not None and given:
            raise ValueError(f"`url` already says the {', '.join(sorted(given))}; write one or the other")
        if self.host is not None and (self.http_path is None or self.token is None):
            raise ValueError("`http_path` and `token` belong to `host`")
        return self


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
    ca: values.LocalPath | None = None
    """The file of the certificates that may vouch for the server; the system's by default."""

    @pydantic.model_validator(mode="after")
    def _one_sign_in(self) -> Self:
        told = urllib.parse.urlsplit(self.url.get_secret_value())
        if told.scheme.lower() not in ("http", "https") or not told.hostname:
            raise ValueError("write the `url` as https://HOST:9200")
        if (self.user is None) != (self.password is None):
            raise ValueError("`user` and `password` belong together")
        if sum((self.api_key is not None, self.user is not None, told.username is not None)) > 1:
            raise ValueError("sign in by `api_key`, or by `user` and `password`, or in the `url`, not by two")
        return self


class GoogleSheets(Warehouse):
    """A Google spreadsheet, one sheet per table."""

    type: Literal["google_sheets"] = "google_sheets"
    """A Google spreadsheet."""
    spreadsheet: values.Text
    """The spreadsheet's id, the long part of its address."""
    credentials: values.Secret
    """A service account's JSON, best as `${file:/path}`; share the spreadsheet with it."""
    endpoint: values.HttpUrl = "https://sheets.googleapis.com"
    """Where the API answers."""


class S3(values.Base):
    """How a bucket is reached; what is left out comes from the environment, as the tools of AWS look for it."""

    endpoint: values.Text | None = None
    """The address of what speaks S3, where that is not AWS: `https://minio.example.com:9000`."""
    region: values.Text | None = None
    """The region of the bucket."""
    key: SecretStr | None = None
    """The access key's id, best as `${NAME}`."""
    secret: SecretStr | None = None
    """The secret access key, best as `${NAME}`."""
    token: SecretStr | None = None
    """The session token that belongs to a temporary key."""

    @pydantic.model_validator(mode="after")
    def _whole_key(self) -> Self:
        if (self.key is None) != (self.secret is None):
            raise ValueError("`key` and `secret` belong together")
        if self.token is not None and self.key is None:
            raise ValueError("`token` belongs to `key` and `secret`")
        return self


def _folder(value: str, info: pydantic.ValidationInfo) -> str:
    """A bucket as it is written, a local folder made absolute."""
    scheme, marked, rest = value.partition("://")
    if not marked:
        folder = info.context.folder if isinstance(info.context, values.Context) else Path.cwd()
        return str(Path(folder, Path(value).expanduser()))
    if scheme.lower() != "s3" or not rest.strip("/"):
        raise ValueError("write a folder, or s3://BUCKET/PREFIX")
    return "s3://" + rest.rstrip("/")


def _folder_url(value: SecretStr, info: pydantic.ValidationInfo) -> SecretStr:
    """The folder of `delta+file:///FOLDER` or `delta+s3://BUCKET/PREFIX`, in front of which the type stays."""
    scheme, _, rest = value.get_secret_value().partition("://")
    kind, _, way = scheme.lower().partition("+")
    if way not in ("file", "s3") or not rest.strip("/"):
        raise ValueError(f"write {kind}+file:///FOLDER or {kind}+s3://BUCKET/PREFIX")
    if way == "file":
        if not rest.startswith("/"):
            raise ValueError(f"write {kind}+file:///FOLDER, with four slashes for an absolute path")
        # As in SQLAlchemy, three slashes are relative and four absolute.
        return SecretStr(f"{kind}+file:///" + _folder(urllib.parse.unquote(rest[1:]), info))
    return SecretStr(f"{kind}+" + _folder(f"s3://{rest}", info))


class Lake(Warehouse):
    """A folder of tables as files; the schema is a folder in it."""

    url: Annotated[values.Secret, AfterValidator(_folder_url)] | None = None
    """Instead of `path`: `TYPE+file:///FOLDER` or `TYPE+s3://BUCKET/PREFIX`."""
    path: Annotated[values.Text, AfterValidator(_folder)] | None = None
    """The folder, local or `s3://bucket/prefix`."""
    s3: S3 | None = None
    """How the bucket is reached, where the environment does not say it."""

    @pydantic.model_validator(mode="after")
    def _one_folder(self) -> Self:
        if (self.path is None) == (self.url is None):
            raise ValueError("give either `path` or `url`, the folder that holds the tables")
        if self.url is not None and not self.url.get_secret_value().startswith(f"{self.type}+"):
            raise ValueError(f"the `url` of this type begins with {self.type}+file:/// or {self.type}+s3://")
        return self

    @property
    def folder(self) -> str:
        """The absolute path of the folder, or `s3://bucket/prefix`."""
        if self.path is not None:
            return self.path
        assert self.url is not None, "one of both is given"
        return self.url.get_secret_value().partition("+")[2].removeprefix("file:///")


class Parquet(Lake):
    """A folder of Parquet files."""

    type: Literal["parquet"] = "parquet"
    """A folder of Parquet files."""


class Delta(Lake):
    """A folder of Delta Lake tables."""

    type: Literal["delta"] = "delta"
    """A folder of Delta Lake tables."""


class Iceberg(Lake):
    """Iceberg tables."""

    type: Literal["iceberg"] = "iceberg"
    """Iceberg tables."""
    catalog: values.Secret | None = None
    """The catalog: `https://...` of a REST catalog, or an SQLAlchemy URL; SQLite inside the folder by default."""
    token: SecretStr | None = None
    """The token for a REST catalog, best as `${NAME}`."""


AnyWarehouse = Annotated[
    Annotated[DuckDB, Tag("duckdb")]
    | Annotated[MotherDuck, Tag("motherduck")]
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
