"""The walk of somebody who builds a pipeline: filter, mapping and function, a test, a run, and its customers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import walking
from following import Merchant
from playwright import sync_api
from playwright.sync_api import expect

from tidegate import sandbox

PEOPLE = (("ada@EU.test", "ada", "pro"), ("bob@eu.test", "bob", "free"), ("cy@us.test", "cy", "pro"))
CODE = """\
def transform(customer):
    return {**customer, "name": customer["name"].upper()}"""
PULLS = "pulls: {everything: {from: acme, to: local, streams: {customers: {}}, schedule: manual}}\n"


@pytest.fixture(scope="module")
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=30) as url:
        shop = Merchant(url)
        for email, name, plan in PEOPLE:
            shop.make("/v1/customers", email=email, name=name, metadata={"plan": plan})
        yield shop


def test_a_pipeline_is_built_tried_run_and_seen(page: sync_api.Page, tmp_path: Path, shop: Merchant) -> None:
    with walking.running(tmp_path, walking.file(shop.url, PULLS)) as server:
        ann = walking.entered(page, server, "pipeline")
        ann.go("Pipelines")
        ann.looks("none-yet")
        ann.press("Add a pipeline")
        page.get_by_label("Name", exact=True).fill("vips")
        page.get_by_role("textbox", name="Description optional").fill("who pays for the large plan")
        page.get_by_role("combobox", name="Schedule optional").fill("manual")

        ann.press("Condition")
        condition = page.get_by_role("group", name="Condition")
        condition.get_by_label("Field").fill("metadata.plan")
        condition.get_by_label("Operator").select_option("is")
        condition.get_by_label("Value").fill("pro")
        ann.press("Condition")
        condition = page.get_by_role("group", name="Condition").last
        condition.get_by_label("Field").fill("email")
        condition.get_by_label("Operator").select_option("ends with")
        condition.get_by_label("Value").fill("@eu.test")
        condition.get_by_label("Ignore case").check()

        page.get_by_role("button", name="Take id for customer_id").click()
        page.get_by_label("email: comes from").select_option("SQL")
        page.get_by_label("email: sql").fill("lower(email)")
        page.get_by_label("name: field").fill("name")
        page.get_by_role("radio", name="Python").check()
        code = page.get_by_role("textbox", name="Python")
        code.click()
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.insert_text(CODE)
        ann.looks("built")
        ann.press("Run the test")
        ann.shows('"name": "JANE DOE"')

        ann.press("Test")
        trial = page.get_by_role("article")
        expect(trial.filter(has_text="Shaped")).to_have_count(1)
        expect(trial.filter(has_text="Shaped")).to_contain_text('"name": "ADA"')
        expect(trial.filter(has_text="Shaped")).to_contain_text('"email": "ada@eu.test"')
        ann.looks("tested")
        ann.press("Save as a case", within=trial.filter(has_text="Shaped"))
        ann.shows("is matched")
        ann.press("Save")
        expect(ann.said).to_contain_text("vips is kept")
        ann.looks("kept")

        ann.go("Streams")
        ann.press("everything")
        ann.looks("pull")
        ann.press("Run now")
        ann.ends()
        ann.go("Pipelines")
        ann.choose("vips")
        ann.press("Run now")
        ann.ends()
        ann.looks("ran")
        ann.go("Customers")
        expect(page.get_by_role("table").get_by_role("row")).to_have_count(2)
        ann.looks("customers")
        page.get_by_role("table").get_by_role("link").first.click()
        expect(ann.heading("ADA")).to_be_visible()
        ann.shows("ada@eu.test")
        ann.looks("customer")
