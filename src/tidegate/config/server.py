"""How `tidegate run` is reached, and who may sign in by an OpenID provider."""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Mapping
from typing import Annotated, Literal

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from tidegate.config import values

Role = Literal["viewer", "operator", "editor", "admin"]
"""What a member may do; each includes those before it."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _address(value: str) -> str:
    """`https://tidegate.example.com`, without a path: the origin that browsers send."""
    parts = urllib.parse.urlsplit(value.strip())
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port is a number between 1 and 65535") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError("write it as https://tidegate.example.com, without a path")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("write it as https://tidegate.example.com, with nothing else in it")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, usual) else "")


def _issuer(value: str) -> str:
    """An address that is taken as it is, since tokens must say the same; TLS unless it is this machine."""
    parts = urllib.parse.urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("write the issuer as https://login.example.com, as its documentation has it")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("an issuer is asked over https://")
    return value


def network(value: str) -> str:
    """An address, or a network of them: `10.0.0.7`, `10.0.0.0/8`."""
    try:
        return str(ipaddress.ip_network(value.strip(), strict=False))
    except ValueError:
        raise ValueError("write an address such as 10.0.0.7, or a network such as 10.0.0.0/8") from None


def _domain(value: str) -> str:
    domain = value.strip().lower().removeprefix("@")
    if not domain or "@" in domain or "*" in domain:
        raise ValueError("write a domain such as example.com")
    return domain


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Network = Annotated[values.Text, AfterValidator(network)]
Domain = Annotated[values.Text, AfterValidator(_domain)]


class Roles(values.Base):
    """Which roles members have by what the provider says of them."""

    claim: values.Text = "groups"
    """The claim of the id token that lists them; a dot goes down: `realm_access.roles`."""
    map: Mapping[values.Text, Role] = Field(min_length=1)
    """The role for each of its values: `{finance: operator, platform: admin}`; the highest counts."""


class OpenID(values.Base):
    """An OpenID provider that members may sign in with."""

    issuer: Annotated[values.Text, AfterValidator(_issuer)]
    """The provider's address, exactly as its tokens say it: `https://login.example.com`."""
    client_id: values.Text
    """What the provider calls this Tidegate."""
    client_secret: SecretStr
    """The secret that belongs to it, best as `${OIDC_SECRET}`."""
    name: values.Text = "single sign-on"
    """What the button on the sign-in page calls the provider."""
    scopes: tuple[values.Text, ...] = ("openid", "email", "profile")
    """What is asked of the provider."""
    roles: Roles | None = None
    """Which roles members have; without it, the one they were invited with."""
    allowed_domains: Annotated[
        tuple[Domain, ...], BeforeValidator(_several, json_schema_input_type=str | list[str])
    ] = ()
    """Domains whose verified e-mail addresses need no invitation; viewers at first where `roles` says nothing."""

    @pydantic.field_validator("scopes")
    @classmethod
    def _openid(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return value if "openid" in value else ("openid", *value)


class Site(values.Base):
    """How `tidegate run` is reached, and who may sign in."""

    public_url: Annotated[values.Text, AfterValidator(_address)] | None = None
    """Where browsers reach it, where that is not this machine: `https://tidegate.example.com`."""
    behind_proxy: Annotated[
        tuple[Network, ...], BeforeValidator(_several, json_schema_input_type=str | list[str])
    ] = ()
    """Addresses of the proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed: `10.0.0.0/8`."""
    oidc: OpenID | None = None
    """An OpenID provider that members may sign in with."""
    folders: Annotated[
        tuple[values.LocalPath, ...], BeforeValidator(_several, json_schema_input_type=str | list[str])
    ] = ()
    """Folders whose files editors may name in the browser; by default the configuration's own."""
    link_local: bool = False
    """Whether addresses that answer to this machine alone (169.254.169.254) may be named in the browser."""
    metrics: Literal["token", "open"] = "token"
    """Who may ask for `/metrics` from other machines: a token, or everybody."""
