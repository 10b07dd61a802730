"""The walk of somebody whose network goes away: a form that is half filled loses nothing, and is sent once."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import walking
from playwright import sync_api
from playwright.sync_api import expect

from tidegate import sandbox

AWAY = 30_000
"""Milliseconds without a network: this once, they really pass."""
MORE = "pulls: {everything: {from: acme, to: local, streams: {customers: {}}, schedule: manual}}\n"
CODE = "def transform(customer):\n    return {'customer_id': customer['id']}"


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with sandbox.process(objects=30) as url:
        yield url


def began(ann: walking.Walker) -> None:
    """Half of a pipeline, in each of its components."""
    page = ann.page
    ann.go("Pipelines")
    ann.press("Add a pipeline")
    page.get_by_label("Name", exact=True).fill("kept")
    page.get_by_role("combobox", name="Schedule optional").fill("manual")
    ann.press("Condition")
    page.get_by_role("group", name="Condition").get_by_label("Field").fill("email")
    page.get_by_label("Operator").select_option("is not empty")
    page.get_by_role("combobox", name="name: field").fill("name")


def wrote(ann: walking.Walker) -> None:
    """The other half."""
    page = ann.page
    page.get_by_role("textbox", name="Description optional").fill("typed without a network")
    page.get_by_role("radio", name="Python").check()
    page.get_by_role("textbox", name="Python").click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(CODE)


def holds(ann: walking.Walker) -> None:
    """All of it stands in the form."""
    page = ann.page
    expect(page.get_by_label("Name", exact=True)).to_have_value("kept")
    expect(page.get_by_role("textbox", name="Description optional")).to_have_value("typed without a network")
    expect(page.get_by_role("group", name="Condition").get_by_label("Field")).to_have_value("email")
    expect(page.get_by_label("Operator")).to_have_value("is not empty")
    expect(page.get_by_role("combobox", name="name: field")).to_have_value("name")
    expect(page.get_by_role("radio", name="Python")).to_be_checked()
    expect(page.get_by_role("textbox", name="Python")).to_contain_text("customer['id']")


def arrived(ann: walking.Walker, times: int = 1) -> None:
    """There is one pipeline, and it was made once."""
    expect(ann.said).to_contain_text("kept is kept")
    ann.go("Pipelines")
    ann.shows(f"{times} row")
    ann.go("Settings")
    ann.choose("Audit log")
    expect(ann.main.get_by_role("row").filter(has_text=re.compile("kept"))).to_have_count(times)


def test_thirty_seconds_without_network_and_a_restart_lose_nothing(
    page: sync_api.Page, tmp_path: Path, stripe: str
) -> None:
    with walking.running(tmp_path, walking.file(stripe, MORE)) as server:
        ann = walking.entered(page, server, "offline")
        began(ann)
        page.context.set_offline(True)
        wrote(ann)
        server.end(signal.SIGKILL)
        page.wait_for_timeout(AWAY)
        holds(ann)
        ann.looks("away")
        server.begin()
        page.context.set_offline(False)
        holds(ann)
        page.reload()
        holds(ann)
        ann.shows("is here again")
        ann.looks("reloaded")
        ann.press("Save")
        arrived(ann)


def test_what_is_sent_without_a_network_is_kept_said_and_sent_once(
    page: sync_api.Page, tmp_path: Path, stripe: str
) -> None:
    with walking.running(tmp_path, walking.file(stripe, MORE)) as server:
        ann = walking.entered(page, server, "unsent")
        began(ann)
        wrote(ann)
        page.context.set_offline(True)
        ann.press("Save")
        expect(ann.said).to_contain_text("What you typed is kept in this browser")
        ann.looks("said")
        holds(ann)
        ann.press("Save")
        server.end(signal.SIGKILL)
        page.context.set_offline(False)
        ann.press("Save")
        holds(ann)
        server.begin()
        arrived(ann)
        ann.looks("arrived")
