"""The database servers that one can run oneself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tidegate.config import values
from tidegate.config.addresses import Server


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
