"""Files that hold tables, a DuckDB file or the folders of a lake; and what is read alone, indices and sheets."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import Annotated, Literal, Self

import pydantic
from pydantic import AfterValidator, SecretStr

from tidegate.config import values
from tidegate.config.addresses import S3, Warehouse


def _duckdb_url(value: SecretStr, info: pydantic.ValidationInfo) -> SecretStr:
    """Make `duckdb:///relative` absolute: three slashes are relative and four absolute, as in SQLAlchemy."""
    scheme, _, path = value.get_secret_value().partition(":///")
    if scheme.lower() != "duckdb" or not path:
        raise ValueError("write duckdb:///FILE, or duckdb:////absolute/FILE")
    folder = info.context.folder if isinstance(info.context, values.Context) else Path.cwd()
    return SecretStr(f"duckdb:///{Path(folder, urllib.parse.unquote(path))}")


class DuckDB(Warehouse):
    """One DuckDB file, the embedded default."""

    type: Literal["duckdb"] = "duckdb"
    """A DuckDB file."""
    path: values.LocalPath | None = None
    """The file; it is created when it does not exist."""
    url: Annotated[values.Secret, AfterValidator(_duckdb_url), values.ON_DISK] | None = None
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

    url: Annotated[values.Secret, AfterValidator(_folder_url), values.ON_DISK] | None = None
    """Instead of `path`: `TYPE+file:///FOLDER` or `TYPE+s3://BUCKET/PREFIX`."""
    path: Annotated[values.Text, AfterValidator(_folder), values.ON_DISK] | None = None
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
