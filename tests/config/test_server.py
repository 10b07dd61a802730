"""`server:`: how it is reached, and who may sign in by an OpenID provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate import config, errors


def loaded(folder: Path, **server: Any) -> config.Site:
    file = folder / "tidegate.yaml"
    file.write_text(yaml.safe_dump({"server": server}))
    found = config.load(file).server
    assert found is not None
    return found


CLIENT = {"issuer": "https://login.example.com/", "client_id": "tidegate", "client_secret": "very secret"}


def test_everything_at_once(tmp_path: Path) -> None:
    site = loaded(
        tmp_path,
        public_url="https://tidegate.example.com/",
        behind_proxy="10.0.0.7",
        oidc={
            **CLIENT,
            "allowed_domains": "@Example.com",
            "roles": {"map": {"ops": "operator"}},
            "scopes": ["email"],
        },
    )
    assert site.public_url == "https://tidegate.example.com"
    assert site.behind_proxy == ("10.0.0.7/32",)
    assert site.oidc is not None
    assert site.oidc.issuer == "https://login.example.com/"  # as it is: its tokens say the same
    assert site.oidc.allowed_domains == ("example.com",)
    assert site.oidc.scopes == ("openid", "email")
    assert site.oidc.roles is not None
    assert (site.oidc.roles.claim, dict(site.oidc.roles.map)) == ("groups", {"ops": "operator"})
    assert "very secret" not in repr(site)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://localhost:8484", "http://localhost:8484"),
        ("https://Tidegate.Example.com:443", "https://tidegate.example.com"),
        ("http://[::1]:8484/", "http://[::1]:8484"),
    ],
)
def test_a_public_address_is_kept_as_browsers_say_it(tmp_path: Path, given: str, kept: str) -> None:
    assert loaded(tmp_path, public_url=given).public_url == kept


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ({"public_url": "tidegate.example.com"}, "https://tidegate.example.com"),
        ({"public_url": "https://example.com/tidegate"}, "without a path"),
        ({"public_url": "https://user:hunter2@example.com"}, "nothing else in it"),
        ({"public_url": "https://example.com:99999"}, "between 1 and 65535"),
        ({"behind_proxy": ["10.0.0.0/8", "my-proxy"]}, "10.0.0.0/8"),
        ({"oidc": {**CLIENT, "issuer": "http://login.example.com"}}, "over https://"),
        ({"oidc": {**CLIENT, "issuer": "login.example.com"}}, "https://login.example.com"),
        ({"oidc": {**CLIENT, "roles": {"map": {"ops": "king"}}}}, "viewer"),
        ({"oidc": {**CLIENT, "roles": {"map": {}}}}, "map"),
        ({"oidc": {**CLIENT, "allowed_domains": ["*.example.com"]}}, "such as example.com"),
        ({"oidc": {"issuer": "https://login.example.com"}}, "client_id"),
        ({"port": 8080}, "port"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, server: dict[str, Any], why: str) -> None:
    with pytest.raises(errors.ConfigError) as wrong:
        loaded(tmp_path, **server)
    assert why in str(wrong.value)
    assert "tidegate.yaml:" in str(wrong.value)
    assert "very secret" not in str(wrong.value)
    assert "hunter2" not in str(wrong.value)


def test_an_issuer_of_this_machine_may_do_without_tls(tmp_path: Path) -> None:
    site = loaded(tmp_path, oidc={**CLIENT, "issuer": "http://127.0.0.1:9000"})
    assert site.oidc is not None
    assert site.oidc.issuer == "http://127.0.0.1:9000"
