"""API keys: what their prefix says, and how to speak of one without telling it."""

from __future__ import annotations

import re
from typing import Literal

from tidegate import errors

Mode = Literal["live", "test"]

KEY = re.compile(r"\b((?:sk|rk|pk|ek|whsec|sk_org)_(?:live_|test_)?)[A-Za-z0-9*•…_]+")


def mode(api_key: str) -> Mode:
    """`live` for `sk_live_` and `rk_live_` keys; `test`, with its lower limits, for every other."""
    return "live" if re.match(r"(sk|rk|sk_org)_live_", api_key) else "test"


def is_organisation(api_key: str) -> bool:
    """Is it an organisation's key, which acts for one of its accounts at a time and for none by itself?"""
    return api_key.strip().startswith("sk_org_")


def masked(api_key: str) -> str:
    """The key as it may be shown: `sk_test_…abcd`."""
    start = _prefix(api_key)
    secret = api_key[len(start) :]
    return f"{start}…{secret[-4:] if len(secret) >= 12 else ''}"


def checked(api_key: str) -> str:
    """The key without surrounding whitespace; ConfigError when it can be no secret key."""
    key = api_key.strip()
    if not key:
        raise errors.ConfigError("The API key is empty; set it to a secret or restricted key (sk_… or rk_…).")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise errors.ConfigError(
            f"The API key {_prefix(key)}… has characters that no key has; copy it again from"
            " https://dashboard.stripe.com/apikeys."
        )
    if key.startswith("pk_"):
        raise errors.ConfigError(
            f"The API key {masked(key)} is a publishable key, which can read nothing;"
            " use a secret or restricted key (sk_… or rk_…)."
        )
    return key


def scrubbed(text: str) -> str:
    """Somebody else's sentence without keys, e-mail addresses, phone and card numbers, on one short line."""
    text = " ".join(text.split())
    text = KEY.sub(r"\1…", text)
    text = re.sub(r"[^\s@'\"<>()]+@[^\s@'\"<>()]+\.[^\s@'\"<>()]+", "<email>", text)
    text = re.sub(r"\+\d[\d ().-]{6,}\d", "<phone>", text)
    text = re.sub(r"\b(?:\d[ -]?){12,18}\d\b", "<number>", text)
    return text if len(text) <= 400 else text[:399] + "…"


def _prefix(key: str) -> str:
    prefix = re.match(r"[a-z]{2,5}_(?:org_)?(?:live_|test_)?", key)
    return prefix.group() if prefix else ""
