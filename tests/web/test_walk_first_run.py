"""The walk of somebody who has just installed it: from the printed link to the first rows, also without a key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import walking
from playwright import sync_api
from playwright.sync_api import expect

from tidegate import sandbox


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with sandbox.process(objects=60) as url:
        yield url


def test_from_the_printed_link_to_the_first_rows(page: sync_api.Page, tmp_path: Path, stripe: str) -> None:
    with walking.running(tmp_path) as server:
        page.goto(server.link)
        ann = walking.Walker(page, server, "first")
        ann.looks("welcome")
        page.get_by_label("E-mail address").fill(walking.ANN)
        page.get_by_label("Password").fill("short")
        ann.press("Go on")
        expect(ann.heading("Welcome")).to_be_visible()
        page.get_by_label("Password").fill(walking.PASSWORD)
        ann.press("Go on")
        expect(ann.heading("First run")).to_be_visible()
        ann.looks("key")

        key = page.get_by_label("API key")
        key.fill("pk_test_1234567890abcdef")
        ann.press("Test and go on")
        ann.shows("is a publishable key")
        ann.looks("wrong-key")
        page.locator("summary").get_by_text("More").click()
        page.get_by_label("Stripe answers at").fill(stripe)
        page.get_by_label("API key").fill(walking.KEY)
        ann.press("Test and go on")
        ann.shows("Where the rows go", walking.LONG)
        expect(ann.said).to_contain_text("streams can be read")
        ann.looks("warehouse")

        expect(page.get_by_label("Path")).to_have_value("stripe.duckdb")
        ann.press("Check and go on")
        ann.shows("What is pulled")
        ann.looks("streams")
        expect(page.get_by_role("checkbox", name="customers", exact=True)).to_be_checked()
        ann.press("Begin")
        ann.shows("First rows")
        expect(page.get_by_role("heading", name="A first look")).to_be_visible(timeout=walking.LONG)
        ann.looks("rows")
        ann.press("Go to the overview")
        expect(ann.heading("Overview")).to_be_visible()
        ann.looks("overview")

        # The link was for one time.
        page.context.clear_cookies()
        page.goto(server.link)
        ann.shows(re.compile("used|over|once"))
        ann.looks("link-again")


def test_generated_data_is_one_click_from_its_rows(page: sync_api.Page, tmp_path: Path) -> None:
    with walking.running(tmp_path) as server:
        ann = walking.entered(page, server, "demo")
        ann.press("Try it with demo data")
        expect(page.get_by_text("DEMO", exact=True).filter(visible=True)).to_be_visible()
        ann.looks("begun")
        expect(page.get_by_role("heading", name="A first look")).to_be_visible(timeout=walking.LONG)
        ann.looks("rows")
        ann.go("Streams")
        ann.looks("streams")
        ann.open("/start")
        ann.confirm("End the demo", words="demo")
        expect(ann.said).to_contain_text("The generated data is gone")
        ann.shows("With a key")
        ann.looks("ended")
