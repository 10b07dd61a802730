"""What stands before every route: how a request really came, whether it may come so, and what browsers are told.

- Behind a proxy that the configuration names, address and scheme are those that the proxy tells.
- Who looks at pages has to name this server as it is known: a page of somebody else's whose name suddenly means
  this machine (DNS rebinding) is refused. Addresses in digits cannot be rebound.
- A browser changes nothing on behalf of another site.
- A cookie that is not as ours are is left out.
- No body is larger than `LARGEST`, that of a stranger not larger than `STRANGE`, or takes longer than `patience`
  says, where a route does not say less.
- Every answer forbids scripts, styles, frames and forms of others.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Callable, Iterable

from starlette import concurrency, datastructures, requests, responses, types

from tidegate.server import asking, patience, problems
from tidegate.server import desk as desks

LARGEST = 16 * 2**20
"""Bytes of a body."""
STRANGE = 64 * 2**10
"""The same of somebody who is not signed in and has no token: routes read bodies before they ask who sends them."""
OPEN = ("/webhooks/", "/triggers/")
"""Where programs come that prove by a signature or a token who they are, under whatever name they know us."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
"""Headers of proxies."""
PROBES = ("/health", "/ready", "/metrics")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    # With `no-referrer`, browsers would send `Origin: null` with our own forms (Fetch, "append a request `Origin`
    # header"), and over plain HTTP there is nothing else to know them by.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("x-frame-options", "DENY"),
)
YEAR = "max-age=31536000"

_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


