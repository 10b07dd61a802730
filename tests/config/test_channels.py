"""How alerts are reached: mail servers, addresses, mailboxes, reminders."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config import alerts, channels

EMAIL = {"to": "ops@example.com", "from": "tidegate@example.com", "smtp": "smtp://mail.example.com"}


def refused(given: dict[str, Any]) -> str:
    with pytest.raises(pydantic.ValidationError) as caught:
        alerts.Alerts.model_validate(given)
    assert "geheim" not in str(caught.value)
    return str(caught.value.errors()[0]["msg"]).removeprefix("Value error, ")


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example.com", channels.Server("mail.example.com", 587, "start")),
        ("smtp://mail.example.com:25", channels.Server("mail.example.com", 25, "start")),
        ("smtp://mail.example.com:465", channels.Server("mail.example.com", 465, "whole")),
        ("smtps://mail.example.com", channels.Server("mail.example.com", 465, "whole")),
        ("smtp://relay:25?tls=off", channels.Server("relay", 25, "off")),
        (
            "smtp://ops%40example.com:p%40ss%2Fw%3A%25@mail.example.com",
            channels.Server("mail.example.com", 587, "start", "ops@example.com", "p@ss/w:%"),
        ),
        ("smtp://u:p@localhost:25?tls=off", channels.Server("localhost", 25, "off", "u", "p")),
    ],
)
def test_a_mail_server_is_a_url(url: str, server: channels.Server) -> None:
    assert channels.server(url) == server


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mail.example.com:587", "write smtp://"),
        ("https://geheim@mail.example.com", "write smtp://"),
        ("smtp://", "write smtp://"),
        ("smtp://u:geheim@host:port", "%-encoded"),
        ("smtp://u:ge#heim@host", "%-encoded"),
        ("smtp://host/path", "write smtp://"),
        ("smtp://geheim@host", "both the user and the password"),
        ("smtp://host?tls=maybe", "`?tls=off`"),
        ("smtp://host?verify=no", "`?tls=off`"),
        ("smtps://host?tls=off", "goes with smtp:// only"),
        ("smtp://u:geheim@host?tls=off", "not sent without encryption"),
    ],
)
def test_what_is_no_mail_server_is_refused_without_being_repeated(url: str, says: str) -> None:
    assert says in refused({"email": {**EMAIL, "smtp": url}})


def test_a_server_never_shows_its_password() -> None:
    assert "geheim" not in repr(channels.server("smtp://u:geheim@host"))


@given(st.text("abc@:/%?# ü", min_size=1, max_size=9), st.text("abc@:/%?# ü", min_size=1, max_size=9))
def test_any_user_and_password_can_be_written(user: str, password: str) -> None:
    import urllib.parse

    quoted = ":".join(urllib.parse.quote(each, safe="") for each in (user, password))
    found = channels.server(f"smtp://{quoted}@host")
    assert (found.user, found.password, found.host) == (user, password, "host")


@pytest.mark.parametrize(
    "mailbox", ["ops", "a@b@c", "Ops <ops@example.com>", "a@example.com\nBcc: b@x.de", "a b@c.de"]
)
def test_what_is_no_mail_address_is_refused(mailbox: str) -> None:
    assert "ops@example.com" in refused({"email": {**EMAIL, "to": [mailbox]}})
    assert "ops@example.com" in refused({"email": {**EMAIL, "from": mailbox}})


def test_recipients_are_one_or_several() -> None:
    several = ["a@example.com", "b+c@example.co.uk"]
    for given_, found in (("a@example.com", ("a@example.com",)), (several, tuple(several))):
        who = alerts.Alerts.model_validate({"email": {**EMAIL, "to": given_}})
        assert who.email is not None
        assert who.email.to == found
    refused({"email": {**EMAIL, "to": []}})


@pytest.mark.parametrize(
    "url", ["hooks.example.com", "ftp://geheim", "https://", "https://a:geheim@x", "https://x/ y"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    refused({"slack": {"webhook": url}})
    refused({"webhook": {"url": url}})


@pytest.mark.parametrize(
    ("text", "remind"), [("24h", timedelta(days=1)), ("7d", timedelta(days=7)), ("never", None), (None, None)]
)
def test_reminders_come_after_a_while_or_never(text: str | None, remind: timedelta | None) -> None:
    assert alerts.Alerts.model_validate({"remind": text}).remind == remind
    assert alerts.Alerts().remind == timedelta(days=1)


@pytest.mark.parametrize("text", ["1m", "soon", 5])
def test_what_is_no_reminder_is_refused(text: object) -> None:
    assert "never" in refused({"remind": text})


def test_bounds_of_freshness_are_by_stream_or_pattern() -> None:
    found = alerts.Alerts.model_validate({"freshness": {"charges": "15m", "issuing_*": "1d"}})
    assert found.freshness == {"charges": timedelta(minutes=15), "issuing_*": timedelta(days=1)}
    assert "did you mean 'charges'" in refused({"freshness": {"charge": "15m"}})
    assert "`tidegate streams` lists them" in refused({"freshness": {"zzz_*": "15m"}})
    assert "30s, 15m" in refused({"freshness": {"charges": "soon"}})
    assert "1m at least" in refused({"freshness": {"charges": "5s"}})
