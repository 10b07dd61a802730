"""What Stripe delivers for a connection: how much came and waits, heard again, and proof that the way is open."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
import msgspec

from tidegate import config, errors
from tidegate.engine import endpoints, flows
from tidegate.store import database, deliveries
from tidegate.store import endpoints as stored
from tidegate.stripe import keys, webhooks

TEST = "tidegate.test"
"""The type of an event that is made by `prove`, and never kept."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was delivered for a connection and is kept; times are unix seconds of the database.

    `waiting` were delivered more than a minute ago, and some flow that listens has not committed them.
    """

    kept: int
    last: float | None
    waiting: int


def delivered(file: config.Config, store: database.Database, name: str) -> Traffic:
    """What was delivered for a connection."""
    row = store.one(
        "SELECT count(*) AS kept, max(received_at) AS last FROM deliveries WHERE connection = :name",
        {"name": name},
    )
    assert row is not None, "An aggregate has a row."
    # A mark stays behind what is not settled yet, whatever was heard.
    late = deliveries.SETTLED + 10.0
    waiting = 0
    for flow in _flows(file, name):
        mark = deliveries.heard(store, flow)
        if mark is None:
            continue
        left = store.one(
            "SELECT count(*) AS n FROM deliveries WHERE connection = :name AND number > :mark "
            "AND received_at < {now} - :late",
            {"name": name, "mark": mark, "late": late},
        )
        waiting = max(waiting, 0 if left is None else int(left["n"]))
    return Traffic(int(row["kept"]), row["last"], waiting)


def replay(
    file: config.Config,
    store: database.Database,
    name: str,
    seconds: float,
    beside: Callable[[database.Session, dict[str, int]], None] | None = None,
) -> dict[str, int]:
    """Have every flow of a connection hear again what was received in so many last seconds; how many, by flow.

    `beside` is called in the same transaction, with what it says.
    """
    endpoints.connection(file, name)
    return deliveries.replay(store, _flows(file, name), name, store.now() - seconds, beside)


async def prove(
    file: config.Config,
    store: database.Database,
    name: str,
    url: str = "",
    environ: Mapping[str, str] | None = None,
) -> str:
    """Deliver a signed event to ourselves, on the way that Stripe takes; returns the address that took it.

    Raises ConfigError with what went wrong. The event is never kept.
    """
    found = endpoints.connection(file, name)
    rows = stored.kept(store, name)
    known = endpoints.secrets(file, store, name, environ)
    if not known:
        raise errors.ConfigError(
            f"no endpoint of {name} is known; run `tidegate webhooks enable {name} --url https://...` first"
        )
    if not url and not rows:
        raise errors.ConfigError(
            "the endpoint was made by hand, so its address is not known; say it with --url"
        )
    target = endpoints.address(url, name, api_base="http://here") if url else rows[0].url
    live = found.key is not None and keys.mode(found.key.get_secret_value()) == "live"
    body = msgspec.json.encode(
        {
            "id": f"evt_{secrets.token_hex(12)}",
            "object": "event",
            "type": TEST,
            "created": int(time.time()),
            "livemode": live,
        }
    )
    headers = {
        "Content-Type": "application/json",
        "Stripe-Signature": webhooks.signature(known[0], body, int(time.time())),
    }
    try:
        timeout = aiohttp.ClientTimeout(total=20)
        async with (
            aiohttp.ClientSession(
                timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            ) as session,
            session.post(target, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise errors.ConfigError(
            f"{target} gave no answer ({type(error).__name__}); look at DNS, TLS and the proxy on the way, and "
            "that `tidegate run` is running"
        ) from None
    if status == 200:
        return target
    raise errors.ConfigError(f"{target} answered {status}: {_MEANING.get(status, _OTHER)}")


def _flows(file: config.Config, name: str) -> list[str]:
    return [
        flow.name for flow in flows.flows(file).values() if flow.kind == "pull" and flow.connection == name
    ]


_OTHER = "something on the way is no Tidegate; look at the proxy and the address"
_MEANING = {
    400: "it does not know the signature; it may use another metadata database, or its clock is wrong",
    404: "there is no such connection; it may run with another configuration, or the address is another server's",
    413: "something on the way takes no body of that size",
    503: "its metadata database cannot be reached",
}
