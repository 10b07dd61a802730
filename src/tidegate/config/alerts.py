"""Who is told when something needs a person, by which channel, how often, and how old streams may be."""

from __future__ import annotations

import datetime as dt
import fnmatch
from collections.abc import Mapping
from typing import Annotated

import pydantic
from pydantic import BeforeValidator, Field

from tidegate import catalog
from tidegate.config import channels, values

DEFAULT_REMIND = dt.timedelta(hours=24)


class Slack(values.Base):
    """A Slack-compatible webhook."""

    webhook: channels.WebAddress
    """The webhook's address, best as `${SLACK_URL}`."""
    secret: values.Secret | None = None
    """What every message is signed with, in the header `X-Tidegate-Signature`."""


class Webhook(values.Base):
    """An address of your own that takes JSON."""

    url: channels.WebAddress
    """Where every message is posted, best as `${ALERTS_URL}`."""
    secret: values.Secret | None = None
    """What every message is signed with, in the header `X-Tidegate-Signature`."""


class Email(values.Base):
    """E-mail."""

    to: Annotated[
        tuple[channels.Mailbox, ...],
        Field(min_length=1),
        BeforeValidator(
            lambda value: (value,) if isinstance(value, str) else value,
            json_schema_input_type=str | list[str],
        ),
    ]
    """Who is told: one address or several."""
    smtp: channels.MailServer
    """The mail server: `smtp://user:password@host:587`, or `smtps://` for TLS from the first byte."""
    sender: channels.Mailbox = Field(alias="from")
    """The sender's address."""


class Alerts(values.Base):
    """Who is told when something needs a person."""

    slack: Slack | None = None
    """A Slack-compatible webhook."""
    email: Email | None = None
    """E-mail."""
    webhook: Webhook | None = None
    """An address of your own that takes JSON."""
    remind: channels.Reminder = Field(default=DEFAULT_REMIND, json_schema_extra={"default": "24h"})
    """How soon to tell again of what is still open: `24h`, or `never`."""
    freshness: Mapping[values.Text, channels.Bound] = Field(default_factory=dict)
    """How old streams may be, by name or pattern: `{charges: 1h}`; by default what their schedule explains."""

    @pydantic.field_validator("freshness")
    @classmethod
    def _streams(cls, value: Mapping[str, dt.timedelta]) -> Mapping[str, dt.timedelta]:
        known = catalog.load().streams if value else {}
        for name in value:
            if name not in known and not fnmatch.filter(known, name):
                near = values.suggestion(name, known)
                raise ValueError(f"Stripe has no such stream{near or '; `tidegate streams` lists them'}")
        return value
