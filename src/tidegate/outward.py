"""Which addresses answer to this machine alone, and that no name in DNS leads there.

Providers of machines hand out credentials at such addresses. Whoever may write a host's name may have that name
mean one of them, at once or later (DNS rebinding); therefore it is not the name that is looked at, but what it is
found to mean by the very lookup whose result is connected to.
"""

from __future__ import annotations

import ipaddress
import socket
import unicodedata
from collections.abc import Callable
from typing import Any

INSIDE = tuple(
    ipaddress.ip_network(each)
    for each in (
        *("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "fd20:ce::254/128"),
        *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
    )
)
"""Link-local, and what AWS, Google, Alibaba, Azure and Oracle have besides.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
https://cloud.google.com/compute/docs/metadata/querying-metadata
https://learn.microsoft.com/en-us/azure/virtual-network/what-is-ip-address-168-63-129-16"""
NAMES = (
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
)
"""Names of the same, by which providers' own libraries ask."""

_IGNORED = dict.fromkeys(map(ord, "\t\r\n "))
"""What readers of addresses leave out. https://url.spec.whatwg.org/#url-parsing"""


def is_inside(host: str) -> bool:
    """Is a host, in whatever notation, one that answers to this machine alone?"""
    # Combining marks are in no host, and to normalize many of them takes time by the square of their number.
    plain = "".join(each for each in host if not unicodedata.combining(each))
    name = unicodedata.normalize("NFKC", plain).replace("\u3002", ".").translate(_IGNORED)
    name = name.strip("[]").rstrip(".").partition("%")[0].lower()
    if name in NAMES:
        return True
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        try:
            found = ipaddress.IPv4Address(socket.inet_aton(name))  # 169.254.43518, 0xa9fea9fe
        except (OSError, ValueError):
            return False
    if isinstance(found, ipaddress.IPv6Address):
        within = found in ipaddress.ip_network("64:ff9b::/96")  # IPv4 behind NAT64, RFC 6052
        low = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF) if within else None
        found = found.ipv4_mapped or found.sixtofour or low or found
    return any(found in network for network in INSIDE if network.version == found.version)


class Inside(socket.gaierror):
    """A name that leads to what answers to this machine alone, and is not allowed to."""

    def __init__(self) -> None:
        super().__init__(socket.EAI_FAIL, "its name leads to what answers to this machine alone")


_resolve = socket.getaddrinfo


def guard(allowed: Callable[[], bool]) -> None:
    """From now on no name leads this process inside, unless that is allowed just then; raises Inside instead.

    What Python looks up is guarded, for all threads: HTTP, mail, MySQL, ClickHouse, and Postgres, since psycopg
    looks up itself what it has libpq connect to. For drivers that look up by themselves, ask `leads_inside` before.
    Digits and providers' own names pass: nobody but providers' libraries may ask for those, see `engine/bounds`.
    """

    def checked(host: Any, *more: Any, **named: Any) -> list[Any]:
        found = _resolve(host, *more, **named)
        outside = [each for each in found if not is_inside(str(each[4][0]))]
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if len(outside) == len(found) or name is None or is_inside(name) or allowed():
            return found
        if not outside:
            raise Inside
        return outside

    socket.getaddrinfo = checked


def leads_inside(host: str) -> bool:
    """Does a name lead inside, though it is not allowed to? One that leads nowhere does not."""
    try:
        socket.getaddrinfo(host, None)
    except Inside:
        return True
    except OSError:
        return False
    return False
