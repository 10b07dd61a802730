"""What `tidegate check` says of an OpenID provider, before anybody signs in by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import oidc_issuer
import pydantic
import pytest
from oidc_issuer import CLIENT, SECRET, Issuer

from tidegate import config
from tidegate.server import oidc_check

ORIGIN = "https://tidegate.example.com"
BACK = f"{ORIGIN}/sign-in/oidc/back"
NAMES = ["issuer", "keys", "redirect address", "client"]


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with oidc_issuer.running() as found:
        yield found


def client(issuer: Issuer, secret: str = SECRET) -> config.OpenID:
    return config.OpenID(issuer=issuer.url, client_id=CLIENT, client_secret=pydantic.SecretStr(secret))


def test_one_that_is_ready(issuer: Issuer) -> None:
    issuer.registered = BACK
    found = oidc_check.steps(client(issuer), ORIGIN)
    assert [(each.name, each.ok) for each in found] == [(name, True) for name in NAMES]
    assert BACK in found[2].detail
    assert SECRET not in str(found)


def spoil(name: str, value: object) -> Callable[[Issuer], None]:
    return lambda issuer: setattr(issuer, name, value)


@pytest.mark.parametrize(
    ("change", "step", "says"),
    [
        (spoil("failing", 404), "issuer", "answered with 404"),
        (spoil("metadata", {"issuer": "https://other.example"}), "issuer", "calls itself by another name"),
        (spoil("metadata", {"jwks_uri": None}), "issuer", "publishes no jwks_uri"),
        (spoil("keys", lambda: {"keys": [{"kty": "oct", "k": "x"}]}), "keys", "publishes no key"),
        (spoil("registered", f"{ORIGIN}/other"), "redirect address", f"register {BACK} there"),
    ],
    ids=["away", "another name", "no keys' address", "no keys", "not registered"],
)
def test_one_that_lacks_something_says_what(
    issuer: Issuer, change: Callable[[Issuer], None], step: str, says: str
) -> None:
    change(issuer)
    found = oidc_check.steps(client(issuer), ORIGIN)
    assert [each.name for each in found] == NAMES[: NAMES.index(step) + 1]
    assert not found[-1].ok
    assert says in found[-1].detail


def test_a_wrong_secret_is_noticed_and_not_repeated(issuer: Issuer) -> None:
    found = oidc_check.steps(client(issuer, "a wrong secret"), ORIGIN)
    assert (found[-1].name, found[-1].ok) == ("client", False)
    assert "answered with 401" in found[-1].detail
    assert "a wrong secret" not in str(found)
