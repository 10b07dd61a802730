"""Browsers in which a member has signed in before: they wait for nobody who guesses that member's password.

Each has a cookie with a nonce, bound to the name by an HMAC whose key follows from the password's hash: nobody else
can make one, another password ends them all, and nothing is kept of them. It signs nobody in; attempts that come
with it are counted by themselves, and no more of them may be made than by anybody else.
https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from starlette import requests, responses

from tidegate.server import asking

LASTS = 180 * 86_400
"""Seconds for which a browser is known after it has signed in."""

_COOKIE = re.compile(r"([A-Za-z0-9_-]{22})\.([0-9a-f]{64})")


def issued(name: str, kept: str) -> str:
    """What a browser is given in which the member of this name and this password's hash has signed in."""
    nonce = secrets.token_urlsafe(16)
    return f"{nonce}.{_proof(name, kept, nonce)}"


def known(name: str, kept: str | None, shown: str) -> str:
    """The nonce of a browser that shows what was issued for this name; nothing of every other."""
    found = _COOKIE.fullmatch(shown)
    if found is None or not kept or not hmac.compare_digest(found[2], _proof(name, kept, found[1])):
        return ""
    return found[1]


def cookie(request: requests.Request) -> str:
    """The name of the cookie, for the server that a request names."""
    return f"{asking.own_cookie(request)}-device"


def shown(request: requests.Request) -> str:
    """What a browser shows, or nothing."""
    return request.cookies.get(cookie(request), "")


def keep(request: requests.Request, answer: responses.Response, value: str) -> None:
    """Give a browser the cookie."""
    answer.set_cookie(
        cookie(request),
        value,
        max_age=LASTS,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def _proof(name: str, kept: str, nonce: str) -> str:
    key = hashlib.sha256(b"device:" + kept.encode()).digest()
    return hmac.new(key, f"{nonce}.{name}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()
