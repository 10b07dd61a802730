"""A person who was sent to Stripe's page, and signs in there."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def agreed(address: str, account: str, answer: str = "connect") -> dict[str, str]:
    """What they come back with from this address."""
    page, _, query = address.partition("?")
    asked = {**dict(urllib.parse.parse_qsl(query)), "account": account, "answer": answer}
    with pytest.raises(urllib.error.HTTPError, match="302") as sent:
        urllib.request.build_opener(_Stay).open(page, urllib.parse.urlencode(asked).encode())
    with sent.value as back:
        location = back.headers["Location"]
    assert location.partition("?")[0] == asked["redirect_uri"]
    return dict(urllib.parse.parse_qsl(location.partition("?")[2]))
