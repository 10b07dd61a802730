"""`tidegate sandbox`: a stateful local Stripe to try things on."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tidegate import errors
from tidegate.cli import output, ports


def sandbox(
    *,
    port: int = 12111,
    host: str = "127.0.0.1",
    seed: int = 1,
    objects: int = 20_000,
    accounts: int = 1,
    limits: str = "off",
    latency_ms: float = 0,
    jitter_ms: float = 0,
    errors_500: float = 0,
    resets: float = 0,
    truncated: float = 0,
    event_delay: float = 0,
    api_version: str = "",
    key: Sequence[str] = (),
) -> int:
    """Serve a local Stripe with a generated business in it.

    It answers Stripe's API over HTTP: lists, writes, events, webhooks and search,
    with rate limits and faults on demand. Any key that begins with sk_test_ works.
    Whatever is written lives until the command ends.

    Parameters
    ----------
    port
        Where to listen; 0 lets the system choose.
    host
        The address to listen on.
    seed
        Another seed, another business.
    objects
        Size of the generated business, children included.
    accounts
        Connected accounts, each with a small business of its own.
    limits
        Rate limits: off, live (100/s and 25/s an endpoint), sandbox (25/s), or G/E requests per second.
    latency_ms
        How long an answer takes.
    jitter_ms
        By how much that varies.
    errors_500
        Share of requests that fail with 500, from 0 to 1.
    resets
        Share of connections that are reset, from 0 to 1.
    truncated
        Share of answers that are cut off, from 0 to 1.
    event_delay
        Seconds until an event can be seen.
    api_version
        The account's default API version; the newest when empty.
    key
        A restricted key and its permissions: rk_test_x=rak_customer_read,rak_charge_read.
    """
    ports.checked(port)
    from tidegate.sandbox import faults, serving
    from tidegate.sandbox import limits as rates

    shares: tuple[tuple[faults.Kind, float], ...] = (
        ("error", errors_500),
        ("reset", resets),
        ("truncate", truncated),
    )
    if any(not 0 <= share <= 1 for _, share in shares):
        raise errors.ConfigError("a share of faults lies between 0 and 1")
    try:
        rates.parse(limits)
    except ValueError as error:
        raise errors.ConfigError(str(error)) from None
    options = serving.Options(
        seed=seed,
        objects=objects,
        accounts=accounts,
        limits=limits,
        latency_ms=latency_ms,
        jitter_ms=jitter_ms,
        faults=tuple(faults.Fault(kind, probability=share) for kind, share in shares if share),
        event_delay=event_delay,
        api_version=api_version,
        keys=dict(_restricted(text) for text in key),
    )

    def ready(url: str, secret: str) -> None:
        output.say(f"a local Stripe with about {objects:,} objects; Ctrl-C ends it")
        print(f"{url} {secret}", flush=True)
        # Past the redaction: it is the key of every sandbox, and the command is there to be copied.
        command = f"tidegate pull --api-base {url} --api-key {secret} --to duckdb:///sandbox.duckdb"
        print(f"tidegate: try:  {command}", file=sys.stderr, flush=True)

    try:
        serving.main(host, port, options, ready)
    except OSError as error:
        raise errors.ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); choose another --port, 0 for any"
        ) from None
    return 0


def _restricted(text: str) -> tuple[str, tuple[str, ...]]:
    secret, equals, scopes = text.partition("=")
    if not equals or not secret.startswith(("rk_test_", "rk_live_")):
        raise errors.ConfigError("a restricted key is given as rk_test_NAME=permission,permission")
    return secret, tuple(filter(None, scopes.split(",")))
