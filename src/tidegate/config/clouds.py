"""The warehouses that are somebody's service."""

from __future__ import annotations

import re
import urllib.parse
from typing import Annotated, Literal, Self

import pydantic
from pydantic import SecretStr

from tidegate.config import values
from tidegate.config.addresses import S3, Server, Warehouse


class MotherDuck(Warehouse):
    """A database of MotherDuck, DuckDB as a service."""

    type: Literal["motherduck"] = "motherduck"
    """A MotherDuck database."""
    database: values.Text | None = None
    """The database's name there."""
    url: Annotated[values.Secret, values.ON_DISK] | None = None
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
