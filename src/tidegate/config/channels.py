"""How alerts are reached, as people write it: web addresses, mail servers, mailboxes, and how often to remind."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, SecretStr

from tidegate.config import values

_MAILBOX = re.compile(r"[^\s@<>,;:\"()\[\]\\]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server, and how to sign in; `tls` begins with STARTTLS, is there from the first byte, or is off."""

    host: str
    port: int
    tls: Literal["start", "whole", "off"]
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Server({self.host}:{self.port})"


def server(url: str) -> Server:
    """The server behind `smtp://user:password@host:587`; raises ValueError, which repeats nothing of it."""
    try:
        parts = urllib.parse.urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
        query = urllib.parse.parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(
            "write smtp://user:password@host:587; what is special in the user or the password is %-encoded"
        ) from None
    if parts.scheme not in ("smtp", "smtps") or not host or parts.path.strip("/") or parts.fragment:
        raise ValueError("write smtp://user:password@host:587, or smtps:// for TLS from the first byte")
    if query and parts.scheme == "smtps":
        raise ValueError("smtps:// is TLS from the first byte; `?tls=off` goes with smtp:// only")
    if set(query) - {"tls"} or query.get("tls", ["off"]) != ["off"]:
        raise ValueError("of options there is one: `?tls=off`, for a relay in your own network")
    user, password = urllib.parse.unquote(parts.username or ""), urllib.parse.unquote(parts.password or "")
    if bool(user) != bool(password):
        raise ValueError("give both the user and the password, or neither")
    whole = parts.scheme == "smtps" or port == 465
    tls: Literal["start", "whole", "off"] = "off" if query else "whole" if whole else "start"
    if tls == "off" and user and host not in _LOOPBACK:
        raise ValueError("a password is not sent without encryption; leave out `?tls=off`")
    return Server(host, port or (465 if whole else 587), tls, user, password)


def _mail_server(value: SecretStr) -> SecretStr:
    server(value.get_secret_value())
    return value


def _web_address(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    try:
        parts = urllib.parse.urlsplit(text)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("write an address such as https://hooks.example.com/...")
    if parts.username or parts.password:
        raise ValueError("an address with a user and a password in it is not supported; use `secret`")
    return value


def _mailbox(value: str) -> str:
    if not _MAILBOX.fullmatch(value) or not value.isascii():
        raise ValueError("write a mail address such as ops@example.com")
    return value


def _reminder(value: Any) -> timedelta | None:
    if value is None or isinstance(value, timedelta):
        return value
    if value == "never":
        return None
    try:
        if not isinstance(value, str):
            raise ValueError
        found = values.duration(value)
    except ValueError:
        raise ValueError("write how soon to tell again: 24h, 7d, or never") from None
    if found < timedelta(minutes=10):
        raise ValueError("remind after 10m at the soonest, or never")
    return found


def _bound(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError("write how old it may be: 15m, 2h or 3d")
    found = values.duration(value)
    if found < timedelta(minutes=1):
        raise ValueError("allow 1m at least")
    return found


WebAddress = Annotated[values.Secret, AfterValidator(_web_address)]
MailServer = Annotated[values.Secret, AfterValidator(_mail_server)]
Mailbox = Annotated[values.Text, AfterValidator(_mailbox)]
Reminder = Annotated[timedelta | None, BeforeValidator(_reminder, json_schema_input_type=str | None)]
"""A duration; `never` is None."""
Bound = Annotated[timedelta, BeforeValidator(_bound, json_schema_input_type=str)]
