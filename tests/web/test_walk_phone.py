"""The walks by touch, on a screen 390 wide: nothing is cut off, the menu opens, and every button is reached."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import walking
from following import Merchant
from playwright import sync_api
from playwright.sync_api import expect

from tidegate import sandbox

MORE = (
    "pulls: {everything: {from: acme, to: local, streams: {customers: {}}, schedule: manual}}\n"
    "models: {people: {file: people.csv, key: id}}\n"
)


@pytest.fixture(scope="module")
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=30) as url:
        yield Merchant(url)


def test_the_first_run_by_touch(narrow: sync_api.Page, tmp_path: Path, shop: Merchant) -> None:
    with walking.running(tmp_path) as server:
        ann = walking.entered(narrow, server, "phone-first")
        ann.looks("key")
        ann.press("More")
        narrow.get_by_label("Stripe answers at").fill(shop.url)
        narrow.get_by_label("API key").fill(walking.KEY)
        ann.press("Test and go on")
        ann.shows("Where the rows go", walking.LONG)
        ann.looks("warehouse")
        ann.press("Check and go on")
        ann.shows("What is pulled")
        ann.looks("streams")
        ann.press("Begin")
        expect(narrow.get_by_role("heading", name="A first look")).to_be_visible(timeout=walking.LONG)
        ann.looks("rows")
        ann.go("Overview")
        ann.looks("overview")


def test_a_pipeline_and_a_push_by_touch(narrow: sync_api.Page, tmp_path: Path, shop: Merchant) -> None:
    for name in ("One", "Other"):
        shop.make("/v1/customers", email="two@phone.test", name=name)
    rows = [("id", "email", "name"), ("1", "one@phone.test", "One"), ("2", "two@phone.test", "Two")]
    with (tmp_path / "people.csv").open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    with walking.running(tmp_path, walking.file(shop.url, MORE)) as server:
        ann = walking.entered(narrow, server, "phone")
        narrow.get_by_role("button", name="Menu").tap()
        expect(narrow.get_by_role("navigation", name="Pages")).to_be_visible()
        ann.looks("menu")
        narrow.keyboard.press("Escape")
        expect(narrow.get_by_role("navigation", name="Pages")).to_be_hidden()

        ann.go("Pipelines")
        ann.press("Add a pipeline")
        narrow.get_by_label("Name", exact=True).fill("touched")
        narrow.get_by_role("combobox", name="Schedule optional").fill("manual")
        ann.press("Condition")
        narrow.get_by_role("group", name="Condition").get_by_label("Field").fill("email")
        narrow.get_by_label("Operator").select_option("is not empty")
        narrow.get_by_role("radio", name="Python").check()
        ann.looks("pipeline")
        ann.press("Test")
        expect(narrow.get_by_role("article").first).to_be_visible()
        ann.looks("tested")
        ann.press("Save")
        expect(ann.said).to_contain_text("touched is kept")
        ann.go("Streams")
        ann.press("everything")
        ann.press("Run now")
        ann.ends()
        ann.go("Pipelines")
        ann.looks("pipelines")
        ann.choose("touched")
        ann.press("Run now")
        ann.ends()
        ann.looks("ran")
        ann.go("Customers")
        ann.looks("customers")

        ann.go("Syncs to Stripe")
        ann.press("Add a sync")
        walking.add_sync(ann, "people")
        ann.looks("wizard")
        ann.press("Next")
        ann.press("Add it")
        ann.press("Make a plan")
        ann.shows("What would be written", walking.LONG)
        ann.looks("plan")
        ann.press("Approve")
        ann.looks("asked")
        ann.press("Approve", within=narrow.get_by_role("dialog", name="Approve"))
        expect(ann.heading("push:people")).to_be_visible()
        ann.ends()
        ann.looks("wrote")
        ann.go("Issues")
        ann.looks("issues")
        ann.choose("2")
        ann.looks("ambiguous")
        ann.press("It is this one")
        expect(ann.said).to_contain_text("2 of people: the next run does what you chose.")
