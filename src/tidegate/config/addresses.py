"""What warehouses have in common: a type and a schema; a server's address; how a bucket is reached."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import pydantic
from pydantic import Field, SecretStr

from tidegate.config import values


class Warehouse(values.Base):
    """What every warehouse has."""

    type: str
    schema_name: values.Text = Field(default="stripe", alias="schema")
    """The schema (dataset, index prefix, folder) that the tables stand in."""


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
