"""`tidegate webhooks`, run as it is typed, against the sandbox and a server in this process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import delivering
import pytest
from following import Merchant

from tidegate import config, sandbox
from tidegate.engine import feed
from tidegate.server import app
from tidegate.store import database, trail

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
PULLS = """
warehouses: {one: {type: duckdb, path: one.duckdb}}
pulls: {some: {from: acme, to: one, streams: {products: {}}}}
"""


@dataclass(frozen=True)
class Place:
    """A folder with a configuration, a Stripe, and a server of that configuration."""

    folder: Path
    shop: Merchant
    url: str
    file: config.Config

    def run(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """What one command did."""
        environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        done = subprocess.run(
            [TIDEGATE, "webhooks", *words],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=environ,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "whsec_" not in done.stdout + done.stderr
        return done

    def changes(self) -> list[trail.Line]:
        """What the audit log tells, the newest first."""
        url = f"sqlite:///{self.folder}/tidegate.db"
        with contextlib.closing(database.open_database(url)) as store:
            return trail.listed(store)

    def listed(self) -> tuple[list[dict[str, object]], dict[str, dict[str, object]]]:
        """What `list --json` prints: endpoints, and the traffic of connections."""
        told = json.loads(self.run("list", "--json").stdout)
        return told["endpoints"], told["connections"]


@pytest.fixture(scope="module")
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=20) as url:
        yield Merchant(url)


@pytest.fixture
def place(shop: Merchant, tmp_path: Path) -> Iterator[Place]:
    shop.control("reset", {"objects": 20})
    connection = f"{{api_key: sk_test_sandbox, api_base: '{shop.url}'}}"
    file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/tidegate.db", connection, PULLS)
    with app.serving(file, feed.Arrivals()) as url:
        yield Place(tmp_path, shop, url, file)


def test_enable_deliver_list_and_disable(place: Place) -> None:
    said = place.run("enable", "acme", "--url", place.url).stderr.splitlines()
    assert said[0].startswith("tidegate: we_")
    assert said[0].endswith(f"made: 3 event types of the account to {place.url}/webhooks/stripe/acme")
    assert said[1] == "tidegate: next: tidegate run, then tidegate webhooks test acme"
    place.shop.make("/v1/products", name="Tea")
    place.shop.control("webhooks/idle", {})
    [endpoint], traffic = place.listed()
    assert (endpoint["connection"], endpoint["scope"], endpoint["status"], endpoint["types"]) == (
        "acme",
        "account",
        "enabled",
        3,
    )
    assert (traffic["acme"]["kept"], traffic["acme"]["waiting"]) == (1, 0)
    shown = place.run("list").stdout
    assert str(endpoint["id"]) in shown
    assert f"enabled, {place.url}/webhooks/stripe/acme" in shown
    assert place.run("disable").stderr == "tidegate: removed 1 endpoint of acme; events are read as before\n"
    assert place.listed()[0] == []
    disabled, removing, enabled, making = place.changes()
    assert (removing.action, making.action) == ("begin to disable", "begin to enable")
    assert (enabled.action, enabled.what, enabled.via) == ("enable", "webhooks.acme", "cli")
    assert enabled.after[0]["url"] == f"{place.url}/webhooks/stripe/acme"
    assert (disabled.action, disabled.after) == ("disable", {"removed": 1})


def test_enable_again_says_so_and_rotate_makes_anew(place: Place) -> None:
    first = place.run("enable", "--url", place.url).stderr.split()[1]
    again = place.run("enable", "--url", place.url).stderr
    assert again.startswith(f"tidegate: {first} up to date: ")
    rotated = place.run("enable", "--url", place.url, "--rotate").stderr
    assert " made: " in rotated
    assert first not in rotated
    assert [each.action for each in place.changes() if not each.action.startswith("begin to")] == [
        "rotate",
        "enable",
        "enable",
    ]


def test_a_test_event_goes_all_the_way(place: Place) -> None:
    place.run("enable", "--url", place.url)
    said = place.run("test").stderr
    assert said == f"tidegate: {place.url}/webhooks/stripe/acme took a signed event, and would have kept it\n"
    assert "answered 404" in place.run("test", "--url", f"{place.url}/elsewhere", code=2).stderr


def test_replay_has_flows_hear_again(place: Place) -> None:
    place.run("enable", "--url", place.url)
    for name in ("Tea", "Coffee"):
        place.shop.make("/v1/products", name=name)
    place.shop.control("webhooks/idle", {})
    said = place.run("replay", "acme", "--since", "2h").stderr
    assert said == "tidegate: pull:some hears 2 events again\n"
    with contextlib.closing(database.open_database(f"sqlite:///{place.folder}/tidegate.db")) as store:
        store.execute("UPDATE deliveries SET received_at = received_at - 86400")
    assert "hears 0 events again" in place.run("replay", "--since", "2h").stderr
    assert "hears 2 events again" in place.run("replay").stderr


def test_without_endpoints_list_says_how_to_make_one(place: Place) -> None:
    done = place.run("list")
    assert done.stdout == ""
    assert "`tidegate webhooks enable CONNECTION --url https://...` makes one" in done.stderr


def test_an_endpoint_made_by_hand_is_listed_by_its_traffic(place: Place) -> None:
    connection = (
        f"{{api_key: sk_test_sandbox, api_base: '{place.shop.url}', webhook_secret: {delivering.SECRET}}}"
    )
    file = delivering.loaded(place.folder, f"sqlite:///{place.folder}/tidegate.db", connection, PULLS)
    with app.serving(file, feed.Arrivals()) as url:
        assert delivering.post(url, delivering.signed(delivering.event("evt_1")))[0] == 200
    assert "an endpoint made by hand" in place.run("list").stdout
    assert "its address is not known; say it with --url" in place.run("test", code=2).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("enable",), "say with --url where Stripe reaches this server"),
        (("enable", "--url", "nonsense"), "write it like https://tidegate.example.com"),
        (("enable", "other", "--url", "https://a.example"), "there is no connection 'other'"),
        (("list", "other"), "there is no connection 'other'"),
        (("list", "--rotate"), "--rotate does not go with `tidegate webhooks list`"),
        (("disable", "--url", "https://a.example"), "--url does not go with `tidegate webhooks disable`"),
        (("replay", "--since", "yesterday"), "'yesterday' is no span of time; write it like 2h or 3d"),
        (("replay", "--since", "9" * 30 + "w"), "is no span of time"),
        (("test",), "run `tidegate webhooks enable acme --url https://...` first"),
        (("sing",), "`tidegate webhooks --help` shows how"),
    ],
)
def test_what_cannot_be_is_told(place: Place, words: tuple[str, ...], said: str) -> None:
    done = place.run(*words, code=2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_of_several_connections_one_is_to_be_named(place: Place) -> None:
    file = place.folder / "tidegate.yaml"
    file.write_text(file.read_text().replace("{acme:", "{second: {api_key: sk_test_x}, acme:"))
    said = place.run("enable", "--url", place.url, code=2).stderr
    assert "say which connection; the configuration has second, acme" in said
