"""A browser for tests: Debian's Chromium, driven by Playwright, which hears whatever a page does wrong.

Playwright's synchronous interface leaves an event loop running in its thread, so it stops with its module: tests of
others call `asyncio.run`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright import sync_api

CHROMIUM = "/usr/bin/chromium"
WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 390, "height": 844}
PATIENCE = 60_000
"""Milliseconds after which what does not come is missing, on a machine that is busy with other tests."""
NOT_WRONG = ("Failed to load resource", "net::ERR_")
"""What the console says about requests that did not succeed, which tests cause on purpose."""
LISTEN = """
document.addEventListener("securitypolicyviolation", (event) => {
  const { effectiveDirective, blockedURI, sourceFile, lineNumber } = event;
  window.reportViolation(`${effectiveDirective}: ${blockedURI} ${sourceFile}:${lineNumber}`);
});
"""


@contextlib.contextmanager
def chromium() -> Iterator[sync_api.Browser]:
    """The browser; a machine without it skips the test."""
    found = shutil.which("chromium") or CHROMIUM
    if not os.path.exists(found):
        pytest.skip("Chromium is not installed")
    sync_api.expect.set_options(timeout=PATIENCE)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass  # Playwright keeps something of its own in whom it tells
class Watched:
    """What went wrong on the pages of a test: nothing, at its end."""

    errors: list[str] = field(default_factory=list)

    def listen(self, page: sync_api.Page) -> None:
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._said)
        page.expose_function("reportViolation", self._violated)
        page.add_init_script(LISTEN)

    def _violated(self, text: str) -> None:
        self.errors.append(text)

    def _said(self, message: sync_api.ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(NOT_WRONG):
            self.errors.append(message.text)


@contextlib.contextmanager
def tab(
    browser: sync_api.Browser, *, narrow: bool = False, dark: bool = False, zone: str = "Europe/Berlin"
) -> Iterator[sync_api.Page]:
    """A page of its own profile. At the end nothing may have been against the policy, and no script have failed."""
    context = browser.new_context(
        viewport=NARROW if narrow else WIDE,
        color_scheme="dark" if dark else "light",
        timezone_id=zone,
        reduced_motion="reduce",
        has_touch=narrow,
    )
    watched = Watched()
    page = context.new_page()
    watched.listen(page)
    page.set_default_timeout(PATIENCE)
    try:
        yield page
        # What a page says while it goes is heard here.
        page.evaluate("1")
        assert not watched.errors, "\n".join(watched.errors)
    finally:
        context.close()


def ready(page: sync_api.Page) -> None:
    """Wait until the components of a page are at work, and nothing is loading."""
    page.wait_for_load_state("load")
    waiting = ":not(:defined), tg-chart:not([data-drawn])"
    page.wait_for_function(
        f"() => !document.querySelector('{waiting}') && document.fonts.status === 'loaded'"
    )


def snap(page: sync_api.Page, name: str) -> None:
    """A picture of the whole page, light and dark, into the folder that TIDEGATE_SCREENS names."""
    folder = os.environ.get("TIDEGATE_SCREENS")
    if not folder:
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    ready(page)
    size = page.viewport_size or WIDE
    width = size["width"]
    # Editors measure what is in the window alone: it is as high as the page for a moment.
    page.set_viewport_size({"width": width, "height": page.evaluate("document.documentElement.scrollHeight")})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.wait_for_timeout(100)  # charts are drawn again in the other colours
        page.screenshot(path=Path(folder) / f"{name}-{width}-{scheme}.png", full_page=True)
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.set_viewport_size(size)


def overflow(page: sync_api.Page) -> list[str]:
    """What is wider than the window, by tag and class: nothing, on a page that never scrolls sideways."""
    found: list[str] = page.evaluate("""() => {
      if (document.documentElement.scrollWidth <= document.documentElement.clientWidth) return [];
      const wide = [...document.querySelectorAll("body *")].filter((each) => {
        const box = each.getBoundingClientRect();
        return box.right > innerWidth + 0.5 && box.width > 0 && !each.closest(".scroll, pre");
      });
      return wide.slice(0, 10).map((each) => `${each.tagName.toLowerCase()}.${each.className}`);
    }""")
    return found


CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


def poor_contrast(page: sync_api.Page) -> list[str]:
    """Text with less contrast than WCAG 2.2 AA asks for, as it is shown once new colours have come everywhere."""
    found: list[str] = []
    for _ in range(20):
        found = page.evaluate(CONTRAST)
        if not found:
            break
        page.wait_for_timeout(100)
    return found
