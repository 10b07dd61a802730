"""A browser for each module of tests, and a page of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import browsing
import pytest
from playwright import sync_api

from tidegate.web import assets

NAMES = ("app.js", "app.css", "inter.woff2", "favicon.svg")


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    """Chromium; the bundle has to be built, as `./dev setup` does."""
    if not assets.manifest():
        pytest.skip("the pages are not built; ./dev setup does it where npm's registry can be reached")
    with browsing.chromium() as found:
        yield found


@pytest.fixture(autouse=True)
def _bundled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that look at HTML alone need no bundle: on a machine without npm, names stand for themselves."""
    if not assets.manifest():
        monkeypatch.setattr(assets, "manifest", lambda _=None: {name: name for name in NAMES})


@pytest.fixture
def page(browser: sync_api.Browser) -> Iterator[sync_api.Page]:
    """A page, 1280 wide and light; at its end no policy was violated and no script has failed."""
    with browsing.tab(browser) as found:
        yield found


@pytest.fixture
def narrow(browser: sync_api.Browser) -> Iterator[sync_api.Page]:
    """The same, as wide as a telephone."""
    with browsing.tab(browser, narrow=True) as found:
        yield found
