"""A browser for each module of tests, and a page of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import browsing
import pytest
from playwright import sync_api

from tidegate.web import assets


@pytest.fixture(scope="session")
def built() -> None:
    """What a browser runs is there, as `./dev setup` builds it."""
    if not (assets.FOLDER / "manifest.json").exists():
        pytest.skip("the pages are not built; ./dev setup does it where npm's registry can be reached")


@pytest.fixture(scope="module")
def browser(built: None) -> Iterator[sync_api.Browser]:  # noqa: ARG001
    """Chromium."""
    with browsing.chromium() as found:
        yield found


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
