"""The fixtures of `signing`: who asks a server over a place. Tests that have no server load none of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import signing

    from tidegate.engine import place as places
    from tidegate.store import people, tokens


@pytest.fixture
def servers_of_places() -> Iterator[signing.Servers]:
    """A server for each place that is asked for, until the test ends."""
    import signing

    with contextlib.ExitStack() as stack:
        yield signing.Servers(stack)


@pytest.fixture
def signed(servers_of_places: signing.Servers) -> signing.Signed:
    """`signed(place, "viewer")`: a member of that role, signed in at a server over the place."""
    import signing

    def start(place: places.Place, role: people.Role = "admin", name: str = "") -> signing.Client:
        url, desk = servers_of_places.of(place)
        return signing.session(desk, url, role, name)

    return start


@pytest.fixture
def tokened(servers_of_places: signing.Servers) -> signing.Signed:
    """`tokened(place, "run")`: a program with a token of that scope, at the same server."""
    import signing

    def start(place: places.Place, scope: tokens.Scope = "read", flows: Sequence[str] = ()) -> signing.Client:
        url, desk = servers_of_places.of(place)
        return signing.program(desk, url, scope, flows)

    return start


@pytest.fixture
def stranger(servers_of_places: signing.Servers) -> signing.Signed:
    """`stranger(place)`: a browser in which nobody is signed in, at the same server."""
    import signing

    def start(place: places.Place) -> signing.Client:
        return signing.Client(servers_of_places.of(place)[0])

    return start
