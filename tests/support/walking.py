"""People who walk through a `tidegate run`: they click and type what they see, and type no address but the first.

def test_it(page, tmp_path, stripe):
    with walking.running(tmp_path, walking.file(stripe)) as server:
        ann = walking.entered(page, server)
        ann.go("Pipelines")
        ann.press("Add a pipeline")
        ann.shows("Add a pipeline")
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import browsing
import ports
from playwright import sync_api
from playwright.sync_api import expect

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
KEY = "sk_test_geheim123456789"
ANN = "ann@example.com"
PASSWORD = "four words in a row"
PATIENCE = 180.0
"""Seconds after which a server that has not begun never will."""
LONG = 180_000
"""Milliseconds that a run may take, on a machine that is busy with other tests."""


def file(stripe: str, more: str = "", rate: str = "off") -> str:
    """A configuration with a connection to a sandbox, at a rate of requests, and a warehouse."""
    return (
        "database: sqlite:///tidegate.db\n"
        f'stripe: {{acme: {{api_key: {KEY}, api_base: "{stripe}", rate_limit: "{rate}"}}}}\n'
        "warehouses: {local: {type: duckdb, path: local.duckdb}}\n" + more
    )


@dataclass(slots=True)
class Server:
    """A `tidegate run` of a folder, in a process of its own, that can end and begin again at the same address."""

    folder: Path
    port: int
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "run.err").read_text()

    @property
    def link(self) -> str:
        """The one-time link that it prints, once it serves."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.findall(r"(http://\S+/enter/\S+)\n", self.log)):
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)
        return str(found[-1])

    def begin(self) -> None:
        """Start it, and wait until it serves."""
        with (self.folder / "run.err").open("a") as log:
            self.process = subprocess.Popen(
                [TIDEGATE, "run", "--port", str(self.port), "--log", "text"],
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=log,
                text=True,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert time.monotonic() < deadline, self.log
            assert self.process.poll() is None, self.log
            time.sleep(0.05)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Have it end in order, or die."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE)
            self.process = None


@contextlib.contextmanager
def running(folder: Path, text: str = "database: sqlite:///tidegate.db\n") -> Iterator[Server]:
    """Serve a configuration, from an empty metadata database; in its log there is no key and no failure."""
    (folder / "tidegate.yaml").write_text(text)
    server = Server(folder, ports.free())
    server.begin()
    try:
        yield server
    finally:
        server.end(signal.SIGKILL)
    assert "Traceback" not in server.log, server.log
    assert KEY[8:] not in server.log


@dataclass(slots=True)
class Walker:
    """A person before a page; each step that is looked at fits the window, and is pictured where that is wanted."""

    page: sync_api.Page
    server: Server
    name: str
    """Of the walk, for its pictures."""
    steps: int = field(default=0)

    @property
    def main(self) -> sync_api.Locator:
        """The page without what stands around it."""
        return self.page.get_by_role("main")

    @property
    def said(self) -> sync_api.Locator:
        """The line above the page."""
        return self.page.get_by_role("status").first

    @property
    def narrow(self) -> bool:
        """Is it a telephone?"""
        return (self.page.viewport_size or browsing.WIDE)["width"] < 500

    def open(self, path: str = "/") -> None:
        """Follow a bookmark."""
        self.page.goto(self.server.url + path)

    def go(self, label: str) -> None:
        """To a page of the menu, which telephones open first."""
        if self.narrow:
            self.page.get_by_role("button", name="Menu").tap()
        link = self.page.get_by_role("navigation", name="Pages").get_by_role("link", name=label, exact=True)
        link.tap() if self.narrow else link.click()
        expect(self.heading(label)).to_be_visible()

    def heading(self, text: str | re.Pattern[str]) -> sync_api.Locator:
        """The title of the page."""
        return self.page.get_by_role("heading", level=1).filter(has_text=text)

    def button(
        self, label: str, *, within: sync_api.Locator | None = None, exact: bool = True
    ) -> sync_api.Locator:
        """A button, or what looks like one, if it is seen."""
        place = within or self.main
        summary = place.locator("summary").filter(
            has_text=re.compile(f"^{re.escape(label)}{'$' if exact else ''}")
        )
        links = place.get_by_role("link", name=label, exact=exact)
        return (
            place.get_by_role("button", name=label, exact=exact).or_(links).or_(summary).filter(visible=True)
        )

    def press(self, label: str, *, within: sync_api.Locator | None = None, exact: bool = True) -> None:
        """Press it."""
        shown = self.button(label, within=within, exact=exact).first
        shown.tap() if self.narrow else shown.click()

    def choose(self, name: str) -> None:
        """A row of a table or a list, by how it begins; its page has the title of that."""
        places = self.main.get_by_role("table").or_(self.main.get_by_role("list"))
        link = places.get_by_role("link", name=re.compile(f"^{re.escape(name)}")).first
        link.tap() if self.narrow else link.click()
        expect(self.heading(name)).to_be_visible()

    def confirm(self, label: str, words: str = "") -> sync_api.Locator:
        """Press what asks before it is done, type the words it wants, and press it again."""
        self.press(label)
        dialog = self.page.get_by_role("dialog", name=label)
        expect(dialog).to_be_visible()
        if words:
            dialog.get_by_role("textbox").fill(words)
        self.press(label, within=dialog)
        return dialog

    def shows(self, text: str | re.Pattern[str], patience: float = browsing.PATIENCE) -> None:
        """Wait until the page says something."""
        expect(self.main.get_by_text(text).filter(visible=True).first).to_be_visible(timeout=patience)

    def ends(self, state: str = "OK") -> None:
        """Wait on the page of a run until that is its state, and it could run again."""
        expect(self.main.get_by_text(state, exact=True).first).to_be_visible(timeout=LONG)
        expect(self.main.get_by_role("button", name="Run again")).to_be_visible(timeout=LONG)

    def looks(self, step: str) -> None:
        """What is seen fits the window; its picture is kept in the folder that TIDEGATE_SCREENS names."""
        browsing.ready(self.page)
        assert browsing.overflow(self.page) == [], f"{self.name}: {step}"
        self.steps += 1
        if folder := os.environ.get("TIDEGATE_SCREENS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            shown = f"{self.name}-{self.steps:02}-{step}.png"
            self.page.screenshot(path=Path(folder) / shown, full_page=not self.narrow)


def signed_in(page: sync_api.Page, server: Server, link: str, walk: str, name: str = "") -> Walker:
    """Follow a one-time link and choose a password; who is invited has a name already."""
    page.goto(link)
    if name:
        page.get_by_label("E-mail address").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading", level=1)).not_to_have_text(re.compile("Welcome|Choose a password"))
    return Walker(page, server, walk)


def entered(page: sync_api.Page, server: Server, walk: str) -> Walker:
    """The first admin of a server, by the link that it printed."""
    return signed_in(page, server, server.link, walk, ANN)


def add_sync(walker: Walker, model: str) -> None:
    """Add a sync of a model's names to customers by the wizard, up to its recap."""
    page = walker.page
    page.get_by_label("What: the model").select_option(model)
    walker.press("Next")
    page.get_by_label("Name", exact=True).fill(model)
    expect(page.get_by_role("combobox", name="email: field")).to_have_value("email")
    add_field(walker)


def add_field(walker: Walker) -> None:
    """Have the sync write names, in the mapper."""
    page = walker.page
    field = walker.button("Field").last
    field.tap() if walker.narrow else field.click()
    page.get_by_label("Target").last.fill("name")
    page.keyboard.press("Tab")
    page.get_by_role("combobox", name="name: field").fill("name")
