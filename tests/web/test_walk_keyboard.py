"""The walk of somebody without a mouse: the focus is seen wherever it is, and nothing keeps it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import walking
from playwright import sync_api
from playwright.sync_api import expect

from tidegate import sandbox

MORE = "models: {people: {file: people.csv, key: id}}\n"
FOCUS = """() => {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  if (!at || at === document.body) return "nothing";
  const box = at.getBoundingClientRect();
  const style = getComputedStyle(at);
  const outer = at.closest("label, .tg-code-box") ?? at.getRootNode().host?.closest(".tg-code-box") ?? at;
  const shown = [at, outer].some((each) => getComputedStyle(each).outlineStyle !== "none") ||
    [at, outer].some((each) => getComputedStyle(each).boxShadow !== "none") || /cm-content/.test(at.className);
  const seen = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  if (shown && seen) return "";
  const name = at.getAttribute("aria-label") ?? at.textContent.trim().slice(0, 40);
  return `${at.tagName} ${name}: ${shown ? "out of the window" : "no outline"}`;
}"""
"""What is wrong with how the focus is seen; nothing, mostly."""
IN_EDITOR = "() => document.activeElement?.shadowRoot?.activeElement?.matches('[contenteditable]') ?? false"
MOST = 250
"""Tabs after which what has not come never will."""


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with sandbox.process(objects=30) as url:
        yield url


def reach(page: sync_api.Page, target: sync_api.Locator) -> None:
    """Tab until something has the focus, out of editors by Escape; on the way it is seen where the focus is."""
    expect(target).to_be_visible()
    for _ in range(MOST):
        if page.evaluate(IN_EDITOR):
            page.keyboard.press("Escape")
        page.keyboard.press("Tab")
        if wrong := page.evaluate(FOCUS):
            page.wait_for_timeout(250)  # what slides into the window has come
            wrong = page.evaluate(FOCUS)
        assert wrong in ("", "nothing")
        if target.evaluate("(each) => each === each.getRootNode().activeElement"):
            return
    raise AssertionError("the keyboard does not reach it")


def fill(page: sync_api.Page, label: str, text: str) -> None:
    """Reach an input, and type."""
    reach(page, page.get_by_label(label, exact=True).last)
    page.keyboard.type(text)


def button(page: sync_api.Page, name: str, key: str = "Enter") -> None:
    """Reach a button of the page, or of the dialog that stands before it, and press it."""
    dialog = page.get_by_role("dialog")
    place = dialog if dialog.count() else page.get_by_role("main")
    found = place.get_by_role("button", name=name, exact=True).or_(
        place.get_by_role("link", name=name, exact=True)
    )
    reach(page, found.or_(place.locator("summary").filter(has_text=name)).filter(visible=True).last)
    page.keyboard.press(key)


def test_from_the_link_to_an_approved_plan_by_keyboard(
    page: sync_api.Page, tmp_path: Path, stripe: str
) -> None:
    with (tmp_path / "people.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("id", "email", "name"), ("1", "one@keys.test", "One")])
    with walking.running(tmp_path, walking.file(stripe, MORE)) as server:
        page.goto(server.link)
        ann = walking.Walker(page, server, "keys")
        page.keyboard.type(walking.ANN)
        page.keyboard.press("Tab")
        page.keyboard.type(walking.PASSWORD)
        page.keyboard.press("Enter")
        expect(ann.said).to_contain_text("Welcome")

        page.keyboard.press("g")
        page.keyboard.press("y")
        expect(ann.heading("Syncs to Stripe")).to_be_visible()
        button(page, "Add a sync")
        expect(ann.heading("Add a sync")).to_be_visible()
        button(page, "Next")
        fill(page, "Name", "people")
        expect(page.get_by_role("combobox", name="email: field")).to_have_value("email")
        button(page, "Field")
        expect(page.get_by_label("Target").last).to_be_focused()
        page.keyboard.type("name")
        page.keyboard.press("Tab")
        expect(page.get_by_label("name: comes from")).to_be_focused()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        expect(page.get_by_label("name: comes from")).to_have_value("sql")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowUp")
        expect(page.get_by_label("name: comes from")).to_have_value("from")
        page.keyboard.press("Tab")
        page.keyboard.type("name")
        ann.looks("wizard")
        button(page, "Next", "Space")
        ann.shows("Each row of people is a customer of acme")
        button(page, "Add it")
        expect(ann.said).to_contain_text("people is kept")
        button(page, "Make a plan")
        ann.shows("What would be written", walking.LONG)

        button(page, "Approve")
        dialog = page.get_by_role("dialog", name="Approve")
        expect(dialog.get_by_role("button", name="Go back")).to_be_focused()
        ann.looks("asked")
        for _ in range(4):
            page.keyboard.press("Tab")
            inside = (
                "(each) => each.contains(document.activeElement) || document.activeElement === document.body"
            )
            assert dialog.evaluate(inside), "the focus stays in the dialog"
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(page.locator("summary").filter(has_text="Approve")).to_be_focused()
        page.keyboard.press("Enter")
        button(page, "Approve", "Space")
        expect(ann.heading("push:people")).to_be_visible()
        ann.ends()


def test_the_editor_lets_the_keyboard_go(page: sync_api.Page, tmp_path: Path, stripe: str) -> None:
    with walking.running(tmp_path, walking.file(stripe)) as server:
        ann = walking.entered(page, server, "keys-editor")
        page.keyboard.press("g")
        page.keyboard.press("p")
        expect(ann.heading("Pipelines")).to_be_visible()
        button(page, "Add a pipeline")
        fill(page, "Name", "typed")
        button(page, "Condition", "Space")
        expect(page.get_by_role("group", name="Condition").get_by_label("Field")).to_be_focused()
        page.keyboard.type("email")
        reach(page, page.get_by_label("Operator"))
        page.keyboard.type("is not empty")
        expect(page.get_by_label("Operator")).to_have_value("is not empty")
        reach(page, page.get_by_role("button", name="Take id for customer_id"))
        page.keyboard.press("Space")
        expect(page.get_by_role("combobox", name="customer_id: field")).to_be_focused()
        reach(page, page.get_by_role("radio", name="None"))
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("radio", name="Python")).to_be_checked()
        code = page.get_by_role("textbox", name="Python")
        reach(page, code)
        page.keyboard.press("Tab")
        expect(code).to_be_focused()
        page.keyboard.press("ControlOrMeta+z")
        page.keyboard.press("Escape")
        page.keyboard.press("Tab")
        expect(code).not_to_be_focused()
        button(page, "Save")
        expect(ann.said).to_contain_text("typed is kept")
