"""`tidegate run`: everything in one process, until it is told to stop."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Annotated, Literal

from cyclopts import Parameter

from tidegate import config, errors
from tidegate.cli import connect, lean, output, ports, serving
from tidegate.config import server as settings
from tidegate.engine import alerts, journal, pool, schedules
from tidegate.engine import place as places
from tidegate.server import desk as desks
from tidegate.server import shield, signing
from tidegate.store import database, membership, people
from tidegate.stripe import purse


def run(
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    host: str = "127.0.0.1",
    port: int = 8484,
    behind_proxy: Annotated[list[str] | None, Parameter(negative=())] = None,
    at_once: int = pool.SIZE,
    log: Literal["auto", "text", "json"] = "auto",
) -> int:
    """Run all flows by their schedules, until stopped.

    Pulls and pushes that are due run, continuous pulls go on, what Stripe delivers is
    applied at once. Its pages are at the address that it prints; the first start
    prints a link as well, which makes you the admin. SIGTERM and Ctrl-C end it: what
    was read is committed, what was written is noted, and the next start goes on from
    there.

    Parameters
    ----------
    config_file
        The configuration; tidegate.yaml by default.
    host
        Where pages, API, webhooks, health and metrics are served; 0.0.0.0 for other machines.
    port
        The port of that; 0 lets the system choose.
    behind_proxy
        The address, or the network, of a proxy whose X-Forwarded-For and X-Forwarded-Proto are believed; may be
        given several times.
    at_once
        How many runs may go on at the same time, besides the continuous ones.
    log
        `json` writes one object per line to stderr, `text` is for people; by default whichever fits.
    """
    ports.checked(port)
    lean.few_arenas()
    lean.prompt()
    journal.begin(log)
    proxies = [_network(each) for each in behind_proxy or ()]
    with connect.place(config_file) as opened, budget(opened.file) as shared:
        place = dataclasses.replace(opened, purse=shared, folder=places.state(config_file))
        obey(place.stopping)
        for flow in place.flows.values():
            output.say(f"{flow.name}: {schedules.words(flow.schedule)}")
        with serving.serving(place, host=host, port=port, proxies=proxies) as (url, desk):
            output.say(f"serving {url}")
            welcome(desk, url)
            alerting(place)
            lean.tidying(place.stopping)
            if place.store.kind == "postgres":
                distributed().serve(place, size=at_once)
            else:
                pool.serve(place, size=at_once)
    output.say("stopped; everything that was read is committed")
    return 0


def welcome(desk: desks.Desk, url: str) -> None:
    """Where nobody may sign in as an admin yet, print a link that makes one, once."""
    store = desk.place.store
    reached = desk.site.public_url or url
    if desk.host not in shield.LOOPBACK and not reached.startswith("https://"):
        output.say(
            f"{desk.host} can be reached without TLS: put a proxy with a certificate in front of it, and write its "
            "address as `public_url` under `server:`"
        )
    if not people.has_admin(store):
        link = membership.first_link(store, "tidegate run")
        wildcard = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(desk.host)
        shown = reached if wildcard is None else reached.replace(f"//{desk.host}:", f"//{wildcard}:")
        output.say("nobody can sign in yet; this link makes the first admin, once, within an hour:")
        output.say(f"{shown}{signing.ENTER}{link}")


def _network(text: str) -> str:
    try:
        return settings.network(text)
    except ValueError as error:
        raise errors.ConfigError(f"--behind-proxy: {error}") from None


@contextlib.contextmanager
def budget(file: config.Config) -> Iterator[purse.Purse]:
    """The rate budget that all processes share, over a connection of its own."""
    url = file.database.get_secret_value()
    with contextlib.closing(database.open_database(url, wait=5.0)) as store:
        shared = purse.Purse(store)
        try:
            yield shared
        finally:
            shared.close()


def alerting(place: places.Place) -> None:
    """Tell people, from a thread of its own, what needs one."""
    told = [place.store, lambda: place.file, place.stopping]
    threading.Thread(target=alerts.serve, args=told, name="alerts", daemon=True).start()


def distributed() -> ModuleType:
    """What works on Postgres; raises ConfigError where its packages are missing."""
    try:
        from tidegate.engine import workers
    except ImportError:
        raise errors.ConfigError(
            "`database` is Postgres, for which packages are missing; pip install 'tidegate[workers]'"
        ) from None
    return workers


def obey(stopping: threading.Event) -> None:
    """The first signal drains, the second ends at once."""

    def stop(number: int, _: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        output.say("stopping: what was read is being committed; once more ends it at once")
        stopping.set()
        del number

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