class Shield:
    """The outermost middleware; `failed` makes an answer of an error."""

    def __init__(
        self,
        app: types.ASGIApp,
        desk: desks.Desk,
        failed: Callable[[requests.Request, Exception], responses.Response],
    ) -> None:
        self._app, self._desk, self._failed = app, desk, failed

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = came(scope, self._desk)
        begun = False

        async def sent(message: types.Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                _dress(datastructures.MutableHeaders(scope=message), scope["scheme"])
            await send(message)

        try:
            check(scope, self._desk)
            if _length(scope) > STRANGE and not scope["path"].startswith(OPEN):
                await asking.known(requests.Request(scope))
            await self._app(scope, _bounded(receive, scope), sent)
        except Exception as error:
            if begun:  # the connection ends, and with it what was half told
                raise
            answer = await concurrency.run_in_threadpool(self._failed, requests.Request(scope), error)
            await answer(scope, receive, sent)


def came(scope: types.Scope, desk: desks.Desk) -> types.Scope:
    """The request as it came to the first proxy that is believed, or as it came here."""
    headers = datastructures.Headers(scope=scope)
    # No browser has spoken HTTP/1.0 for decades; nginx does to what it proxies, and tells nothing else by itself.
    # https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_http_version
    old = scope.get("http_version") == "1.0"
    scope = {
        **scope,
        "tidegate.direct": not old and not any(each in headers for each in FORWARDED),
        "headers": [
            (name, _plain(value) if name == b"cookie" else value) for name, value in scope["headers"]
        ],
    }
    site = desk.site
    client = scope.get("client")
    trusted = [ipaddress.ip_network(each) for each in (*desk.proxies, *site.behind_proxy)]
    if client is not None and trusted and _within(client[0], trusted):
        hops = [each.strip() for each in ",".join(headers.getlist("x-forwarded-for")).split(",")]
        found = next((hop for hop in reversed(hops) if hop and not _within(hop, trusted)), hops[0])
        if _address(found) is not None:
            scope["client"] = (str(_address(found)), 0)
        told = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
        if told in ("http", "https"):
            scope["scheme"] = told
    if site.public_url is not None:
        public = urllib.parse.urlsplit(site.public_url)
        if public.scheme == "https" and headers.get("host", "").lower() == public.netloc:
            scope["scheme"] = "https"  # nothing else answers under this name
    return scope


def _plain(cookies: bytes) -> bytes:
    """Cookies without those that have a backslash, as ours never do.

    Python takes time by the square of their number: https://github.com/python/cpython/issues/123067
    """
    return b";".join(each for each in cookies.split(b";") if b"\\" not in each)


def is_local(scope: types.Scope) -> bool:
    """Does somebody ask who sits at this machine, with no proxy in between?"""
    client = scope.get("client")
    found = None if client is None else _address(client[0])
    host = datastructures.Headers(scope=scope).get("host", "")
    return bool(
        scope.get("tidegate.direct") and found is not None and found.is_loopback and _name(host) in LOOPBACK
    )


def check(scope: types.Scope, desk: desks.Desk) -> None:
    """Raises Problem for a request that may not come as it came."""
    headers = datastructures.Headers(scope=scope)
    path = scope["path"]
    if _length(scope) > LARGEST:
        raise problems.Problem(413, f"The body is larger than {LARGEST:,} bytes.")
    if path.startswith(OPEN) or path in PROBES:
        return
    known = len(headers.getlist("host")) == 1 and _is_ours(headers["host"].lower(), desk)
    if (
        "authorization" in headers
    ):  # a token is asked for, and proves more than a name: but for what is public
        scope[asking.UNKNOWN] = not known
        return
    if not known:
        raise asking.unknown()
    if scope["method"] not in asking.SAFE and not own_site(headers, scope["scheme"], desk):
        raise problems.Problem(
            403,
            "This was sent by a page of another site, and was not done; where it was not, `public_url` under "
            "`server:` in tidegate.yaml must say the address that the browser shows.",
        )


def own_site(headers: datastructures.Headers, scheme: str, desk: desks.Desk) -> bool:
    """Does a page of our own send this, as far as the browser says?

    Sec-Fetch-Site comes with TLS and from this machine, Origin always; no script can set either.
    """
    if (said := headers.get("sec-fetch-site")) is not None:
        return said == "same-origin"
    origin = headers.get("origin")
    return origin is not None and origin in (
        f"{scheme}://{headers.get('host', '').lower()}",
        desk.site.public_url,
    )


def _is_ours(host: str, desk: desks.Desk) -> bool:
    """Is this a name that we go by?"""
    name = _name(host)
    if not name or name in LOOPBACK or name == desk.host.lower():
        return bool(name)
    if desk.site.public_url is not None and name == urllib.parse.urlsplit(desk.site.public_url).hostname:
        return True
    return desk.host not in LOOPBACK and _address(name) is not None


def _length(scope: types.Scope) -> int:
    """The bytes of a body, as far as they are announced."""
    told = datastructures.Headers(scope=scope).get("content-length", "0")
    return int(told[:12]) if told.isdecimal() else 0


def _name(host: str) -> str:
    """A Host header without its port; nothing where it holds more than a name, as nobody's browser sends it."""
    found = _HOST.fullmatch(host.lower())
    return "" if found is None else found[1].strip("[]")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.partition("%")[0].strip("[]"))
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _within(text: str, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    found = _address(text)
    return found is not None and any(found in network for network in networks)


def _dress(headers: datastructures.MutableHeaders, scheme: str) -> None:
    """What browsers are told with every answer."""
    for name, value in HEADERS:
        headers.setdefault(name, value)
    if scheme == "https":
        headers.setdefault("strict-transport-security", YEAR)
    headers.setdefault("cache-control", "no-store")


def _bounded(receive: types.Receive, scope: types.Scope) -> types.Receive:
    """The same, for bodies that do not say how large they are, or do not come, and for those of strangers."""
    size, body = 0, patience.Body()
    is_known = scope["path"].startswith(OPEN)  # those bound what they read themselves

    async def received() -> types.Message:
        nonlocal size, is_known
        message = await body.next(receive)
        size += len(message.get("body", b""))
        if size > LARGEST:
            raise problems.Problem(413, f"The body is larger than {LARGEST:,} bytes.")
        if size > STRANGE and not is_known:
            await asking.known(requests.Request(scope))
            is_known = True
        return message

    return received
