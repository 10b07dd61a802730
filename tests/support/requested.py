"""Requests without a server, for what is asked of pages and tables by the functions that make them."""

from __future__ import annotations

import types
from collections.abc import Mapping

from starlette import requests, responses

from tidegate import config


def request(
    url: str = "/",
    headers: Mapping[str, str] | None = None,
    stripe: Mapping[str, str] | None = None,
    method: str = "GET",
) -> requests.Request:
    """A request to this address of a server whose configuration has these keys to Stripe, by connection."""
    path, _, query = url.partition("?")
    found = {name: {"api_key": key} for name, key in (stripe or {"acme": "sk_test_0123456789abcdef"}).items()}
    place = types.SimpleNamespace(problem="", file=config.Config.model_validate({"stripe": found}))
    state = types.SimpleNamespace(desk=types.SimpleNamespace(place=place))
    return requests.Request(
        {
            "type": "http",
            "method": method,
            "scheme": "http",
            "server": ("127.0.0.1", 8484),
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
            "app": types.SimpleNamespace(state=state),
        }
    )


def text(answer: responses.Response) -> str:
    """The body of an answer."""
    return bytes(answer.body).decode()
